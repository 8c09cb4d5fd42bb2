//! Who closes first, and how: each way a relay can end, over IPv4 and IPv6, against Python.

use std::io::{Read, Write};

use crate::harness::events::{Close, Connect, Eof, Error, Reason, Recv, Shutdown, Step};
use crate::harness::net::{over_both_families, terminal};
use crate::harness::peers::A_WHILE;
use crate::harness::{Family, Peer, Sockeye};

fn relay(server: &Peer, family: Family) -> Sockeye {
    Sockeye::new(format!("connect {} {}", family.host(), server.port))
}

/// A server that accepts one connection and goes on as `script` says.
fn server(family: Family, script: &str) -> Peer {
    Peer::python_server(
        &format!("server = listen(sys.argv[1])\npeer, _ = server.accept()\n{script}"),
        &[&family.host()],
    )
}

over_both_families! {
    fn a_peer_that_answers_only_after_our_end_of_input_is_heard(family) {
        let peer = server(family, "got = all_of(peer)\npeer.sendall(b'got ' + got)\npeer.close()");
        let run = relay(&peer, family).stdin("request").run().exits(0);
        assert_eq!(run.stdout(), b"got request");
        peer.lines();
    }

    fn a_peer_that_answers_late_after_our_end_of_input_is_heard(family) {
        let peer = server(family, "got = all_of(peer)\ntime.sleep(1)\npeer.sendall(b'got ' + got)\npeer.close()");
        let run = relay(&peer, family).stdin("request").arg("--json").run().exits(0);
        let heard: Vec<u8> = run.all::<Recv>().iter().flat_map(|recv| recv.payload()).collect();
        assert_eq!(heard, b"got request");
        assert_eq!(run.one::<Shutdown>().how, "SHUT_WR");
        let names = run.names();
        let at = |name| names.iter().position(|each| *each == name).unwrap();
        assert!(at("shutdown") < at("eof") && at("eof") < at("close"), "{names:?}");
        assert_eq!(run.one::<Close>().reason, Reason::Eof);
    }

    fn with_exit_a_peer_that_closes_first_ends_us_though_stdin_is_open(family) {
        let peer = server(family, "peer.sendall(b'banner')\npeer.close()");
        let run = relay(&peer, family).args(["--on-peer-close", "exit"]).stdin_piped().start().finish_by_itself().exits(0);
        assert_eq!(run.stdout(), b"banner");
    }

    fn with_a_pipe_what_we_send_after_the_peers_end_is_delivered(family) {
        let peer = server(family, "peer.shutdown(socket.SHUT_WR)\nsay(all_of(peer))");
        let mut client = relay(&peer, family).arg("--json").stdin_piped().start();
        client.wait_for::<Eof>();
        client.send(b"late words");
        let run = client.finish().exits(0);
        assert_eq!(run.one::<Close>().bytes_sent, 10);
        assert_eq!(peer.lines(), ["b'late words'"]);
    }

    fn with_drain_a_terminal_is_drained_too(family) {
        let peer = server(family, "peer.shutdown(socket.SHUT_WR)\nsay(all_of(peer))");
        let mut ends = terminal();
        let client = relay(&peer, family).args(["--on-peer-close", "drain", "--json"]).stdin_from(ends.program).start();
        client.wait_for::<Eof>();
        // Ctrl-D on a line of its own is the end of a terminal's input (termios(3), VEOF).
        ends.user.write_all(b"late words\n\x04").unwrap();
        client.finish().exits(0);
        assert_eq!(peer.lines(), [r"b'late words\n'"]);
    }

    fn a_terminal_on_stdin_ends_with_the_peer(family) {
        let peer = server(family, "peer.sendall(b'banner')\npeer.close()");
        let ends = terminal();
        let run = relay(&peer, family).stdin_from(ends.program).start().finish_by_itself().exits(0);
        assert_eq!(run.stdout(), b"banner");
        drop(ends.user);
    }

    fn a_reset_while_stdin_is_open_is_exit_10(family) {
        let peer = server(family, "peer.sendall(b'part')\ntold()\nreset(peer)");
        let mut peer = peer;
        let client = relay(&peer, family).stdin_piped().start();
        client.wait_for_stdout(b"part");
        peer.send(b"go\n");
        let run = client.finish_by_itself().exits(10);
        assert_eq!(run.stdout(), b"part", "what came before the reset is not lost");
    }

    fn a_reset_after_our_end_of_input_is_exit_10(family) {
        let mut peer = server(family, "say(all_of(peer))\ntold()\nreset(peer)");
        let client = relay(&peer, family).stdin("request").arg("--json").start();
        peer.wait_for("b'request'");
        client.wait_for::<Shutdown>();
        peer.send(b"go\n");
        let run = client.finish_by_itself().exits(10);
        assert_eq!(run.one::<Close>().reason, Reason::Reset);
        let error = run.one::<Error>();
        assert_eq!((error.step, error.errno.as_deref(), error.conn), (Step::Recv, Some("ECONNRESET"), Some(1)));
        assert_eq!(run.summary().resets, Some(1));
    }

    fn a_peer_that_closed_for_good_resets_what_we_still_send(family) {
        let peer = server(family, "peer.close()\nsay('closed')\ntold()");
        let mut client = relay(&peer, family).arg("--json").stdin_piped().start();
        peer.wait_for("closed");
        client.wait_for::<Eof>();
        // The first bytes draw a reset from the peer's kernel; it may come while we wait or send.
        client.send(b"anyone there?");
        let run = client.finish_by_itself().exits(10);
        assert_eq!(run.one::<Close>().reason, Reason::Reset);
        assert!(["ECONNRESET", "EPIPE"].contains(&run.one::<Error>().errno.as_deref().unwrap()));
    }

    fn a_reader_of_stdout_that_goes_away_ends_the_run_quietly(family) {
        let peer = server(family, "
try:
    while True:
        peer.sendall(b'x' * 65536)
except OSError as error:
    say(type(error).__name__)
");
        let (mut reader, writer) = std::io::pipe().unwrap();
        let client = relay(&peer, family).stdin_piped().stdout_to(writer).start();
        let mut some = [0; 1000];
        reader.read_exact(&mut some).unwrap();
        drop(reader);
        let run = client.finish_by_itself().exits(0);
        assert!(!run.stderr().to_lowercase().contains("panic"), "{}", run.dump());
        assert!(!run.stderr().to_lowercase().contains("broken pipe"), "quietly:\n{}", run.dump());
        peer.lines();
    }

    fn fins_that_cross_are_a_clean_end(family) {
        let peer = server(family, "peer.shutdown(socket.SHUT_WR)\nsay(all_of(peer))");
        let run = relay(&peer, family).arg("--json").run().exits(0);
        assert_eq!(peer.lines(), ["b''"]);
        assert_eq!((run.all::<Eof>().len(), run.all::<Shutdown>().len()), (1, 1));
        assert!(run.all::<Error>().is_empty());
        assert!([Reason::Eof, Reason::Local].contains(&run.one::<Close>().reason));
    }

    fn both_send_all_they_have_before_fins_cross(family) {
        let peer = server(family, "
peer.sendall(b'from the peer')
peer.shutdown(socket.SHUT_WR)
say(all_of(peer))
");
        let run = relay(&peer, family).stdin("from us").run().exits(0);
        assert_eq!(run.stdout(), b"from the peer");
        assert_eq!(peer.lines(), ["b'from us'"]);
    }

    fn an_open_pipe_that_nobody_writes_to_loses_nothing_of_a_slow_peer(family) {
        let peer = server(family, "
for word in [b'one', b'two', b'three']:
    peer.sendall(word)
    time.sleep(0.3)
peer.close()
");
        let client = relay(&peer, family).arg("--json").stdin_piped().start();
        client.wait_for::<Connect>();
        client.wait_for::<Eof>();
        std::thread::sleep(A_WHILE);
        assert!(client.is_running(), "stdin is a pipe and open: it is drained to its end");
        let run = client.finish().exits(0);
        let heard: Vec<u8> = run.all::<Recv>().iter().flat_map(|recv| recv.payload()).collect();
        assert_eq!(heard, b"onetwothree");
    }
}

//! What came before a reset is read first, whatever finds the reset: a recv, a send or a shutdown.

use std::io::Write;

use nix::sys::signal::Signal;
use socket2::Type;

use crate::crowd::connected;
use crate::harness::events::{Bind, Close, Connect, Eof, Error, Reason, Recv, Send, Shutdown, Side, Step};
use crate::harness::net::{dial, over_both_families, reset};
use crate::harness::{Family, Finished, Peer, Running, Sockeye, require};
use crate::unix::place;

/// Answers the first bytes with so many more and a reset behind them, when it is told.
const ANSWER: &str = "
server = listen(sys.argv[1])
peer, _ = server.accept()
peer.recv(100)
told()
peer.sendall(b'A' * 50000)
reset(peer)
say('gone')
";

/// Lets a peer break off while a client is stopped, so that it meets all of it at once.
pub(crate) fn break_off(peer: &mut Peer, client: &Running) {
    client.signal(Signal::SIGSTOP);
    peer.send(b"go\n");
    peer.wait_for("gone");
    client.signal(Signal::SIGCONT);
}

/// Returns how many bytes came.
fn came(run: &Finished) -> u64 {
    run.all::<Recv>().iter().map(|recv| recv.bytes).sum()
}

over_both_families! {
    fn until_eof_reads_all_that_came_before_the_reset(family) {
        let mut peer = Peer::python_server(ANSWER, &[&family.host()]);
        let words = format!("connect {} {} GET --until-eof --recv-size 1000 --json", family.host(), peer.port);
        let client = Sockeye::new(words).start();
        client.wait_for::<Send>();
        break_off(&mut peer, &client);
        let run = client.finish().exits(10);
        assert_eq!(came(&run), 50_000, "{}", run.dump());
        let error = run.one::<Error>();
        assert_eq!((error.step, error.errno.as_deref()), (Step::Recv, Some("ECONNRESET")), "{}", run.dump());
        let close = run.one::<Close>();
        assert_eq!((close.reason, close.reset_by, close.bytes_unread), (Reason::Reset, Some(Side::Peer), Some(0)));
        assert!(run.all::<Shutdown>().is_empty(), "{}", run.dump());
    }

    fn a_relay_tells_the_reset_and_not_that_its_shutdown_met_it(family) {
        require(&["strace"]);
        let mut peer = Peer::python_server(ANSWER, &[&family.host()]);
        peer.send(b"go\n");
        let strace = "strace -f -qq -o /dev/null -e trace=shutdown -e inject=shutdown:delay_enter=300000";
        let words = format!("connect {} {} --recv-size 1000 --json", family.host(), peer.port);
        let run = Sockeye::new(words).stdin("GET").under(strace.split(' ')).run().exits(10);
        assert_eq!(came(&run), 50_000, "{}", run.dump());
        let error = run.one::<Error>();
        assert_eq!((error.step, error.errno.as_deref()), (Step::Recv, Some("ECONNRESET")), "{}", run.dump());
        let close = run.one::<Close>();
        assert_eq!((close.reason, close.bytes_unread), (Reason::Reset, Some(0)), "{}", run.dump());
    }

    fn a_banner_before_a_reset_is_shown_though_the_message_is_not_due_yet(family) {
        let script = "
server = listen(sys.argv[1])
peer, _ = server.accept()
told()
peer.sendall(b'421 too many connections')
reset(peer)
";
        let mut peer = Peer::python_server(script, &[&family.host()]);
        let words = format!("connect {} {} hi --send-delay 500ms --recv-size 10 --json", family.host(), peer.port);
        let client = Sockeye::new(words).start();
        client.wait_for::<Connect>();
        peer.send(b"go\n");
        let run = client.finish().exits(10);
        let parts: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.bytes).collect();
        assert_eq!(parts, [10, 10, 4], "{}", run.dump());
        let ends: Vec<_> = run.names().into_iter().filter(|name| ["recv", "error", "close"].contains(name)).collect();
        assert_eq!(ends, ["recv", "recv", "recv", "error", "close"]);
        assert_eq!(run.one::<Error>().errno.as_deref(), Some("ECONNRESET"));
        assert_eq!(run.one::<Close>().bytes_unread, Some(0));
    }

    fn a_server_reads_all_that_came_before_the_reset(family) {
        // In the hall, and in a session of its own.
        for (rest, header) in [
            ("--echo", ""),
            ("--when-regex x ok", ""),
            ("--echo --proxy-protocol", "PROXY UNKNOWN\r\n"),
        ] {
            let server = Sockeye::new(format!("serve 0 --json --recv-size 1000 {rest}")).start();
            let mut peer = dial(family, server.port());
            server.signal(Signal::SIGSTOP);
            peer.write_all(header.as_bytes()).unwrap();
            peer.write_all(&[b'x'; 50_000]).unwrap();
            reset(peer);
            server.signal(Signal::SIGCONT);
            server.wait_for::<Close>();
            let run = server.interrupt().exits(0);
            assert_eq!(came(&run), 50_000, "{rest}: {}", run.dump());
            assert!(run.all::<Recv>().iter().all(|recv| recv.bytes <= 1000), "{rest}");
            assert_eq!(run.one::<Error>().errno.as_deref(), Some("ECONNRESET"), "{rest}");
            let close = run.one::<Close>();
            let told = (close.reason, close.reset_by, close.bytes_unread, close.bytes_sent);
            assert_eq!(told, (Reason::Reset, Some(Side::Peer), Some(0), 0), "{rest}: {}", run.dump());
        }
    }

    fn a_server_that_only_reads_on_reads_all_of_it(family) {
        for rest in ["--fault half-close", "--source-bytes 10"] {
            let server = Sockeye::new(format!("serve 0 --json --recv-size 1000 {rest}")).start();
            let port = server.port();
            server.signal(Signal::SIGSTOP);
            let mut peer = dial(family, port);
            peer.write_all(&[b'x'; 50_000]).unwrap();
            reset(peer);
            server.signal(Signal::SIGCONT);
            server.wait_for::<Close>();
            let run = server.interrupt().exits(0);
            assert_eq!(came(&run), 50_000, "{rest}: {}", run.dump());
            assert_eq!(run.one::<Error>().errno.as_deref(), Some("ECONNRESET"), "{rest}: {}", run.dump());
            let close = run.one::<Close>();
            assert_eq!((close.reason, close.bytes_unread), (Reason::Reset, Some(0)), "{rest}: {}", run.dump());
        }
    }
}

#[test]
fn records_that_came_before_a_unix_peer_was_gone_are_read_though_none_can_be_answered() {
    for (kind, name) in [(Type::SEQPACKET, "seqpacket"), (Type::STREAM, "stream")] {
        let (_dir, path) = place();
        let server = Sockeye::new(format!("unix-serve --json --recv-size 2 --type {name}")).arg(&path).start();
        server.wait_for::<Bind>();
        server.signal(Signal::SIGSTOP);
        let peer = connected(kind, &path).unwrap();
        for record in [&b"ab"[..], b"", b"cd", b"ef"] {
            peer.send(record).unwrap();
        }
        drop(peer);
        server.signal(Signal::SIGCONT);
        server.wait_for::<Close>();
        let run = server.interrupt().exits(0);
        let records: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.bytes).collect();
        let all = if kind == Type::SEQPACKET { vec![2, 0, 2, 2] } else { vec![2, 2, 2] };
        assert_eq!(records, all, "{}", run.dump());
        assert_eq!(run.one::<Error>().errno.as_deref(), Some("EPIPE"), "{}", run.dump());
        let close = run.one::<Close>();
        assert_eq!((close.reason, close.reset_by, close.bytes_unread), (Reason::Local, None, Some(0)));
        assert_eq!((run.all::<Eof>().len(), close.closed_first), (1, Some(Side::Peer)), "{}", run.dump());
    }
}

#[test]
fn a_reset_behind_the_peers_end_is_told_though_all_was_read() {
    // It is told as what shutdown(2) gives: the end has come before it, and is what recv(2) gives.
    let script = "
server = listen(sys.argv[1])
peer, _ = server.accept()
told()
peer.sendall(b'answer')
peer.shutdown(socket.SHUT_WR)
reset(peer)
say('gone')
";
    let mut peer = Peer::python_server(script, &["127.0.0.1"]);
    let client = Sockeye::new(format!("connect 127.0.0.1 {} GET --until-eof --json", peer.port)).start();
    client.wait_for::<Send>();
    break_off(&mut peer, &client);
    let run = client.finish().exits(10);
    assert_eq!((came(&run), run.all::<Eof>().len()), (6, 1), "{}", run.dump());
    let error = run.one::<Error>();
    assert_eq!((error.step, error.errno.as_deref()), (Step::Shutdown, Some("ENOTCONN")), "{}", run.dump());
    assert!(error.hint.as_deref().unwrap_or_default().contains("by a reset"), "{}", run.dump());
    let close = run.one::<Close>();
    assert_eq!((close.reason, close.closed_first, close.reset_by), (Reason::Reset, Some(Side::Peer), Some(Side::Peer)));
}

#[test]
fn the_end_of_a_peer_that_is_gone_is_told_once() {
    for _ in 0..10 {
        let server = Sockeye::new("serve 127.0.0.1:0 --json --source-bytes 2M --count 1").start();
        drop(dial(Family::V4, server.port()));
        let run = server.finish_by_itself();
        assert!(run.all::<Eof>().len() <= 1, "{}", run.dump());
    }
}

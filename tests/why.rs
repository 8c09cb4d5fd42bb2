//! Why a connection ended as it did, and what held it back: who closed first, clean or by a reset,
//! what was left, and the kernel's own account of the time, against Python.

use std::ffi::OsString;
use std::io::Write;

use nix::sys::signal::Signal;

use crate::broken_off::break_off;
use crate::harness::events::{
    Accept, Close, Connect, Eof, Error, HeldBack, Reason, Recv, Send, Side, TcpFigures, Timeout, Warning,
};
use crate::harness::net::{Net, TempDir, dial, inside, over_both_families, reset};
use crate::harness::peers::{PRELUDE, python};
use crate::harness::process::Stdin;
use crate::harness::{Family, Finished, Peer, Sockeye, require};
use crate::unix::{CONNECTED, TYPES, abstract_name, serve};

/// A server that accepts one connection and goes on as `script` says.
fn server(family: Family, script: &str) -> Peer {
    Peer::python_server(
        &format!("server = listen(sys.argv[1])\npeer, _ = server.accept()\n{script}"),
        &[&family.host()],
    )
}

fn connect(family: Family, peer: &Peer) -> Sockeye {
    Sockeye::new(format!("connect {} {} --json", family.host(), peer.port))
}

/// Returns who closed first, who reset, and whether it was clean, of the only connection of a run.
#[track_caller]
fn ending(run: &Finished) -> (Option<Side>, Option<Side>, Option<bool>) {
    let close = run.one::<Close>();
    (close.closed_first, close.reset_by, close.clean)
}

#[track_caller]
fn figures(run: &Finished) -> TcpFigures {
    run.one::<Close>().tcp.clone().unwrap_or_else(|| panic!("no TCP figures in\n{}", run.dump()))
}

const PEER: Option<Side> = Some(Side::Peer);
const LOCAL: Option<Side> = Some(Side::Local);

over_both_families! {
    fn a_peer_that_closes_first_has_closed_first(family) {
        let peer = server(family, "peer.sendall(b'bye')\npeer.close()");
        let run = connect(family, &peer).stdin_piped().start();
        run.wait_for::<Eof>();
        let run = run.finish().exits(0);
        assert_eq!(ending(&run), (PEER, None, Some(true)), "{}", run.dump());
    }

    fn a_peer_that_closes_after_us_has_not(family) {
        let peer = server(family, "all_of(peer)\npeer.sendall(b'bye')\npeer.close()");
        let run = connect(family, &peer).stdin("hello").run().exits(0);
        assert_eq!(ending(&run), (LOCAL, None, Some(true)), "{}", run.dump());
    }

    fn an_end_of_the_peer_that_nobody_read_came_first_all_the_same(family) {
        // TCP_CORK: answer and end come in one segment, of which the only recv takes the answer.
        let peer = server(family, "exactly(peer, 5)\npeer.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)\npeer.sendall(b'bye')\npeer.shutdown(socket.SHUT_WR)\nsay(all_of(peer))");
        let run = connect(family, &peer).args(["hello", "--recv-size", "3"]).run().exits(0);
        assert!(run.all::<Eof>().is_empty() && run.all::<Recv>().len() == 1, "{}", run.dump());
        assert_eq!(ending(&run), (PEER, None, Some(true)), "{}", run.dump());
        assert_eq!(peer.lines(), ["b''"]);
    }

    fn we_close_first_where_the_peer_still_waits(family) {
        let peer = server(family, "peer.sendall(exactly(peer, 5))\nsay(all_of(peer))");
        let run = connect(family, &peer).arg("hello").run().exits(0);
        let close = run.one::<Close>();
        assert_eq!((close.closed_first, close.reset_by), (LOCAL, None), "{}", run.dump());
        assert_eq!(close.clean, (close.bytes_unacknowledged == Some(0)).then_some(true));
        assert_eq!(peer.lines(), ["b''"]);
    }

    fn a_reset_of_the_peer_is_the_peers(family) {
        let peer = server(family, "exactly(peer, 5)\nreset(peer)");
        let run = connect(family, &peer).arg("hello").run().exits(10);
        assert_eq!(ending(&run), (PEER, PEER, Some(false)), "{}", run.dump());
    }

    fn a_reset_that_no_call_met_is_one_of_the_resets(family) {
        // Only those were counted that a call had failed with; the close told the others too.
        for quiet in ["", "-q"] {
            let mut peer = server(family, "exactly(peer, 5)\nsay('got')\ntold()\npeer.sendall(b'bye')\nreset(peer)\nsay('gone')");
            let run = connect(family, &peer).args(["hello"]).args(quiet.split_whitespace()).start();
            peer.wait_for("got");
            break_off(&mut peer, &run);
            let run = run.finish().exits(0);
            assert_eq!(run.summary().resets, Some(1), "{}", run.dump());
            if quiet.is_empty() {
                assert_eq!((run.one::<Close>().reason, ending(&run)), (Reason::Local, (PEER, PEER, Some(false))), "{}", run.dump());
            }
        }
    }

    fn bytes_that_a_reset_left_unread_are_not_told_as_ours(family) {
        // The peer that is said to see a reset was the one that had sent it.
        let mut peer = server(family, "exactly(peer, 5)\nsay('got')\ntold()\npeer.sendall(b'goodbye')\nreset(peer)\nsay('gone')");
        let run = connect(family, &peer).args(["hello", "--recv-size", "4"]).start();
        peer.wait_for("got");
        break_off(&mut peer, &run);
        let run = run.finish().exits(0);
        assert_eq!((run.one::<Close>().bytes_unread, ending(&run).1), (Some(3), PEER), "{}", run.dump());
        let warning = run.one::<Warning>();
        assert!(warning.name == "unread-at-close" && !warning.message.contains("peer sees"), "{warning:?}");
    }

    fn what_a_reset_left_unread_is_told_whoever_met_it(family) {
        // A recv meets a reset when all before it was read; a wait for something else does not.
        for fault in ["hang", "delay=1h", "slow=1/s", "slow=1/s --source-bytes", "delay=1h --source-bytes 9"] {
            let size = if fault == "hang" { "" } else { "--recv-size 100" };
            let words = format!("serve {} --json --fault {fault} {size}", family.at(0));
            let server = Sockeye::new(words).start();
            let mut client = dial(family, server.port());
            server.wait_for::<Accept>();
            client.write_all(&[b'x'; 600]).unwrap();
            reset(client);
            let close = server.wait_for::<Close>();
            let run = server.interrupt().exits(0);
            assert_eq!((close.reason, close.reset_by), (Reason::Reset, PEER), "{fault}: {}", run.dump());
            assert!(close.bytes_received <= 100, "{fault}: {}", run.dump());
            assert_eq!(close.bytes_unread, Some(600 - close.bytes_received), "{fault}: {}", run.dump());
            let warning = run.one::<Warning>();
            assert!(warning.name == "unread-at-close" && !warning.message.contains("peer sees"), "{warning:?}");
        }
    }

    fn a_reset_after_our_end_is_the_peers_and_we_closed_first(family) {
        let peer = server(family, "all_of(peer)\nreset(peer)");
        let run = connect(family, &peer).stdin("hello").run().exits(10);
        assert_eq!(ending(&run), (LOCAL, PEER, Some(false)), "{}", run.dump());
    }

    fn what_we_leave_unread_makes_us_reset(family) {
        let peer = server(family, "exactly(peer, 5)\npeer.sendall(b'0123456789')\ntry:\n    say(peer.recv(9))\nexcept ConnectionResetError:\n    say('reset')");
        let run = connect(family, &peer).args(["hello", "--recv-size", "4"]).run().exits(0);
        assert_eq!(ending(&run), (LOCAL, LOCAL, Some(false)), "{}", run.dump());
        assert_eq!(run.one::<Close>().bytes_unread, Some(6));
        assert_eq!(peer.lines(), ["reset"], "as the peer sees it");
    }

    fn a_server_tells_how_each_connection_ended(family) {
        let server = Sockeye::new(format!("serve {} --json --count 3", family.at(0))).start();
        let closes = dial(family, server.port());
        let resets = dial(family, server.port());
        server.wait_for_nth::<Accept>(2);
        drop(closes);
        reset(resets);
        server.wait_for_nth::<Close>(2);
        let denied = Peer::python(&format!("peer = dial('{}', {})\npeer.sendall(b'x')\nexactly(peer, 1)\npeer.close()", family.host(), server.port()), &[]);
        denied.lines();
        let run = server.finish().exits(0);
        let of = |conn| {
            let close = run.all::<Close>().into_iter().find(|close| close.conn == conn).unwrap();
            (close.closed_first, close.reset_by, close.clean)
        };
        assert_eq!(of(1), (PEER, None, Some(true)));
        assert_eq!(of(2), (PEER, PEER, Some(false)));
        assert_eq!((of(3).0, of(3).1), (PEER, None));
    }

    fn bytes_that_the_peer_never_took_are_told(family) {
        // The peer reads nothing: what its window and our buffer hold is not acknowledged.
        let peer = server(family, "say('there')\ntold()");
        let client = connect(family, &peer).args(["--idle-timeout", "1s"]).stdin(vec![b'x'; 32 << 20]).start();
        let run = client.finish_by_itself().exits(8);
        let close = run.one::<Close>();
        let left = close.bytes_unacknowledged.unwrap();
        assert!(left > 0 && left < close.bytes_sent, "{close:?}");
        assert_eq!((close.closed_first, close.reset_by, close.clean), (LOCAL, None, Some(false)));
        peer.finish();
    }

    fn a_peer_that_does_not_read_holds_back_by_its_window(family) {
        let peer = server(family, "peer.recv(1)\nstart = time.monotonic()\ntime.sleep(1)\nsay(time.monotonic() - start)\nwhile peer.recv(1 << 20): pass");
        let run = connect(family, &peer).stdin(vec![b'x'; 32 << 20]).run().exits(0);
        let slept: f64 = peer.lines()[0].parse().unwrap();
        let tcp = figures(&run);
        assert_eq!(tcp.held_back_by, Some(HeldBack::PeerWindow), "{tcp:?}");
        let limited = tcp.rwnd_limited_ns.unwrap() as f64 / 1e9;
        assert!((0.6 * slept..slept + 1.5).contains(&limited), "{limited} s of {slept} s: {tcp:?}");
        assert!(tcp.busy_ns.unwrap() >= tcp.rwnd_limited_ns.unwrap() + tcp.sndbuf_limited_ns.unwrap());
    }

    fn who_sent_nothing_was_not_held_back(family) {
        let peer = server(family, "peer.sendall(b'bye')\npeer.close()");
        let run = connect(family, &peer).stdin_piped().start();
        run.wait_for::<Eof>();
        let tcp = figures(&run.finish().exits(0));
        assert_eq!((tcp.held_back_by, tcp.retransmits), (None, 0), "{tcp:?}");
        // The end of our side waits for its acknowledgment too: on a busy machine for a tick or two.
        assert!(tcp.busy_ns < Some(20_000_000), "{tcp:?}");
        assert_eq!(tcp.bytes_retransmitted, Some(0));
        assert!(tcp.pmtu > tcp.mss, "{tcp:?}");
    }
}

#[test]
fn a_unix_socket_knows_who_closed_first_too() {
    let dir = TempDir::new();
    let path = dir.path().join("x.sock");
    let script = |then: &str| {
        format!(
            "server = socket.socket(socket.AF_UNIX)\nserver.bind(sys.argv[1])\nserver.listen()\nsay(1)\npeer, _ = server.accept()\n{then}"
        )
    };
    // What came before the delay is over lies in the kernel, the end too: nobody reads that.
    for (then, expected) in [
        ("peer.sendall(b'bye')\npeer.shutdown(socket.SHUT_WR)\nsay(all_of(peer))", PEER),
        ("peer.sendall(b'bye')\nsay(all_of(peer))", LOCAL),
    ] {
        let peer = Peer::python_server(&script(then), &[path.to_str().unwrap()]);
        let run =
            Sockeye::new(format!("connect unix:{} hello --send-delay 500ms --recv-size 3 --json", path.display()))
                .run()
                .exits(0);
        assert!(run.all::<Eof>().is_empty(), "{}", run.dump());
        assert_eq!(ending(&run), (expected, None, Some(true)), "{}", run.dump());
        let close = run.one::<Close>();
        assert!(close.tcp.is_none() && close.bytes_unacknowledged.is_none(), "{close:?}");
        assert_eq!(peer.lines(), ["b'hello'"]);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_a_reset_left_unread_of_a_unix_peer_is_told_too() {
    for kind in CONNECTED {
        let name = abstract_name();
        // Of the records the first is whole before the next is read.
        let server = serve(&name, kind, "--recv-size 100 --fault slow=10/s");
        let script = "peer = reach(*sys.argv[1:])\nfor _ in range(6):\n    peer.send(b'x' * 100)\nsay('sent')\ntold()";
        let mut peer = Peer::python(&format!("{TYPES}{script}"), &[kind, &name]);
        peer.wait_for("sent");
        // What it leaves unread makes a reset of its close.
        server.wait_for::<Send>();
        peer.send(b"close\n");
        let close = server.wait_for::<Close>();
        let run = server.interrupt().exits(0);
        assert_eq!((close.reason, close.reset_by), (Reason::Reset, PEER), "{kind}: {}", run.dump());
        assert_eq!(close.bytes_unread, Some(600 - close.bytes_received), "{kind}: {}", run.dump());
        assert!(close.bytes_received < 600 && run.one::<Warning>().name == "unread-at-close", "{}", run.dump());
    }
}

#[test]
fn a_unix_peer_that_takes_no_more_is_reset_by_what_we_leave_unread_of_it() {
    // It is there still, unless it has closed both sides: then nobody sees a reset, and a server that does not
    // misbehave reads what there is.
    let stays = "peer.shutdown(socket.SHUT_RD)\nsay('shut')\ntold()\nfor _ in range(6):\n    peer.send(b'x' * 100)\nsay('sent')\ntold()\nsay(peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET)";
    let goes = "say('shut')\ntold()\nfor _ in range(6):\n    peer.send(b'x' * 100)\npeer.close()\nsay('sent')\ntold()";
    for kind in CONNECTED {
        for fault in ["", "--fault delay=100ms"] {
            for (script, expected) in [(stays, (LOCAL, LOCAL)), (goes, (PEER, None))] {
                let name = abstract_name();
                let server = serve(&name, kind, &format!("--recv-size 100 {fault}"));
                let script = format!("{TYPES}import errno\npeer = reach(*sys.argv[1:])\n{script}");
                let mut peer = Peer::python(&script, &[kind, &name]);
                peer.wait_for("shut");
                server.wait_for::<Accept>();
                // So that all has come before the first answer.
                server.signal(Signal::SIGSTOP);
                peer.send(b"send\n");
                peer.wait_for("sent");
                server.signal(Signal::SIGCONT);
                server.wait_for::<Close>();
                peer.send(b"look\n");
                let run = server.interrupt().exits(0);
                assert_eq!(run.one::<Error>().errno.as_deref(), Some("EPIPE"), "{}", run.dump());
                assert_eq!(ending(&run), (expected.0, expected.1, Some(false)), "{kind} {fault}: {}", run.dump());
                let close = run.one::<Close>();
                let unread = if fault.is_empty() && expected.1.is_none() { 0 } else { 500 };
                assert_eq!((close.reason, close.bytes_unread), (Reason::Local, Some(unread)), "{}", run.dump());
                assert_eq!(close.bytes_received, 600 - unread, "{}", run.dump());
                let warnings = run.all::<Warning>();
                assert_eq!(warnings.len(), usize::from(unread > 0), "{}", run.dump());
                let is_seen = warnings.iter().any(|warning| warning.message.ends_with(": the peer sees a reset"));
                assert_eq!(is_seen, expected.1.is_some(), "{}", run.dump());
                assert_eq!(run.summary().resets, Some(0), "{}", run.dump());
                let lines = peer.lines();
                assert!(expected.1.is_none() || lines.last().is_some_and(|line| line == "True"), "{lines:?}");
            }
        }
    }
}

#[test]
fn a_send_that_failed_ends_no_unix_connection_which_our_close_may_reset() {
    let name = abstract_name();
    let prefix = "x".repeat(9_000);
    let server = serve(&name, "seqpacket", &format!("--prefix {prefix} --send-buffer 4096 --fault delay=500ms"));
    let script = "peer = reach(*sys.argv[1:])\npeer.send(b'hello')\npeer.send(b'again')\nimport errno\nsay('sent')\ntold()\nsay(peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET)";
    let mut peer = Peer::python(&format!("{TYPES}{script}"), &["seqpacket", &name]);
    server.wait_for::<Close>();
    peer.send(b"look\n");
    assert_eq!(peer.lines(), ["sent", "True"]);
    let run = server.interrupt().exits(0);
    assert_eq!(run.one::<Error>().errno.as_deref(), Some("EMSGSIZE"), "{}", run.dump());
    assert_eq!(ending(&run), (LOCAL, LOCAL, Some(false)), "{}", run.dump());
    assert!(run.one::<Warning>().message.ends_with(": the peer sees a reset"), "{}", run.dump());
}

/// Sends, and cuts the way off when that has arrived.
const FALL_SILENT: &str = "
import fcntl, termios
peer = dial('127.0.0.1', 9100)
peer.sendall(b'hi')
while fcntl.ioctl(peer, termios.TIOCOUTQ, bytes(4)) != bytes(4):
    pass
os.system('ip link set lo down')
told()
";

#[test]
fn what_a_silent_peer_left_unread_is_told_too() {
    let server = Sockeye::new("serve 127.0.0.1:9100 --fault hang --keepalive 1s --user-timeout 1s --json");
    let server = server.under(Net::isolated().prefix()).start();
    server.port();
    let mut words = inside(server.pid());
    let script = format!("{PRELUDE}{FALL_SILENT}");
    words.extend([python(), "-I", "-S", "-c", &script].map(OsString::from));
    let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
    let peer = Peer::program(words[0], &words[1..], Stdin::Piped, None);
    let close = server.wait_for::<Close>();
    let run = server.interrupt().exits(0);
    assert_eq!(run.one::<Error>().errno.as_deref(), Some("ETIMEDOUT"), "{}", run.dump());
    let told = (close.reason, close.reset_by, close.bytes_received, close.bytes_unread);
    assert_eq!(told, (Reason::Timeout, None, 0, Some(2)), "{}", run.dump());
    peer.finish();
}

#[test]
fn text_says_it_in_few_words_and_without_v_only_what_is_unusual() {
    let verdict = |words: &[&str], script: &str| {
        let peer = server(Family::V4, script);
        let run = Sockeye::new(format!("connect 127.0.0.1 {}", peer.port)).args(words).stdin("hello").run();
        peer.finish();
        run.stderr()
    };
    let good = "all_of(peer)\npeer.close()";
    let plain = verdict(&[], good);
    assert!(
        !plain.contains("closed first") && !plain.contains("clean") && !plain.contains("unacknowledged"),
        "{plain}"
    );
    let verbose = verdict(&["-v"], good);
    assert!(verbose.contains("closed first by us, clean, rtt "), "{verbose}");
    let broken = verdict(&[], "all_of(peer)\nreset(peer)");
    assert!(broken.contains(", reset by the peer"), "{broken}");
}

#[test]
fn the_summary_of_a_client_says_what_held_it_back() {
    let peer = server(Family::V4, "exactly(peer, 1)\ntime.sleep(0.5)\nwhile peer.recv(1 << 20): pass");
    let run = Sockeye::new(format!("connect 127.0.0.1 {} -v", peer.port)).stdin(vec![b'x'; 32 << 20]).run().exits(0);
    let text = run.stderr();
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("the transfer was held back by the peer's window for "), "{text}");
}

#[test]
fn a_connection_that_the_network_breaks_was_waited_for_in_vain() {
    require(&["nft"]);
    for (icmp, errno) in [("host-unreachable", "EHOSTUNREACH"), ("port-unreachable", "ECONNREFUSED")] {
        let net = Net::isolated()
            .with("nft add table ip t")
            .with("nft 'add chain ip t i { type filter hook input priority 0; }'");
        let server = Sockeye::new("serve 127.0.0.1:9100 --json").under(net.prefix()).start();
        server.port();
        let words = "connect 127.0.0.1:9100 --user-timeout 1s --json";
        let mut client = Sockeye::new(words).under(inside(server.pid())).stdin_piped().start();
        client.wait_for::<Connect>();
        let rule = format!("nft add rule ip t i tcp dport 9100 reject with icmp {icmp}");
        let mut nft: Vec<String> = inside(server.pid()).into_iter().map(|word| word.into_string().unwrap()).collect();
        nft.extend(rule.split(' ').map(str::to_owned));
        let words: Vec<&str> = nft[1..].iter().map(String::as_str).collect();
        assert!(Peer::program(&nft[0], &words, Stdin::Null, None).finish().status.success());
        client.send(b"hello");
        client.wait_for::<Error>();
        let run = client.finish().exits(9);
        let error = run.one::<Error>();
        assert_eq!(error.errno.as_deref(), Some(errno), "{}", run.dump());
        assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("ICMP")), "{}", run.dump());
        assert_eq!(run.one::<Close>().reason, Reason::Timeout, "{}", run.dump());
        assert!((1_000_000_000..60_000_000_000).contains(&run.one::<Timeout>().after_ns), "{}", run.dump());
        assert_eq!(ending(&run), (None, None, Some(false)), "{}", run.dump());
    }
}

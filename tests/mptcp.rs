//! `--mptcp`: asked for, and whether it came about, against Python.

use crate::harness::events::{Accept, Close, Connect, Error, Mptcp, Queue, Setsockopt, Side, Socket, Step, Warning};
use crate::harness::net::{Net, listener, over_both_families};
use crate::harness::{Family, Peer, Sockeye};

/// A Python server of a protocol, MPTCP (262) or TCP (6), that echoes once.
fn server(family: Family, protocol: u32) -> Peer {
    let script = "family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\nserver = socket.socket(family, socket.SOCK_STREAM, int(sys.argv[2]))\nserver.bind((sys.argv[1], 0))\nserver.listen()\nsay(server.getsockname()[1])\npeer, _ = server.accept()\npeer.sendall(exactly(peer, 5))\nall_of(peer)";
    Peer::python_server(script, &[&family.host(), &protocol.to_string()])
}

over_both_families! {
    fn a_client_tells_whether_the_server_speaks_it(family) {
        for (protocol, expected) in [(262, Mptcp::Negotiated), (6, Mptcp::Fallback)] {
            let peer = server(family, protocol);
            let run =
                Sockeye::new(format!("connect {} {} hello --mptcp --json", family.host(), peer.port)).run().exits(0);
            assert_eq!(run.one::<Connect>().mptcp, Some(expected), "{}", run.dump());
            assert_eq!(run.one::<Socket>().protocol.as_deref(), Some("IPPROTO_MPTCP"));
            peer.lines();
        }
    }

    fn a_server_tells_which_client_speaks_it(family) {
        let server = Sockeye::new(format!("serve {} --mptcp --count 2 --json", family.at(0))).start();
        // The peer says for itself whether it speaks MPTCP (MPTCP_INFO: flags at 8, fallback is bit 0).
        let script = "family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\nfor protocol in (262, 6):\n    peer = socket.socket(family, socket.SOCK_STREAM, protocol)\n    peer.connect((sys.argv[1], int(sys.argv[2])))\n    peer.sendall(b'hello')\n    exactly(peer, 5)\n    try:\n        say(not peer.getsockopt(284, 1, 16)[8] & 1)\n    except OSError:\n        say(False)\n    peer.close()";
        let peer = Peer::python(script, &[&family.host(), &server.port().to_string()]);
        assert_eq!(peer.lines(), ["True", "False"]);
        let run = server.finish().exits(0);
        let spoken: Vec<_> = run.all::<Accept>().iter().map(|accept| accept.mptcp).collect();
        assert_eq!(spoken, [Some(Mptcp::Negotiated), Some(Mptcp::Fallback)]);
        assert_eq!(run.one::<Queue>().drops, None, "the kernel does not tell them");
    }

    fn each_other_option_works_or_says_that_it_does_not(family) {
        let (_listener, port) = listener(family);
        for (words, option) in [
            ("--recv-buffer 64KiB", "SO_RCVBUF"),
            ("--send-buffer 64KiB", "SO_SNDBUF"),
            ("--ttl 5", "IP"),
            ("--dscp ef", "IP"),
            ("--reuse-port", "SO_REUSEPORT"),
            ("--keepalive 30s", "TCP_KEEPIDLE"),
            ("--no-delay", "TCP_NODELAY"),
            ("--mss 1000", "TCP_MAXSEG"),
            ("--congestion reno", "TCP_CONGESTION"),
            ("--user-timeout 3s", "TCP_USER_TIMEOUT"),
            ("--dont-fragment", "IP"),
            ("--busy-poll 50us", "SO_BUSY_POLL"),
            ("--interface lo", "SO_BINDTODEVICE"),
        ] {
            let run = Sockeye::new(format!("connect {} {port} --probe --mptcp --json -v {words}", family.host())).run();
            match run.code() {
                0 => assert!(run.all::<Setsockopt>().iter().any(|set| set.option.starts_with(option)), "{}", run.dump()),
                _ => {
                    let error = run.one::<Error>();
                    assert_eq!((run.code(), error.step), (5, Step::Setsockopt), "{}", run.dump());
                    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("--mptcp")), "{error:?}");
                }
            }
        }
    }
}

#[test]
fn where_it_is_switched_off_the_socket_step_fails_and_says_how_to_switch_it_on() {
    for line in ["serve 127.0.0.1:0", "connect 127.0.0.1 9 hello"] {
        let net = Net::isolated().with("echo 0 >/proc/sys/net/mptcp/enabled");
        let run = Sockeye::new(format!("{line} --mptcp --json")).under(net.prefix()).run().exits(5);
        let error = run.one::<Error>();
        assert_eq!(error.step, Step::Socket);
        assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("net.mptcp.enabled")), "{error:?}");
    }
}

#[test]
fn without_being_asked_for_it_is_absent() {
    let (_listener, port) = listener(Family::V4);
    let run = Sockeye::new(format!("connect 127.0.0.1 {port} --probe --json")).run().exits(0);
    assert_eq!(run.one::<Connect>().mptcp, None);
    assert_eq!(run.one::<Socket>().protocol.as_deref(), Some("IPPROTO_TCP"));
}

#[test]
fn what_is_left_unread_at_its_close_is_told_as_of_tcp() {
    // The kernel counts the peer's end as a byte (SIOCINQ): an ordinary close was told as our reset.
    let script = "peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM, int(sys.argv[2]))\npeer.connect(('127.0.0.1', int(sys.argv[1])))\npeer.sendall(b'x' * int(sys.argv[3]))\nif sys.argv[4] == 'end':\n    peer.shutdown(socket.SHUT_WR)\nall_of(peer)";
    for protocol in ["262", "6"] {
        for (data, end, unread) in
            [("2", "end", 0), ("2", "", 0), ("5", "end", 3), ("5", "", 3), ("60000", "end", 59_998)]
        {
            // What the peer has sent is all there before the answer goes, and with it the close.
            let line = "serve 127.0.0.1:0 --mptcp --recv-size 2 --messages 1 --count 1 --fault delay=500ms --json";
            let server = Sockeye::new(line).start();
            let peer = Peer::python(script, &[&server.port().to_string(), protocol, data, end]);
            let run = server.finish().exits(0);
            let close = run.one::<Close>();
            assert_eq!((close.bytes_unread, close.clean), (Some(unread), Some(unread == 0)), "{}", run.dump());
            assert_eq!(close.reset_by, (unread > 0).then_some(Side::Local), "{}", run.dump());
            // Others in this network namespace may overflow their queues.
            let of_unread = run.all::<Warning>().into_iter().filter(|warning| warning.name == "unread-at-close");
            assert_eq!(of_unread.count(), usize::from(unread > 0), "{}", run.dump());
            drop(peer);
        }
    }
}

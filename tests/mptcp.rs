//! `--mptcp`: asked for, and whether it came about, against Python.

use crate::harness::events::{Accept, Connect, Error, Mptcp, Queue, Setsockopt, Socket, Step};
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

//! Datagrams that are received: what is printed, told and answered, of many peers at once.

use std::io::Read;
use std::net::UdpSocket;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::events::{Bind, Error, Interim, Recv, Send, Setsockopt, Socket, Step, Timeout};
use crate::harness::net::{Net, over_both_families, random_bytes};
use crate::harness::process::PATIENCE;
use crate::harness::udp::{ask, client, connect, dial, hear, port_of, wait_for_port};
use crate::harness::{Family, Peer, Running, Sockeye, Tool, udp};

/// Starts a receiver on a free port of loopback.
fn listen(family: Family, rest: &str) -> Running {
    Sockeye::new(format!("udp-listen {} {rest}", family.at(0))).start()
}

/// Returns the port of a receiver that prints text: the kernel says it.
fn text_port(running: &Running) -> u16 {
    wait_for_port(running.pid(), || running.is_running()).unwrap()
}

/// Asks from a given address of ours, on a socket that hears only whom it has asked.
fn ask_from(from: &str, to: &str, port: u16) -> Vec<u8> {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect((to, port)).unwrap();
    ask(&socket, b"who?")
}

over_both_families! {
    fn data_goes_to_stdout_as_nc_has_it(family) {
        for rest in ["--count 4", "--count 4 -q", "--count 4 -v", "--count 4 --no-gro"] {
            let listener = listen(family, rest);
            let peer = dial(family, text_port(&listener));
            for data in [&b"one\n"[..], b"", b"\x00\xfe\xff", b"last"] {
                peer.send(data).unwrap();
            }
            let run = listener.finish().exits(0);
            assert_eq!(run.stdout(), b"one\n\x00\xfe\xfflast", "{rest}");
        }
    }

    fn each_datagram_is_told_with_what_came_along(family) {
        let listener = listen(family, "--count 3 --json");
        let port = port_of(&listener);
        let script = r#"
if ":" in host:
    peer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 9)
    peer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, (46 << 2) | 1)
else:
    peer.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 9)
    peer.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, (46 << 2) | 1)
before = time.time_ns()
peer.send(b"hello")
peer.send(b"")
peer.send(b"\xff\x00")
say(peer.getsockname()[1], before, time.time_ns())
"#;
        let lines = client(family, port, script);
        let words: Vec<i128> = lines[0].split(' ').map(|word| word.parse().unwrap()).collect();
        let run = listener.finish().exits(0);
        let told = run.all::<Recv>();
        let data: Vec<_> = told.iter().map(|recv| recv.payload()).collect();
        assert_eq!(data, [b"hello".to_vec(), vec![], vec![0xff, 0]]);
        for recv in told {
            assert_eq!(recv.peer, Some(family.at(words[0] as u16).to_string()));
            assert_eq!((recv.local.clone(), recv.conn), (Some(family.at(port).to_string()), None));
            assert_eq!((recv.ttl, recv.dscp, recv.ecn, recv.interface.as_deref()), (Some(9), Some(46), Some(1), Some("lo")));
            assert_eq!((recv.truncated, recv.datagram_bytes), (Some(false), Some(recv.bytes)));
            let stamp = humantime::parse_rfc3339(recv.kernel_time.as_ref().unwrap()).unwrap();
            let stamp = stamp.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i128;
            assert!((words[1]..=words[2]).contains(&stamp), "between the clocks of the sender: {recv:?}");
        }
        let summary = run.summary();
        assert_eq!((summary.received, summary.truncated, summary.bytes_received), (Some(3), Some(0), Some(7)));
        assert_eq!((summary.sent, summary.kernel_drops), (Some(0), Some(0)));
        assert_eq!(run.one::<Bind>().local, family.at(port).to_string());
        assert_eq!(run.one::<Socket>().kind, "SOCK_DGRAM");
    }

    fn many_peers_are_answered_each_by_itself(family) {
        let listener = listen(family, "--echo --prefix E> --count 60 --json");
        let port = port_of(&listener);
        let peers: Vec<_> = (0..20).map(|_| dial(family, port)).collect();
        for round in 0..3 {
            for (number, peer) in peers.iter().enumerate() {
                peer.send(format!("{number}.{round}").as_bytes()).unwrap();
            }
            for (number, peer) in peers.iter().enumerate() {
                assert_eq!(hear(peer), format!("E>{number}.{round}").as_bytes());
            }
        }
        let run = listener.finish().exits(0);
        let mut asked: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.peer.clone().unwrap()).collect();
        let mut answered: Vec<_> = run.all::<Send>().iter().map(|send| send.peer.clone().unwrap()).collect();
        asked.sort();
        answered.sort();
        assert_eq!(asked, answered);
        asked.dedup();
        assert_eq!(asked.len(), 20);
        assert_eq!((run.summary().received, run.summary().sent), (Some(60), Some(60)));
    }

    fn echo_gives_any_data_back_an_empty_datagram_too(family) {
        let listener = listen(family, "--echo --json");
        let peer = dial(family, port_of(&listener));
        for data in [&b""[..], b"\x00\xff\n", &random_bytes(9_000, 3), b"", &random_bytes(65_507, 5)] {
            assert_eq!(ask(&peer, data), data);
        }
        let run = listener.interrupt().exits(0);
        assert_eq!((run.summary().received, run.summary().sent), (Some(5), Some(5)));
        assert_eq!(run.summary().bytes_sent, run.summary().bytes_received);
    }

    fn rules_answer_and_what_has_none_is_silent(family) {
        let listener = listen(family, "--when hello world --when-regex ^[0-9]+$ number --json");
        let peer = dial(family, port_of(&listener));
        peer.send(b"nothing").unwrap();
        assert_eq!(ask(&peer, b"hello\n"), b"world");
        assert_eq!(ask(&peer, b"42"), b"number");
        let run = listener.interrupt().exits(0);
        assert_eq!((run.summary().received, run.summary().sent), (Some(3), Some(2)));
        let listener = listen(family, "--when hello world --otherwise what --json");
        let peer = dial(family, port_of(&listener));
        assert_eq!(ask(&peer, b""), b"what");
        assert_eq!(ask(&peer, b"hello"), b"world");
        listener.interrupt().exits(0);
    }

    fn a_peer_that_is_gone_harms_no_other(family) {
        let listener = listen(family, "--echo --json");
        let port = port_of(&listener);
        // Each has left before its answer can come: the answer is refused.
        client(family, port, "peer.close()\nfor number in range(5):\n  gone = reach(host, port)\n  gone.send(b'%d' % number)\n  gone.close()");
        let peer = dial(family, port);
        for _ in 0..3 {
            assert_eq!(ask(&peer, b"still there?"), b"still there?");
        }
        let run = listener.interrupt().exits(0);
        let summary = run.summary();
        assert_eq!((summary.received, summary.errors), (Some(8), Some(0)), "{}", run.dump());
        assert!(summary.sent == Some(8) && summary.not_sent == Some(0), "{}", run.dump());
    }

    fn what_is_longer_than_a_recv_may_return_is_cut_and_its_true_length_told(family) {
        for rest in ["", "--no-gro", "--echo"] {
            let listener = listen(family, &format!("--recv-size 10 --count 3 {rest} --json"));
            let peer = dial(family, port_of(&listener));
            for size in [9, 10, 65_507] {
                peer.send(&vec![b'x'; size]).unwrap();
            }
            let run = listener.finish().exits(0);
            let told: Vec<_> = run
                .all::<Recv>()
                .iter()
                .map(|recv| (recv.bytes, recv.truncated.unwrap(), recv.datagram_bytes.unwrap(), recv.payload().len()))
                .collect();
            assert_eq!(told, [(9, false, 9, 9), (10, false, 10, 10), (10, true, 65_507, 10)], "{rest}");
            assert_eq!((run.summary().truncated, run.summary().bytes_received), (Some(1), Some(29)));
            if rest == "--echo" {
                assert_eq!([hear(&peer).len(), hear(&peer).len(), hear(&peer).len()], [9, 10, 10]);
            }
        }
    }

    fn the_netcats_send_and_hear(family) {
        for tool in Tool::ALL {
            let listener = listen(family, "--echo --prefix E> --json");
            let mut peer = connect(tool, family, port_of(&listener));
            peer.send(b"question\n");
            peer.wait_for_stdout(b"E>question\n");
            let run = listener.interrupt().exits(0);
            assert_eq!(run.one::<Recv>().data.as_deref(), Some("question\n"), "{tool:?}");
            drop(peer);
            let listener = listen(family, "--count 1");
            let mut peer = connect(tool, family, text_port(&listener));
            peer.send(b"to stdout\x00\n");
            assert_eq!(listener.finish().exits(0).stdout(), b"to stdout\x00\n", "{tool:?}");
        }
    }

    fn discard_counts_and_prints_nothing(family) {
        for rest in ["", "--no-gro", "-q"] {
            let listener = listen(family, &format!("--discard --timeout 2s --json {rest}"));
            let port = text_port(&listener);
            // Segments of one size, which the kernel may merge.
            Sockeye::new(format!("udp-send {} {port} --flood --count 100 --size 50 --json -q", family.host())).run().exits(0);
            let run = listener.finish().exits(0);
            let summary = run.summary();
            assert_eq!((summary.received, summary.bytes_received, summary.sent), (Some(100), Some(5_000), Some(0)), "{rest}");
            let has_events = rest != "-q";
            assert_eq!(run.all::<Recv>().len(), if has_events { 100 } else { 0 });
            assert!(run.all::<Recv>().iter().all(|recv| recv.bytes == 50 && recv.truncated == Some(false)));
        }
    }

    fn a_port_in_use_names_who_holds_it(family) {
        // Another process: of this one there may be a copy for a moment, where another test has just forked.
        let script = "family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n\
                      held = socket.socket(family, socket.SOCK_DGRAM)\nheld.bind((sys.argv[1], 0))\n\
                      say(held.getsockname()[1])\nsys.stdin.read()";
        let holder = Peer::python_server(script, &[&family.host()]);
        let port = holder.port;
        let run = Sockeye::new(format!("udp-listen {} --json", family.at(port))).run().exits(5);
        let error = run.one::<Error>();
        assert_eq!((error.step, error.errno.as_deref()), (Step::Bind, Some("EADDRINUSE")));
        assert_eq!(error.local, Some(family.at(port).to_string()));
        assert!(error.hint.as_ref().unwrap().contains(&holder.pid().to_string()), "{error:?}");
        assert!(run.all::<Bind>().is_empty());
    }

    fn options_are_set_as_asked_for(family) {
        let words = "--count 1 --recv-buffer 64KiB --send-buffer 32KiB --ttl 7 --dscp EF --reuse-port --json -v --echo";
        let listener = listen(family, words);
        let port = port_of(&listener);
        let script = r#"
if ":" in host:
    peer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    peer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
else:
    peer.setsockopt(socket.IPPROTO_IP, 12, 1)
    peer.setsockopt(socket.IPPROTO_IP, 13, 1)
peer.send(b"x")
_, extras, _, _ = peer.recvmsg(99, 999)
say(sorted(value[0] for _, _, value in extras))
"#;
        assert_eq!(client(family, port, script), ["[7, 184]"]);
        let run = listener.finish().exits(0);
        let set = run.all::<Setsockopt>();
        for name in ["SO_RCVBUF", "SO_SNDBUF", "SO_REUSEPORT"] {
            assert!(set.iter().any(|it| it.option.starts_with(name)), "{name}: {}", run.dump());
        }
    }
}

#[test]
fn the_wildcard_takes_both_families_and_tells_ipv4_as_ipv4() {
    let listener = Sockeye::new("udp-listen 0 --echo --count 2 --json").start();
    let port = port_of(&listener);
    for family in Family::BOTH {
        assert_eq!(ask(&dial(family, port), b"x"), b"x");
    }
    let run = listener.finish().exits(0);
    let told = run.all::<Recv>();
    for (recv, family) in told.iter().zip(Family::BOTH) {
        let peer: std::net::SocketAddr = recv.peer.as_ref().unwrap().parse().unwrap();
        assert_eq!(peer.ip(), family.ip());
        assert_eq!(recv.local, Some(family.at(port).to_string()));
        assert_eq!((recv.interface.as_deref(), recv.ttl, recv.ecn), (Some("lo"), Some(64), Some(0)), "{family:?}");
    }
    assert_eq!(run.all::<Send>()[0].peer, told[0].peer);
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    for at in ["0", "0.0.0.0:0"] {
        let listener = Sockeye::new(format!("udp-listen {at} --echo --json")).start();
        let port = port_of(&listener);
        for (from, to) in [("127.0.0.1", "127.0.0.2"), ("127.0.0.9", "127.0.0.77")] {
            assert_eq!(ask_from(from, to, port), b"who?", "{at}");
        }
        let run = listener.interrupt().exits(0);
        let locals: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.local.clone().unwrap()).collect();
        assert_eq!(locals, [format!("127.0.0.2:{port}"), format!("127.0.0.77:{port}")]);
    }
    // The same of IPv6, where this machine has several addresses.
    let net =
        Net::isolated().with("ip addr add 2001:db8::5/128 dev lo nodad; ip addr add 2001:db8::6/128 dev lo nodad");
    let script = udp::script(
        "import subprocess, json\nlisten = subprocess.Popen([sys.argv[1], 'udp-listen', '0', '--echo', '--count', '2', '--json'], stdout=subprocess.PIPE)\nport = next(json.loads(line)['local'] for line in listen.stdout if b'\"bind\"' in line).rsplit(':')[-1]\nfor to in ('2001:db8::5', '2001:db8::6'):\n  peer = reach(to, port, '::1')\n  peer.send(b'who?')\n  say(peer.recv(9))",
    );
    let words: Vec<String> = net.prefix().into_iter().map(|word| word.into_string().unwrap()).collect();
    let mut args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    args.extend([crate::harness::peers::python(), "-I", "-S", "-c", &script, env!("CARGO_BIN_EXE_sockeye")]);
    let peer = Peer::program("unshare", &args, crate::harness::process::Stdin::Null, None);
    assert_eq!(peer.lines(), ["b'who?'", "b'who?'"]);
}

#[test]
fn merged_datagrams_are_told_and_printed_one_by_one() {
    for rest in ["", "--no-gro"] {
        let listener = listen(Family::V4, &format!("--timeout 2s {rest}"));
        let port = text_port(&listener);
        Sockeye::new(format!("udp-send 127.0.0.1 {port} --flood --count 100 --size 1000 --json -q")).run().exits(0);
        let run = listener.finish().exits(0);
        let (data, chunks) = run.stdout().as_chunks::<1000>();
        assert_eq!((data.len(), chunks.len()), (100, 0), "{rest}");
        for (number, datagram) in data.iter().enumerate() {
            assert_eq!(datagram[..8], (number as u64).to_be_bytes(), "{rest}");
        }
        // An echo of what came merged goes back cut again.
        let listener = listen(Family::V4, &format!("--echo {rest} --json -q"));
        let port = text_port(&listener);
        let sender =
            Sockeye::new(format!("udp-send 127.0.0.1 {port} --flood --count 40 --size 1000 --wait 30s --json"));
        let run = sender.run().exits(0);
        let sizes: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.bytes).collect();
        assert_eq!(sizes, vec![1000; 40], "{rest}");
        for (number, recv) in run.all::<Recv>().iter().enumerate() {
            assert_eq!(recv.payload()[..8], (number as u64).to_be_bytes());
        }
        listener.interrupt().exits(0);
    }
}

#[test]
fn silence_ends_it_after_the_time_out_with_exit_0() {
    let run = listen(Family::V4, "--timeout 200ms --json").finish().exits(0);
    let timeout = run.one::<Timeout>();
    assert_eq!((timeout.step, timeout.conn), (Step::Recv, None));
    assert!((200_000_000..3_000_000_000).contains(&timeout.after_ns), "{timeout:?}");
    assert_eq!(run.summary().timeouts, Some(1));
}

#[test]
fn signals_and_a_deadline_end_it_with_its_totals_and_exit_0() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let listener = listen(Family::V4, "--echo --json");
        let peer = dial(Family::V4, port_of(&listener));
        assert_eq!(ask(&peer, b"x"), b"x");
        listener.wait_for::<Send>();
        listener.signal(Signal::SIGQUIT);
        let interim = listener.wait_for::<Interim>();
        assert_eq!((interim.received, interim.sent), (Some(1), Some(1)));
        listener.signal(signal);
        let run = listener.finish().exits(0);
        assert_eq!((run.summary().received, run.summary().sent), (Some(1), Some(1)));
    }
    let run = listen(Family::V4, "--deadline 200ms --json").finish().exits(0);
    assert!((Duration::from_millis(200)..Duration::from_secs(5)).contains(&run.elapsed()), "{:?}", run.elapsed());
}

#[test]
fn a_reader_of_stdout_that_has_left_ends_it() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let listener = Sockeye::new("udp-listen 127.0.0.1:0").stdout_to(writer).start();
    let port = text_port(&listener);
    let peer = dial(Family::V4, port);
    peer.send(b"x").unwrap();
    reader.read_exact(&mut [0]).unwrap();
    drop(reader);
    let _ = peer.send(b"y");
    listener.finish().exits(0);
}

#[test]
fn a_wildcard_port_of_which_one_address_is_in_use_is_exit_5() {
    let (_held, port) = udp::socket(Family::V4);
    let run = Sockeye::new(format!("udp-listen {port} --json")).run().exits(5);
    assert_eq!(run.one::<Error>().errno.as_deref(), Some("EADDRINUSE"));
}

#[test]
fn a_protected_port_is_exit_4_and_the_hint_says_from_which_one_it_is_free() {
    let net = Net::isolated().with("echo 1500 >/proc/sys/net/ipv4/ip_unprivileged_port_start").without_capabilities();
    let run = Sockeye::new("udp-listen 80 --json").under(net.prefix()).run().exits(4);
    let error = run.one::<Error>();
    assert_eq!((error.step, error.errno.as_deref()), (Step::Bind, Some("EACCES")));
    assert!(error.hint.as_ref().unwrap().contains("1500"), "{error:?}");
}

#[test]
fn an_address_that_is_not_ours_and_an_interface_that_is_not_there_are_exit_5() {
    let run = Sockeye::new("udp-listen 192.0.2.1:0 --json").run().exits(5);
    assert_eq!(run.one::<Error>().errno.as_deref(), Some("EADDRNOTAVAIL"));
    let run = Sockeye::new("udp-listen 127.0.0.1:0 --interface nosuch0 --json").run().exits(5);
    assert_eq!(run.one::<Error>().errno.as_deref(), Some("ENODEV"));
}

#[test]
fn without_ipv6_it_listens_on_ipv4_and_says_so() {
    let net = Net::isolated().with("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6");
    let run = Sockeye::new("udp-listen 0 --timeout 100ms --json").under(net.prefix()).run().exits(0);
    assert!(run.one::<Bind>().local.starts_with("0.0.0.0:") || run.one::<Bind>().local.starts_with("[::]:"));
}

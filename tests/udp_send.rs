//! Datagrams that are sent: what arrives at others, what comes back, and what the run comes to.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::events::{
    Close, Connect, Error, IcmpError, NotSent, Reason, Recv, Send, Setsockopt, Step, Timeout, Warning,
};
use crate::harness::hosts::Hosts;
use crate::harness::net::{Net, TempDir, over_both_families, random_bytes, terminal};
use crate::harness::process::PATIENCE;
use crate::harness::{Family, Peer, Sockeye, Tool, require, udp};

/// Prints each of so many datagrams that come.
fn listener(family: Family, count: usize) -> Peer {
    udp::server(family, &format!("for _ in range({count}): say(server.recv(70000))"))
}

fn to(family: Family, port: u16, rest: &str) -> Sockeye {
    Sockeye::new(format!("udp-send {} {port} {rest}", family.host()))
}

over_both_families! {
    fn each_message_is_a_datagram_exactly_as_given(family) {
        let peer = listener(family, 4);
        let run = to(family, peer.port, "--interval 0 --json one")
            .args([" two  words\\n", "", "drei\u{e9}"])
            .run()
            .exits(0);
        assert_eq!(peer.lines(), ["b'one'", "b' two  words\\\\n'", "b''", "b'drei\\xc3\\xa9'"]);
        let sends = run.all::<Send>();
        let told: Vec<_> = sends.iter().map(|send| (send.sequence.unwrap(), send.bytes)).collect();
        assert_eq!(told, [(0, 3), (1, 13), (2, 0), (3, 6)]);
        let connect = run.one::<Connect>();
        assert!(sends.iter().all(|send| send.conn == Some(1) && send.peer.as_ref() == Some(&connect.peer)));
        assert_eq!(connect.peer, family.at(sends[0].peer.as_ref().map(|peer| crate::harness::events::port_of(peer)).unwrap()).to_string());
        let summary = run.summary();
        assert_eq!((summary.sent, summary.not_sent, summary.bytes_sent), (Some(4), Some(0), Some(22)));
        assert_eq!((run.one::<Close>().reason, run.one::<Close>().bytes_sent), (Reason::Local, 22));
    }

    fn an_answer_to_each_message_is_waited_for_and_printed(family) {
        let script = "for _ in range(2):\n  data, peer = server.recvfrom(70000)\n  server.sendto(b'<' + data + b'>', peer)";
        for rest in ["", "--interval 1ms", "--rate 1000/s --count 2", "--flood --count 2"] {
            let peer = udp::server(family, script);
            let run = to(family, peer.port, &format!("a b --wait 30s {rest}")).run().exits(0);
            assert_eq!(String::from_utf8_lossy(run.stdout()), "<a><b>", "{rest}");
            peer.finish();
            let peer = udp::server(family, script);
            let run = to(family, peer.port, &format!("a b --wait 30s {rest} --json")).run().exits(0);
            let answers: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.data.clone().unwrap()).collect();
            assert_eq!(answers, ["<a>", "<b>"], "{rest}");
            let recv = run.all::<Recv>()[0];
            assert_eq!((recv.peer.as_deref(), recv.conn), (Some(family.at(peer.port).to_string().as_str()), Some(1)));
            assert_eq!(recv.local, run.one::<Connect>().local);
            assert_eq!(run.summary().received, Some(2));
            peer.finish();
        }
    }

    fn no_answer_is_exit_8_and_some_are_1(family) {
        let (_deaf, port) = udp::socket(family);
        let run = to(family, port, "a b --wait 100ms --interval 1ms --json").run().exits(8);
        let waits: Vec<_> = run.all::<Timeout>().iter().map(|timeout| (timeout.step, timeout.after_ns)).collect();
        assert_eq!(waits.len(), 2, "each was waited for once: {}", run.dump());
        assert!(waits.iter().all(|(step, after)| *step == Step::Recv && (100_000_000..2_000_000_000).contains(after)));
        let error = run.one::<Error>();
        assert_eq!((error.step, error.errno.as_deref()), (Step::Recv, None));
        assert_eq!(error.peer, Some(family.at(port).to_string()));
        // One of two is answered: in turn, and all at once.
        for rest in ["--interval 1ms", "--rate 1000/s --count 2"] {
            let script = "for answer in (True, False):\n  data, peer = server.recvfrom(9)\n  if answer: server.sendto(data, peer)\nsay(told())";
            let peer = udp::server(family, script);
            let run = to(family, peer.port, &format!("a b --wait 200ms {rest} --json")).run().exits(1);
            assert_eq!((run.all::<Recv>().len(), run.summary().sent), (1, Some(2)), "{rest}");
        }
    }

    fn a_refusal_is_exit_7_with_wait_and_without(family) {
        let (_held, port) = udp::refusing_port(family);
        for rest in ["hello", "hello --wait 30s", "a b --wait 30s --interval 1ms", "a b --interval 1ms", "--size 20"] {
            let run = to(family, port, &format!("{rest} --json")).run().exits(7);
            let sent = run.summary().sent.unwrap();
            let icmp = run.all::<IcmpError>();
            assert_eq!((icmp.len() as u64, run.summary().refused), (sent, Some(sent)), "{}", run.dump());
            for (number, icmp) in icmp.into_iter().enumerate() {
                assert_eq!((icmp.sequence, icmp.name.as_str()), (Some(number as u64), "port-unreachable"), "{rest}");
                assert_eq!((icmp.target.clone(), icmp.from.clone()), (family.at(port).to_string(), family.host()));
                assert!(icmp.after_ns.is_some_and(|after| after < 5_000_000_000), "{icmp:?}");
            }
            assert!(run.elapsed() < Duration::from_secs(20), "a refusal ends the wait: {:?}", run.elapsed());
        }
        // One answered, one refused, is some.
        let peer = udp::server(family, "data, peer = server.recvfrom(9)\nserver.sendto(data, peer)");
        let running = to(family, peer.port, "a b --wait 30s --interval 3s --json").start();
        running.wait_for::<Recv>();
        peer.finish();
        let run = running.finish().exits(1);
        assert_eq!(run.one::<IcmpError>().sequence, Some(1), "which of the two: {}", run.dump());
    }

    fn stdin_is_a_datagram_a_read_and_answers_go_to_stdout_unchanged(family) {
        let script = "for _ in range(3):\n  data, peer = server.recvfrom(70000)\n  say(data)\n  server.sendto(bytes(range(256)) + data, peer)";
        let peer = udp::server(family, script);
        let mut running = to(family, peer.port, "").stdin_piped().start();
        let mut expected = Vec::new();
        for chunk in [&b"one\n"[..], b"\x00\xff two", b"three\n\n"] {
            running.send(chunk);
            expected.extend((0..=255).chain(chunk.iter().copied()));
            // What has come back was sent whole: the next write is a read of its own.
            running.wait_for_stdout_bytes(expected.len());
        }
        let run = running.finish().exits(0);
        assert_eq!(run.stdout(), expected);
        assert_eq!(peer.lines(), ["b'one\\n'", "b'\\x00\\xff two'", "b'three\\n\\n'"]);
    }

    fn stdin_of_a_terminal_is_a_datagram_a_line(family) {
        use std::io::Write;
        let peer = listener(family, 2);
        let mut terminal = terminal();
        let running = to(family, peer.port, "--count 2 --json -v").stdin_from(terminal.program).start();
        running.wait_for::<Connect>();
        terminal.user.write_all(b"first line\nsecond\n").unwrap();
        let run = running.finish_by_itself().exits(0);
        assert_eq!(peer.lines(), ["b'first line\\n'", "b'second\\n'"]);
        assert_eq!(run.all::<Send>().len(), 2);
    }

    fn stdin_to_nobody_is_exit_7_and_to_a_deaf_one_8_with_wait(family) {
        let (_held, port) = udp::refusing_port(family);
        for rest in ["", "--wait 30s"] {
            let run = to(family, port, &format!("{rest} --json")).stdin("hello").run().exits(7);
            assert_eq!(run.one::<IcmpError>().name, "port-unreachable");
            assert!(run.elapsed() < Duration::from_secs(20), "{:?}", run.elapsed());
        }
        let (_deaf, port) = udp::socket(family);
        to(family, port, "--json").stdin("hello").run().exits(0);
        let run = to(family, port, "--wait 100ms --json").stdin("hello").run().exits(8);
        assert_eq!(run.one::<Timeout>().step, Step::Recv);
        // Nothing was sent, and so nothing waited for.
        to(family, port, "--wait 30s --json").stdin("").run().exits(0);
    }

    fn the_netcats_hear_and_answer(family) {
        for tool in Tool::ALL {
            let (mut peer, port) = udp::listen(tool, family);
            let running = to(family, port, "hello --wait 30s").start();
            peer.wait_for_stdout(b"hello");
            peer.send(b"wor\x00ld\n");
            let run = running.finish().exits(0);
            assert_eq!(run.stdout(), b"wor\x00ld\n", "{tool:?}");
        }
    }

    fn a_relay_and_the_netcats_talk_both_ways(family) {
        for tool in Tool::ALL {
            let (mut peer, port) = udp::listen(tool, family);
            let mut running = to(family, port, "").stdin_piped().start();
            running.send(b"question\n");
            peer.wait_for_stdout(b"question\n");
            peer.send(b"answer\n");
            running.wait_for_stdout(b"answer\n");
            let run = running.finish();
            assert_eq!((run.code(), run.stdout()), (0, &b"answer\n"[..]), "{tool:?}");
        }
    }

    fn the_largest_datagram_arrives_whole(family) {
        let peer = udp::server(family, "data = server.recv(70000)\nsay(len(data), data[:8].hex(), data[8:20])");
        to(family, peer.port, "--size 65507 --json").run().exits(0);
        assert_eq!(peer.lines(), ["65507 0000000000000000 b'()*+,-./0123'"]);
        let bytes = random_bytes(16 << 10, 7);
        let peer = udp::server(family, "say(server.recv(70000).hex())");
        to(family, peer.port, "").stdin(bytes.clone()).run().exits(0);
        assert_eq!(peer.lines(), [data_encoding::HEXLOWER.encode(&bytes)]);
    }

    fn options_reach_the_wire(family) {
        let script = r#"
v6 = ":" in server.getsockname()[0]
if v6:
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
else:
    server.setsockopt(socket.IPPROTO_IP, 12, 1)
    server.setsockopt(socket.IPPROTO_IP, 13, 1)
data, extras, _, peer = server.recvmsg(99, 999)
say(sorted(value[0] for _, _, value in extras), peer[1])
"#;
        let peer = udp::server(family, script);
        let source = udp::socket(family).1;
        let words = format!("x --ttl 7 --dscp 46 --source {} --json -v", family.at(source));
        let run = to(family, peer.port, &words).run().exits(0);
        assert_eq!(peer.lines(), [format!("[7, 184] {source}")]);
        let name = if family == Family::V4 { "IP_TTL" } else { "IPV6_UNICAST_HOPS" };
        assert!(run.all::<Setsockopt>().iter().any(|it| it.option == name), "{}", run.dump());
    }

    fn a_flood_is_numbered_datagrams_of_one_size(family) {
        let dir = TempDir::new();
        for (size, no_gso) in [(8, ""), (100, ""), (1400, ""), (1400, "--no-gso"), (40_000, "")] {
            // What the receiver's own buffer had no room for its kernel counts: nothing else is missing.
            let script = format!(r#"
try: server.setsockopt(socket.SOL_SOCKET, 33, 256 << 20)
except PermissionError: pass
before, seen, wrong = -1, 0, 0
while True:
    data = server.recv(70000)
    if data == b"end": break
    number = int.from_bytes(data[:8], "big")
    wrong += len(data) != {size} or number <= before
    before, seen = number, seen + 1
inode = os.stat(server.fileno()).st_ino
drops = [int(line.split()[-1]) for table in ("udp", "udp6") for line in open("/proc/net/" + table)
         if len(line.split()) > 9 and line.split()[9] == str(inode)]
say(seen + drops[0], before < 10000, wrong, seen > 100)
"#);
            let peer = udp::server(family, &script);
            let log = dir.path().join("log");
            let strace = format!("strace -f -e trace=sendmmsg,setsockopt -o {}", log.display());
            let run = to(family, peer.port, &format!("--flood --count 10000 --size {size} {no_gso} --json -q"))
                .under(strace.split(' '))
                .run()
                .exits(0);
            let (sent, bytes) = (run.summary().sent.unwrap(), run.summary().bytes_sent.unwrap());
            assert_eq!((sent, bytes), (10_000, 10_000 * size), "{}", run.dump());
            // Full buffers are a reason to say it again.
            let ended = udp::dial(family, peer.port);
            let ended = std::thread::spawn(move || while ended.send(b"end").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            });
            assert_eq!(peer.lines(), ["10000 True 0 True"], "{size}");
            ended.join().unwrap();
            let log = std::fs::read_to_string(&log).unwrap();
            let is_cut = log.contains("UDP_SEGMENT") || log.contains("cmsg_type=0x67");
            assert_eq!(is_cut, no_gso.is_empty() && size < 40_000, "{size} {no_gso}: {}", &log[..log.len().min(2000)]);
        }
    }
}

#[test]
fn what_a_device_refuses_to_cut_goes_again_as_plain_datagrams() {
    require(&["strace"]);
    let dir = TempDir::new();
    let script = "server.setsockopt(socket.SOL_SOCKET, 8, 4 << 20)\ngot = [int.from_bytes(server.recv(70000)[:8], 'big') for _ in range(400)]\nsay(got == list(range(400)))";
    for (index, errno) in ["EIO", "EINVAL", "EOPNOTSUPP"].into_iter().enumerate() {
        let peer = udp::server(Family::V4, script);
        let log = dir.path().join(index.to_string());
        // The first send is one that the kernel is to cut.
        let inject = format!("inject=sendmmsg:error={errno}:when=1");
        let strace = ["strace", "-f", "-qq", "-o", log.to_str().unwrap(), "-e", "trace=sendmmsg", "-e", &inject];
        let run = to(Family::V4, peer.port, "--flood --count 400 --size 200 --json").under(strace).run().exits(0);
        let (sent, not_sent) = (run.summary().sent.unwrap(), run.summary().not_sent.unwrap());
        assert_eq!((sent, not_sent), (400, 0), "{errno}: {}", run.dump());
        assert_eq!(peer.lines(), ["True"], "{errno}: the same data again, and nothing twice");
        let warnings = run.all::<Warning>().iter().filter(|warning| warning.name == "gso-refused").count();
        assert_eq!(warnings, 1, "{errno}: {}", run.dump());
        let log = std::fs::read_to_string(&log).unwrap();
        let cut = log.lines().filter(|line| line.contains("UDP_SEGMENT") || line.contains("cmsg_type=0x67")).count();
        assert_eq!(cut, 1, "{errno}: never asked again\n{}", &log[..log.len().min(2000)]);
    }
}

#[test]
fn each_encoding_of_messages_is_read() {
    for (words, expected) in [
        (vec!["--crlf", "a", "b"], vec!["b'a\\r\\n'", "b'b\\r\\n'"]),
        (vec!["--lf", "a"], vec!["b'a\\n'"]),
        (vec!["--escape", r"\x00\r\n\\z"], vec![r"b'\x00\r\n\\z'"]),
        (vec!["--hex", "00 ff 41"], vec!["b'\\x00\\xffA'"]),
        (vec!["--crlf", ""], vec!["b'\\r\\n'"]),
    ] {
        let peer = listener(Family::V4, expected.len());
        to(Family::V4, peer.port, "--interval 0 --json").args(words.clone()).run().exits(0);
        assert_eq!(peer.lines(), expected, "{words:?}");
    }
}

#[test]
fn messages_go_round_as_often_as_asked_for() {
    let peer = listener(Family::V4, 5);
    let run = to(Family::V4, peer.port, "a b --count 5 --rate 500/s --json").run().exits(0);
    assert_eq!(peer.lines(), ["b'a'", "b'b'", "b'a'", "b'b'", "b'a'"]);
    assert_eq!(run.summary().sent, Some(5));
}

#[test]
fn an_interval_is_kept_between_sends() {
    let peer = listener(Family::V4, 4);
    let run = to(Family::V4, peer.port, "x --count 4 --interval 50ms --json").run().exits(0);
    assert_eq!(peer.lines(), ["b'x'"; 4]);
    assert!(run.elapsed() >= Duration::from_millis(150), "{:?}", run.elapsed());
    let began = run.elapsed_of("connect");
    let sends = run.lines.iter().filter(|line| line.event.name() == "send");
    for (number, line) in sends.enumerate() {
        // A machine that is busy may be late with one, but none is sent before its time.
        let after = Duration::from_nanos(line.elapsed_ns) - began;
        assert!(after >= Duration::from_millis(50) * number as u32, "{number} after {after:?}");
    }
}

#[test]
fn an_empty_datagram_comes_back_as_one() {
    let peer = udp::server(Family::V4, "data, peer = server.recvfrom(9)\nsay(data)\nserver.sendto(b'', peer)");
    let run = to(Family::V4, peer.port, "--wait 30s --json").arg("").run().exits(0);
    assert_eq!((run.one::<Send>().bytes, run.one::<Recv>().bytes), (0, 0));
    assert_eq!((run.summary().received, run.summary().bytes_received), (Some(1), Some(0)));
    assert_eq!(peer.lines(), ["b''"]);
}

#[test]
fn a_signal_ends_a_wait_and_a_relay_at_once_without_a_false_word() {
    let (_deaf, port) = udp::socket(Family::V4);
    for (rest, code) in [("hello --wait 50s", 8), ("hello --count 0 --interval 50s", 0)] {
        let running = to(Family::V4, port, &format!("{rest} --json")).start();
        running.wait_for::<Send>();
        let run = running.interrupt().exits(code);
        assert!(run.elapsed() < Duration::from_secs(20), "{:?}", run.elapsed());
        assert_eq!(run.one::<Close>().reason, Reason::Signal, "{rest}");
        assert!(
            run.all::<Timeout>().is_empty() && run.all::<Error>().is_empty(),
            "nothing waited so long: {}",
            run.dump()
        );
        let warned: Vec<_> = run.all::<Warning>().iter().map(|warning| warning.name.clone()).collect();
        assert_eq!(warned, if code == 8 { vec!["stopped"] } else { vec![] });
    }
    let running = to(Family::V4, port, "--json -v").stdin_piped().start();
    running.wait_for::<Connect>();
    running.signal(Signal::SIGTERM);
    let run = running.finish_by_itself().exits(0);
    assert_eq!(run.one::<Close>().reason, Reason::Signal);
    let run = to(Family::V4, port, "x --wait 50s --deadline 100ms --json").run().exits(8);
    assert!(run.all::<Timeout>().is_empty(), "{}", run.dump());
}

#[test]
fn totals_are_told_on_sigquit() {
    let (_deaf, port) = udp::socket(Family::V4);
    let running = to(Family::V4, port, "x --count 0 --interval 50s --json").start();
    running.wait_for::<Send>();
    running.signal(Signal::SIGQUIT);
    let interim = running.wait_for::<crate::harness::events::Interim>();
    assert_eq!((interim.sent, interim.bytes_sent), (Some(1), Some(1)));
    running.interrupt().exits(0);
}

#[test]
fn a_device_that_takes_no_such_segments_gets_plain_datagrams() {
    // Over an MTU of 1400 the kernel refuses segments of 1450 bytes, and fragments plain datagrams.
    let script = r#"
import subprocess
server = bound(sys.argv[1])
subprocess.run([*sys.argv[2:], "--flood", "--count", "40", "--size", "1450", "--json", "-q",
    "-4" if "." in sys.argv[1] else "-6", sys.argv[1], str(server.getsockname()[1])], check=True)
got = [server.recv(70000) for _ in range(40)]
assert [int.from_bytes(data[:8], "big") for data in got] == list(range(40))
assert all(len(data) == 1450 for data in got)
"#;
    let net = || Net::isolated().with("ip link set lo mtu 1400").prefix();
    for family in Family::BOTH {
        let words = ["-I".to_owned(), "-S".to_owned(), "-c".to_owned(), udp::script(script), family.host()];
        let all: Vec<String> = net().into_iter().map(|word| word.into_string().unwrap()).collect();
        let mut args: Vec<&str> = all[1..].iter().map(String::as_str).collect();
        args.push(crate::harness::peers::python());
        args.extend(words.iter().map(String::as_str));
        args.extend([env!("CARGO_BIN_EXE_sockeye"), "udp-send"]);
        let lines = Peer::program("unshare", &args, crate::harness::process::Stdin::Null, None).lines();
        let warnings = lines.iter().filter(|line| line.contains("\"gso-refused\"")).count();
        assert_eq!(warnings, 1, "{family:?}: {}", lines.join("\n"));
        assert!(lines.last().unwrap().contains("\"sent\":40,"), "{family:?}: {}", lines.last().unwrap());
    }
}

#[test]
fn no_segments_are_asked_for_where_one_datagram_goes_alone() {
    require(&["strace"]);
    let (_deaf, port) = udp::socket(Family::V4);
    let dir = TempDir::new();
    let log = dir.path().join("log");
    let strace = format!("strace -f -e trace=sendmmsg -o {}", log.display());
    to(Family::V4, port, "--size 100 --count 3 --interval 150ms --json").under(strace.split(' ')).run().exits(0);
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("sendmmsg") && !log.contains("UDP_SEGMENT") && !log.contains("cmsg_type"), "{log}");
}

#[test]
fn a_pipe_is_read_no_faster_than_a_slow_device_takes_it() {
    require(&["tc"]);
    // 16 KiB a datagram at 100 Mbit/s; a queue that holds all that a send buffer does.
    let net = Net::isolated().with("tc qdisc add dev lo root tbf rate 100mbit burst 64k limit 16m");
    let script = "server = bound('127.0.0.1', 4000)\ntotal = 0\nwhile total < 2000000: total += len(server.recv(70000))\nsay(total)";
    let words: Vec<String> = net.prefix().into_iter().map(|word| word.into_string().unwrap()).collect();
    let (bin, python) = (env!("CARGO_BIN_EXE_sockeye"), crate::harness::peers::python());
    let shell = format!(
        "\"{python}\" -I -S -c \"$0\" & until grep -q :0FA0 /proc/net/udp; do :; done; \
         head -c 2000000 /dev/zero | {bin} udp-send 127.0.0.1 4000 -q --json; wait"
    );
    let mut args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    let script = udp::script(script);
    args.extend(["sh", "-c", &shell, &script]);
    let lines = Peer::program("unshare", &args, crate::harness::process::Stdin::Null, None).lines();
    assert!(lines.contains(&"2000000".to_owned()), "{}", lines.join("\n"));
    assert!(lines.iter().any(|line| line.contains("\"exit_code\":0")), "{}", lines.join("\n"));
}

#[test]
fn the_first_address_that_can_be_reached_is_sent_to() {
    let dir = TempDir::new();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "2001:db8::1 two\n127.0.0.1 two\n").unwrap();
    let net = Net::isolated().with_hosts(&hosts);
    let run = Sockeye::new("udp-send two 9 hello --json").under(net.prefix()).run().exits(7);
    assert_eq!(run.one::<Connect>().peer, "127.0.0.1:9");
}

#[test]
fn what_the_kernel_has_no_room_for_is_not_sent_and_said_so() {
    require(&["tc"]);
    // A device that takes next to nothing, with a queue that holds it back.
    let hosts = Hosts::two("on a tc qdisc add dev cable root tbf rate 8kbit burst 1600 limit 3000");
    let peer = hosts.python("b", "server = bound('10.0.0.2', 4000)\ntold()");
    peer.wait_for("4000");
    let run = Sockeye::new("udp-send 10.0.0.2 4000 --size 1000 --count 20 --interval 1ms --json")
        .under(hosts.on("a"))
        .run()
        .exits(0);
    let summary = run.summary();
    assert_eq!(summary.sent.unwrap() + summary.not_sent.unwrap(), 20, "{}", run.dump());
    assert!(summary.not_sent.unwrap() > 5, "{}", run.dump());
    let told = run.all::<NotSent>();
    assert_eq!(told.len() as u64, summary.not_sent.unwrap());
    assert!(told.iter().all(|it| ["ENOBUFS", "EAGAIN"].contains(&it.errno.as_str()) && it.sequence.is_some()));
    assert!(run.elapsed() < PATIENCE);
}

//! What a review of the UDP commands found, each seen to fail before it was mended.

use std::time::Instant;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::harness::events::{Close, Error, IcmpError, NotSent, Reason, Recv, Reply, Send, Timeout, Warning};
use crate::harness::net::{Net, TempDir, inside};
use crate::harness::process::{PATIENCE, Stdin};
use crate::harness::stamp::STAMP;
use crate::harness::{Family, Peer, Sockeye, require, udp};

/// A Python script with a socket `server`, whose port is printed first.
fn reflector(script: &str) -> Peer {
    Peer::python_server(&format!("{STAMP}\nserver = serve_udp()\n{script}"), &[])
}

/// Waits until a process has stopped: the kernel tells nobody but its parent.
fn wait_until_stopped(pid: Pid) {
    let end = Instant::now() + PATIENCE;
    loop {
        // All of its threads: any of them may take an answer.
        let states: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/task"))
            .unwrap()
            .map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap())
            .map(|stat| stat.rsplit_once(") ").unwrap().1.chars().next())
            .collect();
        if states.iter().all(|state| *state == Some('T')) {
            return;
        }
        assert!(Instant::now() < end, "{states:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_measurement_that_cannot_send_ends_by_its_count() {
    let net = Net::isolated().with("ip link set lo mtu 1500");
    let line = "udp-send 127.0.0.1 9000 --measure --count 3 --interval 10ms --size 3000 --dont-fragment --json";
    let run = Sockeye::new(line).under(net.prefix()).run().exits(5);
    assert_eq!(run.one::<Error>().errno.as_deref(), Some("EMSGSIZE"));
    assert_eq!((run.all::<NotSent>().len(), run.summary().sent), (2, Some(0)), "{}", run.dump());
}

#[test]
fn answers_that_the_own_kernel_drops_are_told() {
    let mut peer = reflector(
        "test, who = server.recvfrom(100)\nsay('came')\ntold()\nfor number in range(500):\n    server.sendto(answer(test, number), who)\nsay('sent')",
    );
    let line = "--measure --count 1 --wait 60s --recv-buffer 4KiB --json";
    let run = Sockeye::new(format!("udp-send 127.0.0.1 {} {line}", peer.port)).start();
    peer.wait_for("came");
    run.signal(Signal::SIGSTOP);
    wait_until_stopped(run.pid());
    peer.send(b"\n");
    peer.wait_for("sent");
    run.signal(Signal::SIGCONT);
    let run = run.finish_by_itself().exits(0);
    let summary = run.summary();
    let (dropped, twice) = (summary.kernel_drops.unwrap(), summary.duplicates.unwrap());
    assert_eq!((summary.received, 1 + twice + dropped), (Some(1), 500), "{}", run.dump());
    assert!(dropped > 0);
}

#[test]
fn a_run_that_is_stopped_before_its_answers_is_no_success() {
    // A pipe, of which nothing is answered.
    let (_deaf, port) = udp::socket(Family::V4);
    let run = Sockeye::new(format!("udp-send 127.0.0.1 {port} --wait 60s --json -v")).stdin(b"x".to_vec()).start();
    run.wait_for::<Send>();
    let run = run.interrupt().exits(8);
    assert_eq!(run.one::<Warning>().name, "stopped");
    // Messages, of which one is answered.
    let peer =
        udp::server(Family::V4, "data, who = server.recvfrom(9)\nserver.sendto(data, who)\nserver.recvfrom(9)\ntold()");
    let line = format!("udp-send 127.0.0.1 {} a b --interval 0 --wait 60s --json", peer.port);
    let run = Sockeye::new(line).start();
    run.wait_for_nth::<Send>(2);
    run.wait_for::<Recv>();
    run.interrupt().exits(1);
}

#[test]
fn a_time_at_the_reflector_that_cannot_be_is_not_taken_out() {
    for times in ["received=ntp(time.time_ns() - 10**14)", "received=ntp(time.time_ns() + 10**10)"] {
        let peer =
            reflector(&format!("test, who = server.recvfrom(100)\nserver.sendto(answer(test, 0, {times}), who)"));
        let run = Sockeye::new(format!("udp-send 127.0.0.1 {} --measure --count 1 --json", peer.port)).run().exits(0);
        let reply = run.one::<Reply>();
        assert!(reply.rtt_ns > 0 && reply.reflector_ns.is_none(), "{reply:?}");
        assert_eq!(run.one::<Warning>().name, "reflector-clock");
    }
}

#[test]
fn a_flood_outlives_a_link_that_is_down_for_a_moment() {
    require(&["ip"]);
    let net = Net::isolated().with("ip link add v0 type veth peer name v1; ip addr add 10.7.0.1/24 dev v0; ip link set v0 up; ip link set v1 up; ip neigh add 10.7.0.2 lladdr 02:00:00:00:00:01 dev v0");
    let script = "$1 udp-send 10.7.0.2 9 --flood --size 100 --deadline 1500ms --json -q & \
        sleep 0.4; ip link set v0 down; sleep 0.2; ip link set v0 up; ip neigh add 10.7.0.2 lladdr 02:00:00:00:00:01 dev v0; \
        wait $!; echo code $?";
    let prefix: Vec<_> = net.prefix().iter().map(|word| word.to_str().unwrap().to_owned()).collect();
    let words: Vec<&str> = prefix[1..]
        .iter()
        .map(String::as_str)
        .chain(["sh", "-c", script, "sh", env!("CARGO_BIN_EXE_sockeye")])
        .collect();
    let ended = Peer::program("unshare", &words, Stdin::Null, None).finish();
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(text.ends_with("code 1\n"), "{text}");
    assert!(text.contains(r#""errno":"ENETUNREACH""#), "{text}");
}

#[test]
fn a_reader_that_leaves_is_no_signal() {
    let (_deaf, port) = udp::socket(Family::V4);
    let dir = TempDir::new();
    let events = dir.path().join("events");
    let line = format!(
        "{} udp-send 127.0.0.1 {port} --rate 1000/s --size 9 --json --events {} | head -3",
        env!("CARGO_BIN_EXE_sockeye"),
        events.display()
    );
    assert!(Peer::program("sh", &["-c", &line], Stdin::Null, None).finish().status.success());
    let end = Instant::now() + PATIENCE;
    let close = loop {
        let text = std::fs::read_to_string(&events).unwrap();
        if let Some(close) = text.lines().find(|line| line.contains(r#""event":"close""#)) {
            break close.to_owned();
        }
        assert!(Instant::now() < end, "{text}");
        std::thread::yield_now();
    };
    assert!(close.contains(r#""reason":"local""#), "{close}");
}

#[test]
fn a_wait_in_vain_is_of_its_connection() {
    let (_deaf, port) = udp::socket(Family::V4);
    let run = Sockeye::new(format!("udp-send 127.0.0.1 {port} a --wait 10ms --json")).run().exits(8);
    assert_eq!(run.one::<Timeout>().conn, Some(1));
    assert_eq!(run.one::<Close>().reason, Reason::Local);
}

#[test]
fn answers_that_cannot_be_sent_are_told_each() {
    let net = Net::isolated().with("ip link set lo mtu 1500");
    let listener = Sockeye::new("udp-listen 127.0.0.1:0 --echo --dont-fragment --count 20 --json").under(net.prefix());
    let listener = listener.start();
    let port = udp::port_of(&listener);
    let send = format!("udp-send 127.0.0.1 {port} --size 3000 --count 20 --interval 1ms --json -q");
    Sockeye::new(send).under(inside(listener.pid())).run().exits(0);
    let run = listener.finish_by_itself().exits(0);
    let told: Vec<_> = run.all::<Error>().into_iter().map(|error| error.errno.as_deref()).collect();
    assert_eq!(told, [Some("EMSGSIZE"); 20], "{}", run.dump());
}

#[test]
fn the_wait_for_an_answer_is_told_as_it_was_measured() {
    let peer = reflector("server.recv(9)\ntold()");
    let run = Sockeye::new(format!("udp-send 127.0.0.1 {} x --rate 100/s --count 1 --wait 50ms --json", peer.port))
        .run()
        .exits(8);
    let after = run.one::<Timeout>().after_ns;
    assert!(after > 50_000_000, "{after}");
}

#[test]
fn what_the_own_kernel_drops_is_looked_at_until_the_end() {
    // Whether messages or stdin are sent: a burst of answers, of which most find no room.
    for (text, stdin) in [("x", ""), ("", "x")] {
        let mut peer = udp::server(
            Family::V4,
            "test, who = server.recvfrom(100)\nsay('came')\ntold()\nfor number in range(500):\n    server.sendto(bytes(100), who)\nsay('sent')",
        );
        let line = format!("udp-send 127.0.0.1 {} {text} --wait 60s --recv-buffer 4KiB --json", peer.port);
        let run = Sockeye::new(line).stdin(stdin).start();
        peer.wait_for("came");
        run.signal(Signal::SIGSTOP);
        wait_until_stopped(run.pid());
        peer.send(b"\n");
        peer.wait_for("sent");
        run.signal(Signal::SIGCONT);
        let run = run.finish_by_itself().exits(0);
        let (came, dropped) = (run.summary().received.unwrap(), run.summary().kernel_drops);
        assert_eq!(dropped.map(|dropped| came + dropped), Some(500), "{}", run.dump());
        // Also where none was dropped, and sooner than it is looked at again and again.
        let peer = udp::server(Family::V4, "data, who = server.recvfrom(9)\nserver.sendto(data, who)\ntold()");
        let line = format!("udp-send 127.0.0.1 {} {text} --wait 60s --json", peer.port);
        let run = Sockeye::new(line).stdin(stdin).run().exits(0);
        assert_eq!(run.summary().kernel_drops, Some(0), "{}", run.dump());
    }
}

#[test]
fn at_a_rate_the_last_is_waited_for_whatever_came_twice() {
    // Each is refused three times, the last a while after it came.
    let script = r"
for number in range(4):
    packet, whose = server.recvfrom(100)
    if number == 3: select.select([], [], [], 0.2)
    for code in (1, 13, 10): refuse(packet, whose[1], code)
";
    for load in ["aa bb cc dd", "--size 20"] {
        let (_peer, port, network) = udp::refuser(script);
        let line = format!("udp-send 127.0.0.1 {port} {load} --rate 50/s --count 4 --wait 30s --json");
        let run = Sockeye::new(line).under(network).run().exits(9);
        let (refused, errors) = (run.summary().refused, run.summary().icmp_errors.unwrap());
        assert!(refused == Some(4) && (10..=12).contains(&errors), "{load}: {}", run.dump());
        assert!(run.all::<IcmpError>().iter().all(|error| error.sequence.is_some()), "{}", run.dump());
        assert!(run.elapsed().as_secs() < 20, "all are refused: nothing is left to wait for");
    }
    // Each is answered twice, the last once: which answer is of which nobody knows, so all time is given.
    let peer = udp::server(
        Family::V4,
        r"
for number in range(4):
    data, who = server.recvfrom(100)
    if number == 3: select.select([], [], [], 0.2)
    for _ in range(1 if number == 3 else 2): server.sendto(data, who)
told()
",
    );
    let line = format!("udp-send 127.0.0.1 {} aa bb cc dd --rate 50/s --count 4 --wait 2s --json", peer.port);
    let run = Sockeye::new(line).run().exits(0);
    assert_eq!(run.summary().received, Some(7), "{}", run.dump());
}

#[test]
fn an_error_about_an_earlier_one_does_not_end_the_wait_for_this() {
    // Of two the first is refused again when the second has come, which is answered after that.
    let (_peer, port, network) = udp::refuser(
        r"
first, whose = server.recvfrom(100)
refuse(first, whose[1])
second, whose = server.recvfrom(100)
refuse(first, whose[1])
select.select([], [], [], 0.2)
server.sendto(second, whose)
",
    );
    let line = format!("udp-send 127.0.0.1 {port} aa bb --interval 10ms --wait 30s --json");
    let run = Sockeye::new(line).under(network).run().exits(1);
    assert_eq!((run.summary().received, run.summary().refused), (Some(1), Some(1)), "{}", run.dump());
    assert_eq!(run.summary().icmp_errors, Some(2));
    // Of two the first is refused when its wait is over.
    let (_peer, port, network) = udp::refuser(
        r"
first, whose = server.recvfrom(100)
second, whose = server.recvfrom(100)
refuse(first, whose[1])
select.select([], [], [], 0.2)
server.sendto(second, whose)
",
    );
    let line = format!("udp-send 127.0.0.1 {port} aa bb --interval 10ms --wait 1s --json");
    let run = Sockeye::new(line).under(network).run().exits(1);
    assert_eq!((run.summary().received, run.summary().refused), (Some(1), Some(1)), "{}", run.dump());
}

#[test]
fn whom_an_answer_came_to_is_told_without_a_connect_too() {
    let peer = udp::server(Family::V4, "data, who = server.recvfrom(9)\nserver.sendto(data, who)\nsay(who[1])");
    let line = format!("udp-send 127.0.0.1 {} a --broadcast --wait 60s --json", peer.port);
    let run = Sockeye::new(line).run().exits(0);
    assert_eq!(run.one::<Recv>().local, Some(format!("127.0.0.1:{}", peer.lines()[0])), "{}", run.dump());
}

#[test]
fn what_was_refused_is_no_total_where_nothing_tells() {
    let (_held, port) = udp::refusing_port(Family::V4);
    let run = Sockeye::new(format!("udp-send 127.0.0.1 {port} --json")).stdin("x").run().exits(7);
    assert_eq!((run.summary().icmp_errors, run.summary().refused), (Some(1), None), "{}", run.dump());
    let run = Sockeye::new(format!("udp-send 127.0.0.1 {port} --flood --count 3 --json")).run().exits(7);
    assert_eq!(run.summary().refused, None, "{}", run.dump());
    let run = Sockeye::new(format!("udp-send 127.0.0.1 {port} a b --flood --count 2 --json")).run().exits(7);
    assert_eq!((run.summary().icmp_errors, run.summary().refused), (Some(2), Some(2)), "{}", run.dump());
}

#[test]
fn without_a_schedule_nothing_is_late() {
    let (_deaf, port) = udp::socket(Family::V4);
    for (load, is_late) in [("--interval 0", false), ("--interval 1ms", true), ("--rate 1000/s", true)] {
        for text in ["--size 20", "a", "--measure --one-way"] {
            let line = format!("udp-send 127.0.0.1 {port} {text} {load} --count 50 --json");
            let run = Sockeye::new(line).run().exits(0);
            assert_eq!(run.summary().send_lateness.is_some(), is_late, "{load} {text}: {}", run.dump());
            assert_eq!(run.summary().sent, Some(50));
        }
    }
    // Each is still known by its number where it is refused.
    let (_held, port) = udp::refusing_port(Family::V4);
    let run = Sockeye::new(format!("udp-send 127.0.0.1 {port} --size 20 --interval 0 --count 2 --json")).run().exits(7);
    assert_eq!(run.summary().refused, run.summary().icmp_errors, "{}", run.dump());
}

#[test]
fn an_error_that_comes_between_two_looks_is_not_lost() {
    require(&["strace"]);
    // Each look at the error queue returns late: what comes meanwhile fails the recv that follows it.
    let late = "strace -f -qq -o /dev/null -e trace=recvmsg -e inject=recvmsg:delay_exit=200000";
    for (text, stdin) in [("x", ""), ("", "x")] {
        let (_peer, port, mut network) = udp::refuser(
            r"
packet, whose = server.recvfrom(100)
select.select([], [], [], 0.05)
refuse(packet, whose[1])
",
        );
        network.extend(late.split(' ').map(Into::into));
        let line = format!("udp-send 127.0.0.1 {port} {text} --wait 20s --json");
        let run = Sockeye::new(line).stdin(stdin).under(network).run().exits(7);
        let sequence = if text.is_empty() { None } else { Some(0) };
        assert_eq!(run.one::<IcmpError>().sequence, sequence, "{}", run.dump());
    }
}

//! Measurement by STAMP (RFC 8762, RFC 8972), octet by octet and time by time, against Python.

use crate::harness::events::{Bind, Duplicate, IcmpError, Late, Lost, Reply, Session, TargetSummary, Warning};
use crate::harness::net::{over_both_families, resident_memory};
use crate::harness::probes::Clock;
use crate::harness::stamp::STAMP;
use crate::harness::{Family, Finished, Peer, Running, Sockeye, udp};

/// A Python script that answers, or not, as it says; its port is printed first.
fn reflector(family: Family, script: &str) -> Peer {
    Peer::python_server(&format!("{STAMP}\nserver = serve_udp(sys.argv[1])\n{script}"), &[&family.host()])
}

/// A Python script that sends test packets to a listener of ours.
fn sender(family: Family, port: u16, script: &str) -> Peer {
    let script = format!("{STAMP}\nhost, port = sys.argv[1], int(sys.argv[2])\nmade = udp(host)\n{script}");
    Peer::python(&script, &[&family.host(), &port.to_string()])
}

fn send(family: Family, port: u16, words: &str) -> Sockeye {
    Sockeye::new(format!("udp-send {} {port} --measure --json {words}", family.host()))
}

/// Starts a listener and returns it with its port.
fn listen(family: Family, words: &str) -> (Running, u16) {
    let run = Sockeye::new(format!("udp-listen --measure --json {words}")).arg(family.at(0).to_string()).start();
    let port = run.wait_for::<Bind>().port();
    (run, port)
}

fn warnings(run: &Finished, name: &str) -> usize {
    run.all::<Warning>().iter().filter(|warning| warning.name == name).count()
}

over_both_families! {
    fn a_test_packet_is_that_of_the_rfcs(family) {
        // What Python got: all octets, and how far T1 is from its own clock.
        let peer = reflector(family, r"
first = None
for number in range(4):
    packet, whose = server.recvfrom(65535)
    sequence, sent, error, ssid = struct.unpack('!IQHH', packet[:16])
    age = time.time_ns() - unix_ns(sent)
    assert sequence == number, sequence
    assert 0 <= age < 5 * 10**9, age
    assert error & 0xff != 0, 'a multiplier of 0'
    assert error & 0x4000 == 0, 'the Z bit, but an NTP time'
    assert ssid != 0 and ssid == (first := first or ssid), ssid
    assert packet[16:] == bytes(len(packet) - 16), packet
    say(len(packet))
    server.sendto(answer(packet, number), whose)
");
        let run = send(family, peer.port, "--count 4 --interval 5ms").run().exits(0);
        assert_eq!(peer.lines(), ["44"; 4]);
        let (summary, replies) = (run.summary(), run.all::<Reply>());
        assert_eq!((summary.sent, summary.received, summary.lost), (Some(4), Some(4), Some(0)));
        assert_eq!(replies.iter().map(|reply| reply.sequence).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(replies.iter().all(|reply| reply.bytes == 44 && reply.reflector_sequence == Some(reply.sequence)));
    }

    fn a_larger_test_packet_is_padded(family) {
        let peer = reflector(family, r"
packet, whose = server.recvfrom(65535)
assert packet[16:] == bytes(1000 - 16)
say(len(packet))
server.sendto(answer(packet, 0), whose)
");
        let run = send(family, peer.port, "--count 1 --size 1000").run().exits(0);
        assert_eq!(peer.lines(), ["1000"]);
        assert_eq!(run.one::<Reply>().bytes, 1000);
    }

    fn an_answer_is_that_of_the_rfcs(family) {
        let (run, port) = listen(family, "--count 5");
        let peer = sender(family, port, r"
if ':' in host:
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 77)
else:
    made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 77)
# The numbers are ours, the answers' the reflector's own: 7 was never sent.
for own, (number, size) in enumerate([(0, 44), (1, 44), (2, 300), (8, 44), (3, 1400)]):
    test = test_packet(number, ssid=0xbeef, error=0x8a11, size=size)
    before = time.time_ns()
    made.sendto(test, (host, port))
    got = made.recv(65535)
    after = time.time_ns()
    sequence, t3, error, ssid, t2 = struct.unpack('!IQHHQ', got[:24])
    assert sequence == own, (sequence, own)
    assert ssid == 0xbeef, ssid
    assert error & 0xff != 0 and error & 0x4000 == 0, error
    assert before <= unix_ns(t2) + 1 and t2 <= t3 and unix_ns(t3) <= after + 1, (before, t2, t3, after)
    assert got[24:38] == test[:14], 'sequence, T1 and error estimate are quoted'
    assert got[38:40] == b'\0\0' and got[40] == 77 and got[41:44] == b'\0\0\0', got[38:44]
    assert len(got) == size and got[44:] == bytes(size - 44), len(got)
say('all')
");
        assert_eq!(peer.lines(), ["all"]);
        let run = run.finish().exits(0);
        assert_eq!(run.one::<Session>().session, Some(0xbeef));
        let summary = run.summary();
        assert_eq!((summary.sent, summary.received, summary.sessions), (Some(5), Some(5), Some(1)));
        assert_eq!((summary.lost, summary.reordered, summary.reordering_extent_max), (Some(4), Some(1), Some(1)));
    }

    fn the_time_at_the_reflector_is_no_part_of_the_round_trip(family) {
        // T2 is the kernel's (SO_TIMESTAMPNS): what queues there has arrived.
        let peer = reflector(family, r"
server.setsockopt(socket.SOL_SOCKET, 35, 1)
for number in range(4):
    packet, control, _, whose = server.recvmsg(100, 64)
    seconds, nanos = struct.unpack('qq', control[0][2])
    select.select([], [], [], 0.05)
    server.sendto(answer(packet, number, received=ntp(seconds * 10**9 + nanos)), whose)
");
        let run = send(family, peer.port, "--count 4 --interval 1ms").run().exits(0);
        peer.finish();
        let replies = run.all::<Reply>();
        assert_eq!(replies.len(), 4);
        for reply in &replies {
            assert!(reply.reflector_ns >= Some(50_000_000), "{reply:?}");
            assert!(reply.clock == Clock::Kernel && reply.rtt_ns > 0, "{reply:?}");
        }
        // One may have been held up between its T3 and its departure.
        let short = replies.iter().filter(|reply| reply.rtt_ns < 40_000_000).count();
        assert!(short >= 3, "{replies:?}");
        assert!(run.elapsed().as_millis() >= 200);
    }

    fn each_way_varies_by_itself(family) {
        // Clocks of another epoch: the reflector says when each came and went; out the delay is 5 ms
        // and 25 ms in turns, back always the same.
        let peer = reflector(family, r"
for number in range(6):
    packet, whose = server.recvfrom(65535)
    sent = unix_ns(struct.unpack('!Q', packet[4:12])[0])
    apart = 400 * 10**9
    came = sent + apart + (25 if number % 2 else 5) * 10**6
    server.sendto(answer(packet, number, received=ntp(came), sent=ntp(time.time_ns() + apart)), whose)
");
        let run = send(family, peer.port, "--count 6 --interval 2ms").run().exits(0);
        peer.finish();
        let summary = run.summary();
        let (out, back) = (summary.delay_variation_out.as_ref().unwrap(), summary.delay_variation_back.as_ref().unwrap());
        // What is between T1 and the departure is no part of it: a little less or more than 20 ms.
        assert_eq!((out.count, back.count), (5, 5));
        assert!((15_000_000..25_000_000).contains(&out.p50_ns.unwrap()), "{out:?}");
        assert!(back.p50_ns.unwrap() < 5_000_000, "{back:?}");
    }

    fn an_answer_after_its_time_is_late_however_long_the_next_send_takes(family) {
        // The first is answered 300 ms after it came, the second at once and after it.
        let peer = reflector(family, r"
first, whose = server.recvfrom(65535)
select.select([], [], [], 0.3)
server.sendto(answer(first, 0), whose)
second, whose = server.recvfrom(65535)
server.sendto(answer(second, 1), whose)
");
        let run = send(family, peer.port, "--count 2 --interval 600ms --wait 100ms").run().exits(0);
        peer.finish();
        let summary = run.summary();
        assert_eq!((summary.sent, summary.received, summary.late, summary.lost), (Some(2), Some(1), Some(1), Some(0)));
        assert_eq!((run.one::<Lost>().sequence, run.one::<Late>().sequence, run.one::<Reply>().sequence), (0, 0, 1));
        let after = run.one::<Lost>().after_ns;
        assert!((100_000_000..500_000_000).contains(&after), "lost is said when the time is over: {after}");
        assert_eq!(summary.loss_ratio, Some(0.5));
    }
}

/// Answers four of six test packets, each with the number that `own` makes of its own and of how many
/// there were before.
fn with_two_lost(own: &str) -> Finished {
    let script = format!(
        r"
for count in range(6):
    packet, whose = server.recvfrom(65535)
    number = sequence_of(packet)
    if number not in (2, 3):
        server.sendto(answer(packet, {own}), whose)
"
    );
    let peer = reflector(Family::V4, &script);
    let run = send(Family::V4, peer.port, "--count 6 --interval 10ms --wait 300ms").run().exits(0);
    peer.finish();
    assert_eq!((run.summary().received, run.summary().lost), (Some(4), Some(2)));
    run
}

#[test]
fn a_reflector_without_numbers_of_its_own_does_not_tell_the_ways_apart() {
    // A stateless one (RFC 8762, 4.3), or a stateful one whose answers were lost: nobody can tell.
    assert_eq!(warnings(&with_two_lost("number"), "loss-way-unknown"), 1);
    // Its numbers have no gap: both were lost on the way there.
    let run = with_two_lost("number if number < 2 else number - 2");
    assert_eq!((run.summary().lost_out, run.summary().lost_back), (Some(2), Some(0)));
    assert_eq!(warnings(&run, "loss-way-unknown"), 0, "{}", run.dump());
}

#[test]
fn what_answers_no_test_packet_of_ours_is_not_counted() {
    let peer = reflector(
        Family::V4,
        r"
packet, whose = server.recvfrom(65535)
session = struct.unpack('!H', packet[14:16])[0]
spoilt = bytearray(packet); spoilt[9] ^= 1
for bad in [b'', b'hello', packet[:43], os.urandom(44), answer(packet, 0, ssid=session ^ 2), answer(bytes(spoilt), 0),
            answer(packet, 0, error=0x0300), answer(test_packet(77, ssid=session), 0), answer(packet, 0)[:43]]:
    server.sendto(bad, whose)
server.sendto(answer(packet, 0), whose)
packet, whose = server.recvfrom(65535)
server.sendto(answer(packet, 1, ssid=0), whose)
",
    );
    let run = send(Family::V4, peer.port, "--count 2 --interval 50ms").run().exits(0);
    peer.finish();
    let summary = run.summary();
    // Who knows no session (RFC 8762 alone) leaves 0 in its place: an answer all the same.
    assert_eq!((summary.sent, summary.received, summary.duplicates), (Some(2), Some(2), Some(0)));
    assert_eq!((summary.lost, summary.lost_out, summary.lost_back), (Some(0), Some(0), Some(0)));
    assert_eq!(warnings(&run, "foreign-answer"), 1, "{}", run.dump());
}

#[test]
fn two_runs_to_one_reflector_do_not_mix() {
    let (reflector, port) = listen(Family::V4, "");
    let runs: Vec<_> =
        [40, 60].map(|count| send(Family::V4, port, &format!("--count {count} --interval 1ms")).start()).into();
    let runs: Vec<_> = runs.into_iter().map(|run| run.finish().exits(0)).collect();
    for (run, count) in runs.iter().zip([40, 60]) {
        let summary = run.summary();
        assert_eq!((summary.sent, summary.received, summary.warnings), (Some(count), Some(count), Some(0)));
        assert_eq!((summary.lost, summary.duplicates, summary.reordered), (Some(0), Some(0), Some(0)));
        assert!(run.all::<Reply>().iter().all(|reply| reply.reflector_sequence == Some(reply.sequence)));
    }
    let reflector = reflector.interrupt().exits(0);
    let mut of_each: Vec<_> = reflector.all::<TargetSummary>().iter().map(|each| each.received).collect();
    of_each.sort_unstable();
    assert_eq!(of_each, [Some(40), Some(60)]);
    assert_eq!((reflector.summary().sessions, reflector.summary().received), (Some(2), Some(100)));
}

#[test]
fn several_senders_one_way_are_told_apart_and_summed() {
    let (run, port) = listen(Family::V4, "--one-way");
    // Each by a plan of its own: numbers in the order in which they go, sent in their own order.
    let peer = sender(
        Family::V4,
        port,
        r"
plans = [[0, 1, 2, 3], [0, 2, 2, 1, 5], [3, 0, 1, 2, 2, 9, 9]]
socks, began = [udp(host) for _ in plans], time.time_ns()
for index in range(7):
    for which, plan in enumerate(plans):
        if index < len(plan):
            socks[which].sendto(test_packet(plan[index], ntp(began + plan[index]), ssid=which), (host, port))
say(*[sock.getsockname()[1] for sock in socks])
",
    );
    let ports = peer.lines()[0].clone();
    run.wait_for_nth::<crate::harness::events::Recv>(16);
    let run = run.interrupt().exits(0);
    let each = run.all::<TargetSummary>();
    let told: Vec<_> = each
        .iter()
        .map(|each| (each.received, each.lost, each.duplicates, each.reordered, each.reordering_extent_max))
        .map(|(a, b, c, d, e)| [a, b, c, d, e].map(Option::unwrap))
        .collect();
    assert_eq!(told, [[4, 0, 0, 0, 0], [5, 2, 1, 1, 1], [7, 5, 2, 3, 3]], "{}", run.dump());
    let targets: Vec<_> = each.iter().map(|each| each.target.strip_prefix("127.0.0.1:").unwrap()).collect();
    assert_eq!(targets.join(" "), ports);
    assert_eq!(each.iter().map(|each| each.session).collect::<Vec<_>>(), [None, Some(1), Some(2)]);
    let summary = run.summary();
    assert_eq!((summary.received, summary.lost, summary.duplicates), (Some(16), Some(7), Some(3)));
    assert_eq!((summary.reordered, summary.reordering_extent_max), (Some(4), Some(3)));
    assert_eq!((summary.sessions, summary.sent, summary.loss_ratio), (Some(3), Some(0), Some(7.0 / 20.0)));
}

#[test]
fn numbers_go_on_where_32_bits_end() {
    let (run, port) = listen(Family::V4, "--count 7");
    let peer = sender(
        Family::V4,
        port,
        r"
began = time.time_ns() - 2**33
for own, number in enumerate([2**32 - 3, 2**32 - 2, 2**32, 2**32 - 1, 2**32 + 1, 2**32, 2**32 + 3]):
    made.sendto(test_packet(number, ntp(began + number), ssid=5), (host, port))
    assert sequence_of(made.recv(100)) == own, number
say('all')
",
    );
    assert_eq!(peer.lines(), ["all"]);
    let run = run.finish().exits(0);
    let summary = run.summary();
    // Every number from 0 on: all that a sender that began there had sent before is missing.
    assert_eq!((summary.sessions, summary.lost), (Some(1), Some((1 << 32) - 3 + 1)), "{}", run.dump());
    assert_eq!((summary.reordered, summary.duplicates), (Some(1), Some(1)));
}

#[test]
fn a_sender_that_begins_again_is_a_new_session() {
    let (run, port) = listen(Family::V4, "--count 9");
    // The same socket, the same SSID; the last is a copy of the first of the session before.
    let peer = sender(
        Family::V4,
        port,
        r"
first = test_packet(0, ssid=5)
tests = [first] + [test_packet(number, ssid=5) for number in (1, 2, 3)]
for own, test in enumerate(tests + [first]):
    made.sendto(test, (host, port))
    assert sequence_of(made.recv(100)) == own
select.select([], [], [], 0.002)
for own, number in enumerate([0, 1, 3]):
    made.sendto(test_packet(number, ssid=5), (host, port))
    assert sequence_of(made.recv(100)) == own
made.sendto(first, (host, port))
assert sequence_of(made.recv(100)) == 3
say('all')
",
    );
    assert_eq!(peer.lines(), ["all"]);
    let run = run.finish().exits(0);
    let told: Vec<_> =
        run.all::<TargetSummary>().iter().map(|each| (each.received, each.lost, each.duplicates)).collect();
    assert_eq!(told, [(Some(5), Some(0), Some(1)), (Some(4), Some(1), Some(1))], "{}", run.dump());
    assert_eq!(run.summary().sessions, Some(2));
}

#[test]
fn hostile_datagrams_harm_nothing() {
    let (run, port) = listen(Family::V4, "");
    // A few thousand at a time, never more than its buffer holds: the answer to a good one says
    // that those before it were taken.
    let script = r"
random.seed(7)
def good(number):
    made.sendto(test_packet(number, ssid=1), (host, port))
    while sequence_of(made.recv(100)) != number:
        pass
good(0)
other = [udp(host) for _ in range(3)]
for round in range(1, 21):
    for index in range(300):
        sock, kind = other[index % 3], index % 4
        if kind == 0:
            junk = random.randbytes(random.randrange(44))
        elif kind == 1:
            junk = test_packet(random.getrandbits(32), sent=random.getrandbits(64), ssid=random.getrandbits(4))
        elif kind == 2:
            junk = test_packet(random.choice([1, 2**20, 2**31, 2**32 - 1]), sent=index, ssid=3)
        else:
            junk = test_packet(index, error=0, ssid=3)
        sock.sendto(junk, (host, port))
    good(round)
    say('round', round)
told()
good(21)
say('all')
";
    let mut peer = sender(Family::V4, port, script);
    // By then there is every session that there will be.
    peer.wait_for("round 5\n");
    let before = resident_memory(run.pid());
    peer.wait_for("round 20\n");
    let after = resident_memory(run.pid());
    peer.send(b"\n");
    assert_eq!(peer.lines().last().unwrap(), "all");
    let run = run.interrupt().exits(0);
    assert_eq!(warnings(&run, "not-measured"), 1, "{}", run.dump());
    assert_eq!(run.summary().received, Some(22 + 20 * 300));
    let good = run.all::<TargetSummary>();
    let good = good.iter().find(|each| each.session == Some(1) && each.received == Some(22)).unwrap();
    assert_eq!((good.lost, good.duplicates, good.reordered), (Some(0), Some(0), Some(0)));
    assert!(after < before + (8 << 20), "{before} → {after} bytes");
}

#[test]
fn a_duplicate_is_told_and_counted_apart() {
    let peer = reflector(
        Family::V4,
        r"
for number in range(2):
    packet, whose = server.recvfrom(65535)
    copies = 3 if number == 0 else 1
    for _ in range(copies):
        server.sendto(answer(packet, number), whose)
",
    );
    let run = send(Family::V4, peer.port, "--count 2 --interval 50ms").run().exits(0);
    peer.finish();
    assert_eq!(run.all::<Duplicate>().iter().map(|each| each.sequence).collect::<Vec<_>>(), [0, 0]);
    let summary = run.summary();
    assert_eq!((summary.received, summary.duplicates, summary.lost), (Some(2), Some(2), Some(0)));
}

#[test]
fn an_answer_to_what_was_refused_is_an_answer() {
    // An error of another's making about the first, then its answer; about the second only the error.
    let (_peer, port, network) = udp::refuser(
        r"
for number in range(3):
    packet, whose = server.recvfrom(100)
    if number < 2: refuse(packet, whose[1])
    if number != 1: server.sendto(answer(packet, number), whose)
",
    );
    let run = send(Family::V4, port, "--count 3 --interval 20ms --wait 500ms").under(network).run().exits(0);
    let summary = run.summary();
    assert_eq!(run.all::<IcmpError>().iter().map(|error| error.sequence).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert_eq!((summary.sent, summary.received, summary.refused), (Some(3), Some(2), Some(1)), "{}", run.dump());
    assert_eq!((summary.lost, summary.late, summary.icmp_errors), (Some(0), Some(0), Some(2)));
}

#[test]
fn an_error_about_what_has_its_end_is_told_and_refuses_nothing() {
    // The first is refused twice, the second answered and then refused, the third refused when it is lost.
    let (_peer, port, network) = udp::refuser(
        r"
for number in range(4):
    packet, whose = server.recvfrom(100)
    if number == 0:
        refuse(packet, whose[1], 1)
        refuse(packet, whose[1], 13)
    if number == 1:
        server.sendto(answer(packet, number), whose)
        answered = packet
    if number == 2:
        refuse(answered, whose[1], 1)
        silent = packet
    if number == 3:
        refuse(silent, whose[1], 1)
        server.sendto(answer(packet, number), whose)
",
    );
    let run = send(Family::V4, port, "--count 4 --interval 400ms --wait 200ms").under(network).run().exits(0);
    let summary = run.summary();
    let told: Vec<_> = run.all::<IcmpError>().iter().map(|error| error.sequence).collect();
    assert_eq!(told, [0, 0, 1, 2].map(Some), "{}", run.dump());
    assert_eq!((summary.sent, summary.received, summary.refused), (Some(4), Some(2), Some(1)), "{}", run.dump());
    assert_eq!((summary.lost, summary.late, summary.icmp_errors), (Some(1), Some(0), Some(4)));
}

#[test]
fn a_run_that_is_cut_short_says_that_answers_were_waited_for() {
    let peer = reflector(
        Family::V4,
        r"
packet, whose = server.recvfrom(100)
server.sendto(answer(packet, 0), whose)
told()
",
    );
    let words = "--count 0 --interval 50ms --wait 60s";
    let running = send(Family::V4, peer.port, words).start();
    running.wait_for::<Reply>();
    running.wait_for_nth::<crate::harness::events::Send>(3);
    let run = running.interrupt().exits(0);
    assert_eq!(warnings(&run, "stopped"), 1, "{}", run.dump());
    assert_eq!(run.summary().lost, run.summary().sent.map(|sent| sent - 1));
    // Where nothing is waited for there is nothing to say.
    let peer = reflector(
        Family::V4,
        r"
packet, whose = server.recvfrom(100)
server.sendto(answer(packet, 0), whose)
told()
",
    );
    let running = send(Family::V4, peer.port, "--count 0 --interval 60s").start();
    running.wait_for::<Reply>();
    assert_eq!(warnings(&running.interrupt().exits(0), "stopped"), 0);
    // Where nothing was answered that is said once.
    let (_deaf, port) = udp::socket(Family::V4);
    let running = send(Family::V4, port, "--count 0 --interval 60s --wait 60s").start();
    running.wait_for::<crate::harness::events::Send>();
    let run = running.interrupt().exits(8);
    assert_eq!((warnings(&run, "stopped"), run.summary().lost), (1, Some(1)), "{}", run.dump());
}

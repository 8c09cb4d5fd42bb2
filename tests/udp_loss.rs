//! What is lost, doubled, late and out of order on the way, against a network that keeps its own
//! account; and what this host's own kernel and reader drop.

use std::io::Read;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::events::{Bind, Duplicate, KernelDrops, Late, Lost, Recv, Reply, Session, TargetSummary, Warning};
use crate::harness::net::{Net, inside, resident_memory, udp_queue};
use crate::harness::process::PATIENCE;
use crate::harness::stamp::STAMP;
use crate::harness::{Finished, Peer, Running, Sockeye, require};

/// A network of one path: each number has a list of delays a copy, out and back; an empty one is a
/// loss. It says what it did by its own account when it is told to end.
const NETWORK: &str = r#"
import heapq

# How long each was in here, back and out, in the order in which they went on.
held = [[], []]

def run(port, out, back):
    """out(number) and back(number, copy) return the delays of the copies, in seconds."""
    inner, outer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), serve_udp()
    inner.connect(("127.0.0.1", port))
    due, order, sender, watched = [], 0, None, [inner, outer, sys.stdin]
    reached, came, copies = [], [], {}
    while due or sys.stdin in watched:
        wait = max(0, due[0][0] - time.monotonic()) if due else None
        readable, _, _ = select.select(watched, [], [], wait)
        for sock in readable:
            if sock is sys.stdin:
                watched.remove(sock)
                continue
            packet, whose = sock.recvfrom(65535)
            if sock is outer:
                sender, number = whose, sequence_of(packet)
                delays = out(number)
            else:
                number = struct.unpack("!I", packet[24:28])[0]
                copies[number] = copies.get(number, -1) + 1
                delays = back(number, copies[number])
            for delay in delays:
                order += 1
                came_at = time.monotonic()
                heapq.heappush(due, (came_at + delay, order, sock is outer, number, packet, came_at))
        while due and due[0][0] <= time.monotonic():
            _, _, is_out, number, packet, came_at = heapq.heappop(due)
            held[is_out].append(time.monotonic() - came_at)
            if is_out:
                reached.append(number)
                inner.send(packet)
            else:
                came.append(number)
                outer.sendto(packet, sender)
    return reached, came

def ordered(arrivals):
    """How many are reordered, and the largest extent (RFC 4737, 3.3 and 4.2), duplicates left out."""
    seen = list(dict.fromkeys(arrivals))
    reordered = [i for i, number in enumerate(seen) if any(other > number for other in seen[:i])]
    extents = [i - next(j for j, other in enumerate(seen) if other > seen[i]) for i in reordered]
    return len(reordered), max(extents, default=0)
"#;

fn network(port: u16, script: &str, args: &[&str]) -> Peer {
    let port = port.to_string();
    let args: Vec<&str> = std::iter::once(port.as_str()).chain(args.iter().copied()).collect();
    Peer::python_server(&format!("{STAMP}{NETWORK}\nport = int(sys.argv[1])\n{script}"), &args)
}

fn listen(words: &str) -> (Running, u16) {
    let run = Sockeye::new(format!("udp-listen 127.0.0.1:0 --json {words}")).start();
    let port = run.wait_for::<Bind>().port();
    (run, port)
}

fn warnings(run: &Finished, name: &str) -> usize {
    run.all::<Warning>().iter().filter(|warning| warning.name == name).count()
}

#[test]
fn totals_are_what_the_network_did() {
    for seed in ["1", "2", "3"] {
        let (reflector, port) = listen("--measure");
        let network = network(
            port,
            r"
random.seed(int(sys.argv[2]))
COUNT, LATE = 90, 1.7
def plan():
    kind = random.random()
    if kind < 0.1: return []
    if kind < 0.2: return [0, random.choice([0, 0.03])]
    if kind < 0.4: return [random.random() * 0.06]
    return [0]
outs = [plan() for _ in range(COUNT)]
backs = [plan() for _ in range(COUNT)]
seconds = [plan() for _ in range(COUNT)]
for number in range(COUNT):
    # Which of two numbers of the reflector was lost nobody can tell: of what it got twice both come.
    if len(outs[number]) > 1:
        backs[number], seconds[number] = backs[number] or [0], seconds[number] or [0.01]
# A few answers come after their time, while the run goes on; the last ones come, so that all is known.
for number in (4, 7, 11):
    outs[number], backs[number] = [0], [LATE]
outs[8], backs[8] = [LATE], [0]
outs[-8:], backs[-8:] = [[0]] * 8, [[0]] * 8
reached, came = run(port, lambda number: outs[number], lambda number, copy: (backs if copy == 0 else seconds)[number])

late = {4, 7, 8, 11}
lost_out = set(range(COUNT)) - set(reached)
lost_back = set(range(COUNT)) - lost_out - set(came)
reordered, extent = ordered(came)
there, there_extent = ordered(reached)
say(COUNT, COUNT - len(lost_out) - len(lost_back) - len(late), len(lost_out) + len(lost_back), len(lost_out),
    len(lost_back), len(late), len(came) - len(set(came)), reordered, extent)
say(len(reached), len(lost_out), len(reached) - len(set(reached)), there, there_extent)
say(*sorted(lost_out | lost_back | late))
",
            &[seed],
        );
        let run = Sockeye::new(format!(
            "udp-send 127.0.0.1 {} --measure --count 90 --interval 20ms --wait 1s --json",
            network.port
        ));
        let run = run.run().exits(0);
        let lines = network.lines();
        let numbers = |line: &str| line.split(' ').map(|word| word.parse::<u64>().unwrap()).collect::<Vec<_>>();
        let summary = run.summary();
        let ours = [
            summary.sent,
            summary.received,
            summary.lost,
            summary.lost_out,
            summary.lost_back,
            summary.late,
            summary.duplicates,
            summary.reordered,
            summary.reordering_extent_max,
        ];
        assert_eq!(ours.map(Option::unwrap).to_vec(), numbers(&lines[0]), "seed {seed}:\n{}", run.dump());
        // The events are the totals; each number ends once.
        assert_eq!(run.all::<Reply>().len() as u64, summary.received.unwrap());
        assert_eq!(run.all::<Duplicate>().len() as u64, summary.duplicates.unwrap());
        assert_eq!(run.all::<Late>().len() as u64, summary.late.unwrap());
        let mut lost: Vec<u64> = run.all::<Lost>().iter().map(|lost| lost.sequence).collect();
        lost.sort_unstable();
        assert_eq!(lost, numbers(&lines[2]), "seed {seed}");
        assert!(run.all::<Lost>().iter().all(|lost| lost.after_ns >= 1_000_000_000));
        let ratio = (summary.lost.unwrap() + summary.late.unwrap()) as f64 / 90.0;
        assert!((summary.loss_ratio.unwrap() - ratio).abs() < 1e-12);
        let reflector = reflector.interrupt().exits(0);
        let theirs = reflector.summary();
        let ours = [theirs.received, theirs.lost, theirs.duplicates, theirs.reordered, theirs.reordering_extent_max];
        assert_eq!(ours.map(Option::unwrap).to_vec(), numbers(&lines[1]), "seed {seed}:\n{}", reflector.dump());
        assert_eq!((theirs.sent, reflector.all::<Session>().len()), (theirs.received, 1));
    }
}

#[test]
fn what_was_said_to_be_twice_hides_no_loss() {
    // 1 is lost out, 2 back; the answers to 0 and 3 come three times, so there are more answers than
    // tests; 4 reaches the reflector twice, and each of its answers comes twice.
    let (reflector, port) = listen("--measure");
    let network = network(
        port,
        r"
outs = {1: [], 4: [0, 0]}
backs = {0: [0, 0, 0], 2: [], 3: [0, 0, 0], 4: [0, 0]}
run(port, lambda number: outs.get(number, [0]), lambda number, copy: backs.get(number, [0]))
",
        &[],
    );
    let line = format!("udp-send 127.0.0.1 {} --measure --count 6 --interval 30ms --wait 500ms --json", network.port);
    let run = Sockeye::new(line).run().exits(0);
    network.finish();
    let summary = run.summary();
    assert_eq!((summary.sent, summary.received, summary.duplicates), (Some(6), Some(4), Some(2 + 2 + 3)));
    assert_eq!((summary.lost, summary.lost_out, summary.lost_back), (Some(2), Some(1), Some(1)), "{}", run.dump());
    let theirs = reflector.interrupt().exits(0);
    assert_eq!((theirs.summary().lost, theirs.summary().duplicates), (Some(1), Some(1)));
}

#[test]
fn round_trip_and_variation_are_what_the_delays_say() {
    let (_reflector, port) = listen("--measure");
    // Out 40 ms and 80 ms in turns, back 20 ms always.
    let network = network(
        port,
        r"
run(port, lambda number: [0.08 if number % 2 else 0.04], lambda number, copy: [0.02])
def variation(delays):
    return sorted(abs(b - a) for a, b in zip(delays, delays[1:]))[9]
say(min(sum(both) for both in zip(*held)) * 1e9, variation(held[1]) * 1e9, variation(held[0]) * 1e9)
",
        &[],
    );
    let line = format!("udp-send 127.0.0.1 {} --measure --count 20 --interval 100ms --json", network.port);
    let run = Sockeye::new(line).run().exits(0);
    let lines = network.lines();
    let theirs: Vec<f64> = lines[0].split(' ').map(|word| word.parse().unwrap()).collect();
    for reply in run.all::<Reply>() {
        let least = if reply.sequence % 2 == 1 { 100 } else { 60 };
        assert!(reply.rtt_ns >= least * 1_000_000, "{reply:?}");
    }
    let summary = run.summary();
    let (out, back) = (summary.delay_variation_out.as_ref().unwrap(), summary.delay_variation_back.as_ref().unwrap());
    let ours = [summary.rtt.as_ref().unwrap().min_ns, out.p50_ns.unwrap(), back.p50_ns.unwrap()];
    // The middle one of all is not disturbed by what else goes on on this machine.
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((*ours as f64 - theirs).abs() < 1e7, "{ours} ns, {theirs} there: {summary:?}");
    }
}

#[test]
fn one_way_the_listener_knows_what_the_network_did() {
    let (listener, port) = listen("--measure --one-way");
    let network = network(
        port,
        r"
# Of each ten: one is lost, one comes three times, one comes after those that follow it.
def out(number):
    return {3: [], 5: [0, 0, 0], 7: [0.05]}.get(number % 10, [0])
reached, came = run(port, out, None)
say(len(reached), 199 - len(set(reached)), len(reached) - len(set(reached)), *ordered(reached), len(came))
",
        &[],
    );
    let line = format!("udp-send 127.0.0.1 {} --measure --one-way --count 199 --interval 5ms --json", network.port);
    let run = Sockeye::new(line).run().exits(0);
    let summary = run.summary();
    // The sender knows nothing of what comes of it, and says nothing.
    assert_eq!((summary.sent, summary.received, summary.lost), (Some(199), None, None));
    assert!(summary.rtt.is_none() && summary.lost_out.is_none() && summary.duplicates.is_none());
    let lines = network.lines();
    assert_eq!(drained(port), 0);
    let listener = listener.interrupt().exits(0);
    let theirs: Vec<u64> = lines[0].split(' ').map(|word| word.parse().unwrap()).collect();
    assert_eq!(theirs[1..3], [20, 40]);
    let summary = listener.summary();
    let ours = [
        summary.received,
        summary.lost,
        summary.duplicates,
        summary.reordered,
        summary.reordering_extent_max,
        summary.sent,
    ];
    assert_eq!(ours.map(Option::unwrap).to_vec(), theirs, "{}", listener.dump());
    assert_eq!(listener.one::<TargetSummary>().lost, Some(20));
}

/// A namespace where nft drops or doubles, by these rules of the hook `input` and `output`.
fn filtered(input: &str, output: &str) -> Net {
    require(&["nft", "nsenter"]);
    let chain = |hook: &str, rules: &str| {
        format!("nft 'add chain ip f {hook} {{ type filter hook {hook} priority 0; }}; {rules}'")
    };
    Net::isolated().with("nft add table ip f").with(chain("input", input)).with(chain("output", output))
}

/// Returns what the counters of the rules in a namespace have counted, in their order.
fn counters(of: &Running) -> Vec<u64> {
    let mut words = inside(of.pid());
    words.extend(["nft", "list", "table", "ip", "f"].map(Into::into));
    let mut command = std::process::Command::new(&words[0]);
    let text = crate::harness::net::output_of(command.args(&words[1..])).unwrap();
    let counts = text.split("counter packets ").skip(1);
    counts.map(|rest| rest.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn what_a_filter_drops_each_way_is_what_its_counters_say() {
    let net = filtered(
        "add rule ip f input udp dport 9000 numgen inc mod 10 0 counter drop; add rule ip f input udp sport 9000 numgen inc mod 7 0 counter drop",
        "",
    );
    let listener = Sockeye::new("udp-listen 127.0.0.1:9000 --measure --json").under(net.prefix()).start();
    listener.wait_for::<Bind>();
    let run = Sockeye::new("udp-send 127.0.0.1 9000 --measure --count 100 --interval 2ms --wait 500ms --json")
        .under(inside(listener.pid()))
        .run()
        .exits(0);
    let counted = counters(&listener);
    assert_eq!(counted, [10, 13], "100 there, 90 back");
    let summary = run.summary();
    assert_eq!((summary.sent, summary.received), (Some(100), Some(100 - 10 - 13)));
    assert_eq!((summary.lost_out, summary.lost_back), (Some(counted[0]), Some(counted[1])), "{}", run.dump());
    assert_eq!((summary.lost, summary.duplicates, summary.reordered), (Some(23), Some(0), Some(0)));
    let theirs = listener.interrupt().exits(0);
    assert_eq!(
        (theirs.summary().received, theirs.summary().sent, theirs.summary().lost),
        (Some(90), Some(90), Some(10))
    );
}

#[test]
fn what_a_filter_doubles_is_what_its_counter_says() {
    // A copy passes the rule as well, with the next number of the five: it is not doubled again.
    let net = filtered("", "add rule ip f output udp dport 9000 numgen inc mod 5 2 counter dup to 127.0.0.1");
    let listener = Sockeye::new("udp-listen 127.0.0.1:9000 --measure --json").under(net.prefix()).start();
    listener.wait_for::<Bind>();
    let run = Sockeye::new("udp-send 127.0.0.1 9000 --measure --count 100 --interval 2ms --json")
        .under(inside(listener.pid()))
        .run()
        .exits(0);
    let counted = counters(&listener);
    assert!(counted[0] >= 20, "{counted:?}");
    let theirs = listener.interrupt().exits(0);
    assert_eq!((theirs.summary().duplicates, theirs.summary().lost), (Some(counted[0]), Some(0)));
    assert_eq!(theirs.summary().received, Some(100 + counted[0]));
    let summary = run.summary();
    assert_eq!((summary.received, summary.lost, summary.lost_out), (Some(100), Some(0), Some(0)));
    // The answer to the last copy may come after the end.
    let duplicates = summary.duplicates.unwrap();
    assert!(duplicates == counted[0] || duplicates + 1 == counted[0], "{duplicates} of {counted:?}");
}

/// Waits until the kernel holds nothing for a socket of a port of 127.0.0.1, and returns what it has
/// dropped by its own account.
fn drained(port: u16) -> u64 {
    let end = Instant::now() + PATIENCE;
    loop {
        let (held, drops) = udp_queue(port).expect("the socket is there");
        if held == 0 {
            return drops;
        }
        assert!(Instant::now() < end, "{held} bytes are left");
        // The kernel tells nobody when a foreign socket is empty: look again soon.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends datagrams to a listener that is stopped meanwhile, and returns how it then ended, with how
/// many its kernel dropped by its own account.
fn overfill(words: &str, script: &str) -> (Finished, u64) {
    let (run, port) = listen(&format!("{words} --recv-buffer 8192"));
    run.signal(Signal::SIGSTOP);
    let script = format!("{STAMP}\nmade, to = udp(), ('127.0.0.1', int(sys.argv[1]))\n{script}");
    Peer::python(&script, &[&port.to_string()]).lines();
    run.signal(Signal::SIGCONT);
    let drops = drained(port);
    (run.interrupt().exits(0), drops)
}

#[test]
fn what_the_own_kernel_drops_is_told_apart() {
    let (run, drops) = overfill("--no-gro --discard", "for number in range(3000): made.sendto(b'x' * 100, to)");
    let (summary, told) = (run.summary(), run.all::<KernelDrops>());
    assert!(drops > 2000, "{drops}");
    assert_eq!(summary.kernel_drops, Some(drops), "{}", run.dump());
    assert_eq!(summary.received.unwrap() + drops, 3000);
    assert_eq!(summary.kernel_drop_buffers, None);
    let last = told.last().unwrap();
    assert_eq!((last.kernel_drops, last.kernel_drop_buffers), (Some(drops), None));
    // The kernel doubles what is asked for (socket(7)).
    assert_eq!((last.recv_buffer_asked, last.recv_buffer), (Some(8192), Some(16384)));
}

#[test]
fn what_the_own_kernel_drops_of_numbered_datagrams_is_exact_too() {
    let script =
        "for number in range(3000): made.sendto(test_packet(number, ssid=9), to)\nselect.select([], [], [], 0)";
    for words in ["--measure", "--measure --one-way"] {
        let (run, drops) = overfill(words, script);
        let summary = run.summary();
        assert!(drops > 2000, "{drops}");
        assert_eq!((summary.kernel_drops, summary.received), (Some(drops), Some(3000 - drops)), "{}", run.dump());
        // The first ones came, the last ones are not known of here: nothing that came was after a gap.
        assert_eq!((summary.lost, summary.duplicates, summary.reordered), (Some(0), Some(0), Some(0)));
    }
}

#[test]
fn where_the_kernel_merges_it_drops_buffers() {
    // Each send is ten datagrams in one buffer (UDP_SEGMENT).
    let script = "made.setsockopt(17, 103, 100)\nfor number in range(500): made.sendto(b'x' * 1000, to)";
    let (run, drops) = overfill("--discard", script);
    let summary = run.summary();
    assert!(drops > 300, "{drops}");
    assert_eq!((summary.kernel_drops, summary.kernel_drop_buffers), (None, Some(drops)), "{}", run.dump());
    assert_eq!(summary.received.unwrap() + 10 * drops, 5000);
}

#[test]
fn a_reader_that_does_not_read_costs_events_and_no_counts() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let net = Net::isolated();
    let run = Sockeye::new("udp-listen 127.0.0.1:9000 --json --no-gro").under(net.prefix()).stdout_to(writer).start();
    let held = |pid| std::fs::read_to_string(format!("/proc/{pid}/net/udp")).unwrap_or_default();
    // The port is known, and that it is open the kernel says.
    let end = Instant::now() + PATIENCE;
    while !held(run.pid()).contains(":2328 ") {
        assert!(Instant::now() < end && run.is_running());
        std::thread::sleep(Duration::from_millis(5));
    }
    let script = format!(
        "{STAMP}\nmade = udp()\nfor part in range(3):\n    for number in range(20000): made.sendto(b'x' * 100, ('127.0.0.1', 9000))\n    say('sent', part)\n    told()\nsay('end')"
    );
    let mut words = inside(run.pid()).into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>();
    words.extend([crate::harness::peers::python(), "-I", "-S", "-c"].map(str::to_owned));
    words.push(format!("{}\n{script}", crate::harness::peers::PRELUDE));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut peer = Peer::program(words[0], &words[1..], crate::harness::process::Stdin::Piped, None);
    let queue = || crate::harness::net::udp_queue_of(run.pid(), 9000).unwrap();
    let mut memory = Vec::new();
    for part in 0..3 {
        peer.wait_for(&format!("sent {part}\n"));
        let end = Instant::now() + PATIENCE;
        while queue().0 > 0 {
            assert!(Instant::now() < end, "the receiver goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
        memory.push(resident_memory(run.pid()));
        peer.send(b"\n");
    }
    let drops = queue().1;
    peer.finish();
    run.signal(Signal::SIGINT);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    run.finish_by_itself();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |name: &str| lines.iter().filter(|line| line["event"] == name).count() as u64;
    let summary = lines.last().unwrap();
    let total = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(total("received") + drops, 60_000, "{summary}");
    assert_eq!((total("kernel_drops"), total("bytes_received")), (drops, total("received") * 100));
    assert!(total("events_dropped") > 10_000, "{summary}");
    let unseen = lines.iter().filter(|line| line["event"] == "kernel-drops").count();
    assert!(unseen < 100, "{unseen}");
    assert_eq!(count("recv") + total("events_dropped"), total("received"), "{summary}");
    let told = lines.iter().filter(|line| line["name"] == "events-dropped").count();
    assert_eq!((told as u64, total("warnings")), (1, 1));
    assert!(memory[2] < memory[0] + (8 << 20), "{memory:?}");
}

#[test]
fn more_sessions_than_are_told_apart_are_said_to_be_so_and_answered() {
    let (run, port) = listen("--measure");
    // The 1,024 first ones get numbers of the reflector's own, all others the ones that they sent.
    let script = format!(
        r"{STAMP}
made, to = udp(), ('127.0.0.1', int(sys.argv[1]))
for ssid in range(1, 1501):
    for own in range(2):
        made.sendto(test_packet(7, ssid=ssid), to)
        assert sequence_of(made.recv(100)) == (own if ssid <= 1024 else 7), (ssid, own)
say('all')"
    );
    assert_eq!(Peer::python(&script, &[&port.to_string()]).lines(), ["all"]);
    let run = run.interrupt().exits(0);
    let summary = run.summary();
    assert_eq!((summary.received, summary.sent, summary.sessions), (Some(3000), Some(3000), Some(1024)));
    assert_eq!((warnings(&run, "sessions-limited"), warnings(&run, "not-measured")), (1, 0));
    assert_eq!((summary.lost, summary.duplicates), (Some(1024 * 7), Some(1024)));
    let told = run.all::<Recv>().len() + run.all::<crate::harness::events::Send>().len();
    assert_eq!(told as u64 + summary.events_dropped.unwrap_or(0), 6000);
}

#[test]
fn answers_that_cannot_be_sent_fill_no_memory_where_nobody_reads_of_them() {
    const SENT: u64 = 30_000;
    let (mut reader, writer) = std::io::pipe().unwrap();
    let net = Net::isolated().with("ip link set lo mtu 1500");
    let words = "udp-listen 127.0.0.1:9000 --json -q --echo --dont-fragment --recv-buffer 64MiB";
    let run = Sockeye::new(words).under(net.prefix()).stdout_to(writer).start();
    let end = Instant::now() + PATIENCE;
    let held = |pid| std::fs::read_to_string(format!("/proc/{pid}/net/udp")).unwrap_or_default();
    while !held(run.pid()).contains(":2328 ") {
        assert!(Instant::now() < end && run.is_running());
        std::thread::sleep(Duration::from_millis(5));
    }
    let send = format!("udp-send 127.0.0.1 9000 --size 3000 --count {SENT} --rate 20000/s --json -q");
    Sockeye::new(send).under(inside(run.pid())).run().exits(0);
    while crate::harness::net::udp_queue_of(run.pid(), 9000).unwrap().0 > 0 {
        assert!(Instant::now() < end, "the receiver goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
    run.signal(Signal::SIGINT);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    run.finish_by_itself();
    let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let of = |name: &str| summary[name].as_u64().unwrap();
    let errors = text.lines().filter(|line| line.contains("\"event\":\"error\"")).count() as u64;
    assert!(errors > 0 && errors < of("received"), "{errors} of {summary}");
    assert_eq!(of("not_sent"), of("received"), "{summary}");
    assert_eq!(errors, of("errors"), "{summary}");
}

//! Datagrams at their times: rates and intervals, against the stamps of the receiver's kernel; and
//! what the sender's own kernel has no room for.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::events::{Bind, NotSent, Recv, Reply, Send, Summary};
use crate::harness::net::{Net, inside, output_of};
use crate::harness::peers::{PRELUDE, python};
use crate::harness::probes::Clock;
use crate::harness::process::Stdin;
use crate::harness::stamp::STAMP;
use crate::harness::{Finished, Peer, Sockeye, require};

/// A receiver that takes the kernel's time of each datagram (SO_TIMESTAMPNS), as much in hand as it
/// may have.
const RECEIVER: &str = r#"
server = serve_udp()
server.setsockopt(socket.SOL_SOCKET, 35, 1)
try:
    server.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
except PermissionError:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)

def take():
    """Returns a datagram and the kernel's time of it, in seconds."""
    data, control, _, _ = server.recvmsg(2048, 64)
    seconds, nanos = struct.unpack("qq", control[0][2])
    return data, seconds + nanos / 1e9

def take_all(silence):
    """Takes all that comes until nothing does for so long; returns the times of all."""
    times = []
    while select.select([server], [], [], silence if times else 60)[0]:
        times.append(take()[1])
    return times

def dropped():
    """Returns how many were dropped for want of room (SO_MEMINFO)."""
    return struct.unpack("9I", server.getsockopt(socket.SOL_SOCKET, 55, 36))[8]
"#;

fn receiver(script: &str) -> Peer {
    Peer::python_server(&format!("{STAMP}{RECEIVER}\n{script}"), &[])
}

fn send(port: u16, words: &str) -> Sockeye {
    Sockeye::new(format!("udp-send 127.0.0.1 {port} --json {words}"))
}

/// Checks that sender and receiver saw the same: how many, and from the first to the last how long,
/// in seconds.
#[track_caller]
fn agree(run: &Finished, seen: u64, span: f64) {
    let summary = run.summary();
    assert_eq!(summary.sent, Some(seen), "{summary:?}");
    let ours = (seen - 1) as f64 / summary.rate_achieved.unwrap();
    assert!((ours - span).abs() < 0.03 + 0.02 * span, "{ours} s here, {span} s there\n{summary:?}");
}

#[test]
fn a_rate_is_what_the_receiver_sees() {
    for (rate, count) in [("200/s", 60), ("1000/s", 500), ("50000/s", 10_000)] {
        let peer = receiver("times = take_all(1)\nsay(len(times) + dropped(), times[-1] - times[0])");
        let run = send(peer.port, &format!("-q --size 64 --rate {rate} --count {count}")).run().exits(0);
        let lines = peer.lines();
        let (seen, span) = lines[0].split_once(' ').unwrap();
        let (seen, span): (u64, f64) = (seen.parse().unwrap(), span.parse().unwrap());
        agree(&run, seen, span);
        let (summary, asked) = (run.summary(), rate.strip_suffix("/s").unwrap().parse::<f64>().unwrap());
        assert_eq!((summary.sent, summary.rate_asked), (Some(count), Some(asked)));
        assert_eq!(summary.send_lateness.as_ref().unwrap().count, count);
        // Never faster than asked; how much slower the machine says that it runs on.
        let least = (count - 1) as f64 / asked;
        assert!(span > least * 0.98 - 0.1, "{count} in {span} s at {rate}");
        assert!(span < least * 2.0 + 1.0, "{count} in {span} s at {rate}");
    }
}

#[test]
fn half_a_datagram_a_second_is_one_every_two() {
    let peer = receiver("first, second = take()[1], take()[1]\nsay(second - first)");
    let run = send(peer.port, "--size 10 --rate 0.5/s --count 2").run().exits(0);
    let apart: f64 = peer.lines()[0].parse().unwrap();
    // Only the first can be late and so take of it, up to what is made up for.
    assert!((1.88..3.0).contains(&apart), "{apart} s");
    agree(&run, 2, apart);
    assert_eq!(run.summary().rate_asked, Some(0.5));
}

#[test]
fn a_rate_in_bits_is_one_in_datagrams_of_that_size() {
    let peer = receiver("times = take_all(1)\nsay(len(times), times[-1] - times[0])");
    let run = send(peer.port, "-q --size 1000 --rate 8Mbit/s --count 300").run().exits(0);
    let span: f64 = peer.lines()[0].split_once(' ').unwrap().1.parse().unwrap();
    agree(&run, 300, span);
    assert_eq!(run.summary().rate_asked, Some(1000.0));
}

#[test]
fn an_interval_is_kept_without_drift() {
    // How far each is from its place after the first, in milliseconds: the middle one of all.
    let peer = receiver(
        r"
times = [take()[1] for _ in range(50)]
off = sorted(abs((when - times[0]) * 1000 - 20 * number) for number, when in enumerate(times))
say(off[25])",
    );
    let run = send(peer.port, "--size 10 --interval 20ms --count 50").run().exits(0);
    let off: f64 = peer.lines()[0].parse().unwrap();
    // On a machine that is overloaded it says itself how late it was; more than 100 ms are given up.
    let late = run.summary().send_lateness.as_ref().unwrap().max_ns as f64 / 1e6;
    assert!(off < 2.0 + 2.0 * late || late >= 100.0, "{off} ms, and {late} ms late");
    assert_eq!((run.summary().sent, run.summary().rate_asked), (Some(50), None));
}

#[test]
fn a_deadline_ends_what_has_no_count() {
    let peer = receiver("say(len(take_all(1)))");
    let run = send(peer.port, "-q --size 10 --rate 500/s --count 0 --deadline 500ms").run().exits(0);
    let seen: u64 = peer.lines()[0].parse().unwrap();
    assert_eq!(run.summary().sent, Some(seen));
    let took = run.summary().duration_ns as f64 / 1e9;
    assert!(took > 0.4 && seen as f64 <= 500.0 * took + 1.0, "{seen} in {took} s");
}

#[test]
fn a_sender_that_was_stopped_does_not_make_up_for_it_in_a_burst() {
    let mut peer = receiver(
        r"
before = [take() for _ in range(100)]
say('stop')
# All that it had sent, then nothing for half a second.
while select.select([server], [], [], 0.5)[0]:
    take()
say('silent')
after = [take()[1] for _ in range(600)]
# Ten milliseconds after the first: what was made up for, and what was due.
say('burst', sum(when - after[0] < 0.01 for when in after), after[-1] - after[0])
told()",
    );
    let run = send(peer.port, "-q --size 20 --rate 1000/s").start();
    peer.wait_for("stop\n");
    run.signal(Signal::SIGSTOP);
    peer.wait_for("silent\n");
    run.signal(Signal::SIGCONT);
    peer.wait_for("burst");
    run.interrupt().exits(0);
    peer.send(b"\n");
    let lines = peer.lines();
    let words: Vec<&str> = lines[2].split(' ').collect();
    let (burst, span): (u64, f64) = (words[1].parse().unwrap(), words[2].parse().unwrap());
    assert!((60..=125).contains(&burst), "{burst} at once: 100 ms of 1000/s are 100");
    assert!(span > 0.4, "600 in {span} s");
}

/// A network whose only device is a TUN that nobody reads until the test says so: room for 20. Its
/// first line is its process, then comes how many of its datagrams there were to read.
const TUN: &str = r#"
import fcntl
tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", b"t0", 0x1001))
for line in ["sysctl -qw net.ipv6.conf.all.disable_ipv6=1", "ip link set t0 txqueuelen 20 up",
             "ip addr add 10.9.9.1/24 dev t0", "tc qdisc replace dev t0 root noqueue"]:
    assert os.system(line) == 0, line
say(os.getpid())
told()
read = 0
while True:
    try:
        packet = os.read(tun, 65536)
    except BlockingIOError:
        break
    read += packet[9] == 17 and packet[16:20] == bytes([10, 9, 9, 2]) and packet[22:24] == struct.pack("!H", 9000)
say(read)
"#;

/// Runs a sender into a TUN that nobody reads, and returns how many datagrams lay in it then.
fn into_a_wall(words: &str) -> (Finished, u64) {
    require(&["unshare", "ip", "tc", "sysctl"]);
    let script = format!("{PRELUDE}\n{TUN}");
    let args = ["-Urnm", python(), "-I", "-S", "-c", &script];
    let mut wall = Peer::program("unshare", &args, Stdin::Piped, None);
    let [pid] = wall.numbers();
    let line = format!("udp-send 10.9.9.2 9000 --json {words}");
    let run = Sockeye::new(line).under(inside(nix::unistd::Pid::from_raw(pid))).run();
    wall.send(b"\n");
    let lines = wall.lines();
    (run, lines[1].parse().unwrap())
}

/// A namespace whose loopback takes 800 kbit/s and holds `limit` bytes (tc-tbf(8)).
fn narrow(limit: &str) -> Net {
    require(&["tc", "nsenter"]);
    Net::isolated().with(format!("tc qdisc add dev lo root tbf rate 800kbit burst 2000 limit {limit}"))
}

/// Returns what the queue of loopback in the namespace of a process has sent, dropped and holds.
fn queue(of: nix::unistd::Pid) -> (u64, u64, u64) {
    let mut words = inside(of);
    words.extend(["tc", "-s", "qdisc", "show", "dev", "lo"].map(Into::into));
    let text = output_of(Command::new(&words[0]).args(&words[1..])).unwrap();
    let number = |before: &str, after: &str| -> u64 {
        let rest = text.split_once(before).unwrap_or_else(|| panic!("{before} in {text}")).1;
        rest.split_once(after).unwrap().0.split(' ').next_back().unwrap().parse().unwrap()
    };
    (number("Sent ", " pkt"), number("(dropped ", ","), number("backlog ", "p "))
}

#[test]
fn what_the_device_has_no_room_for_is_not_sent() {
    // Of a buffer that it cuts the kernel says that it took it all: a flood needs --no-gso to be exact.
    for words in ["--size 500 --rate 2000/s", "--size 500 --interval 1ms", "--size 500 --flood --no-gso"] {
        let (run, there) = into_a_wall(&format!("{words} --count 100"));
        let (summary, refused) = (run.summary(), run.all::<NotSent>());
        assert_eq!((summary.sent, summary.not_sent), (Some(there), Some(100 - there)), "{words}: {summary:?}");
        assert!((1..100).contains(&there), "{there}");
        assert_eq!(refused.len() as u64, 100 - there);
        assert!(refused.iter().all(|each| each.errno == "ENOBUFS"), "{words}: {summary:?}");
        assert_eq!(run.all::<Send>().len() as u64, there);
        assert_eq!((run.code(), summary.errors), (0, Some(0)), "{words}");
    }
}

#[test]
fn a_test_packet_that_was_not_sent_is_not_lost() {
    let (run, there) = into_a_wall("--measure --rate 200/s --count 0 --deadline 500ms --wait 200ms");
    let run = run.exits(8);
    let summary = run.summary();
    assert_eq!((summary.sent, summary.lost), (Some(there), Some(there)), "{}", run.dump());
    assert!(summary.not_sent > Some(0) && there > 0, "{summary:?}");
    // The numbers of what was sent have no gap.
    let numbers: Vec<_> = run.all::<Send>().iter().map(|send| send.sequence.unwrap()).collect();
    assert_eq!(numbers, (0..there).collect::<Vec<_>>());
}

#[test]
fn a_stamp_is_that_of_its_own_packet() {
    // Packets wait here for up to 80 ms while others are refused, which the kernel has numbered too.
    let reflector = Sockeye::new("udp-listen 127.0.0.1:9000 --json --measure").under(narrow("8000").prefix()).start();
    reflector.wait_for::<Bind>();
    let run =
        send(9000, "--measure --rate 130/s --size 500 --count 120 --wait 1s").under(inside(reflector.pid())).run();
    let theirs = reflector.interrupt().exits(0);
    assert!(!run.all::<NotSent>().is_empty(), "{:?}", run.summary());
    let sends = run.all::<Send>();
    let (stamped, others): (Vec<_>, Vec<_>) =
        run.all::<Reply>().into_iter().partition(|reply| reply.queued_ns.is_some());
    assert!(others.iter().all(|reply| reply.clock == Clock::User) && !stamped.is_empty(), "{:?}", run.summary());
    for reply in stamped {
        let queued = reply.queued_ns.unwrap();
        let send = sends.iter().find(|send| send.sequence == Some(reply.sequence)).unwrap();
        let time = |bytes: &[u8]| u128::from(u32::from_be_bytes(bytes.try_into().unwrap()));
        let (seconds, fraction) = (time(&send.payload()[4..8]), time(&send.payload()[8..12]));
        let left = (seconds - 2_208_988_800) * 1_000_000_000 + ((fraction * 1_000_000_000) >> 32) + u128::from(queued);
        // It left when it came to the other end of this loopback.
        let came = theirs.all::<Recv>().into_iter().find(|recv| recv.sequence == Some(reply.sequence)).unwrap();
        let came = humantime::parse_rfc3339(came.kernel_time.as_ref().unwrap()).unwrap();
        let came = came.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        assert!(came.abs_diff(left) < 5_000_000, "{} ns apart: {reply:?}", came.abs_diff(left));
    }
}

#[test]
fn a_full_send_buffer_is_not_sent() {
    let keeper =
        Sockeye::new("udp-listen 127.0.0.1:9000 --json --discard --no-gro").under(narrow("1000000").prefix()).start();
    keeper.wait_for::<Bind>();
    let run = send(9000, "--rate 2000/s --size 500 --count 300 --send-buffer 5000").under(inside(keeper.pid())).run();
    let run = run.exits(0);
    let (left, dropped, held) = queue(keeper.pid());
    let summary = run.summary();
    assert_eq!((summary.sent, dropped), (Some(left + held), 0), "{summary:?}");
    assert!(summary.not_sent > Some(0), "{summary:?}");
    assert_eq!(summary.sent.unwrap() + summary.not_sent.unwrap(), 300, "{summary:?}");
    assert!(run.all::<NotSent>().iter().all(|each| each.errno == "EAGAIN"));
    keeper.interrupt().exits(0);
}

#[test]
fn what_waits_on_this_host_is_no_part_of_the_round_trip_nor_lost() {
    let reflector =
        Sockeye::new("udp-listen 127.0.0.1:9000 --json --measure").under(narrow("1000000").prefix()).start();
    reflector.wait_for::<Bind>();
    let run = send(9000, "--measure --rate 500/s --size 500 --count 100 --send-buffer 5000 --wait 5s")
        .under(inside(reflector.pid()))
        .run();
    let theirs = reflector.interrupt().exits(0);
    let (ours, theirs): (&Summary, &Summary) = (run.summary(), theirs.summary());
    assert!(ours.not_sent > Some(0), "{ours:?}");
    // All that this host took came there and back; what it did not take counts towards the hundred.
    let sent = ours.sent;
    assert_eq!(sent.unwrap() + ours.not_sent.unwrap(), 100, "{ours:?}");
    assert!(sent > Some(0), "{ours:?}");
    assert_eq!((theirs.received, theirs.sent), (sent, sent), "{ours:?}\n{theirs:?}");
    assert_eq!((theirs.lost, ours.received, ours.lost, ours.late), (Some(0), sent, Some(0), Some(0)), "{ours:?}");
    assert_eq!((ours.lost_out, ours.lost_back, ours.duplicates), (Some(0), Some(0), Some(0)), "{ours:?}");
    assert_eq!(run.all::<NotSent>().len() as u64, ours.not_sent.unwrap());
    for reply in run.all::<Reply>() {
        // A second is more than the queue holds: a stamp of another packet would be told by that.
        assert!(reply.rtt_ns < 1_000_000_000, "{reply:?}");
    }
}

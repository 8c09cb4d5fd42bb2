//! `serve --fault`: each way to misbehave, as its clients see it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::Type;

use crate::crowd::connected;
use crate::harness::events::{
    Accept, Close, Eof, Error, Event, Listen, Reason, Recv, Send, Setsockopt, Shutdown as Shut, Side, Step, Timeout,
    Value, Warning,
};
use crate::harness::net::{dial, over_both_families, reset};
use crate::harness::peers::{A_WHILE, Peer};
use crate::harness::process::{PATIENCE, Stdin};
use crate::harness::{Family, Running, Sockeye, require};
use crate::unix::place;

fn faulty(fault: &str, rest: &str) -> Running {
    Sockeye::new(format!("serve 0 --json --fault {fault} {rest}")).start()
}

fn python(script: &str, family: Family, port: u16) -> Vec<String> {
    Peer::python(script, &[&family.host(), &port.to_string()]).lines()
}

over_both_families! {
    fn reset_is_what_python_and_curl_see(family) {
        let server = faulty("reset", "-v");
        let port = server.port();
        // It comes so soon that connect may tell of it already.
        let see = r#"
try:
    say(dial(sys.argv[1], sys.argv[2]).recv(1))
except ConnectionResetError as error:
    say(type(error).__name__)
"#;
        assert_eq!(python(see, family, port), ["ConnectionResetError"]);
        require(&["curl"]);
        let url = if family == Family::V4 { format!("http://127.0.0.1:{port}") } else { format!("http://[::1]:{port}") };
        let words = ["-sS", "--max-time", "30", "--noproxy", "*", &url];
        let curl = Peer::program("curl", &words, Stdin::Null, None).finish();
        // CURLE_RECV_ERROR; or of sending, or of connecting, where the reset was quicker.
        let stderr = String::from_utf8_lossy(&curl.stderr);
        assert!(matches!(curl.status.code(), Some(56 | 55 | 7)), "{}: {stderr}", curl.status);
        server.wait_for_nth::<Close>(2);
        let run = server.interrupt().exits(0);
        let lingers: Vec<_> = run.all::<Setsockopt>().into_iter().filter(|set| set.option == "SO_LINGER").collect();
        assert_eq!(lingers.len(), 2);
        assert!(lingers.iter().all(|set| set.requested == Value::Number(0) && set.effective == Some(Value::Number(0))));
        for close in run.all::<Close>() {
            let told = (close.reason, close.closed_first, close.reset_by, close.clean, close.bytes_sent);
            let ours = (Reason::Local, Some(Side::Local), Some(Side::Local), Some(false), 0);
            assert_eq!(told, ours, "{}", run.dump());
        }
        assert_eq!(run.summary().resets, Some(0), "none by a peer");
    }

    fn hang_neither_reads_nor_sends(family) {
        let server = faulty("hang", "");
        let see = r#"
peer = dial(sys.argv[1], sys.argv[2])
peer.sendall(b"hello")
peer.settimeout(0.5)
try:
    say(peer.recv(1))
except TimeoutError as error:
    say(type(error).__name__)
reset(peer)
"#;
        assert_eq!(python(see, family, server.port()), ["TimeoutError"]);
        let close = server.wait_for::<Close>();
        assert_eq!((close.reason, close.bytes_received, close.bytes_sent), (Reason::Reset, 0, 0));
        let run = server.interrupt().exits(0);
        let error = run.one::<Error>();
        assert_eq!((error.step, error.errno.as_deref()), (Step::Recv, Some("ECONNRESET")));
        assert!(run.all::<Recv>().is_empty());
    }

    fn half_close_is_an_end_at_once_and_the_peer_may_go_on(family) {
        let server = faulty("half-close", "");
        let see = r#"
peer = dial(sys.argv[1], sys.argv[2])
say(peer.recv(1))
peer.sendall(bytes(100000))
peer.close()
"#;
        assert_eq!(python(see, family, server.port()), ["b''"]);
        let close = server.wait_for::<Close>();
        assert_eq!((close.reason, close.bytes_received, close.bytes_sent), (Reason::Eof, 100_000, 0));
        let run = server.interrupt().exits(0);
        assert_eq!(run.one::<Shut>().how, "SHUT_WR");
        let order: Vec<_> = run.names().into_iter().filter(|name| ["accept", "shutdown", "eof", "close"].contains(name)).collect();
        assert_eq!(order, ["accept", "shutdown", "eof", "close"]);
    }

    fn close_after_cuts_an_answer_at_the_byte(family) {
        for (fault, rest, sent, expected) in [
            ("close-after=3", "", &b"hello"[..], &b"hel"[..]),
            ("close-after=7", "--prefix >", b"hello", b">hello"),
            ("close-after=4", "--when a longer", b"a", b"long"),
            ("close-after=1", "--discard", b"", b""),
        ] {
            let server = faulty(fault, rest);
            let mut client = dial(family, server.port());
            client.write_all(sent).unwrap();
            let mut got = vec![0; expected.len()];
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, expected, "{fault} {rest}");
            if rest == "--discard" {
                client.write_all(b"xy").unwrap();
            } else if rest == "--prefix >" {
                client.write_all(b"again").unwrap();
                client.read_exact(&mut got[..1]).unwrap();
                assert_eq!(got[0], b'>');
            }
            let ended = client.read(&mut [0; 10]);
            if rest == "--discard" {
                // Of two bytes it takes one, and the other makes a reset of the close.
                assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
            } else {
                assert_eq!(ended.unwrap(), 0, "{fault} {rest}");
            }
            let run = server.interrupt().exits(0);
            assert_eq!(run.one::<Close>().reason, Reason::Limit);
        }
    }

    fn close_after_cuts_a_source_at_the_byte(family) {
        let server = faulty("close-after=100001", "--source-bytes");
        let see = "say(len(all_of(dial(sys.argv[1], sys.argv[2]))))";
        assert_eq!(python(see, family, server.port()), ["100001"]);
        let close = server.wait_for::<Close>();
        assert_eq!((close.reason, close.bytes_sent), (Reason::Limit, 100_001));
        let run = server.interrupt().exits(0);
        assert!(run.all::<Shut>().is_empty(), "it is closed at once");
    }

    fn delay_holds_each_answer_and_each_client_for_itself(family) {
        let server = faulty("delay=500ms", "");
        let see = r#"
def ask(peer, word):
    began = time.monotonic()
    peer.sendall(word)
    assert exactly(peer, len(word)) == word
    return time.monotonic() - began
def both(peer):
    took = [ask(peer, b"hello"), ask(peer, b"again")]
    assert all(0.5 <= t < 0.95 for t in took), took
peers = [dial(sys.argv[1], sys.argv[2]) for _ in range(2)]
began = time.monotonic()
threads = [threading.Thread(target=both, args=[peer]) for peer in peers]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
say(time.monotonic() - began < 1.9)
"#;
        let lines = python(see, family, server.port());
        assert_eq!(lines, ["True"]);
        server.wait_for_nth::<Close>(2);
        let run = server.interrupt().exits(0);
        assert_eq!(run.all::<Send>().len(), 4, "a thread of the script failed");
    }
}

#[test]
fn never_accept_fills_the_queue_and_then_nobody_is_answered() {
    let server = faulty("never-accept", "--backlog 1");
    let port = server.port();
    assert_eq!(server.wait_for::<Listen>().effective_backlog, 1);
    let warning = server.wait_for::<Warning>();
    assert_eq!(warning.name, "never-accept");
    // listen(2): the queue of a backlog of 1 holds two.
    let see = r#"
held = []
try:
    while len(held) < 10:
        peer = socket.socket()
        peer.settimeout(1)
        peer.connect((sys.argv[1], int(sys.argv[2])))
        held.append(peer)
except TimeoutError as error:
    say(len(held), type(error).__name__)
told()
"#;
    let client = Peer::python(see, &["127.0.0.1", &port.to_string()]);
    client.wait_for("2 TimeoutError");
    require(&["ss"]);
    let filter = format!("sport = :{port}");
    let queues = crate::harness::net::output_of(Command::new("ss").args(["-Hltn", &filter])).unwrap();
    let words: Vec<_> = queues.split_whitespace().collect();
    assert_eq!(words[..3], ["LISTEN", "2", "1"], "{queues}");
    client.finish();
    let run = server.interrupt().exits(0);
    assert!(run.all::<Accept>().is_empty());
    assert_eq!(run.summary().connections, Some(0));
}

#[test]
fn never_accept_ends_by_the_deadline() {
    let run = Sockeye::new("serve 0 --json --fault never-accept --deadline 100ms").run().exits(0);
    assert_eq!(run.one::<Warning>().name, "never-accept");
}

/// Reads for a time and says the rate, in bytes a second, and when the first byte came.
const RATE: &str = r#"
peer = dial(sys.argv[1], sys.argv[2])
began = time.monotonic()
if len(sys.argv) > 3:
    giver = threading.Thread(target=peer.sendall, args=[bytes(int(sys.argv[3]))], daemon=True)
    giver.start()
count, first, longest, last = 0, None, 0, began
while time.monotonic() - began < 2.5:
    count += len(peer.recv(65536))
    now = time.monotonic()
    first = first or now - began
    longest, last = max(longest, now - last), now
say(int(count / (now - began)), first < 0.5, longest < 0.5)
os._exit(0)
"#;

over_both_families! {
    fn slow_keeps_the_rate_that_was_asked_for(family) {
        let host = family.host();
        for (fault, rest, asked) in [
            ("slow=2000/s", "--source-bytes", 2_000),
            ("slow=8Mbit/s", "--source-bytes", 1_000_000),
            ("slow=100/s", "--source-bytes", 100),
            ("slow=80kbit/s", "--echo", 10_000),
        ] {
            let server = faulty(fault, rest);
            let port = server.port().to_string();
            let give = if rest == "--echo" { vec!["200000"] } else { vec![] };
            let args: Vec<&str> = [host.as_str(), &port].into_iter().chain(give).collect();
            let line = Peer::python(RATE, &args).lines().remove(0);
            let words: Vec<&str> = line.split(' ').collect();
            let rate: u64 = words[0].parse().unwrap();
            assert!((asked * 8 / 10..=asked * 11 / 10).contains(&rate), "{fault} {rest}: {line}");
            assert_eq!(words[1..], ["True", "True"], "{fault} {rest}: the first in time, and none long after the other");
            server.interrupt().exits(0);
        }
    }
}

#[test]
fn slow_reads_no_faster_either() {
    let server = faulty("slow=10k/s", "--discard");
    let mut client = dial(Family::V4, server.port());
    let began = Instant::now();
    client.write_all(&[0; 20_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    let took = began.elapsed();
    assert!((Duration::from_millis(1_800)..Duration::from_millis(2_500)).contains(&took), "{took:?}");
    let run = server.interrupt().exits(0);
    assert!(run.all::<Recv>().iter().all(|recv| recv.bytes <= 1_100), "no burst");
}

#[test]
fn slow_answers_a_rule_to_what_one_recv_gave() {
    let server = faulty("slow=20/s", "--when hello welcome");
    let mut client = dial(Family::V4, server.port());
    let began = Instant::now();
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 7];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"welcome");
    assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
    drop(client);
    server.interrupt().exits(0);
}

#[test]
fn our_own_slowness_is_no_silence_of_the_peer() {
    let server = faulty("slow=10/s", "--timeout 400ms");
    let mut client = dial(Family::V4, server.port());
    client.write_all(b"twelve bytes").unwrap();
    client.read_exact(&mut [0; 12]).unwrap();
    // The silence counts from then on.
    let timeout = server.wait_for::<Timeout>();
    assert!((400_000_000..900_000_000).contains(&timeout.after_ns), "{timeout:?}");
    let run = server.interrupt().exits(0);
    let close = run.one::<Close>();
    assert_eq!((close.reason, close.bytes_sent), (Reason::Timeout, 12));
}

#[test]
fn who_breaks_off_while_an_answer_waits_is_not_waited_for() {
    for fault in ["delay=1h", "slow=0.001/s"] {
        let server = faulty(fault, "--prefix >");
        let mut client = dial(Family::V4, server.port());
        client.write_all(b"hello").unwrap();
        server.wait_for::<Recv>();
        reset(client);
        assert_eq!(server.wait_for::<Close>().reason, Reason::Reset, "{fault}");
        server.interrupt().exits(0);
    }
}

#[test]
fn a_reset_behind_the_peers_end_is_explained() {
    for (fault, received) in [("hang", 0), ("delay=1h", 5)] {
        let server = faulty(fault, "");
        let mut client = dial(Family::V4, server.port());
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        server.wait_for::<Accept>();
        reset(client);
        let close = server.wait_for::<Close>();
        let told = (close.reason, close.reset_by, close.bytes_received);
        assert_eq!(told, (Reason::Reset, Some(Side::Peer), received), "{fault}");
        let run = server.interrupt().exits(0);
        let error = run.one::<Error>();
        assert_eq!((error.step, error.errno.as_deref()), (Step::Recv, Some("EPIPE")), "{fault}");
        let hint = error.hint.as_deref().unwrap_or_default();
        assert!(hint.contains("by a reset"), "{fault}: {}", run.dump());
    }
}

#[test]
fn one_clients_fault_does_not_touch_the_next_ones_timing() {
    let server = faulty("slow=5/s", "");
    let port = server.port();
    let mut first = dial(Family::V4, port);
    first.write_all(&[b'x'; 1000]).unwrap();
    server.wait_for::<Send>();
    let mut second = dial(Family::V6, port);
    let began = Instant::now();
    second.write_all(b"y").unwrap();
    second.read_exact(&mut [0]).unwrap();
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    drop((first, second));
    server.interrupt().exits(0);
}

#[test]
fn hang_ends_by_the_time_out() {
    let server = faulty("hang", "--timeout 300ms");
    let mut client = dial(Family::V4, server.port());
    let began = Instant::now();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert!(began.elapsed() >= A_WHILE - Duration::from_millis(50));
    let run = server.interrupt().exits(0);
    assert_eq!((run.one::<Timeout>().step, run.one::<Close>().reason), (Step::Recv, Reason::Timeout));
    assert!(run.one::<Timeout>().after_ns >= 300_000_000);
}

#[test]
fn hang_is_not_ended_by_a_peer_that_only_closes_its_side() {
    let server = faulty("hang", "");
    let client = dial(Family::V4, server.port());
    server.wait_for::<Accept>();
    client.shutdown(Shutdown::Write).unwrap();
    std::thread::sleep(A_WHILE);
    assert_eq!((server.count::<Close>(), server.count::<Eof>()), (0, 0));
    server.interrupt().exits(0);
}

#[test]
fn delay_holds_the_first_byte_of_a_source() {
    let server = faulty("delay=400ms", "--source-bytes 10");
    let mut client = dial(Family::V4, server.port());
    let began = Instant::now();
    client.read_exact(&mut [0; 10]).unwrap();
    assert!((Duration::from_millis(350)..Duration::from_secs(2)).contains(&began.elapsed()), "{:?}", began.elapsed());
    drop(client);
    server.interrupt().exits(0);
}

#[test]
fn a_signal_ends_each_fault() {
    for (fault, rest) in [
        ("hang", ""),
        ("half-close", ""),
        ("slow=1/s", ""),
        ("slow=1/s", "--source-bytes"),
        ("delay=1h", ""),
        ("close-after=9", ""),
    ] {
        let server = faulty(fault, rest);
        let mut client: TcpStream = dial(Family::V4, server.port());
        client.write_all(b"hello").unwrap();
        server.wait_for::<Accept>();
        let run = server.interrupt().exits(0);
        assert_eq!(run.one::<Close>().reason, Reason::Signal, "{fault} {rest}");
    }
}

#[test]
fn slow_answers_an_empty_record_with_one() {
    let (_dir, path) = place();
    let words = "unix-serve --type seqpacket --json --fault slow=1000/s --messages 3";
    let server = Sockeye::new(words).arg(&path).start();
    server.wait_for::<Listen>();
    let peer = connected(Type::SEQPACKET, &path).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut peer = std::os::unix::net::UnixStream::from(peer);
    for record in [&b"a"[..], b"", b"b"] {
        assert_eq!(peer.write(record).unwrap(), record.len());
    }
    let mut answers = Vec::new();
    for _ in 0..3 {
        let mut answer = [0; 9];
        let bytes = peer.read(&mut answer).unwrap();
        answers.push(answer[..bytes].to_vec());
    }
    assert_eq!(answers, [&b"a"[..], b"", b"b"]);
    assert_eq!(server.wait_for::<Close>().reason, Reason::Limit);
    let run = server.interrupt().exits(0);
    assert_eq!(run.all::<Send>().iter().map(|send| send.bytes).collect::<Vec<_>>(), [1, 0, 1], "{}", run.dump());
}

over_both_families! {
    fn a_rest_earns_nothing_where_it_is_read_either(family) {
        for rest in ["--discard", "--source-bytes", "--echo"] {
            let server = faulty("slow=10000/s", rest);
            let mut peer = dial(family, server.port());
            server.wait_for::<Accept>();
            std::thread::sleep(A_WHILE);
            peer.write_all(&[b'x'; 3_000]).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            server.wait_for::<Eof>();
            let run = server.interrupt().exits(0);
            let came = run.lines.iter().filter_map(|line| match &line.event {
                Event::Recv(recv) => Some((line.elapsed_ns, recv.bytes)),
                _ => None,
            });
            let came = Vec::from_iter(came);
            let soon: u64 = came.iter().filter(|(at, _)| at - came[0].0 < 100_000_000).map(|(_, bytes)| bytes).sum();
            assert!(soon <= 1_300, "{rest}: {soon} bytes in 100 ms");
        }
    }
}

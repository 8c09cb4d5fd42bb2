//! `serve --broker`: what one peer sends, all others get; who is too slow is closed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::harness::events::{Accept, Close, Eof, Fact, Reason, Recv, Send, Step, Timeout, Warning};
use crate::harness::net::{dial, over_both_families, random_bytes, resident_memory};
use crate::harness::peers::{A_WHILE, Peer};
use crate::harness::process::Stdin;
use crate::harness::{Family, Running, Sockeye, Tool};

fn broker(rest: &str) -> Running {
    Sockeye::new(format!("serve 0 --broker --json {rest}")).start()
}

/// Connects, and waits until the server has let it in.
fn join(server: &Running, family: Family, number: usize) -> TcpStream {
    let client = dial(family, server.port());
    server.wait_for_nth::<Accept>(number);
    client
}

/// Reads so many bytes.
fn exactly(mut client: &TcpStream, count: usize) -> Vec<u8> {
    let mut got = vec![0; count];
    client.read_exact(&mut got).unwrap();
    got
}

/// Fails where something comes.
#[track_caller]
fn hears_nothing(mut client: &TcpStream) {
    client.set_read_timeout(Some(A_WHILE)).unwrap();
    let got = client.read(&mut [0; 100]);
    assert!(got.is_err(), "{got:?}");
}

over_both_families! {
    fn all_others_get_what_one_sends_and_nobody_his_own(family) {
        let server = broker("");
        let [mut one, mut two, three] = [1, 2, 3].map(|number| join(&server, family, number));
        one.write_all(b"from one").unwrap();
        assert_eq!((exactly(&two, 8), exactly(&three, 8)), (b"from one".to_vec(), b"from one".to_vec()));
        two.write_all(b"from two").unwrap();
        assert_eq!((exactly(&one, 8), exactly(&three, 8)), (b"from two".to_vec(), b"from two".to_vec()));
        hears_nothing(&one);
        let run = server.interrupt().exits(0);
        let sent: Vec<_> = run.all::<Send>().iter().map(|send| (send.conn, send.payload())).collect();
        assert_eq!(sent.len(), 4);
        assert_eq!(run.all::<Recv>().len(), 2);
        assert_eq!(run.summary().bytes_sent, Some(32));
        assert!(run.all::<Close>().iter().all(|close| close.reason == Reason::Signal));
    }

    fn three_pythons_hear_each_other_in_one_order(family) {
        let server = broker("");
        // Each sends 500 numbered lines, a line a write, and hears the 1,000 of the others.
        let script = r#"
peer = dial(sys.argv[1], sys.argv[2])
name = sys.argv[3]
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
say("in")
told()
def give():
    for number in range(500):
        peer.sendall(b"%s %03d\n" % (name.encode(), number))
giver = threading.Thread(target=give)
giver.start()
lines = exactly(peer, 1000 * 6).decode().split("\n")[:-1]
giver.join()
for other in "abc".replace(name, ""):
    heard = [line for line in lines if line[0] == other]
    assert heard == ["%s %03d" % (other, number) for number in range(500)], heard
say("lines", *[line.replace(" ", "") for line in lines])
"#;
        let port = server.port().to_string();
        let mut peers = ["a", "b", "c"].map(|name| Peer::python(script, &[&family.host(), &port, name]));
        server.wait_for_nth::<Accept>(3);
        for peer in &mut peers {
            peer.wait_for("in");
            peer.send(b"go\n");
        }
        let heard = peers.map(|peer| {
            let line = peer.lines().into_iter().find(|line| line.starts_with("lines ")).unwrap();
            line.split(' ').skip(1).map(str::to_owned).collect::<Vec<_>>()
        });
        // Of what two of them both heard, that is of the third, and of the rest as it was published.
        let run = server.interrupt().exits(0);
        let published: String = run.all::<Recv>().iter().map(|recv| String::from_utf8(recv.payload()).unwrap()).collect();
        for (name, heard) in ["a", "b", "c"].iter().zip(heard) {
            let expected: Vec<String> =
                published.lines().filter(|line| !line.starts_with(name)).map(|line| line.replace(' ', "")).collect();
            assert!(heard == expected, "what {name} heard is not what was published, in its order");
        }
    }

    fn netcats_talk_through_it(family) {
        let server = broker("");
        let mut peers = Tool::ALL.map(|tool| Peer::connect(tool, family, server.port()));
        server.wait_for_nth::<Accept>(3);
        peers[0].send(b"hello from nc\n");
        peers[1].wait_for("hello from nc\n");
        peers[2].wait_for("hello from nc\n");
        peers[2].send(b"hello from socat\n");
        peers[0].wait_for("hello from socat\n");
        peers[1].wait_for("hello from socat\n");
        server.interrupt().exits(0);
    }
}

#[test]
fn bulk_reaches_all_whole() {
    let server = broker("-v");
    let bytes = random_bytes(4 << 20, 11);
    let mut giver = join(&server, Family::V4, 1);
    let takers = [2, 3].map(|number| join(&server, Family::V4, number));
    let heard = takers.map(|taker| std::thread::spawn(move || exactly(&taker, 4 << 20)));
    // In parts that the slowest reader of this machine can follow.
    for part in bytes.chunks(64 << 10) {
        giver.write_all(part).unwrap();
    }
    for heard in heard {
        assert!(heard.join().unwrap() == bytes);
    }
    let run = server.interrupt().exits(0);
    assert_eq!(run.summary().warnings, Some(0), "nobody was too slow");
}

#[test]
fn a_slow_peer_is_closed_and_the_others_go_on() {
    let server = Sockeye::new("serve 0 --broker --json --send-buffer 64KiB").start();
    let mut giver = join(&server, Family::V4, 1);
    let quick = join(&server, Family::V4, 2);
    // It reads nothing, and its kernel takes little for it.
    let slow = Peer::python(
        r#"
peer = socket.socket()
peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
peer.connect((sys.argv[1], int(sys.argv[2])))
say("in")
told()
try:
    say("heard", len(all_of(peer)))
except ConnectionResetError:
    say("reset")
"#,
        &["127.0.0.1", &server.port().to_string()],
    );
    slow.wait_for("in");
    server.wait_for_nth::<Accept>(3);
    let part = random_bytes(16 << 10, 12);
    let memory = resident_memory(server.pid());
    for _ in 0..512 {
        giver.write_all(&part).unwrap();
        assert_eq!(exactly(&quick, part.len()), part);
    }
    let warning = server.wait_for::<Warning>();
    assert_eq!(warning.name, "slow-peer");
    assert_eq!((warning.conn, warning.peer.as_ref()), (Some(3), Some(&server.wait_for_nth::<Accept>(3).peer)));
    assert!(warning.message.contains("connection 3 "), "{}", warning.message);
    let behind: u64 = warning.message.split(' ').find_map(|word| word.parse().ok().filter(|n| *n > 3)).unwrap();
    assert!((1 << 20..(1 << 20) + (64 << 10)).contains(&behind), "{}", warning.message);
    let close = server.wait_for::<Close>();
    assert_eq!((close.conn, close.reason), (3, Reason::Limit));
    let grown = resident_memory(server.pid()).saturating_sub(memory);
    assert!(grown < 16 << 20, "{grown} bytes more");
    // Nobody else has noticed.
    giver.write_all(b"still here").unwrap();
    assert_eq!(exactly(&quick, 10), b"still here");
    drop(slow);
    server.interrupt().exits(0);
}

#[test]
fn who_closes_its_side_gets_what_waits_and_is_closed() {
    let server = broker("");
    let [mut one, two] = [1, 2].map(|number| join(&server, Family::V4, number));
    one.write_all(b"last words").unwrap();
    one.shutdown(Shutdown::Write).unwrap();
    assert_eq!(exactly(&two, 10), b"last words");
    server.wait_for::<Eof>();
    assert_eq!(one.read(&mut [0; 10]).unwrap(), 0, "it is closed");
    assert_eq!(server.wait_for::<Close>().reason, Reason::Eof);
    hears_nothing(&two);
    server.interrupt().exits(0);
}

#[test]
fn a_timer_counts_bytes_either_way() {
    let server = broker("--timeout 1s");
    let [mut talker, listener] = [1, 2].map(|number| join(&server, Family::V4, number));
    for _ in 0..6 {
        std::thread::sleep(A_WHILE);
        talker.write_all(b"x").unwrap();
        assert_eq!(exactly(&listener, 1), b"x");
    }
    assert_eq!(server.count::<Timeout>(), 0, "who only listens is not silent");
    assert_eq!(server.wait_for_nth::<Timeout>(2).step, Step::Recv);
    server.wait_for_nth::<Close>(2);
    let run = server.interrupt().exits(0);
    assert!(run.all::<Close>().iter().all(|close| close.reason == Reason::Timeout));
}

#[test]
fn a_peer_that_only_gets_is_silent_from_its_last_byte_on() {
    let server = broker("--timeout 1s");
    let one = join(&server, Family::V4, 1);
    let mut other = join(&server, Family::V4, 2);
    // A part of its time passes first.
    std::thread::sleep(Duration::from_millis(300));
    other.write_all(b"x").unwrap();
    exactly(&one, 1);
    server.wait_for_nth::<Close>(2);
    let run = server.interrupt().exits(0);
    let sent = run.lines.iter().find(|line| Send::of(&line.event).is_some()).unwrap().elapsed_ns;
    let ended = run.lines.iter().find(|line| Timeout::of(&line.event).is_some_and(|timeout| timeout.conn == Some(1)));
    let silent = ended.unwrap().elapsed_ns - sent;
    let after = run.all::<Timeout>().iter().find(|timeout| timeout.conn == Some(1)).unwrap().after_ns;
    assert!(silent.abs_diff(after) < 100_000_000 && after >= 1_000_000_000, "{silent} {after} {}", run.dump());
}

#[test]
fn a_peer_alone_is_heard_and_answered_by_nobody() {
    let server = broker("--count 1");
    let client = Peer::connect_with(Tool::Nc, Family::V4, server.port(), Stdin::Bytes(b"anybody?".to_vec()));
    assert_eq!(client.finish().stdout, b"");
    let run = server.finish().exits(0);
    assert_eq!((run.summary().bytes_received, run.summary().bytes_sent), (Some(8), Some(0)));
}

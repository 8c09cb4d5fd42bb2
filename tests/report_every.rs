//! `--report-every`: how a run goes, while it goes, against Python and ss(8).

use std::io::{Read, Write};
use std::process::Command;

use crate::harness::events::{Accept, Close, Interim, Recv, Tcp};
use crate::harness::net::{TempDir, dial, output_of, over_both_families};
use crate::harness::peers::A_WHILE;
use crate::harness::{Family, Peer, Sockeye, require};

over_both_families! {
    fn a_slow_reader_makes_a_series(family) {
        let peer = Peer::python_server(
            "server = listen(sys.argv[1])\npeer, _ = server.accept()\nwhile peer.recv(1 << 20): time.sleep(0.02)",
            &[&family.host()],
        );
        let run = Sockeye::new(format!("connect {} {} --json --report-every 20ms", family.host(), peer.port))
            .stdin(vec![b'x'; 8 << 20])
            .run()
            .exits(0);
        let series = run.all::<Tcp>();
        assert!(series.len() >= 2, "{}", run.dump());
        assert!(series.is_sorted_by_key(|tcp| tcp.bytes_sent), "{series:?}");
        assert!(series.iter().all(|tcp| tcp.conn == 1 && tcp.bytes_not_sent <= tcp.bytes_unacknowledged), "{series:?}");
        assert!(series.iter().any(|tcp| tcp.bytes_unacknowledged > Some(0) && tcp.rwnd_limited_ns > Some(0)), "{series:?}");
        // Each tick tells the connection first, then the totals, which agree with it.
        let names = run.names();
        for at in (0..names.len()).filter(|at| names[*at] == "tcp") {
            assert_eq!(names[at + 1], "interim", "{names:?}");
        }
        assert_eq!(run.one::<Close>().bytes_sent, 8 << 20);
        peer.finish();
    }

    fn a_server_reports_only_the_connections_on_which_bytes_moved(family) {
        let server = Sockeye::new(format!("serve {} --json --report-every 50ms", family.at(0))).start();
        let idle = dial(family, server.port());
        let mut busy = dial(family, server.port());
        server.wait_for_nth::<Accept>(2);
        busy.write_all(b"hello").unwrap();
        busy.read_exact(&mut [0; 5]).unwrap();
        let tcp = server.wait_for::<Tcp>();
        assert_eq!((tcp.conn, tcp.bytes_received), (2, 5), "{tcp:?}");
        server.wait_for_one::<Tcp>("the answer in the series", |tcp| tcp.bytes_sent == 5);
        // What has been told and moves no more is told no more.
        let (ticks, told) = (server.count::<Interim>(), server.count::<Tcp>());
        server.wait_for_nth::<Interim>(ticks + 5);
        assert!(server.count::<Tcp>() <= told + 2, "{told} and then {}", server.count::<Tcp>());
        drop((idle, busy));
        let run = server.interrupt().exits(0);
        assert!(run.all::<Tcp>().iter().all(|tcp| tcp.conn == 2), "{}", run.dump());
    }

    fn the_figures_are_those_of_ss(family) {
        require(&["ss"]);
        let server = Sockeye::new(format!("serve {} --json --discard --report-every 50ms", family.at(0))).start();
        let mut client = dial(family, server.port());
        client.write_all(b"hello").unwrap();
        let tcp = server.wait_for::<Tcp>();
        let filter = format!("sport = :{}", server.port());
        let seen = output_of(Command::new("ss").args(["-Htin", "state", "established", &filter])).unwrap();
        let figure = |name: &str| -> u32 {
            let word = seen.split_whitespace().find_map(|word| word.strip_prefix(name));
            word.unwrap_or_else(|| panic!("no {name} in {seen}")).parse().unwrap()
        };
        assert_eq!((tcp.mss, tcp.pmtu, tcp.cwnd), (figure("mss:"), figure("pmtu:"), figure("cwnd:")), "{seen}");
        drop(client);
        server.interrupt().exits(0);
    }
}

#[test]
fn with_q_the_totals_come_and_no_figures() {
    let server = Sockeye::new("serve 127.0.0.1:0 --json -q --report-every 50ms --count 1").start();
    let port = crate::harness::net::wait_for_listener(server.pid(), || server.is_running());
    let mut client = dial(Family::V4, port);
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    server.wait_for_one::<Interim>("the bytes in the totals", |interim| interim.bytes_sent == Some(5));
    drop(client);
    let run = server.finish().exits(0);
    assert!(run.all::<Tcp>().is_empty() && run.all::<Recv>().is_empty());
}

#[test]
fn a_unix_connection_has_totals_only() {
    let dir = TempDir::new();
    let path = dir.path().join("x.sock");
    let peer = Peer::python_server(
        "server = socket.socket(socket.AF_UNIX)\nserver.bind(sys.argv[1])\nserver.listen()\nsay(1)\npeer, _ = server.accept()\npeer.sendall(b'hi')\ntold()",
        &[path.to_str().unwrap()],
    );
    let client =
        Sockeye::new(format!("connect unix:{} --json --report-every 50ms", path.display())).stdin_piped().start();
    client.wait_for_one::<Interim>("the bytes in the totals", |interim| interim.bytes_received == Some(2));
    let ticks = client.count::<Interim>();
    client.wait_for_nth::<Interim>(ticks + 2);
    peer.finish();
    let run = client.finish().exits(0);
    assert!(run.all::<Tcp>().is_empty(), "{}", run.dump());
}

#[test]
fn a_series_delays_no_close() {
    let server = Sockeye::new("serve 127.0.0.1:0 --json --messages 1 --report-every 1ms --count 200").start();
    let port = server.port().to_string();
    // Each end must come at once: the peer waits for nothing else.
    let script = "worst = 0\nfor _ in range(200):\n    peer = dial('127.0.0.1', sys.argv[1])\n    peer.sendall(b'x')\n    exactly(peer, 1)\n    start = time.monotonic()\n    assert peer.recv(1) == b''\n    worst = max(worst, time.monotonic() - start)\n    peer.close()\nsay(worst)";
    let worst: f64 = Peer::python(script, &[&port]).lines()[0].parse().unwrap();
    assert!(worst < A_WHILE.as_secs_f64() * 3.0, "{worst} s");
    let run = server.finish().exits(0);
    assert_eq!(run.all::<Close>().len(), 200);
}

#[test]
fn text_tells_the_series_on_stderr() {
    let server = Sockeye::new("serve 127.0.0.1:0 --report-every 50ms --deadline 2s").start();
    let mut client = dial(Family::V4, server.port());
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    let run = server.finish().exits(0);
    let text = run.stderr();
    assert!(text.contains(" #1 tcp 5 B in, 5 B out"), "{text}");
    assert!(text.contains(" so far: served 1 connection in "), "{text}");
}

#[test]
fn a_report_more_often_than_every_millisecond_is_refused() {
    for every in ["0", "999us"] {
        Sockeye::new(format!("serve 127.0.0.1:0 --report-every {every} --json")).run().exits(2);
    }
}

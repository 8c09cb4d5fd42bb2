//! `serve --source-bytes`: a pattern that a reader can check, as many bytes as asked or without end.

use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::harness::events::{Close, Eof, Error, Reason, Recv, Send, Step, Timeout};
use crate::harness::net::{TempDir, dial, over_both_families, resident_memory, wait_for_listener};
use crate::harness::peers::Peer;
use crate::harness::process::Stdin;
use crate::harness::{Family, Running, Sockeye, Tool, require};

/// RFC 864, as its own words define it; and whether bytes from an offset on are as it says.
const PATTERN: &str = r#"
shown = bytes(range(32, 127)) * 2
period = b"".join(shown[line:line + 72] + b"\r\n" for line in range(95))

def is_pattern(data, offset=0):
    offset %= len(period)
    return data == (period * (len(data) // len(period) + 2))[offset:offset + len(data)]
"#;

fn python(script: &str, family: Family, port: u16) -> Peer {
    Peer::python(&format!("{PATTERN}\n{script}"), &[&family.host(), &port.to_string()])
}

fn source(rest: &str) -> Running {
    Sockeye::new(format!("serve 0 --source-bytes {rest}")).start()
}

/// Returns what the events say was sent.
fn said(sends: &[&Send]) -> Vec<u8> {
    sends.iter().flat_map(|send| send.payload()).collect()
}

over_both_families! {
    fn exactly_so_many_bytes_of_the_pattern_arrive(family) {
        let read = r#"
peer = dial(sys.argv[1], sys.argv[2])
data = all_of(peer)
peer.close()
say(len(data), is_pattern(data))
"#;
        // Shown and so sent as data; not shown, and so moved by the kernel, past the end of its file.
        for (rest, size) in [("1 --json", 1), ("7031 --json", 7031), ("300000 --json", 300_000), ("5MiB -q", 5 << 20)] {
            let server = source(rest);
            let client = python(read, family, server.port());
            assert_eq!(client.lines(), [format!("{size} True")], "{rest}");
            if rest.contains("-q") {
                let run = server.interrupt().exits(0);
                assert!(String::from_utf8_lossy(run.stdout()).contains("5.2 MB out"), "{}", run.dump());
                continue;
            }
            server.wait_for::<Close>();
            let run = server.interrupt().exits(0);
            assert_eq!(run.one::<Close>().reason, Reason::Limit);
            assert_eq!(said(&run.all::<Send>()).len(), size);
            let order: Vec<_> = run.names().into_iter().filter(|name| ["shutdown", "eof", "close"].contains(name)).collect();
            assert_eq!(order, ["shutdown", "eof", "close"]);
        }
    }

    fn netcats_get_it_though_they_close_their_side_first(family) {
        let expected = python("sys.stdout.buffer.write((period * 200)[:1000000])", family, 0).finish().stdout;
        for tool in Tool::ALL {
            for quiet in ["-q", "--json"] {
                let server = source(&format!("1M {quiet}"));
                let client = Peer::connect_with(tool, family, server.port(), Stdin::Null);
                let got = client.finish().stdout;
                assert!(got == expected, "{tool:?} {quiet}: {} bytes", got.len());
                let run = server.interrupt().exits(0);
                assert!(quiet == "-q" || run.one::<Close>().reason == Reason::Limit, "{tool:?}");
            }
        }
    }

    fn what_the_peer_sends_is_dropped_and_no_reset_cuts_it_short(family) {
        let server = source("2MiB --json");
        let client = python(
            r#"
peer = dial(sys.argv[1], sys.argv[2])
giver = threading.Thread(target=lambda: (peer.sendall(bytes(1 << 20)), peer.shutdown(socket.SHUT_WR)))
giver.start()
data = all_of(peer)
giver.join()
say(len(data), is_pattern(data))
"#,
            family,
            server.port(),
        );
        assert_eq!(client.lines(), ["2097152 True"]);
        server.wait_for::<Close>();
        let run = server.interrupt().exits(0);
        let close = run.one::<Close>();
        assert_eq!((close.reason, close.bytes_received, close.bytes_sent), (Reason::Limit, 1 << 20, 2 << 20));
        assert_eq!(run.summary().errors, Some(0));
    }
}

#[test]
fn curl_gets_it_too() {
    require(&["curl"]);
    let server = source("100000 --json");
    let url = format!("http://127.0.0.1:{}", server.port());
    // What is no HTTP is taken as HTTP/0.9, which is nothing but a body.
    let words = ["-sS", "--http0.9", "--max-time", "30", "--noproxy", "*", &url];
    let ended = Peer::program("curl", &words, Stdin::Null, None).finish();
    assert_eq!((ended.stdout.len(), ended.status.code()), (100_000, Some(0)));
    server.interrupt().exits(0);
}

#[test]
fn without_a_size_it_has_no_end_and_costs_no_memory() {
    let server = source("-q");
    let port = server.port();
    let read = r#"
peer = dial(sys.argv[1], sys.argv[2])
data = bytearray()
while len(data) < 64 << 20:
    data += peer.recv(1 << 20)
say(is_pattern(bytes(data)))
peer.close()
"#;
    assert_eq!(python(read, Family::V4, port).lines(), ["True"]);
    let memory = resident_memory(server.pid());
    assert_eq!(python(read, Family::V6, port).lines(), ["True"], "it lives, and the next begins at the beginning");
    let grown = resident_memory(server.pid()).saturating_sub(memory);
    assert!(grown < 1 << 20, "{grown} bytes more");
    server.interrupt().exits(0);
}

#[test]
fn who_leaves_an_endless_source_has_reset_it() {
    let server = source("--json");
    let mut client = dial(Family::V4, server.port());
    client.read_exact(&mut [0; 100_000]).unwrap();
    drop(client);
    let close = server.wait_for::<Close>();
    assert_eq!((close.reason, close.conn), (Reason::Reset, 1));
    let run = server.interrupt().exits(0);
    let error = run.one::<Error>();
    assert!(matches!(error.errno.as_deref(), Some("ECONNRESET" | "EPIPE")), "{error:?}");
    assert_eq!(run.summary().resets, Some(1));
}

#[test]
fn what_nobody_sees_is_moved_by_the_kernel() {
    require(&["strace"]);
    let dir = TempDir::new();
    let log = dir.path().join("strace");
    let strace = format!("strace -f -e trace=sendfile,sendto,write,writev,sendmsg -o {}", log.display());
    let server = Sockeye::new("serve 0 --source-bytes 8MiB -q --count 1").under(strace.split(' ')).start();
    let is_sockeye = |pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("sockeye"));
    while !is_sockeye(server.pid()) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let port = wait_for_listener(server.pid(), || server.is_running());
    let mut client = dial(Family::V4, port);
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    drop(client);
    server.finish().exits(0);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("sendfile("), "{log}");
    let copied = log.lines().filter(|line| line.contains("sendto(") || line.contains("sendmsg(")).count();
    assert_eq!(copied, 0, "{log}");
}

#[test]
fn a_peer_that_takes_nothing_is_waited_for_no_longer_than_told() {
    let server = source("--json --timeout 300ms --send-buffer 8KiB");
    let client = python(
        r#"
peer = socket.socket()
peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
peer.connect((sys.argv[1], int(sys.argv[2])))
told()
"#,
        Family::V4,
        server.port(),
    );
    let timeout = server.wait_for::<Timeout>();
    assert_eq!((timeout.step, timeout.conn), (Step::Send, Some(1)));
    assert!((300_000_000..3_000_000_000).contains(&timeout.after_ns), "{timeout:?}");
    assert_eq!(server.wait_for::<Close>().reason, Reason::Timeout);
    client.finish();
    server.interrupt().exits(0);
}

#[test]
fn a_peer_that_takes_little_is_no_silent_one() {
    let server = source("600000 --json --timeout 1s");
    let client = python(
        r#"
peer = socket.socket()
peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
peer.connect((sys.argv[1], int(sys.argv[2])))
data, began = b"", time.monotonic()
while time.monotonic() - began < 3:
    data += peer.recv(1024)
    time.sleep(0.02)
data += all_of(peer)
say(len(data), is_pattern(data))
"#,
        Family::V4,
        server.port(),
    );
    assert_eq!(client.lines(), ["600000 True"]);
    let run = server.interrupt().exits(0);
    assert_eq!((run.one::<Close>().reason, run.summary().timeouts), (Reason::Limit, Some(0)));
}

#[test]
fn a_peer_that_keeps_its_side_open_for_too_long_is_closed() {
    let server = source("10 --json --timeout 200ms");
    let mut client = dial(Family::V4, server.port());
    client.read_exact(&mut [0; 10]).unwrap();
    let timeout = server.wait_for::<Timeout>();
    assert_eq!(timeout.step, Step::Recv);
    assert_eq!(server.wait_for::<Close>().reason, Reason::Timeout);
    drop(client);
    server.interrupt().exits(0);
}

#[test]
fn a_peer_that_takes_all_at_once_does_not_hold_up_the_next() {
    let server = source("-q");
    let port = server.port();
    let greedy = python(
        r#"
peer = dial(sys.argv[1], sys.argv[2])
say("reading")
while not select.select([sys.stdin], [], [], 0)[0]:
    peer.recv_into(bytearray(1 << 20))
"#,
        Family::V4,
        port,
    );
    greedy.wait_for("reading");
    for _ in 0..20 {
        let began = Instant::now();
        let mut client = dial(Family::V4, port);
        client.read_exact(&mut [0]).unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    greedy.finish();
    server.interrupt().exits(0);
}

#[test]
fn a_signal_ends_an_endless_source() {
    let server = source("--json");
    let mut client = dial(Family::V4, server.port());
    client.read_exact(&mut [0; 1000]).unwrap();
    let run = server.interrupt().exits(0);
    assert_eq!(run.one::<Close>().reason, Reason::Signal);
}

#[test]
fn the_end_of_the_peers_side_is_told_when_it_comes() {
    let server = source("--json");
    let mut client = dial(Family::V4, server.port());
    client.shutdown(Shutdown::Write).unwrap();
    server.wait_for::<Eof>();
    client.read_exact(&mut [0; 1 << 20]).unwrap();
    let run = server.interrupt().exits(0);
    assert_eq!((run.one::<Close>().reason, run.all::<Recv>().len()), (Reason::Signal, 0));
}

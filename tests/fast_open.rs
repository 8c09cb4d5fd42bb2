//! `--fast-open`: data with the SYN, asked for and come about or not, against Python in a network of
//! its own, where net.ipv4.tcp_fastopen is the test's.

use std::path::Path;
use std::time::Duration;

use crate::harness::check::read;
use crate::harness::events::{Accept, Close, Connect, Event, FastOpen, Recv, Send, Warning};
use crate::harness::net::{Net, TempDir};
use crate::harness::peers::python;
use crate::harness::{Sockeye, require};

/// Listens on ports 9100, with TCP_FASTOPEN, and 9101, without; answers, and writes of each
/// connection whether its SYN carried data (TCPI_OPT_SYN_DATA) and what came.
const SERVER: &str = r#"
import os, selectors, socket, sys
waiting = selectors.DefaultSelector()
for port in (9100, 9101):
    server = socket.socket()
    if port == 9100:
        server.setsockopt(socket.IPPROTO_TCP, 23, 5)
    server.bind(("127.0.0.1", port))
    server.listen()
    waiting.register(server, selectors.EVENT_READ)
parent = os.getppid()
with open(sys.argv[1], "w") as told:
    while os.getppid() == parent:
        for key, _ in waiting.select(0.1):
            peer, _ = key.fileobj.accept()
            data = b""
            while not data.endswith(b"."):
                data += peer.recv(1 << 20)
            carried = bool(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5] & 32)
            print(carried, len(data), data[:9].decode(), file=told, flush=True)
            peer.sendall(b"thanks")
            peer.close()
"#;

/// Sends to port 9200 with MSG_FASTOPEN, twice; the first time there is no cookie yet.
const CLIENT: &str = r#"
import socket, time
for _ in range(2):
    while True:
        peer = socket.socket()
        try:
            peer.sendto(b"hello", socket.MSG_FASTOPEN, ("127.0.0.1", 9200))
            assert peer.recv(5) == b"hello"
            break
        except ConnectionRefusedError:
            time.sleep(0.01)
    peer.close()
"#;

/// A network in which fast open is as `bits` says, and a Python script runs beside.
fn net(bits: u8, dir: &TempDir, script: &str) -> Net {
    let path = dir.path().join("peer.py");
    std::fs::write(&path, script).unwrap();
    let peer = format!("{{ {} -I -S {} {} & }}", python(), path.display(), dir.path().join("told").display());
    Net::isolated().with(format!("echo {bits} >/proc/sys/net/ipv4/tcp_fastopen")).with(peer)
}

/// The same, with the server above, once it listens.
fn with_server(bits: u8, dir: &TempDir) -> Net {
    require(&["ss"]);
    net(bits, dir, SERVER).with("until ss -Hltn | grep -q :9101; do sleep 0.01; done")
}

/// Adds a run of sockeye that goes before the one that is checked, its events in a file.
fn first(net: Net, words: &str, events: &Path) -> Net {
    net.with(format!("{} {words} --json >{}", env!("CARGO_BIN_EXE_sockeye"), events.display()))
}

fn connect_of(events: &Path) -> Connect {
    let text = std::fs::read_to_string(events).unwrap();
    let lines = text.lines().map(|line| read(line).unwrap());
    let connects = lines.filter_map(|line| if let Event::Connect(connect) = line.event { Some(connect) } else { None });
    connects.collect::<Vec<_>>().pop().unwrap_or_else(|| panic!("no connect in\n{text}"))
}

fn told(dir: &TempDir) -> Vec<String> {
    std::fs::read_to_string(dir.path().join("told")).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_first_connection_asks_for_a_cookie_and_the_second_sends_data_with_its_syn() {
    let dir = TempDir::new();
    let events = dir.path().join("first");
    let net = first(with_server(3, &dir), "connect 127.0.0.1 9100 hello. --fast-open", &events);
    let run = Sockeye::new("connect 127.0.0.1 9100 again. --fast-open --json").under(net.prefix()).run().exits(0);
    assert_eq!(connect_of(&events).fast_open, Some(FastOpen::CookieRequested));
    assert_eq!(run.one::<Connect>().fast_open, Some(FastOpen::DataAcknowledged));
    assert_eq!(told(&dir), ["False 6 hello.", "True 6 again."], "as the peer sees it");
    // The connection is told once it stands, then what went with its SYN.
    assert_eq!(run.names()[..5], ["start", "socket", "connect", "send", "recv"]);
    assert_eq!(run.one::<Send>().payload(), b"again.");
    assert_eq!((run.one::<Close>().bytes_sent, run.one::<Recv>().bytes), (6, 6));
    assert!(run.one::<Connect>().duration_ns > 0);
}

#[test]
fn a_message_larger_than_a_segment_goes_on_after_the_handshake() {
    let dir = TempDir::new();
    let net = first(with_server(3, &dir), "connect 127.0.0.1 9100 hello. --fast-open", &dir.path().join("first"));
    let message = format!("{}.", "x".repeat(100_000));
    let run =
        Sockeye::new("connect 127.0.0.1 9100 --fast-open --json").arg(&message).under(net.prefix()).run().exits(0);
    let sent: Vec<u8> = run.all::<Send>().iter().flat_map(|send| send.payload()).collect();
    assert!(sent == message.as_bytes() && run.all::<Send>().len() > 1, "{}", run.dump());
    assert_eq!(told(&dir)[1], "True 100001 xxxxxxxxx");
}

#[test]
fn a_server_that_does_not_take_it_makes_a_fallback_and_gets_the_data_once() {
    let dir = TempDir::new();
    // The cookie is the address's, so that the other port is tried with it too.
    let net = first(with_server(3, &dir), "connect 127.0.0.1 9100 hello. --fast-open", &dir.path().join("first"));
    let run = Sockeye::new("connect 127.0.0.1 9101 again. --fast-open --json").under(net.prefix()).run().exits(0);
    assert_eq!(run.one::<Connect>().fast_open, Some(FastOpen::Fallback));
    assert_eq!(told(&dir)[1], "False 6 again.");
}

#[test]
fn a_server_tells_which_connection_came_with_data() {
    let dir = TempDir::new();
    let run = Sockeye::new("serve 127.0.0.1:9200 --fast-open --count 2 --json -v")
        .under(net(3, &dir, CLIENT).prefix())
        .run()
        .exits(0);
    let accepts: Vec<_> = run.all::<Accept>().iter().map(|accept| accept.fast_open).collect();
    assert_eq!(accepts, [Some(false), Some(true)], "{}", run.dump());
    assert!(run.all::<Warning>().is_empty(), "{}", run.dump());
}

#[test]
fn where_this_machine_forbids_it_a_warning_says_so_and_all_goes_on() {
    let dir = TempDir::new();
    let run = Sockeye::new("connect 127.0.0.1 9100 hello. --fast-open --json")
        .under(with_server(2, &dir).prefix())
        .run()
        .exits(0);
    assert_eq!(run.one::<Connect>().fast_open, None);
    assert_eq!(run.one::<Warning>().name, "fast-open-off");
    let dir = TempDir::new();
    let run = Sockeye::new("serve 127.0.0.1:9200 --fast-open --count 2 --json")
        .under(net(1, &dir, CLIENT).prefix())
        .run()
        .exits(0);
    assert_eq!(run.one::<Warning>().name, "fast-open-off");
    assert!(run.all::<Accept>().iter().all(|accept| accept.fast_open == Some(false)), "{}", run.dump());
}

#[test]
fn without_being_asked_for_it_is_absent() {
    let dir = TempDir::new();
    let run = Sockeye::new("connect 127.0.0.1 9100 hello. --json").under(with_server(3, &dir).prefix()).run().exits(0);
    assert_eq!(run.one::<Connect>().fast_open, None);
}

#[test]
fn addresses_are_tried_one_after_the_other_each_with_its_share() {
    require(&["nft"]);
    let dir = TempDir::new();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "::1 both\n127.0.0.1 both\n").unwrap();
    let net = with_server(3, &dir)
        .with_hosts(&hosts)
        .with("nft add table ip6 t && nft 'add chain ip6 t o { type filter hook output priority 0; }'")
        .with("nft add rule ip6 t o tcp dport 9100 drop");
    let run =
        Sockeye::new("connect both 9100 hello. --fast-open --timeout 2s --json").under(net.prefix()).run().exits(0);
    assert_eq!(run.one::<Connect>().attempt, 2, "{}", run.dump());
    let elapsed = run.elapsed_of("connect");
    assert!((Duration::from_millis(900)..Duration::from_secs(2)).contains(&elapsed), "{elapsed:?}");
    assert!(run.all::<Warning>().is_empty(), "nothing was under way beside:\n{}", run.dump());
}

#[test]
fn where_there_is_nothing_to_send_with_the_syn_it_is_refused() {
    for words in [
        "localhost 9 --fast-open",
        "--probe localhost 9 --fast-open",
        "localhost 9 hello --fast-open --send-delay 1s",
        "unix:/x hello --fast-open",
        "unix:/x hello --mptcp",
    ] {
        let run = Sockeye::new(format!("connect {words} --json")).run().exits(2);
        assert!(run.stderr().contains("--fast-open") || run.stderr().contains("--mptcp"), "{words}: {}", run.stderr());
    }
    Sockeye::new("connect localhost 9 --fast-open").arg("").run().exits(2);
}

//! `connect` without a message: 8 MiB of random bytes, unchanged, both ways, against everyone.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::events::{Close, Error, Recv, Send, Step, Timeout};
use crate::harness::net::{TempDir, over_both_families, random_bytes};
use crate::harness::process::Stdin;
use crate::harness::sockeye::file_with;
use crate::harness::{Family, Peer, Sockeye, Tool};

const SIZE: usize = 8 << 20;

/// Fails where the two differ, without printing megabytes.
#[track_caller]
fn assert_same(got: &[u8], expected: &[u8], what: &str) {
    assert_eq!(got.len(), expected.len(), "length, {what}");
    let first = got.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(first, None, "first difference, {what}");
}

/// Sends a file through sockeye to a tool, which writes it to its stdout.
fn to_tool(tool: Tool, family: Family) {
    let (dir, bytes) = (TempDir::new(), random_bytes(SIZE, 1));
    let server = Peer::listen_with(tool, family, || Stdin::Null);
    let client = Sockeye::new(format!("connect {} {}", family.host(), server.port))
        .stdin_from(file_with(&dir, "request", &bytes))
        .run()
        .exits(0);
    assert_eq!(client.stdout(), b"");
    assert_same(&server.finish().stdout, &bytes, &format!("to {tool:?}"));
}

/// Sends a tool's stdin through sockeye, which writes it to its stdout.
fn from_tool(tool: Tool, family: Family) {
    let bytes = random_bytes(SIZE, 2);
    let server = Peer::listen_with(tool, family, || Stdin::Bytes(bytes.clone()));
    // Held open until all has come: some of these tools end at the first end that they see.
    let client = Sockeye::new(format!("connect {} {}", family.host(), server.port)).stdin_piped().start();
    client.wait_for_stdout_bytes(SIZE);
    let run = client.finish().exits(0);
    assert_same(run.stdout(), &bytes, &format!("from {tool:?}"));
}

over_both_families! {
    fn nc_gets_8_mib(family) { to_tool(Tool::Nc, family); }
    fn ncat_gets_8_mib(family) { to_tool(Tool::Ncat, family); }
    fn socat_gets_8_mib(family) { to_tool(Tool::Socat, family); }
    fn nc_gives_8_mib(family) { from_tool(Tool::Nc, family); }
    fn ncat_gives_8_mib(family) { from_tool(Tool::Ncat, family); }
    fn socat_gives_8_mib(family) { from_tool(Tool::Socat, family); }

    fn python_gives_and_gets_8_mib_at_once(family) {
        let (dir, bytes) = (TempDir::new(), random_bytes(SIZE, 3));
        let path = dir.path().join("answer");
        std::fs::write(&path, &bytes).unwrap();
        let server = Peer::python_server(
            r#"
server = listen(sys.argv[1])
peer, _ = server.accept()
answer = open(sys.argv[2], "rb").read()
def give():
    peer.sendall(answer)
    peer.shutdown(socket.SHUT_WR)
giver = threading.Thread(target=give)
giver.start()
got = all_of(peer)
giver.join()
say(len(got), got == answer)
"#,
            &[&family.host(), path.to_str().unwrap()],
        );
        let run = Sockeye::new(format!("connect {} {}", family.host(), server.port))
            .stdin_from(std::fs::File::open(&path).unwrap())
            .run()
            .exits(0);
        assert_same(run.stdout(), &bytes, "from Python");
        assert_eq!(server.lines(), [format!("{SIZE} True")]);
    }

    fn an_echo_of_8_mib_comes_back_whole_from_serve(family) {
        let bytes = random_bytes(SIZE, 4);
        let server = Sockeye::new("serve 0 --echo --json").start();
        let run = Sockeye::new(format!("connect {} {}", family.host(), server.port())).stdin(bytes.clone()).run().exits(0);
        assert_same(run.stdout(), &bytes, "echoed");
        let run = server.interrupt().exits(0);
        assert_eq!(run.one::<Close>().bytes_sent, SIZE as u64);
    }

    fn in_json_the_events_hold_8_mib_each_way(family) {
        let (dir, bytes) = (TempDir::new(), random_bytes(SIZE, 5));
        let path = dir.path().join("both");
        std::fs::write(&path, &bytes).unwrap();
        let server = Peer::python_server(
            r#"
server = listen(sys.argv[1])
peer, _ = server.accept()
got = all_of(peer)
peer.sendall(got)
peer.close()
say(got == open(sys.argv[2], "rb").read())
"#,
            &[&family.host(), path.to_str().unwrap()],
        );
        let run = Sockeye::new(format!("connect {} {} --json -v", family.host(), server.port))
            .stdin_from(std::fs::File::open(&path).unwrap())
            .run()
            .exits(0);
        assert_eq!(server.lines(), ["True"]);
        let heard: Vec<u8> = run.all::<Recv>().iter().flat_map(|recv| recv.payload()).collect();
        let said: Vec<u8> = run.all::<Send>().iter().flat_map(|send| send.payload()).collect();
        assert_same(&heard, &bytes, "in recv events");
        assert_same(&said, &bytes, "in send events");
        assert_eq!(run.one::<Close>().bytes_unread.unwrap_or(0), 0);
    }
}

#[test]
fn a_unix_socket_is_talked_to_by_its_path_and_by_an_abstract_name() {
    let dir = TempDir::new();
    let path = dir.path().join("socket");
    let abstract_name = format!("sockeye-test-{}", std::process::id());
    for (target, name) in [
        (format!("unix:{}", path.display()), path.display().to_string()),
        (format!("unix:@{abstract_name}"), format!("\\0{abstract_name}")),
    ] {
        let script = format!(
            "server = socket.socket(socket.AF_UNIX)\nserver.bind('{name}')\nserver.listen()\nsay(1)\n\
             for _ in range(2):\n    peer, _ = server.accept()\n    peer.sendall(b'got ' + peer.recv(100))\n    peer.close()"
        );
        let server = Peer::python_server(&script, &[]);
        let run = Sockeye::new(format!("connect {target} hello --json")).run().exits(0);
        assert_eq!(run.one::<Recv>().payload(), b"got hello");
        assert_eq!(run.one::<crate::harness::events::Connect>().peer, target);
        assert_eq!(run.one::<crate::harness::events::Socket>().family, "AF_UNIX");
        assert!(run.one::<Close>().tcp.is_none(), "TCP_INFO does not apply");
        let run = Sockeye::new(format!("connect {target}")).stdin("relayed").run().exits(0);
        assert_eq!(run.stdout(), b"got relayed");
        server.lines();
    }
}

#[test]
fn a_relay_in_json_shows_what_comes_and_what_goes_only_with_v() {
    for (verbose, sends) in [("", false), ("-v", true)] {
        let server = Sockeye::new("serve 0 --json").start();
        let run =
            Sockeye::new(format!("connect 127.0.0.1 {} --json {verbose}", server.port())).stdin("hello").run().exits(0);
        let heard: Vec<u8> = run.all::<Recv>().iter().flat_map(|recv| recv.payload()).collect();
        assert_eq!(heard, b"hello");
        assert_eq!(!run.all::<Send>().is_empty(), sends, "{verbose}");
        assert_eq!(run.summary().bytes_sent, Some(5));
        server.interrupt().exits(0);
    }
}

#[test]
fn text_that_is_utf_8_only_in_part_comes_as_base64() {
    let server = Sockeye::new("serve 0 --json").start();
    let bytes = [b"caf\xe9 \x00 \x1b[31m".to_vec(), vec![0xff; 3]].concat();
    let run = Sockeye::new(format!("connect 127.0.0.1 {} --json", server.port())).stdin(bytes.clone()).run().exits(0);
    let heard: Vec<u8> = run.all::<Recv>().iter().flat_map(|recv| recv.payload()).collect();
    assert_eq!(heard, bytes);
    assert!(run.all::<Recv>().iter().any(|recv| recv.data_base64.is_some()));
    server.interrupt().exits(0);
}

#[test]
fn the_relay_has_no_timer_of_its_own_and_timeout_does_not_bound_its_wait() {
    let mut server = Peer::listen(Tool::Nc, Family::V4);
    let client =
        Sockeye::new(format!("connect 127.0.0.1 {} --timeout 200ms --json", server.port)).stdin_piped().start();
    client.wait_for::<crate::harness::events::Connect>();
    // Three times the time-out of nothing.
    std::thread::sleep(Duration::from_millis(600));
    server.send(b"late answer");
    server.close_stdin();
    let run = client.finish().exits(0);
    let heard: Vec<u8> = run.all::<Recv>().iter().flat_map(|recv| recv.payload()).collect();
    assert_eq!(heard, b"late answer");
}

#[test]
fn who_has_ended_is_not_blamed_for_the_silence_of_our_own_input() {
    let server = Peer::python_server("peer, _ = listen('127.0.0.1').accept()\npeer.sendall(b'x')\npeer.close()", &[]);
    let words = format!("connect 127.0.0.1 {} --on-peer-close drain --idle-timeout 200ms --json", server.port);
    let run = Sockeye::new(words).stdin_piped().start().finish_by_itself().exits(8);
    assert_eq!(run.one::<Timeout>().step, Step::Read, "{}", run.dump());
    let told = &run.one::<Error>().message;
    assert!(told.contains("the peer had closed its side, and nothing was sent within 0.2"), "{told}");
}

#[test]
fn only_idle_timeout_ends_a_relay_that_hears_nothing() {
    let server = Peer::listen(Tool::Nc, Family::V4);
    let run = Sockeye::new(format!("connect 127.0.0.1 {} --idle-timeout 200ms --json", server.port))
        .stdin_piped()
        .start()
        .finish_by_itself()
        .exits(8);
    let timeout = run.one::<Timeout>();
    assert!(timeout.after_ns >= 200_000_000, "{timeout:?}");
    assert_eq!(run.one::<Close>().reason, crate::harness::events::Reason::Timeout);
}

#[test]
fn a_relay_whose_stdout_is_a_socket_that_nobody_reads_can_be_stopped() {
    // It blocked in a splice(2) into that socket, where neither signal nor deadline was heard.
    let script = r#"
server = listen("127.0.0.1")
peer, _ = server.accept()
peer.settimeout(0.5)
try:
    while True:
        peer.send(b"x" * 65536)
except TimeoutError:
    say("stuck")
except OSError:
    pass
peer.settimeout(60)
try:
    while peer.recv(100):
        pass
except ConnectionError:
    pass
say("closed")
"#;
    for words in ["", "--deadline 2s"] {
        let peer = Peer::python_server(script, &[]);
        let (mut reader, ours) = UnixStream::pair().unwrap();
        let client = Sockeye::new(format!("connect 127.0.0.1 {} {words}", peer.port))
            .stdin_piped()
            .stdout_to(OwnedFd::from(ours))
            .start();
        if words.is_empty() {
            peer.wait_for("stuck");
            client.signal(Signal::SIGTERM);
        }
        peer.wait_for("closed");
        // What was taken from the network is still there for whoever reads at last.
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == b'x') && !bytes.is_empty());
        client.finish_by_itself().exits(0);
        peer.lines();
    }
}

#[test]
fn a_stdout_that_is_a_socket_gets_all_and_holds_up_nothing_that_is_sent() {
    // As above: meanwhile nothing was sent. One that does not block was an error, and bytes were lost.
    let (dir, bytes) = (TempDir::new(), random_bytes(SIZE, 6));
    let path = dir.path().join("both");
    std::fs::write(&path, &bytes).unwrap();
    for is_nonblocking in [false, true] {
        let peer = Peer::python_server(
            r#"
server = listen("127.0.0.1")
peer, _ = server.accept()
both = open(sys.argv[1], "rb").read()
def give():
    peer.sendall(both)
    peer.shutdown(socket.SHUT_WR)
giver = threading.Thread(target=give)
giver.start()
say("got", all_of(peer) == both)
giver.join()
"#,
            &[path.to_str().unwrap()],
        );
        let (mut reader, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(is_nonblocking).unwrap();
        let client = Sockeye::new(format!("connect 127.0.0.1 {}", peer.port))
            .stdin(bytes.clone())
            .stdout_to(OwnedFd::from(ours))
            .start();
        peer.wait_for("got True");
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).unwrap();
        let run = client.finish_by_itself().exits(0);
        assert_same(&answer, &bytes, &run.stderr());
        peer.lines();
    }
}

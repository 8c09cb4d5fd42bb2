//! Unix sockets with connections, as Python, nc, ncat and socat see them: every type and kind of
//! name, the file, its rights, who the peer is, records, descriptors that are passed.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::events::{Accept, Bind, Close, Connect, Eof, Error, Listen, Reason, Recv, Send, Side, Warning};
use crate::harness::net::{TempDir, random_bytes};
use crate::harness::peers::Peer;
use crate::harness::process::Stdin;
use crate::harness::{Running, Sockeye, require};

/// The types that have connections.
pub(crate) const CONNECTED: [&str; 2] = ["stream", "seqpacket"];

/// What a script needs to make a socket of a type by its name.
pub(crate) const TYPES: &str = r#"
kinds = {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET, "dgram": socket.SOCK_DGRAM}

def name(word):
    return "\0" + word[1:] if word[0] == "@" else word

def make(kind):
    made = socket.socket(socket.AF_UNIX, kinds[kind])
    made.settimeout(60)
    if kind == "dgram":
        made.bind("")
    return made

def reach(kind, word):
    made = make(kind)
    made.connect(name(word))
    return made
"#;

/// Runs a script to its end with the prelude above, and returns its lines.
pub(crate) fn python(script: &str, args: &[&str]) -> Vec<String> {
    Peer::python(&format!("{TYPES}{script}"), args).lines()
}

/// Returns an abstract name that no other test has.
pub(crate) fn abstract_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("@sockeye-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Starts a server of a type at a place; it is bound, and listens where it can.
pub(crate) fn serve(place: &str, kind: &str, rest: &str) -> Running {
    let server = Sockeye::new(format!("unix-serve --json --type {kind} {rest}")).arg(place).start();
    wait_until_served(&server, kind);
    server
}

/// Waits until a server is bound, and listens where it can.
fn wait_until_served(server: &Running, kind: &str) {
    server.wait_for::<Bind>();
    if kind != "dgram" {
        server.wait_for::<Listen>();
    }
}

/// A folder, and a path in it for a socket.
pub(crate) fn place() -> (TempDir, String) {
    let dir = TempDir::new();
    let path = dir.path().join("x.sock").to_str().unwrap().to_owned();
    (dir, path)
}

/// Returns how many descriptors a server has once it serves: one has just been served.
fn settled(server: &Running, kind: &str, path: &str) -> usize {
    python("peer = reach(*sys.argv[1:])\npeer.send(b'first')\npeer.recv(9)", &[kind, path]);
    if kind != "dgram" {
        server.wait_for::<Close>();
    }
    descriptors_of(server)
}

fn descriptors_of(server: &Running) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

#[test]
fn every_type_is_served_by_path_and_by_abstract_name_and_says_who_comes() {
    for kind in CONNECTED {
        for word in
            [place(), (TempDir::new(), abstract_name())].iter().map(|(_, word)| word.clone()).collect::<Vec<_>>()
        {
            let dir = Path::new(&word).parent().filter(|_| !word.starts_with('@'));
            if let Some(dir) = dir {
                fs::create_dir_all(dir).unwrap();
            }
            let server = serve(&word, kind, "--prefix E>");
            let script = r#"
peer = reach(sys.argv[1], sys.argv[2])
for text in (b"hello", b"again"):
    peer.sendall(text)
    say(peer.recv(99).decode())
say(os.getpid(), os.getuid(), os.getgid())
peer.shutdown(socket.SHUT_WR)
say(repr(peer.recv(9)))
"#;
            let lines = python(script, &[kind, &word]);
            assert_eq!([&lines[0], &lines[1], &lines[3]], ["E>hello", "E>again", "b''"], "{kind} {word}");
            server.wait_for::<Close>();
            let run = server.interrupt().exits(0);
            let accept = run.one::<Accept>();
            let who = format!("{} {} {}", accept.pid.unwrap(), accept.uid.unwrap(), accept.gid.unwrap());
            assert_eq!(who, lines[2], "{kind} {word}");
            assert!(accept.process.as_deref().is_some_and(|name| name.starts_with("python")), "{accept:?}");
            assert_eq!((accept.peer.as_str(), accept.local.as_str()), ("unix:", format!("unix:{word}").as_str()));
            assert_eq!(run.one::<Close>().reason, Reason::Eof);
            if let Some(dir) = dir {
                fs::remove_dir_all(dir).unwrap();
            }
        }
    }
}

#[test]
fn a_named_peer_is_told_by_its_name() {
    let (dir, path) = place();
    let server = serve(&path, "stream", "--count 1");
    let own = dir.path().join("client").to_str().unwrap().to_owned();
    let script = r#"
peer = socket.socket(socket.AF_UNIX)
peer.bind(sys.argv[2])
peer.connect(sys.argv[1])
peer.close()
"#;
    python(script, &[&path, &own]);
    assert_eq!(server.finish_by_itself().exits(0).one::<Accept>().peer, format!("unix:{own}"));
}

#[test]
fn a_name_without_a_file_is_not_taken_for_a_file_nor_the_other_way_round() {
    let (dir, path) = place();
    let name = abstract_name();
    let script = r#"
os.chdir(sys.argv[3])
for own in ("\0" + sys.argv[2][1:], sys.argv[2]):
    peer = socket.socket(socket.AF_UNIX)
    peer.bind(own)
    peer.connect(sys.argv[1])
    peer.close()
"#;
    let server = serve(&path, "stream", "--count 2");
    python(script, &[&path, &name, dir.path().to_str().unwrap()]);
    let run = server.finish_by_itself().exits(0);
    let peers: Vec<_> = run.all::<Accept>().iter().map(|accept| accept.peer.clone()).collect();
    assert_eq!(peers, [format!("unix:{name}"), format!("unix:./{name}")]);
}

#[test]
fn a_client_of_each_type_talks_with_python() {
    for kind in ["stream", "seqpacket", "dgram"] {
        let (_dir, path) = place();
        let script = r#"
kind, word = sys.argv[1:]
server = socket.socket(socket.AF_UNIX, kinds[kind])
server.bind(name(word))
if kind == "dgram":
    say(1)
    for _ in range(2):
        data, whose = server.recvfrom(99)
        server.sendto(b"R:" + data, whose)
else:
    server.listen()
    say(1)
    peer = server.accept()[0]
    while data := peer.recv(99):
        peer.sendall(b"R:" + data)
"#;
        let server = Peer::python_server(&format!("{TYPES}{script}"), &[kind, &path]);
        let run = Sockeye::new(format!("connect --json --type {kind} unix:{path} one two")).run().exits(0);
        server.finish();
        let got: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.payload()).collect();
        assert_eq!(got, [b"R:one", b"R:two"], "{kind}");
        for recv in run.all::<Recv>() {
            let (records, datagrams) = (kind != "stream", kind == "dgram");
            assert_eq!(
                (recv.truncated, recv.datagram_bytes),
                (records.then_some(false), records.then_some(5)),
                "{kind}"
            );
            assert_eq!(recv.peer, datagrams.then(|| format!("unix:{path}")), "{kind}");
        }
        // Only so can a datagram be answered.
        assert_eq!(run.all::<Bind>().len(), usize::from(kind == "dgram"));
        assert_eq!(run.one::<Connect>().peer, format!("unix:{path}"));
    }
}

#[test]
fn netcats_are_served_and_are_servers() {
    require(&["nc", "ncat", "socat"]);
    let clients: [(&str, &str, &[&str]); 4] = [
        ("stream", "nc", &["-N", "-U", "PATH"]),
        ("stream", "ncat", &["-U", "PATH"]),
        ("stream", "socat", &["-t60", "STDIO", "UNIX-CONNECT:PATH"]),
        ("seqpacket", "socat", &["-t60", "STDIO", "UNIX-CONNECT:PATH,type=5"]),
    ];
    for (kind, program, words) in clients {
        let (_dir, path) = place();
        let server = serve(&path, kind, "--prefix E> --count 1");
        let words: Vec<String> = words.iter().map(|word| word.replace("PATH", &path)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ended = Peer::program(program, &words, Stdin::Bytes(b"hello".to_vec()), None).finish();
        assert_eq!(String::from_utf8_lossy(&ended.stdout), "E>hello", "{program} {kind}");
        server.finish_by_itself().exits(0);
    }
}

#[test]
fn bulk_goes_both_ways_unchanged() {
    require(&["socat"]);
    const SIZE: usize = 8 << 20;
    let (ours, theirs) = (random_bytes(SIZE, 3), random_bytes(SIZE, 4));
    let (_dir, path) = place();
    let server = Sockeye::new(format!("unix-serve {path} --relay")).stdin(ours.clone()).start();
    while !Path::new(&path).exists() {
        assert!(server.is_running());
        std::thread::yield_now();
    }
    let words = ["-t60", "STDIO", &format!("UNIX-CONNECT:{path},retry=50,interval=0.1")];
    let client = Peer::program("socat", &words, Stdin::Bytes(theirs.clone()), None).finish();
    assert!(client.stdout == ours, "{} bytes came", client.stdout.len());
    let run = server.finish_by_itself().exits(0);
    assert!(run.stdout() == theirs, "{} bytes came", run.stdout().len());
}

#[test]
fn answers_wait_for_a_peer_that_reads_late() {
    let script = r#"
peer = reach(sys.argv[2], sys.argv[1])
sent = b""
# Until both ways are full: the server takes no more than it can answer.
peer.settimeout(0.3)
try:
    while True:
        part = bytes([len(sent) // 1000 % 251]) * 1000
        sent += part[:peer.send(part)]
except TimeoutError:
    peer.settimeout(60)
peer.shutdown(socket.SHUT_WR)
got = b""
while part := peer.recv(65536):
    got += part
say(got == sent, len(sent))
"#;
    for kind in CONNECTED {
        let (_dir, path) = place();
        let server = serve(&path, kind, "");
        let line = python(script, &[&path, kind]).remove(0);
        let (is_whole, sent) = line.split_once(' ').unwrap();
        assert_eq!(is_whole, "True", "{kind}");
        let run = server.interrupt().exits(0);
        assert_eq!(run.summary().bytes_sent, Some(sent.parse().unwrap()), "{kind}");
        assert!(run.summary().bytes_sent > Some(50_000), "{kind}: {line}");
    }
}

#[test]
fn a_relay_keeps_the_records() {
    let (_dir, path) = place();
    let mut server =
        Sockeye::new(format!("unix-serve {path} --relay --json -v --type seqpacket")).stdin_piped().start();
    server.wait_for::<Listen>();
    let script = r#"
peer = reach("seqpacket", sys.argv[1])
for text in (b"one", b"", b"three"):
    peer.send(text)
say(peer.recv(99).decode())
peer.shutdown(socket.SHUT_WR)
"#;
    let client = Peer::python(&format!("{TYPES}{script}"), &[&path]);
    server.wait_for_nth::<Recv>(3);
    server.send(b"answer");
    assert_eq!(client.lines(), ["answer"]);
    let run = server.finish().exits(0);
    let got: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.payload()).collect();
    assert_eq!(got, [&b"one"[..], b"", b"three"]);
}

#[test]
fn a_record_tells_its_length_and_an_empty_one_is_no_end() {
    let (_dir, path) = place();
    let server = serve(&path, "seqpacket", "--recv-size 10 --count 1");
    let script = r#"
peer = reach("seqpacket", sys.argv[1])
for text in (b"x" * 100, b"", b"short", b""):
    peer.send(text)
say([len(peer.recv(999)) for _ in range(4)])
peer.send(b"")
peer.shutdown(socket.SHUT_WR)
say(peer.recvmsg(9)[0], peer.recvmsg(9)[0])
"#;
    assert_eq!(python(script, &[&path])[0], "[10, 0, 5, 0]");
    let run = server.finish_by_itself().exits(0);
    let got: Vec<_> = run.all::<Recv>().iter().map(|recv| (recv.bytes, recv.truncated, recv.datagram_bytes)).collect();
    let whole = |bytes| (bytes, Some(false), Some(bytes));
    assert_eq!(got, [(10, Some(true), Some(100)), whole(0), whole(5), whole(0), whole(0)]);
    assert_eq!((run.all::<Eof>().len(), run.one::<Close>().reason), (1, Reason::Eof));
    assert_eq!(run.one::<Close>().clean, Some(false), "the rest of a record was lost: {}", run.dump());
    assert_eq!(run.all::<Send>().len(), 5);
}

#[test]
fn an_empty_record_that_is_left_unread_resets_the_peer() {
    let dir = TempDir::new();
    let path = dir.path().join("x.sock").display().to_string();
    // All have come when the first is answered.
    let words = format!("unix-serve {path} --type seqpacket --fault delay=1s --messages 1 --count 1 --json");
    let server = Sockeye::new(words).start();
    server.wait_for::<Listen>();
    let script = r"
peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
peer.connect(sys.argv[1])
for record in (b'', b'', b''):
    peer.send(record)
# The reset may overtake the answer, which is empty too.
try:
    say([peer.recv(9) for _ in range(3)])
except ConnectionResetError:
    say('reset')
";
    assert_eq!(Peer::python(script, &[&path]).lines(), ["reset"]);
    let run = server.finish().exits(0);
    let close = run.one::<Close>();
    let told = (close.clean, close.reset_by, close.bytes_unread);
    assert_eq!(told, (Some(false), Some(Side::Local), Some(0)), "{}", run.dump());
    assert!(run.one::<Warning>().message.contains("an empty record unread"), "{}", run.dump());
}

#[test]
fn what_came_before_a_reset_is_read_first_with_records_too() {
    // Closing with the message unread makes the kernel reset the peer, behind what it was answered.
    let script = format!(
        "{TYPES}server = make(sys.argv[1])\nserver.bind(sys.argv[2])\nserver.listen()\nsay(1)\npeer, _ = \
         server.accept()\npeer.recv(1, socket.MSG_PEEK)\npeer.send(b'one')\npeer.send(b'two')\npeer.close()"
    );
    let dir = TempDir::new();
    for kind in CONNECTED {
        for (words, code) in [("hi --expect one", 0), ("hi --expect three", 10), ("hi --until-eof", 10), ("", 10)] {
            let path = dir.path().join(format!("{kind}-{code}-{}", words.len())).display().to_string();
            let _server = Peer::python_server(&script, &[kind, &path]);
            let line = format!("connect --json --type {kind} unix:{path} {words}");
            let mut client = Sockeye::new(line).stdin_piped().start();
            if words.is_empty() {
                client.send(b"hi");
                client.wait_for::<Error>();
            }
            let run = client.finish().exits(code);
            let came: String = run.all::<Recv>().iter().filter_map(|recv| recv.data.clone()).collect();
            let expected = if code == 0 { came.starts_with("one") } else { came == "onetwo" };
            assert!(expected, "{kind} {words}: {}", run.dump());
            assert_eq!(run.all::<Error>().len(), usize::from(code != 0), "{}", run.dump());
            assert_eq!(run.one::<Close>().reset_by, Some(Side::Peer), "{}", run.dump());
        }
    }
}

#[test]
fn a_reset_behind_another_failure_is_no_end() {
    // The peer takes nothing more, which is told by EPIPE first; then it leaves what was sent unread.
    let script = format!(
        "{TYPES}server = make('seqpacket')\nserver.bind(sys.argv[1])\nserver.listen()\nsay(1)\npeer, _ = \
         server.accept()\npeer.recv(1, socket.MSG_PEEK)\npeer.shutdown(socket.SHUT_RD)\nsay('deaf')\n\
         sys.stdin.readline()\npeer.send(b'one')\npeer.close()"
    );
    let (_dir, path) = place();
    let mut server = Peer::python_server(&script, &[&path]);
    let mut client = Sockeye::new(format!("connect --json --type seqpacket unix:{path}")).stdin_piped().start();
    client.send(b"first");
    server.wait_for("deaf");
    client.send(b"second");
    assert_eq!(client.wait_for::<Error>().errno.as_deref(), Some("EPIPE"));
    server.send(b"go\n");
    let run = client.finish().exits(10);
    let came: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.data.clone()).collect();
    assert_eq!(came, [Some("one".to_owned())], "{}", run.dump());
    assert!(!run.names().contains(&"eof"), "{}", run.dump());
    assert_eq!(run.one::<Close>().reset_by, Some(Side::Peer), "{}", run.dump());
}

#[test]
fn a_client_tells_an_empty_record_from_the_end_too() {
    let (_dir, path) = place();
    let script = r#"
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.bind(sys.argv[1])
server.listen()
say(1)
peer = server.accept()[0]
peer.recv(9)
for text in (b"one", b"", b"three", b""):
    peer.send(text)
peer.close()
"#;
    let server = Peer::python_server(script, &[&path]);
    let run = Sockeye::new(format!("connect --json --type seqpacket unix:{path} x --until-eof")).run().exits(0);
    server.finish();
    let got: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.payload()).collect();
    assert_eq!(got, [&b"one"[..], b"", b"three", b""]);
    assert_eq!(run.all::<Eof>().len(), 1);
    assert_eq!(run.one::<Connect>().local, None, "asking for credentials gave the socket no name");
}

#[test]
fn a_record_that_is_too_large_is_this_connections_own_error() {
    let (_dir, path) = place();
    let text = "y".repeat(60_000);
    let server = Sockeye::new(format!("unix-serve {path} --json --type seqpacket --send-buffer 4k --when big"))
        .arg(&text)
        .start();
    server.wait_for::<Listen>();
    let script = r#"
one, two = reach("seqpacket", sys.argv[1]), reach("seqpacket", sys.argv[1])
one.send(b"big")
say(one.recv(9))
two.send(b"small")
two.shutdown(socket.SHUT_WR)
say(two.recv(9))
"#;
    assert_eq!(python(script, &[&path]), ["b''", "b''"]);
    server.wait_for_nth::<Close>(2);
    let run = server.interrupt().exits(0);
    assert_eq!(run.one::<Error>().errno.as_deref(), Some("EMSGSIZE"));
}

#[test]
fn descriptors_that_are_passed_are_told_and_closed() {
    for kind in ["stream", "seqpacket", "dgram"] {
        let (_dir, path) = place();
        let server = serve(&path, kind, "");
        let before = settled(&server, kind, &path);
        let script = r#"
peer = reach(*sys.argv[1:])
r, w = os.pipe()
os.mkfifo(sys.argv[2] + ".fifo")
fds = [os.open("/etc/passwd", 0), os.open("/", 0), r, peer.fileno(), os.open("/dev/null", 0), os.eventfd(0),
       os.memfd_create("memory"), os.open(sys.argv[2] + ".fifo", os.O_RDWR)]
socket.send_fds(peer, [b"with"], fds)
say(peer.recv(9))
for _ in range(1000):
    socket.send_fds(peer, [b"x"], [0])
    peer.recv(9)
socket.send_fds(peer, [b"many"], [0] * 253)
say(peer.recv(9))
"#;
        assert_eq!(python(script, &[kind, &path]), ["b'with'", "b'many'"], "{kind}");
        if kind != "dgram" {
            server.wait_for_nth::<Close>(2);
        }
        assert_eq!(descriptors_of(&server), before, "{kind}");
        let run = server.interrupt().exits(0);
        let with = run.all::<Recv>().into_iter().find(|recv| recv.payload() == b"with").unwrap();
        let kinds: Vec<&str> = with.descriptors.iter().map(|descriptor| descriptor.kind.as_str()).collect();
        let expected = ["file", "directory", "pipe", "socket", "character-device", "anonymous", "file", "pipe"];
        assert_eq!(kinds, expected, "{kind}");
        assert_eq!(with.descriptors[0].target.as_deref(), Some("/etc/passwd"));
        assert!(with.descriptors[3].target.as_deref().unwrap().starts_with("socket:["));
        let many = run.all::<Recv>().into_iter().find(|recv| recv.payload() == b"many").unwrap();
        assert_eq!(many.descriptors.len(), 253, "{kind}");
    }
}

#[test]
fn descriptors_that_the_kernel_dropped_are_told_once() {
    // What there was no room for was left out in silence (MSG_CTRUNC).
    require(&["prlimit"]);
    for kind in ["stream", "seqpacket", "dgram"] {
        let (_dir, path) = place();
        let line = format!("unix-serve {path} --type {kind} --json");
        let server = Sockeye::new(line).under(["prlimit", "--nofile=24"]).start();
        wait_until_served(&server, kind);
        let script = r#"
peer = reach(*sys.argv[1:])
for word in (b"few", b"many", b"more"):
    socket.send_fds(peer, [word], [0] * (1 if word == b"few" else 100))
    say(peer.recv(9))
"#;
        assert_eq!(python(script, &[kind, &path]), ["b'few'", "b'many'", "b'more'"], "{kind}");
        let run = server.interrupt().exits(0);
        let passed: Vec<usize> =
            run.all::<Recv>().iter().map(|recv| recv.descriptors.len()).filter(|n| *n > 0).collect();
        assert!(passed[0] == 1 && passed[1..].iter().all(|passed| *passed < 24), "{passed:?}");
        let warning = run.one::<Warning>();
        assert_eq!(warning.name, "descriptors-dropped", "{kind}");
        assert!(warning.message.contains("at most 24"), "{warning:?}");
    }
}

#[test]
fn bytes_behind_a_descriptor_are_not_left_waiting() {
    for quiet in ["", "-q"] {
        let (_dir, path) = place();
        let server = Sockeye::new(format!("unix-serve {path} --json {quiet}")).start();
        let script = r#"
while True:
    try:
        peer = reach("stream", sys.argv[1])
        break
    except (FileNotFoundError, ConnectionRefusedError):
        pass
peer.send(b"before")
socket.send_fds(peer, [b"with"], [0])
peer.send(b"behind")
say(exactly(peer, 16).decode())
"#;
        assert_eq!(python(script, &[&path]), ["beforewithbehind"]);
        server.interrupt().exits(0);
    }
}

#[test]
fn a_thousand_clients_leave_no_descriptor() {
    for kind in CONNECTED {
        let (_dir, path) = place();
        let server = serve(&path, kind, "");
        let before = settled(&server, kind, &path);
        let script = r#"
for _ in range(4):
    peers = [reach(*sys.argv[1:]) for _ in range(200)]
    for peer in peers:
        peer.send(b"x")
        peer.recv(9)
    [peer.close() for peer in peers]
for _ in range(200):
    with reach(*sys.argv[1:]) as peer:
        peer.send(b"x")
        peer.recv(9)
"#;
        python(script, &[kind, &path]);
        server.wait_for_nth::<Close>(1001);
        assert_eq!(descriptors_of(&server), before, "{kind}");
        assert_eq!(server.interrupt().exits(0).summary().connections, Some(1001));
    }
}

#[test]
fn who_is_not_let_in_is_told_and_closed() {
    let uid = nix::unistd::getuid().as_raw();
    let gid = nix::unistd::getgid().as_raw();
    for (words, is_admitted) in [
        (format!("--allow-uid {uid}"), true),
        (format!("--allow-gid {gid}"), true),
        (format!("--allow-uid {} --allow-gid {gid}", uid + 1), true),
        (format!("--allow-uid {}", uid + 1), false),
        (format!("--allow-gid {}", gid + 1), false),
    ] {
        let (_dir, path) = place();
        let server = serve(&path, "stream", &words);
        let script = r#"
peer = reach("stream", sys.argv[1])
try:
    peer.send(b"x")
    say(peer.recv(9))
except (BrokenPipeError, ConnectionResetError):
    say(b"")
"#;
        let expected = if is_admitted { "b'x'" } else { "b''" };
        assert_eq!(python(script, &[&path]), [expected], "{words}");
        server.wait_for::<Close>();
        let run = server.interrupt().exits(0);
        assert_eq!(run.summary().denied, Some(u64::from(!is_admitted)), "{words}");
    }
}

#[test]
fn a_server_out_of_descriptors_goes_on() {
    let (_dir, path) = place();
    let server = Sockeye::new(format!("unix-serve {path} --json")).under(["prlimit", "--nofile=24"]).start();
    server.wait_for::<Listen>();
    let script = r#"
peers = [reach("stream", sys.argv[1]) for _ in range(40)]
told()
[peer.close() for peer in peers]
one = reach("stream", sys.argv[1])
one.send(b"x")
say(one.recv(9))
"#;
    let mut client = Peer::python(&format!("{TYPES}{script}"), &[&path]);
    server.wait_for_one::<Error>("EMFILE", |error| error.errno.as_deref() == Some("EMFILE"));
    client.send(b"go\n");
    assert_eq!(client.lines(), ["b'x'"]);
    server.interrupt().exits(0);
    assert!(!Path::new(&path).exists());
}

#[test]
fn every_fault_and_the_pattern_work_on_unix_sockets_too() {
    for kind in CONNECTED {
        let see = |rest: &str, script: &str| {
            let (_dir, path) = place();
            let server = serve(&path, kind, rest);
            let lines = python(&format!("peer = reach(*sys.argv[1:])\n{script}"), &[kind, &path]);
            server.interrupt().exits(0);
            lines
        };
        let reset = "peer.send(b'x')\ntry:\n    say(peer.recv(9))\nexcept ConnectionResetError:\n    say('reset')";
        assert_eq!(see("--fault reset", reset), ["reset"], "{kind}");
        let half = "say(peer.recv(9))\nsay(peer.send(b'more'))";
        assert_eq!(see("--fault half-close", half), ["b''", "4"], "{kind}");
        let hang =
            "peer.send(b'x')\npeer.settimeout(0.3)\ntry:\n    peer.recv(9)\nexcept TimeoutError:\n    say('silent')";
        assert_eq!(see("--fault hang", hang), ["silent"], "{kind}");
        let late = "began = time.monotonic()\npeer.send(b'x')\npeer.recv(9)\nsay(time.monotonic() - began >= 0.2)";
        assert_eq!(see("--fault delay=200ms", late), ["True"], "{kind}");
        let all = "peer.shutdown(socket.SHUT_WR)\nsay(len(all_of(peer)))";
        assert_eq!(see("--source-bytes 100000", all), ["100000"], "{kind}");
        let (_dir, path) = place();
        let server = serve(&path, kind, "--broker");
        let script = r#"
one, two = reach(*sys.argv[1:]), reach(*sys.argv[1:])
told()
one.send(b"hello")
say(two.recv(9).decode())
two.send(b"back")
say(one.recv(9).decode())
"#;
        let mut client = Peer::python(&format!("{TYPES}{script}"), &[kind, &path]);
        server.wait_for_nth::<Accept>(2);
        client.send(b"go\n");
        assert_eq!(client.lines(), ["hello", "back"], "{kind}");
        server.interrupt().exits(0);
    }
}

#[test]
fn a_full_accept_queue_is_waited_for_and_then_given_up() {
    let (_dir, path) = place();
    let server = serve(&path, "stream", "--fault never-accept --backlog 1");
    let script = "peers = [reach('stream', sys.argv[1]) for _ in range(2)]\nsay('full')\ntold()";
    let client = Peer::python(&format!("{TYPES}{script}"), &[&path]);
    client.wait_for("full");
    let run = Sockeye::new(format!("connect --json unix:{path} x --timeout 300ms")).run().exits(8);
    assert_eq!(run.one::<Warning>().name, "queue-full");
    client.finish();
    server.interrupt().exits(0);
}

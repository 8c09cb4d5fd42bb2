//! Unix datagrams: many peers, peers without a name, queues that are full, what is cut, who is let in.

use crate::harness::events::{Bind, Close, Error, Recv, Send, Timeout, Warning};
use crate::harness::peers::Peer;
use crate::harness::process::Stdin;
use crate::harness::{Running, Sockeye, require};
use crate::unix::{TYPES, abstract_name, place, python, serve};

fn served(rest: &str, script: &str) -> (Vec<String>, Running, tempdir::Held) {
    let (dir, path) = place();
    let server = serve(&path, "dgram", rest);
    let lines = python(script, &[&path]);
    (lines, server, tempdir::Held(dir))
}

/// Keeps a folder for as long as a test looks at what is in it.
mod tempdir {
    pub(super) struct Held(#[expect(dead_code, reason = "held until dropped")] pub(super) crate::harness::net::TempDir);
}

/// Returns the process that has sent a datagram, its user and its group.
fn whose(recv: &Recv) -> String {
    let [pid, uid, gid] = [recv.pid.map(i64::from), recv.uid.map(i64::from), recv.gid.map(i64::from)];
    let shown = [pid, uid, gid].map(|number| number.map_or_else(|| "-".to_owned(), |number| number.to_string()));
    shown.join(" ")
}

#[test]
fn many_peers_are_answered_each_by_itself() {
    let script = r#"
peers = [reach("dgram", sys.argv[1]) for _ in range(3)]
for number, peer in enumerate(peers):
    peer.send(b"%d" % number)
for peer in peers:
    say(peer.recv(9).decode(), peer.getsockname()[1:].decode())
say(os.getpid(), os.getuid(), os.getgid())
"#;
    let (lines, server, _held) = served("--prefix E> --count 3", script);
    let run = server.finish_by_itself().exits(0);
    for (number, recv) in run.all::<Recv>().into_iter().enumerate() {
        let (reply, name) = lines[number].split_once(' ').unwrap();
        assert_eq!(reply, format!("E>{number}"));
        assert_eq!(recv.peer.as_deref(), Some(format!("unix:@{name}").as_str()));
        assert!(recv.local.as_deref().is_some_and(|local| local.ends_with("x.sock")));
        assert_eq!(whose(recv), lines[3]);
        assert_eq!((recv.truncated, recv.datagram_bytes, recv.conn), (Some(false), Some(1), None));
    }
    let summary = run.summary();
    assert_eq!(
        (summary.received, summary.sent, summary.not_sent, summary.denied),
        (Some(3), Some(3), Some(0), Some(0))
    );
    assert_eq!((summary.bytes_received, summary.bytes_sent), (Some(3), Some(9)));
    assert_eq!(run.all::<Send>().len(), 3);
}

#[test]
fn socat_and_abstract_names_are_served_too() {
    require(&["socat"]);
    let (dir, path) = place();
    let name = abstract_name();
    let server = serve(&name, "dgram", "--when hello world --otherwise what");
    let own = dir.path().join("own");
    let words = format!("UNIX-SENDTO:{path},bind={}", own.display());
    let abstract_words = format!("ABSTRACT-SENDTO:{},bind={}", &name[1..], own.display());
    let by_name =
        Peer::program("socat", &["-t1", "STDIO", &abstract_words], Stdin::Bytes(b"hello".to_vec()), None).finish();
    assert_eq!(String::from_utf8_lossy(&by_name.stdout), "world");
    server.interrupt().exits(0);
    let server = serve(&path, "dgram", "");
    drop(std::fs::remove_file(&own));
    let by_path = Peer::program("socat", &["-t1", "STDIO", &words], Stdin::Bytes(b"again".to_vec()), None).finish();
    assert_eq!(String::from_utf8_lossy(&by_path.stdout), "again");
    server.interrupt().exits(0);
}

#[test]
fn a_peer_without_a_name_is_heard_and_told_of_once() {
    let script = r#"
peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for text in (b"one", b"two"):
    peer.sendto(text, sys.argv[1])
"#;
    let (_, server, _held) = served("--count 2", script);
    let run = server.finish_by_itself().exits(0);
    assert_eq!(run.one::<Warning>().name, "unnamed-peer");
    assert!(run.all::<Recv>().iter().all(|recv| recv.peer.as_deref() == Some("unix:")));
    assert_eq!(run.summary().sent, Some(0));
}

#[test]
fn sizes_are_true_whatever_one_recv_takes() {
    let script = r#"
peer = reach("dgram", sys.argv[1])
for size in (0, 10, 11, 100_000):
    peer.send(b"x" * size)
say([len(peer.recv(999)) for _ in range(4)])
"#;
    let (lines, server, _held) = served("--recv-size 10 --count 4", script);
    assert_eq!(lines, ["[0, 10, 10, 10]"]);
    let run = server.finish_by_itself().exits(0);
    let got: Vec<_> = run.all::<Recv>().iter().map(|recv| (recv.bytes, recv.truncated, recv.datagram_bytes)).collect();
    let cut = |whole| (10, Some(true), Some(whole));
    assert_eq!(got, [(0, Some(false), Some(0)), (10, Some(false), Some(10)), cut(11), cut(100_000)]);
    assert_eq!(run.summary().truncated, Some(2));
}

#[test]
fn a_peer_whose_queue_is_full_holds_up_nobody() {
    let script = r#"
# One that is connected to the server would get all that the server sends (unix(7)).
full, other = make("dgram"), reach("dgram", sys.argv[1])
# net.unix.max_dgram_qlen and one more; nobody reads the answers.
most = int(open("/proc/sys/net/unix/max_dgram_qlen").read()) + 5
for _ in range(most):
    full.sendto(b"x", sys.argv[1])
other.send(b"still there?")
say(other.recv(99).decode())
"#;
    let (lines, server, _held) = served("", script);
    assert_eq!(lines, ["still there?"]);
    let run = server.interrupt().exits(0);
    let errors = run.all::<Error>();
    assert!(!errors.is_empty() && errors.iter().all(|error| error.errno.as_deref() == Some("EAGAIN")), "{errors:?}");
    assert_eq!(run.summary().not_sent, Some(errors.len() as u64));
    assert_eq!(run.summary().sent.unwrap() + run.summary().not_sent.unwrap(), run.summary().received.unwrap());
}

#[test]
fn who_is_not_let_in_is_not_answered() {
    let uid = nix::unistd::getuid().as_raw();
    let script = r#"
peer = reach("dgram", sys.argv[1])
peer.send(b"x")
peer.settimeout(0.3)
try:
    say(peer.recv(9))
except TimeoutError:
    say("silent")
"#;
    let (lines, server, _held) = served(&format!("--allow-uid {}", uid + 1), script);
    assert_eq!(lines, ["silent"]);
    let run = server.interrupt().exits(0);
    assert!(run.one::<Recv>().denied);
    assert_eq!((run.summary().received, run.summary().denied, run.summary().sent), (Some(1), Some(1), Some(0)));
    let (lines, server, _held) = served(&format!("--allow-uid {uid}"), script);
    assert_eq!(lines, ["b'x'"]);
    assert!(!server.interrupt().exits(0).one::<Recv>().denied);
}

#[test]
fn a_silence_ends_the_run_where_that_was_asked_for() {
    let (_dir, path) = place();
    let run = serve(&path, "dgram", "--timeout 200ms").finish_by_itself().exits(0);
    assert!(run.one::<Timeout>().after_ns >= 200_000_000);
}

#[test]
fn a_relay_keeps_to_its_first_peer_and_keeps_the_datagrams() {
    let (_dir, path) = place();
    let mut server = Sockeye::new(format!("unix-serve {path} --relay --json -v --type dgram")).stdin_piped().start();
    server.wait_for::<Bind>();
    let script = r#"
peer = reach("dgram", sys.argv[1])
say(os.getpid(), os.getuid(), os.getgid())
peer.send(b"one")
say(peer.recv(99).decode())
peer.send(b"two")
told()
other = make("dgram")
try:
    other.sendto(b"stranger", sys.argv[1])
    say("let in")
except PermissionError:
    say("kept out")
"#;
    let mut client = Peer::python(&format!("{TYPES}{script}"), &[&path]);
    server.wait_for::<Recv>();
    server.send(b"answer");
    server.wait_for_nth::<Recv>(2);
    client.send(b"go\n");
    let lines = client.lines();
    assert_eq!(lines[1..], ["answer", "kept out"]);
    let run = server.interrupt().exits(0);
    for recv in run.all::<Recv>() {
        assert_eq!(recv.local, Some(format!("unix:{path}")), "{recv:?}");
        assert_eq!(whose(recv), lines[0]);
    }
    let got: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.payload()).collect();
    assert_eq!(got, [b"one", b"two"]);
}

#[test]
fn a_client_relays_a_read_a_datagram_and_ends_when_nothing_comes() {
    let (_dir, path) = place();
    let server = serve(&path, "dgram", "--prefix E>");
    let run =
        Sockeye::new(format!("connect unix:{path} --type dgram --idle-timeout 300ms")).stdin("hello").run().exits(0);
    assert_eq!(run.stdout(), b"E>hello");
    server.interrupt().exits(0);
}

#[test]
fn a_client_tells_whom_an_answer_came_to_and_whose_it_is() {
    let (_dir, path) = place();
    let script = r#"
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind(sys.argv[1])
say(1)
data, whose = server.recvfrom(9)
server.sendto(data, whose)
say(whose[1:].decode(), os.getpid(), os.getuid(), os.getgid())
"#;
    let server = Peer::python_server(&format!("{TYPES}{script}"), &[&path]);
    let run = Sockeye::new(format!("connect --json unix:{path} --type dgram hi")).run().exits(0);
    let recv = run.one::<Recv>();
    let local = recv.local.as_deref().and_then(|local| local.strip_prefix("unix:@"));
    assert_eq!(format!("{} {}", local.unwrap_or("-"), whose(recv)), server.lines()[0], "{}", run.dump());
}

#[test]
fn a_datagram_that_is_left_unread_resets_nobody() {
    let (_dir, path) = place();
    let script = r#"
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind(sys.argv[1])
say(1)
data, whose = server.recvfrom(9)
for text in (b"A", b"B", b"C"):
    server.sendto(text, whose)
server.recvfrom(9)
told()
"#;
    let server = Peer::python_server(&format!("{TYPES}{script}"), &[&path]);
    let run =
        Sockeye::new(format!("connect --json unix:{path} --type dgram one two --send-delay 300ms")).run().exits(0);
    let close = run.one::<Close>();
    assert_eq!((close.closed_first, close.reset_by), (None, None), "{}", run.dump());
    assert_eq!((close.clean, close.bytes_unread), (Some(false), Some(1)), "{}", run.dump());
    assert_eq!(run.one::<Warning>().name, "unread-at-close");
    server.lines();
}

#[test]
fn a_server_that_is_gone_is_no_success() {
    let (_dir, path) = place();
    let script = r#"
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind(sys.argv[1])
say(1)
data, whose = server.recvfrom(9)
server.sendto(b"bye", whose)
"#;
    let server = Peer::python_server(&format!("{TYPES}{script}"), &[&path]);
    let run =
        Sockeye::new(format!("connect --json unix:{path} --type dgram one two --send-delay 500ms")).run().exits(7);
    server.finish();
    assert_eq!(run.one::<Error>().errno.as_deref(), Some("ECONNREFUSED"));
}

#[test]
fn a_broker_gives_what_one_sends_to_all_others() {
    let script = r#"
peers = [reach("dgram", sys.argv[1]) for _ in range(3)]
for number, peer in enumerate(peers):
    peer.send(b"from %d" % number)
# Whoever came before hears of each that comes.
say([peers[0].recv(99).decode() for _ in range(2)], peers[1].recv(99).decode())
peers[1].close()
peers[0].send(b"again")
say(peers[2].recv(99).decode())
"#;
    let (lines, server, _held) = served("--broker", script);
    assert_eq!(lines, ["['from 1', 'from 2'] from 2", "again"]);
    server.wait_for_nth::<Recv>(4);
    server.wait_for::<Error>();
    let run = server.interrupt().exits(0);
    assert_eq!(run.one::<Error>().errno.as_deref(), Some("ECONNREFUSED"), "who is gone is told once and forgotten");
}

#[test]
fn a_delay_holds_up_only_the_answer() {
    let script = r#"
one, two = reach("dgram", sys.argv[1]), reach("dgram", sys.argv[1])
began = time.monotonic()
one.send(b"one")
two.send(b"two")
say(one.recv(9).decode(), two.recv(9).decode())
took = time.monotonic() - began
say(0.3 <= took < 0.6 or took)
"#;
    let (lines, server, _held) = served("--fault delay=300ms --count 2", script);
    assert_eq!(lines, ["one two", "True"]);
    let run = server.finish_by_itself().exits(0);
    assert_eq!(run.summary().sent, Some(2), "what was held back is sent before the end");
}

#[test]
fn a_server_that_hangs_lets_its_queue_fill() {
    let script = r#"
peer = make("dgram")
peer.settimeout(0.3)
count = 0
try:
    while True:
        peer.sendto(b"x", sys.argv[1])
        count += 1
except (TimeoutError, BlockingIOError):
    say(count > 0)
"#;
    let (lines, server, _held) = served("--fault hang", script);
    assert_eq!(lines, ["True"]);
    assert_eq!(server.interrupt().exits(0).summary().received, Some(0));
}

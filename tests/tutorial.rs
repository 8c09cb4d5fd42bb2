//! The socket tutorial that sockeye grew from: its four commands, word for word, with Python, nc,
//! ncat and socat at the other end. Only the port is the kernel's choice.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use crate::harness::events::{Accept, Close, Connect, Listen, Reason, Recv, Send, Step, Timeout, Warning};
use crate::harness::net::dial;
use crate::harness::{Family, Peer, Running, Sockeye, Tool};

/// `sockeye serve 8001 --when 1 'welcome to server!' --otherwise 'please go out!' --messages 1
/// --timeout 5s --recv-size 1024 --backlog 5`
fn doorman() -> Sockeye {
    Sockeye::new("serve 0 --when 1")
        .arg("welcome to server!")
        .args(["--otherwise", "please go out!"])
        .args("--messages 1 --timeout 5s --recv-size 1024 --backlog 5".split(' '))
}

/// `sockeye connect localhost 8001 1 --send-delay 2s`
fn visitor(port: u16) -> Sockeye {
    Sockeye::new(format!("connect localhost {port} 1 --send-delay 2s"))
}

/// `sockeye serve 50007 --echo --prefix 'Echo=>'`
fn echo() -> Sockeye {
    Sockeye::new("serve 0 --echo --prefix Echo=>")
}

/// `sockeye connect localhost 50007 'Hello network world' 'second line'`
fn two_lines(port: u16) -> Sockeye {
    Sockeye::new(format!("connect localhost {port}")).args(["Hello network world", "second line"])
}

/// The tutorial's own client: one message, one answer, then the server's close.
const PYTHON_VISITOR: &str = r#"
peer = dial(sys.argv[1], sys.argv[2])
peer.sendall(sys.argv[3].encode())
say(peer.recv(1024).decode())
say("then", peer.recv(1024))
"#;

/// The tutorial's own echo client.
const PYTHON_TWO_LINES: &str = r#"
peer = dial(sys.argv[1], sys.argv[2])
for line in [b"Hello network world", b"second line"]:
    peer.sendall(line)
    say(peer.recv(1024).decode())
"#;

/// Ends a server by SIGINT and checks that this was no failure.
fn stop(server: Running) -> crate::harness::Finished {
    server.interrupt().exits(0)
}

#[test]
fn the_doorman_answers_pythons_client_and_closes() {
    let server = doorman().arg("--json").start();
    let port = server.port().to_string();
    for (host, word, answer) in [
        ("127.0.0.1", "1", "welcome to server!"),
        ("127.0.0.1", "2", "please go out!"),
        ("::1", "1", "welcome to server!"),
        ("::1", "11", "please go out!"),
    ] {
        let lines = Peer::python(PYTHON_VISITOR, &[host, &port, word]).lines();
        assert_eq!(lines, [answer, "then b''"], "{word} from {host}");
    }
    let run = stop(server);
    assert_eq!(run.one::<Listen>().backlog, 5);
    assert_eq!(run.all::<Accept>().len(), 4);
    for close in run.all::<Close>() {
        assert_eq!(close.reason, Reason::Limit, "{close:?}");
    }
    let spoken: Vec<_> = run.all::<Send>().iter().map(|send| send.data.clone().unwrap()).collect();
    assert_eq!(spoken, ["welcome to server!", "please go out!", "welcome to server!", "please go out!"]);
}

#[test]
fn one_trailing_line_end_is_ignored_by_when_and_only_one() {
    let server = doorman().arg("--json").start();
    let port = server.port();
    for (word, answer) in [
        (&b"1\n"[..], "welcome to server!"),
        (b"1\r\n", "welcome to server!"),
        (b"1\n\n", "please go out!"),
        (b" 1", "please go out!"),
        (b"\n", "please go out!"),
    ] {
        let mut client = dial(Family::V4, port);
        client.write_all(word).unwrap();
        let mut got = String::new();
        client.read_to_string(&mut got).unwrap();
        assert_eq!(got, answer, "{word:?}");
    }
    stop(server);
}

#[test]
fn the_doorman_answers_nc_ncat_and_socat() {
    let server = doorman().arg("--json").start();
    let port = server.port();
    for tool in Tool::ALL {
        for (word, answer) in [("1", "welcome to server!"), ("x", "please go out!")] {
            let mut client = Peer::connect(tool, Family::V4, port);
            client.send(word.as_bytes());
            client.wait_for(answer);
            let ended = client.finish();
            assert_eq!(String::from_utf8_lossy(&ended.stdout), answer, "{tool:?}");
        }
    }
    let run = stop(server);
    assert_eq!(run.summary().connections, Some(6));
}

#[test]
fn a_client_that_stays_silent_for_5_s_gets_a_timeout_and_a_close_and_no_neighbour_does() {
    let server = doorman().arg("--json").start();
    let port = server.port();
    let silent = Peer::python(
        r#"
peer = dial("127.0.0.1", sys.argv[1])
began = time.monotonic()
say("connected")
say(peer.recv(1024), 4.9 < time.monotonic() - began < 8)
"#,
        &[&port.to_string()],
    );
    silent.wait_for("connected");
    // A neighbour talks meanwhile: its own timer runs, not the silent one's.
    let lines = Peer::python(PYTHON_VISITOR, &["127.0.0.1", &port.to_string(), "1"]).lines();
    assert_eq!(lines, ["welcome to server!", "then b''"]);
    assert_eq!(silent.lines(), ["connected", "b'' True"]);
    let run = stop(server);
    let timeout = run.one::<Timeout>();
    assert_eq!((timeout.conn, timeout.step), (Some(1), Step::Recv));
    assert!((5_000_000_000..8_000_000_000).contains(&timeout.after_ns), "{timeout:?}");
    let reasons: Vec<_> = run.all::<Close>().iter().map(|close| (close.conn, close.reason)).collect();
    assert_eq!(reasons, [(2, Reason::Limit), (1, Reason::Timeout)]);
    assert_eq!(run.summary().timeouts, Some(1));
}

#[test]
fn in_text_each_step_of_the_doorman_is_on_stderr_and_nothing_that_was_said_on_stdout() {
    let server = doorman().start();
    let port = server.port();
    let lines = Peer::python(PYTHON_VISITOR, &["127.0.0.1", &port.to_string(), "who is there?"]).lines();
    assert_eq!(lines[0], "please go out!");
    let run = stop(server);
    let (stdout, stderr) = (String::from_utf8_lossy(run.stdout()).into_owned(), run.stderr());
    for word in [port.to_string().as_str(), "127.0.0.1", "who is there?", "please go out!"] {
        assert!(stderr.contains(word), "{word} is in the steps:\n{}", run.dump());
    }
    assert!(!stdout.contains("who is there?") && !stdout.contains("please go out!"), "{}", run.dump());
}

#[test]
fn the_visitor_waits_2_s_then_sends_1_to_python() {
    let server = Peer::python_server(
        r#"
server = listen("127.0.0.1", 5)
peer, _ = server.accept()
began = time.monotonic()
data = peer.recv(1024)
say(data, 1.9 < time.monotonic() - began < 5)
peer.sendall(b"welcome to server!" if data == b"1" else b"please go out!")
say("then", peer.recv(1024))
"#,
        &[],
    );
    let run = visitor(server.port).run().exits(0);
    assert_eq!(run.stdout(), b"welcome to server!", "exactly the peer's bytes, where stdout is no terminal");
    assert_eq!(server.lines(), ["b'1' True", "then b''"]);
}

#[test]
fn the_visitor_talks_to_nc_ncat_and_socat() {
    for tool in Tool::ALL {
        let mut server = Peer::listen(tool, Family::V4);
        let client = visitor(server.port).arg("--json").start();
        server.wait_for("1");
        server.send(b"welcome to server!");
        let run = client.finish().exits(0);
        assert_eq!(run.one::<Recv>().data.as_deref(), Some("welcome to server!"), "{tool:?}");
        assert_eq!(run.one::<Send>().data.as_deref(), Some("1"), "{tool:?}");
        let waited = run.elapsed_of("send") - run.elapsed_of("connect");
        assert!(waited >= Duration::from_secs(2), "{tool:?}: only {waited:?} between connect and send");
    }
}

#[test]
fn the_echo_server_answers_pythons_client() {
    let server = echo().arg("--json").start();
    let port = server.port().to_string();
    for host in ["127.0.0.1", "::1"] {
        let lines = Peer::python(PYTHON_TWO_LINES, &[host, &port]).lines();
        assert_eq!(lines, ["Echo=>Hello network world", "Echo=>second line"], "{host}");
    }
    let run = stop(server);
    let heard: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.data.clone().unwrap()).collect();
    assert_eq!(heard[..2], ["Hello network world", "second line"]);
    for close in run.all::<Close>() {
        assert_eq!(close.reason, Reason::Eof, "{close:?}");
    }
}

#[test]
fn the_echo_server_answers_nc_ncat_and_socat() {
    let server = echo().arg("--json").start();
    let port = server.port();
    for (tool, family) in Tool::ALL.into_iter().zip([Family::V4, Family::V6, Family::V4]) {
        let mut client = Peer::connect(tool, family, port);
        client.send(b"Hello network world");
        client.wait_for("Echo=>Hello network world");
        client.send(b"second line");
        client.wait_for("Echo=>second line");
        let ended = client.finish();
        assert_eq!(String::from_utf8_lossy(&ended.stdout), "Echo=>Hello network worldEcho=>second line", "{tool:?}");
    }
    stop(server);
}

#[test]
fn two_lines_get_two_echoes_from_python() {
    let server = Peer::python_server(
        r#"
server = listen("127.0.0.1")
peer, _ = server.accept()
while data := peer.recv(1024):
    say(data)
    peer.sendall(b"Echo=>" + data)
"#,
        &[],
    );
    let run = two_lines(server.port).run().exits(0);
    assert_eq!(String::from_utf8_lossy(run.stdout()), "Echo=>Hello network worldEcho=>second line");
    assert_eq!(server.lines(), ["b'Hello network world'", "b'second line'"]);
}

#[test]
fn two_lines_get_two_echoes_from_nc_ncat_and_socat() {
    for tool in Tool::ALL {
        let mut server = Peer::listen(tool, Family::V4);
        let client = two_lines(server.port).start();
        server.wait_for("Hello network world");
        server.send(b"Echo=>Hello network world");
        server.wait_for("second line");
        server.send(b"Echo=>second line");
        let run = client.finish().exits(0);
        assert_eq!(String::from_utf8_lossy(run.stdout()), "Echo=>Hello network worldEcho=>second line", "{tool:?}");
    }
}

#[test]
fn both_ends_can_be_sockeye() {
    let server = echo().arg("--json").start();
    let run = two_lines(server.port()).arg("--json").run().exits(0);
    let answers: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.data.clone().unwrap()).collect();
    assert_eq!(answers, ["Echo=>Hello network world", "Echo=>second line"]);
    let (here, there) = (run.one::<Connect>().clone(), stop(server));
    assert_eq!((&there.one::<Accept>().peer, &there.one::<Accept>().local), (here.local.as_ref().unwrap(), &here.peer));
}

#[test]
fn what_one_recv_of_the_server_does_not_take_stays_for_the_next() {
    let server = echo().args(["--recv-size", "4", "--json"]).start();
    let mut client = dial(Family::V4, server.port());
    client.write_all(b"abcdefghij").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).unwrap();
    assert_eq!(got, "Echo=>abcdEcho=>efghEcho=>ij");
    let run = stop(server);
    let heard: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.data.clone().unwrap()).collect();
    assert_eq!(heard, ["abcd", "efgh", "ij"]);
}

#[test]
fn what_one_recv_of_the_client_does_not_take_is_the_next_answer() {
    let server = Peer::python_server(
        r#"
server = listen("127.0.0.1")
peer, _ = server.accept()
peer.recv(1024)
peer.sendall(b"abcdefgh")
say(peer.recv(1024))
try:
    say("then", peer.recv(1024))
except ConnectionResetError:
    say("then reset")
"#,
        &[],
    );
    let run = Sockeye::new(format!("connect 127.0.0.1:{} one two --recv-size 4 --json", server.port)).run().exits(0);
    let answers: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.data.clone().unwrap()).collect();
    assert_eq!(answers, ["abcd", "efgh"]);
    assert_eq!(run.one::<Close>().bytes_unread.unwrap_or(0), 0);
    assert_eq!(server.lines(), ["b'two'", "then b''"]);
}

#[test]
fn bytes_left_unread_at_close_are_said_and_warned_of() {
    let server = Peer::python_server(
        r#"
server = listen("127.0.0.1")
peer, _ = server.accept()
peer.recv(1024)
peer.sendall(b"abcdefghijkl")
try:
    say(peer.recv(1024))
except ConnectionResetError:
    say("reset")
"#,
        &[],
    );
    let run = Sockeye::new(format!("connect 127.0.0.1:{} one --recv-size 4 --json", server.port)).run().exits(0);
    assert_eq!(run.one::<Recv>().data.as_deref(), Some("abcd"));
    assert_eq!(run.one::<Close>().bytes_unread, Some(8));
    assert!(!run.one::<Warning>().message.is_empty());
    assert_eq!(server.lines(), ["reset"]);
}

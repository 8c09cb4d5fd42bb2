//! `serve --relay`: one peer, both ways, whatever stdin and stdout are; who closes first; who is
//! the peer; what the run exits with.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::harness::events::{Accept, Close, Connect, Eof, Error, Reason, Recv, Send, Step};
use crate::harness::net::{TempDir, dial, dial_from, over_both_families, random_bytes, reset, terminal};
use crate::harness::peers::A_WHILE;
use crate::harness::process::Stdin;
use crate::harness::sockeye::file_with;
use crate::harness::{Family, Finished, Peer, Running, Sockeye, Tool};

const SIZE: usize = 8 << 20;

fn relay(rest: &str) -> Sockeye {
    Sockeye::new(format!("serve 0 --relay {rest}"))
}

/// Reads to the server's end.
fn all_of(mut client: &TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    got
}

/// Returns what the events say was received.
fn heard(run: &Finished) -> Vec<u8> {
    run.all::<Recv>().iter().flat_map(|recv| recv.payload()).collect()
}

/// Fails where the two differ, without printing megabytes.
#[track_caller]
fn assert_same(got: &[u8], expected: &[u8], what: &str) {
    assert!(got == expected, "{what}: {} bytes of {}", got.len(), expected.len());
}

/// What stdin and stdout of the server are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streams {
    Pipes,
    Files,
    /// A file that is appended to, as after `>>`: splice(2) refuses it.
    Append,
    Null,
}

impl Streams {
    const ALL: [Self; 4] = [Self::Pipes, Self::Files, Self::Append, Self::Null];

    /// Starts a server with such streams, `bytes` in its stdin.
    fn serve(self, dir: &TempDir, bytes: &[u8]) -> Running {
        let file = |options: &mut std::fs::OpenOptions| options.open(dir.path().join("received")).unwrap();
        let server = match self {
            Self::Pipes => relay("").stdin(bytes),
            Self::Files | Self::Append | Self::Null => relay("").stdin_from(file_with(dir, "sent", bytes)),
        };
        let server = match self {
            Self::Pipes => server,
            Self::Files => server.stdout_to(file(File::options().write(true).create(true).truncate(true))),
            Self::Append => {
                std::fs::write(dir.path().join("received"), b"before\n").unwrap();
                server.stdout_to(file(File::options().append(true)))
            }
            Self::Null => server.stdout_to(File::options().write(true).open("/dev/null").unwrap()),
        };
        server.start()
    }

    /// Checks what has come to stdout.
    fn check(self, dir: &TempDir, run: &Finished, bytes: &[u8]) {
        let what = format!("to stdout, {self:?}");
        let file = || std::fs::read(dir.path().join("received")).unwrap();
        match self {
            Self::Pipes => assert_same(run.stdout(), bytes, &what),
            Self::Files => assert_same(&file(), bytes, &what),
            Self::Append => assert_same(&file(), &[b"before\n", bytes].concat(), &what),
            Self::Null => {}
        }
    }
}

/// Relays 8 MiB each way at once with a tool.
fn both_ways(tool: Tool, family: Family) {
    let (ours, theirs) = (random_bytes(SIZE, 1), random_bytes(SIZE, 2));
    for streams in Streams::ALL {
        let dir = TempDir::new();
        let server = streams.serve(&dir, &ours);
        let client = Peer::connect_with(tool, family, server.port(), Stdin::Bytes(theirs.clone()));
        assert_same(&client.finish().stdout, &ours, &format!("to {tool:?}, {streams:?}"));
        let run = server.finish_by_itself().exits(0);
        streams.check(&dir, &run, &theirs);
    }
}

over_both_families! {
    fn nc_gives_and_gets_8_mib_at_once(family) { both_ways(Tool::Nc, family); }
    fn socat_gives_and_gets_8_mib_at_once(family) { both_ways(Tool::Socat, family); }

    fn python_gives_and_gets_8_mib_at_once(family) {
        let (dir, ours, theirs) = (TempDir::new(), random_bytes(SIZE, 3), random_bytes(SIZE, 4));
        let paths = ["ours", "theirs"].map(|name| dir.path().join(name).display().to_string());
        std::fs::write(&paths[0], &ours).unwrap();
        std::fs::write(&paths[1], &theirs).unwrap();
        for streams in Streams::ALL {
            let dir = TempDir::new();
            let server = streams.serve(&dir, &ours);
            let client = Peer::python(
                r#"
peer = dial(sys.argv[1], sys.argv[2])
def give():
    peer.sendall(open(sys.argv[4], "rb").read())
    peer.shutdown(socket.SHUT_WR)
giver = threading.Thread(target=give)
giver.start()
got = bytearray()
while chunk := peer.recv(1 << 20):
    got += chunk
giver.join()
say(len(got), got == open(sys.argv[3], "rb").read())
"#,
                &[&family.host(), &server.port().to_string(), &paths[0], &paths[1]],
            );
            assert_eq!(client.lines(), [format!("{SIZE} True")], "{streams:?}");
            let run = server.finish_by_itself().exits(0);
            streams.check(&dir, &run, &theirs);
        }
    }

    fn in_json_the_events_hold_8_mib_each_way(family) {
        let (ours, theirs) = (random_bytes(SIZE, 5), random_bytes(SIZE, 6));
        let server = relay("--json -v").stdin(ours.clone()).start();
        let client = Peer::connect_with(Tool::Socat, family, server.port(), Stdin::Bytes(theirs.clone()));
        assert_same(&client.finish().stdout, &ours, "to socat");
        let run = server.finish_by_itself().exits(0);
        let said: Vec<u8> = run.all::<Send>().iter().flat_map(|send| send.payload()).collect();
        assert_same(&heard(&run), &theirs, "in recv events");
        assert_same(&said, &ours, "in send events");
        assert_eq!(run.one::<Close>().reason, Reason::Eof);
        assert_eq!(run.summary().connections, Some(1));
        assert!(run.all::<Connect>().is_empty() && run.all::<Accept>().len() == 1);
    }
}

// Who closes first.

over_both_families! {
    fn what_we_send_after_the_peers_end_is_delivered(family) {
        let mut server = relay("--json").stdin_piped().start();
        let mut client = dial(family, server.port());
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        server.wait_for::<Eof>();
        std::thread::sleep(A_WHILE);
        assert!(server.is_running(), "stdin is a pipe and open: it is drained to its end");
        server.send(b"late words");
        let run = server.finish().exits(0);
        assert_eq!(all_of(&client), b"late words");
        assert_eq!((heard(&run), run.one::<Close>().bytes_sent), (b"hello".to_vec(), 10));
    }

    fn what_the_peer_sends_after_our_end_is_heard(family) {
        let server = relay("").stdin("request").start();
        let mut client = dial(family, server.port());
        assert_eq!(all_of(&client), b"request");
        client.write_all(b"late words").unwrap();
        drop(client);
        assert_eq!(server.finish_by_itself().exits(0).stdout(), b"late words");
    }

    fn with_exit_the_peers_end_is_ours_though_stdin_is_open(family) {
        let server = relay("--on-peer-close exit").stdin_piped().start();
        let mut client = dial(family, server.port());
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(all_of(&client), b"");
        assert_eq!(server.finish_by_itself().exits(0).stdout(), b"hello");
    }

    fn a_terminal_on_stdin_ends_with_the_peer_unless_drained(family) {
        let ends = terminal();
        let server = relay("").stdin_from(ends.program).start();
        let mut client = dial(family, server.port());
        client.write_all(b"hello").unwrap();
        drop(client);
        assert_eq!(server.finish_by_itself().exits(0).stdout(), b"hello");
        drop(ends.user);

        let mut ends = terminal();
        let server = relay("--on-peer-close drain --json").stdin_from(ends.program).start();
        let client = dial(family, server.port());
        client.shutdown(Shutdown::Write).unwrap();
        server.wait_for::<Eof>();
        // Ctrl-D on a line of its own is the end of a terminal's input (termios(3), VEOF).
        ends.user.write_all(b"late words\n\x04").unwrap();
        server.finish_by_itself().exits(0);
        assert_eq!(all_of(&client), b"late words\n");
    }

    fn a_reset_is_exit_10_and_loses_nothing_that_came_before(family) {
        for json in ["", "--json"] {
            let server = relay(json).stdin_piped().start();
            let mut client = dial(family, server.port());
            client.write_all(b"part").unwrap();
            server.wait_for_stdout(b"part");
            reset(client);
            let run = server.finish_by_itself().exits(10);
            if json.is_empty() {
                assert_eq!(run.stdout(), b"part");
                continue;
            }
            let error = run.one::<Error>();
            assert_eq!((error.step, error.errno.as_deref()), (Step::Recv, Some("ECONNRESET")), "{}", run.dump());
            assert_eq!((run.one::<Close>().reason, run.summary().resets), (Reason::Reset, Some(1)));
        }
    }
}

// Where the bytes do not go.

#[test]
fn a_stdout_that_is_full_is_exit_6() {
    for json in ["", "--json"] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let server = relay(json).stdin_piped().stdout_to(full).start();
        if json.is_empty() {
            let mut client = dial(Family::V4, server.port());
            client.write_all(b"hello").unwrap();
            let run = server.finish_by_itself().exits(6);
            assert!(run.stderr().contains("stdout: no space left"), "{}", run.dump());
        } else {
            // Its first event fails already.
            server.finish_by_itself().exits(6);
        }
    }
}

#[test]
fn a_reader_of_stdout_that_goes_away_ends_the_run_quietly() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let server = relay("").stdin_piped().stdout_to(writer).start();
    let mut client = dial(Family::V4, server.port());
    client.write_all(b"hello").unwrap();
    reader.read_exact(&mut [0; 5]).unwrap();
    drop(reader);
    // Whether or not more comes: the next bytes, if any, find nobody.
    let _ = client.write_all(b"more");
    let run = server.finish_by_itself().exits(0);
    assert!(!run.stderr().to_lowercase().contains("broken pipe"), "quietly:\n{}", run.dump());
}

#[test]
fn a_reader_of_stdout_that_goes_away_before_anyone_comes_ends_the_run_too() {
    let (reader, writer) = std::io::pipe().unwrap();
    let server = relay("").stdin_piped().stdout_to(writer).start();
    server.port();
    drop(reader);
    server.finish_by_itself().exits(0);
}

// Who the peer is.

#[test]
fn there_is_one_peer_and_the_next_is_refused() {
    let server = relay("--json").stdin_piped().start();
    let port = server.port();
    let mut client = dial(Family::V4, port);
    client.write_all(b"first").unwrap();
    server.wait_for::<Recv>();
    for family in Family::BOTH {
        let refused = TcpStream::connect(family.at(port)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{family:?}");
    }
    client.write_all(b" and only").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let run = server.finish().exits(0);
    assert_eq!(heard(&run), b"first and only");
    assert_eq!(run.summary().connections, Some(1));
}

#[test]
fn who_is_denied_does_not_become_the_peer() {
    let server = relay("--json --deny 127.0.0.2/32").stdin("secret").start();
    let port = server.port();
    let mut denied = dial_from("127.0.0.2", port);
    assert!(!matches!(denied.read(&mut [0]), Ok(1..)), "nothing is told to who is denied");
    let close = server.wait_for::<Close>();
    assert_eq!((close.reason, close.bytes_sent), (Reason::Denied, 0));
    let client = dial(Family::V4, port);
    assert_eq!(all_of(&client), b"secret");
    drop(client);
    let run = server.finish_by_itself().exits(0);
    assert_eq!((run.all::<Accept>().len(), run.summary().denied), (2, Some(1)));
}

#[test]
fn what_contradicts_a_relay_is_a_wrong_command_line() {
    for rest in
        ["--relay --echo", "--relay --discard", "--relay --prefix x", "--relay --count 2", "--on-peer-close exit"]
    {
        Sockeye::new(format!("serve 0 {rest}")).run().exits(2);
    }
    // The one peer that it has may be said.
    let server = relay("--count 1 --json").start();
    drop(dial(Family::V4, server.port()));
    server.finish_by_itself().exits(0);
}

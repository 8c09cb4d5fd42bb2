//! Defects that were found and fixed: each test says what was wrong, and fails where it comes back.

use std::ffi::OsString;
use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use regex::Regex;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::harness::check::{self, Asked};
use crate::harness::events::{self, Accept, Close, Error, Event, Reason, Recv, Setsockopt, Step, Timeout, Warning};
use crate::harness::net::{self, TempDir, Terminal, dial, dial_from, listener, random_bytes, silent_port, terminal};
use crate::harness::{Family, Peer, Running, Sockeye, require};

/// How long nobody reads our output: longer than the time-outs that must not see it.
const SLOW: Duration = Duration::from_secs(2);

/// A server that accepts one connection and goes on as `script` says.
fn server(script: &str, args: &[&str]) -> Peer {
    Peer::python_server(&format!("server = listen('127.0.0.1')\npeer, _ = server.accept()\n{script}"), args)
}

/// Reads all that comes, and returns the data in it: all of it, or with `--json` what the `recv`
/// events carry, the run being checked as every run.
fn data_of(mut reader: PipeReader, is_json: bool, began: SystemTime) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    if !is_json {
        return bytes;
    }
    let lines: Vec<_> = std::str::from_utf8(&bytes).unwrap().lines().map(|line| check::read(line).unwrap()).collect();
    check::check_run(&lines, 0, Asked::default(), began);
    for line in &lines {
        assert!(!matches!(line.event, Event::Timeout(_)), "the peer was not silent: {line:?}");
        assert!(
            !matches!(&line.event, Event::Close(close) if close.reason != Reason::Eof),
            "nobody ended it: {line:?}"
        );
    }
    let payload = |event: &Event| if let Event::Recv(recv) = event { recv.payload() } else { Vec::new() };
    lines.iter().flat_map(|line| payload(&line.event)).collect()
}

/// Returns what a terminal was shown, once no program holds its other end.
pub(crate) fn shown_on(ends: Terminal) -> String {
    let Terminal { mut user, program } = ends;
    drop(program);
    let mut shown = Vec::new();
    // With the last holder of the other end gone, reading fails (EIO) once all is read.
    let _ = user.read_to_end(&mut shown);
    String::from_utf8(shown).unwrap()
}

/// Gives a run a terminal as its stderr.
pub(crate) fn with_stderr_on(run: Sockeye, ends: &Terminal) -> Sockeye {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", ends.program.as_raw_fd())).unwrap();
    run.under(["sh", "-c", &format!("exec \"$@\" 2>{}", path.display()), "sh"])
}

// Outputs that nobody reads.

#[test]
fn a_server_whose_stdout_nobody_reads_ends_by_a_second_signal() {
    // It waited for the writer of stdout where no signal reached it, and could only be killed;
    // SIGQUIT, whose totals had to be written at once, did the same to a server that still ran.
    for signals in [[Signal::SIGINT, Signal::SIGQUIT], [Signal::SIGQUIT, Signal::SIGINT]] {
        let (_reader, writer) = std::io::pipe().unwrap();
        let server = Sockeye::new("serve 127.0.0.1:0 --discard --json").stdout_to(writer).start();
        let port = net::wait_for_listener(server.pid(), || server.is_running());
        let mut client = dial(Family::V4, port);
        client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        // The events of what it received fill the pipe, then its buffer, then it receives no more.
        while client.write(&[b'x'; 65_536]).is_ok() {}
        for signal in signals {
            server.signal(signal);
        }
        // It closes what is open; what it has to say of that nobody hears.
        assert!(!matches!(client.read(&mut [0]), Ok(1..)));
        thread::sleep(SLOW);
        if !server.is_running() {
            panic!("it does not wait for whoever should read its summary:\n{}", server.finish_by_itself().dump());
        }
        server.signal(Signal::SIGINT);
        let run = server.finish_by_itself().exits(130);
        assert!(run.elapsed() < Duration::from_secs(30), "{:?}", run.elapsed());
        assert_eq!(run.stderr(), "");
    }
}

/// Lets a peer send 8 MiB at once, and reads the output of a client only after a while.
fn read_slowly(rest: &str, wait_for_word: bool) {
    let (dir, bytes) = (TempDir::new(), random_bytes(8 << 20, 1));
    let path = dir.path().join("answer");
    std::fs::write(&path, &bytes).unwrap();
    for is_json in [false, true] {
        let word = if wait_for_word { "peer.recv(100)\n" } else { "" };
        let script = format!("{word}peer.sendall(open(sys.argv[1], 'rb').read())\npeer.close()");
        let peer = server(&script, &[path.to_str().unwrap()]);
        let (reader, writer) = std::io::pipe().unwrap();
        let began = SystemTime::now();
        let json = if is_json { "--json" } else { "" };
        let client = Sockeye::new(format!("connect 127.0.0.1 {} {rest} {json}", peer.port)).stdout_to(writer).start();
        thread::sleep(SLOW);
        assert!(client.is_running(), "it waits for whoever should read its output");
        let data = data_of(reader, is_json, began);
        let run = client.finish_by_itself().exits(0);
        assert!(data == bytes, "{} bytes of {}{json}", data.len(), bytes.len());
        assert!(!run.stderr().contains("timeout"), "{}", run.dump());
        peer.lines();
    }
}

#[test]
fn a_slow_reader_of_an_answer_is_not_the_silence_of_the_peer() {
    // The wait for our own stdout counted as a wait for the peer: exit 8, and bytes were lost.
    read_slowly("x --until-eof --timeout 1s", true);
}

#[test]
fn a_slow_reader_of_a_relay_is_not_the_silence_of_the_peer() {
    // As above: while stdout was full no byte came, and --idle-timeout ended the relay.
    read_slowly("--idle-timeout 1s", false);
}

#[test]
fn a_stuck_stdout_does_not_stop_what_a_relay_sends() {
    // One task did both ways: while stdout was full, stdin was not read, and two such relays that
    // faced one another never ended.
    const SIZE: usize = 20_000_000;
    let (dir, bytes) = (TempDir::new(), random_bytes(SIZE, 2));
    let path = dir.path().join("both");
    std::fs::write(&path, &bytes).unwrap();
    for is_json in [false, true] {
        let peer = server(
            r#"
both = open(sys.argv[1], "rb").read()
def give():
    peer.sendall(both)
    peer.shutdown(socket.SHUT_WR)
giver = threading.Thread(target=give)
giver.start()
got = bytearray()
while chunk := peer.recv(1 << 20):
    got += chunk
say("got", len(got), got == both)
giver.join()
"#,
            &[path.to_str().unwrap()],
        );
        let (reader, writer) = std::io::pipe().unwrap();
        let began = SystemTime::now();
        let json = if is_json { "--json" } else { "" };
        let client = Sockeye::new(format!("connect 127.0.0.1 {} {json}", peer.port))
            .stdin(bytes.clone())
            .stdout_to(writer)
            .start();
        peer.wait_for(&format!("got {SIZE} True"));
        let data = data_of(reader, is_json, began);
        client.finish_by_itself().exits(0);
        assert!(data == bytes, "{} bytes of {SIZE}{json}", data.len());
        peer.lines();
    }
}

#[test]
fn two_terminals_are_two() {
    // That both were terminals was taken for both being one: the steps went where the data goes.
    let peer = server("peer.recv(100)\npeer.sendall(b'answer')\npeer.close()", &[]);
    let (out, err) = (terminal(), terminal());
    let run = Sockeye::new(format!("connect 127.0.0.1 {} hello --color never", peer.port));
    let run = with_stderr_on(run, &err).stdout_to(out.program.try_clone().unwrap());
    run.run().exits(0);
    let (out, err) = (shown_on(out), shown_on(err));
    assert_eq!(out.trim_end(), "answer", "stderr had {err:?}");
    for step in ["socket AF_INET", "connect 127.0.0.1", "send 5 bytes", "recv 6 bytes", "close"] {
        assert!(err.contains(step), "{step} in {err:?}");
    }
}

#[test]
fn a_fifo_for_events_that_nobody_reads_is_an_error_at_once() {
    // open(2) waited for a reader, before any signal or deadline was watched.
    let dir = TempDir::new();
    let path = dir.path().join("fifo");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    let (_listener, port) = listener(Family::V4);
    for line in ["serve 127.0.0.1:0".to_owned(), format!("connect 127.0.0.1 {port} --probe")] {
        let run = Sockeye::new(format!("{line} --json --events")).arg(&path).patience(Duration::from_secs(20)).run();
        let run = run.exits(6);
        let error = run.one::<Error>();
        assert_eq!((error.step, error.errno.as_deref()), (Step::Open, Some("ENXIO")), "{}", run.dump());
        assert!(error.message.contains(path.to_str().unwrap()), "{error:?}");
    }
}

// What is looked for in an answer.

#[test]
fn a_peer_that_never_stops_sending_does_not_outlast_the_timeout() {
    // Each recv began the wait anew, and a socket that is always readable is before any timer.
    let endless =
        "peer.recv(100)\ntry:\n    while True:\n        peer.sendall(b'x' * 65536)\nexcept OSError:\n    pass";
    let peer = server(endless, &[]);
    let run = Sockeye::new(format!("connect 127.0.0.1 {} x --expect NOPE --timeout 1s", peer.port))
        .stdout_to(File::options().write(true).open("/dev/null").unwrap())
        .run()
        .exits(1);
    assert!(run.elapsed() < Duration::from_secs(8), "{:?}", run.elapsed());
    peer.lines();

    // A slow one, of which each single silence is short.
    let drip = "peer.recv(100)\ntry:\n    while True:\n        peer.sendall(b'x')\n        time.sleep(0.05)\nexcept OSError:\n    pass";
    let peer = server(drip, &[]);
    let run =
        Sockeye::new(format!("connect 127.0.0.1 {} x --expect NOPE --timeout 1s --json", peer.port)).run().exits(1);
    assert!(run.elapsed_of("summary") < Duration::from_secs(8), "{:?}", run.elapsed_of("summary"));
    assert!(run.all::<Recv>().len() > 1, "{}", run.dump());
    assert!(run.all::<Warning>().iter().any(|warning| warning.name == "expect-unmet"), "{}", run.dump());
    assert_eq!((run.all::<Timeout>().len(), run.one::<Close>().reason), (1, Reason::Timeout), "{}", run.dump());
    peer.lines();
}

#[test]
fn what_is_expected_is_looked_for_in_linear_time() {
    // All that had come was searched again with each recv: minutes for what takes a moment. Not
    // the time is bounded, which depends on the neighbours, but the processor's.
    require(&["prlimit"]);
    for words in ["NOPE$ --recv-size 1k", "[A-Z]+[0-9] --recv-size 256"] {
        let peer = server("peer.recv(100)\npeer.sendall(b'NOP.' * 500_000)\npeer.close()", &[]);
        Sockeye::new(format!("connect 127.0.0.1 {} x -q --expect {words}", peer.port))
            .under(["prlimit", "--cpu=5", "--core=0"])
            .run()
            .exits(1);
        peer.lines();
    }
}

#[test]
fn the_begin_of_a_stream_comes_once() {
    // What was kept of the stream was searched as if it were its begin, so that ^ matched anywhere.
    for json in ["", "--json"] {
        let peer = server("peer.sendall(b'x')\npeer.sendall(b'foo' * 400_000)\npeer.close()", &[]);
        let run = Sockeye::new(format!("connect 127.0.0.1 {} --expect ^foo {json}", peer.port)).run().exits(1);
        if json.is_empty() {
            assert_eq!(run.stdout().len(), 1_200_001);
        }
        peer.lines();
    }
}

// Who is let in, and how many.

/// Returns whether the server answers a client from this address of loopback.
fn is_let_in(mut client: TcpStream) -> bool {
    let mut answer = [0; 5];
    client.write_all(b"hello").is_ok() && client.read_exact(&mut answer).is_ok() && answer == *b"hello"
}

#[test]
fn a_mapped_network_is_the_ipv4_network_that_it_is() {
    // Peers that come mapped are IPv4, and no IPv4 address is in an IPv6 network: --deny let all in.
    let server = Sockeye::new("serve 0 --json --deny ::ffff:127.0.0.1").start();
    let port = server.port();
    assert!(!is_let_in(dial(Family::V4, port)));
    assert!(is_let_in(dial_from("127.0.0.2", port)));
    assert!(is_let_in(dial(Family::V6, port)));
    let run = server.interrupt().exits(0);
    assert_eq!(run.summary().denied, Some(1));

    let server = Sockeye::new("serve 0 --json --allow ::ffff:127.0.0.0/104").start();
    let port = server.port();
    assert!(is_let_in(dial(Family::V4, port)));
    assert!(is_let_in(dial_from("127.0.0.2", port)));
    assert!(!is_let_in(dial(Family::V6, port)));
    let run = server.interrupt().exits(0);
    assert_eq!(run.summary().denied, Some(1));
}

#[test]
fn who_is_denied_does_not_use_the_count_up() {
    // A peer that was turned away counted, and the server ended before it had served anyone.
    let server = Sockeye::new("serve 0 --json --count 1 --deny 127.0.0.2/32").start();
    let port = server.port();
    assert!(!is_let_in(dial_from("127.0.0.2", port)));
    assert_eq!(server.wait_for::<Close>().reason, Reason::Denied);
    assert!(is_let_in(dial(Family::V4, port)));
    let run = server.finish().exits(0);
    assert_eq!((run.all::<Accept>().len(), run.summary().denied), (2, Some(1)));
}

#[test]
fn clients_that_have_left_are_not_held() {
    // Sessions that had ended were counted until the next accept: a warning of too many, and a wait.
    for most in [2, 5] {
        let server = Sockeye::new(format!("serve 0 --json --max-connections {most}")).start();
        let port = server.port();
        for number in 1..=8 {
            let mut client = dial(Family::V4, port);
            client.write_all(b"hello").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, b"hello");
            server.wait_for_nth::<Close>(number);
        }
        let run = server.interrupt().exits(0);
        assert!(run.all::<Warning>().is_empty(), "{}", run.dump());
        assert_eq!(run.summary().connections, Some(8));
    }
}

// Words on the command line.

#[test]
fn a_duration_beyond_all_bounds_is_a_wrong_command_line() {
    // A time that no clock can hold: a panic, where it was added to now.
    for line in [
        "connect 127.0.0.1:9 x --timeout 1e19",
        "connect 127.0.0.1:9 x --connect-timeout 18446744073709551615s",
        "connect 127.0.0.1:9 --idle-timeout 1e19",
        "connect 127.0.0.1:9 x --send-delay 1e19",
        "connect 127.0.0.1:9 x --deadline 18446744073709551615s",
        "serve 0 --timeout 1e19",
        "serve 0 --deadline 18446744073709551615s",
    ] {
        for json in ["", "--json"] {
            let run = Sockeye::new(format!("{line} {json}")).run().exits(2);
            assert_eq!(run.stdout(), b"", "{line}");
        }
    }
}

/// Asks a server a word and returns the answer, of `length` bytes.
fn ask(server: &Running, word: &[u8], length: usize) -> Vec<u8> {
    let mut client = dial(Family::V4, server.port());
    client.write_all(word).unwrap();
    let mut answer = vec![0; length];
    client.read_exact(&mut answer).unwrap();
    answer
}

#[test]
fn texts_may_begin_with_a_hyphen() {
    // They were taken for options: exit 2.
    let server = Sockeye::new("serve 0 --json --when -1 reply --when-regex -[0-9]+ number --otherwise -ERR").start();
    assert_eq!(ask(&server, b"-1", 5), b"reply");
    assert_eq!(ask(&server, b"-23", 6), b"number");
    assert_eq!(ask(&server, b"what?", 4), b"-ERR");
    server.interrupt().exits(0);
    let server = Sockeye::new("serve 0 --json --prefix").arg("-> ").start();
    assert_eq!(ask(&server, b"hello", 8), b"-> hello");
    server.interrupt().exits(0);
}

/// Checks that a word which is wrong is told in colour and without its control bytes.
fn assert_told_harmlessly(line: &str, word: &[u8]) {
    let color = Regex::new("\x1b\\[[0-9;]*m").unwrap();
    let ends = terminal();
    let run = Sockeye::new(line).arg(OsString::from_vec(word.to_vec())).env("TERM", "xterm");
    let run = with_stderr_on(run, &ends).run().exits(2);
    assert_eq!(run.stdout(), b"");
    let shown = shown_on(ends);
    assert!(color.is_match(&shown), "it has colour: {shown:?}");
    let rest = color.replace_all(&shown, "");
    assert!(!rest.contains(|c: char| c.is_control() && !"\r\n\t".contains(c)), "{line}: {rest:?}");
}

#[test]
fn what_is_wrong_with_a_word_is_told_without_its_control_bytes() {
    // The message quotes the word, and a terminal obeyed what was in it.
    assert_told_harmlessly("connect", b"127.0.0.1:\x1b[2J80");
    assert_told_harmlessly("connect", b"127.0.0.1:\xc2\x9b2J80");
    assert_told_harmlessly("serve 1 --allow", b"\x1b]0;x\x07");
    assert_told_harmlessly("serve 1", b"--\x1b]0;x\x07");
    assert_told_harmlessly("", b"\x1b[2J");
}

#[test]
fn what_is_wrong_with_a_word_that_is_no_utf_8_is_told_without_its_control_bytes() {
    // As above; such a word was left as it was.
    assert_told_harmlessly("connect", b"127.0.0.1:\x1b[2J\xff80");
    assert_told_harmlessly("serve 1 --allow", b"\x1b]0;x\x07\xff");
    assert_told_harmlessly("serve 1", b"--\x1b[2J\xff");
}

#[test]
fn a_line_end_in_a_word_that_is_wrong_ends_no_line_of_what_is_told() {
    // What follows it would stand there as if it were ours.
    for (line, word) in [
        ("connect", "127.0.0.1:8\nerror: 0"),
        ("connect", "a\tb\nc"),
        ("connect h 1", "--ti\nmeout"),
        ("serve 1 --allow", "10.0.0.0\n/8"),
        ("unix-serve @x --allow-uid", "no\nbody"),
        ("connect h 1 --hex", "4\n"),
    ] {
        let run = Sockeye::new(line).arg(word).run().exits(2);
        let told = run.stderr();
        let first = told.lines().next().unwrap();
        assert!(first.contains(&word.escape_default().to_string()), "{line}: {told}");
        assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{line}: {told:?}");
    }
    // What is right is not blamed for what another word has wrong.
    let run = Sockeye::new("connect unix:/x --tls --hex").arg("41\n42").run().exits(2);
    assert!(run.stderr().starts_with("error: --tls needs --sni"), "{}", run.stderr());
    let run = Sockeye::new("connect h 1").arg("--expect=(?x)#\n\u{1b}[31m)").run().exits(2);
    assert!(run.stderr().starts_with("error: invalid value '(?x)#\\n\\u{1b}[31m)' for '--expect"), "{}", run.stderr());
}

// Steps that fail.

/// A unix listener that takes one connection more, and that is in its queue already.
fn full_queue(dir: &TempDir) -> (UnixListener, UnixStream, String) {
    let path = dir.path().join("socket");
    let (listener, waiting) = (Socket::new(Domain::UNIX, Type::STREAM, None).unwrap(), UnixStream::connect);
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let waiting = waiting(&path).unwrap();
    (UnixListener::from(listener), waiting, path.display().to_string())
}

#[test]
fn a_unix_connect_waits_for_room_in_the_accept_queue() {
    // EAGAIN, which a unix socket gives at once where TCP would wait, was taken for a failure.
    let dir = TempDir::new();
    let (listener, waiting, path) = full_queue(&dir);
    let client = Sockeye::new(format!("connect unix:{path} hello --json")).start();
    client.wait_for_one::<Warning>("a full queue", |warning| warning.name == "queue-full");
    thread::sleep(Duration::from_millis(500));
    assert!(client.is_running(), "it waits");
    drop(waiting);
    let answering = thread::spawn(move || {
        drop(listener.accept().unwrap());
        let (mut peer, _) = listener.accept().unwrap();
        let mut word = [0; 5];
        peer.read_exact(&mut word).unwrap();
        peer.write_all(b"got ").unwrap();
        peer.write_all(&word).unwrap();
        peer
    });
    let run = client.finish().exits(0);
    answering.join().unwrap();
    assert!(run.one::<events::Connect>().duration_ns >= 500_000_000, "{}", run.dump());
    assert!(run.one::<Recv>().payload().starts_with(b"got"), "{}", run.dump());
}

#[test]
fn a_unix_connect_does_not_wait_for_room_for_ever() {
    let dir = TempDir::new();
    let (_listener, _waiting, path) = full_queue(&dir);
    let run = Sockeye::new(format!("connect unix:{path} hello --connect-timeout 500ms --json")).run().exits(8);
    let timeout = run.one::<Timeout>();
    assert_eq!((timeout.step, timeout.conn), (Step::Connect, None));
    assert!((400_000_000..5_000_000_000).contains(&timeout.after_ns), "{timeout:?}");
    assert_eq!(run.one::<Error>().peer, Some(format!("unix:{path}")));
}

#[test]
fn a_reset_ends_the_delay_before_a_message() {
    // The peer was not looked at before the message was sent.
    let mut peer = server("told()\nreset(peer)", &[]);
    let client = Sockeye::new(format!("connect 127.0.0.1 {} hello --send-delay 5s --json", peer.port)).start();
    client.wait_for::<events::Connect>();
    peer.send(b"go\n");
    let run = client.finish().exits(10);
    assert_eq!(run.one::<Error>().errno.as_deref(), Some("ECONNRESET"), "{}", run.dump());
    assert_eq!(run.one::<Close>().reason, Reason::Reset);
    assert!(run.elapsed_of("summary") < Duration::from_secs(2), "{:?}", run.elapsed_of("summary"));

    // So early that it may come before we have looked at the connect.
    let peer = server("reset(peer)", &[]);
    let run = Sockeye::new(format!("connect 127.0.0.1 {} hello --send-delay 5s --json", peer.port)).run().exits(10);
    assert_eq!(run.one::<Error>().errno.as_deref(), Some("ECONNRESET"), "{}", run.dump());
    assert!(run.elapsed_of("summary") < Duration::from_secs(2), "{:?}", run.elapsed_of("summary"));
    peer.lines();
}

#[test]
fn each_setsockopt_is_an_event_for_an_ordinary_user_too() {
    // SO_RCVBUFFORCE was tried in silence, before the SO_RCVBUF that was told.
    require(&["strace"]);
    let dir = TempDir::new();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let (_listener, port) = listener(Family::V4);
    for line in ["serve 127.0.0.1:0 --deadline 100ms".to_owned(), format!("connect 127.0.0.1 {port} --probe")] {
        let log = dir.path().join(line.split(' ').next().unwrap());
        let strace = format!("strace -f -e trace=setsockopt -o {}", log.display());
        let run = Sockeye::new(format!("{line} -v --recv-buffer 64M --json"))
            .under(strace.split(' '))
            .by_nobody()
            .run()
            .exits(0);
        let log = std::fs::read_to_string(log).unwrap();
        let calls: Vec<&str> = log.lines().filter(|line| line.contains("setsockopt(")).collect();
        let told = run.all::<Setsockopt>();
        assert_eq!(calls.len(), told.len(), "{}\n{}", calls.join("\n"), run.dump());
        for (call, event) in calls.iter().zip(told) {
            assert!(call.contains(&format!(" {},", event.option)), "{event:?} is {call}");
        }
        assert!(log.contains("SO_RCVBUF"), "{log}");
    }
}

#[test]
fn a_deadline_that_ends_a_connect_says_so() {
    // The run ended with exit 8 and no word why.
    let silent = silent_port(Family::V4);
    for rest in ["--probe", "hello"] {
        let line = format!("connect 127.0.0.1 {} {rest} --timeout 20s --deadline 500ms --json", silent.port);
        let run = Sockeye::new(line).run().exits(8);
        assert!(run.all::<Warning>().iter().any(|warning| warning.name == "stopped"), "{}", run.dump());
        assert!(run.elapsed_of("summary") < Duration::from_secs(5), "{:?}", run.elapsed_of("summary"));
    }
}

#[test]
fn the_hint_about_an_abstract_name_speaks_of_no_file() {
    // It was the hint of a path: the file is there, but nobody listens on it.
    let name = format!("nope-{}", std::process::id());
    assert!(UnixStream::connect_addr(&SocketAddr::from_abstract_name(&name).unwrap()).is_err());
    let run = Sockeye::new(format!("connect unix:@{name} x --json")).run().exits(7);
    let error = run.one::<Error>();
    assert_eq!((error.step, error.errno.as_deref()), (Step::Connect, Some("ECONNREFUSED")));
    let hint = error.hint.clone().unwrap_or_default().to_lowercase();
    assert!(!hint.contains("file") && !hint.contains("path"), "{error:?}");
}

#[test]
fn a_group_without_a_route_is_unreachable_and_the_hint_says_what_makes_one() {
    // Nothing was sent, and the exit was that of a part of it.
    let prefix = net::Net::isolated().prefix();
    let run = Sockeye::new("udp-send 239.1.1.1:9 hello --json").under(prefix).run().exits(9);
    let hint = run.one::<Error>().hint.clone().unwrap();
    assert!(hint.contains("--multicast-interface"), "{hint}");
}

#[test]
fn icmp_errors_that_the_kernel_has_no_room_to_tell_of_end_no_listener() {
    // With a full receive buffer the error queue takes nothing: only the errno is left.
    let net = net::Net::isolated();
    let listener =
        Sockeye::new("udp-listen 127.0.0.1:9000 --echo --recv-buffer 8KiB --json").under(net.prefix()).start();
    listener.wait_for::<events::Bind>();
    let pid = net::children_of(listener.pid()).first().copied().unwrap_or(listener.pid());
    listener.signal(Signal::SIGSTOP);
    let script = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                  for n in range(3000): s.sendto(b'x', ('127.0.0.1', 9000))";
    let target = pid.to_string();
    let words = ["-t", &target, "-U", "-n", "--preserve-credentials", "python3", "-c", script];
    let ended = Peer::program("nsenter", &words, crate::harness::process::Stdin::Null, None).finish();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    listener.signal(Signal::SIGCONT);
    let held = || net::udp_queue_of(pid, 9000).map(|(held, _)| held);
    while held().expect("it goes on") > 0 {
        thread::sleep(Duration::from_millis(5));
    }
    let run = listener.interrupt().exits(0);
    assert!(run.all::<Warning>().iter().any(|warning| warning.name == "icmp-errors-lost"), "{}", run.dump());
    assert_eq!((run.summary().sent, run.summary().errors), (run.summary().received, Some(0)));
}

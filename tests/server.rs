//! What `serve` does with many clients, bad clients and too many clients; who is let in; its limits.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

use crate::harness::check::{self, Asked};
use crate::harness::events::{Accept, Bind, Close, Error, Event, Listen, Reason, Recv, Step};
use crate::harness::net::{self, dial, over_both_families, raise_descriptor_limit, reset};
use crate::harness::{Family, Peer, Running, Sockeye, require};

fn serve(rest: &str) -> Running {
    Sockeye::new(format!("serve 0 --json {rest}")).start()
}

/// Reads until the server closes.
fn all_of(mut client: TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    got
}

/// Sends a word and reads an answer of `length` bytes.
fn ask(client: &mut TcpStream, word: &[u8], length: usize) -> Vec<u8> {
    client.write_all(word).unwrap();
    let mut answer = vec![0; length];
    client.read_exact(&mut answer).unwrap();
    answer
}

/// Connects from another address of loopback.
fn dial_from(source: &str, port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&format!("{source}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&Family::V4.at(port).into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.into()
}

/// Returns whether the server closed without a word: cleanly, or by a reset.
fn is_turned_away(mut client: TcpStream) -> bool {
    match client.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

// Where it listens.

#[test]
fn port_0_is_any_free_port_and_the_wildcard_is_dual_stack() {
    let server = serve("");
    let port = server.port();
    assert_ne!(port, 0);
    for family in Family::BOTH {
        assert_eq!(ask(&mut dial(family, port), b"hello", 5), b"hello");
    }
    let run = server.interrupt().exits(0);
    assert_eq!(run.one::<Bind>().local, format!("[::]:{port}"));
    let peers: Vec<_> = run.all::<Accept>().iter().map(|accept| accept.peer.clone()).collect();
    assert!(peers[0].starts_with("127.0.0.1:"), "a mapped address is shown as the IPv4 address that it is: {peers:?}");
    assert!(peers[1].starts_with("[::1]:"), "{peers:?}");
}

#[test]
fn one_family_alone_is_not_reached_over_the_other() {
    for (option, family, other) in [("-4", Family::V4, Family::V6), ("-6", Family::V6, Family::V4)] {
        let server = serve(option);
        let port = server.port();
        ask(&mut dial(family, port), b"hello", 5);
        assert!(TcpStream::connect(other.at(port)).is_err(), "{option}");
        server.interrupt().exits(0);
    }
}

#[test]
fn the_backlog_is_as_asked_and_the_limit_as_the_kernel_says() {
    let most: u32 = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    for (backlog, effective) in [(7, 7), (2_000_000, most)] {
        let server = serve(&format!("--backlog {backlog}"));
        let listen = server.wait_for::<Listen>();
        assert_eq!((listen.backlog, listen.effective_backlog), (backlog, effective));
        server.interrupt().exits(0);
    }
    let server = serve("");
    assert_eq!(server.wait_for::<Listen>().effective_backlog, most, "unless told, as much as the machine gives");
    server.interrupt().exits(0);
}

// What it answers.

over_both_families! {
    fn the_default_is_an_echo(family) {
        let server = serve("");
        let mut client = dial(family, server.port());
        assert_eq!(ask(&mut client, b"one", 3), b"one");
        assert_eq!(ask(&mut client, b"two", 3), b"two");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(all_of(client), b"");
        let run = server.interrupt().exits(0);
        assert_eq!(run.one::<Close>().reason, Reason::Eof);
        assert_eq!(run.all::<Accept>()[0].local.rsplit_once(':').unwrap().0, family.at(0).to_string().rsplit_once(':').unwrap().0);
    }

    fn discard_reads_everything_and_answers_nothing(family) {
        let server = serve("--discard");
        let mut client = dial(family, server.port());
        client.write_all(&vec![7; 1 << 20]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(all_of(client), b"");
        server.wait_for::<Close>();
        let run = server.interrupt().exits(0);
        assert_eq!((run.one::<Close>().bytes_received, run.one::<Close>().bytes_sent), (1 << 20, 0));
    }
}

#[test]
fn rules_are_tried_in_turn_and_what_none_matches_gets_otherwise() {
    let server =
        Sockeye::new("serve 0 --json --when ping pong --when-regex ^[0-9]+$ number --when 7 seven --otherwise what?")
            .start();
    let mut client = dial(Family::V4, server.port());
    assert_eq!(ask(&mut client, b"ping\n", 4), b"pong");
    assert_eq!(ask(&mut client, b"12345", 6), b"number");
    assert_eq!(ask(&mut client, b"pingping", 5), b"what?");
    server.interrupt().exits(0);
}

#[test]
fn a_rule_that_ends_with_a_line_end_is_met_by_just_that() {
    // The line end was taken from what came, and never from what it was compared to.
    for (encoding, text) in [("--escape", r"ping\n"), ("--hex", "70696e67 0a")] {
        let reply = if encoding == "--hex" { "706f6e67" } else { "pong" };
        let server = Sockeye::new(format!("serve 0 --json {encoding} --when")).args([text, reply]).start();
        let mut client = dial(Family::V4, server.port());
        for word in [&b"ping\n"[..], b"ping\n\n", b"ping\n\r\n"] {
            assert_eq!(ask(&mut client, word, 4), b"pong", "{word:?}");
        }
        server.interrupt().exits(0);
    }
}

#[test]
fn what_no_rule_matches_gets_no_answer_where_there_is_no_otherwise() {
    let server = serve("--when ping pong");
    let mut client = dial(Family::V4, server.port());
    client.write_all(b"pang").unwrap();
    server.wait_for::<Recv>();
    assert_eq!(ask(&mut client, b"ping", 4), b"pong");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(all_of(client), b"");
    server.interrupt().exits(0);
}

#[test]
fn a_regex_sees_bytes_that_are_no_utf_8() {
    let server = Sockeye::new("serve 0 --json --when-regex").arg(r"(?-u)^\xff").arg("binary").start();
    let mut client = dial(Family::V4, server.port());
    assert_eq!(ask(&mut client, b"\xff\xfe", 6), b"binary");
    server.interrupt().exits(0);
}

#[test]
fn curl_takes_a_reply_for_that_of_a_web_server() {
    require(&["curl"]);
    let server = Sockeye::new("serve 0 --json --messages 1 --when-regex")
        .arg(r"^GET /\S* HTTP/1[.]1\r\n")
        .arg("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        .args(["--otherwise", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"])
        .start();
    let url = format!("http://127.0.0.1:{}/page", server.port());
    for (words, answer) in
        [(vec!["-sS", &url], "hello"), (vec!["-sS", "-X", "POST", "-w", "%{http_code}", &url], "400")]
    {
        let got =
            net::output_of(Command::new("curl").args(["--max-time", "10", "--noproxy", "*"]).args(words)).unwrap();
        assert_eq!(got, answer);
    }
    server.interrupt().exits(0);
}

// Its limits.

#[test]
fn messages_counts_answers_and_0_closes_at_accept() {
    let server = serve("--messages 0");
    assert!(is_turned_away(dial(Family::V4, server.port())));
    server.wait_for::<Close>();
    let run = server.interrupt().exits(0);
    assert_eq!(run.one::<Close>().reason, Reason::Limit);
    assert!(run.all::<Recv>().is_empty());

    let server = serve("--messages 2");
    let mut client = dial(Family::V4, server.port());
    assert_eq!(ask(&mut client, b"one", 3), b"one");
    assert_eq!(ask(&mut client, b"two", 3), b"two");
    assert_eq!(all_of(client), b"");
    let run = server.interrupt().exits(0);
    assert_eq!(run.one::<Close>().reason, Reason::Limit);
}

#[test]
fn count_ends_the_server_when_that_many_have_been_served() {
    let server = serve("--count 2");
    let port = server.port();
    let mut first = dial(Family::V4, port);
    ask(&mut first, b"one", 3);
    let mut second = dial(Family::V4, port);
    ask(&mut second, b"two", 3);
    drop(second);
    server.wait_for::<Close>();
    assert_eq!(ask(&mut first, b"still here", 10), b"still here", "the last ones are served to their end");
    drop(first);
    let run = server.finish().exits(0);
    assert_eq!(run.summary().connections, Some(2));
}

#[test]
fn no_more_than_max_connections_are_served_at_once() {
    let server = serve("--max-connections 2");
    let port = server.port();
    let mut clients: Vec<_> = (0..2).map(|_| dial(Family::V4, port)).collect();
    for client in &mut clients {
        ask(client, b"in", 2);
    }
    // A third is either turned away, and told so, or waits for its turn.
    let mut third = dial(Family::V4, port);
    third.write_all(b"me too").unwrap();
    third.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut answer = [0; 6];
    let early = third.read(&mut answer);
    assert!(!matches!(early, Ok(1..)), "a third was served while two were");
    drop(clients.pop());
    server.wait_for::<Close>();
    let mut next = dial(Family::V4, port);
    if early.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)) {
        third.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        third.read_exact(&mut answer).unwrap();
        drop(third);
    }
    assert_eq!(ask(&mut next, b"next", 4), b"next", "a place that became free is given away");
    drop((next, clients));
    let run = server.interrupt().exits(0);
    let mut open = 0;
    for line in &run.lines {
        match &line.event {
            Event::Recv(_) => assert!(open <= 2, "{open} are served at once"),
            Event::Accept(_) => open += 1,
            Event::Close(_) => open -= 1,
            _ => {}
        }
    }
}

#[test]
fn a_timer_belongs_to_one_connection() {
    let server = serve("--timeout 1s");
    let port = server.port();
    let silent = dial(Family::V4, port);
    server.wait_for::<Accept>();
    let mut lively = dial(Family::V4, port);
    // The lively one says something four times within each second, past the silent one's end.
    for _ in 0..6 {
        thread::sleep(Duration::from_millis(250));
        assert_eq!(ask(&mut lively, b"hello", 5), b"hello");
    }
    assert_eq!(all_of(silent), b"");
    let run = server.interrupt().exits(0);
    let ends: Vec<_> = run.all::<Close>().iter().map(|close| (close.conn, close.reason)).collect();
    assert_eq!(ends, [(1, Reason::Timeout), (2, Reason::Signal)]);
}

// Who is let in.

#[test]
fn allow_lets_only_those_in() {
    let server = serve("--allow 127.0.0.2/32 --allow ::1/128");
    let port = server.port();
    assert!(is_turned_away(dial(Family::V4, port)));
    assert_eq!(ask(&mut dial_from("127.0.0.2", port), b"hello", 5), b"hello");
    assert_eq!(ask(&mut dial(Family::V6, port), b"hello", 5), b"hello");
    let run = server.interrupt().exits(0);
    assert_eq!(run.all::<Close>()[0].reason, Reason::Denied);
    assert_eq!(run.summary().denied, Some(1));
}

#[test]
fn deny_keeps_only_those_out_and_wins() {
    let server = serve("--deny 127.0.0.1/32");
    let port = server.port();
    assert!(is_turned_away(dial(Family::V4, port)));
    assert_eq!(ask(&mut dial_from("127.0.0.2", port), b"hello", 5), b"hello");
    assert_eq!(ask(&mut dial(Family::V6, port), b"hello", 5), b"hello");
    server.interrupt().exits(0);

    let server = serve("--allow 127.0.0.0/8 --deny 127.0.0.1/32");
    let port = server.port();
    assert!(is_turned_away(dial(Family::V4, port)));
    assert!(is_turned_away(dial(Family::V6, port)));
    assert_eq!(ask(&mut dial_from("127.0.0.2", port), b"hello", 5), b"hello");
    let run = server.interrupt().exits(0);
    assert_eq!(run.summary().denied, Some(2));
}

// Bad neighbours.

over_both_families! {
    fn one_peers_reset_leaves_the_others_alone(family) {
        let server = serve("");
        let port = server.port();
        let mut steady = dial(family, port);
        ask(&mut steady, b"before", 6);
        let mut rude = dial(family, port);
        ask(&mut rude, b"hello", 5);
        reset(rude);
        let close = server.wait_for::<Close>();
        assert_eq!((close.conn, close.reason), (2, Reason::Reset));
        assert_eq!(ask(&mut steady, b"after", 5), b"after");
        assert_eq!(ask(&mut dial(family, port), b"another", 7), b"another");
        drop(steady);
        let run = server.interrupt().exits(0);
        assert_eq!(run.summary().resets, Some(1));
    }
}

#[test]
fn a_peer_that_reads_nothing_leaves_the_others_alone() {
    let server = serve("");
    let port = server.port();
    let mut greedy = dial(Family::V4, port);
    greedy.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // It sends until nothing more goes in: the answers fill every buffer on the way back.
    while greedy.write(&[0; 65_536]).is_ok() {}
    let mut other = dial(Family::V4, port);
    assert_eq!(ask(&mut other, b"hello", 5), b"hello");
    drop((greedy, other));
    server.interrupt().exits(0);
}

// Many.

/// Holds `count` connections at once, each of which has sent a byte and got it back.
fn hold(count: usize) {
    raise_descriptor_limit();
    let server = Sockeye::new("serve 0 --json").patience(Duration::from_secs(120)).start();
    let port = server.port();
    let mut clients = Vec::with_capacity(count);
    // Fewer at a time than any accept queue holds: on a busy machine the server may be far behind.
    while clients.len() < count {
        let begun = clients.len();
        for index in begun..count.min(begun + 100) {
            let mut client = dial(Family::BOTH[index % 2], port);
            client.write_all(b"x").unwrap();
            clients.push(client);
        }
        for client in &mut clients[begun..] {
            let mut answer = [0];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer, *b"x");
        }
    }
    server.wait_for_nth::<Accept>(count);
    assert_eq!(server.count::<Close>(), 0, "all are held at once");
    drop(clients);
    server.wait_for_nth::<Close>(count);
    let run = server.interrupt().exits(0);
    let summary = run.summary();
    assert_eq!(summary.connections, Some(count as u64));
    assert_eq!((summary.bytes_received, summary.bytes_sent), (Some(count as u64), Some(count as u64)));
    assert_eq!((summary.errors, summary.warnings), (Some(0), Some(0)));
}

#[test]
fn a_thousand_connections_are_held_at_once() {
    hold(1_000);
}

#[test]
fn ten_thousand_connections_are_held_at_once() {
    // One descriptor here and one in the server each; the other tests of this process need some too.
    let limit = raise_descriptor_limit();
    assert!(limit >= 12_000, "too low a hard limit of open files: {limit} (ulimit -Hn, at least 12000)");
    hold(10_000);
}

#[test]
fn out_of_descriptors_is_an_error_no_busy_loop_and_passes() {
    require(&["prlimit"]);
    let server = Sockeye::new("serve 0 --json").under(["prlimit", "--nofile=40"]).start();
    let port = server.port();
    let mut clients: Vec<_> = (0..50).map(|_| dial(Family::V4, port)).collect();
    let error = server.wait_for_one::<Error>("an error of accept", |error| error.step == Step::Accept);
    assert_eq!((error.errno.as_deref(), error.code), (Some("EMFILE"), Some(24)));
    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("40")), "the hint names the limit: {error:?}");
    // While it is full it must wait, not spin: a measure of time, so it takes time.
    let (used, began) = (net::processor_time(server.pid()), Instant::now());
    thread::sleep(Duration::from_secs(1));
    let used = net::processor_time(server.pid()) - used;
    assert!(used < began.elapsed() / 5, "{used:?} of processor time in {:?} with nothing to do", began.elapsed());
    let errors = server.count::<Error>();
    assert!(errors <= 30, "{errors} errors in a second about the same thing");
    // Those that are in are served all the while.
    let first = &mut clients[0];
    assert_eq!(ask(first, b"hello", 5), b"hello");
    // As clients leave, the others come in, fewer than there is room for, and then anyone.
    for client in clients.drain(..30) {
        drop(client);
    }
    for client in &mut clients {
        assert_eq!(ask(client, b"at last", 7), b"at last");
    }
    drop(clients);
    assert_eq!(ask(&mut dial(Family::V6, port), b"hello", 5), b"hello");
    let run = server.interrupt().exits(0);
    assert_eq!(run.summary().connections, Some(51));
}

#[test]
fn a_slow_reader_of_the_json_makes_the_server_wait_and_loses_no_line() {
    let began = SystemTime::now();
    let (reader, writer) = std::io::pipe().unwrap();
    let server = Sockeye::new("serve 127.0.0.1:0 --json").stdout_to(writer).start();
    let port = net::wait_for_listener(server.pid(), || server.is_running());
    let client = dial(Family::V4, port);
    let mut answers = client.try_clone().unwrap();
    let echoes = thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()).unwrap());
    // Nobody reads the events: after a while nothing more may go in.
    const MOST: usize = 128 << 20;
    let mut sender = client;
    sender.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let (chunk, mut sent) = (net::random_bytes(16_384, 9), 0);
    let stalled = loop {
        match sender.write(&chunk) {
            Ok(count) => sent += count,
            Err(error) => break matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
        assert!(sent < MOST, "it took {sent} bytes, though nobody reads its events");
    };
    assert!(stalled, "the connection failed");
    let memory = net::resident_memory(server.pid());
    assert!(memory < 64 << 20, "{memory} bytes of memory while it waits");
    // The reader wakes up: everything goes on, and nothing is missing.
    let reading = thread::spawn(move || {
        BufReader::new(File::from(std::os::fd::OwnedFd::from(reader))).lines().map(Result::unwrap).collect::<Vec<_>>()
    });
    sender.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    sender.write_all(b"the end").unwrap();
    sent += 7;
    sender.shutdown(Shutdown::Write).unwrap();
    assert_eq!(echoes.join().unwrap(), sent as u64);
    server.signal(Signal::SIGINT);
    let run = server.finish().exits(0);
    assert_eq!(run.stderr(), "");
    let lines: Vec<_> = reading.join().unwrap().iter().map(|line| check::read(line).unwrap()).collect();
    check::check_run(&lines, 0, Asked::default(), began);
    let received: u64 = lines.iter().map(|line| if let Event::Recv(recv) = &line.event { recv.bytes } else { 0 }).sum();
    assert_eq!(received, sent as u64);
}

#[test]
fn those_who_are_not_let_in_wait_for_a_slow_reader_of_the_events_too() {
    for words in ["", "--relay"] {
        let (_reader, writer) = std::io::pipe().unwrap();
        let line = format!("serve 127.0.0.1:0 --json --deny 127.0.0.0/8 {words}");
        let server = Sockeye::new(line).stdin_piped().stdout_to(writer).start();
        let address = Family::V4.at(net::wait_for_listener(server.pid(), || server.is_running()));
        let came = std::iter::repeat_with(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)))
            .take(40_000)
            .map_while(|peer| peer.map(reset).ok())
            .count();
        // Further ones wait in the accept queue, until that is full.
        assert!((1_000..40_000).contains(&came), "{words}: it took {came}, though nobody reads its events");
    }
}

over_both_families! {
    fn a_thousand_clients_leave_no_descriptor(family) {
        for words in ["--echo", "--discard", "--source-bytes 10", "--broker", "--messages 1", "--report-every 50ms"] {
            let server = Sockeye::new(format!("serve 0 --json {words}")).start();
            let port = server.port();
            let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
            drop(dial(family, port));
            server.wait_for::<Close>();
            let before = descriptors();
            let script = r#"
for _ in range(5):
    peers = [dial(sys.argv[1], sys.argv[2]) for _ in range(200)]
    [peer.sendall(b"x") for peer in peers]
    [reset(peer) if number % 3 == 0 else peer.close() for number, peer in enumerate(peers)]
"#;
            Peer::python(script, &[&family.host(), &port.to_string()]).lines();
            server.wait_for_nth::<Close>(1001);
            assert_eq!(descriptors(), before, "{words}");
            server.interrupt().exits(0);
        }
    }
}

#[test]
fn an_ipv4_address_that_is_written_as_one_of_ipv6_is_bound_as_what_it_is() {
    let server = Sockeye::new("serve [::ffff:127.0.0.1]:0 --json").start();
    let port = server.port();
    drop(dial(Family::V4, port));
    server.wait_for::<Close>();
    let run = server.interrupt().exits(0);
    assert_eq!(run.one::<Bind>().local, format!("127.0.0.1:{port}"));
    let run = Sockeye::new("serve [::ffff:127.0.0.1]:0 -6").run().exits(2);
    assert!(run.stderr().contains("127.0.0.1"), "{}", run.dump());
}

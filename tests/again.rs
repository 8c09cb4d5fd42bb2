//! Until the port opens (`--retry-for`), and again and again (`--count`): the rounds, their grid,
//! their outages. What the rounds add up to is checked against their events in every run.

use std::time::{Duration, SystemTime};

use expect_test::expect;
use nix::sys::signal::Signal;

use crate::harness::events::{
    Close, Connect, Error, Event, Interim, OutageSpan, Outcome, Reason, Recv, Resolve, Round, Step, Warning,
};
use crate::harness::net::{Net, TempDir, listener, refusing_port};
use crate::harness::peers::python;
use crate::harness::{Family, Finished, Peer, Sockeye};

/// A server that is bound, and so refuses, until it is told to listen; then it echoes to everyone.
const OPENS: &str = r#"
server = socket.socket()
server.bind(("127.0.0.1", 0))
say(server.getsockname()[1])
told()
server.listen()
while True:
    peer, _ = server.accept()
    if data := peer.recv(100):
        peer.sendall(b"you said " + data)
    peer.close()
"#;

/// Returns when each event of a name came, in nanoseconds since the start.
fn times_of(run: &Finished, name: &str) -> Vec<u64> {
    run.lines.iter().filter(|line| line.event.name() == name).map(|line| line.elapsed_ns).collect()
}

/// Returns how many warnings of a name there are.
fn warnings(run: &Finished, name: &str) -> usize {
    run.all::<Warning>().iter().filter(|warning| warning.name == name).count()
}

fn spans(run: &Finished) -> &[OutageSpan] {
    run.summary().outage_spans.as_deref().expect("a run with --count has outage_spans")
}

#[test]
fn a_connect_is_tried_again_until_the_port_opens() {
    for words in ["hello", "--probe", ""] {
        let mut server = Peer::python_server(OPENS, &[]);
        let client = Sockeye::new(format!("connect 127.0.0.1 {} --retry-for 60s --json", server.port));
        let client = client.args(words.split_whitespace()).stdin_piped().start();
        client.wait_for::<Error>();
        server.send(b"listen\n");
        let connect = client.wait_for::<Connect>();
        let run = client.finish().exits(0);
        let errors = run.all::<Error>();
        assert!(errors.iter().all(|error| error.errno.as_deref() == Some("ECONNREFUSED")), "{errors:?}");
        assert_eq!(connect.attempt as usize, errors.len() + 1, "{words}: attempts go on counting");
        assert_eq!(warnings(&run, "retry"), errors.len(), "{words}: each wait is told");
        if words == "hello" {
            assert_eq!(run.one::<Recv>().payload(), b"you said hello");
        }
    }
}

#[test]
fn a_retry_backs_off_and_ends_with_the_last_failure() {
    let (_held, port) = refusing_port(Family::V4);
    let run = Sockeye::new(format!("connect --probe 127.0.0.1 {port} --retry-for 1s --json")).run().exits(7);
    let times = times_of(&run, "error");
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // 100 ms, 200 ms, 400 ms, each less at most a tenth; the last is cut to what is left.
    for (gap, least) in gaps[..gaps.len() - 1].iter().zip([90, 180, 360, 720]) {
        assert!(*gap >= least * 1_000_000, "{gaps:?}");
    }
    assert!((3..=5).contains(&times.len()), "{gaps:?}");
    let last = times[times.len() - 1];
    assert!((1_000_000_000..2_500_000_000).contains(&last), "the last try is at the end: {times:?}");
    assert_eq!(warnings(&run, "retry"), times.len() - 1);
    for warning in run.all::<Warning>() {
        let seconds = |after: &str, before: &str| -> f64 {
            let (_, rest) = warning.message.split_once(after).unwrap();
            rest.split_once(before).unwrap().0.parse().unwrap()
        };
        let (wait, left) = (seconds("again in ", " s"), seconds(" s, ", " s are left"));
        assert!(0.0 < wait && wait <= left && left < 1.0, "{warning:?}");
    }
}

#[test]
fn a_silent_port_is_given_up_in_time_too() {
    let silent = crate::harness::net::silent_port(Family::V4);
    let line = format!("connect --probe 127.0.0.1 {} --retry-for 700ms --connect-timeout 300ms --json", silent.port);
    let run = Sockeye::new(line).run().exits(8);
    let errors = run.all::<Error>().len();
    assert!((2..=3).contains(&errors), "{}", run.dump());
    let took = run.elapsed_of("summary");
    assert!((Duration::from_millis(700)..Duration::from_millis(2500)).contains(&took), "{took:?}");
}

#[test]
fn what_is_wrong_with_this_machine_is_not_tried_again() {
    let (_listener, port) = listener(Family::V4);
    let run = Sockeye::new(format!("connect --probe 127.0.0.1 {port} --source 192.0.2.1 --retry-for 60s --json"));
    let run = run.run().exits(5);
    assert_eq!((run.one::<Error>().step, warnings(&run, "retry")), (Step::Bind, 0));
}

#[test]
fn a_name_is_looked_up_again_for_each_try() {
    const LISTENER: &str = "
import os, socket, sys
server = socket.create_server(('127.0.0.1', 7000))
os.set_inheritable(server.fileno(), True)
os.execv(sys.argv[1], sys.argv[1:])
";
    let dir = TempDir::new();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let client = Sockeye::new("connect --probe later 7000 --retry-for 60s --json")
        .under([python(), "-I", "-S", "-c", LISTENER])
        .under(Net::isolated().with_hosts(&hosts).prefix())
        .start();
    assert_eq!(client.wait_for::<Error>().step, Step::Resolve);
    std::fs::write(&hosts, "127.0.0.1 localhost\n127.0.0.1 later\n").unwrap();
    let run = client.finish().exits(0);
    assert_eq!((run.one::<Resolve>().name.as_str(), run.one::<Connect>().attempt), ("later", 1));
    assert_eq!(warnings(&run, "retry"), run.all::<Error>().len());
}

#[test]
fn a_unix_path_may_appear_later() {
    let script = r#"
told()
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
peer, _ = server.accept()
peer.sendall(peer.recv(100).upper())
peer.close()
"#;
    let dir = TempDir::new();
    let path = dir.path().join("socket");
    let mut server = Peer::python(script, &[path.to_str().unwrap()]);
    let client = Sockeye::new(format!("connect unix:{} hello --retry-for 60s --json", path.display())).start();
    assert_eq!(client.wait_for::<Error>().errno.as_deref(), Some("ENOENT"));
    server.send(b"listen\n");
    let run = client.finish().exits(0);
    assert_eq!(run.one::<Recv>().payload(), b"HELLO");
    assert!(run.one::<Connect>().attempt >= 2);
}

#[test]
fn of_many_targets_each_is_tried_for_itself() {
    let mut server = Peer::python_server(OPENS, &[]);
    let (_held, refused) = refusing_port(Family::V4);
    let (_listener, open) = listener(Family::V4);
    let line = format!("connect --probe 127.0.0.1:{open} 127.0.0.1:{} 127.0.0.1:{refused}", server.port);
    let client = Sockeye::new(format!("{line} --retry-for 1500ms --json")).start();
    client.wait_for_nth::<Error>(2);
    server.send(b"listen\n");
    let run = client.finish().exits(1);
    let attempt = |port| run.all::<Connect>().iter().find(|it| it.peer == format!("127.0.0.1:{port}")).unwrap().attempt;
    assert!(attempt(open) == 1 && attempt(server.port) >= 2, "{}", run.dump());
}

#[test]
fn a_probe_that_is_tried_again_is_a_line_an_address_of_its_last_try() {
    // Each try was a line of the table and a failure of its summary, also of what opened at last.
    let stdout = |run: &Finished| String::from_utf8(run.stdout().to_vec()).unwrap();
    let mut server = Peer::python_server(OPENS, &[]);
    let (_held, refused) = refusing_port(Family::V4);
    let line = format!("connect -z 127.0.0.1:{} 127.0.0.1:{refused} --retry-for 1500ms", server.port);
    let client = Sockeye::new(line).start();
    // Long enough that it has refused, which no event tells here.
    std::thread::sleep(crate::harness::peers::A_WHILE);
    server.send(b"listen\n");
    let table = stdout(&client.finish().exits(1));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("open ") && lines[0].contains(&format!("127.0.0.1:{} ", server.port)), "{table}");
    assert_eq!(lines[1], format!("refused     127.0.0.1:{refused}"));
    assert!(lines[2].starts_with("1 open, 1 failure in "), "{table}");

    let run = Sockeye::new(format!("connect -z 127.0.0.1:{refused} --retry-for 2s")).run().exits(7);
    assert_eq!(stdout(&run), format!("refused     127.0.0.1:{refused}\n"));
    assert!(run.stderr().matches("error: connect").count() > 1, "{}", run.dump());

    // A name that does not resolve has its line when that is known for good.
    let dir = TempDir::new();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let run = Sockeye::new("connect -z nosuch:7 127.0.0.1:7 --retry-for 400ms")
        .under(Net::isolated().with_hosts(&hosts).prefix())
        .run()
        .exits(1);
    let table = stdout(&run);
    assert!(table.starts_with("failed      nosuch:7 resolve nosuch: "), "{}", run.dump());
    assert!(table.contains("\nrefused     127.0.0.1:7\n0 open, 2 failures in "), "{}", run.dump());
    assert_eq!(table.lines().count(), 3, "{}", run.dump());
}

#[test]
fn a_signal_ends_the_wait_for_the_next_try_at_once() {
    let (_held, port) = refusing_port(Family::V4);
    let client = Sockeye::new(format!("connect 127.0.0.1 {port} hello --retry-for 1h --json")).start();
    // The pause after the fifth is longer than a second.
    client.wait_for_nth::<Warning>(5);
    // By the results: the port refused each time.
    let run = client.interrupt().exits(7);
    assert_eq!((run.all::<Error>().len(), warnings(&run, "stopped")), (5, 1), "{}", run.dump());
}

#[test]
fn a_deadline_ends_the_wait_for_the_next_try() {
    let (_held, port) = refusing_port(Family::V4);
    let silent = crate::harness::net::silent_port(Family::V4);
    let (refused, silent) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", silent.port));
    // By the results: what refuses has answered; of what is silent no try has ended.
    let runs = [
        (format!("{refused} hello"), 7),
        (format!("--probe {refused}"), 7),
        (format!("--probe {refused} unix:/nosuch/socket"), 7),
        (format!("--probe {silent}"), 8),
        (format!("--probe {refused} {silent}"), 1),
    ]
    .map(|(words, code)| (Sockeye::new(format!("connect {words} --retry-for 1h --deadline 3s --json")).start(), code));
    for (run, code) in runs {
        let run = run.finish().exits(code);
        assert_eq!(warnings(&run, "stopped"), 1, "{}", run.dump());
        assert!(run.elapsed() < Duration::from_secs(10));
    }
}

/// A server that answers everyone in turn with what each word of its argument says, the last word
/// again and again, and says at its end how many came: `N` is `no`, `S` a slow `yes`, `D` nothing,
/// any other `yes`.
const ANSWERS: &str = r#"
server = listen("127.0.0.1")
words = sys.argv[1]
came = 0
kept = []
while True:
    ready, _, _ = select.select([server, sys.stdin], [], [])
    if server not in ready:
        break
    peer, _ = server.accept()
    came += 1
    word = words[min(came, len(words)) - 1]
    if word == "D":
        kept.append(peer)
        continue
    peer.recv(100)
    if word == "S":
        time.sleep(0.7)
    peer.sendall(b"no" if word == "N" else b"yes")
    peer.close()
say(came)
"#;

/// Starts the server above.
fn answers(words: &str) -> Peer {
    Peer::python_server(ANSWERS, &[words])
}

#[test]
fn each_round_resolves_connects_talks_and_closes() {
    let server = answers("Y");
    let line = format!("connect localhost {} hello --count 5 --interval 20ms --json", server.port);
    let run = Sockeye::new(line).run().exits(0);
    let rounds = run.all::<Round>();
    let of = |round: &&Round| (round.target.clone(), round.round, round.conn, round.outcome, round.exit_code);
    let target = format!("localhost:{}", server.port);
    let expected: Vec<_> = (1..=5).map(|at| (target.clone(), at, Some(at), Outcome::Ok, 0)).collect();
    assert_eq!(rounds.iter().map(of).collect::<Vec<_>>(), expected);
    assert_eq!(run.all::<Resolve>().len(), 5, "the name is looked up in each");
    assert!(run.all::<Recv>().iter().all(|recv| recv.payload() == b"yes"));
    let summary = run.summary();
    assert_eq!((summary.rounds, summary.rounds_failed, summary.outages), (Some(5), Some(0), Some(0)));
    assert_eq!((spans(&run).len(), summary.connections), (0, Some(5)));
    assert_eq!(server.lines(), ["5"], "the server saw as many");
}

#[test]
fn without_an_interval_there_is_no_pause() {
    let server = answers("Y");
    let line = format!("connect 127.0.0.1 {} hello --count 30 --interval 0 --json", server.port);
    let run = Sockeye::new(line).run().exits(0);
    assert_eq!((run.summary().rounds, warnings(&run, "rounds-missed")), (Some(30), 0));
    assert_eq!(server.lines(), ["30"]);
}

#[test]
fn rounds_keep_to_their_grid_and_missed_slots_are_left_out() {
    let server = answers("YSYYYSYY");
    let interval = 300_000_000;
    let line = format!("connect 127.0.0.1 {} hello --count 8 --interval 300ms --json", server.port);
    let run = Sockeye::new(line).run().exits(0);
    // Each round begins with a socket.
    let times = times_of(&run, "socket");
    let since_first: Vec<u64> = times.iter().map(|time| time - times[0]).collect();
    // A timer is late by a millisecond or two, the first round by what starting costs.
    let slots: Vec<u64> = since_first.iter().map(|time| (time + interval / 10) / interval).collect();
    assert!(slots.windows(2).all(|pair| pair[0] < pair[1]), "no slot has two rounds: {since_first:?}");
    assert!(slots[2] - slots[1] >= 3 && slots[6] - slots[5] >= 3, "nothing is made up for: {since_first:?}");
    let mut late: Vec<u64> = since_first.iter().map(|time| (time + interval / 10) % interval).collect();
    late.sort_unstable();
    assert!(late[4] < interval / 4, "most begin when they are due, without drift: {since_first:?}");
    assert_eq!(warnings(&run, "rounds-missed"), 1, "told once: {}", run.dump());
    drop(server);
}

/// A server whose port is open until it is told to close, then until it is told to open. Each time
/// it says when it was about to, and when it had.
const ON_AND_OFF: &str = r#"
def bound():
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made

port = 0
# Keeps the port, so that nobody else takes it meanwhile.
holder = bound()
port = holder.getsockname()[1]
server = bound()
server.listen()
say(port)
while word := told():
    before = time.time_ns()
    if word == "close":
        server.close()
    else:
        server = bound()
        server.listen()
    say(word, before, time.time_ns())
"#;

#[test]
fn an_outage_begins_and_ends_when_the_server_says_so() {
    let mut server = Peer::python_server(ON_AND_OFF, &[]);
    let line = format!("connect --probe 127.0.0.1 {} --count 0 --interval 50ms --json", server.port);
    let client = Sockeye::new(line).start();
    let nth = |nth: usize, ok: bool| {
        client.wait_until("rounds", |lines| {
            let is_such = |round: &&Round| (round.outcome == Outcome::Ok) == ok;
            let of = |line: &crate::harness::events::Line| match &line.event {
                Event::Round(round) => Some(round.clone()),
                _ => None,
            };
            lines.iter().filter_map(of).filter(|round| is_such(&round)).nth(nth)
        })
    };
    nth(2, true);
    server.send(b"close\n");
    server.wait_for("close");
    let failed = nth(0, false);
    nth(3, false);
    server.send(b"open\n");
    server.wait_for("open");
    let good = client.wait_for_one::<Round>("a good round after the bad", |round| {
        round.outcome == Outcome::Ok && round.round > failed.round
    });
    let run = client.interrupt().exits(1);
    assert_eq!(warnings(&run, "stopped"), 0, "a run without end is ended so");

    let log = server.lines();
    let at = |word: &str| -> [u64; 2] {
        let line = log.iter().find(|line| line.starts_with(word)).unwrap();
        let times: Vec<u64> = line.split(' ').skip(1).map(|time| time.parse().unwrap()).collect();
        times.try_into().unwrap()
    };
    let ([before_close, after_close], [before_open, after_open]) = (at("close"), at("open"));
    let [span] = spans(&run) else { panic!("one outage in {}", run.dump()) };
    assert_eq!((span.rounds, span.ongoing), (good.round - failed.round, None));
    let started = humantime::parse_rfc3339(&span.started).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let started = u64::try_from(started.as_nanos()).unwrap();
    // The round that found the port closed began before that at most by what it took.
    let slack = 2_000_000_000;
    assert!(started + failed.duration_ns >= before_close && started <= after_close + slack, "{span:?} {log:?}");
    let ended = started + span.duration_ns;
    assert!(ended + good.duration_ns >= before_open && ended <= after_open + slack, "{span:?} {log:?}");
    assert_eq!(run.summary().outage_ns, Some(span.duration_ns));
}

#[test]
fn an_outage_has_its_time_where_nobody_is_shown_the_rounds_too() {
    // The rounds that nobody saw had no time, and the outages began in 1970.
    let (_held, port) = refusing_port(Family::V4);
    let (dir, began) = (TempDir::new(), SystemTime::now());
    let events = dir.path().join("events");
    let line = format!("connect -z 127.0.0.1:{port} --count 2 --interval 0");
    let json = Sockeye::new(format!("{line} --json -q")).run().exits(7);
    let quiet = Sockeye::new(format!("{line} -q --events {}", events.display())).run().exits(7);
    let many = Sockeye::new(format!("{line} 127.0.0.2:{port}")).run().exits(7);
    for text in [quiet, many] {
        let text = String::from_utf8_lossy(text.stdout()).into_owned();
        assert!(text.contains("outage ") && !text.contains("1970"), "{text}");
    }
    let written = std::fs::read_to_string(events).unwrap();
    let last = crate::harness::check::read(written.lines().last().unwrap()).unwrap();
    let Event::Summary(written) = last.event else { panic!("{last:?}") };
    for span in spans(&json).iter().chain(written.outage_spans.iter().flatten()) {
        let started = humantime::parse_rfc3339(&span.started).unwrap();
        assert!((began..SystemTime::now()).contains(&started), "{span:?}");
    }
}

#[test]
fn each_of_many_targets_has_rounds_and_outages_of_its_own() {
    let (_listener, open) = listener(Family::V4);
    let (_held, refused) = refusing_port(Family::V4);
    for (line, code, failed) in [
        (format!("127.0.0.1:{open} 127.0.0.1:{refused}"), 1, 3),
        (format!("127.0.0.1:{refused}"), 7, 3),
        (format!("127.0.0.1:{open}"), 0, 0),
    ] {
        let run = Sockeye::new(format!("connect --probe {line} --count 3 --interval 20ms --json")).run().exits(code);
        assert_eq!(run.summary().rounds_failed, Some(failed), "{line}");
        assert_eq!(run.summary().rounds, Some(3 * line.split(' ').count() as u64));
        let dead: Vec<_> = spans(&run).iter().map(|span| (span.target.clone(), span.rounds, span.ongoing)).collect();
        let expected: &[_] = &[(format!("127.0.0.1:{refused}"), 3, Some(true))];
        assert_eq!(dead, if failed == 0 { &[] } else { expected }, "{line}");
    }
}

#[test]
fn parallel_bounds_the_targets_within_a_round() {
    let (_listener, open) = listener(Family::V4);
    let line = format!("connect --probe 127.0.0.1:{open} localhost:{open} --parallel 1 --count 2 --interval 0 --json");
    let run = Sockeye::new(line).run().exits(0);
    let told: Vec<_> = run.all::<Round>().iter().map(|round| (round.target.clone(), round.round)).collect();
    let [ip, name] = ["127.0.0.1", "localhost"].map(|host| format!("{host}:{open}"));
    assert_eq!(told, [(ip.clone(), 1), (name.clone(), 1), (ip, 2), (name, 2)]);
    assert_eq!(run.all::<Resolve>().len(), 2, "looked up once a round");
}

#[test]
fn an_answer_that_does_not_match_makes_its_round_negative() {
    let server = answers("YNY");
    let line = format!("connect 127.0.0.1 {} hello --expect ^yes --count 3 --interval 0 --json", server.port);
    let run = Sockeye::new(line).run().exits(1);
    let outcomes: Vec<_> = run.all::<Round>().iter().map(|round| (round.outcome, round.exit_code)).collect();
    assert_eq!(outcomes, [(Outcome::Ok, 0), (Outcome::Negative, 1), (Outcome::Ok, 0)]);
    assert_eq!((spans(&run).len(), spans(&run)[0].rounds, spans(&run)[0].ongoing), (1, 1, None));
    assert_eq!(warnings(&run, "expect-unmet"), 1);
    let connect = run.summary().connect.clone().unwrap();
    assert!(connect.count == 3 && connect.p999_ns.is_some(), "each of them connected: {connect:?}");
}

#[test]
fn a_round_that_a_signal_cuts_off_does_not_count() {
    for (count, is_told) in [("0", 0), ("5", 1)] {
        let server = answers("YYD");
        let line = format!("connect 127.0.0.1 {} hello --count {count} --interval 0 --json", server.port);
        let client = Sockeye::new(line).start();
        client.wait_for_nth::<crate::harness::events::Send>(3);
        let run = client.interrupt().exits(0);
        assert_eq!((run.summary().rounds, run.summary().rounds_failed), (Some(2), Some(0)), "{}", run.dump());
        assert_eq!(run.all::<Close>().last().unwrap().reason, Reason::Signal);
        assert_eq!(warnings(&run, "stopped"), is_told, "--count {count}");
    }
}

#[test]
fn a_run_that_is_stopped_before_a_round_ended_has_no_answer() {
    let server = answers("D");
    let client = Sockeye::new(format!("connect 127.0.0.1 {} hello --count 0 --json", server.port)).start();
    client.wait_for::<crate::harness::events::Send>();
    let run = client.interrupt().exits(8);
    assert_eq!((run.summary().rounds, warnings(&run, "stopped")), (Some(0), 1));

    let silent = crate::harness::net::silent_port(Family::V4);
    let line = format!("connect --probe 127.0.0.1 {} --count 0 --deadline 300ms --json", silent.port);
    let run = Sockeye::new(line).run().exits(8);
    assert_eq!((run.summary().rounds, warnings(&run, "stopped")), (Some(0), 1));
}

#[test]
fn a_deadline_ends_endless_rounds_by_their_results() {
    let (_listener, open) = listener(Family::V4);
    let line = format!("connect --probe 127.0.0.1 {open} --count 0 --interval 10ms --deadline 400ms --json");
    let run = Sockeye::new(line).run().exits(0);
    assert!(run.summary().rounds > Some(1), "{}", run.dump());
}

#[test]
fn sigquit_tells_the_rounds_so_far_and_the_outage_that_goes_on() {
    let (_held, port) = refusing_port(Family::V4);
    let line = format!("connect --probe 127.0.0.1 {port} --count 0 --interval 20ms --json");
    let client = Sockeye::new(line).start();
    client.wait_for_nth::<Round>(3);
    client.signal(Signal::SIGQUIT);
    let interim = client.wait_for::<Interim>();
    let span = &interim.outage_spans.as_deref().unwrap()[0];
    assert!(interim.rounds >= Some(3) && span.rounds >= 3 && span.ongoing == Some(true), "{interim:?}");
    assert_eq!((interim.outages, interim.outage_ns), (Some(1), Some(span.duration_ns)));
    client.interrupt().exits(7);
}

#[test]
fn without_count_there_is_no_round_and_no_total_of_rounds() {
    let (_listener, port) = listener(Family::V4);
    let run = Sockeye::new(format!("connect --probe 127.0.0.1 {port} --json")).run().exits(0);
    let summary = run.summary();
    assert_eq!((summary.rounds, summary.outages, &summary.outage_spans), (None, None, &None));
}

#[test]
fn combinations_that_cannot_be_are_refused() {
    for (line, needles) in [
        ("localhost:80 --count 3", &["--count", "MESSAGE", "--probe"][..]),
        ("localhost:80 hi --interval 1s", &["--count"]),
        ("localhost:80 hi --count 3 --retry-for 1s", &["--count", "--retry-for"]),
        ("--probe localhost:80 --count 0 --retry-for 1s", &["--count", "--retry-for"]),
        ("localhost:80 hi --retry-for 0", &["--retry-for", "0"]),
        ("localhost:80 hi --retry-for soon", &["--retry-for", "soon"]),
        ("localhost:80 hi --count -1", &["--count"]),
        ("localhost:80 hi --count 1.5", &["--count", "1.5"]),
        ("localhost:80 hi --count 2 --interval -1", &["--interval"]),
        ("localhost:80 hi --count 2 --interval x", &["--interval", "x"]),
    ] {
        let run = Sockeye::new(format!("connect {line}")).run_or_kill_after(Duration::from_secs(2));
        assert_eq!((run.status().code(), run.stdout()), (Some(2), &b""[..]), "{line}: {}", run.dump());
        let stderr = run.stderr();
        assert!(needles.iter().all(|needle| stderr.contains(needle)), "{line}: {stderr}");
    }
}

#[test]
fn rounds_with_messages_as_people_see_them() {
    let server = answers("YNY");
    let run = Sockeye::new(format!("connect 127.0.0.1 {} hi --expect yes --count 3 --interval 0", server.port))
        .run()
        .exits(1);
    expect![[r#"
        yesnoyes-- stderr
          [ELAPSED] socket AF_INET SOCK_STREAM IPPROTO_TCP
          [ELAPSED] #1 connect 127.0.0.1:[PORT] from 127.0.0.1:[PORT] ([DURATION])
          [ELAPSED] #1 send 2 bytes "hi"
          [ELAPSED] #1 recv 3 bytes "yes"
          [ELAPSED] #1 close (local) 3 B in, 2 B out, [DURATION]
          [ELAPSED] round 1 ok ([DURATION])
          [ELAPSED] socket AF_INET SOCK_STREAM IPPROTO_TCP
          [ELAPSED] #2 connect 127.0.0.1:[PORT] from 127.0.0.1:[PORT] ([DURATION])
          [ELAPSED] #2 send 2 bytes "hi"
          [ELAPSED] #2 recv 2 bytes "no"
          [ELAPSED] #2 eof
        warning: no answer matched --expect
          [ELAPSED] #2 close (eof) 2 B in, 2 B out, [DURATION]
          [ELAPSED] round 2 negative ([DURATION])
          [ELAPSED] socket AF_INET SOCK_STREAM IPPROTO_TCP
          [ELAPSED] #3 connect 127.0.0.1:[PORT] from 127.0.0.1:[PORT] ([DURATION])
          [ELAPSED] #3 send 2 bytes "hi"
          [ELAPSED] #3 recv 3 bytes "yes"
          [ELAPSED] #3 close (local) 3 B in, 2 B out, [DURATION]
          [ELAPSED] round 3 ok ([DURATION])
        3 rounds, 1 failed, each in [DURATION] ([DURATION] to [DURATION]), connected in [DURATION] ([DURATION] to [DURATION]): 8 bytes in, 6 bytes out, [DURATION], 1 warning
        outage from [TIME] UTC for [DURATION], 1 round
        -- exit 1
    "#]].assert_eq(&clocks(&run.block()));
}

#[test]
fn rounds_of_a_probe_as_people_see_them() {
    let (_listener, open) = listener(Family::V4);
    let (_held, refused) = refusing_port(Family::V4);
    let run = Sockeye::new(format!("connect -z 127.0.0.1 {refused} --count 2 --interval 0")).run().exits(7);
    expect![[r#"
        refused     127.0.0.1:[PORT]
        refused     127.0.0.1:[PORT]
        2 rounds, 2 failed, [DURATION], 2 errors
        outage from [TIME] UTC for [DURATION], 2 rounds, ongoing
        -- stderr
          [ELAPSED] socket AF_INET SOCK_STREAM IPPROTO_TCP
        error: connect 127.0.0.1:[PORT]: connection refused
        hint: the host answered that nobody listens there: is the server up, on this port and this address?
          [ELAPSED] round 1 error ([DURATION], exit code 7)
          [ELAPSED] socket AF_INET SOCK_STREAM IPPROTO_TCP
        error: connect 127.0.0.1:[PORT]: connection refused
        hint: the host answered that nobody listens there: is the server up, on this port and this address?
          [ELAPSED] round 2 error ([DURATION], exit code 7)
        -- exit 7
    "#]]
    .assert_eq(&clocks(&run.block()));
    let line = format!("connect -z 127.0.0.1:{refused} 127.0.0.1:{open} --parallel 1 --count 2 --interval 0");
    let run = Sockeye::new(line).run().exits(1);
    expect![[r#"
        refused     127.0.0.1:[PORT]
        open        127.0.0.1:[PORT] [DURATION]
        refused     127.0.0.1:[PORT]
        open        127.0.0.1:[PORT] [DURATION]
        4 rounds, 2 failed, each in [DURATION] ([DURATION] to [DURATION]), connected in [DURATION] ([DURATION] to [DURATION]), [DURATION], 2 errors
        outage of 127.0.0.1:[PORT] from [TIME] UTC for [DURATION], 2 rounds, ongoing
        -- stderr
        -- exit 1
    "#]].assert_eq(&clocks(&run.block()));
}

/// Replaces times of day.
fn clocks(text: &str) -> String {
    regex::Regex::new("from ([0-9-]+ )?[0-9:.]{12} UTC").unwrap().replace_all(text, "from [TIME] UTC").into_owned()
}

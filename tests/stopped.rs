//! A run that is told to stop: what it was at then and for how long, what its targets had come to, and
//! why the answer is no.

use std::time::Duration;

use crate::harness::events::{Close, Connect, Error, Outcome, Probe, Warning};
use crate::harness::net::{TempDir, listener, refusing_port, silent_port, with_name_server};
use crate::harness::{Family, Finished, Peer, Sockeye};

/// When the runs are told to stop, and what they have lasted for at least: the first step begins a little later.
const DEADLINE: &str = "--deadline 600ms";
const LASTED: u64 = 400_000_000;

/// Long after that.
const A_LONG_WHILE: Duration = Duration::from_secs(20);

fn stdout(run: &Finished) -> String {
    String::from_utf8(run.stdout().to_vec()).unwrap()
}

/// Returns the warnings of a name.
fn warnings<'a>(run: &'a Finished, name: &str) -> Vec<&'a Warning> {
    run.all::<Warning>().into_iter().filter(|warning| warning.name == name).collect()
}

#[test]
fn a_connect_that_is_cut_off_is_told_and_has_lasted() {
    let silent = silent_port(Family::V4);
    let target = format!("127.0.0.1:{}", silent.port);
    for words in ["hello", "--probe", "--probe --count 3"] {
        let run = Sockeye::new(format!("connect {target} {words} {DEADLINE} --json")).run().exits(8);
        let [abandoned] = warnings(&run, "attempt-abandoned")[..] else { panic!("{}", run.dump()) };
        assert_eq!((&abandoned.peer, &abandoned.target), (&Some(target.clone()), &Some(target.clone())), "{words}");
        assert!(abandoned.duration_ns.unwrap() > LASTED, "{abandoned:?}");
        assert!(run.summary().duration_ns > LASTED, "{}", run.dump());
        assert_eq!(warnings(&run, "stopped").len(), 1, "{}", run.dump());
    }
}

#[test]
fn a_look_up_that_is_cut_off_is_told_and_has_lasted() {
    let dir = TempDir::new();
    let run = Sockeye::new(format!("connect somewhere.example:80 hello {DEADLINE} --json"))
        .under(with_name_server(&dir, "{}"))
        .run()
        .exits(3);
    let [abandoned] = warnings(&run, "attempt-abandoned")[..] else { panic!("{}", run.dump()) };
    assert_eq!(abandoned.target.as_deref(), Some("somewhere.example"), "{abandoned:?}");
    assert!(run.summary().duration_ns > LASTED, "{}", run.dump());
}

#[test]
fn why_the_answer_is_no_is_told_with_q_too() {
    let silent = silent_port(Family::V4);
    let target = format!("127.0.0.1:{}", silent.port);
    let run = Sockeye::new(format!("connect {target} hello {DEADLINE} -q")).run().exits(8);
    assert_eq!(run.stderr(), "warning: told to stop before the connection stood\n");
    let run = Sockeye::new(format!("connect --probe {target} {target} {DEADLINE} -q")).run().exits(8);
    assert_eq!(run.stderr(), "warning: told to stop before 2 of 2 targets had answered\n");
    let table = stdout(&run);
    let took = table.strip_prefix("0 open, 0 failures in ").unwrap_or_else(|| panic!("{table}"));
    assert!(took.ends_with(" ms\n") && took.trim_end_matches(" ms\n").parse::<f64>().unwrap() > 400.0, "{table}");
}

#[test]
fn an_answer_that_does_not_match_before_the_deadline_is_a_no() {
    let once = "peer.sendall(b'404')\npeer.recv(1)";
    let endless = "while True: peer.sendall(b'404 ' * 1000)";
    for (script, code) in [(once, 1), (endless, 1), ("peer.recv(1)", 8)] {
        let server = "server = listen('127.0.0.1')\npeer, _ = server.accept()\npeer.recv(100)\n";
        let peer = Peer::python_server(&format!("{server}{script}"), &[]);
        let line = format!("connect 127.0.0.1:{} GET --expect 200 --timeout 60s {DEADLINE} --json", peer.port);
        let run = Sockeye::new(line).run().exits(code);
        let is_no = usize::from(code == 1);
        let told = (warnings(&run, "expect-unmet").len(), warnings(&run, "stopped").len());
        assert_eq!(told, (is_no, 1 - is_no), "{script}: {:?}", run.all::<Warning>());
    }
}

#[test]
fn an_answer_that_matches_only_as_a_whole_is_one_at_the_deadline_too() {
    // What reaches further back than a recv's surroundings is found when the wait ends.
    let server = "server = listen('127.0.0.1')\npeer, _ = server.accept()\npeer.recv(100)\n";
    let peer = Peer::python_server(&format!("{server}peer.sendall(b'<' + b'x' * 20000 + b'>')\npeer.recv(1)"), &[]);
    let line = format!("connect 127.0.0.1:{} GET --expect <x*> --timeout 60s {DEADLINE} --json", peer.port);
    Sockeye::new(line).args(["--recv-size", "5000"]).run().exits(0);
}

#[test]
fn a_target_whose_last_try_has_ended_is_at_its_end() {
    let (_held, refused) = refusing_port(Family::V4);
    let (_listener, open) = listener(Family::V4);
    let silent = silent_port(Family::V4);
    let [open, refused, silent] = [open, refused, silent.port].map(|port| format!("127.0.0.1:{port}"));
    let line = format!("connect --probe {open} {refused} {silent} --retry-for 60s --connect-timeout 60s {DEADLINE}");
    let run = Sockeye::new(format!("{line} --json")).run().exits(1);
    let summary = run.summary();
    assert_eq!((summary.targets, summary.targets_open), (Some(2), Some(1)), "{}", run.dump());
    let probes: Vec<_> = run.all::<Probe>().into_iter().map(|it| (&it.target, it.outcome, it.exit_code)).collect();
    assert_eq!(probes, [(&open, Outcome::Ok, 0), (&refused, Outcome::Error, 7)]);
    let [probe] = run.all::<Probe>()[1..] else { panic!("{}", run.dump()) };
    assert!(probe.duration_ns > LASTED && probe.conn.is_none(), "{probe:?}");
    assert_eq!((run.all::<Connect>().len(), run.all::<Close>().len()), (1, 1));
    let [abandoned] = warnings(&run, "attempt-abandoned")[..] else { panic!("{}", run.dump()) };
    assert_eq!(abandoned.target.as_ref(), Some(&silent));
}

#[test]
fn warnings_are_told_beside_the_table_of_many_targets() {
    let (_held, refused) = refusing_port(Family::V4);
    let (_listener, open) = listener(Family::V4);
    let line = format!("connect --probe 127.0.0.1:{open} 127.0.0.1:{refused} --retry-for 60s --deadline 150ms");
    let run = Sockeye::new(&line).run().exits(1);
    let stopped = "warning: told to stop before 1 of 2 targets had answered\n";
    let said = run.stderr();
    assert!(said.starts_with(&format!("warning: connect 127.0.0.1:{refused}: again in ")), "{}", run.dump());
    assert!(said.ends_with(stopped) && said.lines().all(|line| line.starts_with("warning: ")), "{}", run.dump());
    let table = stdout(&run);
    assert!(table.contains(&format!("\nrefused     127.0.0.1:{refused}\n1 open, 1 failure in ")), "{}", run.dump());
    let run = Sockeye::new(format!("{line} -q")).run().exits(1);
    assert_eq!(run.stderr(), stopped);
}

#[test]
fn a_doctor_that_is_stopped_says_so() {
    let run = Sockeye::new("doctor --deadline 1ms --json").run().exits(1);
    assert_eq!(warnings(&run, "stopped").len(), 1, "{}", run.dump());
    assert!(run.all::<Error>().is_empty() && run.elapsed() < Duration::from_secs(10), "{}", run.dump());
    let run = Sockeye::new("doctor --deadline 1ms").run().exits(1);
    assert_eq!(run.stderr(), "warning: told to stop before everything was looked at\n");
    assert!(stdout(&run).contains("not all could be looked at: "), "{}", run.dump());
}

#[test]
fn a_failure_that_is_looked_into_decides_and_not_the_end_that_comes_meanwhile() {
    // Who holds the port is sought in the descriptors of all processes, and nobody reads stdout from the start.
    let (held, port) = listener(Family::V4);
    let gone = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let dir = TempDir::new();
    for (words, code) in [
        (format!("serve 127.0.0.1:{port}"), 5),
        (format!("serve 127.0.0.1:{port} --relay"), 5),
        (format!("connect 127.0.0.1 {} x", refusing_port(Family::V4).1), 7),
        (format!("connect 127.0.0.1 {} --probe", refusing_port(Family::V4).1), 7),
        ("udp-listen 192.0.2.1:0".to_owned(), 5),
    ] {
        let events = dir.path().join("events");
        let line = format!("{words} --events {}", events.display());
        // It may be over before it has failed.
        let (run, told) = std::iter::repeat_with(|| {
            let run = Sockeye::new(&line).stdout_to(gone()).run();
            (run, std::fs::read_to_string(&events).unwrap())
        })
        .find(|(_, told)| told.contains("\"event\":\"error\""))
        .unwrap();
        assert_eq!(run.code(), code, "{words}: {told}{}", run.dump());
        assert!(told.contains(&format!("\"exit_code\":{code}")), "{words}: {told}{}", run.dump());
    }
    drop(held);
}

#[test]
fn a_walk_that_always_has_something_to_do_is_stopped_too() {
    let server = Sockeye::new("serve 127.0.0.1:0 --source-bytes -q").start();
    let port = crate::harness::net::wait_for_listener(server.pid(), || server.is_running());
    for words in ["--expect nope --recv-size 64", "--until-eof --recv-size 64"] {
        let line = format!("connect -q 127.0.0.1 {port} hello --timeout 60s --deadline 500ms {words}");
        let run =
            Sockeye::new(line).stdout_to(std::fs::File::create("/dev/null").unwrap()).run_or_kill_after(A_LONG_WHILE);
        assert!(run.code() == 1 || run.code() == 8, "{words}: {}", run.dump());
    }
    server.signal(nix::sys::signal::Signal::SIGINT);
    server.finish();
}

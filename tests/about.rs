//! Whom it is about: the target, the peer and the connection of warnings and errors, and the lines of a probe
//! that came to no address.

use crate::harness::events::{Error, Step, Warning};
use crate::harness::net::{Net, refusing_port};
use crate::harness::{Family, Finished, Peer, Sockeye, require};

fn stdout(run: &Finished) -> String {
    String::from_utf8(run.stdout().to_vec()).unwrap()
}

/// Returns the only warning of a name.
#[track_caller]
fn warning<'a>(run: &'a Finished, name: &str) -> &'a Warning {
    let of_name: Vec<_> = run.all::<Warning>().into_iter().filter(|warning| warning.name == name).collect();
    assert_eq!(of_name.len(), 1, "{name} in {}", run.dump());
    of_name[0]
}

#[test]
fn a_probe_that_came_to_no_address_has_its_line() {
    let run = Sockeye::new("connect --probe nope.invalid:1").run().exits(3);
    assert!(stdout(&run).starts_with("failed      nope.invalid:1 resolve nope.invalid: "), "{}", run.dump());
    let net = || Net::isolated().prefix();
    let run = Sockeye::new("connect --probe 127.0.0.1:7 --source 192.0.2.9").under(net()).run().exits(5);
    let line = "failed      127.0.0.1:7 bind 192.0.2.9:0: cannot assign requested address\n";
    assert_eq!(stdout(&run), line, "{}", run.dump());
    // Of many each has its line, with why.
    let run = Sockeye::new("connect --probe 127.0.0.1 7,8 --source 192.0.2.9").under(net()).run().exits(5);
    for port in [7, 8] {
        assert!(stdout(&run).contains(&line.replace(":7 ", &format!(":{port} "))), "{}", run.dump());
    }
    let run = Sockeye::new("connect --probe fe80::1%nope 7,8").run().exits(5);
    assert_eq!(stdout(&run).matches("]:7 resolve zone %nope: no such device\n").count(), 1, "{}", run.dump());
    assert_eq!(stdout(&run).matches("]:8 resolve zone %nope: no such device\n").count(), 1, "{}", run.dump());
    // In each round.
    let run = Sockeye::new("connect --probe nope.invalid:1 --count 2 --interval 0").run().exits(3);
    assert_eq!(stdout(&run).matches("failed      nope.invalid:1 resolve nope.invalid: ").count(), 2, "{}", run.dump());
    // A target that has a line has no second one.
    let (_held, port) = refusing_port(Family::V4);
    let run = Sockeye::new(format!("connect --probe 127.0.0.1:{port} --count 2 --interval 0")).run().exits(7);
    assert_eq!(stdout(&run).matches("refused     ").count(), 2, "{}", run.dump());
    assert!(!stdout(&run).contains("failed    "), "{}", run.dump());
}

#[test]
fn what_all_targets_failed_of_is_explained_once() {
    require(&["prlimit"]);
    let limited = |limit: u32| ["prlimit".to_owned(), format!("--nofile={limit}")];
    // With one descriptor for a connect all are found, one after the other.
    let run = Sockeye::new("connect --probe 127.0.0.1 1-5 --parallel 5").under(limited(12)).run().exits(7);
    assert_eq!(stdout(&run).matches("refused     127.0.0.1:").count(), 5, "{}", run.dump());
    let run = Sockeye::new("connect --probe 127.0.0.1 1-5").under(limited(9)).run().exits(5);
    assert_eq!(stdout(&run).matches("failed      127.0.0.1:").count(), 5, "{}", run.dump());
    let lines: Vec<String> = run.stderr().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "{}", run.dump());
    assert!(lines[0].ends_with("too many open files") && lines[1].starts_with("hint: "), "{}", run.dump());
}

#[test]
fn what_fails_before_a_connect_says_for_which_target() {
    let run = Sockeye::new("connect --probe 127.0.0.1 7,8 --source 192.0.2.9 --json").under(Net::isolated().prefix());
    let run = run.run().exits(5);
    let mut targets: Vec<_> = run.all::<Error>().iter().map(|error| (error.step, error.target.as_deref())).collect();
    // The first is looked into, and may be told after the other.
    targets.sort_by_key(|(_, target)| *target);
    assert_eq!(targets, [(Step::Bind, Some("127.0.0.1:7")), (Step::Bind, Some("127.0.0.1:8"))]);
}

#[test]
fn what_fails_on_a_connection_says_for_which_target() {
    let peer =
        Peer::python_server("server = listen('127.0.0.1')\npeer, _ = server.accept()\npeer.recv(9)\nreset(peer)", &[]);
    let target = format!("127.0.0.1:{}", peer.port);
    let run = Sockeye::new(format!("connect {target} hello --json")).run().exits(10);
    let error = run.one::<Error>();
    assert_eq!((error.step, error.target.as_ref(), error.peer.as_ref()), (Step::Recv, Some(&target), Some(&target)));
}

#[test]
fn a_warning_says_whom_it_is_about() {
    let (_held, port) = refusing_port(Family::V4);
    let target = format!("127.0.0.1:{port}");
    let run = Sockeye::new(format!("connect {target} hello --retry-for 300ms --json")).run().exits(7);
    for warning in run.all::<Warning>() {
        assert_eq!((&*warning.name, warning.target.as_ref()), ("retry", Some(&target)));
    }
    assert!(!run.all::<Warning>().is_empty(), "{}", run.dump());

    let script = "server = listen('127.0.0.1')\npeer, _ = server.accept()\npeer.sendall(b'no')\npeer.recv(99)";
    for words in ["hello", ""] {
        let peer = Peer::python_server(script, &[]);
        let target = format!("127.0.0.1:{}", peer.port);
        let line = format!("connect {target} {words} --expect yes --timeout 300ms --json");
        let run = Sockeye::new(line).stdin("hello").run().exits(1);
        let unmet = warning(&run, "expect-unmet");
        assert_eq!((unmet.conn, unmet.peer.as_ref(), unmet.target.as_ref()), (Some(1), Some(&target), Some(&target)));
    }
}

//! Whom it is about: the target, the peer and the connection of warnings and errors, and the lines of a probe
//! that came to no address.

use crate::harness::events::{Error, Step};
use crate::harness::net::{Net, refusing_port};
use crate::harness::{Family, Finished, Sockeye};

fn stdout(run: &Finished) -> String {
    String::from_utf8(run.stdout().to_vec()).unwrap()
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
fn what_fails_before_a_connect_says_for_which_target() {
    let run = Sockeye::new("connect --probe 127.0.0.1 7,8 --source 192.0.2.9 --json").under(Net::isolated().prefix());
    let run = run.run().exits(5);
    let mut targets: Vec<_> = run.all::<Error>().iter().map(|error| (error.step, error.target.as_deref())).collect();
    // The first is looked into, and may be told after the other.
    targets.sort_by_key(|(_, target)| *target);
    assert_eq!(targets, [(Step::Bind, Some("127.0.0.1:7")), (Step::Bind, Some("127.0.0.1:8"))]);
}

//! Datagrams in bulk, and measured ones: what is told of them, and what only their totals tell.

use super::*;
use crate::event::IcmpError;

#[test]
fn of_many_icmp_errors_the_first_is_told() {
    let target = address(9);
    let error = |sequence| -> Event<'_> {
        let (from, name) = ([127, 0, 0, 1].into(), "port-unreachable");
        let sequence = Some(sequence);
        IcmpError {
            target: &target,
            from,
            kind: 3,
            code: 3,
            name,
            mtu: None,
            sequence,
            after: None,
            mpls: &[],
            interface: None,
            refuses: false,
            probe: None,
        }
        .into()
    };
    let events = [error(0), error(1), error(2)];
    let lines = |settings| shown(settings, &events).1.lines().count();
    let bulk = Settings { in_bulk: true, tally: Tally::Sender { measures: false, reflects: false }, ..settings() };
    assert_eq!((lines(bulk), lines(Settings { in_bulk: false, ..bulk })), (1, 3));
    assert_eq!(lines(Settings { steps: Steps::Verbose, ..bulk }), 3);
}

#[test]
fn where_datagrams_were_lost_is_told_as_far_as_it_is_known() {
    let summary = |out, back| {
        let totals = Totals {
            sent: Some(4),
            received: Some(0),
            lost: Some(4),
            lost_out: Some(out),
            lost_back: Some(back),
            ..Totals::default()
        };
        let duration = Duration::from_millis(9);
        let event = event::Summary { outcome: Outcome::Error, exit_code: 8, duration, totals: &totals };
        let tally = Tally::Sender { measures: true, reflects: true };
        shown(Settings { tally, results: Results::Lines, ..settings() }, &[event.into()]).0
    };
    assert_eq!(summary(0, 0), "sent 4 datagrams (0 bytes) in 9.000 ms, 4 lost\n");
    assert!(summary(3, 1).contains(", 4 lost (3 out, 1 back)"));
}

#[test]
fn the_bytes_of_test_packets_are_told_where_more_is_wanted() {
    let events = [send(b"stamp"), recv(b"stamp")];
    for tally in [Tally::Sender { measures: true, reflects: true }, Tally::Receiver { measures: true }] {
        let measured = Settings { tally, results: Results::Lines, ..settings() };
        assert_eq!(shown(measured, &events), (String::new(), String::new()));
        assert_eq!(shown(Settings { steps: Steps::Verbose, ..measured }, &events).1.lines().count(), 2);
    }
}

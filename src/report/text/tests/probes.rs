//! What became of probes, in words.

use super::*;
use crate::event::{Distribution, LossRun};
use crate::stats::Each;

/// Returns what is told of a run, and of one target of it.
fn told(totals: &Totals, duration: Duration) -> (String, String) {
    let tally = Tally::Pinger { each: Each::Whole, explores: false };
    let pinger = Settings { tally, results: Results::Probes { many: true, sweep: false }, ..settings() };
    let summary = event::Summary { outcome: Outcome::Ok, exit_code: 0, duration, totals };
    let target = event::TargetSummary { target: "192.0.2.1", name: None, session: None, totals };
    (shown(pinger, &[summary.into()]).0, shown(pinger, &[target.into()]).0)
}

/// Returns the totals of probes, without a round-trip time.
fn probes([sent, received, late, lost, refused]: [u64; 5]) -> Totals {
    Totals {
        sent: Some(sent),
        received: Some(received),
        late: Some(late),
        lost: Some(lost),
        refused: Some(refused),
        loss_ratio: (sent > 0).then(|| (lost + late) as f64 / sent as f64),
        ..Totals::default()
    }
}

#[test]
fn what_is_refused_is_no_loss() {
    let line = |counts| {
        let (summary, target) = told(&probes(counts), Duration::ZERO);
        let [summary, target] = [summary, target].map(|text| text.trim_end().to_owned());
        assert_eq!(target, format!("192.0.2.1: {summary}"));
        summary
    };
    assert_eq!(line([3, 3, 0, 0, 0]), "3 sent, 3 received, 0 % loss");
    assert_eq!(line([3, 1, 1, 1, 0]), "3 sent, 1 received, 66.6667 % loss, 1 late");
    assert_eq!(line([2, 0, 0, 0, 2]), "2 sent, 0 received, 2 refused, 0 lost");
    assert_eq!(line([8, 4, 1, 1, 2]), "8 sent, 4 received, 2 refused, 1 lost, 25 % loss, 1 late");
    assert_eq!(line([0, 0, 0, 0, 0]), "nothing sent");
}

#[test]
fn a_percentile_without_a_time_is_told_as_such() {
    let rtt = Distribution {
        count: 4,
        min_ns: 1_000_000,
        mean_ns: 1_000_000,
        max_ns: 1_000_000,
        stddev_ns: Some(0),
        p50_ns: Some(1_000_000),
        p90_ns: None,
        p99_ns: None,
        p999_ns: None,
        jitter_ns: Some(250_000),
    };
    let totals = Totals { rtt: Some(rtt), ..probes([5, 4, 0, 1, 0]) };
    let (summary, target) = told(&totals, Duration::from_millis(9));
    expect![[r#"
        5 sent, 4 received, 20 % loss, 9.000 ms
        round trip min 1.000 ms, mean 1.000 ms, max 1.000 ms
                   p50 1.000 ms, p99 unanswered, stddev 0.0000 ms, jitter 0.250 ms
    "#]]
    .assert_eq(&summary);
    expect![[r#"
        192.0.2.1: 5 sent, 4 received, 20 % loss, min 1.000 ms, mean 1.000 ms, max 1.000 ms, jitter 0.250 ms
    "#]]
    .assert_eq(&target);
}

#[test]
fn a_row_that_was_answered_too_late_was_not_lost() {
    let run = LossRun {
        target: "192.0.2.1".to_owned(),
        sequence: 4,
        probes: 3,
        started: UNIX_EPOCH,
        duration: Duration::ZERO,
    };
    let totals = Totals { loss_run_spans: Some(vec![run]), ..probes([9, 6, 3, 0, 0]) };
    let (summary, _) = told(&totals, Duration::ZERO);
    assert!(summary.contains("3 probes in a row not answered in time: 192.0.2.1 seq 4 to 6"), "{summary}");
}

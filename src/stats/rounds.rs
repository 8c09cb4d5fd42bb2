//! The rounds of a run that repeats, and the spans in which every round of a target failed.

use std::collections::HashMap;
use std::time::Duration;

use super::Distribution;
use crate::event::{OutageSpan, Outcome, Round, Stamp, Totals};

/// How many spans are listed: a run may be endless, its summary is not.
const LISTED: usize = 1000;

/// Rounds that ended. In steady state it allocates nothing: only an outage that begins does.
#[derive(Clone, Debug, Default)]
pub(super) struct Rounds {
    ended: u64,
    failed: u64,
    took: Distribution,
    outages: u64,
    /// How long the outages lasted that are over.
    over: Duration,
    /// The first of the outages, in the order in which they began.
    spans: Vec<OutageSpan>,
    /// The outages that go on, by the number of their target.
    ongoing: HashMap<usize, Ongoing>,
}

/// An outage that goes on.
#[derive(Clone, Debug)]
struct Ongoing {
    /// When it began, as the elapsed time of a stamp.
    began: Duration,
    /// Its place among the spans, where it is listed.
    listed: Option<usize>,
}

impl Rounds {
    /// Returns how many have ended.
    pub(super) fn ended(&self) -> u64 {
        self.ended
    }

    /// Adds a round.
    pub(super) fn record(&mut self, stamp: Stamp, round: &Round<'_>) {
        self.ended += 1;
        if round.outcome == Outcome::Ok {
            self.took.record(round.duration);
            self.recovered(stamp.elapsed.saturating_sub(round.duration), round.number);
        } else {
            self.failed += 1;
            self.took.lost(1);
            self.missed(stamp, round);
        }
    }

    /// Ends the outage of a target, if there is one, with the begin of a round that was ok.
    fn recovered(&mut self, began: Duration, target: usize) {
        let Some(outage) = self.ongoing.remove(&target) else { return };
        let lasted = began.saturating_sub(outage.began);
        self.over += lasted;
        if let Some(span) = outage.listed.and_then(|at| self.spans.get_mut(at)) {
            (span.duration, span.ongoing) = (lasted, false);
        }
    }

    /// Adds a round that failed to the outage of its target, or begins one.
    fn missed(&mut self, stamp: Stamp, round: &Round<'_>) {
        if let Some(outage) = self.ongoing.get(&round.number) {
            if let Some(span) = outage.listed.and_then(|at| self.spans.get_mut(at)) {
                span.rounds += 1;
            }
            return;
        }
        self.outages += 1;
        let listed = (self.spans.len() < LISTED).then_some(self.spans.len());
        if listed.is_some() {
            let started = stamp.time.checked_sub(round.duration).unwrap_or(stamp.time);
            let (target, duration) = (round.target.to_owned(), Duration::ZERO);
            self.spans.push(OutageSpan { target, started, duration, rounds: 1, ongoing: true });
        }
        let began = stamp.elapsed.saturating_sub(round.duration);
        self.ongoing.insert(round.number, Ongoing { began, listed });
    }

    /// Adds the totals of rounds, `now` being how far the run has come.
    pub(super) fn totals(&self, now: Duration, totals: Totals) -> Totals {
        let mut spans = self.spans.clone();
        let mut outage = self.over;
        for ongoing in self.ongoing.values() {
            let lasted = now.saturating_sub(ongoing.began);
            outage += lasted;
            if let Some(span) = ongoing.listed.and_then(|at| spans.get_mut(at)) {
                span.duration = lasted;
            }
        }
        Totals {
            rounds: Some(self.ended),
            rounds_failed: Some(self.failed),
            round: self.took.figures(),
            outages: Some(self.outages),
            outage: Some(outage),
            outage_spans: Some(spans),
            ..totals
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    /// A round that ended so many milliseconds after the start, having taken one.
    fn told(rounds: &mut Rounds, millis: u64, target: &str, outcome: Outcome) {
        let elapsed = Duration::from_millis(millis);
        let stamp = Stamp { time: UNIX_EPOCH + elapsed, elapsed };
        let conn = (outcome == Outcome::Ok).then_some(1);
        let (number, duration) = (usize::from(target.as_bytes()[0]), Duration::from_millis(1));
        let round = Round { target, number, round: 1, conn, outcome, exit_code: 0, duration };
        rounds.record(stamp, &round);
    }

    fn span(target: &str, millis: u64, lasted: u64, rounds: u64, ongoing: bool) -> OutageSpan {
        let started = UNIX_EPOCH + Duration::from_millis(millis);
        OutageSpan { target: target.to_owned(), started, duration: Duration::from_millis(lasted), rounds, ongoing }
    }

    #[test]
    fn an_outage_goes_from_the_first_failure_to_the_next_success_of_its_target() {
        use Outcome::{Error, Negative, Ok};
        let mut rounds = Rounds::default();
        for (millis, target, outcome) in [
            (10, "a", Ok),
            (11, "b", Error),
            (20, "a", Error),
            (21, "b", Negative),
            (30, "a", Ok),
            (31, "b", Ok),
            (40, "a", Ok),
            (41, "b", Error),
        ] {
            told(&mut rounds, millis, target, outcome);
        }
        let totals = rounds.totals(Duration::from_millis(50), Totals::default());
        assert_eq!((totals.rounds, totals.rounds_failed, totals.outages), (Some(8), Some(4), Some(3)));
        assert_eq!(totals.outage, Some(Duration::from_millis(20 + 10 + 10)));
        let spans = [span("b", 10, 20, 2, false), span("a", 19, 10, 1, false), span("b", 40, 10, 1, true)];
        assert_eq!(totals.outage_spans.unwrap(), spans);
        let took = totals.round.unwrap();
        assert_eq!((took.count, took.p50_ns, took.p90_ns), (4, Some(1_000_000), None));
    }

    #[test]
    fn an_endless_run_lists_a_thousand_outages_and_counts_all() {
        let mut rounds = Rounds::default();
        for at in 0..3000 {
            told(&mut rounds, 10 * at + 1, "a", if at % 2 == 0 { Outcome::Error } else { Outcome::Ok });
        }
        let totals = rounds.totals(Duration::from_millis(30_000), Totals::default());
        assert_eq!((totals.outages, totals.outage), (Some(1500), Some(Duration::from_millis(15_000))));
        assert_eq!(totals.outage_spans.unwrap().len(), LISTED);
    }

    #[test]
    fn without_a_round_there_are_zeros() {
        let totals = Rounds::default().totals(Duration::ZERO, Totals::default());
        assert_eq!((totals.rounds, totals.outages, totals.round), (Some(0), Some(0), None));
        assert_eq!(totals.outage_spans, Some(Vec::new()));
    }
}

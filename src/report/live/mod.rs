//! What came of each target so far, as one screen that is drawn again and again: a row a target.
//!
//! Of a target its counts, its round-trip times in a [`Sketch`] and its latest outcomes are kept, so
//! memory does not grow with the run. When to draw, how large the screen is and which keys were
//! pressed is the caller's.

mod screen;
mod table;

pub use screen::{draw, enter, leave};

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Glyphs;
use crate::stats::Sketch;

/// How many outcomes of a target are kept for its sparkline.
const LATEST: usize = 160;

/// How many different round-trip times of a target are kept apart: a three-digit percentile needs no
/// more.
const MOST_CELLS: usize = 1024;

/// All targets, by their number.
#[derive(Clone, Debug, Default)]
pub struct Live {
    rows: BTreeMap<u32, Row>,
    glyphs: Glyphs,
    color: bool,
}

/// What came of one target.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    sent: u64,
    /// Lost and not answered since.
    lost: u64,
    late: u64,
    refused: u64,
    rtts: Sketch,
    latest: VecDeque<Outcome>,
}

/// What came of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answered(Duration),
    Lost,
    Refused,
    /// It did not leave this host.
    NotSent,
}

impl Live {
    /// Makes an empty screen.
    #[must_use]
    pub fn new(glyphs: Glyphs, color: bool) -> Self {
        Self { rows: BTreeMap::new(), glyphs, color }
    }

    /// Gives a target its name; it has a row from now on. Control characters are escaped.
    pub fn name(&mut self, target: u32, name: &str) {
        self.row(target).name = table::escaped(name);
    }

    /// Adds a probe on its way.
    pub fn sent(&mut self, target: u32) {
        self.row(target).sent += 1;
    }

    /// Adds an answer; `was_refused` where an ICMP error had come to the probe before.
    pub fn answered(&mut self, target: u32, rtt: Duration, was_refused: bool) {
        let row = self.row(target);
        row.refused = row.refused.saturating_sub(u64::from(was_refused));
        row.rtts.record(rtt);
        row.note(Outcome::Answered(rtt));
    }

    /// Adds a probe to which no answer came in time.
    pub fn lost(&mut self, target: u32) {
        let row = self.row(target);
        row.lost += 1;
        row.note(Outcome::Lost);
    }

    /// Adds an answer to a probe that was lost, or refused: in the loss it is, and its round-trip time counts.
    pub fn late(&mut self, target: u32, rtt: Duration, was_refused: bool) {
        let row = self.row(target);
        let before = if was_refused { &mut row.refused } else { &mut row.lost };
        *before = before.saturating_sub(1);
        row.late += 1;
        row.rtts.record(rtt);
    }

    /// Adds a probe that an ICMP error came to.
    pub fn refused(&mut self, target: u32) {
        let row = self.row(target);
        row.refused += 1;
        row.note(Outcome::Refused);
    }

    /// Adds a probe that the kernel did not take: it says nothing of the target.
    pub fn not_sent(&mut self, target: u32) {
        self.row(target).note(Outcome::NotSent);
    }

    /// Returns a whole screen: at most `rows` lines, each at most `columns` wide, without a newline
    /// at the end. Where there are more targets than rows the worst are shown: those that did not
    /// answer most, then those whose p99 is greatest.
    #[must_use]
    pub fn frame(&self, columns: usize, rows: usize, title: &str) -> String {
        table::frame(self, columns, rows, title)
    }

    fn row(&mut self, target: u32) -> &mut Row {
        self.rows.entry(target).or_insert_with(|| Row::new(format!("target {target}")))
    }
}

impl Row {
    fn new(name: String) -> Self {
        let rtts = Sketch::new(MOST_CELLS);
        Self { name, sent: 0, lost: 0, late: 0, refused: 0, rtts, latest: VecDeque::new() }
    }

    fn note(&mut self, outcome: Outcome) {
        if self.latest.len() == LATEST {
            self.latest.pop_front();
        }
        self.latest.push_back(outcome);
    }

    /// Returns how many are no longer on their way.
    fn ended(&self) -> u64 {
        self.rtts.count() + self.unanswered()
    }

    fn unanswered(&self) -> u64 {
        self.lost + self.refused
    }

    /// Returns a percentile, in which no answer counts as infinite.
    fn percentile(&self, percent: u32) -> Option<Duration> {
        self.rtts.percentile(percent, self.unanswered())
    }

    /// Returns how bad it is: what share of the ended probes was not answered in time, then the p99,
    /// of which an absent one is infinite.
    fn badness(&self) -> (f64, Duration) {
        let failed = (self.unanswered() + self.late) as f64 / self.ended().max(1) as f64;
        let p99 = if self.ended() == 0 { Some(Duration::ZERO) } else { self.percentile(99) };
        (failed, p99.unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests;

//! Rows of probes that were not answered in time (RFC 3357), in whatever order that is noted: a probe that was refused
//! and then answered late is late after those behind it were lost.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use crate::event::{LossRun, Totals};

/// How many rows are told one by one.
const MOST_TOLD: usize = 1_000;

/// The rows of all targets.
#[derive(Clone, Debug, Default)]
pub(super) struct LossRuns {
    count: u64,
    longest: u64,
    /// Those that are told; `None` where one has become a part of another.
    spans: Vec<Option<LossRun>>,
    /// The places of those that have.
    free: Vec<u16>,
}

/// The rows of one target.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnRuns {
    count: u64,
    longest: u64,
    /// The latest of them, in order: one that is older is never met again.
    rows: VecDeque<Row>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    /// The number of its first probe.
    first: u64,
    /// The number behind its last.
    next: u64,
    /// When its last was sent.
    ended: SystemTime,
    /// Where it is told.
    place: Option<u16>,
}

impl LossRuns {
    /// Takes note of a probe to a target, by its number and when it was sent; the latest so many rows are known.
    pub(super) fn note(&mut self, own: &mut OwnRuns, kept: usize, target: &str, (sequence, sent): (u64, SystemTime)) {
        let at = own.rows.partition_point(|row| row.next < sequence);
        let row = match own.rows.get(at).copied() {
            Some(row) if row.next == sequence => {
                let row = self.extend(own, at, Row { next: sequence + 1, ended: sent, ..row }, sent);
                match own.rows.get(at + 1).copied() {
                    Some(behind) if behind.first == row.next => self.join(own, at, row, behind),
                    _ => row,
                }
            }
            Some(row) if row.first == sequence + 1 => self.extend(own, at, Row { first: sequence, ..row }, sent),
            Some(row) if row.first <= sequence => row,
            _ => {
                let place = self.begin(target, sequence, sent);
                let row = Row { first: sequence, next: sequence + 1, ended: sent, place };
                own.rows.insert(at, row);
                own.count += 1;
                self.count += 1;
                if own.rows.len() > kept {
                    own.rows.pop_front();
                }
                row
            }
        };
        own.longest = own.longest.max(row.next - row.first);
        self.longest = self.longest.max(own.longest);
    }

    /// Tells a new row, where there is room; returns where.
    fn begin(&mut self, target: &str, sequence: u64, started: SystemTime) -> Option<u16> {
        let span = LossRun { target: target.to_owned(), sequence, probes: 1, started, duration: Duration::ZERO };
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.spans.len() == MOST_TOLD => return None,
            None => {
                self.spans.push(None);
                u16::try_from(self.spans.len() - 1).ok()?
            }
        };
        self.spans[usize::from(place)] = Some(span);
        Some(place)
    }

    /// Makes a row as long as it is by probes that were sent until then, or before it.
    fn extend(&mut self, own: &mut OwnRuns, at: usize, row: Row, sent: SystemTime) -> Row {
        own.rows[at] = row;
        if let Some(span) = row.place.and_then(|place| self.spans.get_mut(usize::from(place))?.as_mut()) {
            let end = (span.started + span.duration).max(sent);
            span.started = span.started.min(sent);
            span.duration = end.duration_since(span.started).unwrap_or_default();
            (span.sequence, span.probes) = (row.first, row.next - row.first);
        }
        row
    }

    /// Makes one of a row and the one behind it.
    fn join(&mut self, own: &mut OwnRuns, at: usize, row: Row, behind: Row) -> Row {
        own.rows.remove(at + 1);
        own.count -= 1;
        self.count -= 1;
        if let Some(place) = behind.place {
            self.spans[usize::from(place)] = None;
            self.free.push(place);
        }
        self.extend(own, at, Row { next: behind.next, ended: behind.ended, ..row }, behind.ended)
    }

    /// Adds what they come to, the earliest first.
    pub(super) fn add_totals(&self, totals: Totals) -> Totals {
        let mut spans: Vec<LossRun> = self.spans.iter().flatten().cloned().collect();
        spans.sort_by_key(|span| span.started);
        let loss_run_spans = (!spans.is_empty()).then_some(spans);
        Totals { loss_runs: Some(self.count), loss_run_max: Some(self.longest), loss_run_spans, ..totals }
    }
}

impl OwnRuns {
    /// Adds what they come to.
    pub(super) fn add_totals(&self, totals: Totals) -> Totals {
        Totals { loss_runs: Some(self.count), loss_run_max: Some(self.longest), ..totals }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes probes in this order; returns the count, the longest, and each row that is told: its first, how many, and
    /// from when to when.
    fn noted(order: &[u64], kept: usize) -> (u64, u64, Vec<[u64; 4]>) {
        let (mut all, mut own) = (LossRuns::default(), OwnRuns::default());
        for sequence in order {
            let sent = SystemTime::UNIX_EPOCH + Duration::from_secs(*sequence);
            all.note(&mut own, kept, "a", (*sequence, sent));
        }
        let (totals, owns) = (all.add_totals(Totals::default()), own.add_totals(Totals::default()));
        assert_eq!((totals.loss_runs, totals.loss_run_max), (owns.loss_runs, owns.loss_run_max));
        let spans = totals.loss_run_spans.unwrap_or_default().into_iter().map(|span| {
            let from = span.started.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            [span.sequence, span.probes, from, from + span.duration.as_secs()]
        });
        (own.count, own.longest, spans.collect())
    }

    #[test]
    fn a_row_is_one_in_whatever_order_its_probes_are_noted() {
        let one = (1, 5, vec![[3, 5, 3, 7]]);
        for order in [[3, 4, 5, 6, 7], [7, 6, 5, 4, 3], [3, 5, 7, 4, 6], [4, 6, 3, 7, 5], [5, 3, 7, 6, 4]] {
            assert_eq!(noted(&order, 9), one, "{order:?}");
        }
        assert_eq!(noted(&[5, 1, 2, 9, 8], 9), (3, 2, vec![[1, 2, 1, 2], [5, 1, 5, 5], [8, 2, 8, 9]]));
        // What is noted twice is one.
        assert_eq!(noted(&[1, 2, 3, 2], 9), (1, 3, vec![[1, 3, 1, 3]]));
        assert_eq!(noted(&[], 9), (0, 0, vec![]));
    }

    #[test]
    fn of_very_many_the_latest_are_known_and_some_are_told() {
        let apart: Vec<u64> = (0..3_000).map(|number| number * 2).collect();
        let (count, longest, spans) = noted(&apart, 4);
        assert_eq!((count, longest, spans.len()), (3_000, 1, MOST_TOLD));
        // Those between the latest make one of these.
        let all: Vec<u64> = apart.iter().copied().chain([5_997, 5_995, 5_993]).collect();
        assert_eq!((noted(&all, 4).0, noted(&all, 4).1), (2_997, 7));
        // One that is told and becomes a part of another makes room.
        let pairs: Vec<u64> = (0..1_500).flat_map(|number| [number * 4, number * 4 + 2, number * 4 + 1]).collect();
        let (count, longest, spans) = noted(&pairs, 4);
        assert_eq!((count, longest, spans.len()), (1_500, 3, MOST_TOLD));
        assert!(spans.iter().all(|[_, probes, from, to]| (*probes, *to) == (3, from + 2)), "{spans:?}");
    }
}

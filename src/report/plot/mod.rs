//! The round-trip times of a run as a time line and a histogram, for a terminal of any width, in
//! memory that does not grow.
//!
//! Up to 4,096 probes are kept as they are. Of more, those that are next to each other in time
//! become one, of which the least, the mean and the greatest stay known, and how many were lost.

mod axis;
mod histogram;
mod time_line;

use std::collections::BTreeMap;
use std::time::Duration;

use super::Glyphs;
use super::people::count;
use crate::stats::Sketch;

/// Most moments, and most different round-trip times, that are kept apart.
const MOST_CELLS: usize = 4096;

/// Narrower than this no axis has room for its labels.
const FEWEST_COLUMNS: usize = 40;

/// Wider than this no terminal is.
const MOST_COLUMNS: usize = 1000;

/// Round-trip times, and when each was measured.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What came of the probes of each span of time, by its begin in nanoseconds.
    cells: BTreeMap<u64, Cell>,
    /// A span is two to the power of this many nanoseconds.
    shift: u32,
    rtts: Sketch,
    lost: u64,
    first: u64,
    last: u64,
}

/// What came of probes that were sent at about the same time.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    answered: u64,
    lost: u64,
    sum: u128,
    min: u64,
    max: u64,
}

impl Cell {
    /// Adds what came of others.
    fn add(&mut self, other: &Self) {
        if other.answered > 0 {
            self.min = if self.answered == 0 { other.min } else { self.min.min(other.min) };
            self.max = self.max.max(other.max);
        }
        self.answered += other.answered;
        self.lost += other.lost;
        self.sum += other.sum;
    }

    /// Returns the mean round-trip time.
    fn mean(&self) -> Option<u64> {
        u64::try_from(self.sum.checked_div(u128::from(self.answered))?).ok()
    }
}

impl Default for Plot {
    fn default() -> Self {
        let rtts = Sketch::new(MOST_CELLS);
        Self { cells: BTreeMap::new(), shift: 0, rtts, lost: 0, first: u64::MAX, last: 0 }
    }
}

impl Plot {
    /// Adds an answer to the probe that was sent at `at`. They may come in any order.
    pub fn answered(&mut self, at: Duration, rtt: Duration) {
        self.rtts.record(rtt);
        let rtt = nanos(rtt);
        self.add(at, &Cell { answered: 1, lost: 0, sum: rtt.into(), min: rtt, max: rtt });
    }

    /// Adds that no answer came to the probe that was sent at `at`, or one that refused it.
    pub fn lost(&mut self, at: Duration) {
        self.lost += 1;
        self.add(at, &Cell { lost: 1, ..Cell::default() });
    }

    /// Adds an answer to a probe of which [`lost`](Self::lost) was told before, with the same `at`.
    pub fn late(&mut self, at: Duration, rtt: Duration) {
        self.lost = self.lost.saturating_sub(1);
        if let Some(cell) = self.cells.get_mut(&self.begin(nanos(at))) {
            cell.lost = cell.lost.saturating_sub(1);
        }
        self.answered(at, rtt);
    }

    /// Draws both, each line at most `columns` wide and ended by a newline; fewer columns than 40
    /// are taken as 40.
    #[must_use]
    pub fn render(&self, columns: usize, glyphs: Glyphs) -> String {
        let columns = columns.clamp(FEWEST_COLUMNS, MOST_COLUMNS);
        if self.rtts.count() == 0 {
            return match self.lost {
                0 => "nothing to plot: no probe\n".to_owned(),
                lost => format!("nothing to plot: {} lost\n", count(lost, "probe")),
            };
        }
        let mut lines = time_line::lines(self, columns, glyphs);
        lines.push(String::new());
        lines.extend(histogram::lines(&self.rtts, self.lost, columns, glyphs));
        lines.into_iter().map(|line| fitted(&line, columns) + "\n").collect()
    }

    fn add(&mut self, at: Duration, cell: &Cell) {
        let at = nanos(at);
        (self.first, self.last) = (self.first.min(at), self.last.max(at));
        self.cells.entry(self.begin(at)).or_default().add(cell);
        if self.cells.len() > MOST_CELLS {
            self.coarsen();
        }
    }

    /// Makes the spans longer until half of the room is free.
    fn coarsen(&mut self) {
        while self.cells.len() > MOST_CELLS / 2 && self.shift < u64::BITS - 1 {
            self.shift += 1;
            for (begin, cell) in std::mem::take(&mut self.cells) {
                self.cells.entry(self.begin(begin)).or_default().add(&cell);
            }
        }
    }

    /// Returns when the span begins that holds a moment.
    fn begin(&self, at: u64) -> u64 {
        at >> self.shift << self.shift
    }

    /// Returns how long after the first probe the last was sent.
    fn span(&self) -> u64 {
        self.last.saturating_sub(self.first)
    }

    /// Returns what came of the probes, and how long after the first they were sent.
    fn cells(&self) -> impl Iterator<Item = (u64, &Cell)> {
        let half = (1_u64 << self.shift) / 2;
        self.cells.iter().map(move |(begin, cell)| {
            let middle = begin.saturating_add(half).clamp(self.first, self.last);
            (middle - self.first, cell)
        })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns a line without what is beyond the width, and without spaces at its end.
fn fitted(line: &str, columns: usize) -> String {
    let end = line.char_indices().nth(columns).map_or(line.len(), |(at, _)| at);
    line[..end].trim_end().to_owned()
}

#[cfg(test)]
mod tests;

//! The bar of a run whose end is known, as one line that stays below all else on its terminal.
//!
//! [`Bar`] says what the line is, [`Footer`] what the terminal is told so that it stays the last one. Both
//! are pure: times come in, and who writes is the caller's.

use std::time::Duration;

use super::people::bytes_short;
use crate::stats::{Extent, Progress};

/// A run that is over sooner has no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// The least time between two drawings that nothing but other text asks for.
const FRAME: Duration = Duration::from_millis(100);

/// The cells of a bar: at most, and at least where it is to be of use.
const CELLS: usize = 24;
const LEAST_CELLS: usize = 5;

/// What takes the line away that the cursor is in (ECMA-48, EL).
const ERASE: &[u8] = b"\r\x1b[K";

/// What is known of the pace of a run, and until when it may last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bar {
    deadline: Option<Duration>,
    /// When there was something done for the first time, and when more was done for the last: what it was.
    first: Option<(Duration, u64)>,
    last: (Duration, u64),
}

impl Bar {
    /// Makes the bar of a run that ends at a deadline, if there is one, whatever it has done by then.
    pub(super) fn new(deadline: Option<Duration>) -> Self {
        Self { deadline, first: None, last: (Duration::ZERO, 0) }
    }

    /// Returns the line for a run that has lasted so long and come so far, in less than so many columns:
    /// in the last one a terminal might wrap. `None` where it is too early, or where no end is known.
    pub(super) fn line(&mut self, now: Duration, columns: usize, progress: Option<Progress>) -> Option<String> {
        let Some(Progress { done, extent }) = progress else {
            let deadline = self.deadline.filter(|_| now > PATIENCE)?;
            let now = now.min(deadline);
            let (done, total) = (now.as_nanos() as u64, deadline.as_nanos() as u64);
            let past = format!("{} of {}", span(Duration::from_secs(now.as_secs())), span(deadline));
            return fitted(columns, done, total, &past, Some(deadline - now));
        };
        let (Extent::Count(total) | Extent::Bytes(total)) = extent;
        let done = done.min(total);
        self.note(now, done);
        if now <= PATIENCE {
            return None;
        }
        let left = self.left(now, total - done);
        // Whichever end comes first.
        let left = left.map(|left| self.deadline.map_or(left, |deadline| left.min(deadline.saturating_sub(now))));
        let past = match extent {
            Extent::Count(_) => format!("{done} of {total}"),
            Extent::Bytes(_) => format!("{} of {}", bytes_short(done), bytes_short(total)),
        };
        fitted(columns, done, total, &past, left)
    }

    /// Takes note of how much is done.
    fn note(&mut self, now: Duration, done: u64) {
        if done > self.last.1 {
            self.first.get_or_insert((now, done));
            self.last = (now, done);
        }
    }

    /// Returns how long the rest takes at the pace that was seen from the first to the last that was done; `None`
    /// where none was seen, or where the rest should be done by now.
    fn left(&self, now: Duration, rest: u64) -> Option<Duration> {
        let (first, last) = (self.first?, self.last);
        let steps = (last.1 - first.1) as f64;
        if steps == 0.0 || rest == 0 {
            return None;
        }
        let each = (last.0 - first.0).as_secs_f64() / steps;
        let idle = now.saturating_sub(last.0).as_secs_f64();
        let seconds = match idle <= each {
            true => rest as f64 * each - idle,
            // The next is late: as if it came now.
            false => (rest - 1) as f64 * (now.saturating_sub(first.0).as_secs_f64() / (steps + 1.0)),
        };
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// Returns as much of a line as there is room for: what is least needed goes first.
fn fitted(columns: usize, done: u64, total: u64, past: &str, left: Option<Duration>) -> Option<String> {
    let of_total = |whole: usize| (u128::from(done) * whole as u128 / u128::from(total.max(1))) as usize;
    let percent = format!("{} %", of_total(100));
    let room = columns.saturating_sub(1);
    let mut words = vec![format!("{past}, {percent}"), percent];
    if let Some(left) = left.filter(|left| !left.is_zero()) {
        // Rounded up: where some is left it is not 0.
        let left = Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
        words.insert(0, format!("{}, {} left", words[0], span(left)));
    }
    let frame = "[] ".len();
    let fits = |words: &&String| words.len() + frame + LEAST_CELLS <= room;
    match words.iter().find(fits) {
        Some(words) => {
            let cells = CELLS.min(room - words.len() - frame);
            let full = of_total(cells);
            Some(format!("[{}{}] {words}", "#".repeat(full), "-".repeat(cells - full)))
        }
        None => words.pop().filter(|percent| percent.len() <= room),
    }
}

/// Returns a span of time as it is typed, to the minute where it is hours.
fn span(span: Duration) -> String {
    match span.as_secs() {
        0..60 => format!("{} s", span.as_secs_f64()),
        seconds @ 60..3600 => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
        seconds => humantime::format_duration(Duration::from_secs(seconds.div_ceil(60) * 60)).to_string(),
    }
}

/// The line that stays below all that is written to a terminal. The cursor stands at its begin, so that what another
/// program writes there is written over it.
#[derive(Debug, Default)]
pub(super) struct Footer {
    /// What it is; `None` where there is none.
    line: Option<String>,
    is_shown: bool,
    drawn: Duration,
    /// What was written last has not ended its line.
    is_in_line: bool,
}

impl Footer {
    /// Puts around what is about to be written whatever takes the line away before, and draws it again after:
    /// another one, where there is news of it. `now` is of any clock that does not go back.
    pub(super) fn around(&mut self, batch: &mut Vec<u8>, news: Option<Option<String>>, now: Duration) {
        let is_new = news.as_ref().is_some_and(|line| *line != self.line);
        let is_due = news.is_some() || now.saturating_sub(self.drawn) >= FRAME;
        if let Some(line) = news {
            self.line = line;
        }
        if let Some(last) = batch.last() {
            self.is_in_line = *last != b'\n';
        }
        if self.is_shown && (is_new || !batch.is_empty()) {
            batch.splice(0..0, ERASE.iter().copied());
            self.is_shown = false;
        }
        if let Some(line) = &self.line
            && !self.is_shown
            && !self.is_in_line
            && is_due
        {
            batch.extend_from_slice(line.as_bytes());
            batch.push(b'\r');
            (self.is_shown, self.drawn) = (true, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Returns the last line of a bar in so many columns that was told what was done at times in milliseconds.
    fn drawn(columns: usize, deadline: Option<u64>, total: u64, told: &[(u64, u64)]) -> Option<String> {
        let mut bar = Bar::new(deadline.map(ms));
        let extent = Extent::Count(total);
        told.iter()
            .map(|(at, done)| bar.line(ms(*at), columns, Some(Progress { done: *done, extent })))
            .last()
            .flatten()
    }

    #[test]
    fn a_line_says_how_much_is_done_and_how_long_the_rest_takes() {
        let half = drawn(80, None, 1000, &[(100, 12), (2100, 412)]);
        assert_eq!(half.unwrap(), "[#########---------------] 412 of 1000, 41 %, 3 s left");
        let none = drawn(80, None, 1000, &[(100, 0), (5000, 0)]);
        assert_eq!(none.unwrap(), "[------------------------] 0 of 1000, 0 %", "no pace is known");
        let first = drawn(80, None, 1000, &[(5000, 1)]);
        assert_eq!(first.unwrap(), "[------------------------] 1 of 1000, 0 %", "of one there is none");
        let almost = drawn(80, None, 1000, &[(100, 1), (2000, 999)]);
        assert_eq!(almost.unwrap(), "[#######################-] 999 of 1000, 99 %, 1 s left");
        for done in [1000, 1001] {
            let all = drawn(80, None, 1000, &[(100, 1), (2000, done)]);
            assert_eq!(all.unwrap(), "[########################] 1000 of 1000, 100 %");
        }
    }

    #[test]
    fn it_appears_after_a_second_and_where_an_end_is_known() {
        assert_eq!(drawn(80, None, 10, &[(100, 1), (1000, 9)]), None);
        assert!(drawn(80, None, 10, &[(100, 1), (1001, 9)]).is_some());
        let mut bar = Bar::new(None);
        assert_eq!(bar.line(ms(5000), 80, None), None);
    }

    #[test]
    fn it_fits_whatever_the_width_and_what_is_least_needed_goes_first() {
        let in_columns = |columns| drawn(columns, None, 1000, &[(100, 12), (2100, 412)]).unwrap_or_default();
        assert_eq!(in_columns(40), "[###------] 412 of 1000, 41 %, 3 s left");
        assert_eq!(in_columns(35), "[#####---------] 412 of 1000, 41 %");
        assert_eq!(in_columns(26), "[##---] 412 of 1000, 41 %");
        assert_eq!(in_columns(25), "[#######----------] 41 %");
        assert_eq!(in_columns(8), "41 %");
        assert_eq!(in_columns(4), "");
        for columns in 0..200 {
            let many = drawn(columns, None, u64::MAX, &[(100, 1), (2100, u64::MAX / 3)]).unwrap_or_default();
            assert!(many.len() <= columns.saturating_sub(1) && in_columns(columns).len() <= columns.saturating_sub(1));
        }
    }

    #[test]
    fn the_pace_is_that_of_what_was_done() {
        let left = |told: &[(u64, u64)]| {
            let line = drawn(80, None, 10, told).unwrap();
            line.split_once("%, ").map(|(_, left)| left.to_owned())
        };
        // One a second, the first at once.
        assert_eq!(left(&[(0, 1), (1000, 2), (1500, 2)]).unwrap(), "8 s left");
        assert_eq!(left(&[(0, 1), (1000, 2), (2000, 3)]).unwrap(), "7 s left");
        // The next is late: the pace is slower than it was.
        assert_eq!(left(&[(0, 1), (1000, 2), (5000, 2)]).unwrap(), "18 s left");
        // The last is late, and nobody knows for how long.
        assert_eq!(left(&[(0, 1), (8000, 9), (9500, 9)]), None);
        assert_eq!(left(&[(0, 1), (8000, 9), (8500, 9)]).unwrap(), "1 s left");
    }

    #[test]
    fn a_deadline_ends_what_would_last_longer_and_what_has_no_other_end() {
        let told = [(100, 1), (2100, 2)];
        assert_eq!(drawn(80, Some(3500), 1000, &told).unwrap(), "[------------------------] 2 of 1000, 0 %, 2 s left");
        let mut bar = Bar::new(Some(ms(10_000)));
        let mut at = |millis| bar.line(ms(millis), 50, None).unwrap_or_default();
        assert_eq!(at(900), "");
        assert_eq!(at(4100), "[#######------------] 4 s of 10 s, 41 %, 6 s left");
        assert_eq!(at(10_050), "[########################] 10 s of 10 s, 100 %");
        let mut long = Bar::new(Some(ms(7_230_000)));
        assert_eq!(
            long.line(ms(61_000), 80, None).unwrap().split_once("] ").unwrap().1,
            "1m 1s of 2h 1m, 0 %, 2h left"
        );
        let mut short = Bar::new(Some(ms(2500)));
        assert_eq!(short.line(ms(1500), 30, None).unwrap(), "[####----] 1 s of 2.5 s, 60 %");
    }

    #[test]
    fn bytes_are_told_as_such() {
        let progress = Progress { done: 1_230_000, extent: Extent::Bytes(3_000_000) };
        let line = Bar::new(None).line(ms(2000), 80, Some(progress));
        assert_eq!(line.unwrap(), "[#########---------------] 1.2 MB of 3.0 MB, 41 %");
    }

    /// Returns what the terminal gets for each batch, with the news of the line and its time in milliseconds.
    fn written(told: &[(u64, &str, Option<Option<&str>>)]) -> Vec<String> {
        let mut footer = Footer::default();
        let write = |(at, text, news): &(u64, &str, Option<Option<&str>>)| {
            let mut batch = text.as_bytes().to_vec();
            footer.around(&mut batch, news.map(|line| line.map(str::to_owned)), ms(*at));
            String::from_utf8(batch).unwrap()
        };
        told.iter().map(write).collect()
    }

    #[test]
    fn the_line_is_taken_away_before_other_text_and_drawn_again_after() {
        let told = written(&[
            (0, "one\n", None),
            (1000, "", Some(Some("[-]"))),
            // Nothing is new.
            (1100, "", Some(Some("[-]"))),
            (1200, "two\n", None),
            // It was drawn just now: the next tick draws it.
            (1201, "three\n", None),
            (1202, "four\n", None),
            (1300, "", Some(Some("[#]"))),
            (1310, "five\n", Some(Some("[=]"))),
            (2000, "", Some(None)),
            (3000, "six\n", None),
        ]);
        let expected = [
            "one\n",
            "[-]\r",
            "",
            "\r\x1b[Ktwo\n[-]\r",
            "\r\x1b[Kthree\n",
            "four\n",
            "[#]\r",
            "\r\x1b[Kfive\n[=]\r",
            "\r\x1b[K",
            "six\n",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn no_line_is_drawn_into_one_that_was_not_ended() {
        let told = written(&[
            (1000, "", Some(Some("[-]"))),
            (1200, "answ", None),
            (1300, "", Some(Some("[#]"))),
            (1400, "er\n", None),
        ]);
        assert_eq!(told, ["[-]\r", "\r\x1b[Kansw", "", "er\n[#]\r"]);
    }
}

//! The rounds of a run that repeats: when each begins, and how it came out.

use std::time::{Duration, Instant};

use super::{Door, now, since};
use crate::error::ExitCode;
use crate::event::{self, Outcome};

/// Slots at a fixed distance, counted from the first: so nothing drifts, however late one begins.
#[derive(Debug)]
pub struct Grid {
    first: Instant,
    interval: Duration,
    /// The slot that was last begun, from 0.
    slot: u128,
}

impl Grid {
    /// Makes a grid whose first slot is now. Without an interval no slot is waited for.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { first: now(), interval, slot: 0 }
    }

    /// Waits for the next slot; those that have passed are left out.
    pub async fn next(&mut self) {
        let (elapsed, interval) = (since(self.first).as_nanos(), self.interval.as_nanos());
        if let Some(passed) = elapsed.checked_div(interval) {
            self.slot = self.slot.max(passed) + 1;
            super::sleep(nanoseconds((self.slot * interval).saturating_sub(elapsed))).await;
        }
    }

    /// Returns how long ago the slot was that was last begun, where the next one has passed.
    #[must_use]
    pub fn overrun(&self) -> Option<Duration> {
        let interval = self.interval.as_nanos();
        let ago = since(self.first).as_nanos().saturating_sub(self.slot * interval);
        (interval > 0 && ago > interval).then(|| nanoseconds(ago))
    }
}

/// Returns a duration that a clock can count to.
fn nanoseconds(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Reports what the probe of a target, `number` among them, has come to.
pub fn probed(door: &Door, began: Instant, target: &str, number: usize, conn: Option<u64>, code: ExitCode) {
    let (outcome, exit_code) = (Outcome::of(code), code.number());
    door.emit(event::Probe { target, number, conn, outcome, exit_code, duration: since(began) });
}

/// Reports that a round of a target, `number` among them, has ended.
pub fn round(door: &Door, began: Instant, target: &str, number: usize, round: u64, conn: Option<u64>, code: ExitCode) {
    let (outcome, exit_code) = (Outcome::of(code), code.number());
    door.emit(event::Round { target, number, round, conn, outcome, exit_code, duration: since(began) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn slots_that_have_passed_are_left_out() {
        let interval = Duration::from_secs(3600);
        let mut grid = Grid { first: now() - 5 * interval / 2, interval, slot: 0 };
        assert!(grid.overrun().is_some_and(|ago| ago >= 5 * interval / 2));
        // The wait for slot 3 begins, half an hour before it is due.
        assert!(super::super::within(Some(Duration::from_millis(1)), grid.next()).await.is_none());
        assert_eq!((grid.slot, grid.overrun()), (3, None));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn without_an_interval_nothing_is_waited_for_and_nothing_late() {
        let mut grid = Grid::new(Duration::ZERO);
        grid.next().await;
        assert_eq!((grid.slot, grid.overrun()), (0, None));
    }
}

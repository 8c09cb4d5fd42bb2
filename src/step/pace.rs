//! A kept pace: how much may pass by now, so that no second holds more than its share.

use std::time::{Duration, Instant};

/// The least time between two portions, so that a fast pace costs a hundred portions a second.
const TICK: Duration = Duration::from_millis(10);

/// How far behind its pace something may be and still catch up. What it has lost beyond that is
/// lost: it would come as a burst.
const CATCH_UP: Duration = Duration::from_millis(100);

/// A pace. Each unit has its time, which depends on the time of the one before and on nothing
/// else, so that late portions are larger and none is later for them.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Units a second.
    rate: f64,
    /// When the next unit is due.
    next: Instant,
    /// When the next portion may come.
    again: Instant,
}

impl Pace {
    /// Begins a pace of so many units a second; the first unit is due at once.
    #[must_use]
    pub fn new(rate: f64, now: Instant) -> Self {
        Self { rate, next: now, again: now }
    }

    /// Begins again after a time in which nothing was to pass: it earns nothing, unless it was so
    /// short that the pace may as well have gone on.
    pub fn begin(&mut self, now: Instant) {
        if now.saturating_duration_since(self.next) > CATCH_UP {
            self.next = now;
        }
    }

    /// Returns how many units are due.
    #[must_use]
    pub fn due(&mut self, now: Instant) -> u64 {
        if now < self.next || now < self.again {
            return 0;
        }
        self.next = now.checked_sub(CATCH_UP).map_or(self.next, |least| self.next.max(least));
        ((now - self.next).as_secs_f64() * self.rate) as u64 + 1
    }

    /// Notes that so many units have passed, more than were due too.
    pub fn passed(&mut self, units: u64, now: Instant) {
        self.next += Duration::from_secs_f64(units as f64 / self.rate);
        self.again = now + TICK;
    }

    /// Returns how long to wait until something is due.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        self.next.max(self.again).saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a pace run with waits that each end a little late, and returns what passed.
    fn run(rate: f64, time: Duration, late: Duration) -> (u64, u64) {
        let began = Instant::now();
        let (mut now, mut pace) = (began, Pace::new(rate, began));
        let (mut passed, mut most) = (0, 0);
        while now - began < time {
            let due = pace.due(now);
            if due > 0 {
                pace.passed(due, now);
                passed += due;
                most = most.max(due);
            }
            now += pace.wait(now) + late;
        }
        (passed, most)
    }

    #[test]
    fn a_pace_is_kept_without_drift_and_without_bursts() {
        for rate in [1.0, 7.3, 50.0, 1000.0, 1e6, 125e6] {
            let (passed, most) = run(rate, Duration::from_secs(60), Duration::from_micros(1700));
            let expected = rate * 60.0;
            assert!((passed as f64 - expected).abs() <= expected * 0.001 + 1.0, "{rate}: {passed}");
            assert!(most as f64 <= rate * 0.02 + 1.0, "{rate}: {most} at once");
        }
    }

    #[test]
    fn the_first_is_due_at_once_and_rest_earns_nothing() {
        let now = Instant::now();
        let mut pace = Pace::new(10.0, now);
        assert_eq!(pace.due(now), 1);
        pace.passed(1, now);
        assert_eq!((pace.due(now), pace.wait(now)), (0, Duration::from_millis(100)));
        let later = now + Duration::from_secs(60);
        pace.begin(later);
        assert_eq!(pace.due(later), 1);
    }

    #[test]
    fn parts_that_follow_one_another_keep_the_pace() {
        let began = Instant::now();
        let (mut now, mut pace, mut passed) = (began, Pace::new(1000.0, began), 0);
        while now - began < Duration::from_secs(10) {
            now += Duration::from_millis(13);
            pace.begin(now);
            let due = pace.due(now);
            pace.passed(due, now);
            passed += due;
        }
        assert!((9_990..=10_020).contains(&passed), "{passed}");
    }

    #[test]
    fn after_a_stall_little_comes_at_once() {
        let now = Instant::now();
        let mut pace = Pace::new(1000.0, now);
        assert!(pace.due(now + Duration::from_secs(60)) <= 101);
    }

    #[test]
    fn what_passed_before_it_was_due_is_waited_for() {
        let now = Instant::now();
        let mut pace = Pace::new(100.0, now);
        pace.passed(1000, now);
        assert_eq!(pace.wait(now), Duration::from_secs(10));
        pace.begin(now);
        assert_eq!(pace.due(now + Duration::from_secs(9)), 0);
    }
}

//! A schedule of sends: when each is due, to the nanosecond, without drift.

use std::time::{Duration, Instant};

use crate::event::Lateness;

/// How far behind its times a schedule may be and still catch up. What it has lost beyond that is
/// lost: it would come as a burst.
const CATCH_UP: Duration = Duration::from_millis(100);

/// When each of a row of sends is due: the first at once, then one each interval.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// When the send with the number `base` is due.
    began: Instant,
    base: u64,
    /// The number of the next.
    next: u64,
    /// Nanoseconds from one to the next.
    interval: f64,
    /// Where times that passed unused are left out: how late a send may be, in nanoseconds.
    grid: Option<f64>,
    /// How many times were left out since that was asked last.
    missed: u64,
}

impl Schedule {
    /// Begins one with so many sends a second.
    #[must_use]
    pub fn at_rate(rate: f64, now: Instant) -> Self {
        Self { began: now, base: 0, next: 0, interval: 1e9 / rate, grid: None, missed: 0 }
    }

    /// Begins one with so long from one to the next.
    #[must_use]
    pub fn with_interval(interval: Duration, now: Instant) -> Self {
        Self { began: now, base: 0, next: 0, interval: interval.as_nanos() as f64, grid: None, missed: 0 }
    }

    /// Keeps the sends to their grid: times that passed unused are left out and counted, save those of the
    /// last 10 ms, or the last one.
    #[must_use]
    pub fn on_grid(self) -> Self {
        const ALLOWED: f64 = 1e7;
        Self { grid: Some(self.interval.max(ALLOWED)), ..self }
    }

    /// Returns how many times were left out since that was asked last.
    pub fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// Returns when the next is due.
    #[must_use]
    pub fn next_at(&self) -> Instant {
        let nanos = (self.next - self.base) as f64 * self.interval;
        // Further than any run lasts.
        const FAR: f64 = 1e18;
        self.began + Duration::from_nanos(nanos.min(FAR) as u64)
    }

    /// Returns how many are due.
    #[must_use]
    pub fn due(&mut self, now: Instant) -> u64 {
        let late = now.saturating_duration_since(self.next_at());
        if now < self.next_at() {
            return 0;
        }
        if let Some(allowed) = self.grid
            && late.as_nanos() as f64 >= allowed
        {
            let missed = ((late.as_nanos() as f64 - allowed) / self.interval) as u64 + 1;
            self.missed += missed;
            self.began += Duration::from_nanos((missed as f64 * self.interval) as u64);
        }
        let late = now.saturating_duration_since(self.next_at());
        if late > CATCH_UP && self.grid.is_none() {
            (self.began, self.base) = (now - CATCH_UP, self.next);
        }
        let late = if self.grid.is_none() { late.min(CATCH_UP) } else { late }.as_nanos() as f64;
        if self.interval < 1.0 { u64::MAX } else { (late / self.interval) as u64 + 1 }
    }

    /// Notes that so many have been sent, and returns how late each was at `now`.
    pub fn pass(&mut self, sends: u64, now: Instant) -> Lateness {
        let first = now.saturating_duration_since(self.next_at());
        self.next += sends;
        Lateness { first, step: Duration::from_nanos(self.interval as u64) }
    }

    /// Returns whether each has a time of its own: without an interval all are due at once.
    #[must_use]
    pub fn has_times(&self) -> bool {
        self.interval > 0.0
    }

    /// Begins anew from now on: after a wait that was no part of it.
    pub fn not_before(&mut self, now: Instant) {
        if now > self.next_at() {
            (self.began, self.base) = (now, self.next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_due_at_its_own_time_without_drift() {
        let began = Instant::now();
        for rate in [0.001, 0.5, 1.0, 3.0, 1_000.0, 200_000.0, 3_000_000.0] {
            let mut schedule = Schedule::at_rate(rate, began);
            assert_eq!(schedule.due(began), 1, "{rate}");
            schedule.pass(1, began);
            assert_eq!(schedule.due(began), 0, "{rate}");
            // A million sends later the time is still exact.
            schedule.next = 1_000_000;
            let expected = 1e6 / rate;
            let at = (schedule.next_at() - began).as_secs_f64();
            assert!((at - expected).abs() < 1e-6, "{rate}: {at} for {expected}");
        }
    }

    #[test]
    fn what_is_late_is_caught_up_but_for_a_burst() {
        let began = Instant::now();
        let mut schedule = Schedule::at_rate(1_000.0, began);
        let now = began + Duration::from_micros(4_500);
        assert_eq!(schedule.due(now), 5);
        let late = schedule.pass(5, now);
        assert_eq!((late.first, late.step), (Duration::from_micros(4_500), Duration::from_millis(1)));
        assert_eq!(schedule.due(now), 0);
        assert_eq!(schedule.due(now + Duration::from_secs(60)), 101);
    }

    #[test]
    fn on_a_grid_what_passed_unused_is_left_out() {
        let began = Instant::now();
        let mut slow = Schedule::with_interval(Duration::from_secs(1), began).on_grid();
        slow.pass(1, began);
        let now = began + Duration::from_millis(3_500);
        assert_eq!((slow.due(now), slow.take_missed()), (1, 2));
        slow.pass(1, now);
        assert_eq!((slow.due(now), slow.next_at()), (0, began + Duration::from_secs(4)));
        assert_eq!(slow.due(began + Duration::from_millis(4_900)), 1);
        let mut fast = Schedule::at_rate(10_000.0, began).on_grid();
        let now = began + Duration::from_micros(25_050);
        assert_eq!((fast.due(now), fast.take_missed()), (100, 151));
        fast.pass(100, now);
        assert_eq!(fast.next_at(), began + Duration::from_micros(25_100));
    }

    #[test]
    fn after_a_wait_it_begins_anew() {
        let began = Instant::now();
        let mut schedule = Schedule::with_interval(Duration::from_secs(1), began);
        schedule.pass(1, began);
        let now = began + Duration::from_secs(7);
        schedule.not_before(now);
        assert_eq!((schedule.due(now), schedule.next_at()), (1, now));
        let mut none = Schedule::with_interval(Duration::ZERO, began);
        none.pass(3, began);
        assert!(none.due(began) > 0 && !none.has_times() && schedule.has_times());
    }
}

//! When the probes of a schedule go: evenly, or at random with the same mean.

use std::time::{Duration, Instant};

use crate::args::Spacing;
use crate::event::Lateness;
use crate::step::{Schedule, now};

/// The times of a row of sends.
pub(super) enum Times {
    /// So much time from one to the next.
    Even(Schedule),
    /// A Poisson process (RFC 2330, 11.1.1): what passed says nothing of what comes.
    Poisson {
        /// When the next is due.
        next: Instant,
        /// Seconds from one to the next in the long run.
        mean: f64,
        /// Times that were left out since that was asked last.
        missed: u64,
    },
}

impl Times {
    /// Begins with so many sends a second.
    pub(super) fn new(spacing: Spacing, rate: f64) -> Self {
        match spacing {
            Spacing::Periodic => Self::Even(Schedule::at_rate(rate, now()).on_grid()),
            Spacing::Poisson => Self::Poisson { next: now(), mean: 1.0 / rate, missed: 0 },
        }
    }

    /// Returns when the next is due.
    pub(super) fn next_at(&self) -> Instant {
        match self {
            Self::Even(schedule) => schedule.next_at(),
            Self::Poisson { next, .. } => *next,
        }
    }

    /// Returns how many are due.
    pub(super) fn due(&mut self, now: Instant) -> u64 {
        match self {
            Self::Even(schedule) => schedule.due(now),
            Self::Poisson { next, .. } => u64::from(*next <= now),
        }
    }

    /// Notes that so many pass, and returns how late each is.
    pub(super) fn pass(&mut self, sends: u64, now: Instant) -> Lateness {
        match self {
            Self::Even(schedule) => schedule.pass(sends, now),
            Self::Poisson { next, mean, missed } => {
                /// Further behind than this, times are left out.
                const ALLOWED: Duration = Duration::from_millis(10);
                let late = now.saturating_duration_since(*next);
                *next += gap(*mean);
                while now.saturating_duration_since(*next) > ALLOWED {
                    *next += gap(*mean);
                    *missed += 1;
                }
                Lateness { first: late, step: Duration::ZERO }
            }
        }
    }

    /// Returns how many times were left out since that was asked last.
    pub(super) fn take_missed(&mut self) -> u64 {
        match self {
            Self::Even(schedule) => schedule.take_missed(),
            Self::Poisson { missed, .. } => std::mem::take(missed),
        }
    }
}

/// Returns a time between two events of a Poisson process.
fn gap(mean: f64) -> Duration {
    /// Longer than any run.
    const FAR: f64 = 1e9;
    Duration::from_secs_f64((exponential(fastrand::f64) * mean).clamp(1e-9, FAR))
}

/// Returns a number at random of the exponential distribution with mean 1, from such of the uniform one, by comparing
/// them (von Neumann, "Various techniques used in connection with random digits", 1951). A logarithm would be the only
/// thing that this program needs of libm: a library more to load at each start.
fn exponential(mut uniform: impl FnMut() -> f64) -> f64 {
    let mut whole = 0.0;
    loop {
        // A row of falling numbers is as long as chance has it; of odd length, its first is the answer's fraction.
        let first = uniform();
        let (mut last, mut is_odd) = (first, true);
        loop {
            let next = uniform();
            if next > last {
                break;
            }
            (last, is_odd) = (next, !is_odd);
        }
        if is_odd {
            return whole + first;
        }
        whole += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_at_random_are_exponential() {
        const COUNT: u32 = 200_000;
        let mut random = fastrand::Rng::with_seed(7);
        let all: Vec<f64> = (0..COUNT).map(|_| exponential(|| random.f64())).collect();
        let share =
            |is_so: &dyn Fn(f64) -> bool| all.iter().filter(|one| is_so(**one)).count() as f64 / f64::from(COUNT);
        // Each share is within four deviations of what it is to be: sqrt(p (1 - p) / COUNT) is at most 0.0012.
        for at in [0.01, 0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0_f64] {
            let (seen, expected) = (share(&|one| one > at), (-at).exp());
            assert!((seen - expected).abs() < 0.0048, "{at}: {seen}, not {expected}");
        }
        let mean = all.iter().sum::<f64>() / f64::from(COUNT);
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }
}

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
    // From more than 0 to 1, so that the logarithm is finite.
    let uniform = 1.0 - fastrand::f64();
    Duration::from_secs_f64((-uniform.ln() * mean).clamp(1e-9, FAR))
}

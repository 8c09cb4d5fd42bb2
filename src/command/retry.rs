//! `connect --retry-for`: a connect that fails is tried again, with back-off, until the port opens.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Run;
use super::reach::{self, Bounds, Resolved};
use crate::args::Connect;
use crate::error::ExitCode;
use crate::event::Warning;
use crate::step::{self, Failed, Stream, now};

/// The pause before the second try; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How much a pause differs from what it would be, either way: so that many clients of one server
/// do not come back all at once.
const JITTER: f64 = 0.1;

/// What a try has at least, however little time is left: a round trip to anywhere on Earth.
const LEAST: Duration = Duration::from_millis(250);

/// How the last try that has ended failed, for a run that is told to stop before the next has.
#[derive(Debug, Default)]
pub(super) struct LastTry(Mutex<Option<Failure>>);

/// A failure that the next try may mend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    /// What it exits with.
    pub(super) code: ExitCode,
    /// Its connection, where one stood.
    pub(super) conn: Option<u64>,
    /// When the first try began.
    pub(super) began: Instant,
}

impl LastTry {
    /// Returns how it failed; `None` where no try has ended yet, or all is over.
    pub(super) fn failure(&self) -> Option<Failure> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a try that failed, or that there is no next one.
    pub(super) fn set(&self, failure: Option<Failure>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// Connects to one target, by its place among them; again and again, as long as `--retry-for` allows. Names are
/// looked up for each try, save that the first may use what is already in `resolved`.
///
/// # Errors
/// That of the last try, reported.
pub(super) async fn connect(
    connect: &Connect,
    at: usize,
    resolved: &Resolved,
    last: &LastTry,
    run: &Run,
) -> Result<Stream, Failed> {
    let Connect { patience, tls, .. } = connect;
    let bounds = Bounds {
        resolve: patience.resolve(),
        connect: patience.connect(),
        tls: tls.terms.tls_timeout.unwrap_or(patience.timeout),
    };
    let mut attempts = 0;
    let Some(patience) = connect.repeat.retry_for else {
        return reach::reach(connect, at, resolved, bounds, &mut attempts, run).await;
    };
    let (began, mut pause) = (now(), FIRST_PAUSE);
    let mut again = None;
    loop {
        let bounds = bounds.within(patience.saturating_sub(step::since(began)).max(LEAST));
        let resolved = again.as_ref().unwrap_or(resolved);
        let failed = match reach::reach(connect, at, resolved, bounds, &mut attempts, run).await {
            Err(failed) if is_passing(failed.code) => failed,
            ended => return ended,
        };
        last.set(Some(Failure { code: failed.code, conn: failed.conn, began }));
        let left = patience.saturating_sub(step::since(began));
        if left.is_zero() {
            return Err(failed);
        }
        // The last pause is cut, so that the time ends with a try.
        let wait = jittered(pause).min(left);
        let [wait_s, left_s] = [wait, left].map(|duration| duration.as_secs_f64());
        let target = &connect.targets[at].to_string();
        let message = format!("connect {target}: again in {wait_s:.3} s, {left_s:.3} s are left");
        run.door.emit(Warning { target: Some(target), ..Warning::of("retry", &message) });
        step::sleep(wait).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
        again = Some(Resolved::default());
    }
}

/// Returns whether a failure may pass by itself: it is not this machine that is at fault.
fn is_passing(code: ExitCode) -> bool {
    use ExitCode::{NoAnswer, Refused, Reset, Resolve, Unreachable};
    matches!(code, Resolve | Refused | NoAnswer | Unreachable | Reset)
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_a_tenth_either_way() {
        let pauses: Vec<Duration> = (0..1000).map(|_| jittered(FIRST_PAUSE)).collect();
        assert!(pauses.iter().all(|pause| (90..=110).contains(&pause.as_millis())));
        assert!(
            pauses.iter().any(|pause| pause.as_millis() < 98) && pauses.iter().any(|pause| pause.as_millis() > 102)
        );
    }

    #[test]
    fn what_is_wrong_with_this_machine_does_not_pass() {
        let passing = ExitCode::ALL.into_iter().filter(|code| is_passing(*code)).map(ExitCode::number);
        assert_eq!(passing.collect::<Vec<_>>(), [3, 7, 8, 9, 10]);
    }
}

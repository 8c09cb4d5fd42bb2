//! A step that failed, after it was reported.

use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::{Door, aside, now, within};
use crate::address::Address;
use crate::cause;
use crate::error::{Error, ExitCode, Step, errno_name};
use crate::event::{self, ProxyStep, Reason};

/// Why a step was given up that the end of the run has cut off.
pub(super) const RUN_IS_OVER: &str = "the run is over";

/// The proof that an error was emitted: what a walk needs of it to go on or to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Failed {
    /// The exit code of a run that ends with this.
    pub code: ExitCode,
    /// The errno, where a system call failed.
    pub errno: Option<Errno>,
    /// The connection that it was about, where one stood.
    pub conn: Option<u64>,
}

impl Failed {
    /// Returns why a connection ends that this ended.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self.code {
            ExitCode::NoAnswer => Reason::Timeout,
            ExitCode::Reset => Reason::Reset,
            // An ICMP error breaks no connection that stands (RFC 5461): the kernel gives up when the peer has been
            // silent for too long, and then says what it has heard meanwhile (tcp_write_err() in net/ipv4/tcp_timer.c).
            ExitCode::Unreachable if self.errno.is_some() => Reason::Timeout,
            _ => Reason::Local,
        }
    }
}

/// An error that is being looked into. Dropped before that has ended, because the run has, it is
/// reported as it is: a step that failed is never lost.
struct Unreported<'a> {
    door: &'a Door,
    error: Option<Error>,
}

impl Drop for Unreported<'_> {
    fn drop(&mut self) {
        if let Some(error) = self.error.take() {
            let _reported = self.door.fail(&error);
        }
    }
}

impl Door {
    /// Emits an error, with the hint that its step and errno alone give.
    pub fn fail(&self, error: &Error) -> Failed {
        self.fail_after(error, &[])
    }

    /// Emits an error of a dialogue with a proxy as [`Door::fail`] does, with how far that had come.
    pub(super) fn fail_after(&self, error: &Error, steps: &[ProxyStep]) -> Failed {
        let name = error.errno.map(errno_name);
        let hint = error.hint.is_none().then(|| cause::hint(error)).flatten();
        let mut event = event::Error::of(error, name.as_deref());
        event.hint = event.hint.or(hint.as_deref());
        event.steps = steps;
        self.emit(event);
        Failed { code: error.exit_code(), errno: error.errno, conn: error.conn }
    }

    /// Emits an error with what this machine can tell of its cause: the first of its step and
    /// errno, that is, for finding out is slow. It is done on a thread that may block, so that
    /// nothing that is being measured waits for it. A run that is told to end waits for it a little while.
    pub async fn fail_explained(&self, error: Error) -> Failed {
        if error.hint.is_some() || !self.is_first(error.step, error.errno) {
            return self.fail(&error);
        }
        const GRACE: Duration = Duration::from_millis(250);
        let _explaining = self.stop().explains();
        let (subject, began) = (error.clone(), now());
        let mut unreported = Unreported { door: self, error: Some(error) };
        let hint = match aside("why", move || cause::investigate(&subject)) {
            Some(mut found) => tokio::select! {
                found = &mut found => found.ok().flatten(),
                _ = self.stop().told() => within(Some(GRACE), found).await.and_then(Result::ok).flatten(),
            },
            None => None,
        };
        let Some(mut error) = unreported.error.take() else {
            return Failed { code: ExitCode::Local, errno: None, conn: None };
        };
        error.hint = hint;
        error.explained = began.elapsed();
        self.fail(&error)
    }

    /// Emits that a step was given up, which `what` names, with whom it was about, and why.
    pub(super) fn given_up(&self, what: &str, began: Instant, why: &str, peer: Option<&Address>, target: Option<&str>) {
        let after = began.elapsed();
        let message = format!("{what}: given up after {:.3} ms, {why}", after.as_secs_f64() * 1e3);
        let warning = event::Warning::of("attempt-abandoned", &message);
        self.emit(event::Warning { peer, target, duration: Some(after), ..warning });
    }

    /// Emits a warning.
    pub fn warn(&self, name: &str, message: &str) {
        self.emit(event::Warning::of(name, message));
    }
}

/// Returns the errno of an I/O error, if the kernel gave one.
pub(super) fn errno(error: &std::io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

/// Makes an error of a failed call on a connection.
pub(super) fn on_connection(step: Step, error: &std::io::Error, conn: u64, peer: &Address) -> Error {
    Error::of_io(step, error, &peer.to_string()).with_conn(conn).with_peer(peer.clone())
}

//! Until when: signals, the deadline, and an output that is gone end a run of any kind alike.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::{Door, now};
use crate::event::Reason;
use crate::sys;

/// What ended a run early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGINT, SIGTERM or SIGHUP.
    Signal,
    /// `--deadline`.
    Deadline,
    /// Whoever read our stdout is gone, or it failed.
    Output,
}

impl Cause {
    /// Returns why a connection ends that this ended.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::Signal | Self::Deadline => Reason::Signal,
            Self::Output => Reason::Local,
        }
    }
}

/// Tells every part of a run that it is over. The first cause counts.
#[derive(Clone, Debug)]
pub struct Stop {
    cause: watch::Sender<Option<Cause>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { cause: watch::Sender::new(None) }
    }
}

impl Stop {
    /// Ends the run.
    pub fn set(&self, cause: Cause) {
        self.cause.send_if_modified(|now| now.is_none() && now.replace(cause).is_none());
    }

    /// Waits for the end of the run.
    pub async fn reached(&self) -> Cause {
        let mut told = self.cause.subscribe();
        match told.wait_for(Option::is_some).await.map(|cause| *cause) {
            Ok(Some(cause)) => cause,
            // The sender lives in `self`.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Begins to watch signals and the deadline. Must run inside the runtime. SIGQUIT asks for
    /// the totals so far, and the run goes on.
    ///
    /// # Errors
    /// A handler cannot be installed.
    pub fn watch(&self, door: &Arc<Door>, deadline: Option<Duration>) -> std::io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = hang_up()?;
        let mut quit = signal(SignalKind::quit())?;
        let (stop, door) = (self.clone(), Arc::clone(door));
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => stop.set(Cause::Signal),
                    _ = terminate.recv() => stop.set(Cause::Signal),
                    () = received(&mut hang_up) => stop.set(Cause::Signal),
                    _ = quit.recv() => door.interim(),
                }
            }
        });
        if let Some(deadline) = deadline {
            let stop = self.clone();
            tokio::spawn(async move {
                super::sleep(deadline).await;
                stop.set(Cause::Deadline);
            });
        }
        Ok(())
    }

    /// Begins to watch an output for the end of its reader, so that a run that has nothing to
    /// write ends too. Files and the like have no reader: nothing is watched then.
    pub fn watch_reader(&self, output: OwnedFd) {
        let Ok(output) = sys::watch_fd(output, Interest::ERROR) else { return };
        let stop = self.clone();
        tokio::spawn(async move {
            if output.ready(Interest::ERROR).await.is_ok() {
                stop.set(Cause::Output);
            }
        });
    }

    /// Waits for a signal that comes when the run has been over for a second: whoever sends it
    /// has lost patience with the reader of our output. Returns the code of a process that the
    /// signal ended.
    pub async fn impatience() -> u8 {
        const PATIENCE: Duration = Duration::from_secs(1);
        let began = now();
        let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hang_up)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), hang_up())
        else {
            return std::future::pending().await;
        };
        loop {
            let number = tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
                () = received(&mut hang_up) => 1,
            };
            if began.elapsed() >= PATIENCE {
                // As a shell tells it: 128 and the number of the signal.
                return 128 + number;
            }
        }
    }
}

/// Begins to watch SIGHUP, unless it is ignored: nohup(1) starts its children so, and a handler
/// would undo that.
fn hang_up() -> std::io::Result<Option<Signal>> {
    match sys::is_ignored(nix::sys::signal::Signal::SIGHUP as i32) {
        true => Ok(None),
        false => signal(SignalKind::hangup()).map(Some),
    }
}

/// Waits for a signal that may not be watched.
async fn received(watched: &mut Option<Signal>) {
    match watched {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

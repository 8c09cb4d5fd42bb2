//! Until when: signals, the deadline, and an output that is gone end a run of any kind alike.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::Interest;
use tokio::signal::unix::{Signal as Watched, SignalKind, signal};
use tokio::sync::watch;

use super::{Door, now};
use crate::event::Reason;
use crate::sys;

/// What ended a run early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGINT, SIGTERM, or another one that ends a program.
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
    /// How many failures are being looked into.
    explaining: watch::Sender<usize>,
}

/// A failure is being looked into: until it is reported, it and not the end of the run decides.
pub(super) struct Explaining<'a>(&'a Stop);

impl Drop for Explaining<'_> {
    fn drop(&mut self) {
        self.0.explaining.send_modify(|count| *count -= 1);
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self { cause: watch::Sender::new(None), explaining: watch::Sender::new(0) }
    }
}

impl Stop {
    /// Ends the run.
    pub fn set(&self, cause: Cause) {
        self.cause.send_if_modified(|now| now.is_none() && now.replace(cause).is_none());
    }

    /// Waits for the end of the run; but a step that has failed comes first, whose cause is being looked into.
    pub async fn reached(&self) -> Cause {
        let cause = self.told().await;
        let mut explaining = self.explaining.subscribe();
        let _all_told = explaining.wait_for(|count| *count == 0).await;
        cause
    }

    /// Returns what has told the run to end, if anything has.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        *self.cause.borrow()
    }

    /// Does something unless the end of the run comes before: what it has come to by then is heard first, but nothing
    /// is begun any more.
    ///
    /// # Errors
    /// What ended the run.
    pub async fn unless<T>(&self, walk: impl Future<Output = T>) -> Result<T, Cause> {
        if let Some(cause) = self.cause() {
            return Err(cause);
        }
        tokio::select! {
            biased;
            done = walk => Ok(done),
            // A walk that always has something to do uses up what the runtime lets a task do at once.
            cause = tokio::task::unconstrained(self.reached()) => Err(cause),
        }
    }

    /// Begins to look into a failure.
    pub(super) fn explains(&self) -> Explaining<'_> {
        self.explaining.send_modify(|count| *count += 1);
        Explaining(self)
    }

    /// Waits until the run is told to end.
    pub(super) async fn told(&self) -> Cause {
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
        let mut others = others()?;
        let mut quit = signal(SignalKind::quit())?;
        let (stop, door) = (self.clone(), Arc::clone(door));
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => stop.set(Cause::Signal),
                    _ = terminate.recv() => stop.set(Cause::Signal),
                    _ = any(&mut others) => stop.set(Cause::Signal),
                    _ = quit.recv() => door.interim(),
                }
            }
        });
        // What is shorter than a tick of the runtime's timers is over at once.
        if deadline.is_some_and(|deadline| deadline < Duration::from_millis(1)) {
            self.set(Cause::Deadline);
        } else if let Some(deadline) = deadline {
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
        let (Ok(mut interrupt), Ok(mut terminate), Ok(mut others)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), others())
        else {
            return std::future::pending().await;
        };
        loop {
            let number = tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
                number = any(&mut others) => number,
            };
            if began.elapsed() >= PATIENCE {
                // As a shell tells it: 128 and the number of the signal.
                return 128 + number;
            }
        }
    }
}

/// The signals that end a program beside SIGINT, SIGTERM and SIGQUIT, and that it may answer (signal(7)), but for those
/// that tell of a fault of its own: whatever ends a run, it leaves its totals, and no file of a unix socket.
const OTHERS: [Signal; 10] = [
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGXCPU,
    Signal::SIGIO,
    Signal::SIGPWR,
    Signal::SIGSTKFLT,
];

/// Begins to watch these, each with its number, unless they are ignored: nohup(1) starts its children so, and a
/// handler would undo that.
fn others() -> std::io::Result<Vec<(u8, Watched)>> {
    let watch = |other: Signal| Ok((other as u8, signal(SignalKind::from_raw(other as i32))?));
    OTHERS.into_iter().filter(|other| !sys::is_ignored(*other as i32)).map(watch).collect()
}

/// Waits for one of them, and returns its number.
async fn any(watched: &mut [(u8, Watched)]) -> u8 {
    poll_fn(|context| {
        let came = watched.iter_mut().find_map(|(number, each)| each.poll_recv(context).is_ready().then_some(*number));
        came.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

//! A thread of its own for what may not wait for others: batches of datagrams, and exact times.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use tokio::sync::oneshot;

use super::privileged::{Job, Privileged};
use super::{Cause, Door, Failed, Stop};
use crate::error::{Error, ExitCode, Step};
use crate::sys;

/// How long before an exact time the wait in the kernel ends and the spin begins, at the least: longer
/// than a timer is late on a processor that is awake.
const SPIN: Duration = Duration::from_micros(100);
/// The most, for a processor that sleeps so deeply between its times that it wakes later than that.
pub const MOST_SPIN: Duration = Duration::from_millis(2);
/// The share of a wait that may be spun, beyond the least: what it costs of a processor.
const SHARE: u32 = 5;

/// Tells a thread that the run is over.
pub struct Halt {
    is_set: AtomicBool,
    event: EventFd,
}

/// Waits until times that are to be met to the microsecond, and learns how late this machine's timers are.
#[derive(Debug, Default)]
pub struct ExactWait {
    late: Duration,
    /// The time that is near.
    near: Option<Instant>,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The run is over.
    Halted,
    /// Something came; `errors` says that the error queue has something.
    Ready {
        /// Whether there is something in the error queue.
        errors: bool,
        /// Whether there is something to take, or room to send.
        is_open: bool,
    },
    /// The time is there.
    Time,
}

impl Halt {
    fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { is_set: AtomicBool::new(false), event })
    }

    fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        // A counter that is full wakes as well.
        let _woken = self.event.write(1);
    }

    /// Returns whether the run is over.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// Waits until any of several sockets has something, at most for a duration where there is one.
    pub(super) fn wait_any(&self, sockets: &[BorrowedFd<'_>], bound: Option<Duration>) -> Woken {
        let sockets = sockets.iter().map(|socket| PollFd::new(*socket, PollFlags::POLLIN));
        self.poll(&mut sockets.collect::<Vec<_>>(), bound)
    }

    /// Waits until the socket has something, or room, at most for a duration where there is one.
    pub(super) fn wait(&self, socket: BorrowedFd<'_>, what: PollFlags, bound: Option<Duration>) -> Woken {
        self.poll(&mut vec![PollFd::new(socket, what)], bound)
    }

    fn poll<'a>(&'a self, watched: &mut Vec<PollFd<'a>>, bound: Option<Duration>) -> Woken {
        watched.push(PollFd::new(self.event.as_fd(), PollFlags::POLLIN));
        match ppoll(watched, bound.map(TimeSpec::from_duration), None) {
            Ok(0) => Woken::Time,
            Ok(_) => {
                if self.is_set() {
                    return Woken::Halted;
                }
                watched.pop();
                let told = |watched: &PollFd<'_>| watched.revents().unwrap_or(PollFlags::empty());
                Woken::Ready {
                    errors: watched.iter().any(|watched| told(watched).contains(PollFlags::POLLERR)),
                    is_open: watched.iter().any(|watched| told(watched).intersects(watched.events())),
                }
            }
            Err(Errno::EINTR) => Woken::Ready { errors: false, is_open: false },
            // What the kernel cannot wait for would be asked for again and again.
            Err(_) => Woken::Halted,
        }
    }
}

impl ExactWait {
    /// Waits until any of several sockets has something, at most until a time is near; then it returns at once,
    /// again and again, and whoever asks whether it is there by now meets it to the microsecond: what is done
    /// at that time has been done just before, so that the processor need not look for it. The price is a
    /// processor for the last 100 µs; for up to 2 ms and a fifth of the wait where the timers of this machine
    /// are that late.
    pub(super) fn wait_till_near(&mut self, halt: &Halt, sockets: &[BorrowedFd<'_>], until: Instant) -> Woken {
        if self.near != Some(until) {
            let began = Instant::now();
            let left = until.saturating_duration_since(began);
            if let Some(bound) = left.checked_sub(self.lead(left)).filter(|bound| !bound.is_zero()) {
                match halt.wait_any(sockets, Some(bound)) {
                    Woken::Time => self.note((began + bound).elapsed()),
                    woken => return woken,
                }
            }
            self.near = Some(until);
        }
        // Never yielded: beside a busy neighbour each yield gives a whole slice away.
        std::hint::spin_loop();
        if halt.is_set() { Woken::Halted } else { Woken::Time }
    }

    /// Returns how long before a time that is so far away the spin has to begin.
    fn lead(&self, left: Duration) -> Duration {
        (self.late + self.late / 2).min(left / SHARE).clamp(SPIN, MOST_SPIN)
    }

    /// Notes how late a timer was: the worst counts, and is forgotten by a 32nd each time.
    fn note(&mut self, late: Duration) {
        self.late = late.min(MOST_SPIN).max(self.late - self.late / 32);
    }
}

/// Runs work on a thread of its own, until it ends by itself or the run is told to stop: then the
/// work is told too, and waited for. Returns what came of it, and why it was told.
///
/// # Errors
/// The thread cannot be made, or has failed on a fault of its own; reported.
pub async fn on_thread<T: Send + 'static>(
    door: &Door,
    stop: &Stop,
    step: Step,
    work: impl FnOnce(&Halt) -> T + Send + 'static,
) -> Result<(T, Option<Cause>), Failed> {
    let place = |job| std::thread::Builder::new().name("datagrams".to_owned()).spawn(job).map(drop);
    run(door, stop, step, place, work).await
}

/// Runs work likewise, on the thread that has kept the rights of the program.
///
/// # Errors
/// As [`on_thread`].
pub async fn on_privileged<T: Send + 'static>(
    door: &Door,
    stop: &Stop,
    step: Step,
    thread: &Privileged,
    work: impl FnOnce(&Halt) -> T + Send + 'static,
) -> Result<(T, Option<Cause>), Failed> {
    run(door, stop, step, |job| thread.run(job), work).await
}

async fn run<T: Send + 'static>(
    door: &Door,
    stop: &Stop,
    step: Step,
    place: impl FnOnce(Job) -> io::Result<()>,
    work: impl FnOnce(&Halt) -> T + Send + 'static,
) -> Result<(T, Option<Cause>), Failed> {
    let local = |error: &io::Error| Error::of_io(step, error, "a thread").with_exit_code(ExitCode::Local);
    let no_event = |error| door.fail(&Error::of_io(Step::Socket, &error, "eventfd").with_exit_code(ExitCode::Local));
    let halt = Arc::new(Halt::new().map_err(no_event)?);
    let (tell, mut told) = oneshot::channel();
    let theirs = Arc::clone(&halt);
    let placed = place(Box::new(move || {
        // Timers of this thread may not be put together with later ones.
        sys::exact_timers();
        let _ended = tell.send(work(&theirs));
    }));
    if let Err(error) = placed {
        return Err(door.fail(&local(&error)));
    }
    let mut cause = None;
    let ended = tokio::select! {
        ended = &mut told => ended,
        reached = stop.reached() => {
            cause = Some(reached);
            halt.set();
            told.await
        }
    };
    ended.map(|result| (result, cause)).map_err(|_| {
        let message = format!("{step}: the thread failed on a fault of sockeye's own");
        door.fail(&Error::of_kind(step, ExitCode::Local, message))
    })
}

/// Returns the processor time that this program has used.
#[must_use]
pub fn processor_time() -> Option<Duration> {
    let clock = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID;
    nix::time::clock_gettime(clock).ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_timers_are_late_the_spin_begins_sooner_but_for_no_more_than_a_share() {
        let (mut wait, second) = (ExactWait::default(), Duration::from_secs(1));
        assert_eq!(wait.lead(second), SPIN);
        wait.note(Duration::from_micros(20));
        assert_eq!(wait.lead(second), SPIN);
        wait.note(Duration::from_micros(400));
        assert_eq!(wait.lead(second), Duration::from_micros(600));
        assert_eq!(wait.lead(Duration::from_millis(1)), Duration::from_micros(200));
        assert_eq!(wait.lead(Duration::from_micros(50)), SPIN);
        // One that was long away says nothing of the next.
        wait.note(second);
        assert_eq!(wait.lead(second), MOST_SPIN);
        for _ in 0..200 {
            wait.note(Duration::from_micros(1));
        }
        assert_eq!(wait.lead(second), SPIN);
    }

    #[test]
    fn once_a_time_is_near_nobody_sleeps_before_it() {
        let (halt, mut wait) = (Halt::new().unwrap(), ExactWait { late: MOST_SPIN, near: None });
        let until = Instant::now() + Duration::from_millis(20);
        assert_eq!(wait.wait_till_near(&halt, &[], until), Woken::Time);
        assert_eq!(wait.near, Some(until));
        halt.set();
        assert_eq!(wait.wait_till_near(&halt, &[], until), Woken::Halted);
        assert_eq!(wait.wait_till_near(&halt, &[], until + Duration::from_secs(9)), Woken::Halted);
    }
}

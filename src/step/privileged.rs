//! Rights are used once, to open sockets, by one thread; all others give them up before they begin.
//!
//! Capabilities belong to a thread, and a new thread has those of the one that made it. So the thread
//! that opens sockets is made first, then the first thread gives its rights up, then all others are made.

use std::io;
use std::sync::mpsc;

use crate::socket::privilege;

/// Work for a thread.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// A thread that has the rights which the program was started with.
pub struct Privileged {
    jobs: mpsc::Sender<Job>,
}

impl Privileged {
    /// Makes the thread; the rights of this one stay until [`give_up_rights`].
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new().name("probes".to_owned()).spawn(move || {
            for job in queue {
                job();
            }
        })?;
        Ok(Self { jobs })
    }

    /// Lets the thread do something.
    pub(super) fn run(&self, job: Job) -> io::Result<()> {
        self.jobs.send(job).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Gives up the rights of this thread, and of those that it makes from now on.
pub fn give_up_rights() {
    privilege::give_up();
}

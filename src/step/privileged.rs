//! Rights are used once, to open sockets, by one thread; all others give them up before they begin.
//!
//! Capabilities belong to a thread, and a new thread has those of the one that made it. So the thread
//! that opens sockets is made first, then the first thread gives its rights up, then all others are made.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::socket::privilege;

/// The most bytes of a list: more names more targets than there may be.
pub const LIST_BYTES: usize = 1 << 28;

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

    /// Reads a file with these rights, at most one byte more than [`LIST_BYTES`]. Whoever no longer waits
    /// for it leaves the thread behind.
    ///
    /// # Errors
    /// As open(2) and read(2), not reported.
    pub async fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let (tell, told) = oneshot::channel();
        let path = path.to_owned();
        self.run(Box::new(move || {
            let read = File::open(&path).and_then(|file| {
                let mut all = Vec::new();
                file.take(LIST_BYTES as u64 + 1).read_to_end(&mut all).map(|_| all)
            });
            let _unheard = tell.send(read);
        }))?;
        told.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
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

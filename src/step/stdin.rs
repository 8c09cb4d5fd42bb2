//! Stdin of a relay: read on a thread of its own, because no read of it can be cancelled.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;

use super::{Door, Failed};
use crate::error::{Error, Step};

/// Stdin, not yet read.
#[derive(Debug)]
pub struct Stdin {
    /// The stream.
    pub stream: io::Stdin,
    /// Whether it is a terminal.
    pub is_terminal: bool,
}

/// What stdin gives, piece by piece.
#[derive(Debug)]
pub struct Chunks {
    from: mpsc::Receiver<io::Result<Vec<u8>>>,
}

impl Stdin {
    /// Begins to read on its own thread, at most so many bytes at once. One piece waits at most, so
    /// that stdin is not read far ahead of the peer.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(self, door: &Door, most: usize) -> Result<Chunks, Failed> {
        let (to, from) = mpsc::channel(1);
        let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            loop {
                let mut chunk = vec![0; most];
                // Past the buffer of the standard library, which would only copy once more.
                let read = match nix::unistd::read(&self.stream, &mut chunk) {
                    Ok(0) => return,
                    Ok(bytes) => {
                        chunk.truncate(bytes);
                        Ok(chunk)
                    }
                    Err(Errno::EINTR) => continue,
                    Err(Errno::EAGAIN) => {
                        // Somebody who shares the terminal has made it non-blocking.
                        wait_for_input(&self.stream);
                        continue;
                    }
                    Err(errno) => Err(errno.into()),
                };
                let failed = read.is_err();
                if to.blocking_send(read).is_err() || failed {
                    return;
                }
            }
        });
        match thread {
            Ok(_) => Ok(Chunks { from }),
            Err(error) => Err(door.fail(&Error::of_io(Step::Read, &error, "stdin"))),
        }
    }
}

/// Waits until there is something to read; an error is told by the read that follows.
fn wait_for_input(stream: &io::Stdin) {
    let mut descriptors = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    let _ready = poll(&mut descriptors, PollTimeout::NONE);
}

impl Chunks {
    /// Returns the next piece; `None` at the end of input.
    ///
    /// # Errors
    /// As read(2), reported.
    pub async fn next(&mut self, door: &Door) -> Result<Option<Vec<u8>>, Failed> {
        match self.from.recv().await {
            None => Ok(None),
            Some(Ok(chunk)) => Ok(Some(chunk)),
            Some(Err(error)) => Err(door.fail(&Error::of_io(Step::Read, &error, "stdin"))),
        }
    }
}

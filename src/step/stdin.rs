//! Stdin of a relay: read on a thread of its own, because no read of it can be cancelled.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use tokio::sync::mpsc;

use super::{Door, Failed};
use crate::error::{Error, Step};

/// Most bytes that one read takes.
const CHUNK: usize = 256 << 10;

/// Stdin, not yet read.
#[derive(Debug)]
pub struct Stdin {
    /// The descriptor.
    pub fd: OwnedFd,
    /// Whether it is a terminal.
    pub is_terminal: bool,
}

/// What stdin gives, piece by piece.
#[derive(Debug)]
pub struct Chunks {
    from: mpsc::Receiver<io::Result<Vec<u8>>>,
}

impl Stdin {
    /// Begins to read. One piece waits at most, so that stdin is not read far ahead of the peer.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(self, door: &Door) -> Result<Chunks, Failed> {
        let (to, from) = mpsc::channel(1);
        let mut file = File::from(self.fd);
        let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK];
                let read = match file.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(bytes) => {
                        chunk.truncate(bytes);
                        Ok(chunk)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
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

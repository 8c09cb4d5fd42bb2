//! What a peer had sent before it broke off: it is read before that is told, where nobody else reads on.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::{Stream, Taken};
use crate::error::{ExitCode, Step};
use crate::step::Failed;
use crate::step::fail::errno;
use crate::step::watch::Watch;
use crate::sys;

/// What becomes of what a peer had sent before it broke off, where something else than a recv finds that out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It stays: somebody else reads on.
    Stays,
    /// It is read, at most so many bytes with one recv: who sends and receives in turn receives no more.
    IsRead(NonZeroUsize),
}

impl Stream {
    /// Closes our sending side, as [`Stream::shutdown`] does, and reads on. Of a connection that the peer has broken
    /// off what came before is read first, and it is the reset that is told.
    ///
    /// # Errors
    /// As shutdown(2), and those of `read_on`; reported.
    pub async fn shutdown_and<T>(&self, read_on: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
        let end = async {
            let ended = self.end_sending().await;
            // Our close_notify has taken it, so that no recv will tell it.
            if ended.as_ref().is_err_and(|error| errno(error) == Some(Errno::ECONNRESET)) {
                self.ending.early_reset();
            }
            ended
        };
        tokio::pin!(end, read_on);
        // A peer may take our close_notify only when what it sends is read.
        let (ended, read) = tokio::select! {
            biased;
            ended = &mut end => (ended, read_on.await),
            read = &mut read_on => (if read.is_ok() { end.await } else { Ok(()) }, read),
        };
        match (ended, read) {
            (Ok(()), read) => read,
            (Err(_), Err(failed)) if failed.code == ExitCode::Reset => Err(failed),
            (Err(error), _) => Err(self.failed_io(Step::Shutdown, &error)),
        }
    }

    /// Reports that a step failed: what the peer had sent before it was gone may be read first.
    pub(in crate::step) fn failed_after(&self, rest: Rest, step: Step, error: &io::Error) -> Failed {
        if let Rest::IsRead(most) = rest
            && let Err(reset) = self.read_rest(error, most)
        {
            return self.failed_io(Step::Recv, &reset);
        }
        self.failed_io(step, error)
    }

    /// Returns whether no more is read of a peer that is gone: a client has one, but those of a server together might be
    /// more than a slow reader of the events leaves room for.
    pub(in crate::step) fn has_enough(&self) -> bool {
        self.is_accepted && self.lacks_room()
    }

    /// Reads what is there of a peer that is gone, so that nothing more comes.
    fn read_rest(&self, told: &io::Error, most: NonZeroUsize) -> io::Result<()> {
        let Some(socket) = self.socket().map(Watch::get_ref) else { return Ok(()) };
        // Of TLS that is not all that there is.
        if self.tls().is_some() {
            return Ok(());
        }
        if !sys::hangup(socket.as_fd()).is_over || self.tell_ends().is_err() {
            return Ok(());
        }
        // Zeroed pages come from the kernel when they are first used: a large size costs nothing.
        let mut buffer = vec![0; most.get()];
        while !self.has_enough() {
            match self.take_any(socket, &mut buffer) {
                Ok(Taken { is_end: true, .. }) => {
                    // Where a reset was told already, recv(2) gives 0 though no end has come.
                    if errno(told) == Some(Errno::EPIPE) && !self.has_ended() {
                        self.ended();
                    }
                    break;
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

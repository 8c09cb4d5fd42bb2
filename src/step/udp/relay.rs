//! A UDP socket between stdin and stdout: waited for by the runtime, beside other things.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Udp;
use super::queue::{Drained, back_pressure, is_about_earlier};
use crate::error::{Error, ExitCode, Step};
use crate::step::Failed;
use crate::sys::{self, SendBatch};

/// What became of a datagram that a relay was to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The kernel took it.
    Sent,
    /// The kernel has no room for it now, and will tell when it has.
    NoRoom,
    /// The kernel has no room for it, and tells nobody when it has: it is gone, and that is told.
    NotSent,
}

/// What a send of a relay came to.
#[derive(Clone, Copy, Debug)]
pub struct Relayed {
    /// What became of the datagram.
    pub fate: Fate,
    /// What the error queue had about earlier ones.
    pub drained: Drained,
}

/// Tells when a socket has something to take, room to send, or an error to tell.
pub struct Ready(AsyncFd<OwnedFd>);

impl Ready {
    /// Waits until something has come since the last wait, or an error has.
    pub async fn wait(&self) {
        self.wait_for(Interest::READABLE | Interest::ERROR).await;
    }

    /// Waits until the kernel has had room since the last wait.
    pub async fn wait_for_room(&self) {
        self.wait_for(Interest::WRITABLE).await;
    }

    async fn wait_for(&self, interest: Interest) {
        // An error of the wait is told by the call that follows. What is noted here as seen is taken
        // after that, so that nothing which comes in between is missed.
        if let Ok(mut guard) = self.0.ready(interest).await {
            guard.clear_ready();
        }
    }
}

impl Udp {
    /// Lets the runtime tell when something has come.
    ///
    /// # Errors
    /// No descriptor is left for it; reported.
    pub fn ready(&self) -> Result<Ready, Failed> {
        let watched = self
            .socket
            .as_fd()
            .try_clone_to_owned()
            .and_then(|own| sys::watch_fd(own, Interest::READABLE | Interest::WRITABLE | Interest::ERROR));
        watched.map(Ready).map_err(|error| {
            let error = Error::of_io(Step::Socket, &error, &self.target().to_string());
            self.door.fail(&error.with_peer(self.target().clone()))
        })
    }

    /// Sends one datagram of what a relay reads.
    ///
    /// # Errors
    /// As send(2), reported; but ICMP errors about earlier ones are none, nor is a lack of room.
    pub fn send_one(&self, data: &[u8]) -> Result<Relayed, Failed> {
        let mut all = Drained::default();
        for _ in 0..4 {
            let outgoing = [self.outgoing(data, None)];
            let error = match SendBatch::default().send(self.fd(), &outgoing) {
                Ok(_) => {
                    self.tell_sent(&outgoing);
                    return Ok(Relayed { fate: Fate::Sent, drained: all });
                }
                Err(error) => error,
            };
            let drained = self.drain(&mut ());
            all = all.and(drained);
            if is_about_earlier(&error, drained) || error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            if error.raw_os_error() == Some(Errno::EAGAIN as i32) {
                return Ok(Relayed { fate: Fate::NoRoom, drained: all });
            }
            let Some(errno) = back_pressure(&error) else {
                return Err(self.door.fail(&self.send_failed(&error, self.target(), data.len(), all.mtu)));
            };
            self.not_sent(self.target(), None, &errno);
            return Ok(Relayed { fate: Fate::NotSent, drained: all });
        }
        let message = format!("send {}: nobody takes it", self.target());
        Err(self.door.fail(&Error::of_kind(Step::Send, ExitCode::Refused, message)))
    }

    /// Takes what the error queue has for a relay.
    pub fn take_errors(&self) -> Drained {
        self.drain(&mut ())
    }
}

//! The descriptor of a connection, and what tells when it is ready.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use crate::sys;

/// What the runtime tells of one socket.
pub(super) type Told = AsyncFd<Arc<Socket>>;

/// What is ready, of one connection.
pub(super) type Guard<'a> = AsyncFdReadyGuard<'a, Arc<Socket>>;

/// A socket that the runtime tells of, from the first wait on it alone: until then others may watch it.
pub(super) struct Watch {
    told: OnceLock<Told>,
    interest: Interest,
    socket: Arc<Socket>,
}

impl Watch {
    /// Takes a socket that nobody waits on yet.
    pub(super) fn new(socket: Socket, interest: Interest) -> Self {
        Self { told: OnceLock::new(), interest, socket: Arc::new(socket) }
    }

    /// Returns the socket itself.
    pub(super) fn get_ref(&self) -> &Socket {
        &self.socket
    }

    /// Lets the runtime tell of it, unless it does so already.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub(super) fn register(&self) -> io::Result<&Told> {
        match self.told.get() {
            Some(told) => Ok(told),
            None => {
                let told = sys::watch_socket(Arc::clone(&self.socket), self.interest)?;
                Ok(self.told.get_or_init(|| told))
            }
        }
    }

    /// Returns what the runtime tells, where it does.
    pub(super) fn told(&self) -> Option<&Told> {
        self.told.get()
    }

    /// As [`AsyncFd::poll_read_ready`].
    pub(super) fn poll_read_ready<'a>(&'a self, context: &mut Context<'_>) -> Poll<io::Result<Guard<'a>>> {
        self.register()?.poll_read_ready(context)
    }

    /// As [`AsyncFd::poll_write_ready`].
    pub(super) fn poll_write_ready<'a>(&'a self, context: &mut Context<'_>) -> Poll<io::Result<Guard<'a>>> {
        self.register()?.poll_write_ready(context)
    }

    /// As [`AsyncFd::ready`].
    pub(super) async fn ready(&self, interest: Interest) -> io::Result<Guard<'_>> {
        self.register()?.ready(interest).await
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

//! Many connections that are watched together (epoll(7)): one wait tells of all on which something has come, and no
//! task is woken for each.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Failed, Stream};
use crate::error::Step;
use crate::sys;

/// How many are told of at once.
const AT_ONCE: usize = 256;

/// Connections of one kind that are watched together.
pub struct Crowd {
    epoll: Epoll,
    /// What tells the runtime that any is ready.
    told: AsyncFd<OwnedFd>,
    events: Box<[EpollEvent; AT_ONCE]>,
    /// How many of the events are new.
    new: usize,
    has_records: bool,
}

/// One on which something has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// The number that it was added under.
    pub number: u64,
    /// Whether the peer has ended its side, or the connection is broken, behind what may have come before.
    pub is_ending: bool,
}

impl Crowd {
    /// Begins with none.
    ///
    /// # Errors
    /// As epoll_create1(2).
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let told = sys::watch_fd(epoll.0.try_clone()?, Interest::READABLE)?;
        Ok(Self { epoll, told, events: Box::new([EpollEvent::empty(); AT_ONCE]), new: 0, has_records: false })
    }

    /// Begins to watch a connection, until it is closed.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub(super) fn add(&mut self, stream: &Stream, number: u64) -> io::Result<()> {
        self.has_records |= !stream.is_bytes();
        let Some(socket) = stream.socket() else { return Ok(()) };
        Ok(self.epoll.add(socket, event(stream, number))?)
    }

    /// Looks at a connection once more, as if what it may still have had come just now.
    pub fn look_again(&self, stream: &Stream, number: u64) {
        // Of records each is told of until the last is taken.
        if stream.is_bytes()
            && let Some(socket) = stream.socket()
        {
            // It fails for what is not watched.
            let _watched = self.epoll.modify(socket, &mut event(stream, number));
        }
    }

    /// Tells no more of a connection on which something has come, until it is to go on.
    pub fn pause(&self, stream: &Stream) {
        // Of bytes it was told. A hang-up is told of whatever is watched (epoll_ctl(2), EPOLLHUP), again and again.
        if !stream.is_bytes()
            && let Some(socket) = stream.socket()
        {
            let _watched = self.epoll.delete(socket);
        }
    }

    /// Goes on with one that had to pause, as if what it has, its end too, had come just now.
    ///
    /// # Errors
    /// As epoll_ctl(2), reported.
    pub fn resume(&self, stream: &Stream, number: u64) -> Result<(), Failed> {
        let Some(socket) = stream.socket() else { return Ok(()) };
        let mut event = event(stream, number);
        let watched = match stream.is_bytes() {
            true => self.epoll.modify(socket, &mut event),
            false => self.epoll.add(socket, event),
        };
        watched.map_err(|errno| stream.failed(Step::Recv, errno))
    }

    /// Lets a connection go, which waits alone from now on.
    ///
    /// # Errors
    /// The runtime cannot take the descriptor; reported.
    pub fn release(&self, stream: &Stream) -> Result<(), Failed> {
        if let Some(socket) = stream.socket() {
            // It fails for what is not watched.
            let _watched = self.epoll.delete(socket);
        }
        stream.tell_ends()?;
        stream.wait_alone().map_err(|error| stream.failed_io(Step::Recv, &error))
    }

    /// Waits until something has come.
    pub fn poll_came(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            // An error of the runtime is told by whoever asks it for more.
            let Ok(mut guard) = ready!(self.told.poll_read_ready(context)) else { return Poll::Pending };
            self.new = match self.epoll.wait(&mut *self.events, EpollTimeout::ZERO) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(_) => 0,
            };
            // Of bytes all was told that there is, and what comes later is a new edge. Records that are left would give
            // none: these are asked for until there are none.
            if self.new == 0 || (self.new < AT_ONCE && !self.has_records) {
                guard.clear_ready();
            }
            if self.new > 0 {
                return Poll::Ready(());
            }
        }
    }

    /// Returns on which something has come.
    pub fn came(&self) -> impl Iterator<Item = Came> + '_ {
        self.events[..self.new].iter().map(|event| Came {
            number: event.data(),
            is_ending: event.events().intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR),
        })
    }
}

/// Returns how a connection is watched. That there is something is told once, and not for as long as it is there, which
/// would ask each socket a second time; of records that would be to take one more in vain each time.
fn event(stream: &Stream, number: u64) -> EpollEvent {
    let how = if stream.is_bytes() { EpollFlags::EPOLLET } else { EpollFlags::empty() };
    EpollEvent::new(how | EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, number)
}

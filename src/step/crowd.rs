//! Many connections that are watched together (epoll(7)): one wait tells of all on which something has come, and no
//! task is woken for each.

use std::io;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::unix::AsyncFd;

use super::{Failed, Stream};
use crate::error::Step;
use crate::sys::{self, Nested};

/// How many are told of at once.
const AT_ONCE: usize = 64;

/// Connections of one kind that are watched together.
pub struct Crowd {
    epoll: AsyncFd<Nested>,
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
    /// Whether one recv may leave something of which nothing tells again: the peer's end, a broken connection, or what
    /// follows urgent data (tcp(7), "Out-of-band data").
    pub has_more: bool,
    /// There is urgent data.
    pub is_urgent: bool,
}

impl Crowd {
    /// Begins with none.
    ///
    /// # Errors
    /// As epoll_create1(2), or it would take the last descriptor that there is.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        drop(epoll.0.try_clone()?);
        Ok(Self {
            epoll: sys::watch_epoll(epoll)?,
            events: Box::new([EpollEvent::empty(); AT_ONCE]),
            new: 0,
            has_records: false,
        })
    }

    fn epoll(&self) -> &Epoll {
        &self.epoll.get_ref().0
    }

    /// Begins to watch a connection, until it is closed.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub(super) fn add(&mut self, stream: &Stream, number: u64) -> io::Result<()> {
        self.has_records |= !stream.is_bytes();
        let Some(socket) = stream.socket() else { return Ok(()) };
        Ok(self.epoll().add(socket, event(stream, number))?)
    }

    /// Tells no more of a connection on which something has come, until it is to go on.
    pub fn pause(&self, stream: &Stream) {
        // Of bytes it was told. A hang-up is told of whatever is watched (epoll_ctl(2), EPOLLHUP), again and again.
        if !stream.is_bytes()
            && let Some(socket) = stream.socket()
        {
            let _watched = self.epoll().delete(socket);
        }
    }

    /// Goes on with one that had to pause.
    ///
    /// # Errors
    /// As epoll_ctl(2), reported.
    pub fn resume(&self, stream: &Stream, number: u64) -> Result<(), Failed> {
        match stream.socket() {
            Some(socket) if !stream.is_bytes() => {
                self.epoll().add(socket, event(stream, number)).map_err(|errno| stream.failed(Step::Recv, errno))
            }
            _ => Ok(()),
        }
    }

    /// Lets a connection go, which waits alone from now on.
    ///
    /// # Errors
    /// The runtime cannot take the descriptor; reported.
    pub fn release(&self, stream: &Stream) -> Result<(), Failed> {
        if let Some(socket) = stream.socket() {
            // It fails for what is not watched.
            let _watched = self.epoll().delete(socket);
        }
        stream.tell_ends()?;
        stream.wait_alone().map_err(|error| stream.failed_io(Step::Recv, &error))
    }

    /// Waits until something has come that was not told of yet.
    pub fn poll_came(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.new = 0;
        loop {
            // An error of the runtime is told by whoever asks it for more.
            let Ok(mut guard) = ready!(self.epoll.poll_read_ready(context)) else { return Poll::Pending };
            self.new = match guard.get_inner().0.wait(&mut *self.events, EpollTimeout::ZERO) {
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
            has_more: event.events().intersects(MORE),
            is_urgent: event.events().contains(EpollFlags::EPOLLPRI),
        })
    }
}

/// What a recv may leave behind.
const MORE: EpollFlags =
    EpollFlags::EPOLLRDHUP.union(EpollFlags::EPOLLHUP).union(EpollFlags::EPOLLERR).union(EpollFlags::EPOLLPRI);

/// Returns how a connection is watched. That there is something is told once, and not for as long as it is there, which
/// would ask each socket a second time; of records that would be to take one more in vain each time.
fn event(stream: &Stream, number: u64) -> EpollEvent {
    let how = if stream.is_bytes() { EpollFlags::EPOLLET } else { EpollFlags::empty() };
    EpollEvent::new(how | EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLPRI, number)
}

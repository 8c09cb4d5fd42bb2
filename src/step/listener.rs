//! A listening socket and the connections that come in.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::close::{self, Closing, End, Ending};
use super::fail::{errno, on_connection};
use super::open::set_options;
use super::queue::{Queue, Why};
use super::stream::Made;
use super::unix::BoundFile;
use super::watch::Watch;
use super::{Crowd, Door, Failed, Stream, now};
use crate::address::Address;
use crate::args::SocketOptions;
use crate::error::{Error, Step};
use crate::event::{self, Kind};
use crate::socket::options::Role;
use crate::socket::{self, SocketKind, unix};
use crate::sys::{self, Credentials};

/// A socket that listens.
pub struct Listener {
    /// The file of a unix socket, gone with the listener. It goes first: while the socket lives,
    /// nobody takes the file for a stale one and puts another in its place.
    _file: Option<BoundFile>,
    door: Arc<Door>,
    socket: Arc<AsyncFd<Arc<Socket>>>,
    kind: SocketKind,
    local: Address,
    fast_open: bool,
    mptcp: bool,
    /// What unix connections do not inherit: their options are set on each (unix(7)).
    own: Option<Box<SocketOptions>>,
    /// Where it is watched.
    queue: Option<Arc<Queue>>,
}

/// What a socket is that is to listen.
pub(super) struct Bound {
    pub(super) kind: SocketKind,
    pub(super) local: Address,
    /// The file of a unix socket.
    pub(super) file: Option<BoundFile>,
}

/// What one accept came to.
#[must_use]
pub enum Accepted {
    /// A connection.
    Connection(Connection),
    /// A connection was lost before it was ours (accept(2), "Error handling"); the next may come.
    Lost,
    /// This process or machine is out of descriptors or memory; the connection still waits.
    Exhausted(Failed),
}

/// A connection that came in, not yet waited on.
pub struct Connection {
    door: Arc<Door>,
    socket: Socket,
    kind: SocketKind,
    conn: u64,
    peer: Address,
    opened: Instant,
}

impl Listener {
    pub(super) fn new(door: Arc<Door>, made: Socket, bound: Bound, words: &SocketOptions) -> Result<Self, Failed> {
        let SocketOptions { fast_open, mptcp, .. } = *words;
        let Bound { kind, local, file } = bound;
        match sys::watch_socket(Arc::new(made), Interest::READABLE) {
            Ok(socket) => {
                let socket = Arc::new(socket);
                let has_own = kind.is_unix() && (words.recv_buffer.is_some() || words.send_buffer.is_some());
                let own = has_own.then(|| Box::new(words.clone()));
                Ok(Self { _file: file, door, socket, kind, local, fast_open, mptcp, own, queue: None })
            }
            Err(error) => Err(door.fail(&Error::of_io(Step::Listen, &error, &local.to_string()).with_local(local))),
        }
    }

    /// Begins to watch the accept queue: whoever does not get in is told of, and what became of it
    /// when the listener ends.
    #[must_use]
    pub fn watching_queue(mut self) -> Self {
        self.queue = Some(Queue::watch(&self.door, &self.socket, &self.local, self.mptcp));
        self
    }

    /// Returns the address that the listener has.
    #[must_use]
    pub fn local(&self) -> &Address {
        &self.local
    }

    /// Waits for a connection and accepts it.
    ///
    /// # Errors
    /// The listener itself is of no use any more.
    pub async fn accept(&self) -> Result<Accepted, Failed> {
        let accepted = self.socket.async_io(Interest::READABLE, |socket| socket::accept(socket)).await;
        match accepted {
            Ok((made, peer)) => Ok(Accepted::Connection(self.connection(made, peer))),
            Err(error) => self.failed(&error),
        }
    }

    fn connection(&self, made: Socket, peer: Address) -> Connection {
        let conn = self.door.next_conn();
        // The wildcard has many addresses, and only the kernel knows which one was meant.
        let is_told = self.door.wants(Kind::Accept);
        let local = if is_told { socket::local(&made) } else { Address::UnixUnnamed };
        let info = (self.fast_open && is_told).then(|| sys::tcp_info(made.as_fd()).ok()).flatten();
        let whose = (is_told && self.kind.is_unix()).then(|| unix::peer_credentials(&made).ok()).flatten();
        let process = whose.and_then(Credentials::seen_pid).and_then(unix::process_name);
        self.door.emit(event::Accept {
            conn,
            peer: &peer,
            local: &local,
            fast_open: info.map(|info| info.is_syn_data_acked),
            mptcp: (self.mptcp && is_told).then(|| super::mptcp(&made)).flatten(),
            pid: whose.and_then(Credentials::seen_pid),
            uid: whose.map(|whose| whose.uid),
            gid: whose.map(|whose| whose.gid),
            process: process.as_deref(),
        });
        if let Some(words) = &self.own {
            // A failure is this connection's own, and told.
            let _told = set_options(&self.door, &made, self.kind, Role::Client, words);
        }
        Connection { door: Arc::clone(&self.door), socket: made, kind: self.kind, conn, peer, opened: now() }
    }

    fn failed(&self, error: &io::Error) -> Result<Accepted, Failed> {
        let failed = || {
            self.door.fail(&Error::of_io(Step::Accept, error, &self.local.to_string()).with_local(self.local.clone()))
        };
        match errno(error) {
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => Ok(Accepted::Exhausted(failed())),
            Some(Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK | Errno::EOPNOTSUPP | Errno::EFAULT) => Err(failed()),
            _ => {
                let _reported = failed();
                Ok(Accepted::Lost)
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.look(&self.door, Why::Report);
        }
    }
}

impl Connection {
    /// Returns who connected.
    #[must_use]
    pub fn peer(&self) -> &Address {
        &self.peer
    }

    /// Returns who is at the other end of a unix socket, and all its groups, as far as the kernel
    /// tells.
    #[must_use]
    pub fn credentials(&self) -> Option<(Credentials, Vec<u32>)> {
        let whose = self.kind.is_unix().then(|| unix::peer_credentials(&self.socket).ok()).flatten()?;
        Some((whose, unix::peer_groups(&self.socket).unwrap_or_default()))
    }

    /// Begins to wait on the connection.
    ///
    /// # Errors
    /// The runtime cannot take the descriptor; reported, and the connection is closed.
    pub fn open(self) -> Result<Stream, Failed> {
        self.begin(Stream::wait_alone)?.telling_ends()
    }

    /// Begins to wait on it together with others, under a number that is its own among them.
    ///
    /// # Errors
    /// epoll cannot take the descriptor; reported, and the connection is closed.
    pub fn join(self, crowd: &mut Crowd, number: u64) -> Result<Stream, Failed> {
        self.begin(|stream| crowd.add(stream, number))
    }

    fn begin(self, wait: impl FnOnce(&Stream) -> io::Result<()>) -> Result<Stream, Failed> {
        let Self { door, socket, kind, conn, peer, opened } = self;
        // A unix socket tells of room with each answer that the peer takes, wanted or not: an event
        // for every answer. TCP does so only to one who has met a full buffer.
        let tells_of_room = !kind.is_unix();
        let interest = if tells_of_room { sys::BOTH_WAYS } else { sys::IN };
        let made = Made { kind, conn, peer, opened, is_accepted: true, tells_of_room };
        let stream = Stream::new(door, Watch::new(socket, interest), made);
        match wait(&stream) {
            Ok(()) => Ok(stream),
            Err(error) => {
                let failed = stream.fail(&on_connection(Step::Accept, &error, conn, stream.peer()));
                stream.close(event::Reason::Local);
                Err(failed)
            }
        }
    }

    /// Closes the connection at once.
    pub fn close(self, reason: event::Reason) {
        let audit = close::audit(&self.door, self.kind, &self.socket, &Ending::default(), End::default());
        drop(self.socket);
        let duration = self.opened.elapsed();
        let closing = Closing { conn: self.conn, reason, bytes_received: 0, bytes_sent: 0, duration };
        close::report(&self.door, &closing, audit);
    }
}

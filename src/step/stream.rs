//! One connection, client or server, of any family: send, recv, shutdown, close.

use std::future::poll_fn;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::fail::on_connection;
use super::{Door, Failed, now, within};
use crate::address::Address;
use crate::error::{Error, ExitCode, Step};
use crate::event::{self, Descriptor, Event, How, Kind, Reason, Tcp};
use crate::socket::{self, SocketKind};
use crate::sys::{self, Message, Wanted};

/// A connection. Dropped without [`Stream::close`], it was ended by the end of the run.
pub struct Stream {
    door: Arc<Door>,
    socket: Option<AsyncFd<Socket>>,
    kind: SocketKind,
    conn: u64,
    peer: Address,
    opened: Instant,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    /// Whether the peer's end was read: then nothing is left unread.
    at_eof: AtomicBool,
    is_stalled: AtomicBool,
    /// Whether it came in, and was not made by us.
    is_accepted: bool,
}

/// How a connection came to be.
pub(super) struct Made {
    pub(super) kind: SocketKind,
    pub(super) conn: u64,
    pub(super) peer: Address,
    pub(super) opened: Instant,
    /// Whether it came in, and was not made by us.
    pub(super) is_accepted: bool,
}

/// What one recv took.
#[derive(Clone, Copy, Debug)]
struct Taken {
    bytes: usize,
    /// It was the peer's end.
    is_end: bool,
    /// Nothing more had come.
    is_all: bool,
}

/// What one recv gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recvd {
    /// That many bytes.
    Data(usize),
    /// The peer's end.
    Eof,
    /// Nothing yet.
    Nothing,
}

/// What one send took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Everything.
    All,
    /// That many bytes; the rest must wait.
    Part(usize),
}

impl Stream {
    pub(super) fn new(door: Arc<Door>, socket: AsyncFd<Socket>, made: Made) -> Self {
        Self {
            door,
            socket: Some(socket),
            kind: made.kind,
            conn: made.conn,
            peer: made.peer,
            opened: made.opened,
            bytes_received: AtomicU64::new(0),
            bytes_sent: AtomicU64::new(0),
            at_eof: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            is_accepted: made.is_accepted,
        }
    }

    pub(super) fn door(&self) -> &Door {
        &self.door
    }

    pub(super) fn socket(&self) -> Option<&AsyncFd<Socket>> {
        self.socket.as_ref()
    }

    /// Reports that the peer has closed its side.
    pub(super) fn ended(&self) {
        self.at_eof.store(true, Ordering::Relaxed);
        self.door.emit(event::Eof { conn: self.conn });
    }

    /// Counts and reports bytes that came without passing through this program.
    pub(super) fn received(&self, bytes: usize) {
        self.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.door.emit(event::Recv::on(self.conn, bytes, &[]));
    }

    /// Counts and reports bytes that went without passing through this program.
    pub(super) fn sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.door.emit(event::Send::on(self.conn, bytes, &[]));
    }

    /// Reports that a step on this connection failed.
    pub(super) fn failed(&self, step: Step, errno: Errno) -> Failed {
        if step == Step::Recv {
            self.at_eof.store(true, Ordering::Relaxed);
        }
        self.door.fail(&on_connection(step, &errno.into(), self.conn, &self.peer))
    }

    /// Returns whether the peer's end is told: of datagrams it is not.
    #[must_use]
    pub fn has_end(&self) -> bool {
        self.kind.has_connections()
    }

    /// Returns the most bytes that one send should have: a record or datagram must fit into the
    /// socket's buffer whole.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        if self.kind.has_records() { 64 << 10 } else { 256 << 10 }
    }

    /// Returns whether bytes of the connection may be moved by splice(2): records would lose their
    /// bounds.
    pub(super) fn can_splice(&self) -> bool {
        !self.kind.has_records()
    }

    /// Returns how many bytes went either way so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes_received.load(Ordering::Relaxed) + self.bytes_sent.load(Ordering::Relaxed)
    }

    /// Waits until there is something to recv, then until a slow reader of the events has made
    /// room: only then is more taken from the network.
    pub async fn readable(&self) {
        self.arrived().await;
        self.room().await;
    }

    /// Waits as [`Stream::readable`] does, at most for a duration where there is one; returns how
    /// long it has waited where that passed. The wait for room is not the peer's silence, so it is
    /// not bounded.
    ///
    /// # Errors
    /// The time is over.
    pub async fn readable_within(&self, bound: Option<Duration>) -> Result<(), Duration> {
        match bound {
            Some(bound) => {
                let began = now();
                // Boxed, because a timer is large and most waits of a server have none.
                let ready = Box::pin(tokio::time::timeout(bound, self.arrived())).await;
                ready.map_err(|_| began.elapsed())?;
            }
            None => self.arrived().await,
        }
        self.room().await;
        Ok(())
    }

    /// Waits until something has come, or the peer's end.
    async fn arrived(&self) {
        if let Some(socket) = &self.socket {
            // An error of the wait is told by the recv that follows.
            poll_fn(|context| socket.poll_read_ready(context).map(drop)).await;
        }
    }

    /// Waits for a slow reader of the events, save for a connection's first bytes: when they come
    /// is measured.
    async fn room(&self) {
        if self.door.is_full() && self.bytes_received.load(Ordering::Relaxed) > 0 {
            self.stall(true);
            // Boxed, so that ten thousand connections that do not wait here hold no room for it.
            Box::pin(self.door.room()).await;
            self.stall(false);
        }
    }

    /// Notes whether what has come waits for our own output.
    pub(super) fn stall(&self, is_stalled: bool) {
        self.is_stalled.store(is_stalled, Ordering::Relaxed);
    }

    /// Returns whether what has come waits for our own output: then the peer is not silent.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    /// Waits until the peer has closed its side or something has come, and returns whether it has
    /// closed.
    ///
    /// # Errors
    /// The connection broke off; reported.
    pub async fn peer_closed(&self) -> Result<bool, Failed> {
        let Some(socket) = &self.socket else { return Ok(true) };
        loop {
            poll_fn(|context| socket.poll_read_ready(context).map(drop)).await;
            let mut guard = match socket.poll_read_ready(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(guard)) => guard,
                Poll::Ready(Err(_)) | Poll::Pending => continue,
            };
            match guard.get_inner().peek(&mut [MaybeUninit::uninit()]) {
                Ok(bytes) => return Ok(bytes == 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Asking has taken the error from the socket, so it is told here.
                Err(error) => {
                    self.at_eof.store(true, Ordering::Relaxed);
                    return Err(self.door.fail(&on_connection(Step::Recv, &error, self.conn, &self.peer)));
                }
            }
        }
    }

    /// Takes what has come, at most what the buffer holds, with one recv(2).
    ///
    /// # Errors
    /// As recv(2), reported.
    pub fn recv(&self, buffer: &mut [u8]) -> Result<Recvd, Failed> {
        let Some(socket) = &self.socket else { return Ok(Recvd::Eof) };
        // The guard is taken before the call, so that what comes after it is a new edge.
        let mut guard = match socket.poll_read_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(guard)) => guard,
            Poll::Ready(Err(_)) | Poll::Pending => return Ok(Recvd::Nothing),
        };
        let taken = match self.kind.is_unix() {
            true => self.take_message(guard.get_inner(), buffer),
            false => self.take(guard.get_inner(), buffer),
        };
        match taken {
            Ok(Taken { is_end: true, .. }) => {
                self.ended();
                Ok(Recvd::Eof)
            }
            Ok(Taken { bytes, is_all, .. }) => {
                // Nothing more has come, so wait for the next edge instead of asking once more in
                // vain.
                if is_all {
                    guard.clear_ready();
                }
                Ok(Recvd::Data(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                guard.clear_ready();
                Ok(Recvd::Nothing)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Recvd::Nothing),
            Err(error) => {
                self.at_eof.store(true, Ordering::Relaxed);
                Err(self.door.fail(&on_connection(Step::Recv, &error, self.conn, &self.peer)))
            }
        }
    }

    /// Takes what a TCP connection has.
    fn take(&self, mut socket: &Socket, buffer: &mut [u8]) -> io::Result<Taken> {
        let bytes = socket.read(buffer)?;
        if bytes > 0 {
            self.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
            self.door.emit(event::Recv::on(self.conn, bytes, &buffer[..bytes]));
        }
        // Less than there was room for is all that there was.
        Ok(Taken { bytes, is_end: bytes == 0, is_all: bytes < buffer.len() })
    }

    /// Takes what a unix socket has, with the descriptors that come along.
    fn take_message(&self, socket: &Socket, buffer: &mut [u8]) -> io::Result<Taken> {
        let has_records = self.kind.has_records();
        let message = self.message(socket, buffer)?;
        let bytes = message.bytes;
        if let Some(from) = message.from.as_ref().map(socket::address)
            && from != self.peer
        {
            self.foreign(&message, &from, &buffer[..bytes]);
            return Err(io::ErrorKind::Interrupted.into());
        }
        // A stream ends with 0 bytes; a record of 0 bytes has its sender's credentials, the end of
        // a stream of records has none; datagrams have no end.
        let is_end = bytes == 0
            && match has_records {
                true => self.kind.has_connections() && message.credentials.is_none(),
                false => !buffer.is_empty(),
            };
        if is_end {
            return Ok(Taken { bytes, is_end, is_all: false });
        }
        self.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
        let is_datagram = !self.kind.has_connections();
        let descriptors = described(&message.descriptors);
        self.door.emit(event::Recv {
            peer: is_datagram.then_some(&self.peer),
            truncated: has_records.then_some(message.true_bytes > bytes),
            datagram_bytes: has_records.then_some(message.true_bytes as u64),
            descriptors: &descriptors,
            ..event::Recv::on(self.conn, bytes, &buffer[..bytes])
        });
        // A recv ends at descriptors, and at the end of a record, whatever is behind them.
        let is_all = !has_records && descriptors.is_empty() && bytes < buffer.len();
        Ok(Taken { bytes, is_end, is_all })
    }

    /// Reports a datagram that somebody else had sent before we kept to our peer.
    fn foreign(&self, message: &Message, from: &Address, data: &[u8]) {
        self.door.emit(event::Recv {
            peer: Some(from),
            truncated: Some(message.true_bytes > message.bytes),
            datagram_bytes: Some(message.true_bytes as u64),
            denied: true,
            descriptors: &described(&message.descriptors),
            ..event::Recv::on(None, message.bytes, data)
        });
    }

    /// Receives one message of a unix socket.
    fn message(&self, socket: &Socket, buffer: &mut [u8]) -> io::Result<Message> {
        let fd = socket.as_fd();
        // A server's datagrams may have come before it had one peer.
        let from = self.is_accepted && !self.kind.has_connections();
        let wanted = Wanted { true_length: self.kind.has_records(), from, ..Wanted::default() };
        if !self.is_client_of_records() {
            return sys::recv_message(fd, buffer, wanted);
        }
        // Credentials tell an empty record from the end. Switched on for good they would give our
        // unnamed socket a name at its next send (unix(7), "Autobind"), so only for this question.
        let peeked = sys::recv_message(fd, &mut [], Wanted { peek: true, ..wanted })?;
        if peeked.true_bytes > 0 {
            return sys::recv_message(fd, buffer, wanted);
        }
        socket::unix::pass_credentials(socket, true)?;
        let message = sys::recv_message(fd, buffer, wanted);
        socket::unix::pass_credentials(socket, false)?;
        message
    }

    /// Returns whether it is our end of a connection of records: a server's end has credentials
    /// switched on when it is accepted.
    fn is_client_of_records(&self) -> bool {
        self.kind.has_records() && self.kind.has_connections() && !self.is_accepted
    }

    /// Sends as much of the parts, in their order, as the kernel takes at once.
    ///
    /// # Errors
    /// As send(2), reported.
    pub fn send(&self, parts: [&[u8]; 2]) -> Result<Sent, Failed> {
        let Some(socket) = &self.socket else { return Ok(Sent::All) };
        let whole = parts[0].len() + parts[1].len();
        // An empty record is one too.
        if whole == 0 && !self.kind.has_records() {
            return Ok(Sent::All);
        }
        let mut guard = match socket.poll_write_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(guard)) => guard,
            Poll::Ready(Err(_)) | Poll::Pending => return Ok(Sent::Part(0)),
        };
        let sent = if parts[0].is_empty() {
            guard.get_inner().send(parts[1])
        } else {
            guard.get_inner().send_vectored(&[IoSlice::new(parts[0]), IoSlice::new(parts[1])])
        };
        match sent {
            Ok(bytes) => {
                self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
                // A part shows that the buffer is full: wait for the next edge.
                if bytes < whole {
                    guard.clear_ready();
                }
                self.report_sent(parts, bytes);
                Ok(if bytes == whole { Sent::All } else { Sent::Part(bytes) })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                guard.clear_ready();
                Ok(Sent::Part(0))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Sent::Part(0)),
            Err(error) => Err(self.door.fail(&on_connection(Step::Send, &error, self.conn, &self.peer))),
        }
    }

    fn report_sent(&self, parts: [&[u8]; 2], bytes: usize) {
        let joined;
        let data = if parts[0].is_empty() {
            &parts[1][..bytes]
        } else if self.door.wants(Kind::Send) {
            joined = parts.concat();
            &joined[..bytes]
        } else {
            &[]
        };
        let peer = (!self.kind.has_connections()).then_some(&self.peer);
        self.door.emit(event::Send { peer, ..event::Send::on(self.conn, bytes, data) });
    }

    /// Sends everything, waiting for the peer where it must, each wait at most `bound`.
    ///
    /// # Errors
    /// As send(2), or the wait ended; reported.
    pub async fn send_all(&self, mut bytes: &[u8], bound: Option<Duration>) -> Result<(), Failed> {
        loop {
            // A slow reader holds up only what it is to be told.
            if self.door.is_full() && self.door.wants(Kind::Send) {
                self.door.room().await;
            }
            match self.send([&[], bytes])? {
                Sent::All => return Ok(()),
                Sent::Part(taken) => bytes = &bytes[taken..],
            }
            let began = now();
            if within(bound, self.writable()).await.is_none() {
                return Err(self.timed_out(Step::Send, began.elapsed()));
            }
        }
    }

    /// Waits until the kernel takes more.
    async fn writable(&self) {
        if let Some(socket) = &self.socket {
            poll_fn(|context| socket.poll_write_ready(context).map(drop)).await;
        }
    }

    /// Waits until the connection is broken, by a reset that came after the peer's end, say, and
    /// reports it.
    pub async fn broken(&self) -> Failed {
        let Some(socket) = &self.socket else { return std::future::pending().await };
        loop {
            if let Ok(mut guard) = socket.ready(Interest::ERROR).await {
                if let Ok(Some(error)) = guard.get_inner().take_error() {
                    return self.door.fail(&on_connection(Step::Recv, &error, self.conn, &self.peer));
                }
                guard.clear_ready();
            }
        }
    }

    /// Reports that a wait on this connection ended without what it waited for.
    pub fn timeout(&self, step: Step, after: Duration) {
        self.door.emit(event::Timeout { conn: Some(self.conn), step, after });
    }

    /// Reports that a wait ended, and that this is a failure.
    pub fn timed_out(&self, step: Step, after: Duration) -> Failed {
        self.door.emit(event::Timeout { conn: Some(self.conn), step, after });
        let doing = if step == Step::Send { "the peer took nothing" } else { "nothing came" };
        let message = format!("{step} {}: {doing} within {:.3} s", self.peer, after.as_secs_f64());
        self.door.fail(&self.error(step, ExitCode::NoAnswer, message))
    }

    /// Reports that the peer closed before its answer was whole.
    pub fn cut_short(&self, message: &str) -> Failed {
        self.door.fail(&self.error(Step::Recv, ExitCode::Reset, format!("recv {}: {message}", self.peer)))
    }

    fn error(&self, step: Step, code: ExitCode, message: String) -> Error {
        Error::of_kind(step, code, message).with_conn(self.conn).with_peer(self.peer.clone())
    }

    /// Closes our sending side; the peer's goes on.
    ///
    /// # Errors
    /// As shutdown(2), reported.
    pub fn shutdown(&self) -> Result<(), Failed> {
        let Some(socket) = &self.socket else { return Ok(()) };
        match socket.get_ref().shutdown(Shutdown::Write) {
            Ok(()) => {
                self.door.emit(event::Shutdown { conn: self.conn, how: How::Write });
                Ok(())
            }
            Err(error) => Err(self.door.fail(&on_connection(Step::Shutdown, &error, self.conn, &self.peer))),
        }
    }

    /// Closes the connection.
    pub fn close(mut self, reason: Reason) {
        self.end(reason);
    }

    fn end(&mut self, reason: Reason) {
        let Some(socket) = self.socket.take().map(AsyncFd::into_inner) else { return };
        let unread = if self.at_eof.load(Ordering::Relaxed) { Some(0) } else { sys::unread(socket.as_fd()).ok() };
        let tcp = self.door.wants(Kind::Close).then(|| tcp_of(&socket)).flatten();
        let duration = self.opened.elapsed();
        drop(socket);
        report_close(
            &self.door,
            self.kind,
            &event::Close {
                conn: self.conn,
                reason,
                bytes_received: self.bytes_received.load(Ordering::Relaxed),
                bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
                bytes_unread: unread,
                duration,
                tcp,
            },
        );
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end(self.door.end());
    }
}

/// Reports a close, and what it does to the peer where bytes were left unread.
pub(super) fn report_close(door: &Door, kind: SocketKind, close: &event::Close) {
    if let Some(unread @ 1..) = close.bytes_unread
        && close.reason != Reason::Signal
    {
        let seen = if kind.has_connections() { ": the peer sees a reset" } else { "" };
        let message = format!("connection {} was closed with {unread} bytes unread{seen}", close.conn);
        door.warn("unread-at-close", &message);
    }
    door.emit(Event::Close(close.clone()));
}

/// Says what descriptors are that a peer passed. They are closed when the message is dropped.
pub(super) fn described(descriptors: &[OwnedFd]) -> Vec<Descriptor> {
    let describe = |fd| {
        let (kind, target) = socket::unix::describe(fd);
        Descriptor { kind, target }
    };
    descriptors.iter().map(describe).collect()
}

/// Returns the kernel's figures of a TCP socket.
pub(super) fn tcp_of(made: &Socket) -> Option<Tcp> {
    let info = sys::tcp_info(made.as_fd()).ok()?;
    Some(Tcp {
        rtt: info.rtt,
        min_rtt: info.min_rtt,
        rttvar: info.rttvar,
        retransmits: info.total_retrans,
        mss: info.snd_mss,
        cwnd: info.snd_cwnd,
    })
}

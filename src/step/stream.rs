//! One connection, client or server, of any family: send, recv, shutdown, close.

use std::future::poll_fn;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::close::{self, Closing, Ending};
use super::fail::on_connection;
use super::series::Open;
use super::{Door, Failed, now, within};
use crate::address::Address;
use crate::error::{Error, ExitCode, Step};
use crate::event::{self, How, Kind, Payload, Reason};

/// A connection. Dropped without [`Stream::close`], it was ended by the end of the run.
pub struct Stream {
    door: Arc<Door>,
    /// `None` once it is closed.
    open: Option<Arc<Open>>,
    conn: u64,
    peer: Address,
    opened: Instant,
    /// Whether the peer's end was read: then nothing is left unread.
    at_eof: AtomicBool,
    ending: Ending,
    is_stalled: AtomicBool,
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
    pub(super) fn new(door: Arc<Door>, socket: AsyncFd<Socket>, conn: u64, peer: Address, opened: Instant) -> Self {
        let open = Arc::new(Open::new(socket));
        if let Some(watched) = door.watched() {
            watched.add(conn, &open);
        }
        Self {
            door,
            open: Some(open),
            conn,
            peer,
            opened,
            at_eof: AtomicBool::new(false),
            ending: Ending::default(),
            is_stalled: AtomicBool::new(false),
        }
    }

    pub(super) fn door(&self) -> &Door {
        &self.door
    }

    pub(super) fn socket(&self) -> Option<&AsyncFd<Socket>> {
        self.open.as_ref().map(|open| &open.socket)
    }

    /// Counts bytes that came.
    fn count_received(&self, bytes: usize) {
        if let Some(open) = &self.open {
            open.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Counts bytes that went.
    fn count_sent(&self, bytes: usize) {
        if let Some(open) = &self.open {
            open.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Reports that the peer has closed its side.
    pub(super) fn ended(&self) {
        self.at_eof.store(true, Ordering::Relaxed);
        self.ending.peer_ended();
        self.door.emit(event::Eof { conn: self.conn });
    }

    /// Counts and reports bytes that came without passing through this program.
    pub(super) fn received(&self, bytes: usize) {
        self.count_received(bytes);
        self.door.emit(event::Recv { conn: Some(self.conn), bytes: bytes as u64, data: Payload(&[]) });
    }

    /// Counts and reports bytes that went without passing through this program.
    pub(super) fn sent(&self, bytes: usize) {
        self.count_sent(bytes);
        self.door.emit(event::Send { conn: Some(self.conn), bytes: bytes as u64, data: Payload(&[]) });
    }

    /// Counts and reports bytes that went with the SYN.
    pub(super) fn sent_before(&self, data: &[u8]) {
        self.count_sent(data.len());
        self.door.emit(event::Send { conn: Some(self.conn), bytes: data.len() as u64, data: Payload(data) });
    }

    /// Reports that a step on this connection failed.
    pub(super) fn failed(&self, step: Step, errno: Errno) -> Failed {
        self.broke(step, &errno.into())
    }

    /// Reports that a step on this connection failed, and keeps that for its close.
    fn broke(&self, step: Step, error: &io::Error) -> Failed {
        if step == Step::Recv {
            self.at_eof.store(true, Ordering::Relaxed);
        }
        self.ending.broke(error);
        self.door.fail(&on_connection(step, error, self.conn, &self.peer))
    }

    /// Returns how many bytes went either way so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.received() + open.sent())
    }

    /// Returns whether the connection, which was to speak MPTCP, does; `None` where the kernel does
    /// not tell.
    #[must_use]
    pub fn is_mptcp(&self) -> Option<bool> {
        let socket = self.socket()?.get_ref();
        super::mptcp(socket).map(|mptcp| mptcp == event::Mptcp::Negotiated)
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
        if let Some(socket) = self.socket() {
            // An error of the wait is told by the recv that follows.
            poll_fn(|context| socket.poll_read_ready(context).map(drop)).await;
        }
    }

    /// Waits for a slow reader of the events, save for a connection's first bytes: when they come
    /// is measured.
    async fn room(&self) {
        if self.door.is_full() && self.open.as_ref().is_some_and(|open| open.received() > 0) {
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
        let Some(socket) = self.socket() else { return Ok(true) };
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
                Err(error) => return Err(self.broke(Step::Recv, &error)),
            }
        }
    }

    /// Takes what has come, at most what the buffer holds, with one recv(2).
    ///
    /// # Errors
    /// As recv(2), reported.
    pub fn recv(&self, buffer: &mut [u8]) -> Result<Recvd, Failed> {
        let Some(socket) = self.socket() else { return Ok(Recvd::Eof) };
        // The guard is taken before the call, so that what comes after it is a new edge.
        let mut guard = match socket.poll_read_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(guard)) => guard,
            Poll::Ready(Err(_)) | Poll::Pending => return Ok(Recvd::Nothing),
        };
        let mut socket: &Socket = guard.get_inner();
        match socket.read(buffer) {
            Ok(0) => {
                self.ended();
                Ok(Recvd::Eof)
            }
            Ok(bytes) => {
                self.count_received(bytes);
                // Less than there was room for: nothing more has come, so wait for the next
                // edge instead of asking once more in vain.
                if bytes < buffer.len() {
                    guard.clear_ready();
                }
                let data = Payload(&buffer[..bytes]);
                self.door.emit(event::Recv { conn: Some(self.conn), bytes: bytes as u64, data });
                Ok(Recvd::Data(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                guard.clear_ready();
                Ok(Recvd::Nothing)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Recvd::Nothing),
            Err(error) => Err(self.broke(Step::Recv, &error)),
        }
    }

    /// Sends as much of the parts, in their order, as the kernel takes at once.
    ///
    /// # Errors
    /// As send(2), reported.
    pub fn send(&self, parts: [&[u8]; 2]) -> Result<Sent, Failed> {
        let Some(socket) = self.socket() else { return Ok(Sent::All) };
        let whole = parts[0].len() + parts[1].len();
        if whole == 0 {
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
                self.count_sent(bytes);
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
            Err(error) => Err(self.broke(Step::Send, &error)),
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
        self.door.emit(event::Send { conn: Some(self.conn), bytes: bytes as u64, data: Payload(data) });
    }

    /// Sends everything, waiting for the peer where it must, each wait at most `bound`.
    ///
    /// # Errors
    /// As send(2), or the wait ended; reported.
    pub async fn send_all(&self, mut bytes: &[u8], bound: Option<Duration>) -> Result<(), Failed> {
        while !bytes.is_empty() {
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
        Ok(())
    }

    /// Waits until the kernel takes more.
    async fn writable(&self) {
        if let Some(socket) = self.socket() {
            poll_fn(|context| socket.poll_write_ready(context).map(drop)).await;
        }
    }

    /// Waits until the connection is broken, by a reset that came after the peer's end, say, and
    /// reports it.
    pub async fn broken(&self) -> Failed {
        let Some(socket) = self.socket() else { return std::future::pending().await };
        loop {
            if let Ok(mut guard) = socket.ready(Interest::ERROR).await {
                if let Ok(Some(error)) = guard.get_inner().take_error() {
                    return self.broke(Step::Recv, &error);
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
        let Some(socket) = self.socket() else { return Ok(()) };
        self.ending.we_end(socket.get_ref());
        match socket.get_ref().shutdown(Shutdown::Write) {
            Ok(()) => {
                self.door.emit(event::Shutdown { conn: self.conn, how: How::Write });
                Ok(())
            }
            Err(error) => Err(self.broke(Step::Shutdown, &error)),
        }
    }

    /// Closes the connection.
    pub fn close(mut self, reason: Reason) {
        self.end(reason);
    }

    fn end(&mut self, reason: Reason) {
        let Some(open) = self.open.take() else { return };
        if let Some(watched) = self.door.watched() {
            watched.forget(self.conn);
        }
        let audit = close::audit(&self.door, open.socket.get_ref(), &self.ending, self.at_eof.load(Ordering::Relaxed));
        let closing = Closing {
            conn: self.conn,
            reason,
            bytes_received: open.received(),
            bytes_sent: open.sent(),
            duration: self.opened.elapsed(),
        };
        drop(open);
        close::report(&self.door, &closing, audit);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end(self.door.end());
    }
}

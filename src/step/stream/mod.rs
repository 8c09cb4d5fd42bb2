//! One connection, client or server, of any family: send, recv, shutdown, close.

use std::io::{self, IoSlice, Read};
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use socket2::Socket;
use tokio::io::Interest;

use super::close::Ending;
use super::fail::{errno, on_connection};
use super::open::try_set;
use super::series::Open;
use super::tls::Session;
use super::watch::{Told, Watch};
use super::{Door, Failed};
use crate::address::Address;
use crate::error::{Error, ExitCode, Step};
use crate::event::{self, Kind, ProxyStep, Reason};
use crate::socket::SocketKind;
use crate::socket::options::mark_records;
use crate::sys;

mod end;
mod rest;
mod unix;
mod wait;

pub use rest::Rest;
pub(super) use unix::{described, from_whom, warn_of_dropped};

/// A connection. Dropped without [`Stream::close`], it was ended by the end of the run.
pub struct Stream {
    door: Arc<Door>,
    /// `None` once it is closed.
    open: Option<Arc<Open>>,
    kind: SocketKind,
    pub(super) conn: u64,
    pub(super) peer: Address,
    opened: Instant,
    /// Whether the peer's end was read: then nothing is left unread.
    pub(super) at_eof: AtomicBool,
    pub(super) ending: Ending,
    is_stalled: AtomicBool,
    /// Whether the next send is tried though nothing has told of room.
    tries_anyway: AtomicBool,
    /// Whether anything has come, an empty record too.
    has_received: AtomicBool,
    /// Whether the peer has sent urgent data.
    is_urgent: AtomicBool,
    /// Whether it came in, and was not made by us.
    pub(super) is_accepted: bool,
    /// Whether the last recv has left open if more has come.
    may_have_more: AtomicBool,
    /// Whether records are marked. Before that whoever recvs knows that the end has not come (`Came::has_more`).
    tells_ends: AtomicBool,
    /// What few connections have.
    aside: OnceLock<Box<Aside>>,
    tells_of_room: bool,
}

/// What few connections have, made when it is first needed: an idle one is small.
#[derive(Default)]
struct Aside {
    /// What tells of room to send, where the socket itself is only watched for what comes.
    writer: OnceLock<Watch>,
    /// Its TLS, once the handshake is done.
    tls: Option<Session>,
    /// Our own name, asked for where each datagram tells it.
    local: OnceLock<Address>,
    /// A wait for room that was broken off for a try.
    waited: Mutex<Option<Waited>>,
    /// What it was made for, as typed; on a way through proxies what the last was asked for.
    target: Option<String>,
}

/// A wait for room to send: since when the peer takes nothing, what it had not taken then, and what was sent.
struct Waited {
    since: Instant,
    untaken: Option<u64>,
    sent: u64,
}

impl Aside {
    fn lock_waited(&self) -> MutexGuard<'_, Option<Waited>> {
        // Nothing is left half done under it.
        self.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a connection came to be.
pub(super) struct Made {
    pub(super) kind: SocketKind,
    pub(super) conn: u64,
    pub(super) peer: Address,
    pub(super) opened: Instant,
    /// Whether it came in, and was not made by us.
    pub(super) is_accepted: bool,
    /// Whether its socket is watched for room to send too, and not only for what comes.
    pub(super) tells_of_room: bool,
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
    pub(super) fn new(door: Arc<Door>, socket: Watch, made: Made) -> Self {
        let open = Arc::new(Open::new(socket));
        if let Some(watched) = door.watched() {
            watched.add(made.conn, &open);
        }
        Self {
            door,
            open: Some(open),
            kind: made.kind,
            conn: made.conn,
            peer: made.peer,
            opened: made.opened,
            at_eof: AtomicBool::new(false),
            ending: Ending::default(),
            is_stalled: AtomicBool::new(false),
            tries_anyway: AtomicBool::new(false),
            has_received: AtomicBool::new(false),
            is_urgent: AtomicBool::new(false),
            is_accepted: made.is_accepted,
            may_have_more: AtomicBool::new(false),
            tells_ends: AtomicBool::new(false),
            aside: OnceLock::new(),
            tells_of_room: made.tells_of_room,
        }
    }

    pub(super) fn door(&self) -> &Door {
        &self.door
    }

    /// Reports a warning about this connection.
    pub fn warn(&self, name: &str, message: &str) {
        let (conn, peer, target) = (Some(self.conn), Some(&self.peer), self.target());
        self.door.emit(event::Warning { conn, peer, target, ..event::Warning::of(name, message) });
    }

    pub(super) fn socket(&self) -> Option<&Watch> {
        self.open.as_ref().map(|open| &open.socket)
    }

    /// Counts bytes that came.
    pub(super) fn count_received(&self, bytes: usize) {
        self.has_received.store(true, Ordering::Relaxed);
        if let Some(open) = &self.open {
            add(&open.bytes_received, bytes);
        }
    }

    /// Counts bytes that went.
    pub(super) fn count_sent(&self, bytes: usize) {
        if let Some(open) = &self.open {
            add(&open.bytes_sent, bytes);
        }
    }

    /// Returns who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Address {
        &self.peer
    }

    pub(super) fn kind(&self) -> SocketKind {
        self.kind
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
        self.door.recvd(bytes, || event::Recv::on(self.conn, bytes, &[]));
    }

    /// Counts and reports bytes that came, with the bytes themselves.
    #[cfg(feature = "tls")]
    pub(super) fn received_data(&self, data: &[u8]) {
        self.count_received(data.len());
        self.door.recvd(data.len(), || event::Recv::on(self.conn, data.len(), data));
    }

    /// Counts and reports bytes that went without passing through this program.
    pub(super) fn sent(&self, bytes: usize) {
        self.count_sent(bytes);
        self.door.sent(bytes, || event::Send::on(self.conn, bytes, &[]));
    }

    /// Counts and reports bytes that went with the SYN.
    pub(super) fn sent_before(&self, data: &[u8]) {
        self.count_sent(data.len());
        self.door.sent(data.len(), || event::Send::on(self.conn, data.len(), data));
    }

    /// Emits an error of this connection, which makes its end unclean.
    pub(super) fn fail(&self, error: &Error) -> Failed {
        self.fail_after(error, &[])
    }

    /// As [`Door::fail_after`], likewise.
    pub(super) fn fail_after(&self, error: &Error, steps: &[ProxyStep]) -> Failed {
        self.ending.failed();
        self.door.fail_after(error, steps)
    }

    /// Reports that a step on this connection failed.
    pub(super) fn failed(&self, step: Step, errno: Errno) -> Failed {
        self.failed_io(step, &errno.into())
    }

    /// Reports what a failed call on this connection gave, as [`Stream::of_io`].
    pub(super) fn failed_io(&self, step: Step, error: &io::Error) -> Failed {
        self.fail(&self.of_io(step, error))
    }

    /// Makes an error of what a failed call on this connection gave, and keeps that for its close. That the kernel has
    /// given it up is the end of a wait, and reported as that.
    pub(super) fn of_io(&self, step: Step, error: &io::Error) -> Error {
        self.ending.broke(error);
        let made = on_connection(step, error, self.conn, &self.peer);
        // Who refuses a connection that stands is not whom it was made with: something on the way rejects it.
        let is_rejected = self.kind.is_tcp() && errno(error) == Some(Errno::ECONNREFUSED);
        let made = self.about(if is_rejected { made.with_exit_code(ExitCode::Unreachable) } else { made });
        let is_given_up = matches!(made.exit_code(), ExitCode::NoAnswer | ExitCode::Unreachable);
        if is_given_up && let Some(info) = self.socket().and_then(|made| sys::tcp_info(made.get_ref().as_fd()).ok()) {
            self.timeout(step, info.last_ack_recv);
        }
        made
    }

    /// Lets the kernel mark each record of a stream of records, so that an empty one is told apart from the peer's end.
    ///
    /// # Errors
    /// As setsockopt(2), reported.
    pub fn tell_ends(&self) -> Result<(), Failed> {
        if let Some(socket) = self.socket()
            && self.kind.has_records()
            && self.kind.has_connections()
            && !self.tells_ends.swap(true, Ordering::Relaxed)
        {
            try_set(&self.door, socket.get_ref(), &mark_records()).map_err(|error| self.fail(&self.about(*error)))?;
        }
        Ok(())
    }

    /// Gives back a connection that does so from the start.
    ///
    /// # Errors
    /// As [`Stream::tell_ends`]; the connection is closed.
    pub(super) fn telling_ends(self) -> Result<Self, Failed> {
        match self.tell_ends() {
            Ok(()) => Ok(self),
            Err(failed) => {
                self.close(Reason::Local);
                Err(failed)
            }
        }
    }

    /// Begins to wait on it alone.
    ///
    /// # Errors
    /// As epoll_ctl(2), not reported.
    pub(super) fn wait_alone(&self) -> io::Result<()> {
        self.socket().map_or(Ok(()), |socket| socket.register().map(drop))
    }

    /// Returns whether the last recv has left open if more has come.
    #[must_use]
    pub fn may_have_more(&self) -> bool {
        self.may_have_more.load(Ordering::Relaxed)
    }

    /// Returns whether the peer's end was read.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.at_eof.load(Ordering::Relaxed)
    }

    /// Returns whether anything has come, be it an empty record.
    #[must_use]
    pub fn has_received(&self) -> bool {
        self.has_received.load(Ordering::Relaxed)
    }

    /// Returns the number of the connection.
    #[must_use]
    pub fn conn(&self) -> u64 {
        self.conn
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

    /// Returns whether it is a stream of bytes: not of records, which splice(2) and a portion would
    /// cut.
    #[must_use]
    pub fn is_bytes(&self) -> bool {
        !self.kind.has_records()
    }

    /// Returns its TLS, where there is any.
    fn tls(&self) -> Option<&Session> {
        self.aside.get().and_then(|aside| aside.tls.as_ref())
    }

    /// Goes on with TLS.
    #[cfg(feature = "tls")]
    pub(super) fn goes_on_with(&mut self, session: Session) {
        let mut aside = self.aside.take().unwrap_or_default();
        aside.tls = Some(session);
        let _nobody_else_s = self.aside.set(aside);
    }

    /// Notes what it was made for, or what a proxy was asked for on it.
    pub(super) fn leads_to(&mut self, target: &str) {
        let mut aside = self.aside.take().unwrap_or_default();
        aside.target = Some(target.to_owned());
        let _nobody_else_s = self.aside.set(aside);
    }

    /// Returns whether the kernel may move its bytes by itself: they go as they are.
    pub(super) fn is_plain(&self) -> bool {
        self.is_bytes() && self.tls().is_none()
    }

    /// Returns whether the server's certificate is valid for fewer days than was asked for.
    #[must_use]
    pub fn expires_soon(&self) -> bool {
        self.tls().is_some_and(Session::expires_soon)
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

    /// Takes what has come, at most what the buffer holds, with one recv(2).
    ///
    /// # Errors
    /// As recv(2), reported.
    pub fn recv(&self, buffer: &mut [u8]) -> Result<Recvd, Failed> {
        let Some(socket) = self.socket() else { return Ok(Recvd::Eof) };
        if let Some(session) = self.tls() {
            return self.recv_secured(session, socket, buffer);
        }
        let taken = match socket.told() {
            None => self.take_any(socket.get_ref(), buffer),
            Some(told) => {
                let mut taken = Err(io::ErrorKind::WouldBlock.into());
                // What is ready is read before the call, so that what comes after it is a new edge. Where nothing more
                // has come, the next edge is waited for instead of asking once more in vain.
                let _is_ready = told.try_io(Interest::READABLE, |socket| {
                    taken = self.take_any(socket, buffer);
                    let is_all = match &taken {
                        // Where there is urgent data a recv ends before it, whatever is behind.
                        Ok(taken) => taken.is_all && !self.has_urgent_data(told),
                        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                    };
                    if is_all { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
                });
                taken
            }
        };
        match taken {
            Ok(Taken { is_end: true, .. }) => {
                self.ended();
                Ok(Recvd::Eof)
            }
            Ok(Taken { bytes, is_all, .. }) => {
                self.may_have_more.store(!is_all, Ordering::Relaxed);
                Ok(Recvd::Data(bytes))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(Recvd::Nothing)
            }
            Err(error) => Err(self.failed_io(Step::Recv, &error)),
        }
    }

    /// Returns whether the peer has ever sent urgent data; the first time that is told.
    pub(super) fn has_urgent_data(&self, told: &Told) -> bool {
        // The cheap question, which the peer's end answers too.
        if told.try_io(Interest::PRIORITY, |_| Ok(())).is_err() {
            return false;
        }
        let ready = pin!(told.ready(Interest::PRIORITY)).poll(&mut Context::from_waker(Waker::noop()));
        let has_urgent_data = matches!(ready, Poll::Ready(Ok(guard)) if guard.ready().is_priority());
        if has_urgent_data {
            self.tell_urgent_data();
        }
        has_urgent_data
    }

    /// Warns that the peer has sent urgent data, once.
    pub fn tell_urgent_data(&self) {
        if !self.is_urgent.swap(true, Ordering::Relaxed) {
            let why = "the peer sent urgent data: a byte that is out of band (MSG_OOB) is not among what came";
            self.warn("urgent-data", &format!("connection {}: {why}", self.conn));
        }
    }

    /// Takes what a connection of any family has.
    fn take_any(&self, socket: &Socket, buffer: &mut [u8]) -> io::Result<Taken> {
        match self.kind.is_unix() {
            true => self.take_message(socket, buffer),
            false => self.take(socket, buffer),
        }
    }

    /// Takes what a TCP connection has.
    fn take(&self, mut socket: &Socket, buffer: &mut [u8]) -> io::Result<Taken> {
        let bytes = socket.read(buffer)?;
        if bytes > 0 {
            self.count_received(bytes);
            self.door.recvd(bytes, || event::Recv::on(self.conn, bytes, &buffer[..bytes]));
        }
        // Less than there was room for is all that there was.
        Ok(Taken { bytes, is_end: bytes == 0, is_all: bytes < buffer.len() })
    }

    /// Sends as much of the parts, in their order, as the kernel takes at once. Where the peer is gone, the rest of what
    /// it had sent may be read first.
    ///
    /// # Errors
    /// As send(2), reported.
    pub fn send(&self, parts: [&[u8]; 2], rest: Rest) -> Result<Sent, Failed> {
        let Some(socket) = self.socket() else { return Ok(Sent::All) };
        let whole = parts[0].len() + parts[1].len();
        // An empty record is one too.
        if whole == 0 && !self.kind.has_records() {
            return Ok(Sent::All);
        }
        let socket = socket.get_ref();
        if let Some(session) = self.tls() {
            return self.send_secured(session, socket, parts, rest);
        }
        let Some(mut turn) = self.turn_to_send() else { return Ok(Sent::Part(0)) };
        let sent = if parts[0].is_empty() {
            socket.send(parts[1])
        } else {
            socket.send_vectored(&[IoSlice::new(parts[0]), IoSlice::new(parts[1])])
        };
        match sent {
            Ok(bytes) => {
                self.count_sent(bytes);
                // A part shows that the buffer is full: wait for the next edge.
                if bytes < whole {
                    turn.met_a_full_buffer();
                }
                self.report_sent(parts, bytes);
                Ok(if bytes == whole { Sent::All } else { Sent::Part(bytes) })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                turn.met_a_full_buffer();
                Ok(Sent::Part(0))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Sent::Part(0)),
            Err(error) => Err(self.failed_after(rest, Step::Send, &error)),
        }
    }

    pub(super) fn report_sent(&self, parts: [&[u8]; 2], bytes: usize) {
        let joined;
        let data = if parts[0].is_empty() {
            &parts[1][..bytes]
        } else if self.door.wants(Kind::Send) {
            joined = parts.concat();
            &joined[..bytes]
        } else {
            &[]
        };
        self.door.sent(bytes, || {
            let peer = (!self.kind.has_connections()).then_some(&self.peer);
            event::Send { peer, ..event::Send::on(self.conn, bytes, data) }
        });
    }

    /// Notes that there is something for the peer: who closes the connection before [`Stream::send_all`] has given it
    /// to the kernel, or [`Stream::owe_nothing`] was called, has kept it back.
    pub fn owe(&self) {
        self.ending.owes(true);
    }

    /// Notes that the kernel was given all that there was for the peer.
    pub fn owe_nothing(&self) {
        self.ending.owes(false);
    }

    /// Sends everything, waiting for the peer where it must, each wait at most `bound`.
    ///
    /// # Errors
    /// As send(2), or the wait ended; reported.
    pub async fn send_all(&self, mut bytes: &[u8], bound: Option<Duration>, rest: Rest) -> Result<(), Failed> {
        self.owe();
        loop {
            self.room_to_send().await;
            match self.send([&[], bytes], rest)? {
                Sent::All => {
                    self.owe_nothing();
                    return Ok(());
                }
                Sent::Part(taken) => bytes = &bytes[taken..],
            }
            self.writable_within(bound).await?;
        }
    }

    /// Reports that a wait on this connection ended without what it waited for.
    pub fn timeout(&self, step: Step, after: Duration) {
        self.door.emit(event::Timeout { conn: Some(self.conn), step, after });
    }

    /// Reports that a wait ended, and that this is a failure.
    pub fn timed_out(&self, step: Step, after: Duration) -> Failed {
        self.door.emit(event::Timeout { conn: Some(self.conn), step, after });
        let doing = match step {
            Step::Send => "the peer took nothing",
            Step::Read => "the peer had closed its side, and nothing was sent",
            _ => "nothing came",
        };
        let message = format!("{step} {}: {doing} within {:.3} s", self.peer, after.as_secs_f64());
        self.fail(&self.error(step, ExitCode::NoAnswer, message))
    }

    /// Reports that the peer closed before its answer was whole.
    pub fn cut_short(&self, message: &str) -> Failed {
        self.fail(&self.error(Step::Recv, ExitCode::Reset, format!("recv {}: {message}", self.peer)))
    }

    pub(super) fn error(&self, step: Step, code: ExitCode, message: String) -> Error {
        self.about(Error::of_kind(step, code, message))
    }

    /// Adds to an error what it is about: this connection, its peer, and what it was made for.
    pub(super) fn about(&self, error: Error) -> Error {
        let error = error.with_conn(self.conn).with_peer(self.peer.clone());
        match self.target() {
            Some(target) => error.with_target(target),
            None => error,
        }
    }

    /// Returns what it was made for, as far as known.
    fn target(&self) -> Option<&str> {
        self.aside.get().and_then(|aside| aside.target.as_deref())
    }
}

/// Adds to the bytes of one way. All connections are one thread's, that of the runtime, so this need be no atomic
/// addition; others only read.
fn add(counted: &AtomicU64, bytes: usize) {
    counted.store(counted.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
}

//! The waits of a connection: until something comes, until more is taken, until it breaks.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::Interest;

use super::{Stream, Waited};
use crate::error::{ExitCode, Step};
use crate::event::Kind;
use crate::step::splice::writable;
use crate::step::tls::Session;
use crate::step::watch::{Guard, Told, Watch};
use crate::step::{Failed, now, within};
use crate::sys;

/// How long room in a unix socket is waited for before a send is tried anyway: that the peer takes no more (SHUT_RD) is
/// told by send(2) alone, for unix_poll() in net/unix/af_unix.c knows only of room.
const AGAIN: Duration = Duration::from_millis(250);

/// A turn to send.
pub(in crate::step) struct Turn<'a>(Option<Guard<'a>>);

impl Turn<'_> {
    /// Notes that there was no room: the next turn comes with the next edge.
    pub(in crate::step) fn met_a_full_buffer(&mut self) {
        if let Some(guard) = &mut self.0 {
            guard.clear_ready();
        }
    }
}

impl Stream {
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
        if self.tls().is_some_and(Session::is_ready) {
            return;
        }
        if let Some(socket) = self.socket() {
            // A record says nothing of what is behind it. Whoever asks at once asks in vain where a
            // peer waits for its answer; after everybody else's turn the next may have come.
            if self.kind.has_records() && self.may_have_more() {
                self.may_have_more.store(false, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
            // An error of the wait is told by the recv that follows.
            poll_fn(|context| socket.poll_read_ready(context).map(drop)).await;
        }
    }

    /// Returns whether there is something to recv, or the end.
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        let Some(socket) = self.socket() else { return false };
        let mut asked = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Returns whether what has come has to wait for a slow reader of the events: all but a connection's first bytes,
    /// for when they come is measured.
    #[must_use]
    pub fn lacks_room(&self) -> bool {
        self.door.is_full() && self.has_received()
    }

    /// Waits for a slow reader of the events.
    async fn room(&self) {
        if self.lacks_room() {
            self.stall(true);
            // Boxed, so that ten thousand connections that do not wait here hold no room for it.
            Box::pin(self.door.room()).await;
            self.stall(false);
        }
    }

    /// Notes whether what has come waits for our own output.
    pub(in crate::step) fn stall(&self, is_stalled: bool) {
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
        if let Some(session) = self.tls().filter(|session| session.is_ready())
            && let Some(is_closed) = self.peek_secured(session, socket.get_ref())?
        {
            return Ok(is_closed);
        }
        loop {
            let Ok(mut guard) = poll_fn(|context| socket.poll_read_ready(context)).await else { continue };
            if let Some(session) = self.tls() {
                match self.peek_secured(session, guard.get_inner())? {
                    Some(is_closed) => return Ok(is_closed),
                    None => guard.clear_ready(),
                }
                continue;
            }
            match guard.get_inner().peek(&mut [MaybeUninit::uninit()]) {
                // A record may be empty, and of datagrams no end is told.
                Ok(0) if self.kind.has_records() => {
                    let hangup = sys::hangup(guard.get_inner().as_fd());
                    return Ok(self.kind.has_connections() && hangup.is_peer_closed);
                }
                Ok(bytes) => return Ok(bytes == 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted || self.notes_reset(&error) => {}
                // Asking has taken the error from the socket, so it is told here.
                Err(error) => return Err(self.failed_io(Step::Recv, &error)),
            }
        }
    }

    /// Waits for what a server makes of our answer, where it has asked for a certificate and judges it after
    /// the handshake; of others nothing is awaited, and what has come already is looked at. That it was shown
    /// none is a warning, for it may mind later.
    ///
    /// # Errors
    /// It refuses us; reported.
    pub async fn admitted(&self) -> Result<(), Failed> {
        let (Some(session), Some(socket)) = (self.tls(), self.socket()) else { return Ok(()) };
        let question = session.question();
        let is_closed = match question.and_then(|question| question.bound) {
            Some(bound) => within(Some(bound), self.peer_closed()).await.transpose()?,
            None => self.peek_secured(session, socket.get_ref())?,
        };
        let Some(question) = question else { return Ok(()) };
        if is_closed == Some(true) && question.bound.is_some() && !question.is_answered {
            let message = format!(
                "tls {}: the server asked for a client certificate, was shown none, and closed the connection after \
                 the handshake",
                self.peer
            );
            return Err(self.fail(&self.error(Step::Tls, ExitCode::Tls, message).with_name("closed")));
        }
        if !question.is_answered {
            let message = format!(
                "tls {}: the server asks for a client certificate, and none was shown (--client-cert): it has not \
                 refused us so far",
                self.peer
            );
            self.warn("client-certificate-requested", &message);
        }
        Ok(())
    }

    /// Waits until the kernel takes more.
    pub(in crate::step) async fn writable(&self) {
        match self.writer() {
            // Boxed, because a timer is large.
            Some(_) if self.kind.is_unix() => {
                let is_ready = Box::pin(within(Some(AGAIN), self.has_room())).await.is_some();
                self.tries_anyway.store(!is_ready, Ordering::Relaxed);
            }
            _ => self.has_room().await,
        }
    }

    /// Waits until there is room to send.
    async fn has_room(&self) {
        match self.writer() {
            Some(writer) => poll_fn(|context| writer.poll_write_ready(context).map(drop)).await,
            // No descriptor is left to wait with, so it is tried again and again.
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }

    /// Waits for the turn to send of whoever sends by itself, as [`Stream::writable`] waits.
    pub(in crate::step) async fn next_turn<'a>(&self, told: &'a Told) -> Turn<'a> {
        Turn(within(self.kind.is_unix().then_some(AGAIN), writable(told)).await)
    }

    /// Returns what tells of room to send, made when it is first needed: its own descriptor of the
    /// same socket. `None` where there is none left.
    pub(in crate::step) fn writer(&self) -> Option<&Watch> {
        let socket = self.socket()?;
        if self.tells_of_room {
            return Some(socket);
        }
        let made = &self.aside.get_or_init(Box::default).writer;
        if made.get().is_none() {
            let writer = Watch::new(socket.get_ref().try_clone().ok()?, Interest::WRITABLE);
            writer.register().ok()?;
            let _made_meanwhile = made.set(writer);
        }
        made.get()
    }

    /// Returns the turn to send, taken before the call so that room that comes after it is a new
    /// edge; `None` where there is no room yet. Where nothing tells of room so far, sending finds
    /// out.
    pub(in crate::step) fn turn_to_send(&self) -> Option<Turn<'_>> {
        let writer =
            if self.tells_of_room { self.socket() } else { self.aside.get().and_then(|aside| aside.writer.get()) };
        // What a crowd watches is told of by nobody else: sending finds out there too.
        let Some(told) = writer.and_then(Watch::told) else { return Some(Turn(None)) };
        if self.tries_anyway.load(Ordering::Relaxed) {
            self.tries_anyway.store(false, Ordering::Relaxed);
            return Some(Turn(None));
        }
        match told.poll_write_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(guard)) => Some(Turn(Some(guard))),
            Poll::Ready(Err(_)) | Poll::Pending => None,
        }
    }

    /// Waits until the kernel takes more. A peer that takes nothing is waited for at most for a
    /// duration, where there is one.
    ///
    /// # Errors
    /// The time is over; reported.
    pub async fn writable_within(&self, bound: Option<Duration>) -> Result<(), Failed> {
        match bound {
            Some(bound) => {
                let again = self.kind.is_unix().then_some(AGAIN);
                Box::pin(self.unless_idle(bound, || self.has_room(), again))
                    .await
                    .map_err(|after| self.timed_out(Step::Send, after))
            }
            None => {
                self.writable().await;
                Ok(())
            }
        }
    }

    /// Waits as [`Stream::readable_within`] does; but a peer that still takes what was sent to it
    /// is not silent.
    ///
    /// # Errors
    /// The time is over.
    pub async fn readable_unless_idle(&self, bound: Option<Duration>) -> Result<(), Duration> {
        match bound {
            Some(bound) => Box::pin(self.unless_idle(bound, || self.arrived(), None)).await?,
            None => self.arrived().await,
        }
        self.room().await;
        Ok(())
    }

    /// Waits until a connection is ready, at most for a duration in which its peer takes nothing.
    /// The kernel tells that there is room only once there is a lot: so a slow peer is known by
    /// what it has acknowledged (SIOCOUTQ), looked at sixteen times in each span. After `again` the wait is broken off
    /// for a try, and goes on with the next where that has sent nothing.
    async fn unless_idle<F: Future<Output = ()>>(
        &self,
        bound: Duration,
        ready: impl Fn() -> F,
        again: Option<Duration>,
    ) -> Result<(), Duration> {
        let untaken = || self.socket().and_then(|socket| sys::unacknowledged(socket.get_ref().as_fd()).ok());
        let tick = (bound / 16).max(Duration::from_millis(1));
        let (began, sent) = (now(), self.open.as_ref().map_or(0, |open| open.sent()));
        let broken_off =
            again.and_then(|_| self.aside.get()?.lock_waited().take()).filter(|waited| waited.sent == sent);
        let (mut since, mut before) =
            broken_off.map_or_else(|| (began, untaken()), |waited| (waited.since, waited.untaken));
        loop {
            let left = bound.saturating_sub(since.elapsed());
            let span = again.map_or(tick, |again| tick.min(again.saturating_sub(began.elapsed())));
            if within(Some(span.min(left)), ready()).await.is_some() {
                return Ok(());
            }
            let after = untaken();
            if after < before {
                (since, before) = (now(), after);
            } else if since.elapsed() >= bound {
                return Err(since.elapsed());
            }
            if again.is_some_and(|again| began.elapsed() >= again) {
                self.tries_anyway.store(true, Ordering::Relaxed);
                *self.aside.get_or_init(Box::default).lock_waited() = Some(Waited { since, untaken: before, sent });
                return Ok(());
            }
        }
    }

    /// Waits until a slow reader of the events has made room, where it is to be told what is sent.
    pub async fn room_to_send(&self) {
        if self.door.is_full() && self.door.wants(Kind::Send) {
            Box::pin(self.door.room()).await;
        }
    }

    /// Waits until the connection is broken, by a reset that came after the peer's end, say, and
    /// reports it.
    pub async fn broken(&self) -> Failed {
        let Some(socket) = self.socket() else { return std::future::pending().await };
        loop {
            if let Ok(mut guard) = socket.ready(Interest::ERROR).await {
                if let Ok(Some(error)) = guard.get_inner().take_error() {
                    return self.failed_io(Step::Recv, &error);
                }
                guard.clear_ready();
            }
        }
    }
}

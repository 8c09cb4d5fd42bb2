//! What a connection with TLS does after its handshake: recv, send, shutdown, as the stream has them.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use nix::errno::Errno;
use socket2::Socket;

use super::failure::of_tls;
use super::{End, Pumped, Session, State};
use crate::error::{ExitCode, Step};
use crate::step::fail::errno;
use crate::step::watch::Watch;
use crate::step::{Failed, Recvd, Rest, Sent, Stream};
use crate::sys;

impl Stream {
    /// Takes what TLS carried, at most what the buffer holds.
    pub(in crate::step) fn recv_secured(
        &self,
        session: &Session,
        socket: &Watch,
        buffer: &mut [u8],
    ) -> Result<Recvd, Failed> {
        let mut state = session.lock();
        loop {
            if state.waiting > 0 {
                let taken = state.take(buffer);
                self.received_data(&buffer[..taken]);
                return Ok(Recvd::Data(taken));
            }
            if let Some(trouble) = &state.trouble {
                return Err(self.failed_secured(trouble));
            }
            // Where a reset was told already, recv(2) gives 0 though no end has come.
            if state.end == End::Cut && self.ending.has_early_reset() {
                return Err(self.failed_io(Step::Recv, &Errno::ECONNRESET.into()));
            }
            if state.end != End::Open {
                drop(state);
                self.ended_secured(session);
                return Ok(Recvd::Eof);
            }
            let mut guard = match socket.poll_read_ready(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(guard)) => guard,
                Poll::Ready(Err(_)) | Poll::Pending => return Ok(Recvd::Nothing),
            };
            match state.pump(guard.get_inner()) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    guard.clear_ready();
                    return Ok(Recvd::Nothing);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    state.is_broken = true;
                    return Err(self.failed_io(Step::Recv, &error));
                }
            }
        }
    }

    /// Reports the peer's end; one that it has not announced is told as what it is, for anybody on
    /// the way can make a FIN.
    fn ended_secured(&self, session: &Session) {
        if session.lock().end == End::Cut && !self.at_eof.load(Ordering::Relaxed) {
            let message = format!(
                "connection {}: the peer closed without saying so in TLS (close_notify): something may be missing",
                self.conn
            );
            self.warn("tls-truncated", &message);
        }
        self.ended();
    }

    /// Reports what broke a session after its handshake: in TLS 1.3 a server judges a client's
    /// certificate when the client has long gone on.
    fn failed_secured(&self, error: &rustls::Error) -> Failed {
        let words = of_tls(error, None, &[], !self.is_accepted);
        let message = format!("tls {}: {}", self.peer, words.message);
        let mut error = self.error(Step::Tls, ExitCode::Tls, message).with_name(words.name);
        error.hint = words.hint;
        self.fail(&error)
    }

    /// Sends as much of the parts as the kernel takes. What is encrypted and not yet taken counts as
    /// not sent: the caller gives it again, and then it is skipped.
    pub(in crate::step) fn send_secured(
        &self,
        session: &Session,
        socket: &Socket,
        parts: [&[u8]; 2],
        rest: Rest,
    ) -> Result<Sent, Failed> {
        let whole = parts[0].len() + parts[1].len();
        let Some(mut turn) = self.turn_to_send() else { return Ok(Sent::Part(0)) };
        let mut state = session.lock();
        let mut done = 0;
        let sent = loop {
            match state.flush(socket) {
                Ok(()) => done += std::mem::take(&mut state.owed).min(whole),
                Err(error) => break Err(error),
            }
            if done >= whole {
                break Ok(());
            }
            match state.encrypt(behind(parts, done)) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => state.owed = taken,
                Err(error) => break Err(error),
            }
        };
        match sent {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => turn.met_a_full_buffer(),
            Err(error) => {
                state.is_broken = true;
                // Why the peer has closed may have come before, and what nobody else will ask for.
                let is_gone = matches!(errno(&error), Some(Errno::ECONNRESET | Errno::EPIPE));
                if let (true, Rest::IsRead(most)) = (is_gone, rest) {
                    self.read_rest_secured(&mut state, socket, most);
                }
                while is_gone && state.waiting == 0 && state.trouble.is_none() {
                    if !matches!(state.pump(socket), Ok(Pumped::Some)) {
                        break;
                    }
                }
                if state.trouble.is_some() {
                    // Nobody will ask for what came before it.
                    let mut last = vec![0; state.waiting];
                    let taken = state.take(&mut last);
                    if taken > 0 {
                        self.received_data(&last[..taken]);
                    }
                }
                if let Some(trouble) = &state.trouble {
                    self.ending.broke(&error);
                    return Err(self.failed_secured(trouble));
                }
                return Err(self.failed_io(Step::Send, &error));
            }
        }
        drop(state);
        if done > 0 {
            self.count_sent(done);
            self.report_sent(parts, done);
        }
        Ok(if done == whole { Sent::All } else { Sent::Part(done) })
    }

    /// Reads what is there of a peer that is gone, so that nothing more comes.
    fn read_rest_secured(&self, state: &mut State, socket: &Socket, most: NonZeroUsize) {
        if !sys::hangup(socket.as_fd()).is_over {
            return;
        }
        let mut buffer = vec![0; most.get()];
        while !self.has_enough() {
            if state.waiting > 0 {
                let taken = state.take(&mut buffer);
                self.received_data(&buffer[..taken]);
            } else if state.trouble.is_some() || !matches!(state.pump(socket), Ok(Pumped::Some)) {
                break;
            }
        }
    }

    /// Says that we send no more (close_notify): each side ends by itself (RFC 8446, 6.1).
    pub(in crate::step) async fn end_secured(&self, session: &Session, socket: &Socket) -> io::Result<()> {
        loop {
            let flushed = {
                let mut state = session.lock();
                if state.is_broken {
                    return Ok(());
                }
                if !state.has_ended {
                    state.tls.send_close_notify();
                    state.has_ended = true;
                }
                // The turn is taken before the call, so that room that comes after it is a new edge.
                match self.turn_to_send() {
                    None => Err(io::ErrorKind::WouldBlock.into()),
                    Some(mut turn) => {
                        let flushed = state.flush(socket);
                        if flushed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                            turn.met_a_full_buffer();
                        }
                        flushed
                    }
                }
            };
            match flushed {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks at what has come: whether the peer has ended, or something waits; `None` for neither.
    ///
    /// # Errors
    /// The session broke, or the connection did; reported.
    pub(in crate::step) fn peek_secured(&self, session: &Session, socket: &Socket) -> Result<Option<bool>, Failed> {
        let mut state = session.lock();
        loop {
            if state.waiting > 0 {
                return Ok(Some(false));
            }
            if let Some(trouble) = &state.trouble {
                return Err(self.failed_secured(trouble));
            }
            if state.end != End::Open {
                return Ok(Some(true));
            }
            match state.pump(socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed_io(Step::Recv, &error)),
            }
        }
    }
}

/// Returns what is left of the parts after so many bytes.
fn behind(parts: [&[u8]; 2], done: usize) -> [&[u8]; 2] {
    let first = done.min(parts[0].len());
    [&parts[0][first..], &parts[1][done - first..]]
}

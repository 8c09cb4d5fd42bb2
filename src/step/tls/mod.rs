//! TLS inside a [`Stream`](super::Stream): the handshake is a step of its own, and what is read and
//! written afterwards is what TLS carries, for whoever uses the stream.
//!
//! rustls does the protocol and no input or output: the calls on the socket are ours, as they are
//! without TLS.

use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::Connection;
use socket2::Socket;

mod certificate;
mod chain;
mod failure;
mod handshake;
mod material;
mod starttls;
mod traffic;
mod trust;

pub use material::{ClientTls, ServerTls, system_roots};

/// The TLS of one connection, after its handshake.
pub(super) struct Session {
    state: Mutex<State>,
    /// Whether the server's certificate is valid for too short.
    expires_soon: bool,
    question: Option<Question>,
}

/// That a server has asked for our certificate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    /// Whether we have shown one.
    pub(super) is_answered: bool,
    /// How long its verdict may take, where that comes after the handshake.
    pub(super) bound: Option<Duration>,
}

struct State {
    tls: Connection,
    /// Bytes that came and are not read yet.
    waiting: usize,
    /// What they are where the session broke after them: rustls says no more how many it holds.
    last: Vec<u8>,
    /// Why the session broke, which is told when all that came before was read.
    trouble: Option<rustls::Error>,
    /// Bytes of the caller that are encrypted, and of which the kernel has not taken all: the caller
    /// is told of them when it has, and gives them again until then.
    owed: usize,
    end: End,
    /// Whether we have said that we send no more.
    has_ended: bool,
    /// Whether nothing can be said any more: the session broke.
    is_broken: bool,
}

/// How the peer has ended its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It has not.
    Open,
    /// By saying so (close_notify).
    Said,
    /// By a FIN alone: whether that was all that it had to say is not known.
    Cut,
}

/// What a session leaves behind when its connection is closed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leavings {
    /// Bytes that came and were not read.
    pub(super) undelivered: u64,
    /// Whether the peer ended without saying so.
    pub(super) is_cut: bool,
}

impl Session {
    fn new(shaken: Shaken, expires_soon: bool, question: Option<Question>) -> Self {
        let Shaken { tls, waiting, end, trouble } = shaken;
        let last = Vec::new();
        let mut state = State { tls, waiting, last, trouble: None, owed: 0, end, has_ended: false, is_broken: false };
        if let Some(trouble) = trouble {
            state.broke(trouble);
        }
        Self { state: Mutex::new(state), expires_soon, question }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the server's certificate is valid for fewer days than asked for.
    pub(super) fn expires_soon(&self) -> bool {
        self.expires_soon
    }

    /// Returns what the server has asked of us.
    pub(super) fn question(&self) -> Option<Question> {
        self.question
    }

    /// Returns whether a recv gives something without anything more coming.
    pub(super) fn is_ready(&self) -> bool {
        let state = self.lock();
        state.waiting > 0 || state.trouble.is_some() || state.end != End::Open
    }

    /// Looks at what came before a close, and says what is left unread. What only the protocol reads
    /// would, unread, make the kernel reset the peer.
    pub(super) fn leavings(&self, socket: &Socket, is_at_eof: bool) -> Leavings {
        /// Most reads: a peer that sends without end is not waited for.
        const MOST: usize = 16;
        let mut state = self.lock();
        for _ in 0..MOST {
            let is_over = is_at_eof || state.is_broken || state.waiting > 0 || state.end != End::Open;
            if is_over || !matches!(state.pump(socket), Ok(Pumped::Some)) {
                break;
            }
        }
        let undelivered = if is_at_eof { 0 } else { state.waiting as u64 };
        // Who closes first need not hear the other's farewell.
        Leavings { undelivered, is_cut: is_at_eof && state.end == End::Cut }
    }

    /// Says that we send no more, as far as the socket takes it at once: the last act before a close.
    pub(super) fn part(&self, socket: &Socket) {
        let mut state = self.lock();
        if state.is_broken {
            return;
        }
        if !state.has_ended {
            state.tls.send_close_notify();
            state.has_ended = true;
        }
        // What a full socket does not take is lost with the connection.
        let _sent = state.flush(socket);
    }
}

/// What one read of the socket came to.
enum Pumped {
    /// Something came.
    Some,
    /// The peer has closed its side.
    End,
}

/// A handshake that has come to its end, and what came with that.
struct Shaken {
    tls: Connection,
    /// Bytes that came after it.
    waiting: usize,
    end: End,
    /// Why the session has broken already.
    trouble: Option<rustls::Error>,
}

impl State {
    /// Writes what is encrypted, as much as the kernel takes.
    fn flush(&mut self, mut socket: &Socket) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads from the socket once and decrypts what came. What is wrong with it waits until all before
    /// it was read.
    fn pump(&mut self, mut socket: &Socket) -> io::Result<Pumped> {
        if self.tls.read_tls(&mut socket)? == 0 {
            if self.end == End::Open {
                self.end = End::Cut;
            }
            return Ok(Pumped::End);
        }
        match self.tls.process_new_packets() {
            Ok(came) => {
                self.waiting = came.plaintext_bytes_to_read();
                if came.peer_has_closed() {
                    self.end = End::Said;
                }
                // What the protocol answers by itself (RFC 8446, 4.6.3) goes now, or with the next send.
                let _sent = self.flush(socket);
            }
            Err(error) => {
                // The peer is told why, if it can be.
                let _sent = self.flush(socket);
                self.broke(error);
            }
        }
        Ok(Pumped::Some)
    }

    /// Notes that the session broke, and keeps what came before that.
    fn broke(&mut self, trouble: rustls::Error) {
        // It ends with an error where there is no more for now, and has appended what there was.
        let _until_empty = self.tls.reader().read_to_end(&mut self.last);
        self.waiting = self.last.len();
        self.trouble = Some(trouble);
        self.is_broken = true;
    }

    /// Takes what was decrypted.
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let taken = match &*self.last {
            [] => self.tls.reader().read(buffer).unwrap_or(0),
            last => {
                let taken = last.len().min(buffer.len());
                buffer[..taken].copy_from_slice(&last[..taken]);
                self.last.drain(..taken);
                taken
            }
        };
        self.waiting = self.waiting.saturating_sub(taken);
        taken
    }

    /// Encrypts as much of the parts as one go should have; returns how much.
    fn encrypt(&mut self, parts: [&[u8]; 2]) -> io::Result<usize> {
        let mut taken = 0;
        for part in parts {
            let size = self.tls.writer().write(part)?;
            taken += size;
            if size < part.len() {
                break;
            }
        }
        Ok(taken)
    }
}

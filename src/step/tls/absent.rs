//! A build without TLS: the same names, of which there are no values. `args` refuses the words.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use socket2::Socket;

use super::{Door, Failed, Recvd, Rest, Sent, Stream, SystemRoots};
use crate::args::{self, Fault, Target};
use crate::error::{Error, ExitCode, Step};
use crate::packet::starttls::Protocol;
use crate::step::watch::Watch;

/// How a client would speak TLS.
#[derive(Debug)]
pub struct ClientTls(Infallible);

/// How a server would speak TLS.
#[derive(Debug)]
pub struct ServerTls(Infallible);

/// The TLS of one connection.
pub(super) struct Session(Infallible);

/// That a server has asked for our certificate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) is_answered: bool,
    pub(super) bound: Option<Duration>,
}

/// What a session leaves behind when its connection is closed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leavings {
    pub(super) undelivered: u64,
    pub(super) is_cut: bool,
}

fn absent(door: &Door) -> Failed {
    let message = "tls: this build has none (the feature `tls` was left out)".to_owned();
    door.fail(&Error::of_kind(Step::Tls, ExitCode::Tls, message))
}

impl ClientTls {
    /// Fails.
    ///
    /// # Errors
    /// This build has no TLS; reported.
    #[expect(clippy::unused_async, reason = "its like in a build with TLS waits")]
    pub async fn new(door: &Door, _words: &args::ClientTls) -> Result<Self, Failed> {
        Err(absent(door))
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    #[expect(clippy::unused_async, reason = "its like in a build with TLS waits")]
    pub async fn trusting(_door: &Door, server: &ServerTls, _name: &str) -> Result<Self, Failed> {
        match server.0 {}
    }
}

impl ServerTls {
    /// Fails.
    ///
    /// # Errors
    /// This build has no TLS; reported.
    #[expect(clippy::unused_async, reason = "its like in a build with TLS waits")]
    pub async fn new(
        door: &Door,
        _words: &args::ServerTls,
        _timeout: Option<Duration>,
        _fault: Option<Fault>,
        _local: Option<IpAddr>,
    ) -> Result<Self, Failed> {
        Err(absent(door))
    }
}

/// Returns that no root certificates were looked for.
#[must_use]
pub fn system_roots() -> SystemRoots {
    SystemRoots::default()
}

impl Session {
    pub(super) fn expires_soon(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn question(&self) -> Option<Question> {
        match self.0 {}
    }

    pub(super) fn is_ready(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn leavings(&self, _socket: &Socket, _is_at_eof: bool) -> Leavings {
        match self.0 {}
    }

    pub(super) fn part(&self, _socket: &Socket) {
        match self.0 {}
    }
}

impl Stream {
    /// Fails.
    ///
    /// # Errors
    /// This build has no TLS; reported.
    #[expect(clippy::unused_async, reason = "its like in a build with TLS waits")]
    pub async fn ask_for_tls(self, _protocol: Protocol, _target: &Target, _bound: Duration) -> Result<Self, Failed> {
        Err(absent(self.door()))
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    #[expect(clippy::unused_async, reason = "its like in a build with TLS waits")]
    pub async fn secure(self, tls: &ClientTls, _target: &Target, _bound: Duration) -> Result<Self, Failed> {
        match tls.0 {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    #[expect(clippy::unused_async, reason = "its like in a build with TLS waits")]
    pub async fn secure_accepted(self, tls: &ServerTls) -> Result<Option<Self>, Failed> {
        match tls.0 {}
    }

    pub(super) fn recv_secured(&self, session: &Session, _socket: &Watch, _buffer: &mut [u8]) -> Result<Recvd, Failed> {
        match session.0 {}
    }

    pub(super) fn send_secured(
        &self,
        session: &Session,
        _socket: &Socket,
        _parts: [&[u8]; 2],
        _rest: Rest,
    ) -> Result<Sent, Failed> {
        match session.0 {}
    }

    #[expect(clippy::unused_async, reason = "its like in a build with TLS waits")]
    pub(super) async fn end_secured(&self, session: &Session, _socket: &Socket) -> io::Result<()> {
        match session.0 {}
    }

    pub(super) fn peek_secured(&self, session: &Session, _socket: &Socket) -> Result<Option<bool>, Failed> {
        match session.0 {}
    }
}

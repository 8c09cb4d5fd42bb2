//! The step tls: the handshake of a client or a server, and what is found out in it.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{
    ClientConnection, Connection, Error as TlsError, HandshakeKind, PeerIncompatible, ProtocolVersion, ServerConnection,
};
use socket2::Socket;

use super::certificate::described;
use super::failure::{Broken, days_of, expired, may_be_tls, not_tls, of_tls};
use super::trust::{Verdict, take_shown, take_verdict};
use super::{ClientTls, End, Question, ServerTls, Session, Shaken};
use crate::args::{Host, Target};
use crate::error::{Error, ExitCode, Step};
use crate::event::{self, Certificate, Reason};
use crate::step::fail::on_connection;
use crate::step::{Failed, Stream, now, within};

/// How many of a peer's first bytes are kept, to tell what it is that is no TLS.
const FIRST: usize = 256;

/// The alert that says that a message cannot be read (RFC 8446, 6): rustls has none for what is not
/// even the head of a ClientHello.
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// The alert to a client that speaks no version of ours: rustls says of one before TLS 1.2 only that it
/// lacks an extension.
const PROTOCOL_VERSION: [u8; 7] = [21, 3, 3, 0, 2, 2, 70];

/// What is seen of a peer in a handshake.
#[derive(Default)]
struct Seen {
    /// What a client connects to, as typed.
    target: Option<String>,
    first: Vec<u8>,
    verdict: Option<Verdict>,
    sni: Option<String>,
    alpn_offered: Vec<String>,
    version: Option<&'static str>,
    cipher: Option<String>,
    group: Option<String>,
    alpn: Option<String>,
    resumed: Option<bool>,
    /// Whether we have shown a certificate to a server that has asked for one.
    shown: Option<bool>,
    /// Whether all was said.
    is_whole: bool,
}

/// Reads from a socket, and keeps the first bytes.
struct Tap<'a> {
    socket: &'a Socket,
    first: &'a mut Vec<u8>,
}

impl Read for Tap<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&mut &*self.socket).read(buffer)?;
        let wanted = FIRST.saturating_sub(self.first.len()).min(count);
        self.first.extend_from_slice(&buffer[..wanted]);
        Ok(count)
    }
}

impl ClientTls {
    /// Returns the name that a target's certificate is to be for, and whether it is asked for (SNI).
    fn name(&self, target: &Target) -> Option<ServerName<'static>> {
        let host = match (&self.sni, target) {
            (Some(sni), _) => sni.clone(),
            (None, Target::Inet(Host::Name(name), _)) => name.clone(),
            (None, Target::Inet(Host::Ip(ip, _), _)) => ip.to_string(),
            (None, Target::Unix(_)) => "localhost".to_owned(),
        };
        // The root's dot is of the resolver, and in no certificate (RFC 6066, 3).
        let host = host.strip_suffix('.').map(str::to_owned).unwrap_or(host);
        ServerName::try_from(host).ok()
    }
}

impl Stream {
    /// Makes TLS of a connection of ours, and judges the server before anything else is sent. A
    /// connection on which that fails is closed.
    ///
    /// # Errors
    /// The handshake failed, or the server's certificate is not what the words allow; reported.
    pub async fn secure(mut self, tls: &ClientTls, target: &Target, bound: Duration) -> Result<Self, Failed> {
        let Some(name) = tls.name(target) else {
            let message = format!("tls {}: a certificate cannot be for this name; --sni NAME gives another", self.peer);
            let failed = self.fail(&self.error(Step::Tls, ExitCode::Tls, message).with_name("wrong-name"));
            self.close(Reason::Local);
            return Err(failed);
        };
        let mut seen = Seen { alpn_offered: tls.alpn.clone(), target: Some(target.to_string()), ..Seen::default() };
        if let (ServerName::DnsName(name), false) = (&name, tls.sni.is_none() && matches!(target, Target::Unix(_))) {
            seen.sni = Some(name.as_ref().to_owned());
        }
        let began = now();
        let shaken = Box::pin(within(Some(bound), self.shake(tls, name, &mut seen))).await;
        let terms = Terms { versions: &tls.versions, is_client: true, judges: true };
        match shaken {
            Some(Ok(shaken)) => {
                let chain = self.report_tls(&seen, terms, began);
                let days = chain.first().and_then(|own| own.days_left);
                let expires_soon = tls.min_days.is_some_and(|least| days.is_none_or(|days| days < i64::from(least)));
                if let (true, Some(least)) = (expires_soon, tls.min_days) {
                    self.warn_of_days(days, least, &target.to_string());
                }
                let question = seen.question(began.elapsed(), bound);
                self.goes_on_with(Session::new(shaken, expires_soon, question));
                Ok(self)
            }
            Some(Err(broken)) => Err(self.broke_off(broken, &seen, terms, began)),
            None => Err(self.fell_silent(&seen, began)),
        }
    }

    /// Makes TLS of a connection that came in. A connection on which that fails is closed.
    ///
    /// # Errors
    /// The handshake failed, or the client is not let in; reported. It was cut off on purpose: `None`.
    pub async fn secure_accepted(mut self, tls: &ServerTls) -> Result<Option<Self>, Failed> {
        let mut seen = Seen::default();
        let began = now();
        let shaken = Box::pin(within(Some(tls.bound), self.shake_accepted(tls, &mut seen))).await;
        let terms = Terms { versions: &tls.versions, is_client: false, judges: tls.asks };
        match shaken {
            Some(Ok(shaken)) => {
                self.report_tls(&seen, terms, began);
                self.goes_on_with(Session::new(shaken, false, None));
                Ok(Some(self))
            }
            Some(Err(Broken::OnPurpose)) => {
                self.owe();
                self.close(Reason::Local);
                Ok(None)
            }
            Some(Err(broken)) => Err(self.broke_off(broken, &seen, terms, began)),
            None => Err(self.fell_silent(&seen, began)),
        }
    }

    /// Warns that too few days are left of the server's certificate.
    fn warn_of_days(&self, days: Option<i64>, least: u32, target: &str) {
        let left = match days {
            Some(days @ ..0) => format!("the server's certificate {}", expired(days)),
            Some(days) => format!("{} left of the server's certificate", days_of(days.unsigned_abs())),
            None => "it is not known how many days are left of the server's certificate".to_owned(),
        };
        let message = format!("tls {target}: {left}, fewer than --min-days {least}");
        let (conn, peer, target) = (Some(self.conn), Some(&self.peer), Some(target));
        self.door().emit(event::Warning { conn, peer, target, ..event::Warning::of("min-days-unmet", &message) });
    }

    /// Does the handshake of a client.
    async fn shake(&self, tls: &ClientTls, name: ServerName<'static>, seen: &mut Seen) -> Result<Shaken, Broken> {
        let mut config = Arc::clone(&tls.config);
        if seen.sni.is_none() {
            // Its address is not sent in any case (RFC 6066, 3); the name of a unix socket is none.
            Arc::make_mut(&mut config).enable_sni = false;
        }
        let connection = ClientConnection::new(config, name).map_err(Broken::Tls)?;
        self.drive(Connection::Client(connection), seen).await
    }

    /// Does the handshake of a server.
    async fn shake_accepted(&self, tls: &ServerTls, seen: &mut Seen) -> Result<Shaken, Broken> {
        let mut acceptor = Acceptor::default();
        let accepted = loop {
            self.fill(&mut seen.first, |tap| acceptor.read_tls(tap)).await?;
            match acceptor.accept() {
                Ok(Some(accepted)) => break accepted,
                Ok(None) => {}
                Err(_) if is_old(&seen.first) => {
                    let error = TlsError::PeerIncompatible(PeerIncompatible::Tls12NotOffered);
                    return Err(self.refuse(error, |mut socket| socket.write_all(&PROTOCOL_VERSION)));
                }
                Err((error, mut alert)) => {
                    let mut told = Vec::new();
                    alert.write_all(&mut told).map_err(Broken::Io)?;
                    if told.is_empty() {
                        told.extend_from_slice(&DECODE_ERROR);
                    }
                    return Err(self.refuse(error, |mut socket| socket.write_all(&told)));
                }
            }
        };
        let hello = accepted.client_hello();
        seen.sni = hello.server_name().map(str::to_owned);
        seen.alpn_offered = hello
            .alpn()
            .map(|names| names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
            .unwrap_or_default();
        let connection: ServerConnection = match accepted.into_connection(Arc::clone(&tls.config)) {
            Ok(connection) => connection,
            Err((error, mut alert)) => return Err(self.refuse(error, |mut socket| alert.write_all(&mut socket))),
        };
        let mut connection = Connection::Server(connection);
        if tls.is_cut {
            let mut flight = Vec::new();
            while connection.wants_write() {
                connection.write_tls(&mut flight).map_err(Broken::Io)?;
            }
            if let Some(socket) = self.socket() {
                (&mut socket.get_ref()).write_all(&flight[..flight.len() / 2]).map_err(Broken::Io)?;
            }
            return Err(Broken::OnPurpose);
        }
        self.drive(connection, seen).await
    }

    /// Tells the peer why it is refused, as far as that goes at once.
    fn refuse(&self, error: rustls::Error, tell: impl FnOnce(&Socket) -> io::Result<()>) -> Broken {
        if let Some(socket) = self.socket() {
            let _told = tell(socket.get_ref());
        }
        Broken::Tls(error)
    }

    /// Goes on with a handshake to its end.
    async fn drive(&self, mut tls: Connection, seen: &mut Seen) -> Result<Shaken, Broken> {
        let (mut waiting, mut end) = (0, End::Open);
        loop {
            while tls.wants_write() {
                self.drain(|mut socket| tls.write_tls(&mut socket)).await?;
            }
            if !tls.is_handshaking() {
                seen.note(&tls);
                return Ok(Shaken { tls, waiting, end, trouble: None });
            }
            self.fill(&mut seen.first, |tap| tls.read_tls(tap)).await?;
            let came = tls.process_new_packets();
            if let Some(verdict) = take_verdict() {
                seen.verdict = Some(verdict);
            }
            seen.shown = take_shown().or(seen.shown);
            match came {
                Ok(came) => {
                    waiting = came.plaintext_bytes_to_read();
                    end = if came.peer_has_closed() { End::Said } else { End::Open };
                }
                Err(error) => {
                    seen.note(&tls);
                    let broken = self.refuse(error.clone(), |mut socket| {
                        while tls.wants_write() {
                            tls.write_tls(&mut socket)?;
                        }
                        Ok(())
                    });
                    // What broke it may have come with the last of the handshake, or after the first of
                    // what followed.
                    return match tls.is_handshaking() {
                        true => Err(broken),
                        false => Ok(Shaken { tls, waiting, end, trouble: Some(error) }),
                    };
                }
            }
        }
    }

    /// Waits for bytes and takes them with one read. What cannot be TLS ends the handshake at once.
    async fn fill(
        &self,
        first: &mut Vec<u8>,
        mut read: impl FnMut(&mut Tap<'_>) -> io::Result<usize>,
    ) -> Result<(), Broken> {
        let Some(socket) = self.socket() else { return Err(Broken::Closed) };
        loop {
            let mut guard = poll_fn(|context| socket.poll_read_ready(context)).await.map_err(Broken::Io)?;
            match read(&mut Tap { socket: guard.get_inner(), first }) {
                Ok(0) => return Err(Broken::Closed),
                Ok(_) if !may_be_tls(first) => return Err(Broken::NotTls),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Io(error)),
            }
        }
    }

    /// Writes with one call, waiting for room.
    pub(super) async fn drain(&self, mut write: impl FnMut(&Socket) -> io::Result<usize>) -> Result<(), Broken> {
        let Some(socket) = self.socket() else { return Err(Broken::Closed) };
        loop {
            // Dropped before the wait: the turn is of this call alone.
            let written = self.turn_to_send().map(|mut turn| {
                let written = write(socket.get_ref());
                if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                    turn.met_a_full_buffer();
                }
                written
            });
            match written {
                Some(Ok(_)) => return Ok(()),
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Err(Broken::Io(error)),
                Some(Err(_)) | None => self.writable().await,
            }
        }
    }

    /// Reports a handshake that has ended, or in which trust was refused; returns the chain of the
    /// peer.
    fn report_tls(&self, seen: &Seen, terms: Terms<'_>, began: Instant) -> Vec<Certificate> {
        let duration = began.elapsed();
        let verdict = seen.verdict.as_ref();
        let chain = verdict.map(|verdict| described(&verdict.chain, SystemTime::now())).unwrap_or_default();
        let problems = verdict.map(|verdict| &verdict.problems[..]).unwrap_or_default();
        self.door().emit(event::Tls {
            conn: self.conn,
            target: seen.target.as_deref(),
            version: seen.version,
            versions_offered: terms.versions,
            cipher: seen.cipher.as_deref(),
            group: seen.group.as_deref(),
            alpn: seen.alpn.as_deref(),
            alpn_offered: &seen.alpn_offered,
            sni: seen.sni.as_deref(),
            resumed: seen.resumed,
            ocsp_staple: verdict.filter(|_| terms.is_client).map(|verdict| verdict.has_staple),
            client_certificate_requested: seen.is_requested().filter(|_| terms.is_client),
            client_certificate_shown: seen.shown,
            certificates: &chain,
            verified: (terms.judges).then_some(verdict.is_some() && problems.is_empty()),
            problems,
            duration,
        });
        chain
    }

    /// Reports a handshake that broke off, and closes the connection.
    fn broke_off(self, broken: Broken, seen: &Seen, terms: Terms<'_>, began: Instant) -> Failed {
        let took = began.elapsed();
        let is_client = terms.is_client;
        let refused = |name, message: &str| {
            self.error(Step::Tls, ExitCode::Tls, format!("tls {}: {message}", self.peer)).with_name(name)
        };
        let (error, reason) = match broken {
            Broken::Io(error) => {
                let hint = "the peer broke off in the handshake: does it speak TLS on this port?";
                match self.broke(&error) {
                    (error, Reason::Reset) => (error.with_hint(hint), Reason::Reset),
                    told => told,
                }
            }
            Broken::Closed => {
                self.ended();
                let said = if seen.first.is_empty() { "before it said anything" } else { "in the middle of it" };
                let error = refused("closed", &format!("the peer closed the connection in the handshake, {said}"));
                let hint = "does it speak TLS on this port, and a version that we speak?";
                (if is_client { error.with_hint(hint) } else { error }, Reason::Eof)
            }
            Broken::NotTls => {
                let words = not_tls(&seen.first, is_client);
                let error = refused(words.name, &words.message);
                (words.hint.into_iter().fold(error, Error::with_hint), Reason::Local)
            }
            Broken::Tls(error) => {
                let untrusted = seen.verdict.as_ref().filter(|verdict| !verdict.problems.is_empty());
                let chain = match untrusted {
                    Some(_) => self.report_tls(seen, terms, began),
                    None => Vec::new(),
                };
                let words = of_tls(&error, untrusted, &chain, is_client);
                let error = refused(words.name, &words.message);
                (words.hint.into_iter().fold(error, Error::with_hint), Reason::Local)
            }
            Broken::OnPurpose => (refused("cut", "cut off on purpose"), Reason::Local),
        };
        let failed = self.fail(&seen.about(error.with_took(took)));
        self.close(reason);
        failed
    }

    /// Makes an error of a call that failed before TLS stood, and says why the connection ends.
    pub(super) fn broke(&self, error: &io::Error) -> (Error, Reason) {
        self.ending.broke(error);
        let told = self.about(on_connection(Step::Tls, error, self.conn, &self.peer)).with_exit_code(ExitCode::Tls);
        match error.raw_os_error() {
            Some(libc::ECONNRESET | libc::EPIPE) => (told.with_name("reset"), Reason::Reset),
            // Nobody acknowledged what was sent (TCP_USER_TIMEOUT, or the kernel's own patience).
            Some(libc::ETIMEDOUT) => (told.with_exit_code(ExitCode::NoAnswer).with_name("silent"), Reason::Local),
            _ => (told.with_name("broken"), Reason::Local),
        }
    }

    /// Reports a handshake that did not come to its end in time, and closes the connection.
    fn fell_silent(self, seen: &Seen, began: Instant) -> Failed {
        let after = began.elapsed();
        self.timeout(Step::Tls, after);
        let came = if seen.first.is_empty() { "nothing came" } else { "the handshake did not come to its end" };
        let message = format!("tls {}: {came} within {:.3} s", self.peer, after.as_secs_f64());
        let error = self.error(Step::Tls, ExitCode::NoAnswer, message).with_name("silent").with_took(after);
        let hint = "the peer took the connection and says nothing: it waits for something else, or hangs";
        let failed = self.fail(&seen.about(error.with_hint(hint)));
        self.close(Reason::Timeout);
        failed
    }
}

/// What a report of a handshake says beside what was seen.
#[derive(Clone, Copy)]
struct Terms<'a> {
    versions: &'a [&'static str],
    is_client: bool,
    /// Whether the peer's certificate is asked for.
    judges: bool,
}

impl Seen {
    /// Adds what a client connects to.
    fn about(&self, error: Error) -> Error {
        self.target.iter().fold(error, |error, target| error.with_target(target))
    }

    /// Returns whether the server has asked for our certificate; `None` where it did not come so far.
    fn is_requested(&self) -> Option<bool> {
        (self.shown.is_some() || self.is_whole).then_some(self.shown.is_some())
    }

    /// Returns what the server has asked of us in a handshake that took so long: with TLS 1.3 it judges the
    /// answer when our side is through, for which it gets no more than it had for the handshake.
    fn question(&self, took: Duration, most: Duration) -> Option<Question> {
        /// A verdict is a round trip away, and the work of a signature.
        const LEAST: Duration = Duration::from_millis(250);
        let bound = (self.version == Some("TLSv1.3")).then(|| (2 * took).max(LEAST).min(most));
        self.shown.map(|is_answered| Question { is_answered, bound })
    }

    /// Notes what both ends have agreed on so far.
    fn note(&mut self, tls: &Connection) {
        self.version = match tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Some("TLSv1.3"),
            Some(ProtocolVersion::TLSv1_2) => Some("TLSv1.2"),
            _ => None,
        };
        // rustls writes TLS13_AES_128_GCM_SHA256, IANA TLS_AES_128_GCM_SHA256.
        let cipher = tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        self.cipher = cipher.map(|name| name.replacen("TLS13_", "TLS_", 1));
        self.group = tls.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
        self.alpn = tls.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        self.is_whole = !tls.is_handshaking();
        self.resumed = tls.handshake_kind().map(|kind| kind == HandshakeKind::Resumed);
    }
}

/// Returns whether the first bytes of a client are a ClientHello of a version before TLS 1.2 (RFC 5246,
/// 7.4.1.2): a later one has 1.2 there, whatever it offers beside it.
fn is_old(first: &[u8]) -> bool {
    matches!(first, [22, _, _, _, _, 1, _, _, _, major, minor, ..] if (*major, *minor) < (3, 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_waited_for_no_longer_than_the_handshake_was() {
        let seen = Seen { version: Some("TLSv1.3"), shown: Some(false), ..Seen::default() };
        let bound = |took, most| {
            let [took, most] = [took, most].map(Duration::from_millis);
            seen.question(took, most).and_then(|question| question.bound).map(|bound| bound.as_millis())
        };
        assert_eq!((bound(1, 5_000), bound(200, 5_000), bound(1, 100)), (Some(250), Some(400), Some(100)));
    }
}

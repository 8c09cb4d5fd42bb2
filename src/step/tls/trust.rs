//! Trust: every peer's certificate is judged and the verdict kept, before policy decides on it.
//!
//! rustls asks in the middle of a handshake, so that a peer that is refused is told why, and gets
//! neither a client's certificate nor a byte.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, iter};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::certificate::{key_sha256, sha256, validity};
use super::chain::to_root;
use crate::args::Pin;

/// What was found of a peer's certificate.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    /// The certificates that it sent, its own first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Whether an OCSP response came along.
    pub(super) has_staple: bool,
    /// What is wrong with it, the worst first.
    pub(super) problems: Vec<&'static str>,
}

thread_local! {
    /// The verdict of the handshake that this thread works on: rustls asks and answers within one call.
    static VERDICT: RefCell<Option<Verdict>> = const { RefCell::new(None) };
    /// Whether we had a certificate for the server that has asked for one, likewise.
    static SHOWN: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Takes the verdict that the last call of rustls has led to, where it has led to one.
pub(super) fn take_verdict() -> Option<Verdict> {
    VERDICT.take()
}

/// Takes whether we showed a certificate, where the last call of rustls has come to a server's question
/// for one.
pub(super) fn take_shown() -> Option<bool> {
    SHOWN.take()
}

/// What a client trusts.
pub(super) struct Judge {
    pub(super) issuers: Issuers,
    /// What `--ca` names: a server's own certificate may be among them, and is then trusted for itself.
    pub(super) named: Vec<CertificateDer<'static>>,
    pub(super) insecure: bool,
    pub(super) pin: Option<Pin>,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("issuers", &self.issuers).finish_non_exhaustive()
    }
}

impl Judge {
    /// Judges a server's chain; returns what is wrong with it, and the error that refuses it where
    /// policy does.
    pub(super) fn judge(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> (Vec<&'static str>, Option<Error>) {
        let mut errors = Vec::new();
        match ParsedCertificate::try_from(own) {
            Ok(parsed) => {
                match self.named.iter().any(|named| named == own) {
                    true => errors.extend(valid_now(own, now).err()),
                    false => errors = self.issuers.judge(own, others, now, |at| self.issued(&parsed, others, at)),
                }
                errors.extend(verify_server_name(&parsed, name).err());
            }
            Err(error) => errors.push(error),
        }
        let trusted = errors.is_empty() || self.insecure;
        if !self.pin.is_none_or(|pin| is_pinned(pin, own)) {
            errors.push(CertificateError::ApplicationVerificationFailure.into());
            return (errors.iter().map(problem).collect(), errors.into_iter().next_back());
        }
        let problems = errors.iter().map(problem).collect();
        (problems, errors.into_iter().next().filter(|_| !trusted))
    }

    /// Judges who has issued a server's certificate, as of a time.
    fn issued(&self, parsed: &ParsedCertificate<'_>, others: &[CertificateDer<'_>], at: UnixTime) -> Result<(), Error> {
        verify_server_cert_signed_by_trust_anchor(parsed, &self.issuers.roots, others, at, self.issuers.algorithms.all)
    }
}

/// Who may have issued a peer's certificate.
pub(super) struct Issuers {
    pub(super) roots: Arc<RootCertStore>,
    /// By which algorithms they sign.
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuers").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

impl Issuers {
    /// Judges a chain as of now by a judge that stops at the first thing that is wrong; returns all that is.
    fn judge(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        judge: impl Fn(UnixTime) -> Result<(), Error>,
    ) -> Vec<Error> {
        let Err(error) = judge(now) else { return Vec::new() };
        let besides = match is_of_time(&error) {
            true => besides_time(own, others, now, judge),
            false => Besides::Unknown,
        };
        let mut errors = vec![error];
        match besides {
            Besides::Nothing => return errors,
            Besides::Wrong(other) => errors.push(other),
            Besides::Unknown => {}
        }
        // Time and purpose are looked at before the issuer.
        if errors.iter().all(|error| is_of_time(error) || problem(error) == "wrong-purpose") {
            errors.extend(to_root(own, others, &self.roots, self.algorithms).err().map(Error::from));
        }
        errors
    }
}

/// What is wrong with a chain besides the time.
enum Besides {
    Nothing,
    Wrong(Error),
    /// There is no time at which all of it was valid.
    Unknown,
}

/// Returns what else is wrong with a chain of which a certificate is out of its time, which hides
/// that: it is judged as of the times at which one of them still, or first, was valid.
fn besides_time(
    own: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    now: UnixTime,
    judge: impl Fn(UnixTime) -> Result<(), Error>,
) -> Besides {
    /// Most times: a chain is seldom longer than four.
    const MOST: usize = 8;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let in_time = |(begin, end): (i64, i64)| match now {
        _ if now < begin => Some(begin),
        _ if now > end => Some(end),
        _ => None,
    };
    let mut found = Besides::Unknown;
    for time in iter::once(own).chain(others).filter_map(validity).filter_map(in_time).take(MOST) {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time).unwrap_or(0)));
        match (judge(at), &found) {
            (Ok(()), _) => return Besides::Nothing,
            (Err(error), Besides::Unknown) if !is_of_time(&error) => found = Besides::Wrong(error),
            (Err(_), _) => {}
        }
    }
    found
}

/// Returns whether a certificate is good, but for the time.
fn is_of_time(error: &Error) -> bool {
    matches!(problem(error), "expired" | "not-yet-valid")
}

/// Judges the dates of a certificate that is trusted for itself.
fn valid_now(own: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    match validity(own) {
        None => Err(CertificateError::BadEncoding.into()),
        Some((begin, _)) if now < begin => Err(CertificateError::NotValidYet.into()),
        Some((_, end)) if now > end => Err(CertificateError::Expired.into()),
        Some(_) => Ok(()),
    }
}

fn is_pinned(pin: Pin, own: &CertificateDer<'_>) -> bool {
    match pin {
        Pin::Certificate(wanted) => sha256(own) == wanted,
        Pin::Key(wanted) => key_sha256(own) == Some(wanted),
    }
}

/// Returns the name of what is wrong with a certificate.
pub(super) fn problem(error: &Error) -> &'static str {
    use CertificateError as E;
    let Error::InvalidCertificate(error) = error else { return "bad-certificate" };
    match error {
        E::Expired | E::ExpiredContext { .. } => "expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "not-yet-valid",
        E::NotValidForName | E::NotValidForNameContext { .. } => "wrong-name",
        E::Revoked => "revoked",
        E::BadSignature => "bad-signature",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => "wrong-purpose",
        E::UnsupportedSignatureAlgorithmContext { .. } | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "unsupported-algorithm"
        }
        E::ApplicationVerificationFailure => "pin-mismatch",
        // A certificate of an authority that nobody whom we trust has issued: most often self-signed.
        E::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => "unknown-issuer",
        E::UnknownIssuer => "unknown-issuer",
        _ => "bad-certificate",
    }
}

fn note(own: &CertificateDer<'_>, others: &[CertificateDer<'_>], has_staple: bool, problems: Vec<&'static str>) {
    let chain = iter::once(own).chain(others).map(|certificate| certificate.clone().into_owned()).collect();
    VERDICT.set(Some(Verdict { chain, has_staple, problems }));
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (problems, refused) = self.judge(own, others, name, now);
        note(own, others, !staple.is_empty(), problems);
        refused.map_or_else(|| Ok(ServerCertVerified::assertion()), Err)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, own, signed, &self.issuers.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, own, signed, &self.issuers.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issuers.algorithms.supported_schemes()
    }
}

/// What a client shows to a server that asks for its certificate: whether one has asked is noted.
#[derive(Debug)]
pub(super) struct Card(pub(super) Arc<dyn ResolvesClientCert>);

impl ResolvesClientCert for Card {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let card = self.0.resolve(issuers, schemes).filter(|card| card.key.choose_scheme(schemes).is_some());
        SHOWN.set(Some(card.is_some()));
        card
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }

    fn has_certs(&self) -> bool {
        self.0.has_certs()
    }
}

/// What a server trusts of its clients: rustls judges, and the verdict is kept.
#[derive(Debug)]
pub(super) struct Doorkeeper {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) issuers: Issuers,
}

impl ClientCertVerifier for Doorkeeper {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let judge = |at| self.verifier.verify_client_cert(own, others, at).map(drop);
        let errors = self.issuers.judge(own, others, now, judge);
        note(own, others, false, errors.iter().map(problem).collect());
        errors.into_iter().next().map_or_else(|| Ok(ClientCertVerified::assertion()), Err)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

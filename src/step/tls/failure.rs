//! Why a handshake failed: by name, in words, and what to try next.

use std::io;

use rustls::{AlertDescription, Error as TlsError, PeerIncompatible};

use super::trust::{Verdict, problem};
use crate::event::Certificate;
use crate::packet::starttls::Protocol;

/// How a handshake broke off.
pub(super) enum Broken {
    /// A call on the socket failed.
    Io(io::Error),
    /// The peer closed its side.
    Closed,
    /// What came is no TLS.
    NotTls,
    /// One of the two ends found fault with the other.
    Tls(TlsError),
    /// It was cut off on purpose.
    OnPurpose,
}

/// A failure in words.
pub(super) struct Words {
    pub(super) name: &'static str,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Words {
    fn new(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, message: message.into(), hint: None }
    }

    fn hinting(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Says what came instead of TLS, by its first bytes.
pub(super) fn not_tls(first: &[u8], is_client: bool) -> Words {
    const SHOWN: usize = 64;
    let line = first.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or(first);
    let shown = String::from_utf8_lossy(&line[..line.len().min(SHOWN)]);
    let words = Words::new("not-tls", format!("the peer does not speak TLS: {shown:?} came instead"));
    let Some(guess) = guess(first, is_client) else { return words };
    words.hinting(guess)
}

/// Says what the first bytes of a peer look like.
fn guess(first: &[u8], is_client: bool) -> Option<&'static str> {
    let begins = |with: &str| first.starts_with(with.as_bytes());
    const METHODS: [&str; 8] = ["GET ", "POST ", "HEAD ", "PUT ", "OPTIONS ", "CONNECT ", "DELETE ", "PRI "];
    if begins("HTTP/") {
        Some("this is HTTP without TLS: the port for TLS is another one, 443 most often")
    } else if METHODS.iter().any(|method| begins(method)) {
        Some("this is HTTP without TLS: the client is to say https")
    } else if begins("SSH-") {
        Some("this is SSH, which brings its own encryption")
    } else if begins("220") && is_client {
        Some("this is SMTP or FTP, which begin TLS by a command: --starttls smtp or ftp")
    } else if begins("+OK") && is_client {
        Some("this is POP3, which begins TLS by a command: --starttls pop3")
    } else if begins("* OK") && is_client {
        Some("this is IMAP, which begins TLS by a command: --starttls imap")
    } else if first.len() > 5 && first[3] == 0 && first[4] == 10 && is_client {
        Some("this looks like MySQL, which begins TLS by a packet: --starttls mysql")
    } else if first.first().is_some_and(|byte| byte & 0x80 != 0) && first.get(2) == Some(&1) {
        Some("this looks like a ClientHello of SSLv2")
    } else {
        None
    }
}

/// Says what a server that is asked for TLS as a protocol has it looks like, by its first bytes, where that is
/// another.
pub(super) fn another(first: &[u8], protocol: Protocol) -> Option<&'static str> {
    let kin: &[(&[u8], &[Protocol])] =
        &[(b"220", &[Protocol::Smtp, Protocol::Ftp]), (b"+OK", &[Protocol::Pop3]), (b"* OK", &[Protocol::Imap])];
    let is_its_own = kin.iter().any(|(begin, of)| first.starts_with(begin) && of.contains(&protocol));
    if is_its_own || protocol == Protocol::Mysql && first.get(3..5) == Some(&[0, 10]) {
        None
    } else if first.len() > 1 && may_be_tls(first) {
        Some("it answers in TLS: this port speaks it at once, without --starttls")
    } else {
        guess(first, true)
    }
}

/// Returns whether the first bytes of a peer may be a record of TLS: its type, then the major
/// version 3 (RFC 8446, 5.1).
pub(super) fn may_be_tls(first: &[u8]) -> bool {
    first.first().is_none_or(|kind| (20..=23).contains(kind)) && first.get(1).is_none_or(|major| *major == 3)
}

/// Says why a handshake ended.
pub(super) fn of_tls(error: &TlsError, verdict: Option<&Verdict>, chain: &[Certificate], is_client: bool) -> Words {
    match error {
        TlsError::AlertReceived(alert) => of_alert(*alert),
        TlsError::PeerIncompatible(incompatible) => of_incompatible(incompatible),
        TlsError::NoApplicationProtocol => {
            Words::new("no-shared-alpn", "the two ends have no protocol in common (ALPN)")
        }
        TlsError::NoCertificatesPresented => {
            Words::new("no-client-certificate", "the client showed no certificate, and --client-ca asks for one")
        }
        TlsError::InvalidCertificate(_) => of_certificate(error, verdict, chain, is_client),
        TlsError::InvalidMessage(what) => {
            Words::new("bad-message", format!("the peer sent what cannot be read: {what:?}"))
        }
        TlsError::DecryptError => Words::new("bad-message", "the peer sent what cannot be decrypted"),
        other => Words::new("protocol-error", format!("the peer does not keep to the protocol: {other}")),
    }
}

fn of_incompatible(incompatible: &PeerIncompatible) -> Words {
    use PeerIncompatible as P;
    match incompatible {
        P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled
        | P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::SupportedVersionsExtensionRequired => no_version("the two ends have no version of TLS in common"),
        P::NoCipherSuitesInCommon => Words::new("no-shared-cipher", "the two ends have no cipher suite in common"),
        P::NoKxGroupsInCommon | P::NamedGroupsExtensionRequired | P::KeyShareExtensionRequired => {
            Words::new("no-shared-group", "the two ends have no group of the key exchange in common")
        }
        P::NoSignatureSchemesInCommon | P::NoCertificateRequestSignatureSchemesInCommon => {
            Words::new("no-shared-signature", "the two ends have no algorithm of signatures in common")
        }
        other => Words::new("incompatible", format!("the peer lacks what is needed: {other:?}")),
    }
}

fn no_version(message: &str) -> Words {
    Words::new("no-shared-version", message).hinting(
        "this program speaks TLS 1.2 and 1.3, as far as --tls-min and --tls-max allow; older versions are broken",
    )
}

/// Says which alert came.
fn of_alert(alert: AlertDescription) -> Words {
    let (number, name) = (u8::from(alert), alert_name(alert));
    let message = format!("the peer refused: alert {name} ({number})");
    let hint = match alert {
        AlertDescription::ProtocolVersion => return no_version(&message),
        AlertDescription::NoApplicationProtocol => {
            return Words::new("no-shared-alpn", message).hinting("it speaks none of the protocols of --alpn");
        }
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "it found nothing in common, most often no cipher suite, or misses a client's certificate (--client-cert)"
        }
        AlertDescription::CertificateRequired => "it asks for a client's certificate: --client-cert",
        AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it does not trust our certificate"
        }
        AlertDescription::CertificateExpired => "our certificate has expired",
        AlertDescription::UnrecognisedName => "it does not know the name that was asked for: --sni",
        _ => return Words::new("alert", message),
    };
    Words::new("alert", message).hinting(hint)
}

/// Returns the name of an alert, as RFC 8446, 6 has it.
fn alert_name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => return "unknown_ca".to_owned(),
        AlertDescription::UnrecognisedName => return "unrecognized_name".to_owned(),
        AlertDescription::UnknownPSKIdentity => return "unknown_psk_identity".to_owned(),
        AlertDescription::Unknown(_) => return "of an unknown kind".to_owned(),
        _ => {}
    }
    let mut name = String::new();
    for letter in format!("{alert:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Says why a certificate is not trusted.
fn of_certificate(error: &TlsError, verdict: Option<&Verdict>, chain: &[Certificate], is_client: bool) -> Words {
    let name = problem(error);
    let whose = if is_client { "the server's" } else { "the client's" };
    let (known, what) = (chain.first(), name.replace('-', " "));
    let subject = known.map(|own| &*own.subject).filter(|subject| !subject.is_empty()).unwrap_or("without a subject");
    let further = verdict.map(|verdict| &verdict.problems[..]).unwrap_or_default();
    let also: Vec<String> =
        further.iter().filter(|other| **other != name).map(|other| format!(", {}", other.replace('-', " "))).collect();
    let words = Words::new(name, format!("{whose} certificate is not trusted: {what}{} ({subject})", also.concat()));
    let Some(own) = known else { return words };
    let days = own.days_left.unwrap_or_default();
    match name {
        "unknown-issuer" if is_client && own.subject == own.issuer => words.hinting(format!(
            "it is self-signed: trust it by --ca FILE, or know it by --insecure --pin {}",
            own.sha256
        )),
        "unknown-issuer" if is_client => {
            let (count, top) = (chain.len(), chain.last().unwrap_or(own));
            let sent = match count {
                1 => "the server sent 1 certificate, issued by".to_owned(),
                _ => format!("the server sent {count} certificates, the last of them issued by"),
            };
            words.hinting(format!(
                "{sent} {}, whom we do not know: --ca FILE trusts another authority; did the server leave out an \
                 intermediate certificate?",
                top.issuer
            ))
        }
        "unknown-issuer" => words.hinting(format!("--client-ca has not issued it, but {}", own.issuer)),
        "wrong-name" if own.names.is_empty() => words.hinting("it is for no name at all (subjectAltName)"),
        "wrong-name" => words.hinting(format!("it is for {}; --sni NAME asks for another name", own.names.join(", "))),
        "expired" => words.hinting(format!("it {}; is our clock right?", expired(days))),
        "not-yet-valid" => words.hinting("it will be valid later; is our clock right?"),
        "pin-mismatch" => words.hinting(format!("its SHA-256 is {}, that of its key {}", own.sha256, own.key_pin)),
        _ => words,
    }
}

/// Returns how long ago a certificate expired that has so many days left, fewer than 0: whole ones, rounded
/// down.
pub(super) fn expired(left: i64) -> String {
    match left.unsigned_abs() {
        0 | 1 => "expired less than a day ago".to_owned(),
        days => format!("expired {} ago", days_of(days - 1)),
    }
}

/// Returns a number of days in words.
pub(super) fn days_of(number: u64) -> String {
    format!("{number} day{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_the_names_of_the_rfc() {
        assert_eq!(alert_name(AlertDescription::HandshakeFailure), "handshake_failure");
        assert_eq!(alert_name(AlertDescription::UnknownCA), "unknown_ca");
        assert_eq!(alert_name(AlertDescription::NoApplicationProtocol), "no_application_protocol");
        assert_eq!(of_alert(AlertDescription::ProtocolVersion).name, "no-shared-version");
    }

    #[test]
    fn what_came_instead_is_shown_and_guessed() {
        let told = not_tls(b"SSH-2.0-OpenSSH_9.6\r\nmore", true);
        assert!(told.message.contains("\"SSH-2.0-OpenSSH_9.6\" came"), "{}", told.message);
        assert!(told.hint.is_some_and(|hint| hint.contains("SSH")));
        assert!(not_tls(b"220 mail", true).hint.is_some() && not_tls(b"220 mail", false).hint.is_none());
        assert!(not_tls(b"\x1b[2J", true).message.contains("\\u{1b}[2J"));
        assert!(may_be_tls(b"") && may_be_tls(b"\x16") && may_be_tls(b"\x15\x03\x01"));
        assert!(!may_be_tls(b"G") && !may_be_tls(b"\x16\x02"));
    }
}

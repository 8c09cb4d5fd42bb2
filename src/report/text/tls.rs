//! The lines of TLS: a handshake, and the certificates that were shown in it.

use super::say;
use crate::event::{Certificate, OwnCertificate, Tls};
use crate::report::people::{count, duration};

/// Appends the line of a handshake; every certificate of the chain to who wants to see much.
pub(super) fn append(buffer: &mut Vec<u8>, tls: &Tls<'_>, is_verbose: bool) {
    say(buffer, format_args!("#{} tls", tls.conn));
    for word in [tls.version, tls.cipher, tls.group].into_iter().flatten() {
        say(buffer, format_args!(" {word}"));
    }
    if let Some(alpn) = tls.alpn {
        say(buffer, format_args!(", alpn {alpn}"));
    } else if !tls.alpn_offered.is_empty() {
        say(buffer, format_args!(", no alpn of {}", tls.alpn_offered.join(", ")));
    }
    if let Some(sni) = tls.sni {
        say(buffer, format_args!(", sni {sni}"));
    }
    if tls.resumed == Some(true) {
        say(buffer, format_args!(", resumed"));
    }
    if let Some(verified) = tls.verified {
        match (verified, tls.problems) {
            (true, _) => say(buffer, format_args!(", verified")),
            (false, []) => say(buffer, format_args!(", not verified")),
            (false, problems) => say(buffer, format_args!(", not verified: {}", problems.join(", "))),
        }
    }
    match (tls.client_certificate_requested, tls.client_certificate_shown) {
        (Some(true), Some(true)) => say(buffer, format_args!(", asks for a client certificate")),
        (Some(true), _) => say(buffer, format_args!(", asks for a client certificate, none was shown")),
        _ => {}
    }
    let shown = if is_verbose { tls.certificates } else { tls.certificates.get(..1).unwrap_or_default() };
    for certificate in shown {
        say(buffer, format_args!(", "));
        append_certificate(buffer, certificate, is_verbose);
    }
    say(buffer, format_args!(" ({})", duration(tls.duration)));
}

/// Appends the line of the certificate that we show.
pub(super) fn append_own(buffer: &mut Vec<u8>, own: &OwnCertificate<'_>) {
    say(buffer, format_args!("tls: our "));
    for certificate in own.certificates.iter().take(1) {
        append_certificate(buffer, certificate, true);
    }
    if own.throw_away {
        say(buffer, format_args!(", made for this run"));
    }
}

fn append_certificate(buffer: &mut Vec<u8>, certificate: &Certificate, is_verbose: bool) {
    let Certificate { subject, issuer, names, days_left, key, sha256, .. } = certificate;
    let subject = if subject.is_empty() { "without a subject" } else { subject };
    say(buffer, format_args!("certificate {subject}"));
    if issuer == subject {
        say(buffer, format_args!(" (self-signed)"));
    } else if !issuer.is_empty() {
        say(buffer, format_args!(" by {issuer}"));
    }
    match days_left {
        Some(days @ 0..) => say(buffer, format_args!(", {} left", count(days.unsigned_abs(), "day"))),
        Some(days) => say(buffer, format_args!(", expired {} ago", count(days.unsigned_abs(), "day"))),
        None => {}
    }
    if is_verbose {
        if !names.is_empty() {
            say(buffer, format_args!(", for {}", names.join(", ")));
        }
        say(buffer, format_args!(", {key}, sha256 {sha256}"));
    }
}

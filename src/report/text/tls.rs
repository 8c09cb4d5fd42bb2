//! The lines of TLS: a handshake, and the certificates that were shown in it.

use super::say;
use crate::event::{Certificate, OwnCertificate, Tls};
use crate::report::people::{count, day, duration};

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
    if let Some(question) = question(tls) {
        say(buffer, format_args!(", {question}"));
    }
    if let (false, Some(own)) = (is_verbose, tls.certificates.first()) {
        say(buffer, format_args!(", "));
        append_certificate(buffer, own, false);
    }
    say(buffer, format_args!(" ({})", duration(tls.duration)));
    if is_verbose {
        append_chain(buffer, tls.certificates);
    }
}

/// Returns what TLS came to, for a line that has more to say: the version, and what is to be known of the
/// server's certificate.
pub(super) fn in_short(tls: &Tls<'_>) -> String {
    let own = tls.certificates.first();
    let problems = (tls.verified == Some(false)).then(|| format!("not verified: {}", tls.problems.join(", ")));
    let words = [
        tls.version.map(str::to_owned),
        own.and_then(|own| own.days_left).map(days),
        problems,
        question(tls).map(str::to_owned),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Returns what the server has asked of us.
fn question(tls: &Tls<'_>) -> Option<&'static str> {
    match (tls.client_certificate_requested, tls.client_certificate_shown) {
        (Some(true), Some(true)) => Some("asks for a client certificate"),
        (Some(true), _) => Some("asks for a client certificate, none was shown"),
        _ => None,
    }
}

/// Appends a line for each certificate of a chain.
fn append_chain(buffer: &mut Vec<u8>, chain: &[Certificate]) {
    for certificate in chain {
        buffer.extend_from_slice(b"\n           ");
        append_certificate(buffer, certificate, true);
    }
}

/// Appends the line of the certificate that we show.
/// To who wants to see much, the one that was made for this run whole, so that a client can be told to trust it.
pub(super) fn append_own(buffer: &mut Vec<u8>, own: &OwnCertificate<'_>, is_verbose: bool) {
    say(buffer, format_args!("tls: our "));
    for certificate in own.certificates.iter().take(1) {
        append_certificate(buffer, certificate, true);
    }
    if own.throw_away {
        say(buffer, format_args!(", made for this run"));
    }
    if is_verbose {
        append_chain(buffer, own.certificates.get(1..).unwrap_or_default());
        for line in own.pem.unwrap_or_default().lines() {
            buffer.push(b'\n');
            say(buffer, format_args!("{line}"));
        }
    }
}

/// Returns how many days are left of a certificate.
fn days(left: i64) -> String {
    match left {
        0.. => format!("{} left", count(left.unsigned_abs(), "day")),
        -1 => "expired less than a day ago".to_owned(),
        // Days are whole ones, rounded down.
        ..-1 => format!("expired {} ago", count(left.unsigned_abs() - 1, "day")),
    }
}

fn append_certificate(buffer: &mut Vec<u8>, certificate: &Certificate, is_verbose: bool) {
    let Certificate { subject, issuer, names, not_after, days_left, key, sha256, .. } = certificate;
    let subject = if subject.is_empty() { "without a subject" } else { subject };
    say(buffer, format_args!("certificate {subject}"));
    if issuer == subject {
        say(buffer, format_args!(" (self-signed)"));
    } else if !issuer.is_empty() {
        say(buffer, format_args!(" by {issuer}"));
    }
    if let Some(left) = days_left {
        say(buffer, format_args!(", {}", days(*left)));
    }
    if let Some(not_after) = not_after {
        let until = if days_left.is_some_and(|left| left < 0) { "" } else { "until " };
        say(buffer, format_args!(" ({until}{})", day(*not_after)));
    }
    if is_verbose {
        if !names.is_empty() {
            say(buffer, format_args!(", for {}", names.join(", ")));
        }
        say(buffer, format_args!(", {key}, sha256 {sha256}"));
    }
}

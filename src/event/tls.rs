//! The fields of the events that tell of TLS: a handshake, and certificates.

use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Serialize;

use super::value::{duration, nanoseconds, some_seconds, time};

/// Fields of `tls`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tls<'a> {
    /// The connection.
    pub conn: u64,
    /// Client: what it is to, as typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<&'a str>,
    /// The version that was chosen: `TLSv1.3`, `TLSv1.2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'a str>,
    /// The versions that we offered, or would have taken.
    pub versions_offered: &'a [&'static str],
    /// The cipher suite that was chosen, as IANA names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher: Option<&'a str>,
    /// The group of the key exchange; absent where the handshake did not come so far. This program
    /// offers no post-quantum group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<&'a str>,
    /// The protocol that both agreed on (ALPN, RFC 7301).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<&'a str>,
    /// The protocols that the client offered, in its order.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub alpn_offered: &'a [String],
    /// The name that the client asked for (SNI, RFC 6066).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<&'a str>,
    /// Whether an earlier session was resumed, which clients of others ask a server for, and we never do; absent
    /// where the handshake did not come so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed: Option<bool>,
    /// Whether the server sent an OCSP response along (RFC 6066, 8); it is not judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ocsp_staple: Option<bool>,
    /// Client: whether the server has asked for our certificate; absent where the handshake did not come so
    /// far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_requested: Option<bool>,
    /// Whether it was shown one; only where it has asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_shown: Option<bool>,
    /// The certificates that the peer sent, its own first.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub certificates: &'a [Certificate],
    /// Whether the peer's certificate is trusted; absent of a server that asked for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// Why it is not: `unknown-issuer`, `wrong-name`, `expired` and the like.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub problems: &'a [&'static str],
    /// From the first byte of the handshake until its end, or until trust was refused.
    #[serde(rename = "duration_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub duration: Duration,
}

/// One certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Certificate {
    /// Whose it is, as its fields are in it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// Who issued it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub issuer: String,
    /// Its serial number, in hexadecimal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serial: String,
    /// The names and addresses that it is for (subjectAltName).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// From when it is valid: RFC 3339, UTC.
    #[serde(serialize_with = "some_seconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub not_before: Option<SystemTime>,
    /// Until when.
    #[serde(serialize_with = "some_seconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub not_after: Option<SystemTime>,
    /// Whole days until then; less than 0 where it has expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days_left: Option<i64>,
    /// Its key: `RSA 2048`, `EC P-256`, `Ed25519`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The algorithm of its signature: `sha256WithRSAEncryption`, `ecdsa-with-SHA256`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signature: String,
    /// The SHA-256 of the whole of it, in hexadecimal: what `--pin` takes.
    pub sha256: String,
    /// The SHA-256 of its public key, in base64 after `sha256//`, as curl pins it: `--pin` takes it too.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_pin: String,
}

/// Fields of `certificate`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OwnCertificate<'a> {
    /// The certificates that we show to peers, our own first.
    pub certificates: &'a [Certificate],
    /// Whether it was made for this run, and is thrown away at its end.
    pub throw_away: bool,
    /// A certificate that was made for this run, in PEM: whoever is to trust it may take it as `--ca`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pem: Option<&'a str>,
}

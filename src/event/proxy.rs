//! The fields of the events between a connection and what it is for: proxies, and the PROXY protocol.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::value::{Payload, duration, nanoseconds, some_nanoseconds};
use crate::address::Address;

/// Fields of `proxy`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Proxy<'a> {
    /// The connection.
    pub conn: u64,
    /// The proxy, as typed, without its user.
    pub proxy: &'a str,
    /// What it was spoken to in: `socks5`, `socks4a`, `http`.
    pub protocol: &'static str,
    /// What it was asked for: an address or a name, and the port; of all but the last proxy of a chain
    /// the next one.
    pub target: &'a str,
    /// Who looked the name of that up; absent where it is an address as it was typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<ResolvedBy>,
    /// How it was told who we are: `password` (RFC 1929), `user-id` (SOCKS4), `basic` (RFC 7617),
    /// `digest` (RFC 7616); absent where it did not ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<&'static str>,
    /// From where it has connected, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<&'a str>,
    /// Its reply in words.
    pub reply: &'a str,
    /// The number of its reply: 0 (SOCKS5), 90 (SOCKS4), the status of HTTP.
    pub code: u16,
    /// Bytes of the dialogue that were sent; they are in no other count.
    pub bytes_sent: u64,
    /// Bytes of the dialogue that came.
    pub bytes_received: u64,
    /// Each question of the dialogue with its answer, in their order.
    pub steps: &'a [ProxyStep],
    /// From the first byte of the dialogue to the last of its reply.
    #[serde(rename = "duration_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub duration: Duration,
    /// Whether what it was asked for is the target of the run.
    #[serde(skip)]
    pub is_last: bool,
}

/// A question to a proxy, and its answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ProxyStep {
    /// What it was: `greeting` (SOCKS5: how may we say who we are?), `authentication` (who we are; of HTTP
    /// the request that says it too), `request` (the connection to the target).
    pub name: &'static str,
    /// From when it was sent until it was answered.
    #[serde(rename = "duration_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub duration: Duration,
}

/// Who looked a name up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResolvedBy {
    /// The proxy that was asked to connect to it.
    Proxy,
    /// This machine.
    Local,
}

/// Fields of `proxy-protocol`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ProxyProtocol<'a> {
    /// The connection.
    pub conn: u64,
    /// The version of the protocol: 1 or 2.
    pub version: u8,
    /// Whose connection it is said to be: `proxy` (that of `proxied_peer`), `local` (the proxy's own, a
    /// health check say), `unknown`.
    pub command: &'static str,
    /// Who is said to have connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub proxied_peer: Option<&'a Address>,
    /// To which address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub proxied_local: Option<&'a Address>,
    /// Version 2: what else is said.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub tlvs: &'a [Tlv<'a>],
    /// How many bytes the header has; they are in no other count.
    pub bytes: u64,
    /// Servers: how long it took to come whole.
    #[serde(rename = "duration_ns", serialize_with = "some_nanoseconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub duration: Option<Duration>,
}

/// Something that a header of version 2 says besides the addresses.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tlv<'a> {
    /// The number of its type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// The name of its type (`alpn`, `authority`, `unique-id`, `ssl-version`…), where the specification
    /// has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'static str>,
    /// Its value; of `ssl` its 5 bytes of flags, its parts follow as TLVs of their own.
    #[serde(flatten)]
    pub data: Payload<'a>,
}

//! What the kernel tells of TCP: how a connection goes, how full an accept queue is, what became of
//! fast open and MPTCP.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::value::{duration, nanoseconds, some_nanoseconds};
use crate::address::Address;

/// What became of data that was to go with the SYN (RFC 7413).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FastOpen {
    /// It went with the SYN and was acknowledged with it.
    DataAcknowledged,
    /// No cookie of the server was known: the SYN asked for one and carried no data.
    CookieRequested,
    /// It went with the SYN, was not acknowledged with it, and went again after the handshake.
    Fallback,
    /// The kernel did not try, because of earlier failures, say.
    NotTried,
}

impl FastOpen {
    /// Returns the name that events use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DataAcknowledged => "data-acknowledged",
            Self::CookieRequested => "cookie-requested",
            Self::Fallback => "fallback",
            Self::NotTried => "not-tried",
        }
    }
}

/// What became of MPTCP (RFC 8684).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mptcp {
    /// Both ends speak it.
    Negotiated,
    /// The connection is plain TCP.
    Fallback,
}

impl Mptcp {
    /// Returns the name that events use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Negotiated => "negotiated",
            Self::Fallback => "fallback",
        }
    }
}

/// What held a transfer back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HeldBack {
    /// The network: round trips, the congestion window, loss.
    Network,
    /// The peer's receive window: it did not read.
    PeerWindow,
    /// Our own send buffer: it was too small.
    SendBuffer,
}

/// What the kernel knows of a TCP connection (TCP_INFO, tcp(7)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TcpFigures {
    /// Smoothed round-trip time.
    #[serde(rename = "rtt_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub rtt: Duration,
    /// Least round-trip time seen; absent before the first sample.
    #[serde(rename = "min_rtt_ns", serialize_with = "some_nanoseconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub min_rtt: Option<Duration>,
    /// Variation of the round-trip time.
    #[serde(rename = "rttvar_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub rttvar: Duration,
    /// Segments that were sent again, over the whole connection.
    pub retransmits: u32,
    /// Bytes that were sent again, over the whole connection (Linux 4.19).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_retransmitted: Option<u64>,
    /// Maximum segment size for sending, in bytes.
    pub mss: u32,
    /// Path MTU, in bytes.
    pub pmtu: u32,
    /// Congestion window, in segments.
    pub cwnd: u32,
    /// The rate at which the peer last acknowledged data, in bytes a second (Linux 4.9); absent
    /// before the first sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_bytes_per_second: Option<u64>,
    /// How long there was something to send or to be acknowledged (Linux 4.10), in ticks of the
    /// kernel's clock, as the two parts of it below.
    #[serde(rename = "busy_ns", serialize_with = "some_nanoseconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub busy: Option<Duration>,
    /// How long of that sending waited for the peer's receive window.
    #[serde(rename = "rwnd_limited_ns", serialize_with = "some_nanoseconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub rwnd_limited: Option<Duration>,
    /// How long of that sending waited for room in our own send buffer.
    #[serde(
        rename = "sndbuf_limited_ns",
        serialize_with = "some_nanoseconds",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "duration")]
    pub sndbuf_limited: Option<Duration>,
    /// What held the transfer to the peer back most: the largest part of `busy_ns`, of which
    /// `rwnd_limited_ns` is the peer's window, `sndbuf_limited_ns` our send buffer, and the rest the
    /// network. Absent where that cannot be judged: `busy_ns` is below 20 ms, or all that waited for
    /// the network were the 10 segments of a first flight (RFC 6928).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back_by: Option<HeldBack>,
}

/// Fields of `queue`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Queue<'a> {
    /// The address of the listener.
    #[schemars(with = "String")]
    pub local: &'a Address,
    /// Connections that wait to be accepted (TCP_INFO).
    pub depth: u32,
    /// How many may wait; one more makes it full (TCP_INFO).
    pub limit: u32,
    /// Connection attempts that this listener has dropped since it began, for whatever cause
    /// (SO_MEMINFO).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drops: Option<u64>,
    /// Connection attempts that have found the accept queue full since the listener began: of all
    /// listeners of this network namespace (ListenOverflows in /proc/net/netstat).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflows: Option<u64>,
}

/// Fields of `tcp`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tcp {
    /// The connection.
    pub conn: u64,
    /// Bytes that recv gave so far.
    pub bytes_received: u64,
    /// Bytes that send took so far.
    pub bytes_sent: u64,
    /// Bytes that send took and the peer has not acknowledged yet (SIOCOUTQ, tcp(7)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_unacknowledged: Option<u64>,
    /// Of those, bytes that were not even sent yet (Linux 4.6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_not_sent: Option<u32>,
    /// The kernel's figures so far.
    #[serde(flatten)]
    pub figures: TcpFigures,
}

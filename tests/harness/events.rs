//! What a line of the JSON may hold: strict types of our own, written from the contract.
//!
//! Nothing here comes from sockeye's sources, and every struct refuses a field that it does not
//! name, so the format cannot change unnoticed.
#![expect(dead_code, reason = "a field is read strictly, whether or not a test looks at it")]

use std::net::IpAddr;

use serde::Deserialize;

pub(crate) use super::probes::{
    Corrupted, Duplicate, Foreign, Hop, KernelDrops, Label, Late, LossRun, Lost, Named, NotSent, PathMtu, Probe, Reply,
    Round, Session,
};
pub(crate) use super::proxies::{Proxy, ProxyProtocol};
pub(crate) use super::tls::{OwnCertificate, Tls};

/// One line: the envelope, and the event in it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) time: String,
    pub(crate) elapsed_ns: u64,
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// A fact that one kind of event tells.
pub(crate) trait Fact: Clone + std::fmt::Debug {
    /// The name of the event.
    const NAME: &'static str;
    /// Returns the fact, where the event is of this kind.
    fn of(event: &Event) -> Option<&Self>;
}

/// Lists the events of the contract that there are so far.
macro_rules! events {
    ($($name:literal $variant:ident,)*) => {
        /// Any event.
        #[derive(Clone, Debug, Deserialize)]
        #[serde(tag = "event")]
        pub(crate) enum Event {
            $(#[serde(rename = $name)] $variant($variant),)*
        }

        impl Event {
            /// Every name that an event has.
            pub(crate) const NAMES: &[&str] = &[$($name,)*];

            /// Returns the name of the event.
            pub(crate) fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }
        }

        $(impl Fact for $variant {
            const NAME: &'static str = $name;

            fn of(event: &Event) -> Option<&Self> {
                match event {
                    Event::$variant(fact) => Some(fact),
                    _ => None,
                }
            }
        })*
    };
}

events! {
    "start" Start,
    "resolve" Resolve,
    "socket" Socket,
    "setsockopt" Setsockopt,
    "bind" Bind,
    "unlink" Unlink,
    "listen" Listen,
    "queue" Queue,
    "accept" Accept,
    "connect" Connect,
    "proxy" Proxy,
    "proxy-protocol" ProxyProtocol,
    "certificate" OwnCertificate,
    "tls" Tls,
    "send" Send,
    "recv" Recv,
    "eof" Eof,
    "shutdown" Shutdown,
    "timeout" Timeout,
    "close" Close,
    "tcp" Tcp,
    "syn-retransmit" SynRetransmit,
    "reply" Reply,
    "late" Late,
    "duplicate" Duplicate,
    "corrupted" Corrupted,
    "foreign" Foreign,
    "hop" Hop,
    "path-mtu" PathMtu,
    "lost" Lost,
    "not-sent" NotSent,
    "session" Session,
    "kernel-drops" KernelDrops,
    "icmp-error" IcmpError,
    "probe" Probe,
    "round" Round,
    "check" Check,
    "error" Error,
    "warning" Warning,
    "target-summary" TargetSummary,
    "interim" Interim,
    "summary" Summary,
}

impl Event {
    /// Returns the connection that the event is about.
    pub(crate) fn conn(&self) -> Option<u64> {
        match self {
            Self::Accept(fact) => Some(fact.conn),
            Self::Connect(fact) => Some(fact.conn),
            Self::Proxy(fact) => Some(fact.conn),
            Self::ProxyProtocol(fact) => Some(fact.conn),
            Self::Tls(fact) => Some(fact.conn),
            Self::Send(fact) => fact.conn,
            Self::Recv(fact) => fact.conn,
            Self::Eof(fact) => Some(fact.conn),
            Self::Shutdown(fact) => Some(fact.conn),
            Self::Close(fact) => Some(fact.conn),
            Self::Tcp(fact) => Some(fact.conn),
            Self::Timeout(fact) => fact.conn,
            Self::Error(fact) => fact.conn,
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start {
    pub(crate) schema: u32,
    pub(crate) version: String,
    pub(crate) command: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolve {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) duration_ns: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Socket {
    pub(crate) family: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) protocol: Option<String>,
}

/// The value of a socket option: a number, or a name such as a device.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(untagged)]
pub(crate) enum Value {
    Number(i64),
    Name(String),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Setsockopt {
    pub(crate) option: String,
    pub(crate) requested: Value,
    /// Absent where the kernel does not give it back: groups, and who sends to them.
    pub(crate) effective: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bind {
    pub(crate) local: String,
    pub(crate) mode: Option<String>,
    pub(crate) gid: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unlink {
    pub(crate) local: String,
    pub(crate) reason: UnlinkReason,
}

/// Why the file of a unix socket was removed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UnlinkReason {
    Stale,
    End,
}

impl Bind {
    /// Returns the port of the address.
    pub(crate) fn port(&self) -> u16 {
        port_of(&self.local)
    }
}

/// Returns the port of `127.0.0.1:80` or `[::1]:80`.
pub(crate) fn port_of(address: &str) -> u16 {
    let (_, port) = address.rsplit_once(':').expect("an address has a port");
    port.parse().expect("a port is a number")
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    pub(crate) backlog: u32,
    pub(crate) effective_backlog: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Queue {
    pub(crate) local: String,
    pub(crate) depth: u32,
    pub(crate) limit: u32,
    pub(crate) drops: Option<u64>,
    pub(crate) overflows: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accept {
    pub(crate) conn: u64,
    pub(crate) peer: String,
    pub(crate) local: String,
    pub(crate) fast_open: Option<bool>,
    pub(crate) mptcp: Option<Mptcp>,
    pub(crate) pid: Option<i32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) process: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connect {
    pub(crate) conn: u64,
    pub(crate) peer: String,
    pub(crate) local: Option<String>,
    pub(crate) attempt: u32,
    pub(crate) duration_ns: u64,
    pub(crate) syn_retransmits: Option<u32>,
    pub(crate) fast_open: Option<FastOpen>,
    pub(crate) mptcp: Option<Mptcp>,
    pub(crate) target: Option<String>,
}

/// What became of data that was to go with the SYN.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FastOpen {
    DataAcknowledged,
    CookieRequested,
    Fallback,
    NotTried,
}

/// What became of MPTCP.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mptcp {
    Negotiated,
    Fallback,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Send {
    pub(crate) conn: Option<u64>,
    pub(crate) peer: Option<String>,
    pub(crate) sequence: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) layer: Option<String>,
    pub(crate) data: Option<String>,
    pub(crate) data_base64: Option<String>,
}

/// A descriptor that a peer passed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Descriptor {
    pub(crate) kind: String,
    pub(crate) target: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recv {
    pub(crate) conn: Option<u64>,
    pub(crate) peer: Option<String>,
    pub(crate) local: Option<String>,
    pub(crate) truncated: Option<bool>,
    pub(crate) datagram_bytes: Option<u64>,
    pub(crate) ttl: Option<u8>,
    pub(crate) dscp: Option<u8>,
    pub(crate) ecn: Option<u8>,
    pub(crate) interface: Option<String>,
    pub(crate) kernel_time: Option<String>,
    pub(crate) sequence: Option<u64>,
    pub(crate) pid: Option<i32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    #[serde(default)]
    pub(crate) denied: bool,
    #[serde(default)]
    pub(crate) descriptors: Vec<Descriptor>,
    pub(crate) bytes: u64,
    pub(crate) layer: Option<String>,
    pub(crate) data: Option<String>,
    pub(crate) data_base64: Option<String>,
}

impl Send {
    /// Returns the bytes, from whichever of the two fields carries them.
    pub(crate) fn payload(&self) -> Vec<u8> {
        payload(self.data.as_deref(), self.data_base64.as_deref())
    }
}

impl Recv {
    /// Returns the bytes, from whichever of the two fields carries them.
    pub(crate) fn payload(&self) -> Vec<u8> {
        payload(self.data.as_deref(), self.data_base64.as_deref())
    }
}

/// Returns the bytes of a payload: `data` where they are UTF-8, else `data_base64`.
fn payload(data: Option<&str>, base64: Option<&str>) -> Vec<u8> {
    match (data, base64) {
        (Some(text), None) => text.as_bytes().to_vec(),
        (None, Some(coded)) => {
            let bytes = data_encoding::BASE64.decode(coded.as_bytes()).expect("data_base64 is base64");
            assert!(std::str::from_utf8(&bytes).is_err(), "UTF-8 belongs in `data`: {coded}");
            bytes
        }
        (None, None) => Vec::new(),
        (Some(_), Some(_)) => panic!("`data` and `data_base64` in one event"),
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Eof {
    pub(crate) conn: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shutdown {
    pub(crate) conn: u64,
    pub(crate) how: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Timeout {
    pub(crate) conn: Option<u64>,
    pub(crate) step: Step,
    pub(crate) after_ns: u64,
}

/// A step: the event that would have been, or the work around it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    Resolve,
    Socket,
    Setsockopt,
    Bind,
    Listen,
    Accept,
    Unlink,
    Connect,
    Proxy,
    #[serde(rename = "proxy-protocol")]
    ProxyProtocol,
    Tls,
    Send,
    Recv,
    Shutdown,
    Close,
    Open,
    Read,
    Write,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reason {
    Eof,
    Timeout,
    Reset,
    Limit,
    Denied,
    Local,
    Signal,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Close {
    pub(crate) conn: u64,
    pub(crate) reason: Reason,
    pub(crate) closed_first: Option<Side>,
    pub(crate) reset_by: Option<Side>,
    pub(crate) clean: Option<bool>,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_unread: Option<u64>,
    pub(crate) bytes_unacknowledged: Option<u64>,
    pub(crate) duration_ns: u64,
    pub(crate) tcp: Option<TcpFigures>,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Peer,
    Local,
}

/// What held a transfer back.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HeldBack {
    Network,
    PeerWindow,
    SendBuffer,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpFigures {
    pub(crate) rtt_ns: u64,
    pub(crate) min_rtt_ns: Option<u64>,
    pub(crate) rttvar_ns: u64,
    pub(crate) retransmits: u32,
    pub(crate) bytes_retransmitted: Option<u64>,
    pub(crate) mss: u32,
    pub(crate) pmtu: u32,
    pub(crate) cwnd: u32,
    pub(crate) delivery_bytes_per_second: Option<u64>,
    pub(crate) busy_ns: Option<u64>,
    pub(crate) rwnd_limited_ns: Option<u64>,
    pub(crate) sndbuf_limited_ns: Option<u64>,
    pub(crate) held_back_by: Option<HeldBack>,
}

/// serde cannot both flatten and deny unknown fields, so the figures are written out once more.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tcp {
    pub(crate) conn: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_unacknowledged: Option<u64>,
    pub(crate) bytes_not_sent: Option<u64>,
    pub(crate) rtt_ns: u64,
    pub(crate) min_rtt_ns: Option<u64>,
    pub(crate) rttvar_ns: u64,
    pub(crate) retransmits: u32,
    pub(crate) bytes_retransmitted: Option<u64>,
    pub(crate) mss: u32,
    pub(crate) pmtu: u32,
    pub(crate) cwnd: u32,
    pub(crate) delivery_bytes_per_second: Option<u64>,
    pub(crate) busy_ns: Option<u64>,
    pub(crate) rwnd_limited_ns: Option<u64>,
    pub(crate) sndbuf_limited_ns: Option<u64>,
    pub(crate) held_back_by: Option<HeldBack>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SynRetransmit {
    pub(crate) peer: String,
    pub(crate) attempt: u32,
    pub(crate) retransmits: u32,
    pub(crate) after_ns: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IcmpError {
    pub(crate) target: String,
    pub(crate) from: String,
    pub(crate) sequence: Option<u64>,
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    pub(crate) code: u8,
    pub(crate) name: String,
    pub(crate) mtu: Option<u32>,
    pub(crate) after_ns: Option<u64>,
    #[serde(default)]
    pub(crate) mpls: Vec<Label>,
    pub(crate) interface: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CheckOutcome {
    Ok,
    Absent,
    Denied,
    Failed,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) outcome: CheckOutcome,
    pub(crate) value: Option<String>,
    pub(crate) hint: Option<String>,
    pub(crate) duration_ns: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Error {
    pub(crate) step: Step,
    pub(crate) errno: Option<String>,
    pub(crate) code: Option<i32>,
    /// Of TLS.
    pub(crate) name: Option<String>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) peer: Option<String>,
    pub(crate) local: Option<String>,
    pub(crate) conn: Option<u64>,
    pub(crate) target: Option<String>,
    pub(crate) proxy: Option<String>,
    /// Of a proxy.
    #[serde(default)]
    pub(crate) steps: Vec<super::proxies::ProxyStep>,
    pub(crate) duration_ns: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Warning {
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) conn: Option<u64>,
    pub(crate) peer: Option<String>,
    pub(crate) target: Option<String>,
    /// Of what was given up.
    pub(crate) duration_ns: Option<u64>,
}

/// How a run came out.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Ok,
    Negative,
    Error,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Distribution {
    pub(crate) count: u64,
    pub(crate) min_ns: u64,
    pub(crate) mean_ns: u64,
    pub(crate) max_ns: u64,
    pub(crate) stddev_ns: Option<u64>,
    pub(crate) p50_ns: Option<u64>,
    pub(crate) p90_ns: Option<u64>,
    pub(crate) p99_ns: Option<u64>,
    pub(crate) p999_ns: Option<u64>,
    pub(crate) jitter_ns: Option<u64>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutageSpan {
    pub(crate) target: String,
    pub(crate) started: String,
    pub(crate) duration_ns: u64,
    pub(crate) rounds: u64,
    pub(crate) ongoing: Option<bool>,
}

/// A struct that carries the totals beside fields of its own; serde cannot both flatten and deny
/// unknown fields, so the totals are written into each.
macro_rules! with_totals {
    ($name:ident { $($field:ident: $type:ty),* }) => {
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $(pub(crate) $field: $type,)*
            pub(crate) connections: Option<u64>,
            pub(crate) connections_open: Option<u64>,
            pub(crate) denied: Option<u64>,
            pub(crate) accept_queue_max: Option<u64>,
            pub(crate) listen_drops: Option<u64>,
            pub(crate) listen_overflows: Option<u64>,
            pub(crate) resets: Option<u64>,
            pub(crate) sent: Option<u64>,
            pub(crate) received: Option<u64>,
            pub(crate) truncated: Option<u64>,
            pub(crate) not_sent: Option<u64>,
            pub(crate) refused: Option<u64>,
            pub(crate) icmp_errors: Option<u64>,
            pub(crate) icmp_errors_by_name: Option<Vec<Named>>,
            pub(crate) answers_by_name: Option<Vec<Named>>,
            pub(crate) corrupted: Option<u64>,
            pub(crate) foreign: Option<u64>,
            pub(crate) loss_runs: Option<u64>,
            pub(crate) loss_run_max: Option<u64>,
            pub(crate) loss_run_spans: Option<Vec<LossRun>>,
            pub(crate) slots_missed: Option<u64>,
            pub(crate) targets: Option<u64>,
            pub(crate) targets_answered: Option<u64>,
            pub(crate) targets_open: Option<u64>,
            pub(crate) path_mtu: Option<u64>,
            pub(crate) lost: Option<u64>,
            pub(crate) lost_out: Option<u64>,
            pub(crate) lost_back: Option<u64>,
            pub(crate) late: Option<u64>,
            pub(crate) loss_ratio: Option<f64>,
            pub(crate) duplicates: Option<u64>,
            pub(crate) reordered: Option<u64>,
            pub(crate) reordered_ratio: Option<f64>,
            pub(crate) reordering_extent_max: Option<u64>,
            pub(crate) stale: Option<u64>,
            pub(crate) sessions: Option<u64>,
            pub(crate) kernel_drops: Option<u64>,
            pub(crate) kernel_drop_buffers: Option<u64>,
            pub(crate) events_dropped: Option<u64>,
            pub(crate) rate_asked: Option<f64>,
            pub(crate) rate_achieved: Option<f64>,
            pub(crate) cpu_ns: Option<u64>,
            pub(crate) timeouts: Option<u64>,
            pub(crate) bytes_sent: Option<u64>,
            pub(crate) bytes_received: Option<u64>,
            pub(crate) errors: Option<u64>,
            pub(crate) warnings: Option<u64>,
            pub(crate) rounds: Option<u64>,
            pub(crate) rounds_failed: Option<u64>,
            pub(crate) outages: Option<u64>,
            pub(crate) outage_ns: Option<u64>,
            pub(crate) outage_spans: Option<Vec<OutageSpan>>,
            pub(crate) checks_ok: Option<u64>,
            pub(crate) checks_absent: Option<u64>,
            pub(crate) checks_denied: Option<u64>,
            pub(crate) checks_failed: Option<u64>,
            pub(crate) resolve: Option<Distribution>,
            pub(crate) connect: Option<Distribution>,
            pub(crate) tls: Option<Distribution>,
            pub(crate) first_byte: Option<Distribution>,
            pub(crate) round: Option<Distribution>,
            pub(crate) rtt: Option<Distribution>,
            pub(crate) delay_variation_out: Option<Distribution>,
            pub(crate) delay_variation_back: Option<Distribution>,
            pub(crate) send_lateness: Option<Distribution>,
        }
    };
}

with_totals!(Interim { duration_ns: u64 });
with_totals!(TargetSummary { target: String, name: Option<String>, session: Option<u16> });
with_totals!(Summary { duration_ns: u64, outcome: Outcome, exit_code: i32 });

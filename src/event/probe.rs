//! The fields of the events about probes and numbered datagrams: what became of each.

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::value::{duration, nanoseconds, some_nanoseconds};
use crate::address::Address;

/// Whose clock a round-trip time is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// Both time stamps are the network device's own, by its clock: where it has one, and an administrator has
    /// switched them on.
    Hardware,
    /// Both time stamps are the kernel's (SO_TIMESTAMPING).
    Kernel,
    /// One of them at least was taken by this program.
    User,
}

/// Fields of `reply`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Reply<'a> {
    /// Where the probe was sent.
    #[schemars(with = "String")]
    pub target: &'a Address,
    /// Who has answered; without a port where there is none.
    #[schemars(with = "String")]
    pub from: &'a Address,
    /// The number of the probe, from 0.
    pub sequence: u64,
    /// Bytes of the answer.
    pub bytes: u64,
    /// The time to live, or hop limit, that it arrived with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// From the probe's departure to the answer's arrival; of `--measure` without the time that it
    /// was at the reflector.
    #[serde(rename = "rtt_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub rtt: Duration,
    /// How long the probe waited on this host before it left.
    #[serde(rename = "queued_ns", serialize_with = "some_nanoseconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub queued: Option<Duration>,
    /// `--measure`: how long it was at the reflector.
    #[serde(rename = "reflector_ns", serialize_with = "some_nanoseconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub reflector: Option<Duration>,
    /// `--measure`: the number that the reflector gave its answer, from 0: it counts what arrived
    /// there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reflector_sequence: Option<u64>,
    /// `raw-ping --with`: what the answer is: `syn-ack`, `rst`, `port-unreachable`, `datagram`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<&'a str>,
    /// Whose clock the times are of.
    pub clock: Clock,
    /// The number of the target among the others.
    #[serde(skip)]
    pub number: u32,
    /// `--trace`: how many hops the probe was to go.
    #[serde(skip)]
    pub hops: Option<u8>,
    /// How it came among the other answers.
    #[serde(skip)]
    pub arrival: Option<Arrival>,
    /// Of a further answer: the probe had reached the reflector once more, which numbered it anew.
    #[serde(skip)]
    pub reached_twice: bool,
    /// An ICMP error had refused the probe.
    #[serde(skip)]
    pub was_refused: bool,
    /// When it was sent, arrived there, was answered, and arrived here.
    #[serde(skip)]
    pub legs: Option<Legs>,
}

/// The four time stamps of a STAMP round trip (RFC 8762, 4.3), in nanoseconds since 1970, each by the
/// clock of who took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Legs {
    /// T1: sent, by our clock.
    pub sent: u64,
    /// T2: arrived at the reflector, by its clock.
    pub reached: u64,
    /// T3: answered, by its clock.
    pub answered: u64,
    /// T4: arrived here, by our clock.
    pub came: u64,
}

/// Fields of `late`: an answer after the time that was given to it, whether the probe was said to be lost or
/// an ICMP error had refused it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Late<'a>(pub Reply<'a>);

/// Fields of `duplicate`: a further answer to a probe that has been answered.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Duplicate<'a>(pub Reply<'a>);

/// What is no sound answer to a probe: as far as known.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Stray<'a> {
    /// Where the probe was sent that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub target: Option<&'a Address>,
    /// Who has sent it.
    #[schemars(with = "String")]
    pub from: &'a Address,
    /// The number of the probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Bytes of the message.
    pub bytes: u64,
    /// The time to live, or hop limit, that it arrived with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// From the probe's departure to its arrival.
    #[serde(rename = "rtt_ns", serialize_with = "some_nanoseconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub rtt: Option<Duration>,
    /// Whose clock that is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<Clock>,
    /// What is wrong with it: `checksum`, `length`, `payload`, `sequence`; `address`, `id`, `nonce`, of UDP
    /// `port`.
    pub wrong: &'a str,
    /// The number of the target among the others.
    #[serde(skip)]
    pub number: Option<u32>,
}

/// Fields of `corrupted`: from whom was asked, and damaged.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Corrupted<'a>(pub Stray<'a>);

/// Fields of `foreign`: from another, or an answer to another.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Foreign<'a>(pub Stray<'a>);

/// Fields of `hop`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Hop<'a> {
    /// Where the way leads.
    pub target: &'a str,
    /// Which hop it is, from 1.
    pub ttl: u8,
    /// Who has answered there; absent where nobody has.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub from: &'a [IpAddr],
    /// Names of the ICMP errors with which it answered, but for the one that every hop on the way sends.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub errors: &'a [&'static str],
    /// Probes that were to go so far.
    pub sent: u64,
    /// Answers of this hop.
    pub received: u64,
    /// True where it seems to limit how often it answers (RFC 1812, 4.3.2.8; RFC 4443, 2.4): hops behind it, which all
    /// probes reach by it, have answered a larger share of theirs, by more than chance. What it did not answer was
    /// then not lost.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rate_limited: bool,
    /// Round-trip times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<super::Distribution>,
}

/// Fields of `path-mtu`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PathMtu<'a> {
    /// Where the way leads.
    #[schemars(with = "String")]
    pub target: &'a Address,
    /// The largest packet that passes whole, in bytes, its IP header among them.
    pub path_mtu: u64,
    /// Who says that no larger one passes; absent where nobody says so: it is this host's own limit, or
    /// larger ones vanish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// True where larger packets vanish and nobody says so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    /// The number of the target among the others.
    #[serde(skip)]
    pub number: u32,
}

/// Fields of `lost`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Lost<'a> {
    /// Where the probe was sent.
    #[schemars(with = "String")]
    pub target: &'a Address,
    /// Its number.
    pub sequence: u64,
    /// How long was waited for an answer.
    #[serde(rename = "after_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub after: Duration,
    /// The number of the target among the others.
    #[serde(skip)]
    pub number: u32,
}

/// Fields of `not-sent`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct NotSent<'a> {
    /// Where it was to be sent.
    #[schemars(with = "String")]
    pub target: &'a Address,
    /// Its number; absent where it was an answer, or came from stdin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Why the kernel did not take it (`ENOBUFS`).
    pub errno: &'a str,
    /// How many it tells of: more than one only where nobody sees an event for each.
    #[serde(skip)]
    pub datagrams: u64,
    /// The number of the target among the others.
    #[serde(skip)]
    pub number: u32,
}

/// Fields of `kernel-drops`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct KernelDrops<'a> {
    /// The socket whose receive buffer was full.
    #[schemars(with = "String")]
    pub local: &'a Address,
    /// Datagrams that were dropped since it was made (SO_MEMINFO).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_drops: Option<u64>,
    /// The same where the kernel merges datagrams (UDP_GRO): buffers, of one datagram or of many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_drop_buffers: Option<u64>,
    /// The receive buffer that is in force, in bytes (SO_RCVBUF).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recv_buffer: Option<u64>,
    /// The receive buffer that was asked for, in bytes (`--recv-buffer`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recv_buffer_asked: Option<u64>,
    /// Which it is of the sockets that have this address, from 0.
    #[serde(skip)]
    pub nth: usize,
}

/// A numbered datagram that came in a session of `udp-listen --measure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Which session, from 0.
    pub session: usize,
    /// The number that the sender gave it.
    pub sequence: u64,
    /// How it came.
    pub arrival: Arrival,
    /// When it was sent, by the sender's clock, and when it came, by ours: nanoseconds since 1970.
    pub times: (u64, u64),
}

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// In order: no larger number came before it.
    Next {
        /// How many numbers just before it have not come (yet).
        gap: u64,
    },
    /// After one with a larger number (RFC 4737, 3.3).
    Reordered {
        /// How many arrivals ago the first one with a larger number came, from 1 (RFC 4737, 4.2),
        /// duplicates not counted. Where more than 1,024 gaps have come since, the oldest of them
        /// stands for it, at least 1,024 arrivals ago.
        extent: u64,
    },
    /// For a second time, or a further one.
    Duplicate,
    /// 2^20 numbers or more behind the highest: it may be a duplicate or not, and is only counted
    /// as this.
    Stale,
}

/// Fields of `target-summary`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TargetSummary<'a> {
    /// Of whom these are the totals: where probes were sent, or who sent numbered datagrams.
    pub target: &'a str,
    /// The name that was looked up for it, where one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// `udp-listen --measure`: the number that the sender gave its session (RFC 8972), where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<u16>,
    /// The totals.
    #[serde(flatten)]
    pub totals: &'a super::Totals,
}

/// Who sends numbered datagrams: the first of a session has come.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Session<'a> {
    /// Who sends them.
    #[schemars(with = "String")]
    pub peer: &'a Address,
    /// The number that the sender gave the session (RFC 8972); absent where it is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<u16>,
}

//! The fields of the events that tell a step of a socket's life.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Serialize;

use super::probe::Measured;
use super::tcp::{FastOpen, Mptcp, TcpFigures};
use super::value::{Payload, duration, nanoseconds, some_nanoseconds, some_timestamp, time};
use crate::address::Address;
use crate::error::Step;

/// Fields of `resolve`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Resolve<'a> {
    /// The name that was looked up.
    pub name: &'a str,
    /// Its addresses, in the order in which the resolver gave them (RFC 6724).
    pub addresses: &'a [IpAddr],
    /// How long the look-up took.
    #[serde(rename = "duration_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub duration: Duration,
}

/// Fields of `socket`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Socket<'a> {
    /// `AF_INET`, `AF_INET6`, `AF_UNIX`.
    pub family: &'a str,
    /// `SOCK_STREAM`, `SOCK_DGRAM`, `SOCK_SEQPACKET`, `SOCK_RAW`.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// `IPPROTO_TCP`, `IPPROTO_MPTCP` and the like; absent where the family has only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'a str>,
}

/// The value of a socket option, in the unit of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OptionValue {
    /// A number or a switch (0 or 1).
    Number(i64),
    /// A name, such as a device or a congestion algorithm.
    Name(String),
}

/// Fields of `setsockopt`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Setsockopt<'a> {
    /// The option of the call that was made (`SO_RCVBUF`).
    pub option: &'a str,
    /// What was asked for.
    pub requested: &'a OptionValue,
    /// What the kernel then reports as in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<&'a OptionValue>,
}

/// Fields of `bind`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Bind<'a> {
    /// The address that the socket then has.
    #[schemars(with = "String")]
    pub local: &'a Address,
    /// AF_UNIX, bound to a path: the rights of the file, in octal (`0600`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'a str>,
    /// AF_UNIX, bound to a path: the group of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// Fields of `unlink`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Unlink<'a> {
    /// The address whose file it was.
    #[schemars(with = "String")]
    pub local: &'a Address,
    /// Why it was removed.
    pub reason: UnlinkReason,
}

/// Why the file of a unix socket was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnlinkReason {
    /// It was left by a program that is gone: a connect to it was refused.
    Stale,
    /// It was ours, and our socket is closed.
    End,
}

impl UnlinkReason {
    /// Returns the name that events use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::End => "end",
        }
    }
}

/// Fields of `listen`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Listen {
    /// The backlog that was asked for, in connections.
    pub backlog: u32,
    /// The limit of the accept queue that the kernel then reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_backlog: Option<u32>,
}

/// Fields of `accept`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Accept<'a> {
    /// The connection: from 1, in the order of accept or connect.
    pub conn: u64,
    /// Who connected.
    #[schemars(with = "String")]
    pub peer: &'a Address,
    /// Our end of the connection.
    #[schemars(with = "String")]
    pub local: &'a Address,
    /// Whether data came with the SYN; absent where `--fast-open` was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fast_open: Option<bool>,
    /// What became of MPTCP; absent where it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mptcp: Option<Mptcp>,
    /// AF_UNIX: the peer's process (SO_PEERCRED, unix(7)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// AF_UNIX: the peer's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// AF_UNIX: the peer's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// AF_UNIX: the name of the peer's process (proc_pid_comm(5)), where it may be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<&'a str>,
}

/// Fields of `connect`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Connect<'a> {
    /// The connection: from 1, in the order of accept or connect.
    pub conn: u64,
    /// Whom we connected to.
    #[schemars(with = "String")]
    pub peer: &'a Address,
    /// What it is to, as typed; through a proxy too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<&'a str>,
    /// Its number among the others.
    #[serde(skip)]
    pub number: usize,
    /// Our end of the connection; absent where it has no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub local: Option<&'a Address>,
    /// Which attempt on the target it was, from 1: its addresses (RFC 8305), and those of each retry.
    pub attempt: u32,
    /// From the call of connect(2) until the connection stood.
    #[serde(rename = "duration_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub duration: Duration,
    /// SYN segments that were sent again (TCP_INFO).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syn_retransmits: Option<u32>,
    /// What became of the data that was to go with the SYN; absent where `--fast-open` was not asked
    /// for, or this machine does not permit it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fast_open: Option<FastOpen>,
    /// What became of MPTCP; absent where it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mptcp: Option<Mptcp>,
}

/// Fields of `syn-retransmit`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SynRetransmit<'a> {
    /// Whom we try to connect to.
    #[schemars(with = "String")]
    pub peer: &'a Address,
    /// Which attempt it is, as in `connect`.
    pub attempt: u32,
    /// SYN segments that were sent again so far (TCP_INFO in SYN_SENT).
    pub retransmits: u32,
    /// How long after the call of connect(2) that was seen.
    #[serde(rename = "after_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub after: Duration,
}

/// Fields of `send`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Send<'a> {
    /// The connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    /// Datagrams: to whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub peer: Option<&'a Address>,
    /// `udp-send`: the number of the datagram, from 0; `raw-ping`: of the probe to its target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Bytes that the kernel took.
    pub bytes: u64,
    /// Of which layer below what the connection is for it is: `starttls` of the dialogue by which TLS
    /// is asked for; absent of all else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<&'static str>,
    /// The bytes themselves.
    #[serde(flatten)]
    pub data: Payload<'a>,
    /// How many datagrams it tells of: more than one only where nobody sees an event for each.
    #[serde(skip)]
    pub datagrams: u64,
    /// How late it was, where it was to be sent at a time.
    #[serde(skip)]
    pub lateness: Option<Lateness>,
    /// A probe: the number of its target among the others, and how many hops it is to go.
    #[serde(skip)]
    pub probe: Option<(u32, Option<u8>)>,
    /// The name that was looked up for the target: told once, before its probes.
    #[serde(skip)]
    pub name: Option<&'a str>,
    /// How many times of a schedule passed unused before it.
    #[serde(skip)]
    pub missed: u64,
}

impl<'a> Send<'a> {
    /// Tells of bytes on a connection, and of nothing besides.
    #[must_use]
    pub fn on(conn: impl Into<Option<u64>>, bytes: usize, data: &'a [u8]) -> Self {
        Self {
            conn: conn.into(),
            peer: None,
            sequence: None,
            bytes: bytes as u64,
            layer: None,
            data: Payload(data),
            datagrams: 1,
            lateness: None,
            probe: None,
            name: None,
            missed: 0,
        }
    }
}

/// How long after its time each of several datagrams was sent, that were sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lateness {
    /// Of the first.
    pub first: Duration,
    /// How much less of each after it.
    pub step: Duration,
}

impl Lateness {
    /// Returns how late those from an index on were.
    #[must_use]
    pub fn of(self, index: usize) -> Self {
        let less = self.step.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX));
        Self { first: self.first.saturating_sub(less), ..self }
    }
}

/// Fields of `recv`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Recv<'a> {
    /// The connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    /// Datagrams: from whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub peer: Option<&'a Address>,
    /// Datagrams: to which address of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub local: Option<&'a Address>,
    /// Bytes that one recv gave.
    pub bytes: u64,
    /// Datagrams and records: whether it was longer than one recv may return, and was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
    /// Datagrams and records: the bytes that it had when it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datagram_bytes: Option<u64>,
    /// Datagrams of IP: the time to live, or hop limit, that it arrived with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Datagrams of IP: its DSCP (RFC 2474).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dscp: Option<u8>,
    /// Datagrams of IP: its ECN field, 0 to 3 (RFC 3168).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecn: Option<u8>,
    /// Datagrams of IP: the interface that it arrived at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<&'a str>,
    /// Datagrams of IP: when the kernel received it: RFC 3339, UTC, nanoseconds.
    #[serde(serialize_with = "some_timestamp", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub kernel_time: Option<SystemTime>,
    /// `udp-listen --measure`: the number that the sender gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Datagrams of AF_UNIX: the sender's process (SCM_CREDENTIALS, unix(7)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Datagrams of AF_UNIX: the sender's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Datagrams of AF_UNIX: the sender's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Datagrams: true where the sender is not let in; nothing is answered then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub denied: bool,
    /// AF_UNIX: descriptors that came with the bytes (SCM_RIGHTS); they were closed at once.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub descriptors: &'a [Descriptor],
    /// Of which layer below what the connection is for it is: `starttls` of the dialogue by which TLS
    /// is asked for; absent of all else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<&'static str>,
    /// The bytes themselves.
    #[serde(flatten)]
    pub data: Payload<'a>,
    /// How many datagrams it tells of: more than one only where nobody sees an event for each.
    #[serde(skip)]
    pub datagrams: u64,
    /// How many of them were cut.
    #[serde(skip)]
    pub cut: u64,
    /// What was measured of them.
    #[serde(skip)]
    pub measured: &'a [Option<Measured>],
}

impl<'a> Recv<'a> {
    /// Tells of bytes on a connection, and of nothing besides.
    #[must_use]
    pub fn on(conn: impl Into<Option<u64>>, bytes: usize, data: &'a [u8]) -> Self {
        Self {
            conn: conn.into(),
            peer: None,
            local: None,
            bytes: bytes as u64,
            truncated: None,
            datagram_bytes: None,
            ttl: None,
            dscp: None,
            ecn: None,
            interface: None,
            kernel_time: None,
            sequence: None,
            pid: None,
            uid: None,
            gid: None,
            denied: false,
            descriptors: &[],
            layer: None,
            data: Payload(data),
            datagrams: 1,
            cut: 0,
            measured: &[],
        }
    }
}

/// A descriptor that a peer passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Descriptor {
    /// What it is: `file`, `directory`, `socket`, `pipe`, `character-device`, `block-device`,
    /// `anonymous` (an eventfd, an epoll and the like).
    pub kind: &'static str,
    /// What it refers to, as proc_pid_fd(5) shows it: a path, `socket:[INODE]`, `pipe:[INODE]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Fields of `eof`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Eof {
    /// The connection whose peer closed its sending side.
    pub conn: u64,
}

/// Which side of a connection is closed, as shutdown(2) names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum How {
    /// We send no more.
    #[serde(rename = "SHUT_WR")]
    Write,
}

/// Fields of `shutdown`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Shutdown {
    /// The connection.
    pub conn: u64,
    /// Which side.
    pub how: How,
}

/// Fields of `timeout`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Timeout {
    /// The connection, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    /// What was waited for.
    pub step: Step,
    /// How long the wait lasted; where the kernel has given a connection up, how long nothing was heard of the peer.
    #[serde(rename = "after_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub after: Duration,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The peer closed its side, and all was answered.
    Eof,
    /// The peer was silent for too long.
    Timeout,
    /// The connection was reset.
    Reset,
    /// A limit of messages or bytes was reached.
    Limit,
    /// The peer is not let in.
    Denied,
    /// Our own end of work.
    Local,
    /// A signal or the deadline ended the run.
    Signal,
}

impl Reason {
    /// Returns the name that events use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Eof => "eof",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Limit => "limit",
            Self::Denied => "denied",
            Self::Local => "local",
            Self::Signal => "signal",
        }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The peer.
    Peer,
    /// This program.
    Local,
}

/// Fields of `close`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Close {
    /// The connection.
    pub conn: u64,
    /// Why it ended.
    pub reason: Reason,
    /// Who ended its side first, by a FIN or a reset; absent where the connection broke off
    /// without either (ETIMEDOUT, say), and of datagrams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_first: Option<Side>,
    /// Who ended the connection by a reset; absent where nobody did. Our own close with bytes
    /// unread makes the kernel send one, save of datagrams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_by: Option<Side>,
    /// Whether each end got all that the other sent, as far as this end knows: false after a reset,
    /// a failure of the connection, a truncated record, or with bytes unread; absent where it is not
    /// known, because the kernel still has bytes that the peer has not acknowledged, and goes on with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean: Option<bool>,
    /// Bytes that recv gave, in total.
    pub bytes_received: u64,
    /// Bytes that send took, in total.
    pub bytes_sent: u64,
    /// Bytes that had arrived and were never read (SIOCINQ): they make the kernel send a reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_unread: Option<u64>,
    /// TCP: bytes that send took and the peer had not acknowledged (SIOCOUTQ, tcp(7)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_unacknowledged: Option<u64>,
    /// From accept or connect until close.
    #[serde(rename = "duration_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub duration: Duration,
    /// The kernel's figures of a TCP connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpFigures>,
}

/// Fields of `icmp-error`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct IcmpError<'a> {
    /// Where what it is about was sent.
    #[schemars(with = "String")]
    pub target: &'a Address,
    /// The host or router that sent it.
    pub from: IpAddr,
    /// Its type (RFC 792, RFC 4443).
    #[serde(rename = "type")]
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// Its name (`host-unreachable`).
    pub name: &'static str,
    /// The MTU of the next hop, in bytes, where it is about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The number of the datagram or probe that it is about, where that is certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// How long after that was sent it came.
    #[serde(rename = "after_ns", serialize_with = "some_nanoseconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub after: Option<Duration>,
    /// The MPLS labels that the packet had at the router, the outermost first (RFC 4950).
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub mpls: &'a [Label],
    /// The interface of the router, as far as it tells of it (RFC 5837).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<&'a str>,
    /// Whether it is the end of the datagram or probe.
    #[serde(skip)]
    pub refuses: bool,
    /// The probe that it is about.
    #[serde(skip)]
    pub probe: Option<AboutProbe>,
}

/// The probe that an ICMP error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AboutProbe {
    /// The number of its target among the others.
    pub number: u32,
    /// `--trace`: how many hops it was to go.
    pub hops: Option<u8>,
    /// Whether nobody is behind who says so: it is not what every hop on the way says.
    pub is_end: bool,
}

/// An MPLS label (RFC 3032, RFC 4950).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Label {
    /// Its value.
    pub label: u32,
    /// Its traffic class (RFC 5462).
    pub class: u8,
    /// Its time to live.
    pub ttl: u8,
}

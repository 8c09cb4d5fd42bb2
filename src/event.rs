//! What happened: one closed set of facts, from which JSON, schema, man page and text view come.
//!
//! An event borrows what it tells about and says nothing of who listens or how it is shown. Its
//! fields carry the names of the contract; a field that does not apply is `None` and left out.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::address::Address;
use crate::error::{self, ExitCode, Step};

/// Version of the event schema; raised when a field or event is renamed or removed.
pub const SCHEMA: u32 = 1;

/// When an event was emitted. Stamped by the door (`step::Door`), never by who reports.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Wall clock.
    pub time: SystemTime,
    /// Monotonic time since the program started; never less than the stamp before.
    pub elapsed: Duration,
}

/// Someone who is told every event, in the order of their stamps.
pub trait Listener: std::marker::Send {
    /// Returns whether anyone will see events of this kind; where not, what is costly to find out
    /// only for them need not be found out. Totals are counted in any case.
    fn wants(&self, kind: Kind) -> bool;
    /// Takes one event.
    fn hear(&mut self, stamp: Stamp, event: &Event<'_>);
    /// Returns whether more waits to be written than should: whoever can wait, waits for room.
    fn is_full(&self) -> bool;
    /// Reports the totals so far.
    fn interim(&mut self, stamp: Stamp);
    /// Reports the summary and writes out all that waits. Returns the code that the process exits
    /// with: another one than `code` where writing failed.
    fn finish(&mut self, stamp: Stamp, code: ExitCode) -> ExitCode;
}

/// Lists every event once: its variant, its name in JSON, whether it borrows.
macro_rules! events {
    ($(#[doc = $doc:literal] $variant:ident [$($life:lifetime)?] $name:literal,)*) => {
        /// A fact, borrowed from whoever established it.
        #[derive(Clone, Debug)]
        pub enum Event<'a> {
            $(#[doc = $doc] $variant($variant<$($life)?>),)*
        }

        /// Which fact it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $(#[doc = $doc] $variant,)*
        }

        impl Kind {
            /// Every kind, in the order of the contract's table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name that `event` has in JSON.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns what it means, in one sentence.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => $doc.trim_ascii_start(),)* }
            }

            /// Returns the schema of the fields besides the envelope.
            pub fn fields(self, generator: &mut SchemaGenerator) -> Schema {
                match self { $(Self::$variant => <$variant as JsonSchema>::json_schema(generator),)* }
            }
        }

        impl Event<'_> {
            /// Returns which fact it is.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $(Self::$variant(_) => Kind::$variant,)* }
            }
        }

        /// Serializes the fields besides the envelope, as an object.
        impl Serialize for Event<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Self::$variant(fields) => fields.serialize(serializer),)* }
            }
        }

        $(impl<'a> From<$variant<$($life)?>> for Event<'a> {
            fn from(fields: $variant<$($life)?>) -> Self {
                Self::$variant(fields)
            }
        })*
    };
}

events! {
    /// The run begins.
    Start['a] "start",
    /// A name was looked up.
    Resolve['a] "resolve",
    /// A socket was made.
    Socket['a] "socket",
    /// A socket option was set.
    Setsockopt['a] "setsockopt",
    /// A socket got its local address.
    Bind['a] "bind",
    /// A socket listens.
    Listen[] "listen",
    /// A connection came in.
    Accept['a] "accept",
    /// A connection was made.
    Connect['a] "connect",
    /// Bytes went to the kernel.
    Send['a] "send",
    /// Bytes came from the kernel.
    Recv['a] "recv",
    /// The peer closed its sending side.
    Eof[] "eof",
    /// We closed one side.
    Shutdown[] "shutdown",
    /// A wait ended without what it waited for.
    Timeout[] "timeout",
    /// A connection ended.
    Close[] "close",
    /// One thing that this machine permits or not.
    Check['a] "check",
    /// A step failed.
    Error['a] "error",
    /// Something that a reader should know, though no step failed.
    Warning['a] "warning",
    /// The totals so far.
    Interim['a] "interim",
    /// The totals at the end.
    Summary['a] "summary",
}

/// Fields of `start`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Start<'a> {
    /// Version of this schema.
    pub schema: u32,
    /// Version of sockeye.
    pub version: &'a str,
    /// The subcommand.
    pub command: &'a str,
}

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
    /// `IPPROTO_TCP` and the like; absent where the family has only one.
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
    /// AF_UNIX: the peer's process (SO_PEERCRED, unix(7)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// AF_UNIX: the peer's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// AF_UNIX: the peer's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// Fields of `connect`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Connect<'a> {
    /// The connection: from 1, in the order of accept or connect.
    pub conn: u64,
    /// Whom we connected to.
    #[schemars(with = "String")]
    pub peer: &'a Address,
    /// Our end of the connection.
    #[schemars(with = "String")]
    pub local: &'a Address,
    /// Which attempt it was, from 1, among the addresses of the name (RFC 8305).
    pub attempt: u32,
    /// From the call of connect(2) until the connection stood.
    #[serde(rename = "duration_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub duration: Duration,
    /// SYN segments that were sent again (TCP_INFO).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syn_retransmits: Option<u32>,
}

/// Fields of `send`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Send<'a> {
    /// The connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    /// Bytes that the kernel took.
    pub bytes: u64,
    /// The bytes themselves.
    #[serde(flatten)]
    pub data: Payload<'a>,
}

/// Fields of `recv`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Recv<'a> {
    /// The connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    /// Bytes that one recv gave.
    pub bytes: u64,
    /// The bytes themselves.
    #[serde(flatten)]
    pub data: Payload<'a>,
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
    /// How long the wait lasted.
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

/// What the kernel knows of a TCP connection (TCP_INFO, tcp(7)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tcp {
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
    /// Maximum segment size for sending, in bytes.
    pub mss: u32,
    /// Congestion window, in segments.
    pub cwnd: u32,
}

/// Fields of `close`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Close {
    /// The connection.
    pub conn: u64,
    /// Why it ended.
    pub reason: Reason,
    /// Bytes that recv gave, in total.
    pub bytes_received: u64,
    /// Bytes that send took, in total.
    pub bytes_sent: u64,
    /// Bytes that had arrived and were never read (SIOCINQ): they make the kernel send a reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_unread: Option<u64>,
    /// From accept or connect until close.
    #[serde(rename = "duration_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub duration: Duration,
    /// The kernel's figures of a TCP connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckOutcome {
    /// It works.
    Ok,
    /// This machine does not have it.
    Absent,
    /// This machine has it and does not permit it.
    Denied,
    /// It is there and permitted, and did not work.
    Failed,
}

impl CheckOutcome {
    /// Returns the name that events use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Absent => "absent",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// Fields of `check`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Check<'a> {
    /// What was looked at.
    pub name: &'a str,
    /// How it came out.
    pub outcome: CheckOutcome,
    /// What was found, in words or as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<&'a str>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'a str>,
    /// How long the check took.
    #[serde(rename = "duration_ns", serialize_with = "some_nanoseconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub duration: Option<Duration>,
}

/// Fields of `error`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Error<'a> {
    /// The event that would have been.
    pub step: Step,
    /// The name of the errno (`EADDRINUSE`); absent where no system call failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<&'a str>,
    /// The number of the errno.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Step, subject and what happened, in one line.
    pub message: &'a str,
    /// What that usually means here, and what to try next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'a str>,
    /// Who is at the other end, as known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub peer: Option<&'a Address>,
    /// Our own address, as known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub local: Option<&'a Address>,
    /// The connection, as known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    /// What was asked for, as known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<&'a str>,
}

impl<'a> Error<'a> {
    /// Tells of a failed step; `errno` is the name of its errno.
    #[must_use]
    pub fn of(error: &'a error::Error, errno: Option<&'a str>) -> Self {
        Self {
            step: error.step,
            errno,
            code: error.errno.map(|errno| errno as i32),
            message: &error.message,
            hint: error.hint.as_deref(),
            peer: error.peer.as_ref(),
            local: error.local.as_ref(),
            conn: error.conn,
            target: error.target.as_deref(),
        }
    }
}

/// Fields of `warning`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Warning<'a> {
    /// Which warning: a stable name for scripts.
    pub name: &'a str,
    /// The warning in words.
    pub message: &'a str,
}

/// A distribution of durations. Count, mean and the like are over answers; percentiles are over
/// what was sent, so a lost one counts as infinite, and a percentile that falls on one is absent.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Distribution {
    /// How many were measured.
    pub count: u64,
    /// Least.
    pub min_ns: u64,
    /// Arithmetic mean.
    pub mean_ns: u64,
    /// Greatest.
    pub max_ns: u64,
    /// Sample standard deviation (n − 1); absent for one sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stddev_ns: Option<u64>,
    /// Median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ns: Option<u64>,
    /// 90th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p90_ns: Option<u64>,
    /// 99th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ns: Option<u64>,
    /// 99.9th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p999_ns: Option<u64>,
    /// Interarrival jitter (RFC 3550, 6.4.1); absent for one sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ns: Option<u64>,
}

/// What a run adds up to. A total that the subcommand has is there, 0 too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Totals {
    /// Connections that were accepted or made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Connections that are open now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_open: Option<u64>,
    /// Connections that were not let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied: Option<u64>,
    /// Connections that were reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets: Option<u64>,
    /// Waits that ended without what they waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<u64>,
    /// Bytes that send took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Bytes that recv gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
    /// Steps that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<u64>,
    /// Warnings that were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnings: Option<u64>,
    /// `doctor`: checks with outcome `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks_ok: Option<u64>,
    /// `doctor`: checks with outcome `absent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks_absent: Option<u64>,
    /// `doctor`: checks with outcome `denied`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks_denied: Option<u64>,
    /// `doctor`: checks with outcome `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks_failed: Option<u64>,
    /// Time that look-ups of names took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolve: Option<Distribution>,
    /// Time until connections stood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Distribution>,
    /// Time from connection to the first byte that came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<Distribution>,
}

/// Fields of `interim`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Interim<'a> {
    /// Time since the first step.
    #[serde(rename = "duration_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub duration: Duration,
    /// The totals so far.
    #[serde(flatten)]
    pub totals: &'a Totals,
}

/// How a run came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did what it was to do.
    Ok,
    /// It ran, and the answer is no.
    Negative,
    /// A step failed.
    Error,
}

/// Fields of `summary`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Summary<'a> {
    /// How the run came out.
    pub outcome: Outcome,
    /// What the process exits with.
    pub exit_code: u8,
    /// From the first step to the end of the last.
    #[serde(rename = "duration_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub duration: Duration,
    /// The totals.
    #[serde(flatten)]
    pub totals: &'a Totals,
}

/// Bytes that crossed a socket: `data` where they are UTF-8, else `data_base64`; neither where
/// there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a>(pub &'a [u8]);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match std::str::from_utf8(self.0) {
            Ok("") => {}
            Ok(text) => map.serialize_entry("data", text)?,
            Err(_) => map.serialize_entry("data_base64", &BASE64.encode(self.0))?,
        }
        map.end()
    }
}

impl JsonSchema for Payload<'_> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Payload".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "data": { "type": "string", "description": "The bytes, where they are UTF-8." },
                "data_base64": { "type": "string", "contentEncoding": "base64", "description": "The bytes, where they are not UTF-8." }
            }
        })
    }
}

/// Writes a duration as integer nanoseconds.
fn nanoseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// Writes a duration that is there as integer nanoseconds.
fn some_nanoseconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    nanoseconds(&duration.unwrap_or_default(), serializer)
}

/// The schema of a duration: integer nanoseconds.
fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 0 })
}

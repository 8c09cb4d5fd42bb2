//! What happened: one closed set of facts, from which JSON, schema, man page and text view come.
//!
//! An event borrows what it tells about and says nothing of who listens or how it is shown. Its
//! fields carry the names of the contract; a field that does not apply is `None` and left out.

use std::time::{Duration, SystemTime};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use crate::error::ExitCode;

mod probe;
mod proxy;
mod step;
mod tcp;
mod tls;
mod told;
mod total;
mod value;

pub use probe::{
    Arrival, Clock, Corrupted, Duplicate, Foreign, Hop, KernelDrops, Late, Legs, Lost, Measured, NotSent, PathMtu,
    Reply, Session, Stray, TargetSummary,
};
pub use proxy::{Proxy, ProxyProtocol, ProxyStep, ResolvedBy, Tlv};
pub use step::{
    AboutProbe, Accept, Bind, Close, Connect, Descriptor, Eof, How, IcmpError, Label, Lateness, Listen, OptionValue,
    Reason, Recv, Resolve, Send, Setsockopt, Shutdown, Side, Socket, SynRetransmit, Timeout, Unlink, UnlinkReason,
};
pub use tcp::{FastOpen, HeldBack, Mptcp, Queue, Tcp, TcpFigures};
pub use tls::{Certificate, OwnCertificate, Tls};
pub use told::{Check, CheckOutcome, Error, Probe, Round, Start, Warning};
pub use total::{Distribution, Interim, LossRun, Named, OutageSpan, Outcome, Summary, Totals};
pub use value::Payload;

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
pub trait Audience: std::marker::Send {
    /// Returns whether anyone will see events of this kind; where not, what is costly to find out
    /// only for them need not be found out. Totals are counted in any case.
    fn wants(&self, kind: Kind) -> bool;
    /// Returns whether events of this kind, though nobody sees them, change how others are shown; those that do
    /// not are only added up. As with [`Audience::wants`] the answer never changes.
    fn heeds(&self, _kind: Kind) -> bool {
        true
    }
    /// Returns whether no figure needs more than the bytes of all events of this kind together, nor when they came or
    /// went. As with [`Audience::wants`] the answer never changes.
    fn needs_only_bytes(&self, _kind: Kind) -> bool {
        false
    }
    /// Takes one event.
    fn hear(&mut self, stamp: Stamp, event: &Event<'_>);
    /// Adds one event up that nobody is told of. `was_wanted` says that they wanted to be, and that it
    /// would have been too much.
    fn add(&mut self, stamp: Stamp, event: &Event<'_>, was_wanted: bool);
    /// Returns whether more waits to be written than should: whoever can wait, waits for room.
    fn is_full(&self) -> bool;
    /// Takes note of how many things the run is made of, where its walk alone knows that.
    fn expect(&mut self, _count: u64) {}
    /// Shows what is due by now, where something is shown by time.
    fn tick(&mut self, _stamp: Stamp) {}
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
    /// The file of a unix socket was removed.
    Unlink['a] "unlink",
    /// A socket listens.
    Listen[] "listen",
    /// How full an accept queue is: with each report, at its end, and when connections do not get in.
    Queue['a] "queue",
    /// A connection came in.
    Accept['a] "accept",
    /// Nobody answers a connect: a SYN was sent again.
    SynRetransmit['a] "syn-retransmit",
    /// A connection was made.
    Connect['a] "connect",
    /// A proxy has opened the way to what it was asked for.
    Proxy['a] "proxy",
    /// The header of the PROXY protocol was sent, or came.
    ProxyProtocol['a] "proxy-protocol",
    /// We show this certificate to peers.
    OwnCertificate['a] "certificate",
    /// A TLS handshake ended, or the peer's certificate was refused in it.
    Tls['a] "tls",
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
    /// How an open TCP connection goes, with each `--report-every`.
    Tcp[] "tcp",
    /// An answer to a probe came.
    Reply['a] "reply",
    /// An answer came after its probe was said to be lost.
    Late['a] "late",
    /// A further answer came to a probe that has been answered.
    Duplicate['a] "duplicate",
    /// An answer to a probe came damaged: the probe is not answered by it.
    Corrupted['a] "corrupted",
    /// What came is no answer to a probe of ours, though it looks like one.
    Foreign['a] "foreign",
    /// No answer to a probe came in time.
    Lost['a] "lost",
    /// The kernel did not take a datagram.
    NotSent['a] "not-sent",
    /// Numbered datagrams of a new sender come.
    Session['a] "session",
    /// This host's kernel dropped datagrams, because a receive buffer was full.
    KernelDrops['a] "kernel-drops",
    /// An ICMP error came back.
    IcmpError['a] "icmp-error",
    /// What was seen of one hop on the way.
    Hop['a] "hop",
    /// The largest packet that passes whole was found.
    PathMtu['a] "path-mtu",
    /// A target of `--probe` has come to its end.
    Probe['a] "probe",
    /// A round of `--count` ended.
    Round['a] "round",
    /// One thing that this machine permits or not.
    Check['a] "check",
    /// A step failed.
    Error['a] "error",
    /// Something that a reader should know, though no step failed.
    Warning['a] "warning",
    /// The totals of one target.
    TargetSummary['a] "target-summary",
    /// The totals so far.
    Interim['a] "interim",
    /// The totals at the end.
    Summary['a] "summary",
}

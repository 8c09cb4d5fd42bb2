//! What a line about probes and numbered datagrams may hold: types as strict as those beside it.
#![expect(dead_code, reason = "a field is read strictly, whether or not a test looks at it")]

use serde::Deserialize;

use super::events::Outcome;

/// Whose clock a round-trip time is of.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Clock {
    Hardware,
    Kernel,
    User,
}

/// Three events have the same fields.
macro_rules! replies {
    ($($name:ident)*) => {
        $(#[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            pub(crate) target: String,
            pub(crate) from: String,
            pub(crate) sequence: u64,
            pub(crate) bytes: u64,
            pub(crate) ttl: Option<u8>,
            pub(crate) rtt_ns: u64,
            pub(crate) queued_ns: Option<u64>,
            pub(crate) reflector_ns: Option<u64>,
            pub(crate) reflector_sequence: Option<u64>,
            pub(crate) answer: Option<String>,
            pub(crate) clock: Clock,
        })*
    };
}

replies!(Reply Late Duplicate);

/// Two events have the same fields.
macro_rules! strays {
    ($($name:ident)*) => {
        $(#[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            pub(crate) target: Option<String>,
            pub(crate) from: String,
            pub(crate) sequence: Option<u64>,
            pub(crate) bytes: u64,
            pub(crate) ttl: Option<u8>,
            pub(crate) rtt_ns: Option<u64>,
            pub(crate) clock: Option<Clock>,
            pub(crate) wrong: String,
        })*
    };
}

strays!(Corrupted Foreign);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hop {
    pub(crate) target: String,
    pub(crate) ttl: u8,
    #[serde(default)]
    pub(crate) from: Vec<String>,
    #[serde(default)]
    pub(crate) errors: Vec<String>,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    #[serde(default)]
    pub(crate) rate_limited: bool,
    pub(crate) rtt: Option<super::events::Distribution>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PathMtu {
    pub(crate) target: String,
    pub(crate) path_mtu: u64,
    pub(crate) from: Option<String>,
    #[serde(default)]
    pub(crate) silent: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Label {
    pub(crate) label: u32,
    pub(crate) class: u8,
    pub(crate) ttl: u8,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LossRun {
    pub(crate) target: String,
    pub(crate) sequence: u64,
    pub(crate) probes: u64,
    pub(crate) started: String,
    pub(crate) duration_ns: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lost {
    pub(crate) target: String,
    pub(crate) sequence: u64,
    pub(crate) after_ns: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotSent {
    pub(crate) target: String,
    pub(crate) sequence: Option<u64>,
    pub(crate) errno: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    pub(crate) peer: String,
    pub(crate) session: Option<u16>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KernelDrops {
    pub(crate) local: String,
    pub(crate) kernel_drops: Option<u64>,
    pub(crate) kernel_drop_buffers: Option<u64>,
    pub(crate) recv_buffer: Option<u64>,
    pub(crate) recv_buffer_asked: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) count: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Probe {
    pub(crate) target: String,
    pub(crate) conn: Option<u64>,
    pub(crate) outcome: Outcome,
    pub(crate) exit_code: i32,
    pub(crate) duration_ns: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Round {
    pub(crate) target: String,
    pub(crate) round: u64,
    pub(crate) conn: Option<u64>,
    pub(crate) outcome: Outcome,
    pub(crate) exit_code: i32,
    pub(crate) duration_ns: u64,
}

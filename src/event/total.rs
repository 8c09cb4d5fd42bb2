//! The fields of the events that add up: distributions, totals, `interim`, `summary`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::value::{duration, nanoseconds};

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
    /// `serve`: most connections that were seen waiting to be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_queue_max: Option<u64>,
    /// `serve`: connection attempts that the listener dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_drops: Option<u64>,
    /// `serve`: connection attempts that found an accept queue of this network namespace full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_overflows: Option<u64>,
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

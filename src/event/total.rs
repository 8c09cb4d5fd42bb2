//! The fields of the events that add up: distributions, totals, `interim`, `summary`.

use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Serialize;

use super::value::{duration, nanoseconds, some_nanoseconds, time, timestamp};
use crate::error::ExitCode;

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
    /// Interarrival jitter (RFC 3550, 6.4.1); absent for one sample, and of several targets together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ns: Option<u64>,
}

impl Distribution {
    /// Returns the figures of a single probe: of one there is no share that was below another.
    #[must_use]
    pub fn of_one(self) -> Self {
        Self { p50_ns: None, p90_ns: None, p99_ns: None, p999_ns: None, ..self }
    }

    /// Returns the figures of probes to several targets: from one of them to another the delay does not vary,
    /// it is another.
    #[must_use]
    pub fn of_several(self) -> Self {
        Self { jitter_ns: None, ..self }
    }
}

/// A span in which every round of a target failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OutageSpan {
    /// Whose rounds failed, as typed.
    pub target: String,
    /// When the first round that failed began: RFC 3339, UTC, nanoseconds.
    #[serde(serialize_with = "timestamp")]
    #[schemars(schema_with = "time")]
    pub started: SystemTime,
    /// Until the begin of the next round that was ok, or the end of the run.
    #[serde(rename = "duration_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub duration: Duration,
    /// How many rounds failed in it.
    pub rounds: u64,
    /// True where no round was ok since; else absent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ongoing: bool,
}

/// How many of something there were that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Named {
    /// Its name (`host-unreachable`).
    pub name: &'static str,
    /// How many.
    pub count: u64,
}

/// A row of probes to one target that were not answered in time (RFC 3357).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LossRun {
    /// Whom they were sent to.
    pub target: String,
    /// The number of the first.
    pub sequence: u64,
    /// How many they were.
    pub probes: u64,
    /// When the first was sent: RFC 3339, UTC, nanoseconds.
    #[serde(serialize_with = "timestamp")]
    #[schemars(schema_with = "time")]
    pub started: SystemTime,
    /// From then until the last was sent.
    #[serde(rename = "duration_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub duration: Duration,
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
    /// Connections, or datagrams, that were not let in.
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
    /// Datagrams or probes that were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Datagrams that were received, those that were not let in among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// Datagrams that were received and cut, because one recv could not take all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated: Option<u64>,
    /// Datagrams that could not be sent: the kernel did not take them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_sent: Option<u64>,
    /// Datagrams or probes that an ICMP error was the end of; of `udp-send` without `--measure` only where each
    /// error tells which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// ICMP errors that came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_errors: Option<u64>,
    /// `raw-ping`: how many there were of each name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_errors_by_name: Option<Vec<Named>>,
    /// `raw-ping --with`: how many answers there were of each kind (`syn-ack`, `rst`, `port-unreachable`,
    /// `datagram`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers_by_name: Option<Vec<Named>>,
    /// `raw-ping`: answers of whom was asked that were damaged (RFC 7680: their probes are lost).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrupted: Option<u64>,
    /// `raw-ping`: what came from another, or was an answer to another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign: Option<u64>,
    /// `raw-ping`: rows of probes to one target that were not answered in time (RFC 3357).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_runs: Option<u64>,
    /// `raw-ping`: probes of the longest of these rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_run_max: Option<u64>,
    /// `raw-ping`: the first thousand of these rows, in the order in which they began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_run_spans: Option<Vec<LossRun>>,
    /// `raw-ping`: times of the schedule that passed unused, because this program was held up: their
    /// probes went later, and none as a burst.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots_missed: Option<u64>,
    /// `raw-ping`: targets that were probed; of `connect --probe` those whose probe has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<u64>,
    /// `raw-ping`: targets that have answered at least once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets_answered: Option<u64>,
    /// `connect --probe`: targets that are open, with all that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets_open: Option<u64>,
    /// `raw-ping --path-mtu`: the largest packet that passes whole, in bytes, its IP header among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u64>,
    /// `raw-ping`, `--measure`: probes or datagrams that were sent and not answered in time, those that were
    /// answered later or refused apart (RFC 6673); of `udp-listen` numbers below the highest that came which did not
    /// come (RFC 7680).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// `--measure`: of `lost`, those that did not reach the reflector (RFC 7680), as far as the
    /// numbers of its answers tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_out: Option<u64>,
    /// `--measure`: of `lost`, those whose answer did not come back (RFC 7680); of a
    /// stateless reflector, which has no numbers of its own, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_back: Option<u64>,
    /// `raw-ping`, `--measure`: answers that came after the time that was given to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late: Option<u64>,
    /// (lost + late) / sent, so that what was refused is no loss; of `udp-listen` lost / (lost + received once) (RFC 7680, 4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_ratio: Option<f64>,
    /// `raw-ping`, `--measure`: further copies of what had come (RFC 5560).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<u64>,
    /// `raw-ping`, `--measure`: datagrams or answers that came after one with a greater number (RFC 4737, 3.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reordered: Option<u64>,
    /// `--measure`: `reordered` by what came once (RFC 4737, 4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reordered_ratio: Option<f64>,
    /// `--measure`: most arrivals by which one came too late (RFC 4737, 4.2); at most 1,024 are seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reordering_extent_max: Option<u64>,
    /// `--measure`: datagrams so late that it cannot be told whether they had come before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<u64>,
    /// `udp-listen --measure`: senders' sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u64>,
    /// Datagrams that this host's kernel dropped because the receive buffer was full (SO_MEMINFO). Of a raw socket it
    /// counts before it filters: what is for others too, and on loopback our own requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_drops: Option<u64>,
    /// The same where the kernel merges datagrams (UDP_GRO): buffers, of one datagram or of many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_drop_buffers: Option<u64>,
    /// Events that nobody was told of, because their reader was too slow; they are in the totals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_dropped: Option<u64>,
    /// `udp-send`, `raw-ping`: datagrams or probes a second that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_asked: Option<f64>,
    /// `udp-send`, `raw-ping`: datagrams or probes a second that the kernel took, from the first to the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_achieved: Option<f64>,
    /// `udp-send`, `raw-ping`: processor time of this program.
    #[serde(rename = "cpu_ns", serialize_with = "some_nanoseconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub cpu: Option<Duration>,
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
    /// With `--count`: rounds that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<u64>,
    /// With `--count`: rounds that came out otherwise than `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds_failed: Option<u64>,
    /// With `--count`: spans in which every round of a target failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outages: Option<u64>,
    /// With `--count`: how long these spans lasted, all together.
    #[serde(rename = "outage_ns", serialize_with = "some_nanoseconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub outage: Option<Duration>,
    /// With `--count`: the first thousand of these spans, in the order in which they began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage_spans: Option<Vec<OutageSpan>>,
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
    /// Time until connections stood; with `--count` a round without one counts as lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Distribution>,
    /// Time that TLS handshakes took which came to an end; those of a STARTTLS dialogue not in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Distribution>,
    /// Time from connection, or the end of its TLS handshake, to the first byte that came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<Distribution>,
    /// With `--count`: time that rounds took; one that failed counts as lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round: Option<Distribution>,
    /// Round-trip times (RFC 2681), of `udp-send --measure` those of late answers too; a probe that was
    /// lost or refused, and of `raw-ping` a late one, counts as infinite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<Distribution>,
    /// `--measure`: by how much the delay from the sender changed from one datagram to the next that
    /// came, either way (RFC 3393); `jitter_ns` is RFC 3550's. `udp-listen` reckons from the time in the
    /// packet, so that its wait on the sender's host is contained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_variation_out: Option<Distribution>,
    /// `--measure`: the same of the answers' way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_variation_back: Option<Distribution>,
    /// `udp-send`, `raw-ping`: how long after its time each datagram or probe was given to the kernel, where
    /// each has a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_lateness: Option<Distribution>,
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

/// How a run came out, or a round of it.
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

impl Outcome {
    /// Returns how something came out that a run would exit with `code` for.
    #[must_use]
    pub fn of(code: ExitCode) -> Self {
        match code {
            ExitCode::Ok => Self::Ok,
            ExitCode::No => Self::Negative,
            _ => Self::Error,
        }
    }

    /// Returns the name that events use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Negative => "negative",
            Self::Error => "error",
        }
    }
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

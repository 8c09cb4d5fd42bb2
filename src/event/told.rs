//! The fields of the events that are no step: the start, rounds, checks, errors, warnings.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::proxy::ProxyStep;
use super::total::Outcome;
use super::value::{duration, nanoseconds, some_nanoseconds};
use crate::address::Address;
use crate::error::{self, ExitCode, Step};

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

/// Fields of `round`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Round<'a> {
    /// Whom it was about, as typed.
    pub target: &'a str,
    /// Its number among the others.
    #[serde(skip)]
    pub number: usize,
    /// Which round of the target it was, from 1.
    pub round: u64,
    /// Its connection; absent where none stood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    /// How it came out.
    pub outcome: Outcome,
    /// What a run of this round alone would exit with.
    pub exit_code: u8,
    /// From the begin of its first step to the end of its last.
    #[serde(rename = "duration_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub duration: Duration,
}

/// Fields of `probe`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Probe<'a> {
    /// Whom it was about, as typed.
    pub target: &'a str,
    /// Its number among the others.
    #[serde(skip)]
    pub number: usize,
    /// Its connection; absent where none stood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    /// How it came out, with all that was asked for: proxies, TLS.
    pub outcome: Outcome,
    /// What a run of this target alone would exit with.
    pub exit_code: u8,
    /// From the begin of its first step to the end of its last.
    #[serde(rename = "duration_ns", serialize_with = "nanoseconds")]
    #[schemars(schema_with = "duration")]
    pub duration: Duration,
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
    /// Which failure of TLS: a stable name for scripts (`unknown-issuer`, `not-tls`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
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
    /// The number of that among the targets, where a connect failed.
    #[serde(skip)]
    pub number: usize,
    /// The proxy that was to lead there and could not be connected to, as typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<&'a str>,
    /// Of a proxy: each question of the dialogue and its answer, the last one until it failed.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub steps: &'a [ProxyStep],
    /// How long a look-up or a connect took until it failed.
    #[serde(rename = "duration_ns", serialize_with = "some_nanoseconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub duration: Option<Duration>,
    /// What a run that ends with it exits with; of the whole run the summary tells.
    #[serde(skip)]
    pub exit_code: ExitCode,
    /// How long it took after that to find out why; not part of the step, and not reported.
    #[serde(skip)]
    pub explained: Duration,
}

impl<'a> Error<'a> {
    /// Tells of a failed step; `errno` is the name of its errno.
    #[must_use]
    pub fn of(error: &'a error::Error, errno: Option<&'a str>) -> Self {
        Self {
            step: error.step,
            errno,
            code: error.errno.map(|errno| errno as i32),
            name: error.name,
            message: &error.message,
            hint: error.hint.as_deref(),
            peer: error.peer.as_ref(),
            local: error.local.as_ref(),
            conn: error.conn,
            target: error.target.as_deref(),
            number: error.number,
            proxy: error.proxy.as_deref(),
            steps: &[],
            duration: error.took,
            exit_code: error.exit_code(),
            explained: error.explained,
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
    /// The connection that it is about, as known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    /// Who is at the other end of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub peer: Option<&'a Address>,
    /// What was asked for, as known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<&'a str>,
    /// How long a step took until it was given up.
    #[serde(rename = "duration_ns", serialize_with = "some_nanoseconds", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub duration: Option<Duration>,
}

impl<'a> Warning<'a> {
    /// Makes a warning about nobody in particular.
    #[must_use]
    pub fn of(name: &'a str, message: &'a str) -> Self {
        Self { name, message, conn: None, peer: None, target: None, duration: None }
    }
}

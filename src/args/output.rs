//! What every subcommand takes: how to report, which family, until when.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

use super::target::Family;
use super::value;

/// The form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For scripts: one JSON object a line.
    Json,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On terminals, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Options of every subcommand.
#[derive(Clone, Debug, Args)]
pub struct Output {
    /// Report as JSON, one object a line
    #[arg(short, long, help_heading = "Report", conflicts_with = "format")]
    json: bool,
    /// Report in this form
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Report")]
    format: Option<Format>,
    /// Write the JSON events to this file as well
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub events: Option<PathBuf>,
    /// Report more: each setsockopt, sends of a relay, TCP figures
    #[arg(short, long, action = ArgAction::Count, help_heading = "Report")]
    verbose: u8,
    /// Report results and errors only
    #[arg(short, long, help_heading = "Report", conflicts_with = "verbose")]
    pub quiet: bool,
    /// Colour the text
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", help_heading = "Report")]
    pub color: Color,
    /// Use IPv4 only
    #[arg(short = '4', long, help_heading = "Network", conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 only
    #[arg(short = '6', long, help_heading = "Network")]
    ipv6: bool,
    /// Numeric only: look no name up
    #[arg(short, long, help_heading = "Network")]
    pub numeric: bool,
    /// End the whole run after this long (5s, 200ms, 1m 30s; a bare number is seconds)
    #[arg(long, value_name = "D", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    pub deadline: Option<Duration>,
}

impl Output {
    /// Returns the form of the report.
    #[must_use]
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format.unwrap_or(Format::Text) }
    }

    /// Returns whether more than usual is to be reported.
    #[must_use]
    pub fn is_verbose(&self) -> bool {
        self.verbose > 0
    }

    /// Returns the only family to use, if one was named.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        match (self.ipv4, self.ipv6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            (false, false) => None,
        }
    }

    /// Checks what clap cannot.
    pub(super) fn check(&self) -> Result<(), String> {
        match &self.events {
            Some(path) if path.as_os_str().is_empty() => Err("--events needs the name of a file".to_owned()),
            _ => Ok(()),
        }
    }

    /// Checks a host against `-4`, `-6` and `-n`.
    pub(super) fn check_host(&self, host: &super::Host) -> Result<(), String> {
        if host.is_excluded_by(self.family()) {
            let flag = if self.ipv4 { "-4" } else { "-6" };
            return Err(format!("{host} is not of the family that {flag} keeps to"));
        }
        match host {
            super::Host::Name(name) if self.numeric => {
                Err(format!("'{name}' is a name, and -n (--numeric) looks no name up"))
            }
            _ => Ok(()),
        }
    }
}

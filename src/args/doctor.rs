//! `doctor`: the words of the check-up.

use std::time::Duration;

use clap::Args;

use super::output::Output;
use super::value;

/// Show what this machine permits, with a real round trip through each kind of socket
///
/// A line of a table, or a `check` event, for each thing looked at. All traffic stays on loopback.
/// Exits with 0 if every round trip that this machine permits worked, else with 1.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  sockeye doctor
  sockeye doctor -6 -v
  sockeye doctor --json")]
pub struct Doctor {
    /// Wait at most this long for each step of a round trip
    #[arg(short = 'w', long, value_name = "D", default_value = "5s", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    pub timeout: Duration,
    /// How to report.
    #[command(flatten)]
    pub output: Output,
}

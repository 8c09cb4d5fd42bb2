//! Reports while a run goes on.

use std::time::Duration;

use clap::Args;

use super::value;

/// What is reported again and again.
#[derive(Clone, Debug, Default, Args)]
pub struct Series {
    /// Report the totals so far each time this long has passed, and the TCP figures of every
    /// connection on which bytes moved
    #[arg(long, value_name = "D", value_parser = value::tick, allow_negative_numbers = true, help_heading = "Report")]
    pub report_every: Option<Duration>,
}

//! How often a client does what it does: until it works, or again and again.

use std::time::Duration;

use clap::Args;

use super::value;

/// Options of a client that repeats.
#[derive(Clone, Debug, Args)]
pub struct Repeat {
    /// Where a connect fails, try again with back-off until the port opens, for at most this long
    #[arg(long, value_name = "D", value_parser = value::patience, allow_negative_numbers = true, conflicts_with = "count", help_heading = "Repeat")]
    pub retry_for: Option<Duration>,
    /// Do the whole of it this many times, with statistics and outage spans; 0 is for ever
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Repeat")]
    pub count: Option<u64>,
    /// Begin a round this long after the one before began; 0 is without a pause
    #[arg(long, value_name = "D", default_value = "1s", value_parser = value::delay, allow_negative_numbers = true, requires = "count", help_heading = "Repeat")]
    pub interval: Duration,
}

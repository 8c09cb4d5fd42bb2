//! How often a client does what it does: until it works.

use std::time::Duration;

use clap::Args;

use super::value;

/// Options of a client that repeats.
#[derive(Clone, Debug, Args)]
pub struct Repeat {
    /// Where a connect fails, try again with back-off until the port opens, for at most this long
    #[arg(long, value_name = "D", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Repeat")]
    pub retry_for: Option<Duration>,
}

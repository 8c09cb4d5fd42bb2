//! How long a client waits: one patience, one name, overridden phase by phase.

use std::time::Duration;

use clap::Args;

use super::value;

/// Bounds of a client's waits.
#[derive(Clone, Debug, Args)]
pub struct Patience {
    /// Wait at most this long for each thing that is waited for; in a relay only --idle-timeout
    /// bounds the wait for data
    #[arg(short = 'w', long, value_name = "D", default_value = "10s", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    pub timeout: Duration,
    /// Wait at most this long for a name to resolve [default: --timeout]
    #[arg(long, value_name = "D", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    resolve_timeout: Option<Duration>,
    /// Wait at most this long for a connection, over all addresses of the name
    /// [default: --timeout]
    #[arg(long, value_name = "D", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    connect_timeout: Option<Duration>,
    /// End after this long without a byte either way [default: --timeout for answers, none for a
    /// relay]
    #[arg(long, value_name = "D", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    pub idle_timeout: Option<Duration>,
}

impl Patience {
    /// Returns the bound of a look-up.
    #[must_use]
    pub fn resolve(&self) -> Duration {
        self.resolve_timeout.unwrap_or(self.timeout)
    }

    /// Returns the bound of connecting to one target, over all its addresses.
    #[must_use]
    pub fn connect(&self) -> Duration {
        self.connect_timeout.unwrap_or(self.timeout)
    }

    /// Returns the bound of the wait for an answer.
    #[must_use]
    pub fn answer(&self) -> Duration {
        self.idle_timeout.unwrap_or(self.timeout)
    }
}

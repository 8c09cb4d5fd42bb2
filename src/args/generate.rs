//! `completions`, `man`, `schema`: what sockeye prints about itself.

use clap::{Args, ValueEnum};

/// A shell that a completion script is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Elvish.
    Elvish,
    /// fish.
    Fish,
    /// PowerShell.
    #[value(name = "powershell")]
    PowerShell,
    /// zsh.
    Zsh,
}

/// Print the completion script of a shell
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  sockeye completions bash >/usr/share/bash-completion/completions/sockeye
  sockeye completions zsh >/usr/share/zsh/site-functions/_sockeye
  sockeye completions fish >/usr/share/fish/vendor_completions.d/sockeye.fish")]
pub struct Completions {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// Print a man page
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  sockeye man | man -l -
  sockeye man connect >/usr/share/man/man1/sockeye-connect.1")]
pub struct Man {
    /// Which subcommand; without one, sockeye itself
    #[arg(value_enum, value_name = "SUBCOMMAND")]
    pub subcommand: Option<Page>,
}

/// A subcommand that has a man page: each that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Page {
    /// `sockeye-serve(1)`.
    Serve,
    /// `sockeye-connect(1)`.
    Connect,
    /// `sockeye-udp-send(1)`.
    UdpSend,
    /// `sockeye-udp-listen(1)`.
    UdpListen,
    /// `sockeye-raw-ping(1)`.
    RawPing,
    /// `sockeye-unix-serve(1)`.
    UnixServe,
    /// `sockeye-doctor(1)`.
    Doctor,
    /// `sockeye-completions(1)`.
    Completions,
    /// `sockeye-man(1)`.
    Man,
    /// `sockeye-schema(1)`.
    Schema,
}

/// Print the JSON Schema of the events
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  sockeye schema
  sockeye schema >sockeye-events.schema.json")]
pub struct Schema {}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_subcommand_has_a_page() {
        let cli = crate::args::Cli::command();
        let known: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
        let pages: Vec<String> = Page::value_variants()
            .iter()
            .filter_map(|page| Some(page.to_possible_value()?.get_name().to_owned()))
            .collect();
        assert_eq!(known, pages);
    }
}

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
  sockeye man >/usr/share/man/man1/sockeye.1
  sockeye man connect | man -l -")]
pub struct Man {
    /// Which subcommand; without one, sockeye itself
    #[arg(value_name = "SUBCOMMAND")]
    pub subcommand: Option<String>,
}

impl Man {
    /// Checks that the subcommand exists.
    pub(super) fn check(&self, clap: &clap::Command) -> Result<(), String> {
        match &self.subcommand {
            Some(name) if clap.find_subcommand(name).is_none() => {
                let known: Vec<&str> = clap.get_subcommands().map(clap::Command::get_name).collect();
                Err(format!("'{name}' is no subcommand; there are {}", known.join(", ")))
            }
            _ => Ok(()),
        }
    }
}

/// Print the JSON Schema of the events
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  sockeye schema
  sockeye schema >sockeye-events.schema.json")]
pub struct Schema {}

//! The words that every stream server has, whatever it listens on: what it answers, and its limits.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use clap::Args;

use super::answer::{Answer, AnswerWords};
use super::connect::OnPeerClose;
use super::value;

/// What a server does with its peers, and how many and how long.
#[derive(Clone, Debug, Args)]
pub struct Service {
    #[command(flatten)]
    answer_words: AnswerWords,
    /// Relay this terminal or pipe with one peer, both ways: stdin to it, what it sends to stdout
    #[arg(long, help_heading = "Answers", conflicts_with_all = ["echo", "prefix", "when", "when_regex", "otherwise", "discard", "messages", "max_connections", "crlf", "lf", "escape", "hex"])]
    pub relay: bool,
    /// What a relay does when the peer has closed its side: end, or send the rest of stdin first
    /// [default: exit on a terminal, drain elsewhere]
    #[arg(long, value_enum, value_name = "ACTION", requires = "relay", help_heading = "Answers")]
    pub on_peer_close: Option<OnPeerClose>,
    /// The rule that the words say.
    #[arg(skip)]
    pub answer: Answer,
    /// Let this many connections wait to be accepted; the kernel cuts it to net.core.somaxconn
    /// [default: 65535]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)), allow_negative_numbers = true, help_heading = "Limits")]
    backlog: Option<u32>,
    /// Take at most this many bytes with one recv; what it does not take stays for the next
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = value::recv_size, allow_negative_numbers = true, help_heading = "Limits")]
    pub recv_size: NonZeroUsize,
    /// Close a connection whose peer is silent for this long; of datagrams: end when none comes for
    /// this long [default: none]
    #[arg(short = 'w', long, value_name = "D", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    pub timeout: Option<Duration>,
    /// Close a connection after this many answers; 0 closes it when it is accepted
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Limits")]
    pub messages: Option<u64>,
    /// End after this many connections, or datagrams
    #[arg(long, value_name = "N", value_parser = value::at_least_one, allow_negative_numbers = true, help_heading = "Limits")]
    pub count: Option<NonZeroU64>,
    /// Hold at most this many connections at once; further ones wait in the backlog
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Limits")]
    pub max_connections: Option<NonZeroUsize>,
}

impl Service {
    /// Checks what clap cannot, and makes the rule of the words.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.answer = self.answer_words.check()?;
        if matches!(self.answer, Answer::Discard) && self.messages.is_some_and(|messages| messages > 0) {
            return Err("--messages counts answers, and --discard gives none".to_owned());
        }
        if self.relay && self.count.is_some_and(|count| count.get() > 1) {
            return Err("--relay has one peer, so that --count can only be 1".to_owned());
        }
        Ok(())
    }

    /// Checks what datagrams cannot have: they come without a connection.
    pub(super) fn check_datagrams(&self) -> Result<(), String> {
        let of_connections = [
            (self.backlog.is_some(), "--backlog"),
            (self.messages.is_some(), "--messages"),
            (self.max_connections.is_some(), "--max-connections"),
            (self.on_peer_close.is_some(), "--on-peer-close"),
        ];
        match of_connections.into_iter().find(|(is_given, _)| *is_given) {
            Some((_, option)) => Err(format!("{option} is for connections, and --type dgram has none")),
            None => Ok(()),
        }
    }

    /// Returns how many connections may wait to be accepted.
    #[must_use]
    pub fn backlog(&self) -> u32 {
        /// The kernel cuts it to net.core.somaxconn: as many as this machine gives.
        const MOST: u32 = 65_535;
        self.backlog.unwrap_or(MOST)
    }
}

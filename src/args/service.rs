//! The words that every stream server has, whatever it listens on: what it answers, and its limits.

use std::net::IpAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use clap::Args;

use super::answer::{Answer, AnswerWords};
use super::connect::OnPeerClose;
use super::fault::Fault;
use super::tls::ServerTls;
use super::value;

/// What a server does with its peers, and how many and how long.
#[derive(Clone, Debug, Args)]
pub struct Service {
    #[command(flatten)]
    answer_words: AnswerWords,
    /// Send a pattern to every peer, SIZE bytes of it or without end: the lines of RFC 864. What
    /// the peer sends is read and dropped
    #[arg(long, value_name = "SIZE", value_parser = value::amount, allow_negative_numbers = true, help_heading = "Answers", conflicts_with_all = ["echo", "prefix", "when", "when_regex", "otherwise", "discard", "messages", "crlf", "lf", "escape", "hex"])]
    source_bytes: Option<Option<u64>>,
    /// Send what one peer sends to all others. One for which more than 1 MiB waits is closed
    #[arg(long, help_heading = "Answers", conflicts_with_all = ["echo", "prefix", "when", "when_regex", "otherwise", "discard", "source_bytes", "messages", "crlf", "lf", "escape", "hex"])]
    broker: bool,
    /// Relay this terminal or pipe with one peer, both ways: stdin to it, what it sends to stdout
    #[arg(long, help_heading = "Answers", conflicts_with_all = ["echo", "prefix", "when", "when_regex", "otherwise", "discard", "source_bytes", "broker", "messages", "max_connections", "crlf", "lf", "escape", "hex"])]
    pub relay: bool,
    /// What a relay does when the peer has closed its side: end, or send the rest of stdin first
    /// [default: exit on a terminal, drain elsewhere]
    #[arg(long, value_enum, value_name = "ACTION", requires = "relay", help_heading = "Answers")]
    pub on_peer_close: Option<OnPeerClose>,
    /// Misbehave on purpose, to test clients: reset (each connection at once; unix-serve: when bytes
    /// have come), hang (accept, then neither read nor send), never-accept (with --backlog N),
    /// half-close (send nothing more from the start, and read on), slow=RATE (send and read no
    /// faster: 1000/s is bytes, or 100kbit/s), close-after=SIZE (in the middle of an answer too;
    /// with --discard of bytes received), delay=D (before each answer). Of TLS: expired, wrong-name,
    /// self-signed (show such a certificate), handshake-cut (close in the middle of our flight)
    #[arg(long, value_name = "FAULT", value_parser = Fault::parse, help_heading = "Faults", conflicts_with_all = ["relay", "broker"])]
    pub fault: Option<Fault>,
    /// TLS.
    #[command(flatten)]
    pub tls: ServerTls,
    /// An address that a certificate which is made for this run is to be for.
    #[arg(skip)]
    pub tls_host: Option<IpAddr>,
    /// The rule that the words say.
    #[arg(skip)]
    pub answer: Answer,
    /// Let this many connections wait to be accepted; the kernel cuts it to net.core.somaxconn
    /// [default: 65535]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)), allow_negative_numbers = true, help_heading = "Limits")]
    backlog: Option<u32>,
    /// Take at most this many bytes with one recv; what it does not take stays for the next
    /// [default: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = value::recv_size, allow_negative_numbers = true, help_heading = "Limits")]
    recv_size: Option<NonZeroUsize>,
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
        self.answer = match self.source_bytes {
            Some(size) => Answer::Source { size },
            None if self.broker => Answer::Broker,
            None => self.answer_words.check()?,
        };
        if matches!(self.answer, Answer::Discard) && self.messages.is_some_and(|messages| messages > 0) {
            return Err("--messages counts answers, and --discard gives none".to_owned());
        }
        if self.relay && self.count.is_some_and(|count| count.get() > 1) {
            return Err("--relay has one peer, so that --count can only be 1".to_owned());
        }
        self.tls.check(self.fault)?;
        self.fault.map_or(Ok(()), |fault| self.check_fault(fault))
    }

    /// Refuses words that a fault leaves without effect, or that leave it without one.
    fn check_fault(&self, fault: Fault) -> Result<(), String> {
        let name = fault.name();
        let has_answer = self.answer_words.is_given() || self.source_bytes.is_some() || self.messages.is_some();
        if fault.is_mute() && has_answer {
            return Err(format!("--fault {name} gives no answer: words for one would do nothing"));
        }
        if self.messages == Some(0) {
            return Err(format!("--messages 0 closes at accept, before --fault {name} could show"));
        }
        if fault.is_deaf() && self.recv_size.is_some() {
            return Err(format!("--recv-size would do nothing: --fault {name} receives nothing"));
        }
        match (fault, &self.answer) {
            (Fault::NeverAccept, _) => {
                let limits = [
                    (self.timeout.is_some(), "--timeout"),
                    (self.count.is_some(), "--count"),
                    (self.max_connections.is_some(), "--max-connections"),
                ];
                match limits.into_iter().find(|(is_given, _)| *is_given) {
                    Some((_, limit)) => Err(format!("{limit} would do nothing: --fault {name} has no connection")),
                    None => Ok(()),
                }
            }
            (Fault::Delay(_), Answer::Discard) => {
                Err("--discard gives no answer that --fault delay could hold".to_owned())
            }
            (Fault::CloseAfter(after), Answer::Source { size: Some(size) }) if after >= *size => {
                Err(format!("--fault close-after={after} never comes: --source-bytes ends at {size} bytes"))
            }
            _ => Ok(()),
        }
    }

    /// Checks what datagrams cannot have: they come without a connection.
    pub(super) fn check_datagrams(&self) -> Result<(), String> {
        let of_connections = [
            (self.backlog.is_some(), "--backlog"),
            (self.messages.is_some(), "--messages"),
            (self.max_connections.is_some(), "--max-connections"),
            (self.on_peer_close.is_some(), "--on-peer-close"),
            (self.source_bytes.is_some(), "--source-bytes"),
        ];
        if let Some((_, option)) = of_connections.into_iter().find(|(is_given, _)| *is_given) {
            return Err(format!("{option} is for connections, and --type dgram has none"));
        }
        match self.fault {
            None | Some(Fault::Delay(_)) => Ok(()),
            Some(Fault::Hang) if self.timeout.is_some() || self.count.is_some() => {
                Err("--timeout and --count would do nothing: --fault hang takes no datagram".to_owned())
            }
            Some(Fault::Hang) => Ok(()),
            Some(fault) => Err(format!("--fault {} is for connections, and --type dgram has none", fault.name())),
        }
    }

    /// Returns the most bytes that one recv may take.
    #[must_use]
    pub fn recv_size(&self) -> NonZeroUsize {
        const DEFAULT: NonZeroUsize = NonZeroUsize::MIN.saturating_add((64 << 10) - 1);
        self.recv_size.unwrap_or(DEFAULT)
    }

    /// Returns how many connections may wait to be accepted.
    #[must_use]
    pub fn backlog(&self) -> u32 {
        /// The kernel cuts it to net.core.somaxconn: as many as this machine gives.
        const MOST: u32 = 65_535;
        self.backlog.unwrap_or(MOST)
    }
}

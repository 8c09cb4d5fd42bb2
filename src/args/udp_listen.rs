//! `udp-listen`: the words of a receiver of datagrams.

use std::net::IpAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use clap::Args;

use super::answer::{Answer, AnswerWords};
use super::join::Join;
use super::listen_address::ListenAddress;
use super::output::Output;
use super::series::Series;
use super::socket_options::{self, SocketOptions};
use super::target::Host;
use super::value;

/// What is done with the datagrams that come.
#[derive(Clone, Debug)]
pub enum Reception {
    /// Their data goes to stdout.
    Print,
    /// They are answered by a rule, or dropped.
    Answer(Answer),
    /// They are numbered: what is missing, late or twice is told.
    Measure {
        /// Each is answered as a stateful STAMP reflector does (RFC 8762).
        reflects: bool,
    },
}

impl Reception {
    /// Returns whether datagrams are numbered.
    #[must_use]
    pub fn measures(&self) -> bool {
        matches!(self, Self::Measure { .. })
    }

    /// Returns whether datagrams are answered.
    #[must_use]
    pub fn answers(&self) -> bool {
        match self {
            Self::Print | Self::Answer(Answer::Discard) => false,
            Self::Answer(_) => true,
            Self::Measure { reflects } => *reflects,
        }
    }
}

/// Receive datagrams of many peers: print, answer, count, or measure
#[derive(Clone, Debug, Args)]
#[command(override_usage = "sockeye udp-listen [OPTIONS] [ADDR:]PORT")]
#[command(after_help = "Examples:
  sockeye udp-listen 9000
  sockeye udp-listen 127.0.0.1:9000 --echo --prefix 'Echo=>'
  sockeye udp-listen 9000 --discard --report-every 1s
  sockeye udp-listen 862 --measure --json
  sockeye udp-listen 5353 --join 224.0.0.251 --count 10
  sockeye udp-listen 5004 --join 232.1.1.1@eth0,from=192.0.2.7 --discard

Without a behaviour the data of each datagram goes to stdout. An answer goes from the address that was asked. What \
this host's kernel dropped, because the receive buffer was full, is told apart from what the network lost: in \
datagrams with --no-gro, --measure or --count, else in buffers, of which the kernel may make one of many datagrams. \
--timeout, --count and --deadline end it, and so does Ctrl-C, all with exit 0 and the totals; Ctrl-\\ (SIGQUIT) \
prints the totals so far.")]
#[command(mut_args(socket_options::without_tcp))]
#[command(mut_arg("recv_buffer", |arg| arg.help(
    "Receive buffer in bytes (SO_RCVBUF; past the limit SO_RCVBUFFORCE where permitted) [default: 32MiB]"
)))]
pub struct UdpListen {
    /// Where to listen.
    #[arg(help = "Where to listen: PORT, :PORT, ADDR:PORT or [V6]:PORT; port 0 is any free one, without ADDR it is every address, IPv6 and IPv4; of a name the first address", value_name = "[ADDR:]PORT", value_parser = ListenAddress::parse)]
    pub listen: ListenAddress,
    #[command(flatten)]
    answer_words: AnswerWords,
    /// Measure loss, order and delay variation of numbered datagrams, and answer each: a stateful
    /// STAMP reflector (RFC 8762), for udp-send --measure and others
    #[arg(long, help_heading = "Answers", conflicts_with_all = ["echo", "prefix", "when", "when_regex", "otherwise", "discard", "crlf", "lf", "escape", "hex"])]
    measure: bool,
    /// Measure only what comes, and answer nothing
    #[arg(long, requires = "measure", help_heading = "Answers")]
    one_way: bool,
    /// What is done with datagrams.
    #[arg(skip = Reception::Print)]
    pub reception: Reception,
    /// Join a multicast group, on an interface, of one source only (repeatable)
    #[arg(long, value_name = "GROUP[@INTERFACE][,from=SOURCE]", value_parser = Join::parse, help_heading = "Multicast")]
    pub join: Vec<Join>,
    /// Take at most this many bytes of a datagram; the rest of it is cut off, and told
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = value::recv_size, allow_negative_numbers = true, help_heading = "Limits")]
    pub recv_size: NonZeroUsize,
    /// End when no datagram comes for this long [default: none]
    #[arg(short = 'w', long, value_name = "D", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    pub timeout: Option<Duration>,
    /// End after this many datagrams
    #[arg(long, value_name = "N", value_parser = value::at_least_one, allow_negative_numbers = true, help_heading = "Limits")]
    pub count: Option<NonZeroU64>,
    /// Do not let the kernel merge datagrams (UDP_GRO); its drops are then counted in datagrams
    #[arg(long, help_heading = "Socket options")]
    pub no_gro: bool,
    /// Options of the socket.
    #[command(flatten)]
    pub options: SocketOptions,
    /// What to report while the run goes on.
    #[command(flatten)]
    pub series: Series,
    /// How to report.
    #[command(flatten)]
    pub output: Output,
}

impl UdpListen {
    /// Checks what clap cannot, and makes the reception of the words.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.output.check()?;
        self.options.check_udp()?;
        self.reception = match (self.measure, self.answer_words.is_given()) {
            (true, _) => Reception::Measure { reflects: !self.one_way },
            (false, true) => Reception::Answer(self.answer_words.check()?),
            (false, false) => Reception::Print,
        };
        if self.measure && self.recv_size.get() < crate::packet::stamp::LEN {
            return Err(format!("--measure reads {} bytes of each datagram", crate::packet::stamp::LEN));
        }
        self.check_place()
    }

    /// Checks where it listens, and which groups it joins, against the family kept to.
    fn check_place(&mut self) -> Result<(), String> {
        self.listen.check(self.options.source.as_ref(), &self.output)?;
        for join in &self.join {
            let of_two = match &self.listen.host {
                Some(Host::Ip(ip, _)) => ip.is_ipv4() != join.group.is_ipv4(),
                Some(Host::Name(_)) => false,
                None => Host::Ip(join.group, None).is_excluded_by(self.output.family()),
            };
            if of_two {
                return Err(format!("--join {join} is not of the family that is listened on"));
            }
            if join.interface.is_none() && is_link_local(join.group) && join.group.is_ipv6() {
                return Err(format!(
                    "{} is link-local: --join {}@INTERFACE says on which link",
                    join.group, join.group
                ));
            }
        }
        Ok(())
    }
}

/// Returns whether a multicast group is one of a single link (RFC 4291, 2.7).
fn is_link_local(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xf == 2,
    }
}

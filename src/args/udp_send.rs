//! `udp-send`: the words of a sender of datagrams.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::connect;
use super::message::Encoding;
use super::output::Output;
use super::series::Series;
use super::socket_options::{self, SocketOptions};
use super::target::{Host, Target};
use super::value::{self, MOST_DATA, Rate};
use crate::packet::stamp;

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// These, one after the other, again and again.
    Messages(Vec<Vec<u8>>),
    /// A pattern of so many bytes.
    Pattern(usize),
    /// STAMP test packets of so many bytes (RFC 8762).
    Measure {
        /// The size of each.
        size: usize,
        /// Whether they are answered.
        reflects: bool,
    },
    /// What stdin gives: a line of a terminal, or a read of a pipe.
    Stdin,
}

/// When datagrams are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pacing {
    /// One each time that so long has passed.
    Interval(Duration),
    /// So many a second.
    Rate(f64),
    /// As fast as the kernel takes them.
    Flood,
}

/// Send datagrams: once, at a rate, as fast as the kernel takes them, or to measure the way
#[derive(Clone, Debug, Args)]
#[command(override_usage = "sockeye udp-send [OPTIONS] TARGET [MESSAGE]...")]
#[command(after_help = "Examples:
  sockeye udp-send localhost 9000 hello
  sockeye udp-send localhost:9000 1 2 --wait 1s
  sockeye udp-send 192.0.2.7:9000 --rate 1000/s --size 200 --deadline 10s
  sockeye udp-send '[::1]:9000' --flood --size 1400 --deadline 5s --json -q
  sockeye udp-send example.org 862 --measure --count 100 --interval 20ms
  sockeye udp-send 239.1.2.3:5004 --multicast-interface eth0 --ttl 4 hello
  sockeye udp-send localhost:9000 <request

With MESSAGEs each is sent once; with --count, --rate or --flood they are sent in turn, again and again. Without \
MESSAGE, --size, --flood or --measure stdin is sent: a datagram a line of a terminal, or a read of a pipe; what comes \
back goes to stdout. --measure needs the other end: `sockeye udp-listen 862 --measure`, or any STAMP reflector.

Exit: after the last send it stays for ICMP errors, 50 ms or as long as --wait says: a port that nobody listens on is \
exit 7. With --wait, 0 when all are answered, 1 when some are, 8 when none is; with --measure, 0 when any is.

--interval and --rate are met to the microsecond, at a price: before each send 100 µs are spun away (more where this \
machine wakes later than that), so from some 10,000/s on a whole core is busy. `cpu_ns` in the JSON summary says how \
much it was, `send_lateness` how well it went. What cannot be made up for within 100 ms is not sent later as a burst. \
Ctrl-\\ (SIGQUIT) prints the totals so far.")]
#[command(mut_args(socket_options::without_tcp))]
#[command(mut_arg("send_buffer", |arg| arg.help(
    "Send buffer in bytes (SO_SNDBUF; past the limit SO_SNDBUFFORCE where permitted) [default: the system's, with \
     --rate or --flood 4MiB]"
)))]
#[command(mut_arg("recv_buffer", |arg| arg.help(
    "Receive buffer in bytes (SO_RCVBUF; past the limit SO_RCVBUFFORCE where permitted) [default: with --measure 32MiB]"
)))]
pub struct UdpSend {
    /// HOST:PORT, HOST PORT, [V6%ZONE]:PORT or V6 PORT, then the MESSAGEs
    #[arg(value_names = ["TARGET", "MESSAGE"], num_args = 1.., required = true)]
    words: Vec<OsString>,
    /// Whom to send to.
    #[arg(skip = (Host::Name(String::new()), 0))]
    pub target: (Host, u16),
    /// What to send.
    #[arg(skip = Load::Stdin)]
    pub load: Load,
    #[command(flatten)]
    encoding: Encoding,
    /// Send this many datagrams, what could not be sent among them; 0 is for ever [default: each MESSAGE once, of --measure 4; with
    /// --rate or --flood for ever]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Repeat")]
    count: Option<u64>,
    /// Send a datagram this long after the one before [default: 1s]
    #[arg(long, value_name = "D", value_parser = value::delay, allow_negative_numbers = true, conflicts_with_all = ["rate", "flood"], help_heading = "Repeat")]
    interval: Option<Duration>,
    /// Send at this rate: 1000/s, or 100Mbit/s of UDP payload
    #[arg(long, value_name = "RATE", value_parser = value::rate, conflicts_with = "flood", help_heading = "Repeat")]
    rate: Option<Rate>,
    /// Send as fast as the kernel takes them
    #[arg(long, help_heading = "Repeat")]
    flood: bool,
    /// Send datagrams of this many bytes: their number, from 0, then the pattern of RFC 864
    #[arg(long, value_name = "SIZE", value_parser = size, allow_negative_numbers = true, help_heading = "Load")]
    size: Option<usize>,
    /// Send STAMP test packets (RFC 8762), and measure loss, order, round-trip time and delay
    /// variation each way; a udp-listen --measure or another STAMP reflector answers
    #[arg(long, help_heading = "Load")]
    measure: bool,
    /// Measure one way: a udp-listen --measure --one-way counts, and answers nothing
    #[arg(long, requires = "measure", conflicts_with = "wait", help_heading = "Load")]
    one_way: bool,
    /// Wait this long for an answer to each datagram, and after the last one
    #[arg(long, value_name = "D", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    pub wait: Option<Duration>,
    /// Wait at most this long for each thing that is waited for: an answer of --measure
    #[arg(short = 'w', long, value_name = "D", default_value = "2s", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    timeout: Duration,
    /// Wait at most this long for a name to resolve
    #[arg(long, value_name = "D", default_value = "10s", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    pub resolve_timeout: Duration,
    /// Let it be a broadcast address (SO_BROADCAST)
    #[arg(long, help_heading = "Socket options")]
    pub broadcast: bool,
    /// Send to a multicast group by this interface (IP_MULTICAST_IF, IPV6_MULTICAST_IF)
    #[arg(long, value_name = "NAME", value_parser = value::interface, help_heading = "Socket options")]
    pub multicast_interface: Option<String>,
    /// Do not let the kernel cut datagrams of one buffer (UDP_SEGMENT), as it does above 20,000/s:
    /// what a full device drops of a buffer it does not tell
    #[arg(long, help_heading = "Socket options")]
    pub no_gso: bool,
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

impl UdpSend {
    /// Returns whether stdin is sent.
    #[must_use]
    pub fn is_relay(&self) -> bool {
        self.load == Load::Stdin
    }

    /// Returns whether STAMP test packets are sent that are answered.
    #[must_use]
    pub fn measures(&self) -> bool {
        matches!(self.load, Load::Measure { reflects: true, .. })
    }

    /// Returns how many datagrams are sent; `None` is for ever.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        let default = match &self.load {
            Load::Stdin => 0,
            _ if self.flood || self.rate.is_some() => 0,
            Load::Messages(messages) => messages.len() as u64,
            Load::Pattern(_) => 1,
            Load::Measure { .. } => 4,
        };
        Some(self.count.unwrap_or(default)).filter(|count| *count > 0)
    }

    /// Returns when they are sent.
    #[must_use]
    pub fn pacing(&self) -> Pacing {
        /// Of datagrams, where none is asked for.
        const INTERVAL: Duration = Duration::from_secs(1);
        match self.rate {
            _ if self.flood => Pacing::Flood,
            Some(Rate::Units(rate)) => Pacing::Rate(rate),
            Some(Rate::Bits(bits)) => Pacing::Rate(bits / 8.0 / self.mean_size()),
            None => Pacing::Interval(self.interval.unwrap_or(INTERVAL)),
        }
    }

    /// Returns the least time between two datagrams of stdin: none, unless it was asked for.
    #[must_use]
    pub fn pause(&self) -> Duration {
        match self.rate {
            Some(Rate::Units(rate)) => Duration::from_secs_f64(1.0 / rate),
            _ => self.interval.unwrap_or_default(),
        }
    }

    /// Returns how long a STAMP answer may take.
    #[must_use]
    pub fn answer_within(&self) -> Duration {
        self.wait.unwrap_or(self.timeout)
    }

    /// Returns the mean size of a datagram in bytes: what a rate in bits is reckoned from.
    fn mean_size(&self) -> f64 {
        let size = match &self.load {
            Load::Messages(messages) => messages.iter().map(Vec::len).sum::<usize>() as f64 / messages.len() as f64,
            Load::Pattern(size) | Load::Measure { size, .. } => *size as f64,
            Load::Stdin => 0.0,
        };
        size.max(1.0)
    }

    /// Checks what clap cannot, and makes target and load of the words.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.output.check()?;
        self.options.check_udp()?;
        let (target, rest) = connect::one_target(&self.words)?;
        let Target::Inet(host, port) = target else {
            return Err(format!("{target} is a unix socket: `sockeye connect {target} --type dgram` sends to it"));
        };
        self.output.check_host(&host)?;
        self.check_source(&host)?;
        let messages = rest.iter().map(|text| self.encoding.message(text)).collect::<Result<Vec<_>, _>>()?;
        self.load = self.load_of(messages)?;
        self.check_words(&host)?;
        self.target = (host, port);
        Ok(())
    }

    fn load_of(&self, messages: Vec<Vec<u8>>) -> Result<Load, String> {
        if messages.is_empty() {
            if self.encoding.is_given() {
                return Err("--crlf, --lf, --escape and --hex need a MESSAGE".to_owned());
            }
            return match (self.measure, self.size) {
                (true, Some(size)) if size < stamp::LEN => {
                    Err(format!("a STAMP test packet has at least {} bytes (RFC 8762)", stamp::LEN))
                }
                (true, size) => Ok(Load::Measure { size: size.unwrap_or(stamp::LEN), reflects: !self.one_way }),
                (false, Some(size)) => Ok(Load::Pattern(size)),
                // What a pattern has where only its pace is given: a small packet.
                (false, None) if self.flood => Ok(Load::Pattern(64)),
                (false, None) => Ok(Load::Stdin),
            };
        }
        if self.measure || self.size.is_some() {
            let other = if self.measure { "--measure" } else { "--size" };
            return Err(format!("{other} makes its own datagrams: it goes without MESSAGE"));
        }
        match messages.iter().find(|message| message.len() > MOST_DATA) {
            Some(message) => Err(format!("a MESSAGE has {} bytes, and a datagram takes {MOST_DATA}", message.len())),
            None => Ok(Load::Messages(messages)),
        }
    }

    fn check_words(&self, host: &Host) -> Result<(), String> {
        if self.is_relay() && matches!(self.rate, Some(Rate::Bits(_))) {
            return Err("a rate in bits needs the size of the datagrams: MESSAGE or --size".to_owned());
        }
        if self.size == Some(0) && matches!(self.rate, Some(Rate::Bits(_))) {
            return Err("a rate in bits cannot be kept by datagrams of 0 bytes".to_owned());
        }
        let Host::Ip(ip, _) = host else { return Ok(()) };
        if self.multicast_interface.is_some() && !ip.is_multicast() {
            return Err(format!("--multicast-interface is for a multicast group, and {host} is none"));
        }
        if self.broadcast && ip.is_ipv6() {
            return Err(format!("--broadcast is for IPv4, and {host} is IPv6, which has multicast instead"));
        }
        Ok(())
    }

    fn check_source(&self, target: &Host) -> Result<(), String> {
        let Some(source) = &self.options.source else { return Ok(()) };
        self.output.check_host(&source.host)?;
        match (&source.host, target) {
            (Host::Ip(from, _), Host::Ip(to, _)) if from.is_ipv4() != to.is_ipv4() => {
                Err(format!("--source {} and {target} are of two families", source.host))
            }
            _ => Ok(()),
        }
    }
}

/// Parses the size of a datagram.
fn size(text: &str) -> Result<usize, String> {
    match value::size(text)? {
        bytes if bytes > MOST_DATA as u64 => Err(format!("a datagram takes at most {MOST_DATA} bytes (RFC 768)")),
        bytes => Ok(bytes as usize),
    }
}

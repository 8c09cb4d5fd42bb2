//! `raw-ping`: the words of a pinger.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::aim::{Aim, MOST};
use super::output::{Format, Output};
use super::port::Port;
use super::series::Series;
use super::socket_options::{self, SocketOptions, Source};
use super::target::{Family, Host};
use super::value::{self, MOST_DATA, Rate};

/// The size of a pattern's data that tells it from others: a nonce.
pub const NONCE: usize = 8;

/// What kind of probe is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProbeKind {
    /// An echo request of ICMP.
    #[default]
    Icmp,
    /// A SYN of TCP: a SYN-ACK and a RST are both answers.
    TcpSyn,
    /// A datagram of UDP: a port unreachable is an answer too.
    Udp,
}

/// By which socket echo requests go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SocketChoice {
    /// SOCK_RAW where it is permitted, else SOCK_DGRAM.
    #[default]
    Auto,
    /// SOCK_RAW: it needs CAP_NET_RAW.
    Raw,
    /// SOCK_DGRAM: net.ipv4.ping_group_range permits it.
    Dgram,
}

/// When the probes of a schedule go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Spacing {
    /// One each time that the interval has passed.
    #[default]
    Periodic,
    /// At random, so many in the long run (RFC 2330, 11.1.1): nothing periodic is missed.
    Poisson,
}

/// When probes go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tempo {
    /// By a schedule, so much time from one send to the next, over all targets.
    Paced {
        /// Of each target. `None` where the rate alone counts.
        interval: Option<Duration>,
        /// Over all targets, probes a second.
        rate: Option<f64>,
    },
    /// As fast as answers come.
    Flood,
    /// The next when the last is answered.
    Adaptive,
    /// One to each target, as fast as answers come.
    Sweep {
        /// How often a silent target is tried again.
        retries: u32,
        /// By what the time-out is multiplied with each try.
        backoff: f64,
        /// Over all targets, probes a second.
        rate: Option<f64>,
    },
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quest {
    /// Whether and when targets answer.
    Ping,
    /// The hops on the way.
    Trace,
    /// The largest packet that passes whole.
    PathMtu,
}

/// Ping hosts and whole networks, and the path between: who answers, when, and why not
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  sockeye raw-ping example.org
  sockeye raw-ping 192.0.2.1 2001:db8::1 --count 20 --interval 200ms
  sockeye raw-ping 192.0.2.0/24 --sweep --retry 1 --timeout 300ms
  sockeye raw-ping @hosts.txt --rate 500/s --count 0 --report-every 10s --json
  sockeye raw-ping example.org --trace
  sockeye raw-ping example.org --path-mtu
  sockeye raw-ping example.org --with tcp-syn --port 443
  sockeye raw-ping 192.0.2.1 --count 100 --interval 20ms --max-loss 1 --max-rtt 50ms -q

--with tcp-syn measures: a RST is an answer as good as a SYN-ACK. Whether a port is open `sockeye connect -z` tells, \
by its exit code too.

Raw sockets need CAP_NET_RAW: `sudo setcap cap_net_raw+ep $(command -v sockeye)`. Without it datagram sockets of ICMP do \
the same, but for corrupted answers, which the kernel drops; net.ipv4.ping_group_range permits them.

An answer is told by address, identifier, sequence and a nonce of 64 bits (where --size has room for it), an ICMP error \
by the packet that it quotes. Every probe that was sent ends in one of four: received, late, lost or refused (an ICMP \
error about it). What the kernel did not take is not-sent. Round-trip times are from the kernel's transmit time stamp \
to its receive time stamp; where one is missing, `clock` is `user`; where the network device stamps both by a \
clock of its own, they are from these, and `clock` is `hardware`. With --flood and --sweep the time of departure is \
ours.

Exit: 0 when every target has answered at least once, 8 when none has, 9 when ICMP errors came instead (7 where they \
said port-unreachable), 1 when some have, or --max-loss or --max-rtt is exceeded. Ctrl-\\ (SIGQUIT) prints the totals so far.")]
#[command(mut_args(socket_options::without_tcp))]
#[command(mut_arg("reuse_port", |arg| arg.hide(true)))]
#[command(mut_arg("report_every", |arg| arg.help("Report the totals so far each time this long has passed")))]
#[command(mut_arg("verbose", |arg| arg.help("Report more: each setsockopt, each packet that goes")))]
#[command(mut_arg("source", |arg| arg.short(None).value_name("ADDR").help("Use this address of ours")))]
#[command(mut_arg("ttl", |arg| arg.short('t').help(
    "Time to live, or hop limit, of what is sent; with --trace the most hops that are looked at [default: the system's; \
     with --trace 30]"
)))]
#[command(mut_arg("interface", |arg| arg.short('I')))]
#[command(mut_arg("deadline", |arg| arg.short('w')))]
pub struct RawPing {
    /// A host, an address, a network (192.0.2.0/24), a range (192.0.2.1-192.0.2.9), @FILE with a list of
    /// these, or - for a list on stdin
    #[arg(value_name = "TARGET", num_args = 1.., required = true, value_parser = OsStringValueParser::new().try_map(|word: OsString| aim(&word)))]
    pub targets: Vec<Aim>,
    /// Send so many probes to each target, or to each hop of --trace; 0 is for ever [default: 4; with
    /// --until-reply for ever]
    #[arg(
        short,
        long,
        value_name = "N",
        allow_negative_numbers = true,
        conflicts_with = "sweep",
        help_heading = "Probes"
    )]
    count: Option<u64>,
    /// Probe each target so often; the sends to many are spread evenly; 0 is as --flood [default: 1s]
    #[arg(short, long, value_name = "D", value_parser = value::delay, allow_negative_numbers = true, conflicts_with_all = ["flood", "adaptive", "sweep"], help_heading = "Probes")]
    interval: Option<Duration>,
    /// Send at this rate over all targets, like 500/s
    #[arg(long, value_name = "RATE", value_parser = value::rate, conflicts_with_all = ["flood", "adaptive"], help_heading = "Probes")]
    rate: Option<Rate>,
    /// Send as fast as answers come, 64 probes in flight; a line an answer only with --verbose
    #[arg(short, long, conflicts_with_all = ["adaptive", "sweep"], help_heading = "Probes")]
    flood: bool,
    /// Send the next probe to a target when the last was answered
    #[arg(short = 'A', long, conflicts_with = "sweep", help_heading = "Probes")]
    adaptive: bool,
    /// When probes go
    #[arg(long, value_enum, value_name = "WHEN", default_value = "periodic", conflicts_with_all = ["flood", "adaptive", "sweep"], help_heading = "Probes")]
    pub schedule: Spacing,
    /// One probe to each target, as fast as answers come, 1,000 in flight
    #[arg(long, help_heading = "Probes")]
    pub sweep: bool,
    /// With --sweep: try a silent target so often again
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100), allow_negative_numbers = true, requires = "sweep", help_heading = "Probes")]
    retry: u32,
    /// With --retry: multiply the time-out by this with each try
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = backoff, allow_negative_numbers = true, requires = "retry", help_heading = "Probes")]
    backoff: f64,
    /// End with a target when it has answered once
    #[arg(long, conflicts_with = "sweep", help_heading = "Probes")]
    pub until_reply: bool,
    /// Data of each echo request, or of a datagram, in bytes [default: 56]
    #[arg(short, long, value_name = "SIZE", value_parser = size, allow_negative_numbers = true, help_heading = "Probes")]
    size: Option<usize>,
    /// Fill the data after the nonce with this, in hexadecimal, again and again [default: the pattern of
    /// RFC 864]
    #[arg(short, long, value_name = "HEX", value_parser = pattern, help_heading = "Probes")]
    pattern: Option<Pattern>,
    /// By which socket echo requests go
    #[arg(long, value_enum, value_name = "TYPE", default_value = "auto", help_heading = "Probes")]
    pub socket: SocketChoice,
    /// What is sent
    #[arg(long, value_enum, value_name = "KIND", default_value = "icmp", help_heading = "Probes")]
    pub with: ProbeKind,
    /// With tcp-syn and udp: to which port [default: 80 of TCP, 33434 of UDP]
    #[arg(long, value_name = "PORT", value_parser = Port::parse, help_heading = "Probes")]
    port: Option<Port>,
    /// Show every hop on the way, all at once, with statistics of each (traceroute and mtr in one)
    #[arg(long, conflicts_with_all = ["path_mtu", "sweep", "flood", "adaptive", "until_reply"], help_heading = "Probes")]
    trace: bool,
    /// Find the largest packet that passes whole, and who says so
    #[arg(long, conflicts_with_all = ["sweep", "flood", "adaptive", "until_reply", "rate", "interval", "count", "size", "dont_fragment"], help_heading = "Probes")]
    path_mtu: bool,
    /// Take all addresses of a name, not the first alone
    #[arg(long, help_heading = "Targets")]
    pub all_addresses: bool,
    /// Take the first and the last address of an IPv4 network too, where its prefix is shorter than /31
    #[arg(long, help_heading = "Targets")]
    pub include_broadcast: bool,
    /// Wait so long for an answer to each probe; what comes later is late
    #[arg(short = 'W', long, value_name = "D", default_value = "2s", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    pub timeout: Duration,
    /// Wait at most this long for a name to resolve
    #[arg(long, value_name = "D", default_value = "10s", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    pub resolve_timeout: Duration,
    /// Exit with 1 where a target lost more than this percentage, late answers and refusals among it
    #[arg(long, value_name = "PERCENT", value_parser = percent, allow_negative_numbers = true, help_heading = "Limits")]
    pub max_loss: Option<f64>,
    /// Exit with 1 where a round trip took longer than this
    #[arg(long, value_name = "D", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    pub max_rtt: Option<Duration>,
    /// At the end show round-trip times as a time line and a histogram
    #[arg(long, conflicts_with_all = ["live", "json", "trace", "path_mtu"], help_heading = "Report")]
    pub plot: bool,
    /// Show one screen, a row a target; q ends the run
    #[arg(long, conflicts_with_all = ["json", "quiet", "verbose", "trace", "path_mtu"], help_heading = "Report")]
    pub live: bool,
    /// Options of the sockets.
    #[command(flatten)]
    pub options: SocketOptions,
    /// What to report while the run goes on.
    #[command(flatten)]
    pub series: Series,
    /// How to report.
    #[command(flatten)]
    pub output: Output,
}

/// Bytes that fill a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<u8>);

impl RawPing {
    /// Returns how many bytes of data a probe has: a SYN has none.
    #[must_use]
    pub fn size(&self) -> usize {
        /// As ping(8) has it.
        const SIZE: usize = 56;
        if self.with == ProbeKind::TcpSyn { 0 } else { self.size.unwrap_or(SIZE) }
    }

    /// Returns the only family to use, if words keep to one: that of our address is one.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        let of_source = self.options.source.as_ref().and_then(|source| match source.host {
            Host::Ip(IpAddr::V4(_), _) => Some(Family::V4),
            Host::Ip(IpAddr::V6(_), _) => Some(Family::V6),
            Host::Name(_) => None,
        });
        self.output.family().or(of_source)
    }

    /// Returns how many probes each target gets; `None` is for ever.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        let default = if self.until_reply { 0 } else { 4 };
        Some(self.count.unwrap_or(default)).filter(|count| *count > 0)
    }

    /// Returns how many probes each target gets, where that is known: what is not answered decides it of a sweep, and
    /// what is found of a search.
    #[must_use]
    pub fn probes_each(&self) -> Option<u64> {
        match self.tempo() {
            Tempo::Sweep { .. } => None,
            _ if self.until_reply || self.quest() != Quest::Ping => None,
            _ => self.count(),
        }
    }

    /// Returns what is looked for.
    #[must_use]
    pub fn quest(&self) -> Quest {
        match (self.trace, self.path_mtu) {
            (true, _) => Quest::Trace,
            (_, true) => Quest::PathMtu,
            (false, false) => Quest::Ping,
        }
    }

    /// Returns when probes go.
    #[must_use]
    pub fn tempo(&self) -> Tempo {
        /// Of each target, where none is asked for.
        const INTERVAL: Duration = Duration::from_secs(1);
        let rate = self.rate_asked();
        if self.sweep {
            return Tempo::Sweep { retries: self.retry, backoff: self.backoff, rate };
        }
        let is_pauseless = rate.is_none() && self.interval == Some(Duration::ZERO);
        match (self.flood || is_pauseless, self.adaptive) {
            (true, _) => Tempo::Flood,
            (_, true) => Tempo::Adaptive,
            (false, false) => {
                let interval = self.interval.filter(|interval| !interval.is_zero());
                let interval = if rate.is_none() { interval.or(Some(INTERVAL)) } else { interval };
                Tempo::Paced { interval, rate }
            }
        }
    }

    /// Returns so many probes a second; a rate in bits is of the data that they carry.
    fn probes(&self, rate: Rate) -> f64 {
        match rate {
            Rate::Units(rate) => rate,
            Rate::Bits(bits) => bits / 8.0 / (self.size().max(1) as f64),
        }
    }

    /// Returns the port that probes go to; 0 where there is none.
    #[must_use]
    pub fn port(&self) -> u16 {
        let default = match self.with {
            ProbeKind::Icmp => 0,
            ProbeKind::TcpSyn => 80,
            ProbeKind::Udp => 33_434,
        };
        self.port.map_or(default, |port| port.0)
    }

    /// Returns the data of a probe of so many bytes; the nonce has its place at the beginning.
    #[must_use]
    pub fn data(&self, size: usize) -> Vec<u8> {
        let Some(Pattern(pattern)) = &self.pattern else { return crate::packet::pattern::bytes(size) };
        let nonce = if size < NONCE { 0 } else { NONCE };
        let rest = pattern.iter().copied().cycle();
        std::iter::repeat_n(0, nonce).chain(rest).take(size).collect()
    }

    /// Returns the most hops of a trace.
    #[must_use]
    pub fn hops(&self) -> u8 {
        /// As traceroute(8) has it.
        const HOPS: u8 = 30;
        self.options.ttl.unwrap_or(HOPS)
    }

    /// Returns whether there may be more than one target.
    #[must_use]
    pub fn has_many(&self) -> bool {
        self.targets.len() > 1 || self.all_addresses || !matches!(self.targets.first(), Some(Aim::Host(_)))
    }

    /// Returns whether a list of targets is read from stdin.
    #[must_use]
    pub fn reads_stdin(&self) -> bool {
        self.targets.contains(&Aim::Stdin)
    }

    /// Returns the rate that is asked for, in probes a second.
    #[must_use]
    pub fn rate_asked(&self) -> Option<f64> {
        self.rate.map(|rate| self.probes(rate))
    }

    /// Returns whether probes of one target come so fast that a line for each says nothing.
    #[must_use]
    pub fn in_bulk(&self) -> bool {
        match self.tempo() {
            Tempo::Flood => true,
            Tempo::Adaptive | Tempo::Sweep { .. } => false,
            Tempo::Paced { .. } => self.quest() != Quest::Ping,
        }
    }

    /// Checks what clap cannot.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.output.check()?;
        self.options.check_raw()?;
        if (self.plot || self.live) && self.output.format() == Format::Json {
            return Err("--plot and --live are text, and --format json is none".to_owned());
        }
        if self.live && self.reads_stdin() {
            return Err("--live reads its keys from stdin, which cannot be a list of targets too".to_owned());
        }
        let mut addresses = 0;
        for aim in &self.targets {
            self.check_aim(aim)?;
            addresses += aim.addresses();
        }
        if addresses > MOST {
            return Err(format!("the targets are more than {MOST} addresses"));
        }
        if self.targets.iter().filter(|aim| **aim == Aim::Stdin).count() > 1 {
            return Err("- stands for stdin, which can be read once".to_owned());
        }
        if let Some(source) = &self.options.source {
            if source.port.is_some() {
                return Err("--source takes an address alone: a probe has no port of its own choice".to_owned());
            }
            self.output.check_host(&source.host)?;
        }
        if !self.sweep && (self.retry > 0 || self.backoff != 1.0) {
            return Err("--retry and --backoff are for --sweep".to_owned());
        }
        if self.retry == 0 && self.backoff != 1.0 {
            return Err("--backoff is for --retry".to_owned());
        }
        match self.with {
            ProbeKind::Icmp if self.port.is_some() => return Err("--port is for --with tcp-syn and udp".to_owned()),
            ProbeKind::TcpSyn if self.pattern.is_some() || self.size.is_some() => {
                return Err("a SYN has no data: --size and --pattern are for --with icmp and udp".to_owned());
            }
            _ if self.trace && self.interval == Some(Duration::ZERO) => {
                return Err("--trace needs an interval, or a rate".to_owned());
            }
            ProbeKind::TcpSyn if self.path_mtu => {
                return Err("--path-mtu needs probes of any size: --with icmp or udp".to_owned());
            }
            ProbeKind::TcpSyn | ProbeKind::Udp if self.socket != SocketChoice::Auto => {
                return Err("--socket is for --with icmp".to_owned());
            }
            _ => {}
        }
        if self.port.is_some_and(|port| port.0 == 0) {
            return Err("port 0 is nobody's".to_owned());
        }
        let bits = matches!(self.rate, Some(Rate::Bits(_)));
        if bits && self.size() == 0 {
            return Err("a rate in bits is of data, and these probes have none".to_owned());
        }
        Ok(())
    }

    /// Checks that a target is of the family that the run keeps to, and of that of our address.
    fn check_aim(&self, aim: &Aim) -> Result<(), String> {
        match aim {
            Aim::Host(host) => self.output.check_host(host)?,
            Aim::Net(_) | Aim::Range(..) => self.check_family(aim)?,
            Aim::File(_) | Aim::Stdin => {}
        }
        match (&self.options.source, aim.ip()) {
            (Some(Source { host: Host::Ip(source, _), .. }), Some(ip)) if source.is_ipv4() != ip.is_ipv4() => {
                Err(format!("--source {source} and {ip} are of two families"))
            }
            _ => Ok(()),
        }
    }

    fn check_family(&self, aim: &Aim) -> Result<(), String> {
        match (aim.ip().map(|ip| ip.is_ipv4()), self.output.family()) {
            (Some(true), Some(Family::V6)) => Err("an IPv4 network is not of the family that -6 keeps to".to_owned()),
            (Some(false), Some(Family::V4)) => Err("an IPv6 network is not of the family that -4 keeps to".to_owned()),
            _ => Ok(()),
        }
    }

    /// Checks a word of a list as one of the command line is checked.
    ///
    /// # Errors
    /// It is no target, or not of the family that the run keeps to; in words.
    pub fn listed(&self, word: &str) -> Result<Aim, String> {
        let aim = Aim::parse_listed(word)?;
        self.check_aim(&aim)?;
        Ok(aim)
    }
}

fn aim(word: &OsStr) -> Result<Aim, String> {
    Aim::parse(word)
}

/// Parses the size of a probe's data.
fn size(text: &str) -> Result<usize, String> {
    match value::size(text)? {
        bytes if bytes > MOST_DATA as u64 => Err(format!("a packet takes at most {MOST_DATA} bytes of data")),
        bytes => Ok(bytes as usize),
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    let clean: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    match data_encoding::HEXLOWER_PERMISSIVE.decode(clean.as_bytes()) {
        Ok(bytes) if !bytes.is_empty() => Ok(Pattern(bytes)),
        _ => Err("a pattern is bytes in hexadecimal, such as ff00".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim().trim_end_matches('%').parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a percentage is 0 to 100".to_owned()),
    }
}

fn backoff(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(factor) if (1.0..=100.0).contains(&factor) => Ok(factor),
        _ => Err("a factor of back-off is 1 to 100".to_owned()),
    }
}

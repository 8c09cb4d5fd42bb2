//! `connect`: the words of a stream client.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Args, ValueEnum};
use regex::bytes::Regex;

use super::answer;
use super::message::Encoding;
use super::output::{Format, Output};
use super::patience::Patience;
use super::port::{self, Port, PortList};
use super::proxy::ProxyWords;
use super::repeat::Repeat;
use super::series::Series;
use super::socket_options::SocketOptions;
use super::target::{self, Host, Target, UnixType};
use super::tls::ClientTls;
use super::value;

/// What a relay does when the peer has closed its side and ours is still open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnPeerClose {
    /// End at once.
    Exit,
    /// Send the rest of stdin first.
    Drain,
}

/// Connect to a TCP port or a unix socket: talk, relay stdin and stdout, or test the port
#[derive(Clone, Debug, Args)]
#[command(override_usage = "sockeye connect [OPTIONS] TARGET [MESSAGE]...
       sockeye connect [OPTIONS] --probe TARGET...
       sockeye connect [OPTIONS] --probe HOST PORTS")]
#[command(after_help = "Examples:
  sockeye connect localhost 8001 1 --send-delay 2s
  sockeye connect localhost 50007 'Hello network world' 'second line'
  sockeye connect example.org:80 --crlf 'HEAD / HTTP/1.0' '' --expect '^HTTP/1.. 200'
  sockeye connect localhost:8001 <request >answer
  sockeye connect unix:/run/x.sock --type seqpacket hello
  sockeye connect --probe localhost 22,80,8000-8010
  sockeye connect --probe '[::1]:8080' localhost:443 --timeout 2s --json
  sockeye connect localhost 8080 'ready?' --retry-for 30s
  sockeye connect --probe example.org 443 --tls --min-days 21
  sockeye connect --probe localhost 22,80 --count 0 --interval 500ms
  sockeye connect --proxy socks5h://localhost:1080 example.org:80 --crlf 'HEAD / HTTP/1.0' ''
  sockeye connect --proxy socks5://joe@a --proxy http://b:3128 --proxy-user-file users host 22
  sockeye connect --proxy-protocol v2 localhost 8080 hello

With MESSAGEs: each is sent, an answer is awaited and printed, then the connection is closed. \
Without: stdin goes to the peer and the peer's bytes to stdout, and at the end of stdin only our side is closed. \
The user of a proxy may stand in its URL, a password never: it comes from --proxy-user-file or the environment. \
With --count a round that would begin while another goes on is left out; \
an outage is the span from a target's first failed round to its next good one. \
Ctrl-\\ (SIGQUIT) prints the totals so far, --report-every D prints them every D.")]
pub struct Connect {
    /// HOST:PORT, HOST PORT, [V6%ZONE]:PORT, V6 PORT, unix:PATH or unix:@NAME, then the MESSAGEs
    #[arg(value_names = ["TARGET", "MESSAGE"], num_args = 1.., required = true)]
    words: Vec<OsString>,
    /// Whom to connect to, in the order given.
    #[arg(skip)]
    pub targets: Vec<Target>,
    /// What to send; empty for a relay or a probe.
    #[arg(skip)]
    pub messages: Vec<Vec<u8>>,
    #[command(flatten)]
    encoding: Encoding,
    /// Connect, report, close; no byte is sent. Every word is a TARGET, or: a host and its ports
    /// (22,80,8000-8010)
    #[arg(short = 'z', long, help_heading = "Talk")]
    pub probe: bool,
    /// Probe at most this many targets at once
    #[arg(
        long,
        value_name = "N",
        default_value = "64",
        requires = "probe",
        allow_negative_numbers = true,
        help_heading = "Limits"
    )]
    pub parallel: NonZeroUsize,
    /// An answer must match; with MESSAGEs, recv until it does
    #[arg(long, value_name = "REGEX", value_parser = answer::regex, allow_hyphen_values = true, conflicts_with = "probe", help_heading = "Talk")]
    pub expect: Option<Regex>,
    /// After the last answer, read on to the peer's end
    #[arg(long, conflicts_with = "probe", help_heading = "Talk")]
    pub until_eof: bool,
    /// Wait this long before each MESSAGE
    #[arg(long, value_name = "D", value_parser = value::delay, allow_negative_numbers = true, conflicts_with = "probe", help_heading = "Talk")]
    pub send_delay: Option<Duration>,
    /// Take at most this many bytes with one recv; what it does not take stays for the next
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = value::recv_size, allow_negative_numbers = true, help_heading = "Limits")]
    pub recv_size: NonZeroUsize,
    /// The type of a unix socket [default: stream]
    #[arg(long = "type", value_enum, value_name = "TYPE", help_heading = "Talk")]
    kind: Option<UnixType>,
    /// When the peer closes its side of a relay: end, or send the rest of stdin first
    /// [default: exit on a terminal, drain elsewhere]
    #[arg(long, value_enum, value_name = "ACTION", conflicts_with = "probe", help_heading = "Talk")]
    pub on_peer_close: Option<OnPeerClose>,
    /// Show the bytes of each direction in hexadecimal, with offset and time
    #[arg(long, conflicts_with = "probe", help_heading = "Report")]
    pub hex_dump: bool,
    /// How often.
    #[command(flatten)]
    pub repeat: Repeat,
    /// How long to wait.
    #[command(flatten)]
    pub patience: Patience,
    /// Through whom, and as whom.
    #[command(flatten)]
    pub proxies: ProxyWords,
    /// TLS.
    #[command(flatten)]
    pub tls: ClientTls,
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

impl Connect {
    /// Returns the type of the socket of a unix target.
    #[must_use]
    pub fn unix_type(&self) -> UnixType {
        self.kind.unwrap_or_default()
    }

    /// Returns whether stdin and stdout are relayed.
    #[must_use]
    pub fn is_relay(&self) -> bool {
        !self.probe && self.messages.is_empty()
    }

    /// Checks what clap cannot, and makes targets and messages of the words.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.output.check()?;
        if self.probe {
            self.targets = probe_targets(&self.words)?;
        } else {
            let (target, rest) = one_target(&self.words)?;
            self.messages = rest.iter().map(|text| self.encoding.message(text)).collect::<Result<_, _>>()?;
            self.targets = vec![target];
        }
        self.proxies.check()?;
        for target in &self.targets {
            if let Target::Inet(host, _) = target
                && !(self.proxies.resolves_there() && matches!(host, Host::Name(_)))
            {
                self.output.check_host(host)?;
            }
            self.proxies.check_target(target)?;
        }
        self.check_proxies()?;
        if self.messages.is_empty() && self.encoding.is_given() {
            return Err("--crlf, --lf, --escape and --hex need a MESSAGE".to_owned());
        }
        if self.messages.is_empty() && self.until_eof {
            return Err("--until-eof needs a MESSAGE; a relay reads to the peer's end as it is".to_owned());
        }
        if self.messages.is_empty() && self.send_delay.is_some() {
            return Err("--send-delay needs a MESSAGE".to_owned());
        }
        if !self.messages.is_empty() && self.on_peer_close.is_some() {
            return Err("--on-peer-close is for a relay: it goes without MESSAGE".to_owned());
        }
        if self.is_relay() && self.repeat.count.is_some() {
            return Err("--count needs a MESSAGE or --probe: a relay is one connection".to_owned());
        }
        self.check_fast_open()?;
        self.tls.check(&self.targets, self.unix_type() != UnixType::Stream, self.options.fast_open)?;
        if self.hex_dump && self.output.format() == Format::Json {
            return Err("--hex-dump is for text: with --json the events carry the bytes".to_owned());
        }
        self.check_type()?;
        self.check_options()
    }

    /// Checks the type of the socket against the targets.
    fn check_type(&self) -> Result<(), String> {
        let (kind, inet) = (self.unix_type(), self.targets.iter().find(|target| matches!(target, Target::Inet(..))));
        if let (Some(_), Some(inet)) = (self.kind, inet) {
            return Err(format!("--type is for unix sockets, and {inet} is TCP"));
        }
        if kind == UnixType::Dgram && self.until_eof {
            return Err("--until-eof cannot work with --type dgram: datagrams have no end".to_owned());
        }
        if kind == UnixType::Dgram && self.on_peer_close.is_some() {
            return Err("--on-peer-close cannot work with --type dgram: nobody is told of a close".to_owned());
        }
        Ok(())
    }

    /// Checks the hosts that are looked up here on the way to the proxies.
    fn check_proxies(&self) -> Result<(), String> {
        let mut is_looked_up_here = true;
        for proxy in &self.proxies.chain {
            if is_looked_up_here || matches!(proxy.host, Host::Ip(..)) {
                self.output.check_host(&proxy.host)?;
            }
            is_looked_up_here = proxy.protocol.resolves_here();
        }
        Ok(())
    }

    /// Checks that there is something to send with the SYN, and nothing to wait for before.
    fn check_fast_open(&self) -> Result<(), String> {
        if !self.options.fast_open {
            return Ok(());
        }
        if let Some(word) = self.proxies.given() {
            return Err(format!("--fast-open sends the first MESSAGE with the SYN, and {word} has to come before it"));
        }
        match self.messages.first() {
            None => Err("--fast-open sends the first MESSAGE with the SYN, and there is no MESSAGE".to_owned()),
            Some(first) if first.is_empty() => {
                Err("--fast-open sends the first MESSAGE with the SYN, and it is empty".to_owned())
            }
            Some(_) if self.send_delay.is_some() => {
                Err("--fast-open sends the first MESSAGE with the SYN: --send-delay cannot hold it back".to_owned())
            }
            Some(_) => Ok(()),
        }
    }

    /// Checks the socket options against the families of the targets.
    fn check_options(&self) -> Result<(), String> {
        if let (Some(unix), Some(option)) =
            (self.targets.iter().find(|target| matches!(target, Target::Unix(_))), self.options.inet_only())
        {
            return Err(format!("{option} is for IP, and {unix} is a unix socket"));
        }
        if let [unix @ Target::Unix(_), ..] = &self.targets[..]
            && self.targets.iter().all(|target| matches!(target, Target::Unix(_)))
            && self.output.family().is_some()
        {
            return Err(format!("-4 and -6 are for IP, and {unix} is a unix socket"));
        }
        let Some(source) = &self.options.source else { return Ok(()) };
        self.output.check_host(&source.host)?;
        let Host::Ip(ip, _) = &source.host else { return Ok(()) };
        let differs = |host: &Host| matches!(host, Host::Ip(to, _) if to.is_ipv4() != ip.is_ipv4());
        let two = |what: &dyn fmt::Display| Err(format!("--source {} and {what} are of two families", source.host));
        // It is the way to the first proxy that begins here.
        if let Some(first) = self.proxies.chain.first() {
            return if differs(&first.host) { two(first) } else { Ok(()) };
        }
        for target in &self.targets {
            match target {
                Target::Inet(host, _) if differs(host) => return two(target),
                Target::Inet(..) | Target::Unix(_) => {}
            }
        }
        Ok(())
    }
}

/// Reads one target from the first word, or the first two, and returns it with the words after it.
pub(super) fn one_target(words: &[OsString]) -> Result<(Target, &[OsString]), String> {
    let [first, rest @ ..] = words else { return Err("the TARGET is missing".to_owned()) };
    if let Some(unix) = target::unix(first) {
        return Ok((Target::Unix(unix?), rest));
    }
    let (host, port) = target::split(target::text(first)?)?;
    if port == Some("") {
        return Err(target::missing_port(&host));
    }
    if let Some(port) = port {
        refuse_list(port)?;
        return Ok((Target::Inet(host, Port::parse_remote(port)?.0), rest));
    }
    let [second, rest @ ..] = rest else { return Err(target::missing_port(&host)) };
    let second = target::text(second)?;
    refuse_list(second)?;
    match Port::parse_remote(second) {
        Ok(port) => Ok((Target::Inet(host, port.0), rest)),
        Err(error) => Err(format!("{error}; the target is {host}:PORT or {host} PORT")),
    }
}

fn refuse_list(port: &str) -> Result<(), String> {
    if port::is_list(port) {
        return Err(format!("'{port}' is a list of ports, which only --probe takes"));
    }
    Ok(())
}

/// Reads every word as a target, or two words as a host and its ports.
fn probe_targets(words: &[OsString]) -> Result<Vec<Target>, String> {
    if let [first, second] = words
        && target::unix(first).is_none()
        && let (host, None) = target::split(target::text(first)?)?
    {
        return Ok(on_ports(&host, &PortList::parse(target::text(second)?)?));
    }
    let mut targets = Vec::new();
    for word in words {
        if let Some(unix) = target::unix(word) {
            targets.push(Target::Unix(unix?));
            continue;
        }
        match target::split(target::text(word)?)? {
            (host, None | Some("")) => {
                return Err(format!("with --probe every word is a TARGET, and {}", target::missing_port(&host)));
            }
            (host, Some(ports)) => targets.extend(on_ports(&host, &PortList::parse(ports)?)),
        }
    }
    Ok(targets)
}

fn on_ports(host: &Host, ports: &PortList) -> Vec<Target> {
    ports.0.iter().map(|port| Target::Inet(host.clone(), *port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_second_word_is_the_port_only_where_the_first_has_none() {
        let parsed =
            |given: &[&str]| one_target(&words(given)).map(|(target, rest)| (target.to_string(), rest.to_vec()));
        assert_eq!(parsed(&["localhost:80", "80"]), Ok(("localhost:80".into(), words(&["80"]))));
        assert_eq!(parsed(&["localhost", "80", "x"]), Ok(("localhost:80".into(), words(&["x"]))));
        assert_eq!(parsed(&["::1", "80"]), Ok(("[::1]:80".into(), words(&[]))));
        assert_eq!(parsed(&["unix:/x", "80"]), Ok(("unix:/x".into(), words(&["80"]))));
        assert!(parsed(&["localhost"]).unwrap_err().contains("localhost:PORT or localhost PORT"));
        assert!(parsed(&["localhost", "22,80"]).unwrap_err().contains("--probe"));
        assert!(parsed(&["localhost:1-2"]).unwrap_err().contains("--probe"));
        assert!(parsed(&["localhost", "0"]).is_err());
    }

    #[test]
    fn a_probe_takes_targets_or_a_host_and_its_ports() {
        let parsed = |given: &[&str]| {
            probe_targets(&words(given)).map(|targets| targets.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(parsed(&["h", "1-2,9"]).unwrap(), ["h:1", "h:2", "h:9"]);
        assert_eq!(parsed(&["a:1", "b:2"]).unwrap(), ["a:1", "b:2"]);
        assert_eq!(parsed(&["a:1,2", "unix:@x", "[::1]:3"]).unwrap(), ["a:1", "a:2", "unix:@x", "[::1]:3"]);
        assert!(parsed(&["a", "b", "80"]).is_err());
        assert!(parsed(&["a:1", "b"]).is_err());
        assert!(parsed(&["a"]).is_err());
    }
}

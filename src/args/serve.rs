//! `serve`: the words of a TCP server.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use clap::Args;
use ipnet::{IpNet, Ipv4Net};

use super::answer::{Answer, AnswerWords};
use super::connect::OnPeerClose;
use super::listen_address::ListenAddress;
use super::output::Output;
use super::series::Series;
use super::socket_options::SocketOptions;
use super::value;

/// Serve a TCP port: echo, answer by rule, discard, or relay
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  sockeye serve 50007 --echo --prefix 'Echo=>'
  sockeye serve 8001 --when 1 'welcome to server!' --otherwise 'please go out!' \\
      --messages 1 --timeout 5s --recv-size 1024 --backlog 5
  sockeye serve 127.0.0.1:0 --discard --count 1 --json
  sockeye serve 9000 --relay >received
  sockeye serve [::1]:8080 --when-regex '^GET ' 'HTTP/1.0 204 x\\r\\n\\r\\n' --escape --messages 1

What peers send is shown in the step lines on stderr, never on stdout. The run ends by Ctrl-C, --count or --deadline, \
with exit code 0; Ctrl-\\ (SIGQUIT) prints the totals so far, --report-every D prints them every D.")]
#[command(override_usage = "sockeye serve [OPTIONS] [ADDR:]PORT")]
pub struct Serve {
    /// Where to listen.
    #[arg(help = "Where to listen: PORT, :PORT, ADDR:PORT or [V6]:PORT; port 0 is any free one, without ADDR it is every address, IPv6 and IPv4; of a name the first address", value_name = "[ADDR:]PORT", value_parser = ListenAddress::parse)]
    pub listen: ListenAddress,
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
    #[arg(long, value_name = "N", default_value = "65535", value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)), allow_negative_numbers = true, help_heading = "Limits")]
    pub backlog: u32,
    /// Take at most this many bytes with one recv; what it does not take stays for the next
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = value::recv_size, allow_negative_numbers = true, help_heading = "Limits")]
    pub recv_size: NonZeroUsize,
    /// Close a connection whose peer is silent for this long [default: none]
    #[arg(short = 'w', long, value_name = "D", value_parser = value::patience, allow_negative_numbers = true, help_heading = "Limits")]
    pub timeout: Option<Duration>,
    /// Close a connection after this many answers; 0 closes it when it is accepted
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Limits")]
    pub messages: Option<u64>,
    /// End after this many connections
    #[arg(long, value_name = "N", value_parser = value::at_least_one, allow_negative_numbers = true, help_heading = "Limits")]
    pub count: Option<NonZeroU64>,
    /// Hold at most this many connections at once; further ones wait in the backlog
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Limits")]
    pub max_connections: Option<NonZeroUsize>,
    /// Let only peers from this network in (repeatable; --deny wins)
    #[arg(long, value_name = "CIDR", value_parser = network, help_heading = "Limits")]
    pub allow: Vec<IpNet>,
    /// Keep peers from this network out (repeatable)
    #[arg(long, value_name = "CIDR", value_parser = network, help_heading = "Limits")]
    pub deny: Vec<IpNet>,
    /// Options of the listening socket, which its connections inherit.
    #[command(flatten)]
    pub options: SocketOptions,
    /// What to report while the run goes on.
    #[command(flatten)]
    pub series: Series,
    /// How to report.
    #[command(flatten)]
    pub output: Output,
}

impl Serve {
    /// Checks what clap cannot, and makes the rule of the words.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.output.check()?;
        self.answer = self.answer_words.check()?;
        if matches!(self.answer, Answer::Discard) && self.messages.is_some_and(|messages| messages > 0) {
            return Err("--messages counts answers, and --discard gives none".to_owned());
        }
        if self.relay && self.count.is_some_and(|count| count.get() > 1) {
            return Err("--relay has one peer, so that --count can only be 1".to_owned());
        }
        if let Some(host) = &self.listen.host {
            self.output.check_host(host)?;
        }
        let Some(source) = &self.options.source else { return Ok(()) };
        self.output.check_host(&source.host)?;
        if let Some(host) = &self.listen.host {
            return Err(format!("two bind addresses: {host} and --source {}", source.host));
        }
        match source.port {
            Some(port) if self.listen.port != 0 && port != self.listen.port => {
                return Err(format!("two ports to bind: {} and --source's {port}", self.listen.port));
            }
            Some(port) => self.listen.port = port,
            None => {}
        }
        self.listen.host = Some(source.host.clone());
        Ok(())
    }

    /// Returns whether a peer is let in: deny wins.
    #[must_use]
    pub fn admits(&self, peer: std::net::IpAddr) -> bool {
        let among = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&peer));
        !among(&self.deny) && (self.allow.is_empty() || among(&self.allow))
    }
}

/// Parses a network: `192.0.2.0/24`, or an address alone.
fn network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => match text.parse::<std::net::IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => return Err("a network is like 192.0.2.0/24, 2001:db8::/32 or 192.0.2.1".to_owned()),
        },
    };
    // Peers are compared as what they are: an IPv4 address that came mapped is IPv4.
    Ok(match network.trunc() {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96).map_or(IpNet::V6(v6), IpNet::V4),
            None => IpNet::V6(v6),
        },
        network => network,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_network_is_the_ipv4_network_that_it_is() {
        assert_eq!(network("::ffff:127.0.0.1").unwrap().to_string(), "127.0.0.1/32");
        assert_eq!(network("::ffff:127.0.0.0/104").unwrap().to_string(), "127.0.0.0/8");
        assert_eq!(network("192.0.2.9/24").unwrap().to_string(), "192.0.2.0/24");
        assert_eq!(network("2001:db8::1/32").unwrap().to_string(), "2001:db8::/32");
        assert!(network("192.0.2.0/33").is_err() && network("x").is_err());
    }
}

//! `serve`: the words of a TCP server.

use clap::Args;
use ipnet::{IpNet, Ipv4Net};

use super::fault::Fault;
use super::listen_address::ListenAddress;
use super::output::Output;
use super::series::Series;
use super::service::Service;
use super::socket_options::SocketOptions;
use super::target::Host;

/// Serve a TCP port: echo, answer by rule, discard, send a pattern, relay, or misbehave
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  sockeye serve 50007 --echo --prefix 'Echo=>'
  sockeye serve 8001 --when 1 'welcome to server!' --otherwise 'please go out!' \\
      --messages 1 --timeout 5s --recv-size 1024 --backlog 5
  sockeye serve 127.0.0.1:0 --discard --count 1 --json
  sockeye serve 9000 --relay >received
  sockeye serve 9000 --source-bytes 1GiB -q
  sockeye serve 9000 --broker
  sockeye serve 8443 --tls-cert cert.pem --tls-key key.pem
  sockeye serve 9000 --fault never-accept --backlog 1
  sockeye serve 9000 --source-bytes --fault slow=100kbit/s
  sockeye serve 8080 --proxy-protocol --allow 192.0.2.0/24
  sockeye serve [::1]:8080 --when-regex '^GET ' 'HTTP/1.0 204 x\\r\\n\\r\\n' --escape --messages 1

What peers send is shown in the step lines on stderr, never on stdout. The run ends by Ctrl-C, --count or --deadline, \
with exit code 0; Ctrl-\\ (SIGQUIT) prints the totals so far, --report-every D prints them every D.")]
#[command(override_usage = "sockeye serve [OPTIONS] [ADDR:]PORT")]
pub struct Serve {
    /// Where to listen.
    #[arg(help = "Where to listen: PORT, :PORT, ADDR:PORT or [V6]:PORT; port 0 is any free one, without ADDR it is every address, IPv6 and IPv4; of a name the first address", value_name = "[ADDR:]PORT", value_parser = ListenAddress::parse)]
    pub listen: ListenAddress,
    /// What it does with its peers, and its limits.
    #[command(flatten)]
    pub service: Service,
    /// Let only peers from this network in (repeatable; --deny wins)
    #[arg(long, value_name = "CIDR", value_parser = network, help_heading = "Limits")]
    pub allow: Vec<IpNet>,
    /// Keep peers from this network out (repeatable)
    #[arg(long, value_name = "CIDR", value_parser = network, help_heading = "Limits")]
    pub deny: Vec<IpNet>,
    /// Take a header of the PROXY protocol, version 1 or 2, from each peer first, within --timeout
    /// [default: 5s]; who sends none, or a broken one, is closed. --allow and --deny are of the socket's peer
    #[arg(long, help_heading = "Answers")]
    pub proxy_protocol: bool,
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
        self.service.check()?;
        self.service.tls_host = match self.listen.host {
            Some(Host::Ip(ip, _)) => Some(ip),
            _ => None,
        };
        if self.service.fault == Some(Fault::NeverAccept) && !(self.allow.is_empty() && self.deny.is_empty()) {
            return Err("--allow and --deny would do nothing: --fault never-accept lets nobody in".to_owned());
        }
        if self.service.fault == Some(Fault::NeverAccept) && self.proxy_protocol {
            return Err("--proxy-protocol would do nothing: --fault never-accept lets nobody in".to_owned());
        }
        if self.service.fault == Some(Fault::Reset) && self.service.timeout.is_some() && !self.proxy_protocol {
            return Err("--timeout would do nothing: --fault reset waits for nothing".to_owned());
        }
        self.listen.check(self.options.source.as_ref(), &self.output)
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

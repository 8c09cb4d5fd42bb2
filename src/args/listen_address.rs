//! Where to listen: `PORT`, `:PORT`, `ADDR:PORT`, `[V6]:PORT`.

use std::fmt;

use super::output::Output;
use super::port::Port;
use super::socket_options::Source;
use super::target::{self, Host};

/// An address to bind: a host, or the wildcard, and a port, 0 for any free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// `None` binds the wildcard, dual stack.
    pub host: Option<Host>,
    /// 0 means any free port.
    pub port: u16,
}

impl ListenAddress {
    /// Parses a place to listen.
    pub(super) fn parse(word: &str) -> Result<Self, String> {
        let wildcard = word.strip_prefix(':').filter(|rest| !rest.contains(':'));
        if let Some(port) = wildcard {
            return Ok(Self { host: None, port: Port::parse(port)?.0 });
        }
        if !word.contains([':', '[', '.']) {
            return Ok(Self { host: None, port: Port::parse(word)?.0 });
        }
        match target::split(word)? {
            (Host::Name(name), Some("")) => Err(format!("the port is missing after '{name}:'")),
            (host, Some(port)) => Ok(Self { host: Some(host), port: Port::parse(port)?.0 }),
            (host, None) => Err(format!("the port is missing: write {host}:PORT, or only PORT")),
        }
    }
}

impl ListenAddress {
    /// Checks it against the family kept to, and takes the address and port of `--source`.
    pub(super) fn check(&mut self, source: Option<&Source>, output: &Output) -> Result<(), String> {
        if let Some(host) = &self.host {
            output.check_host(host)?;
        }
        let Some(source) = source else { return Ok(()) };
        output.check_host(&source.host)?;
        if let Some(host) = &self.host {
            return Err(format!("two bind addresses: {host} and --source {}", source.host));
        }
        match source.port {
            Some(port) if self.port != 0 && port != self.port => {
                return Err(format!("two ports to bind: {} and --source's {port}", self.port));
            }
            Some(port) => self.port = port,
            None => {}
        }
        self.host = Some(source.host.clone());
        Ok(())
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host}:{}", self.port),
            None => write!(f, ":{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_listen() {
        let wildcard = |port| Ok(ListenAddress { host: None, port });
        let host = |ip: &str, port| Ok(ListenAddress { host: Some(Host::Ip(ip.parse().unwrap(), None)), port });
        assert_eq!(ListenAddress::parse("8001"), wildcard(8001));
        assert_eq!(ListenAddress::parse(":8001"), wildcard(8001));
        assert_eq!(ListenAddress::parse("0"), wildcard(0));
        assert_eq!(ListenAddress::parse("http"), wildcard(80));
        assert_eq!(ListenAddress::parse("127.0.0.1:80"), host("127.0.0.1", 80));
        assert_eq!(ListenAddress::parse("[::1]:80"), host("::1", 80));
        for word in ["", ":", "65536", "127.0.0.1", "::1", "[::1]", "127.0.0.1:", "a:b:c", "127.0.0.1:99999"] {
            assert!(ListenAddress::parse(word).is_err(), "{word}");
        }
    }
}

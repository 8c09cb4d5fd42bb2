//! Ports on the command line: numbers, service names, lists.

use dns_lookup::{AddrInfoHints, SockType, getaddrinfo};

/// A port by number or by the name of its service (services(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(pub u16);

impl Port {
    /// Parses a port from 0 to 65535, or the name of a TCP service.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            return text.parse().map(Self).map_err(|_| format!("port {text} is not in 0 to 65535"));
        }
        if text.is_empty() {
            return Err("the port is missing".to_owned());
        }
        service(text).map(Self).ok_or_else(|| format!("'{text}' is no port number and no known service"))
    }

    /// Parses a port that one can connect to: not 0.
    pub(super) fn parse_remote(text: &str) -> Result<Self, String> {
        match Self::parse(text)? {
            Self(0) => Err("nothing can be reached at port 0".to_owned()),
            port => Ok(port),
        }
    }
}

/// Looks a service up in the machine's own table; nothing is asked of the network.
fn service(name: &str) -> Option<u16> {
    // A service has a letter (RFC 6335, 5.1); without one the resolver would read numbers of its own.
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-+._*".contains(&byte);
    if !name.bytes().all(is_name) || !name.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let mut found = getaddrinfo(None, Some(name), Some(hints)).ok()?;
    found.find_map(Result::ok).map(|info| info.sockaddr.port()).filter(|port| *port != 0)
}

/// Ports to probe: `22,80,8000-8010`, in the order given, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortList(pub Vec<u16>);

impl PortList {
    /// Parses a list of ports and ranges.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut ports = Vec::new();
        let mut seen = vec![false; 1 << 16];
        for part in text.split(',') {
            if part.is_empty() {
                return Err(format!("the list '{text}' lacks a port"));
            }
            let (first, last) = match part.split_once('-') {
                // A service may have a hyphen in its name; a range has digits on both sides.
                Some((first, last)) if is_number(first) && is_number(last) => {
                    (Port::parse_remote(first)?.0, Port::parse_remote(last)?.0)
                }
                _ => {
                    let port = Port::parse_remote(part)?.0;
                    (port, port)
                }
            };
            if first > last {
                return Err(format!("the range {part} is inverted"));
            }
            for port in first..=last {
                if !std::mem::replace(&mut seen[usize::from(port)], true) {
                    ports.push(port);
                }
            }
        }
        Ok(Self(ports))
    }
}

/// Returns whether a word is a list or a range of ports, not a single one.
pub(super) fn is_list(text: &str) -> bool {
    text.contains(',') || text.split_once('-').is_some_and(|(first, last)| is_number(first) && is_number(last))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_or_services() {
        assert_eq!(Port::parse("80"), Ok(Port(80)));
        assert_eq!(Port::parse("0"), Ok(Port(0)));
        assert_eq!(Port::parse("http"), Ok(Port(80)));
        for text in ["", "65536", "-1", "+1", "8 0", "no-such-service", "0x50"] {
            assert!(Port::parse(text).is_err(), "{text}");
        }
        assert!(Port::parse_remote("0").is_err());
    }

    #[test]
    fn lists_keep_their_order_and_name_each_port_once() {
        assert_eq!(PortList::parse("80,22,79-81").unwrap().0, [80, 22, 79, 81]);
        assert!(PortList::parse("81-79").is_err());
        assert!(PortList::parse("80,").is_err());
        assert!(PortList::parse("0-3").is_err());
        assert_eq!(PortList::parse("1-65535").unwrap().0.len(), 65_535);
        assert!(is_list("1-2") && is_list("1,2") && !is_list("80") && !is_list("http-alt"));
    }
}

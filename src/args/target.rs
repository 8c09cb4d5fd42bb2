//! Where to send: `HOST:PORT`, `HOST PORT`, `[V6%ZONE]:PORT`, `V6 PORT`, `unix:PATH`, `unix:@NAME`.

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;

use clap::ValueEnum;

use crate::address::Address;

/// Which of the two families of IP a run keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// AF_INET.
    V4,
    /// AF_INET6.
    V6,
}

/// A host as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name to look up.
    Name(String),
    /// An address, and the zone of a link-local one (RFC 4007): an interface by name or index.
    Ip(IpAddr, Option<String>),
}

impl Host {
    /// Parses a host without a port; an IPv6 address may stand in brackets.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the host is missing".to_owned());
        }
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return ipv6(inner).ok_or_else(|| format!("'{inner}' is no IPv6 address"));
        }
        if let Ok(v4) = text.parse() {
            return Ok(Self::Ip(IpAddr::V4(v4), None));
        }
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split(['/', '?']).next().unwrap_or(rest);
            return Err(format!("'{text}' is a URL; the target is its host and port, such as '{host}'"));
        }
        if text.contains(':') {
            return ipv6(text).ok_or_else(|| format!("'{text}' is no IPv6 address"));
        }
        // What no name can hold (RFC 1123, and the underscore that DNS has in practice) is a slip
        // of the fingers, better told now than after a look-up.
        if text.len() > 253 || text.chars().any(|c| c.is_whitespace() || c.is_control() || "/[]@#?\\,".contains(c)) {
            return Err(format!("'{}' is no host name and no address", printable(text)));
        }
        Ok(Self::Name(text.to_owned()))
    }

    /// Returns whether the host is an address of the other family than `only`.
    pub(super) fn is_excluded_by(&self, only: Option<Family>) -> bool {
        match (self, only) {
            (Self::Ip(IpAddr::V6(_), _), Some(Family::V4)) | (Self::Ip(IpAddr::V4(_), _), Some(Family::V6)) => true,
            (Self::Name(_) | Self::Ip(..), _) => false,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(v4), _) => v4.fmt(f),
            Self::Ip(IpAddr::V6(v6), None) => write!(f, "[{v6}]"),
            Self::Ip(IpAddr::V6(v6), Some(zone)) => write!(f, "[{v6}%{zone}]"),
        }
    }
}

fn ipv6(text: &str) -> Option<Host> {
    let (address, zone) = match text.split_once('%') {
        Some((_, "")) => return None,
        Some((address, zone)) => (address, Some(zone.to_owned())),
        None => (text, None),
    };
    // One that stands for an address of IPv4 (RFC 4291, 2.5.5.2) is that.
    Some(match IpAddr::V6(address.parse::<Ipv6Addr>().ok()?).to_canonical() {
        v4 @ IpAddr::V4(_) => Host::Ip(v4, None),
        v6 @ IpAddr::V6(_) => Host::Ip(v6, zone),
    })
}

/// Somewhere to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host and its port.
    Inet(Host, u16),
    /// A unix socket: a path or an abstract name.
    Unix(Address),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(address) => address.fmt(f),
        }
    }
}

/// The type of a unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum UnixType {
    /// SOCK_STREAM: connections that carry bytes.
    #[default]
    Stream,
    /// SOCK_DGRAM: datagrams, without a connection.
    Dgram,
    /// SOCK_SEQPACKET: connections that carry records.
    Seqpacket,
}

/// The longest path or abstract name of a unix socket, in bytes (sun_path less one, unix(7)).
const UNIX_MOST: usize = 107;

/// Parses `unix:PATH` or `unix:@NAME`; `None` where the word does not begin so.
pub(super) fn unix(word: &OsStr) -> Option<Result<Address, String>> {
    let name = word.as_bytes().strip_prefix(b"unix:")?;
    Some(unix_name(name))
}

/// Parses a path, or an abstract name after `@`.
pub(super) fn unix_name(name: &[u8]) -> Result<Address, String> {
    let (kind, bytes) = match name.strip_prefix(b"@") {
        Some(abstract_name) => ("name", abstract_name),
        None => ("path", name),
    };
    if bytes.is_empty() {
        return Err(format!("the unix {kind} is empty"));
    }
    if bytes.len() > UNIX_MOST {
        return Err(format!("the unix {kind} has {} bytes, at most {UNIX_MOST} fit", bytes.len()));
    }
    if kind == "name" {
        return Ok(Address::UnixAbstract(bytes.to_vec()));
    }
    Ok(Address::UnixPath(OsStr::from_bytes(bytes).into()))
}

/// Splits a word into its host and, where it has one, the text of its port.
///
/// A bare IPv6 address is never HOST:PORT.
pub(super) fn split(word: &str) -> Result<(Host, Option<&str>), String> {
    if word.starts_with('[') {
        let end = word.find(']').ok_or_else(|| format!("'{word}' has no closing bracket"))?;
        let host = Host::parse(&word[..=end])?;
        return match &word[end + 1..] {
            "" => Ok((host, None)),
            rest => match rest.strip_prefix(':') {
                Some(port) => Ok((host, Some(port))),
                None => Err(format!("'{word}' has '{rest}' after the bracket, where :PORT belongs")),
            },
        };
    }
    match word.split_once(':') {
        Some((host, port)) if !port.contains(':') => Ok((Host::parse(host)?, Some(port))),
        // Two colons or more: an IPv6 address, or nothing.
        _ => Ok((Host::parse(word)?, None)),
    }
}

/// Refuses a name beyond ASCII: what goes on the wire as a name is ASCII, and no library of IDNA is asked here.
pub(super) fn check_ascii(name: &str) -> Result<(), String> {
    match name.is_ascii() {
        true => Ok(()),
        false => Err(format!("'{}' is not ASCII: write the name in its xn-- form (IDNA, RFC 5891)", printable(name))),
    }
}

/// Refuses a name that no certificate can be for: letters, digits, hyphens and underscores between dots (RFC 1034,
/// 3.5, and what DNS has in practice), and a last part that is no number, lest it be an address (RFC 1123, 2.1).
pub(super) fn check_certifiable(name: &str) -> Result<(), String> {
    check_ascii(name)?;
    let is_of_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| {
        matches!(label.len(), 1..=63)
            && label.bytes().all(is_of_label)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // The root's dot may be there.
    let labels = name.strip_suffix('.').unwrap_or(name);
    let last = labels.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let is_number = match last.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    };
    match labels.len() <= 253 && labels.split('.').all(is_label) && !is_number {
        true => Ok(()),
        false => Err(format!("'{}' is no name that a certificate can be for", printable(name))),
    }
}

/// What is said where a target lacks its port.
pub(super) fn missing_port(host: &Host) -> String {
    if let Host::Ip(IpAddr::V6(v6), None) = host
        && let Some((start, end)) = v6.to_string().rsplit_once(':')
        && let Ok(start) = start.parse::<Ipv6Addr>()
    {
        return format!("the port is missing: '{v6}' is one IPv6 address; if {end} is the port, write [{start}]:{end}");
    }
    format!("the port is missing: write {host}:PORT or {host} PORT")
}

/// Returns a word with its control characters escaped: what is wrong with it may be told on a
/// terminal, which a word of somebody's script must not command.
pub(super) fn printable(word: &str) -> String {
    word.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Reads a word as text: targets have no place for bytes that are not UTF-8.
pub(super) fn text(word: &OsStr) -> Result<&str, String> {
    word.to_str().ok_or_else(|| format!("'{}' is not UTF-8", printable(&word.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Host {
        Host::Ip(text.parse().unwrap(), None)
    }

    #[test]
    fn a_word_is_split_into_host_and_port() {
        for (word, host, port) in [
            ("localhost:80", Host::Name("localhost".into()), Some("80")),
            ("localhost", Host::Name("localhost".into()), None),
            ("127.0.0.1:http", ip("127.0.0.1"), Some("http")),
            ("[::1]:80", ip("::1"), Some("80")),
            ("[::1]", ip("::1"), None),
            ("::1", ip("::1"), None),
            ("fe80::1:80", ip("fe80::1:80"), None),
            ("[fe80::1%lo]:80", Host::Ip("fe80::1".parse().unwrap(), Some("lo".into())), Some("80")),
            ("fe80::1%lo", Host::Ip("fe80::1".parse().unwrap(), Some("lo".into())), None),
            ("[::ffff:192.0.2.1]:80", ip("192.0.2.1"), Some("80")),
        ] {
            assert_eq!(split(word), Ok((host, port)), "{word}");
        }
        for word in ["", ":80", "[::1", "[::1]80", "[]:80", "[::1%]:80", "1:2:3", "a b:80", "[127.0.0.1]:80"] {
            assert!(split(word).is_err(), "{word}");
        }
    }

    #[test]
    fn a_certificate_is_for_a_name_of_dns() {
        for name in ["localhost", "a.example", "a.example.", "_x.a-b.example", "xn--bcher-kva.example", "1.a", "0xg"] {
            assert_eq!(check_certifiable(name), Ok(()), "{name}");
        }
        assert!(check_certifiable(&"x".repeat(63)).is_ok() && check_certifiable(&"x".repeat(64)).is_err());
        let long = |count: usize| vec!["x"; count].join(".");
        assert!(check_certifiable(&long(127)).is_ok() && check_certifiable(&long(128)).is_err());
        for name in
            ["", ".", "a..b", ".a", "-a", "a-", "a.-b", "*.a", "a b", "a:1", "[::1]", "1", "a.1", "a.0x7F", "0x"]
        {
            assert!(check_certifiable(name).is_err(), "{name}");
        }
        assert!(check_certifiable("b\u{fc}cher.example").unwrap_err().contains("xn--"));
    }

    #[test]
    fn unix_names_are_paths_or_abstract() {
        let parsed = |word: &str| unix(OsStr::new(word));
        assert_eq!(parsed("unix:/run/x"), Some(Ok(Address::UnixPath("/run/x".into()))));
        assert_eq!(parsed("unix:@x"), Some(Ok(Address::UnixAbstract(b"x".to_vec()))));
        assert_eq!(parsed("localhost"), None);
        assert!(parsed("unix:").unwrap().is_err());
        assert!(parsed("unix:@").unwrap().is_err());
        assert!(parsed(&format!("unix:/{}", "x".repeat(106))).unwrap().is_ok());
        assert!(parsed(&format!("unix:/{}", "x".repeat(107))).unwrap().is_err());
    }
}

//! Whom `raw-ping` probes: hosts, addresses, networks, ranges, and lists of them.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use ipnet::IpNet;

use super::target::{self, Host};

/// The most addresses of one run: so many can be numbered.
pub const MOST: u128 = 1 << 24;

/// A word that names one target or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aim {
    /// A host: a name, or an address.
    Host(Host),
    /// All addresses of a network.
    Net(IpNet),
    /// All addresses from one to another, both among them.
    Range(IpAddr, IpAddr),
    /// The words that a file has.
    File(PathBuf),
    /// The words that stdin has.
    Stdin,
}

impl Aim {
    /// Parses a word of the command line.
    pub(super) fn parse(word: &OsStr) -> Result<Self, String> {
        match word.as_bytes() {
            b"-" => Ok(Self::Stdin),
            b"@" => Err("'@' needs the name of a file: @FILE".to_owned()),
            [b'@', path @ ..] => Ok(Self::File(OsStr::from_bytes(path).into())),
            _ => Self::parse_listed(target::text(word)?),
        }
    }

    /// Parses a word of a list: a host, an address, a network or a range.
    ///
    /// # Errors
    /// It is none of these; in words.
    pub fn parse_listed(word: &str) -> Result<Self, String> {
        if word.contains('/') && !word.contains("://") {
            return network(word).map(Self::Net);
        }
        if let Some((first, last)) = range(word) {
            return Self::between(first, last, word);
        }
        if let Some(bare) = range_with_zone(word) {
            return Err(format!("a range has no interface: write {bare}, and --interface to name it"));
        }
        if !word.contains("://")
            && let Ok((host, Some(port))) = target::split(word)
        {
            return Err(format!("a target has no port: write {host}, and --with tcp-syn --port {port} to probe it"));
        }
        Host::parse(word).map(Self::Host)
    }

    fn between(first: IpAddr, last: IpAddr, word: &str) -> Result<Self, String> {
        if first.is_ipv4() != last.is_ipv4() {
            return Err(format!("the two ends of '{word}' are of two families"));
        }
        if first > last {
            return Err(format!("the range '{word}' is inverted: write {last}-{first}"));
        }
        match Self::Range(first, last) {
            range if range.addresses() > MOST => Err(too_many(word)),
            range => Ok(range),
        }
    }

    /// Returns how many addresses it names, the first and the last of a network among them; 0 where
    /// that is not known yet.
    #[must_use]
    pub fn addresses(&self) -> u128 {
        match self {
            Self::Net(net) => {
                1_u128.checked_shl(u32::from(net.max_prefix_len() - net.prefix_len())).unwrap_or(u128::MAX)
            }
            Self::Range(first, last) => number(*last) - number(*first) + 1,
            Self::Host(_) | Self::File(_) | Self::Stdin => 0,
        }
    }

    /// Returns the first address of a row that it is, and how many hosts are in that: of an IPv4 network
    /// neither the first nor the last address is a host's, unless these are to be taken too.
    #[must_use]
    pub fn hosts(&self, include_broadcast: bool) -> Option<(IpAddr, u32)> {
        let count = u32::try_from(self.addresses()).unwrap_or(u32::MAX);
        match self {
            // RFC 3021: of two addresses both are hosts'.
            Self::Net(IpNet::V4(net)) if net.prefix_len() < 31 && !include_broadcast => {
                Some((Ipv4Addr::from(u32::from(net.addr()) + 1).into(), count - 2))
            }
            Self::Net(net) => Some((net.addr(), count)),
            Self::Range(first, _) => Some((*first, count)),
            Self::Host(_) | Self::File(_) | Self::Stdin => None,
        }
    }

    /// Returns an address that it names, where it names any by itself.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Host(Host::Ip(ip, _)) => Some(*ip),
            Self::Net(net) => Some(net.addr()),
            Self::Range(first, _) => Some(*first),
            Self::Host(Host::Name(_)) | Self::File(_) | Self::Stdin => None,
        }
    }
}

/// Returns the number that an address is.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn network(word: &str) -> Result<IpNet, String> {
    let net: IpNet =
        word.parse().map_err(|_| format!("'{}' is no network: write ADDRESS/LENGTH", target::printable(word)))?;
    match Aim::Net(net.trunc()) {
        Aim::Net(net) if Aim::Net(net).addresses() <= MOST => Ok(net),
        _ => Err(too_many(word)),
    }
}

/// Returns the two ends of a range: two whole addresses that are joined by `-`.
fn range(word: &str) -> Option<(IpAddr, IpAddr)> {
    let (first, last) = word.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// Returns a range as it is to be written, where a word is one of IPv6 addresses with an interface: it is no
/// address, for the name of an interface has no `:`.
fn range_with_zone(word: &str) -> Option<String> {
    let bare = |end: &str| -> Option<std::net::Ipv6Addr> { end.split('%').next()?.parse().ok() };
    word.match_indices('-')
        .find_map(|(at, _)| Some(format!("{}-{}", bare(&word[..at])?, bare(&word[at + 1..])?)))
        .filter(|_| word.contains('%'))
}

fn too_many(word: &str) -> String {
    format!("'{word}' has more than {MOST} addresses")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(word: &str) -> Aim {
        Aim::parse_listed(word).unwrap()
    }

    #[test]
    fn networks_and_ranges_have_their_addresses() {
        for (word, addresses) in [
            ("10.0.0.0/24", 256),
            ("10.0.0.7/24", 256),
            ("10.0.0.0/31", 2),
            ("10.0.0.0/32", 1),
            ("fd00::/120", 256),
            ("fd00::1/128", 1),
            ("10.0.0.0/8", 1 << 24),
            ("10.0.0.1-10.0.1.0", 256),
            ("fd00::-fd00::f", 16),
            ("10.0.0.1-10.0.0.1", 1),
        ] {
            assert_eq!(listed(word).addresses(), addresses, "{word}");
        }
        assert_eq!(listed("10.0.0.7/24").ip(), Some("10.0.0.0".parse().unwrap()));
    }

    #[test]
    fn a_network_has_fewer_hosts_than_addresses() {
        for (word, include_broadcast, first, count) in [
            ("10.0.0.7/29", false, "10.0.0.1", 6),
            ("10.0.0.7/29", true, "10.0.0.0", 8),
            ("10.0.0.2/31", false, "10.0.0.2", 2),
            ("10.0.0.2/32", false, "10.0.0.2", 1),
            ("fd00::/125", false, "fd00::", 8),
            ("10.0.0.0-10.0.0.3", false, "10.0.0.0", 4),
        ] {
            assert_eq!(listed(word).hosts(include_broadcast), Some((first.parse().unwrap(), count)), "{word}");
        }
        assert_eq!(listed("10.0.0.1").hosts(true), None);
    }

    #[test]
    fn what_looks_like_neither_is_a_name() {
        for word in ["my-host", "10.0.0.1-host", "a-b-c", "10.0.0.1-254"] {
            assert_eq!(listed(word), Aim::Host(Host::Name(word.to_owned())), "{word}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for word in [
            "10.0.0.0/33",
            "10.0.0/24",
            "host/24",
            "10.0.0.2-10.0.0.1",
            "10.0.0.1-fd00::1",
            "fd00::/64",
            "0.0.0.0/0",
            "::-ffff::",
            "a b",
            "",
            "fd00::1::2",
            "fe80::2%eth0-fe80::4%eth0",
            "fe80::2%br-lan-fe80::4%br-lan",
            "fe80::2-fe80::4%eth0",
        ] {
            assert!(Aim::parse_listed(word).is_err(), "{word}");
        }
        // An interface may have a `-`.
        for zone in ["br-lan", "a-10.0.0.1", "a-b-c"] {
            let host = Host::Ip("fe80::2".parse().unwrap(), Some(zone.to_owned()));
            assert_eq!(listed(&format!("fe80::2%{zone}")), Aim::Host(host));
        }
        assert!(Aim::parse(OsStr::new("@")).is_err());
        assert_eq!(Aim::parse(OsStr::new("-")), Ok(Aim::Stdin));
        assert_eq!(Aim::parse(OsStr::new("@x")), Ok(Aim::File("x".into())));
    }
}

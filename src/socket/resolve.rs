//! Names to addresses: getaddrinfo(3), whose own errors are kept apart.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};
use socket2::Domain;

use crate::args::Family;

/// What the resolver said instead of addresses.
#[derive(Debug)]
pub struct Unresolved {
    /// A line of it.
    pub words: String,
    /// Whether it is that there is no such address, and not that this is not known.
    pub is_none: bool,
}

/// Looks up the addresses of a name, in the order of the resolver (RFC 6724), each once. Blocks.
///
/// # Errors
/// A line that says what the resolver said.
pub fn resolve(name: &str, only: Option<Family>) -> Result<Vec<IpAddr>, Unresolved> {
    let family = match only {
        None => 0,
        Some(Family::V4) => i32::from(Domain::IPV4),
        Some(Family::V6) => i32::from(Domain::IPV6),
    };
    let hints = AddrInfoHints { address: family, socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let mut addresses = Vec::new();
    for info in getaddrinfo(Some(name), None, Some(hints)).map_err(|error| unresolved(&error))? {
        let ip =
            info.map_err(|error: io::Error| Unresolved { words: error.to_string(), is_none: false })?.sockaddr.ip();
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    if addresses.is_empty() {
        return Err(Unresolved { words: "the name has no address".to_owned(), is_none: true });
    }
    Ok(addresses)
}

/// Orders the addresses of two look-ups, as the resolver orders those of one (RFC 6724, section 6): what this machine
/// can reach first, and IPv6 before IPv4.
#[must_use]
pub fn ordered(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    // To connect a socket of datagrams asks for the route, and sends nothing.
    let is_reachable = |ip: &IpAddr| {
        let own: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        UdpSocket::bind((own, 0)).is_ok_and(|socket| socket.connect((*ip, 9)).is_ok())
    };
    addresses.sort_by_cached_key(|ip| (!is_reachable(ip), ip.is_ipv4()));
    addresses
}

fn unresolved(error: &LookupError) -> Unresolved {
    let words = match error.kind() {
        LookupErrorKind::NoName => "no such name (EAI_NONAME)".to_owned(),
        LookupErrorKind::NoData => "the name has no address of this family (EAI_NODATA)".to_owned(),
        LookupErrorKind::Again => "the name server did not answer (EAI_AGAIN)".to_owned(),
        LookupErrorKind::Fail => "the name server failed (EAI_FAIL)".to_owned(),
        _ => format!("the resolver failed (EAI {})", error.error_num()),
    };
    Unresolved { words, is_none: matches!(error.kind(), LookupErrorKind::NoName | LookupErrorKind::NoData) }
}

//! IP packets, taken apart and put together by hand: an observer that shares nothing with sockeye.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::harness::Family;

/// The protocol numbers (IANA).
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;

/// Flags of a TCP header.
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;

/// A packet as it came from the wire.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) ttl: u8,
    /// Whether no router may fragment it: always so with IPv6.
    pub(crate) whole: bool,
    pub(crate) body: Body,
    pub(crate) bytes: Vec<u8>,
}

/// What it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Echo { id: u16, sequence: u16, payload: Vec<u8> },
    Syn { source: u16, port: u16, number: u32 },
    Udp { source: u16, port: u16, payload: Vec<u8> },
}

impl Packet {
    pub(crate) fn family(&self) -> Family {
        if self.to.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        _ => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
    }
}

/// Takes a packet apart, where it asks something and its checksums are right.
pub(super) fn parse(bytes: &[u8]) -> Option<Packet> {
    let (protocol, ttl, whole, ends, at) = match bytes.first()? >> 4 {
        4 => {
            let fragment = word(bytes, 6)?;
            if fragment & 0x3fff != 0 {
                return None;
            }
            (*bytes.get(9)?, bytes[8], fragment & 0x4000 != 0, bytes.get(12..20)?, usize::from(bytes[0] & 15) * 4)
        }
        6 => (*bytes.get(6)?, *bytes.get(7)?, true, bytes.get(8..40)?, 40),
        _ => return None,
    };
    let (from, to) = ends.split_at(ends.len() / 2);
    let (from, to) = (address(from)?, address(to)?);
    let rest = bytes.get(at..)?;
    let body = match (protocol, rest.first()?) {
        (ICMP, 8) | (ICMP_V6, 128) => {
            Body::Echo { id: word(rest, 4)?, sequence: word(rest, 6)?, payload: rest.get(8..)?.to_vec() }
        }
        (TCP, _) if rest.get(13)? & (SYN | ACK | RST) == SYN => {
            let number = u32::from_be_bytes(rest.get(4..8)?.try_into().ok()?);
            Body::Syn { source: word(rest, 0)?, port: word(rest, 2)?, number }
        }
        (UDP, _) => Body::Udp { source: word(rest, 0)?, port: word(rest, 2)?, payload: rest.get(8..)?.to_vec() },
        _ => return None,
    };
    let pseudo = if protocol == ICMP { 0 } else { pseudo_sum(from, to, protocol, rest.len()) };
    assert_eq!(fold(pseudo + sum(rest)), 0xffff, "the checksum of {body:?} is right");
    Some(Packet { from, to, ttl, whole, body, bytes: bytes.to_vec() })
}

/// Adds up the 16-bit words (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum >> 16 > 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("16 bits are left")
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The sum of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1).
fn pseudo_sum(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> u64 {
    sum(&octets(from)) + sum(&octets(to)) + u64::from(protocol) + length as u64
}

/// Returns a whole IP packet; the checksum of what is in it stands at `checksum`, 0 so far.
fn packet(from: IpAddr, to: IpAddr, protocol: u8, ttl: u8, mut body: Vec<u8>, checksum: usize) -> Vec<u8> {
    let pseudo = if protocol == ICMP { 0 } else { pseudo_sum(from, to, protocol, body.len()) };
    let value = !fold(pseudo + sum(&body));
    body[checksum..checksum + 2].copy_from_slice(&value.to_be_bytes());
    let length = |more: usize| u16::try_from(body.len() + more).expect("a packet of at most 64 KiB").to_be_bytes();
    let mut made = match from {
        IpAddr::V4(_) => {
            let mut header = vec![0x45, 0];
            header.extend(length(20));
            header.extend([0, 1, 0, 0, ttl, protocol, 0, 0]);
            header.extend(octets(from).into_iter().chain(octets(to)));
            let value = !fold(sum(&header));
            header[10..12].copy_from_slice(&value.to_be_bytes());
            header
        }
        IpAddr::V6(_) => {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length(0));
            header.extend([protocol, ttl]);
            header.extend(octets(from).into_iter().chain(octets(to)));
            header
        }
    };
    made.append(&mut body);
    made
}

/// Returns a packet of ICMP: its type and code, the four bytes after the checksum, what follows.
pub(super) fn icmp(from: IpAddr, to: IpAddr, ttl: u8, head: [u8; 2], next: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let protocol = if from.is_ipv4() { ICMP } else { ICMP_V6 };
    let body = [&head[..], &[0, 0], &next, rest].concat();
    packet(from, to, protocol, ttl, body, 2)
}

/// Returns a packet of TCP without data or options.
pub(super) fn tcp(ends: [(IpAddr, u16); 2], ttl: u8, flags: u8, acknowledged: u32) -> Vec<u8> {
    let [(from, source), (to, port)] = ends;
    let mut body = [source.to_be_bytes(), port.to_be_bytes()].concat();
    body.extend(1000_u32.to_be_bytes());
    body.extend(acknowledged.to_be_bytes());
    body.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet(from, to, TCP, ttl, body, 16)
}

/// Returns a datagram.
pub(super) fn udp(ends: [(IpAddr, u16); 2], ttl: u8, payload: &[u8]) -> Vec<u8> {
    let [(from, source), (to, port)] = ends;
    let length = u16::try_from(payload.len() + 8).expect("a datagram of at most 64 KiB");
    let mut body = [source, port, length, 0].map(u16::to_be_bytes).concat();
    body.extend(payload);
    packet(from, to, UDP, ttl, body, 6)
}

/// Appends a stack of MPLS labels to what an ICMP error quotes (RFC 4884, 7; RFC 4950): the quote
/// gets 128 bytes. Returns its length in the unit of the family.
pub(super) fn with_labels(family: Family, quote: &mut Vec<u8>, labels: &[u32]) -> u8 {
    quote.resize(128, 0);
    let length = u16::try_from(4 + 4 * labels.len()).expect("a few labels");
    let mut objects = [0x20, 0, 0, 0].to_vec();
    objects.extend(length.to_be_bytes());
    objects.extend([1, 1]);
    for (index, label) in labels.iter().enumerate() {
        let is_last = u32::from(index + 1 == labels.len());
        objects.extend((label << 12 | is_last << 8 | 1).to_be_bytes());
    }
    let value = !fold(sum(&objects));
    objects[2..4].copy_from_slice(&value.to_be_bytes());
    quote.append(&mut objects);
    if family == Family::V4 { 128 / 4 } else { 128 / 8 }
}

/// Spoils the checksum of the ICMP message in a packet.
pub(super) fn spoil_checksum(packet: &mut [u8]) {
    let at = if packet[0] >> 4 == 4 { 20 } else { 40 };
    packet[at + 2] ^= 0x5a;
}

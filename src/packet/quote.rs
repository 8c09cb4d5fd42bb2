//! The packet that an ICMP error quotes: the beginning of what was sent (RFC 792; RFC 1812, 4.3.2.3;
//! RFC 4443, 2.4). Anybody can send an error, so nothing of it is believed that is not there.

use std::net::IpAddr;

use pnet::packet::icmp::{IcmpCode, IcmpTypes, echo_request};
use pnet::packet::icmpv6::{self, Icmpv6Code, Icmpv6Types};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv6::{ExtensionPacket, FragmentPacket, Ipv6Packet};
use pnet::packet::tcp::TcpPacket;
use pnet::packet::udp::UdpPacket;

use super::echo::HEADER;
use super::ip;

/// The octets of a transport header that every error quotes (RFC 792, page 5), and that tell whose
/// packet it was.
const LEAST: usize = 8;

/// What an error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote<'a> {
    /// Whom it was sent to: the target.
    pub to: IpAddr,
    /// Who sent it; behind a NAT that does not translate quotes, not us.
    pub from: IpAddr,
    /// The TTL or hop limit that it had where the error arose.
    pub hops: u8,
    /// The type of service or traffic class that it had there: DSCP and ECN.
    pub class: u8,
    /// What it carried.
    pub what: Quoted<'a>,
}

/// What a quoted packet carried. The data are those that are there, often none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoted<'a> {
    /// An echo request.
    Echo {
        /// Its identifier.
        id: u16,
        /// Its sequence number.
        sequence: u16,
        /// The beginning of its data.
        data: &'a [u8],
    },
    /// A UDP datagram.
    Udp {
        /// The port it was sent from.
        source: u16,
        /// The port it was sent to.
        destination: u16,
        /// The beginning of its data.
        data: &'a [u8],
    },
    /// A TCP segment.
    Tcp {
        /// The port it was sent from.
        source: u16,
        /// The port it was sent to.
        destination: u16,
        /// Its sequence number.
        sequence: u32,
    },
    /// Something else, a later fragment, or too little to tell.
    Unknown,
}

/// Reads a quote from its IP header on; `None` where that is not whole, or of the other family.
#[must_use]
pub fn read(bytes: &[u8], is_v6: bool) -> Option<Quote<'_>> {
    if is_v6 { read_v6(bytes) } else { read_v4(bytes) }
}

/// Reads what the kernel's error queue gives of a datagram that left an ICMP socket: it begins with
/// the ICMP header. `None` where that is no whole header of an echo request.
#[must_use]
pub fn read_echo(bytes: &[u8], is_v6: bool) -> Option<Quoted<'_>> {
    let (id, sequence) = if is_v6 {
        let request = icmpv6::echo_request::EchoRequestPacket::new(bytes)?;
        let (kind, code) = (request.get_icmpv6_type(), request.get_icmpv6_code());
        if kind != Icmpv6Types::EchoRequest || code != Icmpv6Code(0) {
            return None;
        }
        (request.get_identifier(), request.get_sequence_number())
    } else {
        let request = echo_request::EchoRequestPacket::new(bytes)?;
        let (kind, code) = (request.get_icmp_type(), request.get_icmp_code());
        if kind != IcmpTypes::EchoRequest || code != IcmpCode(0) {
            return None;
        }
        (request.get_identifier(), request.get_sequence_number())
    };
    Some(Quoted::Echo { id, sequence, data: bytes.get(HEADER..)? })
}

/// Reads a quote from its IPv4 header on.
fn read_v4(bytes: &[u8]) -> Option<Quote<'_>> {
    let quoted = ip::open(bytes)?;
    let what = if quoted.is_beginning { carried(quoted.protocol, quoted.body, false) } else { Quoted::Unknown };
    let ip::IpHeader { hops, class, from, to } = quoted.header;
    Some(Quote { to: to.into(), from: from.into(), hops, class, what })
}

/// Reads a quote from its IPv6 header on (RFC 8200, 3).
fn read_v6(bytes: &[u8]) -> Option<Quote<'_>> {
    let packet = Ipv6Packet::new(bytes).filter(|packet| packet.get_version() == 6)?;
    let body = bytes.get(Ipv6Packet::minimum_packet_size()..)?;
    let body = body.get(..packet.get_payload_length().into()).unwrap_or(body);
    let what = behind_extensions(packet.get_next_header(), body)
        .map_or(Quoted::Unknown, |(protocol, body)| carried(protocol, body, true));
    Some(Quote {
        to: packet.get_destination().into(),
        from: packet.get_source().into(),
        hops: packet.get_hop_limit(),
        class: packet.get_traffic_class(),
        what,
    })
}

/// Walks the extension headers of IPv6 (RFC 8200, 4) to what is behind them; `None` where one is
/// not whole, or is that of a later fragment.
fn behind_extensions(mut protocol: IpNextHeaderProtocol, mut body: &[u8]) -> Option<(IpNextHeaderProtocol, &[u8])> {
    // Each is 8 octets at least, so this ends with the body.
    loop {
        let length = match protocol {
            IpNextHeaderProtocols::Hopopt | IpNextHeaderProtocols::Ipv6Route | IpNextHeaderProtocols::Ipv6Opts => {
                8 + 8 * usize::from(ExtensionPacket::new(body)?.get_hdr_ext_len())
            }
            IpNextHeaderProtocols::Ipv6Frag => {
                // The offset is the upper 13 bits (RFC 8200, 4.5); pnet's own getter takes 14.
                if FragmentPacket::new(body)?.get_fragment_offset_with_flags() >> 3 != 0 {
                    return None;
                }
                FragmentPacket::minimum_packet_size()
            }
            _ => return Some((protocol, body)),
        };
        protocol = ExtensionPacket::new(body)?.get_next_header();
        body = body.get(length..)?;
    }
}

/// Tells what an IP packet carried, by the beginning of its body.
fn carried(protocol: IpNextHeaderProtocol, body: &[u8], is_v6: bool) -> Quoted<'_> {
    let known = match protocol {
        IpNextHeaderProtocols::Icmp if !is_v6 => read_echo(body, false),
        IpNextHeaderProtocols::Icmpv6 if is_v6 => read_echo(body, true),
        IpNextHeaderProtocols::Udp => read_udp(body),
        IpNextHeaderProtocols::Tcp => read_tcp(body),
        _ => None,
    };
    known.unwrap_or(Quoted::Unknown)
}

/// Reads the beginning of a UDP datagram; `None` where its header is not whole or its length is
/// less than that.
fn read_udp(body: &[u8]) -> Option<Quoted<'_>> {
    let datagram = UdpPacket::new(body)?;
    let data = body.get(LEAST..body.len().min(datagram.get_length().into()))?;
    Some(Quoted::Udp { source: datagram.get_source(), destination: datagram.get_destination(), data })
}

/// Reads the beginning of a TCP segment, of which an error need not quote the whole header; `None`
/// where even [`LEAST`] is not there.
fn read_tcp(body: &[u8]) -> Option<Quoted<'_>> {
    let mut header = [0; TcpPacket::minimum_packet_size()];
    header[..LEAST].copy_from_slice(body.first_chunk::<LEAST>()?);
    let segment = TcpPacket::new(&header)?;
    Some(Quoted::Tcp {
        source: segment.get_source(),
        destination: segment.get_destination(),
        sequence: segment.get_sequence(),
    })
}

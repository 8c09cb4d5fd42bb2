//! The ICMP messages that come in: replies to echo requests, and errors (RFC 792; RFC 4443).

use std::net::Ipv6Addr;

use pnet::packet::icmp::destination_unreachable::DestinationUnreachablePacket;
use pnet::packet::icmp::echo_reply::EchoReplyPacket;
use pnet::packet::icmp::{IcmpPacket, IcmpType, IcmpTypes};
use pnet::packet::icmpv6::{self, Icmpv6Packet, Icmpv6Type, Icmpv6Types};
use pnet::packet::ip::IpNextHeaderProtocols;

use super::objects::{self, Objects};
use super::quote::{self, Quote};
use super::{checksum, echo, ip};

pub use super::ip::IpHeader;

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A reply to an echo request.
    Reply(EchoReply<'a>),
    /// An error about a packet.
    Error(IcmpError<'a>),
    /// Something else, or too short to be either.
    Other,
}

/// A reply to an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoReply<'a> {
    /// The identifier of the request.
    pub id: u16,
    /// The sequence number of the request.
    pub sequence: u16,
    /// The data of the request.
    pub data: &'a [u8],
    /// Whether its checksum is right and its code 0.
    pub is_sound: bool,
}

/// An error about a packet. Its name is in [`super::icmp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpError<'a> {
    /// Its type. Redirect and source quench of IPv4 are errors too, though the packet went on.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The MTU that the packet was too big for, where the router tells it (RFC 1191, 4).
    pub mtu: Option<u32>,
    /// The packet that it is about, where its header is there.
    pub quote: Option<Quote<'a>>,
    /// What the router adds (RFC 4884).
    pub objects: Objects<'a>,
    /// Whether its checksum is right.
    pub is_sound: bool,
}

/// Reads an IPv4 packet as a raw socket gives it, from its header on; `None` where it is no ICMP
/// packet, a fragment that is not the first, or not as long as its header.
#[must_use]
pub fn read_v4(packet: &[u8]) -> Option<(IpHeader, Message<'_>)> {
    let packet = ip::open(packet)?;
    let is_icmp = packet.is_beginning && packet.protocol == IpNextHeaderProtocols::Icmp;
    is_icmp.then(|| (packet.header, read_icmp(packet.body)))
}

/// Reads an ICMP message of IPv4, without the IP header: as an ICMP datagram socket gives it.
#[must_use]
pub fn read_icmp(message: &[u8]) -> Message<'_> {
    try_icmp(message).unwrap_or(Message::Other)
}

/// Reads an ICMP message of IPv6, as sockets give it. Its checksum covers the addresses that it came
/// from and to; without them it is taken for right, for the kernel delivers no other.
#[must_use]
pub fn read_icmpv6(message: &[u8], addresses: Option<(Ipv6Addr, Ipv6Addr)>) -> Message<'_> {
    try_icmpv6(message, addresses).unwrap_or(Message::Other)
}

/// Reads an ICMP message of IPv4; `None` where it is too short or something else.
fn try_icmp(message: &[u8]) -> Option<Message<'_>> {
    let [_, _, _, _, _, length, _, _] = *message.first_chunk::<{ echo::HEADER }>()?;
    let body = message.get(echo::HEADER..)?;
    let header = IcmpPacket::new(message)?;
    let (kind, code) = (header.get_icmp_type(), header.get_icmp_code().0);
    let is_right = checksum::is_right(message);
    // Which have the length of their quote (RFC 4884, 4): in words of 32 bits.
    let (quoted, objects) = match kind {
        IcmpTypes::EchoReply => {
            let reply = EchoReplyPacket::new(message)?;
            return Some(Message::Reply(EchoReply {
                id: reply.get_identifier(),
                sequence: reply.get_sequence_number(),
                data: body,
                is_sound: is_right && code == 0,
            }));
        }
        IcmpTypes::DestinationUnreachable | IcmpTypes::TimeExceeded | IcmpTypes::ParameterProblem => {
            objects::part(body, 4 * usize::from(length))
        }
        IcmpTypes::SourceQuench | IcmpTypes::RedirectMessage => (body, Objects::default()),
        _ => return None,
    };
    let mtu = match (kind, code) {
        (IcmpTypes::DestinationUnreachable, 4) => DestinationUnreachablePacket::new(message)?.get_next_hop_mtu(),
        _ => 0,
    };
    let quote = quote::read(quoted, false);
    // A router older than RFC 1191 leaves it 0.
    let mtu = (mtu != 0).then_some(mtu.into());
    let IcmpType(kind) = kind;
    Some(Message::Error(IcmpError { kind, code, mtu, quote, objects, is_sound: is_right }))
}

/// Reads an ICMP message of IPv6; `None` where it is too short or something else.
fn try_icmpv6(message: &[u8], addresses: Option<(Ipv6Addr, Ipv6Addr)>) -> Option<Message<'_>> {
    let word @ [length, _, _, _] = *message.get(4..)?.first_chunk()?;
    let body = message.get(echo::HEADER..)?;
    let header = Icmpv6Packet::new(message)?;
    let (kind, code) = (header.get_icmpv6_type(), header.get_icmpv6_code().0);
    let is_right =
        addresses.is_none_or(|(from, to)| checksum::is_right_v6(message, from, to, IpNextHeaderProtocols::Icmpv6));
    // Which have the length of their quote (RFC 4884, 4): in words of 64 bits.
    let (quoted, objects) = match kind {
        Icmpv6Types::EchoReply => {
            let reply = icmpv6::echo_reply::EchoReplyPacket::new(message)?;
            return Some(Message::Reply(EchoReply {
                id: reply.get_identifier(),
                sequence: reply.get_sequence_number(),
                data: body,
                is_sound: is_right && code == 0,
            }));
        }
        Icmpv6Types::DestinationUnreachable | Icmpv6Types::TimeExceeded => objects::part(body, 8 * usize::from(length)),
        // Errors that nobody knows quote too (RFC 4443, 2.1 and 2.4); 0 is reserved.
        Icmpv6Type(1..=127) => (body, Objects::default()),
        _ => return None,
    };
    // pnet has no type for it (RFC 4443, 3.2).
    let mtu = (kind == Icmpv6Types::PacketTooBig).then(|| u32::from_be_bytes(word));
    let quote = quote::read(quoted, true);
    let Icmpv6Type(kind) = kind;
    Some(Message::Error(IcmpError { kind, code, mtu, quote, objects, is_sound: is_right }))
}

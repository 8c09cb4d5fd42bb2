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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::packet::objects::{Label, Object};
    use crate::packet::quote::Quoted;
    use crate::packet::reckoned;

    const FROM: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const TO: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

    /// An echo request from 198.51.100.2 to 192.0.2.1, as a router quotes it.
    const QUOTE: [u8; 28] = [
        0x45, 0x00, 0x00, 0x54, 0x12, 0x34, 0x40, 0x00, 0x01, 0x01, 0x00, 0x00, 198, 51, 100, 2, 192, 0, 2,
        1, // IP
        8, 0, 0xab, 0xcd, 0x12, 0x34, 0x00, 0x07, // ICMP
    ];

    /// An echo request from [`TO`] to [`FROM`], as a router quotes it.
    const QUOTE_V6: [u8; 48] = [
        0x60, 0x00, 0x00, 0x00, 0x00, 0x40, 0x3a, 0x01, // up to the addresses
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, // from
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // to
        128, 0, 0xab, 0xcd, 0x12, 0x34, 0x00, 0x07, // ICMP
    ];

    /// A structure of one object of one MPLS label, without a checksum (RFC 4884, 7; RFC 4950, 2).
    const STRUCTURE: [u8; 12] = [0x20, 0, 0, 0, 0, 8, 1, 1, 0x05, 0xdc, 0xf1, 0x01];

    /// Makes a message of IPv4 with its checksum.
    fn v4(kind: u8, code: u8, word: [u8; 4], parts: &[&[u8]]) -> Vec<u8> {
        let mut message = [&[kind, code, 0, 0][..], &word, &parts.concat()].concat();
        let checksum = reckoned::checksum(&[&message]);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        message
    }

    /// Makes a message of IPv6 from [`FROM`] to [`TO`] with its checksum.
    fn v6(kind: u8, code: u8, word: [u8; 4], parts: &[&[u8]]) -> Vec<u8> {
        let mut message = [&[kind, code, 0, 0][..], &word, &parts.concat()].concat();
        let pseudo = reckoned::pseudo_v6(FROM.octets(), TO.octets(), message.len(), 58);
        let checksum = reckoned::checksum(&[&pseudo, &message]);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        message
    }

    /// Reads a message of either family.
    fn read(message: &[u8], is_v6: bool) -> Message<'_> {
        if is_v6 { read_icmpv6(message, Some((FROM, TO))) } else { read_icmp(message) }
    }

    /// Returns the error that a message is.
    #[track_caller]
    fn error(message: Message<'_>) -> IcmpError<'_> {
        match message {
            Message::Error(error) => error,
            other => panic!("{other:?}"),
        }
    }

    /// Returns whether an error is about the echo request of the quotes.
    fn is_about_request(error: &IcmpError<'_>) -> bool {
        error.quote.is_some_and(|quote| quote.what == Quoted::Echo { id: 0x1234, sequence: 7, data: b"" })
    }

    #[test]
    fn a_reply_is_read_behind_its_ip_header() {
        let message = [0, 0, 0xc9, 0xff, 0x12, 0x34, 0, 7, b'a', b'b', b'a', b'b', b'a'];
        let ip = [0x45, 0x00, 0x00, 33, 0, 0, 0, 0, 57, 1, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2];
        let packet = [&ip[..], &message].concat();
        let header = IpHeader { hops: 57, to: Ipv4Addr::new(198, 51, 100, 2) };
        let reply = EchoReply { id: 0x1234, sequence: 7, data: b"ababa", is_sound: true };
        assert_eq!(read_v4(&packet), Some((header, Message::Reply(reply))));
        // Cut short by the one who took it in.
        let cut = EchoReply { data: b"abab", is_sound: false, ..reply };
        assert_eq!(read_v4(&packet[..32]), Some((header, Message::Reply(cut))));
        assert_eq!(read_v4(&packet[..27]), Some((header, Message::Other)));
        for (at, wrong) in [(0, 0x65), (0, 0x4f), (0, 0x44), (9, 6), (7, 1)] {
            let mut packet = packet.clone();
            packet[at] = wrong;
            assert_eq!(read_v4(&packet), None, "{at}: {wrong:#x}");
        }
    }

    #[test]
    fn a_damaged_reply_is_not_sound() {
        let message = v4(0, 0, [0x12, 0x34, 0, 7], &[b"data"]);
        let reply = EchoReply { id: 0x1234, sequence: 7, data: b"data", is_sound: true };
        assert_eq!(read_icmp(&message), Message::Reply(reply));
        let with_code = v4(0, 1, [0x12, 0x34, 0, 7], &[b"data"]);
        assert_eq!(read_icmp(&with_code), Message::Reply(EchoReply { is_sound: false, ..reply }));
        let mut damaged = message;
        damaged[11] = b'e';
        assert_eq!(read_icmp(&damaged), Message::Reply(EchoReply { data: b"date", is_sound: false, ..reply }));
    }

    #[test]
    fn a_reply_of_ipv6_is_checked_with_its_addresses() {
        let message = v6(129, 0, [0x12, 0x34, 0, 7], &[b"data"]);
        let reply = EchoReply { id: 0x1234, sequence: 7, data: b"data", is_sound: true };
        assert_eq!(read_icmpv6(&message, Some((FROM, TO))), Message::Reply(reply));
        assert_eq!(read_icmpv6(&message, None), Message::Reply(reply));
        let elsewhere = Some((FROM, Ipv6Addr::LOCALHOST));
        assert_eq!(read_icmpv6(&message, elsewhere), Message::Reply(EchoReply { is_sound: false, ..reply }));
        let with_code = v6(129, 1, [0x12, 0x34, 0, 7], &[b"data"]);
        assert_eq!(read_icmpv6(&with_code, None), Message::Reply(EchoReply { is_sound: false, ..reply }));
    }

    #[test]
    fn an_error_tells_what_it_is_about() {
        let message = v4(3, 1, [0; 4], &[&QUOTE]);
        let error = error(read_icmp(&message));
        assert_eq!((error.kind, error.code, error.mtu, error.is_sound), (3, 1, None, true));
        assert!(is_about_request(&error));
        assert_eq!(error.quote.map(|quote| quote.to), Some(Ipv4Addr::new(192, 0, 2, 1).into()));
        assert_eq!(error.objects.count(), 0);
    }

    #[test]
    fn an_error_of_ipv6_tells_what_it_is_about() {
        for kind in [1, 3, 4, 100] {
            let message = v6(kind, 0, [0; 4], &[&QUOTE_V6]);
            let error = error(read_icmpv6(&message, Some((FROM, TO))));
            assert_eq!((error.kind, error.code, error.mtu, error.is_sound), (kind, 0, None, true));
            assert!(is_about_request(&error));
            assert_eq!(error.quote.map(|quote| quote.to), Some(FROM.into()));
        }
    }

    #[test]
    fn the_mtu_is_told_where_the_packet_was_too_big() {
        assert_eq!(error(read_icmp(&v4(3, 4, [0, 0, 0x05, 0xdc], &[&QUOTE]))).mtu, Some(1500));
        assert_eq!(error(read_icmp(&v4(3, 4, [0; 4], &[&QUOTE]))).mtu, None);
        assert_eq!(error(read_icmp(&v4(3, 3, [0, 0, 0x05, 0xdc], &[&QUOTE]))).mtu, None);
        let message = v6(2, 0, [0, 0x01, 0x05, 0xdc], &[&QUOTE_V6]);
        assert_eq!(error(read_icmpv6(&message, None)).mtu, Some(67036));
    }

    #[test]
    fn the_length_of_a_quote_is_in_words_of_its_family() {
        let labels = [Object::Mpls(vec![Label { label: 24015, class: 0, ttl: 1 }])];
        let filled = [&QUOTE[..], &[0; 100]].concat();
        for kind in [3, 11, 12] {
            let message = v4(kind, 0, [0, 32, 0, 0], &[&filled, &STRUCTURE]);
            let error = error(read_icmp(&message));
            assert_eq!(error.objects.collect::<Vec<_>>(), labels, "{kind}");
            let Some(Quoted::Echo { data, .. }) = error.quote.map(|quote| quote.what) else { panic!("{kind}") };
            assert_eq!(data.len(), 84 - 28);
        }
        let filled = [&QUOTE_V6[..], &[0; 88]].concat();
        for kind in [1, 3] {
            let message = v6(kind, 0, [17, 0, 0, 0], &[&filled, &STRUCTURE]);
            let error = error(read_icmpv6(&message, None));
            assert_eq!(error.objects.collect::<Vec<_>>(), labels, "{kind}");
            let Some(Quoted::Echo { data, .. }) = error.quote.map(|quote| quote.what) else { panic!("{kind}") };
            assert_eq!(data.len(), 64 - 8);
        }
        // Neither a gateway nor an MTU is a length.
        let filled = [&QUOTE[..], &[0; 100]].concat();
        let message = v4(5, 1, [192, 32, 2, 7], &[&filled, &STRUCTURE]);
        assert_eq!(error(read_icmp(&message)).objects.count(), 0);
        let filled = [&QUOTE_V6[..], &[0; 88]].concat();
        let message = v6(2, 0, [17, 0, 0, 0], &[&filled, &STRUCTURE]);
        assert_eq!(error(read_icmpv6(&message, None)).objects.count(), 0);
    }

    #[test]
    fn the_objects_are_no_data_of_the_quote() {
        // A packet longer than its quote: only the length in the header of the error ends that.
        let mut long = [&QUOTE[..], &[7; 100]].concat();
        long[2] = 0x05;
        let message = v4(11, 0, [0, 32, 0, 0], &[&long, &STRUCTURE]);
        let error = error(read_icmp(&message));
        let expected = Quoted::Echo { id: 0x1234, sequence: 7, data: &[7; 100] };
        assert_eq!(error.quote.map(|quote| quote.what), Some(expected));
    }

    #[test]
    fn an_error_may_quote_nothing_or_be_damaged() {
        for (length, has_quote) in [(0, false), (19, false), (20, true)] {
            let message = v4(11, 0, [0; 4], &[&QUOTE[..length]]);
            let error = error(read_icmp(&message));
            assert_eq!(error.quote.is_some(), has_quote);
            assert!(error.is_sound && !is_about_request(&error));
        }
        let mut message = v4(11, 0, [0; 4], &[&QUOTE]);
        message[35] ^= 1;
        assert!(!error(read_icmp(&message)).is_sound);
        let mut message = v6(3, 0, [0; 4], &[&QUOTE_V6]);
        message[55] ^= 1;
        assert!(!error(read_icmpv6(&message, Some((FROM, TO)))).is_sound);
    }

    #[test]
    fn anything_else_is_something_else() {
        for kind in [8, 9, 10, 13, 14, 40, 128, 129] {
            assert_eq!(read_icmp(&v4(kind, 0, [0; 4], &[&QUOTE])), Message::Other, "{kind}");
        }
        for kind in [0, 128, 130, 134, 135, 137, 255] {
            assert_eq!(read_icmpv6(&v6(kind, 0, [0; 4], &[&QUOTE_V6]), None), Message::Other, "{kind}");
        }
        for length in 0..8 {
            for (kind, kind_v6) in [(0, 129), (3, 1)] {
                assert_eq!(read_icmp(&v4(kind, 0, [0; 4], &[])[..length]), Message::Other);
                assert_eq!(read_icmpv6(&v6(kind_v6, 0, [0; 4], &[])[..length], None), Message::Other);
            }
        }
    }

    proptest! {
        #[test]
        fn a_reply_reads_back_and_no_changed_bit_is_sound(
            word: [u8; 4],
            data in prop::collection::vec(any::<u8>(), 0..80),
            changed: prop::sample::Index,
            bit in 0..8_u8,
        ) {
            let [a, b, c, d] = word;
            let (id, sequence) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let reply = EchoReply { id, sequence, data: &data, is_sound: true };
            for (mut message, is_v6) in [(v4(0, 0, word, &[&data]), false), (v6(129, 0, word, &[&data]), true)] {
                prop_assert_eq!(read(&message, is_v6), Message::Reply(reply));
                let at = changed.index(message.len());
                message[at] ^= 1 << bit;
                let is_sound = match read(&message, is_v6) {
                    Message::Reply(reply) => reply.is_sound,
                    Message::Error(error) => error.is_sound,
                    Message::Other => false,
                };
                prop_assert!(!is_sound);
            }
        }

        #[test]
        fn no_octets_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_v4(&bytes);
            let _ = read_icmp(&bytes);
            let _ = read_icmpv6(&bytes, None);
            let _ = read_icmpv6(&bytes, Some((FROM, TO)));
        }

        #[test]
        fn no_change_makes_it_panic(
            kind in prop::sample::select(vec![0_u8, 1, 2, 3, 4, 5, 11, 12, 129]),
            changed in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            length: prop::sample::Index,
            fill in 0..120_usize,
        ) {
            let filled = vec![0; fill];
            for mut message in [
                v4(kind, 0, [0, 32, 0, 0], &[&QUOTE, &filled, &STRUCTURE]),
                v6(kind, 0, [16, 0, 0, 0], &[&QUOTE_V6, &filled, &STRUCTURE]),
            ] {
                for (at, octet) in &changed {
                    let at = at.index(message.len());
                    message[at] = *octet;
                }
                let message = &message[..length.index(message.len() + 1)];
                for heard in [read_icmp(message), read_icmpv6(message, None)] {
                    if let Message::Error(error) = heard {
                        prop_assert!(error.objects.count() <= message.len());
                    }
                }
            }
        }
    }
}

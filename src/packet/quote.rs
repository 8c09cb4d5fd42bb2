//! The packet that an ICMP error quotes: the beginning of what was sent (RFC 792; RFC 1812, 4.3.2.3;
//! RFC 4443, 2.4). Anybody can send an error, so nothing of it is believed that is not there.

use std::net::IpAddr;

use pnet::packet::icmp::{IcmpCode, IcmpTypes, echo_request};
use pnet::packet::icmpv6::{self, Icmpv6Code, Icmpv6Types};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv6::{ExtensionPacket, FragmentPacket, Ipv6Packet};
use pnet::packet::tcp::TcpPacket;

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
    Some(Quote { to: quoted.header.to.into(), what })
}

/// Reads a quote from its IPv6 header on (RFC 8200, 3).
fn read_v6(bytes: &[u8]) -> Option<Quote<'_>> {
    let packet = Ipv6Packet::new(bytes).filter(|packet| packet.get_version() == 6)?;
    let body = bytes.get(Ipv6Packet::minimum_packet_size()..)?;
    let body = body.get(..packet.get_payload_length().into()).unwrap_or(body);
    let what = behind_extensions(packet.get_next_header(), body)
        .map_or(Quoted::Unknown, |(protocol, body)| carried(protocol, body, true));
    Some(Quote { to: packet.get_destination().into(), what })
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
        IpNextHeaderProtocols::Tcp => read_tcp(body),
        _ => None,
    };
    known.unwrap_or(Quoted::Unknown)
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    /// 198.51.100.2 to 192.0.2.1, 84 octets long, of which only these were quoted; TTL 1.
    const IPV4: [u8; 20] =
        [0x45, 0x48, 0x00, 0x54, 0x12, 0x34, 0x40, 0x00, 0x01, 0x01, 0x00, 0x00, 198, 51, 100, 2, 192, 0, 2, 1];

    /// 2001:db8::2 to 2001:db8::1, traffic class 0xb8, 64 octets behind it, hop limit 1.
    const IPV6: [u8; 40] = [
        0x6b, 0x80, 0x12, 0x34, 0x00, 0x40, 0x3a, 0x01, // up to the addresses
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, // from
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // to
    ];

    const ECHO: [u8; 12] = [8, 0, 0xab, 0xcd, 0x12, 0x34, 0x00, 0x07, b'd', b'a', b't', b'a'];
    const ECHO_V6: [u8; 12] = [128, 0, 0xab, 0xcd, 0x12, 0x34, 0x00, 0x07, b'd', b'a', b't', b'a'];
    const UDP: [u8; 12] = [0x9c, 0x40, 0x82, 0x9b, 0x00, 0x40, 0, 0, b'd', b'a', b't', b'a'];
    const TCP: [u8; 8] = [0x9c, 0x40, 0x01, 0xbb, 1, 2, 3, 4];

    const IS_ECHO: Quoted<'_> = Quoted::Echo { id: 0x1234, sequence: 7, data: b"data" };
    const IS_TCP: Quoted<'_> = Quoted::Tcp { source: 40000, destination: 443, sequence: 0x0102_0304 };

    /// Makes a quote of an IPv4 packet that carries something.
    fn v4(protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut quote = [&IPV4[..], body].concat();
        quote[9] = protocol;
        quote
    }

    /// Makes a quote of an IPv6 packet with what comes behind its header, the first of it named.
    fn v6(next: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut quote = [&IPV6[..], &parts.concat()].concat();
        quote[6] = next;
        quote
    }

    /// Returns what a quote that can be read carries.
    fn what(bytes: &[u8], is_v6: bool) -> Quoted<'_> {
        read(bytes, is_v6).unwrap().what
    }

    #[test]
    fn a_quote_tells_what_was_sent() {
        let expected = Quote { to: Ipv4Addr::new(192, 0, 2, 1).into(), what: IS_ECHO };
        assert_eq!(read(&v4(1, &ECHO), false), Some(expected));
        // The error queue tells of datagrams.
        assert_eq!(what(&v4(17, &UDP), false), Quoted::Unknown);
        assert_eq!(what(&v4(6, &TCP), false), IS_TCP);
    }

    #[test]
    fn a_quote_of_ipv6_tells_what_was_sent() {
        let expected = Quote { to: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(), what: IS_ECHO };
        assert_eq!(read(&v6(58, &[&ECHO_V6]), true), Some(expected));
        assert_eq!(what(&v6(6, &[&TCP]), true), IS_TCP);
    }

    #[test]
    fn eight_octets_are_enough_and_fewer_are_not() {
        let echo = v4(1, &ECHO);
        assert_eq!(what(&echo[..28], false), Quoted::Echo { id: 0x1234, sequence: 7, data: b"" });
        for (protocol, body) in [(1, &ECHO[..7]), (6, &TCP[..7]), (1, &[])] {
            assert_eq!(what(&v4(protocol, body), false), Quoted::Unknown);
        }
        for (protocol, body) in [(58, &ECHO_V6[..7]), (6, &TCP[..7]), (58, &[])] {
            assert_eq!(what(&v6(protocol, &[body]), true), Quoted::Unknown);
        }
    }

    #[test]
    fn a_header_that_is_not_whole_is_no_quote() {
        for length in 0..20 {
            assert_eq!(read(&IPV4[..length], false), None, "{length}");
        }
        for length in 0..40 {
            assert_eq!(read(&IPV6[..length], true), None, "{length}");
        }
        assert_eq!(read(&v4(1, &ECHO), true), None);
        assert_eq!(read(&v6(58, &[&ECHO_V6]), false), None);
    }

    #[test]
    fn options_of_ipv4_are_skipped() {
        let mut quote = v4(1, &[&[0x94, 4, 0, 0][..], &ECHO].concat());
        quote[0] = 0x46;
        assert_eq!(what(&quote, false), IS_ECHO);
        quote[0] = 0x4f;
        assert_eq!(read(&quote, false), None);
    }

    #[test]
    fn what_is_no_request_of_that_family_is_unknown() {
        let mut reply = ECHO;
        reply[0] = 0;
        assert_eq!(what(&v4(1, &reply), false), Quoted::Unknown);
        let mut with_code = ECHO;
        with_code[1] = 1;
        assert_eq!(what(&v4(1, &with_code), false), Quoted::Unknown);
        assert_eq!(what(&v4(1, &ECHO_V6), false), Quoted::Unknown);
        assert_eq!(what(&v4(58, &ECHO_V6), false), Quoted::Unknown);
        assert_eq!(what(&v6(58, &[&ECHO]), true), Quoted::Unknown);
        assert_eq!(what(&v6(1, &[&ECHO]), true), Quoted::Unknown);
        assert_eq!(what(&v4(47, &ECHO), false), Quoted::Unknown);
    }

    #[test]
    fn a_later_fragment_is_unknown() {
        let mut quote = v4(1, &ECHO);
        quote[6..8].copy_from_slice(&[0x20, 0x00]);
        assert_eq!(what(&quote, false), IS_ECHO);
        quote[6..8].copy_from_slice(&[0x20, 0x01]);
        assert_eq!(what(&quote, false), Quoted::Unknown);
        // The octets of RFC 8200, 4.5: 13 bits of offset, two reserved, M.
        for (offset, expected) in [(0, IS_ECHO), (0b111, IS_ECHO), (0b1000, Quoted::Unknown)] {
            let quote = v6(44, &[&[58, 0, 0, offset, 1, 2, 3, 4], &ECHO_V6]);
            assert_eq!(what(&quote, true), expected, "{offset:#b}");
        }
    }

    #[test]
    fn a_length_cuts_what_is_behind_it() {
        let mut quote = v4(1, &ECHO);
        quote[3] = 30;
        assert_eq!(what(&quote, false), Quoted::Echo { id: 0x1234, sequence: 7, data: b"da" });
        quote[3] = 27;
        assert_eq!(what(&quote, false), Quoted::Unknown);
        quote[3] = 19;
        assert_eq!(read(&quote, false), None);
        let mut quote = v6(58, &[&ECHO_V6]);
        quote[5] = 10;
        assert_eq!(what(&quote, true), Quoted::Echo { id: 0x1234, sequence: 7, data: b"da" });
        quote[5] = 0;
        assert_eq!(what(&quote, true), Quoted::Unknown);
    }

    #[test]
    fn extension_headers_of_ipv6_are_walked() {
        let hop_by_hop = [43, 0, 5, 2, 0, 0, 1, 0];
        let routing = [60, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let options = [44, 0, 1, 4, 0, 0, 0, 0];
        let fragment = [58, 0, 0, 1, 0, 0, 0, 1];
        let parts: [&[u8]; 5] = [&hop_by_hop, &routing, &options, &fragment, &ECHO_V6];
        let quote = v6(0, &parts);
        assert_eq!(what(&quote, true), IS_ECHO);
        for length in 40..quote.len() - 4 {
            assert_eq!(what(&quote[..length], true), Quoted::Unknown, "{length}");
        }
        // One that claims to be longer than all that is there, one that names itself again.
        let mut lying = quote.clone();
        lying[49] = 0xff;
        assert_eq!(what(&lying, true), Quoted::Unknown);
        assert_eq!(what(&v6(60, &[&[60, 0, 0, 0, 0, 0, 0, 0].repeat(8)]), true), Quoted::Unknown);
        // No next header (RFC 8200, 4.7).
        assert_eq!(what(&v6(59, &[&ECHO_V6]), true), Quoted::Unknown);
    }

    #[test]
    fn the_quote_of_an_error_queue_begins_with_icmp() {
        assert_eq!(read_echo(&ECHO, false), Some(IS_ECHO));
        assert_eq!(read_echo(&ECHO_V6, true), Some(IS_ECHO));
        assert_eq!(read_echo(&ECHO_V6, false), None);
        assert_eq!(read_echo(&ECHO[..7], false), None);
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), is_v6: bool) {
            let _ = read(&bytes, is_v6);
            let _ = read_echo(&bytes, is_v6);
        }

        #[test]
        fn no_change_makes_it_panic(
            protocol in prop::sample::select(vec![0_u8, 1, 6, 17, 43, 44, 58, 60]),
            body in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(vec![0_u8, 43, 44, 58, 60])], 0..90),
            changed in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            length: prop::sample::Index,
        ) {
            for (mut quote, is_v6) in [(v4(protocol, &body), false), (v6(protocol, &[&body]), true)] {
                for (at, octet) in &changed {
                    let at = at.index(quote.len());
                    quote[at] = *octet;
                }
                let _ = read(&quote[..length.index(quote.len() + 1)], is_v6);
            }
        }
    }
}

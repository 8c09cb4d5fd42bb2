//! The header of an IPv4 packet (RFC 791, 3.1), as far as its receiver cares.

use std::net::Ipv4Addr;

use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::ipv4::Ipv4Packet;

/// What the header of an IPv4 packet tells of its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// The TTL that it came with.
    pub hops: u8,
    /// Whom it was sent to.
    pub to: Ipv4Addr,
}

/// An IPv4 packet, or the beginning of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened<'a> {
    pub(super) header: IpHeader,
    pub(super) protocol: IpNextHeaderProtocol,
    /// Whether its body is the beginning of what was sent: no fragment further on.
    pub(super) is_beginning: bool,
    /// What is there behind the header and its options, no longer than the header says.
    pub(super) body: &'a [u8],
}

/// Opens an IPv4 packet; `None` where it is of another version, or its header is longer than it is
/// or says that it is.
pub(super) fn open(bytes: &[u8]) -> Option<Opened<'_>> {
    let packet = Ipv4Packet::new(bytes).filter(|packet| packet.get_version() == 4)?;
    let header = usize::from(packet.get_header_length()) * 4;
    if header < Ipv4Packet::minimum_packet_size() {
        return None;
    }
    let end = bytes.len().min(packet.get_total_length().into());
    Some(Opened {
        header: IpHeader { hops: packet.get_ttl(), to: packet.get_destination() },
        protocol: packet.get_next_level_protocol(),
        is_beginning: packet.get_fragment_offset() == 0,
        body: bytes.get(header..end)?,
    })
}

#[cfg(test)]
mod tests {
    use pnet::packet::ip::IpNextHeaderProtocols;
    use proptest::prelude::*;

    use super::*;

    /// An ICMP packet with one option of four octets, from 192.0.2.1 to 198.51.100.2, TTL 57.
    const PACKET: [u8; 28] = [
        0x46, 0xb9, 0x00, 0x1c, 0x12, 0x34, 0x40, 0x00, 0x39, 0x01, 0x00, 0x00, // up to the checksum
        192, 0, 2, 1, 198, 51, 100, 2, // addresses
        0x94, 0x04, 0x00, 0x00, // router alert
        1, 2, 3, 4, // body
    ];

    #[test]
    fn a_header_tells_its_fields() {
        let opened = open(&PACKET).unwrap();
        assert_eq!(opened.header, IpHeader { hops: 57, to: Ipv4Addr::new(198, 51, 100, 2) });
        assert_eq!(opened.protocol, IpNextHeaderProtocols::Icmp);
        assert!(opened.is_beginning);
        assert_eq!(opened.body, [1, 2, 3, 4]);
    }

    #[test]
    fn what_lies_behind_the_total_length_is_not_its_body() {
        let padded = [&PACKET[..], &[0; 18]].concat();
        assert_eq!(open(&padded).unwrap().body, [1, 2, 3, 4]);
        assert_eq!(open(&PACKET[..26]).unwrap().body, [1, 2]);
    }

    #[test]
    fn a_fragment_further_on_is_told() {
        let mut packet = PACKET;
        packet[6] = 0x20;
        assert!(open(&packet).unwrap().is_beginning);
        packet[7] = 1;
        assert!(!open(&packet).unwrap().is_beginning);
        packet[6..8].copy_from_slice(&[0x1f, 0]);
        assert!(!open(&packet).unwrap().is_beginning);
    }

    #[test]
    fn lies_are_refused() {
        for length in 0..24 {
            assert_eq!(open(&PACKET[..length]), None, "{length}");
        }
        // Other versions, headers that are too short or longer than the packet, a total length that
        // is less than the header.
        for (at, wrong) in [(0, 0x66), (0, 0x36), (0, 0x44), (0, 0x40), (0, 0x4f), (3, 23), (3, 0)] {
            let mut packet = PACKET;
            packet[at] = wrong;
            assert_eq!(open(&packet), None, "{at}: {wrong:#x}");
        }
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(opened) = open(&bytes) {
                prop_assert!(opened.body.len() + 20 <= bytes.len());
            }
        }
    }
}

//! ICMP echo requests: RFC 792, page 14, and RFC 4443, 4.1.

use pnet::packet::icmp::echo_request::MutableEchoRequestPacket;
use pnet::packet::icmp::{IcmpCode, IcmpTypes};
use pnet::packet::icmpv6::{Icmpv6Code, Icmpv6Types, echo_request};
use pnet::packet::{Packet, util};

/// Octets of the header of an echo request or reply; the data follow.
pub const HEADER: usize = 8;

/// The 16-bit word of an ICMP message that is its checksum.
pub(super) const CHECKSUM_WORD: usize = 1;

/// Writes the header of an echo request into a whole ICMP message, whose data are there already.
/// The checksum of ICMPv6 covers addresses (RFC 4443, 2.3): it is left 0 for the kernel, which
/// fills it in (RFC 3542, 3.1). A message shorter than [`HEADER`] is left alone.
pub fn write_request(packet: &mut [u8], is_v6: bool, id: u16, sequence: u16) {
    if is_v6 {
        let Some(mut request) = echo_request::MutableEchoRequestPacket::new(packet) else { return };
        request.set_icmpv6_type(Icmpv6Types::EchoRequest);
        request.set_icmpv6_code(Icmpv6Code(0));
        request.set_identifier(id);
        request.set_sequence_number(sequence);
        request.set_checksum(0);
    } else {
        let Some(mut request) = MutableEchoRequestPacket::new(packet) else { return };
        request.set_icmp_type(IcmpTypes::EchoRequest);
        request.set_icmp_code(IcmpCode(0));
        request.set_identifier(id);
        request.set_sequence_number(sequence);
        let checksum = util::checksum(request.packet(), CHECKSUM_WORD);
        request.set_checksum(checksum);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::message::{Message, read_icmp, read_icmpv6};
    use crate::packet::quote::{Quoted, read_echo};
    use crate::packet::reckoned;

    #[test]
    fn a_request_is_octets() {
        // The words 0800, 1234, 0007, 6162, 6162 and 6100 sum up to 3e00.
        let mut packet = *b"\xff\xff\xff\xff\xff\xff\xff\xffababa";
        write_request(&mut packet, false, 0x1234, 0x0007);
        assert_eq!(packet, *b"\x08\x00\xc1\xff\x12\x34\x00\x07ababa");
        write_request(&mut packet, true, 0x1234, 0x0007);
        assert_eq!(packet, *b"\x80\x00\x00\x00\x12\x34\x00\x07ababa");
    }

    #[test]
    fn a_request_without_data_has_a_header_only() {
        let mut packet = [0xff; HEADER];
        write_request(&mut packet, false, 1, 2);
        assert_eq!(packet, [8, 0, 0xf7, 0xfc, 0, 1, 0, 2]);
    }

    #[test]
    fn what_has_no_room_for_a_header_is_left_alone() {
        for is_v6 in [false, true] {
            let mut packet = [0xff; HEADER - 1];
            write_request(&mut packet, is_v6, 1, 2);
            assert_eq!(packet, [0xff; HEADER - 1]);
        }
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back(id: u16, sequence: u16, is_v6: bool, data in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut packet = [&[0xff; HEADER][..], &data].concat();
            write_request(&mut packet, is_v6, id, sequence);
            prop_assert_eq!(read_echo(&packet, is_v6), Some(Quoted::Echo { id, sequence, data: &data[..] }));
            prop_assert_eq!(read_echo(&packet, !is_v6), None);
            // Nobody takes his own request for a reply.
            let heard = if is_v6 { read_icmpv6(&packet, None) } else { read_icmp(&packet) };
            prop_assert_eq!(heard, Message::Other);
            if !is_v6 {
                prop_assert_eq!(reckoned::checksum(&[&packet]), 0);
            }
        }
    }
}

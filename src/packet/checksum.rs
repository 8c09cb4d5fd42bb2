//! Whether the Internet checksum of a message is right (RFC 1071, 1): reckoned with the checksum
//! itself it is 0.

use std::net::Ipv6Addr;

use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::util;

/// No word of a message is so far from its beginning: none is left out.
const NO_WORD: usize = usize::MAX;

/// The longest message: that of an IP packet. The crate's sum has no room for twice as much.
const MAX_LEN: usize = u16::MAX as usize;

/// Returns whether the checksum of octets is right, which is in them.
pub(super) fn is_right(octets: &[u8]) -> bool {
    octets.len() <= MAX_LEN && !octets.is_empty() && util::checksum(octets, NO_WORD) == 0
}

/// Returns whether the checksum of a message is right, which is in it and covers the pseudo header
/// of IPv6 (RFC 8200, 8.1).
pub(super) fn is_right_v6(message: &[u8], from: Ipv6Addr, to: Ipv6Addr, protocol: IpNextHeaderProtocol) -> bool {
    message.len() <= MAX_LEN && util::ipv6_checksum(message, NO_WORD, &[], &from, &to, protocol) == 0
}

#[cfg(test)]
mod tests {
    use pnet::packet::ip::IpNextHeaderProtocols;
    use proptest::prelude::*;

    use super::*;
    use crate::packet::reckoned;

    #[test]
    fn the_checksum_of_an_rfc_is_right() {
        // RFC 1071, 3: the sum is 0xddf2.
        assert!(is_right(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0x22, 0x0d]));
        assert!(!is_right(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0x22, 0x0e]));
    }

    #[test]
    fn nothing_and_too_much_are_not_right() {
        assert!(!is_right(&[]));
        assert!(!is_right(&[0; 8]));
        let much = vec![0xff; 1 << 20];
        assert!(is_right(&much[..MAX_LEN - 1]));
        assert!(!is_right(&much));
        assert!(!is_right_v6(&much, Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, IpNextHeaderProtocols::Icmpv6));
    }

    proptest! {
        #[test]
        fn they_are_those_of_the_plainest_form(
            mut octets in prop::collection::vec(any::<u8>(), 2..80),
            from: [u8; 16],
            to: [u8; 16],
        ) {
            prop_assert_eq!(is_right(&octets), reckoned::checksum(&[&octets]) == 0);
            octets[..2].fill(0);
            let checksum = reckoned::checksum(&[&octets]);
            octets[..2].copy_from_slice(&checksum.to_be_bytes());
            prop_assert!(is_right(&octets));

            octets[..2].fill(0);
            let pseudo = reckoned::pseudo_v6(from, to, octets.len(), 58);
            let checksum = reckoned::checksum(&[&pseudo, &octets]);
            octets[..2].copy_from_slice(&checksum.to_be_bytes());
            prop_assert!(is_right_v6(&octets, from.into(), to.into(), IpNextHeaderProtocols::Icmpv6));
            octets[1] ^= 1;
            prop_assert!(!is_right_v6(&octets, from.into(), to.into(), IpNextHeaderProtocols::Icmpv6));
        }
    }
}

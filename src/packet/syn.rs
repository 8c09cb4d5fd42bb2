//! A SYN to probe a port with, and what answers it (RFC 9293, 3.1 and 3.5).

use std::net::IpAddr;

use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::tcp::{self, MutableTcpPacket, TcpFlags, TcpOption, TcpPacket};

use super::ip;

pub use super::ip::IpHeader;

/// Octets of the SYN: a header and the one option that every SYN should have (RFC 9293, 3.7.1).
pub const LEN: usize = 24;

/// What an Ethernet takes behind the headers of IPv4 and TCP.
const MSS_V4: u16 = 1460;

/// What an Ethernet takes behind the headers of IPv6 and TCP.
const MSS_V6: u16 = 1440;

/// The window offered: nothing is going to be sent into it.
const WINDOW: u16 = 1024;

/// What a peer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpAnswer {
    /// The port that answers.
    pub source: u16,
    /// The port that was answered.
    pub destination: u16,
    /// The acknowledgment number: to a SYN, its sequence number and one.
    pub acknowledged: u32,
    /// What it is.
    pub kind: AnswerKind,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// The port is open.
    SynAck,
    /// The port is closed.
    Rst,
    /// No answer to a SYN: also a SYN or RST that acknowledges nothing (RFC 9293, 3.10.7.3).
    Other,
}

/// Writes a SYN. Its checksum covers the addresses, which are of one family; where they are not,
/// it is 0, and nobody takes it.
pub fn write_syn(packet: &mut [u8; LEN], from: IpAddr, to: IpAddr, source: u16, destination: u16, sequence: u32) {
    packet.fill(0);
    let Some(mut segment) = MutableTcpPacket::new(packet) else { return };
    segment.set_source(source);
    segment.set_destination(destination);
    segment.set_sequence(sequence);
    segment.set_data_offset((LEN / 4) as u8);
    segment.set_flags(TcpFlags::SYN);
    segment.set_window(WINDOW);
    segment.set_options(&[TcpOption::mss(if to.is_ipv6() { MSS_V6 } else { MSS_V4 })]);
    let checksum = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => tcp::ipv4_checksum(&segment.to_immutable(), &from, &to),
        (IpAddr::V6(from), IpAddr::V6(to)) => tcp::ipv6_checksum(&segment.to_immutable(), &from, &to),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
    };
    segment.set_checksum(checksum);
}

/// Reads an IPv4 packet as a raw socket gives it, from its header on; `None` where it is no TCP
/// packet, a fragment that is not the first, or not as long as its headers.
#[must_use]
pub fn read_tcp_v4(packet: &[u8]) -> Option<(IpHeader, TcpAnswer)> {
    let packet = ip::open(packet)?;
    let is_tcp = packet.is_beginning && packet.protocol == IpNextHeaderProtocols::Tcp;
    let answer = if is_tcp { read_tcp(packet.body)? } else { return None };
    Some((packet.header, answer))
}

/// Reads a segment without the IP header, as a raw socket of IPv6 gives it; `None` where its header
/// is not whole. Its checksum is not looked at: the kernel hands over what came from this very
/// machine before anyone has reckoned it.
#[must_use]
pub fn read_tcp(segment: &[u8]) -> Option<TcpAnswer> {
    const SYN_ACK: u8 = TcpFlags::SYN | TcpFlags::ACK;
    const RST_ACK: u8 = TcpFlags::RST | TcpFlags::ACK;
    // Its options are not read: the crate's iterator panics where one is not whole.
    let packet = TcpPacket::new(segment)?;
    let header = 4 * usize::from(packet.get_data_offset());
    if header < TcpPacket::minimum_packet_size() || header > segment.len() {
        return None;
    }
    let kind = match packet.get_flags() & (TcpFlags::SYN | TcpFlags::RST | TcpFlags::FIN | TcpFlags::ACK) {
        SYN_ACK => AnswerKind::SynAck,
        flags if flags & RST_ACK == RST_ACK => AnswerKind::Rst,
        _ => AnswerKind::Other,
    };
    Some(TcpAnswer {
        source: packet.get_source(),
        destination: packet.get_destination(),
        acknowledged: packet.get_acknowledgement(),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::packet::quote::{self, Quoted};
    use crate::packet::reckoned;

    /// The SYN-ACK of an open port, from 192.0.2.1:443 to 198.51.100.2:40000.
    const SYN_ACK: [u8; 44] = [
        0x45, 0x00, 0x00, 0x2c, 0x00, 0x00, 0x40, 0x00, 0x38, 0x06, 0x00, 0x00, 192, 0, 2, 1, 198, 51, 100,
        2, // IP
        0x01, 0xbb, 0x9c, 0x40, 0xaa, 0xbb, 0xcc, 0xdd, 0x01, 0x02, 0x03, 0x05, // ports, numbers
        0x60, 0x12, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0x02, 0x04, 0x05, 0xb4, // the rest
    ];

    fn answer(kind: AnswerKind) -> TcpAnswer {
        TcpAnswer { source: 443, destination: 40000, acknowledged: 0x0102_0305, kind }
    }

    #[test]
    fn a_syn_is_octets() {
        let mut packet = [0xff; LEN];
        let (from, to) = (Ipv4Addr::new(198, 51, 100, 2), Ipv4Addr::new(192, 0, 2, 1));
        write_syn(&mut packet, from.into(), to.into(), 40000, 443, 0x0102_0304);
        let mut expected = [
            0x9c, 0x40, 0x01, 0xbb, 0x01, 0x02, 0x03, 0x04, 0, 0, 0, 0, // ports, numbers
            0x60, 0x02, 0x04, 0x00, 0, 0, 0, 0, 0x02, 0x04, 0x05, 0xb4, // the rest
        ];
        let pseudo = reckoned::pseudo_v4(from.octets(), to.octets(), LEN, 6);
        let checksum = reckoned::checksum(&[&pseudo, &expected]);
        expected[16..18].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(packet, expected);
    }

    #[test]
    fn what_answers_is_told_by_its_flags() {
        let expected = IpHeader { hops: 56, to: Ipv4Addr::new(198, 51, 100, 2) };
        assert_eq!(read_tcp_v4(&SYN_ACK), Some((expected, answer(AnswerKind::SynAck))));
        let kinds = [
            (0x12, AnswerKind::SynAck),
            (0x52, AnswerKind::SynAck), // with ECE
            (0x14, AnswerKind::Rst),
            (0x16, AnswerKind::Rst),
            (0x04, AnswerKind::Other), // acknowledges nothing
            (0x02, AnswerKind::Other),
            (0x13, AnswerKind::Other),
            (0x10, AnswerKind::Other),
            (0x00, AnswerKind::Other),
        ];
        for (flags, kind) in kinds {
            let mut packet = SYN_ACK;
            packet[33] = flags;
            assert_eq!(read_tcp(&packet[20..]), Some(answer(kind)), "{flags:#x}");
        }
    }

    #[test]
    fn what_is_not_whole_or_no_tcp_is_no_answer() {
        for length in 0..44 {
            assert_eq!(read_tcp_v4(&SYN_ACK[..length]), None, "{length}");
        }
        // Another protocol, a later fragment, a header that is too short or longer than the segment,
        // a total length that cuts it.
        for (at, wrong) in [(9, 1), (9, 17), (7, 1), (32, 0x40), (32, 0xf0), (3, 43), (3, 0)] {
            let mut packet = SYN_ACK;
            packet[at] = wrong;
            assert_eq!(read_tcp_v4(&packet), None, "{at}: {wrong:#x}");
        }
    }

    proptest! {
        #[test]
        fn a_syn_has_its_checksum_and_reads_back(
            from: [u8; 16],
            to: [u8; 16],
            source: u16,
            destination: u16,
            sequence: u32,
        ) {
            let mut packet = [0xff; LEN];
            write_syn(&mut packet, Ipv6Addr::from(from).into(), Ipv6Addr::from(to).into(), source, destination, sequence);
            let pseudo = reckoned::pseudo_v6(from, to, LEN, 6);
            prop_assert_eq!(reckoned::checksum(&[&pseudo, &packet]), 0);
            prop_assert_eq!(&packet[20..], [2, 4, 0x05, 0xa0]);

            let mut ip = vec![0x60, 0, 0, 0, 0, LEN as u8, 6, 1];
            ip.extend_from_slice(&[from, to].concat());
            ip.extend_from_slice(&packet);
            let quote = quote::read(&ip, true).unwrap();
            prop_assert_eq!(quote.what, Quoted::Tcp { source, destination, sequence });
            prop_assert_eq!(quote.to, IpAddr::from(to));

            let (from, to): ([u8; 4], [u8; 4]) = (*from.first_chunk().unwrap(), *to.first_chunk().unwrap());
            write_syn(&mut packet, Ipv4Addr::from(from).into(), Ipv4Addr::from(to).into(), source, destination, sequence);
            let pseudo = reckoned::pseudo_v4(from, to, LEN, 6);
            prop_assert_eq!(reckoned::checksum(&[&pseudo, &packet]), 0);
        }

        #[test]
        fn no_octets_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            changed in prop::collection::vec((0..44_usize, any::<u8>()), 0..6),
            length in 0..=44_usize,
        ) {
            let _ = read_tcp(&bytes);
            let _ = read_tcp_v4(&bytes);
            let mut packet = SYN_ACK;
            for (at, octet) in changed {
                packet[at] = octet;
            }
            let _ = read_tcp_v4(&packet[..length]);
        }
    }
}

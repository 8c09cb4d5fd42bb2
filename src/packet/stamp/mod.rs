//! STAMP: the packets of a Simple Two-way Active Measurement Protocol session, unauthenticated
//! (RFC 8762, 4.2.1 and 4.3.1), with the session identifier of RFC 8972, 3.
//!
//! A time stamp is kept as it stands in the packet, because a reflector has to quote the sender's
//! to the bit: an NTP fraction is finer than a nanosecond.

mod clock;

pub use clock::{ErrorEstimate, Timestamp};

/// The well-known port of a Session-Reflector (RFC 8762, 4.1).
pub const PORT: u16 = 862;

/// Octets of a packet, of either direction; what follows is padding or the TLVs of RFC 8972.
pub const LEN: usize = 44;

/// What a Session-Sender sends (RFC 8762, figure 2; RFC 8972, figure 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestPacket {
    /// Its number, from 0 on.
    pub sequence: u32,
    /// T1: when it left, by the sender's clock.
    pub sent: Timestamp,
    /// How far that clock may be off.
    pub error: ErrorEstimate,
    /// The SSID, which tells apart the sessions of a sender; 0 where it has none.
    pub session: u16,
}

impl TestPacket {
    /// Fills the first [`LEN`] octets; those behind them are left alone. False where there are
    /// fewer, and nothing is written.
    #[must_use]
    pub fn write(&self, octets: &mut [u8]) -> bool {
        let Some(octets) = octets.first_chunk_mut::<LEN>() else {
            return false;
        };
        octets.fill(0);
        self.write_quoted(octets, 0);
        put(octets, 14, self.session.to_be_bytes());
        true
    }

    /// Reads the first [`LEN`] octets; `None` where there are fewer, or the Error Estimate is
    /// corrupt (RFC 4656, 4.1.2). What must be zero is ignored (RFC 8762, 4.2.1).
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let octets = octets.first_chunk::<LEN>()?;
        Self::read_quoted(octets, 0, u16::from_be_bytes(get(octets, 14)))
    }

    /// Writes the fields that a reflector quotes, to that offset.
    fn write_quoted(&self, octets: &mut [u8; LEN], at: usize) {
        put(octets, at, self.sequence.to_be_bytes());
        put(octets, at + 4, self.sent.bits().to_be_bytes());
        put(octets, at + 12, (self.error.bits() | self.sent.z()).to_be_bytes());
    }

    /// Reads the fields that a reflector quotes, from that offset.
    fn read_quoted(octets: &[u8; LEN], at: usize, session: u16) -> Option<Self> {
        let error = u16::from_be_bytes(get(octets, at + 12));
        Some(Self {
            sequence: u32::from_be_bytes(get(octets, at)),
            sent: Timestamp::of(u64::from_be_bytes(get(octets, at + 4)), error),
            error: ErrorEstimate::of(error)?,
            session,
        })
    }
}

/// What a Session-Reflector sends back (RFC 8762, figure 5; RFC 8972, figure 2). The packet has
/// one SSID, the sender's: [`TestPacket::session`] of [`Reply::test`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its number: the reflector's own where that is stateful, else the sender's (RFC 8762, 4.3).
    pub sequence: u32,
    /// T3: when it left, by the reflector's clock.
    pub sent: Timestamp,
    /// How far that clock may be off.
    pub error: ErrorEstimate,
    /// T2: when the test packet came, by the reflector's clock; written in the format of T3, which
    /// the one Z bit is for.
    pub received: Timestamp,
    /// The test packet that it answers, quoted to the bit.
    pub test: TestPacket,
    /// The TTL or hop limit that the test packet came with.
    pub sender_ttl: u8,
}

impl Reply {
    /// Fills the first [`LEN`] octets; those behind them are left alone. False where there are
    /// fewer, and nothing is written.
    #[must_use]
    pub fn write(&self, octets: &mut [u8]) -> bool {
        let Some(octets) = octets.first_chunk_mut::<LEN>() else {
            return false;
        };
        octets.fill(0);
        put(octets, 0, self.sequence.to_be_bytes());
        put(octets, 4, self.sent.bits().to_be_bytes());
        put(octets, 12, (self.error.bits() | self.sent.z()).to_be_bytes());
        put(octets, 14, self.test.session.to_be_bytes());
        put(octets, 16, self.received.as_format_of(self.sent).bits().to_be_bytes());
        self.test.write_quoted(octets, 24);
        put(octets, 40, [self.sender_ttl]);
        true
    }

    /// Reads the first [`LEN`] octets; `None` where there are fewer, or an Error Estimate is
    /// corrupt (RFC 4656, 4.1.2). What must be zero is ignored (RFC 8762, 4.3.1).
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let octets = octets.first_chunk::<LEN>()?;
        let error = u16::from_be_bytes(get(octets, 12));
        let [sender_ttl] = get(octets, 40);
        Some(Self {
            sequence: u32::from_be_bytes(get(octets, 0)),
            sent: Timestamp::of(u64::from_be_bytes(get(octets, 4)), error),
            error: ErrorEstimate::of(error)?,
            received: Timestamp::of(u64::from_be_bytes(get(octets, 16)), error),
            test: TestPacket::read_quoted(octets, 24, u16::from_be_bytes(get(octets, 14)))?,
            sender_ttl,
        })
    }
}

/// Writes a field to an offset, which lies with the field within the packet.
fn put<const N: usize>(octets: &mut [u8; LEN], at: usize, field: [u8; N]) {
    octets[at..at + N].copy_from_slice(&field);
}

/// Reads the field of an offset, which lies with the field within the packet.
fn get<const N: usize>(octets: &[u8; LEN], at: usize) -> [u8; N] {
    std::array::from_fn(|index| octets[at + index])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each octet of a test packet, by RFC 8762, figure 2, and RFC 8972, figure 1.
    const TEST: [u8; LEN] = [
        0x00, 0x01, 0x02, 0x03, // Sequence Number
        0x83, 0xaa, 0x7e, 0x81, // Timestamp: seconds
        0x80, 0x00, 0x00, 0x01, // Timestamp: fraction
        0x81, 0x05, // Error Estimate: S, scale 1, multiplier 5
        0xab, 0xcd, // SSID
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // MBZ
    ];

    /// Each octet of its reply, by RFC 8762, figure 5, and RFC 8972, figure 2.
    const REPLY: [u8; LEN] = [
        0x10, 0x11, 0x12, 0x13, // Sequence Number
        0x00, 0x00, 0x00, 0x02, // Timestamp: seconds since 1970
        0x00, 0x00, 0x00, 0x07, // Timestamp: nanoseconds
        0x42, 0x09, // Error Estimate: Z, scale 2, multiplier 9
        0xab, 0xcd, // SSID
        0x00, 0x00, 0x00, 0x01, // Receive Timestamp: seconds since 1970
        0x3b, 0x9a, 0xc9, 0xff, // Receive Timestamp: nanoseconds
        0x00, 0x01, 0x02, 0x03, // Session-Sender Sequence Number
        0x83, 0xaa, 0x7e, 0x81, 0x80, 0x00, 0x00, 0x01, // Session-Sender Timestamp
        0x81, 0x05, // Session-Sender Error Estimate
        0, 0,    // MBZ
        0x3f, // Session-Sender TTL
        0, 0, 0, // MBZ
    ];

    fn test() -> TestPacket {
        TestPacket {
            sequence: 0x0001_0203,
            sent: Timestamp::Ntp(0x83aa_7e81_8000_0001),
            error: ErrorEstimate::of(0x8105).unwrap(),
            session: 0xabcd,
        }
    }

    fn reply() -> Reply {
        Reply {
            sequence: 0x1011_1213,
            sent: Timestamp::ptp(2_000_000_007),
            error: ErrorEstimate::of(0x0209).unwrap(),
            received: Timestamp::ptp(1_999_999_999),
            test: test(),
            sender_ttl: 63,
        }
    }

    #[test]
    fn a_test_packet_has_the_layout_of_the_rfc() {
        let mut octets = [0xee; 50];
        assert!(test().write(&mut octets));
        assert_eq!((&octets[..LEN], &octets[LEN..]), (&TEST[..], &[0xee; 6][..]));
        assert_eq!(TestPacket::read(&octets), Some(test()));
    }

    #[test]
    fn a_reply_has_the_layout_of_the_rfc() {
        let mut octets = [0xee; 50];
        assert!(reply().write(&mut octets));
        assert_eq!((&octets[..LEN], &octets[LEN..]), (&REPLY[..], &[0xee; 6][..]));
        assert_eq!(Reply::read(&octets), Some(reply()));
    }

    #[test]
    fn both_times_of_a_reflector_have_the_format_of_its_z_bit() {
        let mut octets = [0; LEN];
        assert!(Reply { received: Timestamp::ntp(1_999_999_999), ..reply() }.write(&mut octets));
        assert_eq!(octets, REPLY);
        assert!(Reply { sent: Timestamp::ntp(2_000_000_007), ..reply() }.write(&mut octets));
        let read = Reply::read(&octets).unwrap();
        assert_eq!(read.received, Timestamp::ntp(1_999_999_999));
        assert_eq!(octets[12..14], [0x02, 0x09]);
    }

    #[test]
    fn what_is_too_short_is_neither_written_nor_read() {
        let mut octets = [0xee; LEN - 1];
        assert!(!test().write(&mut octets) && !reply().write(&mut octets));
        assert_eq!(octets, [0xee; LEN - 1]);
        assert_eq!((TestPacket::read(&TEST[..LEN - 1]), Reply::read(&REPLY[..LEN - 1])), (None, None));
    }

    #[test]
    fn a_multiplier_of_0_is_corrupt() {
        let without = |mut octets: [u8; LEN], at: usize| {
            octets[at] = 0;
            octets
        };
        assert_eq!(TestPacket::read(&without(TEST, 13)), None);
        assert_eq!(Reply::read(&without(REPLY, 13)), None);
        assert_eq!(Reply::read(&without(REPLY, 37)), None);
    }

    proptest! {
        #[test]
        fn what_was_read_is_quoted_to_the_bit(octets: [u8; 32], rest: [u8; 12]) {
            let octets = [&octets[..], &rest[..]].concat();
            let Some(test) = TestPacket::read(&octets) else {
                prop_assert_eq!(octets[13], 0);
                return Ok(());
            };
            let mut written = [0; LEN];
            prop_assert!(test.write(&mut written));
            prop_assert_eq!(&written[..16], &octets[..16]);
            let reply = Reply { test, ..reply() };
            prop_assert!(reply.write(&mut written));
            prop_assert_eq!(&written[24..38], &octets[..14]);
            prop_assert_eq!(&written[14..16], &octets[14..16]);
        }

        #[test]
        fn a_reply_that_was_read_is_written_again(octets: [u8; 32], rest: [u8; 12]) {
            let mut octets = [&octets[..], &rest[..]].concat();
            let read = Reply::read(&octets);
            prop_assert_eq!(read.is_none(), octets[13] == 0 || octets[37] == 0);
            let Some(reply) = read else {
                return Ok(());
            };
            let mut written = [0; LEN];
            prop_assert!(reply.write(&mut written));
            octets[38..40].fill(0);
            octets[41..].fill(0);
            prop_assert_eq!(&written[..], &octets[..]);
        }
    }
}

//! What a STAMP packet says of a clock: its time, and how far it may be off.

/// Seconds from the epoch of NTP, 1900, to that of Unix, 1970 (RFC 5905, figure 4).
const NTP_TO_UNIX: u32 = 2_208_988_800;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// The Error Estimate's Synchronized bit (RFC 4656, 4.1.2).
const S: u16 = 1 << 15;

/// The Error Estimate's bit for the format of time stamps, set for PTP (RFC 8762, 4.2.1; RFC 8186).
const Z: u16 = 1 << 14;

/// The greatest Scale: it has 6 bits.
const MAX_SCALE: u8 = 63;

/// A time stamp in one of the two formats of RFC 8762, 4.2.1: 32 bits of seconds above 32 bits of
/// their fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamp {
    /// NTP (RFC 5905, 6): seconds since 1900, fraction in units of 2^-32 s. The default.
    ///
    /// Which era the seconds belong to is not in the packet. With the top bit set it is era 0, with
    /// the top bit clear era 1, from 2036-02-07 06:28:16 UTC on (RFC 4330, 3); and the last two
    /// years before 1970 are those before 2106-02-07, since no time here is before 1970.
    Ntp(u64),
    /// PTPv2, truncated (RFC 8877, 4.3): seconds since 1970, fraction in nanoseconds. Taken as it
    /// stands: whether the clock counts leap seconds is not in the packet.
    Ptp(u64),
}

impl Timestamp {
    /// Makes an NTP time stamp from nanoseconds since the Unix epoch, which [`Timestamp::ns`]
    /// returns unchanged; from 2^32 s on it begins anew.
    #[must_use]
    pub fn ntp(ns: u64) -> Self {
        let seconds = ((ns / SECOND) as u32).wrapping_add(NTP_TO_UNIX);
        // To the nearest; the last nanosecond of a second is four units below the next second.
        let fraction = (((ns % SECOND) << 32) + SECOND / 2) / SECOND;
        Self::Ntp((u64::from(seconds) << 32) | fraction)
    }

    /// Makes a PTP time stamp from nanoseconds since the Unix epoch, which [`Timestamp::ns`]
    /// returns unchanged; from 2^32 s on it begins anew.
    #[must_use]
    pub fn ptp(ns: u64) -> Self {
        Self::Ptp((u64::from((ns / SECOND) as u32) << 32) | (ns % SECOND))
    }

    /// Returns the nanoseconds since the Unix epoch, to the nearest.
    #[must_use]
    pub fn ns(self) -> u64 {
        match self {
            Self::Ntp(bits) => {
                let seconds = ((bits >> 32) as u32).wrapping_sub(NTP_TO_UNIX);
                let fraction = (u64::from(bits as u32) * SECOND + (1 << 31)) >> 32;
                u64::from(seconds) * SECOND + fraction
            }
            // A fraction of a second or more is wrong, and four seconds at most.
            Self::Ptp(bits) => (bits >> 32) * SECOND + u64::from(bits as u32),
        }
    }

    /// Returns the 64 bits of the packet.
    pub(super) fn bits(self) -> u64 {
        let (Self::Ntp(bits) | Self::Ptp(bits)) = self;
        bits
    }

    /// Returns the Z bit that tells its format.
    pub(super) fn z(self) -> u16 {
        match self {
            Self::Ntp(_) => 0,
            Self::Ptp(_) => Z,
        }
    }

    /// Returns it in the format of another.
    pub(super) fn as_format_of(self, other: Self) -> Self {
        match (self, other) {
            (Self::Ntp(_), Self::Ptp(_)) => Self::ptp(self.ns()),
            (Self::Ptp(_), Self::Ntp(_)) => Self::ntp(self.ns()),
            (Self::Ntp(_), Self::Ntp(_)) | (Self::Ptp(_), Self::Ptp(_)) => self,
        }
    }

    /// Reads 64 bits in the format that an Error Estimate tells.
    pub(super) fn of(bits: u64, error: u16) -> Self {
        if error & Z == 0 { Self::Ntp(bits) } else { Self::Ptp(bits) }
    }
}

/// How far a clock may be off: Multiplier · 2^-32 · 2^Scale seconds (RFC 4656, 4.1.2).
///
/// The field's Z bit is not here: it belongs to the format of the time stamp ([`Timestamp`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorEstimate {
    /// Whether the clock is synchronized to UTC by an external source: the S bit.
    pub synchronized: bool,
    /// Below 64.
    scale: u8,
    /// Never 0.
    multiplier: u8,
}

impl ErrorEstimate {
    /// Makes the least estimate that is no smaller than an error in nanoseconds, and none of 0.
    #[must_use]
    pub fn new(synchronized: bool, error_ns: u64) -> Self {
        let units = (u128::from(error_ns) << 32).div_ceil(u128::from(SECOND)).max(1);
        // 8 of its bits fit; where those after them are not 0, the next value, which may have 9.
        let mut scale = (u128::BITS - units.leading_zeros()).saturating_sub(u8::BITS);
        if units.div_ceil(1 << scale) > u128::from(u8::MAX) {
            scale += 1;
        }
        // 2^64 ns are less than 2^35 s: the scale is 60 at most.
        Self { synchronized, scale: scale as u8, multiplier: units.div_ceil(1 << scale) as u8 }
    }

    /// Returns the error in nanoseconds, rounded up; `u64::MAX` where it is 584 years or more.
    #[must_use]
    pub fn ns(self) -> u64 {
        let units = u128::from(self.multiplier) << self.scale;
        u64::try_from((units * u128::from(SECOND)).div_ceil(1 << 32)).unwrap_or(u64::MAX)
    }

    /// Returns the exponent: the unit of the multiplier is 2^(scale - 32) s.
    #[must_use]
    pub fn scale(self) -> u8 {
        self.scale
    }

    /// Returns the multiplier, never 0.
    #[must_use]
    pub fn multiplier(self) -> u8 {
        self.multiplier
    }

    /// Returns the field of the packet, its Z bit clear.
    pub(super) fn bits(self) -> u16 {
        let s = if self.synchronized { S } else { 0 };
        s | (u16::from(self.scale) << 8) | u16::from(self.multiplier)
    }

    /// Reads the field of a packet; `None` where the multiplier is 0: the packet is corrupt.
    pub(super) fn of(bits: u16) -> Option<Self> {
        let [high, multiplier] = bits.to_be_bytes();
        let scale = high & MAX_SCALE;
        (multiplier != 0).then_some(Self { synchronized: bits & S != 0, scale, multiplier })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2036-02-07 06:28:16 UTC, where era 1 of NTP begins.
    const ERA_1: u64 = 2_085_978_496;

    #[test]
    fn times_are_those_of_the_rfcs() {
        assert_eq!(Timestamp::ntp(0), Timestamp::Ntp(0x83aa_7e80_0000_0000));
        assert_eq!(Timestamp::ntp(1_500_000_000), Timestamp::Ntp(0x83aa_7e81_8000_0000));
        assert_eq!(Timestamp::ntp(1), Timestamp::Ntp(0x83aa_7e80_0000_0004));
        assert_eq!(Timestamp::ptp(1_500_000_000), Timestamp::Ptp(0x0000_0001_1dcd_6500));
        assert_eq!(Timestamp::Ptp(0x0000_0001_1dcd_6500).ns(), 1_500_000_000);
    }

    #[test]
    fn era_1_begins_in_2036() {
        assert_eq!(Timestamp::ntp(ERA_1 * SECOND), Timestamp::Ntp(0));
        assert_eq!(Timestamp::ntp(ERA_1 * SECOND - 1), Timestamp::Ntp(0xffff_ffff_ffff_fffc));
        assert_eq!(Timestamp::Ntp(0x7fff_ffff_0000_0000).ns(), (ERA_1 + (1 << 31) - 1) * SECOND);
        assert_eq!(Timestamp::Ntp(0x83aa_7e7f_0000_0000).ns(), ((1 << 32) - 1) * SECOND);
    }

    #[test]
    fn what_is_no_time_is_read_too() {
        assert_eq!(Timestamp::Ptp(u64::MAX).ns(), 4_294_967_295 * SECOND + 4_294_967_295);
        assert_eq!(Timestamp::Ntp(u64::MAX).ns(), ERA_1 * SECOND);
        assert_eq!(Timestamp::ntp(u64::MAX).ns(), u64::MAX % (SECOND << 32));
    }

    #[test]
    fn every_nanosecond_around_a_second_is_kept() {
        for ns in (0..5000).chain(SECOND - 5000..SECOND + 5000).chain((ERA_1 * SECOND - 5000..).take(10_000)) {
            assert_eq!((Timestamp::ntp(ns).ns(), Timestamp::ptp(ns).ns()), (ns, ns));
        }
    }

    #[test]
    fn an_estimate_has_the_bits_of_the_rfc() {
        let estimate = ErrorEstimate::of(0b1010_0011_0000_0101).unwrap();
        assert_eq!((estimate.synchronized, estimate.scale(), estimate.multiplier()), (true, 0b10_0011, 5));
        assert_eq!(estimate.ns(), 40 * SECOND);
        assert_eq!(ErrorEstimate::of(0x4001).map(ErrorEstimate::bits), Some(1));
        assert_eq!(ErrorEstimate::of(0xff00), None);
    }

    #[test]
    fn an_estimate_is_the_least_that_covers_the_error() {
        let parts = |ns| {
            let estimate = ErrorEstimate::new(false, ns);
            (estimate.scale(), estimate.multiplier(), estimate.ns())
        };
        assert_eq!(parts(0), (0, 1, 1));
        assert_eq!(parts(1), (0, 5, 2));
        assert_eq!(parts(59), (0, 254, 60));
        assert_eq!(parts(60), (1, 129, 61));
        assert_eq!(parts(SECOND - 1), (25, 128, SECOND));
        assert_eq!(parts(SECOND), (25, 128, SECOND));
        assert_eq!(parts(u64::MAX), (59, 138, u64::MAX));
        assert_eq!(ErrorEstimate::of(0x3fff).unwrap().ns(), u64::MAX);
    }

    proptest! {
        #[test]
        fn a_time_survives_both_formats(ns in 0..SECOND << 32) {
            prop_assert_eq!((Timestamp::ntp(ns).ns(), Timestamp::ptp(ns).ns()), (ns, ns));
        }

        #[test]
        fn an_estimate_is_never_below_the_error_nor_far_above(ns: u64, shift in 0..64) {
            let ns = ns >> shift;
            let estimate = ErrorEstimate::new(true, ns);
            prop_assert!(estimate.ns() >= ns && estimate.ns() - ns <= ns / 128 + 2, "{estimate:?}");
            prop_assert!(estimate.scale() == 0 || estimate.multiplier() >= 128, "{estimate:?}");
            prop_assert_eq!(ErrorEstimate::of(estimate.bits()), Some(estimate));
        }
    }
}

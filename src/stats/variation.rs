//! Variation of a one-way delay, from clocks that nobody set: their difference falls out where two
//! delays are compared.

use std::time::Duration;

use super::Distribution;
use crate::event;

/// How much the delay changes from each packet to the one that comes after it.
///
/// D = (Rj - Ri) - (Sj - Si), where j is the packet that came next after i (RFC 3550, 6.4.1): the
/// IP packet delay variation of RFC 3393. What is folded is its amount, not its direction.
#[derive(Clone, Debug, Default)]
pub struct Variation {
    /// R - S of the packet that came last, ns: its delay, and how far the clocks are apart.
    transit: Option<i128>,
    amounts: Distribution,
    /// J, ns: smoothed |D| (RFC 3550, 6.4.1).
    jitter: f64,
}

impl Variation {
    /// Adds a packet in the order of arrival: when it was sent by the sender's clock and received
    /// by the receiver's, ns since any moment of each.
    pub fn record(&mut self, sent: u64, received: u64) {
        let transit = i128::from(received) - i128::from(sent);
        if let Some(before) = self.transit.replace(transit) {
            let amount = u64::try_from(transit.abs_diff(before)).unwrap_or(u64::MAX);
            self.amounts.record(Duration::from_nanos(amount));
            self.jitter += (amount as f64 - self.jitter) / 16.0;
        }
    }

    /// Returns the figures of |D|, and J as their jitter; `None` where fewer than two packets came.
    #[must_use]
    pub fn figures(&self) -> Option<event::Distribution> {
        let figures = self.amounts.figures()?;
        Some(event::Distribution { jitter_ns: Some(self.jitter.round() as u64), ..figures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a packet each millisecond, and returns the figures for their delays.
    fn of(delays: &[u64], apart: u64) -> Option<event::Distribution> {
        let mut variation = Variation::default();
        for (sent, delay) in (5_000_000..).step_by(1_000_000).zip(delays) {
            variation.record(sent, (sent + delay).wrapping_add(apart));
        }
        variation.figures()
    }

    #[test]
    fn one_packet_has_no_variation() {
        assert_eq!((of(&[], 0), of(&[7], 0)), (None, None));
    }

    #[test]
    fn two_packets_have_one() {
        let figures = of(&[1000, 1160], 0).unwrap();
        assert_eq!((figures.count, figures.min_ns, figures.max_ns), (1, 160, 160));
        assert_eq!((figures.jitter_ns, figures.stddev_ns), (Some(10), None));
    }

    #[test]
    fn jitter_is_that_of_the_rfc_and_not_that_of_its_amounts() {
        // |D| is 160 each time: its own neighbours differ by nothing.
        let figures = of(&[1000, 1160, 1000, 1160], 0).unwrap();
        assert_eq!((figures.count, figures.mean_ns), (3, 160));
        assert_eq!(figures.jitter_ns, Some(28)); // 160 · (1 - (15/16)^3) = 28.2
        assert_eq!(of(&[9; 50], 0).unwrap().jitter_ns, Some(0));
    }

    #[test]
    fn how_far_the_clocks_are_apart_changes_nothing() {
        let delays = [300, 200, 900, 0, 400];
        assert_eq!(of(&delays, 0), of(&delays, 1 << 62));
        assert_eq!(of(&delays, 0), of(&delays, 4_000_000_u64.wrapping_neg()));
    }

    #[test]
    fn order_is_that_of_arrival() {
        let mut variation = Variation::default();
        for (sent, received) in [(0, 100), (20, 130), (10, 135)] {
            variation.record(sent, received);
        }
        let figures = variation.figures().unwrap();
        assert_eq!((figures.min_ns, figures.max_ns), (10, 15));
    }

    #[test]
    fn times_from_end_to_end_are_taken() {
        let mut variation = Variation::default();
        for (sent, received) in [(0, u64::MAX), (u64::MAX, 0), (0, u64::MAX)] {
            variation.record(sent, received);
        }
        let figures = variation.figures().unwrap();
        assert_eq!((figures.count, figures.min_ns, figures.mean_ns), (2, u64::MAX, u64::MAX));
    }
}

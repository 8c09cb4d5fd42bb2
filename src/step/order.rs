//! In what order the numbered packets of a session come: which are missing, came twice or late.

use std::collections::VecDeque;

use crate::event::Arrival;

/// How many numbers back a packet can be told from its duplicate: 2^20, in 128 KiB.
const WINDOW: u64 = 1 << 20;

/// The numbers that the first packet makes room for: 128 bytes.
const FEWEST: u64 = 1 << 10;

/// How many gaps are kept to look back to.
const GAPS: usize = 1 << 10;

/// The order of the packets of one session, numbered from 0. A duplicate hides no loss: what has
/// come is known number by number.
///
/// Whatever numbers a peer sends, this has at most 144 KiB, and a packet takes at most the time
/// to clear them; one that comes in its turn takes a few nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// The number that comes next in order: one more than the highest.
    next: u64,
    /// Different numbers that came.
    received: u64,
    duplicates: u64,
    reordered: u64,
    stale: u64,
    max_extent: u64,
    /// Which of the last [`WINDOW`] numbers came, a bit each: a ring, once it is that large.
    came: Vec<u64>,
    /// The first number that `came` has to grow for; `u64::MAX` where it has its full size.
    grows_at: u64,
    /// The last packets that came after a gap, by number and by arrival.
    ///
    /// The earliest arrival with a larger number than a late packet is always one of these: what
    /// came after the number that was missing.
    gaps: VecDeque<(u64, u64)>,
    /// The number of the last packet that `gaps` had no more room for.
    forgotten: Option<u64>,
}

impl Order {
    /// Begins with no packet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a packet. Its number is the last 32 bits of one that goes on: the one nearest to the
    /// next in order.
    pub fn arrive(&mut self, sequence: u32) -> Arrival {
        let number = self.number(sequence);
        if number < self.next {
            return self.late(number);
        }
        if number >= self.grows_at {
            self.grow(number);
        }
        let gap = number - self.next;
        if gap > 0 {
            self.skip(number);
        }
        let (word, bit) = self.place(number);
        self.came[word] |= bit;
        self.next = number.saturating_add(1);
        self.received += 1;
        Arrival::Next { gap }
    }

    /// Returns how many numbers a packet would skip; `None` where it would not come in order.
    #[must_use]
    pub fn gap(&self, sequence: u32) -> Option<u64> {
        self.number(sequence).checked_sub(self.next)
    }

    /// Returns how many packets came, duplicates and stale ones left out.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Returns how many came again.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Returns how many came after one with a larger number.
    #[must_use]
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Returns the largest extent of one that was reordered, in arrivals; 0 where none was.
    #[must_use]
    pub fn max_extent(&self) -> u64 {
        self.max_extent
    }

    /// Returns how many came too late to tell whether they are duplicates: each may be one that
    /// [`Order::missing`] counts, or not.
    #[must_use]
    pub fn stale(&self) -> u64 {
        self.stale
    }

    /// Returns how many of the numbers from 0 to the highest have not come.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.next.saturating_sub(self.received)
    }

    /// Returns the highest number that came.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Returns the whole number of a packet.
    fn number(&self, sequence: u32) -> u64 {
        let ahead = sequence.wrapping_sub(self.next as u32).cast_signed();
        // None is below 0: there the nearest is the number as it stands.
        self.next.checked_add_signed(i64::from(ahead)).unwrap_or(u64::from(sequence))
    }

    /// Adds a packet that does not come in order.
    fn late(&mut self, number: u64) -> Arrival {
        if self.next - number > WINDOW {
            self.stale += 1;
            return Arrival::Stale;
        }
        let (word, bit) = self.place(number);
        if self.came[word] & bit != 0 {
            self.duplicates += 1;
            return Arrival::Duplicate;
        }
        self.came[word] |= bit;
        let extent = self.extent(number);
        self.received += 1;
        self.reordered += 1;
        self.max_extent = self.max_extent.max(extent);
        Arrival::Reordered { extent }
    }

    /// Returns how many arrivals ago the first one with a larger number than this came.
    fn extent(&self, number: u64) -> u64 {
        let first = match self.forgotten {
            Some(forgotten) if number < forgotten => 0,
            _ => self.gaps.partition_point(|(after, _)| *after < number),
        };
        self.gaps.get(first).map_or(0, |(_, arrival)| self.received - arrival)
    }

    /// Notes that the numbers before this have not come.
    fn skip(&mut self, number: u64) {
        if self.gaps.len() == GAPS {
            self.forgotten = self.gaps.pop_front().map(|(after, _)| after);
        }
        self.gaps.push_back((number, self.received));
        if number - self.next >= WINDOW {
            self.came.fill(0);
            return;
        }
        // Where they are to be, those that are out of the window now were.
        let (first, last) = (self.next / 64, number / 64);
        let (from, below) = (u64::MAX << (self.next % 64), (1 << (number % 64)) - 1);
        if first == last {
            self.clear(first, from & below);
            return;
        }
        self.clear(first, from);
        for word in first + 1..last {
            self.clear(word, u64::MAX);
        }
        self.clear(last, below);
    }

    /// Clears bits of the word that has these numbers, each divided by 64.
    fn clear(&mut self, word: u64, bits: u64) {
        let last = self.came.len() - 1;
        self.came[word as usize & last] &= !bits;
    }

    /// Makes room for a number, twice as much at least; what has come keeps its place.
    fn grow(&mut self, number: u64) {
        let numbers = if number < WINDOW { (number + 1).next_power_of_two().max(FEWEST) } else { WINDOW };
        self.came.resize((numbers / 64) as usize, 0);
        self.grows_at = if numbers == WINDOW { u64::MAX } else { numbers };
    }

    /// Returns the word and the bit of a number that there is room for.
    fn place(&self, number: u64) -> (usize, u64) {
        ((number / 64) as usize & (self.came.len() - 1), 1 << (number % 64))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::Arrival::{Duplicate, Next, Reordered, Stale};
    use super::*;

    fn arrive(order: &mut Order, sequences: &[u32]) -> Vec<Arrival> {
        sequences.iter().map(|sequence| order.arrive(*sequence)).collect()
    }

    fn in_order(count: u64) -> Order {
        let mut order = Order::new();
        for number in 0..count {
            assert_eq!(order.arrive(number as u32), Next { gap: 0 });
        }
        order
    }

    #[test]
    fn nothing_came_and_nothing_is_missing() {
        let order = Order::new();
        assert_eq!((order.highest(), order.received(), order.missing()), (None, 0, 0));
    }

    #[test]
    fn what_comes_in_order_takes_little_room() {
        let order = in_order(1000);
        assert_eq!((order.highest(), order.received(), order.missing()), (Some(999), 1000, 0));
        assert_eq!((order.came.len(), order.gaps.capacity()), (16, 0));
    }

    #[test]
    fn what_is_late_is_no_longer_missing_and_has_its_extent() {
        let mut order = Order::new();
        let came = arrive(&mut order, &[1, 4, 5, 2, 3, 0]);
        assert_eq!(came[..3], [Next { gap: 1 }, Next { gap: 2 }, Next { gap: 0 }]);
        assert_eq!(came[3..], [Reordered { extent: 2 }, Reordered { extent: 3 }, Reordered { extent: 5 }]);
        assert_eq!((order.reordered(), order.max_extent(), order.missing()), (3, 5, 0));
    }

    #[test]
    fn a_duplicate_hides_no_loss_and_is_no_arrival() {
        let mut order = Order::new();
        let came = arrive(&mut order, &[0, 2, 2, 0, 2, 1, 1]);
        assert_eq!(came[2..5], [Duplicate; 3]);
        assert_eq!(came[5..], [Reordered { extent: 1 }, Duplicate]);
        assert_eq!((order.received(), order.duplicates(), order.missing()), (3, 4, 0));
        arrive(&mut order, &[5, 5, 5]);
        assert_eq!(order.missing(), 2);
    }

    #[test]
    fn the_window_is_exact() {
        let mut order = in_order(5);
        let highest = WINDOW as u32 + 6;
        assert_eq!(order.arrive(highest), Next { gap: WINDOW + 1 });
        assert_eq!(arrive(&mut order, &[6, 7, 7]), [Stale, Reordered { extent: 1 }, Duplicate]);
        assert_eq!((order.stale(), order.received(), order.missing()), (1, 7, WINDOW));
        assert_eq!((order.duplicates(), order.reordered()), (1, 1));
        // 7 came, and leaves its place to a number that has not.
        assert_eq!(order.arrive(highest + 2), Next { gap: 1 });
        assert_eq!(order.arrive(highest + 1), Reordered { extent: 1 });
    }

    #[test]
    fn numbers_go_on_where_32_bits_end() {
        let mut order = Order::new();
        arrive(&mut order, &[0, 1 << 30, 1 << 31, 3 << 30, u32::MAX - 1]);
        assert_eq!(
            arrive(&mut order, &[1, u32::MAX, 0]),
            [Next { gap: 2 }, Reordered { extent: 1 }, Reordered { extent: 2 }]
        );
        assert_eq!(order.highest(), Some((1 << 32) + 1));
    }

    #[test]
    fn none_is_below_0() {
        let mut order = Order::new();
        assert_eq!(order.arrive(u32::MAX), Next { gap: u64::from(u32::MAX) });
        assert_eq!(order.arrive(0), Next { gap: 0 });
        assert_eq!(order.highest(), Some(1 << 32));
    }

    #[test]
    fn an_extent_beyond_the_gaps_that_are_kept_is_that_of_the_oldest() {
        let mut order = Order::new();
        for number in 0..3000 {
            order.arrive(2 * number + 1);
        }
        assert_eq!(order.gaps.len(), GAPS);
        assert_eq!(order.arrive(0), Reordered { extent: 1024 });
        // The oldest gap that is kept is before 2 · 1976 + 1, and one arrival came since.
        assert_eq!(order.arrive(2 * 1976), Reordered { extent: 1025 });
        assert_eq!(order.arrive(2 * 1975), Reordered { extent: 1026 });
        assert_eq!(order.arrive(2 * 1977), Reordered { extent: 1026 });
        assert_eq!(order.arrive(2 * 2999), Reordered { extent: 5 });
        let mut long = in_order(1);
        long.arrive(2);
        for number in 3..5000 {
            long.arrive(number);
        }
        assert_eq!(long.arrive(1), Reordered { extent: 4998 });
    }

    #[test]
    fn the_end_of_64_bits_is_survived() {
        let mut order = Order { next: u64::MAX - 2, ..in_order(1) };
        order.grow(u64::MAX);
        for sequence in [u32::MAX - 2, u32::MAX, u32::MAX, 5, u32::MAX - 1, 1 << 31] {
            order.arrive(sequence);
        }
        assert_eq!(order.highest(), Some(u64::MAX - 1));
    }

    /// What is known of an order by looking at all that came.
    #[derive(Default)]
    struct Model {
        came: Vec<u64>,
        known: HashSet<u64>,
        highest: Option<u64>,
    }

    impl Model {
        fn arrive(&mut self, number: u64) -> Arrival {
            let next = self.highest.map_or(0, |highest| highest + 1);
            if number + WINDOW < next {
                return Stale;
            }
            if !self.known.insert(number) {
                return Duplicate;
            }
            self.came.push(number);
            if number >= next {
                self.highest = Some(number);
                return Next { gap: number - next };
            }
            let first = self.came.iter().position(|came| *came > number).unwrap();
            Reordered { extent: (self.came.len() - 1 - first) as u64 }
        }
    }

    /// How far from the next in order a packet is: mostly near, at times at the edge of a word or
    /// of the window.
    fn steps() -> impl Strategy<Value = Vec<i64>> {
        let window = WINDOW as i64;
        let step = prop_oneof![
            6 => -3..3_i64,
            2 => -200..200_i64,
            1 => -5000..5000_i64,
            1 => window - 3..window + 3,
            1 => -window - 3..-window + 3,
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn it_knows_what_one_knows_who_sees_all(steps in steps(), from in 0..3_u64) {
            let (mut order, mut model) = (Order::new(), Model::default());
            let (mut duplicates, mut reordered, mut stale, mut extent) = (0, 0, 0, 0);
            // From 0, or from below where 32 bits end.
            let from = from * ((1 << 31) - 500);
            for number in (0..from).step_by(1 << 30) {
                order.arrive(number as u32);
                model.arrive(number);
            }
            for step in steps {
                let next = model.highest.map_or(0, |highest| highest + 1).max(from);
                let number = next.saturating_add_signed(step);
                let arrival = order.arrive(number as u32);
                prop_assert_eq!(arrival, model.arrive(number));
                match arrival {
                    Next { .. } => {}
                    Reordered { extent: this } => (reordered, extent) = (reordered + 1, this.max(extent)),
                    Duplicate => duplicates += 1,
                    Stale => stale += 1,
                }
            }
            let received = model.came.len() as u64;
            let missing = model.highest.map_or(0, |highest| highest + 1) - received;
            prop_assert_eq!((order.received(), order.missing(), order.highest()), (received, missing, model.highest));
            prop_assert_eq!((order.duplicates(), order.reordered(), order.stale()), (duplicates, reordered, stale));
            prop_assert_eq!(order.max_extent(), extent);
        }

        #[test]
        fn no_number_does_harm(sequences: Vec<u32>) {
            let mut order = Order::new();
            for sequence in sequences {
                order.arrive(sequence);
            }
            prop_assert!(order.came.len() <= (WINDOW / 64) as usize && order.gaps.capacity() <= GAPS);
            prop_assert_eq!(order.missing(), order.highest().map_or(0, |highest| highest + 1) - order.received());
        }
    }
}

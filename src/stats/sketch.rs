//! How often which duration was measured, in memory that does not grow: exact while they are few,
//! then to as many significant bits as there is room for.

use std::collections::BTreeMap;
use std::time::Duration;

/// Durations that were measured, sparse: nothing is kept of those that never were.
#[derive(Clone, Debug)]
pub struct Sketch {
    /// How many lie from this duration on, in nanoseconds, below the next that these bits can say.
    cells: BTreeMap<u64, u64>,
    most_cells: usize,
    /// How many significant bits are kept.
    bits: u32,
    count: u64,
    min: u64,
    max: u64,
}

impl Sketch {
    /// Makes one that keeps at most so many different durations; 128 are the fewest.
    #[must_use]
    pub fn new(most_cells: usize) -> Self {
        // One bit for each of 64 magnitudes must fit into half of the room.
        let most_cells = most_cells.max(128);
        Self { cells: BTreeMap::new(), most_cells, bits: u64::BITS, count: 0, min: u64::MAX, max: 0 }
    }

    /// Adds one duration.
    pub fn record(&mut self, duration: Duration) {
        let sample = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        (self.min, self.max) = (self.min.min(sample), self.max.max(sample));
        self.count += 1;
        *self.cells.entry(floor(sample, self.bits)).or_default() += 1;
        if self.cells.len() > self.most_cells {
            self.coarsen();
        }
    }

    /// Returns how many were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the least, exactly.
    #[must_use]
    pub fn min(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.min))
    }

    /// Returns the greatest, exactly.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.max))
    }

    /// Returns the percentile by nearest rank, where so many further ones are infinite; `None` where
    /// it falls on one of these.
    #[must_use]
    pub fn percentile(&self, percent: u32, infinite: u64) -> Option<Duration> {
        let samples = u128::from(self.count) + u128::from(infinite);
        let rank = (samples * u128::from(percent)).div_ceil(100).max(1);
        if rank == u128::from(self.count) {
            return self.max();
        }
        let mut seen = 0;
        let found = self.durations().find(|(_, times)| {
            seen += u128::from(*times);
            seen >= rank
        });
        found.map(|(duration, _)| duration)
    }

    /// Returns the durations, the shortest first, and how often each was measured.
    pub fn durations(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.cells.iter().map(|(cell, times)| {
            let middle = cell + (width(*cell, self.bits) - 1) / 2;
            (Duration::from_nanos(middle.clamp(self.min, self.max)), *times)
        })
    }

    /// Gives up significant bits until half of the room is free.
    fn coarsen(&mut self) {
        while self.cells.len() > self.most_cells / 2 && self.bits > 1 {
            self.bits -= 1;
            for (cell, times) in std::mem::take(&mut self.cells) {
                *self.cells.entry(floor(cell, self.bits)).or_default() += times;
            }
        }
    }
}

/// Returns a number with so many significant bits, the rest zero.
fn floor(number: u64, bits: u32) -> u64 {
    number & !(width(number, bits) - 1)
}

/// Returns how many numbers have the same so many significant bits.
fn width(number: u64, bits: u32) -> u64 {
    1 << (u64::BITS - number.leading_zeros()).saturating_sub(bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(samples: impl IntoIterator<Item = u64>, most_cells: usize) -> Sketch {
        let mut sketch = Sketch::new(most_cells);
        samples.into_iter().for_each(|sample| sketch.record(Duration::from_nanos(sample)));
        sketch
    }

    fn percentile(sketch: &Sketch, percent: u32, infinite: u64) -> Option<u64> {
        sketch.percentile(percent, infinite).map(|duration| duration.as_nanos() as u64)
    }

    #[test]
    fn nothing_measured_has_no_figures() {
        let none = of([], 128);
        assert_eq!((none.count(), none.min(), none.max(), none.percentile(50, 0)), (0, None, None, None));
        assert_eq!(none.percentile(50, 7), None);
    }

    #[test]
    fn few_are_exact() {
        let few = of((1..=100).rev(), 128);
        assert_eq!([1, 50, 99, 100].map(|percent| percentile(&few, percent, 0)), [1, 50, 99, 100].map(Some));
        assert_eq!(percentile(&few, 0, 0), Some(1));
    }

    #[test]
    fn a_percentile_that_falls_on_an_infinite_one_is_absent() {
        let half = of([10, 20], 128);
        assert_eq!((percentile(&half, 50, 2), percentile(&half, 99, 2)), (Some(20), None));
        assert_eq!(percentile(&half, 50, 3), None);
    }

    #[test]
    fn many_of_one_magnitude_keep_more_digits_than_many_of_all() {
        let alike = of((0..100_000).map(|number| 10_000_000 + number), 1024);
        assert!(percentile(&alike, 50, 0).unwrap().abs_diff(10_050_000) < 200);
        let all = of((0..100_000).map(|number| number * 1_000_000), 1024);
        let p50 = percentile(&all, 50, 0).unwrap();
        assert!(p50.abs_diff(50_000_000_000) < 1_000_000_000, "{p50}");
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_nothing_is_uncounted(samples: Vec<u64>, times in 1_usize..200) {
            let scattered = (0..times as u64).flat_map(|time| samples.iter().map(move |sample| sample.rotate_left(time as u32)));
            let sketch = of(scattered, 128);
            prop_assert!(sketch.cells.len() <= 128);
            prop_assert_eq!(sketch.count(), (samples.len() * times) as u64);
            prop_assert_eq!(sketch.durations().map(|(_, times)| times).sum::<u64>(), sketch.count());
            let durations: Vec<_> = sketch.durations().map(|(duration, _)| duration).collect();
            prop_assert!(durations.is_sorted());
        }
    }
}

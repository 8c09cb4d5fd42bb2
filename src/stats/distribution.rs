//! A distribution of durations, folded one by one: exact least, mean and greatest, percentiles to
//! three digits, of few samples exact.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Sketch;
use crate::event;

/// The longest duration that percentiles tell apart: an hour.
const BOUND_NS: u64 = 3_600_000_000_000;

/// The percentiles of the contract, in thousandths.
const PERCENTILES: [u64; 4] = [500, 900, 990, 999];

/// How many different samples a compact one keeps apart.
const CELLS: usize = 256;

/// How many samples are kept as they are before they are put into a histogram of 270 KiB.
const FEW: usize = 64;

/// Durations that were measured, and how many were lost.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    count: u64,
    lost: u64,
    sum: u128,
    min: u64,
    max: u64,
    /// Mean and sum of squared distances from it (Welford 1962).
    mean: f64,
    squares: f64,
    previous: u64,
    /// Smoothed difference of neighbours (RFC 3550, 6.4.1).
    jitter: f64,
    /// The samples, as long as they are few.
    few: Vec<u64>,
    /// Made with the first sample that is too many.
    histogram: Option<Histogram<u64>>,
    /// The same where there are very many distributions: less exact, and 20 times smaller.
    sketch: Option<Sketch>,
    is_compact: bool,
}

impl Distribution {
    /// Makes one of which there may be very many: its percentiles are to about two digits.
    #[must_use]
    pub fn compact() -> Self {
        Self { is_compact: true, ..Self::default() }
    }

    /// Adds one duration.
    pub fn record(&mut self, duration: Duration) {
        let sample = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if self.count == 0 {
            (self.min, self.max) = (sample, sample);
        } else {
            self.jitter += (sample.abs_diff(self.previous) as f64 - self.jitter) / 16.0;
        }
        self.record_percentile(sample);
        self.count += 1;
        self.sum += u128::from(sample);
        self.min = self.min.min(sample);
        self.max = self.max.max(sample);
        let distance = sample as f64 - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (sample as f64 - self.mean);
        self.previous = sample;
    }

    /// Adds samples that never came: infinite for the percentiles, of no weight elsewhere.
    pub fn lost(&mut self, samples: u64) {
        self.lost += samples;
    }

    /// Returns the figures; `None` where nothing was measured.
    #[must_use]
    pub fn figures(&self) -> Option<event::Distribution> {
        self.figures_losing(0)
    }

    /// Returns the figures as if so many samples more had never come; `None` where nothing was measured.
    #[must_use]
    pub fn figures_losing(&self, further: u64) -> Option<event::Distribution> {
        let mean = self.sum.checked_div(u128::from(self.count))?;
        let several = |figure: f64| (self.count > 1).then_some(figure.round() as u64);
        let [p50_ns, p90_ns, p99_ns, p999_ns] = self.percentiles(self.lost + further);
        Some(event::Distribution {
            count: self.count,
            min_ns: self.min,
            mean_ns: u64::try_from(mean).unwrap_or(u64::MAX),
            max_ns: self.max,
            stddev_ns: several((self.squares / (self.count as f64 - 1.0)).sqrt()),
            p50_ns,
            p90_ns,
            p99_ns,
            p999_ns,
            jitter_ns: several(self.jitter),
        })
    }

    /// Keeps a sample for the percentiles.
    fn record_percentile(&mut self, sample: u64) {
        if let Some(sketch) = &mut self.sketch {
            return sketch.record(Duration::from_nanos(sample));
        }
        if self.histogram.is_none() {
            if self.few.len() < FEW {
                self.few.push(sample);
                return;
            }
            match self.is_compact {
                true => self.sketch = Some(Sketch::new(CELLS)),
                false => self.histogram = Histogram::new_with_bounds(1, BOUND_NS, 3).ok(),
            }
            for kept in std::mem::take(&mut self.few) {
                self.record_percentile(kept);
            }
            if self.is_compact {
                return self.record_percentile(sample);
            }
        }
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(sample);
        }
    }

    /// Returns the percentiles by nearest rank over what was measured and what was lost; one that
    /// falls on a lost one is absent.
    fn percentiles(&self, lost: u64) -> [Option<u64>; 4] {
        let samples = u128::from(self.count) + u128::from(lost);
        PERCENTILES.map(|thousandths| {
            let rank = (samples * u128::from(thousandths)).div_ceil(1000).max(1);
            self.at_rank(u64::try_from(rank).ok()?)
        })
    }

    /// Returns the sample that has this rank, from 1, to three digits.
    fn at_rank(&self, rank: u64) -> Option<u64> {
        if rank > self.count {
            return None;
        }
        if let Some(sketch) = &self.sketch {
            let mut seen = 0;
            let found = sketch.durations().find(|(_, times)| {
                seen += times;
                seen >= rank
            })?;
            let is_last = rank == self.count;
            return if is_last { Some(self.max) } else { u64::try_from(found.0.as_nanos()).ok() };
        }
        let Some(histogram) = &self.histogram else {
            let mut few = self.few.clone();
            few.sort_unstable();
            return few.get(usize::try_from(rank - 1).ok()?).copied();
        };
        let mut seen = 0;
        let bucket = histogram.iter_recorded().find(|bucket| {
            seen += bucket.count_at_value();
            seen >= rank
        })?;
        // A bucket answers with its upper end, which may lie beyond the greatest sample, and the
        // last one with the bound, which may lie below it.
        let is_last = rank == self.count;
        Some(if is_last { self.max } else { bucket.value_iterated_to().clamp(self.min, self.max) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: &[u64]) -> Distribution {
        let mut distribution = Distribution::default();
        for sample in samples {
            distribution.record(Duration::from_nanos(*sample));
        }
        distribution
    }

    #[test]
    fn nothing_measured_has_no_figures() {
        assert_eq!(of(&[]).figures(), None);
        let mut lost = of(&[]);
        lost.lost(3);
        assert_eq!(lost.figures(), None);
    }

    #[test]
    fn one_sample_is_exact_and_has_no_spread() {
        let figures = of(&[123_456_789]).figures().unwrap();
        assert_eq!(
            (figures.count, figures.min_ns, figures.mean_ns, figures.max_ns),
            (1, 123_456_789, 123_456_789, 123_456_789)
        );
        assert_eq!((figures.p50_ns, figures.p999_ns), (Some(123_456_789), Some(123_456_789)));
        assert_eq!((figures.stddev_ns, figures.jitter_ns), (None, None));
    }

    #[test]
    fn spread_is_that_of_a_sample() {
        let figures = of(&[2, 4, 4, 4, 5, 5, 7, 9]).figures().unwrap();
        assert_eq!((figures.mean_ns, figures.stddev_ns), (5, Some(2)));
        let large = of(&[1_000_000_000, 1_000_000_200]).figures().unwrap();
        assert_eq!(large.stddev_ns, Some(141));
    }

    #[test]
    fn jitter_is_a_sixteenth_of_each_change() {
        assert_eq!(of(&[1000, 1160]).figures().unwrap().jitter_ns, Some(10));
        assert_eq!(of(&[1000, 1160, 1000]).figures().unwrap().jitter_ns, Some(19));
        assert_eq!(of(&[7, 7, 7]).figures().unwrap().jitter_ns, Some(0));
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let samples: Vec<u64> = (1..=1000).collect();
        let figures = of(&samples).figures().unwrap();
        assert_eq!(figures.p50_ns, Some(500));
        assert_eq!(figures.p90_ns, Some(900));
        assert_eq!(figures.p99_ns, Some(990));
        assert_eq!(figures.p999_ns, Some(999));
        let two = of(&[10, 20]).figures().unwrap();
        assert_eq!((two.p50_ns, two.p90_ns), (Some(10), Some(20)));
    }

    #[test]
    fn a_percentile_that_falls_on_a_lost_one_is_absent() {
        let mut half = of(&[10, 20]);
        half.lost(2);
        let figures = half.figures().unwrap();
        assert_eq!((figures.count, figures.max_ns), (2, 20));
        assert_eq!((figures.p50_ns, figures.p90_ns), (Some(20), None));
        half.lost(1);
        assert_eq!(half.figures().unwrap().p50_ns, None);
    }

    #[test]
    fn a_compact_one_says_nearly_the_same() {
        let samples: Vec<u64> = (1..=5_000).map(|number| 1_000_000 + number * 1_000).collect();
        let whole = of(&samples).figures().unwrap();
        let mut compact = Distribution::compact();
        samples.iter().for_each(|sample| compact.record(Duration::from_nanos(*sample)));
        let compact = compact.figures().unwrap();
        assert_eq!(
            (compact.count, compact.min_ns, compact.mean_ns, compact.max_ns),
            (whole.count, whole.min_ns, whole.mean_ns, whole.max_ns)
        );
        for (near, exact) in [(compact.p50_ns, whole.p50_ns), (compact.p99_ns, whole.p99_ns)] {
            assert!(near.unwrap().abs_diff(exact.unwrap()) < exact.unwrap() / 50, "{near:?} {exact:?}");
        }
    }

    #[test]
    fn beyond_the_bound_and_zero_are_kept() {
        let day = 86_400_000_000_000;
        let figures = of(&[0, day]).figures().unwrap();
        assert_eq!((figures.min_ns, figures.max_ns), (0, day));
        assert_eq!((figures.p50_ns, figures.p90_ns), (Some(0), Some(day)));
    }

    #[test]
    fn three_digits_hold_over_the_whole_range() {
        let samples = [1_234, 45_678, 1_234_567, 987_654_321, 59_999_999_999];
        let p50 = of(&samples).figures().unwrap().p50_ns.unwrap();
        assert!(p50.abs_diff(1_234_567) <= 1_235, "{p50}");
    }
}

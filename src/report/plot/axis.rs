//! Where an axis begins, how it is divided, and what stands at it. All numbers are nanoseconds.

use crate::report::Glyphs;

pub(super) const SECOND: u128 = 1_000_000_000;

/// Beyond this many times its least value an axis is logarithmic.
pub(super) const MOST_LINEAR: u64 = 50;

/// An axis of equal steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    pub(super) low: u128,
    pub(super) step: u128,
    pub(super) steps: u128,
}

impl Linear {
    /// Returns the finest that holds both with at most so many steps, from a multiple of one.
    pub(super) fn over(least: u64, most: u64, most_steps: u128) -> Self {
        let (least, most) = (u128::from(least), u128::from(most));
        let axis = |step: u128| {
            let low = least / step * step;
            Self { low, step, steps: (most.div_ceil(step) * step - low).div_ceil(step).max(1) }
        };
        // A thousandth of what is measured is fine enough.
        let fits = |step: &u128| *step >= most / 1000 && axis(*step).steps <= most_steps;
        axis(nice_steps().find(fits).unwrap_or(u128::from(u64::MAX)))
    }

    /// Returns its upper end.
    pub(super) fn high(&self) -> u128 {
        self.low + self.step * self.steps
    }
}

/// Returns 1, 2, 5, 10, 20, 50 and so on, beyond what 64 bits hold.
pub(super) fn nice_steps() -> impl Iterator<Item = u128> {
    (0..21).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u128.pow(power)))
}

/// Returns the powers of ten from the last that is not above `least` to the first that is not below
/// `most`.
pub(super) fn decades(least: u64, most: u64) -> Vec<u128> {
    let (least, most) = (u128::from(least.max(1)), u128::from(most.max(1)));
    let (from, to) = (least.ilog10(), (most - 1).checked_ilog10().map_or(0, |power| power + 1));
    (from..=to.max(from + 1)).map(|power| 10_u128.pow(power)).collect()
}

/// Returns the unit in which numbers up to this one are said.
pub(super) fn unit(most: u128, glyphs: Glyphs) -> (u128, &'static str) {
    match most {
        0..1000 => (1, "ns"),
        1000..1_000_000 if glyphs == Glyphs::Ascii => (1000, "us"),
        1000..1_000_000 => (1000, "µs"),
        1_000_000..10_000_000_000 => (1_000_000, "ms"),
        _ => (SECOND, "s"),
    }
}

/// Returns a multiple of `step` in a unit, with as many digits as tell it from the next.
pub(super) fn amount(number: u128, step: u128, unit: u128) -> String {
    let digits = (0..12).find(|digits| (step * 10_u128.pow(*digits)).is_multiple_of(unit)).unwrap_or(12);
    format!("{:.*}", digits as usize, number as f64 / unit as f64)
}

/// Returns the step of a time axis, in at most so many of them, and the unit of its labels.
pub(super) fn time_step(span: u64, most_steps: u128) -> (u128, u128, &'static str) {
    const MINUTE: u128 = 60 * SECOND;
    const HOUR: u128 = 60 * MINUTE;
    const DAY: u128 = 24 * HOUR;
    let span = u128::from(span);
    let fine = nice_steps().take_while(|step| *step <= 20 * SECOND);
    let coarse = [
        30 * SECOND,
        MINUTE,
        2 * MINUTE,
        5 * MINUTE,
        10 * MINUTE,
        20 * MINUTE,
        30 * MINUTE,
        HOUR,
        2 * HOUR,
        3 * HOUR,
        6 * HOUR,
        12 * HOUR,
    ];
    let days = nice_steps().map(|step| step * DAY);
    let fits = |step: &u128| span / step <= most_steps;
    let step = fine.chain(coarse).chain(days).find(fits).unwrap_or(span.max(1));
    match step {
        DAY.. => (step, DAY, "d"),
        HOUR.. => (step, HOUR, "h"),
        MINUTE.. => (step, MINUTE, "min"),
        _ if span >= SECOND => (step, SECOND, "s"),
        _ => {
            let (unit, name) = unit(span, Glyphs::Ascii);
            (step, unit, name)
        }
    }
}

//! Round-trip times over the time since the first probe. Where a column stands for several probes it
//! shows their mean and the range that they have.

use super::axis::{Linear, MOST_LINEAR, amount, decades, time_step, unit};
use super::{Cell, Plot};
use crate::report::Glyphs;

/// About how many lines are between the ends of the axis.
const ROWS: usize = 10;

/// What is drawn with.
struct Pen {
    mean: char,
    range: char,
    axis: char,
    mark: char,
    corner: char,
    floor: char,
    floor_mark: char,
}

impl Pen {
    fn of(glyphs: Glyphs) -> Self {
        let [mean, range, axis, mark, corner, floor, floor_mark] = match glyphs {
            Glyphs::Unicode => ['•', '│', '│', '┤', '└', '─', '┬'],
            Glyphs::Ascii => ['*', '|', '|', '+', '+', '-', '+'],
        };
        Self { mean, range, axis, mark, corner, floor, floor_mark }
    }
}

/// The axis of round-trip times: which line each has, from the lowest, and what stands there.
struct Height {
    scale: Scale,
    /// How many lines are from a label to the next.
    rows_a_step: usize,
    labels: Vec<String>,
}

enum Scale {
    Linear(Linear),
    /// From this power of ten on.
    Log(u128),
}

impl Height {
    fn over(least: u64, most: u64, glyphs: Glyphs) -> Self {
        if most / least.max(1) > MOST_LINEAR {
            let decades = decades(least, most);
            let label = |decade: &u128| {
                let (unit, name) = unit(*decade, glyphs);
                format!("{} {name}", amount(*decade, *decade, unit))
            };
            let rows_a_step = (ROWS / (decades.len() - 1)).max(1);
            return Self { scale: Scale::Log(decades[0]), rows_a_step, labels: decades.iter().map(label).collect() };
        }
        let axis = Linear::over(least, most, 5);
        let (unit, name) = unit(axis.high(), glyphs);
        let labels = (0..=axis.steps)
            .map(|step| format!("{} {name}", amount(axis.low + step * axis.step, axis.step, unit)))
            .collect::<Vec<_>>();
        Self { rows_a_step: ROWS / (labels.len() - 1), scale: Scale::Linear(axis), labels }
    }

    /// Returns how many lines there are.
    fn rows(&self) -> usize {
        (self.labels.len() - 1) * self.rows_a_step + 1
    }

    /// Returns the line of a round-trip time, the lowest 0.
    fn row(&self, rtt: u64) -> usize {
        let steps = match self.scale {
            Scale::Linear(axis) => u128::from(rtt).saturating_sub(axis.low) as f64 / axis.step as f64,
            Scale::Log(low) => decades_over(rtt.max(1) as f64 / low as f64),
        };
        ((steps * self.rows_a_step as f64).round() as usize).min(self.rows() - 1)
    }

    /// Returns what stands at a line.
    fn label(&self, row: usize) -> Option<&str> {
        row.is_multiple_of(self.rows_a_step).then(|| self.labels[row / self.rows_a_step].as_str())
    }
}

/// Returns the decimal logarithm of a number from 1 up, else 0, finer than any line: its digits one by one, for each
/// square doubles it. Nothing else needs libm, which would be a library more to load at each start.
fn decades_over(number: f64) -> f64 {
    let (mut rest, mut all) = (number, 0.0);
    let mut digit = |rest: &mut f64, worth: f64| {
        while *rest >= 10.0 {
            *rest /= 10.0;
            all += worth;
        }
    };
    digit(&mut rest, 1.0);
    if rest >= 1.0 {
        for bit in 1..20 {
            rest *= rest;
            digit(&mut rest, 1.0 / f64::from(1 << bit));
        }
    }
    all
}

/// Draws it; there is at least one answer.
pub(super) fn lines(plot: &Plot, columns: usize, glyphs: Glyphs) -> Vec<String> {
    let [least, most] = [plot.rtts.min(), plot.rtts.max()].map(|rtt| super::nanos(rtt.unwrap_or_default()));
    let (pen, height) = (Pen::of(glyphs), Height::over(least, most, glyphs));
    let margin = height.labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).max("lost".len());
    let width = columns - margin - 2;
    let cells = in_columns(plot, width);

    let mut picture = vec![vec![' '; width]; height.rows()];
    for (column, cell) in cells.iter().enumerate() {
        let Some(mean) = cell.mean() else { continue };
        for row in &mut picture[height.row(cell.min)..=height.row(cell.max)] {
            row[column] = pen.range;
        }
        picture[height.row(mean)][column] = pen.mean;
    }

    let mut lines = vec![caption(&cells, &pen)];
    for (row, drawn) in picture.iter().enumerate().rev() {
        let (label, mark) = height.label(row).map_or(("", pen.axis), |label| (label, pen.mark));
        lines.push(format!("{label:>margin$} {mark}{}", drawn.iter().collect::<String>()));
    }
    if plot.lost > 0 {
        let marks: String = cells.iter().map(|cell| if cell.lost > 0 { 'x' } else { ' ' }).collect();
        lines.push(format!("{:>margin$} {}{marks}", "lost", pen.axis));
    }
    lines.extend(floor(plot.span(), margin, width, &pen));
    lines
}

/// Says what the marks mean, as far as there are any.
fn caption(cells: &[Cell], pen: &Pen) -> String {
    if cells.iter().any(|cell| cell.answered > 1) {
        format!("RTT by time: {} mean, {} least to greatest", pen.mean, pen.range)
    } else {
        "RTT by time".to_owned()
    }
}

/// Returns the column of a moment.
fn column(after: u128, span: u64, width: usize) -> usize {
    (after * (width as u128 - 1)).checked_div(span.into()).map_or(0, |column| column as usize).min(width - 1)
}

/// Returns what came of the probes of each column.
fn in_columns(plot: &Plot, width: usize) -> Vec<Cell> {
    let mut columns = vec![Cell::default(); width];
    for (after, cell) in plot.cells() {
        columns[column(after.into(), plot.span(), width)].add(cell);
    }
    columns
}

/// Draws the time axis and what stands below it.
fn floor(span: u64, margin: usize, width: usize, pen: &Pen) -> [String; 2] {
    let (step, unit, name) = time_step(span, (width / 12) as u128);
    let mut axis = vec![pen.floor; width];
    let mut labels = String::new();
    for number in 0..=u128::from(span) / step {
        let at = column(number * step, span, width);
        axis[at] = pen.floor_mark;
        let label = if number == 0 { "0".to_owned() } else { format!("{} {name}", amount(number * step, step, unit)) };
        // In the middle below its mark, as far as there is room on both sides.
        let begin = (margin + 2 + at).saturating_sub(label.len() / 2).min(margin + 2 + width - label.len());
        if labels.is_empty() || begin > labels.len() {
            labels = format!("{labels:<begin$}{label}");
        }
    }
    [format!("{:margin$} {}{}", "", pen.corner, axis.iter().collect::<String>()), labels]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithm_is_found_digit_by_digit() {
        for number in [1.0, 1.000_1, 2.0, 3.162, 9.999_99, 10.0, 54.3, 1_000.0, 123_456_789.0, 1.8e19_f64] {
            assert!((decades_over(number) - number.log10()).abs() < 1e-5, "{number}: {}", decades_over(number));
        }
        assert_eq!([0.0, 0.5, 0.999].map(decades_over), [0.0; 3]);
    }
}

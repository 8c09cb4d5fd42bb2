//! How many probes had which round-trip time: a line a class, its bar, their number and share.

use super::axis::{Linear, MOST_LINEAR, amount, decades, nice_steps, unit};
use super::nanos;
use crate::report::Glyphs;
use crate::report::people::{count, percent};
use crate::stats::Sketch;

/// The most classes of one width.
const MOST_CLASSES: u128 = 12;

/// The most classes of 1, 2, 5 and 10; of more only each tenfold is one.
const MOST_FINE_CLASSES: usize = 16;

/// The right parts of a block, from an eighth.
const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// A line of the histogram.
struct Class {
    label: String,
    number: u64,
    is_lost: bool,
}

/// Draws it; there is at least one answer.
pub(super) fn lines(rtts: &Sketch, lost: u64, columns: usize, glyphs: Glyphs) -> Vec<String> {
    let mut classes = classes(rtts, glyphs);
    if lost > 0 {
        classes.push(Class { label: "lost".to_owned(), number: lost, is_lost: true });
    }
    let total = rtts.count() + lost;
    let widest = |words: &dyn Fn(&Class) -> usize| classes.iter().map(words).max().unwrap_or(0);
    let (margin, digits) =
        (widest(&|class| class.label.chars().count()), widest(&|class| class.number.to_string().len()));
    let most = classes.iter().map(|class| class.number).max().unwrap_or(1).max(1);
    // Label, axis, bar, number, share: four spaces are between them and the axis.
    let width = columns.saturating_sub(margin + 2 + 1 + digits + 1 + 6).max(1);
    let axis = if glyphs == Glyphs::Ascii { '|' } else { '│' };
    let mut lines = vec![format!("RTT of {}", count(total, "probe"))];
    lines.extend(classes.iter().map(|Class { label, number, is_lost }| {
        let bar = match (is_lost, glyphs) {
            (true, _) => whole("x", *number, most, width),
            (false, Glyphs::Ascii) => whole("#", *number, most, width),
            (false, Glyphs::Unicode) => in_eighths(*number, most, width),
        };
        let share = percent(*number, total);
        format!("{label:>margin$} {axis}{bar:<width$} {number:>digits$} {share:>6}")
    }));
    lines
}

/// Returns the classes and how many lie in each: of one width, and where the few that are far beyond
/// the others would make all others one, these in a class without end; where even the others are far
/// apart each class is a multiple of the last.
fn classes(rtts: &Sketch, glyphs: Glyphs) -> Vec<Class> {
    let [least, most] = [rtts.min(), rtts.max()].map(|rtt| nanos(rtt.unwrap_or_default()));
    let body = rtts.percentile(95, 0).map_or(most, nanos);
    if body / least.max(1) > MOST_LINEAR {
        let edges = multiples(least, most);
        return filled(rtts, &edges, false, |from, to| {
            let [(unit_from, name_from), (unit_to, name_to)] = [unit(from, glyphs), unit(to, glyphs)];
            let [from, to] = [amount(from, from.max(1), unit_from), amount(to, to, unit_to)];
            if name_from == name_to || from == "0" {
                format!("{from}{}{to} {name_to}", dash(glyphs))
            } else {
                format!("{from} {name_from}{}{to} {name_to}", dash(glyphs))
            }
        });
    }
    let is_open = most - least > (body - least).saturating_mul(3);
    // A class ends before its upper edge.
    let axis = Linear::over(least, if is_open { body } else { most }.saturating_add(1), MOST_CLASSES);
    let edges: Vec<u128> = (0..=axis.steps).map(|step| axis.low + step * axis.step).collect();
    let (unit, name) = unit(axis.high(), glyphs);
    let number = |edge| amount(edge, axis.step, unit);
    let mut classes =
        filled(rtts, &edges, is_open, |from, to| format!("{}{}{} {name}", number(from), dash(glyphs), number(to)));
    if is_open && let Some(last) = classes.last_mut() {
        let sign = if glyphs == Glyphs::Ascii { ">=" } else { "≥" };
        last.label = format!("{sign} {} {name}", number(axis.high()));
    }
    classes
}

/// Returns edges of which each is 2 or 2.5 times the last, or where that would be too many, ten times.
fn multiples(least: u64, most: u64) -> Vec<u128> {
    let above = u128::from(most) + 1;
    let fine: Vec<u128> = nice_steps().take_while(|edge| *edge < 10 * above).collect();
    let first = fine.iter().rposition(|edge| *edge <= u128::from(least)).unwrap_or(0);
    let last = fine.iter().position(|edge| *edge >= above).unwrap_or(fine.len() - 1);
    let mut edges = fine[first..=last].to_vec();
    if edges.len() > MOST_FINE_CLASSES + 1 {
        edges = decades(least, most.saturating_add(1));
    }
    if least == 0 {
        edges.insert(0, 0);
    }
    edges
}

/// Counts what lies between each two edges, and with `is_open` what lies beyond the last.
fn filled(rtts: &Sketch, edges: &[u128], is_open: bool, label: impl Fn(u128, u128) -> String) -> Vec<Class> {
    let mut classes: Vec<Class> = edges
        .windows(2)
        .map(|pair| Class { label: label(pair[0], pair[1]), number: 0, is_lost: false })
        .chain(is_open.then(|| Class { label: String::new(), number: 0, is_lost: false }))
        .collect();
    let last = classes.len() - 1;
    for (rtt, times) in rtts.durations() {
        let below = edges.partition_point(|edge| *edge <= rtt.as_nanos());
        classes[below.saturating_sub(1).min(last)].number += times;
    }
    classes
}

fn dash(glyphs: Glyphs) -> char {
    if glyphs == Glyphs::Ascii { '-' } else { '–' }
}

/// Returns a bar of whole characters; of any number one is seen.
fn whole(character: &str, number: u64, most: u64, width: usize) -> String {
    let length = (number as f64 / most as f64 * width as f64).round() as usize;
    character.repeat(if number > 0 { length.max(1) } else { 0 })
}

/// Returns a bar to the eighth of a character; of any number one is seen.
fn in_eighths(number: u64, most: u64, width: usize) -> String {
    let eighths = (number as f64 / most as f64 * (width * 8) as f64).round() as usize;
    let eighths = if number > 0 { eighths.max(1) } else { 0 };
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((eighths % 8).checked_sub(1).map(|part| EIGHTHS[part]));
    bar
}

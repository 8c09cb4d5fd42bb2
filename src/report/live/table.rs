//! The table of a frame: which targets and columns there is room for, and what is in each.

use std::time::Duration;

use super::{LATEST, Live, Outcome, Row};
use crate::report::people::{duration_short, percent};
use crate::report::text::{Tone, paint, say};
use crate::report::{Glyphs, Screen};

/// A column between the name and the sparkline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Loss,
    Sent,
    Now,
    Min,
    P50,
    P99,
}

/// What there is room for.
struct Layout {
    name: usize,
    columns: &'static [Column],
    sent: usize,
    /// 0 where there is no sparkline.
    latest: usize,
}

/// The columns from which to choose, the first that fit, and whether a sparkline follows.
const CHOICES: [(&[Column], bool); 8] = [
    (&[Column::Loss, Column::Sent, Column::Now, Column::Min, Column::P50, Column::P99], true),
    (&[Column::Loss, Column::Now, Column::Min, Column::P50, Column::P99], true),
    (&[Column::Loss, Column::Now, Column::P50, Column::P99], true),
    (&[Column::Loss, Column::Now, Column::P99], true),
    (&[Column::Loss, Column::Now], true),
    (&[Column::Loss, Column::Now], false),
    (&[Column::Loss], false),
    (&[], false),
];

/// A name is cut to no less, as long as a column can be left out instead.
const SHORTEST_NAME: usize = 16;

/// A shorter sparkline says nothing.
const SHORTEST_LATEST: usize = 8;

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII_LEVELS: [char; 8] = ['_', '.', '-', '~', '=', '+', '*', '#'];

/// Returns a whole screen.
pub(super) fn frame(live: &Live, columns: usize, rows: usize, title: &str) -> String {
    let room = rows.saturating_sub(2);
    let shown = if live.rows.len() > room { worst(live, room.saturating_sub(1)) } else { live.rows.values().collect() };
    let view = View { live, layout: Layout::of(live, columns), columns };
    let mut lines = vec![view.title(title), view.header()];
    lines.extend(shown.iter().map(|row| view.row(row)));
    if shown.len() < live.rows.len() {
        let rest = format!("{} and {} more", ellipsis(live.glyphs), live.rows.len() - shown.len());
        lines.push(cut(&rest, columns, live.glyphs));
    }
    lines.truncate(rows);
    lines.join("\n")
}

/// Returns so many rows, the worst first.
fn worst(live: &Live, number: usize) -> Vec<&Row> {
    let mut rows: Vec<_> = live.rows.iter().map(|(target, row)| (row.badness(), *target, row)).collect();
    rows.sort_unstable_by(|((failed, p99), target, _), ((other_failed, other_p99), other_target, _)| {
        other_failed.total_cmp(failed).then(other_p99.cmp(p99)).then(target.cmp(other_target))
    });
    rows.into_iter().take(number).map(|(_, _, row)| row).collect()
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Sent => "sent",
            Self::Now => "now",
            Self::Min => "min",
            Self::P50 => "p50",
            Self::P99 => "p99",
        }
    }
}

impl Layout {
    /// Chooses what there is room for; the same for all targets, shown or not, so that nothing moves
    /// when others are shown.
    fn of(live: &Live, columns: usize) -> Self {
        let longest = live.rows.values().map(|row| width(&row.name)).max().unwrap_or(0).max("target".len());
        let most_sent = live.rows.values().map(|row| row.sent).max().unwrap_or(0);
        let mut layout = Self { name: 0, columns: &[], sent: most_sent.to_string().len().max("sent".len()), latest: 0 };
        let short = longest.min(SHORTEST_NAME);
        for (choice, has_latest) in CHOICES {
            let others: usize = choice.iter().map(|column| 1 + layout.width(*column)).sum();
            let least = short + others + if has_latest { 1 + SHORTEST_LATEST } else { 0 };
            if let Some(rest) = columns.checked_sub(least) {
                layout.columns = choice;
                layout.name = short + rest.min(longest - short);
                let latest = columns - layout.name - others;
                layout.latest = if has_latest { (latest - 1).min(LATEST) } else { 0 };
                return layout;
            }
        }
        Self { name: columns, ..layout }
    }

    fn width(&self, column: Column) -> usize {
        match column {
            Column::Loss => 6,
            Column::Sent => self.sent,
            Column::Now | Column::Min | Column::P50 | Column::P99 => 7,
        }
    }
}

/// What a frame is made of.
struct View<'a> {
    live: &'a Live,
    layout: Layout,
    columns: usize,
}

impl View<'_> {
    /// Returns the first line: the title, and which key ends it all.
    fn title(&self, title: &str) -> String {
        let title = cut(&escaped(title), self.columns, self.live.glyphs);
        let rest = self.columns - width(&title);
        let Some(key) = ["q quits with the summary", "q quits"].into_iter().find(|key| key.len() + 2 <= rest) else {
            return title.trim_end().to_owned();
        };
        let mut line = title.into_bytes();
        line.resize(line.len() + rest - key.len(), b' ');
        self.paint(&mut line, Some(Tone::Dim), key);
        text(line)
    }

    /// Returns the names of the columns.
    fn header(&self) -> String {
        let mut words = padded(cut("target", self.layout.name, self.live.glyphs), self.layout.name);
        for column in self.layout.columns {
            words += &format!(" {:>width$}", column.title(), width = self.layout.width(*column));
        }
        if self.layout.latest > 0 {
            words += " latest";
        }
        let mut line = Vec::new();
        self.paint(&mut line, Some(Tone::Dim), words.trim_end());
        text(line)
    }

    /// Returns the line of a target.
    fn row(&self, row: &Row) -> String {
        let mut line = padded(cut(&row.name, self.layout.name, self.live.glyphs), self.layout.name).into_bytes();
        for column in self.layout.columns {
            let (tone, words) = self.cell(row, *column);
            self.paint(&mut line, tone, &format!(" {words:>width$}", width = self.layout.width(*column)));
        }
        self.append_latest(&mut line, row);
        text(line).trim_end().to_owned()
    }

    /// Returns what is in a column.
    fn cell(&self, row: &Row, column: Column) -> (Option<Tone>, String) {
        let short = |rtt| duration_short(rtt, self.live.glyphs);
        let or = |rtt: Option<Duration>, word: &str| (None, rtt.map_or(word.to_owned(), short));
        let infinite = match self.live.glyphs {
            _ if row.ended() == 0 => "-",
            Glyphs::Unicode => "∞",
            Glyphs::Ascii => "inf",
        };
        match column {
            Column::Loss => {
                let (lost, ended) = (row.lost + row.late, row.ended());
                let tone = match lost {
                    0 => None,
                    _ if lost < ended => Some(Tone::Warning),
                    _ => Some(Tone::Error),
                };
                (tone, percent(lost, ended))
            }
            Column::Sent => (None, row.sent.to_string()),
            Column::Now => match row.latest.back() {
                None => (None, "-".to_owned()),
                Some(Outcome::Answered(rtt)) => (None, short(*rtt)),
                Some(Outcome::Lost) => (Some(Tone::Error), "lost".to_owned()),
                Some(Outcome::Refused) => (Some(Tone::Warning), "refused".to_owned()),
                Some(Outcome::NotSent) => (Some(Tone::Warning), "unsent".to_owned()),
            },
            Column::Min => or(row.rtts.min(), "-"),
            Column::P50 => or(row.percentile(50), infinite),
            Column::P99 => or(row.percentile(99), infinite),
        }
    }

    /// Appends the sparkline: the latest outcomes, the last on the right.
    fn append_latest(&self, line: &mut Vec<u8>, row: &Row) {
        if self.layout.latest == 0 || row.latest.is_empty() {
            return;
        }
        let skipped = row.latest.len().saturating_sub(self.layout.latest);
        let latest: Vec<Outcome> = row.latest.iter().skip(skipped).copied().collect();
        let rtts = || latest.iter().filter_map(|outcome| outcome.rtt());
        let least = rtts().min().unwrap_or_default().as_secs_f64();
        // What is less than twice the least does not reach the top: small noise looks small.
        let most = rtts().max().unwrap_or_default().as_secs_f64().max(2.0 * least);
        let levels = if self.live.glyphs == Glyphs::Ascii { ASCII_LEVELS } else { LEVELS };
        let glyph = |outcome: &Outcome| match outcome {
            Outcome::Answered(rtt) => {
                let height = (rtt.as_secs_f64() - least) / (most - least).max(f64::MIN_POSITIVE);
                levels[((height * 8.0) as usize).min(7)]
            }
            Outcome::Lost => 'x',
            Outcome::Refused => '!',
            Outcome::NotSent => '?',
        };
        line.push(b' ');
        for alike in latest.chunk_by(|one, other| one.tone() == other.tone()) {
            self.paint(line, alike[0].tone(), &alike.iter().map(glyph).collect::<String>());
        }
    }

    fn paint(&self, line: &mut Vec<u8>, tone: Option<Tone>, words: &str) {
        let screen = Screen { terminal: true, color: self.live.color };
        match tone {
            Some(tone) => paint(line, screen, tone, format_args!("{words}")),
            None => say(line, format_args!("{words}")),
        }
    }
}

impl Outcome {
    fn rtt(self) -> Option<Duration> {
        match self {
            Self::Answered(rtt) => Some(rtt),
            Self::Lost | Self::Refused | Self::NotSent => None,
        }
    }

    fn tone(self) -> Option<Tone> {
        match self {
            Self::Answered(_) => None,
            Self::Lost => Some(Tone::Error),
            Self::Refused | Self::NotSent => Some(Tone::Warning),
        }
    }
}

/// Returns a name without anything that a terminal would obey.
pub(super) fn escaped(name: &str) -> String {
    let mut line = Vec::new();
    say(&mut line, format_args!("{name}"));
    text(line)
}

/// Returns how many columns a line takes; colours take none.
pub(super) fn width(line: &str) -> usize {
    let mut characters = line.chars();
    let mut columns = 0;
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => drop(characters.find(char::is_ascii_alphabetic)),
            _ => columns += cells(character),
        }
    }
    columns
}

/// Returns how many columns a character takes: two where East Asian Width (UAX #11) is wide.
fn cells(character: char) -> usize {
    match character {
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// Cuts what is too wide in its middle: of the addresses of a network the ends differ, of the hosts
/// of a domain the beginnings.
fn cut(words: &str, columns: usize, glyphs: Glyphs) -> String {
    if width(words) <= columns {
        return words.to_owned();
    }
    let ellipsis = ellipsis(glyphs);
    let Some(room) = columns.checked_sub(width(ellipsis)) else { return String::new() };
    let within = |room: usize| {
        move |left: &mut usize, character: char| {
            *left += cells(character);
            (*left <= room).then_some(character)
        }
    };
    let head: String = words.chars().scan(0, within(room.div_ceil(2))).collect();
    let tail: Vec<char> = words.chars().rev().scan(0, within(room / 2)).collect();
    head + ellipsis + &tail.into_iter().rev().collect::<String>()
}

fn ellipsis(glyphs: Glyphs) -> &'static str {
    if glyphs == Glyphs::Ascii { ".." } else { "…" }
}

fn padded(words: String, columns: usize) -> String {
    let spaces = columns.saturating_sub(width(&words));
    words + &" ".repeat(spaces)
}

/// Returns what was written as text.
fn text(line: Vec<u8>) -> String {
    String::from_utf8_lossy(&line).into_owned()
}

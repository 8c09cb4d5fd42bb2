//! Shown: every event as a JSON line, as text for people, or both, into writers that were given.
//!
//! Nothing here asks whether a stream is a terminal, which options were typed or what time it is:
//! [`Settings`] and the stamps say so. Formatted bytes cross to a writer thread (`Output`).

mod json;
pub mod live;
mod output;
mod people;
mod plot;
mod progress;
mod schema;
mod text;

pub use output::{Output, OutputEvent};
pub use people::{byte_count, duration};
pub use plot::Plot;
pub use schema::{EventFields, Field, fields, schema};
pub use text::{Canvas, Chart, Text};

use std::io;
use std::time::Duration;

use crate::event::{Event, Kind, Stamp};
use crate::stats::{Progress, Tally};

use json::Json;

/// What a run shows, and how.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What stdout carries.
    pub format: Format,
    /// Which events the JSON lines hold, on stdout and in the events file.
    pub detail: Detail,
    /// Which steps the text view tells on stderr.
    pub steps: Steps,
    /// What the text view writes to stdout.
    pub results: Results,
    /// Which totals the run has, and so which words the text view has for them.
    pub tally: Tally,
    /// The run is a relay: `send` (and, in text, `recv`) is a step to tell only where verbose.
    pub in_relay: bool,
    /// Datagrams come and go in bulk: the text view tells of each only where verbose.
    pub in_bulk: bool,
    /// On a terminal, an answer that does not end in a newline gets one.
    pub answers: bool,
    /// The text view dumps each send and recv in hexadecimal.
    pub hex_dump: bool,
    /// What the text view draws.
    pub chart: Option<Chart>,
    /// When the run ends in any case: its bar says so.
    pub deadline: Option<Duration>,
    /// What stdout is.
    pub stdout: Screen,
    /// What stderr is.
    pub stderr: Screen,
}

/// What stdout carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Results for people and pipes; steps go to stderr.
    Text,
    /// One JSON object a line and nothing else; stderr stays empty.
    Json,
}

/// Which events the JSON lines hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Only `start`, `error`, `warning`, `interim` and the summaries (`-q`).
    Quiet,
    /// All but `setsockopt`, and in a relay `send`.
    Normal,
    /// All (`-v`).
    Verbose,
}

/// Which steps the text view tells on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// None; errors are told all the same.
    Hidden,
    /// All but `setsockopt`, and in a relay `send` and `recv`.
    Shown,
    /// All, with more figures.
    Verbose,
}

/// What the text view writes to stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Results {
    /// The bytes that the peer sent.
    Peer,
    /// Statistics and tables.
    Lines,
    /// A line a connect: open, refused, silent. Where there are many targets it is all that is said
    /// of those that failed.
    Probe(Probing),
    /// A line an answer, or what else became of a probe; hops; statistics.
    Probes {
        /// There is more than one target, and each has a line at the end.
        many: bool,
        /// Most targets may be silent: that is not told of each.
        sweep: bool,
    },
    /// Nothing.
    None,
}

/// How targets are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// There is more than one target.
    pub many: bool,
    /// What failed is tried again: it has its line at the end, of the last try.
    pub again: bool,
    /// The targets are reached through proxies.
    pub proxied: bool,
    /// TLS is spoken with them.
    pub secured: bool,
}

/// What a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// A terminal, to which no control byte from the network may go raw.
    pub terminal: bool,
    /// Colours are wanted.
    pub color: bool,
}

/// What pictures are drawn with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Glyphs {
    /// Lines and blocks that every font of a terminal has.
    #[default]
    Unicode,
    /// Where the locale is not UTF-8.
    Ascii,
}

/// Where a report goes.
#[derive(Debug)]
pub struct Outputs {
    /// Results, or JSON lines.
    pub stdout: Output,
    /// Steps, warnings and errors of the text view; `None` where it is the same terminal as
    /// stdout, so that one writer keeps the order of both. JSON never uses it.
    pub stderr: Option<Output>,
    /// The JSON lines once more (`--events`).
    pub events: Option<Output>,
}

/// One of the [`Outputs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// [`Outputs::stdout`].
    Stdout,
    /// [`Outputs::stderr`].
    Stderr,
    /// [`Outputs::events`].
    Events,
}

/// Shows a run: told every event, by `lib`, whether or not it wants its kind.
#[derive(Debug)]
pub struct Report {
    view: View,
    events: Option<Output>,
    detail: Detail,
    in_relay: bool,
    json: Json,
    line: Vec<u8>,
}

/// What stdout carries, with what is needed for it.
#[derive(Debug)]
enum View {
    Text(Box<Text>),
    Json(Output),
}

impl Report {
    /// Makes a report that shows a run as `settings` say.
    #[must_use]
    pub fn new(settings: Settings, outputs: Outputs) -> Self {
        let Outputs { stdout, stderr, events } = outputs;
        let view = match settings.format {
            Format::Text => View::Text(Box::new(Text::new(settings, stdout, stderr))),
            Format::Json => View::Json(stdout),
        };
        Self {
            view,
            events,
            detail: settings.detail,
            // A probe is told by what becomes of it.
            in_relay: settings.in_relay || matches!(settings.results, Results::Probes { .. }),
            json: Json::default(),
            line: Vec::new(),
        }
    }

    /// Returns whether events of this kind are shown; the answer never changes.
    #[must_use]
    pub fn wants(&self, kind: Kind) -> bool {
        self.has_json(kind) || matches!(&self.view, View::Text(text) if text.wants(kind))
    }

    /// Returns whether events of this kind, though they may not be shown, change how others are; the answer
    /// never changes.
    #[must_use]
    pub fn heeds(&self, kind: Kind) -> bool {
        matches!(&self.view, View::Text(text) if text.heeds(kind))
    }

    /// Takes one event.
    pub fn hear(&mut self, stamp: Stamp, event: &Event<'_>) {
        if let View::Text(text) = &mut self.view {
            text.hear(stamp, event);
        }
        if !self.has_json(event.kind()) {
            return;
        }
        self.line.clear();
        self.json.append(&mut self.line, stamp, event);
        if let View::Json(stdout) = &self.view {
            stdout.push(|buffer| buffer.extend_from_slice(&self.line));
        }
        if let Some(events) = &self.events {
            events.push(|buffer| buffer.extend_from_slice(&self.line));
        }
    }

    /// Draws what is to be drawn by now, into the room that there is.
    pub fn tick(&mut self, stamp: Stamp, canvas: Canvas) {
        if let View::Text(text) = &mut self.view {
            text.tick(stamp, canvas);
        }
    }

    /// Draws a bar on the terminal that stderr is, for a run that has come so far, in so many columns.
    pub fn show_progress(&mut self, stamp: Stamp, columns: usize, progress: Option<Progress>) {
        if let View::Text(text) = &mut self.view {
            text.show_progress(stamp, columns, progress);
        }
    }

    /// Takes the bar away, where there is one.
    pub fn end_progress(&mut self) {
        if let View::Text(text) = &mut self.view {
            text.end_progress();
        }
    }

    /// Returns whether more waits to be written, anywhere, than should.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let view = match &self.view {
            View::Text(text) => text.is_full(),
            View::Json(stdout) => stdout.is_full(),
        };
        view || self.events.as_ref().is_some_and(Output::is_full)
    }

    /// Blocks until all that was shown so far is written, or writing failed and was told.
    pub fn settle(&self) {
        match &self.view {
            View::Text(text) => text.settle(),
            View::Json(stdout) => stdout.settle(),
        }
        self.events.iter().for_each(Output::settle);
    }

    /// Writes out what still waits, blocking, and returns which outputs failed, now or earlier.
    /// Nothing is shown after it.
    pub fn finish(&mut self) -> Vec<(Stream, io::Error)> {
        let (stdout, stderr) = match &mut self.view {
            View::Text(text) => text.finish(),
            View::Json(stdout) => (stdout.finish(), Ok(())),
        };
        let events = self.events.as_mut().map_or(Ok(()), Output::finish);
        [(Stream::Stdout, stdout), (Stream::Stderr, stderr), (Stream::Events, events)]
            .into_iter()
            .filter_map(|(stream, result)| Some((stream, result.err()?)))
            .collect()
    }

    /// Returns whether a JSON line is written for events of this kind.
    fn has_json(&self, kind: Kind) -> bool {
        let is_read = matches!(self.view, View::Json(_)) || self.events.is_some();
        is_read
            && match self.detail {
                Detail::Quiet => {
                    use Kind::{Error, Interim, Start, Summary, TargetSummary, Warning};
                    matches!(kind, Start | Error | Warning | Interim | TargetSummary | Summary)
                }
                Detail::Normal => kind != Kind::Setsockopt && !(self.in_relay && kind == Kind::Send),
                Detail::Verbose => true,
            }
    }
}

#[cfg(test)]
mod tests;

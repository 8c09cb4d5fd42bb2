//! The text view: results on stdout, steps, warnings and errors on stderr.

mod charts;
mod escape;
mod hex;
mod hops;
mod peer;
mod probes;
mod steps;
mod table;
mod tls;
mod totals;

use std::fmt::{self, Write};
use std::io;

use anstyle::{AnsiColor, Style};

use super::{Detail, Output, Probing, Results, Screen, Settings, Steps};
use crate::event::{CheckOutcome, Error, Event, Kind, Outcome, Stamp};
use crate::report::people::duration;
use crate::report::progress::Bar;
use crate::stats::{Progress, Tally};

use charts::Charts;
pub use charts::{Canvas, Chart};
use escape::Line;
use hex::{HexDump, append_rows};
use hops::Hops;
use peer::PeerBytes;
use steps::append_questions;
use table::Table;

const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Shows a run to people.
#[derive(Debug)]
pub struct Text {
    settings: Settings,
    stdout: Output,
    /// `None` where it is the terminal that stdout is.
    stderr: Option<Output>,
    peer: PeerBytes,
    dump: HexDump,
    /// Of a probe.
    table: Table,
    /// What held a client's transfer back, for the end of its summary.
    verdict: Option<String>,
    /// Of a run of which only results are wanted: what is told where the answer is no, for it says why.
    why: Vec<u8>,
    /// Whether an ICMP error was told: of a bulk all are as the first.
    has_told_icmp: bool,
    charts: Option<Charts>,
    hops: Hops,
    bar: Bar,
    has_bar: bool,
}

/// What a word on a line means, and so its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// It went well.
    Good,
    /// Something to know.
    Warning,
    /// It went wrong.
    Error,
    /// There if one looks for it.
    Dim,
}

impl Text {
    /// Makes the view; `stderr` is `None` where it is the same terminal as stdout.
    #[must_use]
    pub fn new(settings: Settings, stdout: Output, stderr: Option<Output>) -> Self {
        let peer = PeerBytes::new(settings.stdout.terminal);
        Self {
            settings,
            stdout,
            stderr,
            peer,
            dump: HexDump::default(),
            table: Table::default(),
            verdict: None,
            why: Vec::new(),
            has_told_icmp: false,
            hops: Hops::default(),
            bar: Bar::new(settings.deadline),
            has_bar: false,
            charts: settings.chart.map(|chart| Charts::new(chart, settings.stdout.color)),
        }
    }

    /// Returns whether events of this kind are shown.
    #[must_use]
    pub fn wants(&self, kind: Kind) -> bool {
        let is_result = match self.settings.results {
            Results::Peer => kind == Kind::Recv,
            Results::Probe(_) => matches!(kind, Kind::Connect | Kind::Proxy | Kind::Tls | Kind::Close),
            Results::Lines | Results::Probes { .. } | Results::None => false,
        };
        let is_drawn =
            matches!(kind, Kind::Send | Kind::NotSent | Kind::Reply | Kind::Late | Kind::Lost | Kind::IcmpError);
        is_result || self.tells(kind) || self.is_line(kind) || (is_drawn && self.charts.is_some())
    }

    /// Returns whether events of this kind matter though they are not shown: they end an answer, say. Of those
    /// that come by the hundred thousand it is only said where something is made of them.
    #[must_use]
    pub fn heeds(&self, kind: Kind) -> bool {
        let is_bulk = matches!(kind, Kind::Send | Kind::Recv | Kind::Reply);
        !is_bulk || self.settings.results == Results::Peer || self.settings.hex_dump || self.charts.is_some()
    }

    /// Takes one event.
    pub fn hear(&mut self, stamp: Stamp, event: &Event<'_>) {
        let kind = event.kind();
        self.end_answer(kind);
        let offset = if self.settings.hex_dump { self.dump.advance(event) } else { 0 };
        if self.draw(stamp, event) || self.hop(event) {
            return;
        }
        if let Results::Probe(probing) = self.settings.results {
            let mut lines = Vec::new();
            let is_told = self.table.hear(&mut lines, self.settings.stdout, probing, event);
            if !lines.is_empty() {
                self.stdout.push(|buffer| buffer.append(&mut lines));
            }
            if probing.many && kind == Kind::Error && is_told {
                return;
            }
        }
        if let (Event::Close(close), Tally::Client, Steps::Verbose) = (event, self.settings.tally, self.settings.steps)
        {
            self.verdict = close.tcp.as_ref().and_then(steps::verdict);
        }
        if let Event::Summary(summary) = event
            && summary.exit_code != 0
            && !self.why.is_empty()
        {
            let why = std::mem::take(&mut self.why);
            self.stderr().push(|buffer| buffer.extend(why));
        }
        if !self.tells(kind) && self.may_be_why(event) && !self.is_again(kind) {
            let told = Told { stamp, event, offset, settings: &self.settings, table: &self.table };
            told.append(&mut self.why);
        } else if (self.tells(kind) || self.is_verdict(event)) && !self.is_idle(event) && !self.is_again(kind) {
            let told = Told { stamp, event, offset, settings: &self.settings, table: &self.table };
            let verdict = self.verdict.as_deref().filter(|_| kind == Kind::Summary);
            self.stderr().push(|buffer| {
                told.append(buffer);
                if let Some(verdict) = verdict {
                    say(buffer, format_args!("the transfer was {verdict}"));
                    buffer.push(b'\n');
                }
            });
        } else if self.is_line(kind) && !self.is_dull(event) {
            let told = Told { stamp, event, offset, settings: &self.settings, table: &self.table };
            self.stdout.push(|buffer| told.append_result(buffer));
        }
        if let (Event::Recv(recv), Results::Peer) = (event, self.settings.results)
            && !recv.denied
            && recv.layer.is_none()
        {
            let peer = &mut self.peer;
            self.stdout.push(|buffer| peer.append(buffer, recv.data.0));
        }
    }

    /// Draws what is to be drawn; returns whether the event is not told besides. While there is a screen,
    /// what would be written into it waits.
    fn draw(&mut self, stamp: Stamp, event: &Event<'_>) -> bool {
        let Some(charts) = &mut self.charts else { return false };
        let kind = event.kind();
        charts.hear(stamp, event);
        let is_live = charts.is_live();
        if matches!(kind, Kind::Hop | Kind::PathMtu | Kind::TargetSummary | Kind::Summary) {
            self.stdout.push(|buffer| charts.end(buffer));
            return false;
        }
        if is_live && matches!(kind, Kind::Error | Kind::Warning | Kind::Interim) {
            let told = Told { stamp, event, offset: 0, settings: &self.settings, table: &self.table };
            told.append(&mut charts.held);
        }
        is_live
    }

    /// Shows a hop; returns whether it was one.
    fn hop(&mut self, event: &Event<'_>) -> bool {
        let hops = &mut self.hops;
        match event {
            Event::Hop(hop) => {
                self.stdout.push(|buffer| hops.append(buffer, hop));
                true
            }
            Event::TargetSummary(_) | Event::Summary(_) => {
                self.stdout.push(|buffer| hops.end(buffer));
                false
            }
            _ => false,
        }
    }

    /// Draws the screen, where there is one.
    pub fn tick(&mut self, stamp: Stamp, canvas: Canvas) {
        if let Some(screen) = self.charts.as_mut().and_then(|charts| charts.screen(stamp, canvas)) {
            self.stdout.push(|buffer| buffer.extend_from_slice(screen.as_bytes()));
        }
    }

    /// Draws the bar of a run that has come so far, in so many columns, below all that is on its terminal.
    pub fn show_progress(&mut self, stamp: Stamp, columns: usize, progress: Option<Progress>) {
        let line = self.bar.line(stamp.elapsed, columns, progress);
        if line.is_some() || self.has_bar {
            self.has_bar = line.is_some();
            self.stderr().set_footer(line);
        }
    }

    /// Takes the bar away, where there is one.
    pub fn end_progress(&mut self) {
        if std::mem::take(&mut self.has_bar) {
            self.stderr().set_footer(None);
        }
    }

    /// Returns whether more waits to be written than should.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.stdout.is_full() || self.stderr.as_ref().is_some_and(Output::is_full)
    }

    /// Blocks until all that was shown so far is written, or writing failed.
    pub fn settle(&self) {
        self.stdout.settle();
        self.stderr.iter().for_each(Output::settle);
    }

    /// Writes out what still waits, and returns how stdout and stderr went.
    pub fn finish(&mut self) -> (io::Result<()>, io::Result<()>) {
        if self.peer.has_pending() {
            self.stdout.push(|buffer| self.peer.flush(buffer));
        }
        (self.stdout.finish(), self.stderr.as_mut().map_or(Ok(()), Output::finish))
    }

    /// Returns whether events of this kind are told on stderr.
    fn tells(&self, kind: Kind) -> bool {
        let Settings { steps, detail, in_relay, in_bulk, hex_dump, results, tally, .. } = self.settings;
        let are_shown = steps != Steps::Hidden;
        match kind {
            _ if self.is_line(kind) => false,
            Kind::Send | Kind::Recv | Kind::Reply | Kind::Lost | Kind::NotSent if in_bulk => steps == Steps::Verbose,
            // A probe is told by what becomes of it.
            Kind::Send | Kind::Reply | Kind::Late | Kind::Duplicate | Kind::Corrupted | Kind::Foreign | Kind::Lost
                if matches!(results, Results::Probes { .. }) =>
            {
                steps == Steps::Verbose
            }
            Kind::IcmpError | Kind::TargetSummary if matches!(results, Results::Probes { .. }) => false,
            // What comes of a test packet is told, and not its bytes.
            Kind::Send | Kind::Recv if tally.measures() => steps == Steps::Verbose,
            Kind::Error => true,
            // Of many targets the table tells enough, but not what is to be known besides.
            Kind::Warning if matches!(results, Results::Probe(_)) => detail != Detail::Quiet,
            Kind::Start | Kind::Probe => false,
            Kind::Setsockopt => steps == Steps::Verbose,
            Kind::Send | Kind::Recv => hex_dump || (are_shown && !in_relay) || steps == Steps::Verbose,
            // Someone asked for it just now.
            Kind::Interim => {
                are_shown || matches!(results, Results::Lines | Results::Probes { .. }) || tally == Tally::Rounds
            }
            _ => are_shown,
        }
    }

    /// Returns whether events of this kind are a line of results on stdout.
    fn is_line(&self, kind: Kind) -> bool {
        let Settings { steps, in_bulk, results, .. } = self.settings;
        match results {
            // An answer is a result; of very many the statistics are.
            Results::Lines if kind == Kind::Reply => steps == Steps::Verbose || (steps == Steps::Shown && !in_bulk),
            Results::Lines => matches!(kind, Kind::Check | Kind::TargetSummary | Kind::Summary),
            Results::Probe(Probing { many, .. }) => {
                (many || self.settings.tally == Tally::Rounds) && kind == Kind::Summary
            }
            Results::Probes { many, sweep } => {
                let tells = steps == Steps::Verbose || (steps == Steps::Shown && !in_bulk);
                match kind {
                    Kind::Reply | Kind::Late | Kind::Duplicate | Kind::Corrupted | Kind::Foreign => tells,
                    Kind::Lost | Kind::IcmpError => tells && (!sweep || steps == Steps::Verbose),
                    Kind::TargetSummary => many && !sweep,
                    Kind::Hop | Kind::PathMtu | Kind::Interim | Kind::Summary => true,
                    _ => false,
                }
            }
            Results::Peer | Results::None => false,
        }
    }

    /// Returns whether a step goes without saying: an accept queue into which all got, save where
    /// more than usual is wanted.
    fn is_idle(&self, event: &Event<'_>) -> bool {
        let Event::Queue(queue) = event else { return false };
        let is_well = queue.depth <= queue.limit && queue.drops.unwrap_or(0) == 0;
        is_well && self.settings.steps != Steps::Verbose
    }

    /// Returns whether a step of a bulk, or of a run of which only results are wanted, goes without saying: an ICMP
    /// error after the first, which the totals count.
    fn is_again(&mut self, kind: Kind) -> bool {
        let Settings { steps, in_bulk, .. } = self.settings;
        (in_bulk || steps == Steps::Hidden)
            && kind == Kind::IcmpError
            && steps != Steps::Verbose
            && std::mem::replace(&mut self.has_told_icmp, true)
    }

    /// Returns whether an event says why the answer of a run is no: that is a result, and told with `-q` too.
    fn is_verdict(&self, event: &Event<'_>) -> bool {
        const VERDICTS: [&str; 5] = ["expect-unmet", "max-loss", "max-rtt", "min-days-unmet", "path-mtu-unknown"];
        match event {
            Event::Warning(warning) => VERDICTS.contains(&warning.name),
            // Some were answered, and some were not.
            Event::Summary(summary) => self.is_of_messages() && summary.outcome == Outcome::Negative,
            _ => false,
        }
    }

    /// Returns whether an event is why the answer of a run is no, should it be.
    fn may_be_why(&self, event: &Event<'_>) -> bool {
        match event {
            Event::Warning(warning) => warning.name == "stopped",
            Event::IcmpError(_) => self.is_of_messages(),
            _ => false,
        }
    }

    /// Returns whether datagrams are sent whose answers are the results: no line of these says what became of the others.
    fn is_of_messages(&self) -> bool {
        self.settings.results == Results::Peer && matches!(self.settings.tally, Tally::Sender { .. })
    }

    /// Returns whether a result goes without saying: where only results are wanted, a check that is
    /// well; a server that could not begin has none.
    fn is_dull(&self, event: &Event<'_>) -> bool {
        match event {
            Event::Check(check) => self.settings.detail == Detail::Quiet && check.outcome == CheckOutcome::Ok,
            Event::Summary(summary) => {
                self.settings.tally == Tally::Server
                    && summary.outcome == Outcome::Error
                    && summary.totals.connections == Some(0)
            }
            _ => false,
        }
    }

    /// Ends the line of an answer before what follows it: where asked for, and where a line for
    /// stderr would be written into it.
    fn end_answer(&mut self, kind: Kind) {
        if !self.peer.is_in_line() {
            return;
        }
        let is_answer_over = self.settings.answers && kind != Kind::Recv;
        let is_stream_over = matches!(kind, Kind::Eof | Kind::Close | Kind::Summary);
        let is_line_next = self.stderr.is_none() && self.tells(kind);
        let peer = &mut self.peer;
        self.stdout.push(|buffer| {
            if is_answer_over || is_stream_over {
                peer.flush(buffer);
            }
            if is_answer_over || is_line_next {
                peer.end_line(buffer);
            }
        });
    }

    /// Returns where lines for stderr go.
    fn stderr(&self) -> &Output {
        self.stderr.as_ref().unwrap_or(&self.stdout)
    }
}

/// One event on its way to a stream.
struct Told<'a> {
    stamp: Stamp,
    event: &'a Event<'a>,
    /// Where its data lies in the stream of its direction, for the hex dump.
    offset: u64,
    settings: &'a Settings,
    table: &'a Table,
}

impl Told<'_> {
    /// Appends a line of results for stdout.
    fn append_result(&self, buffer: &mut Vec<u8>) {
        self.append_line(buffer, self.settings.stdout);
    }

    /// Appends what stderr tells: a line, with its hint or its hex dump.
    fn append(&self, buffer: &mut Vec<u8>) {
        let screen = self.settings.stderr;
        if !matches!(self.event.kind(), Kind::Error | Kind::Warning | Kind::Check | Kind::Summary) {
            let elapsed = self.stamp.elapsed;
            let time = format_args!("{:>3}.{:06}", elapsed.as_secs(), elapsed.subsec_micros());
            paint(buffer, screen, Tone::Dim, time);
            buffer.push(b' ');
        }
        self.append_line(buffer, screen);
        if self.settings.hex_dump {
            match self.event {
                Event::Send(send) => append_rows(buffer, '>', self.offset, send.data.0),
                Event::Recv(recv) => append_rows(buffer, '<', self.offset, recv.data.0),
                _ => {}
            }
        }
    }

    /// Appends the line itself.
    fn append_line(&self, buffer: &mut Vec<u8>, screen: Screen) {
        let Settings { tally, steps, hex_dump, results, .. } = *self.settings;
        let is_table = matches!(results, Results::Probe(Probing { many: true, .. }));
        match self.event {
            Event::Error(error) => append_error(buffer, screen, error, steps == Steps::Verbose),
            Event::Warning(warning) => {
                paint(buffer, screen, Tone::Warning, format_args!("warning:"));
                say(buffer, format_args!(" {}", warning.message));
            }
            Event::Check(check) => totals::append_check(buffer, screen, check),
            Event::TargetSummary(target) if matches!(tally, Tally::Pinger { .. }) => {
                let explores = matches!(tally, Tally::Pinger { explores: true, .. });
                probes::append_ping_target(buffer, target, explores);
            }
            Event::TargetSummary(target) => probes::append_target(buffer, target.target, target.totals),
            Event::Interim(interim) => {
                totals::append_interim(buffer, tally, interim);
                totals::append_outages(buffer, self.stamp.time, is_table, interim.totals);
            }
            Event::Summary(summary) if is_table && tally == Tally::Client => {
                totals::append_probed(buffer, summary, self.table.totals());
            }
            Event::Summary(summary) => {
                totals::append_summary(buffer, screen, tally, self.stamp.elapsed, summary);
                totals::append_outages(buffer, self.stamp.time, is_table, summary.totals);
            }
            step => steps::append(buffer, step, steps == Steps::Verbose, !hex_dump),
        }
        buffer.push(b'\n');
    }
}

/// Appends an error, and its hint on a line of its own.
fn append_error(buffer: &mut Vec<u8>, screen: Screen, error: &Error<'_>, is_verbose: bool) {
    paint(buffer, screen, Tone::Error, format_args!("error:"));
    say(buffer, format_args!(" {}", error.message));
    if let (true, Some(took), [_, ..]) = (is_verbose, error.duration, error.steps) {
        say(buffer, format_args!(" ({}", duration(took)));
        append_questions(buffer, error.steps);
        buffer.push(b')');
    }
    if let Some(hint) = error.hint {
        append_hint(buffer, screen, "\n", hint);
    }
}

/// Appends what to try next, on a line that begins so.
fn append_hint(buffer: &mut Vec<u8>, screen: Screen, begin: &str, hint: &str) {
    buffer.extend_from_slice(begin.as_bytes());
    paint(buffer, screen, Tone::Dim, format_args!("hint:"));
    say(buffer, format_args!(" {hint}"));
}

/// Appends words; control characters among them are escaped.
pub(crate) fn say(buffer: &mut Vec<u8>, words: fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = Line(buffer).write_fmt(words);
}

/// Appends words in the colour of their tone, where colours are wanted.
pub(crate) fn paint(buffer: &mut Vec<u8>, screen: Screen, tone: Tone, words: fmt::Arguments<'_>) {
    let style = match tone {
        Tone::Good => GREEN,
        Tone::Warning => YELLOW,
        Tone::Error => RED,
        Tone::Dim => DIM,
    };
    if !screen.color {
        return say(buffer, words);
    }
    // Writing to memory does not fail.
    let _ = io::Write::write_fmt(buffer, format_args!("{style}"));
    say(buffer, words);
    let _ = io::Write::write_fmt(buffer, format_args!("{style:#}"));
}

#[cfg(test)]
mod tests;

//! The table of a probe: a line an address, when it is known how that came out. What failed may open with
//! the next try, so that there only the end of the run tells of the last.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Tone, paint, say, tls};
use crate::error::{ExitCode, Step};
use crate::event::{Error, Event, Kind, Outcome, Reason};
use crate::report::people::duration;
use crate::report::{Probing, Screen};

/// How many failures are known to have been told.
const MOST_EXPLAINED: usize = 1024;

/// What is known of the targets so far.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// The connections that are not at their end yet.
    under_way: HashMap<u64, Way>,
    /// The lines that are kept back, each under what it is of, with its place in the order of the last tries.
    kept: HashMap<Key, (usize, Vec<u8>)>,
    told: usize,
    open: u64,
    /// Failures that were told at once.
    failed: u64,
    /// The targets that have lines, and are not at their end yet.
    lined: HashSet<usize>,
    /// Why something failed that is no address: under its target, or its name.
    causes: HashMap<String, String>,
    /// What was told of such failures: of one that many targets have in common, once.
    explained: HashSet<String>,
}

/// A target by its number among them, for the same word may be there twice, and which address of it; through
/// proxies it has but one line.
type Key = (usize, String);

/// How far a connection is.
#[derive(Debug, Default)]
struct Way {
    /// The target that it is to.
    number: usize,
    /// Whom its line is of.
    whom: String,
    took: Duration,
    /// What TLS came to.
    tls: Option<String>,
}

/// A line of the table.
struct Row {
    whom: String,
    tone: Tone,
    word: &'static str,
    rest: String,
    /// The target that it belongs to.
    number: usize,
    /// Under what it is kept back, where it is.
    key: Option<Key>,
}

impl Table {
    /// Takes one event, and appends the lines that it completes; returns whether that tells of it, or such a one
    /// was told before.
    pub(crate) fn hear(&mut self, buffer: &mut Vec<u8>, screen: Screen, probing: Probing, event: &Event<'_>) -> bool {
        match event {
            Event::Round(round) => {
                if let Some((_, line)) = self.kept.remove(&(round.number, String::new())) {
                    buffer.extend_from_slice(&line);
                    self.failed += 1;
                }
            }
            Event::Summary(_) => self.append_kept(buffer),
            _ => {}
        }
        let row = match event {
            Event::Error(error) => {
                let row = self.failure(error, probing);
                if let (None, Some(about)) = (&row, error.target) {
                    self.causes.insert(about.to_owned(), error.message.to_owned());
                    // Rounds without end may have ever new ones.
                    if self.explained.len() >= MOST_EXPLAINED {
                        self.explained.clear();
                    }
                    if !self.explained.insert(error.message.to_owned()) {
                        return true;
                    }
                }
                row
            }
            Event::Probe(probe) => self.without_line(probe.target, probe.number, probe.outcome),
            Event::Round(round) => self.without_line(round.target, round.number, round.outcome),
            event => self.success(event, probing),
        };
        let Some(row) = row else { return false };
        let mut line = Vec::new();
        paint(&mut line, screen, row.tone, format_args!("{:<11}", row.word));
        say(&mut line, format_args!(" {}{}", row.whom, row.rest));
        line.push(b'\n');
        self.told += 1;
        if !matches!(event.kind(), Kind::Probe | Kind::Round) {
            self.lined.insert(row.number);
        }
        match row.key {
            Some(key) => drop(self.kept.insert(key, (self.told, line))),
            None => buffer.append(&mut line),
        }
        true
    }

    /// Returns how many lines are of what is open, and how many of what has failed.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.open, self.failed + self.kept.len() as u64)
    }

    /// Returns the line of a target that has ended without one: its name did not resolve, say.
    fn without_line(&mut self, target: &str, number: usize, outcome: Outcome) -> Option<Row> {
        if self.lined.remove(&number) || outcome != Outcome::Error {
            return None;
        }
        let name = target.rsplit_once(':').map_or(target, |(name, _)| name);
        let cause = self.causes.get(target).or_else(|| self.causes.get(name));
        let rest = cause.map_or_else(String::new, |cause| format!(" {cause}"));
        self.failed += 1;
        Some(Row { whom: target.to_owned(), tone: Tone::Error, word: "failed", rest, number, key: None })
    }

    /// Returns the line of what is open now, and all that was asked for with it.
    fn success(&mut self, event: &Event<'_>, probing: Probing) -> Option<Row> {
        let conn = match event {
            Event::Connect(connect) => {
                if probing.proxied {
                    // The first proxy is there: what an earlier try came to is over.
                    self.kept.remove(&(connect.number, String::new()));
                }
                let (number, whom) = (connect.number, connect.peer.to_string());
                let way = Way { number, whom, took: connect.duration, tls: None };
                self.under_way.insert(connect.conn, way);
                (!probing.proxied && !probing.secured).then_some(connect.conn)
            }
            Event::Proxy(proxy) if proxy.is_last => {
                let way = self.under_way.entry(proxy.conn).or_default();
                (way.whom, way.took) = (proxy.target.to_owned(), proxy.duration);
                (!probing.secured).then_some(proxy.conn)
            }
            Event::Tls(handshake) => {
                if let Some(way) = self.under_way.get_mut(&handshake.conn) {
                    way.tls = Some(tls::in_short(handshake));
                }
                None
            }
            // A server may refuse us after the handshake: only now it has not.
            Event::Close(close) => {
                let is_open = self.under_way.get(&close.conn)?.tls.is_some() && close.reason == Reason::Local;
                if !is_open {
                    self.under_way.remove(&close.conn);
                }
                is_open.then_some(close.conn)
            }
            _ => None,
        };
        let way = self.under_way.remove(&conn?)?;
        self.kept.remove(&(way.number, if probing.proxied { String::new() } else { way.whom.clone() }));
        self.open += 1;
        let tls = way.tls.map_or_else(String::new, |tls| format!(", {tls}"));
        let rest = format!(" {}{tls}", duration(way.took));
        Some(Row { whom: way.whom, tone: Tone::Good, word: "open", rest, number: way.number, key: None })
    }

    /// Returns the line of what has failed; `None` where that is no address.
    fn failure(&mut self, error: &Error<'_>, probing: Probing) -> Option<Row> {
        let way = error.conn.and_then(|conn| self.under_way.remove(&conn));
        let is_failed =
            |(tone, word)| (tone, word, if word == "failed" { format!(" {}", error.message) } else { String::new() });
        let number = way.as_ref().map_or(error.number, |way| way.number);
        let (whom, (tone, word, rest)) = match (error.step, error.proxy, error.target, way) {
            (Step::Connect, Some(proxy), Some(target), _) => {
                let what = error.message.rsplit_once("): ").map_or(error.message, |(_, what)| what);
                // Another address of the proxy may do, with which the target opens yet.
                let row = Row {
                    whom: target.to_owned(),
                    tone: Tone::Error,
                    word: "failed",
                    rest: format!(" proxy {proxy}: {what}"),
                    number,
                    key: Some((number, String::new())),
                };
                return Some(row);
            }
            (Step::Connect, ..) => (error.peer?.to_string(), is_failed(by_errno(error))),
            (Step::Proxy, _, Some(asked), _) => (asked.to_owned(), is_failed(by_exit_code(error.exit_code))),
            (step, _, _, Some(way)) => {
                let what = match (step, error.peer) {
                    (Step::Tls, Some(peer)) => error.message.strip_prefix(&format!("tls {peer}: ")),
                    _ => None,
                };
                let word = if error.exit_code == ExitCode::NoAnswer { "silent" } else { "failed" };
                let what = what.map_or_else(|| format!(" {}", error.message), |what| format!(" tls: {what}"));
                (way.whom, (Tone::Error, word, what))
            }
            _ => return None,
        };
        self.failed += u64::from(!probing.again);
        let key = (number, if probing.proxied { String::new() } else { whom.clone() });
        Some(Row { whom, tone, word, rest, number, key: probing.again.then_some(key) })
    }

    /// Appends the lines that were kept back.
    fn append_kept(&self, buffer: &mut Vec<u8>) {
        let mut lines: Vec<&(usize, Vec<u8>)> = self.kept.values().collect();
        lines.sort_unstable_by_key(|(place, _)| *place);
        lines.into_iter().for_each(|(_, line)| buffer.extend_from_slice(line));
    }
}

/// Returns what a connect came to.
fn by_errno(error: &Error<'_>) -> (Tone, &'static str) {
    match error.errno {
        Some("ECONNREFUSED") => (Tone::Warning, "refused"),
        Some("ENETUNREACH" | "EHOSTUNREACH" | "ENETDOWN" | "EHOSTDOWN") => (Tone::Error, "unreachable"),
        Some("ECONNRESET") => (Tone::Error, "reset"),
        Some("ENOENT") => (Tone::Warning, "missing"),
        Some("ETIMEDOUT") => (Tone::Error, "silent"),
        Some(_) => (Tone::Error, "failed"),
        None => by_exit_code(error.exit_code),
    }
}

/// Returns what a proxy has said of a target, or what no errno says of a connect.
fn by_exit_code(code: ExitCode) -> (Tone, &'static str) {
    match code {
        ExitCode::Refused => (Tone::Warning, "refused"),
        ExitCode::Unreachable => (Tone::Error, "unreachable"),
        ExitCode::NoAnswer => (Tone::Error, "silent"),
        _ => (Tone::Error, "failed"),
    }
}

//! What every run with `--json` must keep, whatever it does: the envelope, the schema, the totals.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use jsonschema::Validator;
use nix::errno::Errno;
use serde_json::Value;

use super::events::{Close, Distribution, Event, Interim, Line, OutageSpan, Outcome, Reason, Round, Side, Summary};

/// Returns the schema as `sockeye schema` prints it.
pub(crate) fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let output = Command::new(env!("CARGO_BIN_EXE_sockeye")).arg("schema").output().expect("sockeye starts");
        assert!(output.status.success(), "sockeye schema: {output:?}");
        serde_json::from_slice(&output.stdout).expect("the schema is JSON")
    })
}

/// Returns the validator of one event.
fn validator() -> &'static Validator {
    static VALIDATOR: OnceLock<Validator> = OnceLock::new();
    VALIDATOR.get_or_init(|| jsonschema::validator_for(schema()).expect("the schema is a JSON Schema"))
}

/// Returns what the schema holds against an event, nothing where it is valid.
pub(crate) fn schema_complaints(event: &Value) -> Vec<String> {
    if validator().is_valid(event) {
        return Vec::new();
    }
    validator().iter_errors(event).map(|error| error.to_string()).collect()
}

/// Reads one line strictly: as JSON, against the schema, and into our own types.
pub(crate) fn read(text: &str) -> Result<Line, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}: {text}"))?;
    if !value.is_object() {
        return Err(format!("no object: {text}"));
    }
    if let Some(path) = empty_value(&value, "") {
        return Err(format!("{path} is null or empty: {text}"));
    }
    let complaints = schema_complaints(&value);
    if !complaints.is_empty() {
        return Err(format!("against the schema: {}: {text}", complaints.join("; ")));
    }
    // From the text again, not from the value: only so is a field seen that occurs twice.
    let line: Line = serde_json::from_str(text).map_err(|error| format!("against our types: {error}: {text}"))?;
    complaint(&line).map_or(Ok(line), |complaint| Err(format!("{complaint}: {text}")))
}

/// Returns where a value is null or "", which the contract excludes everywhere.
fn empty_value(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Null => Some(path.to_owned()),
        Value::String(text) if text.is_empty() => Some(path.to_owned()),
        Value::Array(list) => list.iter().find_map(|item| empty_value(item, &format!("{path}[]"))),
        Value::Object(map) => map.iter().find_map(|(key, item)| empty_value(item, &format!("{path}.{key}"))),
        _ => None,
    }
}

/// Returns what is wrong with one line that the types cannot say.
fn complaint(line: &Line) -> Option<String> {
    if !is_time(&line.time) {
        return Some("time is not RFC 3339 in UTC with nanoseconds".to_owned());
    }
    let (bytes, payload, addresses): (u64, Option<Vec<u8>>, Vec<&String>) = match &line.event {
        Event::Send(fact) => (fact.bytes, Some(fact.payload()), vec![]),
        Event::Recv(fact) => (fact.bytes, Some(fact.payload()), vec![]),
        Event::Socket(fact) if fact.protocol.is_none() != (fact.family == "AF_UNIX") => {
            return Some("a protocol belongs to each family but AF_UNIX, which has only one".to_owned());
        }
        Event::Setsockopt(fact) if fact.effective.is_none() && !is_given_back_never(&fact.option) => {
            return Some("what is in force is missing".to_owned());
        }
        Event::Close(fact) if contradicts_itself(fact) => {
            return Some("who closed, by a reset or clean, and what was left do not agree".to_owned());
        }
        Event::Bind(fact) => (0, None, vec![&fact.local]),
        Event::Accept(fact) => (0, None, vec![&fact.peer, &fact.local]),
        Event::Connect(fact) => (0, None, std::iter::once(&fact.peer).chain(&fact.local).collect()),
        Event::Error(fact) => {
            let named = fact.code.map(|code| format!("{:?}", Errno::from_raw(code)));
            if named != fact.errno {
                return Some("errno and code disagree".to_owned());
            }
            (0, None, fact.peer.iter().chain(&fact.local).collect())
        }
        _ => (0, None, vec![]),
    };
    if let Some(bad) = addresses.iter().find(|address| !is_address(address)) {
        return Some(format!("{bad} is no socket address"));
    }
    if let Event::Interim(Interim { resolve, connect, first_byte, round, .. })
    | Event::Summary(Summary { resolve, connect, first_byte, round, .. }) = &line.event
        && [resolve, connect, first_byte, round].into_iter().flatten().any(|times| !is_sound(times))
    {
        return Some("a distribution contradicts itself".to_owned());
    }
    match payload {
        Some(payload) if payload.len() as u64 != bytes => {
            Some(format!("{bytes} bytes, but {} in the data", payload.len()))
        }
        _ => None,
    }
}

/// Returns whether an option is one that the kernel does not give back as it took it.
fn is_given_back_never(option: &str) -> bool {
    option.starts_with("MCAST_JOIN") || option.ends_with("MULTICAST_IF") || option.ends_with("_FILTER")
}

/// Returns whether the fields of a close that say how it ended contradict one another.
fn contradicts_itself(close: &Close) -> bool {
    let is_left = |bytes: Option<u64>| bytes.is_some_and(|bytes| bytes > 0);
    let is_reset = close.reset_by.is_some();
    (close.clean == Some(true) && (is_reset || is_left(close.bytes_unread) || is_left(close.bytes_unacknowledged)))
        || (is_reset && (close.clean != Some(false) || close.closed_first.is_none()))
        // Of a unix socket an empty record may be left, which has no bytes, and --fault reset resets without any.
        || (close.reset_by == Some(Side::Local)
            && !is_left(close.bytes_unread)
            && close.tcp.is_some()
            && close.reason != Reason::Local)
        || (close.reason == Reason::Reset && close.reset_by != Some(Side::Peer))
}

/// Returns whether this is RFC 3339 in UTC with nanoseconds: `2026-11-22T10:11:12.123456789Z`.
fn is_time(text: &str) -> bool {
    let fits = |(byte, shape): (u8, u8)| if shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    let shape = "0000-00-00T00:00:00.000000000Z";
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

/// Returns whether this is `127.0.0.1:80`, `[::1]:80`, `unix:/run/x`, `unix:@x` or `unix:`.
fn is_address(text: &str) -> bool {
    text.starts_with("unix:") || text.parse::<std::net::SocketAddr>().is_ok()
}

/// Returns whether the figures of a distribution agree with one another.
fn is_sound(times: &Distribution) -> bool {
    let percentiles = [times.p50_ns, times.p90_ns, times.p99_ns, times.p999_ns];
    let known: Vec<u64> = percentiles.into_iter().flatten().collect();
    times.count > 0
        && times.min_ns <= times.mean_ns
        && times.mean_ns <= times.max_ns
        && known.is_sorted()
        && known.iter().all(|value| (times.min_ns..=times.max_ns).contains(value))
        && (times.count > 1 || (times.stddev_ns.is_none() && times.jitter_ns.is_none()))
}

/// How a run was asked for, as far as it decides which events there are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// `-q`: results and errors only.
    pub(crate) quiet: bool,
    /// `-v`: every step.
    pub(crate) verbose: bool,
}

/// Checks the lines of a whole run that ended by itself with `exit_code`.
pub(crate) fn check_run(lines: &[Line], exit_code: i32, asked: Asked, began: SystemTime) {
    let (first, last) = (lines.first().expect("a run has events"), lines.last().expect("a run has events"));
    let Event::Start(start) = &first.event else { panic!("the first event is {}, not start", first.event.name()) };
    assert_eq!(start.schema, 1, "schema");
    assert_eq!(start.version, env!("CARGO_PKG_VERSION"), "version");
    let Event::Summary(summary) = &last.event else { panic!("the last event is {}, not summary", last.event.name()) };
    for (name, at_most) in [("start", 1), ("summary", 1)] {
        assert_eq!(lines.iter().filter(|line| line.event.name() == name).count(), at_most, "{name} comes once");
    }
    for pair in lines.windows(2) {
        assert!(pair[0].elapsed_ns <= pair[1].elapsed_ns, "elapsed_ns goes back:\n{:?}\n{:?}", pair[0], pair[1]);
    }
    let slack = Duration::from_secs(2);
    for line in lines {
        let time = humantime::parse_rfc3339(&line.time).expect("time is RFC 3339");
        assert!(time + slack >= began && time <= SystemTime::now() + slack, "time is off: {line:?}");
    }
    assert_eq!(summary.exit_code, exit_code, "exit_code is what the process exits with");
    let outcome = match exit_code {
        0 => Outcome::Ok,
        1 => Outcome::Negative,
        _ => Outcome::Error,
    };
    assert_eq!(summary.outcome, outcome, "outcome of exit code {exit_code}");
    assert!(summary.duration_ns <= last.elapsed_ns, "duration_ns is within the run");
    check_verbosity(lines, asked);
    // Of datagrams there is no connection to be counted.
    let has_connections = summary.connections.is_some() || start.command != "unix-serve";
    if ["serve", "connect", "unix-serve"].contains(&start.command.as_str()) && has_connections {
        check_totals_are_there(summary);
        check_counters(lines, summary, asked);
    }
    if !asked.quiet {
        check_connections(lines, summary, asked);
        check_rounds(lines, summary);
    }
}

/// Checks that `-q` and `-v` show what the contract says.
fn check_verbosity(lines: &[Line], asked: Asked) {
    const QUIET: &[&str] = &["start", "error", "warning", "interim", "target-summary", "summary"];
    for line in lines {
        let name = line.event.name();
        assert!(!asked.quiet || QUIET.contains(&name), "with -q there is no {name}");
        assert!(asked.verbose || name != "setsockopt", "setsockopt comes only with -v");
    }
}

/// Checks that the totals which both subcommands have are there, zeros too.
fn check_totals_are_there(summary: &Summary) {
    let totals = [
        ("connections", summary.connections),
        ("resets", summary.resets),
        ("timeouts", summary.timeouts),
        ("bytes_sent", summary.bytes_sent),
        ("bytes_received", summary.bytes_received),
        ("errors", summary.errors),
        ("warnings", summary.warnings),
    ];
    for (name, total) in totals {
        assert!(total.is_some(), "the summary has no {name}: {summary:?}");
    }
}

/// Checks that the totals count the events.
fn check_counters(lines: &[Line], summary: &Summary, asked: Asked) {
    let count = |name: &str| lines.iter().filter(|line| line.event.name() == name).count() as u64;
    assert_eq!(summary.errors, Some(count("error")), "errors");
    assert_eq!(summary.warnings, Some(count("warning")), "warnings");
    if asked.quiet {
        return;
    }
    assert_eq!(summary.timeouts, Some(count("timeout")), "timeouts");
    assert_eq!(summary.connections, Some(count("accept") + count("connect")), "connections");
    let closes =
        || lines.iter().filter_map(|line| if let Event::Close(close) = &line.event { Some(close) } else { None });
    assert_eq!(summary.bytes_sent, Some(closes().map(|close| close.bytes_sent).sum()), "bytes_sent");
    assert_eq!(summary.bytes_received, Some(closes().map(|close| close.bytes_received).sum()), "bytes_received");
    let of_reason = |reason| closes().filter(|close| close.reason == reason).count() as u64;
    let by_peer = closes().filter(|close| close.reset_by == Some(Side::Peer)).count() as u64;
    assert_eq!(summary.resets, Some(by_peer), "resets");
    assert_eq!(summary.denied.unwrap_or(0), of_reason(Reason::Denied), "denied");
}

/// Checks that connections are numbered from 1, live between their first and last event, are
/// closed exactly once, and that the bytes of their events add up.
fn check_connections(lines: &[Line], summary: &Summary, asked: Asked) {
    #[derive(Default)]
    struct Seen {
        sent: Option<u64>,
        received: Option<u64>,
        timed_out: bool,
        peer_ended: bool,
    }
    let mut open: BTreeMap<u64, Seen> = BTreeMap::new();
    let mut opened = 0;
    // The answers of a measurement are no recv of their own, and there is one peer; those that doctor gets
    // come on no connection.
    let is_measured = matches!(&lines[0].event, Event::Start(start) if start.command == "udp-send");
    let answers: u64 = lines
        .iter()
        .filter(|_| is_measured)
        .map(|line| match &line.event {
            Event::Reply(fact) => fact.bytes,
            Event::Late(fact) => fact.bytes,
            Event::Duplicate(fact) => fact.bytes,
            _ => 0,
        })
        .sum();
    for line in lines {
        let Some(conn) = line.event.conn() else { continue };
        match &line.event {
            Event::Accept(_) | Event::Connect(_) => {
                opened += 1;
                assert_eq!(conn, opened, "connections are numbered in order: {line:?}");
                open.insert(conn, Seen::default());
            }
            Event::Close(close) => {
                let seen = open.remove(&conn).unwrap_or_else(|| panic!("closed, but not open: {line:?}"));
                // A relay shows what it sends only with -v; a splice shows no data at all.
                if let Some(received) = seen.received {
                    assert_eq!(close.bytes_received, received + answers, "bytes_received of {line:?}");
                }
                if let Some(sent) = seen.sent {
                    assert_eq!(close.bytes_sent, sent, "bytes_sent of {line:?}");
                } else if asked.verbose {
                    assert_eq!(close.bytes_sent, 0, "bytes_sent of {line:?}");
                }
                match close.reason {
                    Reason::Timeout => assert!(seen.timed_out, "no timeout event before {line:?}"),
                    Reason::Eof => assert!(seen.peer_ended, "no eof event before {line:?}"),
                    _ => {}
                }
            }
            event => {
                // An error may name a connection that has not come into being.
                let Some(seen) = open.get_mut(&conn) else {
                    assert!(matches!(event, Event::Error(_)), "about a connection that is not open: {line:?}");
                    continue;
                };
                match event {
                    Event::Send(fact) => *seen.sent.get_or_insert(0) += fact.bytes,
                    Event::Recv(fact) => *seen.received.get_or_insert(0) += fact.bytes,
                    Event::Timeout(_) => seen.timed_out = true,
                    Event::Eof(_) => seen.peer_ended = true,
                    _ => {}
                }
            }
        }
    }
    let left: Vec<_> = open.keys().collect();
    assert!(left.is_empty(), "never closed: {left:?}\n{summary:?}");
}

/// Checks that rounds are numbered, that each is told after the close of its connection, and that
/// their totals and outages are what they add up to.
fn check_rounds(lines: &[Line], summary: &Summary) {
    let rounds: Vec<(&Line, &Round)> = lines
        .iter()
        .filter_map(|line| if let Event::Round(round) = &line.event { Some((line, round)) } else { None })
        .collect();
    let Some(count) = summary.rounds else {
        assert!(rounds.is_empty() && summary.round.is_none() && summary.outage_spans.is_none(), "{summary:?}");
        return;
    };
    let is_ok = |round: &Round| round.outcome == Outcome::Ok;
    let (good, bad): (Vec<_>, Vec<_>) = rounds.iter().partition(|(_, round)| is_ok(round));
    assert_eq!((count, summary.rounds_failed), (rounds.len() as u64, Some(bad.len() as u64)), "rounds");

    let mut numbers: BTreeMap<&str, u64> = BTreeMap::new();
    let mut closed = BTreeSet::new();
    for line in lines {
        match &line.event {
            Event::Close(close) => {
                closed.insert(close.conn);
            }
            Event::Round(round) => {
                let number = numbers.entry(&round.target).or_default();
                *number += 1;
                assert_eq!(round.round, *number, "rounds of a target are numbered: {line:?}");
                assert!(round.conn.is_none_or(|conn| closed.remove(&conn)), "told before its close: {line:?}");
                assert!(!is_ok(round) || round.conn.is_some(), "ok without a connection: {line:?}");
                assert_eq!(is_ok(round), round.exit_code == 0, "{line:?}");
            }
            _ => {}
        }
    }
    check_times("round", summary.round.as_ref(), good.iter().map(|(_, round)| round.duration_ns), bad.len());
    let connects = lines.iter().filter_map(|line| match &line.event {
        Event::Connect(connect) => Some(connect.duration_ns),
        _ => None,
    });
    let without = rounds.iter().filter(|(_, round)| round.conn.is_none()).count();
    check_times("connect", summary.connect.as_ref(), connects, without);

    let end = lines.last().map_or(0, |line| line.elapsed_ns);
    let expected = outages(&rounds, end);
    assert_eq!(summary.outages, Some(expected.len() as u64), "outages");
    assert_eq!(summary.outage_ns, Some(expected.iter().map(|span| span.duration_ns).sum()), "outage_ns");
    let listed = &expected[..expected.len().min(1000)];
    assert_eq!(summary.outage_spans.as_deref(), Some(listed), "outage_spans");
}

/// Returns the spans of the rounds: from the begin of the first that failed to the begin of the
/// next good one of its target, or to the end of the run.
fn outages(rounds: &[(&Line, &Round)], end: u64) -> Vec<OutageSpan> {
    let mut spans: Vec<(u64, OutageSpan)> = Vec::new();
    for (line, round) in rounds {
        let began = line.elapsed_ns - round.duration_ns;
        let going_on = spans.iter_mut().find(|(_, span)| span.target == round.target && span.ongoing.is_some());
        match (round.outcome, going_on) {
            (Outcome::Ok, Some((since, span))) => (span.duration_ns, span.ongoing) = (began - *since, None),
            (Outcome::Ok, None) => {}
            (_, Some((_, span))) => span.rounds += 1,
            (_, None) => {
                let time = humantime::parse_rfc3339(&line.time).expect("time is RFC 3339");
                let started = humantime::format_rfc3339_nanos(time - Duration::from_nanos(round.duration_ns));
                let (target, started) = (round.target.clone(), started.to_string());
                spans.push((began, OutageSpan { target, started, duration_ns: 0, rounds: 1, ongoing: Some(true) }));
            }
        }
    }
    for (since, span) in &mut spans {
        if span.ongoing.is_some() {
            span.duration_ns = end - *since;
        }
    }
    spans.into_iter().map(|(_, span)| span).collect()
}

/// Checks a distribution against its samples, and that its percentiles are over these and the lost.
fn check_times(name: &str, times: Option<&Distribution>, samples: impl Iterator<Item = u64>, lost: usize) {
    let samples: Vec<u64> = samples.collect();
    let Some(times) = times else { return assert!(samples.is_empty(), "no {name}") };
    assert_eq!(times.count, samples.len() as u64, "{name}");
    assert_eq!((samples.iter().min(), samples.iter().max()), (Some(&times.min_ns), Some(&times.max_ns)), "{name}");
    for (thousandths, value) in [(500, times.p50_ns), (900, times.p90_ns), (990, times.p99_ns), (999, times.p999_ns)] {
        let rank = ((samples.len() + lost) * thousandths).div_ceil(1000);
        assert_eq!(value.is_some(), rank <= samples.len(), "{name}: the percentile {thousandths} of a thousand");
    }
}

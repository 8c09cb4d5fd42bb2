//! What a run adds up to, in words: checks, totals so far, totals at the end.

use std::time::{Duration, SystemTime};

use super::{Tone, append_hint, paint, probes, say};
use crate::error::ExitCode;
use crate::event::{Check, CheckOutcome, Distribution, Interim, Outcome, Summary, Totals};
use crate::report::Screen;
use crate::report::people::{byte_count, count, duration, moment};
use crate::stats::Tally;

/// Appends a row of the table of checks; its hint goes on a line below.
pub(crate) fn append_check(buffer: &mut Vec<u8>, screen: Screen, check: &Check<'_>) {
    let tone = match check.outcome {
        CheckOutcome::Ok => Tone::Good,
        CheckOutcome::Absent => Tone::Dim,
        CheckOutcome::Denied => Tone::Warning,
        CheckOutcome::Failed => Tone::Error,
    };
    say(buffer, format_args!("{:<20} ", check.name));
    paint(buffer, screen, tone, format_args!("{:<6}", check.outcome.name()));
    if let Some(value) = check.value {
        say(buffer, format_args!(" {value}"));
    }
    if let Some(took) = check.duration {
        say(buffer, format_args!(" ({})", duration(took)));
    }
    if let Some(hint) = check.hint {
        append_hint(buffer, screen, "\n    ", hint);
    }
}

/// Appends the totals so far.
pub(crate) fn append_interim(buffer: &mut Vec<u8>, tally: Tally, interim: &Interim<'_>) {
    say(buffer, format_args!("so far: "));
    append_totals(buffer, tally, interim.duration, interim.totals);
}

/// Appends the totals at the end; of checks a verdict.
pub(crate) fn append_summary(
    buffer: &mut Vec<u8>,
    screen: Screen,
    tally: Tally,
    elapsed: Duration,
    summary: &Summary<'_>,
) {
    if tally == Tally::Doctor {
        let failed = summary.totals.checks_failed.unwrap_or(0);
        match (summary.outcome, failed) {
            (Outcome::Ok, _) => {
                paint(buffer, screen, Tone::Good, format_args!("all that this machine has and permits works"));
            }
            (_, 0) => paint(buffer, screen, Tone::Error, format_args!("not all could be looked at")),
            _ => paint(buffer, screen, Tone::Error, format_args!("{} failed", count(failed, "check"))),
        }
        say(buffer, format_args!(": "));
    }
    // People read a server's time as how long it ran; its last step may lie far back.
    let serves = matches!(tally, Tally::Server | Tally::Datagrams | Tally::Receiver { .. });
    let took = if serves { elapsed } else { summary.duration };
    append_totals(buffer, tally, took, summary.totals);
    // Of many targets some are always silent.
    if matches!(tally, Tally::Pinger { explores: false, .. })
        && summary.totals.targets == Some(1)
        && summary.exit_code == ExitCode::NoAnswer.number()
    {
        append_hint(
            buffer,
            screen,
            "\n",
            "nothing came back: --trace asks each hop on the way, and names the last that answers",
        );
    }
}

/// Appends how many of many targets were reached, and how many failures are left.
pub(crate) fn append_probed(buffer: &mut Vec<u8>, summary: &Summary<'_>, (open, failures): (u64, u64)) {
    say(buffer, format_args!("{open} open, {}", count(failures, "failure")));
    // Where no step has come to its end nothing was measured.
    if !summary.duration.is_zero() {
        say(buffer, format_args!(" in {}", duration(summary.duration)));
    }
}

fn append_totals(buffer: &mut Vec<u8>, tally: Tally, took: Duration, totals: &Totals) {
    match tally {
        Tally::Server => append_server(buffer, took, totals),
        Tally::Datagrams => append_datagrams(buffer, took, totals),
        Tally::Sender { .. } => probes::append_sender(buffer, took, totals),
        Tally::Receiver { .. } => probes::append_receiver(buffer, took, totals),
        Tally::Pinger { explores, .. } => probes::append_pinger(buffer, took, explores, totals),
        Tally::Client => append_client(buffer, took, totals),
        Tally::Rounds => append_rounds(buffer, took, totals),
        Tally::Doctor => append_doctor(buffer, totals),
    }
}

fn append_server(buffer: &mut Vec<u8>, took: Duration, totals: &Totals) {
    let connections = count(totals.connections.unwrap_or(0), "connection");
    say(buffer, format_args!("served {connections} in {}", duration(took)));
    if let Some(open) = totals.connections_open {
        say(buffer, format_args!(", {open} open"));
    }
    append_bytes(buffer, totals);
    append_troubles(buffer, totals);
}

fn append_datagrams(buffer: &mut Vec<u8>, took: Duration, totals: &Totals) {
    let [received, sent] = [totals.received, totals.sent].map(|number| count(number.unwrap_or(0), "datagram"));
    say(buffer, format_args!("received {received}, sent {sent} in {}", duration(took)));
    append_bytes(buffer, totals);
    for (number, what) in [(totals.truncated, "truncated"), (totals.not_sent, "not sent")] {
        if let Some(number @ 1..) = number {
            say(buffer, format_args!(", {number} {what}"));
        }
    }
    append_troubles(buffer, totals);
}

fn append_client(buffer: &mut Vec<u8>, took: Duration, totals: &Totals) {
    let words = |nanos| duration(Duration::from_nanos(nanos));
    match &totals.connect {
        None if took.is_zero() => return say(buffer, format_args!("not connected")),
        None => say(buffer, format_args!("not connected")),
        Some(one) if one.count == 1 => say(buffer, format_args!("connected in {}", words(one.max_ns))),
        Some(many) => {
            let [least, mean, most] = [many.min_ns, many.mean_ns, many.max_ns].map(words);
            say(buffer, format_args!("{} connections, each in {mean} ({least} to {most})", many.count));
        }
    }
    match &totals.first_byte {
        None => {}
        Some(one) if one.count == 1 => say(buffer, format_args!(", first byte after {}", words(one.max_ns))),
        Some(many) => say(buffer, format_args!(", first byte after {} on average", words(many.mean_ns))),
    }
    if totals.connect.is_some() {
        append_bytes(buffer, totals);
    }
    say(buffer, format_args!(", {}", duration(took)));
    append_troubles(buffer, totals);
}

fn append_rounds(buffer: &mut Vec<u8>, took: Duration, totals: &Totals) {
    let [rounds, failed] = [totals.rounds, totals.rounds_failed].map(Option::unwrap_or_default);
    say(buffer, format_args!("{}, {failed} failed", count(rounds, "round")));
    let words = |nanos| duration(Duration::from_nanos(nanos));
    let spread = |times: &Distribution| {
        let [least, mean, most] = [times.min_ns, times.mean_ns, times.max_ns].map(words);
        format!("{mean} ({least} to {most})")
    };
    if let Some(round) = &totals.round {
        say(buffer, format_args!(", each in {}", spread(round)));
    }
    if let Some(connect) = &totals.connect {
        say(buffer, format_args!(", connected in {}", spread(connect)));
    }
    // A probe sends nothing.
    if (totals.bytes_received, totals.bytes_sent) != (Some(0), Some(0)) {
        append_bytes(buffer, totals);
    }
    say(buffer, format_args!(", {}", duration(took)));
    append_troubles(buffer, totals);
}

/// Appends a line for each outage; with its target where there are many, with its day where that
/// is not today.
pub(crate) fn append_outages(buffer: &mut Vec<u8>, now: SystemTime, has_targets: bool, totals: &Totals) {
    let spans = totals.outage_spans.as_deref().unwrap_or_default();
    for span in spans {
        buffer.extend_from_slice(b"\noutage ");
        if has_targets {
            say(buffer, format_args!("of {} ", span.target));
        }
        let (started, rounds) = (moment(span.started, now), count(span.rounds, "round"));
        say(buffer, format_args!("from {started} UTC for {}, {rounds}", duration(span.duration)));
        if span.ongoing {
            say(buffer, format_args!(", ongoing"));
        }
    }
    let rest = totals.outages.unwrap_or(0).saturating_sub(spans.len() as u64);
    if rest > 0 {
        buffer.push(b'\n');
        say(buffer, format_args!("and {}", count(rest, "further outage")));
    }
}

fn append_doctor(buffer: &mut Vec<u8>, totals: &Totals) {
    let [ok, absent, denied, failed] =
        [totals.checks_ok, totals.checks_absent, totals.checks_denied, totals.checks_failed]
            .map(Option::unwrap_or_default);
    say(buffer, format_args!("{ok} ok, {absent} absent, {denied} denied, {failed} failed"));
}

fn append_bytes(buffer: &mut Vec<u8>, totals: &Totals) {
    let [received, sent] = [totals.bytes_received, totals.bytes_sent].map(|bytes| byte_count(bytes.unwrap_or(0)));
    say(buffer, format_args!(": {received} in, {sent} out"));
}

/// Appends what did not go well, as far as anything did not.
fn append_troubles(buffer: &mut Vec<u8>, totals: &Totals) {
    let troubles = [
        (totals.timeouts, "timeout"),
        (totals.resets, "reset"),
        (totals.errors, "error"),
        (totals.warnings, "warning"),
    ];
    if let Some(denied @ 1..) = totals.denied {
        say(buffer, format_args!(", {denied} denied"));
    }
    if let Some(dropped @ 1..) = totals.listen_drops {
        say(buffer, format_args!(", {dropped} dropped before accept"));
    }
    for (number, noun) in troubles {
        if let Some(number @ 1..) = number {
            say(buffer, format_args!(", {}", count(number, noun)));
        }
    }
}

//! What became of datagrams and probes, in words: a line an answer, totals at the end.

use std::time::Duration;

use super::say;
use crate::event::{Clock, Distribution, Hop, KernelDrops, PathMtu, Reply, Session, Stray, TargetSummary, Totals};
use crate::report::people::{byte_count, count, duration};

/// Appends an answer; `what` says which kind of one.
pub(crate) fn append_reply(buffer: &mut Vec<u8>, what: &str, reply: &Reply<'_>) {
    let Reply { from, sequence, bytes, rtt, .. } = reply;
    let milliseconds = rtt.as_secs_f64() * 1e3;
    say(buffer, format_args!("{what} from {from} seq={sequence} bytes={bytes} time={milliseconds:.4} ms"));
    if let Some(ttl) = reply.ttl {
        say(buffer, format_args!(" ttl={ttl}"));
    }
    if let Some(answer) = reply.answer {
        say(buffer, format_args!(" {answer}"));
    }
    match reply.clock {
        Clock::Hardware => say(buffer, format_args!(" clock=hardware")),
        Clock::Kernel => {}
        Clock::User => say(buffer, format_args!(" clock=user")),
    }
}

/// Appends what came and is no sound answer; `what` says which kind of one.
pub(crate) fn append_stray(buffer: &mut Vec<u8>, what: &str, stray: &Stray<'_>) {
    let Stray { from, bytes, wrong, .. } = stray;
    say(buffer, format_args!("{what} from {from}"));
    if let Some(sequence) = stray.sequence {
        say(buffer, format_args!(" seq={sequence}"));
    }
    say(buffer, format_args!(" bytes={bytes}: wrong {wrong}"));
    if let Some(target) = stray.target.filter(|target| target != from) {
        say(buffer, format_args!(", about {target}"));
    }
}

/// Appends what was seen of one hop.
pub(crate) fn append_hop(buffer: &mut Vec<u8>, hop: &Hop<'_>) {
    let words = |nanos| duration(Duration::from_nanos(nanos));
    say(buffer, format_args!("{:>5}  ", hop.ttl));
    let loss = 100.0 - 100.0 * hop.received as f64 / hop.sent.max(1) as f64;
    match (hop.from, &hop.rtt) {
        ([], _) | (_, None) => say(buffer, format_args!("silent ({} sent)", hop.sent)),
        (from, Some(rtt)) => {
            let from: Vec<String> = from.iter().map(ToString::to_string).collect();
            let [least, mean, most] = [rtt.min_ns, rtt.mean_ns, rtt.max_ns].map(words);
            say(buffer, format_args!("{:<15}  min {least}, mean {mean}, max {most}", from.join(", ")));
            for error in hop.errors {
                say(buffer, format_args!(", {error}"));
            }
            if loss > 0.0 {
                say(buffer, format_args!(", {loss:.0} % of {} silent", hop.sent));
                if hop.rate_limited {
                    say(buffer, format_args!(", rather by a rate limit than by loss: those behind answer more"));
                }
            }
        }
    }
}

/// Appends the largest packet that passes whole, and who says so.
pub(crate) fn append_path_mtu(buffer: &mut Vec<u8>, found: &PathMtu<'_>) {
    say(buffer, format_args!("path MTU to {}: {} bytes", found.target, found.path_mtu));
    match (found.from, found.silent) {
        (Some(from), _) => say(buffer, format_args!(", {from} says so")),
        (None, true) => say(buffer, format_args!("; larger packets vanish, and nobody says so")),
        (None, false) => say(buffer, format_args!(", the MTU of this host's way out")),
    }
}

/// Appends that the kernel dropped datagrams.
pub(crate) fn append_kernel_drops(buffer: &mut Vec<u8>, drops: &KernelDrops<'_>) {
    let what = match (drops.kernel_drops, drops.kernel_drop_buffers) {
        (Some(number), _) => count(number, "datagram"),
        (None, Some(number)) => count(number, "buffer"),
        (None, None) => return,
    };
    say(buffer, format_args!("kernel-drops {}: {what} so far, the receive buffer was full", drops.local));
    if let Some(granted) = drops.recv_buffer {
        say(buffer, format_args!(" ({} in force", byte_count(granted)));
        if let Some(asked) = drops.recv_buffer_asked {
            say(buffer, format_args!(", {} asked for", byte_count(asked)));
        }
        buffer.push(b')');
    }
}

/// Appends who begins to send numbered datagrams.
pub(crate) fn append_session(buffer: &mut Vec<u8>, session: &Session<'_>) {
    say(buffer, format_args!("session of {}", session.peer));
    if let Some(number) = session.session {
        say(buffer, format_args!(" ({number})"));
    }
}

/// Appends the totals of `udp-send`.
pub(crate) fn append_sender(buffer: &mut Vec<u8>, took: Duration, totals: &Totals) {
    let sent = count(totals.sent.unwrap_or(0), "datagram");
    let bytes = byte_count(totals.bytes_sent.unwrap_or(0));
    say(buffer, format_args!("sent {sent} ({bytes}) in {}", duration(took)));
    if let Some(achieved) = totals.rate_achieved {
        say(buffer, format_args!(", {} a second", rate(achieved)));
        if let Some(asked) = totals.rate_asked {
            say(buffer, format_args!(" of {} asked for", rate(asked)));
        }
    }
    if let Some(received @ 1..) = totals.received {
        say(buffer, format_args!(", received {received}"));
    }
    append_measured(buffer, totals);
    append_counts(buffer, totals);
}

/// Appends the totals of `udp-listen`.
pub(crate) fn append_receiver(buffer: &mut Vec<u8>, took: Duration, totals: &Totals) {
    let received = count(totals.received.unwrap_or(0), "datagram");
    let bytes = byte_count(totals.bytes_received.unwrap_or(0));
    say(buffer, format_args!("received {received} ({bytes}) in {}", duration(took)));
    if let Some(sent @ 1..) = totals.sent {
        say(buffer, format_args!(", sent {sent}"));
    }
    if let Some(sessions) = totals.sessions {
        say(buffer, format_args!(", {}", count(sessions, "session")));
    }
    append_measured(buffer, totals);
    append_counts(buffer, totals);
}

/// Appends the totals of a pinger.
pub(crate) fn append_pinger(buffer: &mut Vec<u8>, took: Duration, explores: bool, totals: &Totals) {
    let [targets, answered] = [totals.targets, totals.targets_answered].map(Option::unwrap_or_default);
    if targets > 1 {
        say(buffer, format_args!("{answered} of {} answered: ", count(targets, "target")));
    }
    append_pings(buffer, explores, totals);
    if !took.is_zero() {
        say(buffer, format_args!(", {}", duration(took)));
    }
    for (number, what) in [
        (totals.kernel_drops, "dropped by this host's kernel"),
        (totals.slots_missed, "slots of the schedule missed"),
        (totals.events_dropped, "events not told, their reader is too slow"),
    ] {
        if let Some(number @ 1..) = number {
            say(buffer, format_args!(", {number} {what}"));
        }
    }
    for (number, noun) in [(totals.errors, "error"), (totals.warnings, "warning")] {
        if let Some(number @ 1..) = number {
            say(buffer, format_args!(", {}", count(number, noun)));
        }
    }
    if explores {
        return;
    }
    append_ping_rtt(buffer, totals);
    let mut runs: Vec<_> = totals.loss_run_spans.iter().flatten().filter(|run| run.probes > 1).collect();
    // The longest tell most.
    runs.sort_by_key(|run| std::cmp::Reverse(run.probes));
    for run in runs.iter().take(RUNS) {
        buffer.push(b'\n');
        let last = run.sequence + run.probes - 1;
        say(
            buffer,
            format_args!(
                "{} probes in a row not answered in time: {} seq {} to {last}",
                run.probes, run.target, run.sequence
            ),
        );
    }
    if let Some(rest @ 1..) = runs.len().checked_sub(RUNS) {
        buffer.push(b'\n');
        say(buffer, format_args!("and {rest} shorter rows"));
    }
}

/// Appends round-trip times, on lines that fit into 80 columns.
fn append_ping_rtt(buffer: &mut Vec<u8>, totals: &Totals) {
    let Some(rtt) = &totals.rtt else { return };
    let words = |nanos| duration(Duration::from_nanos(nanos));
    let [least, mean, most] = [rtt.min_ns, rtt.mean_ns, rtt.max_ns].map(words);
    buffer.push(b'\n');
    say(buffer, format_args!("round trip min {least}, mean {mean}, max {most}"));
    // Over all that was sent: one that falls on a probe without an answer in time is no time at all.
    let percentiles = [(rtt.p50_ns, "p50"), (rtt.p99_ns, "p99")]
        .map(|(figure, name)| format!("{name} {}", figure.map_or_else(|| "unanswered".to_owned(), words)));
    let spread = [(rtt.stddev_ns, "stddev"), (rtt.jitter_ns, "jitter")];
    let spread = spread.into_iter().filter_map(|(figure, name)| Some(format!("{name} {}", words(figure?))));
    if totals.sent > Some(1) {
        buffer.push(b'\n');
        say(
            buffer,
            format_args!("           {}", percentiles.into_iter().chain(spread).collect::<Vec<_>>().join(", ")),
        );
    }
}

/// How many rows of lost probes are told in words.
const RUNS: usize = 10;

/// Appends the totals of one target of a pinger, on one line.
pub(crate) fn append_ping_target(buffer: &mut Vec<u8>, target: &TargetSummary<'_>, explores: bool) {
    let words = |nanos| duration(Duration::from_nanos(nanos));
    match target.name {
        Some(name) => say(buffer, format_args!("{name} ({}): ", target.target)),
        None => say(buffer, format_args!("{}: ", target.target)),
    }
    append_pings(buffer, explores, target.totals);
    if let (Some(rtt), false) = (&target.totals.rtt, explores) {
        let [least, mean, most] = [rtt.min_ns, rtt.mean_ns, rtt.max_ns].map(words);
        match rtt.count {
            1 => say(buffer, format_args!(", round trip {mean}")),
            _ => say(buffer, format_args!(", min {least}, mean {mean}, max {most}")),
        }
        if let Some(jitter) = rtt.jitter_ns {
            say(buffer, format_args!(", jitter {}", words(jitter)));
        }
    }
}

/// Appends what became of probes. Where they are means to an end, their losses are none of the target's.
fn append_pings(buffer: &mut Vec<u8>, explores: bool, totals: &Totals) {
    let [sent, received] = [totals.sent, totals.received].map(Option::unwrap_or_default);
    if explores {
        return say(buffer, format_args!("{} sent, the target answered {received}", count(sent, "probe")));
    }
    match sent {
        0 => say(buffer, format_args!("nothing sent")),
        _ => say(buffer, format_args!("{sent} sent, {received} received")),
    }
    // A refusal is an answer, though not the one that was hoped for: it is told apart, and is no loss.
    if let Some(refused @ 1..) = totals.refused {
        say(buffer, format_args!(", {refused} refused, {} lost", totals.lost.unwrap_or(0)));
    }
    let is_whole = totals.refused == Some(0);
    if let Some(ratio) = totals.loss_ratio.filter(|ratio| *ratio > 0.0 || is_whole) {
        let percent = format!("{:.4}", ratio * 100.0);
        let percent = percent.trim_end_matches('0').trim_end_matches('.');
        say(buffer, format_args!(", {percent} % loss"));
    }
    for (number, what) in [
        (totals.late, "late"),
        (totals.not_sent, "not sent"),
        (totals.duplicates, "duplicates"),
        (totals.corrupted, "corrupted"),
        (totals.foreign, "foreign"),
        (totals.reordered, "out of order"),
    ] {
        if let Some(number @ 1..) = number {
            say(buffer, format_args!(", {number} {what}"));
        }
    }
    for named in totals.icmp_errors_by_name.iter().chain(&totals.answers_by_name).flatten() {
        say(buffer, format_args!(", {} {}", named.count, named.name));
    }
}

/// Appends the totals of one target.
pub(crate) fn append_target(buffer: &mut Vec<u8>, target: &str, totals: &Totals) {
    say(buffer, format_args!("{target}: {} received", totals.received.unwrap_or(0)));
    append_measured(buffer, totals);
}

/// Appends loss, order and delay, where they were measured.
fn append_measured(buffer: &mut Vec<u8>, totals: &Totals) {
    let Some(lost) = totals.lost else { return };
    say(buffer, format_args!(", {lost} lost"));
    if let (Some(out), Some(back)) = (totals.lost_out, totals.lost_back)
        && out + back > 0
    {
        say(buffer, format_args!(" ({out} out, {back} back)"));
    }
    if let Some(ratio) = totals.loss_ratio {
        say(buffer, format_args!(" {:.4} %", ratio * 100.0));
    }
    for (number, what) in [
        (totals.late, "late"),
        (totals.duplicates, "duplicates"),
        (totals.reordered, "out of order"),
        (totals.stale, "too old to tell"),
    ] {
        if let Some(number @ 1..) = number {
            say(buffer, format_args!(", {number} {what}"));
        }
    }
    if let Some(extent @ 1..) = totals.reordering_extent_max {
        say(buffer, format_args!(" (extent at most {extent})"));
    }
    append_rtt(buffer, totals);
    for (variation, way) in [(&totals.delay_variation_out, "out"), (&totals.delay_variation_back, "back")] {
        if let Some(variation) = variation {
            buffer.push(b'\n');
            append_variation(buffer, way, variation);
        }
    }
}

/// Appends round-trip times on a line of their own.
fn append_rtt(buffer: &mut Vec<u8>, totals: &Totals) {
    let words = |nanos| duration(Duration::from_nanos(nanos));
    if let Some(rtt) = &totals.rtt {
        buffer.push(b'\n');
        let [least, mean, most] = [rtt.min_ns, rtt.mean_ns, rtt.max_ns].map(words);
        say(buffer, format_args!("round trip min {least}, mean {mean}, max {most}"));
        for (figure, name) in [(rtt.p50_ns, "p50"), (rtt.p99_ns, "p99"), (rtt.stddev_ns, "stddev")] {
            if let Some(figure) = figure {
                say(buffer, format_args!(", {name} {}", words(figure)));
            }
        }
    }
}

fn append_variation(buffer: &mut Vec<u8>, way: &str, variation: &Distribution) {
    let words = |nanos| duration(Duration::from_nanos(nanos));
    say(buffer, format_args!("delay variation {way} mean {}", words(variation.mean_ns)));
    for (figure, name) in [(variation.p99_ns, "p99"), (variation.jitter_ns, "jitter (RFC 3550)")] {
        if let Some(figure) = figure {
            say(buffer, format_args!(", {name} {}", words(figure)));
        }
    }
}

/// Appends what did not go as it was to, as far as anything did not.
fn append_counts(buffer: &mut Vec<u8>, totals: &Totals) {
    for (number, what) in [
        (totals.truncated, "truncated"),
        (totals.not_sent, "not sent"),
        (totals.refused, "refused"),
        (totals.kernel_drops, "dropped by this host's kernel"),
        (totals.kernel_drop_buffers, "merged buffers dropped by this host's kernel"),
        (totals.events_dropped, "not told, their reader is too slow"),
    ] {
        if let Some(number @ 1..) = number {
            say(buffer, format_args!(", {number} {what}"));
        }
    }
    for (number, noun) in [
        (totals.icmp_errors, "ICMP error"),
        (totals.timeouts, "timeout"),
        (totals.errors, "error"),
        (totals.warnings, "warning"),
    ] {
        if let Some(number @ 1..) = number {
            say(buffer, format_args!(", {}", count(number, noun)));
        }
    }
}

/// Writes datagrams a second with as many digits as say something.
fn rate(rate: f64) -> String {
    match rate {
        rate if rate >= 100.0 => format!("{rate:.0}"),
        rate if rate >= 1.0 => format!("{rate:.2}"),
        rate => format!("{rate:.4}"),
    }
}

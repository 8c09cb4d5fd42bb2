//! `raw-ping`: resolve, open the sockets that the targets need, then probe: by a schedule, as fast as
//! answers come, hop by hop, or size by size.

use std::time::Duration;

use super::udp_listen::RECV_BUFFER;
use super::{Results, Run};
use crate::args::value::MOST_DATA;
use crate::args::{Quest, RawPing, SocketOptions, Tempo};
use crate::error::{ExitCode, Step};
use crate::step::{self, Door, Failed, Halt, Keys, PingWords, Pinger, Woken};

mod lists;
mod path_mtu;
mod tempo;
mod times;

/// The most probes a second of which the kernel is asked when each leaves.
const SLOW: f64 = 20_000.0;

/// The send buffer that is asked for where probes go as fast as answers come, in bytes.
const SEND_BUFFER: u32 = 4 << 20;

/// Walks a pinger through its life.
pub async fn run(ping: RawPing, mut run: Run) -> ExitCode {
    let Some(privileged) = run.privileged.take() else { return ExitCode::Local };
    let stdin = run.stdin.take();
    let (keys, stdin) = match (ping.live, stdin) {
        (true, Some(stdin)) => (Keys::watch(stdin, &run.door, &run.stop).ok(), None),
        (_, stdin) => (None, stdin),
    };
    let gathered = match run.stop.unless(lists::targets(&ping, stdin, &privileged, &run)).await {
        Ok(gathered) => gathered,
        Err(cause) => return run.stopped(cause, "anything was sent"),
    };
    let (targets, unresolved) = match gathered {
        Ok(gathered) => gathered,
        Err(failed) => return failed.code,
    };
    if targets.is_empty() {
        return unresolved.code();
    }
    if let Some(cause) = run.stop.cause() {
        return run.stopped(cause, "anything was sent");
    }
    let source = match step::source_address(&run.door, &ping.options) {
        Ok(source) => source,
        Err(failed) => return failed.code,
    };
    let (door, count) = (std::sync::Arc::clone(&run.door), targets.len());
    let walked = step::on_privileged(&run.door, &run.stop, Step::Send, &privileged, move |halt| {
        let opened = Pinger::open(&door, targets, words(&ping, count, source));
        // What comes from the network is read without rights.
        step::give_up_rights();
        let mut pinger = opened?;
        let result = walk(&ping, &mut pinger, halt);
        pinger.give_up(halt.is_set());
        Ok(code(&ping, &pinger, &door, result))
    });
    let walked = walked.await;
    drop(keys);
    match walked {
        Ok((Ok(code), _)) if unresolved.ended > 0 => unresolved.code().and(code),
        Ok((Ok(code), _)) => code,
        Ok((Err(failed), _)) | Err(failed) => failed.code,
    }
}

/// Returns what the sockets are made for.
fn words(ping: &RawPing, targets: u32, source: Option<crate::address::Address>) -> PingWords {
    let (tempo, quest) = (ping.tempo(), ping.quest());
    let is_windowed = match tempo {
        Tempo::Flood | Tempo::Sweep { rate: None, .. } => true,
        Tempo::Paced { .. } | Tempo::Adaptive | Tempo::Sweep { .. } => false,
    };
    let size = ping.size();
    let largest = if quest == Quest::PathMtu { MOST_DATA } else { size };
    PingWords {
        options: options(ping, is_windowed),
        kind: ping.with,
        socket: ping.socket,
        port: ping.port(),
        data: ping.data(largest),
        size,
        patience: ping.timeout,
        source,
        many: !matches!(tempo, Tempo::Sweep { .. }),
        counts_losses: ping.max_loss.is_some(),
        // Of a flood its own queue is the most of it.
        receive_time: tempo != Tempo::Flood,
        stamps: !is_windowed && is_slow(tempo),
        is_windowed,
        seeks_mtu: quest == Quest::PathMtu,
        broadcast: ping.include_broadcast,
        expected: (!matches!(tempo, Tempo::Paced { .. })).then_some(targets as usize),
        seed: fastrand::u64(..),
    }
}

/// Returns whether probes go no faster than the kernel is asked of each when it leaves.
fn is_slow(tempo: Tempo) -> bool {
    match tempo {
        Tempo::Paced { rate, .. } | Tempo::Sweep { rate, .. } => rate.is_none_or(|rate| rate <= SLOW),
        // A round trip takes longer than that.
        Tempo::Adaptive => true,
        Tempo::Flood => false,
    }
}

fn options(ping: &RawPing, is_windowed: bool) -> SocketOptions {
    let own = ping.options.clone();
    SocketOptions {
        recv_buffer: own.recv_buffer.or(Some(RECV_BUFFER)),
        send_buffer: own.send_buffer.or(is_windowed.then_some(SEND_BUFFER)),
        // Of a trace each probe has its own.
        ttl: own.ttl.filter(|_| ping.quest() != Quest::Trace),
        ..own
    }
}

fn walk(ping: &RawPing, pinger: &mut Pinger, halt: &Halt) -> Result<(), Failed> {
    match ping.quest() {
        Quest::PathMtu => path_mtu::walk(ping, pinger, halt)?,
        Quest::Ping | Quest::Trace => tempo::walk(ping, pinger, halt)?,
    }
    linger(pinger, halt)
}

/// Waits until every probe has its end.
fn linger(pinger: &mut Pinger, halt: &Halt) -> Result<(), Failed> {
    loop {
        pinger.take()?;
        if pinger.is_settled() || halt.is_set() || pinger.wait(halt, None) == Woken::Halted {
            return Ok(());
        }
    }
}

/// Returns what the run comes to.
fn code(ping: &RawPing, pinger: &Pinger, door: &Door, result: Result<(), Failed>) -> ExitCode {
    if let Err(failed) = result {
        return failed.code;
    }
    let mut results = Results::default();
    pinger.ends().for_each(|code| results.add(code));
    let mut is_exceeded = false;
    if let Some(most) = ping.max_rtt.filter(|most| pinger.longest() > *most) {
        is_exceeded = true;
        let (longest, most) = (pinger.longest().as_secs_f64() * 1e3, milliseconds(most));
        door.warn("max-rtt", &format!("--max-rtt {most} ms is exceeded: a round trip took {longest:.4} ms"));
    }
    if let (Some(most), Some((target, loss))) = (ping.max_loss, pinger.greatest_loss())
        && loss > most
    {
        is_exceeded = true;
        let target = pinger.targets().address(target);
        door.warn("max-loss", &format!("--max-loss {most} % is exceeded: {target} did not answer {loss:.4} %"));
    }
    match results.code() {
        code @ (ExitCode::Permission | ExitCode::Local | ExitCode::File) => code,
        _ if is_exceeded => ExitCode::No,
        code => code,
    }
}

/// Returns a duration in milliseconds, to the nanosecond and no further.
fn milliseconds(duration: Duration) -> String {
    let (whole, rest) = (duration.as_millis(), duration.subsec_nanos() % 1_000_000);
    format!("{whole}.{rest:06}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns a time-out that was multiplied with each try.
fn backed_off(timeout: Duration, factor: f64, tries: u32) -> Duration {
    /// Nobody waits longer.
    const MOST: f64 = 1e9;
    Duration::from_secs_f64((timeout.as_secs_f64() * factor.powi(tries.cast_signed())).min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_as_it_was_given() {
        let told = [1, 999_999, 1_000_000, 50_000_000, 1_500_000_000, 10_000_000_001].map(Duration::from_nanos);
        assert_eq!(told.map(milliseconds), ["0.000001", "0.999999", "1", "50", "1500", "10000.000001"]);
    }
}

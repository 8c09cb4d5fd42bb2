//! A connection of a server that misbehaves on purpose (`--fault`).

use std::sync::Arc;
use std::time::Duration;

use super::session::{Rules, Taken, take};
use super::source::drop_all;
use crate::args::{Answer, Fault};
use crate::behaviour;
use crate::error::Step;
use crate::event::Reason;
use crate::step::{self, Failed, Pace, Rest, Stream, now, since, within};

/// Treats a peer as the fault says. A failure is this connection's own.
#[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice, and ten thousand may wait")]
pub(super) fn answer(stream: Stream, rules: Arc<Rules>, fault: Fault) -> impl Future<Output = ()> + Send {
    async move {
        let ended = match fault {
            Fault::Reset => return Box::pin(stream.reset(rules.timeout)).await,
            Fault::Hang => Box::pin(hang(&stream, &rules)).await,
            Fault::HalfClose => Box::pin(stream.shutdown_and(drop_all(&stream, &rules, true))).await,
            // Nobody comes that is never accepted, and those of TLS are over when it is spoken.
            Fault::NeverAccept
            | Fault::Expired
            | Fault::WrongName
            | Fault::SelfSigned
            | Fault::HandshakeCut
            | Fault::Slow(_)
            | Fault::CloseAfter(_)
            | Fault::Delay(_) => Box::pin(until_end(&stream, &rules, fault)).await,
        };
        stream.close(ended.unwrap_or_else(Failed::reason));
    }
}

/// Neither reads nor sends, until the peer is gone or is waited for no longer.
async fn hang(stream: &Stream, rules: &Rules) -> Result<Reason, Failed> {
    let began = now();
    match within(rules.timeout, stream.gone()).await {
        Some(gone) => gone.map(|()| Reason::Eof),
        None => {
            stream.timeout(Step::Recv, since(began));
            Ok(Reason::Timeout)
        }
    }
}

/// Answers slowly, late, or not to the end.
async fn until_end(stream: &Stream, rules: &Rules, fault: Fault) -> Result<Reason, Failed> {
    let (mut inward, mut outward) = (pace(rules), pace(rules));
    let mut left = if let Fault::CloseAfter(bytes) = fault { bytes } else { u64::MAX };
    let discards = matches!(rules.answer, Answer::Discard);
    // What a rule is to match, and what gets a prefix, is what one recv of the usual size gives.
    let is_in_parts = discards || matches!(&rules.answer, Answer::Echo { prefix } if prefix.is_empty());
    let mut answers = 0;
    loop {
        if let Err(after) = stream.readable_within(rules.timeout).await {
            stream.timeout(Step::Recv, after);
            return Ok(Reason::Timeout);
        }
        let mut most = usize::MAX;
        if let Some(pace) = &mut inward {
            let due = due_to_recv(stream, pace).await?;
            most = if is_in_parts { due } else { most };
        }
        if discards && stream.is_bytes() {
            most = most.min(usize::try_from(left).unwrap_or(usize::MAX));
        }
        let reply =
            |received: &[u8]| (received.len(), behaviour::reply(&rules.answer, received).map(|parts| parts.concat()));
        let (received, reply) = match take(stream, rules, most, reply)? {
            Taken::Nothing => continue,
            Taken::Eof => return Ok(Reason::Eof),
            Taken::Data(data) => data,
        };
        if let Some(pace) = &mut inward {
            pace.passed(received as u64, now());
        }
        if discards {
            left = left.saturating_sub(received as u64);
        }
        if let Some(reply) = reply {
            if let Fault::Delay(delay) = fault {
                stream.owe();
                wait(stream, delay).await?;
            }
            let part = &reply[..usize::try_from(left).map_or(reply.len(), |left| left.min(reply.len()))];
            match &mut outward {
                Some(pace) => drip(stream, part, pace, rules.timeout).await?,
                None => stream.send_all(part, rules.timeout, rules.rest()).await?,
            }
            if part.len() < reply.len() {
                stream.owe();
            }
            left -= part.len() as u64;
            answers += 1;
        }
        if left == 0 || rules.messages.is_some_and(|most| answers >= most) {
            return Ok(Reason::Limit);
        }
    }
}

/// Sends everything at a pace; what must stay a record goes whole when its first byte is due.
async fn drip(stream: &Stream, mut bytes: &[u8], pace: &mut Pace, bound: Option<Duration>) -> Result<(), Failed> {
    let is_bytes = stream.is_bytes();
    if is_bytes && bytes.is_empty() {
        return Ok(());
    }
    pace.begin(now());
    loop {
        stream.owe();
        let due = usize::try_from(due(stream, pace).await?).unwrap_or(usize::MAX).min(bytes.len());
        let (part, rest) = bytes.split_at(if is_bytes { due } else { bytes.len() });
        stream.send_all(part, bound, Rest::Stays).await?;
        pace.passed(part.len() as u64, now());
        bytes = rest;
        // Looked at last, for an empty record goes too.
        if bytes.is_empty() {
            return Ok(());
        }
    }
}

/// Returns the pace that the fault sets for one direction of a connection.
pub(super) fn pace(rules: &Rules) -> Option<Pace> {
    match rules.fault {
        Some(Fault::Slow(rate)) => Some(Pace::new(rate.bytes(), now())),
        _ => None,
    }
}

/// Waits until bytes are due, and returns how many. A peer that breaks off is not waited for.
pub(super) async fn due(stream: &Stream, pace: &mut Pace) -> Result<u64, Failed> {
    loop {
        let now = now();
        match pace.due(now) {
            0 => wait(stream, pace.wait(now)).await?,
            due => return Ok(due),
        }
    }
}

/// Waits until bytes that have come may be read, and returns how many: of records one recv must take the whole. Until
/// they came the peer may have rested.
pub(super) async fn due_to_recv(stream: &Stream, pace: &mut Pace) -> Result<usize, Failed> {
    pace.begin(now());
    let due = usize::try_from(due(stream, pace).await?).unwrap_or(usize::MAX);
    Ok(if stream.is_bytes() { due } else { usize::MAX })
}

/// Waits for a duration, unless the peer breaks off meanwhile.
pub(super) async fn wait(stream: &Stream, delay: Duration) -> Result<(), Failed> {
    tokio::select! {
        failed = stream.broken() => Err(failed),
        () = step::sleep(delay) => Ok(()),
    }
}

//! A connection of `--source-bytes`: the pattern is sent, and what the peer sends is dropped.

use std::sync::Arc;

use super::fault;
use super::session::{Rules, Taken, take};
use crate::args::{Answer, Fault};
use crate::error::Step;
use crate::event::Reason;
use crate::step::{self, Failed, Pace, Pattern, Stream, now};

/// Sends the pattern until its end, or that of the peer. A failure is this connection's own.
#[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice, and ten thousand may wait")]
pub(super) fn answer(stream: Stream, rules: Arc<Rules>) -> impl Future<Output = ()> + Send {
    async move {
        let reason = match Box::pin(until_end(&stream, &rules)).await {
            Ok(reason) => reason,
            Err(failed) => failed.reason(),
        };
        stream.close(reason);
    }
}

async fn until_end(stream: &Stream, rules: &Rules) -> Result<Reason, Failed> {
    let (Answer::Source { size }, Some(pattern)) = (&rules.answer, &rules.pattern) else { return Ok(Reason::Local) };
    // Of a pattern without end nothing is ever missing.
    if size.is_some() {
        stream.owe();
    }
    if let Some(Fault::Delay(delay)) = rules.fault {
        fault::wait(stream, delay).await?;
    }
    let (size, is_cut) = match rules.fault {
        Some(Fault::CloseAfter(after)) => (after, true),
        _ => (size.unwrap_or(u64::MAX), false),
    };
    let pour = pour(stream, rules, pattern, size);
    tokio::pin!(pour);
    let is_at_eof = tokio::select! {
        poured = &mut pour => {
            poured?;
            false
        }
        // A peer that has closed its sending side may go on to read.
        dropped = drop_all(stream, rules, false) => {
            dropped?;
            pour.await?;
            true
        }
    };
    if is_cut {
        return Ok(Reason::Limit);
    }
    stream.owe_nothing();
    if is_at_eof {
        stream.shutdown().await?;
        return Ok(Reason::Limit);
    }
    // Closing with bytes unread would reset the peer, which may still be reading ours.
    Ok(match stream.shutdown_and(drop_all(stream, rules, true)).await? {
        Reason::Eof => Reason::Limit,
        reason => reason,
    })
}

/// Sends the pattern, so many bytes of it.
async fn pour(stream: &Stream, rules: &Rules, pattern: &Pattern, mut left: u64) -> Result<(), Failed> {
    let mut feed = stream.feed(pattern, rules.rest());
    let mut pace = fault::pace(rules);
    while left > 0 {
        let most = match &mut pace {
            Some(pace) => fault::due(stream, pace).await?.min(left),
            None => left,
        };
        stream.room_to_send().await;
        match feed.send(most)? {
            0 => stream.writable_within(rules.timeout).await?,
            sent => {
                left -= sent;
                pace.iter_mut().for_each(|pace: &mut Pace| pace.passed(sent, now()));
                // A peer that takes all at once would keep the others from being served.
                step::yield_now().await;
            }
        }
    }
    Ok(())
}

/// Reads and drops what the peer sends, to its end; a silence may be bounded. Returns which came.
pub(super) async fn drop_all(stream: &Stream, rules: &Rules, is_bounded: bool) -> Result<Reason, Failed> {
    let mut pace = fault::pace(rules);
    loop {
        if let Err(after) = stream.readable_unless_idle(rules.timeout.filter(|_| is_bounded)).await {
            stream.timeout(Step::Recv, after);
            return Ok(Reason::Timeout);
        }
        let most = match &mut pace {
            Some(pace) => fault::due_to_recv(stream, pace).await?,
            None => usize::MAX,
        };
        match take(stream, rules, most, <[u8]>::len)? {
            Taken::Nothing => {}
            Taken::Eof => return Ok(Reason::Eof),
            Taken::Data(bytes) => pace.iter_mut().for_each(|pace: &mut Pace| pace.passed(bytes as u64, now())),
        }
    }
}

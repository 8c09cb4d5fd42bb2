//! The relay: stdin to the peer, the peer to stdout, each side closed by itself.

use std::time::{Duration, Instant};

use super::Run;
use super::expectation::Expectation;
use crate::args::Connect;
use crate::args::connect::OnPeerClose;
use crate::error::{ExitCode, Step};
use crate::event::Reason;
use crate::step::{self, Cause, Chunks, Failed, Recvd, Stdin, Stream, now};

/// How a relay ended without a failed step.
enum End {
    /// Both sides are closed, or the peer's is and that is enough.
    Closed,
    /// No byte went either way since then.
    Idle(Instant),
    /// The run was told to stop.
    Stopped(Cause),
}

/// Relays until both sides are closed. What reaches stdout is the report's view of what was
/// received.
pub(super) async fn run(stream: Stream, connect: &Connect, stdin: Stdin, run: &Run) -> Result<ExitCode, Failed> {
    let on_peer_close = connect.on_peer_close.unwrap_or(match stdin.is_terminal {
        true => OnPeerClose::Exit,
        false => OnPeerClose::Drain,
    });
    let chunks = stdin.start(&run.door)?;
    let mut incoming =
        Incoming { buffer: vec![0; connect.recv_size.get()], expectation: Expectation::new(connect.expect.as_ref()) };
    let end = tokio::select! {
        end = both(&stream, chunks, &mut incoming, on_peer_close, run) => end,
        since = idle(&stream, connect.patience.idle_timeout) => Ok(End::Idle(since)),
        cause = run.stop.reached() => Ok(End::Stopped(cause)),
    };
    match end {
        Ok(End::Closed) => stream.close(Reason::Eof),
        Ok(End::Stopped(cause)) => stream.close(cause.reason()),
        Ok(End::Idle(since)) => {
            let failed = stream.timed_out(Step::Recv, since.elapsed());
            stream.close(Reason::Timeout);
            return Err(failed);
        }
        Err(failed) => {
            stream.close(failed.reason());
            return Err(failed);
        }
    }
    if incoming.expectation.is_unmet() {
        run.door.warn("expect-unmet", "nothing that the peer sent matched --expect");
        return Ok(ExitCode::No);
    }
    Ok(ExitCode::Ok)
}

/// What the peer sends, and whether `--expect` is in it.
struct Incoming<'a> {
    buffer: Vec<u8>,
    expectation: Expectation<'a>,
}

/// Runs both directions. One that failed lets the other go on, so that nothing that the peer sent
/// before is lost.
async fn both(
    stream: &Stream,
    chunks: Chunks,
    incoming: &mut Incoming<'_>,
    on_peer_close: OnPeerClose,
    run: &Run,
) -> Result<End, Failed> {
    let up = upload(stream, chunks, run);
    let down = download(stream, incoming);
    tokio::pin!(up, down);
    let sent = tokio::select! {
        received = &mut down => {
            received?;
            if on_peer_close == OnPeerClose::Exit {
                return Ok(End::Closed);
            }
            // Nobody reads any more, so that a reset would go unseen until the next send.
            return tokio::select! {
                sent = &mut up => sent.map(|()| End::Closed),
                failed = stream.broken() => Err(failed),
            };
        }
        sent = &mut up => sent,
    };
    match sent {
        // What we cannot read we cannot send: there is nothing to wait for.
        Err(failed) if failed.code == ExitCode::File => Err(failed),
        // A peer that broke off may have sent something first, and its reset may follow.
        sent => {
            let received = down.await;
            sent.and(received).map(|()| End::Closed)
        }
    }
}

/// Sends stdin, then closes our side.
async fn upload(stream: &Stream, mut chunks: Chunks, run: &Run) -> Result<(), Failed> {
    while let Some(chunk) = chunks.next(&run.door).await? {
        stream.send_all(&chunk, None).await?;
    }
    stream.shutdown()
}

/// Takes what the peer sends, to its end.
async fn download(stream: &Stream, incoming: &mut Incoming<'_>) -> Result<(), Failed> {
    loop {
        stream.readable().await;
        match stream.recv(&mut incoming.buffer)? {
            Recvd::Data(bytes) => {
                incoming.expectation.feed(&incoming.buffer[..bytes]);
            }
            Recvd::Nothing => {}
            Recvd::Eof => return Ok(()),
        }
    }
}

/// Waits until no byte has gone either way for so long; returns since when.
async fn idle(stream: &Stream, bound: Option<Duration>) -> Instant {
    let Some(bound) = bound else { return std::future::pending().await };
    // Looked at sixteen times in each span, so that the end is at most a sixteenth late and the
    // hot path keeps no clock.
    let tick = (bound / 16).max(Duration::from_millis(1));
    let (mut before, mut since) = (stream.bytes(), now());
    while since.elapsed() < bound {
        step::sleep(tick).await;
        let bytes = stream.bytes();
        if bytes != before {
            (before, since) = (bytes, now());
        }
    }
    since
}

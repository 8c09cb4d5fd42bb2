//! The relay: stdin to the peer, the peer to stdout, each side closed by itself.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use regex::bytes::Regex;

use super::Run;
use super::expectation::Expectation;
use crate::args::connect::OnPeerClose;
use crate::error::{ExitCode, Step};
use crate::event::{Kind, Reason};
use crate::step::{self, Cause, Failed, Recvd, Rest, Spliced, Stdin, Stream, now};

/// How long no datagram comes of those that were there when a send failed.
const LEFTOVER: Duration = Duration::from_millis(10);

/// How a relay ended without a failed step.
enum End {
    /// Both sides are closed, or the peer's is and that is enough.
    Closed,
    /// All was sent, and no datagram has come for long enough.
    Quiet,
    /// No byte went either way since then.
    Idle(Instant),
    /// The run was told to stop.
    Stopped(Cause),
}

/// What a relay keeps to, of a client or a server.
#[derive(Debug)]
pub(super) struct Relay<'a> {
    /// What to do when the peer has closed its side; `None` lets the kind of stdin decide.
    pub(super) on_peer_close: Option<OnPeerClose>,
    pub(super) idle: Option<Duration>,
    pub(super) recv_size: NonZeroUsize,
    pub(super) expect: Option<&'a Regex>,
    /// Whether to have heard nothing when the time is over is a failure: a client's.
    pub(super) awaits_answer: bool,
    /// Datagrams have no end: how long after that of our input one that comes is still awaited;
    /// `None` is without end.
    pub(super) linger: Option<Duration>,
}

/// Relays until both sides are closed. What reaches stdout is the report's view of what was
/// received, or goes there straight from the kernel where nobody else wants to see it.
pub(super) async fn run(stream: Stream, relay: &Relay<'_>, stdin: Stdin, run: &Run) -> Result<ExitCode, Failed> {
    let on_peer_close = relay.on_peer_close.unwrap_or(match stdin.is_terminal {
        true => OnPeerClose::Exit,
        false => OnPeerClose::Drain,
    });
    let mut incoming = Incoming { buffer: vec![0; relay.recv_size.get()], expectation: Expectation::new(relay.expect) };
    let end = async {
        tokio::select! {
            end = both(&stream, stdin, &mut incoming, on_peer_close, relay.linger, run) => end,
            since = idle(&stream, relay.idle) => Ok(End::Idle(since)),
        }
    };
    let end = run.stop.unless(end).await.unwrap_or_else(|cause| Ok(End::Stopped(cause)));
    let mut code = ExitCode::Ok;
    let reason = match end {
        Ok(End::Closed) => Reason::Eof,
        Ok(End::Quiet) => Reason::Local,
        Ok(End::Stopped(cause)) => {
            // Who ends it by a signal sees what there is.
            if cause == Cause::Deadline && stream.has_end() && !stream.has_ended() {
                let has_come = stream.has_received();
                let cut = run.stopped(cause, if has_come { "the peer had closed" } else { "an answer came" });
                code = if relay.awaits_answer && !has_come { cut } else { code };
            }
            cause.reason()
        }
        // Of datagrams nobody knows that there are no more.
        Ok(End::Idle(_)) if !stream.has_end() => Reason::Local,
        Ok(End::Idle(since)) => {
            // Of one that has ended nothing more can come.
            let step = if stream.has_ended() { Step::Read } else { Step::Recv };
            let failed = stream.timed_out(step, since.elapsed());
            stream.close(Reason::Timeout);
            return Err(failed);
        }
        Err(failed) => {
            stream.close(failed.reason());
            return Err(failed);
        }
    };
    let is_met = incoming.expectation.is_met();
    if !is_met {
        stream.warn("expect-unmet", "nothing that the peer sent matched --expect");
    }
    stream.close(reason);
    Ok(if is_met || code != ExitCode::Ok { code } else { ExitCode::No })
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
    stdin: Stdin,
    incoming: &mut Incoming<'_>,
    on_peer_close: OnPeerClose,
    linger: Option<Duration>,
    run: &Run,
) -> Result<End, Failed> {
    let up = upload(stream, stdin, run);
    let down = download(stream, incoming, run);
    tokio::pin!(up, down);
    let sent = tokio::select! {
        received = &mut down => {
            received?;
            if on_peer_close == OnPeerClose::Exit {
                return Ok(End::Closed);
            }
            let all = async {
                up.await?;
                // Of datagrams nobody is told.
                if stream.has_end() { stream.shutdown().await } else { Ok(()) }
            };
            // Nobody reads any more, so that a reset would go unseen until the next send.
            return tokio::select! {
                sent = all => sent.map(|()| End::Closed),
                failed = stream.broken() => Err(failed),
            };
        }
        sent = &mut up => sent,
    };
    match sent {
        // What we cannot read we cannot send: there is nothing to wait for.
        Err(failed) if failed.code == ExitCode::File => Err(failed),
        // No end comes of datagrams: what the peer has sent is there already.
        Err(failed) if !stream.has_end() => tokio::select! {
            biased;
            received = down => received.and(Err(failed)),
            _ = idle(stream, Some(LEFTOVER)) => Err(failed),
        },
        Ok(()) if !stream.has_end() => tokio::select! {
            received = down => received.map(|()| End::Closed),
            _ = idle(stream, linger) => Ok(End::Quiet),
        },
        // A peer that broke off may have sent something first, and its reset may follow.
        Ok(()) => stream.shutdown_and(down).await.map(|()| End::Closed),
        Err(failed) => {
            let _told_too = down.await;
            Err(failed)
        }
    }
}

/// Sends stdin.
async fn upload(stream: &Stream, stdin: Stdin, run: &Run) -> Result<(), Failed> {
    // Where nobody wants to see what is sent, the kernel moves it.
    if run.door.wants(Kind::Send) || stream.splice_from(&stdin.stream).await? != Spliced::Eof {
        let mut chunks = stdin.start(&run.door, stream.most_at_once())?;
        while let Some(chunk) = chunks.next(&run.door).await? {
            stream.send_all(&chunk, None, Rest::Stays).await?;
        }
    }
    Ok(())
}

/// Takes what the peer sends, to its end.
async fn download(stream: &Stream, incoming: &mut Incoming<'_>, run: &Run) -> Result<(), Failed> {
    if let (Some(stdout), false) = (&run.stdout, incoming.expectation.is_open()) {
        match stream.splice_to(stdout).await? {
            Spliced::Eof => return Ok(()),
            Spliced::ReaderGone => {
                run.stop.set(Cause::Output);
                return std::future::pending().await;
            }
            Spliced::Unsupported => {}
        }
    }
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
        // What waits for our own output is no silence of the peer.
        if bytes != before || stream.is_stalled() {
            (before, since) = (bytes, now());
        }
    }
    since
}

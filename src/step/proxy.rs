//! The step proxy: over a connection to it, a proxy is asked for the next one or for the target.

use std::time::{Duration, Instant};

use super::apart::Apart;
use super::{Failed, Stream, now, within};
use crate::error::{Error, ExitCode, Step};
use crate::event::{self, Reason, ResolvedBy};
use crate::packet::dialogue::{Challenge, Dialogue, Grant, Progress, Refusal};

/// How long the rest of an answer is waited for that is no in any case.
const REST: Duration = Duration::from_secs(1);

/// What it usually means that a proxy closes.
const CLOSED: &str =
    "some proxies (ssh -D) close where they cannot reach the target; others where they do not let this client in";

/// One proxy, and what it is asked for.
#[derive(Clone, Debug)]
pub struct Hop {
    /// The proxy, as typed.
    pub proxy: String,
    /// How it is spoken to.
    pub protocol: &'static str,
    /// What it is asked for.
    pub target: String,
    /// Who looks the name of that up, where it has one.
    pub resolved_by: Option<ResolvedBy>,
    /// Whether that is the target of the run.
    pub is_last: bool,
}

/// What came of asking.
pub enum Asked {
    /// The way is open.
    Granted(Stream),
    /// The proxy wants to know who we are on another connection; this one is closed.
    Again(Challenge),
}

/// A way that did not open, and its connection is closed.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// What was reported.
    pub failed: Failed,
    /// Whether it was the target that the last proxy did not reach: another address may do.
    pub is_target: bool,
}

/// What ended a dialogue.
enum End {
    Granted(Grant),
    Refused(Refusal),
    Challenged(Challenge),
    Malformed(String),
    Closed,
    Broke(std::io::Error),
    Silent,
}

/// Asks a proxy, until a moment.
///
/// # Errors
/// It said no, or nothing that can be understood, or nothing; reported, and the connection is closed.
pub async fn ask(stream: Stream, hop: &Hop, mut dialogue: Box<dyn Dialogue>, until: Instant) -> Result<Asked, Lost> {
    let began = now();
    let left = until.saturating_duration_since(began);
    let (mut end, mut sent, mut received) = (End::Closed, 0, 0);
    if let Some(mut apart) = Apart::on(&stream) {
        end = within(Some(left), Box::pin(talk(&mut apart, dialogue.as_mut()))).await.unwrap_or(End::Silent);
        (sent, received) = (apart.sent, apart.received);
    }
    let is_closed = matches!(end, End::Closed);
    if is_closed {
        stream.ended();
    }
    // What was known before it closed or fell silent is what it said.
    let known = match &end {
        End::Closed => dialogue.at_end(),
        End::Silent => dialogue.settled(),
        _ => None,
    };
    if let Some(known) = known {
        end = known.into();
    }
    let duration = began.elapsed();
    let error = |code, words: &str| {
        let message = format!("proxy {}: {words}", hop.proxy);
        let error = Error::of_kind(Step::Proxy, code, message).with_conn(stream.conn());
        let error = error.with_peer(stream.peer().clone()).with_target(&hop.target).with_took(duration);
        let is_unexplained = is_closed && code == ExitCode::Reset;
        stream.door().fail(&if is_unexplained { error.with_hint(CLOSED) } else { error })
    };
    let mut reason = if is_closed { Reason::Eof } else { Reason::Local };
    let failed = match end {
        End::Granted(grant) => {
            stream.door().emit(event::Proxy {
                conn: stream.conn(),
                proxy: &hop.proxy,
                protocol: hop.protocol,
                target: &hop.target,
                resolved_by: hop.resolved_by,
                authentication: grant.authentication,
                bound: grant.bound.as_deref(),
                reply: &grant.reply,
                code: grant.code,
                bytes_sent: sent,
                bytes_received: received,
                duration,
                is_last: hop.is_last,
            });
            return Ok(Asked::Granted(stream));
        }
        End::Challenged(challenge) => {
            stream.close(reason);
            return Ok(Asked::Again(challenge));
        }
        End::Refused(Refusal { words, code }) => {
            let failed = error(code, &words);
            stream.close(reason);
            let is_target =
                hop.is_last && matches!(code, ExitCode::Refused | ExitCode::Unreachable | ExitCode::NoAnswer);
            return Err(Lost { failed, is_target });
        }
        End::Malformed(words) => error(ExitCode::Reset, &words),
        End::Closed if received == 0 => error(ExitCode::Reset, "it closed the connection without a word"),
        End::Closed => error(ExitCode::Reset, "it closed the connection before its reply was whole"),
        End::Broke(broke) => {
            let failed = stream.failed_io(Step::Proxy, &broke);
            reason = failed.reason();
            failed
        }
        End::Silent => {
            stream.timeout(Step::Proxy, duration);
            reason = Reason::Timeout;
            let words = if received == 0 { "no reply within" } else { "its reply was not whole within" };
            error(ExitCode::NoAnswer, &format!("{words} {:.3} s", duration.as_secs_f64()))
        }
    };
    stream.close(reason);
    Err(Lost { failed, is_target: false })
}

impl From<Progress> for End {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Granted(grant) => Self::Granted(grant),
            Progress::Refused(refusal) => Self::Refused(refusal),
            Progress::Challenged(challenge) => Self::Challenged(challenge),
            Progress::Malformed(words) => Self::Malformed(words),
            Progress::More | Progress::Send(_) => Self::Silent,
        }
    }
}

/// Talks to a proxy until it has said all that it has to say, or has closed.
async fn talk(apart: &mut Apart<'_>, dialogue: &mut dyn Dialogue) -> End {
    let mut bytes = dialogue.begin();
    loop {
        if let Err(error) = apart.send(&bytes).await {
            return End::Broke(error);
        }
        bytes = loop {
            // The text of a refusal may never end.
            let rest = dialogue.settled().map(|_| REST);
            let Some(next) = within(rest, apart.next(|there| dialogue.take(there))).await else { return End::Silent };
            match next {
                Ok(Some(Progress::More)) => {}
                Ok(Some(Progress::Send(bytes))) => break bytes,
                Ok(Some(ended)) => return ended.into(),
                Ok(None) => return End::Closed,
                Err(error) => return End::Broke(error),
            }
        };
    }
}

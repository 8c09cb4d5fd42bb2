//! The step proxy: over a connection to it, a proxy is asked for the next one or for the target.

use std::time::{Duration, Instant};

use super::apart::Apart;
use super::{Failed, Stream, now, within};
use crate::args::Protocol;
use crate::error::{Error, ExitCode, Step};
use crate::event::{self, ProxyStep, Reason, ResolvedBy};
use crate::packet::dialogue::{Challenge, Dialogue, Grant, Progress, Refusal};

/// How long the rest of an answer is waited for that is no in any case.
const REST: Duration = Duration::from_secs(1);

/// The same where only the proxy's close says where it ends (RFC 9112, 6.3): some never close, and what it says is
/// known.
const REST_TO_CLOSE: Duration = Duration::from_millis(100);

/// What helps where a proxy wants to know who asks.
const WHO: &str = "say who you are: a line USER:PASSWORD in a file for --proxy-user-file, or SOCKEYE_PROXY_USER and \
                   SOCKEYE_PROXY_PASSWORD; in a chain the URL names the user too (USER@HOST)";

/// What it may mean that a proxy of SOCKS says nothing at all.
const MUTE: &str =
    "an HTTP proxy waits like this, for what SOCKS says has no end of a line: if it is one, write http://";

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
pub async fn ask(
    mut stream: Stream,
    hop: &Hop,
    mut dialogue: Box<dyn Dialogue>,
    until: Instant,
) -> Result<Asked, Lost> {
    // Also what fails later is about whom it was asked for.
    stream.leads_to(&hop.target);
    let began = now();
    let left = until.saturating_duration_since(began);
    let (mut end, mut sent, mut received, mut questions) = (End::Closed, 0, 0, Questions::default());
    if let Some(mut apart) = Apart::on(&stream) {
        let talked = Box::pin(talk(&mut apart, dialogue.as_mut(), &mut questions));
        end = within(Some(left), talked).await.unwrap_or(End::Silent);
        (sent, received) = (apart.sent, apart.received);
    }
    questions.ended();
    let steps = &questions.steps[..];
    let is_closed = matches!(end, End::Closed);
    if is_closed {
        stream.ended();
    }
    let mut reason = if is_closed { Reason::Eof } else { Reason::Local };
    // What was known before it closed, broke off or fell silent is what it said.
    let known = match &end {
        End::Closed => dialogue.at_end(),
        End::Silent | End::Broke(_) => dialogue.settled(),
        _ => None,
    };
    if let Some(known) = known {
        if let End::Broke(broke) = &end {
            let error = stream.of_io(Step::Proxy, broke);
            reason = if error.exit_code() == ExitCode::Reset { Reason::Reset } else { Reason::Local };
        }
        end = known.into();
    }
    let duration = began.elapsed();
    let error = |code, words: &str, hint: Option<&'static str>| {
        let message = format!("proxy {}: {words}", hop.proxy);
        let error = Error::of_kind(Step::Proxy, code, message).with_conn(stream.conn());
        let error = error.with_peer(stream.peer().clone()).with_target(&hop.target).with_took(duration);
        let hint = hint.or((is_closed && code == ExitCode::Reset).then_some(CLOSED));
        let error = match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        };
        stream.fail_after(&error, steps)
    };
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
                steps,
                duration,
                is_last: hop.is_last,
            });
            return Ok(Asked::Granted(stream));
        }
        End::Challenged(challenge) if until <= now() => {
            let words = format!("it answers {}, and no time is left to say who we are", challenge.words);
            error(ExitCode::Permission, &words, None)
        }
        End::Challenged(challenge) => {
            let (proxy, words) = (&hop.proxy, &challenge.words);
            let message = format!("proxy {proxy}: it answers {words}: who we are is said on another connection");
            stream.warn("proxy-authentication", &message);
            stream.close(reason);
            return Ok(Asked::Again(challenge));
        }
        End::Refused(Refusal { words, code, wants_user }) => {
            let failed = error(code, &words, wants_user.then_some(WHO));
            stream.close(reason);
            let is_target =
                hop.is_last && matches!(code, ExitCode::Refused | ExitCode::Unreachable | ExitCode::NoAnswer);
            return Err(Lost { failed, is_target });
        }
        End::Malformed(words) => error(ExitCode::Reset, &words, None),
        End::Closed if received == 0 => error(ExitCode::Reset, "it closed the connection without a word", None),
        End::Closed => error(ExitCode::Reset, "it closed the connection before its reply was whole", None),
        End::Broke(broke) => {
            let failed = stream.fail_after(&stream.of_io(Step::Proxy, &broke).with_took(duration), steps);
            reason = failed.reason();
            failed
        }
        End::Silent => {
            stream.timeout(Step::Proxy, duration);
            reason = Reason::Timeout;
            let words = if received == 0 { "no reply within" } else { "its reply was not whole within" };
            let is_mute = received == 0 && hop.protocol != Protocol::Http.name();
            error(ExitCode::NoAnswer, &format!("{words} {:.3} s", duration.as_secs_f64()), is_mute.then_some(MUTE))
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

/// The questions of a dialogue, each with how long its answer took.
#[derive(Default)]
struct Questions {
    steps: Vec<ProxyStep>,
    /// The one that is not answered yet, and since when.
    open: Option<(&'static str, Instant)>,
}

impl Questions {
    /// Notes that the open question was answered, or will not be.
    fn ended(&mut self) {
        let step = self.open.take().map(|(name, since)| ProxyStep { name, duration: since.elapsed() });
        self.steps.extend(step);
    }
}

/// Talks to a proxy until it has said all that it has to say, or has closed; notes each question.
async fn talk(apart: &mut Apart<'_>, dialogue: &mut dyn Dialogue, questions: &mut Questions) -> End {
    let mut bytes = dialogue.begin();
    loop {
        questions.open = Some((dialogue.step(), now()));
        if let Err(error) = apart.send(&bytes).await {
            return End::Broke(error);
        }
        let ended = answer(apart, dialogue).await;
        questions.ended();
        match ended {
            Ok(more) => bytes = more,
            Err(end) => return end,
        }
    }
}

/// Waits for the answer to a question; gives what is to be sent next.
///
/// # Errors
/// That was the end of the dialogue.
async fn answer(apart: &mut Apart<'_>, dialogue: &mut dyn Dialogue) -> Result<Vec<u8>, End> {
    // The text of a refusal may never end, whether nothing comes of it or something all the time.
    let mut over: Option<Instant> = None;
    loop {
        let most = if dialogue.says_end() { REST } else { REST_TO_CLOSE };
        let rest = dialogue.settled().map(|_| *over.get_or_insert_with(|| now() + most));
        let rest = rest.map(|over| over.saturating_duration_since(now()));
        if rest == Some(Duration::ZERO) {
            return Err(End::Silent);
        }
        let Some(next) = within(rest, apart.next(|there| dialogue.take(there))).await else { return Err(End::Silent) };
        match next {
            Ok(Some(Progress::More)) => {}
            Ok(Some(Progress::Send(bytes))) => return Ok(bytes),
            Ok(Some(ended)) => return Err(ended.into()),
            Ok(None) => return Err(End::Closed),
            Err(error) => return Err(End::Broke(error)),
        }
    }
}

//! One connection of a server, from accept to close: which session it gets, and the plain one, that
//! answers what comes.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::broker::{self, Hub};
use super::hall::Leaver;
use super::server::Header;
use super::{fault, source};
use crate::args::{Answer, Fault, Service};
use crate::behaviour;
use crate::error::Step;
use crate::event::Reason;
use crate::step::{self, Door, Failed, Pattern, Recvd, Rest, Sent, ServerTls, Stream};

/// What every connection of a server keeps to.
pub(super) struct Rules {
    pub(super) answer: Answer,
    pub(super) fault: Option<Fault>,
    pub(super) recv_size: NonZeroUsize,
    pub(super) timeout: Option<Duration>,
    pub(super) messages: Option<u64>,
    /// What is sent without being asked for; `None` where only answers are.
    pub(super) pattern: Option<Pattern>,
    /// Where the peers of a broker meet.
    pub(super) hub: Hub,
    /// How TLS is spoken, where it is.
    pub(super) tls: Option<ServerTls>,
}

impl Rules {
    pub(super) fn new(service: &Service, tls: Option<ServerTls>, door: &Door) -> Self {
        Self {
            answer: service.answer.clone(),
            fault: service.fault.filter(|fault| !fault.is_of_tls()),
            recv_size: service.recv_size(),
            timeout: service.timeout,
            messages: service.messages,
            pattern: matches!(service.answer, Answer::Source { .. }).then(|| Pattern::new(door)),
            hub: Hub::default(),
            tls,
        }
    }

    /// Returns what becomes of what a peer had sent that cannot be answered any more: it is read, but by a server that
    /// misbehaves as it is.
    pub(super) fn rest(&self) -> Rest {
        if self.fault.is_some() { Rest::Stays } else { Rest::IsRead(self.recv_size) }
    }

    /// Returns whether a peer that has had so many answers gets no more.
    pub(super) fn is_limit(&self, answers: u64) -> bool {
        self.messages.is_some_and(|most| answers >= most)
    }

    /// Returns whether connections are only answered, each at once, so that they need no task of their own.
    pub(super) fn is_plain(&self) -> bool {
        self.tls.is_none() && self.fault.is_none() && !matches!(self.answer, Answer::Source { .. } | Answer::Broker)
    }
}

thread_local! {
    /// What one recv gives, until it is answered. It is shared by all connections, so that an idle
    /// one owns no buffer.
    static RECEIVED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Begins the session that the rules say, after the header of the PROXY protocol where one has to come.
pub(super) fn start(open: &mut JoinSet<()>, stream: Stream, header: Header, rules: &Arc<Rules>) {
    let rules = Arc::clone(rules);
    if let Some(bound) = header {
        open.spawn(async move {
            // Boxed, so that the room for the header is free when it has come. What is wrong with it was
            // told, and is this connection's own.
            if let Ok(stream) = Box::pin(step::read_header(stream, bound)).await {
                session(stream, rules).await;
            }
        });
        return;
    }
    match (&rules.answer, rules.fault) {
        _ if rules.tls.is_some() => open.spawn(secured(stream, rules)),
        (Answer::Source { .. }, _) => open.spawn(source::answer(stream, rules)),
        (Answer::Broker, _) => open.spawn(broker::answer(stream, rules)),
        (_, Some(fault)) => open.spawn(fault::answer(stream, rules, fault)),
        (_, None) => open.spawn(answer(stream, rules)),
    };
}

/// Returns the same session in a box: a task that begins with a header knows late which it will be.
fn session(stream: Stream, rules: Arc<Rules>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    match rules.tls.is_some() {
        true => Box::pin(secured(stream, rules)),
        false => unsecured(stream, rules),
    }
}

/// Returns the session after TLS, or without it, in a box too.
fn unsecured(stream: Stream, rules: Arc<Rules>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    match (&rules.answer, rules.fault) {
        (Answer::Source { .. }, _) => Box::pin(source::answer(stream, rules)),
        (Answer::Broker, _) => Box::pin(broker::answer(stream, rules)),
        (_, Some(fault)) => Box::pin(fault::answer(stream, rules, fault)),
        (_, None) => Box::pin(answer(stream, rules)),
    }
}

/// Does the handshake of TLS, then begins the session that the rules say. Whoever does not come so
/// far keeps nobody else waiting.
async fn secured(stream: Stream, rules: Arc<Rules>) {
    let stream = match (&rules.tls, rules.fault) {
        // These are of what comes before TLS: the peer waits for its handshake in vain.
        (_, Some(Fault::Reset | Fault::Hang)) | (None, _) => stream,
        (Some(tls), _) => match stream.secure_accepted(tls).await {
            Ok(Some(stream)) => stream,
            Ok(None) | Err(_) => return,
        },
    };
    unsecured(stream, rules).await;
}

/// What a recv came to, and what was made of it.
pub(super) enum Taken<T> {
    /// Nothing had come.
    Nothing,
    /// The peer has closed its side.
    Eof,
    /// Something came.
    Data(T),
}

/// Takes what one recv gives, at most so many bytes, and makes something of it.
pub(super) fn take<T>(
    stream: &Stream,
    rules: &Rules,
    most: usize,
    make: impl FnOnce(&[u8]) -> T,
) -> Result<Taken<T>, Failed> {
    RECEIVED.with_borrow_mut(|buffer| {
        if buffer.len() != rules.recv_size.get() {
            // Zeroed pages come from the kernel when they are first used: a large size costs nothing.
            *buffer = vec![0; rules.recv_size.get()];
        }
        let most = most.min(buffer.len());
        Ok(match stream.recv(&mut buffer[..most])? {
            Recvd::Nothing => Taken::Nothing,
            Recvd::Eof => Taken::Eof,
            Recvd::Data(bytes) => Taken::Data(make(&buffer[..bytes])),
        })
    })
}

/// What one turn of a connection came to.
pub(super) enum Turn {
    /// It was answered, or needs no answer.
    Done { answered: bool },
    /// It was answered, and this could not be sent at once.
    Unsent(Vec<u8>),
}

/// Answers a peer until it ends, or a limit does. A failure is this connection's own.
fn answer(stream: Stream, rules: Arc<Rules>) -> impl Future<Output = ()> + Send {
    go_on(stream, rules, 0)
}

/// Goes on with a peer that has had so many answers.
#[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice, and ten thousand may wait")]
fn go_on(stream: Stream, rules: Arc<Rules>, mut answers: u64) -> impl Future<Output = ()> + Send {
    async move {
        let reason = loop {
            if let Err(after) = stream.readable_within(rules.timeout).await {
                stream.timeout(Step::Recv, after);
                break Reason::Timeout;
            }
            let answered = match turn(&stream, &rules) {
                Ok(Taken::Nothing) => continue,
                Ok(Taken::Eof) => break Reason::Eof,
                Ok(Taken::Data(Turn::Done { answered })) => answered,
                Ok(Taken::Data(Turn::Unsent(rest))) => {
                    match Box::pin(stream.send_all(&rest, rules.timeout, rules.rest())).await {
                        Ok(()) => true,
                        Err(failed) => break failed.reason(),
                    }
                }
                Err(failed) => break failed.reason(),
            };
            answers += u64::from(answered);
            if rules.is_limit(answers) {
                break Reason::Limit;
            }
        };
        stream.close(reason);
    }
}

/// Goes on with a peer that leaves the hall, when it has taken the rest of an answer.
pub(super) async fn finish(leaver: Leaver, rules: Arc<Rules>) {
    let Leaver { stream, answers, rest } = leaver;
    match stream.send_all(&rest, rules.timeout, rules.rest()).await {
        Ok(()) if rules.is_limit(answers + 1) => stream.close(Reason::Limit),
        Ok(()) => go_on(stream, rules, answers + 1).await,
        Err(failed) => stream.close(failed.reason()),
    }
}

/// Answers what was received, without waiting.
pub(super) fn answer_to(stream: &Stream, rules: &Rules, received: &[u8]) -> Result<Turn, Failed> {
    let Some(parts) = behaviour::reply(&rules.answer, received) else { return Ok(Turn::Done { answered: false }) };
    Ok(match stream.send(parts, rules.rest())? {
        Sent::All => Turn::Done { answered: true },
        Sent::Part(taken) => {
            stream.owe();
            Turn::Unsent(parts.concat().split_off(taken))
        }
    })
}

/// Takes what one recv gives and answers it, without waiting.
fn turn(stream: &Stream, rules: &Rules) -> Result<Taken<Turn>, Failed> {
    let taken = take(stream, rules, usize::MAX, |received| answer_to(stream, rules, received))?;
    Ok(match taken {
        Taken::Nothing => Taken::Nothing,
        Taken::Eof => Taken::Eof,
        Taken::Data(turn) => Taken::Data(turn?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a waiting connection keeps of this program's memory is, all in all, its task.
    #[test]
    fn an_idle_connection_is_small() {
        fn size<F: Future>(_: impl Fn(Stream, Arc<Rules>) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(answer) <= 256, "{} bytes", size(answer));
        let answer_badly = |stream, rules| fault::answer(stream, rules, Fault::Hang);
        assert!(size(answer_badly) <= 256, "{} bytes", size(answer_badly));
        assert!(size(source::answer) <= 256, "{} bytes", size(source::answer));
    }
}

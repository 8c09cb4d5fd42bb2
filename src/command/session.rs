//! One connection of a server, from accept to close.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::args::Answer;
use crate::behaviour;
use crate::error::Step;
use crate::event::Reason;
use crate::step::{Failed, Recvd, Sent, Stream};

/// What every connection of a server keeps to.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) answer: Answer,
    pub(super) recv_size: NonZeroUsize,
    pub(super) timeout: Option<Duration>,
    pub(super) messages: Option<u64>,
}

thread_local! {
    /// What one recv gives, until it is answered. It is shared by all connections, so that an idle
    /// one owns no buffer.
    static RECEIVED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What one turn of a connection came to.
enum Turn {
    /// Nothing had come.
    Nothing,
    /// It was answered, or needs no answer.
    Done { answered: bool },
    /// It was answered, and this could not be sent at once.
    Unsent(Vec<u8>),
    /// The peer has closed its side.
    Eof,
}

/// Answers a peer until it ends, or a limit does. A failure is this connection's own.
#[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice, and ten thousand may wait")]
pub(super) fn answer(stream: Stream, rules: Arc<Rules>) -> impl Future<Output = ()> + Send {
    async move {
        let reason = match until_end(&stream, &rules).await {
            Ok(reason) => reason,
            Err(failed) => failed.reason(),
        };
        stream.close(reason);
    }
}

async fn until_end(stream: &Stream, rules: &Rules) -> Result<Reason, Failed> {
    let mut answers = 0;
    loop {
        if let Err(after) = stream.readable_within(rules.timeout).await {
            stream.timeout(Step::Recv, after);
            return Ok(Reason::Timeout);
        }
        let answered = match turn(stream, rules)? {
            Turn::Nothing => continue,
            Turn::Eof => return Ok(Reason::Eof),
            Turn::Done { answered } => answered,
            Turn::Unsent(rest) => {
                Box::pin(stream.send_all(&rest, rules.timeout)).await?;
                true
            }
        };
        answers += u64::from(answered);
        if rules.messages.is_some_and(|most| answers >= most) {
            return Ok(Reason::Limit);
        }
    }
}

/// Takes what one recv gives and answers it, without waiting.
fn turn(stream: &Stream, rules: &Rules) -> Result<Turn, Failed> {
    RECEIVED.with_borrow_mut(|buffer| {
        if buffer.len() != rules.recv_size.get() {
            // Zeroed pages come from the kernel when they are first used: a large size costs nothing.
            *buffer = vec![0; rules.recv_size.get()];
        }
        let received = match stream.recv(buffer)? {
            Recvd::Nothing => return Ok(Turn::Nothing),
            Recvd::Eof => return Ok(Turn::Eof),
            Recvd::Data(bytes) => &buffer[..bytes],
        };
        let Some(parts) = behaviour::reply(&rules.answer, received) else {
            return Ok(Turn::Done { answered: false });
        };
        Ok(match stream.send(parts)? {
            Sent::All => Turn::Done { answered: true },
            Sent::Part(taken) => Turn::Unsent(parts.concat().split_off(taken)),
        })
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
    }
}

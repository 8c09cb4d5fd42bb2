//! `connect` with MESSAGEs: send each, wait for an answer, then close.

use std::time::Duration;

use super::Run;
use super::expectation::Expectation;
use crate::args::Connect;
use crate::error::{ExitCode, Step};
use crate::event::Reason;
use crate::step::{self, Cause, Failed, Recvd, Rest, Stream, now, within};

/// How the wait for an answer ended.
enum Answer {
    /// One recv gave it, or `--expect` matched.
    Whole,
    /// Something came, and `--expect` did not match it within the wait.
    Unmatched,
    /// The peer closed; whether something had come since the message.
    Eof { came: bool },
}

/// Sends the messages and awaits their answers, until the run is told to stop.
pub(super) async fn run(stream: Stream, connect: &Connect, run: &Run) -> Result<ExitCode, Failed> {
    let mut talk = Talk::new(&stream, connect);
    let ended = run.stop.unless(talk.messages()).await;
    let was_answered = ended.is_err() && talk.ends_wait();
    let Talk { matched, answered, end, .. } = talk;
    match ended {
        Ok(result) => close(stream, connect, matched, end, result),
        // An answer that does not match is one, whatever is left to be sent.
        Err(cause) if answered == connect.messages.len() || (was_answered && !matched) => {
            let code = verdict(&stream, connect, matched);
            stream.close(cause.reason());
            // All that was to be read was not.
            let is_cut = connect.until_eof && cause != Cause::Output && code == ExitCode::Ok;
            Ok(if is_cut { run.stopped(cause, "the peer had closed") } else { code })
        }
        Err(cause) => {
            stream.close(cause.reason());
            Ok(run.stopped(cause, if answered == 0 { "an answer came" } else { "all answers came" }))
        }
    }
}

/// Sends the messages and awaits their answers, all of them: whoever drops it cuts the connection
/// off.
pub(super) async fn whole(stream: Stream, connect: &Connect) -> Result<ExitCode, Failed> {
    let mut talk = Talk::new(&stream, connect);
    let result = talk.messages().await;
    let Talk { matched, end, .. } = talk;
    close(stream, connect, matched, end, result)
}

/// Closes the connection of a talk that has ended by itself, and returns what it came to.
fn close(
    stream: Stream,
    connect: &Connect,
    matched: bool,
    end: Reason,
    result: Result<(), Failed>,
) -> Result<ExitCode, Failed> {
    let result = result.map(|()| verdict(&stream, connect, matched));
    stream.close(match &result {
        Ok(_) => end,
        Err(failed) if end == Reason::Eof && failed.errno.is_none() => Reason::Eof,
        Err(failed) => failed.reason(),
    });
    result
}

/// Returns what a talk without a failed step came to.
fn verdict(stream: &Stream, connect: &Connect, matched: bool) -> ExitCode {
    if connect.expect.is_some() && !matched {
        stream.warn("expect-unmet", "no answer matched --expect");
        return ExitCode::No;
    }
    ExitCode::Ok
}

struct Talk<'a> {
    stream: &'a Stream,
    connect: &'a Connect,
    /// Whether an answer matched `--expect`.
    matched: bool,
    /// How many messages were answered.
    answered: usize,
    /// Whether something has come in the wait that goes on, and what is looked for in it.
    came: bool,
    expectation: Expectation<'a>,
    /// Why the connection ends, where no step fails.
    end: Reason,
    buffer: Vec<u8>,
}

impl<'a> Talk<'a> {
    fn new(stream: &'a Stream, connect: &'a Connect) -> Self {
        let expectation = Expectation::new(connect.expect.as_ref());
        Self {
            stream,
            connect,
            matched: false,
            answered: 0,
            came: false,
            expectation,
            end: Reason::Local,
            buffer: Vec::new(),
        }
    }

    /// Ends the wait that goes on, as its own time does: what has come in it is an answer. Returns whether
    /// anything has.
    fn ends_wait(&mut self) -> bool {
        let came = std::mem::take(&mut self.came);
        self.answered += usize::from(came);
        self.matched |= came && self.expectation.is_met();
        came
    }

    async fn messages(&mut self) -> Result<(), Failed> {
        self.buffer = vec![0; self.connect.recv_size.get()];
        // What went with the SYN is the begin of the first message.
        let carried = if self.connect.options.fast_open { self.stream.bytes() } else { 0 };
        let mut before = usize::try_from(carried).unwrap_or(0);
        for (number, message) in self.connect.messages.iter().enumerate() {
            self.stream.owe();
            self.delay().await?;
            let rest = &message[std::mem::take(&mut before).min(message.len())..];
            let unread = Rest::IsRead(self.connect.recv_size);
            self.stream.send_all(rest, Some(self.connect.patience.answer()), unread).await?;
            if number + 1 < self.connect.messages.len() {
                self.stream.owe();
            }
            let answer = self.answer().await?;
            self.answered += 1;
            self.came = false;
            match answer {
                Answer::Whole => self.end = Reason::Local,
                Answer::Unmatched => self.end = Reason::Timeout,
                // An answer that the peer's end cuts off counts where it is the last one.
                Answer::Eof { came: true } if self.answered == self.connect.messages.len() => return Ok(()),
                Answer::Eof { .. } => return Err(self.stream.cut_short("the peer closed before an answer")),
            }
        }
        if self.connect.until_eof {
            // Says that nothing more will be sent.
            let stream = self.stream;
            stream.shutdown_and(self.read_on()).await?;
        }
        Ok(())
    }

    /// Waits before a message, unless the peer closes meanwhile.
    async fn delay(&mut self) -> Result<(), Failed> {
        let Some(delay) = self.connect.send_delay else { return Ok(()) };
        let began = now();
        while let Some(left) = delay.checked_sub(step::since(began)) {
            match within(Some(left), self.stream.peer_closed()).await.transpose()? {
                None => break,
                Some(true) => {
                    // One recv makes a fact of it.
                    if self.stream.recv(&mut self.buffer)? == Recvd::Eof {
                        self.end = Reason::Eof;
                        return Err(self.stream.cut_short("the peer closed before the message was sent"));
                    }
                }
                Some(false) => {
                    // The peer spoke first: that stays for the answer, and hides its end.
                    step::sleep(delay.saturating_sub(step::since(began))).await;
                }
            }
        }
        Ok(())
    }

    /// Waits for the answer to one message: the whole wait is bounded, and each silence in it.
    async fn answer(&mut self) -> Result<Answer, Failed> {
        let patience = &self.connect.patience;
        let began = now();
        self.expectation = Expectation::new(self.connect.expect.as_ref());
        loop {
            let left = patience.timeout.max(patience.answer()).saturating_sub(step::since(began));
            // A peer that never stops would always be ready before a timer is.
            let received = match left.is_zero() {
                true => Err(step::since(began)),
                false => self.recv(left.min(patience.answer())).await?,
            };
            match received {
                Ok(Recvd::Nothing) => {}
                Ok(Recvd::Eof) => {
                    self.end = Reason::Eof;
                    self.matched |= self.came && self.expectation.is_open() && self.expectation.is_met();
                    return Ok(Answer::Eof { came: self.came });
                }
                Ok(Recvd::Data(bytes)) => {
                    self.came = true;
                    if self.expectation.feed(&self.buffer[..bytes]) {
                        self.matched = true;
                        return Ok(Answer::Whole);
                    }
                }
                Err(_) if self.came && self.expectation.is_met() => {
                    self.matched = true;
                    return Ok(Answer::Whole);
                }
                Err(_) if self.came => {
                    self.stream.timeout(Step::Recv, step::since(began));
                    return Ok(Answer::Unmatched);
                }
                Err(_) => return Err(self.stream.timed_out(Step::Recv, step::since(began))),
            }
        }
    }

    /// Reads to the peer's end.
    async fn read_on(&mut self) -> Result<(), Failed> {
        loop {
            match self.recv(self.connect.patience.answer()).await? {
                Ok(Recvd::Eof) => {
                    self.end = Reason::Eof;
                    return Ok(());
                }
                Ok(_) => {}
                Err(after) => return Err(self.stream.timed_out(Step::Recv, after)),
            }
        }
    }

    /// Takes what comes within a wait; the inner error is how long was waited in vain.
    async fn recv(&mut self, bound: Duration) -> Result<Result<Recvd, Duration>, Failed> {
        match self.stream.readable_within(Some(bound)).await {
            Ok(()) => self.stream.recv(&mut self.buffer).map(Ok),
            Err(after) => Ok(Err(after)),
        }
    }
}

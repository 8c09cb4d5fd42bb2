//! `connect` with MESSAGEs: send each, wait for an answer, then close.

use std::time::Instant;

use super::Run;
use crate::args::Connect;
use crate::error::{ExitCode, Step};
use crate::event::Reason;
use crate::step::{self, Failed, Recvd, Stream, now, within};

/// How the wait for an answer ended.
enum Answer {
    /// One recv gave it, or `--expect` matched.
    Whole,
    /// Something came, and `--expect` did not match it within the wait.
    Unmatched,
    /// The peer closed; whether something had come since the message.
    Eof { came: bool },
}

/// Sends the messages and awaits their answers.
pub(super) async fn run(stream: Stream, connect: &Connect, run: &Run) -> Result<ExitCode, Failed> {
    let mut talk = Talk { stream: &stream, connect, matched: false, at_eof: false, buffer: Vec::new() };
    let result = talk.messages().await;
    let reason = match &result {
        Ok(()) if talk.at_eof => Reason::Eof,
        Ok(()) => Reason::Local,
        Err(failed) if failed.errno.is_some() => Reason::Reset,
        Err(_) if talk.at_eof => Reason::Eof,
        Err(_) => Reason::Timeout,
    };
    let unmatched = connect.expect.is_some() && !talk.matched;
    stream.close(reason);
    result?;
    if unmatched {
        run.door.warn("expect-unmet", "no answer matched --expect");
        return Ok(ExitCode::No);
    }
    Ok(ExitCode::Ok)
}

struct Talk<'a> {
    stream: &'a Stream,
    connect: &'a Connect,
    /// Whether an answer matched `--expect`.
    matched: bool,
    at_eof: bool,
    buffer: Vec<u8>,
}

impl Talk<'_> {
    async fn messages(&mut self) -> Result<(), Failed> {
        self.buffer.resize(self.connect.recv_size.get(), 0);
        let last = self.connect.messages.len().saturating_sub(1);
        for (index, message) in self.connect.messages.iter().enumerate() {
            self.delay().await?;
            self.stream.send_all(message, Some(self.connect.patience.answer())).await?;
            match self.answer().await? {
                Answer::Whole | Answer::Unmatched => {}
                // An answer that the peer's end cuts off counts where it is the last one.
                Answer::Eof { came: true } if index == last => return Ok(()),
                Answer::Eof { .. } => return Err(self.stream.cut_short("the peer closed before an answer")),
            }
        }
        if self.connect.until_eof {
            self.read_on().await?;
        }
        Ok(())
    }

    /// Waits before a message, unless the peer closes meanwhile.
    async fn delay(&mut self) -> Result<(), Failed> {
        let Some(delay) = self.connect.send_delay else { return Ok(()) };
        let began = now();
        while let Some(left) = delay.checked_sub(began.elapsed()) {
            match within(Some(left), self.stream.peer_closed()).await {
                None => break,
                Some(true) => {
                    // One recv makes a fact of it.
                    if self.stream.recv(&mut self.buffer)? == Recvd::Eof {
                        self.at_eof = true;
                        return Err(self.stream.cut_short("the peer closed before the message was sent"));
                    }
                }
                Some(false) => {
                    // Data came before we spoke: it stays for the answer, and so hides the end.
                    step::sleep(delay.saturating_sub(began.elapsed())).await;
                }
            }
        }
        Ok(())
    }

    /// Waits for the answer to one message.
    async fn answer(&mut self) -> Result<Answer, Failed> {
        let began = now();
        let mut heard = Vec::new();
        loop {
            match self.recv(began).await {
                Ok(Recvd::Nothing) => {}
                Ok(Recvd::Eof) => {
                    self.at_eof = true;
                    return Ok(Answer::Eof { came: !heard.is_empty() });
                }
                Ok(Recvd::Data(bytes)) => {
                    let Some(expect) = &self.connect.expect else { return Ok(Answer::Whole) };
                    heard.extend_from_slice(&self.buffer[..bytes]);
                    if expect.is_match(&heard) {
                        self.matched = true;
                        return Ok(Answer::Whole);
                    }
                }
                Err(Wait::Over) if !heard.is_empty() => {
                    self.stream.timeout(Step::Recv, began.elapsed());
                    return Ok(Answer::Unmatched);
                }
                Err(Wait::Over) => return Err(self.stream.timed_out(Step::Recv, began.elapsed())),
                Err(Wait::Failed(failed)) => return Err(failed),
            }
        }
    }

    /// Says that nothing more will be sent, and reads to the peer's end.
    async fn read_on(&mut self) -> Result<(), Failed> {
        self.stream.shutdown()?;
        loop {
            let began = now();
            match self.recv(began).await {
                Ok(Recvd::Eof) => {
                    self.at_eof = true;
                    return Ok(());
                }
                Ok(_) => {}
                Err(Wait::Over) => return Err(self.stream.timed_out(Step::Recv, began.elapsed())),
                Err(Wait::Failed(failed)) => return Err(failed),
            }
        }
    }

    /// Takes what comes within what is left of the wait that began then.
    async fn recv(&mut self, began: Instant) -> Result<Recvd, Wait> {
        let left = self.connect.patience.answer().saturating_sub(began.elapsed());
        if within(Some(left), self.stream.readable()).await.is_none() {
            return Err(Wait::Over);
        }
        self.stream.recv(&mut self.buffer).map_err(Wait::Failed)
    }
}

/// Why a wait gave nothing.
enum Wait {
    Over,
    Failed(Failed),
}

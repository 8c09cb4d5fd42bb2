//! `udp-send` without MESSAGE: stdin, a datagram a read, to one peer, and what comes back.

use std::cell::Cell;

use super::Run;
use super::udp_send::{Account, LINGER};
use crate::args::UdpSend;
use crate::error::ExitCode;
use crate::step::{self, Cause, Drained, Failed, Fate, Receiver, Stdin, Udp, now, within};

/// The most bytes of a read that is one datagram, as nc -u has it.
const READ: usize = 16 << 10;

/// Sends what stdin gives, a datagram a read; what comes back is the report's to print. Returns why
/// the run was told to stop, too.
pub(super) async fn run(
    send: &UdpSend,
    udp: &Udp,
    stdin: Stdin,
    run: &Run,
) -> (Result<ExitCode, Failed>, Option<Cause>) {
    let ready = match udp.ready() {
        Ok(ready) => ready,
        Err(failed) => return (Err(failed), None),
    };
    let relay = Relay { send, udp, ready, account: Cell::default(), drained: Cell::default() };
    let mut receiver = Receiver::new(udp, usize::MAX, false, true).without_errors();
    let both = async {
        tokio::select! {
            sent = relay.upload(stdin, run) => sent?,
            failed = relay.download(&mut receiver, false) => failed?,
        }
        let bound = send.wait.unwrap_or(LINGER);
        let came = within(Some(bound), relay.download(&mut receiver, send.wait.is_some())).await;
        came.unwrap_or(Ok(()))
    };
    let (result, cause) = match run.stop.unless(both).await {
        Ok(result) => (result, None),
        Err(cause) => (Ok(()), Some(cause)),
    };
    receiver.end();
    let result = result.map(|()| match (relay.code(cause.is_some()), cause) {
        (ExitCode::NoAnswer, Some(cause)) => run.stopped(cause, "an answer came"),
        (code, _) => code,
    });
    (result, cause)
}

/// stdin to a peer, and what comes back.
struct Relay<'a> {
    send: &'a UdpSend,
    udp: &'a Udp,
    ready: step::Ready,
    account: Cell<Account>,
    /// What the error queue had.
    drained: Cell<Drained>,
}

impl Relay<'_> {
    /// Sends each read of stdin, until its end or as many as the words say.
    async fn upload(&self, stdin: Stdin, run: &Run) -> Result<(), Failed> {
        let (mut left, pause) = (self.send.count().unwrap_or(u64::MAX), self.send.pause());
        let mut chunks = stdin.start(&run.door, READ)?;
        let mut again = now();
        while left > 0
            && let Some(chunk) = chunks.next(&run.door).await?
        {
            step::sleep(again.saturating_duration_since(now())).await;
            loop {
                let relayed = self.udp.send_one(&chunk)?;
                self.note(relayed.drained);
                match relayed.fate {
                    Fate::Sent => self.book(|account| account.sent(1)),
                    Fate::NotSent => {}
                    // A pipe is read no faster than the kernel takes it.
                    Fate::NoRoom => {
                        self.ready.wait_for_room().await;
                        continue;
                    }
                }
                break;
            }
            again = now() + pause;
            left -= 1;
        }
        Ok(())
    }

    /// Takes what comes back: without an end, or until each that was sent is answered or refused.
    async fn download(&self, receiver: &mut Receiver<'_>, until_answered: bool) -> Result<(), Failed> {
        while !(until_answered && self.account.get().is_settled()) {
            self.ready.wait().await;
            self.note(self.udp.take_errors());
            loop {
                match receiver.take(u64::MAX, None)? {
                    0 => break,
                    came => self.came(came),
                }
            }
        }
        Ok(())
    }

    fn note(&self, drained: Drained) {
        self.drained.set(self.drained.get().and(drained));
        self.came(0);
    }

    fn came(&self, came: u64) {
        self.book(|account| account.came(came, self.drained.get().refusals));
    }

    fn book(&self, book: impl FnOnce(&mut Account)) {
        let mut account = self.account.get();
        book(&mut account);
        self.account.set(account);
    }

    /// Returns what the run comes to.
    fn code(&self, is_stopped: bool) -> ExitCode {
        let Account { sent, came, .. } = self.account.get();
        match (self.drained.get().code, self.send.wait) {
            (_, Some(_)) if came > 0 => {
                if came < sent {
                    ExitCode::No
                } else {
                    ExitCode::Ok
                }
            }
            (Some(refused), _) => refused,
            (None, Some(_)) if sent > 0 && is_stopped => ExitCode::NoAnswer,
            (None, Some(wait)) if sent > 0 => self.udp.timed_out(wait).code,
            (None, _) => ExitCode::Ok,
        }
    }
}

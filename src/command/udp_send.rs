//! `udp-send`: resolve, then send datagrams: once, at a rate, as fast as the kernel takes them, or
//! to measure the way.

use std::time::{Duration, Instant};

use super::udp_listen::RECV_BUFFER;
use super::{Run, udp_relay};
use crate::args::{Pacing, SocketOptions, UdpSend};
use crate::error::{ExitCode, Step};
use crate::event::{Kind, Reason};
use crate::step::{
    self, Cause, ExactWait, Extras, Failed, Halt, MOST_SPIN, Receiver, Schedule, Sending, Udp, UdpWords, Woken, now,
    since,
};

/// How long ICMP errors are waited for after the last send, where no answer is.
pub(super) const LINGER: Duration = Duration::from_millis(50);

/// How often it is looked at what came back, while datagrams are sent so fast that there is no wait
/// between them.
const LOOK: Duration = Duration::from_millis(1);

/// The send buffer that is asked for where datagrams are sent fast, in bytes.
const SEND_BUFFER: u32 = 4 << 20;

/// The most datagrams a second that go and are looked after one by one: the kernel stamps the
/// departure of each, and tells which it has no room for. Of a buffer that it cuts (UDP_SEGMENT) it
/// says that it took it also where the device then drops some of it.
const SLOW: f64 = 20_000.0;

/// Walks a sender through its life.
pub async fn run(send: UdpSend, mut run: Run) -> ExitCode {
    let stdin = run.stdin.take();
    let opened = match run.stop.unless(open(&send, &run)).await {
        Ok(opened) => opened,
        Err(cause) => return run.stopped(cause, "anything was sent"),
    };
    let udp = match opened {
        Ok(udp) => udp,
        Err(failed) => return failed.code,
    };
    if let Some(cause) = run.stop.cause() {
        udp.close(cause.reason());
        return run.stopped(cause, "anything was sent");
    }
    match stdin {
        Some(stdin) if send.is_relay() => {
            let (result, cause) = udp_relay::run(&send, &udp, stdin, &run).await;
            udp.close(cause.map_or(Reason::Local, Cause::reason));
            result.unwrap_or_else(|failed| failed.code)
        }
        _ => walk(send, udp, &run).await,
    }
}

async fn open(send: &UdpSend, run: &Run) -> Result<Udp, Failed> {
    let (host, port) = &send.target;
    let addresses = step::resolve_host(&run.door, host, *port, send.output.family(), send.resolve_timeout).await?;
    let source = step::source_address(&run.door, &send.options)?;
    let measures = send.measures();
    let wants_events = run.door.wants(Kind::Recv);
    let extras = Extras {
        arrival: wants_events,
        header: wants_events || measures,
        receive_time: wants_events || measures,
        send_time: measures && is_slow(send),
        device_time: false,
        merged: false,
    };
    let send_buffer = match send.pacing() {
        Pacing::Interval(_) => send.options.send_buffer,
        Pacing::Rate(_) | Pacing::Flood => send.options.send_buffer.or(Some(SEND_BUFFER)),
    };
    // What this host drops of the answers would be taken for the network's loss.
    let recv_buffer = send.options.recv_buffer.or(measures.then_some(RECV_BUFFER));
    let options = SocketOptions { send_buffer, recv_buffer, ..send.options.clone() };
    let words = UdpWords {
        options: &options,
        extras,
        broadcast: send.broadcast,
        multicast_interface: send.multicast_interface.as_deref(),
        source: source.as_ref(),
    };
    step::udp_sender(&run.door, &addresses, &words).await
}

/// Returns whether datagrams are sent no faster than each can be looked after.
fn is_slow(send: &UdpSend) -> bool {
    match send.pacing() {
        Pacing::Interval(interval) => interval.as_secs_f64() * SLOW >= 1.0,
        Pacing::Rate(rate) => rate <= SLOW,
        Pacing::Flood => false,
    }
}

/// Sends what the words say, on a thread of its own.
async fn walk(send: UdpSend, udp: Udp, run: &Run) -> ExitCode {
    let walked = step::on_thread(&run.door, &run.stop, Step::Send, move |halt| {
        let patience = send.answer_within();
        let mut sending = Sending::new(&udp, &send.load, !send.no_gso && !is_slow(&send), patience);
        if send.pacing() == Pacing::Flood {
            sending = sending.without_numbers();
        }
        let mut walk = Walk {
            send: &send,
            udp: &udp,
            halt,
            account: Account::default(),
            unanswered: 0,
            lingered: Duration::ZERO,
            looked: now(),
        };
        let result = walk.run(&mut sending);
        let waiting = sending.give_up();
        let code = walk.code(&sending, result);
        drop(sending);
        (code, udp, waiting)
    });
    match walked.await {
        Ok(((code, udp, _), None)) => {
            udp.close(Reason::Local);
            code
        }
        Ok(((code, udp, waiting), Some(cause))) => {
            run.door.ends(cause);
            udp.close(cause.reason());
            match (code, waiting) {
                (ExitCode::NoAnswer, _) => run.stopped(cause, "an answer came"),
                (_, 0) => code,
                // Nobody has waited long enough to know.
                (_, waiting) => {
                    run.stopped(cause, &format!("answers to {waiting} test packets came: they count as lost"));
                    code
                }
            }
        }
        Err(failed) => failed.code,
    }
}

/// What was sent, and what came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    /// Datagrams that the kernel took.
    pub(super) sent: u64,
    /// Datagrams that came.
    pub(super) came: u64,
    /// Datagrams that were refused, as far as is known.
    refused: u64,
    /// Whether more had come before one was sent than had been sent: then their number does not tell whether
    /// that one is answered.
    has_more: bool,
}

impl Account {
    /// Adds what the kernel took.
    pub(super) fn sent(&mut self, sent: u64) {
        self.has_more |= self.came + self.refused > self.sent;
        self.sent += sent;
    }

    /// Adds what came since, and how many were refused by now.
    pub(super) fn came(&mut self, came: u64, refused: u64) {
        self.came += came;
        self.refused = refused;
    }

    /// Returns whether all are answered or refused.
    pub(super) fn is_settled(&self) -> bool {
        !self.has_more && self.came + self.refused >= self.sent
    }
}

struct Walk<'a> {
    send: &'a UdpSend,
    udp: &'a Udp,
    halt: &'a Halt,
    account: Account,
    /// Datagrams that were refused, or that nobody answered within `--wait`, each waited for by
    /// itself.
    unanswered: u64,
    /// How long was waited after the last send.
    lingered: Duration,
    /// When it was last looked at what came back.
    looked: Instant,
}

impl Walk<'_> {
    fn run(&mut self, sending: &mut Sending<'_>) -> Result<(), Failed> {
        let mut receiver = Receiver::new(self.udp, usize::MAX, false, true).without_errors();
        let result = self.send_all(sending, &mut receiver).and_then(|()| self.linger(sending, &mut receiver));
        // Of test packets the sending itself tells it.
        if !self.send.measures() {
            receiver.end();
        }
        result
    }

    /// Sends all that is to be sent.
    fn send_all(&mut self, sending: &mut Sending<'_>, receiver: &mut Receiver<'_>) -> Result<(), Failed> {
        let count = self.send.count().unwrap_or(u64::MAX);
        match self.send.pacing() {
            Pacing::Flood => self.flood(sending, receiver, count),
            Pacing::Rate(rate) => self.paced(sending, receiver, Schedule::at_rate(rate, now()), count),
            Pacing::Interval(interval) => {
                self.paced(sending, receiver, Schedule::with_interval(interval, now()), count)
            }
        }
    }

    /// Sends as fast as the kernel takes them.
    fn flood(&mut self, sending: &mut Sending<'_>, receiver: &mut Receiver<'_>, count: u64) -> Result<(), Failed> {
        /// How many calls go between two looks at what came back.
        const CALLS: u64 = 64;
        let mut calls = 0;
        while sending.passed() < count && !self.halt.is_set() {
            let sent = match sending.send(count - sending.passed(), None) {
                Ok(sent) => sent,
                // Where some went it may pass, as that of a link that is down for a moment does.
                Err(failed) if self.account.sent == 0 => return Err(failed),
                Err(_) => 0,
            };
            self.account.sent(sent);
            calls += 1;
            if sent == 0 {
                sending.wait_for_room(self.halt, LINGER);
                if sending.code().is_some() {
                    self.udp.wait(self.halt, Some(LOOK));
                }
            }
            if calls % CALLS == 0 {
                self.look(sending, receiver)?;
            }
        }
        Ok(())
    }

    /// Sends each datagram at its time.
    fn paced(
        &mut self,
        sending: &mut Sending<'_>,
        receiver: &mut Receiver<'_>,
        mut schedule: Schedule,
        count: u64,
    ) -> Result<(), Failed> {
        let mut wait = ExactWait::default();
        while sending.passed() < count {
            let due = loop {
                let due = schedule.due(now());
                if due > 0 {
                    break due;
                }
                let next = schedule.next_at();
                // A loss is said when it is one, not when the next is sent, unless that is about to be.
                let woken = match sending.expires_at().filter(|expires| *expires + MOST_SPIN < next) {
                    Some(expires) => self.udp.wait(self.halt, Some(expires.saturating_duration_since(now()))),
                    None => match self.udp.wait_till_near(&mut wait, self.halt, next) {
                        Woken::Time => continue,
                        woken => woken,
                    },
                };
                match woken {
                    Woken::Halted => return Ok(()),
                    Woken::Time | Woken::Ready { .. } => self.look(sending, receiver)?,
                }
            };
            if self.halt.is_set() {
                return Ok(());
            }
            let due = due.min(count - sending.passed()).min(sending.batch());
            // One that waits for an answer sends no second before it.
            let due = if self.is_lockstep() { 1 } else { due };
            let lateness = schedule.pass(due, now());
            // What the kernel did not take is told, and its time is over.
            let sent = sending.send(due, schedule.has_times().then_some(lateness)).unwrap_or(0);
            self.account.sent(sent);
            if self.is_lockstep() && sent > 0 {
                self.answer(sending, receiver)?;
                schedule.not_before(now());
            } else if since(self.looked) >= LOOK {
                self.look(sending, receiver)?;
            }
        }
        Ok(())
    }

    /// Returns whether an answer to each datagram is waited for before the next.
    fn is_lockstep(&self) -> bool {
        self.send.wait.is_some() && !self.send.measures() && matches!(self.send.pacing(), Pacing::Interval(_))
    }

    /// Takes what has come back so far.
    fn look(&mut self, sending: &mut Sending<'_>, receiver: &mut Receiver<'_>) -> Result<(), Failed> {
        self.looked = now();
        if self.send.measures() {
            return sending.take_answers();
        }
        sending.take_errors();
        let mut all = 0;
        loop {
            match receiver.take(u64::MAX, None)? {
                0 => break,
                came => all += came,
            }
        }
        self.account.came(all, sending.refusals());
        Ok(())
    }

    /// Waits for the answer to the datagram that was sent last, or for a refusal.
    fn answer(&mut self, sending: &mut Sending<'_>, receiver: &mut Receiver<'_>) -> Result<(), Failed> {
        let (bound, began) = (self.send.wait.unwrap_or_default(), now());
        loop {
            if sending.take_errors() {
                self.unanswered += 1;
                return Ok(());
            }
            let came = receiver.take(u64::MAX, None)?;
            self.account.came(came, sending.refusals());
            if came > 0 {
                return Ok(());
            }
            let left = bound.saturating_sub(since(began));
            if left.is_zero() {
                self.unanswered += 1;
                self.udp.timeout(since(began));
                return Ok(());
            }
            if self.udp.wait(self.halt, Some(left)) == Woken::Halted {
                self.unanswered += 1;
                return Ok(());
            }
        }
    }

    /// Waits after the last send: for answers as long as the words say, for ICMP errors in any case.
    fn linger(&mut self, sending: &mut Sending<'_>, receiver: &mut Receiver<'_>) -> Result<(), Failed> {
        let bound = match self.send.wait {
            _ if self.send.measures() => self.send.answer_within(),
            _ if self.is_lockstep() => Duration::ZERO,
            wait => wait.unwrap_or(LINGER),
        };
        let began = now();
        let until = began + bound;
        loop {
            self.look(sending, receiver)?;
            self.lingered = since(began);
            let is_done = match self.send.wait {
                _ if self.send.measures() => sending.is_settled(),
                Some(_) => self.account.is_settled(),
                None => sending.refusals() >= self.account.sent,
            };
            let left = until.saturating_duration_since(now());
            if is_done || left.is_zero() || self.halt.is_set() {
                return Ok(());
            }
            let left = sending.expires_at().map_or(left, |at| left.min(at.saturating_duration_since(now())));
            if self.udp.wait(self.halt, Some(left)) == Woken::Halted {
                return Ok(());
            }
        }
    }

    /// Reports that nobody answered, and returns what that comes to. Where each was waited for by
    /// itself, that has been told of each; and a run that was told to stop has waited for nothing.
    fn silence(&self) -> ExitCode {
        match (self.halt.is_set(), self.is_lockstep()) {
            (true, _) => ExitCode::NoAnswer,
            (false, true) => self.udp.no_answer(self.send.answer_within()).code,
            (false, false) => self.udp.timed_out(self.lingered).code,
        }
    }

    /// Returns what the run comes to.
    fn code(&self, sending: &Sending<'_>, result: Result<(), Failed>) -> ExitCode {
        if let Err(failed) = result {
            return failed.code;
        }
        let Account { sent, came, .. } = self.account;
        let waits = self.send.wait.is_some() || self.send.measures();
        let has_answer = if self.send.measures() { sending.is_answered() } else { came > 0 };
        // Whoever waits for each in turn knows of each; else as many answers as sends are wanted.
        let is_whole = self.unanswered == 0 && (self.is_lockstep() || self.send.measures() || came >= sent);
        let code = match (sending.refused(), waits, has_answer) {
            (_, true, true) if !is_whole => ExitCode::No,
            (_, true, true) => ExitCode::Ok,
            (Some(refused), ..) => refused,
            (None, true, false) if sent > 0 => self.silence(),
            (None, ..) => ExitCode::Ok,
        };
        match sending.code() {
            Some(failed) if sent == 0 => failed,
            // Some went, some did not.
            Some(failed) => failed.and(code),
            None => code,
        }
    }
}

//! The sending end of a measurement: STAMP test packets, and what becomes of each (RFC 8762, 4.2).

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::drops::Drops;
use super::queue::{About, is_of_icmp};
use super::reflect::clock_error;
use super::{Udp, shown};
use crate::event::{self, Arrival, Legs};
use crate::packet::stamp::{ErrorEstimate, LEN, Reply, TestPacket, Timestamp};
use crate::step::Failed;
use crate::step::order::Order;
use crate::step::trip::{Moment, trip, wall_clock};
use crate::sys::RecvBatch;

/// How many test packets are known back, answered or not: some 48 MiB.
const KNOWN: usize = 1 << 20;

/// Most answers of one recvmmsg(2).
const SLOTS: usize = 32;

/// Room for an answer, in bytes: more than its fields is only counted.
const ROOM: usize = 64;

/// Test packets, and what became of them.
pub(super) struct Probes {
    size: usize,
    /// Whether they are answered.
    reflects: bool,
    patience: Duration,
    /// Tells our answers from those to others (SSID, RFC 8972).
    session: u16,
    error: ErrorEstimate,
    packets: Vec<Vec<u8>>,
    /// When the packets that were made last were.
    times: Vec<Moment>,
    batch: RecvBatch,
    /// What this host dropped of the answers: the network has not lost that.
    drops: Drops,
    /// What is known of the packets from `first` on.
    known: VecDeque<Probe>,
    first: u64,
    /// The first whose time has not run out.
    waits: u64,
    /// How many have no end yet.
    open: u64,
    answered: u64,
    /// One more than the greatest number that was answered.
    highest: u64,
    /// Whether an answer had another number than its packet: the reflector is a stateful one.
    is_stateful: bool,
    order: Order,
    /// The numbers that the reflector gave its answers.
    reflected: Order,
    /// The kernel's stamps have the numbers of the packets below this.
    stamped: u64,
}

/// One test packet.
#[derive(Clone, Copy, Debug)]
struct Probe {
    sent: Instant,
    /// When it was made: T1, as it is in the packet.
    made: Moment,
    /// When the kernel sent it.
    left: Option<u64>,
    state: State,
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Answered,
    Refused,
    Lost,
}

impl Probes {
    pub(super) fn new(size: usize, reflects: bool, patience: Duration) -> Self {
        let (time, process) = (wall_clock(), std::process::id());
        Self {
            size,
            reflects,
            patience,
            // Any but 0, which is none: two at once on one host have different ports as well.
            session: (time ^ (time >> 16) ^ u64::from(process)) as u16 | 1,
            error: clock_error(),
            packets: Vec::new(),
            times: Vec::new(),
            batch: RecvBatch::new(SLOTS, ROOM, true),
            drops: Drops::new(),
            known: VecDeque::new(),
            first: 0,
            waits: 0,
            open: 0,
            answered: 0,
            highest: 0,
            is_stateful: false,
            order: Order::new(),
            reflected: Order::new(),
            stamped: u64::MAX,
        }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Makes the packets from a number on.
    pub(super) fn make(&mut self, first: u64, count: usize) {
        while self.packets.len() < count {
            self.packets.push(vec![0; self.size.max(LEN)]);
        }
        self.times.clear();
        for (index, packet) in self.packets.iter_mut().enumerate().take(count) {
            let made = Moment::now();
            let test = TestPacket {
                // Its last 32 bits: it goes on after that.
                sequence: (first + index as u64) as u32,
                sent: Timestamp::ntp(made.wall),
                error: self.error,
                session: self.session,
            };
            let _written = test.write(packet);
            self.times.push(made);
        }
    }

    pub(super) fn packet(&self, index: usize) -> &[u8] {
        &self.packets[index]
    }

    /// Takes note that so many of the packets that were made last were sent. Of the oldest nothing
    /// is known any more, where they are too many: what would answer them would be foreign.
    pub(super) fn sent(&mut self, udp: &Udp, count: usize, sent: Instant) {
        if !self.reflects {
            return;
        }
        while self.known.len() + count > KNOWN {
            let Some(oldest) = self.known.front().copied() else { break };
            if oldest.state == State::Open {
                self.lose(udp, self.first, sent.saturating_duration_since(oldest.sent));
            }
            self.known.pop_front();
            self.first += 1;
        }
        for made in &self.times[..count] {
            self.known.push_back(Probe { sent, made: *made, left: None, state: State::Open });
        }
        self.open += count as u64;
    }

    pub(super) fn is_settled(&self) -> bool {
        self.open == 0
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answered > 0
    }

    /// Returns the whole number of which these are the last 32 bits: it is not beyond what was sent.
    fn number(&self, sequence: u32) -> Option<u64> {
        let next = self.first + self.known.len() as u64;
        let behind = (next as u32).wrapping_sub(sequence);
        next.checked_sub(u64::from(behind)).filter(|number| (self.first..next).contains(number))
    }

    fn probe(&mut self, number: u64) -> Option<&mut Probe> {
        self.known.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Takes note that from a number on the kernel's stamps may be of others: what it dropped for
    /// want of room it has numbered all the same (SOF_TIMESTAMPING_OPT_ID).
    pub(super) fn not_sent(&mut self, number: u64) {
        self.stamped = self.stamped.min(number);
    }

    pub(super) fn left(&mut self, id: u32, kernel_time: u64) {
        let number = self.number(id).filter(|number| *number < self.stamped);
        if let Some(probe) = number.and_then(|number| self.probe(number)) {
            probe.left = Some(kernel_time);
        }
    }

    pub(super) fn refused(&mut self, quoted: &[u8]) -> About {
        self.refuse(quoted).unwrap_or(About::UNKNOWN)
    }

    fn refuse(&mut self, quoted: &[u8]) -> Option<About> {
        let test = TestPacket::read(quoted)?;
        let number = self.number(test.sequence)?;
        let probe = self.probe(number)?;
        if Timestamp::ntp(probe.made.wall) != test.sent {
            return None;
        }
        let (sent, is_end) = (probe.sent, probe.state == State::Open);
        if is_end {
            probe.state = State::Refused;
            self.open -= 1;
        }
        Some(About { datagram: Some((number, sent)), is_end })
    }

    /// Takes the answers that have come, and says which packets are lost by now.
    pub(super) fn take(&mut self, udp: &Udp) -> Result<(), Failed> {
        loop {
            let count = match self.batch.recv(udp.fd(), SLOTS, false) {
                Ok(count) => count,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => break,
                // The error queue tells more of it.
                Err(error) if is_of_icmp(&error) => break,
                Err(error) => return Err(udp.recv_failed(&error)),
            };
            for index in 0..count {
                self.answer(udp, index);
            }
            if count < SLOTS {
                break;
            }
        }
        self.drops.look_again(udp);
        self.expire(udp, Instant::now());
        Ok(())
    }

    fn answer(&mut self, udp: &Udp, index: usize) {
        let received = self.batch.get(index);
        let (bytes, hops, kernel_time) = (received.true_bytes, received.hops, received.kernel_time);
        let from = shown(&received.from);
        udp.count_received(bytes);
        let came = Moment::now();
        let reply = Reply::read(received.data).filter(|reply| [0, self.session].contains(&reply.test.session));
        let Some((reply, number)) = reply.and_then(|reply| Some((reply, self.number(reply.test.sequence)?))) else {
            return foreign(udp, &from);
        };
        // The quoted time is a nonce of 64 bits.
        let is_of = |probe: &Probe| Timestamp::ntp(probe.made.wall) == reply.test.sent;
        let Some(probe) = self.probe(number).filter(|probe| is_of(probe)).copied() else {
            return foreign(udp, &from);
        };
        let trip = trip(probe.made, probe.left, kernel_time, came);
        // It cannot have been there for longer than it was away, nor for less than no time.
        let there = reply.sent.ns().checked_sub(reply.received.ns()).map(Duration::from_nanos);
        let there = there.filter(|there| *there <= trip.took);
        if there.is_none() {
            let message = format!(
                "{from} says of an answer that it was there for longer than the whole trip took, or for less than no time: the time there is contained in these round trips"
            );
            udp.door.warn_once("reflector-clock", &message);
        }
        if probe.state == State::Open && trip.took >= self.patience {
            // It came after its time, though nobody has looked since.
            self.lose(udp, number, trip.took);
        }
        let Some(known) = self.probe(number) else { return };
        let state = std::mem::replace(&mut known.state, State::Answered);
        self.highest = self.highest.max(number + 1);
        self.is_stateful |= reply.sequence != reply.test.sequence;
        // A copy of an answer has its number, an answer to a copy has another.
        let is_copy = self.reflected.arrive(reply.sequence) == Arrival::Duplicate;
        let legs =
            trip.times.map(|(sent, came)| Legs { sent, reached: reply.received.ns(), answered: reply.sent.ns(), came });
        let event = event::Reply {
            target: udp.target(),
            from: &from,
            sequence: number,
            bytes: bytes as u64,
            ttl: hops,
            rtt: trip.took - there.unwrap_or_default(),
            queued: trip.queued,
            reflector: there,
            reflector_sequence: Some(u64::from(reply.sequence)),
            answer: None,
            clock: trip.clock,
            number: 0,
            hops: None,
            arrival: (state != State::Answered).then(|| self.order.arrive(reply.test.sequence)),
            reached_twice: state == State::Answered && !is_copy,
            was_refused: state == State::Refused,
            legs: legs.filter(|_| state != State::Answered),
        };
        match state {
            State::Open => {
                self.open -= 1;
                self.answered += 1;
                udp.door.tell(event);
            }
            // A refusal was only a part of the truth: something has answered all the same.
            State::Refused if trip.took < self.patience => {
                self.answered += 1;
                udp.door.tell(event);
            }
            State::Lost | State::Refused => {
                self.answered += 1;
                udp.door.tell(event::Late(event));
            }
            State::Answered => udp.door.tell(event::Duplicate(event)),
        }
    }

    /// Says which packets have waited too long.
    fn expire(&mut self, udp: &Udp, now: Instant) {
        while let Some((number, sent)) = self.oldest() {
            let after = now.saturating_duration_since(sent);
            if after < self.patience {
                return;
            }
            self.lose(udp, number, after);
        }
    }

    /// Returns when the next packet has waited too long, where one waits.
    pub(super) fn expires_at(&mut self) -> Option<Instant> {
        self.oldest().map(|(_, sent)| sent + self.patience)
    }

    pub(super) fn give_up(&mut self, udp: &Udp) -> u64 {
        let waiting = self.open;
        // Where nothing answers, whoever takes what comes all the same looks.
        if self.reflects {
            self.drops.look(udp);
        }
        let now = Instant::now();
        while let Some((number, sent)) = self.oldest() {
            self.lose(udp, number, now.saturating_duration_since(sent));
        }
        if self.highest > self.answered && !self.is_stateful {
            let message = "each answer has the number of its test packet, as those of a stateless reflector do: \
                of such a one nobody knows on which way it was lost, and lost_back has all";
            udp.door.warn_once("loss-way-unknown", message);
        }
        waiting
    }

    /// Returns the packet that has waited longest, and when it was sent.
    fn oldest(&mut self) -> Option<(u64, Instant)> {
        self.waits = self.waits.max(self.first);
        loop {
            let probe = self.probe(self.waits)?;
            if probe.state == State::Open {
                let sent = probe.sent;
                return Some((self.waits, sent));
            }
            self.waits += 1;
        }
    }

    /// Says of a packet that waits that it is lost.
    fn lose(&mut self, udp: &Udp, number: u64, after: Duration) {
        let Some(probe) = self.probe(number) else { return };
        probe.state = State::Lost;
        self.open -= 1;
        udp.door.tell(event::Lost { target: udp.target(), sequence: number, after, number: 0 });
    }
}

/// Reports what is no answer to a test packet of ours.
fn foreign(udp: &Udp, from: &crate::address::Address) {
    udp.door
        .warn_once("foreign-answer", &format!("{from} sent what is no answer to a test packet of ours: not counted"));
}

//! The fold of what datagrams and probes come to: sent, answered, lost, late, twice, out of order.

use std::time::Duration;

use super::{Distribution, Variation};
use crate::error::Step;
use crate::event::{self, Arrival, Event, Measured, Reply, Totals};

/// What the datagrams of a run, or the probes to one target, come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Datagrams {
    /// Given to the kernel.
    sent: u64,
    /// When the first and the last were, since the program started.
    span: Option<(Duration, Duration)>,
    not_sent: u64,
    received: u64,
    truncated: u64,
    lateness: Distribution,
    /// Answers in time.
    answered: u64,
    /// Of what was said to be lost, what came later.
    late: u64,
    lost: u64,
    refused: u64,
    icmp_errors: u64,
    /// ICMP errors of which it is not known what they are about.
    unattributed: u64,
    duplicates: u64,
    rtt: Distribution,
    order: Ordering,
    out: Variation,
    back: Variation,
    reflector: Reflector,
    sessions: Vec<Session>,
    kernel_drops: Option<u64>,
    kernel_drop_buffers: Option<u64>,
    dropped_events: u64,
}

/// In what order numbered packets came.
#[derive(Clone, Copy, Debug, Default)]
struct Ordering {
    once: u64,
    missing: u64,
    reordered: u64,
    extent_max: u64,
    duplicates: u64,
    stale: u64,
}

impl Ordering {
    fn add(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Next { gap } => {
                self.once += 1;
                self.missing += gap;
            }
            Arrival::Reordered { extent } => {
                self.once += 1;
                self.reordered += 1;
                self.extent_max = self.extent_max.max(extent);
                // It had been missing until now.
                self.missing = self.missing.saturating_sub(1);
            }
            Arrival::Duplicate => self.duplicates += 1,
            Arrival::Stale => self.stale += 1,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            once: self.once + other.once,
            missing: self.missing + other.missing,
            reordered: self.reordered + other.reordered,
            extent_max: self.extent_max.max(other.extent_max),
            duplicates: self.duplicates + other.duplicates,
            stale: self.stale + other.stale,
        }
    }
}

/// What the answers of a stateful reflector tell of the way there: it numbers what reaches it.
#[derive(Clone, Copy, Debug, Default)]
struct Reflector {
    /// One more than the greatest number of an answer.
    reached: u64,
    /// One more than the greatest number of ours that was answered.
    answered: u64,
    /// Datagrams of ours that reached it twice: answered twice, with two numbers.
    twice: u64,
}

/// A sender of numbered datagrams.
#[derive(Clone, Debug)]
struct Session {
    name: String,
    number: Option<u16>,
    order: Ordering,
    variation: Variation,
}

impl Datagrams {
    /// Adds one event, where it is about datagrams.
    pub(super) fn record(&mut self, elapsed: Duration, event: &Event<'_>) {
        match event {
            Event::Send(send) => {
                self.sent += send.datagrams;
                self.span = Some((self.span.map_or(elapsed, |(first, _)| first), elapsed));
                if let Some(late) = send.lateness {
                    for index in 0..usize::try_from(send.datagrams).unwrap_or(usize::MAX) {
                        self.lateness.record(late.of(index).first);
                    }
                }
            }
            Event::NotSent(not_sent) => self.not_sent += not_sent.datagrams,
            Event::Recv(recv) => {
                self.received += recv.datagrams;
                self.truncated += recv.cut + u64::from(recv.truncated == Some(true));
                recv.measured.iter().flatten().for_each(|measured| self.measure(measured));
            }
            Event::Reply(reply) => {
                self.answered += 1;
                self.refused = self.refused.saturating_sub(u64::from(reply.was_refused));
                self.answer(reply);
            }
            Event::Late(event::Late(reply)) => {
                self.late += 1;
                // It had been counted as another end until now.
                let before = if reply.was_refused { &mut self.refused } else { &mut self.lost };
                *before = before.saturating_sub(1);
                self.answer(reply);
            }
            Event::Duplicate(event::Duplicate(reply)) => {
                self.duplicates += 1;
                self.reflector.duplicate(reply);
            }
            Event::Lost(_) => self.lost += 1,
            Event::IcmpError(error) => {
                self.icmp_errors += 1;
                self.refused += u64::from(error.refuses);
                self.unattributed += u64::from(error.sequence.is_none());
            }
            // A datagram that was to go to one peer of many.
            Event::Error(error) if error.step == Step::Send => self.not_sent += 1,
            Event::Session(session) => self.sessions.push(Session {
                name: session.peer.to_string(),
                number: session.session,
                order: Ordering::default(),
                variation: Variation::default(),
            }),
            Event::KernelDrops(drops) => {
                self.kernel_drops = drops.kernel_drops;
                self.kernel_drop_buffers = drops.kernel_drop_buffers;
            }
            _ => {}
        }
    }

    /// Returns how many datagrams that we send have their end, those that never went among them. Where each is to
    /// be answered, that is an answer, or that there is none.
    pub(super) fn ended(&self, are_answered: bool) -> u64 {
        let gone = if are_answered { self.answered + self.late + self.lost + self.refused } else { self.sent };
        gone + self.not_sent
    }

    /// Counts events that nobody was told of.
    pub(super) fn unheard(&mut self, event: &Event<'_>) {
        self.dropped_events += match event {
            Event::Recv(recv) => recv.datagrams,
            Event::Send(send) => send.datagrams,
            Event::NotSent(not_sent) => not_sent.datagrams,
            _ => 1,
        };
    }

    fn measure(&mut self, measured: &Measured) {
        let Some(session) = self.sessions.get_mut(measured.session) else { return };
        session.order.add(measured.arrival);
        if matches!(measured.arrival, Arrival::Next { .. } | Arrival::Reordered { .. }) {
            session.variation.record(measured.times.0, measured.times.1);
        }
    }

    fn answer(&mut self, reply: &Reply<'_>) {
        self.rtt.record(reply.rtt);
        if let Some(arrival) = reply.arrival {
            self.order.add(arrival);
        }
        if let Some(legs) = reply.legs {
            self.out.record(legs.sent, legs.reached);
            self.back.record(legs.answered, legs.came);
        }
        self.reflector.answer(reply);
    }

    /// Returns what datagrams that only go and come add up to.
    pub(super) fn totals(&self, every: Totals) -> Totals {
        Totals {
            sent: Some(self.sent),
            received: Some(self.received),
            truncated: Some(self.truncated),
            not_sent: Some(self.not_sent),
            events_dropped: (self.dropped_events > 0).then_some(self.dropped_events),
            ..every
        }
    }

    /// Returns the totals of `udp-send`; `asked` is the rate that was asked for, in datagrams a
    /// second.
    pub(super) fn sender(&self, asked: Option<f64>, every: Totals) -> Totals {
        // So many steps lie between the first and the last.
        let achieved = self.span.and_then(|(first, last)| {
            let seconds = last.saturating_sub(first).as_secs_f64();
            (self.sent > 1 && seconds > 0.0).then(|| (self.sent - 1) as f64 / seconds)
        });
        Totals {
            // As many as that are a part of them only, where others may be refused too.
            refused: (self.unattributed == 0).then_some(self.refused),
            icmp_errors: Some(self.icmp_errors),
            kernel_drops: self.kernel_drops,
            rate_asked: asked,
            rate_achieved: achieved,
            send_lateness: self.lateness.figures(),
            ..self.totals(every)
        }
    }

    /// Returns the totals of `udp-send --measure`; `reflects` says whether datagrams are answered.
    pub(super) fn measuring(&self, asked: Option<f64>, reflects: bool, every: Totals) -> Totals {
        let sender = Totals { received: None, truncated: None, ..self.sender(asked, every) };
        if !reflects {
            return sender;
        }
        let (out, back) = self.reflector.lost(self.answered + self.late, self.lost + self.late);
        Totals {
            received: Some(self.answered),
            // Of each packet the end is known.
            refused: Some(self.refused),
            lost: Some(self.lost),
            late: Some(self.late),
            lost_out: Some(out),
            lost_back: Some(back),
            loss_ratio: ratio(self.lost + self.late, self.sent),
            duplicates: Some(self.duplicates),
            reordered: Some(self.order.reordered),
            reordered_ratio: ratio(self.order.reordered, self.order.once),
            reordering_extent_max: Some(self.order.extent_max),
            rtt: self.rtt.figures_losing(self.lost + self.refused),
            delay_variation_out: self.out.figures(),
            delay_variation_back: self.back.figures(),
            ..sender
        }
    }

    /// Returns the totals of `udp-listen`.
    pub(super) fn receiver(&self, measures: bool, every: Totals) -> Totals {
        let totals = Totals {
            icmp_errors: Some(self.icmp_errors),
            kernel_drops: self.kernel_drops,
            kernel_drop_buffers: self.kernel_drop_buffers,
            ..self.totals(every)
        };
        if !measures {
            return totals;
        }
        let order = self.sessions.iter().fold(Ordering::default(), |sum, session| sum.plus(session.order));
        let totals = Totals { sessions: Some(self.sessions.len() as u64), ..ordered(order, totals) };
        match &self.sessions[..] {
            [only] => Totals { delay_variation_out: only.variation.figures(), ..totals },
            _ => totals,
        }
    }

    /// Returns the totals of each sender of numbered datagrams, in the order in which they came.
    pub(super) fn each_session(&self) -> impl Iterator<Item = (&str, Option<u16>, Totals)> {
        self.sessions.iter().map(|session| {
            let received = session.order.once + session.order.duplicates + session.order.stale;
            let totals = Totals { received: Some(received), ..Totals::default() };
            let totals = Totals { delay_variation_out: session.variation.figures(), ..ordered(session.order, totals) };
            (&*session.name, session.number, totals)
        })
    }
}

/// Adds what the order of numbered datagrams tells.
fn ordered(order: Ordering, totals: Totals) -> Totals {
    Totals {
        lost: Some(order.missing),
        loss_ratio: ratio(order.missing, order.missing + order.once),
        duplicates: Some(order.duplicates),
        reordered: Some(order.reordered),
        reordered_ratio: ratio(order.reordered, order.once),
        reordering_extent_max: Some(order.extent_max),
        stale: Some(order.stale),
        ..totals
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Reflector {
    fn answer(&mut self, reply: &Reply<'_>) {
        let Some(number) = reply.reflector_sequence else { return };
        self.reached = self.reached.max(number + 1);
        self.answered = self.answered.max(reply.sequence + 1);
    }

    fn duplicate(&mut self, reply: &Reply<'_>) {
        let Some(number) = reply.reflector_sequence else { return };
        self.reached = self.reached.max(number + 1);
        self.twice += u64::from(reply.reached_twice);
    }

    /// Returns how many of those lost were lost on the way there and on the way back, as far as the
    /// answers tell: of what came after the last answer nobody knows.
    fn lost(&self, came: u64, lost: u64) -> (u64, u64) {
        let reached = self.reached.saturating_sub(self.twice);
        let out = self.answered.saturating_sub(reached).min(lost);
        let back = reached.saturating_sub(came).min(lost - out);
        (out, back)
    }
}

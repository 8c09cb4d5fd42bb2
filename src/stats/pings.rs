//! The fold of probes: what became of those to each target, and of all; hops, loss runs, ICMP errors by
//! name.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::Distribution;
use super::loss_runs::{LossRuns, OwnRuns};
use crate::address::Address;
use crate::error::Step;
use crate::event::{self, Arrival, Event, Hop, Named, Reply, Stamp, Stray, Totals};

/// How many targets have percentiles to three digits: a histogram of each is large.
const FULL: usize = 64;

/// Of how many rows of losses it is known where they end, for those that are noted later: of these targets, and of each
/// further one.
const MANY_RUNS: usize = 1_024;
const FEW_RUNS: usize = 16;

/// What the probes of a run come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Pings {
    /// Whether each target has totals of its own.
    each: Each,
    /// Whether probes are means to an end: of those there are no rows.
    explores: bool,
    counts: Counts,
    rtt: Distribution,
    names: BTreeMap<&'static str, u64>,
    answers: BTreeMap<&'static str, u64>,
    /// How many targets there are, as far as was told.
    known: u64,
    /// The names that were looked up for them.
    looked_up: HashMap<u32, Box<str>>,
    /// Names that did not resolve.
    unresolved: u64,
    runs: LossRuns,
    /// The wall clock and the elapsed time at the begin.
    began: Option<(SystemTime, Duration)>,
    targets: Vec<Option<Box<Target>>>,
    /// The same of a sweep: less of each.
    briefs: Vec<Option<Brief>>,
    /// Of each target whether it has answered; `None` where it was not probed.
    seen: Vec<Option<bool>>,
    hops: BTreeMap<(u32, u8), Seen>,
    /// After how many hops a target was reached.
    reached: BTreeMap<u32, u8>,
    path_mtu: Option<u64>,
    /// By the socket, as far as it was looked: its drops.
    drops: BTreeMap<(String, usize), u64>,
    bytes_sent: u64,
    bytes_received: u64,
    dropped_events: u64,
    lateness: Distribution,
    span: Option<(Duration, Duration)>,
}

/// What is kept of each target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Each {
    /// Nothing.
    #[default]
    Nothing,
    /// Totals, and one round-trip time.
    Brief,
    /// Everything.
    Whole,
}

/// Numbers of probes, and of what came.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sent: u64,
    received: u64,
    late: u64,
    lost: u64,
    refused: u64,
    not_sent: u64,
    duplicates: u64,
    corrupted: u64,
    foreign: u64,
    reordered: u64,
    icmp_errors: u64,
    slots_missed: u64,
}

/// One target.
#[derive(Clone, Debug)]
struct Target {
    name: String,
    counts: Counts,
    rtt: Distribution,
    names: BTreeMap<&'static str, u64>,
    answers: BTreeMap<&'static str, u64>,
    runs: OwnRuns,
    path_mtu: Option<u64>,
}

/// One target of a sweep.
#[derive(Clone, Debug)]
struct Brief {
    address: Address,
    rtt: u64,
    sent: u16,
    lost: u16,
    not_sent: u16,
    duplicates: u16,
    strays: [u16; 2],
    icmp_errors: u16,
    refused: u16,
    received: u16,
    late: u16,
}

/// One hop of a way.
#[derive(Clone, Debug, Default)]
struct Seen {
    sent: u64,
    received: u64,
    from: Vec<IpAddr>,
    errors: Vec<&'static str>,
    rtt: Distribution,
}

impl Counts {
    fn add_totals(&self, rtt: &Distribution, totals: Totals) -> Totals {
        Totals {
            sent: Some(self.sent),
            received: Some(self.received),
            late: Some(self.late),
            lost: Some(self.lost),
            refused: Some(self.refused),
            not_sent: Some(self.not_sent),
            loss_ratio: (self.sent > 0).then(|| (self.lost + self.late) as f64 / self.sent as f64),
            duplicates: Some(self.duplicates),
            corrupted: Some(self.corrupted),
            foreign: Some(self.foreign),
            reordered: Some(self.reordered),
            icmp_errors: Some(self.icmp_errors),
            rtt: rtt.figures_losing(self.lost + self.late + self.refused),
            ..totals
        }
    }

    /// Counts an answer in time, or a late one.
    fn answer(&mut self, reply: &Reply<'_>, is_late: bool) {
        match (is_late, reply.was_refused) {
            (true, true) => self.refused = self.refused.saturating_sub(1),
            (true, false) => self.lost = self.lost.saturating_sub(1),
            (false, true) => self.refused = self.refused.saturating_sub(1),
            (false, false) => {}
        }
        if is_late {
            self.late += 1;
        } else {
            self.received += 1;
        }
        self.reordered += u64::from(matches!(reply.arrival, Some(Arrival::Reordered { .. })));
    }
}

impl Pings {
    pub(super) fn new(each: Each, explores: bool) -> Self {
        Self { each, explores, ..Self::default() }
    }

    /// Adds one event, where it is about probes.
    pub(super) fn record(&mut self, stamp: Stamp, event: &Event<'_>) {
        let elapsed = stamp.elapsed;
        match event {
            Event::Start(_) => self.began = Some((stamp.time, elapsed)),
            Event::Send(send) => self.send(elapsed, send),
            Event::NotSent(not) => {
                self.counts.not_sent += not.datagrams;
                self.see(not.number, false);
                self.to(not.number, not.target, |counts| counts.not_sent += not.datagrams);
            }
            Event::Reply(reply) => self.answer(reply, false),
            Event::Late(event::Late(reply)) => {
                self.answer(reply, true);
                // That it was lost has not been said before, as of others.
                if reply.was_refused {
                    let Reply { target, sequence, rtt: after, number, .. } = *reply;
                    self.miss(elapsed, &event::Lost { target, sequence, after, number });
                }
            }
            Event::Duplicate(event::Duplicate(reply)) => {
                self.bytes_received += reply.bytes;
                self.counts.duplicates += 1;
                self.to(reply.number, reply.target, |counts| counts.duplicates += 1);
            }
            Event::Corrupted(event::Corrupted(stray)) => self.stray(stray, true),
            Event::Foreign(event::Foreign(stray)) => self.stray(stray, false),
            Event::Lost(lost) => self.lose(elapsed, lost),
            Event::Error(error) => self.unresolved += u64::from(error.step == Step::Resolve),
            Event::IcmpError(error) => self.refuse(error),
            Event::KernelDrops(drops) => {
                self.drops.insert((drops.local.to_string(), drops.nth), drops.kernel_drops.unwrap_or(0));
            }
            Event::PathMtu(found) => {
                self.path_mtu = Some(self.path_mtu.map_or(found.path_mtu, |before| before.min(found.path_mtu)));
                if let Some(target) = self.target(found.number, found.target) {
                    target.path_mtu = Some(found.path_mtu);
                }
            }
            _ => {}
        }
    }

    /// Returns how many probes have their end, those that never went among them.
    pub(super) fn ended(&self) -> u64 {
        let Counts { received, late, lost, refused, not_sent, .. } = self.counts;
        received + late + lost + refused + not_sent
    }

    /// Counts events that nobody was told of.
    pub(super) fn unheard(&mut self) {
        self.dropped_events += 1;
    }

    fn send(&mut self, elapsed: Duration, send: &event::Send<'_>) {
        let (Some((number, hops)), Some(address)) = (send.probe, send.peer) else { return };
        self.counts.slots_missed += send.missed;
        self.known = self.known.max(u64::from(number) + 1);
        if let Some(name) = send.name {
            self.looked_up.insert(number, name.into());
        }
        // It tells of no more than that.
        if send.datagrams == 0 {
            return;
        }
        self.span = Some((self.span.map_or(elapsed, |(first, _)| first), elapsed));
        self.counts.sent += send.datagrams;
        self.bytes_sent += send.bytes;
        if let Some(late) = send.lateness {
            for index in 0..usize::try_from(send.datagrams).unwrap_or(usize::MAX) {
                self.lateness.record(late.of(index).first);
            }
        }
        self.see(number, false);
        self.to(number, address, |counts| counts.sent += send.datagrams);
        if let Some(hops) = hops {
            self.hops.entry((number, hops)).or_default().sent += send.datagrams;
        }
    }

    fn answer(&mut self, reply: &Reply<'_>, is_late: bool) {
        self.bytes_received += reply.bytes;
        self.counts.answer(reply, is_late);
        self.see(reply.number, true);
        if let Some(answer) = reply.answer.and_then(kind_of_answer) {
            *self.answers.entry(answer).or_default() += 1;
            if let Some(target) = self.target(reply.number, reply.target) {
                *target.answers.entry(answer).or_default() += 1;
            }
        }
        // What is late counts as infinite (RFC 2681).
        if !is_late {
            self.rtt.record(reply.rtt);
        }
        let rtt = (!is_late).then_some(reply.rtt);
        self.add_to(reply.number, reply.target, rtt, |counts| counts.answer(reply, is_late));
        match reply.hops {
            // An error of that hop has been counted.
            Some(_) if reply.was_refused => {}
            // Too late for the figures, but who is there is there.
            Some(hops) if is_late => self.reach(reply.number, hops),
            Some(hops) => self.at_hop(reply.number, hops, reply.from.ip(), reply.rtt, true),
            None => {}
        }
    }

    fn stray(&mut self, stray: &Stray<'_>, is_damaged: bool) {
        self.bytes_received += stray.bytes;
        let add = |counts: &mut Counts| {
            if is_damaged { counts.corrupted += 1 } else { counts.foreign += 1 }
        };
        add(&mut self.counts);
        if let (Some(number), Some(target)) = (stray.number, stray.target) {
            self.to(number, target, |counts| add(counts));
        }
    }

    fn lose(&mut self, elapsed: Duration, lost: &event::Lost<'_>) {
        self.counts.lost += 1;
        self.to(lost.number, lost.target, |counts| counts.lost += 1);
        self.miss(elapsed, lost);
    }

    /// Takes note that a probe was not answered in time, for the rows of those.
    fn miss(&mut self, elapsed: Duration, lost: &event::Lost<'_>) {
        if self.explores {
            return;
        }
        // When it was sent: by the wall clock of the begin, so that no run begins before another for a clock
        // that was set.
        let sent = elapsed.saturating_sub(lost.after);
        let started = self.began.map_or(SystemTime::UNIX_EPOCH, |(time, at)| time + sent.saturating_sub(at));
        let kept = if (lost.number as usize) < FULL { MANY_RUNS } else { FEW_RUNS };
        let mut runs = std::mem::take(&mut self.runs);
        if let Some(target) = self.target(lost.number, lost.target) {
            runs.note(&mut target.runs, kept, &target.name, (lost.sequence, started));
        }
        self.runs = runs;
    }

    fn refuse(&mut self, error: &event::IcmpError<'_>) {
        let Some(event::AboutProbe { number, hops, is_end }) = error.probe else { return };
        let (name, refused) = (error.name, u64::from(error.refuses));
        self.counts.icmp_errors += 1;
        self.counts.refused += refused;
        *self.names.entry(name).or_default() += 1;
        self.to(number, error.target, |counts| {
            counts.icmp_errors += 1;
            counts.refused += refused;
        });
        if let Some(target) = self.target(number, error.target) {
            *target.names.entry(name).or_default() += 1;
        }
        if let (Some(hops), Some(after), true) = (hops, error.after, error.refuses) {
            let errors = &mut self.hops.entry((number, hops)).or_default().errors;
            if is_end && !errors.contains(&name) {
                errors.push(name);
            }
            self.at_hop(number, hops, Some(error.from), after, is_end);
        }
    }

    /// Adds what came of a hop; `is_end` says that nobody is behind it.
    fn at_hop(&mut self, number: u32, hops: u8, from: Option<IpAddr>, rtt: Duration, is_end: bool) {
        let seen = self.hops.entry((number, hops)).or_default();
        seen.received += 1;
        seen.rtt.record(rtt);
        if let Some(from) = from.filter(|from| !seen.from.contains(from)) {
            seen.from.push(from);
        }
        if is_end {
            self.reach(number, hops);
        }
    }

    /// Takes note that nobody is behind a hop.
    fn reach(&mut self, number: u32, hops: u8) {
        let fewest = self.reached.entry(number).or_insert(hops);
        *fewest = hops.min(*fewest);
    }

    /// Adds to the numbers of one target.
    fn to(&mut self, number: u32, address: &Address, add: impl FnOnce(&mut Counts)) {
        self.add_to(number, address, None, add);
    }

    /// Adds likewise, and a round-trip time where there is one.
    fn add_to(&mut self, number: u32, address: &Address, rtt: Option<Duration>, add: impl FnOnce(&mut Counts)) {
        match self.each {
            Each::Nothing => {}
            Each::Brief => {
                let index = number as usize;
                if self.briefs.len() <= index {
                    self.briefs.resize(index + 1, None);
                }
                let brief = self.briefs[index].get_or_insert_with(|| Brief::new(address));
                brief.add(rtt, add);
            }
            Each::Whole => {
                if let Some(target) = self.target(number, address) {
                    add(&mut target.counts);
                    if let Some(rtt) = rtt {
                        target.rtt.record(rtt);
                    }
                }
            }
        }
    }

    fn target(&mut self, number: u32, address: &Address) -> Option<&mut Target> {
        if self.each != Each::Whole {
            return None;
        }
        let index = number as usize;
        if self.targets.len() <= index {
            self.targets.resize(index + 1, None);
        }
        let target = self.targets[index].get_or_insert_with(|| {
            Box::new(Target {
                name: address.to_string(),
                counts: Counts::default(),
                rtt: if index < FULL { Distribution::default() } else { Distribution::compact() },
                names: BTreeMap::new(),
                answers: BTreeMap::new(),
                runs: OwnRuns::default(),
                path_mtu: None,
            })
        });
        Some(target)
    }

    /// Takes note that a target was probed, or that it has answered.
    fn see(&mut self, number: u32, has_answered: bool) {
        let index = number as usize;
        if self.seen.len() <= index {
            self.seen.resize(index + 1, None);
        }
        let seen = &mut self.seen[index];
        *seen = Some(has_answered || *seen == Some(true));
    }

    /// Returns what all probes add up to.
    pub(super) fn totals(&self, every: Totals) -> Totals {
        let achieved = self.span.and_then(|(first, last)| {
            let seconds = last.saturating_sub(first).as_secs_f64();
            (self.counts.sent > 1 && seconds > 0.0).then(|| (self.counts.sent - 1) as f64 / seconds)
        });
        let probed = self.seen.iter().flatten().count() as u64;
        let totals = self.counts.add_totals(&self.rtt, every);
        let totals = if self.has_runs() { self.runs.add_totals(totals) } else { totals };
        // From an answer of one target to that of another the delay does not vary: it is another.
        let rtt = if probed > 1 { totals.rtt.map(event::Distribution::of_several) } else { totals.rtt };
        Totals {
            targets: Some(self.known + self.unresolved),
            targets_answered: Some(self.seen.iter().flatten().filter(|answered| **answered).count() as u64),
            kernel_drops: (!self.drops.is_empty()).then(|| self.drops.values().sum()),
            events_dropped: (self.dropped_events > 0).then_some(self.dropped_events),
            slots_missed: Some(self.counts.slots_missed),
            rate_achieved: achieved,
            send_lateness: self.lateness.figures(),
            bytes_sent: Some(self.bytes_sent),
            bytes_received: Some(self.bytes_received),
            icmp_errors_by_name: named(&self.names),
            answers_by_name: named(&self.answers),
            path_mtu: self.path_mtu,
            rtt,
            ..totals
        }
    }

    /// Tells the totals of each target.
    pub(super) fn each_target(&self, mut tell: impl FnMut(&str, Option<&str>, Totals)) {
        for (number, target) in numbered(&self.targets) {
            let totals = target.counts.add_totals(&target.rtt, Totals::default());
            // Of one probe there is no share.
            let rtt = if target.counts.sent > 1 { totals.rtt } else { totals.rtt.map(event::Distribution::of_one) };
            let totals = Totals {
                icmp_errors_by_name: named(&target.names),
                answers_by_name: named(&target.answers),
                path_mtu: target.path_mtu,
                rtt,
                ..totals
            };
            let totals = if self.has_runs() { target.runs.add_totals(totals) } else { totals };
            tell(&target.name, self.looked_up(number), totals);
        }
        for (number, brief) in numbered(&self.briefs) {
            tell(&brief.address.to_string(), self.looked_up(number), brief.totals());
        }
    }

    fn has_runs(&self) -> bool {
        self.each == Each::Whole && !self.explores
    }

    fn looked_up(&self, number: u32) -> Option<&str> {
        self.looked_up.get(&number).map(|name| &**name)
    }

    /// Tells each hop of each way, as far as it leads.
    pub(super) fn each_hop(&self, mut tell: impl FnMut(&Hop<'_>)) {
        for ((number, ttl), seen) in &self.hops {
            let Some(Some(target)) = self.targets.get(*number as usize) else { continue };
            let last = self.reached.get(number).copied().unwrap_or(u8::MAX);
            if *ttl > last {
                continue;
            }
            let behind = self.hops.range((*number, *ttl)..=(*number, last)).skip(1);
            tell(&Hop {
                target: &target.name,
                ttl: *ttl,
                from: &seen.from,
                errors: &seen.errors,
                sent: seen.sent,
                received: seen.received,
                rate_limited: seems_limited(
                    (seen.sent, seen.received),
                    behind.map(|(_, seen)| (seen.sent, seen.received)),
                ),
                rtt: seen.rtt.figures_losing(seen.sent.saturating_sub(seen.received)),
            });
        }
    }
}

/// Returns whether a hop seems to limit how often it answers: those behind it have answered a larger share of their
/// probes, which all came by it. Each hop is so many probes sent and answered.
///
/// By chance alone shares differ too: it takes a difference that would come so in one of 20 runs at most (two shares,
/// one-sided, with Yates's correction, for there may be few).
fn seems_limited((sent, received): (u64, u64), behind: impl Iterator<Item = (u64, u64)>) -> bool {
    /// The quantile of the normal distribution.
    const LIKELY: f64 = 1.645;
    // What answers nothing is silent, and has lost nothing.
    if received == 0 {
        return false;
    }
    let share = |(sent, received): (u64, u64)| received as f64 / sent as f64;
    let own = share((sent, received));
    let others = behind.filter(|other| other.0 > 0 && share(*other) > own);
    let others = others.fold((0, 0), |sum, other| (sum.0 + other.0, sum.1 + other.1));
    if others.0 == 0 {
        return false;
    }
    let both = share((sent + others.0, received + others.1));
    let per_probe = 1.0 / sent as f64 + 1.0 / others.0 as f64;
    let deviation = (both * (1.0 - both) * per_probe).sqrt();
    share(others) - own - per_probe / 2.0 > LIKELY * deviation
}

/// Returns what is kept of targets, each with its number.
fn numbered<T>(all: &[Option<T>]) -> impl Iterator<Item = (u32, &T)> {
    (0..).zip(all).filter_map(|(number, one)| Some((number, one.as_ref()?)))
}

/// Returns the names and how many there were of each; `None` where there are none.
fn named(names: &BTreeMap<&'static str, u64>) -> Option<Vec<Named>> {
    (!names.is_empty()).then(|| names.iter().map(|(name, count)| Named { name, count: *count }).collect())
}

/// Returns the name of a kind of answer that outlives the event.
fn kind_of_answer(answer: &str) -> Option<&'static str> {
    ["datagram", "port-unreachable", "rst", "syn-ack"].into_iter().find(|known| *known == answer)
}

impl Brief {
    fn new(address: &Address) -> Self {
        Self {
            address: address.clone(),
            rtt: 0,
            sent: 0,
            lost: 0,
            not_sent: 0,
            duplicates: 0,
            strays: [0; 2],
            icmp_errors: 0,
            refused: 0,
            received: 0,
            late: 0,
        }
    }

    fn counts(&self) -> Counts {
        let [corrupted, foreign] = self.strays.map(u64::from);
        Counts {
            sent: self.sent.into(),
            received: self.received.into(),
            late: self.late.into(),
            lost: self.lost.into(),
            refused: self.refused.into(),
            not_sent: self.not_sent.into(),
            duplicates: self.duplicates.into(),
            corrupted,
            foreign,
            icmp_errors: self.icmp_errors.into(),
            ..Counts::default()
        }
    }

    /// Adds what a whole target would be added.
    fn add(&mut self, rtt: Option<Duration>, add: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts();
        add(&mut counts);
        let few = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
        self.sent = few(counts.sent);
        self.lost = few(counts.lost);
        self.refused = few(counts.refused);
        self.not_sent = few(counts.not_sent);
        self.duplicates = few(counts.duplicates);
        self.strays = [few(counts.corrupted), few(counts.foreign)];
        self.icmp_errors = few(counts.icmp_errors);
        (self.received, self.late) = (few(counts.received), few(counts.late));
        if let Some(rtt) = rtt {
            self.rtt = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX);
        }
    }

    fn totals(&self) -> Totals {
        let mut rtt = Distribution::default();
        if self.received > 0 {
            rtt.record(Duration::from_nanos(self.rtt));
        }
        let totals = self.counts().add_totals(&rtt, Totals::default());
        let rtt = if self.sent > 1 { totals.rtt } else { totals.rtt.map(event::Distribution::of_one) };
        Totals { rtt, ..totals }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_that_loses_what_those_behind_it_have_not_lost_seems_limited() {
        let seems = |hop, behind: &[(u64, u64)]| seems_limited(hop, behind.iter().copied());
        // The target has answered everything.
        assert!(seems((10, 4), &[(10, 10)]));
        assert!(seems((4, 1), &[(4, 4), (4, 4)]));
        assert!(seems((100, 60), &[(100, 0), (100, 58), (100, 95)]));
        // The way loses as much behind it, or all, or says nothing; or there is nobody behind.
        assert!(!seems((100, 60), &[(100, 60), (100, 58)]));
        assert!(!seems((100, 60), &[(100, 0)]));
        assert!(!seems((100, 60), &[]));
        // What has lost nothing, and what is silent.
        assert!(!seems((10, 10), &[(10, 10)]));
        assert!(!seems((10, 0), &[(10, 10)]));
        // By chance it may be so.
        assert!(!seems((4, 3), &[(4, 4), (4, 4), (4, 4), (4, 4), (4, 4)]));
        assert!(!seems((100, 88), &[(100, 89), (100, 91), (100, 90), (100, 92)]));
    }
}

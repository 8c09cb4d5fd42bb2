//! Probes to many targets: by a schedule, hop by hop too, or as fast as answers come.

use std::time::{Duration, Instant};

use super::times::Times;
use super::{backed_off, linger};
use crate::args::{Quest, RawPing, Tempo};
use crate::step::{Due, Failed, Halt, Pinger, ProbeFate, Woken, now, since};

/// Probes in flight of a flood, and of a sweep.
const FLOOD: u64 = 64;
const SWEEP: u64 = 1_000;

/// Most probes that go at once.
const AT_ONCE: u64 = 64;

/// The most time between two sends where each target gets but one.
const BRISK: Duration = Duration::from_millis(10);

/// How long an answer is spun for: a wake-up costs more than a round trip on this host.
const SPIN: Duration = Duration::from_micros(200);

/// How often it is looked at what came, while probes go so fast that there is no wait between them.
const LOOK: Duration = Duration::from_millis(1);

/// Sends as the words say; what waits for an answer then is waited for elsewhere.
pub(super) fn walk(ping: &RawPing, pinger: &mut Pinger, halt: &Halt) -> Result<(), Failed> {
    let targets = pinger.targets().len();
    if let Some(each) = ping.probes_each() {
        pinger.expect(each.saturating_mul(targets.into()));
    }
    match ping.tempo() {
        Tempo::Paced { interval, rate } => paced(ping, pinger, halt, interval, rate),
        Tempo::Flood => flood(ping, pinger, halt),
        Tempo::Adaptive => adaptive(ping, pinger, halt),
        Tempo::Sweep { retries, backoff, rate } => {
            let (mut round, mut asked) = (0, 0);
            loop {
                // Whoever is silent is asked again: so many at most.
                let silent = (0..targets).filter(|target| pinger.is_silent(*target)).count() as u64;
                pinger.expect(asked + silent * u64::from(retries - round + 1));
                asked += silent;
                pinger.set_patience(backed_off(ping.timeout, backoff, round));
                match rate {
                    Some(rate) => paced_round(ping, pinger, halt, rate, round)?,
                    None => sweep(pinger, halt, round)?,
                }
                linger(pinger, halt)?;
                if round >= retries || halt.is_set() || pinger.answered() == targets {
                    return Ok(());
                }
                round += 1;
            }
        }
    }
}

/// The probes of a schedule, in their order: round after round, each target, each hop.
struct Rounds {
    targets: u32,
    /// How many hops each has; 0 where it is no trace.
    hops: u8,
    size: usize,
    /// How many rounds there are.
    count: u64,
    slot: u64,
    /// Of each target of a trace, how many probes went.
    sent: Vec<u64>,
}

impl Rounds {
    fn new(ping: &RawPing, targets: u32) -> Self {
        let hops = if ping.quest() == Quest::Trace { ping.hops() } else { 0 };
        let sent = if hops > 0 { vec![0; targets as usize] } else { Vec::new() };
        Self { targets, hops, size: ping.size(), count: ping.count().unwrap_or(u64::MAX), slot: 0, sent }
    }

    /// Returns how many probes a round has.
    fn len(&self) -> u64 {
        u64::from(self.targets) * u64::from(self.hops.max(1))
    }

    fn is_over(&self) -> bool {
        self.slot / self.len() >= self.count
    }

    /// Returns the next probe, where it is wanted.
    fn next(&mut self, pinger: &Pinger, until_reply: bool) -> Option<Due> {
        let (round, place) = (self.slot / self.len(), self.slot % self.len());
        self.slot += 1;
        let target = (place % u64::from(self.targets)) as u32;
        if until_reply && pinger.has_answered(target) {
            return None;
        }
        if self.hops == 0 {
            return Some(Due { target, sequence: round, hops: None, size: self.size });
        }
        let hops = (place / u64::from(self.targets)) as u8 + 1;
        // Behind its last hop there is nobody.
        if pinger.reached(target).is_some_and(|last| hops > last) {
            return None;
        }
        let sent = self.sent.get_mut(target as usize)?;
        let sequence = std::mem::replace(sent, *sent + 1);
        Some(Due { target, sequence, hops: Some(hops), size: self.size })
    }
}

/// Sends each probe at its time.
fn paced(
    ping: &RawPing,
    pinger: &mut Pinger,
    halt: &Halt,
    interval: Option<Duration>,
    rate: Option<f64>,
) -> Result<(), Failed> {
    let mut rounds = Rounds::new(ping, pinger.targets().len());
    let len = rounds.len() as f64;
    let even = interval.map(|interval| len / interval.as_secs_f64());
    // Where there is but one round there is no rhythm to keep.
    let even = if rounds.count == 1 { even.map(|even| even.max(1.0 / BRISK.as_secs_f64())) } else { even };
    let rate = match (even, rate) {
        (Some(even), Some(rate)) => even.min(rate),
        (even, rate) => even.or(rate).unwrap_or(1.0),
    };
    let mut times = Times::new(ping.schedule, rate);
    let (mut looked, mut dues) = (now(), Vec::new());
    while !rounds.is_over() {
        if ping.until_reply && pinger.answered() == pinger.targets().len() {
            return Ok(());
        }
        let Some(due) = wait(pinger, halt, &mut times)? else { return Ok(()) };
        let (due, now) = (due.min(AT_ONCE), now());
        let lateness = times.pass(due, now);
        dues.clear();
        for _ in 0..due {
            if !rounds.is_over() {
                dues.extend(rounds.next(pinger, ping.until_reply));
            }
        }
        if !dues.is_empty() {
            pinger.send(&dues, Some(lateness), times.take_missed(), halt);
        }
        if since(looked) >= LOOK {
            looked = now;
            pinger.take_all()?;
        }
    }
    Ok(())
}

/// Waits until probes are due, and returns how many; `None` where the run is over.
fn wait(pinger: &mut Pinger, halt: &Halt, times: &mut Times) -> Result<Option<u64>, Failed> {
    loop {
        if halt.is_set() {
            return Ok(None);
        }
        let due = times.due(now());
        if due > 0 {
            return Ok(Some(due));
        }
        match pinger.wait_till_near(halt, times.next_at()) {
            Woken::Halted => return Ok(None),
            Woken::Time => {}
            Woken::Ready { .. } => {
                // What came just before a time is looked at after it.
                if now() < times.next_at() {
                    pinger.take()?;
                }
            }
        }
    }
}

/// What goes as fast as answers come: so many in flight.
struct Window {
    most: u64,
    /// Since when nothing has come.
    idle: Option<Instant>,
    dues: Vec<Due>,
    /// Whether each target is probed again and again.
    repeats: bool,
}

impl Window {
    fn new(most: u64, repeats: bool) -> Self {
        Self { most, idle: None, dues: Vec::new(), repeats }
    }

    /// Sends what there is room for, and takes what has come. Returns whether there is more to send.
    fn turn(
        &mut self,
        pinger: &mut Pinger,
        halt: &Halt,
        next: &mut impl FnMut(&Pinger) -> Option<Due>,
    ) -> Result<bool, Failed> {
        pinger.wait_for_reader(halt);
        let room = self.most.saturating_sub(pinger.in_flight()).min(AT_ONCE);
        self.dues.clear();
        while (self.dues.len() as u64) < room {
            match next(pinger) {
                Some(due) => self.dues.push(due),
                None => break,
            }
        }
        let is_over = (self.dues.len() as u64) < room;
        if !self.dues.is_empty() {
            pinger.send(&self.dues, None, 0, halt);
            if self.repeats {
                pinger.rest(halt);
            }
        }
        if pinger.take()? > 0 || !self.dues.is_empty() {
            self.idle = None;
        } else if !is_over {
            let since = *self.idle.get_or_insert_with(now);
            if since.elapsed() > SPIN {
                pinger.wait(halt, Some(now() + LOOK));
            }
        }
        Ok(!is_over && !halt.is_set())
    }
}

/// Sends to all targets in turn, as fast as answers come.
fn flood(ping: &RawPing, pinger: &mut Pinger, halt: &Halt) -> Result<(), Failed> {
    let mut rounds = Rounds::new(ping, pinger.targets().len());
    let mut window = Window::new(FLOOD, true);
    let until_reply = ping.until_reply;
    let mut next = |pinger: &Pinger| {
        loop {
            if rounds.is_over() || (until_reply && pinger.answered() == rounds.targets) {
                return None;
            }
            if let Some(due) = rounds.next(pinger, until_reply) {
                return Some(due);
            }
        }
    };
    while window.turn(pinger, halt, &mut next)? {}
    Ok(())
}

/// Sends one probe to each target that nothing has come of so far.
fn sweep(pinger: &mut Pinger, halt: &Halt, round: u32) -> Result<(), Failed> {
    let (mut target, count, size) = (0, pinger.targets().len(), pinger.size());
    let mut window = Window::new(SWEEP, false);
    let mut next = |pinger: &Pinger| {
        while target < count {
            let this = target;
            target += 1;
            if pinger.is_silent(this) {
                return Some(Due { target: this, sequence: u64::from(round), hops: None, size });
            }
        }
        None
    };
    while window.turn(pinger, halt, &mut next)? {}
    Ok(())
}

/// The same at a rate.
fn paced_round(ping: &RawPing, pinger: &mut Pinger, halt: &Halt, rate: f64, round: u32) -> Result<(), Failed> {
    let mut times = Times::new(ping.schedule, rate);
    let (mut target, count, size) = (0, pinger.targets().len(), ping.size());
    let mut dues = Vec::new();
    while target < count {
        if !pinger.is_silent(target) {
            target += 1;
            continue;
        }
        let Some(due) = wait(pinger, halt, &mut times)? else { return Ok(()) };
        let due = due.min(AT_ONCE);
        let lateness = times.pass(due, now());
        dues.clear();
        while target < count && (dues.len() as u64) < due {
            if pinger.is_silent(target) {
                dues.push(Due { target, sequence: u64::from(round), hops: None, size });
            }
            target += 1;
        }
        pinger.send(&dues, Some(lateness), times.take_missed(), halt);
        pinger.take_all()?;
    }
    Ok(())
}

/// Sends the next probe to a target when the last has its end.
fn adaptive(ping: &RawPing, pinger: &mut Pinger, halt: &Halt) -> Result<(), Failed> {
    let (count, size) = (ping.count().unwrap_or(u64::MAX), ping.size());
    // Of each target the number of its last probe, and how many went.
    let mut last: Vec<(u64, u64)> = vec![(0, 0); pinger.targets().len() as usize];
    let mut idle = now();
    loop {
        if pinger.take_all()? > 0 {
            idle = now();
        }
        let (mut is_over, mut has_sent, mut went) = (true, false, false);
        for (target, (number, sent)) in (0_u32..).zip(last.iter_mut()) {
            if *sent >= count || (ping.until_reply && pinger.has_answered(target)) {
                continue;
            }
            is_over = false;
            if *sent == 0 || pinger.fate(*number) != ProbeFate::Open {
                let due = Due { target, sequence: *sent, hops: None, size };
                *number = pinger.send(&[due], None, 0, halt);
                *sent += 1;
                has_sent = true;
                went |= !matches!(pinger.fate(*number), ProbeFate::NotSent(_));
                // Answers come while others are asked.
                if target % AT_ONCE as u32 == AT_ONCE as u32 - 1 {
                    if halt.is_set() {
                        return Ok(());
                    }
                    pinger.take_all()?;
                }
            }
        }
        if is_over || halt.is_set() {
            return Ok(());
        }
        // Each has one under way: what ends the wait is an answer, or its time.
        if has_sent {
            idle = now();
            if !went {
                pinger.rest(halt);
            }
        } else if since(idle) > SPIN {
            pinger.wait(halt, None);
        }
    }
}

//! What is known of every probe: when it went, whether it was answered, by whom, and what was wrong.

use std::cell::OnceCell;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flights::{Flight, Flights, State};
use super::hear::Came;
use super::targets::{Addresses, Targets};
use nix::errno::Errno;

use crate::args::raw_ping::NONCE;
use crate::error::{Error, ExitCode, Step, errno_name};
use crate::event::{self, Clock, Event};
use crate::step::trip::{Moment, Trip, trip};
use crate::step::{Door, Failed};

/// How many probes are known back, answered or not: 16 MiB, and as much again where no two go at once.
const MOST: usize = 1 << 20;

/// So many are known back in any case; further ones for [`LONG`].
pub(super) const ENOUGH: usize = 1 << 16;

/// How long a settled probe is known where many came after it: what comes later than that is foreign.
const LONG: Duration = Duration::from_secs(60);

/// How long a probe that nobody answers holds a place among those in flight.
const HOLD: Duration = Duration::from_millis(100);

/// An odd number, by which numbers are scattered, and its inverse modulo 2^32.
const SCATTER: u32 = 0x9E37_79B1;
const GATHER: u32 = inverse(SCATTER);

/// Returns the inverse of an odd number modulo 2^32 (Newton's method: each step doubles the bits).
const fn inverse(odd: u32) -> u32 {
    let (mut guess, mut step) = (odd, 0);
    while step < 5 {
        guess = guess.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(guess)));
        step += 1;
    }
    guess
}

/// A probe that is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The number of its target.
    pub target: u32,
    /// Its number among the probes to it, from 0.
    pub sequence: u64,
    /// How many hops it may go, where that is its own.
    pub hops: Option<u8>,
    /// The bytes of its data.
    pub size: usize,
}

/// What became of a probe that was looked for by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet.
    Open,
    /// It was answered in time.
    Answered,
    /// An ICMP error was about it: where that says that it was too large, who does, and what would pass.
    Refused(Option<(IpAddr, Option<u32>)>),
    /// Nobody answered in time.
    Lost,
    /// The kernel did not take it, for this reason.
    NotSent(Option<Errno>),
}

/// The book of a run.
pub(super) struct Book {
    pub(super) door: Arc<Door>,
    pub(super) targets: Targets,
    pub(super) patience: Duration,
    opened: Instant,
    pub(super) flights: Flights,
    /// The first whose time has not run out.
    pub(super) waits: u64,
    /// How many targets a probe was to go to so far: they have their turns in the order of their numbers.
    asked: u32,
    /// The first that has not gone yet, while it is looked what came; else none.
    pub(super) going_from: u64,
    /// How many have no end yet.
    open: u64,
    /// The first that still holds a place in flight, and how many do.
    held_from: u64,
    held: u64,
    /// The first half of every nonce of this run, and what hides the numbers in the second.
    token: u32,
    key: u32,
    /// The data of a probe, of the greatest size.
    data: Vec<u8>,
    /// How much of it each has.
    size: usize,
    /// The sizes of those that have another.
    sizes: HashMap<u64, usize>,
    /// When a network device with a clock of its own sent them.
    left_device: HashMap<u64, u64>,
    /// Where there is no room for a nonce: the numbers by address and sequence.
    pub(super) by_sequence: Option<HashMap<(IpAddr, u16), Vec<u64>>>,
    /// Addresses that anybody may answer for.
    pub(super) broadcasts: Vec<IpAddr>,
    /// Of each target the next number in order (RFC 4737, 3.3), where more than one probe goes to it.
    pub(super) next: Vec<u64>,
    /// What each target has come to so far.
    ends: Vec<Option<ExitCode>>,
    answered: u32,
    /// Of each target how many were sent, and how many answered in time; where that is asked for.
    pub(super) losses: Option<HashMap<(u32, u8), (u64, u64)>>,
    /// The longest round trip, and whose clock the last one is of.
    pub(super) longest: Duration,
    pub(super) clock: Option<Clock>,
    /// Why the last probe that did not go did not.
    pub(super) unsent: Option<Failed>,
    /// Of the hops of a trace: the fewest after which each target answered.
    pub(super) reached: HashMap<u32, u8>,
    /// What became of those that came to nothing, where it is asked for each.
    pub(super) fates: HashMap<u64, Fate>,
    pub(super) keeps_fates: bool,
    /// Of each address the probes to it that have no end yet, the oldest first, where an answer need not tell
    /// which it is about; some that have one are among them.
    pub(super) waiting_to: Option<HashMap<IpAddr, VecDeque<u64>>>,
    /// The addresses of all targets, once that was asked.
    pub(super) probed: OnceCell<Addresses>,
    /// Whether anybody may answer for one of them.
    pub(super) has_group: OnceCell<bool>,
    /// Whether events wait for their reader: then none is dropped.
    waits_for_room: bool,
}

/// What a book is opened for.
pub(super) struct Opening {
    pub(super) patience: Duration,
    pub(super) data: Vec<u8>,
    pub(super) size: usize,
    /// Whether each target gets more than one probe.
    pub(super) many: bool,
    pub(super) counts_losses: bool,
    pub(super) keeps_fates: bool,
    /// Whether an answer need not tell which probe it is about.
    pub(super) is_vague: bool,
    pub(super) waits_for_room: bool,
    /// How many probes there will be, where that is known.
    pub(super) expected: Option<usize>,
    /// Whether probes carry their nonce.
    pub(super) has_nonce: bool,
    /// Addresses that anybody may answer for.
    pub(super) broadcasts: Vec<IpAddr>,
    /// At random.
    pub(super) seed: u64,
}

impl Book {
    pub(super) fn new(door: &Arc<Door>, targets: Targets, opening: Opening) -> Self {
        let Opening { patience, data, size, many, counts_losses, keeps_fates, waits_for_room, .. } = opening;
        let count = targets.len() as usize;
        Self {
            door: Arc::clone(door),
            patience,
            opened: Instant::now(),
            flights: Flights::with_capacity(opening.expected.unwrap_or(0).min(ENOUGH)),
            waits: 0,
            asked: 0,
            going_from: u64::MAX,
            open: 0,
            held_from: 0,
            held: 0,
            token: (opening.seed >> 32) as u32,
            key: opening.seed as u32,
            data,
            size,
            sizes: HashMap::new(),
            left_device: HashMap::new(),
            by_sequence: (!opening.has_nonce).then(HashMap::new),
            broadcasts: opening.broadcasts,
            next: if many { vec![0; count] } else { Vec::new() },
            ends: vec![None; count],
            answered: 0,
            losses: counts_losses.then(HashMap::new),
            longest: Duration::ZERO,
            clock: None,
            unsent: None,
            reached: HashMap::new(),
            fates: HashMap::new(),
            keeps_fates,
            waiting_to: opening.is_vague.then(HashMap::new),
            probed: OnceCell::new(),
            has_group: OnceCell::new(),
            waits_for_room,
            targets,
        }
    }

    /// Returns the first half of the nonces: it tells ours from those of others.
    pub(super) fn token(&self) -> u32 {
        self.token
    }

    /// Sets how long answers are waited for from now on.
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Returns how many bytes of data a probe has.
    pub(super) fn size_of(&self, number: u64) -> usize {
        self.sizes.get(&number).copied().unwrap_or(self.size)
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn data(&self, size: usize) -> &[u8] {
        &self.data[..size.min(self.data.len())]
    }

    /// Returns the nonce of a probe: 64 bits.
    pub(super) fn nonce(&self, number: u64) -> [u8; NONCE] {
        let mut nonce = [0; NONCE];
        nonce[..4].copy_from_slice(&self.token.to_be_bytes());
        nonce[4..].copy_from_slice(&self.scattered(number).to_be_bytes());
        nonce
    }

    /// Returns the last 32 bits of a number, scattered so that a damaged one is another's.
    pub(super) fn scattered(&self, number: u64) -> u32 {
        (number as u32 ^ self.key).wrapping_mul(SCATTER)
    }

    /// Returns the number that was scattered so, where it is of a probe that is known.
    pub(super) fn gathered(&self, scattered: u32) -> Option<u64> {
        let low = scattered.wrapping_mul(GATHER) ^ self.key;
        let next = self.flights.next();
        let behind = (next as u32).wrapping_sub(low);
        next.checked_sub(u64::from(behind)).filter(|number| (self.flights.first()..next).contains(number))
    }

    /// Returns the number that a nonce tells, where the whole of it is ours.
    pub(super) fn number_of(&self, data: &[u8]) -> Option<u64> {
        let (token, rest) = data.split_first_chunk::<4>()?;
        let scattered = u32::from_be_bytes(*rest.first_chunk::<4>()?);
        (u32::from_be_bytes(*token) == self.token).then(|| self.gathered(scattered)).flatten()
    }

    /// Enters a probe that goes now, and returns its number.
    pub(super) fn enter(&mut self, due: &Due, now: Moment) -> u64 {
        let number = self.flights.next();
        let monotonic = nanos(now.monotonic.saturating_duration_since(self.opened));
        self.forget(monotonic);
        self.flights.push(&Flight {
            wall: now.wall,
            monotonic,
            left: None,
            sequence: due.sequence,
            target: due.target,
            hops: due.hops.unwrap_or(0),
            state: State::Open,
        });
        self.open += 1;
        self.held += 1;
        self.asked = self.asked.max(due.target + 1);
        if due.size != self.size {
            self.sizes.insert(number, due.size);
        }
        if self.by_sequence.is_some() || self.waiting_to.is_some() {
            let (ip, _) = self.targets.ip(due.target);
            if let Some(by_sequence) = &mut self.by_sequence {
                by_sequence.entry((ip, due.sequence as u16)).or_default().push(number);
            }
            if let Some(waiting_to) = &mut self.waiting_to {
                waiting_to.entry(ip).or_default().push_back(number);
            }
        }
        number
    }

    /// Forgets the oldest probes, where there are too many.
    fn forget(&mut self, now: u64) {
        while self.flights.len() >= ENOUGH
            && let number = self.flights.first()
            && let Some(oldest) = self.flight(number)
        {
            let is_over = oldest.state != State::Open && now.saturating_sub(oldest.monotonic) > nanos(LONG);
            if !is_over && self.flights.len() < MOST {
                return;
            }
            if oldest.state == State::Open {
                self.lose(number, Duration::from_nanos(now.saturating_sub(oldest.monotonic)));
            }
            self.sizes.remove(&number);
            self.left_device.remove(&number);
            let key = (self.targets.ip(oldest.target).0, oldest.sequence as u16);
            if let Some(by_sequence) = &mut self.by_sequence
                && let Some(numbers) = by_sequence.get_mut(&key)
            {
                numbers.retain(|known| *known != number);
                if numbers.is_empty() {
                    by_sequence.remove(&key);
                }
            }
            self.flights.pop();
        }
    }

    pub(super) fn flight(&self, number: u64) -> Option<Flight> {
        self.flights.get(number)
    }

    /// Returns a probe that something can have come of: that has gone. What this host's own firewall rejects is told of
    /// by an ICMP error, or a RST, too.
    pub(super) fn gone(&self, number: u64) -> Option<Flight> {
        self.flight(number).filter(|flight| flight.state != State::NotSent && number < self.going_from)
    }

    /// Ends a probe, and returns what it was.
    pub(super) fn settle(&mut self, number: u64, state: State) -> Option<State> {
        let before = self.flights.set_state(number, state)?;
        if before == State::Open {
            self.open -= 1;
            if number >= self.held_from {
                self.held -= 1;
            }
            self.unwait(number);
        }
        Some(before)
    }

    /// Reports an event: one of very many may be only counted, unless its reader is waited for.
    pub(super) fn tell<'a>(&self, event: impl Into<Event<'a>>) {
        if self.waits_for_room { self.door.emit(event) } else { self.door.tell(event) }
    }

    /// Reports that a probe went.
    pub(super) fn sent(&mut self, number: u64, packet: &[u8], lateness: Option<event::Lateness>, missed: u64) {
        let Some(flight) = self.flight(number) else { return };
        if let Some(losses) = &mut self.losses {
            losses.entry((flight.target, flight.hops)).or_default().0 += 1;
        }
        let peer = self.targets.address(flight.target);
        self.tell(event::Send {
            peer: Some(&peer),
            sequence: Some(flight.sequence),
            probe: Some((flight.target, hops(flight.hops))),
            lateness,
            missed,
            ..event::Send::on(None, packet.len(), packet)
        });
    }

    /// Reports that the kernel did not take a probe, and what that comes to.
    pub(super) fn not_sent(&mut self, number: u64, refused: &super::Refused) {
        let Some(flight) = self.flight(number) else { return };
        self.settle(number, State::NotSent);
        if self.keeps_fates {
            self.fates.insert(number, Fate::NotSent(refused.errno()));
        }
        self.ended(flight.target, refused.code());
        let errno = refused.errno().map(errno_name).unwrap_or_default();
        let errno = errno.as_str();
        let target = self.targets.address(flight.target);
        let (sequence, number) = (Some(flight.sequence), flight.target);
        self.tell(event::NotSent { target: &target, sequence, errno, datagrams: 1, number });
    }

    /// Reports that so many times of the schedule passed unused behind the last probe.
    pub(super) fn missed(&self, missed: u64) {
        let Some(flight) = self.flights.next().checked_sub(1).and_then(|last| self.flight(last)) else { return };
        self.count(flight.target, None, missed);
    }

    /// Reports how many targets there are, and the names that were looked up for them: some may never have a probe.
    pub(super) fn announce(&self) {
        for (number, name) in self.targets.names() {
            self.count(number, Some(name), 0);
        }
        if let Some(last) = self.targets.len().checked_sub(1) {
            self.count(last, None, 0);
        }
    }

    /// Counts what is to be known of a target, and is no send.
    fn count(&self, target: u32, name: Option<&str>, missed: u64) {
        let peer = self.targets.address(target);
        let probe = Some((target, None));
        let none = event::Send::on(None, 0, &[]);
        self.door.count(event::Send { peer: Some(&peer), probe, name, missed, datagrams: 0, ..none });
    }

    /// Reports that so many probes to one target went, where nobody sees an event for each.
    pub(super) fn sent_row(
        &mut self,
        due: &Due,
        count: u64,
        bytes: u64,
        lateness: Option<event::Lateness>,
        missed: u64,
    ) {
        if let Some(losses) = &mut self.losses {
            losses.entry((due.target, due.hops.unwrap_or(0))).or_default().0 += count;
        }
        let peer = self.targets.address(due.target);
        self.door.count(event::Send {
            peer: Some(&peer),
            sequence: Some(due.sequence),
            probe: Some((due.target, due.hops)),
            lateness,
            missed,
            bytes,
            datagrams: count,
            ..event::Send::on(None, 0, &[])
        });
    }

    /// Reports why a probe did not go, where that is more than want of room: of each reason once.
    pub(super) fn explain(&mut self, number: u64, refused: &super::Refused) {
        let (super::Refused::For(error), Some(flight)) = (refused, self.flight(number)) else { return };
        self.unsent = Some(Failed { code: error.exit_code(), errno: error.errno, conn: error.conn });
        if self.door.is_first(error.step, error.errno) {
            let target = self.targets.address(flight.target);
            let made = match error.errno {
                Some(errno) => Error::of_call(Step::Send, errno, &target.to_string()),
                None => Error::clone(error),
            };
            let made = match made.errno {
                Some(Errno::EPERM) => {
                    made.with_hint("a local firewall drops it; `nft list ruleset` shows by which rule")
                }
                Some(Errno::EACCES) if self.targets.ip(flight.target).0.is_ipv6() => made.with_hint(format!(
                    "a route prohibits it: `ip route get {}` shows which",
                    self.targets.ip(flight.target).0
                )),
                Some(Errno::EACCES) => {
                    made.with_hint("a broadcast address needs --include-broadcast; else a route prohibits it")
                }
                Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH) => {
                    let ip = self.targets.ip(flight.target).0;
                    made.with_hint(format!("no route leads there: `ip route get {ip}` asks the kernel for one"))
                }
                Some(Errno::EINVAL | Errno::EADDRNOTAVAIL) if is_link_local(self.targets.ip(flight.target)) => made
                    .with_hint(
                        "a link-local address needs its interface: fe80::1%eth0, or --interface; `ip link` lists them",
                    ),
                // What the kernel says of it (fib_props in net/ipv4/fib_semantics.c).
                Some(Errno::EINVAL) => made.with_hint(format!(
                    "a route of type blackhole leads there, or --source does not: `ip route get {}` asks the kernel",
                    self.targets.ip(flight.target).0
                )),
                Some(Errno::EADDRNOTAVAIL) => made.with_hint("this machine has no address of that family to send from"),
                Some(Errno::EMSGSIZE) => made
                    .with_exit_code(ExitCode::Local)
                    .with_hint("it is larger than the MTU of the way, or than the protocol takes"),
                _ => made,
            };
            let _reported = self.door.fail(&made.with_target(&target.to_string()));
        }
    }

    /// Takes note of when the kernel has sent a probe, or the network device, by its own clock.
    pub(super) fn left(&mut self, number: u64, kernel_time: Option<u64>, device_time: Option<u64>) {
        if let Some(kernel_time) = kernel_time {
            self.flights.set_left(number, kernel_time);
        }
        if let Some(device_time) = device_time.filter(|_| self.flight(number).is_some()) {
            self.left_device.insert(number, device_time);
        }
    }

    /// Notes what a target has come to, unless it has come to more before.
    pub(super) fn ended(&mut self, target: u32, code: ExitCode) {
        let Some(end) = self.ends.get_mut(target as usize) else { return };
        if end.is_none_or(|before| before.reach() < code.reach()) {
            self.answered += u32::from(code == ExitCode::Ok);
            *end = Some(code);
        }
    }

    /// Notes that an ICMP error was about a target: one that says that nobody listens there is all that it
    /// has come to only where no other said something else.
    pub(super) fn refused(&mut self, target: u32, code: ExitCode) {
        match self.ends.get_mut(target as usize) {
            Some(end @ Some(ExitCode::Refused)) => *end = Some(code),
            Some(Some(ExitCode::Unreachable)) => {}
            _ => self.ended(target, code),
        }
    }

    fn moment(&self, flight: &Flight) -> Moment {
        Moment { wall: flight.wall, monotonic: self.opened + Duration::from_nanos(flight.monotonic) }
    }

    pub(super) fn trip(&self, number: u64, flight: &Flight, came: &Came<'_>) -> Trip {
        let trip = trip(self.moment(flight), flight.left, came.kernel_time, came.read);
        trip.by_device(self.left_device.get(&number).copied(), came.device_time)
    }

    pub(super) fn lose(&mut self, number: u64, after: Duration) {
        let Some(flight) = self.flight(number) else { return };
        self.settle(number, State::Lost);
        let target = self.targets.address(flight.target);
        self.tell(event::Lost { target: &target, sequence: flight.sequence, after, number: flight.target });
    }

    /// Says which probes have waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((number, sent)) = self.oldest() {
            let after = now.saturating_duration_since(sent);
            if after < self.patience {
                return;
            }
            self.lose(number, after);
        }
    }

    /// Returns when the next probe has waited too long, where one waits.
    pub(super) fn expires_at(&mut self) -> Option<Instant> {
        self.oldest().map(|(_, sent)| sent + self.patience)
    }

    /// Gives up all that wait.
    pub(super) fn give_up(&mut self, now: Instant) {
        while let Some((number, sent)) = self.oldest() {
            self.lose(number, now.saturating_duration_since(sent));
        }
    }

    /// Returns the probe that has waited longest, and when it was sent.
    fn oldest(&mut self) -> Option<(u64, Instant)> {
        self.waits = self.waits.max(self.flights.first());
        loop {
            let flight = self.flight(self.waits)?;
            if flight.state == State::Open {
                return Some((self.waits, self.opened + Duration::from_nanos(flight.monotonic)));
            }
            self.waits += 1;
        }
    }

    /// Returns how many probes are in flight: those that nobody answers leave it after a while.
    pub(super) fn in_flight(&mut self, now: Instant) -> u64 {
        let now = nanos(now.saturating_duration_since(self.opened));
        self.held_from = self.held_from.max(self.flights.first());
        while let Some(flight) = self.flight(self.held_from) {
            if flight.state == State::Open {
                if now.saturating_sub(flight.monotonic) < nanos(HOLD) {
                    break;
                }
                self.held -= 1;
            }
            self.held_from += 1;
        }
        self.held
    }

    /// Returns how many targets no probe was to go to so far.
    pub(super) fn unasked(&self) -> u32 {
        self.targets.len() - self.asked
    }

    /// Returns how many probes wait.
    pub(super) fn waiting(&self) -> u64 {
        self.open
    }

    /// Returns whether no probe waits.
    pub(super) fn is_settled(&self) -> bool {
        self.open == 0
    }

    /// Returns what became of a probe.
    pub(super) fn fate(&self, number: u64) -> Fate {
        match self.flight(number).map(|flight| flight.state) {
            Some(State::Open) => Fate::Open,
            Some(State::Answered) => Fate::Answered,
            Some(State::Refused) => self.fates.get(&number).copied().unwrap_or(Fate::Refused(None)),
            Some(State::NotSent) => self.fates.get(&number).copied().unwrap_or(Fate::NotSent(None)),
            Some(State::Lost) | None => Fate::Lost,
        }
    }

    /// Returns whether a target has answered.
    pub(super) fn has_answered(&self, target: u32) -> bool {
        self.ends.get(target as usize).copied().flatten() == Some(ExitCode::Ok)
    }

    /// Returns whether nothing has come of a target so far.
    pub(super) fn is_silent(&self, target: u32) -> bool {
        self.ends.get(target as usize).copied().flatten().is_none()
    }

    /// Returns how many targets have answered.
    pub(super) fn answered(&self) -> u32 {
        self.answered
    }

    /// Returns after how many hops a target answers, where it does.
    pub(super) fn reached(&self, target: u32) -> Option<u8> {
        self.reached.get(&target).copied()
    }

    /// Returns the longest round trip.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// Returns the target that lost the greatest share of its probes, in percent: of a trace, of those that
    /// were to go as far as it is.
    pub(super) fn greatest_loss(&self) -> Option<(u32, f64)> {
        let is_of_target =
            |(target, hops): (u32, u8)| hops == 0 || self.reached.get(&target).is_none_or(|last| *last == hops);
        let losses = self
            .losses
            .iter()
            .flatten()
            .filter(|((target, hops), (sent, _))| *sent > 0 && is_of_target((*target, *hops)));
        // Rounded once, as the decimal of a limit is: so a share of just that is not beyond it.
        let shares =
            losses.map(|((target, _), (sent, got))| (*target, sent.saturating_sub(*got) as f64 * 100.0 / *sent as f64));
        shares.max_by(|one, other| one.1.total_cmp(&other.1))
    }

    /// Returns what each target has come to: silence is no answer.
    pub(super) fn ends(&self) -> impl Iterator<Item = ExitCode> {
        self.ends.iter().map(|end| end.unwrap_or(ExitCode::NoAnswer))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn hops(hops: u8) -> Option<u8> {
    (hops > 0).then_some(hops)
}

/// Returns whether an address is of one link, and no interface is named with it.
fn is_link_local((ip, interface): (IpAddr, u32)) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) && interface == 0
}

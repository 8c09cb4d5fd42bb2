//! Added up: the fold of all events behind `interim` and `summary`.
//!
//! Pure: times come with the events. It is told every event of a run, so [`Stats::record`] is a
//! few additions and allocates nothing in steady state.

mod datagrams;
mod distribution;
mod loss_runs;
mod pings;
mod rounds;
mod sketch;
mod variation;

pub use distribution::Distribution;
pub use pings::Each;
pub use sketch::Sketch;
pub use variation::Variation;

use std::collections::HashMap;
use std::time::Duration;

use datagrams::Datagrams;
use pings::Pings;
use rounds::Rounds;

use crate::error::ExitCode;
use crate::event::{self, CheckOutcome, Event, Interim, Kind, Outcome, Reason, Side, Stamp, Summary, Totals};

/// Which totals a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// Connections that come in.
    Server,
    /// Datagrams that come in, and what is answered.
    Datagrams,
    /// Datagrams that we send.
    Sender {
        /// STAMP test packets.
        measures: bool,
        /// Which are answered.
        reflects: bool,
    },
    /// Datagrams of IP that come in.
    Receiver {
        /// Numbered ones.
        measures: bool,
    },
    /// Probes, and what is kept of each target.
    Pinger {
        /// Of each target.
        each: Each,
        /// Whether its probes are means to an end: hops, or sizes, whose losses are none of the target's.
        explores: bool,
    },
    /// Connections that we make, and how long each part of them takes.
    Client,
    /// As `Client`, round after round.
    Rounds,
    /// Checks.
    Doctor,
}

impl Tally {
    /// Returns whether it is of numbered datagrams, of which more is known than that they went or came.
    #[must_use]
    pub fn measures(self) -> bool {
        matches!(self, Self::Sender { measures: true, .. } | Self::Receiver { measures: true })
    }
}

/// How far a run goes, where that is known before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// So many rounds, targets, probes or datagrams: what the run is made of; 0 while that is not known yet.
    Count(u64),
    /// So many bytes that we send.
    Bytes(u64),
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Of what the extent is of: how much.
    pub done: u64,
    /// How far it goes.
    pub extent: Extent,
}

/// What a run adds up to so far.
#[derive(Clone, Debug)]
pub struct Stats {
    tally: Tally,
    /// When the first step began and the last one ended.
    span: Option<(Duration, Duration)>,
    /// Whether peers are waited for: a step that ends with the run.
    awaits_peers: bool,
    /// How far the run has come, as it was last told.
    now: Duration,
    connections: u64,
    closed: u64,
    denied: u64,
    resets: u64,
    timeouts: u64,
    bytes_sent: u64,
    bytes_received: u64,
    errors: u64,
    warnings: u64,
    datagrams: Datagrams,
    pings: Pings,
    /// The rate that was asked for, in datagrams a second.
    rate_asked: Option<f64>,
    extent: Option<Extent>,
    /// Of the bytes sent, those of dialogues before TLS.
    bytes_asking: u64,
    queue: Queue,
    checks: Checks,
    resolve: Distribution,
    connect: Distribution,
    tls: Distribution,
    first_byte: Distribution,
    rounds: Rounds,
    /// Targets of a probe that have come to their end, and how many of them are open.
    probed: Option<(u64, u64)>,
    /// A client's connections that no byte came on yet, and since when they stand.
    silent: HashMap<u64, Duration>,
}

/// What was seen of the accept queue.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    deepest: Option<u64>,
    drops: Option<u64>,
    overflows: Option<u64>,
}

/// How many checks came out in each way.
#[derive(Clone, Copy, Debug, Default)]
struct Checks {
    ok: u64,
    absent: u64,
    denied: u64,
    failed: u64,
}

impl Stats {
    /// Makes the fold of no event.
    #[must_use]
    pub fn new(tally: Tally) -> Self {
        Self {
            tally,
            span: None,
            awaits_peers: false,
            now: Duration::ZERO,
            connections: 0,
            closed: 0,
            denied: 0,
            resets: 0,
            timeouts: 0,
            bytes_sent: 0,
            bytes_received: 0,
            errors: 0,
            warnings: 0,
            datagrams: Datagrams::default(),
            pings: match tally {
                Tally::Pinger { each, explores } => Pings::new(each, explores),
                _ => Pings::new(Each::Nothing, false),
            },
            rate_asked: None,
            extent: None,
            bytes_asking: 0,
            queue: Queue::default(),
            checks: Checks::default(),
            resolve: Distribution::default(),
            connect: Distribution::default(),
            tls: Distribution::default(),
            first_byte: Distribution::default(),
            rounds: Rounds::default(),
            probed: None,
            silent: HashMap::new(),
        }
    }

    /// Takes note of the rate that was asked for, in datagrams a second.
    #[must_use]
    pub fn asking(mut self, rate: Option<f64>) -> Self {
        self.rate_asked = rate;
        self
    }

    /// Takes note that the connections are those of a probe, where they are.
    #[must_use]
    pub fn probing(mut self, is_probe: bool) -> Self {
        self.probed = is_probe.then_some((0, 0));
        self
    }

    /// Takes note of how far the run goes, where that is known.
    #[must_use]
    pub fn reaching(mut self, extent: Option<Extent>) -> Self {
        self.extent = extent;
        self
    }

    /// Takes note of how many things the run is made of, where its walk alone knew that.
    pub fn expect(&mut self, count: u64) {
        self.extent = Some(Extent::Count(count));
    }

    /// Returns how far the run has come on the way to an end that is known; of bytes once some went.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let extent = self.extent.filter(|extent| !matches!(extent, Extent::Count(0) | Extent::Bytes(0)))?;
        let done = match (extent, self.tally) {
            (Extent::Bytes(_), _) => Some(self.bytes_sent - self.bytes_asking).filter(|bytes| *bytes > 0)?,
            (Extent::Count(_), Tally::Sender { measures, reflects }) => self.datagrams.ended(measures && reflects),
            (Extent::Count(_), Tally::Pinger { .. }) => self.pings.ended(),
            (Extent::Count(_), Tally::Rounds) => self.rounds.ended(),
            (Extent::Count(_), _) => self.probed?.0,
        };
        Some(Progress { done, extent })
    }

    /// Returns whether no figure needs more than the bytes of all events of this kind together, nor when they came or
    /// went: what a server sends and receives is only added up, and its run lasts until now in any case.
    #[must_use]
    pub fn needs_only_bytes(&self, kind: Kind) -> bool {
        self.tally == Tally::Server && matches!(kind, Kind::Send | Kind::Recv)
    }

    /// Adds one event that nobody was told of, though they wanted to be.
    pub fn record_unheard(&mut self, stamp: Stamp, event: &Event<'_>) {
        self.record(stamp, event);
        match self.tally {
            Tally::Pinger { .. } => self.pings.unheard(),
            _ => self.datagrams.unheard(event),
        }
    }

    /// Adds one event.
    pub fn record(&mut self, stamp: Stamp, event: &Event<'_>) {
        self.until(stamp.elapsed);
        match self.tally {
            Tally::Pinger { .. } => self.pings.record(stamp, event),
            _ => self.datagrams.record(stamp.elapsed, event),
        }
        match event {
            Event::Accept(_) => self.connections += 1,
            Event::Queue(queue) => {
                self.queue = Queue {
                    deepest: self.queue.deepest.max(Some(u64::from(queue.depth))),
                    drops: queue.drops.or(self.queue.drops),
                    overflows: queue.overflows.or(self.queue.overflows),
                };
            }
            Event::Resolve(resolve) => self.resolve.record(resolve.duration),
            Event::Connect(connect) => {
                self.connections += 1;
                self.connect.record(connect.duration);
                if matches!(self.tally, Tally::Client | Tally::Rounds) {
                    self.silent.insert(connect.conn, stamp.elapsed);
                }
            }
            // The first byte of the target is waited for from when the way to it is open.
            Event::Proxy(proxy) => {
                if let Some(since) = self.silent.get_mut(&proxy.conn) {
                    *since = stamp.elapsed;
                }
            }
            Event::Send(send) => {
                self.bytes_sent += send.bytes;
                self.bytes_asking += if send.layer.is_some() { send.bytes } else { 0 };
            }
            Event::Reply(reply) | Event::Late(event::Late(reply)) | Event::Duplicate(event::Duplicate(reply)) => {
                self.bytes_received += reply.bytes;
            }
            Event::Recv(recv) => {
                self.denied += u64::from(recv.denied);
                self.bytes_received += recv.bytes;
                if let Some(since) = self.broke_silence(recv) {
                    self.first_byte.record(stamp.elapsed.saturating_sub(since));
                }
            }
            Event::Timeout(_) => self.timeouts += 1,
            Event::Close(close) => {
                self.closed += 1;
                self.silent.remove(&close.conn);
                // A reset that no call has met is one too.
                self.resets += u64::from(close.reason == Reason::Reset || close.reset_by == Some(Side::Peer));
                self.denied += u64::from(close.reason == Reason::Denied);
            }
            Event::Probe(probe) => {
                if let Some((ended, open)) = &mut self.probed {
                    *ended += 1;
                    *open += u64::from(probe.outcome != Outcome::Error);
                }
            }
            Event::Round(round) => {
                self.connect.lost(u64::from(round.conn.is_none()));
                self.rounds.record(stamp, round);
            }
            Event::Check(check) => *self.checks.of(check.outcome) += 1,
            Event::Error(_) => self.errors += 1,
            Event::Warning(_) => self.warnings += 1,
            Event::Bind(_) => {
                self.awaits_peers |= matches!(self.tally, Tally::Datagrams | Tally::Receiver { .. });
            }
            Event::Listen(_) => self.awaits_peers |= self.tally == Tally::Server,
            Event::Tls(tls) => {
                self.tls.record(tls.duration);
                // What TLS takes is told apart: the first byte is that of what it carries.
                if let Some(since) = self.silent.get_mut(&tls.conn) {
                    *since = stamp.elapsed;
                }
            }
            Event::Start(_)
            | Event::OwnCertificate(_)
            | Event::Socket(_)
            | Event::Setsockopt(_)
            | Event::Unlink(_)
            | Event::Eof(_)
            | Event::Shutdown(_)
            | Event::Tcp(_)
            | Event::Corrupted(_)
            | Event::Foreign(_)
            | Event::Lost(_)
            | Event::NotSent(_)
            | Event::Session(_)
            | Event::KernelDrops(_)
            | Event::IcmpError(_)
            | Event::Hop(_)
            | Event::PathMtu(_)
            | Event::SynRetransmit(_)
            | Event::ProxyProtocol(_)
            | Event::TargetSummary(_)
            | Event::Interim(_)
            | Event::Summary(_) => {}
        }
        if let Some(took) = took(event) {
            // What it took to find out why a step failed is not part of it.
            let end = stamp.elapsed.saturating_sub(explained(event));
            let begin = self.span.map_or_else(|| end.saturating_sub(took), |(begin, _)| begin);
            self.span = Some((begin, end));
        }
    }

    /// Takes note that the run has come so far, the elapsed time of a stamp: what goes on has
    /// lasted until then.
    pub fn until(&mut self, now: Duration) {
        self.now = now;
    }

    /// Returns since when a connection stands, if this is its first byte.
    fn broke_silence(&mut self, recv: &event::Recv<'_>) -> Option<Duration> {
        if self.silent.is_empty() || recv.bytes == 0 || recv.layer.is_some() {
            return None;
        }
        self.silent.remove(&recv.conn?)
    }

    /// Returns the totals: one that the run has is there, 0 too.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let every = Totals { errors: Some(self.errors), warnings: Some(self.warnings), ..Totals::default() };
        match self.tally {
            Tally::Server => Totals {
                denied: Some(self.denied),
                accept_queue_max: self.queue.deepest,
                listen_drops: self.queue.drops,
                listen_overflows: self.queue.overflows,
                ..self.streams(every)
            },
            Tally::Datagrams => Totals { denied: Some(self.denied), ..self.bytes(self.datagrams.totals(every)) },
            Tally::Sender { measures: true, reflects } => {
                self.bytes(self.datagrams.measuring(self.rate_asked, reflects, every))
            }
            Tally::Sender { .. } => self.bytes(self.datagrams.sender(self.rate_asked, every)),
            Tally::Receiver { measures } => self.bytes(self.datagrams.receiver(measures, every)),
            Tally::Pinger { .. } => {
                let resolve = self.resolve.figures();
                Totals { rate_asked: self.rate_asked, resolve, ..self.pings.totals(every) }
            }
            Tally::Client => self.client(every),
            Tally::Rounds => self.rounds.totals(self.now, self.client(every)),
            Tally::Doctor => Totals {
                checks_ok: Some(self.checks.ok),
                checks_absent: Some(self.checks.absent),
                checks_denied: Some(self.checks.denied),
                checks_failed: Some(self.checks.failed),
                ..every
            },
        }
    }

    /// Returns the totals of a run that goes on: a server's open connections are among them.
    #[must_use]
    pub fn totals_so_far(&self) -> Totals {
        let open = (self.tally == Tally::Server).then(|| self.connections.saturating_sub(self.closed));
        Totals { connections_open: open, ..self.totals() }
    }

    /// Returns whether it has times to keep.
    #[must_use]
    pub fn has_pace(&self) -> bool {
        matches!(self.tally, Tally::Sender { .. } | Tally::Pinger { .. })
    }

    /// Tells the hops of each way, then the totals of each target, with the number of its session where it
    /// has one.
    pub fn each_target(&self, mut tell: impl FnMut(&Event<'_>)) {
        self.pings.each_hop(|hop| tell(&hop.clone().into()));
        self.pings.each_target(|target, name, totals| {
            tell(&event::TargetSummary { target, name, session: None, totals: &totals }.into());
        });
        for (target, session, totals) in self.datagrams.each_session() {
            tell(&event::TargetSummary { target, name: None, session, totals: &totals }.into());
        }
    }

    /// Adds what came and went, and how often it was waited for in vain.
    fn bytes(&self, totals: Totals) -> Totals {
        Totals {
            timeouts: Some(self.timeouts),
            bytes_sent: Some(self.bytes_sent),
            bytes_received: Some(self.bytes_received),
            ..totals
        }
    }

    /// Adds the totals of connections that we make.
    fn client(&self, totals: Totals) -> Totals {
        Totals {
            resolve: self.resolve.figures(),
            connect: self.connect.figures(),
            first_byte: self.first_byte.figures(),
            targets: self.probed.map(|(ended, _)| ended),
            targets_open: self.probed.map(|(_, open)| open),
            ..self.streams(totals)
        }
    }

    /// Adds the totals of connections.
    fn streams(&self, totals: Totals) -> Totals {
        Totals {
            connections: Some(self.connections),
            resets: Some(self.resets),
            tls: self.tls.figures(),
            ..self.bytes(totals)
        }
    }

    /// Returns the time from the first step to the end of the last.
    #[must_use]
    pub fn duration(&self) -> Duration {
        if self.awaits_peers {
            return self.duration_so_far(self.now);
        }
        self.span.map_or(Duration::ZERO, |(begin, end)| end.saturating_sub(begin))
    }

    /// Returns the time from the first step until `now`, the elapsed time of a stamp.
    #[must_use]
    pub fn duration_so_far(&self, now: Duration) -> Duration {
        self.span.map_or(Duration::ZERO, |(begin, _)| now.saturating_sub(begin))
    }

    /// Returns the `interim` event of `totals`, which are [`Stats::totals_so_far`].
    #[must_use]
    pub fn interim<'a>(&self, now: Duration, totals: &'a Totals) -> Interim<'a> {
        Interim { duration: self.duration_so_far(now), totals }
    }

    /// Returns the `summary` event of `totals`, which are [`Stats::totals`].
    #[must_use]
    pub fn summary<'a>(&self, code: ExitCode, totals: &'a Totals) -> Summary<'a> {
        Summary { outcome: Outcome::of(code), exit_code: code.number(), duration: self.duration(), totals }
    }
}

impl Checks {
    /// Returns the count that `outcome` belongs to.
    fn of(&mut self, outcome: CheckOutcome) -> &mut u64 {
        match outcome {
            CheckOutcome::Ok => &mut self.ok,
            CheckOutcome::Absent => &mut self.absent,
            CheckOutcome::Denied => &mut self.denied,
            CheckOutcome::Failed => &mut self.failed,
        }
    }
}

/// Returns how long before its stamp a step began, as far as its event says; `None` for what is
/// no step.
fn took(event: &Event<'_>) -> Option<Duration> {
    match event {
        Event::Start(_)
        | Event::Queue(_)
        | Event::Round(_)
        | Event::Probe(_)
        | Event::Tcp(_)
        | Event::Session(_)
        | Event::KernelDrops(_)
        | Event::Hop(_)
        | Event::TargetSummary(_)
        | Event::Interim(_)
        | Event::Summary(_) => None,
        // Of a step that was given up.
        Event::Warning(warning) => warning.duration,
        Event::Resolve(resolve) => Some(resolve.duration),
        Event::Connect(connect) => Some(connect.duration),
        Event::Proxy(proxy) => Some(proxy.duration),
        Event::ProxyProtocol(header) => Some(header.duration.unwrap_or_default()),
        Event::Tls(tls) => Some(tls.duration),
        Event::Timeout(timeout) => Some(timeout.after),
        Event::Lost(lost) => Some(lost.after),
        Event::Reply(reply) | Event::Late(event::Late(reply)) | Event::Duplicate(event::Duplicate(reply)) => {
            Some(reply.rtt)
        }
        Event::Check(check) => Some(check.duration.unwrap_or_default()),
        // A connection's duration at its close is not that of the step.
        Event::Close(_)
        | Event::OwnCertificate(_)
        | Event::Socket(_)
        | Event::Setsockopt(_)
        | Event::Bind(_)
        | Event::Unlink(_)
        | Event::Listen(_)
        | Event::Accept(_)
        | Event::Send(_)
        | Event::Recv(_)
        | Event::Eof(_)
        | Event::Shutdown(_)
        | Event::SynRetransmit(_)
        | Event::NotSent(_)
        | Event::Corrupted(_)
        | Event::Foreign(_)
        | Event::PathMtu(_)
        | Event::IcmpError(_) => Some(Duration::ZERO),
        Event::Error(error) => Some(error.duration.unwrap_or_default()),
    }
}

/// Returns how long after a failure its event came, because its cause was looked for.
fn explained(event: &Event<'_>) -> Duration {
    match event {
        Event::Error(error) => error.explained,
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;

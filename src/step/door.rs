//! The door: every event goes through it, gets its stamp inside it, and leaves in that order.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use tokio::sync::Notify;

use super::series::Watched;
use super::{Cause, Stop};
use crate::error::{ExitCode, Step};
use crate::event::{self, Audience, Event, Kind, Reason, Stamp};

/// The one way from a step to whoever listens.
pub struct Door {
    started: Instant,
    /// A bit for each kind of event that someone will see.
    wanted: u64,
    /// A bit for each kind that changes how others are shown, though nobody may see it.
    heeded: u64,
    /// A bit for each kind that nobody sees or heeds, and of which no figure needs more than the bytes.
    merged: u64,
    /// Bytes of such events, to be added up.
    received: AtomicU64,
    sent: AtomicU64,
    inner: Mutex<Inner>,
    /// Whether the audience had more to write than it should, when last asked.
    full: AtomicBool,
    drained: Arc<Notify>,
    conns: AtomicU64,
    /// Why a connection ends that nobody ends any more.
    is_signalled: AtomicBool,
    /// What is open, where a series of reports is wanted.
    watched: Option<Watched>,
    /// What tells that the run is over.
    stop: Stop,
}

struct Inner {
    /// `None` once the summary was asked for: nothing may follow it.
    audience: Option<Box<dyn Audience>>,
    last: Duration,
    /// Which failures were looked into.
    explained: Vec<(Step, Option<Errno>)>,
    /// Which warnings that come once a run were given.
    warned: Vec<&'static str>,
}

impl Door {
    /// Opens the door to an audience. `started` is when the program did; `drained` is notified by
    /// whoever writes, when there is room again.
    #[must_use]
    pub fn new(started: Instant, audience: Box<dyn Audience>, drained: Arc<Notify>) -> Self {
        let bits = |has: &dyn Fn(Kind) -> bool| {
            Kind::ALL.iter().filter(|kind| has(**kind)).fold(0, |bits, kind| bits | bit(*kind))
        };
        Self {
            started,
            wanted: bits(&|kind| audience.wants(kind)),
            heeded: bits(&|kind| audience.wants(kind) || audience.heeds(kind)),
            merged: bits(&|kind| !audience.wants(kind) && !audience.heeds(kind) && audience.needs_only_bytes(kind)),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                audience: Some(audience),
                last: Duration::ZERO,
                explained: Vec::new(),
                warned: Vec::new(),
            }),
            full: AtomicBool::new(false),
            drained,
            conns: AtomicU64::new(0),
            is_signalled: AtomicBool::new(true),
            watched: None,
            stop: Stop::default(),
        }
    }

    /// Lets a failure that is looked into know when the run is over.
    #[must_use]
    pub fn stopped_by(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Keeps in sight what is open, for [`report_every`](super::report_every).
    #[must_use]
    pub fn watching(self) -> Self {
        Self { watched: Some(Watched::default()), ..self }
    }

    /// Returns what is open, where that is kept in sight.
    pub(super) fn watched(&self) -> Option<&Watched> {
        self.watched.as_ref()
    }

    /// Returns whether anyone will see events of this kind: what is costly to find out only for
    /// them need not be found out otherwise.
    pub fn wants(&self, kind: Kind) -> bool {
        self.wanted & bit(kind) != 0
    }

    /// Emits an event. Never blocks: who can wait, waits for [`Door::room`] before the next one.
    pub fn emit<'a>(&self, event: impl Into<Event<'a>>) {
        let event = event.into();
        let is_wanted = self.wants(event.kind());
        // The totals say when an outage began, whoever is shown its rounds.
        let is_dated = is_wanted || event.kind() == Kind::Round;
        let mut inner = self.lock();
        let elapsed = self.elapsed(&mut inner);
        // Nobody sees the time of any other event that nobody sees: a clock less to be read.
        let time = if is_dated { SystemTime::now() } else { SystemTime::UNIX_EPOCH };
        let Some(audience) = &mut inner.audience else { return };
        let stamp = Stamp { time, elapsed };
        match self.heeded & bit(event.kind()) != 0 {
            true => audience.hear(stamp, &event),
            false => audience.add(stamp, &event, false),
        }
        if is_wanted && audience.is_full() {
            self.full.store(true, Ordering::Relaxed);
        }
    }

    /// Emits that bytes came. Where that is only added up, the event is not even made: with its time and the lock it
    /// would cost a server of many small ones half of all that it does on this side of the kernel.
    pub(super) fn recvd<'a>(&self, bytes: usize, event: impl FnOnce() -> event::Recv<'a>) {
        match self.merged & bit(Kind::Recv) != 0 {
            true => drop(self.received.fetch_add(bytes as u64, Ordering::Relaxed)),
            false => self.emit(event()),
        }
    }

    /// Emits that bytes went, likewise.
    pub(super) fn sent<'a>(&self, bytes: usize, event: impl FnOnce() -> event::Send<'a>) {
        match self.merged & bit(Kind::Send) != 0 {
            true => drop(self.sent.fetch_add(bytes as u64, Ordering::Relaxed)),
            false => self.emit(event()),
        }
    }

    /// Adds up what was merged so far: before totals are asked for.
    fn add_up_merged(&self) {
        let taken = |merged: &AtomicU64| merged.swap(0, Ordering::Relaxed) as usize;
        match taken(&self.received) {
            0 => {}
            bytes => self.count(event::Recv::on(None, bytes, &[])),
        }
        match taken(&self.sent) {
            0 => {}
            bytes => self.count(event::Send::on(None, bytes, &[])),
        }
    }

    /// Emits an event of which there may be very many, or only adds it up where its reader is too slow.
    pub(super) fn tell<'a>(&self, event: impl Into<Event<'a>>) {
        let event = event.into();
        match self.has_room_for(event.kind()) {
            true => self.emit(event),
            false => self.add_up(event),
        }
    }

    /// Adds up an event that is nothing to tell: a figure that is 0.
    pub(super) fn count<'a>(&self, event: impl Into<Event<'a>>) {
        self.add(&event.into(), false);
    }

    /// Adds up an event that nobody is to see: it tells of many things at once, each of which would
    /// have its own where someone read them. Who wanted to read them is told how many they were.
    pub(super) fn add_up<'a>(&self, event: impl Into<Event<'a>>) {
        let event = event.into();
        let was_wanted = self.wants(event.kind());
        self.add(&event, was_wanted);
        if was_wanted {
            // Whether there is room again is asked by nobody else: a pacer does not wait for it.
            let is_full = self.lock().audience.as_ref().is_some_and(|audience| audience.is_full());
            self.full.store(is_full, Ordering::Relaxed);
            self.warn_once("events-dropped", "whoever reads the events is too slow: some are only counted");
        }
    }

    fn add(&self, event: &Event<'_>, was_wanted: bool) {
        let mut inner = self.lock();
        let elapsed = self.elapsed(&mut inner);
        if let Some(audience) = &mut inner.audience {
            audience.add(Stamp { time: SystemTime::UNIX_EPOCH, elapsed }, event, was_wanted);
        }
    }

    /// Returns whether there is room for an event that someone will see.
    pub(super) fn has_room_for(&self, kind: Kind) -> bool {
        self.wants(kind) && !self.is_full()
    }

    /// Returns whether a slow reader has more to read than it should; then wait for
    /// [`Door::room`].
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Asks once more whether a slow reader has more to read than it should: for whoever waits on a
    /// thread of its own.
    pub(super) fn is_still_full(&self) -> bool {
        if !self.is_full() {
            return false;
        }
        let is_full = self.lock().audience.as_ref().is_some_and(|audience| audience.is_full());
        self.full.store(is_full, Ordering::Relaxed);
        is_full
    }

    /// Waits until a slow reader has made room.
    pub async fn room(&self) {
        while self.is_full() {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            // Registered before the question is asked, so that no answer is missed between.
            drained.as_mut().enable();
            if !self.lock().audience.as_ref().is_some_and(|audience| audience.is_full()) {
                self.full.store(false, Ordering::Relaxed);
                return;
            }
            drained.await;
        }
    }

    /// Returns whether a step fails with an errno for the first time.
    pub(super) fn is_first(&self, step: Step, errno: Option<Errno>) -> bool {
        let mut inner = self.lock();
        let is_first = !inner.explained.contains(&(step, errno));
        if is_first {
            inner.explained.push((step, errno));
        }
        is_first
    }

    /// Emits a warning, unless one of this name was emitted so before.
    pub(super) fn warn_once(&self, name: &'static str, message: &str) {
        let mut inner = self.lock();
        if !inner.warned.contains(&name) {
            inner.warned.push(name);
            drop(inner);
            self.warn(name, message);
        }
    }

    /// Sets why the connections that are still open now end.
    pub fn ends(&self, cause: Cause) {
        self.is_signalled.store(cause.reason() == Reason::Signal, Ordering::Relaxed);
    }

    /// Returns why a connection ends that nobody has ended.
    pub(super) fn end(&self) -> Reason {
        if self.is_signalled.load(Ordering::Relaxed) { Reason::Signal } else { Reason::Local }
    }

    /// Returns the number of the next connection, from 1.
    pub fn next_conn(&self) -> u64 {
        self.conns.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Lets whoever is told know how many things the run is made of, at most: probes.
    pub(super) fn expect(&self, count: u64) {
        if let Some(audience) = &mut self.lock().audience {
            audience.expect(count);
        }
    }

    /// Lets whoever is told show what is due by now.
    pub(super) fn tick(&self) {
        self.add_up_merged();
        let mut inner = self.lock();
        let stamp = self.stamp(&mut inner);
        if let Some(audience) = &mut inner.audience {
            audience.tick(stamp);
        }
    }

    /// Asks for the totals so far.
    pub fn interim(&self) {
        self.add_up_merged();
        let mut inner = self.lock();
        let stamp = self.stamp(&mut inner);
        if let Some(audience) = &mut inner.audience {
            audience.interim(stamp);
        }
    }

    /// Asks for the summary and closes the door. Blocks until all is written; returns the code
    /// that the process exits with.
    pub fn finish(&self, code: ExitCode) -> ExitCode {
        self.add_up_merged();
        let mut inner = self.lock();
        let stamp = self.stamp(&mut inner);
        let audience = inner.audience.take();
        // Whoever emits meanwhile must not wait for a reader that may never read.
        drop(inner);
        audience.map_or(code, |mut audience| audience.finish(stamp, code))
    }

    fn stamp(&self, inner: &mut Inner) -> Stamp {
        Stamp { time: SystemTime::now(), elapsed: self.elapsed(inner) }
    }

    fn elapsed(&self, inner: &mut Inner) -> Duration {
        // The clock is monotonic; the maximum guards the promise against one that is not.
        inner.last = inner.last.max(self.started.elapsed());
        inner.last
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A reporter that panicked has lost at most its own line.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bit(kind: Kind) -> u64 {
    1 << (kind as u32)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::event::Warning;

    /// Tells what it was told.
    struct Recorder(mpsc::Sender<(Duration, Kind)>);

    impl Audience for Recorder {
        fn wants(&self, kind: Kind) -> bool {
            kind == Kind::Warning
        }

        fn hear(&mut self, stamp: Stamp, event: &Event<'_>) {
            let _ = self.0.send((stamp.elapsed, event.kind()));
        }

        fn add(&mut self, stamp: Stamp, event: &Event<'_>, _: bool) {
            self.hear(stamp, event);
        }

        fn is_full(&self) -> bool {
            false
        }

        fn interim(&mut self, stamp: Stamp) {
            let _ = self.0.send((stamp.elapsed, Kind::Interim));
        }

        fn finish(&mut self, stamp: Stamp, code: ExitCode) -> ExitCode {
            let _ = self.0.send((stamp.elapsed, Kind::Summary));
            code
        }
    }

    #[test]
    fn stamps_never_go_back_and_nothing_follows_the_summary() {
        let (tell, told) = mpsc::channel();
        let door = Door::new(Instant::now(), Box::new(Recorder(tell)), Arc::new(Notify::new()));
        assert!(door.wants(Kind::Warning) && !door.wants(Kind::Recv));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| door.emit(Warning::of("x", "y"))));
            }
        });
        door.interim();
        assert_eq!(door.finish(ExitCode::No), ExitCode::No);
        door.emit(Warning::of("x", "y"));
        door.interim();
        drop(door);
        let all: Vec<_> = told.iter().collect();
        assert_eq!(all.len(), 402);
        assert_eq!(all.last().map(|(_, kind)| *kind), Some(Kind::Summary));
        assert!(all.is_sorted_by_key(|(elapsed, _)| *elapsed));
    }

    /// Sees nothing, and is told what bytes were added up.
    struct Blind(mpsc::Sender<(Kind, u64)>);

    impl Audience for Blind {
        fn wants(&self, _: Kind) -> bool {
            false
        }

        fn heeds(&self, _: Kind) -> bool {
            false
        }

        fn needs_only_bytes(&self, kind: Kind) -> bool {
            kind == Kind::Recv
        }

        fn hear(&mut self, _: Stamp, _: &Event<'_>) {}

        fn add(&mut self, _: Stamp, event: &Event<'_>, _: bool) {
            let bytes = match event {
                Event::Recv(recv) => recv.bytes,
                Event::Send(send) => send.bytes,
                _ => 0,
            };
            let _ = self.0.send((event.kind(), bytes));
        }

        fn is_full(&self) -> bool {
            false
        }

        fn interim(&mut self, _: Stamp) {
            let _ = self.0.send((Kind::Interim, 0));
        }

        fn finish(&mut self, _: Stamp, code: ExitCode) -> ExitCode {
            let _ = self.0.send((Kind::Summary, 0));
            code
        }
    }

    #[test]
    fn bytes_that_nobody_hears_of_are_added_up_before_the_totals_are_asked_for() {
        let (tell, told) = mpsc::channel();
        let door = Door::new(Instant::now(), Box::new(Blind(tell)), Arc::new(Notify::new()));
        for bytes in [3, 4] {
            door.recvd(bytes, || unreachable!("nobody is to hear of it"));
            door.sent(bytes, || event::Send::on(1, bytes, &[]));
        }
        door.interim();
        door.recvd(5, || unreachable!("nobody is to hear of it"));
        door.finish(ExitCode::Ok);
        drop(door);
        let expected = [
            (Kind::Send, 3),
            (Kind::Send, 4),
            (Kind::Recv, 7),
            (Kind::Interim, 0),
            (Kind::Recv, 5),
            (Kind::Summary, 0),
        ];
        assert_eq!(told.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_failure_is_looked_into_once() {
        let (tell, _told) = mpsc::channel();
        let door = Door::new(Instant::now(), Box::new(Recorder(tell)), Arc::new(Notify::new()));
        assert!(door.is_first(Step::Bind, Some(Errno::EADDRINUSE)));
        assert!(!door.is_first(Step::Bind, Some(Errno::EADDRINUSE)));
        assert!(door.is_first(Step::Connect, Some(Errno::ECONNREFUSED)));
        assert_eq!((door.next_conn(), door.next_conn()), (1, 2));
    }
}

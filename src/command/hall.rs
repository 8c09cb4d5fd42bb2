//! Connections of a server that are answered together, by one task: while a peer only sends, and takes its answers, it
//! needs none of its own. Who keeps us waiting leaves, and gets one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::session::{Rules, Turn, answer_to};
use crate::error::Step;
use crate::event::Reason;
use crate::step::{self, Came, Connection, Crowd, Door, Failed, Recvd, Stream};

/// Connections that are answered together.
pub(super) struct Hall {
    door: Arc<Door>,
    rules: Arc<Rules>,
    crowd: Crowd,
    /// By the number under which each is watched; boxed, for room that grows takes twice what is in it.
    guests: Vec<Option<Box<Guest>>>,
    free: Vec<usize>,
    /// When each is silent for too long, at the earliest, where that is bounded.
    bounds: BinaryHeap<Reverse<Bound>>,
    /// On which something has come that a slow reader of the events keeps waiting.
    held: Vec<usize>,
    /// On which more may have come than was taken.
    more: Vec<usize>,
    came: Vec<Came>,
    /// What was heard, and not yet answered.
    heard: Vec<Heard>,
    /// The bytes of that, as far as it is filled, and room for one recv more.
    buffer: Vec<u8>,
    filled: usize,
    /// What was done since others than these were let go on.
    work: usize,
}

/// How much is done before signals, timers and others are seen to: about as many recvs, each of 4 KiB.
const WORK: usize = 512;

/// How many are heard before the first is answered.
const TOGETHER: usize = 16;

/// How often in a turn those are asked again who may have sent more.
const ROUNDS: usize = 4;

/// Room for what these say together; who says more than a share of that is answered at once.
const SLACK: usize = 64 << 10;

/// How many bounds of those that are gone may be kept beyond those of as many as are here.
const SPARE: usize = 64;

/// The least time for a turn to come.
const MOMENT: Duration = Duration::from_millis(10);

/// What was heard on a connection.
struct Heard {
    number: u64,
    /// Where in the buffer.
    bytes: Range<usize>,
    /// Whether more may be behind it, of which nothing tells.
    has_more: bool,
}

/// One of them.
struct Guest {
    stream: Stream,
    answers: u64,
    /// Since when it is silent.
    since: Instant,
    waits_for: WaitsFor,
    /// Whether something seemed to be there when its time was over.
    is_doubted: bool,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitsFor {
    /// Something to come.
    Peer,
    /// Its next turn, for what has come.
    Turn,
    /// A slow reader of the events, with what has come.
    Room,
}

/// When a connection is silent for too long, its number here, and its own, for another may have the first by then.
type Bound = (Instant, usize, u64);

/// What a connection came to, here.
#[derive(Debug)]
pub(super) enum Exit {
    /// It is closed.
    Closed,
    /// It goes on alone.
    Leaves(Leaver),
    /// Its session failed on a fault of sockeye's own.
    Panicked,
}

/// A connection that goes on alone.
pub(super) struct Leaver {
    pub(super) stream: Stream,
    pub(super) answers: u64,
    /// What is still to be sent to it.
    pub(super) rest: Vec<u8>,
}

impl std::fmt::Debug for Leaver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaver").field("answers", &self.answers).finish_non_exhaustive()
    }
}

impl Hall {
    /// Begins with none; `None` where this machine has no descriptor left to watch them with.
    pub(super) fn new(rules: &Arc<Rules>, door: &Arc<Door>) -> Option<Self> {
        Some(Self {
            door: Arc::clone(door),
            rules: Arc::clone(rules),
            crowd: Crowd::new().ok()?,
            guests: Vec::new(),
            free: Vec::new(),
            bounds: BinaryHeap::new(),
            held: Vec::new(),
            more: Vec::new(),
            came: Vec::new(),
            heard: Vec::new(),
            buffer: Vec::new(),
            filled: 0,
            work: 0,
        })
    }

    /// Returns how many are here.
    pub(super) fn len(&self) -> usize {
        self.guests.len() - self.free.len()
    }

    /// Takes a connection in.
    ///
    /// # Errors
    /// It cannot be watched; reported.
    pub(super) fn welcome(&mut self, connection: Connection) -> Result<(), Failed> {
        let number = self.free.last().copied().unwrap_or(self.guests.len());
        let stream = connection.join(&mut self.crowd, number as u64)?;
        let (since, conn) = (step::now(), stream.conn());
        let guest = Some(Box::new(Guest { stream, answers: 0, since, waits_for: WaitsFor::Peer, is_doubted: false }));
        match self.free.pop() {
            Some(_) => self.guests[number] = guest,
            None => self.guests.push(guest),
        }
        if let Some(bound) = self.rules.timeout {
            self.bounds.push(Reverse((since + bound, number, conn)));
            if self.bounds.len() > 2 * self.len() + SPARE {
                self.forget_the_gone(bound);
            }
        }
        Ok(())
    }

    /// Waits until somebody sends, and answers all who have by then, or until somebody is silent for too long. Returns
    /// who is gone. Whoever drops it while it waits has lost nothing.
    pub(super) async fn turn(&mut self) -> Vec<Exit> {
        if self.work > WORK {
            self.work = 0;
            step::yield_now().await;
        }
        let has_more = !self.more.is_empty();
        let came = |crowd: &mut Crowd, context: &mut Context<'_>| match crowd.poll_came(context) {
            Poll::Pending if has_more => Poll::Ready(()),
            came => came,
        };
        tokio::select! {
            biased;
            () = self.door.room(), if !self.held.is_empty() => self.release_held(),
            () = poll_fn(|context| came(&mut self.crowd, context)), if self.len() > 0 => self.answer(),
            () = until(self.bounds.peek()) => self.silent(),
        }
    }

    /// Answers on whatever has come, and on what was left of it before.
    fn answer(&mut self) -> Vec<Exit> {
        let mut came = std::mem::take(&mut self.came);
        came.clear();
        came.extend(self.crowd.came().filter(|came| {
            let guest = self.guests.get(came.number as usize).and_then(Option::as_ref);
            guest.is_some_and(|guest| guest.waits_for == WaitsFor::Peer)
        }));
        let mut exits = self.answer_each(&came);
        // Not on all of it, where they are many: others come in between.
        for _ in 0..ROUNDS {
            if self.more.is_empty() {
                break;
            }
            came.clear();
            for number in self.more.drain(..self.more.len().min(TOGETHER)) {
                if let Some(Some(guest)) = self.guests.get_mut(number) {
                    guest.waits_for = WaitsFor::Peer;
                    // Its end may have been told of already.
                    came.push(Came { number: number as u64, has_more: true, is_urgent: false });
                }
            }
            exits.extend(self.answer_each(&came));
        }
        self.came = came;
        // However many others send.
        exits.extend(self.silent());
        exits
    }

    /// Goes on with those that have waited for a slow reader of the events.
    fn release_held(&mut self) -> Vec<Exit> {
        let mut exits = Vec::new();
        for number in std::mem::take(&mut self.held) {
            let Some(Some(guest)) = self.guests.get_mut(number) else { continue };
            guest.waits_for = WaitsFor::Turn;
            match self.crowd.resume(&guest.stream, number as u64) {
                Ok(()) => self.more.push(number),
                Err(failed) => exits.extend(self.close(number, failed.reason())),
            }
        }
        exits
    }

    /// Answers on what has come, several at a time: all are heard before the first is answered. Peers of one program
    /// sleep until then, and are woken once for all.
    fn answer_each(&mut self, came: &[Came]) -> Vec<Exit> {
        let now = self.rules.timeout.map(|_| step::now());
        let mut exits = Vec::new();
        for some in came.chunks(TOGETHER) {
            self.filled = 0;
            for each in some {
                exits.extend(self.guarded(each.number, |hall| hall.hear(*each, now)));
            }
            let mut heard = std::mem::take(&mut self.heard);
            for each in heard.drain(..) {
                exits.extend(self.guarded(each.number, |hall| hall.reply(&each)));
            }
            self.heard = heard;
        }
        exits
    }

    /// Does something with one connection; a fault of sockeye's own there is none of the others'.
    fn guarded(&mut self, number: u64, act: impl FnOnce(&mut Self) -> Option<Exit>) -> Option<Exit> {
        catch_unwind(AssertUnwindSafe(|| act(self))).unwrap_or_else(|_| {
            self.remove(number as usize);
            Some(Exit::Panicked)
        })
    }

    /// Takes what has come on one connection.
    fn hear(&mut self, came: Came, now: Option<Instant>) -> Option<Exit> {
        let number = came.number as usize;
        let guest = self.guests.get_mut(number)?.as_mut()?;
        self.work += 1;
        if guest.stream.lacks_room() {
            guest.waits_for = WaitsFor::Room;
            self.crowd.pause(&guest.stream);
            self.held.push(number);
            return None;
        }
        if came.is_urgent {
            guest.stream.tell_urgent_data();
        }
        // Until then there was none to be told from an empty record.
        if came.has_more
            && let Err(failed) = guest.stream.tell_ends()
        {
            return self.close(number, failed.reason());
        }
        let most = self.rules.recv_size.get();
        if self.buffer.is_empty() {
            // Zeroed pages come from the kernel when they are first used: a large size costs nothing.
            self.buffer = vec![0; SLACK + most];
        }
        // Whatever is heard and not yet answered takes less than the slack.
        let room = self.filled..self.filled + most;
        match guest.stream.recv(&mut self.buffer[room.clone()]) {
            Ok(Recvd::Nothing) => None,
            Ok(Recvd::Eof) => self.close(number, Reason::Eof),
            Ok(Recvd::Data(bytes)) => {
                guest.since = now.unwrap_or(guest.since);
                guest.is_doubted = false;
                self.work += bytes / 4096;
                // Of records each is told of until the last is taken.
                let has_more = guest.stream.is_bytes() && (came.has_more || guest.stream.may_have_more());
                let heard = Heard { number: came.number, bytes: room.start..room.start + bytes, has_more };
                if bytes > SLACK / TOGETHER {
                    return self.reply(&heard);
                }
                self.filled += bytes;
                self.heard.push(heard);
                None
            }
            Err(failed) => self.close(number, failed.reason()),
        }
    }

    /// Answers what was heard.
    fn reply(&mut self, heard: &Heard) -> Option<Exit> {
        let number = heard.number as usize;
        let guest = self.guests.get_mut(number)?.as_mut()?;
        match answer_to(&guest.stream, &self.rules, &self.buffer[heard.bytes.clone()]) {
            Ok(Turn::Done { answered }) => guest.answers += u64::from(answered),
            Ok(Turn::Unsent(rest)) => return self.leave(number, rest),
            Err(failed) => return self.close(number, failed.reason()),
        }
        if self.rules.is_limit(guest.answers) {
            return self.close(number, Reason::Limit);
        }
        if heard.has_more {
            guest.waits_for = WaitsFor::Turn;
            self.more.push(number);
        }
        None
    }

    /// Lets a connection go that has to wait for its peer to take the rest of an answer.
    fn leave(&mut self, number: usize, rest: Vec<u8>) -> Option<Exit> {
        let Guest { stream, answers, .. } = *self.remove(number)?;
        Some(match self.crowd.release(&stream) {
            Ok(()) => Exit::Leaves(Leaver { stream, answers, rest }),
            Err(failed) => {
                stream.close(failed.reason());
                Exit::Closed
            }
        })
    }

    /// Closes those that have been silent for too long.
    fn silent(&mut self) -> Vec<Exit> {
        let mut exits = Vec::new();
        let Some(bound) = self.rules.timeout else { return exits };
        let now = step::now();
        while let Some(Reverse((until, number, conn))) = self.bounds.peek().copied()
            && until <= now
        {
            self.bounds.pop();
            let Some(guest) = self.guests.get_mut(number).and_then(Option::as_mut) else { continue };
            if guest.stream.conn() != conn {
                continue;
            }
            let silent = now.duration_since(guest.since);
            let next = match guest.waits_for {
                _ if silent < bound => guest.since + bound,
                // What has come is not the peer's silence.
                WaitsFor::Turn | WaitsFor::Room => now + bound,
                WaitsFor::Peer if guest.is_doubted || !guest.stream.has_arrived() => {
                    guest.stream.timeout(Step::Recv, silent);
                    exits.extend(self.close(number, Reason::Timeout));
                    continue;
                }
                WaitsFor::Peer => {
                    guest.is_doubted = true;
                    guest.waits_for = WaitsFor::Turn;
                    self.more.push(number);
                    now + (bound / 16).max(MOMENT)
                }
            };
            self.bounds.push(Reverse((next, number, conn)));
        }
        exits
    }

    /// Forgets the bounds of those that are gone.
    fn forget_the_gone(&mut self, bound: Duration) {
        let here = self.guests.iter().enumerate().filter_map(|(number, guest)| Some((number, guest.as_ref()?)));
        self.bounds = here.map(|(number, guest)| Reverse((guest.since + bound, number, guest.stream.conn()))).collect();
    }

    fn close(&mut self, number: usize, reason: Reason) -> Option<Exit> {
        self.remove(number)?.stream.close(reason);
        Some(Exit::Closed)
    }

    fn remove(&mut self, number: usize) -> Option<Box<Guest>> {
        let guest = self.guests.get_mut(number)?.take()?;
        self.free.push(number);
        Some(guest)
    }
}

/// Waits until the first bound is over; for ever where there is none.
async fn until(bound: Option<&Reverse<Bound>>) {
    match bound {
        Some(Reverse((until, ..))) => step::sleep(until.saturating_duration_since(step::now())).await,
        None => std::future::pending().await,
    }
}

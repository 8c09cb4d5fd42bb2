//! A connection of `--broker`: what one peer sends, all others get.
//!
//! What one recv gave exists once, and waits by reference for each peer that is to get it, so that
//! all get the same pieces in the same order. Nobody waits for a slow peer: one for which too much
//! waits is closed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::session::{Rules, Taken, take};
use crate::error::Step;
use crate::event::Reason;
use crate::step::{self, Failed, Rest, Stream, now, since};

/// Most bytes that wait for one peer.
const MOST: usize = 1 << 20;

/// A piece counts at least so much, so that memory is bounded for the smallest ones too.
const LEAST: usize = 64;

/// What one recv gave.
type Piece = Arc<[u8]>;

/// All peers of a broker.
#[derive(Debug, Default)]
pub(super) struct Hub {
    members: Mutex<Vec<Arc<Member>>>,
}

/// One peer, and what waits for it.
#[derive(Debug)]
struct Member {
    conn: u64,
    inbox: Mutex<Inbox>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inbox {
    pieces: VecDeque<Piece>,
    /// Bytes in the pieces.
    bytes: usize,
    /// What they count.
    cost: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It gets what comes.
    #[default]
    Open,
    /// It gets what waits, and no more.
    Leaving,
    /// It is closed: so many bytes waited for it.
    Behind(usize),
}

/// What a peer is to get next.
enum Next {
    Piece(Piece),
    /// Nothing more.
    End,
    /// It is too far behind.
    Behind(usize),
}

impl Hub {
    /// Lets a peer in; it leaves when what is returned is dropped.
    fn join(&self, conn: u64) -> Membership<'_> {
        let member = Arc::new(Member { conn, inbox: Mutex::default(), changed: Notify::new() });
        lock(&self.members).push(Arc::clone(&member));
        Membership { hub: self, member }
    }

    /// Gives what one peer has sent to all others.
    fn publish(&self, from: u64, piece: &Piece) {
        for member in lock(&self.members).iter().filter(|member| member.conn != from) {
            lock(&member.inbox).push(piece);
            member.changed.notify_one();
        }
    }
}

impl Inbox {
    fn push(&mut self, piece: &Piece) {
        if self.state != State::Open {
            return;
        }
        self.bytes += piece.len();
        self.cost += piece.len().max(LEAST);
        if self.cost > MOST {
            *self = Self { state: State::Behind(self.bytes), ..Self::default() };
        } else {
            self.pieces.push_back(Arc::clone(piece));
        }
    }

    /// Returns whether there is something that the peer did not get.
    fn has_more(&self) -> bool {
        !self.pieces.is_empty() || matches!(self.state, State::Behind(_))
    }

    fn pop(&mut self) -> Option<Next> {
        if let State::Behind(bytes) = self.state {
            return Some(Next::Behind(bytes));
        }
        match self.pieces.pop_front() {
            Some(piece) => {
                self.bytes -= piece.len();
                self.cost -= piece.len().max(LEAST);
                Some(Next::Piece(piece))
            }
            None if self.state == State::Leaving => Some(Next::End),
            None => None,
        }
    }
}

impl Member {
    /// Waits for what the peer is to get next.
    async fn next(&self) -> Next {
        loop {
            let next = lock(&self.inbox).pop();
            match next {
                Some(next) => return next,
                None => self.changed.notified().await,
            }
        }
    }

    /// Waits until the peer is too far behind.
    async fn behind(&self) -> usize {
        loop {
            if let State::Behind(bytes) = lock(&self.inbox).state {
                return bytes;
            }
            self.changed.notified().await;
        }
    }

    fn leave(&self) {
        let mut inbox = lock(&self.inbox);
        if inbox.state == State::Open {
            inbox.state = State::Leaving;
        }
        drop(inbox);
        self.changed.notify_one();
    }
}

/// Tells a connection, when it is dropped, whether something waits for its peer that is closed.
struct Leftovers<'a> {
    stream: &'a Stream,
    member: &'a Member,
}

impl Drop for Leftovers<'_> {
    fn drop(&mut self) {
        if lock(&self.member.inbox).has_more() {
            self.stream.owe();
        }
    }
}

/// A peer's place at the hub.
struct Membership<'a> {
    hub: &'a Hub,
    member: Arc<Member>,
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        lock(&self.hub.members).retain(|member| !Arc::ptr_eq(member, &self.member));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes on what a peer sends, and gives it what the others do. A failure is this connection's own.
#[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice, and ten thousand may wait")]
pub(super) fn answer(stream: Stream, rules: Arc<Rules>) -> impl Future<Output = ()> + Send {
    async move {
        let reason = match Box::pin(until_end(&stream, &rules)).await {
            Ok(reason) => reason,
            Err(failed) => failed.reason(),
        };
        stream.close(reason);
    }
}

async fn until_end(stream: &Stream, rules: &Rules) -> Result<Reason, Failed> {
    let (place, given_at) = (rules.hub.join(stream.conn()), Mutex::new(now()));
    let _leftovers = Leftovers { stream, member: &place.member };
    let give = give(stream, rules, &place.member, &given_at);
    tokio::pin!(give);
    tokio::select! {
        given = &mut give => given,
        taken = pass_on(stream, rules, &given_at) => match taken? {
            // It gets what waits for it, as it would have a moment earlier.
            Reason::Eof => {
                place.member.leave();
                give.await
            }
            reason => Ok(reason),
        },
    }
}

/// Gives a peer what waits for it, until nothing more will come; notes when it had the last piece.
async fn give(stream: &Stream, rules: &Rules, member: &Member, given_at: &Mutex<Instant>) -> Result<Reason, Failed> {
    let waiting = loop {
        let piece = match member.next().await {
            Next::Piece(piece) => piece,
            Next::End => return Ok(Reason::Eof),
            Next::Behind(bytes) => break bytes,
        };
        tokio::select! {
            sent = stream.send_all(&piece, rules.timeout, Rest::Stays) => {
                sent?;
                *lock(given_at) = now();
            }
            bytes = member.behind() => break bytes,
        }
    };
    let message = format!(
        "connection {} is closed: {waiting} bytes wait for it, and the others are not to wait for a slow peer",
        member.conn
    );
    stream.warn("slow-peer", &message);
    Ok(Reason::Limit)
}

/// Passes on what a peer sends, to its end or until neither side has had a byte for too long.
async fn pass_on(stream: &Stream, rules: &Rules, given_at: &Mutex<Instant>) -> Result<Reason, Failed> {
    let (mut bytes, mut quiet) = (stream.bytes(), now());
    loop {
        let bound = rules.timeout.map(|timeout| timeout.saturating_sub(since(quiet)));
        let waited = stream.readable_within(bound).await;
        if stream.bytes() != bytes {
            // Of a piece that it takes at this moment only that is known.
            let given_at = *lock(given_at);
            (bytes, quiet) = (stream.bytes(), if given_at > quiet { given_at } else { now() });
        } else if waited.is_err() {
            stream.timeout(Step::Recv, since(quiet));
            return Ok(Reason::Timeout);
        }
        if waited.is_err() {
            continue;
        }
        match take(stream, rules, usize::MAX, |received| Piece::from(received))? {
            Taken::Nothing => continue,
            Taken::Eof => return Ok(Reason::Eof),
            Taken::Data(piece) => rules.hub.publish(stream.conn(), &piece),
        }
        (bytes, quiet) = (stream.bytes(), now());
        // The others get it before more is taken.
        step::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn got(member: &Member) -> Vec<Piece> {
        std::iter::from_fn(|| match lock(&member.inbox).pop() {
            Some(Next::Piece(piece)) => Some(piece),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn all_others_get_the_same_bytes_and_not_a_copy() {
        let hub = Hub::default();
        let (one, two, three) = (hub.join(1), hub.join(2), hub.join(3));
        let piece = Piece::from(&b"hello"[..]);
        hub.publish(1, &piece);
        assert!(got(&one.member).is_empty());
        assert!(Arc::ptr_eq(&got(&two.member)[0], &got(&three.member)[0]));
        drop(two);
        assert_eq!(lock(&hub.members).len(), 2);
    }

    #[test]
    fn who_is_too_far_behind_holds_nothing_and_the_others_go_on() {
        let hub = Hub::default();
        let (_one, slow, quick) = (hub.join(1), hub.join(2), hub.join(3));
        let piece = Piece::from(vec![0; 65_536]);
        for _ in 0..17 {
            hub.publish(1, &piece);
            got(&quick.member);
        }
        assert_eq!(lock(&slow.member.inbox).state, State::Behind(17 * 65_536));
        assert_eq!(lock(&quick.member.inbox).state, State::Open);
        assert!(got(&slow.member).is_empty());
        assert_eq!(Arc::strong_count(&piece), 1);
    }

    #[test]
    fn the_smallest_pieces_are_bounded_too() {
        let hub = Hub::default();
        let (_one, slow) = (hub.join(1), hub.join(2));
        let piece = Piece::from(&b"x"[..]);
        (0..MOST / LEAST + 1).for_each(|_| hub.publish(1, &piece));
        assert_eq!(lock(&slow.member.inbox).state, State::Behind(MOST / LEAST + 1));
    }

    #[test]
    fn who_leaves_gets_what_waits_and_no_more() {
        let hub = Hub::default();
        let (_one, two) = (hub.join(1), hub.join(2));
        let piece = Piece::from(&b"x"[..]);
        hub.publish(1, &piece);
        two.member.leave();
        hub.publish(1, &piece);
        assert_eq!(got(&two.member).len(), 1);
        assert!(matches!(lock(&two.member.inbox).pop(), Some(Next::End)));
    }
}

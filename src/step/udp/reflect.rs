//! The receiving end of a measurement: numbered datagrams in the order in which they come, and the
//! answers of a stateful STAMP Session-Reflector (RFC 8762, 4.3).

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Udp;
use crate::event::{self, Arrival, Measured};
use crate::packet::stamp::{ErrorEstimate, LEN, Reply, TestPacket, Timestamp};
use crate::step::order::Order;
use crate::step::thread::Halt;
use crate::step::trip::wall_clock;
use crate::sys::{Outgoing, Received, SendBatch};

/// Most sessions that are told apart. Whatever a sender does, each has at most 144 KiB here, and its
/// distribution 270 KiB.
const MOST: usize = 1_024;

/// Knows every sender's session.
pub struct Reflector {
    sessions: Vec<Session>,
    /// The session that a sender's numbers now belong to.
    current: HashMap<(SocketAddr, u16), usize>,
    /// The test packets of the last batch, buffer by buffer, and when each came.
    pending: Vec<Option<(Option<usize>, TestPacket, u64)>>,
    answers: Vec<Vec<u8>>,
    error: ErrorEstimate,
}

/// A sender's session.
struct Session {
    order: Order,
    /// The number of the next answer.
    next: u32,
    /// When the packet that came first was sent, by the sender's clock.
    begun: Timestamp,
    /// When the packet of the highest number was.
    newest: Timestamp,
}

impl Default for Reflector {
    fn default() -> Self {
        Self::new()
    }
}

impl Reflector {
    /// Begins with no session.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sessions: Vec::new(),
            current: HashMap::new(),
            pending: Vec::new(),
            answers: Vec::new(),
            error: clock_error(),
        }
    }

    /// Begins with a new batch.
    pub(super) fn begin(&mut self) {
        self.pending.clear();
    }

    /// Adds a datagram; `None` where it is no test packet.
    pub(super) fn measure(&mut self, udp: &Udp, received: &Received<'_>) -> Option<Measured> {
        let came = received.kernel_time.unwrap_or_else(wall_clock);
        let Some((from, test)) = received.from.as_socket().zip(TestPacket::read(received.data)) else {
            self.pending.push(None);
            udp.door.warn_once("not-measured", "datagrams came that are no STAMP test packets: they are only counted");
            return None;
        };
        let session = self.session(udp, from, &test);
        self.pending.push(Some((session, test, came)));
        let session = session?;
        let state = &mut self.sessions[session];
        let arrival = state.order.arrive(test.sequence);
        if matches!(arrival, Arrival::Next { .. }) {
            state.newest = test.sent;
        }
        Some(Measured { session, sequence: u64::from(test.sequence), arrival, times: (test.sent.ns(), came) })
    }

    /// Returns the session that a test packet belongs to. Number 0 that was sent after all that came
    /// is the first of a sender that has begun again, unless 32 bits end there.
    fn session(&mut self, udp: &Udp, from: SocketAddr, test: &TestPacket) -> Option<usize> {
        /// How many numbers before their end may be missing.
        const NEAR: u64 = 1 << 20;
        let key = (from, test.session);
        if let Some(known) = self.current.get(&key).copied() {
            let Session { order, begun, newest, .. } = &self.sessions[known];
            let is_first = test.sequence == 0 && test.sent != *begun && test.sent.ns() > newest.ns();
            if !is_first || order.gap(0).is_some_and(|gap| gap < NEAR) {
                return Some(known);
            }
        }
        if self.sessions.len() >= MOST {
            let message = format!(
                "more than {MOST} sessions: what further senders send is only counted, and answered with its own numbers"
            );
            udp.door.warn_once("sessions-limited", &message);
            return None;
        }
        self.sessions.push(Session { order: Order::new(), next: 0, begun: test.sent, newest: test.sent });
        let index = self.sessions.len() - 1;
        self.current.insert(key, index);
        let session = (test.session != 0).then_some(test.session);
        udp.door.emit(event::Session { peer: &from.into(), session });
        Some(index)
    }

    /// Answers the test packets of the last batch.
    pub(super) fn reply(&mut self, udp: &Udp, halt: &Halt, received: &[Received<'_>], sends: &mut SendBatch) {
        let Self { sessions, pending, answers, error, .. } = self;
        answers.resize_with(received.len().max(answers.len()), Vec::new);
        let mut outgoing = Vec::with_capacity(received.len());
        for ((received, pending), answer) in received.iter().zip(pending.iter()).zip(answers.iter_mut()) {
            let Some((session, test, came)) = pending else { continue };
            let sequence = match session {
                Some(session) => {
                    let next = &mut sessions[*session].next;
                    std::mem::replace(next, next.wrapping_add(1))
                }
                // Of whom nothing is known, as a stateless reflector does (RFC 8762, 4.3).
                None => test.sequence,
            };
            // As long as what it answers, so that both ways carry the same (RFC 8762, 4.3).
            answer.clear();
            answer.resize(received.data.len().max(LEN), 0);
            let reply = Reply {
                sequence,
                sent: Timestamp::ntp(wall_clock()),
                error: *error,
                received: Timestamp::ntp(*came),
                test: *test,
                sender_ttl: received.hops.unwrap_or(0),
            };
            let _written = reply.write(answer);
            let from = udp.answers_from(received);
            outgoing.push(Outgoing { to: Some(&received.from), parts: [&[], answer], segment: None, from, hops: None });
        }
        udp.send_answers(halt, sends, &outgoing);
    }
}

/// Returns what is said of the clock of this machine: how far it may be off is not known, so no more
/// than how finely it counts.
pub(super) fn clock_error() -> ErrorEstimate {
    /// Nanoseconds.
    const FINENESS: u64 = 1_000;
    ErrorEstimate::new(false, FINENESS)
}

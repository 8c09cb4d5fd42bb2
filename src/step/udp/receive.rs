//! Receiving in batches: one recvmmsg(2) for many datagrams, an event for each only where someone
//! reads it.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::poll::PollFlags;

use super::drops::Drops;
use super::queue::{Drained, back_pressure, is_about_earlier, is_of_icmp};
use super::reflect::Reflector;
use super::{Udp, shown, with_port};
use crate::error::errno_name;
use crate::event::{self, Kind, Measured};
use crate::socket::options::recv_timeout;
use crate::step::Failed;
use crate::step::open::set;
use crate::step::thread::Halt;
use crate::sys::{self, ArrivedAt, Outgoing, Received, RecvBatch, SendBatch};

/// Most buffers of one recvmmsg(2).
const SLOTS: usize = 32;

/// The largest datagram, and all that the kernel merges into one buffer, in bytes.
pub(super) const LARGEST: usize = 65_535;

/// Whether datagrams that came merged are answered as one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// Each is answered by itself.
    Cut,
    /// The answer is what came: the kernel cuts it again.
    AsItCame,
}

/// Takes datagrams from a socket, and answers them.
pub struct Receiver<'a> {
    udp: &'a Udp,
    batch: RecvBatch,
    /// How many buffers the last batch has.
    buffers: usize,
    /// How many the last batch had that had any.
    came: usize,
    /// The most bytes of a datagram that are wanted.
    most: usize,
    /// Whether a buffer holds all that is wanted of a datagram, or only its length is.
    has_data: bool,
    drops: Drops,
    interfaces: HashMap<u32, String>,
    sends: SendBatch,
    /// Whether the next recv may wait a moment: what is expected soon costs one call less.
    waits: bool,
    can_wait: bool,
    /// Whether the error queue is taken here; else by whoever knows what was sent.
    takes_errors: bool,
    measured: Vec<Option<Measured>>,
}

impl<'a> Receiver<'a> {
    /// Makes one that takes at most so many bytes of a datagram. `needs_data` says whether anybody
    /// but the events looks at them, `has_extras` whether something comes along.
    #[must_use]
    pub fn new(udp: &'a Udp, most: usize, needs_data: bool, has_extras: bool) -> Self {
        let has_data = needs_data || udp.door.wants(Kind::Recv);
        // Where only lengths are wanted the kernel copies a byte (MSG_TRUNC tells the length).
        let room = match has_data {
            true if udp.is_merged => LARGEST,
            true => most.min(LARGEST),
            false => 1,
        };
        Self {
            udp,
            batch: RecvBatch::new(SLOTS, room, has_extras || udp.is_merged),
            buffers: 0,
            came: 0,
            most,
            has_data,
            drops: Drops::new(),
            interfaces: HashMap::new(),
            sends: SendBatch::default(),
            waits: false,
            can_wait: false,
            takes_errors: true,
            measured: Vec::new(),
        }
    }

    /// Leaves the error queue to whoever knows what was sent, and takes it from there after a recv.
    #[must_use]
    pub fn without_errors(self) -> Self {
        Self { takes_errors: false, ..self }
    }

    /// Lets a recv wait a moment for what comes after something else has just come: for a thread that
    /// has nothing else to do.
    ///
    /// # Errors
    /// As setsockopt(2), reported.
    pub fn wait_a_moment(&mut self) -> Result<(), Failed> {
        /// As long as the end of a run may be late.
        const MOMENT: Duration = Duration::from_millis(10);
        set(&self.udp.door, &self.udp.socket, &recv_timeout(MOMENT))?;
        self.can_wait = self.udp.socket.set_nonblocking(false).is_ok();
        Ok(())
    }

    /// Takes what has come, at most so many buffers, and reports it; returns how many datagrams it
    /// were. Numbered ones are measured by the reflector.
    ///
    /// # Errors
    /// As recvmmsg(2), reported.
    pub fn take(&mut self, most: u64, reflector: Option<&mut Reflector>) -> Result<u64, Failed> {
        self.buffers = 0;
        // Twice what came last: who asks for many where one comes at a time asks once more in vain.
        let most = usize::try_from(most).unwrap_or(SLOTS).min((self.came * 2).clamp(1, SLOTS));
        let waits = std::mem::take(&mut self.waits);
        self.buffers = match self.batch.recv(self.udp.fd(), most, waits) {
            Ok(buffers) => buffers,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(0);
            }
            // An ICMP error about what we have sent: the error queue tells it in full.
            Err(_) if self.takes_errors && self.udp.drain(&mut ()).errors > 0 => return Ok(0),
            Err(error) if !self.takes_errors && is_of_icmp(&error) && sys::hangup(self.udp.fd()).has_error => {
                return Ok(0);
            }
            // Or it does not: it has no room where the receive buffer is full.
            Err(error) if is_of_icmp(&error) => {
                let message = "ICMP errors came that the kernel had no room to tell of: they are not counted";
                self.udp.door.warn_once("icmp-errors-lost", message);
                return Ok(0);
            }
            Err(error) => return Err(self.udp.recv_failed(&error)),
        };
        self.waits = self.can_wait;
        self.came = self.buffers;
        self.drops.look_again(self.udp);
        self.measured.clear();
        if let Some(reflector) = reflector {
            reflector.begin();
            for index in 0..self.buffers {
                let received = self.batch.get(index);
                self.measured.push(reflector.measure(self.udp, &received));
            }
        }
        Ok(match self.udp.door.has_room_for(Kind::Recv) {
            true => self.tell(),
            false => self.add_up(),
        })
    }

    /// Returns the buffers of the last batch.
    pub(super) fn buffers(&self) -> impl Iterator<Item = Received<'_>> {
        (0..self.buffers).map(|index| self.batch.get(index))
    }

    /// Reports each datagram.
    fn tell(&mut self) -> u64 {
        let mut number = 0;
        for index in 0..self.buffers {
            let received = self.batch.get(index);
            let from = shown(&received.from);
            let local = received.arrival.map(|arrival| with_port(&arrival, self.udp.local()));
            let interface = received.arrival.map(|arrival| {
                let name = self.interfaces.entry(arrival.interface).or_insert_with(|| {
                    let name = nix::net::if_::if_indextoname(arrival.interface);
                    name.map_or_else(|_| arrival.interface.to_string(), |name| name.to_string_lossy().into_owned())
                });
                name.as_str()
            });
            for (data, true_bytes) in pieces(&received) {
                let taken = true_bytes.min(self.most);
                let measured = self.measured.get(number as usize).map(std::slice::from_ref).unwrap_or_default();
                self.udp.door.emit(event::Recv {
                    peer: Some(&from),
                    local: Some(local.as_ref().unwrap_or(self.udp.local())),
                    truncated: Some(true_bytes > taken),
                    datagram_bytes: Some(true_bytes as u64),
                    ttl: received.hops,
                    dscp: received.class.map(|class| class >> 2),
                    ecn: received.class.map(|class| class & 3),
                    interface,
                    kernel_time: received.kernel_time.map(moment),
                    sequence: measured.iter().flatten().map(|measured| measured.sequence).next(),
                    measured,
                    ..event::Recv::on(self.udp.conn(), taken, &data[..taken.min(data.len())])
                });
                self.udp.count_received(taken);
                number += 1;
            }
        }
        number
    }

    /// Counts the datagrams.
    fn add_up(&self) -> u64 {
        let (mut datagrams, mut bytes, mut cut) = (0, 0, 0);
        for index in 0..self.buffers {
            let (size, segment) = self.batch.size(index);
            match segment {
                // None that was merged is larger than what is taken of one.
                Some(segment) => {
                    datagrams += size.div_ceil(segment);
                    bytes += size;
                }
                None => {
                    datagrams += 1;
                    bytes += size.min(self.most);
                    cut += usize::from(size > self.most);
                }
            }
        }
        if datagrams > 0 {
            self.udp.count_received(bytes);
            self.udp.door.add_up(event::Recv {
                datagrams: datagrams as u64,
                cut: cut as u64,
                measured: &self.measured,
                ..event::Recv::on(None, bytes, &[])
            });
        }
        datagrams as u64
    }

    /// Answers each datagram of the last batch as the rule says: what is sent, in two parts.
    ///
    /// A peer that cannot be sent to is told of, and harms no other.
    pub fn answer<'b>(&'b mut self, halt: &Halt, whole: Whole, rule: impl Fn(&'b [u8]) -> Option<[&'b [u8]; 2]>) {
        let Self { udp, batch, buffers, most, sends, has_data, .. } = self;
        debug_assert!(*has_data, "an answer is to data");
        let received: Vec<Received<'b>> = (0..*buffers).map(|index| batch.get(index)).collect();
        let mut answers = Vec::with_capacity(received.len());
        for received in &received {
            let from = udp.answers_from(received);
            match (whole, received.segment.and_then(|size| u16::try_from(size).ok())) {
                (Whole::AsItCame, segment @ Some(_)) => {
                    answers.push(Outgoing {
                        to: Some(&received.from),
                        parts: [&[], received.data],
                        segment,
                        from,
                        hops: None,
                    });
                }
                _ => answers.extend(pieces(received).filter_map(|(data, _)| {
                    let parts = rule(&data[..data.len().min(*most)])?;
                    Some(Outgoing { to: Some(&received.from), parts, segment: None, from, hops: None })
                })),
            }
        }
        udp.send_answers(halt, sends, &answers);
    }

    /// Answers each numbered datagram of the last batch as a stateful STAMP reflector does.
    pub fn reflect(&mut self, halt: &Halt, reflector: &mut Reflector) {
        let Self { udp, batch, buffers, sends, .. } = self;
        let received: Vec<Received<'_>> = (0..*buffers).map(|index| batch.get(index)).collect();
        reflector.reply(udp, halt, &received, sends);
    }

    /// Looks, now and then, at what this host's kernel drops: while nothing comes too.
    pub fn look_at_drops(&mut self) {
        self.drops.look_again(self.udp);
    }

    /// Takes what the error queue has, and reports it.
    pub fn drain(&mut self) {
        let _told: Drained = self.udp.drain(&mut ());
    }

    /// Tells what this host's kernel has dropped so far.
    pub fn end(&mut self) {
        self.drops.look(self.udp);
    }
}

/// Returns the datagrams of a buffer: what lies in it of each, and what it had.
fn pieces<'b>(received: &Received<'b>) -> impl Iterator<Item = (&'b [u8], usize)> + use<'b> {
    let (data, true_bytes, segment) = (received.data, received.true_bytes, received.segment);
    let size = segment.unwrap_or(true_bytes);
    let count = if size == 0 { 1 } else { true_bytes.div_ceil(size).max(1) };
    (0..count).map(move |index| {
        let start = index * size;
        let (end, whole) = ((start + size).min(data.len()), size.min(true_bytes - start));
        (data.get(start.min(end)..end).unwrap_or_default(), whole)
    })
}

/// Returns a time of the kernel, which counts nanoseconds since 1970.
fn moment(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos)
}

impl Udp {
    /// Returns whether it is bound to no address of this host in particular: then an answer goes from
    /// the address that was asked only where that is said.
    pub(super) fn is_wildcard(&self) -> bool {
        self.local().ip().is_some_and(|ip| ip.is_unspecified())
    }

    /// Returns what an answer is to come from: the address that was asked, where it can be told.
    pub(super) fn answers_from(&self, received: &Received<'_>) -> Option<ArrivedAt> {
        let at = received.arrival.filter(|_| self.is_wildcard())?;
        // Nothing comes from the address of a group; of IPv4 the kernel tells ours beside it.
        let is_group = at.to.is_multicast() || matches!(at.to, IpAddr::V4(v4) if v4.is_broadcast());
        // By which interface it goes the routes say.
        (at.local.is_some() || !is_group).then_some(ArrivedAt { interface: 0, ..at })
    }

    /// Sends answers, each to its own peer.
    pub(super) fn send_answers(&self, halt: &Halt, sends: &mut SendBatch, answers: &[Outgoing<'_>]) {
        /// How long a full send buffer is waited for before an answer is given up.
        const ROOM: Duration = Duration::from_millis(100);
        let (mut at, mut has_waited, mut retries) = (0, false, 0);
        while at < answers.len() {
            match sends.send(self.fd(), &answers[at..]) {
                Ok(taken) => {
                    self.tell_sent(&answers[at..at + taken]);
                    at += taken;
                    (has_waited, retries) = (false, 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let drained = self.drain(&mut ());
                    // An error of an earlier answer is told on the next send, which is then not made.
                    if retries < 3 && is_about_earlier(&error, drained) {
                        retries += 1;
                        continue;
                    }
                    let to = answers[at].to.map(shown);
                    let to = to.as_ref().unwrap_or_else(|| self.target());
                    match back_pressure(&error) {
                        Some(_) if !has_waited && !halt.is_set() => {
                            has_waited = true;
                            halt.wait(self.fd(), PollFlags::POLLOUT, Some(ROOM));
                            continue;
                        }
                        Some(errno) => self.not_sent(to, None, &errno),
                        None => {
                            let bytes = answers[at].parts.iter().map(|part| part.len()).sum();
                            let failed = self.send_failed(&error, to, bytes, drained.mtu);
                            // Peers can bring about as many as they like: no more are told than are read.
                            match self.door.has_room_for(Kind::Error) {
                                true => drop(self.door.fail(&failed)),
                                false => self.not_sent(to, None, &failed.errno.map(errno_name).unwrap_or_default()),
                            }
                        }
                    }
                    at += 1;
                    has_waited = false;
                }
            }
        }
    }

    /// Reports what the kernel took.
    pub(super) fn tell_sent(&self, sent: &[Outgoing<'_>]) {
        let size = |datagram: &Outgoing<'_>| datagram.parts.iter().map(|part| part.len()).sum::<usize>();
        self.count_sent(sent.iter().map(size).sum());
        let pieces = |datagram: &Outgoing<'_>| match datagram.segment {
            Some(segment) => size(datagram).div_ceil(usize::from(segment).max(1)).max(1),
            None => 1,
        };
        if !self.door.has_room_for(Kind::Send) {
            let (datagrams, bytes) = (sent.iter().map(pieces).sum::<usize>(), sent.iter().map(size).sum());
            self.door.add_up(event::Send { datagrams: datagrams as u64, ..event::Send::on(None, bytes, &[]) });
            return;
        }
        for datagram in sent {
            let to = datagram.to.map(shown);
            let peer = Some(to.as_ref().unwrap_or_else(|| self.target()));
            let whole = datagram.parts.concat();
            let step = datagram.segment.map_or(whole.len().max(1), |segment| usize::from(segment).max(1));
            let mut rest = &whole[..];
            loop {
                let (data, after) = rest.split_at(step.min(rest.len()));
                self.door.emit(event::Send { peer, ..event::Send::on(self.conn(), data.len(), data) });
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_cut_into_what_was_sent() {
        let from = std::net::SocketAddr::from(([127, 0, 0, 1], 9)).into();
        let received = |data, true_bytes, segment| Received {
            data,
            true_bytes,
            from: socket2::SockAddr::clone(&from),
            segment,
            arrival: None,
            hops: None,
            class: None,
            kernel_time: None,
            device_time: None,
        };
        let cut = |data: &'static [u8], true_bytes, segment| {
            pieces(&received(data, true_bytes, segment)).map(|(data, size)| (data.len(), size)).collect::<Vec<_>>()
        };
        assert_eq!(cut(b"", 0, None), [(0, 0)]);
        assert_eq!(cut(b"abc", 3, None), [(3, 3)]);
        assert_eq!(cut(b"abc", 9, None), [(3, 9)]);
        assert_eq!(cut(b"abcdefgh", 8, Some(3)), [(3, 3), (3, 3), (2, 2)]);
        assert_eq!(cut(b"abcdef", 6, Some(3)), [(3, 3), (3, 3)]);
    }
}

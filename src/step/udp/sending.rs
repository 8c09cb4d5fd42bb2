//! Sending in batches: what a load makes of the next datagrams, cut by the kernel where it can
//! (UDP_SEGMENT), one sendmmsg(2) for many where it cannot.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;

use super::Udp;
use super::probes::Probes;
use super::queue::{About, Drained, Log, back_pressure, further, is_about_earlier};
use crate::args::Load;
use crate::error::{ExitCode, errno_name};
use crate::event::{self, Kind, Lateness};
use crate::packet::pattern;
use crate::step::Failed;
use crate::step::thread::{Halt, Woken};
use crate::sys::SendBatch;

/// Most datagrams of one call: as many as the kernel cuts a buffer into (UDP_MAX_SEGMENTS).
const BATCH: usize = 64;

/// Most buffers of one call that the kernel cuts each.
const BUFFERS: usize = 8;

/// Most bytes of a buffer that the kernel cuts: what one datagram may have.
const BUFFER: usize = 65_000;

/// How many sends are known back, to tell which one an ICMP error is about.
const KNOWN: usize = 4_096;

/// The bytes of a pattern that hold its datagram's number.
const NUMBER: usize = 8;

/// Sends the datagrams of a load, in their order.
pub struct Sending<'a> {
    udp: &'a Udp,
    sends: SendBatch,
    made: Made,
    /// The number of the next datagram.
    next: u64,
    /// Datagrams that were passed over without a number: STAMP packets that the kernel did not take.
    unnumbered: u64,
    /// Whether the kernel still cuts buffers.
    cuts: bool,
    /// Whether it is kept which numbers of a pattern were sent.
    keeps_numbers: bool,
    /// The last errno that was reported as an error: further ones of it are told with each datagram.
    failed: Option<Errno>,
    /// What those come to.
    code: Option<ExitCode>,
    /// What ICMP errors come to.
    refused: Option<ExitCode>,
    /// How many refused a datagram that had no end, as far as is known.
    refusals: u64,
    /// Datagrams and bytes of a flood that the totals do not have yet, and how many calls they were.
    uncounted: (u64, usize, u32),
}

/// What the load makes.
enum Made {
    /// Messages, and the last ones that were sent.
    Messages(Vec<Vec<u8>>, VecDeque<Sent>),
    /// A pattern: room for a batch of it, of which so many datagrams are one buffer where the kernel
    /// cuts.
    Pattern { size: usize, fits: usize, room: Vec<u8>, sent: VecDeque<Sent> },
    /// STAMP test packets.
    Probes(Box<Probes>),
}

/// A datagram that was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    at: Instant,
    is_refused: bool,
}

impl<'a> Sending<'a> {
    /// Makes one for a load. `cuts` says whether the kernel may cut buffers; `patience` is how long a
    /// STAMP answer may take.
    #[must_use]
    pub fn new(udp: &'a Udp, load: &Load, cuts: bool, patience: Duration) -> Self {
        let made = match load {
            Load::Messages(messages) => Made::Messages(messages.clone(), VecDeque::new()),
            Load::Pattern(size) => {
                let fits = (BUFFER / (*size).max(1)).clamp(1, BATCH);
                let room = pattern::bytes(*size).repeat(if cuts { fits * BUFFERS } else { fits });
                Made::Pattern { size: *size, fits, room, sent: VecDeque::new() }
            }
            Load::Measure { size, reflects } => Made::Probes(Box::new(Probes::new(*size, *reflects, patience))),
            Load::Stdin => Made::Messages(Vec::new(), VecDeque::new()),
        };
        // Nothing is gained where only one fits, and nothing is cut of no bytes.
        let cuts = cuts && matches!(&made, Made::Pattern { size, fits, .. } if *size > 0 && *fits > 1);
        Self {
            udp,
            sends: SendBatch::default(),
            made,
            next: 0,
            unnumbered: 0,
            cuts,
            keeps_numbers: true,
            failed: None,
            code: None,
            refused: None,
            refusals: 0,
            uncounted: (0, 0, 0),
        }
    }

    /// Keeps nothing of what is sent of a pattern, for the sake of speed.
    #[must_use]
    pub fn without_numbers(self) -> Self {
        Self { keeps_numbers: false, ..self }
    }

    /// Returns how many datagrams have been sent, or passed over because the kernel did not take
    /// them.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.next + self.unnumbered
    }

    /// Returns the most that one call sends.
    #[must_use]
    pub fn batch(&self) -> u64 {
        match &self.made {
            Made::Pattern { fits, .. } => (if self.cuts { fits * BUFFERS } else { *fits }) as u64,
            Made::Messages(..) => BATCH as u64,
            // One by one: each has its own time in it.
            Made::Probes(_) => 1,
        }
    }

    /// Returns what the run comes to by what could not be sent; `None` where all was.
    #[must_use]
    pub fn code(&self) -> Option<ExitCode> {
        self.code
    }

    /// Returns what the run comes to by ICMP errors, where nothing better came.
    #[must_use]
    pub fn refused(&self) -> Option<ExitCode> {
        self.refused
    }

    /// Sends the next datagrams, at most so many, and no more than [`Sending::batch`]. What the
    /// kernel has no room for is not sent later: its time is over.
    ///
    /// # Errors
    /// The kernel does not take them for another reason, reported once a reason; then further
    /// ones are told with each datagram, and are no error.
    pub fn send(&mut self, most: u64, lateness: Option<Lateness>) -> Result<u64, Failed> {
        let wanted = most.min(self.batch()) as usize;
        let (mut retries, mut mtu) = (0, None);
        loop {
            match self.once(wanted) {
                Ok((datagrams, bytes)) => {
                    self.tell(datagrams, bytes, lateness);
                    return Ok(datagrams as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let drained = self.drain();
                    mtu = drained.mtu.or(mtu);
                    // An ICMP error about an earlier one is told on the next send, which is then not made.
                    if retries < 3 && is_about_earlier(&error, drained) {
                        retries += 1;
                        continue;
                    }
                    if !(self.cuts && wanted > 1 && is_refusal(&error)) {
                        return self.not_sent(&error, mtu);
                    }
                    // The kernel or the device does not cut after all (EIO: no checksum offload): the
                    // same data goes again, uncut, and so does all that follows.
                    self.cuts = false;
                    let message = format!("UDP_SEGMENT is refused here ({error}): datagrams are sent one by one");
                    self.udp.door.warn_once("gso-refused", &message);
                }
            }
        }
    }

    /// Makes one call, and returns how many datagrams it took, and their bytes.
    fn once(&mut self, wanted: usize) -> io::Result<(usize, usize)> {
        let Self { udp, sends, made, next, cuts, .. } = self;
        let whole = |data| udp.outgoing(data, None);
        match made {
            Made::Messages(messages, _) => {
                let at = |index: usize| &messages[((*next + index as u64) % messages.len() as u64) as usize];
                let outgoing: Vec<_> = (0..wanted).map(|index| whole(at(index))).collect();
                let taken = sends.send(udp.fd(), &outgoing)?;
                Ok((taken, (0..taken).map(|index| at(index).len()).sum()))
            }
            Made::Pattern { size, fits, room, .. } => {
                let size = *size;
                if size >= NUMBER {
                    for (index, datagram) in room.chunks_exact_mut(size).take(wanted).enumerate() {
                        datagram[..NUMBER].copy_from_slice(&(*next + index as u64).to_be_bytes());
                    }
                }
                if *cuts && wanted > 1 {
                    let segment = u16::try_from(size).ok();
                    let buffers = room[..wanted * size].chunks(*fits * size);
                    let outgoing: Vec<_> = buffers.map(|buffer| udp.outgoing(buffer, segment)).collect();
                    let taken = wanted.min(sends.send(udp.fd(), &outgoing)? * *fits);
                    return Ok((taken, taken * size));
                }
                let outgoing: Vec<_> =
                    (0..wanted).map(|index| whole(&room[index * size..(index + 1) * size])).collect();
                let taken = sends.send(udp.fd(), &outgoing)?;
                Ok((taken, taken * size))
            }
            Made::Probes(probes) => {
                probes.make(*next, wanted);
                let outgoing: Vec<_> = (0..wanted).map(|index| whole(probes.packet(index))).collect();
                let taken = sends.send(udp.fd(), &outgoing)?;
                if taken < wanted {
                    probes.not_sent(*next + taken as u64);
                }
                Ok((taken, taken * probes.size()))
            }
        }
    }

    /// Reports datagrams that the kernel took.
    fn tell(&mut self, datagrams: usize, bytes: usize, lateness: Option<Lateness>) {
        let (udp, first) = (self.udp, self.next);
        self.next += datagrams as u64;
        udp.count_sent(bytes);
        let has_room = udp.door.has_room_for(Kind::Send);
        if !has_room && !self.keeps_numbers && matches!(self.made, Made::Pattern { .. }) {
            return self.count(datagrams, bytes);
        }
        let now = Instant::now();
        let emit = |index: usize, data: &[u8], bytes: usize| {
            let late =
                lateness.map(|late| Lateness { first: late.first.saturating_sub(late.step * index as u32), ..late });
            udp.door.emit(event::Send {
                peer: Some(udp.target()),
                sequence: Some(first + index as u64),
                lateness: late,
                ..event::Send::on(udp.conn(), bytes, data)
            });
        };
        match &mut self.made {
            Made::Messages(messages, sent) => {
                for index in 0..datagrams {
                    let number = first + index as u64;
                    sent.push_back(Sent { number, at: now, is_refused: false });
                    if has_room {
                        let message = &messages[(number % messages.len() as u64) as usize];
                        emit(index, message, message.len());
                    }
                }
                sent.drain(..sent.len().saturating_sub(KNOWN));
            }
            Made::Pattern { size, room, sent, .. } => {
                if self.keeps_numbers {
                    let each = |index| Sent { number: first + index as u64, at: now, is_refused: false };
                    sent.extend((0..datagrams).map(each));
                    sent.drain(..sent.len().saturating_sub(KNOWN));
                }
                for index in 0..if has_room { datagrams } else { 0 } {
                    emit(index, &room[index * *size..(index + 1) * *size], *size);
                }
            }
            Made::Probes(probes) => {
                probes.sent(udp, datagrams, now);
                for index in 0..if has_room { datagrams } else { 0 } {
                    emit(index, probes.packet(index), probes.size());
                }
            }
        }
        if !has_room {
            let datagrams = datagrams as u64;
            udp.door.add_up(event::Send { datagrams, lateness, ..event::Send::on(None, bytes, &[]) });
        }
    }

    /// Counts datagrams of a flood: several calls are one fact.
    fn count(&mut self, datagrams: usize, bytes: usize) {
        /// How many calls.
        const CALLS: u32 = 16;
        self.uncounted.0 += datagrams as u64;
        self.uncounted.1 += bytes;
        self.uncounted.2 += 1;
        if self.uncounted.2 >= CALLS {
            self.count_all();
        }
    }

    /// Counts what was sent and is not counted yet.
    fn count_all(&mut self) {
        let (datagrams, bytes, _) = std::mem::take(&mut self.uncounted);
        if datagrams > 0 {
            self.udp.door.add_up(event::Send { datagrams, ..event::Send::on(None, bytes, &[]) });
        }
    }

    /// Passes over a datagram that the kernel did not take; `mtu` is that of the way, where it was too
    /// large for it.
    fn not_sent(&mut self, error: &io::Error, mtu: Option<u32>) -> Result<u64, Failed> {
        let errno = error.raw_os_error().map(Errno::from_raw);
        let pressed = back_pressure(error);
        let number = self.next;
        match &mut self.made {
            // The numbers of STAMP packets have no gap that is not a loss.
            Made::Probes(probes) => {
                probes.not_sent(number);
                self.unnumbered += 1;
            }
            Made::Messages(..) | Made::Pattern { .. } => self.next += 1,
        }
        if pressed.is_none() && self.failed != errno {
            self.failed = errno;
            let bytes = match &self.made {
                Made::Messages(messages, _) => messages[(number % messages.len() as u64) as usize].len(),
                Made::Pattern { size, .. } => *size,
                Made::Probes(probes) => probes.size(),
            };
            let failed = self.udp.door.fail(&self.udp.send_failed(error, self.udp.target(), bytes, mtu));
            self.code = Some(self.code.map_or(failed.code, |code| code.and(failed.code)));
            return Err(failed);
        }
        let errno = pressed.unwrap_or_else(|| errno.map_or_else(|| "EIO".to_owned(), errno_name));
        self.udp.not_sent(self.udp.target(), Some(number), &errno);
        Ok(0)
    }

    /// Takes what the error queue has: ICMP errors, and when datagrams left.
    fn drain(&mut self) -> Drained {
        self.count_all();
        let udp = self.udp;
        let drained = udp.drain(&mut self.made);
        self.refused = further(self.refused, drained.code);
        self.refusals += drained.refusals;
        drained
    }

    /// Takes what the error queue has, and returns whether the datagram that was sent last is refused, as far
    /// as is known.
    pub fn take_errors(&mut self) -> bool {
        let unknown = self.drain().unknown;
        let last = match &self.made {
            Made::Messages(_, sent) | Made::Pattern { sent, .. } => sent.back(),
            Made::Probes(_) => None,
        };
        unknown > 0 || last.is_some_and(|last| last.is_refused && last.number + 1 == self.next)
    }

    /// Returns how many datagrams were refused, as far as is known: a further error about one that was counts
    /// no more.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Takes the answers that have come to STAMP test packets, and says which are lost by now.
    ///
    /// # Errors
    /// As recvmmsg(2), reported.
    pub fn take_answers(&mut self) -> Result<(), Failed> {
        self.drain();
        let udp = self.udp;
        match &mut self.made {
            Made::Probes(probes) => probes.take(udp),
            Made::Messages(..) | Made::Pattern { .. } => Ok(()),
        }
    }

    /// Returns whether each STAMP test packet has been answered, refused, or given up.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(&self.made, Made::Probes(probes) if probes.is_settled())
    }

    /// Returns when the next STAMP test packet has waited too long for its answer, where one waits.
    pub fn expires_at(&mut self) -> Option<Instant> {
        match &mut self.made {
            Made::Probes(probes) => probes.expires_at(),
            Made::Messages(..) | Made::Pattern { .. } => None,
        }
    }

    /// Returns whether any STAMP test packet was answered.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        matches!(&self.made, Made::Probes(probes) if probes.is_answered())
    }

    /// Says of each STAMP test packet that is not answered that it is lost: the run is over. Returns how many
    /// might still have been answered in time.
    pub fn give_up(&mut self) -> u64 {
        if matches!(self.made, Made::Probes(_)) {
            let _reported = self.take_answers();
        }
        match &mut self.made {
            Made::Probes(probes) => probes.give_up(self.udp),
            Made::Messages(..) | Made::Pattern { .. } => 0,
        }
    }

    /// Waits until the kernel takes more, at most so long.
    pub fn wait_for_room(&self, halt: &Halt, bound: Duration) -> Woken {
        halt.wait(self.udp.fd(), PollFlags::POLLOUT, Some(bound))
    }
}

/// Returns whether an error says that the kernel does not cut a buffer.
fn is_refusal(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EIO | Errno::EINVAL | Errno::EMSGSIZE | Errno::EOPNOTSUPP | Errno::ENOPROTOOPT))
}

impl Log for Made {
    fn refused(&mut self, quoted: &[u8]) -> About {
        match self {
            Self::Messages(messages, sent) => {
                let of = |it: &Sent| &messages[(it.number % messages.len() as u64) as usize][..];
                // The quote is cut short only where it is long: one that is a whole message is that one.
                match sent.iter().any(|it| of(it) == quoted) {
                    true => refuse(sent, |it| of(it) == quoted),
                    false => refuse(sent, |it| of(it).starts_with(quoted)),
                }
            }
            Self::Pattern { size, sent, .. } if *size >= NUMBER => {
                let number = quoted.first_chunk::<NUMBER>().copied().map(u64::from_be_bytes);
                refuse(sent, |it| Some(it.number) == number)
            }
            // All are alike.
            Self::Pattern { sent, .. } => refuse(sent, |_| true),
            Self::Probes(probes) => probes.refused(quoted),
        }
    }

    fn left(&mut self, id: u32, kernel_time: u64) {
        if let Self::Probes(probes) = self {
            probes.left(id, kernel_time);
        }
    }
}

/// Takes note that one of these is refused: the only one that was not yet, else one that was.
fn refuse(sent: &mut VecDeque<Sent>, is_it: impl Fn(&Sent) -> bool) -> About {
    for is_end in [true, false] {
        let mut fits = sent.iter_mut().filter(|it| it.is_refused != is_end && is_it(it));
        match (fits.next(), fits.next()) {
            (None, _) => {}
            (Some(only), None) => {
                only.is_refused = true;
                return About { datagram: Some((only.number, only.at)), is_end };
            }
            (Some(_), Some(_)) => return About { datagram: None, is_end },
        }
    }
    About::UNKNOWN
}

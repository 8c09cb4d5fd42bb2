//! Probes and what becomes of them: echo requests, SYNs and datagrams to one target or to many, sent
//! and heard in batches by one thread.
//!
//! What goes in: [`Due`]s, at times that the walk chooses. What comes out: an event a probe that went,
//! one for its end, and one for all that came and was no answer. The [`Pinger`] owns the sockets; its
//! book knows every probe.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use socket2::{SockAddr, Socket};

use super::thread::{ExactWait, Halt, MOST_SPIN, Woken};
use super::trip::Moment;
use super::{Door, Failed};
use crate::args::Family;
use crate::error::ExitCode;
use crate::event::{self, Clock, Kind, Lateness};
use crate::socket::{self, SocketKind};
use crate::sys;

mod book;
mod filter;
mod flights;
mod hear;
mod lane;
mod open;
mod seek;
mod targets;

pub use book::{Due, Fate as ProbeFate};
pub use open::{PingWords, permits};
pub use targets::Targets;

use book::Book;
use lane::{BATCH, Lane, Refused};

/// How long a send waits for room before its probe is not sent.
const ROOM: Duration = Duration::from_millis(50);

/// So many batches are more than any receive buffer holds: what comes meanwhile is for another time.
const BATCHES: usize = 1 << 14;

/// Probes on their way, and the sockets that they go by.
pub struct Pinger {
    door: Arc<Door>,
    lanes: Vec<Lane>,
    book: Book,
    /// Whether a probe that there is no room for waits for it; else it is not sent.
    waits_for_room: bool,
    /// Probes that are entered and go next.
    numbered: Vec<(u64, Due)>,
    /// Whether any of those that were to go last went.
    has_sent: bool,
    /// Times of the schedule that passed unused, and are not told yet.
    missed: u64,
    /// How many batches were taken since nothing was left.
    undrained: usize,
    exact: ExactWait,
    /// The interface that the run keeps to.
    interface: Option<String>,
}

impl Pinger {
    /// Returns the targets.
    #[must_use]
    pub fn targets(&self) -> &Targets {
        &self.book.targets
    }

    /// Returns how many bytes of data a probe has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.book.size()
    }

    /// Lets whoever is told know how many probes there are, at most.
    pub fn expect(&self, probes: u64) {
        self.door.expect(probes);
    }

    /// Sets how long answers are waited for from now on.
    pub fn set_patience(&mut self, patience: Duration) {
        self.book.set_patience(patience);
    }

    /// Sends probes, in batches. `lateness` says how late they are, where they have times, and `missed`
    /// how many times passed unused before them. What the kernel does not take is reported, and its time
    /// is over. Returns the number of the first of them.
    pub fn send(&mut self, dues: &[Due], lateness: Option<Lateness>, missed: u64, halt: &Halt) -> u64 {
        let mut first = None;
        self.has_sent = false;
        if missed > 0 {
            let message =
                "this program was held up: some times of the schedule passed unused, and no probe went as a burst";
            self.door.warn_once("slots-missed", message);
        }
        // Those of before which no probe went are told with the next that does.
        let mut missed = std::mem::take(&mut self.missed) + missed;
        let (mut rest, mut index) = (dues, 0);
        while let Some(next) = rest.first() {
            let is_v6 = self.book.targets.ip(next.target).0.is_ipv6();
            let same = |due: &&Due| self.book.targets.ip(due.target).0.is_ipv6() == is_v6;
            let count = rest.iter().take(BATCH).take_while(same).count();
            let (now, later) = rest.split_at(count);
            rest = later;
            // One reading for those that go at once.
            let moment = Moment::now();
            let mut numbered = std::mem::take(&mut self.numbered);
            numbered.clear();
            for due in now {
                numbered.push((self.book.enter(due, moment), *due));
            }
            first = first.or(numbered.first().map(|(number, _)| *number));
            self.send_numbered(&numbered, is_v6, index, lateness, &mut missed, halt);
            index += count;
            self.numbered = numbered;
        }
        self.missed = missed;
        first.unwrap_or_default()
    }

    fn send_numbered(
        &mut self,
        mut rest: &[(u64, Due)],
        is_v6: bool,
        mut index: usize,
        lateness: Option<Lateness>,
        missed: &mut u64,
        halt: &Halt,
    ) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.is_v6 == is_v6) else { return };
        let (mut asked, mut again) = (None::<Instant>, false);
        while let Some((number, _)) = rest.first().copied() {
            let (count, refused) = lane.send(&mut self.book, rest);
            if self.door.wants(Kind::Send) {
                for (place, (number, _)) in rest[..count].iter().enumerate() {
                    let late = lateness.map(|late| late.of(index + place));
                    self.book.sent(*number, lane.packet(place), late, std::mem::take(missed));
                }
            } else {
                // Nobody sees one for each: those to one target are one event.
                let mut place = 0;
                for row in
                    rest[..count].chunk_by(|one, other| (one.1.target, one.1.hops) == (other.1.target, other.1.hops))
                {
                    let bytes = (place..place + row.len()).map(|place| lane.packet(place).len() as u64).sum();
                    let late = lateness.map(|late| late.of(index + place));
                    self.book.sent_row(&row[0].1, row.len() as u64, bytes, late, std::mem::take(missed));
                    place += row.len();
                }
            }
            index += count;
            rest = &rest[count..];
            if count > 0 {
                self.has_sent = true;
                (asked, again) = (None, false);
            }
            let Some(refused) = refused else { continue };
            match &refused {
                // A moment later there may be room.
                Refused::Full(_) if self.waits_for_room && !halt.is_set() => {
                    let since = *asked.get_or_insert_with(Instant::now);
                    if since.elapsed() < ROOM {
                        let _woken = halt.wait(lane.sender(), PollFlags::POLLOUT, Some(Duration::from_millis(1)));
                        continue;
                    }
                }
                // It may have told of an ICMP error about an earlier one: then it is tried once more. EPERM is no such
                // error's (icmp_err_convert in net/ipv4/icmp.c), but the word of a firewall of this host.
                Refused::For(error) if !again && error.errno != Some(Errno::EPERM) => {
                    again = true;
                    // What is told of one that has not gone is of a packet that the firewall kept back.
                    self.book.going_from = number;
                    let taken = lane.take(&mut self.book);
                    self.book.going_from = u64::MAX;
                    if taken.is_ok() {
                        continue;
                    }
                }
                Refused::Full(_) | Refused::For(_) => {}
            }
            self.book.not_sent(number, &refused);
            self.book.explain(number, &refused);
            (rest, asked, again) = (&rest[1..], None, false);
            index += 1;
        }
    }

    /// Takes what has come, at most a batch, and says what is lost by now. Returns how many messages came.
    ///
    /// # Errors
    /// As recvmmsg(2), reported.
    pub fn take(&mut self) -> Result<usize, Failed> {
        self.take_batch().map(|(count, _)| count)
    }

    /// Takes all that has come, however much that is.
    ///
    /// # Errors
    /// As recvmmsg(2), reported.
    pub fn take_all(&mut self) -> Result<usize, Failed> {
        let mut all = 0;
        for _ in 0..BATCHES {
            let (count, is_drained) = self.take_batch()?;
            all += count;
            if is_drained {
                break;
            }
        }
        Ok(all)
    }

    fn take_batch(&mut self) -> Result<(usize, bool), Failed> {
        // What came by now is read below: however long this thread is held up meanwhile, it is not lost.
        let now = Instant::now();
        let (mut all, mut is_drained) = (0, true);
        for lane in &mut self.lanes {
            let (count, is_all) = lane.take(&mut self.book)?;
            all += count;
            is_drained &= is_all;
        }
        self.undrained = if is_drained { 0 } else { self.undrained + 1 };
        // What came in time is no loss, though it is read late. Where more comes without end, what there was to
        // read has been read after a while.
        if is_drained || self.undrained > BATCHES {
            self.undrained = 0;
            self.book.expire(now);
        }
        Ok((all, is_drained))
    }

    /// Waits until something has come, at most until a time, or until the next probe has waited too
    /// long.
    pub fn wait(&mut self, halt: &Halt, until: Option<Instant>) -> Woken {
        let until = [until, self.book.expires_at()].into_iter().flatten().min();
        let bound = until.map(|until| until.saturating_duration_since(Instant::now()));
        halt.wait_any(&fds(&self.lanes), bound)
    }

    /// Waits until something has come or is lost, at most until a time is near, which whoever asks for it again
    /// and again meets to the microsecond.
    pub fn wait_till_near(&mut self, halt: &Halt, until: Instant) -> Woken {
        // A loss that comes just before it is looked at after it, for a timer may be late.
        if self.book.expires_at().is_none_or(|expires| expires + MOST_SPIN >= until) {
            return self.exact.wait_till_near(halt, &fds(&self.lanes), until);
        }
        match self.wait(halt, Some(until)) {
            // There is something to look at: a loss.
            Woken::Time => Woken::Ready { errors: false, is_open: false },
            woken => woken,
        }
    }

    /// Waits, where events go to a reader that is slow, until it has made room.
    pub fn wait_for_reader(&self, halt: &Halt) {
        while self.waits_for_room && self.door.is_still_full() && !halt.is_set() {
            let _woken = halt.wait_any(&[], Some(Duration::from_millis(1)));
        }
    }

    /// Returns how many probes are in flight; those that nobody answers leave it after a tenth of a second.
    pub fn in_flight(&mut self) -> u64 {
        self.book.in_flight(Instant::now())
    }

    /// Returns whether every probe has its end.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.book.is_settled()
    }

    /// Ends the run: what waits is lost, unless its answer lies there already. Where the run was cut short
    /// that is said, for nobody has waited long enough to know; and so is how many targets had no probe.
    pub fn give_up(&mut self, is_cut_short: bool) {
        let _reported = self.take_all();
        if is_cut_short {
            let before = match (self.book.unasked(), self.book.targets.len()) {
                (0, _) => None,
                (unasked, all) if unasked == all => Some("before anything was sent".to_owned()),
                (unasked, all) => Some(format!("before {unasked} of {all} targets were probed")),
            };
            let during = match self.book.waiting() {
                0 => None,
                waiting => Some(format!("while answers to {waiting} probes were waited for: they count as lost")),
            };
            let told: Vec<String> = before.into_iter().chain(during).collect();
            if !told.is_empty() {
                self.door.warn_once("stopped", &format!("told to stop {}", told.join(", and ")));
            }
        }
        self.book.give_up(Instant::now());
        if self.missed > 0 {
            self.book.missed(std::mem::take(&mut self.missed));
        }
        for lane in &mut self.lanes {
            lane.tell_drops(&self.door);
        }
    }

    /// Waits a moment where none of the probes that were to go last went: what they met does not pass at
    /// once.
    pub fn rest(&self, halt: &Halt) {
        const REST: Duration = Duration::from_millis(10);
        if !self.has_sent {
            let _woken = halt.wait_any(&[], Some(REST));
        }
    }

    /// Returns what became of a probe.
    #[must_use]
    pub fn fate(&self, number: u64) -> ProbeFate {
        self.book.fate(number)
    }

    /// Returns whether a target has answered.
    #[must_use]
    pub fn has_answered(&self, target: u32) -> bool {
        self.book.has_answered(target)
    }

    /// Returns whether nothing has come of a target so far.
    #[must_use]
    pub fn is_silent(&self, target: u32) -> bool {
        self.book.is_silent(target)
    }

    /// Returns how many targets have answered.
    #[must_use]
    pub fn answered(&self) -> u32 {
        self.book.answered()
    }

    /// Returns after how many hops a target answers, where that is known.
    #[must_use]
    pub fn reached(&self, target: u32) -> Option<u8> {
        self.book.reached(target)
    }

    /// Returns the longest round trip so far.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.book.longest()
    }

    /// Returns whose clock the last answer's time is of.
    #[must_use]
    pub fn clock(&self) -> Option<Clock> {
        self.book.clock
    }

    /// Returns why the last probe that did not go did not; it is reported.
    #[must_use]
    pub fn unsent(&self) -> Option<Failed> {
        self.book.unsent
    }

    /// Returns the target that lost the greatest share of its probes, in percent.
    #[must_use]
    pub fn greatest_loss(&self) -> Option<(u32, f64)> {
        self.book.greatest_loss()
    }

    /// Returns what each target has come to.
    pub fn ends(&self) -> impl Iterator<Item = ExitCode> {
        self.book.ends()
    }

    /// Reports the largest packet that passes whole to a target.
    pub fn tell_path_mtu(&self, target: u32, path_mtu: u64, from: Option<IpAddr>, silent: bool) {
        let address = self.book.targets.address(target);
        self.door.emit(event::PathMtu { target: &address, path_mtu, from, silent, number: target });
    }

    /// Reports that a path's MTU cannot be found, and why.
    pub fn warn_of_no_mtu(&self, target: u32, why: &str) {
        let target = self.book.targets.address(target);
        self.door.warn("path-mtu-unknown", &format!("{target} {why}: nothing says what passes on the way to it"));
    }

    /// Returns the MTU of the interface that leads to a target, in bytes: what is known of the way behind
    /// it may be out of date.
    ///
    /// # Errors
    /// There is no route.
    pub fn first_mtu(&self, target: u32) -> Result<usize, Errno> {
        let to = self.book.targets.sockaddr(target, 9);
        let (socket, local) = connected(&to, None, self.interface.as_deref())?;
        let (level, option) = match self.book.targets.ip(target).0 {
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
        };
        // Of an address of this host that is the greater, for it goes by lo.
        let known = sys::get_int(socket.as_fd(), level, option).ok().and_then(|mtu| usize::try_from(mtu).ok());
        let name = self.interface.clone().or_else(|| socket::interface_of(local.ip()));
        let device = name.and_then(|name| sys::interface_mtu(socket.as_fd(), &name).ok());
        known.max(device).ok_or(Errno::EINVAL)
    }
}

/// Returns all that is to be listened to.
fn fds(lanes: &[Lane]) -> Vec<BorrowedFd<'_>> {
    lanes.iter().flat_map(Lane::fds).collect()
}

/// Makes a socket of UDP that keeps to an address, which sends nothing: so the kernel chooses the way, by
/// an interface where one is named.
fn connected(to: &SockAddr, from: Option<SockAddr>, interface: Option<&str>) -> Result<(Socket, SocketAddr), Errno> {
    let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw);
    let family = if to.is_ipv6() { Family::V6 } else { Family::V4 };
    let made = socket::socket(SocketKind::Udp(family)).map_err(errno)?;
    if let Some(name) = interface {
        made.bind_device(Some(name.as_bytes())).map_err(errno)?;
    }
    if let Some(mut from) = from.and_then(|from| from.as_socket()) {
        from.set_port(0);
        made.bind(&from.into()).map_err(errno)?;
    }
    made.connect(to).map_err(errno)?;
    let local = made.local_addr().map_err(errno)?.as_socket().ok_or(Errno::EINVAL)?;
    Ok((made, local))
}

/// Returns our address on the way to another.
fn source_to(to: &SockAddr, from: Option<SockAddr>, interface: Option<&str>) -> Result<IpAddr, Errno> {
    connected(to, from, interface).map(|(_, local)| local.ip())
}

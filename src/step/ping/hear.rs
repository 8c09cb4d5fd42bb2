//! What comes back: which probe it belongs to, and whether it is a sound answer, a damaged one, or
//! another's.

use std::net::IpAddr;
use std::time::Duration;

use super::book::{Book, Fate, hops};
use super::flights::{Flight, State};
use crate::address::Address;
use crate::args::raw_ping::NONCE;
use crate::error::ExitCode;
use crate::event::{self, AboutProbe, Arrival, Clock, Label, Stray};
use crate::packet::icmp;
use crate::step::trip::Moment;

/// A message that looks like an answer to an echo request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Echo<'a> {
    /// Whether it has the identifier of our socket.
    pub(super) is_ours: bool,
    pub(super) sequence: u16,
    pub(super) data: &'a [u8],
    /// Whether its checksum is right.
    pub(super) is_sound: bool,
}

/// How something came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came<'a> {
    pub(super) from: &'a Address,
    /// Bytes of the message.
    pub(super) bytes: usize,
    pub(super) ttl: Option<u8>,
    /// When the kernel received it.
    pub(super) kernel_time: Option<u64>,
    /// When the network device did, by its own clock.
    pub(super) device_time: Option<u64>,
    /// When it was read.
    pub(super) read: Moment,
}

/// An ICMP error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal<'a> {
    pub(super) is_v6: bool,
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) mtu: Option<u32>,
    pub(super) mpls: &'a [Label],
    pub(super) interface: Option<&'a str>,
}

/// What a quoted packet says of the probe that it was.
#[derive(Clone, Copy, Debug)]
pub(super) enum Clue<'a> {
    /// The sequence field of an echo request, and its data as far as it was quoted.
    Echo(u16, &'a [u8]),
    /// The number of the probe, by its last 32 bits.
    Number(u32),
    /// The data of a datagram.
    Data(&'a [u8]),
}

impl Book {
    /// Returns whether an address may answer for a target: of a group or broadcast address anybody.
    fn may_answer(&self, from: &Address, target: u32) -> bool {
        let (ip, _) = self.targets.ip(target);
        from.ip() == Some(ip) || ip.is_multicast() || self.is_broadcast(ip)
    }

    /// Takes what looks like an answer to an echo request.
    pub(super) fn echo(&mut self, echo: &Echo<'_>, came: &Came<'_>) {
        let Some(ip) = came.from.ip() else { return };
        if let Some(number) = self.number_of(echo.data)
            && let Some(flight) = self.flight(number)
        {
            return match () {
                () if !self.may_answer(came.from, flight.target) => self.foreign(Some(&flight), "address", came),
                () if !echo.is_ours => self.foreign(Some(&flight), "id", came),
                () if flight.sequence as u16 != echo.sequence => self.corrupted(number, &flight, "sequence", came),
                () => match self.damage(number, echo) {
                    Some(wrong) => self.corrupted(number, &flight, wrong, came),
                    None => self.answer(number, came, None),
                },
            };
        }
        // What has neither our identifier nor our nonce is nobody's business here, unless there is no
        // nonce: then it may be an answer to ours with another identifier.
        if !echo.is_ours {
            if self.by_sequence.is_some() && self.by_sequence(ip, echo.sequence).is_some() {
                self.foreign(None, "id", came);
            }
            return;
        }
        let Some((number, flight)) =
            self.by_sequence(ip, echo.sequence).and_then(|number| Some((number, self.flight(number)?)))
        else {
            return self.foreign(None, if self.is_target(ip) { "nonce" } else { "address" }, came);
        };
        match self.damage(number, echo) {
            // It has no room for a nonce.
            None => self.answer(number, came, None),
            Some("nonce") => self.foreign(None, "nonce", came),
            Some(wrong) => self.corrupted(number, &flight, wrong, came),
        }
    }

    /// Returns what is wrong with an answer to a probe, by its checksum, its length and its bytes.
    fn damage(&self, number: u64, echo: &Echo<'_>) -> Option<&'static str> {
        let size = self.size_of(number);
        let (data, asked) = (echo.data, self.data(size));
        if !echo.is_sound {
            return Some("checksum");
        }
        if data.len() != size {
            return Some("length");
        }
        if size < NONCE {
            return (data != asked).then_some("payload");
        }
        let ((nonce, rest), ours) = (data.split_at(NONCE), self.nonce(number));
        match (nonce == ours, rest == &asked[NONCE..]) {
            (true, true) => None,
            // Wholly another's: no half of it is ours.
            (false, _) if nonce[..4] != ours[..4] && nonce[4..] != ours[4..] => Some("nonce"),
            _ => Some("payload"),
        }
    }

    /// Takes an answer of TCP or UDP to the probe with these last 32 bits of its number.
    pub(super) fn scattered_answer(&mut self, scattered: u32, answer: &'static str, came: &Came<'_>) {
        match self.gathered(scattered).and_then(|number| Some((number, self.flight(number)?))) {
            Some((number, flight)) if self.may_answer(came.from, flight.target) => {
                self.answer(number, came, Some(answer));
            }
            Some((_, flight)) => self.foreign(Some(&flight), "address", came),
            None => self.foreign(None, "nonce", came),
        }
    }

    /// Takes a datagram from a target: it answers the probe whose data it has, else the oldest that waits.
    pub(super) fn datagram(&mut self, data: &[u8], is_of_port: bool, came: &Came<'_>) {
        if let Some(number) = self.number_of(data)
            && let Some(flight) = self.flight(number)
        {
            return match (self.may_answer(came.from, flight.target), is_of_port) {
                (true, true) => self.answer(number, came, Some("datagram")),
                (true, false) => self.foreign(Some(&flight), "port", came),
                (false, _) => self.foreign(Some(&flight), "address", came),
            };
        }
        if !is_of_port {
            return self.foreign(None, "port", came);
        }
        let oldest = came.from.ip().and_then(|ip| self.oldest_to(ip));
        match oldest.or_else(|| self.oldest_to_group()) {
            Some(number) => self.answer(number, came, Some("datagram")),
            None => self.foreign(None, "nonce", came),
        }
    }

    /// Takes an answer to a probe.
    pub(super) fn answer(&mut self, number: u64, came: &Came<'_>, answer: Option<&'static str>) {
        let Some(flight) = self.gone(number) else { return };
        let trip = self.trip(number, &flight, came);
        if flight.state == State::Open && trip.took >= self.patience {
            // It came after its time, though nobody has looked since.
            self.lose(number, trip.took);
        }
        let Some(state) = self.settle(number, State::Answered) else { return };
        let is_first = state != State::Answered;
        let arrival = is_first.then(|| self.order(flight.target, flight.sequence));
        let target = self.targets.address(flight.target);
        let event = event::Reply {
            target: &target,
            from: came.from,
            sequence: flight.sequence,
            bytes: came.bytes as u64,
            ttl: came.ttl,
            rtt: trip.took,
            queued: trip.queued,
            reflector: None,
            reflector_sequence: None,
            answer,
            clock: trip.clock,
            number: flight.target,
            hops: hops(flight.hops),
            arrival,
            reached_twice: false,
            was_refused: state == State::Refused,
            legs: None,
        };
        let is_late = match state {
            State::Open | State::NotSent => false,
            State::Refused => trip.took >= self.patience,
            State::Lost => true,
            State::Answered => return self.tell(event::Duplicate(event)),
        };
        match is_late {
            true => self.tell(event::Late(event)),
            false => self.tell(event),
        }
        if let (Some(losses), false) = (&mut self.losses, is_late) {
            losses.entry((flight.target, flight.hops)).or_default().1 += 1;
        }
        self.longest = self.longest.max(trip.took);
        self.clock = Some(trip.clock);
        self.ended(flight.target, ExitCode::Ok);
        if flight.hops > 0 {
            let fewest = self.reached.entry(flight.target).or_insert(flight.hops);
            *fewest = flight.hops.min(*fewest);
        }
    }

    /// Returns how an answer came among those of its target (RFC 4737, 3.3).
    fn order(&mut self, target: u32, sequence: u64) -> Arrival {
        let Some(next) = self.next.get_mut(target as usize) else { return Arrival::Next { gap: 0 } };
        if sequence < *next {
            return Arrival::Reordered { extent: 0 };
        }
        let gap = sequence - *next;
        *next = sequence + 1;
        Arrival::Next { gap }
    }

    fn corrupted(&self, number: u64, flight: &Flight, wrong: &str, came: &Came<'_>) {
        let target = self.targets.address(flight.target);
        let trip = self.trip(number, flight, came);
        self.tell(event::Corrupted(Stray {
            target: Some(&target),
            from: came.from,
            sequence: Some(flight.sequence),
            bytes: came.bytes as u64,
            ttl: came.ttl,
            rtt: Some(trip.took),
            clock: Some(trip.clock),
            wrong,
            number: Some(flight.target),
        }));
    }

    fn foreign(&self, flight: Option<&Flight>, wrong: &str, came: &Came<'_>) {
        let target = flight.map(|flight| self.targets.address(flight.target));
        self.tell(event::Foreign(Stray {
            target: target.as_ref(),
            from: came.from,
            sequence: flight.map(|flight| flight.sequence),
            bytes: came.bytes as u64,
            ttl: came.ttl,
            rtt: None::<Duration>,
            clock: None::<Clock>,
            wrong,
            number: flight.map(|flight| flight.target),
        }));
    }

    /// Takes an ICMP error that quotes a packet to an address; what is not about a probe of ours is
    /// nobody's business here.
    pub(super) fn refusal(&mut self, refusal: &Refusal<'_>, to: IpAddr, clue: Clue<'_>, came: &Came<'_>) {
        let Refusal { is_v6, kind, code, mtu, mpls, interface } = *refusal;
        // The packet went on, and its answer may come: a datagram socket is told of that too.
        if !icmp::ends(is_v6, kind) {
            return;
        }
        let Some((number, flight)) = self.quoted(to, clue).and_then(|number| Some((number, self.gone(number)?))) else {
            return;
        };
        let trip = self.trip(number, &flight, came);
        let is_first = flight.state == State::Open && trip.took < self.patience;
        let Some(from) = came.from.ip() else { return };
        if flight.state == State::Open {
            match is_first {
                true => drop(self.settle(number, State::Refused)),
                false => self.lose(number, trip.took),
            }
        }
        // Every hop on the way says the one; what else is said ends the way there.
        let is_on_the_way = icmp::is_exceeded_in_transit(is_v6, kind, code);
        let target = self.targets.address(flight.target);
        let event = event::IcmpError {
            target: &target,
            from,
            kind,
            code,
            name: icmp::name(is_v6, kind, code),
            mtu,
            sequence: Some(flight.sequence),
            after: Some(trip.took),
            mpls,
            interface,
            refuses: is_first,
            probe: Some(AboutProbe { number: flight.target, hops: hops(flight.hops), is_end: !is_on_the_way }),
        };
        self.tell(event);
        if flight.hops == 0 || !is_on_the_way {
            let is_port = icmp::is_port_unreachable(is_v6, kind, code);
            self.refused(flight.target, if is_port { ExitCode::Refused } else { ExitCode::Unreachable });
        }
        if flight.hops > 0 && (!is_on_the_way || from == self.targets.ip(flight.target).0) {
            let fewest = self.reached.entry(flight.target).or_insert(flight.hops);
            *fewest = flight.hops.min(*fewest);
        }
        if self.keeps_fates && is_first {
            let is_too_big = icmp::is_too_big(is_v6, kind, code);
            self.fates.insert(number, Fate::Refused(is_too_big.then_some((from, mtu))));
        }
    }
}

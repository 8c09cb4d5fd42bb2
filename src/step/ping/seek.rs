//! Which probe something that came belongs to.

use std::net::{IpAddr, Ipv4Addr};

use super::book::{Book, ENOUGH};
use super::flights::State;
use super::hear::Clue;
use super::targets::Addresses;
use crate::args::raw_ping::NONCE;

impl Book {
    /// Returns the probe to an address that has a sequence field: the youngest.
    pub(super) fn by_sequence(&self, ip: IpAddr, sequence: u16) -> Option<u64> {
        if let Some(by_sequence) = &self.by_sequence {
            let numbers = by_sequence.get(&(ip, sequence))?;
            // Of a host that is named twice each row has its answer.
            let is_open = |number: &&u64| self.flight(**number).is_some_and(|flight| flight.state == State::Open);
            return numbers.iter().find(is_open).or(numbers.last()).copied();
        }
        if !self.is_target(ip) {
            return None;
        }
        self.flights.youngest(ENOUGH, sequence, |flight| {
            flight.state != State::NotSent && self.targets.ip(flight.target).0 == ip
        })
    }

    /// Returns the probe that a quoted packet was.
    pub(super) fn quoted(&self, to: IpAddr, clue: Clue<'_>) -> Option<u64> {
        let is_to = |number: &u64| self.flight(*number).is_some_and(|flight| self.targets.ip(flight.target).0 == to);
        match clue {
            Clue::Number(scattered) => self.gathered(scattered).filter(is_to),
            Clue::Data(data) if data.len() >= NONCE => self.number_of(data).filter(is_to),
            // Too little was quoted to tell which it was: the oldest that waits, where all went alike.
            Clue::Data(_) => self.oldest_to(to).filter(|number| self.flight(*number).is_some_and(|it| it.hops == 0)),
            // The nonce is quoted, and is not one of ours: neither is the packet.
            Clue::Echo(sequence, data) if data.len() >= NONCE && self.by_sequence.is_none() => {
                let is_it =
                    |number: &u64| self.flight(*number).is_some_and(|flight| flight.sequence as u16 == sequence);
                self.number_of(data).filter(is_to).filter(is_it)
            }
            Clue::Echo(sequence, data) => {
                let number = self.by_sequence(to, sequence)?;
                let (asked, nonce) = (self.data(self.size_of(number)), self.nonce(number));
                let ours = asked.iter().enumerate().map(|(at, byte)| match asked.len() >= NONCE {
                    true => nonce.get(at).unwrap_or(byte),
                    false => byte,
                });
                data.iter().zip(ours).all(|(quoted, ours)| quoted == ours).then_some(number)
            }
        }
    }

    /// Returns the oldest probe to an address that has no end yet.
    pub(super) fn oldest_to(&self, ip: IpAddr) -> Option<u64> {
        let numbers = self.waiting_to.as_ref()?.get(&ip)?;
        numbers.iter().copied().find(|number| self.is_open(*number))
    }

    /// Returns the oldest probe that has no end yet and that anybody may answer.
    pub(super) fn oldest_to_group(&self) -> Option<u64> {
        let is_group = |ip: IpAddr| ip.is_multicast() || self.is_broadcast(ip);
        let has_group = self.has_group.get_or_init(|| {
            let probed = self.probed();
            probed.has_multicast() || self.broadcasts().any(|ip| probed.contains(ip))
        });
        if !has_group {
            return None;
        }
        self.flights.oldest_open(self.waits, |flight| is_group(self.targets.ip(flight.target).0))
    }

    /// Returns the addresses of all targets.
    pub(super) fn probed(&self) -> &Addresses {
        self.probed.get_or_init(|| self.targets.addresses())
    }

    fn broadcasts(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(Ipv4Addr::BROADCAST.into()).chain(self.broadcasts.iter().copied())
    }

    /// Returns whether an address stands for all hosts of a network of ours.
    pub(super) fn is_broadcast(&self, ip: IpAddr) -> bool {
        self.broadcasts().any(|broadcast| broadcast == ip)
    }

    fn is_open(&self, number: u64) -> bool {
        self.flight(number).is_some_and(|flight| flight.state == State::Open)
    }

    /// Returns whether an address is that of a target.
    pub(super) fn is_target(&self, ip: IpAddr) -> bool {
        self.probed().contains(ip)
    }

    /// Forgets those that have their end by now of those to the same address.
    pub(super) fn unwait(&mut self, number: u64) {
        if self.waiting_to.is_none() {
            return;
        }
        let Some((ip, _)) = self.flight(number).map(|flight| self.targets.ip(flight.target)) else { return };
        let Some(mut waiting_to) = self.waiting_to.take() else { return };
        if let Some(numbers) = waiting_to.get_mut(&ip) {
            while numbers.front().is_some_and(|number| !self.is_open(*number)) {
                numbers.pop_front();
            }
            if numbers.is_empty() {
                waiting_to.remove(&ip);
            }
        }
        self.waiting_to = Some(waiting_to);
    }
}

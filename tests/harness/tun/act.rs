//! What a simulated host or router does about a request: nothing of it is sockeye's.

use std::net::IpAddr;
use std::time::Duration;

use super::wire::{self, ACK, Body, Packet, RST, SYN};
use super::{HOST_TTL, ROUTER_TTL};
use crate::harness::Family;

/// One answer, and how long it is held.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) after: Duration,
    pub(crate) what: What,
}

/// What is sent back.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// The right answer: an echo reply, a SYN-ACK, the datagram itself.
    Reply,
    /// A RST to a SYN.
    Reset,
    /// The echo reply with a checksum that does not fit.
    StaleChecksum,
    /// The echo reply with its last byte changed, its checksum right.
    Altered,
    /// The echo reply with only so many bytes of data.
    Cut(usize),
    /// The right answer from elsewhere.
    From(IpAddr),
    /// The echo reply to another program.
    OtherId,
    /// The echo reply with the first eight bytes of data all others.
    OtherNonce,
    /// An ICMP error.
    Refuse(Refusal),
    /// Any ICMP message: its type and code, and all after the checksum, four bytes at least.
    Junk([u8; 2], Vec<u8>),
}

/// An ICMP error, and how it quotes what it is about.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: u8,
    pub(crate) code: u8,
    from: Option<IpAddr>,
    /// An MTU, a pointer, an address: the four bytes after the checksum.
    next: u32,
    /// The most bytes that are quoted.
    quote: usize,
    labels: Vec<u32>,
    spoil: Option<fn(&mut [u8])>,
}

fn act(what: What) -> Act {
    Act { after: Duration::ZERO, what }
}

/// The right answer.
pub(crate) fn reply() -> Act {
    act(What::Reply)
}

/// Any answer.
pub(crate) fn answer(what: What) -> Act {
    act(what)
}

/// An ICMP error, from the host itself unless said otherwise.
pub(crate) fn refuse(kind: u8, code: u8) -> Act {
    let quote = usize::MAX;
    act(What::Refuse(Refusal { kind, code, from: None, next: 0, quote, labels: Vec::new(), spoil: None }))
}

/// The time of a packet is over (RFC 792; RFC 4443, 3.3).
pub(crate) fn ttl_exceeded(family: Family) -> Act {
    refuse(if family == Family::V4 { 11 } else { 3 }, 0)
}

/// A packet is too big for the next link (RFC 1191; RFC 4443, 3.2).
pub(crate) fn too_big(family: Family, mtu: u32) -> Act {
    if family == Family::V4 { refuse(3, 4).next(mtu) } else { refuse(2, 0).next(mtu) }
}

impl Act {
    /// Holds it back.
    pub(crate) fn after(mut self, after: Duration) -> Self {
        self.after = after;
        self
    }

    fn refusal(mut self, change: impl FnOnce(&mut Refusal)) -> Self {
        let What::Refuse(refusal) = &mut self.what else { panic!("{self:?} is no ICMP error") };
        change(refusal);
        self
    }

    /// Lets another host say it.
    pub(crate) fn from(self, from: IpAddr) -> Self {
        self.refusal(|refusal| refusal.from = Some(from))
    }

    /// Sets the four bytes after the checksum: an MTU, a pointer.
    pub(crate) fn next(self, next: u32) -> Self {
        self.refusal(|refusal| refusal.next = next)
    }

    /// Quotes at most so many bytes.
    pub(crate) fn quote(self, quote: usize) -> Self {
        self.refusal(|refusal| refusal.quote = quote)
    }

    /// Tells the MPLS labels that the packet had.
    pub(crate) fn labels(self, labels: &[u32]) -> Self {
        self.refusal(|refusal| refusal.labels = labels.to_vec())
    }

    /// Changes what is quoted.
    pub(crate) fn spoil(self, spoil: fn(&mut [u8])) -> Self {
        self.refusal(|refusal| refusal.spoil = Some(spoil))
    }
}

impl What {
    /// Returns the packet that it comes to.
    pub(super) fn packet(&self, about: &Packet) -> Vec<u8> {
        match self {
            Self::Reply => right_answer(about, about.to),
            Self::From(from) => right_answer(about, *from),
            Self::Refuse(refusal) => refusal.packet(about),
            Self::Junk(head, rest) => {
                let (next, rest) = rest.split_first_chunk().expect("four bytes");
                wire::icmp(about.to, about.from, HOST_TTL, *head, *next, rest)
            }
            Self::Reset => {
                let Body::Syn { source, port, number } = about.body else { panic!("a reset is for a SYN") };
                wire::tcp([(about.to, port), (about.from, source)], HOST_TTL, RST | ACK, number.wrapping_add(1))
            }
            Self::StaleChecksum | Self::Altered | Self::Cut(_) | Self::OtherId | Self::OtherNonce => {
                let Body::Echo { id, sequence, payload } = &about.body else { panic!("{self:?} is for an echo") };
                let (mut id, mut payload) = (*id, payload.clone());
                match self {
                    Self::Altered => *payload.last_mut().expect("there are data") ^= 0x01,
                    Self::Cut(length) => payload.truncate(*length),
                    Self::OtherId => id ^= 0x5a5a,
                    Self::OtherNonce => payload[..8].iter_mut().for_each(|byte| *byte ^= 0xff),
                    _ => {}
                }
                let mut made = echo_reply(about, about.to, id, *sequence, &payload);
                if matches!(self, Self::StaleChecksum) {
                    wire::spoil_checksum(&mut made);
                }
                made
            }
        }
    }
}

fn echo_reply(about: &Packet, from: IpAddr, id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let kind = if about.family() == Family::V4 { 0 } else { 129 };
    let ([a, b], [c, d]) = (id.to_be_bytes(), sequence.to_be_bytes());
    wire::icmp(from, about.from, HOST_TTL, [kind, 0], [a, b, c, d], payload)
}

fn right_answer(about: &Packet, from: IpAddr) -> Vec<u8> {
    match &about.body {
        Body::Echo { id, sequence, payload } => echo_reply(about, from, *id, *sequence, payload),
        Body::Syn { source, port, number } => {
            wire::tcp([(from, *port), (about.from, *source)], HOST_TTL, SYN | ACK, number.wrapping_add(1))
        }
        Body::Udp { source, port, payload } => wire::udp([(from, *port), (about.from, *source)], HOST_TTL, payload),
    }
}

impl Refusal {
    fn packet(&self, about: &Packet) -> Vec<u8> {
        // RFC 1812, 4.3.2.3: at most 576 bytes; RFC 4443, 2.4 (c): at most 1,280.
        let most = if about.family() == Family::V4 { 576 - 28 } else { 1280 - 48 };
        let mut quote = about.bytes[..about.bytes.len().min(self.quote).min(most)].to_vec();
        if let Some(spoil) = self.spoil {
            spoil(&mut quote);
        }
        let mut next = self.next.to_be_bytes();
        if !self.labels.is_empty() {
            let length = wire::with_labels(about.family(), &mut quote, &self.labels);
            next[usize::from(about.family() == Family::V4)] = length;
        }
        let from = self.from.unwrap_or(about.to);
        wire::icmp(from, about.from, ROUTER_TTL, [self.kind, self.code], next, &quote)
    }

    /// Returns whether a reader can know, and must, what it is about: id and sequence are quoted,
    /// and nothing of it was changed.
    pub(super) fn is_certain(&self, family: Family) -> bool {
        self.spoil.is_none() && self.quote >= if family == Family::V4 { 28 } else { 48 }
    }
}

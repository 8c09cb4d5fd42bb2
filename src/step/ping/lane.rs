//! The sockets of one family: probes go by one of them, and what comes back is read of all.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use socket2::{SockAddr, Socket};

use super::book::{Book, Due};
use super::hear::{Came, Clue, Echo, Refusal};
use super::targets::shown;
use crate::address::Address;
use crate::error::{Error, ExitCode, Step};
use crate::event::Label;
use crate::packet::message::{IcmpError, Message, read_icmp, read_icmpv6, read_v4};
use crate::packet::objects::Object;
use crate::packet::quote::{self, Quoted};
use crate::packet::{self, echo, syn};
use crate::socket;
use crate::socket::icmp::{self, QUOTE};
use crate::socket::options;
use crate::step::drops::{Drops, Hearer};
use crate::step::open::set;
use crate::step::trip::Moment;
use crate::step::udp::is_of_icmp;
use crate::step::{Door, Failed};
use crate::sys::{self, Outgoing, Queued, Received, RecvBatch, SendBatch};

/// Most messages of one call.
pub(super) const BATCH: usize = 64;

/// Most ICMP errors of one call, where they come to a socket of their own.
const ERRORS: usize = 16;

/// Of so many targets it is known by which address of ours a SYN goes there.
const SOURCES: usize = 1 << 12;

/// What a lane speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// Echo requests of ICMP, by a raw socket.
    Raw,
    /// The same by a datagram socket: the kernel has an eye on the identifier.
    Dgram,
    /// SYN segments of TCP, to a port.
    Syn,
    /// Datagrams of UDP, to a port.
    Udp,
}

/// A lane's sockets, as they were opened.
pub(super) struct Sockets {
    pub(super) sender: Socket,
    /// Where answers come, where that is another.
    pub(super) hearer: Option<Socket>,
    /// Where ICMP errors come, where that is another.
    pub(super) errors: Option<Socket>,
    /// What keeps a port for us.
    pub(super) _reserved: Option<Socket>,
}

/// One family's way out and back.
pub(super) struct Lane {
    pub(super) is_v6: bool,
    speech: Speech,
    sockets: Sockets,
    /// The identifier of our echo requests, or our port.
    id: u16,
    /// The port that probes go to.
    port: u16,
    batch: RecvBatch,
    slots: usize,
    /// Of ICMP errors that come to a socket of their own.
    error_batch: Option<RecvBatch>,
    sends: SendBatch,
    packets: Vec<Vec<u8>>,
    addresses: Vec<SockAddr>,
    /// The addresses of ours that SYNs go from, by where they go.
    sources: HashMap<IpAddr, IpAddr>,
    /// The probes whose departure the kernel has yet to tell, and the number of its stamp for the first;
    /// `None` where it is not asked.
    stamps: Option<Stamps>,
    /// What this host dropped of the answers, and of the errors that come to a socket of their own.
    drops: [Drops; 2],
    local: Address,
    recv_buffer: Option<u32>,
    interface: Option<String>,
}

/// The probes that transmit stamps are asked of.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    /// The number of the stamp of the first of them.
    first: u32,
    probes: VecDeque<u64>,
}

/// What a lane is made of.
pub(super) struct Making {
    pub(super) is_v6: bool,
    pub(super) speech: Speech,
    pub(super) id: u16,
    pub(super) port: u16,
    /// The most data of a probe.
    pub(super) size: usize,
    pub(super) stamps: bool,
    pub(super) recv_buffer: Option<u32>,
    pub(super) interface: Option<String>,
}

/// Why a probe did not go.
pub(super) enum Refused {
    /// There is no room for it now.
    Full(Errno),
    /// For another reason.
    For(Box<Error>),
}

impl Lane {
    pub(super) fn new(making: Making, sockets: Sockets) -> Self {
        /// IP header with options, ICMP header, and what an error quotes.
        const LEAST: usize = 1_500;
        /// Bytes of all slots together.
        const MOST: usize = 1 << 20;
        let Making { is_v6, speech, id, port, size, stamps, recv_buffer, interface } = making;
        let room = (size + 96).max(LEAST);
        let slots = (MOST / room).clamp(4, BATCH);
        let unspecified: IpAddr =
            if is_v6 { Ipv6Addr::UNSPECIFIED.into() } else { std::net::Ipv4Addr::UNSPECIFIED.into() };
        Self {
            is_v6,
            speech,
            id,
            port,
            batch: RecvBatch::new(slots, room, true),
            slots,
            error_batch: sockets.errors.is_some().then(|| RecvBatch::new(ERRORS, LEAST, true)),
            sends: SendBatch::default(),
            packets: Vec::new(),
            addresses: Vec::new(),
            sources: HashMap::new(),
            stamps: stamps.then(Stamps::default),
            drops: [Drops::new(), Drops::new()],
            local: Address::Ip(unspecified, 0),
            recv_buffer,
            interface,
            sockets,
        }
    }

    /// Returns the sockets that something may come to.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let Sockets { sender, hearer, errors, .. } = &self.sockets;
        [Some(sender), hearer.as_ref(), errors.as_ref()].into_iter().flatten().map(AsFd::as_fd)
    }

    /// Returns the socket that probes go by.
    pub(super) fn sender(&self) -> BorrowedFd<'_> {
        self.sockets.sender.as_fd()
    }

    /// Returns how many bytes a probe of so much data has, above the IP header.
    fn bytes(&self, size: usize) -> usize {
        match self.speech {
            Speech::Raw | Speech::Dgram => echo::HEADER + size,
            Speech::Syn => syn::LEN,
            Speech::Udp => size,
        }
    }

    /// Returns a packet of the last batch.
    pub(super) fn packet(&self, index: usize) -> &[u8] {
        &self.packets[index]
    }

    /// Makes the packet of a probe.
    fn make(&mut self, index: usize, number: u64, due: &Due, book: &Book) -> Result<(), Errno> {
        let len = self.bytes(due.size);
        if self.packets.len() <= index {
            self.packets.push(Vec::new());
        }
        let port = if matches!(self.speech, Speech::Udp) { self.port } else { 0 };
        let address = book.targets.sockaddr(due.target, port);
        match self.addresses.get_mut(index) {
            Some(place) => *place = address,
            None => self.addresses.push(address),
        }
        let source = if self.speech == Speech::Syn { Some(self.source_of(due.target, book)?) } else { None };
        let packet = &mut self.packets[index];
        if packet.len() != len {
            packet.clear();
            packet.resize(len - due.size.min(len), 0);
            packet.extend_from_slice(&book.data(due.size)[..len - packet.len()]);
        }
        let data = if matches!(self.speech, Speech::Udp) { 0 } else { echo::HEADER };
        match self.speech {
            Speech::Raw | Speech::Dgram | Speech::Udp => {
                if let Some(place) = packet[data.min(len)..].first_chunk_mut::<8>() {
                    *place = book.nonce(number);
                }
                if self.speech != Speech::Udp {
                    echo::write_request(packet, self.is_v6, self.id, due.sequence as u16);
                }
            }
            Speech::Syn => {
                if let (Some((from, to)), Some(segment)) = (source, packet.first_chunk_mut()) {
                    syn::write_syn(segment, from, to, self.id, self.port, book.scattered(number));
                }
            }
        }
        Ok(())
    }

    /// Returns our address on the way to a target, and its own: what the checksum of TCP covers.
    fn source_of(&mut self, target: u32, book: &Book) -> Result<(IpAddr, IpAddr), Errno> {
        let (to, _) = book.targets.ip(target);
        if let Some(from) = self.sources.get(&to) {
            return Ok((*from, to));
        }
        let bound = self
            .sockets
            .sender
            .local_addr()
            .ok()
            .filter(|local| local.as_socket().is_some_and(|local| !local.ip().is_unspecified()));
        let to_address = book.targets.sockaddr(target, self.port);
        let from = super::source_to(&to_address, bound, self.interface.as_deref())?;
        // Of a sweep each is asked for but once.
        if self.sources.len() == SOURCES {
            self.sources.clear();
        }
        self.sources.insert(to, from);
        Ok((from, to))
    }

    /// Sends probes, and returns how many of them the kernel took, and why it did not take the next.
    pub(super) fn send(&mut self, book: &mut Book, dues: &[(u64, Due)]) -> (usize, Option<Refused>) {
        let dues = &dues[..dues.len().min(BATCH)];
        for (index, (number, due)) in dues.iter().enumerate() {
            if let Err(errno) = self.make(index, *number, due, book) {
                // Those before it go first.
                if index == 0 {
                    return (0, Some(Refused::For(Box::new(Error::of_call(Step::Send, errno, "")))));
                }
                return self.send(book, &dues[..index]);
            }
        }
        let packets: Vec<Outgoing<'_>> = dues
            .iter()
            .zip(self.packets.iter().zip(&self.addresses))
            .map(|((_, due), (packet, to))| Outgoing {
                to: Some(to),
                parts: [&[], packet],
                segment: None,
                from: None,
                hops: due.hops.map(|hops| (hops, self.is_v6)),
            })
            .collect();
        match self.sends.send(self.sockets.sender.as_fd(), &packets) {
            Ok(count) => {
                if let Some(stamps) = &mut self.stamps {
                    stamps.sent(dues[..count].iter().map(|(number, _)| *number));
                }
                (count, None)
            }
            Err(error) => (0, Some(self.refused(&book.door, &error))),
        }
    }

    fn refused(&mut self, door: &Door, error: &io::Error) -> Refused {
        // The kernel has numbered it or not: it begins anew, and so do we.
        self.restart_stamps(door);
        match error.raw_os_error().map(Errno::from_raw) {
            Some(errno @ (Errno::EAGAIN | Errno::ENOBUFS)) => Refused::Full(errno),
            _ => Refused::For(Box::new(Error::of_io(Step::Send, error, ""))),
        }
    }

    /// Makes the kernel count its stamps from 0 again.
    fn restart_stamps(&mut self, door: &Door) {
        let Some(stamps) = &mut self.stamps else { return };
        let sender = &self.sockets.sender;
        let Ok(flags) = sys::get_int(sender.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING) else { return };
        if options::stamps_anew(flags).iter().all(|setting| set(door, sender, setting).is_ok()) {
            *stamps = Stamps::default();
        }
    }

    /// Takes what the error queue has: when probes left, and of a socket without rights ICMP errors.
    fn drain(&mut self, book: &mut Book) {
        let mut quote = [0; QUOTE];
        loop {
            match sys::recv_queued(self.sockets.sender.as_fd(), &mut quote) {
                Ok(Queued::Sent { id, kernel_time, device_time }) => {
                    if let Some(number) = self.stamps.as_mut().and_then(|stamps| stamps.number(id)) {
                        book.left(number, kernel_time, device_time);
                    }
                }
                Ok(queued) => self.queued(book, &queued, &quote),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Takes an ICMP error of the error queue.
    fn queued(&self, book: &mut Book, queued: &Queued, quote: &[u8]) {
        let (Some(error), &Queued::Error { ref to, quoted, kernel_time, .. }) = (icmp::IcmpError::of(queued), queued)
        else {
            return;
        };
        let Some(asked) = to.as_ref() else { return };
        let Some(to) = shown(asked, 0).ip() else { return };
        let quoted = &quote[..quoted];
        let clue = match self.speech {
            Speech::Udp => Clue::Data(quoted),
            Speech::Raw | Speech::Dgram | Speech::Syn => match quote::read_echo(quoted, self.is_v6) {
                Some(Quoted::Echo { sequence, data, .. }) => Clue::Echo(sequence, data),
                _ => return,
            },
        };
        let is_port = packet::icmp::is_port_unreachable(error.is_v6, error.kind, error.code);
        let from = Address::Ip(error.from, 0);
        let bytes = quoted.len();
        // Of what comes by the error queue the kernel does not give the device's stamp.
        let came = Came { from: &from, bytes, ttl: None, kernel_time, device_time: None, read: Moment::now() };
        // Who says that nobody listens there is there.
        if self.speech == Speech::Udp && is_port && error.from == to {
            if let Some(number) = book.quoted(to, clue) {
                let from = shown(asked, self.port);
                book.answer(number, &Came { from: &from, ..came }, Some("port-unreachable"));
            }
            return;
        }
        let refusal = Refusal {
            is_v6: error.is_v6,
            kind: error.kind,
            code: error.code,
            mtu: error.mtu,
            mpls: &[],
            interface: None,
        };
        book.refusal(&refusal, to, clue, &came);
    }

    /// Takes what has come, at most a batch; returns how many messages that were, and whether nothing is
    /// left.
    pub(super) fn take(&mut self, book: &mut Book) -> Result<(usize, bool), Failed> {
        let count = loop {
            let hearer = self.sockets.hearer.as_ref().unwrap_or(&self.sockets.sender);
            match self.batch.recv(hearer.as_fd(), self.slots, false) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // An ICMP error that the error queue tells more of.
                Err(error) if is_of_icmp(&error) || is_redirect(&error) => self.drain(book),
                Err(error) => {
                    let error = Error::of_io(Step::Recv, &error, &self.local.to_string());
                    return Err(book.door.fail(&error.with_local(self.local.clone())));
                }
            }
        };
        // After that: of what has come by now it is told when the probe left.
        if self.stamps.is_some() || matches!(self.speech, Speech::Dgram | Speech::Udp) {
            self.drain(book);
        }
        let (errors, are_all) = self.take_errors(book);
        if count > 0 {
            let read = Moment::now();
            for index in 0..count {
                self.hear(book, &self.batch.get(index), read);
            }
        }
        if self.drops[0].is_due() {
            self.tell_drops(&book.door);
        }
        Ok((count + errors, are_all && count < self.slots))
    }

    /// Takes the ICMP errors that come to a socket of their own, at most a batch: others on this host get them
    /// too, and may come without end. Returns how many they were, and whether none is left.
    fn take_errors(&mut self, book: &mut Book) -> (usize, bool) {
        let (Some(errors), Some(mut batch)) = (self.sockets.errors.as_ref(), self.error_batch.take()) else {
            return (0, true);
        };
        let count = batch.recv(errors.as_fd(), ERRORS, false).unwrap_or(0);
        if count > 0 {
            let read = Moment::now();
            for index in 0..count {
                self.hear_icmp(book, &batch.get(index), read);
            }
        }
        self.error_batch = Some(batch);
        (count, count < ERRORS)
    }

    /// Takes one message.
    fn hear(&self, book: &mut Book, received: &Received<'_>, read: Moment) {
        let Received { kernel_time, device_time, .. } = *received;
        match self.speech {
            Speech::Raw | Speech::Dgram => self.hear_icmp(book, received, read),
            Speech::Udp => {
                let from = socket::address(&received.from);
                let bytes = received.true_bytes;
                let came = Came { from: &from, bytes, ttl: received.hops, kernel_time, device_time, read };
                let port = received.from.as_socket().map_or(0, |from| from.port());
                book.datagram(received.data, port == self.port, &came);
            }
            Speech::Syn => {
                let (answer, ttl) = match self.is_v6 {
                    true => (syn::read_tcp(received.data), received.hops),
                    false => match syn::read_tcp_v4(received.data) {
                        Some((header, answer)) => (Some(answer), Some(header.hops)),
                        None => (None, None),
                    },
                };
                let Some(answer) = answer.filter(|answer| (answer.destination, answer.source) == (self.id, self.port))
                else {
                    return;
                };
                let kind = match answer.kind {
                    syn::AnswerKind::SynAck => "syn-ack",
                    syn::AnswerKind::Rst => "rst",
                    syn::AnswerKind::Other => return,
                };
                let from = shown(&received.from, self.port);
                let bytes = received.true_bytes;
                let came = Came { from: &from, bytes, ttl, kernel_time, device_time, read };
                book.scattered_answer(answer.acknowledged.wrapping_sub(1), kind, &came);
            }
        }
    }

    /// Takes a message of ICMP, as the socket gives it.
    fn hear_icmp(&self, book: &mut Book, received: &Received<'_>, read: Moment) {
        let Received { kernel_time, device_time, .. } = *received;
        let has_header = !self.is_v6 && self.speech != Speech::Dgram;
        let (ttl, bytes, message) = if has_header {
            let Some((header, message)) = read_v4(received.data) else { return };
            let header_bytes = usize::from(received.data.first().map_or(0, |first| first & 15)) * 4;
            (Some(header.hops), received.true_bytes.saturating_sub(header_bytes), message)
        } else if self.is_v6 {
            let (from, to) = (shown(&received.from, 0).ip(), received.arrival.map(|arrival| arrival.to));
            let addresses = match (from, to) {
                (Some(IpAddr::V6(from)), Some(IpAddr::V6(to))) if self.speech != Speech::Dgram => Some((from, to)),
                _ => None,
            };
            (received.hops, received.true_bytes, read_icmpv6(received.data, addresses))
        } else {
            (received.hops, received.true_bytes, read_icmp(received.data))
        };
        let from = shown(&received.from, 0);
        let came = Came { from: &from, bytes, ttl, kernel_time, device_time, read };
        match message {
            Message::Reply(reply) if matches!(self.speech, Speech::Raw | Speech::Dgram) => {
                let is_ours = reply.id == self.id;
                let (sequence, data, is_sound) = (reply.sequence, reply.data, reply.is_sound);
                book.echo(&Echo { is_ours, sequence, data, is_sound }, &came);
            }
            Message::Error(error) => self.hear_error(book, &error, &came),
            Message::Reply(_) | Message::Other => {}
        }
    }

    fn hear_error(&self, book: &mut Book, error: &IcmpError<'_>, came: &Came<'_>) {
        // What is damaged says nothing for certain.
        let Some(quote) = error.quote.as_ref().filter(|_| error.is_sound) else { return };
        let clue = match (self.speech, &quote.what) {
            (Speech::Raw | Speech::Dgram, Quoted::Echo { id, sequence, data }) if *id == self.id => {
                Clue::Echo(*sequence, data)
            }
            (Speech::Syn, Quoted::Tcp { source, destination, sequence })
                if (*source, *destination) == (self.id, self.port) =>
            {
                Clue::Number(*sequence)
            }
            _ => return,
        };
        let mut labels = Vec::new();
        for object in error.objects.clone() {
            if let Object::Mpls(stack) = object {
                labels.extend(stack.iter().map(|label| Label {
                    label: label.label,
                    class: label.class,
                    ttl: label.ttl,
                }));
            }
        }
        let interface = error.objects.interface();
        let refusal = Refusal {
            is_v6: self.is_v6,
            kind: error.kind,
            code: error.code,
            mtu: error.mtu,
            mpls: &labels,
            interface: interface.as_deref(),
        };
        book.refusal(&refusal, quote.to, clue, came);
    }

    /// Tells what this host dropped of what came, where there is more than was told.
    pub(super) fn tell_drops(&mut self, door: &Door) {
        let Sockets { sender, hearer, errors, .. } = &self.sockets;
        let hearers = [Some(hearer.as_ref().unwrap_or(sender)), errors.as_ref()];
        for (nth, (drops, hearer)) in self.drops.iter_mut().zip(hearers).enumerate() {
            let Some(hearer) = hearer else { continue };
            let fd = hearer.as_fd();
            let (local, recv_buffer_asked) = (&self.local, self.recv_buffer);
            drops.look_at(Hearer { fd, local, nth, is_merged: false, recv_buffer_asked }, door);
        }
    }
}

impl Stamps {
    /// Takes note of probes that went. A device that never tells when is not waited for without end.
    fn sent(&mut self, numbers: impl Iterator<Item = u64>) {
        const MOST: usize = 1 << 16;
        self.probes.extend(numbers);
        self.forget(self.probes.len().saturating_sub(MOST));
    }

    /// Returns the probe that a stamp is of. The device's comes after the kernel's, and after those of probes that went
    /// later.
    fn number(&mut self, id: u32) -> Option<u64> {
        const LATE: usize = 1 << 10;
        let index = id.wrapping_sub(self.first) as usize;
        let number = self.probes.get(index).copied();
        if number.is_some() {
            self.forget(index.saturating_sub(LATE));
        }
        number
    }

    fn forget(&mut self, oldest: usize) {
        self.probes.drain(..oldest);
        self.first = self.first.wrapping_add(oldest as u32);
    }
}

impl Refused {
    /// Returns the errno, where there is one.
    pub(super) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Full(errno) => Some(*errno),
            Self::For(error) => error.errno,
        }
    }

    /// Returns what it comes to.
    pub(super) fn code(&self) -> ExitCode {
        match self {
            // No room on this host: it is no matter of the target.
            Self::Full(_) => ExitCode::Local,
            Self::For(error) => error.exit_code(),
        }
    }
}

/// Returns whether an errno is the one that the kernel makes of a redirect, or a source quench, about an echo
/// request of a datagram socket (ping_err in net/ipv4/ping.c).
fn is_redirect(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EREMOTEIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_has_a_stamp_of_the_kernel_and_one_of_the_device_later() {
        let mut stamps = Stamps::default();
        stamps.sent([10, 11, 13].into_iter());
        assert_eq!([0, 1, 0, 2, 1].map(|id| stamps.number(id)), [10, 11, 10, 13, 11].map(Some));
        assert_eq!([3, u32::MAX].map(|id| stamps.number(id)), [None, None]);
        // Those that are far behind are forgotten: of some no stamp comes.
        stamps.sent(100..3_000);
        assert_eq!([2_000, 2_001, 0].map(|id| stamps.number(id)), [Some(2_097), Some(2_098), None]);
    }

    #[test]
    fn the_numbers_of_stamps_go_on_where_32_bits_end() {
        let mut stamps = Stamps { first: u32::MAX, ..Stamps::default() };
        stamps.sent(5..8);
        assert_eq!([u32::MAX, 0, 1, 2].map(|id| stamps.number(id)), [Some(5), Some(6), Some(7), None]);
    }
}

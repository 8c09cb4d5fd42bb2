//! What only unix sockets give with a recv: records with their true length, and descriptors.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use socket2::Socket;

use super::{Stream, Taken};
use crate::address::Address;
use crate::event::{self, Descriptor, Kind};
use crate::socket;
use crate::step::fail::errno;
use crate::step::{Door, descriptors};
use crate::sys::{self, Credentials, Message, Wanted};

impl Stream {
    /// Takes what a unix socket has, with the descriptors that come along.
    pub(super) fn take_message(&self, socket: &Socket, buffer: &mut [u8]) -> io::Result<Taken> {
        loop {
            match self.take_one(socket, buffer) {
                Err(error) if self.notes_reset(&error) => {}
                Ok(Taken { is_end: true, .. }) if self.ending.has_early_reset() => {
                    return Err(Errno::ECONNRESET.into());
                }
                taken => return taken,
            }
        }
    }

    /// Notes a reset for when all records before it were taken: of them the kernel tells it first (net/unix/af_unix.c,
    /// net/core/datagram.c), of bytes after them. Returns whether it did.
    pub(super) fn notes_reset(&self, error: &io::Error) -> bool {
        let is_early =
            self.kind.has_records() && self.kind.has_connections() && errno(error) == Some(Errno::ECONNRESET);
        // The kernel tells it once; a second is another.
        is_early && self.ending.early_reset()
    }

    fn take_one(&self, socket: &Socket, buffer: &mut [u8]) -> io::Result<Taken> {
        let has_records = self.kind.has_records();
        let message = self.message(socket, buffer)?;
        let bytes = message.bytes;
        if message.has_dropped {
            warn_of_dropped(&self.door, socket, &message);
        }
        if let Some(from) = message.from.as_deref().map(socket::address)
            && from != self.peer
        {
            self.foreign(socket, &message, &from, &buffer[..bytes]);
            return Err(io::ErrorKind::Interrupted.into());
        }
        // A stream ends with 0 bytes; a record of 0 bytes has a time, the end of a stream of records has
        // none; datagrams have no end.
        let is_end = bytes == 0
            && match has_records {
                true => self.kind.has_connections() && !message.has_time && self.tells_ends.load(Ordering::Relaxed),
                false => !buffer.is_empty(),
            };
        if is_end {
            return Ok(Taken { bytes, is_end, is_all: false });
        }
        self.count_received(bytes);
        if message.true_bytes > bytes && has_records {
            self.ending.truncated();
        }
        let descriptors = match message.descriptors.is_empty() {
            true => Vec::new(),
            false => described(&message.descriptors),
        };
        // Of datagrams each tells whom it came to and whose it is.
        let is_datagram = !self.kind.has_connections();
        let local = (is_datagram && self.door.wants(Kind::Recv)).then(|| self.local(socket));
        self.door.recvd(bytes, || {
            let recv = event::Recv {
                peer: is_datagram.then_some(&self.peer),
                local,
                truncated: has_records.then_some(message.true_bytes > bytes),
                datagram_bytes: has_records.then_some(message.true_bytes as u64),
                descriptors: &descriptors,
                ..event::Recv::on(self.conn, bytes, &buffer[..bytes])
            };
            from_whom(recv, message.credentials)
        });
        // A recv ends at descriptors, and at the end of a record, whatever is behind them.
        let is_all = !has_records && descriptors.is_empty() && !message.has_dropped && bytes < buffer.len();
        Ok(Taken { bytes, is_end, is_all })
    }

    /// Returns our own name, which a socket of datagrams has before its first.
    fn local(&self, socket: &Socket) -> &Address {
        self.aside.get_or_init(Box::default).local.get_or_init(|| socket::local(socket))
    }

    /// Reports a datagram that somebody else had sent before we kept to our peer.
    fn foreign(&self, socket: &Socket, message: &Message, from: &Address, data: &[u8]) {
        let recv = event::Recv {
            peer: Some(from),
            local: Some(self.local(socket)),
            truncated: Some(message.true_bytes > message.bytes),
            datagram_bytes: Some(message.true_bytes as u64),
            denied: true,
            descriptors: &described(&message.descriptors),
            ..event::Recv::on(None, message.bytes, data)
        };
        self.door.emit(from_whom(recv, message.credentials));
    }

    /// Receives one message of a unix socket.
    fn message(&self, socket: &Socket, buffer: &mut [u8]) -> io::Result<Message> {
        // A server's datagrams may have come before it had one peer.
        let from = self.is_accepted && !self.kind.has_connections();
        let wanted = Wanted { true_length: self.kind.has_records(), from, ..Wanted::default() };
        sys::recv_message(socket.as_fd(), buffer, wanted)
    }
}

/// Adds to a recv who has sent it, where the kernel has told.
pub(in crate::step) fn from_whom(recv: event::Recv<'_>, whose: Option<Credentials>) -> event::Recv<'_> {
    event::Recv {
        pid: whose.and_then(Credentials::seen_pid),
        uid: whose.map(|whose| whose.uid),
        gid: whose.map(|whose| whose.gid),
        ..recv
    }
}

/// Warns, once a run, of descriptors that the kernel dropped: there was no room for them among ours.
pub(in crate::step) fn warn_of_dropped(door: &Door, socket: &Socket, message: &Message) {
    if !message.has_dropped {
        return;
    }
    // Those that came are still open, so one more shows whether it is the limit.
    let why = match (socket.as_fd().try_clone_to_owned(), descriptors()) {
        (Err(_), Ok((most, _))) => format!(": this process may have at most {most} (ulimit -n)"),
        _ => String::new(),
    };
    door.warn_once("descriptors-dropped", &format!("the kernel dropped descriptors that a peer passed{why}"));
}

/// Says what descriptors are that a peer passed. They are closed when the message is dropped.
pub(in crate::step) fn described(descriptors: &[OwnedFd]) -> Vec<Descriptor> {
    let describe = |fd| {
        let (kind, target) = socket::unix::describe(fd);
        Descriptor { kind, target }
    };
    descriptors.iter().map(describe).collect()
}

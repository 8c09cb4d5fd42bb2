//! A bound datagram socket that many peers send to: recv, send.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::{SockAddr, Socket};

use super::stream::{Made, described, from_whom, warn_of_dropped};
use super::unix::BoundFile;
use super::watch::Watch;
use super::{Door, Failed, Stream, now};
use crate::address::Address;
use crate::error::{Error, Step};
use crate::event::{self, Kind};
use crate::socket::{self, SocketKind};
use crate::sys::{self, Credentials, Wanted};

/// A datagram socket with a name of its own.
pub struct Datagram {
    /// Gone before the socket is, as that of a listener.
    file: Option<BoundFile>,
    door: Arc<Door>,
    socket: Watch,
    kind: SocketKind,
    local: Address,
}

/// A datagram that came.
#[derive(Debug)]
pub struct Datagrammed {
    /// Bytes of it that lie in the buffer.
    pub bytes: usize,
    /// Who sent it; `None` where the sender has no name.
    pub from: Option<Sender>,
    /// Whether its sender is let in.
    pub is_admitted: bool,
}

/// Who has sent a datagram, and can be sent one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    address: Address,
    raw: Box<SockAddr>,
}

impl Datagram {
    pub(super) fn new(
        door: Arc<Door>,
        made: Socket,
        kind: SocketKind,
        local: Address,
        file: Option<BoundFile>,
    ) -> Result<Self, Failed> {
        let socket = Watch::new(made, sys::BOTH_WAYS);
        if let Err(error) = socket.register() {
            return Err(door.fail(&Error::of_io(Step::Bind, &error, &local.to_string()).with_local(local.clone())));
        }
        Ok(Self { door, socket, kind, local, file })
    }

    /// Returns the address that the socket has.
    #[must_use]
    pub fn local(&self) -> &Address {
        &self.local
    }

    /// Waits until a datagram has come.
    pub async fn readable(&self) {
        // An error of the wait is told by the recv that follows.
        poll_fn(|context| self.socket.poll_read_ready(context).map(drop)).await;
    }

    /// Takes the next datagram; `None` where none has come. `admits` says whose are answered.
    ///
    /// # Errors
    /// As recvmsg(2), reported.
    pub fn recv(
        &self,
        buffer: &mut [u8],
        admits: impl FnOnce(Credentials) -> bool,
    ) -> Result<Option<Datagrammed>, Failed> {
        let wanted = Wanted { true_length: true, from: true, ..Wanted::default() };
        let Some(message) = self.message(buffer, wanted)? else { return Ok(None) };
        warn_of_dropped(&self.door, self.socket.get_ref(), &message);
        let from = message.from.as_deref().map_or(Address::UnixUnnamed, socket::address);
        let whose = message.credentials;
        let is_admitted = whose.is_none_or(admits);
        let descriptors = described(&message.descriptors);
        let recv = event::Recv {
            peer: Some(&from),
            local: Some(&self.local),
            truncated: Some(message.true_bytes > message.bytes),
            datagram_bytes: Some(message.true_bytes as u64),
            denied: !is_admitted,
            descriptors: &descriptors,
            ..event::Recv::on(None, message.bytes, &buffer[..message.bytes])
        };
        self.door.emit(from_whom(recv, whose));
        let from = message.from.filter(|_| from != Address::UnixUnnamed).map(|raw| Sender { address: from, raw });
        Ok(Some(Datagrammed { bytes: message.bytes, from, is_admitted }))
    }

    /// Returns who has sent the next datagram, which stays to be received: the process, as far as
    /// the kernel tells, and the address.
    ///
    /// # Errors
    /// As recvmsg(2), reported.
    pub fn next_sender(&self) -> Result<Option<(Option<Credentials>, Address)>, Failed> {
        let wanted = Wanted { true_length: true, from: true, peek: true };
        let message = self.message(&mut [], wanted)?;
        Ok(message.map(|message| {
            let from = message.from.as_deref().map_or(Address::UnixUnnamed, socket::address);
            (message.credentials, from)
        }))
    }

    fn message(&self, buffer: &mut [u8], wanted: Wanted) -> Result<Option<sys::Message>, Failed> {
        let mut guard = match self.socket.poll_read_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(guard)) => guard,
            Poll::Ready(Err(_)) | Poll::Pending => return Ok(None),
        };
        match sys::recv_message(guard.get_inner().as_fd(), buffer, wanted) {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                guard.clear_ready();
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => {
                let error = Error::of_io(Step::Recv, &error, &self.local.to_string());
                Err(self.door.fail(&error.with_local(self.local.clone())))
            }
        }
    }

    /// Sends the parts as one datagram. A peer whose queue is full loses it: nobody else waits for
    /// that peer.
    ///
    /// # Errors
    /// As sendmsg(2), reported; the socket is as good as before.
    pub fn send_to(&self, to: &Sender, parts: [&[u8]; 2]) -> Result<(), Failed> {
        let parts_of = [IoSlice::new(parts[0]), IoSlice::new(parts[1])];
        match self.socket.get_ref().send_to_vectored(&parts_of, &to.raw) {
            Ok(bytes) => {
                let joined = if self.door.wants(Kind::Send) { parts.concat() } else { Vec::new() };
                self.door.emit(event::Send {
                    peer: Some(&to.address),
                    ..event::Send::on(None, bytes, &joined[..bytes.min(joined.len())])
                });
                Ok(())
            }
            Err(error) => {
                let error = Error::of_io(Step::Send, &error, &to.address.to_string());
                Err(self.door.fail(&error.with_peer(to.address.clone())))
            }
        }
    }

    /// Waits for room in the reports.
    pub async fn room(&self) {
        self.door.room().await;
    }

    /// Reports that no datagram came for so long.
    pub fn timeout(&self, after: Duration) {
        self.door.emit(event::Timeout { conn: None, step: Step::Recv, after });
    }

    /// Keeps to one peer from now on: connect(2), after which the kernel takes nothing from others.
    /// The name of the socket, and its file, stay until the [`Name`] is dropped.
    ///
    /// # Errors
    /// As connect(2), reported.
    pub fn keep_to(self, peer: Address) -> Result<(Stream, Name), Failed> {
        let Self { door, socket, kind, local, file } = self;
        let began = now();
        if let Err(error) = socket::connect(socket.get_ref(), &peer) {
            let error = Error::of_io(Step::Connect, &error, &peer.to_string());
            return Err(door.fail(&error.with_peer(peer)));
        }
        let (conn, opened) = (door.next_conn(), now());
        door.emit(event::Connect {
            conn,
            target: None,
            number: 0,
            peer: &peer,
            local: Some(&local),
            attempt: 1,
            duration: opened - began,
            syn_retransmits: None,
            fast_open: None,
            mptcp: None,
        });
        let made = Made { kind, conn, peer, opened, is_accepted: true, tells_of_room: true };
        Ok((Stream::new(door, socket, made), Name { _file: file }))
    }
}

/// The name of a socket that has become a connection.
pub struct Name {
    _file: Option<BoundFile>,
}

//! Bytes of a connection that are no data of its ends: what a layer between says and hears. They are
//! in no `send` and no `recv`, for they may hold secrets, nor in the bytes of `close`; whose they are
//! tells of them.

use std::future::poll_fn;
use std::io::{self, Read};

use super::Stream;
use super::watch::Watch;
use crate::socket;

/// What goes over a connection apart from its data.
pub(super) struct Apart<'a> {
    socket: &'a Watch,
    buffer: Vec<u8>,
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl<'a> Apart<'a> {
    /// Begins; `None` where the connection is closed.
    pub(super) fn on(stream: &'a Stream) -> Option<Self> {
        /// As much of a dialogue as comes at once.
        const ROOM: usize = 4096;
        let socket = stream.socket()?;
        Some(Self { socket, buffer: vec![0; ROOM], sent: 0, received: 0 })
    }

    /// Sends all bytes, and waits for room where there is none.
    pub(super) async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut guard = poll_fn(|context| self.socket.poll_write_ready(context)).await?;
            match guard.get_inner().send(bytes) {
                Ok(taken) => {
                    self.sent += taken as u64;
                    bytes = &bytes[taken..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for bytes and shows them to `take`, which says how many are its own and what they come
    /// to: those are taken, and the others stay for whoever reads next. `None` at the peer's end.
    pub(super) async fn next<T>(&mut self, take: impl FnOnce(&[u8]) -> (usize, T)) -> io::Result<Option<T>> {
        loop {
            let mut guard = poll_fn(|context| self.socket.poll_read_ready(context)).await?;
            let mut socket = self.socket.get_ref();
            match socket::peek(socket, &mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(there) => {
                    let (mut left, told) = take(&self.buffer[..there]);
                    self.received += left as u64;
                    while left > 0 {
                        match socket.read(&mut self.buffer[..left]) {
                            Ok(taken) => left -= taken.clamp(1, left),
                            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                            Err(error) => return Err(error),
                        }
                    }
                    return Ok(Some(told));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

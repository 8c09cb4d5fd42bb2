//! Bytes that we make ourselves: the pattern, and a connection that is fed with it.
//!
//! Where nobody wants to see what is sent, the kernel takes it from a file in memory (sendfile(2),
//! memfd_create(2)), which all connections share; else each send(2) is shown with its data.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::sendfile::sendfile;

use super::{Door, Failed, Rest, Sent, Stream};
use crate::error::Step;
use crate::event::Kind;
use crate::packet::pattern;

/// Most bytes that one send takes, where it is shown.
const SHOWN: usize = 64 << 10;

/// The length of the file: about 1 MiB, and whole periods, so that its end joins its beginning.
const FILE: usize = (1 << 20) / pattern::PERIOD * pattern::PERIOD;

/// The pattern, ready to be sent by any number of connections.
#[derive(Debug)]
pub struct Pattern {
    /// [`FILE`] bytes of it; `None` where what is sent is shown, or the kernel has no such files.
    file: Option<OwnedFd>,
    /// So much that [`SHOWN`] bytes follow each offset of a period.
    bytes: Vec<u8>,
}

impl Pattern {
    /// Makes the pattern.
    #[must_use]
    pub fn new(door: &Door) -> Self {
        let file = (!door.wants(Kind::Send)).then(file).flatten();
        Self { file, bytes: pattern::bytes(pattern::PERIOD + SHOWN) }
    }
}

/// Makes the file in memory. Where that fails, sends do as well: they are slower.
fn file() -> Option<OwnedFd> {
    let file = memfd_create(c"sockeye-pattern", MFdFlags::MFD_CLOEXEC).ok()?;
    let bytes = pattern::bytes(FILE);
    let mut left = &bytes[..];
    while !left.is_empty() {
        let written = nix::unistd::write(&file, left).ok()?;
        left = &left[written..];
    }
    Some(file)
}

/// A connection that is sent the pattern from its beginning.
pub struct Feed<'a> {
    stream: &'a Stream,
    pattern: &'a Pattern,
    file: Option<&'a OwnedFd>,
    /// How many bytes were sent.
    sent: u64,
    /// What becomes of what the peer had sent, where it is gone.
    rest: Rest,
}

impl Stream {
    /// Begins to send the pattern.
    #[must_use]
    pub fn feed<'a>(&'a self, pattern: &'a Pattern, rest: Rest) -> Feed<'a> {
        // What becomes a record, one send must say.
        let file = pattern.file.as_ref().filter(|_| self.is_plain());
        Feed { stream: self, pattern, file, sent: 0, rest }
    }
}

impl Feed<'_> {
    /// Sends as much as the kernel takes with one call, at most `most` bytes. Returns how many it
    /// took; 0 where it must be waited for.
    ///
    /// # Errors
    /// As sendfile(2) and send(2), reported.
    pub fn send(&mut self, most: u64) -> Result<u64, Failed> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let taken = match self.file {
            Some(file) => self.send_file(file, most)?,
            None => self.send_bytes(most)?,
        };
        self.sent += taken as u64;
        Ok(taken as u64)
    }

    fn send_bytes(&self, most: usize) -> Result<usize, Failed> {
        let at = (self.sent % pattern::PERIOD as u64) as usize;
        let bytes = &self.pattern.bytes[at..at + most.min(SHOWN)];
        match self.stream.send([&[], bytes], self.rest)? {
            Sent::All => Ok(bytes.len()),
            Sent::Part(taken) => Ok(taken),
        }
    }

    fn send_file(&mut self, file: &OwnedFd, most: usize) -> Result<usize, Failed> {
        let Some(socket) = self.stream.socket() else { return Ok(0) };
        let Some(mut turn) = self.stream.turn_to_send() else { return Ok(0) };
        let at = (self.sent % FILE as u64) as usize;
        let mut offset = at as libc::off_t;
        match sendfile(socket.get_ref(), file, Some(&mut offset), most.min(FILE - at)) {
            Ok(bytes) => {
                self.stream.sent(bytes);
                Ok(bytes)
            }
            Err(Errno::EINTR) => Ok(0),
            Err(Errno::EAGAIN) => {
                turn.met_a_full_buffer();
                Ok(0)
            }
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                self.file = None;
                Ok(0)
            }
            Err(errno) => Err(self.stream.failed_after(self.rest, Step::Send, &errno.into())),
        }
    }
}

//! Bulk between a connection and our own stdin or stdout without a copy in this program: splice(2)
//! and sendfile(2). Each call is one step, with its bytes as a total.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, Waker};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::sendfile::sendfile;
use nix::sys::stat::{SFlag, fstat, makedev};
use nix::sys::uio::pread;
use nix::unistd::{Whence, lseek};
use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use super::watch::{Told, Watch};
use super::{Door, Failed, Stream};
use crate::error::{Error, Step};
use crate::sys;

/// Most bytes that one call moves; a pipe of ours is made as large.
const MOST: usize = 1 << 20;

/// How a splice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spliced {
    /// All was moved, to the end of the source.
    Eof,
    /// The kernel does not splice here; what was taken was passed on, the rest is still to come.
    Unsupported,
    /// Whoever read our stdout is gone.
    ReaderGone,
}

/// Where stdout leads.
enum Sink {
    /// A pipe: from the socket straight into it.
    Pipe(AsyncFd<OwnedFd>),
    /// A file or `/dev/null`: by a pipe of ours.
    Through { read: OwnedFd, write: OwnedFd },
}

impl Sink {
    /// `None` for what may keep a write waiting, a socket or a device: a splice into it blocks, with
    /// SPLICE_F_NONBLOCK too, which is of pipes. The writer of the report does not hold up the rest.
    fn of(stdout: &io::Stdout) -> Option<Self> {
        match kind(stdout)? {
            SFlag::S_IFIFO => {
                let copy = stdout.as_fd().try_clone_to_owned().ok()?;
                enlarge(&copy);
                sys::watch_fd(copy, Interest::WRITABLE).ok().map(Self::Pipe)
            }
            kind if kind == SFlag::S_IFREG || is_null(stdout) => {
                let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).ok()?;
                enlarge(&write);
                Some(Self::Through { read, write })
            }
            _ => None,
        }
    }
}

/// Makes a pipe hold as much as one call moves. One that may not (fs.pipe-max-size,
/// fs.pipe-user-pages-soft) is slower, and as good otherwise.
fn enlarge(pipe: &OwnedFd) {
    let _size = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(MOST as i32));
}

/// Returns what a stream is.
fn kind(stream: &impl AsFd) -> Option<SFlag> {
    fstat(stream).ok().map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT)
}

/// Returns whether a stream is `/dev/null` (major 1, minor 3: Documentation/admin-guide/devices.txt).
fn is_null(stream: &impl AsFd) -> bool {
    fstat(stream).is_ok_and(|stat| kind(stream) == Some(SFlag::S_IFCHR) && stat.st_rdev == makedev(1, 3))
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}

impl Stream {
    /// Moves what the peer sends to stdout, to the peer's end.
    ///
    /// # Errors
    /// As recv(2) and write(2), reported.
    pub async fn splice_to(&self, stdout: &io::Stdout) -> Result<Spliced, Failed> {
        let socket = self.socket().map(Watch::register);
        let (true, Some(Ok(socket)), Some(sink)) = (self.is_plain(), socket, Sink::of(stdout)) else {
            return Ok(Spliced::Unsupported);
        };
        loop {
            let mut guard = readable(socket).await;
            let taken = match &sink {
                Sink::Pipe(pipe) => splice(socket.get_ref(), None, pipe.get_ref(), None, MOST, flags()),
                Sink::Through { write, .. } => splice(socket.get_ref(), None, write, None, MOST, flags()),
            };
            match taken {
                // What is behind urgent data is left by a splice, and looks like the end: by hand it is read on.
                Err(Errno::EAGAIN) if self.has_urgent_data(socket) => return Ok(Spliced::Unsupported),
                Ok(0) if has_more(socket.get_ref()) => {
                    self.tell_urgent_data();
                    return Ok(Spliced::Unsupported);
                }
                Ok(0) => {
                    // A unix socket leaves the urgent byte alone.
                    let _told = self.has_urgent_data(socket);
                    self.ended();
                    return Ok(Spliced::Eof);
                }
                Ok(bytes) => self.received(bytes),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => {
                    match &sink {
                        Sink::Pipe(pipe) if is_full(pipe.get_ref()) => {
                            self.stall(true);
                            writable_again(pipe).await;
                            self.stall(false);
                        }
                        _ => guard.clear_ready(),
                    }
                    continue;
                }
                Err(Errno::EINVAL) => return Ok(Spliced::Unsupported),
                Err(Errno::EPIPE) => return Ok(Spliced::ReaderGone),
                // The socket is good, so it is stdout that was opened to be read only.
                Err(errno @ Errno::EBADF) => return Err(unwritten(self.door(), errno)),
                Err(errno) => return Err(self.failed(Step::Recv, errno)),
            }
            if let (Sink::Through { read, .. }, Ok(bytes)) = (&sink, taken) {
                match pass_on(read, stdout, bytes) {
                    Ok(Spliced::Eof) => {}
                    Ok(ended) => return Ok(ended),
                    Err(errno) => return Err(unwritten(self.door(), errno)),
                }
            }
        }
    }

    /// Moves stdin to the peer, to its end. A stdin that fails is left to be read by hand, which
    /// tells of it.
    ///
    /// # Errors
    /// As read(2) and send(2), reported.
    pub async fn splice_from(&self, stdin: &io::Stdin) -> Result<Spliced, Failed> {
        let socket = self.writer().map(Watch::register);
        let (true, Some(Ok(socket))) = (self.is_plain(), socket) else { return Ok(Spliced::Unsupported) };
        // A pipe that cannot be read is never readable either, and would be waited for without end.
        if !is_readable(stdin) {
            return Ok(Spliced::Unsupported);
        }
        match kind(stdin) {
            Some(SFlag::S_IFREG) => self.send_file(socket, stdin).await,
            Some(SFlag::S_IFIFO) => {
                let copy = stdin.as_fd().try_clone_to_owned().ok();
                copy.iter().for_each(enlarge);
                let pipe = copy.and_then(|copy| sys::watch_fd(copy, Interest::READABLE).ok());
                match pipe {
                    Some(pipe) => self.send_pipe(socket, &pipe).await,
                    None => Ok(Spliced::Unsupported),
                }
            }
            _ => Ok(Spliced::Unsupported),
        }
    }

    async fn send_file(&self, socket: &Told, stdin: &io::Stdin) -> Result<Spliced, Failed> {
        loop {
            let mut turn = self.next_turn(socket).await;
            match sendfile(socket.get_ref(), stdin, None, MOST) {
                Ok(0) => return Ok(Spliced::Eof),
                Ok(bytes) => self.sent(bytes),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => turn.met_a_full_buffer(),
                Err(Errno::EINVAL | Errno::ENOSYS) => return Ok(Spliced::Unsupported),
                // It is the file that fails: whoever reads it by hand tells.
                Err(_) if is_broken(stdin) => return Ok(Spliced::Unsupported),
                Err(errno) => return Err(self.failed(Step::Send, errno)),
            }
        }
    }

    async fn send_pipe(&self, socket: &Told, pipe: &AsyncFd<OwnedFd>) -> Result<Spliced, Failed> {
        loop {
            let mut input = readable(pipe).await;
            let mut turn = self.next_turn(socket).await;
            match splice(pipe.get_ref(), None, socket.get_ref(), None, MOST, flags()) {
                Ok(0) => return Ok(Spliced::Eof),
                Ok(bytes) => self.sent(bytes),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if is_full(socket.get_ref()) => turn.met_a_full_buffer(),
                Err(Errno::EAGAIN) => input.clear_ready(),
                Err(Errno::EINVAL) => return Ok(Spliced::Unsupported),
                Err(errno) => return Err(self.failed(Step::Send, errno)),
            }
        }
    }
}

/// Reports that stdout takes nothing.
fn unwritten(door: &Door, errno: Errno) -> Failed {
    door.fail(&Error::of_call(Step::Write, errno, "stdout"))
}

/// Returns whether a stream was opened to be read.
fn is_readable(stream: &impl AsFd) -> bool {
    fcntl(stream, FcntlArg::F_GETFL).is_ok_and(|flags| flags & OFlag::O_ACCMODE.bits() != OFlag::O_WRONLY.bits())
}

/// Returns whether a file cannot be read where its next byte is: sendfile(2) says only that one of
/// the two ends has failed.
fn is_broken(file: &impl AsFd) -> bool {
    let place = lseek(file, 0, Whence::SeekCur);
    place.and_then(|place| pread(file, &mut [0], place)).is_err()
}

/// Moves what our pipe holds to stdout, waiting for it where it must.
fn pass_on(read: &OwnedFd, stdout: &io::Stdout, mut left: usize) -> Result<Spliced, Errno> {
    while left > 0 {
        match splice(read, None, stdout, None, left, SpliceFFlags::SPLICE_F_MOVE) {
            Ok(bytes) => left -= bytes,
            Err(Errno::EINTR) => {}
            Err(Errno::EPIPE) => return Ok(Spliced::ReaderGone),
            // A file that is only appended to, say: by hand, as the rest will be.
            Err(Errno::EINVAL) => {
                copy(read, stdout, left)?;
                return Ok(Spliced::Unsupported);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(Spliced::Eof)
}

/// Copies what our pipe holds to stdout.
fn copy(read: &OwnedFd, stdout: &io::Stdout, mut left: usize) -> Result<(), Errno> {
    let mut buffer = vec![0; left];
    while left > 0 {
        let taken = nix::unistd::read(read, &mut buffer[..left])?;
        let mut bytes = &buffer[..taken];
        while !bytes.is_empty() {
            match nix::unistd::write(stdout, bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        left -= taken;
    }
    Ok(())
}

/// Returns whether something is left of a connection of which a splice took no more.
fn has_more(socket: &Socket) -> bool {
    matches!(socket.peek(&mut [MaybeUninit::uninit()]), Ok(1..))
}

/// Returns whether it is the sink that kept a splice from moving anything, and not the source.
/// Asked of the sink: what the source has now may have come after the splice.
fn is_full(sink: &impl AsFd) -> bool {
    let mut descriptors = [PollFd::new(sink.as_fd(), PollFlags::POLLOUT)];
    poll(&mut descriptors, PollTimeout::ZERO).is_ok_and(|ready| ready == 0)
}

/// Waits until a descriptor is readable; the guard is taken before the call that it is for.
async fn readable<T: std::os::fd::AsRawFd>(descriptor: &AsyncFd<T>) -> AsyncFdReadyGuard<'_, T> {
    loop {
        if let Ok(guard) = poll_fn(|context| descriptor.poll_read_ready(context)).await {
            return guard;
        }
    }
}

/// Waits until a descriptor is writable, likewise.
pub(super) async fn writable<T: std::os::fd::AsRawFd>(descriptor: &AsyncFd<T>) -> AsyncFdReadyGuard<'_, T> {
    loop {
        if let Ok(guard) = poll_fn(|context| descriptor.poll_write_ready(context)).await {
            return guard;
        }
    }
}

/// Waits until a pipe that was full takes more.
async fn writable_again(pipe: &AsyncFd<OwnedFd>) {
    if let Poll::Ready(Ok(mut guard)) = pipe.poll_write_ready(&mut Context::from_waker(Waker::noop())) {
        guard.clear_ready();
    }
    drop(writable(pipe).await);
}

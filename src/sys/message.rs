//! recvmsg(2) with its control messages: descriptors and credentials of a unix peer (unix(7)).

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use socket2::SockAddr;

/// Who sent a message: SCM_CREDENTIALS, SO_PEERCRED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The process; 0 where it lies outside our process namespace.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Credentials {
    /// Returns the process, where it lies inside our process namespace.
    #[must_use]
    pub fn seen_pid(self) -> Option<i32> {
        (self.pid != 0).then_some(self.pid)
    }
}

/// What one recvmsg(2) gave.
#[derive(Debug)]
pub struct Message {
    /// Bytes that lie in the buffer.
    pub bytes: usize,
    /// The true length of a datagram or record, in bytes; of a stream the same as `bytes`.
    pub true_bytes: usize,
    /// Who sent it, where that was asked for; boxed, for it is large and mostly absent.
    pub from: Option<Box<SockAddr>>,
    /// Descriptors that came with it, closed on exec.
    pub descriptors: Vec<OwnedFd>,
    /// Whether the kernel has dropped some that came with it, for want of room among ours
    /// (MSG_CTRUNC; there is room for all that one message may carry).
    pub has_dropped: bool,
    /// Who sent it, where SO_PASSCRED is on.
    pub credentials: Option<Credentials>,
    /// Whether it has a time of receipt, where SO_TIMESTAMP is on: the end of a stream of records has
    /// none, and so is told apart from an empty record.
    pub has_time: bool,
}

/// Room for what a message may carry besides its bytes: 253 descriptors (SCM_MAX_FD), one set
/// of credentials and a time, aligned as control messages are.
type Control = [MaybeUninit<u64>; 144];

/// Which of the flags of recvmsg(2) are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The true length of a datagram or record (MSG_TRUNC).
    pub true_length: bool,
    /// The sender's address.
    pub from: bool,
    /// Only a look: it stays to be received (MSG_PEEK).
    pub peek: bool,
}

/// Receives one message, or what a stream has, with what came besides the bytes.
///
/// # Errors
/// As recvmsg(2).
pub fn recv_message(socket: BorrowedFd<'_>, buffer: &mut [u8], wanted: Wanted) -> io::Result<Message> {
    let mut control: Control = [MaybeUninit::uninit(); 144];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    if wanted.true_length {
        flags |= libc::MSG_TRUNC;
    }
    if wanted.peek {
        flags |= libc::MSG_PEEK;
    }
    let mut call = |name: *mut libc::sockaddr_storage, name_len: libc::socklen_t| {
        // SAFETY: msghdr is integers and pointers, for which zero is valid; musl has padding in it.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = name.cast();
        header.msg_namelen = name_len;
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of::<Control>() as _;
        // SAFETY: every pointer in the header is valid for the length beside it during the call.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        usize::try_from(received).map(|received| (received, header)).map_err(|_| io::Error::last_os_error())
    };
    let (received, header, from) = if wanted.from {
        // SAFETY: SockAddr hands out pointers to its own storage and length, valid for the call;
        // the kernel writes at most that length, and says how much it wrote.
        let ((received, header), from) = unsafe {
            SockAddr::try_init(|storage, len| {
                let (received, header) = call(storage.cast(), *len)?;
                *len = header.msg_namelen;
                Ok((received, header))
            })
        }?;
        (received, header, Some(Box::new(from)))
    } else {
        let (received, header) = call(std::ptr::null_mut(), 0)?;
        (received, header, None)
    };
    let mut message = Message {
        bytes: received.min(buffer.len()),
        true_bytes: received,
        from,
        descriptors: Vec::new(),
        has_dropped: header.msg_flags & libc::MSG_CTRUNC != 0,
        credentials: None,
        has_time: false,
    };
    if header.msg_controllen > 0 {
        // SAFETY: the header is what the kernel has filled in, and its control buffer still lives.
        unsafe { read_control(&header, &mut message) };
    }
    Ok(message)
}

/// Reads the control messages of a header that recvmsg(2) has filled in.
///
/// # Safety
/// SAFETY: `header.msg_control` points to `header.msg_controllen` bytes that the kernel wrote.
unsafe fn read_control(header: &libc::msghdr, message: &mut Message) {
    // SAFETY: the macros walk within the control buffer, which the caller vouches for.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give headers that lie whole in the buffer.
        let (head, data) = unsafe { (next.read_unaligned(), libc::CMSG_DATA(next)) };
        // SAFETY: CMSG_LEN only computes.
        let len = head.cmsg_len.saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
        match (head.cmsg_level, head.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for index in 0..len / size_of::<RawFd>() {
                    // SAFETY: the kernel wrote `len` bytes of descriptors, each new and ours alone.
                    let fd = unsafe { OwnedFd::from_raw_fd(data.cast::<RawFd>().add(index).read_unaligned()) };
                    message.descriptors.push(fd);
                }
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if len >= size_of::<libc::ucred>() => {
                // SAFETY: the kernel wrote a ucred there, whose every pattern of bytes is valid.
                let credentials = unsafe { data.cast::<libc::ucred>().read_unaligned() };
                message.credentials =
                    Some(Credentials { pid: credentials.pid, uid: credentials.uid, gid: credentials.gid });
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMP) => message.has_time = true,
            _ => {}
        }
        // SAFETY: as above; it answers null at the end.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
}

//! The kernel where no crate reaches: the only unsafe code, one plain function a call.
//!
//! Linux only; each block says why it is sound. Nothing here knows why it is called.
#![expect(unsafe_code, reason = "this is the one module for kernel calls that no crate offers")]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use nix::sys::epoll::Epoll;
use socket2::{SockAddr, Socket};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

mod datagram;
mod message;
mod started;
mod tcp_info;

pub use datagram::{ArrivedAt, Outgoing, Queued, Received, RecvBatch, SendBatch, join, recv_queued};
pub use message::{Credentials, Message, Wanted, recv_message};
pub use started::is_stdout_closed;
pub use tcp_info::{Busy, TcpInfo, tcp_info};

/// Accepts one connection as accept4(2) does, non-blocking and closed on exec, with its address.
///
/// socket2's accept makes two more calls for the flags; nix's gives no address.
///
/// # Errors
/// As accept4(2), `WouldBlock` where none waits.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, SockAddr)> {
    // SAFETY: the storage and its length belong to SockAddr, which hands out pointers to both that
    // are valid for the call; the kernel writes at most `len` bytes and sets `len`.
    let accepted = unsafe {
        SockAddr::try_init(|storage, len| {
            let fd = libc::accept4(listener.as_raw_fd(), storage.cast(), len, libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
            if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
        })
    };
    let (fd, address) = accepted?;
    // SAFETY: accept4 has just given this descriptor to us alone.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, address))
}

/// Lets the runtime tell when a socket is ready. tokio calls this unsafe, because it would be for
/// a type whose descriptor changes or closes early.
///
/// # Errors
/// As epoll_ctl(2).
pub fn watch_socket(socket: Arc<Socket>, interest: Interest) -> io::Result<AsyncFd<Arc<Socket>>> {
    // SAFETY: a Socket keeps one descriptor for life, and AsyncFd has a share in it until after deregistering.
    unsafe { AsyncFd::register_with_interest(socket, interest) }.map_err(|refused| refused.into_parts().1)
}

/// To be told of what comes, and that there is urgent data among it.
pub const IN: Interest = Interest::READABLE.add(Interest::PRIORITY);

/// To be told both of what comes and of room to send.
pub const BOTH_WAYS: Interest = IN.add(Interest::WRITABLE);

/// Lets the runtime tell when a descriptor is ready. Files refuse it (EPERM).
///
/// # Errors
/// As epoll_ctl(2).
pub fn watch_fd(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd keeps one descriptor for life, and AsyncFd owns it until after
    // deregistering.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(|refused| refused.into_parts().1)
}

/// An epoll as the runtime needs it.
#[derive(Debug)]
pub struct Nested(pub Epoll);

impl AsRawFd for Nested {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}

/// Lets the runtime tell when an epoll has something to tell.
///
/// # Errors
/// As epoll_ctl(2).
pub fn watch_epoll(epoll: Epoll) -> io::Result<AsyncFd<Nested>> {
    // SAFETY: an Epoll keeps one descriptor for life, and AsyncFd owns it until after deregistering.
    unsafe { AsyncFd::register_with_interest(Nested(epoll), Interest::READABLE) }
        .map_err(|refused| refused.into_parts().1)
}

/// Sets a socket option whose value is an int.
///
/// # Errors
/// As setsockopt(2).
pub fn set_int(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    set_bytes(socket, level, option, &value.to_ne_bytes())
}

/// Sets a socket option whose value is a string of bytes.
///
/// # Errors
/// As setsockopt(2).
pub fn set_bytes(socket: BorrowedFd<'_>, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: pointer and length describe `value`, which the kernel only reads.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value.as_ptr().cast(), len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns the value of a socket option that is an int.
///
/// # Errors
/// As getsockopt(2).
pub fn get_int(socket: BorrowedFd<'_>, level: i32, option: i32) -> io::Result<i32> {
    let mut value = [0; size_of::<i32>()];
    let len = get_bytes(socket, level, option, &mut value)?;
    // Some options of the kernel are one byte long (IP_MULTICAST_TTL): the rest stays zero.
    Ok(if len == 1 { i32::from(value[0]) } else { i32::from_ne_bytes(value) })
}

/// Reads the value of a socket option into `value` and returns how many bytes it has.
///
/// # Errors
/// As getsockopt(2).
pub fn get_bytes(socket: BorrowedFd<'_>, level: i32, option: i32, value: &mut [u8]) -> io::Result<usize> {
    let mut len = libc::socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: pointer and length describe `value`; the kernel writes at most `len` bytes into it.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, value.as_mut_ptr().cast(), &raw mut len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(len as usize) }
}

/// Returns how many bytes have arrived and were not read yet (SIOCINQ, tcp(7) and unix(7)).
///
/// # Errors
/// As ioctl(2).
pub fn unread(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD (the same number as SIOCINQ) writes one int to the pointer, which is valid.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes = u64::try_from(bytes).unwrap_or(0);
    if bytes > 0 && get_int(socket, libc::SOL_SOCKET, libc::SO_PROTOCOL).ok() == Some(libc::IPPROTO_MPTCP) {
        return Ok(unread_of_mptcp(socket, bytes));
    }
    Ok(bytes)
}

/// Returns how many bytes an MPTCP socket has unread of which SIOCINQ tells `bytes`: there the peer's
/// end counts as one (mptcp_inq_hint() in net/mptcp/protocol.c).
fn unread_of_mptcp(socket: BorrowedFd<'_>, bytes: u64) -> u64 {
    let flags = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: with MSG_TRUNC the kernel copies nothing; one that does (before Linux 5.13) fails for
    // the null pointer.
    let seen = unsafe { libc::recv(socket.as_raw_fd(), std::ptr::null_mut(), i32::MAX as usize, flags) };
    match u64::try_from(seen) {
        // The end, or a connection that has broken off.
        Ok(0) => 0,
        Err(_) if io::Error::last_os_error().raw_os_error() != Some(libc::EFAULT) => 0,
        // A look goes no further than the first of what waits.
        seen => seen.unwrap_or(0).max(bytes - u64::from(hangup(socket).is_peer_closed)),
    }
}

/// Reads a number that the kernel tells in a file of /proc.
#[must_use]
pub fn proc_number<T: std::str::FromStr>(path: &str) -> Option<T> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Returns how many bytes were given to the kernel and not acknowledged by the peer yet; of a unix
/// socket, memory of what the peer has not read (SIOCOUTQ, tcp(7) and unix(7)).
///
/// # Errors
/// As ioctl(2).
pub fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (the same number as SIOCOUTQ) writes one int to the pointer, which is valid.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(u64::try_from(bytes).unwrap_or(0)) }
}

/// Returns how many packets the kernel dropped on a socket: of a listener, connection attempts
/// (SO_MEMINFO, SK_MEMINFO_DROPS in linux/sock_diag.h; Linux 4.12).
///
/// # Errors
/// As getsockopt(2); an error where the kernel does not tell.
pub fn drops(socket: BorrowedFd<'_>) -> io::Result<u64> {
    /// asm-generic/socket.h.
    const SO_MEMINFO: i32 = 55;
    const DROPS: usize = libc::SK_MEMINFO_DROPS as usize;
    let mut words = [0; (DROPS + 1) * size_of::<u32>()];
    let len = get_bytes(socket, libc::SOL_SOCKET, SO_MEMINFO, &mut words)?;
    match words[DROPS * size_of::<u32>()..].try_into() {
        Ok(drops) if len == words.len() => Ok(u64::from(u32::from_ne_bytes(drops))),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Returns whether a connection of an MPTCP socket speaks MPTCP, or has fallen back to TCP
/// (MPTCP_INFO, linux/mptcp.h). A connection that came in as plain TCP does not know the option.
///
/// # Errors
/// As getsockopt(2).
pub fn is_mptcp(socket: BorrowedFd<'_>) -> io::Result<bool> {
    const SOL_MPTCP: i32 = 284;
    const MPTCP_INFO: i32 = 1;
    const FLAGS: usize = 8;
    const FALLBACK: u32 = 1;
    let mut info = [0; FLAGS + size_of::<u32>()];
    match get_bytes(socket, SOL_MPTCP, MPTCP_INFO, &mut info) {
        Ok(_) => {
            let flags = info[FLAGS..].try_into().map_or(0, u32::from_ne_bytes);
            Ok(flags & FALLBACK == 0)
        }
        // As ip(7) and as ipv6(7) refuse a level that they do not know.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOPROTOOPT)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What poll(2) says of the end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hangup {
    /// The peer has closed its sending side, whether or not that was read yet (POLLRDHUP).
    pub is_peer_closed: bool,
    /// An error waits to be taken (POLLERR).
    pub has_error: bool,
    /// Nothing goes either way any more (POLLHUP).
    pub is_over: bool,
}

/// Asks for the end of a connection, without waiting. nix's poll knows no POLLRDHUP.
#[must_use]
pub fn hangup(socket: BorrowedFd<'_>) -> Hangup {
    let mut asked = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: the pointer is to one pollfd, which is valid to read and write, and so says the count.
    let ready = unsafe { libc::poll(&raw mut asked, 1, 0) };
    if ready <= 0 {
        return Hangup::default();
    }
    let has = |event| asked.revents & event != 0;
    Hangup { is_peer_closed: has(libc::POLLRDHUP), has_error: has(libc::POLLERR), is_over: has(libc::POLLHUP) }
}

/// Returns the MTU of an interface, in bytes (SIOCGIFMTU, netdevice(7)).
///
/// # Errors
/// As ioctl(2): ENODEV where there is no such interface.
pub fn interface_mtu(socket: BorrowedFd<'_>, name: &str) -> io::Result<usize> {
    let mut request = about_interface(name)?;
    // SAFETY: the request is valid to read and write; its name ends with a zero.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel wrote the MTU into the union, an int.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    usize::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Returns whether the device of an interface can stamp packets by a clock of its own, and whether it does so both
/// ways; `None` where it cannot (ETHTOOL_GET_TS_INFO, SIOCGHWTSTAMP, Documentation/networking/timestamping.rst).
///
/// # Errors
/// As ioctl(2).
pub fn device_stamps(socket: BorrowedFd<'_>, name: &str) -> io::Result<Option<bool>> {
    /// ETHTOOL_GET_TS_INFO, struct ethtool_ts_info: the request, what it can, and nine words more (linux/ethtool.h).
    const GET_TS_INFO: u32 = 0x41;
    const WHOLE: u32 =
        libc::SOF_TIMESTAMPING_TX_HARDWARE | libc::SOF_TIMESTAMPING_RX_HARDWARE | libc::SOF_TIMESTAMPING_RAW_HARDWARE;
    let mut request = about_interface(name)?;
    let mut info = [0_u32; 11];
    info[0] = GET_TS_INFO;
    request.ifr_ifru.ifru_data = info.as_mut_ptr().cast();
    // SAFETY: the request is valid to read and write, and so is what it points to, as long as the kernel has it.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if info[1] & WHOLE != WHOLE {
        return Ok(None);
    }
    let mut config = libc::hwtstamp_config { flags: 0, tx_type: 0, rx_filter: 0 };
    request.ifr_ifru.ifru_data = (&raw mut config).cast();
    // SAFETY: as above, for a struct hwtstamp_config.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGHWTSTAMP as _, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Some(config.tx_type != 0 && config.rx_filter != 0))
}

/// Makes a request about an interface (netdevice(7)); its name ends with a zero.
fn about_interface(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: integers and a pointer, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    Ok(request)
}

/// Returns whether this process was started with the signal ignored, as nohup(1) does.
#[must_use]
pub fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only asks; the kernel fills the old one, which is valid to write.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeroed is a valid sigaction, and so is what the kernel wrote.
    result == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Ignores SIGXFSZ: a write beyond the limit of the size of files (setrlimit(2)) then fails, and kills nobody.
pub fn ignore_file_limit() {
    // SAFETY: ignoring a signal runs no code of ours. It cannot fail: the signal is known.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Makes the kernel's timers of this thread exact: by default it may put those within 50 µs together
/// (PR_SET_TIMERSLACK, prctl(2)).
pub fn exact_timers() {
    // SAFETY: this option takes a number and touches no memory. It can only fail where it is unknown.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}

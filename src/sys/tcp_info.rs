//! TCP_INFO: what the kernel knows of a TCP socket (tcp(7), `struct tcp_info` in linux/tcp.h).

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::get_bytes;

/// What the kernel knows of a TCP socket. A figure that an older kernel does not give is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Variation of the round-trip time.
    pub rttvar: Duration,
    /// Least round-trip time seen (Linux 4.6).
    pub min_rtt: Option<Duration>,
    /// Segments sent again, in total.
    pub total_retrans: u32,
    /// Maximum segment size for sending, in bytes.
    pub snd_mss: u32,
    /// Congestion window, in segments.
    pub snd_cwnd: u32,
    /// On a listener: connections in the accept queue. Elsewhere: segments not acknowledged.
    pub unacked: u32,
    /// On a listener: the limit of the accept queue. Elsewhere: segments acknowledged selectively.
    pub sacked: u32,
}

/// Asks the kernel for TCP_INFO.
///
/// # Errors
/// As getsockopt(2); an error where the kernel answers with less than every Linux since 2.6 does.
pub fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let mut bytes = [0; size_of::<libc::tcp_info>()];
    let len = get_bytes(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes)?;
    // `tcpi_total_retrans` is the last field of the oldest layout.
    if len < std::mem::offset_of!(libc::tcp_info, tcpi_total_retrans) + size_of::<u32>() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    // SAFETY: source and destination are both size_of::<tcp_info>() bytes and do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), info.as_mut_ptr().cast(), bytes.len()) };
    // SAFETY: tcp_info is integers only, so every pattern of bytes is valid.
    let info = unsafe { info.assume_init() };
    // u32::MAX is the kernel's "no sample yet".
    let min_rtt = (len >= std::mem::offset_of!(libc::tcp_info, tcpi_min_rtt) + size_of::<u32>()
        && info.tcpi_min_rtt != u32::MAX)
        .then(|| micros(info.tcpi_min_rtt));
    Ok(TcpInfo {
        rtt: micros(info.tcpi_rtt),
        rttvar: micros(info.tcpi_rttvar),
        min_rtt,
        total_retrans: info.tcpi_total_retrans,
        snd_mss: info.tcpi_snd_mss,
        snd_cwnd: info.tcpi_snd_cwnd,
        unacked: info.tcpi_unacked,
        sacked: info.tcpi_sacked,
    })
}

fn micros(value: u32) -> Duration {
    Duration::from_micros(u64::from(value))
}

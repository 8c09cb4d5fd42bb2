//! TCP_INFO: what the kernel knows of a TCP socket (tcp(7), `struct tcp_info` in linux/tcp.h).
//!
//! Read by the offsets of the kernel's layout, which only grows at its end: libc's struct is not
//! as long everywhere, and what an older kernel leaves out is to be seen.

use std::io;
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
    /// Least round-trip time seen (Linux 4.6); `None` before the first sample too.
    pub min_rtt: Option<Duration>,
    /// Segments sent again, in total.
    pub total_retrans: u32,
    /// Maximum segment size for sending, in bytes.
    pub snd_mss: u32,
    /// Congestion window, in segments.
    pub snd_cwnd: u32,
    /// How long ago the peer was last heard of, in whole milliseconds.
    pub last_ack_recv: Duration,
    /// Path MTU, in bytes.
    pub pmtu: u32,
    /// On a listener: connections in the accept queue. Elsewhere: segments not acknowledged.
    pub unacked: u32,
    /// On a listener: the limit of the accept queue. Elsewhere: segments acknowledged selectively.
    pub sacked: u32,
    /// Bytes that wait in the send buffer and were not sent yet (Linux 4.6).
    pub notsent_bytes: Option<u32>,
    /// Segments with data that were sent, in total (Linux 4.6).
    pub data_segs_out: Option<u32>,
    /// Most recent rate of delivery, in bytes a second (Linux 4.9); `None` before the first sample
    /// too.
    pub delivery_rate: Option<u64>,
    /// How long sending went on, and what limited it (Linux 4.10).
    pub busy: Option<Busy>,
    /// Bytes sent again, in total (Linux 4.19).
    pub bytes_retrans: Option<u64>,
    /// Whether data came or went with the SYN and was acknowledged with it (TCPI_OPT_SYN_DATA).
    pub is_syn_data_acked: bool,
    /// Why a client's fast open did not work (enum tcp_fastopen_client_fail in linux/tcp.h).
    pub fastopen_client_fail: u8,
    /// Whether the kernel gave less than this program can read.
    pub is_short: bool,
}

/// How long there was something to send or to be acknowledged, and which part of that time was
/// limited by what. The kernel counts in ticks of its clock (1 to 10 ms).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// All of it.
    pub time: Duration,
    /// Waiting for the peer's receive window.
    pub rwnd_limited: Duration,
    /// Waiting for room in our own send buffer.
    pub sndbuf_limited: Duration,
}

/// TCPI_OPT_SYN_DATA (linux/tcp.h).
const SYN_DATA: u8 = 32;

/// Where the figures lie (linux/tcp.h).
mod at {
    pub(super) const OPTIONS: usize = 5;
    pub(super) const BITS: usize = 7;
    pub(super) const UNACKED: usize = 24;
    pub(super) const SACKED: usize = 28;
    pub(super) const LAST_ACK_RECV: usize = 56;
    pub(super) const PMTU: usize = 60;
    pub(super) const RTT: usize = 68;
    pub(super) const RTTVAR: usize = 72;
    pub(super) const SND_CWND: usize = 80;
    pub(super) const SND_MSS: usize = 16;
    pub(super) const TOTAL_RETRANS: usize = 100;
    pub(super) const NOTSENT_BYTES: usize = 144;
    pub(super) const MIN_RTT: usize = 148;
    pub(super) const DATA_SEGS_OUT: usize = 156;
    pub(super) const DELIVERY_RATE: usize = 160;
    pub(super) const BUSY_TIME: usize = 168;
    pub(super) const RWND_LIMITED: usize = 176;
    pub(super) const SNDBUF_LIMITED: usize = 184;
    pub(super) const BYTES_RETRANS: usize = 208;
    /// The end of the last of them.
    pub(super) const END: usize = 216;
}

/// Asks the kernel for TCP_INFO.
///
/// # Errors
/// As getsockopt(2); an error where the kernel answers with less than every Linux since 2.6 does.
pub fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let mut bytes = [0; at::END];
    let len = get_bytes(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes)?;
    parse(&bytes[..len.min(at::END)]).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Reads as much as there is; `None` where it is less than the oldest layout.
fn parse(bytes: &[u8]) -> Option<TcpInfo> {
    let int = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let busy = || {
        Some(Busy {
            time: Duration::from_micros(long(at::BUSY_TIME)?),
            rwnd_limited: Duration::from_micros(long(at::RWND_LIMITED)?),
            sndbuf_limited: Duration::from_micros(long(at::SNDBUF_LIMITED)?),
        })
    };
    Some(TcpInfo {
        rtt: micros(int(at::RTT)?),
        rttvar: micros(int(at::RTTVAR)?),
        // u32::MAX is the kernel's "no sample yet".
        min_rtt: int(at::MIN_RTT).filter(|micros| *micros != u32::MAX).map(micros),
        // The last field of the oldest layout.
        total_retrans: int(at::TOTAL_RETRANS)?,
        snd_mss: int(at::SND_MSS)?,
        snd_cwnd: int(at::SND_CWND)?,
        last_ack_recv: Duration::from_millis(int(at::LAST_ACK_RECV)?.into()),
        pmtu: int(at::PMTU)?,
        unacked: int(at::UNACKED)?,
        sacked: int(at::SACKED)?,
        notsent_bytes: int(at::NOTSENT_BYTES),
        data_segs_out: int(at::DATA_SEGS_OUT),
        delivery_rate: long(at::DELIVERY_RATE).filter(|rate| *rate > 0),
        busy: busy(),
        bytes_retrans: long(at::BYTES_RETRANS),
        is_syn_data_acked: bytes.get(at::OPTIONS)? & SYN_DATA != 0,
        fastopen_client_fail: client_fail(*bytes.get(at::BITS)?),
        is_short: bytes.len() < at::END,
    })
}

/// Returns a field of two bits, which lies beside one of one bit.
fn client_fail(bits: u8) -> u8 {
    if cfg!(target_endian = "little") { (bits >> 1) & 3 } else { (bits >> 5) & 3 }
}

fn micros(value: u32) -> Duration {
    Duration::from_micros(u64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each 4 bytes hold their own offset.
    fn layout() -> Vec<u8> {
        (0..at::END).step_by(4).flat_map(|at| (at as u32).to_ne_bytes()).collect()
    }

    #[test]
    fn what_an_older_kernel_leaves_out_is_absent() {
        let whole = layout();
        assert_eq!(parse(&whole[..at::TOTAL_RETRANS]), None);
        let oldest = parse(&whole[..at::TOTAL_RETRANS + 4]).unwrap();
        assert_eq!((oldest.rtt, oldest.pmtu, oldest.total_retrans), (Duration::from_micros(68), 60, 100));
        assert_eq!((oldest.min_rtt, oldest.delivery_rate, oldest.bytes_retrans), (None, None, None));
        assert!(oldest.is_short && oldest.busy.is_none());
        let before_limits = parse(&whole[..at::BUSY_TIME + 8]).unwrap();
        assert!(before_limits.busy.is_none() && before_limits.delivery_rate.is_some());
        let today = parse(&whole).unwrap();
        assert!(!today.is_short && today.busy.is_some() && today.bytes_retrans.is_some());
    }

    #[test]
    fn no_sample_is_no_figure() {
        let mut bytes = layout();
        bytes[at::MIN_RTT..at::MIN_RTT + 4].fill(0xff);
        bytes[at::DELIVERY_RATE..at::DELIVERY_RATE + 8].fill(0);
        let info = parse(&bytes).unwrap();
        assert_eq!((info.min_rtt, info.delivery_rate), (None, None));
    }

    #[test]
    fn the_layout_is_the_kernels() {
        use libc::tcp_info as Kernel;
        use std::mem::offset_of;
        assert_eq!(at::RTT, offset_of!(Kernel, tcpi_rtt));
        assert_eq!(at::LAST_ACK_RECV, offset_of!(Kernel, tcpi_last_ack_recv));
        assert_eq!(at::PMTU, offset_of!(Kernel, tcpi_pmtu));
        assert_eq!(at::SND_MSS, offset_of!(Kernel, tcpi_snd_mss));
        assert_eq!(at::SND_CWND, offset_of!(Kernel, tcpi_snd_cwnd));
        assert_eq!(at::UNACKED, offset_of!(Kernel, tcpi_unacked));
        assert_eq!(at::TOTAL_RETRANS, offset_of!(Kernel, tcpi_total_retrans));
    }
}

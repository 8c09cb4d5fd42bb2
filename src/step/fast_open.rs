//! TCP Fast Open (RFC 7413): data with the SYN, and what became of it.

use std::io;

use nix::errno::Errno;
use socket2::Socket;

use super::{Door, machine};
use crate::event::FastOpen;
use crate::sys::TcpInfo;

/// Which side of a connection net.ipv4.tcp_fastopen allows it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Sending data with a SYN.
    Client,
    /// Taking data with a SYN.
    Server,
}

/// Returns whether this machine allows it; a warning says so where not.
pub(super) fn is_on(door: &Door, which: Use) -> bool {
    let (bit, whose) = match which {
        Use::Client => (machine::FAST_OPEN_CLIENT, "client"),
        Use::Server => (machine::FAST_OPEN_SERVER, "server"),
    };
    let is_on = machine::fast_open().ok().is_none_or(|bits| bits & bit != 0);
    if !is_on {
        let message = format!("fast open is off: net.ipv4.tcp_fastopen lacks the {whose}'s bit, {bit}");
        door.warn_once("fast-open-off", &message);
    }
    is_on
}

/// Returns whether this machine lets a client send data with a SYN; a warning says so where not.
#[must_use]
pub fn is_fast_open_on(door: &Door) -> bool {
    is_on(door, Use::Client)
}

/// Sends what a SYN carries, on a socket whose connect was put off until then (TCP_FASTOPEN_CONNECT,
/// tcp(7)); returns how many bytes it took.
///
/// # Errors
/// As connect(2), EINPROGRESS apart.
pub(super) fn send_with_syn(made: &Socket, data: &[u8]) -> io::Result<usize> {
    match made.send(data) {
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => Ok(0),
        sent => sent,
    }
}

/// Returns what became of it, once the connection stands. `carried` is how many bytes went with the
/// SYN.
pub(super) fn outcome(info: &TcpInfo, carried: usize) -> FastOpen {
    /// TFO_COOKIE_UNAVAILABLE (linux/tcp.h).
    const NO_COOKIE: u8 = 1;
    match (carried, info.is_syn_data_acked) {
        (1.., true) => FastOpen::DataAcknowledged,
        (1.., false) => FastOpen::Fallback,
        (0, _) if info.fastopen_client_fail == NO_COOKIE => FastOpen::CookieRequested,
        (0, _) => FastOpen::NotTried,
    }
}

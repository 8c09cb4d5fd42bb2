//! The ICMP error that ended a connect, and who sent it: the error queue of a socket (ip(7),
//! IP_RECVERR; ipv6(7), IPV6_RECVERR).

use std::net::IpAddr;
use std::os::fd::AsFd;

use socket2::Socket;

use crate::sys::{self, Queued};

/// SO_EE_ORIGIN_ICMP and SO_EE_ORIGIN_ICMP6 (linux/errqueue.h).
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// The most that is looked at of what an entry of the error queue quotes: more than the kernel quotes of IPv4.
pub const QUOTE: usize = 1_200;

/// An ICMP error about what a socket sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// The host or router that sent it.
    pub from: IpAddr,
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// Whether it is ICMPv6's.
    pub is_v6: bool,
    /// The MTU of the next hop, in bytes, where it is about that.
    pub mtu: Option<u32>,
}

impl IcmpError {
    /// Reads an entry of the error queue; `None` where it is none of ICMP.
    #[must_use]
    pub fn of(queued: &Queued) -> Option<Self> {
        let Queued::Error { origin, kind, code, info, from: Some(from), .. } = *queued else { return None };
        // Fragmentation needed (RFC 1191), packet too big (RFC 4443).
        let (is_v6, too_big) = match origin {
            ORIGIN_ICMP => (false, (3, 4)),
            ORIGIN_ICMP6 => (true, (2, 0)),
            _ => return None,
        };
        Some(Self { from, kind, code, is_v6, mtu: ((kind, code) == too_big).then_some(info) })
    }
}

/// Takes the oldest ICMP error from the socket's error queue.
#[must_use]
pub fn icmp_error(socket: &Socket) -> Option<IcmpError> {
    sys::recv_queued(socket.as_fd(), &mut []).ok().as_ref().and_then(IcmpError::of)
}

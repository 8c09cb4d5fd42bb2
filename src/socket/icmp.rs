//! The ICMP error that ended a connect, and who sent it: the error queue of a socket (ip(7),
//! IP_RECVERR; ipv6(7), IPV6_RECVERR).

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use socket2::Socket;

/// SO_EE_ORIGIN_ICMP and SO_EE_ORIGIN_ICMP6 (linux/errqueue.h).
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// An ICMP error about what a socket sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// The host or router that sent it.
    pub from: IpAddr,
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The MTU of the next hop, in bytes, where it is about that.
    pub mtu: Option<u32>,
}

/// Takes the oldest ICMP error from the socket's error queue.
#[must_use]
pub fn icmp_error(socket: &Socket) -> Option<IcmpError> {
    let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
    let mut quoted = [0; 128];
    let mut parts = [IoSliceMut::new(&mut quoted)];
    // SockaddrStorage is a union of all, and the kernel may write no address at all.
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_ERRQUEUE).ok()?;
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, Some(from)) if error.ee_origin == ORIGIN_ICMP => {
            Some(told(&error, Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr)).into(), (3, 4)))
        }
        ControlMessageOwned::Ipv6RecvErr(error, Some(from)) if error.ee_origin == ORIGIN_ICMP6 => {
            Some(told(&error, Ipv6Addr::from(from.sin6_addr.s6_addr).into(), (2, 0)))
        }
        _ => None,
    })
}

fn told(error: &libc::sock_extended_err, from: IpAddr, too_big: (u8, u8)) -> IcmpError {
    let (kind, code) = (error.ee_type, error.ee_code);
    IcmpError { from, kind, code, mtu: ((kind, code) == too_big).then_some(error.ee_info) }
}

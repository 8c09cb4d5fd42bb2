//! One function a system call and kind, named after it: sockets of any family and type.
//!
//! Plain calls on non-blocking sockets: no events, no clock, no retries.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::net::if_::{if_indextoname, if_nametoindex};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::address::Address;
use crate::args::{Family, UnixType};
use crate::sys;

pub mod icmp;
pub mod options;
pub mod privilege;
pub mod resolve;
pub mod unix;

/// What socket(2) is asked for: family, type and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// TCP over IPv4 or IPv6.
    Tcp(Family),
    /// The same over several paths (RFC 8684), where both sides and the way permit it.
    Mptcp(Family),
    /// UDP over IPv4 or IPv6.
    Udp(Family),
    /// ICMP or ICMPv6 as it is, for whoever may: SOCK_RAW (raw(7)).
    RawIcmp(Family),
    /// Echo requests of ICMP or ICMPv6 for everybody: SOCK_DGRAM (icmp(7)).
    Echo(Family),
    /// TCP as it is: SOCK_RAW (raw(7)).
    RawTcp(Family),
    /// A unix socket of a type.
    Unix(UnixType),
}

impl SocketKind {
    /// Returns the kind of a TCP socket, over several paths where that is wanted.
    #[must_use]
    pub fn tcp(family: Family, mptcp: bool) -> Self {
        if mptcp { Self::Mptcp(family) } else { Self::Tcp(family) }
    }

    /// Returns the family.
    #[must_use]
    pub fn domain(self) -> Domain {
        match self {
            Self::Unix(_) => Domain::UNIX,
            _ if self.is_v6() => Domain::IPV6,
            _ => Domain::IPV4,
        }
    }

    /// Returns the type.
    #[must_use]
    pub fn kind(self) -> Type {
        match self {
            Self::Tcp(_) | Self::Mptcp(_) | Self::Unix(UnixType::Stream) => Type::STREAM,
            Self::Udp(_) | Self::Echo(_) | Self::Unix(UnixType::Dgram) => Type::DGRAM,
            Self::Unix(UnixType::Seqpacket) => Type::SEQPACKET,
            Self::RawIcmp(_) | Self::RawTcp(_) => Type::RAW,
        }
    }

    /// Returns the protocol; `None` where the family has only one.
    #[must_use]
    pub fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Tcp(_) => Some(Protocol::TCP),
            Self::Mptcp(_) => Some(Protocol::MPTCP),
            Self::Udp(_) => Some(Protocol::UDP),
            Self::RawTcp(_) => Some(Protocol::TCP),
            Self::RawIcmp(Family::V4) | Self::Echo(Family::V4) => Some(Protocol::ICMPV4),
            Self::RawIcmp(Family::V6) | Self::Echo(Family::V6) => Some(Protocol::ICMPV6),
            Self::Unix(_) => None,
        }
    }

    /// Returns the constant of socket(2) for the family.
    #[must_use]
    pub fn family_name(self) -> &'static str {
        match self {
            Self::Unix(_) => "AF_UNIX",
            _ if self.is_v6() => "AF_INET6",
            _ => "AF_INET",
        }
    }

    /// Returns the constant of socket(2) for the type.
    #[must_use]
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Tcp(_) | Self::Mptcp(_) | Self::Unix(UnixType::Stream) => "SOCK_STREAM",
            Self::Udp(_) | Self::Echo(_) | Self::Unix(UnixType::Dgram) => "SOCK_DGRAM",
            Self::Unix(UnixType::Seqpacket) => "SOCK_SEQPACKET",
            Self::RawIcmp(_) | Self::RawTcp(_) => "SOCK_RAW",
        }
    }

    /// Returns the constant of socket(2) for the protocol.
    #[must_use]
    pub fn protocol_name(self) -> Option<&'static str> {
        match self {
            Self::Tcp(_) => Some("IPPROTO_TCP"),
            Self::Mptcp(_) => Some("IPPROTO_MPTCP"),
            Self::Udp(_) => Some("IPPROTO_UDP"),
            Self::RawTcp(_) => Some("IPPROTO_TCP"),
            Self::RawIcmp(Family::V4) | Self::Echo(Family::V4) => Some("IPPROTO_ICMP"),
            Self::RawIcmp(Family::V6) | Self::Echo(Family::V6) => Some("IPPROTO_ICMPV6"),
            Self::Unix(_) => None,
        }
    }

    /// Returns whether it is of IPv6.
    #[must_use]
    pub fn is_v6(self) -> bool {
        match self {
            Self::Tcp(family)
            | Self::Mptcp(family)
            | Self::Udp(family)
            | Self::RawIcmp(family)
            | Self::Echo(family)
            | Self::RawTcp(family) => family == Family::V6,
            Self::Unix(_) => false,
        }
    }

    /// Returns whether it speaks TCP, over several paths or one.
    #[must_use]
    pub fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Mptcp(_))
    }

    /// Returns whether it is to speak MPTCP.
    #[must_use]
    pub fn is_mptcp(self) -> bool {
        matches!(self, Self::Mptcp(_))
    }

    /// Returns whether it speaks UDP.
    #[must_use]
    pub fn is_udp(self) -> bool {
        matches!(self, Self::Udp(_))
    }

    /// Returns whether it is a unix socket.
    #[must_use]
    pub fn is_unix(self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Returns whether each send is a datagram or record of its own.
    #[must_use]
    pub fn has_records(self) -> bool {
        !matches!(self, Self::Tcp(_) | Self::Mptcp(_) | Self::Unix(UnixType::Stream))
    }

    /// Returns whether it has connections, which have an end.
    #[must_use]
    pub fn has_connections(self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Mptcp(_) | Self::Unix(UnixType::Stream | UnixType::Seqpacket))
    }
}

/// Makes a socket: non-blocking, closed on exec.
///
/// # Errors
/// As socket(2).
pub fn socket(kind: SocketKind) -> io::Result<Socket> {
    Socket::new_raw(kind.domain(), kind.kind().nonblocking().cloexec(), kind.protocol())
}

/// Binds a socket.
///
/// # Errors
/// As bind(2).
pub fn bind(socket: &Socket, address: &Address) -> io::Result<()> {
    socket.bind(&sockaddr(address)?)
}

/// Makes a socket listen.
///
/// # Errors
/// As listen(2).
pub fn listen(socket: &Socket, backlog: u32) -> io::Result<()> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

/// Returns the limit of a listener's accept queue, which the kernel cuts to somaxconn: TCP tells
/// it, of a unix socket it is known from net.core.somaxconn (listen(2)).
#[must_use]
pub fn effective_backlog(socket: &Socket, kind: SocketKind, backlog: u32) -> Option<u32> {
    if kind.is_unix() {
        return sys::proc_number("/proc/sys/net/core/somaxconn").map(|most: u32| backlog.min(most));
    }
    sys::tcp_info(socket.as_fd()).ok().map(|info| info.sacked)
}

/// Accepts a connection: non-blocking, closed on exec.
///
/// # Errors
/// As accept4(2).
pub fn accept(listener: &Socket) -> io::Result<(Socket, Address)> {
    let (fd, peer): (OwnedFd, SockAddr) = sys::accept(listener.as_fd())?;
    Ok((Socket::from(fd), address(&peer)))
}

/// How a connect on a non-blocking socket began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connecting {
    /// It stands already.
    Done,
    /// It goes on; the socket becomes writable when it ends.
    InProgress,
}

/// Begins to connect.
///
/// # Errors
/// As connect(2), EINPROGRESS apart.
pub fn connect(socket: &Socket, to: &Address) -> io::Result<Connecting> {
    match socket.connect(&sockaddr(to)?) {
        Ok(()) => Ok(Connecting::Done),
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => Ok(Connecting::InProgress),
        Err(error) => Err(error),
    }
}

/// Returns how a connect in progress ended (SO_ERROR).
///
/// # Errors
/// What connect(2) would have given.
pub fn connect_result(socket: &Socket) -> io::Result<()> {
    match socket.take_error()? {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// Takes what has come and leaves it there too.
///
/// # Errors
/// As recv(2).
pub fn peek(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(nix::sys::socket::recv(socket.as_raw_fd(), buffer, nix::sys::socket::MsgFlags::MSG_PEEK)?)
}

/// Returns our own address; an unnamed unix address where the kernel does not tell.
#[must_use]
pub fn local(socket: &Socket) -> Address {
    socket.local_addr().map_or(Address::UnixUnnamed, |local| address(&local))
}

/// Returns whether a connection has its other end in the same socket, whose own address is `local`.
#[must_use]
pub fn is_own_peer(socket: &Socket, local: &Address) -> bool {
    // Not what was asked for: 0.0.0.0 is this host, whose address the connection then has.
    peer(socket).is_some_and(|peer| peer == *local)
}

/// Returns whom a socket is connected to, where the kernel tells.
#[must_use]
pub fn peer(socket: &Socket) -> Option<Address> {
    socket.peer_addr().ok().map(|peer| address(&peer))
}

/// Returns the index of an interface, by its name or by its number.
///
/// # Errors
/// As if_nametoindex(3): there is none.
pub fn interface_index(zone: &str) -> io::Result<u32> {
    let Ok(index) = zone.parse::<u32>() else { return Ok(if_nametoindex(zone)?) };
    // nix takes the null pointer of if_indextoname(3) for an empty name: asked for in turn it is none.
    Ok(if_nametoindex(if_indextoname(index)?.as_c_str())?)
}

/// Returns the name of the interface that has an address.
#[must_use]
pub fn interface_of(ip: IpAddr) -> Option<String> {
    let all = nix::ifaddrs::getifaddrs().ok()?;
    all.filter_map(|one| Some((one.interface_name, ip_of(&one.address?)?)))
        .find(|(_, own)| *own == ip)
        .map(|(name, _)| name)
}

/// Returns the broadcast addresses of this host's networks.
#[must_use]
pub fn broadcast_addresses() -> Vec<IpAddr> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    all.filter_map(|one| ip_of(&one.broadcast?)).collect()
}

/// Returns the interfaces whose device can stamp packets by a clock of its own, and whether each does so.
///
/// # Errors
/// As getifaddrs(3) and socket(2).
pub fn stamping_interfaces() -> io::Result<Vec<(String, bool)>> {
    let names: BTreeSet<String> = nix::ifaddrs::getifaddrs()?.map(|one| one.interface_name).collect();
    let asks = socket(SocketKind::Udp(Family::V4)).or_else(|_| socket(SocketKind::Udp(Family::V6)))?;
    // Most devices do not know the question.
    let found = names.into_iter().filter_map(|name| {
        let is_on = sys::device_stamps(asks.as_fd(), &name).ok().flatten()?;
        Some((name, is_on))
    });
    Ok(found.collect())
}

fn ip_of(storage: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
}

/// Makes an address of an IP, the zone of a link-local one, and a port.
///
/// # Errors
/// As if_nametoindex(3).
pub fn inet(ip: IpAddr, zone: Option<&str>, port: u16) -> io::Result<Address> {
    Ok(Address::Inet(match (ip, zone) {
        (IpAddr::V6(v6), Some(zone)) => SocketAddr::V6(SocketAddrV6::new(v6, port, 0, interface_index(zone)?)),
        (ip, _) => SocketAddr::new(ip, port),
    }))
}

/// Makes what the kernel takes of an address.
///
/// # Errors
/// A unix path that is too long.
pub fn sockaddr(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::Inet(inet) => Ok(SockAddr::from(*inet)),
        Address::Ip(ip, 0) => Ok(SockAddr::from(SocketAddr::new(*ip, 0))),
        Address::Ip(IpAddr::V4(v4), _) => Ok(SockAddr::from(SocketAddr::new((*v4).into(), 0))),
        Address::Ip(IpAddr::V6(v6), interface) => Ok(SockAddr::from(SocketAddrV6::new(*v6, 0, 0, *interface))),
        Address::UnixPath(path) => SockAddr::unix(path),
        Address::UnixAbstract(name) => {
            let mut bytes = vec![0];
            bytes.extend_from_slice(name);
            SockAddr::unix(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&bytes))
        }
        // The family alone: bind(2) then gives an abstract name that is free (unix(7), "Autobind").
        Address::UnixUnnamed => SockAddr::unix(""),
    }
}

/// Reads what the kernel says of an end of a socket.
#[must_use]
pub fn address(raw: &SockAddr) -> Address {
    if let Some(inet) = raw.as_socket() {
        return Address::from(inet);
    }
    match (raw.as_pathname(), raw.as_abstract_namespace()) {
        (Some(path), _) => Address::UnixPath(path.to_owned()),
        (None, Some(name)) => Address::UnixAbstract(name.to_owned()),
        (None, None) => Address::UnixUnnamed,
    }
}

//! One function a system call and kind, named after it: sockets of any family and type.
//!
//! Plain calls on non-blocking sockets: no events, no clock, no retries.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::address::Address;
use crate::args::Family;
use crate::sys;

pub mod icmp;
pub mod options;
pub mod resolve;

/// What socket(2) is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketKind {
    /// The family.
    pub domain: Domain,
    /// The type.
    pub kind: Type,
    /// The protocol; `None` where the family has only one.
    pub protocol: Option<Protocol>,
}

impl SocketKind {
    /// A TCP socket of the family of an address.
    #[must_use]
    pub fn tcp(family: Family) -> Self {
        let domain = match family {
            Family::V4 => Domain::IPV4,
            Family::V6 => Domain::IPV6,
        };
        Self { domain, kind: Type::STREAM, protocol: Some(Protocol::TCP) }
    }

    /// The same over MPTCP, where asked for.
    #[must_use]
    pub fn over_mptcp(self, is_wanted: bool) -> Self {
        if is_wanted { Self { protocol: Some(Protocol::MPTCP), ..self } } else { self }
    }

    /// A unix stream socket.
    #[must_use]
    pub fn unix_stream() -> Self {
        Self { domain: Domain::UNIX, kind: Type::STREAM, protocol: None }
    }

    /// Returns the constant of socket(2) for the family.
    #[must_use]
    pub fn family_name(&self) -> &'static str {
        match self.domain {
            Domain::IPV4 => "AF_INET",
            Domain::IPV6 => "AF_INET6",
            _ => "AF_UNIX",
        }
    }

    /// Returns the constant of socket(2) for the type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            Type::STREAM => "SOCK_STREAM",
            Type::SEQPACKET => "SOCK_SEQPACKET",
            Type::RAW => "SOCK_RAW",
            _ => "SOCK_DGRAM",
        }
    }

    /// Returns the constant of socket(2) for the protocol.
    #[must_use]
    pub fn protocol_name(&self) -> Option<&'static str> {
        match self.protocol? {
            Protocol::TCP => Some("IPPROTO_TCP"),
            Protocol::MPTCP => Some("IPPROTO_MPTCP"),
            Protocol::UDP => Some("IPPROTO_UDP"),
            _ => None,
        }
    }

    /// Returns whether it speaks TCP, over several paths or one.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.protocol == Some(Protocol::TCP) || self.is_mptcp()
    }

    /// Returns whether it is to speak MPTCP.
    #[must_use]
    pub fn is_mptcp(&self) -> bool {
        self.protocol == Some(Protocol::MPTCP)
    }
}

/// Makes a socket: non-blocking, closed on exec.
///
/// # Errors
/// As socket(2).
pub fn socket(kind: SocketKind) -> io::Result<Socket> {
    Socket::new_raw(kind.domain, kind.kind.nonblocking().cloexec(), kind.protocol)
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

/// Returns the limit of a TCP listener's accept queue, which the kernel cuts to somaxconn.
#[must_use]
pub fn effective_backlog(socket: &Socket) -> Option<u32> {
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

/// Returns our own address; an unnamed unix address where the kernel does not tell.
#[must_use]
pub fn local(socket: &Socket) -> Address {
    socket.local_addr().map_or(Address::UnixUnnamed, |local| address(&local))
}

/// Returns the index of an interface, by its name or by its number.
///
/// # Errors
/// As if_nametoindex(3).
pub fn interface_index(zone: &str) -> io::Result<u32> {
    if let Ok(index) = zone.parse::<u32>() {
        return Ok(index);
    }
    nix::net::if_::if_nametoindex(zone).map_err(io::Error::from)
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

fn sockaddr(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::Inet(inet) => Ok(SockAddr::from(*inet)),
        Address::UnixPath(path) => SockAddr::unix(path),
        Address::UnixAbstract(name) => {
            let mut bytes = vec![0];
            bytes.extend_from_slice(name);
            SockAddr::unix(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&bytes))
        }
        Address::UnixUnnamed => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Reads what the kernel says of an end of a socket.
fn address(raw: &SockAddr) -> Address {
    if let Some(inet) = raw.as_socket() {
        return Address::from(inet);
    }
    match (raw.as_pathname(), raw.as_abstract_namespace()) {
        (Some(path), _) => Address::UnixPath(path.to_owned()),
        (None, Some(name)) => Address::UnixAbstract(name.to_owned()),
        (None, None) => Address::UnixUnnamed,
    }
}

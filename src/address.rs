//! Who is at the other end: a socket address of any family, written as the contract writes it.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// The address of one end of a socket.
///
/// Shown as `127.0.0.1:80`, `[::1]:80`, without a port `127.0.0.1`, `fe80::1%2`, as `unix:/run/x`, `unix:@x`, and `unix:` for an unnamed
/// socket. An IPv4 address that the kernel mapped into IPv6 (RFC 4291, 2.5.5.2) is shown as the
/// IPv4 address that it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// AF_INET or AF_INET6 with a port.
    Inet(SocketAddr),
    /// AF_INET or AF_INET6 without a port; of a link-local address with the index of its interface.
    Ip(IpAddr, u32),
    /// AF_UNIX, bound to a path.
    UnixPath(PathBuf),
    /// AF_UNIX, bound to an abstract name (unix(7)); the bytes after the leading NUL.
    UnixAbstract(Vec<u8>),
    /// AF_UNIX, not bound to any name.
    UnixUnnamed,
}

impl Address {
    /// Returns the IP address, IPv4 where it was mapped into IPv6; `None` for AF_UNIX.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(address) => Some(address.ip().to_canonical()),
            Self::Ip(ip, _) => Some(*ip),
            _ => None,
        }
    }

    /// Returns the same IP address without its port; a unix address as it is.
    #[must_use]
    pub fn without_port(&self) -> Self {
        match self {
            Self::Inet(SocketAddr::V6(v6)) => Self::Ip(IpAddr::from(*v6.ip()).to_canonical(), v6.scope_id()),
            Self::Inet(SocketAddr::V4(v4)) => Self::Ip((*v4.ip()).into(), 0),
            address => address.clone(),
        }
    }

    /// Returns the same IP address with another port; a unix address as it is.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        let mut address = self.clone();
        if let Self::Inet(inet) = &mut address {
            inet.set_port(port);
        }
        address
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(match address {
            SocketAddr::V6(v6) => unmapped(v6),
            v4 @ SocketAddr::V4(_) => v4,
        })
    }
}

/// Returns the IPv4 address that a mapped IPv6 address stands for, or the address as it is.
fn unmapped(v6: SocketAddrV6) -> SocketAddr {
    match v6.ip().to_ipv4_mapped() {
        Some(v4) => SocketAddr::from((v4, v6.port())),
        None => SocketAddr::V6(v6),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Ip(ip, 0) => ip.fmt(f),
            Self::Ip(ip, interface) => write!(f, "{ip}%{interface}"),
            // An abstract name is what begins so.
            Self::UnixPath(path) if path.as_os_str().as_bytes().starts_with(b"@") => {
                write!(f, "unix:./{}", path.display())
            }
            Self::UnixPath(path) => write!(f, "unix:{}", path.display()),
            Self::UnixAbstract(name) => write!(f, "unix:@{}", String::from_utf8_lossy(name)),
            Self::UnixUnnamed => f.write_str("unix:"),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_written_as_the_contract_says() {
        let shown = |text: &str| Address::from(text.parse::<SocketAddr>().unwrap()).to_string();
        assert_eq!(shown("127.0.0.1:80"), "127.0.0.1:80");
        assert_eq!(shown("[::1]:80"), "[::1]:80");
        assert_eq!(shown("[::ffff:192.0.2.1]:80"), "192.0.2.1:80");
        let bare = |text: &str| Address::from(text.parse::<SocketAddr>().unwrap()).without_port().to_string();
        assert_eq!(bare("127.0.0.1:80"), "127.0.0.1");
        assert_eq!(bare("[fe80::1%3]:80"), "fe80::1%3");
        assert_eq!(Address::UnixPath("/run/x".into()).to_string(), "unix:/run/x");
        assert_eq!(Address::UnixPath("@x".into()).to_string(), "unix:./@x");
        assert_eq!(Address::UnixAbstract(b"x".to_vec()).to_string(), "unix:@x");
        assert_eq!(Address::UnixUnnamed.to_string(), "unix:");
    }
}

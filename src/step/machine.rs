//! What this machine permits: read, not tried.

use std::io;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::socket;

/// Returns how many descriptors this process may have: now, and at most.
///
/// # Errors
/// As getrlimit(2).
pub fn descriptors() -> io::Result<(u64, u64)> {
    getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)
}

/// Returns how many sockets of those wanted at once this process may have, and a few descriptors
/// besides.
#[must_use]
pub fn descriptors_for(wanted: usize) -> usize {
    /// Streams, epoll, signals, the resolver's files, the events file.
    const BESIDES: usize = 24;
    let (soft, _) = descriptors().unwrap_or((u64::MAX, u64::MAX));
    let left = usize::try_from(soft).unwrap_or(usize::MAX).saturating_sub(BESIDES);
    wanted.min(left.max(1))
}

/// Raises the limit of descriptors to the most that this process may have, for servers of many
/// connections. Where that fails the old limit stays, and accept reports it when it is reached.
pub fn raise_descriptors() {
    if let Ok((soft, hard)) = descriptors()
        && soft < hard
    {
        let _unchanged = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// What net.ipv4.tcp_fastopen allows a client (ip-sysctl.rst).
pub const FAST_OPEN_CLIENT: u64 = 1;
/// What it allows a server.
pub const FAST_OPEN_SERVER: u64 = 2;

/// Returns net.ipv4.tcp_fastopen.
///
/// # Errors
/// As [`sysctl`].
pub fn fast_open() -> io::Result<u64> {
    sysctl("net/ipv4/tcp_fastopen")
}

/// Returns a number of the kernel's settings: `net/core/somaxconn`.
///
/// # Errors
/// As open(2) and read(2): `NotFound` where this kernel or this namespace has none of that name.
pub fn sysctl(name: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/sys/{name}"))?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Returns the interfaces whose device can stamp packets by a clock of its own, and whether each does so.
///
/// # Errors
/// As getifaddrs(3) and socket(2).
pub fn stamping_interfaces() -> io::Result<Vec<(String, bool)>> {
    socket::stamping_interfaces()
}

/// Returns whether a loopback interface is up; true where that cannot be told.
#[must_use]
pub fn is_loopback_up() -> bool {
    let wanted = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_UP;
    getifaddrs().map_or(true, |mut all| all.any(|interface| interface.flags.contains(wanted)))
}

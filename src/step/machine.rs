//! What this machine permits: read, not tried.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Returns how many descriptors this process may have: now, and at most.
///
/// # Errors
/// As getrlimit(2).
pub fn descriptors() -> std::io::Result<(u64, u64)> {
    getrlimit(Resource::RLIMIT_NOFILE).map_err(std::io::Error::from)
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
#[must_use]
pub fn fast_open() -> Option<u64> {
    sysctl("net/ipv4/tcp_fastopen")
}

/// Returns a number of the kernel's settings: `net/core/somaxconn`; `None` where it has none of that
/// name.
#[must_use]
pub fn sysctl(name: &str) -> Option<u64> {
    crate::cause::sysctl(name)
}

/// Returns the lowest port that needs no privilege (net.ipv4.ip_unprivileged_port_start, ip(7)).
#[must_use]
pub fn lowest_port() -> Option<u16> {
    crate::cause::lowest_port()
}

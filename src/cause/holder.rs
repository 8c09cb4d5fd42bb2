//! Who holds a TCP port or a unix name of this machine: the kernel's table of sockets, and the process of each.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use procfs::net::{TcpNetEntry, TcpState, tcp, tcp6, unix};
use procfs::process::{FDTarget, all_processes};

use crate::address::Address;

/// A socket that listens on a port, and whose it is as far as may be seen.
pub(super) struct Holder {
    /// Where it listens.
    pub(super) local: SocketAddr,
    /// Name and id of its process; `None` where it is another user's and may not be seen.
    pub(super) process: Option<(String, i32)>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let local = Address::from(self.local);
        match &self.process {
            Some((name, pid)) => write!(f, "{name} (pid {pid}) on {local}"),
            None => write!(f, "a process that only its owner and root may see, on {local}"),
        }
    }
}

/// Returns who listens on a port, on any address.
pub(super) fn of_port(port: u16) -> Vec<Holder> {
    let listening = |entry: &TcpNetEntry| entry.state == TcpState::Listen && entry.local_address.port() == port;
    let sockets: Vec<TcpNetEntry> =
        tcp().into_iter().flatten().chain(tcp6().into_iter().flatten()).filter(listening).collect();
    let mut processes = of_inodes(&sockets.iter().map(|entry| entry.inode).collect::<Vec<_>>());
    let whose = |entry: TcpNetEntry| Holder { local: entry.local_address, process: processes.remove(&entry.inode) };
    sockets.into_iter().map(whose).collect()
}

/// A unix socket of this machine with a name, and whose it is as far as may be seen.
pub(super) struct UnixHolder {
    /// Its type, as `--type` names it.
    pub(super) kind: &'static str,
    process: Option<(String, i32)>,
}

impl std::fmt::Display for UnixHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.process {
            Some((name, pid)) => write!(f, "{name} (pid {pid}), type {}", self.kind),
            None => write!(f, "a process that only its owner and root may see, type {}", self.kind),
        }
    }
}

/// Returns who has bound a path or an abstract name, the latter with its `@`. The kernel tells the
/// path as it was written then: another way to write it is not found.
pub(super) fn of_unix_name(name: &Path) -> Option<UnixHolder> {
    // Its connections have the same name, one that is not yet accepted no inode.
    let all: Vec<_> = unix().ok()?.into_iter().filter(|entry| entry.path.as_deref() == Some(name)).collect();
    let inodes: Vec<u64> = all.iter().map(|entry| entry.inode).filter(|inode| *inode != 0).collect();
    let found = all.first()?;
    // Types by number, as socket(2) has them.
    let kind = match found.socket_type {
        1 => "stream",
        2 => "dgram",
        _ => "seqpacket",
    };
    Some(UnixHolder { kind, process: of_inodes(&inodes).into_values().next() })
}

/// Returns name and id of the process that has each of the sockets open.
fn of_inodes(inodes: &[u64]) -> HashMap<u64, (String, i32)> {
    let mut found = HashMap::new();
    if inodes.is_empty() {
        return found;
    }
    for process in all_processes().into_iter().flatten().flatten() {
        for descriptor in process.fd().into_iter().flatten().flatten() {
            if let FDTarget::Socket(inode) = descriptor.target
                && inodes.contains(&inode)
                && let Ok(stat) = process.stat()
            {
                found.entry(inode).or_insert((stat.comm, process.pid));
            }
        }
    }
    found
}

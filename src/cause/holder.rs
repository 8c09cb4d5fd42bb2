//! Who holds a port or a unix name of this machine: the kernel's table of sockets, and the process of each.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use procfs::net::{TcpNetEntry, TcpState, tcp, tcp6, udp, udp6};
use procfs::process::{FDTarget, all_processes};

use crate::address::Address;

/// A socket that has a port, and whose it is as far as may be seen.
pub(super) struct Holder {
    /// Its address.
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

/// Returns who listens on a port of TCP, on any address.
pub(super) fn of_port(port: u16) -> Vec<Holder> {
    let listening = |entry: &TcpNetEntry| entry.state == TcpState::Listen;
    let all = tcp().into_iter().flatten().chain(tcp6().into_iter().flatten()).filter(listening);
    holders(all.map(|entry| (entry.local_address, entry.inode)), port)
}

/// Returns who has a port of UDP, on any address.
pub(super) fn of_udp_port(port: u16) -> Vec<Holder> {
    let all = udp().into_iter().flatten().chain(udp6().into_iter().flatten());
    holders(all.map(|entry| (entry.local_address, entry.inode)), port)
}

fn holders(sockets: impl Iterator<Item = (SocketAddr, u64)>, port: u16) -> Vec<Holder> {
    let sockets: Vec<(SocketAddr, u64)> = sockets.filter(|(local, _)| local.port() == port).collect();
    let mut processes = of_inodes(&sockets.iter().map(|(_, inode)| *inode).collect::<Vec<_>>());
    sockets.into_iter().map(|(local, inode)| Holder { local, process: processes.remove(&inode) }).collect()
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

/// Returns who has bound a path or an abstract name, the latter with its `@`: who listens, where
/// somebody does. The kernel tells the path as it was written then: another way to write it is not
/// found.
pub(super) fn of_unix_name(name: &Path) -> Option<UnixHolder> {
    let mut found = with_unix_name(name);
    // What a server has accepted has its name too.
    found.sort_by_key(|socket| !socket.listens);
    let kind = found.first()?.kind;
    let inodes: Vec<u64> = found.iter().map(|socket| socket.inode).filter(|inode| *inode != 0).collect();
    let mut processes = of_inodes(&inodes);
    Some(UnixHolder { kind, process: inodes.iter().find_map(|inode| processes.remove(inode)) })
}

/// Returns whether somebody listens on a path, without asking there.
pub(super) fn listens(name: &Path) -> bool {
    with_unix_name(name).iter().any(|socket| socket.listens)
}

/// A line of the kernel's table of unix sockets.
struct UnixSocket {
    /// Its type, as `--type` names it.
    kind: &'static str,
    listens: bool,
    /// 0 where it was not accepted yet.
    inode: u64,
}

/// Returns the sockets of a name (proc_pid_net(5)). procfs has neither their flags nor names with
/// blanks or without UTF-8.
fn with_unix_name(name: &Path) -> Vec<UnixSocket> {
    let table = std::fs::read("/proc/self/net/unix").unwrap_or_default();
    table.split(|byte| *byte == b'\n').filter_map(|line| unix_socket(line, name.as_os_str().as_bytes())).collect()
}

/// Reads a line: number, users, protocol, flags, type, state, inode, name.
fn unix_socket(line: &[u8], name: &[u8]) -> Option<UnixSocket> {
    /// __SO_ACCEPTCON (linux/net.h): it listens.
    const LISTENS: u32 = 1 << 16;
    let front = line.strip_suffix(name)?.strip_suffix(b" ")?;
    let words: Vec<&str> = std::str::from_utf8(front).ok()?.split_ascii_whitespace().collect();
    let [_, _, _, flags, kind, _, inode] = words[..] else { return None };
    // Types by number, as socket(2) has them.
    let kind = match kind {
        "0001" => "stream",
        "0002" => "dgram",
        _ => "seqpacket",
    };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    Some(UnixSocket { kind, listens: flags & LISTENS != 0, inode: inode.parse().ok()? })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_whatever_bytes_it_has() {
        let line = |name: &[u8]| [b"0000000000000000: 00000002 00000000 00010000 0005 01 4711 ", name].concat();
        for name in [&b"/run/x"[..], b"/run/a b", b"@n\xff"] {
            let found = unix_socket(&line(name), name).unwrap();
            assert_eq!((found.kind, found.listens, found.inode), ("seqpacket", true, 4711));
        }
        assert!(unix_socket(&line(b"/run/x"), b"x").is_none(), "only the whole name");
        assert!(unix_socket(&line(b"/run/a b"), b"b").is_none(), "only the whole name");
        assert!(unix_socket(b"", b"x").is_none());
    }
}

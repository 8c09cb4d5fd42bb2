//! Why a unix name could not be bound or reached: what stands there, and who has it.

use std::ffi::OsStr;
use std::fs::{Metadata, metadata, symlink_metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::holder;
use crate::address::Address;

/// Says what is in the way of a bind.
pub(super) fn in_use(local: &Address) -> Option<String> {
    let name = name(local)?;
    if let Some(holder) = holder::of_unix_name(&name) {
        return Some(format!("the name is held by {holder}"));
    }
    let Address::UnixPath(path) = local else { return None };
    let found = symlink_metadata(path).ok()?;
    Some(match kind(&found) {
        "socket" => "a socket is there that does not refuse a connect, or that this user may not ask".to_owned(),
        kind => format!("a {kind} is there; only a socket that nobody listens on is replaced"),
    })
}

/// Says why a unix socket was not reached.
pub(super) fn unreached(errno: Errno, peer: &Address) -> Option<String> {
    // Each type has abstract names of its own; a path is one for all.
    if errno == Errno::ECONNREFUSED && matches!(peer, Address::UnixAbstract(_)) {
        let holder = holder::of_unix_name(&name(peer)?)?;
        return Some(format!("the name is held by {holder}: does it listen, and is that the --type to ask for?"));
    }
    if errno == Errno::EPROTOTYPE {
        let holder = holder::of_unix_name(&name(peer)?)?;
        return Some(format!("the socket there is of another type: {holder}; try --type {}", holder.kind));
    }
    let Address::UnixPath(path) = peer else { return None };
    let found = metadata(path).ok()?;
    match errno {
        Errno::ECONNREFUSED if kind(&found) != "socket" => Some(format!("there is a {}, no socket", kind(&found))),
        Errno::EACCES => {
            let (mode, uid, gid) = (found.mode() & 0o7777, found.uid(), found.gid());
            Some(format!(
                "the socket's file has mode {mode:04o}, uid {uid}, gid {gid}: a connect needs the right to write"
            ))
        }
        _ => None,
    }
}

/// Returns a name as the kernel lists it.
fn name(address: &Address) -> Option<PathBuf> {
    match address {
        Address::UnixPath(path) => Some(path.clone()),
        Address::UnixAbstract(name) => {
            let mut bytes = vec![b'@'];
            bytes.extend_from_slice(name);
            Some(Path::new(OsStr::from_bytes(&bytes)).to_owned())
        }
        Address::Inet(_) | Address::Ip(..) | Address::UnixUnnamed => None,
    }
}

/// Returns what a file is, in a word.
fn kind(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    if kind.is_socket() {
        "socket"
    } else if kind.is_dir() {
        "folder"
    } else if kind.is_symlink() {
        "symbolic link"
    } else if kind.is_fifo() {
        "named pipe"
    } else if kind.is_char_device() || kind.is_block_device() {
        "device"
    } else {
        "file"
    }
}

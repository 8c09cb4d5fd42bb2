//! What only unix sockets have: the peer's credentials, the file of a bound socket, descriptors
//! that were passed (unix(7)).

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, lstat, umask};
use nix::unistd::{Gid, fchownat};
use socket2::Socket;

use super::{Connecting, SocketKind};
use crate::address::Address;
use crate::args::UnixType;
use crate::sys::{self, Credentials};

/// SO_PEERGROUPS (asm-generic/socket.h).
const SO_PEERGROUPS: i32 = 59;

/// Returns who is at the other end (SO_PEERCRED): as they were at connect or listen.
///
/// # Errors
/// As getsockopt(2).
pub fn peer_credentials(socket: &Socket) -> io::Result<Credentials> {
    let peer = getsockopt(socket, sockopt::PeerCredentials)?;
    Ok(Credentials { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() })
}

/// Returns the supplementary groups of the peer (SO_PEERGROUPS, Linux 4.13).
///
/// # Errors
/// As getsockopt(2).
pub fn peer_groups(socket: &Socket) -> io::Result<Vec<u32>> {
    /// NGROUPS_MAX of Linux.
    const MOST: usize = 65_536;
    let mut room = 64 * size_of::<u32>();
    loop {
        let mut bytes = vec![0; room];
        match sys::get_bytes(socket.as_fd(), libc::SOL_SOCKET, SO_PEERGROUPS, &mut bytes) {
            Ok(len) => {
                let groups = bytes[..len].chunks_exact(size_of::<u32>());
                return Ok(groups.filter_map(|group| group.try_into().ok().map(u32::from_ne_bytes)).collect());
            }
            Err(error) if error.raw_os_error() == Some(Errno::ERANGE as i32) && room < MOST * size_of::<u32>() => {
                room *= 16;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Returns the name of a process, where it may be seen (proc_pid_comm(5)).
#[must_use]
pub fn process_name(pid: i32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = String::from_utf8_lossy(name.trim_ascii_end()).into_owned();
    (!name.is_empty()).then_some(name)
}

/// The file of a socket that was bound to a path, held so that its inode stays its own.
#[derive(Debug)]
pub struct SocketFile {
    held: OwnedFd,
    stat: FileStat,
}

impl SocketFile {
    /// Takes hold of what stands at a path, without following a link.
    ///
    /// # Errors
    /// As open(2).
    pub fn hold(path: &Path) -> io::Result<Self> {
        let held = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        let stat = fstat(&held)?;
        Ok(Self { held, stat })
    }

    /// Returns whether it is a socket at all.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        SFlag::from_bits_truncate(self.stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK
    }

    /// Returns the rights of the file.
    ///
    /// # Errors
    /// As fstat(2).
    pub fn mode(&self) -> io::Result<u32> {
        Ok(fstat(&self.held)?.st_mode & 0o7777)
    }

    /// Returns the group of the file.
    ///
    /// # Errors
    /// As fstat(2).
    pub fn gid(&self) -> io::Result<u32> {
        Ok(fstat(&self.held)?.st_gid)
    }

    /// Gives the file to a group.
    ///
    /// # Errors
    /// As fchownat(2).
    pub fn set_group(&self, gid: u32) -> io::Result<()> {
        Ok(fchownat(&self.held, OsStr::new(""), None, Some(Gid::from_raw(gid)), AtFlags::AT_EMPTY_PATH)?)
    }

    /// Sets the rights of the file.
    ///
    /// # Errors
    /// As chmod(2).
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        // A descriptor of O_PATH refuses fchmod(2); its own name in /proc does not (open(2)).
        fs::set_permissions(format!("/proc/self/fd/{}", self.held.as_raw_fd()), fs::Permissions::from_mode(mode))
    }

    /// Returns whether the path still leads to this file. Its inode cannot have been given to
    /// another, because it is held.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        lstat(path).is_ok_and(|stat| stat.st_dev == self.stat.st_dev && stat.st_ino == self.stat.st_ino)
    }
}

/// Binds a socket to a path whose file gets these rights and never wider ones.
///
/// # Errors
/// As bind(2).
pub fn bind_with_mode(socket: &Socket, address: &Address, mode: u32) -> io::Result<()> {
    // bind(2) gives the file the rights of the socket's own inode, less the umask (unix(7)).
    fchmod(socket, Mode::from_bits_truncate(mode))?;
    let old = umask(Mode::empty());
    let bound = super::bind(socket, address);
    umask(old);
    bound
}

/// Returns whether nobody listens on the socket file at a path: a connect to it is refused. One
/// of another type that does not refuse is live, and so is one that nobody may ask. `listens` says
/// whether somebody is known to listen there, so that who counts connections is not asked by one.
#[must_use]
pub fn is_stale(path: &Path, listens: impl Fn() -> bool) -> bool {
    // A datagram socket is asked first: it costs a server of connections none.
    for kind in [UnixType::Dgram, UnixType::Stream, UnixType::Seqpacket] {
        let Ok(asking) = super::socket(SocketKind::Unix(kind)) else { return false };
        match super::connect(&asking, &Address::UnixPath(path.to_owned())) {
            Ok(Connecting::Done | Connecting::InProgress) => return false,
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ECONNREFUSED) => return true,
                Some(Errno::EPROTOTYPE) if !listens() => {}
                _ => return false,
            },
        }
    }
    false
}

/// Returns what a descriptor is, in a word, and what it refers to.
#[must_use]
pub fn describe(fd: &OwnedFd) -> (&'static str, Option<String>) {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let target = fs::read_link(&link).ok().map(|target| target.to_string_lossy().into_owned());
    let kind = match fs::metadata(&link) {
        Ok(found) if found.file_type().is_socket() => "socket",
        Ok(found) if found.file_type().is_fifo() => "pipe",
        Ok(found) if found.file_type().is_dir() => "directory",
        Ok(found) if found.file_type().is_char_device() => "character-device",
        Ok(found) if found.file_type().is_block_device() => "block-device",
        // An anonymous inode has no type at all.
        Ok(found) if found.mode() & libc::S_IFMT == 0 => "anonymous",
        Ok(_) if target.as_deref().is_some_and(|target| target.starts_with("anon_inode:")) => "anonymous",
        _ => "file",
    };
    (kind, target)
}

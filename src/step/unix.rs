//! Unix sockets that are bound to a name: the rights of their file, a stale file replaced, our own
//! removed at the end.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open as open_file};
use nix::sys::stat::Mode;
use socket2::Socket;

use super::datagram::Datagram;
use super::listener::Bound;
use super::open::{listening, open, report_bind, set, set_options};
use super::{Door, Failed, Listener};
use crate::address::Address;
use crate::args::{SocketOptions, UnixType};
use crate::cause;
use crate::error::{Error, Step};
use crate::event::{self, UnlinkReason};
use crate::socket::options::{Role, pass_credentials};
use crate::socket::unix::{SocketFile, bind_with_mode, is_stale};
use crate::socket::{self, SocketKind};

/// Where a unix server is bound, and with which rights.
#[derive(Clone, Debug)]
pub struct UnixPlace {
    /// A path or an abstract name.
    pub address: Address,
    /// The type of the socket.
    pub kind: UnixType,
    /// The rights of the file.
    pub mode: u32,
    /// The group of the file; `None` leaves it to the kernel.
    pub group: Option<u32>,
}

/// Makes a unix listener: socket, setsockopt, bind, listen.
///
/// # Errors
/// The step that failed, reported.
pub async fn unix_listener(
    door: &Arc<Door>,
    at: &UnixPlace,
    backlog: u32,
    words: &SocketOptions,
) -> Result<Listener, Failed> {
    let (made, kind) = made(door, at, words)?;
    // Until it listens, a connect to it is refused, as to a stale one.
    let lock = lock_folder(&at.address).await;
    let (local, file) = bind(door, &made, at).await?;
    let listener = listening(door, made, Bound { kind, local, file }, backlog, words);
    drop(lock);
    listener
}

/// Makes a unix datagram socket: socket, setsockopt, bind. Each datagram tells who sent it.
///
/// # Errors
/// The step that failed, reported.
pub async fn unix_datagram(door: &Arc<Door>, at: &UnixPlace, words: &SocketOptions) -> Result<Datagram, Failed> {
    let (made, kind) = made(door, at, words)?;
    // Before it has a name, so that no datagram comes without.
    set(door, &made, &pass_credentials())?;
    let lock = lock_folder(&at.address).await;
    let bound = bind(door, &made, at).await;
    drop(lock);
    let (local, file) = bound?;
    Datagram::new(Arc::clone(door), made, kind, local, file)
}

fn made(door: &Door, at: &UnixPlace, words: &SocketOptions) -> Result<(Socket, SocketKind), Failed> {
    let kind = SocketKind::Unix(at.kind);
    let made = open(door, kind)?;
    set_options(door, &made, kind, Role::Listener { dual_stack: None }, words)?;
    Ok((made, kind))
}

/// Binds a unix socket and reports it. A stale file of a socket is replaced; anything else that
/// stands there is never touched.
async fn bind(door: &Arc<Door>, made: &Socket, at: &UnixPlace) -> Result<(Address, Option<BoundFile>), Failed> {
    let Address::UnixPath(path) = &at.address else {
        return Ok((super::open::bind(door, made, &at.address).await?, None));
    };
    // Only the owner's rights until the group is the right one: its members are others until then.
    let first = if at.group.is_some() { at.mode & 0o700 } else { at.mode };
    let mut bound = bind_with_mode(made, &at.address, first);
    if bound.as_ref().is_err_and(|error| error.raw_os_error() == Some(Errno::EADDRINUSE as i32))
        && remove_stale(door, path, &at.address)?
    {
        bound = bind_with_mode(made, &at.address, first);
    }
    let failed = |error: &std::io::Error, what: &str| {
        Error::of_io(Step::Bind, error, &format!("{}{what}", at.address)).with_local(at.address.clone())
    };
    if let Err(error) = bound {
        return Err(door.fail_explained(failed(&error, "")).await);
    }
    let held = match SocketFile::hold(path) {
        Ok(held) => held,
        // Out of descriptors, say: what was bound just now goes again.
        Err(error) => {
            let failed = door.fail(&failed(&error, ""));
            return unlink(door, path, &at.address, UnlinkReason::End).and(Err(failed));
        }
    };
    let file = BoundFile { door: Arc::clone(door), path: path.clone(), address: at.address.clone(), held };
    if let Some(gid) = at.group {
        file.held.set_group(gid).map_err(|error| door.fail(&failed(&error, &format!(" group {gid}"))))?;
        file.held.set_mode(at.mode).map_err(|error| door.fail(&failed(&error, &format!(" mode {:04o}", at.mode))))?;
    }
    let mode = file.held.mode().ok().map(|mode| format!("{mode:04o}"));
    let local = socket::local(made);
    report_bind(door, &local, mode.as_deref(), file.held.gid().ok());
    Ok((local, Some(file)))
}

/// Removes the file of a socket that nobody listens on; returns whether there was one.
fn remove_stale(door: &Door, path: &Path, address: &Address) -> Result<bool, Failed> {
    let Ok(old) = SocketFile::hold(path) else { return Ok(false) };
    if !old.is_socket() || !is_stale(path, || cause::listens(path)) || !old.is_at(path) {
        return Ok(false);
    }
    unlink(door, path, address, UnlinkReason::Stale).map(|()| true)
}

fn unlink(door: &Door, path: &Path, address: &Address, reason: UnlinkReason) -> Result<(), Failed> {
    nix::unistd::unlink(path).map_err(|errno| {
        door.fail(&Error::of_call(Step::Unlink, errno, &address.to_string()).with_local(address.clone()))
    })?;
    door.emit(event::Unlink { local: address, reason });
    Ok(())
}

/// Keeps other sockeyes from judging a file in the same folder while ours is not yet live. Who may
/// not read the folder, or waits too long, goes on without.
async fn lock_folder(address: &Address) -> Option<Flock<OwnedFd>> {
    const TRIES: usize = 100;
    let Address::UnixPath(path) = address else { return None };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut folder = open_file(folder, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    for _ in 0..TRIES {
        folder = match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Some(lock),
            Err((folder, Errno::EAGAIN)) => folder,
            Err(_) => return None,
        };
        super::sleep(Duration::from_millis(10)).await;
    }
    None
}

/// The file of a bound socket of ours: removed when dropped, if it is still ours.
pub(super) struct BoundFile {
    door: Arc<Door>,
    path: PathBuf,
    address: Address,
    held: SocketFile,
}

impl Drop for BoundFile {
    fn drop(&mut self) {
        if self.held.is_at(&self.path) {
            let _reported = unlink(&self.door, &self.path, &self.address, UnlinkReason::End);
        } else {
            let message = format!("{} is not our socket any more: left as it is", self.address);
            self.door.warn("file-not-ours", &message);
        }
    }
}

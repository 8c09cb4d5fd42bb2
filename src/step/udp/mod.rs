//! UDP sockets: made, bound, connected; then used by one thread, in batches.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use socket2::{SockAddr, Socket};

use super::open::{BindAddress, bind, open, set, set_options};
use super::race::further;
use super::thread::{ExactWait, Halt, Woken};
use super::{Door, Failed, now};
use crate::address::Address;
use crate::args::{Family, Join, SocketOptions};
use crate::error::{Error, ExitCode, Step};
use crate::event::{self, Kind, Reason};
use crate::socket::options::{self, Extras, Role};
use crate::socket::{self, SocketKind};
use crate::sys::{self, ArrivedAt, Outgoing};

mod drops;
mod probes;
mod queue;
mod receive;
mod reflect;
mod relay;
mod sending;
mod trial;

pub use queue::Drained;
pub(super) use queue::is_of_icmp;
pub use receive::{Receiver, Whole};
pub use reflect::Reflector;
pub use relay::{Fate, Ready};
pub use sending::Sending;
pub use trial::{Taken, Taker, Tried, Unsent};

/// What a UDP socket is made with.
#[derive(Clone, Copy, Debug)]
pub struct UdpWords<'a> {
    /// The options that every subcommand has.
    pub options: &'a SocketOptions,
    /// What is to come along with each datagram.
    pub extras: Extras,
    /// Whether it may send to broadcast addresses.
    pub broadcast: bool,
    /// By which interface it sends to multicast groups.
    pub multicast_interface: Option<&'a str>,
    /// Our address.
    pub source: Option<&'a Address>,
}

/// Groups that a receiver joins.
#[derive(Clone, Copy, Debug)]
pub struct Joining<'a>(pub &'a [Join]);

/// A UDP socket.
pub struct Udp {
    door: Arc<Door>,
    socket: Socket,
    /// Its own address; without an address of this host where it is bound to all. A socket that is neither bound
    /// nor connected gets its port with the first send: it is asked for after that.
    local: OnceLock<Address>,
    /// Whom it sends to.
    target: Option<Target>,
    opened: Instant,
    /// Whether the kernel merges what comes.
    is_merged: bool,
    /// The receive buffer that was asked for.
    recv_buffer: Option<u32>,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
}

/// Whom a socket sends to.
struct Target {
    address: Address,
    raw: SockAddr,
    /// The number of the connect(2); `None` where it is not connected, because answers come from
    /// others than who was asked.
    conn: Option<u64>,
}

/// Makes a socket that sends to the first of the addresses that can be reached from here.
///
/// # Errors
/// None of them can, or another step failed; reported.
pub async fn udp_sender(door: &Arc<Door>, addresses: &[Address], words: &UdpWords<'_>) -> Result<Udp, Failed> {
    let mut furthest: Option<Failed> = None;
    for address in addresses {
        let is_of = |source: &Address| source.ip().map(|ip| ip.is_ipv4()) == address.ip().map(|ip| ip.is_ipv4());
        if !words.source.is_none_or(is_of) {
            continue;
        }
        match to(door, address, words).await {
            Ok(udp) => return Ok(udp),
            Err(failed) => furthest = Some(further(furthest, failed)),
        }
    }
    Err(furthest.unwrap_or_else(|| {
        let message = "connect: no address of the target is of the family of --source".to_owned();
        door.fail(&Error::of_kind(Step::Connect, ExitCode::Unreachable, message))
    }))
}

async fn to(door: &Arc<Door>, address: &Address, words: &UdpWords<'_>) -> Result<Udp, Failed> {
    let ip = address.ip();
    let family = if ip.is_some_and(|ip| ip.is_ipv6()) { Family::V6 } else { Family::V4 };
    let kind = SocketKind::Udp(family);
    let made = open(door, kind)?;
    set_options(door, &made, kind, Role::Sender, words.options)?;
    if words.broadcast {
        set(door, &made, &options::broadcast())?;
    }
    let is_multicast = ip.is_some_and(|ip| ip.is_multicast());
    if is_multicast {
        let interface = match words.multicast_interface {
            Some(name) => Some((interface_index(door, name)?, name)),
            None => None,
        };
        for setting in options::multicast(kind, words.options.ttl, interface) {
            set(door, &made, &setting)?;
        }
    }
    for setting in options::extras(kind, Role::Sender, words.extras) {
        set(door, &made, &setting)?;
    }
    if let Some(source) = words.source {
        bind(door, &made, source).await?;
    }
    // Who answers a group or a broadcast is somebody else: a connected socket would not hear it.
    let conn = match is_multicast || words.broadcast {
        true => None,
        false => Some(connect(door, &made, address).await?),
    };
    let raw = socket::sockaddr(address).map_err(|error| {
        door.fail(&Error::of_io(Step::Connect, &error, &address.to_string()).with_peer(address.clone()))
    })?;
    let is_named = conn.is_some() || words.source.is_some();
    let local = is_named.then(|| socket::local(&made));
    let target = Some(Target { address: address.clone(), raw, conn });
    Ok(Udp::new(door, made, local, target, words))
}

/// Keeps a socket to one peer: connect(2), which sends nothing.
async fn connect(door: &Door, made: &Socket, peer: &Address) -> Result<u64, Failed> {
    let began = now();
    if let Err(error) = socket::connect(made, peer) {
        let error = Error::of_io(Step::Connect, &error, &peer.to_string()).with_peer(peer.clone());
        let error = match error.errno {
            Some(Errno::EACCES) => {
                error.with_hint("a broadcast address needs --broadcast; else a route or local firewall prohibits it")
            }
            _ => error,
        };
        return Err(door.fail_explained(error).await);
    }
    let conn = door.next_conn();
    door.emit(event::Connect {
        number: 0,
        conn,
        target: None,
        peer,
        local: Some(&socket::local(made)),
        attempt: 1,
        duration: began.elapsed(),
        syn_retransmits: None,
        fast_open: None,
        mptcp: None,
    });
    Ok(conn)
}

fn interface_index(door: &Door, name: &str) -> Result<u32, Failed> {
    socket::interface_index(name).map_err(|error| {
        let error = Error::of_io(Step::Setsockopt, &error, &format!("interface {name}"));
        let hint = "`ip link` lists the interfaces of this machine";
        door.fail(&error.with_exit_code(ExitCode::Local).with_hint(hint))
    })
}

/// Makes a socket that receives: socket, setsockopt, bind, then the groups. Where this machine has no
/// IPv6, the dual-stack wildcard falls back to IPv4's, and a warning says so.
///
/// # Errors
/// The step that failed, reported.
pub async fn udp_receiver(
    door: &Arc<Door>,
    at: &BindAddress,
    joins: Joining<'_>,
    words: &UdpWords<'_>,
) -> Result<Udp, Failed> {
    match receiver(door, at, joins, words).await {
        Err(Failed { errno: Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL), .. }) if at.is_dual_stack() => {
            door.warn("no-ipv6", "this machine has no IPv6: listening on IPv4 only");
            receiver(door, &at.of_ipv4(), joins, words).await
        }
        receiver => receiver,
    }
}

async fn receiver(
    door: &Arc<Door>,
    at: &BindAddress,
    Joining(joins): Joining<'_>,
    words: &UdpWords<'_>,
) -> Result<Udp, Failed> {
    let kind = SocketKind::Udp(at.family());
    let role = Role::Receiver { dual_stack: at.dual_stack(), shares: !joins.is_empty() };
    let made = open(door, kind)?;
    set_options(door, &made, kind, role, words.options)?;
    for setting in options::extras(kind, role, words.extras) {
        set(door, &made, &setting)?;
    }
    if !joins.is_empty() {
        for setting in options::joined_groups_only(kind, role) {
            set(door, &made, &setting)?;
        }
    }
    let local = bind(door, &made, at.address()).await?;
    for join in joins {
        joined(door, &made, join)?;
    }
    Ok(Udp::new(door, made, Some(local), None, words))
}

/// Joins a multicast group.
fn joined(door: &Door, made: &Socket, join: &Join) -> Result<(), Failed> {
    let index = match &join.interface {
        Some(name) => interface_index(door, name)?,
        None => 0,
    };
    sys::join(made.as_fd(), join.group, join.source, index).map_err(|error| {
        let error = Error::of_io(Step::Setsockopt, &error, &format!("--join {join}"));
        let error = match error.errno {
            Some(Errno::ENODEV | Errno::EADDRNOTAVAIL) => error.with_exit_code(ExitCode::Local).with_hint(
                "no interface that does multicast was found by the routes; --join GROUP@INTERFACE names one",
            ),
            _ => error,
        };
        door.fail(&error)
    })?;
    if door.wants(Kind::Setsockopt) {
        let option = if join.source.is_some() { "MCAST_JOIN_SOURCE_GROUP" } else { "MCAST_JOIN_GROUP" };
        let requested = event::OptionValue::Name(join.to_string());
        door.emit(event::Setsockopt { option, requested: &requested, effective: None });
    }
    Ok(())
}

impl Udp {
    fn new(
        door: &Arc<Door>,
        made: Socket,
        local: Option<Address>,
        target: Option<Target>,
        words: &UdpWords<'_>,
    ) -> Self {
        Self {
            door: Arc::clone(door),
            socket: made,
            local: local.map(OnceLock::from).unwrap_or_default(),
            target,
            opened: now(),
            is_merged: words.extras.merged,
            recv_buffer: words.options.recv_buffer,
            bytes_sent: AtomicU64::new(0),
            bytes_received: AtomicU64::new(0),
        }
    }

    /// Returns the number of its connect(2); `None` where it has kept to no peer.
    fn conn(&self) -> Option<u64> {
        self.target.as_ref().and_then(|target| target.conn)
    }

    /// Closes it, and reports that where it had kept to one peer.
    pub fn close(self, reason: Reason) {
        self.tell_closed(reason);
    }

    fn tell_closed(&self, reason: Reason) {
        let Some(conn) = self.conn() else { return };
        self.door.emit(event::Close {
            conn,
            reason,
            closed_first: None,
            reset_by: None,
            clean: None,
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            bytes_unread: None,
            bytes_unacknowledged: None,
            duration: self.opened.elapsed(),
            tcp: None,
        });
    }

    fn count_sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn count_received(&self, bytes: usize) {
        self.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Returns its own address.
    #[must_use]
    pub fn local(&self) -> &Address {
        self.local.get_or_init(|| socket::local(&self.socket))
    }

    /// Returns where it sends; what a socket without a target sends to is told with each datagram.
    fn target(&self) -> &Address {
        self.target.as_ref().map_or_else(|| self.local(), |target| &target.address)
    }

    /// Returns what is sent to its target: a datagram, or a buffer that the kernel cuts into datagrams of
    /// so many bytes.
    fn outgoing<'b>(&'b self, data: &'b [u8], segment: Option<u16>) -> Outgoing<'b> {
        let to = self.target.as_ref().filter(|target| target.conn.is_none()).map(|target| &target.raw);
        Outgoing { to, parts: [&[], data], segment, from: None, hops: None }
    }

    /// Waits until something has come, at most for a duration where there is one.
    pub fn wait(&self, halt: &Halt, bound: Option<Duration>) -> Woken {
        halt.wait(self.fd(), PollFlags::POLLIN, bound)
    }

    /// Waits until something has come, at most until a time is near: as [`ExactWait`] does.
    pub fn wait_till_near(&self, wait: &mut ExactWait, halt: &Halt, until: Instant) -> Woken {
        wait.wait_till_near(halt, &[self.fd()], until)
    }

    /// Reports that nothing came for so long.
    pub fn timeout(&self, after: Duration) {
        self.door.emit(event::Timeout { conn: self.conn(), step: Step::Recv, after });
    }

    /// Reports that nothing came for so long, and that a walk ends for it.
    pub fn timed_out(&self, after: Duration) -> Failed {
        self.timeout(after);
        self.no_answer(after)
    }

    /// Reports that a walk ends without any answer, after waits that have been told.
    pub fn no_answer(&self, after: Duration) -> Failed {
        let target = self.target();
        let message = format!("recv {target}: no answer within {:.3} s", after.as_secs_f64());
        self.door.fail(&Error::of_kind(Step::Recv, ExitCode::NoAnswer, message).with_peer(target.clone()))
    }
}

/// Returns the address that an IP datagram came from or went to, as the events show it.
fn shown(raw: &SockAddr) -> Address {
    socket::address(raw)
}

/// Returns the address that a datagram arrived at, with the port of the socket; a link-local one with its
/// link.
fn with_port(arrival: &ArrivedAt, socket: &Address) -> Address {
    let port = if let Address::Inet(inet) = socket { inet.port() } else { 0 };
    Address::from(match arrival.to {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, arrival.interface).into(),
        ip => SocketAddr::new(ip, port),
    })
}

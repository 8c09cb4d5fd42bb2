//! The step connect on one address: socket, setsockopt, bind, connect, each once.

use std::future::poll_fn;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;
use tokio::time::{Instant as Deadline, timeout_at};

use super::open::{reset_at_close, set, try_bind, try_open, try_set, try_set_options};
use super::stream::Made;
use super::watch::Watch;
use super::{Door, Failed, Stream, fast_open, now};
use crate::address::Address;
use crate::args::{Family, SocketOptions, UnixType};
use crate::error::{Error, ExitCode, Step};
use crate::event::{self, Kind};
use crate::packet;
use crate::socket::options::{Role, fast_open_connect, icmp_errors_off, pass_credentials};
use crate::socket::{self, Connecting, SocketKind};
use crate::sys;

/// How long to wait before a full queue is tried again.
const AGAIN: Duration = Duration::from_millis(5);

/// How often a connect that nobody answers is looked at: a SYN is sent again after a second at the
/// earliest (RFC 6298, 2.1).
const LOOK: Duration = Duration::from_millis(100);

/// Returns whether the accept queue of a unix socket was full (connect(2), EAGAIN).
fn is_queue_full(connecting: &std::io::Result<Connecting>) -> bool {
    connecting.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// How to connect: the same for every address of every target.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Our own address, where it was asked for.
    pub source: Option<Address>,
    /// Options of the socket.
    pub options: SocketOptions,
    /// How long all addresses of one target may take together.
    pub bound: Duration,
    /// The type of the socket, where the target is a unix socket.
    pub unix_type: UnixType,
    /// What goes with the SYN (RFC 7413), where that was asked for. Then the addresses are tried one
    /// after the other, for it must not reach two.
    pub first: Option<Arc<[u8]>>,
    /// Whether the cause of a failure is looked for.
    pub is_explained: bool,
    /// What it is all for, as typed, where that is known.
    pub target: Option<String>,
    /// Its number among the others.
    pub number: usize,
    /// The proxy that is connected to, as typed, where one leads to the target.
    pub proxy: Option<String>,
}

impl Reach {
    /// Makes the error of a target none of whose addresses was tried.
    #[must_use]
    pub fn untried(&self) -> Error {
        let error = match &self.source {
            Some(source) => {
                let message = format!("connect: no address of the target is of the family of --source {source}");
                Error::of_kind(Step::Connect, ExitCode::Unreachable, message)
            }
            None => {
                let message = format!("connect: nothing can be tried within {:?}", self.bound);
                Error::of_kind(Step::Connect, ExitCode::NoAnswer, message)
            }
        };
        match &self.target {
            Some(target) => error.with_target(target),
            None => error,
        }
    }
}

/// One address to connect to.
pub(super) struct Attempt {
    pub(super) door: Arc<Door>,
    pub(super) peer: Address,
    pub(super) reach: Arc<Reach>,
    pub(super) deadline: Deadline,
    /// Which attempt on its target it is, from 1.
    pub(super) number: u32,
}

/// An attempt that came through.
pub(super) struct Won {
    socket: Watch,
    kind: SocketKind,
    peer: Address,
    local: Address,
    attempt: u32,
    duration: Duration,
    opened: Instant,
    /// How many bytes of what was to go with the SYN went, where that was tried.
    carried: Option<usize>,
    reach: Arc<Reach>,
}

/// An attempt that did not.
pub(super) enum Lost {
    /// On a step before connect, reported.
    Reported(Failed),
    /// On connect, to be reported.
    Error(Box<Error>),
}

impl From<Failed> for Lost {
    fn from(failed: Failed) -> Self {
        Self::Reported(failed)
    }
}

impl Attempt {
    pub(super) async fn run(self) -> Result<Won, Lost> {
        let mptcp = self.reach.options.mptcp;
        let kind = match &self.peer {
            Address::Inet(inet) if inet.is_ipv4() => SocketKind::tcp(Family::V4, mptcp),
            Address::Inet(_) => SocketKind::tcp(Family::V6, mptcp),
            _ => SocketKind::Unix(self.reach.unix_type),
        };
        let mut carried = self.reach.first.is_some().then_some(0).filter(|_| kind.is_tcp());
        let made = match self.prepared(kind, carried.is_some()) {
            Ok(made) => made,
            Err(error) => return Err(self.door.fail_explained(self.about(*error)).await.into()),
        };
        let began = now();
        let mut connecting = socket::connect(&made, &self.peer);
        if is_queue_full(&connecting) {
            let message = format!("connect {}: the accept queue is full, waiting", self.peer);
            let (peer, target) = (Some(&self.peer), self.reach.target.as_deref());
            self.door.emit(event::Warning { peer, target, ..event::Warning::of("queue-full", &message) });
        }
        // A unix socket tells a full queue at once, and nothing tells when it is full no more.
        while is_queue_full(&connecting) {
            if Deadline::now() + AGAIN > self.deadline {
                return Err(self.timed_out(&made, began));
            }
            super::sleep(AGAIN).await;
            connecting = socket::connect(&made, &self.peer);
        }
        // Where the kernel has a cookie it puts the connect off until it is given what to send.
        if let (Some(first), Some(carried), Ok(Connecting::Done)) = (&self.reach.first, &mut carried, &connecting) {
            connecting = fast_open::send_with_syn(&made, first).map(|bytes| {
                *carried = bytes;
                Connecting::InProgress
            });
        }
        let made = match connecting {
            Ok(_) => Watch::new(made, sys::BOTH_WAYS),
            Err(error) => return Err(self.failed(&error, &made, began)),
        };
        made.register().map_err(|error| self.failed(&error, made.get_ref(), began))?;
        if connecting.is_ok_and(|connecting| connecting == Connecting::InProgress) {
            self.wait(&made, began).await?;
        }
        let opened = now();
        let local = socket::local(made.get_ref());
        if kind.is_tcp() && socket::is_own_peer(made.get_ref(), &local) {
            return Err(self.met_itself(made.get_ref(), local, began));
        }
        // Instead of the wildcard the kernel connects to an address of this host.
        let is_wildcard = self.peer.ip().is_some_and(|ip| ip.is_unspecified());
        let peer = is_wildcard.then(|| socket::peer(made.get_ref())).flatten().unwrap_or(self.peer);
        Ok(Won {
            socket: made,
            kind,
            peer,
            local,
            attempt: self.number,
            duration: opened - began,
            opened,
            carried,
            reach: self.reach,
        })
    }

    /// Makes the socket, up to its connect.
    fn prepared(&self, kind: SocketKind, is_fast: bool) -> Result<Socket, Box<Error>> {
        let made = try_open(&self.door, kind)?;
        try_set_options(&self.door, &made, kind, Role::Client, &self.reach.options)?;
        if is_fast {
            try_set(&self.door, &made, &fast_open_connect())?;
        }
        if !kind.has_connections() {
            // Before it has a name, so that each answer tells whose it is.
            try_set(&self.door, &made, &pass_credentials())?;
        }
        if let Some(source) = &self.reach.source {
            try_bind(&self.door, &made, source)?;
        } else if !kind.has_connections() {
            // Without a name of its own nobody could answer it: the kernel chooses one.
            try_bind(&self.door, &made, &Address::UnixUnnamed)?;
        }
        Ok(made)
    }

    /// Waits for a connect that goes on to end.
    async fn wait(&self, made: &Watch, began: Instant) -> Result<(), Lost> {
        let mut told = 0;
        loop {
            let look = self.deadline.min(Deadline::now() + LOOK);
            if timeout_at(look, poll_fn(|context| made.poll_write_ready(context).map(drop))).await.is_ok() {
                break;
            }
            if Deadline::now() >= self.deadline {
                return Err(self.timed_out(made.get_ref(), began));
            }
            self.tell_retransmits(made.get_ref(), began, &mut told);
        }
        socket::connect_result(made.get_ref()).map_err(|error| self.failed(&error, made.get_ref(), began))
    }

    /// Reports, while nothing answers, each SYN that was sent again since it was last asked.
    fn tell_retransmits(&self, made: &Socket, began: Instant, told: &mut u32) {
        if !self.door.wants(Kind::SynRetransmit) {
            return;
        }
        // Of a unix socket there is no such figure.
        let Ok(retransmits) = sys::tcp_info(made.as_fd()).map(|info| info.total_retrans) else { return };
        if retransmits > *told {
            *told = retransmits;
            let (attempt, after) = (self.number, began.elapsed());
            self.door.emit(event::SynRetransmit { peer: &self.peer, attempt, retransmits, after });
        }
    }

    /// Makes an error of what connect(2) gave; an ICMP error that made it so is reported.
    fn failed(&self, error: &std::io::Error, made: &Socket, began: Instant) -> Lost {
        let error = self.about(Error::of_io(Step::Connect, error, &self.subject()));
        let error = from_here(error.with_peer(self.peer.clone()).with_took(began.elapsed()), made);
        let Some(icmp) = socket::icmp::icmp_error(made) else { return Lost::Error(Box::new(error)) };
        let name = packet::icmp::name(icmp.is_v6, icmp.kind, icmp.code);
        let (from, kind, code, mtu) = (icmp.from, icmp.kind, icmp.code, icmp.mtu);
        self.door.emit(event::IcmpError {
            target: &self.peer,
            from,
            kind,
            code,
            name,
            mtu,
            sequence: None,
            after: Some(began.elapsed()),
            mpls: &[],
            interface: None,
            refuses: false,
            probe: None,
        });
        let whose = if self.peer.ip() == Some(from) { "the host itself" } else { "a router or firewall on the way" };
        let hint = format!("{from} said so by ICMP {name} (type {kind}, code {code}): {whose}");
        let error = match error.exit_code() {
            // Of some errors of ICMPv6 the kernel makes EACCES: still it was not this machine that refused.
            ExitCode::Permission => error.with_exit_code(ExitCode::Unreachable),
            _ => error,
        };
        Lost::Error(Box::new(error.with_hint(hint)))
    }

    /// Makes an error of a connection that has both its ends in its own socket: where nobody listens, and the
    /// kernel takes the very port that is asked for as ours, a SYN answers itself (RFC 9293, 3.5: simultaneous
    /// open). A reset, and not a close, leaves the port to the server that may come yet.
    fn met_itself(&self, made: &Socket, local: Address, began: Instant) -> Lost {
        let _it_is_closed_in_any_case = reset_at_close(&self.door, made);
        let message = format!("connect {}: nobody listens there: the socket was connected to itself", self.subject());
        let hint = "this machine took the very port that was asked for as its own; is the server up? \
                    net.ipv4.ip_local_reserved_ports keeps its port free for it";
        let error = self.about(Error::of_kind(Step::Connect, ExitCode::Refused, message)).with_hint(hint);
        Lost::Error(Box::new(error.with_peer(self.peer.clone()).with_local(local).with_took(began.elapsed())))
    }

    /// Returns who was tried; of a proxy what for, too.
    fn subject(&self) -> String {
        match (&self.reach.proxy, &self.reach.target) {
            (Some(proxy), Some(target)) => format!("{} (proxy {proxy}, for {target})", self.peer),
            _ => self.peer.to_string(),
        }
    }

    /// Adds what it was all for.
    fn about(&self, mut error: Error) -> Error {
        (error.target, error.proxy) = (self.reach.target.clone(), self.reach.proxy.clone());
        error.number = self.reach.number;
        error
    }

    /// Reports that nothing came, and how often it was asked for.
    fn timed_out(&self, made: &Socket, began: Instant) -> Lost {
        let after = began.elapsed();
        self.door.emit(event::Timeout { conn: None, step: Step::Connect, after });
        let again = match sys::tcp_info(made.as_fd()).map(|info| info.total_retrans) {
            Ok(1) => ", 1 SYN sent again".to_owned(),
            Ok(again) => format!(", {again} SYNs sent again"),
            Err(_) => String::new(),
        };
        let message = format!("connect {}: no answer within {:.3} s{again}", self.subject(), after.as_secs_f64());
        let error = self.about(Error::of_kind(Step::Connect, ExitCode::NoAnswer, message));
        Lost::Error(Box::new(from_here(error.with_peer(self.peer.clone()).with_took(after), made)))
    }
}

/// Adds from which address and port it was tried, which is what a firewall's log has too.
fn from_here(error: Error, made: &Socket) -> Error {
    match socket::local(made) {
        local @ Address::Inet(inet) if inet.port() != 0 => error.with_local(local),
        _ => error,
    }
}

impl Won {
    /// Returns who answered.
    pub(super) fn peer(&self) -> &Address {
        &self.peer
    }

    /// Reports the connection and begins to wait on it.
    pub(super) fn stream(self, door: &Arc<Door>) -> Result<Stream, Failed> {
        let conn = door.next_conn();
        let is_told = self.kind.is_tcp() && door.wants(Kind::Connect);
        let info = is_told.then(|| sys::tcp_info(self.socket.get_ref().as_fd()).ok()).flatten();
        door.emit(event::Connect {
            conn,
            target: self.reach.target.as_deref(),
            peer: &self.peer,
            local: (self.local != Address::UnixUnnamed).then_some(&self.local),
            number: self.reach.number,
            attempt: self.attempt,
            duration: self.duration,
            syn_retransmits: info.as_ref().map(|info| info.total_retrans),
            fast_open: info.zip(self.carried).map(|(info, carried)| fast_open::outcome(&info, carried)),
            mptcp: (is_told && self.kind.is_mptcp()).then(|| super::mptcp(self.socket.get_ref())).flatten(),
        });
        if let Some(setting) = icmp_errors_off(self.kind) {
            set(door, self.socket.get_ref(), &setting)?;
        }
        let made = Made {
            kind: self.kind,
            conn,
            peer: self.peer,
            opened: self.opened,
            is_accepted: false,
            tells_of_room: true,
        };
        let mut stream = Stream::new(Arc::clone(door), self.socket, made).telling_ends()?;
        if let Some(target) = &self.reach.target {
            stream.leads_to(target);
        }
        if let (Some(first), Some(carried @ 1..)) = (&self.reach.first, self.carried) {
            stream.sent_before(&first[..carried]);
        }
        Ok(stream)
    }
}

//! The step close: who ended the connection first, clean or by a reset, what was left, and what
//! held it back.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use socket2::Socket;

use super::Door;
use super::fail::errno;
use super::tls::{Leavings, Session};
use crate::event::{self, Event, HeldBack, Kind, Reason, Side, TcpFigures};
use crate::socket::SocketKind;
use crate::sys::{self, Wanted};

const NOBODY: u8 = 0;
const PEER: u8 = 1;
const LOCAL: u8 = 2;

/// What is noted of a connection's end while it is used: small, for there may be ten thousand.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Who ended its side first, as far as that was seen.
    first: AtomicU8,
    /// The errno of the call that failed, 0 for none.
    errno: AtomicU16,
    /// Whether an error was told of it, be it one without an errno.
    has_failed: AtomicBool,
    /// Whether there is something for the peer that the kernel was not given.
    owes: AtomicBool,
    /// Whether a reset was told before records that had come earlier.
    has_early_reset: AtomicBool,
    /// Whether our close resets it, whatever was read.
    we_reset: AtomicBool,
    /// Whether the rest of a record was lost, for there was no room for it.
    has_truncated: AtomicBool,
}

impl Ending {
    /// Notes that the peer's end was read.
    pub(super) fn peer_ended(&self) {
        self.note(PEER);
    }

    /// Notes that we are about to close our sending side: the peer's end may have come before,
    /// unread.
    pub(super) fn we_end(&self, socket: &Socket) {
        if self.first.load(Ordering::Relaxed) == NOBODY {
            self.note(if sys::hangup(socket.as_fd()).is_peer_closed { PEER } else { LOCAL });
        }
    }

    /// Notes that our close will be a reset.
    pub(super) fn we_reset(&self) {
        self.we_reset.store(true, Ordering::Relaxed);
    }

    /// Notes that the rest of a record was lost.
    pub(super) fn truncated(&self) {
        self.has_truncated.store(true, Ordering::Relaxed);
    }

    /// Notes that an error is told of it.
    pub(super) fn failed(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// Notes whether there is something for the peer that the kernel was not given.
    pub(super) fn owes(&self, owes: bool) {
        self.owes.store(owes, Ordering::Relaxed);
    }

    /// Notes that a call on the connection failed; the first errno counts, unless it only says that
    /// there is no connection any more, or that a unix peer takes nothing: its reset may be there too.
    pub(super) fn broke(&self, error: &io::Error) {
        const NONE_YET: [u16; 3] = [0, Errno::ENOTCONN as u16, Errno::EPIPE as u16];
        if let Some(errno) = errno(error)
            && NONE_YET.contains(&self.errno.load(Ordering::Relaxed))
        {
            self.errno.store(errno as u16, Ordering::Relaxed);
        }
    }

    /// Notes that a reset was told before records that had come earlier; returns whether it is the first.
    pub(super) fn early_reset(&self) -> bool {
        self.broke(&Errno::ECONNRESET.into());
        !self.has_early_reset.swap(true, Ordering::Relaxed)
    }

    pub(super) fn has_early_reset(&self) -> bool {
        self.has_early_reset.load(Ordering::Relaxed)
    }

    fn note(&self, side: u8) {
        // The first counts.
        let _other = self.first.compare_exchange(NOBODY, side, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// What a connection came to: the fields of `close` that only the kernel can tell.
#[derive(Debug, Default)]
pub(super) struct Audit {
    closed_first: Option<Side>,
    reset_by: Option<Side>,
    clean: Option<bool>,
    unread: Option<u64>,
    /// Whether a record without bytes was left unread.
    has_empty_record: bool,
    unacknowledged: Option<u64>,
    tcp: Option<TcpFigures>,
}

/// How far a connection was read.
#[derive(Clone, Copy, Default)]
pub(super) struct End<'a> {
    /// The peer's end was.
    pub(super) at_eof: bool,
    /// Its TLS, where there is any.
    pub(super) session: Option<&'a Session>,
}

/// Looks at a connection just before it is closed. What only the event tells is left out where
/// nobody wants it; bytes unread are a warning too, and the resets of peers a total.
pub(super) fn audit(door: &Door, kind: SocketKind, socket: &Socket, ending: &Ending, end: End<'_>) -> Audit {
    let End { at_eof, session } = end;
    let leave = || session.map(|session| session.leavings(socket, at_eof)).unwrap_or_default();
    let mut left = leave();
    let is_wanted = door.wants(Kind::Close);
    let tcp = is_wanted.then(|| tcp_figures(door, socket)).flatten().map(|(figures, _)| figures);
    // Of a unix socket the kernel tells memory, not bytes (unix(7)).
    let unacknowledged = tcp.is_some().then(|| sys::unacknowledged(socket.as_fd()).ok()).flatten();
    let hangup = sys::hangup(socket.as_fd());
    if hangup.has_error
        && let Ok(Some(error)) = socket.take_error()
    {
        ending.broke(&error);
    }
    // After the error, which a look at what is unread would take from the socket.
    let ask = || if at_eof { Some(0) } else { sys::unread(socket.as_fd()).ok() };
    let mut unread = ask();
    // What has come since TLS was looked at may be its own, a ticket say, and that is read.
    if session.is_some() && left.undelivered == 0 && unread.is_some_and(|unread| unread > 0) {
        left = leave();
        unread = ask();
    }
    let has_empty_record = unread == Some(0) && !at_eof && has_empty_record(socket);
    let seen = Seen {
        has_connections: kind.has_connections(),
        first: match ending.first.load(Ordering::Relaxed) {
            PEER => Some(Side::Peer),
            LOCAL => Some(Side::Local),
            _ => None,
        },
        failure: match ending.errno.load(Ordering::Relaxed) {
            0 => None,
            number => Some(Errno::from_raw(i32::from(number))),
        },
        is_unix: kind.is_unix(),
        is_peer_closed: hangup.is_peer_closed,
        is_over: hangup.is_over,
        is_unread: unread.unwrap_or(0) > 0 || has_empty_record,
        we_reset: ending.we_reset.load(Ordering::Relaxed),
        has_failed: ending.has_failed.load(Ordering::Relaxed),
        owes: ending.owes.load(Ordering::Relaxed),
        has_truncated: ending.has_truncated.load(Ordering::Relaxed),
        unacknowledged: unacknowledged.unwrap_or(0),
        left,
    };
    let unread = unread.map(|unread| unread + left.undelivered);
    let (closed_first, reset_by) = (seen.closed_first(), seen.reset_by());
    let clean = is_wanted.then(|| seen.clean()).flatten();
    Audit { closed_first, reset_by, clean, unread, has_empty_record, unacknowledged, tcp }
}

/// Returns whether the peer has acknowledged all that was sent, on a connection that is not broken.
pub(super) fn is_acknowledged(socket: &Socket) -> bool {
    !sys::hangup(socket.as_fd()).has_error && sys::unacknowledged(socket.as_fd()).is_ok_and(|bytes| bytes == 0)
}

/// Returns whether the next that is to be received is a record without bytes. Only records are marked with a
/// time (`socket::options::mark_records`), and only where they have connections.
fn has_empty_record(socket: &Socket) -> bool {
    let wanted = Wanted { peek: true, true_length: true, ..Wanted::default() };
    sys::recv_message(socket.as_fd(), &mut [], wanted).is_ok_and(|next| next.has_time && next.true_bytes == 0)
}

/// What was seen of a connection until its close, and what the kernel said then.
#[derive(Clone, Copy, Debug)]
struct Seen {
    has_connections: bool,
    first: Option<Side>,
    failure: Option<Errno>,
    is_unix: bool,
    is_peer_closed: bool,
    /// Whether both directions are closed.
    is_over: bool,
    /// Whether something was left unread.
    is_unread: bool,
    /// Whether our close resets it, whatever was read.
    we_reset: bool,
    /// Whether an error was told of it.
    has_failed: bool,
    /// Whether there was more for the peer.
    owes: bool,
    /// Whether the rest of a record was lost.
    has_truncated: bool,
    unacknowledged: u64,
    /// Of TLS.
    left: Leavings,
}

impl Seen {
    fn reset_by(self) -> Option<Side> {
        match self.failure {
            // A datagram socket tells the other's end by no message. All that it gets to know is that its peer keeps
            // to another now (unix_dgram_disconnected() in net/unix/af_unix.c).
            failure if !self.has_connections => (failure == Some(Errno::ECONNRESET)).then_some(Side::Peer),
            Some(Errno::ECONNRESET) => Some(Side::Peer),
            // What a reset gives after the peer's end (tcp_reset() in net/ipv4/tcp_input.c). Of a unix socket the
            // peer only takes nothing any more (unix(7)).
            Some(Errno::EPIPE) if !self.is_unix => Some(Side::Peer),
            // Then, or where a record was too long, the peer may be there still, and see what our close does.
            Some(_) if !self.is_over && self.is_unread => Some(Side::Local),
            // A connection that has broken off resets nobody any more.
            Some(_) => None,
            None if self.is_unread || self.we_reset => Some(Side::Local),
            None => None,
        }
    }

    fn closed_first(self) -> Option<Side> {
        if !self.has_connections {
            return self.reset_by();
        }
        if self.first.is_some() {
            return self.first;
        }
        match (self.failure, self.reset_by()) {
            // The peer's end may have come without having been read.
            (None | Some(Errno::EPIPE), _) | (_, Some(Side::Local)) if self.is_peer_closed => Some(Side::Peer),
            (Some(_), reset_by) => reset_by,
            (None, _) => Some(Side::Local),
        }
    }

    fn clean(self) -> Option<bool> {
        let is_broken = self.failure.is_some() || self.has_failed || self.we_reset;
        let is_lost =
            self.owes || self.is_unread || self.has_truncated || self.left.undelivered > 0 || self.left.is_cut;
        if is_broken || is_lost {
            return Some(false);
        }
        (self.unacknowledged == 0).then_some(true)
    }
}

impl Audit {
    /// Returns why the connection ended, where this program thinks that it was for `reason`: a unix peer that takes
    /// nothing any more has reset nothing, and may still send. It is we who end it then.
    pub(super) fn reason(&self, kind: SocketKind, reason: Reason) -> Reason {
        match reason {
            Reason::Reset if kind.is_unix() && self.reset_by != Some(Side::Peer) => Reason::Local,
            _ => reason,
        }
    }
}

/// A connection that ends, and what this program knows of it.
pub(super) struct Closing {
    pub(super) conn: u64,
    pub(super) reason: Reason,
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) duration: Duration,
}

/// Reports a close, and what it does to the peer where bytes were left unread.
pub(super) fn report(door: &Door, closing: &Closing, audit: Audit) {
    let Closing { conn, reason, bytes_received, bytes_sent, duration } = *closing;
    let what = match audit.unread {
        Some(1) => Some("1 byte".to_owned()),
        Some(unread @ 2..) => Some(format!("{unread} bytes")),
        _ => audit.has_empty_record.then(|| "an empty record".to_owned()),
    };
    if let Some(what) = what {
        let seen = if audit.reset_by == Some(Side::Local) { ": the peer sees a reset" } else { "" };
        let message = format!("connection {conn} was closed with {what} unread{seen}");
        door.emit(event::Warning { conn: Some(conn), ..event::Warning::of("unread-at-close", &message) });
    }
    door.emit(Event::Close(event::Close {
        conn,
        reason,
        closed_first: audit.closed_first,
        reset_by: audit.reset_by,
        clean: audit.clean,
        bytes_received,
        bytes_sent,
        bytes_unread: audit.unread,
        bytes_unacknowledged: audit.unacknowledged,
        duration,
        tcp: audit.tcp,
    }));
}

/// Returns the kernel's figures of a TCP socket, and how many bytes wait to be sent. Where an older
/// kernel leaves some out, a warning says so, once a run, to whoever wants to see much.
pub(super) fn tcp_figures(door: &Door, socket: &Socket) -> Option<(TcpFigures, Option<u32>)> {
    let info = sys::tcp_info(socket.as_fd()).ok()?;
    if info.is_short && door.wants(Kind::Setsockopt) {
        door.warn_once("tcp-info-short", "this kernel's TCP_INFO lacks figures that newer ones give: they are absent");
    }
    let figures = TcpFigures {
        rtt: info.rtt,
        min_rtt: info.min_rtt,
        rttvar: info.rttvar,
        retransmits: info.total_retrans,
        bytes_retransmitted: info.bytes_retrans,
        mss: info.snd_mss,
        pmtu: info.pmtu,
        cwnd: info.snd_cwnd,
        delivery_bytes_per_second: info.delivery_rate,
        busy: info.busy.map(|busy| busy.time),
        rwnd_limited: info.busy.map(|busy| busy.rwnd_limited),
        sndbuf_limited: info.busy.map(|busy| busy.sndbuf_limited),
        held_back_by: info.busy.zip(info.data_segs_out).and_then(|(busy, segments)| held_back_by(busy, segments)),
    };
    Some((figures, info.notsent_bytes))
}

/// Returns which part of the busy time is the largest, the rest being the network's: round trips,
/// the congestion window, loss. What fits into the first flight waits for a round trip at most.
fn held_back_by(busy: sys::Busy, segments: u32) -> Option<HeldBack> {
    /// Two ticks of the slowest clock that a kernel counts this by (HZ=100).
    const LEAST: Duration = Duration::from_millis(20);
    /// The initial congestion window, in segments (RFC 6928).
    const FIRST_FLIGHT: u32 = 10;
    if busy.time < LEAST {
        return None;
    }
    let network = busy.time.saturating_sub(busy.rwnd_limited + busy.sndbuf_limited);
    if busy.rwnd_limited > network.max(busy.sndbuf_limited) {
        Some(HeldBack::PeerWindow)
    } else if busy.sndbuf_limited > network {
        Some(HeldBack::SendBuffer)
    } else {
        (segments > FIRST_FLIGHT).then_some(HeldBack::Network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Seen = Seen {
        has_connections: true,
        first: None,
        failure: None,
        is_unix: false,
        is_peer_closed: false,
        is_over: false,
        is_unread: false,
        we_reset: false,
        has_failed: false,
        owes: false,
        has_truncated: false,
        unacknowledged: 0,
        left: Leavings { undelivered: 0, is_cut: false },
    };

    fn told(seen: Seen) -> (Option<Side>, Option<Side>, Option<bool>) {
        (seen.closed_first(), seen.reset_by(), seen.clean())
    }

    #[test]
    fn who_closed_first_is_what_was_seen_first() {
        let (peer, local) = (Some(Side::Peer), Some(Side::Local));
        assert_eq!(told(QUIET), (local, None, Some(true)));
        assert_eq!(told(Seen { is_peer_closed: true, ..QUIET }), (peer, None, Some(true)));
        assert_eq!(told(Seen { first: local, is_peer_closed: true, ..QUIET }), (local, None, Some(true)));
        assert_eq!(told(Seen { first: peer, ..QUIET }), (peer, None, Some(true)));
        assert_eq!(told(Seen { unacknowledged: 1, ..QUIET }), (local, None, None));
        assert_eq!(told(Seen { has_truncated: true, ..QUIET }), (local, None, Some(false)));
        assert_eq!(told(Seen { has_failed: true, unacknowledged: 1, ..QUIET }), (local, None, Some(false)));
        assert_eq!(told(Seen { owes: true, unacknowledged: 1, ..QUIET }), (local, None, Some(false)));
    }

    #[test]
    fn a_reset_is_somebodys_and_never_clean() {
        let (peer, local) = (Some(Side::Peer), Some(Side::Local));
        let reset = Seen { failure: Some(Errno::ECONNRESET), is_peer_closed: true, ..QUIET };
        assert_eq!(told(reset), (peer, peer, Some(false)));
        assert_eq!(told(Seen { first: local, ..reset }), (local, peer, Some(false)));
        assert_eq!(told(Seen { is_unread: true, ..reset }), (peer, peer, Some(false)));
        assert_eq!(told(Seen { is_unread: true, ..QUIET }), (local, local, Some(false)));
        assert_eq!(told(Seen { is_unread: true, is_peer_closed: true, ..QUIET }), (peer, local, Some(false)));
        assert_eq!(told(Seen { we_reset: true, ..QUIET }), (local, local, Some(false)));
        let silent = Seen { failure: Some(Errno::ETIMEDOUT), is_peer_closed: true, ..QUIET };
        assert_eq!(told(silent), (None, None, Some(false)));
        let deaf = Seen { failure: Some(Errno::EPIPE), ..QUIET };
        assert_eq!(told(deaf), (peer, peer, Some(false)));
        let deaf = Seen { is_unix: true, ..deaf };
        assert_eq!(told(deaf), (None, None, Some(false)));
        assert_eq!(told(Seen { is_peer_closed: true, is_over: true, ..deaf }), (peer, None, Some(false)));
        let long = Seen { failure: Some(Errno::EMSGSIZE), is_unix: true, is_unread: true, ..QUIET };
        assert_eq!(told(long), (local, local, Some(false)));
        assert_eq!(told(Seen { is_peer_closed: true, ..long }), (peer, local, Some(false)));
        let silent = Seen { is_unread: true, is_over: true, ..silent };
        assert_eq!(told(silent), (None, None, Some(false)));
        let deaf = Seen { is_unread: true, ..deaf };
        assert_eq!(told(deaf), (local, local, Some(false)));
        assert_eq!(told(Seen { is_peer_closed: true, is_over: true, ..deaf }), (peer, None, Some(false)));
    }

    #[test]
    fn of_datagrams_nobody_closes_first_and_what_is_left_resets_nobody() {
        let quiet = Seen { has_connections: false, ..QUIET };
        assert_eq!(told(quiet), (None, None, Some(true)));
        assert_eq!(told(Seen { is_unread: true, ..quiet }), (None, None, Some(false)));
        let gone = Seen { failure: Some(Errno::ECONNREFUSED), ..quiet };
        assert_eq!(told(gone), (None, None, Some(false)));
        let peer = Some(Side::Peer);
        assert_eq!(told(Seen { failure: Some(Errno::ECONNRESET), ..quiet }), (peer, peer, Some(false)));
    }

    #[test]
    fn the_largest_part_held_the_transfer_back() {
        let of = |time, rwnd, sndbuf, segments| {
            let [time, rwnd_limited, sndbuf_limited] = [time, rwnd, sndbuf].map(Duration::from_millis);
            held_back_by(sys::Busy { time, rwnd_limited, sndbuf_limited }, segments)
        };
        assert_eq!(of(0, 0, 0, 0), None);
        assert_eq!(of(19, 19, 0, 99), None);
        assert_eq!(of(40, 0, 0, 10), None);
        assert_eq!(of(40, 0, 0, 11), Some(HeldBack::Network));
        assert_eq!(of(100, 60, 10, 1), Some(HeldBack::PeerWindow));
        assert_eq!(of(100, 40, 50, 1), Some(HeldBack::SendBuffer));
        assert_eq!(of(100, 33, 33, 11), Some(HeldBack::Network));
        assert_eq!(of(100, 40, 40, 1), Some(HeldBack::SendBuffer));
    }
}

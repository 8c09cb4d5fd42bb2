//! The error queue of a UDP socket: ICMP errors about what was sent, and when each datagram left.

use std::io;
use std::time::Instant;

use nix::errno::Errno;
use socket2::SockAddr;

use super::{Udp, shown};
use crate::address::Address;
use crate::error::{Error, ExitCode, Step, errno_name};
use crate::event;
use crate::packet;
use crate::socket::icmp::{IcmpError, QUOTE};
use crate::step::Failed;
use crate::sys::{self, Queued};

/// What an ICMP error is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    /// The number of the datagram and when it was sent, where it is certain which.
    pub(super) datagram: Option<(u64, Instant)>,
    /// Whether it is refused by this, and had no end until now; of one that is not known, whether that may be.
    pub(super) is_end: bool,
}

impl About {
    /// About a datagram of which nothing is known.
    pub(super) const UNKNOWN: Self = Self { datagram: None, is_end: true };
}

/// Who knows what was sent.
pub(super) trait Log {
    /// Returns which datagram begins so, and takes note that it is refused.
    fn refused(&mut self, quoted: &[u8]) -> About;

    /// Takes note of when the kernel has sent the datagram of a number: nanoseconds since 1970.
    fn left(&mut self, id: u32, kernel_time: u64);
}

/// Of what a server answers nothing is kept.
impl Log for () {
    fn refused(&mut self, _: &[u8]) -> About {
        About::UNKNOWN
    }

    fn left(&mut self, _: u32, _: u64) {}
}

/// What the error queue had.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drained {
    /// What a run exits with that got nothing but these: the furthest of them.
    pub code: Option<ExitCode>,
    /// The MTU that this host knows of the way, in bytes, where something was too large for it.
    pub mtu: Option<u32>,
    /// How many there were.
    pub errors: u64,
    /// How many of them refuse a datagram that had no end, as far as is known.
    pub refusals: u64,
    /// How many of those it is not known which they refuse.
    pub(super) unknown: u64,
}

impl Drained {
    fn add(&mut self, code: ExitCode, about: About) {
        self.errors += 1;
        self.refusals += u64::from(about.is_end);
        self.unknown += u64::from(about.is_end && about.datagram.is_none());
        self.code = further(self.code, Some(code));
    }

    /// Returns what it had until now, and what it had later.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        Self {
            code: further(self.code, later.code),
            mtu: later.mtu.or(self.mtu),
            errors: self.errors + later.errors,
            refusals: self.refusals + later.refusals,
            unknown: self.unknown + later.unknown,
        }
    }
}

impl Udp {
    /// Takes all that the error queue has, and reports each ICMP error.
    pub(super) fn drain(&self, log: &mut impl Log) -> Drained {
        let mut drained = Drained::default();
        let mut quote = [0; QUOTE];
        loop {
            let queued = match sys::recv_queued(self.fd(), &mut quote) {
                Ok(queued) => queued,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Empty; what else fails is told by the call that is made for its own sake.
                Err(_) => return drained,
            };
            match queued {
                Queued::Sent { id, kernel_time: Some(kernel_time), .. } => log.left(id, kernel_time),
                Queued::Sent { .. } | Queued::Other => {}
                Queued::Error { errno, info, ref to, quoted, .. } => match IcmpError::of(&queued) {
                    Some(icmp) => {
                        let about = log.refused(&quote[..quoted]);
                        self.tell_icmp_error(&icmp, to.as_ref(), about);
                        drained.add(code_of(errno), about);
                    }
                    // This host's own kernel: it knows the MTU of the way, and did not send.
                    None if Errno::from_raw(errno) == Errno::EMSGSIZE => drained.mtu = Some(info),
                    None => {}
                },
            }
        }
    }

    /// Reports an ICMP error, and which datagram it is about where that is certain.
    fn tell_icmp_error(&self, icmp: &IcmpError, to: Option<&SockAddr>, about: About) {
        let to = to.map(shown);
        self.door.emit(event::IcmpError {
            target: to.as_ref().unwrap_or_else(|| self.target()),
            from: icmp.from,
            kind: icmp.kind,
            code: icmp.code,
            name: packet::icmp::name(icmp.is_v6, icmp.kind, icmp.code),
            mtu: icmp.mtu,
            sequence: about.datagram.map(|(number, _)| number),
            after: about.datagram.map(|(_, sent)| sent.elapsed()),
            mpls: &[],
            interface: None,
            refuses: about.datagram.is_some() && about.is_end,
            probe: None,
        });
    }

    /// Reports that the kernel had no room for a datagram.
    pub(super) fn not_sent(&self, target: &Address, sequence: Option<u64>, errno: &str) {
        self.door.tell(event::NotSent { target, sequence, errno, datagrams: 1, number: 0 });
    }

    /// Reports that a recv failed.
    pub(super) fn recv_failed(&self, error: &io::Error) -> Failed {
        let error = Error::of_io(Step::Recv, error, &self.local().to_string());
        self.door.fail(&error.with_local(self.local().clone()))
    }

    /// Makes an error of a send that failed.
    pub(super) fn send_failed(&self, error: &io::Error, to: &Address, bytes: usize, mtu: Option<u32>) -> Error {
        let made = Error::of_io(Step::Send, error, &to.to_string()).with_peer(to.clone());
        match made.errno {
            Some(Errno::EMSGSIZE) => {
                let limit = mtu.map_or_else(
                    || "the datagram is larger than this socket or the way takes".to_owned(),
                    |mtu| format!("the MTU of the way is {mtu} bytes, headers included"),
                );
                made.with_exit_code(ExitCode::Local).with_hint(format!("{bytes} bytes of payload: {limit}"))
            }
            Some(Errno::ENETUNREACH) if to.ip().is_some_and(|ip| ip.is_multicast()) => {
                made.with_hint("no route leads to groups: --multicast-interface says by which interface")
            }
            Some(Errno::EPERM) => made.with_hint("a local firewall drops it; `nft list ruleset` shows by which rule"),
            Some(Errno::EACCES) => {
                made.with_hint("a broadcast address needs --broadcast; else a local filter refuses it")
            }
            _ => made,
        }
    }
}

/// Returns the further of what two lots of ICMP errors come to.
pub(super) fn further(one: Option<ExitCode>, other: Option<ExitCode>) -> Option<ExitCode> {
    // Of two as far, the first.
    [other, one].into_iter().flatten().max_by_key(|code| code.reach())
}

/// Returns what an ICMP error stands for, by the errno that the kernel makes of it.
fn code_of(errno: i32) -> ExitCode {
    match Errno::from_raw(errno) {
        Errno::ECONNREFUSED => ExitCode::Refused,
        _ => ExitCode::Unreachable,
    }
}

/// Returns whether an errno of recv(2) is one that the kernel makes of an ICMP error about an earlier
/// datagram (icmp_err_convert in net/ipv4/icmp.c, icmpv6_err_convert): nothing else is wrong then.
pub(in crate::step) fn is_of_icmp(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(
            Errno::ECONNREFUSED
                | Errno::ENETUNREACH
                | Errno::EHOSTUNREACH
                | Errno::EHOSTDOWN
                | Errno::ENONET
                | Errno::ENOPROTOOPT
                | Errno::EMSGSIZE
                | Errno::EOPNOTSUPP
                | Errno::EACCES
                | Errno::EPROTO
        )
    )
}

/// Returns whether a send failed only for an ICMP error about an earlier one: this one was not sent, and
/// may be sent again.
pub(super) fn is_about_earlier(error: &io::Error, drained: Drained) -> bool {
    // No ICMP error becomes EPERM: that is a local filter, which may send one about this very datagram.
    let is_told = drained.errors > 0 && error.raw_os_error() != Some(Errno::EPERM as i32);
    // Nothing else of this host refuses so, though the queue may have had no room to tell.
    is_told || error.kind() == io::ErrorKind::ConnectionRefused
}

/// Returns the errno of back-pressure: the kernel has no room for a datagram now.
pub(super) fn back_pressure(error: &io::Error) -> Option<String> {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno @ (Errno::EAGAIN | Errno::ENOBUFS)) => Some(errno_name(errno)),
        _ => None,
    }
}

//! The table of socket options: a line each, from the words to the call.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use libc::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOL_SOCKET};
use socket2::{Domain, Socket};

use super::SocketKind;
use crate::args::SocketOptions;
use crate::sys;

/// The value of an option, as the kernel takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An int.
    Int(i32),
    /// A name: of an interface, of a congestion algorithm.
    Name(String),
    /// A struct timeval.
    Time(Duration),
    /// A structure, and what it says in words. The kernel does not give it back as it took it.
    Raw(Vec<u8>, String),
}

/// One call of setsockopt(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The constant's name.
    pub name: &'static str,
    level: i32,
    option: i32,
    /// What is asked for.
    pub value: Value,
}

impl Setting {
    fn int(name: &'static str, level: i32, option: i32, value: impl Into<i64>) -> Self {
        // Marks are unsigned in words and a plain int to the kernel: the bits are the same.
        Self { name, level, option, value: Value::Int(value.into() as i32) }
    }

    /// Makes the call.
    ///
    /// # Errors
    /// As setsockopt(2).
    pub fn set(&self, socket: &Socket) -> io::Result<()> {
        match &self.value {
            Value::Int(value) => sys::set_int(socket.as_fd(), self.level, self.option, *value),
            Value::Name(name) => sys::set_bytes(socket.as_fd(), self.level, self.option, name.as_bytes()),
            Value::Time(time) => {
                sys::set_bytes(socket.as_fd(), self.level, self.option, &TimeVal::from_duration(*time).bytes())
            }
            Value::Raw(bytes, _) => sys::set_bytes(socket.as_fd(), self.level, self.option, bytes),
        }
    }

    /// Asks what is in force.
    ///
    /// # Errors
    /// As getsockopt(2).
    pub fn effective(&self, socket: &Socket) -> io::Result<Value> {
        let option = match self.option {
            // The FORCE twins can only be set.
            libc::SO_RCVBUFFORCE if self.level == SOL_SOCKET => libc::SO_RCVBUF,
            libc::SO_SNDBUFFORCE if self.level == SOL_SOCKET => libc::SO_SNDBUF,
            option => option,
        };
        match &self.value {
            Value::Int(_) => sys::get_int(socket.as_fd(), self.level, option).map(Value::Int),
            Value::Name(_) => {
                let mut name = [0; 64];
                let len = sys::get_bytes(socket.as_fd(), self.level, option, &mut name)?;
                let end = name[..len].iter().position(|byte| *byte == 0).unwrap_or(len);
                Ok(Value::Name(String::from_utf8_lossy(&name[..end]).into_owned()))
            }
            Value::Time(_) => {
                let mut bytes = [0; TimeVal::BYTES];
                sys::get_bytes(socket.as_fd(), self.level, option, &mut bytes)?;
                Ok(Value::Time(TimeVal::of(bytes)))
            }
            Value::Raw(..) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Returns the privileged twin of a buffer option, which may pass the limit (socket(7)).
    #[must_use]
    pub fn forced(&self) -> Option<Self> {
        let (name, option) = match (self.level, self.option) {
            (SOL_SOCKET, libc::SO_RCVBUF) => ("SO_RCVBUFFORCE", libc::SO_RCVBUFFORCE),
            (SOL_SOCKET, libc::SO_SNDBUF) => ("SO_SNDBUFFORCE", libc::SO_SNDBUFFORCE),
            _ => return None,
        };
        Some(Self { name, option, ..self.clone() })
    }
}

/// Returns the call that makes the ICMP errors of a connection what TCP takes them for again.
#[must_use]
pub fn icmp_errors_off(kind: SocketKind) -> Option<Setting> {
    match kind.domain() {
        // An MPTCP socket refuses it.
        _ if kind.is_mptcp() => None,
        Domain::IPV4 => Some(Setting::int("IP_RECVERR", IPPROTO_IP, libc::IP_RECVERR, 0)),
        Domain::IPV6 => Some(Setting::int("IPV6_RECVERR", IPPROTO_IPV6, libc::IPV6_RECVERR, 0)),
        _ => None,
    }
}

/// Returns the call that makes each message tell who sent it (SO_PASSCRED, unix(7)).
#[must_use]
pub fn pass_credentials() -> Setting {
    Setting::int("SO_PASSCRED", SOL_SOCKET, libc::SO_PASSCRED, 1)
}

/// Returns the call that gives each record a time of receipt (SO_TIMESTAMP, socket(7); unix sockets have
/// it since Linux 2.6.37). The end of a stream has none, so an empty record is told apart from it: by
/// credentials it could be too, but these cost the sender of each record something, and give an unnamed
/// socket a name.
#[must_use]
pub fn mark_records() -> Setting {
    Setting::int("SO_TIMESTAMP", SOL_SOCKET, libc::SO_TIMESTAMP, 1)
}

/// Returns the call that lets a listener take data with the SYN, from so many at once.
#[must_use]
pub fn fast_open_queue(most: u32) -> Setting {
    Setting::int("TCP_FASTOPEN", IPPROTO_TCP, libc::TCP_FASTOPEN, i32::try_from(most).unwrap_or(i32::MAX))
}

/// Returns the call that puts a connect off until the first send, whose data go with the SYN.
#[must_use]
pub fn fast_open_connect() -> Setting {
    Setting::int("TCP_FASTOPEN_CONNECT", IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)
}

/// What a socket is for, where that decides an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It will listen; on the IPv6 wildcard for IPv4 too where `dual_stack`.
    Listener {
        /// Whether IPv4 peers may come in as well; `None` on IPv4 and unix sockets.
        dual_stack: Option<bool>,
    },
    /// It will connect.
    Client,
    /// It will receive datagrams; on the IPv6 wildcard of IPv4 too where `dual_stack`.
    Receiver {
        /// As a listener's.
        dual_stack: Option<bool>,
        /// Whether others of this machine may receive the same, as those of a multicast group do.
        shares: bool,
    },
    /// It will send datagrams.
    Sender,
}

impl Role {
    /// Returns whether it takes both families on one socket, or whether it does not; `None` where
    /// that is no question.
    fn dual_stack(self) -> Option<bool> {
        match self {
            Self::Listener { dual_stack } | Self::Receiver { dual_stack, .. } => dual_stack,
            Self::Client | Self::Sender => None,
        }
    }
}

/// Returns whether a socket has the options of IPv4, and those of IPv6; a dual-stack one sends IPv4 by
/// those of IPv4.
fn families(kind: SocketKind, role: Role) -> (bool, bool) {
    (kind.domain() == Domain::IPV4 || role.dual_stack() == Some(true), kind.domain() == Domain::IPV6)
}

/// What is to come along with each datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// The address and the interface that it arrived at.
    pub arrival: bool,
    /// Its hop limit, and its traffic class.
    pub header: bool,
    /// When the kernel received it.
    pub receive_time: bool,
    /// When the kernel sent each of ours: by the error queue, numbered.
    pub send_time: bool,
    /// The same of the network device besides, by its own clock, where an administrator has switched that on.
    pub device_time: bool,
    /// Several of one size in one buffer (UDP_GRO).
    pub merged: bool,
}

/// Returns the calls that make the kernel give what is to come along.
#[must_use]
pub fn extras(kind: SocketKind, role: Role, wanted: Extras) -> Vec<Setting> {
    let (v4, v6) = families(kind, role);
    let Extras { arrival, header, receive_time, send_time, device_time, merged } = wanted;
    let mut stamps = 0;
    if receive_time {
        stamps |= libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    }
    if send_time {
        stamps |= libc::SOF_TIMESTAMPING_TX_SOFTWARE
            | libc::SOF_TIMESTAMPING_SOFTWARE
            | libc::SOF_TIMESTAMPING_OPT_ID
            | libc::SOF_TIMESTAMPING_OPT_TSONLY;
    }
    if device_time && receive_time {
        stamps |= libc::SOF_TIMESTAMPING_RX_HARDWARE | libc::SOF_TIMESTAMPING_RAW_HARDWARE;
    }
    if device_time && send_time {
        // Without the last, what the device stamps has no stamp of the kernel's.
        stamps |= libc::SOF_TIMESTAMPING_TX_HARDWARE
            | libc::SOF_TIMESTAMPING_RAW_HARDWARE
            | libc::SOF_TIMESTAMPING_OPT_TX_SWHW;
    }
    // A socket of IPv6 says by IPv6's option where datagrams of IPv4 arrived, but only by IPv4's which
    // address of ours an answer may come from: not that of a broadcast.
    [
        (stamps != 0, "SO_TIMESTAMPING", SOL_SOCKET, libc::SO_TIMESTAMPING, i64::from(stamps)),
        (arrival && v4, "IP_PKTINFO", IPPROTO_IP, libc::IP_PKTINFO, 1),
        (arrival && v6, "IPV6_RECVPKTINFO", IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
        (header && v4, "IP_RECVTTL", IPPROTO_IP, libc::IP_RECVTTL, 1),
        (header && v4, "IP_RECVTOS", IPPROTO_IP, libc::IP_RECVTOS, 1),
        (header && v6, "IPV6_RECVHOPLIMIT", IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1),
        (header && v6, "IPV6_RECVTCLASS", IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1),
        (merged, "UDP_GRO", libc::SOL_UDP, libc::UDP_GRO, 1),
    ]
    .into_iter()
    .filter(|(is_wanted, ..)| *is_wanted)
    .map(|(_, name, level, option, value)| Setting::int(name, level, option, value))
    .collect()
}

/// Returns the calls that make the kernel number its stamps of what is sent from 0 again, on a socket that has these
/// flags: it does so where the number is asked for anew.
#[must_use]
pub fn stamps_anew(flags: i32) -> [Setting; 2] {
    let without = flags & !(libc::SOF_TIMESTAMPING_OPT_ID as i32);
    [without, flags].map(|flags| Setting::int("SO_TIMESTAMPING", SOL_SOCKET, libc::SO_TIMESTAMPING, flags))
}

/// Returns the call that bounds how long a recv waits (SO_RCVTIMEO, socket(7)).
#[must_use]
pub fn recv_timeout(bound: Duration) -> Setting {
    Setting { name: "SO_RCVTIMEO", level: SOL_SOCKET, option: libc::SO_RCVTIMEO, value: Value::Time(bound) }
}

/// A struct timeval: seconds, then microseconds.
struct TimeVal(libc::time_t, libc::suseconds_t);

impl TimeVal {
    const BYTES: usize = size_of::<libc::time_t>() + size_of::<libc::suseconds_t>();

    fn from_duration(time: Duration) -> Self {
        Self(libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX), time.subsec_micros().into())
    }

    fn bytes(&self) -> Vec<u8> {
        [&self.0.to_ne_bytes()[..], &self.1.to_ne_bytes()].concat()
    }

    fn of(bytes: [u8; Self::BYTES]) -> Duration {
        let (mut seconds, mut micros) = ([0; size_of::<libc::time_t>()], [0; size_of::<libc::suseconds_t>()]);
        seconds.copy_from_slice(&bytes[..size_of::<libc::time_t>()]);
        micros.copy_from_slice(&bytes[size_of::<libc::time_t>()..]);
        let seconds = u64::try_from(libc::time_t::from_ne_bytes(seconds)).unwrap_or(0);
        let micros = u64::try_from(libc::suseconds_t::from_ne_bytes(micros)).unwrap_or(0);
        Duration::from_secs(seconds) + Duration::from_micros(micros)
    }
}

/// Types of ICMP that a raw socket is to hear: bits of a filter (icmp(7), RFC 3542, 3.2).
pub const ECHO_AND_ERRORS_V4: &[u8] = &[0, 3, 11, 12];
/// The same of ICMPv6.
pub const ECHO_AND_ERRORS_V6: &[u8] = &[1, 2, 3, 4, 129];
/// Errors of ICMP alone.
pub const ERRORS_V4: &[u8] = &[3, 11, 12];
/// Errors of ICMPv6 alone.
pub const ERRORS_V6: &[u8] = &[1, 2, 3, 4];
/// None.
pub const NOTHING: &[u8] = &[];

/// Returns the call that lets a raw socket of ICMP hear messages of some types only.
#[must_use]
pub fn icmp_filter(kind: SocketKind, types: &[u8]) -> Setting {
    /// SOL_RAW (linux/socket.h), ICMP_FILTER (linux/icmp.h), ICMPV6_FILTER (linux/icmpv6.h).
    const SOL_RAW: i32 = 255;
    const ICMP_FILTER: i32 = 1;
    const ICMPV6_FILTER: i32 = 1;
    // A bit that is set drops the type.
    let mut words = [u32::MAX; 8];
    for kind in types {
        words[usize::from(kind >> 5)] &= !(1 << (kind & 31));
    }
    let shown = format!("{types:?}");
    let (name, level, option, count) = match kind.is_v6() {
        true => ("ICMPV6_FILTER", libc::IPPROTO_ICMPV6, ICMPV6_FILTER, 8),
        false => ("ICMP_FILTER", SOL_RAW, ICMP_FILTER, 1),
    };
    let bytes = words[..count].iter().flat_map(|word| word.to_ne_bytes()).collect();
    Setting { name, level, option, value: Value::Raw(bytes, shown) }
}

/// Returns the call that makes the kernel give messages of ICMPv6 with a wrong checksum too: on this
/// socket it then neither makes nor checks them (net/ipv6/raw.c; RFC 3542, 3.1 forbids it at the level of
/// IPv6, not at that of raw sockets).
#[must_use]
pub fn icmpv6_checksum_off() -> Setting {
    const SOL_RAW: i32 = 255;
    Setting::int("IPV6_CHECKSUM", SOL_RAW, libc::IPV6_CHECKSUM, -1)
}

/// Returns the call that sends packets whole, however large they are for what is known of the way.
#[must_use]
pub fn probes_mtu(kind: SocketKind) -> Setting {
    match kind.is_v6() {
        true => Setting::int("IPV6_MTU_DISCOVER", IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
        false => Setting::int("IP_MTU_DISCOVER", IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
    }
}

/// Returns the call that lets a socket send to a broadcast address.
#[must_use]
pub fn broadcast() -> Setting {
    Setting::int("SO_BROADCAST", SOL_SOCKET, libc::SO_BROADCAST, 1)
}

/// Returns the calls that say by which interface, and how far, a socket sends to multicast groups.
#[must_use]
pub fn multicast(kind: SocketKind, hops: Option<u8>, interface: Option<(u32, &str)>) -> Vec<Setting> {
    let v6 = kind.domain() == Domain::IPV6;
    let mut all = Vec::new();
    if let Some((index, name)) = interface {
        // struct ip_mreqn: two addresses that are not used, then the index (ip(7)).
        let mut request = vec![0; if v6 { 0 } else { 8 }];
        request.extend_from_slice(&index.to_ne_bytes());
        let value = Value::Raw(request, name.to_owned());
        all.push(match v6 {
            true => Setting { name: "IPV6_MULTICAST_IF", level: IPPROTO_IPV6, option: libc::IPV6_MULTICAST_IF, value },
            false => Setting { name: "IP_MULTICAST_IF", level: IPPROTO_IP, option: libc::IP_MULTICAST_IF, value },
        });
    }
    if let Some(hops) = hops {
        all.push(match v6 {
            true => Setting::int("IPV6_MULTICAST_HOPS", IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, hops),
            false => Setting::int("IP_MULTICAST_TTL", IPPROTO_IP, libc::IP_MULTICAST_TTL, hops),
        });
    }
    all
}

/// Returns the calls that keep away what is sent to groups that others of this machine have joined.
#[must_use]
pub fn joined_groups_only(kind: SocketKind, role: Role) -> Vec<Setting> {
    /// IPV6_MULTICAST_ALL (linux/in6.h).
    const IPV6_MULTICAST_ALL: i32 = 29;
    let (v4, v6) = families(kind, role);
    let mut all = Vec::new();
    if v4 {
        all.push(Setting::int("IP_MULTICAST_ALL", IPPROTO_IP, libc::IP_MULTICAST_ALL, 0));
    }
    if v6 {
        all.push(Setting::int("IPV6_MULTICAST_ALL", IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0));
    }
    all
}

/// Returns the calls that the words ask for, in their order.
#[must_use]
pub fn settings(kind: SocketKind, role: Role, words: &SocketOptions) -> Vec<Setting> {
    let mut all = Vec::new();
    let (v4, v6) = families(kind, role);
    let mut add = |wanted: bool, name, level, option, value: Option<i64>| {
        if wanted && let Some(value) = value {
            all.push(Setting::int(name, level, option, value));
        }
    };
    // Of a listener it only passes over what an old connection left; of UDP it shares the port.
    let may_share = matches!(role, Role::Listener { .. } | Role::Receiver { shares: true, .. });
    add(may_share && (v4 || v6), "SO_REUSEADDR", SOL_SOCKET, libc::SO_REUSEADDR, Some(1));
    add(v6, "IPV6_V6ONLY", IPPROTO_IPV6, libc::IPV6_V6ONLY, role.dual_stack().map(|dual| i64::from(!dual)));
    let tcp = kind.is_tcp();
    let has_queue = kind.is_udp() || matches!(kind, SocketKind::Echo(_));
    add(has_queue && v4, "IP_RECVERR", IPPROTO_IP, libc::IP_RECVERR, Some(1));
    add(has_queue && v6, "IPV6_RECVERR", IPPROTO_IPV6, libc::IPV6_RECVERR, Some(1));
    if role == Role::Client {
        // Who sent the ICMP error that ends a connect; switched off again when it stands, because
        // it makes an error of what TCP would live through (ip(7)). An MPTCP socket refuses it.
        let tcp = tcp && !kind.is_mptcp();
        add(tcp && v4, "IP_RECVERR", IPPROTO_IP, libc::IP_RECVERR, Some(1));
        add(tcp && v6, "IPV6_RECVERR", IPPROTO_IPV6, libc::IPV6_RECVERR, Some(1));
    }
    let switch = |on: bool| on.then_some(1);
    let ip = v4 || v6;
    let tos = words.dscp.map(|dscp| i64::from(dscp) << 2);
    let hops = words.ttl.map(i64::from);
    let alive = words.keepalive.map(i64::from);
    add(true, "SO_RCVBUF", SOL_SOCKET, libc::SO_RCVBUF, words.recv_buffer.map(i64::from));
    add(true, "SO_SNDBUF", SOL_SOCKET, libc::SO_SNDBUF, words.send_buffer.map(i64::from));
    add(true, "SO_MARK", SOL_SOCKET, libc::SO_MARK, words.mark.map(i64::from));
    add(ip, "SO_REUSEPORT", SOL_SOCKET, libc::SO_REUSEPORT, switch(words.reuse_port));
    add(true, "SO_BUSY_POLL", SOL_SOCKET, libc::SO_BUSY_POLL, words.busy_poll.map(i64::from));
    add(v4, "IP_TTL", IPPROTO_IP, libc::IP_TTL, hops);
    add(v6, "IPV6_UNICAST_HOPS", IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, hops);
    add(v4, "IP_TOS", IPPROTO_IP, libc::IP_TOS, tos);
    add(v6, "IPV6_TCLASS", IPPROTO_IPV6, libc::IPV6_TCLASS, tos);
    let forbid = |value: i32| words.dont_fragment.then_some(i64::from(value));
    add(v4, "IP_MTU_DISCOVER", IPPROTO_IP, libc::IP_MTU_DISCOVER, forbid(libc::IP_PMTUDISC_DO));
    add(v6, "IPV6_MTU_DISCOVER", IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, forbid(libc::IPV6_PMTUDISC_DO));
    add(tcp, "SO_KEEPALIVE", SOL_SOCKET, libc::SO_KEEPALIVE, alive.map(|_| 1));
    add(tcp, "TCP_KEEPIDLE", IPPROTO_TCP, libc::TCP_KEEPIDLE, alive);
    add(tcp, "TCP_KEEPINTVL", IPPROTO_TCP, libc::TCP_KEEPINTVL, alive);
    add(tcp, "TCP_NODELAY", IPPROTO_TCP, libc::TCP_NODELAY, switch(words.no_delay));
    add(tcp, "TCP_MAXSEG", IPPROTO_TCP, libc::TCP_MAXSEG, words.mss.map(i64::from));
    add(tcp, "TCP_USER_TIMEOUT", IPPROTO_TCP, libc::TCP_USER_TIMEOUT, words.user_timeout.map(i64::from));
    let mut name = |wanted: bool, name, level, option, value: &Option<String>| {
        if wanted && let Some(value) = value {
            all.push(Setting { name, level, option, value: Value::Name(value.clone()) });
        }
    };
    name(ip, "SO_BINDTODEVICE", SOL_SOCKET, libc::SO_BINDTODEVICE, &words.interface);
    name(tcp, "TCP_CONGESTION", IPPROTO_TCP, libc::TCP_CONGESTION, &words.congestion);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Family;

    fn names(kind: SocketKind, role: Role, words: &SocketOptions) -> Vec<&'static str> {
        settings(kind, role, words).iter().map(|setting| setting.name).collect()
    }

    #[test]
    fn each_family_gets_its_own_calls_and_a_dual_stack_listener_both() {
        let words = SocketOptions { ttl: Some(7), dscp: Some(46), ..SocketOptions::default() };
        let (v4, v6) = (SocketKind::Tcp(Family::V4), SocketKind::Tcp(Family::V6));
        assert_eq!(names(v4, Role::Client, &words), ["IP_RECVERR", "IP_TTL", "IP_TOS"]);
        assert_eq!(names(v6, Role::Client, &words), ["IPV6_RECVERR", "IPV6_UNICAST_HOPS", "IPV6_TCLASS"]);
        let dual = Role::Listener { dual_stack: Some(true) };
        assert_eq!(
            names(v6, dual, &words),
            ["SO_REUSEADDR", "IPV6_V6ONLY", "IP_TTL", "IPV6_UNICAST_HOPS", "IP_TOS", "IPV6_TCLASS"]
        );
    }

    #[test]
    fn a_unix_socket_gets_no_option_of_ip() {
        let words = SocketOptions { recv_buffer: Some(4096), ttl: Some(7), no_delay: true, ..SocketOptions::default() };
        assert_eq!(names(SocketKind::Unix(crate::args::UnixType::Stream), Role::Client, &words), ["SO_RCVBUF"]);
    }

    #[test]
    fn values_are_in_the_unit_of_the_kernel() {
        let words =
            SocketOptions { dscp: Some(46), mark: Some(u32::MAX), keepalive: Some(9), ..SocketOptions::default() };
        let settings = settings(SocketKind::Tcp(Family::V4), Role::Client, &words);
        let value = |name| settings.iter().find(|setting| setting.name == name).map(|setting| setting.value.clone());
        assert_eq!(value("IP_TOS"), Some(Value::Int(184)));
        assert_eq!(value("SO_MARK"), Some(Value::Int(-1)), "the bits of an unsigned mark");
        assert_eq!(value("SO_KEEPALIVE"), Some(Value::Int(1)));
        assert_eq!(value("TCP_KEEPIDLE"), Some(Value::Int(9)));
    }
}

//! Why it failed: step and errno, with what this machine can tell, become a hint.
//!
//! Only asked after a failure, never on a hot path; [`investigate`] on a thread that may block.

mod holder;
mod unix;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use nix::errno::Errno;

use self::holder::Holder;
use crate::address::Address;
use crate::error::{Error, ExitCode, Step};

/// What the silence of a connect usually means.
const SILENCE: &str =
    "a silent drop: a firewall on the way, a host that is down, or a server whose accept queue is full";

/// Finds out what this machine can tell of a failure, and what to try next. Blocks: it reads the
/// tables of sockets and processes.
#[must_use]
pub fn investigate(error: &Error) -> Option<String> {
    let found = match (error.step, error.errno, &error.local, &error.peer) {
        (Step::Bind, Some(Errno::EADDRINUSE), Some(Address::Inet(wanted)), _) => in_use(wanted, error.is_udp),
        (Step::Connect, Some(Errno::ECONNREFUSED), _, Some(Address::Inet(peer))) if peer.ip().is_loopback() => {
            elsewhere(peer.port())
        }
        (Step::Bind, Some(Errno::EADDRINUSE), Some(local), _) => unix::in_use(local),
        (Step::Connect, Some(errno), _, Some(peer)) => unix::unreached(errno, peer),
        _ => None,
    };
    found.or_else(|| hint(error))
}

/// Returns whether somebody is known to listen on a unix path, as it is written: it is looked up,
/// and who listens is not asked.
#[must_use]
pub fn listens(path: &Path) -> bool {
    holder::listens(path)
}

/// Returns what a failure usually means, and what to try next: cheap.
#[must_use]
pub fn hint(error: &Error) -> Option<String> {
    let Some(errno) = error.errno else {
        return match (error.step, error.exit_code()) {
            (Step::Connect, ExitCode::NoAnswer) => Some(SILENCE.to_owned()),
            (Step::Resolve, _) if ["EAI_AGAIN", "no answer"].iter().any(|word| error.message.contains(word)) => {
                Some("the name server does not answer: /etc/resolv.conf names it; an address needs none".to_owned())
            }
            (Step::Resolve, _) => Some("is it spelled right? `getent ahosts NAME` asks the same resolver".to_owned()),
            _ => None,
        };
    };
    let words = match (error.step, errno) {
        (Step::Bind, Errno::EADDRINUSE) if matches!(error.local, Some(Address::UnixPath(_))) => {
            "something stands at this path; only a socket that nobody listens on is replaced".to_owned()
        }
        (Step::Bind, Errno::EADDRINUSE) => {
            let protocol = if error.is_udp { 'u' } else { 't' };
            return Some(format!(
                "another socket has this address; `ss -{protocol}anp` shows which, port 0 takes any free one"
            ));
        }
        (Step::Bind, Errno::EACCES) => match error.local {
            Some(Address::UnixPath(_)) => "this user may not write to the folder of the path".to_owned(),
            _ => return Some(protected_port()),
        },
        (Step::Bind, Errno::EADDRNOTAVAIL) => {
            "this machine has no such address; `ip address` lists those it has".to_owned()
        }
        (Step::Socket | Step::Accept, Errno::EMFILE) => return Some(descriptors()),
        (Step::Socket | Step::Accept, Errno::ENFILE) => {
            "the machine is out of descriptors (fs.file-max), not only this process".to_owned()
        }
        (Step::Socket, Errno::EAFNOSUPPORT) => {
            "this kernel has no such family: it was left out or switched off".to_owned()
        }
        (Step::Socket, Errno::EPROTONOSUPPORT | Errno::ENOPROTOOPT) => {
            "this kernel has no such protocol, or it is switched off: MPTCP by net.mptcp.enabled".to_owned()
        }
        (Step::Setsockopt, Errno::EOPNOTSUPP | Errno::ENOPROTOOPT) => {
            "this kernel does not take the option on such a socket: --mptcp excludes some".to_owned()
        }
        (Step::Setsockopt, Errno::ENODEV) => "there is no such interface; `ip link` lists those there are".to_owned(),
        (Step::Setsockopt, Errno::EPERM) => {
            "this option needs the capability CAP_NET_ADMIN (CAP_NET_RAW for an interface): try sudo, or \
             `setcap cap_net_admin,cap_net_raw+ep` on the program"
                .to_owned()
        }
        (Step::Setsockopt, Errno::ENOENT) => {
            "this kernel does not have it; see net.ipv4.tcp_available_congestion_control".to_owned()
        }
        (Step::Connect, Errno::ECONNREFUSED) => match error.peer {
            Some(Address::Inet(_)) => {
                "the host answered that nobody listens there: is the server up, on this port and this address?"
                    .to_owned()
            }
            Some(Address::UnixAbstract(_)) => {
                "nobody listens on this abstract name with this type: is the server up?".to_owned()
            }
            _ => "the file is there, but nobody listens on it: is the server up?".to_owned(),
        },
        (Step::Connect, Errno::EPROTOTYPE) => {
            "the socket there is of another type; --type stream, dgram or seqpacket chooses one".to_owned()
        }
        (Step::Bind, Errno::ENOENT) => "the folder of the path does not exist".to_owned(),
        (Step::Bind | Step::Connect, Errno::ENOTDIR) => "a part of the path is no folder".to_owned(),
        (Step::Bind | Step::Connect, Errno::ELOOP) => "links of the path lead in a circle".to_owned(),
        (Step::Bind, Errno::EPERM) => "the group or the rights of the file may not be set by this user".to_owned(),
        (Step::Bind, Errno::EROFS) => "the path lies on a file system that is read-only".to_owned(),
        (Step::Send, Errno::EMSGSIZE) => {
            "the datagram or record is larger than the socket takes; --send-buffer makes room".to_owned()
        }
        (Step::Send, Errno::EAGAIN) => "the queue of the peer is full: it does not read".to_owned(),
        (Step::Connect, Errno::ENOENT) => "there is no socket at this path: is the server up?".to_owned(),
        (Step::Connect, Errno::ETIMEDOUT) => SILENCE.to_owned(),
        (Step::Connect, Errno::EAGAIN) => {
            "the accept queue of the server's socket is full: it is busy or hangs".to_owned()
        }
        (Step::Connect, Errno::ENETUNREACH) => {
            "this machine has no route to that address; `ip route get ADDRESS` shows what it would do".to_owned()
        }
        (Step::Connect, Errno::EHOSTUNREACH) => {
            "a router or the host's own network said that it cannot be reached, or nobody answered for it (ARP, ND)"
                .to_owned()
        }
        (Step::Connect | Step::Bind, Errno::EINVAL) if is_link_local(error) => return Some(missing_zone()),
        (Step::Connect, Errno::EINVAL) => {
            "a route of type blackhole leads there, or --source does not; `ip route get ADDRESS` asks the kernel"
                .to_owned()
        }
        (Step::Connect, Errno::EPERM | Errno::EACCES) => {
            "a local firewall, a route of type prohibit, or the rights of a unix socket's file forbid it".to_owned()
        }
        (Step::Connect, Errno::EADDRNOTAVAIL) => {
            "no local port is free for this peer, or the source address is not ours (net.ipv4.ip_local_port_range)"
                .to_owned()
        }
        (Step::Send, Errno::EPIPE) => "the peer has closed the connection and takes nothing any more".to_owned(),
        (Step::Recv | Step::Send, Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH)
            if error.conn.is_some() && matches!(error.peer, Some(Address::Inet(_))) =>
        {
            "the connection stood, then nothing was acknowledged for too long, and an ICMP error said why: the way was \
             lost, or a firewall rejects it now"
                .to_owned()
        }
        (Step::Recv | Step::Send, Errno::ETIMEDOUT) => {
            "the connection stood, then nothing was acknowledged for too long (--user-timeout, --keepalive, \
             net.ipv4.tcp_retries2): the peer is gone, or a silent drop on the way"
                .to_owned()
        }
        (Step::Recv | Step::Send, Errno::ECONNRESET) => {
            "the peer, or something on the way, ended the connection by a reset".to_owned()
        }
        // What a reset gives to whoever has the peer's end already (tcp_reset() in net/ipv4/tcp_input.c), or is late.
        (Step::Recv, Errno::EPIPE) | (Step::Shutdown, Errno::ENOTCONN) => {
            "the peer, or something on the way, has ended the connection by a reset before this: it was closed with \
             bytes unread, or while more were sent to it; did it want all that was sent?"
                .to_owned()
        }
        (Step::Write, Errno::ENOSPC) => "the disk is full".to_owned(),
        (Step::Write, Errno::EFBIG) => {
            "no file may grow so large: by the limit of this process (ulimit -f), or on this file system".to_owned()
        }
        _ => return None,
    };
    Some(words)
}

/// Returns whether a link-local IPv6 address is the subject (RFC 4291, 2.5.6).
fn is_link_local(error: &Error) -> bool {
    let ip = error.peer.as_ref().or(error.local.as_ref()).and_then(Address::ip);
    matches!(ip, Some(IpAddr::V6(v6)) if v6.is_unicast_link_local())
}

/// Says that a link-local address needs a zone, and which there are.
fn missing_zone() -> String {
    format!("a link-local address needs its zone, the interface to use: ADDRESS%INTERFACE ({})", zones())
}

/// Says what a zone is, and which there are.
#[must_use]
pub fn wrong_zone() -> String {
    format!("the zone of a link-local address is an interface of this machine ({})", zones())
}

/// Returns the interfaces that have an address of IPv6.
fn zones() -> String {
    let mut names: Vec<String> = nix::ifaddrs::getifaddrs()
        .into_iter()
        .flatten()
        .filter(|interface| interface.address.is_some_and(|address| address.as_sockaddr_in6().is_some()))
        .map(|interface| interface.interface_name)
        .collect();
    names.dedup();
    if names.is_empty() { "`ip link` lists them".to_owned() } else { names.join(", ") }
}

/// Says who has a port that we wanted.
fn in_use(wanted: &SocketAddr, is_udp: bool) -> Option<String> {
    let is_in_the_way = |holder: &&Holder| {
        let held = holder.local.ip().to_canonical();
        held == wanted.ip() || held.is_unspecified() || wanted.ip().is_unspecified()
    };
    let holders = if is_udp { holder::of_udp_port(wanted.port()) } else { holder::of_port(wanted.port()) };
    holders.iter().find(is_in_the_way).map(|holder| format!("the port is held by {holder}; port 0 takes any free one"))
}

/// Says where on this machine a port is open instead.
fn elsewhere(port: u16) -> Option<String> {
    let holders = holder::of_port(port);
    holders.first().map(|holder| format!("nobody listens at this address, but the same port has {holder}"))
}

fn protected_port() -> String {
    let lowest = lowest_port().map_or_else(|| "1024".to_owned(), |port| port.to_string());
    format!(
        "ports below {lowest} need the capability CAP_NET_BIND_SERVICE: take a higher port, try sudo, or lower \
         net.ipv4.ip_unprivileged_port_start"
    )
}

fn descriptors() -> String {
    use nix::sys::resource::{Resource, getrlimit};
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => {
            format!(
                "this process may have {soft} descriptors (at most {hard}); raise it with `ulimit -n` or prlimit(1)"
            )
        }
        Err(_) => "this process is out of descriptors; raise the limit with `ulimit -n` or prlimit(1)".to_owned(),
    }
}

/// Returns the lowest port that needs no privilege (net.ipv4.ip_unprivileged_port_start, ip(7)).
#[must_use]
pub fn lowest_port() -> Option<u16> {
    crate::sys::proc_number("/proc/sys/net/ipv4/ip_unprivileged_port_start")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_explained_is() {
        let peer = || Address::from(SocketAddr::from(([127, 0, 0, 1], 1)));
        let said = |error: Error| hint(&error).unwrap_or_default();
        let refused = |address| Error::of_call(Step::Connect, Errno::ECONNREFUSED, "x").with_peer(address);
        assert!(said(refused(peer())).contains("is the server up"));
        assert!(said(refused(Address::UnixAbstract(b"x".to_vec()))).contains("abstract name"));
        assert!(said(refused(Address::UnixPath("/x".into()))).contains("the file is there"));
        assert!(said(Error::of_kind(Step::Connect, ExitCode::NoAnswer, String::new())).contains("silent drop"));
        assert!(said(Error::of_kind(Step::Resolve, ExitCode::Resolve, String::new())).contains("spelled"));
        assert!(said(Error::of_call(Step::Bind, Errno::EACCES, "x")).contains("CAP_NET_BIND_SERVICE"));
        for (step, errno) in [(Step::Recv, Errno::EPIPE), (Step::Shutdown, Errno::ENOTCONN)] {
            assert!(said(Error::of_call(step, errno, "x")).contains("by a reset"), "{step} {errno}");
        }
        assert_eq!(hint(&Error::of_call(Step::Recv, Errno::EIO, "x")), None);
    }

    #[test]
    fn a_link_local_address_is_told_that_it_lacks_its_zone() {
        let peer = Address::from("[fe80::1]:80".parse::<SocketAddr>().unwrap());
        let error = Error::of_call(Step::Connect, Errno::EINVAL, "x").with_peer(peer);
        assert!(hint(&error).unwrap().contains("ADDRESS%INTERFACE"));
    }
}

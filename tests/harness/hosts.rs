//! Several hosts: network namespaces inside one of their own, joined by cables (veth(4)).

use std::ffi::OsString;

use super::net::require;
use super::peers::{Peer, python};
use super::process::Stdin;
use super::udp;

/// Switches the search for others with the same address off (RFC 4862, 5.4).
const NO_DAD: &str = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad";

/// Hosts and the cables between them, gone when dropped.
pub(crate) struct Hosts {
    holder: Peer,
}

impl Hosts {
    /// Makes hosts by these names, then runs `setup` with the words `on NAME COMMAND…` in it.
    pub(crate) fn new(names: &[&str], setup: &str) -> Self {
        require(&["unshare", "ip", "nsenter"]);
        // Addresses are there at once: nobody else can have them.
        let made: String = names
            .iter()
            .map(|name| format!("ip netns add {name}; on {name} sh -c '{NO_DAD}'; on {name} ip link set lo up\n"))
            .collect();
        // A cable takes packets from when the kernel has seen that both its ends are up: it tells nobody.
        let seen: String = names
            .iter()
            .map(|name| {
                format!("while on {name} ip -o link | grep -v ' lo:' | grep -qv 'state UP'; do sleep 0.01; done\n")
            })
            .collect();
        let script = format!(
            "on() {{ name=$1; shift; nsenter --net=/run/netns/$name \"$@\"; }}; set -e; mount -t tmpfs none /run\n\
             {made}{setup}\n{seen}echo ready; exec cat"
        );
        let holder = Peer::program("unshare", &["-Urnm", "sh", "-c", &script], Stdin::Piped, None);
        holder.wait_for("ready");
        Self { holder }
    }

    /// Two hosts `a` and `b` on one cable: 10.0.0.1 and 10.0.0.2, 2001:db8::1 and 2001:db8::2, by the
    /// interface `cable`; then runs `setup`.
    pub(crate) fn two(setup: &str) -> Self {
        let cable = "ip link add cable netns a type veth peer name cable netns b
             on a ip addr add 10.0.0.1/24 brd + dev cable; on a ip addr add 2001:db8::1/64 dev cable nodad
             on b ip addr add 10.0.0.2/24 brd + dev cable; on b ip addr add 2001:db8::2/64 dev cable nodad
             on a ip link set cable up; on b ip link set cable up";
        Self::new(&["a", "b"], &format!("{cable}\n{setup}"))
    }

    /// Two hosts `a` and `b` with a router `r` between them, whose way on to `b` has this MTU:
    /// 10.0.0.1 and 10.0.1.2, 2001:db8::1 and 2001:db8:1::2; the router is 10.0.0.254 and
    /// 2001:db8::fe to `a`.
    pub(crate) fn routed(mtu: u32) -> Self {
        let setup = format!(
            "ip link add to-r netns a type veth peer name to-a netns r
             ip link add to-b netns r type veth peer name to-r netns b
             on a ip addr add 10.0.0.1/24 dev to-r; on a ip addr add 2001:db8::1/64 dev to-r nodad
             on r ip addr add 10.0.0.254/24 dev to-a; on r ip addr add 2001:db8::fe/64 dev to-a nodad
             on r ip addr add 10.0.1.254/24 dev to-b; on r ip addr add 2001:db8:1::fe/64 dev to-b nodad
             on b ip addr add 10.0.1.2/24 dev to-r; on b ip addr add 2001:db8:1::2/64 dev to-r nodad
             on a ip link set to-r up; on r ip link set to-a up; on r ip link set to-b mtu {mtu} up
             on b ip link set to-r mtu {mtu} up
             on r sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
             on a ip route add default via 10.0.0.254; on a ip -6 route add default via 2001:db8::fe
             on b ip route add default via 10.0.1.254; on b ip -6 route add default via 2001:db8:1::fe"
        );
        Self::new(&["a", "r", "b"], &setup)
    }

    /// Returns the words that run a command on a host.
    pub(crate) fn on(&self, name: &str) -> Vec<OsString> {
        let words =
            format!("nsenter -t {} -U -m --preserve-credentials nsenter --net=/run/netns/{name}", self.holder.pid());
        words.split(' ').map(OsString::from).collect()
    }

    /// Starts a Python script on a host.
    pub(crate) fn python(&self, name: &str, script: &str) -> Peer {
        let mut words: Vec<String> =
            self.on(name).into_iter().map(|word| word.into_string().expect("words are text")).collect();
        words.extend([python(), "-I", "-S", "-c"].map(str::to_owned));
        words.push(udp::script(script));
        let rest: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        Peer::program(&words[0], &rest, Stdin::Piped, None)
    }
}

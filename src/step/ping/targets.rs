//! The targets of a pinger: addresses by number, those that lie in a row as one block.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::SockAddr;

use crate::address::Address;
use crate::socket;

/// Addresses, each with a number from 0. A network costs as much as one address.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    blocks: Vec<Block>,
    len: u32,
    /// 0 where probes have none.
    port: u16,
    /// The names that were looked up, by the number of the target.
    names: HashMap<u32, String>,
}

/// Addresses in a row.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// The number of the first.
    first: u32,
    ip: IpAddr,
    /// The index of the interface, of a link-local address.
    interface: u32,
}

impl Targets {
    /// Makes an empty list of targets that are probed at a port; 0 where there is none.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self { port, ..Self::default() }
    }

    /// Adds one address. One that stands for this host is its loopback address (RFC 1122, 3.2.1.3).
    pub fn push(&mut self, address: &Address) {
        let Address::Ip(ip, interface) = address.without_port() else { return };
        let ip = match ip {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        self.blocks.push(Block { first: self.len, ip, interface });
        self.len += 1;
    }

    /// Adds an address of a name that was looked up.
    pub fn push_named(&mut self, address: &Address, name: &str) {
        self.names.insert(self.len, name.to_owned());
        self.push(address);
    }

    /// Returns the names that were looked up, each with the number of its target.
    pub(super) fn names(&self) -> impl Iterator<Item = (u32, &str)> {
        self.names.iter().map(|(number, name)| (*number, name.as_str()))
    }

    /// Adds so many addresses from one on.
    pub fn push_row(&mut self, ip: IpAddr, count: u32) {
        if count > 0 && ip.is_unspecified() {
            self.push(&Address::Ip(ip, 0));
            let next = match ip {
                IpAddr::V4(_) => Ipv4Addr::from(1).into(),
                IpAddr::V6(_) => Ipv6Addr::from(1).into(),
            };
            return self.push_row(next, count - 1);
        }
        if count > 0 {
            self.blocks.push(Block { first: self.len, ip, interface: 0 });
            self.len += count;
        }
    }

    /// Returns how many there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns whether any is of a family.
    pub(super) fn has(&self, is_v6: bool) -> bool {
        self.blocks.iter().any(|block| block.ip.is_ipv6() == is_v6)
    }

    /// Returns the address with a number, and its interface.
    pub(super) fn ip(&self, number: u32) -> (IpAddr, u32) {
        let at = self.blocks.partition_point(|block| block.first <= number).saturating_sub(1);
        let Some(block) = self.blocks.get(at) else { return (Ipv4Addr::UNSPECIFIED.into(), 0) };
        let offset = number - block.first;
        let ip = match block.ip {
            IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).wrapping_add(offset)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).wrapping_add(u128::from(offset))).into(),
        };
        (ip, block.interface)
    }

    /// Returns the target with a number as the events show it.
    #[must_use]
    pub fn address(&self, number: u32) -> Address {
        let (ip, interface) = self.ip(number);
        match self.port {
            0 => Address::Ip(ip, interface),
            port => Address::from(socket_address(ip, interface, port)),
        }
    }

    /// Returns all addresses.
    pub(super) fn addresses(&self) -> Addresses {
        let next = self.blocks.iter().skip(1).map(|block| block.first).chain([self.len]);
        let mut rows: Vec<(IpAddr, IpAddr)> =
            self.blocks.iter().zip(next).map(|(block, next)| (block.ip, self.ip(next.saturating_sub(1)).0)).collect();
        rows.sort_unstable();
        // Those that meet or overlap are one.
        rows.dedup_by(|row, before| {
            let is_in = row.0 <= before.1;
            if is_in {
                before.1 = before.1.max(row.1);
            }
            is_in
        });
        Addresses { rows }
    }

    /// Returns where a probe to the target goes, at a port.
    pub(super) fn sockaddr(&self, number: u32, port: u16) -> SockAddr {
        let (ip, interface) = self.ip(number);
        SockAddr::from(socket_address(ip, interface, port))
    }
}

/// The addresses of all targets: rows from one to another, in order, and none in two of them.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    rows: Vec<(IpAddr, IpAddr)>,
}

impl Addresses {
    /// Returns whether an address is among them.
    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        let behind = self.rows.partition_point(|(first, _)| *first <= ip);
        behind.checked_sub(1).and_then(|at| self.rows.get(at)).is_some_and(|(_, last)| ip <= *last)
    }

    /// Returns whether a group is among them.
    pub(super) fn has_multicast(&self) -> bool {
        self.rows.iter().any(|(first, last)| first.is_multicast() || last.is_multicast())
    }
}

fn socket_address(ip: IpAddr, interface: u32, port: u16) -> SocketAddr {
    match ip {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), port),
        IpAddr::V6(v6) => std::net::SocketAddrV6::new(v6, port, 0, interface).into(),
    }
}

/// Returns the address that a packet came from, as the events show it.
pub(super) fn shown(from: &SockAddr, port: u16) -> Address {
    let address = socket::address(from);
    if port == 0 { address.without_port() } else { address.with_port(port) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_number() {
        let mut targets = Targets::new(0);
        targets.push(&Address::Ip("10.0.0.1".parse().unwrap(), 0));
        targets.push_row("10.1.0.254".parse().unwrap(), 4);
        targets.push_row("fd00::fffe".parse().unwrap(), 3);
        targets.push(&Address::Ip("fe80::1".parse().unwrap(), 2));
        targets.push(&Address::Ip("0.0.0.0".parse().unwrap(), 0));
        let all: Vec<String> = (0..targets.len()).map(|number| targets.address(number).to_string()).collect();
        assert_eq!(
            all,
            [
                "10.0.0.1",
                "10.1.0.254",
                "10.1.0.255",
                "10.1.1.0",
                "10.1.1.1",
                "fd00::fffe",
                "fd00::ffff",
                "fd00::1:0",
                "fe80::1%2",
                "127.0.0.1"
            ]
        );
    }

    #[test]
    fn each_address_is_found_and_no_other() {
        let mut targets = Targets::new(0);
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        targets.push(&Address::Ip(ip("10.9.0.9"), 0));
        targets.push_row(ip("10.1.0.254"), 4);
        targets.push_row(ip("10.1.0.255"), 1);
        targets.push_row(ip("10.1.1.0"), 3);
        targets.push_row(ip("fd00::fffe"), 3);
        let all = targets.addresses();
        for number in 0..targets.len() {
            assert!(all.contains(targets.ip(number).0), "{number}");
        }
        for other in ["10.1.0.253", "10.1.1.3", "10.9.0.8", "10.9.0.10", "::", "fd00::fffd", "fd00::1:1", "0.0.0.0"] {
            assert!(!all.contains(ip(other)), "{other}");
        }
        assert!(!Targets::new(0).addresses().contains(ip("0.0.0.0")));
        assert!(!all.has_multicast());
        targets.push_row(ip("223.255.255.255"), 2);
        assert!(targets.addresses().has_multicast());
    }

    #[test]
    fn a_port_is_shown_where_there_is_one() {
        let mut targets = Targets::new(443);
        targets.push(&Address::Ip("fd00::1".parse().unwrap(), 0));
        assert_eq!(targets.address(0).to_string(), "[fd00::1]:443");
    }
}

//! What routers add to an ICMP error behind its quote: the extension structure of RFC 4884, with
//! the MPLS labels of RFC 4950 and the interfaces of RFC 5837.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;

/// The only version of the structure (RFC 4884, 7).
const VERSION: u8 = 2;

/// Octets of the header of the structure, and of that of an object.
const HEADER: usize = 4;

/// Octets that a quote has at least where a structure follows (RFC 4884, 3); where a router knows
/// no length field, exactly so many (5.4).
const QUOTE: usize = 128;

/// One fact that a router adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// The MPLS label stack that the packet came with (RFC 4950), its top first.
    Mpls(Vec<Label>),
    /// An interface of the router (RFC 5837); what it does not tell is `None`.
    Interface {
        /// What the interface was to the packet.
        role: Role,
        /// Its number in the router, its ifIndex.
        index: Option<u32>,
        /// Its address.
        address: Option<IpAddr>,
        /// Its name as the router gives it: text from the network.
        name: Option<String>,
        /// Its MTU.
        mtu: Option<u32>,
    },
    /// An object that is none of these, or is not whole.
    Other {
        /// Its class (IANA, "ICMP Extension Object Classes").
        class: u8,
        /// Its kind in that class, its C-Type.
        kind: u8,
        /// What it says.
        data: Vec<u8>,
    },
}

/// An entry of an MPLS label stack (RFC 3032, 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The label, of 20 bits.
    pub label: u32,
    /// The traffic class, of 3 bits (RFC 5462).
    pub class: u8,
    /// Whether it is the last of the stack.
    pub is_bottom: bool,
    /// The TTL.
    pub ttl: u8,
}

/// What an interface was to the packet that the error is about (RFC 5837, 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It came in there.
    Incoming,
    /// It came in there: the part of a bundle below IP.
    IncomingPart,
    /// It would have gone out there.
    Outgoing,
    /// The next hop that it would have gone to.
    NextHop,
}

/// The objects of an error, in their order; none where it has no structure that is right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects<'a> {
    rest: &'a [u8],
}

impl Iterator for Objects<'_> {
    type Item = Object;

    fn next(&mut self) -> Option<Object> {
        let ([high, low, class, kind], _) = self.rest.split_first_chunk::<HEADER>()?;
        let (object, rest) = self.rest.split_at_checked(u16::from_be_bytes([*high, *low]).into())?;
        // A length that is less than its header's would never end.
        let data = object.get(HEADER..)?;
        self.rest = rest;
        Some(Object::read(*class, *kind, data))
    }
}

impl Object {
    /// Reads what an object of a class and kind says.
    fn read(class: u8, kind: u8, data: &[u8]) -> Self {
        let known = match (class, kind) {
            (1, 1) => read_labels(data),
            (2, _) => read_interface(kind, data),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other { class, kind, data: data.to_vec() })
    }
}

/// Reads a label stack; `None` where it is empty or an entry is not whole.
fn read_labels(data: &[u8]) -> Option<Object> {
    let (entries, []) = data.as_chunks::<4>() else { return None };
    let label = |entry: &[u8; 4]| {
        let bits = u32::from_be_bytes(*entry);
        Label { label: bits >> 12, class: (bits >> 9 & 0b111) as u8, is_bottom: bits & 0x100 != 0, ttl: bits as u8 }
    };
    (!entries.is_empty()).then(|| Object::Mpls(entries.iter().map(label).collect()))
}

/// Reads an interface, whose kind says what is told of it (RFC 5837, 4.1); `None` where that is not
/// there.
fn read_interface(kind: u8, mut data: &[u8]) -> Option<Object> {
    let role = match kind >> 6 {
        0 => Role::Incoming,
        1 => Role::IncomingPart,
        2 => Role::Outgoing,
        _ => Role::NextHop,
    };
    let has = |bit: u8| kind & bit != 0;
    let index = if has(0x08) { Some(u32::from_be_bytes(take(&mut data)?)) } else { None };
    let address = if has(0x04) { Some(take_address(&mut data)?) } else { None };
    let name = if has(0x02) { Some(take_name(&mut data)?) } else { None };
    let mtu = if has(0x01) { Some(u32::from_be_bytes(take(&mut data)?)) } else { None };
    Some(Object::Interface { role, index, address, name, mtu })
}

/// Takes so many octets from the beginning.
fn take<const N: usize>(data: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = data.split_first_chunk()?;
    *data = rest;
    Some(*taken)
}

/// Takes an address with its family (RFC 5837, 4.2; IANA, "Address Family Numbers").
fn take_address(data: &mut &[u8]) -> Option<IpAddr> {
    let [high, low, _, _] = take(data)?;
    match u16::from_be_bytes([high, low]) {
        1 => Some(Ipv4Addr::from(take(data)?).into()),
        2 => Some(Ipv6Addr::from(take::<16>(data)?).into()),
        _ => None,
    }
}

/// Takes a name with its length, which counts itself (RFC 5837, 4.3); what fills it up is no part
/// of it.
fn take_name(data: &mut &[u8]) -> Option<String> {
    let length = usize::from(*data.first()?);
    let (name, rest) = data.split_at_checked(length)?;
    let name = String::from_utf8_lossy(name.get(1..)?).trim_end_matches('\0').to_owned();
    *data = rest;
    Some(name)
}

/// Parts what is behind the header of an error into the quote and the objects. The length is that
/// of the quote as the header tells it, in octets; 0 where it does not.
pub(super) fn part(body: &[u8], length: usize) -> (&[u8], Objects<'_>) {
    let at = if length == 0 { QUOTE } else { length };
    let none = Objects::default();
    let Some((quote, behind)) = body.split_at_checked(at) else { return (body, none) };
    match open(behind, length == 0) {
        Some(objects) => (quote, objects),
        // Of another version or damaged, but said to be there.
        None if length >= QUOTE => (quote, none),
        None => (body, none),
    }
}

/// Opens a structure; `None` where it is of another version, or its checksum is wrong. Where
/// nothing says that it is there it could be more of the quote, so its checksum has to be right,
/// and not only not wrong because none was reckoned (RFC 4884, 5.5).
fn open(structure: &[u8], is_guessed: bool) -> Option<Objects<'_>> {
    let ([first, _, high, low], rest) = structure.split_first_chunk::<HEADER>()?;
    let has_checksum = [*high, *low] != [0, 0];
    let is_right = if has_checksum { checksum::is_right(structure) } else { !is_guessed };
    (first >> 4 == VERSION && is_right).then_some(Objects { rest })
}

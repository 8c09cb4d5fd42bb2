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

impl Objects<'_> {
    /// Returns the interface that the packet came in by, else the first that is told: its name, else its
    /// address, else its number.
    #[must_use]
    pub fn interface(&self) -> Option<String> {
        let mut found = None;
        for object in self.clone() {
            let Object::Interface { role, index, address, name } = object else { continue };
            let told = name.or_else(|| Some(address?.to_string())).or_else(|| Some(index?.to_string()));
            if role == Role::Incoming && told.is_some() {
                return told;
            }
            found = found.or(told);
        }
        found
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
        Label { label: bits >> 12, class: (bits >> 9 & 0b111) as u8, ttl: bits as u8 }
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
    // Its MTU, which nobody asks for, ends the object.
    if has(0x01) {
        let _mtu: [u8; 4] = take(&mut data)?;
    }
    Some(Object::Interface { role, index, address, name })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::reckoned;

    /// The object of RFC 4950 that two labels make: 24015 with TTL 1, 16 at the bottom with TTL 2.
    const LABELS: [u8; 12] = [0, 12, 1, 1, 0x05, 0xdc, 0xf0, 0x01, 0x00, 0x01, 0x0b, 0x02];

    /// An incoming interface with all that can be told (RFC 5837, 4.1): 7, 192.0.2.9, "eth0", 1500.
    const INTERFACE: [u8; 28] = [
        0, 28, 2, 0x0f, 0, 0, 0, 7, // length, class, kind, index
        0, 1, 0, 0, 192, 0, 2, 9, // address
        8, b'e', b't', b'h', b'0', 0, 0, 0, // name
        0, 0, 0x05, 0xdc, // MTU
    ];

    /// Makes a structure with its checksum.
    fn structure(objects: &[&[u8]]) -> Vec<u8> {
        let mut octets = [&[0x20, 0, 0, 0][..], &objects.concat()].concat();
        let checksum = reckoned::checksum(&[&octets]);
        octets[2..4].copy_from_slice(&checksum.to_be_bytes());
        octets
    }

    /// Makes a quote of that length with a structure behind it.
    fn body(quote: usize, structure: &[u8]) -> Vec<u8> {
        [&vec![0x45; quote][..], structure].concat()
    }

    /// Returns the objects of a structure behind a quote of 128 octets, as told by its length.
    fn told(objects: &[&[u8]]) -> Vec<Object> {
        part(&body(128, &structure(objects)), 128).1.collect()
    }

    fn labels() -> Object {
        Object::Mpls(vec![Label { label: 24015, class: 0, ttl: 1 }, Label { label: 16, class: 5, ttl: 2 }])
    }

    fn interface() -> Object {
        Object::Interface {
            role: Role::Incoming,
            index: Some(7),
            address: Some(Ipv4Addr::new(192, 0, 2, 9).into()),
            name: Some("eth0".to_owned()),
        }
    }

    #[test]
    fn objects_are_read_in_their_order() {
        let other = [0, 6, 9, 3, 0xab, 0xcd];
        let expected = vec![labels(), interface(), Object::Other { class: 9, kind: 3, data: vec![0xab, 0xcd] }];
        assert_eq!(told(&[&LABELS, &INTERFACE, &other]), expected);
        assert_eq!(told(&[]), []);
    }

    #[test]
    fn an_interface_tells_what_its_kind_says() {
        let none = |role| Object::Interface { role, index: None, address: None, name: None };
        assert_eq!(told(&[&[0, 4, 2, 0x00]]), [none(Role::Incoming)]);
        assert_eq!(told(&[&[0, 4, 2, 0x40]]), [none(Role::IncomingPart)]);
        assert_eq!(told(&[&[0, 4, 2, 0x80]]), [none(Role::Outgoing)]);
        assert_eq!(told(&[&[0, 4, 2, 0xc0]]), [none(Role::NextHop)]);

        let mut octets = vec![0, 24, 2, 0xc4, 0, 2, 0, 0];
        octets.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        let expected = Object::Interface {
            role: Role::NextHop,
            index: None,
            address: Some(Ipv6Addr::LOCALHOST.into()),
            name: None,
        };
        assert_eq!(told(&[&octets]), [expected]);
    }

    #[test]
    fn the_interface_that_a_packet_came_in_by_is_preferred() {
        let of = |objects: &[&[u8]]| part(&body(128, &structure(objects)), 128).1.interface();
        let numbered = |kind: u8, index: u8| [0, 8, 2, kind | 0x08, 0, 0, 0, index];
        let [outgoing, nameless] = [numbered(0x80, 3), [0, 4, 2, 0x00].repeat(2).try_into().unwrap()];
        assert_eq!(of(&[&outgoing, &INTERFACE, &numbered(0xc0, 4)]).as_deref(), Some("eth0"));
        assert_eq!(of(&[&LABELS, &outgoing, &numbered(0xc0, 4)]).as_deref(), Some("3"));
        assert_eq!(of(&[&nameless, &outgoing]).as_deref(), Some("3"));
        assert_eq!(of(&[&LABELS]), None);
    }

    #[test]
    fn an_object_that_is_not_whole_is_shown_as_it_is() {
        let wrong: [&[u8]; 8] = [
            &[0, 4, 1, 1],                               // no label
            &[0, 7, 1, 1, 1, 2, 3],                      // three octets of one
            &[0, 7, 2, 0x08, 0, 0, 7],                   // three octets of an index
            &[0, 12, 2, 0x04, 0, 3, 0, 0, 192, 0, 2, 9], // a family that it does not have
            &[0, 12, 2, 0x04, 0, 2, 0, 0, 192, 0, 2, 9], // four octets of IPv6
            &[0, 8, 2, 0x02, 0, 0, 0, 0],                // a name shorter than its length
            &[0, 8, 2, 0x02, 9, b'a', b'b', b'c'],       // longer than the object
            &[0, 4, 2, 0x01],                            // no MTU
        ];
        for octets in wrong {
            let expected = Object::Other { class: octets[2], kind: octets[3], data: octets[4..].to_vec() };
            assert_eq!(told(&[octets, &LABELS]), [expected, labels()], "{octets:?}");
        }
    }

    #[test]
    fn a_length_that_lies_ends_the_objects() {
        for lie in [[0, 0], [0, 3], [0, 13], [0xff, 0xff]] {
            let mut last = LABELS;
            last[..2].copy_from_slice(&lie);
            assert_eq!(told(&[&LABELS, &last]), [labels()], "{lie:?}");
        }
        assert_eq!(told(&[&LABELS, &[0, 4, 1]]), [labels()]);
    }

    #[test]
    fn the_quote_ends_where_its_length_says() {
        for length in [128, 132, 576] {
            let body = body(length, &structure(&[&LABELS]));
            let (quote, objects) = part(&body, length);
            assert_eq!(quote.len(), length);
            assert_eq!(objects.collect::<Vec<_>>(), [labels()]);
        }
        // A router that does not fill up its quote.
        let short = body(28, &structure(&[&LABELS]));
        assert_eq!(part(&short, 28).0.len(), 28);
        assert_eq!(part(&short, 28).1.count(), 1);
    }

    #[test]
    fn a_length_that_is_not_there_is_no_length() {
        let body = body(128, &[]);
        assert_eq!(part(&body, 0), (&body[..], Objects::default()));
        assert_eq!(part(&body, 132), (&body[..], Objects::default()));
        // What was reserved once need not be 0: only where a structure follows.
        assert_eq!(part(&body, 28), (&body[..], Objects::default()));
        assert_eq!(part(&[], 4), (&[][..], Objects::default()));
    }

    #[test]
    fn a_structure_that_is_not_right_has_no_objects() {
        let right = body(128, &structure(&[&LABELS]));
        // Its version, its checksum, and an object.
        for (at, wrong) in [(128, 0x10), (131, 1), (140, 9)] {
            let mut body = right.clone();
            body[at] ^= wrong;
            assert_eq!(part(&body, 128), (&body[..128], Objects::default()), "{at}");
            assert_eq!(part(&body, 0), (&body[..], Objects::default()), "{at}");
        }
        assert_eq!(part(&right[..130], 128), (&right[..128], Objects::default()));
    }

    #[test]
    fn without_a_length_it_begins_behind_128_octets() {
        let mut body = body(128, &structure(&[&LABELS]));
        assert_eq!(part(&body, 0).0.len(), 128);
        assert_eq!(part(&body, 0).1.collect::<Vec<_>>(), [labels()]);
        // Without a checksum only where a length says that it is there.
        body[130..132].fill(0);
        assert_eq!(part(&body, 0), (&body[..], Objects::default()));
        assert_eq!(part(&body, 128).1.collect::<Vec<_>>(), [labels()]);
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0..2048_usize) {
            let (quote, objects) = part(&bytes, length);
            prop_assert!(quote.len() <= bytes.len());
            prop_assert!(objects.count() <= bytes.len() / HEADER);
        }

        #[test]
        fn no_objects_make_it_panic(
            parts in prop::collection::vec((0..40_u8, 0..4_u8, any::<u8>(), prop::collection::vec(0..12_u8, 0..36)), 0..6),
        ) {
            let octets: Vec<u8> = parts
                .into_iter()
                .flat_map(|(length, class, kind, data)| [vec![0, length, class, kind], data].concat())
                .collect();
            prop_assert!(told(&[&octets]).len() <= octets.len() / HEADER);
        }
    }
}

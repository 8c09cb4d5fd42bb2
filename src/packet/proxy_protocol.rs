//! The PROXY protocol, versions 1 and 2 ("The PROXY protocol", haproxy's doc/proxy-protocol.txt): what
//! a proxy sends first, so that the server knows whose connection it passes on.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

use super::dialogue::{Gathered, ip, quoted_up_to};
use crate::address::Address;

/// What version 1 begins with.
const WORD: &[u8] = b"PROXY ";

/// What version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, its end included.
const LONGEST_LINE: usize = 107;

/// The part of version 2 that says how long the rest is.
const FIXED: usize = 16;

/// Which version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl Version {
    /// Returns the number that events use.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// That of the addresses in the header.
    Proxy,
    /// The proxy's own, a health check say.
    Local,
    /// Somebody's, of whom nothing is said.
    Unknown,
}

impl Command {
    /// Returns the name that events use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Local => "local",
            Self::Unknown => "unknown",
        }
    }
}

/// A header, read or to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its version.
    pub version: Version,
    /// Whose connection it is.
    pub command: Command,
    /// Who connected to the proxy, and to which address of it.
    pub ends: Option<(Address, Address)>,
    /// What version 2 says besides.
    pub tlvs: Vec<Tlv>,
    /// How many bytes it has.
    pub bytes: usize,
}

/// Something that version 2 says besides (2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlv {
    /// Its type.
    pub kind: u8,
    /// The name of its type, where the specification has one.
    pub name: Option<&'static str>,
    /// Its value; of `ssl` what its own parts do not say.
    pub value: Vec<u8>,
}

/// Makes a header of the two ends of a connection: who is said to have connected, and to whom.
/// Where they are not of one family, nothing is said of either.
#[must_use]
pub fn write(version: Version, peer: &Address, local: &Address) -> (Header, Vec<u8>) {
    let ends = match (peer, local) {
        (Address::Inet(from), Address::Inet(to)) if from.is_ipv4() == to.is_ipv4() => Some((from, to)),
        _ => None,
    };
    let bytes = match (version, ends) {
        (Version::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (Version::V1, Some((from, to))) => {
            let family = if from.is_ipv4() { 4 } else { 6 };
            let (from_ip, to_ip, from_port, to_port) = (from.ip(), to.ip(), from.port(), to.port());
            format!("PROXY TCP{family} {from_ip} {to_ip} {from_port} {to_port}\r\n").into_bytes()
        }
        (Version::V2, ends) => {
            let (family, block) = match ends {
                None => (0, Vec::new()),
                Some((from, to)) => (if from.is_ipv4() { 0x11 } else { 0x21 }, block(from, to)),
            };
            let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
            [SIGNATURE, &[0x21, family], &length.to_be_bytes(), &block].concat()
        }
    };
    let command = if ends.is_some() { Command::Proxy } else { Command::Unknown };
    let ends = ends.map(|_| (peer.clone(), local.clone()));
    (Header { version, command, ends, tlvs: Vec::new(), bytes: bytes.len() }, bytes)
}

/// Returns the addresses of version 2, then the ports.
fn block(from: &SocketAddr, to: &SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [from, to] {
        match address.ip() {
            IpAddr::V4(v4) => bytes.extend(v4.octets()),
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    bytes
}

/// What has come of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More must come.
    More,
    /// It is whole: what comes next is the connection's.
    Whole(Header),
    /// It is no header, or a broken one; in words.
    Broken(String),
}

/// Reads the header that comes first.
#[derive(Debug, Default)]
pub struct Reader(Gathered);

impl Reader {
    /// Takes what has come, or the begin of it: how many bytes are the header's.
    pub fn take(&mut self, bytes: &[u8]) -> (usize, Progress) {
        let mut taken = 0;
        loop {
            let have = self.0.0.len();
            let whole = match self.whole() {
                Ok(whole) if whole == have => return (taken, self.read()),
                Ok(whole) => whole,
                Err(broken) => {
                    // What came with it shows what it is.
                    let came = [&self.0.0, &bytes[taken..]].concat();
                    let words = format!("{broken}: {}", quoted_up_to(LONGEST_LINE, &came));
                    return (taken, Progress::Broken(words));
                }
            };
            match self.0.up_to(whole, &bytes[taken..]) {
                0 => return (taken, Progress::More),
                more => taken += more,
            }
        }
    }

    /// Returns what has come, in quotes; `None` where nothing has.
    #[must_use]
    pub fn came(&self) -> Option<String> {
        (!self.0.0.is_empty()).then(|| quoted_up_to(LONGEST_LINE, &self.0.0))
    }

    /// Returns how many bytes there must be before more can be said: one more of a line.
    fn whole(&self) -> Result<usize, String> {
        let bytes = &self.0.0;
        let is_begin = |of: &[u8]| of.starts_with(&bytes[..bytes.len().min(of.len())]);
        if bytes.is_empty() {
            return Ok(1);
        }
        if is_begin(WORD) {
            if bytes.ends_with(b"\r\n") {
                return Ok(bytes.len());
            }
            if bytes.len() >= LONGEST_LINE {
                return Err(format!("its line has no end within {LONGEST_LINE} bytes"));
            }
            return Ok(bytes.len() + 1);
        }
        if is_begin(SIGNATURE) {
            if bytes.len() < FIXED {
                // No byte is waited for behind one that is wrong.
                return Ok((bytes.len() + 1).max(if bytes.len() < SIGNATURE.len() { 0 } else { FIXED }));
            }
            return Ok(FIXED + usize::from(u16::from_be_bytes([bytes[14], bytes[15]])));
        }
        Err("what came is no header of the PROXY protocol".to_owned())
    }

    fn read(&self) -> Progress {
        let bytes = &self.0.0;
        let header = if bytes.starts_with(WORD) { read_line(bytes) } else { read_binary(bytes) };
        match header {
            Ok(header) => Progress::Whole(header),
            Err(broken) => Progress::Broken(broken),
        }
    }
}

/// Reads a whole line (2.1).
fn read_line(line: &[u8]) -> Result<Header, String> {
    let broken = || format!("its line is not as the PROXY protocol has it: {}", quoted_up_to(LONGEST_LINE, line));
    let text = std::str::from_utf8(&line[WORD.len()..line.len() - 2]).map_err(|_| broken())?;
    let header =
        |command, ends| Ok(Header { version: Version::V1, command, ends, tlvs: Vec::new(), bytes: line.len() });
    // What follows is to be ignored.
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return header(Command::Unknown, None);
    }
    let words: Vec<&str> = text.split(' ').collect();
    let [family, from, to, from_port, to_port] = words[..] else { return Err(broken()) };
    let address = |word: &str| match family {
        "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        _ => None,
    };
    // No sign, and no zero in front.
    let port = |word: &str| word.parse::<u16>().ok().filter(|port| port.to_string() == word);
    let end = |ip, number| Some(SocketAddr::new(address(ip)?, port(number)?));
    let (Some(from), Some(to)) = (end(from, from_port), end(to, to_port)) else { return Err(broken()) };
    header(Command::Proxy, Some((from.into(), to.into())))
}

/// Reads a whole header of version 2 (2.2).
fn read_binary(bytes: &[u8]) -> Result<Header, String> {
    let (fixed, rest) = bytes.split_at(FIXED);
    let command = match fixed[12] {
        0x20 => Command::Local,
        0x21 => Command::Proxy,
        other if other >> 4 != 2 => return Err(format!("its version is {}, and there are 1 and 2", other >> 4)),
        other => return Err(format!("its command is {}, and there are 0 (LOCAL) and 1 (PROXY)", other & 0xF)),
    };
    let header = |command, ends, tlvs| Header { version: Version::V2, command, ends, tlvs, bytes: bytes.len() };
    if command == Command::Local {
        // Whatever is said of a health check is to be discarded, its family too.
        return Ok(header(command, None, Vec::new()));
    }
    if fixed[13] == 0 {
        // Of an unspecified family nobody says how long the addresses are: what follows may be them, so that it is
        // told where it reads as TLVs, and judged by nobody.
        return Ok(header(Command::Unknown, None, read_tlvs(rest).unwrap_or_default()));
    }
    let Some(length) = block_length(fixed[13]) else {
        return Err(format!("its family and protocol are {:#04x}, which it may not have", fixed[13]));
    };
    let Some((block, tlvs)) = rest.split_at_checked(length) else {
        return Err(format!("its addresses need {length} bytes, and it has {}", rest.len()));
    };
    let Some(tlvs) = read_tlvs(tlvs) else { return Err("one of its TLVs is longer than what is left".to_owned()) };
    check_sum(bytes, FIXED + length)?;
    Ok(header(command, ends(block), tlvs))
}

/// Returns how long the addresses of a family and protocol are.
fn block_length(family: u8) -> Option<usize> {
    match family {
        0x11 | 0x12 => Some(12),
        0x21 | 0x22 => Some(36),
        0x31 | 0x32 => Some(216),
        _ => None,
    }
}

fn ends(block: &[u8]) -> Option<(Address, Address)> {
    if block.len() == 216 {
        let (from, to) = block.split_at(108);
        return Some((unix(from), unix(to)));
    }
    let (addresses, ports) = block.split_at(block.len().checked_sub(4)?);
    let (from, to) = addresses.split_at(addresses.len() / 2);
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Some((SocketAddr::new(ip(from)?, port(0)).into(), SocketAddr::new(ip(to)?, port(2)).into()))
}

/// Reads a name of a unix socket: the 108 bytes of sun_path.
fn unix(name: &[u8]) -> Address {
    let upto = |bytes: &[u8]| bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    match name {
        [0, rest @ ..] if rest.first().is_none_or(|byte| *byte == 0) => Address::UnixUnnamed,
        [0, rest @ ..] => Address::UnixAbstract(rest[..upto(rest)].to_vec()),
        path => Address::UnixPath(OsStr::from_bytes(&path[..upto(path)]).into()),
    }
}

const CRC32C: u8 = 0x03;
const NOOP: u8 = 0x04;
const SSL: u8 = 0x20;

/// Reads what follows the addresses; padding is left out.
fn read_tlvs(mut bytes: &[u8]) -> Option<Vec<Tlv>> {
    let mut tlvs = Vec::new();
    while !bytes.is_empty() {
        let (kind, value, rest) = next(bytes)?;
        bytes = rest;
        if kind == NOOP {
            continue;
        }
        let parts = (kind == SSL).then(|| value.split_at_checked(5)).flatten();
        let own = parts.map_or(value, |(own, _)| own);
        tlvs.push(Tlv { kind, name: name(kind), value: own.to_vec() });
        let mut parts = parts.map_or(&[][..], |(_, parts)| parts);
        while !parts.is_empty() {
            let (kind, value, rest) = next(parts)?;
            parts = rest;
            tlvs.push(Tlv { kind, name: name(kind), value: value.to_vec() });
        }
    }
    Some(tlvs)
}

/// Splits a TLV off.
fn next(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [kind, high, low, rest @ ..] = bytes else { return None };
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
    Some((*kind, value, rest))
}

/// Returns the name of a type, as the specification has it (2.2.1 and on), without its prefix.
fn name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        0x01 => "alpn",
        0x02 => "authority",
        CRC32C => "crc32c",
        0x05 => "unique-id",
        SSL => "ssl",
        0x21 => "ssl-version",
        0x22 => "ssl-cn",
        0x23 => "ssl-cipher",
        0x24 => "ssl-sig-alg",
        0x25 => "ssl-key-alg",
        0x30 => "netns",
        _ => return None,
    })
}

/// Checks the checksum, where there is one (2.2.3): over the header, with the sum itself as zeros.
fn check_sum(bytes: &[u8], tlvs: usize) -> Result<(), String> {
    let mut at = tlvs;
    while let Some((kind, value, _)) = bytes.get(at..).and_then(next) {
        if kind == CRC32C {
            let told = <[u8; 4]>::try_from(value).map_err(|_| "its checksum has not 4 bytes".to_owned())?;
            let mut zeroed = bytes.to_vec();
            zeroed[at + 3..at + 7].fill(0);
            let reckoned = crc32c(&zeroed);
            return match u32::from_be_bytes(told) {
                told if told == reckoned => Ok(()),
                told => Err(format!("its checksum is {told:#010x}, and {reckoned:#010x} would be right")),
            };
        }
        at += 3 + value.len();
    }
    Ok(())
}

/// CRC32C (RFC 3720, appendix B.4): headers are short, so a bit at a time is fast enough.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inet(text: &str) -> Address {
        text.parse::<SocketAddr>().unwrap().into()
    }

    /// Reads bytes in pieces of a size; returns what it comes to and what is left.
    fn feed(bytes: &[u8], size: usize) -> (Progress, Vec<u8>) {
        let (mut reader, mut at) = (Reader::default(), 0);
        while at < bytes.len() {
            let piece = &bytes[at..bytes.len().min(at + size)];
            let (taken, progress) = reader.take(piece);
            at += taken;
            if progress != Progress::More {
                return (progress, bytes[at..].to_vec());
            }
            assert_eq!(taken, piece.len());
        }
        (Progress::More, Vec::new())
    }

    fn whole(bytes: &[u8]) -> Header {
        match feed(&[bytes, b"GET /"].concat(), 7) {
            (Progress::Whole(header), left) => {
                assert_eq!((header.bytes, left.as_slice()), (bytes.len(), &b"GET /"[..]));
                header
            }
            other => panic!("{other:?}"),
        }
    }

    fn broken(bytes: &[u8]) -> String {
        match feed(bytes, 1).0 {
            Progress::Broken(words) => words,
            other => panic!("{bytes:?}: {other:?}"),
        }
    }

    #[test]
    fn the_lines_of_the_specification() {
        let header = whole(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n");
        assert_eq!(header.ends, Some((inet("255.255.255.255:65535"), inet("255.255.255.255:65535"))));
        let ffff = "ffff:f...f:ffff".replace("f...f", "ffff:ffff:ffff:ffff:ffff:ffff");
        let header = whole(format!("PROXY TCP6 {ffff} {ffff} 65535 65535\r\n").as_bytes());
        assert_eq!((header.version, header.command), (Version::V1, Command::Proxy));
        let header = whole(b"PROXY UNKNOWN\r\n");
        assert_eq!((header.command, header.ends), (Command::Unknown, None));
        let long = format!("PROXY UNKNOWN {ffff} {ffff} 65535 65535\r\n");
        assert_eq!(long.len(), LONGEST_LINE);
        assert_eq!(whole(long.as_bytes()).command, Command::Unknown);
        for line in [
            "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r\n",
        ] {
            assert!(broken(line.as_bytes()).contains("not as the PROXY"), "{line}");
        }
        assert!(broken(&[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat()).contains("no end within 107"));
        for junk in ["GET / HTTP/1.1\r\n", "proxy TCP4", "PROXX", "\r\n\r\nX", "\0"] {
            assert!(broken(junk.as_bytes()).contains("no header"), "{junk}");
        }
        assert_eq!(feed(b"PROXY TCP4 1.2.3.4", 5).0, Progress::More);
    }

    /// The octets of version 2: signature, version and command, family, length, addresses, ports.
    #[test]
    fn what_is_written_is_what_the_specification_has_and_is_read_back() {
        let (from, to) = (inet("192.0.2.1:56324"), inet("198.51.100.9:443"));
        assert_eq!(write(Version::V1, &from, &to).1, b"PROXY TCP4 192.0.2.1 198.51.100.9 56324 443\r\n");
        assert_eq!(
            write(Version::V2, &from, &to).1,
            b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\x00\x0c\xc0\0\x02\x01\xc6\x33\x64\x09\xdc\x04\x01\xbb"
        );
        let (from6, to6) = (inet("[2001:db8::1]:1"), inet("[2001:db8::2]:65535"));
        assert_eq!(write(Version::V1, &from6, &to6).1, b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n");
        assert_eq!(write(Version::V2, &from6, &to6).1[12..16], *b"\x21\x21\x00\x24");
        assert_eq!(write(Version::V1, &from, &to6).1, b"PROXY UNKNOWN\r\n");
        assert_eq!(write(Version::V2, &from, &to6).1[12..], *b"\x21\x00\x00\x00");
        for version in [Version::V1, Version::V2] {
            for (from, to) in [(&from, &to), (&from6, &to6), (&from, &to6)] {
                let (header, bytes) = write(version, from, to);
                assert_eq!(whole(&bytes), header);
            }
        }
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    #[test]
    fn every_family_and_command_of_version_2() {
        assert_eq!(whole(&binary(0x20, 0, b"")).command, Command::Local);
        // Its addresses are to be skipped, whatever they are.
        assert_eq!(whole(&binary(0x20, 0x11, &[1; 12])).ends, None);
        assert_eq!(whole(&binary(0x20, 0xFF, &[1; 99])).command, Command::Local);
        assert_eq!(whole(&binary(0x20, 0x11, &[1; 5])).command, Command::Local);
        // Nor is what looks like a checksum judged, nor what looks like a TLV told.
        let sum = b"\x03\0\x04abcd";
        let addressed = [&[1; 12], &sum[..]].concat();
        for local in [binary(0x20, 0, sum), binary(0x20, 0x11, &addressed), binary(0x20, 0, b"\x03\0\x01a")] {
            let header = whole(&local);
            assert_eq!((header.command, header.tlvs.len()), (Command::Local, 0));
        }
        // Where nobody says what the addresses are, nobody says where they end.
        let header = whole(&binary(0x21, 0, sum));
        assert_eq!((header.command, header.tlvs[0].name), (Command::Unknown, Some("crc32c")));
        assert_eq!(whole(&binary(0x21, 0, &[0xFF; 9])).command, Command::Unknown);
        let header = whole(&binary(0x21, 0x12, b"\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0\x0a"));
        assert_eq!(header.ends, Some((inet("1.2.3.4:9"), inet("5.6.7.8:10"))));
        let mut names = [0; 216];
        names[..4].copy_from_slice(b"/run");
        names[109..111].copy_from_slice(b"ab");
        let unix = (Address::UnixPath("/run".into()), Address::UnixAbstract(b"ab".to_vec()));
        assert_eq!(whole(&binary(0x21, 0x31, &names)).ends, Some(unix));
        for (bytes, words) in [
            (binary(0x11, 0x11, &[0; 12]), "version is 1"),
            (binary(0x22, 0x11, &[0; 12]), "command is 2"),
            (binary(0x21, 0x13, &[0; 12]), "0x13"),
            (binary(0x21, 0x41, &[0; 12]), "0x41"),
            (binary(0x21, 0x11, &[0; 11]), "need 12 bytes, and it has 11"),
            (binary(0x21, 0x11, &[&[0; 12][..], b"\x01\0\x05h2"].concat()), "TLVs"),
        ] {
            assert!(broken(&bytes).contains(words), "{}", broken(&bytes));
        }
    }

    #[test]
    fn tlvs_have_their_names() {
        let ssl = b"\x20\0\x0f\x01\0\0\0\0\x21\0\x07TLSv1.3";
        let rest = [&[0; 12][..], b"\x01\0\x02h2", b"\x04\0\x03pad", ssl, b"\xEA\0\x01x"].concat();
        let tlvs = whole(&binary(0x21, 0x11, &rest)).tlvs;
        let told: Vec<_> = tlvs.iter().map(|tlv| (tlv.kind, tlv.name, tlv.value.as_slice())).collect();
        assert_eq!(
            told,
            [
                (1, Some("alpn"), &b"h2"[..]),
                (0x20, Some("ssl"), b"\x01\0\0\0\0"),
                (0x21, Some("ssl-version"), b"TLSv1.3"),
                (0xEA, None, b"x")
            ]
        );
    }

    #[test]
    fn a_checksum_must_be_right() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        let at = FIXED + 12 + 3;
        let mut bytes = binary(0x21, 0x11, &[&[7; 12][..], b"\x03\0\x04\0\0\0\0"].concat());
        let sum = crc32c(&bytes);
        bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(whole(&bytes).tlvs[0].name, Some("crc32c"));
        bytes[at] ^= 1;
        assert!(broken(&bytes).contains("checksum"));
        assert!(broken(&binary(0x21, 0x11, &[&[7; 12][..], b"\x03\0\x01\0"].concat())).contains("4 bytes"));
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(
            begin in prop_oneof![
                Just(b"".to_vec()),
                Just(b"PROXY TCP4 ".to_vec()),
                Just([SIGNATURE, b"\x21\x11\0"].concat()),
                Just([SIGNATURE, b"\x20\x00\0"].concat()),
                Just([SIGNATURE, b"\x21\x11\0\x40abcdefghijkl\x20"].concat()),
            ],
            rest in proptest::collection::vec(any::<u8>(), 0..300),
            size in 1_usize..50,
        ) {
            let _ = feed(&[begin, rest].concat(), size);
        }

        #[test]
        fn what_is_written_is_read(a in any::<[u8; 16]>(), b in any::<[u8; 16]>(), p: u16, q: u16) {
            let (from, to) = (SocketAddr::new(a.into(), p).into(), SocketAddr::new(b.into(), q).into());
            for version in [Version::V1, Version::V2] {
                let (header, bytes) = write(version, &from, &to);
                let (progress, left) = feed(&bytes, 3);
                prop_assert!(left.is_empty());
                prop_assert_eq!(progress, Progress::Whole(header));
            }
        }
    }
}

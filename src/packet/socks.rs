//! SOCKS: version 5 (RFC 1928) with user and password (RFC 1929), and version 4A ("SOCKS 4A: A Simple
//! Extension to SOCKS 4 Protocol", Ying-Da Lee).

use std::net::{IpAddr, SocketAddr};

use super::dialogue::{Credentials, Destination, Dialogue, Gathered, Grant, Progress, Refusal, blanked, ip, quoted};
use crate::error::ExitCode;

/// The longest name, user or password that a length of one byte can tell.
pub const LONGEST: usize = 255;

const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NONE_ACCEPTED: u8 = 0xFF;
const CONNECT: u8 = 1;

/// The client's side of SOCKS5, up to the reply to CONNECT.
#[derive(Debug)]
pub struct Socks5 {
    destination: Destination,
    credentials: Option<Credentials>,
    state: State,
    gathered: Gathered,
    has_authenticated: bool,
    /// What is told of nothing that the proxy says.
    secrets: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Which method the proxy chooses (RFC 1928, 3).
    Method,
    /// Whether it takes user and password (RFC 1929, 2).
    Authentication,
    /// What came of CONNECT (RFC 1928, 6).
    Reply,
}

impl Socks5 {
    /// Makes the dialogue. What is longer than [`LONGEST`] is cut: whoever asks has checked that.
    #[must_use]
    pub fn new(destination: Destination, credentials: Option<Credentials>) -> Self {
        let (state, gathered) = (State::Method, Gathered::default());
        let secrets = credentials.as_ref().map(Credentials::secrets).unwrap_or_default();
        Self { destination, credentials, state, gathered, has_authenticated: false, secrets }
    }

    fn next(&mut self, state: State, bytes: Vec<u8>) -> Progress {
        self.state = state;
        self.gathered.0.clear();
        Progress::Send(bytes)
    }

    fn request(&self) -> Vec<u8> {
        let mut bytes = vec![5, CONNECT, 0];
        let port = match &self.destination {
            Destination::Address(address) => {
                match address.ip() {
                    IpAddr::V4(v4) => {
                        bytes.push(1);
                        bytes.extend(v4.octets());
                    }
                    IpAddr::V6(v6) => {
                        bytes.push(4);
                        bytes.extend(v6.octets());
                    }
                }
                address.port()
            }
            Destination::Name(name, port) => {
                bytes.push(3);
                push_counted(&mut bytes, name);
                *port
            }
        };
        bytes.extend(port.to_be_bytes());
        bytes
    }

    fn method(&mut self) -> Progress {
        match (self.gathered.0[1], &self.credentials) {
            (NO_AUTHENTICATION, _) => {
                let request = self.request();
                self.next(State::Reply, request)
            }
            (USER_AND_PASSWORD, Some(credentials)) => {
                let mut bytes = vec![1];
                push_counted(&mut bytes, &credentials.user);
                push_counted(&mut bytes, &credentials.password);
                self.next(State::Authentication, bytes)
            }
            (NONE_ACCEPTED, Some(_)) => Progress::Refused(Refusal::new(
                ExitCode::Permission,
                "it takes neither no authentication nor user and password (SOCKS5 method 255)",
            )),
            (NONE_ACCEPTED, None) => {
                let words = "it wants to know who asks, and no user was given (SOCKS5 method 255)";
                Progress::Refused(Refusal::new(ExitCode::Permission, words).wanting_user())
            }
            (other, _) => Progress::Malformed(format!("it chose the method {other}, which was not offered")),
        }
    }

    /// Returns how long the reply is, as far as what has come of it says.
    fn reply_length(&self) -> Result<usize, u8> {
        match self.gathered.0[..] {
            [_, _, _, 1, ..] => Ok(10),
            [_, _, _, 4, ..] => Ok(22),
            [_, _, _, 3, name, ..] => Ok(7 + usize::from(name)),
            [_, _, _, 3] => Ok(5),
            [_, _, _, other, ..] => Err(other),
            _ => Ok(4),
        }
    }

    fn reply(&self) -> Progress {
        let reply = &self.gathered.0;
        if reply[1] != 0 {
            return Progress::Refused(refusal5(reply[1]));
        }
        let (address, port) = reply[4..].split_at(reply.len() - 6);
        let port = u16::from_be_bytes([port[0], port[1]]);
        let bound = match reply[3] {
            3 => {
                let name = blanked(&address[1..], &self.secrets);
                (!name.is_empty()).then(|| format!("{}:{port}", name.escape_ascii()))
            }
            _ => ip(address).and_then(|ip| said(ip, port)),
        };
        let authentication = self.has_authenticated.then_some("password");
        Progress::Granted(Grant { code: 0, reply: "succeeded".to_owned(), bound, authentication })
    }
}

impl Dialogue for Socks5 {
    fn begin(&mut self) -> Vec<u8> {
        match self.credentials {
            Some(_) => vec![5, 2, NO_AUTHENTICATION, USER_AND_PASSWORD],
            None => vec![5, 1, NO_AUTHENTICATION],
        }
    }

    fn take(&mut self, bytes: &[u8]) -> (usize, Progress) {
        // What is no SOCKS5 is told from its first byte: it may have no second. The version of the
        // answer to user and password is looked at by nobody, and some say 5.
        if self.gathered.0.is_empty()
            && self.state != State::Authentication
            && let Some(first) = bytes.first().filter(|first| **first != 5)
        {
            return (bytes.len(), Progress::Malformed(no_socks5(*first, &quoted(bytes, &self.secrets))));
        }
        let mut taken = 0;
        loop {
            let whole = match (self.state, self.reply_length()) {
                (State::Method | State::Authentication, _) => 2,
                (State::Reply, Ok(length)) => length,
                (State::Reply, Err(kind)) => {
                    return (
                        taken,
                        match self.settled() {
                            Some(refused) => refused,
                            None => Progress::Malformed(format!("its reply has an address of the kind {kind}")),
                        },
                    );
                }
            };
            if self.gathered.0.len() == whole {
                break;
            }
            match self.gathered.up_to(whole, &bytes[taken..]) {
                0 => return (taken, Progress::More),
                more => taken += more,
            }
        }
        let progress = match self.state {
            State::Method => self.method(),
            State::Authentication if self.gathered.0[1] == 0 => {
                self.has_authenticated = true;
                let request = self.request();
                self.next(State::Reply, request)
            }
            State::Authentication => Progress::Refused(Refusal::new(
                ExitCode::Permission,
                format!("it does not take this user and password (SOCKS5 status {})", self.gathered.0[1]),
            )),
            State::Reply => self.reply(),
        };
        (taken, progress)
    }

    fn step(&self) -> &'static str {
        match self.state {
            State::Method => "greeting",
            State::Authentication => "authentication",
            State::Reply => "request",
        }
    }

    fn settled(&self) -> Option<Progress> {
        // Some say no and leave out the address.
        match (self.state, &self.gathered.0[..]) {
            (State::Reply, [_, reply, ..]) if *reply != 0 => Some(Progress::Refused(refusal5(*reply))),
            _ => None,
        }
    }
}

fn no_socks5(first: u8, quoted: &str) -> String {
    let what = match first {
        b'H' => ": is it an HTTP proxy?",
        0 => ": is it a SOCKS4 proxy?",
        _ => "",
    };
    format!("what came is no SOCKS5: {quoted}{what}")
}

/// Returns what a reply means (RFC 1928, 6).
fn refusal5(reply: u8) -> Refusal {
    let (code, words) = match reply {
        1 => (ExitCode::Unreachable, "general failure, it does not say of what"),
        2 => (ExitCode::Permission, "its rules do not allow this connection"),
        3 => (ExitCode::Unreachable, "network unreachable"),
        4 => (ExitCode::Unreachable, "host unreachable"),
        5 => (ExitCode::Refused, "connection refused by the target"),
        // Proxies say so where their own connect was not answered: Dante, microsocks, Tor.
        6 => (ExitCode::NoAnswer, "TTL expired, or no answer from the target in time"),
        7 => (ExitCode::Permission, "it does not know the command CONNECT"),
        8 => (ExitCode::Unreachable, "it does not know this kind of address"),
        _ => (ExitCode::Unreachable, "a failure that no RFC names"),
    };
    Refusal::new(code, format!("{words} (SOCKS5 reply {reply})"))
}

/// The client's side of SOCKS4 and SOCKS4A.
#[derive(Debug)]
pub struct Socks4 {
    destination: Destination,
    user: Option<String>,
    gathered: Gathered,
}

impl Socks4 {
    /// Makes the dialogue. SOCKS4 has no address of IPv6: that is asked for as a name would be.
    #[must_use]
    pub fn new(destination: Destination, user: Option<String>) -> Self {
        Self { destination, user, gathered: Gathered::default() }
    }
}

impl Dialogue for Socks4 {
    fn begin(&mut self) -> Vec<u8> {
        let (port, v4, name) = match &self.destination {
            Destination::Address(SocketAddr::V4(v4)) => (v4.port(), v4.ip().octets(), None),
            Destination::Address(SocketAddr::V6(v6)) => (v6.port(), [0, 0, 0, 1], Some(v6.ip().to_string())),
            // "0.0.0.x", x not 0, says that a name follows.
            Destination::Name(name, port) => (*port, [0, 0, 0, 1], Some(name.clone())),
        };
        let mut bytes = vec![4, CONNECT];
        bytes.extend(port.to_be_bytes());
        bytes.extend(v4);
        bytes.extend(self.user.iter().flat_map(|user| user.bytes()));
        bytes.push(0);
        if let Some(name) = name {
            bytes.extend(name.bytes());
            bytes.push(0);
        }
        bytes
    }

    fn take(&mut self, bytes: &[u8]) -> (usize, Progress) {
        if self.gathered.0.is_empty()
            && let Some(first) = bytes.first().filter(|first| **first != 0)
        {
            let what = match first {
                5 => ": is it a SOCKS5 proxy?",
                b'H' => ": is it an HTTP proxy?",
                _ => "",
            };
            return (bytes.len(), Progress::Malformed(format!("what came is no SOCKS4: {}{what}", quoted(bytes, &[]))));
        }
        let taken = self.gathered.up_to(8, bytes);
        let [_, code, high, low, a, b, c, d] = self.gathered.0[..] else { return (taken, Progress::More) };
        let progress = match code {
            90 => Progress::Granted(Grant {
                code: 90,
                reply: "request granted".to_owned(),
                bound: said(IpAddr::from([a, b, c, d]), u16::from_be_bytes([high, low])),
                authentication: self.user.as_ref().map(|_| "user-id"),
            }),
            code => refusal4(code),
        };
        (taken, progress)
    }

    fn settled(&self) -> Option<Progress> {
        match self.gathered.0[..] {
            [_, code @ 91..=93, ..] => Some(refusal4(code)),
            _ => None,
        }
    }
}

fn refusal4(reply: u8) -> Progress {
    let (code, words) = match reply {
        91 => (ExitCode::Unreachable, "request rejected or failed, it does not say why"),
        92 => (ExitCode::Permission, "it asked this host's identd who we are, and got no answer"),
        93 => (ExitCode::Permission, "identd and the user that was given differ"),
        other => return Progress::Malformed(format!("its reply is {other}, which SOCKS4 does not have")),
    };
    Progress::Refused(Refusal::new(code, format!("{words} (SOCKS4 reply {reply})")))
}

/// Returns the address from which a proxy has connected; zeros say that it does not say.
fn said(ip: IpAddr, port: u16) -> Option<String> {
    (!ip.is_unspecified() || port != 0).then(|| SocketAddr::new(ip, port).to_string())
}

fn push_counted(bytes: &mut Vec<u8>, text: &str) {
    let text = &text.as_bytes()[..text.len().min(LONGEST)];
    bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::dialogue::tests::{feed, survives};
    use super::*;

    fn name() -> Destination {
        Destination::Name("a.example".into(), 80)
    }

    fn joe() -> Option<Credentials> {
        Some(Credentials { user: "joe".into(), password: "pw".into() })
    }

    const GRANTED: &[u8] = b"\x05\0\x05\0\0\x01\x7f\0\0\x01\x1f\x90";

    #[test]
    fn the_octets_of_rfc_1928() {
        for size in 1..20 {
            let (sent, progress, left) = feed(&mut Socks5::new(name(), None), &[GRANTED, b"220 hi"].concat(), size);
            assert_eq!(sent, b"\x05\x01\x00\x05\x01\x00\x03\x09a.example\x00\x50");
            let Progress::Granted(grant) = progress else { panic!("{progress:?}") };
            assert_eq!((grant.bound.as_deref(), grant.authentication), (Some("127.0.0.1:8080"), None));
            assert_eq!(left, b"220 hi", "what is the target's is left");
        }
        let v6 = Destination::Address("[2001:db8::1]:443".parse().unwrap());
        let (sent, ..) = feed(&mut Socks5::new(v6, None), b"\x05\0", 9);
        assert_eq!(sent[3..], *b"\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb");
        let v4 = Destination::Address("192.0.2.1:443".parse().unwrap());
        let (sent, ..) = feed(&mut Socks5::new(v4, None), b"\x05\0", 9);
        assert_eq!(sent[3..], *b"\x05\x01\x00\x01\xc0\0\x02\x01\x01\xbb");
    }

    #[test]
    fn the_octets_of_rfc_1929() {
        let (sent, progress, _) = feed(&mut Socks5::new(name(), joe()), b"\x05\x02\x01\0\x05\0\0\x03\x01x\0\x01", 1);
        assert_eq!(sent, b"\x05\x02\x00\x02\x01\x03joe\x02pw\x05\x01\x00\x03\x09a.example\x00\x50");
        let Progress::Granted(grant) = progress else { panic!("{progress:?}") };
        assert_eq!((grant.bound.as_deref(), grant.authentication), (Some("x:1"), Some("password")));
        // Where it is not asked for the password is not sent.
        let (sent, ..) = feed(&mut Socks5::new(name(), joe()), GRANTED, 100);
        assert!(!sent.windows(2).any(|window| window == b"pw"));
    }

    #[test]
    fn every_reply_has_its_code() {
        for (reply, code) in [(1, 9), (2, 4), (3, 9), (4, 9), (5, 7), (6, 8), (7, 4), (8, 9), (9, 9), (255, 9)] {
            let bytes = [b"\x05\0\x05", &[reply][..], b"\0\x01\0\0\0\0\0\0"].concat();
            let (_, progress, _) = feed(&mut Socks5::new(name(), None), &bytes, 3);
            let Progress::Refused(refusal) = progress else { panic!("{progress:?}") };
            assert_eq!(refusal.code.number(), code);
            assert!(refusal.words.ends_with(&format!("(SOCKS5 reply {reply})")));
        }
        for (bytes, credentials, words) in [
            (&b"\x05\xff"[..], None, "no user was given"),
            (b"\x05\xff", joe(), "neither"),
            (b"\x05\x02\x01\x01", joe(), "status 1"),
        ] {
            let (_, progress, _) = feed(&mut Socks5::new(name(), credentials), bytes, 9);
            let Progress::Refused(refusal) = progress else { panic!("{progress:?}") };
            assert!(refusal.code == ExitCode::Permission && refusal.words.contains(words), "{refusal:?}");
        }
    }

    #[test]
    fn what_is_no_socks5_is_told_at_once() {
        for (bytes, words) in [
            (&b"H"[..], "HTTP"),
            (b"\0Z", "SOCKS4"),
            (b"\x05\x01", "method 1"),
            (b"\x05\x02", "method 2"),
            (b"\x05\0\x04", "no SOCKS5"),
            (b"\x05\0\x05\0\0\x02", "kind 2"),
        ] {
            let (_, progress, _) = feed(&mut Socks5::new(name(), None), bytes, 1);
            let Progress::Malformed(told) = progress else { panic!("{bytes:?}: {progress:?}") };
            assert!(told.contains(words), "{told}");
        }
        let mut cut = Socks5::new(name(), None);
        assert_eq!(feed(&mut cut, b"\x05\0\x05\x05", 9).1, Progress::More);
        assert!(matches!(cut.settled(), Some(Progress::Refused(refusal)) if refusal.code == ExitCode::Refused));
    }

    #[test]
    fn the_octets_of_the_note_on_socks4a() {
        let mut dialogue = Socks4::new(name(), Some("joe".into()));
        let (sent, progress, left) = feed(&mut dialogue, b"\0\x5a\x1f\x90\x7f\0\0\x01220", 1);
        assert_eq!(sent, b"\x04\x01\x00\x50\0\0\0\x01joe\0a.example\0");
        let Progress::Granted(grant) = progress else { panic!("{progress:?}") };
        assert_eq!((grant.code, grant.bound.as_deref(), left.as_slice()), (90, Some("127.0.0.1:8080"), &b"220"[..]));
        let v4 = Destination::Address("192.0.2.1:80".parse().unwrap());
        assert_eq!(Socks4::new(v4, None).begin(), b"\x04\x01\x00\x50\xc0\0\x02\x01\0");
        for (code, exit) in [(91, 9), (92, 4), (93, 4)] {
            let (_, progress, _) = feed(&mut Socks4::new(name(), None), &[0, code, 0, 0, 0, 0, 0, 0], 8);
            assert!(matches!(progress, Progress::Refused(refusal) if refusal.code.number() == exit));
        }
        for bytes in [&b"\x05\0"[..], b"\0\x00\0\0\0\0\0\0", b"HTTP/1.1"] {
            assert!(matches!(feed(&mut Socks4::new(name(), None), bytes, 8).1, Progress::Malformed(_)));
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(
            bytes in proptest::collection::vec(prop_oneof![0_u8..6, any::<u8>()], 0..600),
            size in 1_usize..40,
        ) {
            survives(Socks5::new(name(), None), &bytes, size);
            survives(Socks5::new(name(), joe()), &bytes, size);
            survives(Socks5::new(name(), joe()), &[b"\x05\0\x05", bytes.as_slice()].concat(), size);
            survives(Socks4::new(name(), None), &bytes, size);
        }
    }
}

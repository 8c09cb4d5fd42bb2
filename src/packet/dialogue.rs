//! What the dialogues with proxies have in common: what goes in, and what each comes to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use data_encoding::BASE64_NOPAD;

use crate::error::ExitCode;

/// Where a proxy is to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// An address and its port.
    Address(SocketAddr),
    /// A name, which the proxy looks up, and a port.
    Name(String, u16),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => SocketAddr::new(address.ip(), address.port()).fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// A user's name and password. Shown nowhere: `Debug` leaves the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Returns what must not be told though a proxy repeats it, the longer first.
    pub(super) fn secrets(&self) -> Vec<String> {
        if self.password.is_empty() {
            return Vec::new();
        }
        let both = format!("{}:{}", self.user, self.password);
        let mut secrets = vec![BASE64_NOPAD.encode(both.as_bytes()), both];
        secrets.extend((self.password.len() >= SHORTEST).then(|| self.password.clone()));
        secrets
    }
}

/// What is shorter is in many words by chance, and to blank it out there would tell it.
const SHORTEST: usize = 4;

/// Returns what was said with the secrets in it blanked out.
pub(super) fn blanked(said: &[u8], secrets: &[String]) -> Vec<u8> {
    let mut said = said.to_vec();
    for secret in secrets.iter().map(String::as_bytes).filter(|secret| !secret.is_empty()) {
        let mut at = 0;
        while let Some(found) = said[at..].windows(secret.len()).position(|part| part == secret) {
            let begin = at + found;
            said.splice(begin..begin + secret.len(), *b"***");
            at = begin + 3;
        }
        // What has come so far may end within one.
        let begins = |length: &usize| said.ends_with(&secret[..*length]);
        if let Some(length) = (SHORTEST..secret.len()).rev().find(begins) {
            said.splice(said.len() - length.., *b"***");
        }
    }
    said
}

/// As [`blanked`], of text.
pub(super) fn blanked_text(said: &str, secrets: &[String]) -> String {
    String::from_utf8_lossy(&blanked(said.as_bytes(), secrets)).into_owned()
}

/// A dialogue with a proxy: bytes in, and what that comes to.
pub trait Dialogue: Send {
    /// Returns what is sent first.
    fn begin(&mut self) -> Vec<u8>;

    /// Takes what has come, or the begin of it: how many bytes belong to the dialogue, and what they
    /// come to. It takes none that belong to whoever speaks after the proxy.
    fn take(&mut self, bytes: &[u8]) -> (usize, Progress);

    /// Returns the name of the question that was sent last: `greeting`, `authentication`, `request`.
    fn step(&self) -> &'static str {
        "request"
    }

    /// Returns what is known already of an answer that has not come whole: the rest changes nothing.
    fn settled(&self) -> Option<Progress> {
        None
    }

    /// Returns whether the proxy says where the answer ends, other than by closing.
    fn says_end(&self) -> bool {
        true
    }

    /// Returns what it means that the proxy closes now, where it means something.
    fn at_end(&self) -> Option<Progress> {
        self.settled()
    }
}

/// What a dialogue has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More must come.
    More,
    /// This is to be sent, then more must come.
    Send(Vec<u8>),
    /// The way to the destination is open: what comes next is the destination's.
    Granted(Grant),
    /// The proxy said no.
    Refused(Refusal),
    /// The proxy wants to know who we are, on a connection of its own.
    Challenged(Challenge),
    /// What came is no answer of this protocol; in words.
    Malformed(String),
}

/// How a proxy said yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The number of its reply.
    pub code: u16,
    /// Its reply in words.
    pub reply: String,
    /// From where it has connected, where it says so.
    pub bound: Option<String>,
    /// How we said who we are, where it asked for that.
    pub authentication: Option<&'static str>,
}

/// How a proxy said no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What happened, and the reply that says so.
    pub words: String,
    /// What that means for the run.
    pub code: ExitCode,
    /// Whether it would know who asks, and nobody was named.
    pub wants_user: bool,
}

impl Refusal {
    pub(super) fn new(code: ExitCode, words: impl Into<String>) -> Self {
        Self { words: words.into(), code, wants_user: false }
    }

    pub(super) fn wanting_user(self) -> Self {
        Self { wants_user: true, ..self }
    }
}

/// How an HTTP proxy wants to be told who we are (RFC 9110, 11.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Its answer in words.
    pub words: String,
    pub(super) scheme: super::http_auth::Scheme,
    /// On which connection it has asked, from 1.
    pub(super) connection: u32,
}

/// Bytes that are gathered until there are as many as a message has.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered(pub(super) Vec<u8>);

impl Gathered {
    /// Takes bytes until there are `whole`; returns how many it took.
    pub(super) fn up_to(&mut self, whole: usize, bytes: &[u8]) -> usize {
        let taken = whole.saturating_sub(self.0.len()).min(bytes.len());
        self.0.extend_from_slice(&bytes[..taken]);
        taken
    }
}

/// Returns the begin of what came, in quotes, fit for a message: without secrets.
pub(super) fn quoted(bytes: &[u8], secrets: &[String]) -> String {
    const MOST: usize = 32;
    quoted_up_to(MOST, &blanked(bytes, secrets))
}

/// As [`quoted`], so many bytes in which there are no secrets.
pub(super) fn quoted_up_to(most: usize, bytes: &[u8]) -> String {
    let more = if bytes.len() > most { "…" } else { "" };
    format!("\"{}\"{more}", bytes[..bytes.len().min(most)].escape_ascii())
}

/// Returns an address of 4 or 16 bytes.
pub(super) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Feeds a dialogue in pieces of a size; returns all that was sent, what it came to, and what it
    /// left.
    pub(crate) fn feed(dialogue: &mut dyn Dialogue, mut bytes: &[u8], size: usize) -> (Vec<u8>, Progress, Vec<u8>) {
        let mut sent = dialogue.begin();
        while !bytes.is_empty() {
            let piece = &bytes[..size.min(bytes.len())];
            let (taken, progress) = dialogue.take(piece);
            assert!(taken <= piece.len());
            bytes = &bytes[taken..];
            match progress {
                Progress::More => assert_eq!(taken, piece.len(), "it waits for more, and there is more"),
                Progress::Send(more) => sent.extend(more),
                ended => return (sent, ended, bytes.to_vec()),
            }
        }
        (sent, Progress::More, Vec::new())
    }

    /// Feeds anything in pieces of anything: it must end, and take no more than there is.
    pub(crate) fn survives(mut dialogue: impl Dialogue, bytes: &[u8], size: usize) {
        let _ = feed(&mut dialogue, bytes, size.max(1));
        let _ = (dialogue.settled(), dialogue.at_end());
    }

    #[test]
    fn a_part_of_a_secret_is_not_told_either() {
        let secrets = ["s3cretPW".to_owned()];
        for (said, told) in [("no s3cretPW, no", "no ***, no"), ("no s3cret", "no ***"), ("no s3c", "no s3c")] {
            assert_eq!(blanked_text(said, &secrets), told);
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let credentials = Credentials { user: "joe".into(), password: "geheim".into() };
        assert!(!format!("{credentials:?}").contains("geheim"));
    }

    #[test]
    fn secrets_are_blanked_out_wherever_they_stand() {
        let secrets = Credentials { user: "joe".into(), password: "geheim".into() }.secrets();
        for (said, told) in [
            ("geheim", "***"),
            ("xgeheimgeheimjoe:geheim", "x*********"),
            ("Basic am9lOmdlaGVpbQ==, geh", "Basic ***==, geh"),
        ] {
            assert_eq!(blanked_text(said, &secrets), told);
        }
        assert_eq!(quoted(b"\x06geheim\xff", &secrets), "\"\\x06***\\xff\"");
        let short = Credentials { user: "a".into(), password: "b".into() }.secrets();
        assert_eq!(blanked_text("a:b and b", &short), "*** and b");
        assert!(Credentials { user: "a".into(), password: String::new() }.secrets().is_empty());
    }

    #[test]
    fn destinations_are_written_as_addresses_are() {
        assert_eq!(Destination::Name("x.example".into(), 80).to_string(), "x.example:80");
        assert_eq!(Destination::Address("[::1]:80".parse().unwrap()).to_string(), "[::1]:80");
    }
}

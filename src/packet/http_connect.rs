//! HTTP CONNECT (RFC 9110, 9.3.6): the client's side, up to the end of the head that says yes, or of
//! the whole answer that says no.

use super::dialogue::{Challenge, Credentials, Destination, Dialogue, Grant, Progress, Refusal, blanked_text, quoted};
use super::http_auth::{self, Scheme};
use crate::error::ExitCode;

/// The longest head of an answer, in bytes.
const LONGEST_HEAD: usize = 64 << 10;

/// How much of the text of a refusal is read: to close with more unread would make a reset of it.
const LONGEST_BODY: u64 = 256 << 10;

/// The client's side of CONNECT.
#[derive(Debug)]
pub struct HttpConnect {
    authority: String,
    credentials: Option<Credentials>,
    /// Which connection this is, from 1: another may be asked for, to say there who we are.
    connection: u32,
    /// How we say who we are, once the proxy has asked.
    scheme: Option<Scheme>,
    /// What makes our answers to Digest new.
    fresh: String,
    /// How many requests were made that said who we are.
    answered: u32,
    /// In which words the proxy has asked who we are, where it was answered on this connection.
    asked: String,
    /// What is told of nothing that the proxy says.
    secrets: Vec<String>,
    /// The head of an answer, as far as it has come.
    head: Vec<u8>,
    body: Option<Body>,
}

/// The rest of an answer after its head.
#[derive(Debug)]
struct Body {
    framing: Framing,
    read: u64,
    /// What the answer comes to when it has come whole.
    then: Then,
}

/// How the end of a body is known (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// So many bytes are left of a chunk, its line end among them.
    Chunk(u64),
    /// A line with the size of a chunk, as far as it has come; `None` where no digit has.
    Size { size: Option<u64>, is_over: bool },
    /// The lines behind the last chunk: whether this one is empty so far.
    Trailer { is_empty: bool },
    /// The proxy closes.
    Close,
}

/// What follows the end of an answer.
#[derive(Clone, Debug)]
enum Then {
    Refuse(Refusal),
    /// Ask again and say who we are; on another connection where this one does not stay.
    Answer {
        challenge: Challenge,
        stays: bool,
    },
}

impl HttpConnect {
    /// Makes the dialogue. `known` is what the proxy has asked for on a connection before this one;
    /// `fresh` is random.
    #[must_use]
    pub fn new(
        destination: &Destination,
        credentials: Option<Credentials>,
        known: Option<Challenge>,
        fresh: String,
    ) -> Self {
        let secrets = credentials.as_ref().map(Credentials::secrets).unwrap_or_default();
        Self {
            authority: destination.to_string(),
            credentials,
            connection: known.as_ref().map_or(1, |known| known.connection + 1),
            scheme: known.map(|known| known.scheme),
            fresh,
            answered: 0,
            asked: String::new(),
            secrets,
            head: Vec::new(),
            body: None,
        }
    }

    fn request(&mut self) -> Vec<u8> {
        let authority = &self.authority;
        let mut head = format!(
            "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: sockeye/{}\r\n",
            env!("CARGO_PKG_VERSION")
        );
        if let (Some(scheme), Some(credentials)) = (&self.scheme, &self.credentials) {
            self.answered += 1;
            let answer = scheme.answer(credentials, "CONNECT", authority, &self.fresh);
            head += &format!("Proxy-Authorization: {answer}\r\n");
            // It may come back, or the part of it that counts.
            let response = answer.split_once("response=\"").and_then(|(_, rest)| rest.split_once('"'));
            let response = response.map(|(response, _)| response.to_owned());
            self.secrets.splice(0..0, std::iter::once(answer).chain(response));
        }
        (head + "\r\n").into_bytes()
    }

    /// Takes the head of an answer, which is whole.
    fn answer(&mut self) -> Progress {
        let whole = String::from_utf8_lossy(&std::mem::take(&mut self.head)).into_owned();
        let Some(head) = Head::read(&whole, &self.secrets) else {
            let quoted = quoted(whole.as_bytes(), &self.secrets);
            return Progress::Malformed(format!("what came is no answer of HTTP: {quoted}"));
        };
        match head.status {
            // They announce another (RFC 9110, 15.2); to 101 nobody has asked it.
            100 | 102..=199 => return Progress::More,
            200..=299 => {
                let (code, reply) = (head.status, head.words());
                let authentication = self.scheme.as_ref().filter(|_| self.answered > 0).map(Scheme::name);
                return Progress::Granted(Grant { code, reply, bound: None, authentication });
            }
            _ => {}
        }
        let then = match head.status {
            407 => self.unknown(&head),
            _ => Then::Refuse(Refusal::new(head.code(), format!("it answers {}", head.words_and_why()))),
        };
        let mut body = Body { framing: head.framing(), read: 0, then };
        if body.framing == Framing::Length(0) {
            return self.after(body.then);
        }
        if let Then::Answer { stays, .. } = &mut body.then {
            *stays &= body.framing != Framing::Close;
        }
        self.body = Some(body);
        Progress::More
    }

    /// Returns what to do where the proxy wants to know who we are.
    fn unknown(&self, head: &Head<'_>) -> Then {
        let offered = || head.all("proxy-authenticate");
        let refusal = |words: String| Refusal::new(ExitCode::Permission, words);
        let refuse = |words| Then::Refuse(refusal(words));
        let names = || match http_auth::names(offered()).join(", ").as_str() {
            "" => "it does not say how".to_owned(),
            names => blanked_text(names, &self.secrets),
        };
        let best = http_auth::best(offered());
        let is_stale = matches!(&best, Some(Scheme::Digest(digest)) if digest.is_stale);
        match (&self.credentials, best) {
            (None, _) => {
                let words = format!("it wants to know who asks ({}), and no user was given: {}", names(), head.words());
                Then::Refuse(refusal(words).wanting_user())
            }
            (Some(_), None) => refuse(format!(
                "it wants to know who asks in a way other than Basic and Digest ({}): {}",
                names(),
                head.words()
            )),
            // Once more, where only our nonce was too old (RFC 7616, 3.3).
            (Some(_), Some(scheme)) if self.answered == 0 || (self.answered == 1 && is_stale) => {
                let challenge = Challenge { words: head.words(), scheme, connection: self.connection };
                Then::Answer { challenge, stays: head.stays() }
            }
            (Some(_), Some(_)) => refuse(format!("it does not take this user and password: {}", head.words())),
        }
    }

    /// Goes on after an answer that has come whole.
    fn after(&mut self, then: Then) -> Progress {
        match then {
            Then::Refuse(refusal) => Progress::Refused(refusal),
            Then::Answer { challenge, stays: false } => self.elsewhere(challenge),
            Then::Answer { challenge, stays: true } => {
                (self.scheme, self.asked) = (Some(challenge.scheme), challenge.words);
                Progress::Send(self.request())
            }
        }
    }

    /// Returns what it comes to that the answer must go on another connection: on the second only a nonce that was
    /// too old is asked for again, and after the third that is enough.
    fn elsewhere(&self, challenge: Challenge) -> Progress {
        const MOST: u32 = 3;
        match self.connection {
            ..MOST => Progress::Challenged(challenge),
            _ => Progress::Refused(Refusal::new(
                ExitCode::Permission,
                format!("it asks who we are again and again, and closes each time: {}", challenge.words),
            )),
        }
    }
}

impl Dialogue for HttpConnect {
    fn begin(&mut self) -> Vec<u8> {
        self.request()
    }

    fn take(&mut self, bytes: &[u8]) -> (usize, Progress) {
        let mut taken = 0;
        while taken < bytes.len() {
            if let Some(mut body) = self.body.take() {
                let (more, is_whole) = body.take(&bytes[taken..]);
                taken += more;
                if is_whole {
                    return (taken, self.after(body.then));
                }
                self.body = Some(body);
                continue;
            }
            let (before, rest) = (self.head.len(), &bytes[taken..]);
            self.head.extend_from_slice(rest);
            let prefix = b"HTTP/1.";
            if !prefix.starts_with(&self.head[..self.head.len().min(prefix.len())]) {
                let what = if self.head.first() == Some(&5) { ": is it a SOCKS5 proxy?" } else { "" };
                let quoted = quoted(&self.head, &self.secrets);
                let words = format!("what came is no answer of HTTP: {quoted}{what}");
                return (bytes.len(), Progress::Malformed(words));
            }
            let Some(end) = end_of_head(&self.head, before) else {
                if self.head.len() > LONGEST_HEAD {
                    let words = format!("the head of its answer has more than {LONGEST_HEAD} bytes");
                    return (bytes.len(), Progress::Malformed(words));
                }
                return (bytes.len(), Progress::More);
            };
            self.head.truncate(end);
            taken += end.saturating_sub(before);
            match self.answer() {
                Progress::More => {}
                progress => return (taken, progress),
            }
        }
        (taken, Progress::More)
    }

    fn step(&self) -> &'static str {
        if self.answered == 0 { "request" } else { "authentication" }
    }

    fn settled(&self) -> Option<Progress> {
        self.body.as_ref().map(|body| match &body.then {
            Then::Refuse(refusal) => Progress::Refused(refusal.clone()),
            Then::Answer { challenge, .. } => self.elsewhere(challenge.clone()),
        })
    }

    fn says_end(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.framing != Framing::Close)
    }

    fn at_end(&self) -> Option<Progress> {
        // Some close after they have asked who we are, and do not say that they will.
        match &self.scheme {
            Some(scheme) if !self.asked.is_empty() && self.body.is_none() && self.head.is_empty() => {
                let (words, scheme) = (self.asked.clone(), scheme.clone());
                Some(self.elsewhere(Challenge { words, scheme, connection: self.connection }))
            }
            _ => self.settled(),
        }
    }
}

/// Returns where a head ends, behind its empty line; its first bytes were looked at before.
fn end_of_head(head: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    (from..head.len()).find_map(|at| match head[at..] {
        [b'\n', b'\n', ..] => Some(at + 2),
        [b'\n', b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

impl Body {
    /// Takes what belongs to the body; returns how much, and whether that is the end of it.
    fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut taken = 0;
        while taken < bytes.len() {
            let (more, is_whole) = self.step(&bytes[taken..]);
            taken += more;
            self.read += more as u64;
            if is_whole {
                return (taken, true);
            }
            if self.read > LONGEST_BODY {
                // Where the next answer begins is not known.
                if let Then::Answer { stays, .. } = &mut self.then {
                    *stays = false;
                }
                return (taken, true);
            }
        }
        (taken, false)
    }

    fn step(&mut self, bytes: &[u8]) -> (usize, bool) {
        let most = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        match self.framing {
            Framing::Length(left) => {
                let taken = most(left);
                self.framing = Framing::Length(left - taken as u64);
                (taken, left == taken as u64)
            }
            Framing::Chunk(left) => {
                let taken = most(left);
                self.framing = match left - taken as u64 {
                    0 => Framing::Size { size: None, is_over: false },
                    left => Framing::Chunk(left),
                };
                (taken, false)
            }
            Framing::Size { size, is_over } => {
                self.framing = match (bytes[0], size) {
                    (b'\n', Some(0)) => Framing::Trailer { is_empty: true },
                    // Behind a chunk there is a line end.
                    (b'\n', Some(size)) => Framing::Chunk(size.saturating_add(2)),
                    (digit, _) if digit.is_ascii_hexdigit() && !is_over => {
                        let digit = (digit as char).to_digit(16).map_or(0, u64::from);
                        let size = size.unwrap_or(0).saturating_mul(16).saturating_add(digit);
                        Framing::Size { size: Some(size), is_over }
                    }
                    // An extension of the chunk (RFC 9112, 7.1.1).
                    (_, size) => Framing::Size { size, is_over: true },
                };
                (1, false)
            }
            Framing::Trailer { is_empty } => match bytes[0] {
                b'\n' if is_empty => (1, true),
                byte => {
                    let is_empty = byte == b'\n' || (byte == b'\r' && is_empty);
                    self.framing = Framing::Trailer { is_empty };
                    (1, false)
                }
            },
            Framing::Close => (bytes.len(), false),
        }
    }
}

/// The head of an answer.
struct Head<'a> {
    is_1_0: bool,
    status: u16,
    reason: &'a str,
    fields: Vec<(&'a str, &'a str)>,
    /// What is told of none of it.
    secrets: &'a [String],
}

impl<'a> Head<'a> {
    /// Reads a head: `HTTP/1.1 200 OK`, then fields.
    fn read(text: &'a str, secrets: &'a [String]) -> Option<Self> {
        let mut lines = text.lines();
        let line = lines.next()?;
        let (version, rest) = line.split_once(' ')?;
        let is_1_0 = match version {
            "HTTP/1.0" => true,
            "HTTP/1.1" => false,
            _ => return None,
        };
        let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        if status.len() != 3 || !status.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let status = status.parse().ok().filter(|status| *status >= 100)?;
        let fields = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim()));
        // What has control characters is no field, and goes nowhere.
        let fields = fields.filter(|(_, value)| !value.chars().any(|c| c.is_control() && c != '\t')).collect();
        Some(Self { is_1_0, status, reason: reason.trim(), fields, secrets })
    }

    fn all<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a str> + 'b {
        self.fields.iter().filter(move |(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// Returns whether one of the words of a field is this one.
    fn has(&self, name: &str, word: &str) -> bool {
        self.all(name).any(|value| value.split(',').any(|given| given.trim().eq_ignore_ascii_case(word)))
    }

    /// Returns whether the connection stays after the answer (RFC 9112, 9.3).
    fn stays(&self) -> bool {
        let has = |word| self.has("connection", word) || self.has("proxy-connection", word);
        if self.is_1_0 { has("keep-alive") } else { !has("close") }
    }

    fn framing(&self) -> Framing {
        if self.has("transfer-encoding", "chunked") {
            return Framing::Size { size: None, is_over: false };
        }
        match self.all("content-length").next().map(str::parse) {
            Some(Ok(length)) => Framing::Length(length),
            _ if matches!(self.status, 204 | 304) => Framing::Length(0),
            _ => Framing::Close,
        }
    }

    /// Returns status and reason, fit for a message.
    fn words(&self) -> String {
        const MOST: usize = 100;
        let reason = blanked_text(self.reason, self.secrets);
        let reason: String = reason.chars().take(MOST).flat_map(char::escape_debug).collect();
        if reason.is_empty() { self.status.to_string() } else { format!("{} {reason}", self.status) }
    }

    /// Returns the cause that the proxy tells apart from its status: `error` of Proxy-Status
    /// (RFC 9209, 2.1.1), or the errno that Squid tells.
    fn why(&self) -> Option<(ExitCode, String)> {
        let of_status = self.all("proxy-status").flat_map(|value| value.split([';', ','])).find_map(|part| {
            let (name, value) = part.trim().split_once('=')?;
            (name.trim() == "error").then(|| value.trim().trim_matches('"'))
        });
        if let Some(error) = of_status {
            let code = match error {
                "connection_refused" => ExitCode::Refused,
                "connection_timeout"
                | "connection_read_timeout"
                | "connection_write_timeout"
                | "dns_timeout"
                | "http_response_timeout" => ExitCode::NoAnswer,
                "destination_ip_prohibited" | "http_request_denied" | "proxy_loop_detected" => ExitCode::Permission,
                "connection_terminated" => ExitCode::Reset,
                _ => ExitCode::Unreachable,
            };
            return Some((code, format!("Proxy-Status {}", blanked_text(error, self.secrets).escape_debug())));
        }
        let squid = self.all("x-squid-error").next()?;
        let (name, errno) = squid.split_once(' ').unwrap_or((squid, ""));
        let code = match (name, errno) {
            // The errnos of Linux.
            ("ERR_CONNECT_FAIL", "111") => ExitCode::Refused,
            ("ERR_CONNECT_FAIL", "110") | ("ERR_READ_TIMEOUT" | "ERR_LIFETIME_EXP", _) => ExitCode::NoAnswer,
            ("ERR_ACCESS_DENIED" | "ERR_CACHE_ACCESS_DENIED", _) => ExitCode::Permission,
            _ => ExitCode::Unreachable,
        };
        Some((code, blanked_text(squid, self.secrets).escape_debug().to_string()))
    }

    fn words_and_why(&self) -> String {
        match self.why() {
            Some((_, why)) => format!("{} ({why})", self.words()),
            None => self.words(),
        }
    }

    /// Returns what a refusal means for the run.
    fn code(&self) -> ExitCode {
        match (self.why(), self.status) {
            (Some((code, _)), _) => code,
            (None, 408 | 504) => ExitCode::NoAnswer,
            // It could not reach the target, and does not say why.
            (None, 500..) => ExitCode::Unreachable,
            (None, _) => ExitCode::Permission,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::dialogue::tests::{feed, survives};
    use super::*;

    fn dialogue(credentials: bool) -> HttpConnect {
        let joe = credentials.then(|| Credentials { user: "joe".into(), password: "pw".into() });
        HttpConnect::new(&Destination::Name("a.example".into(), 80), joe, None, "fresh".into())
    }

    fn refused(answer: &str) -> Refusal {
        match feed(&mut dialogue(false), answer.as_bytes(), 7).1 {
            Progress::Refused(refusal) => refusal,
            other => panic!("{answer}: {other:?}"),
        }
    }

    #[test]
    fn a_yes_ends_with_its_head() {
        for size in 1..80 {
            // RFC 9110, 9.3.6: a length in a yes says nothing; 1xx comes before.
            let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Connection established\r\nContent-Length: 9\r\n\r\n\r\nSSH-2.0";
            let (sent, progress, left) = feed(&mut dialogue(true), answer.as_bytes(), size);
            let sent = String::from_utf8(sent).unwrap();
            assert!(sent.starts_with("CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\nUser-Agent: sockeye/"));
            assert!(sent.ends_with("\r\n\r\n") && !sent.contains("Authorization"));
            let Progress::Granted(grant) = progress else { panic!("{progress:?}") };
            assert_eq!((grant.code, grant.reply.as_str()), (200, "200 Connection established"));
            assert_eq!((grant.authentication, left.as_slice()), (None, &b"\r\nSSH-2.0"[..]));
        }
        let v6 = Destination::Address("[2001:db8::1]:443".parse().unwrap());
        let sent = HttpConnect::new(&v6, None, None, String::new()).begin();
        assert!(sent.starts_with(b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n"));
    }

    #[test]
    fn every_status_has_its_code() {
        for (status, code) in [(403, 4), (405, 4), (301, 4), (400, 4), (408, 8), (500, 9), (502, 9), (503, 9), (504, 8)]
        {
            let refusal = refused(&format!("HTTP/1.1 {status} Because\r\nContent-Length: 2\r\n\r\nno"));
            assert_eq!(refusal.code.number(), code, "{status}");
            assert_eq!(refusal.words, format!("it answers {status} Because"));
        }
        for (field, code) in [
            ("Proxy-Status: p.example; error=connection_refused", 7),
            ("proxy-status: p; error=connection_timeout; details=\"x\"", 8),
            ("Proxy-Status: p; error=dns_error; rcode=\"NXDOMAIN\"", 9),
            ("Proxy-Status: p; error=http_request_denied", 4),
            ("X-Squid-Error: ERR_CONNECT_FAIL 111", 7),
            ("X-Squid-Error: ERR_CONNECT_FAIL 110", 8),
            ("X-Squid-Error: ERR_CONNECT_FAIL 113", 9),
            ("X-Squid-Error: ERR_ACCESS_DENIED 0", 4),
        ] {
            let refusal = refused(&format!("HTTP/1.1 503 No\r\n{field}\r\nContent-Length: 0\r\n\r\n"));
            assert_eq!(refusal.code.number(), code, "{field}");
        }
    }

    #[test]
    fn the_text_of_a_refusal_is_read_to_its_end() {
        let chunked = "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n";
        for size in 1..80 {
            let (_, progress, left) = feed(&mut dialogue(false), format!("{chunked}REST").as_bytes(), size);
            assert!(matches!(progress, Progress::Refused(_)));
            assert_eq!(left, b"REST");
        }
        // To the close of the proxy: then it is known.
        let mut open = dialogue(false);
        assert_eq!(feed(&mut open, b"HTTP/1.0 403 Forbidden\r\n\r\n<html>", 5).1, Progress::More);
        assert!(matches!(open.settled(), Some(Progress::Refused(_))));
        assert!(dialogue(false).settled().is_none());
    }

    #[test]
    fn the_password_goes_to_whoever_asks_and_in_the_best_form() {
        let asked = "HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 2\r\n\r\nno";
        let yes = "HTTP/1.1 200 OK\r\n\r\n";
        let (sent, progress, _) = feed(&mut dialogue(true), format!("{asked}{yes}").as_bytes(), 1000);
        let sent = String::from_utf8(sent).unwrap();
        assert_eq!(sent.matches("CONNECT ").count(), 2);
        assert!(sent.ends_with("Proxy-Authorization: Basic am9lOnB3\r\n\r\n"), "{sent}");
        assert!(matches!(progress, Progress::Granted(Grant { authentication: Some("basic"), .. })));
        let (_, progress, _) = feed(&mut dialogue(true), format!("{asked}{asked}").as_bytes(), 1000);
        let Progress::Refused(refusal) = progress else { panic!("{progress:?}") };
        assert!(refusal.words.contains("does not take this user") && refusal.code == ExitCode::Permission);
        assert!(refused(asked).words.contains("(Basic), and no user was given"));
        let ntlm = asked.replace("Basic", "NTLM");
        let (_, progress, _) = feed(&mut dialogue(true), ntlm.as_bytes(), 1000);
        assert!(matches!(progress, Progress::Refused(refusal) if refusal.words.contains("other than Basic")));
        let nothing = refused("HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n").words;
        assert!(nothing.contains("(it does not say how)"), "{nothing}");
    }

    #[test]
    fn a_nonce_that_is_too_old_is_answered_once_more() {
        let ask = |nonce: &str, stale: &str| {
            format!(
                "HTTP/1.1 407 Who?\r\nProxy-Authenticate: Digest realm=x, nonce={nonce}, qop=auth{stale}\r\nContent-Length: 0\r\n\r\n"
            )
        };
        let stale = ask("b", ", stale=true");
        let (sent, progress, _) = feed(
            &mut dialogue(true),
            [ask("a", ""), stale.clone(), "HTTP/1.1 200 OK\r\n\r\n".into()].concat().as_bytes(),
            11,
        );
        let sent = String::from_utf8(sent).unwrap();
        assert!(sent.contains("nonce=\"a\"") && sent.contains("nonce=\"b\"") && sent.contains("uri=\"a.example:80\""));
        assert!(matches!(progress, Progress::Granted(Grant { authentication: Some("digest"), .. })));
        let (_, progress, _) = feed(&mut dialogue(true), [ask("a", ""), stale.clone(), stale].concat().as_bytes(), 11);
        assert!(matches!(progress, Progress::Refused(_)), "not for ever");
    }

    #[test]
    fn where_the_proxy_closes_the_answer_goes_on_another_connection() {
        for head in [
            "HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.0 407 Who?\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        ] {
            let (sent, progress, _) = feed(&mut dialogue(true), head.as_bytes(), 3);
            assert!(!sent.windows(13).any(|window| window == b"Authorization"));
            let Progress::Challenged(challenge) = progress else { panic!("{progress:?}") };
            let joe = Some(Credentials { user: "joe".into(), password: "pw".into() });
            let destination = Destination::Name("a.example".into(), 80);
            let mut next = HttpConnect::new(&destination, joe, Some(challenge), "fresh".into());
            let (sent, progress, _) = feed(&mut next, head.as_bytes(), 3);
            assert!(sent.ends_with(b"Proxy-Authorization: Basic am9lOnB3\r\n\r\n"));
            assert!(matches!(progress, Progress::Refused(_)), "it asks once");
            assert_eq!(next.at_end(), None);
        }
        // Its text ends with the connection.
        let mut open = dialogue(true);
        let _ = feed(&mut open, b"HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\n\r\n<html>", 9);
        assert!(matches!(open.settled(), Some(Progress::Challenged(_))));
    }

    #[test]
    fn a_proxy_that_asks_for_ever_is_answered_on_three_connections() {
        let stale = "HTTP/1.1 407 Who?\r\nProxy-Authenticate: Digest realm=x, nonce=y, qop=auth, stale=true\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!";
        let again = |known: Option<Challenge>| {
            let joe = Some(Credentials { user: "joe".into(), password: "pw".into() });
            HttpConnect::new(&Destination::Name("a.example".into(), 80), joe, known, "fresh".into())
        };
        let mut known = None;
        for _ in 0..2 {
            let (_, progress, _) = feed(&mut again(known), stale.as_bytes(), 9);
            let Progress::Challenged(challenge) = progress else { panic!("{progress:?}") };
            assert!(challenge.words.contains("407 Who?"));
            known = Some(challenge);
        }
        assert!(matches!(feed(&mut again(known.clone()), stale.as_bytes(), 9).1, Progress::Refused(_)));
        let mut cut = again(known);
        let _ = feed(&mut cut, &stale.as_bytes()[..stale.len() - 1], 9);
        assert!(matches!(cut.settled(), Some(Progress::Refused(_))));
        // It says nothing of that it closes.
        let stays = stale.replace("Connection: close\r\n", "");
        for connection in 1..=3 {
            let scheme = http_auth::best(["Digest realm=x, nonce=y, qop=auth"]).unwrap();
            let known = Challenge { words: String::new(), scheme, connection: connection - 1 };
            let mut open = again(Some(known));
            assert_eq!(feed(&mut open, stays.as_bytes(), 9).1, Progress::More);
            assert_eq!(matches!(open.at_end(), Some(Progress::Challenged(_))), connection < 3, "{:?}", open.at_end());
        }
        // What was not too old is not answered again.
        let fresh = stale.replace(", stale=true", "");
        let (_, progress, _) = feed(&mut again(None), fresh.as_bytes(), 9);
        let Progress::Challenged(challenge) = progress else { panic!("{progress:?}") };
        let (_, progress, _) = feed(&mut again(Some(challenge)), fresh.as_bytes(), 9);
        assert!(matches!(progress, Progress::Refused(refusal) if refusal.words.contains("does not take")));
    }

    #[test]
    fn a_proxy_that_closes_instead_of_reading_the_answer_gets_it_on_another_connection() {
        let asked = "HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
        let mut open = dialogue(true);
        assert_eq!(feed(&mut open, asked.as_bytes(), 99).1, Progress::More);
        assert_eq!(open.settled(), None, "it may still answer");
        assert!(matches!(open.at_end(), Some(Progress::Challenged(_))));
        let _ = open.take(b"HTTP/1.1");
        assert_eq!(open.at_end(), None);
    }

    #[test]
    fn what_is_no_http_is_told_at_once() {
        for bytes in [
            &b"S"[..],
            b"\x05\0",
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 2000\r\n\r\n",
            b"HTTP/1.1\r\n\r\n",
        ] {
            let (_, progress, _) = feed(&mut dialogue(false), bytes, 1);
            assert!(matches!(progress, Progress::Malformed(_)), "{bytes:?}: {progress:?}");
        }
        let long = [b"HTTP/1.1 200 OK\r\n".to_vec(), vec![b'x'; LONGEST_HEAD]].concat();
        assert!(matches!(feed(&mut dialogue(false), &long, 4096).1, Progress::Malformed(_)));
        assert!(refused("HTTP/1.1 403 \x1b[2J\r\nContent-Length: 0\r\n\r\n").words.contains("\\u{1b}"));
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(
            begin in prop_oneof![
                Just(""),
                Just("HTTP/1.1 200"),
                Just("HTTP/1.1 407 x\r\nProxy-Authenticate: Digest "),
                Just("HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n"),
                Just("HTTP/1.0 503 x\r\nContent-Length: "),
            ],
            rest in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'f'), Just(b'"'), any::<u8>()], 0..300),
            size in 1_usize..50,
        ) {
            let bytes = [begin.as_bytes(), &rest].concat();
            survives(dialogue(true), &bytes, size);
            survives(dialogue(false), &bytes, size);
        }
    }
}

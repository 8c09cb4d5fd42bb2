//! The dialogues by which a server that has begun in plain text is asked for TLS: bytes in, bytes
//! out. Whatever a server says after it has agreed is an injection, and never passes for TLS.

use super::xml::{self, Found};

/// A protocol that has such a dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 3207.
    Smtp,
    /// RFC 9051, 6.2.1.
    Imap,
    /// RFC 2595, 4.
    Pop3,
    /// RFC 4217.
    Ftp,
    /// PostgreSQL, "Frontend/Backend Protocol", SSLRequest.
    Postgres,
    /// MySQL, "Connection Phase", SSLRequest.
    Mysql,
    /// RFC 4511, 4.14.
    Ldap,
    /// RFC 6120, 5.
    Xmpp,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 8] =
        [Self::Smtp, Self::Imap, Self::Pop3, Self::Ftp, Self::Postgres, Self::Mysql, Self::Ldap, Self::Xmpp];

    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Ftp => "ftp",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Ldap => "ldap",
            Self::Xmpp => "xmpp",
        }
    }
}

/// What a client does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Send this.
    Send(Vec<u8>),
    /// Wait for more, and feed it.
    Wait,
    /// Begin the handshake.
    Begin,
    /// Give up: the server refuses, or does not speak the protocol.
    Refused(String),
    /// Give up: the server has said more than its agreement, and so much of it.
    Injected(usize),
}

/// The most bytes that a server may say before it agrees.
const MOST: usize = 64 << 10;

/// The request of LDAP: an ExtendedRequest, message 1, of the object identifier of StartTLS.
const LDAP_REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// The request of PostgreSQL: its length, then 1234 and 5679.
const POSTGRES_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// The request of MySQL, packet 1: what the client can (SSL, protocol 4.1, secure connection, long
/// password), the largest packet, utf8mb4, 23 zeros.
const MYSQL_REQUEST: [u8; 13] = [32, 0, 0, 1, 0x01, 0x8a, 0, 0, 0, 0, 0, 1, 45];

/// How far a dialogue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The server speaks first.
    Greeting,
    /// We speak first.
    Opening,
    /// What the server can is asked for.
    Asked,
    /// TLS is asked for.
    Requested,
}

/// One dialogue.
#[derive(Debug)]
pub struct Dialogue {
    protocol: Protocol,
    host: String,
    state: State,
    came: Vec<u8>,
}

impl Dialogue {
    /// Begins a dialogue with a host.
    #[must_use]
    pub fn new(protocol: Protocol, host: &str) -> Self {
        let state = match protocol {
            Protocol::Postgres | Protocol::Ldap | Protocol::Xmpp => State::Opening,
            Protocol::Smtp | Protocol::Imap | Protocol::Pop3 | Protocol::Ftp | Protocol::Mysql => State::Greeting,
        };
        Self { protocol, host: host.to_owned(), state, came: Vec::new() }
    }

    /// Takes what the server has said.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.came.extend_from_slice(bytes);
    }

    /// Returns what to do now.
    #[must_use]
    pub fn act(&mut self) -> Act {
        let act = match self.protocol {
            Protocol::Smtp => self.smtp(),
            Protocol::Imap => self.imap(),
            Protocol::Pop3 => self.pop3(),
            Protocol::Ftp => self.ftp(),
            Protocol::Postgres => self.postgres(),
            Protocol::Mysql => self.mysql(),
            Protocol::Ldap => self.ldap(),
            Protocol::Xmpp => self.xmpp(),
        };
        match act {
            Act::Wait if self.came.len() > MOST => Act::Refused(format!("more than {MOST} bytes without an answer")),
            Act::Begin if !self.came.is_empty() => Act::Injected(self.came.len()),
            act => act,
        }
    }

    fn send(&mut self, state: State, bytes: &[u8]) -> Act {
        self.state = state;
        Act::Send(bytes.to_vec())
    }

    fn smtp(&mut self) -> Act {
        let Some(reply) = self.reply() else { return Act::Wait };
        match self.state {
            State::Greeting if reply.code == "220" => self.send(State::Asked, b"EHLO localhost\r\n"),
            State::Asked if reply.code == "250" => {
                let offers = |line: &String| line.get(4..).is_some_and(|word| word.eq_ignore_ascii_case("STARTTLS"));
                match reply.lines.iter().any(offers) {
                    true => self.send(State::Requested, b"STARTTLS\r\n"),
                    false => Act::Refused("the server does not offer STARTTLS".to_owned()),
                }
            }
            State::Requested if reply.code == "220" => Act::Begin,
            _ => reply.refused(),
        }
    }

    fn ftp(&mut self) -> Act {
        let Some(reply) = self.reply() else { return Act::Wait };
        match self.state {
            State::Greeting if reply.code == "220" => self.send(State::Requested, b"AUTH TLS\r\n"),
            State::Requested if reply.code == "234" => Act::Begin,
            _ => reply.refused(),
        }
    }

    fn imap(&mut self) -> Act {
        while let Some(line) = self.line() {
            match self.state {
                State::Greeting if begins(&line, "* OK") => return self.send(State::Requested, b"a1 STARTTLS\r\n"),
                State::Requested if begins(&line, "a1 OK") => return Act::Begin,
                // What the server says of itself, before it answers.
                State::Requested if begins(&line, "* ") && !begins(&line, "* BYE") => {}
                _ => return refused(&line),
            }
        }
        Act::Wait
    }

    fn pop3(&mut self) -> Act {
        let Some(line) = self.line() else { return Act::Wait };
        match self.state {
            State::Greeting if begins(&line, "+OK") => self.send(State::Requested, b"STLS\r\n"),
            State::Requested if begins(&line, "+OK") => Act::Begin,
            _ => refused(&line),
        }
    }

    fn postgres(&mut self) -> Act {
        if self.state == State::Opening {
            return self.send(State::Requested, &POSTGRES_REQUEST);
        }
        match self.came.first() {
            None => Act::Wait,
            Some(b'S') => {
                self.came.remove(0);
                Act::Begin
            }
            Some(b'N') => Act::Refused("the server answers N: it has no TLS".to_owned()),
            Some(_) => refused(&String::from_utf8_lossy(&self.came)),
        }
    }

    fn mysql(&mut self) -> Act {
        if self.state == State::Requested {
            return Act::Begin;
        }
        let Some(head) = self.came.first_chunk::<4>() else { return Act::Wait };
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        // Protocol 10, and the packet is the first: anything else would be another language.
        if head[3] != 0 || length > MOST || self.came.get(4).is_some_and(|version| *version != 10) {
            return refused(&String::from_utf8_lossy(&self.came));
        }
        if self.came.len() < 4 + length {
            return Act::Wait;
        }
        let greeting: Vec<u8> = self.came.drain(..4 + length).skip(4).collect();
        if !self.came.is_empty() {
            return Act::Injected(self.came.len());
        }
        // The version's name and its end, the connection's number, eight bytes of salt and their end.
        let version = greeting.iter().position(|byte| *byte == 0).unwrap_or(greeting.len());
        match greeting.get(version + 14..version + 16) {
            Some([_, high]) if high & 0x08 != 0 => {
                let mut request = MYSQL_REQUEST.to_vec();
                request.resize(36, 0);
                self.send(State::Requested, &request)
            }
            _ => Act::Refused("the server does not offer TLS".to_owned()),
        }
    }

    fn ldap(&mut self) -> Act {
        if self.state == State::Opening {
            return self.send(State::Requested, LDAP_REQUEST);
        }
        match element(&self.came) {
            Element::Short => Act::Wait,
            Element::Whole { tag: 0x30, content, size } => {
                let code = ldap_code(content);
                self.came.drain(..size);
                match code {
                    Some(0) => Act::Begin,
                    Some(code) => Act::Refused(format!("the server refuses: LDAP result {code}")),
                    None => Act::Refused("the server's answer is none to StartTLS".to_owned()),
                }
            }
            Element::Whole { .. } | Element::Bad => refused(&String::from_utf8_lossy(&self.came)),
        }
    }

    fn xmpp(&mut self) -> Act {
        const NAMESPACE: &str = "urn:ietf:params:xml:ns:xmpp-tls";
        let said = || refused(&String::from_utf8_lossy(&self.came));
        match self.state {
            State::Greeting | State::Opening => {
                let to = self.host.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;");
                let opening = format!(
                    "<?xml version='1.0'?><stream:stream to='{to}' version='1.0' xmlns='jabber:client' \
                     xmlns:stream='http://etherx.jabber.org/streams'>"
                );
                self.send(State::Asked, opening.as_bytes())
            }
            State::Asked => {
                let begin = match xml::opening(&self.came) {
                    Ok(Some((b"stream", begin))) => begin,
                    Ok(None) => return Act::Wait,
                    Ok(Some(_)) | Err(()) => return said(),
                };
                let features = match xml::element(&self.came[begin..]) {
                    Found::Whole(element) if element.name == b"features" => element,
                    Found::Short(None | Some(b"features")) => return Act::Wait,
                    Found::Whole(_) | Found::Short(_) | Found::Bad => return said(),
                };
                // Its prefix may be bound further out.
                let end = begin + features.end;
                let is_bound = self.came[..end].windows(NAMESPACE.len()).any(|part| part == NAMESPACE.as_bytes());
                let offers = is_bound && features.children.contains(&&b"starttls"[..]);
                let more = self.came[end..].trim_ascii().len();
                self.came.clear();
                match offers {
                    true if more > 0 => Act::Injected(more),
                    true => self.send(State::Requested, format!("<starttls xmlns='{NAMESPACE}'/>").as_bytes()),
                    false => Act::Refused("the server does not offer STARTTLS".to_owned()),
                }
            }
            State::Requested => match xml::element(&self.came) {
                Found::Whole(element) if element.name == b"proceed" => {
                    let end = element.end;
                    self.came.drain(..end);
                    Act::Begin
                }
                Found::Short(None | Some(b"proceed")) => Act::Wait,
                Found::Whole(_) | Found::Short(_) | Found::Bad => said(),
            },
        }
    }

    /// Takes a line, without its end.
    fn line(&mut self) -> Option<String> {
        let end = self.came.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.came.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Takes a reply of several lines, the last of which has a blank after its code (RFC 5321, 4.2.1;
    /// RFC 959, 4.2).
    fn reply(&mut self) -> Option<Reply> {
        let (mut lines, mut end, mut code) = (Vec::new(), 0, String::new());
        loop {
            let length = self.came[end..].iter().position(|byte| *byte == b'\n')? + 1;
            let line = String::from_utf8_lossy(&self.came[end..end + length]).trim_end().to_owned();
            end += length;
            if lines.is_empty() {
                code = line.get(..3).unwrap_or(&line).to_owned();
            }
            let is_last = !line.starts_with(&code) || line.as_bytes().get(3) != Some(&b'-');
            // What lies between the first line and the last may be anything (RFC 959).
            let is_within = !lines.is_empty() && !line.starts_with(&code);
            lines.push(line);
            if is_last && !is_within {
                self.came.drain(..end);
                return Some(Reply { code, lines });
            }
        }
    }
}

/// What a server of lines has answered.
struct Reply {
    code: String,
    lines: Vec<String>,
}

impl Reply {
    fn refused(&self) -> Act {
        refused(self.lines.last().map_or("", String::as_str))
    }
}

/// Gives up with what the server said.
fn refused(said: &str) -> Act {
    let shown: String = said.chars().take(200).collect();
    Act::Refused(format!("the server says {shown:?}"))
}

fn begins(line: &str, with: &str) -> bool {
    line.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
}

/// An element of BER, as far as LDAP has it (RFC 4511, 5.1).
enum Element<'a> {
    /// There is more to come.
    Short,
    /// One that is there.
    Whole { tag: u8, content: &'a [u8], size: usize },
    /// None at all.
    Bad,
}

fn element(bytes: &[u8]) -> Element<'_> {
    let [tag, first, rest @ ..] = bytes else { return Element::Short };
    let (length, head) = match *first {
        short @ 0..=0x7f => (usize::from(short), 2),
        long @ 0x81..=0x84 => {
            let count = usize::from(long & 0x7f);
            let Some(octets) = rest.get(..count) else { return Element::Short };
            (octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), 2 + count)
        }
        _ => return Element::Bad,
    };
    if length > MOST {
        return Element::Bad;
    }
    match bytes.get(head..head + length) {
        Some(content) => Element::Whole { tag: *tag, content, size: head + length },
        None => Element::Short,
    }
}

/// Returns the result code of an ExtendedResponse to message 1.
fn ldap_code(message: &[u8]) -> Option<u8> {
    let Element::Whole { tag: 0x02, content: [1], size } = element(message) else { return None };
    let Element::Whole { tag: 0x78, content, .. } = element(&message[size..]) else { return None };
    match element(content) {
        Element::Whole { tag: 0x0a, content: [code], .. } => Some(*code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Goes through a dialogue with what a server says, whole and byte by byte; returns how it ended
    /// and what was sent.
    fn walk(protocol: Protocol, says: &[&[u8]]) -> (Act, Vec<Vec<u8>>) {
        let by = |size: usize| {
            let mut dialogue = Dialogue::new(protocol, "a&b");
            let (mut sent, mut says) = (Vec::new(), says.iter());
            let mut pieces: Vec<&[u8]> = Vec::new();
            loop {
                match dialogue.act() {
                    Act::Send(bytes) => sent.push(bytes),
                    Act::Wait => {
                        if pieces.is_empty() {
                            match says.next() {
                                Some(whole) => pieces = whole.chunks(size).rev().collect(),
                                None => return (Act::Wait, sent),
                            }
                        }
                        dialogue.feed(pieces.pop().unwrap_or_default());
                    }
                    end => return (end, sent),
                }
            }
        };
        let whole = by(usize::MAX);
        // Of an injection a part shows the whole, where it comes apart.
        if !matches!(whole.0, Act::Injected(_) | Act::Refused(_)) {
            assert_eq!(by(1), whole, "{protocol:?}");
        }
        whole
    }

    const MYSQL: &[u8] = b"\x1c\0\0\0\x0a8.0\0\x01\0\0\0saltsalt\0\xff\xff\x08\x02\0\xff\xc1\0\0\0";

    /// What good servers say, up to their agreement.
    fn good(protocol: Protocol) -> Vec<&'static [u8]> {
        match protocol {
            Protocol::Smtp => vec![b"220-mail\r\n220 ready\r\n", b"250-mail\r\n250-starttls\r\n250 SIZE\r\n", b"220 go\r\n"],
            Protocol::Imap => vec![b"* OK ready\r\n", b"* CAPABILITY x\r\na1 OK begin\r\n"],
            Protocol::Pop3 => vec![b"+OK ready\r\n", b"+OK begin\r\n"],
            Protocol::Ftp => vec![b"220-hello\r\n any\r\n220 ready\r\n", b"234 begin\r\n"],
            Protocol::Postgres => vec![b"S"],
            Protocol::Mysql => vec![MYSQL],
            Protocol::Ldap => vec![b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0"],
            Protocol::Xmpp => vec![
                b"<?xml version='1.0'?><stream:stream id='1'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>",
                b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            ],
        }
    }

    #[test]
    fn every_protocol_comes_to_its_handshake() {
        for protocol in Protocol::ALL {
            let (end, sent) = walk(protocol, &good(protocol));
            assert_eq!(end, Act::Begin, "{protocol:?}");
            assert!(!sent.is_empty());
        }
        assert_eq!(walk(Protocol::Smtp, &good(Protocol::Smtp)).1, [&b"EHLO localhost\r\n"[..], b"STARTTLS\r\n"]);
        assert_eq!(walk(Protocol::Mysql, &good(Protocol::Mysql)).1[0].len(), 36);
        assert!(walk(Protocol::Xmpp, &good(Protocol::Xmpp)).1[0].windows(9).any(|part| part == b"'a&amp;b'"));
    }

    #[test]
    fn what_is_said_after_the_agreement_is_an_injection() {
        for protocol in Protocol::ALL {
            let mut says: Vec<Vec<u8>> = good(protocol).iter().map(|part| part.to_vec()).collect();
            says.last_mut().unwrap().extend_from_slice(b"injected");
            let says: Vec<&[u8]> = says.iter().map(Vec::as_slice).collect();
            assert_eq!(walk(protocol, &says).0, Act::Injected(8), "{protocol:?}");
        }
    }

    #[test]
    fn refusals_are_told() {
        let refuses: [(Protocol, &[&[u8]]); 12] = [
            (Protocol::Smtp, &[b"554 no\r\n"]),
            (Protocol::Smtp, &[b"220 x\r\n", b"250 x\r\n"]),
            (Protocol::Smtp, &[b"220 x\r\n", b"250 STARTTLS\r\n", b"454 not now\r\n"]),
            (Protocol::Imap, &[b"* BYE\r\n"]),
            (Protocol::Imap, &[b"* OK\r\n", b"a1 BAD\r\n"]),
            (Protocol::Pop3, &[b"+OK\r\n", b"-ERR\r\n"]),
            (Protocol::Ftp, &[b"220 x\r\n", b"500 what\r\n"]),
            (Protocol::Postgres, &[b"N"]),
            (Protocol::Mysql, &[b"SSH-2.0-x\r\n"]),
            (Protocol::Ldap, &[b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\0\x04\0"]),
            (Protocol::Xmpp, &[b"<a/><stream:features></stream:features>"]),
            (Protocol::Xmpp, &[b"HTTP/1.1 400 no\r\n"]),
        ];
        for (protocol, says) in refuses {
            assert!(matches!(walk(protocol, says).0, Act::Refused(_)), "{protocol:?} {says:?}");
        }
    }

    /// The answers of XMPP up to its features, and after a request.
    fn xmpp<'a>(features: &'a [u8], answer: &'a [u8]) -> Act {
        walk(Protocol::Xmpp, &[features, answer]).0
    }

    #[test]
    fn what_xmpp_says_is_read_as_xml() {
        const NS: &str = "xmlns='urn:ietf:params:xml:ns:xmpp-tls'";
        let plain = format!("<stream:stream><stream:features><starttls {NS}/></stream:features>");
        let proceed = format!("<proceed {NS}/>");
        for features in [
            plain.clone(),
            format!(
                "<?xml version='1.0' encoding='>'?>\n<s:stream xmlns:s='x' a=\"'>\">\n<s:features ><starttls {NS}><required/></starttls ></s:features >\n"
            ),
            "<stream><features><x a='/features>'/><t:starttls xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'/></features>"
                .to_owned(),
        ] {
            assert_eq!(xmpp(features.as_bytes(), proceed.as_bytes()), Act::Begin, "{features}");
        }
        for answer in [
            format!("<proceed {NS}></proceed>"),
            format!("<proceed {NS}></proceed >"),
            format!("<proceed a='>' {NS}/>"),
            format!("<proceed a='/>' {NS} ></proceed\n>"),
            format!("\n<tls:proceed {NS}>\n<x>y</x><![CDATA[</tls:proceed>]]></tls:proceed>"),
        ] {
            assert_eq!(xmpp(plain.as_bytes(), answer.as_bytes()), Act::Begin, "{answer}");
            let more = [answer.as_bytes(), b"<evil/>"].concat();
            assert_eq!(xmpp(plain.as_bytes(), &more), Act::Injected(7), "{answer}");
        }
        // Bytes that are no UTF-8 hide nothing.
        let hidden = [b"<proceed a='\xff\xff\xff\xff' ".as_slice(), NS.as_bytes(), b"/><evil/>"].concat();
        assert_eq!(xmpp(plain.as_bytes(), &hidden), Act::Injected(7));
        assert_eq!(xmpp([plain.as_bytes(), b" <evil/>"].concat().as_slice(), b""), Act::Injected(7));
        for features in [
            "<stream:stream><stream:features/>",
            "<stream:stream><stream:features />",
            "<stream:stream><stream:features></stream:features>",
            "<stream:stream><stream:features><starttls xmlns='x'/></stream:features>",
            "<stream:stream><stream:features><x><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></x></stream:features>",
            "<stream:stream><stream:error><host-unknown/>",
            "<stream:stream></stream:stream>",
            "<stream:stream/>",
            "<stream:stream>text",
            "<stream:stream><!-- x -->",
            "<stream:stream><stream:features></x>",
            "<html>",
            "x",
        ] {
            assert!(matches!(xmpp(features.as_bytes(), b""), Act::Refused(_)), "{features}");
        }
        for answer in ["<failure/>", "<failure>", "<proceedings>", "x", "</proceed>", "<proceed></x>", "<proceed <"] {
            assert!(matches!(xmpp(plain.as_bytes(), answer.as_bytes()), Act::Refused(_)), "{answer}");
        }
        for answer in ["", "<", "<proceed", "<proceed a='/>", "<proceed>", "<proceed></proceed", "<proc"] {
            assert_eq!(xmpp(plain.as_bytes(), answer.as_bytes()), Act::Wait, "{answer}");
        }
    }

    proptest! {
        /// Whatever XML is before the agreement, what comes after it is an injection of just that.
        #[test]
        fn no_markup_hides_an_injection(inner in "[<>/ax'\"= ?!-]{0,40}", after in "[<>/ax'\" ]{1,20}") {
            let features: &[u8] = b"<stream><features><starttls a='urn:ietf:params:xml:ns:xmpp-tls'/></features>";
            let answer = format!("<proceed>{inner}</proceed>");
            if xmpp(features, answer.as_bytes()) == Act::Begin {
                prop_assert_eq!(xmpp(features, format!("{answer}{after}").as_bytes()), Act::Injected(after.len()));
            }
        }

        #[test]
        fn whatever_xmpp_says_ends_or_waits(says in "[<>/ax'\"= ?!\\[\\]-]{0,60}") {
            let _ = walk(Protocol::Xmpp, &[says.as_bytes(), says.as_bytes()]);
            let features: &[u8] = b"<stream><features><starttls a='urn:ietf:params:xml:ns:xmpp-tls'/></features>";
            let _ = walk(Protocol::Xmpp, &[features, says.as_bytes()]);
        }

        #[test]
        fn whatever_a_server_says_ends_or_waits(which in 0..8_usize, pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
            let mut dialogue = Dialogue::new(Protocol::ALL[which], "h");
            let mut pieces = pieces.iter();
            for _ in 0..32 {
                match dialogue.act() {
                    Act::Send(_) => {}
                    Act::Wait => match pieces.next() {
                        Some(piece) => dialogue.feed(piece),
                        None => break,
                    },
                    _ => break,
                }
            }
        }
    }
}

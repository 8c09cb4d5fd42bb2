//! `connect --tls --starttls`: the dialogue in plain text before TLS, with servers in Python, and OpenLDAP's.

use crate::harness::events::{Close, Error, Recv, Send, Tls};
use crate::harness::net::TempDir;
use crate::harness::tls::{Authority, NOW, Pair};
use crate::harness::{Family, Peer, Sockeye};

/// A server that speaks a dialogue, injects what it is told to, then goes on with TLS and echoes.
const SERVER: &str = r#"
import ssl
cert, key, protocol, extra = sys.argv[1:5]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
extra = extra.encode().decode('unicode_escape').encode()
server = listen('127.0.0.1')
peer, _ = server.accept()
peer.settimeout(60)

def until(end):
    data = b''
    while not data.endswith(end):
        data += exactly(peer, 1)
    return data

if protocol == 'smtp':
    peer.sendall(b'220-mail.example\r\n220 ready\r\n')
    assert until(b'\r\n').startswith(b'EHLO '), 'EHLO'
    peer.sendall(b'250-mail.example\r\n250-SIZE 1\r\n250 STARTTLS\r\n')
    assert until(b'\r\n') == b'STARTTLS\r\n'
    peer.sendall(b'220 go ahead\r\n' + extra)
elif protocol == 'imap':
    peer.sendall(b'* OK ready\r\n')
    tag, word = until(b'\r\n').split()
    assert word == b'STARTTLS'
    peer.sendall(tag + b' OK begin\r\n' + extra)
elif protocol == 'pop3':
    peer.sendall(b'+OK ready\r\n')
    assert until(b'\r\n') == b'STLS\r\n'
    peer.sendall(b'+OK begin\r\n' + extra)
elif protocol == 'ftp':
    peer.sendall(b'220 ready\r\n')
    assert until(b'\r\n') == b'AUTH TLS\r\n'
    peer.sendall(b'234 begin\r\n' + extra)
elif protocol == 'postgres':
    assert struct.unpack('>II', exactly(peer, 8)) == (8, 80877103)
    peer.sendall(b'S' + extra)
elif protocol == 'mysql':
    greeting = b'\x0a8.0.0\0' + struct.pack('<I', 7) + b'saltsalt\0' + struct.pack('<H', 0xffff) + b'\x21\x02\0' + struct.pack('<H', 0xc1ff) + b'\x15' + b'\0' * 10 + b'saltsaltsalt\0' + b'mysql_native_password\0'
    peer.sendall(struct.pack('<I', len(greeting)) + greeting + extra)
    if not extra:
        size, = struct.unpack('<I', exactly(peer, 4))
        assert size == (1 << 24) + 32, size
        flags, = struct.unpack('<I', exactly(peer, 32)[:4])
        assert flags & 0x800, flags
elif protocol == 'ldap':
    request = exactly(peer, 31)
    assert request[:2] == b'\x30\x1d' and request.endswith(b'1.3.6.1.4.1.1466.20037')
    peer.sendall(b'\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00' + extra)
elif protocol == 'xmpp':
    assert b"to='localhost'" in until(b"streams'>")
    peer.sendall(b"<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>")
    peer.sendall(b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>")
    assert until(b'/>') == b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    peer.sendall(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + extra)
elif protocol == 'none':
    peer.sendall(b'220 ready\r\n')
    until(b'\r\n')
    peer.sendall(b'250 nothing to offer\r\n')
try:
    tls = context.wrap_socket(peer, server_side=True)
    count = 0
    while data := tls.recv(65536):
        count += len(data)
        tls.sendall(data)
    say('ok', count)
except OSError as error:
    say('no', repr(error))
"#;

fn serve(pair: &Pair, protocol: &str, extra: &str) -> Peer {
    Peer::python_server(SERVER, &[pair.cert.to_str().unwrap(), pair.key.to_str().unwrap(), protocol, extra])
}

fn talk(authority: &Authority, port: u16, protocol: &str) -> Sockeye {
    let ca = authority.cert();
    Sockeye::new(format!("connect localhost {port} secret --tls --starttls {protocol} --ca {}", ca.display()))
}

#[test]
fn each_protocol_comes_to_tls_and_shows_how() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost"], NOW);
    for protocol in ["smtp", "imap", "pop3", "ftp", "postgres", "mysql", "ldap", "xmpp"] {
        let server = serve(&pair, protocol, "");
        let run = talk(&authority, server.port, protocol).arg("--json").run().exits(0);
        let tls = run.lines.iter().position(|line| line.event.name() == "tls").unwrap();
        let is_before = |name: &str| run.lines[..tls].iter().any(|line| line.event.name() == name);
        assert!(is_before("send") && is_before("recv"), "{protocol}: {}", run.dump());
        let (sent, received) = (run.all::<Send>(), run.all::<Recv>());
        assert!(sent.iter().rev().skip(1).all(|sent| sent.layer.as_deref() == Some("starttls")), "{}", run.dump());
        let (asked, answered) = (sent.last().unwrap(), received.last().unwrap());
        assert_eq!((asked.data.as_deref(), asked.layer.as_deref()), (Some("secret"), None));
        assert_eq!((answered.data.as_deref(), answered.layer.as_deref()), (Some("secret"), None));
        assert_eq!(run.one::<Tls>().verified, Some(true));
        server.wait_for("ok 6");
    }
}

#[test]
fn the_dialogue_is_not_among_what_the_peer_sent() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost"], NOW);
    let server = serve(&pair, "smtp", "");
    let run = talk(&authority, server.port, "smtp").run().exits(0);
    assert_eq!(run.stdout().trim_ascii_end(), b"secret");
    assert!(run.stderr().contains("STARTTLS"));
}

#[test]
fn plain_text_after_the_agreement_is_caught() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost"], NOW);
    for protocol in ["smtp", "imap", "pop3", "ftp", "postgres", "mysql", "ldap", "xmpp"] {
        let server = serve(&pair, protocol, "250 injected\\r\\n");
        let run = talk(&authority, server.port, protocol).arg("--json").run().exits(11);
        let name = run.one::<Error>().name.as_deref();
        // What does not come with the agreement is no TLS.
        assert!(matches!(name, Some("plain-text-injected" | "not-tls")), "{protocol}: {}", run.dump());
        assert!(run.all::<Send>().iter().all(|sent| sent.data.as_deref() != Some("secret")));
        assert_eq!((run.all::<Tls>().len(), run.all::<Close>().len()), (0, 1));
    }
}

#[test]
fn a_server_that_does_not_offer_it_is_told() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost"], NOW);
    let server = serve(&pair, "none", "");
    let run = talk(&authority, server.port, "smtp").arg("--json").run().exits(11);
    assert_eq!(run.one::<Error>().name.as_deref(), Some("starttls-refused"));
    assert!(run.one::<Error>().message.contains("does not offer"), "{}", run.dump());
    // A server that waits for us to speak first, and is waited for.
    let server = serve(&pair, "postgres", "");
    let run = talk(&authority, server.port, "smtp").args(["--json", "--tls-timeout", "300ms"]).run().exits(8);
    assert_eq!(run.one::<Error>().name.as_deref(), Some("silent"));
}

/// Starts OpenLDAP's slapd, which answers without any directory; with these lines in its configuration.
fn slapd(dir: &TempDir, lines: &str) -> Peer {
    let config = dir.path().join("slapd.conf");
    std::fs::write(&config, lines).unwrap();
    Peer::daemon("slapd", Family::V4, |port| {
        let config = config.display().to_string();
        ["-d", "0", "-f", &config, "-h", &format!("ldap://127.0.0.1:{port}/")].map(str::to_owned).into()
    })
}

#[test]
fn a_server_of_ldap_that_others_wrote_agrees_or_refuses() {
    let (authority, dir) = (Authority::new(), TempDir::new());
    let Pair { cert, key } = authority.issue("server", &["localhost"], NOW);
    let files = format!("TLSCertificateFile {}\nTLSCertificateKeyFile {}\n", cert.display(), key.display());
    // An anonymous bind, which succeeds (RFC 4511, 4.2).
    let bind = |port: u16| {
        let words = format!("--tls --starttls ldap --ca {}", authority.cert().display());
        let line = format!("connect localhost {port} --json {words} --hex 300c020101600702010304008000");
        Sockeye::new(line).run()
    };
    let server = slapd(&dir, &files);
    let run = bind(server.port).exits(0);
    assert_eq!(run.one::<Tls>().verified, Some(true), "{}", run.dump());
    let answer = run.all::<Recv>().into_iter().find(|recv| recv.layer.is_none()).unwrap().payload();
    assert!(answer.ends_with(b"\x61\x07\x0a\x01\x00\x04\x00\x04\x00"), "{}", run.dump());
    let server = slapd(&dir, "");
    let error = bind(server.port).exits(11);
    assert_eq!(error.one::<Error>().name.as_deref(), Some("starttls-refused"), "{}", error.dump());
}

//! `serve` and `unix-serve` over TLS, asked by openssl, curl and Python; and clients that do it wrong.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::harness::events::{Accept, Close, Eof, Error, OwnCertificate, Reason, Recv, Send, Timeout, Tls, Warning};
use crate::harness::net::TempDir;
use crate::harness::process::Stdin;
use crate::harness::tls::{Authority, BY_HAND, NOW, Pair};
use crate::harness::{Peer, Running, Sockeye};

/// A client in Python's ssl: asks, prints what came back, and ends as it is told to.
const CLIENT: &str = r"
import ssl
ca, port, name, message, end, cert, key, alpn = sys.argv[1:9]
context = ssl.create_default_context(cafile=ca)
if cert != '-':
    context.load_cert_chain(cert, key)
if alpn != '-':
    context.set_alpn_protocols(alpn.split(','))
peer = socket.socket(socket.AF_UNIX) if port.startswith('/') else None
if peer:
    peer.connect(port)
else:
    peer = dial('127.0.0.1', port)
peer.settimeout(60)
try:
    tls = context.wrap_socket(peer, server_hostname=name)
    tls.sendall(message.encode())
    count, got = len(message), b''
    while len(got) < count and (data := tls.recv(65536)):
        got += data
    say(tls.version(), tls.selected_alpn_protocol(), got.decode()[:40], len(got))
    if end == 'unwrap':
        tls.unwrap()
        say('unwrapped')
    elif end == 'eof':
        say('rest', tls.recv(65536))
    elif end == 'cut':
        peer = socket.socket(fileno=tls.detach())
        peer.shutdown(socket.SHUT_WR)
        say('cut', len(all_of(peer)) > 0)
except (OSError, ValueError) as error:
    say('no', getattr(error, 'reason', None) or getattr(error, 'verify_message', None) or repr(error))
";

/// What a client in Python says.
struct Asks<'a> {
    ca: &'a Path,
    to: &'a str,
    name: &'a str,
    message: &'a str,
    end: &'a str,
    pair: Option<&'a Pair>,
    alpn: &'a str,
}

impl Asks<'_> {
    fn lines(&self) -> Vec<String> {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let [cert, key] = self.pair.map_or(["-".into(), "-".into()], |pair| [path(&pair.cert), path(&pair.key)]);
        let ca = path(self.ca);
        Peer::python(CLIENT, &[&ca, self.to, self.name, self.message, self.end, &cert, &key, self.alpn]).lines()
    }
}

/// Asks a server once, and ends by taking leave.
fn asks<'a>(ca: &'a Path, to: &'a str, message: &'a str) -> Asks<'a> {
    Asks { ca, to, name: "localhost", message, end: "unwrap", pair: None, alpn: "-" }
}

/// Starts a server that shows a certificate of its own, and writes that to a file.
fn self_signed(dir: &TempDir, words: &str) -> (Running, String, std::path::PathBuf) {
    let server = Sockeye::new(format!("serve 127.0.0.1:0 --tls-self-signed --json {words}")).start();
    let own: OwnCertificate = server.wait_for();
    assert!(own.throw_away && own.certificates.len() == 1);
    let ca = dir.path().join("own.pem");
    std::fs::write(&ca, own.pem.unwrap()).unwrap();
    let port = server.port().to_string();
    (server, port, ca)
}

/// Starts a server that tells nothing, with a certificate of an authority.
fn quiet(authority: &Authority, words: &str) -> (Running, String, std::path::PathBuf) {
    let Pair { cert, key } = authority.issue("server", &["localhost"], NOW);
    let files = format!("--tls-cert {} --tls-key {}", cert.display(), key.display());
    let server = Sockeye::new(format!("serve 127.0.0.1:0 -q {files} {words}")).start();
    let port = server.port().to_string();
    (server, port, authority.cert())
}

#[test]
fn a_certificate_made_for_the_run_serves_whom_it_was_given() {
    let dir = TempDir::new();
    let (server, port, ca) = self_signed(&dir, "--alpn http/1.1 --prefix Echo: --count 1");
    let mut ask = asks(&ca, &port, "hello");
    (ask.alpn, ask.message) = ("h2,http/1.1", "hello");
    let lines = ask.lines();
    assert!(lines[0].starts_with("TLSv1.3 http/1.1 Echo:"), "{lines:?}");
    let run = server.finish().exits(0);
    let tls = run.one::<Tls>();
    assert_eq!((tls.sni.as_deref(), tls.alpn.as_deref()), (Some("localhost"), Some("http/1.1")));
    assert_eq!((&*tls.alpn_offered, tls.verified), (&["h2", "http/1.1"].map(String::from)[..], None));
    assert_eq!((tls.version.as_deref(), tls.resumed), (Some("TLSv1.3"), Some(false)));
    assert_eq!((run.one::<Recv>().bytes, run.one::<Send>().bytes), (5, 10));
    assert_eq!(run.all::<Warning>().len(), 0, "{}", run.dump());
    let sum = &run.one::<OwnCertificate>().certificates[0].sha256;
    let asked = crate::harness::tls::openssl_x509(&ca, &["-fingerprint", "-sha256"]);
    assert!(asked.replace(':', "").to_lowercase().contains(&**sum), "{asked}");
}

#[test]
fn openssl_s_client_is_echoed_and_takes_leave() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost", "127.0.0.1"], NOW);
    let ca = authority.cert();
    for version in ["-tls1_2", "-tls1_3"] {
        let words = format!("--tls-cert {} --tls-key {}", pair.cert.display(), pair.key.display());
        let server = Sockeye::new(format!("serve 127.0.0.1:0 {words} --json --count 1")).start();
        let (to, ca) = (format!("127.0.0.1:{}", server.port()), ca.display().to_string());
        let words = [
            "s_client",
            "-connect",
            &to,
            "-CAfile",
            &ca,
            "-verify_return_error",
            "-quiet",
            "-no_ign_eof",
            "-servername",
            "localhost",
            version,
        ];
        let mut client = Peer::program("openssl", &words, Stdin::Piped, None);
        client.send(b"hello\n");
        client.wait_for("hello\n");
        client.finish();
        let run = server.finish().exits(0);
        let close = run.one::<Close>();
        assert_eq!((close.reason, close.bytes_received, close.bytes_sent), (Reason::Eof, 6, 6), "{}", run.dump());
        assert_eq!((run.all::<Eof>().len(), close.clean), (1, Some(true)), "{}", run.dump());
        assert_eq!(run.all::<Warning>().len(), 0, "{}", run.dump());
    }
}

#[test]
fn curl_gets_its_answer() {
    crate::harness::require(&["curl"]);
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost"], NOW);
    let server = Sockeye::new("serve 127.0.0.1:0 --json --escape --messages 1 --count 2 --when-regex ^GET")
        .arg("HTTP/1.0 200 OK\\r\\n\\r\\nsockeye over TLS\\n")
        .args(["--tls-cert".as_ref(), pair.cert.as_os_str(), "--tls-key".as_ref(), pair.key.as_os_str()])
        .start();
    let (url, ca) = (format!("https://localhost:{}/", server.port()), authority.cert().display().to_string());
    for words in [&["-s", "--cacert", &ca, &url][..], &["-s", "--http1.1", "--cacert", &ca, &url]] {
        let ended = Peer::program("curl", words, Stdin::Null, None).finish();
        assert_eq!(String::from_utf8_lossy(&ended.stdout), "sockeye over TLS\n", "{:?}", ended.status);
    }
    let run = server.finish().exits(0);
    assert!(run.all::<Close>().iter().all(|close| close.reason == Reason::Limit), "{}", run.dump());
    assert_eq!(run.summary().tls.as_ref().unwrap().count, 2);
}

#[test]
fn an_end_that_was_not_announced_is_told() {
    let dir = TempDir::new();
    let (server, port, ca) = self_signed(&dir, "--count 1");
    let mut ask = asks(&ca, &port, "hello");
    ask.end = "cut";
    ask.lines();
    let run = server.finish().exits(0);
    assert_eq!(run.one::<Warning>().name, "tls-truncated");
    assert_eq!((run.one::<Close>().reason, run.one::<Close>().clean), (Reason::Eof, Some(false)), "{}", run.dump());
}

#[test]
fn bulk_comes_back_whole_through_full_buffers() {
    let authority = Authority::new();
    let (server, port, ca) = quiet(&authority, "--count 1 --send-buffer 64KiB --recv-buffer 64KiB");
    // The server's buffers are full again and again: a record goes out in parts.
    let script = r"
import hashlib, ssl
context = ssl.create_default_context(cafile=sys.argv[1])
tls = context.wrap_socket(dial('127.0.0.1', sys.argv[2]), server_hostname='localhost')
tls.setblocking(False)
block = bytes(range(256)) * 256
total, left, unsent = 128, 128 * len(block), b''
got, gave = hashlib.sha256(), hashlib.sha256()
while left:
    try:
        while total or unsent:
            if not unsent:
                unsent, total = block, total - 1
                gave.update(block)
            unsent = unsent[tls.send(unsent):]
    except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
        pass
    try:
        while left and (data := tls.recv(65536)):
            got.update(data)
            left -= len(data)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        pass
    if left:
        select.select([tls], [tls] if total or unsent else [], [], 60)
say(got.digest() == gave.digest())
tls.setblocking(True)
tls.unwrap()
";
    let lines = Peer::python(script, &[ca.to_str().unwrap(), &port]).lines();
    assert_eq!(lines, ["True"]);
    server.finish().exits(0);
}

#[test]
fn a_client_needs_a_certificate_where_one_is_asked_for() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pair = authority.issue("server", &["localhost"], NOW);
    let (good, bad) = (authority.issue("client", &["me"], NOW), other.issue("stranger", &["me"], NOW));
    let ca = authority.cert();
    let words =
        format!("--tls-cert {} --tls-key {} --client-ca {}", pair.cert.display(), pair.key.display(), ca.display());
    for (pair, name) in
        [(Some(&good), None), (None, Some("no-client-certificate")), (Some(&bad), Some("unknown-issuer"))]
    {
        let server = Sockeye::new(format!("serve 127.0.0.1:0 {words} --json --count 1")).start();
        let port = server.port().to_string();
        let lines = Asks { pair, ..asks(&ca, &port, "hello") }.lines();
        let run = server.finish().exits(0);
        match name {
            None => {
                assert!(lines[0].contains("hello"), "{lines:?}");
                let tls = run.one::<Tls>();
                assert_eq!((tls.verified, tls.certificates[0].subject.as_deref()), (Some(true), Some("CN=client")));
            }
            Some(name) => {
                assert!(lines[0].starts_with("no "), "{lines:?}");
                assert_eq!(run.one::<Error>().name.as_deref(), Some(name));
                assert_eq!((run.all::<Recv>().len(), run.all::<Send>().len()), (0, 0));
            }
        }
    }
}

#[test]
fn who_comes_without_tls_harms_nobody() {
    let dir = TempDir::new();
    let (server, port, ca) = self_signed(&dir, "--tls-timeout 500ms --count 6");
    let dial = || TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    // One says nothing, one speaks another language, one begins and leaves, one resets.
    let silent = dial();
    let mut plain = dial();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(plain.read(&mut [0; 9]).unwrap(), 0, "closed, and nothing answered");
    let mut half = dial();
    half.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    drop(half);
    let reset = socket2::Socket::from(dial());
    reset.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(reset);
    let mut junk = dial();
    junk.write_all(b"\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff").unwrap();
    let mut alert = Vec::new();
    junk.read_to_end(&mut alert).unwrap();
    assert_eq!(alert.first(), Some(&21), "an alert says why: {alert:?}");
    let lines = asks(&ca, &port, "hello").lines();
    assert!(lines[0].contains("hello"), "{lines:?}");
    let run = server.finish().exits(0);
    drop(silent);
    let of = |conn: u64| {
        let error = run.all::<Error>().into_iter().find(|error| error.conn == Some(conn));
        error.and_then(|error| error.name.clone()).unwrap_or_default()
    };
    assert_eq!([1, 2, 3, 4].map(of), ["silent", "not-tls", "closed", "reset"], "{}", run.dump());
    assert!(["bad-message", "protocol-error"].contains(&&*of(5)), "{}", run.dump());
    assert_eq!((run.one::<Timeout>().conn, run.all::<Accept>().len()), (Some(1), 6));
    let shown = run.all::<Error>().into_iter().find(|error| error.conn == Some(2)).unwrap();
    assert!(shown.message.contains("GET / HTTP/1.1"), "{}", shown.message);
    assert_eq!(run.summary().tls.as_ref().unwrap().count, 1);
}

#[test]
fn faults_are_of_the_certificate_or_of_the_handshake() {
    let dir = TempDir::new();
    for (fault, name) in
        [("expired", "expired"), ("wrong-name", "wrong-name"), ("self-signed", ""), ("handshake-cut", "closed")]
    {
        let (server, port, ca) = self_signed(&dir, &format!("--count 1 --fault {fault}"));
        let line = format!("connect localhost {port} hello --tls --json --ca {}", ca.display());
        let run = Sockeye::new(line).run();
        match name {
            "" => drop(run.exits(0)),
            name => {
                let run = run.exits(11);
                let told = run.one::<Error>().name.as_deref();
                // What the client has sent meanwhile is unread at a server that cuts off: a reset.
                assert!(told == Some(name) || (name, told) == ("closed", Some("reset")), "{fault}: {told:?}");
            }
        }
        server.finish().exits(0);
    }
    let (server, port, _) = self_signed(&dir, "--count 1 --fault self-signed");
    let run = Sockeye::new(format!("connect localhost {port} hello --tls --json")).run().exits(11);
    assert_eq!(run.one::<Error>().name.as_deref(), Some("unknown-issuer"));
    server.finish().exits(0);
    // Others see the same.
    let (server, port, ca) = self_signed(&dir, "--count 1 --fault expired");
    let lines = asks(&ca, &port, "hello").lines();
    assert!(lines[0].contains("CERTIFICATE_VERIFY_FAILED"), "{lines:?}");
    server.finish().exits(0);
}

#[test]
fn a_server_that_hangs_before_its_handshake_is_known_for_it() {
    let dir = TempDir::new();
    let (server, port, _) = self_signed(&dir, "--fault hang");
    let run = Sockeye::new(format!("connect 127.0.0.1 {port} hello --tls --tls-timeout 300ms --json")).run().exits(8);
    assert_eq!(run.one::<Error>().name.as_deref(), Some("silent"));
    assert_eq!((run.one::<Close>().reason, run.one::<Close>().bytes_sent), (Reason::Timeout, 0));
    server.interrupt().exits(0);
}

#[test]
fn unix_sockets_speak_it_too() {
    let dir = TempDir::new();
    let path = dir.path().join("x.sock");
    let to = path.to_str().unwrap();
    let server = Sockeye::new(format!("unix-serve {to} --tls-self-signed --json --count 2")).start();
    let ca = dir.path().join("own.pem");
    std::fs::write(&ca, server.wait_for::<OwnCertificate>().pem.unwrap()).unwrap();
    server.wait_for::<crate::harness::events::Listen>();
    let lines = asks(&ca, to, "hello").lines();
    assert!(lines[0].contains("hello"), "{lines:?}");
    let line = format!("connect unix:{to} hello --tls --sni localhost --json --ca {}", ca.display());
    let run = Sockeye::new(line).run().exits(0);
    assert_eq!(run.one::<Recv>().data.as_deref(), Some("hello"));
    server.finish().exits(0);
}

#[test]
fn what_is_relayed_and_what_all_get_goes_over_it() {
    let dir = TempDir::new();
    let (server, port, ca) = self_signed(&dir, "--broker");
    let connect =
        || Sockeye::new(format!("connect localhost {port} --tls --json --ca {}", ca.display())).stdin_piped().start();
    let (mut one, other) = (connect(), connect());
    server.wait_for_nth::<Tls>(2);
    one.send(b"to all");
    assert_eq!(other.wait_for::<Recv>().data.as_deref(), Some("to all"));
    let run = one.finish().exits(0);
    assert_eq!(run.one::<Close>().reason, Reason::Eof, "{}", run.dump());
    other.finish().exits(0);
    server.interrupt().exits(0);

    let mut server = Sockeye::new("serve 127.0.0.1:0 --relay --tls-self-signed --json").stdin_piped().start();
    let own: OwnCertificate = server.wait_for();
    let pin = own.certificates[0].sha256.clone();
    let port = server.port();
    let client =
        Sockeye::new(format!("connect 127.0.0.1 {port} --tls --insecure --pin {pin} --json")).stdin("up").start();
    server.wait_for::<Recv>();
    server.send(b"down");
    client.wait_for::<Recv>();
    let run = server.finish().exits(0);
    client.finish().exits(0);
    assert_eq!((run.summary().bytes_received, run.summary().bytes_sent), (Some(2), Some(4)));
}

#[test]
fn rounds_have_a_whole_handshake_each() {
    let dir = TempDir::new();
    let (server, port, ca) = self_signed(&dir, "");
    for version in ["1.2", "1.3"] {
        let line = format!("connect localhost {port} hello --tls --tls-max {version} --count 3 --interval 0 --json");
        let run = Sockeye::new(format!("{line} --ca {}", ca.display())).run().exits(0);
        let resumed: Vec<_> = run.all::<Tls>().iter().map(|tls| tls.resumed).collect();
        assert_eq!(resumed, [Some(false); 3], "{}", run.dump());
        assert!(run.all::<Tls>().iter().all(|tls| tls.verified == Some(true) && tls.certificates.len() == 1));
        assert_eq!(run.summary().tls.as_ref().unwrap().count, 3);
        let run = Sockeye::new(line).run().exits(11);
        assert_eq!(run.all::<Error>().len(), 3);
    }
    server.interrupt().exits(0);
}

#[test]
fn bytes_that_we_are_sent_without_end_are_sent_over_it() {
    let authority = Authority::new();
    let (server, port, ca) = quiet(&authority, "--source-bytes 3MiB --count 1");
    let run = Sockeye::new(format!("connect localhost {port} --tls --ca {}", ca.display())).run().exits(0);
    assert_eq!(run.stdout().len(), 3 << 20);
    let line = |n: usize| (0x20 + (n / 74 + n % 74) % 95) as u8;
    assert!((0..3 << 20).filter(|n| n % 74 < 72).all(|n| run.stdout()[n] == line(n)));
    server.finish().exits(0);
}

#[test]
fn a_client_that_must_show_a_certificate_shows_it_each_time() {
    let authority = Authority::new();
    let Pair { cert, key } = authority.issue("client", &["me"], NOW);
    let ca = authority.cert();
    for version in ["TLSv1_2", "TLSv1_3"] {
        let (server, port, _) = quiet(&authority, &format!("--count 2 --client-ca {}", ca.display()));
        // Whose certificate has expired or was taken back would come in by its old session.
        let script = r"
import ssl
ca, port, cert, key, version = sys.argv[1:6]
context = ssl.create_default_context(cafile=ca)
context.load_cert_chain(cert, key)
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
session = None
for _ in range(2):
    tls = context.wrap_socket(dial('127.0.0.1', port), server_hostname='localhost', session=session)
    tls.sendall(b'hello')
    tls.recv(5)
    session = tls.session
    say(tls.session_reused)
    tls.unwrap()
";
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let lines = Peer::python(script, &[&path(&ca), &port, &path(&cert), &path(&key), version]).lines();
        assert_eq!(lines, ["False", "False"], "{version}");
        server.finish().exits(0);
    }
}

/// Says farewell in the segment of what it said last, and closes its side.
const LEAVE: &str = "
def leave(tls, peer, message):
    if message:
        tls.write(message)
    try:
        tls.unwrap()
    except ssl.SSLWantReadError:
        pass
    peer.sendall(goes.read())
    peer.shutdown(socket.SHUT_WR)
    all_of(peer)
";

#[test]
fn a_farewell_in_the_segment_of_the_handshake_is_heard() {
    let dir = TempDir::new();
    for message in ["", "hello"] {
        let (server, port, _) = self_signed(&dir, "--count 1");
        let script = format!("{BY_HAND}{LEAVE}leave(*dialing(sys.argv[1]), b'{message}')");
        Peer::python(&script, &[&port]).finish();
        let run = server.finish().exits(0);
        assert_eq!(run.all::<Warning>().len(), 0, "{}", run.dump());
        let close = run.one::<Close>();
        // What we said last may not have been acknowledged yet.
        assert_ne!(close.clean, Some(false), "{}", run.dump());
        assert_eq!(close.bytes_received, message.len() as u64, "{}", run.dump());
        assert_eq!((run.all::<Eof>().len(), close.reason), (1, Reason::Eof), "{}", run.dump());
    }
    // A server of TLS 1.2 has the last word in the handshake.
    let authority = Authority::new();
    let Pair { cert, key } = authority.issue("server", &["localhost"], NOW);
    let script = format!("{BY_HAND}{LEAVE}leave(*serving('TLSv1_2'), b'hello')");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let server = Peer::python_server(&script, &[&path(&cert), &path(&key)]);
    let ca = authority.cert();
    let line = format!("connect localhost {} --tls --ca {} --json", server.port, ca.display());
    let run = Sockeye::new(line).run().exits(0);
    assert_eq!(run.all::<Warning>().len(), 0, "{}", run.dump());
    assert_ne!(run.one::<Close>().clean, Some(false), "{}", run.dump());
    assert_eq!(run.one::<Recv>().bytes, 5, "{}", run.dump());
}

#[test]
fn a_client_of_an_old_version_is_told_so() {
    let authority = Authority::new();
    // TLS 1.0 has no extension that would say more.
    let (mut hello, mut body) = (Vec::new(), vec![3, 1]);
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0, 0x2f, 1, 0]);
    hello.extend_from_slice(&[22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8]);
    hello.extend(body);
    let Pair { cert, key } = authority.issue("server", &["localhost"], NOW);
    let files = format!("--tls-cert {} --tls-key {}", cert.display(), key.display());
    let server = Sockeye::new(format!("serve 127.0.0.1:0 --json --count 1 {files}")).start();
    let mut peer = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    peer.write_all(&hello).unwrap();
    let mut alert = Vec::new();
    peer.read_to_end(&mut alert).unwrap();
    // protocol_version (RFC 8446, 6.2).
    assert_eq!(alert.get(5..7), Some(&[2, 70][..]), "{alert:?}");
    let run = server.finish().exits(0);
    let error = run.one::<Error>();
    assert_eq!(error.name.as_deref(), Some("no-shared-version"), "{error:?}");
    assert!(error.hint.is_some(), "{error:?}");
}

#[test]
fn a_file_with_what_is_no_certificate_is_named() {
    let authority = Authority::new();
    let Pair { key, .. } = authority.issue("server", &["localhost"], NOW);
    let bad = authority.dir().join("bad.pem");
    std::fs::write(&bad, "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n").unwrap();
    let (bad, key) = (bad.display(), key.display());
    for line in [
        format!("connect 127.0.0.1 1 --tls --ca {bad}"),
        format!("connect 127.0.0.1 1 --tls --client-cert {bad} --client-key {key}"),
        format!("serve 0 --tls-cert {bad} --tls-key {key}"),
        format!("serve 0 --tls-self-signed --client-ca {bad}"),
    ] {
        let run = Sockeye::new(format!("{line} --json")).run().exits(6);
        assert!(run.one::<Error>().message.contains("bad.pem"), "{}", run.dump());
    }
}

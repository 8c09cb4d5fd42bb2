//! `connect --tls` to servers whose handshake goes wrong: each failure has its name.

use crate::harness::events::{Close, Error, Recv, Send, Timeout};
use crate::harness::{Finished, Peer, Sockeye};

/// Connects with TLS to a server that does as the script says with its first peer.
fn connect(script: &str) -> Finished {
    connect_within(script, "20s")
}

/// Connects likewise, and waits at most so long for the handshake.
fn connect_within(script: &str, bound: &str) -> Finished {
    let script = format!("server = listen('127.0.0.1')\npeer, _ = server.accept()\n{script}");
    let server = Peer::python_server(&script, &[]);
    let line = format!("connect localhost {} secret --tls --tls-timeout {bound} --insecure --json", server.port);
    Sockeye::new(line).run()
}

#[track_caller]
fn fails(run: Finished, code: i32, name: &str) -> Finished {
    let run = run.exits(code);
    assert_eq!(run.one::<Error>().name.as_deref(), Some(name), "{}", run.dump());
    assert_eq!((run.all::<Send>().len(), run.all::<Recv>().len()), (0, 0), "{}", run.dump());
    assert_eq!(run.all::<Close>().len(), 1);
    run
}

#[test]
fn another_language_is_shown() {
    for (says, shown, hint) in [
        ("SSH-2.0-OpenSSH_9.6\\r\\n", "SSH-2.0-OpenSSH_9.6", "SSH"),
        ("HTTP/1.1 400 Bad Request\\r\\n", "HTTP/1.1 400 Bad Request", "HTTP"),
        ("220 mail ESMTP\\r\\n", "220 mail ESMTP", "--starttls smtp"),
        ("* OK IMAP4rev1\\r\\n", "* OK IMAP4rev1", "--starttls imap"),
        ("+OK ready\\r\\n", "+OK ready", "--starttls pop3"),
    ] {
        let run = fails(connect(&format!("peer.sendall(b'{says}'); all_of(peer)")), 11, "not-tls");
        let error = run.one::<Error>();
        assert!(error.message.contains(shown), "{}", error.message);
        assert!(error.hint.as_deref().is_some_and(|told| told.contains(hint)), "{error:?}");
    }
}

#[test]
fn silence_is_told_with_how_long_it_was() {
    let run = fails(connect_within("time.sleep(20)", "300ms"), 8, "silent");
    assert_eq!(run.one::<Timeout>().conn, Some(1));
    assert!(run.one::<Timeout>().after_ns >= 300_000_000);
    let run = fails(connect_within("peer.sendall(b'\\x16\\x03\\x03\\x00'); time.sleep(20)", "300ms"), 8, "silent");
    assert!(run.one::<Error>().message.contains("did not come to its end"));
}

#[test]
fn a_peer_that_takes_nothing_any_more_is_silent_too() {
    let script = "server = socket.socket()\nserver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, \
                  1024)\nserver.bind(('127.0.0.1', 0))\nserver.listen(1)\nsay(server.getsockname()[1])\npeer = \
                  server.accept()[0]\ntold()";
    let peer = Peer::python_server(script, &[]);
    let names: Vec<_> = (0..200).map(|number| format!("{number:0>250}")).collect();
    let words = format!("connect 127.0.0.1:{} x --tls --insecure --user-timeout 200ms --timeout 60s --json", peer.port);
    let run = Sockeye::new(words).arg("--alpn").arg(names.join(",")).run().exits(8);
    let error = run.one::<Error>();
    assert_eq!((error.name.as_deref(), error.errno.as_deref()), (Some("silent"), Some("ETIMEDOUT")), "{error:?}");
}

#[test]
fn a_peer_that_leaves_is_told_from_one_that_resets() {
    fails(connect("peer.recv(9999); peer.shutdown(socket.SHUT_WR); all_of(peer)"), 11, "closed");
    let run = fails(connect("peer.recv(9999); reset(peer)"), 11, "reset");
    assert_eq!(run.one::<Error>().errno.as_deref(), Some("ECONNRESET"));
}

#[test]
fn an_alert_has_its_name_and_number() {
    for (number, name, kind) in [
        (40, "handshake_failure", "alert"),
        (70, "protocol_version", "no-shared-version"),
        (80, "internal_error", "alert"),
        (112, "unrecognized_name", "alert"),
        (120, "no_application_protocol", "no-shared-alpn"),
    ] {
        let script = format!("peer.recv(9999); peer.sendall(bytes([21, 3, 3, 0, 2, 2, {number}])); all_of(peer)");
        let run = fails(connect(&script), 11, kind);
        let message = &run.one::<Error>().message;
        assert!(message.contains(&format!("{name} ({number})")), "{message}");
    }
}

#[test]
fn no_shared_cipher_is_told_by_both_ends() {
    let script = "
import ssl, tempfile, subprocess
folder = tempfile.mkdtemp()
cert, key = folder + '/c', folder + '/k'
subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=x', '-out', cert, '-keyout', key], check=True, stderr=subprocess.DEVNULL)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.set_ciphers('AES128-SHA')
try:
    context.wrap_socket(peer, server_side=True)
except ssl.SSLError as error:
    say(error.reason)
";
    let run = fails(connect(script), 11, "alert");
    assert!(run.one::<Error>().hint.as_deref().is_some_and(|hint| hint.contains("cipher")));
}

#[test]
fn a_handshake_that_failed_is_a_round_that_failed() {
    let script = "
server = listen('127.0.0.1')
while True:
    peer, _ = server.accept()
    peer.sendall(b'hello\\n')
    peer.close()
";
    let server = Peer::python_server(script, &[]);
    for probe in [false, true] {
        let (before, after) = if probe { ("--probe ", "") } else { ("", " x") };
        let line = format!("connect {before}localhost:{}{after} --tls --count 2 --interval 0 --json", server.port);
        let run = Sockeye::new(line).run().exits(11);
        assert_eq!((run.summary().rounds, run.summary().rounds_failed), (Some(2), Some(2)));
        // What stood was measured.
        assert_eq!(run.summary().connect.as_ref().unwrap().count, 2);
    }
}

#[test]
fn a_deadline_ends_a_handshake_that_hangs() {
    let server = Peer::python_server("server = listen('127.0.0.1')\ntime.sleep(60)", &[]);
    let line = format!("connect localhost {} x --tls --deadline 300ms --json", server.port);
    let run = Sockeye::new(line).run().exits(8);
    assert_eq!(run.all::<Close>().len(), 1, "{}", run.dump());
}

#[test]
fn words_of_tls_that_cannot_be_are_refused() {
    for words in [
        "connect h 1 x --sni a",
        "connect h 1 x --alpn a",
        "connect h 1 x --insecure",
        "connect h 1 x --tls --tls-min 1.3 --tls-max 1.2",
        "connect h 1 x --tls --tls-min 1.1",
        "connect h 1 x --tls --pin abcd",
        "connect h 1 x --tls --client-key k",
        "connect h 1 x --tls --fast-open",
        "connect h 1 x --tls --tls-timeout 0",
        "connect unix:/x x --tls",
        "connect unix:/x x --tls --sni a --type seqpacket",
        "serve 0 --client-ca x",
        "serve 0 --tls-key x",
        "serve 0 --tls-cert x --tls-self-signed",
        "serve 0 --fault expired",
        "serve 0 --fault expired=1 --tls-self-signed",
        "serve 0 --fault handshake-cut --tls-self-signed --prefix x",
        "unix-serve /x --type dgram --tls-self-signed",
    ] {
        Sockeye::new(format!("{words} --json")).run().exits(2);
    }
}

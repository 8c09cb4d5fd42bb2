//! TLS after the handshake, and over many rounds: what came before a session broke, a server that
//! judges the client late, certificates that change while they are watched.

use nix::sys::signal::Signal;
use rcgen::ExtendedKeyUsagePurpose;

use crate::harness::events::{Close, Eof, Error, Reason, Recv, Round, Step, Tls, Warning};
use crate::harness::net::TempDir;
use crate::harness::tls::{Authority, BY_HAND, NOW, Pair, Terms, python_server};
use crate::harness::{Finished, Peer, Sockeye};

/// The word that a session breaks after.
const WORD: &str = "PRECIOUS";

/// A server that answers in one segment with a word and a record that cannot be decrypted.
fn breaks(pair: &Pair) -> Peer {
    let script = "tls, peer = serving()\nstep(peer, lambda: tls.read(65536))\ntls.write(sys.argv[3].encode())\nend(peer, BROKEN)";
    by_hand(pair, script)
}

/// A server that shakes hands by hand; its third argument is the word.
fn by_hand(pair: &Pair, script: &str) -> Peer {
    let files = [&pair.cert, &pair.key].map(|path| path.to_str().unwrap());
    Peer::python_server(&format!("{BY_HAND}{script}"), &[files[0], files[1], WORD])
}

fn name(run: &Finished) -> Option<&str> {
    run.one::<Error>().name.as_deref()
}

#[test]
fn what_came_before_a_session_broke_is_not_lost() {
    let authority = Authority::new();
    let (pair, ca) = (authority.issue("server", &["localhost"], NOW), authority.cert());
    let server = breaks(&pair);
    let line = format!("connect localhost {} ask --until-eof --tls --ca {}", server.port, ca.display());
    let run = Sockeye::new(format!("{line} --json")).run().exits(11);
    assert_eq!(run.one::<Recv>().data.as_deref(), Some(WORD), "{}", run.dump());
    assert_eq!((name(&run), run.one::<Error>().step), (Some("bad-message"), Step::Tls), "{}", run.dump());
    // In a relay too. Its stdin stays open: a debug build of rustls takes an alert after a close_notify ill.
    let server = breaks(&pair);
    let line = format!("connect localhost {} --tls --ca {} --json", server.port, ca.display());
    let mut relay = Sockeye::new(line).stdin_piped().start();
    relay.send(b"ask");
    relay.wait_for::<Error>();
    let run = relay.finish().exits(11);
    assert_eq!(run.one::<Recv>().data.as_deref(), Some(WORD), "{}", run.dump());
}

#[test]
fn what_came_with_the_handshake_is_not_lost_to_a_send_that_fails() {
    let authority = Authority::new();
    let (pair, ca) = (authority.issue("server", &["localhost"], NOW), authority.cert());
    // A server of TLS 1.2 has the last word in the handshake, and goes on in its segment.
    let script = "tls, peer = serving('TLSv1_2')\ntls.write(sys.argv[3].encode())\nend(peer, BROKEN)";
    let server = by_hand(&pair, script);
    let line = format!("connect localhost {} ask --tls --ca {} --json", server.port, ca.display());
    let run = Sockeye::new(line).run().exits(11);
    assert_eq!(run.one::<Recv>().data.as_deref(), Some(WORD), "{}", run.dump());
    assert_eq!(name(&run), Some("bad-message"), "{}", run.dump());
    assert_eq!(run.one::<Close>().bytes_received, WORD.len() as u64, "{}", run.dump());
}

#[test]
fn a_client_s_last_word_before_a_bad_record_is_heard() {
    let server = Sockeye::new("serve 127.0.0.1:0 --tls-self-signed --json --count 1").start();
    // With the word goes what ends the handshake: a client of TLS 1.3 need not wait.
    let script = "tls, peer = dialing(sys.argv[1])\ntls.write(sys.argv[2].encode())\nend(peer, BROKEN)";
    Peer::python(&format!("{BY_HAND}{script}"), &[&server.port().to_string(), WORD]).finish();
    let run = server.finish().exits(0);
    assert_eq!(run.one::<Recv>().data.as_deref(), Some(WORD), "{}", run.dump());
    assert_eq!(name(&run), Some("bad-message"), "{}", run.dump());
}

/// Terms of a server that lets in only whom an authority has issued a certificate.
fn asking(client_ca: &std::path::Path) -> Terms<'_> {
    Terms { client_ca: Some(client_ca), only: Some("TLSv1_3"), ..Terms::default() }
}

#[test]
fn a_refusal_that_comes_while_we_wait_is_of_tls_too() {
    let authority = Authority::new();
    let (pair, ca) = (authority.issue("server", &["localhost"], NOW), authority.cert());
    for words in ["", "--send-delay 1s"] {
        let server = python_server(&pair, &asking(&ca));
        let line = format!("connect localhost {} hi --tls --ca {} --json {words}", server.port, ca.display());
        let run = Sockeye::new(line).run().exits(11);
        let error = run.one::<Error>();
        assert_eq!((name(&run), error.step), (Some("alert"), Step::Tls), "{}", run.dump());
        assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("--client-cert")), "{}", run.dump());
    }
}

#[test]
fn a_probe_waits_for_the_verdict_of_a_server_that_asks_for_a_certificate() {
    let authority = Authority::new();
    let (pair, ca) = (authority.issue("server", &["localhost"], NOW), authority.cert());
    let client = authority.issue("client", &["me"], NOW);
    let probe = |port: u16, words: &str| {
        Sockeye::new(format!("connect -z localhost {port} --tls --ca {} {words}", ca.display()))
    };
    let server = python_server(&pair, &asking(&ca));
    let run = probe(server.port, "--json").run().exits(11);
    assert_eq!(name(&run), Some("alert"), "{}", run.dump());
    let tls = run.one::<Tls>();
    assert_eq!((tls.client_certificate_requested, tls.client_certificate_shown), (Some(true), Some(false)));
    let server = python_server(&pair, &asking(&ca));
    let words = format!("--client-cert {} --client-key {}", client.cert.display(), client.key.display());
    let run = probe(server.port, &format!("--json {words}")).run().exits(0);
    let tls = run.one::<Tls>();
    assert_eq!((tls.client_certificate_requested, tls.client_certificate_shown), (Some(true), Some(true)));
    assert!(run.all::<Warning>().is_empty(), "{}", run.dump());
    // Who would like one lets others in too; that is not to be known before it is asked for something.
    let terms = || Terms { is_optional: true, ..asking(&ca) };
    let server = python_server(&pair, &terms());
    let run = probe(server.port, "--json").run().exits(0);
    assert_eq!(run.one::<Warning>().name, "client-certificate-requested", "{}", run.dump());
    let server = python_server(&pair, &terms());
    let run = probe(server.port, "").run().exits(0);
    assert!(run.stderr().contains("asks for a client certificate, none was shown"), "{}", run.dump());
    let server = python_server(&pair, &Terms::default());
    let run = probe(server.port, "--json").run().exits(0);
    let tls = run.one::<Tls>();
    assert_eq!((tls.client_certificate_requested, tls.client_certificate_shown), (Some(false), None));
    // One that turns us away without a word has done so all the same.
    let script = r"
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(*sys.argv[1:3])
context.load_verify_locations(sys.argv[3])
context.verify_mode = ssl.CERT_OPTIONAL
peer, _ = listen('127.0.0.1').accept()
peer.settimeout(60)
tls = context.wrap_socket(peer, server_side=True)
tls.shutdown(socket.SHUT_WR)
all_of(tls)
";
    let files = [&pair.cert, &pair.key, &ca].map(|path| path.to_str().unwrap());
    let server = Peer::python_server(script, &files);
    let run = probe(server.port, "--json").run().exits(11);
    assert_eq!(name(&run), Some("closed"), "{}", run.dump());
}

#[test]
fn each_round_sees_the_certificate_that_is_shown_now() {
    let authority = Authority::new();
    let (good, bad) = (authority.issue("good", &["localhost"], NOW), authority.issue("bad", &["localhost"], (-9, -2)));
    // A server whose sessions outlive its certificate, as those of most servers do.
    let script = r"
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(*sys.argv[1:3])
server = listen('127.0.0.1')
while True:
    peer, _ = server.accept()
    peer.settimeout(60)
    try:
        with context.wrap_socket(peer, server_side=True) as tls:
            while data := tls.recv(65536):
                tls.sendall(data)
    except OSError:
        peer.close()
    context.load_cert_chain(*sys.argv[3:5])
";
    let [good_cert, good_key, bad_cert, bad_key] =
        [&good.cert, &good.key, &bad.cert, &bad.key].map(|path| path.to_str().unwrap());
    let server = Peer::python_server(script, &[good_cert, good_key, bad_cert, bad_key]);
    let (port, ca) = (server.port, authority.cert());
    let line = format!("connect localhost {port} hi --tls --ca {} --count 2 --interval 0 --json", ca.display());
    let run = Sockeye::new(line).run().exits(1);
    let subjects: Vec<_> = run.all::<Tls>().iter().map(|tls| tls.certificates[0].subject.clone()).collect();
    assert_eq!(subjects, ["CN=good", "CN=bad"].map(|it| Some(it.to_owned())), "{}", run.dump());
    assert_eq!(name(&run), Some("expired"), "{}", run.dump());
}

#[test]
fn rounds_with_too_few_days_left_have_not_failed() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost"], (-1, 10));
    let server = python_server(&pair, &Terms::default());
    let (port, ca) = (server.port, authority.cert());
    for (before, after) in [("", " hi"), ("-z ", "")] {
        let words = format!("--tls --ca {} --min-days 11 --count 2 --interval 0 --json", ca.display());
        let run = Sockeye::new(format!("connect {before}localhost {port}{after} {words}")).run().exits(1);
        let summary = run.summary();
        assert_eq!((summary.rounds_failed, summary.outages), (Some(0), Some(0)), "{}", run.dump());
        assert!(run.all::<Round>().iter().all(|round| round.exit_code == 0), "{}", run.dump());
        assert_eq!(run.all::<Warning>().len(), 2, "{}", run.dump());
    }
}

#[test]
fn all_that_is_wrong_with_a_certificate_is_listed() {
    let (authority, other) = (Authority::new(), Authority::new());
    for days in [(-9, -2), (2, 9)] {
        let pair = authority.issue("server", &["example.org"], days);
        for (ca, problems) in [(authority.cert(), 2), (other.cert(), 3)] {
            let server = python_server(&pair, &Terms::default());
            let line = format!("connect -z localhost {} --tls --ca {} --json", server.port, ca.display());
            let run = Sockeye::new(line).run().exits(11);
            let tls = run.one::<Tls>();
            let date = if days.1 < 0 { "expired" } else { "not-yet-valid" };
            let all = [date, "unknown-issuer", "wrong-name"];
            let listed = tls.problems.iter().map(String::as_str).collect::<Vec<_>>();
            let expected: Vec<_> = all.into_iter().filter(|it| problems == 3 || *it != "unknown-issuer").collect();
            assert_eq!(listed, expected, "{}", run.dump());
            assert_eq!(name(&run), Some(date));
        }
    }
}

#[test]
fn who_has_issued_a_certificate_is_listed_whatever_hides_it() {
    let (authority, other) = (Authority::new(), Authority::new());
    let problems = |pair: &Pair, ca: &Authority| {
        let server = python_server(pair, &Terms::default());
        let line = format!("connect -z localhost {} --tls --ca {} --json", server.port, ca.cert().display());
        let run = Sockeye::new(line).run().exits(11);
        let problems = run.one::<Tls>().problems.clone();
        assert_eq!(name(&run), problems.first().map(String::as_str), "{}", run.dump());
        problems
    };
    // It had expired before who has issued it became valid: at no time was the chain good.
    let never = authority.issue_by_one_of((-5, 30), "never", &["example.org"], (-90, -60), true);
    assert_eq!(problems(&never, &authority), ["expired", "wrong-name"]);
    assert_eq!(problems(&never, &other), ["expired", "unknown-issuer", "wrong-name"]);
    // Where who has issued it is not shown, nobody whom we know has.
    let short = authority.issue_by_one_of(NOW, "short", &["localhost"], (-90, -60), false);
    assert_eq!(problems(&short, &authority), ["expired", "unknown-issuer"]);
    // Whatever else is sent along.
    let Pair { cert, key } = authority.issue_by_one_of((-90, -60), "crowd", &["localhost"], NOW, true);
    let pem = std::fs::read_to_string(&cert).unwrap();
    let (own, issuer) = pem.split_at(pem.find("-----END CERTIFICATE-----\n").unwrap() + 26);
    let strangers: Vec<String> = (0..9).map(|_| std::fs::read_to_string(Authority::new().cert()).unwrap()).collect();
    std::fs::write(&cert, [own, &strangers.concat(), issuer].concat()).unwrap();
    assert_eq!(problems(&Pair { cert, key }, &authority), ["expired"]);
    // Made for another purpose.
    for (days, time) in [(NOW, None), ((-90, -60), Some("expired"))] {
        let client = authority.issue_for("client", &["localhost"], days, &[ExtendedKeyUsagePurpose::ClientAuth]);
        let expected = |more: &[&'static str]| [time.as_slice(), &["wrong-purpose"], more].concat();
        assert_eq!(problems(&client, &authority), expected(&[]));
        assert_eq!(problems(&client, &other), expected(&["unknown-issuer"]));
    }
}

#[test]
fn all_that_is_wrong_with_a_client_s_certificate_is_listed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let Pair { cert, key } = authority.issue_for("old", &["me"], (-90, -60), &[ExtendedKeyUsagePurpose::ServerAuth]);
    for (ca, problems) in
        [(&authority, &["expired", "wrong-purpose"][..]), (&other, &["expired", "wrong-purpose", "unknown-issuer"])]
    {
        let words = format!("--tls-self-signed --client-ca {}", ca.cert().display());
        let server = Sockeye::new(format!("serve 127.0.0.1:0 --count 1 --json {words}")).start();
        let card = format!("--client-cert {} --client-key {}", cert.display(), key.display());
        Sockeye::new(format!("connect localhost {} hi --tls --insecure {card}", server.port())).run().exits(11);
        let run = server.finish().exits(0);
        assert_eq!(run.one::<Tls>().problems, problems, "{}", run.dump());
        assert_eq!(name(&run), Some("expired"));
    }
}

#[test]
fn a_probe_of_a_session_that_broke_with_the_handshake_is_none() {
    let authority = Authority::new();
    let (pair, ca) = (authority.issue("server", &["localhost"], NOW), authority.cert());
    // Behind the flight that ends the handshake: of TLS 1.3 the server's first, of TLS 1.2 its second.
    for script in ["serving(behind=BROKEN)", "tls, peer = serving('TLSv1_2')\nend(peer, BROKEN)"] {
        let script = format!("try:\n    {}\nexcept OSError:\n    pass", script.replace('\n', "\n    "));
        let probe = |server: &Peer, words: &str| {
            let line = format!("connect -z localhost {} --tls --ca {} {words}", server.port, ca.display());
            Sockeye::new(line).run().exits(11)
        };
        let run = probe(&by_hand(&pair, &script), "");
        let table = String::from_utf8_lossy(run.stdout());
        assert!(table.starts_with("failed ") && table.contains(" tls: "), "{}", run.dump());
        let run = probe(&by_hand(&pair, &script), "--json");
        assert_eq!((name(&run), run.one::<Error>().step), (Some("bad-message"), Step::Tls), "{}", run.dump());
    }
}

#[test]
fn an_end_that_came_with_the_answer_is_read_though_the_peer_takes_no_close_notify() {
    // The peer is gone by then, and the kernel answers ours with a reset.
    let authority = Authority::new();
    let (pair, ca) = (authority.issue("server", &["localhost"], NOW), authority.cert());
    for version in ["TLSv1_2", "TLSv1_3"] {
        let script = format!(
            "tls, peer = serving('{version}')\nstep(peer, lambda: tls.read(65536))\ntls.write(sys.argv[3].encode())\n\
             peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)\npeer.sendall(goes.read())\npeer.close()"
        );
        let server = by_hand(&pair, &script);
        let line = format!("connect localhost {} ask --until-eof --tls --ca {} --json", server.port, ca.display());
        let run = Sockeye::new(line).run().exits(0);
        assert_eq!(run.one::<Recv>().data.as_deref(), Some(WORD), "{}", run.dump());
        assert_eq!(run.one::<Warning>().name, "tls-truncated", "{}", run.dump());
        let close = run.one::<Close>();
        assert_eq!(
            (run.all::<Eof>().len(), close.reason, close.clean),
            (1, Reason::Eof, Some(false)),
            "{}",
            run.dump()
        );
    }
}

#[test]
fn an_end_of_a_unix_peer_is_read_though_it_takes_no_close_notify() {
    let (authority, dir) = (Authority::new(), TempDir::new());
    let (pair, ca) = (authority.issue("server", &["localhost"], NOW), authority.cert());
    let path = dir.path().join("socket").display().to_string();
    let script = format!(
        "server = socket.socket(socket.AF_UNIX)\nserver.bind('{path}')\nserver.listen()\nsay(1)\n\
         def listen(host): return server\ntls, peer = serving()\nstep(peer, lambda: tls.read(65536))\nsay('got')\n\
         told()\ntls.write(sys.argv[3].encode())\npeer.sendall(goes.read())\npeer.close()\nsay('gone')"
    );
    let mut server = by_hand(&pair, &script);
    let line = format!("connect unix:{path} ask --until-eof --tls --sni localhost --ca {} --json", ca.display());
    let client = Sockeye::new(line).start();
    server.wait_for("got");
    // So that the answer and the end are both there when it looks.
    client.signal(Signal::SIGSTOP);
    server.send(b"go\n");
    server.wait_for("gone");
    client.signal(Signal::SIGCONT);
    let run = client.finish().exits(0);
    assert_eq!(run.one::<Recv>().data.as_deref(), Some(WORD), "{}", run.dump());
    assert_eq!(run.one::<Warning>().name, "tls-truncated", "{}", run.dump());
    assert_eq!((run.all::<Eof>().len(), run.one::<Close>().reason), (1, Reason::Eof), "{}", run.dump());
}

#[test]
fn what_came_before_a_reset_is_read_first_whatever_finds_the_reset() {
    let authority = Authority::new();
    let (pair, ca) = (authority.issue("server", &["localhost"], NOW), authority.cert());
    let answer = "for _ in range(20): tls.write(b'A' * 1000)\npeer.sendall(goes.read())\nreset(peer)\nsay('gone')";
    let check = |run: &Finished, step| {
        let came: u64 = run.all::<Recv>().iter().map(|recv| recv.bytes).sum();
        assert_eq!(came, 20_000, "{}", run.dump());
        assert!(run.all::<Recv>().iter().all(|recv| recv.bytes <= 1000), "{}", run.dump());
        let error = run.one::<Error>();
        assert_eq!((error.step, error.errno.as_deref()), (step, Some("ECONNRESET")), "{}", run.dump());
        let close = run.one::<Close>();
        assert_eq!((close.reason, close.bytes_unread), (Reason::Reset, Some(0)), "{}", run.dump());
        // It was no end.
        assert!(run.all::<Eof>().is_empty() && run.all::<Warning>().is_empty(), "{}", run.dump());
    };
    let line = |server: &Peer, words: &str| {
        format!("connect localhost {} --tls --ca {} --recv-size 1000 --json {words}", server.port, ca.display())
    };
    // Our close_notify finds it.
    let script = format!("tls, peer = serving()\nstep(peer, lambda: tls.read(65536))\nsay('got')\ntold()\n{answer}");
    let mut server = by_hand(&pair, &script);
    let client = Sockeye::new(line(&server, "ask --until-eof")).start();
    server.wait_for("got");
    client.signal(Signal::SIGSTOP);
    server.send(b"go\n");
    server.wait_for("gone");
    client.signal(Signal::SIGCONT);
    check(&client.finish().exits(10), Step::Recv);
    // A message that is not due yet.
    let mut server = by_hand(&pair, &format!("tls, peer = serving()\ntold()\n{answer}"));
    let client = Sockeye::new(line(&server, "ask --send-delay 500ms")).start();
    client.wait_for::<Tls>();
    server.send(b"go\n");
    check(&client.finish().exits(10), Step::Send);
    // The answer of a server.
    let server = Sockeye::new("serve 127.0.0.1:0 --tls-self-signed --json --recv-size 1000").start();
    let script = format!("tls, peer = dialing(sys.argv[1])\npeer.sendall(goes.read())\nsay('there')\ntold()\n{answer}");
    let mut client = Peer::python(&format!("{BY_HAND}{script}"), &[&server.port().to_string()]);
    client.wait_for("there");
    server.wait_for::<Tls>();
    server.signal(Signal::SIGSTOP);
    client.send(b"go\n");
    client.wait_for("gone");
    server.signal(Signal::SIGCONT);
    server.wait_for::<Close>();
    check(&server.interrupt().exits(0), Step::Send);
}

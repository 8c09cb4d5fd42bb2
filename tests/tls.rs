//! `connect --tls` against Python's ssl and openssl: trust judged and shown, then decided.

use std::path::Path;
use std::process::Command;

use crate::harness::events::{Close, Error, Recv, Tls, Warning};
use crate::harness::net::{TempDir, output_of};
use crate::harness::tls::{Authority, NOW, Pair, Terms, openssl_self_signed, openssl_x509, python_server};
use crate::harness::{Family, Finished, Peer, Sockeye};

/// Sends a message over TLS with these further words, to a server under a name.
fn talk(host: &str, port: u16, words: &str) -> Sockeye {
    Sockeye::new(format!("connect {host} {port} secret-payload --tls --json {words}"))
}

/// Asserts that a run failed on TLS by a name, and that its server has got nothing.
#[track_caller]
fn refused(run: Finished, name: &str, server: Peer) -> Finished {
    let run = run.exits(11);
    let error = run.one::<Error>();
    assert_eq!(error.name.as_deref(), Some(name), "{}", run.dump());
    assert!(error.errno.is_none() && error.conn == Some(1) && error.duration_ns.is_some(), "{}", run.dump());
    assert_eq!((run.one::<Close>().bytes_sent, run.one::<Close>().bytes_received), (0, 0));
    server.wait_for("no 0 ");
    run
}

#[track_caller]
fn served(run: Finished, code: i32, server: Peer) -> Finished {
    let run = run.exits(code);
    assert_eq!(run.one::<Recv>().data.as_deref(), Some("secret-payload"));
    server.wait_for("ok 14");
    run
}

fn ca(path: &Path) -> String {
    format!("--ca {}", path.display())
}

fn plain(pair: &Pair) -> Peer {
    python_server(pair, &Terms::default())
}

#[test]
fn a_server_whom_the_ca_vouches_for_is_talked_to() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost", "127.0.0.1"], NOW);
    for host in ["localhost", "127.0.0.1"] {
        let server = plain(&pair);
        let run = served(talk(host, server.port, &ca(&authority.cert())).run(), 0, server);
        let tls = run.one::<Tls>();
        assert_eq!((tls.version.as_deref(), tls.verified), (Some("TLSv1.3"), Some(true)));
        assert_eq!(tls.sni.as_deref(), (host == "localhost").then_some("localhost"), "an address is never sent");
        assert_eq!((tls.resumed, tls.ocsp_staple, tls.versions_offered.len()), (Some(false), Some(false), 2));
        assert!(tls.cipher.as_deref().is_some_and(|cipher| cipher.starts_with("TLS_")) && tls.group.is_some());
        assert!(tls.duration_ns <= run.summary().tls.as_ref().unwrap().max_ns);
        assert_eq!(run.one::<Close>().clean, run.one::<Close>().clean.map(|_| true));
    }
}

#[test]
fn the_system_s_roots_are_trusted_where_no_ca_is_named() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost"], NOW);
    let server = plain(&pair);
    let run = talk("localhost", server.port, "").env("SSL_CERT_FILE", authority.cert().to_str().unwrap()).run();
    served(run, 0, server);
    let (server, other) = (plain(&pair), Authority::new());
    let run = talk("localhost", server.port, "").env("SSL_CERT_FILE", other.cert().to_str().unwrap()).run();
    refused(run, "unknown-issuer", server);
}

#[test]
fn an_unknown_issuer_is_refused_and_shown() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pair = authority.issue("server", &["localhost"], NOW);
    let server = plain(&pair);
    let run = refused(talk("localhost", server.port, &ca(&other.cert())).run(), "unknown-issuer", server);
    let tls = run.one::<Tls>();
    assert_eq!((tls.verified, &*tls.problems), (Some(false), &["unknown-issuer".to_owned()][..]));
    assert_eq!(tls.certificates[0].subject.as_deref(), Some("CN=server"));
    let server = plain(&pair);
    let run = served(talk("localhost", server.port, &(ca(&other.cert()) + " --insecure")).run(), 0, server);
    assert_eq!(run.one::<Tls>().verified, Some(false), "trust is judged though policy lets it pass");
}

#[test]
fn a_wrong_name_is_refused_and_another_may_be_asked_for() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["example.org", "*.wild.example"], NOW);
    let ca = ca(&authority.cert());
    let server = plain(&pair);
    let run = refused(talk("localhost", server.port, &ca).run(), "wrong-name", server);
    assert!(run.one::<Error>().hint.as_deref().is_some_and(|hint| hint.contains("example.org")));
    for name in ["example.org", "EXAMPLE.org", "a.wild.example", "example.org."] {
        let server = plain(&pair);
        served(talk("127.0.0.1", server.port, &format!("{ca} --sni {name}")).run(), 0, server);
    }
    let server = plain(&pair);
    let run = served(talk("localhost", server.port, &format!("{ca} --insecure")).run(), 0, server);
    assert_eq!(run.one::<Tls>().problems, ["wrong-name"]);
}

#[test]
fn dates_are_judged() {
    let authority = Authority::new();
    let ca = ca(&authority.cert());
    for (days, name, left) in [((-9, -2), "expired", -3), ((2, 9), "not-yet-valid", 8)] {
        let server = plain(&authority.issue(name, &["localhost"], days));
        let run = refused(talk("localhost", server.port, &ca).run(), name, server);
        // Days are whole ones, and a moment has passed.
        assert!([left, left + 1].contains(&run.one::<Tls>().certificates[0].days_left.unwrap()), "{}", run.dump());
    }
}

#[test]
fn too_few_days_left_make_the_answer_no() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost"], (-1, 10));
    let ca = ca(&authority.cert());
    let server = plain(&pair);
    served(talk("localhost", server.port, &format!("{ca} --min-days 9")).run(), 0, server);
    let server = plain(&pair);
    let run = served(talk("localhost", server.port, &format!("{ca} --min-days 11")).run(), 1, server);
    assert_eq!(run.one::<Warning>().name, "min-days-unmet");
    let server = plain(&pair);
    let line = format!("connect --probe localhost {} --tls {ca} --min-days 11 --json", server.port);
    Sockeye::new(line).run().exits(1);
}

#[test]
fn a_self_signed_certificate_is_trusted_where_it_is_named_itself() {
    let authority = Authority::new();
    for is_ca in [false, true] {
        let pair = authority.self_signed("own", &["localhost"], is_ca);
        let server = plain(&pair);
        let run = refused(talk("localhost", server.port, &ca(&authority.cert())).run(), "unknown-issuer", server);
        assert!(run.one::<Error>().hint.as_deref().is_some_and(|hint| hint.contains("self-signed")));
        let server = plain(&pair);
        served(talk("localhost", server.port, &ca(&pair.cert)).run(), 0, server);
        let server = plain(&pair);
        refused(talk("127.0.0.1", server.port, &ca(&pair.cert)).run(), "wrong-name", server);
    }
}

#[test]
fn a_chain_needs_what_is_between() {
    let authority = Authority::new();
    let ca = ca(&authority.cert());
    let server = plain(&authority.issue_by_another("whole", &["localhost"], true));
    let run = served(talk("localhost", server.port, &ca).run(), 0, server);
    assert_eq!(run.one::<Tls>().certificates.len(), 2);
    let server = plain(&authority.issue_by_another("part", &["localhost"], false));
    refused(talk("localhost", server.port, &ca).run(), "unknown-issuer", server);
}

#[test]
fn a_pin_decides_besides_trust() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost"], NOW);
    let trusted = ca(&authority.cert());
    let server = plain(&pair);
    let run = served(talk("localhost", server.port, &trusted).run(), 0, server);
    let own = run.one::<Tls>().certificates[0].clone();
    let colons = openssl_x509(&pair.cert, &["-fingerprint", "-sha256"]);
    let colons = colons.trim().rsplit_once('=').unwrap().1;
    for pin in [own.sha256.as_str(), colons, own.key_pin.as_deref().unwrap()] {
        let server = plain(&pair);
        served(talk("localhost", server.port, &format!("{trusted} --pin {pin}")).run(), 0, server);
        let server = plain(&pair);
        served(talk("localhost", server.port, &format!("--insecure --pin {pin}")).run(), 0, server);
    }
    for words in [trusted, "--insecure".to_owned()] {
        let server = plain(&pair);
        let run = talk("localhost", server.port, &format!("{words} --pin {}", "0".repeat(64))).run();
        let run = refused(run, "pin-mismatch", server);
        assert!(run.one::<Error>().hint.as_deref().is_some_and(|hint| hint.contains(&own.sha256)));
    }
}

#[test]
fn a_client_s_certificate_is_shown_to_who_asks_for_one() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pair = authority.issue("server", &["localhost"], NOW);
    let (good, bad) = (authority.issue("client", &["me"], NOW), other.issue("stranger", &["me"], NOW));
    let (trusted, client_ca) = (ca(&authority.cert()), authority.cert());
    for only in ["TLSv1_3", "TLSv1_2"] {
        let terms = || Terms { client_ca: Some(&client_ca), only: Some(only), ..Terms::default() };
        let words = |pair: &Pair| {
            format!("{trusted} --client-cert {} --client-key {}", pair.cert.display(), pair.key.display())
        };
        let server = python_server(&pair, &terms());
        served(talk("localhost", server.port, &words(&good)).run(), 0, server);
        for words in [trusted.clone(), words(&bad)] {
            let server = python_server(&pair, &terms());
            let run = talk("localhost", server.port, &words).run().exits(11);
            let error = run.one::<Error>();
            assert_eq!(error.name.as_deref(), Some("alert"), "{}", run.dump());
            assert_eq!(run.all::<Recv>().len(), 0);
            server.wait_for("no 0 ");
        }
    }
}

#[test]
fn a_key_is_never_told() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost"], NOW);
    let (cert, key) = (pair.cert.display(), pair.key.display());
    // The two of them in the wrong place, and a key that is none of this certificate.
    let other = authority.issue("other", &["localhost"], NOW);
    for words in [
        format!("--client-cert {key} --client-key {cert}"),
        format!("--client-cert {cert} --client-key {}", other.key.display()),
        format!("--client-cert {cert} --client-key /nowhere/at.all"),
        format!("--client-cert {cert}"),
        format!("--ca {key}"),
    ] {
        let run = talk("localhost", 1, &words).run().exits(6);
        assert_eq!(run.names(), ["start", "error", "summary"], "{}", run.dump());
        let secret = std::fs::read_to_string(&pair.key).unwrap();
        for line in secret.lines().filter(|line| !line.starts_with('-')) {
            assert!(!run.dump().contains(line), "{}", run.dump());
        }
    }
}

#[test]
fn versions_and_protocols_are_agreed_on() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost"], NOW);
    let trusted = ca(&authority.cert());
    let server = python_server(&pair, &Terms { alpn: Some("http/1.1,h2"), ..Terms::default() });
    let run =
        served(talk("localhost", server.port, &format!("{trusted} --alpn h2,http/1.1 --tls-max 1.2")).run(), 0, server);
    let tls = run.one::<Tls>();
    assert_eq!((tls.version.as_deref(), tls.alpn.as_deref()), (Some("TLSv1.2"), Some("http/1.1")));
    assert_eq!(
        (&*tls.alpn_offered, &*tls.versions_offered),
        (&["h2", "http/1.1"].map(String::from)[..], &["TLSv1.2".to_owned()][..])
    );
    let server = python_server(&pair, &Terms { only: Some("TLSv1_2"), ..Terms::default() });
    refused(talk("localhost", server.port, &format!("{trusted} --tls-min 1.3")).run(), "no-shared-version", server);
    let server = python_server(&pair, &Terms { only: Some("TLSv1_3"), ..Terms::default() });
    refused(talk("localhost", server.port, &format!("{trusted} --tls-max 1.2")).run(), "no-shared-version", server);
}

#[test]
fn certificates_are_told_as_openssl_reads_them() {
    let authority = Authority::new();
    let kinds: [(&str, &[&str], &str); 4] = [
        ("rsa", &["rsa:2048"], "RSA 2048"),
        ("p256", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "EC P-256"),
        ("p384", &["ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-sha384"], "EC P-384"),
        ("ed25519", &["ed25519"], "Ed25519"),
    ];
    for (file, words, key) in kinds {
        let names = "DNS:localhost,DNS:*.example.org,IP:127.0.0.1,IP:::1";
        let pair = openssl_self_signed(authority.dir(), file, words, names);
        let server = plain(&pair);
        let run = served(talk("localhost", server.port, &ca(&pair.cert)).run(), 0, server);
        let told = &run.one::<Tls>().certificates[0];
        let asked = |words: &[&str]| {
            openssl_x509(&pair.cert, words)
                .trim()
                .rsplit_once('=')
                .map_or_else(String::new, |(_, value)| value.to_owned())
        };
        assert_eq!(told.key.as_deref(), Some(key));
        assert_eq!(told.sha256, asked(&["-fingerprint", "-sha256"]).replace(':', "").to_lowercase());
        assert_eq!(
            told.serial.as_deref().unwrap().trim_start_matches('0'),
            asked(&["-serial"]).to_lowercase().trim_start_matches('0')
        );
        let subject = openssl_x509(&pair.cert, &["-subject", "-nameopt", "utf8,sep_comma_plus_space"]);
        assert_eq!(told.subject.as_deref(), subject.trim().strip_prefix("subject="));
        assert_eq!(told.subject, told.issuer);
        assert_eq!(told.names, ["localhost", "*.example.org", "127.0.0.1", "::1"]);
        let date = |option: &str| {
            openssl_x509(&pair.cert, &[option, "-dateopt", "iso_8601"])
                .trim()
                .rsplit_once('=')
                .unwrap()
                .1
                .replace(' ', "T")
        };
        // Older versions of openssl have no -dateopt, and say so.
        assert_eq!(told.not_before, Some(date("-startdate")));
        assert_eq!(told.not_after, Some(date("-enddate")));
        assert!(matches!(told.days_left, Some(19 | 20)), "{told:?}");
        let text = openssl_x509(&pair.cert, &["-text"]);
        assert!(text.contains(&format!("Signature Algorithm: {}", told.signature.as_deref().unwrap())), "{text}");
    }
}

#[test]
fn a_server_of_openssl_is_talked_to_and_its_staple_is_told() {
    let dir = TempDir::new();
    let Pair { cert, key } =
        openssl_self_signed(dir.path(), "server", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "DNS:localhost");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key, staple) = (cert.display().to_string(), key.display().to_string(), path("staple.der"));
    // Nobody judges what it says, so that it may be of an authority that knows no certificate.
    std::fs::write(path("index"), "").unwrap();
    let mut ocsp = Command::new("openssl");
    let of = ["-CA", &cert, "-rsigner", &cert, "-rkey", &key, "-issuer", &cert, "-cert", &cert];
    output_of(ocsp.args(["ocsp", "-noverify", "-index", &path("index"), "-respout", &staple]).args(of)).unwrap();
    for (only, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        for has_staple in [false, true] {
            let server = Peer::daemon("openssl", Family::V4, |port| {
                let address = format!("127.0.0.1:{port}");
                // It answers each line with its letters in reverse order.
                let words =
                    ["s_server", "-rev", "-accept", &address, "-cert", &cert, "-key", &key, "-alpn", "x,h2", only];
                let staple = if has_staple { &["-status_file", &staple][..] } else { &[] };
                words.iter().chain(staple).map(|word| (*word).to_owned()).collect()
            });
            let line = format!("connect localhost {} stressed --lf --tls --ca {cert} --alpn h2 --json", server.port);
            let run = Sockeye::new(line).run().exits(0);
            assert_eq!(run.one::<Recv>().data.as_deref(), Some("desserts\n"), "{}", run.dump());
            let tls = run.one::<Tls>();
            assert_eq!((tls.version.as_deref(), tls.alpn.as_deref()), (Some(version), Some("h2")), "{}", run.dump());
            assert_eq!((tls.ocsp_staple, tls.verified), (Some(has_staple), Some(true)), "{}", run.dump());
        }
    }
}

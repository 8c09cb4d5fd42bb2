//! `connect --proxy` through proxies that misbehave: closed, silent, slow, wrong, and those that speak for the
//! target too soon.

use std::time::Duration;

use crate::harness::events::{Close, Error, Proxy, Reason, Recv, Side, Step, Timeout, Warning};
use crate::harness::net::over_both_families;
use crate::harness::{Family, Finished, Peer, Sockeye};

/// A proxy that plays one scene: what it waits for (a number of bytes, or an empty line), then what it says,
/// then how it ends. Bytes are in hexadecimal.
const SCENE: &str = r#"
server = listen(sys.argv[1])
peer, _ = server.accept()
for word in sys.argv[2:]:
    kind, _, rest = word.partition("=")
    if kind == "read":
        exactly(peer, int(rest))
    elif kind == "head":
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += peer.recv(1) or sys.exit("closed")
    elif kind == "say":
        peer.sendall(bytes.fromhex(rest))
    elif kind == "slow":
        # Each byte is a segment of its own.
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in bytes.fromhex(rest):
            peer.sendall(bytes([byte]))
            time.sleep(0.001)
    elif kind == "pause":
        time.sleep(float(rest))
    elif kind == "next":
        peer.close()
        peer, _ = server.accept()
    elif kind == "drip":
        # For ever, as long as somebody listens.
        try:
            while True:
                peer.sendall(bytes.fromhex(rest))
                time.sleep(0.02)
        except OSError:
            pass
    elif kind == "reset":
        reset(peer)
        sys.exit()
    elif kind == "hold":
        all_of(peer)
peer.close()
"#;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks a proxy that plays a scene.
fn play(family: Family, scheme: &str, scene: &[String], words: &str) -> Finished {
    let host = family.host();
    let args: Vec<&str> = [host.as_str()].into_iter().chain(scene.iter().map(String::as_str)).collect();
    let proxy = Peer::python_server(SCENE, &args);
    Sockeye::new(format!("connect --json {words} --proxy {scheme}://{} target.example:80 x", family.at(proxy.port)))
        .run()
}

fn say(bytes: impl AsRef<[u8]>) -> String {
    format!("say={}", hex(bytes))
}

/// SOCKS5: what is read before each answer. The greeting without a user has 3 bytes, the request of
/// `target.example` 4, a length, 14 and 2.
const GREETING: &str = "read=3";
const REQUEST: &str = "read=21";

fn socks5(answer: impl AsRef<[u8]>) -> Vec<String> {
    vec![GREETING.into(), say(b"\x05\0"), REQUEST.into(), say(answer)]
}

fn error(run: &Finished) -> &Error {
    run.one::<Error>()
}

over_both_families! {
    fn a_proxy_that_closes_is_told_as_what_it_did(family) {
        for (scheme, scene, words) in [
            ("socks5h", vec![GREETING.into()], "without a word"),
            ("socks5h", vec![GREETING.into(), say(b"\x05")], "before its reply was whole"),
            ("socks5h", vec![GREETING.into(), say(b"\x05\0"), REQUEST.into()], "before its reply was whole"),
            ("socks5h", socks5(b"\x05\0\0\x01\x7f"), "before its reply was whole"),
            ("socks4a", vec!["read=24".into(), say(b"\0\x5a\0")], "before its reply was whole"),
            ("http", vec!["head".into()], "without a word"),
            ("http", vec!["head".into(), say("HTTP/1.1 200 OK\r\n")], "before its reply was whole"),
        ] {
            let run = play(family, scheme, &scene, "").exits(10);
            assert!(error(&run).message.ends_with(words), "{scheme} {scene:?}: {}", error(&run).message);
            let close = run.one::<Close>();
            assert!([Reason::Eof, Reason::Reset].contains(&close.reason), "{close:?}");
            assert_eq!((close.bytes_sent, close.bytes_received), (0, 0));
        }
    }

    fn bytes_that_belong_to_the_target_are_not_lost(family) {
        let granted = b"\x05\0\0\x01\x7f\0\0\x01\x1f\x90";
        let http = "HTTP/1.1 200 OK\r\nX: y\r\n\r\n";
        for (scheme, mut scene) in [
            ("socks5h", socks5([granted.as_slice(), b"220 early\r\n"].concat())),
            ("socks4a", vec!["read=24".into(), say(b"\0\x5a\0\0\0\0\0\x00220 early\r\n")]),
            ("http", vec!["head".into(), say(format!("{http}220 early\r\n"))]),
            ("http", vec!["head".into(), format!("slow={}", hex(format!("{http}220 early\r\n")))]),
            ("socks5h", vec![
                GREETING.into(),
                "slow=0500".into(),
                REQUEST.into(),
                format!("slow={}", hex([granted.as_slice(), b"220 early\r\n"].concat())),
            ]),
        ] {
            scene.push("hold".into());
            let run = play(family, scheme, &scene, "--expect (?s)early..").exits(0);
            let came: Vec<u8> = run.all::<Recv>().iter().flat_map(|recv| recv.payload()).collect();
            assert_eq!(came, b"220 early\r\n", "{scheme} {scene:?}");
            let told = run.one::<Proxy>();
            assert_eq!(told.bytes_received, match scheme {
                "socks5h" => 12,
                "socks4a" => 8,
                _ => http.len() as u64,
            });
            if scheme == "socks5h" {
                assert_eq!(told.bound.as_deref(), Some("127.0.0.1:8080"));
            }
        }
    }

    fn a_silent_or_endless_proxy_is_bounded(family) {
        for (scheme, scene) in [
            ("socks5h", vec!["hold".to_owned()]),
            ("socks5h", vec![GREETING.into(), say(b"\x05\0"), "hold".into()]),
            ("http", vec!["head".into(), "hold".into()]),
            ("http", vec!["head".into(), say("HTTP/1.1 200 OK\r\n"), "drip=41".into()]),
        ] {
            let run = play(family, scheme, &scene, "--timeout 500ms").exits(8);
            // The connect before it has its part of the time.
            assert!(error(&run).message.contains(" within 0."), "{}", error(&run).message);
            assert_eq!((run.one::<Timeout>().step, run.one::<Close>().reason), (Step::Proxy, Reason::Timeout));
            assert!(run.elapsed() < Duration::from_secs(5));
        }
        // A refusal is one, though its text never ends.
        let scene = vec!["head".into(), say("HTTP/1.1 403 No\r\nContent-Length: 99\r\n\r\n"), "hold".into()];
        let run = play(family, "http", &scene, "--timeout 30s").exits(4);
        assert!(run.elapsed() < Duration::from_secs(10), "{}", run.dump());
        assert!(error(&run).message.ends_with("it answers 403 No"));
        // Where only a close would end it, that is not waited for as long.
        let run = play(family, "http", &["head".into(), say("HTTP/1.1 403 No\r\n\r\nno"), "hold".into()], "").exits(4);
        assert!(run.elapsed() < Duration::from_millis(900), "{}", run.dump());
        assert_eq!(run.one::<Close>().bytes_unread, Some(0), "{}", run.dump());
        // Nor is it lost where a reset does.
        let scene = ["head".into(), say("HTTP/1.1 403 No\r\n\r\nno"), "reset".into()];
        let run = play(family, "http", &scene, "").exits(4);
        assert!(error(&run).message.ends_with("it answers 403 No"), "{}", run.dump());
        assert_eq!(run.one::<Close>().reset_by, Some(Side::Peer), "{}", run.dump());
        // Nor does it where it comes byte by byte.
        let scene = vec!["head".into(), say("HTTP/1.1 403 No\r\n\r\n"), "drip=78".into()];
        let run = play(family, "http", &scene, "--timeout 30s").exits(4);
        assert!(run.elapsed() < Duration::from_secs(10), "{}", run.dump());
        assert!(error(&run).message.ends_with("it answers 403 No"));
    }

    fn a_proxy_that_does_not_speak_first_may_be_one_of_http(family) {
        for scheme in ["socks5h", "socks4a"] {
            let run = play(family, scheme, &["hold".to_owned()], "--timeout 300ms").exits(8);
            assert!(error(&run).hint.as_deref().unwrap().contains("http://"), "{:?}", error(&run).hint);
        }
        let run = play(family, "http", &["hold".to_owned()], "--timeout 300ms").exits(8);
        assert_eq!(error(&run).hint, None);
    }

    fn what_is_no_answer_of_the_protocol_is_quoted(family) {
        for (scheme, scene, words) in [
            ("socks5h", vec![say("HTTP/1.1 400 Bad\r\n\r\n"), "hold".into()], "is it an HTTP proxy?"),
            ("socks5h", vec![GREETING.into(), say(b"\0\x5b\0\0\0\0\0\0"), "hold".into()], "is it a SOCKS4 proxy?"),
            ("socks5h", vec![GREETING.into(), say(b"\x05\x02"), "hold".into()], "method 2, which was not offered"),
            ("socks5h", socks5(b"\x04\0\0\x01\0\0\0\0\0\0"), "no SOCKS5"),
            ("socks5h", socks5(b"\x05\0\0\x09\0\0\0\0\0\0"), "kind 9"),
            ("socks4a", vec!["read=24".into(), say(b"\x05\xff"), "hold".into()], "is it a SOCKS5 proxy?"),
            ("http", vec!["head".into(), say(b"\x05\xff"), "hold".into()], "is it a SOCKS5 proxy?"),
            ("http", vec!["head".into(), say("SSH-2.0-x\x1b[2J\r\n"), "hold".into()], "\\x1b[2J"),
            ("http", vec!["head".into(), say("HTTP/1.1 OK\r\n\r\n"), "hold".into()], "no answer of HTTP"),
        ] {
            let run = play(family, scheme, &scene, "").exits(10);
            assert!(error(&run).message.contains(words), "{scheme} {scene:?}: {}", error(&run).message);
            assert_eq!(run.one::<Close>().reason, Reason::Local);
        }
    }
}

#[test]
fn each_refusal_has_its_code_and_its_words() {
    for (reply, code, words) in [
        (1, 9, "general failure"),
        (2, 4, "rules"),
        (3, 9, "network unreachable"),
        (4, 9, "host unreachable"),
        (5, 7, "refused by the target"),
        (6, 8, "TTL expired"),
        (7, 4, "CONNECT"),
        (8, 9, "kind of address"),
        (77, 9, "no RFC names"),
    ] {
        let run = play(Family::V4, "socks5h", &socks5([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]), "").exits(code);
        let message = &error(&run).message;
        assert!(message.contains(words) && message.ends_with(&format!("(SOCKS5 reply {reply})")), "{message}");
        assert_eq!(error(&run).target.as_deref(), Some("target.example:80"));
    }
    // Without the address that belongs to it.
    let run = play(Family::V4, "socks5h", &socks5(b"\x05\x05"), "").exits(7);
    assert!(error(&run).message.contains("refused by the target"));
    for (head, code) in [
        ("403 Forbidden", 4),
        ("502 Bad Gateway", 9),
        ("504 Gateway Timeout", 8),
        ("502 Bad Gateway\r\nProxy-Status: p; error=connection_refused", 7),
        ("503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 110", 8),
    ] {
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 4\r\n\r\ntext");
        let run = play(Family::V4, "http", &["head".into(), say(answer), "hold".into()], "").exits(code);
        assert!(error(&run).message.contains(head.split("\r\n").next().unwrap()), "{}", error(&run).message);
        assert_eq!(run.one::<Close>().bytes_unread, Some(0), "its text was read");
    }
}

/// Asks an HTTP proxy that plays a scene, as a user.
fn play_as_joe(scheme: &str, scene: &[String], words: &str) -> Finished {
    let args: Vec<&str> = ["127.0.0.1"].into_iter().chain(scene.iter().map(String::as_str)).collect();
    let proxy = Peer::python_server(SCENE, &args);
    Sockeye::new(format!("connect --json {words} target.example:80 x --expect early"))
        .arg(format!("--proxy={scheme}://127.0.0.1:{}", proxy.port))
        .env("SOCKEYE_PROXY_USER", "joe")
        .env("SOCKEYE_PROXY_PASSWORD", "geheim")
        .run()
}

#[test]
fn a_proxy_that_asks_who_we_are_is_answered_here_or_there_and_not_for_ever() {
    let asked = |close: &str| {
        say(format!("HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic realm=\"x\"\r\n{close}Content-Length: 2\r\n\r\nno"))
    };
    let granted = say("HTTP/1.1 200 OK\r\n\r\nearly");
    let scene = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    // On the same connection, and its answer may take longer than the text of a refusal.
    let run = play_as_joe("http", &scene(&["head", &asked(""), "head", "pause=1.5", &granted, "hold"]), "").exits(0);
    assert_eq!((run.one::<Proxy>().conn, run.one::<Proxy>().authentication.as_deref()), (1, Some("basic")));
    assert_eq!(run.one::<Proxy>().steps(), ["request", "authentication"]);
    assert!(run.all::<Warning>().is_empty(), "{}", run.dump());
    // On another: it says so, or only does so.
    for words in [
        ["head", &asked("Connection: close\r\n"), "next", "head", &granted, "hold"].as_slice(),
        &["head", &asked(""), "head", "next", "head", &granted, "hold"],
    ] {
        let run = play_as_joe("http", &scene(words), "").exits(0);
        assert_eq!((run.one::<Proxy>().conn, run.one::<Proxy>().authentication.as_deref()), (2, Some("basic")));
        assert!(run.all::<Error>().is_empty(), "{}", run.dump());
        assert_eq!(run.one::<Proxy>().steps(), ["authentication"]);
        let warning = run.one::<Warning>();
        assert_eq!(warning.name, "proxy-authentication");
        assert!(warning.message.contains("407 Who?"), "{}", warning.message);
    }
    // Once.
    for words in [
        ["head", &asked(""), "head", &asked(""), "hold"].as_slice(),
        &["head", &asked("Connection: close\r\n"), "next", "head", &asked("Connection: close\r\n"), "hold"],
    ] {
        let run = play_as_joe("http", &scene(words), "").exits(4);
        assert!(error(&run).message.contains("does not take this user and password"), "{}", run.dump());
    }
    let run = play_as_joe("http", &scene(&["head", &asked("Connection: close\r\n"), "next", "head"]), "").exits(10);
    assert!(error(&run).message.contains("without a word"), "{}", run.dump());
}

#[test]
fn a_proxy_that_asks_who_we_are_and_never_ends_its_text_is_answered_in_time() {
    let asked = say("HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\nno");
    let granted = say("HTTP/1.1 200 OK\r\n\r\nearly");
    let scene: Vec<String> = ["head", &asked, "drip=78", "next", "head", &granted, "hold"].map(str::to_owned).into();
    let run = play_as_joe("http", &scene, "--timeout 30s").exits(0);
    assert_eq!(run.one::<Proxy>().conn, 2, "{}", run.dump());
    assert!(run.elapsed() < Duration::from_secs(10), "{}", run.dump());
    assert!(run.elapsed() < Duration::from_millis(900), "{}", run.dump());
    // Where no time is left for another connection, what the proxy said is what is told.
    let asked = say("HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\nContent-Length: 9999\r\n\r\nno");
    let run = play_as_joe("http", &["head".to_owned(), asked, "drip=78".to_owned()], "--timeout 500ms").exits(4);
    assert!(error(&run).message.contains("407 Who?"), "{}", run.dump());
    assert_eq!(run.all::<Close>().len(), 1);
}

#[test]
fn a_nonce_that_is_too_old_on_the_second_connection_is_answered_on_a_third() {
    let asked = |nonce: &str| {
        say(format!(
            "HTTP/1.1 407 Who?\r\nProxy-Authenticate: Digest realm=x, nonce={nonce}, qop=auth\r\n\
             Connection: close\r\nContent-Length: 2\r\n\r\nno"
        ))
    };
    let granted = say("HTTP/1.1 200 OK\r\n\r\nearly");
    let (first, stale) = (asked("a"), asked("b, stale=true"));
    let scene = ["head", &first, "next", "head", &stale, "next", "head", &granted, "hold"].map(str::to_owned);
    let run = play_as_joe("http", &scene, "").exits(0);
    assert_eq!(run.one::<Proxy>().conn, 3, "{}", run.dump());
    let scene = ["head", &first, "next", "head", &stale, "next", "head", &stale, "hold"].map(str::to_owned);
    let run = play_as_joe("http", &scene, "").exits(4);
    assert!(error(&run).message.contains("again and again"), "{}", run.dump());
}

#[test]
fn what_a_proxy_repeats_of_our_secret_is_blanked_out() {
    let asked = say("HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n");
    // joe:geheim, as it is and as Basic writes it.
    for (answer, code) in [
        ("HTTP/1.1 403 Basic am9lOmdlaGVpbQ==\r\nContent-Length: 0\r\n\r\n", 4),
        ("HTTP/1.1 407 not joe:geheim\r\nProxy-Authenticate: am9lOmdlaGVpbQ\r\nContent-Length: 0\r\n\r\n", 4),
        ("HTTP/1.1 502 x\r\nProxy-Status: p; error=geheim\r\nContent-Length: 0\r\n\r\n", 9),
        ("HTTP/1.1 502 x\r\nX-Squid-Error: am9lOmdlaGVpbQ== 1\r\nContent-Length: 0\r\n\r\n", 9),
        ("HTTP/1.1 200 am9lOmdlaGVpbQ==\r\n\r\nearly", 0),
        ("HTTP/1.1 am9lOmdlaGVpbQ== x\r\n\r\n", 10),
        ("am9lOmdlaGVpbQ==\r\n\r\n", 10),
    ] {
        let scene = ["head", &asked, "head", &say(answer), "hold"].map(str::to_owned);
        let run = play_as_joe("http", &scene, "").exits(code);
        assert!(!run.dump().contains("am9lOmdl") && !run.dump().contains("geheim"), "{}", run.dump());
    }
    // The greeting has 4 bytes, the user with the password 12.
    let scene = ["read=4", &say(b"\x05\x02"), "read=12", &say(b"\x01\0\x01\x03joe\x06geheim"), "hold"];
    let run = play_as_joe("socks5h", &scene.map(str::to_owned), "").exits(10);
    assert!(error(&run).message.contains("no SOCKS5") && !run.dump().contains("geheim"), "{}", run.dump());
    let granted = b"\x01\0\x05\0\0\x03\x06geheim\0\x50early";
    let scene = ["read=4", &say(b"\x05\x02"), "read=12", &say(granted), "hold"];
    let run = play_as_joe("socks5h", &scene.map(str::to_owned), "").exits(0);
    assert!(run.one::<Proxy>().bound.is_some() && !run.dump().contains("geheim"), "{}", run.dump());
}

#[test]
fn what_fails_behind_a_proxy_names_the_target() {
    let granted = |more: &str| say(format!("HTTP/1.1 200 OK\r\n\r\n{more}"));
    for (scene, words, step, code) in [
        (vec!["head".into(), granted("SSH-2.0-x\r\n"), "hold".into()], "--tls --insecure", Step::Tls, 11),
        (vec!["head".into(), granted(""), "read=5".into(), "reset".into()], "--tls --insecure", Step::Tls, 11),
        (vec!["head".into(), granted(""), "hold".into()], "--timeout 500ms", Step::Recv, 8),
        (vec!["head".into(), granted(""), "read=1".into(), "reset".into()], "", Step::Recv, 10),
        (vec!["head".into(), granted(""), "read=1".into()], "", Step::Recv, 10),
    ] {
        let run = play(Family::V4, "http", &scene, words).exits(code);
        let (error, proxy) = (error(&run), &run.one::<Proxy>().proxy);
        assert_eq!((error.step, error.peer.as_ref()), (step, Some(proxy)), "{}", run.dump());
        assert_eq!(error.target.as_deref(), Some("target.example:80"), "{}", run.dump());
    }
}

#[test]
fn how_far_a_dialogue_came_that_failed_is_told() {
    let hold = |mut scene: Vec<String>| {
        scene.push("hold".into());
        scene
    };
    for (scheme, scene, code, steps) in [
        ("socks5h", socks5([5, 5, 0, 1, 0, 0, 0, 0, 0, 0]), 7, &["greeting", "request"][..]),
        ("socks5h", vec![GREETING.into(), say(b"\x05\0"), REQUEST.into()], 10, &["greeting", "request"]),
        ("socks5h", hold(vec![GREETING.into(), say(b"\x05\0")]), 8, &["greeting", "request"]),
        ("socks5h", hold(vec![say(b"\x05\x02")]), 10, &["greeting"]),
        ("socks5h", vec![GREETING.into(), "reset".into()], 10, &["greeting"]),
        ("http", vec!["head".into(), say("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")], 4, &["request"]),
    ] {
        let run = play(Family::V4, scheme, &scene, "--timeout 500ms").exits(code);
        let error = error(&run);
        let names: Vec<&str> = error.steps.iter().map(|step| &*step.name).collect();
        assert_eq!(names, steps, "{}", run.dump());
        let all: u64 = error.steps.iter().map(|step| step.duration_ns).sum();
        assert!(
            error.steps.iter().all(|step| step.duration_ns > 0) && all <= error.duration_ns.unwrap(),
            "{}",
            run.dump()
        );
        // The last is the one that took long.
        let last = error.steps.last().unwrap().duration_ns;
        assert!(code != 8 || last > 300_000_000, "{}", run.dump());
    }
    // What failed before or behind the dialogue has none.
    let run = play(Family::V4, "http", &["head".into(), say("HTTP/1.1 200 OK\r\n\r\n")], "").exits(10);
    assert!(error(&run).steps.is_empty(), "{}", run.dump());
    let scene = socks5([5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
    let args: Vec<&str> = ["127.0.0.1"].into_iter().chain(scene.iter().map(String::as_str)).collect();
    let proxy = Peer::python_server(SCENE, &args);
    let line = format!("connect -v --proxy socks5h://127.0.0.1:{} target.example:80 x", proxy.port);
    let told = Sockeye::new(line).run().exits(7).stderr();
    let words =
        regex::Regex::new(r"error: proxy .* \([0-9.]+ m?s: greeting [0-9.]+ m?s, request [0-9.]+ m?s\)\n").unwrap();
    assert!(words.is_match(&told), "{told}");
}

#[test]
fn a_reset_within_the_dialogue_is_one() {
    let run = play(Family::V4, "socks5h", &[GREETING.into(), "reset".into()], "").exits(10);
    assert_eq!((error(&run).step, error(&run).errno.as_deref()), (Step::Proxy, Some("ECONNRESET")));
    assert_eq!(error(&run).target.as_deref(), Some("target.example:80"));
    assert_eq!(run.one::<Close>().reason, Reason::Reset);
}

#[test]
fn a_signal_within_the_dialogue_ends_the_run() {
    let proxy = Peer::python_server(SCENE, &["127.0.0.1", "hold"]);
    let running =
        Sockeye::new(format!("connect --json --proxy socks5h://127.0.0.1:{} a:80 x --timeout 60s", proxy.port)).start();
    running.wait_for::<crate::harness::events::Connect>();
    let run = running.interrupt().exits(8);
    assert_eq!(run.one::<Close>().reason, Reason::Signal);
}

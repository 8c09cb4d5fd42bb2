//! Whether each end got everything (`clean` of `close`): not after a failure, whatever told it, nor where something for
//! the peer was never given to the kernel.

use std::io::Write;
use std::net::TcpStream;

use crate::harness::events::{Accept, Close, Error, Reason, Recv, Send, Tls, Warning};
use crate::harness::net::{TempDir, dial};
use crate::harness::tls::{Authority, BY_HAND, NOW};
use crate::harness::{Family, Finished, Peer, Running, Sockeye};
use crate::unix::{CONNECTED, TYPES, abstract_name, serve};

/// A peer of a unix server that does as a script says, then waits.
fn reach(kind: &str, name: &str, script: &str) -> Peer {
    let script = format!("{TYPES}peer = reach(*sys.argv[1:])\n{script}\nsay('done')\ntold()");
    let peer = Peer::python(&script, &[kind, name]);
    peer.wait_for("done");
    peer
}

/// Fails where the only connection of a run was clean, or nobody knows.
#[track_caller]
fn is_unclean(run: &Finished, what: &str) {
    assert_eq!(run.one::<Close>().clean, Some(false), "{what}: {}", run.dump());
}

/// Sends until the answers, of which it reads none, keep the server from taking more.
const TOO_MUCH: &str = "peer.settimeout(0.5)\ntry:\n    while peer.send(b'x' * 100): pass\nexcept OSError: pass";

#[test]
fn a_peer_that_took_not_all_for_too_long_did_not_get_everything() {
    for kind in CONNECTED {
        for words in ["--source-bytes 10000000", "--source-bytes", "--prefix 1234567890"] {
            let name = abstract_name();
            let server = serve(&name, kind, &format!("{words} --timeout 300ms --count 1"));
            let peer = reach(kind, &name, TOO_MUCH);
            let run = server.finish_by_itself().exits(0);
            assert_eq!(run.one::<Close>().reason, Reason::Timeout, "{kind} {words}: {}", run.dump());
            is_unclean(&run, words);
            drop(peer);
        }
    }
}

#[test]
fn an_answer_that_the_kernel_was_not_given_is_missing() {
    for kind in CONNECTED {
        for (words, script) in [
            // What the end of the run cuts off.
            ("--prefix 1234567890", TOO_MUCH),
            ("--fault delay=1h", "peer.send(b'hello')"),
            ("--fault slow=10/s --prefix 1234567890", "peer.send(b'hello')"),
            ("--fault delay=1h --source-bytes 10", ""),
            ("--fault slow=1/s --source-bytes 10", ""),
            ("--source-bytes 10000000", ""),
            // What a fault does on purpose.
            ("--fault close-after=3", "peer.send(b'hello')"),
            ("--fault close-after=3 --source-bytes 10", ""),
        ] {
            if kind == "seqpacket" && words.contains("slow=10/s") {
                // No pace cuts a record.
                continue;
            }
            let name = abstract_name();
            let server = serve(&name, kind, words);
            let peer = reach(kind, &name, script);
            if !words.contains("delay") {
                server.wait_for::<Send>();
            } else if words.contains("source") {
                server.wait_for::<Accept>();
            } else {
                server.wait_for::<Recv>();
            }
            if words.contains("close-after") {
                server.wait_for::<Close>();
            }
            let run = server.interrupt().exits(0);
            is_unclean(&run, &format!("{kind} {words}"));
            drop(peer);
        }
    }
}

#[test]
fn who_got_all_that_there_was_for_it_got_everything() {
    for kind in CONNECTED {
        for words in [
            "--prefix x",
            "--fault delay=1ms",
            "--fault slow=1k/s",
            "--source-bytes 10",
            "--fault close-after=5",
            "--broker",
        ] {
            let name = abstract_name();
            let server = serve(&name, kind, &format!("{words} --count 1"));
            let size = if words == "--source-bytes 10" { 10 } else { 5 };
            let get = if words == "--broker" { String::new() } else { format!("exactly(peer, {size})") };
            let end = "peer.shutdown(socket.SHUT_WR)\nall_of(peer)";
            let peer = reach(kind, &name, &format!("peer.send(b'hello')\n{get}\n{end}"));
            let run = server.finish_by_itself().exits(0);
            assert_eq!(run.one::<Close>().clean, Some(true), "{kind} {words}: {}", run.dump());
            drop(peer);
        }
    }
}

#[test]
fn what_waits_for_a_peer_of_a_broker_is_missing_where_it_is_closed() {
    for kind in CONNECTED {
        // Too much for it, and less when the run ends.
        for pieces in [40, 15] {
            let name = abstract_name();
            let server = serve(&name, kind, "--broker");
            let slow = reach(kind, &name, "");
            server.wait_for::<Accept>();
            let giver = reach(kind, &name, &format!("for _ in range({pieces}):\n    peer.sendall(b'z' * 50000)"));
            if pieces == 40 {
                assert_eq!(server.wait_for::<Close>().reason, Reason::Limit);
            } else {
                server.wait_until("all", |lines| (received(lines) == 750_000).then_some(()));
            }
            let run = server.interrupt().exits(0);
            assert_eq!(run.all::<Warning>().len(), usize::from(pieces == 40), "{}", run.dump());
            let clean: Vec<_> = run.all::<Close>().iter().map(|close| (close.conn, close.clean)).collect();
            assert!(clean.contains(&(1, Some(false))) && clean.contains(&(2, Some(true))), "{kind}: {}", run.dump());
            drop((slow, giver));
        }
    }
}

/// Starts a server of TCP.
fn tcp(words: &str) -> Running {
    Sockeye::new(format!("serve 127.0.0.1:0 --json {words}")).start()
}

/// Connects, and sends bytes.
fn send(server: &Running, bytes: &[u8]) -> TcpStream {
    let mut client = dial(Family::V4, server.port());
    client.write_all(bytes).unwrap();
    client
}

#[test]
fn no_handshake_and_no_header_is_a_failure() {
    for (words, bytes) in [
        ("--tls-self-signed", &b"GET / HTTP/1.0\r\n\r\n"[..]),
        ("--tls-self-signed --tls-timeout 200ms", b""),
        ("--tls-self-signed --tls-timeout 200ms", b"\x16\x03\x01"),
        ("--proxy-protocol --timeout 200ms", b"PRO"),
        ("--proxy-protocol --timeout 200ms", b""),
        ("--proxy-protocol", b"PROXX\r\n"),
    ] {
        let server = tcp(words);
        let client = send(&server, bytes);
        server.wait_for::<Close>();
        let run = server.interrupt().exits(0);
        assert_eq!(run.all::<Error>().len(), 1, "{words}: {}", run.dump());
        is_unclean(&run, words);
        drop(client);
    }
}

#[test]
fn who_is_given_half_a_handshake_on_purpose_did_not_get_everything() {
    let server = tcp("--tls-self-signed --fault handshake-cut");
    Sockeye::new(format!("connect localhost {} hello --tls --insecure --json", server.port())).run().exits(11);
    server.wait_for::<Close>();
    is_unclean(&server.interrupt().exits(0), "handshake-cut");
}

#[test]
fn a_session_of_tls_that_breaks_is_a_failure_though_our_alert_is_under_way() {
    for words in ["", "--discard", "--fault half-close", "--source-bytes 10", "--fault delay=1ms"] {
        let server = tcp(&format!("--tls-self-signed {words}"));
        let script = "tls, peer = dialing(sys.argv[1])\ntls.write(b'hello')\nend(peer, BROKEN)";
        Peer::python(&format!("{BY_HAND}{script}"), &[&server.port().to_string()]).finish();
        server.wait_for::<Close>();
        let run = server.interrupt().exits(0);
        assert_eq!(run.one::<Error>().name.as_deref(), Some("bad-message"), "{words}: {}", run.dump());
        is_unclean(&run, words);
    }
}

#[test]
fn a_client_s_failure_is_no_clean_end() {
    let server = |script: &str| {
        Peer::python_server(&format!("server = listen('127.0.0.1')\npeer, _ = server.accept()\n{script}"), &[])
    };
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost"], NOW);
    for (script, words, code) in [
        ("peer.recv(9)\npeer.close()", "hello", 10),
        ("peer.recv(9)\ntold()", "hello --timeout 200ms", 8),
        ("told()", "--idle-timeout 200ms", 8),
        ("peer.recv(9999)\npeer.sendall(b'220 mail')\ntold()", "hello --tls", 11),
        ("told()", "hello --tls --tls-timeout 200ms", 8),
        ("told()", "hello --tls --starttls smtp --tls-timeout 200ms", 8),
    ] {
        let peer = server(script);
        let mut client = Sockeye::new(format!("connect localhost {} {words} --json", peer.port)).stdin_piped().start();
        let run = match words.contains("hello") {
            true => client.finish().exits(code),
            false => {
                client.send(b"hello");
                client.finish_by_itself().exits(code)
            }
        };
        assert_eq!(run.all::<Error>().len(), 1, "{words}: {}", run.dump());
        is_unclean(&run, words);
        drop(peer);
    }
    // Trust refused.
    let dir = TempDir::new();
    let files = format!("--tls-cert {} --tls-key {}", pair.cert.display(), pair.key.display());
    let sockeye = tcp(&files);
    let run = Sockeye::new(format!("connect localhost {} hello --tls --json", sockeye.port())).run().exits(11);
    assert_eq!(run.all::<Tls>().len(), 1, "{}", run.dump());
    is_unclean(&run, "trust");
    sockeye.interrupt().exits(0);
    drop(dir);
}

#[test]
fn a_message_that_was_never_sent_is_missing() {
    for words in ["one two --deadline 300ms", "one --send-delay 1h --deadline 300ms"] {
        let name = abstract_name();
        let script = format!(
            "{TYPES}server = make('stream')\nserver.bind(name(sys.argv[1]))\nserver.listen()\nsay(1)\npeer, _ = server.accept()\nall_of(peer)"
        );
        let peer = Peer::python_server(&script, &[&name]);
        let run = Sockeye::new(format!("connect unix:{name} {words} --json")).run().exits(8);
        is_unclean(&run, words);
        peer.finish();
    }
}

/// Adds up what came.
fn received(lines: &[crate::harness::events::Line]) -> u64 {
    use crate::harness::events::Fact;
    lines.iter().filter_map(|line| Recv::of(&line.event)).map(|recv| recv.bytes).sum()
}

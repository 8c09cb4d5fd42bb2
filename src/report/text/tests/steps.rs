//! The lines of steps, of a server and of a client.

use super::*;

#[test]
fn a_server_tells_its_steps() {
    let (peer, any) = (address(52114), address(8001));
    let totals = Totals {
        connections: Some(3),
        denied: Some(0),
        resets: Some(1),
        timeouts: Some(2),
        bytes_sent: Some(54),
        bytes_received: Some(8_388_608),
        ..Totals::default()
    };
    let now = Totals { connections_open: Some(1), ..totals.clone() };
    let duration = Duration::from_millis(4200);
    let after = Duration::from_secs(5);
    let events = [
        event::Start { schema: 1, version: "0", command: "serve" }.into(),
        event::Socket { family: "AF_INET6", kind: "SOCK_STREAM", protocol: Some("IPPROTO_TCP") }.into(),
        event::Bind { local: &any, mode: None, gid: None }.into(),
        event::Listen { backlog: 5, effective_backlog: Some(5) }.into(),
        event::Listen { backlog: 9999, effective_backlog: Some(4096) }.into(),
        event::Accept {
            conn: 1,
            peer: &peer,
            local: &any,
            fast_open: None,
            mptcp: None,
            pid: None,
            uid: None,
            gid: None,
            process: None,
        }
        .into(),
        recv(b"1"),
        send(b"welcome to server!"),
        event::Eof { conn: 1 }.into(),
        event::Shutdown { conn: 1, how: event::How::Write }.into(),
        event::Timeout { conn: Some(1), step: Step::Recv, after }.into(),
        close().into(),
        event::Warning::of("x", "bytes unread").into(),
        event::Queue { local: &any, depth: 5, limit: 5, drops: Some(0), overflows: Some(7) }.into(),
        event::Queue { local: &any, depth: 6, limit: 5, drops: Some(0), overflows: None }.into(),
        event::Queue { local: &any, depth: 6, limit: 5, drops: Some(2), overflows: Some(1) }.into(),
        event::Interim { duration, totals: &now }.into(),
        event::Summary { outcome: Outcome::Ok, exit_code: 0, duration, totals: &totals }.into(),
    ];
    check(
        Settings { results: Results::Lines, ..settings() },
        &events,
        expect![[r#"
            served 3 connections in 18.00 ms: 8.4 MB in, 54 bytes out, 2 timeouts, 1 reset
        "#]],
        expect![[r#"
              0.002000 socket AF_INET6 SOCK_STREAM IPPROTO_TCP
              0.003000 bind 127.0.0.1:8001
              0.004000 listen backlog 5
              0.005000 listen backlog 9999, in force 4096
              0.006000 #1 accept 127.0.0.1:52114
              0.007000 #1 recv 1 byte "1"
              0.008000 #1 send 18 bytes "welcome to server!"
              0.009000 #1 eof
              0.010000 #1 shutdown SHUT_WR
              0.011000 #1 timeout recv after 5.000 s
              0.012000 #1 close (limit) 1 B in, 18 B out, 3 B unread, 2.003 s, reset by us
            warning: bytes unread
              0.015000 queue 127.0.0.1:8001 depth 6, limit 5
              0.016000 queue 127.0.0.1:8001 depth 6, limit 5, 2 dropped, 1 overflow
              0.017000 so far: served 3 connections in 4.200 s, 1 open: 8.4 MB in, 54 bytes out, 2 timeouts, 1 reset
        "#]],
    );
}

#[test]
fn verbose_tells_more() {
    let (peer, any) = (address(52114), address(8001));
    let [asked, got] = [65536, 131_072].map(OptionValue::Number);
    let events = [
        event::Setsockopt { option: "SO_REUSEADDR", requested: &asked, effective: Some(&asked) }.into(),
        event::Setsockopt { option: "SO_RCVBUF", requested: &asked, effective: Some(&got) }.into(),
        event::Accept {
            conn: 1,
            peer: &peer,
            local: &any,
            fast_open: None,
            mptcp: None,
            pid: None,
            uid: None,
            gid: None,
            process: None,
        }
        .into(),
        close().into(),
        event::Warning::of("x", "y").into(),
    ];
    let verbose = Settings { steps: Steps::Verbose, ..settings() };
    check(
        verbose,
        &events,
        expect![""],
        expect![[r#"
              0.001000 setsockopt SO_REUSEADDR 65536
              0.002000 setsockopt SO_RCVBUF 65536, in force 131072
              0.003000 #1 accept 127.0.0.1:52114 on 127.0.0.1:8001
              0.004000 #1 close (limit) 1 B in, 18 B out, 3 B unread, 18 B unacknowledged, 2.003 s, closed first by us, reset by us, rtt 0.041 ms, 2 retransmits, held back by the peer's window for 1.200 s of 1.500 s
            warning: y
        "#]],
    );
    assert!(!Text::wants(&Text::new(settings(), Kept::default().output(), None), Kind::Setsockopt));
}

#[test]
fn a_client_tells_its_steps_and_passes_answers_on() {
    let [peer, local] = [address(80), address(40112)];
    let duration = Duration::from_micros(41);
    let mut one = crate::stats::Distribution::default();
    one.record(duration);
    let totals = Totals {
        connections: Some(1),
        bytes_sent: Some(3),
        bytes_received: Some(12),
        connect: one.figures(),
        first_byte: one.figures(),
        ..Totals::default()
    };
    let connect = event::Connect {
        target: None,
        number: 0,
        conn: 1,
        peer: &peer,
        local: Some(&local),
        attempt: 1,
        duration,
        syn_retransmits: Some(0),
        fast_open: None,
        mptcp: None,
    };
    let before = Totals { connect: None, first_byte: None, ..totals.clone() };
    let addresses = ["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
    let unix = [Address::UnixAbstract(b"x\x1b".to_vec()), Address::UnixUnnamed];
    let events = [
        event::Resolve { name: "localhost", addresses: &addresses, duration: Duration::from_micros(300) }.into(),
        connect.clone().into(),
        event::Connect { attempt: 2, syn_retransmits: Some(1), ..connect.clone() }.into(),
        event::Connect { peer: &unix[0], local: None, syn_retransmits: None, ..connect }.into(),
        send(b"hi\n"),
        recv(b"a\x1b[2Jb\xff"),
        event::Summary { outcome: Outcome::Ok, exit_code: 0, duration, totals: &totals }.into(),
        event::Interim { duration, totals: &before }.into(),
    ];
    let client = Settings { tally: Tally::Client, results: Results::None, ..settings() };
    check(
        client,
        &events,
        expect![""],
        expect![[r#"
              0.001000 resolve localhost: ::1, 127.0.0.1 (0.300 ms)
              0.002000 #1 connect 127.0.0.1:80 from 127.0.0.1:40112 (0.041 ms)
              0.003000 #1 connect 127.0.0.1:80 from 127.0.0.1:40112 (0.041 ms, attempt 2, 1 SYN retransmit)
              0.004000 #1 connect unix:@x\x1b (0.041 ms)
              0.005000 #1 send 3 bytes "hi\n"
              0.006000 #1 recv 7 bytes "a\x1b[2Jb\xff"
            connected in 0.041 ms, first byte after 0.041 ms: 12 bytes in, 3 bytes out, 0.041 ms
              0.008000 so far: not connected, 0.041 ms
        "#]],
    );

    let stdout = Kept::default();
    let hidden = Settings { steps: Steps::Hidden, results: Results::Peer, ..client };
    tell(Text::new(hidden, stdout.output(), Some(Kept::default().output())), &events);
    assert_eq!(stdout.bytes(), b"a\x1b[2Jb\xff");
}

#[test]
fn rounds_are_told_and_added_up_with_their_outages() {
    let duration = Duration::from_micros(212);
    let mut took = crate::stats::Distribution::default();
    took.record(duration);
    took.record(duration * 2);
    let ok = event::Round {
        target: "h:80",
        number: 0,
        round: 3,
        conn: Some(3),
        outcome: Outcome::Ok,
        exit_code: 0,
        duration,
    };
    let day = Duration::from_secs(24 * 3600);
    let (target, started) = ("h:80".to_owned(), UNIX_EPOCH + Duration::from_millis(43_201_250));
    let span = event::OutageSpan { target, started, duration: Duration::from_millis(3100), rounds: 4, ongoing: false };
    let totals = Totals {
        rounds: Some(7),
        rounds_failed: Some(5),
        bytes_sent: Some(3),
        bytes_received: Some(1),
        errors: Some(5),
        outages: Some(5),
        round: took.figures(),
        connect: took.figures(),
        outage_spans: Some(vec![
            event::OutageSpan { ongoing: true, rounds: 1, ..span.clone() },
            event::OutageSpan { started: started + day, ..span },
        ]),
        ..Totals::default()
    };
    let none = Totals {
        rounds: Some(0),
        bytes_sent: Some(0),
        bytes_received: Some(0),
        outage_spans: Some(Vec::new()),
        ..Totals::default()
    };
    let events = [
        ok.clone().into(),
        event::Round { outcome: Outcome::Negative, exit_code: 1, ..ok.clone() }.into(),
        event::Round { outcome: Outcome::Error, exit_code: 7, conn: None, ..ok }.into(),
        event::Interim { duration, totals: &none }.into(),
        event::Summary { outcome: Outcome::Negative, exit_code: 1, duration, totals: &totals }.into(),
    ];
    let rounds = Settings { tally: Tally::Rounds, ..settings() };
    check(
        rounds,
        &events,
        expect![""],
        expect![[r#"
              0.001000 round 3 ok (0.212 ms)
              0.002000 round 3 negative (0.212 ms)
              0.003000 round 3 error (0.212 ms, exit code 7)
              0.004000 so far: 0 rounds, 0 failed, 0.212 ms
            7 rounds, 5 failed, each in 0.318 ms (0.212 ms to 0.424 ms), connected in 0.318 ms (0.212 ms to 0.424 ms): 1 byte in, 3 bytes out, 0.212 ms, 5 errors
            outage from 12:00:01.250 UTC for 3.100 s, 1 round, ongoing
            outage from 1970-01-02 12:00:01.250 UTC for 3.100 s, 4 rounds
            and 3 further outages
        "#]],
    );
    let table = Settings {
        results: Results::Probe(Probing { many: true, again: false, proxied: false, secured: false }),
        steps: Steps::Hidden,
        ..rounds
    };
    check(
        table,
        &events[4..],
        expect![[r#"
            7 rounds, 5 failed, each in 0.318 ms (0.212 ms to 0.424 ms), connected in 0.318 ms (0.212 ms to 0.424 ms): 1 byte in, 3 bytes out, 0.212 ms, 5 errors
            outage of h:80 from 12:00:01.250 UTC for 3.100 s, 1 round, ongoing
            outage of h:80 from 1970-01-02 12:00:01.250 UTC for 3.100 s, 4 rounds
            and 3 further outages
        "#]],
        expect![""],
    );
    let verbose = Settings { steps: Steps::Verbose, ..rounds };
    assert_eq!(shown(verbose, &events[..1]).1, "  0.001000 round 3 of h:80 ok (0.212 ms)\n");
}

#[test]
fn a_proxy_of_which_another_address_answers_is_no_failure() {
    let (peer, totals, duration) = (address(1080), Totals::default(), Duration::from_millis(3));
    let refused = Error {
        step: Step::Connect,
        errno: Some("ECONNREFUSED"),
        code: Some(111),
        name: None,
        message: "connect [::1]:1080 (proxy near:1080, for x:80): connection refused",
        hint: None,
        peer: Some(&peer),
        local: None,
        conn: None,
        target: Some("x:80"),
        number: 0,
        proxy: Some("near:1080"),
        steps: &[],
        duration: None,
        exit_code: ExitCode::Refused,
        explained: Duration::ZERO,
    };
    let connect = event::Connect {
        target: Some("x:80"),
        number: 0,
        conn: 1,
        peer: &peer,
        local: None,
        attempt: 2,
        duration,
        syn_retransmits: None,
        fast_open: None,
        mptcp: None,
    };
    let proxy = event::Proxy {
        conn: 1,
        proxy: "near:1080",
        protocol: "socks5",
        target: "10.0.0.1:80",
        resolved_by: Some(event::ResolvedBy::Local),
        authentication: None,
        bound: None,
        reply: "succeeded",
        code: 0,
        bytes_sent: 1,
        bytes_received: 2,
        steps: &[],
        duration,
        is_last: true,
    };
    let summary = event::Summary { outcome: Outcome::Ok, exit_code: 0, duration, totals: &totals };
    let probing = Probing { many: true, again: false, proxied: true, secured: false };
    let table = Settings { results: Results::Probe(probing), steps: Steps::Hidden, ..settings() };
    let table = Settings { tally: Tally::Client, ..table };
    let other = Error { target: Some("y:80"), number: 1, ..refused.clone() };
    check(
        table,
        &[refused.into(), other.into(), connect.into(), proxy.into(), summary.into()],
        expect![[r#"
            open        10.0.0.1:80 3.000 ms
            failed      y:80 proxy near:1080: connection refused
            1 open, 1 failure in 3.000 ms
        "#]],
        expect![""],
    );
}

#[test]
fn a_way_through_proxies_is_told() {
    let (peer, local) = (address(4711), address(80));
    let steps = [("greeting", 1), ("authentication", 1), ("request", 1)]
        .map(|(name, ms)| event::ProxyStep { name, duration: Duration::from_millis(ms) });
    let proxy = event::Proxy {
        conn: 1,
        proxy: "near:1080",
        protocol: "socks5",
        target: "far:3128",
        resolved_by: Some(event::ResolvedBy::Local),
        authentication: Some("password"),
        bound: Some("10.0.0.1:4711"),
        reply: "succeeded",
        code: 0,
        bytes_sent: 1,
        bytes_received: 2,
        steps: &steps,
        duration: Duration::from_millis(3),
        is_last: false,
    };
    let tlvs = [
        event::Tlv { kind: 1, name: Some("alpn"), data: event::Payload(b"h2") },
        event::Tlv { kind: 0xEA, name: None, data: event::Payload(b"\x1b") },
    ];
    let header = event::ProxyProtocol {
        conn: 1,
        version: 2,
        command: "proxy",
        proxied_peer: Some(&peer),
        proxied_local: Some(&local),
        tlvs: &tlvs,
        bytes: 28,
        duration: None,
    };
    let last = event::Proxy {
        proxy: "far:3128",
        protocol: "http",
        target: "x:80",
        resolved_by: Some(event::ResolvedBy::Proxy),
        authentication: None,
        bound: None,
        reply: "200 \x1bOK",
        is_last: true,
        ..proxy.clone()
    };
    let unknown = event::ProxyProtocol {
        command: "unknown",
        proxied_peer: None,
        proxied_local: None,
        tlvs: &[],
        ..header.clone()
    };
    let refused = Error {
        step: Step::Proxy,
        errno: None,
        code: None,
        message: "proxy far:3128: no",
        hint: None,
        peer: Some(&peer),
        local: None,
        conn: Some(1),
        target: Some("y:80"),
        number: 0,
        proxy: None,
        steps: &[],
        duration: None,
        exit_code: ExitCode::Refused,
        explained: Duration::ZERO,
        name: None,
    };
    let events = [proxy.into(), last.into(), header.into(), unknown.into(), refused.into()];
    check(
        Settings {
            results: Results::Probe(Probing { many: false, again: false, proxied: true, secured: false }),
            ..settings()
        },
        &events,
        expect![[r#"
            open        x:80 3.000 ms
            refused     y:80
        "#]],
        expect![[r#"
              0.001000 #1 proxy near:1080 (socks5) to far:3128, looked up here: succeeded, from 10.0.0.1:4711 (3.000 ms, password authentication)
              0.002000 #1 proxy far:3128 (http) to x:80, looked up there: 200 \x1bOK (3.000 ms)
              0.003000 #1 proxy-protocol v2 127.0.0.1:4711 to 127.0.0.1:80, alpn "h2", type 0xea "\x1b"
              0.004000 #1 proxy-protocol v2 unknown
            error: proxy far:3128: no
        "#]],
    );
    let verbose = Settings { steps: Steps::Verbose, ..settings() };
    check(
        verbose,
        &[events[0].clone(), events[4].clone()],
        expect![""],
        expect![[r#"
              0.001000 #1 proxy near:1080 (socks5) to far:3128, looked up here: succeeded, from 10.0.0.1:4711 (3.000 ms: greeting 1.000 ms, authentication 1.000 ms, request 1.000 ms, password authentication)
            error: proxy far:3128: no
        "#]],
    );
}

//! The schema against its promises and against what `Json` writes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::address::Address;
use crate::error::{ExitCode, Step};
use crate::event::{self, Event, OptionValue, Stamp, Totals};
use crate::report::json::Json;

/// Calls `check` with every kind of event, bare and with all that it can hold.
fn with_examples(mut check: impl FnMut(&Event<'_>)) {
    let peer = Address::from(SocketAddr::from(([127, 0, 0, 1], 80)));
    let name = Address::UnixPath("/run/x".into());
    let duration = Duration::from_nanos(41);
    let number = OptionValue::Number(-1);
    let word = OptionValue::Name("cubic".to_owned());
    let mut full = crate::stats::Distribution::default();
    full.record(duration);
    let one = full.figures();
    full.record(duration * 2);
    let descriptors = [
        event::Descriptor { kind: "file", target: Some("/x".to_owned()) },
        event::Descriptor { kind: "socket", target: None },
    ];
    let bare = Totals::default();
    let (target, started) = ("localhost:80".to_owned(), UNIX_EPOCH + duration);
    let span = event::OutageSpan { target, started, duration, rounds: 1, ongoing: false };
    let totals = Totals {
        connections: Some(0),
        connections_open: Some(0),
        denied: Some(0),
        accept_queue_max: Some(0),
        listen_drops: Some(0),
        listen_overflows: Some(0),
        resets: Some(0),
        sent: Some(0),
        received: Some(0),
        truncated: Some(0),
        not_sent: Some(0),
        refused: Some(0),
        icmp_errors: Some(0),
        icmp_errors_by_name: Some(vec![event::Named { name: "host-unreachable", count: 1 }]),
        answers_by_name: Some(vec![event::Named { name: "rst", count: 1 }]),
        corrupted: Some(0),
        foreign: Some(0),
        loss_runs: Some(1),
        loss_run_max: Some(2),
        loss_run_spans: Some(vec![event::LossRun {
            target: "x".to_owned(),
            sequence: 0,
            probes: 2,
            started: UNIX_EPOCH + duration,
            duration,
        }]),
        slots_missed: Some(0),
        targets: Some(1),
        targets_answered: Some(1),
        targets_open: Some(1),
        path_mtu: Some(1500),
        lost: Some(0),
        lost_out: Some(0),
        lost_back: Some(0),
        late: Some(0),
        loss_ratio: Some(0.5),
        duplicates: Some(0),
        reordered: Some(0),
        reordered_ratio: Some(0.0),
        reordering_extent_max: Some(0),
        stale: Some(0),
        sessions: Some(0),
        kernel_drops: Some(0),
        kernel_drop_buffers: Some(0),
        events_dropped: Some(1),
        rate_asked: Some(0.001),
        rate_achieved: Some(1e6),
        cpu: Some(duration),
        timeouts: Some(0),
        bytes_sent: Some(u64::MAX),
        bytes_received: Some(0),
        errors: Some(0),
        warnings: Some(0),
        rounds: Some(3),
        rounds_failed: Some(2),
        outages: Some(2),
        outage: Some(duration),
        outage_spans: Some(vec![span.clone(), event::OutageSpan { ongoing: true, ..span }]),
        checks_ok: Some(0),
        checks_absent: Some(0),
        checks_denied: Some(0),
        checks_failed: Some(0),
        resolve: one,
        connect: full.figures(),
        tls: full.figures(),
        first_byte: full.figures(),
        round: full.figures(),
        rtt: full.figures(),
        delay_variation_out: full.figures(),
        delay_variation_back: full.figures(),
        send_lateness: full.figures(),
    };
    let tcp = event::TcpFigures {
        rtt: duration,
        min_rtt: Some(duration),
        rttvar: duration,
        retransmits: 0,
        bytes_retransmitted: Some(0),
        mss: 1,
        pmtu: 1500,
        cwnd: 10,
        delivery_bytes_per_second: Some(1),
        busy: Some(duration),
        rwnd_limited: Some(duration),
        sndbuf_limited: Some(duration),
        held_back_by: Some(event::HeldBack::Network),
    };
    let old_tcp = event::TcpFigures {
        min_rtt: None,
        bytes_retransmitted: None,
        delivery_bytes_per_second: None,
        busy: None,
        rwnd_limited: None,
        sndbuf_limited: None,
        held_back_by: None,
        ..tcp.clone()
    };
    let progress = event::Tcp {
        conn: 1,
        bytes_received: 1,
        bytes_sent: 2,
        bytes_unacknowledged: Some(1),
        bytes_not_sent: Some(0),
        figures: tcp.clone(),
    };
    let close = event::Close {
        conn: 1,
        reason: event::Reason::Eof,
        closed_first: Some(event::Side::Peer),
        reset_by: Some(event::Side::Local),
        clean: Some(false),
        bytes_received: 0,
        bytes_sent: 0,
        bytes_unread: Some(1),
        bytes_unacknowledged: Some(0),
        duration,
        tcp: Some(tcp),
    };
    let asked = [event::ProxyStep { name: "greeting", duration }];
    let error = event::Error {
        step: Step::Bind,
        errno: Some("EACCES"),
        code: Some(13),
        name: Some("x"),
        message: "bind: permission denied",
        hint: Some("ask"),
        peer: Some(&peer),
        local: Some(&peer),
        conn: Some(1),
        target: Some("x"),
        number: 0,
        proxy: Some("y:1080"),
        steps: &asked,
        duration: Some(duration),
        exit_code: ExitCode::Permission,
        explained: Duration::ZERO,
    };
    let empty_error = event::Error {
        errno: None,
        code: None,
        name: None,
        hint: None,
        peer: None,
        local: None,
        conn: None,
        target: None,
        duration: None,
        steps: &[],
        ..error
    };
    let proxy = event::Proxy {
        conn: 1,
        proxy: "proxy:1080",
        protocol: "socks5",
        target: "x:80",
        resolved_by: Some(event::ResolvedBy::Proxy),
        authentication: Some("password"),
        bound: Some("127.0.0.1:80"),
        reply: "succeeded",
        code: 0,
        bytes_sent: 1,
        bytes_received: 2,
        steps: &asked,
        duration,
        is_last: true,
    };
    let tlvs = [
        event::Tlv { kind: 1, name: Some("alpn"), data: event::Payload(b"h2") },
        event::Tlv { kind: 0xEA, name: None, data: event::Payload(b"\xff") },
    ];
    let header = event::ProxyProtocol {
        conn: 1,
        version: 2,
        command: "proxy",
        proxied_peer: Some(&peer),
        proxied_local: Some(&peer),
        tlvs: &tlvs,
        bytes: 28,
        duration: Some(duration),
    };
    let certificates = [
        event::Certificate {
            subject: "CN=x".to_owned(),
            issuer: "CN=y".to_owned(),
            serial: "01".to_owned(),
            names: vec!["x".to_owned()],
            not_before: Some(SystemTime::UNIX_EPOCH),
            not_after: Some(SystemTime::UNIX_EPOCH),
            days_left: Some(-1),
            key: "EC P-256".to_owned(),
            signature: "ecdsa-with-SHA256".to_owned(),
            sha256: "00".to_owned(),
            key_pin: "sha256//x".to_owned(),
        },
        event::Certificate { sha256: "00".to_owned(), ..event::Certificate::default() },
    ];
    let offered = ["h2".to_owned()];
    let tls_full = event::Tls {
        conn: 1,
        version: Some("TLSv1.3"),
        versions_offered: &["TLSv1.3"],
        cipher: Some("TLS_AES_128_GCM_SHA256"),
        group: Some("X25519"),
        alpn: Some("h2"),
        alpn_offered: &offered,
        sni: Some("x"),
        resumed: Some(false),
        ocsp_staple: Some(false),
        client_certificate_requested: Some(true),
        client_certificate_shown: Some(false),
        target: Some("x:443"),
        certificates: &certificates,
        verified: Some(false),
        problems: &["expired"],
        duration,
    };
    let check_failed = event::CheckOutcome::Failed;
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let labels = [event::Label { label: 16, class: 0, ttl: 1 }];
    let icmp = event::IcmpError {
        target: &peer,
        from: addresses[0],
        kind: 3,
        code: 4,
        name: "fragmentation-needed",
        mtu: Some(1400),
        sequence: Some(0),
        after: Some(duration),
        mpls: &labels,
        interface: Some("ge-0/0/0"),
        refuses: true,
        probe: None,
    };
    let reply = event::Reply {
        target: &peer,
        from: &peer,
        sequence: 0,
        bytes: 44,
        ttl: Some(64),
        rtt: duration,
        queued: Some(duration),
        reflector: Some(duration),
        reflector_sequence: Some(0),
        answer: Some("syn-ack"),
        number: 0,
        hops: None,
        clock: event::Clock::Kernel,
        arrival: None,
        reached_twice: false,
        was_refused: false,
        legs: None,
    };
    let bare_reply = event::Reply {
        ttl: None,
        queued: None,
        reflector: None,
        reflector_sequence: None,
        answer: None,
        clock: event::Clock::User,
        ..reply.clone()
    };
    let stray = event::Stray {
        target: Some(&peer),
        from: &peer,
        sequence: Some(7),
        bytes: 64,
        ttl: Some(64),
        rtt: Some(duration),
        clock: Some(event::Clock::Kernel),
        wrong: "checksum",
        number: Some(0),
    };
    let bare_stray =
        event::Stray { target: None, sequence: None, ttl: None, rtt: None, clock: None, number: None, ..stray.clone() };
    let drops = event::KernelDrops {
        local: &peer,
        kernel_drops: Some(1),
        kernel_drop_buffers: None,
        recv_buffer: Some(1),
        recv_buffer_asked: Some(1),
        nth: 0,
    };
    let round = event::Round {
        target: "localhost:80",
        number: 0,
        round: 1,
        conn: Some(1),
        outcome: event::Outcome::Ok,
        exit_code: 0,
        duration,
    };
    let examples: [Event<'_>; 87] = [
        event::Start { schema: 1, version: "0.1.0", command: "serve" }.into(),
        event::Resolve { name: "localhost", addresses: &addresses, duration }.into(),
        event::Resolve { name: "localhost", addresses: &[], duration }.into(),
        event::Socket { family: "AF_INET", kind: "SOCK_STREAM", protocol: Some("IPPROTO_TCP") }.into(),
        event::Socket { family: "AF_UNIX", kind: "SOCK_STREAM", protocol: None }.into(),
        event::Setsockopt { option: "IP_TTL", requested: &number, effective: Some(&number) }.into(),
        event::Setsockopt { option: "TCP_CONGESTION", requested: &word, effective: None }.into(),
        event::Bind { local: &name, mode: None, gid: None }.into(),
        event::Bind { local: &name, mode: Some("0600"), gid: Some(0) }.into(),
        event::Unlink { local: &name, reason: event::UnlinkReason::Stale }.into(),
        event::Unlink { local: &name, reason: event::UnlinkReason::End }.into(),
        event::Listen { backlog: 5, effective_backlog: Some(5) }.into(),
        event::Listen { backlog: 5, effective_backlog: None }.into(),
        event::Queue { local: &peer, depth: 1, limit: 5, drops: Some(0), overflows: Some(0) }.into(),
        event::Queue { local: &peer, depth: 1, limit: 5, drops: None, overflows: None }.into(),
        event::Accept {
            conn: 1,
            peer: &peer,
            local: &peer,
            fast_open: Some(true),
            mptcp: Some(event::Mptcp::Negotiated),
            pid: Some(-1),
            uid: Some(0),
            gid: Some(0),
            process: Some("x"),
        }
        .into(),
        event::Accept {
            conn: 1,
            peer: &peer,
            local: &peer,
            fast_open: None,
            mptcp: None,
            pid: None,
            uid: None,
            gid: None,
            process: None,
        }
        .into(),
        event::Connect {
            target: Some("x:443"),
            number: 0,
            conn: 1,
            peer: &peer,
            local: Some(&peer),
            attempt: 1,
            duration,
            syn_retransmits: Some(0),
            fast_open: Some(event::FastOpen::NotTried),
            mptcp: Some(event::Mptcp::Fallback),
        }
        .into(),
        event::Connect {
            target: None,
            number: 0,
            conn: 1,
            peer: &peer,
            local: None,
            attempt: 1,
            duration,
            syn_retransmits: None,
            fast_open: None,
            mptcp: None,
        }
        .into(),
        proxy.clone().into(),
        event::Proxy { resolved_by: None, authentication: None, bound: None, ..proxy }.into(),
        header.clone().into(),
        event::ProxyProtocol { proxied_peer: None, proxied_local: None, tlvs: &[], duration: None, ..header }.into(),
        tls_full.clone().into(),
        event::Tls {
            version: None,
            cipher: None,
            group: None,
            alpn: None,
            alpn_offered: &[],
            sni: None,
            resumed: None,
            ocsp_staple: None,
            certificates: &[],
            verified: None,
            problems: &[],
            ..tls_full
        }
        .into(),
        event::OwnCertificate { certificates: &certificates, throw_away: true, pem: Some("x") }.into(),
        event::OwnCertificate { certificates: &certificates, throw_away: false, pem: None }.into(),
        event::Send::on(1, 2, "hé\n".as_bytes()).into(),
        event::Send::on(None, 0, b"").into(),
        event::Recv::on(1, 2, b"\xff\0").into(),
        event::Recv::on(None, 0, b"").into(),
        event::Send::on(None, 1, b"\xff").into(),
        event::Recv::on(None, 1, b"x").into(),
        event::Send { peer: Some(&peer), layer: Some("starttls"), ..event::Send::on(None, 1, b"x") }.into(),
        event::Recv { layer: Some("starttls"), ..event::Recv::on(1, 1, b"x") }.into(),
        event::Recv {
            peer: Some(&peer),
            local: Some(&name),
            truncated: Some(true),
            datagram_bytes: Some(9),
            pid: Some(1),
            uid: Some(0),
            gid: Some(0),
            denied: true,
            descriptors: &descriptors,
            ..event::Recv::on(None, 1, b"x")
        }
        .into(),
        event::Eof { conn: 1 }.into(),
        event::Shutdown { conn: 1, how: event::How::Write }.into(),
        event::Timeout { conn: Some(1), step: Step::Recv, after: duration }.into(),
        event::Timeout { conn: None, step: Step::Resolve, after: duration }.into(),
        close.clone().into(),
        event::Close { tcp: Some(old_tcp.clone()), ..close.clone() }.into(),
        event::Close {
            closed_first: None,
            reset_by: None,
            clean: None,
            bytes_unread: None,
            bytes_unacknowledged: None,
            tcp: None,
            ..close
        }
        .into(),
        event::Tcp { figures: old_tcp, bytes_unacknowledged: None, bytes_not_sent: None, ..progress.clone() }.into(),
        progress.into(),
        event::Probe { target: "x:80", number: 0, conn: Some(1), outcome: event::Outcome::Ok, exit_code: 0, duration }
            .into(),
        event::Round { conn: None, outcome: event::Outcome::Error, exit_code: 7, ..round.clone() }.into(),
        round.into(),
        event::Check { name: "x", outcome: check_failed, value: Some("1"), hint: Some("y"), duration: Some(duration) }
            .into(),
        event::Check { name: "x", outcome: check_failed, value: None, hint: None, duration: None }.into(),
        event::SynRetransmit { peer: &peer, attempt: 1, retransmits: 2, after: duration }.into(),
        event::IcmpError { mtu: None, sequence: None, after: None, mpls: &[], interface: None, ..icmp.clone() }.into(),
        event::Send { peer: Some(&peer), sequence: Some(7), ..event::Send::on(1, 1, b"x") }.into(),
        event::Recv {
            peer: Some(&peer),
            local: Some(&peer),
            truncated: Some(false),
            datagram_bytes: Some(1),
            ttl: Some(64),
            dscp: Some(46),
            ecn: Some(1),
            interface: Some("lo"),
            kernel_time: Some(UNIX_EPOCH + duration),
            sequence: Some(7),
            ..event::Recv::on(None, 1, b"x")
        }
        .into(),
        event::Late(bare_reply.clone()).into(),
        event::Late(reply.clone()).into(),
        event::Duplicate(bare_reply.clone()).into(),
        event::Duplicate(reply.clone()).into(),
        bare_reply.into(),
        reply.into(),
        event::Corrupted(stray.clone()).into(),
        event::Corrupted(bare_stray.clone()).into(),
        event::Foreign(stray).into(),
        event::Foreign(bare_stray).into(),
        event::Hop {
            target: "x",
            ttl: 1,
            from: &addresses,
            errors: &["admin-prohibited"],
            sent: 3,
            received: 2,
            rate_limited: true,
            rtt: totals.rtt.clone(),
        }
        .into(),
        event::Hop {
            target: "x",
            ttl: 2,
            from: &[],
            errors: &[],
            sent: 3,
            received: 0,
            rate_limited: false,
            rtt: None,
        }
        .into(),
        event::PathMtu { target: &peer, path_mtu: 1400, from: Some(addresses[0]), silent: false, number: 0 }.into(),
        event::PathMtu { target: &peer, path_mtu: 1400, from: None, silent: true, number: 0 }.into(),
        event::Lost { target: &peer, sequence: 7, after: duration, number: 0 }.into(),
        event::NotSent { target: &peer, sequence: Some(7), errno: "ENOBUFS", datagrams: 1, number: 0 }.into(),
        event::NotSent { target: &peer, sequence: None, errno: "ENOBUFS", datagrams: 1, number: 0 }.into(),
        event::Session { peer: &peer, session: Some(7) }.into(),
        event::Session { peer: &peer, session: None }.into(),
        event::KernelDrops { kernel_drops: None, kernel_drop_buffers: Some(1), ..drops.clone() }.into(),
        event::KernelDrops { kernel_drops: None, recv_buffer: None, recv_buffer_asked: None, ..drops.clone() }.into(),
        drops.into(),
        event::TargetSummary { target: "x", name: Some("y"), session: Some(7), totals: &totals }.into(),
        event::TargetSummary { target: "x", name: None, session: None, totals: &bare }.into(),
        icmp.into(),
        error.into(),
        empty_error.into(),
        event::Warning::of("x", "y").into(),
        event::Warning {
            conn: Some(1),
            peer: Some(&peer),
            target: Some("x:443"),
            duration: Some(duration),
            ..event::Warning::of("x", "y")
        }
        .into(),
        event::Interim { duration, totals: &totals }.into(),
        event::Interim { duration, totals: &bare }.into(),
        event::Summary { outcome: event::Outcome::Negative, exit_code: 1, duration, totals: &totals }.into(),
        event::Summary { outcome: event::Outcome::Ok, exit_code: 0, duration, totals: &bare }.into(),
    ];
    examples.iter().for_each(&mut check);
}

/// Returns the line of an event, read back.
fn line(event: &Event<'_>) -> Value {
    let mut buffer = Vec::new();
    let stamp = Stamp { time: UNIX_EPOCH + Duration::from_nanos(1), elapsed: Duration::from_nanos(2) };
    Json::default().append(&mut buffer, stamp, event);
    serde_json::from_slice(&buffer).unwrap()
}

/// Calls `check` with every schema in `schema`, itself first.
fn walk(schema: &Value, check: &mut impl FnMut(&Value)) {
    check(schema);
    match schema {
        Value::Object(object) => object.values().for_each(|value| walk(value, check)),
        Value::Array(array) => array.iter().for_each(|value| walk(value, check)),
        _ => {}
    }
}

#[test]
fn every_kind_is_there_once() {
    let schema = schema();
    let names: Vec<&Value> =
        schema["oneOf"].as_array().unwrap().iter().map(|event| &event["properties"]["event"]["const"]).collect();
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names, kinds);
    assert_eq!(kinds.iter().collect::<BTreeSet<_>>().len(), kinds.len());
}

#[test]
fn every_object_is_closed_and_nothing_is_null() {
    walk(&schema(), &mut |value| {
        assert!(!value.is_null() && value != "null");
        if value["type"] == "object" {
            assert_eq!(value["additionalProperties"], false, "{value}");
            let properties = value["properties"].as_object().unwrap();
            assert!(
                value["required"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|name| properties.contains_key(name.as_str().unwrap()))
            );
        }
        for word in ["$ref", "$defs", "unevaluatedProperties", "allOf"] {
            assert!(value.get(word).is_none(), "{word}");
        }
    });
}

#[test]
fn every_field_says_what_it_means() {
    for event in fields() {
        assert!(!event.description.is_empty(), "{}", event.event);
        for field in event.fields {
            assert!(!field.description.is_empty() && !field.kind.is_empty(), "{} {}", event.event, field.name);
        }
    }
}

#[test]
fn every_event_is_valid_and_no_other_field_is() {
    let schema = schema();
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut kinds = BTreeSet::new();
    with_examples(|event| {
        kinds.insert(event.kind().name());
        let mut line = line(event);
        assert!(validator.is_valid(&line), "{line}");
        line["else"] = json!(1);
        assert!(!validator.is_valid(&line), "{line}");
    });
    assert_eq!(kinds.len(), Kind::ALL.len(), "an event has no example: {kinds:?}");
}

#[test]
fn every_field_has_an_example_and_the_required_ones_are_required() {
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    with_examples(|event| {
        let whole = line(event);
        seen.extend(whole.as_object().unwrap().keys().map(|name| (event.kind().name().to_owned(), name.clone())));
        let fields = fields().into_iter().find(|fields| fields.event == event.kind().name()).unwrap();
        for field in fields.fields.iter().filter(|field| field.required) {
            let mut part = whole.clone();
            part.as_object_mut().unwrap().remove(&field.name).unwrap();
            assert!(!validator.is_valid(&part), "{part}");
        }
    });
    for event in fields() {
        for field in event.fields {
            assert!(seen.contains(&(event.event.clone(), field.name.clone())), "{} {}", event.event, field.name);
        }
    }
}

#[test]
fn fields_are_told_in_words() {
    let fields = fields();
    let field = |event: &str, name: &str| {
        let event = fields.iter().find(|fields| fields.event == event).unwrap();
        event.fields.iter().find(|field| field.name == name).unwrap().clone()
    };
    assert_eq!(field("resolve", "addresses").kind, "list of string");
    assert_eq!(field("setsockopt", "requested").kind, "integer or string");
    assert_eq!(field("summary", "outcome").kind, r#""ok" or "negative" or "error""#);
    assert_eq!(field("summary", "outage_spans").kind, "list of object");
    assert!(field("tls", "certificates").fields.iter().any(|field| field.name == "days_left"));
    assert_eq!(field("close", "tcp").fields.first().unwrap().name, "rtt_ns");
    assert!(field("recv", "bytes").required && !field("recv", "data").required);
    assert!(!field("error", "peer").required);
    assert_eq!(field("bind", "local").description, "The address that the socket then has.");
}

//! What a firewall on the way makes of a connect: who sent the ICMP error, and which SYNs were sent again.

use crate::harness::Sockeye;
use crate::harness::events::{Error, IcmpError, SynRetransmit};
use crate::harness::net::Net;

/// Returns a network whose firewall does this with what is sent to TCP port 7.
fn firewall(table: &str, verdict: &str) -> Net {
    Net::isolated()
        .with(format!("nft add table {table} t"))
        .with(format!("nft 'add chain {table} t o {{ type filter hook output priority 0; }}'"))
        .with(format!("nft add rule {table} t o tcp dport 7 {verdict}"))
}

/// Connects through a firewall that rejects with an ICMP error, and checks that all of it is told.
fn rejected(table: &str, with: &str, target: &str, expected: (u8, u8, &str, i32)) {
    let (kind, code, name, exit) = expected;
    let from = target.trim_start_matches('[').split_once("]:").map_or("127.0.0.1", |(ip, _)| ip);
    let net = firewall(table, &format!("reject with {with}"));
    let run =
        Sockeye::new(format!("connect {target} --probe --timeout 5s --json")).under(net.prefix()).run().exits(exit);
    let icmp = run.one::<IcmpError>();
    assert_eq!((icmp.target.as_str(), icmp.from.as_str()), (target, from), "{icmp:?}");
    assert_eq!((icmp.kind, icmp.code, icmp.name.as_str(), icmp.sequence), (kind, code, name, None), "{with}");
    let error = run.one::<Error>();
    let said = format!("{} {}", error.message, error.hint.as_ref().unwrap());
    assert!(said.contains(from) && said.contains(name), "from whom, and what: {error:?}");
}

#[test]
fn each_icmp_error_of_a_firewall_is_told_with_who_sent_it() {
    crate::harness::require(&["nft"]);
    // RFC 792 and RFC 1812, 5.2.7.1: the codes of destination unreachable, type 3.
    for (with, code, name, exit) in [
        ("net-unreachable", 0, "net-unreachable", 9),
        ("host-unreachable", 1, "host-unreachable", 9),
        ("prot-unreachable", 2, "protocol-unreachable", 9),
        ("port-unreachable", 3, "port-unreachable", 7),
        ("net-prohibited", 9, "net-prohibited", 9),
        ("host-prohibited", 10, "host-prohibited", 9),
        ("admin-prohibited", 13, "admin-prohibited", 9),
    ] {
        rejected("ip", &format!("icmp type {with}"), "127.0.0.1:7", (3, code, name, exit));
    }
    // RFC 4443, 3.1: those of destination unreachable, type 1.
    for (with, code, name, exit) in [
        ("no-route", 0, "no-route", 9),
        ("admin-prohibited", 1, "admin-prohibited", 9),
        ("addr-unreachable", 3, "address-unreachable", 9),
        ("port-unreachable", 4, "port-unreachable", 7),
        ("policy-fail", 5, "source-policy-failed", 9),
        ("reject-route", 6, "reject-route", 9),
    ] {
        rejected("ip6", &format!("icmpv6 type {with}"), "[::1]:7", (1, code, name, exit));
    }
}

#[test]
fn exit_8_a_firewall_that_drops_and_the_syns_that_were_sent_again() {
    crate::harness::require(&["nft", "sh"]);
    for (table, target) in [("ip", "127.0.0.1:7"), ("ip6", "[::1]:7")] {
        let net = firewall(table, "counter drop");
        // The rule's own counter is the observer: one SYN, and those that came again.
        let script = format!("\"$@\"; code=$?; nft list chain {table} t o >&2; exit $code");
        let words = format!("connect {target} --probe --timeout 3500ms");
        let run = Sockeye::new(words)
            .under(net.prefix().into_iter().chain(["sh", "-c", &script, "sh"].map(Into::into)))
            .run();
        let stderr = run.stderr();
        assert_eq!(run.code(), 8, "{stderr}");
        let (_, counted) = stderr.split_once("counter packets ").unwrap();
        let packets: u32 = counted.split_whitespace().next().unwrap().parse().unwrap();
        assert!(packets >= 2, "3.5 s are enough for one more: {stderr}");
        let again = match packets - 1 {
            1 => "1 SYN sent again".to_owned(),
            again => format!("{again} SYNs sent again"),
        };
        assert!(stderr.contains(&again), "{again}: {stderr}");
        assert!(stderr.contains("no answer yet, 1 SYN sent again after 1."), "told while it waits: {stderr}");
    }
}

#[test]
fn each_syn_that_is_sent_again_is_an_event_while_the_connect_is_waited_for() {
    let net = firewall("ip", "drop");
    let words = "connect 127.0.0.1:7 --probe --timeout 2500ms --json";
    let run = Sockeye::new(words).under(net.prefix()).run().exits(8);
    let again = run.all::<SynRetransmit>();
    assert!(!again.is_empty(), "{}", run.dump());
    for (at, event) in again.iter().enumerate() {
        assert_eq!((&*event.peer, event.attempt, event.retransmits as usize), ("127.0.0.1:7", 1, at + 1));
        // RFC 6298: the first wait is 1 s; the kernel is asked now and then.
        assert!(event.after_ns >= (at as u64 + 1) * 1_000_000_000, "{event:?}");
    }
}

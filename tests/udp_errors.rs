//! What comes back instead of an answer: ICMP errors with who sent them and about which datagram, and
//! what this host itself refuses.

use crate::harness::events::{Error, IcmpError, NotSent, Send, Step};
use crate::harness::hosts::Hosts;
use crate::harness::net::{Net, over_both_families};
use crate::harness::{Family, Sockeye, require};

/// Returns a network whose firewall does this with what comes in to UDP port 7, or what goes out.
fn firewall(table: &str, hook: &str, verdict: &str) -> Net {
    require(&["nft"]);
    Net::isolated()
        .with(format!("nft add table {table} t"))
        .with(format!("nft 'add chain {table} t o {{ type filter hook {hook} priority 0; }}'"))
        .with(format!("nft add rule {table} t o udp dport 7 {verdict}"))
}

#[test]
fn each_icmp_error_of_a_firewall_is_told_with_who_sent_it() {
    let v4 = [
        // RFC 792 and RFC 1812, 5.2.7.1: the codes of destination unreachable, type 3.
        ("net-unreachable", 3, 0, "net-unreachable", 9),
        ("host-unreachable", 3, 1, "host-unreachable", 9),
        ("prot-unreachable", 3, 2, "protocol-unreachable", 9),
        ("port-unreachable", 3, 3, "port-unreachable", 7),
        ("net-prohibited", 3, 9, "net-prohibited", 9),
        ("host-prohibited", 3, 10, "host-prohibited", 9),
        ("admin-prohibited", 3, 13, "admin-prohibited", 9),
    ];
    // RFC 4443, 3.1: those of destination unreachable, type 1.
    let v6 = [
        ("no-route", 1, 0, "no-route", 9),
        ("admin-prohibited", 1, 1, "admin-prohibited", 9),
        ("addr-unreachable", 1, 3, "address-unreachable", 9),
        ("port-unreachable", 1, 4, "port-unreachable", 7),
        ("policy-fail", 1, 5, "source-policy-failed", 9),
        ("reject-route", 1, 6, "reject-route", 9),
    ];
    let all = v4.iter().map(|row| (Family::V4, row)).chain(v6.iter().map(|row| (Family::V6, row)));
    for (family, &(with, kind, code, name, exit)) in all {
        let (table, icmp) = if family == Family::V4 { ("ip", "icmp") } else { ("ip6", "icmpv6") };
        // Both ways to send: connected, and not (which only IPv4 has, for broadcasts).
        let ways: &[&str] = if family == Family::V4 { &["", "--broadcast"] } else { &[""] };
        for way in ways {
            let net = firewall(table, "input", &format!("reject with {icmp} type {with}"));
            let words = format!("udp-send {} 7 one two --interval 1ms {way} --json", family.host());
            let run = Sockeye::new(words).under(net.prefix()).run().exits(exit);
            let told = run.all::<IcmpError>();
            assert_eq!(told.len(), 2, "{with} {way}: {}", run.dump());
            for (number, it) in told.into_iter().enumerate() {
                assert_eq!((it.target.clone(), it.from.clone()), (family.at(7).to_string(), family.host()), "{with}");
                assert_eq!((it.kind, it.code, it.name.as_str(), it.mtu), (kind, code, name, None), "{with}");
                assert_eq!(it.sequence, Some(number as u64), "{with} {way}: {}", run.dump());
                assert!(it.after_ns.is_some());
            }
            assert_eq!((run.summary().sent, run.summary().icmp_errors), (Some(2), Some(2)));
            assert!(run.all::<Error>().is_empty(), "what was sent is no failed send: {}", run.dump());
        }
    }
}

#[test]
fn what_a_local_filter_drops_is_exit_4_and_not_sent() {
    for family in Family::BOTH {
        let table = if family == Family::V4 { "ip" } else { "ip6" };
        for (rest, not_sent) in
            [("hello", 1), ("a b c --interval 1ms", 3), ("--size 20 --count 3 --rate 1000/s", 3), ("x --wait 50s", 1)]
        {
            let words = format!("udp-send {} 7 {rest} --json", family.host());
            let run = Sockeye::new(words).under(firewall(table, "output", "drop").prefix()).run().exits(4);
            let error = run.one::<Error>();
            assert_eq!((error.step, error.errno.as_deref()), (Step::Send, Some("EPERM")), "{rest}");
            assert!(error.hint.is_some(), "{error:?}");
            assert_eq!(
                (run.summary().sent, run.summary().not_sent),
                (Some(0), Some(not_sent)),
                "{rest}: {}",
                run.dump()
            );
            assert!(run.all::<Send>().is_empty());
            assert_eq!(run.all::<NotSent>().len() as u64, not_sent - 1, "the first is the error: {}", run.dump());
            assert!(run.elapsed() < std::time::Duration::from_secs(20), "what was not sent is not waited for");
        }
        // One that also says so is told of once.
        let net = firewall(table, "output", "reject");
        let run = Sockeye::new(format!("udp-send {} 7 x --json", family.host())).under(net.prefix()).run().exits(4);
        assert_eq!((run.one::<Error>().errno.as_deref(), run.all::<IcmpError>().len()), (Some("EPERM"), 1));
        let words = format!("udp-send {} 7 --json", family.host());
        Sockeye::new(words).stdin("hello").under(firewall(table, "output", "drop").prefix()).run().exits(4);
    }
}

#[test]
fn no_route_is_exit_9_and_names_what_is_missing() {
    for target in ["192.0.2.1:9", "[2001:db8::1]:9"] {
        for rest in ["hello", "--flood --count 3", "--size 10", ""] {
            let run =
                Sockeye::new(format!("udp-send {target} {rest} --json")).under(Net::isolated().prefix()).run().exits(9);
            let error = run.one::<Error>();
            assert_eq!((error.step, error.errno.as_deref()), (Step::Connect, Some("ENETUNREACH")), "{rest}");
            assert!(error.hint.as_ref().unwrap().contains("route"), "{error:?}");
        }
    }
}

over_both_families! {
    fn a_router_with_a_smaller_mtu_is_named_with_it(family) {
        let hosts = Hosts::routed(1400);
        let (target, router, kind, code, name) = match family {
            Family::V4 => ("10.0.1.2", "10.0.0.254", 3, 4, "fragmentation-needed"),
            Family::V6 => ("2001:db8:1::2", "2001:db8::fe", 2, 0, "packet-too-big"),
        };
        let peer = hosts.python("b", &format!("server = bound({target:?}, 4000)\nsay('bound')\nsay(len(server.recv(70000)))"));
        peer.wait_for("bound");
        let words = format!("udp-send {target} 4000 --size 1450 --dont-fragment --wait 20s --json");
        let run = Sockeye::new(words).under(hosts.on("a")).run().exits(9);
        let it = run.one::<IcmpError>();
        assert_eq!((it.from.as_str(), it.kind, it.code, it.name.as_str(), it.mtu), (router, kind, code, name, Some(1400)));
        assert_eq!((it.sequence, it.after_ns.is_some()), (Some(0), true), "{it:?}");
        // Now this host knows the MTU of the way, and refuses by itself.
        let words = format!("udp-send {target} 4000 --size 1450 --dont-fragment --json");
        let run = Sockeye::new(words).under(hosts.on("a")).run().exits(5);
        let error = run.one::<Error>();
        assert_eq!((error.step, error.errno.as_deref()), (Step::Send, Some("EMSGSIZE")));
        let hint = error.hint.as_ref().unwrap();
        assert!(hint.contains("1400") && hint.contains("1450"), "{hint}");
        assert!(run.all::<IcmpError>().is_empty());
        assert_eq!((run.summary().sent, run.summary().not_sent), (Some(0), Some(1)));
        // What fits arrives, and without the option what does not is cut and put together again.
        for (size, rest) in [(1300, "--dont-fragment"), (1450, "")] {
            let words = format!("udp-send {target} 4000 --size {size} {rest} --json");
            let code = if size == 1300 { 0 } else { 7 };
            let run = Sockeye::new(words).under(hosts.on("a")).run();
            assert!([0, code].contains(&run.code()), "{}", run.dump());
            if size == 1300 {
                peer.wait_for("1300");
            }
        }
    }

    fn segments_that_are_too_large_for_the_way_name_their_datagrams(family) {
        let hosts = Hosts::routed(1400);
        let target = if family == Family::V4 { "10.0.1.2" } else { "2001:db8:1::2" };
        let words = format!("udp-send {target} 9 --size 1450 --count 3 --interval 1ms --dont-fragment --wait 20s --json");
        let run = Sockeye::new(words).under(hosts.on("a")).run();
        // The first is answered by the router; the others this host does not send.
        assert_eq!(run.one::<IcmpError>().sequence, Some(0), "{}", run.dump());
        assert_eq!((run.summary().sent, run.summary().not_sent), (Some(1), Some(2)), "{}", run.dump());
        assert_ne!(run.code(), 0);
    }

    fn a_host_that_is_not_there_is_exit_9(family) {
        let hosts = Hosts::two("");
        let target = if family == Family::V4 { "10.0.0.77" } else { "2001:db8::77" };
        // Nobody answers for the address (ARP, ND): this host says so itself after some seconds.
        let run = Sockeye::new(format!("udp-send {target} 9 hello --wait 20s --json")).under(hosts.on("a")).run().exits(9);
        let it = run.one::<IcmpError>();
        let name = if family == Family::V4 { "host-unreachable" } else { "address-unreachable" };
        assert_eq!((it.name.as_str(), it.sequence), (name, Some(0)));
    }

    fn a_hop_limit_that_ends_on_the_way_is_told_by_the_router(family) {
        let hosts = Hosts::routed(1500);
        let (target, router, name) = match family {
            Family::V4 => ("10.0.1.2", "10.0.0.254", "ttl-exceeded"),
            Family::V6 => ("2001:db8:1::2", "2001:db8::fe", "hop-limit-exceeded"),
        };
        let run = Sockeye::new(format!("udp-send {target} 9 hello --ttl 1 --wait 20s --json")).under(hosts.on("a")).run().exits(9);
        let it = run.one::<IcmpError>();
        assert_eq!((it.from.as_str(), it.name.as_str(), it.sequence), (router, name, Some(0)));
    }
}

#[test]
fn of_messages_alike_the_one_that_was_refused_is_named_only_where_that_is_certain() {
    let (_held, port) = crate::harness::udp::refusing_port(Family::V4);
    // The quote of "a" begins "ab" too: the whole of it decides.
    let run = Sockeye::new(format!("udp-send 127.0.0.1 {port} ab a --interval 0 --json")).run().exits(7);
    let told: Vec<_> = run.all::<IcmpError>().iter().map(|it| it.sequence).collect();
    assert_eq!(told, [Some(0), Some(1)], "{}", run.dump());
    // One that came to a peer, then one alike that was refused: which of the two it was nobody can tell.
    let peer = crate::harness::udp::server(Family::V4, "say(server.recv(9))");
    let running = Sockeye::new(format!("udp-send 127.0.0.1 {} x x --interval 3s --json", peer.port)).start();
    assert_eq!(peer.lines(), ["b'x'"]);
    let run = running.finish().exits(7);
    assert_eq!(run.one::<IcmpError>().sequence, None, "{}", run.dump());
}

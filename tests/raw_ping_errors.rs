//! ICMP errors that come back to raw-ping: each by its name, about its own probe, from its sender.

use std::collections::BTreeMap;

use crate::harness::Family;
use crate::harness::net::{over_both_families, random_bytes};
use crate::harness::pinged::{Pinged, TIMEOUT, address, ms, number, ping, ping_unprivileged};
use crate::harness::tun::{Network, Seen, What, answer, host, refuse, reply, router, too_big, ttl_exceeded};

/// Every error about what was sent: type, code, name (IANA; RFC 792, 1122, 1812; 4443, 6554, 8883).
const V4: &[(u8, u8, &str)] = &[
    (3, 0, "net-unreachable"),
    (3, 1, "host-unreachable"),
    (3, 2, "protocol-unreachable"),
    (3, 3, "port-unreachable"),
    (3, 4, "fragmentation-needed"),
    (3, 5, "source-route-failed"),
    (3, 6, "net-unknown"),
    (3, 7, "host-unknown"),
    (3, 8, "source-host-isolated"),
    (3, 9, "net-prohibited"),
    (3, 10, "host-prohibited"),
    (3, 11, "net-unreachable-for-tos"),
    (3, 12, "host-unreachable-for-tos"),
    (3, 13, "admin-prohibited"),
    (3, 14, "host-precedence-violation"),
    (3, 15, "precedence-cutoff"),
    (11, 0, "ttl-exceeded"),
    (11, 1, "reassembly-time-exceeded"),
    (12, 0, "parameter-problem"),
    (12, 1, "option-missing"),
    (12, 2, "bad-length"),
];
const V6: &[(u8, u8, &str)] = &[
    (1, 0, "no-route"),
    (1, 1, "admin-prohibited"),
    (1, 2, "beyond-scope"),
    (1, 3, "address-unreachable"),
    (1, 4, "port-unreachable"),
    (1, 5, "source-policy-failed"),
    (1, 6, "reject-route"),
    (1, 7, "source-routing-header-error"),
    (1, 8, "headers-too-long"),
    (2, 0, "packet-too-big"),
    (3, 0, "hop-limit-exceeded"),
    (3, 1, "reassembly-time-exceeded"),
    (4, 0, "parameter-problem"),
    (4, 1, "unrecognized-next-header"),
    (4, 2, "unrecognized-option"),
    (4, 3, "incomplete-header-chain"),
    (4, 4, "sr-upper-layer-header-error"),
    (4, 5, "unrecognized-next-header-on-path"),
    (4, 6, "extension-header-too-big"),
    (4, 7, "extension-header-chain-too-long"),
    (4, 8, "too-many-extension-headers"),
    (4, 9, "too-many-options"),
    (4, 10, "option-too-big"),
];

/// Returns the errors that a socket gets to know of: the kernel keeps from an IPv4 one of SOCK_DGRAM
/// that fragments did not come together (icmp_unreach in net/ipv4/icmp.c).
fn errors(family: Family, unprivileged: bool) -> Vec<(u8, u8, &'static str)> {
    let all = if family == Family::V4 { V4 } else { V6 };
    let is_kept = |error: &&(u8, u8, &str)| unprivileged && family == Family::V4 && error.0 == 11 && error.1 == 1;
    all.iter().filter(|error| !is_kept(error)).copied().collect()
}

fn is_too_big(name: &str) -> bool {
    ["fragmentation-needed", "packet-too-big"].contains(&name)
}

/// The router that says the error of this place.
fn sender(family: Family, nth: usize) -> std::net::IpAddr {
    router(family, u8::try_from(nth + 1).unwrap())
}

/// Has every error said once, by routers that are told apart, and checks each.
fn every_error(family: Family, unprivileged: bool) {
    let errors = errors(family, unprivileged);
    let plan = errors.clone();
    let network = Network::builder().permitting_ping_sockets().start(move |seen: &Seen| {
        let (kind, code, name) = plan[seen.nth];
        let next = if is_too_big(name) { 1300 } else { 0 };
        vec![refuse(kind, code).next(next).from(sender(family, seen.nth)).after(ms(5))]
    });
    let words = format!("{} --count {} --interval 20ms", host(family, 1), errors.len());
    let ping = if unprivileged { ping_unprivileged } else { ping };
    let run = ping(&network, &words).run();
    // Of all kinds together: that a port is not there is the furthest that any says.
    assert!([7, 9].contains(&run.code()), "{}", run.dump());
    let run = Pinged::of(run);
    run.agrees(&network.finish(), TIMEOUT);
    assert_eq!(run.total("refused"), errors.len() as u64);
    let told = run.all("icmp-error");
    assert_eq!(run.sequences("icmp-error"), (0..errors.len() as u64).collect::<Vec<_>>());
    let mut by_name: BTreeMap<&str, u64> = BTreeMap::new();
    for (nth, ((kind, code, name), event)) in errors.iter().zip(&told).enumerate() {
        assert_eq!(event["name"], *name, "{event}");
        assert_eq!((number(event, "type"), number(event, "code")), (u64::from(*kind), u64::from(*code)), "{event}");
        assert_eq!((address(event, "target"), address(event, "from")), (host(family, 1), sender(family, nth)));
        assert_eq!(event["mtu"].as_u64(), is_too_big(name).then_some(1300), "{event}");
        // Held for 5 ms, then as long as a busy machine takes.
        assert!((5_000_000..500_000_000).contains(&number(event, "after_ns")), "{event}");
        *by_name.entry(name).or_default() += 1;
    }
    let told = &run.summary()["icmp_errors_by_name"];
    let told: BTreeMap<&str, u64> =
        told.as_array().unwrap().iter().map(|each| (each["name"].as_str().unwrap(), number(each, "count"))).collect();
    assert_eq!(told, by_name);
}

/// Runs raw-ping by a socket of either kind: SOCK_DGRAM without a capability.
const KINDS: [bool; 2] = [false, true];

over_both_families! {
    fn every_error_has_its_name(family) {
        every_error(family, false);
    }

    fn every_error_has_its_name_without_capabilities(family) {
        every_error(family, true);
    }

    fn a_short_quote_is_enough_where_the_number_is_in_it(family) {
        let enough = if family == Family::V4 { 28 } else { 48 };
        for unprivileged in KINDS {
            let network = Network::builder().permitting_ping_sockets().start(move |seen: &Seen| match seen.nth {
                0 => vec![ttl_exceeded(family).from(router(family, 1)).quote(enough)],
                1 => vec![ttl_exceeded(family).from(router(family, 1)).quote(enough + 4)],
                2 => vec![ttl_exceeded(family).from(router(family, 1)).quote(enough + 8)],
                // A part of an ICMP header, none of it, none of the IP header.
                3 => vec![ttl_exceeded(family).from(router(family, 1)).quote(enough - 4)],
                4 => vec![ttl_exceeded(family).from(router(family, 1)).quote(enough - 8)],
                5 => vec![ttl_exceeded(family).from(router(family, 1)).quote(0)],
                _ => vec![reply()],
            });
            let ping = if unprivileged { ping_unprivileged } else { ping };
            let run = Pinged::of(ping(&network, &format!("{} --count 7 --interval 20ms", host(family, 1))).run().exits(0));
            run.agrees(&network.finish(), TIMEOUT);
            let about: Vec<_> = run.all("icmp-error").iter().filter_map(|event| event["sequence"].as_u64()).collect();
            assert_eq!((about, run.sequences("lost")), (vec![0, 1, 2], vec![3, 4, 5]), "{}", run.run.dump());
        }
    }

    fn an_error_about_another_packet_is_no_end_of_a_probe(family) {
        /// Where the ICMP header begins in a quote.
        fn at(quote: &[u8]) -> usize {
            if quote[0] >> 4 == 4 { 20 } else { 40 }
        }
        let spoil: [fn(&mut [u8]); 5] = [
            // Another id, a number that was never sent, another nonce, a reply, another target.
            |quote| quote[at(quote) + 4] ^= 0x55,
            |quote| quote[at(quote) + 6] ^= 0x55,
            |quote| {
                let at = at(quote);
                quote[at + 8..at + 16].iter_mut().for_each(|byte| *byte ^= 0xff);
            },
            |quote| quote[at(quote)] = if quote[0] >> 4 == 4 { 0 } else { 129 },
            |quote| quote[at(quote) - 1] ^= 0x44,
        ];
        for unprivileged in KINDS {
            let network = Network::builder().permitting_ping_sockets().start(move |seen: &Seen| match spoil.get(seen.nth) {
                Some(spoil) => vec![ttl_exceeded(family).from(router(family, 1)).spoil(*spoil)],
                None => vec![reply()],
            });
            let ping = if unprivileged { ping_unprivileged } else { ping };
            let words = format!("{} --count 6 --interval 20ms", host(family, 1));
            let run = Pinged::of(ping(&network, &words).run().exits(0));
            run.agrees(&network.finish(), TIMEOUT);
            assert!(run.all("icmp-error").iter().all(|event| event["sequence"].is_null()), "{}", run.run.dump());
            assert_eq!((run.total("refused"), run.sequences("lost")), (0, vec![0, 1, 2, 3, 4]));
        }
    }

    fn what_a_router_adds_to_a_quote_is_read(family) {
        let network = Network::new(move |_: &Seen| vec![ttl_exceeded(family).from(router(family, 1)).labels(&[16, 70_000])]);
        let run = Pinged::of(ping(&network, &format!("{} --count 2 --interval 20ms", host(family, 1))).run().exits(9));
        run.agrees(&network.finish(), TIMEOUT);
        for event in run.all("icmp-error") {
            let labels: Vec<_> = event["mpls"].as_array().unwrap().iter().map(|label| number(label, "label")).collect();
            assert_eq!(labels, [16, 70_000], "{event}");
        }
    }

    fn an_error_that_comes_too_late_changes_nothing_else(family) {
        let network = Network::new(move |seen: &Seen| match seen.nth {
            0 => vec![ttl_exceeded(family).from(router(family, 1)).after(ms(300))],
            _ => vec![reply()],
        });
        let words = format!("{} --count 6 --interval 100ms --timeout 150ms", host(family, 1));
        let run = Pinged::of(ping(&network, &words).run().exits(0));
        run.is_sound();
        assert_eq!((network.finish().len(), run.total("sent"), run.total("received")), (6, 6, 5));
        // Its end was said by then: whether it is lost or refused, it is one of them, and never late.
        assert_eq!((run.total("lost") + run.total("refused"), run.total("late")), (1, 0));
    }

    fn the_size_that_a_router_wants_is_told(family) {
        let network = Network::new(move |_: &Seen| vec![too_big(family, 1320).from(router(family, 2))]);
        let words = format!("{} --count 1 --size 1400 --dont-fragment", host(family, 1));
        let run = Pinged::of(ping(&network, &words).run().exits(9));
        run.agrees(&network.finish(), TIMEOUT);
        assert_eq!((number(run.all("icmp-error")[0], "mtu"), run.total("refused")), (1320, 1));
    }
}

over_both_families! {
    fn junk_harms_nothing(family) {
        const ROUNDS: usize = 60;
        let kinds: &[u8] = if family == Family::V4 { &[0, 3, 4, 5, 11, 12] } else { &[1, 2, 3, 4, 129] };
        let network = Network::new(move |seen: &Seen| {
            let mut acts: Vec<_> = (0..8)
                .map(|copy| {
                    let number = seen.nth * 8 + copy;
                    let mut rest = random_bytes(4 + number * 7 % 180, number as u64);
                    // Some say of themselves that they quote a packet, and lie about its length.
                    if let Some(first) = rest.get_mut(4).filter(|_| number.is_multiple_of(3)) {
                        *first = if family == Family::V4 { 0x40 | *first & 15 } else { 0x60 };
                    }
                    answer(What::Junk([kinds[number % kinds.len()], (number % 16) as u8], rest))
                })
                .collect();
            acts.push(reply().after(ms(if seen.nth + 1 == ROUNDS { 100 } else { 1 })));
            acts
        });
        let words = format!("{} --count {ROUNDS} --interval 5ms", host(family, 1));
        let run = Pinged::of(ping(&network, &words).run().exits(0));
        run.is_sound();
        let totals = ["sent", "received", "lost", "late", "refused", "duplicates"].map(|name| run.total(name));
        assert_eq!(totals, [60, 60, 0, 0, 0, 0], "{}", run.run.dump());
        assert!(run.all("icmp-error").iter().all(|event| event["sequence"].is_null()), "{}", run.run.dump());
    }
}

#[test]
fn a_redirect_is_no_end_of_a_probe() {
    // A datagram socket gets to know of them, though they are filtered out of a raw one.
    for unprivileged in KINDS {
        let network = Network::builder().permitting_ping_sockets().start(|seen: &Seen| match seen.nth {
            0 => vec![refuse(5, 1).from(router(Family::V4, 1)), reply().after(ms(20))],
            1 => vec![refuse(5, 0).from(router(Family::V4, 1))],
            2 => vec![refuse(4, 0).from(router(Family::V4, 1)), reply().after(ms(20))],
            _ => vec![reply()],
        });
        let ping = if unprivileged { ping_unprivileged } else { ping };
        let run = Pinged::of(ping(&network, "10.9.0.1 --count 4 --interval 50ms").run().exits(0));
        let totals = ["received", "lost", "refused", "icmp_errors"].map(|name| run.total(name));
        assert_eq!(totals, [3, 1, 0, 0], "{}", run.run.dump());
        run.is_sound();
        drop(network);
    }
}

#[test]
fn a_redirect_is_no_limit_of_the_way() {
    let network = Network::builder()
        .permitting_ping_sockets()
        .start(|_: &Seen| vec![refuse(5, 1).from(router(Family::V4, 1)), reply().after(ms(20))]);
    let run = Pinged::of(ping_unprivileged(&network, "10.9.0.1 --path-mtu").run().exits(0));
    assert_eq!(run.total("path_mtu"), 1500, "{}", run.run.dump());
}

//! What lies between: the hops of `--trace`, the MTU of `--path-mtu`, answers to SYNs and datagrams.

use std::net::IpAddr;

use serde_json::Value;

use crate::harness::events::Socket;
use crate::harness::net::over_both_families;
use crate::harness::pinged::{Pinged, TIMEOUT, address, ms, number, ping, ping_unprivileged};
use crate::harness::tun::{
    Act, Body, Entry, Network, Seen, What, answer, host, refuse, reply, router, too_big, ttl_exceeded,
};
use crate::harness::{Family, Sockeye};

/// The routers on the way to every host; the third says nothing.
const ROUTERS: u8 = 5;
const SILENT: u8 = 3;

fn chain(seen: &Seen) -> Vec<Act> {
    let ttl = seen.packet.ttl;
    match ttl {
        SILENT => vec![],
        1..=ROUTERS => vec![ttl_exceeded(seen.family()).from(router(seen.family(), ttl)).after(ms(ttl.into()))],
        _ => vec![reply().after(ms(8))],
    }
}

/// Returns who is said to have answered a hop.
fn from(hop: &Value) -> Vec<IpAddr> {
    let list = hop["from"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|from| from.as_str().unwrap().parse().unwrap()).collect()
}

/// Checks the hops of the chain above against the log.
#[track_caller]
fn is_the_chain(run: &Pinged, log: &[Entry], family: Family, probes: u64) {
    let hops = run.all("hop");
    let ttls: Vec<u64> = hops.iter().map(|hop| number(hop, "ttl")).collect();
    assert_eq!(ttls, [1, 2, 3, 4, 5, 6], "{}", run.run.dump());
    for (hop, ttl) in hops.into_iter().zip(1..) {
        let seen = log.iter().filter(|entry| entry.seen.packet.ttl == ttl).count() as u64;
        assert_eq!((number(hop, "sent"), seen), (probes, probes), "{hop}");
        assert_eq!(address(hop, "target"), host(family, 1));
        let (who, received) = match ttl {
            SILENT => (vec![], 0),
            1..=ROUTERS => (vec![router(family, ttl)], probes),
            _ => (vec![host(family, 1)], probes),
        };
        assert_eq!((from(hop), number(hop, "received")), (who, received), "{hop}");
        assert_eq!(hop["from"].is_null(), ttl == SILENT, "{hop}");
        if received == 0 {
            assert!(hop["rtt"].is_null(), "{hop}");
            continue;
        }
        let held = if ttl > ROUTERS { 8 } else { ttl.into() };
        assert_eq!(number(&hop["rtt"], "count"), received, "{hop}");
        let least = number(&hop["rtt"], "min_ns");
        assert!((held * 1_000_000 - 1000..(held + 20) * 1_000_000).contains(&least), "{hop}");
    }
}

over_both_families! {
    fn every_hop_on_the_way_is_seen(family) {
        let network = Network::new(chain);
        let run = Pinged::of(ping(&network, &format!("{} --trace --count 3 --interval 60ms", host(family, 1))).run().exits(0));
        let log = network.finish();
        is_the_chain(&run, &log, family, 3);
        run.is_sound();
        assert!(run.total("sent") >= 18, "{}", run.summary());
        assert_eq!(run.total("sent"), log.len() as u64, "{}", run.summary());
    }

    fn every_hop_is_seen_without_rights_too(family) {
        let network = Network::builder().permitting_ping_sockets().start(chain);
        let words = format!("{} --trace --count 3 --interval 60ms", host(family, 1));
        let run = Pinged::of(ping_unprivileged(&network, &words).run().exits(0));
        is_the_chain(&run, &network.finish(), family, 3);
        assert!(run.run.all::<Socket>().iter().all(|socket| socket.kind == "SOCK_DGRAM"), "{}", run.run.dump());
    }

    fn every_hop_is_seen_by_datagrams_and_syns_too(family) {
        for words in ["--with udp", "--with tcp-syn --port 443"] {
            let network = Network::new(|seen: &Seen| match &seen.packet.body {
                Body::Udp { .. } if seen.packet.ttl > ROUTERS => {
                    vec![if seen.family() == Family::V4 { refuse(3, 3) } else { refuse(1, 4) }.after(ms(8))]
                }
                _ => chain(seen),
            });
            let words = format!("{} --trace --count 2 --interval 60ms {words}", host(family, 1));
            let run = Pinged::of(ping(&network, &words).run().exits(0));
            is_the_chain(&run, &network.finish(), family, 2);
        }
    }

    fn a_hop_of_several_routers_lists_them_all(family) {
        let network = Network::new(move |seen: &Seen| match seen.packet.ttl {
            1 => vec![ttl_exceeded(family).from(router(family, 10 + u8::try_from(seen.echo().1 % 2).unwrap()))],
            _ => vec![reply()],
        });
        let words = format!("{} --trace --count 12 --interval 30ms --ttl 2", host(family, 1));
        let run = Pinged::of(ping(&network, &words).run().exits(0));
        let log = network.finish();
        let hops = run.all("hop");
        assert_eq!(hops.len(), 2, "{}", run.run.dump());
        let mut told = from(hops[0]);
        told.sort();
        let mut seen: Vec<IpAddr> = log
            .iter()
            .filter(|entry| entry.seen.packet.ttl == 1)
            .map(|entry| router(family, 10 + u8::try_from(entry.seen.echo().1 % 2).unwrap()))
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!((told, number(hops[0], "received")), (seen, 12));
    }

    fn a_router_that_limits_its_answers_has_lost_nothing(family) {
        // The second answers one of four; what goes by it is answered. On the way to the fourth every second is lost.
        let plan = |seen: &Seen| match (seen.packet.ttl, seen.echo().1 / 6 % 4) {
            (2, 1..) | (4.., 1 | 3) => vec![],
            _ => chain(seen),
        };
        let words = format!("{} --trace --count 24 --interval 10ms --ttl 6", host(family, 1));
        let run = Pinged::of(ping(&Network::new(plan), &words).run().exits(0));
        let marked: Vec<u64> =
            run.all("hop").iter().filter(|hop| hop["rate_limited"] == true).map(|hop| number(hop, "ttl")).collect();
        assert_eq!(marked, [2], "{}", run.run.dump());
        let network = Network::new(plan);
        let run = Sockeye::new(format!("raw-ping -q {words} --timeout 700ms")).under(network.prefix()).run();
        let text = String::from_utf8(run.exits(0).stdout().to_vec()).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("rate limit")).collect();
        assert!(matches!(lines[..], [line] if line.contains(&router(family, 2).to_string())), "{text}");
    }

    fn a_silent_target_is_told_with_how_to_find_where_it_ends(family) {
        let told = |words: &str, code: i32| {
            let network = Network::new(|seen: &Seen| if seen.host() == 1 { vec![] } else { vec![reply()] });
            let [silent, there] = [1, 2].map(|number| host(family, number).to_string());
            let words = words.replace("SILENT", &silent).replace("THERE", &there);
            let run = Sockeye::new(format!("raw-ping -q --count 1 --timeout 100ms {words}"));
            String::from_utf8(run.under(network.prefix()).run().exits(code).stdout().to_vec()).unwrap()
        };
        let text = told("SILENT", 8);
        assert!(text.ends_with(" --trace asks each hop on the way, and names the last that answers\n"), "{text}");
        for (words, code) in [("THERE", 0), ("SILENT THERE", 1), ("SILENT --trace --ttl 2", 8)] {
            assert!(!told(words, code).contains("hint"), "{words}");
        }
    }

    fn a_way_that_ends_nowhere_is_no_success(family) {
        // A loop: whatever the TTL, it is over somewhere.
        let network = Network::new(move |seen: &Seen| {
            vec![ttl_exceeded(family).from(router(family, 1 + seen.packet.ttl % 2))]
        });
        let run = ping(&network, &format!("{} --trace --count 1 --ttl 8", host(family, 1))).run();
        let code = run.code();
        let run = Pinged::of(run);
        assert!([8, 9].contains(&code), "{}", run.run.dump());
        assert_eq!(run.all("hop").len(), 8);
        assert!(run.all("hop").iter().all(|hop| from(hop) != [host(family, 1)]));
        assert!(network.finish().iter().all(|entry| entry.seen.packet.ttl <= 8));
    }

    fn the_mtu_that_routers_announce_is_found(family) {
        let network = Network::new(move |seen: &Seen| match seen.packet.bytes.len() {
            1421.. => vec![too_big(family, 1420).from(router(family, 2))],
            1321.. => vec![too_big(family, 1320).from(router(family, 4))],
            _ => vec![reply()],
        });
        let run = Pinged::of(ping(&network, &format!("{} --path-mtu", host(family, 1))).run().exits(0));
        let log = network.finish();
        finds(&run, &log, 1320);
        let told: Vec<_> = run.all("icmp-error").iter().map(|event| number(event, "mtu")).collect();
        assert!(told.contains(&1320), "{}", run.run.dump());
        // Who says so knows: there is no need to try much.
        assert!(log.len() <= 12, "{} packets", log.len());
    }

    fn the_mtu_of_a_silent_way_is_found(family) {
        for mtu in [1280, 1333, 1499] {
            let network = Network::new(move |seen: &Seen| {
                if seen.packet.bytes.len() > mtu { vec![] } else { vec![reply()] }
            });
            let words = format!("{} --path-mtu --timeout 150ms", host(family, 1));
            let run = Pinged::of(ping(&network, &words).run().exits(0));
            finds(&run, &network.finish(), mtu as u64);
        }
    }

    fn where_nothing_limits_it_the_own_device_does(family) {
        let network = Network::new(|_: &Seen| vec![reply()]);
        let run = Pinged::of(ping(&network, &format!("{} --path-mtu", host(family, 1))).run().exits(0));
        finds(&run, &network.finish(), 1500);
    }

    fn without_any_answer_there_is_no_mtu(family) {
        let network = Network::new(|_: &Seen| vec![]);
        let words = format!("{} --path-mtu --timeout 100ms", host(family, 1));
        let run = Pinged::of(ping(&network, &words).run().exits(8));
        assert!(run.summary()["path_mtu"].is_null(), "{}", run.summary());
    }

    fn an_error_of_another_kind_is_no_limit_of_the_way(family) {
        let network = Network::new(move |seen: &Seen| match seen.packet.bytes.len() {
            1001.. if family == Family::V4 => vec![refuse(3, 13).from(router(family, 2))],
            1001.. => vec![refuse(1, 1).from(router(family, 2))],
            _ => vec![reply()],
        });
        let run = Pinged::of(ping(&network, &format!("{} --path-mtu", host(family, 1))).run().exits(0));
        assert!(run.summary()["path_mtu"].is_null(), "{}", run.run.dump());
        assert_eq!(run.all("warning")[0]["name"], "path-mtu-unknown", "{}", run.run.dump());
        assert_eq!(network.finish().len(), 4, "a small one, then three tries");
    }

    fn an_error_that_does_not_last_changes_no_mtu(family) {
        let network = Network::new(move |seen: &Seen| match seen.nth {
            1 if family == Family::V4 => vec![refuse(3, 1).from(router(family, 2))],
            1 => vec![refuse(1, 3).from(router(family, 2))],
            _ => vec![reply()],
        });
        let run = Pinged::of(ping(&network, &format!("{} --path-mtu", host(family, 1))).run().exits(0));
        finds(&run, &network.finish(), 1500);
    }

    fn an_answer_that_is_late_is_none_of_its_hop(family) {
        let network = Network::new(|_: &Seen| vec![reply().after(ms(200))]);
        let words = format!("{} --trace --ttl 1 --count 2 --interval 300ms --timeout 100ms", host(family, 1));
        let run = Pinged::of(ping(&network, &words).run().exits(0));
        drop(network);
        let hop = run.all("hop")[0];
        assert_eq!((run.total("late"), run.total("received")), (1, 0), "{}", run.run.dump());
        assert_eq!((number(hop, "sent"), number(hop, "received")), (2, 0), "{hop}");
        assert!(hop["rtt"].is_null(), "{hop}");
    }

    fn a_packet_that_was_not_put_together_has_gone_no_further(family) {
        let over = move || refuse(if family == Family::V4 { 11 } else { 3 }, 1);
        let network = Network::new(move |seen: &Seen| match seen.packet.ttl {
            1 => vec![ttl_exceeded(family).from(router(family, 1))],
            2 => vec![over().from(router(family, 2))],
            _ => vec![],
        });
        let words = format!("{} --trace --ttl 4 --count 2 --interval 200ms --timeout 300ms", host(family, 1));
        let run = Pinged::of(ping(&network, &words).run().exits(9));
        let behind = network.finish().iter().filter(|entry| entry.seen.packet.ttl > 2).count();
        assert!(run.all("hop").len() == 2 && behind <= 2, "{behind} went further: {}", run.run.dump());
        assert_eq!(run.all("hop")[1]["errors"][0], "reassembly-time-exceeded");
    }

    fn a_syn_is_answered_by_either_flag(family) {
        let network = Network::new(|seen: &Seen| match seen.packet.body {
            Body::Syn { port: 80, .. } => vec![reply().after(ms(2))],
            Body::Syn { port: 81, .. } => vec![answer(What::Reset).after(ms(2))],
            Body::Syn { port: 83, .. } if seen.family() == Family::V4 => vec![refuse(3, 13).from(router(Family::V4, 1))],
            Body::Syn { port: 83, .. } => vec![refuse(1, 1).from(router(Family::V6, 1))],
            _ => vec![],
        });
        let run = |port: u16, code| {
            let words = format!("{} --with tcp-syn --port {port} --count 3 --interval 40ms", host(family, 1));
            Pinged::of(ping(&network, &words).run().exits(code))
        };
        for (port, answer) in [(80, "syn-ack"), (81, "rst")] {
            let run = run(port, 0);
            assert_eq!((run.total("received"), run.total("sent"), run.total("refused")), (3, 3, 0));
            assert_eq!(run.sequences("reply"), [0, 1, 2]);
            for event in run.all("reply") {
                assert_eq!(event["answer"], answer, "{event}");
                assert!((1_999_000..50_000_000).contains(&number(event, "rtt_ns")), "{event}");
                assert_eq!((address(event, "target"), address(event, "from")), (host(family, 1), host(family, 1)));
            }
            run.is_sound();
        }
        assert_eq!(run(82, 8).total("lost"), 3);
        let run = run(83, 9);
        assert_eq!((run.total("refused"), run.sequences("icmp-error")), (3, vec![0, 1, 2]));
        assert!(run.all("icmp-error").iter().all(|event| event["name"] == "admin-prohibited"));
        // What was not a SYN of ours was not asked about: each port got its three.
        let log = network.finish();
        for port in 80..=83 {
            let count = log.iter().filter(|entry| matches!(entry.seen.packet.body, Body::Syn { port: to, .. } if to == port)).count();
            assert_eq!(count, 3, "SYNs to {port}");
        }
    }

    fn a_closed_port_answers_a_datagram(family) {
        let closed = move || if family == Family::V4 { refuse(3, 3) } else { refuse(1, 4) };
        let network = Network::new(move |seen: &Seen| match seen.packet.body {
            Body::Udp { port: 9, .. } => vec![closed().after(ms(2))],
            Body::Udp { port: 10, .. } => vec![reply().after(ms(2))],
            Body::Udp { port: 11, .. } => {
                vec![if family == Family::V4 { refuse(3, 1) } else { refuse(1, 3) }.from(router(family, 1))]
            }
            _ => vec![],
        });
        let run = |port: u16, code| {
            let words = format!("{} --with udp --port {port} --count 3 --interval 40ms", host(family, 1));
            let run = Pinged::of(ping(&network, &words).run().exits(code));
            run.is_sound();
            run
        };
        for (port, answer) in [(9, "port-unreachable"), (10, "datagram")] {
            let run = run(port, 0);
            assert_eq!((run.total("received"), run.total("sent"), run.total("refused")), (3, 3, 0));
            for event in run.all("reply") {
                assert_eq!(event["answer"], answer, "{event}");
                assert!((1_999_000..50_000_000).contains(&number(event, "rtt_ns")), "{event}");
            }
        }
        assert_eq!(run(11, 9).total("refused"), 3);
        assert_eq!(run(12, 8).total("lost"), 3);
        let sizes: Vec<_> = network
            .finish()
            .iter()
            .map(|entry| match &entry.seen.packet.body {
                Body::Udp { payload, .. } => payload.len(),
                _ => 0,
            })
            .collect();
        assert!(sizes.len() == 12 && sizes.iter().all(|size| *size == 56), "{sizes:?}");
    }

    fn lost_and_double_answers_to_syns_are_counted_too(family) {
        let network = Network::new(|seen: &Seen| match seen.nth {
            1 => vec![],
            2 => vec![reply(), reply().after(ms(5))],
            4 => vec![reply().after(ms(120))],
            nth if nth % 2 == 0 => vec![reply()],
            _ => vec![answer(What::Reset)],
        });
        let words = format!("{} --with tcp-syn --count 5 --interval 40ms", host(family, 1));
        let run = Pinged::of(ping(&network, &words).run().exits(0));
        run.agrees(&network.finish(), TIMEOUT);
        assert_eq!((run.sequences("lost"), run.sequences("duplicate")), (vec![1], vec![2]));
    }
}

/// A filter of this host, by which what is larger than this may not go.
fn filter_beyond(bytes: u16) -> String {
    format!(
        "nft add table ip t && nft 'add chain ip t o {{ type filter hook output priority 0; }}' && \
         nft add rule ip t o ip length '>' {bytes} drop"
    )
}

#[test]
fn a_send_that_this_host_forbids_is_no_limit_of_the_way() {
    crate::harness::require(&["nft"]);
    for unprivileged in [false, true] {
        let network =
            Network::builder().permitting_ping_sockets().setup(&filter_beyond(200)).start(|_: &Seen| vec![reply()]);
        let ping = if unprivileged { ping_unprivileged } else { ping };
        let run = Pinged::of(ping(&network, "10.9.0.1 --path-mtu").run().exits(4));
        assert!(run.summary()["path_mtu"].is_null(), "{}", run.run.dump());
        assert_eq!(run.all("error")[0]["errno"], "EPERM");
    }
}

#[test]
fn a_target_that_may_not_be_sent_to_keeps_no_other_from_its_mtu() {
    crate::harness::require(&["nft"]);
    let network = Network::builder()
        .setup(&filter_beyond(2000))
        .setup("nft add rule ip t o ip daddr 10.9.0.1 drop")
        .start(|_: &Seen| vec![reply()]);
    let run = Pinged::of(ping(&network, "10.9.0.1 10.9.0.2 --path-mtu").run().exits(4));
    let found = run.all("path-mtu");
    assert_eq!((found.len(), found[0]["target"].as_str(), number(found[0], "path_mtu")), (1, Some("10.9.0.2"), 1500));
}

#[test]
fn a_device_that_takes_no_more_than_the_smallest_leaves_nothing_to_look_for() {
    // The next try of the same size was refused each time, and so without end.
    let network = Network::builder().setup("ip link set sim0 mtu 84").start(|seen: &Seen| match seen.nth {
        0 => vec![reply()],
        _ => vec![too_big(Family::V4, 0).from(router(Family::V4, 1))],
    });
    let run = Pinged::of(ping(&network, "10.9.0.1 --path-mtu --deadline 2s").run().exits(0));
    assert_eq!((run.total("path_mtu"), run.total("sent")), (84, 1), "{}", run.summary());
}

/// Checks that this is the MTU which was found: the largest packet that was answered, whole on its way.
#[track_caller]
fn finds(run: &Pinged, log: &[Entry], mtu: u64) {
    assert_eq!(run.total("path_mtu"), mtu, "{}", run.run.dump());
    assert!(log.iter().all(|entry| entry.seen.packet.whole), "no router may fragment it");
    let answered = log.iter().filter(|entry| entry.answers.iter().any(|answer| matches!(answer.what, What::Reply)));
    assert_eq!(answered.map(|entry| entry.seen.packet.bytes.len() as u64).max(), Some(mtu));
}

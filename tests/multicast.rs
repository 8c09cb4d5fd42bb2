//! Groups and broadcasts: who is heard, who is not, over cables between hosts and on loopback.

use crate::harness::events::{Connect, Error, IcmpError, Recv, Send, Setsockopt, Step, Value};
use crate::harness::hosts::Hosts;
use crate::harness::net::{Net, over_both_families};
use crate::harness::udp::port_of;
use crate::harness::{Family, Running, Sockeye};

/// The addresses of the hosts `a` and `b`, a group, and a group of one source (RFC 4607).
fn places(family: Family) -> (&'static str, &'static str, &'static str, &'static str) {
    match family {
        Family::V4 => ("10.0.0.1", "10.0.0.2", "239.1.2.3", "232.1.2.3"),
        Family::V6 => ("2001:db8::1", "2001:db8::2", "ff15::1:2:3", "ff35::1:2:3"),
    }
}

/// Starts a receiver on a host and waits until it is bound and has joined.
fn receiver(hosts: &Hosts, on: &str, rest: &str, joins: usize) -> (Running, u16) {
    let running = Sockeye::new(format!("udp-listen {rest} -v --json")).under(hosts.on(on)).start();
    let port = port_of(&running);
    running.wait_until("the groups are joined", |lines| {
        let told = lines.iter().filter(|line| {
            matches!(&line.event, crate::harness::events::Event::Setsockopt(it) if it.option.starts_with("MCAST_JOIN"))
        });
        (told.count() == joins).then_some(())
    });
    (running, port)
}

over_both_families! {
    fn a_group_is_heard_by_who_has_joined_it_over_a_cable(family) {
        let (a, _, group, _) = places(family);
        let other = if family == Family::V4 { "239.1.2.4" } else { "ff15::4" };
        let hosts = Hosts::two("");
        let (joined, port) = receiver(&hosts, "b", &format!("0 --join {group}@cable --count 2"), 1);
        // Another program of that host joins another group: that is none of ours.
        let (foreign, other_port) = receiver(&hosts, "b", &format!("0 --join {other}@cable --count 1"), 1);
        for (to, ttl, text) in [(other, 4, "foreign"), (group, 3, "one"), (group, 1, "two")] {
            let words = format!("udp-send {to} {port} {text} --multicast-interface cable --ttl {ttl} --json -v");
            let run = Sockeye::new(words).under(hosts.on("a")).run().exits(0);
            assert!(run.all::<Connect>().is_empty(), "who answers is not the group");
            let hops = if family == Family::V4 { "IP_MULTICAST_TTL" } else { "IPV6_MULTICAST_HOPS" };
            let set: Vec<_> = run.all::<Setsockopt>().iter().filter(|it| it.option == hops).map(|it| it.requested.clone()).collect();
            assert_eq!(set, [Value::Number(ttl)], "{}", run.dump());
            let send = run.one::<Send>();
            assert_eq!((send.conn, send.sequence), (None, Some(0)));
        }
        let run = joined.finish().exits(0);
        let told: Vec<_> = run.all::<Recv>().iter().map(|recv| (recv.data.clone().unwrap(), recv.ttl.unwrap())).collect();
        assert_eq!(told, [("one".to_owned(), 3), ("two".to_owned(), 1)], "{}", run.dump());
        for recv in run.all::<Recv>() {
            assert!(recv.peer.as_ref().unwrap().contains(a), "{recv:?}");
            assert!(recv.local.as_ref().unwrap().contains(group), "to the group: {recv:?}");
            assert_eq!(recv.interface.as_deref(), Some("cable"));
        }
        let words = format!("udp-send {other} {other_port} own --multicast-interface cable --json");
        Sockeye::new(words).under(hosts.on("a")).run().exits(0);
        assert_eq!(foreign.finish().exits(0).one::<Recv>().data.as_deref(), Some("own"));
    }

    fn of_a_group_of_one_source_no_other_is_heard(family) {
        let (_, b, _, group) = places(family);
        let (wanted, unwanted) = match family {
            Family::V4 => ("10.0.0.1", "10.0.0.7"),
            Family::V6 => ("2001:db8::1", "2001:db8::7"),
        };
        let length = if family == Family::V4 { "24" } else { "64 nodad" };
        let hosts = Hosts::two(&format!("on a ip addr add {unwanted}/{length} dev cable"));
        let words = format!("0 --join {group}@cable,from={wanted} --count 2");
        let (joined, port) = receiver(&hosts, "b", &words, 1);
        for (source, text) in [(unwanted, "unwanted"), (wanted, "wanted")] {
            let words = format!("udp-send {group} {port} {text} --multicast-interface cable --source {source} --json");
            Sockeye::new(words).under(hosts.on("a")).run().exits(0);
        }
        // The same host by its own address is heard whatever was joined.
        Sockeye::new(format!("udp-send {b} {port} alone --json")).under(hosts.on("a")).run().exits(0);
        let run = joined.finish().exits(0);
        let told: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.data.clone().unwrap()).collect();
        assert_eq!(told, ["wanted", "alone"], "{}", run.dump());
    }

    fn who_has_joined_answers_from_its_own_address(family) {
        let (_, b, group, _) = places(family);
        let hosts = Hosts::two("");
        let (listener, port) = receiver(&hosts, "b", &format!("0 --join {group}@cable --echo --count 1"), 1);
        let words = format!("udp-send {group} {port} who --multicast-interface cable --wait 30s --json");
        let run = Sockeye::new(words).under(hosts.on("a")).run().exits(0);
        let recv = run.one::<Recv>();
        assert_eq!(recv.data.as_deref(), Some("who"));
        assert!(recv.peer.as_ref().unwrap().contains(b), "not from the group: {recv:?}");
        let asked = listener.finish().exits(0);
        assert_eq!(recv.local, asked.one::<Recv>().peer, "the answer came to who has asked");
    }

    fn a_group_is_heard_on_the_host_that_sends_to_it(family) {
        let (a, _, group, _) = places(family);
        let hosts = Hosts::two("");
        let (listener, port) = receiver(&hosts, "a", &format!("0 --join {group}@cable --echo --count 1"), 1);
        let words = format!("udp-send {group} {port} hello --multicast-interface cable --wait 30s --json");
        let run = Sockeye::new(words).under(hosts.on("a")).run().exits(0);
        assert_eq!(run.one::<Recv>().data.as_deref(), Some("hello"));
        let run = listener.finish().exits(0);
        let recv = run.one::<Recv>();
        assert!(recv.local.as_ref().unwrap().contains(group) && recv.peer.as_ref().unwrap().contains(a), "{recv:?}");
    }
}

#[test]
fn a_group_is_joined_on_loopback_too() {
    // Of IPv6 the kernel delivers no group over loopback.
    let listener = Sockeye::new("udp-listen 0.0.0.0:0 --join 239.9.8.7@lo --echo --count 1 -v --json").start();
    let port = port_of(&listener);
    listener.wait_for_one::<Setsockopt>("joined", |it| it.option == "MCAST_JOIN_GROUP");
    let words =
        format!("udp-send 239.9.8.7 {port} hello --multicast-interface lo --source 127.0.0.1 --wait 30s --json");
    let run = Sockeye::new(words).run().exits(0);
    assert_eq!(run.one::<Recv>().data.as_deref(), Some("hello"));
    let run = listener.finish().exits(0);
    let recv = run.one::<Recv>();
    assert_eq!((recv.interface.as_deref(), recv.data.as_deref()), (Some("lo"), Some("hello")));
    assert_eq!(recv.local, Some(format!("239.9.8.7:{port}")));
}

#[test]
fn two_receivers_of_one_host_share_a_group_and_its_port() {
    let one = Sockeye::new("udp-listen 0.0.0.0:0 --join 239.9.8.6@lo --count 1 -v --json").start();
    let port = port_of(&one);
    let other = Sockeye::new(format!("udp-listen 0.0.0.0:{port} --join 239.9.8.6@lo --count 1 -v --json")).start();
    for listener in [&one, &other] {
        listener.wait_for_one::<Setsockopt>("joined", |it| it.option == "MCAST_JOIN_GROUP");
    }
    let words = format!("udp-send 239.9.8.6 {port} both --multicast-interface lo --source 127.0.0.1 --json");
    Sockeye::new(words).run().exits(0);
    for listener in [one, other] {
        assert_eq!(listener.finish().exits(0).one::<Recv>().data.as_deref(), Some("both"));
    }
}

#[test]
fn a_broadcast_reaches_the_others_and_their_answers_come_back() {
    let hosts = Hosts::two("");
    let (listener, port) = receiver(&hosts, "b", "0 --echo --count 2", 0);
    for to in ["10.0.0.255", "255.255.255.255"] {
        let words = format!("udp-send {to} {port} hello --broadcast --interface cable --wait 30s --json -v");
        let run = Sockeye::new(words).under(hosts.on("a")).run().exits(0);
        let recv = run.one::<Recv>();
        assert_eq!((recv.data.as_deref(), recv.peer.clone()), (Some("hello"), Some(format!("10.0.0.2:{port}"))));
        assert!(run.all::<Setsockopt>().iter().any(|it| it.option == "SO_BROADCAST"));
        assert!(run.all::<Connect>().is_empty());
    }
    let run = listener.finish().exits(0);
    let locals: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.local.clone().unwrap()).collect();
    assert_eq!(locals, [format!("10.0.0.255:{port}"), format!("255.255.255.255:{port}")]);
}

#[test]
fn a_broadcast_that_was_not_asked_for_is_exit_4_and_the_hint_names_the_option() {
    let hosts = Hosts::two("on a ip route add 255.255.255.255 dev cable");
    for to in ["10.0.0.255", "255.255.255.255"] {
        for stdin in [false, true] {
            let text = if stdin { "" } else { "hello" };
            let run =
                Sockeye::new(format!("udp-send {to} 9 {text} --json")).stdin("x").under(hosts.on("a")).run().exits(4);
            let error = run.one::<Error>();
            assert_eq!((error.step, error.errno.as_deref()), (Step::Connect, Some("EACCES")));
            assert!(error.hint.as_ref().unwrap().contains("--broadcast"), "{error:?}");
        }
    }
}

#[test]
fn a_refusal_is_heard_on_a_socket_that_is_not_connected() {
    let (_held, port) = crate::harness::udp::refusing_port(Family::V4);
    for (rest, count) in [("hello", 1), ("a b c --interval 1ms", 3), ("a b --wait 30s", 2)] {
        let run = Sockeye::new(format!("udp-send 127.0.0.1 {port} {rest} --broadcast --json")).run().exits(7);
        assert!(run.all::<Connect>().is_empty());
        let told: Vec<_> = run.all::<IcmpError>().iter().map(|it| (it.name.clone(), it.sequence.unwrap())).collect();
        let expected: Vec<_> = (0..count).map(|number| ("port-unreachable".to_owned(), number)).collect();
        assert_eq!(told, expected, "{}", run.dump());
        assert!(
            run.all::<IcmpError>().iter().all(|it| it.target == format!("127.0.0.1:{port}") && it.from == "127.0.0.1")
        );
    }
}

#[test]
fn an_interface_that_is_not_there_or_does_no_multicast_is_exit_5() {
    for words in ["udp-send 239.1.1.1 9 x --multicast-interface nosuch0", "udp-listen 0 --join 239.1.1.1@nosuch0"] {
        let run = Sockeye::new(format!("{words} --json")).run().exits(5);
        let error = run.one::<Error>();
        assert_eq!((error.step, error.errno.as_deref()), (Step::Setsockopt, Some("ENODEV")));
        assert!(error.message.contains("nosuch0"), "{error:?}");
    }
    // Without a route nobody knows by which interface to join.
    let run = Sockeye::new("udp-listen 0 --join 239.1.1.1 --json").under(Net::isolated().prefix()).run().exits(5);
    assert!(run.one::<Error>().hint.as_ref().unwrap().contains("@INTERFACE"), "{}", run.dump());
}

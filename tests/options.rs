//! Each socket option that the subcommands share: the call that is made, with what was asked for
//! and what the kernel then reports, on a server and on a client, over IPv4 and IPv6.

use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};

use crate::harness::events::{Accept, Bind, Connect, Error, Setsockopt, Step, Value};
use crate::harness::net::{Net, dial, listener, over_both_families};
use crate::harness::{Family, Finished, Sockeye};

/// An option on the command line, and the calls that must be made for it: over IPv4, over IPv6,
/// each by name with what is requested and what is then in force.
struct Case {
    words: &'static str,
    v4: &'static [(&'static str, Wanted, Wanted)],
    v6: &'static [(&'static str, Wanted, Wanted)],
}

/// A value of a case.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Is(i64),
    Named(&'static str),
    /// At least this: the kernel rounds or doubles.
    AtLeast(i64),
}
use Wanted::{AtLeast, Is, Named};

impl Wanted {
    fn fits(self, value: &Value) -> bool {
        match (self, value) {
            (Is(wanted), Value::Number(got)) => wanted == *got,
            (AtLeast(wanted), Value::Number(got)) => *got >= wanted,
            (Named(wanted), Value::Name(got)) => wanted == got,
            _ => false,
        }
    }
}

/// A case whose calls are the same over both families.
const fn same(words: &'static str, calls: &'static [(&'static str, Wanted, Wanted)]) -> Case {
    Case { words, v4: calls, v6: calls }
}

const CASES: &[Case] = &[
    // The kernel doubles what is asked for, to have room for its own bookkeeping (socket(7)).
    same("--recv-buffer 64KiB", &[("SO_RCVBUF", Is(65_536), Is(131_072))]),
    same("--send-buffer 32KiB", &[("SO_SNDBUF", Is(32_768), Is(65_536))]),
    Case { words: "--ttl 5", v4: &[("IP_TTL", Is(5), Is(5))], v6: &[("IPV6_UNICAST_HOPS", Is(5), Is(5))] },
    // The six bits of the code point are the upper ones of the byte (RFC 2474).
    Case { words: "--dscp EF", v4: &[("IP_TOS", Is(184), Is(184))], v6: &[("IPV6_TCLASS", Is(184), Is(184))] },
    Case { words: "--dscp 10", v4: &[("IP_TOS", Is(40), Is(40))], v6: &[("IPV6_TCLASS", Is(40), Is(40))] },
    Case { words: "--dscp cs1", v4: &[("IP_TOS", Is(32), Is(32))], v6: &[("IPV6_TCLASS", Is(32), Is(32))] },
    same("--reuse-port", &[("SO_REUSEPORT", Is(1), Is(1))]),
    same("--keepalive 30s", &[("SO_KEEPALIVE", Is(1), Is(1)), ("TCP_KEEPIDLE", Is(30), Is(30))]),
    same("--no-delay", &[("TCP_NODELAY", Is(1), Is(1))]),
    same("--mss 1000", &[("TCP_MAXSEG", Is(1000), AtLeast(1))]),
    same("--congestion reno", &[("TCP_CONGESTION", Named("reno"), Named("reno"))]),
    same("--user-timeout 3s", &[("TCP_USER_TIMEOUT", Is(3000), Is(3000))]),
    Case {
        words: "--dont-fragment",
        v4: &[("IP_MTU_DISCOVER", Is(2), Is(2))],
        v6: &[("IPV6_MTU_DISCOVER", Is(2), Is(2))],
    },
    same("--busy-poll 50us", &[("SO_BUSY_POLL", Is(50), Is(50))]),
    same("--interface lo", &[("SO_BINDTODEVICE", Named("lo"), Named("lo"))]),
];

/// Checks that the calls of a case were made, each reported once for each of `sockets`.
#[track_caller]
fn assert_calls(run: &Finished, words: &str, calls: &[(&str, Wanted, Wanted)]) {
    let events = run.all::<Setsockopt>();
    for (option, requested, effective) in calls {
        let event = events.iter().find(|event| event.option == *option);
        let event = event.unwrap_or_else(|| panic!("{words}: no {option} in\n{}", run.dump()));
        assert!(requested.fits(&event.requested), "{words}: {requested:?} requested, {event:?}");
        assert!(
            event.effective.as_ref().is_some_and(|value| effective.fits(value)),
            "{words}: {effective:?} in force, {event:?}"
        );
    }
}

over_both_families! {
    fn a_client_sets_and_reports_each_option(family) {
        let (_listener, port) = listener(family);
        for case in CASES {
            let run =
                Sockeye::new(format!("connect {} {port} --probe --json -v {}", family.host(), case.words)).run().exits(0);
            assert_calls(&run, case.words, if family == Family::V4 { case.v4 } else { case.v6 });
        }
    }

    fn a_server_sets_and_reports_each_option(family) {
        for case in CASES {
            let run = Sockeye::new(format!("serve {} --json -v --deadline 50ms {}", family.at(0), case.words)).run().exits(0);
            assert_calls(&run, case.words, if family == Family::V4 { case.v4 } else { case.v6 });
        }
    }

    fn a_mark_is_set_where_the_capability_is_there(family) {
        for line in [format!("serve {}", family.at(0)), format!("connect {} 9 --probe", family.host())] {
            let run = Sockeye::new(format!("{line} --mark 7 --json -v --deadline 100ms")).under(Net::isolated().prefix()).run();
            assert_calls(&run, "--mark 7", &[("SO_MARK", Is(7), Is(7))]);
        }
    }

    fn a_source_is_the_local_address_of_the_connection(family) {
        let (held, port) = listener(family);
        let run = Sockeye::new(format!("connect {} {port} --probe --json --source {}", family.host(), family.host()))
            .run()
            .exits(0);
        let (_, peer) = held.accept().unwrap();
        let connect = run.one::<Connect>();
        let local = connect.local.clone().unwrap();
        assert_eq!(local, peer.to_string(), "as the other end sees it");
        assert_eq!(run.one::<Bind>().local.rsplit_once(':').unwrap().0, local.rsplit_once(':').unwrap().0);
    }

    fn a_source_port_is_the_local_port_of_the_connection(family) {
        let (held, port) = listener(family);
        let source = family.at(crate::harness::net::likely_free_port(family));
        let run =
            Sockeye::new(format!("connect {} {port} --probe --json --source {source}", family.host())).run().exits(0);
        let (_, peer) = held.accept().unwrap();
        assert_eq!(peer, source);
        assert_eq!(run.one::<Connect>().local, Some(source.to_string()));
    }

    fn with_reuse_port_two_servers_share_a_port(family) {
        let first = Sockeye::new(format!("serve {} --reuse-port --json", family.at(0))).start();
        let second = Sockeye::new(format!("serve {} --reuse-port --json", family.at(first.port()))).start();
        assert_eq!(first.port(), second.port());
        second.interrupt().exits(0);
        first.interrupt().exits(0);
    }

    fn the_peer_sees_the_mss_that_was_asked_for(family) {
        let server = Sockeye::new(format!("serve {} --mss 1000 --json", family.at(0))).start();
        let client = dial(family, server.port());
        server.wait_for::<Accept>();
        let mss = getsockopt(&client.as_fd(), sockopt::TcpMaxSeg).unwrap();
        assert!(mss <= 1000, "{mss}");
        drop(client);
        server.interrupt().exits(0);
    }
}

#[test]
fn a_source_may_be_a_port_alone_of_any_family_of_the_target() {
    let (held, port) = listener(Family::V4);
    Sockeye::new(format!("connect localhost {port} --probe --json --source 127.0.0.2")).run().exits(0);
    assert_eq!(held.accept().unwrap().1.ip().to_string(), "127.0.0.2");
}

#[test]
fn an_option_that_fails_is_an_error_that_names_it() {
    let run = Sockeye::new("serve 127.0.0.1:0 --congestion nosuch --json -v").run().exits(5);
    let error = run.one::<Error>();
    assert_eq!(error.step, Step::Setsockopt);
    assert!(error.message.contains("TCP_CONGESTION"), "{error:?}");
}

#[test]
fn the_options_of_a_dual_stack_listener_hold_for_ipv4_too() {
    let run = Sockeye::new("serve 0 --ttl 5 --dscp EF --json -v --deadline 50ms").run().exits(0);
    let names: Vec<_> = run.all::<Setsockopt>().iter().map(|event| event.option.clone()).collect();
    for option in ["IP_TTL", "IPV6_UNICAST_HOPS", "IP_TOS", "IPV6_TCLASS"] {
        assert!(names.iter().any(|name| name == option), "{option} is among {names:?}");
    }
}

#[test]
fn without_v_options_are_set_and_not_reported() {
    let (_listener, port) = listener(Family::V4);
    let run = Sockeye::new(format!("connect 127.0.0.1 {port} --probe --json --no-delay")).run().exits(0);
    assert!(run.all::<Setsockopt>().is_empty());
}

//! A name with several addresses: each is tried as RFC 8305 says, and each attempt is reported.
//!
//! The names live in an /etc/hosts of a mount namespace, the hosts on the loopback of a network
//! namespace; nothing outside is touched.

use std::net::IpAddr;
use std::time::Duration;

use crate::harness::events::{Connect, Error, Resolve, Socket, Step, Warning};
use crate::harness::net::{Net, TempDir, with_name_server};
use crate::harness::peers::python;
use crate::harness::{Finished, Sockeye};

const HOSTS: &str = "\
127.0.0.1 both
::1 both
127.0.0.2 two
127.0.0.3 two
127.0.0.1 localhost
";

/// Opens the listeners that the first argument names, on port 7000, and becomes what follows. The
/// listeners live on in that process: the kernel completes the handshakes by itself.
const STAGE: &str = r#"
import os, socket, sys
def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET
keep = []
for word in filter(None, sys.argv[1].split(",")):
    kind, host = word.split("=")
    server = socket.socket(family(host))
    server.bind((host, 7000))
    server.listen(0 if kind == "deaf" else 16)
    keep.append(server)
    if kind == "deaf":
        # A backlog of 0 takes one connection; every further SYN is dropped.
        while True:
            client = socket.socket(family(host))
            client.settimeout(0.2)
            keep.append(client)
            try:
                client.connect((host, 7000))
            except TimeoutError:
                break
for each in keep:
    os.set_inheritable(each.fileno(), True)
os.execv(sys.argv[2], sys.argv[2:])
"#;

/// Runs `connect` where these listeners are: `open=HOST`, `deaf=HOST`; any other host refuses.
fn connect(listeners: &str, rest: &str) -> Finished {
    let dir = TempDir::new();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, HOSTS).unwrap();
    Sockeye::new(format!("connect {rest} --json"))
        .under([python(), "-I", "-S", "-c", STAGE, listeners])
        .under(Net::isolated().with_hosts(&hosts).prefix())
        .run()
}

/// Returns the peers of the connects that failed, in their order.
fn failed(run: &Finished) -> Vec<String> {
    let errors = run.all::<Error>().into_iter().filter(|error| error.step == Step::Connect);
    errors.map(|error| error.peer.clone().unwrap()).collect()
}

#[test]
fn a_first_address_that_refuses_is_an_error_and_the_second_is_attempt_2() {
    let run = connect("open=127.0.0.1", "both 7000 --probe").exits(0);
    let addresses: Vec<IpAddr> = vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
    assert_eq!(run.one::<Resolve>().addresses, addresses);
    assert_eq!(failed(&run), ["[::1]:7000"]);
    assert_eq!(run.one::<Error>().errno.as_deref(), Some("ECONNREFUSED"));
    let connected = run.one::<Connect>();
    assert_eq!((connected.peer.as_str(), connected.attempt, connected.conn), ("127.0.0.1:7000", 2, 1));
    let families: Vec<_> = run.all::<Socket>().iter().map(|socket| socket.family.clone()).collect();
    assert_eq!(families, ["AF_INET6", "AF_INET"]);
    assert!(
        run.elapsed_of("connect") - run.elapsed_of("socket") < Duration::from_millis(200),
        "a refusal is not waited out"
    );
}

#[test]
fn a_first_address_that_answers_is_attempt_1_and_the_only_one() {
    let run = connect("open=127.0.0.1,open=::1", "both 7000 --probe").exits(0);
    let connected = run.one::<Connect>();
    assert_eq!((connected.peer.as_str(), connected.attempt), ("[::1]:7000", 1));
    assert_eq!(run.all::<Socket>().len(), 1);
}

#[test]
fn a_first_address_that_is_black_holed_costs_a_quarter_of_a_second_not_the_time_out() {
    let run = connect("deaf=::1,open=127.0.0.1", "both 7000 --probe").exits(0);
    let connected = run.one::<Connect>();
    assert_eq!((connected.peer.as_str(), connected.attempt), ("127.0.0.1:7000", 2));
    // RFC 8305, section 5: the connection attempt delay is 250 ms by default.
    let took = run.elapsed_of("connect") - run.elapsed_of("socket");
    assert!((Duration::from_millis(240)..Duration::from_millis(700)).contains(&took), "{took:?}");
    // Its own time is that of its own attempt, without those before it.
    assert!(connected.duration_ns < 200_000_000, "{connected:?}");
    let warning = run.one::<Warning>();
    assert_eq!(warning.name, "attempt-abandoned");
    assert!(warning.message.contains("[::1]:7000"), "{warning:?}");
}

#[test]
fn a_black_holed_second_address_does_no_harm() {
    let run = connect("open=::1,deaf=127.0.0.1", "both 7000 --probe").exits(0);
    assert_eq!(run.one::<Connect>().attempt, 1);
}

#[test]
fn a_slow_first_and_a_refusing_second_is_refused_the_furthest_step() {
    let run = connect("deaf=::1", "both 7000 --probe --connect-timeout 600ms").exits(7);
    let mut peers = failed(&run);
    peers.sort();
    assert_eq!(peers, ["127.0.0.1:7000", "[::1]:7000"]);
}

#[test]
fn all_addresses_refused_is_exit_7_with_an_error_each() {
    let run = connect("", "both 7000 hello").exits(7);
    assert_eq!(failed(&run), ["[::1]:7000", "127.0.0.1:7000"]);
    assert_eq!(run.summary().errors, Some(2));
    assert!(run.all::<Connect>().is_empty());
}

#[test]
fn all_addresses_black_holed_is_exit_8_in_about_one_time_out() {
    let run = connect("deaf=::1,deaf=127.0.0.1", "both 7000 --probe --connect-timeout 600ms").exits(8);
    assert_eq!(failed(&run).len(), 2);
    let took = run.elapsed_of("summary");
    assert!(took < Duration::from_millis(1800), "the time-outs overlap: {took:?}");
}

#[test]
fn two_addresses_of_one_family_are_both_tried() {
    let run = connect("open=127.0.0.3", "two 7000 --probe").exits(0);
    assert_eq!(failed(&run), ["127.0.0.2:7000"]);
    assert_eq!((run.one::<Connect>().peer.as_str(), run.one::<Connect>().attempt), ("127.0.0.3:7000", 2));
}

#[test]
fn minus_4_and_minus_6_leave_the_other_family_out() {
    let run = connect("open=127.0.0.1,open=::1", "-4 both 7000 --probe").exits(0);
    assert_eq!((run.one::<Connect>().peer.as_str(), run.one::<Connect>().attempt), ("127.0.0.1:7000", 1));
    let run = connect("open=127.0.0.1", "-6 both 7000 --probe").exits(7);
    assert_eq!(failed(&run), ["[::1]:7000"]);
}

#[test]
fn a_name_without_an_address_of_the_family_is_exit_3() {
    connect("open=127.0.0.2", "-6 two 7000 --probe").exits(3);
}

/// Runs a connect to a name of which a name server tells as planned, to a listener at each address.
fn connect_by_name(plan: &str, words: &str) -> Finished {
    let dir = TempDir::new();
    Sockeye::new(format!("connect web.example 7000 --probe --json {words}"))
        .under([python(), "-I", "-S", "-c", STAGE, "open=127.0.0.1,open=::1"])
        .under(with_name_server(&dir, plan))
        .run()
        .exits(0)
}

#[test]
fn a_name_server_that_is_silent_about_one_family_does_not_hide_the_other() {
    for (plan, address, other) in
        [(r#"{"A": [0, ["127.0.0.1"]]}"#, "127.0.0.1", "IPv6"), (r#"{"AAAA": [0, ["::1"]]}"#, "::1", "IPv4")]
    {
        let run = connect_by_name(plan, "");
        let resolved = run.one::<Resolve>();
        assert_eq!(resolved.addresses, [address.parse::<IpAddr>().unwrap()], "{}", run.dump());
        // RFC 8305, 3: the resolver itself would wait for 5 s and more.
        assert!(resolved.duration_ns < 3_000_000_000, "{}", run.dump());
        assert_eq!(run.one::<Connect>().peer.trim_end_matches(":7000").trim_matches(['[', ']']), address);
        let warning = run.one::<Warning>();
        assert_eq!((&*warning.name, warning.target.as_deref()), ("family-unresolved", Some("web.example")));
        assert!(warning.message.contains(&format!("no answer about {other}")), "{}", run.dump());
    }
}

#[test]
fn a_question_that_was_lost_costs_no_seconds() {
    let run = connect_by_name(r#"{"lost": 2, "A": [0, ["127.0.0.1"]], "AAAA": [0, ["::1"]]}"#, "");
    let resolved = run.one::<Resolve>();
    let both: Vec<IpAddr> = vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
    let mut found = resolved.addresses.clone();
    found.sort_by_key(IpAddr::is_ipv4);
    assert_eq!(found, both, "{}", run.dump());
    assert!(resolved.duration_ns < 3_000_000_000, "{}", run.dump());
    assert_eq!(run.all::<Warning>().len(), 0, "{}", run.dump());
}

#[test]
fn families_that_were_asked_apart_are_in_the_order_of_what_can_be_reached() {
    // No route leads to that of IPv6, whichever is told first.
    for _ in 0..4 {
        let run = connect_by_name(r#"{"lost": 2, "A": [0, ["127.0.0.1"]], "AAAA": [0, ["2001:db8::1"]]}"#, "");
        let ordered: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(run.one::<Resolve>().addresses, ordered, "{}", run.dump());
    }
}

#[test]
fn a_family_that_is_known_to_have_no_address_is_not_missing() {
    for plan in [
        r#"{"lost": 2, "A": [0, ["127.0.0.1"]], "AAAA": [0, []]}"#,
        r#"{"lost": 2, "A": [0.1, ["127.0.0.1"]], "AAAA": [0, []]}"#,
        r#"{"lost": 2, "A": [0, ["127.0.0.1"]], "AAAA": [0.02, []]}"#,
    ] {
        let run = connect_by_name(plan, "");
        let resolved = run.one::<Resolve>();
        assert_eq!(resolved.addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()], "{}", run.dump());
        assert!(resolved.duration_ns < 3_000_000_000, "{}", run.dump());
        assert_eq!(run.all::<Warning>().len(), 0, "{}", run.dump());
    }
}

#[test]
fn a_name_server_that_is_slow_is_waited_for() {
    // Later than it is asked for each family by itself, and of one sooner than of the other.
    let run = connect_by_name(r#"{"A": [0.40, ["127.0.0.1"]], "AAAA": [0.42, ["::1"]]}"#, "");
    let both: Vec<IpAddr> = vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
    assert_eq!(run.one::<Resolve>().addresses, both, "{}", run.dump());
    assert_eq!(run.all::<Warning>().len(), 0, "{}", run.dump());
}

#[test]
fn of_a_family_that_was_not_asked_for_nothing_is_missing() {
    let run = connect_by_name(r#"{"A": [0.5, ["127.0.0.1"]]}"#, "-4");
    assert_eq!(run.one::<Resolve>().addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()], "{}", run.dump());
    assert_eq!(run.all::<Warning>().len(), 0, "{}", run.dump());
    // A family without an address is known to have none.
    let run = connect_by_name(r#"{"A": [0.5, ["127.0.0.1"]], "AAAA": [0.5, []]}"#, "");
    assert_eq!(run.one::<Resolve>().addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()], "{}", run.dump());
    assert_eq!(run.all::<Warning>().len(), 0, "{}", run.dump());
}

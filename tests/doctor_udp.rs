//! `doctor` of UDP: round trips, groups, what the kernel cuts, merges and stamps.

use std::time::Duration;

use crate::harness::events::{Check, CheckOutcome, Socket};
use crate::harness::net::{Net, TempDir};
use crate::harness::{Finished, Sockeye, require};

/// What is looked at of each family, then what is looked at once.
const NAMES: [&str; 8] = [
    "udp-ipv4",
    "multicast-ipv4",
    "udp-ipv6",
    "multicast-ipv6",
    "udp-gso",
    "udp-gro",
    "receive-stamp",
    "transmit-stamp",
];

/// Makes a firewall that does something with what goes a way, where it is UDP.
fn firewall(hook: &str, verdict: &str) -> Net {
    require(&["nft"]);
    Net::isolated()
        .with("nft add table inet t")
        .with(format!("nft 'add chain inet t c {{ type filter hook {hook} priority 0; }}'"))
        .with(format!("nft add rule inet t c meta l4proto udp {verdict}"))
}

/// Returns a check: how it came out, and what was found.
fn of(run: &Finished, name: &str) -> (CheckOutcome, String) {
    let found = run.all::<Check>().into_iter().find(|check| check.name == name);
    let check = found.unwrap_or_else(|| panic!("no {name} in\n{}", run.dump()));
    assert_eq!(check.outcome == CheckOutcome::Ok, check.hint.is_none(), "{check:?}");
    (check.outcome, check.value.clone().unwrap_or_default())
}

#[test]
fn each_thing_is_done_for_real_and_tells_what_was_measured() {
    let net = Net::isolated().with("ip -6 route add local ff00::/8 dev lo table local");
    let run = Sockeye::new("doctor --json").under(net.prefix()).run().exits(0);
    for name in NAMES {
        assert_eq!(of(&run, name).0, CheckOutcome::Ok, "{name}: {}", run.dump());
    }
    for name in &NAMES[..4] {
        let (_, trip) = of(&run, name);
        let millis = trip.strip_prefix("round trip ").and_then(|rest| rest.strip_suffix(" ms")).unwrap();
        assert!(millis.parse::<f64>().unwrap() > 0.0, "{name}: {trip}");
    }
    assert_eq!(of(&run, "udp-gso").1, "8 datagrams of one send");
    assert_eq!(of(&run, "udp-gro").1, "8 datagrams in one buffer");
    assert!(of(&run, "receive-stamp").1.ends_with(" ms before recv gave it"));
    assert!(of(&run, "transmit-stamp").1.ends_with(" ms after the send began"));
}

#[test]
fn what_is_told_is_what_the_kernel_was_asked() {
    require(&["strace"]);
    let dir = TempDir::new();
    let log = dir.path().join("log");
    let calls = "trace=setsockopt,sendmmsg,recvmmsg,recvmsg,bind";
    let strace = ["strace", "-f", "-e", calls, "-o", log.to_str().unwrap()];
    let run = Sockeye::new("doctor -4 --json").under(strace).run().exits(0);
    let log = std::fs::read_to_string(log).unwrap();
    let count = |words: &[&str]| log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
    // 64-bit strace names the option; the number is that of linux/udp.h.
    let cut = count(&["sendmmsg", "SOL_UDP", "cmsg_type=0x67"]);
    assert_eq!((cut, of(&run, "udp-gso").0), (2, CheckOutcome::Ok), "once for each of the two:\n{log}");
    assert!(count(&["setsockopt", "UDP_GRO"]) + count(&["setsockopt", "SOL_UDP, 0x68"]) == 1, "{log}");
    assert!(count(&["recvmmsg", "SCM_TIMESTAMPING"]) + count(&["recvmmsg", "SO_TIMESTAMPING"]) > 0, "{log}");
    assert!(count(&["recvmsg", "MSG_ERRQUEUE", "TIMESTAMPING"]) > 0, "{log}");
    assert_eq!(count(&["setsockopt", "MCAST_JOIN_GROUP", "239.255.83.75"]), 1, "{log}");
}

#[test]
fn a_family_that_is_kept_to_is_the_only_one() {
    for (option, family, other) in [("-4", "AF_INET", "ipv6"), ("-6", "AF_INET6", "ipv4")] {
        let run = Sockeye::new(format!("doctor {option} --json")).run().exits(0);
        assert!(run.all::<Socket>().iter().all(|socket| socket.family == family), "{}", run.dump());
        assert!(run.all::<Check>().iter().all(|check| !check.name.contains(other)), "{}", run.dump());
        assert_eq!(of(&run, "transmit-stamp").0, CheckOutcome::Ok);
    }
}

#[test]
fn groups_of_ipv6_need_a_route_and_without_it_are_absent() {
    let run = Sockeye::new("doctor --json").under(Net::isolated().prefix()).run().exits(0);
    assert_eq!(of(&run, "multicast-ipv6"), (CheckOutcome::Absent, "ENETUNREACH".to_owned()));
    assert_eq!(of(&run, "multicast-ipv4").0, CheckOutcome::Ok);
    assert_eq!(run.summary().errors, Some(0), "that is as it is everywhere, and no error");
}

#[test]
fn what_needs_a_round_trip_that_failed_is_not_tried() {
    let run = Sockeye::new("doctor --json --timeout 200ms").under(firewall("input", "drop").prefix()).run().exits(1);
    for name in ["udp-ipv4", "udp-ipv6"] {
        assert_eq!(of(&run, name), (CheckOutcome::Failed, "no answer in time".to_owned()));
    }
    for name in NAMES.iter().filter(|name| !name.starts_with("udp-ipv")) {
        assert_eq!(of(&run, name), (CheckOutcome::Failed, "not tried".to_owned()));
    }
    assert_eq!(of(&run, "tcp-ipv4").0, CheckOutcome::Ok);
    assert!(run.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_firewall_that_forbids_is_told_and_no_failure() {
    let run = Sockeye::new("doctor --json").under(firewall("output", "drop").prefix()).run().exits(0);
    assert_eq!(of(&run, "udp-ipv4"), (CheckOutcome::Denied, "not permitted".to_owned()));
    assert_eq!(of(&run, "udp-gso"), (CheckOutcome::Denied, "not tried".to_owned()));
}

#[test]
fn a_group_that_is_dropped_fails_alone() {
    let net = firewall("input", "ip daddr 224.0.0.0/4 drop");
    let run = Sockeye::new("doctor -4 --json --timeout 200ms").under(net.prefix()).run().exits(1);
    assert_eq!(of(&run, "multicast-ipv4"), (CheckOutcome::Failed, "no answer in time".to_owned()));
    assert_eq!(of(&run, "udp-ipv4").0, CheckOutcome::Ok);
}

#[test]
fn a_kernel_that_does_not_cut_or_stamp_is_no_failure() {
    require(&["strace"]);
    let doctor = |inject: &str| {
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject];
        Sockeye::new("doctor -4 --json").under(strace).run().exits(0)
    };
    // The fifth send is the first that is to be cut: there and back, by a group there and back.
    let run = doctor("inject=sendmmsg:error=EIO:when=5");
    assert_eq!(of(&run, "udp-gso"), (CheckOutcome::Absent, "EIO".to_owned()));
    assert_eq!(of(&run, "udp-gro"), (CheckOutcome::Absent, "not tried".to_owned()));
    assert_eq!(of(&run, "receive-stamp").0, CheckOutcome::Ok);
    // Nothing else reads an error queue, nor calls recvmsg, where unix sockets are left out.
    let run = doctor("inject=recvmsg:error=EAGAIN");
    assert_eq!(of(&run, "transmit-stamp"), (CheckOutcome::Absent, String::new()));
    assert_eq!(of(&run, "receive-stamp").0, CheckOutcome::Ok);
}

//! What this host itself does to the probes of `raw-ping`: its firewall, its routes, its socket options; and what is
//! told of that.

use crate::harness::events::Setsockopt;
use crate::harness::net::{Net, TempDir, over_both_families};
use crate::harness::pinged::{Pinged, ms, number, ping};
use crate::harness::tun::{DEVICE, Network, Seen, reply};
use crate::harness::{Family, Sockeye, require};

/// Returns a network of loopback alone whose firewall does this with what goes out.
fn firewall(rules: &[&str]) -> Net {
    require(&["nft"]);
    let net = Net::isolated()
        .with("ip -6 addr add fd00::8/128 dev lo nodad")
        .with("echo 0 0 > /proc/sys/net/ipv4/ping_group_range")
        .with("nft add table inet t")
        .with("nft 'add chain inet t o { type filter hook output priority 0; }'");
    rules.iter().fold(net, |net, rule| net.with(format!("nft add rule inet t o {rule}")))
}

fn run_behind(rules: &[&str], line: &str) -> Pinged {
    Pinged::of(Sockeye::new(format!("raw-ping {line} --json")).under(firewall(rules).prefix()).run())
}

#[test]
fn what_a_local_firewall_rejects_is_not_sent_and_nothing_else() {
    // It was not sent, and refused or received besides: by the ICMP error that the firewall sent to us.
    let rules = [
        "ip daddr 127.0.0.8 reject",
        "ip daddr 127.0.0.9 meta l4proto tcp reject with tcp reset",
        "ip daddr 127.0.0.9 reject with icmp type admin-prohibited",
        // Not what it says itself.
        "ip6 daddr fd00::8 icmpv6 type echo-request reject",
        "ip6 daddr fd00::8 meta l4proto != icmpv6 reject",
    ];
    for target in ["127.0.0.8", "127.0.0.9", "fd00::8"] {
        for way in ["", "--socket dgram", "--with udp", "--with tcp-syn", "--trace --ttl 2", "--sweep"] {
            // The kernel takes these, and says that they went (ping_v6_sendmsg in net/ipv6/ping.c).
            if (target, way) == ("fd00::8", "--socket dgram") {
                continue;
            }
            let times = if way == "--sweep" { "" } else { "--count 3 --interval 20ms" };
            let run = run_behind(&rules, &format!("{target} {way} {times} --timeout 100ms"));
            let what = format!("{target} {way}: {}", run.run.dump());
            assert_eq!(run.run.code(), 4, "{what}");
            let told = ["sent", "received", "lost", "late", "refused", "icmp_errors", "duplicates", "foreign"];
            assert_eq!(told.map(|name| run.total(name)), [0; 8], "{what}");
            let count = if way == "--sweep" { 1 } else { 3 * if way.contains("trace") { 2 } else { 1 } };
            assert_eq!((run.total("not_sent"), run.all("not-sent").len()), (count, count as usize), "{what}");
            assert!(run.all("hop").iter().all(|hop| number(hop, "received") == 0), "{what}");
        }
    }
    let run = run_behind(&rules, "127.0.0.1 127.0.0.8 --count 2 --interval 20ms --timeout 100ms");
    assert_eq!((run.run.code(), run.total("received"), run.total("not_sent")), (4, 2, 2), "{}", run.run.dump());
}

#[test]
fn what_a_local_firewall_keeps_back_is_tried_once() {
    // Each was tried twice, and what it counts was twice as much.
    let count = "nft list ruleset | grep -o 'packets [0-9]*' >&2";
    let net = firewall(&["ip daddr 127.0.0.8 counter drop"]).prefix();
    let script = format!("\"$@\"; {count}");
    let mut words = net;
    words.extend(["sh", "-c", &script, "sh"].map(std::ffi::OsString::from));
    let run = Sockeye::new("raw-ping 127.0.0.8 --count 3 --interval 20ms --timeout 100ms -q").under(words).run();
    assert!(run.stderr().contains("packets 3\n"), "{}", run.dump());
}

over_both_families! {
    fn a_group_is_reached_with_the_ttl_that_was_asked_for(family) {
        // It was 1, though the event of the option said 9.
        let group = if family == Family::V4 { "239.1.1.1" } else { "ff0e::1" };
        for rest in ["", "--with udp"] {
            let network = Network::new(|_: &Seen| vec![reply()]);
            let line = format!("{group} --interface {DEVICE} --ttl 9 --count 1 --timeout 100ms {rest}");
            let _run = ping(&network, &line).run();
            let ttls: Vec<_> = network
                .finish()
                .iter()
                .filter(|entry| entry.seen.packet.to.to_string() == group)
                .map(|entry| entry.seen.packet.ttl)
                .collect();
            assert_eq!(ttls, [9], "{line}");
        }
    }
}

#[test]
fn a_target_has_its_name_though_its_first_probe_did_not_go_and_in_a_sweep_too() {
    let dir = TempDir::new();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.7 seven.test\n127.0.0.8 eight.test\n").unwrap();
    // The first packet alone is within the quota.
    let net = || firewall(&["ip daddr 127.0.0.7 quota until 100 bytes drop"]).with_hosts(&hosts).prefix();
    for (words, sent) in [("--count 3 --interval 20ms", 2), ("--sweep", 0)] {
        let line = format!("raw-ping seven.test eight.test {words} --timeout 200ms --json");
        let run = Pinged::of(Sockeye::new(line).under(net()).run());
        let rows: Vec<_> =
            run.all("target-summary").iter().map(|row| (row["name"].clone(), number(row, "sent"))).collect();
        let eight = if words == "--sweep" { 1 } else { 3 };
        assert_eq!(rows, [("seven.test".into(), sent), ("eight.test".into(), eight)], "{}", run.run.dump());
    }
}

#[test]
fn each_setsockopt_is_told_those_between_sends_too() {
    require(&["strace"]);
    let dir = TempDir::new();
    let log = dir.path().join("log");
    let strace = format!("strace -f -e trace=setsockopt -o {}", log.display());
    let mut words = firewall(&["ip daddr 127.0.0.8 drop"]).prefix();
    words.extend(strace.split(' ').map(std::ffi::OsString::from));
    let run = Sockeye::new("raw-ping 127.0.0.8 --count 2 --interval 20ms --timeout 100ms -v --json").under(words).run();
    let log = std::fs::read_to_string(log).unwrap();
    let calls: Vec<&str> = log.lines().filter(|line| line.contains("setsockopt(")).collect();
    let told = run.all::<Setsockopt>();
    assert_eq!(calls.len(), told.len(), "{}\n{}", calls.join("\n"), run.dump());
    for (call, event) in calls.iter().zip(told) {
        // strace knows no name of an old number's.
        let name = event.option.replace("SO_TIMESTAMPING", "SO_TIMESTAMPING_");
        assert!([&event.option, &name].iter().any(|name| call.contains(name.as_str())), "{event:?} is {call}");
    }
}

#[test]
fn a_route_that_leads_nowhere_has_its_hint() {
    let net = || {
        Net::isolated()
            .with("ip addr add 192.0.2.1/32 dev lo && ip -6 addr add fd00::8/128 dev lo nodad")
            .with("ip route add blackhole 198.51.100.3 && ip -6 route add blackhole 2001:db8::3")
            .with("ip route add prohibit 198.51.100.1 && ip -6 route add prohibit 2001:db8::1")
            .prefix()
    };
    for (target, code, hint) in [
        ("198.51.100.3", 5, "blackhole"),
        ("2001:db8::3", 5, "blackhole"),
        ("198.51.100.1", 4, "--include-broadcast"),
        ("2001:db8::1", 4, "prohibit"),
    ] {
        let run = Sockeye::new(format!("raw-ping {target} --count 1 --json")).under(net()).run().exits(code);
        let run = Pinged::of(run);
        let said = run.all("error")[0]["hint"].as_str().unwrap_or_default().to_owned();
        assert!(said.contains(hint), "{target}: {}", run.run.dump());
        assert!(target.contains('.') || !said.contains("broadcast"), "{said}");
    }
}

#[test]
fn a_run_that_is_cut_short_says_whom_it_has_not_asked() {
    let run = |line: &str| {
        Pinged::of(Sockeye::new(format!("raw-ping {line} --json -q")).under(Net::isolated().prefix()).run())
    };
    // They counted as no targets, and nothing said why the answer was no.
    for (line, targets) in [
        ("127.0.0.0/24 --sweep --rate 10/s --deadline 450ms", 254),
        ("127.0.0.1 127.0.0.2 127.0.0.3 --rate 1/s --count 1 --deadline 500ms", 3),
    ] {
        let run = run(line);
        let answered = run.total("targets_answered");
        assert_eq!((run.total("targets"), run.run.code()), (targets, 1), "{line}: {}", run.run.dump());
        assert_eq!((run.total("sent"), run.total("received")), (answered, answered), "{line}: {}", run.run.dump());
        let warnings: Vec<_> = run.all("warning").iter().map(|it| [&it["name"], &it["message"]]).collect();
        let message = format!("told to stop before {} of {targets} targets were probed", targets - answered);
        assert_eq!(warnings, [["stopped", &message]], "{line}");
    }
    let at_once = run("127.0.0.1 --count 100 --deadline 1ns");
    assert_eq!((at_once.run.code(), at_once.total("sent")), (8, 0), "{}", at_once.run.dump());
    assert_eq!(at_once.all("warning")[0]["message"], "told to stop before anything was sent");
    // Of a run that was not, nothing is said.
    assert!(run("127.0.0.1 127.0.0.2 --count 1 --deadline 10s").all("warning").is_empty());
    assert!(run("127.0.0.1 --count 0 --interval 10ms --deadline 100ms").run.elapsed() >= ms(100));
}

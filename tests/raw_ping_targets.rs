//! raw-ping to many: networks, ranges, lists, sweeps; a row for each that was named.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::harness::Family;
use crate::harness::net::{TempDir, over_both_families};
use crate::harness::pinged::{Pinged, TIMEOUT, address, ms, number, ping};
use crate::harness::tun::{Act, Entry, Network, Seen, host, refuse, reply};

fn asked(log: &[Entry]) -> BTreeSet<IpAddr> {
    log.iter().map(|entry| entry.seen.packet.to).collect()
}

fn hosts(family: Family, numbers: impl IntoIterator<Item = u16>) -> BTreeSet<IpAddr> {
    numbers.into_iter().map(|number| host(family, number)).collect()
}

/// What a host does by its number: answers, is silent, is refused, answers twice.
fn by_number(seen: &Seen) -> Vec<Act> {
    match seen.host() % 4 {
        0 => vec![reply().after(ms(3))],
        1 => vec![],
        2 => vec![if seen.family() == Family::V4 { refuse(3, 1) } else { refuse(1, 3) }],
        _ => vec![reply(), reply().after(ms(10))],
    }
}

/// Pings these words once each, where all answer, and returns who was asked how often.
#[track_caller]
fn once(words: &str) -> BTreeMap<IpAddr, usize> {
    let network = Network::new(|_: &Seen| vec![reply()]);
    let run = Pinged::of(ping(&network, &format!("{words} --count 1 --interval 20ms")).run().exits(0));
    let log = network.finish();
    run.is_sound();
    assert_eq!((run.total("sent"), run.total("received")), (log.len() as u64, log.len() as u64));
    assert_eq!(run.all("target-summary").len(), log.len(), "{}", run.run.dump());
    let mut counts = BTreeMap::new();
    log.iter().for_each(|entry| *counts.entry(entry.seen.packet.to).or_default() += 1);
    counts
}

#[track_caller]
fn asks(words: &str, family: Family, numbers: impl IntoIterator<Item = u16>) {
    let wanted: BTreeMap<_, _> = hosts(family, numbers).into_iter().map(|host| (host, 1)).collect();
    assert_eq!(once(words), wanted, "{words}");
}

#[test]
fn a_network_is_all_its_hosts() {
    asks("10.9.1.0/29", Family::V4, 257..=262);
    asks("10.9.1.5/29", Family::V4, 257..=262);
    asks("10.9.1.0/29 --include-broadcast", Family::V4, 256..=263);
    asks("10.9.1.0/30", Family::V4, 257..=258);
    asks("10.9.1.2/31", Family::V4, 258..=259);
    asks("10.9.1.2/32", Family::V4, [258]);
    asks("10.9.1.2/32 --include-broadcast", Family::V4, [258]);
}

#[test]
fn an_ipv6_network_has_no_broadcast() {
    asks("fd00:9::100/125", Family::V6, 256..=263);
    asks("fd00:9::102/127", Family::V6, 258..=259);
    asks("fd00:9::102/128", Family::V6, [258]);
}

#[test]
fn a_range_is_all_from_one_to_the_other() {
    asks("10.9.0.254-10.9.1.2", Family::V4, 254..=258);
    asks("10.9.0.7-10.9.0.7", Family::V4, [7]);
    asks("fd00:9::fe-fd00:9::102", Family::V6, 0xfe..=0x102);
}

#[test]
fn a_list_names_targets_of_every_kind() {
    let dir = TempDir::new();
    let list = dir.path().join("hosts");
    std::fs::write(&list, "10.9.0.1\n\nfd00:9::1\n10.9.1.0/30\n10.9.2.1-10.9.2.2\n").unwrap();
    let mut wanted = hosts(Family::V4, [1, 257, 258, 513, 514]);
    wanted.insert(host(Family::V6, 1));
    let wanted: BTreeMap<_, _> = wanted.into_iter().map(|host| (host, 1)).collect();
    assert_eq!(once(&format!("@{}", list.display())), wanted);

    let network = Network::new(|_: &Seen| vec![reply()]);
    let text = std::fs::read(&list).unwrap();
    let run = ping(&network, "- --count 1 --interval 20ms").stdin(text).run().exits(0);
    assert_eq!(asked(&network.finish()), wanted.into_keys().collect());
    assert_eq!(Pinged::of(run).all("target-summary").len(), 6);
}

#[test]
fn both_families_go_in_one_run() {
    let network = Network::new(by_number);
    let run =
        Pinged::of(ping(&network, "10.9.0.4 fd00:9::4 fd00:9::7 10.9.0.7 --count 3 --interval 30ms").run().exits(0));
    let log = network.finish();
    run.is_sound();
    assert_eq!(asked(&log).len(), 4);
    assert_eq!((run.total("sent"), run.total("received"), run.total("lost")), (12, 12, 0));
    // A host that is named first has the first row.
    let rows: Vec<_> = run.all("target-summary").iter().map(|row| row["target"].as_str().unwrap()).collect();
    assert_eq!(rows, ["10.9.0.4", "fd00:9::4", "fd00:9::7", "10.9.0.7"]);
}

over_both_families! {
    fn a_host_that_is_named_twice_is_two_targets(family) {
        let target = host(family, 1);
        // Of the first four requests one is lost: of one target or the other.
        let network = Network::new(|seen: &Seen| if seen.nth == 1 { vec![] } else { vec![reply()] });
        let words = format!("{target} {target} --count 3 --interval 50ms");
        let run = Pinged::of(ping(&network, &words).run().exits(0));
        // What the kernel says of it: did it take all that the network wrote?
        let kernel = network.spawn("grep -h ^I.*In[A-Z] /proc/net/snmp6 /proc/net/snmp").finish();
        let kernel = String::from_utf8_lossy(&kernel.stdout).into_owned();
        let log = network.finish();
        run.is_sound();
        assert_eq!(log.len(), 6);
        let rows = run.all("target-summary");
        assert_eq!(rows.len(), 2);
        for row in &rows {
            assert_eq!((address(row, "target"), number(row, "sent")), (target, 3));
        }
        let lost: u64 = rows.iter().map(|row| number(row, "lost")).sum();
        let totals = ["sent", "received", "lost"].map(|name| run.total(name));
        assert_eq!((lost, totals), (1, [6, 5, 1]), "{log:?}\n{}\n{kernel}", run.run.dump());
        assert_eq!((run.total("duplicates"), run.total("foreign")), (0, 0), "{}", run.run.dump());
        let mut numbers = run.sequences("reply");
        numbers.extend(run.sequences("lost"));
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 0, 1, 1, 2, 2]);
    }

    fn each_of_many_gets_its_own_count(family) {
        let network = Network::new(by_number);
        let words = format!("{}-{} --count 3 --interval 200ms", host(family, 64), host(family, 127));
        let run = Pinged::of(ping(&network, &words).run().exits(1));
        let log = network.finish();
        assert_eq!(log.len(), 64 * 3);
        run.agrees(&log, TIMEOUT);
        assert_eq!((run.total("received"), run.total("lost"), run.total("refused")), (96, 48, 48));
        assert_eq!((run.total("targets"), run.total("targets_answered")), (64, 32));
    }

    fn the_exit_code_is_what_all_have_in_common(family) {
        let network = Network::new(by_number);
        for (numbers, code) in [(&[4, 8, 7][..], 0), (&[1, 5], 8), (&[2, 6], 9), (&[4, 1], 1), (&[4, 2], 1), (&[1, 2], 1)] {
            let words: Vec<String> = numbers.iter().map(|number| host(family, *number).to_string()).collect();
            let words = format!("{} --count 1 --timeout 200ms", words.join(" "));
            ping(&network, &words).run().exits(code);
        }
    }

    fn a_sweep_asks_the_silent_again(family) {
        // A third answers at once, a third the second time, a third never.
        let network = Network::new(|seen: &Seen| match seen.host() % 3 {
            0 => vec![reply().after(ms(2))],
            1 if seen.nth == 1 => vec![reply()],
            _ => vec![],
        });
        let words = format!("{}-{} --sweep --retry 1 --timeout 250ms", host(family, 0x201), host(family, 0x2fe));
        let run = Pinged::of(ping(&network, &words).run().exits(1));
        let log = network.finish();
        run.agrees(&log, ms(250));
        let all = 0x201..=0x2fe_u16;
        let answering = all.clone().filter(|number| number % 3 < 2).count() as u64;
        let first = all.clone().filter(|number| number % 3 == 0).count();
        assert_eq!(run.total("received"), answering);
        assert_eq!(log.len(), first + 2 * (all.count() - first));
        for number_of in [0x201, 0x202, 0x203_u16] {
            let sent = if number_of % 3 == 0 { 1 } else { 2 };
            assert_eq!(number(run.target(host(family, number_of)), "sent"), sent);
        }
    }

    fn a_sweep_waits_longer_with_each_try(family) {
        let network = Network::new(|seen: &Seen| if seen.host() == 9 { vec![reply()] } else { vec![] });
        let words = format!("{} {} --sweep --retry 2 --backoff 2 --timeout 100ms", host(family, 8), host(family, 9));
        let run = Pinged::of(ping(&network, &words).run().exits(1));
        let log = network.finish();
        let times: Vec<_> = log.iter().filter(|entry| entry.seen.host() == 8).map(|entry| entry.seen.at).collect();
        assert_eq!((times.len(), run.total("sent"), run.total("lost")), (3, 4, 3));
        for (pair, least) in times.windows(2).zip([100, 200]) {
            let gap = pair[1] - pair[0];
            // The network may have seen the first late, and the second.
            assert!(gap >= ms(least * 3 / 4) && gap < ms(least * 7 / 4), "{gap:?}");
        }
        // And as long again after the last.
        assert!(run.run.elapsed() >= ms(700), "{:?}", run.run.elapsed());
    }

    fn a_sweep_tells_answers_as_they_come(family) {
        let network = Network::new(|seen: &Seen| vec![reply().after(ms(400 - 100 * u64::from(seen.host())))]);
        let words = format!("{}-{} --sweep", host(family, 1), host(family, 3));
        let run = Pinged::of(ping(&network, &words).run().exits(0));
        let from: Vec<_> = run.all("reply").iter().map(|event| address(event, "from")).collect();
        assert_eq!(from, [3, 2, 1].map(|number| host(family, number)));
        run.agrees(&network.finish(), TIMEOUT);
    }

    fn a_sweep_where_nobody_is_says_so(family) {
        let network = Network::new(|_: &Seen| vec![]);
        let words = format!("{}-{} --sweep --timeout 200ms", host(family, 1), host(family, 20));
        let run = Pinged::of(ping(&network, &words).run().exits(8));
        run.agrees(&network.finish(), ms(200));
    }
}

#[test]
fn a_sweep_of_thousands_loses_nothing_by_itself() {
    let network = Network::new(|seen: &Seen| if seen.host().is_multiple_of(2) { vec![reply()] } else { vec![] });
    let run = Pinged::of(ping(&network, "10.9.16.0/20 --sweep --timeout 1s -q").run().exits(1));
    let log = network.finish();
    assert_eq!((log.len(), asked(&log).len()), (4094, 4094));
    assert_eq!((run.total("sent"), run.total("received"), run.total("lost")), (4094, 2047, 2047));
    // With -q no row a target.
    assert_eq!(run.all("target-summary").len(), 0);
}

#[test]
fn a_link_local_address_is_asked_in_its_zone() {
    let setup = "ip -6 addr add fe80::1/64 dev sim0 nodad";
    let target: IpAddr = "fe80::9".parse().unwrap();
    for words in ["fe80::9%sim0", "fe80::9 --interface sim0"] {
        let network = Network::builder().setup(setup).start(|_: &Seen| vec![reply()]);
        let run = Pinged::of(ping(&network, &format!("{words} --count 2 --interval 10ms")).run().exits(0));
        let log = network.finish();
        assert_eq!((log.len(), asked(&log)), (2, BTreeSet::from([target])), "{words}");
        assert_eq!((run.total("received"), run.total("foreign")), (2, 0), "{}", run.run.dump());
    }
}

#[test]
fn an_address_of_ours_is_of_the_family_of_every_target() {
    let network = Network::new(|_: &Seen| vec![reply()]);
    let dir = TempDir::new();
    let list = dir.path().join("hosts");
    for (source, targets) in [
        ("10.8.0.1", "10.9.0.1\nfd00:9::1\n"),
        ("10.8.0.1", "fd00:9::100/125"),
        ("fd00:8::1", "10.9.0.1-10.9.0.2"),
        ("fd00:8::1", "10.9.1.0/30"),
    ] {
        std::fs::write(&list, targets).unwrap();
        let run = ping(&network, &format!("@{} --source {source} --count 1 -q", list.display())).run().exits(6);
        let run = Pinged::of(run);
        let message = run.all("error")[0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(&format!("--source {source} and ")), "{message}");
        assert!(message.contains("are of two families"), "{message}");
        for target in targets.lines().filter(|target| target.contains('.') == source.contains(':')) {
            let run = ping(&network, &format!("{target} --source {source} --count 1 -q")).run().exits(2);
            assert!(run.stderr().contains("are of two families"), "{}", run.stderr());
        }
    }
    std::fs::write(&list, "10.9.0.1").unwrap();
    ping(&network, &format!("@{} --source 10.8.0.1 --count 1 -q", list.display())).run().exits(0);
    assert!(network.finish().iter().all(|entry| entry.seen.packet.to == host(Family::V4, 1)));
}

#[test]
fn what_is_no_network_or_range_is_refused_at_once() {
    let network = Network::new(|_: &Seen| vec![reply()]);
    for words in [
        "10.9.0.0/33",
        "fd00:9::/129",
        "10.9.0.0/x",
        "10.9.0.2-10.9.0.1",
        "10.9.0.1-fd00:9::1",
        // Interfaces have no ':' in their names.
        "fe80::2%sim0-fe80::4%sim0",
        "fe80::2%sim0-fe80::4",
        "fe80::2-fe80::4%sim0",
        "10.9.0.1 --count -1",
        "10.9.0.1 --size 65508",
        "-6 10.9.0.1",
        "-4 fd00:9::1",
    ] {
        ping(&network, words).run().exits(2);
    }
    assert!(network.finish().is_empty());
}

//! When raw-ping sends, and how long it says that answers took: by the network's own clock.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::harness::Family;
use crate::harness::events::Socket;
use crate::harness::net::over_both_families;
use crate::harness::pinged::{Pinged, TIMEOUT, agreed, ms, number, ping, ping_unprivileged};
use crate::harness::tun::{Act, Entry, Network, Seen, host, refuse, reply};

/// Returns the times between requests, in milliseconds.
fn gaps(log: &[Entry]) -> Vec<f64> {
    log.windows(2).map(|pair| (pair[1].seen.at - pair[0].seen.at).as_secs_f64() * 1e3).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn answered(_: &Seen) -> Vec<Act> {
    vec![reply()]
}

#[test]
fn an_interval_is_kept() {
    let (_, log) = agreed(Network::new(answered), "10.9.0.1 --count 60 --interval 10ms");
    let gaps = gaps(&log);
    let off = median(gaps.iter().map(|gap| (gap - 10.0).abs()));
    // No drift, and no more scatter than a busy machine makes.
    assert!((mean(&gaps) - 10.0).abs() < 0.5 && off < 2.0, "{off}: {gaps:?}");
}

#[test]
fn the_interval_is_of_each_target() {
    let (_, log) = agreed(Network::new(answered), "10.9.0.1-10.9.0.8 --count 6 --interval 100ms");
    for number in 1..=8 {
        let of_one: Vec<Entry> = log.iter().filter(|entry| entry.seen.host() == number).cloned().collect();
        let gaps = gaps(&of_one);
        assert!(gaps.len() == 5 && (mean(&gaps) - 100.0).abs() < 10.0, "{gaps:?}");
    }
}

#[test]
fn a_rate_is_over_all_targets() {
    let (_, log) = agreed(Network::new(answered), "10.9.0.1-10.9.0.10 --count 50 --rate 500/s");
    let took = (log[499].seen.at - log[0].seen.at).as_secs_f64();
    assert!((took - 499.0 / 500.0).abs() < 0.05, "{took} s");
    let gaps = gaps(&log);
    assert!((median(gaps.iter().copied()) - 2.0).abs() < 0.1, "{gaps:?}");
}

#[test]
fn a_poisson_schedule_is_one() {
    let (_, log) = agreed(Network::new(answered), "10.9.0.1 --count 600 --interval 4ms --schedule poisson");
    let gaps = gaps(&log);
    // Of 600 the mean is within 4.1 % of the true one in two of three runs: this allows five times that.
    let average = mean(&gaps);
    assert!((average / 4.0 - 1.0).abs() < 0.21, "mean {average}");
    // Exponential: the deviation is the mean, and the middle one is ln 2 of it.
    let deviation = mean(&gaps.iter().map(|gap| (gap - average).powi(2)).collect::<Vec<_>>()).sqrt();
    assert!((0.7..1.4).contains(&(deviation / average)), "deviation {deviation}, mean {average}");
    let middle = median(gaps.iter().copied()) / average;
    // Where the machine holds it up for some of the time, more are short.
    assert!((0.45..0.85).contains(&middle), "median {middle} of the mean");
}

over_both_families! {
    fn round_trips_are_told_to_the_microsecond(family) {
        let network = Network::builder().spinning().start(|_: &Seen| vec![reply().after(Duration::from_micros(1300))]);
        let (run, log) = agreed(network, &format!("{} --count 300 --interval 4ms", host(family, 1)));
        // How much longer, or shorter, than the network can account for: between its two looks at
        // the device, its hold, its write. That others run on this machine is in both.
        let (mut over, mut under) = (Vec::new(), Vec::new());
        for event in run.all("reply") {
            let entry = &log[number(event, "sequence") as usize];
            let answer = &entry.answers[0];
            let (told, hold) = (number(event, "rtt_ns") as f64, answer.hold.as_nanos() as f64);
            assert_eq!(event["clock"], "kernel", "{event}");
            under.push(told - hold);
            over.push(told - hold - (entry.seen.unseen + answer.write).as_nanos() as f64);
        }
        assert!(over.len() == 300 && under.iter().all(|off| *off > -1000.0), "sooner than answered: {under:?}");
        let middle = median(over.iter().copied());
        let most = over.iter().filter(|off| **off < 30_000.0).count();
        assert!(middle < 10_000.0 && most >= 270, "{middle} ns, {most} of 300: {over:?}");
    }

    fn two_runs_at_once_do_not_mix(family) {
        // By the number of the probe, whoever sends it.
        let network = Network::new(|seen: &Seen| match seen.echo().1 {
            3 => vec![],
            5 => vec![reply(), reply().after(ms(5))],
            29 => vec![reply().after(ms(100))],
            _ => vec![reply()],
        });
        let words = format!("{} --count 30 --interval 10ms", host(family, 1));
        let runs = [ping(&network, &words), ping(&network, &words)].map(crate::harness::Sockeye::start);
        let runs = runs.map(|run| Pinged::of(run.finish().exits(0)));
        let log = network.finish();
        let mut ids: BTreeMap<u16, usize> = BTreeMap::new();
        log.iter().for_each(|entry| *ids.entry(entry.seen.echo().0).or_default() += 1);
        assert_eq!(ids.values().copied().collect::<Vec<_>>(), [30, 30]);
        for run in &runs {
            let totals = ["sent", "received", "lost", "duplicates", "corrupted", "reordered", "late", "refused"];
            assert_eq!(totals.map(|name| run.total(name)), [30, 29, 1, 1, 0, 0, 0, 0], "{}", run.run.dump());
            assert_eq!((run.sequences("lost"), run.sequences("duplicate")), (vec![3], vec![5]));
            run.is_sound();
        }
    }

    fn without_capabilities_all_is_as_with_them(family) {
        let plan = move |seen: &Seen| match seen.nth {
            0 => vec![],
            1 => vec![if family == Family::V4 { refuse(3, 1) } else { refuse(1, 3) }],
            2 => vec![reply(), reply().after(ms(5))],
            3 => vec![reply().after(ms(60))],
            7 => vec![reply().after(ms(100))],
            _ => vec![reply()],
        };
        for words in ["", "--socket dgram"] {
            let network = Network::builder().permitting_ping_sockets().start(plan);
            let words = format!("{} --count 8 --interval 20ms {words}", host(family, 1));
            let run = Pinged::of(ping_unprivileged(&network, &words).run().exits(0));
            run.agrees(&network.finish(), TIMEOUT);
            assert_eq!((run.total("received"), run.total("refused"), run.sequences("icmp-error")), (6, 1, vec![1]));
            assert!(run.run.all::<Socket>().iter().all(|socket| socket.kind == "SOCK_DGRAM"), "{}", run.run.dump());
            assert!(run.all("reply").iter().all(|event| event["clock"] == "kernel" && event["ttl"] == 57));
        }
    }

    fn two_runs_without_capabilities_do_not_mix(family) {
        let network = Network::builder().permitting_ping_sockets().start(answered);
        let words = format!("{} --count 20 --interval 10ms", host(family, 1));
        let runs = [ping_unprivileged(&network, &words), ping_unprivileged(&network, &words)];
        let runs = runs.map(crate::harness::Sockeye::start);
        for run in runs.map(|run| Pinged::of(run.finish().exits(0))) {
            let totals = ["sent", "received", "duplicates", "foreign", "corrupted"].map(|name| run.total(name));
            assert_eq!(totals, [20, 20, 0, 0, 0], "{}", run.run.dump());
        }
        assert_eq!(network.finish().len(), 40);
    }

    fn what_nobody_permits_is_said_with_a_way_out(family) {
        let network = Network::new(answered);
        for (words, hint) in [
            ("", "cap_net_raw"),
            ("--socket raw", "cap_net_raw"),
            ("--socket dgram", "ping_group_range"),
            ("--with tcp-syn", "cap_net_raw"),
        ] {
            let words = format!("{} --count 1 {words}", host(family, 1));
            let run = Pinged::of(ping_unprivileged(&network, &words).run().exits(4));
            let hints: Vec<&Value> = run.all("error").into_iter().map(|error| &error["hint"]).collect();
            let text = hints.iter().filter_map(|hint| hint.as_str()).collect::<Vec<_>>().join(" ").to_lowercase();
            assert!(text.contains(hint), "{words}: {}", run.run.dump());
        }
        assert!(network.finish().is_empty(), "nothing was sent");
    }

    fn with_capabilities_it_is_a_raw_socket_unless_told(family) {
        let network = Network::builder().permitting_ping_sockets().start(answered);
        for (words, kind) in [("", "SOCK_RAW"), ("--socket raw", "SOCK_RAW"), ("--socket dgram", "SOCK_DGRAM")] {
            let words = format!("{} --count 2 --interval 10ms {words}", host(family, 1));
            let run = Pinged::of(ping(&network, &words).run().exits(0));
            assert!(run.run.all::<Socket>().iter().any(|socket| socket.kind == kind), "{}", run.run.dump());
            assert_eq!(run.total("received"), 2);
        }
    }

    fn where_no_route_leads_nothing_is_sent(family) {
        let network = Network::new(answered);
        let target = if family == Family::V4 { "192.0.2.1" } else { "2001:db8::1" };
        let run = Pinged::of(ping(&network, &format!("{target} --count 2 --interval 10ms")).run().exits(9));
        assert!(network.finish().is_empty());
        let totals = ["sent", "received", "not_sent", "lost"].map(|name| run.total(name));
        assert_eq!(totals, [0, 0, 2, 0], "{}", run.run.dump());
        assert!(run.all("not-sent").iter().all(|event| event["errno"] == "ENETUNREACH"), "{}", run.run.dump());
        run.is_sound();
    }
}

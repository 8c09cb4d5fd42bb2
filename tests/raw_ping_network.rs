//! The simulated network that judges raw-ping, itself judged by the ping of others.

use std::time::Duration;

use crate::harness::net::over_both_families;
use crate::harness::tun::{
    Fate, HOST_TTL, Network, Seen, What, answer, fate, host, own, refuse, reply, router, too_big, truth, ttl_exceeded,
};
use crate::harness::{Family, require};

/// Runs the ping of iputils in a network to its end, and returns what it wrote.
fn ping_of_others(network: &Network, line: &str) -> String {
    require(&["ping"]);
    let ended = network.spawn(&format!("ping -n {line}")).finish();
    let (stdout, stderr) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    format!("{stdout}{stderr}")
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

over_both_families! {
    fn the_network_does_what_it_is_told(family) {
        // 0 at once, 1 after 30 ms, 2 never, 3 twice, 4 damaged, 5 from elsewhere, 6 to another.
        let network = Network::new(move |seen: &Seen| match seen.nth {
            0 => vec![reply()],
            1 => vec![reply().after(ms(30))],
            2 => vec![],
            3 => vec![reply(), reply().after(ms(5))],
            4 => vec![answer(What::StaleChecksum)],
            5 => vec![answer(What::From(host(family, 999)))],
            6 => vec![answer(What::OtherId)],
            _ => vec![reply()],
        });
        let text = ping_of_others(&network, &format!("-c 8 -i 0.06 -W 1 -s 64 {}", host(family, 1)));
        let log = network.finish();
        // This ping takes an answer from elsewhere, and over IPv4 one with a wrong checksum.
        let received = if family == Family::V4 { 6 } else { 5 };
        assert!(text.contains(&format!("8 packets transmitted, {received} received, +1 duplicates")), "{text}");
        assert_eq!(text.matches("icmp_seq=3 ").count() + text.matches("icmp_seq=7 ").count(), 0, "{text}");
        let elsewhere = format!("from {}: icmp_seq=6 ", host(family, 999));
        assert!(text.contains(&elsewhere) && text.contains("DIFFERENT ADDRESS"), "{text}");
        assert!(text.contains(&format!("72 bytes from {}: icmp_seq=1 ttl={HOST_TTL} ", host(family, 1))), "{text}");
        assert_eq!(log.iter().map(|entry| entry.answers.len()).collect::<Vec<_>>(), [1, 1, 0, 2, 1, 1, 1, 1]);
        let times: Vec<f64> = text.split(" time=").skip(1).map(|rest| rest[..4].trim().parse().unwrap()).collect();
        assert!(times[1] >= 30.0 && times[1] < 60.0 && times[0] < 20.0, "{text}");
        let held = log[1].answers[0].hold;
        assert!(held >= ms(30) && held < ms(40), "{held:?}");
        let (_, told) = truth(&log, ms(1000));
        assert_eq!(told.values(), [8, 4, 0, 4, 0, 1, 1, 2, 0]);
        let first = &log[0].seen;
        let (_, number, payload) = first.echo();
        assert_eq!((first.packet.from, number, payload.len()), (own(family), 1, 64));
    }

    fn its_errors_are_understood(family) {
        let network = Network::new(move |seen: &Seen| match seen.nth {
            0 => vec![ttl_exceeded(family).from(router(family, 3))],
            1 => vec![too_big(family, 1300).from(router(family, 4))],
            2 => vec![refuse(if family == Family::V4 { 3 } else { 1 }, if family == Family::V4 { 1 } else { 3 })],
            // As long a quote as has the number, and one that is shorter by a byte.
            3 => vec![ttl_exceeded(family).quote(if family == Family::V4 { 28 } else { 48 }).from(router(family, 5))],
            4 => vec![ttl_exceeded(family).labels(&[16, 17]).from(router(family, 6))],
            5 => vec![ttl_exceeded(family).spoil(|quote| quote[quote.len() - 64 - 4] ^= 0xff)],
            _ => vec![reply()],
        });
        let text = ping_of_others(&network, &format!("-c 7 -i 0.05 -W 1 -s 64 -M do {}", host(family, 1)));
        let log = network.finish();
        let words: [&str; 3] = match family {
            Family::V4 => ["Time to live exceeded", "mtu = 1300", "Destination Host Unreachable"],
            Family::V6 => ["Time exceeded: Hop limit", "Packet too big: mtu=1300", "Address unreachable"],
        };
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("From ")).collect();
        for (number, (router_number, word)) in [(3, words[0]), (4, words[1]), (0, words[2]), (5, words[0]), (6, words[0])].into_iter().enumerate() {
            let from = if router_number == 0 { host(family, 1) } else { router(family, router_number) };
            let wanted = format!("From {from} icmp_seq={} ", number + 1);
            assert!(lines.iter().any(|line| line.starts_with(&wanted) && line.contains(word)), "{wanted}…{word}: {text}");
        }
        assert_eq!(lines.len(), 5, "{text}");
        assert!(text.contains("7 packets transmitted, 1 received, +5 errors"), "{text}");
        let (_, told) = truth(&log, ms(1000));
        assert_eq!((told.sent, told.received, told.refused, told.lost), (7, 1, 5, 1));
        assert!(log.iter().all(|entry| entry.seen.packet.whole));
        let kinds: Vec<_> = log.iter().map(|entry| fate(entry, ms(1000))).collect();
        assert_eq!(kinds[6], Fate::Received);
    }
}

#[test]
fn an_answer_is_held_to_the_microsecond() {
    let network = Network::new(|_: &Seen| vec![reply().after(Duration::from_micros(1300))]);
    let text = ping_of_others(&network, &format!("-q -c 100 -i 0.01 {}", host(Family::V4, 7)));
    assert!(text.contains("100 packets transmitted, 100 received"), "{text}");
    let mut off: Vec<_> =
        network.finish().iter().map(|entry| entry.answers[0].hold - Duration::from_micros(1300)).collect();
    off.sort();
    // What others do on this machine disturbs many, and never makes one early.
    assert!(off[10] < Duration::from_micros(100), "{off:?}");
}

#[test]
fn answers_in_reverse_order_are_reordered() {
    let network = Network::new(|seen: &Seen| vec![reply().after(ms(300 - 100 * (seen.nth as u64 % 3)))]);
    let text = ping_of_others(&network, &format!("-c 6 -i 0.02 -W 1 {}", host(Family::V4, 7)));
    assert!(text.contains("6 packets transmitted, 6 received"), "{text}");
    let (_, told) = truth(&network.finish(), ms(1000));
    // 2, 1, 0, 5, 4, 3 by their times; 5 comes in before 1 and 0 do.
    let mut order: Vec<&str> = text.split("icmp_seq=").skip(1).map(|rest| &rest[..1]).collect();
    let (mut next, mut reordered) = (0, 0);
    for number in order.drain(..).map(|word| word.parse::<u64>().unwrap()) {
        if number < next {
            reordered += 1;
        } else {
            next = number + 1;
        }
    }
    assert_eq!((told.reordered, told.received), (reordered, 6));
    assert!(reordered >= 4, "{text}");
}

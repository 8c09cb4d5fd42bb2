//! raw-ping beside the pingers of others, in the same network, and watched by tshark on the same wire.

use crate::harness::net::{TempDir, over_both_families};
use crate::harness::pinged::{Pinged, TIMEOUT, agreed, ms, number, ping};
use crate::harness::tun::{Act, DEVICE, Entry, Network, Seen, What, answer, host, reply};
use crate::harness::{Family, Sockeye};

/// A fifth is lost, a fifth comes twice, a fifth late by their order.
fn plan(seen: &Seen) -> Vec<Act> {
    match seen.nth % 5 {
        1 => vec![],
        2 => vec![reply().after(ms(35))],
        3 => vec![reply(), reply().after(ms(4))],
        _ => vec![reply().after(ms(1))],
    }
}

fn text_of(network: &Network, line: &str) -> String {
    let ended = network.spawn(line).finish();
    format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr))
}

/// Runs raw-ping in a network with the plan, and returns what it counted, and what the network did.
fn ours(family: Family) -> (Pinged, Vec<Entry>) {
    agreed(Network::new(plan), &format!("{} --count 30 --interval 20ms", host(family, 1)))
}

/// Returns how much longer the round trips of some probes are said to have taken than the network held them, in
/// milliseconds, in order of size.
fn over(log: &[Entry], told: impl IntoIterator<Item = (usize, f64)>) -> Vec<f64> {
    let held = |number: usize| log[number].answers[0].hold.as_secs_f64() * 1e3;
    let mut over: Vec<f64> = told.into_iter().map(|(number, told)| told - held(number)).collect();
    over.sort_by(f64::total_cmp);
    over
}

over_both_families! {
    fn the_ping_of_iputils_counts_the_same(family) {
        let (run, _) = ours(family);
        let text = text_of(&Network::new(plan), &format!("ping -n -c 30 -i 0.02 -W 1 {}", host(family, 1)));
        let counts = format!(
            "{} packets transmitted, {} received, +{} duplicates",
            run.total("sent"),
            run.total("received"),
            run.total("duplicates")
        );
        assert!(text.contains(&counts), "{text}\nbut\n{}", run.summary());
    }

    fn fping_counts_the_same(family) {
        let (run, log) = ours(family);
        crate::harness::require(&["fping"]);
        let network = Network::new(plan);
        let text = text_of(&network, &format!("fping -C 30 -p 20 -t 500 -q {}", host(family, 1)));
        let seen_of_fping = network.finish();
        // Of each probe its time in milliseconds, or a dash.
        let (doubles, rest): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.contains(" : duplicate for ["));
        assert_eq!(doubles.len() as u64, run.total("duplicates"), "{text}");
        let line = rest.into_iter().find(|line| line.starts_with(&host(family, 1).to_string())).expect(&text);
        let times: Vec<Option<f64>> =
            line.split(" : ").nth(1).unwrap().split_whitespace().map(|word| word.parse().ok()).collect();
        let received: Vec<usize> = (0..30).filter(|number| times[*number].is_some()).collect();
        let mut told: Vec<usize> = run.sequences("reply").iter().map(|number| *number as usize).collect();
        told.sort_unstable();
        assert_eq!((&told, times.len()), (&received, 30), "{text}");
        // Neither is sooner than the network answered it; fping rounds to three digits, of 35 ms to 0.1. How late fping
        // reads its clock is a matter of who else runs here, and says nothing of us: our times are the kernel's.
        let theirs = over(&seen_of_fping, received.iter().map(|number| (*number, times[*number].unwrap())));
        assert!(theirs[0] > -0.051, "fping: {theirs:?} ms");
        let told = run.all("reply");
        let told = told.iter().map(|event| (number(event, "sequence") as usize, number(event, "rtt_ns") as f64 / 1e6));
        let ours = over(&log, told);
        assert!(ours[0] > -0.001 && ours[ours.len() / 2] < 0.3, "{ours:?} ms");
    }

    fn tshark_sees_on_the_wire_what_is_told(family) {
        let network = Network::new(move |seen: &Seen| match seen.nth % 5 {
            4 if seen.nth < 30 => vec![answer(What::StaleChecksum)],
            _ => plan(seen),
        });
        let filter = if family == Family::V4 { "icmp" } else { "icmp6" };
        let fields = match family {
            Family::V4 => "-e icmp.type -e icmp.ident -e icmp.seq -e icmp.checksum.status",
            Family::V6 => "-e icmpv6.type -e icmpv6.echo.identifier -e icmpv6.echo.sequence_number -e icmpv6.checksum.status",
        };
        let line = format!("tshark -n -l -i {DEVICE} -f {filter} -T fields -e frame.time_epoch {fields}");
        let shark = network.spawn(&line);
        shark.wait("the capture", |output| {
            crate::harness::process::contains(&output.stderr, b"Capturing on").then_some(())
        });
        // It says so a little before it is so: what it has seen of a first ping says that it sees.
        let sees = |text: &[u8]| crate::harness::process::contains(&shark.wait("stdout", |output| Some(output.stdout.clone())), text);
        while !sees(b"\n") {
            text_of(&network, &format!("ping -n -c 1 -W 1 {}", host(family, 9)));
        }
        let words = format!("{} --count 40 --interval 10ms", host(family, 1));
        let run = Pinged::of(ping(&network, &words).run().exits(0));
        let of_run: Vec<_> = network.log().into_iter().filter(|entry| entry.seen.host() == 1).collect();
        run.agrees(&of_run, TIMEOUT);
        let id = of_run[0].seen.echo().0;
        let packets = of_run.iter().map(|entry| 1 + entry.answers.len()).sum::<usize>();
        let parse = |stdout: &[u8]| -> Vec<[f64; 5]> {
            let text = String::from_utf8_lossy(stdout).into_owned();
            let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let number = |word: &str| {
                let hex = word.strip_prefix("0x").map(|digits| u32::from_str_radix(digits, 16).unwrap().into());
                hex.unwrap_or_else(|| word.parse().unwrap())
            };
            let rows = lines.map(|line| line.trim_end().split('\t').map(number).collect::<Vec<f64>>());
            let rows: Vec<[f64; 5]> = rows.filter_map(|row| row.try_into().ok()).collect();
            rows.into_iter().filter(|row| row[2] == f64::from(id)).collect()
        };
        let rows = shark.wait("all packets", |output| {
            let rows = parse(&output.stdout);
            (rows.len() >= packets).then_some(rows)
        });
        assert_eq!(rows.len(), packets);
        let [asks, answers] = if family == Family::V4 { [8.0, 0.0] } else { [128.0, 129.0] };
        // 1: the checksum is good; 0: it is bad.
        let of = |kind: f64, good: f64| rows.iter().filter(move |row| row[1] == kind && row[4] == good).collect::<Vec<_>>();
        assert_eq!(of(asks, 1.0).len() as u64, run.total("sent"));
        assert_eq!(of(answers, 1.0).len() as u64, run.total("received") + run.total("duplicates"));
        let stale = of(answers, 0.0).len() as u64;
        assert_eq!(stale, 6);
        assert_eq!(run.total("corrupted"), stale);
        // From the packet on the wire to the first good answer on the wire, and what is told of it.
        let mut apart: Vec<f64> = run
            .all("reply")
            .iter()
            .map(|event| {
                let sequence = number(event, "sequence") as f64;
                let when = |kind| of(kind, 1.0).into_iter().find(|row| row[3] == sequence).unwrap()[0];
                (number(event, "rtt_ns") as f64 - (when(answers) - when(asks)) * 1e9).abs()
            })
            .collect();
        apart.sort_by(f64::total_cmp);
        assert!(apart[apart.len() / 2] < 30_000.0, "{apart:?} ns");
        assert_eq!(of(answers, 1.0).len() + of(asks, 1.0).len() + 6, packets);
    }
}

/// Over IPv6 the answers of others are heard and passed over: a socket with such a filter would be shown no packet with
/// a wrong checksum (rawv6_rcv() in net/ipv6/raw.c).
#[test]
fn over_ipv4_the_answers_of_others_never_wake_us() {
    let family = Family::V4;
    crate::harness::require(&["strace", "ping"]);
    let network = Network::new(|_: &Seen| vec![reply()]);
    let stranger = network.spawn(&format!("ping -n -q -c 10000 -i 0.002 {}", host(family, 1)));
    network.wait("the stranger", |log| log.len() > 20);
    let dir = TempDir::new();
    let log = dir.path().join("strace");
    let strace = format!("strace -f -e trace=recvmsg,recvmmsg -o {}", log.display());
    let words = format!("raw-ping {} --count 10 --interval 20ms --json", host(family, 1));
    let run = Sockeye::new(words).under(network.prefix().into_iter().chain(strace.split(' ').map(Into::into)));
    let run = Pinged::of(run.run().exits(0));
    drop(stranger);
    let strangers = network.finish().len() - 10;
    assert!(strangers > 40, "a stranger was heard all the while: {strangers}");
    let log = std::fs::read_to_string(log).unwrap();
    let came = |line: &str| line.rsplit_once("= ").and_then(|(_, count)| count.split(' ').next()?.parse::<u64>().ok());
    let heard: u64 = log.lines().filter(|line| !line.contains("MSG_ERRQUEUE")).filter_map(came).sum();
    // Some may come after socket(2) and before SO_ATTACH_FILTER.
    let most = 10 + strangers as u64 / 4;
    assert!(run.total("received") == 10 && (10..=most).contains(&heard), "{heard}, {strangers} strangers\n{log}");
}

//! raw-ping to one host: each probe ends in one of four, and every total is what the network's own
//! log says.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::Family;
use crate::harness::net::over_both_families;
use crate::harness::pinged::{Pinged, TIMEOUT, address, ms, number, ping};
use crate::harness::tun::{Act, Entry, HOST_TTL, Network, Seen, What, answer, headers, host, own, refuse, reply};

/// Runs raw-ping to host 1 of a network with this plan to its end, and returns what both say.
#[track_caller]
fn run(
    family: Family,
    words: &str,
    code: i32,
    plan: impl FnMut(&Seen) -> Vec<Act> + Send + 'static,
) -> (Pinged, Vec<Entry>) {
    let network = Network::new(plan);
    let run = Pinged::of(ping(&network, &format!("{} {words}", host(family, 1))).run().exits(code));
    (run, network.finish())
}

over_both_families! {
    fn each_probe_is_answered_and_told(family) {
        let (run, log) = run(family, "--count 5 --interval 30ms", 0, |_| vec![reply().after(ms(2))]);
        run.agrees(&log, TIMEOUT);
        assert_eq!((run.total("sent"), run.total("received")), (5, 5));
        assert_eq!(run.sequences("reply"), [0, 1, 2, 3, 4]);
        for (event, entry) in run.all("reply").into_iter().zip(&log) {
            let name = host(family, 1).to_string();
            assert_eq!([&event["target"], &event["from"]], [&name, &name], "no port, for there is none");
            assert_eq!((number(event, "bytes"), number(event, "ttl")), (64, HOST_TTL.into()));
            assert_eq!(event["clock"], "kernel");
            // A stamp may be early by what the two clocks differ in two milliseconds.
            let (told, held) = (number(event, "rtt_ns"), entry.answers[0].hold.as_nanos() as u64);
            assert!(told + 1000 >= held && told < held + 50_000_000, "{event}, held {held}");
        }
        let rtt = &run.summary()["rtt"];
        let times: Vec<u64> = run.all("reply").iter().map(|event| number(event, "rtt_ns")).collect();
        assert_eq!(number(rtt, "min_ns"), *times.iter().min().unwrap());
        assert_eq!(number(rtt, "max_ns"), *times.iter().max().unwrap());
        assert!(number(rtt, "mean_ns").abs_diff(times.iter().sum::<u64>() / 5) <= 1, "{rtt}");
    }

    fn what_goes_out_is_an_echo_request_with_its_number(family) {
        let (run, log) = run(family, "--count 3 --interval 20ms", 0, |_| vec![reply()]);
        run.agrees(&log, TIMEOUT);
        let ids: Vec<u16> = log.iter().map(|entry| entry.seen.echo().0).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        for (index, entry) in log.iter().enumerate() {
            let (_, sequence, payload) = entry.seen.echo();
            assert_eq!((usize::from(sequence), payload.len()), (index, 56));
            assert_eq!((entry.seen.packet.from, entry.seen.packet.to), (own(family), host(family, 1)));
            assert_eq!(entry.seen.packet.bytes.len(), headers(family) + 56);
        }
    }

    fn another_run_has_another_nonce(family) {
        let first = run(family, "--count 1", 0, |_| vec![reply()]).1;
        let second = run(family, "--count 1", 0, |_| vec![reply()]).1;
        assert_ne!(first[0].seen.echo().2[..8], second[0].seen.echo().2[..8]);
    }

    fn unless_told_it_is_four(family) {
        let (run, log) = run(family, "--interval 20ms", 0, |_| vec![reply()]);
        run.agrees(&log, TIMEOUT);
        assert_eq!(run.total("sent"), 4);
    }

    fn what_is_never_answered_is_lost(family) {
        let (run, log) = run(family, "--count 7 --interval 20ms", 0, |seen| {
            if [1, 2, 5].contains(&seen.nth) { vec![] } else { vec![reply()] }
        });
        run.agrees(&log, TIMEOUT);
        assert_eq!(run.sequences("lost"), [1, 2, 5]);
        for event in run.all("lost") {
            let waited = number(event, "after_ns");
            assert!((700_000_000..900_000_000).contains(&waited), "{event}");
        }
        let summary = run.summary();
        assert_eq!((run.total("loss_runs"), run.total("loss_run_max")), (2, 2), "{summary}");
        let target = host(family, 1).to_string();
        let spans = json!([[target, 1, 2], [target, 5, 1]]);
        let told: Vec<_> = summary["loss_run_spans"].as_array().expect("there are some").iter()
            .map(|span| json!([span["target"], span["sequence"], span["probes"]]))
            .collect();
        assert_eq!(json!(told), spans, "{summary}");
        // Of seven the middle one is the fourth of four that were answered; the last two are not.
        let rtt = &summary["rtt"];
        assert!(rtt["p50_ns"].is_u64() && rtt["p90_ns"].is_null(), "{rtt}");
    }

    fn where_nobody_answers_it_says_so(family) {
        let (run, log) = run(family, "--count 3 --interval 20ms", 8, |_| vec![]);
        run.agrees(&log, TIMEOUT);
        assert_eq!((run.total("sent"), run.total("lost")), (3, 3));
        assert!(run.summary()["rtt"].is_null());
        // Two intervals and the patience after the last.
        let took = run.run.elapsed();
        assert!(took >= ms(740) && took < ms(2000), "{took:?}");
    }

    fn it_ends_as_soon_as_all_is_answered(family) {
        let (run, _) = run(family, "--count 3 --interval 20ms --timeout 30s", 0, |_| vec![reply().after(ms(5))]);
        assert!(run.run.elapsed() < ms(5000), "{:?}", run.run.elapsed());
    }

    fn what_comes_after_its_time_is_late(family) {
        let (run, log) = run(family, "--count 9 --interval 100ms --timeout 250ms", 0, |seen| match seen.nth {
            0 => vec![reply().after(ms(500))],
            2 => vec![reply().after(ms(400)), reply().after(ms(450))],
            3 => vec![],
            _ => vec![reply()],
        });
        run.agrees(&log, ms(250));
        assert_eq!((run.total("late"), run.total("lost"), run.total("received")), (2, 1, 6));
        assert_eq!((run.sequences("lost"), run.sequences("late")), (vec![0, 2, 3], vec![0, 2]));
        for (event, held) in run.all("late").into_iter().zip([500, 400]) {
            let rtt = number(event, "rtt_ns") / 1_000_000;
            assert!((held..held + 50).contains(&rtt), "{event}");
        }
        // The late ones are no answers in time: their times are in no figure.
        assert!(number(&run.summary()["rtt"], "max_ns") < 250_000_000, "{}", run.summary());
    }

    fn further_answers_are_duplicates(family) {
        let (run, log) = run(family, "--count 5 --interval 30ms", 0, |seen| match seen.nth {
            4 => vec![reply().after(ms(150))],
            nth => (0..=nth as u64).map(|copy| reply().after(ms(3 * copy))).collect(),
        });
        run.agrees(&log, TIMEOUT);
        assert_eq!(run.total("duplicates"), 6);
        let mut twice = run.sequences("duplicate");
        twice.sort_unstable();
        assert_eq!(twice, [1, 2, 2, 3, 3, 3]);
    }

    fn answers_in_another_order_are_reordered(family) {
        let (run, log) = run(family, "--count 7 --interval 10ms", 0, |seen| match seen.nth {
            6 => vec![reply().after(ms(300))],
            nth => vec![reply().after(ms(200 - 30 * nth as u64))],
        });
        run.agrees(&log, TIMEOUT);
        assert_eq!((run.sequences("reply"), run.total("reordered")), (vec![5, 4, 3, 2, 1, 0, 6], 5));
    }

    fn damaged_answers_are_corrupted_and_their_probes_lost(family) {
        let (run, log) = run(family, "--count 7 --interval 20ms", 0, |seen| match seen.nth {
            0 => vec![answer(What::StaleChecksum)],
            1 => vec![answer(What::Altered)],
            2 => vec![answer(What::Cut(40))],
            3 => vec![answer(What::Cut(4))],
            4 => vec![answer(What::Cut(0))],
            5 => vec![answer(What::Altered), reply().after(ms(30))],
            _ => vec![reply()],
        });
        run.agrees(&log, TIMEOUT);
        assert_eq!((run.sequences("lost"), run.total("received")), (vec![0, 1, 2, 3, 4], 2));
        for event in run.all("corrupted") {
            assert_eq!((address(event, "target"), address(event, "from")), (host(family, 1), host(family, 1)));
        }
    }

    fn answers_of_and_to_others_are_foreign(family) {
        let (run, log) = run(family, "--count 5 --interval 20ms", 0, move |seen| match seen.nth {
            0 => vec![answer(What::From(host(family, 2)))],
            1 => vec![answer(What::OtherId)],
            2 => vec![answer(What::OtherNonce)],
            3 => vec![answer(What::OtherNonce), answer(What::From(host(family, 3))), reply().after(ms(30))],
            _ => vec![reply()],
        });
        run.agrees(&log, TIMEOUT);
        assert_eq!((run.sequences("lost"), run.total("foreign"), run.total("corrupted")), (vec![0, 1, 2], 5, 0));
        let from: Vec<_> = run.all("foreign").iter().map(|event| address(event, "from")).collect();
        assert_eq!(from, [2, 1, 1, 1, 3].map(|number| host(family, number)));
    }

    fn what_was_asked_twice_over_ends_once(family) {
        // An error and an answer about the same probe, in both orders; an error and nothing else.
        let (run, log) = run(family, "--count 4 --interval 30ms", 0, move |seen| {
            let error = if family == Family::V4 { refuse(3, 1) } else { refuse(1, 3) };
            match seen.nth {
                0 => vec![error, reply().after(ms(20))],
                1 => vec![reply(), error.after(ms(20))],
                2 => vec![error],
                _ => vec![reply().after(ms(100))],
            }
        });
        run.is_sound();
        assert_eq!(log.len(), 4);
        assert_eq!((run.total("sent"), run.total("lost"), run.total("late")), (4, 0, 0), "{}", run.run.dump());
        // What was answered was received, whoever said what before or after.
        assert_eq!((run.total("received"), run.total("refused")), (3, 1), "{}", run.run.dump());
    }

    fn any_size_is_matched(family) {
        for size in [0, 4, 7, 8, 9, 1400] {
            let (run, log) = run(family, &format!("--count 5 --interval 20ms --size {size}"), 0, |seen| match seen.nth {
                1 => vec![],
                2 => vec![reply(), reply().after(ms(5))],
                3 => vec![answer(What::OtherId)],
                _ => vec![reply().after(ms(10))],
            });
            run.agrees(&log, TIMEOUT);
            assert!(run.all("reply").iter().all(|event| number(event, "bytes") == size + 8), "{}", run.run.dump());
            assert!(log.iter().all(|entry| entry.seen.echo().2.len() as u64 == size));
        }
    }

    fn data_follow_a_pattern_after_the_nonce(family) {
        let data = |words: &str| run(family, &format!("--count 1 --pattern ff00a5 {words}"), 0, |_| vec![reply()]).1;
        let log = data("--size 20");
        assert_eq!(log[0].seen.echo().2[8..], [0xff, 0, 0xa5, 0xff, 0, 0xa5, 0xff, 0, 0xa5, 0xff, 0, 0xa5]);
        let log = data("-s 5");
        assert_eq!(log[0].seen.echo().2, [0xff, 0, 0xa5, 0xff, 0]);
    }

    fn the_ttl_is_seen_on_the_wire(family) {
        for (words, ttl) in [("--ttl 7", 7), ("-t 201", 201), ("", 64)] {
            let (_, log) = run(family, &format!("--count 2 --interval 10ms {words}"), 0, |_| vec![reply()]);
            assert!(log.len() == 2 && log.iter().all(|entry| entry.seen.packet.ttl == ttl), "{words}: {log:?}");
        }
    }

    fn it_ends_with_the_first_answer_where_that_is_asked(family) {
        let (run, log) = run(family, "--until-reply --interval 100ms --timeout 300ms", 0, |seen| {
            if seen.nth < 5 { vec![] } else { vec![reply().after(ms(5))] }
        });
        assert_eq!((log.len(), run.total("sent"), run.total("received")), (6, 6, 1));
        run.is_sound();
    }

    fn too_much_loss_is_a_no(family) {
        for (words, code) in [("--max-loss 25", 0), ("--max-loss 24.9", 1), ("--max-loss 0", 1), ("", 0)] {
            let (run, log) = run(family, &format!("--count 4 --interval 20ms {words}"), code, |seen| {
                if seen.nth == 1 { vec![] } else { vec![reply()] }
            });
            run.agrees(&log, TIMEOUT);
        }
    }

    fn too_long_a_way_is_a_no(family) {
        for (words, code) in [("--max-rtt 300ms", 0), ("--max-rtt 40ms", 1)] {
            let (run, log) = run(family, &format!("--count 4 --interval 20ms {words}"), code, |seen| {
                if seen.nth == 1 { vec![reply().after(ms(50))] } else { vec![reply()] }
            });
            run.agrees(&log, TIMEOUT);
        }
    }

    fn a_signal_ends_it_by_the_results(family) {
        let network = Network::new(|_: &Seen| vec![reply()]);
        let running = ping(&network, &format!("{} --count 0 --interval 20ms", host(family, 1))).start();
        network.wait("ten requests", |log| log.len() >= 10 && !log[9].answers.is_empty());
        running.wait_for_nth::<crate::harness::events::Reply>(10);
        running.signal(Signal::SIGINT);
        let run = Pinged::of(running.finish().exits(0));
        run.is_sound();
        assert_eq!(run.total("sent"), network.finish().len() as u64);
        assert!(run.total("received") >= 10);
    }

    fn an_answer_counts_by_its_arrival(family) {
        // It is stopped while the answers come; the third comes after its time.
        let network = Network::new(|seen: &Seen| vec![reply().after(ms([150, 100, 600][seen.nth]))]);
        let words = format!("{} --count 3 --interval 20ms --timeout 300ms", host(family, 1));
        let running = ping(&network, &words).start();
        network.wait("three requests", |log| log.len() == 3);
        running.signal(Signal::SIGSTOP);
        network.wait("three answers", |log| log.iter().all(|entry| !entry.answers.is_empty()));
        running.signal(Signal::SIGCONT);
        let run = Pinged::of(running.finish().exits(0));
        run.is_sound();
        assert_eq!((run.total("sent"), run.total("received")), (3, 2), "{}", run.run.dump());
        assert_eq!(run.sequences("reply"), [1, 0], "{}", run.run.dump());
    }

    fn what_this_host_drops_is_told_apart(family) {
        // More copies of an answer than its buffer holds, while nobody reads.
        const COPIES: u64 = 500;
        let network = Network::new(|_: &Seen| vec![reply().after(ms(100)); COPIES as usize]);
        let running = ping(&network, &format!("{} --count 1 --recv-buffer 16KiB", host(family, 1))).start();
        network.wait("the request", |log| log.len() == 1);
        running.signal(Signal::SIGSTOP);
        network.wait("all copies", |log| log[0].answers.len() as u64 == COPIES);
        running.signal(Signal::SIGCONT);
        let run = Pinged::of(running.finish().exits(0));
        let [received, duplicates, dropped] = ["received", "duplicates", "kernel_drops"].map(|name| run.total(name));
        assert_eq!((received, received + duplicates + dropped), (1, COPIES), "{}", run.run.dump());
        assert!(dropped > COPIES / 2 && !run.all("kernel-drops").is_empty(), "{}", run.run.dump());
    }

    fn times_that_pass_unused_are_counted_and_no_burst_follows(family) {
        let network = Network::new(|seen: &Seen| vec![if seen.host() == 2 { reply().after(ms(300)) } else { reply() }]);
        let running = ping(&network, &format!("{} --count 30 --interval 20ms", host(family, 1))).start();
        network.wait("three requests", |log| log.len() == 3);
        running.signal(Signal::SIGSTOP);
        // 300 ms pass.
        ping(&network, &format!("{} --count 1", host(family, 2))).run().exits(0);
        running.signal(Signal::SIGCONT);
        let run = Pinged::of(running.finish().exits(0));
        let mut log = network.finish();
        log.retain(|entry| entry.seen.host() == 1);
        assert_eq!((run.total("sent"), log.len()), (30, 30), "{}", run.run.dump());
        assert!(run.total("slots_missed") >= 12, "{}", run.summary());
        assert!(run.all("warning").iter().any(|warning| warning["name"] == "slots-missed"), "{}", run.run.dump());
        // Fifteen times passed; the probes go at the next ones, each at its own.
        let close = log.windows(2).filter(|pair| pair[1].seen.at - pair[0].seen.at < ms(5)).count();
        assert!(close < 10, "{close}: {log:?}");
    }

    fn totals_so_far_are_told_when_that_is_asked(family) {
        let network = Network::new(|_: &Seen| vec![reply()]);
        let running = ping(&network, &format!("{} --count 0 --interval 20ms", host(family, 1))).start();
        running.wait_for_nth::<crate::harness::events::Reply>(3);
        running.signal(Signal::SIGQUIT);
        let interim = running.wait_for::<crate::harness::events::Interim>();
        assert!(interim.received >= Some(3) && interim.sent >= interim.received, "{interim:?}");
        running.interrupt().exits(0);
        let words = format!("{} --count 5 --interval 50ms --report-every 60ms", host(family, 1));
        let run = Pinged::of(ping(&network, &words).run().exits(0));
        assert!(run.all("interim").len() >= 2, "{}", run.run.dump());
    }

    fn a_deadline_ends_it_by_the_results(family) {
        for (answers, code) in [(true, 0), (false, 8)] {
            let (run, log) = run(family, "--count 0 --interval 20ms -w 500ms", code, move |_| {
                if answers { vec![reply()] } else { vec![] }
            });
            run.is_sound();
            assert_eq!(run.total("sent"), log.len() as u64);
            assert!((15..=26).contains(&log.len()), "{}", log.len());
            assert!(run.run.elapsed() < ms(3000), "{:?}", run.run.elapsed());
        }
    }
}

#[test]
fn numbers_go_on_where_16_bits_end() {
    // Beyond what the field of ICMP has room for; the same number of 16 bits is lost twice.
    const COUNT: usize = 66_000;
    let (run, log) = run(Family::V4, &format!("--flood --count {COUNT} -q"), 0, |seen| {
        if seen.nth & 0xffff == 5 { vec![] } else { vec![reply()] }
    });
    assert_eq!(log.len(), COUNT);
    for (index, entry) in log.iter().enumerate() {
        assert_eq!(usize::from(entry.seen.echo().1), index & 0xffff, "the field carries the low 16 bits");
    }
    let summary = run.summary();
    assert_eq!((run.total("sent"), run.total("received"), run.total("lost")), (66_000, 65_998, 2), "{summary}");
    assert_eq!((run.total("duplicates"), run.total("foreign"), run.total("corrupted")), (0, 0, 0), "{summary}");
    let first: Vec<_> =
        summary["loss_run_spans"].as_array().unwrap().iter().map(|run| number(run, "sequence")).collect();
    assert_eq!(first, [5, 65_541]);
}

#[test]
fn the_next_waits_for_the_last_where_that_is_asked() {
    let (run, log) = run(Family::V4, "--adaptive --count 20 --timeout 100ms", 0, |seen| {
        if seen.nth == 7 { vec![] } else { vec![reply().after(ms(5))] }
    });
    run.agrees(&log, ms(100));
    for pair in log.windows(2) {
        let gap = pair[1].seen.at - pair[0].seen.at;
        // An answer is held from when the network saw its request; a time-out is sockeye's own.
        let least = if pair[0].seen.nth == 7 { 75 } else { 5 };
        assert!(gap >= ms(least) && gap < ms(least + 150), "{gap:?} after {:?}", pair[0]);
    }
}

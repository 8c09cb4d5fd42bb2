//! What a review of `raw-ping` found.

use crate::harness::net::{Net, TempDir, over_both_families};
use crate::harness::pinged::{Pinged, ms, number, ping};
use crate::harness::tun::{Network, Seen, host, refuse, reply, router, ttl_exceeded};
use crate::harness::{Family, Finished, Sockeye, udp};

/// Runs on a loopback interface of its own.
fn on_loopback(line: &str) -> Finished {
    Sockeye::new(format!("raw-ping {line}")).under(Net::isolated().prefix()).run()
}

fn totals(run: &Finished) -> [u64; 3] {
    let summary = run.summary();
    [summary.sent, summary.received, summary.lost].map(|total| total.expect("a pinger has it"))
}

#[test]
fn answers_are_read_as_fast_as_probes_go() {
    // At most 64 were read each millisecond; of a turn to all targets none before its end.
    let run = on_loopback("127.0.0.1 --rate 150000/s --count 60000 --json -q").exits(0);
    assert_eq!(totals(&run), [60_000, 60_000, 0], "{}", run.dump());
    let run = on_loopback("127.0.0.0/17 --adaptive --count 1 --json -q").exits(0);
    assert_eq!(totals(&run), [32_766, 32_766, 0], "{}", run.summary().sent.unwrap());
}

#[test]
fn an_answer_that_names_no_probe_is_found_without_a_search() {
    // All that was known was gone through for each: more than a minute, where a second is enough.
    let run = on_loopback("127.0.0.1 --with udp --size 0 --flood --count 60000 --json -q").exits(0);
    assert_eq!(totals(&run), [60_000, 60_000, 0], "{}", run.dump());
    assert!(run.elapsed() < ms(20_000), "{:?}", run.elapsed());
}

#[test]
fn what_lies_in_the_socket_at_the_end_is_no_loss() {
    let run = on_loopback("127.0.0.0/17 --adaptive --count 0 --deadline 300ms --json -q");
    let [sent, received, lost] = totals(&run);
    assert!(sent > 1_000 && lost <= sent / 100, "{sent} sent, {received} received, {lost} lost");
}

#[test]
fn a_host_that_is_named_twice_has_two_rows_without_a_nonce_too() {
    for size in [0, 4, 7] {
        let run = on_loopback(&format!("127.0.0.1 127.0.0.1 --flood --count 50 --size {size} --json")).exits(0);
        let rows: Vec<_> = run.all::<crate::harness::events::TargetSummary>();
        let each: Vec<_> = rows.iter().map(|row| (row.sent, row.received, row.duplicates)).collect();
        assert_eq!(each, [(Some(50), Some(50), Some(0)); 2], "{size}: {}", run.dump());
    }
}

#[test]
fn a_closed_port_answers_a_datagram_of_any_size() {
    for size in [0, 1, 7, 8] {
        for target in ["127.0.0.1", "::1"] {
            let run =
                on_loopback(&format!("{target} --with udp --size {size} --count 2 --interval 20ms --json")).exits(0);
            assert_eq!(totals(&run), [2, 2, 0], "{size} {target}: {}", run.dump());
        }
    }
}

over_both_families! {
    fn a_sweep_counts_each_late_answer(family) {
        // Each target had at most one of them.
        let network = Network::new(|_: &Seen| vec![reply().after(ms(350))]);
        let words = format!("{} --sweep --retry 2 --backoff 2 --timeout 100ms", host(family, 1));
        let run = Pinged::of(ping(&network, &words).run().exits(0));
        assert_eq!((run.total("late"), run.total("received")), (2, 1), "{}", run.run.dump());
        assert_eq!(number(run.target(host(family, 1)), "late"), 2, "{}", run.run.dump());
        run.is_sound();
    }

    fn a_hop_that_answers_as_asked_is_neither_loss_nor_refusal(family) {
        let network = Network::new(move |seen: &Seen| match (seen.packet.ttl, seen.host()) {
            (1, _) => vec![ttl_exceeded(family).from(router(family, 1))],
            (_, 1) => vec![reply()],
            _ => vec![],
        });
        let line = |number: u16, rest: &str| format!("{} --trace --ttl 3 --count 2 --interval 50ms {rest}", host(family, number));
        // Every probe to a hop on the way was a loss of the target.
        ping(&network, &line(1, "--max-loss 1")).run().exits(0);
        // A target that is silent was unreachable, because a router had said that it was one.
        let run = ping(&network, &line(2, "")).run().exits(8);
        assert_eq!(run.summary().refused, Some(2), "{}", run.dump());
    }
}

#[test]
fn each_row_of_losses_has_its_begin_and_its_length() {
    let network = Network::new(|seen: &Seen| match seen.nth {
        2..5 | 7 => vec![],
        _ => vec![reply()],
    });
    let words = format!("{} --count 10 --interval 30ms --timeout 100ms", host(Family::V4, 1));
    let run = Pinged::of(ping(&network, &words).run().exits(0));
    let summary = run.run.summary();
    assert_eq!((summary.loss_runs, summary.loss_run_max), (Some(2), Some(3)), "{}", run.run.dump());
    let spans = summary.loss_run_spans.as_ref().expect("there are two");
    let all: Vec<_> = spans.iter().map(|span| (span.sequence, span.probes)).collect();
    assert_eq!(all, [(2, 3), (7, 1)]);
    let log = network.finish();
    let sent = |number: usize| log[number].seen.at;
    let apart = (sent(4) - sent(2)).as_nanos() as u64;
    assert!(spans[0].duration_ns.abs_diff(apart) < 10_000_000, "{spans:?}, {apart}");
    assert_eq!(spans[1].duration_ns, 0);
    let begin = run.run.lines.first().map(|line| line.time.clone()).expect("it has begun");
    assert!(begin < spans[0].started && spans[0].started < spans[1].started, "{begin} {spans:?}");
}

#[test]
fn a_row_of_losses_is_one_in_whatever_order_they_are_noted() {
    // Half of the first eleven are refused and then answered late, which is known after those between them were lost.
    let network = Network::new(|seen: &Seen| match seen.nth {
        nth if nth > 10 => vec![reply()],
        nth if nth % 2 == 0 => vec![refuse(3, 1), reply().after(ms(300))],
        _ => vec![],
    });
    let words = format!("{} --count 30 --interval 20ms --timeout 150ms", host(Family::V4, 1));
    let run = Pinged::of(ping(&network, &words).run().exits(0));
    let told = ["received", "late", "lost", "refused", "loss_runs", "loss_run_max"].map(|name| run.total(name));
    assert_eq!(told, [19, 6, 5, 0, 1, 11], "{}", run.run.dump());
    let row = run.target(host(Family::V4, 1));
    assert_eq!((number(row, "loss_runs"), number(row, "loss_run_max")), (1, 11), "{row}");
    let spans = run.summary()["loss_run_spans"].as_array().unwrap();
    let all: Vec<_> = spans.iter().map(|span| (number(span, "sequence"), number(span, "probes"))).collect();
    assert_eq!(all, [(0, 11)], "{}", run.run.dump());
    // From when the first of them was sent to when the last was.
    assert!((180..240).contains(&(number(&spans[0], "duration_ns") / 1_000_000)), "{}", run.run.dump());
}

#[test]
fn a_trace_has_no_rows_of_losses() {
    // They were said to be none, though all was lost.
    let network = Network::new(|_: &Seen| vec![]);
    let words = format!("{} --trace --ttl 2 --count 2 --interval 20ms --timeout 100ms", host(Family::V4, 1));
    let run = Pinged::of(ping(&network, &words).run().exits(8));
    assert_eq!(run.total("lost"), 4);
    for of in [run.summary(), run.all("target-summary")[0]] {
        assert!(of["loss_runs"].is_null() && of["loss_run_max"].is_null(), "{of}");
    }
}

#[test]
fn a_loss_of_just_the_limit_is_none_beyond_it() {
    // 1 of 100 was more than 1 %, by rounding.
    let network = Network::new(|seen: &Seen| if seen.nth == 0 { vec![] } else { vec![reply()] });
    for (limit, code) in [("1", 0), ("0.99", 1)] {
        let target = host(Family::V4, if code == 0 { 1 } else { 2 });
        let words = format!("{target} --count 100 --interval 1ms --timeout 100ms -q --max-loss {limit}");
        let run = Pinged::of(ping(&network, &words).run().exits(code));
        assert_eq!(run.total("lost"), 1, "{}", run.run.dump());
    }
}

#[test]
fn why_the_answer_is_no_is_told_to_whoever_wants_no_more() {
    let network = Network::new(|seen: &Seen| if seen.host() == 1 { vec![reply()] } else { vec![] });
    for (words, code, why) in [
        ("10.9.0.1 --count 1 --max-rtt 1ns", 1, "--max-rtt"),
        ("10.9.0.2 --count 1 --max-loss 1", 1, "--max-loss"),
        ("10.9.0.2 --path-mtu", 8, "does not answer"),
        ("10.9.0.1 10.9.0.2 --rate 1/s --count 1 --deadline 500ms", 1, "told to stop before 1 of 2"),
    ] {
        let line = format!("raw-ping {words} --timeout 100ms -q");
        let run = Sockeye::new(line).under(network.prefix()).run().exits(code);
        assert!(run.stderr().contains(why), "{words}: {}", run.dump());
    }
    // Where the answer is yes, nothing is told, though the run was cut short.
    let line = "raw-ping 10.9.0.1 10.9.0.2 --flood --count 0 --until-reply --deadline 300ms -q";
    let run = Sockeye::new(format!("{line} --timeout 10s")).under(network.prefix()).run().exits(1);
    assert!(run.stderr().contains("told to stop while"), "{}", run.dump());
    let last = Network::new(|seen: &Seen| if seen.nth == 0 { vec![reply()] } else { vec![] });
    let line = "raw-ping 10.9.0.1 --interval 10ms --count 0 --deadline 200ms --timeout 10s -q";
    let run = Sockeye::new(line).under(last.prefix()).run().exits(0);
    assert_eq!(run.stderr(), "", "{}", run.dump());
    // It said nothing at all.
    let (_refusing, port) = udp::refusing_port(Family::V4);
    let run = Sockeye::new(format!("udp-send 127.0.0.1:{port} a b --interval 20ms -q")).run().exits(7);
    assert_eq!(run.stderr().matches("port-unreachable").count(), 1, "{}", run.dump());
    assert!(run.stdout().is_empty());
    let listener = Sockeye::new("udp-listen 127.0.0.1:0 --when a A --json").start();
    let words = |messages: &str| format!("udp-send 127.0.0.1:{} {messages} --wait 200ms -q", udp::port_of(&listener));
    let some = Sockeye::new(words("a b")).run().exits(1);
    assert!(some.stderr().contains("sent 2 datagrams") && some.stderr().contains("received 1"), "{}", some.dump());
    assert_eq!(Sockeye::new(words("a")).run().exits(0).stderr(), "");
}

#[test]
fn an_adaptive_run_tells_each_answer_and_a_flood_does_not() {
    for (tempo, lines) in [("--adaptive", 3), ("--flood", 0), ("--interval 0", 0), ("--flood -v", 3)] {
        let run = on_loopback(&format!("127.0.0.1 --count 3 {tempo}")).exits(0);
        let told = String::from_utf8_lossy(run.stdout()).matches("reply from 127.0.0.1 seq=").count();
        assert_eq!(told, lines, "{tempo}: {}", run.dump());
    }
}

#[test]
fn a_loss_beyond_the_limit_is_a_no_though_nobody_has_answered() {
    let network = Network::new(|_: &Seen| vec![]);
    let words = |rest: &str| format!("{} --count 2 --interval 20ms --timeout 100ms {rest}", host(Family::V4, 1));
    ping(&network, &words("")).run().exits(8);
    ping(&network, &words("--max-loss 50")).run().exits(1);
}

#[test]
fn an_interface_that_is_not_there_ends_its_target_alone() {
    let run = on_loopback("127.0.0.1 fe80::1%nosuch0 --count 1 --json");
    assert_eq!(totals(&run), [1, 1, 0], "{}", run.dump());
    assert_eq!(run.code(), 5, "a fault of this machine's: {}", run.dump());
}

#[test]
fn a_list_that_never_ends_does_not_outlast_the_deadline() {
    let dir = TempDir::new();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a pipe can be made");
    let run = Sockeye::new("raw-ping --deadline 200ms --json").arg(format!("@{}", fifo.display())).run();
    assert_eq!(run.code(), 8, "{}", run.dump());
}

#[test]
fn without_a_route_it_does_not_run_hot() {
    // A hundred thousand times a second the kernel was asked in vain.
    let line = "raw-ping 192.0.2.1 --count 0 --deadline 300ms --json -q";
    for tempo in ["--flood", "--adaptive"] {
        let run = Sockeye::new(format!("{line} {tempo}")).under(Net::isolated().prefix()).run();
        assert!(run.summary().not_sent.unwrap() < 64 * 40, "{tempo}: {}", run.dump());
    }
}

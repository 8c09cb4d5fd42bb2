//! Events with literal times into totals.

use std::net::SocketAddr;
use std::time::SystemTime;

use super::*;
use crate::address::Address;
use crate::error::Step;

fn stamp(micros: u64) -> Stamp {
    Stamp { time: SystemTime::UNIX_EPOCH, elapsed: Duration::from_micros(micros) }
}

fn address() -> Address {
    Address::from(SocketAddr::from(([127, 0, 0, 1], 80)))
}

fn close(conn: u64, reason: Reason) -> Event<'static> {
    let duration = Duration::from_secs(9);
    Event::Close(event::Close {
        conn,
        reason,
        closed_first: None,
        reset_by: None,
        clean: None,
        bytes_received: 1,
        bytes_sent: 2,
        bytes_unread: None,
        bytes_unacknowledged: None,
        duration,
        tcp: None,
    })
}

fn recv(conn: u64, data: &[u8]) -> Event<'_> {
    event::Recv::on(conn, data.len(), data).into()
}

fn send(conn: u64, data: &[u8]) -> Event<'_> {
    event::Send::on(conn, data.len(), data).into()
}

fn connect(conn: u64, peer: &Address, micros: u64) -> Event<'_> {
    let duration = Duration::from_micros(micros);
    Event::Connect(event::Connect {
        target: None,
        number: 0,
        conn,
        peer,
        local: Some(peer),
        attempt: 1,
        duration,
        syn_retransmits: None,
        fast_open: None,
        mptcp: None,
    })
}

fn accept(conn: u64, peer: &Address) -> Event<'_> {
    Event::Accept(event::Accept {
        conn,
        peer,
        local: peer,
        fast_open: None,
        mptcp: None,
        pid: None,
        uid: None,
        gid: None,
        process: None,
    })
}

#[test]
fn a_server_counts_what_came_and_went() {
    let peer = address();
    let mut stats = Stats::new(Tally::Server);
    let start = event::Start { schema: 1, version: "0", command: "serve" };
    stats.record(stamp(5), &start.into());
    stats.record(stamp(10), &event::Listen { backlog: 5, effective_backlog: None }.into());
    for conn in 1..=4 {
        stats.record(stamp(20), &accept(conn, &peer));
    }
    stats.record(stamp(30), &recv(1, b"hello"));
    stats.record(stamp(40), &send(1, b"hello you"));
    let after = Duration::from_micros(15);
    stats.record(stamp(45), &event::Timeout { conn: Some(2), step: Step::Recv, after }.into());
    stats.record(stamp(46), &close(2, Reason::Timeout));
    stats.record(stamp(47), &close(3, Reason::Reset));
    stats.record(stamp(50), &close(4, Reason::Denied));
    stats.record(stamp(99), &event::Warning::of("x", "y").into());

    let expected = Totals {
        connections: Some(4),
        denied: Some(1),
        resets: Some(1),
        timeouts: Some(1),
        bytes_sent: Some(9),
        bytes_received: Some(5),
        errors: Some(0),
        warnings: Some(1),
        ..Totals::default()
    };
    assert_eq!(stats.totals(), expected);
    assert_eq!(stats.totals_so_far(), Totals { connections_open: Some(1), ..expected });
    assert_eq!(stats.duration(), Duration::from_micros(89), "it waits for peers until now");
    assert_eq!(stats.duration_so_far(Duration::from_micros(110)), Duration::from_micros(100));
}

#[test]
fn a_server_that_waits_for_peers_has_lasted_until_now() {
    let local = address();
    let bind = Event::Bind(event::Bind { local: &local, mode: None, gid: None });
    let listen = Event::Listen(event::Listen { backlog: 5, effective_backlog: None });
    for (tally, lasted) in [(Tally::Server, [0, 90]), (Tally::Datagrams, [90, 90]), (Tally::Client, [0, 10])] {
        let mut stats = Stats::new(tally);
        stats.record(stamp(10), &bind);
        stats.until(Duration::from_micros(100));
        assert_eq!(stats.duration(), Duration::from_micros(lasted[0]), "{tally:?}");
        stats.record(stamp(20), &listen);
        stats.until(Duration::from_micros(100));
        assert_eq!(stats.duration(), Duration::from_micros(lasted[1]), "{tally:?}");
    }
}

/// The door merges events that nobody sees where [`Stats::needs_only_bytes`]: then they come to the same.
#[test]
fn what_needs_only_its_bytes_may_come_merged_and_late() {
    let peer = address();
    let connect = connect(1, &peer, 5);
    let listen = Event::Listen(event::Listen { backlog: 5, effective_backlog: None });
    for (tally, may_merge) in [(Tally::Server, true), (Tally::Client, false)] {
        let added = |events: &[(u64, Event<'_>)]| {
            let mut stats = Stats::new(tally);
            stats.record(stamp(20), &listen);
            stats.record(stamp(30), &connect);
            events.iter().for_each(|(micros, event)| stats.record(stamp(*micros), event));
            stats.until(Duration::from_micros(100));
            (stats.totals(), stats.duration())
        };
        let apart = added(&[(40, recv(1, b"hel")), (50, recv(1, b"lo")), (55, send(1, b"a")), (60, send(1, b"b"))]);
        let merged = added(&[(90, event::Recv::on(None, 5, &[]).into()), (90, event::Send::on(None, 2, &[]).into())]);
        for kind in [Kind::Recv, Kind::Send] {
            assert_eq!(Stats::new(tally).needs_only_bytes(kind), may_merge, "{tally:?} {kind:?}");
        }
        assert_eq!(apart == merged, may_merge, "{tally:?}");
    }
}

#[test]
fn a_server_keeps_the_deepest_queue_and_the_last_counts() {
    let local = address();
    let mut stats = Stats::new(Tally::Server);
    assert_eq!((stats.totals().accept_queue_max, stats.totals().listen_drops), (None, None));
    for (depth, drops, overflows) in [(0, Some(0), Some(0)), (6, Some(2), None), (1, Some(3), Some(1))] {
        stats.record(stamp(1), &event::Queue { local: &local, depth, limit: 5, drops, overflows }.into());
    }
    let totals = stats.totals();
    assert_eq!((totals.accept_queue_max, totals.listen_drops, totals.listen_overflows), (Some(6), Some(3), Some(1)));
    assert_eq!(stats.duration(), Duration::ZERO, "a look is no step");
}

#[test]
fn a_client_times_each_part() {
    let peer = address();
    let mut stats = Stats::new(Tally::Client);
    let name = event::Resolve { name: "localhost", addresses: &[], duration: Duration::from_micros(300) };
    stats.record(stamp(1000), &name.into());
    stats.record(stamp(2000), &connect(1, &peer, 41));
    stats.record(stamp(2100), &send(1, b"hi"));
    stats.record(stamp(4100), &recv(1, b"hi"));
    stats.record(stamp(9100), &recv(1, b"again"));
    stats.record(stamp(9200), &close(1, Reason::Eof));

    let totals = stats.totals();
    assert_eq!(totals.resolve.unwrap().min_ns, 300_000);
    assert_eq!(totals.connect.unwrap().p50_ns, Some(41_000));
    let first_byte = totals.first_byte.unwrap();
    assert_eq!((first_byte.count, first_byte.max_ns), (1, 2_100_000));
    assert_eq!((totals.denied, totals.connections_open), (None, None));
    assert_eq!((totals.bytes_sent, totals.bytes_received), (Some(2), Some(7)));
    // The first step began before the event that tells of it.
    assert_eq!(stats.duration(), Duration::from_micros(9200 - 700));
    assert_eq!(stats.totals_so_far().connections_open, None);
}

#[test]
fn nothing_measured_is_absent_and_nothing_counted_is_zero() {
    let stats = Stats::new(Tally::Client);
    let totals = stats.totals();
    assert_eq!((totals.connections, totals.errors), (Some(0), Some(0)));
    assert_eq!((totals.resolve, totals.connect, totals.first_byte), (None, None, None));
    assert_eq!(stats.duration(), Duration::ZERO);
}

#[test]
fn a_closed_connection_is_forgotten() {
    let peer = address();
    let mut stats = Stats::new(Tally::Client);
    stats.record(stamp(1), &connect(1, &peer, 1));
    stats.record(stamp(2), &close(1, Reason::Reset));
    assert!(stats.silent.is_empty());
    assert_eq!(stats.totals().resets, Some(1));
}

#[test]
fn a_round_without_a_connection_counts_as_a_lost_connect() {
    let peer = address();
    let mut stats = Stats::new(Tally::Rounds);
    let duration = Duration::from_micros(5);
    let round = |round, conn| {
        let outcome = if conn == Some(1) { Outcome::Ok } else { Outcome::Error };
        Event::Round(event::Round { target: "x:80", number: 0, round, conn, outcome, exit_code: 0, duration })
    };
    stats.record(stamp(10), &connect(1, &peer, 3));
    stats.record(stamp(11), &round(1, Some(1)));
    // The second connection stood, and its round failed after that; the third never stood.
    stats.record(stamp(20), &connect(2, &peer, 4));
    stats.record(stamp(21), &round(2, Some(2)));
    stats.record(stamp(31), &round(3, None));
    stats.until(Duration::from_micros(116));

    let totals = stats.totals();
    assert_eq!((totals.rounds, totals.rounds_failed, totals.outages), (Some(3), Some(2), Some(1)));
    let (connect, round) = (totals.connect.unwrap(), totals.round.unwrap());
    assert_eq!((connect.count, connect.p50_ns, connect.p90_ns), (2, Some(4_000), None));
    assert_eq!((round.count, round.max_ns, round.p50_ns), (1, 5_000, None));
    assert_eq!(totals.outage, Some(Duration::from_micros(100)));
    // A round is no step: the run ended with its last one.
    assert_eq!(stats.duration(), Duration::from_micros(20 - 7));
}

#[test]
fn doctor_counts_outcomes() {
    let mut stats = Stats::new(Tally::Doctor);
    for outcome in [CheckOutcome::Ok, CheckOutcome::Ok, CheckOutcome::Denied, CheckOutcome::Failed] {
        stats.record(stamp(1), &event::Check { name: "x", outcome, value: None, hint: None, duration: None }.into());
    }
    let totals = stats.totals();
    assert_eq!((totals.checks_ok, totals.checks_absent), (Some(2), Some(0)));
    assert_eq!((totals.checks_denied, totals.checks_failed), (Some(1), Some(1)));
    assert_eq!((totals.connections, totals.errors), (None, Some(0)));
}

#[test]
fn the_summary_takes_its_outcome_from_the_code() {
    let stats = Stats::new(Tally::Doctor);
    let totals = stats.totals();
    let outcome = |code| stats.summary(code, &totals).outcome;
    assert_eq!(outcome(ExitCode::Ok), Outcome::Ok);
    assert_eq!(outcome(ExitCode::No), Outcome::Negative);
    assert_eq!(outcome(ExitCode::Refused), Outcome::Error);
    assert_eq!(stats.summary(ExitCode::Refused, &totals).exit_code, 7);
}

/// Returns the fold of a pinger that keeps everything of each target.
fn pinger() -> Stats {
    Stats::new(Tally::Pinger { each: Each::Whole, explores: false })
}

fn probe(peer: &Address, number: u32, sequence: u64) -> event::Send<'_> {
    let send = event::Send::on(None, 64, &[]);
    event::Send { peer: Some(peer), sequence: Some(sequence), probe: Some((number, None)), ..send }
}

fn answer(peer: &Address, number: u32, sequence: u64, micros: u64) -> Event<'_> {
    event::Reply {
        target: peer,
        from: peer,
        sequence,
        bytes: 64,
        ttl: None,
        rtt: Duration::from_micros(micros),
        queued: None,
        reflector: None,
        reflector_sequence: None,
        answer: None,
        clock: event::Clock::Kernel,
        number,
        hops: None,
        arrival: None,
        reached_twice: false,
        was_refused: false,
        legs: None,
    }
    .into()
}

#[test]
fn from_one_target_to_another_the_delay_does_not_vary() {
    let (near, far) = (address(), Address::from(SocketAddr::from(([127, 0, 0, 2], 80))));
    let (mut one, mut two) = (pinger(), pinger());
    for round in 0..4 {
        for (number, peer, micros) in [(0, &near, 10), (1, &far, 90_000)] {
            for stats in [Some(&mut one).filter(|_| number == 0), Some(&mut two)].into_iter().flatten() {
                stats.record(stamp(round), &probe(peer, number, round).into());
                stats.record(stamp(round), &answer(peer, number, round, micros + round));
            }
        }
    }
    let jitter = |stats: &Stats| stats.totals().rtt.unwrap().jitter_ns;
    assert_eq!((jitter(&one), jitter(&two)), (Some(176), None));
    let mut each = Vec::new();
    two.each_target(|event| {
        if let Event::TargetSummary(target) = event {
            each.push(target.totals.rtt.as_ref().unwrap().jitter_ns);
        }
    });
    assert_eq!(each, [Some(176), Some(176)]);
    // The percentiles are those of all.
    assert_eq!(two.totals().rtt.unwrap().p50_ns, Some(13_000));
}

#[test]
fn drops_of_each_socket_add_up_and_what_was_not_looked_at_is_absent() {
    let local = address();
    let mut stats = pinger();
    assert_eq!(stats.totals().kernel_drops, None);
    for (nth, total) in [(0, 0), (1, 2), (0, 3), (1, 5)] {
        let drops = event::KernelDrops {
            local: &local,
            kernel_drops: Some(total),
            kernel_drop_buffers: None,
            recv_buffer: None,
            recv_buffer_asked: None,
            nth,
        };
        stats.record(stamp(1), &drops.into());
    }
    assert_eq!(stats.totals().kernel_drops, Some(8));
}

#[test]
fn times_that_no_probe_used_are_counted_without_one() {
    let peer = address();
    let mut stats = pinger();
    stats.record(stamp(1), &event::Send { missed: 2, ..probe(&peer, 0, 0) }.into());
    stats.record(stamp(2), &event::Send { missed: 3, datagrams: 0, bytes: 0, ..probe(&peer, 0, 0) }.into());
    let totals = stats.totals();
    assert_eq!((totals.slots_missed, totals.sent, totals.rate_achieved), (Some(5), Some(1), None));
}

#[test]
fn what_was_refused_and_answered_late_is_in_the_rows_of_losses() {
    let (peer, mut stats) = (address(), pinger());
    for round in 0..6 {
        stats.record(stamp(round), &probe(&peer, 0, round).into());
    }
    for round in [1, 2, 4] {
        let Event::Reply(reply) = answer(&peer, 0, round, 900_000) else { panic!("it is a reply") };
        let late = event::Late(event::Reply { was_refused: true, ..reply });
        stats.record(stamp(10 + round), &late.into());
    }
    let totals = stats.totals();
    assert_eq!((totals.late, totals.loss_runs, totals.loss_run_max), (Some(3), Some(2), Some(2)));
}

#[test]
fn how_far_a_run_has_come_is_told_where_its_end_is_known() {
    let done = |stats: &Stats| stats.progress().map(|progress| progress.done);
    let (peer, gone) = (address(), event::Send::on(None, 10, &[]));
    // Datagrams: what went, and what did not.
    let sender = Tally::Sender { measures: false, reflects: false };
    let mut stats = Stats::new(sender).reaching(Some(Extent::Count(10)));
    assert_eq!(stats.progress(), Some(Progress { done: 0, extent: Extent::Count(10) }));
    let not = event::NotSent { target: &peer, sequence: None, errno: "ENOBUFS", datagrams: 3, number: 0 };
    for event in [event::Send { datagrams: 5, ..gone.clone() }.into(), not.into()] {
        stats.record(stamp(1), &event);
    }
    assert_eq!(done(&stats), Some(8));
    // Where each is to be answered: what has its end.
    let measures = Tally::Sender { measures: true, reflects: true };
    let mut stats = Stats::new(measures).reaching(Some(Extent::Count(10)));
    let lost = event::Lost { target: &peer, sequence: 0, after: Duration::ZERO, number: 0 };
    for event in [event::Send { datagrams: 5, ..gone }.into(), lost.into()] {
        stats.record(stamp(1), &event);
    }
    assert_eq!(done(&stats), Some(1));
    // How many probes there are is known later.
    let pinger = Tally::Pinger { each: Each::Nothing, explores: false };
    let mut stats = Stats::new(pinger).reaching(Some(Extent::Count(0)));
    assert_eq!(stats.progress(), None);
    stats.expect(7);
    stats.record(stamp(1), &event::Lost { target: &peer, sequence: 0, after: Duration::ZERO, number: 0 }.into());
    assert_eq!(stats.progress(), Some(Progress { done: 1, extent: Extent::Count(7) }));
    // Bytes: from the first on, and none of the dialogue before TLS.
    let mut stats = Stats::new(Tally::Client).reaching(Some(Extent::Bytes(100)));
    let asked = event::Send { layer: Some("starttls"), ..event::Send::on(1, 8, b"STARTTLS") };
    stats.record(stamp(1), &asked.into());
    assert_eq!(done(&stats), None);
    stats.record(stamp(2), &send(1, b"hello"));
    assert_eq!(done(&stats), Some(5));
    assert_eq!(done(&Stats::new(Tally::Client)), None);
}

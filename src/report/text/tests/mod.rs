//! Events into the bytes of both streams.

mod datagrams;
mod probes;
mod steps;
mod streams;

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use expect_test::{Expect, expect};

use super::*;
use crate::address::Address;
use crate::error::{ExitCode, Step};
use crate::event::{self, OptionValue, Totals};
use crate::report::tests::{Kept, settings};
use crate::stats::Tally;

/// Returns what stdout and stderr hold after the events, each a millisecond after the last.
fn shown(settings: Settings, events: &[Event<'_>]) -> (String, String) {
    let (stdout, stderr) = (Kept::default(), Kept::default());
    tell(Text::new(settings, stdout.output(), Some(stderr.output())), events);
    (stdout.text(), stderr.text())
}

/// Returns what a terminal holds that is both stdout and stderr.
fn on_one_terminal(settings: Settings, events: &[Event<'_>]) -> String {
    let screen = Screen { terminal: true, color: false };
    let terminal = Kept::default();
    tell(Text::new(Settings { stdout: screen, stderr: screen, ..settings }, terminal.output(), None), events);
    terminal.text()
}

fn tell(mut text: Text, events: &[Event<'_>]) {
    for (millis, event) in (1..).zip(events) {
        text.hear(Stamp { time: UNIX_EPOCH, elapsed: Duration::from_millis(millis) }, event);
    }
    let (stdout, stderr) = text.finish();
    stdout.and(stderr).unwrap();
}

fn check(settings: Settings, events: &[Event<'_>], stdout: Expect, stderr: Expect) {
    let (out, err) = shown(settings, events);
    stdout.assert_eq(&out);
    stderr.assert_eq(&err);
}

fn address(port: u16) -> Address {
    Address::from(SocketAddr::from(([127, 0, 0, 1], port)))
}

fn recv(data: &[u8]) -> Event<'_> {
    event::Recv::on(1, data.len(), data).into()
}

fn send(data: &[u8]) -> Event<'_> {
    event::Send::on(1, data.len(), data).into()
}

fn close() -> event::Close {
    event::Close {
        conn: 1,
        reason: event::Reason::Limit,
        closed_first: Some(event::Side::Local),
        reset_by: Some(event::Side::Local),
        clean: Some(false),
        bytes_received: 1,
        bytes_sent: 18,
        bytes_unread: Some(3),
        bytes_unacknowledged: Some(18),
        duration: Duration::from_millis(2003),
        tcp: Some(event::TcpFigures {
            rtt: Duration::from_micros(41),
            min_rtt: None,
            rttvar: Duration::ZERO,
            retransmits: 2,
            bytes_retransmitted: Some(2),
            mss: 1,
            pmtu: 1500,
            cwnd: 1,
            delivery_bytes_per_second: Some(1),
            busy: Some(Duration::from_millis(1500)),
            rwnd_limited: Some(Duration::from_millis(1200)),
            sndbuf_limited: Some(Duration::ZERO),
            held_back_by: Some(event::HeldBack::PeerWindow),
        }),
    }
}

fn error<'a>(message: &'a str, hint: Option<&'a str>) -> Event<'a> {
    let step = Step::Bind;
    Error {
        step,
        errno: None,
        code: None,
        name: None,
        message,
        hint,
        peer: None,
        local: None,
        conn: None,
        target: None,
        number: 0,
        proxy: None,
        steps: &[],
        duration: None,
        exit_code: ExitCode::Local,
        explained: Duration::ZERO,
    }
    .into()
}

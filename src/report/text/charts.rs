//! What `raw-ping` draws: round-trip times as a time line and a histogram at the end, or one screen that
//! is drawn again and again while the run goes on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::say;
use crate::address::Address;
use crate::event::{Event, Late, Stamp};
use crate::report::live::{self, Live};
use crate::report::{Glyphs, Plot};

/// The room that there is to draw in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Characters of a line.
    pub columns: usize,
    /// Lines of the screen.
    pub rows: usize,
    /// The characters that may be used.
    pub glyphs: Glyphs,
}

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chart {
    /// At the end, a plot of each target.
    Plot(Canvas),
    /// All the time, one screen.
    Live(Canvas),
}

/// More targets than this share one plot.
const MOST_PLOTS: usize = 16;

/// Of so many lost probes it is known when they were sent, in case that they are answered after all.
const MOST_LOSSES: usize = 1 << 16;

/// The least time between two screens.
const FRAME: Duration = Duration::from_millis(50);

/// What was seen so far, to be drawn.
#[derive(Debug)]
pub(super) struct Charts {
    chart: Chart,
    plots: BTreeMap<u32, (String, Plot)>,
    losses: Losses,
    live: Live,
    drawn: Option<Duration>,
    /// Lines that wait for the screen to be left.
    pub(super) held: Vec<u8>,
}

impl Charts {
    pub(super) fn new(chart: Chart, color: bool) -> Self {
        let (Chart::Plot(canvas) | Chart::Live(canvas)) = chart;
        let live = Live::new(canvas.glyphs, color);
        Self { chart, plots: BTreeMap::new(), losses: Losses::default(), live, drawn: None, held: Vec::new() }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.chart, Chart::Live(_))
    }

    /// Takes note of an event.
    pub(super) fn hear(&mut self, stamp: Stamp, event: &Event<'_>) {
        let at = |since: Duration| stamp.elapsed.saturating_sub(since);
        match self.chart {
            Chart::Plot(_) => match event {
                Event::Reply(reply) if !reply.was_refused => {
                    self.plot(reply.number, reply.target).answered(at(reply.rtt), reply.rtt);
                }
                Event::Reply(reply) | Event::Late(Late(reply)) => {
                    // By the clock that it was lost by, not by that of its answer: there its mark is.
                    let lost = self.losses.take((reply.number, reply.sequence));
                    self.plot(reply.number, reply.target).late(lost.unwrap_or_else(|| at(reply.rtt)), reply.rtt);
                }
                Event::Lost(lost) => self.lose(lost.number, lost.sequence, lost.target, at(lost.after)),
                Event::IcmpError(error) if error.refuses => {
                    if let (Some(about), Some(sequence), Some(after)) = (error.probe, error.sequence, error.after) {
                        self.lose(about.number, sequence, error.target, at(after));
                    }
                }
                _ => {}
            },
            Chart::Live(_) => self.live(event),
        }
    }

    fn lose(&mut self, number: u32, sequence: u64, target: &Address, sent: Duration) {
        self.losses.add((number, sequence), sent);
        self.plot(number, target).lost(sent);
    }

    fn plot(&mut self, number: u32, target: &Address) -> &mut Plot {
        let is_known = self.plots.contains_key(&number);
        let place = if is_known || self.plots.len() < MOST_PLOTS { number } else { u32::MAX };
        let name = || if place == u32::MAX { "all others".to_owned() } else { target.to_string() };
        &mut self.plots.entry(place).or_insert_with(|| (name(), Plot::default())).1
    }

    fn live(&mut self, event: &Event<'_>) {
        let live = &mut self.live;
        match event {
            Event::Send(send) => {
                let (Some((number, _)), Some(peer)) = (send.probe, send.peer) else { return };
                if send.sequence == Some(0) {
                    live.name(number, &peer.to_string());
                }
                live.sent(number);
            }
            Event::NotSent(not) => {
                live.name(not.number, &not.target.to_string());
                live.not_sent(not.number);
            }
            Event::Reply(reply) => live.answered(reply.number, reply.rtt, reply.was_refused),
            Event::Late(Late(reply)) => live.late(reply.number, reply.rtt, reply.was_refused),
            Event::Lost(lost) => live.lost(lost.number),
            Event::IcmpError(error) if error.refuses => {
                if let Some(about) = error.probe {
                    live.refused(about.number);
                }
            }
            _ => {}
        }
    }

    /// Returns what draws the screen anew, where there is one and it was not drawn just now.
    pub(super) fn screen(&mut self, stamp: Stamp, canvas: Canvas) -> Option<String> {
        let is_new = self.drawn.is_none_or(|drawn| stamp.elapsed.saturating_sub(drawn) >= FRAME);
        if !self.is_live() || !is_new {
            return None;
        }
        let begins = if self.drawn.is_none() { live::enter() } else { "" };
        self.drawn = Some(stamp.elapsed);
        let frame = self.live.frame(canvas.columns, canvas.rows, "sockeye raw-ping");
        Some(format!("{begins}{}", live::draw(&frame, canvas.columns, canvas.rows)))
    }

    /// Appends what is drawn at the end.
    pub(super) fn end(&mut self, buffer: &mut Vec<u8>) {
        if self.drawn.take().is_some() {
            buffer.extend_from_slice(live::leave().as_bytes());
        }
        buffer.append(&mut self.held);
        let Chart::Plot(canvas) = self.chart else { return };
        let plots = std::mem::take(&mut self.plots);
        let has_names = plots.len() > 1;
        for (name, plot) in plots.values() {
            if has_names {
                say(buffer, format_args!("{name}"));
                buffer.push(b'\n');
            }
            buffer.extend_from_slice(plot.render(canvas.columns, canvas.glyphs).as_bytes());
            buffer.push(b'\n');
        }
    }
}

/// When probes were sent that were lost, by the number of their target and their own: the latest of them.
#[derive(Debug, Default)]
struct Losses {
    sent: HashMap<(u32, u64), Duration>,
    /// In the order in which they were added; some are no longer there.
    order: VecDeque<(u32, u64)>,
}

impl Losses {
    fn add(&mut self, probe: (u32, u64), sent: Duration) {
        if self.order.len() == MOST_LOSSES
            && let Some(oldest) = self.order.pop_front()
        {
            self.sent.remove(&oldest);
        }
        self.order.push_back(probe);
        self.sent.insert(probe, sent);
    }

    /// Returns when a probe was sent, where it is known, and forgets it.
    fn take(&mut self, probe: (u32, u64)) -> Option<Duration> {
        self.sent.remove(&probe)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::event::{self, AboutProbe, Clock, IcmpError, Reply};

    const CANVAS: Canvas = Canvas { columns: 60, rows: 10, glyphs: Glyphs::Ascii };

    /// Returns what is drawn of events, each with its time in milliseconds.
    fn drawn(chart: fn(Canvas) -> Chart, events: &[(u64, Event<'_>)]) -> String {
        let mut charts = Charts::new(chart(CANVAS), false);
        let mut stamp = Stamp { time: UNIX_EPOCH, elapsed: Duration::ZERO };
        for (at, event) in events {
            stamp.elapsed = ms(*at);
            charts.hear(stamp, event);
        }
        let mut buffer = Vec::new();
        match chart(CANVAS) {
            Chart::Plot(_) => charts.end(&mut buffer),
            Chart::Live(_) => buffer.extend(charts.live.frame(CANVAS.columns, CANVAS.rows, "").into_bytes()),
        }
        String::from_utf8(buffer).unwrap()
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn target() -> Address {
        Address::from(SocketAddr::from(([192, 0, 2, 1], 0))).without_port()
    }

    fn reply(target: &Address, sequence: u64, rtt: u64, was_refused: bool) -> Reply<'_> {
        Reply {
            target,
            from: target,
            sequence,
            bytes: 64,
            ttl: None,
            rtt: ms(rtt),
            queued: None,
            reflector: None,
            reflector_sequence: None,
            answer: None,
            clock: Clock::Kernel,
            number: 0,
            hops: None,
            arrival: None,
            reached_twice: false,
            was_refused,
            legs: None,
        }
    }

    fn lost(target: &Address, sequence: u64, after: u64) -> Event<'_> {
        event::Lost { target, sequence, after: ms(after), number: 0 }.into()
    }

    fn refused(target: &Address, sequence: u64, after: u64) -> Event<'_> {
        IcmpError {
            target,
            from: target.ip().unwrap(),
            kind: 3,
            code: 1,
            name: "host-unreachable",
            mtu: None,
            sequence: Some(sequence),
            after: Some(ms(after)),
            mpls: &[],
            interface: None,
            refuses: true,
            probe: Some(AboutProbe { number: 0, hops: None, is_end: true }),
        }
        .into()
    }

    #[test]
    fn a_probe_that_was_answered_after_all_has_no_mark_of_a_loss() {
        let target = target();
        // The answer's time is the kernel's, and was read later: by it the probe had gone 3 ms after.
        let late = drawn(
            Chart::Plot,
            &[
                (10, reply(&target, 0, 10, false).into()),
                (1100, lost(&target, 1, 100)),
                (1203, Late(reply(&target, 1, 200, false)).into()),
                (2010, reply(&target, 2, 10, false).into()),
            ],
        );
        assert!(!late.contains("lost") && late.contains("RTT of 3 probes"), "{late}");
        let refused = drawn(
            Chart::Plot,
            &[
                (10, reply(&target, 0, 10, false).into()),
                (1005, refused(&target, 1, 4)),
                (1020, reply(&target, 1, 20, true).into()),
                (2010, reply(&target, 2, 10, false).into()),
            ],
        );
        assert!(!refused.contains("lost") && refused.contains("RTT of 3 probes"), "{refused}");
    }

    #[test]
    fn a_probe_that_nobody_answers_keeps_its_mark() {
        let target = target();
        let events = [
            (10, reply(&target, 0, 10, false).into()),
            (1100, lost(&target, 1, 100)),
            (1200, lost(&target, 2, 100)),
            (1300, Late(reply(&target, 2, 200, false)).into()),
        ];
        let drawn = drawn(Chart::Plot, &events);
        let marks = drawn.lines().find(|line| line.trim_start().starts_with("lost |")).unwrap();
        assert_eq!(marks.matches('x').count(), 1, "{drawn}");
    }

    #[test]
    fn each_probe_is_counted_once_on_the_screen() {
        let target = target();
        let send = |sequence| {
            let send = event::Send::on(None, 64, &[]);
            Event::from(event::Send { peer: Some(&target), sequence: Some(sequence), probe: Some((0, None)), ..send })
        };
        let frame = drawn(
            Chart::Live,
            &[
                (0, send(0)),
                (1, refused(&target, 0, 1)),
                (2, reply(&target, 0, 2, true).into()),
                (
                    3,
                    event::NotSent { target: &target, sequence: Some(1), errno: "EPERM", datagrams: 1, number: 0 }
                        .into(),
                ),
                (10, send(2)),
                (11, refused(&target, 2, 1)),
                (12, reply(&target, 2, 2, true).into()),
            ],
        );
        let row = frame.lines().find(|line| line.starts_with("192.0.2.1")).unwrap();
        assert!(!row.contains("inf") && row.contains("2.00 ms"), "{frame}");
        // What is late of a refused one takes from the refused, and leaves the lost as they are.
        let frame = drawn(
            Chart::Live,
            &[
                (0, send(0)),
                (0, send(1)),
                (100, lost(&target, 0, 100)),
                (101, refused(&target, 1, 1)),
                (300, Late(reply(&target, 1, 300, true)).into()),
            ],
        );
        let row = frame.lines().find(|line| line.starts_with("192.0.2.1")).unwrap();
        assert!(row.contains(" 100%"), "{frame}");
    }

    #[test]
    fn the_latest_losses_are_known() {
        let mut losses = Losses::default();
        (0..=MOST_LOSSES as u64).for_each(|sequence| losses.add((0, sequence), ms(sequence)));
        assert_eq!((losses.take((0, 0)), losses.take((0, 1))), (None, Some(ms(1))));
        assert_eq!((losses.take((0, 1)), losses.sent.len()), (None, MOST_LOSSES - 1));
    }
}

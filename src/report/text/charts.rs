//! What `raw-ping` draws: round-trip times as a time line and a histogram at the end, or one screen that
//! is drawn again and again while the run goes on.

use std::collections::BTreeMap;
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

/// The least time between two screens.
const FRAME: Duration = Duration::from_millis(50);

/// What was seen so far, to be drawn.
#[derive(Debug)]
pub(super) struct Charts {
    chart: Chart,
    plots: BTreeMap<u32, (String, Plot)>,
    live: Live,
    drawn: Option<Duration>,
    /// Lines that wait for the screen to be left.
    pub(super) held: Vec<u8>,
}

impl Charts {
    pub(super) fn new(chart: Chart, color: bool) -> Self {
        let (Chart::Plot(canvas) | Chart::Live(canvas)) = chart;
        let live = Live::new(canvas.glyphs, color);
        Self { chart, plots: BTreeMap::new(), live, drawn: None, held: Vec::new() }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.chart, Chart::Live(_))
    }

    /// Takes note of an event.
    pub(super) fn hear(&mut self, stamp: Stamp, event: &Event<'_>) {
        let at = |since: Duration| stamp.elapsed.saturating_sub(since);
        match self.chart {
            Chart::Plot(_) => match event {
                Event::Reply(reply) => self.plot(reply.number, reply.target).answered(at(reply.rtt), reply.rtt),
                Event::Late(Late(reply)) => self.plot(reply.number, reply.target).late(at(reply.rtt), reply.rtt),
                Event::Lost(lost) => self.plot(lost.number, lost.target).lost(at(lost.after)),
                Event::IcmpError(error) if error.refuses => {
                    if let (Some((number, _)), Some(after)) = (error.probe, error.after) {
                        self.plot(number, error.target).lost(at(after));
                    }
                }
                _ => {}
            },
            Chart::Live(_) => self.live(event),
        }
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
                live.refused(not.number);
            }
            Event::Reply(reply) => live.answered(reply.number, reply.rtt),
            Event::Late(Late(reply)) => live.late(reply.number, reply.rtt),
            Event::Lost(lost) => live.lost(lost.number),
            Event::IcmpError(error) if error.refuses => {
                if let Some((number, _)) = error.probe {
                    live.refused(number);
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

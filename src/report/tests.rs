//! Which events reach which output.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::event::{Eof, OptionValue, Recv, Send, Setsockopt, Start, Warning};

/// A writer that keeps what it is given.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Kept {
    pub(crate) fn output(&self) -> Output {
        Output::new("test", Box::new(self.clone()), |_| {})
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }
}

/// Returns settings that show steps and no results.
pub(crate) fn settings() -> Settings {
    Settings {
        format: Format::Text,
        detail: Detail::Normal,
        steps: Steps::Shown,
        results: Results::None,
        tally: Tally::Server,
        in_relay: false,
        in_bulk: false,
        answers: false,
        hex_dump: false,
        chart: None,
        deadline: None,
        stdout: Screen::default(),
        stderr: Screen::default(),
    }
}

/// Returns what stdout, stderr and the events file hold after an event of several kinds each.
fn shown(settings: Settings) -> [String; 3] {
    let kept: [Kept; 3] = Default::default();
    let [stdout, stderr, events] = kept.each_ref().map(Kept::output);
    let outputs = Outputs { stdout, stderr: Some(stderr), events: Some(events) };
    let mut report = Report::new(settings, outputs);
    let one = OptionValue::Number(1);
    let told: [Event<'_>; 6] = [
        Start { schema: 1, version: "0", command: "serve" }.into(),
        Setsockopt { option: "SO_REUSEADDR", requested: &one, effective: None }.into(),
        Recv::on(1, 1, b"x").into(),
        Send::on(1, 1, b"x").into(),
        Eof { conn: 1 }.into(),
        Warning::of("x", "y").into(),
    ];
    let stamp = Stamp { time: UNIX_EPOCH, elapsed: Duration::ZERO };
    for event in &told {
        report.hear(stamp, event);
    }
    assert!(!report.is_full());
    assert!(report.finish().is_empty());
    report.hear(stamp, &told[0]);
    kept.each_ref().map(Kept::text)
}

/// Returns the names of the events in JSON lines.
fn names(lines: &str) -> Vec<String> {
    let name = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].as_str().unwrap().to_owned();
    lines.lines().map(name).collect()
}

#[test]
fn json_goes_to_stdout_and_to_the_file_alike_and_stderr_stays_empty() {
    let [stdout, stderr, events] = shown(Settings { format: Format::Json, ..settings() });
    assert_eq!(names(&stdout), ["start", "recv", "send", "eof", "warning"]);
    assert_eq!((stderr.as_str(), events), ("", stdout));
}

#[test]
fn text_and_an_events_file_go_together() {
    let [stdout, stderr, events] = shown(Settings { detail: Detail::Quiet, ..settings() });
    assert_eq!((stdout.as_str(), stderr.lines().count()), ("", 4));
    assert_eq!(names(&events), ["start", "warning"]);
}

#[test]
fn detail_and_relay_choose_the_lines() {
    let json = Settings { format: Format::Json, in_relay: true, ..settings() };
    let of = |detail| names(&shown(Settings { detail, ..json })[0]);
    assert_eq!(of(Detail::Quiet), ["start", "warning"]);
    assert_eq!(of(Detail::Normal), ["start", "recv", "eof", "warning"]);
    assert_eq!(of(Detail::Verbose), ["start", "setsockopt", "recv", "send", "eof", "warning"]);
}

#[test]
fn a_kind_is_wanted_where_any_output_shows_it() {
    let report = |events| {
        let quiet = Settings { steps: Steps::Hidden, ..settings() };
        let outputs = Outputs { stdout: Kept::default().output(), stderr: None, events };
        Report::new(quiet, outputs)
    };
    assert!(!report(None).wants(Kind::Recv));
    assert!(report(Some(Kept::default().output())).wants(Kind::Recv));
    assert!(report(None).wants(Kind::Error));
}

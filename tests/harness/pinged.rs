//! A run of `raw-ping --json` in a simulated network, held against the network's own log.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::tun::{Entry, Network, Truth, truth};
use super::{Finished, Sockeye};

/// The `--timeout` of the runs here, unless they say another: long beside what anything takes.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(700);

/// Returns a run of `raw-ping` with these words in a network, with every capability.
pub(crate) fn ping(network: &Network, words: &str) -> Sockeye {
    Sockeye::new(line(words)).under(network.prefix())
}

/// Returns a run of `raw-ping` with these words in a network, without any capability.
pub(crate) fn ping_unprivileged(network: &Network, words: &str) -> Sockeye {
    Sockeye::new(line(words)).under(network.unprivileged())
}

/// Runs `raw-ping` with these words in a network to its end, which is success; returns what it said and what the
/// network did, which agree.
#[track_caller]
pub(crate) fn agreed(network: Network, words: &str) -> (Pinged, Vec<Entry>) {
    let run = Pinged::of(ping(&network, words).run().exits(0));
    let log = network.finish();
    run.agrees(&log, TIMEOUT);
    (run, log)
}

fn line(words: &str) -> String {
    let timeout = if words.contains("--timeout") { String::new() } else { format!(" --timeout {TIMEOUT:?}") };
    format!("raw-ping {words} --json{timeout}")
}

/// A run that has ended, and its lines as they stand.
pub(crate) struct Pinged {
    pub(crate) run: Finished,
    lines: Vec<Value>,
}

impl Pinged {
    pub(crate) fn of(run: Finished) -> Self {
        let text = String::from_utf8_lossy(run.stdout()).into_owned();
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        Self { run, lines }
    }

    /// Returns all events of a name.
    pub(crate) fn all(&self, name: &str) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["event"] == name).collect()
    }

    /// Returns the summary.
    pub(crate) fn summary(&self) -> &Value {
        self.lines.last().expect("a run has events")
    }

    /// Returns a total of the run.
    #[track_caller]
    pub(crate) fn total(&self, name: &str) -> u64 {
        let total = self.summary()[name].as_u64();
        total.unwrap_or_else(|| panic!("no total {name} in\n{}", self.run.dump()))
    }

    /// Returns the `target-summary` of a target that was named once.
    #[track_caller]
    pub(crate) fn target(&self, address: IpAddr) -> &Value {
        let rows: Vec<_> =
            self.all("target-summary").into_iter().filter(|row| row["target"] == address.to_string()).collect();
        assert_eq!(rows.len(), 1, "{address} has one row in\n{}", self.run.dump());
        rows[0]
    }

    /// Returns the numbers of the probes that events of a name are about, in order of the events.
    pub(crate) fn sequences(&self, name: &str) -> Vec<u64> {
        self.all(name).iter().map(|event| number(event, "sequence")).collect()
    }

    /// Checks every total, of the run and of each target, and the events behind them.
    #[track_caller]
    pub(crate) fn agrees(&self, log: &[Entry], timeout: Duration) {
        let (each, all) = truth(log, timeout);
        let told = |of: &Value| Truth::NAMES.map(|name| of[name].as_u64());
        let named = |values: &[Option<u64>]| {
            Truth::NAMES.iter().zip(values).map(|(name, value)| format!("{name} {value:?}")).collect::<Vec<_>>()
        };
        let same = |what: &str, told: &[Option<u64>], truth: Truth| {
            let truth = truth.values().map(Some);
            let (told, truth) = (named(told), named(&truth[..told.len()]));
            assert_eq!(told, truth, "{what}: sockeye, then the network; the run was\n{}", self.run.dump());
        };
        same("in total", &told(self.summary()), all);
        let rows: BTreeMap<IpAddr, &Value> =
            self.all("target-summary").iter().map(|row| (address(row, "target"), *row)).collect();
        for (address, truth) in &each {
            let row = rows.get(address).unwrap_or_else(|| panic!("no row of {address} in\n{}", self.run.dump()));
            // Whose a foreign packet is nobody can say.
            let (mut told, mut truth) = (told(row), *truth);
            (told[7], truth.foreign) = (Some(0), 0);
            same(&address.to_string(), &told, truth);
        }
        let count = |name: &str| self.all(name).len() as u64;
        let events =
            [count("reply"), count("late"), count("lost"), count("duplicate"), count("corrupted"), count("foreign")];
        // What was late had been lost before.
        let truth = [all.received, all.late, all.lost + all.late, all.duplicates, all.corrupted, all.foreign];
        assert_eq!(events, truth, "events: reply, late, lost, duplicate, corrupted, foreign in\n{}", self.run.dump());
        self.is_sound();
    }

    /// Checks what holds of every run: each probe ends in one of four, and the ratio is theirs.
    #[track_caller]
    pub(crate) fn is_sound(&self) {
        for of in self.all("target-summary").into_iter().chain([self.summary()]) {
            let [sent, received, late, lost, refused] =
                ["sent", "received", "late", "lost", "refused"].map(|name| number(of, name));
            assert_eq!(sent, received + late + lost + refused, "{of}");
            if sent > 0 {
                let ratio = of["loss_ratio"].as_f64().unwrap_or_else(|| panic!("no loss_ratio in {of}"));
                assert!((ratio - (lost + late) as f64 / sent as f64).abs() < 1e-6, "{of}");
            }
            if received > 0 {
                assert_eq!(number(&of["rtt"], "count"), received, "{of}");
            }
        }
        for name in ["reply", "late", "lost", "icmp-error"] {
            let mut seen: Vec<(&Value, &Value)> =
                self.all(name).iter().map(|event| (&event["target"], &event["sequence"])).collect();
            let count = seen.len();
            seen.sort_by_key(|(target, sequence)| (target.to_string(), sequence.as_u64()));
            seen.dedup();
            let rows = self.all("target-summary").len();
            let named: std::collections::BTreeSet<_> =
                self.all("target-summary").iter().map(|row| row["target"].to_string()).collect();
            // A host that was named twice has two rows of one name.
            assert!(seen.len() == count || named.len() < rows, "{name} twice of one probe in\n{}", self.run.dump());
        }
    }
}

/// Returns a number of an event.
#[track_caller]
pub(crate) fn number(event: &Value, name: &str) -> u64 {
    event[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {event}"))
}

/// Returns an address of an event: with a port only where the probes have one.
#[track_caller]
pub(crate) fn address(event: &Value, name: &str) -> IpAddr {
    let text = event[name].as_str().unwrap_or_else(|| panic!("no {name} in {event}"));
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    text.parse().ok().or_else(with_port).unwrap_or_else(|| panic!("{text} is no address, in {event}"))
}

pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

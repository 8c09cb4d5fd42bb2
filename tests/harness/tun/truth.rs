//! What the log says a run must have counted: a model of the contract that knows no sockeye.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{Entry, What};

/// The totals of a target or a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) late: u64,
    pub(crate) lost: u64,
    pub(crate) refused: u64,
    pub(crate) duplicates: u64,
    pub(crate) corrupted: u64,
    pub(crate) foreign: u64,
    pub(crate) reordered: u64,
}

impl Truth {
    /// The names of the totals, in the order of [`Self::values`].
    pub(crate) const NAMES: [&str; 9] =
        ["sent", "received", "late", "lost", "refused", "duplicates", "corrupted", "foreign", "reordered"];

    pub(crate) fn values(self) -> [u64; 9] {
        let Self { sent, received, late, lost, refused, duplicates, corrupted, foreign, reordered } = self;
        [sent, received, late, lost, refused, duplicates, corrupted, foreign, reordered]
    }

    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.late += other.late;
        self.lost += other.lost;
        self.refused += other.refused;
        self.duplicates += other.duplicates;
        self.corrupted += other.corrupted;
        self.foreign += other.foreign;
        self.reordered += other.reordered;
    }
}

/// Where a probe ends: exactly one of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Received,
    Late,
    Lost,
    Refused,
}

/// Returns where a probe ends.
pub(crate) fn fate(entry: &Entry, timeout: Duration) -> Fate {
    let family = entry.seen.family();
    let is_error = |what: &What| matches!(what, What::Refuse(refusal) if refusal.is_certain(family));
    let is_answer = |what: &What| matches!(what, What::Reply | What::Reset);
    match entry.answers.iter().find(|answer| is_answer(&answer.what)) {
        Some(answer) if answer.hold < timeout => Fate::Received,
        Some(_) => Fate::Late,
        None if entry.answers.iter().any(|answer| is_error(&answer.what)) => Fate::Refused,
        None => Fate::Lost,
    }
}

/// Returns what was true of each target, and in total, under this `--timeout`.
pub(crate) fn truth(log: &[Entry], timeout: Duration) -> (BTreeMap<IpAddr, Truth>, Truth) {
    let mut each: BTreeMap<IpAddr, Truth> = BTreeMap::new();
    // The first answers to each target, with their place among all that were written.
    let mut arrivals: BTreeMap<IpAddr, Vec<(usize, usize)>> = BTreeMap::new();
    for entry in log {
        let to = entry.seen.packet.to;
        let of = each.entry(to).or_default();
        of.sent += 1;
        match fate(entry, timeout) {
            Fate::Received => of.received += 1,
            Fate::Late => of.late += 1,
            Fate::Lost => of.lost += 1,
            Fate::Refused => of.refused += 1,
        }
        let answers = entry.answers.iter().filter(|answer| matches!(answer.what, What::Reply | What::Reset));
        let orders: Vec<usize> = answers.map(|answer| answer.order).collect();
        of.duplicates += orders.len().saturating_sub(1) as u64;
        arrivals.entry(to).or_default().extend(orders.first().map(|order| (*order, entry.seen.nth)));
        for answer in &entry.answers {
            match answer.what {
                What::StaleChecksum | What::Altered | What::Cut(_) => of.corrupted += 1,
                What::From(_) | What::OtherId | What::OtherNonce => of.foreign += 1,
                What::Reply | What::Reset | What::Refuse(_) | What::Junk(..) => {}
            }
        }
    }
    for (to, mut arrivals) in arrivals {
        arrivals.sort_unstable();
        let mut next = 0;
        for (_, number) in arrivals {
            // RFC 4737, 3.3: reordered is what comes after one that was sent later; that it is late
            // is another matter.
            if number < next {
                each.entry(to).or_default().reordered += 1;
            } else {
                next = number + 1;
            }
        }
    }
    let mut all = Truth::default();
    each.values().for_each(|truth| all.add(*truth));
    (each, all)
}

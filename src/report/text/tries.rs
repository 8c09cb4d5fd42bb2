//! What the tries of a probe have come to so far: what failed may open with the next, so that only
//! the end of the run tells of the last try.

use std::collections::{HashMap, HashSet};

use crate::error::Step;
use crate::event::Event;

/// What has failed, and has not come out well since.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    /// The line of each address or target, and its place in the order of the last tries.
    lines: HashMap<String, (usize, Vec<u8>)>,
    told: usize,
    /// Names that did not resolve.
    names: HashSet<String>,
    /// What else has failed; that is not tried again.
    others: u64,
}

impl Tries {
    /// Notes the line of an address: kept back where it failed, and forgotten where it is open.
    pub(crate) fn note(&mut self, peer: String, failed: Option<Vec<u8>>) {
        self.told += 1;
        match failed {
            Some(line) => drop(self.lines.insert(peer, (self.told, line))),
            None => drop(self.lines.remove(&peer)),
        }
    }

    /// Notes what has no line of its own.
    pub(crate) fn hear(&mut self, event: &Event<'_>) {
        match event {
            Event::Resolve(resolve) => {
                self.names.remove(resolve.name);
            }
            Event::Error(error) => match (error.step, error.target) {
                (Step::Resolve, Some(name)) => drop(self.names.insert(name.to_owned())),
                _ => self.others += 1,
            },
            _ => {}
        }
    }

    /// Returns how many addresses and names have failed.
    pub(crate) fn failures(&self) -> u64 {
        (self.lines.len() + self.names.len()) as u64 + self.others
    }

    /// Appends the lines that were kept back.
    pub(crate) fn append(&self, buffer: &mut Vec<u8>) {
        let mut lines: Vec<&(usize, Vec<u8>)> = self.lines.values().collect();
        lines.sort_unstable_by_key(|(place, _)| *place);
        lines.into_iter().for_each(|(_, line)| buffer.extend_from_slice(line));
    }
}

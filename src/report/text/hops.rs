//! The hops of a way: a row each, those that say nothing together, and where it ends.

use super::probes::append_hop;
use super::say;
use crate::event::Hop;

/// Rows that wait for what follows them.
#[derive(Debug, Default)]
pub(super) struct Hops {
    /// The first and the last of hops in a row that said nothing.
    silent: Option<(u8, u8)>,
    /// The last that has answered, and who that was.
    last: Option<(u8, String)>,
    /// Whether that was the target.
    is_reached: bool,
    is_open: bool,
}

impl Hops {
    /// Appends a hop, or keeps it until another has answered.
    pub(super) fn append(&mut self, buffer: &mut Vec<u8>, hop: &Hop<'_>) {
        if hop.ttl == 1 {
            self.end(buffer);
            self.is_open = true;
            say(buffer, format_args!("the way to {}:", hop.target));
            buffer.push(b'\n');
        }
        if hop.from.is_empty() {
            let first = self.silent.map_or(hop.ttl, |(first, _)| first);
            self.silent = Some((first, hop.ttl));
            return;
        }
        self.flush(buffer);
        append_hop(buffer, hop);
        buffer.push(b'\n');
        let from = hop.from.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        // The target may be shown with its port, or its interface.
        self.is_reached = hop.from.iter().any(|from| is_of(hop.target, &from.to_string()));
        self.last = Some((hop.ttl, from));
    }

    fn flush(&mut self, buffer: &mut Vec<u8>) {
        if let Some((first, last)) = self.silent.take() {
            let hops = if first == last { first.to_string() } else { format!("{first}-{last}") };
            say(buffer, format_args!("{hops:>5}  silent"));
            buffer.push(b'\n');
        }
    }

    /// Appends what waits, and how far the way is known.
    pub(super) fn end(&mut self, buffer: &mut Vec<u8>) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        self.flush(buffer);
        match (self.last.take(), std::mem::take(&mut self.is_reached)) {
            (_, true) => return,
            (Some((ttl, from)), false) => {
                say(buffer, format_args!("the target did not answer; the last that did was {from}, hop {ttl}"));
            }
            (None, false) => say(buffer, format_args!("nobody on the way answered")),
        }
        buffer.push(b'\n');
    }
}

/// Returns whether a target, as it is shown, is an address.
fn is_of(target: &str, ip: &str) -> bool {
    let bare = target.trim_start_matches('[');
    bare.strip_prefix(ip).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', ']', '%']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(hops: &[(u8, &[&str])]) -> String {
        let (mut buffer, mut rows) = (Vec::new(), Hops::default());
        for (ttl, from) in hops {
            let from: Vec<_> = from.iter().map(|from| from.parse().unwrap()).collect();
            let mut rtt = crate::stats::Distribution::default();
            rtt.record(std::time::Duration::from_millis(1));
            let rtt = if from.is_empty() { None } else { rtt.figures() };
            let (target, rate_limited) = ("10.0.0.9", false);
            let hop = Hop { target, ttl: *ttl, from: &from, errors: &[], sent: 1, received: 1, rate_limited, rtt };
            rows.append(&mut buffer, &hop);
        }
        rows.end(&mut buffer);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn what_says_nothing_is_one_row_and_the_end_is_named() {
        let reached = told(&[(1, &["10.0.0.1"]), (2, &[]), (3, &["10.0.0.9"])]);
        assert!(reached.contains("    2  silent\n") && !reached.contains("did not answer"), "{reached}");
        let broken = told(&[(1, &["10.0.0.1"]), (2, &[]), (3, &[]), (4, &[])]);
        assert!(
            broken.contains("  2-4  silent\nthe target did not answer; the last that did was 10.0.0.1, hop 1\n"),
            "{broken}"
        );
        assert!(told(&[(1, &[]), (2, &[])]).ends_with("  1-2  silent\nnobody on the way answered\n"));
    }

    #[test]
    fn a_target_may_have_a_port_or_an_interface() {
        assert!(is_of("10.0.0.1:80", "10.0.0.1") && is_of("[fd00::1]:80", "fd00::1") && is_of("fe80::1%3", "fe80::1"));
        assert!(!is_of("10.0.0.10", "10.0.0.1"));
    }
}

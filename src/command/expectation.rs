//! `--expect` in what a peer sends: a match may lie across two recvs, and the stream be endless.
//! Pure.

use regex::bytes::Regex;

/// A regular expression that is looked for in a stream.
///
/// `^` matches at the begin of the stream only; `$` at the end of what has come so far.
#[derive(Debug)]
pub(super) struct Expectation<'a> {
    regex: Option<&'a Regex>,
    window: Vec<u8>,
    /// Whether the window no longer begins where the stream does.
    is_cut: bool,
}

impl<'a> Expectation<'a> {
    /// How far back a match may begin, in bytes.
    const WINDOW: usize = 64 << 10;

    /// Begins to look; without an expression nothing is expected.
    pub(super) fn new(regex: Option<&'a Regex>) -> Self {
        Self { regex, window: Vec::new(), is_cut: false }
    }

    /// Takes what came next, and returns whether it is met, now or before.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        let Some(regex) = self.regex else { return true };
        self.window.extend_from_slice(bytes);
        // One byte of what was cut off stays, so that `^` and `\b` see that something was there.
        if regex.is_match_at(&self.window, usize::from(self.is_cut)) {
            self.regex = None;
            self.window = Vec::new();
        } else if self.window.len() > 2 * Self::WINDOW {
            self.window.drain(..self.window.len() - Self::WINDOW - 1);
            self.is_cut = true;
        }
        self.regex.is_none()
    }

    /// Returns whether it was not met.
    pub(super) fn is_unmet(&self) -> bool {
        self.regex.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_may_lie_across_two_recvs() {
        let regex = Regex::new("hello").unwrap();
        let mut expectation = Expectation::new(Some(&regex));
        assert!(!expectation.feed(b"say hel"));
        assert!(expectation.is_unmet());
        assert!(expectation.feed(b"lo"));
        assert!(expectation.feed(b"more"), "once met it stays so");
        assert!(!expectation.is_unmet());
        assert!(!Expectation::new(None).is_unmet());
    }

    #[test]
    fn the_begin_of_the_window_is_not_the_begin_of_the_stream() {
        let regex = Regex::new("^x").unwrap();
        let mut expectation = Expectation::new(Some(&regex));
        expectation.feed(b"y");
        for _ in 0..100 {
            assert!(!expectation.feed(&[b'x'; 4096]));
        }
        assert!(expectation.window.len() <= 3 * Expectation::WINDOW, "memory stays bounded");
    }
}

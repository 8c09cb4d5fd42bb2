//! `--expect` in what a peer sends: a match may lie across two recvs, and the stream be endless.
//! Pure.

use regex::bytes::Regex;

/// A regular expression that is looked for in a stream.
///
/// `^` matches at the begin of the stream only; `$` at the end of what has come so far. Each recv
/// is searched with the [`TAIL`](Self::TAIL) before it; all that is kept is searched again when it
/// has doubled, and at the end. So the work is linear in what comes, whatever one recv gives, and
/// a match that reaches back further than the tail is found too, if later.
#[derive(Debug)]
pub(super) struct Expectation<'a> {
    regex: Option<&'a Regex>,
    window: Vec<u8>,
    /// Whether the window no longer begins where the stream does.
    is_cut: bool,
    /// How much of the window was searched whole.
    searched: usize,
}

impl<'a> Expectation<'a> {
    /// How far back a match is found at once, in bytes.
    const TAIL: usize = 4 << 10;
    /// How far back a match may begin, in bytes.
    const WINDOW: usize = 1 << 20;

    /// Begins to look; without an expression nothing is expected.
    pub(super) fn new(regex: Option<&'a Regex>) -> Self {
        Self { regex, window: Vec::new(), is_cut: false, searched: 0 }
    }

    /// Takes what came next, and returns whether it is met, now or before.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        if self.regex.is_none() {
            return true;
        }
        let tail = self.window.len().saturating_sub(Self::TAIL);
        self.window.extend_from_slice(bytes);
        if self.window.len() >= 2 * self.searched.max(Self::TAIL) {
            self.search(0);
            self.searched = self.window.len();
        } else {
            self.search(tail);
        }
        if self.window.len() > 2 * Self::WINDOW {
            // One byte of what is cut off stays, so that `^` and `\b` see that something was there.
            self.window.drain(..self.window.len() - Self::WINDOW - 1);
            self.is_cut = true;
            self.searched = self.window.len();
        }
        self.regex.is_none()
    }

    /// Returns whether it was met, once nothing more comes.
    pub(super) fn is_met(&mut self) -> bool {
        self.search(0);
        self.regex.is_none()
    }

    /// Returns whether there is anything that is expected and has not been found.
    pub(super) fn is_open(&self) -> bool {
        self.regex.is_some()
    }

    fn search(&mut self, from: usize) {
        let Some(regex) = self.regex else { return };
        let from = from.max(usize::from(self.is_cut));
        if from <= self.window.len() && regex.is_match_at(&self.window, from) {
            self.regex = None;
            self.window = Vec::new();
        }
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
        assert!(expectation.is_open());
        assert!(expectation.feed(b"lo"));
        assert!(expectation.feed(b"more"), "once met it stays so");
        assert!(!expectation.is_open() && expectation.is_met());
        assert!(!Expectation::new(None).is_open());
    }

    #[test]
    fn the_begin_of_the_window_is_not_the_begin_of_the_stream() {
        let regex = Regex::new("^x").unwrap();
        let mut expectation = Expectation::new(Some(&regex));
        expectation.feed(b"y");
        for _ in 0..1000 {
            assert!(!expectation.feed(&[b'x'; 4096]));
        }
        assert!(expectation.window.len() <= 3 * Expectation::WINDOW, "memory stays bounded");
        assert!(!expectation.is_met());
    }

    #[test]
    fn a_match_that_reaches_far_back_is_found_at_the_end() {
        let regex = Regex::new("(?s)<a>.*</a>").unwrap();
        let mut expectation = Expectation::new(Some(&regex));
        expectation.feed(b"<a>");
        for _ in 0..2500 {
            expectation.feed(b"0123456789");
        }
        expectation.feed(b"</a>");
        assert!(expectation.is_met());
    }
}

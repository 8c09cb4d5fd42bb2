//! What the peer sent, on its way to stdout: to a pipe as it is, to a terminal made harmless.

use super::escape::{append_escaped, escape};

/// The bytes of peers on their way to stdout.
#[derive(Debug, Default)]
pub(crate) struct PeerBytes {
    is_terminal: bool,
    /// The beginning of a character or of a CRLF, whose rest has not come yet.
    pending: Vec<u8>,
    /// The last byte that went to the terminal did not end a line.
    in_line: bool,
}

impl PeerBytes {
    /// Makes the way to a stdout that is a terminal or not.
    pub(crate) fn new(is_terminal: bool) -> Self {
        Self { is_terminal, ..Self::default() }
    }

    /// Appends what one recv gave.
    pub(crate) fn append(&mut self, buffer: &mut Vec<u8>, data: &[u8]) {
        if !self.is_terminal {
            buffer.extend_from_slice(data);
        } else if self.pending.is_empty() {
            self.append_shown(buffer, data);
        } else {
            let mut whole = std::mem::take(&mut self.pending);
            whole.extend_from_slice(data);
            self.append_shown(buffer, &whole);
        }
    }

    /// Appends what a terminal may see of `data`, and keeps back what is not whole at its end.
    fn append_shown(&mut self, buffer: &mut Vec<u8>, data: &[u8]) {
        let (whole, rest) = data.split_at(data.len() - unfinished(data));
        escape(buffer, whole, |character, after| match character {
            '\n' => Some("\n"),
            '\t' => Some("\t"),
            '\r' if after.starts_with('\n') => Some("\r"),
            _ => None,
        });
        if let Some(last) = whole.last() {
            self.in_line = *last != b'\n';
        }
        self.pending.extend_from_slice(rest);
    }

    /// Appends, escaped, what was kept back: nothing more comes after it.
    pub(crate) fn flush(&mut self, buffer: &mut Vec<u8>) {
        self.in_line |= !self.pending.is_empty();
        append_escaped(buffer, &self.pending);
        self.pending.clear();
    }

    /// Ends the line on the terminal, if one was begun.
    pub(crate) fn end_line(&mut self, buffer: &mut Vec<u8>) {
        if std::mem::take(&mut self.in_line) {
            buffer.push(b'\n');
        }
    }

    /// Returns whether something is kept back.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Returns whether a line was begun on the terminal and not ended.
    pub(crate) fn is_in_line(&self) -> bool {
        self.in_line || self.has_pending()
    }
}

/// Returns how many bytes at the end may be the beginning of a CRLF or of a character.
fn unfinished(data: &[u8]) -> usize {
    if data.last() == Some(&b'\r') {
        return 1;
    }
    // A character of UTF-8 has at most four bytes (RFC 3629), so three may wait for the last.
    let is_begun = |tail: &[u8]| {
        std::str::from_utf8(tail).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=data.len().min(3)).find(|length| is_begun(&data[data.len() - length..])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(pieces: &[&[u8]]) -> String {
        let mut bytes = PeerBytes::new(true);
        let mut buffer = Vec::new();
        for piece in pieces {
            bytes.append(&mut buffer, piece);
        }
        bytes.flush(&mut buffer);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn a_pipe_gets_exactly_the_bytes() {
        let mut buffer = Vec::new();
        let mut bytes = PeerBytes::new(false);
        bytes.append(&mut buffer, b"\x1b[2J\xff\r");
        bytes.end_line(&mut buffer);
        assert_eq!(buffer, b"\x1b[2J\xff\r");
    }

    #[test]
    fn a_terminal_gets_lines_and_tabs_but_no_control_byte() {
        assert_eq!(shown(&[b"a\tb\r\nc\n"]), "a\tb\r\nc\n");
        assert_eq!(shown(&[b"\x1b]0;x\x07 \x7f \x08"]), "\\x1b]0;x\\x07 \\x7f \\x08");
        assert_eq!(shown(&["\u{9b}2J".as_bytes()]), "\\xc2\\x9b2J");
        assert_eq!(shown(&[b"\x9b2J \xff"]), "\\x9b2J \\xff");
        assert_eq!(shown(&[b"safe\rfake\r\xff"]), "safe\\x0dfake\\x0d\\xff");
        assert_eq!(shown(&[b"C:\\x1b"]), "C:\\x1b");
    }

    #[test]
    fn what_two_recvs_split_survives() {
        assert_eq!(shown(&[b"a\r", b"\nb"]), "a\r\nb");
        assert_eq!(shown(&[b"a\r", b"b"]), "a\\x0db");
        assert_eq!(shown(&[b"\xf0\x9f", b"\x98", b"\x80"]), "😀");
        assert_eq!(shown(&[b"\xc3", b"x"]), "\\xc3x");
        assert_eq!(shown(&[b"\xe2\x82"]), "\\xe2\\x82");
        assert_eq!(shown(&[b"\xc2", b"\x9b"]), "\\xc2\\x9b");
    }

    #[test]
    fn a_line_is_ended_only_if_it_was_begun() {
        let ended = |data: &[u8]| {
            let mut bytes = PeerBytes::new(true);
            let mut buffer = Vec::new();
            bytes.append(&mut buffer, data);
            bytes.flush(&mut buffer);
            bytes.end_line(&mut buffer);
            bytes.end_line(&mut buffer);
            String::from_utf8(buffer).unwrap()
        };
        assert_eq!(ended(b"welcome"), "welcome\n");
        assert_eq!(ended(b"welcome\n"), "welcome\n");
        assert_eq!(ended(b"welcome\r"), "welcome\\x0d\n");
        assert_eq!(ended(b""), "");
    }

    proptest! {
        #[test]
        fn where_recvs_split_never_matters(data: Vec<u8>, cuts: Vec<prop::sample::Index>) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(data.len() + 1)).collect();
            cuts.extend([0, data.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &data[pair[0]..pair[1]]).collect();
            let split = shown(&pieces);
            prop_assert_eq!(&split, &shown(&[&data]));
            prop_assert!(split.replace("\r\n", "\n").chars().all(|c| matches!(c, '\n' | '\t') || !c.is_control()));
        }
    }
}

//! Bytes that came from outside, made fit for a terminal: what it would obey is shown as `\x1b`.
//!
//! Escaped are the control characters of ASCII, DEL, C1 (U+0080 to U+009F, which some terminals
//! obey as they obey ESC), what turns the direction of text or is not seen, and whatever is not UTF-8,
//! byte by byte.

use std::fmt;

const HEX: [u8; 16] = *b"0123456789abcdef";

/// A line to which text from anywhere may be written: no control character gets in.
pub(crate) struct Line<'a>(pub(crate) &'a mut Vec<u8>);

impl fmt::Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape_text(self.0, text, |_, _| None);
        Ok(())
    }
}

/// The longest preview of data in a line, in bytes.
const PREVIEW: usize = 64;

/// Appends the beginning of `data` in quotes, on one line: `"hello\n"`, `"aaaa"…`.
pub(crate) fn append_preview(buffer: &mut Vec<u8>, data: &[u8]) {
    let short = &data[..preview_length(data)];
    buffer.push(b'"');
    escape(buffer, short, |character, _| match character {
        '\n' => Some("\\n"),
        '\r' => Some("\\r"),
        '\t' => Some("\\t"),
        '\0' => Some("\\0"),
        '"' => Some("\\\""),
        '\\' => Some("\\\\"),
        _ => None,
    });
    buffer.push(b'"');
    if short.len() < data.len() {
        buffer.extend_from_slice("…".as_bytes());
    }
}

/// Returns how much of `data` a preview shows: no character is cut in two.
fn preview_length(data: &[u8]) -> usize {
    if data.len() <= PREVIEW {
        return data.len();
    }
    // A character of UTF-8 has at most three bytes that continue it (RFC 3629).
    let continues = |at: &usize| data[*at] & 0xC0 == 0x80;
    (PREVIEW - 3..=PREVIEW).rev().find(|at| !continues(at)).unwrap_or(PREVIEW)
}

/// Appends `bytes`; `special` is given a character and the text after it, and may say how that
/// character is written.
pub(crate) fn escape(buffer: &mut Vec<u8>, bytes: &[u8], special: impl Fn(char, &str) -> Option<&'static str>) {
    for chunk in bytes.utf8_chunks() {
        escape_text(buffer, chunk.valid(), &special);
        append_escaped(buffer, chunk.invalid());
    }
}

/// Appends `text`, with `special` as in [`escape`].
fn escape_text(buffer: &mut Vec<u8>, text: &str, special: impl Fn(char, &str) -> Option<&'static str>) {
    let mut plain = 0;
    for (at, character) in text.char_indices() {
        let after = at + character.len_utf8();
        if let Some(replacement) = special(character, &text[after..]) {
            buffer.extend_from_slice(&text.as_bytes()[plain..at]);
            buffer.extend_from_slice(replacement.as_bytes());
            plain = after;
        } else if character.is_control() || deceives(character) {
            buffer.extend_from_slice(&text.as_bytes()[plain..at]);
            append_escaped(buffer, &text.as_bytes()[at..after]);
            plain = after;
        }
    }
    buffer.extend_from_slice(&text.as_bytes()[plain..]);
}

/// Returns whether a character makes other text look like what it is not: the controls of its direction (UAX 9),
/// further ends of lines, and what has no width of its own. Those that join letters (U+200C, U+200D) are part of words.
fn deceives(character: char) -> bool {
    matches!(
        character,
        '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Appends each byte as `\x1b`.
pub(crate) fn append_escaped(buffer: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        buffer.extend_from_slice(b"\\x");
        append_hex(buffer, *byte);
    }
}

/// Appends two digits.
pub(crate) fn append_hex(buffer: &mut Vec<u8>, byte: u8) {
    buffer.push(HEX[usize::from(byte >> 4)]);
    buffer.push(HEX[usize::from(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn preview(data: &[u8]) -> String {
        let mut buffer = Vec::new();
        append_preview(&mut buffer, data);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn no_control_character_gets_into_a_line() {
        let mut buffer = Vec::new();
        let name = "\r é\x7f";
        write!(Line(&mut buffer), "a\x1b[2J\u{9b}K\n{name}").unwrap();
        assert_eq!(String::from_utf8(buffer).unwrap(), "a\\x1b[2J\\xc2\\x9bK\\x0a\\x0d é\\x7f");
    }

    #[test]
    fn what_turns_or_hides_text_is_shown() {
        let mut buffer = Vec::new();
        write!(Line(&mut buffer), "a\u{202e}gnp.exe\u{2066}\u{200f}\u{feff} \u{645}\u{200c}\u{647}").unwrap();
        let shown = r"a\xe2\x80\xaegnp.exe\xe2\x81\xa6\xe2\x80\x8f\xef\xbb\xbf ";
        assert_eq!(String::from_utf8(buffer).unwrap(), format!("{shown}\u{645}\u{200c}\u{647}"));
    }

    #[test]
    fn previews_are_quoted_and_unambiguous() {
        assert_eq!(preview(b""), r#""""#);
        assert_eq!(preview("grüße\r\n".as_bytes()), r#""grüße\r\n""#);
        assert_eq!(preview(b"\x1b[31m\"\\x1b\0\t\xff\xc3"), r#""\x1b[31m\"\\x1b\0\t\xff\xc3""#);
    }

    #[test]
    fn previews_are_cut_between_characters() {
        assert_eq!(preview(&[b'a'; 64]), format!("\"{}\"", "a".repeat(64)));
        assert_eq!(preview(&[b'a'; 65]), format!("\"{}\"…", "a".repeat(64)));
        assert_eq!(preview("ü".repeat(33).as_bytes()), format!("\"{}\"…", "ü".repeat(32)));
        let shifted = format!("a{}", "😀".repeat(20));
        assert_eq!(preview(shifted.as_bytes()), format!("\"a{}\"…", "😀".repeat(15)));
        assert_eq!(preview(&[0x80; 65]), format!("\"{}\"…", "\\x80".repeat(64)));
    }
}

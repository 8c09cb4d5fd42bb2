//! What a server answers: bytes in, a reply out. Pure.

use crate::args::Answer;
use crate::args::answer::Pattern;

/// Returns what a rule replies to what one recv gave, in two parts that are sent as one; `None`
/// where it stays silent.
#[must_use]
pub fn reply<'a>(rule: &'a Answer, received: &'a [u8]) -> Option<[&'a [u8]; 2]> {
    match rule {
        Answer::Echo { prefix } => Some([prefix, received]),
        Answer::Rules { rules, otherwise } => {
            let line = without_line_end(received);
            let matching = rules.iter().find(|(pattern, _)| match pattern {
                // A text may end with a line end itself.
                Pattern::Exact(text) => text == received || text == line,
                Pattern::Regex(regex) => regex.is_match(received),
            });
            matching.map(|(_, reply)| reply).or(otherwise.as_ref()).map(|reply| [&[][..], reply])
        }
        // What these send is no reply to the peer that has sent.
        Answer::Discard | Answer::Source { .. } | Answer::Broker => None,
    }
}

/// Strips one trailing line end, CR LF or LF.
fn without_line_end(received: &[u8]) -> &[u8] {
    match received.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => received,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::bytes::Regex;

    fn replied(rule: &Answer, received: &[u8]) -> Option<Vec<u8>> {
        reply(rule, received).map(|parts| parts.concat())
    }

    #[test]
    fn an_echo_puts_its_prefix_before_each_answer() {
        let echo = Answer::Echo { prefix: b"Echo=>".to_vec() };
        assert_eq!(replied(&echo, b"Hello network world").unwrap(), b"Echo=>Hello network world");
    }

    #[test]
    fn exact_rules_ignore_one_line_end_and_go_before_patterns() {
        let rule = Answer::Rules {
            rules: vec![
                (Pattern::Exact(b"1".to_vec()), b"welcome to server!".to_vec()),
                (Pattern::Regex(Regex::new("^[0-9]").unwrap()), b"a number".to_vec()),
            ],
            otherwise: Some(b"please go out!".to_vec()),
        };
        for received in [&b"1"[..], b"1\n", b"1\r\n"] {
            assert_eq!(replied(&rule, received).unwrap(), b"welcome to server!");
        }
        let line =
            Answer::Rules { rules: vec![(Pattern::Exact(b"1\n".to_vec()), b"a line".to_vec())], otherwise: None };
        for received in [&b"1\n"[..], b"1\n\n", b"1\n\r\n"] {
            assert_eq!(replied(&line, received).unwrap(), b"a line");
        }
        assert_eq!(replied(&line, b"1"), None);
        assert_eq!(replied(&rule, b"1\n\n").unwrap(), b"a number");
        assert_eq!(replied(&rule, b"1\r").unwrap(), b"a number");
        assert_eq!(replied(&rule, b"x").unwrap(), b"please go out!");
    }

    #[test]
    fn without_otherwise_nothing_is_said_to_what_matches_nothing() {
        let rule = Answer::Rules { rules: vec![(Pattern::Exact(Vec::new()), b"empty".to_vec())], otherwise: None };
        assert_eq!(replied(&rule, b"x"), None);
        assert_eq!(replied(&rule, b"\n").unwrap(), b"empty");
        assert_eq!(replied(&Answer::Discard, b"x"), None);
    }
}

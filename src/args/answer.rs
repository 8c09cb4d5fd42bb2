//! What a server answers: the words, checked into one [`Answer`].

use std::ffi::OsString;

use clap::Args;
use regex::bytes::{Regex, RegexBuilder};

use super::message::Encoding;

/// A server's rule.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Send back what came.
    Echo {
        /// What goes before each answer.
        prefix: Vec<u8>,
    },
    /// Send the reply of the first rule that matches what one recv gave.
    Rules {
        /// The rules: all `--when` in their order, then all `--when-regex`.
        rules: Vec<(Pattern, Vec<u8>)>,
        /// The reply where no rule matches; `None` stays silent.
        otherwise: Option<Vec<u8>>,
    },
    /// Read and drop.
    Discard,
    /// Send a pattern, whatever comes.
    Source {
        /// How many bytes of it; `None` is without end.
        size: Option<u64>,
    },
    /// Send what comes to all other peers.
    Broker,
}

impl Default for Answer {
    fn default() -> Self {
        Self::Echo { prefix: Vec::new() }
    }
}

/// What a rule matches.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// Exactly these bytes, or these and one trailing line end.
    Exact(Vec<u8>),
    /// A regular expression, anywhere in what came.
    Regex(Regex),
}

/// The words that make a rule.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Answers")]
pub(super) struct AnswerWords {
    /// Send back what came (the default of serve and unix-serve)
    #[arg(long, conflicts_with_all = ["when", "when_regex", "otherwise", "discard"])]
    echo: bool,
    /// Put this before each answer
    #[arg(long, value_name = "TEXT", conflicts_with = "discard", allow_hyphen_values = true)]
    prefix: Option<OsString>,
    /// Answer REPLY when one recv gave exactly TEXT, one trailing line end apart (repeatable)
    #[arg(long, num_args = 2, value_names = ["TEXT", "REPLY"], conflicts_with = "discard", allow_hyphen_values = true)]
    when: Vec<OsString>,
    /// Answer REPLY when REGEX matches what one recv gave (repeatable; tried after every --when)
    #[arg(long, num_args = 2, value_names = ["REGEX", "REPLY"], conflicts_with = "discard", allow_hyphen_values = true)]
    when_regex: Vec<OsString>,
    /// Answer REPLY when nothing else matched
    #[arg(long, value_name = "REPLY", conflicts_with = "discard", allow_hyphen_values = true)]
    otherwise: Option<OsString>,
    /// Read and drop what comes
    #[arg(long)]
    discard: bool,
    #[command(flatten)]
    encoding: Encoding,
}

impl AnswerWords {
    /// Returns whether any of the words was given.
    pub(super) fn is_given(&self) -> bool {
        self.echo
            || self.prefix.is_some()
            || !self.when.is_empty()
            || !self.when_regex.is_empty()
            || self.otherwise.is_some()
            || self.discard
            || self.encoding.is_given()
    }

    /// Makes the rule that the words say.
    pub(super) fn check(&self) -> Result<Answer, String> {
        if self.discard {
            if self.encoding.is_given() {
                return Err("--discard sends nothing that --crlf, --lf, --escape or --hex could apply to".to_owned());
            }
            return Ok(Answer::Discard);
        }
        let prefix = self.prefix.as_deref().map(|prefix| self.encoding.decode(prefix)).transpose()?.unwrap_or_default();
        if self.when.is_empty() && self.when_regex.is_empty() && self.otherwise.is_none() {
            if self.encoding.crlf || self.encoding.lf {
                return Err("--crlf and --lf end a REPLY, and an echo has none".to_owned());
            }
            return Ok(Answer::Echo { prefix });
        }
        let reply = |text: &OsString| -> Result<Vec<u8>, String> {
            let mut bytes = prefix.clone();
            bytes.extend(self.encoding.message(text)?);
            Ok(bytes)
        };
        let mut rules = Vec::new();
        for pair in self.when.chunks_exact(2) {
            rules.push((Pattern::Exact(self.encoding.decode(&pair[0])?), reply(&pair[1])?));
        }
        for pair in self.when_regex.chunks_exact(2) {
            let text = super::target::text(&pair[0]).map_err(|error| format!("--when-regex: {error}"))?;
            let regex = regex(text).map_err(|error| format!("--when-regex: {error}"))?;
            rules.push((Pattern::Regex(regex), reply(&pair[1])?));
        }
        Ok(Answer::Rules { rules, otherwise: self.otherwise.as_ref().map(reply).transpose()? })
    }
}

/// Compiles a regular expression over bytes, without Unicode's tables.
pub(super) fn regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).unicode(false).build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(texts: &[&str]) -> Vec<OsString> {
        texts.iter().map(OsString::from).collect()
    }

    #[test]
    fn words_become_one_rule() {
        let echo = AnswerWords { prefix: Some("Echo=>".into()), ..AnswerWords::default() };
        assert!(matches!(echo.check(), Ok(Answer::Echo { prefix }) if prefix == b"Echo=>"));
        let rules = AnswerWords {
            when: words(&["1", "welcome", "2", "again"]),
            when_regex: words(&["^[0-9]", "number"]),
            otherwise: Some("out".into()),
            ..AnswerWords::default()
        };
        let Ok(Answer::Rules { rules, otherwise }) = rules.check() else { panic!("rules") };
        assert_eq!(rules.len(), 3);
        assert_eq!(otherwise.as_deref(), Some(&b"out"[..]));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let broken = AnswerWords { when_regex: words(&["[", "x"]), ..AnswerWords::default() };
        assert!(broken.check().is_err_and(|error| error.contains("--when-regex")));
        let encoding = Encoding { crlf: true, ..Encoding::default() };
        assert!(AnswerWords { encoding: encoding.clone(), ..AnswerWords::default() }.check().is_err());
        assert!(AnswerWords { discard: true, encoding, ..AnswerWords::default() }.check().is_err());
    }
}

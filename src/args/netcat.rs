//! What hands that are used to nc find instead of its letters.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Letters of nc(1), ncat(1) or their kin that are no options here: in which subcommands, and what to do.
const LETTERS: &[(&str, char, &str)] = &[
    ("connect", 'l', "'sockeye serve PORT' listens, with --relay as 'nc -l' does"),
    ("connect", 'u', "'sockeye udp-send' and 'udp-listen' are for UDP"),
    ("connect", 'U', "a unix socket is the target 'unix:PATH'"),
    ("connect", 'N', "the end of stdin is told to the peer in any case"),
    ("connect", 'C', "--crlf ends each MESSAGE with CR LF"),
    ("connect", 'p', "--source ADDR:PORT sets our own port"),
    ("connect", 'i', "--send-delay D waits before each MESSAGE, --interval D between rounds of --count"),
    ("connect", 'x', "--proxy URL goes through a proxy"),
    ("connect", 'X', "--proxy socks5://HOST:PORT, socks4a:// or http:// names its kind"),
    ("connect", 'e', "sockeye runs no programs"),
    ("connect", 'c', "sockeye runs no programs; --tls speaks TLS"),
    ("serve", 'l', "it listens in any case"),
    ("serve", 'k', "it goes on after each peer in any case; --count N ends it"),
    ("serve", 'u', "'sockeye udp-listen' is for UDP"),
    ("serve", 'U', "'sockeye unix-serve PATH' serves a unix socket"),
    ("serve", 'N', "the end of stdin is told to the peer in any case"),
    ("serve", 'p', "the port is the argument: 'sockeye serve PORT'"),
    ("serve", 'e', "sockeye runs no programs"),
    ("serve", 'c', "sockeye runs no programs"),
    ("unix-serve", 'l', "it listens in any case"),
    ("unix-serve", 'k', "it goes on after each peer in any case; --count N ends it"),
    ("unix-serve", 'U', "the path is the argument: 'sockeye unix-serve PATH'"),
];

/// Adds to an error about a letter that is unknown what to do instead.
pub(super) fn advised(mut error: clap::Error, subcommand: Option<&str>) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else { return error };
    let of_letter = |(of, letter, _): &&(&str, char, &str)| {
        Some(*of) == subcommand && unknown.strip_prefix('-') == Some(letter.encode_utf8(&mut [0; 4]))
    };
    if let Some((_, _, advice)) = LETTERS.iter().find(of_letter) {
        let advice = StyledStr::from((*advice).to_owned());
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice]));
    }
    error
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn each_letter_has_its_advice_and_is_no_option() {
        for (subcommand, letter, advice) in LETTERS {
            let error =
                Cli::command().try_get_matches_from(["sockeye", subcommand, &format!("-{letter}")]).unwrap_err();
            let told = advised(error, Some(subcommand)).to_string();
            assert!(told.contains(&format!("'-{letter}' found\n\n  tip: {advice}\n")), "{told}");
            assert!(!told.contains("as a value"), "{told}");
        }
    }

    #[test]
    fn other_words_keep_what_clap_says() {
        let told = |word: &str| {
            let error = Cli::command().try_get_matches_from(["sockeye", "connect", word]).unwrap_err();
            advised(error, Some("connect")).to_string()
        };
        assert!(told("--probee").contains("tip: a similar argument exists: '--probe'"), "{}", told("--probee"));
        assert!(told("-@").contains("tip: to pass '-@' as a value, use '-- -@'"), "{}", told("-@"));
    }
}

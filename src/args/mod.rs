//! What was asked: a clap struct a subcommand, whose checked fields are the specification of a run.
//!
//! A value that cannot be has no type here; a combination that cannot be is a conflict of clap's
//! or ends in the `check` beside the struct. Nothing later checks again.

use std::ffi::OsString;

use clap::builder::Styles;
use clap::error::{ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub mod aim;
pub mod answer;
pub mod connect;
pub mod doctor;
pub mod fault;
pub mod generate;
pub mod join;
pub mod listen_address;
pub mod message;
mod netcat;
pub mod output;
pub mod patience;
pub mod port;
pub mod proxy;
pub mod raw_ping;
pub mod repeat;
pub mod series;
pub mod serve;
pub mod service;
pub mod socket_options;
pub mod target;
pub mod tls;
pub mod udp_listen;
pub mod udp_send;
pub mod unix_serve;
pub mod value;

pub use aim::Aim;
pub use answer::Answer;
pub use connect::Connect;
pub use doctor::Doctor;
pub use fault::Fault;
pub use generate::{Completions, Man, Schema};
pub use join::Join;
pub use listen_address::ListenAddress;
pub use message::Encoding;
pub use output::{Color, Format, Output};
pub use patience::Patience;
pub use port::{Port, PortList};
pub use proxy::{Protocol, Proxy, ProxyWords};
pub use raw_ping::{ProbeKind, Quest, RawPing, SocketChoice, Spacing, Tempo};
pub use repeat::Repeat;
pub use series::Series;
pub use serve::Serve;
pub use service::Service;
pub use socket_options::SocketOptions;
pub use target::{Family, Host, Target, UnixType};
pub use tls::{ClientTls, Pin, ServerTls, TlsTerms, TlsVersion};
pub use udp_listen::{Reception, UdpListen};
pub use udp_send::{Load, Pacing, UdpSend};
pub use unix_serve::UnixServe;

/// Walk a socket through its life and report every step
///
/// sockeye builds a socket of any family and type, walks it through its life (resolve, socket,
/// bind, listen, accept or connect, send, recv, close) and reports every step: to a person as
/// text, to a script as JSON (--json). Steps, warnings and errors go to stderr; what peers sent,
/// statistics and tables go to stdout. Where stderr is a terminal, a run that takes longer than a
/// second and whose end is known has a bar there: how much is done, and how long the rest takes.
#[derive(Debug, Parser)]
#[command(
    name = "sockeye",
    version,
    propagate_version = true,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 the answer is no, 2 usage, 3 resolve, 4 not permitted, 5 this machine's \
                  socket step, 6 file or pipe, 7 refused, 8 no answer in time, 9 unreachable, 10 reset or cut \
                  short, 11 TLS. See `sockeye man | man -l -`."
)]
pub struct Cli {
    /// Which socket to walk.
    #[command(subcommand)]
    pub command: Command,
}

/// The registry of subcommands: a line here is what makes one known.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a TCP port: echo, answer by rule, discard, send a pattern, relay, or misbehave
    Serve(Box<Serve>),
    /// Connect to a TCP port or a unix socket: talk, relay stdin and stdout, or test the port
    Connect(Box<Connect>),
    /// Send datagrams: once, at a rate, as fast as the kernel takes them, or to measure the way
    UdpSend(Box<UdpSend>),
    /// Receive datagrams of many peers: print, answer, count, or measure
    UdpListen(Box<UdpListen>),
    /// Ping hosts and whole networks, and the path between: who answers, when, and why not
    RawPing(Box<RawPing>),
    /// Serve a unix socket: all that serve does, on this machine, with the peer's credentials
    UnixServe(Box<UnixServe>),
    /// Show what this machine permits, with a real round trip through each kind of socket
    ///
    /// A line of a table, or a `check` event, for each thing looked at. All traffic stays on loopback.
    /// Exits with 0 if every round trip that this machine permits worked, else with 1.
    Doctor(Doctor),
    /// Print the completion script of a shell
    Completions(Completions),
    /// Print a man page
    Man(Man),
    /// Print the JSON Schema of the events
    Schema(Schema),
}

impl Command {
    /// Parses and checks a command line, program name first. `styles` are those of what it shows.
    ///
    /// # Errors
    /// What clap shows for `--help`, `--version` and every wrong command line.
    pub fn parse(words: impl IntoIterator<Item = OsString>, styles: &Styles) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().collect();
        Self::parse_words(&words, styles).map_err(|error| {
            // clap quotes words as they are.
            let is_harmless = |word: &OsString| !word.to_string_lossy().contains(char::is_control);
            match error.use_stderr() && !words.iter().all(is_harmless) {
                true => harmless(error, &words, styles),
                false => error,
            }
        })
    }

    fn parse_words(words: &[OsString], styles: &Styles) -> Result<Self, clap::Error> {
        let mut clap = definition(words.get(1)).styles(styles.clone());
        let matches = clap.try_get_matches_from_mut(words);
        let matches = matches.map_err(|error| netcat::advised(error, words.get(1).and_then(|word| word.to_str())))?;
        let mut command = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut clap))?.command;
        let checked = match &mut command {
            Self::Serve(serve) => serve.check(),
            Self::Connect(connect) => connect.check(),
            Self::UdpSend(udp_send) => udp_send.check(),
            Self::UdpListen(udp_listen) => udp_listen.check(),
            Self::RawPing(raw_ping) => raw_ping.check(),
            Self::UnixServe(unix_serve) => unix_serve.check(),
            Self::Doctor(doctor) => doctor.output.check(),
            Self::Completions(_) | Self::Man(_) | Self::Schema(_) => Ok(()),
        };
        match checked {
            Ok(()) => Ok(command),
            Err(message) => {
                let name = matches.subcommand_name().unwrap_or_default();
                let subcommand = clap.find_subcommand_mut(name);
                Err(match subcommand {
                    Some(subcommand) => subcommand.error(ErrorKind::ValueValidation, message),
                    None => clap.error(ErrorKind::ValueValidation, message),
                })
            }
        }
    }
}

/// Returns the same error with the control characters of the words that it quotes escaped.
fn harmless(mut error: clap::Error, words: &[OsString], styles: &Styles) -> clap::Error {
    let quoted: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(word) => Some((kind, ContextValue::String(target::printable(word)))),
            _ => None,
        })
        .collect();
    for (kind, word) in quoted {
        error.insert(kind, word);
    }
    let mut told = error.render().to_string();
    for word in words.iter().map(|word| word.to_string_lossy()) {
        // An option's value may be in its own word or in that of the option.
        let value = word.split_once('=').map_or("", |(_, value)| value);
        for raw in [&*word, value].into_iter().filter(|raw| raw.contains(char::is_control)) {
            told = told.replace(raw, &target::printable(raw));
        }
    }
    // Whatever is left, of a part of a word, say.
    let told = told.lines().map(target::printable).collect::<Vec<_>>().join("\n") + "\n";
    // In colour it comes of the escaped words, where these are wrong in the same way: what is not quoted is the same.
    let outside = |told: &str| {
        let line = told.lines().next().unwrap_or_default();
        let quotes = line.find('\'').zip(line.rfind('\''));
        quotes.map_or_else(|| line.to_owned(), |(first, last)| format!("{} {}", &line[..first], &line[last..]))
    };
    let shown: Vec<OsString> = words.iter().map(|word| target::printable(&word.to_string_lossy()).into()).collect();
    match Command::parse_words(&shown, styles) {
        Err(same) if outside(&same.render().to_string()) == outside(&told) => same,
        _ => clap::Error::raw(error.kind(), told.trim_start_matches("error: "))
            .with_cmd(&definition(words.get(1)).styles(styles.clone())),
    }
}

/// Returns the definition that a command line needs: where its first word names a subcommand, the
/// others are not built.
fn definition(word: Option<&OsString>) -> clap::Command {
    fn only<A: Args>(name: &'static str) -> clap::Command {
        let root = clap::Command::new("sockeye").version(env!("CARGO_PKG_VERSION")).propagate_version(true);
        root.max_term_width(100).subcommand(A::augment_args(clap::Command::new(name)))
    }
    match word.and_then(|word| word.to_str()) {
        Some("serve") => only::<Serve>("serve"),
        Some("connect") => only::<Connect>("connect"),
        Some("udp-send") => only::<UdpSend>("udp-send"),
        Some("udp-listen") => only::<UdpListen>("udp-listen"),
        Some("raw-ping") => only::<RawPing>("raw-ping"),
        Some("unix-serve") => only::<UnixServe>("unix-serve"),
        Some("doctor") => only::<Doctor>("doctor"),
        _ => Cli::command(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_subcommand_alone_is_what_it_is_among_the_others() {
        for name in ["serve", "connect", "udp-send", "udp-listen", "raw-ping", "unix-serve", "doctor"] {
            let told = |mut clap: clap::Command, rest: &str| {
                clap.try_get_matches_from_mut(["sockeye", name, rest]).unwrap_err().to_string()
            };
            for rest in ["--help", "-h", "--version", "--no-such-option", "--deadline=x"] {
                assert_eq!(told(definition(Some(&name.into())), rest), told(Cli::command(), rest), "{name} {rest}");
            }
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}

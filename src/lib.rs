//! sockeye walks a socket through its life and reports every step.
//!
//! This is the map: what was asked ([`args`]) is walked ([`command`]), step by step ([`step`]);
//! each step is one kernel call on a socket ([`socket`], [`sys`]) and one fact ([`event`]);
//! [`stats`] adds the facts up, [`report`] shows them, [`cause`] explains a failure, and [`error`]
//! is what went wrong. [`run`] puts the stages in order. ARCHITECTURE.md has the house in full.

use std::ffi::OsString;
use std::time::Instant;

pub mod address;
pub mod args;
pub mod behaviour;
pub mod cause;
pub mod command;
pub mod error;
pub mod event;
pub mod packet;
pub mod report;
pub mod socket;
pub mod stats;
pub mod step;
pub mod sys;

mod generate;
mod stage;

pub use stage::Streams;

use args::Command;

/// Runs a command line, program name first, on the given streams. Returns what to exit with.
#[must_use]
pub fn run(started: Instant, words: impl IntoIterator<Item = OsString>, streams: Streams) -> u8 {
    sys::ignore_file_limit();
    let words: Vec<OsString> = words.into_iter().collect();
    // Scripts ask for the version most of all: as clap tells it, without clap.
    if let [_, word] = &*words
        && (word == "--version" || word == "-V")
    {
        return streams.print(concat!("sockeye ", env!("CARGO_PKG_VERSION"), "\n").as_bytes()).number();
    }
    let command = match Command::parse(words, &streams.styles()) {
        Ok(command) => command,
        Err(told) => return streams.tell(&told).number(),
    };
    match command {
        Command::Serve(serve) => {
            let stage = stage::of_serve(&serve);
            stage.run(started, streams, |run| command::serve::run(*serve, run))
        }
        Command::Connect(connect) => {
            let stage = stage::of_connect(&connect);
            stage.run(started, streams, |run| command::connect::run(*connect, run))
        }
        Command::UdpSend(udp_send) => {
            let stage = stage::of_udp_send(&udp_send);
            stage.run(started, streams, |run| command::udp_send::run(*udp_send, run))
        }
        Command::UdpListen(udp_listen) => {
            let stage = stage::of_udp_listen(&udp_listen);
            stage.run(started, streams, |run| command::udp_listen::run(*udp_listen, run))
        }
        Command::RawPing(raw_ping) => {
            if raw_ping.live && !streams.is_on_terminal() {
                return streams.refuse("--live draws on a terminal, and stdout or stdin is none").number();
            }
            let stage = stage::of_raw_ping(&raw_ping);
            stage.run(started, streams, |run| command::raw_ping::run(*raw_ping, run))
        }
        Command::UnixServe(unix_serve) => {
            let stage = stage::of_unix_serve(&unix_serve);
            stage.run(started, streams, |run| command::unix_serve::run(*unix_serve, run))
        }
        Command::Doctor(doctor) => {
            let stage = stage::of_doctor(&doctor);
            stage.run(started, streams, |run| command::doctor::run(doctor, run))
        }
        Command::Completions(completions) => streams.print(&generate::completions(completions.shell)).number(),
        Command::Man(man) => streams.print(&generate::man(man.subcommand)).number(),
        Command::Schema(_) => streams.print(&generate::schema()).number(),
    }
}

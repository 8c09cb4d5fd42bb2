//! Walked: a file a subcommand: which steps, in which order, until when.
//!
//! A walk emits nothing itself but warnings; its steps do. It returns the exit code of its
//! results; a failed step was reported where it failed.

use std::io;
use std::sync::Arc;

use crate::error::ExitCode;
use crate::step::{Cause, ClientTls, Door, Privileged, Stdin, Stop};

mod broker;
pub mod connect;
mod datagrams;
pub mod doctor;
mod expectation;
mod fault;
mod hall;
mod ping_checks;
mod probe;
mod proxied;
pub mod raw_ping;
mod reach;
mod relay;
mod retry;
mod rounds;
pub mod serve;
mod server;
mod session;
mod sessions;
mod source;
mod talk;
mod tls_checks;
mod udp_checks;
pub mod udp_listen;
mod udp_relay;
pub mod udp_send;
pub mod unix_serve;

/// What every walk is given.
pub struct Run {
    /// Where events go.
    pub door: Arc<Door>,
    /// Until when.
    pub stop: Stop,
    /// What a relay reads.
    pub stdin: Option<Stdin>,
    /// Where a relay may write by itself, because the report has no other use for the bytes.
    pub stdout: Option<io::Stdout>,
    /// How TLS is spoken, where it is: set by the walk that reads its files.
    pub tls: Option<ClientTls>,
    /// The thread that opens sockets which need rights.
    pub privileged: Option<Privileged>,
}

impl Run {
    /// Reports that the run was told to stop before it had its result.
    fn stopped(&self, cause: Cause, what: &str) -> ExitCode {
        if cause != Cause::Output {
            self.door.warn("stopped", &format!("told to stop before {what}"));
        }
        ExitCode::NoAnswer
    }
}

/// How several walks came out. It keeps no list, for there may be no end of them.
#[derive(Debug, Default)]
struct Results {
    /// How many have ended.
    ended: usize,
    code: Option<ExitCode>,
}

impl Results {
    fn add(&mut self, code: ExitCode) {
        self.ended += 1;
        self.code = Some(self.code.map_or(code, |sum| sum.and(code)));
    }

    /// Returns the code of all of them, as [`ExitCode::of_targets`] says.
    fn code(&self) -> ExitCode {
        self.code.unwrap_or(ExitCode::Ok)
    }
}

/// Returns the exit code of a result.
fn code(result: Result<(), crate::step::Failed>) -> ExitCode {
    result.map_or_else(|failed| failed.code, |()| ExitCode::Ok)
}

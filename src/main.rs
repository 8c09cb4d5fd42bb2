//! Real streams in, exit code out.

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use sockeye::Streams;

fn main() -> ExitCode {
    let started = Instant::now();
    let streams = Streams { stdin: io::stdin(), stdout: io::stdout(), stderr: io::stderr() };
    ExitCode::from(sockeye::run(started, std::env::args_os(), streams))
}

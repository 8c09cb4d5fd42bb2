//! Real streams in, exit code out.

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let started = Instant::now();
    match sockeye::Streams::real() {
        Ok(streams) => ExitCode::from(sockeye::run(started, std::env::args_os(), streams)),
        // Without descriptors there is nowhere to say so: the code is all that is left.
        Err(_) => ExitCode::from(5),
    }
}

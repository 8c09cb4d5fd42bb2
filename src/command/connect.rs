//! `connect`: resolve, race the addresses, then talk, relay, or only tell.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Run, relay, talk};
use crate::args::{Connect, SocketOptions, Target};
use crate::error::ExitCode;
use crate::event::Reason;
use crate::step::{self, Failed, Stream};

/// Walks a client through its life.
pub async fn run(connect: Connect, mut run: Run) -> ExitCode {
    let connect = Arc::new(connect);
    if connect.probe {
        return probe(&connect, &run).await;
    }
    let stdin = run.stdin.take();
    let connected = tokio::select! {
        connected = one(&connect, &connect.targets[0], &run) => connected,
        // Told to stop before the connection stood.
        _ = run.stop.reached() => return ExitCode::NoAnswer,
    };
    let stream = match connected {
        Ok(stream) => stream,
        Err(failed) => return failed.code,
    };
    let result = match stdin {
        Some(stdin) if connect.is_relay() => relay::run(stream, &connect, stdin, &run).await,
        _ => tokio::select! {
            result = talk::run(stream, &connect, &run) => result,
            // Told to stop before the answer came.
            _ = run.stop.reached() => return ExitCode::NoAnswer,
        },
    };
    result.unwrap_or_else(|failed| failed.code)
}

/// Connects to one target.
async fn one(connect: &Connect, target: &Target, run: &Run) -> Result<Stream, Failed> {
    let patience = &connect.patience;
    let family = connect.output.family();
    let addresses = match target {
        Target::Inet(host, port) => step::resolve_host(&run.door, host, *port, family, patience.resolve()).await?,
        Target::Unix(address) => vec![address.clone()],
    };
    let source = step::source_address(&run.door, &connect.options)?;
    let words: Arc<SocketOptions> = Arc::new(connect.options.clone());
    step::connect(&run.door, &addresses, source.as_ref(), &words, patience.connect()).await
}

/// Connects to every target, at most so many at once, and closes each without a byte.
async fn probe(connect: &Arc<Connect>, run: &Run) -> ExitCode {
    let mut codes = Vec::new();
    let mut running = JoinSet::new();
    let mut left = connect.targets.iter();
    let all = async {
        loop {
            while running.len() < connect.parallel.get()
                && let Some(target) = left.next()
            {
                let (connect, target) = (Arc::clone(connect), target.clone());
                let run = Run { door: Arc::clone(&run.door), stop: run.stop.clone(), stdin: None };
                running.spawn(async move {
                    match one(&connect, &target, &run).await {
                        Ok(stream) => {
                            stream.close(Reason::Local);
                            ExitCode::Ok
                        }
                        Err(failed) => failed.code,
                    }
                });
            }
            match running.join_next().await {
                Some(code) => codes.push(code.unwrap_or(ExitCode::Local)),
                None => return,
            }
        }
    };
    tokio::select! {
        () = all => {}
        _ = run.stop.reached() => {}
    }
    // What was not reached when the run was told to stop has not answered.
    codes.resize(connect.targets.len(), ExitCode::NoAnswer);
    ExitCode::of_targets(codes)
}

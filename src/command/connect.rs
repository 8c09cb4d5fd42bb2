//! `connect`: resolve, race the addresses, then talk, relay, or only tell.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::relay::{self, Relay};
use super::{Run, talk};
use crate::address::Address;
use crate::args::{Connect, Host, Target};
use crate::error::ExitCode;
use crate::event::Reason;
use crate::step::{self, Failed, Reach, Stream};

/// Walks a client through its life.
pub async fn run(connect: Connect, mut run: Run) -> ExitCode {
    let connect = Arc::new(connect);
    if connect.probe {
        return probe(&connect, &Arc::new(run)).await;
    }
    let stdin = run.stdin.take();
    let resolved = Resolved::default();
    let connected = tokio::select! {
        connected = one(&connect, &connect.targets[0], &resolved, &run) => connected,
        // Told to stop before the connection stood.
        cause = run.stop.reached() => {
            let is_name = matches!(&connect.targets[0], Target::Inet(Host::Name(_), _));
            if is_name && !resolved.initialized() {
                run.stopped(cause, "the name resolved");
                return ExitCode::Resolve;
            }
            return run.stopped(cause, "the connection stood");
        }
    };
    let stream = match connected {
        Ok(stream) => stream,
        Err(failed) => return failed.code,
    };
    let result = match stdin {
        Some(stdin) if connect.is_relay() => {
            let relay = Relay {
                on_peer_close: connect.on_peer_close,
                idle: connect.patience.idle_timeout,
                recv_size: connect.recv_size,
                expect: connect.expect.as_ref(),
            };
            relay::run(stream, &relay, stdin, &run).await
        }
        _ => talk::run(stream, &connect, &run).await,
    };
    result.unwrap_or_else(|failed| failed.code)
}

/// Connects to one target.
async fn one(connect: &Connect, target: &Target, resolved: &Resolved, run: &Run) -> Result<Stream, Failed> {
    let addresses = match target {
        Target::Inet(host, port) => {
            let known = resolved.get_or_init(|| resolve(connect, host, run)).await;
            known.as_ref().map_err(|failed| *failed)?.iter().map(|address| address.with_port(*port)).collect()
        }
        Target::Unix(address) => vec![address.clone()],
    };
    let is_fast = connect.options.fast_open && step::is_fast_open_on(&run.door);
    let reach = Reach {
        source: step::source_address(&run.door, &connect.options)?,
        options: connect.options.clone(),
        bound: connect.patience.connect(),
        first: connect.messages.first().filter(|_| is_fast).map(|first| first[..].into()),
        // Of many targets the table tells enough, and its order is that of the answers.
        is_explained: connect.targets.len() == 1,
    };
    step::connect(&run.door, &addresses, &Arc::new(reach)).await
}

/// Returns the addresses of a host, the port not yet set.
async fn resolve(connect: &Connect, host: &Host, run: &Run) -> Result<Vec<Address>, Failed> {
    step::resolve_host(&run.door, host, 0, connect.output.family(), connect.patience.resolve()).await
}

/// Connects to every target, at most so many at once, and closes each without a byte.
async fn probe(connect: &Arc<Connect>, run: &Arc<Run>) -> ExitCode {
    step::raise_descriptors();
    let parallel = step::descriptors_for(connect.parallel.get());
    let mut codes = Vec::new();
    let mut running = JoinSet::new();
    let mut hosts: HashMap<String, Arc<Resolved>> = HashMap::new();
    let mut left = connect.targets.iter();
    let all = async {
        loop {
            while running.len() < parallel
                && let Some(target) = left.next()
            {
                // A host is looked up once, however many of its ports are probed.
                let host = match target {
                    Target::Inet(host, _) => host.to_string(),
                    Target::Unix(_) => String::new(),
                };
                let resolved = Arc::clone(hosts.entry(host).or_default());
                running.spawn(test(Arc::clone(connect), target.clone(), resolved, Arc::clone(run)));
            }
            match running.join_next().await {
                Some(code) => codes.push(code.unwrap_or(ExitCode::Local)),
                None => return,
            }
        }
    };
    let cause = tokio::select! {
        () = all => None,
        cause = run.stop.reached() => Some(cause),
    };
    running.shutdown().await;
    if let Some(cause) = cause {
        let left = connect.targets.len() - codes.len();
        run.stopped(cause, &format!("{left} of {} targets had answered", connect.targets.len()));
    }
    // What was not reached when the run was told to stop has not answered.
    codes.resize(connect.targets.len(), ExitCode::NoAnswer);
    ExitCode::of_targets(codes)
}

/// The addresses of a host, once they were looked up.
type Resolved = OnceCell<Result<Vec<Address>, Failed>>;

/// Connects to one target and closes.
async fn test(connect: Arc<Connect>, target: Target, resolved: Arc<Resolved>, run: Arc<Run>) -> ExitCode {
    match one(&connect, &target, &resolved, &run).await {
        Ok(stream) => {
            stream.close(Reason::Local);
            ExitCode::Ok
        }
        Err(failed) => failed.code,
    }
}

//! `serve`: bind, listen, and answer every peer until told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use super::Run;
use super::session::{self, Rules};
use crate::args::Serve;
use crate::error::{Error, ExitCode, Step};
use crate::event::Reason;
use crate::step::{self, Accepted, Failed, Listener};

/// How long a name to bind may take to resolve; servers have no `--resolve-timeout`.
const RESOLVE: Duration = Duration::from_secs(10);

/// How long to wait for a descriptor when none of our own connections ends meanwhile.
const EXHAUSTED: Duration = Duration::from_secs(1);

/// Walks a server through its life. A server that ran until it was told to stop has succeeded.
pub async fn run(serve: Serve, run: Run) -> ExitCode {
    let mut open = JoinSet::new();
    let served = tokio::select! {
        served = walk(&serve, &run, &mut open) => served,
        cause = run.stop.reached() => {
            run.door.ends(cause);
            Ok(())
        }
    };
    // Each connection that is still open reports its close, before the summary.
    open.shutdown().await;
    super::code(served)
}

async fn walk(serve: &Serve, run: &Run, open: &mut JoinSet<()>) -> Result<(), Failed> {
    step::raise_descriptors();
    let family = serve.output.family();
    let address = step::bind_address(&run.door, &serve.listen, family, RESOLVE).await?;
    let listener = step::listener(&run.door, &address, serve.backlog, &serve.options).await?;
    let rules = Arc::new(Rules {
        answer: serve.answer.clone(),
        recv_size: serve.recv_size,
        timeout: serve.timeout,
        messages: serve.messages,
    });
    let mut accepted = 0;
    let mut has_warned = false;
    while serve.count.is_none_or(|count| accepted < count.get()) {
        while let Some(end) = open.try_join_next() {
            ended(run, Some(end));
        }
        if serve.max_connections.is_some_and(|most| open.len() >= most.get()) {
            if !has_warned {
                let message = format!("{} connections are open: further ones wait in the backlog", open.len());
                run.door.warn("max-connections", &message);
                has_warned = true;
            }
            ended(run, open.join_next().await);
            continue;
        }
        tokio::select! {
            biased;
            next = listener.accept() => match next? {
                Accepted::Connection(connection) => {
                    accepted += 1;
                    let admitted = connection.peer().ip().is_none_or(|ip| serve.admits(ip));
                    if !admitted {
                        connection.close(Reason::Denied);
                    } else if rules.messages == Some(0) {
                        connection.close(Reason::Limit);
                    } else if let Ok(stream) = connection.open() {
                        open.spawn(session::answer(stream, Arc::clone(&rules)));
                    }
                    run.door.room().await;
                }
                Accepted::Lost => {}
                Accepted::Exhausted(_) => exhausted(run, open).await,
            },
            Some(end) = open.join_next() => ended(run, Some(end)),
        }
    }
    // No more come in: whoever tries is refused, not left waiting in a queue that nobody serves.
    drop::<Listener>(listener);
    while let Some(end) = open.join_next().await {
        ended(run, Some(end));
    }
    Ok(())
}

/// Waits until a descriptor may be free again: one of ours, or somebody else's.
async fn exhausted(run: &Run, open: &mut JoinSet<()>) {
    if let Some(Some(end)) = step::within(Some(EXHAUSTED), async {
        match open.join_next().await {
            Some(end) => Some(end),
            None => std::future::pending().await,
        }
    })
    .await
    {
        ended(run, Some(end));
    }
}

/// Reports a session that did not come to its own end.
fn ended(run: &Run, end: Option<Result<(), JoinError>>) {
    if let Some(Err(error)) = end
        && error.is_panic()
    {
        let message = "recv: a session failed on a fault of sockeye's own; the server goes on".to_owned();
        let _reported = run.door.fail(&Error::of_kind(Step::Recv, ExitCode::Local, message));
    }
}

//! `serve`: bind, listen, and answer every peer until told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use super::Run;
use super::relay::{self, Relay};
use super::session::{self, Rules};
use crate::args::Serve;
use crate::error::{Error, ExitCode, Step};
use crate::event::Reason;
use crate::step::{self, Accepted, Connection, Failed, Listener, Stdin};

/// How long a name to bind may take to resolve; servers have no `--resolve-timeout`.
const RESOLVE: Duration = Duration::from_secs(10);

/// How long to wait for a descriptor when none of our own connections ends meanwhile.
const EXHAUSTED: Duration = Duration::from_secs(1);

/// Walks a server through its life. A server that ran until it was told to stop has succeeded.
pub async fn run(serve: Serve, mut run: Run) -> ExitCode {
    if let Some(stdin) = run.stdin.take() {
        return relay_one(&serve, stdin, &run).await.unwrap_or_else(|failed| failed.code);
    }
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
    let listener = listen(serve, run).await?;
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
                let message = format!("--max-connections {} is reached: further ones wait in the backlog", open.len());
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
                    let is_admitted = is_admitted(serve, &connection);
                    accepted += u64::from(is_admitted);
                    if !is_admitted {
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

async fn listen(serve: &Serve, run: &Run) -> Result<Listener, Failed> {
    let family = serve.output.family();
    let address = step::bind_address(&run.door, &serve.listen, family, RESOLVE).await?;
    let listener = step::listener(&run.door, &address, serve.backlog, &serve.options).await?;
    Ok(listener.watching_queue())
}

/// Relays stdin and stdout with the first peer that is let in. That peer is the run: its failure
/// is the result.
async fn relay_one(serve: &Serve, stdin: Stdin, run: &Run) -> Result<ExitCode, Failed> {
    let accepted = tokio::select! {
        accepted = first(serve, run) => accepted,
        _ = run.stop.reached() => return Ok(ExitCode::Ok),
    };
    let stream = accepted?.open()?;
    let relay =
        Relay { on_peer_close: serve.on_peer_close, idle: serve.timeout, recv_size: serve.recv_size, expect: None };
    relay::run(stream, &relay, stdin, run).await
}

/// Listens until a peer comes that is let in; nobody else is, then.
async fn first(serve: &Serve, run: &Run) -> Result<Connection, Failed> {
    let listener = listen(serve, run).await?;
    loop {
        match listener.accept().await? {
            Accepted::Connection(connection) if is_admitted(serve, &connection) => return Ok(connection),
            Accepted::Connection(connection) => connection.close(Reason::Denied),
            Accepted::Lost => {}
            Accepted::Exhausted(_) => step::sleep(EXHAUSTED).await,
        }
    }
}

fn is_admitted(serve: &Serve, connection: &Connection) -> bool {
    connection.peer().ip().is_none_or(|ip| serve.admits(ip))
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

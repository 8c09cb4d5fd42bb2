//! `serve`: a server of TCP.

use std::time::Duration;

use super::{Run, server};
use crate::args::Serve;
use crate::error::ExitCode;
use crate::step::{self, Connection, Failed, Listener};

/// How long a name to bind may take to resolve; servers have no `--resolve-timeout`.
const RESOLVE: Duration = Duration::from_secs(10);

/// Walks a server through its life.
pub async fn run(serve: Serve, mut run: Run) -> ExitCode {
    let stdin = run.stdin.take();
    let admits = |connection: &Connection| connection.peer().ip().is_none_or(|ip| serve.admits(ip));
    let header = server::header(serve.proxy_protocol, &serve.service);
    server::run(&serve.service, header, stdin, listen(&serve, &run), admits, &run).await
}

async fn listen(serve: &Serve, run: &Run) -> Result<Listener, Failed> {
    let family = serve.output.family();
    let address = step::bind_address(&run.door, &serve.listen, family, RESOLVE).await?;
    let listener = step::listener(&run.door, &address, serve.service.backlog(), &serve.options).await?;
    Ok(listener.watching_queue())
}

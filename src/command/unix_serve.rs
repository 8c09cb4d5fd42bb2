//! `unix-serve`: a server of a unix socket. With connections it walks as `serve` does.

use super::{Run, datagrams, server};
use crate::args::{UnixServe, UnixType};
use crate::error::ExitCode;
use crate::step::{self, Connection, UnixPlace};

/// Walks a server through its life.
pub async fn run(serve: UnixServe, mut run: Run) -> ExitCode {
    let stdin = run.stdin.take();
    let place = UnixPlace { address: serve.listen.clone(), kind: serve.kind, mode: serve.mode(), group: serve.group };
    if serve.kind == UnixType::Dgram {
        return datagrams::run(&serve, &place, stdin, &run).await;
    }
    let is_open = serve.allow_uid.is_empty() && serve.allow_gid.is_empty();
    // Who cannot be told from others is not let in where only some are.
    let admits = |connection: &Connection| {
        is_open || connection.credentials().is_some_and(|(whose, groups)| serve.admits(whose.uid, whose.gid, &groups))
    };
    let listening = step::unix_listener(&run.door, &place, serve.service.backlog(), &serve.options);
    let header = server::header(serve.proxy_protocol, &serve.service);
    server::run(&serve.service, header, stdin, listening, admits, &run).await
}

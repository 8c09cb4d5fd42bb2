//! `connect`: resolve, race the addresses, then talk, relay, or only tell; once, or again and again.

use std::sync::Arc;

use super::reach::Resolved;
use super::relay::{self, Relay};
use super::retry::LastTry;
use super::{Run, probe, proxied, retry, rounds, talk};
use crate::args::{Connect, Host, Target};
use crate::error::ExitCode;
use crate::step::{ClientTls, Stream};

/// Walks a client through its life.
pub async fn run(mut connect: Connect, mut run: Run) -> ExitCode {
    let read = match run.stop.unless(proxied::read_users(&mut connect.proxies, &run)).await {
        Ok(read) => read,
        Err(cause) => return run.stopped(cause, "the users of the proxies were read"),
    };
    if let Err(failed) = read {
        return failed.code;
    }
    let connect = Arc::new(connect);
    if connect.tls.tls {
        let read = match run.stop.unless(ClientTls::new(&run.door, &connect.tls)).await {
            Ok(read) => read,
            Err(cause) => return run.stopped(cause, "the files of TLS were read"),
        };
        match read {
            Ok(tls) => run.tls = Some(tls),
            Err(failed) => return failed.code,
        }
    }
    match connect.repeat.count {
        Some(count) => rounds::run(&connect, count, &Arc::new(run)).await,
        None if connect.probe => probe::run(&connect, &Arc::new(run)).await,
        None => once(&connect, run).await,
    }
}

/// Connects to one target, then talks or relays.
async fn once(connect: &Connect, mut run: Run) -> ExitCode {
    let stdin = run.stdin.take();
    let stream = match connected(connect, &run).await {
        Ok(stream) => stream,
        Err(code) => return code,
    };
    let expires_soon = stream.expires_soon();
    let result = match stdin {
        Some(stdin) if connect.is_relay() => {
            let relay = Relay {
                on_peer_close: connect.on_peer_close,
                idle: connect.patience.idle_timeout,
                recv_size: connect.recv_size,
                expect: connect.expect.as_ref(),
                awaits_answer: true,
                linger: Some(connect.patience.answer()),
            };
            relay::run(stream, &relay, stdin, &run).await
        }
        _ => talk::run(stream, connect, &run).await,
    };
    negative_if(expires_soon, result.unwrap_or_else(|failed| failed.code))
}

/// Returns what a run comes to whose server's certificate expires soon: that is an answer, and it is
/// no, where nothing else went wrong.
pub(super) fn negative_if(expires_soon: bool, code: ExitCode) -> ExitCode {
    if expires_soon && code == ExitCode::Ok { ExitCode::No } else { code }
}

/// Connects, unless that fails or the run is told to stop before the connection stood.
async fn connected(connect: &Connect, run: &Run) -> Result<Stream, ExitCode> {
    let (target, resolved, last) = (&connect.targets[0], Resolved::default(), LastTry::default());
    match run.stop.unless(retry::connect(connect, 0, &resolved, &last, run)).await {
        Ok(connected) => connected.map_err(|failed| failed.code),
        Err(cause) => {
            if let Some(failure) = last.failure() {
                run.stopped(cause, "the connection stood");
                return Err(failure.code);
            }
            let is_name = match (connect.proxies.chain.first(), target) {
                (Some(first), _) => matches!(first.host, Host::Name(_)),
                (None, target) => matches!(target, Target::Inet(Host::Name(_), _)),
            };
            if is_name && !resolved.initialized() {
                run.stopped(cause, "the name resolved");
                return Err(ExitCode::Resolve);
            }
            Err(run.stopped(cause, "the connection stood"))
        }
    }
}

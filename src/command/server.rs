//! The server of connections, whatever it listens on: accept, and answer every peer until told to
//! stop.

use std::time::Duration;

use super::Run;
use super::relay::{self, Relay};
use super::session::Rules;
use super::sessions::Sessions;
use crate::args::{Fault, Service};
use crate::error::ExitCode;
use crate::event::Reason;
use crate::step::{self, Accepted, Connection, Failed, Listener, ServerTls, Stdin};

/// How long the header of the PROXY protocol may take that each peer has to begin with; `None` where
/// none is to come.
pub(super) type Header = Option<Duration>;

/// Returns the header that the words of a server ask for.
pub(super) fn header(is_wanted: bool, service: &Service) -> Header {
    /// Where no --timeout says it.
    const PATIENCE: Duration = Duration::from_secs(5);
    is_wanted.then(|| service.timeout.unwrap_or(PATIENCE))
}

/// How long to wait for a descriptor when none of our own connections ends meanwhile.
const EXHAUSTED: Duration = Duration::from_secs(1);

/// Walks a server through its life, from what `listening` gives on; `admits` says who is let in. A
/// server that ran until it was told to stop has succeeded; one that relays has one peer.
pub(super) async fn run(
    service: &Service,
    header: Header,
    stdin: Option<Stdin>,
    listening: impl Future<Output = Result<Listener, Failed>>,
    admits: impl Fn(&Connection) -> bool,
    run: &Run,
) -> ExitCode {
    if let Some(stdin) = stdin {
        return relay_one(service, header, stdin, listening, admits, run).await.unwrap_or_else(|failed| failed.code);
    }
    let mut open = None;
    let walked = run.stop.unless(walk(service, header, listening, admits, run, &mut open)).await;
    let served = walked.unwrap_or_else(|cause| {
        run.door.ends(cause);
        Ok(())
    });
    // Each connection that is still open reports its close, before the summary.
    if let Some(mut open) = open {
        open.shutdown().await;
    }
    super::code(served)
}

async fn walk(
    service: &Service,
    header: Header,
    listening: impl Future<Output = Result<Listener, Failed>>,
    admits: impl Fn(&Connection) -> bool,
    run: &Run,
    open: &mut Option<Sessions>,
) -> Result<(), Failed> {
    step::raise_descriptors();
    let tls = tls(service, run).await?;
    let listener = listening.await?;
    if service.fault == Some(Fault::NeverAccept) {
        return never_accept(&listener, run).await;
    }
    let open = open.insert(Sessions::new(Rules::new(service, tls, &run.door), header, &run.door));
    let (mut accepted, mut has_come) = (0, false);
    let mut has_warned = false;
    while service.count.is_none_or(|count| accepted < count.get()) {
        open.reap();
        if service.max_connections.is_some_and(|most| open.len() >= most.get()) {
            if !has_warned {
                let message = format!("--max-connections {} is reached: further ones wait in the backlog", open.len());
                run.door.warn("max-connections", &message);
                has_warned = true;
            }
            open.ended().await;
            continue;
        }
        tokio::select! {
            next = next(&listener, run, has_come) => match next? {
                Accepted::Connection(connection) => {
                    has_come = true;
                    let is_admitted = admits(&connection);
                    accepted += u64::from(is_admitted);
                    match is_admitted {
                        true => open.start(connection),
                        false => connection.close(Reason::Denied),
                    }
                }
                Accepted::Lost => {}
                // A descriptor may be free again when one of ours ends, or somebody else's.
                Accepted::Exhausted(_) => drop(step::within(Some(EXHAUSTED), open.ended()).await),
            },
            _ = open.turn() => {}
        }
    }
    // No more come in: whoever tries is refused, not left waiting in a queue that nobody serves.
    drop::<Listener>(listener);
    while open.len() > 0 {
        open.ended().await;
    }
    Ok(())
}

/// Waits for the next connection; for one after the first, once a slow reader of the events has made room for what is
/// to be told of it.
async fn next(listener: &Listener, run: &Run, is_further: bool) -> Result<Accepted, Failed> {
    if is_further {
        run.door.room().await;
    }
    listener.accept().await
}

/// Reads what TLS is spoken with, where it is; a bad file is known before anybody listens.
async fn tls(service: &Service, run: &Run) -> Result<Option<ServerTls>, Failed> {
    if !service.tls.is_on() {
        return Ok(None);
    }
    ServerTls::new(&run.door, &service.tls, service.timeout, service.fault, service.tls_host).await.map(Some)
}

/// Leaves every connection in the accept queue, until the run is told to stop.
async fn never_accept(listener: &Listener, run: &Run) -> Result<(), Failed> {
    let message = format!(
        "{}: no connection is accepted: clients fill the accept queue, then wait in vain; `ss -lt` shows both as Recv-Q \
         and Send-Q",
        listener.local()
    );
    run.door.warn("never-accept", &message);
    std::future::pending().await
}

/// Relays stdin and stdout with the first peer that is let in. That peer is the run: its failure
/// is the result.
async fn relay_one(
    service: &Service,
    header: Header,
    stdin: Stdin,
    listening: impl Future<Output = Result<Listener, Failed>>,
    admits: impl Fn(&Connection) -> bool,
    run: &Run,
) -> Result<ExitCode, Failed> {
    let Ok(tls) = run.stop.unless(tls(service, run)).await else { return Ok(ExitCode::Ok) };
    let tls = tls?;
    let secured = async {
        let mut stream = first(listening, admits, run).await?.open()?;
        if let Some(bound) = header {
            stream = step::read_header(stream, bound).await?;
        }
        match &tls {
            Some(tls) => stream.secure_accepted(tls).await,
            None => Ok(Some(stream)),
        }
    };
    let Ok(secured) = run.stop.unless(secured).await else { return Ok(ExitCode::Ok) };
    let Some(stream) = secured? else { return Ok(ExitCode::Ok) };
    let relay = Relay {
        on_peer_close: service.on_peer_close,
        idle: service.timeout,
        recv_size: service.recv_size(),
        expect: None,
        awaits_answer: false,
        linger: None,
    };
    relay::run(stream, &relay, stdin, run).await
}

/// Listens until a peer comes that is let in; nobody else is, then.
async fn first(
    listening: impl Future<Output = Result<Listener, Failed>>,
    admits: impl Fn(&Connection) -> bool,
    run: &Run,
) -> Result<Connection, Failed> {
    let (listener, mut has_come) = (listening.await?, false);
    loop {
        match next(&listener, run, has_come).await? {
            Accepted::Connection(connection) if admits(&connection) => return Ok(connection),
            Accepted::Connection(connection) => {
                has_come = true;
                connection.close(Reason::Denied);
            }
            Accepted::Lost => {}
            Accepted::Exhausted(_) => step::sleep(EXHAUSTED).await,
        }
    }
}

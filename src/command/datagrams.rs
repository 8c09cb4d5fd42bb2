//! The server of unix datagrams: each is answered by itself, for there is no connection.

use super::Run;
use super::relay::{self, Relay};
use crate::address::Address;
use crate::args::{Answer, UnixServe};
use crate::behaviour;
use crate::error::ExitCode;
use crate::step::{self, Credentials, Datagram, Failed, Stdin, UnixPlace, now, since, within};

/// Walks a server of datagrams through its life. One that ran until it was told to stop has
/// succeeded; one that relays has one peer.
pub(super) async fn run(serve: &UnixServe, place: &UnixPlace, stdin: Option<Stdin>, run: &Run) -> ExitCode {
    let walked = async {
        let socket = step::unix_datagram(&run.door, place, &serve.options).await?;
        match stdin {
            Some(stdin) => relay_one(serve, socket, stdin, run).await,
            None => walk(serve, &socket, run).await,
        }
    };
    let result = tokio::select! {
        result = walked => result,
        cause = run.stop.reached() => {
            run.door.ends(cause);
            Ok(ExitCode::Ok)
        }
    };
    result.unwrap_or_else(|failed| failed.code)
}

async fn walk(serve: &UnixServe, socket: &Datagram, run: &Run) -> Result<ExitCode, Failed> {
    let service = &serve.service;
    // Whoever is relayed is not answered by a rule.
    let answer = if service.relay { &Answer::Discard } else { &service.answer };
    let mut buffer = vec![0; service.recv_size.get()];
    let (mut came, mut has_warned) = (0, false);
    let mut last = now();
    while service.count.is_none_or(|count| came < count.get()) {
        if within(service.timeout, socket.readable()).await.is_none() {
            socket.timeout(since(last));
            return Ok(ExitCode::Ok);
        }
        let Some(received) = socket.recv(&mut buffer, |whose| admits(serve, whose))? else { continue };
        last = now();
        came += u64::from(received.is_admitted);
        let reply = received.is_admitted.then(|| behaviour::reply(answer, &buffer[..received.bytes]));
        if let Some(parts) = reply.flatten() {
            if received.from != Address::UnixUnnamed {
                // A failure is this peer's own, and told.
                let _told = socket.answer(&received, parts);
            } else if !has_warned {
                run.door.warn("unnamed-peer", "a peer without a name cannot be answered");
                has_warned = true;
            }
        }
        socket.room().await;
    }
    Ok(ExitCode::Ok)
}

/// Relays stdin and stdout with whoever sends the first datagram that is let in. To a peer without
/// a name nothing can be sent: it is only heard.
async fn relay_one(serve: &UnixServe, socket: Datagram, stdin: Stdin, run: &Run) -> Result<ExitCode, Failed> {
    let mut denied = vec![0; serve.service.recv_size.get()];
    let peer = loop {
        socket.readable().await;
        match socket.next_sender()? {
            None => {}
            Some((whose, peer)) if whose.is_none_or(|whose| admits(serve, whose)) => break peer,
            Some(_) => drop(socket.recv(&mut denied, |whose| admits(serve, whose))?),
        }
    };
    if peer == Address::UnixUnnamed {
        run.door.warn("unnamed-peer", "a peer without a name is only heard: nothing can be sent to it");
        return walk(serve, &socket, run).await;
    }
    let (stream, name) = socket.keep_to(peer)?;
    let relay = Relay {
        on_peer_close: None,
        idle: serve.service.timeout,
        recv_size: serve.service.recv_size,
        expect: None,
        linger: None,
    };
    let result = relay::run(stream, &relay, stdin, run).await;
    drop(name);
    result
}

fn admits(serve: &UnixServe, whose: Credentials) -> bool {
    serve.admits(whose.uid, whose.gid, &[])
}

//! The server of unix datagrams: each is answered by itself, for there is no connection.

use std::collections::VecDeque;
use std::sync::Arc;

use nix::errno::Errno;
use tokio::task::JoinSet;

use super::Run;
use super::relay::{self, Relay};
use crate::address::Address;
use crate::args::{Answer, Fault, UnixServe};
use crate::behaviour;
use crate::error::ExitCode;
use crate::step::{self, Credentials, Datagram, Failed, Sender, Stdin, UnixPlace, now, since, within};

/// Walks a server of datagrams through its life. One that ran until it was told to stop has
/// succeeded; one that relays has one peer.
pub(super) async fn run(serve: &UnixServe, place: &UnixPlace, stdin: Option<Stdin>, run: &Run) -> ExitCode {
    let walked = async {
        let socket = step::unix_datagram(&run.door, place, &serve.options).await?;
        match stdin {
            Some(stdin) => relay_one(serve, socket, stdin, run).await,
            None => walk(serve, &Arc::new(socket), run).await,
        }
    };
    let result = run.stop.unless(walked).await.unwrap_or_else(|cause| {
        run.door.ends(cause);
        Ok(ExitCode::Ok)
    });
    result.unwrap_or_else(|failed| failed.code)
}

/// Most answers that may be held back at once (`--fault delay`); further datagrams wait in the kernel.
const LATE: usize = 10_000;

/// Most peers that a broker knows; a further one takes the place of who came first.
const MEMBERS: usize = 10_000;

async fn walk(serve: &UnixServe, socket: &Arc<Datagram>, run: &Run) -> Result<ExitCode, Failed> {
    let service = &serve.service;
    if service.fault == Some(Fault::Hang) {
        // What comes stays in the kernel's queue, until that is full.
        return std::future::pending().await;
    }
    let mut answerer = Answerer {
        // Whoever is relayed is not answered by a rule.
        answer: if service.relay { &Answer::Discard } else { &service.answer },
        fault: service.fault,
        socket,
        run,
        members: VecDeque::new(),
        late: JoinSet::new(),
        has_warned: false,
    };
    let mut buffer = vec![0; service.recv_size().get()];
    let mut came = 0;
    let mut last = now();
    while service.count.is_none_or(|count| came < count.get()) {
        if within(service.timeout, socket.readable()).await.is_none() {
            socket.timeout(since(last));
            break;
        }
        let Some(received) = socket.recv(&mut buffer, |whose| admits(serve, whose))? else { continue };
        last = now();
        if received.is_admitted {
            came += 1;
            answerer.take(received.from, &buffer[..received.bytes]).await;
        }
        socket.room().await;
    }
    answerer.end().await;
    Ok(ExitCode::Ok)
}

/// Answers datagrams as the words say. A failure to send is that peer's own, and told.
struct Answerer<'a> {
    answer: &'a Answer,
    fault: Option<Fault>,
    socket: &'a Arc<Datagram>,
    run: &'a Run,
    /// Whom a broker knows, in the order in which they came.
    members: VecDeque<Sender>,
    /// Answers that are held back.
    late: JoinSet<()>,
    has_warned: bool,
}

impl Answerer<'_> {
    async fn take(&mut self, from: Option<Sender>, data: &[u8]) {
        if matches!(self.answer, Answer::Broker) {
            return self.pass_on(from, data);
        }
        let Some(parts) = behaviour::reply(self.answer, data) else { return };
        match (from, self.fault) {
            (None, _) if !self.has_warned => {
                self.run.door.warn("unnamed-peer", "a peer without a name cannot be answered");
                self.has_warned = true;
            }
            (None, _) => {}
            (Some(to), Some(Fault::Delay(delay))) => {
                while self.late.len() >= LATE {
                    self.late.join_next().await;
                }
                while self.late.try_join_next().is_some() {}
                let (socket, whole) = (Arc::clone(self.socket), parts.concat());
                self.late.spawn(async move {
                    step::sleep(delay).await;
                    let _told = socket.send_to(&to, [&[], &whole]);
                });
            }
            (Some(to), _) => {
                let _told = self.socket.send_to(&to, parts);
            }
        }
    }

    /// Gives what one peer has sent to all others. Who cannot be reached any more is forgotten.
    fn pass_on(&mut self, from: Option<Sender>, data: &[u8]) {
        let (socket, from) = (self.socket, from.as_ref());
        self.members.retain(|member| {
            from == Some(member)
                || match socket.send_to(member, [&[], data]) {
                    Ok(()) => true,
                    Err(failed) => !matches!(failed.errno, Some(Errno::ECONNREFUSED | Errno::ENOENT)),
                }
        });
        if let Some(from) = from
            && !self.members.contains(from)
        {
            if self.members.len() >= MEMBERS {
                self.members.pop_front();
            }
            self.members.push_back(from.clone());
        }
    }

    /// Sends what is still held back.
    async fn end(mut self) {
        while self.late.join_next().await.is_some() {}
    }
}

/// Relays stdin and stdout with whoever sends the first datagram that is let in. To a peer without
/// a name nothing can be sent: it is only heard.
async fn relay_one(serve: &UnixServe, socket: Datagram, stdin: Stdin, run: &Run) -> Result<ExitCode, Failed> {
    let mut denied = vec![0; serve.service.recv_size().get()];
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
        return walk(serve, &Arc::new(socket), run).await;
    }
    let (stream, name) = socket.keep_to(peer)?;
    let relay = Relay {
        on_peer_close: None,
        idle: serve.service.timeout,
        recv_size: serve.service.recv_size(),
        expect: None,
        awaits_answer: false,
        linger: None,
    };
    let result = relay::run(stream, &relay, stdin, run).await;
    drop(name);
    result
}

fn admits(serve: &UnixServe, whose: Credentials) -> bool {
    serve.admits(whose.uid, whose.gid, &[])
}

//! The step connect: the addresses of one target, raced as RFC 8305 (Happy Eyeballs v2) says.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant as Deadline, sleep_until};

use super::open::{bind, open, set_options};
use super::{Door, Failed, Stream, now};
use crate::address::Address;
use crate::args::{Family, SocketOptions};
use crate::error::{Error, ExitCode, Step};
use crate::event::{self, Kind as EventKind};
use crate::socket::options::Role;
use crate::socket::{self, Connecting, Kind};
use crate::sys;

/// How long one attempt goes on alone before the next begins (RFC 8305, 5: "Connection Attempt
/// Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to the first of the addresses that answers, all attempts within `bound`.
///
/// Each attempt that fails is reported, the furthest of them decides the exit code; one that was
/// still under way when another won is reported by a warning.
///
/// # Errors
/// No address answered.
pub async fn connect(
    door: &Arc<Door>,
    addresses: &[Address],
    source: Option<&Address>,
    words: &Arc<SocketOptions>,
    bound: Duration,
) -> Result<Stream, Failed> {
    let mut queue = interleaved(addresses);
    let mut race = Race { door, source, words, running: JoinSet::new(), pending: Vec::new(), started: 0 };
    let mut furthest: Option<Failed> = None;
    let deadline = Deadline::now() + bound;
    let mut next_start = deadline;
    loop {
        // Whatever ended the wait below, the next attempt is due: a failure is an answer, after
        // which it need not wait (RFC 8305, 5).
        if let Some(address) = queue.pop_front() {
            race.start(address);
            next_start = Deadline::now() + ATTEMPT_DELAY;
        }
        if race.pending.is_empty() && queue.is_empty() {
            // Every target has an address, so an empty race has failed at least once.
            return Err(furthest.unwrap_or(Failed { code: ExitCode::NoAnswer, errno: None }));
        }
        tokio::select! {
            biased;
            Some(ended) = race.running.join_next_with_id() => {
                let lost = match ended {
                    Ok((id, outcome)) => {
                        race.forget(id);
                        match outcome {
                            Ok(won) => {
                                race.abandon(&won.peer);
                                return won.stream(door);
                            }
                            Err(lost) => lost,
                        }
                    }
                    Err(gone) => {
                        race.forget(gone.id());
                        let message = "connect: an attempt ended without a result".to_owned();
                        Lost::Error(Error::of_kind(Step::Connect, ExitCode::Local, message))
                    }
                };
                let is_last = race.pending.is_empty() && queue.is_empty();
                furthest = Some(further(furthest, match lost {
                    Lost::Reported(failed) => failed,
                    // To find out why takes its time, which no other attempt is to wait for.
                    Lost::Error(error) if is_last => door.fail_explained(error).await,
                    Lost::Error(error) => door.fail(&error),
                }));
            }
            () = sleep_until(deadline) => return Err(race.time_out(furthest)),
            () = sleep_until(next_start), if !queue.is_empty() => {}
        }
    }
}

/// Orders addresses as RFC 8305, 4 says: the resolver's order, with the families taking turns.
fn interleaved(addresses: &[Address]) -> VecDeque<Address> {
    let is_v6 = |address: &Address| address.ip().is_some_and(|ip| ip.is_ipv6());
    let first = addresses.first().is_some_and(is_v6);
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.iter().cloned().partition(|address| is_v6(address) == first);
    let mut turns = VecDeque::with_capacity(addresses.len());
    while let Some(address) = one.pop_front() {
        turns.push_back(address);
        turns.extend(other.pop_front());
    }
    turns.extend(other);
    turns
}

fn further(sum: Option<Failed>, failed: Failed) -> Failed {
    match sum {
        Some(sum) if sum.code.reach() >= failed.code.reach() => sum,
        _ => failed,
    }
}

/// Attempts that run, and what is known of them.
struct Race<'a> {
    door: &'a Arc<Door>,
    source: Option<&'a Address>,
    words: &'a Arc<SocketOptions>,
    running: JoinSet<Result<Won, Lost>>,
    pending: Vec<(Id, Address, Instant)>,
    started: u32,
}

impl Race<'_> {
    fn start(&mut self, peer: Address) {
        self.started += 1;
        let attempt = Attempt {
            door: Arc::clone(self.door),
            peer: peer.clone(),
            source: self.source.cloned(),
            words: Arc::clone(self.words),
            number: self.started,
        };
        let handle = self.running.spawn(attempt.run());
        self.pending.push((handle.id(), peer, now()));
    }

    fn forget(&mut self, id: Id) {
        self.pending.retain(|(pending, ..)| *pending != id);
    }

    /// Gives the others up, because one won.
    fn abandon(&mut self, winner: &Address) {
        self.running.abort_all();
        for (_, peer, began) in self.pending.drain(..) {
            let after = began.elapsed().as_secs_f64() * 1e3;
            let message = format!("connect {peer}: given up after {after:.3} ms, {winner} answered first");
            self.door.warn("attempt-abandoned", &message);
        }
    }

    /// Gives all up, because the time is over.
    fn time_out(&mut self, furthest: Option<Failed>) -> Failed {
        self.running.abort_all();
        let mut sum = furthest;
        for (_, peer, began) in std::mem::take(&mut self.pending) {
            let after = began.elapsed();
            self.door.emit(event::Timeout { conn: None, step: Step::Connect, after });
            let message = format!("connect {peer}: no answer within {:.3} s", after.as_secs_f64());
            let error = Error::of_kind(Step::Connect, ExitCode::NoAnswer, message).with_peer(peer);
            let hint =
                "a silent drop: a firewall on the way, a host that is down, or a server whose accept queue is full";
            sum = Some(further(sum, self.door.fail(&error.with_hint(hint))));
        }
        sum.unwrap_or(Failed { code: ExitCode::NoAnswer, errno: None })
    }
}

/// One address to connect to.
struct Attempt {
    door: Arc<Door>,
    peer: Address,
    source: Option<Address>,
    words: Arc<SocketOptions>,
    number: u32,
}

/// An attempt that came through.
struct Won {
    made: Socket,
    peer: Address,
    attempt: u32,
    duration: Duration,
    opened: Instant,
    is_tcp: bool,
}

/// An attempt that did not.
enum Lost {
    /// On a step before connect, reported.
    Reported(Failed),
    /// On connect, to be reported.
    Error(Error),
}

impl From<Failed> for Lost {
    fn from(failed: Failed) -> Self {
        Self::Reported(failed)
    }
}

impl Attempt {
    async fn run(self) -> Result<Won, Lost> {
        let kind = match &self.peer {
            Address::Inet(inet) if inet.is_ipv4() => Kind::tcp(Family::V4),
            Address::Inet(_) => Kind::tcp(Family::V6),
            _ => Kind::unix_stream(),
        };
        let made = open(&self.door, kind)?;
        set_options(&self.door, &made, kind, Role::Client, &self.words)?;
        if let Some(source) = &self.source {
            bind(&self.door, &made, source).await?;
        }
        let began = now();
        if socket::connect(&made, &self.peer).map_err(|error| self.failed(&error))? == Connecting::Done {
            return Ok(self.won(made, began, kind));
        }
        let waiting = sys::watch_socket(made).map_err(|(_, error)| self.failed(&error))?;
        poll_fn(|context| waiting.poll_write_ready(context).map(drop)).await;
        let made = waiting.into_inner();
        socket::connect_result(&made).map_err(|error| self.failed(&error))?;
        Ok(self.won(made, began, kind))
    }

    fn failed(&self, error: &std::io::Error) -> Lost {
        Lost::Error(Error::of_io(Step::Connect, error, &self.peer.to_string()).with_peer(self.peer.clone()))
    }

    fn won(self, made: Socket, began: Instant, kind: Kind) -> Won {
        let opened = now();
        let duration = opened - began;
        Won { made, peer: self.peer, attempt: self.number, duration, opened, is_tcp: kind.is_tcp() }
    }
}

impl Won {
    /// Reports the connection and begins to wait on it.
    fn stream(self, door: &Arc<Door>) -> Result<Stream, Failed> {
        let conn = door.next_conn();
        let retransmits = self.is_tcp && door.wants(EventKind::Connect);
        let info = if retransmits { sys::tcp_info(std::os::fd::AsFd::as_fd(&self.made)).ok() } else { None };
        door.emit(event::Connect {
            conn,
            peer: &self.peer,
            local: &socket::local(&self.made),
            attempt: self.attempt,
            duration: self.duration,
            syn_retransmits: info.map(|info| info.total_retrans),
        });
        Stream::new(Arc::clone(door), self.made, conn, self.peer, self.opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_from_the_first() {
        let address = |text: &str| Address::from(text.parse::<std::net::SocketAddr>().unwrap());
        let given = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(address);
        let turns = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(address);
        assert_eq!(interleaved(&given), turns);
        let given = ["1.1.1.1:1", "[::1]:1", "[::2]:1"].map(address);
        assert_eq!(interleaved(&given), given);
        assert!(interleaved(&[]).is_empty());
    }
}

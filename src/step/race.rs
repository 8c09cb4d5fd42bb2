//! The step connect: the addresses of one target, raced as RFC 8305 (Happy Eyeballs v2) says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{Id, JoinSet};
use tokio::time::{Instant as Deadline, sleep_until};

use super::attempt::{Attempt, Lost, Reach, Won};
use super::fail::RUN_IS_OVER;
use super::{Door, Failed, Stream, now};
use crate::address::Address;
use crate::error::{Error, ExitCode, Step};

/// How long one attempt goes on alone before the next begins (RFC 8305, 5: "Connection Attempt
/// Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to the first of the addresses that answers.
///
/// `attempts` counts the attempts on the target, so that they are numbered over several calls.
/// Each attempt that fails is reported, the furthest of them decides the exit code; one that was
/// still under way when another won is reported by a warning.
///
/// # Errors
/// No address answered.
pub async fn connect(
    door: &Arc<Door>,
    addresses: &[Address],
    reach: &Arc<Reach>,
    attempts: &mut u32,
) -> Result<Stream, Failed> {
    let mut queue = interleaved(addresses);
    if let Some(source) = reach.source.as_ref().and_then(Address::ip) {
        // An address of the other family cannot be reached from there.
        queue.retain(|address| address.ip().is_none_or(|ip| ip.is_ipv4() == source.is_ipv4()));
    }
    let deadline = Deadline::now() + reach.bound;
    let mut race = Race { door, reach, deadline, running: JoinSet::new(), pending: Vec::new(), attempts };
    let mut furthest: Option<Failed> = None;
    loop {
        // Whatever ended the wait below, the next attempt is due: a failure is an answer, after
        // which it need not wait (RFC 8305, 5).
        if race.deadline <= Deadline::now() {
            queue.clear();
        }
        let is_another = match queue.pop_front() {
            Some(address) => {
                race.start(address, queue.len());
                !queue.is_empty() && reach.first.is_none()
            }
            None => false,
        };
        if race.pending.is_empty() {
            // Nothing was tried where the source is of the other family, or the time was over first.
            return Err(match furthest {
                Some(failed) => failed,
                None => door.fail(&reach.untried()),
            });
        }
        let next_start = Deadline::now() + ATTEMPT_DELAY;
        tokio::select! {
            biased;
            Some(ended) = race.running.join_next_with_id() => {
                let lost = match ended {
                    Ok((id, Ok(won))) => {
                        race.forget(id);
                        race.abandon(&format!("{} answered first", won.peer()));
                        return won.stream(door);
                    }
                    Ok((id, Err(lost))) => {
                        race.forget(id);
                        lost
                    }
                    Err(gone) => {
                        race.forget(gone.id());
                        let message = "connect: an attempt ended without a result".to_owned();
                        Lost::Error(Box::new(Error::of_kind(Step::Connect, ExitCode::Local, message)))
                    }
                };
                let is_last = race.pending.is_empty() && queue.is_empty();
                furthest = Some(further(furthest, match lost {
                    Lost::Reported(failed) => failed,
                    // To find out why takes its time, which no other attempt is to wait for.
                    Lost::Error(error) if is_last && reach.is_explained => door.fail_explained(*error).await,
                    Lost::Error(error) => door.fail(&error),
                }));
            }
            () = sleep_until(next_start), if is_another => {}
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

/// Returns whichever of two failures came further: of two as far, the first.
pub fn further(sum: Option<Failed>, failed: Failed) -> Failed {
    match sum {
        Some(sum) if sum.code.reach() >= failed.code.reach() => sum,
        _ => failed,
    }
}

/// Attempts that run, and what is known of them.
struct Race<'a> {
    door: &'a Arc<Door>,
    reach: &'a Arc<Reach>,
    deadline: Deadline,
    running: JoinSet<Result<Won, Lost>>,
    pending: Vec<(Id, Address, Instant)>,
    attempts: &'a mut u32,
}

impl Race<'_> {
    fn start(&mut self, peer: Address, further: usize) {
        *self.attempts += 1;
        // Where each is tried alone, none may use up the time of those after it.
        let begin = Deadline::now();
        let share = self.deadline.saturating_duration_since(begin) / u32::try_from(further + 1).unwrap_or(u32::MAX);
        let deadline = if self.reach.first.is_some() { begin + share } else { self.deadline };
        let attempt = Attempt {
            door: Arc::clone(self.door),
            peer: peer.clone(),
            reach: Arc::clone(self.reach),
            deadline,
            number: *self.attempts,
        };
        let handle = self.running.spawn(attempt.run());
        self.pending.push((handle.id(), peer, now()));
    }

    fn forget(&mut self, id: Id) {
        self.pending.retain(|(pending, ..)| *pending != id);
    }

    /// Gives up those that are under way.
    fn abandon(&mut self, why: &str) {
        // One may have failed meanwhile: that is told as what it is. One that has come through is closed unused.
        while let Some(Ok((id, outcome))) = self.running.try_join_next_with_id() {
            let Err(lost) = outcome else { continue };
            self.forget(id);
            if let Lost::Error(error) = lost {
                let _reported = self.door.fail(&error);
            }
        }
        self.running.abort_all();
        for (_, peer, began) in self.pending.drain(..) {
            let target = self.reach.target.as_deref();
            self.door.given_up(&format!("connect {peer}"), began, why, Some(&peer), target);
        }
    }
}

impl Drop for Race<'_> {
    /// What is under way yet was cut off by the end of the run.
    fn drop(&mut self) {
        self.abandon(RUN_IS_OVER);
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

//! The accept queue of a listener: how deep, how deep it may be, and what did not get in.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use socket2::Socket;
use tokio::io::unix::AsyncFd;

use super::Door;
use crate::address::Address;
use crate::event::{self, Kind};
use crate::sys;

/// How often the queue is looked at: while nothing is wrong, that is all it costs.
const EVERY: Duration = Duration::from_secs(1);

/// A listener's queue, and what it was when last told.
pub(super) struct Queue {
    socket: Arc<AsyncFd<Arc<Socket>>>,
    local: Address,
    is_mptcp: bool,
    /// ListenOverflows of this network namespace when the listener began.
    overflows_before: Option<u64>,
    told: Mutex<Told>,
}

/// What was said of a queue so far.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    drops: u64,
    overflows: u64,
    has_warned: bool,
}

/// Why the queue is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A second has passed: told where something is wrong.
    Watch,
    /// A report is due, or the listener ends: told in any case.
    Report,
}

/// What the kernel says of a queue.
#[derive(Clone, Copy, Debug)]
struct Figures {
    depth: u32,
    limit: u32,
    drops: Option<u64>,
    overflows: Option<u64>,
}

impl Figures {
    /// As sk_acceptq_is_full() has it (include/net/sock.h): one more than the limit may wait.
    fn is_full(self) -> bool {
        self.depth > self.limit
    }
}

impl Queue {
    /// Begins to look at the queue of a listener once a second, until it is closed.
    pub(super) fn watch(
        door: &Arc<Door>,
        socket: &Arc<AsyncFd<Arc<Socket>>>,
        local: &Address,
        is_mptcp: bool,
    ) -> Arc<Self> {
        let queue = Arc::new(Self {
            socket: Arc::clone(socket),
            local: local.clone(),
            is_mptcp,
            overflows_before: listen_overflows(),
            told: Mutex::default(),
        });
        let (door, watched) = (Arc::clone(door), Arc::downgrade(&queue));
        if let Some(all) = door.watched() {
            all.add_queue(Weak::clone(&watched));
        }
        tokio::spawn(async move {
            loop {
                super::sleep(EVERY).await;
                let Some(queue) = watched.upgrade() else { return };
                queue.look(&door, Why::Watch);
            }
        });
        queue
    }

    /// Looks at the queue and tells what there is to tell.
    pub(super) fn look(&self, door: &Door, why: Why) {
        let Some(now) = self.figures() else { return missing(door, "TCP_INFO of the listener") };
        if now.drops.is_none() {
            missing(door, "SO_MEMINFO of the listener");
        }
        if now.overflows.is_none() {
            missing(door, "ListenOverflows in /proc/net/netstat");
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (drops, overflows) = (now.drops.unwrap_or(0), now.overflows.unwrap_or(0));
        let overflowed = overflows > told.overflows;
        // Overflows are those of every listener of the namespace: only a drop makes one ours.
        let dropped = if now.drops.is_some() { drops > told.drops } else { overflowed };
        if why == Why::Report || now.is_full() || dropped {
            let Figures { depth, limit, drops, overflows } = now;
            door.emit(event::Queue { local: &self.local, depth, limit, drops, overflows });
        }
        // What was dropped may have been so by other causes.
        let is_trouble = now.is_full() || (dropped && overflowed);
        if is_trouble && !told.has_warned {
            let what = match dropped && overflowed {
                true => format!("it overflows: {} connection attempts were dropped", drops.max(overflows)),
                false => "the next connection attempts are dropped".to_owned(),
            };
            let message = format!("listen {}: the accept queue is full, {what} (limit {})", self.local, now.limit);
            door.warn("accept-queue-full", &message);
        }
        *told = Told { drops, overflows, has_warned: is_trouble || (told.has_warned && dropped) };
    }

    fn figures(&self) -> Option<Figures> {
        let socket = self.socket.as_fd();
        let info = sys::tcp_info(socket).ok()?;
        let overflows = listen_overflows().zip(self.overflows_before).map(|(now, before)| now.saturating_sub(before));
        // An MPTCP socket listens by a TCP socket inside the kernel, whose drops it does not tell.
        let drops = if self.is_mptcp { None } else { sys::drops(socket).ok() };
        Some(Figures { depth: info.unacked, limit: info.sacked, drops, overflows })
    }
}

/// Says, once a run and to whoever wants to see much, that a figure is not to be had.
fn missing(door: &Door, what: &str) {
    if door.wants(Kind::Setsockopt) {
        door.warn_once("queue-figures-missing", &format!("the accept queue is not wholly known: no {what} here"));
    }
}

/// Returns how many connections did not fit into the accept queue of any listener of this network
/// namespace (proc_pid_net(5), TcpExt in /proc/net/netstat).
fn listen_overflows() -> Option<u64> {
    counter(&std::fs::read_to_string("/proc/net/netstat").ok()?, "ListenOverflows")
}

/// Returns a counter of TcpExt: a line of names, then a line of numbers.
fn counter(netstat: &str, name: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, numbers) = (lines.next()?.split_whitespace(), lines.next()?.split_whitespace());
    names.zip(numbers).find(|(each, _)| *each == name)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_name() {
        let netstat =
            "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 7 9\nIpExt: InNoRoutes\nIpExt: 5\n";
        assert_eq!(counter(netstat, "ListenOverflows"), Some(7));
        assert_eq!(counter(netstat, "InNoRoutes"), None);
        assert_eq!(counter("", "ListenOverflows"), None);
    }

    #[test]
    fn one_more_than_the_limit_is_full() {
        let figures = Figures { depth: 5, limit: 5, drops: None, overflows: None };
        assert!(!figures.is_full());
        assert!(Figures { depth: 6, ..figures }.is_full());
    }
}

//! A series of reports while a run goes on (`--report-every`): the figures of each open TCP
//! connection on which something goes on, the accept queue, then the totals so far.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::queue::{Queue, Why};
use super::watch::Watch;
use super::{Door, close};
use crate::event::{self, Kind};
use crate::sys;

/// An open connection: its descriptor, and what went either way.
pub(super) struct Open {
    pub(super) socket: Watch,
    pub(super) bytes_received: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
}

impl Open {
    pub(super) fn new(socket: Watch) -> Self {
        Self { socket, bytes_received: AtomicU64::new(0), bytes_sent: AtomicU64::new(0) }
    }

    /// Returns how many bytes recv gave.
    pub(super) fn received(&self) -> u64 {
        self.bytes_received.load(Ordering::Relaxed)
    }

    /// Returns how many bytes send took.
    pub(super) fn sent(&self) -> u64 {
        self.bytes_sent.load(Ordering::Relaxed)
    }
}

/// What is open now, where a series is wanted. It keeps nothing open, and forgets what is closed.
#[derive(Default)]
pub(super) struct Watched {
    connections: Mutex<BTreeMap<u64, Known>>,
    queues: Mutex<Vec<Weak<Queue>>>,
}

/// A connection, and how many bytes had moved when it was last reported.
struct Known {
    open: Weak<Open>,
    bytes: u64,
}

impl Watched {
    /// Begins to watch a connection.
    pub(super) fn add(&self, conn: u64, open: &Arc<Open>) {
        self.lock().insert(conn, Known { open: Arc::downgrade(open), bytes: 0 });
    }

    /// Forgets a connection.
    pub(super) fn forget(&self, conn: u64) {
        self.lock().remove(&conn);
    }

    /// Begins to watch the accept queue of a listener.
    pub(super) fn add_queue(&self, queue: Weak<Queue>) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).push(queue);
    }

    /// Returns the queues of the listeners that there are.
    fn queues(&self) -> Vec<Arc<Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }

    /// Returns a connection that is still open, and how many bytes moved since the last call.
    fn moved(&self, conn: u64) -> Option<(Arc<Open>, u64)> {
        let mut known = self.lock();
        let known = known.get_mut(&conn)?;
        let open = known.open.upgrade()?;
        let bytes = open.received() + open.sent();
        let moved = bytes - known.bytes;
        known.bytes = bytes;
        Some((open, moved))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins to report each time that `every` has passed; a tick that comes too late is left out. Must
/// run inside the runtime.
pub fn report_every(door: &Arc<Door>, every: Duration) {
    let door = Arc::clone(door);
    tokio::spawn(async move {
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            door.room().await;
            if door.wants(Kind::Tcp) {
                connections(&door).await;
            }
            for queue in door.watched().map(Watched::queues).unwrap_or_default() {
                queue.look(&door, Why::Report);
            }
            door.interim();
        }
    });
}

/// Reports every connection on which bytes moved, or are under way.
async fn connections(door: &Door) {
    /// How many are looked at before others have their turn.
    const AT_ONCE: usize = 64;
    let Some(watched) = door.watched() else { return };
    let conns: Vec<u64> = watched.lock().keys().copied().collect();
    for (at, some) in conns.chunks(AT_ONCE).enumerate() {
        if at > 0 {
            door.room().await;
            tokio::task::yield_now().await;
        }
        for conn in some {
            if let Some((open, moved)) = watched.moved(*conn) {
                report(door, *conn, &open, moved);
            }
        }
    }
}

fn report(door: &Door, conn: u64, open: &Open, moved: u64) {
    let socket = open.socket.get_ref();
    let unacknowledged = sys::unacknowledged(socket.as_fd()).ok();
    if moved == 0 && unacknowledged.unwrap_or(0) == 0 {
        return;
    }
    // A unix socket has none.
    let Some((figures, not_sent)) = close::tcp_figures(door, socket) else { return };
    door.emit(event::Tcp {
        conn,
        bytes_received: open.received(),
        bytes_sent: open.sent(),
        bytes_unacknowledged: unacknowledged,
        bytes_not_sent: not_sent,
        figures,
    });
}

#[cfg(test)]
mod tests {
    use crate::args::UnixType;
    use crate::socket::SocketKind;
    use crate::step::stream::Made;
    use std::time::Instant;

    use super::*;
    use crate::address::Address;
    use crate::error::ExitCode;
    use crate::event::{Audience, Event, Reason, Stamp};
    use crate::step::Stream;

    /// Hears nothing.
    struct Deaf;

    impl Audience for Deaf {
        fn wants(&self, _: Kind) -> bool {
            false
        }

        fn hear(&mut self, _: Stamp, _: &Event<'_>) {}

        fn add(&mut self, _: Stamp, _: &Event<'_>, _: bool) {}

        fn is_full(&self) -> bool {
            false
        }

        fn interim(&mut self, _: Stamp) {}

        fn finish(&mut self, _: Stamp, code: ExitCode) -> ExitCode {
            code
        }
    }

    #[test]
    fn what_is_closed_is_forgotten_and_what_did_not_move_is_known() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _inside = runtime.enter();
        let door = Door::new(Instant::now(), Box::new(Deaf), Arc::default());
        let door = Arc::new(door.watching());
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let socket = Watch::new(std::os::fd::OwnedFd::from(ours).into(), sys::BOTH_WAYS);
        let made = Made {
            kind: SocketKind::Unix(UnixType::Stream),
            conn: 7,
            peer: Address::UnixUnnamed,
            opened: Instant::now(),
            is_accepted: true,
            tells_of_room: true,
        };
        let stream = Stream::new(Arc::clone(&door), socket, made);
        let watched = door.watched().unwrap();
        stream.sent_before(b"hello");
        assert_eq!(watched.moved(7).map(|(_, moved)| moved), Some(5));
        assert_eq!(watched.moved(7).map(|(_, moved)| moved), Some(0));
        stream.close(Reason::Local);
        assert!(watched.moved(7).is_none() && watched.lock().is_empty());
        let end = std::io::Read::read(&mut &theirs, &mut [0; 1]).unwrap();
        assert_eq!(end, 0, "the descriptor is closed");
    }
}

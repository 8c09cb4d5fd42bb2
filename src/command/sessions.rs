//! The connections of a server that are open: those that are answered together, and those that have a task each.

use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use super::hall::{Exit, Hall};
use super::server::Header;
use super::session::{self, Rules};
use crate::error::{Error, ExitCode, Step};
use crate::event::Reason;
use crate::step::{Connection, Door};

/// The connections of a server that are open.
pub(super) struct Sessions {
    door: Arc<Door>,
    rules: Arc<Rules>,
    header: Header,
    /// Those that have a task each.
    alone: JoinSet<()>,
    /// Those that are answered together.
    hall: Option<Hall>,
}

impl Sessions {
    /// Begins with none.
    pub(super) fn new(rules: Rules, header: Header, door: &Arc<Door>) -> Self {
        let rules = Arc::new(rules);
        let hall = (rules.is_plain() && header.is_none()).then(|| Hall::new(&rules, door)).flatten();
        Self { door: Arc::clone(door), rules, header, alone: JoinSet::new(), hall }
    }

    /// Returns how many are open.
    pub(super) fn len(&self) -> usize {
        self.alone.len() + self.hall.as_ref().map_or(0, Hall::len)
    }

    /// Begins the session of a connection that was let in.
    pub(super) fn start(&mut self, connection: Connection) {
        if self.rules.messages == Some(0) {
            return connection.close(Reason::Limit);
        }
        // What fails was told, and is this connection's own.
        let _told = match &mut self.hall {
            Some(hall) => hall.welcome(connection),
            None => connection.open().map(|stream| session::start(&mut self.alone, stream, self.header, &self.rules)),
        };
    }

    /// Sees to those that have ended of themselves, so that they count no more.
    pub(super) fn reap(&mut self) {
        while let Some(end) = self.alone.try_join_next() {
            self.tell(end);
        }
    }

    /// Waits until some have ended; for ever where none is open.
    pub(super) async fn ended(&mut self) {
        while !self.turn().await {}
    }

    /// Waits until something has happened to some, and sees to it. Returns whether any has ended. Whoever drops it
    /// while it waits has lost nothing.
    pub(super) async fn turn(&mut self) -> bool {
        let exits = tokio::select! {
            Some(end) = self.alone.join_next() => {
                self.tell(end);
                return true;
            }
            Some(exits) = turn(&mut self.hall) => exits,
            else => std::future::pending().await,
        };
        let mut has_ended = false;
        for exit in exits {
            has_ended |= !matches!(exit, Exit::Leaves(_));
            match exit {
                Exit::Closed => {}
                Exit::Panicked => self.tell_fault(),
                Exit::Leaves(leaver) => drop(self.alone.spawn(session::finish(leaver, Arc::clone(&self.rules)))),
            }
        }
        has_ended
    }

    /// Ends all: each reports its close.
    pub(super) async fn shutdown(&mut self) {
        self.hall = None;
        self.alone.shutdown().await;
    }

    /// Reports a session that did not come to its own end.
    fn tell(&self, end: Result<(), JoinError>) {
        if end.is_err_and(|error| error.is_panic()) {
            self.tell_fault();
        }
    }

    fn tell_fault(&self) {
        let message = "recv: a session failed on a fault of sockeye's own; the server goes on".to_owned();
        let _reported = self.door.fail(&Error::of_kind(Step::Recv, ExitCode::Local, message));
    }
}

/// Takes a turn of the hall; `None` where there is none.
async fn turn(hall: &mut Option<Hall>) -> Option<Vec<Exit>> {
    Some(hall.as_mut()?.turn().await)
}

//! The end of a connection: our sending side, and all of it.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::Ordering;

use nix::errno::Errno;

use super::Stream;
use crate::error::Step;
use crate::event::{self, How, Reason};
use crate::step::Failed;
use crate::step::close::{self, Closing, End};
use crate::step::fail::errno;

impl Stream {
    /// Closes our sending side; the peer's goes on.
    ///
    /// # Errors
    /// As shutdown(2), reported.
    pub async fn shutdown(&self) -> Result<(), Failed> {
        self.end_sending().await.map_err(|error| self.failed_io(Step::Shutdown, &error))
    }

    /// Does what [`Stream::shutdown`] does, and leaves its error to be reported.
    pub(super) async fn end_sending(&self) -> io::Result<()> {
        let Some(socket) = self.socket() else { return Ok(()) };
        let (mut has_arrived, mut ended) = (false, Ok(()));
        if let Some(session) = self.tls() {
            has_arrived = close::is_acknowledged(socket.get_ref());
            // Boxed, for most connections have none.
            ended = Box::pin(self.end_secured(session, socket.get_ref())).await;
        }
        self.ending.we_end(socket.get_ref());
        match ended.and_then(|()| socket.get_ref().shutdown(Shutdown::Write)) {
            Ok(()) => {
                self.door.emit(event::Shutdown { conn: self.conn, how: How::Write });
                Ok(())
            }
            // A peer that has closed by a FIN alone refuses our close_notify, by a reset where it is one of TCP, and
            // that was all: what came before, its end too, is there to be read.
            Err(error) if has_arrived && errno(&error) == Some(Errno::ENOTCONN) => Ok(()),
            Err(error) if has_arrived && errno(&error) == Some(Errno::EPIPE) && self.kind.is_unix() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Closes the connection.
    pub fn close(mut self, reason: Reason) {
        self.end(reason);
    }

    fn end(&mut self, reason: Reason) {
        let at_eof = self.at_eof.load(Ordering::Relaxed);
        if !at_eof {
            // An empty record that is left unread is told apart from the peer's end too; a failure was told.
            let _told = self.tell_ends();
        }
        let Some(open) = self.open.take() else { return };
        if let Some(watched) = self.door.watched() {
            watched.forget(self.conn);
        }
        let end = End { at_eof, session: self.tls() };
        let audit = close::audit(&self.door, self.kind, open.socket.get_ref(), &self.ending, end);
        if let Some(session) = self.tls() {
            session.part(open.socket.get_ref());
        }
        let closing = Closing {
            conn: self.conn,
            reason: audit.reason(self.kind, reason),
            bytes_received: open.received(),
            bytes_sent: open.sent(),
            duration: self.opened.elapsed(),
        };
        // It is closed only when its last descriptor is.
        drop((open, self.aside.take()));
        close::report(&self.door, &closing, audit);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end(self.door.end());
    }
}

//! What only a server does that misbehaves on purpose: reset a peer, and watch one without reading.

use std::time::Duration;

use tokio::io::{Interest, Ready};

use super::open::reset_at_close;
use super::watch::Watch;
use super::{Failed, Recvd, Stream};
use crate::error::Step;
use crate::event::{self, Reason};

impl Stream {
    /// Ends the connection by a reset. TCP has one for any moment: closing with SO_LINGER of 0
    /// (socket(7)). A unix socket resets only a peer whose bytes were left unread (unix(7)): so the
    /// first ones are waited for, at most for `bound`.
    pub async fn reset(self, bound: Option<Duration>) {
        let reason = match self.kind().is_tcp() {
            true => self.linger_not(),
            false => self.unread(bound).await,
        };
        match reason {
            Ok(reason) => self.close(reason),
            Err(failed) => self.close(failed.reason()),
        }
    }

    /// Makes the close that follows a reset.
    fn linger_not(&self) -> Result<Reason, Failed> {
        let Some(socket) = self.socket().map(Watch::get_ref) else { return Ok(Reason::Local) };
        reset_at_close(self.door(), socket).map_err(|error| self.failed_io(Step::Setsockopt, &error))?;
        self.ending.we_reset();
        Ok(Reason::Local)
    }

    /// Waits until something has come that can be left unread.
    async fn unread(&self, bound: Option<Duration>) -> Result<Reason, Failed> {
        if let Err(after) = self.readable_within(bound).await {
            self.timeout(Step::Recv, after);
            return Ok(Reason::Timeout);
        }
        // Of the peer's end one recv makes a fact.
        Ok(match self.peer_closed().await? && self.recv(&mut [0])? == Recvd::Eof {
            true => Reason::Eof,
            false => Reason::Local,
        })
    }

    /// Waits, without reading, until the peer is gone altogether: not only its sending side is
    /// closed, and the kernel knows that.
    ///
    /// # Errors
    /// It has broken the connection off; reported.
    pub async fn gone(&self) -> Result<(), Failed> {
        let Some(socket) = self.socket() else { return Ok(()) };
        loop {
            // A hang-up is told as an end of writing (epoll_ctl(2), EPOLLHUP).
            let Ok(mut guard) = socket.ready(Interest::WRITABLE | Interest::ERROR).await else { return Ok(()) };
            let ready = guard.ready();
            // Asked for only then: to ask takes it, and one that has come since is told by the next edge.
            if ready.is_error()
                && let Ok(Some(error)) = socket.get_ref().take_error()
            {
                return Err(self.failed_io(Step::Recv, &error));
            }
            if ready.is_write_closed() {
                // What it has sent may be unread still.
                self.door().emit(event::Eof { conn: self.conn() });
                return Ok(());
            }
            guard.clear_ready_matching(Ready::WRITABLE | Ready::ERROR);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use nix::errno::Errno;
    use socket2::{Domain, Socket};
    use tokio::sync::Notify;

    use super::*;
    use crate::address::Address;
    use crate::args::UnixType;
    use crate::error::ExitCode;
    use crate::event::{Audience, Event, Kind, Stamp};
    use crate::packet::pattern;
    use crate::socket::SocketKind;
    use crate::step::Rest;
    use crate::step::stream::Made;
    use crate::step::{Door, Pattern, Sent};
    use crate::sys;

    /// Notes what it was told, and wants to see none of it.
    struct Recorder(Arc<Mutex<Vec<Kind>>>);

    impl Audience for Recorder {
        fn wants(&self, _: Kind) -> bool {
            false
        }

        fn hear(&mut self, _: Stamp, event: &Event<'_>) {
            self.0.lock().unwrap().push(event.kind());
        }

        fn add(&mut self, _: Stamp, _: &Event<'_>, _: bool) {}

        fn is_full(&self) -> bool {
            false
        }

        fn interim(&mut self, _: Stamp) {}

        fn finish(&mut self, _: Stamp, code: ExitCode) -> ExitCode {
            code
        }
    }

    /// Runs a walk with one end of a pair of unix sockets and returns the kinds of its events.
    fn walk<W: Future<Output = ()>>(kind: UnixType, walk: impl FnOnce(Stream, Socket, Arc<Door>) -> W) -> Vec<Kind> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let recorder = Recorder(Arc::clone(&told));
        super::super::run(async {
            let door = Arc::new(Door::new(Instant::now(), Box::new(recorder), Arc::new(Notify::new())));
            let (ours, theirs) = Socket::pair(Domain::UNIX, SocketKind::Unix(kind).kind(), None).unwrap();
            ours.set_nonblocking(true).unwrap();
            let ours = Watch::new(ours, sys::BOTH_WAYS);
            let made = Made {
                kind: SocketKind::Unix(kind),
                conn: 1,
                peer: Address::UnixUnnamed,
                opened: Instant::now(),
                is_accepted: true,
                tells_of_room: true,
            };
            let stream = Stream::new(Arc::clone(&door), ours, made);
            walk(stream, theirs, door).await;
        })
        .unwrap();
        std::mem::take(&mut told.lock().unwrap())
    }

    #[test]
    fn a_unix_peer_is_reset_by_its_bytes_left_unread() {
        for kind in [UnixType::Stream, UnixType::Seqpacket] {
            walk(kind, |stream, mut peer, _| async move {
                peer.write_all(b"hello").unwrap();
                stream.reset(None).await;
                assert_eq!(peer.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionReset);
            });
        }
    }

    #[test]
    fn a_unix_peer_that_sends_nothing_is_not_waited_for_for_ever() {
        let told = walk(UnixType::Stream, |stream, peer, _| async move {
            stream.reset(Some(Duration::from_millis(20))).await;
            drop(peer);
        });
        assert_eq!(told, [Kind::Timeout, Kind::Close]);
        let told = walk(UnixType::Stream, |stream, peer, _| {
            drop(peer);
            stream.reset(None)
        });
        assert_eq!(told, [Kind::Eof, Kind::Close]);
    }

    #[test]
    fn a_unix_peer_that_has_closed_is_gone() {
        for kind in [UnixType::Stream, UnixType::Seqpacket] {
            let told = walk(kind, |stream, peer, _| async move {
                let wait = super::super::within(Some(Duration::from_millis(20)), stream.gone()).await;
                assert!(wait.is_none(), "it is there");
                drop(peer);
                assert_eq!(stream.gone().await, Ok(()));
            });
            assert_eq!(told, [Kind::Eof, Kind::Close]);
        }
    }

    #[test]
    fn a_reset_that_comes_as_it_is_asked_whether_the_peer_is_gone_is_told() {
        for kind in [UnixType::Stream, UnixType::Seqpacket] {
            let told = walk(kind, |stream, peer, _| async move {
                assert_eq!(stream.send([&[], b"unread"], Rest::Stays), Ok(Sent::All));
                // All that was told until then is that there is room.
                stream.writable().await;
                drop(peer);
                assert_eq!(stream.gone().await.map_err(|failed| failed.errno), Err(Some(Errno::ECONNRESET)));
            });
            assert_eq!(told, [Kind::Send, Kind::Error, Kind::Close]);
        }
    }

    #[test]
    fn unix_peers_are_sent_the_pattern_as_bytes_or_as_records() {
        for kind in [UnixType::Stream, UnixType::Seqpacket] {
            walk(kind, |stream, mut peer, door| async move {
                assert_eq!(stream.is_bytes(), kind == UnixType::Stream);
                let pattern = Pattern::new(&door);
                let mut feed = stream.feed(&pattern, Rest::Stays);
                let (mut got, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
                while got.len() < 2 << 20 {
                    let sent = feed.send(u64::MAX).unwrap();
                    let mut left = sent as usize;
                    while left > 0 {
                        let count = peer.read(&mut buffer).unwrap();
                        assert!(kind == UnixType::Stream || count == left, "a record is what one send took");
                        got.extend_from_slice(&buffer[..count]);
                        left -= count;
                    }
                    if sent == 0 {
                        stream.writable_within(None).await.unwrap();
                    }
                }
                assert!(got == pattern::bytes(got.len()));
            });
        }
    }
}

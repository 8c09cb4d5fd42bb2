//! What was done: one function a step; each makes the call, times it, and emits the event or the
//! error. So nothing happens that is not reported, and nothing is reported that did not happen.
//!
//! The descriptors live here ([`Listener`], [`Stream`]), and time enters here alone ([`now`],
//! [`sleep`], [`within`], [`Grid`], [`Stop`]).

use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::event::Mptcp;

mod apart;
mod attempt;
mod close;
mod crowd;
mod datagram;
mod door;
mod drops;
mod fail;
mod fast_open;
mod fault;
mod keys;
mod listener;
mod machine;
mod open;
mod order;
mod pace;
mod ping;
mod privileged;
mod proxy;
mod proxy_protocol;
mod queue;
mod race;
mod resolve;
mod roots;
mod round;
mod runtime;
mod schedule;
mod series;
mod source;
mod splice;
mod stdin;
mod stop;
mod stream;
mod thread;
mod tick;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls/absent.rs"]
mod tls;
mod trip;
mod udp;
mod unix;
mod watch;

pub use attempt::Reach;
pub use crowd::{Came, Crowd};
pub use datagram::{Datagram, Datagrammed, Name, Sender};
pub use door::Door;
pub use fail::Failed;
pub use fast_open::is_fast_open_on;
pub use keys::Keys;
pub use listener::{Accepted, Connection, Listener};
pub use machine::{
    FAST_OPEN_CLIENT, FAST_OPEN_SERVER, descriptors, descriptors_for, fast_open, is_loopback_up, raise_descriptors,
    stamping_interfaces, sysctl,
};
pub use open::{bind_address, listener, source_address};
pub use order::Order;
pub use pace::Pace;
pub use ping::{Due, PingWords, Pinger, ProbeFate, Targets, permits};
pub use privileged::{LIST_BYTES, Privileged, give_up_rights};
pub use proxy::{Asked, Hop, Lost, ask};
pub use proxy_protocol::{announce, read_header};
pub use race::{connect, further};
pub use resolve::{resolve, resolve_host};
pub use roots::SystemRoots;
pub use round::{Grid, probed, round};
pub use runtime::{aside, run};
pub use schedule::Schedule;
pub use series::report_every;
pub use source::{Feed, Pattern};
pub use splice::Spliced;
pub use stdin::{Chunks, Stdin};
pub use stop::{Cause, Stop};
pub use stream::{Recvd, Rest, Sent, Stream};
pub use thread::{ExactWait, Halt, MOST_SPIN, Woken, on_privileged, on_thread, processor_time};
pub use tick::tick;
pub use tls::{ClientTls, ServerTls, system_roots};
pub use udp::{
    Drained, Fate, Joining, Ready, Receiver, Reflector, Sending, Udp, UdpWords, Whole, udp_receiver, udp_sender,
};
pub use udp::{Taken, Taker, Tried, Unsent};
pub use unix::{UnixPlace, unix_datagram, unix_listener};

pub use crate::socket::options::Extras;
pub use crate::sys::Credentials;

/// Returns the monotonic time.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Returns how long ago that was.
#[must_use]
pub fn since(then: Instant) -> Duration {
    then.elapsed()
}

/// Reads a file, at most so many bytes of it, on a thread that nobody need wait for: it may be a pipe.
///
/// # Errors
/// As open(2) and read(2), or it has more; not reported.
pub async fn read_file(path: &std::path::Path, most: u64) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    let read = aside("read", move || {
        let mut all = Vec::new();
        File::open(&path)?.take(most + 1).read_to_end(&mut all)?;
        if all.len() as u64 > most {
            return Err(io::Error::from_raw_os_error(Errno::EFBIG as i32));
        }
        Ok(all)
    });
    match read {
        Some(read) => read.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())),
        None => Err(io::Error::from_raw_os_error(Errno::EAGAIN as i32)),
    }
}

/// Reports that a file could not be opened or read, or what is wrong with what it has.
pub fn unreadable(door: &Door, error: &crate::error::Error) -> Failed {
    door.fail(error)
}

/// Waits for a duration.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Lets all others go on that can.
pub async fn yield_now() {
    tokio::task::yield_now().await;
}

/// Waits for a future, at most for a duration where there is one; `None` where that passed.
pub async fn within<T>(bound: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    match bound {
        Some(bound) => tokio::time::timeout(bound, future).await.ok(),
        None => Some(future.await),
    }
}

/// Returns what became of MPTCP on a connection that was to speak it.
fn mptcp(socket: &socket2::Socket) -> Option<Mptcp> {
    let is_mptcp = crate::sys::is_mptcp(socket.as_fd()).ok()?;
    Some(if is_mptcp { Mptcp::Negotiated } else { Mptcp::Fallback })
}

//! What was done: one function a step; each makes the call, times it, and emits the event or the
//! error. So nothing happens that is not reported, and nothing is reported that did not happen.
//!
//! The descriptors live here ([`Listener`], [`Stream`]), and time enters here alone ([`now`],
//! [`sleep`], [`within`], [`Grid`], [`Stop`]).

use std::future::Future;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::event::Mptcp;

mod attempt;
mod close;
mod datagram;
mod door;
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
mod queue;
mod race;
mod resolve;
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
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls/absent.rs"]
mod tls;
mod trip;
mod udp;
mod unix;

pub use attempt::Reach;
pub use datagram::{Datagram, Datagrammed, Name, Sender};
pub use door::Door;
pub use fail::Failed;
pub use fast_open::is_fast_open_on;
pub use keys::Keys;
pub use listener::{Accepted, Connection, Listener};
pub use machine::{
    FAST_OPEN_CLIENT, FAST_OPEN_SERVER, descriptors, descriptors_for, fast_open, is_loopback_up, raise_descriptors,
    sysctl,
};
pub use open::{bind_address, listener, source_address};
pub use order::Order;
pub use pace::Pace;
pub use ping::{Due, PingWords, Pinger, ProbeFate, Targets, permits};
pub use privileged::{LIST_BYTES, Privileged, give_up_rights};
pub use race::connect;
pub use resolve::{resolve, resolve_host};
pub use round::{Grid, round};
pub use runtime::{aside, run};
pub use schedule::Schedule;
pub use series::report_every;
pub use source::{Feed, Pattern};
pub use splice::Spliced;
pub use stdin::{Chunks, Stdin};
pub use stop::{Cause, Stop};
pub use stream::{Recvd, Sent, Stream};
pub use thread::{Halt, Woken, on_privileged, on_thread, processor_time};
pub use tls::{ClientTls, ServerTls, SystemRoots, system_roots};
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

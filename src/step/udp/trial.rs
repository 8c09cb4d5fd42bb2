//! A UDP socket that is tried out: a few datagrams, one after the other, in the runtime.

use std::ops::Deref;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use socket2::SockAddr;

use super::queue::{About, Log};
use super::{Ready, Receiver, Udp};
use crate::error::errno_name;
use crate::event::Reason;
use crate::step::trip::wall_clock;
use crate::step::{Failed, sleep, within};
use crate::sys::{Outgoing, SendBatch};

/// A socket that is tried out. Its close is reported however the trial ends.
pub struct Tried {
    udp: Udp,
    is_over: bool,
}

/// Takes what comes to a socket that is tried out.
pub struct Taker<'a> {
    ready: Ready,
    receiver: Receiver<'a>,
}

/// What one recvmmsg(2) gave.
#[derive(Debug)]
pub struct Taken {
    /// How many datagrams.
    pub datagrams: u64,
    /// In how many buffers they lay: fewer, where the kernel merged some.
    pub buffers: usize,
    /// Their bytes, all together.
    pub data: Vec<u8>,
    /// How long ago the kernel received the first, by its time stamp; `None` where it gave none.
    pub since_stamp: Option<Duration>,
    from: SockAddr,
}

/// The kernel did not take what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsent(pub Errno);

impl Unsent {
    /// Returns the name of the errno.
    #[must_use]
    pub fn name(self) -> String {
        errno_name(self.0)
    }
}

impl Tried {
    /// Tries a socket out.
    #[must_use]
    pub fn new(udp: Udp) -> Self {
        Self { udp, is_over: false }
    }

    /// Ends the trial.
    pub fn close(mut self) {
        self.is_over = true;
    }

    /// Begins to take what comes.
    ///
    /// # Errors
    /// No descriptor is left for the wait; reported.
    pub fn taker(&self) -> Result<Taker<'_>, Failed> {
        Ok(Taker { ready: self.udp.ready()?, receiver: Receiver::new(&self.udp, usize::MAX, true, true) })
    }

    /// Sends a datagram, or a buffer that the kernel is to cut into datagrams of so many bytes
    /// (UDP_SEGMENT). That it may fail is what is tried: whoever asked tells of it.
    ///
    /// # Errors
    /// As sendmsg(2), not reported.
    pub fn send(&self, data: &[u8], segment: Option<u16>) -> Result<(), Unsent> {
        let outgoing = [self.udp.outgoing(data, segment)];
        match SendBatch::default().send(self.udp.fd(), &outgoing) {
            Ok(_) => {
                self.udp.tell_sent(&outgoing);
                Ok(())
            }
            Err(error) => Err(Unsent(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))),
        }
    }

    /// Sends a datagram, and returns how long after that began the kernel says that it left, by the
    /// error queue; `None` where it gives no time stamp.
    ///
    /// # Errors
    /// As sendmsg(2), not reported.
    pub async fn send_stamped(&self, data: &[u8]) -> Result<Option<Duration>, Unsent> {
        /// On loopback the first look finds it.
        const PATIENCE: Duration = Duration::from_millis(100);
        const PAUSE: Duration = Duration::from_millis(1);
        let (began, mut left) = (wall_clock(), Left(None));
        self.send(data, None)?;
        let sent = Instant::now();
        loop {
            self.udp.drain(&mut left);
            if left.0.is_some() || sent.elapsed() >= PATIENCE {
                return Ok(left.0.and_then(|left| left.checked_sub(began)).map(Duration::from_nanos));
            }
            sleep(PAUSE).await;
        }
    }
}

impl Deref for Tried {
    type Target = Udp;

    fn deref(&self) -> &Udp {
        &self.udp
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        self.udp.tell_closed(if self.is_over { Reason::Local } else { self.udp.door.end() });
    }
}

impl Taker<'_> {
    /// Waits until something comes, at most so long, and takes it; `None` where nothing came.
    ///
    /// # Errors
    /// As recvmmsg(2), reported.
    pub async fn take(&mut self, bound: Duration) -> Result<Option<Taken>, Failed> {
        let came = within(Some(bound), async {
            loop {
                match self.receiver.take(u64::MAX, None) {
                    Ok(0) => self.ready.wait().await,
                    came => return came,
                }
                self.receiver.drain();
            }
        });
        let Some(came) = came.await else { return Ok(None) };
        let datagrams = came?;
        let mut received = self.receiver.buffers();
        let Some(first) = received.next() else { return Ok(None) };
        let stamp = first.kernel_time.and_then(|stamp| wall_clock().checked_sub(stamp));
        let mut taken = Taken {
            datagrams,
            buffers: 1,
            data: first.data.to_vec(),
            since_stamp: stamp.map(Duration::from_nanos),
            from: first.from,
        };
        for further in received {
            taken.buffers += 1;
            taken.data.extend_from_slice(further.data);
        }
        Ok(Some(taken))
    }
}

impl Udp {
    /// Sends what came back to who sent it.
    ///
    /// # Errors
    /// As sendmsg(2), reported.
    pub fn send_back(&self, taken: &Taken) -> Result<(), Failed> {
        let outgoing =
            [Outgoing { to: Some(&taken.from), parts: [&[], &taken.data], segment: None, from: None, hops: None }];
        match SendBatch::default().send(self.fd(), &outgoing) {
            Ok(_) => {
                self.tell_sent(&outgoing);
                Ok(())
            }
            Err(error) => {
                Err(self.door.fail(&self.send_failed(&error, &super::shown(&taken.from), taken.data.len(), None)))
            }
        }
    }
}

/// When the first datagram left: nanoseconds since 1970.
struct Left(Option<u64>);

impl Log for Left {
    fn refused(&mut self, _: &[u8]) -> About {
        About::UNKNOWN
    }

    fn left(&mut self, _: u32, kernel_time: u64) {
        self.0.get_or_insert(kernel_time);
    }
}

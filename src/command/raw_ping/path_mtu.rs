//! The largest packet that passes whole: what routers say of it, and where none does, by halving
//! (RFC 1191, RFC 8201, and RFC 8899 for ways where nobody says anything).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::args::RawPing;
use crate::args::value::MOST_DATA;
use crate::step::{Due, Failed, Halt, Pinger, ProbeFate, Woken};

/// How often a size is tried before its silence says that it does not pass.
const TRIES: u32 = 3;

/// The least that is waited for an answer, and by how much that must be longer than the longest round trip.
const LEAST: Duration = Duration::from_millis(100);
const LONGER: u32 = 4;

/// Looks for the path's MTU to each target.
///
/// # Errors
/// What kept the kernel from sending to the last target of which that is so, though it had sent to it before,
/// reported; the others are looked at nevertheless.
pub(super) fn walk(ping: &RawPing, pinger: &mut Pinger, halt: &Halt) -> Result<(), Failed> {
    let mut result = Ok(());
    for target in 0..pinger.targets().len() {
        let mut search = Search { ping, pinger, halt, target, sequence: 0 };
        if let Some(failed) = search.run()? {
            result = Err(failed);
        }
        if halt.is_set() {
            break;
        }
    }
    result
}

struct Search<'a> {
    ping: &'a RawPing,
    pinger: &'a mut Pinger,
    halt: &'a Halt,
    target: u32,
    sequence: u64,
}

/// What became of a size.
enum Verdict {
    Passes,
    /// Who says that it does not, and what would; nobody where it is this host's own device.
    TooLarge(Option<IpAddr>, Option<u32>),
    Vanishes,
    /// Something else came of it, which says nothing of sizes.
    Unclear(&'static str),
    /// The kernel does not send to this target any more.
    Failed(Option<Failed>),
    /// The run is over.
    Over,
}

impl Search<'_> {
    /// Looks, and tells what was found. Returns why nothing was, where the kernel does not send any more.
    fn run(&mut self) -> Result<Option<Failed>, Failed> {
        let is_v6 = self.pinger.targets().address(self.target).ip().is_some_and(|ip| ip.is_ipv6());
        // IP header, then ICMP's or UDP's: both have 8 bytes.
        let headers = if is_v6 { 48 } else { 28 };
        let small = headers + self.ping.size().min(56);
        self.pinger.set_patience(self.ping.timeout);
        // Where not even a small one passes there is nothing to look for.
        match self.verdict(small - headers)? {
            Verdict::Passes => {}
            Verdict::Over => return Ok(None),
            // What that comes to is told of the target.
            Verdict::Failed(_) => return Ok(self.gives_up("cannot be sent to")),
            Verdict::Unclear(why) => return Ok(self.gives_up(why)),
            Verdict::TooLarge(..) => return Ok(self.gives_up("is not reached by a small packet")),
            Verdict::Vanishes => return Ok(self.gives_up("does not answer")),
        }
        let first = self.pinger.first_mtu(self.target).unwrap_or(MOST_DATA + headers).min(MOST_DATA + headers);
        let patience = self.ping.timeout.min(LEAST.max(self.pinger.longest() * LONGER));
        self.pinger.set_patience(patience);
        let (mut low, mut high, mut size) = (small, first.max(small), first.max(small));
        // Who says so, and whether it was silence that set the bound.
        let (mut said, mut silent) = (None, false);
        while low < high {
            match self.verdict(size - headers)? {
                Verdict::Passes => {
                    low = size;
                    if low >= high {
                        break;
                    }
                    size = (low + high).div_ceil(2);
                }
                Verdict::TooLarge(from, mtu) => {
                    silent = false;
                    said = from.or(said);
                    // A router that is older than RFC 1191 names no size, a broken one a wrong one.
                    let told = mtu.and_then(|mtu| usize::try_from(mtu).ok()).filter(|mtu| (low..size).contains(mtu));
                    high = told.unwrap_or(size - 1);
                    size = told.unwrap_or((low + high).div_ceil(2));
                }
                Verdict::Vanishes => {
                    (silent, said) = (true, None);
                    high = size - 1;
                    size = (low + high).div_ceil(2);
                }
                Verdict::Unclear(why) => return Ok(self.gives_up(why)),
                Verdict::Failed(failed) => {
                    self.gives_up("cannot be sent to");
                    return Ok(failed);
                }
                Verdict::Over => return Ok(None),
            }
        }
        self.pinger.tell_path_mtu(self.target, low as u64, said, silent);
        Ok(None)
    }

    /// Says why nothing was found.
    fn gives_up(&self, why: &str) -> Option<Failed> {
        self.pinger.warn_of_no_mtu(self.target, why);
        None
    }

    /// Tries a size, more than once where nobody answers.
    fn verdict(&mut self, size: usize) -> Result<Verdict, Failed> {
        let mut unclear = None;
        for _ in 0..TRIES {
            let due = Due { target: self.target, sequence: self.sequence, hops: None, size };
            self.sequence += 1;
            let number = self.pinger.send(&[due], None, 0, self.halt);
            loop {
                self.pinger.take()?;
                match self.pinger.fate(number) {
                    ProbeFate::Open => {}
                    ProbeFate::Answered => return Ok(Verdict::Passes),
                    ProbeFate::Refused(Some((from, mtu))) => return Ok(Verdict::TooLarge(Some(from), mtu)),
                    ProbeFate::Refused(None) => {
                        unclear = Some("is not reached, for another reason than the size of packets");
                        break;
                    }
                    // Larger than the device takes.
                    ProbeFate::NotSent(Some(Errno::EMSGSIZE)) => return Ok(Verdict::TooLarge(None, None)),
                    // There was no room for it, which says nothing of the way.
                    ProbeFate::NotSent(Some(Errno::EAGAIN | Errno::ENOBUFS)) => {
                        unclear = Some("could not be sent to, for want of room");
                        self.pinger.rest(self.halt);
                        break;
                    }
                    ProbeFate::NotSent(_) => return Ok(Verdict::Failed(self.pinger.unsent())),
                    ProbeFate::Lost => break,
                }
                if self.halt.is_set() || self.pinger.wait(self.halt, None::<Instant>) == Woken::Halted {
                    return Ok(Verdict::Over);
                }
            }
        }
        Ok(unclear.map_or(Verdict::Vanishes, Verdict::Unclear))
    }
}

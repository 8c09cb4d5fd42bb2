//! The largest packet that passes whole: what routers say of it, and where none does, by halving
//! (RFC 1191, RFC 8201, and RFC 8899 for ways where nobody says anything).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::MOST_DATA;
use crate::args::RawPing;
use crate::step::{Due, Failed, Halt, Pinger, ProbeFate, Woken};

/// How often a size is tried before its silence says that it does not pass.
const TRIES: u32 = 3;

/// The least that is waited for an answer, and by how much that must be longer than the longest round trip.
const LEAST: Duration = Duration::from_millis(100);
const LONGER: u32 = 4;

/// Looks for the path's MTU to each target.
pub(super) fn walk(ping: &RawPing, pinger: &mut Pinger, halt: &Halt) -> Result<(), Failed> {
    for target in 0..pinger.targets().len() {
        let mut search = Search { ping, pinger, halt, target, sequence: 0 };
        search.run()?;
        if halt.is_set() {
            return Ok(());
        }
    }
    Ok(())
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
    /// Who says that it does not, and what would.
    TooLarge(Option<IpAddr>, Option<u32>),
    Vanishes,
    /// The run is over.
    Over,
}

impl Search<'_> {
    fn run(&mut self) -> Result<(), Failed> {
        let is_v6 = self.pinger.targets().address(self.target).ip().is_some_and(|ip| ip.is_ipv6());
        // IP header, then ICMP's or UDP's: both have 8 bytes.
        let headers = if is_v6 { 48 } else { 28 };
        let small = headers + self.ping.size().min(56);
        self.pinger.set_patience(self.ping.timeout);
        // Where not even a small one passes there is nothing to look for.
        match self.verdict(small - headers)? {
            Verdict::Passes => {}
            Verdict::Over => return Ok(()),
            Verdict::TooLarge(..) | Verdict::Vanishes => {
                self.pinger.warn_of_no_mtu(self.target);
                return Ok(());
            }
        }
        let first = self.pinger.first_mtu(self.target).unwrap_or(MOST_DATA + headers).min(MOST_DATA + headers);
        let patience = self.ping.timeout.min(LEAST.max(self.pinger.longest() * LONGER));
        self.pinger.set_patience(patience);
        let (mut low, mut high, mut size) = (small, first.max(small), first.max(small));
        // Who says so, and whether it was silence that set the bound.
        let (mut said, mut silent) = (None, false);
        while low < high || size == first {
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
                Verdict::Over => return Ok(()),
            }
        }
        self.pinger.tell_path_mtu(self.target, low as u64, said, silent);
        Ok(())
    }

    /// Tries a size, more than once where nobody answers.
    fn verdict(&mut self, size: usize) -> Result<Verdict, Failed> {
        for _ in 0..TRIES {
            let due = Due { target: self.target, sequence: self.sequence, hops: None, size };
            self.sequence += 1;
            let number = self.pinger.send(&[due], None, 0, self.halt);
            loop {
                self.pinger.take()?;
                match self.pinger.fate(number) {
                    ProbeFate::Open => {}
                    ProbeFate::Answered => return Ok(Verdict::Passes),
                    ProbeFate::Refused(from, mtu) => return Ok(Verdict::TooLarge(from, mtu)),
                    // Larger than the device takes.
                    ProbeFate::NotSent => return Ok(Verdict::TooLarge(None, None)),
                    ProbeFate::Lost => break,
                }
                if self.halt.is_set() || self.pinger.wait(self.halt, None::<Instant>) == Woken::Halted {
                    return Ok(Verdict::Over);
                }
            }
        }
        Ok(Verdict::Vanishes)
    }
}

//! What this host's kernel dropped because a receive buffer was full: not the network's loss.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::Door;
use crate::address::Address;
use crate::event;
use crate::sys;

/// How often it is looked at while something comes.
const EVERY: Duration = Duration::from_millis(100);

/// The drops of a socket, as they were last told.
#[derive(Debug)]
pub(super) struct Drops {
    /// All that were seen; the kernel counts in 32 bits.
    total: u64,
    before: u32,
    looked: Instant,
    is_told: bool,
}

/// The socket whose drops are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hearer<'a> {
    pub(super) fd: BorrowedFd<'a>,
    pub(super) local: &'a Address,
    /// Which it is of those that have this address, from 0.
    pub(super) nth: usize,
    /// Whether the kernel merges datagrams.
    pub(super) is_merged: bool,
    /// The receive buffer that was asked for, in bytes.
    pub(super) recv_buffer_asked: Option<u32>,
}

impl Drops {
    pub(super) fn new() -> Self {
        Self { total: 0, before: 0, looked: Instant::now(), is_told: false }
    }

    /// Returns whether it is time to look.
    pub(super) fn is_due(&self) -> bool {
        self.looked.elapsed() >= EVERY
    }

    /// Looks, and tells what there is to tell: what was dropped, and for the totals that nothing was.
    pub(super) fn look_at(&mut self, hearer: Hearer<'_>, door: &Door) {
        self.looked = Instant::now();
        let Ok(now) = sys::drops(hearer.fd) else {
            if !std::mem::replace(&mut self.is_told, true) {
                door.warn_once("kernel-drops-unknown", "this kernel does not tell what it drops (SO_MEMINFO)");
            }
            return;
        };
        let Some(total) = self.further(now as u32) else { return };
        let Hearer { fd, local, nth, is_merged, recv_buffer_asked } = hearer;
        let drops = event::KernelDrops {
            local,
            kernel_drops: (!is_merged).then_some(total),
            kernel_drop_buffers: is_merged.then_some(total),
            recv_buffer: sys::get_int(fd, libc::SOL_SOCKET, libc::SO_RCVBUF)
                .ok()
                .and_then(|bytes| u64::try_from(bytes).ok()),
            recv_buffer_asked: recv_buffer_asked.map(u64::from),
            nth,
        };
        match total {
            0 => door.count(drops),
            _ => door.emit(drops),
        }
    }

    /// Takes what the kernel's counter says now, and returns the total, where that was not told yet.
    fn further(&mut self, now: u32) -> Option<u64> {
        let further = now.wrapping_sub(std::mem::replace(&mut self.before, now));
        if further == 0 && std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        self.is_told = true;
        self.total += u64::from(further);
        Some(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_outlasts_the_kernels_counter() {
        let mut drops = Drops::new();
        let told = [0, 0, 5, u32::MAX - 1, u32::MAX - 1, 3].map(|now| drops.further(now));
        let most = u64::from(u32::MAX);
        assert_eq!(told, [Some(0), None, Some(5), Some(most - 1), None, Some(most + 4)]);
    }

    #[test]
    fn drops_of_before_the_first_look_are_told() {
        assert_eq!(Drops::new().further(7), Some(7));
    }
}

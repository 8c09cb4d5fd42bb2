//! What this host's kernel dropped because a receive buffer was full: not the network's loss.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::Udp;
use crate::event;
use crate::sys;

/// How often it is looked at while datagrams come.
const EVERY: Duration = Duration::from_millis(100);

/// The drops of a socket, as they were last told.
pub(super) struct Drops {
    /// All that were seen; the kernel counts in 32 bits.
    total: u64,
    before: u32,
    looked: Instant,
    is_told: bool,
}

impl Drops {
    pub(super) fn new() -> Self {
        Self { total: 0, before: 0, looked: Instant::now(), is_told: false }
    }

    /// Looks, where it is time to.
    pub(super) fn look_again(&mut self, udp: &Udp) {
        if self.looked.elapsed() >= EVERY {
            self.look(udp);
        }
    }

    /// Looks, and tells what there is to tell: what was dropped, and for the totals that nothing was.
    pub(super) fn look(&mut self, udp: &Udp) {
        self.looked = Instant::now();
        let Ok(now) = sys::drops(udp.fd()) else {
            if !self.is_told {
                self.is_told = true;
                udp.door.warn("kernel-drops-unknown", "this kernel does not tell what it drops (SO_MEMINFO)");
            }
            return;
        };
        let now = now as u32;
        let further = now.wrapping_sub(std::mem::replace(&mut self.before, now));
        if further == 0 && self.is_told {
            return;
        }
        self.is_told = true;
        self.total += u64::from(further);
        let drops = event::KernelDrops {
            local: &udp.local,
            kernel_drops: (!udp.is_merged).then_some(self.total),
            kernel_drop_buffers: udp.is_merged.then_some(self.total),
            recv_buffer: sys::get_int(udp.socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF)
                .ok()
                .and_then(|bytes| u64::try_from(bytes).ok()),
            recv_buffer_asked: udp.recv_buffer.map(u64::from),
        };
        match self.total {
            0 => udp.door.count(drops),
            _ => udp.door.emit(drops),
        }
    }
}

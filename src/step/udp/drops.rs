//! What this host's kernel dropped of the datagrams to a UDP socket.

use std::os::fd::AsFd;

use super::Udp;
use crate::step::drops::{self, Hearer};

/// The drops of a socket, as they were last told.
pub(super) struct Drops(drops::Drops);

impl Drops {
    pub(super) fn new() -> Self {
        Self(drops::Drops::new())
    }

    /// Looks, where it is time to.
    pub(super) fn look_again(&mut self, udp: &Udp) {
        if self.0.is_due() {
            self.look(udp);
        }
    }

    /// Looks, and tells what there is to tell: what was dropped, and for the totals that nothing was.
    pub(super) fn look(&mut self, udp: &Udp) {
        let hearer = Hearer {
            fd: udp.socket.as_fd(),
            local: udp.local(),
            nth: 0,
            is_merged: udp.is_merged,
            recv_buffer_asked: udp.recv_buffer,
        };
        self.0.look_at(hearer, &udp.door);
    }
}

//! `udp-listen`: bind, then take datagrams of many peers: print, answer, count, or measure.

use std::time::Duration;

use super::Run;
use crate::args::{Answer, Reception, SocketOptions, UdpListen};
use crate::behaviour;
use crate::error::{ExitCode, Step};
use crate::event::Kind;
use crate::step::{self, Extras, Failed, Halt, Joining, Receiver, Reflector, Udp, UdpWords, Whole, Woken, now, since};

/// The receive buffer that is asked for where none is: enough for a burst of a fast sender, in bytes.
pub(super) const RECV_BUFFER: u32 = 32 << 20;

/// The largest datagram, in bytes (RFC 768, RFC 2460).
const LARGEST: usize = 65_527;

/// Walks a receiver through its life. One that ran until it was told to stop has succeeded.
pub async fn run(listen: UdpListen, run: Run) -> ExitCode {
    let opened = match run.stop.unless(open(&listen, &run)).await {
        Ok(opened) => opened,
        Err(cause) => {
            run.door.ends(cause);
            return ExitCode::Ok;
        }
    };
    let udp = match opened {
        Ok(udp) => udp,
        Err(failed) => return failed.code,
    };
    let wants_events = run.door.wants(Kind::Recv);
    let walked = step::on_thread(&run.door, &run.stop, Step::Recv, move |halt| {
        let walk = Walk { listen: &listen, udp: &udp, halt, wants_events };
        walk.run()
    });
    match walked.await {
        Ok((result, _)) => super::code(result),
        Err(failed) => failed.code,
    }
}

async fn open(listen: &UdpListen, run: &Run) -> Result<Udp, Failed> {
    /// How long a name may take: a server has nothing else to do.
    const PATIENCE: Duration = Duration::from_secs(10);
    let at = step::bind_address(&run.door, &listen.listen, listen.output.family(), PATIENCE).await?;
    let wants_events = run.door.wants(Kind::Recv);
    let measures = listen.reception.measures();
    let extras = Extras {
        // Where it is not known by itself: answers go from the address that was asked.
        arrival: wants_events || (listen.reception.answers() && at.is_wildcard()),
        header: wants_events || measures,
        receive_time: wants_events || measures,
        send_time: false,
        device_time: false,
        merged: merges(listen),
    };
    let recv_buffer = listen.options.recv_buffer.or(Some(RECV_BUFFER));
    let options = SocketOptions { recv_buffer, ..listen.options.clone() };
    let words = UdpWords { options: &options, extras, broadcast: false, multicast_interface: None, source: None };
    step::udp_receiver(&run.door, &at, Joining(&listen.join), &words).await
}

/// Returns whether the kernel may merge datagrams: not where each is to be cut, counted off, or told
/// its own time.
fn merges(listen: &UdpListen) -> bool {
    !listen.no_gro && !listen.reception.measures() && listen.recv_size.get() >= LARGEST && listen.count.is_none()
}

struct Walk<'a> {
    listen: &'a UdpListen,
    udp: &'a Udp,
    halt: &'a Halt,
    wants_events: bool,
}

impl Walk<'_> {
    fn run(&self) -> Result<(), Failed> {
        let needs_data = self.listen.reception.answers() || self.listen.reception.measures();
        let has_extras = self.wants_events || needs_data;
        let mut receiver = Receiver::new(self.udp, self.listen.recv_size.get(), needs_data, has_extras);
        // Who polls never waits in the kernel.
        if self.listen.options.busy_poll.is_none() {
            receiver.wait_a_moment()?;
        }
        let mut reflector = Reflector::new();
        let result = self.take_all(&mut receiver, &mut reflector);
        receiver.end();
        result
    }

    fn take_all(&self, receiver: &mut Receiver<'_>, reflector: &mut Reflector) -> Result<(), Failed> {
        let mut left = self.listen.count.map_or(u64::MAX, std::num::NonZeroU64::get);
        let mut last = now();
        while left > 0 && !self.halt.is_set() {
            let came = receiver.take(left, self.listen.reception.measures().then_some(&mut *reflector))?;
            if came == 0 {
                if !self.wait(receiver, &mut last) {
                    break;
                }
                continue;
            }
            left = left.saturating_sub(came);
            if self.listen.timeout.is_some() || self.listen.options.busy_poll.is_some() {
                last = now();
            }
            match &self.listen.reception {
                Reception::Print | Reception::Answer(Answer::Discard) | Reception::Measure { reflects: false } => {}
                Reception::Measure { reflects: true } => receiver.reflect(self.halt, reflector),
                Reception::Answer(rule) => {
                    let is_as_it_came = matches!(rule, Answer::Echo { prefix } if prefix.is_empty());
                    let whole = if is_as_it_came { Whole::AsItCame } else { Whole::Cut };
                    receiver.answer(self.halt, whole, |data| behaviour::reply(rule, data));
                }
            }
        }
        Ok(())
    }

    /// Waits until something comes; returns whether to go on.
    fn wait(&self, receiver: &mut Receiver<'_>, last: &mut std::time::Instant) -> bool {
        let bound = self.listen.timeout.map(|timeout| timeout.saturating_sub(since(*last)));
        if bound == Some(Duration::ZERO) {
            self.udp.timeout(since(*last));
            return false;
        }
        // Whoever wants to poll asks the kernel again and again before it waits.
        if self.spins(last) {
            return true;
        }
        receiver.look_at_drops();
        // Nothing may come any more after what was dropped.
        const LOOK: Duration = Duration::from_secs(1);
        match self.udp.wait(self.halt, Some(bound.map_or(LOOK, |bound| bound.min(LOOK)))) {
            Woken::Halted => false,
            Woken::Ready { errors, .. } => {
                if errors {
                    receiver.drain();
                }
                true
            }
            Woken::Time => true,
        }
    }

    /// Returns whether it is still to be asked without a wait (`--busy-poll`).
    fn spins(&self, last: &std::time::Instant) -> bool {
        let Some(micros) = self.listen.options.busy_poll else { return false };
        since(*last) < Duration::from_micros(u64::from(micros))
    }
}

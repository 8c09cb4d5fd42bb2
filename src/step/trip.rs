//! How long a packet was under way: the kernel's stamps, held against both clocks of this host.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::event::Clock;

/// How far the wall clock may be from what the monotonic one says before it has been set meanwhile.
const SET: Duration = Duration::from_millis(1);

/// One part in so many by which the wall clock may be slewed besides (adjtimex(2): 500 ppm).
const SLEWED: u32 = 2_000;

/// A moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Nanoseconds since 1970.
    pub(super) wall: u64,
    pub(super) monotonic: Instant,
}

/// How long a test packet and its answer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trip {
    /// From departure to arrival, the time at the reflector included.
    pub(super) took: Duration,
    /// Departure and arrival by the wall clock; `None` where that was set meanwhile.
    pub(super) times: Option<(u64, u64)>,
    pub(super) clock: Clock,
    /// From T1 to the departure, where the kernel told it.
    pub(super) queued: Option<Duration>,
}

impl Trip {
    /// Returns the same by the clock of the network device, where that has stamped both ways: nothing of this host
    /// is in it then.
    ///
    /// Such a stamp is never held against one of another clock. That both are of one clock, which was not set
    /// meanwhile, is seen by the trip as this host knows it, which contains the device's: where the answer came by
    /// another device, or that clock was set, the difference does not fit into it.
    pub(super) fn by_device(self, left: Option<u64>, came: Option<u64>) -> Self {
        let (Some(left), Some(came)) = (left, came) else { return self };
        let took = came.checked_sub(left).map(Duration::from_nanos);
        match took.filter(|took| *took <= self.took + self.took / SLEWED) {
            Some(took) => Self { took, clock: Clock::Hardware, ..self },
            None => self,
        }
    }
}

impl Moment {
    /// Reads both clocks, again where this thread was held up in between.
    pub(super) fn now() -> Self {
        /// More than two readings take.
        const TOGETHER: Duration = Duration::from_micros(50);
        let mut monotonic = Instant::now();
        for _ in 0..4 {
            let wall = wall_clock();
            let after = Instant::now();
            if after - monotonic <= TOGETHER {
                return Self { wall, monotonic };
            }
            monotonic = after;
        }
        Self { wall: wall_clock(), monotonic }
    }
}

/// Returns the time of the wall clock: nanoseconds since 1970.
pub(super) fn wall_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Returns how long a packet took that was made at a moment and whose answer was read at another;
/// the kernel may have told when the one left and the other came.
///
/// The kernel's stamps are of the wall clock: they are compared only where that has gone as the
/// monotonic one, whatever time passed between an arrival and its reading.
pub(super) fn trip(made: Moment, left: Option<u64>, came: Option<u64>, read: Moment) -> Trip {
    let by_monotonic = read.monotonic.saturating_duration_since(made.monotonic);
    let is_set = read
        .wall
        .checked_sub(made.wall)
        .is_none_or(|by_wall| Duration::from_nanos(by_wall).abs_diff(by_monotonic) > SET + by_monotonic / SLEWED);
    // A stamp of before it was made is another's.
    let left = left.filter(|left| *left >= made.wall);
    let (sent, arrived) = (left.unwrap_or(made.wall), came.unwrap_or(read.wall));
    match arrived.checked_sub(sent).filter(|_| !is_set) {
        Some(took) => Trip {
            took: Duration::from_nanos(took),
            times: Some((sent, arrived)),
            clock: if left.is_some() && came.is_some() { Clock::Kernel } else { Clock::User },
            queued: left.map(|left| Duration::from_nanos(left - made.wall)),
        },
        None => Trip { took: by_monotonic, times: None, clock: Clock::User, queued: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Returns moments of making and reading, so far apart by the wall clock and by the monotonic one.
    fn moments(by_wall_ms: i64, by_monotonic_ms: u64) -> (Moment, Moment) {
        let made = Moment { wall: 1_700_000_000_000 * MS, monotonic: Instant::now() };
        let wall = made.wall.checked_add_signed(by_wall_ms * MS.cast_signed()).unwrap();
        (made, Moment { wall, monotonic: made.monotonic + Duration::from_millis(by_monotonic_ms) })
    }

    #[test]
    fn the_kernels_stamps_are_believed_however_late_they_are_read() {
        for read_after in [5, 500, 60_000] {
            let (made, read) = moments(read_after, read_after.cast_unsigned());
            let (left, came) = (made.wall + MS, made.wall + 4 * MS);
            let got = trip(made, Some(left), Some(came), read);
            assert_eq!((got.took, got.times), (Duration::from_millis(3), Some((left, came))));
            assert_eq!((got.clock, got.queued), (Clock::Kernel, Some(Duration::from_millis(1))));
        }
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_read_here() {
        let (made, read) = moments(10, 10);
        let got = trip(made, None, Some(made.wall + 7 * MS), read);
        assert_eq!((got.took, got.clock, got.queued), (Duration::from_millis(7), Clock::User, None));
        let got = trip(made, Some(made.wall + MS), None, read);
        assert_eq!((got.took, got.clock), (Duration::from_millis(9), Clock::User));
        assert_eq!(trip(made, None, None, read).took, Duration::from_millis(10));
    }

    #[test]
    fn a_wall_clock_that_was_set_meanwhile_is_not_believed() {
        for by_wall in [-3_600_000, -1, 0, 480, 498, 502, 600, 3_600_000] {
            let (made, read) = moments(by_wall, 500);
            let got = trip(made, Some(made.wall + 1), Some(read.wall), read);
            let expected = Trip { took: Duration::from_millis(500), times: None, clock: Clock::User, queued: None };
            assert_eq!(got, expected, "{by_wall}");
        }
    }

    #[test]
    fn a_wall_clock_that_is_slewed_is_believed() {
        let (made, read) = moments(100_040, 100_000);
        assert_eq!(trip(made, None, Some(read.wall), read).took, Duration::from_millis(100_040));
    }

    #[test]
    fn a_device_that_has_stamped_both_ways_is_believed_and_what_waited_is_the_kernels() {
        let (made, read) = moments(10, 10);
        let told = trip(made, Some(made.wall + MS), Some(made.wall + 5 * MS), read);
        assert_eq!((told.took, told.clock), (Duration::from_millis(4), Clock::Kernel));
        // Its clock began with the device.
        let got = told.by_device(Some(77 * MS), Some(80 * MS));
        assert_eq!(got, Trip { took: Duration::from_millis(3), clock: Clock::Hardware, ..told });
        assert_eq!(got.queued, Some(Duration::from_millis(1)));
        // It may go a little faster than ours.
        assert_eq!(told.by_device(Some(0), Some(4 * MS + 2_000)).clock, Clock::Hardware);
        // Nor need the wall clock be right.
        let (made, read) = moments(3_600_000, 10);
        let set = trip(made, Some(made.wall + MS), Some(made.wall + 5 * MS), read);
        let got = set.by_device(Some(77 * MS), Some(80 * MS));
        assert_eq!((set.clock, got.clock, got.took), (Clock::User, Clock::Hardware, Duration::from_millis(3)));
    }

    #[test]
    fn a_stamp_of_a_device_is_held_against_no_other_clock() {
        let (made, read) = moments(10, 10);
        let told = trip(made, Some(made.wall + MS), Some(made.wall + 5 * MS), read);
        // One way alone: not told in time, or not switched on.
        for (left, came) in [(None, None), (Some(77 * MS), None), (None, Some(80 * MS))] {
            assert_eq!(told.by_device(left, came), told);
        }
        // Of two devices, or of one whose clock was set meanwhile.
        for (left, came) in [(80 * MS, 77 * MS), (77 * MS, 82 * MS), (0, u64::MAX), (u64::MAX, 0)] {
            assert_eq!(told.by_device(Some(left), Some(came)), told);
        }
    }

    #[test]
    fn a_stamp_of_before_it_was_made_is_another_packets() {
        let (made, read) = moments(20, 20);
        let got = trip(made, Some(made.wall - 5 * MS), Some(made.wall + 2 * MS), read);
        assert_eq!((got.took, got.clock, got.queued), (Duration::from_millis(2), Clock::User, None));
    }
}

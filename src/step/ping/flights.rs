//! The probes that are known, each in as few bytes as can be, for a sweep has very many: 16, and 16 for the moment when
//! it was made, which those that go at once share.

use std::collections::VecDeque;

/// One probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    /// When it was made, by the wall clock.
    pub(super) wall: u64,
    /// The same since the book was opened.
    pub(super) monotonic: u64,
    /// When the kernel sent it, where that is known.
    pub(super) left: Option<u64>,
    pub(super) sequence: u64,
    pub(super) target: u32,
    /// How many hops it may go; 0 where that is not its own.
    pub(super) hops: u8,
    pub(super) state: State,
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Answered,
    Refused,
    Lost,
    NotSent,
}

/// Probes in a row, each by its number.
#[derive(Debug, Default)]
pub(super) struct Flights {
    /// The number of the first.
    first: u64,
    probes: VecDeque<Packed>,
    /// When they were made, by the wall clock and since the book was opened.
    moments: VecDeque<(u64, u64)>,
    /// The number of the first of these, by its last 32 bits.
    first_moment: u32,
    /// How many nanoseconds after it was made each left, and one; 0 where that is not known, or too many. Empty where
    /// the kernel does not tell of any.
    left: VecDeque<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Packed {
    /// Its number among those of its target in 48 bits, its hops in 8, its state in 8.
    rest: u64,
    target: u32,
    /// The number of its moment, by its last 32 bits.
    moment: u32,
}

impl Packed {
    fn state(self) -> State {
        match self.rest as u8 {
            0 => State::Open,
            1 => State::Answered,
            2 => State::Refused,
            3 => State::Lost,
            _ => State::NotSent,
        }
    }
}

impl Flights {
    /// Makes room for so many.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { probes: VecDeque::with_capacity(count), ..Self::default() }
    }

    /// Returns the number of the first that is known.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Returns the number of the next.
    pub(super) fn next(&self) -> u64 {
        self.first + self.probes.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.probes.len()
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok().filter(|index| *index < self.probes.len())
    }

    pub(super) fn get(&self, number: u64) -> Option<Flight> {
        self.index(number).map(|index| self.unpacked(index, self.probes[index]))
    }

    fn unpacked(&self, index: usize, packed: Packed) -> Flight {
        let Packed { rest, target, moment } = packed;
        let (wall, monotonic) = self.moments[moment.wrapping_sub(self.first_moment) as usize];
        let left = self.left.get(index).copied().filter(|after| *after > 0);
        Flight {
            wall,
            monotonic,
            left: left.map(|after| wall + u64::from(after) - 1),
            sequence: rest >> 16,
            target,
            hops: (rest >> 8) as u8,
            state: packed.state(),
        }
    }

    /// Adds the next.
    pub(super) fn push(&mut self, flight: &Flight) {
        let Flight { wall, monotonic, target, sequence, hops, state, .. } = *flight;
        if self.moments.back() != Some(&(wall, monotonic)) {
            self.moments.push_back((wall, monotonic));
        }
        let rest = sequence << 16 | u64::from(hops) << 8 | state as u64;
        let moment = self.first_moment.wrapping_add(self.moments.len() as u32 - 1);
        self.probes.push_back(Packed { rest, target, moment });
        if !self.left.is_empty() {
            self.left.push_back(0);
        }
    }

    /// Forgets the first.
    pub(super) fn pop(&mut self) {
        if self.probes.pop_front().is_none() {
            return;
        }
        self.first += 1;
        self.left.pop_front();
        // The last moment may have further ones to come.
        let next = self.probes.front().map_or_else(
            || self.first_moment.wrapping_add(self.moments.len().saturating_sub(1) as u32),
            |packed| packed.moment,
        );
        while self.first_moment != next {
            self.moments.pop_front();
            self.first_moment = self.first_moment.wrapping_add(1);
        }
    }

    /// Sets what became of one, and returns what it was.
    pub(super) fn set_state(&mut self, number: u64, state: State) -> Option<State> {
        let index = self.index(number)?;
        let packed = &mut self.probes[index];
        let before = packed.state();
        packed.rest = packed.rest & !0xff | state as u64;
        Some(before)
    }

    /// Takes note of when one left, by the wall clock.
    pub(super) fn set_left(&mut self, number: u64, left: u64) {
        let (Some(index), Some(flight)) = (self.index(number), self.get(number)) else { return };
        let after = left.checked_sub(flight.wall).and_then(|after| after.checked_add(1));
        if self.left.is_empty() {
            self.left.resize(self.probes.len(), 0);
        }
        self.left[index] = after.and_then(|after| u32::try_from(after).ok()).unwrap_or(0);
    }

    /// Returns the youngest of the latest `most` that has a sequence field and is so.
    pub(super) fn youngest(&self, most: usize, sequence: u16, is_it: impl Fn(&Flight) -> bool) -> Option<u64> {
        // Without all the rest, for this may be asked of very many.
        let has_it = |packed: &Packed| (packed.rest >> 16) as u16 == sequence;
        let mut latest = self.probes.iter().enumerate().rev().take(most);
        let found = latest.find(|(index, packed)| has_it(packed) && is_it(&self.unpacked(*index, **packed)));
        found.map(|(index, _)| self.first + index as u64)
    }

    /// Returns the oldest from a number on that has no end yet and is so.
    pub(super) fn oldest_open(&self, from: u64, is_it: impl Fn(&Flight) -> bool) -> Option<u64> {
        let begin = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.probes.len());
        let mut open = (begin..).zip(self.probes.range(begin..)).filter(|(_, packed)| packed.state() == State::Open);
        let found = open.find(|(index, packed)| is_it(&self.unpacked(*index, **packed)));
        found.map(|(index, _)| self.first + index as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(sequence: u64, moment: u64) -> Flight {
        let (wall, monotonic) = (1_000_000 + moment, moment);
        Flight { wall, monotonic, left: None, sequence, target: 7, hops: 3, state: State::Open }
    }

    #[test]
    fn each_is_as_it_was_whatever_is_forgotten() {
        let mut flights = Flights { first_moment: u32::MAX - 1, ..Flights::default() };
        // In rows of one moment, of various lengths.
        let all: Vec<Flight> = (0..40).map(|number| flight(number << 20, number * number / 50)).collect();
        for (number, one) in (0..).zip(&all) {
            assert_eq!(flights.next(), number);
            flights.push(one);
            if number % 3 == 2 {
                flights.pop();
            }
            let known: Vec<_> = (0..=number).map(|number| flights.get(number)).collect();
            let first = flights.first() as usize;
            assert!(known[..first].iter().all(Option::is_none));
            assert!(known[first..].iter().flatten().eq(&all[first..=number as usize]), "{number}");
        }
        assert!(flights.moments.len() < 30 && flights.left.is_empty());
        while flights.len() > 0 {
            flights.pop();
        }
        flights.pop();
        assert_eq!((flights.next(), flights.moments.len(), flights.get(39)), (40, 1, None));
        flights.push(&all[39]);
        assert_eq!((flights.get(40), flights.moments.len()), (Some(all[39]), 1));
    }

    #[test]
    fn what_becomes_of_one_changes_no_other() {
        let mut flights = Flights::with_capacity(3);
        (0..3).for_each(|number| flights.push(&flight(number, number)));
        assert_eq!(
            [1, 1, 9].map(|number| flights.set_state(number, State::Lost)),
            [Some(State::Open), Some(State::Lost), None]
        );
        // It left 5 ns later; what was before its time, or too long after it, is not known.
        flights.set_left(1, 1_000_006);
        flights.set_left(2, 1_000_001);
        flights.set_left(9, 1_000_001);
        flights.push(&flight(3, 3));
        flights.set_left(3, 9_000_000_000);
        let lost = Flight { state: State::Lost, left: Some(1_000_006), ..flight(1, 1) };
        let others = [0, 2, 3].map(|number| (flights.get(number), Some(flight(number, number))));
        assert!(flights.get(1) == Some(lost) && others.iter().all(|(got, expected)| got == expected), "{others:?}");
        flights.pop();
        assert_eq!(flights.get(1), Some(lost));
    }

    #[test]
    fn the_youngest_and_the_oldest_are_found() {
        let mut flights = Flights::default();
        (0..6).for_each(|number| flights.push(&flight(number % 2 + (number << 16), number)));
        flights.pop();
        flights.set_state(5, State::Answered);
        let is_open = |flight: &Flight| flight.state == State::Open;
        assert_eq!(flights.youngest(9, 1, |_| true), Some(5));
        assert_eq!(flights.youngest(9, 1, is_open), Some(3));
        assert_eq!((flights.youngest(1, 0, |_| true), flights.youngest(9, 2, |_| true)), (None, None));
        assert_eq!(
            [0, 3, 4, 5, 9].map(|from| flights.oldest_open(from, |_| true)),
            [Some(1), Some(3), Some(4), None, None]
        );
        assert_eq!(flights.oldest_open(0, |flight| flight.monotonic > 3), Some(4));
    }
}

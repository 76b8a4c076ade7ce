//! A timer wheel: deadlines of many endpoints at O(1) each.
//!
//! Two levels of 1 ms and 256 ms slots cover a little over a minute; what lies further ahead is parked in the
//! last slot and put in again when that comes up. A token has at most one live deadline, its earliest: the
//! caller keeps it and ignores what fires too early, so nothing is ever searched or removed.

use crate::time::Time;

const SLOTS: usize = 256;
const TICK_MICROS: u64 = 1_000;

/// What a timer is for; the wheel's owner gives it meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token(pub u64);

#[derive(Clone, Copy, Debug)]
struct Entry {
    token: Token,
    tick: u64,
}

/// The wheel.
#[derive(Debug)]
pub struct TimerWheel {
    near: Vec<Vec<Entry>>,
    far: Vec<Vec<Entry>>,
    /// All ticks up to and including this one were handled.
    current: u64,
    len: usize,
}

impl TimerWheel {
    /// An empty wheel that starts at `now`.
    pub fn new(now: Time) -> TimerWheel {
        TimerWheel {
            near: vec![Vec::new(); SLOTS],
            far: vec![Vec::new(); SLOTS],
            current: now.as_micros() / TICK_MICROS,
            len: 0,
        }
    }

    /// Fires `token` at the first tick that is not before `deadline`.
    pub fn schedule(&mut self, token: Token, deadline: Time) {
        let tick = deadline
            .as_micros()
            .div_ceil(TICK_MICROS)
            .max(self.current + 1);
        self.insert(Entry { token, tick });
        self.len += 1;
    }

    fn insert(&mut self, entry: Entry) {
        let ahead = entry.tick - self.current;
        if ahead < SLOTS as u64 {
            self.near[(entry.tick % SLOTS as u64) as usize].push(entry);
        } else {
            let block =
                (entry.tick / SLOTS as u64).min(self.current / SLOTS as u64 + SLOTS as u64 - 1);
            self.far[(block % SLOTS as u64) as usize].push(entry);
        }
    }

    /// The earliest moment at which something may fire; never later than the true one.
    pub fn next(&self) -> Option<Time> {
        if self.len == 0 {
            return None;
        }
        let to_block_end = SLOTS as u64 - self.current % SLOTS as u64;
        let tick = (1..=to_block_end)
            .map(|ahead| self.current + ahead)
            .find(|tick| !self.near[(tick % SLOTS as u64) as usize].is_empty())
            .unwrap_or(self.current + to_block_end);
        Some(Time::from_micros(tick * TICK_MICROS))
    }

    /// Collects the tokens that are due, at most `limit`; true if more may be due.
    pub fn expire(&mut self, now: Time, limit: usize, due: &mut Vec<Token>) -> bool {
        let target = now.as_micros() / TICK_MICROS;
        if self.len == 0 {
            self.current = self.current.max(target);
            return false;
        }
        while self.current < target {
            if due.len() >= limit {
                return true;
            }
            self.current += 1;
            if self.current.is_multiple_of(SLOTS as u64) {
                let block = ((self.current / SLOTS as u64) % SLOTS as u64) as usize;
                let parked = std::mem::take(&mut self.far[block]);
                for entry in &parked {
                    self.insert(Entry {
                        tick: entry.tick.max(self.current),
                        ..*entry
                    });
                }
                // Keep the allocation for the next round.
                let mut parked = parked;
                parked.clear();
                if self.far[block].is_empty() {
                    self.far[block] = parked;
                }
            }
            let slot = (self.current % SLOTS as u64) as usize;
            let mut index = 0;
            while index < self.near[slot].len() {
                if self.near[slot][index].tick <= self.current {
                    due.push(self.near[slot].swap_remove(index).token);
                    self.len -= 1;
                } else {
                    index += 1;
                }
            }
            if self.len == 0 {
                self.current = target;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn every_timer_fires_once_at_its_millisecond() {
        let mut random = Random::from_seed(3);
        let start = Time::from_millis(12_345);
        let mut wheel = TimerWheel::new(start);
        let mut expected = Vec::new();
        for token in 0..2_000u64 {
            let micros = random.below(200_000_000);
            let deadline = start + std::time::Duration::from_micros(micros);
            wheel.schedule(Token(token), deadline);
            expected.push((deadline, token));
        }
        let mut fired = vec![None; 2_000];
        let mut due = Vec::new();
        while let Some(next) = wheel.next() {
            wheel.expire(next, usize::MAX, &mut due);
            for token in due.drain(..) {
                assert!(
                    fired[token.0 as usize].replace(next).is_none(),
                    "fired twice"
                );
            }
        }
        for (deadline, token) in expected {
            let at = fired[token as usize].expect("every timer fires");
            assert!(at >= deadline, "early");
            assert!(at - deadline < std::time::Duration::from_millis(2), "late");
        }
    }

    #[test]
    fn a_stalled_driver_gets_all_that_is_due_in_pieces() {
        let mut wheel = TimerWheel::new(Time::ZERO);
        for token in 0..5_000 {
            wheel.schedule(Token(token), Time::from_millis(token % 90_000));
        }
        let mut seen = 0;
        let mut due = Vec::new();
        loop {
            let more = wheel.expire(Time::from_millis(100_000), 1_000, &mut due);
            seen += due.len();
            due.clear();
            if !more {
                break;
            }
        }
        assert_eq!(seen, 5_000);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn an_idle_wheel_skips_ahead() {
        let mut wheel = TimerWheel::new(Time::ZERO);
        let mut due = Vec::new();
        wheel.expire(Time::from_millis(10_000_000), 10, &mut due);
        wheel.schedule(Token(1), Time::from_millis(10_000_005));
        wheel.expire(Time::from_millis(10_000_004), 10, &mut due);
        assert!(due.is_empty());
        wheel.expire(Time::from_millis(10_000_005), 10, &mut due);
        assert_eq!(due, vec![Token(1)]);
    }
}

//! Limits of rates.

use crate::time::Time;

/// A token bucket: `rate` units per second, and up to `burst` units saved.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    rate: u64,
    burst: u64,
    /// Saved units times 10⁶, so that no fraction is lost.
    level: u64,
    updated: Time,
}

const SCALE: u64 = 1_000_000;

impl TokenBucket {
    /// A full bucket.
    pub const fn new(rate: u64, burst: u64) -> TokenBucket {
        TokenBucket {
            rate,
            burst,
            level: burst.saturating_mul(SCALE),
            updated: Time::ZERO,
        }
    }

    /// Units that it saves at most.
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// Takes `units` if so many are there and at least `reserve` stay behind.
    pub fn take(&mut self, now: Time, units: u64, reserve: u64) -> bool {
        self.refill(now);
        let wanted = units.saturating_add(reserve).saturating_mul(SCALE);
        if self.level < wanted {
            return false;
        }
        self.level -= units * SCALE;
        true
    }

    /// Units that could be taken now.
    pub fn available(&mut self, now: Time) -> u64 {
        self.refill(now);
        self.level / SCALE
    }

    fn refill(&mut self, now: Time) {
        let micros = now.as_micros().saturating_sub(self.updated.as_micros());
        self.updated = self.updated.max(now);
        let full = self.burst.saturating_mul(SCALE);
        self.level = self
            .level
            .saturating_add(self.rate.saturating_mul(micros))
            .min(full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_is_there_at_once_and_the_rate_in_the_long_run() {
        let mut bucket = TokenBucket::new(10, 5);
        let start = Time::from_millis(1_000);
        assert_eq!((0..20).filter(|_| bucket.take(start, 1, 0)).count(), 5);
        let taken = (0..10_000)
            .filter(|ms| bucket.take(start + std::time::Duration::from_millis(*ms), 1, 0));
        assert_eq!(taken.count(), 99);
    }

    #[test]
    fn a_reserve_stays_and_time_that_runs_backwards_gives_nothing() {
        let mut bucket = TokenBucket::new(10, 5);
        assert!(bucket.take(Time::from_millis(1_000), 3, 2));
        assert!(!bucket.take(Time::from_millis(1_000), 1, 2));
        assert!(!bucket.take(Time::ZERO, 3, 0));
        assert_eq!(bucket.available(Time::from_millis(1_000)), 2);
    }
}

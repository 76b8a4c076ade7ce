//! One clock for all threads of the generator, and the way from the kernel's clock to it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use causeway_bridge::time::Time;

/// What [`Time`] the clock was made at: not zero, so that datagrams which the kernel got just before have a time too.
const ORIGIN: Time = Time::from_millis(60_000);

/// Time between two readings of a clock with one of another in between, if nothing interrupts.
const MAX_GAP: Duration = Duration::from_micros(5);
const TRIES: usize = 10;

/// Monotonic time since the start of the run.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Instant,
    /// Wall time at [`ORIGIN`] since the Unix epoch.
    wall: Duration,
}

impl Clock {
    /// Starts now.
    pub fn new() -> Clock {
        let mut clock = Clock {
            base: Instant::now(),
            wall: Duration::ZERO,
        };
        clock.synchronize();
        clock
    }

    pub fn now(&self) -> Time {
        ORIGIN + self.base.elapsed()
    }

    /// What [`Time::ZERO`] is, for protocol engines that reckon in `Instant`.
    pub fn zero(&self) -> Instant {
        self.base
            .checked_sub(ORIGIN.since(Time::ZERO))
            .unwrap_or(self.base)
    }

    /// Follows the wall clock, which is slewed: call it every second.
    pub fn synchronize(&mut self) {
        // Both clocks must be read at one moment: not if the thread was interrupted in between.
        for _ in 0..TRIES {
            let before = self.base.elapsed();
            let wall = SystemTime::now().duration_since(UNIX_EPOCH);
            let after = self.base.elapsed();
            if let Ok(wall) = wall
                && (after - before < MAX_GAP || self.wall.is_zero())
            {
                self.wall = wall.saturating_sub(before + (after - before) / 2);
                if after - before < MAX_GAP {
                    return;
                }
            }
        }
    }

    /// When the kernel got a datagram, never later than `now`.
    pub fn arrival(&self, wall: Duration, now: Time) -> Time {
        let at = match wall.checked_sub(self.wall) {
            Some(since) => ORIGIN + since,
            None => ORIGIN - (self.wall - wall),
        };
        at.min(now)
    }

    /// NTP timestamp of now, for sender reports (RFC 3550 §4).
    pub fn ntp(&self, now: Time) -> u64 {
        const SINCE_1900: u64 = 2_208_988_800;
        let wall = self.wall + (now - ORIGIN);
        let fraction = (u64::from(wall.subsec_nanos()) << 32) / 1_000_000_000;
        (wall.as_secs() + SINCE_1900) << 32 | fraction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_got_before_now_was_before_now() {
        let clock = Clock::new();
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let arrival = clock.arrival(wall, clock.now());
        assert!(clock.now() - arrival < Duration::from_secs(5));
        let early = clock.arrival(wall - Duration::from_secs(1), clock.now());
        assert!(early < arrival);
    }
}

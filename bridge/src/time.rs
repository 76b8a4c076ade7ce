//! Monotonic time as the core sees it.
//!
//! The core never asks a clock: every entry point takes `now`. Drivers make [`Time`] values from
//! `std::time::Instant`, simulations from a counter. Only differences carry meaning.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A point in monotonic time: µs since an origin that the driver chose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(u64);

impl Time {
    /// The driver's origin.
    pub const ZERO: Time = Time(0);
    /// Later than any time that occurs; stands for "no deadline" in comparisons.
    pub const FAR: Time = Time(u64::MAX);

    /// `micros` µs after the origin.
    pub const fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// `millis` ms after the origin.
    pub const fn from_millis(millis: u64) -> Time {
        Time(millis.saturating_mul(1000))
    }

    /// µs since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole ms since the origin.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// Time passed since `earlier`; zero if `earlier` lies in the future.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, by: Duration) -> Time {
        Time(
            self.0
                .saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, by: Duration) -> Time {
        Time(
            self.0
                .saturating_sub(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub for Time {
    type Output = Duration;
    /// Same as [`Time::since`]: saturates at zero.
    fn sub(self, earlier: Time) -> Duration {
        self.since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_saturate_instead_of_wrapping() {
        let early = Time::from_millis(1);
        let late = early + Duration::from_millis(5);
        assert_eq!(late - early, Duration::from_millis(5));
        assert_eq!(early - late, Duration::ZERO);
        assert_eq!(Time::FAR + Duration::from_secs(1), Time::FAR);
    }
}

//! Numbers with a unit.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A rate in bits per second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bitrate(u64);

impl Bitrate {
    /// No bits at all.
    pub const ZERO: Bitrate = Bitrate(0);
    /// No limit. Additions saturate, so it may be used in sums.
    pub const INFINITE: Bitrate = Bitrate(u64::MAX);

    /// From bits per second.
    pub const fn bps(bits_per_second: u64) -> Bitrate {
        Bitrate(bits_per_second)
    }

    /// From 1,000 bits per second.
    pub const fn kbps(kilobits_per_second: u64) -> Bitrate {
        Bitrate(kilobits_per_second.saturating_mul(1000))
    }

    /// Bits per second.
    pub const fn as_bps(self) -> u64 {
        self.0
    }

    /// This rate times `factor`; negative and NaN factors give zero.
    pub fn scale(self, factor: f64) -> Bitrate {
        Bitrate((self.0 as f64 * factor) as u64)
    }

    /// Bytes that this rate carries within `time`.
    pub fn bytes_in(self, time: Duration) -> u64 {
        let bits = u128::from(self.0) * time.as_micros() / 1_000_000;
        u64::try_from(bits / 8).unwrap_or(u64::MAX)
    }

    /// The rate of `bytes` within `time`; [`Bitrate::INFINITE`] if `time` is zero and `bytes` is not.
    pub fn from_bytes(bytes: u64, time: Duration) -> Bitrate {
        if bytes == 0 {
            return Bitrate::ZERO;
        }
        match time.as_micros() {
            0 => Bitrate::INFINITE,
            micros => {
                Bitrate(u64::try_from(u128::from(bytes) * 8_000_000 / micros).unwrap_or(u64::MAX))
            }
        }
    }

    /// Difference that stops at zero.
    pub const fn saturating_sub(self, other: Bitrate) -> Bitrate {
        Bitrate(self.0.saturating_sub(other.0))
    }
}

impl Add for Bitrate {
    type Output = Bitrate;
    fn add(self, other: Bitrate) -> Bitrate {
        Bitrate(self.0.saturating_add(other.0))
    }
}

impl Sub for Bitrate {
    type Output = Bitrate;
    fn sub(self, other: Bitrate) -> Bitrate {
        self.saturating_sub(other)
    }
}

impl fmt::Debug for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bps", self.0)
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u64::MAX => f.write_str("unlimited"),
            bps if bps >= 1_000_000 => write!(f, "{:.2} Mbit/s", bps as f64 / 1e6),
            bps if bps >= 1000 => write!(f, "{:.1} kbit/s", bps as f64 / 1e3),
            bps => write!(f, "{bps} bit/s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_rates_convert_both_ways() {
        assert_eq!(Bitrate::kbps(800).bytes_in(Duration::from_millis(10)), 1000);
        assert_eq!(
            Bitrate::from_bytes(1000, Duration::from_millis(10)),
            Bitrate::kbps(800)
        );
        assert_eq!(Bitrate::INFINITE + Bitrate::kbps(1), Bitrate::INFINITE);
    }
}

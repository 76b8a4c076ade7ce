//! The bound that reported loss puts on the estimate of a receiver that tells no more than that (libwebrtc:
//! `SendSideBandwidthEstimation` without feedback about packets).

use std::time::Duration;

use crate::time::Time;

/// Loss up to this is no reason for anything.
const LOW: f64 = 0.02;
/// Loss above this demands a decrease.
const HIGH: f64 = 0.10;
/// A measurement is complete with this many packets.
const MIN_PACKETS: u32 = 20;
/// Time between two decreases, on top of a round trip.
const DECREASE_INTERVAL: Duration = Duration::from_millis(300);
/// Growth of the bound per second when there is little loss …
const GROWTH: f64 = 1.08;
/// … and this, in bits/s, with each measurement.
const EXTRA_GROWTH: f64 = 1_000.0;
/// Growth for no more than this between two measurements.
const MAX_GROWTH_SECONDS: f64 = 1.0;

/// The bound, in bits/s.
#[derive(Debug, Default)]
pub(super) struct ReportedLoss {
    bound: Option<f64>,
    expected: u32,
    lost: u32,
    decreased: Option<Time>,
    updated: Option<Time>,
}

impl ReportedLoss {
    /// Of `expected` packets `lost` did not arrive. `target` is the estimate in force.
    pub(super) fn on_report(
        &mut self,
        now: Time,
        (expected, lost): (u32, u32),
        target: f64,
        rtt: Duration,
    ) {
        self.expected = self.expected.saturating_add(expected);
        self.lost = self.lost.saturating_add(lost.min(expected));
        if self.expected < MIN_PACKETS {
            return;
        }
        let loss = f64::from(self.lost) / f64::from(self.expected);
        (self.expected, self.lost) = (0, 0);
        let updated = self.updated.replace(now);
        let elapsed = updated.map_or(0.0, |updated| (now - updated).as_secs_f64());
        if loss <= LOW {
            let growth = GROWTH.powf(elapsed.min(MAX_GROWTH_SECONDS));
            self.bound = self.bound.map(|bound| bound * growth + EXTRA_GROWTH);
        } else if loss > HIGH
            && self
                .decreased
                .is_none_or(|decreased| now - decreased >= DECREASE_INTERVAL + rtt)
        {
            self.decreased = Some(now);
            self.bound = Some(target * (1.0 - 0.5 * loss));
        }
    }

    /// The bound; `None` = loss puts none.
    pub(super) fn bound(&self) -> Option<f64> {
        self.bound
    }

    /// Forgets a bound above `rate`, which does not bind.
    pub(super) fn release(&mut self, rate: f64) {
        self.bound = self.bound.filter(|bound| *bound < rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    /// A report of 100 packets per second at `loss(rate)`; the rate that remains of `rate`.
    fn run(
        bound: &mut ReportedLoss,
        seconds: std::ops::Range<u64>,
        mut rate: f64,
        loss: impl Fn(f64) -> f64,
    ) -> f64 {
        for second in seconds {
            let lost = (100.0 * loss(rate)).round() as u32;
            bound.on_report(Time::from_millis(second * 1_000), (100, lost), rate, RTT);
            rate = bound.bound().unwrap_or(rate).min(3e6);
        }
        rate
    }

    #[test]
    fn moderate_loss_changes_nothing() {
        let mut bound = ReportedLoss::default();
        assert_eq!(run(&mut bound, 0..100, 2e6, |_| 0.05), 2e6);
        assert_eq!(bound.bound(), None);
    }

    #[test]
    fn a_bottleneck_is_found_and_its_end_too() {
        let mut bound = ReportedLoss::default();
        let rate = run(&mut bound, 0..60, 2e6, |rate| (1.0 - 500e3 / rate).max(0.0));
        assert!((480e3..570e3).contains(&rate), "{rate}");
        let rate = run(&mut bound, 60..80, rate, |_| 0.0);
        assert!(rate > 2e6, "{rate}");
    }

    #[test]
    fn a_few_packets_are_no_measurement() {
        let mut bound = ReportedLoss::default();
        for second in 0..9 {
            bound.on_report(Time::from_millis(second * 1_000), (2, 1), 1e6, RTT);
        }
        assert_eq!(bound.bound(), None);
        bound.on_report(Time::from_millis(9_000), (2, 1), 1e6, RTT);
        assert_eq!(bound.bound(), Some(750e3));
    }
}

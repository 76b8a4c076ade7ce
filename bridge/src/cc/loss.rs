//! The bound that loss puts on the estimate.
//!
//! Thresholds and factors of libwebrtc's loss based control, with one addition: loss that does not shrink
//! when the rate does is a property of the path (radio), and is then left out of the account.

use std::time::Duration;

use crate::time::Time;

/// Loss up to this is no reason for anything.
const LOW: f64 = 0.02;
/// Loss above this demands a decrease.
const HIGH: f64 = 0.10;
/// Loss above this tells of a rate far above the path …
const HEAVY: f64 = 0.25;
/// … and this share of what arrives is the answer.
const DRAIN: f64 = 0.85;
/// A measurement is complete with this many packets …
const FULL_PACKETS: u32 = 100;
/// … or with this many, if they are enough to tell that loss is high.
const MIN_PACKETS: u32 = 20;
/// … that is, if it exceeds [`HIGH`] by so many standard deviations.
const CONFIDENCE: f64 = 1.65;
/// Time between two decreases, on top of a round trip.
const DECREASE_INTERVAL: Duration = Duration::from_millis(300);
/// Growth of the bound per second when there is little loss.
const GROWTH: f64 = 1.08;
/// Growth for no more than this between two measurements.
const MAX_GROWTH_SECONDS: f64 = 3.0;
/// The rate has fallen to this share before loss is compared.
const COMPARE_AT: f64 = 0.75;
/// Loss that may be taken for a property of the path.
const MAX_INHERENT: f64 = 0.4;
/// Weight of a measurement in the loss of the path.
const INHERENT_SMOOTHING: f64 = 0.1;

/// The bound, in bits/s.
#[derive(Debug, Default)]
pub(super) struct LossBound {
    bound: Option<f64>,
    received: u32,
    lost: u32,
    fraction: f64,
    inherent: f64,
    /// Rate and loss when the present series of decreases began.
    began: Option<(f64, f64)>,
    decreased: Option<Time>,
    updated: Option<Time>,
}

impl LossBound {
    /// Packets that arrived and that did not. True if this completed a measurement, after which
    /// [`LossBound::update`] is to be called.
    pub(super) fn add(&mut self, received: u32, lost: u32) -> bool {
        self.received = self.received.saturating_add(received);
        self.lost = self.lost.saturating_add(lost);
        let all = self.received.saturating_add(self.lost);
        let fraction = f64::from(self.lost) / f64::from(all.max(1));
        let deviation = (fraction * (1.0 - fraction) / f64::from(all.max(1))).sqrt();
        let clear = fraction - CONFIDENCE * deviation > HIGH;
        if all < MIN_PACKETS || all < FULL_PACKETS && !clear {
            return false;
        }
        self.set_fraction(fraction);
        true
    }

    /// A measurement by the receiver.
    pub(super) fn set_fraction(&mut self, fraction: f64) {
        self.fraction = fraction.clamp(0.0, 1.0);
        (self.received, self.lost) = (0, 0);
    }

    /// Applies the last measurement. `target` is the estimate in force, `acked` what arrives.
    pub(super) fn update(&mut self, now: Time, target: f64, acked: Option<f64>, rtt: Duration) {
        let elapsed = self
            .updated
            .map_or(0.0, |updated| (now - updated).as_secs_f64());
        self.updated = Some(now);
        if self.inherent > 0.0 {
            // Follow the path quickly to less loss, slowly to more.
            let below = self.fraction < self.inherent;
            let weight = if below {
                INHERENT_SMOOTHING
            } else {
                INHERENT_SMOOTHING / 10.0
            };
            self.inherent += (self.fraction.min(MAX_INHERENT) - self.inherent) * weight;
        }
        let loss = ((self.fraction - self.inherent) / (1.0 - self.inherent)).max(0.0);
        if loss > HIGH {
            if self
                .decreased
                .is_none_or(|decreased| now - decreased >= DECREASE_INTERVAL + rtt)
            {
                self.decrease(now, loss, target, acked);
            }
        } else if loss <= LOW {
            self.began = None;
            self.bound = self
                .bound
                .map(|bound| bound * GROWTH.powf(elapsed.min(MAX_GROWTH_SECONDS)));
        }
    }

    fn decrease(&mut self, now: Time, loss: f64, target: f64, acked: Option<f64>) {
        let (rate, before) = *self.began.get_or_insert((target, self.fraction));
        if target <= rate * COMPARE_AT {
            // A bottleneck would have dropped less at the lower rate; the path loses as before.
            let by_bottleneck = (1.0 - (1.0 - before) * rate / target).max(0.0);
            self.began = None;
            if self.fraction < MAX_INHERENT && self.fraction > (before + by_bottleneck) / 2.0 {
                self.inherent = self.fraction;
                return;
            }
        }
        self.decreased = Some(now);
        if let Some(acked) = acked.filter(|_| loss > HEAVY) {
            // Far above the path: go below what it carries at once, so that its queue drains.
            self.bound = Some((acked * DRAIN).min(target));
            return;
        }
        let reduced = target * (1.0 - 0.5 * loss);
        // What arrives is what the path carries at least.
        self.bound = Some(acked.map_or(reduced, |acked| reduced.max(acked.min(target))));
    }

    /// A probe showed that the path carries `rate`; a lower bound is out of date.
    pub(super) fn on_probe(&mut self, rate: f64) {
        self.bound = self.bound.map(|bound| bound.max(rate));
    }

    /// The bound; `None` = loss puts none.
    pub(super) fn bound(&self) -> Option<f64> {
        self.bound
    }

    /// Forgets a bound above `rate`, which does not bind.
    pub(super) fn release(&mut self, rate: f64) {
        self.bound = self.bound.filter(|bound| *bound < rate);
    }

    /// Whether the last measurement demands a decrease.
    pub(super) fn is_high(&self) -> bool {
        self.fraction - self.inherent > HIGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    /// A second per step: 100 packets at `loss(rate)`.
    fn run(
        bound: &mut LossBound,
        from: u64,
        seconds: u64,
        mut rate: f64,
        loss: impl Fn(f64) -> f64,
    ) -> f64 {
        for second in from..from + seconds {
            let lost = (100.0 * loss(rate)).round() as u32;
            if bound.add(100 - lost, lost) {
                bound.update(
                    Time::from_millis(second * 1_000),
                    rate,
                    Some(rate * (1.0 - loss(rate))),
                    RTT,
                );
            }
            rate = bound.bound().unwrap_or(rate).min(3e6);
        }
        rate
    }

    #[test]
    fn moderate_loss_changes_nothing() {
        let mut bound = LossBound::default();
        assert_eq!(run(&mut bound, 0, 100, 2e6, |_| 0.05), 2e6);
        assert_eq!(bound.bound(), None);
    }

    #[test]
    fn a_bottleneck_without_a_queue_is_found() {
        let mut bound = LossBound::default();
        let rate = run(&mut bound, 0, 60, 2e6, |rate| (1.0 - 500e3 / rate).max(0.0));
        assert!((490e3..570e3).contains(&rate), "{rate}");
    }

    #[test]
    fn loss_of_the_path_itself_does_not_starve_the_stream() {
        let mut bound = LossBound::default();
        let rate = run(&mut bound, 0, 60, 2e6, |_| 0.15);
        assert!(rate > 1.4e6, "{rate}");
        // The path recovers, and then has a bottleneck.
        let rate = run(&mut bound, 60, 60, rate, |_| 0.0);
        assert!(rate > 2e6, "{rate}");
        let rate = run(&mut bound, 120, 60, rate, |rate| {
            (1.0 - 500e3 / rate).max(0.0)
        });
        assert!(rate < 600e3, "{rate}");
    }
}

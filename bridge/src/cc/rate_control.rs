//! Increase while nothing is wrong, decrease on overuse (libwebrtc: `AimdRateControl`).

use std::time::Duration;

use super::delay::Usage;
use crate::time::Time;

/// Share of the acknowledged rate that remains after overuse …
const BETA: f64 = 0.85;
/// … less this, in bits/s.
const EXTRA_DECREASE: f64 = 5_000.0;
/// Growth per second while the capacity of the path is unknown.
const GROWTH: f64 = 1.08;
/// Least growth in that case, bits/s per update.
const MIN_GROWTH: f64 = 1_000.0;
/// Least growth near the capacity, in bits/s per second.
const MIN_ADDITIVE: f64 = 4_000.0;
/// The rate may not exceed the acknowledged one by more than this factor …
const MAX_AHEAD: f64 = 1.5;
/// … plus this.
const MAX_AHEAD_EXTRA: f64 = 10_000.0;
/// Weight of a throughput at overuse in the capacity of the path.
const CAPACITY_SMOOTHING: f64 = 0.05;
/// Weight of a probe's result in it.
const PROBE_SMOOTHING: f64 = 0.5;
/// Share of the capacity that is sent again once the queue of an overuse is empty …
const RECOVERY: f64 = 0.95;
/// … which takes this long, on top of a round trip.
const DRAIN: Duration = Duration::from_millis(500);
/// Round-trip time while it is unknown.
const DEFAULT_RTT: Duration = Duration::from_millis(200);
/// Reaction time of the path on top of a round trip, for additive growth.
const RESPONSE: Duration = Duration::from_millis(100);
/// Bounds of the time between two decreases.
const REDUCE_INTERVAL: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_millis(200));
/// Size of a packet and frames per second, for additive growth of about one packet per round trip.
const PACKET_BITS: f64 = 1_200.0 * 8.0;
const FRAMES: f64 = 30.0;

/// Capacity of the path as seen at overuse, in kbit/s.
#[derive(Debug)]
struct Capacity {
    estimate: Option<f64>,
    deviation: f64,
}

impl Capacity {
    fn update(&mut self, rate: f64, weight: f64) {
        let sample = rate / 1_000.0;
        let estimate = self
            .estimate
            .map_or(sample, |before| (1.0 - weight) * before + weight * sample);
        let error = estimate - sample;
        self.deviation =
            (1.0 - weight) * self.deviation + weight * error * error / estimate.max(1.0);
        self.deviation = self.deviation.clamp(0.4, 2.5);
        self.estimate = Some(estimate);
    }

    /// Whether `rate` is more than three deviations away.
    fn contradicts(&self, rate: f64) -> bool {
        self.estimate.is_some_and(|estimate| {
            (rate / 1_000.0 - estimate).abs() > 3.0 * (self.deviation * estimate).sqrt()
        })
    }

    fn is_below(&self, rate: f64) -> bool {
        self.estimate
            .is_some_and(|estimate| rate / 1_000.0 > estimate)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Hold,
    Increase,
}

/// The rate that the delay allows, in bits/s.
#[derive(Debug)]
pub(super) struct RateControl {
    rate: f64,
    bounds: (f64, f64),
    phase: Phase,
    capacity: Capacity,
    changed: Option<Time>,
    /// When the queue of the last overuse is empty, if nothing comes in between.
    recover_at: Option<Time>,
    rtt: Duration,
}

impl RateControl {
    pub(super) fn new(initial: f64, bounds: (f64, f64)) -> RateControl {
        RateControl {
            rate: initial.clamp(bounds.0, bounds.1),
            bounds,
            phase: Phase::Hold,
            capacity: Capacity {
                estimate: None,
                deviation: 0.4,
            },
            changed: None,
            recover_at: None,
            rtt: DEFAULT_RTT,
        }
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    pub(super) fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
    }

    /// Takes a rate as it is.
    pub(super) fn set_rate(&mut self, now: Time, rate: f64) {
        self.rate = rate.clamp(self.bounds.0, self.bounds.1);
        self.changed = Some(now);
    }

    /// Takes the result of a probe.
    pub(super) fn on_probe(&mut self, now: Time, rate: f64) {
        self.capacity.update(rate, PROBE_SMOOTHING);
        self.set_rate(now, rate);
    }

    /// New feedback came. `acked` is the acknowledged rate; `app_limited`: too little is sent to know
    /// whether the path carries more.
    pub(super) fn update(
        &mut self,
        now: Time,
        usage: Usage,
        acked: Option<f64>,
        app_limited: bool,
    ) {
        match usage {
            Usage::Over => self.on_overuse(now, acked, 0.0),
            // A queue that drains makes room for more only once it is empty.
            Usage::Under => self.phase = Phase::Hold,
            Usage::Normal => {
                if self.phase == Phase::Hold {
                    self.phase = Phase::Increase;
                    self.changed = Some(now);
                }
                self.recover(now);
                if let Some(acked) = acked {
                    self.increase(now, acked, app_limited);
                }
            }
        }
    }

    /// Once the queue is empty, goes back to just below what the path was seen to carry.
    fn recover(&mut self, now: Time) {
        let due = self.recover_at.is_some_and(|at| at <= now);
        if let Some(capacity) = self.capacity.estimate.filter(|_| due) {
            self.recover_at = None;
            let rate = (capacity * 1_000.0 * RECOVERY).min(self.bounds.1);
            self.rate = self.rate.max(rate);
        }
    }

    /// The path is too full. `sustained` is a rate that it is known to carry all the same, 0 if none is.
    pub(super) fn on_overuse(&mut self, now: Time, acked: Option<f64>, sustained: f64) {
        if self.may_reduce(now, acked) {
            let before = self.rate;
            self.decrease(now, acked);
            self.rate = self.rate.max(sustained.min(before));
        }
    }

    fn may_reduce(&self, now: Time, acked: Option<f64>) -> bool {
        let interval = self.rtt.clamp(REDUCE_INTERVAL.0, REDUCE_INTERVAL.1);
        let rested = self.changed.is_none_or(|changed| now - changed >= interval);
        rested || acked.is_some_and(|acked| acked < self.rate / 2.0)
    }

    fn decrease(&mut self, now: Time, acked: Option<f64>) {
        self.phase = Phase::Hold;
        self.changed = Some(now);
        self.recover_at = Some(now + self.rtt + DRAIN);
        let Some(acked) = acked else {
            self.rate = (self.rate / 2.0).max(self.bounds.0);
            return;
        };
        let mut reduced = acked * BETA - EXTRA_DECREASE;
        if reduced > self.rate
            && let Some(capacity) = self.capacity.estimate
        {
            reduced = capacity * 1_000.0 * BETA;
        }
        self.rate = reduced.clamp(self.bounds.0, self.rate.max(self.bounds.0));
        if self.capacity.contradicts(acked) && !self.capacity.is_below(acked) {
            self.capacity.estimate = None;
        }
        self.capacity.update(acked, CAPACITY_SMOOTHING);
    }

    fn increase(&mut self, now: Time, acked: f64, app_limited: bool) {
        if self.capacity.contradicts(acked) && self.capacity.is_below(acked) {
            self.capacity.estimate = None;
        }
        let elapsed = self
            .changed
            .map_or(0.0, |changed| (now - changed).as_secs_f64());
        self.changed = Some(now);
        let limit = acked * MAX_AHEAD + MAX_AHEAD_EXTRA;
        if app_limited || self.rate >= limit {
            return;
        }
        let growth = if self.capacity.estimate.is_some() {
            let frame = self.rate / FRAMES;
            let packet = frame / (frame / PACKET_BITS).ceil().max(1.0);
            let per_second = packet / (self.rtt + RESPONSE).as_secs_f64();
            per_second.max(MIN_ADDITIVE) * elapsed
        } else {
            (self.rate * (GROWTH.powf(elapsed.min(1.0)) - 1.0)).max(MIN_GROWTH)
        };
        self.rate = (self.rate + growth)
            .min(limit)
            .clamp(self.bounds.0, self.bounds.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control() -> RateControl {
        RateControl::new(1e6, (30e3, 20e6))
    }

    #[test]
    fn the_rate_grows_by_eight_percent_per_second_but_not_far_beyond_what_arrives() {
        let mut control = control();
        for at in 0..=100 {
            control.update(
                Time::from_millis(at * 100),
                Usage::Normal,
                Some(control.rate()),
                false,
            );
        }
        let expected = 1e6 * 1.08f64.powi(10);
        assert!(
            (control.rate() - expected).abs() < 0.01 * expected,
            "{}",
            control.rate()
        );

        for at in 101..=1_000 {
            control.update(Time::from_millis(at * 100), Usage::Normal, Some(2e6), false);
        }
        assert_eq!(control.rate(), 2e6 * 1.5 + 10e3);
    }

    #[test]
    fn overuse_takes_it_below_what_arrives_and_growth_is_careful_then() {
        let mut control = control();
        control.update(Time::from_millis(0), Usage::Over, Some(500e3), false);
        assert_eq!(control.rate(), 500e3 * 0.85 - 5e3);
        let reduced = control.rate();
        control.update(Time::from_millis(50), Usage::Over, Some(450e3), false);
        assert_eq!(control.rate(), reduced, "not again within a round trip");
        for at in 1..=100 {
            control.update(
                Time::from_millis(at * 100),
                Usage::Normal,
                Some(490e3),
                false,
            );
        }
        let grown = control.rate() - reduced;
        assert!((4e3 * 9.0..400e3).contains(&grown), "{grown}");
    }

    #[test]
    fn an_application_limit_holds_the_rate() {
        let mut control = control();
        for at in 0..100 {
            control.update(
                Time::from_millis(at * 100),
                Usage::Normal,
                Some(900e3),
                true,
            );
        }
        assert_eq!(control.rate(), 1e6);
    }
}

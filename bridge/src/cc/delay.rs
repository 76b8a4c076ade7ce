//! Is the delay growing? Packet groups and the trend of their delays (libwebrtc: `InterArrivalDelta` and
//! `TrendlineEstimator`).

use std::collections::VecDeque;
use std::time::Duration;

use super::history::Acknowledged;
use crate::time::Time;

/// Packets sent within this belong together.
const SEND_GROUP: i64 = 5_000;
/// Packets that arrive this close, and faster than they were sent, belong together …
const BURST_GAP: i64 = 5_000;
/// … up to this length.
const MAX_BURST: i64 = 100_000;
/// A larger difference of a delta is a jump of a clock.
const MAX_OFFSET: i64 = 3_000_000;
/// Groups that arrive before their predecessors, in a row, until everything starts again.
const REORDERED_RESET: u32 = 3;
/// Everything starts again after a pause.
const STREAM_TIMEOUT: Duration = Duration::from_secs(2);

/// Points of the trend.
const WINDOW: usize = 20;
const SMOOTHING: f64 = 0.9;
const GAIN: f64 = 4.0;
/// The trend counts fully from this many deltas on.
const FULL_DELTAS: u32 = 60;
const MAX_DELTAS: u32 = 1_000;
/// Overuse is declared after this time above the threshold.
const OVERUSE_MILLIS: f64 = 10.0;
/// A longer wait of all packets is a queue, in µs.
pub(super) const QUEUE_MICROS: i64 = 8_000;
/// The delay of an empty path is looked for anew this often.
const BASE_PERIOD: Duration = Duration::from_secs(10);

const THRESHOLD: f64 = 12.5;
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;
const THRESHOLD_RANGE: (f64, f64) = (6.0, 600.0);
/// Spikes this much above the threshold do not raise it.
const MAX_ADAPT: f64 = 15.0;
const MAX_ADAPT_MILLIS: f64 = 100.0;

/// What the trend says about the bottleneck.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Usage {
    /// Its queue does not change.
    #[default]
    Normal,
    /// Its queue grows.
    Over,
    /// Its queue drains.
    Under,
}

/// Packets that were sent together. Times in µs.
#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: i64,
    sent: i64,
    first_arrival: i64,
    arrival: i64,
}

#[derive(Debug, Default)]
struct Groups {
    current: Option<Group>,
    previous: Option<Group>,
    reordered: u32,
}

impl Groups {
    /// Differences (sent, arrival) between two complete groups, when a third begins.
    fn add(&mut self, sent: i64, arrival: i64) -> Option<(i64, i64)> {
        let start = Group {
            first_sent: sent,
            sent,
            first_arrival: arrival,
            arrival,
        };
        let Some(group) = self.current.as_mut() else {
            self.current = Some(start);
            return None;
        };
        if sent < group.first_sent {
            return None;
        }
        let (send_gap, arrival_gap) = (sent - group.sent, arrival - group.arrival);
        let burst = send_gap == 0
            || arrival_gap < send_gap
                && arrival_gap <= BURST_GAP
                && arrival - group.first_arrival < MAX_BURST;
        if burst || sent - group.first_sent <= SEND_GROUP {
            group.sent = group.sent.max(sent);
            group.arrival = group.arrival.max(arrival);
            return None;
        }
        let complete = *group;
        let previous = self.previous.replace(complete);
        self.current = Some(start);
        let previous = previous?;
        let delta = (
            complete.sent - previous.sent,
            complete.arrival - previous.arrival,
        );
        if delta.1 < 0 {
            self.reordered += 1;
            if self.reordered >= REORDERED_RESET {
                *self = Groups::default();
            }
            return None;
        }
        self.reordered = 0;
        if delta.1 - delta.0 > MAX_OFFSET {
            *self = Groups::default();
            return None;
        }
        Some(delta)
    }
}

/// The trend of the delay over the last groups, against a threshold that adapts to the path.
#[derive(Debug)]
struct Trend {
    deltas: u32,
    first_arrival: f64,
    accumulated: f64,
    smoothed: f64,
    /// (arrival, smoothed delay), both in ms.
    points: VecDeque<(f64, f64)>,
    previous: f64,
    threshold: f64,
    threshold_updated: Option<f64>,
    /// How long the trend has been above the threshold, in ms.
    over: Option<f64>,
    over_count: u32,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Trend {
            deltas: 0,
            first_arrival: 0.0,
            accumulated: 0.0,
            smoothed: 0.0,
            points: VecDeque::with_capacity(WINDOW + 1),
            previous: 0.0,
            threshold: THRESHOLD,
            threshold_updated: None,
            over: None,
            over_count: 0,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    /// A pair of groups: differences of sending and arrival, and the arrival, in ms.
    fn add(&mut self, send_delta: f64, arrival_delta: f64, arrival: f64) {
        self.deltas = (self.deltas + 1).min(MAX_DELTAS);
        if self.deltas == 1 {
            self.first_arrival = arrival;
        }
        self.accumulated += arrival_delta - send_delta;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.accumulated;
        self.points
            .push_back((arrival - self.first_arrival, self.smoothed));
        if self.points.len() > WINDOW {
            self.points.pop_front();
        }
        let trend = if self.points.len() == WINDOW {
            self.slope()
        } else {
            None
        };
        self.detect(trend.unwrap_or(self.previous), send_delta, arrival);
    }

    /// Least squares.
    fn slope(&self) -> Option<f64> {
        let count = self.points.len() as f64;
        let (x_sum, y_sum) = self
            .points
            .iter()
            .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        let (x_mean, y_mean) = (x_sum / count, y_sum / count);
        let (numerator, denominator) = self.points.iter().fold((0.0, 0.0), |sum, (x, y)| {
            (
                sum.0 + (x - x_mean) * (y - y_mean),
                sum.1 + (x - x_mean) * (x - x_mean),
            )
        });
        (denominator > 0.0).then(|| numerator / denominator)
    }

    fn detect(&mut self, trend: f64, send_delta: f64, arrival: f64) {
        if self.deltas < 2 {
            self.usage = Usage::Normal;
            return;
        }
        let value = f64::from(self.deltas.min(FULL_DELTAS)) * trend * GAIN;
        if value > self.threshold {
            // Half of the time between two groups, as it may have begun anywhere in between.
            let over = self.over.map_or(send_delta / 2.0, |over| over + send_delta);
            self.over = Some(over);
            self.over_count += 1;
            if over > OVERUSE_MILLIS && self.over_count > 1 && trend >= self.previous {
                self.over = Some(0.0);
                self.over_count = 0;
                self.usage = Usage::Over;
            }
        } else {
            self.over = None;
            self.over_count = 0;
            self.usage = if value < -self.threshold {
                Usage::Under
            } else {
                Usage::Normal
            };
        }
        self.previous = trend;
        self.adapt(value, arrival);
    }

    fn adapt(&mut self, value: f64, arrival: f64) {
        let elapsed = self
            .threshold_updated
            .map_or(0.0, |updated| arrival - updated);
        self.threshold_updated = Some(arrival);
        let distance = value.abs() - self.threshold;
        if distance > MAX_ADAPT {
            return;
        }
        let gain = if distance < 0.0 {
            THRESHOLD_DOWN
        } else {
            THRESHOLD_UP
        };
        self.threshold += gain * distance * elapsed.clamp(0.0, MAX_ADAPT_MILLIS);
        self.threshold = self.threshold.clamp(THRESHOLD_RANGE.0, THRESHOLD_RANGE.1);
    }
}

/// The least delay of the recent past: that of the path when its queue is empty.
#[derive(Debug, Default)]
struct BaseDelay {
    /// µs, on the two clocks: least of the running period, and of the one before.
    least: Option<(i64, i64)>,
    period_ends: Time,
}

impl BaseDelay {
    /// How far `delay` is above it.
    fn excess(&mut self, now: Time, delay: i64) -> i64 {
        let (mut running, mut before) = self.least.unwrap_or((delay, delay));
        if now >= self.period_ends {
            (running, before) = (delay, running);
            self.period_ends = now + BASE_PERIOD;
        }
        running = running.min(delay);
        self.least = Some((running, before));
        delay.saturating_sub(running.min(before))
    }
}

/// Watches the delay of acknowledged packets.
#[derive(Debug, Default)]
pub(super) struct DelayDetector {
    groups: Groups,
    trend: Trend,
    base: BaseDelay,
    last: Option<Time>,
}

impl DelayDetector {
    /// A packet that was acknowledged at `now`. Packets come in order of their arrival.
    pub(super) fn add(&mut self, now: Time, packet: &Acknowledged) {
        if self.last.is_some_and(|last| now - last > STREAM_TIMEOUT) {
            self.reset();
        }
        self.last = Some(now);
        if let Some((sent, arrival)) = self
            .groups
            .add(packet.sent.as_micros() as i64, packet.arrival)
        {
            let millis = |micros: i64| micros as f64 / 1_000.0;
            self.trend
                .add(millis(sent), millis(arrival), millis(packet.arrival));
        }
    }

    pub(super) fn usage(&self) -> Usage {
        self.trend.usage
    }

    /// How long, in µs, the packet of this feedback that waited least did so. A trend without a queue is chance, or a burst that is
    /// over.
    pub(super) fn queue(&mut self, now: Time, acknowledged: &[Acknowledged]) -> i64 {
        let sent = |packet: &Acknowledged| packet.sent.as_micros() as i64;
        let delays = acknowledged.iter();
        let least = delays.map(|packet| packet.arrival.saturating_sub(sent(packet)));
        least.min().map_or(0, |delay| self.base.excess(now, delay))
    }

    pub(super) fn reset(&mut self) {
        self.groups = Groups::default();
        self.base = BaseDelay::default();
        let mut points = std::mem::take(&mut self.trend.points);
        points.clear();
        self.trend = Trend {
            points,
            ..Trend::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a packet every 10 ms; `delay` gives its delay in µs.
    fn run(
        detector: &mut DelayDetector,
        packets: std::ops::Range<u64>,
        delay: impl Fn(u64) -> i64,
    ) -> Vec<Usage> {
        packets
            .map(|number| {
                let sent = Time::from_millis(number * 10);
                let arrival = sent.as_micros() as i64 + delay(number);
                let packet = Acknowledged {
                    number,
                    sent,
                    arrival,
                    size: 1_000,
                    cluster: None,
                };
                detector.add(sent + Duration::from_millis(100), &packet);
                detector.usage()
            })
            .collect()
    }

    #[test]
    fn a_constant_delay_is_normal_and_a_growing_one_is_overuse() {
        let mut detector = DelayDetector::default();
        assert!(
            run(&mut detector, 0..200, |_| 30_000)
                .iter()
                .all(|usage| *usage == Usage::Normal)
        );
        let growing = run(&mut detector, 200..240, |number| {
            30_000 + (number as i64 - 200) * 1_000
        });
        assert!(growing.contains(&Usage::Over));
        let shrinking = run(&mut detector, 240..300, |number| {
            (70_000 - (number as i64 - 240) * 1_000).max(30_000)
        });
        assert!(shrinking.contains(&Usage::Under));
        let steady = run(&mut detector, 300..500, |_| 30_000);
        assert_eq!(steady.last(), Some(&Usage::Normal));
    }

    #[test]
    fn a_pause_starts_the_trend_again() {
        let mut detector = DelayDetector::default();
        run(&mut detector, 0..100, |number| number as i64 * 2_000);
        let after = run(&mut detector, 400..410, |_| 900_000);
        assert!(after.iter().all(|usage| *usage == Usage::Normal));
    }

    #[test]
    fn jitter_around_a_mean_is_no_overuse() {
        let mut detector = DelayDetector::default();
        let usage = run(&mut detector, 0..1_000, |number| {
            30_000 + (number as i64 * 7_919 % 8) * 1_000
        });
        assert!(usage.iter().filter(|usage| **usage == Usage::Over).count() < 5);
    }
}

//! Throughput that the receiver acknowledged, robust against bursts and pauses (libwebrtc:
//! `RobustThroughputEstimator`).

use std::collections::VecDeque;

use super::history::Acknowledged;

/// The window holds this many packets and this time at least …
const MIN_PACKETS: usize = 20;
const MIN_MICROS: i64 = 1_000_000;
/// … and at most.
const MAX_PACKETS: usize = 500;
const MAX_MICROS: i64 = 5_000_000;
/// No estimate from fewer packets.
const REQUIRED_PACKETS: usize = 10;
/// A packet that is reordered by more tells of a clock that jumped.
const MAX_REORDERING_MICROS: i64 = 1_000_000;
/// What is recent.
const RECENT_MICROS: i64 = 400_000;
/// A burst is seen in this time.
const BURST_MICROS: i64 = 150_000;
/// A path that delivers this many times the average has room for as much.
const SUSTAINED: f64 = 1.1;
/// Shortest time that a rate is computed over.
const MIN_DURATION_MICROS: i64 = 1_000;

#[derive(Clone, Copy, Debug)]
struct Sample {
    sent: i64,
    arrival: i64,
    bits: f64,
}

/// Bits per second.
struct Rates {
    received: f64,
    /// Of the same packets; none if there was a pause among them.
    sent: Option<f64>,
}

impl Rates {
    fn slower(&self) -> f64 {
        self.sent
            .map_or(self.received, |sent| sent.min(self.received))
    }
}

/// The window, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Throughput(VecDeque<Sample>);

impl Throughput {
    pub(super) fn add(&mut self, packet: &Acknowledged) {
        let sample = Sample {
            sent: packet.sent.as_micros() as i64,
            arrival: packet.arrival,
            bits: f64::from(packet.size) * 8.0,
        };
        if self
            .0
            .back()
            .is_some_and(|newest| newest.arrival - sample.arrival > MAX_REORDERING_MICROS)
        {
            self.0.clear();
        }
        let behind = self
            .0
            .iter()
            .rev()
            .take_while(|other| other.arrival > sample.arrival)
            .count();
        self.0.insert(self.0.len() - behind, sample);
        while self.is_too_long() {
            self.0.pop_front();
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn is_too_long(&self) -> bool {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else {
            return false;
        };
        let micros = last.arrival - first.arrival;
        self.0.len() > MAX_PACKETS
            || micros > MAX_MICROS
            || self.0.len() > MIN_PACKETS && micros > MIN_MICROS
    }

    /// Bits per second; `None` until enough packets are known.
    pub(super) fn rate(&self) -> Option<f64> {
        Some(self.rates_from(0)?.slower())
    }

    /// The rate of the last [`RECENT_MICROS`]: what the path carries now, if it is full.
    ///
    /// The whole window lags behind when the rate changed within it. libwebrtc decreases from there too,
    /// which after a successful probe throws away most of what was found; with a pacer that is rare.
    pub(super) fn recent_rate(&self) -> Option<f64> {
        Some(self.rates_since(RECENT_MICROS)?.slower())
    }

    /// Somewhat more than what is sent on average, if the path delivers that and more at this moment: then it has room for it, and
    /// a burst, such as a keyframe, fills it.
    pub(super) fn sustained_rate(&self) -> Option<f64> {
        let (average, now) = (self.rate()?, self.rates_since(BURST_MICROS)?.received);
        let rate = average * SUSTAINED;
        (now > rate).then_some(rate)
    }

    fn rates_since(&self, micros: i64) -> Option<Rates> {
        let newest = self.0.back()?.arrival;
        let recent = self
            .0
            .iter()
            .rev()
            .take_while(|sample| newest - sample.arrival <= micros);
        let recent = recent.count().max(REQUIRED_PACKETS);
        self.rates_from(self.0.len().saturating_sub(recent))
    }

    fn rates_from(&self, start: usize) -> Option<Rates> {
        let (first, last) = (self.0.get(start)?, self.0.back()?);
        if self.0.len() - start < REQUIRED_PACKETS {
            return None;
        }
        let (mut largest_gap, mut second_gap) = (0, 0);
        let (mut first_sent, mut last_sent, mut last_sent_bits) = (i64::MAX, i64::MIN, 0.0);
        let mut bits = 0.0;
        let mut before = first.arrival;
        for sample in self.0.range(start..) {
            let gap = sample.arrival - before;
            before = sample.arrival;
            if gap > largest_gap {
                second_gap = largest_gap;
                largest_gap = gap;
            } else {
                second_gap = second_gap.max(gap);
            }
            first_sent = first_sent.min(sample.sent);
            if sample.sent > last_sent {
                last_sent = sample.sent;
                last_sent_bits = sample.bits;
            }
            bits += sample.bits;
        }
        // A single long gap, as when a queue stalls, is not the rate of the path.
        let received_in = last.arrival - first.arrival - largest_gap + second_gap;
        let received = (bits - first.bits) * 1e6 / received_in.max(MIN_DURATION_MICROS) as f64;
        let sent_in = (last_sent - first_sent).max(MIN_DURATION_MICROS);
        // After a pause of the application only the receive side tells something.
        let paused = sent_in > MIN_MICROS + largest_gap.max(MIN_MICROS);
        let sent = (bits - last_sent_bits) * 1e6 / sent_in as f64;
        Some(Rates {
            received,
            sent: (!paused).then_some(sent),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    fn packet(sent_ms: u64, arrival_ms: i64) -> Acknowledged {
        Acknowledged {
            number: 0,
            sent: Time::from_millis(sent_ms),
            arrival: arrival_ms * 1_000,
            size: 1_000,
            cluster: None,
        }
    }

    #[test]
    fn a_steady_stream_has_its_rate() {
        let mut throughput = Throughput::default();
        for at in 0..9 {
            throughput.add(&packet(at * 10, at as i64 * 10 + 50));
        }
        assert_eq!(throughput.rate(), None, "too few");
        for at in 9..300 {
            throughput.add(&packet(at * 10, at as i64 * 10 + 50));
        }
        assert_eq!(throughput.rate().map(|rate| rate.round()), Some(800_000.0));
        assert!(throughput.0.len() <= 101);
    }

    #[test]
    fn a_burst_that_arrives_spread_counts_as_it_arrives() {
        let mut throughput = Throughput::default();
        for at in 0..100 {
            throughput.add(&packet(at, at as i64 * 10));
        }
        assert_eq!(throughput.rate().map(|rate| rate.round()), Some(800_000.0));
    }

    #[test]
    fn t47_arrival_times_in_any_order_stay_bounded() {
        let mut throughput = Throughput::default();
        let mut random = crate::random::Random::from_seed(47);
        for _ in 0..5_000 {
            throughput.add(&packet(
                random.below(1 << 40),
                random.below(1 << 40) as i64 - (1 << 39),
            ));
            assert!(throughput.0.len() <= MAX_PACKETS);
            assert!(
                throughput
                    .rate()
                    .is_none_or(|rate| rate.is_finite() && rate >= 0.0)
            );
        }
    }
}

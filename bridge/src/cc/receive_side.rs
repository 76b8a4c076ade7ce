//! Bandwidth estimation for a sender that takes a REMB and reports nothing itself (draft-alvestrand-rmcat-remb): the delay detector
//! of [`super::SendSideEstimator`] with the send times that the packets carry (abs-send-time), without loss (media-plane §2.20).

use std::time::Duration;

use super::delay::{DelayDetector, QUEUE_MICROS, Usage};
use super::history::Acknowledged;
use super::rate_control::RateControl;
use crate::config::EstimatorConfig;
use crate::time::Time;
use crate::units::Bitrate;

/// The rate begins with what arrives after this time (libwebrtc: `AimdRateControl`), or at the first overuse.
const INITIALISATION: Duration = Duration::from_secs(5);
/// Without overuse the rate is looked at this often.
const INTERVAL: Duration = Duration::from_millis(100);
/// Nothing is known about a sender that was silent for this long.
const SILENCE: Duration = Duration::from_secs(2);
/// abs-send-time: 24 bits, of which 18 are a fraction of a second.
const TICK_BITS: u32 = 18;
const FIRST_SENT: i64 = 1 << 40;

/// Estimate of the bandwidth from one sender.
#[derive(Debug)]
pub struct ReceiveSideEstimator {
    delay: DelayDetector,
    rate_control: RateControl,
    /// First packet.
    began: Option<Time>,
    /// The newest one.
    last: Time,
    updated: Time,
    initialised: bool,
    /// Send time of the newest packet: as it was written, and unwrapped in ticks.
    sent: Option<(u32, i64)>,
    number: u64,
}

impl ReceiveSideEstimator {
    /// Nothing received yet.
    pub fn new(config: EstimatorConfig) -> ReceiveSideEstimator {
        let max = config.max.max(config.min);
        let bounds = (config.min.as_bps() as f64, max.as_bps() as f64);
        ReceiveSideEstimator {
            delay: DelayDetector::default(),
            rate_control: RateControl::new(bounds.0, bounds),
            began: None,
            last: Time::ZERO,
            updated: Time::ZERO,
            initialised: false,
            sent: None,
            number: 0,
        }
    }

    /// A packet arrived that was sent at `send_time` (24 bits, 6.18 fixed point seconds). `incoming` is the rate of all that arrives.
    pub fn on_packet(&mut self, now: Time, send_time: u32, size: usize, incoming: Bitrate) {
        let began = *self.began.get_or_insert(now);
        self.last = now;
        self.number += 1;
        let packet = Acknowledged {
            number: self.number,
            sent: self.unwrap(send_time),
            arrival: now.as_micros() as i64,
            size: u32::try_from(size).unwrap_or(u32::MAX),
            cluster: None,
        };
        self.delay.add(now, &packet);
        let queue = self.delay.queue(now, &[packet]);
        let usage = match self.delay.usage() {
            Usage::Over if queue <= QUEUE_MICROS => Usage::Normal,
            usage => usage,
        };
        if usage != Usage::Over && now - self.updated < INTERVAL {
            return;
        }
        self.updated = now;
        let incoming = incoming.as_bps() as f64;
        if !self.initialised {
            if usage != Usage::Over && now - began < INITIALISATION {
                return;
            }
            self.initialised = true;
            self.rate_control.set_rate(now, incoming);
        }
        self.rate_control.update(now, usage, Some(incoming), false);
    }

    /// The round-trip time to the sender.
    pub fn on_rtt(&mut self, rtt: Duration) {
        self.rate_control.set_rtt(rtt);
    }

    /// What the sender may send; `None` while nothing is known.
    pub fn estimate(&self, now: Time) -> Option<Bitrate> {
        let known = self.initialised && now - self.last < SILENCE;
        known.then(|| Bitrate::bps(self.rate_control.rate() as u64))
    }

    fn unwrap(&mut self, send_time: u32) -> Time {
        let ticks = match self.sent {
            None => FIRST_SENT,
            Some((last, ticks)) => {
                let step = (send_time.wrapping_sub(last) << 8) as i32 >> 8;
                // A sender that counts backwards for years only harms itself.
                ticks.saturating_add(step.into()).max(0)
            }
        };
        self.sent = Some((send_time, ticks));
        let micros = (i128::from(ticks) * 1_000_000) >> TICK_BITS;
        Time::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::receive::RateWindow;
    use crate::sim::link::{Link, LinkConfig};
    use crate::wire::extensions::abs_send_time;

    /// A sender that sends what it is told to, up to `wanted`, through `config` for some seconds; what it is told every half second.
    fn run(config: LinkConfig, wanted: u64, seconds: u64) -> Vec<u64> {
        let mut estimator = ReceiveSideEstimator::new(EstimatorConfig::default());
        let mut link = Link::new(1, config);
        let mut incoming = RateWindow::default();
        let (mut told, mut due) = (Vec::new(), 0.0);
        for at in 1_000..1_000 + seconds * 1_000 {
            let now = Time::from_millis(at);
            let rate = told.last().copied().unwrap_or(wanted).min(wanted);
            due += rate as f64 / 8e3;
            while due >= 1_200.0 {
                due -= 1_200.0;
                link.send(now, 1_200, abs_send_time(now));
            }
            while let Some([a, b, c]) = link.poll(now) {
                incoming.add(now, 1_200);
                let sent = u32::from_be_bytes([0, a, b, c]);
                estimator.on_packet(now, sent, 1_200, incoming.rate(now));
            }
            if at % 500 == 0 {
                told.extend(estimator.estimate(now).map(Bitrate::as_bps));
            }
        }
        told
    }

    #[test]
    fn a_free_path_lets_the_sender_have_what_it_sends_and_more() {
        let told = run(LinkConfig::default(), 1_000_000, 100);
        // Nothing in the first five seconds. Send times wrap after 64.
        assert!((188..=190).contains(&told.len()), "{}", told.len());
        assert!(told.iter().all(|rate| *rate >= 900_000), "{told:?}");
        let last = told.last().copied().unwrap_or(0);
        assert!((1_400_000..1_600_000).contains(&last), "{last}");
    }

    #[test]
    fn a_bottleneck_is_found_at_once_and_kept() {
        let config = LinkConfig {
            rate: Some(Bitrate::kbps(600)),
            queue_bytes: 40_000,
            ..LinkConfig::default()
        };
        let told = run(config, 1_000_000, 60);
        assert!(
            told.len() > 114,
            "before the first five seconds: {}",
            told.len()
        );
        let late = &told[20..];
        assert!(
            late.iter().all(|rate| (400_000..800_000).contains(rate)),
            "{late:?}"
        );
    }

    #[test]
    fn a_sender_that_is_silent_or_lies_is_told_nothing_wild() {
        let config = EstimatorConfig::default();
        let mut estimator = ReceiveSideEstimator::new(config);
        let mut random = Random::from_seed(20);
        let mut now = Time::from_millis(1);
        for _ in 0..20_000 {
            now += Duration::from_micros(random.below(20_000));
            let rate = Bitrate::bps(random.u64() >> random.below(64));
            estimator.on_packet(now, random.u32() & 0xFF_FFFF, 1_000, rate);
            let told = estimator.estimate(now);
            assert!(told.is_none_or(|rate| (config.min..=config.max).contains(&rate)));
        }
        assert!(estimator.estimate(now).is_some());
        assert_eq!(estimator.estimate(now + SILENCE), None);
    }
}

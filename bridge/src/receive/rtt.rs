//! Round-trip time from report blocks (media-plane §2.24).

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::SENT_REPORTS;
use crate::time::Time;

/// A report that refers to an older sender report than this is ignored.
const MAX_DELAY: Duration = Duration::from_secs(300);
/// Larger results are ignored.
const MAX_RTT: Duration = Duration::from_secs(7);
/// Weight of a new sample: 1/8 (RFC 6298 §2).
const SMOOTHING: u32 = 8;
/// One unit of DLSR is 15.3 µs; a result that is negative by less is rounding.
const ROUNDING: Duration = Duration::from_micros(16);

#[derive(Clone, Copy, Debug)]
struct SentReport {
    ssrc: u32,
    /// Middle 32 bits of its NTP time.
    ntp: u32,
    sent: Time,
}

/// Round-trip time to one endpoint, from its answers to the sender reports that it was sent.
#[derive(Debug, Default)]
pub struct RttEstimator {
    /// Newest last; at most [`SENT_REPORTS`].
    sent: VecDeque<SentReport>,
    latest: Option<Duration>,
    smoothed: Option<Duration>,
}

impl RttEstimator {
    /// No report sent yet.
    pub fn new() -> RttEstimator {
        RttEstimator::default()
    }

    /// A sender report for `ssrc` with this 64-bit NTP time was sent.
    pub fn on_sent_report(&mut self, now: Time, ssrc: u32, ntp: u64) {
        if self.sent.len() >= SENT_REPORTS {
            self.sent.pop_front();
        }
        self.sent.push_back(SentReport {
            ssrc,
            ntp: (ntp >> 16) as u32,
            sent: now,
        });
    }

    /// A report block came: its SSRC, LSR and DLSR fields as they are. The round-trip time if it can be
    /// told from it.
    pub fn on_report_block(
        &mut self,
        now: Time,
        ssrc: u32,
        last_sr: u32,
        delay: u32,
    ) -> Option<Duration> {
        if last_sr == 0 {
            return None;
        }
        let report = self
            .sent
            .iter()
            .rev()
            .find(|report| report.ssrc == ssrc && report.ntp == last_sr)?;
        let delay = Duration::from_micros(u64::from(delay) * 1_000_000 / 65_536);
        let elapsed = now - report.sent;
        if delay > MAX_DELAY || delay > elapsed + ROUNDING {
            return None;
        }
        let rtt = elapsed.saturating_sub(delay);
        if rtt > MAX_RTT {
            return None;
        }
        self.latest = Some(rtt);
        self.smoothed = Some(match self.smoothed {
            None => rtt,
            Some(smoothed) => (smoothed * (SMOOTHING - 1) + rtt) / SMOOTHING,
        });
        Some(rtt)
    }

    /// The smoothed round-trip time.
    pub fn rtt(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The last sample.
    pub fn latest(&self) -> Option<Duration> {
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NTP: u64 = 0x0000_1234_5678_0000;
    const LSR: u32 = 0x1234_5678;

    fn units(millis: u64) -> u32 {
        (millis * 65_536 / 1_000) as u32
    }

    #[test]
    fn media_plane_case_56_the_time_on_the_way_is_what_the_delay_leaves() {
        let mut rtt = RttEstimator::new();
        rtt.on_sent_report(Time::from_millis(1_000), 5, NTP);
        let now = Time::from_millis(3_080);
        let sample = rtt
            .on_report_block(now, 5, LSR, units(2_000))
            .expect("matches");
        assert!(sample >= Duration::from_millis(80) && sample < Duration::from_micros(80_020));
        assert_eq!(rtt.rtt(), Some(sample));
        assert_eq!(rtt.latest(), Some(sample));

        // Smoothed: an outlier counts an eighth.
        rtt.on_report_block(now, 5, LSR, units(1_280))
            .expect("matches");
        assert_eq!(rtt.rtt().map(|rtt| rtt.as_millis()), Some(170));
        assert_eq!(rtt.latest().map(|rtt| rtt.as_millis()), Some(800));
    }

    #[test]
    fn media_plane_case_56_delays_that_cannot_be_are_ignored() {
        let mut rtt = RttEstimator::new();
        rtt.on_sent_report(Time::ZERO, 5, NTP);
        let late = Time::from_millis(361_000);
        assert_eq!(
            rtt.on_report_block(late, 5, LSR, units(360_000)),
            None,
            "six minutes"
        );
        assert_eq!(
            rtt.on_report_block(Time::from_millis(100), 5, LSR, units(101)),
            None,
            "negative"
        );
        assert_eq!(
            rtt.on_report_block(Time::from_millis(7_001), 5, LSR, 0),
            None,
            "more than 7 s"
        );
        assert_eq!(
            rtt.on_report_block(Time::from_millis(100), 6, LSR, 0),
            None,
            "another SSRC"
        );
        assert_eq!(
            rtt.on_report_block(Time::from_millis(100), 5, 0, 0),
            None,
            "no report seen"
        );
        assert_eq!(
            rtt.on_report_block(Time::from_millis(100), 5, LSR, u32::MAX),
            None
        );
        assert_eq!(rtt.rtt(), None);
    }

    #[test]
    fn only_the_last_reports_are_remembered() {
        let mut rtt = RttEstimator::new();
        for number in 1..=SENT_REPORTS as u64 + 1 {
            rtt.on_sent_report(Time::ZERO, 5, number << 16);
        }
        assert_eq!(rtt.on_report_block(Time::ZERO, 5, 1, 0), None);
        assert_eq!(
            rtt.on_report_block(Time::ZERO, 5, 2, 0),
            Some(Duration::ZERO)
        );
    }
}

//! With which bandwidth and when the allocator runs (allocation spec §7.4, §7.5).

use std::time::Duration;

use super::ReceiverSettings;
use crate::config::AllocationConfig;
use crate::time::Time;
use crate::units::Bitrate;

/// The bandwidth to allocate; `None` = unlimited, because there is no estimate or none to trust. Without
/// RTX the estimator cannot probe, so its estimate is not used (`rtx` = an RTX payload type was
/// negotiated with the receiver).
pub fn usable_bandwidth(
    config: &AllocationConfig,
    settings: &ReceiverSettings,
    estimate: Option<Bitrate>,
    rtx: bool,
) -> Option<Bitrate> {
    let estimate = estimate.filter(|_| config.trust_estimate && rtx);
    settings.assumed_bandwidth().or(estimate)
}

/// Runs the allocator when the estimate changed enough.
#[derive(Clone, Copy, Default, Debug)]
pub struct EstimateTrigger {
    acted_upon: Option<Bitrate>,
}

impl EstimateTrigger {
    /// Takes a new estimate; true if the allocator must run with it. The first one always counts, a
    /// later one if it differs by more than `threshold` (a share) from the last that counted.
    pub fn on_estimate(&mut self, estimate: Bitrate, threshold: f64) -> bool {
        let significant = self.acted_upon.is_none_or(|old| {
            let difference = old.as_bps().abs_diff(estimate.as_bps());
            difference as f64 > old.as_bps() as f64 * threshold
        });
        if significant {
            self.acted_upon = Some(estimate);
        }
        significant
    }
}

/// Runs the allocator when it did not run for a while: what no event tells, such as a layer that stopped,
/// is noticed then.
#[derive(Clone, Copy, Debug)]
pub struct PeriodicTrigger {
    last: Time,
    period: Duration,
}

impl PeriodicTrigger {
    /// The timer fires this much late, so that one firing suffices.
    const MARGIN: Duration = Duration::from_millis(5);

    /// Counts from `now`.
    pub fn new(now: Time, period: Duration) -> PeriodicTrigger {
        PeriodicTrigger { last: now, period }
    }

    /// The allocator ran, for whatever reason.
    pub fn ran(&mut self, now: Time) {
        self.last = now;
    }

    /// Whether it must run.
    pub fn is_due(&self, now: Time) -> bool {
        now.since(self.last) > self.period
    }

    /// When to look again.
    pub fn deadline(&self) -> Time {
        self.last + self.period + PeriodicTrigger::MARGIN
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::rvc;
    use super::*;
    use crate::channel::ReceiverVideoConstraints;

    #[test]
    fn allocation_case_31_small_changes_of_the_estimate_cause_no_run() {
        let mut trigger = EstimateTrigger::default();
        let steps = [
            (600, true),
            (520, false),
            (509, true),
            (580, false),
            (586, true),
        ];
        for (kbps, runs) in steps {
            assert_eq!(
                trigger.on_estimate(Bitrate::kbps(kbps), 0.15),
                runs,
                "{kbps}"
            );
        }
    }

    #[test]
    fn allocation_case_33_an_assumed_bandwidth_replaces_the_estimate() {
        let config = AllocationConfig {
            assumed_bandwidth_limit: Some(Bitrate::kbps(10_000)),
            ..AllocationConfig::default()
        };
        let mut settings = ReceiverSettings::new(&config);
        let estimate = Some(Bitrate::kbps(100));
        assert_eq!(
            usable_bandwidth(&config, &settings, estimate, true),
            estimate
        );
        settings.apply(&ReceiverVideoConstraints {
            assumed_bandwidth_bps: Some(9_000_000),
            ..rvc()
        });
        let assumed = Some(Bitrate::kbps(9_000));
        assert_eq!(
            usable_bandwidth(&config, &settings, estimate, true),
            assumed
        );
    }

    #[test]
    fn allocation_case_34_without_rtx_the_estimate_limits_nothing() {
        let config = AllocationConfig::default();
        let settings = ReceiverSettings::new(&config);
        let estimate = Some(Bitrate::kbps(100));
        assert_eq!(usable_bandwidth(&config, &settings, estimate, false), None);
        assert_eq!(usable_bandwidth(&config, &settings, None, true), None);
        let config = AllocationConfig {
            trust_estimate: false,
            ..config
        };
        assert_eq!(usable_bandwidth(&config, &settings, estimate, true), None);
    }

    #[test]
    fn allocation_case_36_the_timer_counts_from_the_last_run() {
        let period = AllocationConfig::default().max_time_between_runs;
        let mut trigger = PeriodicTrigger::new(Time::ZERO, period);
        assert!(!trigger.is_due(Time::from_millis(5_000)));
        assert!(trigger.is_due(Time::from_millis(5_100)));
        assert!(trigger.is_due(trigger.deadline()));

        trigger.ran(Time::from_millis(3_000));
        assert!(!trigger.is_due(Time::from_millis(7_999)));
        assert!(trigger.deadline() >= Time::from_millis(8_000));
        assert!(trigger.is_due(trigger.deadline()));
    }
}

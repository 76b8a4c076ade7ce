//! How many video sources a receiver gets at most (allocation spec §6).

use std::time::Duration;

use crate::config::AllocationConfig;
use crate::time::Time;

/// The smallest of all limits on a receiver that was given `sources` video sources of others; `None` = no
/// limit. Every negative limit means "no limit" (allocation spec Q5).
pub fn effective_last_n(config: &AllocationConfig, receiver: i32, sources: usize) -> Option<usize> {
    let limits = [
        receiver,
        config.last_n,
        conference_size_limit(config, sources + 1),
    ];
    limits
        .into_iter()
        .filter_map(|limit| usize::try_from(limit).ok())
        .chain([config.video_slots])
        .min()
}

/// The limit of the largest configured size that is not above `size`; −1 = none. The size of a
/// conference for a receiver is the number of the others' video sources plus one.
pub fn conference_size_limit(config: &AllocationConfig, size: usize) -> i32 {
    config
        .conference_last_n_limits
        .iter()
        .filter(|(threshold, _)| *threshold <= size)
        .max_by_key(|(threshold, _)| *threshold)
        .map_or(-1, |(_, limit)| *limit)
}

/// Settings of the load reducer (`videobridge.load-management.load-reducers.last-n`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ReducerConfig {
    /// Load from which the limit is lowered.
    pub load_threshold: f64,
    /// Load below which it is raised again.
    pub recovery_threshold: f64,
    /// Factor for lowering.
    pub reduction_scale: f64,
    /// Factor for raising.
    pub recover_scale: f64,
    /// Time between two steps.
    pub impact_time: Duration,
    /// Never lower than this.
    pub minimum: i32,
    /// From here on there is no limit.
    pub maximum: i32,
}

impl Default for ReducerConfig {
    fn default() -> Self {
        ReducerConfig {
            load_threshold: 0.9,
            recovery_threshold: 0.72,
            reduction_scale: 0.75,
            recover_scale: 1.25,
            impact_time: Duration::from_secs(60),
            minimum: 1,
            maximum: 40,
        }
    }
}

/// Lowers the bridge-wide last-n under load and raises it when the load is gone (allocation spec §6.3).
#[derive(Clone, Debug)]
pub struct LastNReducer {
    config: ReducerConfig,
    limit: Option<i32>,
    acted: Option<Time>,
}

impl LastNReducer {
    /// Without a limit.
    pub fn new(config: ReducerConfig) -> LastNReducer {
        LastNReducer {
            config,
            limit: None,
            acted: None,
        }
    }

    /// The limit now; −1 = none.
    pub fn limit(&self) -> i32 {
        self.limit.unwrap_or(-1)
    }

    /// Takes a sample of the load and the largest number of video sources that any endpoint is forwarded
    /// (`None` = there are no endpoints). True if the limit changed.
    pub fn sample(&mut self, now: Time, load: f64, most_forwarded: Option<usize>) -> bool {
        if self
            .acted
            .is_some_and(|acted| now.since(acted) < self.config.impact_time)
        {
            return false;
        }
        let before = self.limit;
        if load >= self.config.load_threshold {
            let Some(forwarded) = most_forwarded else {
                return false;
            };
            let reduced = (forwarded as f64 * self.config.reduction_scale) as i32;
            self.limit = Some(reduced.max(self.config.minimum));
        } else if load < self.config.recovery_threshold {
            let Some(limit) = self.limit else {
                return false;
            };
            let scaled = (f64::from(limit) * self.config.recover_scale) as i32;
            self.limit = Some(scaled.max(limit.saturating_add(1)));
            self.limit = self.limit.filter(|limit| *limit < self.config.maximum);
        } else {
            return false;
        }
        self.acted = Some(now);
        self.limit != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocation_case_9_the_slots_bound_last_n() {
        let config = AllocationConfig::default();
        assert_eq!(effective_last_n(&config, -1, 60), Some(50));
        assert_eq!(effective_last_n(&config, 3, 60), Some(3));
    }

    #[test]
    fn allocation_case_10_a_strange_negative_last_n_defeats_no_limit() {
        assert_eq!(
            effective_last_n(&AllocationConfig::default(), -5, 60),
            Some(50)
        );
    }

    #[test]
    fn allocation_case_11_larger_conferences_have_smaller_limits() {
        let config = AllocationConfig {
            conference_last_n_limits: vec![(50, 5), (20, 20), (30, 15), (40, 10)],
            ..AllocationConfig::default()
        };
        for (size, limit) in [(19, -1), (20, 20), (29, 20), (30, 15), (45, 10), (1_000, 5)] {
            assert_eq!(conference_size_limit(&config, size), limit, "size {size}");
        }
        assert_eq!(
            effective_last_n(&config, -1, 29),
            Some(15),
            "29 sources and the receiver"
        );
        let config = AllocationConfig {
            last_n: 7,
            ..config
        };
        assert_eq!(effective_last_n(&config, -1, 29), Some(7));
    }

    #[test]
    fn allocation_case_12_the_reducer_scales_down_and_up() {
        let reducer = |limit, reduction_scale, recover_scale| LastNReducer {
            config: ReducerConfig {
                reduction_scale,
                recover_scale,
                ..ReducerConfig::default()
            },
            limit,
            acted: None,
        };
        let mut down = reducer(None, 0.5, 1.25);
        assert!(down.sample(Time::ZERO, 0.95, Some(12)));
        assert_eq!(down.limit(), 6);

        let minute = Time::from_millis(60_000);
        let mut up = reducer(Some(4), 0.5, 2.0);
        assert!(up.sample(minute, 0.5, Some(12)));
        assert_eq!(up.limit(), 8);

        let mut up = reducer(Some(30), 0.5, 1.25);
        assert!(up.sample(minute, 0.5, Some(12)));
        assert_eq!(up.limit(), 37);
        assert!(
            !up.sample(minute + Duration::from_secs(59), 0.5, Some(12)),
            "impact time"
        );
        assert!(up.sample(minute + Duration::from_secs(60), 0.5, Some(12)));
        assert_eq!(up.limit(), -1);

        let mut up = reducer(Some(1), 0.5, 1.25);
        assert!(up.sample(minute, 0.5, None));
        assert_eq!(up.limit(), 2);
    }

    #[test]
    fn rest_and_stats_case_25_one_step_a_minute_down_and_up() {
        let mut reducer = LastNReducer::new(ReducerConfig::default());
        let at = |seconds: u64| Time::from_millis(seconds * 1_000);
        assert_eq!(reducer.limit(), -1);
        assert!(reducer.sample(at(0), 0.95, Some(20)));
        assert_eq!(reducer.limit(), 15);
        assert!(!reducer.sample(at(30), 0.95, Some(15)));
        assert_eq!(reducer.limit(), 15);
        assert!(reducer.sample(at(60), 0.95, Some(15)));
        assert_eq!(reducer.limit(), 11);
        let mut limits = Vec::new();
        for minute in 2.. {
            assert!(!reducer.sample(at(minute * 60 - 1), 0.5, Some(11)));
            assert!(reducer.sample(at(minute * 60), 0.5, Some(11)));
            limits.push(reducer.limit());
            if reducer.limit() == -1 {
                break;
            }
        }
        assert_eq!(limits, [13, 16, 20, 25, 31, 38, -1]);
        assert!(
            !reducer.sample(at(3_600), 0.5, Some(11)),
            "no limit, no step"
        );
    }

    #[test]
    fn the_reducer_does_nothing_between_the_thresholds_or_on_an_empty_bridge() {
        let mut reducer = LastNReducer::new(ReducerConfig::default());
        assert!(!reducer.sample(Time::ZERO, 0.8, Some(12)));
        assert!(!reducer.sample(Time::ZERO, 0.95, None));
        assert!(!reducer.sample(Time::ZERO, 0.1, Some(12)));
        assert_eq!(reducer.limit(), -1);
        assert!(reducer.sample(Time::ZERO, 0.95, Some(0)));
        assert_eq!(reducer.limit(), 1, "never below the minimum");
    }
}

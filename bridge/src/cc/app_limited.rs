//! Is less sent than the estimate allows? (libwebrtc: `AlrDetector`)

use crate::time::Time;

/// Sending below this share of the estimate is saving up.
const USAGE: f64 = 0.80;
/// The budget covers this much time.
const WINDOW_SECONDS: f64 = 0.5;
/// Limited by the application when this share of the budget is saved up …
const START: f64 = 0.40;
/// … and not any more when this share is overdrawn.
const STOP: f64 = -0.60;

#[derive(Debug, Default)]
pub(super) struct AppLimited {
    /// Bits saved up (positive) or overdrawn.
    budget: f64,
    updated: Option<Time>,
    limited: bool,
    ended: Option<Time>,
}

impl AppLimited {
    /// Accounts for `bytes` sent while the estimate was `target`.
    pub(super) fn on_sent(&mut self, now: Time, bytes: usize, target: f64) {
        self.update(now, bytes, target);
    }

    /// Whether the application is the limit.
    pub(super) fn check(&mut self, now: Time, target: f64) -> bool {
        self.update(now, 0, target);
        self.limited
    }

    /// When it last was, and is not any more.
    pub(super) fn ended(&self) -> Option<Time> {
        self.ended
    }

    fn update(&mut self, now: Time, bytes: usize, target: f64) {
        let elapsed = self
            .updated
            .map_or(0.0, |updated| (now - updated).as_secs_f64());
        self.updated = Some(now);
        let rate = target * USAGE;
        let full = rate * WINDOW_SECONDS;
        self.budget = (self.budget + rate * elapsed).min(full) - bytes as f64 * 8.0;
        self.budget = self.budget.max(-full);
        let level = self.budget / full.max(1.0);
        if level > START {
            self.limited = true;
        } else if level < STOP && self.limited {
            self.limited = false;
            self.ended = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_the_usage_is_limited_and_more_is_not() {
        let mut limited = AppLimited::default();
        // 1 Mbit/s allowed; 500 kbit/s sent, then 900.
        for at in 0..100 {
            limited.on_sent(Time::from_millis(at * 10), 625, 1e6);
        }
        assert!(limited.check(Time::from_millis(1_000), 1e6));
        for at in 100..800 {
            limited.on_sent(Time::from_millis(at * 10), 1_125, 1e6);
        }
        assert!(!limited.check(Time::from_millis(8_000), 1e6));
        assert!(limited.ended().is_some());
    }
}

//! How much a client may say (T54).

use std::time::Duration;

use crate::limits::{
    FAN_OUT_BYTES_PER_SECOND, MESSAGE_BURST, MESSAGE_BYTES_BURST, MESSAGE_BYTES_PER_SECOND,
    MESSAGES_PER_SECOND,
};
use crate::time::Time;
use crate::token_bucket::TokenBucket;

/// What one client may send: messages and bytes.
#[derive(Clone, Debug)]
pub struct MessageBudget {
    messages: TokenBucket,
    bytes: TokenBucket,
    warned: Option<Time>,
}

/// What to do with a message that arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Handle it.
    Handle,
    /// Drop it; the first in a while, so that it is worth a warning.
    DropAndWarn,
    /// Drop it.
    Drop,
}

impl Default for MessageBudget {
    fn default() -> Self {
        MessageBudget::new()
    }
}

impl MessageBudget {
    /// Time between two warnings about the same client.
    const WARN_INTERVAL: Duration = Duration::from_secs(60);

    /// With full bursts.
    pub fn new() -> MessageBudget {
        MessageBudget {
            messages: TokenBucket::new(MESSAGES_PER_SECOND, MESSAGE_BURST),
            bytes: TokenBucket::new(MESSAGE_BYTES_PER_SECOND, MESSAGE_BYTES_BURST),
            warned: None,
        }
    }

    /// A message of `bytes` arrived: is it within the budget? Dropped messages cost nothing.
    pub fn admit(&mut self, now: Time, bytes: usize) -> Admission {
        let bytes = bytes as u64;
        if self.messages.available(now) > 0 && self.bytes.take(now, bytes, 0) {
            self.messages.take(now, 1, 0);
            return Admission::Handle;
        }
        if self
            .warned
            .is_some_and(|warned| now.since(warned) < MessageBudget::WARN_INTERVAL)
        {
            return Admission::Drop;
        }
        self.warned = Some(now);
        Admission::DropAndWarn
    }
}

/// What one conference may spend on forwarding clients' messages, counted once per receiver.
#[derive(Clone, Debug)]
pub struct FanOutBudget(TokenBucket);

impl Default for FanOutBudget {
    fn default() -> Self {
        FanOutBudget::new()
    }
}

impl FanOutBudget {
    /// With a burst of one second.
    pub fn new() -> FanOutBudget {
        FanOutBudget(TokenBucket::new(
            FAN_OUT_BYTES_PER_SECOND,
            FAN_OUT_BYTES_PER_SECOND,
        ))
    }

    /// Whether a message of `bytes` may go to `receivers`.
    pub fn admit(&mut self, now: Time, bytes: usize, receivers: usize) -> bool {
        self.0
            .take(now, (bytes as u64).saturating_mul(receivers as u64), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends messages of `bytes` every `gap` for `time` and counts those that are handled.
    fn handled(budget: &mut MessageBudget, gap: Duration, time: Duration, bytes: usize) -> usize {
        let end = Time::ZERO + time;
        let mut now = Time::ZERO;
        let mut handled = 0;
        while now < end {
            handled += usize::from(budget.admit(now, bytes) == Admission::Handle);
            now += gap;
        }
        handled
    }

    /// T54: a flood gets its burst and then the sustained rate.
    #[test]
    fn t54_a_flood_of_small_messages_is_cut_to_50_per_second() {
        let mut budget = MessageBudget::new();
        let handled = handled(
            &mut budget,
            Duration::from_millis(1),
            Duration::from_secs(10),
            20,
        );
        assert!((598..=600).contains(&handled), "{handled}");
    }

    /// T54: the bytes count too.
    #[test]
    fn t54_a_flood_of_large_messages_is_cut_to_64_kib_per_second() {
        let mut budget = MessageBudget::new();
        let handled = handled(
            &mut budget,
            Duration::from_millis(50),
            Duration::from_secs(10),
            65_536,
        );
        assert!((13..=14).contains(&handled), "{handled}");
    }

    #[test]
    fn t54_a_client_within_its_rate_never_notices() {
        let mut budget = MessageBudget::new();
        let all = handled(
            &mut budget,
            Duration::from_millis(20),
            Duration::from_secs(20),
            1_000,
        );
        assert_eq!(all, 1_000);
    }

    #[test]
    fn t54_a_flood_is_worth_one_warning_a_minute() {
        let mut budget = MessageBudget::new();
        let mut warnings = 0;
        for millisecond in 0..90_000 {
            let admission = budget.admit(Time::from_millis(millisecond), 20);
            warnings += usize::from(admission == Admission::DropAndWarn);
        }
        assert_eq!(warnings, 2);
    }

    /// T54: 64 KiB to 500 receivers is 32 MB, more than a conference may spend in three seconds.
    #[test]
    fn t54_fan_out_is_counted_per_receiver() {
        let mut budget = FanOutBudget::new();
        assert!(!budget.admit(Time::ZERO, 65_536, 500));
        assert!(budget.admit(Time::ZERO, 20_000, 500));
        assert!(!budget.admit(Time::ZERO, 20_000, 500));
        assert!(budget.admit(Time::from_millis(1_000), 20_000, 500));
    }
}

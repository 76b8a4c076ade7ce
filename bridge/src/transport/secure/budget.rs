//! A token bucket.

use std::time::Duration;

use crate::time::Time;

/// So many actions per second, and as many at once.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    /// Time credit; one action costs `cost`.
    credit: Duration,
    cost: Duration,
    updated: Time,
}

const BURST: Duration = Duration::from_secs(1);

impl Budget {
    pub(super) fn per_second(rate: u32, now: Time) -> Budget {
        Budget {
            credit: BURST,
            cost: BURST / rate.max(1),
            updated: now,
        }
    }

    /// Takes one action's worth; `false` if there is none.
    pub(super) fn take(&mut self, now: Time) -> bool {
        self.credit = (self.credit + now.since(self.updated)).min(BURST);
        self.updated = self.updated.max(now);
        match self.credit.checked_sub(self.cost) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut now = Time::from_millis(5);
        let mut budget = Budget::per_second(50, now);
        assert_eq!((0..100).filter(|_| budget.take(now)).count(), 50);
        now += Duration::from_millis(100);
        assert_eq!((0..100).filter(|_| budget.take(now)).count(), 5);
        now += Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| budget.take(now)).count(), 50);
    }
}

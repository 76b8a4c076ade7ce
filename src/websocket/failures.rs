//! Slows down whoever tries passwords (T58).

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::limits::FAILURES_PER_MINUTE;
use super::target::Target;

/// Endpoints that are told apart, more or less: a few that share a slot share its count.
const SLOTS: usize = 256;

/// Counts wrong passwords per endpoint and minute, in bounded memory.
pub(super) struct Failures {
    start: Instant,
    hasher: RandomState,
    /// The minute, and how many failed in it.
    slots: Mutex<[(u64, u32); SLOTS]>,
}

impl Failures {
    pub(super) fn new() -> Failures {
        Failures {
            start: Instant::now(),
            hasher: RandomState::new(),
            slots: Mutex::new([(0, 0); SLOTS]),
        }
    }

    /// Counts a failure; true if the answer must wait because there were too many for that endpoint. A right
    /// password is never kept waiting, so nobody can slow down the endpoint itself.
    pub(super) fn count(&self, target: &Target) -> bool {
        let minute = self.start.elapsed().as_secs() / 60;
        let hash = self
            .hasher
            .hash_one((&*target.conference, &*target.endpoint));
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut slots[(hash % SLOTS as u64) as usize];
        if slot.0 != minute {
            *slot = (minute, 0);
        }
        slot.1 = slot.1.saturating_add(1);
        slot.1 > FAILURES_PER_MINUTE
    }
}

//! Keeps layers from flapping.
//!
//! An estimate wanders: it probes, finds the limit, backs off. A layer whose rate lies within that range would come and go all
//! the time, and each change costs a keyframe and the viewer's patience. So a fall takes effect at once, and a rise only when it
//! has lasted: what is allocated is the least estimate of a window of time. The window is short until a layer is lost; it
//! grows with each that had just been gained, and shrinks in quiet times. A rise far beyond what was too much before is another situation
//! (a limit went away), and counts sooner; one to where the estimate was before its last back-off is not.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Allocation, Entry};
use crate::time::Time;
use crate::units::Bitrate;

/// Window at first.
const SHORTEST: Duration = Duration::from_secs(1);
/// Window after a layer was lost: longer than an estimate takes from one back-off to the next.
const AFTER_LOSS: Duration = Duration::from_secs(6);
/// Window after a layer was lost that had been gained.
const AFTER_FLAP: Duration = Duration::from_secs(25);
/// Window at most.
const LONGEST: Duration = Duration::from_secs(40);
/// What is not shown at all for lack of bandwidth waits no longer than this.
const SUSPENDED: Duration = Duration::from_secs(8);
/// A layer that is lost within this time after a gain was gained too early. One that is lost later met another limit.
const FLAP: Duration = Duration::from_secs(10);
/// Quiet time that halves the window.
const QUIET: Duration = Duration::from_secs(180);
/// What was too much is tried again when there is this many times as much over the whole window…
const ENOUGH: f64 = 1.0;
/// …and until then not more than this many times as much is given: layers whose rates vary would fit into less now and then…
const LESS: f64 = 0.85;
/// …but always this many times what is allocated, as rates of layers that stay vary as well.
const SLACK: f64 = 1.1;
/// An estimate this many times what is allocated…
const LEAP: f64 = 1.6;
/// …and this many times what was too much before (estimates go about a tenth beyond a limit)…
const LEAP_OF_FAILED: f64 = 1.3;
/// …for this long is another situation.
const LEAP_AFTER: Duration = Duration::from_secs(2);
/// For this long, if layers flapped: by then an estimate that only swings about a limit has backed off.
const LEAP_AFTER_FLAP: Duration = Duration::from_secs(4);
/// Estimates remembered at most; a denser series is thinned, to the safe side.
const MEMORY: usize = 64;

/// One receiver's memory.
#[derive(Clone, Debug)]
pub struct Damper {
    window: Duration,
    /// When the estimate was last as low as this, oldest first: rising, as lower ones later make higher ones before forgotten.
    estimates: VecDeque<(Time, Bitrate)>,
    /// What was allocated when a layer was lost last.
    failed: Bitrate,
    /// What is allocated.
    kept: Bitrate,
    /// Since when all estimates are a leap above that, and above what is allocated.
    leap: Option<Time>,
    gained: Option<Time>,
    changed: Option<Time>,
    holding: bool,
}

impl Default for Damper {
    fn default() -> Self {
        Damper {
            window: SHORTEST,
            estimates: VecDeque::new(),
            failed: Bitrate::ZERO,
            kept: Bitrate::ZERO,
            leap: None,
            gained: None,
            changed: None,
            holding: false,
        }
    }
}

impl Damper {
    /// What to allocate when the estimate is `estimate` now.
    pub fn bandwidth(&mut self, now: Time, estimate: Bitrate) -> Bitrate {
        if let Some(changed) = self.changed
            && now.since(changed) >= QUIET
            && self.window > SHORTEST
        {
            self.window = (self.window / 2).max(SHORTEST);
            self.changed = Some(now);
            self.failed = Bitrate::ZERO;
        }
        let window = self.window;
        let expired = |(at, _): &(Time, Bitrate)| now.since(*at) >= window;
        while self.estimates.front().is_some_and(expired) {
            self.estimates.pop_front();
        }
        while self
            .estimates
            .back()
            .is_some_and(|(_, known)| *known >= estimate)
        {
            self.estimates.pop_back();
        }
        if self.estimates.len() < MEMORY {
            self.estimates.push_back((now, estimate));
        }
        let least = self.estimates.front().map_or(estimate, |(_, least)| *least);
        let granted = self.leap(now, estimate, least);
        let granted = self.short_of_failed(granted);
        self.holding = granted < estimate;
        granted
    }

    /// Less, if it is about what was too much before.
    fn short_of_failed(&self, granted: Bitrate) -> Bitrate {
        if granted >= scaled(self.failed, ENOUGH) {
            return granted;
        }
        let most = scaled(self.failed, LESS).max(scaled(self.kept, SLACK));
        granted.min(most)
    }

    fn leap(&mut self, now: Time, estimate: Bitrate, least: Bitrate) -> Bitrate {
        let leap = scaled(least, LEAP).max(scaled(self.failed, LEAP_OF_FAILED));
        if estimate < leap {
            self.leap = None;
            return least;
        }
        let since = *self.leap.get_or_insert(now);
        let flapped = self.window >= AFTER_FLAP;
        let after = if flapped { LEAP_AFTER_FLAP } else { LEAP_AFTER };
        if now.since(since) < after {
            return least;
        }
        self.leap = None;
        while self.estimates.len() > 1 && self.estimates.front().is_some_and(|(at, _)| *at < since)
        {
            self.estimates.pop_front();
        }
        self.estimates.front().map_or(estimate, |(_, least)| *least)
    }

    /// What may be allocated instead if some source is not shown at all otherwise: then a leap from the least is enough, whatever was
    /// too much before.
    pub fn bandwidth_for_suspended(&self, now: Time) -> Option<Bitrate> {
        let least = |window: Duration| {
            let recent = |(at, _): &&(Time, Bitrate)| now.since(*at) < window;
            let least = self.estimates.iter().find(recent).or(self.estimates.back());
            least.map(|(_, least)| *least)
        };
        let (long, short) = (least(SUSPENDED)?, least(LEAP_AFTER)?);
        let leap = short >= scaled(long, LEAP);
        Some(if leap { short } else { long })
    }

    /// Whether the last [`Damper::bandwidth`] was less than the estimate: then it is worth asking again soon.
    pub fn is_holding(&self) -> bool {
        self.holding
    }

    /// Takes note of how an allocation differs from the one before.
    pub fn allocated(&mut self, now: Time, before: &Allocation, after: &Allocation) {
        let mut gained = false;
        let mut lost = false;
        for entry in &after.entries {
            let same =
                |old: &&Entry| old.source == entry.source && old.max_height == entry.max_height;
            // Where the wish changed as well, or the offer is all that there is, it is not the estimate's doing.
            if let Some(old) = before.entries.iter().find(same) {
                gained |= entry.target > old.target && old.target < old.ideal;
                lost |= entry.target < old.target && entry.target < entry.ideal;
            }
        }
        if lost {
            self.failed = before.target_bitrate;
            self.window = self.window.max(AFTER_LOSS);
            if self.gained.is_some_and(|at| now.since(at) < FLAP) {
                self.window = (self.window * 2).clamp(AFTER_FLAP, LONGEST);
                self.gained = None;
            }
        }
        self.kept = after.target_bitrate;
        if gained {
            self.gained = Some(now);
        }
        if gained || lost {
            self.changed = Some(now);
        }
    }
}

fn scaled(rate: Bitrate, factor: f64) -> Bitrate {
    Bitrate::bps((rate.as_bps() as f64 * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EndpointKey, SourceKey};
    use crate::media::VideoType;

    fn kbps(rate: u64) -> Bitrate {
        Bitrate::bps(rate * 1000)
    }

    /// A receiver of one source with three layers.
    struct Receiver {
        damper: Damper,
        now: Time,
        allocation: Allocation,
        switches: usize,
    }

    impl Receiver {
        fn new() -> Receiver {
            Receiver {
                damper: Damper::default(),
                now: Time::ZERO,
                allocation: Allocation::default(),
                switches: 0,
            }
        }

        /// The estimate stands at `rate` for a while and is looked at twice a second.
        fn lives(&mut self, rate: u64, time: Duration) -> i32 {
            let end = self.now + time;
            while self.now < end {
                let bandwidth = self.damper.bandwidth(self.now, kbps(rate));
                let target = [150, 450, 1_800]
                    .iter()
                    .filter(|layer| kbps(**layer) <= bandwidth)
                    .count() as i32
                    - 1;
                let entry = Entry {
                    source: SourceKey(1),
                    owner: EndpointKey(1),
                    position: 0,
                    video_type: VideoType::Camera,
                    on_stage: true,
                    max_height: 720,
                    target,
                    ideal: 2,
                    target_bitrate: Bitrate::ZERO,
                    ideal_bitrate: Bitrate::ZERO,
                    reason: Default::default(),
                };
                let before = std::mem::replace(
                    &mut self.allocation,
                    Allocation {
                        entries: vec![entry],
                        target_bitrate: kbps([0, 150, 450, 1_800][(target + 1) as usize]),
                        ..Allocation::default()
                    },
                );
                self.damper.allocated(self.now, &before, &self.allocation);
                let was = before.entries.first().map(|entry| entry.target);
                self.switches += usize::from(was.is_some_and(|was| was != target));
                self.now += Duration::from_millis(500);
            }
            self.allocation.entries[0].target
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_estimate_that_swings_around_a_layer_costs_a_few_switches_and_then_none() {
        let mut receiver = Receiver::new();
        for _ in 0..6 {
            receiver.lives(380, 8 * SECOND);
            receiver.lives(520, 8 * SECOND);
        }
        receiver.switches = 0;
        for _ in 0..8 {
            receiver.lives(380, 8 * SECOND);
            receiver.lives(520, 8 * SECOND);
        }
        assert!(
            receiver.switches <= 2,
            "{} switches in two minutes",
            receiver.switches
        );
    }

    #[test]
    fn a_fall_counts_at_once() {
        let mut receiver = Receiver::new();
        assert_eq!(receiver.lives(2_000, 10 * SECOND), 2);
        assert_eq!(receiver.lives(500, SECOND), 1);
        assert_eq!(receiver.lives(160, SECOND), 0);
    }

    #[test]
    fn a_limit_that_goes_is_noticed_although_there_was_flapping() {
        let mut receiver = Receiver::new();
        for _ in 0..6 {
            receiver.lives(380, 8 * SECOND);
            receiver.lives(520, 8 * SECOND);
        }
        assert_eq!(receiver.lives(2_000, 5 * SECOND), 2);
    }

    #[test]
    fn back_to_where_a_layer_was_lost_is_no_other_situation() {
        let mut receiver = Receiver::new();
        assert_eq!(receiver.lives(520, 20 * SECOND), 1);
        // The queue is full, the estimate falls far, and is back after a second.
        assert_eq!(receiver.lives(200, SECOND), 0);
        assert_eq!(receiver.lives(520, 5 * SECOND), 0);
        assert_eq!(receiver.lives(520, 3 * SECOND), 1);
        // It was too much again: the next try is far away.
        assert_eq!(receiver.lives(200, SECOND), 0);
        assert_eq!(receiver.lives(520, 23 * SECOND), 0);
        assert_eq!(receiver.lives(2_000, 5 * SECOND), 2, "the limit went");
    }

    #[test]
    fn at_first_a_rise_takes_a_second() {
        let mut receiver = Receiver::new();
        receiver.lives(300, 5 * SECOND);
        assert_eq!(receiver.lives(460, 2 * SECOND), 1);
    }

    #[test]
    fn a_quiet_time_makes_it_forget() {
        let mut receiver = Receiver::new();
        for _ in 0..4 {
            receiver.lives(380, 8 * SECOND);
            receiver.lives(520, 8 * SECOND);
        }
        receiver.lives(300, 1_000 * SECOND);
        assert_eq!(receiver.damper.window, SHORTEST);
    }

    #[test]
    fn what_is_not_shown_at_all_waits_less() {
        let mut receiver = Receiver::new();
        for _ in 0..4 {
            receiver.lives(380, 8 * SECOND);
            receiver.lives(520, 8 * SECOND);
        }
        receiver.lives(100, 2 * SECOND);
        assert_eq!(receiver.lives(155, 9 * SECOND), -1);
        let suspended = receiver.damper.bandwidth_for_suspended(receiver.now);
        assert_eq!(suspended, Some(kbps(155)));
        // An outage, and back.
        receiver.lives(30, 2 * SECOND);
        receiver.lives(200, 3 * SECOND);
        let suspended = receiver.damper.bandwidth_for_suspended(receiver.now);
        assert_eq!(suspended, Some(kbps(200)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut damper = Damper {
            window: LONGEST,
            ..Damper::default()
        };
        for step in 0..10_000u64 {
            damper.bandwidth(Time::from_micros(step * 1000), kbps(100 + step));
            assert!(damper.estimates.len() <= MEMORY);
        }
    }
}

//! The allocation itself (allocation spec §7).

use super::candidates::{self, Candidates};
use super::{LayerView, Reason, ReceiverSettings, SUSPENDED, SourceView, effective_last_n};
use crate::config::AllocationConfig;
use crate::ids::{EndpointKey, SourceKey};
use crate::media::VideoType;
use crate::units::Bitrate;

/// What one receiver gets of one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The source.
    pub source: SourceKey,
    /// Whose it is.
    pub owner: EndpointKey,
    /// Its position in the slice that was given to the allocator.
    pub position: usize,
    /// What it shows.
    pub video_type: VideoType,
    /// The receiver has it on stage.
    pub on_stage: bool,
    /// Effective constraint: −1 = no limit, 0 = nothing.
    pub max_height: i32,
    /// Index of the layer to forward, or [`SUSPENDED`].
    pub target: i32,
    /// Index of the layer to forward if bandwidth were unlimited, or [`SUSPENDED`].
    pub ideal: i32,
    /// What the target layer costs.
    pub target_bitrate: Bitrate,
    /// What the ideal layer costs.
    pub ideal_bitrate: Bitrate,
    /// Why the receiver does not get more of it.
    pub reason: Reason,
}

impl Entry {
    /// Whether some layer is forwarded.
    pub fn is_forwarded(&self) -> bool {
        self.target != SUSPENDED
    }
}

/// What one receiver gets.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Allocation {
    /// One entry per source, most important first.
    pub entries: Vec<Entry>,
    /// More is sent than the bandwidth, on purpose.
    pub oversending: bool,
    /// Sum over the target layers.
    pub target_bitrate: Bitrate,
    /// Sum over the ideal layers.
    pub ideal_bitrate: Bitrate,
    /// Some source is not forwarded only for lack of bandwidth.
    pub has_suspended: bool,
}

impl Allocation {
    /// Sources of which some layer is forwarded, most important first.
    pub fn forwarded(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_forwarded())
    }

    /// What senders must know: (source, maximum height) of all sources.
    pub fn effective_constraints(&self) -> impl Iterator<Item = (SourceKey, i32)> {
        self.entries
            .iter()
            .map(|entry| (entry.source, entry.max_height))
    }

    /// The sources that should have a video slot, at most `capacity`: those that are wanted, then those
    /// that may become so (allocation spec §11 V1).
    pub fn slot_sources(&self, capacity: usize) -> impl Iterator<Item = &Entry> {
        let enabled = || {
            self.entries
                .iter()
                .filter(|entry| entry.video_type.is_enabled())
        };
        let wanted = enabled().filter(|entry| entry.max_height != 0);
        wanted
            .chain(enabled().filter(|entry| entry.max_height == 0))
            .take(capacity)
    }

    /// Whether some source has a target below its ideal layer.
    pub fn is_below_ideal(&self) -> bool {
        self.entries.iter().any(|entry| entry.target != entry.ideal)
    }
}

/// How an allocation differs from the one before.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AllocationChanges {
    /// A source, a video type, a target or the oversending flag.
    pub allocation: bool,
    /// The set of forwarded sources.
    pub forwarded: bool,
    /// The effective constraints.
    pub constraints: bool,
}

/// What of an entry is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fingerprint {
    source: SourceKey,
    video_type: VideoType,
    target: i32,
    max_height: i32,
}

/// A source's importance: the smallest is the most important.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Ranked {
    disabled: bool,
    rank: u32,
    position: usize,
    on_stage: bool,
}

/// Search state of one source.
#[derive(Clone, Debug)]
struct Search {
    candidates: Candidates,
    on_stage: bool,
    target: Option<usize>,
    /// Why nothing of it is wanted.
    refused: Option<Reason>,
}

/// One receiver's allocator: keeps the last allocation, and its buffers.
#[derive(Clone, Default, Debug)]
pub struct Allocator {
    allocation: Allocation,
    fingerprints: Vec<Fingerprint>,
    order: Vec<Ranked>,
    layers: Vec<LayerView>,
    searches: Vec<Search>,
    scratch: Vec<Fingerprint>,
}

impl Allocator {
    /// Nothing allocated.
    pub fn new() -> Allocator {
        Allocator::default()
    }

    /// The last allocation.
    pub fn allocation(&self) -> &Allocation {
        &self.allocation
    }

    /// Allocates `bandwidth` (`None` = unlimited) to `sources`, which come in the endpoint order and do
    /// not include the receiver's own, and says what is different from the last time.
    pub fn run(
        &mut self,
        config: &AllocationConfig,
        settings: &ReceiverSettings,
        sources: &[SourceView],
        bandwidth: Option<Bitrate>,
    ) -> AllocationChanges {
        let was_oversending = self.allocation.oversending;
        prioritize(settings, sources, &mut self.order);
        self.constrain(config, settings, sources);
        self.allocation.oversending = self.distribute(config, bandwidth);
        self.conclude();
        let mut changes = self.compare();
        changes.allocation |= was_oversending != self.allocation.oversending;
        changes
    }

    /// Entries with effective constraints (§7.2), and the candidates of each.
    fn constrain(
        &mut self,
        config: &AllocationConfig,
        settings: &ReceiverSettings,
        sources: &[SourceView],
    ) {
        self.allocation.entries.clear();
        self.layers.clear();
        self.searches.clear();
        let mut left = effective_last_n(config, settings.last_n(), sources.len());
        for &Ranked {
            position, on_stage, ..
        } in &self.order
        {
            let Some(source) = sources.get(position) else {
                continue;
            };
            let wanted = settings.wanted_height(source.name);
            let refused = if !source.video_type.is_enabled() {
                Some(Reason::SwitchedOff)
            } else if wanted == 0 {
                Some(Reason::NotWanted)
            } else if left == Some(0) {
                Some(Reason::LastN)
            } else {
                None
            };
            let max_height = if refused.is_none() { wanted } else { 0 };
            if max_height != 0 {
                left = left.map(|left| left - 1);
            }
            let candidates =
                candidates::find(config, source, max_height, on_stage, &mut self.layers);
            self.searches.push(Search {
                candidates,
                on_stage,
                target: None,
                refused,
            });
            self.allocation.entries.push(Entry {
                source: source.key,
                owner: source.owner,
                position,
                video_type: source.video_type,
                on_stage,
                max_height,
                target: SUSPENDED,
                ideal: SUSPENDED,
                target_bitrate: Bitrate::ZERO,
                ideal_bitrate: Bitrate::ZERO,
                reason: refused.unwrap_or_default(),
            });
        }
    }

    /// Improves targets in rounds until nothing changes (§7.6); whether that oversends.
    ///
    /// A round that costs nothing is not the last one: in streams without temporal layers the assumed ones cost as
    /// much as the encoding, and the next encoding comes after them.
    fn distribute(&mut self, config: &AllocationConfig, bandwidth: Option<Bitrate>) -> bool {
        let bandwidth = bandwidth.unwrap_or(Bitrate::INFINITE);
        let max_oversend = signed(config.max_oversend);
        let mut remaining = signed(bandwidth);
        let mut oversending = false;
        loop {
            let mut changed = false;
            for (position, search) in self.searches.iter_mut().enumerate() {
                let layers = self
                    .layers
                    .get(search.candidates.range.clone())
                    .unwrap_or_default();
                if layers.is_empty() {
                    continue;
                }
                let oversend = (position == 0).then_some(max_oversend);
                let before = search.target;
                remaining = remaining.saturating_sub(search.improve(layers, remaining, oversend));
                oversending |= remaining < 0;
                changed |= search.target != before;
                if search.on_stage && search.target < search.candidates.preferred {
                    break;
                }
            }
            if !changed {
                return oversending;
            }
        }
    }

    /// Writes the outcome of the search into the entries.
    fn conclude(&mut self) {
        let allocation = &mut self.allocation;
        allocation.target_bitrate = Bitrate::ZERO;
        allocation.ideal_bitrate = Bitrate::ZERO;
        allocation.has_suspended = false;
        let mut stage_first = false;
        for (position, (entry, search)) in allocation
            .entries
            .iter_mut()
            .zip(&self.searches)
            .enumerate()
        {
            let layers = self
                .layers
                .get(search.candidates.range.clone())
                .unwrap_or_default();
            if let Some(ideal) = layers.last() {
                entry.ideal = ideal.index;
                entry.ideal_bitrate = ideal.bitrate;
            }
            if let Some(target) = search.target.and_then(|target| layers.get(target)) {
                entry.target = target.index;
                entry.target_bitrate = target.bitrate;
            } else {
                let first_costs = layers
                    .first()
                    .is_some_and(|layer| layer.bitrate > Bitrate::ZERO);
                allocation.has_suspended |= first_costs;
            }
            entry.reason = search.reason(entry, stage_first);
            if position == 0 && allocation.oversending && entry.is_forwarded() {
                entry.reason = Reason::Oversending;
            }
            stage_first |= search.on_stage && search.target < search.candidates.preferred;
            allocation.target_bitrate = allocation.target_bitrate + entry.target_bitrate;
            allocation.ideal_bitrate = allocation.ideal_bitrate + entry.ideal_bitrate;
        }
    }

    /// Compares with the last run, whatever the order.
    fn compare(&mut self) -> AllocationChanges {
        self.scratch.clear();
        self.scratch
            .extend(self.allocation.entries.iter().map(|entry| Fingerprint {
                source: entry.source,
                video_type: entry.video_type,
                target: entry.target,
                max_height: entry.max_height,
            }));
        self.scratch
            .sort_unstable_by_key(|fingerprint| fingerprint.source);
        let (old, new) = (&self.fingerprints, &self.scratch);
        let changes = AllocationChanges {
            allocation: !old
                .iter()
                .map(Fingerprint::decision)
                .eq(new.iter().map(Fingerprint::decision)),
            forwarded: !forwarded(old).eq(forwarded(new)),
            constraints: !old
                .iter()
                .map(Fingerprint::wish)
                .eq(new.iter().map(Fingerprint::wish)),
        };
        std::mem::swap(&mut self.fingerprints, &mut self.scratch);
        changes
    }
}

impl Fingerprint {
    fn decision(&self) -> (SourceKey, VideoType, i32) {
        (self.source, self.video_type, self.target)
    }

    fn wish(&self) -> (SourceKey, i32) {
        (self.source, self.max_height)
    }
}

impl Search {
    /// Why the receiver gets no more than `entry` says; `stage_first`: others were not looked at for the sake of a source on stage.
    fn reason(&self, entry: &Entry, stage_first: bool) -> Reason {
        if let Some(refused) = self.refused {
            return refused;
        }
        match self.candidates.best {
            None => Reason::Silent,
            Some(_) if entry.target < entry.ideal && stage_first => Reason::Stage,
            Some(_) if entry.target < entry.ideal => Reason::Bandwidth,
            Some(best) if entry.ideal < best => Reason::Constraint,
            Some(_) => Reason::Best,
        }
    }

    /// One step up if it fits into `remaining`, or as far as preferred for a source on stage that has
    /// nothing yet. `oversend` = how much may be exceeded. Returns the additional cost.
    fn improve(&mut self, layers: &[LayerView], remaining: i64, oversend: Option<i64>) -> i64 {
        let cost = |target: usize| layers.get(target).map_or(0, |layer| signed(layer.bitrate));
        let cost_before = self.target.map_or(0, cost);
        let max = remaining.saturating_add(cost_before);

        match (self.target, self.candidates.preferred) {
            (None, Some(preferred)) if self.on_stage => {
                self.target = (0..=preferred)
                    .take_while(|target| cost(*target) <= max)
                    .last();
            }
            _ => {
                let next = self.target.map_or(0, |target| target + 1);
                if next < layers.len() && cost(next) < max {
                    self.target = Some(next);
                }
            }
        }
        // A better layer that costs no more is taken.
        if let Some(start) = self.target {
            let mut target = start;
            for better in (start + 1..layers.len()).rev() {
                if cost(better) <= cost(target) {
                    target = better;
                }
            }
            self.target = Some(target);
        }
        if let (Some(oversend), Some(last)) = (oversend, self.candidates.oversend) {
            let start = self.target.map_or(0, |target| target + 1);
            let limit = max.saturating_add(oversend);
            for better in (start..=last).rev() {
                if cost(better) <= limit {
                    self.target = Some(better);
                }
            }
        }
        self.target.map_or(0, cost).saturating_sub(cost_before)
    }
}

fn forwarded(list: &[Fingerprint]) -> impl Iterator<Item = SourceKey> {
    list.iter()
        .filter(|entry| entry.target != SUSPENDED)
        .map(|entry| entry.source)
}

fn signed(rate: Bitrate) -> i64 {
    i64::try_from(rate.as_bps()).unwrap_or(i64::MAX)
}

/// Orders `sources` by importance (§7.1): enabled ones in the receiver's selected order, other enabled
/// ones in the order given, and all the rest.
fn prioritize(settings: &ReceiverSettings, sources: &[SourceView], order: &mut Vec<Ranked>) {
    order.clear();
    order.extend(sources.iter().enumerate().map(|(position, source)| {
        let priority = settings.priority(source.name);
        let disabled = !source.video_type.is_enabled();
        let rank = priority
            .filter(|_| !disabled)
            .map_or(u32::MAX, |priority| priority.rank);
        let on_stage = priority.is_some_and(|priority| priority.on_stage);
        Ranked {
            disabled,
            rank,
            position,
            on_stage,
        }
    }));
    order.sort_unstable();
}

/// Allocates once, without a memory of the last time: see [`Allocator::run`].
pub fn allocate(
    config: &AllocationConfig,
    settings: &ReceiverSettings,
    sources: &[SourceView],
    bandwidth: Option<Bitrate>,
) -> Allocation {
    let mut allocator = Allocator::new();
    allocator.run(config, settings, sources, bandwidth);
    allocator.allocation
}

#[cfg(test)]
#[path = "allocator_tests.rs"]
mod tests;

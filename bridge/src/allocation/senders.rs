//! What senders are told: the largest height that any receiver wants (allocation spec §8.2).

use std::collections::BTreeMap;

use crate::ids::{EndpointKey, SourceKey};

/// Collects what receivers want of all sources of a conference. `R` names a receiver: an endpoint, or
/// whatever else asks for video.
#[derive(Clone, Debug)]
pub struct SenderConstraints<R = EndpointKey> {
    /// Each receiver's wishes other than 0, by source.
    receivers: BTreeMap<R, Vec<(SourceKey, i32)>>,
    sources: BTreeMap<SourceKey, Demand>,
}

/// What is wanted of one source.
#[derive(Clone, Default, Debug)]
struct Demand {
    /// (height, how many receivers want it), ascending in [`strength`].
    wanted: Vec<(i32, u32)>,
    /// What the owner was told.
    told: Option<i32>,
}

/// Orders heights: −1 = unlimited beats everything.
fn strength(height: i32) -> u32 {
    if height < 0 {
        u32::MAX
    } else {
        height.unsigned_abs()
    }
}

impl Demand {
    fn add(&mut self, height: i32) {
        match self.find(height) {
            Ok(at) => self.wanted[at].1 += 1,
            Err(at) => self.wanted.insert(at, (height, 1)),
        }
    }

    fn remove(&mut self, height: i32) {
        if let Ok(at) = self.find(height) {
            self.wanted[at].1 -= 1;
            if self.wanted[at].1 == 0 {
                self.wanted.remove(at);
            }
        }
    }

    fn find(&self, height: i32) -> Result<usize, usize> {
        self.wanted
            .binary_search_by_key(&strength(height), |(known, _)| strength(*known))
    }

    fn max_height(&self) -> i32 {
        self.wanted.last().map_or(0, |(height, _)| *height)
    }
}

impl<R: Ord + Copy> Default for SenderConstraints<R> {
    fn default() -> Self {
        SenderConstraints {
            receivers: BTreeMap::new(),
            sources: BTreeMap::new(),
        }
    }
}

impl<R: Ord + Copy> SenderConstraints<R> {
    /// Takes all that a receiver now wants: (source, maximum height; −1 = no limit, 0 = nothing).
    /// `changed` is called with every source whose owner must be told a new maximum, also when the first
    /// receiver wants nothing of it.
    pub fn update(
        &mut self,
        receiver: R,
        constraints: impl IntoIterator<Item = (SourceKey, i32)>,
        mut changed: impl FnMut(SourceKey, i32),
    ) {
        let mut wishes: Vec<(SourceKey, i32)> = Vec::new();
        let mut affected: Vec<SourceKey> = Vec::new();
        for (source, height) in constraints {
            let height = height.max(-1);
            affected.push(source);
            let demand = self.sources.entry(source).or_default();
            if height != 0 {
                demand.add(height);
                wishes.push((source, height));
            }
        }
        let before = if wishes.is_empty() {
            self.receivers.remove(&receiver)
        } else {
            self.receivers.insert(receiver, wishes)
        };
        for (source, height) in before.into_iter().flatten() {
            if let Some(demand) = self.sources.get_mut(&source) {
                demand.remove(height);
                affected.push(source);
            }
        }
        affected.sort_unstable();
        affected.dedup();
        for source in affected {
            let Some(demand) = self.sources.get_mut(&source) else {
                continue;
            };
            let max_height = demand.max_height();
            if demand.told != Some(max_height) {
                demand.told = Some(max_height);
                changed(source, max_height);
            }
        }
    }

    /// A receiver is gone.
    pub fn remove_receiver(&mut self, receiver: R, changed: impl FnMut(SourceKey, i32)) {
        self.update(receiver, [], changed);
    }

    /// A source is gone.
    pub fn remove_source(&mut self, source: SourceKey) {
        if self.sources.remove(&source).is_some() {
            for wishes in self.receivers.values_mut() {
                wishes.retain(|(known, _)| *known != source);
            }
        }
    }

    /// Whether a receiver may be sent anything of that source.
    pub fn wants(&self, receiver: R, source: SourceKey) -> bool {
        let wishes = self.receivers.get(&receiver);
        wishes.is_some_and(|wishes| wishes.iter().any(|(known, _)| *known == source))
    }

    /// What the source's owner was last told; `None` = nothing yet.
    pub fn max_height(&self, source: SourceKey) -> Option<i32> {
        self.sources.get(&source)?.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: SourceKey = SourceKey(1);

    struct World(SenderConstraints<&'static str>);

    impl World {
        fn new() -> World {
            World(SenderConstraints::default())
        }

        /// What the owner of [`SOURCE`] is told then.
        fn wants(&mut self, receiver: &'static str, height: i32) -> Option<i32> {
            let mut told = None;
            self.0.update(receiver, [(SOURCE, height)], |_, height| {
                told = Some(height)
            });
            told
        }

        fn leaves(&mut self, receiver: &'static str) -> Option<i32> {
            let mut told = None;
            self.0
                .remove_receiver(receiver, |_, height| told = Some(height));
            told
        }
    }

    #[test]
    fn allocation_case_1_the_sender_is_told_that_nobody_wants_it() {
        assert_eq!(World::new().wants("R", 0), Some(0));
    }

    #[test]
    fn allocation_case_37_the_largest_height_counts_and_no_limit_beats_all() {
        let mut world = World::new();
        let max = |world: &World| world.0.max_height(SOURCE);
        for (receiver, height) in [("a", 1), ("b", 2), ("c", 3)] {
            world.wants(receiver, height);
        }
        assert_eq!(max(&world), Some(3));
        assert_eq!(world.leaves("c"), Some(2));
        assert_eq!(world.wants("a", 4), Some(4));
        assert_eq!(world.wants("a", 3), Some(3));
        assert_eq!(world.leaves("a"), Some(2));
        assert_eq!(world.leaves("b"), Some(0));
        assert_eq!(world.wants("a", -1), Some(-1));
        assert_eq!(world.wants("b", 100), None);
        assert_eq!(max(&world), Some(-1));
        assert_eq!(world.leaves("a"), Some(100));
    }

    #[test]
    fn allocation_case_38_a_receiver_that_expires_gives_the_previous_value() {
        let mut world = World::new();
        assert_eq!(world.wants("R1", 180), Some(180));
        assert_eq!(world.wants("R2", -1), Some(-1));
        assert_eq!(world.leaves("R2"), Some(180));
        assert_eq!(world.leaves("R2"), None);
    }

    #[test]
    fn allocation_case_40_relays_count_like_endpoints() {
        let mut world = World::new();
        world.wants("R", 180);
        assert_eq!(world.wants("relay", 360), Some(360));
        assert_eq!(world.leaves("relay"), Some(180));
    }

    #[test]
    fn a_source_missing_from_an_update_is_no_longer_wanted() {
        let mut world = World::new();
        world.wants("R", 180);
        let mut told = Vec::new();
        world
            .0
            .update("R", [(SourceKey(2), 360)], |source, height| {
                told.push((source, height))
            });
        assert_eq!(told, [(SOURCE, 0), (SourceKey(2), 360)]);
    }

    #[test]
    fn a_removed_source_is_forgotten_with_its_receivers() {
        let mut world = World::new();
        world.wants("R", 180);
        world.0.remove_source(SOURCE);
        assert_eq!(world.0.max_height(SOURCE), None);
        assert_eq!(world.leaves("R"), None);
    }
}

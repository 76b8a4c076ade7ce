//! SSRC rewriting: a receiver gets a bounded number of streams, which sources take in turns (allocation
//! spec §11, media-plane spec §3.9).
//!
//! A table holds the slots of one kind of media. What a slot sends with (a projection, records,
//! retransmission) is the caller's and stays with the slot when its source changes, so that numbers go
//! on.

use crate::ids::SourceKey;
use crate::media::MediaKind;
use crate::random::Random;

/// A source as slots know it. A source that comes back with other SSRCs is another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotSource {
    /// Key of the source.
    pub key: SourceKey,
    /// SSRC of its lowest encoding.
    pub primary_ssrc: u32,
}

/// Which of a slot's two SSRCs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotStream {
    /// Media.
    Media,
    /// Retransmissions; announced but unused for audio.
    Rtx,
}

/// A new mapping, to be announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    /// Position of the slot.
    pub slot: usize,
    /// Its new source.
    pub source: SlotSource,
    /// Whether the slot existed before: its state has to be rebound.
    pub reused: bool,
}

/// One outgoing stream of a receiver.
#[derive(Debug)]
pub struct Slot<T> {
    ssrc: u32,
    rtx_ssrc: u32,
    mid: String,
    source: Option<SlotSource>,
    used: u64,
    /// What the caller sends with.
    pub state: T,
}

impl<T> Slot<T> {
    /// SSRC of the media.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// SSRC of the retransmissions.
    pub fn rtx_ssrc(&self) -> u32 {
        self.rtx_ssrc
    }

    /// MID: `v0`, `v1`, … or `a0`, `a1`, …; the slot's for good.
    pub fn mid(&self) -> &str {
        &self.mid
    }

    /// The source that has the slot.
    pub fn source(&self) -> Option<SlotSource> {
        self.source
    }
}

/// A receiver's slots of one kind.
#[derive(Debug)]
pub struct SlotTable<T> {
    kind: MediaKind,
    capacity: usize,
    slots: Vec<Slot<T>>,
    /// Counts uses.
    clock: u64,
    /// The wanted list that was last activated.
    wanted: Vec<SlotSource>,
}

impl<T> SlotTable<T> {
    /// Empty; at most `capacity` slots (`videobridge.ssrc-limit`).
    pub fn new(kind: MediaKind, capacity: usize) -> SlotTable<T> {
        SlotTable {
            kind,
            capacity,
            slots: Vec::new(),
            clock: 0,
            wanted: Vec::new(),
        }
    }

    /// All slots that were ever made, by position; at most the capacity.
    pub fn slots(&self) -> &[Slot<T>] {
        &self.slots
    }

    /// The slot at a position.
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut Slot<T>> {
        self.slots.get_mut(slot)
    }

    /// Position of the source's slot. Does not count as a use.
    pub fn lookup(&self, key: SourceKey) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| slot.source.is_some_and(|source| source.key == key))
    }

    /// The slot that sends on `ssrc`, for the receiver's RTCP.
    pub fn by_ssrc(&self, ssrc: u32) -> Option<(usize, SlotStream)> {
        self.slots
            .iter()
            .enumerate()
            .find_map(|(at, slot)| match ssrc {
                _ if slot.ssrc == ssrc => Some((at, SlotStream::Media)),
                _ if slot.rtx_ssrc == ssrc => Some((at, SlotStream::Rtx)),
                _ => None,
            })
    }

    /// The slot was used: a packet or a sender report of its source was sent.
    pub fn touch(&mut self, slot: usize) {
        self.clock += 1;
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.used = self.clock;
        }
    }

    /// Gives slots to the sources that are wanted, most important first; more than the capacity are
    /// ignored. Those that have one keep it. The result is what to announce, in one message. Nothing
    /// happens if the set is that of the last call.
    ///
    /// `is_taken` tells which SSRCs a new slot must avoid: all others that the receiver may see. `make`
    /// creates the state of a new slot, given its SSRCs (media, retransmission).
    pub fn activate(
        &mut self,
        wanted: &[SlotSource],
        random: &mut Random,
        is_taken: impl Fn(u32) -> bool,
        mut make: impl FnMut(&mut Random, u32, u32) -> T,
    ) -> Vec<Binding> {
        let wanted = &wanted[..wanted.len().min(self.capacity)];
        let unchanged = wanted.len() == self.wanted.len()
            && wanted.iter().all(|source| self.wanted.contains(source));
        if unchanged {
            return Vec::new();
        }
        self.wanted.clear();
        self.wanted.extend_from_slice(wanted);
        let is_bound =
            |slots: &[Slot<T>], source| slots.iter().position(|slot| slot.source == Some(source));
        // First of all, so that none of them is taken for another.
        for source in wanted {
            if let Some(slot) = is_bound(&self.slots, *source) {
                self.touch(slot);
            }
        }
        wanted
            .iter()
            .filter_map(|source| self.bind(*source, random, &is_taken, &mut make))
            .collect()
    }

    /// Gives the source a slot unless it has one, and counts as a use: audio calls this for each packet
    /// that is about to be sent. `None` if there is nothing to announce: it has a slot already, or the
    /// capacity is 0. See [`SlotTable::activate`] for the closures.
    pub fn bind(
        &mut self,
        source: SlotSource,
        random: &mut Random,
        is_taken: impl Fn(u32) -> bool,
        mut make: impl FnMut(&mut Random, u32, u32) -> T,
    ) -> Option<Binding> {
        if let Some(at) = self
            .slots
            .iter()
            .position(|slot| slot.source == Some(source))
        {
            self.touch(at);
            return None;
        }
        // The same source with other SSRCs has no claim to two slots.
        self.release(source.key);
        let reused = self.slots.len() >= self.capacity;
        let slot = if reused {
            let idle = |slot: &Slot<T>| (slot.source.is_some(), slot.used);
            (0..self.slots.len()).min_by_key(|at| idle(&self.slots[*at]))?
        } else {
            let ssrc = self.fresh_ssrc(random, &is_taken, None);
            let rtx_ssrc = self.fresh_ssrc(random, &is_taken, Some(ssrc));
            let prefix = match self.kind {
                MediaKind::Audio => 'a',
                MediaKind::Video => 'v',
            };
            self.slots.push(Slot {
                ssrc,
                rtx_ssrc,
                mid: format!("{prefix}{}", self.slots.len()),
                source: None,
                used: 0,
                state: make(random, ssrc, rtx_ssrc),
            });
            self.slots.len() - 1
        };
        self.touch(slot);
        self.slots.get_mut(slot)?.source = Some(source);
        Some(Binding {
            slot,
            source,
            reused,
        })
    }

    /// The source is gone. Its slot stays for another one, with its SSRCs, MID and state: a receiver
    /// sees no more streams than the capacity, however many come and go.
    pub fn release(&mut self, key: SourceKey) -> Option<usize> {
        self.wanted.retain(|source| source.key != key);
        let at = self.lookup(key)?;
        self.slots.get_mut(at)?.source = None;
        Some(at)
    }

    /// All mappings, least recently used first: what a reconnected channel is told.
    pub fn bindings(&self) -> Vec<Binding> {
        let mut bound: Vec<_> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(slot, it)| {
                Some((
                    it.used,
                    Binding {
                        slot,
                        source: it.source?,
                        reused: false,
                    },
                ))
            })
            .collect();
        bound.sort_unstable_by_key(|(used, _)| *used);
        bound.into_iter().map(|(_, binding)| binding).collect()
    }

    fn fresh_ssrc(
        &self,
        random: &mut Random,
        is_taken: &impl Fn(u32) -> bool,
        other: Option<u32>,
    ) -> u32 {
        let mut ssrc = random.u32();
        // Counting up ends as soon as one number is free; zero looks like "no SSRC" to some.
        while ssrc == 0 || other == Some(ssrc) || self.by_ssrc(ssrc).is_some() || is_taken(ssrc) {
            ssrc = ssrc.wrapping_add(1);
        }
        ssrc
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::projection::{AudioProjection, Start};
    use crate::time::Time;

    fn source(key: u64) -> SlotSource {
        SlotSource {
            key: SourceKey(key),
            primary_ssrc: 1000 + key as u32,
        }
    }

    fn table(kind: MediaKind, capacity: usize) -> (SlotTable<()>, Random) {
        (SlotTable::new(kind, capacity), Random::from_seed(3))
    }

    fn activate(
        table: &mut SlotTable<()>,
        random: &mut Random,
        wanted: &[u64],
    ) -> Vec<(usize, u64, bool)> {
        let wanted: Vec<_> = wanted.iter().map(|key| source(*key)).collect();
        table
            .activate(&wanted, random, |_| false, |_, _, _| ())
            .into_iter()
            .map(|binding| (binding.slot, binding.source.key.0, binding.reused))
            .collect()
    }

    fn bind(table: &mut SlotTable<()>, random: &mut Random, key: u64) -> Option<usize> {
        table
            .bind(source(key), random, |_| false, |_, _, _| ())
            .map(|binding| binding.slot)
    }

    #[test]
    fn allocation_case_42_audio_takes_the_least_recently_used_slot() {
        let (mut table, mut random) = table(MediaKind::Audio, 2);
        assert_eq!(bind(&mut table, &mut random, 1), Some(0));
        assert_eq!(bind(&mut table, &mut random, 2), Some(1));
        let pair = (table.slots()[0].ssrc(), table.slots()[0].rtx_ssrc());
        assert_eq!(bind(&mut table, &mut random, 3), Some(0));
        assert_eq!(bind(&mut table, &mut random, 3), None, "announced once");
        assert_eq!((table.slots()[0].ssrc(), table.slots()[0].rtx_ssrc()), pair);
        assert_eq!(table.slots()[0].mid(), "a0");
        assert_eq!(bind(&mut table, &mut random, 1), Some(1));
        assert_eq!(table.lookup(SourceKey(2)), None);
    }

    #[test]
    fn media_plane_case_103_the_51st_source_replaces_the_least_recently_used() {
        let (mut table, mut random) = table(MediaKind::Video, 50);
        let first: Vec<u64> = (0..50).collect();
        assert_eq!(activate(&mut table, &mut random, &first).len(), 50);
        let ssrcs: Vec<u32> = table.slots().iter().map(Slot::ssrc).collect();
        // Source 7 sent nothing lately, all others did, and the new list has source 50 in its place.
        (0..50)
            .filter(|slot| *slot != 7)
            .for_each(|slot| table.touch(slot));
        let next: Vec<u64> = (0..=50).filter(|key| *key != 7).collect();
        assert_eq!(activate(&mut table, &mut random, &next), [(7, 50, true)]);
        assert_eq!(
            table.slots().iter().map(Slot::ssrc).collect::<Vec<_>>(),
            ssrcs
        );
        assert_eq!(table.slots()[7].mid(), "v7");
    }

    #[test]
    fn media_plane_case_104_activation_never_evicts_what_it_wants() {
        let (mut table, mut random) = table(MediaKind::Video, 3);
        activate(&mut table, &mut random, &[1, 2, 3]);
        // Source 1 is the least recently used; it is wanted, so source 2 goes.
        assert_eq!(
            activate(&mut table, &mut random, &[4, 3, 1]),
            [(1, 4, true)]
        );
        assert_eq!(
            activate(&mut table, &mut random, &[1, 3, 4]),
            [],
            "the same set in another order"
        );
    }

    #[test]
    fn allocation_case_44_more_than_the_capacity_are_not_bound() {
        let (mut table, mut random) = table(MediaKind::Video, 50);
        let wanted: Vec<u64> = (0..60).collect();
        assert_eq!(activate(&mut table, &mut random, &wanted).len(), 50);
        let raised: Vec<u64> = std::iter::once(55)
            .chain(0..60)
            .filter(|key| *key != 49)
            .collect();
        assert_eq!(activate(&mut table, &mut random, &raised), [(49, 55, true)]);
    }

    #[test]
    fn allocation_case_46_who_returns_is_announced_again_with_new_ssrcs() {
        let (mut table, mut random) = table(MediaKind::Video, 50);
        activate(&mut table, &mut random, &[1, 2]);
        assert_eq!(table.release(SourceKey(1)), Some(0));
        assert_eq!(activate(&mut table, &mut random, &[2]), []);
        assert_eq!(activate(&mut table, &mut random, &[3, 2]), [(2, 3, false)]);
    }

    #[test]
    fn allocation_case_47_a_source_with_another_ssrc_is_announced_alone() {
        let (mut table, mut random) = table(MediaKind::Video, 50);
        activate(&mut table, &mut random, &[1, 2]);
        let changed = SlotSource {
            primary_ssrc: 5,
            ..source(2)
        };
        let announced = table.activate(&[source(1), changed], &mut random, |_| false, |_, _, _| ());
        assert_eq!(
            announced
                .iter()
                .map(|binding| binding.source)
                .collect::<Vec<_>>(),
            [changed]
        );
        assert_eq!(table.bindings().len(), 2);
    }

    #[test]
    fn allocation_case_48_a_new_channel_is_told_everything_least_recently_used_first() {
        let (mut table, mut random) = table(MediaKind::Video, 50);
        activate(&mut table, &mut random, &[1, 2, 3]);
        table.touch(0);
        let order: Vec<u64> = table
            .bindings()
            .iter()
            .map(|binding| binding.source.key.0)
            .collect();
        assert_eq!(order, [2, 3, 1]);
    }

    #[test]
    fn media_plane_case_107_mids_stay_within_the_capacity_over_churn() {
        let (mut table, mut random) = table(MediaKind::Video, 50);
        let mut mids = BTreeSet::new();
        for key in 0..200 {
            let announced = activate(&mut table, &mut random, &[key]);
            assert_eq!(announced.len(), 1);
            mids.insert(table.slots()[announced[0].0].mid().to_owned());
            table.release(SourceKey(key));
        }
        let allowed: BTreeSet<String> = (0..50).map(|index| format!("v{index}")).collect();
        assert_eq!(mids, allowed);
        assert_eq!(table.slots().len(), 50);
    }

    #[test]
    fn free_slots_go_before_used_ones() {
        let (mut table, mut random) = table(MediaKind::Audio, 3);
        for key in 1..=3 {
            bind(&mut table, &mut random, key);
        }
        table.touch(0);
        table.release(SourceKey(1));
        assert_eq!(bind(&mut table, &mut random, 4), Some(0));
    }

    #[test]
    fn ssrcs_are_unique_and_avoid_what_is_taken_t29() {
        let mut table: SlotTable<(u32, u32)> = SlotTable::new(MediaKind::Video, 50);
        // Six of seven numbers are taken.
        let is_taken = |ssrc: u32| !ssrc.is_multiple_of(7);
        let mut random = Random::from_seed(1);
        for key in 0..50 {
            table.bind(source(key), &mut random, is_taken, |_, ssrc, rtx| {
                (ssrc, rtx)
            });
        }
        let all: BTreeSet<u32> = table
            .slots()
            .iter()
            .flat_map(|slot| [slot.ssrc(), slot.rtx_ssrc()])
            .collect();
        assert_eq!(all.len(), 100);
        assert!(all.iter().all(|ssrc| !is_taken(*ssrc) && *ssrc != 0));
        for (at, slot) in table.slots().iter().enumerate() {
            assert_eq!(slot.state, (slot.ssrc(), slot.rtx_ssrc()));
            assert_eq!(table.by_ssrc(slot.ssrc()), Some((at, SlotStream::Media)));
            assert_eq!(table.by_ssrc(slot.rtx_ssrc()), Some((at, SlotStream::Rtx)));
        }
    }

    #[test]
    fn media_plane_case_105_rtcp_for_an_unknown_ssrc_finds_nothing() {
        let (mut table, mut random) = table(MediaKind::Video, 2);
        activate(&mut table, &mut random, &[1]);
        let slot = &table.slots()[0];
        assert_eq!(slot.source(), Some(source(1)));
        let unused = (1..)
            .find(|ssrc| *ssrc != slot.ssrc() && *ssrc != slot.rtx_ssrc())
            .unwrap();
        assert_eq!(table.by_ssrc(unused), None);
    }

    #[test]
    fn without_capacity_nothing_is_bound() {
        let (mut table, mut random) = table(MediaKind::Audio, 0);
        assert_eq!(bind(&mut table, &mut random, 1), None);
        assert_eq!(activate(&mut table, &mut random, &[1]), []);
    }

    #[test]
    fn allocation_case_43_rotating_sources_are_seamless_on_every_stream() {
        let start = Start {
            sequence: 1,
            timestamp: 1,
        };
        let mut table = SlotTable::new(MediaKind::Audio, 50);
        let mut random = Random::from_seed(43);
        let mut received: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
        for round in 0..400u64 {
            for stream in 0..10 {
                let key = (round * 10 + stream) % 200;
                let binding = table.bind(
                    source(key),
                    &mut random,
                    |_| false,
                    |_, _, _| AudioProjection::new(start),
                );
                let at = table.lookup(SourceKey(key)).unwrap();
                let slot = table.get_mut(at).unwrap();
                if binding.is_some_and(|binding| binding.reused) {
                    slot.state.rebind();
                }
                let now = Time::from_millis(round * 20);
                let (index, timestamp) = (key * 1000 + round, key as u32 * 7777);
                let sent = slot.state.offer(now, index, timestamp).unwrap();
                let last = received.entry(slot.ssrc()).or_insert((1, 1));
                assert_eq!((sent.sequence, sent.timestamp), (last.0 + 1, last.1 + 960));
                *last = (sent.sequence, sent.timestamp);
            }
        }
        assert_eq!(received.len(), 50);
    }
}

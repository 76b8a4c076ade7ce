//! Packets that receivers may ask for again, once per encoding of a source: by reference, not per
//! receiver.

use std::sync::Arc;

use crate::limits;
use crate::time::Time;
use crate::worker::packet::MediaPacket;

/// Capacity at first; doubled while packets come faster than they age.
const FIRST_CAPACITY: usize = 64;

#[derive(Debug)]
struct Entry<P> {
    index: u64,
    inserted: Time,
    packet: Arc<P>,
}

/// The latest packets of an encoding by index, at most [`limits::CACHE_PACKETS`] and none older than
/// [`limits::CACHE_AGE`].
#[derive(Debug)]
pub struct PacketCache<P = MediaPacket> {
    /// A power of two, or empty. An entry is at its index modulo the length.
    ring: Vec<Option<Entry<P>>>,
    /// Lowest and highest index that may be present.
    range: Option<(u64, u64)>,
}

impl<P> Default for PacketCache<P> {
    fn default() -> Self {
        PacketCache {
            ring: Vec::new(),
            range: None,
        }
    }
}

impl<P> PacketCache<P> {
    /// Empty, without memory.
    pub fn new() -> PacketCache<P> {
        PacketCache::default()
    }

    fn cell(ring: &mut [Option<Entry<P>>], index: u64) -> Option<&mut Option<Entry<P>>> {
        let mask = (ring.len() as u64).checked_sub(1)?;
        ring.get_mut((index & mask) as usize)
    }

    /// Keeps `packet` under `index`. What has to go is handed to `recycle`: packets that are too old,
    /// and `packet` itself if newer ones fill the cache.
    pub fn insert(
        &mut self,
        now: Time,
        index: u64,
        packet: Arc<P>,
        mut recycle: impl FnMut(Arc<P>),
    ) {
        const CAPACITY: u64 = limits::CACHE_PACKETS as u64;
        self.expire(now, &mut recycle);
        let (mut oldest, newest) = match self.range {
            Some((_, newest)) if newest.saturating_sub(index) >= CAPACITY => {
                return recycle(packet);
            }
            Some((oldest, newest)) => (oldest.min(index), newest.max(index)),
            None => (index, index),
        };
        if newest - oldest >= CAPACITY {
            let keep = newest - CAPACITY + 1;
            // Beyond the ring's length the same cells come again.
            for index in oldest..keep.min(oldest + self.ring.len() as u64) {
                if let Some(cell) = Self::cell(&mut self.ring, index)
                    && let Some(entry) = cell.take_if(|entry| entry.index < keep)
                {
                    recycle(entry.packet);
                }
            }
            oldest = keep;
        }
        let needed = (newest - oldest + 1) as usize;
        if needed > self.ring.len() {
            self.grow(needed.next_power_of_two().max(FIRST_CAPACITY));
        }
        self.range = Some((oldest, newest));
        if let Some(cell) = Self::cell(&mut self.ring, index)
            && let Some(replaced) = cell.replace(Entry {
                index,
                inserted: now,
                packet,
            })
        {
            recycle(replaced.packet);
        }
    }

    fn grow(&mut self, capacity: usize) {
        let mut ring = Vec::new();
        ring.resize_with(capacity, || None);
        for entry in self.ring.drain(..).flatten() {
            let index = entry.index;
            if let Some(cell) = Self::cell(&mut ring, index) {
                *cell = Some(entry);
            }
        }
        self.ring = ring;
    }

    /// The packet, unless it is too old or was never there.
    pub fn get(&self, now: Time, index: u64) -> Option<&Arc<P>> {
        let mask = (self.ring.len() as u64).checked_sub(1)?;
        let entry = self.ring.get((index & mask) as usize)?.as_ref()?;
        let alive = entry.index == index && now.since(entry.inserted) <= limits::CACHE_AGE;
        alive.then_some(&entry.packet)
    }

    /// Hands packets that are too old to `recycle`. Inserting does that too; this is for streams that
    /// stopped.
    pub fn expire(&mut self, now: Time, mut recycle: impl FnMut(Arc<P>)) {
        let Some((mut oldest, mut newest)) = self.range else {
            return;
        };
        let mut is_alive = |index| {
            let Some(cell) = Self::cell(&mut self.ring, index) else {
                return false;
            };
            if let Some(old) = cell.take_if(|entry| now.since(entry.inserted) > limits::CACHE_AGE) {
                recycle(old.packet);
            }
            cell.is_some()
        };
        while oldest <= newest && !is_alive(oldest) {
            oldest += 1;
        }
        // The newest may be the older one where a sender's numbers went back.
        while oldest < newest && !is_alive(newest) {
            newest -= 1;
        }
        self.range = (oldest <= newest).then_some((oldest, newest));
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.range.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_is_found_until_it_is_too_old_and_then_handed_back() {
        let mut cache = PacketCache::new();
        let mut gone = Vec::new();
        cache.insert(Time::ZERO, 7, Arc::new('a'), |packet| gone.push(*packet));
        cache.insert(Time::from_millis(1000), 8, Arc::new('b'), |packet| {
            gone.push(*packet)
        });
        assert_eq!(
            cache.get(Time::from_millis(1500), 7).map(|packet| **packet),
            Some('a')
        );
        assert_eq!(cache.get(Time::from_millis(1501), 7), None);
        assert_eq!(cache.get(Time::from_millis(1501), 9), None);
        cache.expire(Time::from_millis(1501), |packet| gone.push(*packet));
        assert_eq!(gone, ['a']);
        cache.expire(Time::from_millis(9000), |packet| gone.push(*packet));
        assert_eq!(gone, ['a', 'b']);
        assert!(cache.is_empty());
    }

    #[test]
    fn a_fast_stream_fills_the_cache_and_no_more() {
        let mut cache = PacketCache::new();
        let mut gone = 0;
        for index in 0..10_000u64 {
            cache.insert(Time::ZERO, index, Arc::new(index), |_| gone += 1);
        }
        assert_eq!(gone, 10_000 - limits::CACHE_PACKETS);
        assert_eq!(cache.ring.len(), limits::CACHE_PACKETS);
        assert!(
            cache
                .get(Time::ZERO, 10_000 - limits::CACHE_PACKETS as u64)
                .is_some()
        );
        let mut back = None;
        cache.insert(Time::ZERO, 5, Arc::new(5), |packet| back = Some(*packet));
        assert_eq!(back, Some(5), "too late to be kept");
    }

    #[test]
    fn a_slow_stream_needs_little_memory() {
        let mut cache = PacketCache::new();
        for index in 0..1000 {
            cache.insert(Time::from_millis(index * 33), index, Arc::new(()), drop);
        }
        assert_eq!(cache.ring.len(), FIRST_CAPACITY);
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_map_cut_by_age_and_size_t40(
            steps in proptest::collection::vec(
                (prop_oneof![8 => -20i64..40, 1 => -1000i64..1000, 1 => -40000i64..40000], 0u64..40), 1..400)
        ) {
            let (mut cache, mut model) = (PacketCache::new(), BTreeMap::new());
            let (mut at, mut millis, mut alive) = (1i64 << 20, 0, 0i64);
            for (step, wait) in steps {
                at += step;
                millis += wait;
                let (index, now) = (at as u64, Time::from_millis(millis));
                model.retain(|_, inserted| now.since(*inserted) <= limits::CACHE_AGE);
                alive += 1;
                cache.insert(now, index, Arc::new(index), |_| alive -= 1);
                model.insert(index, now);
                let newest = *model.keys().next_back().unwrap();
                model.retain(|index, _| newest - index < limits::CACHE_PACKETS as u64);
                for probe in index.saturating_sub(600)..index + 600 {
                    prop_assert_eq!(cache.get(now, probe).map(|p| **p), model.get(&probe).map(|_| probe));
                }
                prop_assert!(alive >= model.len() as i64);
                prop_assert!(cache.ring.len() <= limits::CACHE_PACKETS);
            }
            cache.expire(Time::FAR, |_| alive -= 1);
            prop_assert_eq!(alive, 0, "every packet is handed back once");
        }
    }
}

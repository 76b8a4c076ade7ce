//! Datagrams of one turn, grouped by destination.
//!
//! Everything that a turn wants to send is written straight into one arena. Datagrams to the same path form a
//! chain, so that the driver can hand a whole chain to the kernel as segmentation-offload trains; the order
//! within a chain is the order of writing.

use std::ops::Range;

use crate::ids::Path;
use crate::srtp::mac::{Engine, MAX_LANES, TAG, TagDue};

/// Bytes of one turn's datagrams at most.
const ARENA_BYTES: usize = 8 << 20;
/// Datagrams of one turn at most.
const MAX_DATAGRAMS: usize = 16_384;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot {
    start: u32,
    len: u16,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    path: Path,
    first: u32,
    last: u32,
}

/// Remembers where a destination's chain is in the current turn; keep one per destination.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChainHint {
    turn: u64,
    index: u32,
}

/// The send batch.
#[derive(Debug)]
pub struct Egress {
    arena: Vec<u8>,
    used: usize,
    slots: Vec<Slot>,
    chains: Vec<Chain>,
    turn: u64,
    engine: Engine,
    /// Datagrams that lack their tag: where they are in the arena, with room for it. At most as many as are computed at once.
    untagged: Vec<(Range<usize>, TagDue)>,
}

impl Default for Egress {
    fn default() -> Self {
        Self::new()
    }
}

/// A position to return to, see [`Egress::mark`].
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Egress {
    /// An empty batch.
    pub fn new() -> Egress {
        Egress {
            arena: Vec::new(),
            used: 0,
            slots: Vec::new(),
            chains: Vec::new(),
            turn: 1,
            engine: Engine::detect(),
            untagged: Vec::with_capacity(MAX_LANES),
        }
    }

    /// Room for one datagram of up to `len` bytes; `None` if the batch is full. Nothing is sent until
    /// [`Egress::commit`].
    #[inline]
    pub fn slot(&mut self, len: usize) -> Option<&mut [u8]> {
        let end = self.used + len;
        if end > self.arena.len() {
            if end > ARENA_BYTES {
                return None;
            }
            // Grows to its working size within the first busy turns and stays there.
            let target = (self.arena.len() * 2).clamp(end.max(64 << 10), ARENA_BYTES);
            self.arena.resize(target, 0);
        }
        if self.slots.len() >= MAX_DATAGRAMS {
            return None;
        }
        Some(&mut self.arena[self.used..end])
    }

    /// The first `len` bytes of the last [`Egress::slot`] are a datagram to `path`.
    #[inline]
    pub fn commit(&mut self, path: Path, len: usize, hint: &mut ChainHint) {
        let index = self.slots.len() as u32;
        self.slots.push(Slot {
            start: self.used as u32,
            len: len as u16,
            next: NONE,
        });
        self.used += len;
        if hint.turn == self.turn
            && let Some(chain) = self.chains.get_mut(hint.index as usize)
            && chain.path == path
        {
            self.slots[chain.last as usize].next = index;
            chain.last = index;
            return;
        }
        *hint = ChainHint {
            turn: self.turn,
            index: self.chains.len() as u32,
        };
        self.chains.push(Chain {
            path,
            first: index,
            last: index,
        });
    }

    /// Like [`Egress::commit`] for a packet whose tag may be due: it is computed together with others, at the latest by
    /// [`Egress::complete`].
    #[inline]
    pub fn commit_sealed(
        &mut self,
        path: Path,
        (len, due): (usize, Option<TagDue>),
        hint: &mut ChainHint,
    ) {
        let start = self.used;
        self.commit(path, len, hint);
        if let Some(due) = due {
            self.untagged.push((start..start + len, due));
            if self.untagged.len() == self.engine.lanes() {
                self.complete();
            }
        }
    }

    /// Computes all tags that are due. Before that the datagrams are not complete.
    pub fn complete(&mut self) {
        let Some((_, first)) = self.untagged.first() else {
            return;
        };
        let mut messages = [first.message(&[]); MAX_LANES];
        let mut tags = [[0; TAG]; MAX_LANES];
        let count = self.untagged.len().min(MAX_LANES);
        for ((place, due), message) in self.untagged.iter().zip(&mut messages) {
            *message = due.message(&self.arena[place.start..place.end - TAG]);
        }
        self.engine.tags(&messages[..count], &mut tags[..count]);
        for ((place, _), tag) in self.untagged.drain(..).zip(tags) {
            self.arena[place.end - TAG..place.end].copy_from_slice(&tag);
        }
    }

    /// Copies `datagram` in; false if the batch is full.
    pub fn push(&mut self, path: Path, datagram: &[u8], hint: &mut ChainHint) -> bool {
        match self.slot(datagram.len()) {
            Some(slot) => {
                slot.copy_from_slice(datagram);
                self.commit(path, datagram.len(), hint);
                true
            }
            None => false,
        }
    }

    /// Datagrams in the batch.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes in the batch.
    pub fn bytes(&self) -> usize {
        self.used
    }

    /// The current end, to which [`Egress::rewind`] can go back.
    pub fn mark(&self) -> Mark {
        Mark(self.slots.len())
    }

    /// Forgets everything written since `mark`: used when the writer failed half way.
    pub fn rewind(&mut self, mark: Mark) {
        let keep = mark.0 as u32;
        if self.slots.len() <= mark.0 {
            return;
        }
        self.used = self.slots[mark.0].start as usize;
        self.untagged.retain(|(place, _)| place.end <= self.used);
        self.slots.truncate(mark.0);
        self.chains.retain_mut(|chain| {
            if chain.first >= keep {
                return false;
            }
            let mut last = chain.first;
            while self.slots[last as usize].next < keep {
                last = self.slots[last as usize].next;
            }
            self.slots[last as usize].next = NONE;
            chain.last = last;
            true
        });
        // Hints from before may point at chains that moved.
        self.turn += 1;
    }

    /// Chains in the order of their first datagram: each a path and its datagrams.
    pub fn chains(&self) -> impl Iterator<Item = (Path, Datagrams<'_>)> {
        debug_assert!(self.untagged.is_empty(), "the turn was not ended");
        self.chains.iter().map(|chain| {
            (
                chain.path,
                Datagrams {
                    egress: self,
                    next: chain.first,
                },
            )
        })
    }

    /// Empties the batch and begins the next turn.
    pub fn clear(&mut self) {
        self.used = 0;
        self.untagged.clear();
        self.slots.clear();
        self.chains.clear();
        self.turn += 1;
    }
}

/// Datagrams of one chain.
#[derive(Clone, Debug)]
pub struct Datagrams<'a> {
    egress: &'a Egress,
    next: u32,
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let slot = self.egress.slots.get(self.next as usize)?;
        self.next = slot.next;
        let start = slot.start as usize;
        self.egress.arena.get(start..start + usize::from(slot.len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SocketId;
    use crate::srtp::{Outbound, Profile};

    fn path(port: u16) -> Path {
        Path {
            socket: SocketId(0),
            remote: ([127, 0, 0, 1], port).into(),
        }
    }

    fn content(egress: &Egress) -> Vec<(u16, Vec<Vec<u8>>)> {
        egress
            .chains()
            .map(|(path, datagrams)| (path.remote.port(), datagrams.map(<[u8]>::to_vec).collect()))
            .collect()
    }

    #[test]
    fn datagrams_to_one_path_form_a_chain_in_order() {
        let mut egress = Egress::new();
        let (mut a, mut b) = (ChainHint::default(), ChainHint::default());
        egress.push(path(1), b"one", &mut a);
        egress.push(path(2), b"two", &mut b);
        egress.push(path(1), b"three", &mut a);
        assert_eq!(
            content(&egress),
            vec![
                (1, vec![b"one".to_vec(), b"three".to_vec()]),
                (2, vec![b"two".to_vec()])
            ]
        );
        egress.clear();
        assert!(egress.is_empty());
        egress.push(path(1), b"next", &mut a);
        assert_eq!(content(&egress), vec![(1, vec![b"next".to_vec()])]);
    }

    #[test]
    fn a_destination_that_moves_gets_a_new_chain() {
        let mut egress = Egress::new();
        let mut hint = ChainHint::default();
        egress.push(path(1), b"old", &mut hint);
        egress.push(path(2), b"new", &mut hint);
        assert_eq!(egress.chains().count(), 2);
    }

    #[test]
    fn rewinding_removes_what_came_after_the_mark_from_every_chain() {
        let mut egress = Egress::new();
        let (mut a, mut b) = (ChainHint::default(), ChainHint::default());
        egress.push(path(1), b"keep", &mut a);
        let mark = egress.mark();
        egress.push(path(1), b"drop", &mut a);
        egress.push(path(2), b"drop", &mut b);
        egress.rewind(mark);
        egress.push(path(1), b"more", &mut a);
        let all: Vec<_> = content(&egress)
            .into_iter()
            .flat_map(|(_, list)| list)
            .collect();
        assert_eq!(all, vec![b"keep".to_vec(), b"more".to_vec()]);
    }

    #[test]
    fn a_full_batch_refuses_and_does_not_grow() {
        let mut egress = Egress::new();
        let mut hint = ChainHint::default();
        let datagram = [0u8; 1_000];
        let accepted = (0..20_000)
            .filter(|_| egress.push(path(1), &datagram, &mut hint))
            .count();
        assert!(accepted <= MAX_DATAGRAMS && egress.bytes() <= ARENA_BYTES);
        assert!(egress.slot(1_000_000_000).is_none());
    }

    /// Seals a packet of `size` for a receiver whose keys come from `number`, into the batch and on its own.
    fn seal(egress: &mut Egress, number: u8, size: usize) -> Vec<u8> {
        let mut packet = vec![0; size];
        packet[0] = 0x80;
        let mut outbound = [0; 2].map(|_| {
            let profile = Profile::Aes128CmSha1_80;
            Outbound::new(profile, &[number; 16], &[number; 14])
        });
        let slot = egress.slot(size + TAG).unwrap();
        slot[..size].copy_from_slice(&packet);
        let sealed = outbound[0].seal_rtp_later(0, 1 << 16, slot, 12, size);
        let mut hint = ChainHint::default();
        egress.commit_sealed(path(u16::from(number)), sealed.unwrap(), &mut hint);
        packet.resize(size + TAG, 0);
        outbound[1]
            .seal_rtp(0, 1 << 16, &mut packet, 12, size)
            .unwrap();
        packet
    }

    #[test]
    fn tags_computed_together_are_those_computed_alone() {
        let mut egress = Egress::new();
        let alone: Vec<_> = (0..41)
            .map(|number| seal(&mut egress, number, 20 + 7 * usize::from(number)))
            .collect();
        egress.complete();
        let together = content(&egress)
            .into_iter()
            .flat_map(|(_, packets)| packets);
        assert!(together.eq(alone));
    }

    #[test]
    fn a_tag_of_a_datagram_that_was_taken_back_is_not_computed() {
        let mut egress = Egress::new();
        let kept = seal(&mut egress, 1, 100);
        let mark = egress.mark();
        seal(&mut egress, 2, 300);
        egress.rewind(mark);
        let next = seal(&mut egress, 3, 200);
        egress.complete();
        let packets = content(&egress)
            .into_iter()
            .flat_map(|(_, packets)| packets);
        assert!(packets.eq([kept, next]));
    }
}

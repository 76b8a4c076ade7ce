//! Watches for two packets under one index; only in debug builds, simulations included (T29).

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Packets that are remembered for one transport.
const REMEMBERED: usize = 4_096;

/// Hashes of the plaintexts that were sealed last, by SSRC and index.
#[derive(Debug, Default)]
pub(super) struct Audit {
    sealed: BTreeMap<(u32, u64), u64>,
    order: VecDeque<(u32, u64)>,
}

impl Audit {
    /// Panics if another packet than this one was sealed under the same index, or if header and arguments
    /// contradict each other.
    pub(super) fn check(&mut self, ssrc: u32, index: u64, packet: &[u8]) {
        if let Some(&[_, _, s0, s1, _, _, _, _, i0, i1, i2, i3]) = packet.first_chunk() {
            assert_eq!(
                u32::from_be_bytes([i0, i1, i2, i3]),
                ssrc,
                "SSRC of the header"
            );
            assert_eq!(
                u16::from_be_bytes([s0, s1]),
                index as u16,
                "sequence number of the header"
            );
        }
        let mut hasher = DefaultHasher::new();
        packet.hash(&mut hasher);
        let hash = hasher.finish();
        match self.sealed.insert((ssrc, index), hash) {
            Some(before) => assert_eq!(
                before, hash,
                "two packets of SSRC {ssrc:#x} under index {index}"
            ),
            None => {
                self.order.push_back((ssrc, index));
                if self.order.len() > REMEMBERED
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.sealed.remove(&oldest);
                }
            }
        }
    }
}

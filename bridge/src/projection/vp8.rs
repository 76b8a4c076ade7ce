//! VP8 with picture ids and temporal layers (media-plane spec §3.4).

use super::VideoFacts;
use super::filter::QualityFilter;
use super::frames::{Frames, Note};
use super::numbered::{Gate, Newcomer, Unit};
use super::output::Output;
use crate::time::Time;
use crate::wire::vp8::Vp8Descriptor;

/// The packet for [`super::numbered`]; `None` without the fields that are needed there.
#[inline]
pub(super) fn unit(facts: &VideoFacts, descriptor: &Vp8Descriptor) -> Option<Unit> {
    Some(Unit {
        id: u32::from(descriptor.picture_id()?),
        bits: if descriptor.is_wide() { 15 } else { 7 },
        temporal_id: descriptor.temporal_id()?,
        tl0picidx: descriptor.tl0picidx(),
        start: descriptor.is_start(),
        end: facts.marker,
        keyframe: descriptor.is_keyframe_start(),
    })
}

/// Decides by temporal layers.
pub(super) struct TemporalGate<'a>(pub &'a Vp8Descriptor);

impl Gate for TemporalGate<'_> {
    fn admit(
        &mut self,
        now: Time,
        facts: &VideoFacts,
        frame: Newcomer,
        frames: &Frames,
        filter: &mut QualityFilter,
        _: &Output,
    ) -> Option<Note> {
        let temporal_id = self.0.temporal_id().unwrap_or_default();
        if !filter.admit(now, facts.encoding, frame.begins, temporal_id) {
            return None;
        }
        // With layer synchronisation, the reference is the base layer only.
        let layer = if self.0.is_layer_sync() {
            0
        } else {
            temporal_id
        };
        let decodable = temporal_id == 0
            || self.0.is_keyframe_start()
            || frames.is_decodable(frame.at, frame.id, layer, true);
        decodable.then(Note::default)
    }

    fn refused(&mut self, _: i64) {}
}

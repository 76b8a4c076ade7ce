//! VP9: simulcast, and spatial layers in one stream (media-plane spec §3.5).

use std::cmp::Ordering;

use super::VideoFacts;
use super::filter::{Entry, QualityFilter};
use super::frames::{Frames, Note};
use super::numbered::{Gate, Newcomer, Unit};
use super::output::Output;
use crate::time::Time;
use crate::wire::vp9::{MAX_LAYERS, Vp9Descriptor};

/// Bits of a spatial id, the lower part of a frame's number.
const LAYER_BITS: u8 = 3;

/// The packet for [`super::numbered`]; `None` without a picture id.
pub(super) fn unit(descriptor: &Vp9Descriptor) -> Option<Unit> {
    let picture = u32::from(descriptor.picture_id()?);
    Some(Unit {
        id: picture << LAYER_BITS | u32::from(descriptor.spatial_id()),
        bits: if descriptor.is_wide() { 15 } else { 7 },
        temporal_id: descriptor.temporal_id(),
        tl0picidx: descriptor.tl0picidx(),
        start: descriptor.is_start(),
        end: descriptor.is_end(),
        keyframe: descriptor.is_keyframe(),
    })
}

/// The latest frame of temporal layer 0 in a spatial layer.
#[derive(Clone, Copy, Debug)]
struct Base {
    id: i64,
    sent: bool,
}

/// Which spatial layers of the current encoding are sent.
#[derive(Debug)]
pub(super) struct SpatialLayers {
    /// Highest layer sent.
    current: u8,
    /// Number of layers, as far as told.
    count: u8,
    bases: [Option<Base>; MAX_LAYERS],
    /// The newest picture, and the layer that was wanted when it began: what is wanted for a picture never changes
    /// within it, so that its end is always marked.
    picture: Option<(i64, u8)>,
}

impl Default for SpatialLayers {
    fn default() -> SpatialLayers {
        SpatialLayers {
            current: 0,
            count: MAX_LAYERS as u8,
            bases: [None; MAX_LAYERS],
            picture: None,
        }
    }
}

impl SpatialLayers {
    fn is_sent(&self, spatial_id: u8) -> bool {
        let base = self.bases.get(usize::from(spatial_id));
        base.is_some_and(|base| base.is_some_and(|base| base.sent))
    }

    /// A late frame says nothing about what comes next.
    fn set_base(&mut self, spatial_id: u8, base: Base) {
        if let Some(known) = self.bases.get_mut(usize::from(spatial_id))
            && known.is_none_or(|known| known.id <= base.id)
        {
            *known = Some(base);
        }
    }

    /// The layer that is wanted of a picture, given what is wanted now.
    fn wanted_for(&mut self, picture: i64, wanted: u8) -> u8 {
        match self.picture {
            Some((known, latched)) if known == picture => latched.min(self.count.saturating_sub(1)),
            Some((newer, _)) if newer > picture => wanted,
            _ => {
                self.picture = Some((picture, wanted));
                wanted
            }
        }
    }

    /// The layer that is wanted of what there is.
    fn wanted(&self, entry: Entry, encoding: u8, filter: &QualityFilter) -> u8 {
        let target = filter.target();
        let wanted = match entry {
            Entry::Below => u8::MAX,
            Entry::Above => 0,
            Entry::Keyframe | Entry::Wanted => {
                match target.encoding().map(|it| it.cmp(&encoding)) {
                    Some(Ordering::Greater) => u8::MAX,
                    Some(Ordering::Equal) => target.spatial(),
                    Some(Ordering::Less) | None => 0,
                }
            }
        };
        wanted.min(self.count.saturating_sub(1))
    }
}

/// Decides by spatial and temporal layers.
pub(super) struct SpatialGate<'a> {
    pub descriptor: &'a Vp9Descriptor,
    pub layers: &'a mut SpatialLayers,
}

impl SpatialGate<'_> {
    fn begin(
        &mut self,
        encoding: u8,
        id: i64,
        was_current: bool,
        overtaken: bool,
        filter: &QualityFilter,
    ) -> Option<Note> {
        let before = if was_current { self.layers.current } else { 0 };
        *self.layers = SpatialLayers {
            count: match self.descriptor.scalability() {
                Some(structure) => structure.spatial_layers,
                None if was_current => self.layers.count,
                None => MAX_LAYERS as u8,
            },
            ..SpatialLayers::default()
        };
        self.layers.set_base(0, Base { id, sent: true });
        let wanted = self.layers.wanted(Entry::Keyframe, encoding, filter);
        // Down at once; up as far as the key picture has layers.
        self.layers.current = before.min(wanted);
        self.layers.picture = Some((id >> LAYER_BITS, wanted));
        Some(Note {
            marks_end: wanted == 0 || overtaken,
            ..Note::default()
        })
    }

    /// Whether nothing that the frame needs was left out, as far as known.
    fn is_decodable(&self, frame: Newcomer, frames: &Frames) -> bool {
        let was_refused = |id: i64| {
            frames
                .by_id(id)
                .is_some_and(|reference| !reference.accepted)
        };
        let descriptor = self.descriptor;
        if descriptor.is_inter_layer() && was_refused(frame.id - 1) {
            return false;
        }
        let references = descriptor.references();
        if !references.is_empty() {
            return !references
                .iter()
                .any(|distance| was_refused(frame.id - (i64::from(*distance) << LAYER_BITS)));
        }
        let temporal_id = descriptor.temporal_id();
        temporal_id == 0
            || !descriptor.is_inter_picture()
            || frames.is_decodable(frame.at, frame.id, temporal_id, true)
    }
}

impl Gate for SpatialGate<'_> {
    fn admit(
        &mut self,
        now: Time,
        facts: &VideoFacts,
        frame: Newcomer,
        frames: &Frames,
        filter: &mut QualityFilter,
        _: &Output,
    ) -> Option<Note> {
        let was_current = filter.current() == Some(facts.encoding);
        let entry = filter.enter(now, facts.encoding, frame.begins)?;
        // The layer above came first and was left out for want of this one: the picture ends here.
        let above = frames.by_id(frame.id + 1);
        let overtaken = above.is_some_and(|above| !above.accepted);
        if entry == Entry::Keyframe {
            return self.begin(facts.encoding, frame.id, was_current, overtaken, filter);
        }
        let descriptor = self.descriptor;
        let layers = &mut *self.layers;
        let (spatial_id, temporal_id) = (descriptor.spatial_id(), descriptor.temporal_id());
        let mut fewer = false;
        if let Some(structure) = descriptor.scalability() {
            layers.count = structure.spatial_layers;
            fewer = layers.current >= layers.count;
        }
        let wanted = layers.wanted(entry, facts.encoding, filter);
        let wanted = layers.wanted_for(frame.id >> LAYER_BITS, wanted);
        let inter_picture = descriptor.is_inter_picture();
        let below = spatial_id.checked_sub(1);
        // Of a layer that was not being sent, one that was not seen counts as not sent: if it still comes, it stays out,
        // and its gap is not where the layer begins. Where upper layers refer to it, it would be sent.
        let begins = spatial_id > layers.current
            || spatial_id < layers.current && !descriptor.is_layer_reference();
        let can = (!inter_picture
            || layers.is_sent(spatial_id)
                && (!begins || frames.is_decodable(frame.at, frame.id, 0, false)))
            && (!descriptor.is_inter_layer()
                || below.is_some_and(|below| match frames.by_id(frame.id - 1) {
                    // A late frame rests on its own picture, whatever was sent since.
                    Some(below) => below.accepted,
                    None => layers.is_sent(below),
                }));
        let up = layers.current < spatial_id && spatial_id <= wanted;
        let down = wanted <= spatial_id && spatial_id < layers.current;
        if up || down || fewer {
            if can {
                layers.current = spatial_id;
            } else {
                filter.want_keyframe();
            }
        }
        let current = layers.current;
        let passes =
            spatial_id == current || spatial_id < current && descriptor.is_layer_reference();
        if temporal_id == 0 {
            let base = Base {
                id: frame.id,
                sent: passes && can,
            };
            layers.set_base(spatial_id, base);
            if passes && !can {
                // What comes next refers to what is being dropped here.
                filter.want_keyframe();
            }
        }
        let fits = match entry {
            Entry::Keyframe | Entry::Below => true,
            Entry::Above => temporal_id == 0,
            Entry::Wanted => match wanted.cmp(&current) {
                Ordering::Less => temporal_id == 0,
                Ordering::Equal => temporal_id <= filter.target().temporal(),
                Ordering::Greater => true,
            },
        };
        if !(passes && can && fits && self.is_decodable(frame, frames)) {
            return None;
        }
        let top = if inter_picture {
            current
        } else {
            wanted.max(current)
        };
        Some(Note {
            marks_end: spatial_id == top || overtaken,
            ..Note::default()
        })
    }

    fn refused(&mut self, id: i64) {
        self.layers
            .set_base(self.descriptor.spatial_id(), Base { id, sent: false });
    }
}

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

/// Pictures within which a late frame still finds what was decided about its picture.
const PICTURES: usize = 8;

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
    /// The picture from which it is, and what was the highest before: by that, late frames are judged.
    since: Option<i64>,
    before: u8,
    /// Number of layers, as far as told.
    count: u8,
    bases: [Option<Base>; MAX_LAYERS],
    newest: Option<i64>,
    /// Pictures by their number modulo this, and the layer that was wanted when each began: what is wanted for a
    /// picture never changes within it, so that its end is always marked.
    wanted_for: [Option<(i64, u8)>; PICTURES],
}

impl Default for SpatialLayers {
    fn default() -> SpatialLayers {
        SpatialLayers {
            current: 0,
            since: None,
            before: 0,
            count: MAX_LAYERS as u8,
            bases: [None; MAX_LAYERS],
            newest: None,
            wanted_for: [None; PICTURES],
        }
    }
}

impl SpatialLayers {
    /// The highest layer that is sent.
    pub(super) fn current(&self) -> u8 {
        self.current
    }

    fn is_sent(&self, spatial_id: u8) -> bool {
        let base = self.bases.get(usize::from(spatial_id));
        base.is_some_and(|base| base.is_some_and(|base| base.sent))
    }

    /// The highest layer sent is this from `picture` on.
    fn switch(&mut self, picture: i64, layer: u8) {
        // Within a picture it only goes on from where it was before.
        if self.since != Some(picture) {
            self.before = self.current;
            self.since = Some(picture);
        }
        self.current = layer;
    }

    /// The sender began to count anew: ids from before are in no order with those to come.
    fn renumber(&mut self) {
        (self.since, self.newest) = (None, None);
        self.wanted_for = [None; PICTURES];
        for base in self.bases.iter_mut().flatten() {
            base.id = i64::MIN;
        }
    }

    /// A late frame says nothing about what comes next.
    fn set_base(&mut self, spatial_id: u8, base: Base) {
        if let Some(known) = self.bases.get_mut(usize::from(spatial_id))
            && known.is_none_or(|known| known.id <= base.id)
        {
            *known = Some(base);
        }
    }

    /// What was decided about a picture, if that is known.
    fn decided(&mut self, picture: i64) -> &mut Option<(i64, u8)> {
        &mut self.wanted_for[picture.rem_euclid(PICTURES as i64) as usize]
    }

    /// The layer that is wanted of the newest picture or of one that follows it, given what is wanted now.
    fn wanted_for(&mut self, picture: i64, wanted: u8) -> u8 {
        self.newest = Some(picture);
        let most = self.count.saturating_sub(1);
        match self.decided(picture) {
            Some((known, latched)) if *known == picture => (*latched).min(most),
            decided => {
                *decided = Some((picture, wanted));
                wanted
            }
        }
    }

    /// The highest layer that is or was sent of a picture, and the one that was to be sent of it.
    fn of_late(&mut self, picture: i64) -> (u8, u8) {
        let highest = match self.since {
            Some(since) if picture < since => self.before,
            _ => self.current,
        };
        match *self.decided(picture) {
            Some((known, wanted)) if known == picture => (highest, wanted.max(highest)),
            _ => (highest, highest),
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
        self.layers.current = before;
        self.layers.switch(id >> LAYER_BITS, before.min(wanted));
        self.layers.wanted_for(id >> LAYER_BITS, wanted);
        Some(Note {
            marks_end: wanted == 0 || overtaken,
            ..Note::default()
        })
    }

    /// A frame of a picture that others have followed. It changes nothing of what comes next.
    fn admit_late(
        &mut self,
        frame: Newcomer,
        frames: &Frames,
        fits: bool,
        overtaken: bool,
    ) -> Option<Note> {
        let descriptor = self.descriptor;
        let (highest, wanted) = self.layers.of_late(frame.id >> LAYER_BITS);
        let spatial_id = descriptor.spatial_id();
        let top = match descriptor.is_inter_picture() {
            true => highest,
            false => wanted,
        };
        let passes = spatial_id == top || spatial_id < top && descriptor.is_layer_reference();
        let sent = passes && fits && self.is_decodable(frame, frames, true);
        if descriptor.temporal_id() == 0 {
            let id = frame.id;
            self.layers.set_base(spatial_id, Base { id, sent });
        }
        sent.then(|| Note {
            marks_end: spatial_id == top || overtaken,
            ..Note::default()
        })
    }

    /// Whether nothing that the frame needs was left out, as far as known. `late`: of temporal layer 0 as well; of
    /// those in order the bases tell.
    fn is_decodable(&self, frame: Newcomer, frames: &Frames, late: bool) -> bool {
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
        temporal_id == 0 && !late
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
        let picture = frame.id >> LAYER_BITS;
        if layers.newest.is_some_and(|newest| picture < newest) {
            if frames.get(frame.at).is_some() {
                let fits = match entry {
                    Entry::Keyframe | Entry::Below => true,
                    Entry::Above => temporal_id == 0,
                    Entry::Wanted => temporal_id <= filter.target().temporal(),
                };
                return self.admit_late(frame, frames, fits, overtaken);
            }
            layers.renumber();
        }
        let mut fewer = false;
        if let Some(structure) = descriptor.scalability() {
            layers.count = structure.spatial_layers;
            fewer = layers.current >= layers.count;
        }
        let wanted = layers.wanted(entry, facts.encoding, filter);
        let wanted = layers.wanted_for(picture, wanted);
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
        // Layers that rest on nothing do not go on where one of them was marked as the end.
        let rests = inter_picture || descriptor.is_inter_layer();
        let has_ended = |below: u8| {
            let below = frames.by_id(picture << LAYER_BITS | i64::from(below));
            below.is_some_and(|below| below.note.marks_end)
        };
        let can = can && (rests || !(0..spatial_id).any(has_ended));
        let up = layers.current < spatial_id && spatial_id <= wanted;
        // What is above it in this picture came first, and was sent: this is not the end.
        let passed = frames.is_passed(frame.at);
        let down = wanted <= spatial_id && spatial_id < layers.current && !passed;
        if up || down || fewer {
            if can {
                layers.switch(picture, spatial_id);
            } else if temporal_id == 0 {
                // In others the layer below may be missing for want of its temporal layer.
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
        // What is wanted of temporal layers does not change within a picture either.
        let goes_on = below.is_some()
            && frames
                .by_id(frame.id - 1)
                .is_some_and(|below| below.accepted);
        let fits = goes_on
            || match entry {
                Entry::Keyframe | Entry::Below => true,
                Entry::Above => temporal_id == 0,
                Entry::Wanted => match wanted.cmp(&current) {
                    Ordering::Less => temporal_id == 0,
                    Ordering::Equal => temporal_id <= filter.target().temporal(),
                    Ordering::Greater => true,
                },
            };
        if !(passes && can && fits && self.is_decodable(frame, frames, false)) {
            return None;
        }
        let top = if inter_picture {
            current
        } else {
            wanted.max(current)
        };
        Some(Note {
            marks_end: (spatial_id == top || overtaken) && !passed,
            ..Note::default()
        })
    }

    fn refused(&mut self, id: i64) {
        self.layers
            .set_base(self.descriptor.spatial_id(), Base { id, sent: false });
    }
}

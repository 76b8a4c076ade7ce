//! AV1, and any other codec with a dependency descriptor (media-plane spec §3.6).

use super::VideoFacts;
use super::filter::{Entry, QualityFilter};
use super::frames::{Frames, Note, ticks};
use super::numbered::{Gate, Newcomer, Unit};
use super::output::Output;
use crate::time::Time;
use crate::wire::dependency::{
    DependencyDescriptor, Dti, FrameDependencies, MAX_TEMPLATES, TemplateStructure,
};

/// Template ids are modulo this and one more.
const TEMPLATE_MASK: u8 = MAX_TEMPLATES as u8 - 1;

/// The packet for [`super::numbered`].
pub(super) fn unit(descriptor: &DependencyDescriptor) -> Unit {
    Unit {
        id: u32::from(descriptor.frame_number()),
        bits: 16,
        temporal_id: descriptor
            .dependencies()
            .map_or(0, |frame| frame.temporal_id),
        tl0picidx: None,
        start: descriptor.is_start(),
        end: descriptor.is_end(),
        keyframe: descriptor.is_keyframe(),
    }
}

/// Which decode target of the current encoding is sent.
#[derive(Default, Debug)]
pub(super) struct DecodeTarget {
    current: u8,
    /// The frame from which it is, and which one was before: by that, late frames are judged.
    since: Option<i64>,
    before: u8,
    /// Offset and number of templates of the latest structures sent, as the source wrote them, newest first.
    structures: [(u8, u8); 2],
    template_delta: u8,
    /// Timestamp of the latest picture of which something was sent, and whether its last layer was: nothing can be
    /// added to it then.
    picture: Option<(u32, bool)>,
}

impl DecodeTarget {
    pub(super) fn current(&self) -> u8 {
        self.current
    }

    /// A frame of the picture with this timestamp is sent; `ends`: none follows it.
    fn sent(&mut self, timestamp: u32, ends: bool) {
        let is_late = |(newest, _)| ticks(timestamp, newest) < 0;
        if !self.picture.is_some_and(is_late) {
            self.picture = Some((timestamp, ends));
        }
    }

    /// From frame `id` on, `target` is sent.
    fn switch(&mut self, id: i64, target: u8) {
        (self.before, self.since) = (self.current, Some(id));
        self.current = target;
    }

    /// The decode target that is or was sent at frame `id`.
    fn at(&self, id: i64) -> u8 {
        match self.since {
            Some(since) if id < since => self.before,
            _ => self.current,
        }
    }

    fn has_begun(&self, timestamp: u32) -> bool {
        self.picture.is_some_and(|(newest, _)| newest == timestamp)
    }

    fn has_ended(&self, timestamp: u32) -> bool {
        self.picture == Some((timestamp, true))
    }

    /// Template ids of a keyframe's structure go on from those sent before: by themselves if the source
    /// counts on or repeats its structure.
    fn number_templates(
        &mut self,
        structure: &TemplateStructure,
        was_current: bool,
        output: &Output,
    ) -> u8 {
        let (offset, count) = self.structures[0];
        let this = shape(structure);
        let repeats = this == (offset, count);
        let goes_on = repeats || this.0 == (offset + count) & TEMPLATE_MASK;
        if let Some(next) = output.next_template
            && !(was_current && goes_on)
        {
            self.template_delta = next.wrapping_sub(structure.offset()) & TEMPLATE_MASK;
        }
        if !repeats {
            self.structures = [this, (offset, count)];
        }
        (this.0 + this.1 + self.template_delta) & TEMPLATE_MASK
    }
}

/// By what structures that follow each other differ: offset and number of templates.
fn shape(structure: &TemplateStructure) -> (u8, u8) {
    (structure.offset(), structure.template_count())
}

/// The best active decode target up to the one that is wanted.
fn best(wanted: u8, active: u32) -> u8 {
    let up_to = u32::MAX >> 31u32.saturating_sub(u32::from(wanted));
    match active & up_to {
        0 => active.trailing_zeros().min(u32::from(wanted)) as u8,
        some => some.ilog2() as u8,
    }
}

/// Decides by decode targets.
pub(super) struct TargetGate<'a> {
    pub descriptor: &'a DependencyDescriptor,
    pub target: &'a mut DecodeTarget,
}

impl TargetGate<'_> {
    /// The decode target that is wanted of this encoding: the best there is unless the encoding itself is
    /// wanted.
    fn wanted(&self, encoding: u8, structure: &TemplateStructure, filter: &QualityFilter) -> u8 {
        let last = structure.decode_targets() - 1;
        let target = filter.target();
        let wanted = if target.encoding() == Some(encoding) {
            target.decode_target().min(last)
        } else {
            last
        };
        best(wanted, self.descriptor.active_targets())
    }

    /// Whether every frame that this one refers to was sent.
    fn has_references(frame: &FrameDependencies, id: i64, frames: &Frames) -> bool {
        frame.references().iter().all(|distance| {
            let reference = frames.by_id(id - i64::from(*distance));
            reference.is_some_and(|reference| reference.accepted)
        })
    }

    /// Whether a frame that this one refers to is known not to have been sent.
    fn lacks_reference(frame: &FrameDependencies, id: i64, frames: &Frames) -> bool {
        frame.references().iter().any(|distance| {
            let reference = frames.by_id(id - i64::from(*distance));
            reference.is_some_and(|reference| !reference.accepted)
        })
    }

    /// Goes to another decode target if this frame allows it, or sees to it that one does.
    fn switch(
        &mut self,
        wanted: u8,
        id: i64,
        frame: &FrameDependencies,
        is_complete: bool,
        structure: &TemplateStructure,
        filter: &mut QualityFilter,
    ) -> bool {
        let current = self.target.current;
        if wanted == current {
            return false;
        }
        if frame.dti(wanted) == Dti::Switch && is_complete {
            self.target.switch(id, wanted);
            return true;
        }
        if !structure.has_switch(current, wanted) {
            filter.want_keyframe();
        }
        false
    }
}

impl Gate for TargetGate<'_> {
    fn admit(
        &mut self,
        now: Time,
        facts: &VideoFacts,
        newcomer: Newcomer,
        frames: &Frames,
        filter: &mut QualityFilter,
        output: &Output,
    ) -> Option<Note> {
        let descriptor = self.descriptor;
        let encoding = facts.encoding;
        let was_current = filter.current() == Some(encoding);
        let known = descriptor.dependencies().zip(descriptor.structure());
        let Some((frame, structure)) = known else {
            if filter.enter(now, encoding, false).is_some() {
                filter.want_keyframe();
            }
            return None;
        };
        let wanted = self.wanted(encoding, structure, filter);
        // Where spatial layers do not refer to each other, each has a keyframe of its own.
        let ended = was_current && self.target.has_ended(facts.timestamp);
        let begins = newcomer.begins && frame.dti(wanted) != Dti::NotPresent && !ended;
        let entry = filter.enter(now, encoding, begins)?;
        let mut note = Note::default();
        let mut switched = false;
        let id = newcomer.id;
        // What others have followed changes nothing of what comes next.
        let later = frames.get(newcomer.at);
        if later.is_none() && self.target.since.is_some_and(|since| id < since) {
            // The sender began to count anew.
            self.target.since = None;
        }
        if entry == Entry::Keyframe {
            switched = !was_current || self.target.current != wanted;
            self.target.switch(id, wanted);
            if !was_current {
                // Of another clock.
                self.target.picture = None;
            }
        } else {
            // A structure that was not sent came with a keyframe that was refused or belonged to others.
            if !self.target.structures.contains(&shape(structure)) {
                filter.want_keyframe();
                return None;
            }
            let complete =
                Self::has_references(frame, id, frames) && !self.target.has_ended(facts.timestamp);
            if entry == Entry::Wanted && later.is_none() {
                switched = self.switch(wanted, id, frame, complete, structure, filter);
            }
            // On the way down, what nothing refers to is left out, but not of a picture that was begun: it has to end.
            let least = entry == Entry::Above && !self.target.has_begun(facts.timestamp);
            let dti = frame.dti(self.target.at(id));
            let needed = match dti {
                Dti::NotPresent => false,
                Dti::Discardable => !least,
                Dti::Switch | Dti::Required => !least || frame.temporal_id == 0,
            };
            if !needed {
                return None;
            }
            if !complete && Self::lacks_reference(frame, id, frames) {
                if dti != Dti::Discardable {
                    filter.want_keyframe();
                }
                return None;
            }
        }
        if descriptor.is_keyframe() {
            note.next_template = Some(self.target.number_templates(structure, was_current, output));
        }
        note.template_delta = self.target.template_delta;
        // Where each layer has a keyframe of its own, that of the layer which is wanted is yet to come.
        let goes_on = descriptor.is_keyframe() && frame.spatial_id < structure.layers(wanted).0;
        let current = self.target.at(id);
        note.marks_end = frame.spatial_id == structure.layers(current).0 && !goes_on;
        self.target.sent(facts.timestamp, note.marks_end);
        if switched || descriptor.tells_active_targets() {
            let active = structure.subsets(current);
            let implied = descriptor.is_keyframe() && active == structure.all_targets();
            note.active_targets = Some(active).filter(|_| !implied);
        }
        Some(note)
    }

    fn refused(&mut self, _: i64) {}
}

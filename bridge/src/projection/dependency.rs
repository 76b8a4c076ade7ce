//! AV1, and any other codec with a dependency descriptor (media-plane spec §3.6).

use super::VideoFacts;
use super::filter::{Entry, QualityFilter};
use super::frames::{Frames, Note};
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
    /// Offset and number of templates of the latest structure sent, as the source wrote them.
    structure: (u8, u8),
    template_delta: u8,
    /// Timestamp of the latest picture whose last layer was sent: nothing can be added to it.
    ended: Option<u32>,
}

impl DecodeTarget {
    pub(super) fn current(&self) -> u8 {
        self.current
    }

    /// Template ids of a keyframe's structure go on from those sent before: by themselves if the source
    /// counts on or repeats its structure.
    fn number_templates(
        &mut self,
        structure: &TemplateStructure,
        was_current: bool,
        output: &Output,
    ) -> u8 {
        let (offset, count) = self.structure;
        let this = (structure.offset(), structure.template_count());
        let goes_on = this == self.structure || this.0 == (offset + count) & TEMPLATE_MASK;
        if let Some(next) = output.next_template
            && !(was_current && goes_on)
        {
            self.template_delta = next.wrapping_sub(structure.offset()) & TEMPLATE_MASK;
        }
        self.structure = this;
        (this.0 + this.1 + self.template_delta) & TEMPLATE_MASK
    }
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
            self.target.current = wanted;
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
        let begins = newcomer.begins && frame.dti(wanted) != Dti::NotPresent;
        let entry = filter.enter(now, encoding, begins)?;
        let mut note = Note::default();
        let mut switched = false;
        if entry == Entry::Keyframe {
            switched = !was_current || self.target.current != wanted;
            self.target.current = wanted;
        } else {
            let complete = Self::has_references(frame, newcomer.id, frames)
                && self.target.ended != Some(facts.timestamp);
            if entry == Entry::Wanted {
                switched = self.switch(wanted, frame, complete, structure, filter);
            }
            let needed = match frame.dti(self.target.current) {
                Dti::NotPresent => false,
                Dti::Discardable => entry != Entry::Above,
                Dti::Switch | Dti::Required => true,
            };
            if !needed {
                return None;
            }
            if !complete && Self::lacks_reference(frame, newcomer.id, frames) {
                if frame.dti(self.target.current) != Dti::Discardable {
                    filter.want_keyframe();
                }
                return None;
            }
        }
        let current = self.target.current;
        if descriptor.is_keyframe() {
            note.next_template = Some(self.target.number_templates(structure, was_current, output));
        }
        note.template_delta = self.target.template_delta;
        note.marks_end = frame.spatial_id == structure.layers(current).0;
        if note.marks_end {
            self.target.ended = Some(facts.timestamp);
        }
        if switched || descriptor.tells_active_targets() {
            let active = structure.subsets(current);
            let implied = descriptor.is_keyframe() && active == structure.all_targets();
            note.active_targets = Some(active).filter(|_| !implied);
        }
        Some(note)
    }

    fn refused(&mut self, _: i64) {}
}

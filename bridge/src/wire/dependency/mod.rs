//! Dependency descriptor header extension (AV1 RTP specification, appendix A).
//!
//! It tells which frame a packet belongs to, which frames that one refers to, and for whom it is needed,
//! outside of the payload: that is enough to forward layers of any codec, encrypted end to end or not.
//!
//! Most frames name a template of a [`TemplateStructure`] that came with a keyframe, so reading has state:
//! a [`DependencyParser`] per SSRC. [`DependencyDescriptor::rewrite`] writes the element anew from the one
//! that was read, with other numbers.

mod structure;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use structure::TemplateStructure;
use structure::{References, dti_of, present, read_dtis};

use super::bits::{BitReader, BitWriter};
use crate::limits::DEPENDENCY_STRUCTURES;

/// Templates at most; ids are modulo this.
pub const MAX_TEMPLATES: usize = 64;
/// Decode targets at most.
pub const MAX_DECODE_TARGETS: usize = 32;
/// Spatial layers at most (T37).
pub const MAX_SPATIAL_LAYERS: usize = 8;
/// Temporal layers at most (T37).
pub const MAX_TEMPORAL_LAYERS: usize = 8;
/// Longest element that [`DependencyDescriptor::rewrite`] writes: what a header extension can carry.
pub const MAX_ELEMENT: usize = 255;

/// Bytes that every descriptor has.
const MANDATORY: usize = 3;
/// Bits of a template id, also of the offset in a structure.
const TEMPLATE_BITS: u32 = 6;
/// First bit after the flags of the extended part: where a structure begins.
const AFTER_FLAGS: usize = 8 * MANDATORY + 5;

/// Decode target indication: what a frame is to a decode target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dti {
    /// Not part of it.
    NotPresent,
    /// Part of it, and no other frame of it refers to this one.
    Discardable,
    /// One can begin with it.
    Switch,
    /// Part of it.
    Required,
}

/// What a frame is, as far as the structure is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameDependencies {
    /// Spatial layer.
    pub spatial_id: u8,
    /// Temporal layer.
    pub temporal_id: u8,
    dtis: u64,
    references: References,
}

impl FrameDependencies {
    /// What the frame is to a decode target.
    pub fn dti(&self, target: u8) -> Dti {
        if usize::from(target) < MAX_DECODE_TARGETS {
            dti_of(self.dtis, target)
        } else {
            Dti::NotPresent
        }
    }

    /// Decode targets that the frame is part of, one bit each.
    pub fn targets(&self) -> u32 {
        present(self.dtis)
    }

    /// How many frame numbers before this one the frames are that it refers to.
    pub fn references(&self) -> &[u16] {
        self.references.as_slice()
    }
}

/// New numbers for [`DependencyDescriptor::rewrite`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DependencyRewrite {
    /// Frame number.
    pub frame_number: u16,
    /// What is added to template ids, modulo 64.
    pub template_delta: u8,
    /// Active decode targets to be told, one bit each; `None` tells nothing new.
    pub active_targets: Option<u32>,
}

/// What one packet says about its frame.
#[derive(Clone, Debug)]
pub struct DependencyDescriptor {
    start: bool,
    end: bool,
    template_id: u8,
    frame_number: u16,
    keyframe: bool,
    tells_active: bool,
    active_targets: u32,
    /// Ends of the structure, of the active decode targets, and of everything; bits from the start.
    structure_end: u16,
    active_end: u16,
    custom_end: u16,
    dependencies: Option<FrameDependencies>,
    structure: Option<Arc<TemplateStructure>>,
}

impl DependencyDescriptor {
    /// Whether the packet is the first of its frame.
    pub fn is_start(&self) -> bool {
        self.start
    }

    /// Whether the packet is the last of its frame.
    pub fn is_end(&self) -> bool {
        self.end
    }

    /// Number of the frame.
    pub fn frame_number(&self) -> u16 {
        self.frame_number
    }

    /// Whether the packet carries a structure, which only (first packets of) keyframes do.
    pub fn is_keyframe(&self) -> bool {
        self.keyframe
    }

    /// Whether the packet itself tells which decode targets are active.
    pub fn tells_active_targets(&self) -> bool {
        self.tells_active
    }

    /// Active decode targets, one bit each, as told last.
    pub fn active_targets(&self) -> u32 {
        self.active_targets
    }

    /// What the frame is; `None` if its structure has not come or does not know it.
    pub fn dependencies(&self) -> Option<&FrameDependencies> {
        self.dependencies.as_ref()
    }

    /// The structure that the frame refers to.
    pub fn structure(&self) -> Option<&Arc<TemplateStructure>> {
        self.structure.as_ref()
    }

    /// Writes the element with other numbers to `out`; its length. `original` must be what was parsed.
    /// `None` if there is no room, or if active decode targets are to be told without a structure.
    pub fn rewrite(
        &self,
        original: &[u8],
        numbers: &DependencyRewrite,
        out: &mut [u8; MAX_ELEMENT],
    ) -> Option<usize> {
        let modulo = MAX_TEMPLATES as u8 - 1;
        let template_id = self.template_id.wrapping_add(numbers.template_delta) & modulo;
        let [high, low] = numbers.frame_number.to_be_bytes();
        let first = u8::from(self.start) << 7 | u8::from(self.end) << 6 | template_id;
        let offset = self
            .structure
            .as_ref()
            .filter(|_| self.keyframe)
            .map(|structure| structure.offset().wrapping_add(numbers.template_delta) & modulo);
        if offset.is_none() && numbers.active_targets.is_none() {
            let out = out.get_mut(..original.len())?;
            out.copy_from_slice(original);
            *out.first_chunk_mut::<MANDATORY>()? = [first, high, low];
            return Some(original.len());
        }
        let targets = u32::from(self.structure.as_ref()?.decode_targets());
        let mut writer = BitWriter::new(out);
        for byte in [first, high, low] {
            writer.write(u32::from(byte), 8)?;
        }
        let active = numbers.active_targets;
        let flags = original.get(MANDATORY).map_or(0, |byte| byte >> 3);
        let tells_active = active.is_some() || self.tells_active;
        let flags = u32::from(flags) & !flag::ACTIVE | if tells_active { flag::ACTIVE } else { 0 };
        writer.write(flags, 5)?;
        if let Some(offset) = offset {
            writer.write(u32::from(offset), TEMPLATE_BITS)?;
            let rest = AFTER_FLAGS + TEMPLATE_BITS as usize;
            writer.copy(original, rest, usize::from(self.structure_end))?;
        }
        if tells_active {
            writer.write(active.unwrap_or(self.active_targets), targets)?;
        }
        writer.copy(
            original,
            usize::from(self.active_end),
            usize::from(self.custom_end),
        )?;
        writer.finish()
    }
}

/// The five flags of the extended part, as a number.
mod flag {
    pub const STRUCTURE: u32 = 0x10;
    pub const ACTIVE: u32 = 0x08;
    pub const CUSTOM_DTIS: u32 = 0x04;
    pub const CUSTOM_REFERENCES: u32 = 0x02;
    pub const CUSTOM_CHAINS: u32 = 0x01;
}

/// A structure and since when it holds.
#[derive(Clone, Debug)]
struct Known {
    /// Extended sequence number of the packet that brought it.
    index: u64,
    structure: Arc<TemplateStructure>,
    /// Active decode targets as told last.
    active_targets: u32,
    active_index: u64,
}

/// Reads the descriptors of one SSRC.
#[derive(Clone, Default, Debug)]
pub struct DependencyParser {
    /// The latest structures, in order of sequence numbers.
    known: [Option<Known>; DEPENDENCY_STRUCTURES],
}

impl DependencyParser {
    /// Nothing known.
    pub fn new() -> DependencyParser {
        DependencyParser::default()
    }

    /// Reads the element `data` of the packet with this extended sequence number. `None` if it is cut
    /// short or contradicts itself. A descriptor whose structure has not come is read as far as possible.
    pub fn parse(&mut self, index: u64, data: &[u8]) -> Option<DependencyDescriptor> {
        let &[first, high, low] = data.first_chunk()?;
        let mut descriptor = DependencyDescriptor {
            start: first & 0x80 != 0,
            end: first & 0x40 != 0,
            template_id: first & 0x3f,
            frame_number: u16::from_be_bytes([high, low]),
            keyframe: false,
            tells_active: false,
            active_targets: 0,
            structure_end: (8 * MANDATORY) as u16,
            active_end: (8 * MANDATORY) as u16,
            custom_end: (8 * MANDATORY) as u16,
            dependencies: None,
            structure: None,
        };
        let mut bits = BitReader::new(data);
        bits.read(8 * MANDATORY as u32)?;
        let extended = data.len() > MANDATORY;
        let flags = if extended { bits.read(5)? } else { 0 };
        let brought = if flags & flag::STRUCTURE != 0 {
            descriptor.keyframe = true;
            Some(Arc::new(TemplateStructure::parse(&mut bits)?))
        } else {
            None
        };
        descriptor.structure_end = bits.position() as u16;
        let (structure, known_active) = match (&brought, self.at(index)) {
            (Some(structure), _) => (Arc::clone(structure), structure.all_targets()),
            (None, Some(known)) => (Arc::clone(&known.structure), known.active_targets),
            (None, None) => return Some(descriptor),
        };
        descriptor.tells_active = flags & flag::ACTIVE != 0;
        descriptor.active_targets = if descriptor.tells_active {
            bits.read(u32::from(structure.decode_targets()))?
        } else {
            known_active
        };
        descriptor.active_end = bits.position() as u16;
        if let Some(template) = structure.template(descriptor.template_id) {
            descriptor.dependencies = Some(FrameDependencies {
                spatial_id: template.spatial_id,
                temporal_id: template.temporal_id,
                dtis: if flags & flag::CUSTOM_DTIS != 0 {
                    read_dtis(&mut bits, structure.decode_targets())?
                } else {
                    template.dtis
                },
                references: if flags & flag::CUSTOM_REFERENCES != 0 {
                    custom_references(&mut bits)?
                } else {
                    template.references
                },
            });
            if flags & flag::CUSTOM_CHAINS != 0 {
                for _ in 0..structure.chains {
                    bits.read(8)?;
                }
            }
        }
        descriptor.custom_end = bits.position() as u16;
        // Nothing is remembered of an element that turns out to be malformed.
        if brought.is_some() {
            self.learn(index, Arc::clone(&structure));
        }
        if descriptor.tells_active
            && let Some(known) = self.at(index)
            && index >= known.active_index
        {
            known.active_targets = descriptor.active_targets;
            known.active_index = index;
        }
        descriptor.structure = Some(structure);
        Some(descriptor)
    }

    /// The newest structure that is not newer than the packet.
    fn at(&mut self, index: u64) -> Option<&mut Known> {
        let known = self.known.iter_mut().flatten();
        known
            .filter(|known| known.index <= index)
            .max_by_key(|known| known.index)
    }

    fn learn(&mut self, index: u64, structure: Arc<TemplateStructure>) {
        let all = structure.all_targets();
        // A repetition says only that all targets are active again; others keep their places.
        if let Some(known) = self.at(index)
            && known.structure == structure
        {
            if index >= known.active_index {
                known.active_targets = all;
                known.active_index = index;
            }
            return;
        }
        let equal = self
            .known
            .iter()
            .flatten()
            .find(|known| known.structure == structure);
        let structure = match equal {
            Some(known) => Arc::clone(&known.structure),
            None => structure,
        };
        let known = Known {
            index,
            structure,
            active_targets: all,
            active_index: index,
        };
        // Replaces a repetition, an empty place, or the oldest, in this order.
        let place = self.known.iter_mut().min_by_key(|place| match place {
            Some(known) if known.index == index => 0,
            None => 1,
            Some(known) => known.index.saturating_add(2),
        });
        if let Some(place) = place {
            *place = Some(known);
        }
    }
}

fn custom_references(bits: &mut BitReader<'_>) -> Option<References> {
    let mut references = References::default();
    loop {
        let size = bits.read(2)?;
        if size == 0 {
            return Some(references);
        }
        references.push(bits.read(4 * size)? as u16 + 1)?;
    }
}

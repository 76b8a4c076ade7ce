//! Template dependency structure (AV1 RTP specification §A.8.3): what the frames of a stream can be.

use super::{Dti, MAX_DECODE_TARGETS, MAX_SPATIAL_LAYERS, MAX_TEMPLATES, MAX_TEMPORAL_LAYERS};
use crate::limits::MAX_FRAME_REFERENCES;
use crate::wire::bits::BitReader;

/// A kind of frame.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Template {
    pub spatial_id: u8,
    pub temporal_id: u8,
    /// Two bits per decode target.
    pub dtis: u64,
    pub references: References,
}

/// How many frames before this one the frames are that it refers to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct References {
    distances: [u16; MAX_FRAME_REFERENCES],
    count: u8,
}

impl References {
    /// `None` if there are too many.
    pub fn push(&mut self, distance: u16) -> Option<()> {
        *self.distances.get_mut(usize::from(self.count))? = distance;
        self.count += 1;
        Some(())
    }

    pub fn as_slice(&self) -> &[u16] {
        self.distances
            .get(..usize::from(self.count))
            .unwrap_or_default()
    }
}

/// The indication for `target` in a field of two bits per decode target.
pub(super) fn dti_of(dtis: u64, target: u8) -> Dti {
    match dtis >> (2 * u32::from(target) % u64::BITS) & 3 {
        0 => Dti::NotPresent,
        1 => Dti::Discardable,
        2 => Dti::Switch,
        _ => Dti::Required,
    }
}

/// One bit per decode target in which a frame with these indications is.
pub(super) fn present(dtis: u64) -> u32 {
    (0..MAX_DECODE_TARGETS as u8)
        .filter(|target| dti_of(dtis, *target) != Dti::NotPresent)
        .fold(0, |mask, target| mask | 1 << target)
}

/// Two bits for each of `targets` decode targets.
pub(super) fn read_dtis(bits: &mut BitReader<'_>, targets: u8) -> Option<u64> {
    let mut dtis = 0;
    for target in 0..targets {
        dtis |= u64::from(bits.read(2)?) << (2 * target);
    }
    Some(dtis)
}

/// The structure that a keyframe carries and later frames refer to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TemplateStructure {
    offset: u8,
    decode_targets: u8,
    template_count: u8,
    templates: [Template; MAX_TEMPLATES],
    pub(super) chains: u8,
    /// Spatial and temporal id of each decode target.
    target_layers: [(u8, u8); MAX_DECODE_TARGETS],
    /// For each decode target: those whose frames are all among its own.
    subsets: [u32; MAX_DECODE_TARGETS],
    sizes: Option<[(u16, u16); MAX_SPATIAL_LAYERS]>,
}

impl TemplateStructure {
    /// `None` if it is cut short or beyond what the format allows (T37).
    pub(super) fn parse(bits: &mut BitReader<'_>) -> Option<TemplateStructure> {
        let mut structure = TemplateStructure {
            offset: bits.read(6)? as u8,
            decode_targets: bits.read(5)? as u8 + 1,
            template_count: 0,
            templates: [Template::default(); MAX_TEMPLATES],
            chains: 0,
            target_layers: [(0, 0); MAX_DECODE_TARGETS],
            subsets: [0; MAX_DECODE_TARGETS],
            sizes: None,
        };
        let spatial_layers = structure.read_layers(bits)?;
        for index in 0..usize::from(structure.template_count) {
            let dtis = read_dtis(bits, structure.decode_targets)?;
            structure.templates.get_mut(index)?.dtis = dtis;
        }
        for index in 0..usize::from(structure.template_count) {
            let references = &mut structure.templates.get_mut(index)?.references;
            while bits.flag()? {
                references.push(bits.read(4)? as u16 + 1)?;
            }
        }
        structure.read_chains(bits)?;
        structure.derive_targets();
        if bits.flag()? {
            let mut sizes = [(0, 0); MAX_SPATIAL_LAYERS];
            for size in sizes.iter_mut().take(spatial_layers) {
                let side = |value: u32| (value as u16).saturating_add(1);
                *size = (side(bits.read(16)?), side(bits.read(16)?));
            }
            structure.sizes = Some(sizes);
        }
        Some(structure)
    }

    /// Reads the layers of the templates; the number of spatial layers.
    fn read_layers(&mut self, bits: &mut BitReader<'_>) -> Option<usize> {
        const NEXT_TEMPORAL: u32 = 1;
        const NEXT_SPATIAL: u32 = 2;
        const END: u32 = 3;
        let (mut spatial_id, mut temporal_id) = (0u8, 0u8);
        loop {
            let template = self.templates.get_mut(usize::from(self.template_count))?;
            (template.spatial_id, template.temporal_id) = (spatial_id, temporal_id);
            self.template_count += 1;
            match bits.read(2)? {
                NEXT_TEMPORAL => temporal_id += 1,
                NEXT_SPATIAL => (spatial_id, temporal_id) = (spatial_id + 1, 0),
                END => return Some(usize::from(spatial_id) + 1),
                _ => {}
            }
            let exists = usize::from(spatial_id) < MAX_SPATIAL_LAYERS
                && usize::from(temporal_id) < MAX_TEMPORAL_LAYERS;
            if !exists {
                return None;
            }
        }
    }

    /// Chains tell a receiver whether it can go on; for a forwarder that knows what it sent, references
    /// tell more. So their length is all that is needed.
    fn read_chains(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        let targets = u32::from(self.decode_targets);
        let chains = bits.non_symmetric(targets + 1)?;
        if chains == 0 {
            return Some(());
        }
        self.chains = chains as u8;
        for _ in 0..targets {
            bits.non_symmetric(chains)?;
        }
        for _ in 0..u32::from(self.template_count) * chains {
            bits.read(4)?;
        }
        Some(())
    }

    fn derive_targets(&mut self) {
        for target in 0..self.decode_targets {
            let mut layers = (0, 0);
            let mut not_subsets = 0;
            for template in self.templates() {
                if dti_of(template.dtis, target) == Dti::NotPresent {
                    not_subsets |= present(template.dtis);
                } else {
                    layers.0 = layers.0.max(template.spatial_id);
                    layers.1 = layers.1.max(template.temporal_id);
                }
            }
            let subsets = self.all_targets() & !not_subsets;
            if let Some(place) = self.target_layers.get_mut(usize::from(target)) {
                *place = layers;
            }
            if let Some(place) = self.subsets.get_mut(usize::from(target)) {
                *place = subsets;
            }
        }
    }

    fn templates(&self) -> &[Template] {
        self.templates
            .get(..usize::from(self.template_count))
            .unwrap_or_default()
    }

    pub(super) fn template(&self, id: u8) -> Option<&Template> {
        let index = (id + MAX_TEMPLATES as u8 - self.offset) % MAX_TEMPLATES as u8;
        self.templates().get(usize::from(index))
    }

    /// Id of the first template.
    pub fn offset(&self) -> u8 {
        self.offset
    }

    /// Number of templates, 1–64.
    pub fn template_count(&self) -> u8 {
        self.template_count
    }

    /// Number of decode targets, 1–32.
    pub fn decode_targets(&self) -> u8 {
        self.decode_targets
    }

    /// One bit per decode target.
    pub fn all_targets(&self) -> u32 {
        u32::MAX >> (MAX_DECODE_TARGETS as u32 - u32::from(self.decode_targets))
    }

    /// Decode targets that can be served by the frames of `target`, itself included; one bit each.
    pub fn subsets(&self, target: u8) -> u32 {
        self.subsets
            .get(usize::from(target))
            .copied()
            .unwrap_or_default()
    }

    /// Highest spatial and temporal id of a decode target.
    pub fn layers(&self, target: u8) -> (u8, u8) {
        self.target_layers
            .get(usize::from(target))
            .copied()
            .unwrap_or_default()
    }

    /// Width and height of the pictures of a spatial layer, if told.
    pub fn size(&self, spatial_id: u8) -> Option<(u16, u16)> {
        self.sizes?.get(usize::from(spatial_id)).copied()
    }

    fn is_inter_picture(template: &Template) -> bool {
        let below = u16::from(template.spatial_id);
        template
            .references
            .as_slice()
            .iter()
            .any(|distance| *distance > below)
    }

    /// Whether someone who gets `from` can come to `to` without a keyframe: some kind of frame that is not
    /// one is in the former and a switch point of the latter.
    pub fn has_switch(&self, from: u8, to: u8) -> bool {
        self.templates().iter().any(|template| {
            Self::is_inter_picture(template)
                && dti_of(template.dtis, from) != Dti::NotPresent
                && dti_of(template.dtis, to) == Dti::Switch
        })
    }

    /// Kinds of frames that refer to earlier pictures in the spatial layer of `target`, up to its temporal
    /// layer: how its frame rate compares to those of others.
    pub fn frame_weight(&self, target: u8) -> usize {
        let (spatial_id, temporal_id) = self.layers(target);
        let counted = self.templates().iter().filter(|template| {
            template.spatial_id == spatial_id
                && template.temporal_id <= temporal_id
                && Self::is_inter_picture(template)
        });
        counted.count()
    }
}

//! VP9 RTP payload descriptor (RFC 9628 §4.2), with the scalability structure.
//!
//! Read once when a packet arrives, like [`super::vp8`]; [`Vp9Descriptor::rewrite`] puts new identifiers
//! into any copy of the payload. Lengths never change.

/// Bits of the descriptor's bytes (RFC 9628 §4.2).
mod field {
    /// First byte: picture id present.
    pub const I: u8 = 0x80;
    /// First byte: inter-picture predicted.
    pub const P: u8 = 0x40;
    /// First byte: layer indices present.
    pub const L: u8 = 0x20;
    /// First byte: flexible mode.
    pub const F: u8 = 0x10;
    /// First byte: start of a layer frame.
    pub const B: u8 = 0x08;
    /// First byte: end of a layer frame.
    pub const E: u8 = 0x04;
    /// First byte: scalability structure present.
    pub const V: u8 = 0x02;
    /// First byte: no reference for upper spatial layers.
    pub const Z: u8 = 0x01;
    /// First picture id byte: the 15-bit form.
    pub const M: u8 = 0x80;
    /// Layer indices: a switching up point.
    pub const U: u8 = 0x10;
    /// Layer indices: inter-layer predicted.
    pub const D: u8 = 0x01;
    /// Reference index: another one follows.
    pub const N: u8 = 0x01;
    /// Scalability structure: resolutions present.
    pub const Y: u8 = 0x10;
    /// Scalability structure: picture group present.
    pub const G: u8 = 0x08;
}

/// Spatial and temporal layers at most: their ids have three bits.
pub const MAX_LAYERS: usize = 8;
/// References of a picture at most (RFC 9628 §4.2).
pub const MAX_REFERENCES: usize = 3;

/// Scalability structure: what the layers of a stream are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scalability {
    /// Spatial layers, 1–8.
    pub spatial_layers: u8,
    /// Width and height by spatial layer, if told.
    pub sizes: Option<[(u16, u16); MAX_LAYERS]>,
    /// Pictures of a group by temporal layer; all zero without a group.
    pub pictures: [u8; MAX_LAYERS],
}

impl Scalability {
    /// Reads the structure at the start of `bytes` and tells how long it is.
    fn parse(bytes: &[u8]) -> Option<(Scalability, usize)> {
        let first = *bytes.first()?;
        let mut at = 1;
        let spatial_layers = (first >> 5) + 1;
        let sizes = if first & field::Y != 0 {
            let mut sizes = [(0, 0); MAX_LAYERS];
            for size in sizes.iter_mut().take(usize::from(spatial_layers)) {
                *size = (super::be16(bytes, at)?, super::be16(bytes, at + 2)?);
                at += 4;
            }
            Some(sizes)
        } else {
            None
        };
        let mut pictures = [0u8; MAX_LAYERS];
        if first & field::G != 0 {
            let count = *bytes.get(at)?;
            at += 1;
            for _ in 0..count {
                let picture = *bytes.get(at)?;
                // At most 255 pictures.
                pictures[usize::from(picture >> 5)] += 1;
                let references = usize::from(picture >> 2 & 3);
                at += 1 + references;
                bytes.get(at - 1)?;
            }
        }
        let structure = Scalability {
            spatial_layers,
            sizes,
            pictures,
        };
        Some((structure, at))
    }

    /// Number of temporal layers; `None` if there is no picture group.
    pub fn temporal_layers(&self) -> Option<u8> {
        let highest = self.pictures.iter().rposition(|count| *count > 0)?;
        Some(highest as u8 + 1)
    }
}

/// What one VP9 packet says about its layer frame, and where its identifiers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vp9Descriptor {
    flags: u8,
    layers: u8,
    tl0picidx: u8,
    picture_id: u16,
    wide: bool,
    /// Position of TL0PICIDX in the payload; 0 if there is none.
    tl0picidx_at: u8,
    references: [u8; MAX_REFERENCES],
    reference_count: u8,
    len: u16,
    scalability: Option<Scalability>,
}

/// Position of the picture id, if there is one.
const PICTURE_ID_AT: usize = 1;

impl Vp9Descriptor {
    /// Reads the descriptor at the start of an RTP payload (padding removed). `None` if it is cut short,
    /// contradicts itself, or nothing follows it (T36).
    pub fn parse(payload: &[u8]) -> Option<Vp9Descriptor> {
        let flags = *payload.first()?;
        let mut descriptor = Vp9Descriptor {
            flags,
            layers: 0,
            tl0picidx: 0,
            picture_id: 0,
            wide: false,
            tl0picidx_at: 0,
            references: [0; MAX_REFERENCES],
            reference_count: 0,
            len: 0,
            scalability: None,
        };
        let mut at = PICTURE_ID_AT;
        let byte = |at: usize| payload.get(at).copied();
        if flags & field::I != 0 {
            let high = byte(at)?;
            at += 1;
            descriptor.picture_id = u16::from(high & !field::M);
            if high & field::M != 0 {
                descriptor.wide = true;
                descriptor.picture_id = descriptor.picture_id << 8 | u16::from(byte(at)?);
                at += 1;
            }
        }
        if flags & field::L != 0 {
            descriptor.layers = byte(at)?;
            at += 1;
            if flags & field::F == 0 {
                // At most the fifth byte.
                descriptor.tl0picidx_at = at as u8;
                descriptor.tl0picidx = byte(at)?;
                at += 1;
            }
        }
        if flags & field::P != 0 && flags & field::F != 0 {
            loop {
                let reference = byte(at)?;
                at += 1;
                let place = descriptor
                    .references
                    .get_mut(usize::from(descriptor.reference_count))?;
                *place = reference >> 1;
                descriptor.reference_count += 1;
                if reference & field::N == 0 {
                    break;
                }
            }
        }
        if flags & field::V != 0 {
            let (scalability, len) = Scalability::parse(payload.get(at..)?)?;
            descriptor.scalability = Some(scalability);
            at += len;
        }
        payload.get(at)?;
        descriptor.len = u16::try_from(at).ok()?;
        Some(descriptor)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Picture id, 7 or 15 bits as [`Vp9Descriptor::is_wide`] tells.
    pub fn picture_id(&self) -> Option<u16> {
        self.has(field::I).then_some(self.picture_id)
    }

    /// Whether the picture id has 15 bits.
    pub fn is_wide(&self) -> bool {
        self.wide
    }

    /// Running index of temporal layer 0 pictures; not in flexible mode.
    pub fn tl0picidx(&self) -> Option<u8> {
        (self.tl0picidx_at != 0).then_some(self.tl0picidx)
    }

    /// Temporal layer, 0–7; 0 without layer indices.
    pub fn temporal_id(&self) -> u8 {
        self.layers >> 5
    }

    /// Spatial layer, 0–7; 0 without layer indices.
    pub fn spatial_id(&self) -> u8 {
        self.layers >> 1 & 7
    }

    /// Whether temporal layers above this frame's may begin after it (the U bit).
    pub fn is_switching_point(&self) -> bool {
        self.layers & field::U != 0
    }

    /// Whether the frame refers to the spatial layer below it in its picture (the D bit).
    pub fn is_inter_layer(&self) -> bool {
        self.layers & field::D != 0
    }

    /// Whether the frame refers to earlier pictures (the P bit).
    pub fn is_inter_picture(&self) -> bool {
        self.has(field::P)
    }

    /// Whether upper spatial layers refer to this frame (Z is not set).
    pub fn is_layer_reference(&self) -> bool {
        !self.has(field::Z)
    }

    /// Whether the packet is the first of its layer frame.
    pub fn is_start(&self) -> bool {
        self.has(field::B)
    }

    /// Whether the packet is the last of its layer frame.
    pub fn is_end(&self) -> bool {
        self.has(field::E)
    }

    /// Whether the packet belongs to the base layer of a key picture. Each packet of it tells.
    pub fn is_keyframe(&self) -> bool {
        !self.is_inter_picture() && self.spatial_id() == 0 && !self.is_inter_layer()
    }

    /// In flexible mode: how many pictures before this one its references are.
    pub fn references(&self) -> &[u8] {
        self.references
            .get(..usize::from(self.reference_count))
            .unwrap_or_default()
    }

    /// The scalability structure, if the packet carries it.
    pub fn scalability(&self) -> Option<&Scalability> {
        self.scalability.as_ref()
    }

    /// Length of the descriptor in bytes.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Never: a descriptor has at least one byte.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes identifiers over those in `payload`, which must be (a copy of) what was parsed. Fields that
    /// the descriptor lacks are left out; a 7-bit picture id gets the value modulo 128.
    pub fn rewrite(&self, payload: &mut [u8], picture_id: Option<u16>, tl0picidx: Option<u8>) {
        if let Some(id) = picture_id.filter(|_| self.has(field::I)) {
            let [high, low] = id.to_be_bytes();
            if self.wide {
                super::put(payload, PICTURE_ID_AT, [field::M | high, low]);
            } else {
                super::put(payload, PICTURE_ID_AT, [low & !field::M]);
            }
        }
        if let Some(index) = tl0picidx.filter(|_| self.tl0picidx_at != 0) {
            super::put(payload, usize::from(self.tl0picidx_at), [index]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First packet of a key picture as browsers send it with three spatial layers.
    fn key_picture() -> Vec<u8> {
        let mut payload = vec![0x8a | 0x20, 0x81, 0x2c, 0x00, 0x32];
        payload.push(2 << 5 | 0x18);
        for (width, height) in [(320u16, 180u16), (640, 360), (1280, 720)] {
            payload.extend(width.to_be_bytes());
            payload.extend(height.to_be_bytes());
        }
        // Four pictures: T0 T2 T1 T2, each with one reference.
        payload.push(4);
        for temporal in [0u8, 2, 1, 2] {
            payload.extend([temporal << 5 | 0x04, 1]);
        }
        payload.push(0xa5);
        payload
    }

    #[test]
    fn a_key_picture_tells_its_layers_and_sizes() {
        let payload = key_picture();
        let descriptor = Vp9Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.picture_id(), Some(300));
        assert!(descriptor.is_wide() && descriptor.is_start() && !descriptor.is_end());
        assert!(descriptor.is_keyframe() && descriptor.is_layer_reference());
        assert_eq!(descriptor.tl0picidx(), Some(0x32));
        let structure = descriptor.scalability().unwrap();
        assert_eq!(structure.spatial_layers, 3);
        assert_eq!(structure.sizes.unwrap()[2], (1280, 720));
        assert_eq!(structure.pictures[..3], [1, 1, 2]);
        assert_eq!(structure.temporal_layers(), Some(3));
        assert_eq!(descriptor.len(), payload.len() - 1);
    }

    #[test]
    fn flexible_mode_has_references_and_no_tl0picidx() {
        let payload = [0xf0, 0x05, 0x22 | 0x01, 0x03, 0x04, 0xaa];
        let descriptor = Vp9Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.picture_id(), Some(5));
        assert!(!descriptor.is_wide());
        assert_eq!(descriptor.tl0picidx(), None);
        assert_eq!((descriptor.temporal_id(), descriptor.spatial_id()), (1, 1));
        assert!(descriptor.is_inter_layer() && descriptor.is_inter_picture());
        assert_eq!(descriptor.references(), [1, 2]);
        // A fourth reference does not exist.
        assert_eq!(
            Vp9Descriptor::parse(&[0xf0, 5, 0, 3, 3, 3, 3, 2, 0xaa]),
            None
        );
    }

    #[test]
    fn media_plane_case_86_a_group_that_does_not_fit_is_malformed_t36() {
        let mut payload = vec![0x8a | 0x20, 0x81, 0x2c, 0x00, 0x32, field::G, 200];
        payload.extend([0; 10]);
        assert_eq!(Vp9Descriptor::parse(&payload), None);
        payload.extend([0; 190]);
        assert_eq!(Vp9Descriptor::parse(&payload), None, "nothing follows it");
        payload.push(1);
        let descriptor = Vp9Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.scalability().unwrap().pictures[0], 200);
    }

    #[test]
    fn media_plane_case_86_a_base_layer_with_a_layer_below_is_no_keyframe() {
        let descriptor = Vp9Descriptor::parse(&[0xa8, 1, 0x01, 7, 0xaa]).unwrap();
        assert!(descriptor.is_inter_layer() && !descriptor.is_keyframe());
    }

    #[test]
    fn rewriting_touches_only_the_identifiers() {
        let payload = key_picture();
        let descriptor = Vp9Descriptor::parse(&payload).unwrap();
        let mut copy = payload.clone();
        descriptor.rewrite(&mut copy, Some(0x7fff), Some(255));
        assert_eq!(copy[..5], [payload[0], 0xff, 0xff, 0, 255]);
        assert_eq!(copy[5..], payload[5..]);
        for len in 0..5 {
            descriptor.rewrite(&mut payload.clone()[..len], Some(1), Some(1));
        }
    }

    #[test]
    fn every_start_at_every_length_parses_or_not_and_rewrites_to_itself_t36() {
        let mut parsed = 0;
        for start in 0..=u16::MAX {
            let [a, b] = start.to_be_bytes();
            for fill in [0x00, 0x19, 0xff] {
                let full = [
                    a, b, fill, 0x23, fill, 0x3c, fill, 0x01, 0x28, fill, 0, 9, fill,
                ];
                for len in 0..=full.len() {
                    let payload = &full[..len];
                    let Some(descriptor) = Vp9Descriptor::parse(payload) else {
                        continue;
                    };
                    parsed += 1;
                    assert!(descriptor.len() < len);
                    let mut copy = full;
                    let copy = &mut copy[..len];
                    descriptor.rewrite(copy, descriptor.picture_id(), descriptor.tl0picidx());
                    assert_eq!(copy, payload);
                    descriptor.rewrite(copy, Some(0x2b5a), Some(0x77));
                    let again = Vp9Descriptor::parse(copy).unwrap();
                    let mask = if descriptor.is_wide() { 0x7fff } else { 0x7f };
                    assert_eq!(
                        again.picture_id(),
                        descriptor.picture_id().map(|_| 0x2b5a & mask)
                    );
                    assert_eq!(again.tl0picidx(), descriptor.tl0picidx().map(|_| 0x77));
                    assert_eq!(again.layers, descriptor.layers);
                    assert_eq!(again.len(), descriptor.len());
                }
            }
        }
        assert!(parsed > 1 << 18);
    }
}

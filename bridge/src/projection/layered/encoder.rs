//! Senders of layered video as a model: what they encode, and what refers to what.

use super::descriptor::Structure;
use crate::random::Random;

/// How the payload tells layers and frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    Vp9 { flexible: bool, wide: bool },
    Av1,
    H264,
    Opaque,
}

impl Codec {
    pub fn payload_type(self) -> u8 {
        match self {
            Codec::Vp9 { .. } => 101,
            Codec::Av1 => 41,
            Codec::H264 => 107,
            Codec::Opaque => 120,
        }
    }

    /// Whether frames have numbers, so that each is decided once.
    pub fn is_numbered(self) -> bool {
        matches!(self, Codec::Vp9 { .. } | Codec::Av1)
    }

    /// Whether frames name those that they refer to.
    pub fn names_references(self) -> bool {
        matches!(self, Codec::Vp9 { flexible: true, .. } | Codec::Av1)
    }
}

/// When a spatial layer refers to the one below: the L, K and S modes of WebRTC-SVC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prediction {
    Always,
    InKeyPictures,
    Never,
}

/// Layers of one encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    pub spatial: u8,
    pub temporal: u8,
    pub prediction: Prediction,
}

impl Shape {
    /// Spatial and temporal layer of a decode target, or of the best there is.
    pub fn layer_of(self, decode_target: u8) -> (u8, u8) {
        let target = decode_target.min(self.spatial * self.temporal - 1);
        (target / self.temporal, target % self.temporal)
    }

    pub fn pattern(self) -> &'static [u8] {
        match self.temporal {
            1 => &[0],
            2 => &[0, 1],
            _ => &[0, 2, 1, 2],
        }
    }
}

/// A frame as it was encoded.
#[derive(Clone, Debug)]
pub struct Frame {
    pub codec: Codec,
    pub shape: Shape,
    /// Counts the frames of an encoding.
    pub number: u64,
    /// Counts its pictures.
    pub picture: u64,
    pub spatial: u8,
    pub temporal: u8,
    /// Of a key picture.
    pub key: bool,
    /// One can begin with it.
    pub begins: bool,
    /// The frame of its own layer that it refers to: number and picture.
    pub own: Option<(u64, u64)>,
    /// Whether it refers to the frame before it, which is of its picture.
    pub refers_below: bool,
    /// Whether the layer above may refer to it.
    pub is_layer_reference: bool,
    /// Spatial layers that are told.
    pub tells_layers: Option<u8>,
    /// Active decode targets that are told.
    pub tells_active: Option<u32>,
    pub structure: Option<Structure>,
    pub last_of_picture: bool,
    /// Picture id or frame number on the wire.
    pub raw: u16,
    pub tl0picidx: u8,
    pub timestamp: u32,
    /// Index of the first packet.
    pub first: u64,
    pub packets: u64,
    /// How the payload is cut into packets.
    pub cut: u64,
}

impl Frame {
    /// Numbers of the frames that a decoder needs for it.
    pub fn references(&self) -> impl Iterator<Item = u64> {
        let below = self.refers_below.then(|| self.number - 1);
        self.own.map(|(number, _)| number).into_iter().chain(below)
    }

    /// Whether a receiver of these layers, and of no more, needs it.
    pub fn is_part_of(&self, spatial: u8, temporal: u8) -> bool {
        let inside = self.spatial <= spatial && self.temporal <= temporal;
        let layer = match self.shape.prediction {
            Prediction::Always => true,
            Prediction::InKeyPictures => self.key || self.spatial == spatial,
            Prediction::Never => self.spatial == spatial,
        };
        inside && layer
    }
}

/// An encoder: one encoding of a source.
#[derive(Debug)]
pub struct Encoder {
    pub codec: Codec,
    pub shape: Shape,
    pub index: u64,
    pub clock: u32,
    pub enabled: bool,
    /// Spatial layers that are encoded.
    pub active: u8,
    number: u64,
    picture: u64,
    raw: u16,
    tl0picidx: u8,
    /// Position in the pattern of temporal layers since the last key picture.
    pattern: usize,
    structure: Structure,
    /// Latest frame by spatial and temporal layer: number and picture.
    latest: [[Option<(u64, u64)>; 3]; 3],
    key_due: bool,
    /// Pictures that still tell what is active.
    telling: u32,
}

impl Encoder {
    pub fn new(random: &mut Random, codec: Codec, shape: Shape) -> Encoder {
        Encoder {
            codec,
            shape,
            index: random.below(1 << 16),
            clock: random.u32(),
            enabled: true,
            active: shape.spatial,
            number: 0,
            picture: 0,
            raw: random.u32() as u16,
            tl0picidx: random.u32() as u8,
            pattern: 0,
            structure: Structure::new(shape, random.below(64) as u8),
            latest: Default::default(),
            key_due: true,
            telling: 0,
        }
    }

    /// The encoder begins anew: other numbers, and a jump of packets and clock if `jump`.
    pub fn restart(&mut self, random: &mut Random, jump: bool) {
        self.raw = random.u32() as u16;
        self.tl0picidx = random.u32() as u8;
        self.structure = Structure::new(self.shape, 0);
        self.key_due = true;
        if jump {
            self.index += random.below(1 << 15);
            self.clock = random.u32();
        }
    }

    /// From the next key picture, which is due, the stream has these layers.
    pub fn reshape(&mut self, shape: Shape) {
        self.structure = Structure::new(shape, self.structure.next_offset());
        self.shape = shape;
        self.active = shape.spatial;
        self.key_due = true;
    }

    pub fn stop_or_go(&mut self) {
        self.enabled = !self.enabled;
        self.key_due = true;
    }

    /// Encodes this many spatial layers from now on.
    pub fn set_active(&mut self, layers: u8) {
        let layers = layers.clamp(1, self.shape.spatial);
        if layers == self.active {
            return;
        }
        // Layers that refer to none below outside of key pictures begin with one.
        self.key_due |= layers > self.active && self.shape.prediction != Prediction::Always;
        for above in &mut self.latest[usize::from(layers)..] {
            *above = Default::default();
        }
        self.active = layers;
        self.telling = 4;
    }

    /// The decode targets of which all frames are encoded.
    pub fn active_targets(&self) -> u32 {
        (1 << (self.active * self.shape.temporal)) - 1
    }

    fn references_of(&self, random: &mut Random, spatial: u8, temporal: u8) -> Option<(u64, u64)> {
        let latest = &self.latest[usize::from(spatial)];
        // Who names references may also skip layers in between.
        let skips = temporal > 0 && self.codec.names_references() && random.below(4) == 0;
        let layers = if skips { 1 } else { 1 + usize::from(temporal) };
        latest[..layers].iter().flatten().max().copied()
    }

    /// The frames of the next picture, without their packets.
    pub fn capture(&mut self, random: &mut Random, millis: u64, keyframe: bool) -> Vec<Frame> {
        if !self.enabled {
            return Vec::new();
        }
        let key = keyframe || self.key_due;
        if key {
            self.key_due = false;
            self.pattern = 0;
            self.latest = Default::default();
        }
        let pattern = self.shape.pattern();
        let temporal = pattern[self.pattern % pattern.len()];
        self.pattern += 1;
        self.picture += 1;
        if temporal == 0 {
            self.tl0picidx = self.tl0picidx.wrapping_add(1);
        }
        if matches!(self.codec, Codec::Vp9 { .. }) {
            self.raw = self.raw.wrapping_add(1);
        }
        // A layer that was switched on begins with the next picture that others refer to.
        let begun = |encoder: &Encoder, spatial: u8| {
            key || temporal == 0 || encoder.latest[usize::from(spatial)][0].is_some()
        };
        let mut layers = (0..self.active)
            .take_while(|spatial| begun(self, *spatial))
            .count() as u8;
        // Encoders short of bits leave out the highest layer of a picture that nothing refers to.
        if layers > 1
            && temporal > 0
            && temporal + 1 == self.shape.temporal
            && random.below(16) == 0
        {
            layers -= 1;
        }
        let telling = self.telling > 0;
        self.telling = self.telling.saturating_sub(1);
        let mut frames: Vec<Frame> = Vec::new();
        for spatial in 0..layers {
            let own = if key {
                None
            } else {
                self.references_of(random, spatial, temporal)
            };
            let refers = |spatial: u8| {
                spatial > 0
                    && match self.shape.prediction {
                        Prediction::Always => true,
                        Prediction::InKeyPictures => key,
                        Prediction::Never => false,
                    }
            };
            if let Some(below) = frames.last_mut() {
                below.last_of_picture = false;
            }
            self.number += 1;
            if self.codec == Codec::Av1 {
                self.raw = self.raw.wrapping_add(1);
            }
            self.latest[usize::from(spatial)][usize::from(temporal)] =
                Some((self.number, self.picture));
            let begins = key
                && (spatial == 0
                    || self.shape.prediction == Prediction::Never && self.codec == Codec::Av1);
            let least = if key && self.codec == Codec::H264 {
                2
            } else {
                1
            };
            let packets = least + random.below(if key { 6 } else { 3 });
            let all = self.structure.all_targets();
            let active = self.active_targets();
            frames.push(Frame {
                codec: self.codec,
                shape: self.shape,
                number: self.number,
                picture: self.picture,
                spatial,
                temporal,
                key,
                begins,
                own,
                refers_below: refers(spatial),
                is_layer_reference: spatial + 1 < self.active && refers(spatial + 1),
                tells_layers: (spatial == 0 && (key || telling)).then_some(self.active),
                tells_active: (telling || begins && active != all).then_some(active),
                structure: begins.then(|| self.structure.clone()),
                last_of_picture: true,
                raw: self.raw,
                tl0picidx: self.tl0picidx,
                timestamp: self.clock.wrapping_add((millis * 90) as u32),
                first: self.index,
                packets,
                cut: random.below(3),
            });
            self.index += packets;
        }
        frames
    }

    /// Template and structure by which the frame is described.
    pub fn structure(&self) -> &Structure {
        &self.structure
    }
}

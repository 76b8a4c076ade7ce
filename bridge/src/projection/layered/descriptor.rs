//! What the packets of a model sender look like.

use super::encoder::{Codec, Frame, Prediction, Shape};

/// Bits, most significant first.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn push(&mut self, value: u32, bits: u32) {
        self.0
            .extend((0..bits).rev().map(|bit| value >> bit & 1 != 0));
    }

    fn into_bytes(self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            (0..8).fold(0, |byte, at| {
                byte << 1 | u8::from(bits.get(at) == Some(&true))
            })
        };
        self.0.chunks(8).map(byte).collect()
    }
}

const NOT_PRESENT: u32 = 0;
const DISCARDABLE: u32 = 1;
const SWITCH: u32 = 2;
const REQUIRED: u32 = 3;

/// What a frame of this layer is to the decode target (`spatial`, `temporal`).
fn indication(shape: Shape, layer: (u8, u8), key: bool, target: (u8, u8)) -> u32 {
    let part = match shape.prediction {
        Prediction::Always => layer.0 <= target.0,
        Prediction::InKeyPictures => layer.0 == target.0 || key && layer.0 < target.0,
        Prediction::Never => layer.0 == target.0,
    };
    if !part || layer.1 > target.1 {
        NOT_PRESENT
    } else if layer.1 > 0 && layer == target {
        DISCARDABLE
    } else if key || layer.0 == target.0 {
        SWITCH
    } else {
        REQUIRED
    }
}

/// A kind of frame.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Template {
    layer: (u8, u8),
    indications: Vec<u32>,
    distances: Vec<u16>,
}

/// A template dependency structure. Decode target `spatial · temporal layers + temporal`.
#[derive(Clone, Debug)]
pub struct Structure {
    shape: Shape,
    offset: u8,
    templates: Vec<Template>,
}

impl Structure {
    pub fn new(shape: Shape, offset: u8) -> Structure {
        let mut templates = Vec::new();
        for spatial in 0..shape.spatial {
            for temporal in 0..shape.temporal {
                let layer = (spatial, temporal);
                let below = |key: bool| match shape.prediction {
                    Prediction::Always => spatial > 0,
                    Prediction::InKeyPictures => spatial > 0 && key,
                    Prediction::Never => false,
                };
                let mut add = |key: bool, own: Option<u16>| {
                    let below = below(key).then_some(1);
                    templates.push(Template {
                        layer,
                        indications: indications(shape, layer, key),
                        distances: own.into_iter().chain(below).collect(),
                    });
                };
                if temporal == 0 {
                    add(true, None);
                }
                let pictures = shape.pattern().len() as u16 >> temporal;
                add(false, Some(pictures * u16::from(shape.spatial)));
            }
        }
        Structure {
            shape,
            offset,
            templates,
        }
    }

    pub fn next_offset(&self) -> u8 {
        (self.offset + self.templates.len() as u8) % 64
    }

    fn targets(&self) -> u8 {
        self.shape.spatial * self.shape.temporal
    }

    pub fn all_targets(&self) -> u32 {
        (1 << self.targets()) - 1
    }

    fn write(&self, bits: &mut Bits) {
        bits.push(u32::from(self.offset), 6);
        bits.push(u32::from(self.targets()) - 1, 5);
        for (at, template) in self.templates.iter().enumerate() {
            let next = match self.templates.get(at + 1) {
                None => 3,
                Some(next) if next.layer == template.layer => 0,
                Some(next) if next.layer.0 == template.layer.0 => 1,
                Some(_) => 2,
            };
            bits.push(next, 2);
        }
        for template in &self.templates {
            template.indications.iter().for_each(|it| bits.push(*it, 2));
        }
        for template in &self.templates {
            for distance in &template.distances {
                bits.push(1, 1);
                bits.push(u32::from(*distance) - 1, 4);
            }
            bits.push(0, 1);
        }
        // No chains: ns(targets + 1) is 0.
        let width = u32::BITS - (u32::from(self.targets()) + 1).leading_zeros();
        bits.push(0, width - 1);
        // No resolutions.
        bits.push(0, 1);
    }
}

fn indications(shape: Shape, layer: (u8, u8), key: bool) -> Vec<u32> {
    (0..shape.spatial)
        .flat_map(|spatial| (0..shape.temporal).map(move |temporal| (spatial, temporal)))
        .map(|target| indication(shape, layer, key, target))
        .collect()
}

/// The dependency descriptor of a packet; `structure` is that of the stream.
pub fn dependency(frame: &Frame, structure: &Structure, position: u64) -> Vec<u8> {
    let layer = (frame.spatial, frame.temporal);
    let wanted = Template {
        layer,
        indications: indications(frame.shape, layer, frame.key),
        distances: frame
            .references()
            .map(|number| (frame.number - number) as u16)
            .collect(),
    };
    let of_layer = |template: &Template| template.layer == layer;
    let at = structure
        .templates
        .iter()
        .position(|template| *template == wanted)
        .or_else(|| structure.templates.iter().rposition(of_layer))
        .expect("every layer has templates");
    let template = &structure.templates[at];
    let mut bits = Bits::default();
    bits.push(u32::from(position == 0), 1);
    bits.push(u32::from(position + 1 == frame.packets), 1);
    bits.push(u32::from(structure.offset + at as u8) % 64, 6);
    bits.push(u32::from(frame.raw), 16);
    let told = frame.structure.as_ref().filter(|_| position == 0);
    let flags = [
        told.is_some(),
        frame.tells_active.is_some(),
        template.indications != wanted.indications,
        template.distances != wanted.distances,
        false,
    ];
    if flags.contains(&true) {
        flags.iter().for_each(|flag| bits.push(u32::from(*flag), 1));
        if let Some(structure) = told {
            structure.write(&mut bits);
        }
        if let Some(active) = frame.tells_active {
            bits.push(active, u32::from(structure.targets()));
        }
        if flags[2] {
            wanted.indications.iter().for_each(|it| bits.push(*it, 2));
        }
        if flags[3] {
            for distance in &wanted.distances {
                bits.push(2, 2);
                bits.push(u32::from(*distance) - 1, 8);
            }
            bits.push(0, 2);
        }
    }
    bits.into_bytes()
}

/// The VP9 payload of a packet: descriptor and one byte.
fn vp9(frame: &Frame, flexible: bool, wide: bool, position: u64) -> Vec<u8> {
    let (first, last) = (position == 0, position + 1 == frame.packets);
    let layers = frame.tells_layers.filter(|_| first);
    let mut flags = 0x80 | 0x20;
    flags |= u8::from(frame.own.is_some()) << 6;
    flags |= u8::from(flexible) << 4;
    flags |= u8::from(first) << 3;
    flags |= u8::from(last) << 2;
    flags |= u8::from(layers.is_some()) << 1;
    flags |= u8::from(!frame.is_layer_reference);
    let mut payload = vec![flags];
    if wide {
        payload.extend((0x8000 | frame.raw).to_be_bytes());
    } else {
        payload.push(frame.raw as u8 & 0x7f);
    }
    payload.push(frame.temporal << 5 | frame.spatial << 1 | u8::from(frame.refers_below));
    if !flexible {
        payload.push(frame.tl0picidx);
    } else if let Some((_, picture)) = frame.own {
        payload.push(((frame.picture - picture) as u8) << 1);
    }
    if let Some(layers) = layers {
        payload.push((layers - 1) << 5);
    }
    payload.push(0);
    payload
}

/// The H.264 payload of a packet (RFC 6184): parameter sets apart or aggregated, slices whole or in fragments.
fn h264(frame: &Frame, position: u64) -> Vec<u8> {
    const SPS: [u8; 4] = [0x67, 0x42, 0xe0, 0x1f];
    const PPS: [u8; 3] = [0x68, 0xce, 0x3c];
    let slice = if frame.key { 0x65 } else { 0x41 };
    let fragment = |at: u64, of: u64| {
        let header = u8::from(at == 0) << 7 | u8::from(at + 1 == of) << 6 | slice & 0x1f;
        vec![0x7c, header, 0xaa]
    };
    let mut sets = vec![0x78];
    for set in [&SPS[..], &PPS[..]] {
        sets.extend((set.len() as u16).to_be_bytes());
        sets.extend(set);
    }
    let before = match frame.cut {
        _ if !frame.key => 0,
        0 => 2.min(frame.packets - 1),
        _ => 1,
    };
    match (frame.cut, position) {
        (0, 0) if before > 0 => SPS.to_vec(),
        (0, 1) if before > 1 => PPS.to_vec(),
        (_, 0) if before > 0 => sets,
        // Several slices.
        (1, _) => vec![slice, 0x9a],
        // Several fragments of one.
        _ => fragment(position - before, frame.packets - before),
    }
}

/// The part of the packet that the bridge reads: the payload, or the dependency descriptor.
pub fn bytes(frame: &Frame, structure: &Structure, position: u64) -> Vec<u8> {
    match frame.codec {
        Codec::Vp9 { flexible, wide } => vp9(frame, flexible, wide, position),
        Codec::Av1 => dependency(frame, structure, position),
        Codec::H264 => h264(frame, position),
        Codec::Opaque => Vec::new(),
    }
}

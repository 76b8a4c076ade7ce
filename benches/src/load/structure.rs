//! Dependency descriptors as an AV1 encoder with spatial layers × three temporal layers attaches them (AV1 RTP, appendix A).

use super::codec::Picture;

/// Longest descriptor.
pub const MAX: usize = 160;
/// First packet of a frame, in the first byte.
pub const START: u8 = 0x80;
const END: u8 = 0x40;
/// A structure follows, in the fourth byte.
pub const STRUCTURE_BIT: u8 = 0x80;

const TEMPORAL_LAYERS: u32 = 3;
/// Kinds of frames of a spatial layer: in key pictures, and in the four pictures of a row; the last two are of the same temporal
/// layer, but as far from their chain as they are.
const KINDS: u32 = 5;
const KEY: u32 = 0;

/// Bits from the most significant on.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn put(&mut self, value: u32, width: u32) {
        for bit in (0..width).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> bit & 1) as u8) << (7 - self.used % 8);
            }
            self.used += 1;
        }
    }

    /// A value below `count`, in as few bits as that allows (ns(n) in the specification).
    fn put_below(&mut self, value: u32, count: u32) {
        let width = u32::BITS - count.leading_zeros();
        let short = (1 << width) - count;
        match value < short {
            true => self.put(value, width - 1),
            false => {
                self.put((value + short) >> 1, width - 1);
                self.put((value + short) & 1, 1);
            }
        }
    }
}

/// Temporal layer of a kind of frame, and how many pictures it comes after the last one of temporal layer 0.
fn temporal(kind: u32) -> (u32, u32) {
    match kind {
        KEY => (0, 0),
        1 => (0, 4),
        2 => (1, 2),
        3 => (2, 1),
        _ => (2, 3),
    }
}

/// The kind of frame at a place in the row after a keyframe (layers 0, 2, 1, 2).
fn kind(keyframe: bool, at: u8) -> u32 {
    match (keyframe, at % 4) {
        (true, _) => KEY,
        (_, 0) => 1,
        (_, 1) => 3,
        (_, 2) => 2,
        _ => 4,
    }
}

/// Distances in frames to those that a frame refers to.
fn references(layers: u32, spatial: u32, kind: u32) -> Vec<u32> {
    let below = (spatial > 0).then_some(1);
    let before = match kind {
        KEY => None,
        1 => Some(4 * layers),
        2 => Some(2 * layers),
        // The picture before is of temporal layer 0 or 1.
        _ => Some(layers),
    };
    before.into_iter().chain(below).collect()
}

/// Frames back to the last one of the chain of a spatial layer, which is all of temporal layer 0 up to that layer.
fn chain_distance(layers: u32, spatial: u32, kind: u32, chain: u32) -> u32 {
    let (temporal_id, pictures) = temporal(kind);
    match (temporal_id, spatial) {
        (0, 0) if kind == KEY => 0,
        (0, 0) => pictures * layers - chain,
        (0, _) => spatial - chain.min(spatial - 1),
        _ => pictures * layers + spatial - chain,
    }
}

/// What a frame is for a decode target.
fn indication(spatial: u32, kind: u32, (target_spatial, target_temporal): (u32, u32)) -> u32 {
    const NOT_PRESENT: u32 = 0;
    const DISCARDABLE: u32 = 1;
    const SWITCH: u32 = 2;
    const REQUIRED: u32 = 3;
    let (temporal_id, _) = temporal(kind);
    if spatial > target_spatial || temporal_id > target_temporal {
        return NOT_PRESENT;
    }
    match (spatial < target_spatial, temporal_id) {
        (true, _) if kind == KEY => SWITCH,
        (true, _) => REQUIRED,
        (false, 0) => SWITCH,
        (false, 1) if target_temporal == 2 => SWITCH,
        (false, _) => DISCARDABLE,
    }
}

fn structure(bits: &mut Bits, picture: &Picture) {
    let layers = u32::from(picture.layers);
    let targets = layers * TEMPORAL_LAYERS;
    bits.put(0, 6);
    bits.put(targets - 1, 5);
    let templates = || (0..layers).flat_map(|spatial| (0..KINDS).map(move |kind| (spatial, kind)));
    for (spatial, kind) in templates() {
        let next = match kind {
            _ if kind == KINDS - 1 && spatial == layers - 1 => 3,
            _ if kind == KINDS - 1 => 2,
            _ => temporal(kind + 1).0 - temporal(kind).0,
        };
        bits.put(next, 2);
    }
    for (spatial, kind) in templates() {
        for target in 0..targets {
            let target = (target / TEMPORAL_LAYERS, target % TEMPORAL_LAYERS);
            bits.put(indication(spatial, kind, target), 2);
        }
    }
    for (spatial, kind) in templates() {
        for distance in references(layers, spatial, kind) {
            bits.put(1, 1);
            bits.put(distance - 1, 4);
        }
        bits.put(0, 1);
    }
    bits.put_below(layers, targets + 1);
    for target in 0..targets {
        bits.put_below(target / TEMPORAL_LAYERS, layers);
    }
    for (spatial, kind) in templates() {
        for chain in 0..layers {
            bits.put(chain_distance(layers, spatial, kind, chain), 4);
        }
    }
    bits.put(1, 1);
    for (width, height) in &picture.sizes[..picture.layers.into()] {
        bits.put(u32::from(width - 1), 16);
        bits.put(u32::from(height - 1), 16);
    }
}

/// Writes the descriptor of a packet; returns its length.
pub fn write(picture: &Picture, out: &mut [u8; MAX]) -> usize {
    let kind = kind(picture.keyframe, picture.at);
    let template = u32::from(picture.spatial) * KINDS + kind;
    let flags = [(picture.start, START), (picture.end, END)];
    let flags = flags.map(|(set, flag)| if set { flag } else { 0 });
    let [high, low] = picture.picture.to_be_bytes();
    let mandatory = [flags[0] | flags[1] | template as u8, high, low];
    out[..3].copy_from_slice(&mandatory);
    if !(picture.keyframe && picture.start && picture.spatial == 0) {
        return 3;
    }
    let mut bits = Bits::default();
    // A structure, and nothing else.
    bits.put(0b1_0000, 5);
    structure(&mut bits, picture);
    let len = 3 + bits.bytes.len();
    out[3..len].copy_from_slice(&bits.bytes);
    len
}

#[cfg(test)]
mod tests {
    use causeway_bridge::wire::dependency::{DependencyParser, Dti};

    use super::*;

    fn picture(layers: u8, spatial: u8, number: u16, at: u8, keyframe: bool) -> Picture {
        Picture {
            start: true,
            end: true,
            keyframe,
            picture: number,
            tl0: 0,
            temporal: Some((temporal(kind(keyframe, at)).0 as u8, false)),
            spatial,
            at,
            sizes: [(320, 180), (640, 360), (1_280, 720)],
            layers,
        }
    }

    #[test]
    fn the_bridge_reads_layers_references_and_sizes() {
        for layers in 1..=3u8 {
            let mut parser = DependencyParser::new();
            let mut out = [0; MAX];
            let mut number = 100u16;
            for at in 0..9u8 {
                for spatial in 0..layers {
                    let picture = picture(layers, spatial, number, at, at == 0);
                    let len = write(&picture, &mut out);
                    let read = parser
                        .parse(u64::from(number), &out[..len])
                        .expect("a descriptor");
                    assert!(read.is_start() && read.is_end());
                    assert_eq!(read.frame_number(), number);
                    assert_eq!(read.is_keyframe(), at == 0 && spatial == 0);
                    let structure = read.structure().expect("a structure");
                    assert_eq!(structure.decode_targets(), 3 * layers);
                    assert_eq!(structure.layers(3 * layers - 1), (layers - 1, 2));
                    assert_eq!(
                        structure.size(layers - 1),
                        Some(picture.sizes[usize::from(layers - 1)])
                    );
                    let dependencies = read.dependencies().expect("known");
                    let expected: Vec<u16> =
                        references(layers.into(), spatial.into(), kind(at == 0, at))
                            .into_iter()
                            .map(|distance| distance as u16)
                            .collect();
                    assert_eq!(dependencies.references(), expected);
                    // Whoever gets all needs it.
                    assert_ne!(dependencies.dti(3 * layers - 1), Dti::NotPresent);
                    number += 1;
                }
            }
        }
    }

    #[test]
    fn references_go_to_pictures_of_the_same_or_a_lower_temporal_layer() {
        let row = [0u32, 2, 1, 2];
        for at in 1..20usize {
            let kind = kind(false, at as u8);
            assert_eq!(temporal(kind).0, row[at % 4]);
            let back = references(3, 0, kind)[0] as usize / 3;
            let then = (at + 4 - back) % 4;
            assert!(
                row[then] <= row[at % 4] && (row[then] < row[at % 4] || back == 4),
                "{at}"
            );
        }
    }
}

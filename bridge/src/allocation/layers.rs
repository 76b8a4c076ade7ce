//! Layers and their indices (allocation spec §1, §9.1).

use crate::units::Bitrate;

/// Index of "no layer": the source is not forwarded.
pub const SUSPENDED: i32 = -1;

/// A forwardable quality of a source.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LayerView {
    /// See [`layer_index`].
    pub index: i32,
    /// The smaller picture dimension; −1 = unknown.
    pub height: i32,
    /// Frames per second; −1 = unknown.
    pub frame_rate: f64,
    /// What the layer costs now, with all layers that it depends on. Zero = inactive.
    pub bitrate: Bitrate,
}

/// Index of a layer: encoding × 64 + spatial layer × 8 + temporal layer, or encoding × 64 + decode target
/// for streams with a dependency descriptor (`spatial` = target / 8, `temporal` = target mod 8).
pub const fn layer_index(encoding: u8, spatial: u8, temporal: u8) -> i32 {
    (encoding as i32) << 6 | (spatial as i32 & 7) << 3 | (temporal as i32 & 7)
}

/// Encoding of a layer index; −1 for [`SUSPENDED`].
pub const fn encoding_of(index: i32) -> i32 {
    index >> 6
}

/// Spatial layer of a layer index.
pub const fn spatial_of(index: i32) -> i32 {
    (index & 0x38) >> 3
}

/// Temporal layer of a layer index.
pub const fn temporal_of(index: i32) -> i32 {
    index & 7
}

/// What "height" means everywhere: the smaller dimension, so that a portrait picture counts like the
/// landscape picture of the same resolution.
pub const fn picture_height(width: u16, height: u16) -> i32 {
    if width < height {
        width as i32
    } else {
        height as i32
    }
}

/// The layers assumed of a source that was signaled with this many encodings and not yet parsed: encoding
/// i has height 180 × 2^i, and each has three temporal layers (allocation spec §9.1).
pub fn initial_layers(encodings: usize) -> Vec<LayerView> {
    const FRAME_RATES: [f64; 3] = [7.5, 15.0, 30.0];
    let encodings = encodings.min(crate::limits::MAX_ENCODINGS) as u8;
    (0..encodings)
        .flat_map(|encoding| {
            (0u8..)
                .zip(FRAME_RATES)
                .map(move |(temporal, frame_rate)| LayerView {
                    index: layer_index(encoding, 0, temporal),
                    height: 180 << encoding,
                    frame_rate,
                    bitrate: Bitrate::ZERO,
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_carries_encoding_spatial_and_temporal_layer() {
        let index = layer_index(2, 1, 2);
        assert_eq!(index, 138);
        assert_eq!(
            (encoding_of(index), spatial_of(index), temporal_of(index)),
            (2, 1, 2)
        );
        assert_eq!(encoding_of(SUSPENDED), -1);
    }

    #[test]
    fn signaled_encodings_double_their_height_and_have_three_temporal_layers() {
        let layers = initial_layers(3);
        let shapes: Vec<_> = layers
            .iter()
            .map(|l| (l.index, l.height, l.frame_rate))
            .collect();
        assert_eq!(
            shapes,
            [
                (0, 180, 7.5),
                (1, 180, 15.0),
                (2, 180, 30.0),
                (64, 360, 7.5),
                (65, 360, 15.0),
                (66, 360, 30.0),
                (128, 720, 7.5),
                (129, 720, 15.0),
                (130, 720, 30.0),
            ]
        );
        assert!(layers.iter().all(|layer| layer.bitrate == Bitrate::ZERO));
        assert_eq!(initial_layers(1).len(), 3);
        assert_eq!(
            initial_layers(1_000_000).len(),
            3 * crate::limits::MAX_ENCODINGS
        );
    }

    /// Allocation spec Q7: a phone held upright sends 360×640, which is a 360p picture.
    #[test]
    fn q7_height_is_the_smaller_dimension() {
        assert_eq!(picture_height(360, 640), 360);
        assert_eq!(picture_height(640, 360), 360);
    }
}

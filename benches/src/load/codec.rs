//! What packets of each codec look like: payload descriptors, dependency descriptors, sizes of pictures. No picture is in them.

use causeway_bridge::media;
use causeway_bridge::wire::h264;
use causeway_bridge::wire::vp8::Vp8Descriptor;
use causeway_bridge::wire::vp9::Vp9Descriptor;

use super::formats::Layer;
use super::structure::{self, STRUCTURE_BIT};

/// A codec, and how its layers are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, clap::ValueEnum)]
pub enum Codec {
    /// VP8, an SSRC for each encoding, three temporal layers
    #[default]
    Vp8,
    /// VP9, an SSRC for each encoding, three temporal layers
    Vp9,
    /// VP9, three spatial layers on one SSRC, which refer to each other in key pictures only (L3T3_KEY)
    Vp9Svc,
    /// AV1, an SSRC for each encoding, three temporal layers
    Av1,
    /// AV1, three spatial layers on one SSRC (L3T3)
    Av1Svc,
    /// H.264, an SSRC for each encoding
    H264,
}

/// Payload types of a codec, as Jitsi has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    pub payload_type: u8,
    pub rtx: u8,
    /// As the bridge knows it.
    pub media: media::Codec,
    pub name: &'static str,
    pub parameters: &'static [(&'static str, &'static str)],
}

/// What every client can receive.
pub const FORMATS: [Format; 4] = [
    Format {
        payload_type: 100,
        rtx: 96,
        media: media::Codec::Vp8,
        name: "VP8",
        parameters: &[],
    },
    Format {
        payload_type: 101,
        rtx: 97,
        media: media::Codec::Vp9,
        name: "VP9",
        parameters: &[("profile-id", "0")],
    },
    Format {
        payload_type: 41,
        rtx: 42,
        media: media::Codec::Av1,
        name: "AV1",
        parameters: &[],
    },
    Format {
        payload_type: 107,
        rtx: 99,
        media: media::Codec::H264,
        name: "H264",
        parameters: &[
            ("profile-level-id", "42e01f"),
            ("level-asymmetry-allowed", "1"),
            ("packetization-mode", "1"),
        ],
    },
];

const VP8: Format = FORMATS[0];
const VP9: Format = FORMATS[1];
const AV1: Format = FORMATS[2];
const H264: Format = FORMATS[3];

/// VP8 payload descriptor with all identifiers, and the start of the frame.
const VP8_DESCRIPTOR: usize = 6;
const VP8_FRAME_HEADER: usize = 10;
/// From the end of the payload descriptor to the stamp.
const AV1_AGGREGATION: usize = 1;
const H264_HEADERS: usize = 2;

/// The pictures of [`super::sender`]'s row of temporal layers as a picture group (RFC 9628 §4.2.1): how many, then for each its
/// temporal layer, whether one may switch up there, and the one picture that it refers to, so many before it. Without a group a
/// Jitsi Videobridge knows of no temporal layer but the lowest, and forwards nothing else.
const VP9_GROUP: [u8; 9] = [
    4,
    1 << 2,
    4,
    2 << 5 | 1 << 4 | 1 << 2,
    1,
    1 << 5 | 1 << 4 | 1 << 2,
    2,
    2 << 5 | 1 << 2,
    1,
];

/// What is written of a packet besides its header and stamp.
#[derive(Clone, Copy, Debug)]
pub struct Picture {
    /// First and last packet of the frame, or of the layer's part of it.
    pub start: bool,
    pub end: bool,
    pub keyframe: bool,
    /// Picture number, 15 bits; frame number of AV1.
    pub picture: u16,
    pub tl0: u8,
    /// Temporal layer, and whether it begins anew from temporal layer 0.
    pub temporal: Option<(u8, bool)>,
    /// Spatial layer in its SSRC.
    pub spatial: u8,
    /// Place in the row of temporal layers: 0 at the first picture after a keyframe.
    pub at: u8,
    /// Sizes of the layers of this SSRC, of those that are sent.
    pub sizes: [(u16, u16); 3],
    pub layers: u8,
}

impl Codec {
    pub fn format(self) -> Format {
        match self {
            Codec::Vp8 => VP8,
            Codec::Vp9 | Codec::Vp9Svc => VP9,
            Codec::Av1 | Codec::Av1Svc => AV1,
            Codec::H264 => H264,
        }
    }

    /// All layers are on one SSRC.
    pub fn is_layered(self) -> bool {
        matches!(self, Codec::Vp9Svc | Codec::Av1Svc)
    }

    /// Packets can tell temporal layers.
    pub fn has_temporal_layers(self) -> bool {
        self != Codec::H264
    }

    /// Fewer layers of one SSRC need a new keyframe, as what the keyframe said of them no longer holds.
    pub fn restarts_for_less(self) -> bool {
        self == Codec::Av1Svc
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Vp8 => "vp8",
            Codec::Vp9 => "vp9",
            Codec::Vp9Svc => "vp9-svc",
            Codec::Av1 => "av1",
            Codec::Av1Svc => "av1-svc",
            Codec::H264 => "h264",
        }
    }

    /// Writes the front of the payload; returns its length.
    pub fn write(self, picture: &Picture, out: &mut [u8]) -> usize {
        match self {
            Codec::Vp8 => write_vp8(picture, out),
            Codec::Vp9 | Codec::Vp9Svc => write_vp9(picture, out),
            Codec::Av1 | Codec::Av1Svc => {
                // Aggregation header: one OBU element, which a new coded video sequence begins (AV1 RTP §4.4).
                out[0] = 0x10 | u8::from(picture.keyframe && picture.start) << 3;
                AV1_AGGREGATION
            }
            Codec::H264 => write_h264(picture, out),
        }
    }

    /// Writes the dependency descriptor, if the codec has one; returns its length.
    pub fn write_dependency(self, picture: &Picture, out: &mut [u8; structure::MAX]) -> usize {
        match self {
            Codec::Av1 | Codec::Av1Svc => structure::write(picture, out),
            _ => 0,
        }
    }
}

/// RFC 7741 §4.2 and RFC 6386 §9.1.
fn write_vp8(picture: &Picture, out: &mut [u8]) -> usize {
    let [high, low] = picture.picture.to_be_bytes();
    let layer = match picture.temporal {
        Some((id, sync)) => id << 6 | u8::from(sync) << 5,
        None => 0,
    };
    out[0] = 0x80 | u8::from(picture.start) << 4;
    out[1..VP8_DESCRIPTOR].copy_from_slice(&[0xe0, 0x80 | high, low, picture.tl0, layer]);
    let (width, height) = picture.sizes[0];
    let ([w0, w1], [h0, h1]) = (width.to_le_bytes(), height.to_le_bytes());
    let inter = u8::from(!picture.keyframe);
    let front = VP8_DESCRIPTOR + VP8_FRAME_HEADER;
    let header = [inter, 0, 0, 0x9d, 0x01, 0x2a, w0, w1, h0, h1];
    out[VP8_DESCRIPTOR..front].copy_from_slice(&header);
    front
}

/// RFC 9628 §4.2, without flexible mode.
fn write_vp9(picture: &Picture, out: &mut [u8]) -> usize {
    let [high, low] = picture.picture.to_be_bytes();
    let (temporal, sync) = picture.temporal.unwrap_or_default();
    let (key, top) = (picture.keyframe, picture.spatial + 1 == picture.layers);
    let tells = key && picture.start && picture.spatial == 0;
    // Only in key pictures layers are referred to from above.
    let unused = !key || top;
    out[0] = 0x80
        | u8::from(!key) << 6
        | 0x20
        | u8::from(picture.start) << 3
        | u8::from(picture.end) << 2
        | u8::from(tells) << 1
        | u8::from(unused);
    let below = key && picture.spatial > 0;
    out[1..3].copy_from_slice(&[0x80 | high, low]);
    out[3] = temporal << 5 | u8::from(sync) << 4 | picture.spatial << 1 | u8::from(below);
    out[4] = picture.tl0;
    let mut len = 5;
    if tells {
        let group = picture.temporal.is_some();
        out[len] = (picture.layers - 1) << 5 | 0x10 | u8::from(group) << 3;
        len += 1;
        for (width, height) in &picture.sizes[..usize::from(picture.layers)] {
            out[len..len + 2].copy_from_slice(&width.to_be_bytes());
            out[len + 2..len + 4].copy_from_slice(&height.to_be_bytes());
            len += 4;
        }
        if group {
            out[len..len + VP9_GROUP.len()].copy_from_slice(&VP9_GROUP);
            len += VP9_GROUP.len();
        }
    }
    len
}

/// RFC 6184 §5.6 and §5.8: a slice of its own, or fragments of one.
fn write_h264(picture: &Picture, out: &mut [u8]) -> usize {
    let kind = if picture.keyframe { 5 } else { 1 };
    let whole = picture.start && picture.end;
    out[..H264_HEADERS].copy_from_slice(&match whole {
        true => [0x60 | kind, 0],
        false => [
            0x7c,
            u8::from(picture.start) << 7 | u8::from(picture.end) << 6 | kind,
        ],
    });
    H264_HEADERS
}

/// What a receiver reads of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Read {
    /// Where the stamp is.
    pub stamp_at: usize,
    /// A picture begins here.
    pub start: bool,
    /// And it is a keyframe.
    pub keyframe: bool,
}

/// Where the stamp is in a payload of a codec that has several layers on one SSRC.
pub fn layered_stamp_at(payload_type: u8, payload: &[u8]) -> Option<usize> {
    if payload_type == VP9.payload_type {
        Some(Vp9Descriptor::parse(payload)?.len())
    } else {
        (payload_type == AV1.payload_type).then_some(AV1_AGGREGATION)
    }
}

/// Reads a payload of this type; `None` if it is none that [`Codec::write`] could have written, or of audio.
pub fn read(payload_type: u8, payload: &[u8], dependency: Option<&[u8]>) -> Option<Read> {
    Some(match payload_type {
        pt if pt == VP8.payload_type => {
            let descriptor = Vp8Descriptor::parse(payload)?;
            Read {
                stamp_at: descriptor.len() + VP8_FRAME_HEADER,
                start: descriptor.is_start(),
                keyframe: descriptor.is_keyframe_start(),
            }
        }
        pt if pt == VP9.payload_type => {
            let descriptor = Vp9Descriptor::parse(payload)?;
            let start = descriptor.is_start() && descriptor.spatial_id() == 0;
            Read {
                stamp_at: descriptor.len(),
                start,
                keyframe: start && descriptor.is_keyframe(),
            }
        }
        pt if pt == AV1.payload_type => {
            let start = dependency?.first()? & structure::START != 0;
            let tells = dependency?
                .get(3)
                .is_some_and(|flags| flags & STRUCTURE_BIT != 0);
            Read {
                stamp_at: AV1_AGGREGATION,
                start,
                keyframe: start && tells,
            }
        }
        pt if pt == H264.payload_type => {
            let (indicator, fragment) = (payload.first()?, payload.get(1)?);
            Read {
                stamp_at: H264_HEADERS,
                start: indicator & 0x1f != 28 || fragment & 0x80 != 0,
                keyframe: h264::begins_keyframe(payload),
            }
        }
        _ => return None,
    })
}

/// The format that has this payload type, and whether it is that for retransmissions.
pub fn format_of(payload_type: u8) -> Option<(Format, bool)> {
    FORMATS.into_iter().find_map(|format| match payload_type {
        pt if pt == format.payload_type => Some((format, false)),
        pt if pt == format.rtx => Some((format, true)),
        _ => None,
    })
}

/// Sizes of layers, as packets tell them.
pub fn sizes(layers: &[Layer]) -> [(u16, u16); 3] {
    let mut sizes = [(0, 0); 3];
    for (size, layer) in sizes.iter_mut().zip(layers) {
        *size = (layer.width, layer.height);
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a bridge must know before it can take temporal layers away, or forward any but the lowest.
    #[test]
    fn key_pictures_of_vp9_tell_their_temporal_layers() {
        for (codec, layers) in [(Codec::Vp9, 1), (Codec::Vp9Svc, 3)] {
            let picture = Picture {
                start: true,
                end: false,
                keyframe: true,
                picture: 1,
                tl0: 1,
                temporal: Some((0, false)),
                spatial: 0,
                at: 0,
                sizes: [(320, 180), (640, 360), (1_280, 720)],
                layers,
            };
            let mut buffer = [0; 64];
            let len = codec.write(&picture, &mut buffer);
            // The descriptor needs something to describe.
            let descriptor = Vp9Descriptor::parse(&buffer[..=len]).expect("a descriptor");
            assert_eq!(descriptor.len(), len);
            let structure = descriptor.scalability().expect("it is told");
            assert_eq!(structure.spatial_layers, layers);
            assert_eq!(structure.temporal_layers(), Some(3));
            // Of four pictures one is of the lowest layer, one of the middle, and two are of the highest.
            assert_eq!(structure.pictures[..4], [1, 1, 2, 0]);
        }
    }
}

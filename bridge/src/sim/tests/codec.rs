//! How the model clients write and read packets of each codec.

use super::stream::{Label, Seen};
use crate::media::Codec;
use crate::random::Random;
use crate::wire::h264::begins_keyframe;
use crate::wire::vp8::Vp8Descriptor;
use crate::wire::vp9::Vp9Descriptor;

/// What a client sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VideoCodec {
    Vp8,
    Vp9,
    /// VP9 with three spatial layers in one stream, which refer to each other in key pictures only.
    Vp9KSvc,
    Av1,
    H264,
}

impl VideoCodec {
    pub fn any(random: &mut Random) -> VideoCodec {
        match random.below(6) {
            0 => VideoCodec::Vp9,
            1 => VideoCodec::Vp9KSvc,
            2 => VideoCodec::Av1,
            3 => VideoCodec::H264,
            _ => VideoCodec::Vp8,
        }
    }

    fn format(self) -> (u8, u8, Codec) {
        match self {
            VideoCodec::Vp8 => (100, 96, Codec::Vp8),
            VideoCodec::Vp9 | VideoCodec::Vp9KSvc => (101, 97, Codec::Vp9),
            VideoCodec::Av1 => (41, 42, Codec::Av1),
            VideoCodec::H264 => (107, 99, Codec::H264),
        }
    }

    pub fn payload_type(self) -> u8 {
        self.format().0
    }

    pub fn rtx_type(self) -> u8 {
        self.format().1
    }

    pub fn is_layered(self) -> bool {
        self == VideoCodec::Vp9KSvc
    }
}

/// Payload type, RTX payload type and codec of all video that clients take.
pub fn video_formats() -> [(u8, u8, Codec); 4] {
    use VideoCodec::{Av1, H264, Vp8, Vp9};
    [Vp8, Vp9, Av1, H264].map(VideoCodec::format)
}

/// A packet to be written.
#[derive(Clone, Copy)]
pub struct Picture {
    pub label: Label,
    /// The picture is a key picture.
    pub key: bool,
    pub picture_id: u16,
    pub tl0picidx: u8,
    /// Smaller dimensions of the layers in the stream.
    pub heights: [u16; 3],
    pub layers: u8,
}

/// A structure with one decode target, two templates (keyframe, and the frame before) and no chains.
const STRUCTURE: [u8; 5] = [0x80, 0x00, 0x3a, 0x40, 0x00];

/// Payload and dependency descriptor of a packet.
pub fn write(codec: VideoCodec, picture: &Picture) -> (Vec<u8>, Option<Vec<u8>>) {
    let Picture { label, key, .. } = *picture;
    let (start, end) = (label.part == 0, label.part + 1 == label.parts);
    let [high, low] = (picture.picture_id | 0x8000).to_be_bytes();
    let size = |height: u16| (height * 16 / 9, height);
    let mut descriptor = None;
    let mut payload = match codec {
        VideoCodec::Vp8 => {
            // X and S; I, L and T; a wide picture id; TL0PICIDX; temporal layer 0.
            let first = 0x80 | u8::from(start) << 4;
            let mut payload = vec![first, 0xe0, high, low, picture.tl0picidx, 0];
            let (width, height) = size(picture.heights[0]);
            let ([w0, w1], [h0, h1]) = (width.to_le_bytes(), height.to_le_bytes());
            payload.extend([u8::from(!key), 0, 0, 0x9d, 0x01, 0x2a, w0, w1, h0, h1]);
            payload
        }
        VideoCodec::Vp9 | VideoCodec::Vp9KSvc => {
            let tells = key && start && label.layer == 0;
            let below = key && label.layer > 0;
            let flags = 0x80 | u8::from(!key) << 6 | 0x20 | u8::from(start) << 3;
            // In delta pictures nothing above refers to a layer.
            let flags = flags | u8::from(end) << 2 | u8::from(tells) << 1 | u8::from(!key);
            let layer = label.layer << 1 | u8::from(below);
            let mut payload = vec![flags, high, low, layer, picture.tl0picidx];
            if tells {
                payload.push((picture.layers - 1) << 5 | 0x10);
                for height in &picture.heights[..usize::from(picture.layers)] {
                    let (width, height) = size(*height);
                    payload.extend(width.to_be_bytes());
                    payload.extend(height.to_be_bytes());
                }
            }
            payload
        }
        VideoCodec::Av1 => {
            let ends = u8::from(start) << 7 | u8::from(end) << 6;
            let [high, low] = (label.frame as u16).to_be_bytes();
            let mut element = vec![ends | u8::from(!key), high, low];
            if key && start {
                element.extend(STRUCTURE);
            }
            descriptor = Some(element);
            vec![0]
        }
        VideoCodec::H264 => {
            let kind = if key { 5 } else { 1 };
            vec![0x7c, u8::from(start) << 7 | u8::from(end) << 6 | kind]
        }
    };
    payload.extend(label.write());
    (payload, descriptor)
}

/// What a receiver sees in a packet; `None` if it is none that [`write`] could have written.
pub fn read(
    payload_type: u8,
    timestamp: u32,
    marker: bool,
    payload: &[u8],
    descriptor: Option<&[u8]>,
) -> Option<Seen> {
    let seen = Seen::audio(timestamp, &[0; Label::LEN])?;
    let seen = Seen { marker, ..seen };
    let label = |at: usize| Label::read(payload.get(at..)?);
    let codec = video_formats()
        .into_iter()
        .find(|format| format.0 == payload_type)?
        .2;
    Some(match codec {
        Codec::Vp8 => {
            let vp8 = Vp8Descriptor::parse(payload)?;
            Seen {
                // Ten bytes of VP8 header come before it.
                label: label(vp8.len() + 10)?,
                keyframe: vp8.is_keyframe_start(),
                inter: payload.get(vp8.len())? & 1 != 0,
                picture: Some((vp8.picture_id()?, 15)),
                tl0: Some(vp8.tl0picidx()?),
                ..seen
            }
        }
        Codec::Vp9 => {
            let vp9 = Vp9Descriptor::parse(payload)?;
            Seen {
                label: label(vp9.len())?,
                keyframe: vp9.is_keyframe() && vp9.is_start(),
                inter: vp9.is_inter_picture(),
                picture: Some((vp9.picture_id()?, 15)),
                tl0: Some(vp9.tl0picidx()?),
                ..seen
            }
        }
        Codec::Av1 => {
            let [first, high, low, extended @ ..] = descriptor? else {
                return None;
            };
            // Six bits behind the five flags.
            let offset = match extended {
                [a, b, ..] if a & 0x80 != 0 => Some((a & 7) << 3 | b >> 5),
                _ => None,
            };
            Seen {
                label: label(1)?,
                keyframe: offset.is_some(),
                picture: Some((u16::from_be_bytes([*high, *low]), 16)),
                template: Some((first & 0x3f, offset)),
                inter: false,
                ..seen
            }
        }
        _ => Seen {
            label: label(2)?,
            keyframe: begins_keyframe(payload),
            inter: payload[1] & 0x1f == 1,
            ..seen
        },
    })
}

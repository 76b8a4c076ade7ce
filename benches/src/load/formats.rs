//! What all clients negotiate, and how they number their streams.

use super::codec::Codec;

/// Payload type of Opus.
pub const OPUS: u8 = 111;
/// Id of the audio level extension.
pub const AUDIO_LEVEL: u8 = 1;
/// Id of the abs-send-time extension.
pub const ABS_SEND_TIME: u8 = 3;
/// Id of the transport-cc extension.
pub const TRANSPORT_CC: u8 = 5;
/// Id of the dependency descriptor extension.
pub const DEPENDENCY: u8 = 11;

const AUDIO_SSRC: u32 = 0;
const CAMERA_SSRC: u32 = 8;
const SCREEN_SSRC: u32 = 24;
/// From an encoding to its retransmissions.
const TO_RTX: u32 = 8;
const SSRCS_PER_CLIENT: u32 = 64;
const FIRST_SSRC: u32 = 0x1000_0000;

/// A source of a client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Audio,
    Camera,
    Screen,
}

impl Kind {
    /// The end of its source name.
    pub const fn suffix(self) -> &'static str {
        match self {
            Kind::Audio => "a0",
            Kind::Camera => "v0",
            Kind::Screen => "v1",
        }
    }
}

/// SSRC of an encoding of a client's source. `identity` is the number of the client, or another one after it left and came back: nobody
/// returns with the SSRCs of before, whose sequence numbers receivers know.
pub const fn ssrc(identity: u32, kind: Kind, encoding: u32) -> u32 {
    let first = match kind {
        Kind::Audio => AUDIO_SSRC,
        Kind::Camera => CAMERA_SSRC,
        Kind::Screen => SCREEN_SSRC,
    };
    FIRST_SSRC + identity * SSRCS_PER_CLIENT + first + encoding
}

/// SSRC of the retransmissions of a video encoding.
pub const fn rtx(ssrc: u32) -> u32 {
    ssrc + TO_RTX
}

/// The media SSRC that retransmissions on `rtx` belong to, where the bridge keeps SSRCs.
pub const fn of_rtx(rtx: u32) -> u32 {
    rtx - TO_RTX
}

/// Name of a client's source.
pub fn source_name(endpoint: &str, kind: Kind) -> String {
    format!("{endpoint}-{}", kind.suffix())
}

/// Endpoint id of a client, as Jitsi has them. See [`ssrc`].
pub fn endpoint_id(identity: u32) -> String {
    format!("{:08x}", 0x1f00_0000 + identity)
}

/// One encoding of a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layer {
    pub width: u16,
    pub height: u16,
    /// Packets of a frame that is no keyframe.
    pub packets: u16,
    /// RTP bytes of a packet before SRTP.
    pub len: u16,
}

/// What a camera or a screen sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    pub codec: Codec,
    /// From low to high.
    pub layers: Vec<Layer>,
    pub frames_per_second: u32,
    /// Three temporal layers.
    pub temporal: bool,
    /// How many times more packets a keyframe has.
    pub keyframe_factor: u16,
}

impl Picture {
    /// SSRCs that it is sent on.
    pub fn encodings(&self) -> usize {
        match self.codec.is_layered() {
            true => 1,
            false => self.layers.len(),
        }
    }

    /// A camera of 1280 × 720 in three layers: 0.15, 0.5 and 2 Mbit/s.
    pub fn camera(codec: Codec) -> Picture {
        let layer = |width, height, packets, len| Layer {
            width,
            height,
            packets,
            len,
        };
        Picture {
            codec,
            layers: vec![
                layer(320, 180, 1, 600),
                layer(640, 360, 2, 1_000),
                layer(1_280, 720, 7, 1_200),
            ],
            frames_per_second: 30,
            temporal: codec.has_temporal_layers(),
            keyframe_factor: 3,
        }
    }

    /// A screen of 1920 × 1080 in one encoding, with large keyframes.
    pub fn screen(codec: Codec) -> Picture {
        Picture {
            codec,
            layers: vec![Layer {
                width: 1_920,
                height: 1_080,
                packets: 10,
                len: 1_200,
            }],
            frames_per_second: 15,
            temporal: false,
            keyframe_factor: 12,
        }
    }
}

//! A media packet after it was opened: shared by reference with every receiver, cache and worker.

use crate::ids::{EndpointKey, SourceKey};
use crate::limits::PACKET_BUFFER;
use crate::media::{Codec, Extension, MediaKind};
use crate::projection::Payload;
use crate::projection::sent::Numbers;
use crate::time::Time;
use crate::wire::rtp::RtpHeader;

/// Extensions that go on to receivers as they came.
pub const KEPT_EXTENSIONS: [Extension; 3] = [
    Extension::AudioLevel,
    Extension::VideoOrientation,
    Extension::DependencyDescriptor,
];

/// Index of the audio level in [`KEPT_EXTENSIONS`].
pub const AUDIO_LEVEL: usize = 0;

/// Index of the dependency descriptor in [`KEPT_EXTENSIONS`].
pub const DEPENDENCY: usize = 2;

/// Plaintext RTP packet with what was found out about it once.
#[derive(Clone)]
pub struct MediaPacket {
    /// Source it belongs to.
    pub source: SourceKey,
    /// Endpoint that sent it.
    pub owner: EndpointKey,
    /// Encoding of the source, 0 = lowest.
    pub encoding: u8,
    /// Codec of its payload type.
    pub codec: Codec,
    /// When it arrived.
    pub arrival: Time,
    /// Header as sent on the media SSRC (RTX undone).
    pub header: RtpHeader,
    /// Extended sequence number, gaps of discarded packets closed.
    pub index: u64,
    /// Extended sequence number as sent.
    pub original: u64,
    /// Where the payload ends (padding removed), from the start of `data`.
    pub payload_end: u16,
    /// What was read from the payload or its descriptor.
    pub descriptor: Payload,
    /// 127 − dBov of the audio level extension: 0 = silence.
    pub level: Option<u8>,
    /// Start and length in `data` of the elements of [`KEPT_EXTENSIONS`]; length 0 = absent.
    pub kept: [(u16, u8); KEPT_EXTENSIONS.len()],
    /// The bytes.
    pub data: [u8; PACKET_BUFFER],
}

impl MediaPacket {
    /// A buffer to fill.
    pub fn empty() -> MediaPacket {
        MediaPacket {
            source: SourceKey(0),
            owner: EndpointKey(0),
            encoding: 0,
            codec: Codec::Other(MediaKind::Audio),
            arrival: Time::ZERO,
            header: RtpHeader::default(),
            index: 0,
            original: 0,
            payload_end: 0,
            descriptor: Payload::Opaque,
            level: None,
            kept: [(0, 0); KEPT_EXTENSIONS.len()],
            data: [0; PACKET_BUFFER],
        }
    }

    /// The payload without padding.
    pub fn payload(&self) -> &[u8] {
        self.data
            .get(usize::from(self.header.payload_start)..usize::from(self.payload_end))
            .unwrap_or_default()
    }

    /// The bytes of a kept extension element.
    pub fn kept(&self, index: usize) -> Option<&[u8]> {
        let (start, len) = self.kept[index];
        if len == 0 {
            return None;
        }
        self.data
            .get(usize::from(start)..usize::from(start) + usize::from(len))
    }

    /// The numbers that it came with.
    #[inline]
    pub fn numbers(&self) -> Numbers {
        Numbers::new(self.header.timestamp, self.header.marker, &self.descriptor)
    }

    /// Header and payload, in bytes: what counts as its size.
    pub fn size(&self) -> usize {
        usize::from(self.payload_end)
    }
}

impl std::fmt::Debug for MediaPacket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaPacket")
            .field("source", &self.source)
            .field("index", &self.index)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

//! A media packet after it was opened: shared by reference with every receiver, cache and worker.

use crate::ids::{EndpointKey, SourceKey};
use crate::limits::PACKET_BUFFER;
use crate::media::Codec;
use crate::time::Time;
use crate::wire::rtp::RtpHeader;

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
    /// Where the payload ends (padding removed), from the start of `data`.
    pub payload_end: u16,
    /// The bytes.
    pub data: [u8; PACKET_BUFFER],
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

//! RTP packets (RFC 3550 §5.1) and header extensions (RFC 8285).

/// A checked RTP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RtpHeader {
    /// Marker bit.
    pub marker: bool,
    /// Padding bit.
    pub padding: bool,
    /// Payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// SSRC.
    pub ssrc: u32,
    /// Number of contributing sources.
    pub csrc_count: u8,
    /// Extension profile (0xBEDE, 0x100x, 0xC0DE, 0xC2DE), 0 if there is no extension.
    pub extension_profile: u16,
    /// Where the extension's elements start, from the start of the packet.
    pub extension_start: u16,
    /// Their length in bytes.
    pub extension_len: u16,
    /// Where the payload starts, from the start of the packet.
    pub payload_start: u16,
}

//! RTP packets (RFC 3550 §5.1).
//!
//! [`RtpHeader`] is what was read from a packet once; the functions below it patch single fields of a
//! packet in place. The elements of a header extension are read and written by [`super::extensions`].

use super::{WireError, be16, be32, put};

/// Length of the fixed part of the header, bytes.
pub const FIXED_HEADER: usize = 12;
/// Length of an extension's profile and length fields, bytes.
pub const EXTENSION_HEADER: usize = 4;

/// Extension profile of the one-byte form (RFC 8285 §4.2).
pub const ONE_BYTE_PROFILE: u16 = 0xBEDE;
/// Extension profile of the two-byte form; the lowest four bits are free for applications
/// (RFC 8285 §4.3).
pub const TWO_BYTE_PROFILE: u16 = 0x1000;
/// The one-byte form, encrypted by cryptex (RFC 9335 §4.1).
pub const CRYPTEX_ONE_BYTE_PROFILE: u16 = 0xC0DE;
/// The two-byte form, encrypted by cryptex (RFC 9335 §4.1).
pub const CRYPTEX_TWO_BYTE_PROFILE: u16 = 0xC2DE;

/// Offsets of the fixed header's fields.
mod field {
    pub(super) const FLAGS: usize = 0;
    pub(super) const MARKER_AND_TYPE: usize = 1;
    pub(super) const SEQUENCE: usize = 2;
    pub(super) const TIMESTAMP: usize = 4;
    pub(super) const SSRC: usize = 8;
}

const VERSION: u8 = 2;
const PADDING_BIT: u8 = 0x20;
const EXTENSION_BIT: u8 = 0x10;
const CSRC_MASK: u8 = 0x0F;
const MARKER_BIT: u8 = 0x80;

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

impl RtpHeader {
    /// Reads the header of an RTP or SRTP packet. The header of SRTP is in the clear, cryptex apart, so
    /// this works before decryption; padding is only visible afterwards, see [`RtpHeader::payload_end`].
    ///
    /// # Errors
    /// [`WireError::Version`] for other versions than 2, [`WireError::Truncated`] if CSRCs or the
    /// extension go beyond the end of the packet.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<RtpHeader, WireError> {
        let fixed: &[u8; FIXED_HEADER] = packet.first_chunk().ok_or(WireError::Truncated)?;
        let [
            flags,
            marker_and_type,
            s0,
            s1,
            t0,
            t1,
            t2,
            t3,
            i0,
            i1,
            i2,
            i3,
        ] = *fixed;
        if flags >> 6 != VERSION {
            return Err(WireError::Version);
        }
        let csrc_count = flags & CSRC_MASK;
        let mut header = RtpHeader {
            marker: marker_and_type & MARKER_BIT != 0,
            padding: flags & PADDING_BIT != 0,
            payload_type: marker_and_type & !MARKER_BIT,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
            csrc_count,
            ..RtpHeader::default()
        };
        let mut end = FIXED_HEADER + 4 * usize::from(csrc_count);
        if flags & EXTENSION_BIT != 0 {
            header.extension_profile = be16(packet, end).ok_or(WireError::Truncated)?;
            let words = be16(packet, end + 2).ok_or(WireError::Truncated)?;
            let start = end + 4;
            let len = 4 * usize::from(words);
            end = start + len;
            if end <= packet.len() {
                header.extension_start = u16::try_from(start).map_err(|_| WireError::Length)?;
                header.extension_len = u16::try_from(len).map_err(|_| WireError::Length)?;
            }
        }
        if end > packet.len() {
            return Err(WireError::Truncated);
        }
        header.payload_start = u16::try_from(end).map_err(|_| WireError::Length)?;
        Ok(header)
    }

    /// Whether the packet's CSRCs and extension elements are encrypted (RFC 9335).
    #[inline]
    pub const fn is_cryptex(&self) -> bool {
        matches!(
            self.extension_profile,
            CRYPTEX_ONE_BYTE_PROFILE | CRYPTEX_TWO_BYTE_PROFILE
        )
    }

    /// Where the payload of this decrypted packet ends, its padding cut off; equal to `payload_start` if
    /// there is nothing but padding.
    ///
    /// # Errors
    /// [`WireError::Padding`] unless the padding count is from 1 to the number of bytes behind the header
    /// (T34), [`WireError::Truncated`] if the packet is shorter than this header.
    #[inline]
    pub fn payload_end(&self, packet: &[u8]) -> Result<usize, WireError> {
        let behind = packet
            .get(usize::from(self.payload_start)..)
            .ok_or(WireError::Truncated)?;
        if !self.padding {
            return Ok(packet.len());
        }
        match behind.last() {
            Some(&count) if count != 0 && usize::from(count) <= behind.len() => {
                Ok(packet.len() - usize::from(count))
            }
            _ => Err(WireError::Padding),
        }
    }
}

/// Sets the sequence number. Like its siblings it needs the fixed header to be there, and changes nothing
/// in a shorter buffer.
#[inline]
pub fn set_sequence(packet: &mut [u8], sequence: u16) {
    put(packet, field::SEQUENCE, sequence.to_be_bytes());
}

/// Sets the timestamp.
#[inline]
pub fn set_timestamp(packet: &mut [u8], timestamp: u32) {
    put(packet, field::TIMESTAMP, timestamp.to_be_bytes());
}

/// Sets the SSRC.
#[inline]
pub fn set_ssrc(packet: &mut [u8], ssrc: u32) {
    put(packet, field::SSRC, ssrc.to_be_bytes());
}

/// Sets the payload type; its highest bit is ignored.
#[inline]
pub fn set_payload_type(packet: &mut [u8], payload_type: u8) {
    if let Some(byte) = packet.get_mut(field::MARKER_AND_TYPE) {
        *byte = *byte & MARKER_BIT | payload_type & !MARKER_BIT;
    }
}

/// Sets the marker bit.
#[inline]
pub fn set_marker(packet: &mut [u8], marker: bool) {
    if let Some(byte) = packet.get_mut(field::MARKER_AND_TYPE) {
        *byte = *byte & !MARKER_BIT | if marker { MARKER_BIT } else { 0 };
    }
}

/// Clears the padding bit, for a packet whose padding was cut off.
#[inline]
pub fn clear_padding(packet: &mut [u8]) {
    if let Some(byte) = packet.get_mut(field::FLAGS) {
        *byte &= !PADDING_BIT;
    }
}

/// Changes the extension profile to that of cryptex (RFC 9335 §5.1). False, and nothing changed, if the packet
/// has CSRCs, or has no extension of a form that cryptex knows.
#[inline]
pub fn mark_cryptex(packet: &mut [u8]) -> bool {
    let extension_only = packet
        .first()
        .is_some_and(|flags| flags & (EXTENSION_BIT | CSRC_MASK) == EXTENSION_BIT);
    let profile = match be16(packet, FIXED_HEADER) {
        Some(ONE_BYTE_PROFILE) => CRYPTEX_ONE_BYTE_PROFILE,
        Some(profile) if is_two_byte(profile) => CRYPTEX_TWO_BYTE_PROFILE,
        _ => return false,
    };
    if extension_only {
        put(packet, FIXED_HEADER, profile.to_be_bytes());
    }
    extension_only
}

/// Undoes [`mark_cryptex`] in a decrypted packet, whose header may have CSRCs.
#[inline]
pub fn clear_cryptex(header: &RtpHeader, packet: &mut [u8]) {
    let profile = match header.extension_profile {
        CRYPTEX_ONE_BYTE_PROFILE => ONE_BYTE_PROFILE,
        CRYPTEX_TWO_BYTE_PROFILE => TWO_BYTE_PROFILE,
        _ => return,
    };
    let at = FIXED_HEADER + 4 * usize::from(header.csrc_count);
    put(packet, at, profile.to_be_bytes());
}

/// Whether this is the profile of the two-byte form, whatever its application bits.
pub(super) const fn is_two_byte(profile: u16) -> bool {
    profile & 0xFFF0 == TWO_BYTE_PROFILE
}

/// The SSRC of a packet with a complete fixed header.
#[inline]
pub fn ssrc(packet: &[u8]) -> Option<u32> {
    be32(packet, field::SSRC)
}

/// The fixed header without CSRCs.
#[inline]
pub(super) fn fixed_header(
    extension: bool,
    marker: bool,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
) -> [u8; FIXED_HEADER] {
    let mut bytes = [0; FIXED_HEADER];
    bytes[field::FLAGS] = VERSION << 6 | if extension { EXTENSION_BIT } else { 0 };
    set_payload_type(&mut bytes, payload_type);
    set_marker(&mut bytes, marker);
    set_sequence(&mut bytes, sequence);
    set_timestamp(&mut bytes, timestamp);
    set_ssrc(&mut bytes, ssrc);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two CSRCs, an extension of one word, payload 1 2 3.
    const PACKET: [u8; 31] = [
        0x92, 0xE4, 0x12, 0x34, 0xDE, 0xCA, 0xFB, 0xAD, 0xCA, 0xFE, 0xBA, 0xBE, 0, 1, 2, 3, 4, 5,
        6, 7, 0xBE, 0xDE, 0, 1, 0x51, 0, 2, 0, 1, 2, 3,
    ];

    #[test]
    fn reads_every_field() {
        let header = RtpHeader::parse(&PACKET).unwrap();
        assert_eq!(
            header,
            RtpHeader {
                marker: true,
                padding: false,
                payload_type: 100,
                sequence: 0x1234,
                timestamp: 0xDECA_FBAD,
                ssrc: 0xCAFE_BABE,
                csrc_count: 2,
                extension_profile: ONE_BYTE_PROFILE,
                extension_start: 24,
                extension_len: 4,
                payload_start: 28,
            }
        );
        assert_eq!(header.payload_end(&PACKET), Ok(31));
        assert_eq!(ssrc(&PACKET), Some(0xCAFE_BABE));
    }

    #[test]
    fn media_plane_case_44_other_versions_are_refused() {
        for version in [0, 1, 3] {
            let mut packet = PACKET;
            packet[0] = packet[0] & 0x3F | version << 6;
            assert_eq!(RtpHeader::parse(&packet), Err(WireError::Version));
        }
    }

    #[test]
    fn t30_any_header_in_any_size_gives_a_value_or_an_error() {
        let mut accepted = 0;
        for len in 0..=80 {
            for csrc_count in 0..=15 {
                for words in [
                    None,
                    Some(0),
                    Some(1),
                    Some(2),
                    Some(15),
                    Some(0x3FFF),
                    Some(0xFFFF),
                ] {
                    let mut packet = vec![0xFF; len];
                    put(&mut packet, 0, [0x80 | csrc_count]);
                    let mut needed = 12 + 4 * usize::from(csrc_count);
                    if let Some(words) = words {
                        put(&mut packet, 0, [0x90 | csrc_count]);
                        put(&mut packet, needed + 2, u16::to_be_bytes(words));
                        needed += 4 + 4 * usize::from(words);
                    }
                    let result = RtpHeader::parse(&packet);
                    assert_eq!(
                        result.is_ok(),
                        needed <= len,
                        "{len} {csrc_count} {words:?}"
                    );
                    if let Ok(header) = result {
                        assert_eq!(usize::from(header.payload_start), needed);
                        accepted += 1;
                    }
                }
            }
        }
        assert!(accepted > 1_000);
    }

    #[test]
    fn an_offset_beyond_16_bits_is_refused() {
        let mut packet = vec![0; 300_000];
        put(&mut packet, 0, [0x90]);
        put(&mut packet, 14, [0xFF, 0xFF]);
        assert_eq!(RtpHeader::parse(&packet), Err(WireError::Length));
    }

    #[test]
    fn t34_media_plane_case_43_padding_counts_from_one_to_the_payload() {
        let with_padding = |payload: usize, count: u8| {
            let mut packet = vec![0; 12 + payload];
            packet[0] = 0xA0;
            if payload > 0 {
                *packet.last_mut().unwrap() = count;
            }
            RtpHeader::parse(&packet).unwrap().payload_end(&packet)
        };
        assert_eq!(with_padding(100, 255), Err(WireError::Padding));
        assert_eq!(with_padding(100, 101), Err(WireError::Padding));
        assert_eq!(with_padding(100, 0), Err(WireError::Padding));
        assert_eq!(with_padding(0, 0), Err(WireError::Padding));
        assert_eq!(with_padding(100, 100), Ok(12));
        assert_eq!(with_padding(100, 1), Ok(111));
    }

    #[test]
    fn padding_is_not_read_without_its_bit() {
        let mut packet = vec![0xFF; 20];
        packet[0] = 0x80;
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(header.payload_end(&packet), Ok(20));
        assert_eq!(header.payload_end(&packet[..11]), Err(WireError::Truncated));
    }

    #[test]
    fn a_short_buffer_is_left_alone() {
        let mut short = [7; 9];
        set_ssrc(&mut short, 1);
        assert_eq!(short, [7; 9]);
        set_marker(&mut [], true);
        assert_eq!(ssrc(&short), None);
    }

    proptest! {
        #[test]
        fn patches_change_their_field_and_nothing_else(
            marker: bool, payload_type in 0..128u8, sequence: u16, timestamp: u32, ssrc: u32,
        ) {
            let mut packet = PACKET;
            set_marker(&mut packet, marker);
            set_payload_type(&mut packet, payload_type);
            set_sequence(&mut packet, sequence);
            set_timestamp(&mut packet, timestamp);
            set_ssrc(&mut packet, ssrc);
            let expected = RtpHeader {
                marker, payload_type, sequence, timestamp, ssrc, ..RtpHeader::parse(&PACKET).unwrap()
            };
            prop_assert_eq!(RtpHeader::parse(&packet), Ok(expected));
            prop_assert_eq!(&packet[12..], &PACKET[12..]);
        }

        #[test]
        fn whatever_parses_lies_inside(packet in proptest::collection::vec(any::<u8>(), 0..128)) {
            if let Ok(header) = RtpHeader::parse(&packet) {
                let extension_end = header.extension_start + header.extension_len;
                prop_assert!(extension_end <= header.payload_start);
                prop_assert!(usize::from(header.payload_start) <= packet.len());
                if let Ok(end) = header.payload_end(&packet) {
                    prop_assert!(usize::from(header.payload_start) <= end && end <= packet.len());
                }
            }
        }
    }
}

//! Undoing retransmissions (RFC 4588, media-plane §2.12).

use crate::media::{Codec, MediaFormats};
use crate::wire::rtp::RtpHeader;

/// Length of the original sequence number in front of the payload.
const OSN_BYTES: usize = 2;

/// Why a packet on an RTX payload type has no original.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RtxError {
    /// No original sequence number: padding that probes for bandwidth.
    #[error("retransmission without payload")]
    Probe,
    /// The header does not describe the packet.
    #[error("retransmission with an inconsistent header")]
    Malformed,
}

/// The payload type that the RTX payload type `number` retransmits; `None` if it is no RTX, or if what it
/// claims to retransmit is unknown or RTX itself (T39).
pub fn associated_payload_type(formats: &MediaFormats, number: u8) -> Option<u8> {
    let rtx = formats
        .by_number(number)
        .filter(|known| known.codec == Codec::Rtx)?;
    let original = formats.by_number(rtx.associated?)?;
    (original.codec != Codec::Rtx).then_some(original.number)
}

/// Turns an RTX packet into its original, in place.
///
/// `packet` is the whole packet and `payload_end` where its payload ends without padding. The payload
/// moves down by two bytes; the return value is its new end. In `packet` and in `header`, sequence
/// number, payload type and SSRC become those of the original; the marker bit, the timestamp and the header
/// extensions stay.
pub fn unwrap_rtx(
    packet: &mut [u8],
    header: &mut RtpHeader,
    payload_end: usize,
    payload_type: u8,
    ssrc: u32,
) -> Result<usize, RtxError> {
    let start = usize::from(header.payload_start);
    if payload_end > packet.len() || start < 12 || start > payload_end {
        return Err(RtxError::Malformed);
    }
    let sequence = match packet.get(start..payload_end) {
        Some(&[high, low, ..]) => u16::from_be_bytes([high, low]),
        _ => return Err(RtxError::Probe),
    };
    packet.copy_within(start + OSN_BYTES..payload_end, start);
    packet[1] = packet[1] & 0x80 | payload_type & 0x7f;
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    header.payload_type = payload_type & 0x7f;
    header.sequence = sequence;
    header.ssrc = ssrc;
    Ok(payload_end - OSN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::PayloadType;

    fn rtx(payload: &[u8]) -> (Vec<u8>, RtpHeader) {
        let mut packet = vec![0x80, 0x80 | 97, 0, 1, 0, 0, 0, 9, 0, 0, 0, 2];
        packet.extend_from_slice(payload);
        let header = RtpHeader {
            marker: true,
            payload_type: 97,
            sequence: 1,
            timestamp: 9,
            ssrc: 2,
            payload_start: 12,
            ..RtpHeader::default()
        };
        (packet, header)
    }

    #[test]
    fn media_plane_case_46_the_original_is_restored() {
        let (mut packet, mut header) = rtx(&[0x03, 0x09, 0xaa, 0xbb]);
        let end =
            unwrap_rtx(&mut packet, &mut header, 16, 100, 0x01020304).expect("a retransmission");
        assert_eq!(
            packet[..end],
            [0x80, 0x80 | 100, 3, 9, 0, 0, 0, 9, 1, 2, 3, 4, 0xaa, 0xbb]
        );
        assert_eq!(
            (header.sequence, header.payload_type, header.ssrc),
            (777, 100, 0x01020304)
        );
    }

    #[test]
    fn media_plane_case_47_a_payload_without_a_number_is_a_probe() {
        for payload in [&[][..], &[3]] {
            let (mut packet, mut header) = rtx(payload);
            let (packet_before, header_before) = (packet.clone(), header);
            let end = packet.len();
            assert_eq!(
                unwrap_rtx(&mut packet, &mut header, end, 100, 1),
                Err(RtxError::Probe)
            );
            assert_eq!((packet, header), (packet_before, header_before));
        }
    }

    #[test]
    fn t39_inconsistent_headers_are_refused() {
        for (start, end) in [(12, 17), (20, 16), (4, 16), (17, 16)] {
            let (mut packet, mut header) = rtx(&[0, 1, 2, 3]);
            header.payload_start = start;
            assert_eq!(
                unwrap_rtx(&mut packet, &mut header, end, 100, 1),
                Err(RtxError::Malformed)
            );
        }
    }

    #[test]
    fn t39_retransmissions_of_retransmissions_are_not_associated() {
        let format = |number, codec, associated| PayloadType {
            number,
            codec,
            clock_rate: 90_000,
            associated,
            feedback: Default::default(),
        };
        let formats = MediaFormats {
            payload_types: vec![
                format(100, Codec::Vp8, None),
                format(96, Codec::Rtx, Some(100)),
                format(97, Codec::Rtx, Some(96)),
                format(98, Codec::Rtx, Some(55)),
                format(99, Codec::Rtx, None),
            ],
            ..MediaFormats::default()
        };
        assert_eq!(associated_payload_type(&formats, 96), Some(100));
        for number in [97, 98, 99, 100, 101] {
            assert_eq!(associated_payload_type(&formats, number), None, "{number}");
        }
    }
}

//! What protocol a datagram belongs to (RFC 7983, media-plane spec §1.2).

use crate::limits::MAX_DATAGRAM;

/// Protocols that share the media port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// STUN (RFC 8489).
    Stun,
    /// DTLS record (RFC 6347, RFC 9147).
    Dtls,
    /// SRTP.
    Rtp,
    /// SRTCP.
    Rtcp,
}

/// Magic cookie at offset 4 of every STUN message (RFC 8489 §5).
const STUN_COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();
const STUN_HEADER: usize = 20;
const RTP_HEADER: usize = 12;
const RTCP_HEADER: usize = 8;

/// The protocol of a datagram by its first bytes, or `None` if it has none of ours or is longer than
/// [`MAX_DATAGRAM`].
///
/// RTCP is told from RTP by its packet type, 192 to 223 (RFC 5761 §4): payload types 64 to 95 must not be
/// used with the marker bit.
#[inline]
pub fn classify(datagram: &[u8]) -> Option<Class> {
    let len = datagram.len();
    if len > MAX_DATAGRAM {
        return None;
    }
    let [first, second, ..] = *datagram else {
        return None;
    };
    match first {
        0..=3 if len >= STUN_HEADER && datagram.get(4..8) == Some(&STUN_COOKIE) => {
            Some(Class::Stun)
        }
        20..=63 => Some(Class::Dtls),
        128..=191 if (192..=223).contains(&second) => (len >= RTCP_HEADER).then_some(Class::Rtcp),
        128..=191 => (len >= RTP_HEADER).then_some(Class::Rtp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(len: usize, start: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; len.max(start.len())];
        bytes[..start.len()].copy_from_slice(start);
        bytes
    }

    #[test]
    fn the_first_bytes_decide() {
        let stun = datagram(20, &[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42]);
        assert_eq!(classify(&stun), Some(Class::Stun));
        assert_eq!(classify(&datagram(13, &[22, 254, 253])), Some(Class::Dtls));
        assert_eq!(classify(&datagram(12, &[0x80, 111])), Some(Class::Rtp));
        assert_eq!(
            classify(&datagram(12, &[0x90, 0x80 | 100])),
            Some(Class::Rtp)
        );
        for packet_type in [200, 201, 205, 206] {
            assert_eq!(
                classify(&datagram(8, &[0x81, packet_type])),
                Some(Class::Rtcp)
            );
        }
    }

    #[test]
    fn every_first_and_second_byte_falls_in_the_range_of_the_specification() {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                let expected = match (first, second) {
                    (20..=63, _) => Some(Class::Dtls),
                    (128..=191, 192..=223) => Some(Class::Rtcp),
                    (128..=191, _) => Some(Class::Rtp),
                    _ => None,
                };
                assert_eq!(
                    classify(&datagram(20, &[first, second])),
                    expected,
                    "{first} {second}"
                );
            }
        }
    }

    #[test]
    fn stun_needs_its_cookie_and_its_header() {
        let stun = datagram(20, &[1, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42]);
        assert_eq!(classify(&stun[..19]), None);
        let mut wrong = stun;
        wrong[7] ^= 1;
        assert_eq!(classify(&wrong), None);
    }

    #[test]
    fn t13_odd_sizes_are_nothing() {
        assert_eq!(classify(&[]), None);
        assert_eq!(classify(&[22]), None);
        assert_eq!(classify(&datagram(11, &[0x80, 111])), None);
        assert_eq!(classify(&datagram(7, &[0x80, 200])), None);
        assert_eq!(
            classify(&datagram(MAX_DATAGRAM, &[0x80, 111])),
            Some(Class::Rtp)
        );
        assert_eq!(classify(&datagram(MAX_DATAGRAM + 1, &[0x80, 111])), None);
        assert_eq!(classify(&datagram(65_507, &[0x80, 111])), None);
    }
}

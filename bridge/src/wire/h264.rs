//! Evidence of H.264 keyframes in RTP payloads (RFC 6184 §5). Nothing else is read, nothing is written.

use crate::limits::MAX_NAL_UNITS;

/// NAL unit types (RFC 6184 §5.2, H.264 table 7-1).
mod nal {
    pub const IDR: u8 = 5;
    pub const SPS: u8 = 7;
    pub const STAP_A: u8 = 24;
    pub const FU_A: u8 = 28;
}

/// FU header: the first fragment.
const FU_START: u8 = 0x80;

fn kind(header: u8) -> u8 {
    header & 0x1f
}

/// A parameter set or the picture itself; whichever comes first begins the keyframe.
fn is_key(kind: u8) -> bool {
    matches!(kind, nal::IDR | nal::SPS)
}

/// Whether a keyframe begins in this payload: it holds a sequence parameter set or (the first fragment
/// of) an IDR slice, alone or aggregated. Lengths that do not fit end the search (T38).
pub fn begins_keyframe(payload: &[u8]) -> bool {
    let Some((header, rest)) = payload.split_first() else {
        return false;
    };
    match kind(*header) {
        nal::STAP_A => aggregated(rest),
        nal::FU_A => rest
            .first()
            .is_some_and(|fu| fu & FU_START != 0 && is_key(kind(*fu))),
        single => is_key(single) && !rest.is_empty(),
    }
}

fn aggregated(mut units: &[u8]) -> bool {
    for _ in 0..MAX_NAL_UNITS {
        let Some((len, rest)) = units.split_first_chunk() else {
            return false;
        };
        let len = usize::from(u16::from_be_bytes(*len));
        let Some((unit, rest)) = rest.split_at_checked(len) else {
            return false;
        };
        if unit.first().is_some_and(|header| is_key(kind(*header))) {
            return true;
        }
        units = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS: [u8; 4] = [0x67, 0x42, 0xe0, 0x1f];

    #[test]
    fn keyframes_are_seen_alone_aggregated_and_fragmented() {
        assert!(begins_keyframe(&SPS));
        assert!(begins_keyframe(&[0x65, 0x88]), "IDR");
        assert!(!begins_keyframe(&[0x68, 0xce]), "PPS");
        assert!(!begins_keyframe(&[0x41, 0x9a]), "another slice");
        assert!(
            begins_keyframe(&[0x7c, 0x85, 1]),
            "first fragment of an IDR"
        );
        assert!(!begins_keyframe(&[0x7c, 0x05, 1]), "a later one");
        assert!(!begins_keyframe(&[0x7c, 0x81, 1]), "of another slice");
        let access_unit_delimiter = [0, 2, 0x09, 0xf0];
        let mut stap = vec![0x78];
        stap.extend(access_unit_delimiter);
        assert!(!begins_keyframe(&stap));
        stap.extend([0, 4]);
        stap.extend(SPS);
        assert!(begins_keyframe(&stap));
    }

    #[test]
    fn lengths_beyond_the_end_and_endless_units_end_the_search_t38() {
        assert!(!begins_keyframe(&[]));
        for header in [0x78, 0x7c, 0x67] {
            assert!(!begins_keyframe(&[header]));
        }
        assert!(!begins_keyframe(&[0x78, 0, 9, 0x67]));
        assert!(!begins_keyframe(&[0x78, 0xff]));
        let mut units = vec![0x78];
        units.extend([0, 0].repeat(MAX_NAL_UNITS));
        units.extend([0, 1, 0x67]);
        assert!(!begins_keyframe(&units));
    }

    #[test]
    fn no_payload_of_three_bytes_panics_t38() {
        for start in 0..1u32 << 24 {
            let [_, payload @ ..] = start.to_be_bytes();
            begins_keyframe(&payload[..1 + (start % 3) as usize]);
        }
    }
}

//! VP8 RTP payload descriptor (RFC 7741 §4.2) and the start of the frame header (RFC 6386 §9.1).
//!
//! [`Vp8Descriptor::parse`] reads the payload once when a packet arrives; the result is small, is kept
//! with the packet, and [`Vp8Descriptor::rewrite`] puts new picture identifiers into any copy of the
//! payload without looking at it again. Lengths never change.

/// Bits of the descriptor's bytes (RFC 7741 §4.2).
mod field {
    /// First byte: extension byte present.
    pub const X: u8 = 0x80;
    /// First byte: non-reference frame.
    pub const N: u8 = 0x20;
    /// First byte: start of a partition.
    pub const S: u8 = 0x10;
    /// First byte: partition index.
    pub const PID: u8 = 0x07;
    /// Extension byte: picture id present.
    pub const I: u8 = 0x80;
    /// Extension byte: TL0PICIDX present.
    pub const L: u8 = 0x40;
    /// Extension byte: temporal id present.
    pub const T: u8 = 0x20;
    /// Extension byte: key index present.
    pub const K: u8 = 0x10;
    /// First picture id byte: the 15-bit form.
    pub const M: u8 = 0x80;
    /// TID/KEYIDX byte: layer synchronisation.
    pub const Y: u8 = 0x20;
    /// First byte of the frame header: 0 in a key frame.
    pub const INTER: u8 = 0x01;
    /// Start code of a key frame, after the three bytes of the frame tag.
    pub const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];
}

/// Temporal id when the descriptor has none.
const NO_TEMPORAL_ID: u8 = u8::MAX;

/// What one VP8 packet says about its frame, and where its identifiers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vp8Descriptor {
    picture_id: u16,
    width: u16,
    height: u16,
    tl0picidx: u8,
    temporal_id: u8,
    /// Position of the picture id in the payload; 0 (the first byte is always `X`) if there is none.
    picture_id_at: u8,
    /// Position of TL0PICIDX in the payload; 0 if there is none.
    tl0picidx_at: u8,
    /// Bytes before the VP8 payload header.
    len: u8,
    wide: bool,
    start: bool,
    keyframe: bool,
    layer_sync: bool,
    non_reference: bool,
}

impl Vp8Descriptor {
    /// Reads the descriptor at the start of an RTP payload (padding removed). `None` if it is cut short
    /// or nothing follows it: a descriptor alone carries no video (T36).
    pub fn parse(payload: &[u8]) -> Option<Vp8Descriptor> {
        let first = *payload.first()?;
        let mut descriptor = Vp8Descriptor {
            picture_id: 0,
            width: 0,
            height: 0,
            tl0picidx: 0,
            temporal_id: NO_TEMPORAL_ID,
            picture_id_at: 0,
            tl0picidx_at: 0,
            len: 0,
            wide: false,
            start: first & field::S != 0 && first & field::PID == 0,
            keyframe: false,
            layer_sync: false,
            non_reference: first & field::N != 0,
        };
        // At most six bytes long, so positions fit `u8` whatever the input says.
        let mut at: u8 = 1;
        let byte = |at: u8| payload.get(usize::from(at)).copied();
        if first & field::X != 0 {
            let extension = byte(at)?;
            at += 1;
            if extension & field::I != 0 {
                descriptor.picture_id_at = at;
                let high = byte(at)?;
                at += 1;
                descriptor.picture_id = u16::from(high & !field::M);
                if high & field::M != 0 {
                    descriptor.wide = true;
                    descriptor.picture_id = descriptor.picture_id << 8 | u16::from(byte(at)?);
                    at += 1;
                }
            }
            if extension & field::L != 0 {
                descriptor.tl0picidx_at = at;
                descriptor.tl0picidx = byte(at)?;
                at += 1;
            }
            if extension & (field::T | field::K) != 0 {
                let layers = byte(at)?;
                at += 1;
                if extension & field::T != 0 {
                    descriptor.temporal_id = layers >> 6;
                    descriptor.layer_sync = layers & field::Y != 0;
                }
            }
        }
        descriptor.len = at;
        let header = byte(at)?;
        if descriptor.start && header & field::INTER == 0 {
            descriptor.keyframe = true;
            let frame = payload.get(usize::from(at)..).unwrap_or_default();
            if let Some(&[a, b, c, w0, w1, h0, h1]) = frame.get(3..10)
                && [a, b, c] == field::START_CODE
            {
                // The upper two bits are a scaling hint.
                descriptor.width = u16::from_le_bytes([w0, w1]) & 0x3fff;
                descriptor.height = u16::from_le_bytes([h0, h1]) & 0x3fff;
            }
        }
        Some(descriptor)
    }

    /// Picture id, 7 or 15 bits as [`Vp8Descriptor::is_wide`] tells.
    pub fn picture_id(&self) -> Option<u16> {
        (self.picture_id_at != 0).then_some(self.picture_id)
    }

    /// Whether the picture id has 15 bits.
    pub fn is_wide(&self) -> bool {
        self.wide
    }

    /// Running index of temporal layer 0 frames.
    pub fn tl0picidx(&self) -> Option<u8> {
        (self.tl0picidx_at != 0).then_some(self.tl0picidx)
    }

    /// Temporal layer, 0–3.
    pub fn temporal_id(&self) -> Option<u8> {
        (self.temporal_id != NO_TEMPORAL_ID).then_some(self.temporal_id)
    }

    /// Whether the frame depends on no frame but the latest of temporal layer 0 (the Y bit).
    pub fn is_layer_sync(&self) -> bool {
        self.layer_sync
    }

    /// Whether no other frame refers to this one (the N bit).
    pub fn is_non_reference(&self) -> bool {
        self.non_reference
    }

    /// Whether the packet is the first of its frame.
    pub fn is_start(&self) -> bool {
        self.start
    }

    /// Whether the packet is the first of a key frame. The others of a key frame do not tell.
    pub fn is_keyframe_start(&self) -> bool {
        self.keyframe
    }

    /// Width and height of the picture; only in the first packet of a key frame.
    pub fn size(&self) -> Option<(u16, u16)> {
        (self.width != 0 && self.height != 0).then_some((self.width, self.height))
    }

    /// Length of the descriptor in bytes, 1–6.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Never: a descriptor has at least one byte.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes identifiers over those in `payload`, which must be (a copy of) what was parsed. Fields that
    /// the descriptor lacks are left out; a 7-bit picture id gets the value modulo 128.
    pub fn rewrite(&self, payload: &mut [u8], picture_id: Option<u16>, tl0picidx: Option<u8>) {
        let at = usize::from(self.picture_id_at);
        if let Some(id) = picture_id.filter(|_| at != 0) {
            let [high, low] = id.to_be_bytes();
            if self.wide {
                if let Some([first, second]) = payload.get_mut(at..at + 2) {
                    *first = field::M | high;
                    *second = low;
                }
            } else if let Some(only) = payload.get_mut(at) {
                *only = low & !field::M;
            }
        }
        let at = usize::from(self.tl0picidx_at);
        if let Some(index) = tl0picidx.filter(|_| at != 0)
            && let Some(byte) = payload.get_mut(at)
        {
            *byte = index;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First packet of a 640×360 key frame as browsers send it.
    const KEYFRAME: [u8; 16] = [
        0x90, 0xe0, 0x81, 0x2c, 0x32,
        0x20, // S; I L T; picture id 300, TL0PICIDX 50, TID 0 with Y
        0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, // frame tag and start code
        0x80, 0x02, 0x68, 0x41, // 640; 360 with a scaling hint
    ];

    #[test]
    fn a_browsers_keyframe_tells_its_identifiers_and_size() {
        let descriptor = Vp8Descriptor::parse(&KEYFRAME).unwrap();
        assert_eq!(descriptor.picture_id(), Some(300));
        assert!(descriptor.is_wide());
        assert_eq!(descriptor.tl0picidx(), Some(50));
        assert_eq!(descriptor.temporal_id(), Some(0));
        assert!(descriptor.is_layer_sync());
        assert!(descriptor.is_start() && descriptor.is_keyframe_start());
        assert!(!descriptor.is_non_reference());
        assert_eq!(descriptor.size(), Some((640, 360)));
        assert_eq!(descriptor.len(), 6);
    }

    #[test]
    fn only_the_first_packet_of_a_frame_tells_that_it_is_a_keyframe() {
        let mut continuation = KEYFRAME;
        continuation[0] = 0x80;
        let descriptor = Vp8Descriptor::parse(&continuation).unwrap();
        assert!(!descriptor.is_start() && !descriptor.is_keyframe_start());
        assert_eq!(descriptor.size(), None);

        // A later partition starts, but not the frame.
        continuation[0] = 0x91;
        assert!(!Vp8Descriptor::parse(&continuation).unwrap().is_start());

        let mut delta = KEYFRAME;
        delta[6] |= 0x01;
        let descriptor = Vp8Descriptor::parse(&delta).unwrap();
        assert!(descriptor.is_start() && !descriptor.is_keyframe_start());
    }

    #[test]
    fn a_keyframe_without_the_start_code_has_no_size() {
        let mut odd = KEYFRAME;
        odd[10] = 0xff;
        let descriptor = Vp8Descriptor::parse(&odd).unwrap();
        assert!(descriptor.is_keyframe_start());
        assert_eq!(descriptor.size(), None);
        assert_eq!(Vp8Descriptor::parse(&KEYFRAME[..15]).unwrap().size(), None);
    }

    #[test]
    fn rewriting_touches_only_the_identifiers() {
        let descriptor = Vp8Descriptor::parse(&KEYFRAME).unwrap();
        let mut copy = KEYFRAME;
        descriptor.rewrite(&mut copy, Some(0x7fff), Some(255));
        assert_eq!(&copy[..6], &[0x90, 0xe0, 0xff, 0xff, 255, 0x20]);
        assert_eq!(&copy[6..], &KEYFRAME[6..]);
    }

    #[test]
    fn seven_bit_picture_ids_stay_seven_bits_t36() {
        let payload = [0x90, 0x80, 0x05, 0x11];
        let descriptor = Vp8Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.picture_id(), Some(5));
        assert!(!descriptor.is_wide());
        let mut copy = payload;
        descriptor.rewrite(&mut copy, Some(128 + 7), Some(1));
        assert_eq!(copy, [0x90, 0x80, 0x07, 0x11]);
    }

    #[test]
    fn every_start_at_every_length_parses_or_not_and_rewrites_to_itself_t36() {
        let mut parsed = 0;
        for start in 0..=u16::MAX {
            for third in [0x00, 0x7f, 0x80, 0xff] {
                let [a, b] = start.to_be_bytes();
                let full = [a, b, third, 0x12, 0xa5, 0xc3, 0x00, 0x9d, 0x01, 0x2a];
                for len in 0..=full.len() {
                    let payload = &full[..len];
                    let Some(descriptor) = Vp8Descriptor::parse(payload) else {
                        assert!(len < 7, "long enough for any descriptor: {payload:x?}");
                        continue;
                    };
                    parsed += 1;
                    assert!(descriptor.len() < len && descriptor.len() <= 6);
                    let mut copy = full;
                    let copy = &mut copy[..len];
                    descriptor.rewrite(copy, descriptor.picture_id(), descriptor.tl0picidx());
                    assert_eq!(copy, payload);

                    descriptor.rewrite(copy, Some(0x2b5a), Some(0x77));
                    let again = Vp8Descriptor::parse(copy).unwrap();
                    let mask = if descriptor.is_wide() { 0x7fff } else { 0x7f };
                    assert_eq!(
                        again.picture_id(),
                        descriptor.picture_id().map(|_| 0x2b5a & mask)
                    );
                    assert_eq!(again.tl0picidx(), descriptor.tl0picidx().map(|_| 0x77));
                    assert_eq!(again.temporal_id(), descriptor.temporal_id());
                    assert_eq!(again.is_keyframe_start(), descriptor.is_keyframe_start());
                    assert_eq!(again.len(), descriptor.len());
                }
            }
        }
        assert!(parsed > 1 << 18);
    }

    #[test]
    fn rewriting_a_buffer_that_was_not_parsed_does_not_panic() {
        let descriptor = Vp8Descriptor::parse(&KEYFRAME).unwrap();
        for len in 0..6 {
            let mut short = KEYFRAME;
            descriptor.rewrite(&mut short[..len], Some(1), Some(1));
        }
    }
}

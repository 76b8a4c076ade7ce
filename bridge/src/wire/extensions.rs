//! RTP header extensions (RFC 8285): reading the elements of a packet, writing a whole new header.

use std::time::Duration;

use super::rtp::{
    CRYPTEX_ONE_BYTE_PROFILE, CRYPTEX_TWO_BYTE_PROFILE, EXTENSION_HEADER, FIXED_HEADER,
    ONE_BYTE_PROFILE, RtpHeader, TWO_BYTE_PROFILE, fixed_header, is_two_byte,
};
use crate::limits::MAX_EXTENSION_ELEMENTS;
use crate::time::Time;

/// Elements of the one-byte form have ids 1 to 14 and 1 to 16 bytes (RFC 8285 §4.2).
const ONE_BYTE_MAX_ID: u8 = 14;
const ONE_BYTE_MAX_LEN: usize = 16;
/// Ends the elements of the one-byte form.
const ONE_BYTE_STOP_ID: u8 = 15;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    OneByte,
    TwoByte,
}

/// The extension elements of a decrypted packet as (id, data), in order.
///
/// At most [`MAX_EXTENSION_ELEMENTS`]; an element that goes beyond the extension ends the iteration, as does
/// id 15 in the one-byte form (T35). An id may occur twice: the first one counts, which is the caller's
/// matter. Extensions of other profiles than those of RFC 8285 and RFC 9335 have no elements.
#[inline]
pub fn elements<'a>(header: &RtpHeader, packet: &'a [u8]) -> Elements<'a> {
    let form = match header.extension_profile {
        ONE_BYTE_PROFILE | CRYPTEX_ONE_BYTE_PROFILE => Some(Form::OneByte),
        CRYPTEX_TWO_BYTE_PROFILE => Some(Form::TwoByte),
        profile if is_two_byte(profile) => Some(Form::TwoByte),
        _ => None,
    };
    let start = usize::from(header.extension_start);
    let rest = packet.get(start..start + usize::from(header.extension_len));
    let (form, rest) = form.zip(rest).unwrap_or((Form::OneByte, &[]));
    Elements {
        form,
        rest,
        left: MAX_EXTENSION_ELEMENTS,
    }
}

/// Iterator of [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    form: Form,
    rest: &'a [u8],
    left: usize,
}

impl<'a> Elements<'a> {
    fn take(&mut self) -> Option<(u8, &'a [u8])> {
        // A zero byte between elements is padding in both forms.
        let zeros = self.rest.iter().position(|byte| *byte != 0)?;
        let (id, len, data) = match (self.form, self.rest.get(zeros..)?) {
            (Form::OneByte, [first, data @ ..]) => {
                let id = first >> 4;
                // Id 0 with a length is reserved; RFC 8285 §4.2 says to stop there too.
                if id == ONE_BYTE_STOP_ID || id == 0 {
                    return None;
                }
                (id, usize::from(first & 0x0F) + 1, data)
            }
            (Form::TwoByte, [id, len, data @ ..]) => (*id, usize::from(*len), data),
            _ => return None,
        };
        let (data, rest) = data.split_at_checked(len)?;
        self.rest = rest;
        Some((id, data))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        self.left = self.left.checked_sub(1)?;
        let element = self.take();
        if element.is_none() {
            self.left = 0;
        }
        element
    }
}

/// Audio level of a client's packet (RFC 6464).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AudioLevel {
    /// The sender believes that there is speech.
    pub voice: bool,
    /// Level in −dBov: 0 is loudest, 127 is silence.
    pub level: u8,
}

impl AudioLevel {
    /// From the element's data.
    #[inline]
    pub fn parse(data: &[u8]) -> Option<AudioLevel> {
        let byte = *data.first()?;
        Some(AudioLevel {
            voice: byte & 0x80 != 0,
            level: byte & 0x7F,
        })
    }
}

/// The abs-send-time element for a packet that leaves at `now`: seconds in 6.18 fixed point, modulo 64 s.
#[inline]
pub fn abs_send_time(now: Time) -> [u8; 3] {
    const PERIOD_MICROS: u64 = 64_000_000;
    let ticks = ((now.as_micros() % PERIOD_MICROS) << 18) / 1_000_000;
    let [.., a, b, c] = ticks.to_be_bytes();
    [a, b, c]
}

/// The send time of an abs-send-time element, modulo 64 s.
#[inline]
pub fn parse_abs_send_time(data: &[u8]) -> Option<Duration> {
    let [a, b, c] = *data.first_chunk()?;
    let ticks = u64::from(u32::from_be_bytes([0, a, b, c]));
    Some(Duration::from_micros((ticks * 1_000_000) >> 18))
}

/// The fields of an outgoing RTP header. CSRCs are never written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeaderBuilder {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0–127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// SSRC.
    pub ssrc: u32,
}

impl HeaderBuilder {
    /// Writes the header with the given extension elements (id, data) to the front of `out` and returns its
    /// length. The one-byte form is used unless an id above 14 or a length of 0 or above 16 needs the
    /// two-byte form.
    ///
    /// `None`, and nothing written, if there is not enough room, or if an element has id 0 or more than 255
    /// bytes, or if there are more than [`MAX_EXTENSION_ELEMENTS`] (T35).
    #[inline]
    pub fn write(&self, out: &mut [u8], elements: &[(u8, &[u8])]) -> Option<usize> {
        let HeaderBuilder {
            marker,
            payload_type,
            sequence,
            timestamp,
            ssrc,
        } = *self;
        let extension = !elements.is_empty();
        let fixed = fixed_header(extension, marker, payload_type, sequence, timestamp, ssrc);
        if !extension {
            *out.first_chunk_mut()? = fixed;
            return Some(FIXED_HEADER);
        }

        let (form, bytes) = measure(elements)?;
        let words = bytes.div_ceil(4);
        let len = FIXED_HEADER + EXTENSION_HEADER + 4 * words;
        let out = out.get_mut(..len)?;
        let (fixed_out, rest) = out.split_first_chunk_mut()?;
        let (profile_out, rest) = rest.split_first_chunk_mut()?;
        let (words_out, mut rest) = rest.split_first_chunk_mut()?;
        let profile = match form {
            Form::OneByte => ONE_BYTE_PROFILE,
            Form::TwoByte => TWO_BYTE_PROFILE,
        };
        *fixed_out = fixed;
        *profile_out = profile.to_be_bytes();
        *words_out = u16::try_from(words).ok()?.to_be_bytes();
        for &(id, data) in elements {
            // `measure` made sure that ids and lengths fit their fields.
            let len = data.len() as u8;
            match form {
                Form::OneByte => put_front(&mut rest, &[id << 4 | (len - 1)]),
                Form::TwoByte => put_front(&mut rest, &[id, len]),
            }
            put_front(&mut rest, data);
        }
        rest.fill(0);
        Some(len)
    }
}

/// The form that can carry all elements, and their length in it without padding.
fn measure(elements: &[(u8, &[u8])]) -> Option<(Form, usize)> {
    if elements.len() > MAX_EXTENSION_ELEMENTS {
        return None;
    }
    let mut form = Form::OneByte;
    let mut data_len = 0;
    for (id, data) in elements {
        if *id == 0 || data.len() > usize::from(u8::MAX) {
            return None;
        }
        if *id > ONE_BYTE_MAX_ID || data.is_empty() || data.len() > ONE_BYTE_MAX_LEN {
            form = Form::TwoByte;
        }
        data_len += data.len();
    }
    let prefix = match form {
        Form::OneByte => 1,
        Form::TwoByte => 2,
    };
    Some((form, data_len + prefix * elements.len()))
}

/// Moves `bytes` into the front of `out` and shortens it by them.
fn put_front(out: &mut &mut [u8], bytes: &[u8]) {
    if let Some((front, rest)) = std::mem::take(out).split_at_mut_checked(bytes.len()) {
        front.copy_from_slice(bytes);
        *out = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet with this extension and no payload.
    fn packet(profile: u16, block: &[u8]) -> Vec<u8> {
        assert!(block.len().is_multiple_of(4));
        let mut packet = fixed_header(true, false, 111, 1, 2, 3).to_vec();
        packet.extend(profile.to_be_bytes());
        packet.extend(((block.len() / 4) as u16).to_be_bytes());
        packet.extend(block);
        packet
    }

    fn read(packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let header = RtpHeader::parse(packet).unwrap();
        elements(&header, packet)
            .map(|(id, data)| (id, data.to_vec()))
            .collect()
    }

    #[test]
    fn reads_the_one_byte_form() {
        let block = [0x10, 0x85, 0, 0x51, 0xAA, 0xBB, 0, 0];
        for profile in [ONE_BYTE_PROFILE, CRYPTEX_ONE_BYTE_PROFILE] {
            assert_eq!(
                read(&packet(profile, &block)),
                [(1, vec![0x85]), (5, vec![0xAA, 0xBB])]
            );
        }
    }

    #[test]
    fn reads_the_two_byte_form() {
        let block = [15, 0, 0, 200, 3, 1, 2, 3];
        for profile in [TWO_BYTE_PROFILE, 0x100F, CRYPTEX_TWO_BYTE_PROFILE] {
            assert_eq!(
                read(&packet(profile, &block)),
                [(15, vec![]), (200, vec![1, 2, 3])]
            );
        }
    }

    #[test]
    fn t35_the_one_byte_form_stops_at_15_and_at_the_reserved_id_0() {
        assert_eq!(
            read(&packet(
                ONE_BYTE_PROFILE,
                &[0x10, 7, 0xF0, 7, 0x20, 7, 0, 0]
            )),
            [(1, vec![7])]
        );
        assert_eq!(
            read(&packet(
                ONE_BYTE_PROFILE,
                &[0x10, 7, 0x01, 7, 0x20, 7, 0, 0]
            )),
            [(1, vec![7])]
        );
    }

    #[test]
    fn t35_an_element_beyond_the_block_ends_it() {
        assert_eq!(
            read(&packet(ONE_BYTE_PROFILE, &[0x10, 7, 0x2F, 7])),
            [(1, vec![7])]
        );
        assert_eq!(
            read(&packet(TWO_BYTE_PROFILE, &[1, 1, 7, 2])),
            [(1, vec![7])]
        );
        let mut long = vec![9; 260];
        long[..2].copy_from_slice(&[1, 255]);
        assert_eq!(read(&packet(TWO_BYTE_PROFILE, &long)), [(1, vec![9; 255])]);
        assert_eq!(read(&packet(TWO_BYTE_PROFILE, &long[..256])), []);
    }

    #[test]
    fn t35_zeros_only_and_unknown_profiles_hold_nothing() {
        assert_eq!(read(&packet(ONE_BYTE_PROFILE, &[0; 1_400])), []);
        assert_eq!(read(&packet(TWO_BYTE_PROFILE, &[0; 1_400])), []);
        assert_eq!(read(&packet(0x1234, &[0x10, 7, 0, 0])), []);
        assert_eq!(read(&packet(0, &[0x10, 7, 0, 0])), []);
    }

    #[test]
    fn t35_at_most_16_elements_are_read_and_duplicates_keep_their_order() {
        let block: Vec<u8> = (0..20).flat_map(|n| [0x10, n]).collect();
        let found = read(&packet(ONE_BYTE_PROFILE, &block));
        assert_eq!(found.len(), MAX_EXTENSION_ELEMENTS);
        assert_eq!(found[0], (1, vec![0]));
    }

    #[test]
    fn audio_levels() {
        assert_eq!(
            AudioLevel::parse(&[0x85]),
            Some(AudioLevel {
                voice: true,
                level: 5
            })
        );
        assert_eq!(
            AudioLevel::parse(&[127]),
            Some(AudioLevel {
                voice: false,
                level: 127
            })
        );
        assert_eq!(AudioLevel::parse(&[]), None);
    }

    #[test]
    fn abs_send_time_is_6_18_fixed_point_modulo_64_seconds() {
        assert_eq!(abs_send_time(Time::from_millis(1_500)), [0x06, 0, 0]);
        assert_eq!(abs_send_time(Time::from_millis(64_000 + 500)), [0x02, 0, 0]);
        assert_eq!(
            abs_send_time(Time::from_micros(63_999_999)),
            [0xFF, 0xFF, 0xFF]
        );
        assert_eq!(
            parse_abs_send_time(&[0x06, 0, 0]),
            Some(Duration::from_millis(1_500))
        );
        assert_eq!(parse_abs_send_time(&[0x06, 0]), None);
    }

    const BUILDER: HeaderBuilder = HeaderBuilder {
        marker: true,
        payload_type: 100,
        sequence: 7,
        timestamp: 8,
        ssrc: 9,
    };

    #[test]
    fn writes_a_header_without_extension() {
        let mut out = [0xEE; 13];
        assert_eq!(BUILDER.write(&mut out, &[]), Some(12));
        assert_eq!(out, [0x80, 0xE4, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9, 0xEE]);
        assert_eq!(BUILDER.write(&mut out[..11], &[]), None);
    }

    #[test]
    fn writes_the_one_byte_form_with_padding() {
        let mut out = [0xEE; 25];
        assert_eq!(
            BUILDER.write(&mut out, &[(1, &[0x85]), (5, &[1, 2])]),
            Some(24)
        );
        assert_eq!(
            out[12..],
            [0xBE, 0xDE, 0, 2, 0x10, 0x85, 0x51, 1, 2, 0, 0, 0, 0xEE]
        );
    }

    #[test]
    fn t35_no_room_or_no_valid_element_leaves_the_buffer_alone() {
        let five: [(u8, &[u8]); 5] = [
            (1, &[1]),
            (2, &[1; 2]),
            (3, &[1; 3]),
            (4, &[1; 4]),
            (5, &[1; 16]),
        ];
        let mut exact = [0; 12 + 4 + 32];
        assert_eq!(BUILDER.write(&mut exact, &five), Some(48));

        let mut untouched = [0xEE; 400];
        let (long, many) = ([0; 256], [(1, [0].as_slice()); MAX_EXTENSION_ELEMENTS + 1]);
        assert_eq!(BUILDER.write(&mut untouched[..47], &five), None);
        assert_eq!(BUILDER.write(&mut untouched, &[(0, &[1])]), None);
        assert_eq!(BUILDER.write(&mut untouched, &[(1, &long)]), None);
        assert_eq!(BUILDER.write(&mut untouched, &many), None);
        assert_eq!(untouched, [0xEE; 400]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            marker: bool, payload_type in 0..128u8, sequence: u16, timestamp: u32, ssrc: u32,
            given in proptest::collection::vec((1u8.., proptest::collection::vec(any::<u8>(), 0..40)), 0..=16),
        ) {
            let builder = HeaderBuilder { marker, payload_type, sequence, timestamp, ssrc };
            let borrowed: Vec<(u8, &[u8])> = given.iter().map(|(id, data)| (*id, data.as_slice())).collect();
            let mut out = [0xEE; 1_024];
            let len = builder.write(&mut out, &borrowed).unwrap();
            let header = RtpHeader::parse(&out[..len]).unwrap();
            prop_assert_eq!(usize::from(header.payload_start), len);
            prop_assert_eq!(
                (header.marker, header.payload_type, header.sequence, header.timestamp, header.ssrc),
                (marker, payload_type, sequence, timestamp, ssrc)
            );
            prop_assert_eq!(elements(&header, &out).collect::<Vec<_>>(), borrowed);
            let two_bytes = given.iter().any(|(id, data)| *id > 14 || !(1..=16).contains(&data.len()));
            prop_assert_eq!(header.extension_profile == TWO_BYTE_PROFILE, two_bytes);
            prop_assert_eq!(out[len], 0xEE);
        }

        #[test]
        fn any_block_gives_at_most_16_elements_inside_it(
            profile in prop_oneof![
                Just(ONE_BYTE_PROFILE), Just(TWO_BYTE_PROFILE), Just(0xC0DE), Just(0xC2DE), any::<u16>()
            ],
            words in proptest::collection::vec(any::<[u8; 4]>(), 0..80),
        ) {
            let block = words.concat();
            let packet = packet(profile, &block);
            let header = RtpHeader::parse(&packet).unwrap();
            let found: Vec<_> = elements(&header, &packet).collect();
            prop_assert!(found.len() <= MAX_EXTENSION_ELEMENTS);
            let total: usize = found.iter().map(|(_, data)| data.len() + 1).sum();
            prop_assert!(total <= block.len());
        }
    }
}

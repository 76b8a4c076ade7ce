//! Reads the recordings of `bridge/testdata/streams`.

use std::sync::Arc;

use crate::media::{Codec, Extension, ExtensionMap, Feedback, MediaFormats, PayloadType};
use crate::wire::extensions::HeaderBuilder;

/// Payload types of retransmissions are those of the media plus this.
const RTX: u8 = 1;

/// A packet as a browser sent it, its payload cut.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// µs since the first packet.
    pub micros: u64,
    pub encoding: u8,
    pub payload_type: u8,
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    elements: Vec<(u8, Vec<u8>)>,
    len: usize,
    head: Vec<u8>,
}

impl Recorded {
    fn read(line: &str) -> Option<Recorded> {
        let mut fields = line.split(' ');
        let mut next = || fields.next();
        let packet = Recorded {
            micros: next()?.parse().ok()?,
            encoding: next()?.parse().ok()?,
            payload_type: next()?.parse().ok()?,
            marker: next()? == "1",
            sequence: next()?.parse().ok()?,
            timestamp: next()?.parse().ok()?,
            elements: match next()? {
                "-" => Vec::new(),
                elements => elements
                    .split(',')
                    .map(|element| {
                        let (id, value) = element.split_once(':')?;
                        Some((id.parse().ok()?, unhex(value)?))
                    })
                    .collect::<Option<_>>()?,
            },
            len: next()?.parse().ok()?,
            head: match next()? {
                "-" => Vec::new(),
                head => unhex(head)?,
            },
        };
        next().is_none().then_some(packet)
    }

    /// The packet on an SSRC, with other bytes where its payload was cut.
    pub fn rtp(&self, ssrc: u32) -> Vec<u8> {
        self.build(ssrc, self.payload_type, self.sequence, &[])
    }

    /// The same packet sent again as number `sequence` of a stream of retransmissions (RFC 4588 §4).
    pub fn rtx(&self, ssrc: u32, sequence: u16) -> Vec<u8> {
        let original = self.sequence.to_be_bytes();
        self.build(ssrc, self.payload_type + RTX, sequence, &original)
    }

    fn build(&self, ssrc: u32, payload_type: u8, sequence: u16, front: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x5a; 2_000];
        let elements: Vec<(u8, &[u8])> = self
            .elements
            .iter()
            .map(|(id, value)| (*id, value.as_slice()))
            .collect();
        let header = HeaderBuilder {
            marker: self.marker,
            payload_type,
            sequence,
            timestamp: self.timestamp,
            ssrc,
        };
        let at = header.write(&mut packet, &elements).expect("there is room");
        packet[at..at + front.len()].copy_from_slice(front);
        let at = at + front.len();
        packet[at..at + self.head.len()].copy_from_slice(&self.head);
        packet.truncate(at + self.len);
        packet
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// What a browser sent of one source.
#[derive(Debug)]
pub struct Recording {
    pub formats: Arc<MediaFormats>,
    pub encodings: u8,
    pub packets: Vec<Recorded>,
}

impl Recording {
    pub fn read(text: &str) -> Recording {
        let mut payload_types = Vec::new();
        let mut extensions = ExtensionMap::default();
        let mut encodings = 0;
        let mut packets = Vec::new();
        for line in text.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            match fields[..] {
                ["#", ..] => {}
                ["payload", number, codec] => {
                    let number: u8 = number.parse().expect("a number");
                    payload_types.extend(formats(number, codec));
                }
                ["extension", id, name] => {
                    let extension = match name {
                        "audio-level" => Extension::AudioLevel,
                        "dependency-descriptor" => Extension::DependencyDescriptor,
                        other => panic!("{other}"),
                    };
                    extensions.set(extension, id.parse().expect("a number"));
                }
                ["encodings", count] => encodings = count.parse().expect("a number"),
                _ => packets.push(Recorded::read(line).unwrap_or_else(|| panic!("{line}"))),
            }
        }
        let formats = MediaFormats {
            payload_types,
            extensions,
            extmap_allow_mixed: true,
        };
        Recording {
            formats: Arc::new(formats),
            encodings,
            packets,
        }
    }
}

/// A codec, and for video that of its retransmissions.
fn formats(number: u8, name: &str) -> Vec<PayloadType> {
    let (codec, clock_rate) = match name {
        "VP8" => (Codec::Vp8, 90_000),
        "VP9" => (Codec::Vp9, 90_000),
        "AV1" => (Codec::Av1, 90_000),
        "H264" => (Codec::H264, 90_000),
        "OPUS" => (Codec::Opus, 48_000),
        "RED" => (Codec::Red, 48_000),
        other => panic!("{other}"),
    };
    let payload = |number, codec, associated| PayloadType {
        number,
        codec,
        clock_rate,
        associated,
        feedback: Feedback::default(),
    };
    let mut formats = vec![payload(number, codec, None)];
    if clock_rate == 90_000 {
        formats.push(payload(number + RTX, Codec::Rtx, Some(number)));
    }
    formats
}

//! Recordings of what browsers send, cut down to what a bridge reads of it: test data for the packet path.
//!
//! The format is described in `bridge/testdata/streams/README.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Bytes kept of a payload that begins a frame: descriptors, and structures of layers in keyframes.
const FIRST_HEAD: usize = 48;
/// Bytes kept of other payloads.
const LATER_HEAD: usize = 6;
/// The same where a source has one stream, which may have spatial layers.
const LAYER_HEAD: usize = 16;
/// Header extensions that a bridge reads to choose among packets, by their ids in the demo.
const EXTENSIONS: [(u8, &str); 2] = [(1, "audio-level"), (11, "dependency-descriptor")];
/// Bytes of a pcap file's header, and of that of a record.
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// What to keep of a capture.
pub struct Wanted<'a> {
    /// First line of the result: what it is.
    pub title: &'a str,
    /// SSRCs of the encodings, lowest first.
    pub ssrcs: &'a [u32],
    /// Payload types and their codecs.
    pub payload_types: &'a [(u8, &'a str)],
    /// Port of the bridge.
    pub bridge: u16,
    /// Length of the result, in bytes, at most.
    pub max_len: usize,
}

/// An RTP packet in a capture.
struct Packet<'a> {
    micros: u64,
    to: u16,
    data: &'a [u8],
}

impl Packet<'_> {
    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.data.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }

    /// Where extensions and payload begin and end: (extensions, whether in the two-byte form, payload start, payload end).
    fn parts(&self) -> Option<(&[u8], bool, usize, usize)> {
        let first = *self.data.first()?;
        let mut at = 12 + 4 * usize::from(first & 0x0f);
        let mut extensions: &[u8] = &[];
        let mut two_bytes = false;
        if first & 0x10 != 0 {
            let head = self.word(at)?;
            let len = 4 * (head & 0xffff) as usize;
            extensions = self.data.get(at + 4..at + 4 + len)?;
            two_bytes = head >> 20 == 0x100;
            at += 4 + len;
        }
        let padding = if first & 0x20 == 0 {
            0
        } else {
            usize::from(*self.data.last()?)
        };
        let end = self.data.len().checked_sub(padding)?;
        (at <= end).then_some((extensions, two_bytes, at, end))
    }
}

/// The UDP datagrams of a pcap file as the bridge writes it (microseconds, little-endian, raw IP).
fn datagrams(file: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    let mut rest = file.get(FILE_HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let field = |at: usize| {
            let bytes = rest.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let micros = u64::from(field(0)?) * 1_000_000 + u64::from(field(4)?);
        let len = field(8)? as usize;
        let ip = rest.get(RECORD_HEADER..RECORD_HEADER + len)?;
        rest = &rest[RECORD_HEADER + len..];
        let udp = ip.get(if ip.first()? >> 4 == 4 { 20 } else { 40 }..)?;
        Some(Packet {
            micros,
            to: u16::from_be_bytes(udp.get(2..4)?.try_into().ok()?),
            data: udp.get(8..)?,
        })
    })
}

/// The elements of a header extension (RFC 8285 §4).
fn elements(mut rest: &[u8], two_bytes: bool) -> Vec<(u8, &[u8])> {
    let mut elements = Vec::new();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == 0 {
            continue;
        }
        let (id, len) = if two_bytes {
            let [len, tail @ ..] = rest else { break };
            rest = tail;
            (*first, usize::from(*len))
        } else {
            (first >> 4, usize::from(first & 0x0f) + 1)
        };
        let Some(value) = rest.get(..len) else { break };
        rest = &rest[len..];
        elements.push((id, value));
    }
    elements
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Cuts a capture down to the media of one source that the captured endpoint sent. What does not fit any more is left out.
pub fn reduce(capture: &[u8], wanted: &Wanted<'_>) -> String {
    let mut text = format!("# {}\n", wanted.title);
    for (number, codec) in wanted.payload_types {
        let _ = writeln!(text, "payload {number} {codec}");
    }
    for (id, name) in EXTENSIONS {
        let _ = writeln!(text, "extension {id} {name}");
    }
    let _ = writeln!(text, "encodings {}", wanted.ssrcs.len());
    let mut started = None;
    // Timestamp of the newest packet, by encoding.
    let mut newest: BTreeMap<usize, u32> = BTreeMap::new();
    for packet in datagrams(capture).filter(|packet| packet.to == wanted.bridge) {
        let Some(line) = line(&packet, wanted, &mut started, &mut newest) else {
            continue;
        };
        if text.len() + line.len() > wanted.max_len {
            break;
        }
        text.push_str(&line);
    }
    text
}

fn line(
    packet: &Packet<'_>,
    wanted: &Wanted<'_>,
    started: &mut Option<u64>,
    newest: &mut BTreeMap<usize, u32>,
) -> Option<String> {
    let second = *packet.data.get(1)?;
    let (marker, number) = (second >> 7, second & 0x7f);
    // RTCP, retransmissions and padding have other numbers (RFC 5761 §4).
    let known = wanted
        .payload_types
        .iter()
        .any(|(known, _)| *known == number);
    let ssrc = packet.word(8)?;
    let encoding = wanted.ssrcs.iter().position(|known| *known == ssrc)?;
    let (extensions, two_bytes, start, end) = packet.parts()?;
    if !known {
        return None;
    }
    let payload = &packet.data[start..end];
    let sequence = packet.word(0)? & 0xffff;
    let timestamp = packet.word(4)?;
    let first = newest.insert(encoding, timestamp) != Some(timestamp);
    let head = if first { FIRST_HEAD } else { LATER_HEAD };
    // Spatial layers share a timestamp, and each begins with a descriptor of its own.
    let head = if wanted.ssrcs.len() == 1 {
        head.max(LAYER_HEAD)
    } else {
        head
    };
    let micros = packet.micros - *started.get_or_insert(packet.micros);
    let kept = elements(extensions, two_bytes)
        .into_iter()
        .filter(|(id, _)| EXTENSIONS.iter().any(|(known, _)| known == id));
    let kept: Vec<String> = kept
        .map(|(id, value)| format!("{id}:{}", hex(value)))
        .collect();
    let kept = if kept.is_empty() {
        "-".to_owned()
    } else {
        kept.join(",")
    };
    let head = &payload[..head.min(payload.len())];
    let head = if head.is_empty() {
        "-".to_owned()
    } else {
        hex(head)
    };
    Some(format!(
        "{micros} {encoding} {number} {marker} {sequence} {timestamp} {kept} {} {head}\n",
        payload.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A capture of one datagram from port 1 to port 2.
    fn capture(rtp: &[u8]) -> Vec<u8> {
        let len = 28 + rtp.len() as u32;
        let mut file = vec![0; FILE_HEADER];
        for field in [7, 9, len, len] {
            file.extend(u32::to_le_bytes(field));
        }
        file.extend([0x45; 20]);
        file.extend([0, 1, 0, 2, 0, 0, 0, 0]);
        file.extend(rtp);
        file
    }

    #[test]
    fn what_a_bridge_reads_of_a_packet_is_kept() {
        let header = [0xb0, 0x80 | 100, 0, 5, 0, 0, 0, 6, 0, 0, 0, 9];
        // Two elements in the one-byte form, of which one is wanted, and padding.
        let extension = [0xbe, 0xde, 0, 2, 0x30, 1, 0xb1, 8, 9, 0, 0, 0];
        let payload = [0xaa; 60];
        let rtp = [&header[..], &extension, &payload, &[0, 0, 3]].concat();
        let mut wanted = Wanted {
            title: "one",
            ssrcs: &[8, 9],
            payload_types: &[(100, "VP8")],
            bridge: 2,
            max_len: 1_000,
        };
        let expected = format!(
            "# one\npayload 100 VP8\nextension 1 audio-level\nextension 11 dependency-descriptor\nencodings 2\n\
             0 1 100 1 5 6 11:0809 60 {}\n",
            "aa".repeat(FIRST_HEAD)
        );
        assert_eq!(reduce(&capture(&rtp), &wanted), expected);
        wanted.max_len = expected.len() - 1;
        assert!(reduce(&capture(&rtp), &wanted).ends_with("encodings 2\n"));
        wanted.max_len = 1_000;
        wanted.bridge = 1;
        assert!(reduce(&capture(&rtp), &wanted).ends_with("encodings 2\n"));
    }
}

//! The gate before the SCTP engine.
//!
//! `rtc-sctp` trusts an established peer more than we do: it drops a whole packet for one unknown chunk,
//! walks FORWARD-TSN and gap blocks number by number, keeps a stream for each id it ever sees, and counts
//! payload but not overhead. The guard knows just enough of RFC 9260 to give it packets without such
//! surprises: it strips chunks, redirects data of surplus streams to one scratch stream, and follows the
//! peer's TSNs to bound what is kept.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};

use super::record::Reader;
use crate::limits;

/// SCTP common header bytes.
const HEADER: usize = 12;
const CHUNK_HEADER: usize = 4;
const CHECKSUM: std::ops::Range<usize> = 8..12;
/// Bytes of a DATA chunk before the payload.
const DATA_HEADER: usize = 16;
/// TSNs ahead of the cumulative one that are looked at.
const TSN_WINDOW: u32 = 1_024;
/// Where data of surplus streams goes; WebRTC never uses this id (RFC 8832 §6).
pub(super) const SCRATCH_STREAM: u16 = u16::MAX;

mod chunk {
    pub(super) const DATA: u8 = 0;
    pub(super) const INIT: u8 = 1;
    pub(super) const INIT_ACK: u8 = 2;
    pub(super) const SACK: u8 = 3;
    pub(super) const HEARTBEAT: u8 = 4;
    pub(super) const ABORT: u8 = 6;
    pub(super) const SHUTDOWN: u8 = 7;
    pub(super) const SHUTDOWN_ACK: u8 = 8;
    pub(super) const COOKIE_ECHO: u8 = 10;
    pub(super) const COOKIE_ACK: u8 = 11;
    pub(super) const SHUTDOWN_COMPLETE: u8 = 14;
    pub(super) const RECONFIG: u8 = 130;
    pub(super) const FORWARD_TSN: u8 = 192;
}

mod parameter {
    pub(super) const HEARTBEAT_INFO: usize = 1;
    pub(super) const STATE_COOKIE: usize = 7;
    pub(super) const OUTGOING_RESET: usize = 13;
    pub(super) const RECONFIG_RESPONSE: usize = 16;
    pub(super) const SUPPORTED_EXTENSIONS: usize = 0x8008;
    pub(super) const FORWARD_TSN_SUPPORTED: usize = 0xc000;
}

const UNORDERED_FLAG: u8 = 4;

/// What to do with a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing for the engine.
    Drop,
    /// For the engine.
    Pass(Bytes),
    /// A well-formed INIT with this tag, for the engine.
    Init { tag: u32, packet: Bytes },
    /// The peer exceeded what an association may hold.
    Abort,
}

/// Follows one association.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Last TSN of the peer received in sequence; `None` before its INIT or INIT ACK.
    cumulative: Option<u32>,
    /// Offsets are not kept: TSNs after `cumulative` that the engine has.
    ahead: BTreeSet<u32>,
    streams: Vec<u16>,
    /// Chunks that the engine got, less those that came out in messages.
    held: usize,
    resets: usize,
    established: bool,
}

struct Chunk<'a> {
    kind: u8,
    value: &'a [u8],
    /// With header, without padding.
    bytes: &'a [u8],
}

/// The chunks of a packet; `None` if one is malformed or there are too many.
fn chunks(packet: &[u8]) -> Option<Vec<Chunk<'_>>> {
    let mut rest = packet.get(HEADER..)?;
    let mut chunks = Vec::with_capacity(4);
    while !rest.is_empty() {
        let [kind, _, l0, l1] = *rest.first_chunk::<CHUNK_HEADER>()?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let bytes = rest.get(..length)?;
        chunks.push(Chunk {
            kind,
            value: bytes.get(CHUNK_HEADER..)?,
            bytes,
        });
        if chunks.len() > limits::SCTP_CHUNKS_PER_PACKET {
            return None;
        }
        // The padding of the last chunk may be missing.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(chunks)
}

fn is_after(tsn: u32, reference: u32) -> bool {
    tsn != reference && tsn.wrapping_sub(reference) < 1 << 31
}

/// Writes the checksum (RFC 9260 §6.8).
fn seal(packet: &mut BytesMut) {
    packet[CHECKSUM].fill(0);
    let checksum = crc32c::crc32c(packet);
    packet[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
}

fn checksum_is_right(packet: &[u8]) -> bool {
    let Some(Ok(found)) = packet.get(CHECKSUM).map(<[u8; 4]>::try_from) else {
        return false;
    };
    let checksum = crc32c::crc32c_append(
        crc32c::crc32c_append(crc32c::crc32c(&packet[..CHECKSUM.start]), &[0; 4]),
        &packet[CHECKSUM.end..],
    );
    found == checksum.to_le_bytes()
}

impl Guard {
    /// The association is up.
    pub(super) fn established(&mut self) {
        self.established = true;
    }

    pub(super) fn is_established(&self) -> bool {
        self.established
    }

    /// Chunks of messages that are not complete, or not in sequence.
    pub(super) fn held_chunks(&self) -> usize {
        self.held
    }

    /// The engine gave out a message of so many chunks.
    pub(super) fn delivered(&mut self, chunks: usize) {
        self.held = self.held.saturating_sub(chunks);
    }

    /// A stream was reset.
    pub(super) fn forget_stream(&mut self, stream: u16) {
        self.streams.retain(|known| *known != stream);
    }

    /// Judges a packet from the peer.
    pub(super) fn inspect(&mut self, packet: &[u8]) -> Verdict {
        if packet.len() > limits::MAX_DATAGRAM || !checksum_is_right(packet) {
            return Verdict::Drop;
        }
        let Some(chunks) = chunks(packet) else {
            return Verdict::Drop;
        };
        if let Some(init) = chunks
            .iter()
            .find(|c| matches!(c.kind, chunk::INIT | chunk::INIT_ACK))
        {
            return if chunks.len() == 1 {
                self.inspect_init(packet, init)
            } else {
                Verdict::Drop
            };
        }
        let with_cookie = chunks
            .first()
            .is_some_and(|first| first.kind == chunk::COOKIE_ECHO);
        let mut out = BytesMut::with_capacity(packet.len() + 4);
        out.extend_from_slice(&packet[..HEADER]);
        for chunk in &chunks {
            let start = out.len();
            let passes = match chunk.kind {
                chunk::DATA => {
                    let passes = (self.established || with_cookie) && self.data(chunk, &mut out);
                    if self.held > limits::SCTP_HELD_CHUNKS {
                        return Verdict::Abort;
                    }
                    passes
                }
                chunk::SACK => sack_is_sane(chunk.value) && copy(chunk, &mut out),
                chunk::RECONFIG => {
                    let passes = self.reconfig_is_sane(chunk.value) && copy(chunk, &mut out);
                    if self.resets > limits::SCTP_RESETS {
                        return Verdict::Abort;
                    }
                    passes
                }
                chunk::HEARTBEAT => heartbeat_is_sane(chunk.value) && copy(chunk, &mut out),
                chunk::ABORT => {
                    // Its causes would only be logged.
                    out.extend_from_slice(&[chunk::ABORT, 0, 0, CHUNK_HEADER as u8]);
                    true
                }
                chunk::SHUTDOWN => chunk.value.len() == 4 && copy(chunk, &mut out),
                chunk::COOKIE_ECHO => copy(chunk, &mut out),
                // The engine finds the next chunk by what it understood of this one.
                chunk::SHUTDOWN_ACK | chunk::COOKIE_ACK | chunk::SHUTDOWN_COMPLETE => {
                    chunk.value.is_empty() && copy(chunk, &mut out)
                }
                // RFC 9260 §3.2: the high bit says whether the rest of the packet still counts (T51).
                // FORWARD-TSN is not negotiated; an ERROR would end the engine's association.
                kind if kind & 0x80 == 0 && kind != ERROR => break,
                _ => false,
            };
            if !passes {
                out.truncate(start);
            }
            out.resize(out.len().next_multiple_of(4), 0);
        }
        if out.len() == HEADER {
            return Verdict::Drop;
        }
        seal(&mut out);
        Verdict::Pass(out.freeze())
    }

    fn inspect_init(&mut self, packet: &[u8], init: &Chunk<'_>) -> Verdict {
        let mut reader = Reader(init.value);
        let (Some(tag), Some(_), Some(initial_tsn)) =
            (reader.number(4), reader.take(8), reader.number(4))
        else {
            return Verdict::Drop;
        };
        let Some(parameters) = known_parameters(reader) else {
            return Verdict::Drop;
        };
        if tag == 0 || self.established {
            return Verdict::Drop;
        }
        let before_first = (initial_tsn as u32).wrapping_sub(1);
        *self = Guard {
            cumulative: Some(before_first),
            ..Guard::default()
        };
        let fixed = HEADER + CHUNK_HEADER + 16;
        let mut out = BytesMut::with_capacity(fixed + parameters.len());
        out.extend_from_slice(&packet[..fixed]);
        out.extend_from_slice(&parameters);
        let length = (out.len() - HEADER) as u16;
        out[HEADER + 2..HEADER + 4].copy_from_slice(&length.to_be_bytes());
        seal(&mut out);
        let packet = out.freeze();
        match init.kind {
            chunk::INIT => Verdict::Init {
                tag: tag as u32,
                packet,
            },
            _ => Verdict::Pass(packet),
        }
    }

    /// Appends a DATA chunk if it may pass.
    fn data(&mut self, chunk: &Chunk<'_>, out: &mut BytesMut) -> bool {
        let mut reader = Reader(chunk.value);
        let (Some(tsn), Some(stream), Some(cumulative)) =
            (reader.number(4), reader.number(2), self.cumulative)
        else {
            return false;
        };
        if chunk.bytes.len() <= DATA_HEADER {
            return false;
        }
        let (tsn, stream) = (tsn as u32, stream as u16);
        if is_after(tsn, cumulative) {
            if tsn.wrapping_sub(cumulative) > TSN_WINDOW {
                return false;
            }
            if tsn == cumulative.wrapping_add(1) {
                let mut cumulative = tsn;
                while self.ahead.remove(&cumulative.wrapping_add(1)) {
                    cumulative = cumulative.wrapping_add(1);
                }
                self.cumulative = Some(cumulative);
                self.held += 1;
            } else if !self.ahead.contains(&tsn) {
                if self.ahead.len() >= limits::SCTP_OUT_OF_ORDER {
                    return false;
                }
                self.ahead.insert(tsn);
                self.held += 1;
            }
        }
        // Duplicates pass: the engine answers them with an acknowledgement.
        out.extend_from_slice(chunk.bytes);
        if !self.keeps_apart(stream) {
            let at = out.len() - chunk.bytes.len();
            out[at + 1] |= UNORDERED_FLAG;
            out[at + 8..at + 10].copy_from_slice(&SCRATCH_STREAM.to_be_bytes());
        }
        true
    }

    fn keeps_apart(&mut self, stream: u16) -> bool {
        if self.streams.contains(&stream) {
            return true;
        }
        let room = stream != SCRATCH_STREAM && self.streams.len() < limits::SCTP_STREAMS;
        if room {
            self.streams.push(stream);
        }
        room
    }

    /// Few streams, and only when all that was sent on them has come: the engine would keep the request.
    fn reconfig_is_sane(&mut self, value: &[u8]) -> bool {
        let mut reader = Reader(value);
        let mut parameters = 0;
        while !reader.0.is_empty() {
            let Some((kind, mut value)) = next_parameter(&mut reader) else {
                return false;
            };
            parameters += 1;
            match kind {
                parameter::OUTGOING_RESET => {
                    let (Some(_), Some(last_tsn), Some(cumulative)) =
                        (value.take(8), value.number(4), self.cumulative)
                    else {
                        return false;
                    };
                    let streams = value.0.len() / 2;
                    if value.0.len() % 2 != 0
                        || streams > limits::SCTP_STREAMS
                        || is_after(last_tsn as u32, cumulative)
                    {
                        return false;
                    }
                    self.resets += 1;
                }
                parameter::RECONFIG_RESPONSE if value.0.len() == 8 => {}
                _ => return false,
            }
        }
        (1..=2).contains(&parameters)
    }
}

/// ERROR chunk: informational here.
const ERROR: u8 = 9;

fn copy(chunk: &Chunk<'_>, out: &mut BytesMut) -> bool {
    out.extend_from_slice(chunk.bytes);
    true
}

/// The next type-length-value; its value.
fn next_parameter<'a>(reader: &mut Reader<'a>) -> Option<(usize, Reader<'a>)> {
    let kind = reader.number(2)?;
    let length = reader.number(2)?.checked_sub(4)?;
    let value = reader.take(length)?;
    // The padding of the last one may be missing.
    let padding = (length.next_multiple_of(4) - length).min(reader.0.len());
    reader.take(padding)?;
    Some((kind, Reader(value)))
}

/// The parameters of an INIT or INIT ACK that the engine has a use for; `None` if any is malformed.
fn known_parameters(mut reader: Reader<'_>) -> Option<Vec<u8>> {
    let mut known = Vec::new();
    while !reader.0.is_empty() {
        let before = reader.0;
        let (kind, value) = next_parameter(&mut reader)?;
        if matches!(
            kind,
            parameter::STATE_COOKIE | parameter::SUPPORTED_EXTENSIONS
        ) {
            known.extend_from_slice(before.get(..4 + value.0.len())?);
            known.resize(known.len().next_multiple_of(4), 0);
        }
    }
    Some(known)
}

fn heartbeat_is_sane(value: &[u8]) -> bool {
    let mut reader = Reader(value);
    matches!(
        next_parameter(&mut reader),
        Some((parameter::HEARTBEAT_INFO, _))
    ) && reader.0.is_empty()
}

/// Few gap blocks in ascending order that cover few numbers: the engine walks them one by one.
fn sack_is_sane(value: &[u8]) -> bool {
    let mut reader = Reader(value);
    let (Some(_), Some(blocks), Some(duplicates)) =
        (reader.take(8), reader.number(2), reader.number(2))
    else {
        return false;
    };
    let mut previous_end = 0;
    if blocks > limits::SCTP_GAP_BLOCKS {
        return false;
    }
    for _ in 0..blocks {
        let (Some(start), Some(end)) = (reader.number(2), reader.number(2)) else {
            return false;
        };
        if start <= previous_end || end < start {
            return false;
        }
        previous_end = end;
    }
    reader.0.len() == 4 * duplicates && previous_end <= 4 * TSN_WINDOW as usize
}

/// Takes partial reliability out of an INIT or INIT ACK of ours: the engine announces FORWARD-TSN, the
/// guard refuses it. The type is overwritten with another one of the list, so that no length changes.
pub(super) fn without_forward_tsn(packet: Bytes) -> Bytes {
    let parameters = HEADER + CHUNK_HEADER + 16;
    let init = matches!(packet.get(HEADER), Some(&(chunk::INIT | chunk::INIT_ACK)));
    let Some(mut reader) = packet.get(parameters..).map(Reader).filter(|_| init) else {
        return packet;
    };
    let mut out = BytesMut::from(packet.as_ref());
    while !reader.0.is_empty() {
        let at = packet.len() - reader.0.len();
        let Some((kind, value)) = next_parameter(&mut reader) else {
            break;
        };
        match kind {
            parameter::SUPPORTED_EXTENSIONS => {
                for listed in &mut out[at + 4..at + 4 + value.0.len()] {
                    if *listed == chunk::FORWARD_TSN {
                        *listed = chunk::RECONFIG;
                    }
                }
            }
            // Its type becomes a reserved one that is skipped without a report.
            parameter::FORWARD_TSN_SUPPORTED => out[at + 1] = 0xff,
            _ => {}
        }
    }
    seal(&mut out);
    out.freeze()
}

//! RTCP (RFC 3550 §6, RFC 4585, RFC 5104): reading a decrypted compound element by element, and writing one.
//!
//! [`elements`] reads, [`Compound`] writes. The inside of transport-wide feedback belongs to the module of
//! its own; here it is only framed.

use super::{WireError, be16, be32};
use crate::limits::MAX_RTCP_ELEMENTS;
use crate::units::Bitrate;

pub use compound::{Compound, MAX_REPORT_BLOCKS};

mod compound;

/// RTCP packet types.
mod packet_type {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SOURCE_DESCRIPTION: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
}

/// Feedback message types (RFC 4585 §6.2, §6.3, RFC 5104 §4.3.1).
mod format {
    pub(super) const NACK: u8 = 1;
    pub(super) const TRANSPORT_CC: u8 = 15;
    pub(super) const PLI: u8 = 1;
    pub(super) const FIR: u8 = 4;
    pub(super) const APPLICATION: u8 = 15;
}

const VERSION: u8 = 2;
const PADDING_BIT: u8 = 0x20;
const COUNT_MASK: u8 = 0x1F;
const HEADER: usize = 4;
const SENDER_INFO: usize = 24;
const REPORT_BLOCK: usize = 24;
/// Sender and media SSRC in front of feedback.
const FEEDBACK_SSRCS: usize = 8;
const REMB_NAME: [u8; 4] = *b"REMB";

/// One report block (RFC 3550 §6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReportBlock {
    /// SSRC that is reported on.
    pub ssrc: u32,
    /// Lost since the last report, in 1/256 of what was expected.
    pub fraction_lost: u8,
    /// Lost since the beginning; 24 bits signed, written clamped.
    pub cumulative_lost: i32,
    /// Cycles (upper 16 bits) and highest sequence number.
    pub highest_sequence: u32,
    /// Interarrival jitter in RTP timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report, 0 if none.
    pub last_sr: u32,
    /// Delay since that report in 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn parse(bytes: &[u8; REPORT_BLOCK]) -> ReportBlock {
        let word = |at: usize| be32(bytes, at).unwrap_or_default();
        let loss = word(4);
        ReportBlock {
            ssrc: word(0),
            fraction_lost: (loss >> 24) as u8,
            // The shifts extend the sign of 24 bits.
            cumulative_lost: (loss << 8) as i32 >> 8,
            highest_sequence: word(8),
            jitter: word(12),
            last_sr: word(16),
            delay_since_last_sr: word(20),
        }
    }

    fn to_bytes(self) -> [u8; REPORT_BLOCK] {
        const LIMIT: i32 = 1 << 23;
        let lost = self.cumulative_lost.clamp(-LIMIT, LIMIT - 1) as u32 & 0x00FF_FFFF;
        let words = [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_sequence,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        ];
        let mut bytes = [0; REPORT_BLOCK];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

/// Sender information of a sender report (RFC 3550 §6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SenderInfo {
    /// Whose stream.
    pub ssrc: u32,
    /// NTP timestamp: seconds since 1900 (upper 32 bits) and fraction.
    pub ntp: u64,
    /// The same moment in RTP timestamp units.
    pub rtp: u32,
    /// Packets sent so far.
    pub packets: u32,
    /// Payload bytes sent so far.
    pub octets: u32,
}

/// One element of a compound.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Element<'a> {
    /// Sender report.
    SenderReport {
        /// Whose stream.
        ssrc: u32,
        /// NTP timestamp.
        ntp: u64,
        /// RTP timestamp of the same moment.
        rtp: u32,
        /// Packets sent so far.
        packets: u32,
        /// Payload bytes sent so far.
        octets: u32,
        /// What the sender receives.
        reports: ReportBlocks<'a>,
    },
    /// Receiver report.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// What it receives.
        reports: ReportBlocks<'a>,
    },
    /// Generic NACK (RFC 4585 §6.2.1).
    Nack {
        /// Who asks.
        sender: u32,
        /// Stream that lacks packets.
        media: u32,
        /// Sequence numbers that are missing.
        lost: LostSequences<'a>,
    },
    /// Picture loss indication (RFC 4585 §6.3.1).
    Pli {
        /// Who asks.
        sender: u32,
        /// Stream that needs a keyframe.
        media: u32,
    },
    /// Full intra request (RFC 5104 §4.3.1). The streams are in the entries, not in the header.
    Fir {
        /// Who asks.
        sender: u32,
        /// Stream and command number of each request.
        entries: FirEntries<'a>,
    },
    /// Transport-wide congestion control feedback.
    TransportFeedback {
        /// Who reports.
        sender: u32,
        /// SSRC of one of the packets.
        media: u32,
        /// What follows the SSRCs, padding removed.
        body: &'a [u8],
    },
    /// Receiver estimated maximum bitrate.
    Remb {
        /// Who estimates.
        sender: u32,
        /// The estimate.
        bitrate: Bitrate,
        /// Streams that share it.
        ssrcs: Ssrcs<'a>,
    },
    /// Goodbye. Ends nothing here (T43).
    Bye,
    /// Anything else, by packet type.
    Other(u8),
}

/// The elements of a decrypted compound, in order; reduced-size RTCP (RFC 5506) is a compound as well.
///
/// A malformed element gives one error and ends the iteration, what came before it counts; so does the
/// element behind the first [`MAX_RTCP_ELEMENTS`] (T42).
pub fn elements(packet: &[u8]) -> Elements<'_> {
    Elements {
        rest: packet,
        left: MAX_RTCP_ELEMENTS,
    }
}

/// Iterator of [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Elements<'a> {
    fn take(&mut self) -> Result<Element<'a>, WireError> {
        self.left = self.left.checked_sub(1).ok_or(WireError::TooMany)?;
        let [flags, packet_type, l0, l1] = *self.rest.first_chunk().ok_or(WireError::Truncated)?;
        if flags >> 6 != VERSION {
            return Err(WireError::Version);
        }
        let len = HEADER + 4 * usize::from(u16::from_be_bytes([l0, l1]));
        let (element, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(WireError::Truncated)?;
        let mut body = element.get(HEADER..).ok_or(WireError::Truncated)?;
        if flags & PADDING_BIT != 0 {
            let count = usize::from(*body.last().ok_or(WireError::Padding)?);
            let kept = body
                .len()
                .checked_sub(count)
                .filter(|_| count != 0)
                .ok_or(WireError::Padding)?;
            body = body.get(..kept).ok_or(WireError::Padding)?;
        }
        self.rest = rest;
        parse(packet_type, flags & COUNT_MASK, body)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let element = self.take();
        if element.is_err() {
            self.rest = &[];
        }
        Some(element)
    }
}

fn parse(packet_type: u8, count: u8, body: &[u8]) -> Result<Element<'_>, WireError> {
    match (packet_type, count) {
        (packet_type::SENDER_REPORT, _) => {
            let (info, rest) = body
                .split_at_checked(SENDER_INFO)
                .ok_or(WireError::Truncated)?;
            Ok(Element::SenderReport {
                ssrc: word(info, 0)?,
                ntp: u64::from(word(info, 4)?) << 32 | u64::from(word(info, 8)?),
                rtp: word(info, 12)?,
                packets: word(info, 16)?,
                octets: word(info, 20)?,
                reports: ReportBlocks::new(rest, count)?,
            })
        }
        (packet_type::RECEIVER_REPORT, _) => {
            let (ssrc, rest) = body.split_at_checked(4).ok_or(WireError::Truncated)?;
            Ok(Element::ReceiverReport {
                ssrc: word(ssrc, 0)?,
                reports: ReportBlocks::new(rest, count)?,
            })
        }
        (packet_type::TRANSPORT_FEEDBACK, format::NACK) => {
            let (sender, media, control) = feedback(body)?;
            Ok(Element::Nack {
                sender,
                media,
                lost: LostSequences::new(control)?,
            })
        }
        (packet_type::TRANSPORT_FEEDBACK, format::TRANSPORT_CC) => {
            let (sender, media, body) = feedback(body)?;
            Ok(Element::TransportFeedback {
                sender,
                media,
                body,
            })
        }
        (packet_type::PAYLOAD_FEEDBACK, format::PLI) => {
            let (sender, media, _) = feedback(body)?;
            Ok(Element::Pli { sender, media })
        }
        (packet_type::PAYLOAD_FEEDBACK, format::FIR) => {
            let (sender, _, control) = feedback(body)?;
            Ok(Element::Fir {
                sender,
                entries: FirEntries::new(control)?,
            })
        }
        (packet_type::PAYLOAD_FEEDBACK, format::APPLICATION) => {
            let (sender, _, control) = feedback(body)?;
            match control.strip_prefix(&REMB_NAME) {
                Some(estimate) => remb(sender, estimate),
                None => Ok(Element::Other(packet_type)),
            }
        }
        (packet_type::BYE, _) => Ok(Element::Bye),
        _ => Ok(Element::Other(packet_type)),
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, WireError> {
    be32(bytes, at).ok_or(WireError::Truncated)
}

/// Sender SSRC, media SSRC and feedback control information of a feedback message.
fn feedback(body: &[u8]) -> Result<(u32, u32, &[u8]), WireError> {
    let (ssrcs, control) = body
        .split_at_checked(FEEDBACK_SSRCS)
        .ok_or(WireError::Truncated)?;
    Ok((word(ssrcs, 0)?, word(ssrcs, 4)?, control))
}

/// Count, exponent (6 bits) and mantissa (18 bits), then the SSRCs.
fn remb(sender: u32, estimate: &[u8]) -> Result<Element<'_>, WireError> {
    let (head, ssrcs) = estimate.split_at_checked(4).ok_or(WireError::Truncated)?;
    let head = word(head, 0)?;
    let count = (head >> 24) as usize;
    let exponent = head >> 18 & 0x3F;
    let mantissa = u64::from(head & 0x3_FFFF);
    let (words, []) = ssrcs.as_chunks() else {
        return Err(WireError::Length);
    };
    if words.len() != count {
        return Err(WireError::Length);
    }
    // A shift that loses bits stands for more than anything can carry.
    let lossless = mantissa == 0 || exponent <= mantissa.leading_zeros();
    let bitrate = if lossless {
        Bitrate::bps(mantissa << exponent)
    } else {
        Bitrate::INFINITE
    };
    Ok(Element::Remb {
        sender,
        bitrate,
        ssrcs: Ssrcs { words },
    })
}

/// Report blocks of a report.
#[derive(Clone, Debug)]
pub struct ReportBlocks<'a> {
    blocks: &'a [[u8; REPORT_BLOCK]],
}

impl<'a> ReportBlocks<'a> {
    /// What follows the `count` blocks is a profile-specific extension and not looked at.
    fn new(bytes: &'a [u8], count: u8) -> Result<ReportBlocks<'a>, WireError> {
        let blocks = bytes
            .as_chunks()
            .0
            .get(..usize::from(count))
            .ok_or(WireError::Truncated)?;
        Ok(ReportBlocks { blocks })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.blocks.split_first()?;
        self.blocks = rest;
        Some(ReportBlock::parse(block))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.blocks.len(), Some(self.blocks.len()))
    }
}

impl ExactSizeIterator for ReportBlocks<'_> {}

/// Sequence numbers of a NACK: for every pair the packet id, then those of the bitmask, in order.
#[derive(Clone, Debug)]
pub struct LostSequences<'a> {
    pairs: &'a [[u8; 4]],
    /// What is left of the pair before `pairs`: number of the lowest bit, and bits.
    base: u16,
    bits: u32,
}

impl<'a> LostSequences<'a> {
    fn new(control: &'a [u8]) -> Result<LostSequences<'a>, WireError> {
        match control.as_chunks() {
            ([], _) => Err(WireError::Truncated),
            (pairs, []) => Ok(LostSequences {
                pairs,
                base: 0,
                bits: 0,
            }),
            _ => Err(WireError::Length),
        }
    }
}

impl Iterator for LostSequences<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.bits == 0 {
            let (pair, rest) = self.pairs.split_first()?;
            self.pairs = rest;
            self.base = be16(pair, 0)?;
            // Bit 0 stands for the packet id itself, the mask follows.
            self.bits = u32::from(be16(pair, 2)?) << 1 | 1;
        }
        let offset = self.bits.trailing_zeros() as u16;
        self.bits &= self.bits - 1;
        Some(self.base.wrapping_add(offset))
    }
}

/// Entries of a FIR.
#[derive(Clone, Debug)]
pub struct FirEntries<'a> {
    entries: &'a [[u8; 8]],
}

impl<'a> FirEntries<'a> {
    fn new(control: &'a [u8]) -> Result<FirEntries<'a>, WireError> {
        match control.as_chunks() {
            ([], _) => Err(WireError::Truncated),
            (entries, []) => Ok(FirEntries { entries }),
            _ => Err(WireError::Length),
        }
    }
}

impl Iterator for FirEntries<'_> {
    /// SSRC and command number.
    type Item = (u32, u8);

    fn next(&mut self) -> Option<(u32, u8)> {
        let (&[a, b, c, d, sequence, ..], rest) = self.entries.split_first()?;
        self.entries = rest;
        Some((u32::from_be_bytes([a, b, c, d]), sequence))
    }
}

/// A list of SSRCs.
#[derive(Clone, Debug)]
pub struct Ssrcs<'a> {
    words: &'a [[u8; 4]],
}

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (word, rest) = self.words.split_first()?;
        self.words = rest;
        Some(u32::from_be_bytes(*word))
    }
}

#[cfg(test)]
mod tests;

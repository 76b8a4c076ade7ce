//! Writing a compound.

use super::{
    HEADER, PADDING_BIT, REMB_NAME, ReportBlock, SenderInfo, VERSION, format, packet_type,
};
use crate::units::Bitrate;

/// Report blocks that one report can hold.
pub const MAX_REPORT_BLOCKS: usize = 31;
/// Packets behind the packet id that one NACK pair can name.
const BITMASK_BITS: u16 = 16;
const CNAME: u8 = 1;

/// Writes RTCP elements one behind the other into a buffer.
///
/// Every method writes its element whole and returns true, or, if there is not enough room or the element
/// cannot be expressed, leaves the compound as it was and returns false.
///
/// ```
/// use causeway_bridge::wire::rtcp::Compound;
///
/// let mut buffer = [0; 64];
/// let mut compound = Compound::new(&mut buffer);
/// assert!(compound.pli(1, 2));
/// assert_eq!(compound.len(), 12);
/// ```
#[derive(Debug)]
pub struct Compound<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Compound<'a> {
    /// An empty compound at the front of `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Compound<'a> {
        Compound { buffer, len: 0 }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.buffer.len() - self.len
    }

    /// A sender report with at most [`MAX_REPORT_BLOCKS`] blocks.
    #[must_use]
    pub fn sender_report(&mut self, info: &SenderInfo, blocks: &[ReportBlock]) -> bool {
        self.report(packet_type::SENDER_REPORT, blocks, |element| {
            element.put(&info.ssrc.to_be_bytes())?;
            element.put(&info.ntp.to_be_bytes())?;
            element.put(&info.rtp.to_be_bytes())?;
            element.put(&info.packets.to_be_bytes())?;
            element.put(&info.octets.to_be_bytes())
        })
    }

    /// A receiver report with at most [`MAX_REPORT_BLOCKS`] blocks.
    #[must_use]
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> bool {
        self.report(packet_type::RECEIVER_REPORT, blocks, |element| {
            element.put(&ssrc.to_be_bytes())
        })
    }

    /// A generic NACK for `lost`, which should be in sequence order, wrapped or not, to be packed well. An
    /// empty list cannot be expressed.
    #[must_use]
    pub fn nack(&mut self, sender: u32, media: u32, lost: impl IntoIterator<Item = u16>) -> bool {
        self.feedback(
            packet_type::TRANSPORT_FEEDBACK,
            format::NACK,
            sender,
            media,
            |element| {
                let mut lost = lost.into_iter();
                let mut base = lost.next()?;
                let mut mask = 0u16;
                for sequence in lost {
                    match sequence.wrapping_sub(base) {
                        0 => {}
                        distance if distance <= BITMASK_BITS => mask |= 1 << (distance - 1),
                        _ => {
                            element.put(&base.to_be_bytes())?;
                            element.put(&mask.to_be_bytes())?;
                            (base, mask) = (sequence, 0);
                        }
                    }
                }
                element.put(&base.to_be_bytes())?;
                element.put(&mask.to_be_bytes())
            },
        )
    }

    /// A picture loss indication.
    #[must_use]
    pub fn pli(&mut self, sender: u32, media: u32) -> bool {
        self.feedback(
            packet_type::PAYLOAD_FEEDBACK,
            format::PLI,
            sender,
            media,
            |_| Some(()),
        )
    }

    /// A full intra request for one stream; `command` counts requests, repeats excluded.
    #[must_use]
    pub fn fir(&mut self, sender: u32, ssrc: u32, command: u8) -> bool {
        self.feedback(
            packet_type::PAYLOAD_FEEDBACK,
            format::FIR,
            sender,
            0,
            |element| {
                element.put(&ssrc.to_be_bytes())?;
                element.put(&[command, 0, 0, 0])
            },
        )
    }

    /// A receiver estimated maximum bitrate for at most 255 streams. The rate is rounded down to 18
    /// significant bits.
    #[must_use]
    pub fn remb(&mut self, sender: u32, bitrate: Bitrate, ssrcs: &[u32]) -> bool {
        self.feedback(
            packet_type::PAYLOAD_FEEDBACK,
            format::APPLICATION,
            sender,
            0,
            |element| {
                const MANTISSA_BITS: u32 = 18;
                let bps = bitrate.as_bps();
                let exponent = (u64::BITS - bps.leading_zeros()).saturating_sub(MANTISSA_BITS);
                let mantissa = (bps >> exponent) as u32;
                let count = u8::try_from(ssrcs.len()).ok()?;
                element.put(&REMB_NAME)?;
                element.put(
                    &(u32::from(count) << 24 | exponent << MANTISSA_BITS | mantissa).to_be_bytes(),
                )?;
                ssrcs
                    .iter()
                    .try_for_each(|ssrc| element.put(&ssrc.to_be_bytes()))
            },
        )
    }

    /// Transport-wide feedback; `body` is what follows the SSRCs and is padded to whole words.
    #[must_use]
    pub fn transport_feedback(&mut self, sender: u32, media: u32, body: &[u8]) -> bool {
        self.feedback(
            packet_type::TRANSPORT_FEEDBACK,
            format::TRANSPORT_CC,
            sender,
            media,
            |element| {
                element.put(body)?;
                let padding = body.len().next_multiple_of(4) - body.len();
                if padding > 0 {
                    element.put(&[0; 3][..padding - 1])?;
                    element.put(&[padding as u8])?;
                    element.pad();
                }
                Some(())
            },
        )
    }

    /// A source description that holds nothing but a CNAME of at most 255 bytes.
    #[must_use]
    pub fn cname(&mut self, ssrc: u32, name: &str) -> bool {
        self.element(packet_type::SOURCE_DESCRIPTION, 1, |element| {
            element.put(&ssrc.to_be_bytes())?;
            element.put(&[CNAME, u8::try_from(name.len()).ok()?])?;
            element.put(name.as_bytes())?;
            // One to four zeros end the items and fill the last word.
            let written = 2 + name.len();
            element.put(&[0; 4][..(written + 1).next_multiple_of(4) - written])
        })
    }

    fn report(
        &mut self,
        packet_type: u8,
        blocks: &[ReportBlock],
        write_head: impl FnOnce(&mut ElementWriter<'_>) -> Option<()>,
    ) -> bool {
        if blocks.len() > MAX_REPORT_BLOCKS {
            return false;
        }
        self.element(packet_type, blocks.len() as u8, |element| {
            write_head(element)?;
            blocks
                .iter()
                .try_for_each(|block| element.put(&block.to_bytes()))
        })
    }

    fn feedback(
        &mut self,
        packet_type: u8,
        format: u8,
        sender: u32,
        media: u32,
        write: impl FnOnce(&mut ElementWriter<'_>) -> Option<()>,
    ) -> bool {
        self.element(packet_type, format, |element| {
            element.put(&sender.to_be_bytes())?;
            element.put(&media.to_be_bytes())?;
            write(element)
        })
    }

    /// Writes an element whose body comes from `write`; the length is filled in afterwards.
    fn element(
        &mut self,
        packet_type: u8,
        count: u8,
        write: impl FnOnce(&mut ElementWriter<'_>) -> Option<()>,
    ) -> bool {
        let start = self.len;
        let Some(buffer) = self.buffer.get_mut(start..) else {
            return false;
        };
        let mut element = ElementWriter {
            buffer,
            len: HEADER,
            padded: false,
        };
        let Some(()) = write(&mut element) else {
            return false;
        };
        let len = element.len;
        let Ok(words) = u16::try_from(len / 4 - 1) else {
            return false;
        };
        let Some(header) = element.buffer.first_chunk_mut() else {
            return false;
        };
        let [l0, l1] = words.to_be_bytes();
        let padding = if element.padded { PADDING_BIT } else { 0 };
        *header = [VERSION << 6 | padding | count, packet_type, l0, l1];
        self.len += len;
        true
    }
}

struct ElementWriter<'a> {
    buffer: &'a mut [u8],
    len: usize,
    padded: bool,
}

impl ElementWriter<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let place = self.buffer.get_mut(self.len..)?.get_mut(..bytes.len())?;
        place.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }

    /// Marks the last bytes as padding.
    fn pad(&mut self) {
        self.padded = true;
    }
}

//! An endpoint's negotiated formats in the form that the packet path asks for.

use std::sync::Arc;

use crate::cc::Mechanism;
use crate::media::{Codec, Extension, ExtensionMap, MediaFormats, MediaKind};

const NONE: u8 = 0xFF;

/// What the bridge does with a received payload type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceivedFormat {
    /// Its codec.
    pub codec: Codec,
    /// For RTX: payload type and codec of what is retransmitted.
    pub original: Option<(u8, Codec)>,
}

/// Lookup tables of one endpoint's formats.
#[derive(Clone, Debug)]
pub struct FormatTable {
    formats: Arc<MediaFormats>,
    by_number: [u8; 128],
    rtx_of: [u8; 128],
    /// Payload types with `transport-cc` exist: of video, or of audio if there is no video.
    pub transport_cc: bool,
    /// Audio payload types with `transport-cc` exist: audio is numbered like video.
    pub audio_transport_cc: bool,
    /// `goog-remb` was negotiated.
    pub remb: bool,
    /// The peer understands PLI.
    pub pli: bool,
    /// At least one RTX payload type exists.
    pub rtx: bool,
    /// Payload type of redundant audio.
    pub red: Option<u8>,
    /// At least one audio payload type exists.
    pub audio: bool,
    /// At least one video payload type exists.
    pub video: bool,
}

impl Default for FormatTable {
    fn default() -> Self {
        FormatTable::new(Arc::default())
    }
}

impl FormatTable {
    /// What the endpoint reports about what it is sent. One that reports nothing is taken as it is: its estimate is unknown.
    pub fn mechanism(&self) -> Mechanism {
        if self.transport_cc {
            Mechanism::TransportCc
        } else {
            Mechanism::Remb
        }
    }

    /// Whether the endpoint wants to be told by REMB what to send: it has no transport-cc to find out.
    #[inline]
    pub fn wants_remb(&self) -> bool {
        self.remb && !self.transport_cc
    }

    /// Tables for `formats`.
    pub fn new(formats: Arc<MediaFormats>) -> FormatTable {
        let mut table = FormatTable {
            by_number: [NONE; 128],
            rtx_of: [NONE; 128],
            transport_cc: false,
            audio_transport_cc: false,
            remb: false,
            pli: false,
            rtx: false,
            red: None,
            audio: false,
            video: false,
            formats,
        };
        let formats = Arc::clone(&table.formats);
        for (index, format) in formats.payload_types.iter().enumerate() {
            let Some(entry) = table.by_number.get_mut(usize::from(format.number)) else {
                continue;
            };
            *entry = index as u8;
            if format.codec == Codec::Red {
                table.red.get_or_insert(format.number);
            }
            match kind_of(format.codec) {
                Some(MediaKind::Audio) => {
                    table.audio = true;
                    table.audio_transport_cc |= format.feedback.transport_cc;
                }
                Some(MediaKind::Video) => {
                    table.video = true;
                    table.transport_cc |= format.feedback.transport_cc;
                    table.remb |= format.feedback.remb;
                    table.pli |= format.feedback.pli;
                }
                None => {}
            }
            if format.codec == Codec::Rtx
                && let Some(associated) = format.associated
                && let Some(entry) = table.rtx_of.get_mut(usize::from(associated))
            {
                *entry = format.number;
                table.rtx = true;
            }
        }
        table.transport_cc |= table.audio_transport_cc && !table.video;
        table
    }

    /// Header extension ids.
    pub fn extensions(&self) -> &ExtensionMap {
        &self.formats.extensions
    }

    /// The id of `extension`, if negotiated.
    #[inline]
    pub fn extension(&self, extension: Extension) -> Option<u8> {
        self.formats.extensions.id(extension)
    }

    /// What a received payload type is; `None` = not negotiated.
    #[inline]
    pub fn received(&self, number: u8) -> Option<ReceivedFormat> {
        let format = self.entry(number)?;
        if format.codec != Codec::Rtx {
            return Some(ReceivedFormat {
                codec: format.codec,
                original: None,
            });
        }
        let associated = format.associated?;
        let original = self
            .entry(associated)
            .filter(|format| format.codec != Codec::Rtx)?;
        Some(ReceivedFormat {
            codec: Codec::Rtx,
            original: Some((associated, original.codec)),
        })
    }

    /// The payload type on which this endpoint gets media that came as `number` with `codec`.
    #[inline]
    pub fn outgoing(&self, number: u8, codec: Codec) -> Option<u8> {
        if self
            .entry(number)
            .is_some_and(|format| format.codec == codec)
        {
            return Some(number);
        }
        if let Codec::Other(_) = codec {
            return None;
        }
        self.formats
            .payload_types
            .iter()
            .find(|format| format.codec == codec)
            .map(|format| format.number)
    }

    /// The RTX payload type for a media payload type of this endpoint.
    #[inline]
    pub fn rtx_for(&self, number: u8) -> Option<u8> {
        self.rtx_of
            .get(usize::from(number))
            .copied()
            .filter(|rtx| *rtx != NONE)
    }

    fn entry(&self, number: u8) -> Option<&crate::media::PayloadType> {
        let index = *self.by_number.get(usize::from(number))?;
        self.formats.payload_types.get(usize::from(index))
    }
}

/// Distinct tables of a worker that are looked through.
const MAX_SHARED: usize = 64;

/// The tables of one worker. Clients of one kind negotiate the same formats: they share a table, which then is in the caches when
/// the next of them gets a packet.
#[derive(Debug, Default)]
pub struct FormatTables(Vec<Arc<FormatTable>>);

impl FormatTables {
    /// The table for `formats`, perhaps one that exists.
    pub fn table(&mut self, formats: Arc<MediaFormats>) -> Arc<FormatTable> {
        if let Some(known) = self.0.iter().find(|known| known.formats == formats) {
            return Arc::clone(known);
        }
        let table = Arc::new(FormatTable::new(formats));
        if self.0.len() >= MAX_SHARED {
            self.0.retain(|known| Arc::strong_count(known) > 1);
        }
        if self.0.len() < MAX_SHARED {
            self.0.push(Arc::clone(&table));
        }
        table
    }
}

/// Audio or video; `None` for RTX, which is either.
pub fn kind_of(codec: Codec) -> Option<MediaKind> {
    match codec {
        Codec::Opus | Codec::Red => Some(MediaKind::Audio),
        Codec::Vp8 | Codec::Vp9 | Codec::Av1 | Codec::H264 => Some(MediaKind::Video),
        Codec::Rtx => None,
        Codec::Other(kind) => Some(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Feedback, PayloadType};

    fn format(number: u8, codec: Codec, associated: Option<u8>) -> PayloadType {
        PayloadType {
            number,
            codec,
            clock_rate: 90_000,
            associated,
            feedback: Feedback {
                transport_cc: true,
                pli: true,
                ..Feedback::default()
            },
        }
    }

    fn table(payload_types: Vec<PayloadType>) -> FormatTable {
        FormatTable::new(Arc::new(MediaFormats {
            payload_types,
            ..MediaFormats::default()
        }))
    }

    #[test]
    fn equal_formats_share_a_table_and_tables_are_bounded() {
        let formats = |number| {
            Arc::new(MediaFormats {
                payload_types: vec![format(number, Codec::Vp8, None)],
                ..MediaFormats::default()
            })
        };
        let mut tables = FormatTables::default();
        let first = tables.table(formats(0));
        assert!(Arc::ptr_eq(&first, &tables.table(formats(0))));
        assert!(!Arc::ptr_eq(&first, &tables.table(formats(1))));
        let used: Vec<_> = (0..128)
            .map(|number| tables.table(formats(number)))
            .collect();
        assert_eq!(tables.0.len(), MAX_SHARED);
        assert_eq!(used[127].outgoing(127, Codec::Vp8), Some(127));
        drop(used);
        let last = tables.table(formats(127));
        assert_eq!(tables.0.len(), 2, "those in use");
        assert!(Arc::ptr_eq(&last, &tables.table(formats(127))));
    }

    #[test]
    fn payload_types_are_translated_by_codec() {
        let receiver = table(vec![
            format(102, Codec::Vp8, None),
            format(103, Codec::Rtx, Some(102)),
        ]);
        assert_eq!(receiver.outgoing(100, Codec::Vp8), Some(102));
        assert_eq!(receiver.rtx_for(102), Some(103));
        assert_eq!(receiver.outgoing(111, Codec::Opus), None);
        assert!(receiver.transport_cc && receiver.pli && receiver.rtx && !receiver.audio);
    }

    #[test]
    fn who_reports_no_arrival_times_is_asked_for_its_own_estimate() {
        let mut vp8 = format(102, Codec::Vp8, None);
        assert_eq!(table(vec![vp8.clone()]).mechanism(), Mechanism::TransportCc);
        vp8.feedback.transport_cc = false;
        vp8.feedback.remb = true;
        assert_eq!(table(vec![vp8]).mechanism(), Mechanism::Remb);
    }

    #[test]
    fn rtx_of_rtx_and_rtx_of_nothing_are_not_formats() {
        let sender = table(vec![
            format(96, Codec::Rtx, Some(97)),
            format(97, Codec::Rtx, Some(96)),
            format(98, Codec::Rtx, None),
        ]);
        assert!(
            [96, 97, 98]
                .iter()
                .all(|number| sender.received(*number).is_none())
        );
    }
}

//! Audio that leaves for media exports, and audio that comes from them.

use std::sync::Arc;

use super::Shard;
use crate::counters::Counter;
use crate::export::{Exported, Tap};
use crate::media::{Codec, MediaKind};
use crate::messages::InjectedAudio;
use crate::projection::Payload;
use crate::wire::rtp::RtpHeader;
use crate::worker::context::Context;
use crate::worker::packet::{KEPT_EXTENSIONS, MediaPacket};

/// Bytes of an RTP header without anything optional.
const HEADER: usize = 12;

impl Shard {
    /// Where the conference's audio goes besides.
    pub fn set_taps(&mut self, taps: Arc<[Arc<Tap>]>) {
        self.taps = taps;
    }

    /// Gives an audio packet of a local endpoint to the exports. Without exports nobody calls it.
    #[cold]
    pub(super) fn export_audio(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        packet: &Arc<MediaPacket>,
    ) {
        let source = &self.sources[index];
        if source.synthetic || !matches!(packet.codec, Codec::Opus | Codec::Red) {
            return;
        }
        for tap in self.taps.iter() {
            let exported = Exported {
                source: source.name.clone(),
                owner: source.owner_id.clone(),
                diarize: source.diarize,
                packet: Arc::clone(packet),
            };
            cx.export(tap, exported);
        }
    }

    /// Lets a synthetic source of a local endpoint speak.
    pub fn inject_audio(&mut self, cx: &mut Context<'_>, audio: &InjectedAudio) {
        let Some(source) = self
            .by_source
            .get(&audio.source)
            .and_then(|index| self.sources.get_mut(*index))
        else {
            return;
        };
        let owner = source
            .local_owner
            .and_then(|owner| self.endpoints.get(owner));
        let Some(owner) = owner.filter(|_| source.synthetic && source.kind == MediaKind::Audio)
        else {
            return;
        };
        // Receivers map the numbers of the owner; one that did not negotiate Opus has none.
        let payload_type = owner.formats.outgoing(u8::MAX, Codec::Opus);
        let mut packet = cx.buffers.take();
        let (Some(payload_type), Some(filled)) = (payload_type, Arc::get_mut(&mut packet)) else {
            cx.count(Counter::DropPayload);
            return;
        };
        let end = HEADER + audio.payload.len();
        let Some(place) = filled.data.get_mut(HEADER..end) else {
            cx.count(Counter::DropPayload);
            return;
        };
        place.copy_from_slice(&audio.payload);
        source.injected += 1;
        filled.source = source.key;
        filled.owner = source.owner;
        filled.encoding = 0;
        filled.codec = Codec::Opus;
        filled.arrival = cx.now;
        filled.header = RtpHeader {
            payload_type,
            sequence: source.injected as u16,
            timestamp: audio.timestamp,
            ssrc: source.primary_ssrc(),
            payload_start: HEADER as u16,
            ..RtpHeader::default()
        };
        filled.index = source.injected;
        filled.original = source.injected;
        filled.payload_end = end as u16;
        filled.descriptor = Payload::Opaque;
        filled.level = None;
        filled.kept = [(0, 0); KEPT_EXTENSIONS.len()];
        self.deliver(cx, packet, true);
    }
}

//! What one endpoint is sent by time: packets that wait in its pacer, probes, padding.

use std::sync::Arc;

use super::downlink::Downlink;
use super::formats::FormatTable;
use crate::capture::Direction;
use crate::cc::ClusterId;
use crate::counters::Counter;
use crate::ids::SourceKey;
use crate::limits::{self, PACKET_BUFFER};
use crate::media::Extension;
use crate::projection::Rewrite;
use crate::projection::cache::PacketCache;
use crate::wire::extensions::HeaderBuilder;
use crate::worker::context::Context;
use crate::worker::packet::MediaPacket;

/// Bytes of a packet of padding.
const PADDING: usize = 255;
/// Packets that one probe repeats at most; the rest of a longer one is padding.
const MOST_REPEATED: usize = 32;

/// A video packet that waits to be sent. Its number for transport-cc, and that of a retransmission, it gets when it is.
#[derive(Debug)]
pub(crate) struct Paced {
    packet: Arc<MediaPacket>,
    rewrite: Rewrite,
    stream: u32,
    /// Of the media; `None` for a retransmission.
    payload_type: Option<u8>,
}

impl Downlink {
    /// A packet that the pacer did not admit waits there. `payload_type` is `None` for a retransmission.
    #[cold]
    pub(super) fn hold(
        &mut self,
        cx: &mut Context<'_>,
        formats: &FormatTable,
        stream_index: usize,
        packet: Arc<MediaPacket>,
        rewrite: Rewrite,
        payload_type: Option<u8>,
    ) {
        let size = packet.size();
        let paced = Paced {
            packet,
            rewrite,
            stream: stream_index as u32,
            payload_type,
        };
        cx.count(Counter::Paced);
        self.pacer.push(cx.now, size, paced, payload_type.is_none());
        cx.buffers.paced += 1;
        while (self.pacer.is_overfull() || cx.buffers.paced > limits::PACED_PACKETS_OF_WORKER)
            && let Some(next) = self.pacer.take(cx.now)
        {
            cx.count(Counter::PacerFull);
            self.send_held(cx, formats, next, None);
        }
    }

    /// Sends a packet that waited; its size.
    fn send_held(
        &mut self,
        cx: &mut Context<'_>,
        formats: &FormatTable,
        held: Paced,
        cluster: Option<ClusterId>,
    ) -> Option<usize> {
        let Paced {
            packet,
            rewrite,
            stream,
            payload_type,
        } = held;
        cx.buffers.paced = cx.buffers.paced.saturating_sub(1);
        let stream = stream as usize;
        let size = match payload_type {
            Some(number) => {
                self.send_video(cx, formats, stream, &packet, &rewrite, number, cluster)
            }
            None => self.send_rtx(cx, formats, stream, &packet, &rewrite, cluster),
        };
        cx.buffers.recycle(packet);
        size
    }

    /// Sends what waits in the pacer and is due.
    pub fn send_paced(&mut self, cx: &mut Context<'_>, formats: &FormatTable) {
        while let Some(held) = self.pacer.poll(cx.now) {
            self.send_held(cx, formats, held, None);
        }
    }

    /// The endpoint is gone: what waits for it is given back.
    pub fn forget_paced(&mut self, cx: &mut Context<'_>) {
        while let Some(held) = self.pacer.take(cx.now) {
            cx.buffers.paced = cx.buffers.paced.saturating_sub(1);
            cx.buffers.recycle(held.packet);
        }
    }

    /// Sends about `bytes` of probing traffic: what waits in the pacer, then the newest media again, which repairs what may be lost, and
    /// then padding, all but the first on the RTX SSRC of a stream that has sent media, as libwebrtc does (media-plane spec §2.23).
    /// `caches` gives a source's packets. False if there is no such stream.
    pub fn probe<'a>(
        &mut self,
        cx: &mut Context<'_>,
        formats: &FormatTable,
        cluster: Option<ClusterId>,
        bytes: usize,
        caches: impl Fn(SourceKey) -> &'a [PacketCache],
    ) -> bool {
        let mut left = bytes;
        if self.pacer.is_backlogged() {
            // There is no room for padding. A probe takes what waits, as libwebrtc's does; what was not sent yet is not repeated.
            if cluster.is_none() {
                return true;
            }
            while left > 0
                && let Some(held) = self.pacer.take(cx.now)
            {
                let size = self.send_held(cx, formats, held, cluster);
                left = left.saturating_sub(size.unwrap_or(0));
            }
            if left == 0 {
                return true;
            }
        }
        let carrier = self
            .video
            .iter()
            .find(|(_, stream)| stream.rtx.is_some() && stream.newest.is_some());
        let Some((index, stream)) = carrier else {
            return false;
        };
        let caches = caches(stream.source);
        let mut repeats: [Option<(Arc<MediaPacket>, Rewrite)>; MOST_REPEATED] = Default::default();
        let mut planned = 0;
        let newest = stream.records.newest_first().filter_map(|sent| {
            let cache = caches.get(usize::from(sent.encoding()))?;
            let packet = Arc::clone(cache.get(cx.now, sent.index())?);
            let rewrite = sent.rewrite(&packet.numbers());
            Some((packet, rewrite))
        });
        // Padding keeps to its rate. A probe is the better for being longer than the burst that a shaper lets through.
        let fits = |packet: &MediaPacket| cluster.is_some() || packet.size() <= bytes + PADDING;
        let newest = newest.filter(|(packet, _)| fits(packet));
        for (place, (packet, rewrite)) in repeats.iter_mut().zip(newest) {
            if planned >= left {
                break;
            }
            planned += packet.size();
            *place = Some((packet, rewrite));
        }
        for (packet, rewrite) in repeats.into_iter().flatten() {
            let size = self.send_rtx(cx, formats, index, &packet, &rewrite, cluster);
            cx.buffers.recycle(packet);
            match size {
                Some(size) => {
                    self.pacer.charge(cx.now, size);
                    left = left.saturating_sub(size);
                }
                None => break,
            }
        }
        while left > 0 {
            let Some(size) = self.send_padding(cx, formats, index, cluster) else {
                return false;
            };
            self.pacer.charge(cx.now, size);
            left = left.saturating_sub(size);
        }
        true
    }

    /// One padding-only packet on a stream's RTX SSRC.
    fn send_padding(
        &mut self,
        cx: &mut Context<'_>,
        formats: &FormatTable,
        stream_index: usize,
        cluster: Option<ClusterId>,
    ) -> Option<usize> {
        let path = self.path?;
        let srtp = self.srtp.as_mut()?;
        let stream = self.video.get_mut(stream_index)?;
        let (media_type, timestamp) = stream.newest?;
        let payload_type = formats.rtx_for(media_type)?;
        let rtx = stream.rtx.as_mut()?;
        let slot = cx.egress.slot(PACKET_BUFFER)?;
        let mut elements: [(u8, &[u8]); 2] = [(0, &[]); 2];
        let mut count = 0;
        let number;
        if let Some(id) = formats
            .extension(Extension::TransportCc)
            .filter(|_| formats.transport_cc)
        {
            number = self
                .estimator
                .on_sent(cx.now, PADDING + 40, cluster)
                .to_be_bytes();
            elements[count] = (id, &number);
            count += 1;
        }
        if let (Some(mid), Some(id)) = (&stream.mid, formats.extension(Extension::Mid)) {
            elements[count] = (id, mid.as_bytes());
            count += 1;
        }
        let (ssrc, sequence) = (rtx.ssrc(), rtx.next_sequence());
        let header = HeaderBuilder {
            marker: false,
            payload_type,
            sequence: sequence as u16,
            timestamp,
            ssrc,
        };
        let header_len = header.write(slot, &elements[..count])?;
        let len = header_len + PADDING;
        slot.get_mut(header_len..len)?.fill(0);
        slot[len - 1] = PADDING as u8;
        slot[0] |= 0x20;
        if let Some(tap) = &self.capture {
            tap.take(cx.now, Direction::Outgoing, path, &slot[..len]);
        }
        let sealed = srtp.seal_rtp(ssrc, sequence, slot, header_len, len).ok()?;
        cx.egress.commit(path, sealed, &mut self.chain);
        self.count_sent(cx, len);
        Some(len)
    }
}

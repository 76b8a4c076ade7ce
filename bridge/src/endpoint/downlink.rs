//! What one endpoint gets from us: projections, retransmissions, sender reports, bandwidth estimate.
//!
//! This is where the fan-out spends its time: [`Downlink::forward_video`] and [`Downlink::forward_audio`] run once
//! per packet and receiver. They write header and payload straight into the send batch, seal there, and allocate
//! nothing.

use super::formats::FormatTable;
use super::pacing::Paced;
use super::red::{self, AudioHistory, Treatment};
use crate::capture::{CaptureTap, Direction};
use crate::cc::{ClusterId, Pacer, SendSideEstimator};
use crate::conference::Watch;
use crate::config::RedConfig;
use crate::counters::Counter;
use crate::ids::{Path, SourceKey};
use crate::limits::{MAX_DATAGRAM, PACKET_BUFFER};
use crate::media::{Codec, Extension};
use crate::messages::SenderReportClock;
use crate::prefetch::prefetch;
use crate::projection::cache::PacketCache;
use crate::projection::rtx::{RetransmissionBudget, RtxSender};
use crate::projection::sent::SentRecords;
use crate::projection::{
    AudioProjection, AudioRewrite, Payload, Projection, Rewrite, Start, Verdict, VideoFacts,
};
use crate::random::Random;
use crate::receive::{RateWindow, RttEstimator};
use crate::srtp;
use crate::time::Time;
use crate::wire;
use crate::wire::dependency::DependencyRewrite;
use crate::wire::extensions::{self, HeaderBuilder};
use crate::wire::red::{MAX_BLOCKS, NewBlock};
use crate::wire::rtcp::{Compound, SenderInfo};
use crate::worker::context::Context;
use crate::worker::egress::ChainHint;
use crate::worker::packet::{KEPT_EXTENSIONS, MediaPacket};
use std::sync::Arc;
use std::time::Duration;

/// A MID such as `v12`, stored inline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mid {
    bytes: [u8; 8],
    len: u8,
}

impl Mid {
    pub fn new(text: &str) -> Option<Mid> {
        let mut bytes = [0; 8];
        bytes
            .get_mut(..text.len())?
            .copy_from_slice(text.as_bytes());
        Some(Mid {
            bytes,
            len: text.len() as u8,
        })
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Counts for sender reports.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct SentCounts {
    pub packets: u32,
    pub octets: u32,
    /// Packets when the last sender report was made.
    pub reported: u32,
    /// Packets lost, as the receiver last reported.
    pub lost: i32,
    /// Highest sequence number that it had received then, extended.
    pub highest: Option<u32>,
}

/// One outgoing video stream.
pub(crate) struct VideoStream {
    pub source: SourceKey,
    pub ssrc: u32,
    pub rtx: Option<RtxSender>,
    pub mid: Option<Mid>,
    pub projection: Projection,
    pub records: SentRecords,
    pub sent: SentCounts,
    /// What was last seen of it.
    pub watch: Watch,
    /// A packet could not be sent, as the receiver did not negotiate its codec.
    pub unreadable: bool,
    /// Payload type and timestamp of the newest packet: padding continues them.
    pub(super) newest: Option<(u8, u32)>,
}

impl VideoStream {
    pub fn new(
        source: SourceKey,
        ssrc: u32,
        rtx_ssrc: Option<u32>,
        random: &mut Random,
    ) -> VideoStream {
        VideoStream {
            source,
            ssrc,
            rtx: rtx_ssrc.map(|ssrc| RtxSender::new(ssrc, random.u32() as u16 >> 1)),
            mid: None,
            projection: Projection::new(Start::random(random)),
            records: SentRecords::new(),
            sent: SentCounts::default(),
            watch: Watch::default(),
            unreadable: false,
            newest: None,
        }
    }

    /// The stream goes on with another source.
    pub fn rebind(&mut self, source: SourceKey) {
        self.source = source;
        self.projection.rebind();
        self.records.clear();
    }
}

/// One outgoing audio stream.
pub(crate) struct AudioStream {
    pub source: SourceKey,
    pub ssrc: u32,
    pub mid: Option<Mid>,
    pub projection: AudioProjection,
    pub sent: SentCounts,
}

/// The sending half of an endpoint.
pub(crate) struct Downlink {
    pub srtp: Option<srtp::Outbound>,
    /// Where datagrams go; `None` while there is no consent.
    pub path: Option<Path>,
    pub estimator: SendSideEstimator,
    pub pacer: Pacer<Paced>,
    pub chain: ChainHint,
    pub video: slab::Slab<VideoStream>,
    pub audio: slab::Slab<AudioStream>,
    pub retransmissions: RetransmissionBudget,
    pub rtt: RttEstimator,
    /// Round trip of the last ICE check, until reports tell.
    pub ice_rtt: Option<Duration>,
    pub rate: RateWindow,
    /// Audio that has transport-cc numbers: the estimate is for it too.
    pub numbered_audio: RateWindow,
    pub packets: u64,
    pub bytes: u64,
    /// Packets that the endpoint reported as lost, since its start.
    pub lost: u64,
    /// Packets that the endpoint asked for again, since its start.
    pub nacks: u64,
    /// Those of them that were sent again.
    pub resent: u64,
    /// Its requests for keyframes.
    pub keyframe_requests: u64,
    /// REMB came although it was not negotiated.
    pub spurious_remb: bool,
    /// Loss that the endpoint last reported, 0 to 1.
    pub reported_loss: f32,
    /// Where the endpoint's packets are copied, those that it sends included.
    pub capture: Option<Box<CaptureTap>>,
}

/// Header fields of an outgoing packet.
struct Outgoing {
    ssrc: u32,
    sequence: u64,
    timestamp: u32,
    marker: bool,
    payload_type: u8,
    mid: Option<Mid>,
    /// Original sequence number, for RTX.
    original: Option<u16>,
    picture_id: Option<u16>,
    tl0picidx: Option<u8>,
    dependency: Option<DependencyRewrite>,
    video: bool,
    /// The probe that it is part of.
    cluster: Option<ClusterId>,
}

/// What became of a video packet.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Forwarded {
    /// It was sent or will be, and the receiver may ask for it again.
    pub sent: bool,
    /// The stream needs a keyframe of its source.
    pub needs_keyframe: bool,
}

/// What of a packet is sent.
#[derive(Clone, Copy)]
enum Body<'a> {
    /// Its payload.
    Whole,
    /// A part of its payload.
    Part(&'a [u8]),
    /// RED of the payload, the blocks, and this payload type inside.
    Redundant(u8, [Option<NewBlock<'a>>; MAX_BLOCKS]),
}

impl Downlink {
    /// Whether media can be sent.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.srtp.is_some() && self.path.is_some()
    }

    /// Asks the processor for what sending needs, before [`Downlink::prefetch_video`] or [`Downlink::prefetch_audio`].
    #[inline]
    pub fn prefetch(&self) {
        prefetch(&self.srtp);
        prefetch(&self.path);
        prefetch(&self.video);
        prefetch(&self.audio);
        prefetch(&self.chain);
        prefetch(&self.retransmissions);
        prefetch(&self.rate);
        prefetch(&self.packets);
        self.estimator.prefetch();
    }

    /// Asks the processor for a video stream, before [`Downlink::prefetch_encoding`].
    #[inline]
    pub fn prefetch_video(&self, stream_index: usize) {
        if let Some(stream) = self.video.get(stream_index) {
            prefetch(stream);
        }
        self.estimator.prefetch_more();
    }

    /// Asks the processor for what an encoding left behind in a video stream.
    #[inline]
    pub fn prefetch_encoding(&self, stream_index: usize, encoding: u8) {
        if let Some(stream) = self.video.get(stream_index) {
            stream.projection.prefetch(encoding);
            stream.records.prefetch();
        }
    }

    /// Asks the processor for an audio stream.
    #[inline]
    pub fn prefetch_audio(&self, stream_index: usize) {
        if let Some(stream) = self.audio.get(stream_index) {
            prefetch(stream);
        }
    }

    /// Offers a video packet to a stream.
    #[inline]
    pub fn forward_video(
        &mut self,
        cx: &mut Context<'_>,
        formats: &FormatTable,
        stream_index: usize,
        packet: &Arc<MediaPacket>,
    ) -> Forwarded {
        let Some(stream) = self.video.get_mut(stream_index) else {
            return Forwarded::default();
        };
        let facts = VideoFacts {
            encoding: packet.encoding,
            index: packet.index,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload_type: packet.header.payload_type,
        };
        let verdict = stream.projection.offer(cx.now, &facts, &packet.descriptor);
        let needs_keyframe = stream.projection.needs_keyframe();
        let Verdict::Forward(rewrite) = verdict else {
            return Forwarded {
                sent: false,
                needs_keyframe,
            };
        };
        let Some(payload_type) = formats.outgoing(packet.header.payload_type, packet.codec) else {
            stream.unreadable = true;
            return Forwarded::default();
        };
        stream
            .records
            .record(packet.encoding, packet.index, &packet.numbers(), &rewrite);
        stream.newest = Some((payload_type, rewrite.timestamp));
        if self.pacer.admit(cx.now, packet.size()) {
            self.send_video(
                cx,
                formats,
                stream_index,
                packet,
                &rewrite,
                payload_type,
                None,
            );
        } else {
            self.hold(
                cx,
                formats,
                stream_index,
                Arc::clone(packet),
                rewrite,
                Some(payload_type),
            );
        }
        Forwarded {
            sent: true,
            needs_keyframe,
        }
    }

    #[allow(clippy::too_many_arguments)]
    #[inline]
    pub(super) fn send_video(
        &mut self,
        cx: &mut Context<'_>,
        formats: &FormatTable,
        stream_index: usize,
        packet: &MediaPacket,
        rewrite: &Rewrite,
        payload_type: u8,
        cluster: Option<ClusterId>,
    ) -> Option<usize> {
        let stream = self.video.get(stream_index)?;
        let outgoing = Outgoing {
            ssrc: stream.ssrc,
            sequence: rewrite.sequence,
            timestamp: rewrite.timestamp,
            marker: rewrite.marker,
            payload_type,
            mid: stream.mid,
            original: None,
            picture_id: rewrite.picture_id,
            tl0picidx: rewrite.tl0picidx,
            dependency: rewrite.dependency,
            video: true,
            cluster,
        };
        let size = self.send(cx, formats, packet, outgoing, Body::Whole)?;
        let sent = &mut self.video[stream_index].sent;
        sent.packets = sent.packets.wrapping_add(1);
        sent.octets = sent.octets.wrapping_add(size as u32);
        self.retransmissions.on_media(size);
        Some(size)
    }

    /// Forwards an audio packet on a stream, with redundancy added or taken apart as the receiver takes it.
    #[inline]
    pub fn forward_audio(
        &mut self,
        cx: &mut Context<'_>,
        formats: &FormatTable,
        stream_index: usize,
        packet: &MediaPacket,
        config: RedConfig,
        history: &AudioHistory,
    ) {
        let Some(stream) = self.audio.get_mut(stream_index) else {
            return;
        };
        let mut treatment = red::treatment(config.policy, packet.codec, formats.red.is_some());
        // The receiver's number of what is in RED, if that can be read.
        let inner = match &packet.descriptor {
            Payload::Red(red) => formats.outgoing(red.payload_type, Codec::Opus),
            _ => None,
        };
        if let (Payload::Red(red), Treatment::Unchanged) = (&packet.descriptor, treatment)
            && inner.is_some_and(|inner| inner != red.payload_type)
        {
            treatment = Treatment::Strip;
        }
        if treatment == Treatment::Strip {
            let Some(payload_type) = inner else {
                cx.count(Counter::DropPayload);
                return;
            };
            let parts = red::strip(&mut stream.projection, cx.now, packet);
            for (rewrite, content) in parts.into_iter().flatten() {
                let body = Body::Part(content);
                self.send_audio(
                    cx,
                    formats,
                    stream_index,
                    packet,
                    payload_type,
                    rewrite,
                    body,
                );
            }
            return;
        }
        let Some(media_type) = formats.outgoing(packet.header.payload_type, packet.codec) else {
            return;
        };
        let index = packet.index;
        let Some(rewrite) = stream
            .projection
            .offer(cx.now, index, packet.header.timestamp)
        else {
            return;
        };
        let (payload_type, body) = match formats.red.filter(|_| treatment == Treatment::Protect) {
            Some(red) => {
                let is_sent = |index| stream.projection.is_within(index);
                let blocks = history.redundancy(config, packet, is_sent);
                (red, Body::Redundant(media_type, blocks))
            }
            None => (media_type, Body::Whole),
        };
        self.send_audio(
            cx,
            formats,
            stream_index,
            packet,
            payload_type,
            rewrite,
            body,
        );
    }

    #[allow(clippy::too_many_arguments)]
    fn send_audio(
        &mut self,
        cx: &mut Context<'_>,
        formats: &FormatTable,
        stream_index: usize,
        packet: &MediaPacket,
        payload_type: u8,
        rewrite: AudioRewrite,
        body: Body<'_>,
    ) {
        let Some(stream) = self.audio.get(stream_index) else {
            return;
        };
        let outgoing = Outgoing {
            ssrc: stream.ssrc,
            sequence: rewrite.sequence,
            timestamp: rewrite.timestamp,
            marker: packet.header.marker,
            payload_type,
            mid: stream.mid,
            original: None,
            picture_id: None,
            tl0picidx: None,
            dependency: None,
            video: false,
            cluster: None,
        };
        if let Some(size) = self.send(cx, formats, packet, outgoing, body) {
            let sent = &mut self.audio[stream_index].sent;
            sent.packets = sent.packets.wrapping_add(1);
            sent.octets = sent.octets.wrapping_add(size as u32);
        }
    }

    /// Answers a NACK for one packet of a video stream.
    pub fn retransmit(
        &mut self,
        cx: &mut Context<'_>,
        formats: &FormatTable,
        stream_index: usize,
        sequence: u16,
        caches: &[PacketCache],
    ) {
        self.nacks += 1;
        let rtt = self.round_trip();
        let Some(stream) = self.video.get_mut(stream_index) else {
            return;
        };
        let found = stream.records.lookup(sequence).and_then(|sent| {
            let cache = caches.get(usize::from(sent.encoding()))?;
            let packet = cache.get(cx.now, sent.index())?;
            let may = stream
                .records
                .may_resend(cx.now, &sent, packet.arrival, rtt);
            may.ok().map(|()| (sent, Arc::clone(packet)))
        });
        let Some((sent, packet)) = found else {
            cx.count(Counter::NackMiss);
            return;
        };
        let rewrite = sent.rewrite(&packet.numbers());
        if !self.retransmissions.take(packet.size()) {
            cx.count(Counter::NackBudget);
            return;
        }
        let stream = &mut self.video[stream_index];
        if !self.pacer.admit(cx.now, packet.size()) {
            stream.records.resent(cx.now, &sent);
            self.hold(cx, formats, stream_index, packet, rewrite, None);
            return;
        }
        if self
            .send_rtx(cx, formats, stream_index, &packet, &rewrite, None)
            .is_some()
            && let Some(stream) = self.video.get_mut(stream_index)
        {
            self.resent += 1;
            stream.records.resent(cx.now, &sent);
        }
        cx.buffers.recycle(packet);
    }

    /// Sends a packet again on the stream's RTX SSRC; the size sent. A receiver without RTX gets nothing: a plain
    /// resend would encrypt other bytes under a used SRTP index (T29).
    pub(super) fn send_rtx(
        &mut self,
        cx: &mut Context<'_>,
        formats: &FormatTable,
        stream_index: usize,
        packet: &MediaPacket,
        rewrite: &Rewrite,
        cluster: Option<ClusterId>,
    ) -> Option<usize> {
        let stream = self.video.get_mut(stream_index)?;
        let rtx = stream.rtx.as_mut()?;
        let media_type = formats.outgoing(packet.header.payload_type, packet.codec)?;
        let payload_type = formats.rtx_for(media_type)?;
        let outgoing = Outgoing {
            ssrc: rtx.ssrc(),
            sequence: rtx.next_sequence(),
            timestamp: rewrite.timestamp,
            marker: rewrite.marker,
            payload_type,
            mid: stream.mid,
            original: Some(rewrite.sequence as u16),
            picture_id: rewrite.picture_id,
            tl0picidx: rewrite.tl0picidx,
            dependency: rewrite.dependency,
            video: true,
            cluster,
        };
        let size = self.send(cx, formats, packet, outgoing, Body::Whole)?;
        cx.count(Counter::RtxOut);
        Some(size)
    }

    /// Writes, seals and queues one packet; its size without the SRTP tag.
    #[inline]
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        formats: &FormatTable,
        packet: &MediaPacket,
        outgoing: Outgoing,
        content: Body<'_>,
    ) -> Option<usize> {
        let path = self.path?;
        let srtp = self.srtp.as_mut()?;
        let Some(slot) = cx.egress.slot(PACKET_BUFFER) else {
            cx.count(Counter::DropSendFull);
            return None;
        };
        let payload = match content {
            Body::Part(part) => part,
            Body::Whole | Body::Redundant(..) => packet.payload(),
        };
        let mut elements: [(u8, &[u8]); KEPT_EXTENSIONS.len() + 3] =
            [(0, &[]); KEPT_EXTENSIONS.len() + 3];
        let mut count = 0;
        let (mut descriptor_len, mut descriptor_id) = (0, None);
        for (kept, extension) in KEPT_EXTENSIONS.iter().enumerate() {
            let (Some(value), Some(id)) = (packet.kept(kept), formats.extension(*extension)) else {
                continue;
            };
            if *extension != Extension::DependencyDescriptor {
                elements[count] = (id, value);
                count += 1;
            } else if let (Payload::Dependency(descriptor), Some(numbers)) =
                (&packet.descriptor, &outgoing.dependency)
            {
                descriptor_len = descriptor.rewrite(value, numbers, cx.scratch)?;
                descriptor_id = Some(id);
            }
        }
        if let Some(id) = descriptor_id {
            elements[count] = (id, &cx.scratch[..descriptor_len]);
            count += 1;
        }
        if let Some(mid) = &outgoing.mid
            && let Some(id) = formats.extension(Extension::Mid)
        {
            elements[count] = (id, mid.as_bytes());
            count += 1;
        }
        let number;
        let send_time;
        if formats.transport_cc {
            if (outgoing.video || formats.audio_transport_cc)
                && let Some(id) = formats.extension(Extension::TransportCc)
            {
                let size = payload.len() + 40;
                let given = if outgoing.video {
                    self.estimator.on_sent(cx.now, size, outgoing.cluster)
                } else {
                    self.numbered_audio.add(cx.now, size);
                    self.estimator.on_audio_sent(cx.now, size)
                };
                number = given.to_be_bytes();
                elements[count] = (id, &number);
                count += 1;
            }
        } else if let Some(id) = formats.extension(Extension::AbsSendTime) {
            send_time = extensions::abs_send_time(cx.now);
            elements[count] = (id, &send_time);
            count += 1;
        }
        let header = HeaderBuilder {
            marker: outgoing.marker,
            payload_type: outgoing.payload_type,
            sequence: outgoing.sequence as u16,
            timestamp: outgoing.timestamp,
            ssrc: outgoing.ssrc,
        };
        let header_len = header.write(slot, &elements[..count])?;
        let mut position = header_len;
        if let Some(original) = outgoing.original {
            slot.get_mut(position..position + 2)?
                .copy_from_slice(&original.to_be_bytes());
            position += 2;
        }
        let len = match content {
            Body::Redundant(payload_type, blocks) => {
                let room = slot.get_mut(position..)?;
                wire::red::write(room, payload_type, &blocks, payload)?
            }
            Body::Whole | Body::Part(_) => {
                let room = slot.get_mut(position..position + payload.len())?;
                room.copy_from_slice(payload);
                payload.len()
            }
        };
        let end = position + len;
        if end > MAX_DATAGRAM + 100 {
            return None;
        }
        let body = slot.get_mut(position..end)?;
        match &packet.descriptor {
            Payload::Vp8(vp8) => vp8.rewrite(body, outgoing.picture_id, outgoing.tl0picidx),
            Payload::Vp9(vp9) => vp9.rewrite(body, outgoing.picture_id, outgoing.tl0picidx),
            Payload::Dependency(_) | Payload::Plain { .. } | Payload::Opaque | Payload::Red(_) => {}
        }
        if let Some(tap) = &self.capture {
            tap.take(cx.now, Direction::Outgoing, path, &slot[..end]);
        }
        let sealed = srtp
            .seal_rtp_later(outgoing.ssrc, outgoing.sequence, slot, header_len, end)
            .ok()?;
        cx.egress.commit_sealed(path, sealed, &mut self.chain);
        self.count_sent(cx, end);
        Some(end)
    }

    pub(super) fn count_sent(&mut self, cx: &mut Context<'_>, len: usize) {
        self.packets += 1;
        self.bytes += len as u64;
        self.rate.add(cx.now, len);
        cx.count(Counter::RtpOut);
    }

    /// Seals and queues a compound of RTCP.
    pub fn send_rtcp(&mut self, cx: &mut Context<'_>, compound: &[u8]) -> bool {
        let Some(path) = self.path else { return false };
        let Some(srtp) = self.srtp.as_mut() else {
            return false;
        };
        let Some(slot) = cx.egress.slot(PACKET_BUFFER) else {
            cx.count(Counter::DropSendFull);
            return false;
        };
        let Some(body) = slot.get_mut(..compound.len()) else {
            return false;
        };
        body.copy_from_slice(compound);
        if let Some(tap) = &self.capture {
            tap.take(cx.now, Direction::Outgoing, path, compound);
        }
        let Ok(sealed) = srtp.seal_rtcp(slot, compound.len()) else {
            return false;
        };
        cx.egress.commit(path, sealed, &mut self.chain);
        true
    }

    /// Makes sender reports for every stream that sent since the last round. `clock` gives the latest report
    /// of an encoding of a source.
    pub fn send_reports(
        &mut self,
        cx: &mut Context<'_>,
        clock: &dyn Fn(SourceKey, u8) -> Option<SenderReportClock>,
    ) {
        let mut reports: [Option<(u32, u64, u32, SentCounts)>; 16] = [None; 16];
        let mut count = 0;
        let now = cx.now;
        for (_, stream) in &mut self.video {
            if stream.sent.packets == stream.sent.reported || count == reports.len() {
                continue;
            }
            let Some(encoding) = stream.projection.current_encoding() else {
                continue;
            };
            let Some(report) = clock(stream.source, encoding) else {
                continue;
            };
            let report = report.at(now, 90_000);
            let Some(rtp) = stream.projection.project_timestamp(encoding, report.rtp) else {
                continue;
            };
            stream.sent.reported = stream.sent.packets;
            reports[count] = Some((stream.ssrc, report.ntp, rtp, stream.sent));
            count += 1;
        }
        for (_, stream) in &mut self.audio {
            if stream.sent.packets == stream.sent.reported || count == reports.len() {
                continue;
            }
            let Some(report) = clock(stream.source, 0) else {
                continue;
            };
            let report = report.at(now, 48_000);
            let Some(rtp) = stream.projection.project_timestamp(report.rtp) else {
                continue;
            };
            stream.sent.reported = stream.sent.packets;
            reports[count] = Some((stream.ssrc, report.ntp, rtp, stream.sent));
            count += 1;
        }
        let mut buffer = [0; 64];
        for (ssrc, ntp, rtp, sent) in reports.into_iter().flatten() {
            let info = SenderInfo {
                ssrc,
                ntp,
                rtp,
                packets: sent.packets,
                octets: sent.octets,
            };
            let mut compound = Compound::new(&mut buffer);
            if !compound.sender_report(&info, &[]) {
                continue;
            }
            let len = compound.len();
            if self.send_rtcp(cx, &buffer[..len]) {
                self.rtt.on_sent_report(now, ssrc, ntp);
            }
        }
    }

    /// The outgoing stream with that media or RTX SSRC.
    pub fn video_by_ssrc(&self, ssrc: u32) -> Option<usize> {
        self.video
            .iter()
            .find(|(_, stream)| {
                stream.ssrc == ssrc || stream.rtx.as_ref().is_some_and(|rtx| rtx.ssrc() == ssrc)
            })
            .map(|(index, _)| index)
    }

    /// Notes how many packets of one of our media SSRCs were lost until now, and what has been received. How many packets were to come since
    /// the last report, and how many of them did not.
    pub fn on_lost(&mut self, ssrc: u32, cumulative: i32, highest: u32) -> (u32, u32) {
        let video = self.video.iter_mut().map(|(_, it)| (it.ssrc, &mut it.sent));
        let audio = self.audio.iter_mut().map(|(_, it)| (it.ssrc, &mut it.sent));
        let Some((_, sent)) = video.chain(audio).find(|(known, _)| *known == ssrc) else {
            return (0, 0);
        };
        let lost = cumulative.saturating_sub(sent.lost).max(0) as u32;
        self.lost += u64::from(lost);
        sent.lost = sent.lost.max(cumulative);
        let before = sent.highest.replace(highest).unwrap_or(highest);
        // A step back is a repeated report, or nonsense.
        let expected = (highest.wrapping_sub(before) as i32).max(0) as u32;
        (expected, lost)
    }

    /// The best that is known about the round-trip time.
    pub fn round_trip(&self) -> Option<Duration> {
        self.rtt.rtt().or(self.ice_rtt)
    }

    /// Rate sent over the last second.
    pub fn rate_now(&self, now: Time) -> crate::units::Bitrate {
        self.rate.rate(now)
    }

    /// When the estimator wants to run or the pacer to send.
    pub fn poll_timeout(&self) -> Option<Time> {
        let times = [self.estimator.poll_timeout(), self.pacer.poll_timeout()];
        times.into_iter().flatten().min()
    }
}

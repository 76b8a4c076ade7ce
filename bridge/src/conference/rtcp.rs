//! RTCP in both directions: what endpoints report, what the bridge reports to them.

use super::Shard;
use crate::capture::Direction;
use crate::counters::Counter;
use crate::endpoint::Endpoint;
use crate::endpoint::uplink::{REPORT_INTERVAL, Role};
use crate::ids::{Path, SourceKey};
use crate::limits;
use crate::media::MediaKind;
use crate::messages::{Event, RingMessage, SenderReportClock};
use crate::wire::demux::Class;
use crate::wire::rtcp::{self, Compound, Element, ReportBlock};
use crate::wire::twcc::Feedback;
use crate::worker::context::Context;

/// Period of sender reports.
const SENDER_REPORT_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

/// SSRCs in a REMB (media-plane spec §2.20).
const MAX_REMB_SSRCS: usize = 8;

/// What one compound asks for that reaches beyond its sender; collected first, then done.
pub(super) enum Wish {
    Nack { ssrc: u32, sequence: u16 },
    Keyframe { ssrc: u32 },
    Clock { ssrc: u32, ntp: u64, rtp: u32 },
}

impl Shard {
    /// An SRTCP packet of a local endpoint.
    pub(super) fn handle_rtcp(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        path: Path,
        datagram: &[u8],
    ) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let Some(inbound) = endpoint.inbound.as_mut() else {
            if !endpoint.early.hold(cx.now, Class::Rtcp, path, datagram) {
                cx.count(Counter::DropNoKeys);
            }
            return;
        };
        let mut buffer = [0; crate::limits::PACKET_BUFFER];
        let len = match inbound.open_rtcp(datagram, &mut buffer) {
            Ok(len) => len,
            Err(error) => {
                cx.count(error.rtcp_counter());
                return;
            }
        };
        if let Some(tap) = &endpoint.downlink.capture {
            tap.take(cx.now, Direction::Incoming, path, &buffer[..len]);
        }
        endpoint.note_activity(cx.now);
        let moved = endpoint.ice.note_authenticated_media(cx.now, path);
        let mut wishes = std::mem::take(&mut self.wishes);
        for element in rtcp::elements(&buffer[..len]) {
            match element {
                Ok(element) => read_element(cx, endpoint, &element, &mut wishes),
                Err(_) => {
                    cx.count(Counter::DropRtcpMalformed);
                    break;
                }
            }
        }
        self.touch(index);
        for wish in wishes.drain(..) {
            match wish {
                Wish::Nack { ssrc, sequence } => self.answer_nack(cx, index, ssrc, sequence),
                Wish::Keyframe { ssrc } => self.route_keyframe_request(cx, index, ssrc),
                Wish::Clock { ssrc, ntp, rtp } => self.keep_clock(cx, index, ssrc, ntp, rtp),
            }
        }
        self.wishes = wishes;
        if moved {
            self.drain_ice(cx, index);
        }
        self.after_estimate(cx, index);
    }

    fn answer_nack(&mut self, cx: &mut Context<'_>, index: usize, ssrc: u32, sequence: u16) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let Some(stream) = endpoint.downlink.video_by_ssrc(ssrc) else {
            return;
        };
        let key = endpoint.downlink.video[stream].source;
        let Some(source) = self
            .by_source
            .get(&key)
            .and_then(|index| self.sources.get(*index))
        else {
            return;
        };
        let Endpoint {
            downlink, formats, ..
        } = endpoint;
        downlink.retransmit(cx, formats, stream, sequence, &source.caches);
    }

    /// A PLI or FIR for one of our outgoing SSRCs: to the owner of what is on it.
    fn route_keyframe_request(&mut self, cx: &mut Context<'_>, index: usize, ssrc: u32) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let Some(stream) = endpoint.downlink.video_by_ssrc(ssrc) else {
            return;
        };
        let (source, requester) = (endpoint.downlink.video[stream].source, endpoint.key);
        endpoint.downlink.keyframe_requests += 1;
        // What is denied is answered by the next keyframe that somebody is granted (T44).
        if !endpoint.receiver.keyframe_requests.take(cx.now, 1, 0) {
            cx.count(Counter::KeyframeRequestsDenied);
            return;
        }
        if let Some(source) = self.by_source.get(&source).copied() {
            self.request_keyframe(cx, source, Some(requester));
        }
    }

    fn keep_clock(&mut self, cx: &mut Context<'_>, index: usize, ssrc: u32, ntp: u64, rtp: u32) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let Some(stream) = endpoint.uplink.stream_mut(ssrc) else {
            return;
        };
        let Role::Media {
            source, encoding, ..
        } = stream.role
        else {
            return;
        };
        stream.stream.on_sender_report(cx.now, ntp, rtp);
        let report = SenderReportClock {
            ntp,
            rtp,
            arrival: cx.now,
        };
        self.handle_remote_sender_report(source, encoding, report);
        let conference = self.setup.key;
        self.tell_other_shards(cx, || RingMessage::SenderReport {
            conference,
            source,
            encoding,
            report,
        });
    }

    /// A sender report of a source, from here or from the owner's worker.
    pub fn handle_remote_sender_report(
        &mut self,
        source: SourceKey,
        encoding: u8,
        report: SenderReportClock,
    ) {
        if let Some(index) = self.by_source.get(&source)
            && let Some(clock) = self.sources[*index].clocks.get_mut(usize::from(encoding))
        {
            *clock = Some(report);
        }
    }

    /// Transport-cc feedback and NACKs that are due.
    pub(super) fn send_feedback(&mut self, cx: &mut Context<'_>, index: usize) {
        let sender = self.setup.video_ssrc;
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let now = cx.now;
        let Endpoint {
            uplink,
            downlink,
            formats,
            ..
        } = endpoint;
        if formats.transport_cc || uplink.twcc.poll_timeout().is_some() {
            let media = uplink.twcc_media_ssrc;
            self.scratch.clear();
            while uplink
                .twcc
                .poll_feedback(now, sender, media, &mut self.scratch)
            {
                downlink.send_rtcp(cx, &self.scratch);
                self.scratch.clear();
            }
        }
        let rtt = downlink.round_trip();
        for stream in uplink.streams_mut() {
            let Some(nack) = &mut stream.nack else {
                continue;
            };
            if nack.poll_timeout().is_none_or(|at| at > now) {
                continue;
            }
            self.missing.clear();
            if nack.poll_nack(now, rtt, &mut self.missing) && !self.missing.is_empty() {
                let mut buffer = [0; 512];
                let mut compound = Compound::new(&mut buffer);
                if compound.nack(sender, stream.ssrc, self.missing.iter().copied()) {
                    let len = compound.len();
                    stream.asked += self.missing.len() as u64;
                    downlink.send_rtcp(cx, &buffer[..len]);
                }
            }
        }
        uplink.feedback_sent();
    }

    /// Sends a PLI, or a FIR to peers without PLI.
    pub(super) fn send_keyframe_request(&mut self, cx: &mut Context<'_>, owner: usize, ssrc: u32) {
        let sender = self.setup.video_ssrc;
        let Some(endpoint) = self.endpoints.get_mut(owner) else {
            return;
        };
        let mut buffer = [0; 64];
        let mut compound = Compound::new(&mut buffer);
        let written = if endpoint.formats.pli {
            compound.pli(sender, ssrc)
        } else {
            self.fir_sequence = self.fir_sequence.wrapping_add(1);
            compound.fir(sender, ssrc, self.fir_sequence)
        };
        let len = compound.len();
        if written && endpoint.downlink.send_rtcp(cx, &buffer[..len]) {
            cx.count(Counter::KeyframeRequestsOut);
        }
    }

    /// Periodic work of an endpoint's media: feedback, reports, estimator, probing, statistics.
    pub(super) fn handle_media_timers(&mut self, cx: &mut Context<'_>, index: usize) {
        self.send_feedback(cx, index);
        let now = cx.now;
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        if now >= endpoint.schedule.report {
            endpoint.schedule.report = now + REPORT_INTERVAL;
            endpoint.downlink.pacer.rest(now);
            self.send_receiver_report(cx, index);
            let endpoint = &mut self.endpoints[index];
            if now >= endpoint.schedule.sender_report {
                endpoint.schedule.sender_report = now + SENDER_REPORT_INTERVAL;
                let (sources, by_source) = (&self.sources, &self.by_source);
                endpoint.downlink.send_reports(cx, &|key, encoding| {
                    let source = sources.get(*by_source.get(&key)?)?;
                    *source.clocks.get(usize::from(encoding))?
                });
            }
            self.periodic_allocation(cx, index);
            self.watch(now, index);
            self.sweep(cx);
        }
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let Endpoint {
            downlink, formats, ..
        } = endpoint;
        if downlink.pacer.poll_timeout().is_some_and(|at| at <= now) {
            downlink.send_paced(cx, formats);
        }
        let estimator = &mut downlink.estimator;
        if estimator.poll_timeout().is_some_and(|at| at <= now) {
            estimator.handle_timeout(now);
            self.after_estimate(cx, index);
        }
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        if now >= endpoint.schedule.estimate_event {
            endpoint.schedule.estimate_event = now + self.config.channel.connection_stats_interval;
            if let Some(estimate) = endpoint.downlink.estimator.estimate() {
                cx.event(Event::Estimate(endpoint.key, estimate.as_bps()));
            }
        }
    }

    /// Lets go of packets that are too old to be sent again, now and then.
    fn sweep(&mut self, cx: &mut Context<'_>) {
        if cx.now - self.swept < limits::CACHE_AGE {
            return;
        }
        self.swept = cx.now;
        let buffers = &mut *cx.buffers;
        for (_, source) in &mut self.sources {
            source.expire(cx.now, |old| buffers.recycle(old));
        }
    }

    fn send_receiver_report(&mut self, cx: &mut Context<'_>, index: usize) {
        let (audio, video) = (self.setup.audio_ssrc, self.setup.video_ssrc);
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let now = cx.now;
        let rtt = endpoint.downlink.round_trip();
        let bandwidth = endpoint.uplink.bandwidth.as_mut();
        let bandwidth = bandwidth.filter(|_| endpoint.formats.wants_remb());
        let bandwidth = bandwidth.and_then(|bandwidth| {
            if let Some(rtt) = rtt {
                bandwidth.on_rtt(rtt);
            }
            bandwidth.estimate(now)
        });
        let mut blocks = [ReportBlock::default(); rtcp::MAX_REPORT_BLOCKS];
        for (kind, sender) in [(MediaKind::Audio, audio), (MediaKind::Video, video)] {
            let mut count = 0;
            for stream in endpoint.uplink.streams_mut() {
                if !matches!(stream.role, Role::Media { kind: this, .. } if this == kind) {
                    continue;
                }
                if let Some(report) = stream.stream.report_block(cx.now)
                    && let Some(block) = blocks.get_mut(count)
                {
                    *block = ReportBlock {
                        ssrc: report.ssrc,
                        fraction_lost: report.fraction_lost,
                        cumulative_lost: report.cumulative_lost,
                        highest_sequence: report.extended_highest,
                        jitter: report.jitter,
                        last_sr: report.last_sr,
                        delay_since_last_sr: report.delay_since_last_sr,
                    };
                    count += 1;
                }
            }
            if count == 0 {
                continue;
            }
            let mut buffer = [0; 1_024];
            let mut compound = Compound::new(&mut buffer);
            if compound.receiver_report(sender, &blocks[..count]) {
                if kind == MediaKind::Video
                    && let Some(bandwidth) = bandwidth
                {
                    let mut ssrcs = [0; MAX_REMB_SSRCS];
                    let known = endpoint.uplink.recent_video(now, &mut ssrcs);
                    // There is room for it behind the longest report.
                    let _ = compound.remb(sender, bandwidth, &ssrcs[..known]);
                }
                let len = compound.len();
                endpoint.downlink.send_rtcp(cx, &buffer[..len]);
            }
        }
    }

    /// The estimator may have changed its mind or want a probe.
    fn after_estimate(&mut self, cx: &mut Context<'_>, index: usize) {
        let threshold = self.config.allocation.estimate_change_threshold;
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let now = cx.now;
        if let Some(estimate) = endpoint.downlink.estimator.estimate()
            && endpoint.receiver.estimate.on_estimate(estimate, threshold)
        {
            endpoint.receiver.pending = true;
            self.allocate = true;
        }
        endpoint.set_pace(now, &self.config);
        self.send_probes(cx, index, now);
    }

    fn send_probes(&mut self, cx: &mut Context<'_>, index: usize, now: crate::time::Time) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        if !endpoint.downlink.is_ready() {
            return;
        }
        let (sources, by_source) = (&self.sources, &self.by_source);
        let caches = |source| {
            let source = by_source.get(&source).and_then(|index| sources.get(*index));
            source.map_or(&[][..], |source| &source.caches[..])
        };
        while let Some(probe) = endpoint.downlink.estimator.poll_probe(now) {
            let Endpoint {
                downlink, formats, ..
            } = endpoint;
            let (cluster, bytes) = (Some(probe.cluster), probe.bytes);
            if !downlink.probe(cx, formats, cluster, bytes, caches) {
                break;
            }
        }
        if let Some(bytes) = endpoint.downlink.estimator.poll_padding(now) {
            let Endpoint {
                downlink, formats, ..
            } = endpoint;
            downlink.probe(cx, formats, None, bytes, caches);
        }
    }
}

/// What the element says about its sender's own state is done here; the rest becomes a wish.
fn read_element(
    cx: &mut Context<'_>,
    endpoint: &mut Endpoint,
    element: &Element<'_>,
    wishes: &mut Vec<Wish>,
) {
    /// Wishes of one compound at most; a NACK for a whole cache fits.
    const MAX_WISHES: usize = 1_024;
    let now = cx.now;
    match element {
        Element::SenderReport {
            ssrc,
            ntp,
            rtp,
            reports,
            ..
        } => {
            if wishes.len() < MAX_WISHES && !endpoint.visitor {
                wishes.push(Wish::Clock {
                    ssrc: *ssrc,
                    ntp: *ntp,
                    rtp: *rtp,
                });
            }
            for block in reports.clone() {
                read_report_block(endpoint, now, &block);
            }
        }
        Element::ReceiverReport { reports, .. } => {
            for block in reports.clone() {
                read_report_block(endpoint, now, &block);
            }
        }
        Element::Nack { media, lost, .. } => {
            for sequence in lost.clone() {
                if wishes.len() >= MAX_WISHES {
                    break;
                }
                wishes.push(Wish::Nack {
                    ssrc: *media,
                    sequence,
                });
            }
        }
        Element::Pli { media, .. } if wishes.len() < MAX_WISHES => {
            wishes.push(Wish::Keyframe { ssrc: *media });
        }
        Element::Fir { entries, .. } => {
            for (ssrc, _) in entries.clone() {
                if wishes.len() >= MAX_WISHES {
                    break;
                }
                wishes.push(Wish::Keyframe { ssrc });
            }
        }
        Element::TransportFeedback { body, .. } if endpoint.formats.transport_cc => {
            match Feedback::parse(body) {
                Ok(feedback) => {
                    if !endpoint.downlink.estimator.on_feedback(now, &feedback) {
                        cx.count(Counter::TwccUnmatched);
                    }
                }
                Err(_) => cx.count(Counter::DropRtcpMalformed),
            }
        }
        Element::Remb { bitrate, .. }
            if endpoint.formats.remb && !endpoint.formats.transport_cc =>
        {
            endpoint.downlink.estimator.on_remb(now, *bitrate);
        }
        Element::Remb { .. } if !endpoint.formats.remb => endpoint.downlink.spurious_remb = true,
        _ => {}
    }
}

fn read_report_block(endpoint: &mut Endpoint, now: crate::time::Time, block: &rtcp::ReportBlock) {
    let downlink = &mut endpoint.downlink;
    downlink.reported_loss = f32::from(block.fraction_lost) / 256.0;
    let (expected, lost) =
        downlink.on_lost(block.ssrc, block.cumulative_lost, block.highest_sequence);
    if let Some(rtt) =
        downlink
            .rtt
            .on_report_block(now, block.ssrc, block.last_sr, block.delay_since_last_sr)
    {
        downlink.estimator.on_rtt(rtt);
    }
    downlink.estimator.on_loss_report(now, expected, lost);
}

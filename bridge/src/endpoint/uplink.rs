//! What one endpoint sends us: from an SRTP packet to a [`MediaPacket`] that may be fanned out.

use std::sync::Arc;
use std::time::Duration;

use super::formats::{FormatTable, kind_of};
use crate::cc::ReceiveSideEstimator;
use crate::config::EstimatorConfig;
use crate::counters::Counter;
use crate::ids::{EndpointKey, SourceKey};
use crate::limits;
use crate::media::{Codec, Extension, MediaKind, SourceDescription};
use crate::projection::Payload;
use crate::receive::{
    Arrival, AudioGate, AudioVerdict, IncomingStream, IngressBudget, NackGenerator, RateWindow,
    TwccReceiver, unwrap_rtx,
};
use crate::srtp;
use crate::time::Time;
use crate::wire::dependency::DependencyParser;
use crate::wire::extensions::{self, AudioLevel};
use crate::wire::h264;
use crate::wire::red::RedPacket;
use crate::wire::rtp::RtpHeader;
use crate::wire::vp8::Vp8Descriptor;
use crate::wire::vp9::Vp9Descriptor;
use crate::worker::context::Context;
use crate::worker::packet::{DEPENDENCY, KEPT_EXTENSIONS, MediaPacket};

/// What an SSRC of the endpoint carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// An encoding of a source.
    Media {
        source: SourceKey,
        encoding: u8,
        kind: MediaKind,
    },
    /// Retransmissions of the media SSRC.
    Rtx { media_ssrc: u32 },
}

/// One signaled SSRC.
pub(crate) struct UplinkStream {
    pub ssrc: u32,
    pub role: Role,
    pub stream: IncomingStream,
    pub nack: Option<NackGenerator>,
    /// Packets that the endpoint was asked for again.
    pub asked: u64,
    /// Packets that it sent again.
    repaired: u64,
    /// Reads its dependency descriptors, from the first one on.
    dependency: Option<Box<DependencyParser>>,
    /// When its newest packet came.
    seen: Option<Time>,
    /// How long it was active: the time between packets that are at most [`ACTIVE`] apart.
    active: Duration,
}

/// A stream is active for this long after a packet.
const ACTIVE: Duration = Duration::from_secs(1);

impl UplinkStream {
    /// Notes that a packet came.
    fn saw(&mut self, now: Time) {
        if let Some(gap) = self.seen.map(|seen| now - seen)
            && gap <= ACTIVE
        {
            self.active += gap;
        }
        self.seen = Some(now);
    }

    /// Whether it carries that kind of media, and how long it was active if so.
    fn active_time(&self, wanted: MediaKind) -> Option<Duration> {
        let is = matches!(self.role, Role::Media { kind, .. } if kind == wanted);
        is.then_some(self.active)
    }
}

/// The receiving half of an endpoint.
pub(crate) struct Uplink {
    /// Sorted by SSRC.
    streams: Vec<UplinkStream>,
    pub twcc: TwccReceiver,
    /// No NACK and no feedback is due before.
    due: Time,
    pub gate: AudioGate,
    budget: IngressBudget,
    auth_failures: AuthFailures,
    pub rate: RateWindow,
    pub packets: u64,
    pub bytes: u64,
    /// Activity of video streams that are no longer signaled.
    past_video: Duration,
    pub mute_video: bool,
    /// What the endpoint can send, if it wants to be told that.
    pub bandwidth: Option<Box<ReceiveSideEstimator>>,
    estimator: EstimatorConfig,
    /// SSRC of the newest packet that carried a transport-cc number: the media SSRC of feedback.
    pub twcc_media_ssrc: u32,
}

/// How many failures per second there may be before unexpected headers are refused without crypto (T25).
#[derive(Debug, Default)]
struct AuthFailures {
    second: u64,
    count: u32,
}

impl AuthFailures {
    fn fail(&mut self, now: Time) {
        let second = now.as_millis() / 1000;
        if second != self.second {
            *self = AuthFailures { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
    }

    /// Over the limit: in nine of ten 100 ms slices unexpected packets are dropped by header. Those that could be the
    /// endpoint's own pass on to authentication, so that forged packets never cost it one.
    fn blocks(&self, now: Time) -> bool {
        self.count > limits::AUTH_FAILURES_PER_SECOND
            && now.as_millis() / 1000 == self.second
            && !(now.as_millis() / 100).is_multiple_of(10)
    }
}

fn earlier(due: Time, other: Option<Time>) -> Time {
    other.map_or(due, |other| due.min(other))
}

impl Uplink {
    pub fn new(config: &crate::config::BridgeConfig) -> Uplink {
        Uplink {
            streams: Vec::new(),
            twcc: TwccReceiver::new(),
            due: Time::FAR,
            gate: AudioGate::new(&config.audio),
            budget: IngressBudget::new(),
            auth_failures: AuthFailures::default(),
            rate: RateWindow::default(),
            packets: 0,
            bytes: 0,
            past_video: Duration::ZERO,
            mute_video: false,
            bandwidth: None,
            estimator: config.estimator,
            twcc_media_ssrc: 0,
        }
    }

    /// Replaces the signaled sources; streams whose SSRC and role stay keep their state.
    pub fn set_sources(&mut self, sources: &[SourceDescription], srtp: Option<&mut srtp::Inbound>) {
        let mut wanted: Vec<(u32, Role)> = Vec::new();
        for source in sources {
            for (encoding, description) in source.encodings.iter().enumerate() {
                let encoding = encoding as u8;
                let media = Role::Media {
                    source: source.key,
                    encoding,
                    kind: source.kind,
                };
                wanted.push((description.ssrc, media));
                if let Some(rtx) = description.rtx_ssrc {
                    wanted.push((
                        rtx,
                        Role::Rtx {
                            media_ssrc: description.ssrc,
                        },
                    ));
                }
            }
        }
        wanted.truncate(limits::MAX_SSRCS_PER_ENDPOINT);
        let mut old = std::mem::take(&mut self.streams);
        for (ssrc, role) in wanted {
            let kept = old
                .iter()
                .position(|stream| stream.ssrc == ssrc && stream.role == role);
            let stream = match kept {
                Some(index) => old.swap_remove(index),
                None => UplinkStream {
                    asked: 0,
                    repaired: 0,
                    ssrc,
                    role,
                    stream: match role {
                        Role::Media {
                            kind: MediaKind::Audio,
                            ..
                        } => IncomingStream::new(ssrc, 48_000),
                        _ => IncomingStream::new(ssrc, 90_000),
                    },
                    nack: matches!(
                        role,
                        Role::Media {
                            kind: MediaKind::Video,
                            ..
                        }
                    )
                    .then(NackGenerator::new),
                    dependency: None,
                    seen: None,
                    active: Duration::ZERO,
                },
            };
            self.streams.push(stream);
        }
        let gone = old.iter();
        self.past_video += gone
            .filter_map(|stream| stream.active_time(MediaKind::Video))
            .sum::<Duration>();
        self.streams.sort_by_key(|stream| stream.ssrc);
        self.streams.dedup_by_key(|stream| stream.ssrc);
        if let Some(srtp) = srtp {
            self.allow_in(srtp);
        }
    }

    /// Lets SRTP open the signaled SSRCs. SSRCs that are no longer signaled are refused by this half; their
    /// replay state stays with the keys, so that a source that comes back can not be replayed.
    pub fn allow_in(&self, srtp: &mut srtp::Inbound) {
        for stream in &self.streams {
            // More than the limit can not be signaled at once; a refusal here only drops that SSRC.
            let _ = srtp.allow(stream.ssrc);
        }
    }

    /// The stream of a media or RTX SSRC.
    pub fn stream_mut(&mut self, ssrc: u32) -> Option<&mut UplinkStream> {
        let index = self
            .streams
            .binary_search_by_key(&ssrc, |stream| stream.ssrc)
            .ok()?;
        self.streams.get_mut(index)
    }

    pub fn streams_mut(&mut self) -> impl Iterator<Item = &mut UplinkStream> {
        self.streams.iter_mut()
    }

    /// Opens one SRTP packet. `authenticated` gets the opened packet once it is known to be the
    /// endpoint's. `None`:
    /// nothing to forward, the reason was counted.
    pub fn receive(
        &mut self,
        cx: &mut Context<'_>,
        owner: EndpointKey,
        formats: &FormatTable,
        srtp: &mut srtp::Inbound,
        datagram: &[u8],
        authenticated: impl FnOnce(&[u8]),
    ) -> Option<Arc<MediaPacket>> {
        let now = cx.now;
        let header = match RtpHeader::parse(datagram) {
            Ok(header) => header,
            Err(_) => {
                cx.count(Counter::DropRtpMalformed);
                return None;
            }
        };
        let Some(format) = formats.received(header.payload_type) else {
            cx.count(Counter::DropRtpPayloadType);
            return None;
        };
        if self
            .streams
            .binary_search_by_key(&header.ssrc, |stream| stream.ssrc)
            .is_err()
        {
            cx.count(Counter::DropRtpSsrc);
            return None;
        }
        if self.auth_failures.blocks(now) && !srtp.is_expected(&header) {
            cx.count(Counter::DropSrtpAuth);
            return None;
        }
        let mut shared = cx.buffers.take();
        // `take` returns a buffer that nobody else holds.
        let packet = Arc::get_mut(&mut shared)?;
        let outcome = srtp.open_rtp(&header, datagram, &mut packet.data);
        let len = match outcome {
            Ok(opened) => opened.len,
            Err(error) => {
                if error == srtp::OpenError::NotAuthentic {
                    self.auth_failures.fail(now);
                }
                cx.count(error.rtp_counter());
                cx.buffers.recycle(shared);
                return None;
            }
        };
        authenticated(packet.data.get(..len)?);
        self.packets += 1;
        self.bytes += len as u64;
        self.rate.add(now, len);
        cx.count(Counter::RtpIn);
        match self.accept(cx, owner, formats, packet, header, format.codec, len) {
            Ok(()) => Some(shared),
            Err(reason) => {
                if let Some(counter) = reason {
                    cx.count(counter);
                }
                cx.buffers.recycle(shared);
                None
            }
        }
    }

    /// Everything after authentication. `Err(None)`: consumed without being an error.
    #[allow(clippy::too_many_arguments)]
    fn accept(
        &mut self,
        cx: &mut Context<'_>,
        owner: EndpointKey,
        formats: &FormatTable,
        packet: &mut MediaPacket,
        mut header: RtpHeader,
        mut codec: Codec,
        len: usize,
    ) -> Result<(), Option<Counter>> {
        let now = cx.now;
        let mut level = None;
        packet.kept = [(0, 0); KEPT_EXTENSIONS.len()];
        let extension_map = formats.extensions();
        let data_start = packet.data.as_ptr() as usize;
        let (mut transport_sequence, mut send_time) = (None, None);
        for (id, value) in extensions::elements(&header, &packet.data[..len]) {
            let Some(extension) = extension_map.extension(id) else {
                continue;
            };
            match extension {
                Extension::TransportCc => {
                    if let Ok(bytes) = <[u8; 2]>::try_from(value) {
                        transport_sequence.get_or_insert(u16::from_be_bytes(bytes));
                    }
                }
                Extension::AbsSendTime if formats.wants_remb() => {
                    if let Ok([a, b, c]) = <[u8; 3]>::try_from(value) {
                        send_time.get_or_insert(u32::from_be_bytes([0, a, b, c]));
                    }
                }
                Extension::AudioLevel if level.is_none() => {
                    level = AudioLevel::parse(value);
                }
                _ => {}
            }
            if let Some(kept) = KEPT_EXTENSIONS.iter().position(|kept| *kept == extension)
                && packet.kept[kept].1 == 0
            {
                let start = value.as_ptr() as usize - data_start;
                packet.kept[kept] = (start as u16, value.len() as u8);
            }
        }
        if let Some(sequence) = transport_sequence {
            self.twcc_media_ssrc = header.ssrc;
            self.twcc.on_packet(now, sequence, header.marker);
            self.due = earlier(self.due, self.twcc.poll_timeout());
        }
        if let Some(send_time) = send_time {
            let incoming = self.rate.rate(now);
            let config = self.estimator;
            self.bandwidth
                .get_or_insert_with(|| Box::new(ReceiveSideEstimator::new(config)))
                .on_packet(now, send_time, len, incoming);
        }
        let mut end = header
            .payload_end(&packet.data[..len])
            .map_err(|_| Some(Counter::DropRtpMalformed))?;
        let rank = self
            .stream_mut(header.ssrc)
            .map_or(0, |stream| match stream.role {
                Role::Media { encoding, .. } => encoding,
                Role::Rtx { .. } => 0,
            });
        let admitted = match kind_of(codec) {
            Some(MediaKind::Audio) => self.budget.admit_audio(now, len),
            _ => self.budget.admit_video(now, len, rank),
        };
        if !admitted {
            return Err(Some(Counter::DropIngressLimit));
        }

        if codec == Codec::Rtx {
            cx.count(Counter::RtxIn);
            let original = formats
                .received(header.payload_type)
                .and_then(|format| format.original);
            let Some((payload_type, original_codec)) = original else {
                return Err(Some(Counter::DropRtpPayloadType));
            };
            let role = self.stream_mut(header.ssrc).map(|stream| stream.role);
            let Some(Role::Rtx { media_ssrc }) = role else {
                return Err(Some(Counter::DropRtpSsrc));
            };
            // Less than an original sequence number: padding that only probes for bandwidth.
            end = unwrap_rtx(&mut packet.data, &mut header, end, payload_type, media_ssrc)
                .map_err(|_| None)?;
            codec = original_codec;
            return self.finish(cx, owner, packet, header, codec, end, len, None, true);
        }
        self.finish(cx, owner, packet, header, codec, end, len, level, false)
    }

    #[allow(clippy::too_many_arguments)]
    fn finish(
        &mut self,
        cx: &mut Context<'_>,
        owner: EndpointKey,
        packet: &mut MediaPacket,
        header: RtpHeader,
        codec: Codec,
        end: usize,
        size: usize,
        level: Option<AudioLevel>,
        repaired: bool,
    ) -> Result<(), Option<Counter>> {
        let now = cx.now;
        let mute_video = self.mute_video;
        let Ok(position) = self
            .streams
            .binary_search_by_key(&header.ssrc, |stream| stream.ssrc)
        else {
            return Err(Some(Counter::DropRtpSsrc));
        };
        let stream = &mut self.streams[position];
        let Role::Media {
            source,
            encoding,
            kind,
        } = stream.role
        else {
            return Err(Some(Counter::DropRtpSsrc));
        };
        if kind_of(codec) != Some(kind) {
            return Err(Some(Counter::DropRtpPayloadType));
        }
        stream.repaired += u64::from(repaired);
        let arrival = if repaired {
            stream.stream.on_rtx(header.sequence)
        } else {
            stream
                .stream
                .on_rtp(now, header.sequence, header.timestamp, size)
        };
        let index = match arrival {
            Arrival::New { index } => index,
            _ => return Err(Some(Counter::DropDuplicate)),
        };
        stream.saw(now);
        if let Some(nack) = &mut stream.nack {
            nack.on_received(now, index);
            self.due = earlier(self.due, nack.poll_timeout());
        }
        let payload_start = usize::from(header.payload_start);
        if end <= payload_start {
            stream.stream.discard(index);
            return Err(None);
        }
        let speech = match kind {
            MediaKind::Audio => match self.gate.on_packet(level.map(|level| level.level)) {
                AudioVerdict::Forward(speech) => speech,
                refused => {
                    stream.stream.discard(index);
                    return Err(Some(match refused {
                        AudioVerdict::Muted => Counter::DropMuted,
                        _ => Counter::DropSilence,
                    }));
                }
            },
            MediaKind::Video if mute_video => {
                stream.stream.discard(index);
                return Err(Some(Counter::DropMuted));
            }
            MediaKind::Video => None,
        };
        let payload = &packet.data[payload_start..end];
        let described = match codec {
            Codec::Vp8 => Vp8Descriptor::parse(payload).map(Payload::Vp8),
            Codec::Vp9 => Vp9Descriptor::parse(payload).map(Payload::Vp9),
            // What can not be read may be encrypted end to end: for those who take RED as it is.
            Codec::Red => Some(RedPacket::parse(payload).map_or(Payload::Opaque, Payload::Red)),
            Codec::H264 => Some(Payload::Plain {
                keyframe: h264::begins_keyframe(payload),
            }),
            _ => Some(Payload::Opaque),
        };
        // Where the payload tells too little to choose layers by, or is encrypted end to end, the header extension
        // tells it (media-plane spec §2.25).
        let described = match packet.kept(DEPENDENCY) {
            Some(element)
                if kind == MediaKind::Video
                    && !described.as_ref().is_some_and(Payload::tells_layers) =>
            {
                stream
                    .dependency
                    .get_or_insert_default()
                    .parse(index, element)
                    .map(Payload::Dependency)
            }
            _ => described,
        };
        let Some(described) = described else {
            stream.stream.discard(index);
            return Err(Some(Counter::DropPayload));
        };
        packet.descriptor = described;
        let closed = stream.stream.accept(index);
        packet.source = source;
        packet.owner = owner;
        packet.encoding = encoding;
        packet.codec = codec;
        packet.arrival = now;
        packet.header = header;
        packet.index = closed;
        packet.original = index;
        packet.payload_end = end as u16;
        packet.level = speech;
        Ok(())
    }

    /// When NACK generators and feedback are to be asked next; it may turn out to have been too early.
    pub fn due(&self) -> Time {
        self.due
    }

    /// NACK generators and feedback were asked.
    pub fn feedback_sent(&mut self) {
        let nacks = self
            .streams
            .iter()
            .filter_map(|stream| stream.nack.as_ref()?.poll_timeout());
        self.due = nacks
            .chain(self.twcc.poll_timeout())
            .fold(Time::FAR, Time::min);
    }

    /// Loss of what the endpoint sends, 0 to 1, from gaps in its transport-cc numbers.
    pub fn loss(&self, now: Time) -> f32 {
        self.twcc.loss(now)
    }

    /// SSRCs of the video streams that came lately, at most as many as there is room for.
    pub fn recent_video(&self, now: Time, ssrcs: &mut [u32]) -> usize {
        let video = |stream: &&UplinkStream| {
            let seen = stream.seen.is_some_and(|seen| now - seen <= ACTIVE);
            seen && stream.active_time(MediaKind::Video).is_some()
        };
        let recent = self.streams.iter().filter(video);
        ssrcs
            .iter_mut()
            .zip(recent)
            .map(|(place, stream)| *place = stream.ssrc)
            .count()
    }

    /// How long its video streams were active, summed over them.
    pub fn video_time(&self) -> Duration {
        let active = |stream: &UplinkStream| stream.active_time(MediaKind::Video);
        self.past_video + self.streams.iter().filter_map(active).sum::<Duration>()
    }

    /// Adds what is known of the streams' reception.
    pub fn describe(&self, now: Time, stats: &mut crate::stats::MediaStats) {
        for stream in &self.streams {
            let Role::Media { kind, .. } = stream.role else {
                continue;
            };
            let sending = stream.seen.is_some_and(|seen| now - seen <= ACTIVE);
            match kind {
                MediaKind::Audio => stats.sending_audio |= sending,
                MediaKind::Video => stats.sending_video |= sending,
            }
            stats.received += stream.stream.packets();
            stats.nacks_out += stream.asked;
            stats.repaired += stream.repaired;
            stats.lost += u64::try_from(stream.stream.cumulative_lost()).unwrap_or(0);
        }
    }

    /// Rate received over the last second.
    pub fn rate_now(&self, now: Time) -> crate::units::Bitrate {
        self.rate.rate(now)
    }
}

/// Period of receiver reports (media-plane spec §2.19).
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_chosen_by_the_payload_only_if_it_tells_them() {
        let vp8 = |payload: &[u8]| Vp8Descriptor::parse(payload).map(Payload::Vp8);
        let vp9 = |payload: &[u8]| Vp9Descriptor::parse(payload).map(Payload::Vp9);
        let tells_layers = |payload: Option<Payload>| payload.expect("parses").tells_layers();
        assert!(tells_layers(vp8(&[0x90, 0xe0, 0x80, 1, 7, 0, 0, 0, 0])));
        assert!(!tells_layers(vp8(&[0x90, 0xc0, 0x80, 1, 7, 0, 0, 0])));
        assert!(tells_layers(vp9(&[0x8c, 5, 0])));
        assert!(!tells_layers(vp9(&[0x0c, 0])));
        assert!(!Payload::Opaque.tells_layers());
    }
}

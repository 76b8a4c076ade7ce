//! What a client receives: all its streams together.

use std::time::Duration;

use causeway_bridge::time::Time;
use causeway_bridge::wire::extensions;
use causeway_bridge::wire::rtcp::ReportBlock;
use causeway_bridge::wire::rtp::RtpHeader;

use super::Map;
use super::arrivals::Arrivals;
use super::codec;
use super::formats::{self, DEPENDENCY, OPUS, TRANSPORT_CC};
use super::stamp::Stamp;
use super::stats::Stats;
use super::stream::{Meaning, Packet, Stream};

/// Streams at most.
const MAX_STREAMS: usize = 4_096;

/// A wish for another layer that was not fulfilled yet.
#[derive(Clone, Copy, Debug)]
struct Wish {
    since: Time,
    /// Number of the client that sends it.
    from: u32,
    encoding: u8,
}

/// A packet of video, which may have come on another SSRC than its own.
struct Video<'a> {
    /// That of the media.
    payload_type: u8,
    media: u32,
    sequence: u16,
    payload: &'a [u8],
    dependency: Option<&'a [u8]>,
    repaired: bool,
}

/// The receiving side of a client.
pub struct Receiver {
    pub arrivals: Arrivals,
    /// Transport-wide sequence numbers are those of the senders.
    pub from_floor: bool,
    streams: Map<u32, Stream>,
    /// Media SSRC by retransmission SSRC, as the bridge mapped them.
    rtx: Map<u32, u32>,
    joining_since: Time,
    had_media: bool,
    had_frame: bool,
    wish: Option<Wish>,
    /// Packets by sending client and encoding.
    pub sources: Map<(u32, u8), u64>,
}

impl Receiver {
    pub fn new(joining_since: Time) -> Receiver {
        Receiver {
            arrivals: Arrivals::default(),
            from_floor: false,
            streams: Map::default(),
            rtx: Map::default(),
            joining_since,
            had_media: false,
            had_frame: false,
            wish: None,
            sources: Map::default(),
        }
    }

    /// Whether anything comes that has to be answered.
    pub fn is_busy(&self) -> bool {
        !self.streams.is_empty()
    }

    /// The bridge says on which SSRC retransmissions of a stream come.
    pub fn map(&mut self, ssrc: u32, rtx: u32) {
        if self.rtx.len() < MAX_STREAMS {
            self.rtx.insert(rtx, ssrc);
        }
    }

    /// The client asked for another layer of what `from` sends.
    pub fn wish(&mut self, now: Time, from: u32, encoding: u8) {
        self.wish = Some(Wish {
            since: now,
            from,
            encoding,
        });
    }

    /// Whether a wish waits for its first frame.
    pub fn is_waiting(&self) -> bool {
        self.wish.is_some()
    }

    pub fn videos(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.streams.values_mut().filter(|stream| stream.video)
    }

    /// Some SSRC that is received.
    pub fn any_ssrc(&self) -> Option<u32> {
        self.streams.keys().next().copied()
    }

    pub fn reports(&mut self, now: Time) -> Vec<ReportBlock> {
        let alive = self
            .streams
            .values_mut()
            .filter(|stream| stream.is_alive(now));
        alive.map(|stream| stream.report(now)).collect()
    }

    pub fn note_sender_report(&mut self, now: Time, ssrc: u32, ntp: u64) {
        if let Some(stream) = self.streams.get_mut(&ssrc) {
            stream.note_sender_report(now, ntp);
        }
    }

    /// Takes an opened packet.
    pub fn receive(
        &mut self,
        now: Time,
        arrived: Time,
        header: &RtpHeader,
        packet: &[u8],
        stats: &mut Stats,
    ) {
        let transport = extensions::elements(header, packet)
            .find(|(id, _)| *id == TRANSPORT_CC)
            .and_then(|(_, data)| data.first_chunk());
        match transport {
            Some(_) if self.from_floor => self.arrivals.note_next(arrived),
            Some(sequence) => self.arrivals.note(u16::from_be_bytes(*sequence), arrived),
            None => {}
        }
        let end = header.payload_end(packet).unwrap_or(0);
        let start = usize::from(header.payload_start);
        let payload = packet.get(start..end).unwrap_or_default();
        let format = codec::format_of(header.payload_type);
        let dependency = extensions::elements(header, packet)
            .find(|(id, _)| *id == DEPENDENCY)
            .map(|(_, data)| data);
        let mut video = Video {
            payload_type: format.map_or(0, |(format, _)| format.payload_type),
            media: header.ssrc,
            sequence: header.sequence,
            payload,
            dependency,
            repaired: false,
        };
        if payload.is_empty() {
            stats.probe_packets += 1;
            if let Some((_, false)) = format {
                // Padding on the media SSRC takes sequence numbers.
                self.take(now, header, &video, stats);
            }
            return;
        }
        match format {
            None if header.payload_type == OPUS => {
                self.receive_audio(now, arrived, header, payload, stats);
            }
            Some((_, false)) => {
                let stamp = self.take(now, header, &video, stats);
                if let Some((stamp, Meaning::New)) = stamp {
                    stats.video_packets += 1;
                    stats.latency.record(arrived - stamp.sent);
                    *self
                        .sources
                        .entry((stamp.client, stamp.encoding))
                        .or_default() += 1;
                } else {
                    stats.duplicate_packets += 1;
                }
                self.decode(now, header.ssrc, stats);
            }
            Some((_, true)) => {
                let media = self.rtx.get(&header.ssrc).copied();
                let media = media.unwrap_or_else(|| formats::of_rtx(header.ssrc));
                let Some((original, payload)) = payload.split_first_chunk() else {
                    return;
                };
                if !self.streams.contains_key(&media) {
                    stats.probe_packets += 1;
                    return;
                }
                video = Video {
                    media,
                    sequence: u16::from_be_bytes(*original),
                    payload,
                    repaired: true,
                    ..video
                };
                match self.take(now, header, &video, stats) {
                    Some((stamp, Meaning::New)) => {
                        stats.repaired_packets += 1;
                        stats.repaired_latency.record(arrived - stamp.sent);
                        self.decode(now, media, stats);
                    }
                    _ => stats.probe_packets += 1,
                }
            }
            None => stats.foreign_packets += 1,
        }
    }

    fn receive_audio(
        &mut self,
        now: Time,
        arrived: Time,
        header: &RtpHeader,
        payload: &[u8],
        stats: &mut Stats,
    ) {
        let Some(stamp) = Stamp::read(payload) else {
            stats.foreign_packets += 1;
            return;
        };
        let Some(stream) = stream(&mut self.streams, now, header.ssrc, false, header.sequence)
        else {
            return;
        };
        let packet = Packet {
            sequence: header.sequence,
            timestamp: header.timestamp,
            marker: true,
            start: true,
            keyframe: false,
            stamp: Some(stamp),
            repaired: false,
        };
        if stream.receive(arrived, &packet, stats) == Meaning::Known {
            stats.duplicate_packets += 1;
            return;
        }
        stats.audio_packets += 1;
        *self
            .sources
            .entry((stamp.client, stamp.encoding))
            .or_default() += 1;
        stats.latency.record(arrived - stamp.sent);
        self.note_media(now, stats);
    }

    fn take(
        &mut self,
        now: Time,
        header: &RtpHeader,
        video: &Video<'_>,
        stats: &mut Stats,
    ) -> Option<(Stamp, Meaning)> {
        let Video {
            media,
            sequence,
            payload,
            ..
        } = *video;
        let read = codec::read(video.payload_type, payload, video.dependency);
        let read = read.filter(|_| !payload.is_empty()).unwrap_or_default();
        let stamp = payload.get(read.stamp_at..).and_then(Stamp::read);
        if stamp.is_none() && !payload.is_empty() {
            stats.foreign_packets += 1;
        }
        let stream = stream(&mut self.streams, now, media, true, sequence)?;
        let packet = Packet {
            sequence,
            timestamp: header.timestamp,
            marker: header.marker && !payload.is_empty(),
            start: read.start,
            keyframe: read.keyframe,
            stamp,
            repaired: video.repaired,
        };
        let meaning = stream.receive(now, &packet, stats);
        stamp.map(|stamp| (stamp, meaning))
    }

    fn decode(&mut self, now: Time, ssrc: u32, stats: &mut Stats) {
        let Some(stream) = self.streams.get_mut(&ssrc) else {
            return;
        };
        if stream.decode(now, stats) == 0 {
            return;
        }
        let (encoding, from) = (stream.encoding, stream.client);
        let joined = self.joining_since;
        if !self.had_frame {
            self.had_frame = true;
            stats.first_frame.record(now - joined);
        }
        if let Some(wish) = self.wish
            && (from, encoding) == (Some(wish.from), Some(wish.encoding))
        {
            self.wish = None;
            let times = match wish.encoding {
                0 => &mut stats.switch_down,
                _ => &mut stats.switch_up,
            };
            times.record(now - wish.since);
        }
        self.note_media(now, stats);
    }

    fn note_media(&mut self, now: Time, stats: &mut Stats) {
        if !self.had_media {
            self.had_media = true;
            stats.first_media.record(now - self.joining_since);
        }
    }

    /// Video streams that had a frame within that time.
    pub fn moving(&self, now: Time, within: Duration) -> usize {
        self.streams
            .values()
            .filter(|stream| stream.video && stream.moved_since(now, within))
            .count()
    }
}

fn stream(
    streams: &mut Map<u32, Stream>,
    now: Time,
    ssrc: u32,
    video: bool,
    sequence: u16,
) -> Option<&mut Stream> {
    if !streams.contains_key(&ssrc) && streams.len() >= MAX_STREAMS {
        return None;
    }
    let new = || Stream::new(now, ssrc, video, sequence);
    Some(streams.entry(ssrc).or_insert_with(new))
}

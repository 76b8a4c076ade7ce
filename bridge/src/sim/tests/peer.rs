//! A model client: ICE, SRTP, a sender of simulcast VP8 and Opus, and a receiver that checks what it gets.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::hmac;

use super::codec::{self, Picture, VideoCodec, video_formats};
use super::stream::{Label, Seen, Stream};
use crate::ids::EndpointKey;
use crate::media::{Codec, Extension, Feedback, MediaFormats, PayloadType};
use crate::random::Random;
use crate::srtp::{Inbound, KeyingMaterial, Outbound};
use crate::time::Time;
use crate::transport::ice::Credentials;
use crate::wire::demux::{Class, classify};
use crate::wire::extensions::{self, HeaderBuilder};
use crate::wire::red::{self, RedPacket};
use crate::wire::rtcp::{self, Compound, Element};
use crate::wire::rtp::RtpHeader;
use crate::wire::stun::{self, BindingRequest, RoleClaim, StunMessage};
use crate::wire::twcc::{FeedbackHeader, write_feedback};

const OPUS: u8 = 111;
const RED: u8 = 112;
const LEVEL_ID: u8 = 1;
const TRANSPORT_CC_ID: u8 = 5;
const DEPENDENCY_ID: u8 = 11;
/// Smaller dimension and packets per frame of each encoding.
const LAYERS: [(u16, u8); 3] = [(180, 1), (360, 2), (720, 4)];
const FRAME: Duration = Duration::from_millis(100);
const AUDIO: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(20);

/// What a client negotiates: all video, and RED only if it wants to.
pub fn formats(red: bool) -> MediaFormats {
    let all = Feedback {
        transport_cc: true,
        remb: false,
        nack: true,
        pli: true,
        fir: true,
    };
    let format = |number, codec, clock_rate, associated, feedback| PayloadType {
        number,
        codec,
        clock_rate,
        associated,
        feedback,
    };
    let mut formats = MediaFormats {
        payload_types: vec![format(OPUS, Codec::Opus, 48_000, None, Feedback::default())],
        ..MediaFormats::default()
    };
    let types = &mut formats.payload_types;
    if red {
        types.push(format(RED, Codec::Red, 48_000, None, Feedback::default()));
    }
    for (number, rtx, codec) in video_formats() {
        types.push(format(number, codec, 90_000, None, all));
        let none = Feedback::default();
        types.push(format(rtx, Codec::Rtx, 90_000, Some(number), none));
    }
    formats
        .extensions
        .set(Extension::DependencyDescriptor, DEPENDENCY_ID);
    formats.extensions.set(Extension::AudioLevel, LEVEL_ID);
    formats
        .extensions
        .set(Extension::TransportCc, TRANSPORT_CC_ID);
    formats
}

/// One SSRC that a client sends.
struct Sender {
    ssrc: u32,
    next: u64,
    frame: u32,
    keyframe: bool,
    active: bool,
}

impl Sender {
    fn new(ssrc: u32, random: &mut Random) -> Sender {
        Sender {
            ssrc,
            next: random.below(1 << 16),
            frame: 0,
            keyframe: true,
            active: true,
        }
    }
}

/// A packet that can be sent again: SSRC, index, packet and dependency descriptor.
type Kept = (u32, u64, Vec<u8>, Option<Vec<u8>>);

pub struct Peer {
    pub id: String,
    pub conference: usize,
    pub key: EndpointKey,
    pub address: SocketAddr,
    pub local: Credentials,
    pub remote: Credentials,
    pub out: VecDeque<Vec<u8>>,
    pub talking: bool,
    codec: VideoCodec,
    /// It sends RED.
    red: bool,
    /// The latest audio packets: timestamp and payload, the newest last.
    spoken: VecDeque<(u32, Vec<u8>)>,
    /// Spatial layers in the picture before.
    layered: u8,
    /// By SSRC, what the bridge sends.
    pub audio_streams: BTreeMap<u32, Stream>,
    pub video_streams: BTreeMap<u32, Stream>,
    /// By SSRC, of retransmissions: the media SSRC.
    rtx: BTreeMap<u32, u32>,
    random: Random,
    keys: Option<(Outbound, Inbound)>,
    audio: Sender,
    layers: Vec<Sender>,
    retransmission: [Sender; 3],
    max_height: i32,
    picture: u16,
    tl0: u8,
    origin: u32,
    sent: VecDeque<Kept>,
    next_check: Time,
    next_audio: Time,
    next_frame: Time,
    next_tick: Time,
    next_feedback: Time,
    next_report: Time,
    transport_sequence: u16,
    arrivals: BTreeMap<u64, Time>,
    feedback_base: Option<u64>,
    feedback_count: u8,
}

/// SSRCs of the source: audio, three encodings, their retransmissions.
pub fn ssrcs(base: u32) -> (u32, [u32; 3], [u32; 3]) {
    (
        base,
        [base + 1, base + 2, base + 3],
        [base + 4, base + 5, base + 6],
    )
}

impl Peer {
    pub fn new(
        now: Time,
        mut random: Random,
        (id, conference, key): (String, usize, EndpointKey),
        address: SocketAddr,
        (local, remote): (Credentials, Credentials),
        base: u32,
        red: bool,
    ) -> Peer {
        let (audio, video, rtx) = ssrcs(base);
        Peer {
            id,
            conference,
            key,
            address,
            local,
            remote,
            out: VecDeque::new(),
            talking: false,
            codec: VideoCodec::any(&mut random),
            red,
            spoken: VecDeque::new(),
            layered: 0,
            audio_streams: BTreeMap::new(),
            video_streams: BTreeMap::new(),
            rtx: BTreeMap::new(),
            keys: None,
            audio: Sender::new(audio, &mut random),
            layers: video
                .iter()
                .map(|ssrc| Sender::new(*ssrc, &mut random))
                .collect(),
            retransmission: rtx.map(|ssrc| Sender::new(ssrc, &mut random)),
            max_height: 720,
            picture: random.u32() as u16 & 0x7fff,
            tl0: random.u32() as u8,
            origin: random.u32(),
            sent: VecDeque::new(),
            next_check: now,
            next_audio: now,
            next_frame: now + Duration::from_millis(random.below(100)),
            next_tick: now,
            next_feedback: now,
            next_report: now,
            transport_sequence: random.u32() as u16,
            arrivals: BTreeMap::new(),
            feedback_base: None,
            feedback_count: 0,
            random,
        }
    }

    pub fn base_ssrc(&self) -> u32 {
        self.audio.ssrc
    }

    pub fn connected(&self) -> bool {
        self.keys.is_some()
    }

    /// Moves to another address; the next check leaves at once.
    pub fn move_to(&mut self, now: Time, address: SocketAddr) {
        self.address = address;
        self.next_check = now;
    }

    pub fn restart(&mut self, now: Time, local: Credentials, remote: Credentials) {
        self.local = local;
        self.remote = remote;
        self.next_check = now;
    }

    pub fn set_keys(&mut self, keys: &KeyingMaterial) {
        let outbound = Outbound::new(keys.profile, &keys.local_key, &keys.local_salt);
        let inbound = Inbound::new(keys.profile, &keys.remote_key, &keys.remote_salt);
        self.keys = Some((outbound, inbound));
    }

    pub fn poll_timeout(&self) -> Time {
        let media = self.next_audio.min(self.next_frame).min(self.next_tick);
        match self.keys {
            Some(_) => media.min(self.next_check),
            None => self.next_check,
        }
    }

    pub fn handle_timeout(&mut self, now: Time) {
        if self.next_check <= now {
            self.next_check =
                now + Duration::from_millis(if self.keys.is_some() { 1_000 } else { 150 });
            let check = self.binding_request();
            self.out.push_back(check);
        }
        if self.keys.is_none() {
            return;
        }
        if self.next_audio <= now {
            self.next_audio = now + AUDIO;
            self.send_audio(now);
        }
        if self.next_frame <= now {
            self.next_frame = now + FRAME;
            self.send_frame(now);
        }
        if self.next_tick <= now {
            self.next_tick = now + TICK;
            self.repair(now);
            if self.next_feedback <= now {
                self.next_feedback = now + Duration::from_millis(100);
                self.feedback();
            }
            if self.next_report <= now {
                self.next_report = now + Duration::from_secs(1);
                self.report(now);
            }
        }
    }

    /// A connectivity check.
    pub fn binding_request(&mut self) -> Vec<u8> {
        let mut transaction = [0; 12];
        self.random.fill(&mut transaction);
        let mut buffer = [0; stun::MAX_WRITTEN];
        let request = BindingRequest {
            transaction: &transaction,
            remote_ufrag: &self.remote.ufrag,
            local_ufrag: &self.local.ufrag,
            priority: 1,
            role: RoleClaim::Controlled(7),
            use_candidate: false,
        };
        let key = stun::integrity_key(&self.remote.password);
        let len = stun::write_request(&mut buffer, &request, &key).expect("there is room");
        buffer[..len].to_vec()
    }

    /// The RTP clock of this client at `now`.
    fn clock(&self, now: Time, rate: u64) -> u32 {
        self.origin
            .wrapping_add((now.as_micros() * rate / 1_000_000) as u32)
    }

    fn seal(
        &mut self,
        header: HeaderBuilder,
        index: u64,
        level: Option<u8>,
        descriptor: Option<&[u8]>,
        payload: &[u8],
    ) {
        let Some((outbound, _)) = &mut self.keys else {
            return;
        };
        let sequence = self.transport_sequence.to_be_bytes();
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let level = level.map(|level| [level]);
        let mut elements: Vec<(u8, &[u8])> = vec![(TRANSPORT_CC_ID, &sequence)];
        if let Some(level) = &level {
            elements = vec![(LEVEL_ID, level)];
        }
        if let Some(descriptor) = descriptor {
            elements.push((DEPENDENCY_ID, descriptor));
        }
        let mut buffer = [0; 1_500];
        let front = header.write(&mut buffer, &elements).expect("there is room");
        let len = front + payload.len();
        buffer[front..len].copy_from_slice(payload);
        let sealed = outbound.seal_rtp(header.ssrc, index, &mut buffer, front, len);
        let sealed = sealed.expect("a packet can be sealed");
        self.out.push_back(buffer[..sealed].to_vec());
    }

    fn send_audio(&mut self, now: Time) {
        let label = Label {
            ssrc: self.audio.ssrc,
            frame: self.audio.frame,
            part: 0,
            parts: 1,
            layer: 0,
        };
        self.audio.frame += 1;
        let index = self.audio.next;
        self.audio.next += 1;
        let mut header = HeaderBuilder {
            marker: false,
            payload_type: OPUS,
            sequence: index as u16,
            timestamp: self.clock(now, 48_000),
            ssrc: label.ssrc,
        };
        let mut payload = label.write().to_vec();
        payload.resize(70, 1);
        let level = if self.talking {
            20 + self.random.below(10) as u8
        } else {
            100
        };
        if self.red {
            header.payload_type = RED;
            let blocks: Vec<_> = self
                .spoken
                .iter()
                .map(|(at, old)| Some((header.timestamp.wrapping_sub(*at), &old[..])))
                .collect();
            let mut buffer = [0; 400];
            let len = red::write(&mut buffer, OPUS, &blocks, &payload).expect("there is room");
            self.spoken.push_back((header.timestamp, payload));
            while self.spoken.len() > 2 {
                self.spoken.pop_front();
            }
            payload = buffer[..len].to_vec();
        }
        self.seal(header, index, Some(level), None, &payload);
    }

    fn send_frame(&mut self, now: Time) {
        if self.max_height == 0 {
            self.layers
                .iter_mut()
                .for_each(|layer| layer.active = false);
            return;
        }
        self.picture = (self.picture + 1) & 0x7fff;
        self.tl0 = self.tl0.wrapping_add(1);
        let timestamp = self.clock(now, 90_000);
        if self.codec.is_layered() {
            self.send_layers(timestamp);
            return;
        }
        for (at, (height, parts)) in LAYERS.into_iter().enumerate() {
            let wanted = at == 0 || self.max_height < 0 || i32::from(height) <= self.max_height;
            let layer = &mut self.layers[at];
            let key = layer.keyframe || !layer.active;
            layer.active = wanted;
            if !wanted {
                continue;
            }
            layer.keyframe = false;
            let (ssrc, frame) = (layer.ssrc, layer.frame);
            layer.frame += 1;
            for part in 0..parts {
                let label = Label {
                    ssrc,
                    frame,
                    part,
                    parts,
                    layer: 0,
                };
                self.send_video(
                    at,
                    timestamp,
                    label,
                    key,
                    part + 1 == parts,
                    ([height; 3], 1),
                );
            }
        }
    }

    /// A picture with all spatial layers in the first encoding.
    fn send_layers(&mut self, timestamp: u32) {
        let heights = LAYERS.map(|(height, _)| height);
        let fits = |height: &&u16| self.max_height < 0 || i32::from(**height) <= self.max_height;
        let count = heights.iter().filter(fits).count().max(1) as u8;
        let layer = &mut self.layers[0];
        let key = layer.keyframe || !layer.active || count != self.layered;
        (layer.active, layer.keyframe, self.layered) = (true, false, count);
        let (ssrc, frame) = (layer.ssrc, layer.frame);
        layer.frame += 1;
        for (layer, parts) in (0..count).zip([1, 1, 2]) {
            for part in 0..parts {
                let label = Label {
                    ssrc,
                    frame,
                    part,
                    parts,
                    layer,
                };
                let ends = layer + 1 == count && part + 1 == parts;
                self.send_video(0, timestamp, label, key, ends, (heights, count));
            }
        }
    }

    fn send_video(
        &mut self,
        at: usize,
        timestamp: u32,
        label: Label,
        key: bool,
        marker: bool,
        (heights, layers): ([u16; 3], u8),
    ) {
        let index = self.layers[at].next;
        self.layers[at].next += 1;
        let picture = Picture {
            label,
            key,
            picture_id: self.picture,
            tl0picidx: self.tl0,
            heights,
            layers,
        };
        let (mut payload, descriptor) = codec::write(self.codec, &picture);
        payload.resize(if at == 0 { 500 } else { 1_000 }, 2);
        let header = HeaderBuilder {
            marker,
            payload_type: self.codec.payload_type(),
            sequence: index as u16,
            timestamp,
            ssrc: label.ssrc,
        };
        self.seal(header, index, None, descriptor.as_deref(), &payload);
        let mut packet = vec![0; 12];
        header.write(&mut packet, &[]);
        packet.extend(payload);
        self.sent.push_back((label.ssrc, index, packet, descriptor));
        if self.sent.len() > 300 {
            self.sent.pop_front();
        }
    }

    fn resend(&mut self, ssrc: u32, sequence: u16) {
        let known = self
            .sent
            .iter()
            .find(|(of, index, ..)| *of == ssrc && *index as u16 == sequence);
        let Some((_, _, packet, descriptor)) = known.cloned() else {
            return;
        };
        let Some(at) = self.layers.iter().position(|layer| layer.ssrc == ssrc) else {
            return;
        };
        let original = RtpHeader::parse(&packet).expect("our own packet");
        let rtx = &mut self.retransmission[at];
        let index = rtx.next;
        rtx.next += 1;
        let header = HeaderBuilder {
            marker: original.marker,
            payload_type: self.codec.rtx_type(),
            sequence: index as u16,
            timestamp: original.timestamp,
            ssrc: rtx.ssrc,
        };
        let mut payload = sequence.to_be_bytes().to_vec();
        payload.extend(&packet[usize::from(original.payload_start)..]);
        self.seal(header, index, None, descriptor.as_deref(), &payload);
    }

    fn send_rtcp(&mut self, write: impl FnOnce(&mut Compound<'_>, u32) -> bool) {
        let own = self.audio.ssrc;
        let Some((outbound, _)) = &mut self.keys else {
            return;
        };
        let mut buffer = [0; 1_500];
        let mut compound = Compound::new(&mut buffer[..1_400]);
        assert!(compound.receiver_report(own, &[]) && write(&mut compound, own));
        let len = compound.len();
        let sealed = outbound
            .seal_rtcp(&mut buffer, len)
            .expect("a compound can be sealed");
        self.out.push_back(buffer[..sealed].to_vec());
    }

    /// Asks for what is missing.
    fn repair(&mut self, now: Time) {
        let mut nacks = Vec::new();
        let mut plis = Vec::new();
        for (ssrc, stream) in &mut self.video_streams {
            let mut lost = Vec::new();
            for (index, (since, times)) in &mut stream.missing {
                let wait = Duration::from_millis(10 + 100 * u64::from(*times));
                if *times < 5 && now.since(*since) >= wait && lost.len() < 50 {
                    *times += 1;
                    lost.push(*index as u16);
                }
            }
            if !lost.is_empty() {
                nacks.push((*ssrc, lost));
            }
            let stuck = now.since(stream.last_progress) > Duration::from_millis(600);
            if stuck && now.since(stream.last_pli) > Duration::from_millis(600) {
                stream.last_pli = now;
                plis.push(*ssrc);
            }
        }
        for (ssrc, lost) in nacks {
            self.send_rtcp(|compound, own| compound.nack(own, ssrc, lost));
        }
        for ssrc in plis {
            self.send_rtcp(|compound, own| compound.pli(own, ssrc));
        }
    }

    fn feedback(&mut self) {
        let Some((highest, _)) = self
            .arrivals
            .last_key_value()
            .map(|(at, time)| (*at, *time))
        else {
            return;
        };
        let own = self.audio.ssrc;
        let mut base = self
            .feedback_base
            .unwrap_or(highest)
            .max(highest.saturating_sub(400));
        while base <= highest {
            let header = FeedbackHeader {
                sender_ssrc: own,
                media_ssrc: 0,
                base_sequence: base as u16,
                feedback_count: self.feedback_count,
            };
            self.feedback_count = self.feedback_count.wrapping_add(1);
            let mut packet = Vec::new();
            let arrivals = (base..=highest).map(|at| self.arrivals.get(&at).copied());
            let covered = write_feedback(&header, arrivals, &mut packet);
            base += covered.max(1) as u64;
            let (outbound, _) = self.keys.as_mut().expect("there are keys");
            let len = packet.len();
            packet.resize(len + 64, 0);
            let sealed = outbound
                .seal_rtcp(&mut packet, len)
                .expect("feedback can be sealed");
            packet.truncate(sealed);
            self.out.push_back(packet);
        }
        self.feedback_base = Some(base);
        self.arrivals.clear();
    }

    fn report(&mut self, now: Time) {
        let ntp = (now.as_micros() << 32) / 1_000_000;
        let video = self.clock(now, 90_000);
        let senders: Vec<u32> = self.layers.iter().map(|layer| layer.ssrc).collect();
        self.send_rtcp(|compound, _| {
            senders.into_iter().all(|ssrc| {
                let info = rtcp::SenderInfo {
                    ssrc,
                    ntp,
                    rtp: video,
                    packets: 1,
                    octets: 1,
                };
                compound.sender_report(&info, &[])
            })
        });
    }

    /// A datagram from the bridge.
    pub fn receive(&mut self, now: Time, data: &[u8]) -> Result<(), String> {
        match classify(data) {
            Some(Class::Stun) => self.receive_stun(data),
            Some(Class::Rtp) => return self.receive_rtp(now, data),
            Some(Class::Rtcp) => self.receive_rtcp(data),
            _ => {}
        }
        Ok(())
    }

    fn receive_stun(&mut self, data: &[u8]) {
        let message = StunMessage::parse(data).expect("the bridge writes STUN");
        if message.class() != stun::Class::Request {
            return;
        }
        let key: hmac::Key = stun::integrity_key(&self.local.password);
        if message.verify_integrity(&key) {
            let mut buffer = [0; stun::MAX_WRITTEN];
            let source = "203.0.113.1:10000".parse().expect("an address");
            let len = stun::write_success(&mut buffer, message.transaction(), source, &key);
            self.out
                .push_back(buffer[..len.expect("there is room")].to_vec());
        }
    }

    fn receive_rtp(&mut self, now: Time, data: &[u8]) -> Result<(), String> {
        let Some((_, inbound)) = &mut self.keys else {
            return Ok(());
        };
        let header = RtpHeader::parse(data).map_err(|error| format!("not RTP: {error}"))?;
        inbound
            .allow(header.ssrc)
            .map_err(|error| error.to_string())?;
        let mut plain = [0; 2_000];
        let opened = match inbound.open_rtp(&header, data, &mut plain) {
            Ok(opened) => opened,
            Err(crate::srtp::OpenError::Replay | crate::srtp::OpenError::TooOld) => return Ok(()),
            Err(error) => return Err(format!("SSRC {} can not be opened: {error}", header.ssrc)),
        };
        let packet = &plain[..opened.len];
        let mut descriptor = None;
        for (id, value) in extensions::elements(&header, packet) {
            if id == DEPENDENCY_ID {
                descriptor = Some(value);
            }
            if let (TRANSPORT_CC_ID, Some(sequence)) = (id, value.first_chunk()) {
                let sequence = u16::from_be_bytes(*sequence);
                let last = self.feedback_base.unwrap_or(u64::from(sequence) + 0x1_0000);
                let ahead = sequence.wrapping_sub(last as u16) as i16;
                self.arrivals
                    .insert(last.saturating_add_signed(ahead.into()), now);
                self.feedback_base.get_or_insert(last);
            }
        }
        let end = header
            .payload_end(packet)
            .map_err(|error| error.to_string())?;
        let payload = &packet[usize::from(header.payload_start)..end];
        match header.payload_type {
            OPUS => {
                let seen = Seen::audio(header.timestamp, payload).ok_or("not a packet of ours")?;
                let stream = self.audio_streams.entry(header.ssrc).or_default();
                stream.receive(now, opened.index, seen)
            }
            RED => {
                let stream = self.audio_streams.entry(header.ssrc).or_default();
                receive_red(now, stream, opened.index, header.timestamp, payload)
            }
            number if video_formats().iter().any(|format| format.0 == number) => {
                let seen =
                    codec::read(number, header.timestamp, header.marker, payload, descriptor);
                self.receive_video(now, header.ssrc, opened.index, payload, seen)
            }
            number if video_formats().iter().any(|format| format.1 == number) => {
                let (Some(media), Some((osn, rest))) = (
                    self.rtx.get(&header.ssrc).copied(),
                    payload.split_first_chunk(),
                ) else {
                    return Ok(());
                };
                let Some(highest) = self
                    .video_streams
                    .get(&media)
                    .and_then(|stream| stream.highest)
                else {
                    return Ok(());
                };
                let back = (highest as u16).wrapping_sub(u16::from_be_bytes(*osn)) as i16;
                let index = highest.saturating_add_signed(-i64::from(back));
                let of = video_formats()
                    .into_iter()
                    .find(|format| format.1 == number);
                let media_type = of.map_or(0, |format| format.0);
                let seen = codec::read(
                    media_type,
                    header.timestamp,
                    header.marker,
                    rest,
                    descriptor,
                );
                self.receive_video(now, media, index, rest, seen)
            }
            other => Err(format!("payload type {other}")),
        }
    }

    fn receive_video(
        &mut self,
        now: Time,
        ssrc: u32,
        index: u64,
        payload: &[u8],
        seen: Option<Seen>,
    ) -> Result<(), String> {
        let stream = self.video_streams.entry(ssrc).or_default();
        stream.video = true;
        if payload.is_empty() {
            return Ok(());
        }
        stream.receive(now, index, seen.ok_or("not a packet of ours")?)
    }

    fn receive_rtcp(&mut self, data: &[u8]) {
        let mut plain = [0; 2_000];
        let Some((_, inbound)) = &mut self.keys else {
            return;
        };
        let Ok(len) = inbound.open_rtcp(data, &mut plain) else {
            return;
        };
        for element in rtcp::elements(&plain[..len]) {
            match element.expect("the bridge writes RTCP") {
                Element::Pli { media, .. } => self.wants_keyframe(media),
                Element::Fir { entries, .. } => {
                    for (media, _) in entries {
                        self.wants_keyframe(media);
                    }
                }
                Element::Nack { media, lost, .. } => {
                    for sequence in lost {
                        self.resend(media, sequence);
                    }
                }
                _ => {}
            }
        }
    }

    fn wants_keyframe(&mut self, media: u32) {
        if self.layers.iter().any(|layer| layer.ssrc == media) {
            self.layers
                .iter_mut()
                .for_each(|layer| layer.keyframe = true);
        }
    }

    /// Text from the bridge.
    pub fn hear(&mut self, text: &str) {
        let message: serde_json::Value =
            serde_json::from_str(text).expect("the bridge writes JSON");
        match message["colibriClass"].as_str() {
            Some("SenderSourceConstraints") => {
                self.max_height = message["maxHeight"].as_i64().unwrap_or(-1) as i32;
            }
            Some("VideoSourcesMap") => {
                for mapping in message["mappedSources"].as_array().into_iter().flatten() {
                    if let (Some(ssrc), Some(rtx)) =
                        (mapping["ssrc"].as_u64(), mapping["rtx"].as_u64())
                    {
                        self.rtx.insert(rtx as u32, ssrc as u32);
                    }
                }
            }
            _ => {}
        }
    }
}

/// A RED packet: its primary is taken, and its redundancy must be what was sent before.
fn receive_red(
    now: Time,
    stream: &mut Stream,
    index: u64,
    timestamp: u32,
    payload: &[u8],
) -> Result<(), String> {
    let red = RedPacket::parse(payload).ok_or("RED that is none")?;
    let read = |timestamp, content| Seen::audio(timestamp, content).ok_or("not a packet of ours");
    let primary = read(timestamp, red.primary(payload))?;
    for distance in 1..=2 {
        let Some(block) = red.block(distance) else {
            continue;
        };
        let before = timestamp.wrapping_sub(block.offset.into());
        let seen = read(before, block.content(payload))?;
        let is_before = seen.label.ssrc == primary.label.ssrc
            && seen.label.frame + distance as u32 == primary.label.frame;
        if !is_before || !stream.agrees(index - distance as u64, seen) {
            return Err(format!("{seen:?} does not belong before {primary:?}"));
        }
    }
    stream.receive(now, index, primary)
}

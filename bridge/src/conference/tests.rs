//! What goes from client to client through one worker: clients with keys, and every byte that they are sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::{ReceiverVideoConstraints, VideoConstraints};
use crate::config::BridgeConfig;
use crate::counters::Counter;
use crate::ids::{ConferenceKey, EndpointId, EndpointKey, Path, SocketId, SourceKey, WorkerId};
use crate::media::{
    Codec, EncodingDescription, EndpointSources, Extension, Feedback, MediaFormats, MediaKind,
    PayloadType, SourceDescription, VideoType,
};
use crate::messages::{Command, ConferenceSetup, EndpointSetup, Event, RemoteIce};
use crate::random::Random;
use crate::srtp::{Inbound, KeyingMaterial, Outbound, Profile};
use crate::time::Time;
use crate::transport::ice::Credentials;
use crate::wire::demux::{Class, classify};
use crate::wire::extensions::{self, HeaderBuilder};
use crate::wire::rtcp::{self, Compound, Element};
use crate::wire::rtp::RtpHeader;
use crate::wire::stun::{self, BindingRequest, RoleClaim, StunMessage};
use crate::worker::Worker;

mod bandwidth;
mod exports;
mod pacing;
mod watch;

const KEY: [u8; 16] = [7; 16];
const SALT: [u8; 14] = [9; 14];
const PROFILE: Profile = Profile::AeadAes128Gcm;
const CONFERENCE: ConferenceKey = ConferenceKey(1);
const OPUS: u8 = 111;
const VP8: u8 = 100;
const RTX: u8 = 101;
const LEVEL: u8 = 1;
const ABS_SEND_TIME: u8 = 3;
const TRANSPORT_CC: u8 = 5;
const MID: u8 = 10;

struct Client {
    path: Path,
    local: Credentials,
    remote: Credentials,
    seal: Outbound,
    open: Inbound,
}

/// What a client was sent.
enum Sent {
    Rtp(RtpHeader, Vec<u8>),
    Rtcp(Vec<u8>),
}

struct Room {
    worker: Worker,
    clients: Vec<Client>,
    random: Random,
    now: Time,
}

/// How a client joins.
#[derive(Clone, Copy, Default)]
struct Joining {
    visitor: bool,
    rewriting: bool,
    remb: bool,
    /// transport-cc was negotiated for audio too.
    audio_cc: bool,
}

fn formats(remb: bool, audio_cc: bool) -> MediaFormats {
    let feedback = Feedback {
        transport_cc: !remb,
        remb,
        nack: true,
        pli: true,
        fir: true,
    };
    let audio = Feedback {
        transport_cc: audio_cc,
        ..Feedback::default()
    };
    let format = |number, codec, clock_rate, associated, feedback| PayloadType {
        number,
        codec,
        clock_rate,
        associated,
        feedback,
    };
    let mut formats = MediaFormats {
        payload_types: vec![
            format(OPUS, Codec::Opus, 48_000, None, audio),
            format(VP8, Codec::Vp8, 90_000, None, feedback),
            format(RTX, Codec::Rtx, 90_000, Some(VP8), Feedback::default()),
        ],
        ..MediaFormats::default()
    };
    let extensions = &mut formats.extensions;
    extensions.set(Extension::AudioLevel, LEVEL);
    extensions.set(Extension::AbsSendTime, ABS_SEND_TIME);
    extensions.set(Extension::Mid, MID);
    if !remb {
        extensions.set(Extension::TransportCc, TRANSPORT_CC);
    }
    formats
}

impl Room {
    fn new() -> Room {
        let mut config = BridgeConfig::default();
        config.allocation.trust_estimate = false;
        Room::with(config)
    }

    fn with(config: BridgeConfig) -> Room {
        let mut random = Random::from_seed(1);
        let sockets = Arc::from([SocketAddr::from(([198, 51, 100, 1], 10_000))]);
        let now = Time::from_millis(1_000);
        let config = Arc::new(config);
        let worker = Worker::new(WorkerId(0), config, sockets, 1, random.fork(), now);
        let mut room = Room {
            worker,
            clients: Vec::new(),
            random,
            now,
        };
        room.open();
        room
    }

    /// The conference begins.
    fn open(&mut self) {
        let setup = ConferenceSetup {
            key: CONFERENCE,
            meeting_id: "cases".into(),
            shards: vec![WorkerId(0)],
            home: WorkerId(0),
            audio_ssrc: 1,
            video_ssrc: 2,
        };
        self.command(Command::Conference(Arc::new(setup)));
    }

    fn key(client: usize) -> EndpointKey {
        EndpointKey(client as u64 + 1)
    }

    fn id(client: usize) -> EndpointId {
        EndpointId::new(format!("{client:08x}"))
    }

    fn command(&mut self, command: Command) {
        self.worker.handle_command(self.now, command);
        self.worker.end_turn(self.now);
    }

    /// Adds a client, connects it, gives it keys and has it ask for everything; its index.
    fn join(&mut self, joining: Joining) -> usize {
        let index = self.clients.len();
        let key = Room::key(index);
        let credentials = [0; 2].map(|_| Credentials::generate(&mut self.random, "", WorkerId(0)));
        let [local, remote] = credentials;
        let client = Client {
            path: Path {
                socket: SocketId(0),
                remote: ([203, 0, 113, 1], 20_000 + index as u16).into(),
            },
            local,
            remote,
            seal: Outbound::new(PROFILE, &KEY, &SALT),
            open: Inbound::new(PROFILE, &KEY, &SALT),
        };
        self.command(Command::AddEndpoint(Box::new(EndpointSetup {
            conference: CONFERENCE,
            key,
            id: Room::id(index),
            credentials: client.local.clone(),
            controlling: false,
            ssrc_rewriting: joining.rewriting,
            mid_demux: joining.rewriting,
            visitor: joining.visitor,
            pool: 0,
        })));
        self.command(Command::Formats(
            key,
            Arc::new(formats(joining.remb, joining.audio_cc)),
        ));
        let ice = RemoteIce {
            credentials: Some(client.remote.clone()),
            ..RemoteIce::default()
        };
        self.command(Command::RemoteIce(key, ice));
        let request = BindingRequest {
            transaction: &[index as u8; 12],
            remote_ufrag: &client.local.ufrag,
            local_ufrag: &client.remote.ufrag,
            priority: 1 << 30,
            role: RoleClaim::Controlling(1),
            use_candidate: true,
        };
        let mut out = [0; stun::MAX_WRITTEN];
        let integrity = stun::integrity_key(&client.local.password);
        let len = stun::write_request(&mut out, &request, &integrity).expect("room");
        let path = client.path;
        self.clients.push(client);
        self.worker.handle_datagram(self.now, path, &out[..len]);
        for _ in 0..20 {
            self.wait(Duration::from_millis(10));
        }
        self.command(Command::Keys(
            key,
            Box::new(KeyingMaterial {
                profile: PROFILE,
                local_key: KEY,
                local_salt: SALT,
                remote_key: KEY,
                remote_salt: SALT,
            }),
        ));
        let constraints = ReceiverVideoConstraints {
            last_n: Some(-1),
            default_constraints: Some(VideoConstraints {
                max_height: 2_160,
                max_frame_rate: -1.0,
            }),
            ..ReceiverVideoConstraints::default()
        };
        self.command(Command::ReceiverConstraints(key, Box::new(constraints)));
        index
    }

    /// Announces one audio and one video source of a client; their SSRCs.
    fn announce(&mut self, client: usize) -> (u32, u32) {
        let (audio, video) = (1_000 + client as u32 * 10, 1_001 + client as u32 * 10);
        let source = |offset, name: &str, kind, encoding| SourceDescription {
            key: SourceKey(client as u64 * 10 + offset),
            name: format!("{}-{name}", Room::id(client).as_str())
                .as_str()
                .into(),
            kind,
            video_type: VideoType::Camera,
            encodings: vec![encoding],
            synthetic: false,
        };
        let encoding = |ssrc, rtx_ssrc| EncodingDescription { ssrc, rtx_ssrc };
        let sources = EndpointSources {
            endpoint: Room::key(client),
            id: Room::id(client),
            diarize: false,
            sources: vec![
                source(1, "a0", MediaKind::Audio, encoding(audio, None)),
                source(2, "v0", MediaKind::Video, encoding(video, Some(video + 1))),
            ],
        };
        self.command(Command::Sources(CONFERENCE, Arc::new(sources)));
        let order: Vec<EndpointKey> = (0..self.clients.len()).map(Room::key).collect();
        self.command(Command::Order(CONFERENCE, order.into()));
        (audio, video)
    }

    /// Lets time pass; the clients answer checks.
    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.fire_timers();
        for (client, data) in self.datagrams() {
            self.answer_check(client, &data);
        }
        self.worker.outputs().events.clear();
    }

    fn fire_timers(&mut self) {
        while self.worker.poll_timeout().is_some_and(|at| at <= self.now) {
            self.worker.handle_timeout(self.now);
            self.worker.end_turn(self.now);
        }
    }

    /// What the client answers to a datagram, if that is a check.
    fn answer_check(&mut self, client: usize, data: &[u8]) {
        let Ok(message) = StunMessage::parse(data) else {
            return;
        };
        if message.class() == stun::Class::Request {
            let bridge = SocketAddr::from(([198, 51, 100, 1], 10_000));
            let integrity = stun::integrity_key(&self.clients[client].remote.password);
            let mut out = [0; stun::MAX_WRITTEN];
            let len = stun::write_success(&mut out, message.transaction(), bridge, &integrity);
            let path = self.clients[client].path;
            let answer = &out[..len.expect("room")];
            self.worker.handle_datagram(self.now, path, answer);
            self.worker.end_turn(self.now);
        }
    }

    fn datagrams(&mut self) -> Vec<(usize, Vec<u8>)> {
        self.worker.end_turn(self.now);
        let egress = self.worker.egress();
        let sent = egress
            .chains()
            .flat_map(|(path, datagrams)| {
                let client = usize::from(path.remote.port() - 20_000);
                datagrams.map(move |data| (client, data.to_vec()))
            })
            .collect();
        egress.clear();
        sent
    }

    /// What each client was sent since the last call, opened.
    fn sent(&mut self) -> BTreeMap<usize, Vec<Sent>> {
        let mut sent: BTreeMap<usize, Vec<Sent>> = BTreeMap::new();
        for (client, data) in self.datagrams() {
            let open = &mut self.clients[client].open;
            let mut plain = [0; 1_664];
            match classify(&data) {
                Some(Class::Rtp) => {
                    let header = RtpHeader::parse(&data).expect("RTP");
                    open.allow(header.ssrc).expect("room");
                    let opened = open.open_rtp(&header, &data, &mut plain);
                    let len = opened.expect("authentic").len;
                    let packet = Sent::Rtp(header, plain[..len].to_vec());
                    sent.entry(client).or_default().push(packet);
                }
                Some(Class::Rtcp) => {
                    let len = open.open_rtcp(&data, &mut plain).expect("authentic");
                    let packet = Sent::Rtcp(plain[..len].to_vec());
                    sent.entry(client).or_default().push(packet);
                }
                _ => {}
            }
        }
        sent
    }

    /// RTP that a client was sent since the last call of any such method.
    fn rtp(&mut self, client: usize) -> Vec<(RtpHeader, Vec<u8>)> {
        let sent = self.sent().remove(&client).unwrap_or_default();
        let rtp = sent.into_iter().filter_map(|sent| match sent {
            Sent::Rtp(header, data) => Some((header, data)),
            Sent::Rtcp(_) => None,
        });
        rtp.collect()
    }

    /// SSRCs for which a client was asked for keyframes since the last call of any such method.
    fn keyframe_requests(&mut self, client: usize) -> Vec<u32> {
        keyframe_requests(&self.sent().remove(&client).unwrap_or_default())
    }

    fn send_rtp(
        &mut self,
        client: usize,
        header: HeaderBuilder,
        elements: &[(u8, &[u8])],
        payload: &[u8],
    ) {
        let mut packet = vec![0; 1_600];
        let start = header.write(&mut packet, elements).expect("room");
        let end = start + payload.len();
        packet[start..end].copy_from_slice(payload);
        let seal = &mut self.clients[client].seal;
        let index = u64::from(header.sequence);
        let sealed = seal.seal_rtp(header.ssrc, index, &mut packet, start, end);
        let path = self.clients[client].path;
        let datagram = &packet[..sealed.expect("room")];
        self.worker.handle_datagram(self.now, path, datagram);
    }

    fn send_audio(&mut self, client: usize, ssrc: u32, sequence: u16, elements: &[(u8, &[u8])]) {
        let header = HeaderBuilder {
            marker: false,
            payload_type: OPUS,
            sequence,
            timestamp: u32::from(sequence) * 960,
            ssrc,
        };
        self.send_rtp(client, header, elements, &[0x55; 60]);
    }

    /// A frame in one packet.
    fn send_video(&mut self, client: usize, ssrc: u32, sequence: u16, keyframe: bool) {
        let header = HeaderBuilder {
            marker: true,
            payload_type: VP8,
            sequence,
            timestamp: u32::from(sequence) * 3_000,
            ssrc,
        };
        let mut payload = vec![0x90, 0xe0, 0x80, sequence as u8, sequence as u8, 0];
        payload.extend_from_slice(if keyframe {
            &[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]
        } else {
            &[0x11, 0, 0, 1, 2, 3, 4, 5, 6, 7]
        });
        self.send_rtp(client, header, &[], &payload);
    }

    fn send_rtcp(&mut self, client: usize, compound: &[u8]) {
        let mut packet = [0; 512];
        packet[..compound.len()].copy_from_slice(compound);
        let seal = &mut self.clients[client].seal;
        let len = seal.seal_rtcp(&mut packet, compound.len()).expect("room");
        let path = self.clients[client].path;
        self.worker.handle_datagram(self.now, path, &packet[..len]);
    }

    /// How many video sources a client is to be sent.
    fn forwarded(&mut self, client: usize) -> usize {
        self.command(Command::CollectStats);
        let events = std::mem::take(&mut self.worker.outputs().events);
        let report = events.into_iter().find_map(|event| match event {
            Event::Stats(_, report) => Some(report),
            _ => None,
        });
        let stats = report.expect("an answer").endpoints;
        let own = stats.iter().find(|it| it.endpoint == Room::key(client));
        let sources = &own.expect("a member").forwarded;
        sources.iter().filter(|it| it.target >= 0).count()
    }

    fn count(&mut self, counter: Counter) -> u64 {
        self.worker.counters().get(counter)
    }
}

/// SSRCs that the RTCP in there asks keyframes for.
fn keyframe_requests(sent: &[Sent]) -> Vec<u32> {
    let mut asked = Vec::new();
    for sent in sent {
        let Sent::Rtcp(data) = sent else { continue };
        for element in rtcp::elements(data) {
            match element.expect("well-formed") {
                Element::Pli { media, .. } => asked.push(media),
                Element::Fir { entries, .. } => asked.extend(entries.map(|(ssrc, _)| ssrc)),
                _ => {}
            }
        }
    }
    asked
}

fn pli(media: u32) -> Vec<u8> {
    let mut buffer = [0; 64];
    let mut compound = Compound::new(&mut buffer);
    assert!(compound.pli(7, media));
    let len = compound.len();
    buffer[..len].to_vec()
}

fn ids(packet: &(RtpHeader, Vec<u8>)) -> Vec<u8> {
    extensions::elements(&packet.0, &packet.1)
        .map(|(id, _)| id)
        .collect()
}

#[test]
fn media_plane_case_16_eight_silent_seconds_are_told_once_and_so_is_the_return() {
    let mut room = Room::new();
    let client = room.join(Joining::default());
    let (audio, _) = room.announce(client);
    room.send_audio(client, audio, 1, &[]);
    room.wait(Duration::from_secs(1));
    room.send_audio(client, audio, 2, &[]);
    let silent_since = room.now;
    let told = |room: &mut Room| -> Vec<bool> {
        let events = room.worker.outputs().events.drain(..);
        let told = events.filter_map(|event| match event {
            Event::Connectivity(key, active) if key == Room::key(client) => Some(active),
            _ => None,
        });
        told.collect()
    };
    // Not even its checks are answered.
    let mut inactive = Vec::new();
    for _ in 0..200 {
        room.now += Duration::from_millis(100);
        room.fire_timers();
        room.datagrams();
        let after = room.now - silent_since;
        inactive.extend(told(&mut room).into_iter().map(|active| (active, after)));
    }
    assert_eq!(inactive.len(), 1, "{inactive:?}");
    let (active, after) = inactive[0];
    let due = Duration::from_secs(8);
    assert!(
        !active && after >= due && after <= due + Duration::from_millis(500),
        "{after:?}"
    );

    room.send_audio(client, audio, 3, &[]);
    room.worker.end_turn(room.now);
    let mut back = told(&mut room);
    for _ in 0..5 {
        room.now += Duration::from_millis(100);
        room.fire_timers();
        room.datagrams();
        back.extend(told(&mut room));
    }
    assert_eq!(back, [true]);
}

#[test]
fn media_plane_case_57_t42_a_malformed_second_element_ends_the_compound_and_nothing_else() {
    let mut room = Room::new();
    let [sender, receiver] = [0; 2].map(|_| room.join(Joining::default()));
    let (_, video) = room.announce(sender);
    room.send_video(sender, video, 1, true);
    room.wait(Duration::from_secs(1));
    // Two bytes where an element says four words; and one before it that is whole.
    room.send_rtcp(
        receiver,
        &[&[0x80, 201, 0, 1, 0, 0, 0, 7][..], &[0x81, 206, 0, 4]].concat(),
    );
    assert_eq!(room.count(Counter::DropRtcpMalformed), 1);
    assert!(room.keyframe_requests(sender).is_empty());
    room.wait(Duration::from_secs(1));
    room.send_rtcp(receiver, &pli(video));
    assert_eq!(room.keyframe_requests(sender), [video]);
}

#[test]
fn media_plane_case_58_a_visitor_may_ask_and_not_send() {
    let mut room = Room::new();
    let sender = room.join(Joining::default());
    let visitor = room.join(Joining {
        visitor: true,
        ..Joining::default()
    });
    let (audio, video) = room.announce(sender);
    room.send_video(sender, video, 1, true);
    assert_eq!(room.rtp(visitor).len(), 1, "it receives");
    room.wait(Duration::from_secs(1));
    room.sent();

    room.send_audio(visitor, audio + 500, 1, &[]);
    assert_eq!(room.count(Counter::DropMuted), 1);
    assert!(room.rtp(sender).is_empty());
    room.send_rtcp(visitor, &pli(video));
    assert_eq!(room.keyframe_requests(sender), [video]);
}

#[test]
fn media_plane_case_59_nobody_sends_with_the_ssrc_of_another() {
    let mut room = Room::new();
    let [a, b, c] = [0; 3].map(|_| room.join(Joining::default()));
    let (audio_of_a, _) = room.announce(a);
    let (audio_of_b, _) = room.announce(b);
    room.send_audio(a, audio_of_b, 1, &[(LEVEL, &[20])]);
    assert!(room.rtp(c).is_empty());
    assert_eq!(room.count(Counter::DropRtpSsrc), 1);
    for (client, ssrc) in [(a, audio_of_a), (b, audio_of_b)] {
        room.send_audio(client, ssrc, 2, &[(LEVEL, &[20])]);
        let sent = room.rtp(c);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0.ssrc, ssrc);
    }
}

#[test]
fn media_plane_case_102_a_fresh_mapping_starts_with_a_keyframe() {
    let mut room = Room::new();
    let sender = room.join(Joining::default());
    let receiver = room.join(Joining {
        rewriting: true,
        ..Joining::default()
    });
    let (_, video) = room.announce(sender);
    let mut asked = Vec::new();
    for sequence in 1..4 {
        room.send_video(sender, video, sequence, false);
        for _ in 0..10 {
            let mut sent = room.sent();
            let received = sent.remove(&receiver).unwrap_or_default();
            assert!(!received.iter().any(|sent| matches!(sent, Sent::Rtp(..))));
            asked.extend(keyframe_requests(&sent.remove(&sender).unwrap_or_default()));
            room.now += Duration::from_millis(100);
            room.fire_timers();
        }
    }
    // It is asked for until it comes, five times a second at most (T44).
    assert!((1..=15).contains(&asked.len()), "{asked:?}");
    assert!(asked.iter().all(|ssrc| *ssrc == video));
    room.send_video(sender, video, 4, true);
    room.send_video(sender, video, 5, false);
    let sent = room.rtp(receiver);
    assert_eq!(sent.len(), 2);
    assert_ne!(sent[0].0.ssrc, video, "rewritten");
    assert_eq!(sent[1].0.sequence, sent[0].0.sequence.wrapping_add(1));
}

#[test]
fn media_plane_case_109_a_report_about_what_was_never_sent_goes_nowhere() {
    let mut room = Room::new();
    let [sender, receiver] = [0; 2].map(|_| room.join(Joining::default()));
    room.announce(sender);
    let mut buffer = [0; 64];
    let mut compound = Compound::new(&mut buffer);
    let info = rtcp::SenderInfo {
        ssrc: 4_711,
        ntp: 1 << 32,
        rtp: 1,
        packets: 1,
        octets: 1,
    };
    assert!(compound.sender_report(&info, &[]));
    let len = compound.len();
    room.send_rtcp(sender, &buffer[..len]);
    for _ in 0..30 {
        room.wait(Duration::from_millis(100));
        for sent in room.sent().remove(&receiver).unwrap_or_default() {
            let Sent::Rtcp(data) = sent else { continue };
            let reports = rtcp::elements(&data);
            assert!(
                !reports
                    .flatten()
                    .any(|it| matches!(it, Element::SenderReport { .. }))
            );
        }
    }
}

#[test]
fn media_plane_case_111_without_transport_cc_every_packet_has_its_send_time() {
    let mut room = Room::new();
    let sender = room.join(Joining::default());
    let receiver = room.join(Joining {
        remb: true,
        ..Joining::default()
    });
    let (audio, video) = room.announce(sender);
    for sequence in 1..20 {
        room.wait(Duration::from_millis(33));
        room.send_audio(sender, audio, sequence, &[(LEVEL, &[20])]);
        room.send_video(sender, video, sequence, sequence == 1);
        let expected = extensions::abs_send_time(room.now);
        let sent = room.rtp(receiver);
        assert_eq!(sent.len(), 2);
        for (header, data) in &sent {
            let stamp = extensions::elements(header, data).find(|(id, _)| *id == ABS_SEND_TIME);
            assert_eq!(stamp.map(|(_, data)| data), Some(&expected[..]));
        }
    }
}

#[test]
fn media_plane_case_112_only_known_extensions_go_on() {
    let mut room = Room::new();
    let sender = room.join(Joining::default());
    let plain = room.join(Joining::default());
    let rewriting = room.join(Joining {
        rewriting: true,
        ..Joining::default()
    });
    let (audio, video) = room.announce(sender);
    let elements: [(u8, &[u8]); 6] = [
        (LEVEL, &[20]),
        (ABS_SEND_TIME, &[1, 2, 3]),
        (4, &[9]),
        (TRANSPORT_CC, &[0, 1]),
        (MID, b"0"),
        (11, &[1, 2]),
    ];
    room.send_audio(sender, audio, 1, &elements);
    let sent = room.sent();
    let audio_ids = |client: usize| match &sent[&client][0] {
        Sent::Rtp(header, data) => ids(&(*header, data.clone())),
        Sent::Rtcp(_) => Vec::new(),
    };
    assert_eq!(audio_ids(plain), [LEVEL]);
    assert_eq!(audio_ids(rewriting), [LEVEL, MID]);

    room.send_video(sender, video, 1, true);
    let sent = room.rtp(plain);
    assert_eq!(ids(&sent[0]), [TRANSPORT_CC], "numbered anew");
}

#[test]
fn media_plane_case_120_a_receiver_that_is_gone_takes_nothing_from_the_others() {
    let mut room = Room::new();
    let [sender, alive, gone] = [0; 3].map(|_| room.join(Joining::default()));
    let (_, video) = room.announce(sender);
    let mut to_gone = 0;
    for sequence in 1..4_000 {
        room.now += Duration::from_millis(10);
        room.send_video(sender, video, sequence, sequence == 1);
        // Only checks from there stay without answer.
        let sent = room.datagrams();
        to_gone += sent.iter().filter(|(client, _)| *client == gone).count();
        let media = |(client, data): &&(usize, Vec<u8>)| {
            *client == alive && classify(data) == Some(Class::Rtp)
        };
        assert_eq!(sent.iter().filter(media).count(), 1);
        for (client, data) in sent {
            if client != gone {
                room.answer_check(client, &data);
            }
        }
        room.fire_timers();
        room.worker.outputs().events.clear();
    }
    // Consent ended after thirty seconds (RFC 7675), and with it what is sent there; nothing waits for it.
    assert!(to_gone < 3_500, "{to_gone}");
    assert!(room.worker.egress().is_empty());
}

#[test]
fn allocation_case_12_a_limit_for_all_counts_from_the_next_allocation_on() {
    let mut room = Room::new();
    let clients = [0; 4].map(|_| room.join(Joining::default()));
    let videos = clients.map(|client| room.announce(client).1);
    let mut sequence = 0;
    let mut pass = |room: &mut Room, millis: u64| {
        for _ in 0..millis / 100 {
            sequence += 1;
            for (client, video) in clients.into_iter().zip(videos) {
                room.send_video(client, video, sequence, sequence == 1);
            }
            room.wait(Duration::from_millis(100));
        }
    };
    pass(&mut room, 6_000);
    assert_eq!(clients.map(|client| room.forwarded(client)), [3; 4]);

    room.command(Command::LastNLimit(2));
    assert_eq!(room.forwarded(0), 3, "not all at once");
    pass(&mut room, 6_000);
    assert_eq!(clients.map(|client| room.forwarded(client)), [2; 4]);

    // A shard that comes later knows it as well.
    room.command(Command::RemoveConference(CONFERENCE));
    room.open();
    room.clients.clear();
    let clients = [0; 4].map(|_| room.join(Joining::default()));
    let videos = clients.map(|client| room.announce(client).1);
    for (client, video) in clients.into_iter().zip(videos) {
        room.send_video(client, video, 1, true);
    }
    room.wait(Duration::from_millis(100));
    assert_eq!(clients.map(|client| room.forwarded(client)), [2; 4]);

    room.command(Command::LastNLimit(-1));
    for _ in 0..60 {
        room.wait(Duration::from_millis(100));
    }
    assert_eq!(clients.map(|client| room.forwarded(client)), [3; 4]);
}

/// A packet with the SSRC and payload type of a source, and nothing else that is right.
fn forged(ssrc: u32, sequence: u16) -> Vec<u8> {
    let header = HeaderBuilder {
        marker: false,
        payload_type: VP8,
        sequence,
        timestamp: 7,
        ssrc,
    };
    let mut packet = vec![0x66; 200];
    header.write(&mut packet, &[]).expect("room");
    packet
}

#[test]
fn t25_forged_packets_cost_a_call_nothing() {
    let mut room = Room::new();
    let [sender, receiver] = [0; 2].map(|_| room.join(Joining::default()));
    let (_, video) = room.announce(sender);
    room.send_video(sender, video, 1, true);
    assert_eq!(room.rtp(receiver).len(), 1);
    let path = room.clients[sender].path;
    // Fifty thousand a second: some anywhere, some just where the next packets belong.
    let (mut number, mut last) = (0u16, None);
    for sequence in 2..1_000 {
        room.wait(Duration::from_millis(2));
        for ahead in 0..100 {
            number = number.wrapping_add(12_347);
            let guess = if ahead % 2 == 0 {
                number
            } else {
                sequence + ahead
            };
            let datagram = forged(video, guess);
            room.worker.handle_datagram(room.now, path, &datagram);
        }
        room.send_video(sender, video, sequence, false);
        let sent = room.rtp(receiver);
        assert_eq!(sent.len(), 1, "packet {sequence}");
        let number = sent[0].0.sequence;
        assert!(last.is_none_or(|last: u16| number == last.wrapping_add(1)));
        last = Some(number);
    }
    let refused = room.count(Counter::DropSrtpAuth);
    let replays = room.count(Counter::DropSrtpReplay);
    assert_eq!(refused + replays, 998 * 100);
}

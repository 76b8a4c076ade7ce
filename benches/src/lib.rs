//! What the benchmarks of the packet path share: packets like those of a browser, and a conference in memory.
//!
//! [`Conference`] drives the real [`Worker`] the way `net` does, with made-up paths instead of sockets: connectivity
//! checks, keys and constraints go in as they do from clients and from the control plane.

pub mod lab;
pub mod load;
mod memory_floor;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_bridge::channel::{ReceiverVideoConstraints, VideoConstraints};
use causeway_bridge::config::BridgeConfig;
use causeway_bridge::ids::{
    ConferenceKey, EndpointId, EndpointKey, Path, SocketId, SourceKey, WorkerId,
};
use causeway_bridge::media::{
    Codec, EncodingDescription, EndpointSources, Extension, ExtensionMap, Feedback, MediaFormats,
    MediaKind, PayloadType, SourceDescription, VideoType,
};
use causeway_bridge::messages::{Command, ConferenceSetup, EndpointSetup, RemoteIce};
use causeway_bridge::projection::{Payload, VideoFacts};
use causeway_bridge::random::Random;
use causeway_bridge::srtp::{KeyingMaterial, Outbound, Profile};
use causeway_bridge::time::Time;
use causeway_bridge::transport::ice::Credentials;
use causeway_bridge::wire::extensions::HeaderBuilder;
use causeway_bridge::wire::rtp::RtpHeader;
use causeway_bridge::wire::stun::{
    self, BindingRequest, MAX_WRITTEN, RoleClaim, StunMessage, integrity_key,
};
use causeway_bridge::wire::vp8::Vp8Descriptor;
use causeway_bridge::worker::Worker;

pub use self::memory_floor::MemoryFloor;

/// SSRC of the benchmarks' video.
pub const VIDEO_SSRC: u32 = 0x1000_0001;
/// Payload type of VP8.
pub const VP8: u8 = 100;
/// Master key and salt of everybody: the cost does not depend on them.
pub const KEY: [u8; 16] = [7; 16];
/// See [`KEY`].
pub const SALT: [u8; 14] = [9; 14];

const RTX: u8 = 101;
const TRANSPORT_CC_ID: u8 = 5;
const KEY_OF_CONFERENCE: ConferenceKey = ConferenceKey(1);
const SENDER: usize = 0;
/// One packet per millisecond: at 1200 bytes a stream of 9.6 Mbit/s, within what one endpoint may send.
const PACKET_INTERVAL: Duration = Duration::from_millis(1);
const PACKETS_PER_FRAME: u64 = 33;
/// A keyframe every so many frames: the first may come before a receiver has an allocation.
const KEYFRAME_INTERVAL: u64 = 10;

/// A video packet of a browser: header with a transport-cc number, VP8 descriptor with all identifiers.
///
/// `number` counts packets; every tenth frame is a keyframe of 1280 × 720. `len` is the length in
/// bytes before sealing.
pub fn video_packet(number: u64, len: usize) -> Vec<u8> {
    let (frame, part) = (number / PACKETS_PER_FRAME, number % PACKETS_PER_FRAME);
    let header = HeaderBuilder {
        marker: part == PACKETS_PER_FRAME - 1,
        payload_type: VP8,
        sequence: number as u16,
        timestamp: (frame as u32).wrapping_mul(2_970),
        ssrc: VIDEO_SSRC,
    };
    let mut packet = vec![0x55; len];
    let transport_sequence = (number as u16).to_be_bytes();
    let elements: [(u8, &[u8]); 1] = [(TRANSPORT_CC_ID, &transport_sequence)];
    let start = header
        .write(&mut packet, &elements)
        .expect("room for a header");
    let [picture_high, picture_low] = (frame as u16 & 0x7fff).to_be_bytes();
    let is_start = part == 0;
    // X, S; then I, L, T with a picture id of 15 bits; temporal layer 0.
    let descriptor = [
        0x80 | u8::from(is_start) << 4,
        0xe0,
        0x80 | picture_high,
        picture_low,
        frame as u8,
        0,
    ];
    packet[start..start + 6].copy_from_slice(&descriptor);
    if is_start {
        // Frame tag: keyframe or not; start code; width and height.
        let keyframe = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02];
        let tag = if frame.is_multiple_of(KEYFRAME_INTERVAL) {
            keyframe
        } else {
            [0x11, 0, 0, 1, 2, 3, 4, 5, 6, 7]
        };
        packet[start + 6..start + 16].copy_from_slice(&tag);
    }
    packet
}

/// What a projection is told about a short [`video_packet`].
///
/// # Panics
/// Never: the packet is well-formed.
pub fn projected(number: u64) -> (VideoFacts, Payload) {
    let packet = video_packet(number, 120);
    let header = RtpHeader::parse(&packet).expect("RTP");
    let payload = &packet[usize::from(header.payload_start)..];
    let facts = VideoFacts {
        encoding: 0,
        index: number,
        timestamp: header.timestamp,
        marker: header.marker,
        payload_type: header.payload_type,
    };
    let descriptor = Vp8Descriptor::parse(payload).expect("VP8");
    (facts, Payload::Vp8(descriptor))
}

/// Length of an RTP packet's header with extensions.
///
/// # Panics
/// If it is not RTP.
pub fn header_len(packet: &[u8]) -> usize {
    usize::from(RtpHeader::parse(packet).expect("RTP").payload_start)
}

/// Seals a packet in the last place of its buffer.
///
/// # Panics
/// If it is not RTP.
pub fn seal(srtp: &mut Outbound, index: u64, mut packet: Vec<u8>) -> Vec<u8> {
    let (header, len) = (header_len(&packet), packet.len());
    packet.resize(len + srtp.overhead(), 0);
    let sealed = srtp
        .seal_rtp(VIDEO_SSRC, index, &mut packet, header, len)
        .expect("room for a tag");
    packet.truncate(sealed);
    packet
}

struct Client {
    key: EndpointKey,
    path: Path,
    local: Credentials,
    remote: Credentials,
}

/// More than a core's own caches hold.
const EVICTING: usize = 8 << 20;

/// Puts something else into the caches of the core, as whatever runs between two turns of a worker does.
#[derive(Debug)]
pub struct Evictor(Vec<u64>);

impl Default for Evictor {
    fn default() -> Evictor {
        Evictor(vec![0; EVICTING / 8])
    }
}

impl Evictor {
    /// Writes to every cache line of its memory.
    pub fn run(&mut self) {
        for line in self.0.chunks_mut(8) {
            line[0] = line[0].wrapping_add(1);
        }
        std::hint::black_box(&mut self.0);
    }
}

/// One worker with one conference: a sender of video and some receivers of it, all connected.
pub struct Conference {
    worker: Worker,
    clients: Vec<Client>,
    bridge: SocketAddr,
    srtp: Outbound,
    packet_len: usize,
    number: u64,
    now: Time,
}

impl Conference {
    /// Connects a sender and `receivers` receivers with `profile`, and forwards video until all receivers get it.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn new(receivers: usize, profile: Profile, packet_len: usize) -> Conference {
        let mut random = Random::from_seed(1);
        let now = Time::from_millis(1_000);
        let bridge = SocketAddr::from(([198, 51, 100, 1], 10_000));
        let mut config = BridgeConfig {
            seed: Some(1),
            ..BridgeConfig::default()
        };
        // No feedback comes in a benchmark: nothing limits what a receiver gets.
        config.allocation.trust_estimate = false;
        let config = Arc::new(config);
        let id = WorkerId(0);
        let worker = Worker::new(id, config, Arc::new([bridge]), 1, random.fork(), now);
        let clients = (0..=receivers)
            .map(|index| Client {
                key: EndpointKey(index as u64 + 1),
                path: Path {
                    socket: SocketId(0),
                    remote: ([203, 0, 113, 1], 20_000 + index as u16).into(),
                },
                local: Credentials::generate(&mut random, "", id),
                remote: Credentials::generate(&mut random, "", id),
            })
            .collect();
        let mut conference = Conference {
            worker,
            clients,
            bridge,
            srtp: Outbound::new(profile, &KEY, &SALT),
            packet_len,
            number: 0,
            now,
        };
        conference.signal();
        conference.connect();
        conference.key(profile);
        conference.warm_up();
        conference
    }

    /// Receivers of the video.
    pub fn receivers(&self) -> usize {
        self.clients.len() - 1
    }

    /// The next `count` packets of the sender, sealed: input for [`Conference::forward`].
    pub fn packets(&mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count)
            .map(|_| {
                let packet = video_packet(self.number, self.packet_len);
                let sealed = seal(&mut self.srtp, self.number, packet);
                self.number += 1;
                sealed
            })
            .collect()
    }

    /// One turn of the worker for each packet, sockets aside. Returns how many datagrams it made.
    pub fn forward(&mut self, packets: &[Vec<u8>]) -> usize {
        let mut sent = 0;
        for packet in packets {
            self.now += PACKET_INTERVAL;
            self.worker
                .handle_datagram(self.now, self.clients[SENDER].path, packet);
            self.worker.end_turn(self.now);
            sent += self.worker.egress().len();
            self.worker.egress().clear();
        }
        sent
    }

    /// One turn of the worker for all packets, as of a burst that waited in the socket. Returns how many datagrams it made.
    pub fn forward_burst(&mut self, packets: &[Vec<u8>]) -> usize {
        self.now += PACKET_INTERVAL * packets.len() as u32;
        let path = self.clients[SENDER].path;
        for packet in packets {
            self.worker.handle_datagram(self.now, path, packet);
        }
        self.worker.end_turn(self.now);
        let sent = self.worker.egress().len();
        self.worker.egress().clear();
        sent
    }

    /// What the worker does between packets when its timers are due; drops what it says to others.
    pub fn handle_timers(&mut self) {
        while self.worker.poll_timeout().is_some_and(|at| at <= self.now) {
            self.worker.handle_timeout(self.now);
            self.worker.end_turn(self.now);
        }
        self.answer_checks();
        let outputs = self.worker.outputs();
        outputs.events.clear();
        outputs.pool.clear();
        outputs.rings.clear();
    }

    fn command(&mut self, command: Command) {
        self.worker.handle_command(self.now, command);
    }

    fn signal(&mut self) {
        self.command(Command::Conference(Arc::new(ConferenceSetup {
            key: KEY_OF_CONFERENCE,
            meeting_id: "bench".into(),
            shards: vec![WorkerId(0)],
            home: WorkerId(0),
            audio_ssrc: 1,
            video_ssrc: 2,
        })));
        let formats = Arc::new(formats());
        let mut order = Vec::new();
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            let (key, local, remote) = (client.key, client.local.clone(), client.remote.clone());
            order.push(key);
            self.command(Command::AddEndpoint(Box::new(EndpointSetup {
                conference: KEY_OF_CONFERENCE,
                key,
                id: endpoint_id(index),
                credentials: local,
                controlling: false,
                ssrc_rewriting: false,
                mid_demux: false,
                visitor: false,
                pool: 0,
            })));
            self.command(Command::Formats(key, Arc::clone(&formats)));
            let remote = RemoteIce {
                credentials: Some(remote),
                ..RemoteIce::default()
            };
            self.command(Command::RemoteIce(key, remote));
        }
        self.command(Command::Sources(
            KEY_OF_CONFERENCE,
            Arc::new(EndpointSources {
                endpoint: self.clients[SENDER].key,
                id: endpoint_id(SENDER),
                diarize: false,
                sources: vec![SourceDescription {
                    key: SourceKey(1),
                    name: "sender-v0".into(),
                    kind: MediaKind::Video,
                    video_type: VideoType::Camera,
                    encodings: vec![EncodingDescription {
                        ssrc: VIDEO_SSRC,
                        rtx_ssrc: Some(VIDEO_SSRC + 1),
                    }],
                    synthetic: false,
                }],
            }),
        ));
        self.command(Command::Order(KEY_OF_CONFERENCE, order.into()));
        self.worker.end_turn(self.now);
    }

    /// Every client checks its path and nominates it.
    fn connect(&mut self) {
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            let mut transaction = [0; 12];
            transaction[..8].copy_from_slice(&(index as u64).to_be_bytes());
            let request = BindingRequest {
                transaction: &transaction,
                remote_ufrag: &client.local.ufrag,
                local_ufrag: &client.remote.ufrag,
                priority: 1 << 30,
                role: RoleClaim::Controlling(1),
                use_candidate: true,
            };
            let mut out = [0; MAX_WRITTEN];
            let len =
                stun::write_request(&mut out, &request, &integrity_key(&client.local.password));
            let path = client.path;
            self.worker
                .handle_datagram(self.now, path, &out[..len.expect("room")]);
            self.worker.end_turn(self.now);
            self.answer_checks();
        }
        for _ in 0..200 {
            self.now += Duration::from_millis(10);
            self.handle_timers();
        }
    }

    /// Clients answer the bridge's own checks; everything else that the bridge sends is dropped.
    fn answer_checks(&mut self) {
        while !self.worker.egress().is_empty() {
            let sent: Vec<(Path, Vec<u8>)> = self
                .worker
                .egress()
                .chains()
                .flat_map(|(path, datagrams)| datagrams.map(move |data| (path, data.to_vec())))
                .collect();
            self.worker.egress().clear();
            for (path, data) in sent {
                let Ok(message) = StunMessage::parse(&data) else {
                    continue;
                };
                if message.class() != stun::Class::Request {
                    continue;
                }
                let index = usize::from(path.remote.port() - 20_000);
                let key = integrity_key(&self.clients[index].remote.password);
                let mut out = [0; MAX_WRITTEN];
                let len = stun::write_success(&mut out, message.transaction(), self.bridge, &key);
                self.worker
                    .handle_datagram(self.now, path, &out[..len.expect("room")]);
                self.worker.end_turn(self.now);
            }
        }
    }

    fn key(&mut self, profile: Profile) {
        for index in 0..self.clients.len() {
            let keys = KeyingMaterial {
                profile,
                local_key: KEY,
                local_salt: SALT,
                remote_key: KEY,
                remote_salt: SALT,
            };
            let key = self.clients[index].key;
            self.command(Command::Keys(key, Box::new(keys)));
            let constraints = ReceiverVideoConstraints {
                last_n: Some(-1),
                default_constraints: Some(VideoConstraints {
                    max_height: 2_160,
                    max_frame_rate: -1.0,
                }),
                ..ReceiverVideoConstraints::default()
            };
            self.command(Command::ReceiverConstraints(key, Box::new(constraints)));
        }
        self.worker.end_turn(self.now);
        self.handle_timers();
    }

    /// Fills caches and histories to their working size.
    fn warm_up(&mut self) {
        for _ in 0..300 {
            let packets = self.packets(10);
            self.forward(&packets);
            self.handle_timers();
        }
        let packets = self.packets(1);
        assert!(
            self.forward(&packets) >= self.receivers(),
            "not everybody gets the video"
        );
    }
}

fn endpoint_id(index: usize) -> EndpointId {
    EndpointId::new(format!("{index:08x}"))
}

fn formats() -> MediaFormats {
    let mut extensions = ExtensionMap::default();
    extensions.set(Extension::TransportCc, TRANSPORT_CC_ID);
    let feedback = Feedback {
        transport_cc: true,
        nack: true,
        pli: true,
        ..Feedback::default()
    };
    let video = |number, codec, associated, feedback| PayloadType {
        number,
        codec,
        clock_rate: 90_000,
        associated,
        feedback,
    };
    MediaFormats {
        payload_types: vec![
            video(VP8, Codec::Vp8, None, feedback),
            video(RTX, Codec::Rtx, Some(VP8), Feedback::default()),
        ],
        extensions,
        extmap_allow_mixed: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_receiver_gets_every_packet() {
        let mut conference = Conference::new(3, Profile::AeadAes128Gcm, 1_200);
        for packet in conference.packets(100) {
            let (path, now) = (
                conference.clients[SENDER].path,
                conference.now + PACKET_INTERVAL,
            );
            conference.now = now;
            conference.worker.handle_datagram(now, path, &packet);
            conference.worker.end_turn(now);
            let mut receivers = std::collections::BTreeSet::new();
            for (path, datagrams) in conference.worker.egress().chains() {
                for datagram in datagrams {
                    if causeway_bridge::wire::rtp::ssrc(datagram) == Some(VIDEO_SSRC) {
                        assert!(receivers.insert(path.remote), "one copy each");
                    }
                }
            }
            conference.worker.egress().clear();
            assert_eq!(receivers.len(), 3);
        }
    }
}

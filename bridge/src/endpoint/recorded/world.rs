//! An endpoint that sends a recording, one that receives, and the network before the bridge.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::recording::{Recorded, Recording};
use crate::config::{BridgeConfig, RedConfig};
use crate::counters::Counters;
use crate::endpoint::Endpoint;
use crate::endpoint::downlink::{AudioStream, SentCounts, VideoStream};
use crate::endpoint::formats::{FormatTable, FormatTables};
use crate::endpoint::red::AudioHistory;
use crate::ids::{ConferenceKey, EndpointKey, Path, SocketId, SourceKey, WorkerId};
use crate::media::{EncodingDescription, MediaFormats, MediaKind, SourceDescription, VideoType};
use crate::messages::EndpointSetup;
use crate::projection::{AudioProjection, Start};
use crate::random::Random;
use crate::srtp::{Inbound, Outbound, Profile};
use crate::time::Time;
use crate::transport::ice::Credentials;
use crate::wire::dependency::MAX_ELEMENT;
use crate::wire::rtp::RtpHeader;
use crate::worker::Place;
use crate::worker::buffers::PacketPool;
use crate::worker::context::{Context, Outputs};
use crate::worker::egress::Egress;
use crate::worker::packet::MediaPacket;

const SOURCE: SourceKey = SourceKey(7);
/// SSRC of the first encoding; those of others follow, then those of retransmissions.
const FIRST: u32 = 1_000;
const FIRST_RTX: u32 = 2_000;
/// SSRC of what the receiver gets.
const OUTGOING: u32 = 3_000;
const KEY: [u8; 16] = *b"sixteen byte key";
const SALT: [u8; 14] = *b"fourteen bytes";
const PROFILE: Profile = Profile::AeadAes128Gcm;
/// When the first packet is sent.
const BEGIN: u64 = 1_000_000;

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Lost for good, percent.
    pub loss: u64,
    /// Lost and sent again later, percent.
    pub repaired: u64,
    /// Arriving twice, percent.
    pub duplicated: u64,
    /// Delayed by up to this many µs.
    pub jitter: u64,
}

pub const CLEAN: Network = Network {
    loss: 0,
    repaired: 0,
    duplicated: 0,
    jitter: 0,
};

/// A packet at the receiver.
pub struct Arrived {
    /// With the rollovers that the receiver's SRTP found.
    pub index: u64,
    pub header: RtpHeader,
    /// The packet in the clear.
    pub data: Vec<u8>,
}

impl Arrived {
    pub fn payload(&self) -> &[u8] {
        &self.data[usize::from(self.header.payload_start)..]
    }
}

/// What a worker has besides.
struct Tools {
    buffers: PacketPool,
    egress: Egress,
    counters: Counters,
    out: Outputs,
    routes: Vec<crate::worker::context::RouteChange>,
    formats: FormatTables,
    scratch: [u8; MAX_ELEMENT],
}

impl Tools {
    fn context(&mut self, now: Time) -> Context<'_> {
        Context {
            now,
            buffers: &mut self.buffers,
            egress: &mut self.egress,
            counters: &mut self.counters,
            out: &mut self.out,
            routes: &mut self.routes,
            formats: &mut self.formats,
            scratch: &mut self.scratch,
        }
    }
}

/// On its way to the bridge.
struct Flying {
    /// Position in the recording.
    number: usize,
    datagram: Vec<u8>,
}

pub struct World<'a> {
    recording: &'a Recording,
    random: Random,
    pub network: Network,
    now: Time,
    tools: Tools,
    sender: Endpoint,
    client: Outbound,
    /// Extended sequence number of the newest packet, by encoding.
    newest: Vec<Option<u64>>,
    rtx: Vec<u16>,
    receiver: Endpoint,
    viewer: Inbound,
    stream: usize,
    flying: BTreeMap<(u64, u64), Flying>,
    order: u64,
    /// Next packet of the recording.
    next: usize,
}

fn endpoint(key: u64, formats: &Arc<MediaFormats>, random: &mut Random) -> Endpoint {
    let setup = EndpointSetup {
        conference: ConferenceKey(1),
        key: EndpointKey(key),
        id: "e".into(),
        credentials: Credentials::generate(random, "", WorkerId(0)),
        controlling: true,
        ssrc_rewriting: false,
        mid_demux: false,
        visitor: false,
        pool: 0,
    };
    let place = Place {
        worker: WorkerId(0),
        agent: 0,
        sockets: Arc::from([]),
    };
    let config = Arc::new(BridgeConfig::default());
    let mut endpoint = Endpoint::new(&setup, &config, place, random.fork(), Time::ZERO);
    endpoint.formats = Arc::new(FormatTable::new(Arc::clone(formats)));
    endpoint
}

impl<'a> World<'a> {
    /// `formats`: what the receiver takes.
    pub fn new(
        recording: &'a Recording,
        formats: &Arc<MediaFormats>,
        kind: MediaKind,
        network: Network,
        seed: u64,
    ) -> World<'a> {
        let mut random = Random::from_seed(seed);
        let mut sender = endpoint(1, &recording.formats, &mut random);
        let mut inbound = Inbound::new(PROFILE, &KEY, &SALT);
        let encodings = (0..u32::from(recording.encodings)).map(|encoding| EncodingDescription {
            ssrc: FIRST + encoding,
            rtx_ssrc: (kind == MediaKind::Video).then_some(FIRST_RTX + encoding),
        });
        let source = SourceDescription {
            key: SOURCE,
            name: "e-s0".into(),
            kind,
            video_type: VideoType::Camera,
            encodings: encodings.collect(),
            synthetic: false,
        };
        sender.uplink.set_sources(&[source], Some(&mut inbound));
        sender.inbound = Some(inbound);

        let mut receiver = endpoint(2, formats, &mut random);
        let downlink = &mut receiver.downlink;
        downlink.srtp = Some(Outbound::new(PROFILE, &KEY, &SALT));
        downlink.path = Some(Path {
            socket: SocketId(0),
            remote: ([192, 0, 2, 1], 5_000).into(),
        });
        let stream = match kind {
            MediaKind::Video => {
                let stream = VideoStream::new(SOURCE, OUTGOING, None, &mut random);
                downlink.video.insert(stream)
            }
            MediaKind::Audio => downlink.audio.insert(AudioStream {
                source: SOURCE,
                ssrc: OUTGOING,
                mid: None,
                projection: AudioProjection::new(Start::random(&mut random)),
                sent: SentCounts::default(),
            }),
        };
        let mut viewer = Inbound::new(PROFILE, &KEY, &SALT);
        viewer.allow(OUTGOING).expect("the first one");
        let encodings = usize::from(recording.encodings);
        World {
            recording,
            random,
            network,
            now: Time::from_micros(BEGIN),
            tools: Tools {
                buffers: PacketPool::default(),
                egress: Egress::new(),
                counters: Counters::default(),
                out: Outputs::default(),
                routes: Vec::new(),
                formats: FormatTables::default(),
                scratch: [0; MAX_ELEMENT],
            },
            sender,
            client: Outbound::new(PROFILE, &KEY, &SALT),
            newest: vec![None; encodings],
            rtx: vec![0; encodings],
            receiver,
            viewer,
            stream,
            flying: BTreeMap::new(),
            order: 0,
            next: 0,
        }
    }

    /// µs since the first packet was sent.
    pub fn elapsed(&self) -> u64 {
        self.now.as_micros() - BEGIN
    }

    pub fn projection(&mut self) -> &mut crate::projection::Projection {
        &mut self.receiver.downlink.video[self.stream].projection
    }

    /// The next packet that reaches the bridge, as the bridge understands it, with its position in the recording; `None` at the end.
    /// Packets that the bridge refuses are told as well.
    pub fn step(&mut self) -> Option<(usize, Option<Arc<MediaPacket>>)> {
        // What was sent before the next arrival is in the air.
        while let Some(packet) = self.recording.packets.get(self.next) {
            let sent = BEGIN + packet.micros;
            if let Some(((arrival, _), _)) = self.flying.first_key_value()
                && *arrival < sent
            {
                break;
            }
            self.send(sent, packet);
            self.next += 1;
        }
        let ((arrival, _), flying) = self.flying.pop_first()?;
        self.now = Time::from_micros(arrival);
        let mut cx = self.tools.context(self.now);
        let inbound = self.sender.inbound.as_mut().expect("it has keys");
        let packet = self.sender.uplink.receive(
            &mut cx,
            EndpointKey(1),
            &self.sender.formats,
            inbound,
            &flying.datagram,
            |_| {},
        );
        Some((flying.number, packet))
    }

    fn send(&mut self, now: u64, packet: &Recorded) {
        let number = self.next;
        let encoding = usize::from(packet.encoding);
        let index = match self.newest[encoding] {
            None => u64::from(packet.sequence),
            Some(newest) => {
                let step = packet.sequence.wrapping_sub(newest as u16) as i16;
                newest.saturating_add_signed(i64::from(step))
            }
        };
        self.newest[encoding] = self.newest[encoding].max(Some(index));
        let ssrc = FIRST + u32::from(packet.encoding);
        let datagram = seal(&mut self.client, ssrc, index, packet.rtp(ssrc));
        let network = self.network;
        let mut at = now + self.random.below(network.jitter + 1);
        let fate = self.random.below(100);
        if fate < network.loss {
            return;
        }
        let datagram = if fate < network.loss + network.repaired {
            at += 30_000 + self.random.below(250_000);
            let again = &mut self.rtx[encoding];
            *again += 1;
            let ssrc = FIRST_RTX + u32::from(packet.encoding);
            let rtx = packet.rtx(ssrc, *again);
            seal(&mut self.client, ssrc, u64::from(*again), rtx)
        } else {
            datagram
        };
        if self.random.below(100) < network.duplicated {
            let later = at + self.random.below(100_000);
            let flying = Flying {
                number,
                datagram: datagram.clone(),
            };
            self.flying.insert((later, self.order + 1), flying);
        }
        let flying = Flying { number, datagram };
        self.flying.insert((at, self.order), flying);
        self.order += 2;
    }

    /// Offers a video packet to the receiver; what reaches it.
    pub fn forward_video(&mut self, packet: &Arc<MediaPacket>) -> Option<Arrived> {
        let mut cx = self.tools.context(self.now);
        let (downlink, formats) = (&mut self.receiver.downlink, &self.receiver.formats);
        downlink.forward_video(&mut cx, formats, self.stream, packet);
        let mut arrived = self.arrived();
        assert!(arrived.len() <= 1);
        arrived.pop()
    }

    /// Offers an audio packet to the receiver; what reaches it.
    pub fn forward_audio(&mut self, packet: &MediaPacket) -> Vec<Arrived> {
        let mut cx = self.tools.context(self.now);
        let (downlink, formats) = (&mut self.receiver.downlink, &self.receiver.formats);
        let (red, history) = (RedConfig::default(), AudioHistory::default());
        downlink.forward_audio(&mut cx, formats, self.stream, packet, red, &history);
        self.arrived()
    }

    fn arrived(&mut self) -> Vec<Arrived> {
        self.tools.egress.complete();
        let chains = self.tools.egress.chains();
        let datagrams: Vec<Vec<u8>> = chains
            .flat_map(|(_, datagrams)| datagrams.map(<[u8]>::to_vec))
            .collect();
        self.tools.egress.clear();
        let opened = datagrams.into_iter().map(|datagram| {
            let header = RtpHeader::parse(&datagram).expect("it is RTP");
            let mut data = vec![0; datagram.len()];
            // A number that is used twice would be taken for a replay (T29).
            let opened = self.viewer.open_rtp(&header, &datagram, &mut data);
            let opened = opened.expect("the receiver can open it");
            data.truncate(opened.len);
            Arrived {
                index: opened.index,
                header,
                data,
            }
        });
        opened.collect()
    }
}

fn seal(client: &mut Outbound, ssrc: u32, index: u64, mut packet: Vec<u8>) -> Vec<u8> {
    let header = RtpHeader::parse(&packet).expect("it is RTP");
    let len = packet.len();
    packet.resize(len + 64, 0);
    let start = usize::from(header.payload_start);
    let sealed = client.seal_rtp(ssrc, index, &mut packet, start, len);
    packet.truncate(sealed.expect("there is room"));
    packet
}

//! A worker with one conference, its participants, and the links between.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_bridge::channel::{ReceiverVideoConstraints, VideoConstraints};
use causeway_bridge::config::{BridgeConfig, PacingConfig};
use causeway_bridge::ids::{
    ConferenceKey, EndpointId, EndpointKey, Path, SocketId, SourceKey, SourceName, WorkerId,
};
use causeway_bridge::media::{
    Codec, EncodingDescription, EndpointSources, Extension, Feedback, MediaFormats, MediaKind,
    PayloadType, SourceDescription, VideoType,
};
use causeway_bridge::messages::{Command, ConferenceSetup, EndpointSetup, Event, RemoteIce};
use causeway_bridge::random::Random;
use causeway_bridge::sim::link::{Link, LinkConfig};
use causeway_bridge::srtp::{KeyingMaterial, Profile};
use causeway_bridge::stats::EndpointStats;
use causeway_bridge::time::Time;
use causeway_bridge::transport::ice::Credentials;
use causeway_bridge::units::Bitrate;
use causeway_bridge::wire::stun::{self, BindingRequest, RoleClaim, StunMessage};
use causeway_bridge::worker::Worker;
use causeway_bridge::worker::egress::Egress;

use super::rival::{Rival, Rivalry, SEGMENT};
use crate::load::client::{self, Client, Context};
use crate::load::clock::Clock;
use crate::load::codec::{self, FORMATS};
use crate::load::floor;
use crate::load::formats::{self, Kind, Picture};
use crate::load::join;
use crate::load::plan::{Part, Wanted};
use crate::load::stats::Stats;

/// IPv4 and UDP headers.
const HEADERS: usize = 28;
const PROFILE: Profile = Profile::AeadAes128Gcm;
const CONFERENCE: ConferenceKey = ConferenceKey(1);
const BRIDGE: ([u8; 4], u16) = ([198, 51, 100, 1], 10_000);
const FIRST_PORT: u16 = 20_000;
/// When a run begins.
pub const BEGIN: Time = Time::from_millis(10_000);
/// Resolution of time.
const STEP: Duration = Duration::from_millis(1);

/// What is on the way to participants.
#[derive(Clone)]
enum Load {
    Datagram(usize, Vec<u8>),
    /// Of a rival.
    Segment(usize, u64),
}

/// A participant.
pub struct Person {
    credentials: [Credentials; 2],
    client: Client,
    up: Link<Vec<u8>>,
    /// The way from the bottleneck, if it is longer than for others.
    near: Option<Link<Vec<u8>>>,
    /// Bytes that came through its uplink.
    pub uploaded: u64,
    /// It wants to see others now.
    watching: bool,
    /// Index of the link that it receives through.
    down: usize,
    /// What it received.
    pub stats: Stats,
}

impl Person {
    /// Encoding of the last complete frame of the first video that it receives.
    pub fn encoding(&mut self) -> Option<u8> {
        self.client
            .receiver
            .videos()
            .find_map(|stream| stream.encoding)
    }
}

/// How a participant takes part.
#[derive(Clone, Copy)]
pub struct Role {
    pub camera: bool,
    pub talks: bool,
    /// Number of the one who is large; otherwise all are tiles of 180 lines.
    pub stage: Option<u32>,
    /// Which of the downlinks it receives through.
    pub down: usize,
    /// Its encoders follow the bridge's feedback.
    pub adapts: bool,
    /// How much longer its way is than that of others, in each direction.
    pub delay: Duration,
    /// Seconds between which it wants to see nothing.
    pub absent: Option<(u64, u64)>,
}

/// All of it.
pub struct World {
    worker: Worker,
    pub people: Vec<Person>,
    roles: Vec<Role>,
    downs: Vec<Link<Load>>,
    /// On the first downlink.
    rivals: Vec<Rival>,
    picture: Picture,
    pub now: Time,
    clock: Clock,
    egress: Egress,
    /// What the worker last said about each participant.
    pub reported: BTreeMap<u64, EndpointStats>,
    /// Packets of audio that each talker sent.
    audio_since: Time,
}

fn key(person: usize) -> EndpointKey {
    EndpointKey(person as u64 + 1)
}

fn path(person: usize) -> Path {
    Path {
        socket: SocketId(0),
        remote: ([203, 0, 113, 1], FIRST_PORT + person as u16).into(),
    }
}

fn source_name(person: usize, kind: Kind) -> SourceName {
    SourceName::from(formats::source_name(&formats::endpoint_id(person as u32), kind).as_str())
}

impl World {
    /// Connects everybody over ample links and then lets the links be what they are.
    pub fn new(
        seed: u64,
        roles: &[Role],
        codec: codec::Codec,
        downs: &[LinkConfig],
        rivals: &[Rivalry],
        pacing: PacingConfig,
    ) -> World {
        let picture = Picture::camera(codec);
        let mut random = Random::from_seed(seed);
        let bridge = SocketAddr::from(BRIDGE);
        let config = Arc::new(BridgeConfig {
            seed: Some(seed),
            pacing,
            ..BridgeConfig::default()
        });
        let worker = Worker::new(
            WorkerId(0),
            config,
            Arc::new([bridge]),
            1,
            random.fork(),
            BEGIN,
        );
        let people = roles.iter().enumerate().map(|(number, role)| {
            let part = Part {
                meeting: 0,
                talks: role.talks,
                muted: false,
                camera: role.camera,
                screen: false,
                joins_at: Duration::ZERO,
                wanted: Wanted {
                    last_n: -1,
                    max_height: 720,
                    stage: None,
                },
            };
            let spread = Duration::from_millis(5);
            let number = number as u32;
            let sources = join::sources_of(
                (number, number),
                &part,
                &picture,
                BEGIN,
                spread,
                &mut random,
            );
            let keys = floor::keys(number, PROFILE);
            let phase = Some(client::phase(&mut random));
            let mut client = Client::fixed(BEGIN, number, keys, bridge, sources, phase);
            client.receiver.from_floor = false;
            if role.adapts {
                client.adapt();
            }
            let farther = LinkConfig {
                delay: role.delay,
                ..LinkConfig::default()
            };
            Person {
                credentials: [0; 2].map(|_| Credentials::generate(&mut random, "", WorkerId(0))),
                client,
                up: Link::new(random.u64(), ample_up(role)),
                near: (!role.delay.is_zero()).then(|| Link::new(random.u64(), farther)),
                uploaded: 0,
                watching: true,
                down: role.down,
                stats: Stats::default(),
            }
        });
        let mut world = World {
            worker,
            people: people.collect(),
            roles: roles.to_vec(),
            downs: downs
                .iter()
                .map(|config| Link::new(random.u64(), *config))
                .collect(),
            rivals: rivals
                .iter()
                .map(|rivalry| Rival::new(*rivalry, BEGIN, random.fork()))
                .collect(),
            picture: picture.clone(),
            now: BEGIN,
            clock: Clock::new(),
            egress: Egress::new(),
            reported: BTreeMap::new(),
            audio_since: BEGIN,
        };
        world.signal();
        for person in 0..world.people.len() {
            world.connect(person);
        }
        world
    }

    /// Changes what a downlink does.
    pub fn set_down(&mut self, down: usize, config: LinkConfig) {
        self.downs[down].set_config(self.now, config);
    }

    /// Sets what a participant's uplink does.
    pub fn set_up(&mut self, person: usize, mut config: LinkConfig) {
        config.delay += self.roles[person].delay;
        self.people[person].up.set_config(self.now, config);
    }

    /// How long the last packet waited in front of the bottleneck.
    pub fn queue_delay(&self, down: usize) -> Duration {
        self.downs[down].queue_delay()
    }

    /// Packets that a downlink dropped or lost.
    pub fn lost_by(&self, down: usize) -> u64 {
        self.downs[down].dropped() + self.downs[down].lost()
    }

    /// The same for the uplink of a participant.
    pub fn up_queue_delay(&self, person: usize) -> Duration {
        self.people[person].up.queue_delay()
    }

    /// The same for the uplink of a participant.
    pub fn lost_by_up(&self, person: usize) -> u64 {
        self.people[person].up.dropped() + self.people[person].up.lost()
    }

    /// Bits per second that a participant takes its uplink to carry.
    pub fn up_estimate(&self, person: usize) -> Option<Bitrate> {
        self.people[person].client.estimate()
    }

    /// Participants begin and end to watch as their roles say.
    fn come_and_go(&mut self) {
        let second = (self.now - BEGIN).as_secs();
        for person in 0..self.people.len() {
            let absent = self.roles[person].absent;
            let watching = absent.is_none_or(|(from, to)| !(from..to).contains(&second));
            if std::mem::replace(&mut self.people[person].watching, watching) != watching {
                self.ask(person, if watching { -1 } else { 0 });
            }
        }
    }

    fn command(&mut self, command: Command) {
        self.worker.handle_command(self.now, command);
        self.worker.end_turn(self.now);
    }

    fn signal(&mut self) {
        self.command(Command::Conference(Arc::new(ConferenceSetup {
            key: CONFERENCE,
            meeting_id: "lab".into(),
            shards: vec![WorkerId(0)],
            home: WorkerId(0),
            audio_ssrc: 1,
            video_ssrc: 2,
        })));
        let formats = Arc::new(media_formats());
        for person in 0..self.people.len() {
            let [local, remote] = self.people[person].credentials.clone();
            self.command(Command::AddEndpoint(Box::new(EndpointSetup {
                conference: CONFERENCE,
                key: key(person),
                id: EndpointId::new(formats::endpoint_id(person as u32)),
                credentials: local,
                controlling: false,
                ssrc_rewriting: false,
                mid_demux: false,
                visitor: false,
                pool: 0,
            })));
            self.command(Command::Formats(key(person), Arc::clone(&formats)));
            let remote = RemoteIce {
                credentials: Some(remote),
                ..RemoteIce::default()
            };
            self.command(Command::RemoteIce(key(person), remote));
        }
        for person in 0..self.people.len() {
            let encodings = self.picture.encodings() as u32;
            let sources = sources(person, self.roles[person], encodings);
            self.command(Command::Sources(CONFERENCE, Arc::new(sources)));
        }
        let order: Vec<EndpointKey> = (0..self.people.len()).map(key).collect();
        self.command(Command::Order(CONFERENCE, order.into()));
    }

    /// Checks and nominates a participant's path, gives it keys, and says what it wants.
    fn connect(&mut self, person: usize) {
        let [local, remote] = &self.people[person].credentials;
        let request = BindingRequest {
            transaction: &[person as u8; 12],
            remote_ufrag: &local.ufrag,
            local_ufrag: &remote.ufrag,
            priority: 1 << 30,
            role: RoleClaim::Controlling(1),
            use_candidate: true,
        };
        let mut out = [0; stun::MAX_WRITTEN];
        let integrity = stun::integrity_key(&local.password);
        let len = stun::write_request(&mut out, &request, &integrity).expect("room");
        self.worker
            .handle_datagram(self.now, path(person), &out[..len]);
        self.worker.end_turn(self.now);
        let KeyingMaterial {
            profile,
            local_key,
            local_salt,
            remote_key,
            remote_salt,
        } = floor::keys(person as u32, PROFILE);
        let keys = KeyingMaterial {
            profile,
            local_key: remote_key,
            local_salt: remote_salt,
            remote_key: local_key,
            remote_salt: local_salt,
        };
        self.command(Command::Keys(key(person), Box::new(keys)));
        self.ask(person, -1);
    }

    /// A participant says what it wants to see, of so many sources at most.
    fn ask(&mut self, person: usize, last_n: i32) {
        let height = |max_height| VideoConstraints {
            max_height,
            max_frame_rate: -1.0,
        };
        let stage = self.roles[person].stage;
        let stage = stage.map(|stage| source_name(stage as usize, Kind::Camera));
        let constraints = ReceiverVideoConstraints {
            last_n: Some(last_n),
            default_constraints: Some(height(180)),
            on_stage_sources: stage.clone().map(|name| vec![name]),
            constraints: stage.map(|name| BTreeMap::from([(name, height(720))])),
            ..ReceiverVideoConstraints::default()
        };
        self.command(Command::ReceiverConstraints(
            key(person),
            Box::new(constraints),
        ));
    }

    /// Lets time pass; `each` is called at every step.
    pub fn run(&mut self, time: Duration, mut each: impl FnMut(&mut World)) {
        let end = self.now + time;
        while self.now < end {
            self.step();
            each(self);
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        let now = self.now;
        self.come_and_go();
        for person in 0..self.people.len() {
            self.with_client(person, |client, context| {
                if client.poll_timeout() <= now {
                    client.handle_timeout(context);
                }
            });
            while let Some(datagram) = self.people[person].up.poll(now) {
                self.people[person].uploaded += (datagram.len() + HEADERS) as u64;
                self.worker.handle_datagram(now, path(person), &datagram);
            }
        }
        while self.worker.poll_timeout().is_some_and(|at| at <= now) {
            self.worker.handle_timeout(now);
            self.worker.end_turn(now);
        }
        self.worker.end_turn(now);
        self.transmit();
        for down in 0..self.downs.len() {
            while let Some(load) = self.downs[down].poll(now) {
                self.arrive(down, load);
            }
        }
        for person in 0..self.people.len() {
            while let Some(datagram) = self.people[person]
                .near
                .as_mut()
                .and_then(|near| near.poll(now))
            {
                self.hand_over(person, &datagram);
            }
        }
        let outputs = self.worker.outputs();
        for event in outputs.events.drain(..) {
            if let Event::Stats(_, stats) = event {
                let endpoints = stats.endpoints.into_iter();
                self.reported = endpoints.map(|it| (it.endpoint.0 - 1, it)).collect();
            }
        }
        outputs.pool.clear();
        outputs.rings.clear();
    }

    /// Puts what the worker sends, and the rival, on the downlinks.
    fn transmit(&mut self) {
        let now = self.now;
        for (to, datagrams) in self.worker.egress().chains() {
            let person = usize::from(to.remote.port() - FIRST_PORT);
            let down = &mut self.downs[self.people[person].down];
            for datagram in datagrams {
                let load = Load::Datagram(person, datagram.to_vec());
                down.send(now, datagram.len() + HEADERS, load);
            }
        }
        self.worker.egress().clear();
        for (number, rival) in self.rivals.iter_mut().enumerate() {
            rival.handle_timeout(now);
            while let Some(segment) = rival.poll_transmit(now) {
                self.downs[0].send(now, SEGMENT, Load::Segment(number, segment));
            }
        }
    }

    fn arrive(&mut self, down: usize, load: Load) {
        let now = self.now;
        match load {
            Load::Segment(rival, segment) => {
                let back = self.downs[down].config().delay;
                self.rivals[rival].handle_arrival(now, segment, back);
            }
            Load::Datagram(person, datagram) => match &mut self.people[person].near {
                Some(near) => near.send(now, datagram.len() + HEADERS, datagram),
                None => self.hand_over(person, &datagram),
            },
        }
    }

    /// A datagram arrives at a participant.
    fn hand_over(&mut self, person: usize, datagram: &[u8]) {
        if let Ok(message) = StunMessage::parse(datagram) {
            self.answer_check(person, &message);
            return;
        }
        let now = self.now;
        self.with_client(person, |client, context| {
            client.handle_datagram(context, BRIDGE.into(), now, datagram);
        });
    }

    fn answer_check(&mut self, person: usize, message: &StunMessage<'_>) {
        if message.class() != stun::Class::Request {
            return;
        }
        let integrity = stun::integrity_key(&self.people[person].credentials[1].password);
        let mut out = [0; stun::MAX_WRITTEN];
        let transaction = message.transaction();
        let len = stun::write_success(&mut out, transaction, BRIDGE.into(), &integrity);
        let answer = out[..len.expect("room")].to_vec();
        let up = &mut self.people[person].up;
        up.send(self.now, answer.len() + HEADERS, answer);
    }

    /// Calls a client and sends what it wants sent; its hello is answered here.
    fn with_client(&mut self, person: usize, work: impl Fn(&mut Client, &mut Context<'_>)) {
        let Person {
            client, up, stats, ..
        } = &mut self.people[person];
        let mut context = Context {
            delays: Default::default(),
            now: self.now,
            clock: &self.clock,
            egress: &mut self.egress,
            stats,
        };
        work(client, &mut context);
        let mut greeted = false;
        for (_, datagrams) in context.egress.chains() {
            for datagram in datagrams {
                if datagram.starts_with(&floor::HELLO) {
                    greeted = true;
                } else {
                    up.send(self.now, datagram.len() + HEADERS, datagram.to_vec());
                }
            }
        }
        context.egress.clear();
        if greeted {
            client.handle_datagram(&mut context, BRIDGE.into(), self.now, &floor::HELLO);
        }
    }

    /// Has the worker report; the answer is in [`World::reported`] after the next step.
    pub fn ask_for_reports(&mut self) {
        self.command(Command::CollectStats);
    }

    /// Forgets what receivers saw so far.
    pub fn mark(&mut self) {
        for person in &mut self.people {
            person.stats.clear();
        }
        self.audio_since = self.now;
    }

    /// Share of the talkers' audio that a participant did not get since [`World::mark`].
    pub fn audio_lost(&self, person: usize) -> f64 {
        let others = self.roles.iter().enumerate();
        let talkers = others.filter(|(other, role)| role.talks && *other != person);
        let millis = (self.now - self.audio_since).as_millis() as f64;
        let expected = talkers.count() as f64 * millis / 20.0;
        let got = self.people[person].stats.audio_packets as f64;
        (1.0 - got / expected.max(1.0)).max(0.0)
    }
}

/// An uplink that is never full.
fn ample_up(role: &Role) -> LinkConfig {
    let ample = LinkConfig::default();
    LinkConfig {
        delay: ample.delay + role.delay,
        ..ample
    }
}

fn sources(person: usize, role: Role, encodings: u32) -> EndpointSources {
    let number = person as u32;
    let source = |offset, kind, media, encodings| SourceDescription {
        key: SourceKey(person as u64 * 2 + offset),
        name: source_name(person, kind),
        kind: media,
        video_type: VideoType::Camera,
        encodings,
        synthetic: false,
    };
    let mut sources = Vec::new();
    if role.talks {
        let ssrc = formats::ssrc(number, Kind::Audio, 0);
        let encoding = EncodingDescription {
            ssrc,
            rtx_ssrc: None,
        };
        sources.push(source(1, Kind::Audio, MediaKind::Audio, vec![encoding]));
    }
    if role.camera {
        let encodings = (0..encodings).map(|encoding| {
            let ssrc = formats::ssrc(number, Kind::Camera, encoding);
            EncodingDescription {
                ssrc,
                rtx_ssrc: Some(formats::rtx(ssrc)),
            }
        });
        sources.push(source(
            2,
            Kind::Camera,
            MediaKind::Video,
            encodings.collect(),
        ));
    }
    EndpointSources {
        endpoint: key(person),
        id: EndpointId::new(formats::endpoint_id(number)),
        diarize: false,
        sources,
    }
}

fn media_formats() -> MediaFormats {
    let transport = Feedback {
        transport_cc: true,
        ..Feedback::default()
    };
    let video = Feedback {
        nack: true,
        pli: true,
        fir: true,
        ..transport
    };
    let payload = |number, codec, clock_rate, associated, feedback| PayloadType {
        number,
        codec,
        clock_rate,
        associated,
        feedback,
    };
    let audio = payload(formats::OPUS, Codec::Opus, 48_000, None, transport);
    let videos = FORMATS.into_iter().flat_map(|format| {
        let media = format.payload_type;
        let none = Feedback::default();
        [
            payload(media, format.media, 90_000, None, video),
            payload(format.rtx, Codec::Rtx, 90_000, Some(media), none),
        ]
    });
    let mut formats = MediaFormats {
        payload_types: [audio].into_iter().chain(videos).collect(),
        extmap_allow_mixed: true,
        ..MediaFormats::default()
    };
    let extensions = &mut formats.extensions;
    extensions.set(Extension::AudioLevel, formats::AUDIO_LEVEL);
    extensions.set(Extension::AbsSendTime, formats::ABS_SEND_TIME);
    extensions.set(Extension::TransportCc, formats::TRANSPORT_CC);
    extensions.set(Extension::DependencyDescriptor, formats::DEPENDENCY);
    formats
}

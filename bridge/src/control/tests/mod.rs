//! Stories about the control plane: calls and events go in, outputs are looked at. There are no workers:
//! [`World`] keeps what they would know, from the commands alone.

mod channel;
mod expiry;
mod exports;
mod sequences;
mod signaling;
mod speakers;
mod timeline;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Control;
use super::api::*;
use crate::config::BridgeConfig;
use crate::ids::*;
use crate::media::{EncodingDescription, EndpointSources, MediaKind, VideoType};
use crate::messages::{Command, Event, PoolCommand};
use crate::random::Random;
use crate::time::Time;
use crate::transport::secure::{Fingerprint, Setup};

/// What one worker knows of one conference.
#[derive(Default)]
struct Shard {
    shards: Vec<WorkerId>,
    endpoints: BTreeSet<EndpointKey>,
    sources: BTreeMap<EndpointKey, Arc<EndpointSources>>,
    order: Vec<EndpointKey>,
}

/// A control plane with everything that it put out so far.
struct World {
    control: Control,
    now: Time,
    workers: Vec<BTreeMap<ConferenceKey, Shard>>,
    /// Endpoints that the handshake pool knows, with their thread.
    pool: BTreeMap<EndpointKey, usize>,
    /// Open websockets.
    websockets: BTreeSet<EndpointKey>,
    /// Messages that nobody looked at yet.
    told: BTreeMap<EndpointKey, Vec<Value>>,
    /// Outputs since [`World::take`].
    outputs: Vec<ControlOutput>,
}

impl World {
    fn new() -> World {
        World::with(1, BridgeConfig::default())
    }

    fn with(workers: usize, config: BridgeConfig) -> World {
        let env = Environment {
            workers,
            pool_threads: 2,
            locals: vec!["192.0.2.1:10000".parse().unwrap()],
            fingerprint: Fingerprint {
                hash: "sha-256".into(),
                digest: vec![7; 32],
            },
        };
        World {
            control: Control::new(Arc::new(config), env, Random::from_seed(1)),
            now: Time::from_millis(1_000_000),
            workers: (0..workers).map(|_| BTreeMap::new()).collect(),
            pool: BTreeMap::new(),
            websockets: BTreeSet::new(),
            told: BTreeMap::new(),
            outputs: Vec::new(),
        }
    }

    /// Carries out what the control plane wants, and checks that each command reaches something that
    /// exists: commands go to workers with a shard, messages to open channels.
    fn settle(&mut self) {
        while let Some(output) = self.control.poll_output() {
            match &output {
                ControlOutput::Worker(worker, command) => self.command(*worker, command),
                ControlOutput::Pool(thread, command) => match command {
                    PoolCommand::Open { endpoint, .. } => {
                        assert!(self.pool.insert(*endpoint, *thread).is_none());
                    }
                    PoolCommand::Close(endpoint) => {
                        assert_eq!(self.pool.remove(endpoint), Some(*thread))
                    }
                    PoolCommand::Send(endpoint, text, _) => {
                        assert_eq!(self.pool.get(endpoint), Some(thread));
                        self.hear(*endpoint, text);
                    }
                    PoolCommand::Remote { endpoint, .. } => {
                        assert_eq!(self.pool.get(endpoint), Some(thread))
                    }
                    PoolCommand::Certificate(_) => {}
                    other => panic!("unexpected {other:?}"),
                },
                ControlOutput::WebSocket(endpoint, text) => {
                    assert!(
                        self.websockets.contains(endpoint),
                        "text for a closed websocket"
                    );
                    self.hear(*endpoint, text);
                }
                ControlOutput::CloseWebSocket(endpoint, ..) => {
                    assert!(self.websockets.remove(endpoint))
                }
                ControlOutput::Export(_) | ControlOutput::Notice(_) => {}
            }
            self.outputs.push(output);
        }
    }

    fn hear(&mut self, endpoint: EndpointKey, text: &str) {
        let message = serde_json::from_str(text).expect("messages are JSON");
        self.told.entry(endpoint).or_default().push(message);
    }

    fn command(&mut self, worker: WorkerId, command: &Command) {
        let conferences = &mut self.workers[usize::from(worker.0)];
        let shard_of = |conferences: &mut BTreeMap<ConferenceKey, Shard>, endpoint: EndpointKey| {
            assert!(
                conferences
                    .values()
                    .any(|shard| shard.endpoints.contains(&endpoint)),
                "{command:?} for an endpoint that the worker does not have"
            );
        };
        match command {
            Command::Conference(setup) => {
                assert!(setup.shards.contains(&worker) && setup.shards.contains(&setup.home));
                conferences.entry(setup.key).or_default().shards = setup.shards.clone();
            }
            Command::RemoveConference(key) => assert!(conferences.remove(key).is_some()),
            Command::AddEndpoint(setup) => {
                let shard = conferences.get_mut(&setup.conference).expect("a shard");
                assert!(shard.endpoints.insert(setup.key));
            }
            Command::RemoveEndpoint(key) => {
                shard_of(conferences, *key);
                for shard in conferences.values_mut() {
                    shard.endpoints.remove(key);
                }
            }
            Command::Sources(key, sources) => {
                let shard = conferences.get_mut(key).expect("a shard");
                if sources.sources.is_empty() {
                    shard.sources.remove(&sources.endpoint);
                } else {
                    shard.sources.insert(sources.endpoint, Arc::clone(sources));
                }
            }
            Command::VideoType(key, source, video_type) => {
                let shard = conferences.get_mut(key).expect("a shard");
                let mut known = shard
                    .sources
                    .values_mut()
                    .flat_map(|sources| Arc::make_mut(sources).sources.iter_mut());
                known
                    .find(|known| known.key == *source)
                    .expect("a known source")
                    .video_type = *video_type;
            }
            Command::Order(key, order) => {
                let shard = conferences.get_mut(key).expect("a shard");
                assert_ne!(
                    *shard.order, **order,
                    "an order that did not change was sent"
                );
                shard.order = order.to_vec();
            }
            Command::RequestKeyframe(key, ..) | Command::Taps(key, _) => {
                assert!(conferences.contains_key(key));
            }
            Command::Formats(key, _)
            | Command::ForceMute { endpoint: key, .. }
            | Command::RemoteIce(key, _)
            | Command::RestartIce { endpoint: key, .. }
            | Command::ReceiverConstraints(key, _)
            | Command::LastN(key, _)
            | Command::InitialLastN(key, _)
            | Command::AudioSubscription(key, _)
            | Command::ReplayState(key) => shard_of(conferences, *key),
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Checks that every shard knows exactly what the model says, and that no object is left over.
    fn check(&self) {
        let control = &self.control;
        let mut shards = 0;
        for conference in control.conferences.values() {
            let expected: BTreeMap<EndpointKey, &EndpointSources> = conference
                .members
                .values()
                .map(|member| (*member, &*control.endpoints[member].sources))
                .filter(|(_, sources)| !sources.sources.is_empty())
                .collect();
            for (worker, count) in &conference.shards {
                let shard = &self.workers[usize::from(worker.0)][&conference.key];
                assert_eq!(
                    shard.shards,
                    conference.shards.keys().copied().collect::<Vec<_>>()
                );
                assert_eq!(shard.endpoints.len(), *count);
                let known: BTreeMap<_, _> = shard
                    .sources
                    .iter()
                    .map(|(key, sources)| (*key, &**sources))
                    .collect();
                assert_eq!(known, expected);
                assert_eq!(*shard.order, *conference.speech.last_n_order());
                shards += 1;
            }
            assert_eq!(
                conference.shards.values().sum::<usize>(),
                conference.members.len()
            );
            assert!(conference.members.iter().all(|(id, key)| {
                let endpoint = &control.endpoints[key];
                endpoint.id() == id && endpoint.conference == conference.key
            }));
            assert_eq!(
                control.meetings[&conference.options.meeting_id],
                conference.key
            );
            assert_eq!(conference.owns_nothing(), expected.is_empty());
        }
        assert_eq!(
            shards,
            self.workers.iter().map(BTreeMap::len).sum::<usize>()
        );
        assert_eq!(control.meetings.len(), control.conferences.len());
        let members: usize = control
            .conferences
            .values()
            .map(|conference| conference.members.len())
            .sum();
        assert_eq!(members, control.endpoints.len());
        assert_eq!(self.pool.len(), control.endpoints.len());
        assert_eq!(control.loads.iter().sum::<usize>(), control.endpoints.len());
        let connected = control
            .endpoints
            .values()
            .filter(|endpoint| endpoint.channel.websocket);
        assert!(
            connected
                .map(|endpoint| endpoint.key)
                .eq(self.websockets.iter().copied())
        );
        if control.conferences.is_empty() {
            assert_eq!(control.poll_timeout(), None);
        }
    }

    /// What was put out since the last call.
    fn take(&mut self) -> Vec<ControlOutput> {
        self.settle();
        std::mem::take(&mut self.outputs)
    }

    /// The commands to workers since the last call.
    fn commands(&mut self) -> Vec<(WorkerId, Command)> {
        let outputs = self.take().into_iter();
        outputs
            .filter_map(|output| match output {
                ControlOutput::Worker(worker, command) => Some((worker, command)),
                _ => None,
            })
            .collect()
    }

    fn conference(&mut self, meeting: &str) -> ConferenceKey {
        let options = ConferenceOptions {
            meeting_id: meeting.into(),
            name: None,
        };
        self.control.create_conference(self.now, options).unwrap()
    }

    fn try_endpoint(
        &mut self,
        conference: ConferenceKey,
        options: EndpointOptions,
    ) -> Result<EndpointKey, ControlError> {
        let created = self.control.create_endpoint(self.now, conference, options);
        self.settle();
        created
    }

    fn endpoint(&mut self, conference: ConferenceKey, id: &str) -> EndpointKey {
        self.try_endpoint(conference, options(id)).unwrap()
    }

    fn visitor(&mut self, conference: ConferenceKey, id: &str) -> EndpointKey {
        self.try_endpoint(
            conference,
            EndpointOptions {
                visitor: true,
                ..options(id)
            },
        )
        .unwrap()
    }

    fn sources(
        &mut self,
        endpoint: EndpointKey,
        sources: &[NewSource],
    ) -> Result<(), ControlError> {
        let result = self
            .control
            .set_sources(self.now, endpoint, sources.to_vec());
        self.settle();
        result
    }

    fn expire(&mut self, endpoint: EndpointKey) {
        self.control.expire_endpoint(self.now, endpoint);
        self.settle();
    }

    fn event(&mut self, event: Event) {
        self.control.handle_event(self.now, event);
        self.settle();
    }

    /// Opens an endpoint's websocket.
    fn connect(&mut self, endpoint: EndpointKey) {
        self.websockets.insert(endpoint);
        self.control.websocket_opened(self.now, endpoint);
        self.settle();
    }

    fn disconnect(&mut self, endpoint: EndpointKey) {
        self.websockets.remove(&endpoint);
        self.control.websocket_closed(self.now, endpoint);
        self.settle();
    }

    /// The endpoint's client says something on its websocket.
    fn say(&mut self, endpoint: EndpointKey, text: &str) {
        self.control.websocket_message(self.now, endpoint, text);
        self.settle();
    }

    /// What the endpoint's client was told since the last call.
    fn heard(&mut self, endpoint: EndpointKey) -> Vec<Value> {
        self.settle();
        self.told.remove(&endpoint).unwrap_or_default()
    }

    /// The same, of one class only; others are forgotten.
    fn heard_of(&mut self, endpoint: EndpointKey, class: &str) -> Vec<Value> {
        self.heard(endpoint)
            .into_iter()
            .filter(|message| message["colibriClass"] == class)
            .collect()
    }

    /// Lets time pass and timers fire.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.control.poll_timeout().filter(|due| *due <= end) {
            assert!(due >= self.now, "a timer was left behind");
            self.now = due;
            self.control.handle_timeout(due);
            assert!(
                self.control.poll_timeout().is_none_or(|next| next > due),
                "a timer fires without end"
            );
            self.settle();
        }
        self.now = end;
    }

    /// The key of an endpoint's source.
    fn source(&self, endpoint: EndpointKey, name: &str) -> SourceKey {
        let sources = &self.control.endpoints[&endpoint].sources.sources;
        sources
            .iter()
            .find(|source| source.name.as_str() == name)
            .expect("a signaled source")
            .key
    }
}

fn options(id: &str) -> EndpointOptions {
    EndpointOptions {
        diarize: false,
        id: id.into(),
        stats_id: None,
        ice_controlling: true,
        ssrc_rewriting: true,
        mid_demux: false,
        visitor: false,
        private_addresses: false,
        sctp: true,
    }
}

/// A source with one encoding.
fn source(name: &str, kind: MediaKind, ssrc: u32) -> NewSource {
    NewSource {
        name: name.into(),
        kind,
        video_type: None,
        encodings: vec![EncodingDescription {
            ssrc,
            rtx_ssrc: None,
        }],
        synthetic: false,
    }
}

fn camera(name: &str, ssrc: u32) -> NewSource {
    source(name, MediaKind::Video, ssrc)
}

fn desktop(name: &str, ssrc: u32) -> NewSource {
    NewSource {
        video_type: Some(VideoType::Desktop),
        ..camera(name, ssrc)
    }
}

fn audio(name: &str, ssrc: u32) -> NewSource {
    source(name, MediaKind::Audio, ssrc)
}

fn path() -> Path {
    Path {
        socket: SocketId(0),
        remote: "198.51.100.9:4000".parse().unwrap(),
    }
}

fn fingerprint() -> Fingerprint {
    Fingerprint {
        hash: "sha-256".into(),
        digest: vec![1; 32],
    }
}

const SETUP: Option<Setup> = Some(Setup::Active);

//! Drives the real control plane and workers without threads: queues with seeded delays, a stand-in for DTLS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{BridgeConfig, RedPolicy};
use crate::control::Control;
use crate::control::api::{ControlOutput, Environment};
use crate::ids::{EndpointKey, Path, SocketId, WorkerId};
use crate::messages::{Command, Event, PoolCommand, RingMessage};
use crate::random::Random;
use crate::srtp::{KeyingMaterial, MASTER_KEY, MASTER_SALT, Profile};
use crate::time::Time;
use crate::transport::secure::Fingerprint;
use crate::worker::Worker;

/// What waits in some queue of the bridge.
enum Input {
    Datagram(WorkerId, Path, Vec<u8>),
    Ring(WorkerId, WorkerId, RingMessage),
    Command(WorkerId, Command),
    Event(Event),
    Pool(PoolCommand),
}

/// Who feeds a queue; messages of one lane keep their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Ring(u8, u8),
    Command(u8),
    Event(u8),
    Pool(u8),
    PoolEvent,
    PoolCommand(u8),
}

/// What a client gets from the stand-in for DTLS and SCTP.
pub enum Secure {
    /// Keys from the client's point of view.
    Keys(KeyingMaterial),
    Text(Arc<str>),
}

/// From the control thread.
const CONTROL: u8 = u8::MAX;

pub struct Driver {
    pub control: Control,
    pub workers: Vec<Worker>,
    stalled: Vec<Time>,
    random: Random,
    hash_seed: u64,
    queue: BTreeMap<(Time, u64), Input>,
    lanes: BTreeMap<Lane, Time>,
    sequence: u64,
    associations: BTreeMap<EndpointKey, (WorkerId, bool)>,
    /// For clients, with the endpoint.
    pub secure: Vec<(EndpointKey, Secure)>,
    /// Datagrams that left.
    pub sent: Vec<(SocketAddr, Vec<u8>)>,
    ring_delay: u64,
}

impl Driver {
    pub fn new(seed: u64, workers: usize, spill_after: usize, local: SocketAddr) -> Driver {
        let mut random = Random::from_seed(seed);
        let mut config = BridgeConfig::default();
        config.net.spill_after = spill_after;
        config.seed = Some(seed);
        config.audio.red.policy = match seed % 3 {
            0 => RedPolicy::Noop,
            1 => RedPolicy::ProtectAll,
            _ => RedPolicy::Strip,
        };
        config.audio.red.vad_only = seed.is_multiple_of(2);
        let config = Arc::new(config);
        let environment = Environment {
            workers,
            pool_threads: 1,
            locals: vec![local],
            fingerprint: Fingerprint {
                hash: "sha-256".into(),
                digest: vec![1; 32],
            },
        };
        let locals: Arc<[SocketAddr]> = vec![local].into();
        Driver {
            control: Control::new(Arc::clone(&config), environment, random.fork()),
            workers: (0..workers)
                .map(|index| {
                    let id = WorkerId(index as u8);
                    let (config, locals) = (Arc::clone(&config), Arc::clone(&locals));
                    Worker::new(id, config, locals, workers, random.fork(), Time::ZERO)
                })
                .collect(),
            stalled: vec![Time::ZERO; workers],
            hash_seed: random.u64(),
            ring_delay: 1 + random.below(3_000),
            random,
            queue: BTreeMap::new(),
            lanes: BTreeMap::new(),
            sequence: 0,
            associations: BTreeMap::new(),
            secure: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// The kernel's choice: a path always hits the same worker's socket, whoever owns the endpoint.
    fn socket_owner(&self, remote: SocketAddr) -> WorkerId {
        let mut hash = self.hash_seed ^ u64::from(remote.port());
        if let SocketAddr::V4(v4) = remote {
            hash ^= u64::from(v4.ip().to_bits()) << 16;
        }
        WorkerId((Random::from_seed(hash).below(self.workers.len() as u64)) as u8)
    }

    fn put(&mut self, at: Time, input: Input) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), input);
    }

    fn send(&mut self, now: Time, lane: Lane, most: u64, input: Input) {
        let wanted = now + Duration::from_micros(self.random.below(most.max(1)));
        let last = self.lanes.entry(lane).or_insert(Time::ZERO);
        *last = wanted.max(*last);
        let at = *last;
        self.put(at, input);
    }

    /// A datagram arrives at the bridge's socket.
    pub fn receive(&mut self, now: Time, remote: SocketAddr, data: Vec<u8>) {
        let path = Path {
            socket: SocketId(0),
            remote,
        };
        let worker = self.socket_owner(remote);
        self.put(now, Input::Datagram(worker, path, data));
    }

    /// Text from a client's data channel.
    pub fn say(&mut self, now: Time, endpoint: EndpointKey, text: String) {
        let event = Event::ChannelMessage(endpoint, text);
        self.send(now, Lane::PoolEvent, 500, Input::Event(event));
    }

    /// The worker's thread does not run until then.
    pub fn stall(&mut self, worker: usize, until: Time) {
        self.stalled[worker] = until;
    }

    pub fn poll_timeout(&self) -> Time {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let timers = self.workers.iter().zip(&self.stalled);
        let timers =
            timers.filter_map(|(worker, stalled)| Some(worker.poll_timeout()?.max(*stalled)));
        queued
            .into_iter()
            .chain(timers)
            .chain(self.control.poll_timeout())
            .min()
            .unwrap_or(Time::FAR)
    }

    /// Everything that is due at `now`.
    pub fn run(&mut self, now: Time) {
        for worker in 0..self.workers.len() {
            let due = self.workers[worker]
                .poll_timeout()
                .is_some_and(|at| at <= now);
            if due && self.stalled[worker] <= now {
                self.workers[worker].handle_timeout(now);
                self.end_turn(worker, now);
            }
        }
        if self.control.poll_timeout().is_some_and(|at| at <= now) {
            self.control.handle_timeout(now);
        }
        self.settle(now);
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let input = entry.remove();
            self.handle(now, input);
        }
    }

    fn handle(&mut self, now: Time, input: Input) {
        let worker = match &input {
            Input::Datagram(worker, ..) | Input::Ring(_, worker, _) | Input::Command(worker, _) => {
                usize::from(worker.0)
            }
            Input::Event(_) | Input::Pool(_) => usize::MAX,
        };
        if let Some(until) = self.stalled.get(worker).copied()
            && until > now
        {
            // Keeps the order: the sequence number grows.
            self.put(until, input);
            return;
        }
        match input {
            Input::Datagram(_, path, data) => {
                self.workers[worker].handle_datagram(now, path, &data)
            }
            Input::Ring(from, _, message) => self.workers[worker].handle_ring(now, from, message),
            Input::Command(_, command) => self.workers[worker].handle_command(now, command),
            Input::Event(event) => {
                if let Event::ConferenceFailed(key, worker) = &event {
                    panic!(
                        "the shard of conference {key} on worker {} panicked",
                        worker.0
                    );
                }
                self.control.handle_event(now, event);
                self.settle(now);
                return;
            }
            Input::Pool(command) => {
                self.pool(now, command);
                return;
            }
        }
        self.end_turn(worker, now);
    }

    fn end_turn(&mut self, index: usize, now: Time) {
        let worker = &mut self.workers[index];
        worker.end_turn(now);
        for (path, datagrams) in worker.egress().chains() {
            for datagram in datagrams {
                self.sent.push((path.remote, datagram.to_vec()));
            }
        }
        worker.egress().clear();
        let out = std::mem::take(worker.outputs());
        let id = WorkerId(index as u8);
        for (to, message) in out.rings {
            let delay = self.ring_delay;
            self.send(
                now,
                Lane::Ring(id.0, to.0),
                delay,
                Input::Ring(id, to, message),
            );
        }
        for event in out.events {
            self.send(now, Lane::Event(id.0), 1_000, Input::Event(event));
        }
        for (_, command) in out.pool {
            self.send(now, Lane::Pool(id.0), 1_000, Input::Pool(command));
        }
    }

    /// Carries out what the control plane wants.
    pub fn settle(&mut self, now: Time) {
        while let Some(output) = self.control.poll_output() {
            match output {
                ControlOutput::Worker(to, command) => {
                    self.send(now, Lane::Command(to.0), 1_000, Input::Command(to, command));
                }
                ControlOutput::Pool(_, command) => {
                    self.send(now, Lane::Pool(CONTROL), 1_000, Input::Pool(command));
                }
                ControlOutput::WebSocket(..)
                | ControlOutput::CloseWebSocket(..)
                | ControlOutput::Export(_)
                | ControlOutput::Notice(_) => {}
            }
        }
    }

    fn pool(&mut self, now: Time, command: PoolCommand) {
        match command {
            PoolCommand::Open {
                endpoint, worker, ..
            } => {
                self.associations.insert(endpoint, (worker, false));
            }
            PoolCommand::Writable(endpoint) => {
                let Some((worker, done)) = self.associations.get_mut(&endpoint) else {
                    return;
                };
                let worker = *worker;
                if std::mem::replace(done, true) {
                    return;
                }
                let (ours, theirs) = keys(&mut self.random);
                self.secure.push((endpoint, Secure::Keys(theirs)));
                // A handshake takes a few round trips.
                let lane = Lane::PoolCommand(worker.0);
                let command = Command::Keys(endpoint, Box::new(ours));
                self.send(now, lane, 100_000, Input::Command(worker, command));
                for event in [
                    Event::DtlsConnected(endpoint),
                    Event::ChannelOpened(endpoint),
                ] {
                    self.send(now, Lane::PoolEvent, 100_000, Input::Event(event));
                }
            }
            PoolCommand::Send(endpoint, text, _) => {
                self.secure.push((endpoint, Secure::Text(text)));
            }
            PoolCommand::Close(endpoint) => {
                self.associations.remove(&endpoint);
            }
            _ => {}
        }
    }
}

/// Both sides of what a handshake agrees on.
fn keys(random: &mut Random) -> (KeyingMaterial, KeyingMaterial) {
    let profile = match random.below(4) {
        0 => Profile::Aes128CmSha1_80,
        _ => Profile::AeadAes128Gcm,
    };
    let mut key = [[0; MASTER_KEY]; 2];
    let mut salt = [[0; MASTER_SALT]; 2];
    key.iter_mut().for_each(|key| random.fill(key));
    salt.iter_mut().for_each(|salt| random.fill(salt));
    let side = |local: usize| KeyingMaterial {
        profile,
        local_key: key[local],
        local_salt: salt[local],
        remote_key: key[1 - local],
        remote_salt: salt[1 - local],
    };
    (side(0), side(1))
}

//! The data plane: one worker's endpoints and the way of a packet through them.
//!
//! A [`Worker`] is a state machine without sockets, clock or thread. Its driver ([`crate::net`], or a
//! simulation) calls [`Worker::handle_datagram`], [`Worker::handle_command`], [`Worker::handle_ring`] and
//! [`Worker::handle_timeout`], ends the turn with [`Worker::end_turn`], sends what [`Worker::egress`] holds and
//! delivers [`Worker::outputs`].
//!
//! Datagrams find their endpoint in one lookup that costs O(1) whoever sent them: STUN requests by ufrag, STUN
//! responses by the worker and agent in their transaction id (several agents may ask one address), everything
//! else by the path that an authenticated check validated.
//! Whatever belongs to another worker is handed over through its ring.
//!
//! Every call into a conference is fenced: if it panics, that conference ends and the worker goes on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

use crate::conference::Shard;
use crate::config::BridgeConfig;
use crate::counters::{Counter, Counters};
use crate::endpoint::formats::FormatTables;
use crate::ids::{ConferenceKey, EndpointKey, Path, WorkerId};
use crate::limits;
use crate::messages::{Command, Event, RingMessage};
use crate::random::Random;
use crate::stats::WorkerStats;
use crate::time::Time;
use crate::transport::ice::{tag_of_transaction, worker_of_transaction, worker_of_ufrag};
use crate::wire::demux::{Class, classify};
use crate::wire::dependency::MAX_ELEMENT;
use crate::wire::stun::{self, StunMessage};

use self::buffers::PacketPool;
use self::context::{Context, RouteChange};
use self::egress::Egress;
use self::timer::{TimerWheel, Token};

pub mod buffers;
pub(crate) mod context;
pub mod egress;
pub mod packet;
pub mod timer;

#[cfg(test)]
mod tests;

pub use context::Outputs;

/// Where an endpoint lives in this worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EndpointRef {
    pub shard: usize,
    pub endpoint: usize,
}

/// Where an endpoint is put, as its ICE agent has to know it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub worker: WorkerId,
    /// Finds the agent by the transaction ids of its checks.
    pub agent: u32,
    pub sockets: Arc<[SocketAddr]>,
}

/// Whose datagrams come from a path.
#[derive(Clone, Copy, Debug)]
enum Route {
    /// An endpoint here; all protocols.
    Local(EndpointRef),
    /// An endpoint of another worker.
    Worker(WorkerId),
}

/// Timers handled in one call before I/O gets its turn (T81).
const TIMERS_PER_TURN: usize = 1_000;
/// Paths known at most, own and of other workers.
const MAX_ROUTES: usize = limits::MAX_ENDPOINTS * 4;

/// One worker.
pub struct Worker {
    id: WorkerId,
    config: Arc<BridgeConfig>,
    sockets: Arc<[SocketAddr]>,
    workers: usize,
    random: Random,
    buffers: PacketPool,
    egress: Egress,
    counters: Counters,
    out: Outputs,
    shards: slab::Slab<Shard>,
    by_conference: HashMap<ConferenceKey, usize, ahash::RandomState>,
    by_endpoint: HashMap<EndpointKey, EndpointRef, ahash::RandomState>,
    by_ufrag: HashMap<Arc<str>, EndpointRef, ahash::RandomState>,
    /// By the tag in the transaction ids of their checks.
    agents: slab::Slab<EndpointRef>,
    routes: HashMap<Path, Route, ahash::RandomState>,
    route_changes: Vec<RouteChange>,
    scratch: [u8; MAX_ELEMENT],
    formats: FormatTables,
    timers: TimerWheel,
    due: Vec<Token>,
    dirty: Vec<usize>,
    /// For all conferences, as the control plane said; −1 = none.
    last_n_limit: i32,
    /// Time of the input at hand.
    now: Time,
}

impl Worker {
    /// A worker without conferences.
    ///
    /// `sockets` are the bound local addresses in the order of their [`crate::ids::SocketId`], `workers` is
    /// how many there are in all.
    pub fn new(
        id: WorkerId,
        config: Arc<BridgeConfig>,
        sockets: Arc<[SocketAddr]>,
        workers: usize,
        mut random: Random,
        now: Time,
    ) -> Worker {
        let mut hasher = || {
            ahash::RandomState::with_seeds(random.u64(), random.u64(), random.u64(), random.u64())
        };
        Worker {
            id,
            config,
            sockets,
            workers,
            buffers: PacketPool::default(),
            egress: Egress::new(),
            counters: Counters::default(),
            out: Outputs::default(),
            shards: slab::Slab::new(),
            by_conference: HashMap::with_hasher(hasher()),
            by_endpoint: HashMap::with_hasher(hasher()),
            by_ufrag: HashMap::with_hasher(hasher()),
            agents: slab::Slab::new(),
            routes: HashMap::with_hasher(hasher()),
            random,
            route_changes: Vec::new(),
            scratch: [0; MAX_ELEMENT],
            formats: FormatTables::default(),
            timers: TimerWheel::new(now),
            due: Vec::new(),
            dirty: Vec::new(),
            last_n_limit: -1,
            now,
        }
    }

    /// Its index.
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// The datagrams to send after this turn.
    pub fn egress(&mut self) -> &mut Egress {
        &mut self.egress
    }

    /// Messages to deliver after this turn.
    pub fn outputs(&mut self) -> &mut Outputs {
        &mut self.out
    }

    /// Counters since the start. The driver adds what only it can see.
    pub fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// When [`Worker::handle_timeout`] is wanted next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// A datagram that arrived on one of this worker's sockets.
    #[inline]
    pub fn handle_datagram(&mut self, now: Time, path: Path, data: &[u8]) {
        self.counters.count(Counter::DatagramsIn);
        self.counters.add(Counter::BytesIn, data.len() as u64);
        if data.len() > limits::MAX_DATAGRAM {
            self.counters.count(Counter::DropNotClassified);
            return;
        }
        self.dispatch(now, path, data, true);
    }

    fn dispatch(&mut self, now: Time, path: Path, data: &[u8], may_hand_over: bool) {
        let Some(class) = classify(data) else {
            self.counters.count(Counter::DropNotClassified);
            return;
        };
        if class == Class::Stun {
            self.dispatch_stun(now, path, data, may_hand_over);
            return;
        }
        match self.routes.get(&path) {
            Some(Route::Local(at)) => {
                let at = *at;
                self.enter_with(now, at.shard, class != Class::Rtp, |shard, cx| {
                    shard.handle_datagram(cx, at.endpoint, path, class, data);
                });
            }
            Some(Route::Worker(worker)) if may_hand_over => {
                let worker = *worker;
                self.hand_over(now, worker, path, data);
            }
            _ => self.counters.count(Counter::DropUnknownAddress),
        }
    }

    fn dispatch_stun(&mut self, now: Time, path: Path, data: &[u8], may_hand_over: bool) {
        let Ok(message) = StunMessage::parse(data) else {
            self.counters.count(Counter::DropStunMalformed);
            return;
        };
        match message.class() {
            stun::Class::Request => {
                let Some((local, _)) = message.username() else {
                    self.counters.count(Counter::DropStunUnknownUfrag);
                    return;
                };
                let found = std::str::from_utf8(local)
                    .ok()
                    .and_then(|ufrag| self.by_ufrag.get(ufrag));
                if let Some(at) = found {
                    let at = *at;
                    self.enter(now, at.shard, |shard, cx| {
                        shard.handle_stun_request(cx, at.endpoint, path, &message);
                    });
                    self.apply_routes(at);
                } else {
                    match worker_of_ufrag(&self.config.ice.ufrag_prefix, local) {
                        Some(worker)
                            if may_hand_over
                                && worker != self.id
                                && usize::from(worker.0) < self.workers =>
                        {
                            self.hand_over(now, worker, path, data);
                        }
                        _ => self.counters.count(Counter::DropStunUnknownUfrag),
                    }
                }
            }
            stun::Class::Success | stun::Class::Error => {
                let worker = worker_of_transaction(message.transaction());
                let agent = tag_of_transaction(message.transaction()) as usize;
                if worker != self.id && usize::from(worker.0) < self.workers && may_hand_over {
                    self.hand_over(now, worker, path, data);
                } else if worker == self.id
                    && let Some(at) = self.agents.get(agent)
                {
                    let at = *at;
                    self.enter(now, at.shard, |shard, cx| {
                        shard.handle_stun_response(cx, at.endpoint, path, &message);
                    });
                    self.apply_routes(at);
                } else {
                    self.counters.count(Counter::DropStunUnexpected);
                }
            }
            stun::Class::Indication => self.counters.count(Counter::DropStunUnexpected),
        }
    }

    /// Gives a datagram to the worker whose endpoint it is for. Copies it: this happens to the first packets
    /// of a path and to those that the kernel's hash sends elsewhere.
    fn hand_over(&mut self, now: Time, worker: WorkerId, path: Path, data: &[u8]) {
        if self.out.rings.len() >= limits::WORKER_RING {
            self.counters.count(Counter::DropRingFull);
            return;
        }
        self.counters.count(Counter::HandedOver);
        let data = Bytes::copy_from_slice(data);
        self.out.rings.push_back((
            worker,
            RingMessage::Datagram {
                path,
                received: now,
                data,
            },
        ));
    }

    /// A message from another worker.
    pub fn handle_ring(&mut self, now: Time, from: WorkerId, message: RingMessage) {
        match message {
            RingMessage::Datagram {
                path,
                received,
                data,
            } => {
                // The arrival time is the other worker's; both read the same clock.
                self.dispatch(received.max(Time::ZERO).min(now), path, &data, false);
            }
            RingMessage::Route(path, true) => {
                let full = self.routes.len() >= MAX_ROUTES;
                match self.routes.get(&path) {
                    Some(Route::Local(_)) => {}
                    None if full => {}
                    _ => {
                        self.routes.insert(path, Route::Worker(from));
                    }
                }
            }
            RingMessage::Route(path, false) => {
                if matches!(self.routes.get(&path), Some(Route::Worker(worker)) if *worker == from)
                {
                    self.routes.remove(&path);
                }
            }
            RingMessage::Media(conference, packet) => {
                if let Some(shard) = self.by_conference.get(&conference) {
                    let shard = *shard;
                    self.enter_with(now, shard, false, |shard, cx| {
                        shard.handle_remote_media(cx, packet)
                    });
                } else {
                    self.buffers.recycle(packet);
                }
            }
            RingMessage::SenderReport {
                conference,
                source,
                encoding,
                report,
            } => {
                if let Some(shard) = self.by_conference.get(&conference) {
                    let shard = *shard;
                    self.enter(now, shard, |shard, _| {
                        shard.handle_remote_sender_report(source, encoding, report);
                    });
                }
            }
            RingMessage::Keyframe(conference, source, requester) => {
                if let Some(shard) = self.by_conference.get(&conference) {
                    let shard = *shard;
                    self.enter(now, shard, |shard, cx| {
                        shard.request_keyframe_if_local(cx, source, requester);
                    });
                }
            }
        }
    }

    /// A command from the control plane or the handshake pool.
    pub fn handle_command(&mut self, now: Time, command: Command) {
        match command {
            Command::Conference(setup) => self.set_conference(now, setup),
            Command::RemoveConference(key) => {
                let Some(index) = self.by_conference.get(&key).copied() else {
                    return;
                };
                let endpoints = self.enter(now, index, |shard, _| shard.endpoint_indices());
                for endpoint in endpoints.unwrap_or_default() {
                    self.enter(now, index, |shard, cx| shard.remove_endpoint(cx, endpoint));
                    self.apply_routes(EndpointRef {
                        shard: index,
                        endpoint,
                    });
                }
                self.remove_conference(key);
            }
            Command::AddEndpoint(setup) => {
                let Some(shard) = self.by_conference.get(&setup.conference).copied() else {
                    return;
                };
                let key = setup.key;
                let place = Place {
                    worker: self.id,
                    agent: self.agents.vacant_key() as u32,
                    sockets: Arc::clone(&self.sockets),
                };
                let random = self.random.fork();
                let added = self.enter(now, shard, |shard, cx| {
                    shard.add_endpoint(cx, *setup, place, random)
                });
                if let Some(endpoint) = added {
                    let at = EndpointRef { shard, endpoint };
                    self.agents.insert(at);
                    self.by_endpoint.insert(key, at);
                    self.apply_routes(at);
                }
            }
            Command::RemoveEndpoint(key) => {
                let Some(at) = self.by_endpoint.remove(&key) else {
                    return;
                };
                self.enter(now, at.shard, |shard, cx| {
                    shard.remove_endpoint(cx, at.endpoint)
                });
                self.apply_routes(at);
            }
            Command::Sources(conference, sources) => {
                self.with_conference(now, conference, |shard, cx| shard.set_sources(cx, &sources));
            }
            Command::VideoType(conference, source, video_type) => {
                self.with_conference(now, conference, |shard, cx| {
                    shard.set_video_type(cx, source, video_type);
                });
            }
            Command::Order(conference, order) => {
                self.with_conference(now, conference, |shard, _| shard.set_order(order));
            }
            Command::Taps(conference, taps) => {
                self.with_conference(now, conference, |shard, _| shard.set_taps(taps));
            }
            Command::InjectAudio(conference, audio) => {
                self.with_conference(now, conference, |shard, cx| shard.inject_audio(cx, &audio));
            }
            Command::RequestKeyframe(conference, source, at) => {
                self.with_conference(now, conference, |shard, cx| {
                    shard.request_keyframe_at(cx, source, at);
                });
            }
            Command::LastNLimit(limit) => {
                self.last_n_limit = limit;
                for (_, shard) in &mut self.shards {
                    shard.set_last_n_limit(limit);
                }
            }
            Command::CollectStats => {
                let stats = self.stats(now);
                self.out
                    .events
                    .push_back(Event::Stats(self.id, Box::new(stats)));
            }
            Command::Stop => {}
            Command::Formats(key, formats) => {
                self.with_endpoint(now, key, |shard, cx, index| {
                    shard.set_formats(cx, index, formats)
                });
            }
            Command::ForceMute {
                endpoint,
                audio,
                video,
            } => {
                self.with_endpoint(now, endpoint, |shard, _, index| {
                    shard.set_force_mute(index, audio, video);
                });
            }
            Command::RemoteIce(key, remote) => {
                self.with_endpoint(now, key, |shard, cx, index| {
                    shard.set_remote_ice(cx, index, remote)
                });
            }
            Command::RestartIce {
                endpoint,
                generation,
                credentials,
            } => {
                self.with_endpoint(now, endpoint, |shard, cx, index| {
                    shard.restart_ice(cx, index, generation, credentials);
                });
            }
            Command::SendDtls(key, datagram) => {
                self.with_endpoint(now, key, |shard, cx, index| {
                    shard.send_dtls(cx, index, &datagram)
                });
            }
            Command::Keys(key, keys) => {
                self.with_endpoint(now, key, |shard, cx, index| {
                    shard.set_keys(cx, index, &keys)
                });
            }
            Command::ReceiverConstraints(key, constraints) => {
                self.with_endpoint(now, key, |shard, cx, index| {
                    shard.set_receiver_constraints(cx, index, &constraints);
                });
            }
            Command::LastN(key, last_n) => {
                self.with_endpoint(now, key, |shard, _, index| shard.set_last_n(index, last_n));
            }
            Command::InitialLastN(key, last_n) => {
                self.with_endpoint(now, key, |shard, _, index| {
                    shard.set_initial_last_n(index, last_n)
                });
            }
            Command::AudioSubscription(key, subscription) => {
                self.with_endpoint(now, key, |shard, cx, index| {
                    shard.set_audio_subscription(cx, index, subscription);
                });
            }
            Command::Capture(key, tap) => {
                self.with_endpoint(now, key, |shard, _, index| shard.set_capture(index, tap));
            }
            Command::ReplayState(key) => {
                self.with_endpoint(now, key, |shard, cx, index| shard.replay_state(cx, index));
            }
        }
    }

    /// Timers that are due; call it again at once if [`Worker::poll_timeout`] is still in the past.
    pub fn handle_timeout(&mut self, now: Time) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.expire(now, TIMERS_PER_TURN, &mut due);
        for token in due.drain(..) {
            let at = at_of(token);
            if !self.shards.contains(at.shard) {
                continue;
            }
            self.enter(now, at.shard, |shard, cx| {
                shard.handle_timer(cx, at.endpoint)
            });
            self.apply_routes(at);
        }
        self.due = due;
    }

    /// Ends a turn: runs the allocations that became due and sets timers. Must follow every group of inputs.
    pub fn end_turn(&mut self, now: Time) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            if !self.shards.contains(index) {
                continue;
            }
            self.enter(now, index, |shard, cx| shard.end_turn(cx));
            // A panic in there removed it.
            let Some(shard) = self.shards.get_mut(index) else {
                continue;
            };
            shard.clear_dirty();
            let timers = &mut self.timers;
            shard.take_deadlines(|endpoint, deadline| {
                timers.schedule(
                    token_of(EndpointRef {
                        shard: index,
                        endpoint,
                    }),
                    deadline,
                );
            });
        }
        self.dirty = dirty;
        self.egress.complete();
    }

    fn set_conference(&mut self, now: Time, setup: Arc<crate::messages::ConferenceSetup>) {
        if let Some(index) = self.by_conference.get(&setup.key) {
            let index = *index;
            self.enter(now, index, |shard, cx| shard.update_setup(cx, setup));
            return;
        }
        if self.shards.len() >= limits::MAX_CONFERENCES {
            return;
        }
        let key = setup.key;
        let mut shard = Shard::new(setup, Arc::clone(&self.config), self.random.fork(), self.id);
        shard.set_last_n_limit(self.last_n_limit);
        let index = self.shards.insert(shard);
        self.by_conference.insert(key, index);
    }

    fn remove_conference(&mut self, key: ConferenceKey) {
        let Some(index) = self.by_conference.remove(&key) else {
            return;
        };
        self.shards.try_remove(index);
        self.by_endpoint.retain(|_, at| at.shard != index);
        // Counted anew, as a panic may have been in the midst of it.
        self.buffers.paced = self.shards.iter().map(|(_, shard)| shard.paced()).sum();
    }

    /// Packets that wait in the pacers of its receivers.
    #[cfg(test)]
    pub(crate) fn paced(&mut self) -> &mut usize {
        &mut self.buffers.paced
    }

    fn with_conference(
        &mut self,
        now: Time,
        key: ConferenceKey,
        f: impl FnOnce(&mut Shard, &mut Context<'_>),
    ) {
        if let Some(index) = self.by_conference.get(&key) {
            let index = *index;
            self.enter(now, index, f);
        }
    }

    fn with_endpoint(
        &mut self,
        now: Time,
        key: EndpointKey,
        f: impl FnOnce(&mut Shard, &mut Context<'_>, usize),
    ) {
        if let Some(at) = self.by_endpoint.get(&key) {
            let at = *at;
            self.enter(now, at.shard, |shard, cx| f(shard, cx, at.endpoint));
            self.apply_routes(at);
        }
    }

    /// Runs `f` on a shard behind the fence: a panic ends the conference, not the worker.
    #[inline]
    fn enter<R>(
        &mut self,
        now: Time,
        index: usize,
        f: impl FnOnce(&mut Shard, &mut Context<'_>) -> R,
    ) -> Option<R> {
        self.enter_with(now, index, true, f)
    }

    /// The same; `flush` = what waits to be fanned out goes first.
    #[inline]
    fn enter_with<R>(
        &mut self,
        now: Time,
        index: usize,
        flush: bool,
        f: impl FnOnce(&mut Shard, &mut Context<'_>) -> R,
    ) -> Option<R> {
        self.now = now;
        let shard = self.shards.get_mut(index)?;
        if shard.mark_dirty() {
            self.dirty.push(index);
        }
        let mark = self.egress.mark();
        let mut context = Context {
            now,
            buffers: &mut self.buffers,
            egress: &mut self.egress,
            counters: &mut self.counters,
            out: &mut self.out,
            routes: &mut self.route_changes,
            formats: &mut self.formats,
            scratch: &mut self.scratch,
        };
        let work = || {
            if flush {
                shard.flush(&mut context);
            }
            f(shard, &mut context)
        };
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => Some(result),
            Err(_) => {
                // Half-made datagrams must not leave; everything else of the conference goes with it.
                self.egress.rewind(mark);
                self.route_changes.clear();
                let key = self.shards[index].key();
                tracing::error!(conf = %key, worker = self.id.0, "conference ended by an internal error");
                self.counters.count(Counter::Panics);
                self.remove_conference(key);
                // The shard's own lists can not be trusted after a panic: search the tables.
                self.forget_routes(index);
                self.out
                    .events
                    .push_back(Event::ConferenceFailed(key, self.id));
                None
            }
        }
    }

    fn apply_routes(&mut self, at: EndpointRef) {
        if self.route_changes.is_empty() {
            return;
        }
        let mut changes = std::mem::take(&mut self.route_changes);
        let mut taken = Vec::new();
        for change in changes.drain(..) {
            match change {
                RouteChange::Validated(path) => {
                    if let Some(Route::Local(other)) = self.routes.get(&path)
                        && *other != at
                    {
                        taken.push((*other, path));
                    }
                    if self.routes.len() < MAX_ROUTES || self.routes.contains_key(&path) {
                        self.routes.insert(path, Route::Local(at));
                        self.tell_workers(path, true);
                    }
                }
                RouteChange::Removed(path) => {
                    if matches!(self.routes.get(&path), Some(Route::Local(other)) if *other == at) {
                        self.routes.remove(&path);
                        self.tell_workers(path, false);
                    }
                }
                RouteChange::UfragAdded(ufrag) => {
                    self.by_ufrag.insert(ufrag, at);
                }
                RouteChange::UfragRemoved(ufrag) => {
                    self.by_ufrag.remove(&ufrag);
                }
                RouteChange::AgentRemoved(agent) => {
                    self.agents.try_remove(agent as usize);
                }
            }
        }
        self.route_changes = changes;
        // A path has one owner: whoever authenticated last (T05).
        for (other, path) in taken {
            self.enter(self.now, other.shard, |shard, cx| {
                shard.path_taken(cx, other.endpoint, path)
            });
            self.apply_routes(other);
        }
    }

    fn forget_routes(&mut self, shard: usize) {
        let gone = |at: EndpointRef| at.shard == shard;
        self.by_ufrag.retain(|_, at| !gone(*at));
        self.agents.retain(|_, at| !gone(*at));
        let mut removed = Vec::new();
        self.routes.retain(|path, route| match route {
            Route::Local(at) if gone(*at) => {
                removed.push(*path);
                false
            }
            _ => true,
        });
        for path in removed {
            self.tell_workers(path, false);
        }
    }

    fn tell_workers(&mut self, path: Path, known: bool) {
        for worker in 0..self.workers {
            let worker = WorkerId(worker as u8);
            if worker != self.id && self.out.rings.len() < limits::WORKER_RING {
                self.out
                    .rings
                    .push_back((worker, RingMessage::Route(path, known)));
            }
        }
    }

    fn stats(&mut self, now: Time) -> WorkerStats {
        let mut stats = WorkerStats {
            counters: self.counters.clone(),
            conferences: self.shards.len(),
            ..WorkerStats::default()
        };
        for (_, shard) in &mut self.shards {
            shard.collect_stats(now, &mut stats.endpoints);
        }
        stats
    }
}

fn token_of(at: EndpointRef) -> Token {
    Token((at.shard as u64) << 32 | at.endpoint as u64)
}

fn at_of(token: Token) -> EndpointRef {
    EndpointRef {
        shard: (token.0 >> 32) as usize,
        endpoint: (token.0 & 0xFFFF_FFFF) as usize,
    }
}

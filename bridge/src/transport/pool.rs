//! The handshake pool: DTLS and SCTP of many endpoints, away from the workers.
//!
//! A [`Pool`] is one thread's share, as a sans-IO object: commands and time in, messages for workers and
//! the control plane out. Endpoints share nothing in it; whatever one of them does to its association, a
//! panic included, ends that association and nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::{Pending, Topic};
use crate::ids::{EndpointKey, WorkerId};
use crate::limits;
use crate::messages::{Command, Event, PoolCommand};
use crate::random::Random;
use crate::srtp::Profile;
use crate::time::Time;
use crate::transport::secure::{
    Association, AssociationConfig, AssociationEvent, Certificate, FailureReason, SctpRole,
};

/// What waiting text costs besides its bytes.
const PENDING_OVERHEAD: usize = 128;

/// Settings of a pool.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Certificate of new endpoints until [`PoolCommand::Certificate`] brings another.
    pub certificate: Arc<Certificate>,
    /// SRTP profiles in order of preference.
    pub profiles: Vec<Profile>,
    /// Let sha-1 fingerprints count.
    pub accept_sha1: bool,
    /// A handshake that takes longer has failed.
    pub handshake_timeout: Duration,
    /// This pool's share of what all SCTP associations may hold, bytes ([`limits::SCTP_HELD_IN_ALL`]).
    pub sctp_held: usize,
}

/// What a pool wants done.
#[derive(Debug)]
pub enum PoolOutput {
    /// For this worker.
    Worker(WorkerId, Command),
    /// For the control plane.
    Event(Event),
}

/// What a pool counted. Plain numbers since its creation, except [`PoolMetrics::associations`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PoolMetrics {
    /// Endpoints now.
    pub associations: u64,
    /// Handshakes that gave keys.
    pub handshakes: u64,
    /// Handshakes that failed, by [`FailureReason::index`].
    pub failures: [u64; FailureReason::ALL.len()],
    /// Data channel messages received.
    pub messages_in: u64,
    /// Data channel messages sent.
    pub messages_out: u64,
    /// Messages that could not be sent: no channel, too large, or the peer does not acknowledge.
    pub messages_refused: u64,
    /// Data channels refused.
    pub rejected_channels: u64,
    /// Data channels ended because all of them together held too much (T50).
    pub shed_channels: u64,
    /// Panics caught: each cost an attempt or an association.
    pub panics: u64,
}

struct Entry {
    worker: WorkerId,
    association: Association,
    /// Text that the channel does not take yet.
    pending: Pending,
    /// When the peer last sent something.
    heard: Time,
    /// What it holds, as counted in [`Pool::held`].
    held: usize,
    /// As in [`Pool::deadlines`].
    deadline: Option<Time>,
}

impl Entry {
    /// Gives waiting text to the channel as far as it takes it; messages sent and refused.
    fn flush(&mut self, now: Time) -> (u64, u64) {
        let (mut sent, mut refused) = (0, 0);
        if !self.association.has_channel() {
            self.pending.clear();
        }
        while !self.pending.is_empty() && self.association.buffered() < limits::SCTP_BACKLOG {
            let Some(text) = self.pending.pop() else {
                break;
            };
            match self.association.send_text(now, &text) {
                Ok(()) => sent += 1,
                Err(_) => refused += 1,
            }
        }
        (sent, refused)
    }

    fn count_held(&mut self) -> usize {
        self.association.held() + self.waiting()
    }

    /// What waiting text holds, bytes.
    fn waiting(&self) -> usize {
        self.pending.bytes() + self.pending.len() * PENDING_OVERHEAD
    }
}

/// One thread's share of all handshakes and data channels.
pub struct Pool {
    config: PoolConfig,
    base: Instant,
    random: Random,
    entries: BTreeMap<EndpointKey, Entry>,
    deadlines: BTreeSet<(Time, EndpointKey)>,
    output: VecDeque<PoolOutput>,
    metrics: PoolMetrics,
    /// What all associations hold for their peers, bytes.
    held: usize,
}

impl Pool {
    /// A pool without endpoints. `base` is what [`Time::ZERO`] is for the protocol engines, which reckon
    /// in `Instant`: any constant of the process.
    pub fn new(config: PoolConfig, base: Instant, random: Random) -> Pool {
        Pool {
            config,
            base,
            random,
            entries: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            output: VecDeque::new(),
            metrics: PoolMetrics::default(),
            held: 0,
        }
    }

    /// What all associations hold for their peers, bytes.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Executes a command. Commands for endpoints that do not exist are ignored, and so is a second
    /// [`PoolCommand::Open`]. [`PoolCommand::Stop`] ends every association; the driver then sends what
    /// is left of the output and returns.
    pub fn handle(&mut self, now: Time, command: PoolCommand) {
        match command {
            PoolCommand::Certificate(certificate) => self.config.certificate = certificate,
            PoolCommand::Open {
                endpoint,
                worker,
                sctp,
            } => self.open(now, endpoint, worker, sctp),
            PoolCommand::Remote {
                endpoint,
                fingerprints,
                setup,
            } => {
                self.with(now, endpoint, |association| {
                    association.set_remote(now, fingerprints, setup);
                });
            }
            PoolCommand::Writable(endpoint) => {
                self.with(now, endpoint, |association| association.writable(now));
            }
            PoolCommand::Datagram(endpoint, datagram) => {
                if let Some(entry) = self.entries.get_mut(&endpoint) {
                    entry.heard = now;
                }
                self.with(now, endpoint, |association| {
                    association.handle_datagram(now, &datagram)
                });
            }
            PoolCommand::Send(endpoint, text, topic) => self.send(now, endpoint, text, topic),
            PoolCommand::Close(endpoint) => {
                self.with(now, endpoint, |association| association.close(now));
                self.remove(endpoint);
            }
            PoolCommand::Stop => {
                while let Some(endpoint) = self.entries.first_key_value().map(|(key, _)| *key) {
                    self.with(now, endpoint, |association| association.close(now));
                    self.remove(endpoint);
                }
            }
        }
        self.shed(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        // What an endpoint schedules for `now` again waits for the next call.
        let due: Vec<EndpointKey> = self
            .deadlines
            .range(..=(now, EndpointKey(u64::MAX)))
            .map(|(_, key)| *key)
            .collect();
        for endpoint in due {
            self.with(now, endpoint, |association| association.handle_timeout(now));
        }
    }

    /// When [`Pool::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.deadlines.first().map(|(time, _)| *time)
    }

    /// The next thing to pass on.
    pub fn poll_output(&mut self) -> Option<PoolOutput> {
        self.output.pop_front()
    }

    /// What was counted.
    pub fn metrics(&self) -> PoolMetrics {
        PoolMetrics {
            associations: self.entries.len() as u64,
            ..self.metrics
        }
    }

    fn open(&mut self, now: Time, endpoint: EndpointKey, worker: WorkerId, sctp: bool) {
        if self.entries.contains_key(&endpoint) {
            return;
        }
        let config = AssociationConfig {
            certificate: self.config.certificate.clone(),
            profiles: self.config.profiles.clone(),
            accept_sha1: self.config.accept_sha1,
            handshake_timeout: self.config.handshake_timeout,
            sctp: sctp.then_some(SctpRole::Server),
            base: self.base,
        };
        let association = Association::new(config, self.random.fork());
        self.entries.insert(
            endpoint,
            Entry {
                worker,
                association,
                pending: Pending::default(),
                heard: now,
                held: 0,
                deadline: None,
            },
        );
    }

    fn remove(&mut self, endpoint: EndpointKey) {
        let Some(entry) = self.entries.remove(&endpoint) else {
            return;
        };
        self.held -= entry.held;
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, endpoint));
        }
    }

    /// Text for an endpoint's channel: at once if it takes it, in order otherwise.
    fn send(&mut self, now: Time, endpoint: EndpointKey, text: Arc<str>, topic: Option<Topic>) {
        let entry = self.entries.get_mut(&endpoint);
        let Some(entry) = entry.filter(|entry| {
            entry.association.has_channel()
                && text.len() <= limits::MAX_SENT_MESSAGE_BYTES
                && entry.waiting() + text.len() <= limits::SCTP_SEND_BUFFER - limits::SCTP_BACKLOG
        }) else {
            self.metrics.messages_refused += 1;
            return;
        };
        entry.pending.push(topic, text);
        self.with(now, endpoint, |_| {});
    }

    /// Ends data channels until all of them hold less than they may: of those that hold at least what is
    /// due to each, the one whose peer was not heard for the longest time (T50).
    fn shed(&mut self, now: Time) {
        while self.held > self.config.sctp_held {
            let due = self.held / self.entries.len().max(1);
            let greedy = self.entries.iter().filter(|(_, entry)| entry.held >= due);
            let Some(endpoint) = greedy
                .min_by_key(|(_, entry)| entry.heard)
                .map(|(key, _)| *key)
            else {
                return;
            };
            tracing::warn!(
                endpoint = endpoint.0,
                "data channel ended: its peer takes nothing and memory for all channels is used up"
            );
            self.metrics.shed_channels += 1;
            let before = self.held;
            self.with(now, endpoint, |association| association.close_channel(now));
            if self.held >= before {
                return;
            }
        }
    }

    /// Calls an association, passes on what it says and notes its next deadline and what it holds.
    fn with(&mut self, now: Time, endpoint: EndpointKey, call: impl FnOnce(&mut Association)) {
        let Some(entry) = self.entries.get_mut(&endpoint) else {
            return;
        };
        let result = catch_unwind(AssertUnwindSafe(|| {
            call(&mut entry.association);
            let flushed = entry.flush(now);
            (
                flushed,
                entry.count_held(),
                entry.association.poll_timeout(),
            )
        }));
        let Ok(((sent, refused), held, deadline)) = result else {
            self.metrics.panics += 1;
            self.metrics.failures[FailureReason::Protocol.index()] += 1;
            self.output.push_back(PoolOutput::Event(Event::DtlsFailed(
                endpoint,
                FailureReason::Protocol,
            )));
            self.remove(endpoint);
            return;
        };
        self.metrics.messages_out += sent;
        self.metrics.messages_refused += refused;
        self.held = self.held - entry.held + held;
        entry.held = held;
        while let Some(datagram) = entry.association.poll_transmit() {
            self.output.push_back(PoolOutput::Worker(
                entry.worker,
                Command::SendDtls(endpoint, datagram),
            ));
        }
        while let Some(event) = entry.association.poll_event() {
            let event = match event {
                AssociationEvent::Connected(keys) => {
                    self.metrics.handshakes += 1;
                    let keys = Command::Keys(endpoint, Box::new(keys));
                    self.output
                        .push_back(PoolOutput::Worker(entry.worker, keys));
                    Event::DtlsConnected(endpoint)
                }
                AssociationEvent::Failed(reason) => {
                    self.metrics.failures[reason.index()] += 1;
                    Event::DtlsFailed(endpoint, reason)
                }
                AssociationEvent::ChannelOpen => Event::ChannelOpened(endpoint),
                AssociationEvent::Message(text) => {
                    self.metrics.messages_in += 1;
                    Event::ChannelMessage(endpoint, text)
                }
                AssociationEvent::ChannelClosed => Event::ChannelClosed(endpoint),
            };
            self.output.push_back(PoolOutput::Event(event));
        }
        self.metrics.panics += entry.association.take_panics();
        let rejected = entry.association.take_rejected_channels();
        if rejected > 0 {
            self.metrics.rejected_channels += rejected;
            let event = Event::ChannelsRefused(endpoint, rejected);
            self.output.push_back(PoolOutput::Event(event));
        }
        if entry.deadline != deadline {
            if let Some(old) = entry.deadline {
                self.deadlines.remove(&(old, endpoint));
            }
            if let Some(new) = deadline {
                self.deadlines.insert((new, endpoint));
            }
            entry.deadline = deadline;
        }
    }
}

#[cfg(test)]
mod tests;

//! The control plane: the model of conferences and endpoints, and everything that signaling asks of it.
//!
//! [`Control`] is a plain state machine behind one lock that workers never take: the daemon calls it for
//! requests and websocket traffic, one thread feeds it [`Event`](crate::messages::Event)s, and what it
//! wants done comes out of [`Control::poll_output`]. It holds no media state: workers have that, and learn
//! from [`Command`]s what they must know.
//!
//! # How to drive it
//!
//! After every call, drain [`Control::poll_output`] in order and put each output where it belongs, before
//! the lock is released: the order of outputs is the order in which the receivers must see them. Then ask
//! [`Control::poll_timeout`] when to call [`Control::handle_timeout`]. What one call puts out is bounded by
//! the size of the conference it is about.
//!
//! # Where things are
//!
//! `lifecycle` and `signaling` have the operations that Colibri2 is made of, `checks` says beforehand whether they
//! would be refused, `messaging` the bridge channel, `exports` media exports,
//! `events` what workers and the handshake pool report, `expiry` the timers.

pub mod api;

mod access;
mod capture;
mod channel_state;
mod checks;
mod conference;
mod debug;
mod endpoint;
mod events;
mod expiry;
mod exports;
mod lifecycle;
mod messaging;
mod output;
mod queries;
mod signaling;
mod summary;
mod timeline;
mod transport_state;
mod why;

#[cfg(test)]
mod tests;

pub use self::access::ControlAccess;
pub use self::debug::DebugView;
pub use self::summary::{BySize, Reception, SIZES, Summary};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use self::api::{ControlOutput, Environment};
use self::conference::Conference;
use self::endpoint::Endpoint;
use self::output::Outputs;
use self::summary::Report;
use crate::config::BridgeConfig;
use crate::ids::{ConferenceKey, EndpointKey, ExportKey, MeetingId, WorkerId};
use crate::messages::{Command, PoolCommand};
use crate::random::Random;
use crate::time::Time;
use crate::transport::secure::Certificate;

/// The model of all conferences of this bridge.
pub struct Control {
    config: Arc<BridgeConfig>,
    env: Environment,
    random: Random,
    conferences: BTreeMap<ConferenceKey, Conference>,
    meetings: BTreeMap<MeetingId, ConferenceKey>,
    endpoints: BTreeMap<EndpointKey, Endpoint>,
    /// Keys given so far; they are never reused, so a stale one reaches nothing.
    last_endpoint: u64,
    last_source: u64,
    last_export: u64,
    /// The conferences of exports that run.
    exports: BTreeMap<ExportKey, ConferenceKey>,
    /// Endpoints per worker.
    loads: Vec<usize>,
    timers: BTreeSet<(Time, Timer)>,
    outputs: Outputs,
    counters: ControlCounters,
    stats: BTreeMap<WorkerId, Report>,
    /// When the last conferences failed, oldest first.
    failures: VecDeque<Time>,
}

/// What the control plane counted since it began.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ControlCounters {
    /// Conferences created.
    pub conferences_created: u64,
    /// Conferences that ended.
    pub conferences_completed: u64,
    /// How long those lasted, in milliseconds.
    pub conference_millis: u64,
    /// Conferences ended because a shard failed.
    pub conferences_failed: u64,
    /// Endpoints created.
    pub endpoints_created: u64,
    /// Those of them that are visitors.
    pub visitors_created: u64,
    /// Endpoints that went with ICE up and DTLS not.
    pub endpoints_without_dtls: u64,
    /// Endpoints expired by a timer.
    pub endpoints_timed_out: u64,
    /// Endpoints that became inactive after having been active.
    pub endpoints_disconnected: u64,
    /// Inactive endpoints that became active again.
    pub endpoints_reconnected: u64,
    /// Endpoints without bridge channel 30 s after their DTLS handshake.
    pub endpoints_without_channel: u64,
    /// Dominant speakers elected.
    pub dominant_speaker_changes: u64,
    /// Keyframes asked for on an election.
    pub preemptive_keyframe_requests_sent: u64,
    /// Elections on which none was needed.
    pub preemptive_keyframe_requests_suppressed: u64,
    /// Messages from clients handled.
    pub messages_received: u64,
    /// Messages to clients sent.
    pub messages_sent: u64,
    /// Messages from clients on data channels.
    pub data_channel_messages_received: u64,
    /// Messages to clients on data channels; counted where they are put out.
    pub data_channel_messages_sent: u64,
    /// Data channels beyond the one of an endpoint that were refused.
    pub data_channels_refused: u64,
    /// Messages to clients that had no channel.
    pub messages_without_channel: u64,
    /// Messages from clients refused by the parser.
    pub messages_malformed: u64,
    /// Messages from clients refused by a budget (T54).
    pub messages_over_budget: u64,
    /// ICE restarts started.
    pub ice_restarts_started: u64,
    /// ICE restarts refused.
    pub ice_restarts_rejected: u64,
    /// ICE restarts asked for before ICE was established.
    pub ice_restarts_not_established: u64,
    /// ICE restarts replaced by a later one.
    pub ice_restarts_superseded: u64,
    /// ICE restarts that cut over.
    pub ice_restarts_succeeded: u64,
    /// ICE restarts given up.
    pub ice_restarts_failed: u64,
    /// Endpoints whose ICE got a path.
    pub ice_succeeded: u64,
    /// Endpoints whose ICE failed.
    pub ice_failed: u64,
    /// DTLS handshakes completed.
    pub dtls_succeeded: u64,
    /// DTLS handshakes failed.
    pub dtls_failed: u64,
}

/// Something to do at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    /// Look for what must expire.
    Expiry,
    /// `ConnectionStats` of an endpoint are due.
    ConnectionStats(EndpointKey),
    /// An endpoint should have a bridge channel by now.
    ChannelCheck(EndpointKey),
}

impl Control {
    /// A bridge without conferences.
    pub fn new(config: Arc<BridgeConfig>, mut env: Environment, random: Random) -> Control {
        env.workers = env.workers.clamp(1, crate::limits::MAX_WORKERS);
        env.pool_threads = env.pool_threads.max(1);
        Control {
            loads: vec![0; env.workers],
            config,
            env,
            random,
            conferences: BTreeMap::new(),
            meetings: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            last_endpoint: 0,
            last_source: 0,
            last_export: 0,
            exports: BTreeMap::new(),
            timers: BTreeSet::new(),
            outputs: Outputs::default(),
            counters: ControlCounters::default(),
            stats: BTreeMap::new(),
            failures: VecDeque::new(),
        }
    }

    /// Endpoints created from now on get this certificate; earlier ones keep theirs (media-plane spec §1.9).
    pub fn renew_certificate(&mut self, certificate: &Arc<Certificate>) {
        // In one queue with the commands that open endpoints, so each gets what its fingerprint says.
        for thread in 0..self.env.pool_threads {
            let command = PoolCommand::Certificate(Arc::clone(certificate));
            self.outputs.pool(thread, command);
        }
        self.env.fingerprint = certificate.fingerprint().clone();
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<ControlOutput> {
        self.outputs.pop()
    }

    /// No receiver gets more video sources than this from its next allocation on; −1 = no limit
    /// (allocation spec §6.3).
    pub fn set_last_n_limit(&mut self, limit: i32) {
        for index in 0..self.env.workers {
            let command = Command::LastNLimit(limit);
            self.outputs.worker(worker(index), command);
        }
    }

    /// Asks all workers for [`Event::Stats`](crate::messages::Event::Stats).
    pub fn collect_stats(&mut self) {
        for index in 0..self.env.workers {
            self.outputs.worker(worker(index), Command::CollectStats);
        }
    }
}

/// The worker with that index, which is below [`crate::limits::MAX_WORKERS`].
fn worker(index: usize) -> WorkerId {
    WorkerId(u8::try_from(index).unwrap_or(u8::MAX))
}

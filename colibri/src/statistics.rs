//! The statistics of the bridge: one snapshot, from which `/colibri/stats`, presence (rest-and-stats spec §4) and
//! `/metrics` (§5) are written, so that they never disagree.

mod exports;
mod exposition;
mod keys;
mod metrics;

use causeway_bridge::control::Summary;

pub use self::exposition::Format;
pub use self::keys::timestamp;
pub(crate) use self::metrics::TRANSIT;

use crate::handler::ServiceState;
use crate::rest::{Health, Process};

/// What the process around the bridge knows.
#[derive(Clone, PartialEq, Debug)]
pub struct ProcessFacts {
    /// Share of what the bridge can safely carry; may exceed 1 (rest-and-stats spec §5.3).
    pub stress: f64,
    /// Stress that one more participant adds, as configured.
    pub average_participant_stress: f64,
    /// The last-n that the load reducer allows now, −1 = any; `None` if there is no reducer.
    pub last_n_limit: Option<i32>,
    /// Share of CPU time that the hypervisor gave to others, 0 to 1.
    pub cpu_steal: f64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// Resident memory in bytes.
    pub memory: u64,
    /// Start, in milliseconds since 1970.
    pub started_ms: u64,
    /// Bridge channels on websockets.
    pub websockets: WebSocketFacts,
    /// Media exports; `None` until the first.
    pub exports: Option<ExportFacts>,
    /// XMPP.
    pub xmpp: XmppFacts,
    /// Region, if configured.
    pub region: Option<String>,
}

impl Default for ProcessFacts {
    fn default() -> Self {
        ProcessFacts {
            stress: 0.0,
            average_participant_stress: 0.01,
            last_n_limit: None,
            cpu_steal: 0.0,
            threads: 0,
            open_files: 0,
            memory: 0,
            started_ms: 0,
            websockets: WebSocketFacts::default(),
            exports: None,
            xmpp: XmppFacts::default(),
            region: None,
        }
    }
}

/// Counts of bridge channels on websockets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WebSocketFacts {
    /// Open now.
    pub open: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Messages sent.
    pub messages_sent: u64,
    /// Closed in order.
    pub close_normal: u64,
    /// Closed otherwise.
    pub close_abnormal: u64,
    /// Errors of sockets.
    pub errors: u64,
    /// Closed because the client did not read fast enough.
    pub overflows: u64,
}

/// Counts of media exports.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ExportFacts {
    /// Exports begun.
    pub starts: u64,
    /// Connections that failed or were lost.
    pub failures: u64,
    /// Those of them that the peer closed for an error of its own (1011).
    pub internal_errors: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets dropped because a peer did not keep up.
    pub packets_dropped: u64,
    /// Transcripts received.
    pub transcripts: u64,
    /// Packets received.
    pub media: u64,
    /// Starts and stops of synthetic sources received.
    pub sending_changes: u64,
    /// Infos received.
    pub infos: u64,
    /// Other events received.
    pub others: u64,
    /// Received texts that could not be read.
    pub malformed: u64,
}

/// Counts of XMPP connections and rooms.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct XmppFacts {
    /// Configured connections.
    pub clients_configured: u64,
    /// Those of them that are up.
    pub clients_connected: u64,
    /// Configured rooms.
    pub mucs_configured: u64,
    /// Those of them that are joined.
    pub mucs_joined: u64,
    /// Connections lost since the start.
    pub disconnects: u64,
}

/// Everything at one moment.
#[derive(Clone, Debug)]
pub struct Statistics {
    summary: Summary,
    facts: ProcessFacts,
    state: ServiceState,
    healthy: bool,
    version: String,
    release: Option<String>,
    now_ms: u64,
}

impl Statistics {
    /// Takes the snapshot. `version` is as in `/about/version`; `release` tells bridges of one release apart from
    /// others; `now_ms` is in milliseconds since 1970.
    pub fn collect(
        process: &impl Process,
        version: &str,
        release: Option<&str>,
        now_ms: u64,
    ) -> Statistics {
        Statistics {
            summary: process.with_control(|control, _| control.summary()),
            facts: process.facts(),
            state: process.service_state(),
            healthy: process.health() == Health::Healthy,
            version: version.to_owned(),
            release: release.map(str::to_owned),
            now_ms,
        }
    }
}

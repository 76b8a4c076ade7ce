//! Types of the control plane's interface.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::export::ExportCommand;
use crate::ids::{ConferenceKey, EndpointId, EndpointKey, MeetingId, SourceName, WorkerId};
use crate::media::{EncodingDescription, MediaFormats, MediaKind, VideoType};
use crate::messages::{Command, PoolCommand};
use crate::transport::ice::Credentials;
use crate::transport::secure::{Fingerprint, Setup};

/// Why a request was refused. Each is a caller's or a limit's fault; nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ControlError {
    /// A conference with this meeting id exists.
    #[error("Conference already exists for ID: {0}")]
    ConferenceExists(MeetingId),
    /// No such conference.
    #[error("Conference not found")]
    NoConference,
    /// An endpoint with this id exists in the conference.
    #[error("Endpoint with ID {0} already exists")]
    EndpointExists(EndpointId),
    /// No such endpoint.
    #[error("Endpoint not found")]
    NoEndpoint,
    /// A visitor can not have sources.
    #[error("Attempt to set sources for visitor endpoint {0}")]
    VisitorSources(EndpointId),
    /// Something beyond a limit; the text names it.
    #[error("{0}")]
    Limit(&'static str),
    /// Malformed input; the text says what.
    #[error("{0}")]
    Invalid(&'static str),
    /// A worker's command queue is full: try again.
    #[error("The bridge is overloaded, try again")]
    Busy,
}

/// A conference to create.
#[derive(Clone, Debug)]
pub struct ConferenceOptions {
    /// Meeting id.
    pub meeting_id: MeetingId,
    /// Name (a JID) for logs and debug output.
    pub name: Option<String>,
}

/// An endpoint to create.
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    /// Id, unique in the conference.
    pub id: EndpointId,
    /// Id for statistics, logged only.
    pub stats_id: Option<String>,
    /// Whether the bridge is the controlling ICE agent.
    pub ice_controlling: bool,
    /// Rewrite SSRCs.
    pub ssrc_rewriting: bool,
    /// Stamp MIDs; has an effect only with `ssrc_rewriting`.
    pub mid_demux: bool,
    /// Receives only.
    pub visitor: bool,
    /// Gets private candidates even if they are not advertised.
    pub private_addresses: bool,
    /// Data channels were asked for.
    pub sctp: bool,
    /// Transcribers shall tell the voices in its audio apart.
    pub diarize: bool,
}

/// A source as signaled, before it has a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewSource {
    /// Name.
    pub name: SourceName,
    /// Audio or video.
    pub kind: MediaKind,
    /// What it shows, if signaled.
    pub video_type: Option<VideoType>,
    /// Encodings, lowest first; not empty.
    pub encodings: Vec<EncodingDescription>,
    /// Synthetic audio.
    pub synthetic: bool,
}

impl NewSource {
    /// All its SSRCs, those of retransmissions included.
    pub(super) fn ssrcs(&self) -> impl Iterator<Item = u32> + '_ {
        self.encodings
            .iter()
            .flat_map(|encoding| [Some(encoding.ssrc), encoding.rtx_ssrc])
            .flatten()
    }
}

/// What of an endpoint shall change, to be checked before it is changed. Absent parts stay as they are.
#[derive(Clone, Copy, Default, Debug)]
pub struct EndpointChange<'a> {
    /// For [`Control::add_formats`](super::Control::add_formats).
    pub formats: Option<&'a MediaFormats>,
    /// For [`Control::set_sources`](super::Control::set_sources).
    pub sources: Option<&'a [NewSource]>,
    /// For [`Control::set_remote_transport`](super::Control::set_remote_transport).
    pub remote: Option<&'a RemoteTransport>,
}

/// A change of an endpoint's remote transport. Absent parts stay as they are.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RemoteTransport {
    /// ufrag and password.
    pub credentials: Option<Credentials>,
    /// UDP candidates with literal addresses.
    pub candidates: Vec<SocketAddr>,
    /// `ice-generation`.
    pub ice_generation: Option<u32>,
    /// Certificate fingerprints.
    pub fingerprints: Vec<Fingerprint>,
    /// `setup` of the first fingerprint.
    pub setup: Option<Setup>,
}

/// The bridge's side of an endpoint's transport.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalTransport {
    /// ufrag and password.
    pub credentials: Credentials,
    /// Certificate fingerprint.
    pub fingerprint: Fingerprint,
    /// `setup` to signal: `actpass` until the remote one is known.
    pub setup: Setup,
    /// Candidates, best first.
    pub candidates: Vec<Candidate>,
    /// Of a pending restart.
    pub ice_generation: Option<u32>,
    /// Data channels are set up.
    pub sctp: bool,
    /// Password of the websocket URL.
    pub websocket_password: Arc<str>,
}

/// Type of a candidate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CandidateKind {
    /// A local address.
    Host,
    /// The public side of a mapping.
    ServerReflexive,
}

/// A local candidate (component 1, UDP).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Type.
    pub kind: CandidateKind,
    /// Address to send to.
    pub address: SocketAddr,
    /// For server reflexive ones: the local address behind it (0.0.0.0:9 if that is hidden).
    pub related: Option<SocketAddr>,
    /// RFC 8445 priority.
    pub priority: u32,
    /// Foundation.
    pub foundation: String,
}

/// Outcome of asking for an in-place ICE restart (media-plane §1.8).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RestartOutcome {
    /// Signal this transport, with its generation.
    Started(LocalTransport),
    /// ICE never completed: signal the current transport, without generation.
    KeepExisting(LocalTransport),
    /// Signal no transport.
    Unavailable,
}

/// What the control plane must know about the process around it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Number of workers, 1 to [`crate::limits::MAX_WORKERS`].
    pub workers: usize,
    /// Threads of the handshake pool, at least 1.
    pub pool_threads: usize,
    /// Bound local addresses; the index is the [`crate::ids::SocketId`].
    pub locals: Vec<SocketAddr>,
    /// sha-256 fingerprint of the process's certificate.
    pub fingerprint: Fingerprint,
}

/// What the control plane wants done.
#[derive(Debug)]
pub enum ControlOutput {
    /// Put into a worker's command queue.
    Worker(WorkerId, Command),
    /// Put into a pool thread's queue.
    Pool(usize, PoolCommand),
    /// The endpoint's websocket must send this text.
    WebSocket(EndpointKey, Arc<str>),
    /// The endpoint's websocket must close.
    CloseWebSocket(EndpointKey, u16, &'static str),
    /// A media export begins, changes or ends.
    Export(ExportCommand),
    /// For observers: something about the conference changed (see [`Notice`]).
    Notice(Notice),
}

/// Facts that embedders and the demo may want to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// An endpoint is gone: expired by request or by a timer.
    EndpointExpired(ConferenceKey, EndpointId),
    /// A conference is gone.
    ConferenceExpired(ConferenceKey, MeetingId),
    /// More than [`crate::limits::FAILURES`] conferences ended by internal errors within
    /// [`crate::limits::FAILURE_PERIOD`]: drain and start anew (T80).
    Unsound,
}

//! What the threads say to each other.
//!
//! The control plane, the workers and the handshake pool share no state: they exchange these messages
//! over bounded queues. A message is addressed by process-wide keys ([`crate::ids`]), so one that comes
//! too late finds nothing and is ignored.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::capture::CaptureTap;
use crate::channel::{AudioSubscription, ReceiverVideoConstraints, SourceMapping, Topic};
use crate::export::Tap;
use crate::ids::{
    ConferenceKey, EndpointId, EndpointKey, MeetingId, Path, SourceKey, SourceName, WorkerId,
};
use crate::media::{EndpointSources, MediaFormats, VideoType};
use crate::srtp::KeyingMaterial;
use crate::stats::WorkerStats;
use crate::time::Time;
use crate::transport::ice::Credentials;
use crate::transport::secure::{Certificate, FailureReason, Fingerprint, Setup};
use crate::worker::packet::MediaPacket;

/// To a worker, from the control plane or the handshake pool.
#[derive(Debug)]
pub enum Command {
    /// A conference gets a shard on this worker. Known already: the list of shards is replaced.
    Conference(Arc<ConferenceSetup>),
    /// A conference ends; its endpoints on this worker end with it.
    RemoveConference(ConferenceKey),
    /// A new endpoint of a known conference.
    AddEndpoint(Box<EndpointSetup>),
    /// An endpoint ends.
    RemoveEndpoint(EndpointKey),
    /// Formats of an endpoint (complete, replaces).
    Formats(EndpointKey, Arc<MediaFormats>),
    /// Sources of an endpoint that may live on any worker. Goes to every shard of the conference. An
    /// empty list when the endpoint leaves.
    Sources(ConferenceKey, Arc<EndpointSources>),
    /// A video source changed its type. Goes to every shard.
    VideoType(ConferenceKey, SourceKey, VideoType),
    /// Order of endpoints for allocation (allocation spec §4.3). Goes to every shard.
    Order(ConferenceKey, Arc<[EndpointKey]>),
    /// Drop an endpoint's media of a kind.
    ForceMute {
        /// Whose.
        endpoint: EndpointKey,
        /// Audio is muted.
        audio: bool,
        /// Video is muted.
        video: bool,
    },
    /// The peer's ICE parameters.
    RemoteIce(EndpointKey, RemoteIce),
    /// Begin an in-place ICE restart with these local credentials.
    RestartIce {
        /// Whose.
        endpoint: EndpointKey,
        /// Counts from 1.
        generation: u32,
        /// New local credentials.
        credentials: Credentials,
    },
    /// A datagram of the endpoint's DTLS association to send.
    SendDtls(EndpointKey, Bytes),
    /// The DTLS handshake is complete.
    Keys(EndpointKey, Box<KeyingMaterial>),
    /// Constraints from the endpoint's bridge channel.
    ReceiverConstraints(EndpointKey, Box<ReceiverVideoConstraints>),
    /// Last-n from the channel.
    LastN(EndpointKey, i32),
    /// `initial-last-n` from signaling.
    InitialLastN(EndpointKey, i32),
    /// Audio subscription from the channel.
    AudioSubscription(EndpointKey, AudioSubscription),
    /// The endpoint's bridge channel (re)connected: emit the current state again.
    ReplayState(EndpointKey),
    /// Where the audio of a conference goes besides (complete, replaces). Goes to every shard.
    Taps(ConferenceKey, Arc<[Arc<Tap>]>),
    /// Audio for a synthetic source, to the worker of its owner.
    InjectAudio(ConferenceKey, Box<InjectedAudio>),
    /// Copy the endpoint's packets into this tap from now on; `None` = no longer.
    Capture(EndpointKey, Option<Box<CaptureTap>>),
    /// Ask the owner of a source for a keyframe at `at` (pre-emptive, allocation spec §5).
    RequestKeyframe(ConferenceKey, SourceKey, Time),
    /// No receiver of any conference gets more video sources; −1 = no limit. Holds for conferences that come later,
    /// too, and counts from each receiver's next allocation on (allocation spec §6.3).
    LastNLimit(i32),
    /// Answer with [`Event::Stats`].
    CollectStats,
    /// Conferences end, sockets close, the thread returns.
    Stop,
}

/// An Opus packet that did not come from an endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InjectedAudio {
    /// A synthetic source.
    pub source: SourceKey,
    /// RTP timestamp, 48 kHz.
    pub timestamp: u32,
    /// Payload, at most [`crate::limits::MAX_EXPORT_PAYLOAD`] bytes.
    pub payload: Bytes,
}

/// A conference as a worker's shard knows it.
#[derive(Clone, Debug)]
pub struct ConferenceSetup {
    /// Key.
    pub key: ConferenceKey,
    /// For logs.
    pub meeting_id: MeetingId,
    /// All workers that have a shard, this one included.
    pub shards: Vec<WorkerId>,
    /// The shard that detects the dominant speaker.
    pub home: WorkerId,
    /// Sender SSRC of the bridge's audio feedback.
    pub audio_ssrc: u32,
    /// Sender SSRC of the bridge's video feedback and probing.
    pub video_ssrc: u32,
}

/// A new endpoint.
#[derive(Clone, Debug)]
pub struct EndpointSetup {
    /// Its conference.
    pub conference: ConferenceKey,
    /// Key.
    pub key: EndpointKey,
    /// Id for logs and messages.
    pub id: EndpointId,
    /// Local ICE credentials. The ufrag names the worker (see [`crate::transport::ice::worker_of_ufrag`]).
    pub credentials: Credentials,
    /// Whether the bridge has the controlling role at first.
    pub controlling: bool,
    /// Rewrite SSRCs into slots.
    pub ssrc_rewriting: bool,
    /// Stamp slots with MIDs (only with `ssrc_rewriting`).
    pub mid_demux: bool,
    /// Receives only and is not announced.
    pub visitor: bool,
    /// Thread of the handshake pool that has its DTLS association.
    pub pool: usize,
}

/// The peer's side of ICE as signaled.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RemoteIce {
    /// ufrag and password, if signaled.
    pub credentials: Option<Credentials>,
    /// Candidates with literal addresses, UDP, component 1.
    pub candidates: Vec<SocketAddr>,
    /// `ice-generation` of the update; `None` = not tagged.
    pub generation: Option<u32>,
}

/// To a thread of the handshake pool, from the control plane or a worker.
#[derive(Debug)]
pub enum PoolCommand {
    /// The certificate of endpoints opened from now on; earlier ones keep theirs.
    Certificate(Arc<Certificate>),
    /// A new endpoint: no DTLS yet.
    Open {
        /// Whose.
        endpoint: EndpointKey,
        /// Where its datagrams leave.
        worker: WorkerId,
        /// Whether SCTP was negotiated.
        sctp: bool,
    },
    /// The peer's fingerprints and role.
    Remote {
        /// Whose.
        endpoint: EndpointKey,
        /// Empty = no change.
        fingerprints: Vec<Fingerprint>,
        /// The peer's `setup`.
        setup: Option<Setup>,
    },
    /// ICE has a usable path: the handshake may start.
    Writable(EndpointKey),
    /// A DTLS datagram from a validated address of the endpoint.
    Datagram(EndpointKey, Bytes),
    /// Text for the endpoint's data channel; it takes the place of one of its topic that still waits.
    Send(EndpointKey, Arc<str>, Option<Topic>),
    /// The endpoint ended.
    Close(EndpointKey),
    /// The thread returns.
    Stop,
}

/// To the control plane, from workers and the handshake pool.
#[derive(Debug)]
pub enum Event {
    /// ICE has its first usable path.
    IceConnected(EndpointKey, Path),
    /// The path that media is sent on changed.
    PathChanged(EndpointKey, Path),
    /// ICE failed for good: no path within the time limit.
    IceFailed(EndpointKey),
    /// An in-place restart of this generation ended: true = cut over.
    IceRestartEnded(EndpointKey, u32, bool),
    /// DTLS is complete.
    DtlsConnected(EndpointKey),
    /// DTLS failed.
    DtlsFailed(EndpointKey, FailureReason),
    /// The endpoint's data channel is open.
    ChannelOpened(EndpointKey),
    /// Text from the data channel.
    ChannelMessage(EndpointKey, String),
    /// The data channel closed.
    ChannelClosed(EndpointKey),
    /// So many data channels beyond the one were refused.
    ChannelsRefused(EndpointKey, u64),
    /// The endpoint became active (true) or inactive (media-plane §1.7).
    Connectivity(EndpointKey, bool),
    /// When authenticated traffic last came; sent at most every few seconds while it changes.
    Activity(EndpointKey, Time),
    /// The set of video sources selected for a receiver changed, or was asked for.
    ForwardedSources(EndpointKey, Vec<SourceName>),
    /// A receiver's effective constraints changed: (source, maximum height) of all its sources.
    EffectiveConstraints(EndpointKey, Vec<(SourceKey, i32)>),
    /// New video slot bindings of a receiver (all of them after [`Command::ReplayState`]).
    VideoSourcesMap(EndpointKey, Vec<SourceMapping>),
    /// New audio slot bindings.
    AudioSourcesMap(EndpointKey, Vec<SourceMapping>),
    /// The dominant speaker; `None` = silence begins.
    DominantSpeaker(ConferenceKey, Option<EndpointKey>),
    /// A receiver's bandwidth estimate, bits per second, for `ConnectionStats`.
    Estimate(EndpointKey, u64),
    /// A conference's shard panicked and is gone; its other shards must go too.
    ConferenceFailed(ConferenceKey, WorkerId),
    /// Answer to [`Command::CollectStats`].
    Stats(WorkerId, Box<WorkerStats>),
}

/// From worker to worker.
#[derive(Clone, Debug)]
pub enum RingMessage {
    /// A datagram that the kernel gave to the wrong worker.
    Datagram {
        /// Where it came from.
        path: Path,
        /// When.
        received: Time,
        /// The bytes.
        data: Bytes,
    },
    /// `remote` belongs to an endpoint of the sending worker (true) or no longer (false).
    Route(Path, bool),
    /// A media packet of a conference that has shards on both.
    Media(ConferenceKey, Arc<MediaPacket>),
    /// Forward the sender report of a source's encoding: all shards keep the latest.
    SenderReport {
        /// Conference.
        conference: ConferenceKey,
        /// Source.
        source: SourceKey,
        /// Encoding index.
        encoding: u8,
        /// NTP time, RTP timestamp and arrival.
        report: SenderReportClock,
    },
    /// A receiver on the sending worker needs a keyframe of a source owned by the receiving worker.
    Keyframe(ConferenceKey, SourceKey, EndpointKey),
}

/// What a sender report says about clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderReportClock {
    /// NTP time, 32.32 fixed point.
    pub ntp: u64,
    /// RTP timestamp of the same moment.
    pub rtp: u32,
    /// When it arrived.
    pub arrival: Time,
}

impl SenderReportClock {
    /// The same clock at `now`, for an RTP clock of `rate` Hz: the pair stays on its line, and no two reports made
    /// from one are equal.
    pub fn at(&self, now: Time, rate: u32) -> SenderReportClock {
        let elapsed = (now - self.arrival).as_micros();
        SenderReportClock {
            ntp: self.ntp.wrapping_add(((elapsed << 32) / 1_000_000) as u64),
            rtp: self
                .rtp
                .wrapping_add((elapsed * u128::from(rate) / 1_000_000) as u32),
            arrival: now,
        }
    }
}

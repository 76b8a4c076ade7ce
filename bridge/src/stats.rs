//! What workers report about themselves: read-only copies made on request.

use std::time::Duration;

use crate::counters::Counters;
use crate::ids::{ConferenceKey, EndpointKey, SourceName};
use crate::units::Bitrate;

/// One worker's state at a moment.
#[derive(Clone, Default, Debug)]
pub struct WorkerStats {
    /// Counters since the start.
    pub counters: Counters,
    /// Shards on this worker.
    pub conferences: usize,
    /// Its endpoints.
    pub endpoints: Vec<EndpointStats>,
    /// Time spent in turns since the start (thread CPU time where the driver knows it).
    pub busy: Duration,
}

/// One endpoint's media state.
#[derive(Clone, Debug)]
pub struct EndpointStats {
    /// Whose.
    pub endpoint: EndpointKey,
    /// Its conference.
    pub conference: ConferenceKey,
    /// ICE and DTLS are up.
    pub connected: bool,
    /// Remote address of the path in use.
    pub remote: Option<std::net::SocketAddr>,
    /// Smoothed round-trip time to it.
    pub rtt: Option<Duration>,
    /// Rate received from it.
    pub incoming: Bitrate,
    /// Rate sent to it.
    pub outgoing: Bitrate,
    /// Loss it reported of what we send, 0 to 1.
    pub outgoing_loss: f32,
    /// Loss of what it sends, 0 to 1.
    pub incoming_loss: f32,
    /// Bandwidth estimate towards it.
    pub estimate: Option<Bitrate>,
    /// What it gets of each video source.
    pub forwarded: Vec<ForwardedStats>,
    /// Packets received from it.
    pub packets_in: u64,
    /// Packets sent to it.
    pub packets_out: u64,
    /// Its media in more detail.
    pub media: MediaStats,
}

/// What an endpoint sends and gets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MediaStats {
    /// Audio came lately, be it silent.
    pub sending_audio: bool,
    /// Video came lately.
    pub sending_video: bool,
    /// Packets that came in the sender's numbering, since its start.
    pub received: u64,
    /// Packets missing in it.
    pub lost: u64,
    /// Packets that it reported as lost of what it was sent, since its start.
    pub reported_lost: u64,
    /// It is sent more than the estimate, on purpose.
    pub oversending: bool,
    /// Something that it wants is not sent for lack of bandwidth.
    pub has_suspended: bool,
    /// It sent REMB although that was not negotiated.
    pub spurious_remb: bool,
}

/// One forwarded source.
#[derive(Clone, Debug)]
pub struct ForwardedStats {
    /// Which.
    pub source: SourceName,
    /// Layer index wanted; −1 = suspended.
    pub target: i32,
    /// Layer index that would be best without limits.
    pub ideal: i32,
    /// Height of the target layer, −1 = unknown.
    pub height: i32,
}

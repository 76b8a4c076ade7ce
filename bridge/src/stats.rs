//! What workers report about themselves: read-only copies made on request.

use std::time::Duration;

use crate::allocation::Reason;
use crate::counters::Counters;
use crate::ids::{ConferenceKey, EndpointKey, SourceName};
use crate::timeline::{Happened, Stall};
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
    /// What was noted for its timeline since the last report.
    pub happened: Vec<Happened>,
    /// How much more there was to note.
    pub missed: u32,
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
    /// Packets that it asked for again, since its start.
    pub nacks_in: u64,
    /// Packets that it was sent again.
    pub resent: u64,
    /// Packets that it was asked for again.
    pub nacks_out: u64,
    /// Packets that it sent again.
    pub repaired: u64,
    /// Its requests for keyframes.
    pub keyframe_requests: u64,
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
    /// Why no more of it is wanted.
    pub reason: Reason,
    /// What became of it.
    pub sending: Sending,
}

/// What becomes of a source on its way to one receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sending {
    /// Nothing of it is to be sent.
    Nothing,
    /// It has no outgoing stream: all slots of the receiver are taken.
    NoSlot,
    /// It is to be sent; the first packet was not sent yet.
    Beginning,
    /// It is to be sent, and stands still.
    Stalled(Stall),
    /// It is sent.
    Sent,
}

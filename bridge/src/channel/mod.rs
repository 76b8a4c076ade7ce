//! The bridge channel: messages between a client and the bridge (bridge-channel spec).

use std::collections::BTreeMap;

use crate::ids::{EndpointId, SourceName};
use crate::media::VideoType;

/// What a receiver may be sent of a source.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct VideoConstraints {
    /// Smaller picture dimension at most; −1 = no limit, 0 = nothing.
    pub max_height: i32,
    /// Frames per second at most; −1 = no limit, 0 = nothing.
    pub max_frame_rate: f64,
}

/// `ReceiverVideoConstraints`: a field that is `None` keeps its value.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct ReceiverVideoConstraints {
    /// Number of video sources at most; negative = no limit.
    pub last_n: Option<i32>,
    /// Priority list.
    pub selected_sources: Option<Vec<SourceName>>,
    /// Highest priority list.
    pub on_stage_sources: Option<Vec<SourceName>>,
    /// For sources without an entry in `constraints`.
    pub default_constraints: Option<VideoConstraints>,
    /// Per source; replaces the whole previous map.
    pub constraints: Option<BTreeMap<SourceName, VideoConstraints>>,
    /// Bandwidth to assume instead of the estimate; negative = none.
    pub assumed_bandwidth_bps: Option<i64>,
}

/// `ReceiverAudioSubscription`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AudioSubscription {
    /// All regular sources.
    pub all: bool,
    /// These sources.
    pub include: Vec<SourceName>,
    /// Not these sources.
    pub exclude: Vec<SourceName>,
}

/// One entry of `VideoSourcesMap` or `AudioSourcesMap`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceMapping {
    /// Source name.
    pub source: SourceName,
    /// Its owner.
    pub owner: EndpointId,
    /// SSRC the receiver gets it on.
    pub ssrc: u32,
    /// SSRC of its retransmissions (video).
    pub rtx: Option<u32>,
    /// What it shows (video).
    pub video_type: Option<VideoType>,
    /// MID stamped on its packets, if the receiver demultiplexes by MID.
    pub mid: Option<String>,
}

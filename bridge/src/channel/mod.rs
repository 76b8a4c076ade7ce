//! The bridge channel: messages between a client and the bridge (bridge-channel spec).
//!
//! [`ClientMessage::parse`] turns a client's text into a typed message or a reason for dropping it;
//! [`ServerMessage::to_json`] writes ours. What a client says to other clients passes through both: it is
//! read, kept as checked members and written again with the true sender (T64). Transport, routing and
//! what the messages cause are elsewhere.

mod budget;
mod client;
mod json;
mod pending;
mod queue;
mod server;

use std::collections::BTreeMap;
use std::fmt;

use crate::ids::{EndpointId, SourceName};
use crate::media::VideoType;

pub use budget::{Admission, FanOutBudget, MessageBudget};
pub use client::{ClientMessage, ForwardedBody};
pub use pending::{Pending, Topic};
pub use queue::MessageQueue;
pub use server::ServerMessage;

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

/// A key or class name as a peer wrote it, shortened for logs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyName(Box<str>);

impl KeyName {
    /// Characters kept.
    const MAX_CHARS: usize = 48;

    fn new(name: &str) -> KeyName {
        let end = name
            .char_indices()
            .nth(KeyName::MAX_CHARS)
            .map_or(name.len(), |(at, _)| at);
        KeyName(name.get(..end).unwrap_or_default().into())
    }

    /// The beginning of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_debug())
    }
}

/// Why a message from a client was dropped. The channel stays open (bridge-channel §2.4).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MessageError {
    /// Longer than [`crate::limits::MAX_MESSAGE_BYTES`].
    #[error("message too long")]
    TooLong,
    /// Not JSON; the byte where it went wrong.
    #[error("malformed JSON at byte {0}")]
    Malformed(usize),
    /// JSON, but not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// Nested deeper than [`crate::limits::MAX_JSON_DEPTH`].
    #[error("JSON nested too deeply")]
    TooDeep,
    /// An object with more than [`crate::limits::MAX_JSON_MEMBERS`] members.
    #[error("JSON object with too many members")]
    TooManyMembers,
    /// A list with more than [`crate::limits::MAX_LIST_ITEMS`] elements.
    #[error("list {0:?} is too long")]
    ListTooLong(&'static str),
    /// A string longer than [`crate::limits::MAX_JSON_STRING_BYTES`].
    #[error("JSON string too long")]
    StringTooLong,
    /// A number longer than [`crate::limits::MAX_JSON_NUMBER_CHARS`].
    #[error("JSON number too long")]
    NumberTooLong,
    /// The same key twice in one object.
    #[error("duplicate key \"{0}\"")]
    DuplicateKey(KeyName),
    /// No `colibriClass`, or not a string.
    #[error("no colibriClass")]
    NoClass,
    /// A `colibriClass` that is not known.
    #[error("unknown colibriClass \"{0}\"")]
    UnknownClass(KeyName),
    /// A key that this type does not have.
    #[error("unknown key \"{0}\"")]
    UnknownKey(KeyName),
    /// A key that this type must have.
    #[error("missing key {0:?}")]
    MissingKey(&'static str),
    /// A value of a wrong type, or one that is not allowed.
    #[error("bad value of {0:?}")]
    BadValue(&'static str),
}

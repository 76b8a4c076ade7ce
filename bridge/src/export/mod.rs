//! Media export: the audio of a conference for a recorder, transcriber or translator, as media-json over a websocket
//! that the bridge opens (colibri2 spec §3.5).
//!
//! [`Connect`] is what signaling asks for; the control plane keeps one export for each. Workers put packets into its
//! [`Tap`]; a [`Session`] makes events of them and reads what the peer says. The session is sans-IO: whoever embeds the
//! bridge gets [`ExportCommand`]s and drives one session for each export with a websocket of its own.

mod events;
mod session;
mod tap;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use self::session::{Action, Session, SessionCounters, SessionOptions};
pub use self::tap::{Exported, Tap};

use crate::ids::{ConferenceKey, ExportKey, MeetingId, SourceName};

/// What the peer of an export is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExportKind {
    /// It records.
    Recorder,
    /// It answers with text.
    Transcriber,
    /// It answers with audio.
    Translator,
}

impl ExportKind {
    /// As it is signaled.
    pub const fn name(self) -> &'static str {
        match self {
            ExportKind::Recorder => "recorder",
            ExportKind::Transcriber => "transcriber",
            ExportKind::Translator => "translator",
        }
    }

    /// From what is signaled.
    pub fn from_name(name: &str) -> Option<ExportKind> {
        [
            ExportKind::Recorder,
            ExportKind::Transcriber,
            ExportKind::Translator,
        ]
        .into_iter()
        .find(|kind| kind.name() == name)
    }
}

/// How the peer is watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pings {
    /// Time between two pings.
    pub interval: Duration,
    /// The connection is given up when no pong came for so long.
    pub timeout: Duration,
}

/// One export as it is signaled.
#[derive(Clone, PartialEq, Eq)]
pub struct ExportSettings {
    /// Names it in its conference.
    pub id: String,
    /// Where to connect: `ws` or `wss`.
    pub url: String,
    /// What the peer is.
    pub kind: ExportKind,
    /// Whether audio is exported.
    pub audio: bool,
    /// HTTP headers of the request that opens the websocket, checked: see [`is_header`].
    pub headers: Vec<(String, String)>,
    /// Pings, if wanted.
    pub pings: Option<Pings>,
    /// Names of the sources that are exported; empty = all.
    pub exports: Vec<SourceName>,
    /// Names of the synthetic sources that the peer shall send.
    pub requests: Vec<SourceName>,
}

impl std::fmt::Debug for ExportSettings {
    /// Without the headers, which hold secrets (T63).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportSettings")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("audio", &self.audio)
            .field("exports", &self.exports)
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

/// What to do with an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectAction {
    /// It must not exist, or end in the same request.
    Create,
    /// It must exist; only its lists of sources may differ.
    Update,
    /// End it if it exists.
    Expire,
}

/// One `connect` of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connect {
    /// What to do.
    pub action: ConnectAction,
    /// Video is asked for, which is not supported.
    pub video: bool,
    /// The whole description.
    pub settings: ExportSettings,
}

/// Why the connects of a request are refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The bridge can not do that; the text names it.
    #[error("{0}")]
    Unsupported(String),
    /// The request does not fit to what is there.
    #[error("{0}")]
    Invalid(String),
}

/// For whoever runs the sessions.
#[derive(Clone, Debug)]
pub enum ExportCommand {
    /// Begin a session.
    Open(Box<ExportSetup>),
    /// The lists of exported and requested sources changed.
    Update(ExportKey, Vec<SourceName>, Vec<SourceName>),
    /// End the session.
    Close(ExportKey),
}

/// A new export.
#[derive(Clone, Debug)]
pub struct ExportSetup {
    /// Its key.
    pub key: ExportKey,
    /// Its conference.
    pub conference: ConferenceKey,
    /// The conference's meeting id.
    pub meeting_id: MeetingId,
    /// As signaled.
    pub settings: ExportSettings,
    /// Where its packets come.
    pub tap: Arc<Tap>,
}

/// What a peer says that concerns the conference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// Text for all participants: a JSON object.
    Transcript(String),
    /// An Opus packet for a synthetic source.
    Media {
        /// The source's name.
        tag: String,
        /// RTP timestamp, 48 kHz.
        timestamp: u32,
        /// The packet's payload.
        payload: bytes::Bytes,
    },
    /// A synthetic source begins or ceases to speak.
    Sending {
        /// The source's name.
        tag: String,
        /// It begins.
        sending: bool,
        /// RTP timestamp of the first packet, or one past the last.
        timestamp: u32,
    },
}

/// Whether an HTTP header may be sent: no other bytes than a header may have (RFC 9110 §5.5), so that nothing can be
/// smuggled in (T62).
pub fn is_header(name: &str, value: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
        && !value.chars().any(|c| c.is_control() && c != '\t')
}

//! `conference-modify` and `conference-modified` (colibri2 spec §1.3), whatever they are written in.
//!
//! What the bridge never uses is not here; readers of JSON or XML skip it.

use causeway_bridge::control::api::{LocalTransport, NewSource, RemoteTransport};
use causeway_bridge::export::Connect;
use causeway_bridge::ids::{EndpointId, MeetingId};
use causeway_bridge::media::{Extension, MediaFormats, PayloadType};

/// A request: creates, changes or ends a conference and its endpoints.
#[derive(Clone, PartialEq, Debug)]
pub struct ConferenceModify {
    /// Names the conference.
    pub meeting_id: MeetingId,
    /// A bare JID, for logs.
    pub name: Option<String>,
    /// The conference must not exist yet.
    pub create: bool,
    /// End the conference after everything else.
    pub expire: bool,
    /// Show the conference to collectors of statistics; read when created, true if absent.
    pub rtcstats_enabled: bool,
    /// Endpoints to create, change or end, in order.
    pub endpoints: Vec<EndpointModify>,
    /// Relays, which are refused.
    pub relays: Vec<RelayModify>,
    /// Media exports to begin, change or end.
    pub connects: Vec<Connect>,
}

/// What to do with one endpoint. Absent parts stay as they are.
#[derive(Clone, PartialEq, Debug)]
pub struct EndpointModify {
    /// Names the endpoint in its conference.
    pub id: EndpointId,
    /// It must not exist yet.
    pub create: bool,
    /// End it; everything else is ignored.
    pub expire: bool,
    /// For logs; read when created.
    pub stats_id: Option<String>,
    /// Transcribers shall tell the voices in its audio apart; read when created.
    pub diarize: bool,
    /// Its `muc-role` is `visitor`; read when created.
    pub visitor: bool,
    /// Formats per kind of media.
    pub medias: Vec<Media>,
    /// Transport.
    pub transport: Option<TransportModify>,
    /// All its sources; replaces what was known.
    pub sources: Option<Vec<NewSource>>,
    /// Kinds to drop on arrival.
    pub force_mute: Option<ForceMute>,
    /// Last-n until the client sets its own; negative = no limit.
    pub initial_last_n: Option<i32>,
    /// What the client can do; read when created.
    pub capabilities: Capabilities,
}

impl EndpointModify {
    /// Whether the request does more than change flags: only one such endpoint may be in a request, and it
    /// must exist (colibri2 spec §3.1).
    pub fn is_substantial(&self) -> bool {
        self.create || !self.medias.is_empty() || self.transport.is_some() || self.sources.is_some()
    }

    /// The formats of all its media, if there are any: a later media wins over an earlier one.
    pub fn formats(&self) -> Option<MediaFormats> {
        if self.medias.is_empty() {
            return None;
        }
        let mut formats = MediaFormats::default();
        for media in &self.medias {
            formats
                .payload_types
                .extend(media.payload_types.iter().cloned());
            for (extension, id) in &media.extensions {
                formats.extensions.set(*extension, *id);
            }
            formats.extmap_allow_mixed = media.extmap_allow_mixed;
        }
        Some(formats)
    }
}

/// Formats of one kind of media.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Media {
    /// Payload types; none if the media is neither audio nor video.
    pub payload_types: Vec<PayloadType>,
    /// Known header extensions with their ids.
    pub extensions: Vec<(Extension, u8)>,
    /// One- and two-byte extension headers may be mixed.
    pub extmap_allow_mixed: bool,
}

/// Transport of an endpoint.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TransportModify {
    /// The bridge is the controlling ICE agent; read when created.
    pub ice_controlling: bool,
    /// Restart ICE in place.
    pub ice_restart: IceRestart,
    /// The peer's side.
    pub remote: Option<RemoteTransport>,
    /// Data channels over SCTP.
    pub sctp: Option<Sctp>,
}

/// Whether to restart ICE, and what to answer if it never connected.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum IceRestart {
    /// No restart.
    #[default]
    No,
    /// Restart; the answer has the current transport if ICE never connected.
    Yes,
    /// Restart if ICE is connected; the answer has no transport otherwise.
    IfConnected,
}

/// Wishes about SCTP.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sctp {
    /// Port that the bridge shall use.
    pub port: Option<u64>,
    /// Role that the bridge shall play.
    pub role: Option<SctpRole>,
}

/// Who opens the SCTP association.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SctpRole {
    /// Opens it.
    Client,
    /// Waits.
    Server,
}

/// Kinds of media to drop on arrival.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ForceMute {
    /// Audio.
    pub audio: bool,
    /// Video.
    pub video: bool,
}

/// What a client can do. Unknown capabilities are ignored.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Capabilities {
    /// `source-names`, mandatory.
    pub source_names: bool,
    /// `ssrc-rewriting`.
    pub ssrc_rewriting: bool,
    /// `rtp-mid-demux`.
    pub mid_demux: bool,
    /// `private-address-connectivity`.
    pub private_addresses: bool,
}

impl Capabilities {
    /// Adds the capability with that name.
    pub fn add(&mut self, name: &str) {
        match name {
            "source-names" => self.source_names = true,
            "ssrc-rewriting" => self.ssrc_rewriting = true,
            "rtp-mid-demux" => self.mid_demux = true,
            "private-address-connectivity" => self.private_addresses = true,
            _ => {}
        }
    }
}

/// A relay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayModify {
    /// Names the bridge at the other end.
    pub id: String,
}

/// The answer to a request that was carried out.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ConferenceModified {
    /// One for each endpoint of the request, in order.
    pub endpoints: Vec<EndpointModified>,
    /// The bridge's own SSRCs, if the conference or an endpoint was created.
    pub feedback: Option<FeedbackSources>,
}

/// What became of an endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointModified {
    /// Names the endpoint.
    pub id: EndpointId,
    /// It is gone.
    pub expire: bool,
    /// The bridge's side of its transport, if it is new.
    pub transport: Option<TransportModified>,
}

/// The bridge's side of a transport.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransportModified {
    /// ICE and DTLS.
    pub local: LocalTransport,
    /// URLs of the bridge channel, with their password.
    pub web_sockets: Vec<String>,
    /// SCTP, which the request asked for, is there: port 5000, the bridge waits.
    pub sctp: bool,
}

/// SSRCs from which the bridge sends its RTCP: sources `jvb-a0` and `jvb-v0`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeedbackSources {
    /// Of audio.
    pub audio_ssrc: u32,
    /// Of video.
    pub video_ssrc: u32,
}

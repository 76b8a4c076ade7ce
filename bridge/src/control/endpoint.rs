//! One endpoint as the control plane sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::Span;

use super::api::EndpointOptions;
use super::channel_state::ChannelState;
use super::transport_state::TransportState;

use crate::allocation::video_available;
use crate::channel::AudioSubscription;
use crate::ids::{ConferenceKey, EndpointId, EndpointKey, SourceName, WorkerId};
use crate::limits::MAX_SSRCS_PER_ENDPOINT;
use crate::media::{EndpointSources, MediaFormats, MediaKind, SourceDescription, VideoType};
use crate::messages::EndpointSetup;
use crate::time::Time;
use crate::timeline::Timeline;
use crate::transport::secure::Fingerprint;

/// An endpoint: what was signaled, what its client told, and what workers reported.
pub(super) struct Endpoint {
    pub(super) key: EndpointKey,
    /// Log lines about it belong here: they get its ids and those of its conference, whatever their level.
    pub(super) span: Span,
    pub(super) conference: ConferenceKey,
    /// Worker that has its transport and receives for it.
    pub(super) worker: WorkerId,
    /// Thread of the handshake pool.
    pub(super) pool: usize,
    pub(super) options: EndpointOptions,
    pub(super) created: Time,
    /// Authenticated traffic or consent, the latest known.
    pub(super) last_activity: Option<Time>,
    /// Of the certificate that it was told.
    pub(super) fingerprint: Fingerprint,
    pub(super) transport: TransportState,
    pub(super) websocket_password: Arc<str>,
    pub(super) channel: ChannelState,
    pub(super) formats: Arc<MediaFormats>,
    /// As the workers know it.
    pub(super) sources: Arc<EndpointSources>,
    /// Video types that the client told, also for sources that are not signaled (yet).
    pub(super) told_types: BTreeMap<SourceName, VideoType>,
    pub(super) force_mute: ForceMute,
    /// Sources that this receiver has on stage.
    pub(super) on_stage: Vec<SourceName>,
    /// Sources that this receiver selected.
    pub(super) selected: Vec<SourceName>,
    /// Bandwidth towards it, bits per second.
    pub(super) estimate: Option<u64>,
    /// Round-trip time to it.
    pub(super) rtt: Option<Duration>,
    /// When the next `ConnectionStats` are due.
    pub(super) stats_due: Option<Time>,
    /// When it should have a bridge channel.
    pub(super) channel_check: Option<Time>,
    /// What it told about the audio that it wants.
    pub(super) subscription: Option<AudioSubscription>,
    /// What happened to it lately.
    pub(super) timeline: Timeline,
}

/// Which kinds of media are dropped on arrival.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct ForceMute {
    pub(super) audio: bool,
    pub(super) video: bool,
}

impl Endpoint {
    /// Id in its conference.
    pub(super) fn id(&self) -> &EndpointId {
        &self.options.id
    }

    /// What its worker must know to serve it.
    pub(super) fn setup(&self) -> EndpointSetup {
        EndpointSetup {
            conference: self.conference,
            key: self.key,
            id: self.options.id.clone(),
            credentials: self.transport.credentials().clone(),
            controlling: self.options.ice_controlling,
            ssrc_rewriting: self.options.ssrc_rewriting,
            mid_demux: self.options.ssrc_rewriting && self.options.mid_demux,
            visitor: self.options.visitor,
            pool: self.pool,
        }
    }

    /// Its video sources.
    pub(super) fn video_sources(&self) -> impl Iterator<Item = &SourceDescription> {
        self.sources
            .sources
            .iter()
            .filter(|source| source.kind == MediaKind::Video)
    }

    /// Whether some video source is not muted (allocation spec §4.2).
    pub(super) fn has_video_available(&self) -> bool {
        video_available(self.video_sources().map(|source| source.video_type))
    }

    /// Remembers what the client says a source shows; false if it talks of too many sources.
    pub(super) fn remember_type(&mut self, name: &SourceName, video_type: VideoType) -> bool {
        if !self.told_types.contains_key(name) && self.told_types.len() >= MAX_SSRCS_PER_ENDPOINT {
            let sources = &self.sources.sources;
            self.told_types
                .retain(|told, _| sources.iter().any(|source| source.name == *told));
            if self.told_types.len() >= MAX_SSRCS_PER_ENDPOINT {
                return false;
            }
        }
        self.told_types.insert(name.clone(), video_type);
        true
    }
}

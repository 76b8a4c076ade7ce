//! Questions that change nothing.

use super::api::LocalTransport;
use super::{Control, ControlCounters};
use crate::ids::{ConferenceKey, EndpointId, EndpointKey, MeetingId, WorkerId};
use crate::stats::WorkerStats;
use crate::transport::ice::local_candidates;

impl Control {
    /// All conferences.
    pub fn conferences(&self) -> impl Iterator<Item = ConferenceKey> + '_ {
        self.conferences.keys().copied()
    }

    /// The conference with that meeting id.
    pub fn find_conference(&self, meeting: &MeetingId) -> Option<ConferenceKey> {
        self.meetings.get(meeting).copied()
    }

    /// A conference's meeting id.
    pub fn meeting_id(&self, conference: ConferenceKey) -> Option<&MeetingId> {
        self.conferences
            .get(&conference)
            .map(|conference| &conference.options.meeting_id)
    }

    /// Whether a conference is shown to collectors of statistics.
    pub fn rtcstats(&self, conference: ConferenceKey) -> bool {
        self.conferences
            .get(&conference)
            .is_some_and(|conference| conference.rtcstats)
    }

    /// A conference's local id: its key in lower-case hexadecimal, as in websocket URLs.
    pub fn local_id(&self, conference: ConferenceKey) -> String {
        conference.to_string()
    }

    /// SSRCs of the bridge's own (audio, video) feedback in that conference.
    pub fn feedback_ssrcs(&self, conference: ConferenceKey) -> Option<(u32, u32)> {
        let conference = self.conferences.get(&conference)?;
        Some((conference.audio_ssrc, conference.video_ssrc))
    }

    /// Number of a conference's endpoints, visitors included.
    pub fn endpoint_count(&self, conference: ConferenceKey) -> usize {
        self.conferences
            .get(&conference)
            .map_or(0, |conference| conference.members.len())
    }

    /// A conference's endpoints, in the order of their ids.
    pub fn endpoints(&self, conference: ConferenceKey) -> impl Iterator<Item = EndpointKey> + '_ {
        self.conferences
            .get(&conference)
            .into_iter()
            .flat_map(|conference| conference.members.values().copied())
    }

    /// The endpoint with that id in that conference.
    pub fn find_endpoint(&self, conference: ConferenceKey, id: &EndpointId) -> Option<EndpointKey> {
        self.conferences.get(&conference)?.members.get(id).copied()
    }

    /// An endpoint's id.
    pub fn endpoint_id(&self, endpoint: EndpointKey) -> Option<&EndpointId> {
        self.endpoints.get(&endpoint).map(|endpoint| endpoint.id())
    }

    /// The conference that an endpoint is in.
    pub fn conference_of(&self, endpoint: EndpointKey) -> Option<ConferenceKey> {
        self.endpoints
            .get(&endpoint)
            .map(|endpoint| endpoint.conference)
    }

    /// Whether an endpoint only receives.
    pub fn is_visitor(&self, endpoint: EndpointKey) -> bool {
        self.endpoints
            .get(&endpoint)
            .is_some_and(|endpoint| endpoint.options.visitor)
    }

    /// Whether an endpoint has SCTP for data channels.
    pub fn uses_sctp(&self, endpoint: EndpointKey) -> bool {
        self.endpoints
            .get(&endpoint)
            .is_some_and(|endpoint| endpoint.options.sctp)
    }

    /// The bridge's side of an endpoint's transport as to be signaled: of the ICE session in use.
    pub fn local_transport(&self, endpoint: EndpointKey) -> Option<LocalTransport> {
        let endpoint = self.endpoints.get(&endpoint)?;
        let allow_private = endpoint.options.private_addresses;
        Some(LocalTransport {
            credentials: endpoint.transport.credentials().clone(),
            fingerprint: endpoint.fingerprint.clone(),
            setup: endpoint.transport.local_setup(),
            candidates: local_candidates(&self.config.ice, &self.env.locals, allow_private),
            ice_generation: None,
            sctp: endpoint.options.sctp,
            websocket_password: endpoint.websocket_password.clone(),
        })
    }

    /// The dominant speaker; `None` = nobody was elected yet or is still here.
    pub fn dominant_speaker(&self, conference: ConferenceKey) -> Option<EndpointKey> {
        self.conferences.get(&conference)?.speech.dominant()
    }

    /// Non-visitor endpoints, most recent speaker first (allocation spec §4.3).
    pub fn speech_order(&self, conference: ConferenceKey) -> &[EndpointKey] {
        self.conferences
            .get(&conference)
            .map_or(&[], |conference| conference.speech.by_speech())
    }

    /// The same, those with video available first: the order of allocation.
    pub fn last_n_order(&self, conference: ConferenceKey) -> &[EndpointKey] {
        self.conferences
            .get(&conference)
            .map_or(&[], |conference| conference.speech.last_n_order())
    }

    /// Whether nobody speaks right now.
    pub fn is_silent(&self, conference: ConferenceKey) -> bool {
        self.conferences
            .get(&conference)
            .is_some_and(|conference| conference.silence)
    }

    /// Number of conferences.
    pub fn conference_count(&self) -> usize {
        self.conferences.len()
    }

    /// Number of endpoints of all conferences, visitors included.
    pub fn endpoint_count_total(&self) -> usize {
        self.endpoints.len()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> ControlCounters {
        ControlCounters {
            data_channel_messages_sent: self.outputs.data_channel_messages,
            ..self.counters
        }
    }

    /// A worker's latest answer to [`Control::collect_stats`].
    pub fn worker_stats(&self, worker: WorkerId) -> Option<&WorkerStats> {
        self.stats.get(&worker).map(|report| &report.stats)
    }

    /// Finds the endpoint that a websocket URL belongs to: its path names the conference by its local id
    /// and the endpoint, its query has the password. `None` says no more than that it must be refused
    /// (bridge-channel spec §3.4).
    pub fn authorise(
        &self,
        local_conference_id: &str,
        endpoint_id: &str,
        password: &str,
    ) -> Option<EndpointKey> {
        let key = ConferenceKey(u64::from_str_radix(local_conference_id, 16).ok()?);
        if self.local_id(key) != local_conference_id {
            return None;
        }
        let endpoint = self.find_endpoint(key, &EndpointId::from(endpoint_id))?;
        let expected = &self.endpoints.get(&endpoint)?.websocket_password;
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), password.as_bytes())
            .ok()
            .map(|()| endpoint)
    }
}

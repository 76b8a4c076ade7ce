//! Conferences and endpoints come and go: where they are placed, and what the others hear of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{error_span, info};

use super::api::{ConferenceOptions, ControlError, EndpointOptions, Notice};
use super::channel_state::ChannelState;
use super::conference::Conference;
use super::endpoint::{Endpoint, ForceMute};
use super::transport_state::{DtlsState, IceState, TransportState};
use super::{Control, Timer, worker};
use crate::export::ExportCommand;
use crate::ids::{ConferenceKey, EndpointKey, WorkerId};
use crate::media::EndpointSources;
use crate::messages::{Command, PoolCommand};
use crate::time::Time;
use crate::timeline::{Timeline, What};
use crate::transport::ice::Credentials;

/// Characters of a websocket password (bridge-channel spec §3.3).
const WEBSOCKET_PASSWORD: usize = 24;

impl Control {
    /// Creates a conference on the least loaded worker.
    ///
    /// # Errors
    ///
    /// [`ControlError::ConferenceExists`], or a limit.
    pub fn create_conference(
        &mut self,
        now: Time,
        options: ConferenceOptions,
    ) -> Result<ConferenceKey, ControlError> {
        self.check_new_conference(&options)?;
        let key = loop {
            let key = ConferenceKey(self.random.u64());
            if !self.conferences.contains_key(&key) {
                break key;
            }
        };
        let home = self.least_loaded(key);
        let audio_ssrc = self.random.u32();
        let video_ssrc = loop {
            let ssrc = self.random.u32();
            if ssrc != audio_ssrc {
                break ssrc;
            }
        };
        let recent = self.config.audio.recent_speakers;
        let conference = Conference::new(now, key, options, home, (audio_ssrc, video_ssrc), recent);
        info!(parent: &conference.span, worker = home.0, "create_conf: conference created");
        self.outputs
            .worker(home, Command::Conference(Arc::new(conference.setup())));
        self.meetings
            .insert(conference.options.meeting_id.clone(), key);
        self.conferences.insert(key, conference);
        self.counters.conferences_created += 1;
        self.start_expiry(now);
        Ok(key)
    }

    /// Whether a conference is shown to collectors of statistics; it is unless this says otherwise.
    pub fn set_rtcstats(&mut self, conference: ConferenceKey, enabled: bool) {
        if let Some(conference) = self.conferences.get_mut(&conference) {
            conference.rtcstats = enabled;
        }
    }

    /// Ends a conference with all its endpoints; nothing happens if it does not exist.
    pub fn expire_conference(&mut self, now: Time, conference: ConferenceKey) {
        self.remove_conference(now, conference, 1001, "endpoint closed");
    }

    /// Adds an endpoint.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoConference`], [`ControlError::EndpointExists`], a malformed id, or a limit.
    pub fn create_endpoint(
        &mut self,
        now: Time,
        conference: ConferenceKey,
        options: EndpointOptions,
    ) -> Result<EndpointKey, ControlError> {
        self.check_new_endpoint(Some(conference), &options)?;
        let conference = self
            .conferences
            .get_mut(&conference)
            .ok_or(ControlError::NoConference)?;

        self.last_endpoint += 1;
        let key = EndpointKey(self.last_endpoint);
        let worker = conference.place(&self.loads, self.config.net.spill_after);
        let credentials =
            Credentials::generate(&mut self.random, &self.config.ice.ufrag_prefix, worker);
        let endpoint = Endpoint {
            key,
            span: error_span!(parent: &conference.span, "endpoint", endpoint = %options.id),
            conference: conference.key,
            worker,
            pool: usize::try_from(key.0 % self.env.pool_threads as u64).unwrap_or(0),
            created: now,
            last_activity: None,
            fingerprint: self.env.fingerprint.clone(),
            transport: TransportState::new(credentials),
            websocket_password: self.random.alphanumeric(WEBSOCKET_PASSWORD).into(),
            channel: ChannelState::new(),
            formats: Arc::default(),
            sources: Arc::new(EndpointSources {
                endpoint: key,
                id: options.id.clone(),
                diarize: options.diarize,
                sources: Vec::new(),
            }),
            told_types: Default::default(),
            force_mute: ForceMute::default(),
            on_stage: Vec::new(),
            selected: Vec::new(),
            estimate: None,
            rtt: None,
            stats_due: self
                .config
                .channel
                .connection_stats
                .then(|| now + self.config.channel.connection_stats_interval),
            channel_check: None,
            subscription: None,
            timeline: Timeline::default(),
            options,
        };
        info!(
            parent: &endpoint.span,
            stats_id = endpoint.options.stats_id.as_deref().map(|id| tracing::field::display(id.escape_debug())),
            worker = worker.0,
            visitor = endpoint.options.visitor,
            "Created new endpoint"
        );

        let conference = conference.key;
        self.open_shard(conference, worker);
        self.outputs
            .worker(worker, Command::AddEndpoint(Box::new(endpoint.setup())));
        let open = PoolCommand::Open {
            endpoint: key,
            worker,
            sctp: endpoint.options.sctp,
        };
        self.outputs.pool(endpoint.pool, open);
        if let Some(conference) = self.conferences.get_mut(&conference) {
            conference.members.insert(endpoint.id().clone(), key);
            *conference.shards.entry(worker).or_default() += 1;
            if !endpoint.options.visitor {
                conference.speech.join(key, false);
            }
        }
        if let Some(load) = self.loads.get_mut(usize::from(worker.0)) {
            *load += 1;
        }
        self.timers.extend(
            endpoint
                .stats_due
                .map(|due| (due, Timer::ConnectionStats(key))),
        );
        let visitor = endpoint.options.visitor;
        self.endpoints.insert(key, endpoint);
        self.note(now, key, What::Created);
        self.counters.endpoints_created += 1;
        self.counters.visitors_created += u64::from(visitor);
        self.publish_order(conference);
        Ok(key)
    }

    /// Ends an endpoint; nothing happens if it does not exist.
    pub fn expire_endpoint(&mut self, now: Time, endpoint: EndpointKey) {
        if let Some(conference) = self.conference_of(endpoint) {
            self.remove_endpoints(now, conference, &[endpoint]);
        }
    }

    /// The worker with the fewest endpoints; among equals the key decides, so that conferences created in
    /// a row do not pile up on the first.
    fn least_loaded(&self, key: ConferenceKey) -> WorkerId {
        let workers = self.loads.len() as u64;
        let rank =
            |index: usize| (index as u64).wrapping_add(key.0 % workers.max(1)) % workers.max(1);
        let best = self
            .loads
            .iter()
            .enumerate()
            .min_by_key(|(index, load)| (**load, rank(*index)));
        worker(best.map_or(0, |(index, _)| index))
    }

    /// Gives a conference a shard on a worker if it has none: all shards learn the new list, and the new
    /// one everything that the others know.
    fn open_shard(&mut self, conference: ConferenceKey, worker: WorkerId) {
        let Some(conference) = self.conferences.get_mut(&conference) else {
            return;
        };
        if conference.shards.contains_key(&worker) {
            return;
        }
        conference.shards.insert(worker, 0);
        let setup = Arc::new(conference.setup());
        self.outputs
            .shards(conference, || Command::Conference(Arc::clone(&setup)));
        for member in conference.members.values() {
            let sources = self.endpoints.get(member).map(|member| &member.sources);
            if let Some(sources) = sources.filter(|sources| !sources.sources.is_empty()) {
                self.outputs.worker(
                    worker,
                    Command::Sources(conference.key, Arc::clone(sources)),
                );
            }
        }
        if !conference.exports.is_empty() {
            let taps = super::exports::taps(&conference.exports);
            self.outputs
                .worker(worker, Command::Taps(conference.key, taps));
        }
        if !conference.order.is_empty() {
            self.outputs.worker(
                worker,
                Command::Order(conference.key, Arc::clone(&conference.order)),
            );
        }
    }

    /// Tells the shards the order of endpoints for allocation if it changed (allocation spec §4.4).
    pub(super) fn publish_order(&mut self, conference: ConferenceKey) {
        let Some(conference) = self.conferences.get_mut(&conference) else {
            return;
        };
        if *conference.order != *conference.speech.last_n_order() {
            conference.order = conference.speech.last_n_order().into();
            let conference = &*conference;
            self.outputs.shards(conference, || {
                Command::Order(conference.key, Arc::clone(&conference.order))
            });
        }
    }

    /// Ends endpoints of one conference: together, so that the others hear of it once (F12).
    pub(super) fn remove_endpoints(&mut self, now: Time, key: ConferenceKey, gone: &[EndpointKey]) {
        let mut changed = BTreeSet::new();
        let mut recent_changed = false;
        for endpoint in gone {
            let Some(conference) = self.conferences.get_mut(&key) else {
                return;
            };
            let Some(endpoint) = self.endpoints.remove(endpoint) else {
                continue;
            };
            info!(
                parent: &endpoint.span,
                lifetime = ?now.since(endpoint.created),
                "Expiring endpoint"
            );
            conference.members.remove(endpoint.id());
            if let Some(count) = conference.shards.get_mut(&endpoint.worker) {
                *count = count.saturating_sub(1);
            }
            self.outputs
                .worker(endpoint.worker, Command::RemoveEndpoint(endpoint.key));
            if !endpoint.sources.sources.is_empty() {
                conference.replace_sources(endpoint.key, &endpoint.sources.sources, &[]);
                let sources = EndpointSources {
                    sources: Vec::new(),
                    ..(*endpoint.sources).clone()
                };
                let sources = Arc::new(sources);
                self.outputs
                    .shards(conference, || Command::Sources(key, Arc::clone(&sources)));
            }
            for source in &endpoint.sources.sources {
                conference.constraints.remove_source(source.key);
            }
            conference
                .constraints
                .remove_receiver(endpoint.key, |source, _| {
                    changed.insert(source);
                });
            recent_changed |= conference.speech.leave(endpoint.key).recent;
            self.forget(&endpoint, "endpoint closed", 1001);
        }
        self.close_idle_shards(key);
        self.publish_order(key);
        if recent_changed {
            self.broadcast_speakers(key);
        }
        for source in changed {
            self.send_sender_constraint(now, key, source);
        }
    }

    /// Takes the shards without endpoints away, but for the home worker's.
    fn close_idle_shards(&mut self, key: ConferenceKey) {
        let Some(conference) = self.conferences.get_mut(&key) else {
            return;
        };
        let home = conference.home;
        let idle: Vec<WorkerId> = conference
            .shards
            .iter()
            .filter(|(worker, count)| **count == 0 && **worker != home)
            .map(|(worker, _)| *worker)
            .collect();
        if idle.is_empty() {
            return;
        }
        for worker in idle {
            conference.shards.remove(&worker);
            self.outputs.worker(worker, Command::RemoveConference(key));
        }
        let setup = Arc::new(conference.setup());
        self.outputs
            .shards(conference, || Command::Conference(Arc::clone(&setup)));
    }

    /// Ends a conference; its websockets close with that code and reason.
    pub(super) fn remove_conference(
        &mut self,
        now: Time,
        key: ConferenceKey,
        code: u16,
        reason: &'static str,
    ) {
        let Some(conference) = self.conferences.remove(&key) else {
            return;
        };
        self.meetings.remove(&conference.options.meeting_id);
        let lifetime = now.since(conference.created).as_millis();
        self.counters.conferences_completed += 1;
        self.counters.conference_millis += u64::try_from(lifetime).unwrap_or(u64::MAX);
        info!(
            parent: &conference.span,
            endpoints = conference.members.len(),
            "Expiring conference"
        );
        self.outputs
            .shards(&conference, || Command::RemoveConference(key));
        for export in conference.exports.values() {
            self.exports.remove(&export.key);
            self.outputs.export(ExportCommand::Close(export.key));
        }
        for endpoint in conference.members.values() {
            if let Some(endpoint) = self.endpoints.remove(endpoint) {
                self.forget(&endpoint, reason, code);
            }
        }
        self.outputs.notice(Notice::ConferenceExpired(
            key,
            conference.options.meeting_id,
        ));
        if self.conferences.is_empty() {
            self.timers.retain(|(_, timer)| *timer != Timer::Expiry);
        }
    }

    /// What every end of an endpoint has in common, after it left the model.
    fn forget(&mut self, endpoint: &Endpoint, reason: &'static str, code: u16) {
        let transport = &endpoint.transport;
        let stuck = transport.ice == IceState::Connected && transport.dtls != DtlsState::Connected;
        self.counters.endpoints_without_dtls += u64::from(stuck);
        if let Some(load) = self.loads.get_mut(usize::from(endpoint.worker.0)) {
            *load = load.saturating_sub(1);
        }
        if let Some(due) = endpoint.stats_due {
            self.timers
                .remove(&(due, Timer::ConnectionStats(endpoint.key)));
        }
        if let Some(due) = endpoint.channel_check {
            self.timers
                .remove(&(due, Timer::ChannelCheck(endpoint.key)));
        }
        if endpoint.channel.websocket {
            self.outputs.close_websocket(endpoint.key, code, reason);
        }
        self.outputs
            .pool(endpoint.pool, PoolCommand::Close(endpoint.key));
        self.outputs.notice(Notice::EndpointExpired(
            endpoint.conference,
            endpoint.id().clone(),
        ));
    }
}

//! What workers and the handshake pool report.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::Control;
use super::Timer;
use super::api::Notice;
use super::channel_state::Transport;
use super::summary::Report;
use super::transport_state::{DtlsState, IceState};
use crate::channel::{ServerMessage, Topic};
use crate::ids::{ConferenceKey, EndpointKey, SourceKey, WorkerId};
use crate::limits;
use crate::media::VideoType;
use crate::messages::{Command, Event};
use crate::redaction::ClientAddress;
use crate::stats::WorkerStats;
use crate::time::Time;
use crate::timeline::What;

/// A bridge channel is expected this long after DTLS (bridge-channel spec §2).
const CHANNEL_EXPECTED: Duration = Duration::from_secs(30);
/// Added to the delay of a pre-emptive keyframe request (allocation spec §5).
const KEYFRAME_MARGIN: Duration = Duration::from_millis(10);

impl Control {
    /// Takes in an event. One about an object that is gone changes nothing.
    pub fn handle_event(&mut self, now: Time, event: Event) {
        let redact = self.config.net.redact_remote_addresses;
        match event {
            Event::IceConnected(key, path) => {
                let Some(endpoint) = self.endpoints.get_mut(&key) else {
                    return;
                };
                let remote = ClientAddress::new(path.remote, redact);
                info!(parent: &endpoint.span, %remote, "ICE connected");
                endpoint.transport.ice = IceState::Connected;
                endpoint.transport.path = Some(path);
                let what = What::IceConnected(path);
                endpoint.timeline.note(&self.config.timeline, now, what);
                endpoint.last_activity = endpoint.last_activity.max(Some(now));
                self.counters.ice_succeeded += 1;
            }
            Event::PathChanged(key, path) => {
                let Some(endpoint) = self.endpoints.get_mut(&key) else {
                    return;
                };
                let remote = ClientAddress::new(path.remote, redact);
                info!(parent: &endpoint.span, %remote, "path changed");
                endpoint.transport.path = Some(path);
                let what = What::PathChanged(path);
                endpoint.timeline.note(&self.config.timeline, now, what);
            }
            Event::IceFailed(key) => {
                let Some(endpoint) = self.endpoints.get_mut(&key) else {
                    return;
                };
                warn!(parent: &endpoint.span, "ICE failed");
                endpoint.transport.ice = IceState::Failed;
                endpoint.transport.path = None;
                self.counters.ice_failed += 1;
                self.note(now, key, What::IceFailed);
            }
            Event::IceRestartEnded(key, generation, cut_over) => {
                let Some(endpoint) = self.endpoints.get_mut(&key) else {
                    return;
                };
                info!(parent: &endpoint.span, generation, cut_over, "ICE restart ended");
                endpoint.transport.restart_ended(generation, cut_over);
                self.counters.ice_restarts_succeeded += u64::from(cut_over);
                self.counters.ice_restarts_failed += u64::from(!cut_over);
                self.note(now, key, What::IceRestartEnded(generation, cut_over));
            }
            Event::DtlsConnected(key) => self.dtls_connected(now, key),
            Event::DtlsFailed(key, reason) => {
                let Some(endpoint) = self.endpoints.get_mut(&key) else {
                    return;
                };
                warn!(parent: &endpoint.span, ?reason, "DTLS failed");
                endpoint.transport.dtls = DtlsState::Failed(reason);
                self.counters.dtls_failed += 1;
                self.note(now, key, What::DtlsFailed(reason));
            }
            Event::ChannelOpened(key) => self.channel_opened(now, key, Transport::DataChannel),
            Event::ChannelMessage(key, text) => {
                self.channel_message(now, key, Transport::DataChannel, &text)
            }
            Event::ChannelClosed(key) => self.channel_closed(now, key, Transport::DataChannel),
            Event::ChannelsRefused(key, count) => {
                if let Some(endpoint) = self.endpoints.get(&key) {
                    debug!(parent: &endpoint.span, count, "refused data channels beyond the first");
                }
                self.counters.data_channels_refused += count;
            }
            Event::Connectivity(key, active) => self.connectivity(now, key, active),
            Event::Activity(key, at) => {
                if let Some(endpoint) = self.endpoints.get_mut(&key) {
                    endpoint.last_activity = endpoint.last_activity.max(Some(at));
                }
            }
            Event::ForwardedSources(key, sources) => {
                self.tell(key, ServerMessage::ForwardedSources(&sources))
            }
            Event::EffectiveConstraints(key, constraints) => {
                self.effective_constraints(now, key, constraints)
            }
            Event::VideoSourcesMap(key, mappings) if !mappings.is_empty() => {
                self.tell(key, ServerMessage::VideoSourcesMap(&mappings));
            }
            Event::AudioSourcesMap(key, mappings) if !mappings.is_empty() => {
                self.tell(key, ServerMessage::AudioSourcesMap(&mappings));
            }
            Event::VideoSourcesMap(..) | Event::AudioSourcesMap(..) => {}
            Event::DominantSpeaker(key, speaker) => {
                self.dominant_speaker_changed(now, key, speaker)
            }
            Event::Estimate(key, bits_per_second) => {
                if let Some(endpoint) = self.endpoints.get_mut(&key) {
                    endpoint.estimate = Some(bits_per_second);
                }
            }
            Event::ConferenceFailed(key, worker) => self.conference_failed(now, key, worker),
            Event::Stats(worker, stats) => self.worker_reported(now, worker, *stats),
        }
    }

    fn dtls_connected(&mut self, now: Time, key: EndpointKey) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else {
            return;
        };
        info!(parent: &endpoint.span, "DTLS handshake complete");
        endpoint.transport.dtls = DtlsState::Connected;
        let config = &self.config.timeline;
        endpoint.timeline.note(config, now, What::DtlsConnected);
        self.counters.dtls_succeeded += 1;
        if endpoint.channel_check.is_none() {
            let due = now + CHANNEL_EXPECTED;
            endpoint.channel_check = Some(due);
            self.timers.insert((due, Timer::ChannelCheck(key)));
        }
    }

    /// An endpoint fell silent or is back: everybody hears of it, but not about visitors (allocation spec
    /// §12).
    fn connectivity(&mut self, now: Time, key: EndpointKey, active: bool) {
        self.note(now, key, What::Active(active));
        let Some(endpoint) = self
            .endpoints
            .get(&key)
            .filter(|endpoint| !endpoint.options.visitor)
        else {
            return;
        };
        let Some(conference) = self.conferences.get_mut(&endpoint.conference) else {
            return;
        };
        if !conference.set_active(endpoint.id(), active) {
            return;
        }
        info!(parent: &endpoint.span, active, "connectivity changed");
        if active {
            self.counters.endpoints_reconnected += 1;
        } else if endpoint.last_activity.is_some() {
            self.counters.endpoints_disconnected += 1;
        }
        let message = ServerMessage::EndpointConnectivityStatusChangeEvent {
            endpoint: endpoint.id(),
            active,
        };
        let (class, text) = (message.class(), message.to_json().into());
        let (conference, topic) = (conference.key, Topic::Connectivity(endpoint.id().clone()));
        self.broadcast(conference, class, Some(&topic), &text);
    }

    /// What a receiver may now be sent of each source: the owners hear what changed for them (allocation
    /// spec §8.2).
    fn effective_constraints(
        &mut self,
        now: Time,
        receiver: EndpointKey,
        constraints: Vec<(SourceKey, i32)>,
    ) {
        let Some(endpoint) = self.endpoints.get(&receiver) else {
            return;
        };
        let key = endpoint.conference;
        let Some(conference) = self.conferences.get_mut(&key) else {
            return;
        };
        // The worker may not know yet that a source is gone.
        let constraints: Vec<(SourceKey, i32)> = constraints
            .into_iter()
            .filter(|(source, _)| conference.is_signaled(*source))
            .collect();
        let mut changed = Vec::new();
        conference
            .constraints
            .update(receiver, constraints, |source, _| changed.push(source));
        for source in changed {
            self.send_sender_constraint(now, key, source);
        }
    }

    fn dominant_speaker_changed(
        &mut self,
        now: Time,
        key: ConferenceKey,
        speaker: Option<EndpointKey>,
    ) {
        let Some(conference) = self.conferences.get_mut(&key) else {
            return;
        };
        let Some(speaker) = speaker else {
            if !std::mem::replace(&mut conference.silence, true) {
                self.broadcast_speakers(key);
            }
            return;
        };
        let belongs = self
            .endpoints
            .get(&speaker)
            .is_some_and(|endpoint| endpoint.conference == key && !endpoint.options.visitor);
        if !belongs {
            return;
        }
        let ended_silence = std::mem::replace(&mut conference.silence, false);
        let elected = conference.speech.elect(speaker).recent;
        if elected {
            self.counters.dominant_speaker_changes += 1;
            self.publish_order(key);
            self.request_keyframe(now, key, speaker);
        }
        if elected || ended_silence {
            self.broadcast_speakers(key);
        }
    }

    /// Whoever has a camera on stage will soon want to see the new speaker there: asks for a keyframe in
    /// time for it (allocation spec §5).
    fn request_keyframe(&mut self, now: Time, key: ConferenceKey, speaker: EndpointKey) {
        let Some(conference) = self.conferences.get(&key) else {
            return;
        };
        let Some(endpoint) = self.endpoints.get(&speaker) else {
            return;
        };
        let others = || {
            conference
                .members
                .values()
                .filter(|member| **member != speaker)
                .filter_map(|member| self.endpoints.get(member))
        };
        let cameras: BTreeSet<_> = conference
            .members
            .values()
            .filter_map(|member| self.endpoints.get(member))
            .flat_map(|member| member.video_sources())
            .filter(|source| source.video_type == VideoType::Camera)
            .map(|source| &source.name)
            .collect();
        let wanted = conference.members.len() > 2
            && others().any(|other| other.on_stage.iter().any(|name| cameras.contains(name)));
        let Some(source) = endpoint.video_sources().next().filter(|_| wanted) else {
            self.counters.preemptive_keyframe_requests_suppressed += 1;
            return;
        };
        let slowest = others()
            .filter_map(|other| other.rtt)
            .max()
            .unwrap_or_default();
        let delay = (slowest + KEYFRAME_MARGIN).saturating_sub(endpoint.rtt.unwrap_or_default());
        self.outputs.worker(
            endpoint.worker,
            Command::RequestKeyframe(key, source.key, now + delay),
        );
        self.counters.preemptive_keyframe_requests_sent += 1;
    }

    fn conference_failed(&mut self, now: Time, key: ConferenceKey, worker: WorkerId) {
        let Some(conference) = self.conferences.get(&key) else {
            return;
        };
        if !conference.shards.contains_key(&worker) {
            return;
        }
        error!(parent: &conference.span, worker = worker.0, "conference failed");
        self.counters.conferences_failed += 1;
        self.remove_conference(now, key, 1011, "conference failed");
        self.failures.push_back(now);
        self.failures
            .retain(|failure| *failure + limits::FAILURE_PERIOD > now);
        if self.failures.len() > limits::FAILURES {
            self.failures.clear();
            self.outputs.notice(Notice::Unsound);
        }
    }

    fn worker_reported(&mut self, now: Time, worker: WorkerId, mut stats: WorkerStats) {
        if usize::from(worker.0) >= self.env.workers {
            return;
        }
        for reported in &mut stats.endpoints {
            let happened = std::mem::take(&mut reported.happened);
            if let Some(endpoint) = self.endpoints.get_mut(&reported.endpoint) {
                endpoint.rtt = reported.rtt.or(endpoint.rtt);
                endpoint.remember(&self.config.timeline, now, reported, happened);
            }
        }
        let report = Report::new(now, stats, self.stats.get(&worker));
        self.stats.insert(worker, report);
    }
}

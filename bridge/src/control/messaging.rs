//! The bridge channel: what connects, what clients say and what they are told (bridge-channel spec).

use std::sync::Arc;

use tracing::{debug, warn};

use super::Control;
use super::channel_state::Transport;
use super::endpoint::Endpoint;
use crate::channel::{
    Admission, ClientMessage, ForwardedBody, ReceiverVideoConstraints, ServerMessage, Topic,
};
use crate::ids::{ConferenceKey, EndpointId, EndpointKey, SourceKey, SourceName};
use crate::media::{MediaKind, VideoType};
use crate::messages::Command;
use crate::time::Time;
use crate::timeline::What;

impl Control {
    /// An endpoint's websocket was accepted: it gets `ServerHello` and the current state.
    ///
    /// Of an endpoint's sockets only the newest counts: whoever has them closes the older one with code
    /// 1000 and reason `replaced` before this call, and reports neither its late texts nor its end.
    pub fn websocket_opened(&mut self, now: Time, endpoint: EndpointKey) {
        self.channel_opened(now, endpoint, Transport::WebSocket);
    }

    /// A text came on an endpoint's websocket.
    pub fn websocket_message(&mut self, now: Time, endpoint: EndpointKey, text: &str) {
        self.channel_message(now, endpoint, Transport::WebSocket, text);
    }

    /// An endpoint's websocket closed.
    pub fn websocket_closed(&mut self, now: Time, endpoint: EndpointKey) {
        self.channel_closed(now, endpoint, Transport::WebSocket);
    }

    /// A channel connected: replays the state (bridge-channel spec §2.1).
    pub(super) fn channel_opened(&mut self, now: Time, key: EndpointKey, transport: Transport) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else {
            return;
        };
        debug!(parent: &endpoint.span, ?transport, "bridge channel open");
        endpoint.channel.opened(transport);
        let opened = What::ChannelOpened(transport);
        endpoint.timeline.note(&self.config.timeline, now, opened);
        if transport == Transport::WebSocket {
            self.say_hello(key, transport);
        }
        self.send_sender_constraints(now, key);
        let Some(endpoint) = self.endpoints.get(&key) else {
            return;
        };
        let conference_key = endpoint.conference;
        self.outputs
            .worker(endpoint.worker, Command::ReplayState(key));
        let Some(conference) = self.conferences.get(&conference_key) else {
            return;
        };
        let inactive: Vec<EndpointId> = conference
            .inactive
            .iter()
            .filter(|id| conference.members.contains_key(id))
            .cloned()
            .collect();
        for endpoint in &inactive {
            self.tell(
                key,
                ServerMessage::EndpointConnectivityStatusChangeEvent {
                    endpoint,
                    active: false,
                },
            );
        }
        if let Some((class, text)) = self.speakers_message(conference_key) {
            self.deliver(key, class, Some(Topic::Speakers), &text);
        }
    }

    pub(super) fn channel_closed(&mut self, now: Time, key: EndpointKey, transport: Transport) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else {
            return;
        };
        debug!(parent: &endpoint.span, ?transport, "bridge channel closed");
        endpoint.channel.closed(transport);
        let closed = What::ChannelClosed(transport);
        endpoint.timeline.note(&self.config.timeline, now, closed);
    }

    /// Handles one text from a client: dropped if over budget (T54) or malformed, and then the channel
    /// stays open.
    pub(super) fn channel_message(
        &mut self,
        now: Time,
        key: EndpointKey,
        transport: Transport,
        text: &str,
    ) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else {
            return;
        };
        if !endpoint.channel.is_open(transport) {
            return;
        }
        endpoint.channel.active_on(transport);
        match endpoint.channel.budget.admit(now, text.len()) {
            Admission::Handle => {}
            admission => {
                self.counters.messages_over_budget += 1;
                endpoint.channel.over_budget += 1;
                if admission == Admission::DropAndWarn {
                    warn!(parent: &endpoint.span, "sends too many messages: some are dropped");
                }
                return;
            }
        }
        let message = match ClientMessage::parse(text) {
            Ok(message) => message,
            Err(error) => {
                self.counters.messages_malformed += 1;
                endpoint.channel.malformed += 1;
                // A client that is broken would otherwise fill the log at 50 lines a second.
                if endpoint.channel.malformed == 1 {
                    warn!(parent: &endpoint.span, %error, "malformed message dropped; further ones are only counted");
                }
                return;
            }
        };
        self.counters.messages_received += 1;
        self.counters.data_channel_messages_received +=
            u64::from(transport == Transport::DataChannel);
        endpoint.channel.count_received(class(&message));
        let worker = endpoint.worker;
        match message {
            ClientMessage::ClientHello => self.say_hello(key, transport),
            ClientMessage::ReceiverVideoConstraints(constraints) => {
                self.receiver_constraints(now, key, constraints)
            }
            ClientMessage::LastN(last_n) => self
                .outputs
                .worker(worker, Command::LastN(key, last_n.max(-1))),
            ClientMessage::SourceVideoType { source, video_type } => {
                self.video_type(now, key, &source, video_type)
            }
            ClientMessage::VideoType(video_type) => {
                let source = SourceName::new(format!("{}-v0", endpoint.id().as_str()));
                self.video_type(now, key, &source, video_type);
            }
            ClientMessage::AudioSubscription(subscription) => {
                endpoint.subscription = Some(subscription.clone());
                self.outputs
                    .worker(worker, Command::AudioSubscription(key, subscription));
            }
            ClientMessage::EndpointMessage { to, body } => {
                self.endpoint_message(now, key, to.as_ref(), &body)
            }
            ClientMessage::EndpointStats { body } => self.endpoint_stats(now, key, &body),
            ClientMessage::Unhandled(class) => {
                debug!(parent: &endpoint.span, class, "unexpected message ignored");
            }
        }
    }

    fn say_hello(&mut self, key: EndpointKey, transport: Transport) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else {
            return;
        };
        let message = ServerMessage::ServerHello {
            version: self.config.channel.announce_version.as_deref(),
        };
        self.counters.messages_sent += 1;
        self.outputs.reply(
            endpoint,
            transport,
            message.class(),
            &message.to_json().into(),
        );
    }

    fn receiver_constraints(
        &mut self,
        now: Time,
        key: EndpointKey,
        mut constraints: ReceiverVideoConstraints,
    ) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else {
            return;
        };
        // Any other negative number would count as smaller than every limit.
        constraints.last_n = constraints.last_n.map(|last_n| last_n.max(-1));
        if let Some(on_stage) = &constraints.on_stage_sources {
            endpoint.on_stage.clone_from(on_stage);
        }
        if let Some(selected) = &constraints.selected_sources {
            endpoint.selected.clone_from(selected);
        }
        let count = |names: &Vec<SourceName>| u16::try_from(names.len()).unwrap_or(u16::MAX);
        let wishes = What::Wishes {
            last_n: constraints.last_n,
            default_height: constraints
                .default_constraints
                .as_ref()
                .map(|it| it.max_height),
            on_stage: count(&endpoint.on_stage),
            selected: count(&endpoint.selected),
        };
        endpoint.timeline.note(&self.config.timeline, now, wishes);
        self.outputs.worker(
            endpoint.worker,
            Command::ReceiverConstraints(key, Box::new(constraints)),
        );
    }

    /// A client says what one of its video sources shows, now or when it will be signaled.
    fn video_type(
        &mut self,
        now: Time,
        key: EndpointKey,
        name: &SourceName,
        video_type: VideoType,
    ) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else {
            return;
        };
        if endpoint.options.visitor || !endpoint.remember_type(name, video_type) {
            debug!(parent: &endpoint.span, source = %name, "video type ignored");
            return;
        }
        let mut sources = (*endpoint.sources).clone();
        let mut described = sources.sources.iter_mut();
        let Some(source) =
            described.find(|source| source.name == *name && source.kind == MediaKind::Video)
        else {
            return;
        };
        if source.video_type == video_type {
            return;
        }
        source.video_type = video_type;
        let source = source.key;
        let what = What::VideoType(name.clone(), video_type);
        endpoint.timeline.note(&self.config.timeline, now, what);
        endpoint.sources = Arc::new(sources);
        let conference = endpoint.conference;
        if let Some(conference) = self.conferences.get_mut(&conference) {
            conference
                .speech
                .set_video_available(key, endpoint.has_video_available());
            let conference = &*conference;
            self.outputs.shards(conference, || {
                Command::VideoType(conference.key, source, video_type)
            });
        }
        self.publish_order(conference);
    }

    /// `EndpointMessage`: to one endpoint of the conference, or to all others.
    fn endpoint_message(
        &mut self,
        now: Time,
        from: EndpointKey,
        to: Option<&EndpointId>,
        body: &ForwardedBody,
    ) {
        let Some(sender) = self
            .endpoints
            .get(&from)
            .filter(|sender| !sender.options.visitor)
        else {
            return;
        };
        let Some(conference) = self.conferences.get(&sender.conference) else {
            return;
        };
        let receivers: Vec<EndpointKey> = match to {
            Some(to) => conference.members.get(to).copied().into_iter().collect(),
            None => conference
                .members
                .values()
                .copied()
                .filter(|member| *member != from)
                .collect(),
        };
        self.forward(now, from, "EndpointMessage", body, &receivers);
    }

    /// `EndpointStats`: to all others that want to know about the sender.
    fn endpoint_stats(&mut self, now: Time, from: EndpointKey, body: &ForwardedBody) {
        let Some(sender) = self
            .endpoints
            .get(&from)
            .filter(|sender| !sender.options.visitor)
        else {
            return;
        };
        let Some(conference) = self.conferences.get(&sender.conference) else {
            return;
        };
        let everybody = conference.members.len() <= self.config.channel.stats_filter_threshold
            || !self.config.audio.route_loudest_only
            || conference.speech.recent_speakers().contains(&from);
        let wanted = |receiver: &Endpoint| {
            sender.video_sources().any(|source| {
                receiver.on_stage.contains(&source.name)
                    || receiver.selected.contains(&source.name)
                    || conference.constraints.wants(receiver.key, source.key)
            })
        };
        let receivers: Vec<EndpointKey> = conference
            .members
            .values()
            .filter(|member| **member != from)
            .filter(|member| everybody || self.endpoints.get(member).is_some_and(&wanted))
            .copied()
            .collect();
        self.forward(now, from, "EndpointStats", body, &receivers);
    }

    /// Sends a client's message on, if that is within what the sender and the conference may spend (T54).
    fn forward(
        &mut self,
        now: Time,
        from: EndpointKey,
        class: &'static str,
        body: &ForwardedBody,
        receivers: &[EndpointKey],
    ) {
        let Some(sender) = self.endpoints.get_mut(&from) else {
            return;
        };
        let Some(conference) = self.conferences.get_mut(&sender.conference) else {
            return;
        };
        if receivers.is_empty() {
            debug!(parent: &sender.span, class, "message without receiver dropped");
            return;
        }
        let text: Arc<str> = body.forward(sender.id()).into();
        let topic = (class == "EndpointStats").then(|| Topic::Stats(sender.id().clone()));
        let cost = (text.len() as u64).saturating_mul(receivers.len() as u64);
        if sender.channel.fan_out.available(now) < cost
            || !conference.fan_out.admit(now, text.len(), receivers.len())
        {
            self.counters.messages_over_budget += 1;
            sender.channel.over_budget += 1;
            if conference.worth_a_warning(now) {
                warn!(parent: &sender.span, class, "message budget of the conference is used up: some are dropped");
            }
            return;
        }
        sender.channel.fan_out.take(now, cost, 0);
        for receiver in receivers {
            self.deliver(*receiver, class, topic.clone(), &text);
        }
    }

    /// A message for one endpoint.
    pub(super) fn deliver(
        &mut self,
        key: EndpointKey,
        class: &'static str,
        topic: Option<Topic>,
        text: &Arc<str>,
    ) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else {
            return;
        };
        if self.outputs.deliver(endpoint, class, topic, text) {
            self.counters.messages_sent += 1;
        } else {
            self.counters.messages_without_channel += 1;
        }
    }

    /// A message of the bridge for one endpoint.
    pub(super) fn tell(&mut self, key: EndpointKey, message: ServerMessage<'_>) {
        let text = message.to_json().into();
        self.deliver(key, message.class(), message.topic(), &text);
    }

    /// A message of the bridge for all endpoints of a conference.
    pub(super) fn broadcast(
        &mut self,
        conference: ConferenceKey,
        class: &'static str,
        topic: Option<&Topic>,
        text: &Arc<str>,
    ) {
        let Some(conference) = self.conferences.get(&conference) else {
            return;
        };
        for member in conference.members.values() {
            let Some(member) = self.endpoints.get_mut(member) else {
                continue;
            };
            if self.outputs.deliver(member, class, topic.cloned(), text) {
                self.counters.messages_sent += 1;
            } else {
                self.counters.messages_without_channel += 1;
            }
        }
    }

    /// Who speaks and who spoke, if anybody ever did.
    fn speakers_message(&self, conference: ConferenceKey) -> Option<(&'static str, Arc<str>)> {
        let conference = self.conferences.get(&conference)?;
        let recent = conference.speech.recent_speakers();
        let mut ids = recent
            .iter()
            .filter_map(|key| self.endpoint_id(*key))
            .cloned();
        let dominant = ids.next()?;
        let previous: Vec<EndpointId> = ids.collect();
        let message = ServerMessage::DominantSpeakerEndpointChangeEvent {
            dominant: &dominant,
            previous: &previous,
            silence: conference.silence,
        };
        Some((message.class(), message.to_json().into()))
    }

    /// Tells everybody who speaks.
    pub(super) fn broadcast_speakers(&mut self, conference: ConferenceKey) {
        if let Some((class, text)) = self.speakers_message(conference) {
            self.broadcast(conference, class, Some(&Topic::Speakers), &text);
        }
    }

    /// Tells the owner of a source what anybody wants of it.
    pub(super) fn send_sender_constraint(
        &mut self,
        now: Time,
        conference: ConferenceKey,
        source: SourceKey,
    ) {
        let Some(conference) = self.conferences.get(&conference) else {
            return;
        };
        let Some(owner) = conference.owner(source) else {
            return;
        };
        let Some(max_height) = conference.constraints.max_height(source) else {
            return;
        };
        let Some(endpoint) = self.endpoints.get(&owner) else {
            return;
        };
        let Some(name) = endpoint
            .video_sources()
            .find(|known| known.key == source)
            .map(|known| known.name.clone())
        else {
            return;
        };
        let told = What::SenderConstraint(name.clone(), max_height);
        self.note(now, owner, told);
        self.tell(
            owner,
            ServerMessage::SenderSourceConstraints {
                source: &name,
                max_height,
            },
        );
    }

    /// Tells an endpoint what anybody wants of each of its video sources, where that is known.
    fn send_sender_constraints(&mut self, now: Time, key: EndpointKey) {
        let Some(endpoint) = self.endpoints.get(&key) else {
            return;
        };
        let conference = endpoint.conference;
        let sources: Vec<SourceKey> = endpoint.video_sources().map(|source| source.key).collect();
        for source in sources {
            self.send_sender_constraint(now, conference, source);
        }
    }
}

/// The `colibriClass` of a client's message.
fn class(message: &ClientMessage) -> &'static str {
    match message {
        ClientMessage::ClientHello => "ClientHello",
        ClientMessage::ReceiverVideoConstraints(_) => "ReceiverVideoConstraints",
        ClientMessage::LastN(_) => "LastNChangedEvent",
        ClientMessage::SourceVideoType { .. } => "SourceVideoTypeMessage",
        ClientMessage::VideoType(_) => "VideoTypeMessage",
        ClientMessage::AudioSubscription(_) => "ReceiverAudioSubscription",
        ClientMessage::EndpointMessage { .. } => "EndpointMessage",
        ClientMessage::EndpointStats { .. } => "EndpointStats",
        ClientMessage::Unhandled(class) => class,
    }
}

//! The way of a media packet: received, observed, fanned out. One function per stage, in order.

use std::sync::Arc;

use super::Shard;
use super::source::{Subscriber, UNBOUND};
use crate::capture::Direction;
use crate::config::RedPolicy;
use crate::counters::Counter;
use crate::endpoint::Endpoint;
use crate::endpoint::downlink::{AudioStream, Downlink, Mid, SentCounts};
use crate::ids::{EndpointKey, Path, SourceKey};
use crate::media::MediaKind;
use crate::messages::{Event, RingMessage};
use crate::projection::slots::SlotSource;
use crate::projection::{AudioProjection, Start};
use crate::speech::{is_routed, wants_audio};
use crate::time::Time;
use crate::timeline::What;
use crate::wire::demux::Class;
use crate::worker::context::Context;
use crate::worker::packet::MediaPacket;

/// Packets that wait at most.
const MAX_PENDING: usize = u64::BITS as usize;

/// Video packets of one source, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Pending {
    source: usize,
    packets: Vec<Arc<MediaPacket>>,
}

/// Asks the processor for what receivers need, some receivers before it is their turn: first their [`Downlink`], then in `steps`
/// further steps what the one before led to. `ahead` counts how far that is; `position` is the receiver whose turn it is.
#[inline]
fn prefetch_ahead(
    endpoints: &slab::Slab<Endpoint>,
    subscribers: &[Subscriber],
    ahead: &mut usize,
    position: usize,
    steps: usize,
    further: impl Fn(usize, &Downlink, usize),
) {
    while *ahead < subscribers.len() + steps && *ahead <= position + steps + 1 {
        for step in 0..=steps {
            if let Some(subscriber) = ahead.checked_sub(step).and_then(|at| subscribers.get(at))
                && let Some(endpoint) = endpoints.get(subscriber.endpoint)
            {
                match step {
                    0 => endpoint.downlink.prefetch(),
                    _ => further(step, &endpoint.downlink, subscriber.stream),
                }
            }
        }
        *ahead += 1;
    }
}

impl Shard {
    /// Stage 1: an SRTP packet of a local endpoint becomes a media packet.
    pub(super) fn handle_rtp(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        path: Path,
        datagram: &[u8],
    ) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        if endpoint.visitor {
            cx.count(Counter::DropMuted);
            return;
        }
        let Endpoint {
            inbound,
            early,
            uplink,
            downlink,
            formats,
            ice,
            last_activity,
            schedule,
            key,
            ..
        } = endpoint;
        let Some(inbound) = inbound else {
            if !early.hold(cx.now, Class::Rtp, path, datagram) {
                cx.count(Counter::DropNoKeys);
            }
            return;
        };
        let now = cx.now;
        let mut moved = false;
        let packet = uplink.receive(cx, *key, formats, inbound, datagram, |opened| {
            if let Some(tap) = &downlink.capture {
                tap.take(now, Direction::Incoming, path, opened);
            }
            *last_activity = Some(now);
            moved = ice.note_authenticated_media(now, path);
        });
        let due = uplink.due();
        if moved || due < schedule.armed {
            self.touch(index);
        }
        if moved {
            self.drain_ice(cx, index);
        }
        if due <= now {
            self.send_feedback(cx, index);
        }
        if let Some(packet) = packet {
            self.deliver(cx, packet, true);
        }
    }

    /// Stage 1 for packets that another worker opened.
    pub fn handle_remote_media(&mut self, cx: &mut Context<'_>, packet: Arc<MediaPacket>) {
        self.deliver(cx, packet, false);
    }

    /// Stage 2: take note, hand to the other shards, fan out.
    pub(super) fn deliver(&mut self, cx: &mut Context<'_>, packet: Arc<MediaPacket>, local: bool) {
        let Some(source) = self.by_source.get(&packet.source).copied() else {
            cx.buffers.recycle(packet);
            return;
        };
        let kind = self.sources[source].kind;
        if kind == MediaKind::Video {
            self.note_video(cx, source, &packet);
        }
        if local {
            if kind == MediaKind::Audio && !self.taps.is_empty() {
                self.export_audio(cx, source, &packet);
            }
            let conference = self.setup.key;
            self.tell_other_shards(cx, || RingMessage::Media(conference, Arc::clone(&packet)));
        }
        match kind {
            MediaKind::Audio => {
                self.fan_out_audio(cx, source, &packet);
                cx.buffers.recycle(packet);
            }
            MediaKind::Video => {
                self.pending.source = source;
                self.pending.packets.push(packet);
            }
        }
    }

    /// What a video packet tells about its source. What came before is fanned out first where that matters.
    fn note_video(&mut self, cx: &mut Context<'_>, index: usize, packet: &Arc<MediaPacket>) {
        if self.pending.source != index || self.pending.packets.len() >= MAX_PENDING {
            self.flush(cx);
        }
        let Some(source) = self.sources.get_mut(index) else {
            return;
        };
        let observed = source.observe(cx.now, packet);
        if source.local_owner.is_some() {
            let counters = &mut cx.counters;
            counters.add(Counter::KeyframesIn, observed.keyframe.into());
            counters.add(Counter::LayeringChanges, observed.layering_changed.into());
        }
        if observed.keyframe {
            let awaited = source.keyframes.poll_timeout().is_some();
            if awaited
                && let Some(owner) = source.local_owner.and_then(|at| self.endpoints.get_mut(at))
            {
                let came = What::KeyframeCame(source.name.clone());
                owner.notebook.note(cx.now, came);
            }
            source.keyframes.on_keyframe(cx.now);
            self.keyframes_due = self.keyframes_due.min(source.keyframes_due());
            if let Some(owner) = source.local_owner
                && let Some(endpoint) = self.endpoints.get_mut(owner)
                && let Some(stream) = endpoint.uplink.stream_mut(packet.header.ssrc)
                && let Some(nack) = &mut stream.nack
            {
                nack.on_keyframe(packet.original);
            }
        }
        if observed.layering_changed {
            // Before the decision about this packet (allocation spec §7.5 rule 5).
            self.flush(cx);
            self.all_need_allocation();
            self.run_allocations(cx);
        }
    }

    /// Stage 3: fans out the video that waits, and keeps what was sent for retransmission.
    ///
    /// Receiver by receiver, and not packet by packet: a burst of packets of a source finds each receiver's state in the
    /// cache but once, and leaves as one train. Everything else that enters the shard, and the end of the turn, flushes first, so
    /// that nobody can tell.
    pub fn flush(&mut self, cx: &mut Context<'_>) {
        if self.pending.packets.is_empty() {
            return;
        }
        let index = self.pending.source;
        let mut packets = std::mem::take(&mut self.pending.packets);
        // One bit per packet: it was sent to somebody.
        let mut sent = 0u64;
        let encoding = packets[0].encoding;
        let subscribers = self.sources.get(index).map(|source| &source.subscribers);
        let subscribers = subscribers.map_or(&[][..], Vec::as_slice);
        let mut ahead = 0;
        for (position, subscriber) in subscribers.iter().enumerate() {
            prefetch_ahead(
                &self.endpoints,
                subscribers,
                &mut ahead,
                position,
                2,
                |step, downlink, stream| match step {
                    1 => downlink.prefetch_video(stream),
                    _ => downlink.prefetch_encoding(stream, encoding),
                },
            );
            let Some(endpoint) = self.endpoints.get_mut(subscriber.endpoint) else {
                continue;
            };
            if !endpoint.downlink.is_ready() {
                continue;
            }
            let Endpoint {
                downlink,
                formats,
                key,
                ..
            } = endpoint;
            let mut needs_keyframe = false;
            let started = downlink.estimator.has_started();
            for (bit, packet) in packets.iter().enumerate() {
                let outcome = downlink.forward_video(cx, formats, subscriber.stream, packet);
                needs_keyframe = outcome.needs_keyframe;
                sent |= u64::from(outcome.sent) << bit;
            }
            if downlink.estimator.has_started() != started || downlink.pacer.is_backlogged() {
                // The first probe is due, or something waits to be sent.
                self.touched.push(subscriber.endpoint);
            }
            if needs_keyframe {
                // Each waiting receiver counts for itself in the limiter.
                self.waiting.push(*key);
            }
        }
        let buffers = &mut *cx.buffers;
        let mut source = self.sources.get_mut(index);
        for (bit, packet) in packets.drain(..).enumerate() {
            match &mut source {
                Some(source) => {
                    let sent = sent >> bit & 1 == 1;
                    source.keep(cx.now, packet, sent, |old| buffers.recycle(old));
                }
                None => buffers.recycle(packet),
            }
        }
        self.pending.packets = packets;
        let mut waiting = std::mem::take(&mut self.waiting);
        for key in waiting.drain(..) {
            self.request_keyframe(cx, index, Some(key));
        }
        self.waiting = waiting;
    }

    fn fan_out_audio(&mut self, cx: &mut Context<'_>, index: usize, packet: &Arc<MediaPacket>) {
        let source = &self.sources[index];
        if let Some(level) = packet.level
            && !source.synthetic
        {
            let minimum = self
                .speech
                .as_mut()
                .and_then(|speech| speech.on_level(cx.now, source.owner, level));
            if self.config.audio.route_loudest_only {
                // Shards that do not detect speakers know no minimum: any level counts there.
                let minimum = minimum.unwrap_or(0);
                let rank = self.loudness.on_level(cx.now, source.owner, level, minimum);
                let dominant = self.order.first() == Some(&source.owner);
                let named = self.endpoints.iter().any(|(_, endpoint)| {
                    endpoint
                        .subscription
                        .as_ref()
                        .is_some_and(|subscription| subscription.include.contains(&source.name))
                });
                if !is_routed(&self.config.audio, rank, dominant, named, false) {
                    return;
                }
            }
        }
        let mut unbound = false;
        let red = self.config.audio.red;
        let source = &self.sources[index];
        let subscribers = source.subscribers.as_slice();
        let mut ahead = 0;
        for (position, subscriber) in subscribers.iter().enumerate() {
            prefetch_ahead(
                &self.endpoints,
                subscribers,
                &mut ahead,
                position,
                1,
                |_, downlink, stream| downlink.prefetch_audio(stream),
            );
            let Some(endpoint) = self.endpoints.get_mut(subscriber.endpoint) else {
                continue;
            };
            if !endpoint.downlink.is_ready() {
                continue;
            }
            if subscriber.stream == UNBOUND {
                unbound = true;
                continue;
            }
            let Endpoint {
                downlink, formats, ..
            } = endpoint;
            let history = &source.history;
            downlink.forward_audio(cx, formats, subscriber.stream, packet, red, history);
        }
        if unbound {
            self.bind_audio_and_forward(cx, index, packet);
        }
        if red.policy == RedPolicy::ProtectAll
            && let Some(old) = self.sources[index].history.push(packet)
        {
            cx.buffers.recycle(old);
        }
    }

    /// The first packet of an audio source for some receivers: gives them a stream, tells them, forwards.
    fn bind_audio_and_forward(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        packet: &Arc<MediaPacket>,
    ) {
        for position in 0..self.sources[index].subscribers.len() {
            let Subscriber {
                endpoint: receiver,
                stream,
            } = self.sources[index].subscribers[position];
            if stream != UNBOUND {
                continue;
            }
            let Some(endpoint) = self.endpoints.get_mut(receiver) else {
                continue;
            };
            if !endpoint.downlink.is_ready() {
                continue;
            }
            let Some(stream) = self.bind_audio(cx, index, receiver) else {
                continue;
            };
            let Some(subscriber) = self.sources[index].subscribers.get_mut(position) else {
                return;
            };
            subscriber.stream = stream;
            let Endpoint {
                downlink, formats, ..
            } = &mut self.endpoints[receiver];
            let history = &self.sources[index].history;
            let red = self.config.audio.red;
            downlink.forward_audio(cx, formats, stream, packet, red, history);
        }
    }

    fn bind_audio(&mut self, cx: &mut Context<'_>, index: usize, receiver: usize) -> Option<usize> {
        let source = &self.sources[index];
        let (key, primary) = (source.key, source.primary_ssrc());
        let endpoint = self.endpoints.get_mut(receiver)?;
        let Some(slots) = &mut endpoint.slots else {
            // Without rewriting the receiver knows the source by its own SSRC.
            if let Some((stream, _)) = endpoint
                .downlink
                .audio
                .iter()
                .find(|(_, stream)| stream.ssrc == primary)
            {
                let known = &mut endpoint.downlink.audio[stream];
                known.source = key;
                known.projection.rebind();
                return Some(stream);
            }
            return Some(endpoint.downlink.audio.insert(AudioStream {
                source: key,
                ssrc: primary,
                mid: None,
                projection: AudioProjection::new(Start::random(&mut self.random)),
                sent: SentCounts::default(),
            }));
        };
        let sources = &self.sources;
        let video = &slots.video;
        let setup = &self.setup;
        let taken = |ssrc: u32| {
            ssrc == setup.audio_ssrc
                || ssrc == setup.video_ssrc
                || video.by_ssrc(ssrc).is_some()
                || super::is_signaled(sources, ssrc)
        };
        let streams = &mut endpoint.downlink.audio;
        let wanted = SlotSource {
            key,
            primary_ssrc: primary,
        };
        let binding = slots
            .audio
            .bind(wanted, &mut self.random, taken, |random, ssrc, _| {
                streams.insert(AudioStream {
                    source: key,
                    ssrc,
                    mid: None,
                    projection: AudioProjection::new(Start::random(random)),
                    sent: SentCounts::default(),
                })
            });
        let Some(binding) = binding else {
            // It has a slot already.
            let slot = slots.audio.lookup(key)?;
            return slots.audio.slots().get(slot).map(|slot| slot.state);
        };
        let slot = slots.audio.slots().get(binding.slot)?;
        let (stream, ssrc) = (slot.state, slot.ssrc());
        let mid = endpoint.mid_demux.then(|| slot.mid().to_owned());
        let state = endpoint.downlink.audio.get_mut(stream)?;
        state.mid = mid.as_deref().and_then(Mid::new);
        let previous = std::mem::replace(&mut state.source, key);
        if binding.reused || previous != key {
            state.projection.rebind();
            if let Some(previous) = self.by_source.get(&previous)
                && let Some(previous) = self.sources.get_mut(*previous)
            {
                for subscriber in &mut previous.subscribers {
                    if subscriber.endpoint == receiver {
                        subscriber.stream = UNBOUND;
                    }
                }
            }
        }
        let source = &self.sources[index];
        let mapping = crate::channel::SourceMapping {
            source: source.name.clone(),
            owner: source.owner_id.clone(),
            ssrc,
            rtx: None,
            video_type: None,
            mid,
        };
        cx.event(Event::AudioSourcesMap(
            self.endpoints[receiver].key,
            vec![mapping],
        ));
        Some(stream)
    }

    /// Recomputes which audio sources a receiver gets.
    pub(super) fn subscribe_to_all_audio(&mut self, receiver: usize) {
        let indices: Vec<usize> = self
            .sources
            .iter()
            .filter(|(_, source)| source.kind == MediaKind::Audio)
            .map(|(index, _)| index)
            .collect();
        for index in indices {
            self.subscribe_audio(index, receiver);
        }
    }

    /// Recomputes who gets an audio source.
    pub(super) fn subscribe_all_to_audio(&mut self, index: usize) {
        for receiver in self.endpoint_indices() {
            self.subscribe_audio(index, receiver);
        }
    }

    fn subscribe_audio(&mut self, index: usize, receiver: usize) {
        let (Some(source), Some(endpoint)) =
            (self.sources.get_mut(index), self.endpoints.get(receiver))
        else {
            return;
        };
        let wanted = endpoint.formats.audio
            && (source.owner != endpoint.key || source.synthetic)
            && wants_audio(
                endpoint.subscription.as_ref(),
                &source.name,
                source.synthetic,
            );
        let position = source
            .subscribers
            .iter()
            .position(|subscriber| subscriber.endpoint == receiver);
        match (wanted, position) {
            (true, None) => {
                let stream = endpoint
                    .downlink
                    .audio
                    .iter()
                    .find(|(_, stream)| stream.source == source.key)
                    .map_or(UNBOUND, |(stream, _)| stream);
                source.subscribers.push(Subscriber {
                    endpoint: receiver,
                    stream,
                });
            }
            (false, Some(position)) => {
                source.subscribers.remove(position);
            }
            _ => {}
        }
    }

    pub fn set_audio_subscription(
        &mut self,
        _cx: &mut Context<'_>,
        index: usize,
        subscription: crate::channel::AudioSubscription,
    ) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        endpoint.subscription = Some(subscription);
        self.subscribe_to_all_audio(index);
    }

    // ---- keyframes --------------------------------------------------------------------------------------------

    /// Somebody (`None`: the bridge itself) needs a keyframe of a source: asks the owner, here or on its worker.
    pub(super) fn request_keyframe(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        requester: Option<EndpointKey>,
    ) {
        let Some(source) = self.sources.get_mut(index) else {
            return;
        };
        cx.count(Counter::KeyframeRequestsIn);
        // The requester is limited here also if the owner is elsewhere, so that a ring is not filled with one wish per packet.
        let waited = source.keyframes.poll_timeout().is_some();
        let granted = source.keyframes.request(cx.now, requester);
        if granted && !waited {
            let wanted = What::KeyframeWanted(source.name.clone(), 1);
            let mut endpoints = self.endpoints.iter_mut();
            let asking = endpoints.find(|(_, endpoint)| Some(endpoint.key) == requester);
            if let Some((_, endpoint)) = asking {
                endpoint.notebook.note(cx.now, wanted);
            }
        }
        self.poll_keyframe_request(cx, index, requester);
        if let Some(source) = self.sources.get(index) {
            self.keyframes_due = self.keyframes_due.min(source.keyframes_due());
        }
    }

    /// Another worker's receiver needs a keyframe.
    pub fn request_keyframe_if_local(
        &mut self,
        cx: &mut Context<'_>,
        source: SourceKey,
        requester: EndpointKey,
    ) {
        let Some(index) = self.by_source.get(&source).copied() else {
            return;
        };
        if self.sources[index].local_owner.is_some() {
            self.request_keyframe(cx, index, Some(requester));
        }
    }

    /// A pre-emptive request at a later time.
    pub fn request_keyframe_at(&mut self, cx: &mut Context<'_>, source: SourceKey, at: Time) {
        const MAX_WAITING: usize = 64;
        if at <= cx.now {
            if let Some(index) = self.by_source.get(&source).copied()
                && self.sources[index].local_owner.is_some()
            {
                self.request_keyframe(cx, index, None);
            }
        } else if self.keyframes_at.len() < MAX_WAITING {
            self.keyframes_at.push((at, source));
        }
    }

    pub(super) fn poll_keyframe_requests(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let due: Vec<usize> = self
            .sources
            .iter()
            .filter(|(_, source)| source.keyframes.poll_timeout().is_some_and(|at| at <= now))
            .map(|(index, _)| index)
            .collect();
        for index in due {
            self.poll_keyframe_request(cx, index, None);
        }
        let sources = self.sources.iter();
        let deadlines = sources.map(|(_, source)| source.keyframes_due());
        self.keyframes_due = deadlines.min().unwrap_or(Time::FAR);
    }

    /// Asks the owner if it is time, here or on its worker.
    fn poll_keyframe_request(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        requester: Option<EndpointKey>,
    ) {
        let Some(source) = self.sources.get_mut(index) else {
            return;
        };
        let Some(owner) = source.local_owner else {
            if source.keyframes.poll(cx.now, None) {
                let (conference, key) = (self.setup.key, source.key);
                let requester = requester.unwrap_or(EndpointKey(0));
                self.tell_other_shards(cx, || RingMessage::Keyframe(conference, key, requester));
            }
            return;
        };
        let Some(endpoint) = self.endpoints.get_mut(owner) else {
            return;
        };
        let rtt = endpoint.downlink.round_trip();
        if source.keyframes.poll(cx.now, rtt) {
            let primary = source.primary_ssrc();
            let requested = What::KeyframeRequested(source.name.clone(), 1);
            endpoint.notebook.note(cx.now, requested);
            self.send_keyframe_request(cx, owner, primary);
        }
    }
}

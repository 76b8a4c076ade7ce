//! One worker's part of a conference: its endpoints, and all sources as far as this worker needs them.
//!
//! A conference that fits one worker has one shard. A larger one has a shard on each worker that has some of its
//! endpoints; every media packet that one shard accepts is handed to the others by reference, and each does the same
//! with it: observe, cache, fan out to its own receivers.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::capture::CaptureTap;
use crate::cc::SendSideEstimator;
use crate::config::{AllocationConfig, BridgeConfig};
use crate::counters::Counter;
use crate::endpoint::Endpoint;
use crate::export::Tap;
use crate::ids::{ConferenceKey, EndpointKey, SourceKey, WorkerId};
use crate::media::{EndpointSources, MediaFormats, MediaKind, VideoType};
use crate::messages::{ConferenceSetup, EndpointSetup, Event, RingMessage};
use crate::random::Random;
use crate::speech::{DominantSpeaker, Loudness};
use crate::time::Time;
use crate::worker::Place;
use crate::worker::context::{Context, RouteChange};

mod allocate;
mod export;
mod media;
mod rtcp;
mod source;
mod transport;
mod watch;

#[cfg(test)]
mod tests;

use self::source::Source;
pub(crate) use self::watch::Watch;

/// Timer index that stands for the shard itself.
pub(crate) const SHARD_TIMER: usize = 0xFFFF_FFFF;

/// A shard.
pub(crate) struct Shard {
    setup: Arc<ConferenceSetup>,
    config: Arc<BridgeConfig>,
    /// That of the configuration, with the bridge-wide last-n of the moment.
    allocation: AllocationConfig,
    worker: WorkerId,
    random: Random,
    endpoints: slab::Slab<Endpoint>,
    sources: slab::Slab<Source>,
    by_source: BTreeMap<SourceKey, usize>,
    /// Indices of each endpoint's sources, in signaled order.
    by_owner: BTreeMap<EndpointKey, Vec<usize>>,
    order: Arc<[EndpointKey]>,
    speech: Option<DominantSpeaker>,
    loudness: Loudness,
    /// Pre-emptive keyframe requests that wait for their time.
    keyframes_at: Vec<(Time, SourceKey)>,
    /// Sources whose keyframe requester has a deadline.
    shard_armed: Time,
    touched: Vec<usize>,
    dirty: bool,
    /// Receivers with a pending allocation exist.
    allocate: bool,
    fir_sequence: u8,
    /// No request for a keyframe is due before.
    keyframes_due: Time,
    /// When packets that are too old were last let go of.
    swept: Time,
    /// Video of one source that waits to be fanned out, see [`Shard::flush`].
    pending: media::Pending,
    /// Media exports; empty for nearly every conference.
    taps: Arc<[Arc<Tap>]>,
    // Buffers that are used again.
    wishes: Vec<rtcp::Wish>,
    waiting: Vec<EndpointKey>,
    missing: Vec<u16>,
    scratch: Vec<u8>,
}

impl Shard {
    /// Puts what `message` makes into the ring of each other worker that has a shard of this conference.
    fn tell_other_shards(&self, cx: &mut Context<'_>, message: impl Fn() -> RingMessage) {
        for shard in self
            .setup
            .shards
            .iter()
            .filter(|shard| **shard != self.worker)
        {
            cx.tell_worker(*shard, message());
        }
    }

    pub fn new(
        setup: Arc<ConferenceSetup>,
        config: Arc<BridgeConfig>,
        random: Random,
        worker: WorkerId,
    ) -> Shard {
        let home = setup.home == worker;
        Shard {
            speech: home.then(|| DominantSpeaker::new(&config.audio)),
            loudness: Loudness::new(&config.audio),
            allocation: config.allocation.clone(),
            setup,
            worker,
            random,
            endpoints: slab::Slab::new(),
            sources: slab::Slab::new(),
            by_source: BTreeMap::new(),
            by_owner: BTreeMap::new(),
            order: Arc::from([]),
            keyframes_at: Vec::new(),
            shard_armed: Time::FAR,
            touched: Vec::new(),
            dirty: false,
            allocate: false,
            fir_sequence: 0,
            keyframes_due: Time::FAR,
            swept: Time::ZERO,
            pending: media::Pending::default(),
            wishes: Vec::new(),
            waiting: Vec::new(),
            missing: Vec::new(),
            taps: Arc::from([]),
            scratch: Vec::new(),
            config,
        }
    }

    pub fn key(&self) -> ConferenceKey {
        self.setup.key
    }

    /// The list of shards changed.
    pub fn update_setup(&mut self, _cx: &mut Context<'_>, setup: Arc<ConferenceSetup>) {
        self.setup = setup;
    }

    /// Marks the shard for [`Shard::end_turn`]; true if it was not marked.
    pub fn mark_dirty(&mut self) -> bool {
        !std::mem::replace(&mut self.dirty, true)
    }

    pub fn clear_dirty(&mut self) {
        self.dirty = false;
    }

    pub fn endpoint_indices(&self) -> Vec<usize> {
        self.endpoints.iter().map(|(index, _)| index).collect()
    }

    /// Adds an endpoint; its index.
    pub fn add_endpoint(
        &mut self,
        cx: &mut Context<'_>,
        setup: EndpointSetup,
        place: Place,
        random: Random,
    ) -> usize {
        let endpoint = Endpoint::new(&setup, &self.config, place, random, cx.now);
        let index = self.endpoints.insert(endpoint);
        // Its sources may have been announced before it.
        for source in self.by_owner.get(&setup.key).into_iter().flatten() {
            self.sources[*source].local_owner = Some(index);
        }
        if let Some(speech) = &mut self.speech
            && !setup.visitor
        {
            speech.add(setup.key);
        }
        self.drain_ice(cx, index);
        self.subscribe_to_all_audio(index);
        self.allocate = true;
        self.touch(index);
        index
    }

    /// Removes an endpoint and everything that points at it.
    pub fn remove_endpoint(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(mut endpoint) = self.endpoints.try_remove(index) else {
            return;
        };
        endpoint.downlink.forget_paced(cx);
        let (uplink, downlink) = (&endpoint.uplink, &endpoint.downlink);
        let video_millis = uplink.video_time().as_millis();
        for (counter, total) in [
            (Counter::GonePacketsIn, uplink.packets),
            (Counter::GoneBytesIn, uplink.bytes),
            (Counter::GonePacketsOut, downlink.packets),
            (Counter::GoneBytesOut, downlink.bytes),
            (
                Counter::GoneVideoMillis,
                u64::try_from(video_millis).unwrap_or(u64::MAX),
            ),
        ] {
            cx.counters.add(counter, total);
        }
        for path in endpoint.paths {
            cx.routes.push(RouteChange::Removed(path));
        }
        for ufrag in endpoint.ufrags {
            cx.routes.push(RouteChange::UfragRemoved(ufrag));
        }
        cx.routes.push(RouteChange::AgentRemoved(endpoint.agent));
        for (_, source) in &mut self.sources {
            source.unsubscribe(index);
            if source.local_owner == Some(index) {
                source.local_owner = None;
            }
        }
        if let Some(speech) = &mut self.speech {
            speech.remove(endpoint.key);
        }
        self.touched.retain(|touched| *touched != index);
    }

    /// Replaces the sources of an endpoint of the conference, wherever it lives.
    pub fn set_sources(&mut self, cx: &mut Context<'_>, announced: &EndpointSources) {
        let local = self
            .endpoints
            .iter()
            .find(|(_, endpoint)| endpoint.key == announced.endpoint)
            .map(|(index, _)| index);
        let old = self
            .by_owner
            .remove(&announced.endpoint)
            .unwrap_or_default();
        let mut indices = Vec::new();
        for description in &announced.sources {
            let kept = old
                .iter()
                .copied()
                .find(|index| self.sources[*index].key == description.key);
            let index = kept.unwrap_or_else(|| {
                let source = Source::new(description, announced, local);
                let index = self.sources.insert(source);
                self.by_source.insert(description.key, index);
                index
            });
            indices.push(index);
        }
        for index in old {
            if !indices.contains(&index) {
                self.remove_source(cx, index);
            }
        }
        let new: Vec<usize> = indices.clone();
        if !indices.is_empty() {
            self.by_owner.insert(announced.endpoint, indices);
        }
        if let (Some(speech), None) = (&mut self.speech, local) {
            // Speakers of other workers are known by their sources.
            if announced.sources.is_empty() {
                speech.remove(announced.endpoint);
            } else {
                speech.add(announced.endpoint);
            }
        }
        if let Some(local) = local {
            let endpoint = &mut self.endpoints[local];
            endpoint
                .uplink
                .set_sources(&announced.sources, endpoint.inbound.as_mut());
            self.touch(local);
        }
        for index in new {
            if self.sources[index].kind == MediaKind::Audio {
                self.subscribe_all_to_audio(index);
            }
        }
        self.all_need_allocation();
    }

    fn remove_source(&mut self, cx: &mut Context<'_>, index: usize) {
        let source = self.sources.remove(index);
        self.by_source.remove(&source.key);
        for (_, endpoint) in &mut self.endpoints {
            endpoint.forget_source(source.key, source.kind);
        }
        let _ = cx;
    }

    /// A video source is switched on, off, or shows something else.
    pub fn set_video_type(&mut self, _cx: &mut Context<'_>, key: SourceKey, video_type: VideoType) {
        if let Some(index) = self.by_source.get(&key) {
            let source = &mut self.sources[*index];
            if source.video_type != video_type {
                source.video_type = video_type;
                self.all_need_allocation();
            }
        }
    }

    /// Order of endpoints for allocation.
    pub fn set_order(&mut self, order: Arc<[EndpointKey]>) {
        if self.order != order {
            self.order = order;
            self.all_need_allocation();
        }
    }

    /// The bridge-wide last-n becomes the smaller of the configured one and this; −1 = no limit. Receivers are not
    /// allocated at once: each has its turn within `max-time-between-calculations`, which spreads the work.
    pub fn set_last_n_limit(&mut self, limit: i32) {
        let limits = [self.config.allocation.last_n, limit];
        let smallest = limits.into_iter().filter(|limit| *limit >= 0).min();
        self.allocation.last_n = smallest.unwrap_or(-1);
    }

    pub fn set_formats(&mut self, cx: &mut Context<'_>, index: usize, formats: Arc<MediaFormats>) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        endpoint.formats = cx.formats.table(formats);
        let mechanism = endpoint.formats.mechanism();
        if endpoint.downlink.estimator.mechanism() != mechanism {
            let estimator = self.config.estimator;
            endpoint.downlink.estimator = SendSideEstimator::new(estimator, mechanism);
        }
        endpoint.receiver.pending = true;
        self.allocate = true;
        self.subscribe_to_all_audio(index);
        self.touch(index);
    }

    pub fn set_force_mute(&mut self, index: usize, audio: bool, video: bool) {
        if let Some(endpoint) = self.endpoints.get_mut(index) {
            endpoint.uplink.gate.set_muted(audio);
            endpoint.uplink.mute_video = video;
        }
    }

    /// Copies an endpoint's packets, or no longer. What was set before ends.
    pub fn set_capture(&mut self, index: usize, tap: Option<Box<CaptureTap>>) {
        if let Some(endpoint) = self.endpoints.get_mut(index) {
            endpoint.downlink.capture = tap;
        }
    }

    /// The endpoint's timers must be looked at when the turn ends.
    fn touch(&mut self, index: usize) {
        if self.touched.last() != Some(&index) {
            self.touched.push(index);
        }
    }

    /// Packets that wait in the pacers of its receivers.
    pub fn paced(&self) -> usize {
        let endpoints = self.endpoints.iter();
        endpoints
            .map(|(_, endpoint)| endpoint.downlink.pacer.waiting())
            .sum()
    }

    fn all_need_allocation(&mut self) {
        for (_, endpoint) in &mut self.endpoints {
            endpoint.receiver.pending = true;
        }
        self.allocate = true;
    }

    /// Runs what became due within the turn.
    pub fn end_turn(&mut self, cx: &mut Context<'_>) {
        self.run_allocations(cx);
        self.poll_speech(cx);
    }

    /// Reports deadlines that are earlier than what the timer wheel holds.
    pub fn take_deadlines(&mut self, mut arm: impl FnMut(usize, Time)) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for index in touched.drain(..) {
            let Some(endpoint) = self.endpoints.get_mut(index) else {
                continue;
            };
            let deadline = endpoint.deadline();
            if deadline < endpoint.schedule.armed {
                endpoint.schedule.armed = deadline;
                arm(index, deadline);
            }
        }
        self.touched = touched;
        let deadline = self.shard_deadline();
        if deadline < self.shard_armed {
            self.shard_armed = deadline;
            arm(SHARD_TIMER, deadline);
        }
    }

    fn shard_deadline(&self) -> Time {
        let speech = self.speech.as_ref().and_then(DominantSpeaker::poll_timeout);
        let waiting = self.keyframes_at.iter().map(|(at, _)| *at);
        waiting.chain(speech).fold(self.keyframes_due, Time::min)
    }

    /// A timer fired: for an endpoint, or [`SHARD_TIMER`].
    pub fn handle_timer(&mut self, cx: &mut Context<'_>, index: usize) {
        if index == SHARD_TIMER {
            self.shard_armed = Time::FAR;
            self.handle_shard_timer(cx);
            return;
        }
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        endpoint.schedule.armed = Time::FAR;
        self.touch(index);
        self.handle_ice_timer(cx, index);
        self.handle_media_timers(cx, index);
        self.check_liveness(cx, index);
    }

    fn handle_shard_timer(&mut self, cx: &mut Context<'_>) {
        if let Some(speech) = &mut self.speech {
            speech.handle_timeout(cx.now);
        }
        let now = cx.now;
        let mut due = Vec::new();
        self.keyframes_at.retain(|(at, source)| {
            let wait = *at > now;
            if !wait {
                due.push(*source);
            }
            wait
        });
        for source in due {
            if let Some(index) = self.by_source.get(&source).copied() {
                self.request_keyframe(cx, index, None);
            }
        }
        self.poll_keyframe_requests(cx);
    }

    fn poll_speech(&mut self, cx: &mut Context<'_>) {
        let Some(speech) = &mut self.speech else {
            return;
        };
        while let Some(event) = speech.poll_event() {
            cx.event(Event::DominantSpeaker(self.setup.key, event));
        }
    }

    /// Every `check_interval`: tells whether the endpoint became active or inactive (media-plane §1.7).
    fn check_liveness(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        if cx.now < endpoint.schedule.liveness {
            return;
        }
        let liveness = &self.config.liveness;
        endpoint.schedule.liveness = cx.now + liveness.check_interval;
        let active = match endpoint.last_activity {
            Some(last) => Some(cx.now - last <= liveness.max_inactivity),
            None if cx.now - endpoint.created >= liveness.first_transfer_timeout => Some(false),
            None => None,
        };
        if let Some(active) = active
            && endpoint.active != Some(active)
        {
            endpoint.active = Some(active);
            if !endpoint.visitor {
                cx.event(Event::Connectivity(endpoint.key, active));
            }
        }
        if let Some(last) = endpoint.last_activity
            && last > endpoint.activity_told
            && cx.now - endpoint.activity_told >= std::time::Duration::from_secs(2)
        {
            endpoint.activity_told = cx.now;
            cx.event(Event::Activity(endpoint.key, last));
        }
    }

    /// Copies of every endpoint's state, and what was noted for its timeline.
    pub fn collect_stats(&mut self, now: Time, out: &mut Vec<crate::stats::EndpointStats>) {
        let notes: Vec<_> = self
            .endpoints
            .iter_mut()
            .map(|(_, endpoint)| endpoint.notebook.take())
            .collect();
        for ((index, endpoint), (happened, missed)) in self.endpoints.iter().zip(notes) {
            let forwarded = endpoint
                .receiver
                .allocation
                .entries
                .iter()
                .filter_map(|entry| {
                    let source = &self.sources[*self.by_source.get(&entry.source)?];
                    Some(crate::stats::ForwardedStats {
                        source: source.name.clone(),
                        target: entry.target,
                        ideal: entry.ideal,
                        height: source.height_of(entry.target),
                        reason: entry.reason,
                        sending: self.sending(index, entry),
                    })
                })
                .collect();
            let mut media = crate::stats::MediaStats {
                reported_lost: endpoint.downlink.lost,
                oversending: endpoint.receiver.allocation.oversending,
                has_suspended: endpoint.receiver.allocation.has_suspended,
                spurious_remb: endpoint.downlink.spurious_remb,
                nacks_in: endpoint.downlink.nacks,
                resent: endpoint.downlink.resent,
                keyframe_requests: endpoint.downlink.keyframe_requests,
                ..Default::default()
            };
            endpoint.uplink.describe(now, &mut media);
            out.push(crate::stats::EndpointStats {
                endpoint: endpoint.key,
                conference: self.setup.key,
                connected: endpoint.inbound.is_some() && endpoint.downlink.path.is_some(),
                remote: endpoint.downlink.path.map(|path| path.remote),
                rtt: endpoint.downlink.round_trip(),
                incoming: endpoint.uplink.rate_now(now),
                outgoing: endpoint.downlink.rate_now(now),
                outgoing_loss: endpoint.downlink.reported_loss,
                incoming_loss: endpoint.uplink.loss(now),
                estimate: endpoint.downlink.estimator.estimate(),
                forwarded,
                packets_in: endpoint.uplink.packets,
                packets_out: endpoint.downlink.packets,
                media,
                happened,
                missed,
            });
        }
    }
}

/// Whether an SSRC is some source's: a slot must not use it.
fn is_signaled(sources: &slab::Slab<Source>, ssrc: u32) -> bool {
    sources.iter().any(|(_, source)| {
        source
            .encodings
            .iter()
            .any(|known| known.ssrc == ssrc || known.rtx_ssrc == Some(ssrc))
    })
}

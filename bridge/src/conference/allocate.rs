//! Runs the allocator for receivers whose result may be stale and carries the result out: layers, slots,
//! subscriptions, messages.

use super::Shard;
use super::source::Subscriber;
use crate::allocation::{SourceView, allocate};
use crate::channel::{ReceiverVideoConstraints, SourceMapping};
use crate::endpoint::Endpoint;
use crate::endpoint::downlink::{Mid, SentCounts, VideoStream};
use crate::ids::{SourceKey, SourceName};
use crate::media::MediaKind;
use crate::messages::Event;
use crate::projection::{LayerIndex, Projection, RtxStream, SentRecords};
use crate::units::Bitrate;
use crate::worker::context::Context;

impl Shard {
    pub fn set_receiver_constraints(
        &mut self,
        _cx: &mut Context<'_>,
        index: usize,
        constraints: &ReceiverVideoConstraints,
    ) {
        if let Some(endpoint) = self.endpoints.get_mut(index)
            && endpoint.receiver.settings.apply(constraints)
        {
            endpoint.receiver.pending = true;
            self.allocate = true;
        }
    }

    pub fn set_last_n(&mut self, index: usize, last_n: i32) {
        if let Some(endpoint) = self.endpoints.get_mut(index)
            && endpoint.receiver.settings.set_last_n(last_n)
        {
            endpoint.receiver.pending = true;
            self.allocate = true;
        }
    }

    pub fn set_initial_last_n(&mut self, index: usize, last_n: i32) {
        if let Some(endpoint) = self.endpoints.get_mut(index)
            && endpoint.receiver.settings.set_initial_last_n(last_n)
        {
            endpoint.receiver.pending = true;
            self.allocate = true;
        }
    }

    /// The endpoint's bridge channel connected: everything it was told before is told again.
    pub fn replay_state(&mut self, cx: &mut Context<'_>, index: usize) {
        self.run_allocations(cx);
        let Some(endpoint) = self.endpoints.get(index) else { return };
        let key = endpoint.key;
        if let Some(slots) = &endpoint.slots {
            let video: Vec<SourceMapping> = slots
                .video
                .bindings()
                .filter_map(|binding| self.mapping_of(binding.source, binding.ssrc, Some(binding.rtx), binding.mid))
                .collect();
            let audio: Vec<SourceMapping> = slots
                .audio
                .bindings()
                .filter_map(|binding| self.mapping_of(binding.source, binding.ssrc, None, binding.mid))
                .collect();
            if !video.is_empty() {
                cx.event(Event::VideoSourcesMap(key, video));
            }
            if !audio.is_empty() {
                cx.event(Event::AudioSourcesMap(key, audio));
            }
        }
        cx.event(Event::ForwardedSources(key, endpoint.receiver.forwarded.clone()));
    }

    fn mapping_of(
        &self,
        source: SourceKey,
        ssrc: u32,
        rtx: Option<u32>,
        mid: Option<String>,
    ) -> Option<SourceMapping> {
        let source = self.sources.get(*self.by_source.get(&source)?)?;
        Some(SourceMapping {
            source: source.name.clone(),
            owner: source.owner_id.clone(),
            ssrc,
            rtx,
            video_type: (source.kind == MediaKind::Video).then_some(source.video_type),
            mid,
        })
    }

    /// Runs the allocator for everybody who waits for it.
    pub(super) fn run_allocations(&mut self, cx: &mut Context<'_>) {
        if !std::mem::take(&mut self.allocate) {
            return;
        }
        for (_, source) in &mut self.sources {
            if source.kind == MediaKind::Video {
                source.refresh_layers(cx.now);
            }
        }
        let waiting: Vec<usize> = self
            .endpoints
            .iter()
            .filter(|(_, endpoint)| endpoint.receiver.pending)
            .map(|(index, _)| index)
            .collect();
        for index in waiting {
            self.run_allocation(cx, index);
        }
    }

    /// Runs it for receivers that were not looked at for a while.
    pub(super) fn periodic_allocation(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(endpoint) = self.endpoints.get_mut(index) else { return };
        if cx.now - endpoint.receiver.last_run >= self.config.allocation.max_time_between_runs {
            endpoint.receiver.pending = true;
            self.allocate = true;
        }
    }

    fn run_allocation(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(endpoint) = self.endpoints.get(index) else { return };
        let config = &self.config.allocation;
        let ordered: Vec<usize> = self
            .order
            .iter()
            .filter(|owner| **owner != endpoint.key)
            .filter_map(|owner| self.by_owner.get(owner))
            .flatten()
            .copied()
            .filter(|source| self.sources[*source].kind == MediaKind::Video)
            .collect();
        let views: Vec<SourceView<'_>> = ordered
            .iter()
            .map(|index| {
                let source = &self.sources[*index];
                SourceView {
                    key: source.key,
                    name: &source.name,
                    owner: source.owner,
                    video_type: source.video_type,
                    layers: &source.layers,
                }
            })
            .collect();
        let bandwidth = endpoint
            .downlink
            .estimator
            .estimate()
            .filter(|_| config.trust_estimate && endpoint.formats.rtx);
        let allocation = allocate(config, &endpoint.receiver.settings, &views, bandwidth);

        let constraints: Vec<(SourceKey, i32)> =
            allocation.entries.iter().map(|entry| (entry.source, entry.max_height)).collect();
        let wanted: Vec<(SourceKey, bool)> = allocation
            .entries
            .iter()
            .filter(|entry| entry.enabled)
            .map(|entry| (entry.source, entry.max_height != 0))
            .collect();
        let targets: Vec<(SourceKey, i32)> =
            allocation.entries.iter().map(|entry| (entry.source, entry.target)).collect();
        let forwarded: Vec<SourceName> = targets
            .iter()
            .filter(|(_, target)| *target >= 0)
            .filter_map(|(key, _)| Some(self.sources[*self.by_source.get(key)?].name.clone()))
            .collect();
        let (target_rate, ideal_rate) = (allocation.target_bitrate, allocation.ideal_bitrate);

        let endpoint = &mut self.endpoints[index];
        endpoint.receiver.pending = false;
        endpoint.receiver.last_run = cx.now;
        endpoint.receiver.allocation = allocation;
        if let Some(estimate) = bandwidth {
            endpoint.receiver.estimate.acted_upon(estimate);
        }
        endpoint.downlink.estimator.set_demand(target_rate, ideal_rate.min(Bitrate::kbps(50_000)));
        let key = endpoint.key;
        if endpoint.receiver.constraints != constraints {
            endpoint.receiver.constraints.clone_from(&constraints);
            cx.event(Event::EffectiveConstraints(key, constraints));
        }
        self.bind_video(cx, index, &wanted);
        self.apply_targets(cx, index, &targets);
        let endpoint = &mut self.endpoints[index];
        if endpoint.receiver.forwarded != forwarded {
            endpoint.receiver.forwarded.clone_from(&forwarded);
            cx.event(Event::ForwardedSources(key, forwarded));
        }
    }

    /// Gives sources an outgoing stream: a slot each for rewriting receivers (allocation spec §11 V1, V2), their
    /// own SSRC for others.
    fn bind_video(&mut self, cx: &mut Context<'_>, index: usize, wanted: &[(SourceKey, bool)]) {
        let Some(endpoint) = self.endpoints.get_mut(index) else { return };
        let (sources, by_source) = (&self.sources, &self.by_source);
        let primary = |key: SourceKey| {
            by_source.get(&key).and_then(|index| sources.get(*index)).map(|source| source.primary_ssrc())
        };
        let Some(slots) = &mut endpoint.slots else {
            for (key, _) in wanted {
                if endpoint.downlink.video.iter().any(|(_, stream)| stream.source == *key) {
                    continue;
                }
                let Some(source) = by_source.get(key).and_then(|index| sources.get(*index)) else { continue };
                let Some(first) = source.encodings.first() else { continue };
                // An SSRC that was used before goes on where it stopped: its SRTP indices must not repeat.
                let known = endpoint
                    .downlink
                    .video
                    .iter()
                    .find(|(_, stream)| stream.ssrc == first.ssrc)
                    .map(|(stream, _)| stream);
                match known {
                    Some(stream) => {
                        let stream = &mut endpoint.downlink.video[stream];
                        stream.source = *key;
                        stream.projection.rebind();
                    }
                    None => {
                        endpoint.downlink.video.insert(VideoStream {
                            source: *key,
                            ssrc: first.ssrc,
                            rtx_ssrc: first.rtx_ssrc,
                            mid: None,
                            projection: Projection::new(&mut self.random),
                            records: SentRecords::new(),
                            rtx: RtxStream::new(&mut self.random),
                            sent: SentCounts::default(),
                        });
                    }
                }
            }
            return;
        };
        let mut list: Vec<(SourceKey, u32)> = Vec::with_capacity(wanted.len());
        for active in [true, false] {
            list.extend(
                wanted
                    .iter()
                    .filter(|(_, is_active)| *is_active == active)
                    .filter_map(|(key, _)| Some((*key, primary(*key)?))),
            );
        }
        list.truncate(slots.video.capacity());
        let taken = |ssrc: u32| {
            sources.iter().any(|(_, source)| {
                source.encodings.iter().any(|known| known.ssrc == ssrc || known.rtx_ssrc == Some(ssrc))
            })
        };
        let bindings = slots.video.activate(&list, &mut self.random, &taken);
        if bindings.is_empty() {
            return;
        }
        let mut mappings = Vec::with_capacity(bindings.len());
        for binding in bindings {
            let known = endpoint
                .downlink
                .video
                .iter()
                .find(|(_, stream)| stream.ssrc == binding.ssrc)
                .map(|(stream, _)| stream);
            match known {
                Some(stream) => {
                    let stream = &mut endpoint.downlink.video[stream];
                    stream.source = binding.source;
                    stream.projection.rebind();
                }
                None => {
                    endpoint.downlink.video.insert(VideoStream {
                        source: binding.source,
                        ssrc: binding.ssrc,
                        rtx_ssrc: Some(binding.rtx),
                        mid: binding.mid.as_deref().and_then(Mid::new),
                        projection: Projection::new(&mut self.random),
                        records: SentRecords::new(),
                        rtx: RtxStream::new(&mut self.random),
                        sent: SentCounts::default(),
                    });
                }
            }
            if let Some(source) = by_source.get(&binding.source).and_then(|index| sources.get(*index)) {
                mappings.push(SourceMapping {
                    source: source.name.clone(),
                    owner: source.owner_id.clone(),
                    ssrc: binding.ssrc,
                    rtx: Some(binding.rtx),
                    video_type: Some(source.video_type),
                    mid: binding.mid,
                });
            }
        }
        cx.event(Event::VideoSourcesMap(endpoint.key, mappings));
    }

    /// Sets every stream's target and keeps the sources' subscriber lists equal to who is sent something.
    fn apply_targets(&mut self, cx: &mut Context<'_>, index: usize, targets: &[(SourceKey, i32)]) {
        let Some(endpoint) = self.endpoints.get_mut(index) else { return };
        let mut wants_keyframe = Vec::new();
        let Endpoint { downlink, formats, .. } = endpoint;
        for (stream_index, stream) in &mut downlink.video {
            let target = targets
                .iter()
                .find(|(key, _)| *key == stream.source)
                .map_or(-1, |(_, target)| *target);
            let target = if formats.video { target } else { -1 };
            stream.projection.set_target(LayerIndex(target));
            let Some(source) = self.by_source.get(&stream.source).copied() else { continue };
            let Some(source_state) = self.sources.get_mut(source) else { continue };
            let position = source_state
                .subscribers
                .iter()
                .position(|subscriber| subscriber.endpoint == index && subscriber.stream == stream_index);
            match (target >= 0, position) {
                (true, None) => {
                    source_state.unsubscribe(index);
                    source_state.subscribers.push(Subscriber { endpoint: index, stream: stream_index });
                    wants_keyframe.push(source);
                }
                (false, Some(position)) => {
                    source_state.subscribers.swap_remove(position);
                }
                _ => {}
            }
        }
        // A slot that was rebound leaves the previous source's list.
        let bound: Vec<(SourceKey, usize)> =
            downlink.video.iter().map(|(stream_index, stream)| (stream.source, stream_index)).collect();
        let (ready, key) = (downlink.is_ready(), endpoint.key);
        for (_, source) in &mut self.sources {
            if source.kind == MediaKind::Video {
                let source_key = source.key;
                source.subscribers.retain(|subscriber| {
                    subscriber.endpoint != index
                        || bound.contains(&(source_key, subscriber.stream))
                });
            }
        }
        if ready {
            for source in wants_keyframe {
                self.request_keyframe(cx, source, Some(key));
            }
        }
    }
}

impl Endpoint {
    /// A source is gone: its slot is free for another (no message is owed).
    pub(crate) fn forget_source(&mut self, key: SourceKey, kind: MediaKind) {
        if let Some(slots) = &mut self.slots {
            match kind {
                MediaKind::Audio => slots.audio.release(key),
                MediaKind::Video => slots.video.release(key),
            }
        }
    }
}

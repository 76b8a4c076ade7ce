//! Runs the allocator for receivers whose result may be stale and carries the result out: layers, slots,
//! subscriptions, messages.

use std::time::Duration;

use super::Shard;
use super::source::{Source, Subscriber};
use super::watch::note_allocation;
use crate::allocation::{SourceView, allocate, usable_bandwidth};
use crate::channel::{ReceiverVideoConstraints, SourceMapping};
use crate::config::{AllocationConfig, BridgeConfig};
use crate::endpoint::Endpoint;
use crate::endpoint::downlink::{Mid, VideoStream};
use crate::ids::{SourceKey, SourceName};
use crate::media::MediaKind;
use crate::messages::Event;
use crate::projection::LayerIndex;
use crate::projection::slots::{Slot, SlotSource};
use crate::time::Time;
use crate::units::Bitrate;
use crate::worker::context::Context;

/// How soon a receiver is looked at again whose estimate is above what was allocated.
const HOLDING: Duration = Duration::from_millis(500);

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
        let Some(endpoint) = self.endpoints.get(index) else {
            return;
        };
        let key = endpoint.key;
        if let Some(slots) = &endpoint.slots {
            let video: Vec<SourceMapping> = slots
                .video
                .bindings()
                .iter()
                .filter_map(|binding| {
                    let slot = slots.video.slots().get(binding.slot)?;
                    self.mapping_of(binding.source.key, slot, endpoint.mid_demux)
                })
                .collect();
            let audio: Vec<SourceMapping> = slots
                .audio
                .bindings()
                .iter()
                .filter_map(|binding| {
                    let slot = slots.audio.slots().get(binding.slot)?;
                    self.mapping_of(binding.source.key, slot, endpoint.mid_demux)
                })
                .collect();
            if !video.is_empty() {
                cx.event(Event::VideoSourcesMap(key, video));
            }
            if !audio.is_empty() {
                cx.event(Event::AudioSourcesMap(key, audio));
            }
        }
        cx.event(Event::ForwardedSources(
            key,
            endpoint.receiver.forwarded.clone(),
        ));
    }

    fn mapping_of(
        &self,
        source: SourceKey,
        slot: &Slot<usize>,
        mid: bool,
    ) -> Option<SourceMapping> {
        let source = self.sources.get(*self.by_source.get(&source)?)?;
        Some(mapping(source, slot, mid))
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
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let receiver = &endpoint.receiver;
        let period = if receiver.damper.is_holding() {
            HOLDING.min(self.config.allocation.max_time_between_runs)
        } else {
            self.config.allocation.max_time_between_runs
        };
        if cx.now - receiver.last_run >= period {
            endpoint.receiver.pending = true;
            self.allocate = true;
        }
    }

    fn run_allocation(&mut self, cx: &mut Context<'_>, index: usize) {
        let config = &self.allocation;
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let mut bandwidth = endpoint.bandwidth_to_allocate(cx.now, config);
        let endpoint = &*endpoint;
        let audio = endpoint.downlink.numbered_audio.rate(cx.now);
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
        let settings = &endpoint.receiver.settings;
        let mut allocation = allocate(config, settings, &views, bandwidth);
        let damped =
            settings.assumed_bandwidth().is_none() && endpoint.receiver.damper.is_holding();
        if allocation.has_suspended && damped {
            let suspended = endpoint.receiver.damper.bandwidth_for_suspended(cx.now);
            bandwidth = suspended.map(|bandwidth| bandwidth - audio);
            allocation = allocate(config, settings, &views, bandwidth);
        }

        let constraints: Vec<(SourceKey, i32)> = allocation
            .entries
            .iter()
            .map(|entry| (entry.source, entry.max_height))
            .collect();
        let wanted: Vec<SourceKey> = allocation
            .slot_sources(config.video_slots)
            .map(|entry| entry.source)
            .collect();
        let targets: Vec<(SourceKey, i32)> = allocation
            .entries
            .iter()
            .map(|entry| (entry.source, entry.target))
            .collect();
        let forwarded: Vec<SourceName> = targets
            .iter()
            .filter(|(_, target)| *target >= 0)
            .filter_map(|(key, _)| Some(self.sources[*self.by_source.get(key)?].name.clone()))
            .collect();
        let target_rate = allocation.target_bitrate + audio;
        let ideal_rate = allocation.ideal_bitrate + audio;

        let (sources, by_source) = (&self.sources, &self.by_source);
        let endpoint = &mut self.endpoints[index];
        endpoint.receiver.pending = false;
        endpoint.receiver.last_run = cx.now;
        let before = std::mem::replace(&mut endpoint.receiver.allocation, allocation);
        let after = &endpoint.receiver.allocation;
        note_allocation(
            &mut endpoint.notebook,
            cx.now,
            (&before, after),
            (bandwidth, damped),
            |key| sources.get(*by_source.get(&key)?),
        );
        endpoint.receiver.damper.allocated(cx.now, &before, after);
        let held = endpoint.receiver.damper.is_holding();
        endpoint
            .downlink
            .estimator
            .set_demand(cx.now, target_rate, ideal_rate, held);
        endpoint.set_pace(cx.now, &self.config);
        let key = endpoint.key;
        // There may be something to probe for.
        self.touch(index);
        let endpoint = &mut self.endpoints[index];
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
    fn bind_video(&mut self, cx: &mut Context<'_>, index: usize, wanted: &[SourceKey]) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let (sources, by_source, setup) = (&self.sources, &self.by_source, &self.setup);
        let find = |key: &SourceKey| by_source.get(key).and_then(|index| sources.get(*index));
        let streams = &mut endpoint.downlink.video;
        let Some(slots) = &mut endpoint.slots else {
            for source in wanted.iter().filter_map(find) {
                let Some(first) = source.encodings.first() else {
                    continue;
                };
                // An SSRC that was used before goes on where it stopped: its SRTP indices must not repeat.
                let known = streams
                    .iter()
                    .find(|(_, stream)| stream.ssrc == first.ssrc)
                    .map(|(at, _)| at);
                match known {
                    Some(at) if streams[at].source == source.key => {}
                    Some(at) => streams[at].rebind(source.key),
                    None => {
                        streams.insert(VideoStream::new(
                            source.key,
                            first.ssrc,
                            first.rtx_ssrc,
                            &mut self.random,
                        ));
                    }
                }
            }
            return;
        };
        let list: Vec<SlotSource> = wanted
            .iter()
            .filter_map(find)
            .map(|source| SlotSource {
                key: source.key,
                primary_ssrc: source.primary_ssrc(),
            })
            .collect();
        let audio = &slots.audio;
        let taken = |ssrc: u32| {
            ssrc == setup.audio_ssrc
                || ssrc == setup.video_ssrc
                || audio.by_ssrc(ssrc).is_some()
                || super::is_signaled(sources, ssrc)
        };
        let bindings = slots
            .video
            .activate(&list, &mut self.random, taken, |random, ssrc, rtx| {
                // The binding that is made right after this names the source.
                streams.insert(VideoStream::new(SourceKey(0), ssrc, Some(rtx), random))
            });
        if bindings.is_empty() {
            return;
        }
        let mut mappings = Vec::with_capacity(bindings.len());
        for binding in bindings {
            let Some(slot) = slots.video.slots().get(binding.slot) else {
                continue;
            };
            let Some(stream) = streams.get_mut(slot.state) else {
                continue;
            };
            if binding.reused {
                stream.rebind(binding.source.key);
            } else {
                stream.source = binding.source.key;
                stream.mid = endpoint.mid_demux.then(|| Mid::new(slot.mid())).flatten();
            }
            if let Some(source) = find(&binding.source.key) {
                mappings.push(mapping(source, slot, endpoint.mid_demux));
            }
        }
        cx.event(Event::VideoSourcesMap(endpoint.key, mappings));
    }

    /// Sets every stream's target and keeps the sources' subscriber lists equal to who is sent something.
    fn apply_targets(&mut self, cx: &mut Context<'_>, index: usize, targets: &[(SourceKey, i32)]) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let mut wants_keyframe = Vec::new();
        let Endpoint {
            downlink,
            formats,
            key,
            ..
        } = endpoint;
        for (stream_index, stream) in &mut downlink.video {
            let target = targets
                .iter()
                .find(|(key, _)| *key == stream.source)
                .map_or(-1, |(_, target)| *target);
            let target = if formats.video { target } else { -1 };
            stream.projection.set_target(LayerIndex(target));
            let starved = stream.projection.needs_keyframe();
            let Some(source) = self.by_source.get(&stream.source).copied() else {
                continue;
            };
            let Some(source_state) = self.sources.get_mut(source) else {
                continue;
            };
            let position = source_state.subscribers.iter().position(|subscriber| {
                subscriber.endpoint == index && subscriber.stream == stream_index
            });
            match (target >= 0, position) {
                (true, None) => {
                    source_state.unsubscribe(index);
                    source_state.subscribers.push(Subscriber {
                        endpoint: index,
                        stream: stream_index,
                    });
                }
                (false, Some(position)) => {
                    source_state.subscribers.swap_remove(position);
                }
                _ => {}
            }
            if target >= 0 && starved {
                wants_keyframe.push(source);
            }
        }
        // A slot that was rebound leaves the previous source's list.
        let bound: Vec<(SourceKey, usize)> = downlink
            .video
            .iter()
            .map(|(stream_index, stream)| (stream.source, stream_index))
            .collect();
        let (ready, key) = (downlink.is_ready(), *key);
        for (_, source) in &mut self.sources {
            if source.kind == MediaKind::Video {
                let source_key = source.key;
                source.subscribers.retain(|subscriber| {
                    subscriber.endpoint != index || bound.contains(&(source_key, subscriber.stream))
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

fn mapping(source: &Source, slot: &Slot<usize>, mid: bool) -> SourceMapping {
    let video = source.kind == MediaKind::Video;
    SourceMapping {
        source: source.name.clone(),
        owner: source.owner_id.clone(),
        ssrc: slot.ssrc(),
        rtx: video.then(|| slot.rtx_ssrc()),
        video_type: video.then_some(source.video_type),
        mid: mid.then(|| slot.mid().to_owned()),
    }
}

impl Endpoint {
    /// The estimate, damped; a bandwidth that the receiver told us to assume as it is.
    fn bandwidth_to_allocate(&mut self, now: Time, config: &AllocationConfig) -> Option<Bitrate> {
        let estimate = self.downlink.estimator.estimate();
        let settings = &self.receiver.settings;
        let bandwidth = usable_bandwidth(config, settings, estimate, self.formats.rtx)?;
        Some(match settings.assumed_bandwidth() {
            Some(_) => bandwidth,
            // What audio takes of the estimate is not for video.
            None => {
                let audio = self.downlink.numbered_audio.rate(now);
                self.receiver.damper.bandwidth(now, bandwidth) - audio
            }
        })
    }

    /// Video is paced where the estimate counts.
    pub(crate) fn set_pace(&mut self, now: Time, config: &BridgeConfig) {
        let (pacing, settings) = (config.pacing, &self.receiver.settings);
        let estimator = &self.downlink.estimator;
        let counts = pacing.factor > 0.0
            && settings.assumed_bandwidth().is_none()
            && usable_bandwidth(
                &config.allocation,
                settings,
                estimator.estimate(),
                self.formats.rtx,
            )
            .is_some();
        let rate = counts.then(|| estimator.pacing_rate(pacing.factor));
        self.downlink.pacer.set_rate(now, rate, pacing.burst);
    }

    /// A source is gone: its slot is free for another (no message is owed).
    pub(crate) fn forget_source(&mut self, key: SourceKey, kind: MediaKind) {
        if let Some(slots) = &mut self.slots {
            match kind {
                MediaKind::Audio => slots.audio.release(key),
                MediaKind::Video => slots.video.release(key),
            };
        }
    }
}

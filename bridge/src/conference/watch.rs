//! What is noted for the timelines of endpoints: allocations that changed, layers that are really sent, streams that stand still.

use super::Shard;
use super::source::Source;
use crate::allocation::{Allocation, Entry, Reason, SUSPENDED};
use crate::endpoint::downlink::VideoStream;
use crate::ids::SourceKey;
use crate::projection::LayerIndex;
use crate::stats::Sending;
use crate::time::Time;
use crate::timeline::{Decision, Notebook, Stall, What};
use crate::units::Bitrate;
use std::time::Duration;

/// A stream without a packet for this long stands still …
const STILL: Duration = Duration::from_secs(1);
/// … and a screen after this time: nothing may have changed on it.
const SCREEN_STILL: Duration = Duration::from_secs(5);

/// What the timer saw of an outgoing stream the last time.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Watch {
    /// Packets sent by then.
    packets: u32,
    /// Layer sent, plus one; 0 = none.
    layer: i32,
    /// Since when no packet was sent.
    quiet_since: Option<Time>,
    /// Why, once that is long enough.
    stalled: Option<Stall>,
}

impl Watch {
    /// Why nothing of the stream is sent, if that is so.
    pub fn stalled(&self) -> Option<Stall> {
        self.stalled
    }
}

/// Why a stream of `source` that should be sent is not.
fn cause(now: Time, ready: bool, stream: &VideoStream, source: &Source) -> Stall {
    if !ready {
        Stall::NotConnected
    } else if source.rates.total(now) == Bitrate::ZERO {
        Stall::NoPackets
    } else if stream.unreadable {
        Stall::Codec
    } else if stream.projection.needs_keyframe() || stream.projection.current_encoding().is_none() {
        Stall::NoKeyframe
    } else {
        Stall::NoLayer
    }
}

/// Whether nothing of the encoding comes any more, and something of others.
fn is_given_up(now: Time, source: &Source, target: LayerIndex) -> bool {
    let Some(encoding) = target.encoding() else {
        return false;
    };
    let rate = source.rates.rate(now, encoding, u8::MAX);
    rate == Bitrate::ZERO && source.rates.total(now) > Bitrate::ZERO
}

/// Notes what changed from one allocation to the next.
pub(super) fn note_allocation<'a>(
    notebook: &mut Notebook,
    now: Time,
    (before, after): (&Allocation, &Allocation),
    (bandwidth, held): (Option<Bitrate>, bool),
    source: impl Fn(SourceKey) -> Option<&'a Source>,
) {
    for (position, entry) in after.entries.iter().enumerate() {
        let same = |old: &&Entry| old.source == entry.source;
        // Nearly always at the same place.
        let old = before.entries.get(position).filter(same);
        let old = old.or_else(|| before.entries.iter().find(same));
        let changed = match old {
            Some(old) => {
                (old.target, old.ideal, old.reason) != (entry.target, entry.ideal, entry.reason)
            }
            // In a large meeting most sources are of no interest to most receivers.
            None => entry.ideal != SUSPENDED || entry.reason == Reason::Bandwidth,
        };
        if !changed {
            continue;
        }
        let Some(source) = source(entry.source) else {
            continue;
        };
        let kbps = |rate: Bitrate| u32::try_from(rate.as_bps() / 1_000).unwrap_or(u32::MAX);
        let decision = Decision {
            source: source.name.clone(),
            ideal: entry.ideal,
            target: entry.target,
            height: source.height_of(entry.target),
            reason: entry.reason,
            bandwidth_kbps: bandwidth.map_or(u32::MAX, kbps),
            held,
        };
        notebook.note(now, What::Allocated(decision));
    }
}

impl Shard {
    /// Twice a second: which layers are sent, and what stands still. Where that is because the sender gave the encoding up, as browsers
    /// do when their uplink gets narrow, another one is chosen at once, and not when allocation is due anyway.
    pub(super) fn watch(&mut self, now: Time, index: usize) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let (sources, by_source) = (&self.sources, &self.by_source);
        let notebook = &mut endpoint.notebook;
        let downlink = &mut endpoint.downlink;
        let ready = downlink.is_ready();
        let mut given_up = false;
        for (_, stream) in &mut downlink.video {
            let source = by_source.get(&stream.source);
            let Some(source) = source.and_then(|index| sources.get(*index)) else {
                stream.watch = Watch::default();
                continue;
            };
            let sent = std::mem::replace(&mut stream.watch.packets, stream.sent.packets);
            let moved = sent != stream.sent.packets;
            let layer = stream.projection.current();
            let before = LayerIndex(stream.watch.layer - 1);
            if layer != before {
                stream.watch.layer = layer.0 + 1;
                let same = layer.encoding() == before.encoding();
                let at = stream.projection.switched_at().filter(|_| !same);
                let switched = What::Switched(source.name.clone(), before.0, layer.0);
                notebook.note(at.unwrap_or(now), switched);
            }
            if moved || stream.projection.target().is_suspended() {
                stream.unreadable = false;
                let since = stream.watch.quiet_since.take();
                if stream.watch.stalled.take().is_some() && moved {
                    let millis = since.map_or(0, |since| now.since(since).as_millis());
                    let millis = u32::try_from(millis).unwrap_or(u32::MAX);
                    notebook.note(now, What::Resumed(source.name.clone(), millis));
                }
                continue;
            }
            given_up |= ready && is_given_up(now, source, stream.projection.target());
            let since = *stream.watch.quiet_since.get_or_insert(now);
            let patience = if source.video_type.is_desktop() {
                SCREEN_STILL
            } else {
                STILL
            };
            if now.since(since) < patience {
                continue;
            }
            let cause = cause(now, ready, stream, source);
            if stream.watch.stalled.replace(cause) != Some(cause) {
                notebook.note(now, What::Stalled(source.name.clone(), cause));
            }
        }
        if given_up {
            endpoint.receiver.pending = true;
            self.allocate = true;
        }
    }

    /// What becomes of a source on its way to a receiver, for the statistics.
    pub(super) fn sending(&self, index: usize, entry: &Entry) -> Sending {
        let Some(endpoint) = self.endpoints.get(index) else {
            return Sending::Nothing;
        };
        if !entry.is_forwarded() {
            return Sending::Nothing;
        }
        if !endpoint.formats.video {
            return Sending::Stalled(Stall::Codec);
        }
        let mut streams = endpoint.downlink.video.iter();
        let stream = streams.find(|(_, stream)| stream.source == entry.source);
        match stream {
            None => Sending::NoSlot,
            Some((_, stream)) => match stream.watch.stalled() {
                Some(stall) => Sending::Stalled(stall),
                None if stream.sent.packets == 0 => Sending::Beginning,
                None => Sending::Sent,
            },
        }
    }
}

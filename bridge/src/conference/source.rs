//! A source as one shard knows it: what it sends, in which layers, and who gets it.

use std::sync::Arc;

use crate::allocation::{LayerView, picture_height};
use crate::ids::{EndpointId, EndpointKey, SourceKey, SourceName};
use crate::media::{EncodingDescription, MediaKind, SourceDescription, VideoType};
use crate::messages::SenderReportClock;
use crate::projection::cache::PacketCache;
use crate::receive::{KeyframeRequester, LayerKey, LayerRates};
use crate::time::Time;
use crate::worker::packet::MediaPacket;

/// One receiver of a source on this shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Subscriber {
    /// Index of the receiving endpoint in the shard.
    pub endpoint: usize,
    /// Index of its outgoing stream; [`UNBOUND`] until audio is bound by its first packet.
    pub stream: usize,
}

/// The subscriber has no outgoing stream yet.
pub(crate) const UNBOUND: usize = usize::MAX;

/// A source.
pub(crate) struct Source {
    pub key: SourceKey,
    pub name: SourceName,
    pub owner: EndpointKey,
    pub owner_id: EndpointId,
    /// Index of the owner if it is an endpoint of this shard.
    pub local_owner: Option<usize>,
    pub kind: MediaKind,
    pub video_type: VideoType,
    pub synthetic: bool,
    pub encodings: Vec<EncodingDescription>,
    /// Per encoding: packets for retransmission (video only).
    pub caches: Vec<PacketCache>,
    /// Per encoding: the latest sender report.
    pub clocks: Vec<Option<SenderReportClock>>,
    pub rates: LayerRates,
    /// Layers with their nominal rates; bitrates are filled in when an allocation asks.
    pub layers: Vec<LayerView>,
    pub subscribers: Vec<Subscriber>,
    pub keyframes: KeyframeRequester,
}

/// What a packet changed about a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Observed {
    /// Layers appeared or changed size: allocations are stale.
    pub layering_changed: bool,
    /// A keyframe begins with this packet.
    pub keyframe: bool,
}

impl Source {
    pub fn new(
        description: &SourceDescription,
        owner: EndpointKey,
        owner_id: EndpointId,
        local_owner: Option<usize>,
    ) -> Source {
        let encodings = description.encodings.len();
        Source {
            key: description.key,
            name: description.name.clone(),
            owner,
            owner_id,
            local_owner,
            kind: description.kind,
            video_type: description.video_type,
            synthetic: description.synthetic,
            encodings: description.encodings.clone(),
            caches: match description.kind {
                MediaKind::Video => (0..encodings).map(|_| PacketCache::new()).collect(),
                MediaKind::Audio => Vec::new(),
            },
            clocks: vec![None; encodings],
            rates: LayerRates::default(),
            layers: match description.kind {
                MediaKind::Video => crate::allocation::initial_layers(encodings),
                MediaKind::Audio => Vec::new(),
            },
            subscribers: Vec::new(),
            keyframes: KeyframeRequester::new(),
        }
    }

    /// SSRC of the lowest encoding.
    pub fn primary_ssrc(&self) -> u32 {
        self.encodings.first().map_or(0, |encoding| encoding.ssrc)
    }

    /// Takes note of a video packet and keeps it for retransmission; what leaves the cache goes to `recycle`.
    pub fn observe(
        &mut self,
        now: Time,
        packet: &Arc<MediaPacket>,
        recycle: impl FnMut(Arc<MediaPacket>),
    ) -> Observed {
        let mut observed = Observed {
            layering_changed: false,
            keyframe: false,
        };
        let mut temporal = 0;
        if let Some(vp8) = &packet.vp8 {
            temporal = vp8.temporal_id().unwrap_or(0);
            if vp8.is_keyframe_start() {
                observed.keyframe = true;
                if let Some((width, height)) = vp8.size() {
                    observed.layering_changed |=
                        self.set_height(packet.encoding, picture_height(width, height));
                }
            }
        }
        let layer = LayerKey {
            encoding: packet.encoding,
            spatial: 0,
            temporal,
        };
        observed.layering_changed |= self.rates.add(now, layer, packet.size());
        if let Some(cache) = self.caches.get_mut(usize::from(packet.encoding)) {
            cache.insert(now, packet.index, Arc::clone(packet), recycle);
        }
        observed
    }

    fn set_height(&mut self, encoding: u8, height: i32) -> bool {
        let mut changed = false;
        for layer in &mut self.layers {
            if layer.index >> 6 == i32::from(encoding) && layer.height != height {
                layer.height = height;
                changed = true;
            }
        }
        changed
    }

    /// Brings the bitrates of [`Source::layers`] up to date.
    pub fn refresh_layers(&mut self, now: Time) {
        for layer in &mut self.layers {
            let (encoding, temporal) = ((layer.index >> 6) as u8, (layer.index & 7) as u8);
            layer.bitrate = self.rates.rate(now, encoding, temporal);
        }
    }

    /// Height of a layer by index, −1 if unknown.
    pub fn height_of(&self, index: i32) -> i32 {
        self.layers
            .iter()
            .find(|layer| layer.index == index)
            .map_or(-1, |layer| layer.height)
    }

    /// Removes a receiver.
    pub fn unsubscribe(&mut self, endpoint: usize) {
        self.subscribers
            .retain(|subscriber| subscriber.endpoint != endpoint);
    }
}

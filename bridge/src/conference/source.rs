//! A source as one shard knows it: what it sends, in which layers, and who gets it.

use std::sync::Arc;

use crate::allocation::{LayerView, layer_index, picture_height};
use crate::endpoint::red::AudioHistory;
use crate::ids::{EndpointId, EndpointKey, SourceKey, SourceName};
use crate::media::{EncodingDescription, EndpointSources, MediaKind, SourceDescription, VideoType};
use crate::messages::SenderReportClock;
use crate::projection::Payload;
use crate::projection::cache::PacketCache;
use crate::receive::{KeyframeRequester, LayerKey, LayerRates};
use crate::time::Time;
use crate::units::Bitrate;
use crate::wire::dependency::TemplateStructure;
use crate::wire::vp9::Scalability;
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

/// What the layers of a codec are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Layering {
    /// Temporal layers of each encoding.
    #[default]
    Temporal,
    /// Spatial and temporal layers of each encoding.
    Spatial,
    /// Decode targets of each encoding.
    Targets,
}

/// Index, size if told, and frames per second of a layer.
type Shape = (i32, Option<(u16, u16)>, f64);

/// Frames per second of the highest temporal layer, as nothing tells it.
const FRAME_RATE: f64 = 30.0;
/// Temporal layers of a VP9 stream that does not tell.
const ASSUMED_TEMPORAL_LAYERS: u8 = 3;

/// A source.
pub(crate) struct Source {
    pub key: SourceKey,
    pub name: SourceName,
    pub owner: EndpointKey,
    pub owner_id: EndpointId,
    /// Transcribers shall tell the voices in it apart.
    pub diarize: bool,
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
    layering: Layering,
    /// Spatial layers refer to the one below in all pictures, and not only in key pictures.
    inter_layer: bool,
    /// Layers with their nominal rates; bitrates are filled in when an allocation asks.
    pub layers: Vec<LayerView>,
    pub subscribers: Vec<Subscriber>,
    /// Audio: the latest packets, if they are to be sent again with the next.
    pub history: AudioHistory,
    pub keyframes: KeyframeRequester,
    /// Synthetic audio: packets that came so far.
    pub injected: u64,
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
        announced: &EndpointSources,
        local_owner: Option<usize>,
    ) -> Source {
        let encodings = description.encodings.len();
        Source {
            key: description.key,
            name: description.name.clone(),
            owner: announced.endpoint,
            owner_id: announced.id.clone(),
            diarize: announced.diarize,
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
            layering: Layering::default(),
            inter_layer: false,
            layers: match description.kind {
                MediaKind::Video => crate::allocation::initial_layers(encodings),
                MediaKind::Audio => Vec::new(),
            },
            subscribers: Vec::new(),
            history: AudioHistory::default(),
            keyframes: KeyframeRequester::new(),
            injected: 0,
        }
    }

    /// When a request for a keyframe is to be made next.
    pub fn keyframes_due(&self) -> Time {
        self.keyframes.poll_timeout().unwrap_or(Time::FAR)
    }

    /// SSRC of the lowest encoding.
    pub fn primary_ssrc(&self) -> u32 {
        self.encodings.first().map_or(0, |encoding| encoding.ssrc)
    }

    /// Takes note of a video packet.
    pub fn observe(&mut self, now: Time, packet: &MediaPacket) -> Observed {
        let mut observed = Observed {
            layering_changed: false,
            keyframe: false,
        };
        let size = packet.size();
        match &packet.descriptor {
            Payload::Vp8(vp8) => {
                observed.layering_changed |= self.use_layering(Layering::Temporal);
                if vp8.is_keyframe_start() {
                    observed.keyframe = true;
                    if let Some((width, height)) = vp8.size() {
                        observed.layering_changed |=
                            self.set_height(packet.encoding, picture_height(width, height));
                    }
                }
                let temporal = vp8.temporal_id().unwrap_or(0);
                observed.layering_changed |= self.count(now, packet.encoding, 0, temporal, size);
            }
            Payload::Vp9(vp9) => {
                observed.layering_changed |= self.use_layering(Layering::Spatial);
                observed.keyframe = vp9.is_keyframe() && vp9.is_start() && vp9.spatial_id() == 0;
                self.inter_layer |= vp9.is_inter_layer() && vp9.is_inter_picture();
                if let Some(structure) = vp9.scalability() {
                    observed.layering_changed |=
                        self.set_spatial_layers(packet.encoding, structure);
                }
                let (spatial, temporal) = (vp9.spatial_id(), vp9.temporal_id());
                observed.layering_changed |=
                    self.count(now, packet.encoding, spatial, temporal, size);
            }
            Payload::Dependency(descriptor) => {
                observed.layering_changed |= self.use_layering(Layering::Targets);
                observed.keyframe = descriptor.is_keyframe() && descriptor.is_start();
                if let Some(structure) = descriptor.structure().filter(|_| descriptor.is_keyframe())
                {
                    observed.layering_changed |= self.set_targets(packet.encoding, structure);
                }
                // Each decode target costs what all of its frames cost.
                let targets = descriptor.dependencies().map_or(0, |frame| frame.targets());
                for target in (0..32u8).filter(|target| targets >> target & 1 == 1) {
                    observed.layering_changed |=
                        self.count(now, packet.encoding, target >> 3, target & 7, size);
                }
            }
            Payload::Plain { .. } | Payload::Opaque | Payload::Red(_) => {
                observed.layering_changed |= self.use_layering(Layering::Temporal);
                observed.keyframe = matches!(packet.descriptor, Payload::Plain { keyframe: true });
                observed.layering_changed |= self.count(now, packet.encoding, 0, 0, size);
            }
        }
        observed
    }

    /// Keeps a video packet that was sent for retransmission, or only lets go of older ones if it was `sent` to nobody; what is
    /// not kept goes to `recycle`.
    pub fn keep(
        &mut self,
        now: Time,
        packet: Arc<MediaPacket>,
        sent: bool,
        mut recycle: impl FnMut(Arc<MediaPacket>),
    ) {
        match self.caches.get_mut(usize::from(packet.encoding)) {
            Some(cache) if sent => cache.insert(now, packet.index, packet, recycle),
            Some(cache) => {
                cache.expire(now, &mut recycle);
                recycle(packet);
            }
            None => recycle(packet),
        }
    }

    /// Lets go of packets that are too old: those of streams that stopped are not replaced by newer ones.
    pub fn expire(&mut self, now: Time, mut recycle: impl FnMut(Arc<MediaPacket>)) {
        for cache in &mut self.caches {
            cache.expire(now, &mut recycle);
        }
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

    fn count(&mut self, now: Time, encoding: u8, spatial: u8, temporal: u8, size: usize) -> bool {
        let layer = LayerKey {
            encoding,
            spatial,
            temporal,
        };
        self.rates.add(now, layer, size)
    }

    /// The packet's codec has layers of this kind; true if the one before had another.
    fn use_layering(&mut self, layering: Layering) -> bool {
        if self.layering == layering {
            return false;
        }
        self.layering = layering;
        self.inter_layer = false;
        self.rates.clear();
        self.layers = crate::allocation::initial_layers(self.encodings.len());
        true
    }

    /// VP9: the spatial and temporal layers of an encoding.
    fn set_spatial_layers(&mut self, encoding: u8, structure: &Scalability) -> bool {
        let temporal_layers = structure
            .temporal_layers()
            .unwrap_or(ASSUMED_TEMPORAL_LAYERS);
        let layers = (0..structure.spatial_layers).flat_map(|spatial| {
            let size = structure
                .sizes
                .and_then(|sizes| sizes.get(usize::from(spatial)).copied());
            (0..temporal_layers).map(move |temporal| {
                let frame_rate = FRAME_RATE / f64::from(1u32 << (temporal_layers - 1 - temporal));
                (layer_index(encoding, spatial, temporal), size, frame_rate)
            })
        });
        let layers = layers.collect();
        self.set_layers(encoding, layers)
    }

    /// Streams with dependency descriptors: the decode targets of an encoding.
    fn set_targets(&mut self, encoding: u8, structure: &TemplateStructure) -> bool {
        let heaviest = (0..structure.decode_targets())
            .map(|target| structure.frame_weight(target))
            .max();
        let layers = (0..structure.decode_targets()).map(|target| {
            let weight =
                structure.frame_weight(target) as f64 / heaviest.unwrap_or(1).max(1) as f64;
            let (spatial, _) = structure.layers(target);
            let index = layer_index(encoding, target >> 3, target & 7);
            (index, structure.size(spatial), FRAME_RATE * weight)
        });
        let layers = layers.collect();
        self.set_layers(encoding, layers)
    }

    /// Replaces the layers of an encoding. Where a size is not told it stays what it was.
    fn set_layers(&mut self, encoding: u8, layers: Vec<Shape>) -> bool {
        let is_of = |layer: &LayerView| layer.index >> 6 == i32::from(encoding);
        let height = self
            .layers
            .iter()
            .rev()
            .find(|layer| is_of(layer))
            .map_or(-1, |layer| layer.height);
        let shaped: Vec<LayerView> = layers
            .into_iter()
            .map(|(index, size, frame_rate)| LayerView {
                index,
                height: size.map_or(height, |(width, height)| picture_height(width, height)),
                frame_rate,
                bitrate: Bitrate::ZERO,
            })
            .collect();
        let shape = |layer: &LayerView| (layer.index, layer.height);
        let same = self
            .layers
            .iter()
            .filter(|layer| is_of(layer))
            .map(shape)
            .eq(shaped.iter().map(shape));
        if !same {
            self.layers.retain(|layer| !is_of(layer));
            self.layers.extend(shaped);
            self.layers.sort_by_key(|layer| layer.index);
        }
        !same
    }

    /// Brings the bitrates of [`Source::layers`] up to date.
    pub fn refresh_layers(&mut self, now: Time) {
        for layer in &mut self.layers {
            let key = LayerKey {
                encoding: (layer.index >> 6) as u8,
                spatial: (layer.index >> 3 & 7) as u8,
                temporal: (layer.index & 7) as u8,
            };
            layer.bitrate = match self.layering {
                Layering::Temporal => self.rates.rate(now, key.encoding, key.temporal),
                Layering::Spatial => self.rates.spatial_rate(now, key, self.inter_layer),
                Layering::Targets => self.rates.own_rate(now, key),
            };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CACHE_AGE;

    fn camera() -> Source {
        let encoding = |ssrc| EncodingDescription {
            ssrc,
            rtx_ssrc: None,
        };
        let description = SourceDescription {
            key: SourceKey(1),
            name: "a-v0".into(),
            kind: MediaKind::Video,
            video_type: VideoType::Camera,
            encodings: vec![encoding(1), encoding(2)],
            synthetic: false,
        };
        let announced = EndpointSources {
            endpoint: EndpointKey(1),
            id: EndpointId::new("a"),
            diarize: false,
            sources: Vec::new(),
        };
        Source::new(&description, &announced, None)
    }

    fn packet(encoding: u8, index: u64) -> Arc<MediaPacket> {
        let mut packet = MediaPacket::empty();
        packet.encoding = encoding;
        packet.index = index;
        Arc::new(packet)
    }

    #[test]
    fn only_what_was_sent_is_kept_for_retransmission_and_not_for_long() {
        let mut source = camera();
        let mut free = 0;
        let later = Time::ZERO + CACHE_AGE + CACHE_AGE / 10;
        source.keep(Time::ZERO, packet(1, 7), true, |_| free += 1);
        source.keep(Time::ZERO, packet(1, 8), false, |_| free += 1);
        source.keep(Time::ZERO, packet(0, 7), true, |_| free += 1);
        assert_eq!(free, 1);
        assert!(source.caches[1].get(Time::ZERO, 7).is_some());
        assert!(source.caches[1].get(Time::ZERO, 8).is_none());
        // What comes lets go of what is too old, whether it is sent or not.
        source.keep(later, packet(1, 900), false, |_| free += 1);
        assert_eq!(free, 3);
        assert!(source.caches[1].is_empty() && !source.caches[0].is_empty());
        source.expire(later, |_| free += 1);
        assert_eq!(free, 4);
        assert!(source.caches[0].is_empty());
    }
}

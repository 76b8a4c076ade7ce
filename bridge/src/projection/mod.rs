//! From several incoming encodings to one outgoing stream.
//!
//! A [`Projection`] is one receiver's view of one video source: it decides for each packet whether it is
//! sent and with which numbers, so that the receiver sees a single stream without seams (media-plane
//! spec §3, whose invariants are in §3.10). [`AudioProjection`] does the same for audio, where there is
//! nothing to choose. Both *continue from what was last sent*: over suspensions, switches of encodings,
//! new codecs and, for receivers whose SSRCs are rewritten, over a change of the source
//! ([`slots::SlotTable`]). One pass does it all.
//!
//! Outgoing sequence numbers are extended to 64 bits. No number is used twice, whatever the sender does:
//! the SRTP index is that number (T29).
//!
//! What a NACK needs afterwards is kept as references: [`cache::PacketCache`] per encoding of a source,
//! [`sent::SentRecords`] per outgoing stream, [`rtx::RtxSender`] for the retransmission stream.

mod audio;
pub mod cache;
mod dependency;
mod filter;
mod frames;
mod generic;
mod numbered;
mod output;
pub mod rtx;
pub mod sent;
pub mod slots;
mod vp8;
mod vp9;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod layer_cases;
#[cfg(test)]
mod layered;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod target_cases;
#[cfg(test)]
mod testing;

pub use audio::{AudioProjection, AudioRewrite};

use std::time::Duration;

use crate::limits;
use crate::random::Random;
use crate::time::Time;
use crate::wire::dependency::{DependencyDescriptor, DependencyRewrite};
use crate::wire::red::RedPacket;
use crate::wire::vp8::Vp8Descriptor;
use crate::wire::vp9::Vp9Descriptor;
use frames::Scheme;

/// A layer of a source as one number: encoding · 64 + spatial layer · 8 + temporal layer, −1 =
/// suspended (allocation spec §1). Greater is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LayerIndex(pub i32);

impl LayerIndex {
    /// Nothing is sent.
    pub const SUSPENDED: LayerIndex = LayerIndex(-1);

    /// The layer's index. Ids beyond 7 are cut to their lower three bits.
    pub const fn new(encoding: u8, spatial: u8, temporal: u8) -> LayerIndex {
        LayerIndex((encoding as i32) << 6 | ((spatial & 7) as i32) << 3 | (temporal & 7) as i32)
    }

    /// Whether nothing is sent.
    pub const fn is_suspended(self) -> bool {
        self.0 < 0
    }

    /// The encoding, unless suspended.
    pub const fn encoding(self) -> Option<u8> {
        if self.0 < 0 {
            None
        } else {
            Some((self.0 >> 6 & 0xff) as u8)
        }
    }

    /// The spatial layer; 0 if suspended.
    pub const fn spatial(self) -> u8 {
        if self.0 < 0 {
            0
        } else {
            (self.0 >> 3 & 7) as u8
        }
    }

    /// The decode target, for streams with a dependency descriptor; 0 if suspended.
    pub const fn decode_target(self) -> u8 {
        if self.0 < 0 { 0 } else { (self.0 & 0x3f) as u8 }
    }

    /// The temporal layer; 0 if suspended.
    pub const fn temporal(self) -> u8 {
        if self.0 < 0 { 0 } else { (self.0 & 7) as u8 }
    }
}

/// What was read from a packet besides its header.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Nothing: no one here reads that codec.
    Opaque,
    /// Frames have no numbers, but whether a keyframe begins with this packet is known.
    Plain {
        /// It does.
        keyframe: bool,
    },
    /// A VP8 descriptor. Packets whose descriptor does not parse are not for projections.
    Vp8(Vp8Descriptor),
    /// A VP9 descriptor. Packets whose descriptor does not parse are not for projections.
    Vp9(Vp9Descriptor),
    /// A dependency descriptor; the payload itself was not read.
    Dependency(DependencyDescriptor),
    /// Redundant audio. Not for video projections.
    Red(RedPacket),
}

impl Payload {
    /// Whether it numbers its frames and tells their layers, so that layers can be chosen by it.
    pub fn tells_layers(&self) -> bool {
        self.scheme().is_some()
    }

    #[inline]
    fn scheme(&self) -> Option<Scheme> {
        match self {
            Payload::Vp8(vp8) if vp8.picture_id().is_some() && vp8.temporal_id().is_some() => {
                Some(Scheme::Vp8)
            }
            Payload::Vp9(vp9) if vp9.picture_id().is_some() => Some(Scheme::Vp9),
            Payload::Dependency(_) => Some(Scheme::Dependency),
            _ => None,
        }
    }
}

/// What a projection needs to know about a video packet.
#[derive(Clone, Copy, Debug)]
pub struct VideoFacts {
    /// Encoding of the source, 0 = lowest.
    pub encoding: u8,
    /// Extended sequence number of the encoding's SSRC, gaps of discarded packets closed. Packets may
    /// come late and out of order.
    pub index: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker: last packet of its frame.
    pub marker: bool,
    /// RTP payload type.
    pub payload_type: u8,
}

/// Numbers of an outgoing packet.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rewrite {
    /// Sequence number; the lower 16 bits are sent, the rest is the SRTP rollover counter.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker.
    pub marker: bool,
    /// For [`Vp8Descriptor::rewrite`] and [`Vp9Descriptor::rewrite`].
    pub picture_id: Option<u16>,
    /// For [`Vp8Descriptor::rewrite`] and [`Vp9Descriptor::rewrite`].
    pub tl0picidx: Option<u8>,
    /// For [`DependencyDescriptor::rewrite`]; without it the descriptor is not sent.
    pub dependency: Option<DependencyRewrite>,
}

/// A projection's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Send it with these numbers.
    Forward(Rewrite),
    /// Do not send it.
    Drop,
}

/// Numbers before the first packet of an outgoing stream: that packet gets the next sequence number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// Sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
}

impl Start {
    /// Random, as RFC 3550 §5.1 asks. The sequence number is in the lower half, so that no wrap comes
    /// before the receiver's SRTP has seen the stream (RFC 3711 §3.3.1).
    pub fn random(random: &mut Random) -> Start {
        Start {
            sequence: (random.u32() & 0x7fff) as u16,
            timestamp: random.u32(),
        }
    }
}

/// The encodings of a source change their codec one after the other: for this long, those that have not yet done so do
/// not bring the old one back.
const CODEC_CHANGE: Duration = Duration::from_millis(300);

/// How a stream is numbered; decided per packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    /// With frame numbers.
    Numbered(Scheme),
    /// Without, by payload type.
    Generic(u8),
}

impl Class {
    #[inline]
    fn of(facts: &VideoFacts, payload: &Payload) -> Class {
        match payload.scheme() {
            Some(scheme) => Class::Numbered(scheme),
            None => Class::Generic(facts.payload_type),
        }
    }
}

/// One receiver's view of one video source, or of the sources that follow each other in a slot.
#[derive(Debug)]
pub struct Projection {
    output: output::Output,
    filter: filter::QualityFilter,
    class: Option<Class>,
    /// The class before, and when it ended.
    left: Option<(Class, Time)>,
    /// Encodings that have sent the class of now, one bit each.
    turned: u8,
    /// Highest index seen per encoding.
    newest: [Option<u64>; limits::MAX_ENCODINGS],
    numbered: numbered::Numbered,
    layers: vp9::SpatialLayers,
    decode_target: dependency::DecodeTarget,
    generic: generic::Generic,
}

impl Projection {
    /// Suspended until [`Projection::set_target`].
    pub fn new(start: Start) -> Projection {
        Projection {
            output: output::Output::new(start),
            filter: filter::QualityFilter::new(),
            class: None,
            left: None,
            turned: 0,
            newest: [None; limits::MAX_ENCODINGS],
            numbered: numbered::Numbered::new(),
            layers: vp9::SpatialLayers::default(),
            decode_target: dependency::DecodeTarget::default(),
            generic: generic::Generic::default(),
        }
    }

    /// Sets what the receiver is to get. Ask [`Projection::needs_keyframe`] afterwards.
    pub fn set_target(&mut self, target: LayerIndex) {
        self.filter.set_target(target);
    }

    /// What was last set.
    pub fn target(&self) -> LayerIndex {
        self.filter.target()
    }

    /// The encoding that is being sent.
    pub fn current_encoding(&self) -> Option<u8> {
        self.filter.current()
    }

    /// The layer that is being sent: the highest spatial layer or the decode target where the codec has such, and the temporal
    /// layer that is wanted, or 0 while another encoding or layer is sent than wanted.
    pub fn current(&self) -> LayerIndex {
        let Some(encoding) = self.filter.current() else {
            return LayerIndex::SUSPENDED;
        };
        let target = self.filter.target();
        let (spatial, temporal) = match self.class {
            Some(Class::Numbered(Scheme::Dependency)) => {
                let target = self.decode_target.current();
                (target >> 3, target & 7)
            }
            Some(Class::Numbered(Scheme::Vp9)) => (self.layers.current(), target.temporal()),
            _ => (0, target.temporal()),
        };
        let wanted = LayerIndex::new(encoding, spatial, temporal);
        let has_targets = self.class == Some(Class::Numbered(Scheme::Dependency));
        if has_targets || wanted.encoding() == target.encoding() && spatial == target.spatial() {
            wanted
        } else {
            LayerIndex::new(encoding, spatial, 0)
        }
    }

    /// When the encoding that is being sent, or was sent last, began to be.
    pub fn switched_at(&self) -> Option<Time> {
        self.filter.since()
    }

    /// Whether a keyframe of the source should be requested. Ask after [`Projection::set_target`] and
    /// after each [`Projection::offer`], whatever its verdict.
    pub fn needs_keyframe(&self) -> bool {
        self.filter.needs_keyframe()
    }

    /// Gives the outgoing stream to another source (SSRC rewriting, media-plane spec §3.9): suspended,
    /// and numbers go on from the last sent. Records of what was sent must be cleared with it.
    pub fn rebind(&mut self) {
        self.filter = filter::QualityFilter::new();
        self.begin_stream(None);
        self.left = None;
        self.newest = [None; limits::MAX_ENCODINGS];
        self.output.forget_source();
    }

    fn begin_stream(&mut self, class: Option<Class>) {
        self.class = class;
        self.turned = 0;
        self.numbered.clear(match class {
            Some(Class::Numbered(scheme)) => scheme,
            _ => Scheme::Vp8,
        });
        self.layers = vp9::SpatialLayers::default();
        self.decode_target = dependency::DecodeTarget::default();
        self.generic.clear();
    }

    /// Asks the processor for what [`Projection::offer`] needs besides the projection itself.
    #[inline]
    pub(crate) fn prefetch(&self, encoding: u8) {
        self.numbered.prefetch(encoding);
    }

    /// Decides about a packet of the source.
    #[inline]
    pub fn offer(&mut self, now: Time, facts: &VideoFacts, payload: &Payload) -> Verdict {
        let Some(newest) = self.newest.get_mut(usize::from(facts.encoding)) else {
            return Verdict::Drop;
        };
        let is_newest = newest.is_none_or(|newest| facts.index > newest);
        if is_newest {
            *newest = Some(facts.index);
        }
        let class = Class::of(facts, payload);
        if self.class != Some(class) {
            // A late packet of the codec before must not bring it back.
            if self.class.is_some() && !is_newest {
                return Verdict::Drop;
            }
            if let Some(before) = self.class {
                let just_left = |(left, at)| left == class && now.since(at) < CODEC_CHANGE;
                let has_turned = self.turned & 1 << facts.encoding != 0;
                if self.left.is_some_and(just_left) && !has_turned {
                    return Verdict::Drop;
                }
                self.left = Some((before, now));
                self.filter.restart();
            }
            self.begin_stream(Some(class));
        }
        self.turned |= 1 << facts.encoding;
        self.number(now, facts, payload, is_newest)
            .map_or(Verdict::Drop, Verdict::Forward)
    }

    #[inline]
    fn number(
        &mut self,
        now: Time,
        facts: &VideoFacts,
        payload: &Payload,
        is_newest: bool,
    ) -> Option<Rewrite> {
        let (filter, output) = (&mut self.filter, &mut self.output);
        let keyframe = match (payload, self.class?) {
            (Payload::Vp8(descriptor), Class::Numbered(_)) => {
                let unit = vp8::unit(facts, descriptor)?;
                let mut gate = vp8::TemporalGate(descriptor);
                return self
                    .numbered
                    .offer(now, facts, unit, &mut gate, filter, output);
            }
            (Payload::Vp9(descriptor), Class::Numbered(_)) => {
                let unit = vp9::unit(descriptor)?;
                let layers = &mut self.layers;
                let mut gate = vp9::SpatialGate { descriptor, layers };
                return self
                    .numbered
                    .offer(now, facts, unit, &mut gate, filter, output);
            }
            (Payload::Dependency(descriptor), _) => {
                let unit = dependency::unit(descriptor);
                let target = &mut self.decode_target;
                let mut gate = dependency::TargetGate { descriptor, target };
                return self
                    .numbered
                    .offer(now, facts, unit, &mut gate, filter, output);
            }
            (Payload::Opaque | Payload::Red(_), _) => None,
            (Payload::Plain { keyframe }, _) => Some(*keyframe),
            (Payload::Vp8(descriptor), _) => Some(descriptor.is_keyframe_start()),
            (Payload::Vp9(descriptor), _) => {
                Some(descriptor.is_keyframe() && descriptor.is_start())
            }
        };
        self.generic
            .offer(now, facts, keyframe, is_newest, filter, output)
    }

    /// Translates an RTP timestamp of an encoding's sender report to the outgoing stream. `None` unless
    /// that encoding is the one being sent (media-plane spec §3.8).
    pub fn project_timestamp(&self, encoding: u8, timestamp: u32) -> Option<u32> {
        if self.filter.current() != Some(encoding) {
            return None;
        }
        self.output.translate(encoding, timestamp)
    }

    /// Highest sequence number sent, or the one before the first.
    pub fn highest_sequence(&self) -> u64 {
        self.output.highest()
    }
}

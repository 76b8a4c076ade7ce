//! What the tests of projections share.

use super::{Payload, VideoFacts};
use crate::random::Random;
use crate::wire::vp8::Vp8Descriptor;

/// A VP8 packet as the tests write it down.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub encoding: u8,
    pub index: u64,
    pub timestamp: u32,
    pub picture_id: u16,
    pub wide: bool,
    pub temporal_id: Option<u8>,
    pub tl0picidx: u8,
    pub start: bool,
    pub keyframe: bool,
    pub layer_sync: bool,
    pub marker: bool,
}

impl Packet {
    /// One packet that is a whole frame of temporal layer 0; the builder changes the rest.
    pub fn of(encoding: u8, index: u64, timestamp: u32, picture_id: u16, tl0picidx: u8) -> Packet {
        Packet {
            encoding,
            index,
            timestamp,
            picture_id,
            wide: true,
            temporal_id: Some(0),
            tl0picidx,
            start: true,
            keyframe: false,
            layer_sync: false,
            marker: true,
        }
    }

    pub fn key(self) -> Packet {
        Packet {
            keyframe: true,
            ..self
        }
    }

    pub fn layer(self, temporal_id: u8) -> Packet {
        Packet {
            temporal_id: Some(temporal_id),
            ..self
        }
    }

    pub fn part(self, start: bool, marker: bool) -> Packet {
        Packet {
            start,
            marker,
            ..self
        }
    }

    pub fn descriptor(&self) -> Payload {
        let mut payload = vec![0x80 | u8::from(self.start) << 4, 0xc0];
        if self.wide {
            payload.extend((0x8000 | self.picture_id).to_be_bytes());
        } else {
            payload.push(self.picture_id as u8);
        }
        payload.push(self.tl0picidx);
        if let Some(temporal_id) = self.temporal_id {
            payload[1] |= 0x20;
            payload.push(temporal_id << 6 | u8::from(self.layer_sync) << 5);
        }
        payload.extend([u8::from(!self.keyframe), 0, 0]);
        Payload::Vp8(Vp8Descriptor::parse(&payload).unwrap())
    }

    pub fn facts(&self) -> VideoFacts {
        VideoFacts {
            encoding: self.encoding,
            index: self.index,
            timestamp: self.timestamp,
            marker: self.marker,
            payload_type: 100,
        }
    }
}

/// How bad the network is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    /// Lost for good, percent.
    pub loss: u64,
    /// Lost and repaired later, percent.
    pub repaired: u64,
    /// Arriving twice, percent.
    pub duplicated: u64,
    /// Delayed by up to this much.
    pub jitter_ms: u64,
}

impl Network {
    pub const CLEAN: Network = Network {
        loss: 0,
        repaired: 0,
        duplicated: 0,
        jitter_ms: 0,
    };

    /// When a packet that is sent at `at` ms arrives, if it does, and when once more.
    pub fn arrivals(&self, random: &mut Random, at: u64) -> [Option<u64>; 2] {
        let mut at = at + random.below(self.jitter_ms + 1);
        let fate = random.below(100);
        if fate < self.loss {
            return [None; 2];
        }
        if fate < self.loss + self.repaired {
            at += 30 + random.below(250);
        }
        let twice = random.below(100) < self.duplicated;
        [Some(at), twice.then(|| at + random.below(100))]
    }
}

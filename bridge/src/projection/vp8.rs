//! VP8 with picture ids and temporal layers (media-plane spec §3.4).

use super::filter::{Candidate, QualityFilter};
use super::frames::{Frame, Frames, Place, ticks};
use super::output::Output;
use super::{Rewrite, VideoFacts};
use crate::limits;
use crate::time::Time;
use crate::wire::vp8::Vp8Descriptor;

const PICTURE_ID_MASK: u16 = 0x7fff;

/// The newest frame sent, by sequence number.
#[derive(Clone, Copy, Debug)]
struct Last {
    encoding: u8,
    /// `None` after the source's numbering began anew.
    id: Option<i64>,
    /// Picture id as the source wrote it.
    raw_id: u16,
    tl0picidx: Option<u8>,
    /// Outgoing sequence number − index.
    offset: u64,
}

/// One frame's outgoing numbers.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    sequence: u64,
    timestamp: u32,
    picture_id: u16,
    tl0picidx: u8,
}

/// State of a VP8 stream; what outlives it is in [`Output`].
#[derive(Debug, Default)]
pub(super) struct Vp8 {
    encodings: [Frames; limits::MAX_ENCODINGS],
    last: Option<Last>,
}

/// A packet with the fields that this context requires.
struct Packet<'a> {
    facts: &'a VideoFacts,
    descriptor: &'a Vp8Descriptor,
    raw_id: u16,
    temporal_id: u8,
}

impl Vp8 {
    /// Forgets the stream but keeps the memory.
    pub fn clear(&mut self) {
        self.encodings.iter_mut().for_each(Frames::clear);
        self.last = None;
    }

    pub fn offer(
        &mut self,
        now: Time,
        facts: &VideoFacts,
        descriptor: &Vp8Descriptor,
        filter: &mut QualityFilter,
        output: &mut Output,
    ) -> Option<Rewrite> {
        let packet = Packet {
            facts,
            descriptor,
            raw_id: descriptor.picture_id()?,
            temporal_id: descriptor.temporal_id()?,
        };
        let frames = self.encodings.get_mut(usize::from(facts.encoding))?;
        let bits = if descriptor.is_wide() { 15 } else { 7 };
        match frames.place(now, packet.raw_id, bits, facts.index, facts.timestamp) {
            Place::Known(at) => self.continue_frame(now, &packet, at, output),
            Place::New(at, id) => self.begin_frame(now, &packet, at, id, filter, output),
            Place::Reset(id) => {
                if let Some(last) = &mut self.last
                    && last.encoding == facts.encoding
                {
                    last.id = None;
                }
                frames.renumber(id, output.highest() + 1);
                self.begin_frame(now, &packet, 0, id, filter, output)
            }
            Place::TooSoon => {
                if filter.current() == Some(facts.encoding) {
                    // What follows refers to what is being dropped here.
                    filter.lose();
                }
                None
            }
            Place::Nowhere => None,
        }
    }

    /// A further packet of a frame that was decided already.
    fn continue_frame(
        &mut self,
        now: Time,
        packet: &Packet,
        at: usize,
        output: &mut Output,
    ) -> Option<Rewrite> {
        let VideoFacts {
            encoding,
            index,
            marker,
            ..
        } = *packet.facts;
        let frames = &mut self.encodings[usize::from(encoding)];
        let frame = frames.get(at)?;
        if marker && index < frame.last {
            return None;
        }
        let rewrite = if frame.accepted {
            self.send(now, packet, at, output)
        } else {
            None
        };
        let frames = &mut self.encodings[usize::from(encoding)];
        // What does not fit into a frame that is sent tells nothing about it.
        if let Some(frame) = frames
            .get_mut(at)
            .filter(|frame| frame.accepted == rewrite.is_some())
        {
            frame.start_seen |= packet.descriptor.is_start() && index <= frame.first;
            frame.end_seen |= marker;
            frame.first = frame.first.min(index);
            frame.last = frame.last.max(index);
        }
        rewrite
    }

    /// Decides about a frame on its first packet and, if it is accepted, gives it its numbers.
    fn begin_frame(
        &mut self,
        now: Time,
        packet: &Packet,
        at: usize,
        id: i64,
        filter: &mut QualityFilter,
        output: &mut Output,
    ) -> Option<Rewrite> {
        let VideoFacts {
            encoding,
            index,
            timestamp,
            marker,
            ..
        } = *packet.facts;
        let descriptor = packet.descriptor;
        let previous = filter.current();
        let is_current = previous == Some(encoding);
        let frames = &mut self.encodings[usize::from(encoding)];
        if is_current && frames.is_before_stretch(id) {
            return None;
        }
        // A late keyframe begins nothing: of this encoding, what followed it is being sent.
        let overtaken = if is_current {
            frames.get(at).is_some()
        } else {
            frames.is_overtaken(at)
        };
        let keyframe = descriptor.is_keyframe_start();
        let candidate = Candidate {
            encoding,
            temporal_id: packet.temporal_id,
            keyframe: keyframe && !overtaken,
        };
        let admitted = filter.admit(now, candidate);
        let at = frames.insert(
            at,
            Frame {
                id,
                first: index,
                last: index,
                offset: 0,
                timestamp,
                out_timestamp: 0,
                out_picture_id: 0,
                tl0picidx: descriptor.tl0picidx().unwrap_or_default(),
                out_tl0picidx: 0,
                temporal_id: packet.temporal_id,
                accepted: admitted,
                keyframe,
                start_seen: descriptor.is_start(),
                end_seen: marker,
                closed: false,
            },
        );
        if !admitted {
            return None;
        }
        let numbers = if is_current {
            let decodable = keyframe || frames.is_decodable(at, descriptor.is_layer_sync());
            decodable
                .then(|| self.follow(now, packet, at, output))
                .flatten()
        } else {
            Some(self.switch(now, packet, id, output))
        };
        let frame = self.encodings[usize::from(encoding)].get_mut(at)?;
        let Some(numbers) = numbers else {
            frame.accepted = false;
            return None;
        };
        frame.offset = numbers.sequence.wrapping_sub(index);
        frame.out_timestamp = numbers.timestamp;
        frame.out_picture_id = numbers.picture_id;
        frame.out_tl0picidx = numbers.tl0picidx;
        self.send(now, packet, at, output)
    }

    /// Numbers for a keyframe that begins an encoding, the stream, or the stream after a suspension: it
    /// follows the newest frame sent.
    fn switch(&mut self, now: Time, packet: &Packet, id: i64, output: &mut Output) -> Numbers {
        let VideoFacts {
            encoding,
            timestamp,
            ..
        } = *packet.facts;
        // A hole tells the receiver that the frame before is not complete.
        let hole = output.is_open();
        if let Some(last) = self.last.filter(|_| hole)
            && let Some(last_id) = last.id
            && let Some(frame) = self.encodings[usize::from(last.encoding)].by_id(last_id)
        {
            frame.closed = true;
        }
        self.encodings[usize::from(encoding)].begin_stretch(id, output.highest() + 1);
        let raw_tl0 = packet.descriptor.tl0picidx();
        let same = self.last.filter(|last| last.encoding == encoding);
        let tl0picidx = match output.tl0picidx {
            None => raw_tl0.unwrap_or_default(),
            Some(out) => match same.and_then(|last| last.tl0picidx).zip(raw_tl0) {
                Some((before, now)) if tl0_step(now, before) > 0 => {
                    out.wrapping_add(now.wrapping_sub(before))
                }
                _ => out.wrapping_add(1),
            },
        };
        Numbers {
            sequence: output.highest() + 1 + u64::from(hole),
            timestamp: output.next_timestamp(now, encoding, timestamp),
            picture_id: output
                .picture_id
                .map_or(packet.raw_id, |out| out.wrapping_add(1) & PICTURE_ID_MASK),
            tl0picidx,
        }
    }

    /// Numbers for a frame of the encoding that is being projected. `None` if there is no place for it
    /// that keeps the stream in order.
    fn follow(
        &mut self,
        now: Time,
        packet: &Packet,
        at: usize,
        output: &Output,
    ) -> Option<Numbers> {
        let VideoFacts {
            encoding,
            index,
            timestamp,
            ..
        } = *packet.facts;
        let frames = &self.encodings[usize::from(encoding)];
        let tl0 = packet.descriptor.tl0picidx();
        let wide = packet.descriptor.is_wide();
        let before = frames
            .accepted_before(at)
            .filter(|(_, frame)| !frames.is_before_stretch(frame.id));
        let after = frames.accepted_after(at);
        let mut numbers = match before {
            Some((from, before)) => {
                let (packets, pictures) = frames.distance(from, at);
                let elapsed = timestamp.wrapping_sub(before.timestamp);
                let tl0_step = tl0.map_or(0, |tl0| tl0_step(tl0, before.tl0picidx));
                Numbers {
                    sequence: before.out_last() + packets,
                    timestamp: before.out_timestamp.wrapping_add(elapsed),
                    picture_id: add_pictures(before.out_picture_id, pictures, wide),
                    tl0picidx: add_tl0(before.out_tl0picidx, tl0_step, packet.temporal_id),
                }
            }
            // A new numbering, or all that was accepted is forgotten: go on from the newest sent.
            None if after.is_none() => {
                let last = self.last?;
                let pictures = packet.raw_id.wrapping_sub(last.raw_id) & PICTURE_ID_MASK;
                let tl0_step = tl0
                    .zip(last.tl0picidx)
                    .map_or(0, |(tl0, before)| tl0_step(tl0, before));
                Numbers {
                    sequence: index.wrapping_add(last.offset),
                    timestamp: output.next_timestamp(now, encoding, timestamp),
                    picture_id: add_pictures(output.picture_id?, u64::from(pictures), wide),
                    tl0picidx: add_tl0(output.tl0picidx?, tl0_step, packet.temporal_id),
                }
            }
            None => return None,
        };
        if let Some(after) = after {
            let (_, before) = before?;
            let id_room = after.out_picture_id.wrapping_sub(numbers.picture_id) & PICTURE_ID_MASK;
            let fits = numbers.sequence > before.out_last()
                && numbers.sequence < after.out_first()
                && ticks(numbers.timestamp, before.out_timestamp) > 0
                && ticks(after.out_timestamp, numbers.timestamp) > 0
                && id_room > 0
                && id_room < 1 << 14
                && tl0_step(after.out_tl0picidx, numbers.tl0picidx)
                    >= i8::from(after.temporal_id == 0);
            if !fits {
                return None;
            }
        } else {
            let highest = output.highest();
            if numbers.sequence <= highest || numbers.sequence > highest + 1 + limits::MAX_HOLE {
                numbers.sequence = highest + 2;
                let id = frames.get(at)?.id;
                self.encodings[usize::from(encoding)].begin_stretch(id, highest + 1);
            }
            if ticks(numbers.timestamp, output.timestamp()) <= 0 {
                numbers.timestamp = output.timestamp_by_time(now);
            }
        }
        Some(numbers)
    }

    /// Sends a packet of an accepted frame.
    fn send(
        &mut self,
        now: Time,
        packet: &Packet,
        at: usize,
        output: &mut Output,
    ) -> Option<Rewrite> {
        let VideoFacts {
            encoding,
            index,
            timestamp,
            marker,
            ..
        } = *packet.facts;
        let frames = &self.encodings[usize::from(encoding)];
        let frame = frames.get(at)?;
        let sequence = index.wrapping_add(frame.offset);
        if sequence > output.highest() + 1 + limits::MAX_HOLE {
            return None;
        }
        let late = sequence <= output.highest();
        if late && !frames.has_room(at, frame, sequence) {
            return None;
        }
        if !output.claim(sequence) {
            return None;
        }
        let tl0picidx = packet.descriptor.tl0picidx();
        if !late {
            if self
                .last
                .is_none_or(|last| last.id != Some(frame.id) || last.encoding != encoding)
            {
                output.begin_frame(now, encoding, timestamp, frame.out_timestamp);
            }
            output.picture_id = Some(frame.out_picture_id);
            output.tl0picidx = Some(frame.out_tl0picidx);
            self.last = Some(Last {
                encoding,
                id: Some(frame.id),
                raw_id: packet.raw_id,
                tl0picidx,
                offset: frame.offset,
            });
            if marker {
                output.end_frame();
            }
        }
        let mask = if packet.descriptor.is_wide() {
            PICTURE_ID_MASK
        } else {
            0x7f
        };
        Some(Rewrite {
            sequence,
            timestamp: frame.out_timestamp,
            marker,
            picture_id: Some(frame.out_picture_id & mask),
            tl0picidx: tl0picidx.map(|_| frame.out_tl0picidx),
        })
    }
}

/// Signed distance between TL0PICIDX values.
fn tl0_step(later: u8, earlier: u8) -> i8 {
    later.wrapping_sub(earlier) as i8
}

/// TL0PICIDX never goes back, and a base layer frame has its own, whatever the sender says.
fn add_tl0(out: u8, step: i8, temporal_id: u8) -> u8 {
    let least = i8::from(temporal_id == 0);
    out.wrapping_add_signed(step.max(least))
}

/// Picture ids go forward: a distance that would look like a step back becomes the next picture.
fn add_pictures(out: u16, pictures: u64, wide: bool) -> u16 {
    let room = if wide { 1 << 14 } else { 1 << 6 };
    let step = if (1..room).contains(&pictures) {
        pictures as u16
    } else {
        1
    };
    out.wrapping_add(step) & PICTURE_ID_MASK
}

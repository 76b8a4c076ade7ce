//! Streams whose frames have numbers: VP8, VP9, and all with a dependency descriptor (media-plane spec
//! §3.4 to §3.6).
//!
//! What is the same for all is here: frames are found, decided once, and numbered so that what is left out
//! leaves no trace and what is late still finds its place. What differs is a [`Gate`], which decides, and
//! a [`Scheme`] of numbers.

use super::filter::QualityFilter;
use super::frames::{Frame, Frames, Note, Place, Scheme, ticks};
use super::output::Output;
use super::{Rewrite, VideoFacts};
use crate::limits;
use crate::time::Time;
use crate::wire::dependency::DependencyRewrite;

/// Room before a keyframe whose first packets are missing, if nothing tells how many (media-plane spec
/// §3.5).
const UNKNOWN_START: u64 = 16;

/// A packet as this module needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    /// Number of its frame in the codec's [`Scheme`].
    pub id: u32,
    /// Width of the number without the layer's bits.
    pub bits: u8,
    pub temporal_id: u8,
    pub tl0picidx: Option<u8>,
    /// First packet of its frame.
    pub start: bool,
    /// Last packet of its frame.
    pub end: bool,
    /// Known to belong to a keyframe.
    pub keyframe: bool,
}

/// A place for a new frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newcomer {
    /// Position among the frames of its encoding.
    pub at: usize,
    /// Number of the frame, unwrapped.
    pub id: i64,
    /// It is a keyframe, and one that something can begin with.
    pub begins: bool,
}

/// Decides about frames of one codec.
pub(super) trait Gate {
    /// Decides about a frame on its first packet. `None`: nothing of it is sent. `frames` are those of
    /// its encoding.
    fn admit(
        &mut self,
        now: Time,
        facts: &VideoFacts,
        frame: Newcomer,
        frames: &Frames,
        filter: &mut QualityFilter,
        output: &Output,
    ) -> Option<Note>;

    /// A frame is not sent for want of a place, whether it was admitted or not.
    fn refused(&mut self, frame: i64);
}

/// The newest frame sent, by sequence number.
#[derive(Clone, Copy, Debug)]
struct Last {
    encoding: u8,
    /// `None` after the source's numbering began anew.
    id: Option<i64>,
    /// Number as the source wrote it, and its width.
    raw_id: u32,
    bits: u8,
    tl0picidx: Option<u8>,
    /// Outgoing sequence number − index.
    offset: u64,
}

/// One frame's outgoing numbers.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    sequence: u64,
    timestamp: u32,
    number: u16,
    tl0picidx: u8,
}

/// State of a numbered stream; what outlives it is in [`Output`].
#[derive(Debug)]
pub(super) struct Numbered {
    scheme: Scheme,
    encodings: [Frames; limits::MAX_ENCODINGS],
    last: Option<Last>,
}

struct Packet<'a> {
    facts: &'a VideoFacts,
    unit: Unit,
}

impl Numbered {
    pub fn new() -> Numbered {
        Numbered {
            scheme: Scheme::Vp8,
            encodings: std::array::from_fn(|_| Frames::new(Scheme::Vp8)),
            last: None,
        }
    }

    /// Asks the processor for the newest frame of an encoding.
    #[inline]
    pub fn prefetch(&self, encoding: u8) {
        if let Some(frames) = self.encodings.get(usize::from(encoding)) {
            frames.prefetch();
        }
    }

    /// Forgets the stream, but keeps the memory, for another with these numbers.
    pub fn clear(&mut self, scheme: Scheme) {
        self.scheme = scheme;
        self.encodings
            .iter_mut()
            .for_each(|frames| frames.clear(scheme));
        self.last = None;
    }

    fn number(&self, output: &Output) -> Option<u16> {
        match self.scheme {
            Scheme::Vp8 | Scheme::Vp9 => output.picture_id,
            Scheme::Dependency => output.frame_number,
        }
    }

    fn set_number(&self, output: &mut Output, number: u16) {
        match self.scheme {
            Scheme::Vp8 | Scheme::Vp9 => output.picture_id = Some(number),
            Scheme::Dependency => output.frame_number = Some(number),
        }
    }

    /// The numbers that only this kind of stream has.
    #[inline]
    fn numbers(&self, frame: &Frame, unit: &Unit) -> Rewrite {
        if self.scheme == Scheme::Dependency {
            return Rewrite {
                dependency: Some(DependencyRewrite {
                    frame_number: frame.out_number,
                    template_delta: frame.note.template_delta,
                    active_targets: frame.note.active_targets,
                }),
                ..Rewrite::default()
            };
        }
        Rewrite {
            picture_id: Some(frame.out_number & u16::MAX >> (u16::BITS - u32::from(unit.bits))),
            tl0picidx: unit.tl0picidx.map(|_| frame.out_tl0picidx),
            ..Rewrite::default()
        }
    }

    #[inline]
    pub fn offer<G: Gate>(
        &mut self,
        now: Time,
        facts: &VideoFacts,
        unit: Unit,
        gate: &mut G,
        filter: &mut QualityFilter,
        output: &mut Output,
    ) -> Option<Rewrite> {
        let packet = Packet { facts, unit };
        let frames = self.encodings.get_mut(usize::from(facts.encoding))?;
        let bits = unit.bits + self.scheme.layer_bits();
        match frames.place(now, unit.id, bits, facts.index, facts.timestamp) {
            Place::Known(at) => self.continue_frame(now, &packet, at, output),
            Place::New(at, id) => self.begin_frame(now, &packet, at, id, gate, filter, output),
            Place::Reset(id) => {
                if let Some(last) = &mut self.last
                    && last.encoding == facts.encoding
                {
                    last.id = None;
                }
                frames.renumber(id, output.highest() + 1);
                self.begin_frame(now, &packet, 0, id, gate, filter, output)
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
    #[inline]
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
        let Unit { start, end, .. } = packet.unit;
        let frames = &mut self.encodings[usize::from(encoding)];
        let frame = frames.get(at)?;
        if end && index < frame.last {
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
            frame.start_seen |= start && index <= frame.first;
            frame.end_seen |= end;
            frame.picture_ended |= marker;
            frame.first = frame.first.min(index);
            frame.last = frame.last.max(index);
        }
        rewrite
    }

    /// Decides about a frame on its first packet and, if it is accepted, gives it its numbers.
    #[allow(clippy::too_many_arguments)]
    #[inline]
    fn begin_frame<G: Gate>(
        &mut self,
        now: Time,
        packet: &Packet,
        at: usize,
        id: i64,
        gate: &mut G,
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
        let unit = packet.unit;
        let is_current = filter.current() == Some(encoding);
        let frames = &mut self.encodings[usize::from(encoding)];
        // A late keyframe begins nothing: of this encoding, what followed it is being sent.
        let overtaken = if is_current {
            frames.get(at).is_some()
        } else {
            frames.is_overtaken(at, timestamp)
        };
        let begins = unit.keyframe && !overtaken;
        let newcomer = Newcomer { at, id, begins };
        // Known from here on, for others may refer to it.
        let note = if is_current && frames.is_before_stretch(id) {
            gate.refused(id);
            None
        } else {
            gate.admit(now, packet.facts, newcomer, frames, filter, output)
        };
        let at = frames.insert(
            at,
            Frame {
                id,
                first: index,
                last: index,
                offset: 0,
                timestamp,
                out_timestamp: 0,
                out_number: 0,
                tl0picidx: unit.tl0picidx.unwrap_or_default(),
                out_tl0picidx: 0,
                temporal_id: unit.temporal_id,
                note: note.unwrap_or_default(),
                accepted: note.is_some(),
                keyframe: unit.keyframe,
                start_seen: unit.start,
                end_seen: unit.end,
                picture_ended: marker,
                closed: false,
            },
        );
        note?;
        let numbers = if is_current {
            self.follow(now, packet, at, output)
        } else {
            Some(self.switch(now, packet, at, id, output))
        };
        let frame = self.encodings[usize::from(encoding)].get_mut(at)?;
        let Some(numbers) = numbers else {
            frame.accepted = false;
            gate.refused(id);
            return None;
        };
        frame.offset = numbers.sequence.wrapping_sub(index);
        frame.out_timestamp = numbers.timestamp;
        frame.out_number = numbers.number;
        frame.out_tl0picidx = numbers.tl0picidx;
        self.send(now, packet, at, output)
    }

    /// Numbers for a keyframe that begins an encoding, the stream, or the stream after a suspension: it
    /// follows the newest frame sent.
    fn switch(
        &mut self,
        now: Time,
        packet: &Packet,
        at: usize,
        id: i64,
        output: &Output,
    ) -> Numbers {
        let VideoFacts {
            encoding,
            index,
            timestamp,
            ..
        } = *packet.facts;
        // A hole tells the receiver that the frame before is not complete.
        let hole = output.is_open();
        if let Some(last) = self.last.filter(|_| hole)
            && let Some(last_id) = last.id
            && let Some(frame) = self.encodings[usize::from(last.encoding)].by_id_mut(last_id)
        {
            frame.closed = true;
        }
        let frames = &mut self.encodings[usize::from(encoding)];
        frames.begin_stretch(id, output.highest() + 1);
        let room = if packet.unit.start {
            1
        } else {
            // Packets that came before this one belong to it, as far as anybody knows.
            let room = frames.packets_since(at, index).unwrap_or(UNKNOWN_START);
            if room > limits::MAX_HOLE {
                UNKNOWN_START
            } else {
                room.max(1)
            }
        };
        let raw_tl0 = packet.unit.tl0picidx;
        let linear = self.scheme.closes();
        let same = self.last.filter(|last| linear && last.encoding == encoding);
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
            sequence: output.highest() + room + u64::from(hole),
            timestamp: output.next_timestamp(now, encoding, timestamp),
            number: match self.number(output) {
                Some(out) => out.wrapping_add(1) & self.scheme.mask(),
                None => (packet.unit.id >> self.scheme.layer_bits()) as u16,
            },
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
        let Unit {
            bits,
            temporal_id,
            tl0picidx: tl0,
            ..
        } = packet.unit;
        let number = |out: u16, distance: u64, same_picture: bool| {
            advance(out, distance, bits, same_picture) & self.scheme.mask()
        };
        let shares = |other: &Frame| self.scheme.is_same_picture(other.timestamp, timestamp);
        let before = frames
            .accepted_before(at)
            .filter(|(_, frame)| !frames.is_before_stretch(frame.id));
        let after = frames.accepted_after(at);
        let mut numbers = match before {
            Some((from, before)) => {
                let (packets, pictures) = frames.distance(from, at);
                let elapsed = timestamp.wrapping_sub(before.timestamp);
                let same = shares(before);
                let tl0_step = tl0.map(|tl0| tl0_step(tl0, before.tl0picidx));
                Numbers {
                    sequence: before.out_last() + packets,
                    timestamp: before.out_timestamp.wrapping_add(elapsed),
                    number: number(before.out_number, pictures, same),
                    tl0picidx: add_tl0(before.out_tl0picidx, tl0_step, temporal_id, same),
                }
            }
            // A new numbering, or all that was accepted is forgotten: go on from the newest sent.
            None if after.is_none() => {
                let last = self.last?;
                let picture = |id: u32| id >> self.scheme.layer_bits();
                // Numbers of another width may look like the last one, whatever their distance.
                let pictures = if bits == last.bits {
                    picture(packet.unit.id).wrapping_sub(picture(last.raw_id))
                        & u32::from(self.scheme.mask())
                } else {
                    1
                };
                let tl0_step =
                    tl0.map(|tl0| last.tl0picidx.map_or(0, |before| tl0_step(tl0, before)));
                Numbers {
                    sequence: index.wrapping_add(last.offset),
                    timestamp: output.next_timestamp(now, encoding, timestamp),
                    number: number(self.number(output)?, u64::from(pictures), false),
                    tl0picidx: add_tl0(output.tl0picidx?, tl0_step, temporal_id, false),
                }
            }
            None => return None,
        };
        if let Some(after) = after {
            let (_, before) = before?;
            let room = after.out_number.wrapping_sub(numbers.number) & self.scheme.mask();
            let (joins, joined) = (shares(before), shares(after));
            let fits = numbers.sequence > before.out_last()
                && numbers.sequence < after.out_first()
                && ticks(numbers.timestamp, before.out_timestamp) >= i32::from(!joins)
                && ticks(after.out_timestamp, numbers.timestamp) >= i32::from(!joined)
                && room >= u16::from(!joined)
                && room <= self.scheme.mask() / 2
                && (tl0.is_none()
                    || tl0_step(after.out_tl0picidx, numbers.tl0picidx)
                        >= i8::from(after.temporal_id == 0 && !joined));
            if !fits {
                return None;
            }
        } else {
            let highest = output.highest();
            let joins = before.is_some_and(|(_, before)| shares(before));
            if numbers.sequence <= highest || numbers.sequence > highest + 1 + limits::MAX_HOLE {
                numbers.sequence = highest + 2;
                let id = frames.get(at)?.id;
                self.encodings[usize::from(encoding)].begin_stretch(id, highest + 1);
            }
            if ticks(numbers.timestamp, output.timestamp()) < i32::from(!joins) {
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
        let Unit {
            id: raw_id,
            bits,
            tl0picidx,
            end,
            ..
        } = packet.unit;
        let frames = &self.encodings[usize::from(encoding)];
        let frame = *frames.get(at)?;
        let sequence = index.wrapping_add(frame.offset);
        if sequence > output.highest() + 1 + limits::MAX_HOLE {
            return None;
        }
        let late = sequence <= output.highest();
        if late && !frames.has_room(at, &frame, sequence) {
            return None;
        }
        if !output.claim(sequence) {
            return None;
        }
        let marker = marker || end && frame.note.marks_end;
        if !late {
            if self
                .last
                .is_none_or(|last| last.id != Some(frame.id) || last.encoding != encoding)
            {
                output.begin_frame(now, encoding, timestamp, frame.out_timestamp);
                if let Some(next) = frame.note.next_template {
                    output.next_template = Some(next);
                }
            }
            self.set_number(output, frame.out_number);
            output.tl0picidx = Some(frame.out_tl0picidx);
            self.last = Some(Last {
                encoding,
                id: Some(frame.id),
                raw_id,
                bits,
                tl0picidx,
                offset: frame.offset,
            });
            if end {
                output.end_frame();
            }
        }
        Some(Rewrite {
            sequence,
            timestamp: frame.out_timestamp,
            marker,
            ..self.numbers(&frame, &packet.unit)
        })
    }
}

/// Signed distance between TL0PICIDX values.
fn tl0_step(later: u8, earlier: u8) -> i8 {
    later.wrapping_sub(earlier) as i8
}

/// TL0PICIDX never goes back, and a base layer picture has its own, whatever the sender says. It stays where the sender
/// has none.
fn add_tl0(out: u8, step: Option<i8>, temporal_id: u8, same_picture: bool) -> u8 {
    let Some(step) = step else {
        return out;
    };
    let least = i8::from(temporal_id == 0 && !same_picture);
    out.wrapping_add_signed(step.max(least))
}

/// Numbers go forward: a distance that would look like a step back becomes the next one.
fn advance(out: u16, distance: u64, bits: u8, same_picture: bool) -> u16 {
    let room = 1u64 << (bits - 1);
    if distance == 0 && same_picture {
        return out;
    }
    let step = if (1..room).contains(&distance) {
        distance as u16
    } else {
        1
    };
    out.wrapping_add(step)
}

//! What a projection remembers about the frames of one encoding.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits;
use crate::prefetch::prefetch;
use crate::time::Time;

/// Ids that jump further than this belong to a new numbering (media-plane spec §3.2).
const MAX_ID_STEP: i64 = 500;
/// The same for timestamps: about 1000 s in ticks of the 90 kHz clock.
const MAX_TIMESTAMP_STEP: i32 = 500 * 90_000 * 2;
/// A sender may begin a new numbering this often (T40).
const RESET_INTERVAL: Duration = Duration::from_millis(100);

/// How a codec numbers its frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scheme {
    /// Picture ids, which close up over what is left out.
    Vp8,
    /// Picture ids followed by spatial ids. Like all below they keep their distances, because frames name
    /// others by these.
    Vp9,
    /// Frame numbers of the dependency descriptor.
    Dependency,
}

impl Scheme {
    /// Lower bits of an id that are the spatial layer; the rest is what is sent.
    pub fn layer_bits(self) -> u8 {
        match self {
            Scheme::Vp9 => 3,
            Scheme::Vp8 | Scheme::Dependency => 0,
        }
    }

    /// Outgoing numbers are modulo this and one more.
    pub fn mask(self) -> u16 {
        match self {
            Scheme::Vp8 | Scheme::Vp9 => 0x7fff,
            Scheme::Dependency => 0xffff,
        }
    }

    /// Whether numbers close up over frames that are left out.
    pub fn closes(self) -> bool {
        self == Scheme::Vp8
    }

    /// Whether two frames can belong to one picture, and these timestamps say so.
    pub fn is_same_picture(self, a: u32, b: u32) -> bool {
        self != Scheme::Vp8 && a == b
    }

    /// The part of an id that is sent.
    fn number(self, id: i64) -> i64 {
        id >> self.layer_bits()
    }

    /// Whether the timestamps of two frames (id, timestamp) can be what they are.
    fn is_ordered(self, later: (i64, u32), earlier: (i64, u32)) -> bool {
        let elapsed = ticks(later.1, earlier.1);
        let least = match self {
            Scheme::Vp8 => 1,
            Scheme::Dependency => 0,
            Scheme::Vp9 if self.number(later.0) == self.number(earlier.0) => return elapsed == 0,
            Scheme::Vp9 => 1,
        };
        (least..=MAX_TIMESTAMP_STEP).contains(&elapsed)
    }
}

/// Signed difference of timestamps.
pub(super) fn ticks(later: u32, earlier: u32) -> i32 {
    later.wrapping_sub(earlier) as i32
}

/// One frame. Decided on its first packet that came; the decision is never revised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Number of the frame in the codec's [`Scheme`], unwrapped.
    pub id: i64,
    /// Lowest index of a packet that was seen.
    pub first: u64,
    /// Highest index of a packet that was seen.
    pub last: u64,
    /// Outgoing sequence number − index; only if accepted.
    pub offset: u64,
    pub timestamp: u32,
    pub out_timestamp: u32,
    /// Outgoing picture id or frame number.
    pub out_number: u16,
    pub tl0picidx: u8,
    pub out_tl0picidx: u8,
    pub temporal_id: u8,
    /// What the codec's gate wrote down for all packets of the frame.
    pub note: Note,
    pub accepted: bool,
    pub keyframe: bool,
    pub start_seen: bool,
    pub end_seen: bool,
    /// Its picture has no frame after it.
    pub picture_ended: bool,
    /// The stream moved on before the end was seen: nothing may follow what is known.
    pub closed: bool,
}

impl Frame {
    /// Lowest outgoing sequence number in use.
    pub fn out_first(&self) -> u64 {
        self.first.wrapping_add(self.offset)
    }

    /// Highest outgoing sequence number in use.
    pub fn out_last(&self) -> u64 {
        self.last.wrapping_add(self.offset)
    }
}

/// What is decided once for all packets of a frame besides numbers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Note {
    /// Its last packet gets a marker.
    pub marks_end: bool,
    /// See [`crate::wire::dependency::DependencyRewrite`].
    pub template_delta: u8,
    /// See [`crate::wire::dependency::DependencyRewrite`].
    pub active_targets: Option<u32>,
    /// Outgoing template id that follows those of the frame's structure, if it has one.
    pub next_template: Option<u8>,
}

/// Where a packet belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// To the frame at this position.
    Known(usize),
    /// To a new frame with this id, to be inserted at this position.
    New(usize, i64),
    /// To the first frame of a new numbering with this id; what was known has been forgotten.
    Reset(i64),
    /// To a new numbering, but the last one began just now.
    TooSoon,
    /// Nowhere: it contradicts what is known, or is too old.
    Nowhere,
}

/// The latest frames of an encoding in order of ids, which is also that of indexes.
#[derive(Debug)]
pub(super) struct Frames {
    scheme: Scheme,
    frames: VecDeque<Frame>,
    /// Frames up to this id were forgotten.
    forgotten: Option<i64>,
    last_reset: Option<Time>,
    /// Timestamp of the last frame that was refused because of that.
    too_soon: Option<u32>,
    /// Width of the ids in bits.
    bits: u8,
    /// The latest stretch that is or was sent; `None` if nothing was.
    stretch: Option<Stretch>,
}

/// Frames that are numbered in relation to each other, from one that began anew.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    id: i64,
    /// First sequence number that was free then: separates what came before from what comes after.
    sequence: u64,
}

impl Frames {
    pub fn new(scheme: Scheme) -> Frames {
        Frames {
            scheme,
            frames: VecDeque::new(),
            forgotten: None,
            last_reset: None,
            too_soon: None,
            bits: 0,
            stretch: None,
        }
    }

    /// Forgets everything but keeps the memory.
    pub fn clear(&mut self, scheme: Scheme) {
        self.scheme = scheme;
        self.frames.clear();
        self.forgotten = None;
        self.last_reset = None;
        self.too_soon = None;
        self.stretch = None;
    }

    /// Numbering begins anew with frame `id`; `sequence` is the first free number.
    pub fn begin_stretch(&mut self, id: i64, sequence: u64) {
        self.stretch = Some(Stretch { id, sequence });
    }

    /// After [`Place::Reset`]: the current stretch, if there is one, goes on from frame `id`.
    pub fn renumber(&mut self, id: i64, sequence: u64) {
        if self.stretch.is_some() {
            self.begin_stretch(id, sequence);
        }
    }

    /// Whether a frame comes before the current stretch: if it is not known, it is not sent any more.
    pub fn is_before_stretch(&self, id: i64) -> bool {
        self.stretch.is_some_and(|stretch| id < stretch.id)
    }

    /// Whether a late packet with this number lies on its side of the beginning of the stretch, and
    /// between its neighbours, whatever the sender says about starts and ends.
    pub fn has_room(&self, at: usize, frame: &Frame, sequence: u64) -> bool {
        let before = self.accepted_before(at);
        let after = self.accepted_after(at);
        self.stretch
            .is_some_and(|stretch| (frame.id >= stretch.id) == (sequence >= stretch.sequence))
            && before.is_none_or(|(_, before)| sequence > before.out_last())
            && after.is_none_or(|after| sequence < after.out_first())
    }

    /// Asks the processor for the newest frame.
    #[inline]
    pub fn prefetch(&self) {
        if let Some(newest) = self.frames.back() {
            prefetch(newest);
        }
    }

    pub fn get(&self, at: usize) -> Option<&Frame> {
        self.frames.get(at)
    }

    pub fn get_mut(&mut self, at: usize) -> Option<&mut Frame> {
        self.frames.get_mut(at)
    }

    pub fn by_id_mut(&mut self, id: i64) -> Option<&mut Frame> {
        self.frames.iter_mut().rev().find(|frame| frame.id == id)
    }

    pub fn by_id(&self, id: i64) -> Option<&Frame> {
        self.frames.iter().rev().find(|frame| frame.id == id)
    }

    /// Packets from the last known one before position `at` to `index`; `None` if none is known.
    pub fn packets_since(&self, at: usize, index: u64) -> Option<u64> {
        let before = self.frames.get(at.checked_sub(1)?)?;
        Some(index.saturating_sub(before.last))
    }

    /// The nearest accepted frame before `at`, with its position.
    pub fn accepted_before(&self, at: usize) -> Option<(usize, &Frame)> {
        self.frames
            .range(..at)
            .enumerate()
            .rev()
            .find(|(_, frame)| frame.accepted)
    }

    /// The nearest accepted frame after `at`.
    pub fn accepted_after(&self, at: usize) -> Option<&Frame> {
        self.frames
            .range((at + 1).min(self.frames.len())..)
            .find(|frame| frame.accepted)
    }

    /// Whether something that comes after a frame to be inserted at `at` was sent already.
    pub fn is_passed(&self, at: usize) -> bool {
        self.frames
            .range(at.min(self.frames.len())..)
            .any(|later| later.accepted)
    }

    /// Whether a keyframe to be inserted at `at` comes too late to begin with: a frame after it was sent
    /// already, or one of temporal layer 0, to which all later ones refer, was rejected. Of upper spatial
    /// layers of its own picture that came before it, only they are lost.
    pub fn is_overtaken(&self, at: usize, timestamp: u32) -> bool {
        let same_picture = |later: &Frame| self.scheme.is_same_picture(later.timestamp, timestamp);
        self.frames
            .range(at.min(self.frames.len())..)
            .any(|later| later.accepted || later.temporal_id == 0 && !same_picture(later))
    }

    /// Finds the place of a packet of frame `raw_id` (`bits` wide).
    #[inline]
    pub fn place(&mut self, now: Time, raw_id: u32, bits: u8, index: u64, timestamp: u32) -> Place {
        let Some(newest) = self.frames.back() else {
            self.bits = bits;
            return Place::New(0, i64::from(raw_id));
        };
        if bits != self.bits {
            return if index > newest.last {
                self.reset(now, raw_id, bits, timestamp)
            } else {
                Place::Nowhere
            };
        }
        let step = id_step(raw_id, newest.id, bits);
        if step == 0 {
            return self.known(self.frames.len() - 1, index, timestamp);
        }
        if index > newest.last {
            let id = newest.id + step;
            let ordered = self
                .scheme
                .is_ordered((id, timestamp), (newest.id, newest.timestamp));
            let continues = step > 0 && step <= MAX_ID_STEP << self.scheme.layer_bits() && ordered;
            return if continues {
                Place::New(self.frames.len(), id)
            } else {
                self.reset(now, raw_id, bits, timestamp)
            };
        }
        let id = newest.id + step;
        if step > 0 || self.forgotten.is_some_and(|forgotten| id <= forgotten) {
            return Place::Nowhere;
        }
        // Late packets belong to one of the latest frames: search backwards.
        let after = self
            .frames
            .iter()
            .rev()
            .take_while(|frame| frame.id > id)
            .count();
        let at = self.frames.len() - after;
        let Some(next) = self.frames.get(at) else {
            return Place::Nowhere;
        };
        match at.checked_sub(1).and_then(|before| self.frames.get(before)) {
            Some(before) if before.id == id => self.known(at - 1, index, timestamp),
            before => {
                let this = (id, timestamp);
                let fits = index < next.first
                    && self.scheme.is_ordered((next.id, next.timestamp), this)
                    && before.is_none_or(|before| {
                        let before_it = (before.id, before.timestamp);
                        index > before.last && self.scheme.is_ordered(this, before_it)
                    });
                if fits && (before.is_some() || self.frames.len() < self.limit()) {
                    Place::New(at, id)
                } else {
                    Place::Nowhere
                }
            }
        }
    }

    fn known(&self, at: usize, index: u64, timestamp: u32) -> Place {
        let Some(frame) = self.frames.get(at) else {
            return Place::Nowhere;
        };
        let after_previous = at
            .checked_sub(1)
            .and_then(|before| self.frames.get(before))
            .is_none_or(|before| index > before.last);
        let before_next = self
            .frames
            .get(at + 1)
            .is_none_or(|next| index < next.first);
        let beyond_start = frame.start_seen && index < frame.first;
        let beyond_end = (frame.end_seen || frame.closed) && index > frame.last;
        let fits = frame.timestamp == timestamp
            && after_previous
            && before_next
            && !beyond_start
            && !beyond_end;
        if fits {
            Place::Known(at)
        } else {
            Place::Nowhere
        }
    }

    fn reset(&mut self, now: Time, raw_id: u32, bits: u8, timestamp: u32) -> Place {
        let too_soon = |last| now.since(last) < RESET_INTERVAL;
        if self.last_reset.is_some_and(too_soon) || self.too_soon == Some(timestamp) {
            self.too_soon = Some(timestamp);
            return Place::TooSoon;
        }
        self.last_reset = Some(now);
        self.frames.clear();
        self.forgotten = None;
        self.bits = bits;
        Place::Reset(i64::from(raw_id))
    }

    fn limit(&self) -> usize {
        if self.stretch.is_some() && self.scheme != Scheme::Vp8 {
            limits::PROJECTION_LAYER_FRAMES
        } else if self.stretch.is_some() {
            limits::PROJECTION_FRAMES
        } else {
            limits::PROJECTION_IDLE_FRAMES
        }
    }

    /// Inserts at a place that [`Frames::place`] gave; returns where it is now.
    pub fn insert(&mut self, at: usize, frame: Frame) -> usize {
        let mut at = at;
        // Before it grows, so that it never reserves more than the limit.
        while self.frames.len() >= self.limit() && at > 0 {
            self.forgotten = self.frames.pop_front().map(|oldest| oldest.id);
            at -= 1;
        }
        self.frames.insert(at, frame);
        at
    }

    /// Whether a frame of an upper temporal layer, to be inserted at `at`, can be decoded by somebody who has
    /// exactly the accepted frames, as far as pictures without gaps tell (media-plane spec §3.4,
    /// *Decodability*). `layer` is the highest temporal layer that it refers to; `unknown` is the answer where a
    /// picture that may lie in between was not seen.
    pub fn is_decodable(&self, at: usize, id: i64, layer: u8, unknown: bool) -> bool {
        let spatial = |id: i64| id - (self.scheme.number(id) << self.scheme.layer_bits());
        let mut expected = self.scheme.number(id);
        for earlier in self.frames.range(..at.min(self.frames.len())).rev() {
            if spatial(earlier.id) != spatial(id) {
                continue;
            }
            expected -= 1;
            if self.scheme.number(earlier.id) != expected {
                return unknown;
            }
            if earlier.keyframe || earlier.temporal_id <= layer {
                return earlier.accepted;
            }
        }
        unknown
    }

    /// Whether nothing can be between two neighbours.
    fn is_next(&self, a: &Frame, b: &Frame) -> bool {
        if self.scheme != Scheme::Vp9 {
            return b.id - a.id == 1;
        }
        let pictures = self.scheme.number(b.id) - self.scheme.number(a.id);
        let first = b.id == self.scheme.number(b.id) << self.scheme.layer_bits();
        match pictures {
            0 => b.id - a.id == 1,
            1 => a.picture_ended && first,
            _ => false,
        }
    }

    /// How far the accepted frame at `to` is from the accepted one at `from`: outgoing sequence numbers
    /// from the last of `from` to the first of `to`, and numbers of frames or pictures. Rejected frames and
    /// packets that must be theirs take no room; packets of unknown frames do, for they may still come.
    pub fn distance(&self, from: usize, to: usize) -> (u64, u64) {
        let (mut packets, mut pictures) = (0, 0);
        for (a, b) in self
            .frames
            .range(from..to)
            .zip(self.frames.range(from + 1..=to))
        {
            let step = self.scheme.number(b.id) - self.scheme.number(a.id);
            let step = step.max(0) as u64;
            let closes = self.scheme.closes() && !a.accepted;
            pictures += step - u64::from(closes);
            if !a.accepted && !b.accepted && self.is_next(a, b) {
                continue;
            }
            let mut gap = b.first.saturating_sub(a.last);
            if !a.accepted && !a.end_seen && gap > 1 {
                gap -= 1;
            }
            if !b.accepted && !b.start_seen && gap > 1 {
                gap -= 1;
            }
            if !a.accepted && gap > 0 {
                gap -= 1;
            }
            packets += gap;
        }
        (packets, pictures)
    }
}

/// Signed distance from an unwrapped id to a raw one that is `bits` wide.
fn id_step(raw: u32, from: i64, bits: u8) -> i64 {
    let modulus = 1i64 << bits;
    let forward = (i64::from(raw) - from).rem_euclid(modulus);
    if forward < modulus / 2 {
        forward
    } else {
        forward - modulus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unwrapped_in_their_width() {
        assert_eq!(id_step(0, 0x7fff, 15), 1);
        assert_eq!(id_step(0x7fff, 0x8000, 15), -1);
        assert_eq!(id_step(1, 127, 7), 2);
        assert_eq!(id_step(600, 0, 15), 600);
        assert_eq!(id_step(127, 1280, 7), -1);
    }

    fn frame(id: i64) -> Frame {
        Frame {
            id,
            first: id as u64,
            last: id as u64,
            offset: 0,
            timestamp: 3000 * id as u32,
            out_timestamp: 0,
            out_number: 0,
            tl0picidx: 0,
            out_tl0picidx: 0,
            temporal_id: 0,
            note: Note::default(),
            accepted: false,
            keyframe: false,
            start_seen: true,
            end_seen: true,
            picture_ended: true,
            closed: false,
        }
    }

    #[test]
    fn memory_is_bounded_and_small_for_what_is_not_projected_t40() {
        let mut frames = Frames::new(Scheme::Vp8);
        let fill = |frames: &mut Frames, ids: std::ops::Range<i64>| {
            for id in ids {
                let place = frames.place(Time::ZERO, id as u32, 15, id as u64, 3000 * id as u32);
                let Place::New(at, id) = place else {
                    panic!("{place:?}");
                };
                frames.insert(at, frame(id));
            }
        };
        fill(&mut frames, 0..1000);
        assert_eq!(frames.frames.len(), limits::PROJECTION_IDLE_FRAMES);
        assert!(frames.frames.capacity() <= limits::PROJECTION_IDLE_FRAMES);
        frames.begin_stretch(1000, 1);
        fill(&mut frames, 1000..2000);
        assert_eq!(frames.frames.len(), limits::PROJECTION_FRAMES);
        assert!(frames.frames.capacity() <= limits::PROJECTION_FRAMES);
        let forgotten = 2000 - limits::PROJECTION_FRAMES as u32 - 1;
        let place = frames.place(
            Time::ZERO,
            forgotten,
            15,
            u64::from(forgotten),
            3000 * forgotten,
        );
        assert_eq!(place, Place::Nowhere);
    }
}

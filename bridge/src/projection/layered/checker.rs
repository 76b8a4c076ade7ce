//! What must hold for the receiver, told from frames and verdicts alone.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::encoder::{Codec, Frame};
use super::{LayerIndex, Payload, Rewrite, Verdict, VideoFacts};
use crate::wire::dependency::{DependencyParser, FrameDependencies, MAX_ELEMENT};

/// A frame of any source in a simulation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FrameId {
    pub life: u32,
    pub encoding: u8,
    pub epoch: u32,
    pub number: u64,
}

impl FrameId {
    /// Frames of one stream are in order of their numbers and may refer to each other.
    fn stream(&self) -> (u32, u8, u32) {
        (self.life, self.encoding, self.epoch)
    }
}

/// A packet that was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    numbers: Rewrite,
    marker: bool,
}

/// What is known about a frame.
#[derive(Debug)]
struct Known {
    frame: Frame,
    captured_ms: u64,
    /// Whether the first packet that came was sent; `None` before any came.
    decision: Option<bool>,
    /// Packets that came.
    arrived: BTreeSet<u64>,
    /// Packets that were sent, by position in the frame.
    sent: BTreeMap<u64, Sent>,
}

/// What was sent since the last keyframe that was sent: the stream, and the highest layers in it.
#[derive(Clone, Copy, Debug)]
struct Reached {
    stream: (u32, u8, u32),
    number: u64,
    spatial: u8,
    temporal: u8,
}

#[derive(Debug)]
pub struct Checker {
    jitter_ms: u64,
    /// Whether all packets come in order.
    clean: bool,
    frames: BTreeMap<FrameId, Known>,
    by_sequence: BTreeMap<u64, (FrameId, u64)>,
    /// Dependency descriptors that were sent, and what they mean.
    written: BTreeMap<u64, (Vec<u8>, FrameDependencies)>,
    /// Since when what was wanted.
    targets: Vec<(u64, LayerIndex)>,
    reached: Option<Reached>,
    /// Whether an encoder restarted: clocks and numbers may jump.
    pub restarted: bool,
}

impl Checker {
    pub fn new(jitter_ms: u64, clean: bool) -> Checker {
        Checker {
            jitter_ms,
            clean,
            frames: BTreeMap::new(),
            by_sequence: BTreeMap::new(),
            written: BTreeMap::new(),
            targets: vec![(0, LayerIndex::SUSPENDED)],
            reached: None,
            restarted: false,
        }
    }

    pub fn set_target(&mut self, now: u64, target: LayerIndex) {
        self.targets.push((now, target));
    }

    pub fn encoded(&mut self, id: FrameId, frame: Frame, now: u64) {
        let known = Known {
            frame,
            captured_ms: now,
            decision: None,
            arrived: BTreeSet::new(),
            sent: BTreeMap::new(),
        };
        self.frames.insert(id, known);
    }

    /// The projection decided about a packet.
    pub fn judged(
        &mut self,
        (id, position): (FrameId, u64),
        facts: &VideoFacts,
        payload: &Payload,
        bytes: &[u8],
        verdict: Verdict,
    ) {
        let known = self.frames.get_mut(&id).unwrap();
        known.arrived.insert(position);
        let sent = matches!(verdict, Verdict::Forward(_));
        let is_first = known.decision.is_none();
        let decision = *known.decision.get_or_insert(sent);
        let Verdict::Forward(numbers) = verdict else {
            return;
        };
        let codec = known.frame.codec;
        // §3.10 (6): nothing of a frame whose first packet was rejected.
        assert!(
            decision || codec == Codec::Opaque,
            "{id:?} was rejected at first"
        );
        assert!(numbers.marker || !facts.marker, "{id:?} lost its marker");
        // §3.10 (2), T29: a number is used once, and so is a packet.
        let before = self.by_sequence.insert(numbers.sequence, (id, position));
        assert_eq!(before, None, "{} used twice", numbers.sequence);
        let packet = Sent {
            numbers,
            marker: numbers.marker,
        };
        let twice = known.sent.insert(position, packet);
        assert!(twice.is_none(), "{id:?} packet {position} sent twice");
        self.check_fields(payload, bytes, &numbers);
        if is_first && codec != Codec::Opaque && !self.restarted {
            self.check_decodable(id);
            self.check_wanted(id, position);
        }
    }

    /// The numbers that the codec has, and a receiver understands them.
    fn check_fields(&mut self, payload: &Payload, bytes: &[u8], numbers: &Rewrite) {
        match payload {
            Payload::Vp9(descriptor) => {
                assert!(numbers.picture_id.is_some() && numbers.dependency.is_none());
                assert_eq!(
                    numbers.tl0picidx.is_some(),
                    descriptor.tl0picidx().is_some()
                );
            }
            Payload::Dependency(descriptor) => {
                let numbers_in = numbers.dependency.expect("with a descriptor");
                let mut out = [0; MAX_ELEMENT];
                let len = descriptor.rewrite(bytes, &numbers_in, &mut out).unwrap();
                let frame = *descriptor.dependencies().unwrap();
                self.written
                    .insert(numbers.sequence, (out[..len].to_vec(), frame));
            }
            _ => {
                assert_eq!(numbers.picture_id, None);
                assert_eq!(numbers.dependency, None);
            }
        }
    }

    /// A frame is not begun if what it refers to was seen and refused.
    fn check_decodable(&self, id: FrameId) {
        for number in self.frames[&id].frame.references() {
            let reference = self.frames.get(&FrameId { number, ..id });
            assert_ne!(
                reference.and_then(|reference| reference.decision),
                Some(false),
                "{id:?} refers to {number}, which was refused: {:?}",
                self.frames[&id].frame
            );
        }
    }

    /// Nothing is begun that was not wanted at any time since its capture, but for what was sent already and can not be
    /// left without a keyframe.
    fn check_wanted(&mut self, id: FrameId, position: u64) {
        let known = &self.frames[&id];
        let frame = &known.frame;
        let reached = self.reached.filter(|reached| reached.stream == id.stream());
        if reached.is_some_and(|reached| id.number < reached.number) {
            // Late: judged by what was sent when it was its turn.
            return;
        }
        // A keyframe that is seen as such, and is not late, begins anew.
        let is_entered = |target: LayerIndex| {
            target.encoding() != Some(id.encoding)
                || frame.spatial == 0
                || frame.spatial == frame.shape.layer_of(target.decode_target()).0
        };
        let tells = match frame.codec {
            Codec::Av1 => {
                position == 0
                    && self
                        .targets
                        .last()
                        .is_some_and(|(_, target)| is_entered(*target))
            }
            _ => true,
        } && frame.begins;
        let (spatial, temporal) = match reached {
            Some(reached) if !tells => (reached.spatial, reached.temporal),
            _ => (0, 0),
        };
        let since = self
            .targets
            .iter()
            .rposition(|(at, _)| *at < known.captured_ms)
            .unwrap();
        let layers = |target: LayerIndex| match frame.codec {
            Codec::Vp9 { .. } => (target.spatial(), target.temporal()),
            Codec::Av1 => frame.shape.layer_of(target.decode_target()),
            Codec::H264 | Codec::Opaque => (0, 0),
        };
        let is_wanted = self.targets[since..].iter().any(|(_, target)| {
            let Some(encoding) = target.encoding() else {
                return false;
            };
            // Until a keyframe of the lower encoding comes, this one goes on.
            if encoding < id.encoding {
                return reached.is_some();
            }
            let most = layers(*target);
            // On the way up, all there is below.
            encoding > id.encoding
                || frame.spatial < most.0.max(spatial)
                || frame.spatial <= most.0.max(spatial) && frame.temporal <= most.1.max(temporal)
        });
        assert!(
            is_wanted,
            "{frame:?} of {id:?} was not wanted: {:?}, reached {reached:?}",
            &self.targets[since..]
        );
        // A decode target goes on until a frame at which one can change to another.
        let entered = match self
            .targets
            .last()
            .map(|(_, target)| (target.encoding(), *target))
        {
            Some((Some(encoding), target)) if frame.codec == Codec::Av1 => {
                match encoding.cmp(&id.encoding) {
                    Ordering::Greater => frame.shape.layer_of(u8::MAX),
                    Ordering::Equal => layers(target),
                    Ordering::Less => (0, 0),
                }
            }
            _ => (0, 0),
        };
        self.reached = Some(Reached {
            stream: id.stream(),
            number: reached.map_or(id.number, |reached| reached.number.max(id.number)),
            spatial: spatial.max(frame.spatial).max(entered.0),
            temporal: temporal.max(frame.temporal).max(entered.1),
        });
    }

    fn sent(&self, (id, position): (FrameId, u64)) -> Sent {
        self.frames[&id].sent[&position]
    }

    /// What must hold for everything that was sent, in the order of sequence numbers.
    pub fn check_order(&self) {
        if self.clean {
            self.check_descriptors();
        }
        let mut finished = BTreeSet::new();
        let mut newest = BTreeMap::new();
        let mut last: Option<(u64, (FrameId, u64))> = None;
        for (&sequence, &(id, position)) in &self.by_sequence {
            let mine = self.sent((id, position)).numbers;
            assert_eq!(mine.sequence, sequence);
            match last {
                // Of a codec that nobody reads, frames are not seen.
                Some(_) if self.frames[&id].frame.codec == Codec::Opaque => {}
                Some((before, (same, previous))) if same == id => {
                    // Packets of a frame keep their distances and share everything else.
                    assert_eq!(sequence - before, position - previous, "{id:?}");
                    let theirs = self.sent((same, previous)).numbers;
                    let shared = Rewrite {
                        sequence,
                        marker: mine.marker,
                        dependency: mine.dependency,
                        ..theirs
                    };
                    assert_eq!(mine, shared, "{id:?}");
                    let number =
                        |it: Rewrite| it.dependency.map(|it| (it.frame_number, it.template_delta));
                    assert_eq!(number(mine), number(theirs), "{id:?}");
                }
                previous => {
                    assert!(finished.insert(id), "{id:?} is mixed with another frame");
                    let highest = newest.entry(id.stream()).or_insert(id.number);
                    assert!(*highest <= id.number, "{id:?} comes after frame {highest}");
                    *highest = id.number;
                    let before = previous.map(|(_, before)| before);
                    self.check_begin(before, (id, position));
                    if let Some(before) = before {
                        self.check_step(before, (id, position));
                    }
                    self.check_references(id, position);
                }
            }
            last = Some((sequence, (id, position)));
        }
    }

    /// A receiver that reads the dependency descriptors in order understands them as they were meant, and knows that
    /// the frames are for it.
    fn check_descriptors(&self) {
        let mut reader = DependencyParser::new();
        for (sequence, (element, frame)) in &self.written {
            let (id, position) = self.by_sequence[sequence];
            let read = reader.parse(*sequence, element).unwrap();
            assert_eq!(read.dependencies(), Some(frame), "{id:?} packet {position}");
            let number = self
                .sent((id, position))
                .numbers
                .dependency
                .map(|it| it.frame_number);
            assert_eq!(Some(read.frame_number()), number);
            assert_ne!(
                read.active_targets() & frame.targets(),
                0,
                "{id:?} is for nobody"
            );
        }
    }

    /// §3.10 (4): a stream begins with a keyframe, and with the first packet of it that came.
    fn check_begin(&self, before: Option<(FrameId, u64)>, (id, position): (FrameId, u64)) {
        let same =
            |(before, _): (FrameId, u64)| (before.life, before.encoding) == (id.life, id.encoding);
        let known = &self.frames[&id];
        if before.is_some_and(same) || known.frame.codec == Codec::Opaque {
            return;
        }
        assert!(known.frame.begins, "{id:?} is no start");
        if known.frame.codec == Codec::Av1 {
            assert_eq!(position, 0, "{id:?} begins without its structure");
        }
    }

    /// From the last packet of a frame to the first of the next one that was sent.
    fn check_step(&self, before: (FrameId, u64), after: (FrameId, u64)) {
        let (a, b) = (&self.frames[&before.0], &self.frames[&after.0]);
        let (from, to) = (self.sent(before), self.sent(after));
        let context = || format!("from {before:?} {from:?} to {after:?} {to:?}");
        let same_stream = before.0.stream() == after.0.stream();
        let same_picture = same_stream && a.frame.picture == b.frame.picture;
        // §3.10 (1): frames of a picture share its timestamp, later ones have later timestamps.
        let ticks = to.numbers.timestamp.wrapping_sub(from.numbers.timestamp) as i32;
        if same_picture {
            assert_eq!(ticks, 0, "{}", context());
            let may_go_on = self.restarted || self.may_go_up(before.0, after.0);
            assert!(
                !from.marker || may_go_on,
                "a picture goes on after its end: {}",
                context()
            );
        } else {
            assert!(ticks > 0, "{}", context());
        }
        self.check_numbers(a, b, (&from.numbers, &to.numbers), same_picture, &context);
        // Room for packets that are missing, and for no more than there are.
        let room = to.numbers.sequence - from.numbers.sequence;
        if self.restarted {
            return;
        }
        let missing = (a.frame.packets - 1 - before.1) + after.1;
        // Where frames have no numbers, nobody knows that a start is missing.
        assert!(
            room > missing.min(1) || !b.frame.codec.is_numbered(),
            "{}",
            context()
        );
        // §3.10 (7): timestamps go with real time, give or take what the network did.
        let real = (b.captured_ms as i64 - a.captured_ms as i64) * 90;
        let tolerance = 2 * 3000 + 90 * (self.jitter_ms as i64 + 300);
        assert!(
            (i64::from(ticks) - real).abs() <= tolerance,
            "{real}: {}",
            context()
        );
    }

    /// §3.10 (3): numbers of pictures and frames go forward, TL0PICIDX never back.
    fn check_numbers(
        &self,
        a: &Known,
        b: &Known,
        (from, to): (&Rewrite, &Rewrite),
        same_picture: bool,
        context: &dyn Fn() -> String,
    ) {
        if let Some((from, to)) = from.picture_id.zip(to.picture_id) {
            let is_wide =
                |known: &Known| !matches!(known.frame.codec, Codec::Vp9 { wide: false, .. });
            let mask = if is_wide(a) && is_wide(b) {
                0x7fff
            } else {
                0x7f
            };
            let step = to.wrapping_sub(from) & mask;
            if same_picture {
                assert_eq!(step, 0, "{}", context());
            } else {
                assert!(step > 0 && step <= mask / 2, "{}", context());
            }
        }
        if let Some((from, to)) = from.dependency.zip(to.dependency) {
            let step = to.frame_number.wrapping_sub(from.frame_number) as i16;
            assert!(step > 0, "{}", context());
        }
        if let Some((from, to)) = from.tl0picidx.zip(to.tl0picidx) {
            let step = to.wrapping_sub(from) as i8;
            let least = i8::from(b.frame.temporal == 0 && !same_picture);
            assert!(step >= least, "{}", context());
        }
    }

    /// What the frame names as its references are, with the numbers sent, the frames that it refers to.
    fn check_references(&self, id: FrameId, position: u64) {
        let known = &self.frames[&id];
        if !known.frame.codec.names_references() {
            return;
        }
        let mine = known.sent[&position].numbers;
        for number in known.frame.references() {
            let Some(reference) = self.frames.get(&FrameId { number, ..id }) else {
                continue;
            };
            let Some(theirs) = reference.sent.values().next().map(|sent| sent.numbers) else {
                continue;
            };
            if let Some((mine, theirs)) = mine.dependency.zip(theirs.dependency) {
                let apart = mine.frame_number.wrapping_sub(theirs.frame_number);
                assert_eq!(u64::from(apart), id.number - number, "{id:?} and {number}");
            }
            if let Some((mine, theirs)) = mine.picture_id.zip(theirs.picture_id) {
                let apart = mine.wrapping_sub(theirs) & 0x7f;
                let pictures = known.frame.picture - reference.frame.picture;
                assert_eq!(u64::from(apart), pictures, "{id:?} and {number}");
            }
        }
    }

    /// Of this encoding, what was captured since `begin` was sent exactly as far as these layers need it.
    pub fn check_steady(&self, life: u32, begin: u64, layers: (u8, u8, u8)) {
        let (encoding, spatial, temporal) = layers;
        let recent = self
            .frames
            .iter()
            .filter(|(id, known)| id.life == life && known.captured_ms >= begin);
        let mut count = 0;
        for (id, known) in recent {
            let frame = &known.frame;
            let is_wanted = match frame.codec {
                Codec::Opaque | Codec::H264 => id.encoding == encoding,
                _ => id.encoding == encoding && frame.is_part_of(spatial, temporal),
            };
            let expected = if is_wanted { frame.packets } else { 0 };
            assert_eq!(
                known.sent.len() as u64,
                expected,
                "{known:?} for {layers:?}"
            );
            count += usize::from(is_wanted);
        }
        assert!(count > 2, "{layers:?} is not captured");
    }

    /// Numbers from `after` to `until` were all sent.
    pub fn check_without_holes(&self, after: u64, until: u64) {
        let sent = self
            .by_sequence
            .range(after + 1..=until)
            .map(|(sequence, _)| *sequence);
        assert!(
            sent.eq(after + 1..=until),
            "numbers are skipped after {after}"
        );
    }

    /// VP9 goes up at any picture that has what the layer above needs; that it has shows only when the layer below was
    /// sent as the last one.
    fn may_go_up(&self, below: FrameId, above: FrameId) -> bool {
        let (below, above) = (&self.frames[&below].frame, &self.frames[&above].frame);
        matches!(above.codec, Codec::Vp9 { .. })
            && above.spatial > below.spatial
            && above.references().next().is_some()
    }

    /// §3.10 (5): where nothing is lost, the last packet of each picture from `after` on, and no other, has the marker.
    /// `strict`: no layers come and go.
    pub fn check_pictures_are_ended(&self, after: u64, strict: bool) {
        let mut sent = self
            .by_sequence
            .range(after + 1..)
            .map(|(_, at)| *at)
            .peekable();
        while let Some(at) = sent.next() {
            let Some(&next) = sent.peek() else {
                return;
            };
            let (this, following) = (self.sent(at), self.sent(next));
            let is_last = this.numbers.timestamp != following.numbers.timestamp;
            let may_go_on = !strict && !is_last && self.may_go_up(at.0, next.0);
            assert!(
                this.marker == is_last || may_go_on,
                "{at:?} {this:?} before {next:?} {following:?}"
            );
        }
    }

    /// Packets that came of frames captured since `begin` were sent exactly as far as these layers need them.
    pub fn check_late_ones(&self, begin: u64, (encoding, spatial, temporal): (u8, u8, u8)) {
        for (id, known) in self
            .frames
            .iter()
            .filter(|(_, known)| known.captured_ms >= begin)
        {
            let is_wanted = id.encoding == encoding && known.frame.is_part_of(spatial, temporal);
            let expected = if is_wanted { known.arrived.len() } else { 0 };
            assert_eq!(known.sent.len(), expected, "{id:?} {known:?}");
        }
    }
}

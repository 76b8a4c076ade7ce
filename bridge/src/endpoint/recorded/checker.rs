//! What must hold for a receiver of video (media-plane spec §3.10), told by what reaches it and by what was recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::recording::Recording;
use super::world::{Arrived, CLEAN, World};
use crate::media::MediaKind;
use crate::projection::{LayerIndex, Payload};
use crate::wire::dependency::{DependencyParser, Dti};
use crate::wire::vp8::Vp8Descriptor;
use crate::wire::vp9::Vp9Descriptor;
use crate::worker::packet::{DEPENDENCY, MediaPacket};

/// Browsers do not hand packets of one moment to the network at one moment; software encoders of three layers on a busy machine take
/// long. In µs.
const SENDER_JITTER: i64 = 200_000;
/// A frame of 15 per second, in µs.
const FRAME: i64 = 66_667;

/// A frame of one spatial layer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FrameId {
    pub encoding: u8,
    /// Position of its first packet in the recording.
    pub number: usize,
}

/// What is known of a recorded packet.
pub struct Truth {
    pub frame: FrameId,
    /// First packet of a keyframe.
    pub begins_keyframe: bool,
    pub packet: Arc<MediaPacket>,
}

impl Truth {
    fn spatial(&self) -> u8 {
        match &self.packet.descriptor {
            Payload::Vp9(vp9) => vp9.spatial_id(),
            Payload::Dependency(descriptor) => descriptor
                .dependencies()
                .map_or(0, |frame| frame.spatial_id),
            _ => 0,
        }
    }

    fn temporal(&self) -> u8 {
        match &self.packet.descriptor {
            Payload::Vp8(vp8) => vp8.temporal_id().unwrap_or(0),
            Payload::Vp9(vp9) => vp9.temporal_id(),
            Payload::Dependency(descriptor) => descriptor
                .dependencies()
                .map_or(0, |frame| frame.temporal_id),
            _ => 0,
        }
    }

    /// Whether whoever gets `target` needs it; `None` if that depends.
    pub fn is_wanted(&self, target: LayerIndex) -> Option<bool> {
        if target.encoding() != Some(self.frame.encoding) {
            return Some(false);
        }
        match &self.packet.descriptor {
            Payload::Dependency(descriptor) => {
                let dti = descriptor.dependencies()?.dti(target.decode_target());
                Some(dti != Dti::NotPresent)
            }
            Payload::Plain { .. } => Some(true),
            _ if self.temporal() > target.temporal() => Some(false),
            _ if self.spatial() == target.spatial() => Some(true),
            // Lower spatial layers only as far as that one refers to them.
            _ if self.spatial() < target.spatial() => None,
            _ => Some(false),
        }
    }
}

/// All packets of a recording as the bridge understands them when nothing is lost.
pub fn understand(recording: &Recording) -> Vec<Truth> {
    let mut world = World::new(recording, &recording.formats, MediaKind::Video, CLEAN, 1);
    let mut truths: BTreeMap<usize, Truth> = BTreeMap::new();
    // Newest frame by encoding: timestamp and spatial layer, and its first packet.
    let mut newest: BTreeMap<u8, (u32, u8, usize)> = BTreeMap::new();
    while let Some((number, packet)) = world.step() {
        let packet = packet.unwrap_or_else(|| panic!("packet {number} is refused"));
        let encoding = packet.encoding;
        let begins_keyframe = match &packet.descriptor {
            Payload::Vp8(vp8) => vp8.is_keyframe_start(),
            Payload::Vp9(vp9) => vp9.is_keyframe() && vp9.is_start(),
            Payload::Dependency(descriptor) => descriptor.is_keyframe() && descriptor.is_start(),
            Payload::Plain { keyframe } => *keyframe,
            other => panic!("packet {number} is {other:?}"),
        };
        let mut truth = Truth {
            frame: FrameId { encoding, number },
            begins_keyframe,
            packet,
        };
        let this = (truth.packet.header.timestamp, truth.spatial());
        match newest.get(&encoding) {
            Some((timestamp, spatial, first)) if (*timestamp, *spatial) == this => {
                truth.frame.number = *first;
            }
            _ => {
                newest.insert(encoding, (this.0, this.1, number));
            }
        }
        truths.insert(number, truth);
    }
    assert_eq!(truths.len(), recording.packets.len());
    truths.into_values().collect()
}

/// A packet that reached the receiver.
struct Sent {
    number: usize,
    arrived: Arrived,
    /// Picture id or frame number, and how many bits it has.
    id: Option<(u32, u32)>,
    tl0picidx: Option<u8>,
}

/// The receiver, and what it must not see.
pub struct Checker<'a> {
    recording: &'a Recording,
    truths: &'a [Truth],
    /// Network before the bridge, in µs at most.
    jitter: i64,
    dependency: DependencyParser,
    /// By outgoing sequence number.
    sent: BTreeMap<u64, Sent>,
    /// Whether the first packet of a frame that came was sent, and how many frames were decided before.
    decisions: BTreeMap<FrameId, (bool, usize)>,
}

impl<'a> Checker<'a> {
    pub fn new(recording: &'a Recording, truths: &'a [Truth], jitter: i64) -> Checker<'a> {
        Checker {
            recording,
            truths,
            jitter,
            dependency: DependencyParser::new(),
            sent: BTreeMap::new(),
            decisions: BTreeMap::new(),
        }
    }

    /// Takes note of a packet that came to the bridge, and of what became of it.
    pub fn saw(&mut self, number: usize, packet: &MediaPacket, arrived: Option<Arrived>) {
        let truth = &self.truths[number];
        let frame = truth.frame;
        let is_first = !self.decisions.contains_key(&frame);
        let before = self.decisions.len();
        let (decision, _) = *self
            .decisions
            .entry(frame)
            .or_insert((arrived.is_some(), before));
        let Some(arrived) = arrived else { return };
        // §3.10 (6): nothing of a frame whose first packet was rejected.
        assert!(decision, "packet {number} of a frame that was refused");
        if is_first && let Payload::Dependency(descriptor) = &packet.descriptor {
            self.check_references(number, descriptor);
        }
        let (id, tl0picidx) = self.numbers(packet, &arrived);
        let index = arrived.index;
        let sent = Sent {
            number,
            arrived,
            id,
            tl0picidx,
        };
        // §3.10 (2), T29: a number is used once.
        let before = self.sent.insert(index, sent);
        assert!(before.is_none(), "{index} is used twice");
    }

    /// No frame is begun that refers to one that was refused.
    fn check_references(
        &self,
        number: usize,
        descriptor: &crate::wire::dependency::DependencyDescriptor,
    ) {
        let encoding = self.truths[number].frame.encoding;
        let references = descriptor
            .dependencies()
            .map_or(&[][..], |it| it.references());
        for distance in references {
            let wanted = descriptor.frame_number().wrapping_sub(*distance);
            let earlier = self.truths[..number].iter().rev().find(|truth| {
                let same = truth.frame.encoding == encoding;
                same && matches!(&truth.packet.descriptor, Payload::Dependency(it) if it.frame_number() == wanted)
            });
            let decision = earlier.and_then(|truth| self.decisions.get(&truth.frame));
            assert!(
                decision.is_none_or(|(sent, _)| *sent),
                "packet {number} refers to a frame that was refused"
            );
        }
    }

    /// What the receiver reads of a packet.
    fn numbers(
        &mut self,
        packet: &MediaPacket,
        arrived: &Arrived,
    ) -> (Option<(u32, u32)>, Option<u8>) {
        match &packet.descriptor {
            Payload::Vp8(_) => {
                let vp8 = Vp8Descriptor::parse(arrived.payload()).expect("it is VP8");
                let bits = if vp8.is_wide() { 15 } else { 7 };
                let id = vp8.picture_id().map(|id| (u32::from(id), bits));
                (id, vp8.tl0picidx())
            }
            Payload::Vp9(_) => {
                let vp9 = Vp9Descriptor::parse(arrived.payload()).expect("it is VP9");
                let bits = if vp9.is_wide() { 15 } else { 7 };
                let id = vp9.picture_id().map(|id| (u32::from(id), bits));
                (id, vp9.tl0picidx())
            }
            Payload::Dependency(before) => {
                let extension = self.recording.formats.extensions;
                let id = extension.id(crate::media::Extension::DependencyDescriptor);
                let elements = crate::wire::extensions::elements(&arrived.header, &arrived.data);
                let mut elements = elements.filter(|(found, _)| Some(*found) == id);
                let (_, element) = elements.next().expect("it has a descriptor");
                let after = self.dependency.parse(arrived.index, element);
                let after = after.expect("the receiver can read it");
                assert_eq!(after.is_start(), before.is_start());
                assert_eq!(after.is_end(), before.is_end());
                // The structure that the receiver has fits to what the sender wrote.
                let (mine, theirs) = (after.dependencies(), before.dependencies());
                assert!(mine.is_some(), "the receiver knows the structure");
                assert_eq!(mine, theirs);
                assert!(packet.kept(DEPENDENCY).is_some());
                (Some((u32::from(after.frame_number()), 16)), None)
            }
            _ => (None, None),
        }
    }

    /// Outgoing numbers that were skipped.
    pub fn holes(&self) -> u64 {
        let first = self.sent.first_key_value().map(|(first, _)| *first);
        let last = self.sent.last_key_value().map(|(last, _)| *last);
        match (first, last) {
            (Some(first), Some(last)) => last - first + 1 - self.sent.len() as u64,
            _ => 0,
        }
    }

    /// Positions of the packets that were sent.
    pub fn sent(&self) -> BTreeSet<usize> {
        self.sent.values().map(|sent| sent.number).collect()
    }

    /// What must hold for everything that was sent, in the order of sequence numbers.
    pub fn check_order(&self) {
        let mut finished = BTreeSet::new();
        let mut newest: BTreeMap<u8, usize> = BTreeMap::new();
        let mut last: Option<(u64, &Sent)> = None;
        for (&index, sent) in &self.sent {
            let truth = &self.truths[sent.number];
            let before = last.map(|(before, sent)| (before, sent, &self.truths[sent.number]));
            match before {
                Some((before, previous, same)) if same.frame == truth.frame => {
                    // Packets of a frame keep their distances and share everything else.
                    let distance = truth.packet.original - same.packet.original;
                    assert_eq!(index - before, distance, "{}", sent.number);
                    assert_eq!(sent.id, previous.id);
                    assert_eq!(sent.tl0picidx, previous.tl0picidx);
                    self.check_same_picture(previous, sent);
                }
                before => {
                    let first = finished.insert(truth.frame);
                    assert!(first, "{:?} is mixed with another", truth.frame);
                    let encoding = truth.frame.encoding;
                    let highest = newest.insert(encoding, truth.frame.number);
                    assert!(highest < Some(truth.frame.number), "{:?}", truth.frame);
                    let switched =
                        before.is_none_or(|(.., before)| before.frame.encoding != encoding);
                    // §3.10 (4): a switch starts with a keyframe, and with its start unless there is room for that. Without frame
                    // numbers a picture that follows its parameter sets in a packet of its own counts as well.
                    let start = &self.truths[truth.frame.number];
                    let missing = truth.packet.original - start.packet.original;
                    let room = before.is_none_or(|(before, ..)| index - before > missing);
                    let starts = match sent.id {
                        Some(_) => start.begins_keyframe && room,
                        None => truth.begins_keyframe,
                    };
                    assert!(starts || !switched, "{:?} is no start", truth.frame);
                    if let Some((_, previous, _)) = before {
                        self.check_step(previous, sent);
                    }
                }
            }
            last = Some((index, sent));
        }
    }

    /// §3.10 (1), (5): packets of one picture share the timestamp, and the marker is on none but the last.
    fn check_same_picture(&self, before: &Sent, after: &Sent) {
        let (a, b) = (&before.arrived.header, &after.arrived.header);
        assert_eq!(a.timestamp, b.timestamp, "packet {}", after.number);
        // Which layer is the last is decided layer by layer: one that overtook those below may have been sent for a target that ends
        // with the keyframe below.
        let decided = |sent: &Sent| self.decisions[&self.truths[sent.number].frame].1;
        let overtaken = decided(before) > decided(after);
        assert!(
            !a.marker || overtaken,
            "packet {} is not the last",
            before.number
        );
    }

    /// From the last packet of a frame to the first of the next one.
    fn check_step(&self, before: &Sent, after: &Sent) {
        let (a, b) = (&self.truths[before.number], &self.truths[after.number]);
        let (numbers, context) = ((before.number, after.number), "from and to packet");
        let picture = |truth: &Truth| (truth.frame.encoding, truth.packet.header.timestamp);
        let same_picture = picture(a) == picture(b);
        if same_picture {
            self.check_same_picture(before, after);
        } else {
            let from = before.arrived.header.timestamp;
            let ticks = after.arrived.header.timestamp.wrapping_sub(from) as i32;
            // §3.10 (1): later frames have later timestamps.
            assert!(ticks > 0, "{ticks} {context} {numbers:?}");
            // §3.10 (7): timestamps go with real time, give or take what sender and network did.
            let micros = |sent: &Sent| self.recording.packets[sent.number].micros as i64;
            let real = micros(after) - micros(before);
            let told = i64::from(ticks) * 100 / 9;
            let tolerance = 2 * FRAME + SENDER_JITTER + self.jitter;
            assert!(
                (told - real).abs() <= tolerance,
                "{told} µs instead of {real} {context} {numbers:?}"
            );
        }
        // §3.10 (3): picture ids and frame numbers go forward, TL0PICIDX never back.
        if let (Some((from, bits)), Some((to, _))) = (before.id, after.id) {
            let mask = (1 << bits) - 1;
            let steps = to.wrapping_sub(from) & mask;
            let one_picture = same_picture && bits != 16;
            let forward = steps > 0 && steps <= mask / 2;
            assert!(
                if one_picture { steps == 0 } else { forward },
                "{from} {to} {context} {numbers:?}"
            );
        }
        if let (Some(from), Some(to)) = (before.tl0picidx, after.tl0picidx) {
            let steps = to.wrapping_sub(from) as i8;
            let new_base = !same_picture && b.temporal() == 0;
            assert!(
                steps >= i8::from(new_base),
                "{from} {to} {context} {numbers:?}"
            );
        }
    }

    /// §3.10 (5): each picture of which all of `wanted` was sent ends with the marker. The number of such pictures.
    pub fn check_markers(&self, wanted: &BTreeSet<usize>) -> usize {
        let mut pictures: BTreeMap<(u8, u32), Vec<usize>> = BTreeMap::new();
        for number in wanted {
            let truth = &self.truths[*number];
            let picture = (truth.frame.encoding, truth.packet.header.timestamp);
            pictures.entry(picture).or_default().push(*number);
        }
        let by_number: BTreeMap<usize, &Sent> =
            self.sent.values().map(|sent| (sent.number, sent)).collect();
        // The recording may end within a picture.
        let last = self
            .truths
            .last()
            .map(|truth| truth.packet.header.timestamp);
        pictures.retain(|(_, timestamp), _| Some(*timestamp) != last);
        let mut complete = 0;
        for numbers in pictures.values() {
            if !numbers.iter().all(|number| by_number.contains_key(number)) {
                continue;
            }
            complete += 1;
            let last = by_number[numbers.iter().max().expect("there is one")];
            assert!(last.arrived.header.marker, "packet {}", last.number);
        }
        complete
    }
}

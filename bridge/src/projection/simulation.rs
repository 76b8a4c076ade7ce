//! Honest senders over bad networks, against an independent checker of what must hold for the receiver
//! (media-plane spec §3.10).
//!
//! A source sends up to three encodings with temporal layers; the network loses, repairs, duplicates and
//! reorders packets; the allocator changes its mind; slots change hands; encoders restart. The checker
//! knows the source's frames and their references, and sees the projection's verdicts only.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::testing::{Network, Packet};
use super::*;

const FRAME_MS: u64 = 33;
const ENCODINGS: usize = 3;

/// A frame of any source in a simulation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct FrameId {
    life: u32,
    encoding: u8,
    number: u64,
}

/// What the checker knows about a frame.
#[derive(Debug, Default)]
struct Known {
    temporal_id: u8,
    keyframe: bool,
    packets: u64,
    captured_ms: u64,
    /// The nearest earlier frame of the same or a lower temporal layer.
    reference: Option<u64>,
    /// Whether the first packet that came was sent; `None` before any came.
    decision: Option<bool>,
    /// Packets that came.
    arrived: BTreeSet<u64>,
    /// Packets that were sent: position in the frame → the numbers.
    sent: BTreeMap<u64, Rewrite>,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    frame: FrameId,
    position: u64,
    packet: Packet,
}

struct Encoder {
    index: u64,
    picture_id: u16,
    tl0picidx: u8,
    clock: u32,
    number: u64,
    /// Position in the pattern of temporal layers since the last keyframe.
    pattern: usize,
    enabled: bool,
    /// Latest frame per temporal layer.
    latest: [Option<u64>; 4],
}

struct World {
    random: Random,
    now: u64,
    life: u32,
    layers: usize,
    wide: bool,
    encoders: Vec<Encoder>,
    keyframe_at: Option<u64>,
    keyframe_done: u64,
    network: Network,
    flying: BTreeMap<(u64, u64), InFlight>,
    order: u64,
    projection: Projection,
    frames: BTreeMap<FrameId, Known>,
    by_sequence: BTreeMap<u64, (FrameId, u64)>,
    /// Whether encoders restarted: the clock may jump.
    restarted: bool,
}

impl World {
    fn new(seed: u64, layers: usize, wide: bool, network: Network) -> World {
        let mut world = World {
            random: Random::from_seed(seed),
            now: 1000,
            life: 0,
            layers,
            wide,
            encoders: Vec::new(),
            keyframe_at: None,
            keyframe_done: 0,
            network,
            flying: BTreeMap::new(),
            order: 0,
            projection: Projection::new(Start {
                sequence: 1,
                timestamp: 1,
            }),
            frames: BTreeMap::new(),
            by_sequence: BTreeMap::new(),
            restarted: false,
        };
        world.new_source();
        world
    }

    fn new_source(&mut self) {
        self.life += 1;
        self.flying.clear();
        self.encoders = (0..ENCODINGS)
            .map(|_| Encoder {
                index: self.random.below(1 << 16),
                picture_id: self.random.u32() as u16 & 0x7fff,
                tl0picidx: self.random.u32() as u8,
                clock: self.random.u32(),
                number: 0,
                pattern: 0,
                enabled: true,
                latest: [None; 4],
            })
            .collect();
        self.keyframe_at = Some(self.now);
    }

    fn rebind(&mut self) {
        self.projection.rebind();
        self.new_source();
    }

    fn set_target(&mut self, target: LayerIndex) {
        self.projection.set_target(target);
        self.request_keyframe();
    }

    fn request_keyframe(&mut self) {
        let free = self.keyframe_at.is_none() && self.now >= self.keyframe_done + 200;
        if self.projection.needs_keyframe() && free {
            self.keyframe_at = Some(self.now + 40);
        }
    }

    /// An encoder restarts: new numbering, maybe a jump of sequence numbers and of the clock.
    fn restart(&mut self, encoding: usize, jump: bool) {
        let encoder = &mut self.encoders[encoding];
        encoder.picture_id = self.random.u32() as u16 & 0x7fff;
        encoder.tl0picidx = self.random.u32() as u8;
        encoder.latest = [None; 4];
        if jump {
            encoder.index += self.random.below(1 << 15);
            encoder.clock = self.random.u32();
        }
        self.restarted = true;
        self.keyframe_at = Some(self.now);
    }

    /// Captures, sends and delivers one picture in every encoding.
    fn tick(&mut self) {
        let keyframe = self.keyframe_at.is_some_and(|at| at <= self.now);
        if keyframe {
            self.keyframe_at = None;
            self.keyframe_done = self.now;
        }
        for encoding in 0..self.encoders.len() {
            self.capture(encoding, keyframe);
        }
        self.now += FRAME_MS;
        while let Some(entry) = self
            .flying
            .first_entry()
            .filter(|entry| entry.key().0 < self.now)
        {
            let ((at, _), flying) = entry.remove_entry();
            self.deliver(at, flying);
        }
    }

    fn capture(&mut self, encoding: usize, keyframe: bool) {
        let pattern: &[u8] = match self.layers {
            1 => &[0],
            2 => &[0, 1],
            _ => &[0, 2, 1, 2],
        };
        let encoder = &mut self.encoders[encoding];
        if !encoder.enabled {
            return;
        }
        let keyframe = keyframe || encoder.latest[0].is_none();
        if keyframe {
            encoder.pattern = 0;
            encoder.latest = [None; 4];
        }
        let temporal_id = pattern[encoder.pattern % pattern.len()];
        encoder.pattern += 1;
        encoder.picture_id = (encoder.picture_id + 1) & if self.wide { 0x7fff } else { 0x7f };
        if temporal_id == 0 {
            encoder.tl0picidx = encoder.tl0picidx.wrapping_add(1);
        }
        let number = encoder.number;
        encoder.number += 1;
        // A frame that synchronises its layer refers to the base layer only.
        let layer_sync = temporal_id > 0 && self.random.below(4) == 0;
        let layers = if layer_sync {
            1
        } else {
            1 + usize::from(temporal_id)
        };
        let reference = encoder.latest[..layers].iter().flatten().max().copied();
        encoder.latest[usize::from(temporal_id)] = Some(number);
        let packets = 1 + self.random.below(if keyframe { 6 } else { 3 });
        let frame = FrameId {
            life: self.life,
            encoding: encoding as u8,
            number,
        };
        self.frames.insert(
            frame,
            Known {
                temporal_id,
                keyframe,
                packets,
                captured_ms: self.now,
                reference,
                ..Known::default()
            },
        );
        let encoder = &mut self.encoders[encoding];
        let first = encoder.index;
        encoder.index += packets;
        let template = Packet {
            wide: self.wide,
            keyframe,
            layer_sync,
            ..Packet::of(
                encoding as u8,
                0,
                encoder.clock.wrapping_add((self.now * 90) as u32),
                encoder.picture_id,
                encoder.tl0picidx,
            )
            .layer(temporal_id)
        };
        for position in 0..packets {
            let packet = Packet {
                index: first + position,
                start: position == 0,
                marker: position + 1 == packets,
                keyframe: keyframe && position == 0,
                ..template
            };
            self.fly(
                encoding as u64,
                InFlight {
                    frame,
                    position,
                    packet,
                },
            );
        }
    }

    fn fly(&mut self, delay: u64, flying: InFlight) {
        let sent = self.now + delay;
        let arrivals = self.network.arrivals(&mut self.random, sent);
        for (order, at) in (self.order..).zip(arrivals) {
            if let Some(at) = at {
                self.flying.insert((at, order), flying);
            }
        }
        self.order += 2;
    }

    fn deliver(&mut self, at: u64, flying: InFlight) {
        let (facts, descriptor) = (flying.packet.facts(), flying.packet.descriptor());
        let verdict = self
            .projection
            .offer(Time::from_millis(at), &facts, &descriptor);
        self.request_keyframe();
        let InFlight {
            frame: id,
            position,
            packet,
        } = flying;
        let frame = self.frames.get_mut(&id).unwrap();
        frame.arrived.insert(position);
        let first = frame.decision.is_none();
        let sent = matches!(verdict, Verdict::Forward(_));
        frame.decision.get_or_insert(sent);
        let (decision, keyframe, reference) = (frame.decision, frame.keyframe, frame.reference);
        if let Verdict::Forward(rewrite) = verdict {
            // §3.10 (6): nothing of a frame whose first packet was rejected.
            assert_eq!(decision, Some(true), "{id:?} was rejected at first");
            assert_eq!(rewrite.marker, packet.marker);
            assert_eq!(rewrite.picture_id.is_some(), rewrite.tl0picidx.is_some());
            // §3.10 (2), T29: a number is used once.
            let before = self.by_sequence.insert(rewrite.sequence, (id, position));
            assert_eq!(before, None, "{} used twice", rewrite.sequence);
            let twice = self
                .frames
                .get_mut(&id)
                .unwrap()
                .sent
                .insert(position, rewrite);
            assert_eq!(twice, None, "{id:?} packet {position} sent twice");
        }
        // A frame is not begun if what it refers to was seen and refused.
        if first && sent && !keyframe && !self.restarted {
            let reference = reference.and_then(|number| self.frames.get(&FrameId { number, ..id }));
            assert_ne!(
                reference.and_then(|frame| frame.decision),
                Some(false),
                "{id:?} refers to a frame that was refused"
            );
        }
    }

    fn run(&mut self, frames: usize) {
        (0..frames).for_each(|_| self.tick());
    }

    /// What must hold for everything that was sent, in the order of sequence numbers.
    fn check_order(&self) {
        let rewrite = |(id, position): (FrameId, u64)| self.frames[&id].sent[&position];
        let mut finished = BTreeSet::new();
        let mut newest: BTreeMap<(u32, u8), u64> = BTreeMap::new();
        let mut last: Option<(u64, (FrameId, u64))> = None;
        for (&sequence, &(id, position)) in &self.by_sequence {
            let mine = rewrite((id, position));
            assert_eq!(mine.sequence, sequence);
            match last {
                Some((before, (same, previous))) if same == id => {
                    let theirs = rewrite((same, previous));
                    // Packets of a frame keep their distances and share everything else.
                    assert_eq!(sequence - before, position - previous, "{id:?}");
                    assert_eq!(mine.timestamp, theirs.timestamp);
                    assert_eq!(mine.picture_id, theirs.picture_id);
                    assert_eq!(mine.tl0picidx, theirs.tl0picidx);
                }
                previous => {
                    assert!(finished.insert(id), "{id:?} is mixed with another frame");
                    let highest = newest.entry((id.life, id.encoding)).or_insert(id.number);
                    assert!(*highest <= id.number, "{id:?} comes after frame {highest}");
                    *highest = id.number;
                    let frame = &self.frames[&id];
                    let before = previous.map(|(_, (before, _))| before);
                    if before.is_none_or(|before| {
                        (before.life, before.encoding) != (id.life, id.encoding)
                    }) {
                        // §3.10 (4): a switch starts with (the start of) a keyframe.
                        assert!(frame.keyframe && position == 0, "{id:?} is no start");
                    }
                    if let Some((_, before)) = previous {
                        self.check_step(before, (id, position));
                    }
                }
            }
            last = Some((sequence, (id, position)));
        }
    }

    /// From the last packet of a frame to the first of the next one that was sent.
    fn check_step(&self, before: (FrameId, u64), after: (FrameId, u64)) {
        let (a, b) = (&self.frames[&before.0], &self.frames[&after.0]);
        let (from, to) = (a.sent[&before.1], b.sent[&after.1]);
        let context = || format!("from {before:?} {from:?} to {after:?} {to:?}");
        // §3.10 (1): later frames have later timestamps.
        let ticks = to.timestamp.wrapping_sub(from.timestamp) as i32;
        assert!(ticks > 0, "{}", context());
        // §3.10 (3): picture ids go forward, TL0PICIDX never back.
        let mask = if self.wide { 0x7fff } else { 0x7f };
        let pictures = to
            .picture_id
            .unwrap()
            .wrapping_sub(from.picture_id.unwrap())
            & mask;
        assert!(pictures > 0 && pictures <= mask / 2, "{}", context());
        let base = to.tl0picidx.unwrap().wrapping_sub(from.tl0picidx.unwrap()) as i8;
        assert!(base >= i8::from(b.temporal_id == 0), "{}", context());
        // Room for packets that are missing within the frames; after a leap there may be none.
        let missing = (a.packets - 1 - before.1) + after.1;
        let room = to.sequence - from.sequence;
        assert!(self.restarted || room > missing.min(1), "{}", context());
        // §3.10 (7): timestamps go with real time, give or take what the network did.
        if !self.restarted {
            let real = (b.captured_ms as i64 - a.captured_ms as i64) * 90;
            let tolerance = 2 * 3000 + 90 * (self.network.jitter_ms as i64 + 300);
            assert!(
                (i64::from(ticks) - real).abs() <= tolerance,
                "{real}: {}",
                context()
            );
        }
    }

    /// After a while on a clean network the receiver gets all of its target.
    fn check_liveness(&mut self, target: LayerIndex) {
        self.network = Network::CLEAN;
        self.encoders
            .iter_mut()
            .for_each(|encoder| encoder.enabled = true);
        self.run(20);
        self.set_target(target);
        self.run(40);
        let begin = self.now;
        let holes = self.projection.highest_sequence();
        self.run(20);
        let encoding = target.encoding().unwrap();
        let recent = |(id, frame): &(&FrameId, &Known)| {
            id.life == self.life && frame.captured_ms >= begin && id.encoding == encoding
        };
        for (id, frame) in self.frames.iter().filter(recent) {
            let wanted = frame.temporal_id <= target.temporal();
            let sent = frame.sent.len() as u64;
            assert_eq!(
                sent,
                if wanted { frame.packets } else { 0 },
                "{id:?} {frame:?} for {target:?}"
            );
        }
        // Nothing was lost, so nothing is missing.
        let sent = self.by_sequence.range(holes + 1..).count() as u64;
        assert_eq!(sent, self.projection.highest_sequence() - holes);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Run(usize),
    Target(u8, u8),
    Suspend,
    /// For this many frames, and packets are not even offered meanwhile.
    Absent(usize),
    Toggle(usize),
    Restart(usize, bool),
    Rebind,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1usize..30).prop_map(Step::Run),
        4 => (0u8..3, 0u8..3).prop_map(|(encoding, temporal)| Step::Target(encoding, temporal)),
        1 => Just(Step::Suspend),
        1 => (1usize..60).prop_map(Step::Absent),
        1 => (0..ENCODINGS).prop_map(Step::Toggle),
        1 => Just(Step::Rebind),
    ]
}

fn network() -> impl Strategy<Value = Network> {
    (
        0u64..8,
        0u64..15,
        0u64..10,
        prop_oneof![Just(0u64), 0u64..90],
    )
        .prop_map(|(loss, repaired, duplicated, jitter_ms)| Network {
            loss,
            repaired,
            duplicated,
            jitter_ms,
        })
}

fn play(world: &mut World, steps: &[Step]) {
    for step in steps {
        match *step {
            Step::Run(frames) => world.run(frames),
            Step::Target(encoding, temporal) => {
                world.set_target(LayerIndex::new(encoding, 0, temporal))
            }
            Step::Suspend => world.set_target(LayerIndex::SUSPENDED),
            Step::Absent(frames) => {
                let target = world.projection.target();
                world.set_target(LayerIndex::SUSPENDED);
                let network = std::mem::replace(
                    &mut world.network,
                    Network {
                        loss: 100,
                        ..Network::CLEAN
                    },
                );
                world.run(frames);
                world.network = network;
                world.set_target(target);
            }
            Step::Toggle(encoding) => {
                let encoder = &mut world.encoders[encoding];
                encoder.enabled = !encoder.enabled;
                encoder.latest = [None; 4];
            }
            Step::Restart(encoding, jump) => {
                world.restart(encoding, jump);
                // Nobody restarts an encoder faster than that.
                world.run(5);
            }
            Step::Rebind => {
                let target = world.projection.target();
                world.rebind();
                world.set_target(target);
            }
        }
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(310),
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn whatever_network_and_allocator_do_the_stream_stays_in_order(
        seed: u64,
        layers in 1usize..=3,
        wide in prop::bool::weighted(0.8),
        network in network(),
        steps in prop::collection::vec(step(), 1..40),
        last in (0u8..3, 0u8..3),
    ) {
        let mut world = World::new(seed, layers, wide, network);
        world.set_target(LayerIndex::new(1, 0, 2));
        play(&mut world, &steps);
        world.check_liveness(LayerIndex::new(last.0, 0, last.1));
        world.check_order();
    }

    #[test]
    fn restarting_encoders_do_not_break_the_stream_t40(
        seed: u64,
        layers in 1usize..=3,
        network in network(),
        steps in prop::collection::vec(
            prop_oneof![
                3 => step(),
                1 => (0..ENCODINGS, any::<bool>()).prop_map(|(encoding, jump)| Step::Restart(encoding, jump)),
            ],
            1..40,
        ),
        last in (0u8..3, 0u8..3),
    ) {
        let mut world = World::new(seed, layers, true, network);
        world.set_target(LayerIndex::new(2, 0, 2));
        play(&mut world, &steps);
        world.check_liveness(LayerIndex::new(last.0, 0, last.1));
        world.check_order();
    }

    #[test]
    fn on_a_clean_network_no_number_is_skipped(
        seed: u64,
        layers in 1usize..=3,
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut world = World::new(seed, layers, true, Network::CLEAN);
        // Frames of different encodings do not overlap in time, so none is cut by a switch.
        world.set_target(LayerIndex::new(1, 0, 1));
        play(&mut world, &steps);
        world.check_order();
        let sent: Vec<u64> = world.by_sequence.keys().copied().collect();
        let expected: Vec<u64> = (2..2 + sent.len() as u64).collect();
        prop_assert_eq!(sent, expected);
    }

    #[test]
    fn everything_that_is_wanted_and_comes_is_sent_however_late(
        seed: u64,
        layers in 1usize..=3,
        wanted in 0u8..3,
        network in network(),
    ) {
        let mut world = World::new(seed, layers, true, Network::CLEAN);
        let target = LayerIndex::new(0, 0, wanted);
        world.set_target(target);
        world.run(3);
        let begin = world.now;
        world.network = network;
        world.run(200);
        world.network = Network::CLEAN;
        world.run(20);
        world.check_order();
        for (id, frame) in world.frames.iter().filter(|(id, frame)| id.encoding == 0 && frame.captured_ms >= begin) {
            let expected = if frame.temporal_id <= wanted { frame.arrived.len() } else { 0 };
            prop_assert_eq!(frame.sent.len(), expected, "{:?} {:?}", id, frame);
        }
    }
}

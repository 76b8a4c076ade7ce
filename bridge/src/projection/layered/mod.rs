//! Honest senders of layered streams (VP9, dependency descriptors, H.264) over bad networks, against an
//! independent checker of what must hold for the receiver (media-plane spec §3.10).
//!
//! A source sends encodings with spatial and temporal layers in the modes of WebRTC-SVC; the network loses,
//! repairs, duplicates and reorders packets; the allocator changes its mind, also within pictures; layers come
//! and go, structures and codecs change, encoders restart, slots change hands. The checker knows the frames and
//! their references, and sees the projection's verdicts only.

mod checker;
mod descriptor;
mod encoder;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::testing::Network;
use super::*;
use crate::wire::dependency::DependencyParser;
use crate::wire::h264::begins_keyframe;
use checker::{Checker, FrameId};
use encoder::{Codec, Encoder, Frame, Prediction, Shape};

const FRAME_MS: u64 = 33;
const MAX_ENCODINGS: usize = 3;

/// What a source sends.
#[derive(Clone, Copy, Debug)]
struct Setup {
    codec: Codec,
    shape: Shape,
    encodings: usize,
}

impl Setup {
    /// A target as the allocator would number it; it may ask for layers that do not exist.
    fn target(&self, (encoding, spatial, temporal): (u8, u8, u8)) -> LayerIndex {
        let encoding = encoding % self.encodings as u8;
        match self.codec {
            Codec::Vp9 { .. } => LayerIndex::new(encoding, spatial, temporal),
            Codec::Av1 => {
                let target = spatial * self.shape.temporal + temporal;
                LayerIndex(i32::from(encoding) << 6 | i32::from(target))
            }
            Codec::H264 | Codec::Opaque => LayerIndex::new(encoding, 0, 0),
        }
    }
}

/// A packet under way.
#[derive(Clone, Debug)]
struct InFlight {
    id: FrameId,
    position: u64,
    facts: VideoFacts,
    codec: Codec,
    bytes: Vec<u8>,
}

struct World {
    random: Random,
    now: u64,
    life: u32,
    /// Of each encoding: how often its numbering began anew.
    epochs: [u32; MAX_ENCODINGS],
    setup: Setup,
    encoders: Vec<Encoder>,
    parsers: [DependencyParser; MAX_ENCODINGS],
    keyframe_at: Option<u64>,
    keyframe_done: u64,
    keyframes_asked: u32,
    network: Network,
    flying: BTreeMap<(u64, u64), InFlight>,
    order: u64,
    /// Set after so many more packets.
    sudden: Option<(u64, LayerIndex)>,
    projection: Projection,
    checker: Checker,
}

impl World {
    fn new(seed: u64, setup: Setup, network: Network) -> World {
        let mut world = World {
            random: Random::from_seed(seed),
            now: 1000,
            life: 0,
            epochs: [0; MAX_ENCODINGS],
            setup,
            encoders: Vec::new(),
            parsers: Default::default(),
            keyframe_at: None,
            keyframe_done: 0,
            keyframes_asked: 0,
            network,
            flying: BTreeMap::new(),
            order: 0,
            sudden: None,
            projection: Projection::new(Start {
                sequence: 1,
                timestamp: 1,
            }),
            checker: Checker::new(network.jitter_ms, network == Network::CLEAN),
        };
        world.new_source();
        world
    }

    fn new_source(&mut self) {
        self.life += 1;
        self.flying.clear();
        self.parsers = Default::default();
        let Setup {
            codec,
            shape,
            encodings,
        } = self.setup;
        self.encoders = (0..encodings)
            .map(|_| Encoder::new(&mut self.random, codec, shape))
            .collect();
    }

    fn rebind(&mut self) {
        self.projection.rebind();
        self.checker.set_target(self.now, LayerIndex::SUSPENDED);
        self.new_source();
    }

    /// The same source goes on with another codec: SSRCs, packet numbers and clock go on.
    fn change_codec(&mut self, setup: Setup) {
        self.life += 1;
        // As many encodings as before: those are signaled.
        self.setup = Setup {
            encodings: self.setup.encodings,
            ..setup
        };
        for encoder in &mut self.encoders {
            let mut next = Encoder::new(&mut self.random, setup.codec, setup.shape);
            (next.index, next.clock) = (encoder.index, encoder.clock);
            *encoder = next;
        }
    }

    fn set_target(&mut self, target: LayerIndex) {
        self.projection.set_target(target);
        self.checker.set_target(self.now, target);
        self.request_keyframe();
    }

    fn request_keyframe(&mut self) {
        let free = self.keyframe_at.is_none() && self.now >= self.keyframe_done + 200;
        if self.projection.needs_keyframe() && free {
            self.keyframe_at = Some(self.now + 40);
            self.keyframes_asked += 1;
        }
    }

    /// A keyframe as others, or the receiver, ask for it.
    fn force_keyframe(&mut self) {
        self.keyframe_at = Some(self.now);
    }

    fn restart(&mut self, encoding: usize, jump: bool) {
        let encoding = encoding % self.encoders.len();
        self.encoders[encoding].restart(&mut self.random, jump);
        self.epochs[encoding] += 1;
        self.checker.restarted = true;
    }

    fn tick(&mut self) {
        let keyframe = self.keyframe_at.is_some_and(|at| at <= self.now);
        if keyframe {
            self.keyframe_at = None;
            self.keyframe_done = self.now;
        }
        for encoding in 0..self.encoders.len() {
            let frames = self.encoders[encoding].capture(&mut self.random, self.now, keyframe);
            for frame in frames {
                self.send(encoding, frame);
            }
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

    fn send(&mut self, encoding: usize, frame: Frame) {
        let id = FrameId {
            life: self.life,
            encoding: encoding as u8,
            epoch: self.epochs[encoding],
            number: frame.number,
        };
        for position in 0..frame.packets {
            let flying = InFlight {
                id,
                position,
                facts: VideoFacts {
                    encoding: encoding as u8,
                    index: frame.first + position,
                    timestamp: frame.timestamp,
                    marker: frame.last_of_picture && position + 1 == frame.packets,
                    payload_type: frame.codec.payload_type(),
                },
                codec: frame.codec,
                bytes: descriptor::bytes(&frame, self.encoders[encoding].structure(), position),
            };
            self.fly(encoding as u64, flying);
        }
        self.checker.encoded(id, frame, self.now);
    }

    fn fly(&mut self, delay: u64, flying: InFlight) {
        let sent = self.now + delay;
        let arrivals = self.network.arrivals(&mut self.random, sent);
        for (order, at) in (self.order..).zip(arrivals) {
            if let Some(at) = at {
                self.flying.insert((at, order), flying.clone());
            }
        }
        self.order += 2;
    }

    fn deliver(&mut self, at: u64, flying: InFlight) {
        if let Some((left, target)) = &mut self.sudden {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => {
                    let target = *target;
                    self.sudden = None;
                    self.projection.set_target(target);
                    self.checker.set_target(at, target);
                }
            }
        }
        let InFlight {
            id,
            position,
            facts,
            codec,
            bytes,
        } = flying;
        let payload = match codec {
            Codec::Vp9 { .. } => Payload::Vp9(Vp9Descriptor::parse(&bytes).unwrap()),
            Codec::Av1 => {
                let parser = &mut self.parsers[usize::from(id.encoding)];
                // Read by an older structure, it may make no sense: then it is dropped on arrival.
                let Some(descriptor) = parser.parse(facts.index, &bytes) else {
                    return;
                };
                Payload::Dependency(descriptor)
            }
            Codec::H264 => Payload::Plain {
                keyframe: begins_keyframe(&bytes),
            },
            Codec::Opaque => Payload::Opaque,
        };
        let verdict = self
            .projection
            .offer(Time::from_millis(at), &facts, &payload);
        self.request_keyframe();
        self.checker
            .judged((id, position), &facts, &payload, &bytes, verdict);
    }

    fn run(&mut self, frames: usize) {
        (0..frames).for_each(|_| self.tick());
    }

    /// After a while on a clean network the receiver gets exactly its target, asks for nothing more, and numbers
    /// have no holes.
    fn check_liveness(&mut self, target: LayerIndex) {
        self.network = Network::CLEAN;
        self.sudden = None;
        for encoder in self.encoders.iter_mut().filter(|encoder| !encoder.enabled) {
            encoder.stop_or_go();
        }
        self.run(20);
        self.set_target(target);
        // Whoever sees nothing asks for a keyframe.
        self.force_keyframe();
        self.run(30);
        self.check_steady(target);
    }

    /// Encoding, spatial and temporal layer that somebody with this target should get.
    fn layers_of(&self, target: LayerIndex) -> (u8, u8, u8) {
        let encoding = target.encoding().unwrap();
        let Encoder { shape, active, .. } = self.encoders[usize::from(encoding)];
        let last = active - 1;
        let (spatial, temporal) = match self.setup.codec {
            Codec::Vp9 { .. } => (target.spatial().min(last), target.temporal()),
            Codec::Av1 => shape.layer_of(target.decode_target().min(active * shape.temporal - 1)),
            Codec::H264 | Codec::Opaque => (0, 0),
        };
        (encoding, spatial, temporal)
    }

    fn check_steady(&mut self, target: LayerIndex) {
        let begin = self.now;
        let asked = self.keyframes_asked;
        let before = self.projection.highest_sequence();
        self.run(16);
        assert!(!self.projection.needs_keyframe(), "for {target:?}");
        assert_eq!(self.keyframes_asked, asked, "for {target:?}");
        self.checker
            .check_steady(self.life, begin, self.layers_of(target));
        self.checker
            .check_without_holes(before, self.projection.highest_sequence());
        self.checker.check_pictures_are_ended(before, true);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Run(usize),
    Target((u8, u8, u8)),
    /// After so many packets more, so that it falls within pictures.
    Suddenly(u64, (u8, u8, u8)),
    Suspend,
    /// For this many frames, and packets are not even offered meanwhile.
    Absent(usize),
    StopOrGo(usize),
    /// The encoder sends so many spatial layers.
    Layers(usize, u8),
    /// The encoder sends layers of another shape.
    Reshape(usize, Shape),
    Keyframe,
    Rebind,
    Codec(Setup),
    Restart(usize, bool),
}

fn wish() -> impl Strategy<Value = (u8, u8, u8)> {
    (0u8..3, 0u8..4, 0u8..3)
}

/// What happens on any network.
fn step() -> BoxedStrategy<Step> {
    prop_oneof![
        8 => (1usize..30).prop_map(Step::Run),
        4 => wish().prop_map(Step::Target),
        2 => (0u64..12, wish()).prop_map(|(packets, wish)| Step::Suddenly(packets, wish)),
        1 => Just(Step::Suspend),
        1 => (0..MAX_ENCODINGS).prop_map(Step::StopOrGo),
        2 => (0..MAX_ENCODINGS, 1u8..=3).prop_map(|(encoding, layers)| Step::Layers(encoding, layers)),
        1 => (0..MAX_ENCODINGS, shape()).prop_map(|(encoding, shape)| Step::Reshape(encoding, shape)),
        1 => Just(Step::Keyframe),
        1 => Just(Step::Rebind),
    ]
    .boxed()
}

/// What happens besides on a bad one.
fn rough_step() -> BoxedStrategy<Step> {
    prop_oneof![
        10 => step(),
        1 => (1usize..60).prop_map(Step::Absent),
        1 => setup().prop_map(Step::Codec),
    ]
    .boxed()
}

fn restarting_step() -> BoxedStrategy<Step> {
    prop_oneof![
        3 => rough_step(),
        1 => (0..MAX_ENCODINGS, any::<bool>()).prop_map(|(encoding, jump)| Step::Restart(encoding, jump)),
    ]
    .boxed()
}

fn shape() -> impl Strategy<Value = Shape> {
    let prediction = prop_oneof![
        3 => Just(Prediction::Always),
        3 => Just(Prediction::InKeyPictures),
        1 => Just(Prediction::Never),
    ];
    (1u8..=3, 1u8..=3, prediction).prop_map(|(spatial, temporal, prediction)| Shape {
        spatial,
        temporal,
        prediction,
    })
}

fn vp9() -> impl Strategy<Value = Codec> {
    (any::<bool>(), prop::bool::weighted(0.8))
        .prop_map(|(flexible, wide)| Codec::Vp9 { flexible, wide })
}

/// Spatial layers in one stream, or simulcast, seldom both.
fn layered(codec: impl Strategy<Value = Codec>) -> impl Strategy<Value = Setup> {
    (codec, shape(), 1..=MAX_ENCODINGS, prop::bool::weighted(0.1)).prop_map(
        |(codec, shape, encodings, both)| {
            let shape = if encodings > 1 && !both {
                Shape {
                    spatial: 1,
                    ..shape
                }
            } else {
                shape
            };
            Setup {
                codec,
                shape,
                encodings,
            }
        },
    )
}

fn plain(codec: Codec) -> impl Strategy<Value = Setup> {
    let shape = Shape {
        spatial: 1,
        temporal: 1,
        prediction: Prediction::Always,
    };
    (1..=MAX_ENCODINGS).prop_map(move |encodings| Setup {
        codec,
        shape,
        encodings,
    })
}

fn setup() -> BoxedStrategy<Setup> {
    prop_oneof![
        4 => layered(vp9()),
        4 => layered(Just(Codec::Av1)),
        2 => plain(Codec::H264),
        1 => plain(Codec::Opaque),
    ]
    .boxed()
}

fn network() -> impl Strategy<Value = Network> {
    let jitter = prop_oneof![Just(0u64), 0u64..90];
    (0u64..8, 0u64..15, 0u64..10, jitter).prop_map(|(loss, repaired, duplicated, jitter_ms)| {
        Network {
            loss,
            repaired,
            duplicated,
            jitter_ms,
        }
    })
}

fn play(world: &mut World, steps: &[Step]) {
    for step in steps {
        let count = world.encoders.len();
        match *step {
            Step::Run(frames) => world.run(frames),
            Step::Target(wish) => world.set_target(world.setup.target(wish)),
            Step::Suddenly(packets, wish) => {
                world.sudden = Some((packets, world.setup.target(wish)));
                world.run(2);
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
            Step::StopOrGo(encoding) => world.encoders[encoding % count].stop_or_go(),
            Step::Layers(encoding, layers) => world.encoders[encoding % count].set_active(layers),
            Step::Reshape(encoding, shape) => {
                if world.setup.codec.is_numbered() {
                    world.encoders[encoding % count].reshape(shape);
                }
            }
            Step::Keyframe => world.force_keyframe(),
            Step::Rebind => {
                let target = world.projection.target();
                world.rebind();
                world.set_target(target);
            }
            // To the same codec it would be a restart.
            Step::Codec(setup)
                if setup.codec.payload_type() == world.setup.codec.payload_type() => {}
            Step::Codec(setup) => {
                world.change_codec(setup);
                world.run(5);
            }
            Step::Restart(encoding, jump) => {
                world.restart(encoding, jump);
                // Nobody restarts an encoder faster than that.
                world.run(5);
            }
        }
    }
}

const CASES: u32 = 100;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(310),
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

/// A world that has lived through `steps`, and gets at last what is wanted.
fn survives(seed: u64, setup: Setup, network: Network, steps: &[Step], last: (u8, u8, u8)) {
    let mut world = World::new(seed, setup, network);
    world.set_target(setup.target((1, 2, 2)));
    play(&mut world, steps);
    world.check_liveness(world.setup.target(last));
    world.checker.check_order();
}

proptest! {
    #![proptest_config(config(CASES))]

    #[test]
    fn vp9_stays_in_order_and_decodable_whatever_happens(
        seed: u64,
        setup in layered(vp9()),
        network in network(),
        steps in prop::collection::vec(rough_step(), 1..40),
        last in wish(),
    ) {
        survives(seed, setup, network, &steps, last);
    }

    #[test]
    fn dependency_descriptors_stay_in_order_and_decodable_whatever_happens(
        seed: u64,
        setup in layered(Just(Codec::Av1)),
        network in network(),
        steps in prop::collection::vec(rough_step(), 1..40),
        last in wish(),
    ) {
        survives(seed, setup, network, &steps, last);
    }

    #[test]
    fn h264_stays_in_order_and_begins_with_keyframes_whatever_happens(
        seed: u64,
        setup in plain(Codec::H264),
        network in network(),
        steps in prop::collection::vec(rough_step(), 1..40),
        last in wish(),
    ) {
        survives(seed, setup, network, &steps, last);
    }

    #[test]
    fn codecs_that_nobody_reads_stay_in_order_whatever_happens(
        seed: u64,
        setup in plain(Codec::Opaque),
        network in network(),
        steps in prop::collection::vec(rough_step(), 1..40),
        last in wish(),
    ) {
        survives(seed, setup, network, &steps, last);
    }

    #[test]
    fn restarting_encoders_do_not_break_layered_streams_t40(
        seed: u64,
        setup in setup(),
        network in network(),
        steps in prop::collection::vec(restarting_step(), 1..40),
        last in wish(),
    ) {
        survives(seed, setup, network, &steps, last);
    }

    #[test]
    fn on_a_clean_network_nothing_is_skipped_and_every_picture_is_ended(
        seed: u64,
        setup in prop_oneof![layered(vp9()), layered(Just(Codec::Av1)), plain(Codec::H264)],
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut world = World::new(seed, setup, Network::CLEAN);
        world.set_target(setup.target((1, 2, 2)));
        play(&mut world, &steps);
        world.checker.check_order();
        world.checker.check_without_holes(1, world.projection.highest_sequence());
        world.checker.check_pictures_are_ended(1, false);
    }

    #[test]
    fn every_target_is_reached_exactly_and_down_within_an_encoding_without_a_keyframe(
        seed: u64,
        setup in prop_oneof![layered(vp9()), layered(Just(Codec::Av1))],
        wishes in prop::collection::vec(wish(), 1..8),
    ) {
        let mut world = World::new(seed, setup, Network::CLEAN);
        let mut before: Option<LayerIndex> = None;
        for wish in wishes {
            let target = setup.target((wish.0, wish.1.min(setup.shape.spatial - 1), wish.2.min(setup.shape.temporal - 1)));
            let asked = world.keyframes_asked;
            world.set_target(target);
            world.run(24);
            world.check_steady(target);
            let is_lower = before.is_some_and(|before| {
                let inside = match setup.codec {
                    Codec::Vp9 { .. } => target.spatial() <= before.spatial(),
                    _ => target <= before && target.decode_target() / setup.shape.temporal <= before.decode_target() / setup.shape.temporal,
                };
                target.encoding() == before.encoding() && inside
            });
            if is_lower && setup.shape.prediction == Prediction::Always {
                prop_assert_eq!(world.keyframes_asked, asked, "from {:?} to {:?}", before, target);
            }
            before = Some(target);
        }
        world.checker.check_order();
        world.checker.check_pictures_are_ended(1, false);
    }

    #[test]
    fn everything_of_the_layers_that_are_wanted_is_sent_however_late(
        seed: u64,
        setup in prop_oneof![layered(vp9()), layered(Just(Codec::Av1)), plain(Codec::H264)],
        wish in wish(),
        network in network(),
    ) {
        let mut world = World::new(seed, setup, Network::CLEAN);
        let target = setup.target(wish);
        world.set_target(target);
        world.run(30);
        let begin = world.now;
        world.network = network;
        world.run(200);
        world.network = Network::CLEAN;
        world.run(20);
        world.checker.check_order();
        world.checker.check_late_ones(begin, world.layers_of(target));
    }
}

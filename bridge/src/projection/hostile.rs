//! Senders that obey nothing (T40): what holds for the receiver all the same.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::testing::Packet;
use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// (encoding, steps of index, timestamp, picture id, TL0PICIDX, form, elapsed ms)
    Packet(u8, i64, i64, i64, i64, Form, u64),
    Target(i32),
    Rebind,
}

/// Everything of a packet that is not a counter.
#[derive(Clone, Copy, Debug)]
struct Form {
    wide: bool,
    temporal_id: Option<u8>,
    start: bool,
    keyframe: bool,
    layer_sync: bool,
    marker: bool,
    opaque: bool,
}

/// The steps that broke others: small ones, powers of two that meet the edge of signed arithmetic, and
/// anything at all.
fn jump() -> impl Strategy<Value = i64> {
    prop_oneof![
        12 => 0i64..2,
        4 => -3i64..4,
        1 => prop_oneof![Just(1i64 << 14), Just(-(1i64 << 14)), Just(1i64 << 15), Just(-(1i64 << 15))],
        1 => any::<i32>().prop_map(i64::from),
    ]
}

fn form(mixed: bool) -> impl Strategy<Value = Form> {
    let share = if mixed { 0.1 } else { 0.0 };
    (
        prop::bool::weighted(0.95),
        prop::bool::weighted(share),
        0u8..4,
        prop::bool::weighted(0.6),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.5),
        prop::bool::weighted(share),
    )
        .prop_map(
            |(wide, bare, layer, start, keyframe, layer_sync, marker, opaque)| Form {
                wide,
                temporal_id: (!bare).then_some(layer),
                start,
                keyframe,
                layer_sync,
                marker,
                opaque,
            },
        )
}

fn step(mixed: bool) -> impl Strategy<Value = Step> {
    let tick = prop_oneof![2 => Just(0i64), 3 => Just(3000i64), 1 => jump()];
    prop_oneof![
        40 => (0u8..5, jump(), tick, jump(), jump(), form(mixed), 0u64..80).prop_map(
            |(encoding, index, timestamp, id, base, form, elapsed)| {
                Step::Packet(encoding, index, timestamp, id, base, form, elapsed)
            }
        ),
        2 => (-1i32..200).prop_map(Step::Target),
        1 => Just(Step::Rebind),
    ]
}

#[derive(Default)]
struct Sender {
    encodings: [(i64, i64, i64, i64); 5],
    now: u64,
    sent: BTreeMap<u64, Rewrite>,
}

impl Sender {
    fn play(&mut self, projection: &mut Projection, step: Step) {
        match step {
            Step::Target(target) => projection.set_target(LayerIndex(target)),
            Step::Rebind => projection.rebind(),
            Step::Packet(encoding, index, timestamp, id, base, form, elapsed) => {
                self.now += elapsed;
                let counters = &mut self.encodings[usize::from(encoding)];
                *counters = (
                    // What the receive side makes of sequence numbers moves by 2^15 at most.
                    (counters.0 + index.clamp(-(1 << 15), 1 << 15)).max(0),
                    counters.1 + timestamp,
                    counters.2 + id,
                    counters.3 + base,
                );
                let packet = Packet {
                    wide: form.wide,
                    temporal_id: form.temporal_id,
                    start: form.start,
                    keyframe: form.keyframe,
                    layer_sync: form.layer_sync,
                    marker: form.marker,
                    ..Packet::of(
                        encoding,
                        counters.0 as u64,
                        counters.1 as u32,
                        counters.2 as u16 & if form.wide { 0x7fff } else { 0x7f },
                        counters.3 as u8,
                    )
                };
                let facts = packet.facts();
                let descriptor = if form.opaque {
                    Payload::Opaque
                } else {
                    packet.descriptor()
                };
                let highest = projection.highest_sequence();
                let verdict = projection.offer(Time::from_millis(self.now), &facts, &descriptor);
                let _ = (
                    projection.needs_keyframe(),
                    projection.project_timestamp(encoding, 1),
                );
                let Verdict::Forward(rewrite) = verdict else {
                    return;
                };
                assert!(!projection.target().is_suspended() || rewrite.sequence < highest + 200);
                assert!(
                    rewrite.sequence <= highest + 1 + limits::MAX_HOLE,
                    "leaps from {highest} to {}",
                    rewrite.sequence
                );
                let before = self.sent.insert(rewrite.sequence, rewrite);
                assert_eq!(before, None, "T29: {} used twice", rewrite.sequence);
            }
        }
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(40),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn whatever_a_sender_does_receivers_get_an_ordered_stream_t40(
        steps in prop::collection::vec(step(false), 1..600)
    ) {
        let mut projection = Projection::new(Start { sequence: 1, timestamp: 1 });
        projection.set_target(LayerIndex::new(1, 0, 2));
        let mut sender = Sender::default();
        for step in steps {
            sender.play(&mut projection, step);
        }
        for ((_, from), (_, to)) in sender.sent.iter().zip(sender.sent.iter().skip(1)) {
            let ticks = to.timestamp.wrapping_sub(from.timestamp) as i32;
            if ticks == 0 {
                // The same frame.
                prop_assert_eq!(from.tl0picidx, to.tl0picidx);
                prop_assert_eq!(from.picture_id.map(|id| id & 0x7f), to.picture_id.map(|id| id & 0x7f));
                continue;
            }
            prop_assert!(ticks > 0, "{:?} {:?}", from, to);
            let base = to.tl0picidx.unwrap().wrapping_sub(from.tl0picidx.unwrap()) as i8;
            prop_assert!(base >= 0, "{:?} {:?}", from, to);
            prop_assert_ne!(from.picture_id, to.picture_id);
        }
    }

    #[test]
    fn codecs_in_any_mixture_never_repeat_a_number_or_leap_t29_t40(
        steps in prop::collection::vec(step(true), 1..600)
    ) {
        let mut projection = Projection::new(Start { sequence: 65_000, timestamp: 1 });
        projection.set_target(LayerIndex::new(1, 0, 2));
        let mut sender = Sender::default();
        for step in steps {
            sender.play(&mut projection, step);
        }
    }

    #[test]
    fn audio_never_repeats_a_number_or_leaps_t29_t40(
        steps in prop::collection::vec((jump(), jump(), 0u64..2000, 0u8..20), 1..600)
    ) {
        let mut audio = AudioProjection::new(Start { sequence: 65_000, timestamp: 1 });
        let (mut index, mut timestamp, mut now) = (0i64, 0i64, 0);
        let mut sent = BTreeMap::new();
        for (by, ticks, elapsed, action) in steps {
            match action {
                0 => audio.rebind(),
                1 => audio.pause(),
                _ => {}
            }
            index = (index + by.clamp(-(1 << 15), 1 << 15)).max(0);
            timestamp += ticks;
            now += elapsed;
            let highest = audio.highest_sequence();
            if let Some(it) = audio.offer(Time::from_millis(now), index as u64, timestamp as u32) {
                prop_assert!(it.sequence <= highest + 1 + limits::MAX_HOLE);
                prop_assert_eq!(sent.insert(it.sequence, ()), None);
            }
        }
    }
}

//! What Chromium really sends, through the receive path and the projection (media-plane spec §3.10): recordings of each codec
//! (`bridge/testdata/streams`), a network that loses, repairs, duplicates and reorders, and receivers that change what they want.
//!
//! Other than in [the simulation](crate::projection), the frames, their numbers, layers and references are those of real encoders.
//! Keyframes come when they came in the recording, and not when somebody asks for one.

mod checker;
mod recording;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::checker::{Checker, Truth, understand};
use self::recording::Recording;
use self::world::{Arrived, CLEAN, Network, World};
use crate::media::{Codec, MediaFormats, MediaKind};
use crate::projection::{LayerIndex, Payload};
use crate::random::Random;

/// Runs of each recording.
const SEEDS: u64 = 12;

/// Names and texts of recordings.
macro_rules! recordings {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../testdata/streams/", $name, ".txt")))),*]
    };
}

const VIDEO: [(&str, &str); 9] = recordings![
    "vp8-simulcast",
    "vp8-simulcast-dd",
    "vp9-simulcast",
    "vp9-svc",
    "av1-simulcast",
    "av1-svc",
    "av1-svc-key",
    "h264-simulcast",
    "h264-simulcast-dd",
];

const AUDIO: [(&str, &str); 2] = recordings!["opus", "opus-red"];

/// What a receiver of the recording may want.
fn targets(recording: &Recording, truths: &[Truth]) -> Vec<LayerIndex> {
    let structure = truths
        .iter()
        .find_map(|truth| match &truth.packet.descriptor {
            Payload::Dependency(descriptor) => descriptor.structure().map(|it| it.decode_targets()),
            _ => None,
        });
    let spatial = truths
        .iter()
        .any(|truth| matches!(&truth.packet.descriptor, Payload::Vp9(vp9) if vp9.spatial_id() > 0));
    let plain = matches!(truths[0].packet.descriptor, Payload::Plain { .. });
    let layers: Vec<(u8, u8)> = match (structure, spatial) {
        (Some(count), _) => (0..count).map(|target| (target >> 3, target & 7)).collect(),
        (None, true) => (0..9).map(|layer| (layer / 3, layer % 3)).collect(),
        (None, false) if plain => vec![(0, 0)],
        (None, false) => (0..3).map(|temporal| (0, temporal)).collect(),
    };
    let encodings = 0..recording.encodings;
    encodings
        .flat_map(|encoding| layers.iter().map(move |layer| (encoding, *layer)))
        .map(|(encoding, (spatial, temporal))| LayerIndex::new(encoding, spatial, temporal))
        .collect()
}

#[test]
fn recordings_hold_what_their_names_say() {
    for (name, text) in VIDEO {
        let recording = Recording::read(text);
        let truths = understand(&recording);
        let layers = targets(&recording, &truths).len();
        let keyframes = truths.iter().filter(|truth| truth.begins_keyframe).count();
        let expected = match name {
            "h264-simulcast" => 3,
            _ => 9,
        };
        assert_eq!(layers, expected, "{name}");
        let each = keyframes / usize::from(recording.encodings);
        assert!(each >= 2, "{name}: {keyframes} keyframes");
        assert!(truths.len() > 800, "{name}: {} packets", truths.len());
        assert!(text.len() < 200_000, "{name}");
    }
}

/// What a receiver gets that wants one thing all the time, when nothing is lost.
#[test]
fn on_a_clean_network_each_layer_arrives_whole_and_without_holes() {
    for (name, text) in VIDEO {
        let recording = Recording::read(text);
        let truths = understand(&recording);
        for target in targets(&recording, &truths) {
            let mut world = World::new(&recording, &recording.formats, MediaKind::Video, CLEAN, 1);
            let mut checker = Checker::new(&recording, &truths, 0);
            world.projection().set_target(target);
            while let Some((number, packet)) = world.step() {
                let packet = packet.expect("nothing is refused");
                let arrived = world.forward_video(&packet);
                checker.saw(number, &packet, arrived);
            }
            checker.check_order();
            let sent = checker.sent();
            // From the first keyframe that is wanted on.
            let begin = truths
                .iter()
                .position(|truth| {
                    truth.begins_keyframe && truth.frame.encoding == target.encoding().unwrap_or(0)
                })
                .expect("there is a keyframe");
            let mut wanted = BTreeSet::new();
            for (number, truth) in truths.iter().enumerate().skip(begin) {
                match truth.is_wanted(target) {
                    Some(true) => {
                        assert!(sent.contains(&number), "{name} {target:?}: {number}");
                        wanted.insert(number);
                    }
                    Some(false) if truth.frame.encoding == target.encoding().unwrap_or(0) => {
                        assert!(!sent.contains(&number), "{name} {target:?}: {number}");
                    }
                    _ => {}
                }
            }
            assert_eq!(checker.holes(), 0, "{name} {target:?}");
            let complete = checker.check_markers(&wanted);
            assert!(complete > 10, "{name} {target:?}: {complete}");
        }
    }
}

#[test]
fn what_was_lost_and_is_sent_again_arrives_however_late() {
    let late = Network {
        loss: 0,
        repaired: 10,
        duplicated: 5,
        jitter: 20_000,
    };
    for (name, text) in VIDEO {
        let recording = Recording::read(text);
        let truths = understand(&recording);
        for (seed, target) in (0..).zip(targets(&recording, &truths)) {
            let mut world = World::new(
                &recording,
                &recording.formats,
                MediaKind::Video,
                CLEAN,
                seed,
            );
            let mut checker = Checker::new(&recording, &truths, 400_000);
            world.projection().set_target(target);
            let begin = truths
                .iter()
                .position(|truth| {
                    truth.begins_keyframe && Some(truth.frame.encoding) == target.encoding()
                })
                .expect("there is a keyframe");
            // With the next keyframes the receiver may get another encoding first, if that one's comes late.
            let begun = recording.packets[begin].micros + 300_000;
            let end = truths
                .iter()
                .enumerate()
                .position(|(number, truth)| {
                    truth.begins_keyframe && recording.packets[number].micros > begun + 500_000
                })
                .expect("there is another keyframe");
            while let Some((number, packet)) = world.step() {
                if number >= end {
                    break;
                }
                // The stream has to begin before it can be mended, and all of it has to come.
                let elapsed = world.elapsed();
                let ending = recording.packets[end].micros - 400_000;
                world.network = if (begun..ending).contains(&elapsed) {
                    late
                } else {
                    CLEAN
                };
                let Some(packet) = packet else { continue };
                let arrived = world.forward_video(&packet);
                checker.saw(number, &packet, arrived);
            }
            checker.check_order();
            let sent = checker.sent();
            for (number, truth) in truths.iter().enumerate().take(end).skip(begin) {
                let wanted = truth.is_wanted(target) == Some(true);
                assert!(
                    !wanted || sent.contains(&number),
                    "{name} {target:?}: {number}"
                );
            }
            // A place that was kept for a packet which then turned out to be of a layer that is not wanted stays empty.
            let mut own = truths
                .iter()
                .filter(|truth| Some(truth.frame.encoding) == target.encoding());
            if own.all(|truth| truth.is_wanted(target) == Some(true)) {
                assert_eq!(checker.holes(), 0, "{name} {target:?}");
            }
        }
    }
}

/// Runs a recording with changes of mind over a bad network that gets well in time for the last keyframes. True if the receiver was
/// seen to get all of its last target.
fn run(name: &str, recording: &Recording, truths: &[Truth], seed: u64) -> bool {
    let mut random = Random::from_seed(seed);
    let network = Network {
        loss: random.below(6),
        repaired: random.below(12),
        duplicated: random.below(8),
        jitter: random.below(3) * 30_000,
    };
    let mut world = World::new(
        recording,
        &recording.formats,
        MediaKind::Video,
        network,
        seed,
    );
    let mut checker = Checker::new(recording, truths, 100_000 + network.jitter as i64 + 280_000);
    let targets = targets(recording, truths);
    let any = |random: &mut Random| targets[random.below(targets.len() as u64) as usize];
    let mut target = any(&mut random);
    world.projection().set_target(target);
    let length = recording.packets.last().expect("there are packets").micros;
    let well_at = length / 2;
    let mut next_change = 0;
    let mut last_change = 0;
    while let Some((number, packet)) = world.step() {
        let sent_at = recording.packets[number].micros;
        if sent_at >= next_change && sent_at < well_at {
            next_change = sent_at + 200_000 + random.below(1_200_000);
            last_change = number;
            target = any(&mut random);
            let suspended = random.below(6) == 0;
            let wanted = if suspended {
                LayerIndex::SUSPENDED
            } else {
                target
            };
            world.projection().set_target(wanted);
        } else if sent_at >= well_at {
            if world.projection().target() != target {
                last_change = number;
                world.projection().set_target(target);
            }
            world.network = CLEAN;
        }
        let Some(packet) = packet else { continue };
        let arrived = world.forward_video(&packet);
        checker.saw(number, &packet, arrived);
    }
    checker.check_order();
    // What was in the air when the network got well may still come late.
    let settled = recording
        .packets
        .iter()
        .position(|packet| packet.micros > well_at + 500_000)
        .expect("the recording goes on");
    let begin = truths.iter().enumerate().position(|(number, truth)| {
        number > settled.max(last_change)
            && truth.begins_keyframe
            && Some(truth.frame.encoding) == target.encoding()
    });
    let Some(begin) = begin else { return false };
    let sent = checker.sent();
    let mut wanted = BTreeSet::new();
    for (number, truth) in truths.iter().enumerate().skip(begin) {
        if truth.is_wanted(target) == Some(true) {
            let context = || format!("{name}, seed {seed}, {target:?}: packet {number} is missing");
            assert!(sent.contains(&number), "{}", context());
            wanted.insert(number);
        }
    }
    checker.check_markers(&wanted) > 0
}

fn whatever_happens(names: &str) {
    let (mut runs, mut settled) = (0, 0);
    for (name, text) in VIDEO.iter().filter(|(name, _)| name.starts_with(names)) {
        let recording = Recording::read(text);
        let truths = understand(&recording);
        for seed in 0..SEEDS {
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                run(name, &recording, &truths, seed)
            }));
            let Ok(whole) = ran else {
                panic!("{name} fails with seed {seed}");
            };
            runs += 1;
            settled += usize::from(whole);
        }
    }
    // Nearly all recordings have a keyframe in time.
    assert!(
        settled * 10 > runs * 9,
        "{settled} of {runs} saw their last target"
    );
}

#[test]
fn vp8_stays_in_order_whatever_network_and_receivers_do() {
    whatever_happens("vp8");
}

#[test]
fn vp9_stays_in_order_whatever_network_and_receivers_do() {
    whatever_happens("vp9");
}

#[test]
fn av1_stays_in_order_whatever_network_and_receivers_do() {
    whatever_happens("av1");
}

#[test]
fn h264_stays_in_order_whatever_network_and_receivers_do() {
    whatever_happens("h264");
}

/// What reaches a receiver of audio that takes `formats`, by outgoing sequence number: the packet, and the timestamp that it came with.
/// Besides, how many packets the bridge took.
fn hear(
    recording: &Recording,
    formats: &Arc<MediaFormats>,
    network: Network,
    seed: u64,
) -> (BTreeMap<u64, (Arrived, u32)>, usize) {
    let mut world = World::new(recording, formats, MediaKind::Audio, network, seed);
    let mut heard = BTreeMap::new();
    let mut taken = 0;
    while let Some((_, packet)) = world.step() {
        // Silence and duplicates are not forwarded.
        let Some(packet) = packet else { continue };
        taken += 1;
        for arrived in world.forward_audio(&packet) {
            let index = arrived.index;
            let before = heard.insert(index, (arrived, packet.header.timestamp));
            assert!(before.is_none(), "{index} is used twice");
        }
    }
    (heard, taken)
}

/// Timestamps rise with sequence numbers, and both by what the sender's rise.
fn check_audio(heard: &BTreeMap<u64, (Arrived, u32)>) {
    let timestamps: Vec<u32> = heard
        .values()
        .map(|(arrived, _)| arrived.header.timestamp)
        .collect();
    for pair in timestamps.windows(2) {
        assert!((pair[1].wrapping_sub(pair[0]) as i32) > 0, "{pair:?}");
    }
}

const BAD: Network = Network {
    loss: 8,
    repaired: 0,
    duplicated: 5,
    jitter: 30_000,
};

#[test]
fn audio_arrives_as_it_was_sent() {
    for (name, text) in AUDIO {
        let recording = Recording::read(text);
        let (heard, taken) = hear(&recording, &recording.formats, CLEAN, 1);
        // The microphone is a tone with pauses, and silence is not forwarded.
        assert!(taken > 100, "{name}: {taken}");
        assert_eq!(heard.len(), taken, "{name}");
        let numbers: Vec<u64> = heard.keys().copied().collect();
        let first = numbers[0];
        let expected: Vec<u64> = (first..first + taken as u64).collect();
        assert_eq!(numbers, expected, "{name}: nothing is missing");
        check_audio(&heard);
        for seed in 0..SEEDS {
            let (heard, taken) = hear(&recording, &recording.formats, BAD, seed);
            // One that the very first overtook has no place before it.
            assert!((taken - 1..=taken).contains(&heard.len()), "{name}");
            check_audio(&heard);
            // All on one time line.
            let offsets: BTreeSet<u32> = heard
                .values()
                .map(|(arrived, sent)| arrived.header.timestamp.wrapping_sub(*sent))
                .collect();
            assert_eq!(offsets.len(), 1, "{name}: {offsets:?}");
        }
    }
}

#[test]
fn who_takes_no_red_gets_what_was_lost_out_of_it() {
    let (_, text) = AUDIO[1];
    let recording = Recording::read(text);
    let numbers = |recording: &Recording| -> BTreeSet<u8> {
        let packets = recording.packets.iter();
        packets.map(|packet| packet.payload_type).collect()
    };
    assert_eq!(
        numbers(&recording),
        BTreeSet::from([112]),
        "all of it is RED"
    );
    let mut plain = MediaFormats::clone(&recording.formats);
    plain.payload_types.retain(|it| it.codec == Codec::Opus);
    let plain = Arc::new(plain);
    for seed in 0..SEEDS {
        let (heard, taken) = hear(&recording, &plain, BAD, seed);
        let opus = |arrived: &Arrived| arrived.header.payload_type == 111;
        assert!(heard.values().all(|(arrived, _)| opus(arrived)));
        check_audio(&heard);
        // About one in twelve is lost, and most of them are in the packet that follows.
        let repaired = heard.len() - taken;
        let lost = taken * BAD.loss as usize / 100;
        assert!(
            repaired * 3 > lost,
            "{repaired} of about {lost} are repaired"
        );
    }
}

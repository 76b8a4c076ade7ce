use aws_lc_rs::hmac;
use proptest::prelude::*;

use super::*;

fn reference(key: &[u8; KEY], packet: &[u8], suffix: [u8; SUFFIX]) -> [u8; TAG] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    context.update(packet);
    context.update(&suffix);
    context.sign().as_ref()[..TAG].try_into().unwrap()
}

/// Bytes that differ from lane to lane and from place to place.
fn bytes<const N: usize>(seed: usize) -> [u8; N] {
    std::array::from_fn(|index| (index * 31 + seed * 131 + index * seed) as u8)
}

fn check(lengths: &[usize]) {
    let keys: Vec<[u8; KEY]> = (0..lengths.len()).map(bytes).collect();
    let packets: Vec<Vec<u8>> = lengths
        .iter()
        .enumerate()
        .map(|(seed, &length)| bytes::<2048>(seed + 7)[..length].to_vec())
        .collect();
    let expected: Vec<[u8; TAG]> = (0..lengths.len())
        .map(|at| reference(&keys[at], &packets[at], bytes(at)))
        .collect();
    let prepared: Vec<MacKey> = keys.iter().map(MacKey::new).collect();
    let messages: Vec<Message<'_>> = (0..lengths.len())
        .map(|at| Message {
            key: &prepared[at],
            packet: &packets[at],
            suffix: bytes(at),
        })
        .collect();
    for engine in Engine::available() {
        let mut tags = vec![[0; TAG]; lengths.len()];
        engine.tags(&messages, &mut tags);
        assert_eq!(tags, expected, "{engine:?} with lengths {lengths:?}");
    }
}

#[test]
fn t32_every_engine_gives_the_same_bits_at_every_length_around_a_block() {
    for length in (0..200).chain([1_187, 1_200, 1_460]) {
        check(&[length; MAX_LANES]);
    }
}

#[test]
fn every_engine_takes_any_number_of_messages() {
    for count in 0..=2 * MAX_LANES + 1 {
        check(&vec![1_200; count]);
    }
}

proptest! {
    #[test]
    fn t32_lanes_of_different_lengths_do_not_disturb_each_other(
        lengths in proptest::collection::vec(0usize..1_500, 1..40),
    ) {
        check(&lengths);
    }
}

//! Descriptors as browsers send them, and broken ones.

use proptest::prelude::*;

use super::*;

/// L1T1 as Chrome sends it: one template kind, a picture of 1280×720.
const L1T1: &str = "80000180003a410180ef808680";
const L1T3: &str = "800001800214eaa860414d141020842701df010d";
const L2T2_KEY_SHIFT: &str =
    "8700ed80e3061eaa82804028280514d14134518010a091889a09409fc059c13fc0b3c0";
const VP8_WITHOUT_CHAINS: &str = "8000138002044eaaaf2860414d34538a0940413fc0b3c0";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn parse(hex: &str) -> DependencyDescriptor {
    DependencyParser::new().parse(0, &bytes(hex)).unwrap()
}

fn rewritten(descriptor: &DependencyDescriptor, original: &[u8], to: DependencyRewrite) -> Vec<u8> {
    let mut out = [0xa5; MAX_ELEMENT];
    let len = descriptor.rewrite(original, &to, &mut out).unwrap();
    out[..len].to_vec()
}

#[test]
fn one_layer_has_one_decode_target() {
    let descriptor = parse(L1T1);
    assert!(descriptor.is_start() && !descriptor.is_end() && descriptor.is_keyframe());
    assert_eq!(descriptor.frame_number(), 1);
    let structure = descriptor.structure().unwrap();
    assert_eq!(structure.decode_targets(), 1);
    assert_eq!(structure.template_count(), 2);
    assert_eq!(structure.size(0), Some((480, 270)));
    assert_eq!(descriptor.dependencies().unwrap().dti(0), Dti::Switch);
}

#[test]
fn three_temporal_layers_have_three_decode_targets() {
    let descriptor = parse(L1T3);
    let structure = descriptor.structure().unwrap();
    assert_eq!(structure.decode_targets(), 3);
    assert_eq!(structure.template_count(), 5);
    let layers: Vec<_> = (0..3).map(|target| structure.layers(target)).collect();
    assert_eq!(layers, [(0, 0), (0, 1), (0, 2)]);
    let subsets: Vec<_> = (0..3).map(|target| structure.subsets(target)).collect();
    assert_eq!(subsets, [0b001, 0b011, 0b111]);
    let weights: Vec<_> = (0..3)
        .map(|target| structure.frame_weight(target))
        .collect();
    assert_eq!(weights, [1, 2, 4]);
    assert!(structure.has_switch(0, 2) && structure.has_switch(2, 0));
}

#[test]
fn spatial_layers_that_meet_at_keyframes_only_can_be_left_but_not_entered() {
    let descriptor = parse(L2T2_KEY_SHIFT);
    let structure = descriptor.structure().unwrap();
    assert_eq!(structure.decode_targets(), 4);
    assert_eq!(structure.layers(3), (1, 1));
    assert_eq!(structure.size(1), Some((1280, 720)));
    assert!(structure.has_switch(0, 1));
    assert!(!structure.has_switch(0, 2) && !structure.has_switch(1, 3));
}

#[test]
fn a_structure_may_have_no_chains() {
    let descriptor = parse(VP8_WITHOUT_CHAINS);
    assert!(descriptor.dependencies().is_some());
    assert!(descriptor.structure().unwrap().decode_targets() > 1);
}

#[test]
fn media_plane_case_94_frames_are_understood_once_their_structure_came() {
    let mut parser = DependencyParser::new();
    let delta = bytes("c10002");
    let early = parser.parse(11, &delta).unwrap();
    assert_eq!(early.frame_number(), 2);
    assert!(early.dependencies().is_none() && early.structure().is_none());
    parser.parse(10, &bytes(L1T3)).unwrap();
    assert!(parser.parse(12, &delta).unwrap().dependencies().is_some());
    assert!(
        parser.parse(9, &delta).unwrap().dependencies().is_none(),
        "older than the structure"
    );
}

#[test]
fn the_structure_before_a_packet_holds_for_it_and_few_are_kept_t37() {
    let mut parser = DependencyParser::new();
    for index in 0..10 {
        let key = if index % 2 == 0 { L1T3 } else { L1T1 };
        parser.parse(10 * index, &bytes(key)).unwrap();
    }
    let delta = bytes("c10002");
    let targets = |parser: &mut DependencyParser, index| {
        let descriptor = parser.parse(index, &delta).unwrap();
        descriptor.structure().map(|known| known.decode_targets())
    };
    assert_eq!(targets(&mut parser, 95), Some(1));
    assert_eq!(targets(&mut parser, 85), Some(3));
    assert_eq!(targets(&mut parser, 65), Some(3));
    assert_eq!(targets(&mut parser, 55), None);
}

#[test]
fn active_decode_targets_hold_until_told_otherwise() {
    let mut parser = DependencyParser::new();
    assert_eq!(
        parser.parse(1, &bytes(L1T3)).unwrap().active_targets(),
        0b111
    );
    // Flags 01000, then three bits.
    let told = [0xc1, 0, 2, 0b0100_0011];
    let descriptor = parser.parse(2, &told).unwrap();
    assert!(descriptor.tells_active_targets());
    assert_eq!(descriptor.active_targets(), 0b011);
    let later = parser.parse(3, &bytes("c10003")).unwrap();
    assert!(!later.tells_active_targets());
    assert_eq!(later.active_targets(), 0b011);
    assert_eq!(
        parser.parse(4, &bytes(L1T3)).unwrap().active_targets(),
        0b111
    );
}

#[test]
fn media_plane_case_97_beyond_the_structure_there_is_nothing_t37() {
    let mut parser = DependencyParser::new();
    parser.parse(0, &bytes(L1T3)).unwrap();
    let unknown_template = parser.parse(1, &[0xc0 | 5, 0, 2]).unwrap();
    assert!(unknown_template.dependencies().is_none());
    // Custom indications and references that are cut off.
    assert!(parser.parse(2, &[0xc1, 0, 2, 0b0010_0000]).is_none());
    assert!(parser.parse(3, &[0xc1, 0, 2, 0b0001_0110]).is_none());
    // One reference of twelve bits, the farthest there is.
    let far = [0xc1, 0, 2, 0b0001_0111, 0xff, 0b1110_0000];
    let descriptor = parser.parse(4, &far).unwrap();
    assert_eq!(descriptor.dependencies().unwrap().references(), [4096]);
    assert_eq!(descriptor.dependencies().unwrap().dti(200), Dti::NotPresent);
    for len in 0..3 {
        assert!(parser.parse(5, &far[..len]).is_none());
    }
    // References without end.
    let endless = [&[0xc1, 0, 2, 0b0001_0010][..], &[0xaa; 60]].concat();
    assert!(parser.parse(6, &endless).is_none());
    // Temporal layers without end.
    let endless = [&[0x80, 0, 1, 0x80, 0, 0b0010_1010][..], &[0x55; 60]].concat();
    assert!(DependencyParser::new().parse(0, &endless).is_none());
}

#[test]
fn media_plane_case_98_new_numbers_are_read_back_and_the_rest_stays() {
    for hex in [L1T1, L1T3, L2T2_KEY_SHIFT, VP8_WITHOUT_CHAINS] {
        let original = bytes(hex);
        let descriptor = parse(hex);
        let same = DependencyRewrite {
            frame_number: descriptor.frame_number(),
            template_delta: 0,
            active_targets: None,
        };
        let copy = rewritten(&descriptor, &original, same);
        assert_eq!(copy[..copy.len() - 1], original[..copy.len() - 1]);
        let other = DependencyRewrite {
            frame_number: 0xbeef,
            template_delta: 60,
            active_targets: Some(1),
        };
        let copy = rewritten(&descriptor, &original, other);
        let again = DependencyParser::new().parse(0, &copy).unwrap();
        assert_eq!(again.frame_number(), 0xbeef);
        assert_eq!(again.active_targets(), 1);
        let (before, after) = (descriptor.structure().unwrap(), again.structure().unwrap());
        assert_eq!(after.offset(), (before.offset() + 60) % 64);
        assert_eq!(after.template_count(), before.template_count());
        assert_eq!(again.dependencies(), descriptor.dependencies());
    }
}

#[test]
fn media_plane_case_98_three_bytes_grow_when_active_targets_are_told() {
    let mut parser = DependencyParser::new();
    parser.parse(0, &bytes(L1T3)).unwrap();
    let original = [0x42, 0, 7];
    let descriptor = parser.parse(1, &original).unwrap();
    let to = DependencyRewrite {
        frame_number: 9,
        template_delta: 5,
        active_targets: Some(0b011),
    };
    assert_eq!(
        rewritten(&descriptor, &original, to),
        [0x47, 0, 9, 0b0100_0011]
    );
    let untold = DependencyRewrite {
        active_targets: None,
        ..to
    };
    assert_eq!(rewritten(&descriptor, &original, untold), [0x47, 0, 9]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_is_read_within_bounds_and_written_back_t37(
        data in prop::collection::vec(any::<u8>(), 0..255),
        seed in 0usize..4,
        flips in prop::collection::vec((0usize..60, 0u8..8), 0..4),
        delta: u8,
        active in prop::option::of(any::<u32>()),
    ) {
        let mut parser = DependencyParser::new();
        let mut known = bytes([L1T1, L1T3, L2T2_KEY_SHIFT, VP8_WITHOUT_CHAINS][seed]);
        for (at, bit) in flips {
            let len = known.len();
            known[at % len] ^= 1 << bit;
        }
        for (index, original) in [known, data].into_iter().enumerate() {
            let Some(descriptor) = parser.parse(index as u64, &original) else {
                continue;
            };
            // Templates move together with their structure only.
            let delta = if descriptor.is_keyframe() { delta } else { 0 };
            let to = DependencyRewrite { frame_number: 77, template_delta: delta, active_targets: active };
            let mut out = [0; MAX_ELEMENT];
            let Some(len) = descriptor.rewrite(&original, &to, &mut out) else {
                continue;
            };
            let mut reader = parser.clone();
            let again = reader.parse(index as u64, &out[..len]).unwrap();
            prop_assert_eq!(again.frame_number(), 77);
            prop_assert_eq!(again.is_start(), descriptor.is_start());
            prop_assert_eq!(again.is_keyframe(), descriptor.is_keyframe());
            if again.is_keyframe() {
                prop_assert_eq!(again.dependencies(), descriptor.dependencies());
            }
        }
    }
}

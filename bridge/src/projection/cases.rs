//! The numbered test cases of the media-plane and allocation specs for video projections.

use super::testing::Packet;
use super::*;

/// (sequence, timestamp, picture id, TL0PICIDX).
type Sent = (u64, u32, u16, u8);

struct Receiver(Projection);

impl Receiver {
    fn wanting(target: LayerIndex) -> Receiver {
        let mut projection = Projection::new(Start {
            sequence: 1,
            timestamp: 1,
        });
        projection.set_target(target);
        Receiver(projection)
    }

    fn offer(&mut self, millis: u64, packet: Packet) -> Option<Sent> {
        let now = Time::from_millis(millis);
        match self.0.offer(now, &packet.facts(), &packet.descriptor()) {
            Verdict::Forward(it) => Some((
                it.sequence,
                it.timestamp,
                it.picture_id.unwrap_or_default(),
                it.tl0picidx.unwrap_or_default(),
            )),
            Verdict::Drop => None,
        }
    }

    fn sequence(&mut self, millis: u64, packet: Packet) -> Option<u64> {
        self.offer(millis, packet).map(|sent| sent.0)
    }
}

/// The base stream of media-plane spec §7.4, by sequence number.
fn base(sequence: u64) -> (u64, Packet) {
    let (picture, layer, first, last) = match sequence {
        1000..=1002 => (0u8, 0, 1000, 1002),
        1003..=1004 => (1, 2, 1003, 1004),
        1005..=1006 => (2, 1, 1005, 1006),
        1007 => (3, 2, 1007, 1007),
        _ => (4, 0, 1008, 1010),
    };
    let tl0picidx = 50 + u8::from(picture == 4);
    let timestamp = 90_000 + 3000 * u32::from(picture);
    let packet = Packet {
        keyframe: sequence == 1000,
        ..Packet::of(0, sequence, timestamp, 200 + u16::from(picture), tl0picidx)
            .layer(layer)
            .part(sequence == first, sequence == last)
    };
    (33 * u64::from(picture), packet)
}

fn offer_base(receiver: &mut Receiver, sequence: u64) -> Option<Sent> {
    let (millis, packet) = base(sequence);
    receiver.offer(millis, packet)
}

#[test]
fn media_plane_case_60_upper_temporal_layers_leave_no_trace() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 0));
    for sequence in 1000..=1002 {
        assert_eq!(
            offer_base(&mut receiver, sequence),
            Some((sequence - 998, 3001, 200, 50))
        );
    }
    for sequence in 1003..=1007 {
        assert_eq!(offer_base(&mut receiver, sequence), None);
    }
    for sequence in 1008..=1010 {
        assert_eq!(
            offer_base(&mut receiver, sequence),
            Some((sequence - 1003, 15_001, 201, 51))
        );
    }
}

#[test]
fn media_plane_case_61_a_late_packet_gets_the_number_kept_for_it() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    (1000..=1002).for_each(|sequence| _ = offer_base(&mut receiver, sequence));
    assert_eq!(offer_base(&mut receiver, 1003).unwrap().0, 5);
    assert_eq!(offer_base(&mut receiver, 1005).unwrap().0, 7);
    assert_eq!(offer_base(&mut receiver, 1006).unwrap().0, 8);
    assert_eq!(offer_base(&mut receiver, 1007).unwrap().0, 9);
    for sequence in 1008..=1010 {
        assert_eq!(
            offer_base(&mut receiver, sequence).unwrap().0,
            sequence - 998
        );
    }
    assert_eq!(offer_base(&mut receiver, 1004), Some((6, 6001, 201, 50)));
    assert_eq!(offer_base(&mut receiver, 1004), None, "a duplicate");
}

#[test]
fn media_plane_case_62_a_late_packet_of_a_rejected_frame_is_dropped() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 0));
    for sequence in (1000..=1003).chain(1005..=1007) {
        offer_base(&mut receiver, sequence);
    }
    for sequence in 1008..=1010 {
        assert_eq!(
            offer_base(&mut receiver, sequence),
            Some((sequence - 1003, 15_001, 201, 51))
        );
    }
    assert_eq!(offer_base(&mut receiver, 1004), None);
}

#[test]
fn media_plane_case_63_an_undecidable_packet_keeps_its_place() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 1));
    (1000..=1004).for_each(|sequence| _ = offer_base(&mut receiver, sequence));
    assert_eq!(offer_base(&mut receiver, 1005), Some((5, 9001, 201, 50)));
    assert_eq!(offer_base(&mut receiver, 1006), Some((6, 9001, 201, 50)));
    assert_eq!(offer_base(&mut receiver, 1008), Some((8, 15_001, 203, 51)));
    assert_eq!(offer_base(&mut receiver, 1007), None);
    assert_eq!(offer_base(&mut receiver, 1009).unwrap().0, 9);
}

#[test]
fn media_plane_case_64_allocation_case_61_up_within_a_keyframe_group() {
    let mut receiver = Receiver::wanting(LayerIndex::new(1, 0, 2));
    assert!(receiver.0.needs_keyframe());
    assert_eq!(
        receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key()),
        Some((2, 3001, 200, 50))
    );
    assert!(!receiver.0.needs_keyframe());
    let first = Packet::of(1, 5000, 700_000, 300, 80)
        .key()
        .part(true, false);
    assert_eq!(receiver.offer(20, first), Some((3, 6001, 201, 51)));
    let second = Packet::of(1, 5001, 700_000, 300, 80).part(false, true);
    assert_eq!(receiver.offer(20, second), Some((4, 6001, 201, 51)));
    assert_eq!(
        receiver.offer(33, Packet::of(0, 1001, 93_000, 201, 51)),
        None
    );
    assert_eq!(
        receiver.offer(53, Packet::of(1, 5002, 703_000, 301, 81)),
        Some((5, 9001, 202, 52))
    );
    assert_eq!(receiver.0.current_encoding(), Some(1));
}

#[test]
fn media_plane_case_65_an_unfinished_frame_is_closed_by_a_switch() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    assert_eq!(
        receiver.sequence(0, Packet::of(0, 1000, 90_000, 200, 50).key()),
        Some(2)
    );
    let delta = |index| Packet::of(0, index, 93_000, 201, 51).part(index == 1001, index == 1003);
    assert_eq!(receiver.sequence(33, delta(1001)), Some(3));
    assert_eq!(receiver.sequence(33, delta(1002)), Some(4));
    receiver.0.set_target(LayerIndex::new(1, 0, 2));
    let keyframe = Packet::of(1, 5000, 700_000, 300, 80).key();
    assert_eq!(receiver.offer(500, keyframe), Some((6, 48_001, 202, 52)));
    assert_eq!(receiver.offer(510, delta(1003)), None);
}

#[test]
fn a_packet_of_a_frame_closed_by_a_switch_is_sent_if_others_of_it_were_newer() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key());
    let delta = |index| Packet::of(0, index, 93_000, 201, 51).part(index == 1001, false);
    assert_eq!(receiver.sequence(33, delta(1001)), Some(3));
    assert_eq!(receiver.sequence(33, delta(1003)), Some(5));
    receiver.0.set_target(LayerIndex::new(1, 0, 2));
    assert_eq!(
        receiver.sequence(500, Packet::of(1, 5000, 700_000, 300, 80).key()),
        Some(7)
    );
    assert_eq!(receiver.sequence(510, delta(1002)), Some(4));
}

#[test]
fn media_plane_case_66_allocation_case_62_the_highest_of_a_group_first() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    assert_eq!(
        receiver.offer(0, Packet::of(2, 9000, 1, 400, 1).key()),
        None
    );
    assert_eq!(
        receiver.offer(50, Packet::of(0, 1000, 90_000, 200, 50).key()),
        Some((2, 3001, 200, 50))
    );
}

#[test]
fn a_group_that_brought_nothing_that_fits_is_asked_for_again() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    receiver.offer(0, Packet::of(2, 9000, 0, 400, 1).key());
    receiver.offer(33, Packet::of(0, 1001, 93_000, 201, 51));
    assert!(!receiver.0.needs_keyframe(), "the keyframe may still come");
    receiver.offer(301, Packet::of(0, 1009, 120_000, 209, 59));
    assert!(receiver.0.needs_keyframe());
}

#[test]
fn media_plane_case_67_allocation_case_63_down_switch() {
    let mut receiver = Receiver::wanting(LayerIndex::new(1, 0, 2));
    assert_eq!(
        receiver.offer(0, Packet::of(1, 5000, 700_000, 300, 80).key()),
        Some((2, 3001, 300, 80))
    );
    receiver.0.set_target(LayerIndex::new(0, 0, 2));
    assert_eq!(
        receiver.offer(400, Packet::of(1, 5001, 703_000, 301, 80).layer(2)),
        None
    );
    assert!(receiver.0.needs_keyframe());
    assert_eq!(
        receiver.offer(433, Packet::of(1, 5002, 706_000, 302, 81)),
        Some((3, 9001, 301, 81))
    );
    assert_eq!(
        receiver.offer(440, Packet::of(0, 1000, 90_000, 200, 50)),
        None
    );
    assert_eq!(
        receiver.offer(500, Packet::of(0, 1001, 93_000, 201, 51).key()),
        Some((4, 15_001, 302, 82))
    );
    assert_eq!(
        receiver.offer(510, Packet::of(1, 5003, 709_000, 303, 82)),
        None
    );
}

#[test]
fn a_rejected_keyframe_ends_the_encoding_that_is_being_left() {
    let mut receiver = Receiver::wanting(LayerIndex::new(1, 0, 2));
    receiver.offer(0, Packet::of(1, 5000, 700_000, 300, 80).key());
    receiver.0.set_target(LayerIndex::new(0, 0, 2));
    // The keyframe is too good to be sent, so what refers to it must not be sent either.
    assert_eq!(
        receiver.offer(400, Packet::of(1, 5001, 703_000, 301, 81).key()),
        None
    );
    assert_eq!(
        receiver.offer(433, Packet::of(1, 5002, 706_000, 302, 82)),
        None
    );
    assert_eq!(
        receiver.sequence(440, Packet::of(0, 1001, 93_000, 201, 51).key()),
        Some(3)
    );
}

#[test]
fn media_plane_case_68_a_keyframe_overtaken_by_its_successor_starts_nothing() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    assert_eq!(
        receiver.offer(0, Packet::of(0, 1001, 93_000, 201, 51)),
        None
    );
    assert_eq!(
        receiver.offer(1, Packet::of(0, 1000, 90_000, 200, 50).key()),
        None
    );
    assert!(receiver.0.needs_keyframe());
}

#[test]
fn a_resumed_stream_has_the_same_guard_against_overtaken_keyframes() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key());
    receiver.0.set_target(LayerIndex::SUSPENDED);
    receiver.0.set_target(LayerIndex::new(0, 0, 2));
    assert_eq!(
        receiver.offer(400, Packet::of(0, 1002, 126_000, 202, 52)),
        None
    );
    assert_eq!(
        receiver.offer(401, Packet::of(0, 1001, 123_000, 201, 51).key()),
        None
    );
    assert_eq!(
        receiver.offer(433, Packet::of(0, 1003, 129_000, 203, 53)),
        None
    );
    assert!(receiver.0.needs_keyframe());
}

#[test]
fn media_plane_case_69_temporal_up_switch_waits_for_a_reference_that_was_sent() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 0));
    receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key());
    assert_eq!(
        receiver.offer(33, Packet::of(0, 1001, 93_000, 201, 50).layer(2)),
        None
    );
    assert_eq!(
        receiver.offer(66, Packet::of(0, 1002, 96_000, 202, 50).layer(1)),
        None
    );
    receiver.0.set_target(LayerIndex::new(0, 0, 2));
    assert!(!receiver.0.needs_keyframe());
    assert_eq!(
        receiver.offer(99, Packet::of(0, 1003, 99_000, 203, 50).layer(2)),
        None
    );
    assert_eq!(
        receiver.offer(133, Packet::of(0, 1004, 102_000, 204, 51)),
        Some((3, 15_001, 201, 51))
    );
    let next = Packet::of(0, 1005, 105_000, 205, 51).layer(2);
    assert_eq!(receiver.offer(166, next), Some((4, 18_001, 202, 51)));
}

#[test]
fn layer_synchronisation_lets_a_temporal_up_switch_happen_at_once() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 0));
    receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key());
    receiver.offer(33, Packet::of(0, 1001, 93_000, 201, 50).layer(1));
    receiver.0.set_target(LayerIndex::new(0, 0, 2));
    let sync = Packet {
        layer_sync: true,
        ..Packet::of(0, 1002, 96_000, 202, 50).layer(2)
    };
    assert_eq!(receiver.offer(66, sync), Some((3, 9001, 201, 50)));
}

#[test]
fn media_plane_case_70_allocation_case_64_suspend_and_resume() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    assert_eq!(
        receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key()),
        Some((2, 3001, 200, 50))
    );
    receiver.0.set_target(LayerIndex::SUSPENDED);
    assert!(!receiver.0.needs_keyframe());
    for picture in 1..=2u16 {
        let delta = Packet::of(
            0,
            1000 + u64::from(picture),
            90_000 + 3000 * u32::from(picture),
            200 + picture,
            50 + picture as u8,
        );
        assert_eq!(receiver.offer(33 * u64::from(picture), delta), None);
    }
    receiver.0.set_target(LayerIndex::new(0, 0, 2));
    assert_eq!(
        receiver.offer(99, Packet::of(0, 1003, 99_000, 203, 53)),
        None
    );
    assert!(receiver.0.needs_keyframe());
    let keyframe = Packet::of(0, 1004, 102_000, 204, 54).key();
    assert_eq!(receiver.offer(133, keyframe), Some((3, 15_001, 201, 54)));
}

#[test]
fn a_resume_is_seamless_even_if_nothing_was_offered_meanwhile() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key());
    receiver.0.set_target(LayerIndex::SUSPENDED);
    receiver.0.set_target(LayerIndex::new(0, 0, 2));
    let minute = Packet::of(0, 9000, 90_000 + 60 * 90_000, 2000, 100).key();
    assert_eq!(
        receiver.offer(60_000, minute),
        Some((3, 3001 + 60 * 90_000, 201, 100))
    );
}

#[test]
fn media_plane_case_71_all_counters_wrap_at_once() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    let base = 0xffff_f000u32;
    receiver.offer(0, Packet::of(0, 65_535, base, 32_767, 255).key());
    let next = Packet::of(0, 65_536, base.wrapping_add(6000), 0, 0);
    assert_eq!(receiver.offer(66, next), Some((3, 9001, 0, 0)));
    let next = Packet::of(0, 65_537, base.wrapping_add(9000), 1, 1);
    assert_eq!(receiver.offer(99, next), Some((4, 12_001, 1, 1)));
}

#[test]
fn the_outgoing_sequence_number_keeps_counting_over_its_wrap_t29() {
    let mut projection = Projection::new(Start {
        sequence: 65_534,
        timestamp: 1,
    });
    projection.set_target(LayerIndex::new(0, 0, 2));
    let mut receiver = Receiver(projection);
    assert_eq!(
        receiver.sequence(0, Packet::of(0, 7, 0, 1, 1).key()),
        Some(65_535)
    );
    assert_eq!(
        receiver.sequence(33, Packet::of(0, 8, 3000, 2, 2)),
        Some(65_536)
    );
}

#[test]
fn media_plane_case_72_a_known_picture_id_with_another_timestamp_is_dropped() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    receiver.offer(
        0,
        Packet::of(0, 1000, 90_000, 200, 50).key().part(true, false),
    );
    assert_eq!(
        receiver.offer(33, Packet::of(0, 1001, 93_000, 200, 51)),
        None
    );
    let rest = Packet::of(0, 1001, 90_000, 200, 50).part(false, true);
    assert_eq!(receiver.offer(34, rest), Some((3, 3001, 200, 50)));
}

#[test]
fn media_plane_case_73_a_jump_of_picture_ids_goes_on_with_the_same_deltas() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key());
    assert_eq!(
        receiver.offer(33, Packet::of(0, 1001, 93_000, 800, 51)),
        Some((3, 6001, 800, 51))
    );
    assert_eq!(
        receiver.offer(66, Packet::of(0, 1002, 96_000, 801, 52)),
        Some((4, 9001, 801, 52))
    );
}

#[test]
fn a_jump_of_picture_ids_backwards_goes_on_with_the_next_t40() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key());
    assert_eq!(
        receiver.offer(200, Packet::of(0, 1001, 93_000, 100, 51)),
        Some((3, 6001, 201, 51))
    );
    assert_eq!(
        receiver.offer(210, Packet::of(0, 1002, 96_000, 9000, 52)),
        None,
        "too soon again"
    );
}

#[test]
fn picture_ids_that_become_wider_do_not_repeat_the_last_one_t40() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    receiver.offer(0, Packet::of(0, 1000, 90_000, 0x4085, 50).key());
    let narrow = Packet {
        wide: false,
        ..Packet::of(0, 1001, 93_000, 6, 51)
    };
    assert_eq!(receiver.offer(33, narrow), Some((3, 6001, 6, 51)));
    // The last one was 0x4086 in full: as far on as these are apart, 6 would come again.
    let wide = Packet::of(0, 1002, 96_000, 6 + 0x3f80, 52);
    assert_eq!(receiver.offer(200, wide), Some((4, 9001, 0x4087, 52)));
}

#[test]
fn media_plane_case_74_seven_bit_picture_ids_are_rewritten_modulo_128() {
    let narrow = |packet: Packet| Packet {
        wide: false,
        ..packet
    };
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    let first = narrow(Packet::of(0, 1000, 90_000, 126, 50).key());
    assert_eq!(receiver.offer(0, first), Some((2, 3001, 126, 50)));
    let second = narrow(Packet::of(0, 1001, 93_000, 127, 51));
    assert_eq!(receiver.offer(33, second), Some((3, 6001, 127, 51)));
    receiver.0.set_target(LayerIndex::new(1, 0, 2));
    let switch = narrow(Packet::of(1, 5000, 700_000, 5, 80).key());
    assert_eq!(receiver.offer(66, switch), Some((4, 9001, 0, 52)));
    let next = narrow(Packet::of(1, 5001, 703_000, 6, 81));
    assert_eq!(receiver.offer(99, next), Some((5, 12_001, 1, 53)));
}

#[test]
fn media_plane_case_75_vp8_without_temporal_ids_starts_at_keyframes_only() {
    let plain = |index, timestamp| Packet {
        temporal_id: None,
        ..Packet::of(0, index, timestamp, 7, 7)
    };
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    assert_eq!(receiver.offer(0, plain(999, 0)), None);
    assert!(receiver.0.needs_keyframe());
    assert_eq!(receiver.sequence(0, plain(1000, 90_000).key()), Some(2));
    assert_eq!(receiver.sequence(33, plain(1001, 93_000)), Some(3));
    assert_eq!(receiver.sequence(66, plain(1003, 99_000)), Some(5));
    assert_eq!(receiver.sequence(70, plain(1002, 96_000)), Some(4));
    receiver.0.set_target(LayerIndex::SUSPENDED);
    assert_eq!(receiver.offer(99, plain(1004, 102_000)), None);
    receiver.0.set_target(LayerIndex::new(0, 0, 2));
    assert_eq!(receiver.offer(133, plain(1005, 105_000)), None);
    assert!(receiver.0.needs_keyframe());
    assert_eq!(
        receiver
            .offer(166, plain(1006, 108_000).key())
            .map(|sent| (sent.0, sent.1)),
        Some((6, 21_001))
    );
}

fn opaque(encoding: u8, index: u64, timestamp: u32) -> VideoFacts {
    VideoFacts {
        encoding,
        index,
        timestamp,
        marker: true,
        payload_type: 104,
    }
}

fn numbers(verdict: Verdict) -> Option<(u64, u32)> {
    match verdict {
        Verdict::Forward(it) => Some((it.sequence, it.timestamp)),
        Verdict::Drop => None,
    }
}

#[test]
fn media_plane_case_99_an_unread_codec_resumes_without_a_hole() {
    let mut projection = Projection::new(Start {
        sequence: 1,
        timestamp: 1,
    });
    let at = |frame: u64| {
        (
            Time::from_millis(frame * 33),
            opaque(0, 700 + frame, 50_000 + frame as u32 * 3000),
        )
    };
    let offer = |projection: &mut Projection, frame| {
        let (now, facts) = at(frame);
        numbers(projection.offer(now, &facts, &Payload::Opaque))
    };
    assert_eq!(offer(&mut projection, 0), None);
    projection.set_target(LayerIndex::new(0, 0, 2));
    assert!(projection.needs_keyframe());
    assert_eq!(offer(&mut projection, 1), Some((2, 3001)));
    assert!(
        projection.needs_keyframe(),
        "nobody can see whether that was one"
    );
    assert_eq!(offer(&mut projection, 2), Some((3, 6001)));
    assert!(!projection.needs_keyframe());
    projection.set_target(LayerIndex::SUSPENDED);
    (3..103).for_each(|frame| assert_eq!(offer(&mut projection, frame), None));
    projection.set_target(LayerIndex::new(0, 0, 2));
    assert_eq!(offer(&mut projection, 103), Some((4, 6001 + 101 * 3000)));
}

#[test]
fn an_unread_codec_passes_one_encoding_at_a_time() {
    let mut projection = Projection::new(Start {
        sequence: 1,
        timestamp: 1,
    });
    projection.set_target(LayerIndex::new(1, 0, 0));
    let mut offer = |millis, encoding, index| {
        numbers(projection.offer(
            Time::from_millis(millis),
            &opaque(encoding, index, index as u32 * 3000),
            &Payload::Opaque,
        ))
        .map(|sent| sent.0)
    };
    assert_eq!(offer(0, 0, 10), Some(2));
    assert_eq!(offer(1, 1, 500), Some(3), "closer to the target");
    assert_eq!(offer(2, 2, 900), None, "beyond it");
    assert_eq!(offer(33, 0, 11), None);
    assert_eq!(offer(34, 1, 501), Some(4));
    assert_eq!(offer(1100, 0, 40), Some(5), "the better one stopped");
}

#[test]
fn media_plane_case_101_and_102_a_slot_goes_on_with_a_keyframe_of_its_new_source() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key());
    receiver.offer(33, Packet::of(0, 1001, 93_000, 201, 51));
    receiver.0.rebind();
    assert!(receiver.0.target().is_suspended());
    assert_eq!(receiver.0.project_timestamp(0, 93_000), None);
    receiver.0.set_target(LayerIndex::new(0, 0, 2));
    assert_eq!(receiver.offer(50, Packet::of(0, 9000, 3000, 5, 9)), None);
    assert!(receiver.0.needs_keyframe());
    assert_eq!(
        receiver.offer(66, Packet::of(0, 9001, 6000, 6, 10).key()),
        Some((4, 9001, 202, 52))
    );
    assert_eq!(
        receiver.offer(99, Packet::of(0, 9002, 9000, 7, 11)),
        Some((5, 12_001, 203, 53))
    );
}

#[test]
fn a_slot_goes_on_over_a_change_of_codec() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key());
    let opaque = opaque(0, 1001, 93_000);
    assert_eq!(
        numbers(
            receiver
                .0
                .offer(Time::from_millis(33), &opaque, &Payload::Opaque)
        ),
        Some((3, 6001))
    );
    // A late packet of the codec before does not bring it back.
    assert_eq!(
        receiver.offer(34, Packet::of(0, 999, 87_000, 199, 49)),
        None
    );
    assert_eq!(
        receiver.offer(66, Packet::of(0, 1002, 96_000, 201, 51)),
        None
    );
    assert!(receiver.0.needs_keyframe());
    assert_eq!(
        receiver.offer(99, Packet::of(0, 1003, 99_000, 202, 52).key()),
        Some((4, 12_001, 201, 51))
    );
}

#[test]
fn media_plane_case_108_sender_reports_lie_on_the_line_of_what_is_projected() {
    let mut receiver = Receiver::wanting(LayerIndex::new(1, 0, 2));
    assert_eq!(
        receiver.0.project_timestamp(0, 90_000),
        None,
        "case 109: nothing was sent"
    );
    receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key());
    assert_eq!(receiver.0.project_timestamp(0, 90_450), Some(3451));
    receiver.offer(20, Packet::of(1, 5000, 700_000, 300, 80).key());
    assert_eq!(receiver.0.project_timestamp(0, 90_450), None);
    assert_eq!(
        receiver.0.project_timestamp(1, 700_000 - 90),
        Some(6001 - 90)
    );
    receiver.0.set_target(LayerIndex::SUSPENDED);
    assert_eq!(receiver.0.project_timestamp(1, 700_000), None);
}

#[test]
fn a_target_that_comes_back_before_the_switch_needs_no_keyframe() {
    let mut receiver = Receiver::wanting(LayerIndex::new(1, 0, 2));
    receiver.offer(0, Packet::of(1, 5000, 700_000, 300, 80).key());
    receiver.0.set_target(LayerIndex::new(0, 0, 2));
    assert!(receiver.0.needs_keyframe());
    receiver.0.set_target(LayerIndex::new(1, 0, 0));
    assert!(!receiver.0.needs_keyframe());
}

#[test]
fn a_better_encoding_whose_keyframe_was_missed_is_asked_for_again() {
    let mut receiver = Receiver::wanting(LayerIndex::new(1, 0, 2));
    receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key());
    receiver.offer(300, Packet::of(1, 5001, 703_000, 301, 81));
    assert!(!receiver.0.needs_keyframe());
    receiver.offer(301, Packet::of(1, 5002, 706_000, 302, 82));
    assert!(receiver.0.needs_keyframe());
}

#[test]
fn a_long_outage_shrinks_to_one_missing_packet_t40() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key());
    let after = Packet::of(0, 1000 + 32_000, 390_000, 300, 150);
    assert_eq!(receiver.offer(3300, after), Some((4, 303_001, 300, 150)));
    let before = Packet::of(0, 1000 + 31_999, 387_000, 299, 149);
    assert_eq!(receiver.offer(3301, before), None, "its place is gone");
    assert_eq!(
        receiver.sequence(3333, Packet::of(0, 1000 + 32_001, 393_000, 301, 151)),
        Some(5)
    );
}

#[test]
fn an_encoding_that_cannot_exist_is_dropped() {
    let mut receiver = Receiver::wanting(LayerIndex::new(7, 0, 7));
    for encoding in [limits::MAX_ENCODINGS as u8, 255] {
        assert_eq!(
            receiver.offer(0, Packet::of(encoding, 1, 1, 1, 1).key()),
            None
        );
    }
}

#[test]
fn layer_indexes_are_those_of_the_allocation_spec() {
    let layer = LayerIndex::new(2, 1, 2);
    assert_eq!(layer, LayerIndex(2 * 64 + 8 + 2));
    assert_eq!(
        (layer.encoding(), layer.spatial(), layer.temporal()),
        (Some(2), 1, 2)
    );
    assert_eq!(LayerIndex::SUSPENDED.encoding(), None);
    assert!(LayerIndex::SUSPENDED < LayerIndex::new(0, 0, 0));
}

#[test]
fn a_keyframe_begins_nothing_if_what_follows_it_was_sent_already() {
    let mut receiver = Receiver::wanting(LayerIndex::new(2, 0, 2));
    receiver.offer(0, Packet::of(1, 5000, 700_000, 300, 80).key());
    let upper = Packet::of(1, 5002, 706_000, 302, 81).layer(1);
    assert_eq!(receiver.sequence(66, upper), Some(4));
    let lower = Packet::of(0, 1000, 90_000, 200, 50).key();
    assert_eq!(receiver.sequence(400, lower), Some(5));
    // Its place would be before packet 4.
    let late = Packet::of(1, 5001, 703_000, 301, 81).key();
    assert_eq!(receiver.offer(401, late), None);
    assert_eq!(receiver.0.current_encoding(), Some(0));
}

#[test]
fn a_late_frame_is_sent_even_if_all_that_followed_was_rejected() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 0));
    receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key());
    let upper = Packet::of(0, 1002, 96_000, 202, 51).layer(1);
    assert_eq!(receiver.offer(66, upper), None);
    let late = Packet::of(0, 1001, 93_000, 201, 51);
    assert_eq!(receiver.offer(70, late), Some((3, 6001, 201, 51)));
    let next = Packet::of(0, 1003, 99_000, 203, 52);
    assert_eq!(receiver.offer(99, next), Some((4, 12_001, 202, 52)));
}

#[test]
fn after_a_leap_nothing_goes_before_it_t40() {
    let mut receiver = Receiver::wanting(LayerIndex::new(1, 0, 2));
    receiver.offer(0, Packet::of(1, 1000, 90_000, 200, 50).key());
    let after = |index| Packet::of(1, index, 390_000, 900, 90).part(index == 9000, index == 9005);
    assert_eq!(receiver.sequence(3300, after(9003)), Some(4));
    let other = Packet::of(0, 70, 7000, 7, 7).key();
    assert_eq!(receiver.sequence(3310, other), Some(6));
    // Packet 9002 could be 3; 9001 and 9000 would be before what was sent before the leap.
    assert_eq!(receiver.sequence(3311, after(9002)), Some(3));
    assert_eq!(receiver.offer(3312, after(9001)), None);
    assert_eq!(receiver.offer(3312, after(9000)), None);
    assert_eq!(
        receiver.offer(3312, after(9004)),
        None,
        "closed by the switch"
    );
}

#[test]
fn numberings_that_begin_anew_too_often_wait_for_a_keyframe_t40() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 2));
    receiver.offer(0, Packet::of(0, 1000, 90_000, 200, 50).key());
    assert_eq!(
        receiver.sequence(33, Packet::of(0, 1001, 93_000, 9000, 9)),
        Some(3)
    );
    let refused = Packet::of(0, 1002, 96_000, 3000, 3).part(false, true);
    assert_eq!(receiver.offer(66, refused), None);
    assert!(receiver.0.needs_keyframe());
    let rest = Packet::of(0, 1001, 96_000, 3000, 3).key().part(true, false);
    assert_eq!(receiver.offer(140, rest), None, "its frame was refused");
    let delta = Packet::of(0, 1003, 99_000, 3001, 4);
    assert_eq!(
        receiver.offer(150, delta),
        None,
        "it refers to what was refused"
    );
    let keyframe = Packet::of(0, 1004, 102_000, 3002, 5).key();
    assert_eq!(receiver.sequence(160, keyframe), Some(4));
}

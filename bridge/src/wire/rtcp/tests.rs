//! Tests of reading and writing RTCP.

use super::*;
use proptest::prelude::*;

fn written(write: impl FnOnce(&mut Compound<'_>)) -> Vec<u8> {
    let mut buffer = [0xEE; 1_500];
    let mut compound = Compound::new(&mut buffer);
    write(&mut compound);
    let len = compound.len();
    buffer[..len].to_vec()
}

fn only(packet: &[u8]) -> Element<'_> {
    let mut all = elements(packet);
    let first = all.next().expect("one element").expect("well formed");
    assert!(all.next().is_none());
    first
}

fn errors(packet: &[u8]) -> (usize, Option<WireError>) {
    let results: Vec<_> = elements(packet).collect();
    let good = results.iter().filter(|result| result.is_ok()).count();
    assert!(results.len() - good <= 1 && results.iter().take(good).all(Result::is_ok));
    (good, results.into_iter().find_map(Result::err))
}

const BLOCK: ReportBlock = ReportBlock {
    ssrc: 0x0102_0304,
    fraction_lost: 0x40,
    cumulative_lost: -5,
    highest_sequence: 0x0001_FFFE,
    jitter: 90,
    last_sr: 0xAABB_CCDD,
    delay_since_last_sr: 65_536,
};

#[test]
fn reports_survive_the_wire() {
    let info = SenderInfo {
        ssrc: 7,
        ntp: 0xE000_0000_8000_0000,
        rtp: 90_000,
        packets: 10,
        octets: 1_000,
    };
    let packet = written(|compound| {
        assert!(compound.sender_report(&info, &[BLOCK]));
        assert!(compound.receiver_report(8, &[BLOCK, BLOCK]));
        assert!(compound.receiver_report(9, &[]));
    });
    assert_eq!(packet.len(), 52 + 56 + 8);
    let mut all = elements(&packet).map(Result::unwrap);
    let Some(Element::SenderReport {
        ssrc,
        ntp,
        rtp,
        packets,
        octets,
        reports,
    }) = all.next()
    else {
        panic!("sender report expected")
    };
    assert_eq!(
        SenderInfo {
            ssrc,
            ntp,
            rtp,
            packets,
            octets
        },
        info
    );
    assert_eq!(reports.collect::<Vec<_>>(), [BLOCK]);
    let Some(Element::ReceiverReport { ssrc: 8, reports }) = all.next() else {
        panic!("receiver report expected")
    };
    assert_eq!(reports.len(), 2);
    assert_eq!(reports.last(), Some(BLOCK));
    assert!(matches!(
        all.next(),
        Some(Element::ReceiverReport { ssrc: 9, .. })
    ));
    assert!(all.next().is_none());
}

#[test]
fn a_report_holds_31_blocks_and_no_more() {
    let packet = written(|compound| assert!(compound.receiver_report(1, &[BLOCK; 31])));
    let Element::ReceiverReport { reports, .. } = only(&packet) else {
        panic!()
    };
    assert_eq!(reports.count(), 31);
    assert_eq!(
        written(|compound| assert!(!compound.receiver_report(1, &[BLOCK; 32]))),
        Vec::<u8>::new()
    );
}

#[test]
fn cumulative_loss_is_clamped_to_24_bits() {
    for (given, read) in [(i32::MAX, 8_388_607), (i32::MIN, -8_388_608), (-1, -1)] {
        let block = ReportBlock {
            cumulative_lost: given,
            ..BLOCK
        };
        let packet = written(|compound| assert!(compound.receiver_report(1, &[block])));
        let Element::ReceiverReport { mut reports, .. } = only(&packet) else {
            panic!()
        };
        assert_eq!(
            reports.next().map(|block| block.cumulative_lost),
            Some(read)
        );
    }
}

#[test]
fn a_nack_is_packed_into_pairs() {
    let lost = [65_534, 65_535, 0, 14, 15, 100];
    let packet = written(|compound| assert!(compound.nack(1, 2, lost)));
    // 65534 with 65535, 0 and 14; 15 starts a new pair; 100 another.
    assert_eq!(packet.len(), 12 + 3 * 4);
    assert_eq!(packet[12..16], [0xFF, 0xFE, 0b1000_0000, 0b0000_0011]);
    let Element::Nack {
        sender: 1,
        media: 2,
        lost: read,
    } = only(&packet)
    else {
        panic!()
    };
    assert_eq!(read.collect::<Vec<_>>(), lost);
    assert_eq!(
        written(|compound| assert!(!compound.nack(1, 2, []))),
        Vec::<u8>::new()
    );
}

#[test]
fn t45_one_nack_pair_names_at_most_17_packets() {
    let packet = [
        0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF,
    ];
    let Element::Nack { lost, .. } = only(&packet) else {
        panic!()
    };
    assert_eq!(
        lost.collect::<Vec<_>>(),
        [&[65_535], &(0..16).collect::<Vec<u16>>()[..]].concat()
    );
}

#[test]
fn keyframe_requests_survive_the_wire() {
    let packet = written(|compound| assert!(compound.pli(1, 2)));
    assert_eq!(packet, [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    assert!(matches!(
        only(&packet),
        Element::Pli {
            sender: 1,
            media: 2
        }
    ));

    let packet = written(|compound| assert!(compound.fir(1, 2, 3)));
    let Element::Fir { sender: 1, entries } = only(&packet) else {
        panic!()
    };
    assert_eq!(entries.collect::<Vec<_>>(), [(2, 3)]);
}

#[test]
fn bitrates_survive_the_wire_with_18_significant_bits() {
    for (given, read) in [
        (Bitrate::ZERO, Bitrate::ZERO),
        (Bitrate::kbps(256), Bitrate::kbps(256)),
        (Bitrate::bps(262_143), Bitrate::bps(262_143)),
        (Bitrate::bps(262_145), Bitrate::bps(262_144)),
        (Bitrate::INFINITE, Bitrate::bps(0x3FFFF << 46)),
    ] {
        let packet = written(|compound| assert!(compound.remb(1, given, &[5, 6])));
        let Element::Remb {
            sender: 1,
            bitrate,
            ssrcs,
        } = only(&packet)
        else {
            panic!()
        };
        assert_eq!(bitrate, read);
        assert_eq!(ssrcs.collect::<Vec<_>>(), [5, 6]);
    }
}

#[test]
fn a_bitrate_beyond_64_bits_has_no_limit() {
    let mut packet = written(|compound| assert!(compound.remb(1, Bitrate::bps(1), &[])));
    packet[17] = 63 << 2;
    assert!(
        matches!(only(&packet), Element::Remb { bitrate, .. } if bitrate == Bitrate::bps(1 << 63))
    );
    packet[19] = 2;
    assert!(matches!(only(&packet), Element::Remb { bitrate, .. } if bitrate == Bitrate::INFINITE));
}

#[test]
fn t30_a_remb_count_must_match_its_room() {
    let mut packet = written(|compound| assert!(compound.remb(1, Bitrate::kbps(1), &[5])));
    for count in [0, 2, 255] {
        packet[16] = count;
        assert_eq!(errors(&packet), (0, Some(WireError::Length)));
    }
}

#[test]
fn transport_feedback_keeps_its_body_without_padding() {
    for len in 8..=12 {
        let body: Vec<u8> = (1..=len).collect();
        let packet = written(|compound| assert!(compound.transport_feedback(1, 2, &body)));
        assert!(packet.len().is_multiple_of(4));
        assert_eq!(packet[0] & PADDING_BIT != 0, len % 4 != 0);
        let Element::TransportFeedback {
            sender: 1,
            media: 2,
            body: read,
        } = only(&packet)
        else {
            panic!()
        };
        assert_eq!(read, body);
    }
}

#[test]
fn a_source_description_ends_with_zeros() {
    let packet = written(|compound| {
        assert!(compound.cname(1, "ab"));
        assert!(compound.cname(1, "abcde"));
        assert!(!compound.cname(1, &"x".repeat(256)));
    });
    assert_eq!(
        packet[..16],
        [0x81, 202, 0, 3, 0, 0, 0, 1, 1, 2, b'a', b'b', 0, 0, 0, 0]
    );
    assert_eq!(
        packet[16..],
        [
            0x81, 202, 0, 3, 0, 0, 0, 1, 1, 5, b'a', b'b', b'c', b'd', b'e', 0
        ]
    );
    assert!(elements(&packet).all(|element| matches!(element, Ok(Element::Other(202)))));
}

#[test]
fn media_plane_case_55_every_element_of_a_compound_is_seen() {
    let packet = written(|compound| {
        assert!(compound.sender_report(&SenderInfo::default(), &[]));
        assert!(compound.cname(1, "x"));
        assert!(compound.pli(1, 2));
    });
    let kinds: Vec<_> = elements(&packet).map(Result::unwrap).collect();
    assert!(matches!(
        kinds[..],
        [
            Element::SenderReport { .. },
            Element::Other(202),
            Element::Pli { .. }
        ]
    ));
}

#[test]
fn t42_a_malformed_element_ends_the_compound_but_not_what_came_before() {
    let good = written(|compound| assert!(compound.pli(1, 2)));
    for (bad, error) in [
        (&[0x81, 206, 0, 2][..], WireError::Truncated),
        (&[0x81, 206, 0, 0], WireError::Truncated),
        (&[0x81, 206], WireError::Truncated),
        (&[0x41, 206, 0, 0], WireError::Version),
        (&[0xA1, 206, 0, 0], WireError::Padding),
        (&[0xA1, 206, 0, 1, 0, 0, 0, 0], WireError::Padding),
        (&[0xA1, 206, 0, 1, 0, 0, 0, 5], WireError::Padding),
        (
            &[0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2],
            WireError::Truncated,
        ),
        (
            &[
                0x9F, 201, 0, 7, 0, 0, 0, 1, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                0, 0, 0, 0, 0, 0,
            ],
            WireError::Truncated,
        ),
        (
            &[0x84, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3],
            WireError::Truncated,
        ),
        (
            &[
                0x84, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
            WireError::Length,
        ),
    ] {
        // Where the bad element has the length that it claims, a good one follows.
        let claimed = 4 + 4 * bad.get(3).map_or(0, |words| usize::from(*words));
        let follower = if bad.len() == claimed { &good[..] } else { &[] };
        let compound = [&good[..], bad, follower].concat();
        assert_eq!(errors(&compound), (1, Some(error)), "{bad:02x?}");
    }
}

#[test]
fn t42_at_most_64_elements_are_looked_at() {
    let receiver_report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    assert_eq!(
        errors(&receiver_report.repeat(MAX_RTCP_ELEMENTS)),
        (MAX_RTCP_ELEMENTS, None)
    );
    assert_eq!(
        errors(&receiver_report.repeat(MAX_RTCP_ELEMENTS + 1)),
        (MAX_RTCP_ELEMENTS, Some(WireError::TooMany))
    );
}

#[test]
fn t43_goodbyes_and_unknown_types_are_named_and_nothing_more() {
    // BYE whose reason is longer than its room, APP, XR, an unknown payload-specific message.
    let packet = [
        &[0x81, 203, 0, 2, 0, 0, 0, 1, 255, 0, 0, 0][..],
        &[0x80, 204, 0, 0],
        &[0x80, 207, 0, 1, 0, 0, 0, 0],
        &[
            0x8F, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, b'N', b'O', b'P', b'E',
        ],
    ]
    .concat();
    let kinds: Vec<_> = elements(&packet).map(Result::unwrap).collect();
    assert!(matches!(
        kinds[..],
        [
            Element::Bye,
            Element::Other(204),
            Element::Other(207),
            Element::Other(206)
        ]
    ));
}

#[test]
fn an_element_that_does_not_fit_leaves_the_compound_as_it_was() {
    let mut buffer = [0; 12 + 31];
    let mut compound = Compound::new(&mut buffer);
    assert!(compound.pli(1, 2));
    assert!(!compound.receiver_report(1, &[BLOCK]));
    assert!(!compound.nack(1, 2, (0..200).step_by(20)));
    assert!(!compound.remb(1, Bitrate::kbps(1), &[1; 4]));
    assert!(!compound.transport_feedback(1, 2, &[0; 20]));
    assert_eq!((compound.len(), compound.room()), (12, 31));
    assert!(compound.receiver_report(1, &[]));
    assert_eq!(errors(&buffer[..20]), (2, None));
}

proptest! {
    #[test]
    fn a_nack_names_exactly_what_is_lost(
        start: u16, steps in proptest::collection::vec(1u16..40, 1..100),
    ) {
        let lost: Vec<u16> = steps
            .iter()
            .scan(start, |sequence, step| {
                *sequence = sequence.wrapping_add(*step);
                Some(*sequence)
            })
            .collect();
        let packet = written(|compound| assert!(compound.nack(1, 2, lost.iter().copied())));
        let Element::Nack { lost: read, .. } = only(&packet) else { panic!() };
        prop_assert_eq!(read.collect::<Vec<_>>(), lost);
    }

    #[test]
    fn t42_any_bytes_give_a_bounded_number_of_elements(
        words in proptest::collection::vec(
            prop_oneof![
                any::<[u8; 4]>(),
                (0x80u8..=0xBF, 198u8..=208, Just(0u8), 0u8..12).prop_map(|(a, b, c, d)| [a, b, c, d]),
            ],
            0..375,
        ),
        cut in 0usize..4,
    ) {
        let mut packet = words.concat();
        packet.truncate(packet.len().saturating_sub(cut));
        let mut seen = 0;
        for element in elements(&packet) {
            seen += 1;
            match element {
                Ok(Element::SenderReport { reports, .. } | Element::ReceiverReport { reports, .. }) => {
                    prop_assert!(reports.count() <= 31);
                }
                Ok(Element::Nack { lost, .. }) => prop_assert!(lost.count() <= 17 * 375),
                Ok(Element::Fir { entries, .. }) => prop_assert!(entries.count() <= 187),
                Ok(Element::Remb { ssrcs, .. }) => prop_assert!(ssrcs.count() <= 255),
                _ => {}
            }
        }
        prop_assert!(seen <= MAX_RTCP_ELEMENTS + 1);
    }
}

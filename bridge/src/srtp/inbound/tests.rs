//! Tests of opening.

use super::*;
use crate::srtp::testing::{
    PROFILES, RTP_LEN, SSRC, inbound, open, open_rtcp, outbound, rtcp_index, seal_rtcp, sealed,
};
use crate::wire::rtp::set_sequence;
use proptest::prelude::*;

#[test]
fn media_plane_case_37_packets_around_a_wrap_are_opened_in_any_order() {
    for profile in PROFILES {
        let mut inbound = inbound(profile);
        for index in [65_535, 65_536, 65_534] {
            assert_eq!(open(&mut inbound, &sealed(profile, SSRC, index)), Ok(index));
        }
    }
}

#[test]
fn t27_media_plane_case_38_a_packet_is_accepted_once_and_not_behind_the_window() {
    const NEWEST: u64 = 70_000;
    for profile in PROFILES {
        let mut inbound = inbound(profile);
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, 60_000)),
            Ok(60_000)
        );
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, NEWEST)),
            Ok(NEWEST)
        );
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, NEWEST)),
            Err(OpenError::Replay)
        );
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, 60_000)),
            Err(OpenError::TooOld)
        );
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, NEWEST - 1_024)),
            Err(OpenError::TooOld)
        );
        let oldest = sealed(profile, SSRC, NEWEST - 1_023);
        assert_eq!(open(&mut inbound, &oldest), Ok(NEWEST - 1_023));
        assert_eq!(open(&mut inbound, &oldest), Err(OpenError::Replay));
    }
}

#[test]
fn t27_a_replay_is_refused_however_much_came_in_between() {
    for newer in [1, 1_023, 1_025, 3_000] {
        for start in [100, 65_000] {
            let profile = Profile::AeadAes128Gcm;
            let mut inbound = inbound(profile);
            let first = sealed(profile, SSRC, start);
            assert_eq!(open(&mut inbound, &first), Ok(start));
            for index in start + 1..=start + newer {
                assert_eq!(open(&mut inbound, &sealed(profile, SSRC, index)), Ok(index));
            }
            assert!(matches!(
                open(&mut inbound, &first),
                Err(OpenError::Replay | OpenError::TooOld)
            ));
        }
    }
}

#[test]
fn t28_a_stream_whose_start_was_lost_behind_the_wrap_is_found() {
    for profile in PROFILES {
        let mut inbound = inbound(profile);
        // The sender began at 65 530 and the first packets were lost or come later.
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, 65_538)),
            Ok(65_538)
        );
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, 65_533)),
            Ok(65_533)
        );
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, 65_539)),
            Ok(65_539)
        );
    }
}

#[test]
fn t28_gaps_below_half_the_numbers_are_guessed() {
    let profile = Profile::AeadAes128Gcm;
    let mut inbound = inbound(profile);
    for index in [50_000, 70_000, 102_767, 135_000] {
        assert_eq!(open(&mut inbound, &sealed(profile, SSRC, index)), Ok(index));
    }
}

#[test]
fn t28_a_longer_gap_is_found_by_a_trial() {
    for profile in PROFILES {
        for start in [1_000, 40_000, 65_536 + 1_000, 65_536 + 40_000] {
            for gap in [33_000, 40_000, 65_000, 65_536, 65_600] {
                let mut inbound = inbound(profile);
                if start > 65_535 {
                    assert_eq!(
                        open(&mut inbound, &sealed(profile, SSRC, 65_000)),
                        Ok(65_000)
                    );
                }
                assert_eq!(open(&mut inbound, &sealed(profile, SSRC, start)), Ok(start));
                // The very number that is in the window already looks like a replay.
                let index = start + gap + u64::from(gap == 65_536);
                assert_eq!(
                    open(&mut inbound, &sealed(profile, SSRC, index)),
                    Ok(index),
                    "{start} {gap}"
                );
                assert_eq!(
                    open(&mut inbound, &sealed(profile, SSRC, index + 1)),
                    Ok(index + 1)
                );
            }
        }
    }
}

#[test]
fn t28_forged_numbers_do_not_move_the_index() {
    for profile in PROFILES {
        let mut inbound = inbound(profile);
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, 65_000)),
            Ok(65_000)
        );
        for step in 0..1_000u16 {
            let mut forged = sealed(profile, SSRC, 65_000);
            set_sequence(
                &mut forged,
                65_001u16.wrapping_add(step.wrapping_mul(30_000)),
            );
            assert!(open(&mut inbound, &forged).is_err());
        }
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, 65_600)),
            Ok(65_600)
        );
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, 65_001)),
            Ok(65_001)
        );
    }
}

#[test]
fn t28_a_gap_is_found_again_although_forged_packets_use_up_trials() {
    let profile = Profile::AeadAes128Gcm;
    let mut inbound = inbound(profile);
    assert_eq!(open(&mut inbound, &sealed(profile, SSRC, 10)), Ok(10));
    let mut forged = sealed(profile, SSRC, 11);
    forged[RTP_LEN] ^= 1;
    assert_eq!(open(&mut inbound, &forged), Err(OpenError::NotAuthentic));
    let found = (40_000..40_000 + u64::from(ROLLOVER_TRIAL_INTERVAL))
        .position(|index| open(&mut inbound, &sealed(profile, SSRC, index)).is_ok());
    assert_eq!(found, Some(usize::from(ROLLOVER_TRIAL_INTERVAL) - 1));
}

#[test]
fn t26_whatever_bit_is_changed_nothing_is_opened_and_nothing_leaks() {
    for profile in PROFILES {
        let genuine = sealed(profile, SSRC, 7);
        let header = RtpHeader::parse(&genuine).unwrap();
        let mut inbound = inbound(profile);
        for bit in 0..8 * genuine.len() {
            let mut forged = genuine.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let mut out = [0xEE; 100];
            // The header is that of the genuine packet: its index is guessed right.
            assert_eq!(
                inbound.open_rtp(&header, &forged, &mut out),
                Err(OpenError::NotAuthentic)
            );
            let payload = &out[12..RTP_LEN];
            assert!(
                payload.iter().all(|byte| *byte == 0) || payload.iter().all(|byte| *byte == 0xEE)
            );
        }
        assert_eq!(open(&mut inbound, &genuine), Ok(7));
    }
}

#[test]
fn t31_media_plane_case_39_unknown_ssrcs_leave_no_trace() {
    let profile = Profile::AeadAes128Gcm;
    let mut inbound = inbound(profile);
    assert_eq!(
        open(&mut inbound, &sealed(profile, SSRC, 65_535)),
        Ok(65_535)
    );
    for ssrc in 0..5_000 {
        // Even valid tags do not help.
        assert_eq!(
            open(&mut inbound, &sealed(profile, ssrc, 1)),
            Err(OpenError::UnknownSsrc)
        );
    }
    assert_eq!(
        (
            inbound.ssrcs.len(),
            inbound.streams.len(),
            inbound.retired.len()
        ),
        (1, 1, 0)
    );
    assert_eq!(
        open(&mut inbound, &sealed(profile, SSRC, 65_536)),
        Ok(65_536)
    );
}

#[test]
fn t31_the_65th_ssrc_is_refused() {
    let mut inbound = Inbound::new(Profile::AeadAes128Gcm, &[0; 16], &[0; 14]);
    for ssrc in 0..MAX_SSRCS_PER_ENDPOINT as u32 {
        assert_eq!(inbound.allow(ssrc), Ok(()));
    }
    assert_eq!(inbound.allow(64), Err(Full));
    assert_eq!(inbound.allow(63), Ok(()), "allowed already");
    inbound.disallow(5);
    assert!(!inbound.is_allowed(5));
    assert_eq!(inbound.allow(64), Ok(()));
}

#[test]
fn t27_an_ssrc_that_returns_goes_on_where_it_was() {
    for profile in PROFILES {
        let mut inbound = inbound(profile);
        for index in [65_500, 65_600] {
            assert_eq!(open(&mut inbound, &sealed(profile, SSRC, index)), Ok(index));
        }
        inbound.disallow(SSRC);
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, 65_601)),
            Err(OpenError::UnknownSsrc)
        );
        assert_eq!(inbound.allow(SSRC), Ok(()));
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, 65_600)),
            Err(OpenError::Replay)
        );
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, 65_603)),
            Ok(65_603)
        );
        assert_eq!(
            open(&mut inbound, &sealed(profile, SSRC, 65_602)),
            Ok(65_602)
        );
    }
}

#[test]
fn t31_ssrcs_that_come_and_go_are_bounded_and_never_forgotten() {
    let profile = Profile::AeadAes128Gcm;
    let mut inbound = inbound(profile);
    let mut ssrc = 0;
    while inbound.allow(ssrc) == Ok(()) {
        assert_eq!(open(&mut inbound, &sealed(profile, ssrc, 9)), Ok(9));
        inbound.disallow(ssrc);
        ssrc += 1;
    }
    assert_eq!(ssrc as usize, MAX_RETIRED_SSRCS - 1);
    assert_eq!(inbound.allow(0), Ok(()));
    assert_eq!(
        open(&mut inbound, &sealed(profile, 0, 9)),
        Err(OpenError::Replay)
    );
}

#[test]
fn t30_every_size_of_datagram_and_output_gives_a_value_or_an_error() {
    for profile in PROFILES {
        let mut inbound = inbound(profile);
        inbound.allow(0).unwrap();
        let mut out = [0; 128];
        for len in 12..=80 {
            for (flags, words) in [
                (0x80, 0u16),
                (0x8F, 0),
                (0x90, 0),
                (0x90, 3),
                (0x9F, 1),
                (0x90, 0xFFFF),
            ] {
                for profile_bytes in [[0xBE, 0xDE], [0xC0, 0xDE]] {
                    let mut packet = vec![0; len];
                    packet[0] = flags;
                    let at = 12 + 4 * usize::from(flags & 0x0F);
                    if len >= at + 4 {
                        packet[at..at + 2].copy_from_slice(&profile_bytes);
                        packet[at + 2..at + 4].copy_from_slice(&words.to_be_bytes());
                    }
                    if let Ok(header) = RtpHeader::parse(&packet) {
                        let too_short = len < usize::from(header.payload_start) + profile.tag_len();
                        let expected = if too_short {
                            OpenError::TooShort
                        } else {
                            OpenError::NotAuthentic
                        };
                        assert_eq!(inbound.open_rtp(&header, &packet, &mut out), Err(expected));
                    }
                }
            }
        }
        for len in 0..=80 {
            let mut packet = vec![0xFF; len];
            packet.iter_mut().take(8).for_each(|byte| *byte = 0x80);
            let expected = if len < 8 + profile.rtcp_overhead() {
                OpenError::TooShort
            } else {
                OpenError::NotAuthentic
            };
            assert_eq!(inbound.open_rtcp(&packet, &mut out), Err(expected));
        }
    }
}

#[test]
fn t30_a_header_of_another_packet_is_no_danger() {
    let genuine = sealed(Profile::AeadAes128Gcm, SSRC, 1);
    let header = RtpHeader::parse(&genuine).unwrap();
    let mut out = [0; 128];
    for len in 0..genuine.len() {
        assert!(
            inbound(Profile::AeadAes128Gcm)
                .open_rtp(&header, &genuine[..len], &mut out)
                .is_err()
        );
    }
    let far = RtpHeader {
        payload_start: u16::MAX,
        ..header
    };
    let opened = inbound(Profile::AeadAes128Gcm).open_rtp(&far, &genuine, &mut out);
    assert_eq!(opened, Err(OpenError::TooShort));
}

#[test]
fn an_output_without_room_is_an_error() {
    for profile in PROFILES {
        let packet = sealed(profile, SSRC, 1);
        let header = RtpHeader::parse(&packet).unwrap();
        let mut out = [0; RTP_LEN];
        let mut inbound = inbound(profile);
        let short = &mut out[..RTP_LEN - 1];
        assert_eq!(
            inbound.open_rtp(&header, &packet, short),
            Err(OpenError::NoRoom)
        );
        assert!(inbound.open_rtp(&header, &packet, &mut out).is_ok());
        let report = seal_rtcp(&mut outbound(profile), 1);
        assert_eq!(
            inbound.open_rtcp(&report, &mut out[..11]),
            Err(OpenError::NoRoom)
        );
        assert_eq!(inbound.open_rtcp(&report, &mut out[..12]), Ok(12));
    }
}

#[test]
fn t27_srtcp_is_accepted_once_for_every_sender() {
    for profile in PROFILES {
        let (mut inbound, mut outbound) = (inbound(profile), outbound(profile));
        // A sender that was never signaled: browsers use SSRC 1 when they only receive.
        let packets: Vec<_> = (0..200).map(|_| seal_rtcp(&mut outbound, 1)).collect();
        let other = seal_rtcp(&mut outbound, 2);
        assert_eq!(open_rtcp(&mut inbound, &packets[150]), Ok(()));
        assert_eq!(
            open_rtcp(&mut inbound, &packets[150]),
            Err(OpenError::Replay)
        );
        assert_eq!(open_rtcp(&mut inbound, &packets[150 - 127]), Ok(()));
        assert_eq!(
            open_rtcp(&mut inbound, &packets[150 - 128]),
            Err(OpenError::TooOld)
        );
        assert_eq!(open_rtcp(&mut inbound, &packets[199]), Ok(()));
        assert_eq!(open_rtcp(&mut inbound, &other), Ok(()));
    }
}

#[test]
fn t43_srtcp_without_encryption_is_refused() {
    for profile in PROFILES {
        let mut packet = seal_rtcp(&mut outbound(profile), 1);
        assert_eq!(rtcp_index(profile, &packet), (true, 0));
        let at = packet.len()
            - if profile == Profile::AeadAes128Gcm {
                4
            } else {
                14
            };
        packet[at] &= 0x7F;
        assert_eq!(
            inbound(profile).open_rtcp(&packet, &mut [0; 64]),
            Err(OpenError::NotEncrypted)
        );
    }
}

#[test]
fn t26_forged_srtcp_opens_nothing_and_leaves_no_trace() {
    for profile in PROFILES {
        let genuine = seal_rtcp(&mut outbound(profile), 1);
        let mut inbound = inbound(profile);
        for bit in 0..8 * genuine.len() {
            let mut forged = genuine.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(inbound.open_rtcp(&forged, &mut [0; 64]).is_err());
        }
        assert!(inbound.rtcp_senders.is_empty());
        assert_eq!(open_rtcp(&mut inbound, &genuine), Ok(()));
    }
}

#[test]
fn t31_senders_of_srtcp_are_bounded() {
    let profile = Profile::AeadAes128Gcm;
    let (mut inbound, mut outbound) = (inbound(profile), outbound(profile));
    for sender in 0..MAX_RTCP_SENDERS as u32 {
        assert_eq!(
            open_rtcp(&mut inbound, &seal_rtcp(&mut outbound, sender)),
            Ok(())
        );
    }
    let late = seal_rtcp(&mut outbound, u32::MAX);
    assert_eq!(open_rtcp(&mut inbound, &late), Err(OpenError::UnknownSsrc));
    assert_eq!(
        open_rtcp(&mut inbound, &seal_rtcp(&mut outbound, 5)),
        Ok(())
    );
}

proptest! {
    #[test]
    fn t27_t28_any_order_with_loss_and_replay_opens_each_packet_at_most_once(
        start in prop_oneof![0u64..100, 64_000u64..67_000],
        steps in proptest::collection::vec((-600i64..900, any::<bool>()), 1..120),
    ) {
        let profile = Profile::AeadAes128Gcm;
        let mut inbound = inbound(profile);
        let mut opened = std::collections::BTreeSet::new();
        let mut at = start as i64;
        for (step, twice) in steps {
            at = (at + step).max(0);
            let index = at as u64;
            for _ in 0..=u8::from(twice) {
                let fresh = !opened.contains(&index)
                    && opened.last().is_none_or(|highest| index + 1_024 > *highest);
                let result = open(&mut inbound, &sealed(profile, SSRC, index));
                prop_assert_eq!(result.is_ok(), fresh, "{} {:?}", index, result);
                if fresh {
                    prop_assert_eq!(result, Ok(index));
                    opened.insert(index);
                }
            }
        }
    }
}

//! Tests of sealing.

use super::*;
use crate::srtp::testing::{
    KEY, PROFILES, RTP_LEN, SALT, SSRC, inbound, outbound, rtcp_index, rtp, seal_rtcp, sealed,
};
use crate::wire::extensions::{HeaderBuilder, elements};
use crate::wire::rtp::RtpHeader;

#[test]
fn media_plane_case_41_srtcp_is_encrypted_and_counts_from_0_for_every_sender() {
    for profile in PROFILES {
        let mut outbound = outbound(profile);
        for index in 0..5 {
            for sender in [1, 0xFFFF_FFFF, 7] {
                assert_eq!(
                    rtcp_index(profile, &seal_rtcp(&mut outbound, sender)),
                    (true, index)
                );
            }
        }
    }
}

#[test]
fn t29_a_full_table_of_senders_never_repeats_an_index() {
    let mut indices = RtcpIndices::default();
    let mut used = std::collections::BTreeSet::new();
    for round in 0..3 {
        for sender in 0..2 * MAX_RTCP_INDICES as u32 {
            for _ in 0..=sender % 3 {
                let index = indices.take(sender).unwrap();
                assert!(
                    used.insert((sender, index)),
                    "round {round}: {sender} {index}"
                );
                assert!(indices.next.len() <= MAX_RTCP_INDICES);
            }
        }
    }
}

#[test]
fn t29_indices_run_out_instead_of_starting_again() {
    let mut indices = RtcpIndices {
        next: vec![(1, RTCP_ENCRYPTED - 1)],
        floor: 0,
    };
    assert_eq!(indices.take(1), Some(RTCP_ENCRYPTED - 1));
    assert_eq!(indices.take(1), None);
    assert_eq!(indices.take(1), None);
    assert_eq!(indices.take(2), Some(0));

    let mut packet = rtp(SSRC, 0);
    packet.resize(100, 0);
    let sealed = outbound(PROFILES[0]).seal_rtp(SSRC, 1 << 48, &mut packet, 12, RTP_LEN);
    assert_eq!(sealed, Err(SealError::Exhausted));
}

#[test]
fn a_buffer_without_room_is_an_error() {
    for profile in PROFILES {
        let mut outbound = outbound(profile);
        let needed = RTP_LEN + outbound.overhead();
        for room in 0..needed {
            let mut packet = rtp(SSRC, 1);
            packet.resize(room, 0);
            let result = outbound.seal_rtp(SSRC, 1, &mut packet, 12, RTP_LEN);
            assert_eq!(result, Err(SealError::NoRoom), "{profile:?} {room}");
        }
        let mut packet = rtp(SSRC, 2);
        packet.resize(needed, 0);
        assert_eq!(
            outbound.seal_rtp(SSRC, 2, &mut packet, 11, RTP_LEN),
            Err(SealError::NoRoom)
        );
        assert_eq!(
            outbound.seal_rtp(SSRC, 2, &mut packet, RTP_LEN + 1, RTP_LEN),
            Err(SealError::NoRoom)
        );
        assert_eq!(
            outbound.seal_rtp_from(SSRC, 2, &mut packet, 12, &[0; 21]),
            Err(SealError::NoRoom)
        );
        assert_eq!(outbound.seal_rtcp(&mut [0; 64], 7), Err(SealError::NoRoom));
        assert_eq!(outbound.seal_rtcp(&mut [0; 21], 8), Err(SealError::NoRoom));
        // No index was used up by the failures.
        assert_eq!(rtcp_index(profile, &seal_rtcp(&mut outbound, 0)), (true, 0));
    }
}

#[test]
fn a_payload_from_elsewhere_gives_the_same_packet() {
    for profile in PROFILES {
        for index in [1, 65_536 + 5] {
            let plain = rtp(SSRC, index as u16);
            let mut packet = [0; RTP_LEN + 16];
            packet[..12].copy_from_slice(&plain[..12]);
            let mut outbound = outbound(profile);
            let len = outbound
                .seal_rtp_from(SSRC, index, &mut packet, 12, &plain[12..])
                .unwrap();
            assert_eq!(packet[..len], sealed(profile, SSRC, index));
        }
    }
}

#[test]
fn t29_the_same_bytes_may_be_sealed_again() {
    for profile in PROFILES {
        let mut outbound = outbound(profile);
        let seal = |outbound: &mut Outbound| {
            let mut packet = rtp(SSRC, 9);
            packet.resize(RTP_LEN + 16, 0);
            outbound
                .seal_rtp(SSRC, 9, &mut packet, 12, RTP_LEN)
                .unwrap();
            packet
        };
        assert_eq!(seal(&mut outbound), seal(&mut outbound));
    }
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "two packets of SSRC 0xcafebabe under index 65545")]
fn t29_media_plane_case_40_a_changed_packet_under_a_used_index_is_noticed() {
    let mut outbound = outbound(PROFILES[0]);
    for last_byte in [1, 2] {
        let mut packet = rtp(SSRC, 9);
        packet[RTP_LEN - 1] = last_byte;
        packet.resize(RTP_LEN + 16, 0);
        outbound
            .seal_rtp(SSRC, 65_536 + 9, &mut packet, 12, RTP_LEN)
            .unwrap();
    }
}

fn with_level(ids: &[(u8, &[u8])], buffer: &mut [u8]) -> (usize, usize) {
    let header = HeaderBuilder {
        payload_type: 111,
        sequence: 3,
        ssrc: SSRC,
        ..HeaderBuilder::default()
    };
    let header_len = header.write(buffer, ids).unwrap();
    buffer[header_len..header_len + 20].fill(0xAB);
    (header_len, header_len + 20)
}

#[test]
fn media_plane_case_42_cryptex_hides_the_extension_and_comes_back() {
    for profile in PROFILES {
        for (ids, expected) in [
            (&[(1u8, &[0x85u8][..])][..], [0xC0, 0xDE]),
            (&[(20, &[0x85])], [0xC2, 0xDE]),
        ] {
            let mut buffer = [0; 100];
            let (header_len, len) = with_level(ids, &mut buffer);
            let plain = buffer[..len].to_vec();
            let mut outbound = Outbound::new(profile, &KEY, &SALT);
            outbound.set_cryptex(true);
            let sealed = outbound
                .seal_rtp(SSRC, 3, &mut buffer, header_len, len)
                .unwrap();
            assert_eq!(buffer[12..14], expected);
            assert_ne!(buffer[16..20], plain[16..20]);

            let header = RtpHeader::parse(&buffer[..sealed]).unwrap();
            let mut out = [0; 100];
            let opened = inbound(profile)
                .open_rtp(&header, &buffer[..sealed], &mut out)
                .unwrap();
            assert_eq!(out[..opened.len], plain);
            assert_eq!(elements(&header, &out).collect::<Vec<_>>(), ids);
        }
    }
}

#[test]
fn media_plane_case_42_without_cryptex_the_extension_stays_readable() {
    for profile in PROFILES {
        let mut buffer = [0; 100];
        let (header_len, len) = with_level(&[(1, &[0x85])], &mut buffer);
        let plain = buffer;
        let mut outbound = Outbound::new(profile, &KEY, &SALT);
        outbound
            .seal_rtp(SSRC, 3, &mut buffer, header_len, len)
            .unwrap();
        assert_eq!(buffer[..header_len], plain[..header_len]);
        assert_ne!(buffer[header_len..len], plain[header_len..len]);
    }
}

#[test]
fn cryptex_has_nothing_to_do_without_an_extension() {
    for profile in PROFILES {
        let mut packet = rtp(SSRC, 1);
        packet.resize(RTP_LEN + profile.tag_len(), 0);
        let mut outbound = outbound(profile);
        outbound.set_cryptex(true);
        outbound
            .seal_rtp(SSRC, 1, &mut packet, 12, RTP_LEN)
            .unwrap();
        assert_eq!(packet, sealed(profile, SSRC, 1));
    }
}

//! Our SRTP against an independent implementation: both must make the same bytes, and open the other's.

use super::testing::{KEY, PROFILES, SALT};
use super::{Inbound, Outbound, Profile};
use crate::wire::rtp::RtpHeader;
use proptest::prelude::*;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

fn reference(profile: Profile) -> Context {
    let theirs = match profile {
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    let provider = rtc_srtp::crypto::default_provider().expect("provider");
    let salt = &SALT[..profile.salt_len()];
    Context::new(&KEY, salt, theirs, None, None, provider.crypto()).expect("context")
}

/// A packet with CSRCs, an extension in the one-byte form, and a payload.
fn packet(ssrc: u32, sequence: u16, csrcs: u8, extension: Option<u8>, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80 | csrcs, 0xE4];
    packet.extend(sequence.to_be_bytes());
    packet.extend(u32::from(sequence).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..4 * csrcs).map(|byte| byte ^ 0x5A));
    if let Some(byte) = extension {
        packet[0] |= 0x10;
        packet.extend([0xBE, 0xDE, 0, 2, 0x10, byte, 0x24, 1, 2, 3, 4, 5]);
    }
    packet.extend(payload);
    packet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rtp_is_the_same_with_any_header_and_across_wraps(
        start in 60_000u16..=65_535,
        packets in proptest::collection::vec(
            (
                any::<bool>(),
                1u16..3_000,
                0u8..=15,
                proptest::option::of(any::<u8>()),
                proptest::collection::vec(any::<u8>(), 0..200),
            ),
            1..40,
        ),
    ) {
        for profile in PROFILES {
            let (mut theirs_out, mut theirs_in) = (reference(profile), reference(profile));
            let mut ours_out = Outbound::new(profile, &KEY, &SALT);
            let mut ours_in = Inbound::new(profile, &KEY, &SALT);
            let mut indices = [u64::from(start); 2];
            for (which, step, csrcs, extension, payload) in &packets {
                let ssrc = 0x1234_5678 + u32::from(*which);
                ours_in.allow(ssrc).unwrap();
                let index = &mut indices[usize::from(*which)];
                *index += u64::from(*step);
                let plain = packet(ssrc, *index as u16, *csrcs, *extension, payload);

                // Their context counts rollovers from its first packet on: let it begin in period 0.
                if *index > 65_535 && *index - u64::from(*step) == u64::from(start) {
                    let first = packet(ssrc, start, 0, None, &[]);
                    let sealed = theirs_out.encrypt_rtp(&first).unwrap();
                    theirs_in.decrypt_rtp(&sealed).unwrap();
                    let header = RtpHeader::parse(&sealed).unwrap();
                    ours_in.open_rtp(&header, &sealed, &mut [0; 64]).unwrap();
                }

                let header_len = usize::from(RtpHeader::parse(&plain).unwrap().payload_start);
                let mut sealed = plain.clone();
                sealed.resize(plain.len() + ours_out.overhead(), 0);
                let len = ours_out.seal_rtp(ssrc, *index, &mut sealed, header_len, plain.len());
                prop_assert_eq!(len, Ok(sealed.len()));
                prop_assert_eq!(&sealed[..], &theirs_out.encrypt_rtp(&plain).unwrap()[..]);
                prop_assert_eq!(&theirs_in.decrypt_rtp(&sealed).unwrap()[..], &plain[..]);

                let header = RtpHeader::parse(&sealed).unwrap();
                let mut out = vec![0; sealed.len()];
                let opened = ours_in.open_rtp(&header, &sealed, &mut out).unwrap();
                prop_assert_eq!(opened.index, *index);
                prop_assert_eq!(&out[..opened.len], &plain[..]);
            }
        }
    }

    #[test]
    fn rtcp_is_the_same(
        bodies in proptest::collection::vec(
            (0u32..3, proptest::collection::vec(any::<[u8; 4]>(), 0..60)), 1..30,
        ),
    ) {
        for profile in PROFILES {
            let (mut theirs_out, mut theirs_in) = (reference(profile), reference(profile));
            let mut ours_out = Outbound::new(profile, &KEY, &SALT);
            let mut ours_in = Inbound::new(profile, &KEY, &SALT);
            for sender in 0..3u32 {
                // Their indices begin at 1: use up ours at 0.
                let mut first = [&[0x80, 201, 0, 1][..], &sender.to_be_bytes(), &[0; 20]].concat();
                ours_out.seal_rtcp(&mut first, 8).unwrap();
            }
            for (sender, words) in &bodies {
                let mut plain = vec![0x80, 201, 0, words.len() as u8 + 1];
                plain.extend(sender.to_be_bytes());
                plain.extend(words.concat());
                let mut sealed = plain.clone();
                sealed.resize(plain.len() + ours_out.rtcp_overhead(), 0);
                let len = ours_out.seal_rtcp(&mut sealed, plain.len());
                prop_assert_eq!(len, Ok(sealed.len()));
                prop_assert_eq!(&sealed[..], &theirs_out.encrypt_rtcp(&plain).unwrap()[..]);
                prop_assert_eq!(&theirs_in.decrypt_rtcp(&sealed).unwrap()[..], &plain[..]);

                let mut out = vec![0; sealed.len()];
                let len = ours_in.open_rtcp(&sealed, &mut out).unwrap();
                prop_assert_eq!(&out[..len], &plain[..]);
            }
        }
    }
}

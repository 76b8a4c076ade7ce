//! SRTP and SRTCP: forged datagrams, and whatever an authentic peer may put into one.

#![no_main]

use causeway_bridge::srtp::{Inbound, Outbound, Profile};
use causeway_bridge::wire::rtp::RtpHeader;
use libfuzzer_sys::fuzz_target;

const KEY: [u8; 16] = [7; 16];
const SALT: [u8; 14] = [9; 14];

fuzz_target!(|datagram: &[u8]| {
    for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
        let mut inbound = Inbound::new(profile, &KEY, &SALT);
        let mut out = vec![0; datagram.len()];
        assert!(inbound.open_rtcp(datagram, &mut out).is_err(), "forged");
        let Ok(header) = RtpHeader::parse(datagram) else {
            continue;
        };
        assert!(
            inbound.open_rtp(&header, datagram, &mut out).is_err(),
            "unknown SSRC"
        );
        inbound.allow(header.ssrc).expect("first SSRC");
        assert!(
            inbound.open_rtp(&header, datagram, &mut out).is_err(),
            "forged"
        );

        let mut outbound = Outbound::new(profile, &KEY, &SALT);
        outbound.set_cryptex(datagram.len() % 2 == 1);
        let mut sealed = datagram.to_vec();
        sealed.resize(datagram.len() + outbound.overhead(), 0);
        let header_len = usize::from(header.payload_start);
        let index = u64::from(header.sequence);
        let len = outbound.seal_rtp(header.ssrc, index, &mut sealed, header_len, datagram.len());
        assert_eq!(len, Ok(sealed.len()));
        // A plain packet that claims to be one of cryptex is sealed as it is, and opened as cryptex.
        if !header.is_cryptex() {
            let header = RtpHeader::parse(&sealed).expect("header");
            let opened = inbound
                .open_rtp(&header, &sealed, &mut out)
                .expect("authentic");
            assert_eq!(opened.index, index);
            assert_eq!(out[header_len..opened.len], datagram[header_len..]);
            assert!(
                inbound.open_rtp(&header, &sealed, &mut out).is_err(),
                "replay"
            );
        }

        let mut sealed = datagram.to_vec();
        sealed.resize(datagram.len() + outbound.rtcp_overhead(), 0);
        assert_eq!(
            outbound.seal_rtcp(&mut sealed, datagram.len()),
            Ok(sealed.len())
        );
        assert_eq!(inbound.open_rtcp(&sealed, &mut out), Ok(datagram.len()));
        assert_eq!(out, datagram);
        assert!(inbound.open_rtcp(&sealed, &mut out).is_err(), "replay");
    }
});

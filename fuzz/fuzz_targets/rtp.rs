//! RTP headers and extension elements of any datagram.

#![no_main]

use causeway_bridge::limits::MAX_EXTENSION_ELEMENTS;
use causeway_bridge::wire::demux::classify;
use causeway_bridge::wire::extensions::{AudioLevel, HeaderBuilder, elements, parse_abs_send_time};
use causeway_bridge::wire::rtp::RtpHeader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let _ = classify(packet);
    let Ok(header) = RtpHeader::parse(packet) else {
        return;
    };
    let payload_start = usize::from(header.payload_start);
    assert!(payload_start <= packet.len());
    if let Ok(end) = header.payload_end(packet) {
        assert!((payload_start..=packet.len()).contains(&end));
    }

    let found: Vec<(u8, &[u8])> = elements(&header, packet).collect();
    assert!(found.len() <= MAX_EXTENSION_ELEMENTS);
    for (_, data) in &found {
        let _ = (AudioLevel::parse(data), parse_abs_send_time(data));
    }

    // Whatever was read can be written, and is read back as the same.
    let RtpHeader {
        marker,
        payload_type,
        sequence,
        timestamp,
        ssrc,
        ..
    } = header;
    let builder = HeaderBuilder {
        marker,
        payload_type,
        sequence,
        timestamp,
        ssrc,
    };
    let mut out = [0; 8_192];
    let len = builder
        .write(&mut out, &found)
        .expect("room for 16 elements");
    let again = RtpHeader::parse(&out[..len]).expect("own header");
    assert_eq!(elements(&again, &out).collect::<Vec<_>>(), found);
});

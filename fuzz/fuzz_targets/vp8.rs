//! The VP8 payload descriptor: parsing never panics, and rewriting changes identifiers and nothing else.

#![no_main]

use causeway_bridge::wire::vp8::Vp8Descriptor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(descriptor) = Vp8Descriptor::parse(data) else {
        return;
    };
    assert!(descriptor.len() < data.len());
    let mut copy = data.to_vec();
    descriptor.rewrite(&mut copy, descriptor.picture_id(), descriptor.tl0picidx());
    assert_eq!(copy, data, "writing what was read changes nothing");

    descriptor.rewrite(&mut copy, Some(0x5aa5), Some(0x5a));
    let again = Vp8Descriptor::parse(&copy).expect("the form is the same");
    assert_eq!(again.is_start(), descriptor.is_start());
    assert_eq!(again.is_keyframe_start(), descriptor.is_keyframe_start());
    assert_eq!(again.temporal_id(), descriptor.temporal_id());
    assert_eq!(again.size(), descriptor.size());
    assert_eq!(copy[descriptor.len()..], data[descriptor.len()..]);
});

//! The VP9 payload descriptor: parsing never panics, and rewriting changes identifiers and nothing else.

#![no_main]

use causeway_bridge::wire::vp9::Vp9Descriptor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(descriptor) = Vp9Descriptor::parse(data) else {
        return;
    };
    assert!(descriptor.len() < data.len());
    let mut copy = data.to_vec();
    descriptor.rewrite(&mut copy, descriptor.picture_id(), descriptor.tl0picidx());
    assert_eq!(copy, data, "writing what was read changes nothing");

    descriptor.rewrite(&mut copy, Some(0x5aa5), Some(0x5a));
    let again = Vp9Descriptor::parse(&copy).expect("the form is the same");
    assert_eq!(again.is_keyframe(), descriptor.is_keyframe());
    assert_eq!(again.spatial_id(), descriptor.spatial_id());
    assert_eq!(again.temporal_id(), descriptor.temporal_id());
    assert_eq!(again.references(), descriptor.references());
    assert_eq!(again.scalability(), descriptor.scalability());
    assert_eq!(copy[descriptor.len()..], data[descriptor.len()..]);
});

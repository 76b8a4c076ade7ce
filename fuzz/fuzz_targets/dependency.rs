//! Dependency descriptors of one stream: parsing never panics, and what is written with other numbers is read back with them.
//!
//! Each element of the input has a length byte before it.

#![no_main]

use causeway_bridge::wire::dependency::{DependencyParser, DependencyRewrite, MAX_ELEMENT};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parser = DependencyParser::new();
    let mut receiver = DependencyParser::new();
    let mut rest = data;
    let mut index = 0;
    while let Some((len, after)) = rest.split_first() {
        let (element, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        index += 1;
        let Some(descriptor) = parser.parse(index, element) else {
            continue;
        };
        let numbers = DependencyRewrite {
            frame_number: 0x5aa5,
            template_delta: 0,
            active_targets: descriptor
                .structure()
                .map(|_| descriptor.active_targets())
                .filter(|_| descriptor.tells_active_targets()),
        };
        let mut out = [0; MAX_ELEMENT];
        let Some(written) = descriptor.rewrite(element, &numbers, &mut out) else {
            // From here on the two know different structures.
            return;
        };
        let again = receiver
            .parse(index, &out[..written])
            .expect("what is written can be read");
        assert_eq!(again.frame_number(), 0x5aa5);
        assert_eq!(again.is_start(), descriptor.is_start());
        assert_eq!(again.is_end(), descriptor.is_end());
        assert_eq!(again.is_keyframe(), descriptor.is_keyframe());
    }
});

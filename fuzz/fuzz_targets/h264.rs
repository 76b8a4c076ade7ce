//! Keyframes of H.264 are found in any payload without a panic, and only where there is one.

#![no_main]

use causeway_bridge::wire::h264::begins_keyframe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let keyframe = begins_keyframe(data);
    assert!(!keyframe || data.len() > 1);
});

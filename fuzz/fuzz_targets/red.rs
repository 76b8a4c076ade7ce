//! Redundant audio: any payload is read within its bounds, and what was read can be written again.

#![no_main]

use causeway_bridge::wire::red::{RedPacket, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(red) = RedPacket::parse(data) else {
        return;
    };
    let primary = red.primary(data);
    assert!(!primary.is_empty());
    let blocks = [2, 1].map(|distance| {
        let block = red.block(distance)?;
        Some((u32::from(block.offset), block.content(data)))
    });
    let mut out = vec![0; data.len()];
    let len = write(&mut out, red.payload_type, &blocks, primary).expect("not longer than it was");
    let again = RedPacket::parse(&out[..len]).expect("well-formed");
    assert_eq!(again.primary(&out[..len]), primary);
});

//! permessage-deflate: any offer comes to an agreement or to none, and any message to a text within its bounds that
//! can be compressed again.

#![no_main]

use std::cell::RefCell;

use causeway_bridge::limits::MAX_MESSAGE_BYTES;
use libfuzzer_sys::fuzz_target;

// The daemon has no library to link with.
#[path = "../../src/websocket/deflate.rs"]
mod deflate;

use deflate::{Agreement, Deflater, inflated};

thread_local! {
    static DEFLATER: RefCell<Deflater> = RefCell::new(Deflater::new());
}

fuzz_target!(|data: &[u8]| {
    if let Some(agreement) = Agreement::from_offers(data.split(|byte| *byte == b'\n')) {
        // What we agree upon is itself an offer of the same.
        let header = agreement.header();
        assert_eq!(Agreement::from_offers([header.as_bytes()]), Some(agreement));
        assert!(!agreement.covers(""));
    }
    let Ok(text) = inflated(data) else {
        return;
    };
    assert!(text.len() <= MAX_MESSAGE_BYTES);
    assert!(text.capacity() <= MAX_MESSAGE_BYTES + 1);
    if let Some(message) = DEFLATER.with_borrow_mut(|deflater| deflater.deflated(&text)) {
        assert!(message.len() < text.len());
        assert_eq!(inflated(&message), Ok(text));
    }
});

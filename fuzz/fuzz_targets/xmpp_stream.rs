//! An XMPP stream from a hostile server: parsing never panics, ends, and what is read as a Colibri2 request is read without a panic.

#![no_main]

use causeway_colibri::xml;
use causeway_xmpp::{Item, StreamParser};
use libfuzzer_sys::fuzz_target;

const OPEN: &[u8] =
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

fuzz_target!(|data: &[u8]| {
    let input = [OPEN, data].concat();
    let mut rest = input.as_slice();
    let mut parser = StreamParser::default();
    while let Ok(Some(item)) = parser.next(&mut rest) {
        if let Item::Stanza(stanza) = item {
            for child in stanza.children() {
                let _ = xml::parse(child);
            }
        }
    }
});

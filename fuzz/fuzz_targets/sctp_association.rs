//! SCTP packets of an authenticated peer, before and after the association is up (T49–T52).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| causeway_bridge::transport::secure::fuzzing::sctp_packets(data));

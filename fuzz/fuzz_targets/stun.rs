//! STUN from anybody: the parser never panics, and an agent neither answers nor changes for a message that
//! does not authenticate.

#![no_main]

use std::sync::Arc;

use causeway_bridge::config::IceConfig;
use causeway_bridge::ids::{Path, SocketId, WorkerId};
use causeway_bridge::random::Random;
use causeway_bridge::time::Time;
use causeway_bridge::transport::ice::{Credentials, IceEvent, IceTransport};
use causeway_bridge::wire::stun::{Class, MAX_WRITTEN, StunMessage};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(message) = StunMessage::parse(data) else {
        return;
    };
    assert_eq!(message.bytes(), data);
    let _ = (
        message.method(),
        message.username(),
        message.priority(),
        message.use_candidate(),
    );
    let _ = (message.role(), message.xor_mapped(), message.error_code());
    assert!(message.unknown_required().count() <= data.len() / 4);

    // The ufrag of the samples in RFC 5769, so that messages get as far as the integrity check.
    let credentials = Credentials {
        ufrag: "evtj".into(),
        password: "unknown to the fuzzer".into(),
    };
    let path = Path {
        socket: SocketId(0),
        remote: ([192, 0, 2, 1], 32_853).into(),
    };
    let mut ice = IceTransport::new(
        Arc::new(IceConfig::default()),
        WorkerId(0),
        credentials,
        true,
        Arc::new([([198, 51, 100, 1], 10_000).into()]),
        Random::from_seed(0),
        Time::ZERO,
    );
    let handled = match message.class() {
        Class::Request => ice.handle_request(Time::ZERO, path, &message),
        _ => ice.handle_response(Time::ZERO, path, &message),
    };
    assert!(handled.is_err());
    assert!(!ice.accepts(path));
    assert!(ice.poll_transmit(&mut [0; MAX_WRITTEN]).is_none());
    assert!(matches!(ice.poll_event(), Some(IceEvent::UfragAdded(_))));
    assert_eq!(ice.poll_event(), None);
});

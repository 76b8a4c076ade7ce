//! What the peer of a media export says: any text is read or counted, and what comes of it is bounded.

#![no_main]

use std::sync::Arc;

use causeway_bridge::export::{
    ExportKind, ExportSettings, ExportSetup, Received, Session, SessionOptions, Tap,
};
use causeway_bridge::ids::{ConferenceKey, ExportKey, MeetingId};
use causeway_bridge::time::Time;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    let setup = ExportSetup {
        key: ExportKey(1),
        conference: ConferenceKey(1),
        meeting_id: MeetingId::from("m"),
        settings: ExportSettings {
            id: "t".into(),
            url: "ws://peer.example".into(),
            kind: ExportKind::Transcriber,
            audio: true,
            headers: Vec::new(),
            pings: None,
            exports: Vec::new(),
            requests: Vec::new(),
        },
        tap: Arc::new(Tap::default()),
    };
    let now = Time::from_millis(1);
    let mut session = Session::new(now, &setup, SessionOptions::default(), "1");
    session.connected(now);
    for text in data.split('\n') {
        match session.receive(now, text) {
            Some(Received::Media { payload, .. }) => assert!(payload.len() <= text.len()),
            Some(Received::Transcript(transcript)) => {
                assert!(transcript.len() <= 6 * text.len() + 64)
            }
            _ => {}
        }
    }
    while let Some(text) = session.next_event() {
        assert!(text.starts_with('{'));
    }
});

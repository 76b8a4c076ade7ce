use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::limits::{EXPORT_MESSAGES_PER_SECOND, EXPORT_QUEUE, EXPORT_TAP};
use crate::media::Codec;
use crate::time::Time;
use crate::worker::packet::{AUDIO_LEVEL, MediaPacket};

fn setup(change: impl FnOnce(&mut ExportSettings)) -> ExportSetup {
    let mut settings = ExportSettings {
        id: "t".into(),
        url: "ws://stt.example".into(),
        kind: ExportKind::Transcriber,
        audio: true,
        headers: Vec::new(),
        pings: None,
        exports: Vec::new(),
        requests: Vec::new(),
    };
    change(&mut settings);
    ExportSetup {
        key: ExportKey(1),
        conference: ConferenceKey(1),
        meeting_id: MeetingId::from("m1"),
        settings,
        tap: Arc::default(),
    }
}

fn at(millis: u64) -> Time {
    Time::from_millis(1_000_000 + millis)
}

/// A session that is connected since `at(0)`.
fn open(change: impl FnOnce(&mut ExportSettings)) -> Session {
    let mut session = Session::new(at(0), &setup(change), SessionOptions::default(), "1.2");
    assert_eq!(session.poll_action(at(0)), Some(Action::Connect));
    session.connected(at(0));
    session
}

/// Everything that the session wants sent.
fn events(session: &mut Session) -> Vec<Value> {
    let texts = std::iter::from_fn(|| session.next_event());
    texts
        .map(|text| serde_json::from_str(&text).unwrap())
        .collect()
}

fn kinds(session: &mut Session) -> Vec<String> {
    let events = events(session).into_iter();
    events
        .map(|event| event["event"].as_str().unwrap().to_owned())
        .collect()
}

/// Packet `index` of a source, of 20 ms, with three bytes of payload.
fn packet(source: &str, index: u64, timestamp: u32) -> Exported {
    let mut packet = MediaPacket::empty();
    packet.codec = Codec::Opus;
    packet.original = index;
    packet.header.ssrc = 7;
    packet.header.timestamp = timestamp;
    packet.header.payload_start = 20;
    packet.data[16] = 0x80 | 30;
    packet.kept[AUDIO_LEVEL] = (16, 1);
    packet.data[20..23].copy_from_slice(&[1, 2, 255]);
    packet.payload_end = 23;
    Exported {
        source: source.into(),
        owner: "ep1".into(),
        diarize: false,
        packet: Arc::new(packet),
    }
}

#[test]
fn events_have_the_shapes_of_media_json() {
    let mut session = open(|settings| {
        settings.exports = vec!["ep1-a0".into()];
        settings.requests = vec!["ep1-a0.fr".into()];
    });
    let mut first = packet("ep1-a0", 70_000, 123_456);
    first.diarize = true;
    session.media(at(500), &first);
    session.media(at(520), &packet("ep1-a0", 70_001, 124_416));
    assert_eq!(
        events(&mut session),
        [
            json!({ "event": "info", "application": "causeway", "version": "1.2", "meetingId": "m1" }),
            json!({ "event": "sources", "exports": ["ep1-a0"], "requests": ["ep1-a0.fr"] }),
            json!({ "event": "start", "sequenceNumber": "1", "start": {
                "tag": "ep1-a0",
                "mediaFormat": { "encoding": "opus", "sampleRate": 48000, "channels": 2 },
                "customParameters": { "endpointId": "ep1" },
                "diarize": true,
            } }),
            json!({ "event": "media", "sequenceNumber": "2", "media": {
                "tag": "ep1-a0", "chunk": "70000", "timestamp": "24000", "payload": "AQL/",
                "audioLevel": 30, "vad": true,
            } }),
            json!({ "event": "media", "sequenceNumber": "3", "media": {
                "tag": "ep1-a0", "chunk": "70001", "timestamp": "24960", "payload": "AQL/",
                "audioLevel": 30, "vad": true,
            } }),
        ]
    );
    session.stop();
    assert_eq!(events(&mut session), [json!({ "event": "session-end" })]);
    assert_eq!(session.poll_action(at(600)), Some(Action::End));
    assert_eq!(session.poll_action(at(600)), None);
}

#[test]
fn without_diarization_and_audio_level_the_keys_are_absent() {
    let mut session = open(|_| {});
    let mut exported = packet("ep1-a0", 1, 0);
    Arc::get_mut(&mut exported.packet).unwrap().kept[AUDIO_LEVEL] = (0, 0);
    session.media(at(0), &exported);
    let [_, start, media] = &events(&mut session)[..] else {
        panic!("info, start, media");
    };
    assert!(start["start"].get("diarize").is_none());
    assert!(media["media"].get("audioLevel").is_none() && media["media"].get("vad").is_none());
}

#[test]
fn sources_share_one_time_line_whatever_their_clocks_do() {
    let mut session = open(|_| {});
    let place = |session: &mut Session, now, source: &str, timestamp| {
        session.media(at(now), &packet(source, 1, timestamp));
        let last = events(session).pop().unwrap();
        last["media"]["timestamp"].as_str().unwrap().to_owned()
    };
    // RTP timestamps wrap, packets come late, two sources begin at different numbers.
    assert_eq!(place(&mut session, 1_000, "a", u32::MAX - 959), "48000");
    assert_eq!(place(&mut session, 1_020, "a", 0), "48960");
    assert_eq!(place(&mut session, 1_060, "a", 1_920), "50880");
    assert_eq!(place(&mut session, 1_061, "a", 960), "49920");
    assert_eq!(place(&mut session, 1_080, "a", 2_880), "51840");
    assert_eq!(place(&mut session, 2_000, "b", 5), "96000");
    // A clock that leaps is not believed.
    assert_eq!(place(&mut session, 2_020, "b", 1 << 30), "96960");
    assert_eq!(place(&mut session, 2_040, "b", (1 << 30) + 960), "97920");
}

#[test]
fn what_is_exported_follows_the_list_and_the_peer_hears_of_changes() {
    let mut session = open(|_| {});
    session.media(at(0), &packet("a", 1, 0));
    assert_eq!(kinds(&mut session), ["info", "start", "media"]);
    session.update(vec!["b".into()], Vec::new());
    session.media(at(0), &packet("a", 2, 960));
    session.media(at(0), &packet("b", 1, 0));
    let told = events(&mut session);
    assert_eq!(
        told[0],
        json!({ "event": "sources", "exports": ["b"], "requests": [] })
    );
    assert_eq!((told.len(), &told[1]["start"]["tag"]), (3, &json!("b")));

    let mut deaf = open(|settings| settings.audio = false);
    deaf.media(at(0), &packet("a", 1, 0));
    assert_eq!(kinds(&mut deaf), ["info"]);
}

#[test]
fn red_is_exported_as_the_opus_in_it() {
    let mut session = open(|_| {});
    let mut exported = packet("a", 1, 0);
    let red = Arc::get_mut(&mut exported.packet).unwrap();
    let blocks = [Some((960, &b"old"[..]))];
    let mut payload = [0; 40];
    let len = crate::wire::red::write(&mut payload, 111, &blocks, b"new").unwrap();
    red.data[20..20 + len].copy_from_slice(&payload[..len]);
    red.payload_end = 20 + len as u16;
    let parsed = crate::wire::red::RedPacket::parse(&payload[..len]).unwrap();
    red.descriptor = crate::projection::Payload::Red(parsed);
    session.media(at(0), &exported);
    let media = events(&mut session).pop().unwrap();
    assert_eq!(media["media"]["payload"], "bmV3");
}

#[test]
fn lost_connections_are_retried_at_once_then_ever_later() {
    let mut session = open(|_| {});
    let mut now = at(29_999);
    let mut waits = Vec::new();
    for _ in 0..8 {
        session.disconnected(now);
        let due = session.poll_timeout().unwrap();
        waits.push((due - now).as_secs());
        if due > now {
            assert_eq!(session.poll_action(now), None, "not before its time");
        }
        assert_eq!(session.poll_action(due), Some(Action::Connect));
        now = due;
    }
    assert_eq!(waits, [0, 1, 2, 4, 8, 16, 30, 30]);
    // A connection that holds for 30 s begins anew.
    session.connected(now);
    now += Duration::from_secs(30);
    session.disconnected(now);
    assert_eq!(session.poll_timeout(), Some(now));
    assert_eq!(session.counters().failures, 9);
    // One that does not, does not.
    assert_eq!(session.poll_action(now), Some(Action::Connect));
    session.connected(now);
    session.disconnected(now + Duration::from_secs(29));
    assert_eq!(session.poll_timeout(), Some(now + Duration::from_secs(30)));
}

#[test]
fn retries_end_where_configured() {
    let options = SessionOptions {
        max_attempts: Some(2),
        ..SessionOptions::default()
    };
    let mut session = Session::new(at(0), &setup(|_| {}), options, "1.2");
    let mut now = at(0);
    for _ in 0..3 {
        assert!(!session.has_given_up());
        assert_eq!(session.poll_action(now), Some(Action::Connect));
        session.disconnected(now);
        now = session.poll_timeout().unwrap_or(now);
    }
    assert!(session.has_given_up());
    assert_eq!(session.poll_action(at(1_000_000)), None);
    session.stop();
    assert_eq!(session.poll_action(at(1_000_000)), Some(Action::End));
}

#[test]
fn after_a_reconnect_sources_begin_anew_and_nothing_old_is_sent() {
    let mut session = open(|_| {});
    session.media(at(0), &packet("a", 1, 0));
    session.disconnected(at(1_000));
    session.media(at(1_000), &packet("a", 2, 960));
    assert!(!session.has_event());
    assert_eq!(session.poll_action(at(1_000)), Some(Action::Connect));
    session.connected(at(1_010));
    session.media(at(2_000), &packet("a", 100, 96_000));
    let told = events(&mut session);
    assert_eq!(told[0]["event"], "info");
    assert_eq!(told[1]["event"], "start");
    assert_eq!(
        told[2]["media"]["timestamp"], "96000",
        "the time line goes on"
    );
    assert_eq!(session.counters().packets_dropped, 1);
}

#[test]
fn a_silent_peer_is_given_up_after_the_timeout_of_a_ping() {
    let pings = Pings {
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(3),
    };
    let mut session = open(|settings| settings.pings = Some(pings));
    events(&mut session);
    assert_eq!(session.poll_timeout(), Some(at(10_000)));
    assert_eq!(session.poll_action(at(10_000)), None);
    assert_eq!(events(&mut session), [json!({ "event": "ping", "id": 1 })]);
    assert_eq!(session.poll_timeout(), Some(at(13_000)));
    for other in [r#"{"event":"pong","id":0}"#, r#"{"event":"pong","id":2}"#] {
        assert_eq!(session.receive(at(11_000), other), None);
        assert_eq!(session.poll_timeout(), Some(at(13_000)));
    }
    session.receive(at(12_000), r#"{"event":"pong","id":1}"#);
    assert_eq!(session.poll_timeout(), Some(at(20_000)));
    assert_eq!(session.poll_action(at(20_000)), None);
    assert_eq!(events(&mut session), [json!({ "event": "ping", "id": 2 })]);
    assert_eq!(session.poll_action(at(22_999)), None);
    assert_eq!(session.poll_action(at(23_000)), Some(Action::Disconnect));
    session.disconnected(at(23_000));
    assert_eq!(session.poll_action(at(23_000)), Some(Action::Connect));
    session.connected(at(23_000));
    assert_eq!(session.poll_timeout(), Some(at(33_000)));
}

#[test]
fn a_peer_that_does_not_read_loses_the_oldest_media_only() {
    let mut session = open(|settings| settings.exports = vec!["a".into()]);
    for index in 0..EXPORT_QUEUE as u64 + 10 {
        session.media(at(index), &packet("a", index, index as u32 * 960));
    }
    let told = events(&mut session);
    assert_eq!(told.len(), 3 + EXPORT_QUEUE);
    assert_eq!(told[2]["event"], "start");
    assert_eq!(told[3]["media"]["chunk"], "10");
    let counters = session.counters();
    assert_eq!(counters.packets_dropped, 10);
    assert_eq!(counters.packets_sent, EXPORT_QUEUE as u64);
}

#[test]
fn a_full_tap_displaces_the_oldest_packet_and_wakes_its_reader() {
    let tap = Tap::default();
    let woken = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = Arc::clone(&woken);
    tap.on_packet(move || {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    for index in 0..EXPORT_TAP as u64 + 2 {
        tap.push(packet("a", index, 0));
    }
    assert_eq!(tap.dropped(), 2);
    assert_eq!(tap.pop().unwrap().packet.original, 2);
    let woken = woken.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(woken, EXPORT_TAP as u64 + 2);
}

#[test]
fn what_the_peer_says_is_read() {
    let mut session = open(|_| {});
    let mut say = |text: &str| session.receive(at(0), text);
    let transcript = say(
        r#"{ "event": "transcription-result", "type": "transcription-result", "transcript": [{ "text": "a\n" }] }"#,
    );
    let Some(Received::Transcript(text)) = transcript else {
        panic!("{transcript:?}");
    };
    assert_eq!(
        text,
        r#"{"event":"transcription-result","type":"transcription-result","transcript":[{"text":"a\n"}]}"#
    );
    // Numbers are texts or numbers; timestamps beyond 32 bits wrap.
    for timestamp in [r#""4294967301""#, "4294967301", "5"] {
        let text = format!(
            r#"{{"event":"media","sequenceNumber":"2","media":{{"tag":"s","chunk":"1","timestamp":{timestamp},"payload":"AQL/"}}}}"#
        );
        let expected = Received::Media {
            tag: "s".into(),
            timestamp: 5,
            payload: vec![1, 2, 255].into(),
        };
        assert_eq!(say(&text), Some(expected));
    }
    let sending = |sending, timestamp| {
        Some(Received::Sending {
            tag: "s".into(),
            sending,
            timestamp,
        })
    };
    assert_eq!(
        say(
            r#"{"event":"start","sequenceNumber":1,"start":{"tag":"s","mediaFormat":{},"timestamp":384000}}"#
        ),
        sending(true, 384_000)
    );
    assert_eq!(
        say(r#"{"event":"stop","sequenceNumber":2,"stop":{"tag":"s","timestamp":"960000"}}"#),
        sending(false, 960_000)
    );
    for plain in [
        r#"{"event":"start","start":{"tag":"s"}}"#,
        r#"{"event":"stop","stop":{"tag":"s","timestamp":null}}"#,
        r#"{"event":"info","x":1}"#,
        r#"{"event":"something new"}"#,
    ] {
        assert_eq!(say(plain), None);
    }
    let counters = session.counters();
    assert_eq!(
        (
            counters.transcripts,
            counters.media,
            counters.sending_changes
        ),
        (1, 3, 2)
    );
    assert_eq!(
        (counters.infos, counters.others, counters.malformed),
        (1, 3, 0)
    );
}

#[test]
fn nonsense_is_counted_and_floods_are_cut() {
    let mut session = open(|_| {});
    let long = format!(r#"{{"event":"info","x":"{}"}}"#, "y".repeat(1 << 16));
    let large = format!(
        r#"{{"event":"media","media":{{"tag":"s","chunk":1,"timestamp":1,"payload":"{}"}}}}"#,
        "AAAA".repeat(426)
    );
    let bad = [
        "",
        "[]",
        "{}",
        r#"{"event":1}"#,
        r#"{"event":"media"}"#,
        r#"{"event":"media","media":{"tag":"s","chunk":1,"timestamp":1,"payload":"="}}"#,
        r#"{"event":"media","media":{"tag":"s","chunk":1,"timestamp":1,"payload":""}}"#,
        r#"{"event":"media","media":{"tag":"s","chunk":1,"timestamp":"x","payload":"AA=="}}"#,
        r#"{"event":"start","start":{"tag":"s","timestamp":-1}}"#,
        r#"{"event":"pong"}"#,
        &"[".repeat(10_000),
        &long,
        &large,
    ];
    for text in bad {
        assert_eq!(session.receive(at(0), text), None, "{text}");
    }
    assert_eq!(session.counters().malformed, bad.len() as u64);
    for _ in 0..EXPORT_MESSAGES_PER_SECOND {
        session.receive(at(0), r#"{"event":"info"}"#);
    }
    assert_eq!(session.counters().over_budget, bad.len() as u64);
    session.receive(at(1_000), r#"{"event":"info"}"#);
    assert_eq!(session.counters().over_budget, bad.len() as u64);
}

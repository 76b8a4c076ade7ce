//! Bridge-channel spec cases 29 to 39, §5 and §7, forwarding (T64), and recorded clients.

use proptest::prelude::*;

use super::super::json::tests::{any_json, nearly_json};
use super::*;

fn parse(text: &str) -> Result<ClientMessage, MessageError> {
    ClientMessage::parse(text)
}

/// Parses a message of a class with these other members.
fn message(class: &str, members: &str) -> Result<ClientMessage, MessageError> {
    let comma = if members.is_empty() { "" } else { "," };
    parse(&format!("{{\"colibriClass\":\"{class}\"{comma}{members}}}"))
}

fn receiver(members: &str) -> Result<ReceiverVideoConstraints, MessageError> {
    match message("ReceiverVideoConstraints", members)? {
        ClientMessage::ReceiverVideoConstraints(constraints) => Ok(constraints),
        other => panic!("{other:?}"),
    }
}

fn subscription(members: &str) -> Result<AudioSubscription, MessageError> {
    match message("ReceiverAudioSubscription", members)? {
        ClientMessage::AudioSubscription(subscription) => Ok(subscription),
        other => panic!("{other:?}"),
    }
}

fn last_n(value: &str) -> Result<ClientMessage, MessageError> {
    message("LastNChangedEvent", &format!("\"lastN\":{value}"))
}

fn forwarded(text: &str, from: &str) -> String {
    match parse(text).expect("a message") {
        ClientMessage::EndpointMessage { body, .. } | ClientMessage::EndpointStats { body } => {
            body.forward(&from.into())
        }
        other => panic!("{other:?}"),
    }
}

fn names(list: &[&str]) -> Vec<SourceName> {
    list.iter().copied().map(SourceName::from).collect()
}

fn unknown_key(key: &str) -> MessageError {
    MessageError::UnknownKey(KeyName::new(key))
}

// ---- the numbered cases ---------------------------------------------------------------------------

#[test]
fn bridge_channel_case_24_the_null_literal_is_a_malformed_message() {
    assert_eq!(parse("null"), Err(MessageError::NotAnObject));
}

#[test]
fn bridge_channel_case_29_an_unknown_key_drops_the_whole_message() {
    assert_eq!(
        receiver(r#""lastN":2,"onStageEndpoints":["A"]"#),
        Err(unknown_key("onStageEndpoints"))
    );
    assert_eq!(
        message("LastNChangedEvent", r#""lastN":2,"x":null"#),
        Err(unknown_key("x"))
    );
    assert_eq!(message("ClientHello", r#""x":1"#), Err(unknown_key("x")));
    assert_eq!(
        message("ReceiverAudioSubscription", r#""x":1"#),
        Err(unknown_key("x"))
    );
    let source = r#""sourceName":"a","videoType":"none","x":1"#;
    assert_eq!(
        message("SourceVideoTypeMessage", source),
        Err(unknown_key("x"))
    );
    assert_eq!(
        message("VideoTypeMessage", source),
        Err(unknown_key("sourceName"))
    );
}

#[test]
fn bridge_channel_case_30_a_missing_int_is_0() {
    assert_eq!(
        message("LastNChangedEvent", ""),
        Ok(ClientMessage::LastN(0))
    );
    assert_eq!(last_n("null"), Ok(ClientMessage::LastN(0)));
}

#[test]
fn bridge_channel_case_31_a_numeric_string_is_an_int() {
    assert_eq!(last_n("\"3\""), Ok(ClientMessage::LastN(3)));
    assert_eq!(last_n("\"-1\""), Ok(ClientMessage::LastN(-1)));
}

#[test]
fn bridge_channel_case_32_a_boolean_is_no_int() {
    for value in ["true", "\"x\"", "\"\"", "[]", "{}", "[1]"] {
        assert_eq!(
            last_n(value),
            Err(MessageError::BadValue("lastN")),
            "{value}"
        );
    }
}

#[test]
fn bridge_channel_case_33_heights_below_minus_one_are_refused() {
    assert_eq!(
        receiver(r#""defaultConstraints":{"maxHeight":-2}"#),
        Err(MessageError::BadValue("maxHeight"))
    );
    let rate = |rate: &str| {
        receiver(&format!(
            r#""defaultConstraints":{{"maxFrameRate":{rate}}}"#
        ))
    };
    for bad in ["-2", "-0.5", "1e999", "true", "\"NaN\"", "\"inf\""] {
        assert_eq!(
            rate(bad),
            Err(MessageError::BadValue("maxFrameRate")),
            "{bad}"
        );
    }
    for (given, meant) in [
        ("-1", -1.0),
        ("0", 0.0),
        ("null", 0.0),
        ("\"15\"", 15.0),
        ("29.97", 29.97),
    ] {
        let constraints = VideoConstraints {
            max_height: 0,
            max_frame_rate: meant,
        };
        assert_eq!(
            rate(given).map(|message| message.default_constraints),
            Ok(Some(constraints)),
            "{given}"
        );
    }
}

#[test]
fn bridge_channel_case_34_an_empty_constraint_means_height_0() {
    let nothing = VideoConstraints {
        max_height: 0,
        max_frame_rate: -1.0,
    };
    for members in ["", "\"maxHeight\":null"] {
        let parsed = receiver(&format!("\"defaultConstraints\":{{{members}}}"));
        assert_eq!(
            parsed.map(|message| message.default_constraints),
            Ok(Some(nothing))
        );
    }
}

#[test]
fn bridge_channel_case_35_duplicate_keys_drop_the_message() {
    let members = r#""constraints":{"A-v0":{"maxHeight":180},"A-v0":{"maxHeight":360}}"#;
    assert_eq!(
        receiver(members),
        Err(MessageError::DuplicateKey(KeyName::new("A-v0")))
    );
    assert_eq!(
        receiver(r#""lastN":1,"lastN":1"#),
        Err(MessageError::DuplicateKey(KeyName::new("lastN")))
    );
}

#[test]
fn bridge_channel_case_36_a_constraint_may_have_unknown_keys() {
    let parsed = receiver(r#""defaultConstraints":{"maxHeight":180,"foo":1,"bar":[{}]}"#);
    let default = VideoConstraints {
        max_height: 180,
        max_frame_rate: -1.0,
    };
    assert_eq!(
        parsed.map(|message| message.default_constraints),
        Ok(Some(default))
    );
}

#[test]
fn bridge_channel_case_37_class_names_are_case_sensitive() {
    let unknown = |class: &str| Err(MessageError::UnknownClass(KeyName::new(class)));
    for class in [
        "clienthello",
        "ClientHello ",
        "",
        "SelectedEndpointsChangedEvent",
        "EndpointConnectionStats",
    ] {
        assert_eq!(message(class, ""), unknown(class));
    }
    for text in [
        "{}",
        r#"{"colibriClass":null}"#,
        r#"{"colibriClass":1}"#,
        r#"{"colibriClass":["ClientHello"]}"#,
    ] {
        assert_eq!(parse(text), Err(MessageError::NoClass), "{text}");
    }
}

#[test]
fn bridge_channel_case_38_video_types_are_case_insensitive_names() {
    let parsed = |members: &str| message("SourceVideoTypeMessage", members);
    let accepted = |video_type| {
        Ok(ClientMessage::SourceVideoType {
            source: "a-v0".into(),
            video_type,
        })
    };
    assert_eq!(
        parsed(r#""sourceName":"a-v0","videoType":"NoNe""#),
        accepted(VideoType::None)
    );
    assert_eq!(
        parsed(r#""sourceName":"a-v0","videoType":"desktop_high_fps","endpointId":"somebody"}"#),
        accepted(VideoType::DesktopHighFps)
    );
    for bad in ["\"bogus\"", "\"\"", "1", "true", "[]"] {
        let members = format!(r#""sourceName":"a-v0","videoType":{bad}"#);
        assert_eq!(
            parsed(&members),
            Err(MessageError::BadValue("videoType")),
            "{bad}"
        );
    }
    assert_eq!(
        parsed(r#""videoType":"none""#),
        Err(MessageError::MissingKey("sourceName"))
    );
    assert_eq!(
        parsed(r#""sourceName":null,"videoType":"none""#),
        Err(MessageError::MissingKey("sourceName"))
    );
    assert_eq!(
        parsed(r#""sourceName":["a"],"videoType":"none""#),
        Err(MessageError::BadValue("sourceName"))
    );
    assert_eq!(
        parsed(r#""sourceName":"a""#),
        Err(MessageError::MissingKey("videoType"))
    );
    let deprecated = message(
        "VideoTypeMessage",
        r#""videoType":"none","endpointId":null"#,
    );
    assert_eq!(deprecated, Ok(ClientMessage::VideoType(VideoType::None)));
}

#[test]
fn bridge_channel_case_39_audio_subscriptions_new_and_old() {
    assert_eq!(subscription(""), Ok(AudioSubscription::default()));
    assert_eq!(
        subscription(r#""all":"true","include":["a",null,"b"],"exclude":null"#),
        Ok(AudioSubscription {
            all: true,
            include: names(&["a", "b"]),
            exclude: names(&[])
        })
    );
    let all = AudioSubscription {
        all: true,
        ..AudioSubscription::default()
    };
    assert_eq!(subscription(r#""mode":"All""#), Ok(all.clone()));
    assert_eq!(subscription(r#""mode":"Exclude""#), Ok(all.clone()));
    assert_eq!(
        subscription(r#""mode":"Exclude","list":["x"],"include":["y"],"all":false"#),
        Ok(AudioSubscription {
            exclude: names(&["x"]),
            ..all.clone()
        })
    );
    assert_eq!(
        subscription(r#""mode":"Include","list":["x"]"#),
        Ok(AudioSubscription {
            include: names(&["x"]),
            ..AudioSubscription::default()
        })
    );
    assert_eq!(
        subscription(r#""mode":"None","all":true"#),
        Ok(AudioSubscription::default())
    );
    assert_eq!(subscription(r#""mode":null,"all":true"#), Ok(all));
    assert_eq!(
        subscription(r#""mode":"all""#),
        Err(MessageError::BadValue("mode"))
    );
    assert_eq!(
        subscription(r#""all":1"#),
        Err(MessageError::BadValue("all"))
    );
    assert_eq!(
        subscription(r#""all":"TRUE""#),
        Err(MessageError::BadValue("all"))
    );
    assert_eq!(
        subscription(r#""include":"a""#),
        Err(MessageError::BadValue("include"))
    );
}

// ---- §5 and §7 -------------------------------------------------------------------------------------

#[test]
fn integers_are_lenient_within_32_bits() {
    for (given, meant) in [
        ("5.7", 5),
        ("-0.9", 0),
        ("1e2", 100),
        ("-0", 0),
        ("2147483647", i32::MAX),
    ] {
        assert_eq!(last_n(given), Ok(ClientMessage::LastN(meant)), "{given}");
    }
    for bad in [
        "2147483648",
        "-2147483649",
        "1e10",
        "1e999",
        "9223372036854775808",
        "\"5.7\"",
    ] {
        assert_eq!(last_n(bad), Err(MessageError::BadValue("lastN")), "{bad}");
    }
}

#[test]
fn absent_and_null_settings_stay_unchanged() {
    assert_eq!(receiver(""), Ok(ReceiverVideoConstraints::default()));
    let nulls = r#""lastN":null,"selectedSources":null,"onStageSources":null,"defaultConstraints":null,
        "constraints":null,"assumedBandwidthBps":null"#;
    assert_eq!(receiver(nulls), Ok(ReceiverVideoConstraints::default()));
}

#[test]
fn all_settings_at_once() {
    let members = r#""assumedBandwidthBps":-1,"lastN":2,"selectedSources":["a-v0"],"onStageSources":["b-v0",5,true],
        "defaultConstraints":{"maxHeight":180},"constraints":{"b-v0":{"maxHeight":-1},"c-v0":{"maxHeight":"720"}}"#;
    let height = |max_height| VideoConstraints {
        max_height,
        max_frame_rate: -1.0,
    };
    assert_eq!(
        receiver(members),
        Ok(ReceiverVideoConstraints {
            last_n: Some(2),
            selected_sources: Some(names(&["a-v0"])),
            on_stage_sources: Some(names(&["b-v0", "5", "true"])),
            default_constraints: Some(height(180)),
            constraints: Some([("b-v0".into(), height(-1)), ("c-v0".into(), height(720))].into()),
            assumed_bandwidth_bps: Some(-1),
        })
    );
    assert_eq!(
        receiver(r#""assumedBandwidthBps":5000000000"#)
            .map(|message| message.assumed_bandwidth_bps),
        Ok(Some(5_000_000_000)),
        "a long"
    );
}

/// Allocation spec Q8: upstream's allocator breaks on it.
#[test]
fn q8_null_inside_constraints_is_refused() {
    for bad in ["null", "1", "[]", "\"180\""] {
        let members = format!("\"constraints\":{{\"a-v0\":{bad}}}");
        assert_eq!(
            receiver(&members),
            Err(MessageError::BadValue("constraints")),
            "{bad}"
        );
    }
    assert_eq!(
        receiver(r#""constraints":[]"#),
        Err(MessageError::BadValue("constraints"))
    );
    assert_eq!(
        receiver(r#""defaultConstraints":180"#),
        Err(MessageError::BadValue("defaultConstraints"))
    );
}

#[test]
fn t65_lists_are_bounded() {
    let list = |len: usize| format!("[{}]", vec!["\"a\""; len].join(","));
    assert!(receiver(&format!("\"selectedSources\":{}", list(MAX_LIST_ITEMS))).is_ok());
    for key in ["selectedSources", "onStageSources"] {
        let members = format!("\"{key}\":{}", list(MAX_LIST_ITEMS + 1));
        assert!(
            matches!(receiver(&members), Err(MessageError::ListTooLong(_))),
            "{key}"
        );
    }
    let nulls = format!("[{}]", vec!["null"; MAX_LIST_ITEMS + 1].join(","));
    assert_eq!(
        subscription(&format!("\"include\":{nulls}")),
        Err(MessageError::ListTooLong("include"))
    );
}

#[test]
fn the_class_may_stand_anywhere_and_text_may_follow() {
    assert_eq!(
        parse(r#"{"lastN":1,"colibriClass":"LastNChangedEvent"}xyz"#),
        Ok(ClientMessage::LastN(1))
    );
}

/// T64: types that only a bridge sends are known, and ignored.
#[test]
fn t64_a_client_may_not_send_the_bridges_messages() {
    for class in UNHANDLED {
        assert_eq!(
            message(class, "\"endpoint\":\"victim\""),
            Ok(ClientMessage::Unhandled(class))
        );
    }
}

#[test]
fn every_message_knows_its_class() {
    for (class, members) in [
        ("ClientHello", ""),
        ("ReceiverVideoConstraints", ""),
        ("LastNChangedEvent", ""),
        (
            "SourceVideoTypeMessage",
            r#""sourceName":"a","videoType":"none""#,
        ),
        ("VideoTypeMessage", r#""videoType":"none""#),
        ("ReceiverAudioSubscription", ""),
        ("EndpointMessage", r#""to":"""#),
        ("EndpointStats", ""),
        ("AddReceiver", ""),
    ] {
        assert_eq!(
            message(class, members).map(|message| message.class()),
            Ok(class)
        );
    }
}

// ---- forwarding -----------------------------------------------------------------------------------

#[test]
fn bridge_channel_case_41_a_message_is_forwarded_with_its_true_sender_and_all_members() {
    let text =
        r#"{"colibriClass":"EndpointMessage","to":"","from":"spoof","msgPayload":{"a":1},"x":[1]}"#;
    assert_eq!(
        forwarded(text, "B"),
        r#"{"colibriClass":"EndpointMessage","to":"","from":"B","msgPayload":{"a":1},"x":[1]}"#
    );
}

#[test]
fn bridge_channel_cases_42_to_44_recipients() {
    let to = |to: &str| match message("EndpointMessage", &format!("\"to\":{to}")) {
        Ok(ClientMessage::EndpointMessage { to, .. }) => Ok(to),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    assert_eq!(to("\"B\""), Ok(Some("B".into())));
    assert_eq!(to("\"\""), Ok(None));
    assert_eq!(to("\" \\t\""), Ok(None));
    assert_eq!(to("12"), Ok(Some("12".into())));
    assert_eq!(to("null"), Err(MessageError::MissingKey("to")));
    assert_eq!(
        message("EndpointMessage", ""),
        Err(MessageError::MissingKey("to"))
    );
    assert_eq!(to("[\"B\"]"), Err(MessageError::BadValue("to")));
}

#[test]
fn bridge_channel_case_46_stats_are_forwarded_as_they_are() {
    let text = r#"{ "jvbRTT": 3, "to": "x", "colibriClass": "EndpointStats", "connectionQuality": 19.999799999999812 }"#;
    assert_eq!(
        forwarded(text, "B"),
        r#"{"colibriClass":"EndpointStats","from":"B","jvbRTT":3,"to":"x","connectionQuality":19.999799999999812}"#
    );
}

/// T64: two classes, two senders, in any spelling, nested or not.
#[test]
fn t64_nothing_can_be_smuggled_into_a_forwarded_message() {
    for (members, key) in [
        (
            r#""to":"","colibriClass":"ForwardedSources""#,
            "colibriClass",
        ),
        (
            r#""to":"","colibriCl\u0061ss":"ForwardedSources""#,
            "colibriClass",
        ),
        (r#""to":"","from":"victim","fr\u006fm":"victim""#, "from"),
        (r#""to":"","msgPayload":{"a":1,"a":2}"#, "a"),
    ] {
        let refused = Err(MessageError::DuplicateKey(KeyName::new(key)));
        assert_eq!(message("EndpointMessage", members), refused, "{members}");
    }
    let text = r#"{"colibriClass":"EndpointMessage","to":"","fr\u006fm":"victim","__proto__":{"from":"victim"}}"#;
    assert_eq!(
        forwarded(text, "me\",\"x\":\"y"),
        r#"{"colibriClass":"EndpointMessage","to":"","from":"me\",\"x\":\"y","__proto__":{"from":"victim"}}"#
    );
}

#[test]
fn t65_a_payload_may_fill_a_whole_message() {
    let frame = r#"{"colibriClass":"EndpointMessage","to":"","msgPayload":""}"#;
    let payload = "x".repeat(crate::limits::MAX_MESSAGE_BYTES - frame.len());
    let text = format!(r#"{{"colibriClass":"EndpointMessage","to":"","msgPayload":"{payload}"}}"#);
    assert_eq!(text.len(), crate::limits::MAX_MESSAGE_BYTES);
    assert_eq!(
        forwarded(&text, "B").len(),
        text.len() + r#","from":"B""#.len()
    );
}

// ---- recordings -----------------------------------------------------------------------------------

/// What a browser with lib-jitsi-meet sent to an upstream bridge.
#[test]
fn recorded_client_messages_are_understood() {
    for line in include_str!("testdata/from_client.jsonl").lines() {
        let parsed = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(!matches!(parsed, ClientMessage::Unhandled(_)), "{line}");
        assert!(line.contains(parsed.class()));
    }
}

/// What upstream made of clients' messages for other clients, to the byte.
#[test]
fn recorded_forwarded_messages_are_what_we_write() {
    let lines = include_str!("testdata/to_client.jsonl").lines();
    let mut count = 0;
    for line in lines.filter(|line| line.contains("\"from\"")) {
        let json: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let from = json["from"].as_str().expect("a sender");
        let sent = line.replace(&format!(",\"from\":\"{from}\""), "");
        assert_eq!(forwarded(&sent, from), line);
        count += 1;
    }
    assert!(count >= 4);
}

// ---- properties -----------------------------------------------------------------------------------

proptest! {
    #[test]
    fn no_text_panics(text in prop_oneof![nearly_json(), ".{0,60}"]) {
        let _ = parse(&text);
        let _ = parse(&format!("{{\"colibriClass\":\"EndpointMessage\",\"to\":\"\",{text}}}"));
        let _ = parse(&format!("{{\"colibriClass\":\"ReceiverVideoConstraints\",{text}}}"));
    }

    #[test]
    fn no_member_of_any_type_panics(value in any_json(), class in 0..6usize, key in 0..12usize) {
        let classes = [
            "ReceiverVideoConstraints", "LastNChangedEvent", "SourceVideoTypeMessage", "VideoTypeMessage",
            "ReceiverAudioSubscription", "EndpointMessage",
        ];
        let keys = [
            "lastN", "selectedSources", "onStageSources", "defaultConstraints", "constraints",
            "assumedBandwidthBps", "sourceName", "videoType", "all", "include", "mode", "to",
        ];
        let _ = message(classes[class], &format!("\"{}\":{value}", keys[key]));
    }

    /// T64: whatever an accepted message contains, others see one class, the true sender and the rest
    /// unchanged; and forwarding twice is forwarding once.
    #[test]
    fn t64_forwarding_keeps_everything_but_the_sender(
        members in prop::collection::btree_map(".{0,6}", any_json(), 0..6),
        from in ".{0,8}",
        stats: bool,
    ) {
        let class = if stats { "EndpointStats" } else { "EndpointMessage" };
        let mut object: serde_json::Map<String, serde_json::Value> = members.into_iter().collect();
        object.insert("colibriClass".into(), class.into());
        object.insert("to".into(), "somebody".into());
        object.insert("from".into(), "spoof".into());
        let text = serde_json::to_string(&object).expect("JSON");

        let once = forwarded(&text, &from);
        object.insert("from".into(), from.as_str().into());
        let back: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&once).expect("JSON");
        prop_assert_eq!(back, object);
        prop_assert_eq!(forwarded(&once, &from), once);
    }
}

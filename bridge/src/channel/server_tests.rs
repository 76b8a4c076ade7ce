//! Bridge-channel spec §8, and what an upstream bridge sent.

use serde_json::Value;

use super::*;
use crate::media::VideoType;

fn strings<T: for<'a> From<&'a str>>(list: &Value) -> Vec<T> {
    list.as_array()
        .expect("a list")
        .iter()
        .map(|item| item.as_str().expect("a string").into())
        .collect()
}

fn mappings(message: &Value) -> Vec<SourceMapping> {
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let mapping = |entry: &Value| SourceMapping {
        source: entry["source"].as_str().expect("source").into(),
        owner: entry["owner"].as_str().expect("owner").into(),
        ssrc: number(&entry["ssrc"]).expect("ssrc"),
        rtx: number(&entry["rtx"]),
        video_type: entry["videoType"].as_str().and_then(VideoType::from_name),
        mid: entry["mid"].as_str().map(str::to_owned),
    };
    message["mappedSources"]
        .as_array()
        .expect("a list")
        .iter()
        .map(mapping)
        .collect()
}

/// Writes the message that `recorded` is.
fn rewritten(recorded: &Value) -> String {
    let text = |key: &str| recorded[key].as_str().expect("a string");
    match text("colibriClass") {
        "ServerHello" => ServerMessage::ServerHello {
            version: recorded["version"].as_str(),
        }
        .to_json(),
        "ForwardedSources" => {
            ServerMessage::ForwardedSources(&strings(&recorded["forwardedSources"])).to_json()
        }
        "SenderSourceConstraints" => ServerMessage::SenderSourceConstraints {
            source: &text("sourceName").into(),
            max_height: recorded["maxHeight"].as_i64().expect("a height") as i32,
        }
        .to_json(),
        "VideoSourcesMap" => ServerMessage::VideoSourcesMap(&mappings(recorded)).to_json(),
        "AudioSourcesMap" => ServerMessage::AudioSourcesMap(&mappings(recorded)).to_json(),
        "DominantSpeakerEndpointChangeEvent" => ServerMessage::DominantSpeakerEndpointChangeEvent {
            dominant: &text("dominantSpeakerEndpoint").into(),
            previous: &strings(&recorded["previousSpeakers"]),
            silence: recorded["silence"].as_bool().expect("a flag"),
        }
        .to_json(),
        "ConnectionStats" => ServerMessage::ConnectionStats {
            estimated_downlink_bandwidth: recorded["estimatedDownlinkBandwidth"]
                .as_u64()
                .expect("a rate"),
        }
        .to_json(),
        other => panic!("{other} is not ours"),
    }
}

/// To the byte, except that upstream writes blanks into `SenderSourceConstraints`.
#[test]
fn recorded_server_messages_are_what_we_write() {
    let lines = include_str!("testdata/to_client.jsonl").lines();
    let mut count = 0;
    for line in lines.filter(|line| !line.contains("\"from\"")) {
        let recorded = serde_json::from_str(line).expect("JSON");
        assert_eq!(rewritten(&recorded), line.replace(", ", ","));
        count += 1;
    }
    assert!(count >= 25);
}

#[test]
fn bridge_channel_case_2_the_version_is_announced_if_wanted() {
    let hello = |version| ServerMessage::ServerHello { version }.to_json();
    assert_eq!(hello(None), r#"{"colibriClass":"ServerHello"}"#);
    assert_eq!(
        hello(Some("1.0")),
        r#"{"colibriClass":"ServerHello","version":"1.0"}"#
    );
}

#[test]
fn bridge_channel_case_60_connectivity_is_a_string() {
    let endpoint = EndpointId::from("a");
    let message = |active| ServerMessage::EndpointConnectivityStatusChangeEvent {
        endpoint: &endpoint,
        active,
    };
    assert_eq!(
        message(false).to_json(),
        r#"{"colibriClass":"EndpointConnectivityStatusChangeEvent","endpoint":"a","active":"false"}"#
    );
    assert!(message(true).to_json().ends_with(r#""active":"true"}"#));
}

#[test]
fn bridge_channel_case_61_the_estimate_is_an_integer() {
    let message = ServerMessage::ConnectionStats {
        estimated_downlink_bandwidth: u64::MAX,
    };
    assert_eq!(
        message.to_json(),
        r#"{"colibriClass":"ConnectionStats","estimatedDownlinkBandwidth":18446744073709551615}"#
    );
}

#[test]
fn ids_are_escaped() {
    let source = SourceName::from("a\"b\\c\n");
    let message = ServerMessage::SenderSourceConstraints {
        source: &source,
        max_height: -1,
    };
    assert_eq!(
        message.to_json(),
        r#"{"colibriClass":"SenderSourceConstraints","sourceName":"a\"b\\c\n","maxHeight":-1}"#
    );
}

#[test]
fn an_audio_slot_has_no_video_members() {
    let mapping = SourceMapping {
        source: "a-a0".into(),
        owner: "a".into(),
        ssrc: u32::MAX,
        rtx: None,
        video_type: None,
        mid: None,
    };
    assert_eq!(
        ServerMessage::AudioSourcesMap(&[mapping]).to_json(),
        r#"{"colibriClass":"AudioSourcesMap","mappedSources":[{"source":"a-a0","owner":"a","ssrc":4294967295}]}"#
    );
    assert_eq!(
        ServerMessage::VideoSourcesMap(&[]).to_json(),
        r#"{"colibriClass":"VideoSourcesMap","mappedSources":[]}"#
    );
}

#[test]
fn a_message_is_written_with_the_class_it_names() {
    let messages = [
        ServerMessage::ServerHello { version: None },
        ServerMessage::ForwardedSources(&[]),
        ServerMessage::VideoSourcesMap(&[]),
        ServerMessage::AudioSourcesMap(&[]),
        ServerMessage::ConnectionStats {
            estimated_downlink_bandwidth: 1,
        },
    ];
    for message in messages {
        let json: Value = serde_json::from_str(&message.to_json()).expect("JSON");
        assert_eq!(json["colibriClass"], message.class());
    }
}

//! The events of media-json in both directions.
//!
//! Its shapes go back to VoxImplant's websockets, where sequence numbers, chunks and timestamps are texts; the audio level
//! and the ids of pings are numbers.

use bytes::Bytes;
use data_encoding::BASE64;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Received;
use crate::ids::SourceName;
use crate::limits::{MAX_EXPORT_PAYLOAD, MAX_MESSAGE_BYTES};

/// An event for the peer.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event<'a> {
    /// What the bridge is.
    Info {
        application: &'static str,
        version: &'a str,
        #[serde(rename = "meetingId")]
        meeting_id: &'a str,
    },
    /// Which sources are sent, and which are wanted.
    Sources {
        exports: Vec<&'a str>,
        requests: Vec<&'a str>,
    },
    /// A source begins.
    Start {
        #[serde(rename = "sequenceNumber")]
        sequence: Text,
        start: Start<'a>,
    },
    /// A packet of a source.
    Media {
        #[serde(rename = "sequenceNumber")]
        sequence: Text,
        media: Media<'a>,
    },
    /// Answer with a pong of the same id.
    Ping { id: u32 },
    /// Nothing follows.
    SessionEnd,
}

impl Event<'_> {
    pub fn to_json(&self) -> String {
        // Maps with text keys and no custom code: it can not fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A number that is written as a text.
pub(super) struct Text(pub u64);

impl Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Start<'a> {
    pub tag: &'a str,
    pub media_format: MediaFormat,
    pub custom_parameters: CustomParameters<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diarize: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MediaFormat {
    encoding: &'static str,
    sample_rate: u32,
    channels: u8,
}

/// As RFC 7587 declares it, whatever the packets hold.
pub(super) const OPUS: MediaFormat = MediaFormat {
    encoding: "opus",
    sample_rate: 48_000,
    channels: 2,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CustomParameters<'a> {
    pub endpoint_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Media<'a> {
    pub tag: &'a str,
    pub chunk: Text,
    pub timestamp: Text,
    #[serde(serialize_with = "base64")]
    pub payload: &'a [u8],
    /// −dBov (RFC 6464).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_level: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vad: Option<bool>,
}

fn base64<S: serde::Serializer>(payload: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&BASE64.encode_display(payload))
}

/// Names as they are written.
pub(super) fn names(sources: &[SourceName]) -> Vec<&str> {
    sources.iter().map(SourceName::as_str).collect()
}

/// What the peer said.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Heard {
    /// Something for the conference.
    Received(Received),
    /// The answer to a ping.
    Pong(u64),
    /// About the peer.
    Info,
    /// Something that has no effect.
    Other,
}

/// Reads an event; `None` if it is none.
pub(super) fn read(text: &str) -> Option<Heard> {
    if text.len() > MAX_MESSAGE_BYTES {
        return None;
    }
    let mut object: Map<String, Value> = serde_json::from_str(text).ok()?;
    let event = object.get("event")?.as_str()?.to_owned();
    let mut part = |name: &str| match object.remove(name) {
        Some(Value::Object(part)) => Some(part),
        _ => None,
    };
    Some(match event.as_str() {
        "transcription-result" => {
            let text = serde_json::to_string(&object).ok()?;
            Heard::Received(Received::Transcript(text))
        }
        "media" => {
            let media = part("media")?;
            let payload = BASE64.decode(string(&media, "payload")?.as_bytes()).ok()?;
            if payload.is_empty() || payload.len() > MAX_EXPORT_PAYLOAD {
                return None;
            }
            Heard::Received(Received::Media {
                tag: string(&media, "tag")?.to_owned(),
                timestamp: number(&media, "timestamp")? as u32,
                payload: Bytes::from(payload),
            })
        }
        name @ ("start" | "stop") => {
            let stream = part(name)?;
            let tag = string(&stream, "tag")?.to_owned();
            // Without a timestamp it only announces a format.
            if stream.get("timestamp").is_none_or(Value::is_null) {
                return Some(Heard::Other);
            }
            Heard::Received(Received::Sending {
                tag,
                sending: name == "start",
                timestamp: number(&stream, "timestamp")? as u32,
            })
        }
        "pong" => Heard::Pong(number(&object, "id")?),
        "info" => Heard::Info,
        _ => Heard::Other,
    })
}

fn string<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

/// A number, as such or as text.
fn number(object: &Map<String, Value>, key: &str) -> Option<u64> {
    match object.get(key)? {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    }
}

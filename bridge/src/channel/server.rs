//! Messages to a client (bridge-channel §8).

use std::fmt::Write;

use super::json::write_string;
use super::{SourceMapping, Topic};
use crate::ids::{EndpointId, SourceName};

/// A message to a client, over data that belongs to whoever sends it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ServerMessage<'a> {
    /// First message on a websocket, and the answer to `ClientHello`.
    ServerHello {
        /// The bridge's version, if announced.
        version: Option<&'a str>,
    },
    /// Video sources that are selected for this receiver, most important first.
    ForwardedSources(&'a [SourceName]),
    /// The largest height that anybody wants of one of this client's sources.
    SenderSourceConstraints {
        /// The source.
        source: &'a SourceName,
        /// −1 = no limit, 0 = nobody wants it.
        max_height: i32,
    },
    /// New or changed video slots.
    VideoSourcesMap(&'a [SourceMapping]),
    /// New or changed audio slots.
    AudioSourcesMap(&'a [SourceMapping]),
    /// Who speaks, and who spoke before.
    DominantSpeakerEndpointChangeEvent {
        /// The dominant speaker.
        dominant: &'a EndpointId,
        /// Earlier ones, most recent first.
        previous: &'a [EndpointId],
        /// Nobody speaks right now.
        silence: bool,
    },
    /// An endpoint's connection broke or is back.
    EndpointConnectivityStatusChangeEvent {
        /// Whose.
        endpoint: &'a EndpointId,
        /// Written as a string, as clients expect.
        active: bool,
    },
    /// A synthetic source begins or ceases to speak.
    SyntheticSourceSendingChangeEvent {
        /// The source.
        source: &'a SourceName,
        /// It begins.
        sending: bool,
        /// RTP timestamp of its first packet, or one past the last.
        timestamp: u32,
    },
    /// The latest bandwidth estimate for this receiver.
    ConnectionStats {
        /// Bits per second.
        estimated_downlink_bandwidth: u64,
    },
}

impl ServerMessage<'_> {
    /// The message's `colibriClass`.
    pub const fn class(&self) -> &'static str {
        match self {
            ServerMessage::ServerHello { .. } => "ServerHello",
            ServerMessage::ForwardedSources(_) => "ForwardedSources",
            ServerMessage::SenderSourceConstraints { .. } => "SenderSourceConstraints",
            ServerMessage::VideoSourcesMap(_) => "VideoSourcesMap",
            ServerMessage::AudioSourcesMap(_) => "AudioSourcesMap",
            ServerMessage::DominantSpeakerEndpointChangeEvent { .. } => {
                "DominantSpeakerEndpointChangeEvent"
            }
            ServerMessage::EndpointConnectivityStatusChangeEvent { .. } => {
                "EndpointConnectivityStatusChangeEvent"
            }
            ServerMessage::SyntheticSourceSendingChangeEvent { .. } => {
                "SyntheticSourceSendingChangeEvent"
            }
            ServerMessage::ConnectionStats { .. } => "ConnectionStats",
        }
    }

    /// What it is the newest state of, if a newer message makes an older one superfluous.
    pub fn topic(&self) -> Option<Topic> {
        match self {
            ServerMessage::ForwardedSources(_) => Some(Topic::ForwardedSources),
            ServerMessage::SenderSourceConstraints { source, .. } => {
                Some(Topic::SenderConstraint((*source).clone()))
            }
            ServerMessage::DominantSpeakerEndpointChangeEvent { .. } => Some(Topic::Speakers),
            ServerMessage::EndpointConnectivityStatusChangeEvent { endpoint, .. } => {
                Some(Topic::Connectivity((*endpoint).clone()))
            }
            ServerMessage::ConnectionStats { .. } => Some(Topic::ConnectionStats),
            // The maps name only slots that changed, and each begin and end of speech counts.
            ServerMessage::ServerHello { .. }
            | ServerMessage::SyntheticSourceSendingChangeEvent { .. }
            | ServerMessage::VideoSourcesMap(_)
            | ServerMessage::AudioSourcesMap(_) => None,
        }
    }

    /// The message as compact JSON.
    pub fn to_json(&self) -> String {
        let mut object = Object::new();
        object.string("colibriClass", self.class());
        match *self {
            ServerMessage::ServerHello { version } => {
                if let Some(version) = version {
                    object.string("version", version);
                }
            }
            ServerMessage::ForwardedSources(sources) => {
                object.strings("forwardedSources", sources.iter().map(SourceName::as_str));
            }
            ServerMessage::SenderSourceConstraints { source, max_height } => {
                object.string("sourceName", source.as_str());
                object.number("maxHeight", max_height.into());
            }
            ServerMessage::VideoSourcesMap(mappings) | ServerMessage::AudioSourcesMap(mappings) => {
                object.objects("mappedSources", mappings, source_mapping);
            }
            ServerMessage::DominantSpeakerEndpointChangeEvent {
                dominant,
                previous,
                silence,
            } => {
                object.string("dominantSpeakerEndpoint", dominant.as_str());
                object.strings("previousSpeakers", previous.iter().map(EndpointId::as_str));
                object.raw("silence", if silence { "true" } else { "false" });
            }
            ServerMessage::EndpointConnectivityStatusChangeEvent { endpoint, active } => {
                object.string("endpoint", endpoint.as_str());
                object.string("active", if active { "true" } else { "false" });
            }
            ServerMessage::SyntheticSourceSendingChangeEvent {
                source,
                sending,
                timestamp,
            } => {
                object.string("sourceName", source.as_str());
                object.raw("sending", if sending { "true" } else { "false" });
                object.number("timestamp", timestamp.into());
            }
            ServerMessage::ConnectionStats {
                estimated_downlink_bandwidth,
            } => {
                object.number(
                    "estimatedDownlinkBandwidth",
                    estimated_downlink_bandwidth.into(),
                );
            }
        }
        object.finish()
    }
}

fn source_mapping(object: &mut Object, mapping: &SourceMapping) {
    object.string("source", mapping.source.as_str());
    object.string("owner", mapping.owner.as_str());
    object.number("ssrc", mapping.ssrc.into());
    if let Some(rtx) = mapping.rtx {
        object.number("rtx", rtx.into());
    }
    if let Some(video_type) = mapping.video_type {
        object.string("videoType", video_type.name());
    }
    if let Some(mid) = &mapping.mid {
        object.string("mid", mid);
    }
}

/// Writes one JSON object.
struct Object {
    out: String,
}

impl Object {
    fn new() -> Object {
        Object {
            out: String::from("{"),
        }
    }

    fn key(&mut self, key: &str) {
        if !self.out.ends_with('{') {
            self.out.push(',');
        }
        write_string(&mut self.out, key);
        self.out.push(':');
    }

    fn string(&mut self, key: &str, value: &str) {
        self.key(key);
        write_string(&mut self.out, value);
    }

    fn raw(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.push_str(value);
    }

    fn number(&mut self, key: &str, value: i128) {
        self.key(key);
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{value}");
    }

    fn strings<'s>(&mut self, key: &str, values: impl Iterator<Item = &'s str>) {
        self.key(key);
        self.out.push('[');
        for (index, value) in values.enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            write_string(&mut self.out, value);
        }
        self.out.push(']');
    }

    fn objects<T>(&mut self, key: &str, values: &[T], write: impl Fn(&mut Object, &T)) {
        self.key(key);
        self.out.push('[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.out.push('{');
            write(self, value);
            self.out.push('}');
        }
        self.out.push(']');
    }

    fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;

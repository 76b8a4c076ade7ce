//! Messages from a client (bridge-channel §5 to §7).

use std::collections::BTreeMap;

use super::json::{Members, Reader, Value, write_string};
use super::{AudioSubscription, KeyName, MessageError, ReceiverVideoConstraints, VideoConstraints};
use crate::ids::{EndpointId, SourceName};
use crate::limits::{MAX_JSON_STRING_BYTES, MAX_LIST_ITEMS};
use crate::media::VideoType;

/// Names the type of a message.
const CLASS: &str = "colibriClass";

/// Known types that a client may not send: they are ignored whatever they contain.
const UNHANDLED: [&str; 11] = [
    "ServerHello",
    "ForwardedSources",
    "SenderSourceConstraints",
    "VideoSourcesMap",
    "AudioSourcesMap",
    "DominantSpeakerEndpointChangeEvent",
    "EndpointConnectivityStatusChangeEvent",
    "ConnectionStats",
    "SyntheticSourceSendingChangeEvent",
    "AddReceiver",
    "RemoveReceiver",
];

/// A message from a client.
#[derive(Clone, PartialEq, Debug)]
pub enum ClientMessage {
    /// Asks for `ServerHello` on the same channel.
    ClientHello,
    /// What the client wants to receive.
    ReceiverVideoConstraints(ReceiverVideoConstraints),
    /// `LastNChangedEvent`: number of video sources at most; negative = no limit.
    LastN(i32),
    /// What one of the client's video sources shows. An `endpointId` in the message is ignored: the
    /// source belongs to whoever sent it.
    SourceVideoType {
        /// The source, known or not.
        source: SourceName,
        /// What it shows now.
        video_type: VideoType,
    },
    /// `VideoTypeMessage`, deprecated: as [`ClientMessage::SourceVideoType`] for `<sender>-v0`.
    VideoType(VideoType),
    /// What audio the client wants to receive.
    AudioSubscription(AudioSubscription),
    /// For other clients.
    EndpointMessage {
        /// To whom; `None` = everybody else in the conference.
        to: Option<EndpointId>,
        /// What to send on.
        body: ForwardedBody,
    },
    /// Statistics for other clients.
    EndpointStats {
        /// What to send on.
        body: ForwardedBody,
    },
    /// A well-formed message of a type that clients do not send; carries its name.
    Unhandled(&'static str),
}

/// The content of a message from one client to others: checked, without its sender.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForwardedBody {
    class: &'static str,
    to: Option<String>,
    /// Members other than those above and `from`: canonical text, each with a comma in front.
    extra: String,
}

impl ForwardedBody {
    /// The text to send, as from `from` whatever the client claimed (T64).
    pub fn forward(&self, from: &EndpointId) -> String {
        let fixed =
            self.class.len() + self.to.as_ref().map_or(0, String::len) + from.as_str().len() + 48;
        let mut out = String::with_capacity(fixed + self.extra.len());
        out.push_str("{\"colibriClass\":");
        write_string(&mut out, self.class);
        if let Some(to) = &self.to {
            out.push_str(",\"to\":");
            write_string(&mut out, to);
        }
        out.push_str(",\"from\":");
        write_string(&mut out, from.as_str());
        out.push_str(&self.extra);
        out.push('}');
        out
    }
}

impl ClientMessage {
    /// Reads one message by the rules of bridge-channel §5.
    ///
    /// # Errors
    /// The reason for dropping the message.
    pub fn parse(text: &str) -> Result<ClientMessage, MessageError> {
        let members = Members::read(text)?;
        let class = members.get(CLASS).ok_or(MessageError::NoClass)?;
        let Value::String(class) = Reader::new(class).value(MAX_JSON_STRING_BYTES)? else {
            return Err(MessageError::NoClass);
        };
        let fields = Fields(&members);
        match &*class {
            "ClientHello" => {
                fields.only(&[])?;
                Ok(ClientMessage::ClientHello)
            }
            "ReceiverVideoConstraints" => {
                receiver_video_constraints(&fields).map(ClientMessage::ReceiverVideoConstraints)
            }
            "LastNChangedEvent" => {
                fields.only(&["lastN"])?;
                Ok(ClientMessage::LastN(fields.int("lastN")?.unwrap_or(0)))
            }
            "SourceVideoTypeMessage" => {
                fields.only(&["sourceName", "videoType", "endpointId"])?;
                fields.string("endpointId")?;
                Ok(ClientMessage::SourceVideoType {
                    source: SourceName::new(
                        fields
                            .string("sourceName")?
                            .ok_or(MessageError::MissingKey("sourceName"))?,
                    ),
                    video_type: fields.video_type()?,
                })
            }
            "VideoTypeMessage" => {
                fields.only(&["videoType", "endpointId"])?;
                fields.string("endpointId")?;
                Ok(ClientMessage::VideoType(fields.video_type()?))
            }
            "ReceiverAudioSubscription" => {
                audio_subscription(&fields).map(ClientMessage::AudioSubscription)
            }
            "EndpointMessage" => {
                let to = fields.string("to")?.ok_or(MessageError::MissingKey("to"))?;
                Ok(ClientMessage::EndpointMessage {
                    to: Some(to.as_str())
                        .filter(|to| !to.trim().is_empty())
                        .map(EndpointId::from),
                    body: fields.body("EndpointMessage", Some(to)),
                })
            }
            "EndpointStats" => Ok(ClientMessage::EndpointStats {
                body: fields.body("EndpointStats", None),
            }),
            other => UNHANDLED
                .into_iter()
                .find(|known| *known == other)
                .map(ClientMessage::Unhandled)
                .ok_or_else(|| MessageError::UnknownClass(KeyName::new(other))),
        }
    }

    /// The message's `colibriClass`.
    pub fn class(&self) -> &'static str {
        match self {
            ClientMessage::ClientHello => "ClientHello",
            ClientMessage::ReceiverVideoConstraints(_) => "ReceiverVideoConstraints",
            ClientMessage::LastN(_) => "LastNChangedEvent",
            ClientMessage::SourceVideoType { .. } => "SourceVideoTypeMessage",
            ClientMessage::VideoType(_) => "VideoTypeMessage",
            ClientMessage::AudioSubscription(_) => "ReceiverAudioSubscription",
            ClientMessage::EndpointMessage { .. } => "EndpointMessage",
            ClientMessage::EndpointStats { .. } => "EndpointStats",
            ClientMessage::Unhandled(class) => class,
        }
    }
}

fn receiver_video_constraints(fields: &Fields) -> Result<ReceiverVideoConstraints, MessageError> {
    fields.only(&[
        "lastN",
        "selectedSources",
        "onStageSources",
        "defaultConstraints",
        "constraints",
        "assumedBandwidthBps",
    ])?;
    // Whatever is missing or null here keeps its value (bridge-channel §7.2); it does not become 0.
    Ok(ReceiverVideoConstraints {
        last_n: fields.int("lastN")?,
        selected_sources: fields.names("selectedSources")?,
        on_stage_sources: fields.names("onStageSources")?,
        default_constraints: fields
            .present("defaultConstraints")
            .map(|value| constraints(&mut Reader::new(value), "defaultConstraints"))
            .transpose()?,
        constraints: fields
            .present("constraints")
            .map(constraints_map)
            .transpose()?,
        assumed_bandwidth_bps: fields.long("assumedBandwidthBps")?,
    })
}

fn constraints_map(value: &str) -> Result<BTreeMap<SourceName, VideoConstraints>, MessageError> {
    let mut reader = Reader::new(value);
    let Value::Object = reader.value(0)? else {
        return Err(MessageError::BadValue("constraints"));
    };
    reader.begin();
    let mut map = BTreeMap::new();
    while let Some(source) = reader.next_key(map.is_empty())? {
        map.insert(
            SourceName::from(&*source),
            constraints(&mut reader, "constraints")?,
        );
    }
    Ok(map)
}

/// Reads a constraints object, the value of or inside of `key`.
fn constraints(reader: &mut Reader, key: &'static str) -> Result<VideoConstraints, MessageError> {
    let Value::Object = reader.value(MAX_JSON_STRING_BYTES)? else {
        return Err(MessageError::BadValue(key));
    };
    reader.begin();
    let mut constraints = VideoConstraints {
        max_height: 0,
        max_frame_rate: -1.0,
    };
    let mut first = true;
    let mut value = String::new();
    while let Some(member) = reader.next_key(first)? {
        first = false;
        value.clear();
        reader.copy_value(&mut value, 0, MAX_JSON_STRING_BYTES)?;
        match &*member {
            "maxHeight" => constraints.max_height = int(&value, "maxHeight")?,
            "maxFrameRate" => constraints.max_frame_rate = double(&value, "maxFrameRate")?,
            _ => {}
        }
    }
    if constraints.max_height < -1 {
        return Err(MessageError::BadValue("maxHeight"));
    }
    if constraints.max_frame_rate < 0.0 && constraints.max_frame_rate != -1.0 {
        return Err(MessageError::BadValue("maxFrameRate"));
    }
    Ok(constraints)
}

fn audio_subscription(fields: &Fields) -> Result<AudioSubscription, MessageError> {
    fields.only(&["all", "include", "exclude", "mode", "list"])?;
    let Some(mode) = fields.string("mode")? else {
        return Ok(AudioSubscription {
            all: fields.bool("all")?,
            include: fields.names("include")?.unwrap_or_default(),
            exclude: fields.names("exclude")?.unwrap_or_default(),
        });
    };
    let list = fields.names("list")?.unwrap_or_default();
    match mode.as_str() {
        "All" => Ok(AudioSubscription {
            all: true,
            ..AudioSubscription::default()
        }),
        "None" => Ok(AudioSubscription::default()),
        "Include" => Ok(AudioSubscription {
            include: list,
            ..AudioSubscription::default()
        }),
        "Exclude" => Ok(AudioSubscription {
            all: true,
            exclude: list,
            ..AudioSubscription::default()
        }),
        _ => Err(MessageError::BadValue("mode")),
    }
}

/// Typed access to a message's members.
struct Fields<'m>(&'m Members<'m>);

impl Fields<'_> {
    /// Refuses members other than `colibriClass` and `known`.
    fn only(&self, known: &[&str]) -> Result<(), MessageError> {
        match self
            .0
            .iter()
            .find(|(key, _)| *key != CLASS && !known.contains(key))
        {
            Some((key, _)) => Err(MessageError::UnknownKey(KeyName::new(key))),
            None => Ok(()),
        }
    }

    /// A member's canonical text unless it is missing or null.
    fn present(&self, key: &str) -> Option<&str> {
        self.0.get(key).filter(|value| *value != "null")
    }

    fn int(&self, key: &'static str) -> Result<Option<i32>, MessageError> {
        self.present(key).map(|value| int(value, key)).transpose()
    }

    fn long(&self, key: &'static str) -> Result<Option<i64>, MessageError> {
        self.present(key).map(|value| long(value, key)).transpose()
    }

    fn bool(&self, key: &'static str) -> Result<bool, MessageError> {
        let Some(value) = self.present(key) else {
            return Ok(false);
        };
        match Reader::new(value).value(MAX_JSON_STRING_BYTES)? {
            Value::Bool(value) => Ok(value),
            Value::String(text) if text == "true" => Ok(true),
            Value::String(text) if text == "false" => Ok(false),
            _ => Err(MessageError::BadValue(key)),
        }
    }

    fn string(&self, key: &'static str) -> Result<Option<String>, MessageError> {
        match self.present(key) {
            Some(value) => string(&mut Reader::new(value), key),
            None => Ok(None),
        }
    }

    fn names(&self, key: &'static str) -> Result<Option<Vec<SourceName>>, MessageError> {
        let Some(value) = self.present(key) else {
            return Ok(None);
        };
        let mut reader = Reader::new(value);
        let Value::Array = reader.value(MAX_JSON_STRING_BYTES)? else {
            return Err(MessageError::BadValue(key));
        };
        reader.begin();
        let (mut names, mut count) = (Vec::new(), 0);
        while reader.next_item(count == 0)? {
            count += 1;
            if count > MAX_LIST_ITEMS {
                return Err(MessageError::ListTooLong(key));
            }
            // A null names no source, which is harmless.
            names.extend(string(&mut reader, key)?.map(SourceName::new));
        }
        Ok(Some(names))
    }

    fn video_type(&self) -> Result<VideoType, MessageError> {
        let value = self
            .present("videoType")
            .ok_or(MessageError::MissingKey("videoType"))?;
        match Reader::new(value).value(MAX_JSON_STRING_BYTES)? {
            Value::String(name) => {
                VideoType::from_name(&name).ok_or(MessageError::BadValue("videoType"))
            }
            _ => Err(MessageError::BadValue("videoType")),
        }
    }

    fn body(&self, class: &'static str, to: Option<String>) -> ForwardedBody {
        let mut extra = String::new();
        for (key, value) in self.0.iter() {
            if key == CLASS || key == "from" || (key == "to" && to.is_some()) {
                continue;
            }
            extra.push(',');
            write_string(&mut extra, key);
            extra.push(':');
            extra.push_str(value);
        }
        ForwardedBody { class, to, extra }
    }
}

fn string(reader: &mut Reader, key: &'static str) -> Result<Option<String>, MessageError> {
    match reader.value(MAX_JSON_STRING_BYTES)? {
        Value::Null => Ok(None),
        Value::Bool(value) => Ok(Some(value.to_string())),
        Value::Number(number) => Ok(Some(number.to_owned())),
        Value::String(text) => Ok(Some(text.into_owned())),
        Value::Array | Value::Object => Err(MessageError::BadValue(key)),
    }
}

fn int(value: &str, key: &'static str) -> Result<i32, MessageError> {
    i32::try_from(long(value, key)?).map_err(|_| MessageError::BadValue(key))
}

fn long(value: &str, key: &'static str) -> Result<i64, MessageError> {
    let parsed = match Reader::new(value).value(MAX_JSON_STRING_BYTES)? {
        Value::Null => Some(0),
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number
            .parse()
            .ok()
            .or_else(|| truncate(number.parse().ok()?)),
        _ => None,
    };
    parsed.ok_or(MessageError::BadValue(key))
}

/// The integer part of a decimal number.
fn truncate(number: f64) -> Option<i64> {
    // 2^63 is the first value too large; −2^63 is allowed.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (-LIMIT..LIMIT).contains(&number).then_some(number as i64)
}

fn double(value: &str, key: &'static str) -> Result<f64, MessageError> {
    let parsed = match Reader::new(value).value(MAX_JSON_STRING_BYTES)? {
        Value::Null => Some(0.0),
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.parse().ok(),
        _ => None,
    };
    parsed
        .filter(|number: &f64| number.is_finite())
        .ok_or(MessageError::BadValue(key))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

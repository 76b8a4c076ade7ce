//! The JSON form of requests and answers (colibri2 spec §2.3).
//!
//! A key that we know must have its type, even `null` is refused; keys that we do not know are ignored.
//! Where attributes of XML elements became keys, any scalar is taken, and answers have strings.

use std::borrow::Cow;
use std::time::Duration;

use causeway_bridge::control::api::{Candidate, NewSource, RemoteTransport};
use causeway_bridge::export::{Connect, Pings};
use causeway_bridge::ids::{EndpointId, MeetingId};
use causeway_bridge::limits::{
    MAX_ENDPOINTS_PER_REQUEST, MAX_FINGERPRINTS, MAX_LIST_ITEMS, MAX_PAYLOAD_TYPES,
    MAX_SSRCS_PER_ENDPOINT,
};
use causeway_bridge::media::{Extension, Feedback, MediaKind, PayloadType};
use causeway_bridge::transport::ice::Credentials;
use serde_json::{Map, Value, json};

use crate::connect::Description;
use crate::handler::SCTP_PORT;
use crate::model::{
    Capabilities, ConferenceModified, ConferenceModify, EndpointModified, EndpointModify,
    FeedbackSources, ForceMute, IceRestart, Media, RelayModify, Sctp, TransportModified,
    TransportModify,
};
use crate::parts::{self, ICE_UDP, ParseError, Result, checked_id, fail};

type Object = Map<String, Value>;

/// Reads a request. `meeting_id` is the one of the path, if there is one, and wins over the body's.
///
/// # Errors
///
/// A key with the wrong type, a missing id, a value that does not convert, or too much of something (T69).
pub fn parse(value: &Value, meeting_id: Option<&str>) -> Result<ConferenceModify> {
    let Some(body) = value.as_object() else {
        return fail("Expected an object");
    };
    let in_body = string(body, "meeting-id")?;
    let meeting_id = meeting_id.or(in_body).unwrap_or_default();
    if meeting_id.trim().is_empty() {
        return fail("meeting-id must be set for conference-modify IQ");
    }
    Ok(ConferenceModify {
        meeting_id: MeetingId::from(checked_id(meeting_id)?),
        name: string(body, "name")?.map(str::to_owned),
        create: boolean(body, "create")?.unwrap_or(false),
        expire: boolean(body, "expire")?.unwrap_or(false),
        rtcstats_enabled: boolean(body, "rtcstats-enabled")?.unwrap_or(true),
        endpoints: objects(body, "endpoints", MAX_ENDPOINTS_PER_REQUEST)?
            .map(endpoint)
            .collect::<Result<_>>()?,
        relays: objects(body, "relays", MAX_ENDPOINTS_PER_REQUEST)?
            .map(|relay| {
                let id = required_id(relay)?.to_owned();
                Ok(RelayModify { id })
            })
            .collect::<Result<_>>()?,
        connects: objects(body, "connects", MAX_LIST_ITEMS)?
            .map(connect)
            .collect::<Result<_>>()?,
    })
}

fn connect(object: &Object) -> Result<Connect> {
    let required = |key| match string(object, key)? {
        Some(value) => Ok(value),
        None => fail(format!("{key} must be set for connect")),
    };
    let flag = |key| Ok(boolean(object, key)?.unwrap_or(false));
    let mut headers = Vec::new();
    for (name, value) in nested(object, "headers")?.into_iter().flatten() {
        let Some(value) = value.as_str() else {
            return fail("Expected strings in headers");
        };
        headers.push((name.as_str(), value));
    }
    let pings = nested(object, "ping")?.map(|ping| {
        let millis = |key| match number(ping, key)? {
            Some(millis) => Ok(Duration::from_millis(millis)),
            None => fail(format!("{key} must be set for ping")),
        };
        Ok(Pings {
            interval: millis("interval")?,
            timeout: millis("timeout")?,
        })
    });
    let names = |key| -> Result<Vec<&str>> {
        let items = array(object, key, MAX_LIST_ITEMS)?.iter();
        let names = items.map(|item| match item.as_str() {
            Some(name) => Ok(name),
            None => fail(format!("Expected strings in {key}")),
        });
        names.collect()
    };
    let description = Description {
        id: required_id(object)?,
        url: required("url")?,
        protocol: required("protocol")?,
        kind: required("type")?,
        audio: flag("audio")?,
        video: flag("video")?,
        create: flag("create")?,
        expire: flag("expire")?,
        headers,
        pings: pings.transpose()?,
        exports: names("exports")?,
        requests: names("requests")?,
    };
    description.read()
}

fn endpoint(object: &Object) -> Result<EndpointModify> {
    let visitor = match string(object, "muc-role")? {
        None => false,
        Some(role) => parts::is_visitor(role)?,
    };
    let medias: Vec<Media> = objects(object, "medias", MAX_LIST_ITEMS)?
        .map(media)
        .collect::<Result<_>>()?;
    let formats: usize = medias.iter().map(|media| media.payload_types.len()).sum();
    if formats > MAX_PAYLOAD_TYPES {
        return fail("An endpoint has more than 128 payload types");
    }
    let sources = match object.get("sources") {
        None => None,
        Some(_) => Some(
            objects(object, "sources", MAX_SSRCS_PER_ENDPOINT)?
                .filter_map(|source| media_source(source).transpose())
                .collect::<Result<_>>()?,
        ),
    };
    let force_mute = nested(object, "force-mute")?
        .map(|mute| {
            Ok(ForceMute {
                audio: boolean(mute, "audio")?.unwrap_or(false),
                video: boolean(mute, "video")?.unwrap_or(false),
            })
        })
        .transpose()?;
    let initial_last_n = nested(object, "initial-last-n")?
        .map(|last_n| {
            let value = last_n.get("value").and_then(Value::as_i64);
            value
                .and_then(|value| i32::try_from(value).ok())
                .ok_or_else(|| ParseError("Expected an integer for value of initial-last-n".into()))
        })
        .transpose()?;
    let mut capabilities = Capabilities::default();
    for name in array(object, "capabilities", MAX_LIST_ITEMS)? {
        match name.as_str() {
            Some(name) => capabilities.add(name),
            None => return fail("Expected strings in capabilities"),
        }
    }
    Ok(EndpointModify {
        id: EndpointId::from(required_id(object)?),
        create: boolean(object, "create")?.unwrap_or(false),
        expire: boolean(object, "expire")?.unwrap_or(false),
        stats_id: string(object, "stats-id")?
            .map(|id| checked_id(id).map(str::to_owned))
            .transpose()?,
        diarize: false,
        visitor,
        medias,
        transport: nested(object, "transport")?.map(transport).transpose()?,
        sources,
        force_mute,
        initial_last_n,
        capabilities,
    })
}

fn media(object: &Object) -> Result<Media> {
    let kind = parts::media_kind(string(object, "type")?)?;
    let mut media = Media {
        extmap_allow_mixed: boolean(object, "extmap-allow-mixed")?.unwrap_or(false),
        ..Media::default()
    };
    for format in objects(object, "payload-types", MAX_PAYLOAD_TYPES)? {
        if let Some(kind) = kind {
            media.payload_types.push(payload_type(kind, format)?);
        }
    }
    for extension in objects(object, "rtp-hdrexts", MAX_LIST_ITEMS)? {
        let uri = extension.get("uri").and_then(Value::as_str);
        let (Some(known), Some(id)) = (uri.and_then(Extension::from_uri), extension.get("id"))
        else {
            continue;
        };
        match id.as_u64().and_then(|id| u8::try_from(id).ok()) {
            Some(id) if id > 0 => media.extensions.push((known, id)),
            _ => return fail("The id of a header extension must be a number from 1 to 255"),
        }
    }
    Ok(media)
}

fn payload_type(kind: MediaKind, object: &Object) -> Result<PayloadType> {
    let mut feedback = Feedback::default();
    for entry in objects(object, "rtcp-fbs", MAX_LIST_ITEMS)? {
        parts::add_feedback(
            &mut feedback,
            string(entry, "type")?,
            string(entry, "subtype")?,
        );
    }
    let name = scalar(object, "name");
    let format = parts::Format {
        id: number(object, "id")?,
        name: name.as_deref(),
        clock_rate: number(object, "clockrate")?,
        apt: match nested(object, "parameters")? {
            Some(parameters) => number(parameters, "apt")?,
            None => None,
        },
        feedback,
    };
    format.payload_type(kind)
}

/// `None` for a source without SSRC, which nothing can come from.
fn media_source(object: &Object) -> Result<Option<NewSource>> {
    let synthetic = boolean(object, "synthetic")?.unwrap_or(false);
    let mut read = parts::Source::new(string(object, "type")?, synthetic)?;
    let name = required_id(object)?;
    for source in array(object, "sources", MAX_SSRCS_PER_ENDPOINT)? {
        let Some(described) = source.as_object() else {
            read.add_ssrc(ssrc(source)?, None)?;
            continue;
        };
        let Some(number) = described.get("ssrc") else {
            return fail("A source has no ssrc");
        };
        read.add_ssrc(ssrc(number)?, string(described, "videoType")?)?;
    }
    for group in objects(object, "ssrc-groups", MAX_SSRCS_PER_ENDPOINT)? {
        let members = array(group, "sources", MAX_SSRCS_PER_ENDPOINT)?
            .iter()
            .map(ssrc)
            .collect::<Result<_>>()?;
        read.add_group(string(group, "semantics")?.unwrap_or_default(), members)?;
    }
    Ok(read.build(name))
}

fn ssrc(value: &Value) -> Result<u32> {
    let number = match value {
        Value::Number(number) => number.as_u64().and_then(|ssrc| u32::try_from(ssrc).ok()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| ParseError("An SSRC must be a number from 0 to 4294967295".into()))
}

fn transport(object: &Object) -> Result<TransportModify> {
    boolean(object, "use-unique-port")?;
    let restart = boolean(object, "ice-restart")?.unwrap_or(false);
    let sctp = nested(object, "sctp")?
        .map(|sctp| {
            Ok(Sctp {
                port: match sctp.get("port") {
                    None => None,
                    Some(port) => match port.as_u64() {
                        Some(port) => Some(port),
                        None => return fail("Expected number for port"),
                    },
                },
                role: string(sctp, "role")?.map(parts::sctp_role).transpose()?,
            })
        })
        .transpose()?;
    Ok(TransportModify {
        ice_controlling: boolean(object, "ice-controlling")?.unwrap_or(false),
        // The reference implementation does not read this key. We do, and answer as it does while ICE
        // never connected.
        ice_restart: if restart {
            IceRestart::IfConnected
        } else {
            IceRestart::No
        },
        remote: match nested(object, "transport")? {
            Some(inner) if inner.get("xmlns").and_then(Value::as_str) == Some(ICE_UDP) => {
                Some(remote_transport(inner)?)
            }
            _ => None,
        },
        sctp,
    })
}

fn remote_transport(object: &Object) -> Result<RemoteTransport> {
    let mut remote = RemoteTransport {
        credentials: match (scalar(object, "ufrag"), scalar(object, "pwd")) {
            (Some(ufrag), Some(password)) => Some(Credentials {
                ufrag: ufrag.into(),
                password: password.into(),
            }),
            _ => None,
        },
        ice_generation: parts::ice_generation(number(object, "ice-generation")?),
        ..RemoteTransport::default()
    };
    for print in objects(object, "fingerprints", MAX_FINGERPRINTS)? {
        let (Some(text), Some(hash)) = (string(print, "fingerprint")?, string(print, "hash")?)
        else {
            continue;
        };
        parts::add_fingerprint(&mut remote, text, hash, string(print, "setup")?)?;
    }
    for candidate in objects(object, "candidates", MAX_LIST_ITEMS)? {
        parts::add_candidate(&mut remote, |name| {
            scalar(candidate, name).map(Cow::into_owned)
        })?;
    }
    Ok(remote)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NULL",
        Value::Bool(_) => "BOOLEAN",
        Value::Number(_) => "NUMBER",
        Value::String(_) => "STRING",
        Value::Array(_) => "ARRAY",
        Value::Object(_) => "OBJECT",
    }
}

fn typed<'a, T>(
    object: &'a Object,
    key: &str,
    expected: &str,
    read: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>> {
    let Some(value) = object.get(key) else {
        return Ok(None);
    };
    match read(value) {
        Some(read) => Ok(Some(read)),
        None => fail(format!(
            "Expected {expected} for {key}, got {}",
            type_name(value)
        )),
    }
}

fn string<'a>(object: &'a Object, key: &str) -> Result<Option<&'a str>> {
    typed(object, key, "string", Value::as_str)
}

fn boolean(object: &Object, key: &str) -> Result<Option<bool>> {
    typed(object, key, "boolean", Value::as_bool)
}

fn nested<'a>(object: &'a Object, key: &str) -> Result<Option<&'a Object>> {
    typed(object, key, "object", Value::as_object)
}

fn array<'a>(object: &'a Object, key: &str, limit: usize) -> Result<&'a [Value]> {
    let items = typed(object, key, "array", Value::as_array)?.map_or(&[][..], Vec::as_slice);
    if items.len() > limit {
        return fail(format!("{key} has more than {limit} entries"));
    }
    Ok(items)
}

fn objects<'a>(
    object: &'a Object,
    key: &str,
    limit: usize,
) -> Result<impl Iterator<Item = &'a Object> + use<'a>> {
    let items = array(object, key, limit)?;
    if !items.iter().all(Value::is_object) {
        return fail(format!("Expected objects in {key}"));
    }
    Ok(items.iter().filter_map(Value::as_object))
}

/// What is an attribute in XML: any scalar as text.
fn scalar<'a>(object: &'a Object, key: &str) -> Option<Cow<'a, str>> {
    match object.get(key)? {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        _ => None,
    }
}

fn number<T: std::str::FromStr>(object: &Object, key: &str) -> Result<Option<T>> {
    match scalar(object, key) {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => fail(format!("The value of {key} is no number in range")),
        },
    }
}

fn required_id(object: &Object) -> Result<&str> {
    match string(object, "id")? {
        Some(id) if !id.is_empty() => checked_id(id),
        _ => fail("ID must be set"),
    }
}

/// Writes an answer.
pub fn print(answer: &ConferenceModified) -> Value {
    let mut object = Object::new();
    if !answer.endpoints.is_empty() {
        let endpoints = answer.endpoints.iter().map(print_endpoint).collect();
        object.insert("endpoints".into(), endpoints);
    }
    if let Some(FeedbackSources {
        audio_ssrc,
        video_ssrc,
    }) = answer.feedback
    {
        let source = |kind: &str, name: &str, ssrc: u32| json!({ "type": kind, "id": name, "sources": [{ "ssrc": ssrc, "name": name }] });
        let sources = json!([
            source("audio", "jvb-a0", audio_ssrc),
            source("video", "jvb-v0", video_ssrc),
        ]);
        object.insert("sources".into(), sources);
    }
    Value::Object(object)
}

fn print_endpoint(endpoint: &EndpointModified) -> Value {
    let mut object = Object::new();
    object.insert("id".into(), endpoint.id.as_str().into());
    if endpoint.expire {
        object.insert("expire".into(), true.into());
    }
    if let Some(transport) = &endpoint.transport {
        object.insert("transport".into(), print_transport(transport));
    }
    Value::Object(object)
}

fn print_transport(transport: &TransportModified) -> Value {
    let local = &transport.local;
    let mut inner = Object::new();
    inner.insert("xmlns".into(), ICE_UDP.into());
    inner.insert("pwd".into(), (&*local.credentials.password).into());
    inner.insert("ufrag".into(), (&*local.credentials.ufrag).into());
    if let Some(generation) = local.ice_generation {
        inner.insert("ice-generation".into(), generation.to_string().into());
    }
    let fingerprint = json!({
        "fingerprint": parts::digest(&local.fingerprint),
        "setup": parts::setup_name(local.setup),
        "hash": local.fingerprint.hash,
    });
    inner.insert("fingerprints".into(), json!([fingerprint]));
    let candidates = local.candidates.iter().enumerate().map(|(index, it)| {
        // Ids are unique in the conference, as the ufrag is.
        let id = format!("{}{index}", local.credentials.ufrag);
        print_candidate(it, id)
    });
    inner.insert("candidates".into(), candidates.collect());
    if !transport.web_sockets.is_empty() {
        inner.insert("web-sockets".into(), json!(transport.web_sockets));
    }
    inner.insert("rtcp-mux".into(), true.into());

    let mut outer = Object::new();
    outer.insert("transport".into(), Value::Object(inner));
    if transport.sctp {
        let sctp = json!({ "port": SCTP_PORT, "role": "SERVER" });
        outer.insert("sctp".into(), sctp);
    }
    Value::Object(outer)
}

fn print_candidate(candidate: &Candidate, id: String) -> Value {
    let mut printed = json!({
        "component": "1",
        "foundation": candidate.foundation,
        "generation": "0",
        "id": id,
        "network": "0",
        "priority": candidate.priority.to_string(),
        "protocol": "udp",
        "type": parts::candidate_type(candidate.kind),
        "ip": candidate.address.ip().to_string(),
        "port": candidate.address.port().to_string(),
    });
    if let Some(related) = candidate.related {
        printed["rel-addr"] = related.ip().to_string().into();
        printed["rel-port"] = related.port().to_string().into();
    }
    printed
}

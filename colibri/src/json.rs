//! The JSON form of requests and answers (colibri2 spec §2.3).
//!
//! A key that we know must have its type, even `null` is refused; keys that we do not know are ignored.
//! Where attributes of XML elements became keys, any scalar is taken, and answers have strings.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use causeway_bridge::control::api::{Candidate, CandidateKind, NewSource, RemoteTransport};
use causeway_bridge::ids::{EndpointId, MeetingId, SourceName};
use causeway_bridge::limits::{
    MAX_ENDPOINTS_PER_REQUEST, MAX_FINGERPRINTS, MAX_ID_BYTES, MAX_LIST_ITEMS, MAX_PAYLOAD_TYPES,
    MAX_REMOTE_CANDIDATES, MAX_SSRCS_PER_ENDPOINT,
};
use causeway_bridge::media::{
    Codec, EncodingDescription, Extension, Feedback, MediaKind, PayloadType, VideoType,
};
use causeway_bridge::transport::ice::Credentials;
use causeway_bridge::transport::secure::{Fingerprint, Setup};
use serde_json::{Map, Value, json};

use crate::handler::SCTP_PORT;
use crate::model::{
    Capabilities, ConferenceModified, ConferenceModify, ConnectModify, EndpointModified,
    EndpointModify, FeedbackSources, ForceMute, IceRestart, Media, RelayModify, Sctp, SctpRole,
    TransportModified, TransportModify,
};

/// Namespace of the inner transport.
const ICE_UDP: &str = "urn:xmpp:jingle:transports:ice-udp:1";

/// Why JSON is no request; the text is for people.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

type Result<T> = std::result::Result<T, ParseError>;
type Object = Map<String, Value>;

fn fail<T>(why: impl Into<String>) -> Result<T> {
    Err(ParseError(why.into()))
}

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

fn connect(object: &Object) -> Result<ConnectModify> {
    for key in ["url", "type"] {
        if string(object, key)?.is_none() {
            return fail(format!("{key} must be set for connect"));
        }
    }
    if string(object, "protocol")? != Some("mediajson") {
        return fail("The protocol of a connect must be mediajson");
    }
    Ok(ConnectModify {
        id: required_id(object)?.to_owned(),
        expire: boolean(object, "expire")?.unwrap_or(false),
    })
}

fn endpoint(object: &Object) -> Result<EndpointModify> {
    let visitor = match string(object, "muc-role")? {
        None => false,
        Some(role) => {
            let known = ["moderator", "none", "participant", "visitor"];
            if !known.iter().any(|known| role.eq_ignore_ascii_case(known)) {
                return fail("Unknown muc-role");
            }
            role.eq_ignore_ascii_case("visitor")
        }
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
    let kind = match string(object, "type")? {
        Some("audio") => Some(MediaKind::Audio),
        Some("video") => Some(MediaKind::Video),
        // Legal, and nothing that the bridge carries.
        Some("text" | "application" | "message" | "image" | "control" | "data") => None,
        Some(_) => return fail("Unknown media type"),
        None => return fail("type must be set for media"),
    };
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
    let id = number::<u8>(object, "id")?.filter(|id| *id <= 127);
    let Some(id) = id else {
        return fail("The id of a payload type must be from 0 to 127");
    };
    let Some(name) = scalar(object, "name") else {
        return fail("A payload type has no name");
    };
    let codec = match (kind, name.to_ascii_lowercase().as_str()) {
        (_, "rtx") => Codec::Rtx,
        (MediaKind::Audio, "opus") => Codec::Opus,
        (MediaKind::Audio, "red") => Codec::Red,
        (MediaKind::Video, "vp8") => Codec::Vp8,
        (MediaKind::Video, "vp9") => Codec::Vp9,
        (MediaKind::Video, "av1") => Codec::Av1,
        (MediaKind::Video, "h264") => Codec::H264,
        _ => Codec::Other(kind),
    };
    let default_rate = match kind {
        MediaKind::Audio => 48_000,
        MediaKind::Video => 90_000,
    };
    let apt = match nested(object, "parameters")? {
        Some(parameters) => number::<u8>(parameters, "apt")?,
        None => None,
    };
    if codec == Codec::Rtx && apt.is_none() {
        return fail("A payload type rtx has no parameter apt");
    }
    let mut feedback = Feedback::default();
    for entry in objects(object, "rtcp-fbs", MAX_LIST_ITEMS)? {
        match (string(entry, "type")?, string(entry, "subtype")?) {
            (Some("transport-cc"), None) => feedback.transport_cc = true,
            (Some("goog-remb"), None) => feedback.remb = true,
            (Some("nack"), None) => feedback.nack = true,
            (Some("nack"), Some("pli")) => feedback.pli = true,
            (Some("ccm"), Some("fir")) => feedback.fir = true,
            _ => {}
        }
    }
    Ok(PayloadType {
        number: id,
        codec,
        clock_rate: number_or(object, "clockrate", default_rate)?,
        associated: apt.filter(|_| codec == Codec::Rtx),
        feedback,
    })
}

/// `None` for a source without SSRC, which nothing can come from.
fn media_source(object: &Object) -> Result<Option<NewSource>> {
    let kind = match string(object, "type")? {
        Some("audio") => MediaKind::Audio,
        Some("video") => MediaKind::Video,
        Some(_) => return fail("The type of a media source must be audio or video"),
        None => return fail("type must be set for media-source"),
    };
    let name = SourceName::from(required_id(object)?);
    let synthetic = boolean(object, "synthetic")?.unwrap_or(false);
    let mut ssrcs = Vec::new();
    let mut video_type = None;
    for source in array(object, "sources", MAX_SSRCS_PER_ENDPOINT)? {
        let Some(described) = source.as_object() else {
            ssrcs.push(ssrc(source)?);
            continue;
        };
        let Some(number) = described.get("ssrc") else {
            return fail("A source has no ssrc");
        };
        ssrcs.push(ssrc(number)?);
        if let Some(name) = string(described, "videoType")? {
            let Some(known) = VideoType::from_name(name) else {
                return fail("Unknown videoType");
            };
            video_type = video_type.or(Some(known));
        }
    }
    let mut simulcast: Option<Vec<u32>> = None;
    let mut retransmissions: Vec<(u32, u32)> = Vec::new();
    for group in objects(object, "ssrc-groups", MAX_SSRCS_PER_ENDPOINT)? {
        let members: Vec<u32> = array(group, "sources", MAX_SSRCS_PER_ENDPOINT)?
            .iter()
            .map(ssrc)
            .collect::<Result<_>>()?;
        let semantics = string(group, "semantics")?.unwrap_or_default();
        if members.is_empty() {
            continue;
        }
        if semantics.eq_ignore_ascii_case("SIM") {
            simulcast.get_or_insert(members);
        } else if semantics.eq_ignore_ascii_case("FID") {
            let [primary, secondary, ..] = members.as_slice() else {
                return fail("A FID group has fewer than two members");
            };
            retransmissions.push((*primary, *secondary));
        }
    }
    let primary = simulcast
        .or_else(|| retransmissions.first().map(|(primary, _)| vec![*primary]))
        .filter(|_| kind == MediaKind::Video)
        .or_else(|| ssrcs.first().map(|ssrc| vec![*ssrc]));
    let Some(primary) = primary else {
        return Ok(None);
    };
    let encodings = primary.into_iter().map(|ssrc| EncodingDescription {
        ssrc,
        rtx_ssrc: retransmissions
            .iter()
            .find(|(primary, _)| *primary == ssrc)
            .map(|(_, secondary)| *secondary),
    });
    Ok(Some(NewSource {
        name,
        kind,
        video_type: video_type.filter(|_| kind == MediaKind::Video),
        encodings: encodings.collect(),
        synthetic,
    }))
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
                role: match string(sctp, "role")? {
                    None => None,
                    Some(role) if role.eq_ignore_ascii_case("client") => Some(SctpRole::Client),
                    Some(role) if role.eq_ignore_ascii_case("server") => Some(SctpRole::Server),
                    Some(_) => return fail("Unknown SCTP role"),
                },
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
        // -1 stands for "none".
        ice_generation: number::<i64>(object, "ice-generation")?
            .and_then(|generation| u32::try_from(generation).ok()),
        ..RemoteTransport::default()
    };
    for print in objects(object, "fingerprints", MAX_FINGERPRINTS)? {
        let (Some(text), Some(hash)) = (string(print, "fingerprint")?, string(print, "hash")?)
        else {
            continue;
        };
        if remote.fingerprints.is_empty() {
            remote.setup = match string(print, "setup")?.unwrap_or_default() {
                setup if setup.eq_ignore_ascii_case("active") => Some(Setup::Active),
                setup if setup.eq_ignore_ascii_case("passive") => Some(Setup::Passive),
                setup if setup.eq_ignore_ascii_case("actpass") => Some(Setup::ActPass),
                _ => None,
            };
        }
        match Fingerprint::parse(text, hash) {
            Ok(fingerprint) => remote.fingerprints.push(fingerprint),
            Err(error) => return fail(format!("A fingerprint is malformed: {error}")),
        }
    }
    for candidate in objects(object, "candidates", MAX_LIST_ITEMS)? {
        if scalar(candidate, "type").is_none() {
            return fail("A candidate has no type");
        }
        let is = |key, wanted: &str| {
            scalar(candidate, key).is_some_and(|is| is.eq_ignore_ascii_case(wanted))
        };
        if !is("generation", "0") || !is("component", "1") || !is("protocol", "udp") {
            continue;
        }
        let address = scalar(candidate, "ip").and_then(|ip| ip.parse::<IpAddr>().ok());
        let port = number::<u16>(candidate, "port")?.filter(|port| *port > 0);
        if let (Some(address), Some(port)) = (address, port)
            && remote.candidates.len() < MAX_REMOTE_CANDIDATES
        {
            let address = address.to_canonical();
            remote.candidates.push(SocketAddr::new(address, port));
        }
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

fn number_or<T: std::str::FromStr>(object: &Object, key: &str, default: T) -> Result<T> {
    Ok(number(object, key)?.unwrap_or(default))
}

fn required_id(object: &Object) -> Result<&str> {
    match string(object, "id")? {
        Some(id) if !id.is_empty() => checked_id(id),
        _ => fail("ID must be set"),
    }
}

/// Bounds a name; which characters are legal where it is used in URLs is up to the control plane.
fn checked_id(id: &str) -> Result<&str> {
    if id.len() > MAX_ID_BYTES || id.chars().any(char::is_control) {
        return fail("An id is longer than 256 bytes or has control characters");
    }
    Ok(id)
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
    let digest: Vec<String> = local
        .fingerprint
        .digest
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let setup = match local.setup {
        Setup::Active => "active",
        Setup::Passive => "passive",
        Setup::ActPass => "actpass",
    };
    let mut inner = Object::new();
    inner.insert("xmlns".into(), ICE_UDP.into());
    inner.insert("pwd".into(), (&*local.credentials.password).into());
    inner.insert("ufrag".into(), (&*local.credentials.ufrag).into());
    if let Some(generation) = local.ice_generation {
        inner.insert("ice-generation".into(), generation.to_string().into());
    }
    let fingerprint = json!({
        "fingerprint": digest.join(":"),
        "setup": setup,
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
    let kind = match candidate.kind {
        CandidateKind::Host => "host",
        CandidateKind::ServerReflexive => "srflx",
    };
    let mut printed = json!({
        "component": "1",
        "foundation": candidate.foundation,
        "generation": "0",
        "id": id,
        "network": "0",
        "priority": candidate.priority.to_string(),
        "protocol": "udp",
        "type": kind,
        "ip": candidate.address.ip().to_string(),
        "port": candidate.address.port().to_string(),
    });
    if let Some(related) = candidate.related {
        printed["rel-addr"] = related.ip().to_string().into();
        printed["rel-port"] = related.port().to_string().into();
    }
    printed
}

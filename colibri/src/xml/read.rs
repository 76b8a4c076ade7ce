//! Requests.
//!
//! Elements and attributes that are not known are skipped, of those that may come once the first one counts. An
//! attribute that does not convert makes the whole request unacceptable, so that nothing is applied by halves.

use std::str::FromStr;
use std::time::Duration;

use causeway_bridge::control::api::{NewSource, RemoteTransport};
use causeway_bridge::export::{Connect, Pings};
use causeway_bridge::ids::{EndpointId, MeetingId};
use causeway_bridge::limits::{
    MAX_CONNECT_HEADERS, MAX_ENDPOINTS_PER_REQUEST, MAX_FINGERPRINTS, MAX_LIST_ITEMS,
    MAX_PAYLOAD_TYPES, MAX_SSRCS_PER_ENDPOINT,
};
use causeway_bridge::media::{Extension, Feedback, MediaKind, PayloadType};
use causeway_bridge::transport::ice::Credentials;
use causeway_xmpp::Element;

use super::{COLIBRI2, DTLS, OPENTELEMETRY, RTCP_FB, RTP, RTP_HDREXT, SSMA};
use crate::connect::Description;
use crate::model::{
    Capabilities, ConferenceModify, EndpointModify, ForceMute, IceRestart, Media, RelayModify,
    Sctp, TransportModify,
};
use crate::parts::{self, ICE_UDP, Result, checked_id, fail};

/// Reads a `conference-modify`.
///
/// # Errors
///
/// A missing attribute, a value that does not convert, or too much of something (T69).
pub fn parse(element: &Element) -> Result<ConferenceModify> {
    if !element.is("conference-modify", COLIBRI2) {
        return fail("Expected conference-modify");
    }
    let meeting_id = element.attribute("meeting-id").unwrap_or_default();
    if meeting_id.trim().is_empty() {
        return fail("meeting-id must be set for conference-modify IQ");
    }
    if let Some(trace) = element.child("traceparent", OPENTELEMETRY) {
        for name in ["trace_id", "parent_id", "trace_flags"] {
            required(trace, name)?;
        }
    }
    let connects = element.child("connects", COLIBRI2);
    Ok(ConferenceModify {
        meeting_id: MeetingId::from(checked_id(meeting_id)?),
        name: element.attribute("name").map(str::to_owned),
        create: flag(element, "create"),
        expire: flag(element, "expire"),
        rtcstats_enabled: element
            .attribute("rtcstats-enabled")
            .is_none_or(|value| value.eq_ignore_ascii_case("true")),
        endpoints: some(element, "endpoint", COLIBRI2, MAX_ENDPOINTS_PER_REQUEST)?
            .map(endpoint)
            .collect::<Result<_>>()?,
        relays: some(element, "relay", COLIBRI2, MAX_ENDPOINTS_PER_REQUEST)?
            .map(relay)
            .collect::<Result<_>>()?,
        connects: match connects {
            None => Vec::new(),
            Some(connects) => some(connects, "connect", COLIBRI2, MAX_LIST_ITEMS)?
                .map(connect)
                .collect::<Result<_>>()?,
        },
    })
}

fn endpoint(element: &Element) -> Result<EndpointModify> {
    let medias: Vec<Media> = some(element, "media", COLIBRI2, MAX_LIST_ITEMS)?
        .map(media)
        .collect::<Result<_>>()?;
    let formats: usize = medias.iter().map(|media| media.payload_types.len()).sum();
    if formats > MAX_PAYLOAD_TYPES {
        return fail("An endpoint has more than 128 payload types");
    }
    let force_mute = element.child("force-mute", COLIBRI2);
    let mut capabilities = Capabilities::default();
    for capability in some(element, "capability", COLIBRI2, MAX_LIST_ITEMS)? {
        capabilities.add(capability.attribute("name").unwrap_or_default());
    }
    let stats_id = element.attribute("stats-id").map(checked_id).transpose()?;
    let role = element.attribute("muc-role").map(parts::is_visitor);
    let last_n = element.child("initial-last-n", COLIBRI2);
    Ok(EndpointModify {
        id: EndpointId::from(required_id(element)?),
        create: flag(element, "create"),
        expire: flag(element, "expire"),
        stats_id: stats_id.map(str::to_owned),
        diarize: flag(element, "diarize"),
        visitor: role.transpose()?.unwrap_or(false),
        medias,
        transport: first(element, "transport", COLIBRI2, transport)?,
        sources: first(element, "sources", COLIBRI2, sources)?,
        force_mute: force_mute.map(|mute| ForceMute {
            audio: flag(mute, "audio"),
            video: flag(mute, "video"),
        }),
        initial_last_n: last_n
            .map(|last_n| required_number(last_n, "value"))
            .transpose()?,
        capabilities,
    })
}

/// Relays are refused, but what is wrong with one is said first.
fn relay(element: &Element) -> Result<RelayModify> {
    for media in some(element, "media", COLIBRI2, MAX_LIST_ITEMS)? {
        parts::media_kind(media.attribute("type"))?;
    }
    first(element, "transport", COLIBRI2, transport)?;
    if let Some(endpoints) = element.child("endpoints", COLIBRI2) {
        for endpoint in some(endpoints, "endpoint", COLIBRI2, MAX_LIST_ITEMS)? {
            required_id(endpoint)?;
            first(endpoint, "sources", COLIBRI2, sources)?;
        }
    }
    Ok(RelayModify {
        id: required_id(element)?.to_owned(),
    })
}

fn connect(element: &Element) -> Result<Connect> {
    let mut headers = Vec::new();
    for header in some(element, "http-header", COLIBRI2, MAX_CONNECT_HEADERS)? {
        headers.push((required(header, "name")?, required(header, "value")?));
    }
    let millis = |ping: &Element, name| required_number(ping, name).map(Duration::from_millis);
    let pings = first(element, "ping", COLIBRI2, |ping| {
        Ok(Pings {
            interval: millis(ping, "interval")?,
            timeout: millis(ping, "timeout")?,
        })
    })?;
    let names = |list, item| match element.child(list, COLIBRI2) {
        None => Ok(Vec::new()),
        Some(list) => some(list, item, COLIBRI2, MAX_LIST_ITEMS)?
            .map(|item| required(item, "name"))
            .collect(),
    };
    let description = Description {
        id: required_id(element)?,
        url: required(element, "url")?,
        protocol: required(element, "protocol")?,
        kind: required(element, "type")?,
        audio: flag(element, "audio"),
        video: flag(element, "video"),
        create: flag(element, "create"),
        expire: flag(element, "expire"),
        headers,
        pings,
        exports: names("exports", "export")?,
        requests: names("requests", "request")?,
    };
    description.read()
}

fn media(element: &Element) -> Result<Media> {
    let kind = parts::media_kind(element.attribute("type"))?;
    let mut media = Media {
        extmap_allow_mixed: element.child("extmap-allow-mixed", RTP_HDREXT).is_some(),
        ..Media::default()
    };
    for format in some(element, "payload-type", RTP, MAX_PAYLOAD_TYPES)? {
        if let Some(kind) = kind {
            media.payload_types.push(payload_type(kind, format)?);
        }
    }
    for extension in some(element, "rtp-hdrext", RTP_HDREXT, MAX_LIST_ITEMS)? {
        let Some(known) = Extension::from_uri(required(extension, "uri")?) else {
            continue;
        };
        match required_number::<u8>(extension, "id")? {
            0 => return fail("The id of a header extension must be a number from 1 to 255"),
            id => media.extensions.push((known, id)),
        }
    }
    Ok(media)
}

fn payload_type(kind: MediaKind, element: &Element) -> Result<PayloadType> {
    let mut feedback = Feedback::default();
    for entry in some(element, "rtcp-fb", RTCP_FB, MAX_LIST_ITEMS)? {
        let subtype = entry.attribute("subtype");
        parts::add_feedback(&mut feedback, entry.attribute("type"), subtype);
    }
    let apt = element
        .children()
        .filter(|child| child.name() == "parameter")
        .find(|parameter| parameter.attribute("name") == Some("apt"));
    let format = parts::Format {
        id: number(element, "id")?,
        name: element.attribute("name"),
        clock_rate: number(element, "clockrate")?,
        apt: match apt {
            Some(parameter) => number(parameter, "value")?,
            None => None,
        },
        feedback,
    };
    format.payload_type(kind)
}

fn sources(element: &Element) -> Result<Vec<NewSource>> {
    some(element, "media-source", COLIBRI2, MAX_SSRCS_PER_ENDPOINT)?
        .filter_map(|source| media_source(source).transpose())
        .collect()
}

fn media_source(element: &Element) -> Result<Option<NewSource>> {
    let kind = element.attribute("type");
    let mut read = parts::Source::new(kind, flag(element, "synthetic"))?;
    let name = required_id(element)?;
    for source in some(element, "source", SSMA, MAX_SSRCS_PER_ENDPOINT)? {
        let ssrc = required_number(source, "ssrc")?;
        read.add_ssrc(ssrc, source.attribute("videoType"))?;
    }
    for group in some(element, "ssrc-group", SSMA, MAX_SSRCS_PER_ENDPOINT)? {
        let members = some(group, "source", SSMA, MAX_SSRCS_PER_ENDPOINT)?
            .map(|source| required_number(source, "ssrc"))
            .collect::<Result<_>>()?;
        read.add_group(group.attribute("semantics").unwrap_or_default(), members)?;
    }
    Ok(read.build(name))
}

fn transport(element: &Element) -> Result<TransportModify> {
    Ok(TransportModify {
        ice_controlling: flag(element, "ice-controlling"),
        ice_restart: if flag(element, "ice-restart") {
            IceRestart::Yes
        } else {
            IceRestart::No
        },
        remote: first(element, "transport", ICE_UDP, remote_transport)?,
        sctp: first(element, "sctp", COLIBRI2, |sctp| {
            Ok(Sctp {
                port: number::<u16>(sctp, "port")?.map(u64::from),
                role: sctp.attribute("role").map(parts::sctp_role).transpose()?,
            })
        })?,
    })
}

fn remote_transport(element: &Element) -> Result<RemoteTransport> {
    let mut remote = RemoteTransport {
        credentials: match (element.attribute("ufrag"), element.attribute("pwd")) {
            (Some(ufrag), Some(password)) => Some(Credentials {
                ufrag: ufrag.into(),
                password: password.into(),
            }),
            _ => None,
        },
        ice_generation: parts::ice_generation(number(element, "ice-generation")?),
        ..RemoteTransport::default()
    };
    for print in some(element, "fingerprint", DTLS, MAX_FINGERPRINTS)? {
        let text = print.text();
        if let (text, Some(hash)) = (text.trim(), print.attribute("hash"))
            && !text.is_empty()
        {
            parts::add_fingerprint(&mut remote, text, hash, print.attribute("setup"))?;
        }
    }
    for candidate in some(element, "candidate", ICE_UDP, MAX_LIST_ITEMS)? {
        parts::add_candidate(&mut remote, |name| {
            candidate.attribute(name).map(str::to_owned)
        })?;
    }
    Ok(remote)
}

/// The children of that name; not more than `limit`.
fn some<'a>(
    element: &'a Element,
    name: &'a str,
    ns: &'a str,
    limit: usize,
) -> Result<impl Iterator<Item = &'a Element>> {
    if element.all(name, ns).nth(limit).is_some() {
        return fail(format!("There are more than {limit} {name} elements"));
    }
    Ok(element.all(name, ns))
}

/// The first child of that name, read.
fn first<T>(
    element: &Element,
    name: &str,
    ns: &str,
    read: impl FnOnce(&Element) -> Result<T>,
) -> Result<Option<T>> {
    element.child(name, ns).map(read).transpose()
}

fn flag(element: &Element, name: &str) -> bool {
    let value = element.attribute(name);
    value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn number<T: FromStr>(element: &Element, name: &str) -> Result<Option<T>> {
    match element.attribute(name).map(str::parse) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => fail(format!("The value of {name} is no number in range")),
    }
}

fn required_number<T: FromStr>(element: &Element, name: &str) -> Result<T> {
    match number(element, name)? {
        Some(number) => Ok(number),
        None => fail(format!("{name} must be set for {}", element.name())),
    }
}

fn required<'a>(element: &'a Element, name: &str) -> Result<&'a str> {
    match element.attribute(name) {
        Some(value) if !value.is_empty() => Ok(value),
        _ => fail(format!("{name} must be set for {}", element.name())),
    }
}

fn required_id(element: &Element) -> Result<&str> {
    checked_id(required(element, "id")?)
}

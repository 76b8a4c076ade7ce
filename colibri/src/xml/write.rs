//! Answers.

use causeway_bridge::control::api::Candidate;
use causeway_xmpp::Element;

use super::{COLIBRI, COLIBRI2, DTLS, SSMA};
use crate::handler::{Error, SCTP_PORT};
use crate::model::{ConferenceModified, EndpointModified, TransportModified};
use crate::parts::{self, ICE_UDP};

/// Writes an answer.
pub fn print(answer: &ConferenceModified) -> Element {
    let mut element = Element::new("conference-modified", COLIBRI2);
    for endpoint in &answer.endpoints {
        element.push(print_endpoint(endpoint));
    }
    if let Some(feedback) = &answer.feedback {
        let sources = Element::new("sources", COLIBRI2)
            .with_child(feedback_source("audio", "jvb-a0", feedback.audio_ssrc))
            .with_child(feedback_source("video", "jvb-v0", feedback.video_ssrc));
        element.push(sources);
    }
    element
}

/// What a stanza error says beyond its condition and text (colibri2 spec §3.6).
pub fn error_extensions(error: &Error) -> Vec<Element> {
    let mut extensions = Vec::new();
    if let Some(reason) = error.reason() {
        extensions.push(Element::new("error", COLIBRI2).with("reason", reason));
    }
    if let Some(id) = error.endpoint() {
        extensions.push(Element::new("endpoint", COLIBRI2).with("id", id));
    }
    extensions
}

fn feedback_source(kind: &str, name: &str, ssrc: u32) -> Element {
    let source = Element::new("source", SSMA)
        .with("ssrc", ssrc)
        .with("name", name);
    Element::new("media-source", COLIBRI2)
        .with("type", kind)
        .with("id", name)
        .with_child(source)
}

fn print_endpoint(endpoint: &EndpointModified) -> Element {
    let mut element = Element::new("endpoint", COLIBRI2).with("id", &endpoint.id);
    if endpoint.expire {
        element.set("expire", true);
    }
    if let Some(transport) = &endpoint.transport {
        element.push(print_transport(transport));
    }
    element
}

fn print_transport(transport: &TransportModified) -> Element {
    let local = &transport.local;
    let mut inner = Element::new("transport", ICE_UDP)
        .with("ufrag", &local.credentials.ufrag)
        .with("pwd", &local.credentials.password);
    if let Some(generation) = local.ice_generation {
        inner.set("ice-generation", generation);
    }
    inner.push(Element::new("rtcp-mux", ICE_UDP));
    let fingerprint = Element::new("fingerprint", DTLS)
        .with("hash", &local.fingerprint.hash)
        .with("setup", parts::setup_name(local.setup))
        .with_text(&parts::digest(&local.fingerprint));
    inner.push(fingerprint);
    for url in &transport.web_sockets {
        inner.push(Element::new("web-socket", COLIBRI).with("url", url));
    }
    for (index, candidate) in local.candidates.iter().enumerate() {
        // Ids are unique in the conference, as the ufrag is.
        let id = format!("{}{index}", local.credentials.ufrag);
        inner.push(print_candidate(candidate, &id));
    }
    let mut outer = Element::new("transport", COLIBRI2).with_child(inner);
    if transport.sctp {
        let sctp = Element::new("sctp", COLIBRI2)
            .with("port", SCTP_PORT)
            .with("role", "server");
        outer.push(sctp);
    }
    outer
}

fn print_candidate(candidate: &Candidate, id: &str) -> Element {
    let mut element = Element::new("candidate", ICE_UDP)
        .with("component", 1)
        .with("foundation", &candidate.foundation)
        .with("generation", 0)
        .with("id", id)
        .with("ip", candidate.address.ip())
        .with("network", 0)
        .with("port", candidate.address.port())
        .with("priority", candidate.priority)
        .with("protocol", "udp")
        .with("type", parts::candidate_type(candidate.kind));
    if let Some(related) = candidate.related {
        element.set("rel-addr", related.ip());
        element.set("rel-port", related.port());
    }
    element
}

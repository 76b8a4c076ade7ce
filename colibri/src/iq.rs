//! The bridge's answers to IQ stanzas (colibri2 spec §4.5): what [`crate::rest`] is for HTTP.

use std::sync::Arc;

use causeway_xmpp::stanza::{self, Condition, StanzaError};
use causeway_xmpp::{Element, Sender, ns};

use crate::handler::Handler;
use crate::rest::{Health, Process};
use crate::xml::{self, COLIBRI, COLIBRI2};

const HEALTHCHECK: &str = "http://jitsi.org/protocol/healthcheck";

/// What is answered to disco#info.
const FEATURES: [&str; 7] = [
    ns::DISCO_INFO,
    ns::PING,
    ns::VERSION,
    COLIBRI2,
    HEALTHCHECK,
    "urn:xmpp:jingle:apps:dtls:0",
    "urn:xmpp:jingle:transports:ice-udp:1",
];

/// Answers the requests that come over one connection.
///
/// Requests are carried out one after the other under the control plane's lock, so those of one conference are never
/// reordered, whichever way they come (colibri2 spec §3.7).
pub struct IqService<P> {
    process: Arc<P>,
    handler: Handler,
    version: String,
    rooms: Vec<String>,
}

impl<P: Process> IqService<P> {
    /// Takes orders from the occupants of `rooms`, which are bare addresses. `version` is what the bridge calls itself.
    pub fn new(
        process: Arc<P>,
        handler: Handler,
        version: String,
        rooms: Vec<String>,
    ) -> IqService<P> {
        IqService {
            process,
            handler,
            version,
            rooms,
        }
    }

    /// The answer to a stanza; `None` if it wants none.
    pub fn answer(&self, request: &Element) -> Option<Element> {
        let kind = request.attribute("type").unwrap_or_default();
        if !stanza::wants_answer(request.name(), kind) {
            return None;
        }
        let answer = match request.children().next() {
            Some(child) if kind == "get" || kind == "set" => self.carry_out(request, child),
            _ => Err(StanzaError::new(Condition::BadRequest)),
        };
        Some(match answer {
            Ok(content) => stanza::result(request, content),
            Err(error) => stanza::error(request, &error),
        })
    }

    /// The answer to a stanza that was too large to be read.
    pub fn answer_too_large(&self, sender: &Sender) -> Option<Element> {
        stanza::wants_answer(&sender.name, &sender.kind).then(|| {
            let error = StanzaError::new(Condition::BadRequest);
            stanza::error_to(sender, &error.with_text("The stanza is too large"))
        })
    }

    fn carry_out(
        &self,
        request: &Element,
        child: &Element,
    ) -> Result<Option<Element>, StanzaError> {
        match (child.name(), child.ns()) {
            ("ping", ns::PING) => return Ok(None),
            ("query", ns::DISCO_INFO) => return Ok(Some(info(child))),
            ("query", ns::DISCO_ITEMS) => {
                return Ok(Some(Element::new("query", ns::DISCO_ITEMS)));
            }
            ("conference-modify", COLIBRI2)
            | ("healthcheck", HEALTHCHECK)
            | ("query", ns::VERSION)
            | ("graceful-shutdown" | "force-shutdown", COLIBRI) => {}
            _ => return Err(StanzaError::new(Condition::FeatureNotImplemented)),
        }
        let sender = stanza::bare(request.attribute("from").unwrap_or_default());
        if !self
            .rooms
            .iter()
            .any(|room| room.eq_ignore_ascii_case(sender))
        {
            tracing::debug!(sender, "request from outside of the configured rooms");
            return Err(StanzaError::new(Condition::Forbidden));
        }
        match child.name() {
            "conference-modify" => self.modify(child).map(Some),
            "healthcheck" => match self.process.health() {
                Health::Healthy => Ok(None),
                Health::Degraded(text) | Health::Failed(text) => {
                    Err(StanzaError::new(Condition::InternalServerError).with_text(text))
                }
            },
            "query" => Ok(Some(self.version())),
            name => Err(StanzaError::new(Condition::ServiceUnavailable)
                .with_text(format!("Unsupported IQ request {name}"))),
        }
    }

    fn modify(&self, child: &Element) -> Result<Element, StanzaError> {
        let request = xml::parse(child).map_err(|error| {
            tracing::warn!(%error, "malformed request");
            StanzaError::new(Condition::BadRequest).with_text(error.to_string())
        })?;
        let state = self.process.service_state();
        let answer = self
            .process
            .with_control(|control, now| self.handler.modify(control, now, state, request));
        answer
            .map(|answer| xml::print(&answer))
            .map_err(|error| StanzaError {
                extensions: xml::error_extensions(&error),
                ..StanzaError::new(error.condition()).with_text(error.to_string())
            })
    }

    fn version(&self) -> Element {
        let text = |name, text: &str| Element::new(name, ns::VERSION).with_text(text);
        Element::new("query", ns::VERSION)
            .with_child(text("name", "JVB"))
            .with_child(text("version", &self.version))
            .with_child(text("os", "Linux"))
    }
}

fn info(query: &Element) -> Element {
    let identity = Element::new("identity", ns::DISCO_INFO)
        .with("category", "client")
        .with("type", "pc");
    let mut answer = Element::new("query", ns::DISCO_INFO);
    if let Some(node) = query.attribute("node") {
        answer.set("node", node);
    }
    answer.push(identity);
    for feature in FEATURES {
        answer.push(Element::new("feature", ns::DISCO_INFO).with("var", feature));
    }
    answer
}

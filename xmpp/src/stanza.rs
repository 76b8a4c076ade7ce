//! Answers to IQ stanzas.

use crate::element::Element;
use crate::ns;
use crate::parser::Sender;

/// Conditions of stanza errors that are used here (RFC 6120 §8.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// The request is wrong.
    BadRequest,
    /// It exists already.
    Conflict,
    /// Nothing of the kind is known.
    FeatureNotImplemented,
    /// The sender may not.
    Forbidden,
    /// The bridge does not work.
    InternalServerError,
    /// It does not exist.
    ItemNotFound,
    /// Not now, or not here.
    ServiceUnavailable,
}

impl Condition {
    /// Name of the element.
    pub const fn name(self) -> &'static str {
        match self {
            Condition::BadRequest => "bad-request",
            Condition::Conflict => "conflict",
            Condition::FeatureNotImplemented => "feature-not-implemented",
            Condition::Forbidden => "forbidden",
            Condition::InternalServerError => "internal-server-error",
            Condition::ItemNotFound => "item-not-found",
            Condition::ServiceUnavailable => "service-unavailable",
        }
    }

    /// What the sender can do about it.
    const fn kind(self) -> &'static str {
        match self {
            Condition::BadRequest => "modify",
            Condition::Forbidden => "auth",
            _ => "cancel",
        }
    }
}

/// An error to answer with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StanzaError {
    /// Condition.
    pub condition: Condition,
    /// For people.
    pub text: Option<String>,
    /// Elements that say more.
    pub extensions: Vec<Element>,
}

impl StanzaError {
    /// An error with nothing but its condition.
    pub const fn new(condition: Condition) -> StanzaError {
        StanzaError {
            condition,
            text: None,
            extensions: Vec::new(),
        }
    }

    /// The error with a text.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> StanzaError {
        self.text = Some(text.into());
        self
    }

    fn element(&self) -> Element {
        let condition = Element::new(self.condition.name(), ns::STANZAS);
        let mut error = Element::new("error", ns::CLIENT)
            .with("type", self.condition.kind())
            .with_child(condition);
        if let Some(text) = &self.text {
            let text = Element::new("text", ns::STANZAS)
                .with("xml:lang", "en")
                .with_text(text);
            error.push(text);
        }
        for extension in &self.extensions {
            error.push(extension.clone());
        }
        error
    }
}

/// Whether the stanza wants an answer: an IQ of type `get` or `set`, or one of no known type (RFC 6120 §8.2.3).
pub fn wants_answer(name: &str, kind: &str) -> bool {
    name == "iq" && kind != "result" && kind != "error"
}

fn answer(kind: &str, id: &str, from: &str) -> Element {
    let mut iq = Element::new("iq", ns::CLIENT).with("type", kind);
    if !id.is_empty() {
        iq.set("id", id);
    }
    if !from.is_empty() {
        iq.set("to", from);
    }
    iq
}

/// The result of `request`, empty or with `content`.
pub fn result(request: &Element, content: Option<Element>) -> Element {
    let value = |name| request.attribute(name).unwrap_or_default();
    let mut iq = answer("result", value("id"), value("from"));
    if let Some(content) = content {
        iq.push(content);
    }
    iq
}

/// An error for `request`. Its child is repeated without content, as focuses expect (colibri2 spec §1.5 E7).
pub fn error(request: &Element, error: &StanzaError) -> Element {
    let value = |name| request.attribute(name).unwrap_or_default();
    let mut iq = answer("error", value("id"), value("from")).with_child(error.element());
    if let Some(child) = request.children().next() {
        iq.push(child.without_content());
    }
    iq
}

/// An error for a request of which only the sender is known.
pub fn error_to(sender: &Sender, error: &StanzaError) -> Element {
    answer("error", &sender.id, &sender.from).with_child(error.element())
}

/// An address without its resource.
pub fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_parts_in_order_and_the_request_without_content() {
        let request = Element::new("iq", ns::CLIENT)
            .with("id", "k-9")
            .with("from", "r@m/focus")
            .with_child(
                Element::new("q", "u:1")
                    .with("a", "b")
                    .with_child(Element::new("c", "u:1")),
            );
        let failed = StanzaError {
            extensions: vec![Element::new("error", "u:1").with("reason", "x")],
            ..StanzaError::new(Condition::ItemNotFound).with_text("no \"x\"")
        };
        assert_eq!(
            error(&request, &failed).to_string(),
            "<iq type='error' id='k-9' to='r@m/focus'><error type='cancel'>\
             <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no &quot;x&quot;</text>\
             <error xmlns='u:1' reason='x'/></error><q xmlns='u:1' a='b'/></iq>"
        );
    }

    #[test]
    fn answers_are_not_answered() {
        assert!(wants_answer("iq", "get") && wants_answer("iq", "nonsense"));
        assert!(!wants_answer("iq", "result") && !wants_answer("iq", "error"));
        assert!(!wants_answer("presence", "get"));
    }
}

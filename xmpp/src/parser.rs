//! Cuts a stream into stanzas, without sockets.
//!
//! What is not well-formed, and every construct that RFC 6120 §11.1 forbids (document types, entities of one's own,
//! processing instructions, comments), ends the stream. What is only too much is skipped to the end of its stanza, so
//! that one poisoned stanza does not cost the connection (T66, T67).

use rxml::error::EndOrError;
use rxml::{AttrMap, Event, Namespace, Options, Parse, Parser, QName, WithOptions};

use crate::element::Element;
use crate::ns;

/// Longest stanza in bytes.
pub const MAX_STANZA_BYTES: usize = 1 << 20;
/// Elements within each other, the stanza itself included.
pub const MAX_DEPTH: usize = 64;
/// Elements of one stanza.
pub const MAX_ELEMENTS: usize = 20_000;
/// Attributes of one element.
pub const MAX_ATTRIBUTES: usize = 128;
/// Bytes of one tag with everything in it, and of one attribute's value. A longer one ends the stream, so this is more
/// than the largest stanza that servers take from anybody: Prosody's bound is 256 KiB for clients and 512 KiB for servers.
const MAX_TAG_BYTES: usize = 512 << 10;

/// Why a stream can not be read any further.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// Not well-formed, or forbidden in XMPP.
    #[error("not well-formed: {0}")]
    Malformed(String),
    /// One tag goes on and on.
    #[error("a tag is longer than {MAX_TAG_BYTES} bytes")]
    EndlessTag,
    /// The document is not an XMPP stream.
    #[error("not an XMPP stream")]
    NotAStream,
}

/// What is known of a stanza that was skipped: enough to answer it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sender {
    /// `iq`, `presence` or `message`.
    pub name: String,
    /// Its `type`.
    pub kind: String,
    /// Its `id`.
    pub id: String,
    /// Its `from`.
    pub from: String,
}

/// A piece of the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// The stream begins.
    Begin,
    /// A stanza, or what else comes between begin and end.
    Stanza(Element),
    /// A stanza that exceeds a bound. Its content is gone.
    TooLarge(Sender),
    /// The stream ends in order.
    End,
}

/// The stanza that is being read.
#[derive(Debug)]
enum Open {
    /// Elements from the stanza inwards.
    Building {
        stack: Vec<Element>,
        elements: usize,
        bytes: usize,
    },
    /// How many elements are open.
    Skipping { depth: usize, sender: Sender },
}

/// Reads one stream; a restarted stream (after STARTTLS or login) needs a new one.
pub struct StreamParser {
    parser: Parser,
    begun: bool,
    open: Option<Open>,
    /// Bytes since the last event.
    unread: usize,
}

impl Default for StreamParser {
    fn default() -> Self {
        let options = Options {
            max_token_length: MAX_TAG_BYTES,
            ..Options::default()
        };
        StreamParser {
            parser: Parser::with_options(options),
            begun: false,
            open: None,
            unread: 0,
        }
    }
}

impl StreamParser {
    /// The next item in `bytes`, of which it takes what it read; `None` if it needs more of them.
    ///
    /// # Errors
    ///
    /// The stream can not be read any further.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Item>, ParseError> {
        loop {
            let before = bytes.len();
            let event = self.parser.parse(bytes, false);
            let taken = before - bytes.len();
            self.unread += taken;
            match event {
                Ok(Some(event)) => {
                    let used = std::mem::take(&mut self.unread);
                    if let Some(item) = self.take(event, used)? {
                        return Ok(Some(item));
                    }
                }
                Err(EndOrError::NeedMoreData) if self.unread > MAX_TAG_BYTES => {
                    return Err(ParseError::EndlessTag);
                }
                Ok(None) | Err(EndOrError::NeedMoreData) => return Ok(None),
                Err(EndOrError::Error(error)) => {
                    return Err(ParseError::Malformed(error.to_string()));
                }
            }
        }
    }

    fn take(&mut self, event: Event, used: usize) -> Result<Option<Item>, ParseError> {
        if let Some(Open::Building { bytes, stack, .. }) = &mut self.open {
            *bytes += used;
            if *bytes > MAX_STANZA_BYTES {
                // Only the stanza itself has been taken from the stack if this is its end.
                let depth = stack.len();
                self.skip(depth);
            }
        }
        match event {
            Event::XmlDeclaration(..) => Ok(None),
            Event::StartElement(_, (namespace, name), attributes) if !self.begun => {
                if namespace.as_str() != ns::STREAM || name.as_str() != "stream" {
                    return Err(ParseError::NotAStream);
                }
                drop(attributes);
                self.begun = true;
                Ok(Some(Item::Begin))
            }
            Event::StartElement(_, name, attributes) => {
                self.start(name, &attributes, used);
                Ok(None)
            }
            Event::EndElement(_) => Ok(Some(match self.end() {
                Some(item) => item,
                None => return Ok(None),
            })),
            Event::Text(_, text) => {
                if let Some(Open::Building { stack, .. }) = &mut self.open
                    && let Some(top) = stack.last_mut()
                {
                    top.push_text(&text);
                }
                Ok(None)
            }
        }
    }

    fn start(&mut self, (namespace, name): QName, attributes: &AttrMap, used: usize) {
        let mut element = Element::parsed(name.as_str(), namespace);
        for ((prefix, name), value) in attributes.iter().take(MAX_ATTRIBUTES) {
            if prefix == Namespace::none() {
                element.set_parsed(name.as_str(), value);
            }
        }
        let too_many = attributes.len() > MAX_ATTRIBUTES;
        match &mut self.open {
            None => {
                self.open = Some(Open::Building {
                    stack: vec![element],
                    elements: 1,
                    bytes: used,
                });
                if too_many {
                    self.skip(1);
                }
            }
            Some(Open::Building {
                stack, elements, ..
            }) => {
                stack.push(element);
                *elements += 1;
                let depth = stack.len();
                if too_many || *elements > MAX_ELEMENTS || depth > MAX_DEPTH {
                    self.skip(depth);
                }
            }
            Some(Open::Skipping { depth, .. }) => *depth += 1,
        }
    }

    fn end(&mut self) -> Option<Item> {
        match &mut self.open {
            None => Some(Item::End),
            Some(Open::Building { stack, .. }) => {
                let element = stack.pop()?;
                match stack.last_mut() {
                    Some(parent) => {
                        parent.push(element);
                        None
                    }
                    None => {
                        self.open = None;
                        Some(Item::Stanza(element))
                    }
                }
            }
            Some(Open::Skipping { depth, sender }) => {
                *depth -= 1;
                if *depth > 0 {
                    return None;
                }
                let sender = sender.clone();
                self.open = None;
                Some(Item::TooLarge(sender))
            }
        }
    }

    /// Drops the stanza that is being built; its sender is still known.
    fn skip(&mut self, depth: usize) {
        if let Some(Open::Building { stack, .. }) = &self.open
            && let Some(stanza) = stack.first()
        {
            let value = |name| stanza.attribute(name).unwrap_or_default().to_owned();
            let sender = Sender {
                name: stanza.name().to_owned(),
                kind: value("type"),
                id: value("id"),
                from: value("from"),
            };
            self.open = Some(Open::Skipping { depth, sender });
        }
    }
}

#[cfg(test)]
mod tests;

//! An XML element as a tree.

use std::fmt;

use rxml::Namespace;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Node {
    Element(Element),
    Text(String),
}

/// An element with its namespace, attributes and content. Attributes that have a prefix are not kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Element {
    name: String,
    ns: Namespace<'static>,
    attributes: Vec<(String, String)>,
    nodes: Vec<Node>,
}

impl Element {
    /// An empty element. The name must be a legal XML name.
    pub fn new(name: &str, ns: &str) -> Element {
        Element {
            name: name.to_owned(),
            ns: Namespace::from(ns.to_owned()),
            attributes: Vec::new(),
            nodes: Vec::new(),
        }
    }

    pub(crate) fn parsed(name: &str, ns: Namespace<'static>) -> Element {
        Element {
            name: name.to_owned(),
            ns,
            attributes: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// Adds an attribute of which the parser knows that it is the only one with that name.
    pub(crate) fn set_parsed(&mut self, name: &str, value: &str) {
        self.attributes.push((name.to_owned(), value.to_owned()));
    }

    /// The element with one more attribute, whose name must be a legal XML name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Element {
        self.set(name, value);
        self
    }

    /// The element with one more child.
    #[must_use]
    pub fn with_child(mut self, child: Element) -> Element {
        self.push(child);
        self
    }

    /// The element with text added at the end.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Element {
        self.push_text(text);
        self
    }

    /// Sets an attribute, whose name must be a legal XML name.
    pub fn set(&mut self, name: &str, value: impl fmt::Display) {
        let value = value.to_string();
        match self.attributes.iter_mut().find(|(is, _)| is == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name.to_owned(), value)),
        }
    }

    /// Adds a child at the end.
    pub fn push(&mut self, child: Element) {
        self.nodes.push(Node::Element(child));
    }

    /// Adds text at the end.
    pub fn push_text(&mut self, text: &str) {
        match self.nodes.last_mut() {
            Some(Node::Text(last)) => last.push_str(text),
            _ => self.nodes.push(Node::Text(text.to_owned())),
        }
    }

    /// Local name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Namespace.
    pub fn ns(&self) -> &str {
        self.ns.as_str()
    }

    /// Whether it has this name and namespace.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name == name && self.ns.as_str() == ns
    }

    /// Value of an attribute without prefix.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        attributes
            .find(|(is, _)| is == name)
            .map(|(_, value)| value.as_str())
    }

    /// All children that are elements.
    pub fn children(&self) -> impl Iterator<Item = &Element> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The children of that name and namespace.
    pub fn all<'a>(&'a self, name: &'a str, ns: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children().filter(move |child| child.is(name, ns))
    }

    /// The first child of that name and namespace.
    pub fn child(&self, name: &str, ns: &str) -> Option<&Element> {
        self.children().find(|child| child.is(name, ns))
    }

    /// Its own text.
    pub fn text(&self) -> String {
        self.nodes
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }

    /// The element with its attributes, without its content.
    pub fn without_content(&self) -> Element {
        Element {
            nodes: Vec::new(),
            ..self.clone()
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, default_ns: &str) -> fmt::Result {
        write!(f, "<{}", self.name)?;
        if self.ns.as_str() != default_ns {
            f.write_str(" xmlns='")?;
            escape(f, &self.ns)?;
            f.write_str("'")?;
        }
        for (name, value) in &self.attributes {
            write!(f, " {name}='")?;
            escape(f, value)?;
            f.write_str("'")?;
        }
        if self.nodes.is_empty() {
            return f.write_str("/>");
        }
        f.write_str(">")?;
        for node in &self.nodes {
            match node {
                Node::Element(element) => element.write(f, &self.ns)?,
                Node::Text(text) => escape(f, text)?,
            }
        }
        write!(f, "</{}>", self.name)
    }
}

/// Writes it for a place whose default namespace is `jabber:client`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, crate::ns::CLIENT)
    }
}

/// Escapes text for elements and attributes. Characters that XML can not have become U+FFFD.
fn escape(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '<' => f.write_str("&lt;")?,
            '>' => f.write_str("&gt;")?,
            '&' => f.write_str("&amp;")?,
            '\'' => f.write_str("&apos;")?,
            '"' => f.write_str("&quot;")?,
            // Parsers turn these into spaces or newlines otherwise.
            '\t' | '\n' | '\r' => write!(f, "&#{};", u32::from(c))?,
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => f.write_str("\u{fffd}")?,
            c => write!(f, "{c}")?,
        }
    }
    Ok(())
}

//! From text to [`Tree`]s.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Origin};
use crate::limits::{MAX_DEPTH, MAX_INCLUDE_DEPTH, MAX_INCLUDES, MAX_TEXT};
use crate::tree::{Node, Part, Substitution, Tree, put};
use crate::{Include, Loader};

/// Characters that unquoted text cannot have.
const RESERVED: &str = "$\"{}[]:=,+#`^?!@*&\\";

/// Shared by a file and what it includes.
struct Session<'a> {
    loader: &'a Loader<'a>,
    bytes: usize,
    includes: usize,
}

pub(crate) fn parse(text: &str, name: &str, loader: &Loader<'_>) -> Result<Tree, Error> {
    let mut session = Session {
        loader,
        bytes: 0,
        includes: 0,
    };
    parse_file(&mut session, text, name, &[], 0)
}

fn parse_file(
    session: &mut Session<'_>,
    text: &str,
    name: &str,
    included_at: &[String],
    include_depth: usize,
) -> Result<Tree, Error> {
    session.bytes = session.bytes.saturating_add(text.len());
    if session.bytes > MAX_TEXT {
        let reason =
            format!("the configuration is longer than {MAX_TEXT} bytes; shorten or split it");
        return Err(Error::new(&Origin::new(name, 0), "", reason));
    }
    let mut parser = Parser {
        session,
        rest: text.strip_prefix('\u{feff}').unwrap_or(text),
        line: 1,
        file: name.into(),
        included_at,
        include_depth,
        at: included_at.to_vec(),
        in_array: 0,
    };
    parser.root()
}

/// Splits `a."b.c".d` into its keys.
pub(crate) fn path(text: &str) -> Result<Vec<String>, String> {
    let mut session = Session {
        loader: &crate::no_includes,
        bytes: 0,
        includes: 0,
    };
    let mut parser = Parser {
        session: &mut session,
        rest: text,
        line: 1,
        file: "".into(),
        included_at: &[],
        include_depth: 0,
        at: Vec::new(),
        in_array: 0,
    };
    let keys = parser.key_path().map_err(|error| error.reason)?;
    if parser.rest.is_empty() {
        Ok(keys)
    } else {
        Err(format!("`{text}` is not a path of keys"))
    }
}

/// `path` with one more key, quoted where needed.
pub(crate) fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    let key = if plain { key.to_owned() } else { quote(key) };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// `text` in double quotes, with the escapes of JSON: what [`Parser::quoted`] reads back.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

struct Parser<'p, 's> {
    session: &'p mut Session<'s>,
    rest: &'p str,
    line: u32,
    file: Arc<str>,
    included_at: &'p [String],
    include_depth: usize,
    /// Keys from the root of the including file to the object that is read.
    at: Vec<String>,
    /// Lists around that object. Nothing within a list has a path.
    in_array: usize,
}

impl Parser<'_, '_> {
    fn origin(&self) -> Origin {
        Origin::at(&self.file, self.line)
    }

    fn error<T>(&self, reason: impl Into<String>) -> Result<T, Error> {
        let key = self
            .at
            .iter()
            .fold(String::new(), |path, key| join(&path, key));
        Err(Error::new(&self.origin(), &key, reason))
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        if c == '\n' {
            self.line = self.line.saturating_add(1);
        }
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn at_comment(&self) -> bool {
        self.rest.starts_with('#') || self.rest.starts_with("//")
    }

    /// Blanks without line ends.
    fn blanks(&mut self) -> String {
        let mut blanks = String::new();
        while let Some(c) = self.peek().filter(|&c| is_blank(c)) {
            blanks.push(c);
            self.bump();
        }
        blanks
    }

    /// Blanks, comments and line ends; whether there was a line end.
    fn lines(&mut self) -> bool {
        let before = self.line;
        loop {
            self.blanks();
            if self.at_comment() {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.bump();
                }
            }
            if self.peek() != Some('\n') {
                return self.line != before;
            }
            self.bump();
        }
    }

    fn depth(&self) -> usize {
        self.at.len() + self.in_array
    }

    fn check_depth(&self) -> Result<(), Error> {
        if self.depth() > MAX_DEPTH {
            return self.error(format!(
                "more than {MAX_DEPTH} objects, lists or keys within each other"
            ));
        }
        Ok(())
    }

    fn root(&mut self) -> Result<Tree, Error> {
        self.lines();
        let origin = self.origin();
        if self.peek() == Some('[') {
            return self.error("the file is a list; an object (`key = value`) is needed");
        }
        let braces = self.eat("{");
        let fields = self.fields(braces)?;
        self.lines();
        match self.peek() {
            None => Ok(Tree {
                node: Node::Object(fields),
                origin,
            }),
            Some('}') => self.error("a `}` too many"),
            Some(c) => self.error(format!("`{c}` after the end of the object")),
        }
    }

    /// Fields up to `}` (consumed) or the end of the file.
    fn fields(&mut self, braces: bool) -> Result<BTreeMap<String, Tree>, Error> {
        let opened = self.line;
        let mut fields = BTreeMap::new();
        loop {
            self.lines();
            match self.peek() {
                None if braces => {
                    return self.error(format!(
                        "the `{{` of line {opened} is not closed; add a `}}`"
                    ));
                }
                None => return Ok(fields),
                Some('}') => {
                    if braces {
                        self.bump();
                    }
                    return Ok(fields);
                }
                Some(',') => return self.error("a `,` without a field before it"),
                Some(_) => {}
            }
            if !self.include(&mut fields)? {
                self.field(&mut fields)?;
            }
            let ended = self.lines();
            match self.peek() {
                Some(',') => {
                    self.bump();
                }
                None | Some('}') => {}
                Some(_) if ended => {}
                Some(c) => {
                    return self.error(format!(
                        "`{c}` is not expected here; a second field on the same line needs a `,` before it"
                    ));
                }
            }
        }
    }

    fn field(&mut self, fields: &mut BTreeMap<String, Tree>) -> Result<(), Error> {
        let origin = self.origin();
        let keys = self.key_path()?;
        let added = keys.len();
        self.at.extend(keys.iter().cloned());
        self.check_depth()?;
        // Line ends before the separator are allowed before `{` only.
        self.blanks();
        let append = self.eat("+=");
        if !append && !self.eat("=") && !self.eat(":") {
            self.lines();
            if self.peek() != Some('{') {
                return self.error("a key without a value; write `key = value` or `key { … }`");
            }
        }
        self.lines();
        let mut value = self.value()?;
        value.origin = origin.clone();
        if append {
            match append_in_place(fields, &keys, value) {
                None => {
                    self.at.truncate(self.at.len() - added);
                    return Ok(());
                }
                Some(item) => value = self.appended(item, &origin),
            }
        }
        self.at.truncate(self.at.len() - added);

        let mut keys = keys.into_iter();
        let Some(first) = keys.next() else {
            return Ok(());
        };
        for key in keys.rev() {
            let node = Node::Object(BTreeMap::from([(key, value)]));
            value = Tree {
                node,
                origin: origin.clone(),
            };
        }
        put(fields, first, value);
        Ok(())
    }

    /// `a += b` is `a = ${?a} [b]`.
    fn appended(&self, item: Tree, origin: &Origin) -> Tree {
        let list = Tree {
            node: Node::Array(vec![item]),
            origin: origin.clone(),
        };
        if self.in_array > 0 {
            return list;
        }
        let before = Substitution {
            path: self.at.clone(),
            included_at: Vec::new(),
            optional: true,
            origin: origin.clone(),
        };
        let node = Node::Concat(vec![Part::Substitution(before), Part::Tree(list)]);
        Tree {
            node,
            origin: origin.clone(),
        }
    }

    fn key_path(&mut self) -> Result<Vec<String>, Error> {
        let mut keys = Vec::new();
        let mut key = String::new();
        let mut any = false;
        let mut spaces = self.blanks();
        loop {
            match self.peek() {
                Some('"') => {
                    let text = self.quoted()?;
                    if any {
                        key.push_str(&spaces);
                    }
                    key.push_str(&text);
                    any = true;
                }
                Some('.') => {
                    self.bump();
                    if !any {
                        return self.error("an empty key before `.`; quote keys with dots");
                    }
                    keys.push(std::mem::take(&mut key));
                    if keys.len() > MAX_DEPTH {
                        return self.error(format!("more than {MAX_DEPTH} keys in one path"));
                    }
                    any = false;
                }
                Some(c) if is_unquoted(c) && !self.at_comment() => {
                    if any {
                        key.push_str(&spaces);
                    }
                    while let Some(c) = self.peek().filter(|&c| is_unquoted(c) && c != '.') {
                        if self.at_comment() {
                            break;
                        }
                        key.push(c);
                        self.bump();
                    }
                    any = true;
                }
                _ if any => {
                    keys.push(key);
                    return Ok(keys);
                }
                Some(c) if !keys.is_empty() => {
                    return self.error(format!("a key is missing before `{}`", c.escape_debug()));
                }
                Some(c) => {
                    return self.error(format!(
                        "`{}` cannot begin a key; put the key in double quotes",
                        c.escape_debug()
                    ));
                }
                None => return self.error("a key is missing"),
            }
            spaces = self.blanks();
        }
    }

    fn value(&mut self) -> Result<Tree, Error> {
        let origin = self.origin();
        let mut parts: Vec<Part> = Vec::new();
        let mut quoted = false;
        loop {
            let blanks = self.blanks();
            if self.at_comment() {
                break;
            }
            let at = self.origin();
            let Some(c) = self.peek() else { break };
            let part = match c {
                '\n' | ',' | '}' | ']' => break,
                '"' => {
                    quoted = true;
                    Part::Tree(Tree {
                        node: Node::Text(self.quoted()?),
                        origin: at,
                    })
                }
                '{' => {
                    self.bump();
                    self.check_depth()?;
                    let fields = self.fields(true)?;
                    Part::Tree(Tree {
                        node: Node::Object(fields),
                        origin: at,
                    })
                }
                '[' => {
                    self.bump();
                    Part::Tree(Tree {
                        node: Node::Array(self.items()?),
                        origin: at,
                    })
                }
                '$' => Part::Substitution(self.substitution()?),
                c if is_unquoted(c) => {
                    let mut text = String::new();
                    while let Some(c) = self.peek().filter(|&c| is_unquoted(c)) {
                        if self.at_comment() {
                            break;
                        }
                        text.push(c);
                        self.bump();
                    }
                    Part::Tree(Tree {
                        node: Node::Text(text),
                        origin: at,
                    })
                }
                c => {
                    return self.error(format!(
                        "`{c}` cannot be in unquoted text; put the value in double quotes, or put a `,` \
                         between two fields on one line"
                    ));
                }
            };
            if !parts.is_empty() && !blanks.is_empty() {
                parts.push(Part::Space(blanks));
            }
            parts.push(part);
        }
        self.combine(parts, quoted, origin)
    }

    /// Texts only become one text at once; the rest waits for the resolver.
    fn combine(&self, mut parts: Vec<Part>, quoted: bool, origin: Origin) -> Result<Tree, Error> {
        if parts.is_empty() {
            return self.error("the value is missing");
        }
        if let [Part::Tree(_)] = parts.as_slice()
            && let Some(Part::Tree(tree)) = parts.pop()
        {
            return Ok(match tree.node {
                Node::Text(text) if !quoted && text == "null" => Tree {
                    node: Node::Null,
                    origin,
                },
                node => Tree {
                    node,
                    origin: tree.origin,
                },
            });
        }
        let mut text = String::new();
        for part in &parts {
            match part {
                Part::Space(blanks) => text.push_str(blanks),
                Part::Tree(Tree {
                    node: Node::Text(more),
                    ..
                }) => text.push_str(more),
                _ => {
                    return Ok(Tree {
                        node: Node::Concat(parts),
                        origin,
                    });
                }
            }
        }
        Ok(Tree {
            node: Node::Text(text),
            origin,
        })
    }

    /// Items up to `]` (consumed).
    fn items(&mut self) -> Result<Vec<Tree>, Error> {
        let opened = self.line;
        self.in_array += 1;
        self.check_depth()?;
        let mut items = Vec::new();
        loop {
            self.lines();
            match self.peek() {
                None => {
                    return self
                        .error(format!("the `[` of line {opened} is not closed; add a `]`"));
                }
                Some(']') => {
                    self.bump();
                    self.in_array -= 1;
                    return Ok(items);
                }
                Some(',') => return self.error("a `,` without an item before it"),
                Some(_) => {}
            }
            items.push(self.value()?);
            let ended = self.lines();
            match self.peek() {
                Some(',') => {
                    self.bump();
                }
                None | Some(']') => {}
                Some(_) if ended => {}
                Some(c) => {
                    return self.error(format!(
                        "`{c}` is not expected in the list; put a `,` between items"
                    ));
                }
            }
        }
    }

    fn quoted(&mut self) -> Result<String, Error> {
        let opened = self.line;
        if self.eat("\"\"\"") {
            let Some(end) = self.rest.find("\"\"\"") else {
                return self.error(format!("the `\"\"\"` of line {opened} is not closed"));
            };
            // Quotes before the closing three belong to the text.
            let tail = self.rest.get(end..).unwrap_or("");
            let extra = tail.chars().take_while(|&c| c == '"').count() - 3;
            let (text, _) = self.rest.split_at(end + extra);
            let text = text.to_owned();
            for _ in text.chars().chain("\"\"\"".chars()) {
                self.bump();
            }
            return Ok(text);
        }
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some('\n') => {
                    self.line = self.line.saturating_sub(1);
                    return self.error("the text is not closed at the end of the line; add a `\"`");
                }
                Some(c) => text.push(c),
                None => return self.error("the text is not closed; add a `\"`"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        Ok(match self.bump() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let first = self.hex()?;
                let code = if (0xd800..0xdc00).contains(&first) && self.eat("\\u") {
                    let second = self.hex()?;
                    match second.checked_sub(0xdc00) {
                        Some(low) if low < 0x400 => 0x10000 + ((first - 0xd800) << 10) + low,
                        _ => first,
                    }
                } else {
                    first
                };
                match char::from_u32(code) {
                    Some(c) => c,
                    None => return self.error("half of a surrogate pair after `\\u`"),
                }
            }
            Some(c) => {
                return self.error(format!(
                    "`\\{}` is no escape; write `\\\\` for a backslash",
                    c.escape_debug()
                ));
            }
            None => return self.error("the text is not closed; add a `\"`"),
        })
    }

    fn hex(&mut self) -> Result<u32, Error> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(16)) else {
                return self.error("`\\u` needs four hexadecimal digits");
            };
            self.bump();
            code = code * 16 + digit;
        }
        Ok(code)
    }

    fn substitution(&mut self) -> Result<Substitution, Error> {
        let origin = self.origin();
        if !self.eat("${") {
            return self.error(
                "`$` cannot be in unquoted text; write `${name}` or put it in double quotes",
            );
        }
        let optional = self.eat("?");
        let path = self.key_path()?;
        if !self.eat("}") {
            return self.error("the `${` is not closed; add a `}`");
        }
        Ok(Substitution {
            path,
            included_at: self.included_at.to_vec(),
            optional,
            origin,
        })
    }

    /// Reads an `include` if there is one.
    fn include(&mut self, fields: &mut BTreeMap<String, Tree>) -> Result<bool, Error> {
        let Some(after) = self.rest.strip_prefix("include") else {
            return Ok(false);
        };
        let trimmed = after.trim_start_matches(is_blank);
        let call = ["file(", "required(", "url(", "classpath("]
            .iter()
            .any(|f| trimmed.starts_with(f));
        if !(trimmed.starts_with('"') || call && trimmed.len() < after.len()) {
            return Ok(false);
        }
        self.rest = trimmed;
        let required = self.eat("required(");
        self.blanks();
        let file = self.eat("file(");
        self.blanks();
        if self.rest.starts_with("url(") || self.rest.starts_with("classpath(") {
            return self.error(
                "only files can be included; write `include \"name\"` or `include file(\"name\")`",
            );
        }
        if self.peek() != Some('"') {
            return self.error("the name of the included file must be in double quotes");
        }
        let path = self.quoted()?;
        for _ in 0..usize::from(required) + usize::from(file) {
            self.blanks();
            if !self.eat(")") {
                return self.error("a `)` is missing after the name of the included file");
            }
        }
        self.load(&path, required, fields)?;
        Ok(true)
    }

    fn load(
        &mut self,
        path: &str,
        required: bool,
        fields: &mut BTreeMap<String, Tree>,
    ) -> Result<(), Error> {
        if self.in_array > 0 {
            return self.error("an `include` cannot be inside a list");
        }
        self.session.includes += 1;
        if self.include_depth >= MAX_INCLUDE_DEPTH || self.session.includes > MAX_INCLUDES {
            return self.error(format!(
                "`{path}` is one include too many ({MAX_INCLUDE_DEPTH} within each other, {MAX_INCLUDES} \
                 altogether); does a file include itself?"
            ));
        }
        let included = match (self.session.loader)(Include {
            from: &self.file,
            path,
        }) {
            Ok(Some(included)) => included,
            Ok(None) if required => {
                return self.error(format!("the required file `{path}` does not exist"));
            }
            Ok(None) => return Ok(()),
            Err(reason) => return self.error(format!("`{path}` cannot be included: {reason}")),
        };
        let depth = self.include_depth + 1;
        let tree = parse_file(
            self.session,
            &included.text,
            &included.name,
            &self.at,
            depth,
        )?;
        if let Node::Object(new) = tree.node {
            for (key, value) in new {
                put(fields, key, value);
            }
        }
        Ok(())
    }
}

/// Puts `item` at the end of the list at `keys`, or gives it back if what is there does not end in a plain list.
fn append_in_place(
    fields: &mut BTreeMap<String, Tree>,
    keys: &[String],
    item: Tree,
) -> Option<Tree> {
    let Some((key, rest)) = keys.split_first() else {
        return Some(item);
    };
    let Some(tree) = fields.get_mut(key) else {
        return Some(item);
    };
    if item.is_open() {
        return Some(item);
    }
    match &mut tree.node {
        Node::Object(inner) if !rest.is_empty() => append_in_place(inner, rest, item),
        Node::Array(items) if rest.is_empty() => {
            items.push(item);
            None
        }
        Node::Concat(parts) if rest.is_empty() => match parts.last_mut() {
            Some(Part::Tree(Tree {
                node: Node::Array(items),
                ..
            })) => {
                items.push(item);
                None
            }
            _ => Some(item),
        },
        _ => Some(item),
    }
}

fn is_blank(c: char) -> bool {
    c != '\n' && (c.is_whitespace() || c == '\u{feff}')
}

fn is_unquoted(c: char) -> bool {
    !c.is_whitespace() && c != '\u{feff}' && !RESERVED.contains(c)
}

//! A JSON reader that is strict where a message could be smuggled through and bounded everywhere.
//!
//! General JSON libraries keep the last of two equal keys, so that a bridge and a client may read one
//! text differently (T64); and they build a tree many times as large as the text. This reader refuses
//! duplicate keys at any depth, and instead of a tree gives every top-level member's value as
//! *canonical text*: no white space, strings unescaped as far as possible, numbers as they were written.
//! Canonical text is never longer than the original and reads back to itself, so that it can be kept and
//! forwarded as it is.

use std::borrow::Cow;
use std::ops::Range;

use super::{KeyName, MessageError};
use crate::limits::{
    MAX_JSON_DEPTH, MAX_JSON_MEMBERS, MAX_JSON_NUMBER_CHARS, MAX_JSON_STRING_BYTES,
    MAX_MESSAGE_BYTES,
};

/// The member whose strings may be longer than [`MAX_JSON_STRING_BYTES`]: an application's own data.
const PAYLOAD_KEY: &str = "msgPayload";

/// Below this many keys comparing all pairs is cheaper than sorting.
const PAIRWISE_KEYS: usize = 8;

/// An object's members in order, with their values as canonical text.
pub(super) struct Members<'a> {
    values: String,
    members: Vec<(Cow<'a, str>, Range<usize>)>,
}

impl<'a> Members<'a> {
    /// Reads the object that `text` begins with; what follows it is ignored.
    pub(super) fn read(text: &'a str) -> Result<Members<'a>, MessageError> {
        if text.len() > MAX_MESSAGE_BYTES {
            return Err(MessageError::TooLong);
        }
        let mut reader = Reader::new(text);
        reader.skip_space();
        if reader.peek() != Some(b'{') {
            return Err(MessageError::NotAnObject);
        }
        let mut members = Members {
            values: String::with_capacity(text.len()),
            members: Vec::new(),
        };
        reader.begin();
        while let Some(key) = reader.next_key(members.members.is_empty())? {
            if members.members.len() == MAX_JSON_MEMBERS {
                return Err(MessageError::TooManyMembers);
            }
            let limit = if key == PAYLOAD_KEY {
                MAX_MESSAGE_BYTES
            } else {
                MAX_JSON_STRING_BYTES
            };
            let start = members.values.len();
            reader.copy_value(&mut members.values, 1, limit)?;
            members.members.push((key, start..members.values.len()));
        }
        refuse_duplicates(members.members.iter().map(|(key, _)| &**key))?;
        Ok(members)
    }

    /// The members: key and canonical text of the value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members
            .iter()
            .map(|(key, range)| (&**key, self.values.get(range.clone()).unwrap_or_default()))
    }

    /// Canonical text of a member's value.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| *known == key)
            .map(|(_, value)| value)
    }
}

/// What a value is, seen from its first character.
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    /// As written.
    Number(&'a str),
    String(Cow<'a, str>),
    Array,
    Object,
}

/// A pull reader over JSON text.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Reader<'a> {
        Reader { text, at: 0 }
    }

    /// The next value. Of arrays and objects only the kind: go on with [`Reader::begin`].
    pub(super) fn value(&mut self, string_limit: usize) -> Result<Value<'a>, MessageError> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => self.string(string_limit).map(Value::String),
            Some(b'{') => Ok(Value::Object),
            Some(b'[') => Ok(Value::Array),
            Some(b'n') => self.literal("null").map(|_| Value::Null),
            Some(b't') => self.literal("true").map(|_| Value::Bool(true)),
            Some(b'f') => self.literal("false").map(|_| Value::Bool(false)),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            _ => Err(self.malformed()),
        }
    }

    /// Steps over the opening bracket that [`Reader::value`] announced.
    pub(super) fn begin(&mut self) {
        self.at += 1;
    }

    /// The next key of an object, with the reader before its value; `None` behind the object's end.
    pub(super) fn next_key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, MessageError> {
        if !self.next_element(b'}', first)? {
            return Ok(None);
        }
        if self.peek() != Some(b'"') {
            return Err(self.malformed());
        }
        let key = self.string(MAX_JSON_STRING_BYTES)?;
        self.skip_space();
        self.expect(b':')?;
        Ok(Some(key))
    }

    /// Whether an array has another element, with the reader before it or behind the array's end.
    pub(super) fn next_item(&mut self, first: bool) -> Result<bool, MessageError> {
        self.next_element(b']', first)
    }

    /// Steps over a value, appending its canonical text. `depth` = containers around it.
    pub(super) fn copy_value(
        &mut self,
        out: &mut String,
        depth: usize,
        string_limit: usize,
    ) -> Result<(), MessageError> {
        match self.value(string_limit)? {
            Value::Null => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            Value::Number(number) => out.push_str(number),
            Value::String(string) => write_string(out, &string),
            Value::Array | Value::Object if depth >= MAX_JSON_DEPTH => {
                return Err(MessageError::TooDeep);
            }
            Value::Array => {
                self.begin();
                out.push('[');
                let mut first = true;
                while self.next_item(first)? {
                    if !first {
                        out.push(',');
                    }
                    first = false;
                    self.copy_value(out, depth + 1, string_limit)?;
                }
                out.push(']');
            }
            Value::Object => {
                self.begin();
                out.push('{');
                let mut keys = Vec::new();
                while let Some(key) = self.next_key(keys.is_empty())? {
                    if keys.len() == MAX_JSON_MEMBERS {
                        return Err(MessageError::TooManyMembers);
                    }
                    if !keys.is_empty() {
                        out.push(',');
                    }
                    write_string(out, &key);
                    out.push(':');
                    keys.push(key);
                    self.copy_value(out, depth + 1, string_limit)?;
                }
                refuse_duplicates(keys.iter().map(|key| &**key))?;
                out.push('}');
            }
        }
        Ok(())
    }

    fn next_element(&mut self, close: u8, first: bool) -> Result<bool, MessageError> {
        self.skip_space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        if !first {
            self.expect(b',')?;
            self.skip_space();
        }
        Ok(true)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), MessageError> {
        if self.peek() != Some(byte) {
            return Err(self.malformed());
        }
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), MessageError> {
        if !self.rest().starts_with(word) {
            return Err(self.malformed());
        }
        self.at += word.len();
        Ok(())
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn number(&mut self) -> Result<&'a str, MessageError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        if self.at - start > MAX_JSON_NUMBER_CHARS {
            return Err(MessageError::NumberTooLong);
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    fn digits(&mut self) -> Result<(), MessageError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            Err(self.malformed())
        } else {
            Ok(())
        }
    }

    fn string(&mut self, limit: usize) -> Result<Cow<'a, str>, MessageError> {
        self.at += 1;
        let mut decoded = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let plain = rest
                .bytes()
                .position(|byte| byte == b'"' || byte == b'\\' || byte < 0x20)
                .ok_or_else(|| self.malformed())?;
            // The byte found is ASCII, so this is a character boundary.
            let part = rest.get(..plain).unwrap_or_default();
            if decoded.len() + part.len() > limit {
                return Err(MessageError::StringTooLong);
            }
            if decoded.is_empty() {
                decoded = Cow::Borrowed(part);
            } else {
                decoded.to_mut().push_str(part);
            }
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(decoded);
                }
                Some(b'\\') => {
                    self.at += 1;
                    let character = self.escape()?;
                    decoded.to_mut().push(character);
                }
                _ => return Err(self.malformed()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, MessageError> {
        let kind = self.peek().ok_or_else(|| self.malformed())?;
        self.at += 1;
        Ok(match kind {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex4()?;
                if let Some(character) = char::from_u32(first) {
                    return Ok(character);
                }
                // Browsers write a string that was cut inside a surrogate pair with a lone surrogate;
                // Unicode has a character for that, so the message need not be lost.
                let behind = self.at;
                if first < 0xDC00 && self.rest().starts_with("\\u") {
                    self.at += 2;
                    let second = self.hex4()?;
                    if (0xDC00..0xE000).contains(&second) {
                        let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                        return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    self.at = behind;
                }
                char::REPLACEMENT_CHARACTER
            }
            _ => return Err(self.malformed()),
        })
    }

    fn hex4(&mut self) -> Result<u32, MessageError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.malformed())?;
            self.at += 1;
        }
        Ok(code)
    }

    fn malformed(&self) -> MessageError {
        MessageError::Malformed(self.at)
    }
}

fn refuse_duplicates<'k>(keys: impl Iterator<Item = &'k str> + Clone) -> Result<(), MessageError> {
    let mut known: Vec<&str> = Vec::new();
    for key in keys.clone().take(PAIRWISE_KEYS + 1) {
        if known.contains(&key) {
            return Err(MessageError::DuplicateKey(KeyName::new(key)));
        }
        known.push(key);
    }
    if known.len() > PAIRWISE_KEYS {
        known.clear();
        known.extend(keys);
        known.sort_unstable();
        if let Some(pair) = known.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(MessageError::DuplicateKey(KeyName::new(pair[0])));
        }
    }
    Ok(())
}

/// Appends `text` as a JSON string, escaping only what must be.
pub(super) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest
        .bytes()
        .position(|byte| byte == b'"' || byte == b'\\' || byte < 0x20)
    {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = special.chars();
        match characters.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some('\u{8}') => out.push_str("\\b"),
            Some('\u{c}') => out.push_str("\\f"),
            Some(control) => {
                let code = control as u32;
                out.push_str("\\u00");
                out.extend(
                    [code >> 4, code & 15].map(|digit| char::from_digit(digit, 16).unwrap_or('0')),
                );
            }
            None => {}
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

#[cfg(test)]
#[path = "json_tests.rs"]
pub(super) mod tests;

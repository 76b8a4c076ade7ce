//! Values and what they convert to.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Origin};

/// What a value is. Numbers and booleans are text until they are asked for, so that spelling is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `null`: not set, also if a weaker layer sets it.
    Null,
    /// Anything without structure.
    Text(String),
    /// A list.
    Array(Vec<Value>),
    /// Keys with values.
    Object(BTreeMap<String, Value>),
}

/// A value and where it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    data: Data,
    origin: Origin,
}

impl Value {
    pub(crate) fn new(data: Data, origin: Origin) -> Value {
        Value { data, origin }
    }

    /// What it is.
    pub fn data(&self) -> &Data {
        &self.data
    }

    pub(crate) fn into_data(self) -> Data {
        self.data
    }

    /// Where it is written.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The fields if it is an object.
    pub fn as_object(&self) -> Option<&BTreeMap<String, Value>> {
        match &self.data {
            Data::Object(fields) => Some(fields),
            _ => None,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self.data {
            Data::Null => "null",
            Data::Text(_) => "text",
            Data::Array(_) => "a list",
            Data::Object(_) => "an object",
        }
    }

    /// Adds what `low` has and this object has not.
    pub(crate) fn merge_under(&mut self, low: Value) {
        if let (Data::Object(high), Data::Object(low)) = (&mut self.data, low.data) {
            for (key, value) in low {
                match high.get_mut(&key) {
                    Some(above) => above.merge_under(value),
                    None => {
                        high.insert(key, value);
                    }
                }
            }
        }
    }

    /// An error about this value. `key` is its path.
    pub fn error(&self, key: &str, reason: impl Into<String>) -> Error {
        Error::new(&self.origin, key, reason)
    }

    fn expected<T>(&self, key: &str, what: &str) -> Result<T, Error> {
        let is = match &self.data {
            Data::Text(text) => format!("`{}`", text.escape_debug()),
            _ => self.kind().to_owned(),
        };
        Err(self.error(key, format!("{is} is not {what}")))
    }

    /// Text as it is written.
    ///
    /// # Errors
    /// It is a list or an object; the same holds for the other conversions.
    pub fn to_text(&self, key: &str) -> Result<&str, Error> {
        match &self.data {
            Data::Text(text) => Ok(text),
            _ => self.expected(key, "text"),
        }
    }

    /// `true`, `false` in any case, `yes`, `no`, `on`, `off`.
    ///
    /// # Errors
    /// Anything else.
    pub fn to_bool(&self, key: &str) -> Result<bool, Error> {
        const WHAT: &str = "a boolean; use true or false";
        match self.to_text(key).or_else(|_| self.expected(key, WHAT))? {
            "yes" | "on" => Ok(true),
            "no" | "off" => Ok(false),
            text if text.eq_ignore_ascii_case("true") => Ok(true),
            text if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => self.expected(key, WHAT),
        }
    }

    /// A whole number; a fraction is cut off.
    ///
    /// # Errors
    /// Not a number, or beyond 64 bits.
    pub fn to_i64(&self, key: &str) -> Result<i64, Error> {
        const WHAT: &str = "a whole number";
        let text = self
            .to_text(key)
            .or_else(|_| self.expected(key, WHAT))?
            .trim();
        if let Ok(number) = text.parse::<i64>() {
            return Ok(number);
        }
        match decimal(text) {
            Some(number) if number.abs() < 9e18 => Ok(number as i64),
            _ => self.expected(key, WHAT),
        }
    }

    /// A number, or one with `%` for hundredths.
    ///
    /// # Errors
    /// Anything else.
    pub fn to_f64(&self, key: &str) -> Result<f64, Error> {
        const WHAT: &str = "a number; use 0.05 or 5%";
        let text = self
            .to_text(key)
            .or_else(|_| self.expected(key, WHAT))?
            .trim();
        let number = match text.strip_suffix('%') {
            Some(percent) => decimal(percent.trim_end()).map(|percent| percent / 100.0),
            None => decimal(text),
        };
        number.map_or_else(|| self.expected(key, WHAT), Ok)
    }

    /// A length of time: a number with a unit from `ns` to `d` or its long name, or milliseconds without one.
    ///
    /// # Errors
    /// Anything else, negative, or beyond what [`Duration`] holds.
    pub fn to_duration(&self, key: &str) -> Result<Duration, Error> {
        const WHAT: &str = "a duration; use for example 500 ms, 10 seconds or 1 minute";
        let (number, unit) = self.split_unit(key, WHAT)?;
        let nanos = match unit {
            "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1,
            "us" | "micro" | "micros" | "microsecond" | "microseconds" => 1_000,
            "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1_000_000,
            "s" | "second" | "seconds" => 1_000_000_000,
            "m" | "minute" | "minutes" => 60_000_000_000,
            "h" | "hour" | "hours" => 3_600_000_000_000,
            "d" | "day" | "days" => 86_400_000_000_000_u64,
            _ => return self.expected(key, WHAT),
        };
        if let Ok(whole) = number.parse::<u64>() {
            return match whole.checked_mul(nanos) {
                Some(nanos) => Ok(Duration::from_nanos(nanos)),
                None => self.expected(key, "a duration below 500 years"),
            };
        }
        let seconds = decimal(number).map(|number| number * nanos as f64 / 1e9);
        match seconds.map(Duration::try_from_secs_f64) {
            Some(Ok(duration)) => Ok(duration),
            _ => self.expected(key, WHAT),
        }
    }

    /// Bits per second: a whole number with `bps`, `kbps` or `mbps` in any case.
    ///
    /// # Errors
    /// Anything else, also a number without a unit or with a fraction.
    pub fn to_bits_per_second(&self, key: &str) -> Result<u64, Error> {
        const WHAT: &str =
            "a rate; use a whole number with bps, kbps or mbps, for example 2500 kbps";
        let (number, unit) = self.split_unit(key, WHAT)?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "bps" => 1,
            "kbps" => 1_000,
            "mbps" => 1_000_000,
            _ => return self.expected(key, WHAT),
        };
        match number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
        {
            Some(rate) => Ok(rate),
            None => self.expected(key, WHAT),
        }
    }

    /// Bytes: a whole number, optionally with a unit (`k`, `KiB`: 1024; `kB`: 1000; also `m` and `g`).
    ///
    /// # Errors
    /// Anything else.
    pub fn to_bytes(&self, key: &str) -> Result<u64, Error> {
        const WHAT: &str = "a size; use bytes or a unit, for example 10 MiB";
        let (number, unit) = self.split_unit(key, WHAT)?;
        let factor = match unit {
            "" | "b" | "B" | "byte" | "bytes" => 1,
            "k" | "K" | "Ki" | "KiB" => 1 << 10,
            "m" | "M" | "Mi" | "MiB" => 1 << 20,
            "g" | "G" | "Gi" | "GiB" => 1 << 30,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000_u64,
            _ => return self.expected(key, WHAT),
        };
        match number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
        {
            Some(size) => Ok(size),
            None => self.expected(key, WHAT),
        }
    }

    /// The items of a list, or of an object whose keys are numbers, in their order.
    ///
    /// # Errors
    /// Neither.
    pub fn to_list(&self, key: &str) -> Result<Vec<&Value>, Error> {
        match &self.data {
            Data::Array(items) => Ok(items.iter().collect()),
            Data::Object(fields) if !fields.is_empty() => {
                let mut items = Vec::new();
                for (index, value) in fields {
                    match index.parse::<u32>() {
                        Ok(index) => items.push((index, value)),
                        Err(_) => return self.expected(key, "a list; use [a, b]"),
                    }
                }
                items.sort_by_key(|&(index, _)| index);
                Ok(items.into_iter().map(|(_, value)| value).collect())
            }
            _ => self.expected(key, "a list; use [a, b]"),
        }
    }

    /// A list of texts.
    ///
    /// # Errors
    /// Anything else.
    pub fn to_texts(&self, key: &str) -> Result<Vec<String>, Error> {
        let mut texts = Vec::new();
        for (index, item) in self.to_list(key)?.into_iter().enumerate() {
            texts.push(item.to_text(&format!("{key}[{index}]"))?.to_owned());
        }
        Ok(texts)
    }

    fn split_unit(&self, key: &str, what: &str) -> Result<(&str, &str), Error> {
        let text = self
            .to_text(key)
            .or_else(|_| self.expected(key, what))?
            .trim();
        let unit = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit);
        Ok((number.trim_end(), unit))
    }
}

/// A finite decimal number. `inf`, `nan` and such are words.
fn decimal(text: &str) -> Option<f64> {
    let number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    text.parse::<f64>()
        .ok()
        .filter(|value| number && value.is_finite())
}

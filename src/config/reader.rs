//! Takes values out of the settings and remembers what was asked for and what was wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use causeway_bridge::units::Bitrate;
use causeway_hocon::{Data, Error, Settings, Value};
use ipnet::IpNet;

use super::{Effective, Warning};

pub(super) struct Reader<'a> {
    pub settings: &'a Settings,
    /// Keys that have a meaning.
    pub known: BTreeSet<String>,
    /// What is in effect for each key that has a default or is set.
    pub effective: BTreeMap<String, Effective>,
    pub errors: Vec<Error>,
    pub warnings: Vec<Warning>,
}

impl<'a> Reader<'a> {
    pub fn new(settings: &'a Settings) -> Self {
        Reader {
            settings,
            known: BTreeSet::new(),
            effective: BTreeMap::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The value of `key`, converted; `None` if it is not set or was wrong.
    pub fn get<T>(
        &mut self,
        key: &str,
        convert: impl FnOnce(&'a Value, &str) -> Result<T, Error>,
    ) -> Option<T> {
        self.known.insert(key.to_owned());
        let value = self.settings.get(key)?;
        match convert(value, key) {
            Ok(converted) => {
                let effective = Effective::new(shown(value), Some(value.origin()));
                self.effective.insert(key.to_owned(), effective);
                Some(converted)
            }
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    /// Replaces the default in `target` if `key` is set.
    pub fn set<T: Debug>(
        &mut self,
        key: &str,
        target: &mut T,
        convert: impl FnOnce(&'a Value, &str) -> Result<T, Error>,
    ) {
        match self.get(key, convert) {
            Some(value) => *target = value,
            None => {
                let default = Effective::new(format!("{target:?}"), None);
                self.effective.insert(key.to_owned(), default);
            }
        }
    }

    /// Like [`Reader::set`] for an old name of a key that is set elsewhere.
    pub fn set_old<T>(
        &mut self,
        key: &str,
        target: &mut T,
        convert: impl FnOnce(&'a Value, &str) -> Result<T, Error>,
    ) {
        if let Some(value) = self.get(key, convert) {
            *target = value;
        }
    }

    pub fn error(&mut self, key: &str, reason: impl Into<String>) {
        if let Some(value) = self.settings.get(key) {
            self.errors.push(value.error(key, reason));
        }
    }

    pub fn warn(&mut self, key: &str, reason: impl Into<String>) {
        if let Some(value) = self.settings.get(key) {
            self.warnings.push(Warning(value.error(key, reason)));
        }
    }

    /// A switch that has an effect in one position only.
    pub fn fixed(&mut self, key: &str, implemented: bool) {
        if self.get(key, Value::to_bool) == Some(!implemented) {
            self.warn(
                key,
                format!("only {implemented} is implemented; the value has no effect"),
            );
        }
    }
}

impl Reader<'_> {
    /// A choice of which one is implemented.
    pub fn only(&mut self, key: &str, implemented: &str, others: &[&str]) {
        let chosen = self.get(key, |value, key| {
            let word = value.to_text(key)?;
            if word == implemented || others.contains(&word) {
                Ok(word)
            } else {
                let others = others.join(", ");
                Err(value.error(
                    key,
                    format!("`{word}` is not one of {implemented}, {others}"),
                ))
            }
        });
        if chosen.is_some_and(|word| word != implemented) {
            self.warn(
                key,
                format!("only {implemented} is implemented; the value has no effect"),
            );
        }
    }
}

/// A value as it could be written.
fn shown(value: &Value) -> String {
    match value.data() {
        Data::Null => "null".to_owned(),
        Data::Text(text) => text.clone(),
        Data::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        Data::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| format!("{key} = {}", shown(value)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

pub(super) fn text(value: &Value, key: &str) -> Result<String, Error> {
    value.to_text(key).map(str::to_owned)
}

pub(super) fn rate(value: &Value, key: &str) -> Result<Bitrate, Error> {
    value.to_bits_per_second(key).map(Bitrate::bps)
}

/// A duration that something is repeated after, so not zero.
pub(super) fn period(value: &Value, key: &str) -> Result<Duration, Error> {
    match value.to_duration(key)? {
        Duration::ZERO => Err(value.error(key, "must be longer than zero")),
        period => Ok(period),
    }
}

/// A whole number within `min..=max`.
pub(super) fn number<T: TryFrom<i64>>(
    min: i64,
    max: i64,
) -> impl FnOnce(&Value, &str) -> Result<T, Error> {
    move |value, key| {
        let number = value.to_i64(key)?;
        let within = (min..=max)
            .contains(&number)
            .then(|| T::try_from(number).ok())
            .flatten();
        within.ok_or_else(|| value.error(key, format!("{number} is not within {min} to {max}")))
    }
}

/// A number from 0 to `max`.
pub(super) fn positive(max: f64) -> impl FnOnce(&Value, &str) -> Result<f64, Error> {
    move |value, key| {
        let number = value.to_f64(key)?;
        if (0.0..=max).contains(&number) {
            Ok(number)
        } else {
            Err(value.error(key, format!("{number} is not within 0 to {max}")))
        }
    }
}

pub(super) fn address(value: &Value, key: &str) -> Result<IpAddr, Error> {
    let text = value.to_text(key)?;
    text.parse()
        .map_err(|_| value.error(key, format!("`{text}` is not an IP address")))
}

/// A network such as `10.0.0.0/8`, or one address.
fn network(value: &Value, key: &str) -> Result<IpNet, Error> {
    let text = value.to_text(key)?;
    let network = text.parse().or_else(|_| text.parse().map(IpAddr::into));
    network.map_err(|_| {
        value.error(
            key,
            format!("`{text}` is neither a network such as 10.0.0.0/8 nor an IP address"),
        )
    })
}

pub(super) fn networks(value: &Value, key: &str) -> Result<Vec<IpNet>, Error> {
    let items = value.to_list(key)?.into_iter().enumerate();
    items
        .map(|(index, item)| network(item, &format!("{key}[{index}]")))
        .collect()
}

pub(super) fn addresses(value: &Value, key: &str) -> Result<Vec<IpAddr>, Error> {
    let items = value.to_list(key)?.into_iter().enumerate();
    items
        .map(|(index, item)| address(item, &format!("{key}[{index}]")))
        .collect()
}

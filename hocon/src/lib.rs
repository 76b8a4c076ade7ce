//! A small, strict reader for HOCON, the format of Jitsi Videobridge's configuration files.
//!
//! Reading has two steps, because a substitution may name a key of another layer: [`Config::parse`] reads one
//! file and what it includes, [`Config::with_fallback`] puts layers on top of each other, and
//! [`Config::resolve`] replaces every `${…}` and gives the [`Settings`] to ask for values.
//!
//! ```
//! use causeway_hocon::{Config, no_includes};
//!
//! let file = Config::parse("ice { udp.port = 10001, udp.port = ${?PORT} }", "jvb.conf", &no_includes)?;
//! let settings = file.resolve(&|_| None)?;
//! let port = settings.get("ice.udp.port").expect("it is set");
//! assert_eq!(port.to_i64("ice.udp.port")?, 10001);
//! assert_eq!(port.origin().to_string(), "jvb.conf:1");
//! # Ok::<(), causeway_hocon::Error>(())
//! ```
//!
//! What operators' files use is here: comments, dotted and quoted keys, merged objects, `+=`, concatenation,
//! triple quotes, substitutions with self reference and environment lookup, `include "…"`, `include file("…")`
//! and `include required(…)`. `include url(…)` and `classpath(…)` are refused.
//!
//! Any input gives a result or an [`Error`] with its place: sizes, depths and the work for substitutions are
//! bounded ([`limits`]). The crate opens no file and reads no environment itself; both come from the caller.

mod error;
pub mod limits;
mod parse;
mod resolve;
mod tree;
mod value;

use std::collections::BTreeMap;

pub use error::{Error, Origin};
pub use value::{Data, Value};

use tree::{Node, Tree};

/// An `include` that a file asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Include<'a> {
    /// Name of the file with the `include`, as it was given to [`Config::parse`] or by the loader.
    pub from: &'a str,
    /// What is written in it. Relative names are relative to the directory of `from`.
    pub path: &'a str,
}

/// A file that a loader found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// Name for messages and for includes inside it.
    pub name: String,
    /// Contents.
    pub text: String,
}

/// Finds included files: `Ok(None)` if there is none (no error unless `required`), `Err` with the reason if it
/// cannot be read.
pub type Loader<'a> = dyn Fn(Include<'_>) -> Result<Option<Included>, String> + 'a;

/// A [`Loader`] that never finds a file.
pub fn no_includes(_: Include<'_>) -> Result<Option<Included>, String> {
    Ok(None)
}

/// A configuration whose substitutions are still open.
#[derive(Clone, Debug)]
pub struct Config {
    root: Tree,
}

impl Config {
    /// Reads `text`; `name` is its file name for messages and for `loader`.
    ///
    /// # Errors
    /// The first thing that is not HOCON, exceeds a limit, or is a required include that is missing.
    pub fn parse(text: &str, name: &str, loader: &Loader<'_>) -> Result<Config, Error> {
        parse::parse(text, name, loader).map(|root| Config { root })
    }

    /// A single text value at `path`, e.g. from the command line.
    ///
    /// # Errors
    /// `path` is not a path of keys.
    pub fn single(path: &str, text: &str, name: &str) -> Result<Config, Error> {
        let origin = Origin::new(name, 0);
        let keys = parse::path(path).map_err(|reason| Error::new(&origin, path, reason))?;
        let mut tree = Tree {
            node: Node::Text(text.to_owned()),
            origin: origin.clone(),
        };
        for key in keys.into_iter().rev() {
            let node = Node::Object(BTreeMap::from([(key, tree)]));
            tree = Tree {
                node,
                origin: origin.clone(),
            };
        }
        Ok(Config { root: tree })
    }

    /// Puts this configuration on top of `lower`: objects merge, anything else here wins.
    pub fn with_fallback(self, lower: Config) -> Config {
        Config {
            root: tree::merge(lower.root, self.root),
        }
    }

    /// Replaces all substitutions. `env` is asked for names that no key has.
    ///
    /// # Errors
    /// A substitution that has no value and is not optional, a cycle, a concatenation of things that do not fit
    /// together, or more work than the [`limits`] allow.
    pub fn resolve(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, Error> {
        resolve::resolve(&self.root, env).map(|root| Settings { root })
    }
}

/// A configuration without open substitutions.
#[derive(Clone, Debug)]
pub struct Settings {
    root: Value,
}

impl Settings {
    /// The value at a path of keys, e.g. `videobridge.ice.udp.port`; keys with dots are quoted. `None` if it is
    /// not set or `null`.
    pub fn get(&self, path: &str) -> Option<&Value> {
        let mut at = &self.root;
        for key in parse::path(path).ok()? {
            at = at.as_object()?.get(&key)?;
        }
        (!matches!(at.data(), Data::Null)).then_some(at)
    }

    /// Everything.
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// Path and value of all that is not an object, in the order of the paths. Lists count as one value.
    pub fn leaves(&self) -> Vec<(String, &Value)> {
        let mut found = Vec::new();
        collect(&self.root, "", &mut found);
        found
    }

    /// Paths of [`Settings::leaves`] with where they were set.
    pub fn keys(&self) -> impl Iterator<Item = (String, Origin)> + '_ {
        self.leaves()
            .into_iter()
            .map(|(path, value)| (path, value.origin().clone()))
    }
}

fn collect<'a>(value: &'a Value, path: &str, found: &mut Vec<(String, &'a Value)>) {
    match value.as_object() {
        Some(object) => {
            for (key, child) in object {
                collect(child, &parse::join(path, key), found);
            }
        }
        None => found.push((path.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests;

//! Where something is written, and what is wrong with it.

use std::fmt;
use std::sync::Arc;

/// File and line of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    file: Arc<str>,
    line: u32,
}

impl Origin {
    /// `line` counts from 1; 0 means that there are no lines (environment, command line).
    pub fn new(file: &str, line: u32) -> Origin {
        Origin {
            file: file.into(),
            line,
        }
    }

    pub(crate) fn at(file: &Arc<str>, line: u32) -> Origin {
        Origin {
            file: Arc::clone(file),
            line,
        }
    }

    /// Name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Line from 1, or 0 where there are none.
    pub fn line(&self) -> u32 {
        self.line
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// Why a configuration cannot be used: `file:line: key: reason`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {}{reason}", self.prefix())]
pub struct Error {
    /// Where.
    pub origin: Origin,
    /// Path of the key, empty where there is none yet.
    pub key: String,
    /// What is wrong and what to do.
    pub reason: String,
}

impl Error {
    /// `key` may be empty.
    pub fn new(origin: &Origin, key: &str, reason: impl Into<String>) -> Error {
        Error {
            origin: origin.clone(),
            key: key.to_owned(),
            reason: reason.into(),
        }
    }

    fn prefix(&self) -> String {
        if self.key.is_empty() {
            String::new()
        } else {
            format!("{}: ", self.key)
        }
    }
}

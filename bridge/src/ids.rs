//! Names and handles.
//!
//! Text ids come from signaling and are only unique within their conference; numeric ids are given by
//! the control plane, are unique for the life of the process and are never reused, so a stale one can
//! not reach a new object.

use std::fmt;
use std::sync::Arc;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text; no check is made.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Peers choose these: escape control characters so that a log stays one line per event.
                write!(f, "{}", self.0.escape_debug())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

text_id! {
    /// An endpoint's id as signaled (usually eight hexadecimal digits).
    EndpointId
}
text_id! {
    /// A source's name as signaled, such as `abcd1234-v0`.
    SourceName
}
text_id! {
    /// A conference's meeting id as signaled (usually a UUID).
    MeetingId
}

macro_rules! numeric_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub u64);
    };
}

numeric_id! {
    /// A conference on this bridge. Its lower-case hexadecimal form is the *local conference id* in
    /// websocket URLs.
    ConferenceKey
}
numeric_id! {
    /// One life of an endpoint: an endpoint that leaves and returns gets a new key.
    EndpointKey
}
numeric_id! {
    /// One life of a signaled source.
    SourceKey
}

numeric_id! {
    /// One life of a media export.
    ExportKey
}

impl fmt::Display for ConferenceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Index of a worker, 0 to [`crate::limits::MAX_WORKERS`] − 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkerId(pub u8);

/// Index of a bound local address: every worker has one socket for each, in the same order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId(pub u8);

/// A network path: the local address (by its socket) and the remote address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// Local side.
    pub socket: SocketId,
    /// Remote side; IPv4-mapped IPv6 addresses are canonicalised to IPv4 before they get here.
    pub remote: std::net::SocketAddr,
}

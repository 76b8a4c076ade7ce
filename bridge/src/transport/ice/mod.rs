//! ICE (RFC 8445) for many endpoints on few sockets.

use std::sync::Arc;

use crate::ids::WorkerId;

/// ufrag and password of one side.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Username fragment, 4–256 ICE characters.
    pub ufrag: Arc<str>,
    /// Password, 22–256 ICE characters.
    pub password: Arc<str>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.ufrag.escape_debug())
    }
}

/// The worker whose endpoint has this local ufrag; `None` if it is not of our making.
///
/// A local ufrag is the configured prefix, two characters that name the worker, and at least 64
/// random bits: any worker finds the right one without shared state.
pub fn worker_of_ufrag(_prefix: &str, _ufrag: &[u8]) -> Option<WorkerId> {
    todo!()
}

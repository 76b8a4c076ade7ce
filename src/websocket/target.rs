//! What a websocket URL names.

use std::borrow::Cow;

use axum::http::{StatusCode, Uri};
use causeway_bridge::control::Control;
use causeway_bridge::ids::EndpointKey;

/// Path of endpoints' sockets.
pub(super) const ENDPOINT_PREFIX: &str = "/colibri-ws/";
/// Path of relays' sockets.
pub(super) const RELAY_PREFIX: &str = "/colibri-relay-ws/";

/// Who wants to connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Peer {
    /// A client.
    Endpoint,
    /// Another bridge.
    Relay,
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// The path has too few parts.
    InvalidPath,
    /// It is for another bridge.
    ServerIdMismatch,
    /// Anything else: the same for whatever is wrong, so that nobody learns what exists.
    AuthenticationFailed,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Refusal::InvalidPath | Refusal::ServerIdMismatch => StatusCode::NOT_FOUND,
            Refusal::AuthenticationFailed => StatusCode::FORBIDDEN,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Refusal::InvalidPath => "invalid path",
            Refusal::ServerIdMismatch => "server ID mismatch",
            Refusal::AuthenticationFailed => "authentication failed",
        }
    }
}

/// The parts of a URL that passed the checks which need no conference. Has no `Debug`: it holds a password.
#[derive(PartialEq, Eq)]
pub(super) struct Target {
    pub(super) peer: Peer,
    pub(super) conference: String,
    pub(super) endpoint: String,
    password: String,
}

impl Target {
    /// Checks 1 to 3 of §3.4, and the form of the query of check 6.
    pub(super) fn parse(uri: &Uri, server_id: &str) -> Result<Target, Refusal> {
        let path = percent_decoded(uri.path()).ok_or(Refusal::InvalidPath)?;
        let (peer, rest) = if let Some(rest) = path.strip_prefix(ENDPOINT_PREFIX) {
            (Peer::Endpoint, rest)
        } else if let Some(rest) = path.strip_prefix(RELAY_PREFIX) {
            (Peer::Relay, rest)
        } else {
            return Err(Refusal::InvalidPath);
        };
        let mut parts = rest.trim_end_matches('/').split('/');
        let (Some(server), Some(conference), Some(endpoint)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::InvalidPath);
        };
        if server != server_id {
            return Err(Refusal::ServerIdMismatch);
        }
        // Everything after the first `pwd=` is the candidate, further parameters included.
        let query = uri.query().and_then(percent_decoded);
        let password = query
            .as_deref()
            .and_then(|query| query.strip_prefix("pwd="))
            .ok_or(Refusal::AuthenticationFailed)?;
        Ok(Target {
            peer,
            conference: conference.to_owned(),
            endpoint: endpoint.to_owned(),
            password: password.to_owned(),
        })
    }

    /// Checks 4 to 6: the endpoint, if all is right.
    pub(super) fn authorise(&self, control: &Control) -> Option<EndpointKey> {
        control.authorise(&self.conference, &self.endpoint, &self.password)
    }
}

/// Undoes percent-encoding (RFC 3986 §2.1); `None` if it is malformed or not UTF-8.
fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |bytes: &mut std::str::Bytes| char::from(bytes.next()?).to_digit(16);
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let (high, low) = (digit(&mut bytes)?, digit(&mut bytes)?);
            u8::try_from(high << 4 | low).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_once() {
        assert_eq!(percent_decoded("a%2fb%25%C3%A9").as_deref(), Some("a/b%é"));
        assert_eq!(percent_decoded("plain+text").as_deref(), Some("plain+text"));
        for malformed in ["%", "%4", "%4g", "%-1", "%ff"] {
            assert_eq!(percent_decoded(malformed), None, "{malformed}");
        }
    }
}

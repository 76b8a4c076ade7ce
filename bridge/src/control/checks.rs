//! Whether something that signaling asks for can be done: asked before anything is changed, so that a request that is
//! refused in a later part has no effect at all (colibri2 spec §7, T69).

use std::collections::BTreeSet;

use super::Control;
use super::api::{
    ConferenceOptions, ControlError, EndpointChange, EndpointOptions, NewSource, RemoteTransport,
};
use super::signaling::merge_formats;
use crate::ids::{ConferenceKey, EndpointKey};
use crate::limits::{
    MAX_CONFERENCES, MAX_ENCODINGS, MAX_ENDPOINTS, MAX_FINGERPRINTS, MAX_ICE_CREDENTIAL_BYTES,
    MAX_ID_BYTES, MAX_SSRCS_PER_ENDPOINT,
};
use crate::media::{MediaFormats, MediaKind};

/// Longest digest of a fingerprint: SHA-512.
const MAX_DIGEST: usize = 64;

impl Control {
    /// Whether [`Control::create_conference`] would do it.
    ///
    /// # Errors
    ///
    /// Those of [`Control::create_conference`].
    pub fn check_new_conference(&self, options: &ConferenceOptions) -> Result<(), ControlError> {
        check_id(options.meeting_id.as_str(), |_| true)?;
        if self.meetings.contains_key(&options.meeting_id) {
            return Err(ControlError::ConferenceExists(options.meeting_id.clone()));
        }
        if self.conferences.len() >= MAX_CONFERENCES {
            return Err(ControlError::Limit(
                "The bridge has its maximum of 10000 conferences; use another bridge",
            ));
        }
        Ok(())
    }

    /// Whether [`Control::create_endpoint`] would do it, in a conference that exists or, for `None`, in a new one.
    ///
    /// # Errors
    ///
    /// Those of [`Control::create_endpoint`].
    pub fn check_new_endpoint(
        &self,
        conference: Option<ConferenceKey>,
        options: &EndpointOptions,
    ) -> Result<(), ControlError> {
        check_id(options.id.as_str(), is_url_safe)?;
        if let Some(conference) = conference {
            let conference = self.conferences.get(&conference);
            let conference = conference.ok_or(ControlError::NoConference)?;
            if conference.members.contains_key(&options.id) {
                return Err(ControlError::EndpointExists(options.id.clone()));
            }
        }
        if self.endpoints.len() >= MAX_ENDPOINTS {
            return Err(ControlError::Limit(
                "The bridge has its maximum of 20000 endpoints; use another bridge",
            ));
        }
        Ok(())
    }

    /// Whether an endpoint that was just created with `options` would take the change. What can not be known before
    /// its conference exists is taken for good: which SSRCs the bridge draws for itself.
    ///
    /// # Errors
    ///
    /// Those of [`Control::add_formats`], [`Control::set_sources`] and [`Control::set_remote_transport`].
    pub fn check_first_change(
        &self,
        conference: Option<ConferenceKey>,
        options: &EndpointOptions,
        change: &EndpointChange<'_>,
    ) -> Result<(), ControlError> {
        if let Some(formats) = change.formats {
            merge_formats(&MediaFormats::default(), formats.clone())?;
        }
        if let Some(sources) = change.sources {
            if options.visitor && !sources.is_empty() {
                return Err(ControlError::VisitorSources(options.id.clone()));
            }
            check_sources(sources)?;
            if let Some(conference) = conference {
                let conference = self.conferences.get(&conference);
                let conference = conference.ok_or(ControlError::NoConference)?;
                conference.check_owners(None, sources)?;
            }
        }
        change.remote.map_or(Ok(()), check_remote_transport)
    }

    /// Whether an endpoint would take the change.
    ///
    /// # Errors
    ///
    /// Those of [`Control::add_formats`], [`Control::set_sources`] and [`Control::set_remote_transport`].
    pub fn check_change(
        &self,
        endpoint: EndpointKey,
        change: &EndpointChange<'_>,
    ) -> Result<(), ControlError> {
        let endpoint = self.endpoints.get(&endpoint);
        let endpoint = endpoint.ok_or(ControlError::NoEndpoint)?;
        if let Some(formats) = change.formats {
            merge_formats(&endpoint.formats, formats.clone())?;
        }
        if let Some(sources) = change.sources {
            if endpoint.options.visitor && !sources.is_empty() {
                return Err(ControlError::VisitorSources(endpoint.id().clone()));
            }
            check_sources(sources)?;
            let conference = self.conferences.get(&endpoint.conference);
            let conference = conference.ok_or(ControlError::NoConference)?;
            conference.check_owners(Some(endpoint.key), sources)?;
        }
        change.remote.map_or(Ok(()), check_remote_transport)
    }
}

/// Whether a list of sources makes sense by itself: within the limits, and nothing twice (T31).
fn check_sources(sources: &[NewSource]) -> Result<(), ControlError> {
    let mut ssrcs = BTreeSet::new();
    let mut names = BTreeSet::new();
    for source in sources {
        let name = source.name.as_str();
        if name.is_empty() || name.len() > MAX_ID_BYTES {
            return Err(ControlError::Invalid(
                "A source name is empty or longer than 256 bytes",
            ));
        }
        if !names.insert(name) {
            return Err(ControlError::Invalid("A source name occurs twice"));
        }
        match source.encodings.len() {
            0 => return Err(ControlError::Invalid("A source has no SSRC")),
            1 => {}
            _ if source.kind == MediaKind::Audio => {
                return Err(ControlError::Invalid(
                    "An audio source has more than one encoding",
                ));
            }
            many if many > MAX_ENCODINGS => {
                return Err(ControlError::Limit(
                    "A source has more than 4 encodings; signal fewer",
                ));
            }
            _ => {}
        }
        for ssrc in source.ssrcs() {
            if ssrcs.len() >= MAX_SSRCS_PER_ENDPOINT {
                return Err(ControlError::Limit(
                    "The endpoint has more than 64 SSRCs; remove sources before adding others",
                ));
            }
            if !ssrcs.insert(ssrc) {
                return Err(ControlError::Invalid("An SSRC occurs twice"));
            }
        }
    }
    Ok(())
}

fn check_remote_transport(remote: &RemoteTransport) -> Result<(), ControlError> {
    if let Some(credentials) = &remote.credentials {
        let bounded = |text: &str| !text.is_empty() && text.len() <= MAX_ICE_CREDENTIAL_BYTES;
        if !bounded(&credentials.ufrag) || !bounded(&credentials.password) {
            return Err(ControlError::Invalid(
                "The ICE ufrag or password is empty or longer than 256 characters",
            ));
        }
    }
    if remote.fingerprints.len() > MAX_FINGERPRINTS {
        return Err(ControlError::Limit(
            "The transport has more than 8 fingerprints; signal those in use",
        ));
    }
    if remote
        .fingerprints
        .iter()
        .any(|print| print.digest.is_empty() || print.digest.len() > MAX_DIGEST)
    {
        return Err(ControlError::Invalid(
            "A fingerprint has no digest or one longer than 64 bytes",
        ));
    }
    Ok(())
}

fn check_id(id: &str, allowed: impl Fn(char) -> bool) -> Result<(), ControlError> {
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Err(ControlError::Invalid(
            "An id is empty or longer than 256 bytes",
        ));
    }
    if !id.chars().all(allowed) {
        return Err(ControlError::Invalid(
            "An id has characters that do not fit into a URL",
        ));
    }
    Ok(())
}

/// Whether a character of an id may stand in the path of a URL as it is (RFC 3986 `pchar`, and RFC 3987's
/// letters).
fn is_url_safe(character: char) -> bool {
    character.is_alphanumeric() || "-._~!$&'()*+,;=:@".contains(character)
}

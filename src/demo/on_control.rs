//! The demo on a real control plane.

use std::sync::Arc;

use causeway_bridge::control::ControlAccess;
use causeway_bridge::control::api::{
    ConferenceOptions, ControlError, EndpointOptions, NewSource, RemoteTransport, RestartOutcome,
};
use causeway_bridge::ids::{ConferenceKey, EndpointKey, MeetingId};
use causeway_bridge::media::MediaFormats;

use super::sfu::{Created, Sfu};

/// The [`Sfu`] of whatever gives access to a control plane.
pub struct OnControl<A>(pub Arc<A>);

impl<A: ControlAccess> Sfu for OnControl<A> {
    fn create_conference(&self, meeting_id: MeetingId) -> Result<ConferenceKey, ControlError> {
        let options = ConferenceOptions {
            meeting_id,
            name: None,
        };
        self.0
            .with_control(|control, now| control.create_conference(now, options))
    }

    fn create_endpoint(
        &self,
        conference: ConferenceKey,
        options: EndpointOptions,
        formats: MediaFormats,
    ) -> Result<Created, ControlError> {
        self.0.with_control(|control, now| {
            let feedback_ssrcs = control
                .feedback_ssrcs(conference)
                .ok_or(ControlError::NoConference)?;
            let key = control.create_endpoint(now, conference, options)?;
            let transport = control
                .add_formats(now, key, formats)
                .and_then(|()| control.local_transport(key).ok_or(ControlError::NoEndpoint));
            match transport {
                Ok(transport) => Ok(Created {
                    key,
                    transport,
                    feedback_ssrcs,
                    local_conference_id: control.local_id(conference),
                }),
                // All or nothing: a caller that is refused has no key with which to end the endpoint.
                Err(error) => {
                    control.expire_endpoint(now, key);
                    Err(error)
                }
            }
        })
    }

    fn set_remote_transport(
        &self,
        endpoint: EndpointKey,
        transport: RemoteTransport,
    ) -> Result<(), ControlError> {
        self.0
            .with_control(|control, now| control.set_remote_transport(now, endpoint, transport))
    }

    fn set_sources(
        &self,
        endpoint: EndpointKey,
        sources: Vec<NewSource>,
    ) -> Result<(), ControlError> {
        self.0
            .with_control(|control, now| control.set_sources(now, endpoint, sources))
    }

    fn restart_ice(&self, endpoint: EndpointKey) -> RestartOutcome {
        self.0
            .with_control(|control, now| control.restart_ice(now, endpoint))
    }

    fn expire_endpoint(&self, endpoint: EndpointKey) {
        self.0
            .with_control(|control, now| control.expire_endpoint(now, endpoint));
    }

    fn expire_conference(&self, conference: ConferenceKey) {
        self.0
            .with_control(|control, now| control.expire_conference(now, conference));
    }
}

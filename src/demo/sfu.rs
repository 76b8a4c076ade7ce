//! What the demo needs of a bridge, as a trait, so that its rules can be tested without sockets.

use causeway_bridge::control::api::{
    ControlError, EndpointOptions, LocalTransport, NewSource, RemoteTransport, RestartOutcome,
};
use causeway_bridge::ids::{ConferenceKey, EndpointKey, MeetingId};
use causeway_bridge::media::MediaFormats;

/// A new endpoint as the bridge made it.
#[derive(Clone, Debug)]
pub struct Created {
    /// Handle for later calls.
    pub key: EndpointKey,
    /// The bridge's side of the transport.
    pub transport: LocalTransport,
    /// SSRCs from which the bridge itself sends feedback: audio and video.
    pub feedback_ssrcs: (u32, u32),
    /// The bridge's own id of the conference, part of websocket URLs.
    pub local_conference_id: String,
}

/// The part of the control plane that the demo drives. Calls may block for a short lock, never for I/O.
///
/// The demo calls these while it holds its own lock, so an implementation must not call back into
/// [`super::Demo`] from within; notices are handed over from a task of their own.
pub trait Sfu: Send + Sync + 'static {
    /// Creates a conference.
    fn create_conference(&self, meeting: MeetingId) -> Result<ConferenceKey, ControlError>;
    /// Creates an endpoint with these formats.
    fn create_endpoint(
        &self,
        conference: ConferenceKey,
        options: EndpointOptions,
        formats: MediaFormats,
    ) -> Result<Created, ControlError>;
    /// Sets the browser's ICE and DTLS parameters.
    fn set_remote_transport(
        &self,
        endpoint: EndpointKey,
        transport: RemoteTransport,
    ) -> Result<(), ControlError>;
    /// Replaces the endpoint's sources.
    fn set_sources(
        &self,
        endpoint: EndpointKey,
        sources: Vec<NewSource>,
    ) -> Result<(), ControlError>;
    /// Starts an ICE restart in place.
    fn restart_ice(&self, endpoint: EndpointKey) -> RestartOutcome;
    /// Ends an endpoint.
    fn expire_endpoint(&self, endpoint: EndpointKey);
    /// Ends a conference and its endpoints.
    fn expire_conference(&self, conference: ConferenceKey);
}

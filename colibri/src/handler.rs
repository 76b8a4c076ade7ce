//! Carries requests out (colibri2 spec §3.1–3.3).
//!
//! A request is checked as a whole before anything changes: one that is refused has no effect, and a retry meets the
//! same state.

use std::borrow::Cow;

use causeway_bridge::control::Control;
use causeway_bridge::control::api::{
    ConferenceOptions, ControlError, EndpointChange, EndpointOptions, LocalTransport,
    RestartOutcome,
};
use causeway_bridge::export::ConnectError;
use causeway_bridge::ids::{ConferenceKey, EndpointId, EndpointKey, MeetingId};
use causeway_bridge::time::Time;
use causeway_xmpp::stanza::Condition;
use tracing::{debug, info};

use crate::model::{
    ConferenceModified, ConferenceModify, EndpointModified, EndpointModify, FeedbackSources,
    IceRestart, SctpRole, TransportModified,
};

/// The one SCTP port.
pub const SCTP_PORT: u16 = 5000;

/// Why a request was refused (colibri2 spec §3.6). The text of [`std::fmt::Display`] is for people.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// Create of a conference that exists.
    #[error("Conference already exists for ID: {0}")]
    ConferenceExists(MeetingId),
    /// No such conference.
    #[error("Conference not found for ID: {0}")]
    ConferenceNotFound(MeetingId),
    /// No new conferences: the bridge is about to end.
    #[error("In graceful shutdown")]
    GracefulShutdown,
    /// No such endpoint.
    #[error("Endpoint not found for ID: {0}")]
    UnknownEndpoint(EndpointId),
    /// Create of an endpoint that exists.
    #[error("Endpoint with ID {0} already exists")]
    EndpointExists(EndpointId),
    /// Something that this bridge does not do, with the reason code of the protocol.
    #[error("{0}")]
    Unsupported(Cow<'static, str>),
    /// Something that is not configured or not supported, without reason code.
    #[error("{0}")]
    NotConfigured(&'static str),
    /// The request is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// The bridge can not do it right now.
    #[error("{0}")]
    Unavailable(String),
}

impl Error {
    /// The condition to answer with.
    pub const fn condition(&self) -> Condition {
        match self {
            Error::ConferenceExists(_) | Error::EndpointExists(_) => Condition::Conflict,
            Error::ConferenceNotFound(_) | Error::UnknownEndpoint(_) => Condition::ItemNotFound,
            Error::GracefulShutdown | Error::Unavailable(_) => Condition::ServiceUnavailable,
            Error::Unsupported(_) | Error::NotConfigured(_) => Condition::FeatureNotImplemented,
            Error::BadRequest(_) => Condition::BadRequest,
        }
    }

    /// The `reason` of the protocol's own error element, if the error has one.
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Error::ConferenceExists(_) => Some("conference_already_exists"),
            Error::ConferenceNotFound(_) => Some("conference_not_found"),
            Error::GracefulShutdown => Some("graceful_shutdown"),
            Error::UnknownEndpoint(_) => Some("unknown_endpoint"),
            Error::Unsupported(_) => Some("feature_not_implemented"),
            _ => None,
        }
    }

    /// The endpoint that the error is about, if the answer must name it.
    pub const fn endpoint(&self) -> Option<&EndpointId> {
        match self {
            Error::UnknownEndpoint(id) => Some(id),
            _ => None,
        }
    }
}

/// Whether the bridge takes new conferences.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ServiceState {
    /// Foci shall choose other bridges; nothing is refused.
    pub drain: bool,
    /// New conferences are refused.
    pub graceful_shutdown: bool,
    /// The process is about to end; new conferences are refused.
    pub shutting_down: bool,
}

/// Where clients reach the bridge channel.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct WebsocketUrls {
    /// Host, with a port if it is not the default: one URL for each.
    pub domains: Vec<String>,
    /// `wss` rather than `ws`.
    pub tls: bool,
    /// Path element that names this bridge.
    pub server_id: String,
}

/// What requests may ask for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HandlerOptions {
    /// Data channels over SCTP are on.
    pub sctp: bool,
    /// Websockets are on.
    pub websockets: Option<WebsocketUrls>,
}

/// Carries requests out on a [`Control`].
#[derive(Clone, Debug, Default)]
pub struct Handler {
    options: HandlerOptions,
}

/// What a request created so far.
#[derive(Default)]
struct Created {
    conference: bool,
    endpoint: Option<EndpointKey>,
}

impl Handler {
    /// A handler with these options.
    pub fn new(options: HandlerOptions) -> Handler {
        Handler { options }
    }

    /// Carries a request out and answers it.
    ///
    /// # Errors
    ///
    /// Why the request was refused. Nothing that it created is left then.
    pub fn modify(
        &self,
        control: &mut Control,
        now: Time,
        state: ServiceState,
        request: ConferenceModify,
    ) -> Result<ConferenceModified, Error> {
        let meeting = request.meeting_id.clone();
        let known = self
            .check_conference(control, state, &request)
            .and_then(|known| self.check_request(control, known, &request).map(|()| known))
            .inspect_err(|error| info!(%meeting, %error, "request refused"))?;

        let mut created = Created::default();
        let conference = match known {
            Some(conference) => conference,
            None => {
                created.conference = true;
                let conference = control
                    .create_conference(now, conference_options(&request))
                    .map_err(refused)?;
                control.set_rtcstats(conference, request.rtcstats_enabled);
                conference
            }
        };

        let (expire, was_create) = (request.expire, request.create);
        match self.apply(control, now, conference, request, &mut created) {
            Ok(mut answer) => {
                if created.conference || created.endpoint.is_some() {
                    answer.feedback =
                        control
                            .feedback_ssrcs(conference)
                            .map(|(audio_ssrc, video_ssrc)| FeedbackSources {
                                audio_ssrc,
                                video_ssrc,
                            });
                }
                if expire || (!was_create && control.endpoint_count(conference) == 0) {
                    control.expire_conference(now, conference);
                }
                Ok(answer)
            }
            // The checks do not know which SSRCs the bridge draws for a new conference; the request's may be the same.
            Err(error) => {
                info!(%meeting, %error, "request refused");
                if let Some(endpoint) = created.endpoint {
                    control.expire_endpoint(now, endpoint);
                }
                if created.conference {
                    control.expire_conference(now, conference);
                }
                Err(error)
            }
        }
    }

    /// The conference that the request is about; `None` if it is to be created.
    fn check_conference(
        &self,
        control: &Control,
        state: ServiceState,
        request: &ConferenceModify,
    ) -> Result<Option<ConferenceKey>, Error> {
        let known = control.find_conference(&request.meeting_id);
        if !request.create {
            return known
                .map(Some)
                .ok_or_else(|| Error::ConferenceNotFound(request.meeting_id.clone()));
        }
        if known.is_some() {
            return Err(Error::ConferenceExists(request.meeting_id.clone()));
        }
        if state.graceful_shutdown || state.shutting_down {
            return Err(Error::GracefulShutdown);
        }
        if request
            .name
            .as_deref()
            .is_some_and(|name| !is_bare_jid(name))
        {
            return Err(bad_request("Invalid conference name (not a JID)"));
        }
        let options = conference_options(request);
        control.check_new_conference(&options).map_err(refused)?;
        Ok(None)
    }

    /// Everything that can be known before something is changed.
    fn check_request(
        &self,
        control: &Control,
        conference: Option<ConferenceKey>,
        request: &ConferenceModify,
    ) -> Result<(), Error> {
        if !request.endpoints.is_empty() && !request.relays.is_empty() {
            return Err(Error::Unsupported(
                "Using both 'relay' and 'endpoint' in a request".into(),
            ));
        }
        let substantial = request.endpoints.iter().any(EndpointModify::is_substantial);
        if request.endpoints.len() > 1 && substantial {
            return Err(Error::Unsupported(
                "Creating or updating media, sources or transport for more than one endpoint in a request.".into(),
            ));
        }
        if !request.relays.is_empty() {
            return Err(Error::NotConfigured("Octo is disabled in configuration."));
        }
        control
            .check_connects(conference, &request.connects)
            .map_err(refused_connect)?;
        let find = |id: &EndpointId| control.find_endpoint(conference?, id);
        for endpoint in request.endpoints.iter().filter(|endpoint| !endpoint.expire) {
            let formats = endpoint.formats();
            let transport = endpoint.transport.as_ref();
            let change = EndpointChange {
                formats: formats.as_ref(),
                sources: endpoint.sources.as_deref(),
                remote: transport.and_then(|transport| transport.remote.as_ref()),
            };
            match find(&endpoint.id) {
                Some(_) if endpoint.create => {
                    return Err(Error::EndpointExists(endpoint.id.clone()));
                }
                Some(key) => control.check_change(key, &change).map_err(refused)?,
                None if endpoint.create => {
                    self.check_create(endpoint)?;
                    let options = options(endpoint);
                    control
                        .check_new_endpoint(conference, &options)
                        .and_then(|()| control.check_first_change(conference, &options, &change))
                        .map_err(refused)?;
                }
                None if substantial => return Err(Error::UnknownEndpoint(endpoint.id.clone())),
                // A mute or the like for somebody who just left.
                None => {}
            }
        }
        Ok(())
    }

    fn check_create(&self, endpoint: &EndpointModify) -> Result<(), Error> {
        let Some(transport) = &endpoint.transport else {
            return Err(Error::BadRequest(format!(
                "Attempt to create endpoint {} with no <transport>",
                endpoint.id
            )));
        };
        if !endpoint.capabilities.source_names {
            return Err(bad_request("Source name support is mandatory."));
        }
        if let Some(sctp) = transport.sctp {
            if !self.options.sctp {
                return Err(Error::NotConfigured("SCTP support is not configured"));
            }
            if sctp.role == Some(SctpRole::Client) {
                return Err(Error::NotConfigured("Unsupported SCTP role: CLIENT"));
            }
            if sctp.port.is_some_and(|port| port != u64::from(SCTP_PORT)) {
                return Err(bad_request("Specific SCTP port requested, not supported."));
            }
        }
        Ok(())
    }

    fn apply(
        &self,
        control: &mut Control,
        now: Time,
        conference: ConferenceKey,
        request: ConferenceModify,
        created: &mut Created,
    ) -> Result<ConferenceModified, Error> {
        let mut answer = ConferenceModified::default();
        for endpoint in request.endpoints {
            let id = endpoint.id.clone();
            let expire = endpoint.expire;
            let known = control.find_endpoint(conference, &id);
            let transport = if expire {
                if let Some(key) = known {
                    control.expire_endpoint(now, key);
                }
                None
            } else {
                let key = if endpoint.create {
                    let key = control
                        .create_endpoint(now, conference, options(&endpoint))
                        .map_err(refused)?;
                    created.endpoint = Some(key);
                    Some(key)
                } else {
                    known
                };
                match key {
                    Some(key) => self.update(control, now, conference, key, endpoint)?,
                    None => None,
                }
            };
            answer.endpoints.push(EndpointModified {
                id,
                expire,
                transport,
            });
        }
        control
            .apply_connects(conference, request.connects)
            .map_err(refused_connect)?;
        Ok(answer)
    }

    /// Applies what a request says about an endpoint that exists now. Answers with the transport if that
    /// must be signaled.
    fn update(
        &self,
        control: &mut Control,
        now: Time,
        conference: ConferenceKey,
        key: EndpointKey,
        request: EndpointModify,
    ) -> Result<Option<TransportModified>, Error> {
        if let Some(formats) = request.formats() {
            control.add_formats(now, key, formats).map_err(refused)?;
        }
        if let Some(last_n) = request.initial_last_n {
            control.set_initial_last_n(now, key, last_n);
        }
        if let Some(sources) = request.sources {
            control.set_sources(now, key, sources).map_err(refused)?;
        }
        let transport = request.transport.unwrap_or_default();
        if let Some(remote) = transport.remote {
            control
                .set_remote_transport(now, key, remote)
                .map_err(refused)?;
        }
        if let Some(mute) = request.force_mute {
            control.set_force_mute(now, key, mute.audio, mute.video);
        }
        let restarted = match transport.ice_restart {
            IceRestart::No => None,
            asked => match control.restart_ice(now, key) {
                RestartOutcome::Started(local) => Some(local),
                RestartOutcome::KeepExisting(local) => (asked == IceRestart::Yes).then_some(local),
                RestartOutcome::Unavailable => {
                    debug!(endpoint = %request.id, "ICE restart unavailable");
                    None
                }
            },
        };
        let local = match restarted {
            None if request.create => control.local_transport(key),
            restarted => restarted,
        };
        Ok(local.map(|local| TransportModified {
            web_sockets: self.web_sockets(control, conference, &request.id, &local),
            sctp: transport.sctp.is_some() && local.sctp,
            local,
        }))
    }

    fn web_sockets(
        &self,
        control: &Control,
        conference: ConferenceKey,
        endpoint: &EndpointId,
        local: &LocalTransport,
    ) -> Vec<String> {
        let Some(urls) = &self.options.websockets else {
            return Vec::new();
        };
        let scheme = if urls.tls { "wss" } else { "ws" };
        let conference = control.local_id(conference);
        urls.domains
            .iter()
            .map(|domain| {
                format!(
                    "{scheme}://{domain}/colibri-ws/{}/{conference}/{}?pwd={}",
                    urls.server_id,
                    endpoint.as_str(),
                    local.websocket_password
                )
            })
            .collect()
    }
}

/// What to create the conference with.
fn conference_options(request: &ConferenceModify) -> ConferenceOptions {
    ConferenceOptions {
        meeting_id: request.meeting_id.clone(),
        name: request.name.clone(),
    }
}

/// What to create an endpoint with.
fn options(request: &EndpointModify) -> EndpointOptions {
    let transport = request.transport.as_ref();
    EndpointOptions {
        id: request.id.clone(),
        stats_id: request.stats_id.clone(),
        ice_controlling: transport.is_some_and(|transport| transport.ice_controlling),
        ssrc_rewriting: request.capabilities.ssrc_rewriting,
        mid_demux: request.capabilities.mid_demux && request.capabilities.ssrc_rewriting,
        visitor: request.visitor,
        private_addresses: request.capabilities.private_addresses,
        sctp: transport.is_some_and(|transport| transport.sctp.is_some()),
        diarize: request.diarize,
    }
}

fn bad_request(text: &str) -> Error {
    Error::BadRequest(text.to_owned())
}

fn refused_connect(error: ConnectError) -> Error {
    match error {
        ConnectError::Unsupported(text) => Error::Unsupported(text.into()),
        ConnectError::Invalid(text) => Error::BadRequest(text),
    }
}

fn refused(error: ControlError) -> Error {
    match error {
        ControlError::ConferenceExists(id) => Error::ConferenceExists(id),
        ControlError::EndpointExists(id) => Error::EndpointExists(id),
        ControlError::Busy => Error::Unavailable(error.to_string()),
        other => Error::BadRequest(other.to_string()),
    }
}

/// Whether the text is `local@domain`, without resource.
fn is_bare_jid(name: &str) -> bool {
    let Some((local, domain)) = name.split_once('@') else {
        return false;
    };
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || "\"&'/:<>@".contains(c);
    !local.is_empty()
        && local.len() < 1024
        && !domain.is_empty()
        && domain.len() < 1024
        && !local.contains(forbidden)
        && !domain.contains(|c: char| c != ':' && forbidden(c))
}

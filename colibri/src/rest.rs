//! The private HTTP server's resources (colibri2 spec §2.1, §2.2, §2.4).
//!
//! Requests are carried out one after the other under the control plane's lock, so that they keep their
//! order with everything else that changes a conference. Nothing here is for browsers: a page of another
//! origin can not send `application/json` without asking first, and we never allow it (T61).

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, patch, post};
use causeway_bridge::control::Control;
use causeway_bridge::ids::{ConferenceKey, EndpointId, EndpointKey, MeetingId};
use causeway_bridge::time::Time;
use serde_json::{Map, Value, json};

use crate::handler::{Error, Handler, ServiceState};
use crate::json;

/// Longest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// What the resources need from the process around them.
pub trait ControlAccess: Send + Sync + 'static {
    /// Runs `f` with the control plane and the current time, and carries out what comes of it.
    fn with_control<R>(&self, f: impl FnOnce(&mut Control, Time) -> R) -> R;

    /// Whether the bridge drains or ends.
    fn service_state(&self) -> ServiceState;

    /// Turns draining on or off.
    fn set_drain(&self, drain: bool);

    /// Ends the process: after the last conference (`graceful`) or at once.
    fn shutdown(&self, graceful: bool);

    /// How the bridge is.
    fn health(&self) -> Health {
        Health::Healthy
    }

    /// More statistics for `/colibri/stats`; they win over ours.
    fn statistics(&self) -> Map<String, Value> {
        Map::new()
    }
}

/// How the bridge is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// Everything works.
    Healthy,
    /// It may recover; the text says what is wrong.
    Degraded(String),
    /// It will not recover; the text says what is wrong.
    Failed(String),
}

/// Which resources there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestOptions {
    /// `/colibri/v2/…`, `/colibri/stats` and `/colibri/shutdown`.
    pub rest_enabled: bool,
    /// `/about/health`.
    pub health_enabled: bool,
    /// `/about/version`.
    pub version_enabled: bool,
    /// `/colibri/drain…`.
    pub drain_enabled: bool,
    /// `/colibri/shutdown`, if `rest_enabled`.
    pub shutdown_enabled: bool,
    /// `/debug…`.
    pub debug_enabled: bool,
    /// Name of the software.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Default for RestOptions {
    fn default() -> Self {
        RestOptions {
            rest_enabled: false,
            health_enabled: true,
            version_enabled: true,
            drain_enabled: true,
            shutdown_enabled: false,
            debug_enabled: true,
            name: "Causeway".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

struct Service<A> {
    access: Arc<A>,
    handler: Handler,
    options: RestOptions,
}

type Shared<A> = State<Arc<Service<A>>>;

/// The resources. What is switched off is 404.
pub fn router<A: ControlAccess>(access: Arc<A>, handler: Handler, options: RestOptions) -> Router {
    let mut router = Router::new();
    if options.rest_enabled {
        let list = || post(create::<A>).get(not_implemented);
        router = router
            .route("/colibri/v2/conferences", list())
            .route("/colibri/v2/conferences/", list())
            .route(
                "/colibri/v2/conferences/{meeting}",
                patch(modify::<A>).get(show::<A>),
            )
            .route(
                "/colibri/v2/conferences/{meeting}/dominant-speaker-identification",
                get(dominant_speaker::<A>),
            )
            .route("/colibri/stats", get(stats::<A>));
        if options.shutdown_enabled {
            router = router.route("/colibri/shutdown", post(shutdown::<A>));
        }
    }
    if options.health_enabled {
        router = router.route("/about/health", get(health::<A>));
    }
    if options.version_enabled {
        router = router.route("/about/version", get(version::<A>));
    }
    if options.drain_enabled {
        router = router
            .route("/colibri/drain", get(drain::<A>))
            .route("/colibri/drain/enable", post(drain_enable::<A>))
            .route("/colibri/drain/disable", post(drain_disable::<A>));
    }
    if options.debug_enabled {
        router = router
            .route("/debug", get(debug::<A>))
            .route("/debug/{conference}", get(debug_conference::<A>))
            .route("/debug/{conference}/{endpoint}", get(debug_endpoint::<A>));
    }
    router
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::new(Service {
            access,
            handler,
            options,
        }))
}

fn failure(status: StatusCode, text: &str, reason: Option<&str>) -> Response {
    let mut body = json!({ "error": text });
    if let Some(reason) = reason {
        body["reason"] = reason.into();
    }
    (status, Json(body)).into_response()
}

type ResponseOr<T> = Result<T, Box<Response>>;

/// The body as JSON. A request that names no content type is taken at its word.
fn json_body(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> ResponseOr<Value> {
    let is_json = |value: &axum::http::HeaderValue| {
        value
            .to_str()
            .ok()
            .and_then(|value| value.split(';').next())
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    };
    if !headers.get(header::CONTENT_TYPE).is_none_or(is_json) {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Box::new(failure(
            status,
            "The content type must be application/json",
            None,
        )));
    }
    let body = body.map_err(|error| Box::new(failure(error.status(), &error.body_text(), None)))?;
    serde_json::from_slice(&body).map_err(|error| {
        let text = format!("The body is not JSON: {error}");
        Box::new(failure(StatusCode::BAD_REQUEST, &text, None))
    })
}

impl<A: ControlAccess> Service<A> {
    fn carry_out(
        &self,
        meeting: Option<&str>,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> ResponseOr<Response> {
        let value = json_body(headers, body)?;
        let request = json::parse(&value, meeting).map_err(|error| {
            let text = format!("Failed to parse ConferenceModify JSON:{error}");
            Box::new(failure(StatusCode::BAD_REQUEST, &text, None))
        })?;
        let state = self.access.service_state();
        let answer = self.access.with_control(|control, now| {
            if meeting.is_some() && control.find_conference(&request.meeting_id).is_none() {
                return Err((
                    StatusCode::NOT_FOUND,
                    Error::ConferenceNotFound(request.meeting_id),
                ));
            }
            self.handler
                .modify(control, now, state, request)
                .map_err(|error| (StatusCode::BAD_REQUEST, error))
        });
        match answer {
            Ok(answer) => Ok(Json(json::print(&answer)).into_response()),
            Err((status, error)) => {
                let text = format!("Failed to create conference: {error}");
                Err(Box::new(failure(status, &text, error.reason())))
            }
        }
    }
}

fn either(result: ResponseOr<Response>) -> Response {
    result.unwrap_or_else(|error| *error)
}

async fn create<A: ControlAccess>(
    State(service): Shared<A>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    either(service.carry_out(None, &headers, body))
}

async fn modify<A: ControlAccess>(
    State(service): Shared<A>,
    Path(meeting): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    either(service.carry_out(Some(&meeting), &headers, body))
}

async fn not_implemented() -> Response {
    failure(StatusCode::NOT_IMPLEMENTED, "Not implemented", None)
}

fn not_found() -> Response {
    failure(StatusCode::NOT_FOUND, "Not found", None)
}

async fn show<A: ControlAccess>(
    State(service): Shared<A>,
    Path(meeting): Path<String>,
) -> Response {
    let known = service.access.with_control(|control, _| {
        control
            .find_conference(&MeetingId::from(meeting.as_str()))
            .is_some()
    });
    if known {
        not_implemented().await
    } else {
        not_found()
    }
}

async fn dominant_speaker<A: ControlAccess>(
    State(service): Shared<A>,
    Path(meeting): Path<String>,
) -> Response {
    let described = service.access.with_control(|control, _| {
        let conference = control.find_conference(&MeetingId::from(meeting.as_str()))?;
        let id = |key: &EndpointKey| control.endpoint_id(*key).map(EndpointId::as_str);
        let ids = |keys: &[EndpointKey]| -> Vec<&str> { keys.iter().filter_map(id).collect() };
        let dominant = control.dominant_speaker(conference);
        Some(json!({
            // A string in any case, as existing clients expect.
            "dominantEndpoint": dominant.as_ref().and_then(id).unwrap_or("null"),
            "dominantSpeakerIdentification": null,
            "endpointsBySpeechActivity": ids(control.speech_order(conference)),
            "endpointsInLastNOrder": ids(control.last_n_order(conference)),
        }))
    });
    described.map_or_else(not_found, |described| Json(described).into_response())
}

async fn stats<A: ControlAccess>(State(service): Shared<A>) -> Response {
    let state = service.access.service_state();
    let mut stats = service.access.with_control(|control, _| {
        let sizes = |conference| control.endpoint_count(conference);
        let visitors = |conference: ConferenceKey| {
            control
                .endpoints(conference)
                .filter(|endpoint| control.is_visitor(*endpoint))
                .count()
        };
        let visitors: usize = control.conferences().map(visitors).sum();
        let endpoints = control.endpoint_count_total();
        let counters = control.counters();
        let participants = endpoints.saturating_sub(visitors);
        json!({
            "conferences": control.conference_count(),
            "largest_conference": control.conferences().map(sizes).max().unwrap_or(0),
            "endpoints": participants,
            "participants": participants,
            "visitors": visitors,
            "local_endpoints": endpoints,
            "total_conferences_created": counters.conferences_created,
            "total_participants": counters.endpoints_created,
            "total_dominant_speaker_changes": counters.dominant_speaker_changes,
        })
    });
    stats["drain"] = state.drain.into();
    stats["graceful_shutdown"] = state.graceful_shutdown.into();
    stats["shutting_down"] = state.shutting_down.into();
    stats["healthy"] = (service.access.health() == Health::Healthy).into();
    stats["version"] = service.options.version.as_str().into();
    for (key, value) in service.access.statistics() {
        stats[key] = value;
    }
    Json(stats).into_response()
}

async fn shutdown<A: ControlAccess>(
    State(service): Shared<A>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let value = match json_body(&headers, body) {
        Ok(value) => value,
        Err(response) => return *response,
    };
    let graceful = value.get("graceful-shutdown").and_then(Value::as_bool);
    let Some(graceful) = graceful else {
        let text = "Expected boolean for graceful-shutdown";
        return failure(StatusCode::BAD_REQUEST, text, None);
    };
    service.access.shutdown(graceful);
    StatusCode::OK.into_response()
}

async fn health<A: ControlAccess>(State(service): Shared<A>) -> Response {
    match service.access.health() {
        Health::Healthy => StatusCode::OK.into_response(),
        Health::Degraded(text) => (StatusCode::SERVICE_UNAVAILABLE, text).into_response(),
        Health::Failed(text) => (StatusCode::INTERNAL_SERVER_ERROR, text).into_response(),
    }
}

async fn version<A: ControlAccess>(State(service): Shared<A>) -> Response {
    let os = match std::env::consts::OS {
        "linux" => "Linux",
        other => other,
    };
    Json(json!({
        "name": service.options.name,
        "version": service.options.version,
        "os": os,
    }))
    .into_response()
}

async fn drain<A: ControlAccess>(State(service): Shared<A>) -> Response {
    let drain = service.access.service_state().drain;
    Json(json!({ "drain": drain })).into_response()
}

async fn drain_enable<A: ControlAccess>(State(service): Shared<A>) -> StatusCode {
    service.access.set_drain(true);
    StatusCode::OK
}

async fn drain_disable<A: ControlAccess>(State(service): Shared<A>) -> StatusCode {
    service.access.set_drain(false);
    StatusCode::OK
}

async fn debug<A: ControlAccess>(State(service): Shared<A>) -> Response {
    let state = service.access.service_state();
    let mut debug = service
        .access
        .with_control(|control, _| control.debug_json(None, None));
    let shutdown = match state {
        ServiceState {
            shutting_down: true,
            ..
        } => "SHUTTING_DOWN",
        ServiceState {
            graceful_shutdown: true,
            ..
        } => "GRACEFUL_SHUTDOWN",
        _ => "RUNNING",
    };
    debug["shutdown_state"] = shutdown.into();
    debug["drain"] = state.drain.into();
    debug["health"] = match service.access.health() {
        Health::Healthy => json!({ "success": true, "message": null }),
        Health::Degraded(text) | Health::Failed(text) => {
            json!({ "success": false, "message": text })
        }
    };
    Json(debug).into_response()
}

fn local_conference(control: &Control, id: &str) -> Option<ConferenceKey> {
    control
        .conferences()
        .find(|conference| control.local_id(*conference) == id)
}

async fn debug_conference<A: ControlAccess>(
    State(service): Shared<A>,
    Path(conference): Path<String>,
) -> Response {
    let described = service.access.with_control(|control, _| {
        let conference = local_conference(control, &conference)?;
        Some(control.debug_json(Some(conference), None))
    });
    described.map_or_else(not_found, |described| Json(described).into_response())
}

async fn debug_endpoint<A: ControlAccess>(
    State(service): Shared<A>,
    Path((conference, endpoint)): Path<(String, String)>,
) -> Response {
    let described = service.access.with_control(|control, _| {
        let conference = local_conference(control, &conference)?;
        let endpoint = control.find_endpoint(conference, &EndpointId::from(endpoint.as_str()))?;
        Some(control.debug_json(Some(conference), Some(endpoint)))
    });
    described.map_or_else(not_found, |described| Json(described).into_response())
}

//! `/debug…` (rest-and-stats spec §2.8).

mod features;

pub(super) use self::features::Switches;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use causeway_bridge::control::{Control, DebugView};
use causeway_bridge::ids::{ConferenceKey, EndpointId};
use causeway_bridge::time::Time;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Health, Process, Service, Shared, wall_clock_ms};
use crate::handler::ServiceState;

/// Everything below `/debug`, and where it was in the past.
pub(super) fn routes<P: Process>() -> Router<Arc<Service<P>>> {
    Router::new()
        .route("/debug", get(bridge::<P>))
        .route("/debug/{conference}", get(conference::<P>))
        .route("/debug/{conference}/why", get(why::<P>))
        .route("/debug/{conference}/{endpoint}", get(endpoint::<P>))
        .route(
            "/debug/{conference}/{endpoint}/timeline",
            get(timeline::<P>),
        )
        .route("/colibri/debug", get(moved))
        .route("/colibri/debug/{*rest}", get(moved))
        .merge(features::routes())
}

#[derive(Deserialize)]
struct Wanted {
    full: Option<bool>,
}

/// The wall clock when the bridge's clock showed zero, for times in answers.
fn epoch_ms(now: Time) -> u64 {
    wall_clock_ms().saturating_sub(now.as_millis())
}

/// What every answer begins with.
fn frame<P: Process>(service: &Service<P>, conferences: Value) -> Map<String, Value> {
    let state = service.process.service_state();
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
    let mut frame = Map::new();
    frame.insert("shutdown_state".into(), shutdown.into());
    frame.insert("drain".into(), state.drain.into());
    frame.insert("time".into(), wall_clock_ms().into());
    let facts = service.process.facts();
    let overloaded = facts.stress >= 1.0;
    let mut load = json!({
        "state": if overloaded { "OVERLOADED" } else { "NOT_OVERLOADED" },
        // Texts, as existing clients expect.
        "stress": facts.stress.to_string(),
        "reducer_enabled": facts.last_n_limit.is_some().to_string(),
    });
    if let (Some(limit), Some(load)) = (facts.last_n_limit, load.as_object_mut()) {
        load.insert("reducer".into(), json!({ "jvbLastN": limit }));
    }
    frame.insert("load_management".into(), load);
    frame.insert("conferences".into(), conferences);
    frame
}

async fn bridge<P: Process>(
    State(service): Shared<P>,
    Query(wanted): Query<Wanted>,
) -> Json<Value> {
    let conferences = service.process.with_control(|control, now| {
        let view = DebugView {
            full: wanted.full.unwrap_or(false),
            epoch_ms: epoch_ms(now),
        };
        let described = control.conferences().map(|conference| {
            let described = control.debug_conference(conference, None, view);
            (control.local_id(conference), described)
        });
        described.collect::<Map<_, _>>()
    });
    let mut answer = frame(&service, Value::Object(conferences));
    let (success, hard, message) = match service.process.health() {
        Health::Healthy => (true, true, Value::Null),
        Health::Degraded(text) => (false, false, text.into()),
        Health::Failed(text) => (false, true, text.into()),
    };
    let health = json!({ "success": success, "hardFailure": hard, "responseCode": null, "message": message });
    answer.insert("health".into(), health);
    Json(Value::Object(answer))
}

/// The conferences that collectors of statistics may see (rest-and-stats spec §2.9).
pub(super) async fn rtcstats<P: Process>(State(service): Shared<P>) -> Json<Value> {
    let conferences = service.process.with_control(|control, now| {
        let view = DebugView {
            full: true,
            epoch_ms: epoch_ms(now),
        };
        let shown = control
            .conferences()
            .filter(|conference| control.rtcstats(*conference));
        let described = shown.map(|conference| {
            let described = control.debug_conference(conference, None, view);
            (control.local_id(conference), described)
        });
        described.collect::<Map<_, _>>()
    });
    Json(json!({ "conferences": conferences }))
}

pub(super) fn find(control: &Control, id: &str) -> Option<ConferenceKey> {
    control
        .conferences()
        .find(|conference| control.local_id(*conference) == id)
}

/// Describes one conference, of its endpoints perhaps only one. What does not exist is the text `null`.
fn describe<P: Process>(
    service: &Service<P>,
    id: &str,
    endpoint: Option<&EndpointId>,
    wanted: &Wanted,
) -> Json<Value> {
    let described = service.process.with_control(|control, now| {
        let view = DebugView {
            full: wanted.full.unwrap_or(true),
            epoch_ms: epoch_ms(now),
        };
        Some(control.debug_conference(find(control, id)?, endpoint, view))
    });
    let described = described.unwrap_or_else(|| "null".into());
    Json(Value::Object(frame(service, json!({ id: described }))))
}

async fn conference<P: Process>(
    State(service): Shared<P>,
    Path(conference): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Json<Value> {
    describe(&service, &conference, None, &wanted)
}

async fn endpoint<P: Process>(
    State(service): Shared<P>,
    Path((conference, endpoint)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
) -> Json<Value> {
    let endpoint = EndpointId::from(endpoint.as_str());
    describe(&service, &conference, Some(&endpoint), &wanted)
}

#[derive(Deserialize)]
struct Pair {
    viewer: String,
    sender: String,
}

/// Why `viewer` does not see or hear `sender`: an answer of ours, not known to Jitsi Videobridge.
async fn why<P: Process>(
    State(service): Shared<P>,
    Path(conference): Path<String>,
    Query(pair): Query<Pair>,
) -> Response {
    let (viewer, sender) = (
        EndpointId::from(pair.viewer.as_str()),
        EndpointId::from(pair.sender.as_str()),
    );
    let answer = service.process.with_control(|control, _| {
        Some(control.why(find(control, &conference)?, &viewer, &sender))
    });
    match answer {
        Some(answer) => Json(answer).into_response(),
        None => unknown(&format!("no conference has the id {conference}")),
    }
}

fn unknown(what: &str) -> Response {
    let text = format!("{what}: /debug lists them\n");
    (StatusCode::NOT_FOUND, text).into_response()
}

#[derive(Deserialize)]
struct Later {
    #[serde(default)]
    since: u32,
}

/// What happened to an endpoint lately: an answer of ours, not known to Jitsi Videobridge.
async fn timeline<P: Process>(
    State(service): Shared<P>,
    Path((conference, endpoint)): Path<(String, String)>,
    Query(Later { since }): Query<Later>,
) -> Response {
    let id = EndpointId::from(endpoint.as_str());
    let answer = service.process.with_control(|control, now| {
        let endpoint = control.find_endpoint(find(control, &conference)?, &id)?;
        Some(control.timeline(now, endpoint, since, epoch_ms(now)))
    });
    match answer {
        Some(answer) => Json(answer).into_response(),
        None => unknown(&format!("{conference} has no endpoint {endpoint}")),
    }
}

/// `/colibri/debug…` is `/debug…` now.
async fn moved(uri: Uri) -> Response {
    let target = uri.path_and_query().map_or("/debug", |all| all.as_str());
    let target = target.strip_prefix("/colibri").unwrap_or("/debug");
    let location = [(header::LOCATION, target.to_owned())];
    (StatusCode::MOVED_PERMANENTLY, location).into_response()
}

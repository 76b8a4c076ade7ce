//! Health, version, drain and shutdown (rest-and-stats spec §2.1–§2.5).

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};

use super::{Health, Process, Shared, failure, json_body};

pub(super) async fn shutdown<P: Process>(
    State(service): Shared<P>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let value = match json_body(&headers, body) {
        Ok(value) => value,
        Err(response) => return *response,
    };
    // Scripts send the word as a text.
    let graceful = match value.get("graceful-shutdown") {
        Some(Value::Bool(graceful)) => Some(*graceful),
        Some(Value::String(word)) => word.parse().ok(),
        _ => None,
    };
    let Some(graceful) = graceful else {
        let text = "Expected boolean for graceful-shutdown";
        return failure(StatusCode::BAD_REQUEST, text, None);
    };
    service.process.shutdown(graceful);
    StatusCode::OK.into_response()
}

pub(super) async fn health<P: Process>(State(service): Shared<P>) -> Response {
    match service.process.health() {
        Health::Healthy => StatusCode::OK.into_response(),
        Health::Degraded(text) => (StatusCode::SERVICE_UNAVAILABLE, text).into_response(),
        Health::Failed(text) => (StatusCode::INTERNAL_SERVER_ERROR, text).into_response(),
    }
}

pub(super) async fn version<P: Process>(State(service): Shared<P>) -> Response {
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

pub(super) async fn drain<P: Process>(State(service): Shared<P>) -> Response {
    let drain = service.process.service_state().drain;
    Json(json!({ "drain": drain })).into_response()
}

pub(super) async fn drain_enable<P: Process>(State(service): Shared<P>) -> StatusCode {
    service.process.set_drain(true);
    StatusCode::OK
}

pub(super) async fn drain_disable<P: Process>(State(service): Shared<P>) -> StatusCode {
    service.process.set_drain(false);
    StatusCode::OK
}

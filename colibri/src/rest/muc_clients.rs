//! `/colibri/muc-client/…`: XMPP connections that are added and removed while the bridge runs (rest-and-stats spec §2.6).

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde_json::Value;

use super::{Process, Shared, failure, json_body};

/// The process's XMPP connections, as these resources see them.
pub trait MucClients {
    /// Adds a connection, or replaces the one with that id if host, port, domain or user differ. `settings` are the
    /// members of its configuration (`id` is not among them), names in lower case with `-` for `_`. Connecting may
    /// fail later; that is not reported here.
    ///
    /// # Errors
    ///
    /// What is missing or wrong, for people.
    fn add(&self, id: &str, settings: BTreeMap<String, String>) -> Result<(), String>;

    /// Ends a connection; false if there is none with that id.
    fn remove(&self, id: &str) -> bool;

    /// Ids of all connections.
    fn ids(&self) -> Vec<String>;
}

fn bad(text: &str) -> Response {
    failure(StatusCode::BAD_REQUEST, text, None)
}

/// The members of an object whose values are strings, and its `id`. Members with other values are ignored, as existing
/// scripts expect.
fn settings(body: &Value) -> Option<(String, BTreeMap<String, String>)> {
    let mut settings: BTreeMap<String, String> = body
        .as_object()?
        .iter()
        .filter_map(|(name, value)| {
            let name = name.to_ascii_lowercase().replace('_', "-");
            Some((name, value.as_str()?.to_owned()))
        })
        .collect();
    let id = settings.remove("id").filter(|id| !id.is_empty())?;
    Some((id, settings))
}

pub(super) async fn add<P: Process>(
    State(service): Shared<P>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match json_body(&headers, body) {
        Ok(body) => body,
        Err(response) => return *response,
    };
    let Some((id, settings)) = settings(&body) else {
        return bad("Expected an object with a string id");
    };
    let Some(clients) = service.process.muc_clients() else {
        return bad("This process has no XMPP");
    };
    match clients.add(&id, settings) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(text) => bad(&text),
    }
}

pub(super) async fn remove<P: Process>(
    State(service): Shared<P>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match json_body(&headers, body) {
        Ok(body) => body,
        Err(response) => return *response,
    };
    let Some((id, _)) = settings(&body) else {
        return bad("Expected an object with a string id");
    };
    let clients = service.process.muc_clients();
    if clients.is_some_and(|clients| clients.remove(&id)) {
        StatusCode::OK.into_response()
    } else {
        bad("No client has that id")
    }
}

pub(super) async fn list<P: Process>(State(service): Shared<P>) -> Response {
    let clients = service.process.muc_clients();
    Json(clients.map(MucClients::ids).unwrap_or_default()).into_response()
}

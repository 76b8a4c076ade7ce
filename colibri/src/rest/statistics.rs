//! `/colibri/stats` and `/metrics` (rest-and-stats spec §2.3, §2.10).

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Map, Value};

use super::{Process, Service, Shared, wall_clock_ms};
use crate::statistics::{Format, Statistics};

fn collect<P: Process>(service: &Service<P>) -> Statistics {
    let options = &service.options;
    Statistics::collect(
        &*service.process,
        &options.version,
        options.release.as_deref(),
        wall_clock_ms(),
    )
}

pub(super) async fn stats<P: Process>(State(service): Shared<P>) -> Json<Map<String, Value>> {
    Json(collect(&service).keys())
}

pub(super) async fn metrics<P: Process>(State(service): Shared<P>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT);
    let format = Format::negotiate(accept.and_then(|accept| accept.to_str().ok()));
    let kind = [(header::CONTENT_TYPE, format.content_type())];
    (kind, collect(&service).metrics(format)).into_response()
}

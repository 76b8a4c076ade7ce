//! `/debug/features/…` and `/debug/stats/…`: switches of the reference implementation, and what they measure.
//!
//! Scripts collect all of them before an instance ends, so each has an answer. A switch keeps its position, and nothing
//! depends on it: what we measure, we measure always.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use causeway_bridge::counters::{Counter, Counters};
use serde_json::{Map, Value, json};

use crate::rest::{Process, Service, Shared, captures, not_found};
use crate::statistics::TRANSIT;

/// Positions of the switches.
#[derive(Default)]
pub(in crate::rest) struct Switches(Mutex<BTreeSet<&'static str>>);

/// How a feature of the bridge can be switched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Switch {
    /// On and off.
    Free,
    /// Always on; switching is accepted.
    On,
    /// Always on; there is nothing to switch.
    Fixed,
    /// There is none.
    None,
}

/// Name, switch, and whether it has statistics.
const FEATURES: [(&str, Switch, bool); 13] = [
    ("payload-verification", Switch::Free, true),
    ("node-stats", Switch::Free, true),
    ("pool-stats", Switch::Free, true),
    ("queue-stats", Switch::Free, true),
    ("pool-bookkeeping", Switch::Free, false),
    ("queue-timing-stats", Switch::Free, false),
    ("node-tracing", Switch::Free, false),
    ("transit-stats", Switch::On, true),
    ("task-pool-stats", Switch::On, true),
    ("tossed-packet-stats", Switch::Fixed, true),
    ("xmpp-delay-stats", Switch::None, true),
    ("ice-stats", Switch::None, true),
    ("conference-packet-stats", Switch::None, true),
];

fn feature(name: &str) -> Option<(&'static str, Switch, bool)> {
    FEATURES.into_iter().find(|(known, ..)| *known == name)
}

pub(super) fn routes<P: Process>() -> Router<Arc<Service<P>>> {
    let switch = || get(switch::<P>).post(switch::<P>);
    Router::new()
        .route("/debug/features/jvb/{feature}", get(position::<P>))
        .route("/debug/features/jvb/{feature}/{on}", switch())
        .route(
            "/debug/features/endpoint/{conference}/{endpoint}/{feature}",
            get(captures::position::<P>),
        )
        .route(
            "/debug/features/endpoint/{conference}/{endpoint}/{feature}/{on}",
            post(captures::switch::<P>),
        )
        .route("/debug/stats/jvb/{feature}", get(stats::<P>))
        .route("/debug/stats/{feature}", get(stats_moved))
        .route("/debug/stats/{feature}/", get(stats_moved))
}

/// The text, as `text/plain` without a character set.
fn text(text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], text).into_response()
}

async fn position<P: Process>(State(service): Shared<P>, Path(name): Path<String>) -> Response {
    match feature(&name) {
        Some((_, Switch::On | Switch::Fixed, _)) => text("true"),
        Some((name, Switch::Free, _)) => {
            let on = service.switches.0.lock();
            let on = on.unwrap_or_else(PoisonError::into_inner).contains(name);
            text(if on { "true" } else { "false" })
        }
        Some((_, Switch::None, _)) | None => not_found(),
    }
}

async fn switch<P: Process>(
    State(service): Shared<P>,
    Path((name, on)): Path<(String, bool)>,
) -> Response {
    match feature(&name) {
        Some((name, Switch::Free, _)) => {
            let switches = service.switches.0.lock();
            let mut switches = switches.unwrap_or_else(PoisonError::into_inner);
            if on {
                switches.insert(name);
            } else {
                switches.remove(name);
            }
            StatusCode::OK.into_response()
        }
        Some((_, Switch::On, _)) => StatusCode::OK.into_response(),
        Some((_, Switch::Fixed | Switch::None, _)) | None => not_found(),
    }
}

/// What queues dropped, under the names of the reference implementation's queues that do the same.
fn queues(counters: &Counters) -> Value {
    let queue = |dropped: Counter, exceptions: u64| json!({ "dropped_packets": counters.get(dropped), "exceptions": exceptions });
    json!({
        "srtp_send_queue": queue(Counter::DropSendFull, counters.get(Counter::SendErrors)),
        "rtp_receiver_queue": queue(Counter::DropRingFull, counters.get(Counter::Panics)),
        "colibri_queue": queue(Counter::DropEventFull, 0),
    })
}

/// How long packets took through the bridge: `x_to_max_ms` are those that took at least x.
fn transit(counters: &Counters) -> Value {
    let mut buckets = Map::new();
    let mut count = 0;
    for (counter, at_least) in TRANSIT.into_iter().rev() {
        count += counters.get(counter);
        buckets.insert(format!("{at_least}_to_max_ms"), count.into());
    }
    let micros = counters.get(Counter::TransitMicros) as f64;
    let average = (count > 0).then(|| micros / 1000.0 / count as f64);
    let average = average.map_or_else(|| "NaN".into(), Value::from);
    json!({ "e2e_packet_delay": { "rtp": { "average_delay_ms": average, "total_count": count, "buckets": buckets } } })
}

async fn stats<P: Process>(State(service): Shared<P>, Path(name): Path<String>) -> Response {
    let described = match name.as_str() {
        "queue-stats" => {
            let summary = service.process.with_control(|control, _| control.summary());
            queues(&summary.counters)
        }
        "transit-stats" => {
            let summary = service.process.with_control(|control, _| control.summary());
            transit(&summary.counters)
        }
        "node-stats" | "payload-verification" => json!({ "num_payload_verification_failures": 0 }),
        "pool-stats" => json!({ "num_large_requests": 0 }),
        name if feature(name).is_some_and(|(.., has_stats)| has_stats) => {
            Value::Object(<_>::default())
        }
        _ => return not_found(),
    };
    Json(described).into_response()
}

async fn stats_moved(Path(name): Path<String>, uri: axum::http::Uri) -> Response {
    let slash = if uri.path().ends_with('/') { "/" } else { "" };
    // The name is a path element again: what does not fit into one can not be a feature.
    let fits = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !fits {
        return not_found();
    }
    let location = format!("/debug/stats/jvb/{name}{slash}");
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

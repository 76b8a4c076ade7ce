//! `/colibri/stats` (rest-and-stats spec §4).

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use causeway_bridge::ids::ConferenceKey;
use serde_json::json;

use super::{Health, Process, Shared};

pub(super) async fn stats<P: Process>(State(service): Shared<P>) -> Response {
    let state = service.process.service_state();
    let mut stats = service.process.with_control(|control, _| {
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
    stats["healthy"] = (service.process.health() == Health::Healthy).into();
    stats["version"] = service.options.version.as_str().into();
    for (key, value) in service.process.statistics() {
        stats[key] = value;
    }
    Json(stats).into_response()
}

//! `/colibri/v2/conferences…` (colibri2 spec §2.1, §2.2).

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use causeway_bridge::ids::MeetingId;

use super::{Process, ResponseOr, Service, Shared, failure, json_body, not_found};
use crate::handler::Error;
use crate::json;

impl<P: Process> Service<P> {
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
        let state = self.process.service_state();
        let answer = self.process.with_control(|control, now| {
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

pub(super) async fn create<P: Process>(
    State(service): Shared<P>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    either(service.carry_out(None, &headers, body))
}

pub(super) async fn modify<P: Process>(
    State(service): Shared<P>,
    Path(meeting): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    either(service.carry_out(Some(&meeting), &headers, body))
}

pub(super) async fn not_implemented() -> Response {
    failure(StatusCode::NOT_IMPLEMENTED, "Not implemented", None)
}

pub(super) async fn show<P: Process>(
    State(service): Shared<P>,
    Path(meeting): Path<String>,
) -> Response {
    let known = service.process.with_control(|control, _| {
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

pub(super) async fn dominant_speaker<P: Process>(
    State(service): Shared<P>,
    Path(meeting): Path<String>,
) -> Response {
    let described = service.process.with_control(|control, _| {
        let conference = control.find_conference(&MeetingId::from(meeting.as_str()))?;
        Some(control.speech_activity(conference))
    });
    described.map_or_else(not_found, |described| Json(described).into_response())
}

//! Errors as the page shows them: a status, a stable code and a sentence for people.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use causeway_bridge::control::api::ControlError;

/// A refused request: `{"error":{"code":…,"message":…}}`.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable name, for programs.
    pub code: &'static str,
    /// What went wrong, for people.
    pub message: String,
}

impl ApiError {
    /// An error with that status, code and message.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            code,
            message: message.into(),
        }
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// Room, endpoint or token is wrong. One answer for all three: nobody learns which exist.
    pub fn unknown() -> ApiError {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "unknown_endpoint",
            "You are no longer in this room. Join again.",
        )
    }

    /// A limit is reached.
    pub fn full(message: &'static str) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "full", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": { "code": self.code, "message": self.message } });
        (self.status, Json(body)).into_response()
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> ApiError {
        let (status, code) = match error {
            ControlError::ConferenceExists(_) | ControlError::EndpointExists(_) => {
                (StatusCode::CONFLICT, "conflict")
            }
            ControlError::NoConference | ControlError::NoEndpoint => return ApiError::unknown(),
            ControlError::VisitorSources(_) | ControlError::Invalid(_) => {
                (StatusCode::BAD_REQUEST, "invalid")
            }
            ControlError::Limit(_) => (StatusCode::SERVICE_UNAVAILABLE, "full"),
            ControlError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        };
        ApiError::new(status, code, error.to_string())
    }
}

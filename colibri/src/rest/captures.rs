//! Captures of an endpoint's packets: the feature `pcap-dump` of `/debug/features/endpoint/…` (rest-and-stats spec §2.8).

use std::path::PathBuf;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use causeway_bridge::ids::{EndpointId, EndpointKey};
use serde_json::json;

use super::debug::find;
use super::{Process, Service, Shared, failure, not_found};

/// Packets of the media.
const PACKETS: &str = "pcap-dump";
/// Packets of the data channel, which this bridge does not capture.
const SCTP: &str = "sctp-pcap-dump";

/// Whose packets are captured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaptureTarget {
    /// The bridge's own id of the conference.
    pub conference: String,
    /// Id of the endpoint.
    pub endpoint: String,
    /// Its key.
    pub key: EndpointKey,
}

/// A capture that ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaptureSummary {
    /// The file.
    pub file: PathBuf,
    /// Packets in it.
    pub packets: u64,
    /// Its length.
    pub bytes: u64,
    /// Packets that are missing in it, because the disk was too slow.
    pub dropped: u64,
}

/// Why a capture did not begin; the texts say what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CaptureError {
    /// The configuration does not allow captures.
    #[error("{0}")]
    Forbidden(String),
    /// Too many run.
    #[error("{0}")]
    Busy(String),
    /// The endpoint has left.
    #[error("The endpoint has left")]
    Gone,
    /// Something is wrong with the machine.
    #[error("{0}")]
    Failed(String),
}

/// The process's captures, as this resource sees them. Methods may wait for a disk.
pub trait Captures: Send + Sync {
    /// Begins one, and tells the file; where one runs it goes on.
    ///
    /// # Errors
    ///
    /// See [`CaptureError`].
    fn start(&self, target: &CaptureTarget) -> Result<PathBuf, CaptureError>;

    /// Ends the endpoint's capture and waits until its file is complete; `None` if there is none.
    fn stop(&self, endpoint: EndpointKey) -> Option<CaptureSummary>;

    /// Whether the endpoint's packets are captured.
    fn is_on(&self, endpoint: EndpointKey) -> bool;
}

/// The endpoint, if there is one and if endpoints have such a feature.
fn target<P: Process>(
    service: &Service<P>,
    conference: &str,
    endpoint: &str,
    feature: &str,
) -> Option<CaptureTarget> {
    if ![PACKETS, SCTP].contains(&feature) {
        return None;
    }
    let key = service.process.with_control(|control, _| {
        control.find_endpoint(find(control, conference)?, &EndpointId::from(endpoint))
    });
    Some(CaptureTarget {
        conference: conference.to_owned(),
        endpoint: endpoint.to_owned(),
        key: key?,
    })
}

/// `GET …/{feature}`: whether it is on.
pub(super) async fn position<P: Process>(
    State(service): Shared<P>,
    Path((conference, endpoint, feature)): Path<(String, String, String)>,
) -> Response {
    let Some(target) = target(&service, &conference, &endpoint, &feature) else {
        return not_found();
    };
    let captures = service.process.captures();
    let on = captures.is_some_and(|captures| captures.is_on(target.key)) && feature == PACKETS;
    let text = if on { "true" } else { "false" };
    ([(header::CONTENT_TYPE, "text/plain")], text).into_response()
}

/// `POST …/{feature}/{on}`: switches it.
pub(super) async fn switch<P: Process>(
    State(service): Shared<P>,
    Path((conference, endpoint, feature, on)): Path<(String, String, String, bool)>,
) -> Response {
    let Some(target) = target(&service, &conference, &endpoint, &feature) else {
        return not_found();
    };
    if feature == SCTP {
        let why = "Packets of data channels are not captured; pcap-dump captures RTP and RTCP";
        return failure(StatusCode::FORBIDDEN, why, None);
    }
    // A disk may be slow; others must not wait for it.
    let done = tokio::task::spawn_blocking(move || {
        let captures = service.process.captures();
        if on {
            start(captures, &target)
        } else {
            stop(captures, target.key)
        }
    });
    done.await.unwrap_or_else(|_| {
        let why = "The capture ended by an internal error, which the log shows";
        failure(StatusCode::INTERNAL_SERVER_ERROR, why, None)
    })
}

fn start(captures: Option<&dyn Captures>, target: &CaptureTarget) -> Response {
    let unable = || CaptureError::Forbidden("This process has no packet captures".to_owned());
    let started = captures.ok_or_else(unable);
    match started.and_then(|captures| captures.start(target)) {
        Ok(file) => Json(json!({ "file": file.display().to_string() })).into_response(),
        Err(error) => {
            let status = match &error {
                CaptureError::Forbidden(_) => StatusCode::FORBIDDEN,
                CaptureError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
                CaptureError::Gone => StatusCode::NOT_FOUND,
                CaptureError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            failure(status, &error.to_string(), None)
        }
    }
}

fn stop(captures: Option<&dyn Captures>, endpoint: EndpointKey) -> Response {
    match captures.and_then(|captures| captures.stop(endpoint)) {
        Some(summary) => Json(json!({
            "file": summary.file.display().to_string(),
            "packets": summary.packets,
            "bytes": summary.bytes,
            "dropped": summary.dropped,
        }))
        .into_response(),
        // It is off.
        None => StatusCode::OK.into_response(),
    }
}

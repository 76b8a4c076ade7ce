//! The JSON requests.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::StatusCode;
use causeway_bridge::ids::EndpointId;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::ApiError;
use super::names::{RoomName, display_name};
use super::rooms::Who;
use super::{Demo, formats, limits, wire};

/// A JSON body; like [`Json`] with this interface's errors.
pub struct Body<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, ApiError> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Body(body)),
            Err(rejection) => Err(refusal(&rejection)),
        }
    }
}

fn refusal(rejection: &JsonRejection) -> ApiError {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("The body is larger than {} bytes.", limits::MAX_BODY),
        ),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "The content type must be application/json.",
        ),
        _ => ApiError::invalid(rejection.body_text()),
    }
}

fn who(room: &str, endpoint: String, token: String) -> Result<Who, ApiError> {
    Ok(Who {
        room: RoomName::new(room)?,
        endpoint: EndpointId::new(endpoint),
        token,
    })
}

/// `POST …/{room}/join`
pub async fn join(
    State(demo): State<Demo>,
    Path(room): Path<String>,
    Body(body): Body<wire::Join>,
) -> Result<Json<Value>, ApiError> {
    let room = RoomName::new(&room)?;
    let name = display_name(&body.name)?;
    let joined = demo
        .rooms()
        .join(&*demo.0.sfu, room.clone(), name.clone(), body.state)?;
    let created = joined.created;
    let endpoint = joined.endpoint.as_str();
    let web_socket = demo.0.options.websocket_prefix.as_ref().map(|prefix| {
        let (conference, password) = (
            &created.local_conference_id,
            &created.transport.websocket_password,
        );
        format!("{prefix}/{conference}/{endpoint}?pwd={password}")
    });
    Ok(Json(json!({
        "room": room.as_str(),
        "endpoint": endpoint,
        "token": joined.token,
        "name": name,
        "iceServers": [],
        "transport": wire::transport_json(&created.transport),
        "formats": formats::for_page(),
        "bridgeSources": {
            "audio": created.feedback_ssrcs.0,
            "video": created.feedback_ssrcs.1,
        },
        "dataChannel": created.transport.sctp,
        "webSocket": web_socket,
    })))
}

/// `POST …/{room}/{endpoint}/transport`
pub async fn transport(
    State(demo): State<Demo>,
    Path((room, endpoint)): Path<(String, String)>,
    Body(mut body): Body<wire::Transport>,
) -> Result<Json<Value>, ApiError> {
    let who = who(&room, endpoint, std::mem::take(&mut body.token))?;
    demo.rooms()
        .set_transport(&*demo.0.sfu, &who, body.into_remote()?)?;
    Ok(done())
}

/// `POST …/{room}/{endpoint}/sources`
pub async fn sources(
    State(demo): State<Demo>,
    Path((room, endpoint)): Path<(String, String)>,
    Body(mut body): Body<wire::Sources>,
) -> Result<Json<Value>, ApiError> {
    let who = who(&room, endpoint, std::mem::take(&mut body.token))?;
    let sources = body.into_new(&who.endpoint)?;
    demo.rooms().set_sources(&*demo.0.sfu, &who, sources)?;
    Ok(done())
}

/// `POST …/{room}/{endpoint}/state`
pub async fn state(
    State(demo): State<Demo>,
    Path((room, endpoint)): Path<(String, String)>,
    Body(body): Body<wire::SetState>,
) -> Result<Json<Value>, ApiError> {
    demo.rooms()
        .set_state(&who(&room, endpoint, body.token)?, body.state)?;
    Ok(done())
}

/// `POST …/{room}/{endpoint}/ice-restart`
pub async fn ice_restart(
    State(demo): State<Demo>,
    Path((room, endpoint)): Path<(String, String)>,
    Body(body): Body<wire::Token>,
) -> Result<Json<Value>, ApiError> {
    let who = who(&room, endpoint, body.token)?;
    let transport = demo
        .rooms()
        .restart_ice(&*demo.0.sfu, &who)?
        .ok_or_else(|| {
            ApiError::new(
                StatusCode::CONFLICT,
                "no_restart",
                "The bridge can not restart. Join again.",
            )
        })?;
    Ok(Json(
        json!({ "transport": wire::transport_json(&transport) }),
    ))
}

/// `POST …/{room}/{endpoint}/leave`
pub async fn leave(
    State(demo): State<Demo>,
    Path((room, endpoint)): Path<(String, String)>,
    Body(body): Body<wire::Token>,
) -> Result<Json<Value>, ApiError> {
    demo.rooms()
        .leave(&*demo.0.sfu, &who(&room, endpoint, body.token)?)?;
    Ok(done())
}

fn done() -> Json<Value> {
    Json(json!({}))
}

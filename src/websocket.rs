//! The public HTTP side of the bridge channel: websockets at `/colibri-ws` (bridge-channel spec §3).
//!
//! [`router`] accepts or refuses upgrades, [`WebSockets`] is where the control plane's texts go in. Each socket
//! is one task with a bounded queue: whoever sends only queues, and a client that does not read loses its
//! socket, not the conference's time (T60). Of an endpoint's sockets only the newest counts.
//!
//! Where it differs from Jitsi Videobridge:
//!
//! - permessage-deflate is negotiated without context takeover in both directions: a socket holds no window between
//!   messages. What is inflated is bounded in bytes and blocks (T57), and short texts are sent as they are.
//! - A request without a password is refused with 403, not 500.
//! - Pings are sent when a direction was silent, and only received frames count against the idle timeout: a
//!   peer that is gone without a word is noticed (T60). A message in fragments counts when it is complete, so a
//!   message that never ends ends the socket.
//! - More than 20 pings and pongs in a second, and more than 1,024 frames in a message, close with 1008 (T56); a full
//!   send queue closes with 1013.
//!
//! The password stands in the query of the URL; the query is never logged (T58).

mod connection;
mod deflate;
mod failures;
mod frames;
mod registry;
mod socket;
mod target;

#[cfg(test)]
mod tests;

use causeway_bridge::control::ControlAccess;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::debug;

use self::connection::Connection;
use self::deflate::Agreement;
use self::failures::Failures;
pub use self::registry::WebSockets;
use self::socket::Socket;
use self::target::{Peer, Refusal, Target};

/// Bounds of a websocket.
mod limits {
    use std::time::Duration;

    use causeway_bridge::limits::MAX_MESSAGE_BYTES;

    /// Bytes of a message at which the library gives up before it has it all. Above the allowed size, so that a
    /// message which is a little too long can still be read to its end and refused with its exact size.
    pub(super) const MAX_READ: usize = 2 * MAX_MESSAGE_BYTES;
    /// Read buffer of one socket, bytes.
    pub(super) const READ_BUFFER: usize = 4 << 10;
    /// Frames of a message (T56).
    pub(super) const MAX_FRAMES: u32 = 1_024;
    /// Pings and pongs in one second (T56).
    pub(super) const CONTROL_FRAMES_PER_SECOND: u32 = 20;
    /// How long a closing socket may take to take leave.
    pub(super) const GOODBYE: Duration = Duration::from_secs(5);
    /// How long a socket whose input can not be read any more stays open after its close frame, so that the
    /// peer reads that before the connection is reset.
    pub(super) const LINGER: Duration = Duration::from_secs(1);
    /// Wrong passwords for one endpoint in a minute that are answered at once (T58).
    pub(super) const FAILURES_PER_MINUTE: u32 = 20;
    /// Delay of the answer to further ones.
    pub(super) const FAILURE_DELAY: Duration = Duration::from_secs(1);
}

/// Settings of the websockets.
#[derive(Clone, Debug)]
pub struct WebSocketOptions {
    /// First element of the path after the prefix (`videobridge.websockets.server-id`).
    pub server_id: String,
    /// How often is looked whether a ping is due (`keepalive-ping-interval`); at least a second.
    pub ping_interval: Duration,
    /// A socket on which nothing is received for so long is closed (`idle-timeout`); zero = never.
    pub idle_timeout: Duration,
    /// Whether to send pings at all (`send-keepalive-pings`).
    pub send_pings: bool,
    /// Whether to agree to permessage-deflate (`enable-compression`).
    pub compression: bool,
}

impl Default for WebSocketOptions {
    fn default() -> WebSocketOptions {
        WebSocketOptions {
            server_id: "default-id".into(),
            ping_interval: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            send_pings: true,
            compression: true,
        }
    }
}

/// What serves the requests.
struct Server<A> {
    access: Arc<A>,
    sockets: Arc<WebSockets>,
    options: WebSocketOptions,
    failures: Failures,
}

/// Serves `/colibri-ws/{server-id}/{local conference id}/{endpoint id}?pwd={password}`, and refuses
/// `/colibri-relay-ws/…` as for relays that do not exist.
pub fn router<A: ControlAccess>(
    access: Arc<A>,
    sockets: Arc<WebSockets>,
    options: WebSocketOptions,
) -> Router {
    let server = Arc::new(Server {
        access,
        sockets,
        options,
        failures: Failures::new(),
    });
    let mut router = Router::new();
    for prefix in [target::ENDPOINT_PREFIX, target::RELAY_PREFIX] {
        router = router
            .route(prefix, any(accept::<A>))
            .route(&format!("{prefix}{{*rest}}"), any(accept::<A>));
    }
    router.with_state(server)
}

/// Accepts or refuses one request (§3.4).
async fn accept<A: ControlAccess>(
    State(server): State<Arc<Server<A>>>,
    mut request: Request,
) -> Response {
    if request.uri().path().contains("//") {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let accept_key = match handshake(request.method(), request.headers()) {
        Ok(accept_key) => accept_key,
        Err(refusal) => return *refusal,
    };
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        // Only HTTP/1.1 connections can become websockets here.
        return StatusCode::UPGRADE_REQUIRED.into_response();
    };
    let target = match Target::parse(request.uri(), &server.options.server_id) {
        Ok(target) => target,
        Err(refusal) => return refuse(&refusal),
    };
    let known = target.peer == Peer::Endpoint
        && server
            .access
            .with_control(|control, _| target.authorise(control))
            .is_some();
    if !known {
        if server.failures.count(&target) {
            tokio::time::sleep(limits::FAILURE_DELAY).await;
        }
        return refuse(&Refusal::AuthenticationFailed);
    }
    let offers = request.headers().get_all(header::SEC_WEBSOCKET_EXTENSIONS);
    let compression = Agreement::from_offers(offers.iter().map(HeaderValue::as_bytes))
        .filter(|_| server.options.compression);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else {
            // The client went before the answer reached it.
            return;
        };
        let socket = Socket::new(upgraded, compression.is_some()).await;
        // Only a socket that exists may replace another one, so it is registered here.
        let opened = server.access.with_control(|control, now| {
            let key = target.authorise(control)?;
            let registration = server.sockets.open(key);
            control.websocket_opened(now, key);
            Some(registration)
        });
        let connection = Connection {
            access: &*server.access,
            sockets: &server.sockets,
            options: &server.options,
            compression,
        };
        match opened {
            Some(registration) => connection.run(socket, registration).await,
            // The endpoint ended while the upgrade was under way.
            None => connection::dismiss(socket, 1001, "endpoint closed").await,
        }
    });
    let upgraded = [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, accept_key.as_str()),
    ];
    let agreed = compression.map(|agreement| {
        let name = header::SEC_WEBSOCKET_EXTENSIONS;
        [(name, agreement.header())]
    });
    (StatusCode::SWITCHING_PROTOCOLS, upgraded, agreed, ()).into_response()
}

/// The key that accepts a websocket, or what is wrong with the request (RFC 6455 §4.2.1).
fn handshake(method: &Method, headers: &HeaderMap) -> Result<String, Box<Response>> {
    let says = |name: HeaderName, token: &str| {
        let values = headers.get_all(name).into_iter();
        values.filter_map(|value| value.to_str().ok()).any(|value| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(token))
        })
    };
    let is_upgrade = method == Method::GET
        && says(header::CONNECTION, "upgrade")
        && says(header::UPGRADE, "websocket");
    if !is_upgrade {
        let allowed = [(header::ALLOW, "GET")];
        return Err(Box::new(
            (StatusCode::METHOD_NOT_ALLOWED, allowed).into_response(),
        ));
    }
    if !says(header::SEC_WEBSOCKET_VERSION, "13") {
        let versions = [(header::SEC_WEBSOCKET_VERSION, "13")];
        return Err(Box::new(
            (StatusCode::BAD_REQUEST, versions).into_response(),
        ));
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        let refusal = (StatusCode::BAD_REQUEST, "no Sec-WebSocket-Key");
        return Err(Box::new(refusal.into_response()));
    };
    Ok(derive_accept_key(key.as_bytes()))
}

fn refuse(refusal: &Refusal) -> Response {
    debug!(reason = refusal.text(), "websocket refused");
    (refusal.status(), refusal.text()).into_response()
}

//! The embedded demo: a conference page and the small signaling service behind it.
//!
//! Everything a browser needs comes from this module: the page (`web/`, embedded in the binary), a JSON
//! interface under `/demo/api` that stands in for a conference focus, and a websocket that tells each
//! page who is in its room. Media and the bridge channel go to the bridge itself, exactly as they do for
//! a Jitsi client: the bridge is the offerer, SSRCs are rewritten, sources come as maps on the channel.
//!
//! | request | does |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /demo/web/{file}` | its script and style |
//! | `POST /demo/api/rooms/{room}/join` | makes an endpoint, answers with its transport and formats |
//! | `POST /demo/api/rooms/{room}/{endpoint}/transport` | the browser's ICE and DTLS parameters |
//! | `POST /demo/api/rooms/{room}/{endpoint}/sources` | the browser's SSRCs, a full replacement |
//! | `POST /demo/api/rooms/{room}/{endpoint}/state` | what the others are shown: mute, screen, camera size |
//! | `POST /demo/api/rooms/{room}/{endpoint}/ice-restart` | new ICE credentials of the bridge |
//! | `POST /demo/api/rooms/{room}/{endpoint}/leave` | ends the endpoint |
//! | `GET /demo/api/rooms/{room}/{endpoint}/events` | websocket: the room's roster, on every change |
//!
//! It is a demo, not a meeting service: whoever reaches it may join any room. What it does guard is the
//! bridge and the participants from each other and from other web sites (T61): a secret token per
//! endpoint, bounded names, bodies and counts, JSON only, own `Origin` only, and on loopback only
//! `Host` names that can not be rebound by DNS.

mod api;
mod assets;
mod error;
mod events;
mod formats;
mod guard;
mod names;
mod on_control;
mod rooms;
mod sfu;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use causeway_bridge::control::api::Notice;
use causeway_bridge::random::Random;

pub use on_control::OnControl;
pub use sfu::Sfu;

/// Bounds of the demo. They keep one careless or hostile page from filling the bridge.
pub mod limits {
    use std::time::Duration;

    /// Bytes of a request body.
    pub const MAX_BODY: usize = 64 << 10;
    /// Characters of a room's name.
    pub const MAX_ROOM_NAME: usize = 64;
    /// Characters of a display name.
    pub const MAX_DISPLAY_NAME: usize = 64;
    /// Rooms at once.
    pub const MAX_ROOMS: usize = 200;
    /// Participants of one room.
    pub const MAX_PARTICIPANTS_PER_ROOM: usize = 100;
    /// Participants of all rooms together.
    pub const MAX_PARTICIPANTS: usize = 1_000;
    /// Sources of one participant: microphone, camera and screen.
    pub const MAX_SOURCES: usize = 3;
    /// Event sockets of one participant: the one in use and one that is being replaced.
    pub const MAX_EVENT_SOCKETS: usize = 2;
    /// Bytes of a message that a page may send on its event socket; it has nothing to say.
    pub const MAX_EVENT_MESSAGE: usize = 1 << 10;
    /// A ping is sent this often on an event socket.
    pub const EVENT_PING_INTERVAL: Duration = Duration::from_secs(15);
    /// An event socket from which nothing came for this long is closed (T60).
    pub const EVENT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
    /// A participant whose last event socket closed keeps its place for so long.
    pub const SEAT_GRACE: Duration = Duration::from_secs(15);
    /// A page that does not read for this long loses its event socket (T60).
    pub const EVENT_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
}

/// Settings of the demo.
#[derive(Clone, Debug, Default)]
pub struct DemoOptions {
    /// The server listens on loopback only: `Host` must be `localhost`, an IP address or one of `hosts`.
    pub loopback: bool,
    /// Names under which the page may be reached. Beyond loopback an empty list allows every name.
    pub hosts: Vec<String>,
    /// Path prefix of the bridge's websocket on the same server, up to and without the conference id,
    /// such as `/colibri-ws/default-id`. A page whose data channel does not open falls back to it.
    pub websocket_prefix: Option<String>,
}

/// The demo's state. Clones share it.
#[derive(Clone)]
pub struct Demo(Arc<Inner>);

struct Inner {
    sfu: Arc<dyn Sfu>,
    options: DemoOptions,
    rooms: Mutex<rooms::Rooms>,
    ping_interval: Duration,
}

impl Demo {
    /// A demo without rooms. `random` makes endpoint ids and tokens, so it must come from the operating
    /// system outside tests.
    pub fn new(sfu: Arc<dyn Sfu>, options: DemoOptions, random: Random) -> Demo {
        let rooms = Mutex::new(rooms::Rooms::new(random));
        Demo(Arc::new(Inner {
            sfu,
            options,
            rooms,
            ping_interval: limits::EVENT_PING_INTERVAL,
        }))
    }

    /// Takes note that the bridge ended something by itself, so that the pages hear of it.
    ///
    /// Must be called without any of the bridge's locks held (see [`Sfu`]).
    pub fn notice(&self, notice: &Notice) {
        match notice {
            Notice::EndpointExpired(conference, endpoint) => {
                self.rooms()
                    .endpoint_expired(&*self.0.sfu, *conference, endpoint);
            }
            Notice::ConferenceExpired(conference, _) => {
                self.rooms().conference_expired(*conference);
            }
            // The one who tries it out sees the errors in the log; there are no others to move to.
            Notice::Unsound => {}
        }
    }

    /// Participants in all rooms.
    pub fn participants(&self) -> usize {
        self.rooms().participants()
    }

    fn rooms(&self) -> MutexGuard<'_, rooms::Rooms> {
        // Every change of `Rooms` is complete before anything in it can panic, so a poisoned lock holds
        // usable state.
        self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The demo's routes: the page at `/`, everything else below `/demo/`.
pub fn router(demo: Demo) -> Router {
    let room = "/demo/api/rooms/{room}";
    Router::new()
        .route("/", get(assets::page))
        .route("/demo/web/{file}", get(assets::file))
        .route(&format!("{room}/join"), post(api::join))
        .route(
            &format!("{room}/{{endpoint}}/transport"),
            post(api::transport),
        )
        .route(&format!("{room}/{{endpoint}}/sources"), post(api::sources))
        .route(&format!("{room}/{{endpoint}}/state"), post(api::state))
        .route(
            &format!("{room}/{{endpoint}}/ice-restart"),
            post(api::ice_restart),
        )
        .route(&format!("{room}/{{endpoint}}/leave"), post(api::leave))
        .route(&format!("{room}/{{endpoint}}/events"), get(events::events))
        .layer(DefaultBodyLimit::max(limits::MAX_BODY))
        .layer(axum::middleware::from_fn_with_state(
            demo.clone(),
            guard::guard,
        ))
        .with_state(demo)
}

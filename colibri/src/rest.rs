//! The private HTTP server's resources (colibri2 spec §2, rest-and-stats spec §2).
//!
//! Requests are carried out one after the other under the control plane's lock, so that they keep their
//! order with everything else that changes a conference. Nothing here is for browsers, and [`Access`] keeps them
//! and others away from what is not for everybody (T61).

mod access;
mod captures;
mod conferences;
mod debug;
mod muc_clients;
mod operation;
pub mod site;
mod statistics;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, patch, post};
use causeway_bridge::control::ControlAccess;
use serde_json::{Value, json};

pub use self::access::{Access, BODY_TIMEOUT, Token};
pub use self::captures::{CaptureError, CaptureSummary, CaptureTarget, Captures};
pub use self::muc_clients::MucClients;
use crate::handler::{Handler, ServiceState};
use crate::statistics::ProcessFacts;

/// Longest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// What the resources need from the process around them.
pub trait Process: ControlAccess {
    /// Whether the bridge drains or ends.
    fn service_state(&self) -> ServiceState;

    /// Turns draining on or off.
    fn set_drain(&self, drain: bool);

    /// Ends the process: after the last conference (`graceful`) or soon.
    fn shutdown(&self, graceful: bool);

    /// How the bridge is.
    fn health(&self) -> Health {
        Health::Healthy
    }

    /// Stress of the bridge now: 1 = it can take no more.
    fn stress(&self) -> f64 {
        self.facts().stress
    }

    /// What the process knows about itself, for statistics.
    fn facts(&self) -> ProcessFacts {
        ProcessFacts::default()
    }

    /// The XMPP connections, if the process can have any.
    fn muc_clients(&self) -> Option<&dyn MucClients> {
        None
    }

    /// Captures of packets, if the process can make any.
    fn captures(&self) -> Option<&dyn Captures> {
        None
    }
}

/// How the bridge is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// Everything works.
    Healthy,
    /// It may recover; the text says what is wrong.
    Degraded(String),
    /// It will not recover; the text says what is wrong.
    Failed(String),
}

/// Which resources there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestOptions {
    /// `/colibri/v2/…`, `/colibri/muc-client/…`, `/colibri/stats` and `/colibri/shutdown`.
    pub rest_enabled: bool,
    /// `/about/health`.
    pub health_enabled: bool,
    /// `/about/version`.
    pub version_enabled: bool,
    /// `/colibri/drain…`.
    pub drain_enabled: bool,
    /// `/colibri/shutdown`, if `rest_enabled`.
    pub shutdown_enabled: bool,
    /// `/debug…`.
    pub debug_enabled: bool,
    /// `/metrics`.
    pub metrics_enabled: bool,
    /// `/stats`.
    pub rtcstats_enabled: bool,
    /// Name of the software.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Tells bridges of one release apart from others.
    pub release: Option<String>,
    /// Who may use what is more than health, version and statistics.
    pub access: Access,
}

impl Default for RestOptions {
    fn default() -> Self {
        RestOptions {
            rest_enabled: false,
            health_enabled: true,
            version_enabled: true,
            drain_enabled: true,
            shutdown_enabled: false,
            debug_enabled: true,
            metrics_enabled: true,
            rtcstats_enabled: true,
            name: "Causeway".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            release: None,
            access: Access::default(),
        }
    }
}

struct Service<P> {
    process: Arc<P>,
    handler: Handler,
    options: RestOptions,
    switches: debug::Switches,
}

type Shared<P> = State<Arc<Service<P>>>;

/// The resources. What is switched off is 404. Needs a runtime with timers.
pub fn router<P: Process>(process: Arc<P>, handler: Handler, options: RestOptions) -> Router {
    // What everybody may read, and what not.
    let (mut router, mut control) = (Router::new(), Router::new());
    if options.rest_enabled {
        let list = || post(conferences::create::<P>).get(conferences::not_implemented);
        control = control
            .route("/colibri/v2/conferences", list())
            .route("/colibri/v2/conferences/", list())
            .route(
                "/colibri/v2/conferences/{meeting}",
                patch(conferences::modify::<P>).get(conferences::show::<P>),
            )
            .route(
                "/colibri/v2/conferences/{meeting}/dominant-speaker-identification",
                get(conferences::dominant_speaker::<P>),
            )
            .route("/colibri/muc-client/add", post(muc_clients::add::<P>))
            .route("/colibri/muc-client/remove", post(muc_clients::remove::<P>))
            .route("/colibri/muc-client/list", get(muc_clients::list::<P>));
        router = router.route("/colibri/stats", get(statistics::stats::<P>));
        if options.shutdown_enabled {
            control = control.route("/colibri/shutdown", post(operation::shutdown::<P>));
        }
    }
    if options.health_enabled {
        router = router.route("/about/health", get(operation::health::<P>));
    }
    if options.version_enabled {
        router = router.route("/about/version", get(operation::version::<P>));
    }
    if options.drain_enabled {
        control = control
            .route("/colibri/drain", get(operation::drain::<P>))
            .route("/colibri/drain/enable", post(operation::drain_enable::<P>))
            .route(
                "/colibri/drain/disable",
                post(operation::drain_disable::<P>),
            );
    }
    if options.metrics_enabled {
        router = router.route("/metrics", get(statistics::metrics::<P>));
    }
    if options.rtcstats_enabled {
        control = control.route("/stats", get(debug::rtcstats::<P>));
    }
    if options.debug_enabled {
        control = control.merge(debug::routes());
    }
    if control.has_routes() {
        let access = Arc::new(options.access.clone());
        control = control.route_layer(from_fn_with_state(access, access::guard));
    }
    router
        .merge(control)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::new(Service {
            process,
            handler,
            options,
            switches: debug::Switches::default(),
        }))
}

fn failure(status: StatusCode, text: &str, reason: Option<&str>) -> Response {
    let mut body = json!({ "error": text });
    if let Some(reason) = reason {
        body["reason"] = reason.into();
    }
    (status, Json(body)).into_response()
}

/// Milliseconds since 1970.
fn wall_clock_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

fn not_found() -> Response {
    failure(StatusCode::NOT_FOUND, "Not found", None)
}

type ResponseOr<T> = Result<T, Box<Response>>;

/// The body as JSON. A request that names no content type is taken at its word.
fn json_body(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> ResponseOr<Value> {
    access::expect_json(headers)?;
    let body = body.map_err(|error| Box::new(failure(error.status(), &error.body_text(), None)))?;
    serde_json::from_slice(&body).map_err(|error| {
        let text = format!("The body is not JSON: {error}");
        Box::new(failure(StatusCode::BAD_REQUEST, &text, None))
    })
}

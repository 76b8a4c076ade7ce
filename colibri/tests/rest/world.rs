//! A control plane behind the routes, without network and threads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::response::Response;
use causeway_bridge::config::BridgeConfig;
use causeway_bridge::control::api::{ControlOutput, Environment};
use causeway_bridge::control::{Control, ControlAccess, DebugView};
use causeway_bridge::ids::EndpointKey;
use causeway_bridge::messages::Event;
use causeway_bridge::random::Random;
use causeway_bridge::time::Time;
use causeway_bridge::transport::secure::Fingerprint;
use causeway_colibri::{
    Handler, HandlerOptions, Health, MucClients, Process, RestOptions, ServiceState, WebsocketUrls,
    router,
};
use serde_json::{Value, json};
use tower::ServiceExt;

pub struct Bridge {
    control: Mutex<Control>,
    outputs: Mutex<Vec<ControlOutput>>,
    state: Mutex<ServiceState>,
    now: Mutex<Time>,
    /// What is wrong with the bridge.
    trouble: Mutex<Option<String>>,
    xmpp: OnceLock<Xmpp>,
}

impl ControlAccess for Bridge {
    fn with_control<R>(&self, work: impl FnOnce(&mut Control, Time) -> R) -> R {
        let mut control = self.control.lock().unwrap();
        let result = work(&mut control, *self.now.lock().unwrap());
        let outputs = std::iter::from_fn(|| control.poll_output());
        self.outputs.lock().unwrap().extend(outputs);
        result
    }
}

impl Process for Bridge {
    fn service_state(&self) -> ServiceState {
        *self.state.lock().unwrap()
    }

    fn set_drain(&self, drain: bool) {
        self.state.lock().unwrap().drain = drain;
    }

    fn shutdown(&self, graceful: bool) {
        let mut state = self.state.lock().unwrap();
        state.graceful_shutdown |= graceful;
        state.shutting_down |= !graceful;
    }

    fn health(&self) -> Health {
        let trouble = self.trouble.lock().unwrap().clone();
        trouble.map_or(Health::Healthy, Health::Failed)
    }

    fn muc_clients(&self) -> Option<&dyn MucClients> {
        self.xmpp.get().map(|xmpp| xmpp as &dyn MucClients)
    }
}

impl Bridge {
    /// From now on there can be XMPP connections.
    pub fn offer_xmpp(&self) {
        self.xmpp.get_or_init(Xmpp::default);
    }

    /// From now on the bridge is ill, or healthy again.
    pub fn set_trouble(&self, trouble: Option<&str>) {
        *self.trouble.lock().unwrap() = trouble.map(str::to_owned);
    }

    /// Settings of an XMPP connection.
    pub fn xmpp_settings(&self, id: &str) -> Option<BTreeMap<String, String>> {
        self.xmpp.get()?.0.lock().unwrap().get(id).cloned()
    }
}

/// XMPP connections that are only written down.
#[derive(Default)]
struct Xmpp(Mutex<BTreeMap<String, BTreeMap<String, String>>>);

impl MucClients for Xmpp {
    fn add(&self, id: &str, settings: BTreeMap<String, String>) -> Result<(), String> {
        if !settings.contains_key("hostname") {
            return Err("hostname is missing".into());
        }
        self.0.lock().unwrap().insert(id.to_owned(), settings);
        Ok(())
    }

    fn remove(&self, id: &str) -> bool {
        self.0.lock().unwrap().remove(id).is_some()
    }

    fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }
}

pub struct World {
    pub bridge: Arc<Bridge>,
    router: axum::Router,
}

impl World {
    pub fn new(sctp: bool, options: RestOptions) -> World {
        World::with(sctp, options, BridgeConfig::default())
    }

    pub fn with(sctp: bool, options: RestOptions, config: BridgeConfig) -> World {
        let env = Environment {
            workers: 1,
            pool_threads: 1,
            locals: vec!["10.77.0.1:10000".parse().unwrap()],
            fingerprint: Fingerprint {
                hash: "sha-256".into(),
                digest: vec![0xA7; 32],
            },
        };
        let config = Arc::new(config);
        let bridge = Arc::new(Bridge {
            control: Mutex::new(Control::new(config, env, Random::from_seed(1))),
            outputs: Mutex::default(),
            state: Mutex::default(),
            now: Mutex::new(Time::from_millis(1_000)),
            trouble: Mutex::default(),
            xmpp: OnceLock::new(),
        });
        let handler = Handler::new(HandlerOptions {
            sctp,
            websockets: Some(WebsocketUrls {
                domains: vec!["127.0.0.1:9090".into()],
                tls: false,
                server_id: "jvb1".into(),
            }),
        });
        World {
            router: router(Arc::clone(&bridge), handler, options),
            bridge,
        }
    }

    pub fn enabled(sctp: bool) -> World {
        let options = RestOptions {
            rest_enabled: true,
            shutdown_enabled: true,
            ..RestOptions::default()
        };
        World::new(sctp, options)
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        kind: Option<&str>,
        body: &str,
    ) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 22).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Sends a request as it is.
    pub async fn ask(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// What workers and others were told since the last call.
    pub fn take_outputs(&self) -> Vec<ControlOutput> {
        std::mem::take(&mut *self.bridge.outputs.lock().unwrap())
    }

    /// Everything that the control plane knows and counted, and how much it told others.
    pub fn state(&self) -> String {
        let view = DebugView {
            full: true,
            epoch_ms: 0,
        };
        let model = self.bridge.with_control(|control, _| {
            let conferences: Vec<Value> = control
                .conferences()
                .map(|conference| control.debug_conference(conference, None, view))
                .collect();
            format!("{conferences:?} {:?}", control.counters())
        });
        format!("{model} {}", self.bridge.outputs.lock().unwrap().len())
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        let mut now = self.bridge.now.lock().unwrap();
        *now += time;
    }

    /// Lets time pass, and what is due in it happen.
    pub fn pass(&self, time: Duration) {
        let end = *self.bridge.now.lock().unwrap() + time;
        let due = || {
            self.bridge
                .with_control(|control, _| control.poll_timeout())
        };
        while let Some(due) = due().filter(|due| *due <= end) {
            *self.bridge.now.lock().unwrap() = due;
            self.bridge
                .with_control(|control, now| control.handle_timeout(now));
        }
        *self.bridge.now.lock().unwrap() = end;
    }

    /// Gets a resource: status, content type and body.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let kind = response.headers().get("content-type");
        let kind = kind.map_or("", |kind| kind.to_str().unwrap()).to_owned();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 22).await.unwrap();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Where a resource has moved, with the status that says so.
    pub async fn location(&self, path: &str) -> (u16, Option<String>) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let location = response.headers().get("location");
        let location = location.map(|location| location.to_str().unwrap().to_owned());
        (response.status().as_u16(), location)
    }

    /// Tells the control plane what a worker or the handshake pool reports.
    pub fn event(&self, event: Event) {
        self.bridge
            .with_control(|control, now| control.handle_event(now, event));
    }

    /// A worker says that it hears of an endpoint.
    pub fn activity(&self, endpoint: EndpointKey) {
        let now = *self.bridge.now.lock().unwrap();
        self.event(Event::Activity(endpoint, now));
    }

    /// The key of an endpoint that exists.
    pub fn key(&self, meeting: &str, endpoint: &str) -> EndpointKey {
        self.bridge.with_control(|control, _| {
            let conference = control.find_conference(&meeting.into()).unwrap();
            control.find_endpoint(conference, &endpoint.into()).unwrap()
        })
    }

    /// Sends JSON, and answers with what came back.
    pub async fn json(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let kind = Some("application/json");
        self.send(method, path, kind, &body.to_string()).await
    }

    /// Changes conference `m1`.
    pub async fn patch(&self, body: Value) -> (u16, Value) {
        self.json("PATCH", "/colibri/v2/conferences/m1", body).await
    }

    /// Changes one endpoint of conference `m1`.
    pub async fn endpoint(&self, endpoint: Value) -> (u16, Value) {
        self.patch(json!({ "endpoints": [endpoint] })).await
    }

    pub async fn post(&self, body: Value) -> (u16, Value) {
        self.json("POST", "/colibri/v2/conferences", body).await
    }
}

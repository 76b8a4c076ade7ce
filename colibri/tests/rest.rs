//! The REST interface against a real control plane, without network: recorded exchanges replayed in order,
//! and numbered cases of the colibri2 spec (§6.2).

use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::http::Request;
use causeway_bridge::config::BridgeConfig;
use causeway_bridge::control::Control;
use causeway_bridge::control::api::Environment;
use causeway_bridge::random::Random;
use causeway_bridge::time::Time;
use causeway_bridge::transport::secure::Fingerprint;
use causeway_colibri::{
    ControlAccess, Handler, HandlerOptions, RestOptions, ServiceState, WebsocketUrls, router,
};
use serde_json::{Value, json};
use tower::ServiceExt;

struct Bridge {
    control: Mutex<Control>,
    state: Mutex<ServiceState>,
}

impl ControlAccess for Bridge {
    fn with_control<R>(&self, f: impl FnOnce(&mut Control, Time) -> R) -> R {
        let mut control = self.control.lock().unwrap();
        let result = f(&mut control, Time::from_millis(1_000));
        while control.poll_output().is_some() {}
        result
    }

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
}

struct World {
    router: axum::Router,
}

impl World {
    fn new(sctp: bool, options: RestOptions) -> World {
        let env = Environment {
            workers: 1,
            pool_threads: 1,
            locals: vec!["10.77.0.1:10000".parse().unwrap()],
            fingerprint: Fingerprint {
                hash: "sha-256".into(),
                digest: vec![0xA7; 32],
            },
        };
        let config = Arc::new(BridgeConfig::default());
        let bridge = Bridge {
            control: Mutex::new(Control::new(config, env, Random::from_seed(1))),
            state: Mutex::default(),
        };
        let handler = Handler::new(HandlerOptions {
            sctp,
            websockets: Some(WebsocketUrls {
                domains: vec!["127.0.0.1:9090".into()],
                tls: false,
                server_id: "jvb1".into(),
            }),
        });
        World {
            router: router(Arc::new(bridge), handler, options),
        }
    }

    fn enabled(sctp: bool) -> World {
        let options = RestOptions {
            rest_enabled: true,
            shutdown_enabled: true,
            ..RestOptions::default()
        };
        World::new(sctp, options)
    }

    async fn send(&self, method: &str, path: &str, kind: Option<&str>, body: &str) -> (u16, Value) {
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

    async fn post(&self, body: Value) -> (u16, Value) {
        let kind = Some("application/json");
        self.send("POST", "/colibri/v2/conferences", kind, &body.to_string())
            .await
    }
}

/// Same keys and types; values too, unless the bridge draws them.
fn assert_same(name: &str, key: &str, expected: &Value, got: &Value) {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            let keys: Vec<_> = got.keys().collect();
            assert_eq!(expected.keys().collect::<Vec<_>>(), keys, "{name}: {key}");
            for (key, value) in expected {
                assert_same(name, key, value, &got[key]);
            }
        }
        // Who never spoke stands in join order here, in the order of a hash table there (allocation §18).
        (Value::Array(expected), Value::Array(got))
            if matches!(key, "endpointsBySpeechActivity" | "endpointsInLastNOrder") =>
        {
            let sorted = |list: &[Value]| {
                let mut texts: Vec<_> = list.iter().map(Value::to_string).collect();
                texts.sort();
                texts
            };
            assert_eq!(sorted(expected), sorted(got), "{name}: {key}");
        }
        (Value::Array(expected), Value::Array(got)) => {
            assert_eq!(expected.len(), got.len(), "{name}: {key}");
            for (expected, got) in expected.iter().zip(got) {
                assert_same(name, key, expected, got);
            }
        }
        (Value::Number(_), Value::Number(_)) if key == "ssrc" => {}
        (Value::String(expected), Value::String(got)) if key == "web-sockets" => {
            let parts = |url: &str| -> Vec<String> { url.split('/').map(str::to_owned).collect() };
            let (expected, got) = (parts(expected), parts(got));
            assert_eq!(expected[..5], got[..5], "{name}");
            assert_eq!(expected[6].len(), got[6].len(), "{name}");
        }
        (Value::String(expected), Value::String(got))
            if matches!(key, "pwd" | "ufrag" | "fingerprint")
                || key == "id" && expected.len() > 20
                || key == "foundation"
                || key == "priority" =>
        {
            assert!(!got.is_empty(), "{name}: {key}");
        }
        _ => assert_eq!(expected, got, "{name}: {key}"),
    }
}

#[tokio::test]
async fn recorded_exchanges_get_the_same_answers() {
    let exchanges: Vec<Value> = serde_json::from_str(include_str!("data/exchanges.json")).unwrap();
    let world = World::enabled(false);
    for exchange in &exchanges {
        let text = |key: &str| exchange[key].as_str().unwrap_or_default();
        let name = text("name");
        let kind = exchange["type"].as_str();
        let (status, answer) = world
            .send(text("method"), text("path"), kind, text("body"))
            .await;
        if let Some(expected) = exchange["status"].as_u64() {
            assert_eq!(u64::from(status), expected, "{name}: {answer}");
        }
        if let Some(expected) = exchange.get("answer") {
            assert_same(name, "", expected, &answer);
        }
        if text("message").starts_with("Failed to create conference") {
            assert_eq!(answer["error"], exchange["message"], "{name}");
        }
    }
}

fn endpoint(id: &str) -> Value {
    json!({ "id": id, "create": true, "capabilities": ["source-names"], "transport": {} })
}

#[tokio::test]
async fn colibri2_cases_14_33_a_refused_create_leaves_nothing() {
    let world = World::enabled(true);
    let bare = json!({ "id": "a", "create": true, "capabilities": ["source-names"] });
    let create = |endpoint| json!({ "meeting-id": "m3", "create": true, "endpoints": [endpoint] });
    assert_eq!(world.post(create(bare)).await.0, 400);
    assert_eq!(world.post(create(endpoint("a"))).await.0, 200);
}

#[tokio::test]
async fn colibri2_cases_16_17_sctp() {
    let world = World::enabled(true);
    world
        .post(json!({ "meeting-id": "m1", "create": true }))
        .await;
    for (sctp, status) in [
        (json!({ "role": "client" }), 400),
        (json!({ "port": 5001 }), 400),
        (json!({}), 200),
    ] {
        let mut endpoint = endpoint("a");
        endpoint["transport"]["sctp"] = sctp;
        let (got, answer) = world
            .post(json!({ "meeting-id": "m1", "endpoints": [endpoint] }))
            .await;
        assert_eq!(got, status, "{answer}");
        if status == 200 {
            let sctp = &answer["endpoints"][0]["transport"]["sctp"];
            assert_eq!(*sctp, json!({ "port": 5000, "role": "SERVER" }));
        }
    }
}

#[tokio::test]
async fn colibri2_case_57_graceful_shutdown_refuses_new_conferences() {
    let world = World::enabled(true);
    world
        .post(json!({ "meeting-id": "m1", "create": true, "endpoints": [endpoint("a")] }))
        .await;
    let (status, _) = world
        .send(
            "POST",
            "/colibri/shutdown",
            Some("application/json"),
            r#"{"graceful-shutdown":true}"#,
        )
        .await;
    assert_eq!(status, 200);
    let (status, answer) = world
        .post(json!({ "meeting-id": "m2", "create": true }))
        .await;
    assert_eq!(
        (status, &answer["reason"]),
        (400, &json!("graceful_shutdown"))
    );
    let more = json!({ "meeting-id": "m1", "endpoints": [endpoint("b")] });
    assert_eq!(world.post(more).await.0, 200);
}

#[tokio::test]
async fn t61_t69_bodies_are_bounded_and_what_is_off_is_404() {
    let world = World::enabled(true);
    let long = json!({ "meeting-id": "x".repeat(1 << 20) });
    assert_eq!(world.post(long).await.0, 413);
    let many: Vec<Value> = (0..17).map(|n| json!({ "id": n.to_string() })).collect();
    let many = json!({ "meeting-id": "m", "create": true, "endpoints": many });
    assert_eq!(world.post(many).await.0, 400);
    let off = World::new(true, RestOptions::default());
    assert_eq!(off.post(json!({})).await.0, 404);
    assert_eq!(off.send("GET", "/about/health", None, "").await.0, 200);
}

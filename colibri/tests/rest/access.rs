//! Who may control the bridge: web pages, rebound names, strangers. All of them are T61.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, header};
use causeway_colibri::RestOptions;
use causeway_colibri::rest::{Access, BODY_TIMEOUT, MAX_BODY_BYTES, Token};
use futures_util::stream;
use tokio::time::Instant;

use crate::world::World;

/// Requests that would change something.
const CHANGES: [(&str, &str, &str); 9] = [
    (
        "POST",
        "/colibri/v2/conferences",
        r#"{"meeting-id":"m2","create":true}"#,
    ),
    (
        "POST",
        "/colibri/v2/conferences/",
        r#"{"meeting-id":"m2","create":true}"#,
    ),
    ("PATCH", "/colibri/v2/conferences/m1", r#"{"expire":true}"#),
    (
        "POST",
        "/colibri/muc-client/add",
        r#"{"id":"evil","hostname":"evil.example"}"#,
    ),
    ("POST", "/colibri/muc-client/remove", r#"{"id":"evil"}"#),
    (
        "POST",
        "/colibri/shutdown",
        r#"{"graceful-shutdown":false}"#,
    ),
    ("POST", "/colibri/drain/enable", "{}"),
    ("POST", "/colibri/drain/disable", "{}"),
    ("POST", "/debug/features/jvb/node-stats/true", "{}"),
];

/// Requests that look at more than how the bridge is.
const LOOKS: [&str; 7] = [
    "/colibri/v2/conferences/m1",
    "/colibri/muc-client/list",
    "/colibri/drain",
    "/debug",
    "/debug/features/jvb/node-stats",
    "/colibri/debug",
    "/stats",
];

const OPEN: [&str; 4] = [
    "/about/health",
    "/about/version",
    "/metrics",
    "/colibri/stats",
];

fn world(access: Access) -> World {
    let world = World::new(
        false,
        RestOptions {
            rest_enabled: true,
            shutdown_enabled: true,
            access,
            ..RestOptions::default()
        },
    );
    world.bridge.offer_xmpp();
    world
}

fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

fn with_peer(mut request: Request<Body>, peer: &str) -> Request<Body> {
    let peer = SocketAddr::new(peer.parse().unwrap(), 40_000);
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

impl World {
    async fn status(&self, request: Request<Body>) -> u16 {
        self.ask(request).await.status().as_u16()
    }

    /// Everything that the requests above would change.
    async fn everything(&self) -> String {
        use causeway_colibri::Process;
        let clients = self.bridge.xmpp_settings("evil");
        format!(
            "{} {:?} {clients:?}",
            self.state(),
            self.bridge.service_state()
        )
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn t61_what_forms_can_send_is_refused_with_415_and_has_no_effect() {
    let world = world(Access::default());
    let before = world.everything().await;
    for (method, path, body) in CHANGES {
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "",
        ] {
            let form = request(method, path, &[("content-type", kind)], body);
            assert_eq!(world.status(form).await, 415, "{method} {path} {kind}");
        }
        let both = [JSON, ("content-type", "text/plain")];
        let twice = request(method, path, &both, body);
        assert_eq!(world.status(twice).await, 415, "{method} {path}");
    }
    assert_eq!(world.everything().await, before);
    for (method, path, body) in CHANGES {
        let kind = [("content-type", "Application/JSON; charset=utf-8")];
        let status = world.status(request(method, path, &kind, body)).await;
        assert_ne!(status, 415, "{method} {path}");
    }
    assert_ne!(world.everything().await, before, "a test of nothing");
}

#[tokio::test]
async fn t61_pages_of_other_sites_are_refused_even_without_a_body() {
    let world = world(Access::default());
    let before = world.everything().await;
    for origin in [
        "http://evil.example",
        "null",
        "http://bridge:8081",
        "http://bridge",
        "",
    ] {
        for (method, path, body) in CHANGES {
            for body in [body, ""] {
                let headers = [JSON, ("host", "bridge:8080"), ("origin", origin)];
                let page = request(method, path, &headers, body);
                assert_eq!(world.status(page).await, 403, "{origin} {path}");
            }
        }
    }
    assert_eq!(world.everything().await, before);
    let own = [
        JSON,
        ("host", "bridge:8080"),
        ("origin", "https://bridge:8080"),
    ];
    let own = request("POST", "/colibri/drain/enable", &own, "");
    assert_eq!(world.status(own).await, 200);
}

#[tokio::test]
async fn t61_rest_and_stats_case_4_no_answer_says_that_other_sites_may_read_it() {
    let world = world(Access::default());
    let silent = |headers: &HeaderMap| {
        let names = headers.keys().map(header::HeaderName::as_str);
        !names
            .into_iter()
            .any(|name| name.starts_with("access-control"))
    };
    let paths = CHANGES.map(|(_, path, _)| path);
    for path in paths.into_iter().chain(LOOKS).chain(OPEN) {
        for method in ["GET", "OPTIONS", "POST"] {
            let page = [
                ("origin", "http://evil.example"),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "content-type"),
            ];
            let answer = world.ask(request(method, path, &page, "")).await;
            assert!(silent(answer.headers()), "{method} {path}");
            let preflight = method == "OPTIONS";
            assert!(!preflight || answer.status() == 405, "{path}");
        }
    }
}

/// That web pages are refused where JVB lets them read is on purpose (T61).
#[tokio::test]
async fn rest_and_stats_case_4_trace_is_refused_and_no_answer_names_its_server() {
    let world = world(Access::default());
    for path in LOOKS.into_iter().chain(OPEN) {
        for (method, refused) in [("TRACE", true), ("GET", false)] {
            let answer = world.ask(request(method, path, &[], "")).await;
            assert_eq!(answer.status() == 405, refused, "{method} {path}");
            assert!(!answer.headers().contains_key(header::SERVER), "{path}");
        }
    }
}

#[tokio::test]
async fn t61_on_loopback_a_rebound_name_is_refused() {
    let world = world(Access {
        loopback: true,
        host: Some("jvb.internal".into()),
        ..Access::default()
    });
    for host in [
        "localhost:8080",
        "LocalHost",
        "127.0.0.1:8080",
        "127.1.2.3",
        "[::1]:8080",
        "[::1]",
        "jvb.internal:8080",
    ] {
        let status = world
            .status(request("GET", "/debug", &[("host", host)], ""))
            .await;
        assert_eq!(status, 200, "{host}");
    }
    let before = world.everything().await;
    for host in [
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.1.2.3",
        "[::2]",
        "[::1",
        ":8080",
        "",
    ] {
        for path in LOOKS {
            let status = world
                .status(request("GET", path, &[("host", host)], ""))
                .await;
            assert_eq!(status, 403, "{host} {path}");
        }
        for (method, path, body) in CHANGES {
            // A rebound page is of the site that it asks.
            let origin = format!("http://{host}");
            let headers = [JSON, ("host", host), ("origin", &origin)];
            let status = world.status(request(method, path, &headers, body)).await;
            assert_eq!(status, 403, "{host} {path}");
        }
        for path in OPEN {
            let status = world
                .status(request("GET", path, &[("host", host)], ""))
                .await;
            assert_eq!(status, 200, "{host} {path}");
        }
    }
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn t61_beyond_loopback_containers_and_scrapers_use_any_name() {
    let world = world(Access::default());
    for host in ["jvb.meet.jitsi:8080", "10.1.2.3", "jvb-0.jvb.default.svc"] {
        let status = world
            .status(request("GET", "/debug", &[("host", host)], ""))
            .await;
        assert_eq!(status, 200, "{host}");
    }
}

#[tokio::test]
async fn t61_bodies_above_a_mebibyte_are_refused_with_413() {
    let world = world(Access::default());
    let before = world.everything().await;
    for (method, path, body) in CHANGES {
        let long = format!("{body}{}", " ".repeat(MAX_BODY_BYTES + 1 - body.len()));
        let long = request(method, path, &[JSON], long);
        assert_eq!(world.status(long).await, 413, "{path}");
        // No length is announced.
        let spaces = stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b' '; 4096])));
        let endless = Body::from_stream(spaces);
        let endless = request(method, path, &[JSON], endless);
        assert_eq!(world.status(endless).await, 413, "{path}");
    }
    assert_eq!(world.everything().await, before);
    let (method, path, body) = CHANGES[0];
    let longest = format!("{body}{}", " ".repeat(MAX_BODY_BYTES - body.len()));
    assert_eq!(
        world.status(request(method, path, &[JSON], longest)).await,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn t61_a_body_that_does_not_come_is_given_up_with_408() {
    let world = world(Access::default());
    for (method, path, _) in CHANGES {
        let start = Instant::now();
        let stopped = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let status = world.status(request(method, path, &[JSON], stopped)).await;
        assert_eq!((status, start.elapsed()), (408, BODY_TIMEOUT), "{path}");
    }
}

#[tokio::test]
async fn t61_with_a_token_only_health_version_and_statistics_are_for_everybody() {
    const SECRET: &str = "correct-horse-battery";
    let world = world(Access {
        token: Some(Token::new(SECRET.into())),
        ..Access::default()
    });
    let before = world.everything().await;
    for wrong in [
        None,
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer correct-horse-batterx"),
        Some("Bearer correct-horse-batter"),
        Some("Bearer correct-horse-batteryy"),
        Some("Basic correct-horse-battery"),
        Some("correct-horse-battery"),
    ] {
        let headers: Vec<_> = wrong
            .map(|wrong| ("authorization", wrong))
            .into_iter()
            .collect();
        for path in LOOKS {
            let answer = world.ask(request("GET", path, &headers, "")).await;
            assert_eq!(answer.status(), 401, "{wrong:?} {path}");
            assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
        }
        for (method, path, body) in CHANGES {
            let headers = [&headers[..], &[JSON]].concat();
            let status = world.status(request(method, path, &headers, body)).await;
            assert_eq!(status, 401, "{wrong:?} {path}");
        }
        for path in OPEN {
            let status = world.status(request("GET", path, &headers, "")).await;
            assert_eq!(status, 200, "{wrong:?} {path}");
        }
    }
    assert_eq!(world.everything().await, before);
    for scheme in ["Bearer", "bearer"] {
        let right = format!("{scheme} {SECRET}");
        let headers = [JSON, ("authorization", right.as_str())];
        assert_eq!(
            world.status(request("GET", "/debug", &headers, "")).await,
            200
        );
        let (method, path, body) = CHANGES[0];
        assert_ne!(
            world.status(request(method, path, &headers, body)).await,
            401
        );
    }
    assert!(!format!("{:?}", Token::new(SECRET.into())).contains(SECRET));
}

#[tokio::test]
async fn t61_only_allowed_networks_control_the_bridge() {
    let world = world(Access {
        allowed_networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        ..Access::default()
    });
    for (peer, status) in [
        ("10.9.8.7", 200),
        ("::ffff:10.9.8.7", 200),
        ("fd00::1", 200),
        ("11.0.0.1", 403),
        ("127.0.0.1", 403),
        ("2001:db8::1", 403),
    ] {
        let look = with_peer(request("GET", "/debug", &[], ""), peer);
        assert_eq!(world.status(look).await, status, "{peer}");
        let change = request("POST", "/colibri/drain/enable", &[], "");
        assert_eq!(
            world.status(with_peer(change, peer)).await,
            status,
            "{peer}"
        );
        for path in OPEN {
            let open = with_peer(request("GET", path, &[], ""), peer);
            assert_eq!(world.status(open).await, 200, "{peer} {path}");
        }
    }
    // A server that does not know who asks lets nobody in.
    assert_eq!(world.status(request("GET", "/debug", &[], "")).await, 403);
}

#[tokio::test]
async fn what_is_switched_off_is_404_whoever_asks() {
    let off = World::new(
        false,
        RestOptions {
            debug_enabled: false,
            drain_enabled: false,
            rtcstats_enabled: false,
            access: Access {
                token: Some(Token::new("secret".into())),
                ..Access::default()
            },
            ..RestOptions::default()
        },
    );
    for path in LOOKS {
        assert_eq!(
            off.status(request("GET", path, &[], "")).await,
            404,
            "{path}"
        );
    }
}

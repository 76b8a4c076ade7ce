//! The demo's service from outside: requests over a socket, a bridge that only takes notes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use causeway_bridge::control::api::{
    Candidate, CandidateKind, ControlError, EndpointOptions, LocalTransport, NewSource, Notice,
    RemoteTransport, RestartOutcome,
};
use causeway_bridge::ids::{ConferenceKey, EndpointId, EndpointKey, MeetingId};
use causeway_bridge::media::MediaFormats;
use causeway_bridge::random::Random;
use causeway_bridge::transport::ice::Credentials;
use causeway_bridge::transport::secure::{Fingerprint, Setup};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::sfu::Created;
use super::{Demo, DemoOptions, Sfu, limits, router};

/// A bridge that accepts everything and writes down what it was asked.
#[derive(Default)]
struct NotingSfu {
    notes: Mutex<Vec<String>>,
    next: AtomicU64,
    refuse_endpoints: AtomicBool,
    refuse_restarts: AtomicBool,
}

impl NotingSfu {
    fn note(&self, text: String) {
        self.notes.lock().unwrap().push(text);
    }

    fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock().unwrap())
    }

    fn key(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }
}

fn local_transport(generation: Option<u32>) -> LocalTransport {
    LocalTransport {
        credentials: Credentials {
            ufrag: "u0xyz".into(),
            password: "p".repeat(24).into(),
        },
        fingerprint: Fingerprint {
            hash: "sha-256".to_owned(),
            digest: vec![0xab; 32],
        },
        setup: Setup::ActPass,
        candidates: vec![Candidate {
            kind: CandidateKind::Host,
            address: "192.0.2.1:10000".parse().unwrap(),
            related: None,
            priority: 2_130_706_431,
            foundation: "1".to_owned(),
        }],
        ice_generation: generation,
        sctp: true,
        websocket_password: "websocket-password".into(),
    }
}

impl Sfu for NotingSfu {
    fn create_conference(&self, meeting: MeetingId) -> Result<ConferenceKey, ControlError> {
        let key = ConferenceKey(self.key());
        self.note(format!("conference {meeting}"));
        Ok(key)
    }

    fn create_endpoint(
        &self,
        conference: ConferenceKey,
        options: EndpointOptions,
        formats: MediaFormats,
    ) -> Result<Created, ControlError> {
        if self.refuse_endpoints.load(Ordering::Relaxed) {
            return Err(ControlError::Limit("Too many endpoints"));
        }
        assert!(options.ssrc_rewriting && options.mid_demux && options.sctp);
        assert!(formats.by_number(100).is_some());
        self.note("endpoint".to_owned());
        Ok(Created {
            key: EndpointKey(self.key()),
            transport: local_transport(None),
            feedback_ssrcs: (11, 12),
            local_conference_id: conference.to_string(),
        })
    }

    fn set_remote_transport(
        &self,
        _: EndpointKey,
        transport: RemoteTransport,
    ) -> Result<(), ControlError> {
        self.note(format!("transport {:?}", transport.credentials.unwrap()));
        Ok(())
    }

    fn set_sources(&self, _: EndpointKey, sources: Vec<NewSource>) -> Result<(), ControlError> {
        self.note(format!("sources {}", sources.len()));
        Ok(())
    }

    fn restart_ice(&self, _: EndpointKey) -> RestartOutcome {
        if self.refuse_restarts.load(Ordering::Relaxed) {
            return RestartOutcome::Unavailable;
        }
        RestartOutcome::Started(local_transport(Some(1)))
    }

    fn expire_endpoint(&self, _: EndpointKey) {
        self.note("expire endpoint".to_owned());
    }

    fn expire_conference(&self, _: ConferenceKey) {
        self.note("expire conference".to_owned());
    }
}

/// A running demo on a loopback socket.
struct World {
    sfu: Arc<NotingSfu>,
    demo: Demo,
    address: SocketAddr,
}

/// A participant as a page knows itself.
struct Page {
    room: String,
    endpoint: String,
    token: String,
}

impl World {
    async fn new() -> World {
        let sfu = Arc::new(NotingSfu::default());
        let options = DemoOptions {
            loopback: true,
            hosts: Vec::new(),
            websocket_prefix: Some("/colibri-ws/demo".to_owned()),
        };
        let demo = Demo::new(sfu.clone(), options, Random::from_seed(1));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = router(demo.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        World { sfu, demo, address }
    }

    /// Sends one request; answers with the status, the head and the body.
    async fn request(&self, head: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        // A server that refuses a body early may close before all of it is sent.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let split = answer
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(answer[..split].to_vec())
            .unwrap()
            .to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, answer[split + 4..].to_vec())
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let head = format!(
            "POST /demo/api/rooms/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        );
        let (status, _, body) = self.request(&head, body.to_string().as_bytes()).await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn join(&self, room: &str, name: &str) -> Page {
        let (status, reply) = self
            .post(&format!("{room}/join"), json!({ "name": name }))
            .await;
        assert_eq!(status, 200, "{reply}");
        let text = |key: &str| reply[key].as_str().unwrap().to_owned();
        Page {
            room: text("room"),
            endpoint: text("endpoint"),
            token: text("token"),
        }
    }

    async fn act(&self, page: &Page, what: &str, mut body: Value) -> (u16, Value) {
        body["token"] = json!(page.token);
        self.post(&format!("{}/{}/{what}", page.room, page.endpoint), body)
            .await
    }

    async fn events(
        &self,
        page: &Page,
    ) -> Result<impl StreamExt<Item = Event> + Unpin + use<>, u16> {
        let url = format!(
            "ws://{}/demo/api/rooms/{}/{}/events?token={}",
            self.address, page.room, page.endpoint, page.token
        );
        match tokio_tungstenite::connect_async(url).await {
            Ok((socket, _)) => Ok(socket.filter_map(|message| {
                std::future::ready(match message {
                    Ok(Message::Text(text)) => {
                        Some(Event::Roster(serde_json::from_str(&text).unwrap()))
                    }
                    Ok(Message::Close(frame)) => Some(Event::Closed(frame.unwrap().code.into())),
                    _ => None,
                })
            })),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                Err(answer.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[derive(Debug)]
enum Event {
    Roster(Value),
    Closed(u16),
}

impl Event {
    fn names(&self) -> Vec<&str> {
        match self {
            Event::Roster(roster) => {
                let list = roster["participants"].as_array().unwrap();
                list.iter()
                    .map(|one| one["name"].as_str().unwrap())
                    .collect()
            }
            Event::Closed(code) => panic!("closed with {code}"),
        }
    }
}

#[tokio::test]
async fn two_pages_meet_and_part() {
    let world = World::new().await;
    let ada = world.join("Stand%20Up", "Ada").await;
    assert_eq!(ada.room, "stand-up");
    let mut events = world.events(&ada).await.unwrap();
    assert_eq!(events.next().await.unwrap().names(), ["Ada"]);

    let bob = world.join("stand-up", "Bob").await;
    assert_eq!(events.next().await.unwrap().names(), ["Ada", "Bob"]);
    assert_eq!(
        world.sfu.take_notes(),
        ["conference demo-stand-up", "endpoint", "endpoint"]
    );

    let state = json!({ "state": { "audioMuted": false, "videoMuted": true, "screen": true, "cameraHeight": 720 } });
    assert_eq!(world.act(&bob, "state", state).await.0, 200);
    let Event::Roster(roster) = events.next().await.unwrap() else {
        panic!("closed")
    };
    assert_eq!(roster["participants"][1]["state"]["screen"], json!(true));

    assert_eq!(world.act(&bob, "leave", json!({})).await.0, 200);
    assert_eq!(events.next().await.unwrap().names(), ["Ada"]);
    assert_eq!(world.sfu.take_notes(), ["expire endpoint"]);

    assert_eq!(world.act(&ada, "leave", json!({})).await.0, 200);
    assert_eq!(
        world.sfu.take_notes(),
        ["expire endpoint", "expire conference"]
    );
    assert!(matches!(events.next().await, Some(Event::Closed(4001))));
    assert_eq!(world.demo.participants(), 0);
}

#[tokio::test]
async fn join_tells_all_that_an_offer_needs() {
    let world = World::new().await;
    let (_, reply) = world.post("r/join", json!({ "name": "Ada" })).await;
    assert_eq!(reply["transport"]["fingerprint"]["setup"], "actpass");
    assert!(
        reply["transport"]["fingerprint"]["value"]
            .as_str()
            .unwrap()
            .starts_with("AB:AB:")
    );
    assert_eq!(reply["transport"]["candidates"][0]["address"], "192.0.2.1");
    assert_eq!(reply["transport"]["candidates"][0]["port"], 10_000);
    assert_eq!(reply["bridgeSources"], json!({ "audio": 11, "video": 12 }));
    assert_eq!(reply["dataChannel"], json!(true));
    let endpoint = reply["endpoint"].as_str().unwrap();
    assert_eq!(
        reply["webSocket"],
        json!(format!(
            "/colibri-ws/demo/1/{endpoint}?pwd=websocket-password"
        ))
    );
}

#[tokio::test]
async fn the_answer_reaches_the_bridge() {
    let world = World::new().await;
    let ada = world.join("r", "Ada").await;
    world.sfu.take_notes();
    let transport = json!({
        "ufrag": "kWPC", "pwd": "POGRRgXGhUOnic+BdJvh3oZG", "setup": "active",
        "fingerprint": { "hash": "sha-256", "value": vec!["0A"; 32].join(":") },
    });
    assert_eq!(world.act(&ada, "transport", transport).await.0, 200);
    let sources = json!({ "sources": [{ "slot": "a0", "encodings": [{ "ssrc": 7 }] }] });
    assert_eq!(world.act(&ada, "sources", sources).await.0, 200);
    assert_eq!(
        world.sfu.take_notes(),
        ["transport Credentials(kWPC)", "sources 1"]
    );

    let (status, reply) = world.act(&ada, "ice-restart", json!({})).await;
    assert_eq!(
        (status, &reply["transport"]["iceGeneration"]),
        (200, &json!(1))
    );
    world.sfu.refuse_restarts.store(true, Ordering::Relaxed);
    let (status, reply) = world.act(&ada, "ice-restart", json!({})).await;
    assert_eq!(
        (status, &reply["error"]["code"]),
        (409, &json!("no_restart"))
    );
}

#[tokio::test]
async fn one_page_can_not_act_for_another() {
    let world = World::new().await;
    let ada = world.join("r", "Ada").await;
    let eve = world.join("r", "Eve").await;
    let forged = Page {
        room: "r".into(),
        endpoint: ada.endpoint.clone(),
        token: eve.token.clone(),
    };
    let elsewhere = Page {
        room: "other".into(),
        endpoint: ada.endpoint.clone(),
        token: ada.token.clone(),
    };
    let empty = Page {
        room: "r".into(),
        endpoint: ada.endpoint.clone(),
        token: String::new(),
    };
    world.sfu.take_notes();
    for page in [&forged, &elsewhere, &empty] {
        for (what, body) in [
            ("leave", json!({})),
            ("ice-restart", json!({})),
            ("state", json!({ "state": {} })),
            ("sources", json!({ "sources": [] })),
        ] {
            let (status, reply) = world.act(page, what, body).await;
            assert_eq!(
                (status, &reply["error"]["code"]),
                (404, &json!("unknown_endpoint"))
            );
        }
        assert_eq!(world.events(page).await.err(), Some(404));
    }
    assert!(
        world.sfu.take_notes().is_empty(),
        "something reached the bridge"
    );
    assert_eq!(world.demo.participants(), 2);
}

#[tokio::test]
async fn what_the_bridge_ends_disappears_from_the_room() {
    let world = World::new().await;
    let ada = world.join("r", "Ada").await;
    let bob = world.join("r", "Bob").await;
    let mut events = world.events(&bob).await.unwrap();
    events.next().await.unwrap();
    // The noting bridge numbers conferences and endpoints from 1.
    let conference = ConferenceKey(1);
    let gone = EndpointId::from(ada.endpoint.as_str());
    world
        .demo
        .notice(&Notice::EndpointExpired(conference, gone));
    assert_eq!(events.next().await.unwrap().names(), ["Bob"]);
    assert_eq!(world.act(&ada, "leave", json!({})).await.0, 404);

    world.demo.notice(&Notice::ConferenceExpired(
        conference,
        MeetingId::from("demo-r"),
    ));
    assert!(matches!(events.next().await, Some(Event::Closed(4001))));
    assert_eq!(world.demo.participants(), 0);
}

#[tokio::test]
async fn a_refused_first_endpoint_leaves_no_conference() {
    let world = World::new().await;
    world.sfu.refuse_endpoints.store(true, Ordering::Relaxed);
    let (status, reply) = world.post("r/join", json!({ "name": "Ada" })).await;
    assert_eq!((status, &reply["error"]["code"]), (503, &json!("full")));
    assert_eq!(
        world.sfu.take_notes(),
        ["conference demo-r", "expire conference"]
    );
}

#[tokio::test]
async fn rooms_and_participants_are_bounded() {
    let world = World::new().await;
    for _ in 0..limits::MAX_PARTICIPANTS_PER_ROOM {
        world.join("crowd", "Ada").await;
    }
    let (status, reply) = world.post("crowd/join", json!({ "name": "Ada" })).await;
    assert_eq!(
        (status, &reply["error"]["message"]),
        (503, &json!("This room is full."))
    );
    for room in 1..limits::MAX_ROOMS {
        world.join(&format!("room{room}"), "Ada").await;
    }
    let (status, reply) = world.post("another/join", json!({ "name": "Ada" })).await;
    assert_eq!((status, &reply["error"]["code"]), (503, &json!("full")));
}

#[tokio::test]
async fn event_sockets_are_bounded_and_freed() {
    let world = World::new().await;
    let ada = world.join("r", "Ada").await;
    let mut open = Vec::new();
    for _ in 0..limits::MAX_EVENT_SOCKETS {
        open.push(world.events(&ada).await.unwrap());
    }
    assert_eq!(world.events(&ada).await.err(), Some(503));
    open.clear();
    // The server notices the closed sockets in its own time.
    while world.events(&ada).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn t61_forms_foreign_origins_and_rebound_hosts_create_nothing() {
    let world = World::new().await;
    let line = "POST /demo/api/rooms/r/join HTTP/1.1\r\n";
    let json_type = "Content-Type: application/json";
    for (headers, expected) in [
        (
            "Host: localhost\r\nContent-Type: text/plain".to_owned(),
            415,
        ),
        (
            "Host: localhost\r\nContent-Type: application/x-www-form-urlencoded".to_owned(),
            415,
        ),
        (
            format!("Host: localhost\r\nOrigin: http://evil.example\r\n{json_type}"),
            403,
        ),
        (
            format!("Host: localhost\r\nOrigin: null\r\n{json_type}"),
            403,
        ),
        (format!("Host: evil.example\r\n{json_type}"), 403),
    ] {
        let (status, head, _) = world.request(&format!("{line}{headers}"), b"{}").await;
        assert_eq!(status, expected, "{headers}");
        assert!(!head.contains("access-control-allow"));
    }
    let big = vec![b' '; limits::MAX_BODY + 1];
    let (status, _, _) = world
        .request(&format!("{line}Host: localhost\r\n{json_type}"), &big)
        .await;
    assert_eq!(status, 413);
    assert!(
        world.sfu.take_notes().is_empty(),
        "something reached the bridge"
    );
}

#[tokio::test]
async fn malformed_bodies_get_a_sentence() {
    let world = World::new().await;
    for body in [
        json!(null),
        json!("x"),
        json!({ "name": 5 }),
        json!({ "nam": "x" }),
    ] {
        let (status, reply) = world.post("r/join", body.clone()).await;
        assert_eq!(status, 400, "{body} was accepted");
        assert!(!reply["error"]["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(world.post("a%2Fb/join", json!({})).await.0, 400);
}

#[tokio::test]
async fn the_page_comes_with_its_files_and_a_strict_policy() {
    let world = World::new().await;
    let (status, head, body) = world
        .request("GET / HTTP/1.1\r\nHost: localhost", b"")
        .await;
    assert_eq!(status, 200);
    assert!(head.contains("cache-control: no-store"));
    assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'"));
    let page = String::from_utf8(body).unwrap();
    let files: Vec<&str> = page
        .split('"')
        .filter(|text| text.starts_with("/demo/web/"))
        .collect();
    assert!(files.contains(&"/demo/web/app.js"));
    assert!(
        !page.contains("https://"),
        "the page loads something from elsewhere"
    );
    for file in files {
        let line = format!("GET {file} HTTP/1.1\r\nHost: localhost");
        let (status, head, _) = world.request(&line, b"").await;
        assert_eq!(status, 200, "{file}");
        let etag = head
            .split("etag: ")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned();
        let again = format!("{line}\r\nIf-None-Match: {etag}");
        assert_eq!(world.request(&again, b"").await.0, 304);
    }
    let missing = "GET /demo/web/..%2Findex.html HTTP/1.1\r\nHost: localhost";
    assert_eq!(world.request(missing, b"").await.0, 404);
}

#[tokio::test]
async fn every_script_that_a_script_imports_is_served() {
    let world = World::new().await;
    let mut waiting = vec!["app.js".to_owned()];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(file) = waiting.pop() {
        let line = format!("GET /demo/web/{file} HTTP/1.1\r\nHost: localhost");
        let (status, head, body) = world.request(&line, b"").await;
        assert_eq!(status, 200, "{file}");
        assert!(head.contains("content-type: text/javascript"));
        let text = String::from_utf8(body).unwrap();
        for import in text.lines().filter(|line| line.contains(" from './")) {
            let name = import
                .split('\'')
                .nth(1)
                .unwrap()
                .trim_start_matches("./")
                .to_owned();
            if seen.insert(name.clone()) {
                waiting.push(name);
            }
        }
    }
    assert!(seen.len() >= 8, "only {seen:?}");
}

#[tokio::test]
async fn a_page_that_dies_leaves_the_room_and_one_that_comes_back_in_time_does_not() {
    let world = World::new().await;
    let [ada, ben] = [world.join("r", "Ada").await, world.join("r", "Ben").await];
    let first = world.events(&ada).await.unwrap();
    let _ben = world.events(&ben).await.unwrap();
    tokio::time::pause();

    // Ada's connection breaks and she opens another: time enough for the old one's grace to end.
    drop(first);
    let second = world.events(&ada).await.unwrap();
    for _ in 0..20 {
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(world.demo.participants(), 2);

    // Her browser dies.
    drop(second);
    while world.demo.participants() == 2 {
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(world.demo.participants(), 1);
    let notes = world.sfu.take_notes();
    assert!(
        notes.iter().any(|note| note.starts_with("expire endpoint")),
        "{notes:?}"
    );
}

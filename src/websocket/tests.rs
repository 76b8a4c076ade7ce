//! Clients against the router with a real control plane, over pipes in memory: with the clock paused, time
//! passes only when everybody waits for it.

use std::io;
use std::sync::{Mutex, MutexGuard};

use axum::serve::Listener;
use causeway_bridge::config::BridgeConfig;
use causeway_bridge::control::Control;
use causeway_bridge::control::api::{
    ConferenceOptions, ControlOutput, EndpointOptions, Environment,
};
use causeway_bridge::ids::{ConferenceKey, EndpointKey};
use causeway_bridge::limits::{MAX_MESSAGE_BYTES, WEBSOCKET_SEND_BUFFER};
use causeway_bridge::random::Random;
use causeway_bridge::time::Time;
use causeway_bridge::transport::secure::Fingerprint;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{
    Control as ControlOpCode, Data, OpCode,
};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::*;

mod compression;
mod time;

/// Bytes on the way in each direction, as in the buffers of a TCP connection.
const PIPE: usize = 16 << 10;
const HELLO: &str = r#"{"colibriClass":"ClientHello"}"#;

/// [`HELLO`] as zlib compresses it.
const HELLO_DEFLATED: [u8; 32] = [
    0xaa, 0x56, 0x4a, 0xce, 0xcf, 0xc9, 0x4c, 0x2a, 0xca, 0x74, 0xce, 0x49, 0x2c, 0x2e, 0x56, 0xb2,
    0x52, 0x72, 0xce, 0xc9, 0x4c, 0xcd, 0x2b, 0xf1, 0x48, 0xcd, 0xc9, 0xc9, 0x57, 0xaa, 0x05, 0x00,
];
/// What Chromium offers, and what comes of it.
const CHROMIUM: &str = "permessage-deflate; client_max_window_bits";
const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The control plane as the daemon has it.
struct Plane {
    control: Mutex<Control>,
    sockets: Arc<WebSockets>,
    start: Instant,
}

impl ControlAccess for Plane {
    fn with_control<R>(&self, work: impl FnOnce(&mut Control, Time) -> R) -> R {
        let mut control = self.lock();
        let now = Time::from_micros(self.start.elapsed().as_micros() as u64);
        let result = work(&mut control, now);
        while let Some(output) = control.poll_output() {
            match output {
                ControlOutput::WebSocket(key, text) => self.sockets.send(key, text),
                ControlOutput::CloseWebSocket(key, code, reason) => {
                    self.sockets.close(key, code, reason);
                }
                ControlOutput::Worker(..)
                | ControlOutput::Pool(..)
                | ControlOutput::Export(_)
                | ControlOutput::Notice(_) => {}
            }
        }
        result
    }
}

impl Plane {
    fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap()
    }
}

/// Connections made in memory.
struct Pipes(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for Pipes {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.recv().await {
            Some(pipe) => (pipe, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A bridge with one conference and endpoints A and B.
struct World {
    plane: Arc<Plane>,
    sockets: Arc<WebSockets>,
    connections: mpsc::UnboundedSender<DuplexStream>,
    conference: ConferenceKey,
    a: EndpointKey,
    b: EndpointKey,
}

type Client = WebSocketStream<DuplexStream>;

impl World {
    fn new() -> World {
        World::with(BridgeConfig::default(), |_| {})
    }

    fn with(config: BridgeConfig, adjust: impl FnOnce(&mut WebSocketOptions)) -> World {
        let env = Environment {
            workers: 1,
            pool_threads: 1,
            locals: vec!["192.0.2.1:10000".parse().unwrap()],
            fingerprint: Fingerprint {
                hash: "sha-256".into(),
                digest: vec![7; 32],
            },
        };
        let sockets = WebSockets::new();
        let plane = Arc::new(Plane {
            control: Mutex::new(Control::new(Arc::new(config), env, Random::from_seed(1))),
            sockets: Arc::clone(&sockets),
            start: Instant::now(),
        });
        let (conference, a, b) = plane.with_control(|control, now| {
            let options = ConferenceOptions {
                meeting_id: "meeting".into(),
                name: None,
            };
            let conference = control.create_conference(now, options).unwrap();
            let mut endpoint = |id: &str| {
                let options = EndpointOptions {
                    diarize: false,
                    id: id.into(),
                    stats_id: None,
                    ice_controlling: true,
                    ssrc_rewriting: true,
                    mid_demux: false,
                    visitor: false,
                    private_addresses: false,
                    sctp: false,
                };
                control.create_endpoint(now, conference, options).unwrap()
            };
            (conference, endpoint("A"), endpoint("B"))
        });
        let mut options = WebSocketOptions {
            server_id: "srv1".into(),
            ..WebSocketOptions::default()
        };
        adjust(&mut options);
        let app = router(Arc::clone(&plane), Arc::clone(&sockets), options);
        let (connections, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move { axum::serve(Pipes(receiver), app).await });
        World {
            plane,
            sockets,
            connections,
            conference,
            a,
            b,
        }
    }

    fn local_id(&self) -> String {
        self.plane.lock().local_id(self.conference)
    }

    fn password(&self, endpoint: EndpointKey) -> Arc<str> {
        let control = self.plane.lock();
        control
            .local_transport(endpoint)
            .unwrap()
            .websocket_password
    }

    /// The advertised path and query of A or B.
    fn path(&self, endpoint: EndpointKey) -> String {
        let id = if endpoint == self.a { "A" } else { "B" };
        format!(
            "/colibri-ws/srv1/{}/{id}?pwd={}",
            self.local_id(),
            self.password(endpoint)
        )
    }

    fn pipe(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        self.connections.send(theirs).unwrap();
        ours
    }

    async fn dial(&self, path: &str) -> Client {
        let (client, _) =
            tokio_tungstenite::client_async(format!("ws://bridge{path}"), self.pipe())
                .await
                .expect("the upgrade is accepted");
        client
    }

    /// An endpoint's client that was greeted.
    async fn connect(&self, endpoint: EndpointKey) -> Client {
        let mut client = self.dial(&self.path(endpoint)).await;
        assert_eq!(hear(&mut client).await["colibriClass"], "ServerHello");
        client
    }

    fn request(&self, endpoint: EndpointKey, offer: &str) -> Request {
        let mut request = format!("ws://bridge{}", self.path(endpoint))
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-extensions", offer.parse().unwrap());
        request
    }

    /// An endpoint's client that was greeted, and the bridge's answer to what it offered.
    async fn offer(&self, endpoint: EndpointKey, offer: &str) -> (Client, Option<String>) {
        let request = self.request(endpoint, offer);
        let (mut client, response) = tokio_tungstenite::client_async(request, self.pipe())
            .await
            .expect("the upgrade is accepted");
        assert_eq!(hear(&mut client).await["colibriClass"], "ServerHello");
        let agreed = response.headers().get("sec-websocket-extensions");
        (
            client,
            agreed.map(|agreed| agreed.to_str().unwrap().to_owned()),
        )
    }

    /// Status and body of the answer to a refused upgrade.
    async fn refused(&self, path: &str) -> (u16, String) {
        let url = format!("ws://bridge{path}");
        match tokio_tungstenite::client_async(url, self.pipe()).await {
            Err(Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                (response.status().as_u16(), String::from_utf8(body).unwrap())
            }
            other => panic!("{path} gave {other:?}"),
        }
    }

    async fn status(&self, path: &str) -> u16 {
        self.refused(path).await.0
    }

    /// First line and headers of the answer to a plain request.
    async fn plain(&self, method: &str, path: &str) -> String {
        let mut pipe = self.pipe();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: bridge\r\nconnection: close\r\n\r\n");
        pipe.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        pipe.read_to_string(&mut response).await.unwrap();
        response
    }

    fn expire(&self, endpoint: EndpointKey) {
        self.plane
            .with_control(|control, now| control.expire_endpoint(now, endpoint));
    }
}

/// The next text, as JSON.
async fn hear(client: &mut Client) -> Value {
    loop {
        match client.next().await {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("instead of a text: {other:?}"),
        }
    }
}

/// The code and reason with which the bridge closes.
async fn closed(client: &mut Client) -> (u16, String) {
    loop {
        match client.next().await {
            Some(Ok(Message::Close(Some(frame)))) => {
                return (frame.code.into(), frame.reason.to_string());
            }
            Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("instead of a close frame: {other:?}"),
        }
    }
}

fn closes(code: u16, reason: &str) -> (u16, String) {
    (code, reason.to_owned())
}

async fn say(client: &mut Client, text: impl Into<String>) {
    client.send(Message::text(text.into())).await.unwrap();
}

/// The bridge still answers, and said nothing before that.
async fn assert_alive(client: &mut Client) {
    say(client, HELLO).await;
    assert_eq!(hear(client).await["colibriClass"], "ServerHello");
}

fn fragment(opcode: Data, last: bool, payload: &[u8]) -> Message {
    Message::Frame(Frame::message(payload.to_vec(), OpCode::Data(opcode), last))
}

/// A frame with RSV1.
fn compressed(opcode: Data, last: bool, payload: &[u8]) -> Message {
    let mut frame = Frame::message(payload.to_vec(), OpCode::Data(opcode), last);
    frame.header_mut().rsv1 = true;
    Message::Frame(frame)
}

/// First byte and payload of the next frame from the bridge, as they are.
async fn next_frame(pipe: &mut DuplexStream) -> (u8, Vec<u8>) {
    let flags = pipe.read_u8().await.unwrap();
    let len = match pipe.read_u8().await.unwrap() {
        126 => pipe.read_u16().await.unwrap().into(),
        short @ 0..126 => short.into(),
        other => panic!("a length of {other}"),
    };
    let mut payload = vec![0; len];
    pipe.read_exact(&mut payload).await.unwrap();
    (flags, payload)
}

// ---- accepting and refusing ---------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn bridge_channel_case_1_the_advertised_url_is_accepted_and_greeted_without_version() {
    let world = World::new();
    let mut client = world.dial(&world.path(world.a)).await;
    let hello = hear(&mut client).await;
    assert_eq!(hello, serde_json::json!({"colibriClass": "ServerHello"}));
    assert_eq!(world.sockets.stats().open, 1);
}

#[tokio::test(start_paused = true)]
async fn bridge_channel_case_2_the_version_is_announced_if_configured() {
    let mut config = BridgeConfig::default();
    config.channel.announce_version = Some("1.2".into());
    let world = World::with(config, |_| {});
    let mut client = world.dial(&world.path(world.a)).await;
    assert_eq!(hear(&mut client).await["version"], "1.2");
}

#[tokio::test(start_paused = true)]
async fn bridge_channel_cases_3_to_10_refusals_are_exact() {
    let world = World::new();
    let (conference, password) = (world.local_id(), world.password(world.a));
    let not_found = |text: &str| (404, text.to_owned());
    let forbidden = (403, "authentication failed".to_owned());

    // 3: another server's.
    let path = format!("/colibri-ws/srv2/{conference}/A?pwd={password}");
    assert_eq!(world.refused(&path).await, not_found("server ID mismatch"));
    // 4 and 5: no such conference; the meeting id is none.
    for conference in ["0", "meeting"] {
        let path = format!("/colibri-ws/srv1/{conference}/A?pwd={password}");
        assert_eq!(world.refused(&path).await, forbidden);
    }
    // 6: no such endpoint, and another's password.
    for id in ["C", "B", "a"] {
        let path = format!("/colibri-ws/srv1/{conference}/{id}?pwd={password}");
        assert_eq!(world.refused(&path).await, forbidden);
    }
    // 7 to 9: the password.
    for query in [
        "?pwd=wrong".to_owned(),
        "?pwd=".to_owned(),
        format!("?pwd={password}&x=1"),
        format!("?x=1&pwd={password}"),
        format!("?PWD={password}"),
        "?pwd=%ff".to_owned(),
        "?".to_owned(),
        String::new(),
    ] {
        let path = format!("/colibri-ws/srv1/{conference}/A{query}");
        assert_eq!(world.refused(&path).await, forbidden, "{query}");
    }
    // 10: too few parts.
    for rest in ["", "srv1", "srv1/", "srv1/K", "srv1/K/"] {
        let path = format!("/colibri-ws/{rest}?pwd={password}");
        assert_eq!(
            world.refused(&path).await,
            not_found("invalid path"),
            "{rest}"
        );
    }
    assert_eq!(
        world.sockets.stats(),
        super::registry::WebSocketStats::default()
    );
}

#[tokio::test(start_paused = true)]
async fn bridge_channel_cases_11_and_12_more_path_and_percent_encoding_are_accepted() {
    let world = World::new();
    let (conference, password) = (world.local_id(), world.password(world.a));
    let encoded: String = password
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    for path in [
        format!("/colibri-ws/srv1/{conference}/A/extra?pwd={password}"),
        format!("/colibri-ws/srv1/{conference}/A/?pwd={password}"),
        format!("/colibri-ws/srv1/{conference}/A?pwd={encoded}"),
        format!("/colibri-ws/srv1/{conference}/%41?%70wd={password}"),
    ] {
        let mut client = world.dial(&path).await;
        assert_eq!(hear(&mut client).await["colibriClass"], "ServerHello");
    }
}

#[tokio::test(start_paused = true)]
async fn bridge_channel_case_13_there_are_no_relays_to_connect_to() {
    let world = World::new();
    let relay = world
        .path(world.a)
        .replace("colibri-ws", "colibri-relay-ws");
    assert_eq!(
        world.refused(&relay).await,
        (403, "authentication failed".to_owned())
    );
    assert_eq!(world.status(&relay.replace("srv1", "srv2")).await, 404);
}

#[tokio::test(start_paused = true)]
async fn bridge_channel_case_14_compression_is_negotiated_and_subprotocols_are_not() {
    let world = World::new();
    let mut request = world.request(world.a, CHROMIUM);
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", "chat".parse().unwrap());
    headers.insert("origin", "https://elsewhere.example".parse().unwrap());
    let mut pipe = world.pipe();
    // By hand: the client's library insists on a subprotocol that it asked for.
    let mut lines = format!("GET {} HTTP/1.1\r\n", world.path(world.a));
    for (name, value) in request.headers() {
        lines.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    pipe.write_all(format!("{lines}\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(pipe.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(
        answer.contains(&format!("sec-websocket-extensions: {AGREED}\r\n")),
        "{answer}"
    );
    assert!(!answer.contains("sec-websocket-protocol"), "{answer}");
    // The greeting is short and goes plain.
    let (flags, hello) = next_frame(&mut pipe).await;
    assert_eq!(flags, 0x81);
    assert!(hello.starts_with(br#"{"colibriClass":"ServerHello""#));
}

#[tokio::test(start_paused = true)]
async fn bridge_channel_case_14_t57_compression_can_be_turned_off() {
    let world = World::with(BridgeConfig::default(), |options| {
        options.compression = false
    });
    let (mut client, agreed) = world.offer(world.a, CHROMIUM).await;
    assert_eq!(agreed, None);
    assert_alive(&mut client).await;
    client
        .send(compressed(Data::Text, true, &HELLO_DEFLATED))
        .await
        .unwrap();
    assert_eq!(closed(&mut client).await, closes(1002, "Protocol error"));
}

#[tokio::test(start_paused = true)]
async fn what_the_client_offers_decides_about_compression() {
    let world = World::new();
    for (offer, expected) in [
        (
            "x-webkit-deflate-frame, permessage-deflate",
            Some(AGREED.to_owned()),
        ),
        (
            "permessage-deflate; server_max_window_bits=\"10\"",
            Some(format!("{AGREED}; server_max_window_bits=10")),
        ),
        ("permessage-deflate; server_max_window_bits=7", None),
        ("permessage-deflate; client_max_window_bits=16", None),
        ("permessage-deflate; unknown", None),
        ("permessage-deflate; =", None),
    ] {
        // An offer that can not be accepted is no reason to refuse the socket.
        let (mut client, agreed) = world.offer(world.a, offer).await;
        assert_eq!(agreed, expected, "{offer}");
        assert_alive(&mut client).await;
    }
    // Without an offer, there is nothing to agree upon.
    let mut client = world.connect(world.a).await;
    client
        .send(compressed(Data::Text, true, &HELLO_DEFLATED))
        .await
        .unwrap();
    assert_eq!(closed(&mut client).await, closes(1002, "Protocol error"));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_upgrade_is_405_and_a_double_slash_400() {
    let world = World::new();
    let path = world.path(world.a);
    for (method, path, status) in [
        ("GET", &*path, "405"),
        ("POST", &path, "405"),
        ("GET", "/colibri-ws/x", "405"),
        ("GET", "/colibri-relay-ws/srv1/K/A", "405"),
        ("GET", "/colibri-ws//srv1/K/A", "400"),
        ("GET", "/colibri-ws", "404"),
        ("GET", "/elsewhere", "404"),
    ] {
        let response = world.plain(method, path).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{method} {path}: {response}"
        );
        assert_eq!(response.contains("allow: GET"), status == "405");
    }
    assert_eq!(world.status(&path.replace("/srv1", "//srv1")).await, 400);
}

/// The rest of the case, an end after 60 s without pings, is bridge-channel case 21.
#[tokio::test(start_paused = true)]
async fn rest_and_stats_case_40_only_upgrades_with_the_right_path_and_password_are_accepted() {
    let world = World::new();
    let path = world.path(world.a);
    let wrong_path = path.replace("colibri-ws/srv1", "colibri-ws");
    assert_eq!(
        world.status(&path.replace("/colibri-ws", "/other")).await,
        404
    );
    assert_eq!(world.status(&wrong_path).await, 404);
    assert_eq!(world.status(&path.replace("srv1", "srv2")).await, 404);
    assert_eq!(world.status(&format!("{path}x")).await, 403);
    assert!(world.plain("GET", &path).await.starts_with("HTTP/1.1 405 "));
    assert_alive(&mut world.connect(world.a).await).await;
}

/// T58.
#[tokio::test(start_paused = true)]
async fn t58_whoever_tries_passwords_of_one_endpoint_has_to_wait() {
    let world = World::new();
    let wrong = format!("/colibri-ws/srv1/{}/A?pwd=wrong", world.local_id());
    let start = Instant::now();
    for _ in 0..limits::FAILURES_PER_MINUTE {
        assert_eq!(world.status(&wrong).await, 403);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(world.status(&wrong).await, 403);
    assert!(start.elapsed() >= limits::FAILURE_DELAY);

    // The endpoint itself does not.
    let start = Instant::now();
    world.connect(world.a).await;
    assert_eq!(start.elapsed(), Duration::ZERO);

    // A minute later all is forgiven.
    tokio::time::advance(Duration::from_secs(60)).await;
    let start = Instant::now();
    assert_eq!(world.status(&wrong).await, 403);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

// ---- one endpoint, one socket -------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn bridge_channel_case_15_the_newest_socket_replaces_the_one_before() {
    let world = World::new();
    let mut first = world.connect(world.a).await;
    let mut second = world.connect(world.a).await;
    assert_eq!(closed(&mut first).await, closes(1000, "replaced"));
    // The end of the first one is not the end of the endpoint's channel.
    assert!(first.next().await.is_none());
    assert_alive(&mut second).await;
    let stats = world.sockets.stats();
    assert_eq!(
        (stats.open, stats.close_normal, stats.close_abnormal),
        (1, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn late_texts_of_a_replaced_socket_do_not_count() {
    let world = World::new();
    let mut other = world.connect(world.b).await;
    let mut first = world.connect(world.a).await;
    let (plane, sockets, a) = (&world.plane, &world.sockets, world.a);
    // It was replaced, but its task does not know yet: nothing runs between here and the texts.
    say(
        &mut first,
        r#"{"colibriClass":"EndpointMessage","to":"","msgPayload":"late"}"#,
    )
    .await;
    plane.with_control(|control, now| {
        sockets.open(a);
        control.websocket_opened(now, a);
    });
    assert_eq!(closed(&mut first).await, closes(1000, "replaced"));
    assert_alive(&mut other).await;
}

#[tokio::test(start_paused = true)]
async fn bridge_channel_case_22_sockets_close_with_their_endpoint_and_conference() {
    let world = World::new();
    let mut a = world.connect(world.a).await;
    let mut b = world.connect(world.b).await;
    world.expire(world.a);
    assert_eq!(closed(&mut a).await, closes(1001, "endpoint closed"));
    assert_alive(&mut b).await;
    let conference = world.conference;
    world
        .plane
        .with_control(|control, now| control.expire_conference(now, conference));
    assert_eq!(closed(&mut b).await, closes(1001, "endpoint closed"));
    assert_eq!(world.sockets.stats().open, 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_outlives_its_socket_and_its_url_stays_good() {
    let world = World::new();
    let mut client = world.connect(world.a).await;
    client.close(None).await.unwrap();
    while let Some(Ok(_)) = client.next().await {}
    assert_eq!(world.sockets.stats().open, 0);
    assert_eq!(world.sockets.stats().close_normal, 1);
    // Lost without a word.
    drop(world.connect(world.a).await);
    let mut client = world.connect(world.a).await;
    assert_alive(&mut client).await;
}

// ---- frames -------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn bridge_channel_case_16_binary_messages_are_ignored() {
    let world = World::new();
    let mut client = world.connect(world.a).await;
    client.send(Message::binary(HELLO)).await.unwrap();
    say(
        &mut client,
        r#"{"colibriClass":"EndpointMessage","to":"A","msgPayload":1}"#,
    )
    .await;
    assert_eq!(hear(&mut client).await["colibriClass"], "EndpointMessage");
    assert_eq!(world.sockets.stats().messages_received, 1);
}

#[tokio::test(start_paused = true)]
async fn bridge_channel_case_17_fragments_make_one_message() {
    let world = World::new();
    let mut client = world.connect(world.a).await;
    let (head, tail) = HELLO.as_bytes().split_at(9);
    client
        .send(fragment(Data::Text, false, head))
        .await
        .unwrap();
    // Control frames may come in between.
    client.send(Message::Ping("between".into())).await.unwrap();
    client
        .send(fragment(Data::Continue, false, b""))
        .await
        .unwrap();
    client
        .send(fragment(Data::Continue, true, tail))
        .await
        .unwrap();
    assert_eq!(hear(&mut client).await["colibriClass"], "ServerHello");
    assert_eq!(world.sockets.stats().messages_received, 1);
}

#[tokio::test(start_paused = true)]
async fn bridge_channel_case_18_a_message_of_65536_bytes_is_handled_and_one_more_byte_is_too_large()
{
    let world = World::new();
    let message = |size: usize| {
        let (head, tail) = (
            r#"{"colibriClass":"EndpointMessage","to":"B","msgPayload":""#,
            r#""}"#,
        );
        format!("{head}{}{tail}", "x".repeat(size - head.len() - tail.len()))
    };
    let mut a = world.connect(world.a).await;
    let mut b = world.connect(world.b).await;
    for size in [60 << 10, MAX_MESSAGE_BYTES] {
        say(&mut a, message(size)).await;
        let got = hear(&mut b).await;
        assert_eq!(got["from"], "A");
        assert!(got["msgPayload"].as_str().unwrap().len() > size - 100);
    }
    say(&mut a, message(MAX_MESSAGE_BYTES + 1)).await;
    let reason = "Text message too large: 65,537 > 65,536";
    assert_eq!(closed(&mut a).await, closes(1009, reason));
    assert_alive(&mut b).await;
}

/// T56: what is far too long is refused from its header on, in one frame or in many.
#[tokio::test(start_paused = true)]
async fn t56_an_endless_message_is_refused_without_reading_it() {
    let world = World::new();
    let mut a = world.connect(world.a).await;
    // A final text frame of 2^62 bytes: header and mask only.
    let header = [0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    a.get_mut().write_all(&header).await.unwrap();
    let reason = "Text message too large: 4,611,686,018,427,387,904 > 65,536";
    assert_eq!(closed(&mut a).await, closes(1009, reason));

    let mut b = world.connect(world.b).await;
    let part = vec![b'x'; 48 << 10];
    b.send(fragment(Data::Text, false, &part)).await.unwrap();
    for _ in 0..2 {
        b.send(fragment(Data::Continue, false, &part))
            .await
            .unwrap();
    }
    let reason = "Text message too large: 147,456 > 65,536";
    assert_eq!(closed(&mut b).await, closes(1009, reason));
    assert_eq!(world.sockets.stats().errors, 2);
}

#[tokio::test(start_paused = true)]
async fn t56_a_message_of_empty_fragments_closes_with_1008() {
    let world = World::new();
    let mut client = world.connect(world.a).await;
    let sending = async {
        let mut sent = 0;
        let mut fragment_of = fragment(Data::Text, false, b"");
        while client.send(fragment_of).await.is_ok() && sent < 1_000_000 {
            sent += 1;
            fragment_of = fragment(Data::Continue, false, b"");
        }
        sent
    };
    // The server stops reading, so that sending ends at the latest when what is on the way is full.
    let _ = tokio::time::timeout(Duration::from_secs(1), sending).await;
    assert_eq!(closed(&mut client).await, closes(1008, "Too many frames"));
}

#[tokio::test(start_paused = true)]
async fn bridge_channel_case_19_pings_are_answered_with_their_payload() {
    let world = World::new();
    let mut client = world.connect(world.a).await;
    client.send(Message::Ping("xyz".into())).await.unwrap();
    let answer = client.next().await.unwrap().unwrap();
    assert_eq!(answer, Message::Pong("xyz".into()));
}

#[tokio::test(start_paused = true)]
async fn bridge_channel_cases_23_and_24_what_is_no_message_changes_nothing() {
    let world = World::new();
    let mut client = world.connect(world.a).await;
    for text in ["garbage", "null", "", "{}", "[1]"] {
        say(&mut client, text).await;
        assert_alive(&mut client).await;
    }
}

#[tokio::test(start_paused = true)]
async fn bridge_channel_case_25_invalid_utf_8_closes_with_1007() {
    let world = World::new();
    let mut client = world.connect(world.a).await;
    client
        .send(fragment(Data::Text, true, b"\xff\xfe"))
        .await
        .unwrap();
    assert_eq!(closed(&mut client).await, closes(1007, "Invalid UTF-8"));
    let stats = world.sockets.stats();
    assert_eq!((stats.open, stats.close_abnormal, stats.errors), (0, 1, 1));
}

/// T56.
#[tokio::test(start_paused = true)]
async fn t56_frames_without_mask_and_floods_of_control_frames_end_the_socket() {
    let world = World::new();
    let mut client = world.connect(world.a).await;
    client
        .get_mut()
        .write_all(&[0x81, 2, b'{', b'}'])
        .await
        .unwrap();
    assert_eq!(closed(&mut client).await, closes(1002, "Protocol error"));

    let mut client = world.connect(world.b).await;
    for _ in 0..limits::CONTROL_FRAMES_PER_SECOND {
        client
            .send(Message::Pong(Default::default()))
            .await
            .unwrap();
    }
    assert_alive(&mut client).await;
    client
        .send(Message::Pong(Default::default()))
        .await
        .unwrap();
    assert_eq!(
        closed(&mut client).await,
        closes(1008, "Too many control frames")
    );
}

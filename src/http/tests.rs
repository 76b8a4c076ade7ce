//! Strangers against the accept loop, over pipes in memory: with the clock paused, time passes only when
//! everybody waits for it. All of them are T55.

use std::io;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;
use crate::tls::tests::{localhost, server_and_client};
use crate::tls::{HANDSHAKE_TIMEOUT, TlsOptions};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

type Connection = (DuplexStream, SocketAddr);

struct Pipes(mpsc::UnboundedReceiver<Connection>);

impl Listener for Pipes {
    type Io = DuplexStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Connection {
        match self.0.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([192, 0, 2, 1], 80).into())
    }
}

struct Server(mpsc::UnboundedSender<Connection>);

impl Server {
    fn start() -> Server {
        Server::for_(Audience::strangers(vec!["192.0.2.0/28".parse().unwrap()]))
    }

    fn for_(audience: Audience) -> Server {
        Server::with(audience, None)
    }

    fn with(audience: Audience, tls: Option<Tls>) -> Server {
        let app = Router::new().route("/", get(|| async { "welcome" }));
        Server::serving(app, audience, tls)
    }

    fn serving(app: Router, audience: Audience, tls: Option<Tls>) -> Server {
        let (connections, accepted) = mpsc::unbounded_channel();
        tokio::spawn(serve(Pipes(accepted), app, audience, tls));
        Server(connections)
    }

    fn connect(&self, from: &str) -> DuplexStream {
        let (client, server) = tokio::io::duplex(64 << 10);
        let peer = SocketAddr::new(from.parse().unwrap(), 40_000);
        self.0.send((server, peer)).unwrap();
        client
    }

    /// Whether a client from there is served at once.
    async fn welcomes(&self, from: &str) -> bool {
        let start = Instant::now();
        let mut client = self.connect(from);
        let mut answer = vec![0; 1024];
        // A refused pipe is closed: writing fails, or reading finds the end.
        if client.write_all(REQUEST).await.is_err() {
            return false;
        }
        let length = client.read(&mut answer).await.unwrap_or(0);
        assert_eq!(start.elapsed(), Duration::ZERO);
        answer[..length].starts_with(b"HTTP/1.1 200")
    }
}

/// What comes until the server ends the connection, and when that is.
async fn rest(client: &mut DuplexStream) -> (String, Duration) {
    let start = Instant::now();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    (String::from_utf8(answer).unwrap(), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn t55_slow_headers_end_the_socket_however_often_a_byte_comes() {
    let server = Server::start();
    let (mut reader, mut writer) = tokio::io::split(server.connect("198.51.100.1"));
    let dripping = tokio::spawn(async move {
        for byte in REQUEST.iter().cycle() {
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let start = Instant::now();
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).await.unwrap();
    assert_eq!(start.elapsed(), limits::HEADER_TIMEOUT);
    dripping.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn t55_a_kept_connection_has_no_more_time_than_a_new_one() {
    let server = Server::start();
    let mut client = server.connect("198.51.100.1");
    client.write_all(REQUEST).await.unwrap();
    let (answer, after) = rest(&mut client).await;
    assert!(answer.ends_with("welcome"), "{answer}");
    assert_eq!(after, limits::HEADER_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn t55_five_thousand_silent_sockets_of_one_network_take_nothing_from_others() {
    let server = Server::start();
    let silent: Vec<_> = (0..5_000)
        .map(|number| server.connect(&format!("198.51.100.{}", number % 256)))
        .collect();
    assert!(server.welcomes("203.0.113.1").await);
    assert!(!server.welcomes("198.51.100.9").await);
    assert!(!server.welcomes("::ffff:198.51.100.9").await);
    // Their time passes, and the place is free again.
    tokio::time::sleep(limits::HEADER_TIMEOUT + Duration::from_secs(1)).await;
    assert!(server.welcomes("198.51.100.9").await);
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn t55_the_total_is_bounded_and_a_proxy_on_this_machine_has_no_share() {
    let server = Server::start();
    let silent: Vec<_> = (0..limits::MAX_SOCKETS - 1)
        .map(|_| server.connect("127.0.0.1"))
        .collect();
    let last = server.connect("2001:db8::1");
    assert!(!server.welcomes("127.0.0.1").await);
    assert!(!server.welcomes("203.0.113.1").await);
    drop((silent, last));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(server.welcomes("203.0.113.1").await);
}

#[tokio::test(start_paused = true)]
async fn t55_long_and_many_headers_are_refused_with_431() {
    let server = Server::start();
    let long = format!("X: {}\r\n", "x".repeat(limits::MAX_HEADER_BYTES));
    let many = "X: x\r\n".repeat(limits::MAX_HEADERS + 1);
    for headers in [long, many] {
        let mut client = server.connect("198.51.100.1");
        let request = format!("GET / HTTP/1.1\r\n{headers}");
        client.write_all(request.as_bytes()).await.unwrap();
        client.write_all(b"\r\n").await.unwrap();
        let (answer, after) = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert_eq!(after, Duration::ZERO);
    }
}

#[test]
fn a_source_is_a_slash_24_or_a_slash_56() {
    let of = |ip: &str| source(ip.parse().unwrap()).to_string();
    assert_eq!(of("198.51.100.77"), "198.51.100.0");
    assert_eq!(of("::ffff:198.51.100.77"), "198.51.100.0");
    assert_eq!(of("2001:db8:1:2ff:3::4"), "2001:db8:1:200::");
}

#[tokio::test(start_paused = true)]
async fn t55_configured_proxies_are_exempt_from_the_share_of_a_source() {
    let server = Server::start();
    let held = |from: &str, count: usize| -> Vec<DuplexStream> {
        (0..count).map(|_| server.connect(from)).collect()
    };
    let _proxy = held("192.0.2.3", 2 * limits::MAX_SOCKETS_PER_SOURCE);
    assert!(server.welcomes("192.0.2.4").await);
    // Beside the proxies' network, but in the same /24.
    let _stranger = held("192.0.2.200", limits::MAX_SOCKETS_PER_SOURCE);
    assert!(!server.welcomes("192.0.2.201").await);
    assert!(server.welcomes("192.0.2.5").await);
}

#[tokio::test(start_paused = true)]
async fn t55_a_scraper_keeps_its_connection_and_a_stranger_does_not() {
    for (audience, kept) in [
        (Audience::Operators, true),
        (Audience::strangers(Vec::new()), false),
    ] {
        let server = Server::for_(audience);
        let mut client = server.connect("198.51.100.1");
        let mut answer = vec![0; 1024];
        for scrape in 0..5 {
            let asked = client.write_all(REQUEST).await.is_ok();
            let length = if asked {
                client.read(&mut answer).await.unwrap_or(0)
            } else {
                0
            };
            assert_eq!(length > 0, kept || scrape == 0, "{scrape}");
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }
    // Even operators do not fill the server with sockets that say nothing.
    let server = Server::for_(Audience::Operators);
    let silent: Vec<_> = (0..limits::MAX_SOCKETS)
        .map(|_| server.connect("127.0.0.1"))
        .collect();
    assert!(!server.welcomes("127.0.0.1").await);
    tokio::time::sleep(limits::OPERATOR_TIMEOUT + Duration::from_secs(1)).await;
    assert!(server.welcomes("127.0.0.1").await);
    drop(silent);
}

/// A server with a certificate, and a client that trusts it.
fn with_tls(name: &str) -> (Server, tokio_rustls::TlsConnector) {
    let (file, client) = server_and_client(name);
    let tls = Tls::load(TlsOptions::new(&file.0)).unwrap();
    (
        Server::with(Audience::strangers(Vec::new()), Some(tls)),
        client,
    )
}

#[tokio::test(start_paused = true)]
async fn a_server_with_a_certificate_speaks_tls_only() {
    let (server, client) = with_tls("only.pem");
    let pipe = server.connect("198.51.100.1");
    let mut secure = client.connect(localhost(), pipe).await.unwrap();
    secure.write_all(REQUEST).await.unwrap();
    let mut answer = vec![0; 1024];
    let length = secure.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    assert!(!server.welcomes("198.51.100.1").await, "in clear text");
}

#[tokio::test(start_paused = true)]
async fn t55_unfinished_handshakes_end_after_ten_seconds_and_hold_nobody_up() {
    let (server, client) = with_tls("slow.pem");
    // All that one network may hold: half of them say nothing, half begin a handshake and stop.
    let mut silent: Vec<_> = (0..limits::MAX_SOCKETS_PER_SOURCE)
        .map(|_| server.connect("198.51.100.1"))
        .collect();
    for pipe in silent.iter_mut().step_by(2) {
        pipe.write_all(&[0x16, 3, 1, 1, 0, 1]).await.unwrap();
    }
    // They count, so the next one of the network is refused; others do not wait for them.
    let start = Instant::now();
    let neighbour = server.connect("198.51.100.2");
    assert!(client.connect(localhost(), neighbour).await.is_err());
    let other = server.connect("203.0.113.1");
    assert!(client.connect(localhost(), other).await.is_ok());
    assert_eq!(start.elapsed(), Duration::ZERO);
    for pipe in &mut silent {
        let mut end = Vec::new();
        let _ = pipe.read_to_end(&mut end).await;
    }
    assert_eq!(start.elapsed(), HANDSHAKE_TIMEOUT);
    let neighbour = server.connect("198.51.100.2");
    assert!(client.connect(localhost(), neighbour).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn requests_know_from_where_they_come() {
    let app = Router::new().route(
        "/",
        get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }),
    );
    let server = Server::serving(app, Audience::Operators, None);
    let mut client = server.connect("198.51.100.1");
    client.write_all(REQUEST).await.unwrap();
    let mut answer = vec![0; 1024];
    let length = client.read(&mut answer).await.unwrap();
    assert!(answer[..length].ends_with(b"198.51.100.1:40000"));
}

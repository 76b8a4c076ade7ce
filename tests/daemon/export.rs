//! Media export from packets on the network to events on a websocket: participants of the load generator, the daemon
//! as a process, and a recorder in this one.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use causeway_benches::load::cli;
use data_encoding::BASE64;
use serde_json::{Value, json};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio_tungstenite::tungstenite::{Message, accept};

mod media;

use self::media::Daemon;

/// Lets the daemon export to this host.
const LOOPBACK: &str = "videobridge.exporter.allowed-networks = [\"127.0.0.0/8\"]";

/// What came of one source.
#[derive(Default)]
struct Track {
    chunks: Vec<u64>,
    timestamps: Vec<u64>,
}

#[test]
fn a_recorder_gets_the_audio_of_the_call_until_the_conference_ends() {
    let daemon = Daemon::start("recorder", LOOPBACK, None);
    let rest = format!("http://127.0.0.1:{}", daemon.port);
    let call = std::thread::spawn(move || {
        let always = [
            "causeway-load",
            "run",
            "--quiet",
            "--channel",
            "none",
            "--rest",
        ];
        let call = ["--warmup", "2", "--seconds", "3"];
        let scenario = ["meetings", "--count", "1", "--size", "3"];
        cli::run(&[&always[..], &[&rest], &call, &scenario].concat())
    });
    let recorder = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/record", recorder.local_addr().unwrap());
    let connect = json!({ "id": "r", "url": url, "protocol": "mediajson", "type": "recorder", "audio": true, "create": true });
    let conference = daemon.conference(3, || call.is_finished());
    let meeting = conference["meeting_id"].as_str().unwrap();
    let path = format!("/colibri/v2/conferences/{meeting}");
    let asked = daemon.request("PATCH", &path, &json!({ "connects": [connect] }));
    assert_eq!(asked.0, 200, "{}", asked.1);

    let mut socket = accept(recorder.accept().unwrap().0).unwrap();
    let mut tracks: BTreeMap<String, Track> = BTreeMap::new();
    let mut sequence = 0;
    loop {
        let Message::Text(text) = socket.read().unwrap() else {
            continue;
        };
        let event: Value = serde_json::from_str(&text).unwrap();
        let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
        if let Some(this) = event.get("sequenceNumber") {
            sequence += 1;
            assert_eq!(number(this), sequence);
        }
        match event["event"].as_str().unwrap() {
            "start" => {
                let start = &event["start"];
                let tag = start["tag"].as_str().unwrap().to_owned();
                let owner = start["customParameters"]["endpointId"].as_str().unwrap();
                assert!(tag.starts_with(owner), "{tag} {owner}");
                assert!(
                    tracks.insert(tag, Track::default()).is_none(),
                    "started once"
                );
            }
            "media" => {
                let media = &event["media"];
                let tag = media["tag"].as_str().unwrap();
                let track = tracks.get_mut(tag).expect("started before");
                track.chunks.push(number(&media["chunk"]));
                track.timestamps.push(number(&media["timestamp"]));
                assert!(!media["payload"].as_str().unwrap().is_empty());
                assert!(media["audioLevel"].is_u64() && media["vad"].is_boolean());
            }
            "info" => {}
            "session-end" => break,
            other => panic!("unexpected {other}"),
        }
    }
    call.join().unwrap().expect("the call works");
    // One of them has its microphone on.
    assert_eq!(tracks.len(), 1);
    for (name, track) in &tracks {
        // Three seconds and more, each packet once, in order, on one time line.
        assert!(track.chunks.len() > 100, "{name}: {}", track.chunks.len());
        for numbers in [&track.chunks, &track.timestamps] {
            assert!(numbers.is_sorted_by(|before, now| before < now), "{name}");
        }
    }
    let (_, metrics) = daemon.request("GET", "/metrics", &Value::Null);
    let sent: usize = tracks.values().map(|track| track.chunks.len()).sum();
    let counted = format!("jitsi_jvb_exporter_packets_sent_total {sent}");
    assert!(metrics.contains(&counted), "{counted}");
}

/// A recorder with TLS: what it listens on, and its certificate for `localhost`, which is its own authority.
struct Secure {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    certificate: Vec<u8>,
}

impl Secure {
    fn new() -> Secure {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().to_vec();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(certificate.clone())], key.into());
        Secure {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            config: Arc::new(config.unwrap()),
            certificate,
        }
    }

    fn url(&self, host: &str) -> String {
        let port = self.listener.local_addr().unwrap().port();
        format!("wss://{host}:{port}/record?session=7")
    }

    /// Shakes hands with whoever comes next.
    fn accept(&self) -> std::io::Result<StreamOwned<ServerConnection, TcpStream>> {
        let (mut stream, _) = self.listener.accept()?;
        let mut connection = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }
}

#[test]
fn wss_exports_go_to_peers_with_a_certificate_for_their_name_that_the_system_trusts() {
    let [trusted, other] = [Secure::new(), Secure::new()];
    let by_address = Secure {
        listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        config: Arc::clone(&trusted.config),
        certificate: trusted.certificate.clone(),
    };
    let name = format!("causeway-export-{}-authority.pem", std::process::id());
    let authority = std::env::temp_dir().join(name);
    let text = BASE64.encode(&trusted.certificate);
    let text = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    std::fs::write(&authority, text).unwrap();
    let daemon = Daemon::start("wss", LOOPBACK, Some(&authority));

    let connect = |id: &str, url: String| {
        json!({
            "id": id, "url": url, "protocol": "mediajson", "type": "recorder", "audio": true, "create": true,
            "headers": { "Authorization": "Bearer x" },
        })
    };
    let create = json!({
        "meeting-id": "m1",
        "create": true,
        "endpoints": [{ "id": "a", "create": true, "capabilities": ["source-names"], "transport": {} }],
        "connects": [
            connect("trusted", trusted.url("localhost")),
            connect("other", other.url("localhost")),
            connect("by-address", by_address.url("127.0.0.1")),
        ],
    });
    let created = daemon.request("POST", "/colibri/v2/conferences", &create);
    assert_eq!(created.0, 200, "{}", created.1);

    // Nothing but the handshake reaches the others.
    for refused in [&other, &by_address] {
        let error = refused.accept().map(drop).unwrap_err().to_string();
        assert!(error.contains("alert"), "{error}");
    }
    let mut socket = accept(trusted.accept().unwrap()).unwrap();
    let mut event = || loop {
        match socket.read().unwrap() {
            Message::Text(text) => return serde_json::from_str::<Value>(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            end => panic!("{end:?}"),
        }
    };
    let info = event();
    assert_eq!(
        (&info["event"], &info["meetingId"]),
        (&json!("info"), &json!("m1"))
    );
    let path = "/colibri/v2/conferences/m1";
    let expired = daemon.request("PATCH", path, &json!({ "expire": true }));
    assert_eq!(expired.0, 200, "{}", expired.1);
    assert_eq!(event(), json!({ "event": "session-end" }));
    std::fs::remove_file(&authority).unwrap();
}

//! Media export from packets on the network to events on a websocket: participants of the load generator, the daemon
//! as a process, and a recorder in this one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};

use causeway_benches::load::cli;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, accept};

/// A running daemon that may export to this host.
struct Daemon {
    process: Child,
    port: u16,
    config: std::path::PathBuf,
}

impl Daemon {
    fn start() -> Daemon {
        // Media goes over an address that is not loopback. A socket that is connected tells it; nothing is sent.
        let address = UdpSocket::bind("0.0.0.0:0").unwrap();
        address.connect("192.0.2.1:9").unwrap();
        let address = address.local_addr().unwrap().ip();
        // Free a moment ago; nobody else asks for them by number.
        let udp = UdpSocket::bind((address, 0)).unwrap().local_addr().unwrap();
        let http = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let (udp, port) = (udp.port(), http.port());
        let name = format!("causeway-export-{}.conf", std::process::id());
        let config = std::env::temp_dir().join(name);
        let text = format!(
            "videobridge {{
               apis.rest.enabled = true
               http-servers.private {{ host = 127.0.0.1, port = {port} }}
               ice.udp.port = {udp}
               exporter.allowed-networks = [\"127.0.0.0/8\"]
             }}
             ice4j.harvest {{
               allowed-addresses = [\"{address}\"]
               mapping.aws.enabled = false
               udp.receive-buffer-size = 65536
             }}"
        );
        std::fs::write(&config, text).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_causeway"))
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.contains("bridge ready")));
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        assert!(ready, "the daemon ended before it was ready");
        Daemon {
            process,
            port,
            config,
        }
    }

    /// Status and body of an answer.
    fn request(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let body = body.to_string();
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// The meeting id of the conference that somebody else creates, once so many participants are in it: one without
    /// participants would end with the request.
    fn meeting(&self, participants: usize, is_over: impl Fn() -> bool) -> String {
        loop {
            assert!(!is_over(), "the call ended before it began");
            let (_, debug) = self.request("GET", "/debug", &Value::Null);
            let debug: Value = serde_json::from_str(&debug).unwrap();
            let conferences = debug["conferences"].as_object().unwrap();
            if let Some(conference) = conferences.values().next()
                && conference["endpoints"].as_object().unwrap().len() == participants
            {
                return conference["meeting_id"].as_str().unwrap().to_owned();
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}

/// What came of one source.
#[derive(Default)]
struct Track {
    chunks: Vec<u64>,
    timestamps: Vec<u64>,
}

#[test]
fn a_recorder_gets_the_audio_of_the_call_until_the_conference_ends() {
    let daemon = Daemon::start();
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
    let meeting = daemon.meeting(3, || call.is_finished());
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

//! Exports against a small receiver in this process.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use causeway_bridge::Bridge;
use causeway_bridge::config::BridgeConfig;
use causeway_bridge::control::ControlAccess;
use causeway_bridge::control::api::{ConferenceOptions, EndpointOptions};
use causeway_bridge::export::{
    Connect, ConnectAction, ExportCommand, ExportKind, ExportSettings, Exported, Pings,
    SessionOptions, Tap,
};
use causeway_bridge::ids::ConferenceKey;
use causeway_bridge::media::Codec;
use causeway_bridge::worker::packet::MediaPacket;
use futures_util::{SinkExt, StreamExt};
use ogg::reading::PacketReader;
use ogg::writing::{PacketWriteEndInfo, PacketWriter};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::*;
use crate::host::DaemonHost;
use crate::websocket::WebSockets;

/// 20 ms of silence in stereo, a whole Opus packet (RFC 6716 §3.1: CELT, fullband, one frame).
const SILENCE: [u8; 3] = [0xFC, 0xFF, 0xFE];
/// Samples of it at 48 kHz.
const FRAME: u64 = 960;

/// A bridge with one conference, whose exports run.
struct Scene {
    bridge: Bridge,
    conference: ConferenceKey,
    /// The taps of exports as they are begun.
    taps: mpsc::UnboundedReceiver<Arc<Tap>>,
    totals: Arc<Totals>,
    end: Option<oneshot::Sender<()>>,
    exports: JoinHandle<()>,
}

impl Scene {
    fn new(allowed: &[&str]) -> Scene {
        let (sender, mut commands) = mpsc::unbounded_channel();
        let (host, _notices) = DaemonHost::new(WebSockets::new(), sender);
        let mut config = BridgeConfig::default();
        config.net.bind = vec![([127, 0, 0, 1], 0).into()];
        config.net.workers = Some(1);
        config.net.receive_buffer = 1 << 16;
        let bridge = Bridge::start(config, host).unwrap();
        let totals = Arc::new(Totals::default());
        let environment = Environment {
            access: bridge.clone(),
            options: ExportOptions {
                session: SessionOptions {
                    base_delay: Duration::from_millis(10),
                    ..SessionOptions::default()
                },
                allowed_networks: allowed.iter().map(|it| it.parse().unwrap()).collect(),
            },
            version: "1.2".into(),
            totals: Arc::clone(&totals),
        };
        let (tap_sender, taps) = mpsc::unbounded_channel();
        let (forward, forwarded) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(command) = commands.recv().await {
                if let ExportCommand::Open(setup) = &command {
                    tap_sender.send(Arc::clone(&setup.tap)).unwrap();
                }
                if forward.send(command).is_err() {
                    return;
                }
            }
        });
        let (end, ends) = oneshot::channel();
        let exports = tokio::spawn(run(Arc::new(environment), forwarded, ends));
        let conference = bridge.with_control(|control, now| {
            let options = ConferenceOptions {
                meeting_id: "m1".into(),
                name: None,
            };
            let conference = control.create_conference(now, options).unwrap();
            let options = EndpointOptions {
                id: "ep1".into(),
                stats_id: None,
                ice_controlling: true,
                ssrc_rewriting: false,
                mid_demux: false,
                visitor: false,
                private_addresses: false,
                sctp: false,
                diarize: false,
            };
            control.create_endpoint(now, conference, options).unwrap();
            conference
        });
        Scene {
            bridge,
            conference,
            taps,
            totals,
            end: Some(end),
            exports,
        }
    }

    fn apply(&self, connect: Connect) {
        self.bridge.with_control(|control, _| {
            control
                .apply_connects(self.conference, vec![connect])
                .unwrap();
        });
    }

    async fn finish(mut self) {
        let _ = self.end.take().unwrap().send(());
        self.exports.await.unwrap();
        self.bridge.stop();
    }
}

fn connect(url: String) -> Connect {
    Connect {
        action: ConnectAction::Create,
        video: false,
        settings: ExportSettings {
            id: "recorder".into(),
            url,
            kind: ExportKind::Recorder,
            audio: true,
            headers: vec![("Authorization".into(), "Bearer x".into())],
            pings: None,
            exports: Vec::new(),
            requests: Vec::new(),
        },
    }
}

/// A peer that waits for the bridge.
struct Receiver(TcpListener);

impl Receiver {
    async fn new() -> Receiver {
        Receiver(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn url(&self) -> String {
        let port = self.0.local_addr().unwrap().port();
        format!("ws://127.0.0.1:{port}/record/m1?session=7")
    }

    /// The next websocket, opened as it should.
    async fn accept(&self) -> WebSocketStream<TcpStream> {
        let (stream, _) = self.0.accept().await.unwrap();
        #[allow(clippy::result_large_err)]
        let check = |request: &Request, response: Response| {
            assert_eq!(request.uri(), "/record/m1?session=7");
            assert_eq!(request.headers()["authorization"], "Bearer x");
            Ok(response)
        };
        let mut socket = accept_hdr_async(stream, check).await.unwrap();
        let info = event(&mut socket).await.unwrap();
        assert_eq!(
            info,
            json!({ "event": "info", "application": "causeway", "version": "1.2", "meetingId": "m1" })
        );
        socket
    }
}

/// The next event; `None` when the bridge closed in order.
async fn event(socket: &mut WebSocketStream<TcpStream>) -> Option<Value> {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
            Message::Close(frame) => {
                assert_eq!(u16::from(frame.unwrap().code), 1000);
                // The answer leaves.
                assert!(socket.next().await.is_none());
                return None;
            }
            _ => {}
        }
    }
}

/// Packet `index` of a source of silence.
fn packet(source: &str, index: u64) -> Exported {
    let mut packet = MediaPacket::empty();
    packet.codec = Codec::Opus;
    packet.original = index;
    packet.header.ssrc = 7;
    // It wraps after ten packets.
    packet.header.timestamp = (index * FRAME).wrapping_sub(10 * FRAME) as u32;
    packet.header.payload_start = 12;
    packet.data[12..15].copy_from_slice(&SILENCE);
    packet.payload_end = 15;
    Exported {
        source: source.into(),
        owner: "ep1".into(),
        diarize: false,
        packet: Arc::new(packet),
    }
}

/// A recording of one source: an Ogg file with Opus (RFC 7845).
struct Recording {
    writer: PacketWriter<'static, Cursor<Vec<u8>>>,
    first: Option<u64>,
    waiting: Option<(Vec<u8>, u64)>,
}

impl Recording {
    const SERIAL: u32 = 1;

    fn new() -> Recording {
        let mut writer = PacketWriter::new(Cursor::new(Vec::new()));
        let mut head = b"OpusHead\x01\x02".to_vec();
        head.extend_from_slice(&0u16.to_le_bytes());
        head.extend_from_slice(&48_000u32.to_le_bytes());
        head.extend_from_slice(&[0, 0, 0]);
        let mut tags = b"OpusTags".to_vec();
        tags.extend_from_slice(&8u32.to_le_bytes());
        tags.extend_from_slice(b"causeway");
        tags.extend_from_slice(&0u32.to_le_bytes());
        for header in [head, tags] {
            let end = PacketWriteEndInfo::EndPage;
            writer
                .write_packet(header, Recording::SERIAL, end, 0)
                .unwrap();
        }
        Recording {
            writer,
            first: None,
            waiting: None,
        }
    }

    fn write(&mut self, end: PacketWriteEndInfo) {
        if let Some((payload, granule)) = self.waiting.take() {
            self.writer
                .write_packet(payload, Recording::SERIAL, end, granule)
                .unwrap();
        }
    }

    /// Adds a `media` event; where packets are missing there is silence.
    fn add(&mut self, media: &Value) {
        let text = |key: &str| media[key].as_str().unwrap();
        let payload = data_encoding::BASE64
            .decode(text("payload").as_bytes())
            .unwrap();
        let timestamp: u64 = text("timestamp").parse().unwrap();
        let start = timestamp - *self.first.get_or_insert(timestamp);
        let written = self.waiting.as_ref().map_or(0, |(_, granule)| *granule);
        for missing in (written..start).step_by(FRAME as usize) {
            self.write(PacketWriteEndInfo::NormalPacket);
            self.waiting = Some((SILENCE.to_vec(), missing + FRAME));
        }
        self.write(PacketWriteEndInfo::NormalPacket);
        self.waiting = Some((payload, start + FRAME));
    }

    fn finish(mut self) -> Vec<u8> {
        self.write(PacketWriteEndInfo::EndStream);
        self.writer.into_inner().into_inner()
    }
}

#[tokio::test]
async fn what_a_recorder_gets_becomes_a_file_that_plays() {
    let mut scene = Scene::new(&["127.0.0.0/8"]);
    let receiver = Receiver::new().await;
    scene.apply(connect(receiver.url()));
    let mut socket = receiver.accept().await;
    let tap = scene.taps.recv().await.unwrap();
    // Half a second, with a gap.
    for index in (0..25).filter(|index| *index != 7) {
        tap.push(packet("ep1-a0", index));
    }
    let start = event(&mut socket).await.unwrap();
    assert_eq!(start["event"], "start");
    assert_eq!(start["start"]["tag"], "ep1-a0");
    let format = json!({ "encoding": "opus", "sampleRate": 48000, "channels": 2 });
    assert_eq!(start["start"]["mediaFormat"], format);
    let mut recording = Recording::new();
    for _ in 0..24 {
        let media = event(&mut socket).await.unwrap();
        recording.add(&media["media"]);
    }
    // The conference ends, the recorder is told and the websocket closed.
    scene
        .bridge
        .with_control(|control, now| control.expire_conference(now, scene.conference));
    assert_eq!(
        event(&mut socket).await,
        Some(json!({ "event": "session-end" }))
    );
    assert_eq!(event(&mut socket).await, None);

    let file = recording.finish();
    if let Ok(path) = std::env::var("CAUSEWAY_KEEP_RECORDING") {
        std::fs::write(path, &file).unwrap();
    }
    let mut reader = PacketReader::new(Cursor::new(file));
    let head = reader.read_packet_expected().unwrap();
    assert!(head.first_in_stream() && head.data.starts_with(b"OpusHead"));
    assert!(
        reader
            .read_packet_expected()
            .unwrap()
            .data
            .starts_with(b"OpusTags")
    );
    let mut packets = 0;
    while let Some(packet) = reader.read_packet().unwrap() {
        assert_eq!(packet.data, SILENCE);
        packets += 1;
        if packet.last_in_page() {
            assert_eq!(packet.absgp_page(), packets * FRAME);
        }
        assert_eq!(packet.last_in_stream(), packets == 25);
    }
    assert_eq!(packets, 25);
    let facts = scene.totals.facts().unwrap();
    assert_eq!((facts.starts, facts.packets_sent), (1, 24));
    scene.finish().await;
}

#[tokio::test]
async fn a_lost_connection_is_made_anew_and_a_silent_peer_left() {
    let scene = Scene::new(&["127.0.0.0/8"]);
    let receiver = Receiver::new().await;
    let mut wanted = connect(receiver.url());
    wanted.settings.pings = Some(Pings {
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(100),
    });
    scene.apply(wanted);
    // Gone without a word, and again.
    drop(receiver.accept().await);
    drop(receiver.accept().await);
    // The next is silent: it gets a ping, and is left.
    let mut silent = receiver.accept().await;
    assert_eq!(
        event(&mut silent).await,
        Some(json!({ "event": "ping", "id": 1 }))
    );
    receiver.accept().await;
    let facts = scene.totals.facts().unwrap();
    assert_eq!(facts.starts, 1);
    assert!(facts.failures >= 3, "{facts:?}");
    scene.finish().await;
}

#[tokio::test]
async fn lists_of_sources_change_while_connected() {
    let mut scene = Scene::new(&["127.0.0.0/8"]);
    let receiver = Receiver::new().await;
    scene.apply(connect(receiver.url()));
    let mut socket = receiver.accept().await;
    let tap = scene.taps.recv().await.unwrap();
    let mut update = connect(receiver.url());
    update.action = ConnectAction::Update;
    update.settings.exports = vec!["ep2-a0".into()];
    update.settings.requests = vec!["ep2-a0.fr".into()];
    scene.apply(update);
    let sources = json!({ "event": "sources", "exports": ["ep2-a0"], "requests": ["ep2-a0.fr"] });
    assert_eq!(event(&mut socket).await, Some(sources));
    tap.push(packet("ep1-a0", 0));
    tap.push(packet("ep2-a0", 0));
    assert_eq!(event(&mut socket).await.unwrap()["start"]["tag"], "ep2-a0");
    scene.finish().await;
    assert_eq!(event(&mut socket).await.unwrap()["event"], "media");
    let end = event(&mut socket).await.unwrap();
    assert_eq!(end["event"], "session-end", "when the bridge ends");
}

#[tokio::test]
async fn what_the_peer_says_reaches_the_conference() {
    let scene = Scene::new(&["127.0.0.0/8"]);
    let receiver = Receiver::new().await;
    scene.apply(connect(receiver.url()));
    let mut socket = receiver.accept().await;
    let said = [
        json!({ "event": "transcription-result", "transcript": [{ "text": "Hello" }] }).to_string(),
        json!({ "event": "info", "application": "recorder" }).to_string(),
        "nonsense".to_owned(),
    ];
    for text in said {
        socket.send(Message::text(text)).await.unwrap();
    }
    // Whatever comes before the end of an export is handled: the close is the answer to the last of it.
    socket.close(None).await.unwrap();
    let _again = receiver.accept().await;
    let facts = scene.totals.facts().unwrap();
    assert_eq!((facts.transcripts, facts.infos, facts.malformed), (1, 1, 1));
    // One endpoint was there to be told, and it had no channel.
    let counters = scene.bridge.with_control(|control, _| control.counters());
    assert_eq!(counters.messages_without_channel, 1);
    scene.finish().await;
}

#[tokio::test]
async fn t62_loopback_is_not_connected_to_unless_allowed() {
    let scene = Scene::new(&[]);
    let receiver = Receiver::new().await;
    let port = receiver.0.local_addr().unwrap().port();
    for host in [
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "localhost",
        "169.254.169.254",
    ] {
        let settings = connect(format!("ws://{host}:{port}/")).settings;
        let error = target::open(&settings, &[]).await.err().unwrap();
        assert!(error.contains("is not public"), "{host}: {error}");
        assert!(!error.contains("Bearer"), "{error}");
    }
    scene.finish().await;
}

#[tokio::test]
async fn t62_redirects_are_not_followed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let [first, second] = [Receiver::new().await, Receiver::new().await];
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        second.url()
    );
    let url = first.url();
    tokio::spawn(async move {
        let (mut stream, _) = first.0.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let allowed = ["127.0.0.0/8".parse().unwrap()];
    let error = target::open(&connect(url).settings, &allowed).await.err();
    let error = error.unwrap();
    assert!(error.contains("302"), "{error}");
}

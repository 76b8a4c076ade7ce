//! Colibri2 over REST, as a focus speaks it (colibri2 spec §2).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use causeway_bridge::transport::ice::Credentials;
use causeway_bridge::transport::secure::Fingerprint;
use serde_json::{Value, json};

use super::channel::Channel;
use super::client::Remote;
use super::codec::FORMATS;
use super::formats::{
    self, ABS_SEND_TIME, AUDIO_LEVEL, DEPENDENCY, Kind, OPUS, Picture, TRANSPORT_CC,
};

const TIMEOUT: Duration = Duration::from_secs(20);
const MAX_ANSWER: u64 = 1 << 20;
const ICE_NAMESPACE: &str = "urn:xmpp:jingle:transports:ice-udp:1";
const TRANSPORT_CC_URI: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const ABS_SEND_TIME_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";

const DEPENDENCY_URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// The control API of a bridge.
#[derive(Clone)]
pub struct Focus {
    agent: ureq::Agent,
    conferences: String,
    root: String,
}

/// What the bridge answers about a new endpoint.
#[derive(Debug)]
pub struct Created {
    pub remote: Remote,
    pub web_socket: Option<String>,
}

/// A request failed; with what the bridge said.
#[derive(Debug)]
pub struct RestError(pub String);

impl std::fmt::Display for RestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Focus {
    /// `root` is such as `http://127.0.0.1:8080`.
    pub fn new(root: &str) -> Focus {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .build();
        let root = root.trim_end_matches('/');
        Focus {
            agent: config.into(),
            conferences: format!("{root}/colibri/v2/conferences"),
            root: root.to_owned(),
        }
    }

    /// What the bridge says that it is; `None` if it does not answer.
    pub fn version(&self) -> Option<String> {
        let url = format!("{}/about/version", self.root);
        let mut answer = self.agent.get(url).call().ok()?;
        if !answer.status().is_success() {
            return None;
        }
        let body = answer.body_mut().with_config().limit(MAX_ANSWER);
        let version: Value = serde_json::from_str(&body.read_to_string().ok()?).ok()?;
        let text = |key: &str| version.get(key).and_then(Value::as_str).unwrap_or("?");
        Some(format!("{} {}", text("name"), text("version")))
    }

    fn request(&self, create: bool, path: &str, body: &Value) -> Result<Value, RestError> {
        let url = format!("{}{path}", self.conferences);
        let request = match create {
            true => self.agent.post(&url),
            false => self.agent.patch(&url),
        };
        let error = |what: &dyn std::fmt::Display| RestError(format!("{url}: {what}"));
        let mut answer = request
            .header("Content-Type", "application/json")
            .send(body.to_string())
            .map_err(|e| error(&e))?;
        let status = answer.status();
        let text = answer
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_string();
        let text = text.map_err(|e| error(&e))?;
        if !status.is_success() {
            return Err(error(&format!("{status} {text}")));
        }
        serde_json::from_str(&text).map_err(|e| error(&e))
    }

    pub fn create_conference(&self, meeting: &str) -> Result<(), RestError> {
        let body = json!({
            "meeting-id": meeting,
            "name": format!("{meeting}@conference.load.example"),
            "create": true,
        });
        self.request(true, "", &body).map(|_| ()).map_err(|error| {
            // Other routes are there without this one (colibri2 spec §2.1).
            let RestError(text) = error;
            RestError(format!(
                "{text} (is its control API enabled, videobridge.apis.rest.enabled?)"
            ))
        })
    }

    pub fn expire_conference(&self, meeting: &str) -> Result<(), RestError> {
        self.request(false, &format!("/{meeting}"), &json!({"expire": true}))
            .map(|_| ())
    }

    fn endpoint(&self, meeting: &str, changes: Value) -> Result<Value, RestError> {
        let body = json!({"endpoints": [changes]});
        self.request(false, &format!("/{meeting}"), &body)
    }

    /// Creates an endpoint with such a bridge channel; its own transport is not known yet.
    pub fn create_endpoint(
        &self,
        meeting: &str,
        id: &str,
        rewriting: bool,
        channel: Channel,
    ) -> Result<Created, RestError> {
        let mut capabilities = vec!["source-names"];
        if rewriting {
            capabilities.push("ssrc-rewriting");
        }
        let mut transport = json!({"ice-controlling": true});
        let sctp = channel == Channel::Sctp;
        if sctp {
            transport["sctp"] = json!({});
        }
        let without = "it has no data channels: set videobridge.sctp.enabled, or take --channel websocket or none";
        let answer = self.endpoint(
            meeting,
            json!({
                "id": id,
                "create": true,
                "capabilities": capabilities,
                "medias": medias(),
                "transport": transport,
            }),
        );
        let answer = answer.map_err(|RestError(text)| match sctp {
            // A Jitsi Videobridge without SCTP says no more than "400 Bad Request".
            true => RestError(format!("{text} (perhaps {without})")),
            false => RestError(text),
        })?;
        let created = read_created(&answer)
            .ok_or_else(|| RestError(format!("it answers without a transport: {answer}")))?;
        let missing = if created.remote.candidates.is_empty() {
            "it told no address for media: a bridge takes none of loopback; see ice4j.harvest in its configuration, and its log"
        } else if channel == Channel::Websocket && created.web_socket.is_none() {
            "it has no websockets for bridge channels: set videobridge.websockets.enabled and domain, and \
             videobridge.http-servers.public.port, or take --channel sctp or none"
        } else if sctp && answer.pointer("/endpoints/0/transport/sctp").is_none() {
            without
        } else {
            return Ok(created);
        };
        Err(RestError(missing.to_owned()))
    }

    /// Lets an endpoint go.
    pub fn expire_endpoint(&self, meeting: &str, id: &str) -> Result<(), RestError> {
        self.endpoint(meeting, json!({"id": id, "expire": true}))
            .map(|_| ())
    }

    /// Tells the bridge about the client's side.
    pub fn connect_endpoint(
        &self,
        meeting: &str,
        id: &str,
        credentials: &Credentials,
        fingerprint: &Fingerprint,
        sources: Value,
    ) -> Result<(), RestError> {
        let body = json!({
            "id": id,
            "transport": {"transport": {
                "xmlns": ICE_NAMESPACE,
                "ufrag": &*credentials.ufrag,
                "pwd": &*credentials.password,
                "rtcp-mux": true,
                "fingerprints": [{
                    "fingerprint": fingerprint.to_string(),
                    "hash": "sha-256",
                    "setup": "active",
                }],
            }},
            "sources": sources,
        });
        self.endpoint(meeting, body).map(|_| ())
    }
}

fn read_created(answer: &Value) -> Option<Created> {
    let transport = answer.pointer("/endpoints/0/transport/transport")?;
    let text = |name: &str| Some(transport.get(name)?.as_str()?.to_owned());
    let candidates = transport.get("candidates")?.as_array()?.iter();
    let candidates = candidates.filter_map(|candidate| {
        let part = |name: &str| {
            let value = candidate.get(name)?;
            value
                .as_str()
                .map(str::to_owned)
                .or_else(|| Some(value.to_string()))
        };
        let ip: IpAddr = part("ip")?.parse().ok()?;
        Some(SocketAddr::new(ip, part("port")?.parse().ok()?))
    });
    let fingerprints = transport.get("fingerprints")?.as_array()?.iter();
    let fingerprints = fingerprints.filter_map(|print| {
        let digest = print.get("fingerprint")?.as_str()?;
        Fingerprint::parse(digest, print.get("hash")?.as_str()?).ok()
    });
    Some(Created {
        remote: Remote {
            credentials: Credentials {
                ufrag: text("ufrag")?.into(),
                password: text("pwd")?.into(),
            },
            candidates: candidates.collect(),
            fingerprints: fingerprints.collect(),
        },
        web_socket: transport
            .pointer("/web-sockets/0")
            .and_then(Value::as_str)
            .map(str::to_owned),
    })
}

fn medias() -> Value {
    let feedback = json!([
        {"type": "ccm", "subtype": "fir"}, {"type": "nack"},
        {"type": "nack", "subtype": "pli"}, {"type": "transport-cc"},
    ]);
    let formats = FORMATS.iter().flat_map(|format| {
        let parameters: BTreeMap<_, _> = format.parameters.iter().copied().collect();
        let media = json!({
            "name": format.name, "id": format.payload_type, "clockrate": 90_000,
            "parameters": parameters, "rtcp-fbs": feedback,
        });
        let parameters = json!({"apt": format.payload_type.to_string()});
        let rtx = json!({
            "name": "rtx", "id": format.rtx, "clockrate": 90_000, "parameters": parameters,
        });
        [media, rtx]
    });
    let formats: Vec<_> = formats.collect();
    json!([
        {
            "type": "audio", "extmap-allow-mixed": true,
            "payload-types": [{
                "name": "opus", "id": OPUS, "clockrate": 48_000, "channels": 2,
                "parameters": {"minptime": "10", "useinbandfec": "1"},
                "rtcp-fbs": [{"type": "transport-cc"}],
            }],
            "rtp-hdrexts": [
                {"uri": "urn:ietf:params:rtp-hdrext:ssrc-audio-level", "id": AUDIO_LEVEL},
                {"uri": TRANSPORT_CC_URI, "id": TRANSPORT_CC},
            ],
        },
        {
            "type": "video", "extmap-allow-mixed": true,
            "payload-types": formats,
            "rtp-hdrexts": [
                {"uri": ABS_SEND_TIME_URI, "id": ABS_SEND_TIME},
                {"uri": TRANSPORT_CC_URI, "id": TRANSPORT_CC},
                {"uri": DEPENDENCY_URI, "id": DEPENDENCY},
            ],
        },
    ])
}

/// What signaling says of a client's microphone.
pub fn describe_audio(identity: u32, endpoint: &str) -> Value {
    let name = formats::source_name(endpoint, Kind::Audio);
    let ssrc = formats::ssrc(identity, Kind::Audio, 0);
    json!({"type": "audio", "id": name, "sources": [{"ssrc": ssrc, "name": name}]})
}

/// What signaling says of a camera or screen.
pub fn describe_video(identity: u32, endpoint: &str, kind: Kind, picture: &Picture) -> Value {
    let name = formats::source_name(endpoint, kind);
    let video_type = match kind {
        Kind::Screen => "desktop",
        _ => "camera",
    };
    let ssrcs: Vec<u32> = (0..picture.encodings() as u32)
        .map(|encoding| formats::ssrc(identity, kind, encoding))
        .collect();
    let source = |ssrc: u32| json!({"ssrc": ssrc, "name": name, "videoType": video_type});
    let sources: Vec<_> = ssrcs
        .iter()
        .flat_map(|ssrc| [source(*ssrc), source(formats::rtx(*ssrc))])
        .collect();
    let pair = |ssrc: &u32| json!({"semantics": "FID", "sources": [ssrc, formats::rtx(*ssrc)]});
    let mut groups: Vec<_> = ssrcs.iter().map(pair).collect();
    if ssrcs.len() > 1 {
        groups.push(json!({"semantics": "SIM", "sources": ssrcs}));
    }
    json!({"type": "video", "id": name, "sources": sources, "ssrc-groups": groups})
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::load::codec::Codec;

    #[test]
    fn the_answer_of_a_bridge_is_read() {
        let answer = json!({"endpoints": [{"id": "a", "transport": {"transport": {
            "xmlns": ICE_NAMESPACE, "ufrag": "abcd", "pwd": "secret", "rtcp-mux": true,
            "candidates": [
                {"ip": "192.0.2.2", "port": "10000", "type": "host"},
                {"ip": "host.example", "port": "10000", "type": "host"},
                {"ip": "2001:db8::1", "port": 10_000, "type": "host"},
            ],
            "fingerprints": [{"fingerprint": vec!["AB"; 32].join(":"), "hash": "sha-256", "setup": "actpass"}],
            "web-sockets": ["ws://127.0.0.1:9090/colibri-ws/s/1/a?pwd=x"],
        }}}]});
        let created = read_created(&answer).expect("complete");
        assert_eq!(created.remote.candidates.len(), 2);
        assert_eq!(created.remote.fingerprints.len(), 1);
        assert!(
            created
                .web_socket
                .is_some_and(|url| url.starts_with("ws://"))
        );
        assert!(read_created(&json!({"endpoints": []})).is_none());
    }

    /// A bridge that answers one request after the other with these statuses and texts.
    fn bridge(answers: Vec<(u16, String)>) -> Focus {
        let socket = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = socket.local_addr().expect("bound");
        std::thread::spawn(move || {
            for (status, text) in answers {
                let (mut stream, _) = socket.accept().expect("a request");
                let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
                let (mut length, mut line) = (0, String::new());
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a length");
                    }
                    line.clear();
                }
                reader.read_exact(&mut vec![0; length]).expect("a body");
                let size = text.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
                );
                let answer = head + &text;
                stream.write_all(answer.as_bytes()).expect("a reader");
            }
        });
        Focus::new(&format!("http://{address}"))
    }

    /// What a Jitsi Videobridge answers to an endpoint that is created: always with its media addresses, and what is enabled.
    fn endpoint(addresses: &[&str], websockets: bool, sctp: bool) -> (u16, String) {
        let candidates: Vec<_> = addresses
            .iter()
            .map(|ip| json!({"component": "1", "ip": ip, "port": "10000", "protocol": "udp", "type": "host"}))
            .collect();
        let mut transport = json!({
            "xmlns": ICE_NAMESPACE, "ufrag": "abcd", "pwd": "secret", "rtcp-mux": true, "candidates": candidates,
            "fingerprints": [{"fingerprint": vec!["AB"; 32].join(":"), "hash": "sha-256", "setup": "actpass"}],
        });
        if websockets {
            transport["web-sockets"] = json!(["ws://127.0.0.1:9090/colibri-ws/jvb1/1/a?pwd=x"]);
        }
        let mut outer = json!({"transport": transport});
        if sctp {
            outer["sctp"] = json!({"port": 5000, "role": "server"});
        }
        let answer = json!({"endpoints": [{"id": "a", "transport": outer}]});
        (200, answer.to_string())
    }

    #[test]
    fn what_a_bridge_lacks_is_told_with_what_to_do() {
        use Channel::{None, Sctp, Websocket};
        let here = ["192.0.2.2"];
        let cases = [
            (Websocket, endpoint(&here, true, false), ""),
            (
                Websocket,
                endpoint(&here, false, true),
                "videobridge.websockets.enabled",
            ),
            (Websocket, endpoint(&[], true, true), "ice4j.harvest"),
            (Sctp, endpoint(&here, false, true), ""),
            (
                Sctp,
                endpoint(&here, true, false),
                "videobridge.sctp.enabled",
            ),
            // Without SCTP in its configuration, a Jitsi Videobridge refuses, and says nothing.
            (Sctp, (400, String::new()), "videobridge.sctp.enabled"),
            (None, endpoint(&here, false, false), ""),
            (None, (400, String::new()), "400 Bad Request"),
            (None, (200, "{}".to_owned()), "without a transport"),
        ];
        for (channel, answer, told) in cases {
            let what = format!("{channel:?} {answer:?}");
            let created = bridge(vec![answer]).create_endpoint("m", "a", true, channel);
            match created {
                Ok(_) => assert_eq!(told, "", "{what}"),
                Err(error) => assert!(
                    !told.is_empty() && error.0.contains(told),
                    "{what}: {error}"
                ),
            }
        }
    }

    #[test]
    fn a_bridge_without_control_api_or_without_name_is_told_apart() {
        let version = r#"{"name":"JVB","version":"2.3.SNAPSHOT","os":"Linux"}"#;
        let focus = bridge(vec![(200, version.to_owned()), (404, String::new())]);
        assert_eq!(focus.version().as_deref(), Some("JVB 2.3.SNAPSHOT"));
        let refused = focus.create_conference("m").expect_err("it is off");
        assert!(
            refused.0.contains("videobridge.apis.rest.enabled"),
            "{refused}"
        );
        assert_eq!(bridge(vec![(404, String::new())]).version(), None);
    }

    #[test]
    fn a_camera_has_its_encodings_in_order_and_a_pair_for_each() {
        let camera = describe_video(3, "abc", Kind::Camera, &Picture::camera(Codec::Vp8));
        let groups = camera["ssrc-groups"].as_array().expect("groups");
        let first = formats::ssrc(3, Kind::Camera, 0);
        assert_eq!(groups[0]["sources"], json!([first, first + 8]));
        assert_eq!(
            groups[3],
            json!({"semantics": "SIM", "sources": [first, first + 1, first + 2]})
        );
        assert_eq!(camera["sources"].as_array().map(Vec::len), Some(6));
    }
}

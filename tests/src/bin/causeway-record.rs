//! Records what Chromium sends in each codec, for the tests of the packet path in `bridge/testdata/streams`.
//!
//! `scripts/record-streams` builds what it needs and runs it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use causeway_tests::participant::{Participant, SOON};
use causeway_tests::streams::{Wanted, reduce};
use causeway_tests::{Call, eventually};
use serde_json::Value;

/// Bytes of a recording at most.
const MAX_LEN: usize = 190_000;
/// The one who watches changes between a small and a large picture so often, which asks for keyframes.
const CHANGES: usize = 3;
/// And keeps each for so long.
const HOLD: Duration = Duration::from_millis(1_500);

/// All of them.
const RECORDINGS: [Recording; 11] = [
    // With a dependency descriptor Chromium leaves the picture ids of VP8 out.
    video(
        "vp8-simulcast",
        "codec=vp8&mode=L1T3&without=dependency-descriptor",
        &[(100, "VP8")],
        3,
    ),
    video(
        "vp8-simulcast-dd",
        "codec=vp8&mode=L1T3",
        &[(100, "VP8")],
        3,
    ),
    video("vp9-svc", "codec=vp9&mode=L3T3_KEY", &[(101, "VP9")], 1),
    video("vp9-simulcast", "codec=vp9&mode=L1T3", &[(101, "VP9")], 3),
    video("av1-svc", "codec=av1&mode=L3T3", &[(41, "AV1")], 1),
    video("av1-svc-key", "codec=av1&mode=L3T3_KEY", &[(41, "AV1")], 1),
    video("av1-simulcast", "codec=av1&mode=L1T3", &[(41, "AV1")], 3),
    video(
        "h264-simulcast",
        "codec=h264&mode=L1T1&without=dependency-descriptor",
        &[(107, "H264")],
        3,
    ),
    video(
        "h264-simulcast-dd",
        "codec=h264&mode=L1T3",
        &[(107, "H264")],
        3,
    ),
    audio("opus", "codec=vp8", &[(111, "OPUS")]),
    audio(
        "opus-red",
        "codec=vp8&audio=red",
        &[(111, "OPUS"), (112, "RED")],
    ),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .expect("usage: causeway-record DIRECTORY [NAME …]");
    let names: Vec<String> = arguments.collect();
    for recording in RECORDINGS {
        if names.is_empty() || names.iter().any(|name| name == recording.name) {
            recording.make(Path::new(&folder));
        }
    }
}

/// What is recorded.
struct Recording {
    name: &'static str,
    /// What the page is asked for.
    wishes: &'static str,
    kind: &'static str,
    payload_types: &'static [(u8, &'static str)],
    encodings: usize,
}

const fn video(
    name: &'static str,
    wishes: &'static str,
    payload_types: &'static [(u8, &'static str)],
    encodings: usize,
) -> Recording {
    Recording {
        name,
        wishes,
        kind: "video",
        payload_types,
        encodings,
    }
}

const fn audio(
    name: &'static str,
    wishes: &'static str,
    payload_types: &'static [(u8, &'static str)],
) -> Recording {
    Recording {
        name,
        wishes,
        kind: "audio",
        payload_types,
        encodings: 1,
    }
}

impl Recording {
    fn make(&self, folder: &Path) {
        let private = free_port();
        let udp = free_port();
        let captures = std::env::temp_dir().join(format!("causeway-record-{}", std::process::id()));
        std::fs::create_dir_all(&captures).expect("a directory for the captures");
        let directory = captures.to_str().expect("a plain name");
        let call = Call::with(&[
            "--udp",
            &format!("127.0.0.1:{udp}"),
            "--private",
            &format!("127.0.0.1:{private}"),
            "--captures",
            directory,
        ]);
        let rest = Rest(private);
        let sender = call.join_with("bo", self.wishes);
        let viewer = call.join_with("anna", "camera=off");
        viewer.stage(&sender);
        viewer.sees_height(&sender, "in the top layer", |height| height >= 720);
        let browser = sender
            .session()
            .run("return navigator.userAgent", &[])
            .as_str()
            .and_then(|agent| agent.split(' ').find(|part| part.contains("Chrome/")))
            .unwrap_or_default()
            .to_owned();

        let capture = rest.capture(&sender, |conference, endpoint| {
            for _ in 0..CHANGES {
                thread::sleep(HOLD);
                viewer.show_tiles();
                thread::sleep(HOLD);
                viewer.stage(&sender);
            }
            rest.ssrcs(conference, endpoint, self.kind)
        });
        let (file, ssrcs) = capture;
        assert_eq!(ssrcs.len(), self.encodings, "{}: {ssrcs:?}", self.name);
        let capture = std::fs::read(&file).expect("the capture is there");
        let text = reduce(
            &capture,
            &Wanted {
                title: &format!("{}: {}, {browser}", self.name, self.wishes),
                ssrcs: &ssrcs,
                payload_types: self.payload_types,
                bridge: udp,
                max_len: MAX_LEN,
            },
        );
        let target = folder.join(format!("{}.txt", self.name));
        std::fs::write(&target, &text).expect("the recording can be written");
        println!(
            "{}: {} lines, {} bytes",
            target.display(),
            text.lines().count(),
            text.len()
        );
        let _ = std::fs::remove_dir_all(&captures);
    }
}

/// What the bridge serves to operators.
struct Rest(u16);

impl Rest {
    fn ask(&self, method: &str, path: &str) -> Value {
        let url = format!("http://127.0.0.1:{}{path}", self.0);
        let answer = match method {
            "GET" => ureq::get(&url).call(),
            _ => ureq::post(&url).send_empty(),
        };
        let text = answer
            .and_then(|mut answer| answer.body_mut().read_to_string())
            .unwrap_or_else(|error| panic!("{url}: {error}"));
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Captures while `work` is done with the ids of the conference and the endpoint; the file, and what came of the work.
    fn capture<R>(&self, sender: &Participant, work: impl FnOnce(&str, &str) -> R) -> (PathBuf, R) {
        let debug = self.ask("GET", "/debug");
        let conferences = debug["conferences"].as_object().expect("conferences");
        let conference = conferences.keys().next().expect("one conference");
        let endpoint = sender.endpoint();
        let feature = format!("/debug/features/endpoint/{conference}/{endpoint}/pcap-dump");
        self.ask("POST", &format!("{feature}/true"));
        let done = work(conference, &endpoint);
        let ended = self.ask("POST", &format!("{feature}/false"));
        assert_eq!(ended["dropped"], 0, "{ended}");
        let file = ended["file"].as_str().expect("a file");
        (PathBuf::from(file), done)
    }

    /// SSRCs of the endpoint's first source of that kind.
    fn ssrcs(&self, conference: &str, endpoint: &str, kind: &str) -> Vec<u32> {
        let path = format!("/debug/{conference}/{endpoint}");
        let source = eventually(
            &format!("there is a source of {kind}"),
            SOON,
            || {
                let debug = self.ask("GET", &path);
                let endpoint = &debug["conferences"][conference]["endpoints"][endpoint];
                let sources = endpoint["sources"].as_array().cloned().unwrap_or_default();
                sources.into_iter().find(|source| source["kind"] == kind)
            },
            Option::is_some,
        );
        let source = source.unwrap_or_default();
        let ssrcs = source["ssrcs"].as_array().into_iter().flatten();
        ssrcs
            .filter_map(|ssrc| u32::try_from(ssrc.as_u64()?).ok())
            .collect()
    }
}

/// Free a moment ago; nobody else asks for it by number.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    listener.local_addr().expect("it is bound").port()
}

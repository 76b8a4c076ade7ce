//! Media exports: which workers give audio to them, and what their peers say.

use serde_json::json;

use super::*;
use crate::export::{
    Connect, ConnectAction, ExportCommand, ExportKind, ExportSettings, ExportSetup, Received,
};
use crate::ids::ExportKey;

fn connect(id: &str, action: ConnectAction) -> Connect {
    Connect {
        action,
        video: false,
        settings: ExportSettings {
            id: id.into(),
            url: "wss://stt.example".into(),
            kind: ExportKind::Transcriber,
            audio: true,
            headers: vec![("Authorization".into(), "secret".into())],
            pings: None,
            exports: Vec::new(),
            requests: Vec::new(),
        },
    }
}

impl World {
    fn export(&mut self, conference: ConferenceKey, id: &str) -> ExportSetup {
        let create = vec![connect(id, ConnectAction::Create)];
        self.control.apply_connects(conference, create).unwrap();
        let outputs: Vec<ControlOutput> =
            std::iter::from_fn(|| self.control.poll_output()).collect();
        let opened = outputs.iter().find_map(|output| match output {
            ControlOutput::Export(ExportCommand::Open(setup)) => Some((**setup).clone()),
            _ => None,
        });
        let taps = outputs.iter().filter(|output| {
            matches!(output, ControlOutput::Worker(_, Command::Taps(key, _)) if *key == conference)
        });
        let shards = &self.control.conferences[&conference].shards;
        assert_eq!(taps.count(), shards.len(), "every shard is told");
        opened.unwrap()
    }

    fn peer_says(&mut self, export: ExportKey, received: Received) {
        self.control.export_received(self.now, export, received);
        self.settle();
    }
}

#[test]
fn transcripts_reach_everybody_until_the_export_ends() {
    let mut world = World::new();
    let conference = world.conference("m1");
    let [a, b] = ["a", "b"].map(|id| world.endpoint(conference, id));
    let visitor = world.visitor(conference, "v");
    for endpoint in [a, b, visitor] {
        world.connect(endpoint);
        world.heard(endpoint);
    }
    let key = world.export(conference, "t").key;
    let text = json!({ "event": "transcription-result", "transcript": [{ "text": "Hello" }] });
    world.peer_says(key, Received::Transcript(text.to_string()));
    let expected = json!({ "colibriClass": "EndpointMessage", "to": "", "msgPayload": text, "from": "transcriber" });
    for endpoint in [a, b, visitor] {
        assert_eq!(world.heard(endpoint), std::slice::from_ref(&expected));
    }
    let expire = vec![connect("t", ConnectAction::Expire)];
    world.control.apply_connects(conference, expire).unwrap();
    world.take();
    world.peer_says(key, Received::Transcript(text.to_string()));
    assert!(
        world.heard(a).is_empty(),
        "what comes too late is not heard"
    );
}

#[test]
fn t54_transcripts_are_within_the_budget_of_the_conference() {
    let mut world = World::new();
    let conference = world.conference("m1");
    let a = world.endpoint(conference, "a");
    world.connect(a);
    world.heard(a);
    let key = world.export(conference, "t").key;
    let text = json!({ "text": "x".repeat(60_000) }).to_string();
    for _ in 0..200 {
        world.peer_says(key, Received::Transcript(text.clone()));
    }
    let heard = world.heard(a).len();
    assert!((100..180).contains(&heard), "{heard}");
}

#[test]
fn translated_audio_goes_to_the_worker_of_the_synthetic_source() {
    let mut world = World::new();
    let conference = world.conference("m1");
    let a = world.endpoint(conference, "a");
    world.connect(a);
    let synthetic = NewSource {
        synthetic: true,
        ..audio("a-a0.fr", 9)
    };
    world
        .control
        .set_sources(world.now, a, vec![audio("a-a0", 8), synthetic])
        .unwrap();
    world.settle();
    world.heard(a);
    let key = world.export(conference, "t").key;
    let media = |tag: &str| Received::Media {
        tag: tag.into(),
        timestamp: 5,
        payload: vec![1].into(),
    };
    let sending = |tag: &str| Received::Sending {
        tag: tag.into(),
        sending: true,
        timestamp: 384_000,
    };
    let source = world.source(a, "a-a0.fr");
    let worker = world.control.endpoints[&a].worker;
    world
        .control
        .export_received(world.now, key, media("a-a0.fr"));
    let Some(ControlOutput::Worker(to, Command::InjectAudio(of, injected))) =
        world.control.poll_output()
    else {
        panic!("no audio");
    };
    assert_eq!((to, of, injected.source), (worker, conference, source));
    world.take();
    // Nobody speaks for a participant.
    for tag in ["a-a0", "unknown"] {
        world.peer_says(key, media(tag));
        world.peer_says(key, sending(tag));
    }
    assert!(world.take().is_empty() && world.heard(a).is_empty());
    world.peer_says(key, sending("a-a0.fr"));
    let expected = json!({ "colibriClass": "SyntheticSourceSendingChangeEvent", "sourceName": "a-a0.fr", "sending": true, "timestamp": 384_000 });
    assert_eq!(world.heard(a), [expected]);
}

#[test]
fn shards_that_are_opened_later_know_the_exports() {
    let mut config = BridgeConfig::default();
    config.net.spill_after = 1;
    let mut world = World::with(2, config);
    let conference = world.conference("m1");
    world.endpoint(conference, "a");
    world.export(conference, "t");
    let options = options("b");
    world
        .control
        .create_endpoint(world.now, conference, options)
        .unwrap();
    let outputs: Vec<ControlOutput> = std::iter::from_fn(|| world.control.poll_output()).collect();
    let told: Vec<usize> = outputs
        .iter()
        .filter_map(|output| match output {
            ControlOutput::Worker(_, Command::Taps(_, taps)) => Some(taps.len()),
            _ => None,
        })
        .collect();
    assert_eq!(told, [1]);
}

#[test]
fn t63_what_is_logged_of_an_export_has_no_secret() {
    let setup = connect("t", ConnectAction::Create);
    let shown = format!("{setup:?}");
    assert!(
        !shown.contains("secret") && !shown.contains("stt.example"),
        "{shown}"
    );
}

//! Who speaks, and what follows from it (allocation spec §4 and §5).

use serde_json::json;

use super::*;
use crate::stats::{EndpointStats, MediaStats, WorkerStats};
use crate::units::Bitrate;

fn three() -> (World, ConferenceKey, [EndpointKey; 3]) {
    let mut world = World::new();
    let conference = world.conference("m");
    let members = ["a", "b", "c"].map(|id| world.endpoint(conference, id));
    for (index, member) in members.into_iter().enumerate() {
        let id = ["a", "b", "c"][index];
        world
            .sources(member, &[camera(&format!("{id}-v0"), index as u32)])
            .unwrap();
        world.connect(member);
        world.heard(member);
    }
    world.take();
    (world, conference, members)
}

fn speakers(dominant: &str, previous: &[&str], silence: bool) -> Value {
    json!({
        "colibriClass": "DominantSpeakerEndpointChangeEvent",
        "dominantSpeakerEndpoint": dominant,
        "previousSpeakers": previous,
        "silence": silence,
    })
}

#[test]
fn an_election_is_broadcast_and_changes_the_order() {
    let (mut world, conference, [a, b, c]) = three();
    let visitor = world.visitor(conference, "v");
    world.connect(visitor);
    world.heard(visitor);
    assert_eq!(world.control.dominant_speaker(conference), None);
    world.event(Event::DominantSpeaker(conference, Some(b)));
    assert_eq!(world.control.last_n_order(conference), [b, a, c]);
    assert_eq!(world.control.dominant_speaker(conference), Some(b));
    world.check();
    world.event(Event::DominantSpeaker(conference, Some(c)));
    for listener in [a, b, c, visitor] {
        assert_eq!(
            world.heard(listener),
            [speakers("b", &[], false), speakers("c", &["b"], false)]
        );
    }
    // Nothing new, nothing said; nor for strangers, visitors and the departed.
    for speaker in [c, visitor, EndpointKey(99)] {
        world.event(Event::DominantSpeaker(conference, Some(speaker)));
    }
    assert!(world.heard(a).is_empty());
    let late = world.endpoint(conference, "d");
    world.connect(late);
    assert_eq!(
        world.heard(late).last(),
        Some(&speakers("c", &["b"], false))
    );
}

#[test]
fn silence_is_told_with_the_list_as_it_was() {
    let (mut world, conference, [a, b, _]) = three();
    world.event(Event::DominantSpeaker(conference, None));
    assert!(world.heard(a).is_empty(), "an empty list is never told");
    world.event(Event::DominantSpeaker(conference, Some(b)));
    world.event(Event::DominantSpeaker(conference, None));
    world.event(Event::DominantSpeaker(conference, None));
    world.event(Event::DominantSpeaker(conference, Some(b)));
    assert_eq!(
        world.heard(a),
        [
            speakers("b", &[], false),
            speakers("b", &[], true),
            speakers("b", &[], false)
        ]
    );
    assert!(!world.control.is_silent(conference));
}

/// The lists; `ForwardedSources` follows on the workers from `Sources` and `Order`.
#[test]
fn allocation_case_60_who_leaves_is_gone_from_every_list_at_once() {
    let (mut world, conference, [a, b, c]) = three();
    for speaker in [b, a] {
        world.event(Event::DominantSpeaker(conference, Some(speaker)));
    }
    world.heard(c);
    world.take();
    world.expire(a);
    assert_eq!(world.heard(c), [speakers("b", &[], false)]);
    let commands = world.commands();
    assert!(matches!(commands[0], (_, Command::RemoveEndpoint(key)) if key == a));
    assert!(commands.iter().any(|(_, command)| matches!(command,
        Command::Sources(_, sources) if sources.endpoint == a && sources.sources.is_empty())));
    assert!(
        commands
            .iter()
            .any(|(_, command)| matches!(command, Command::Order(_, order) if **order == [b, c]))
    );
    world.check();
    world.expire(b);
    assert!(world.heard(c).is_empty(), "an empty list is never told");
}

fn rtt(world: &mut World, endpoint: EndpointKey, rtt: u64) {
    let stats = EndpointStats {
        endpoint,
        conference: ConferenceKey(0),
        connected: true,
        remote: None,
        rtt: Some(Duration::from_millis(rtt)),
        incoming: Bitrate::ZERO,
        outgoing: Bitrate::ZERO,
        outgoing_loss: 0.0,
        incoming_loss: 0.0,
        estimate: None,
        forwarded: Vec::new(),
        packets_in: 0,
        packets_out: 0,
        media: MediaStats::default(),
        happened: Vec::new(),
        missed: 0,
    };
    let stats = WorkerStats {
        endpoints: vec![stats],
        ..WorkerStats::default()
    };
    world.event(Event::Stats(WorkerId(0), Box::new(stats)));
}

fn requested(world: &mut World) -> Option<(SourceKey, Time)> {
    world
        .commands()
        .into_iter()
        .find_map(|(_, command)| match command {
            Command::RequestKeyframe(_, source, at) => Some((source, at)),
            _ => None,
        })
}

#[test]
fn allocation_case_56_a_keyframe_of_the_new_speaker_is_asked_for_in_time() {
    let (mut world, conference, [a, b, c]) = three();
    rtt(&mut world, a, 50);
    rtt(&mut world, b, 30);
    rtt(&mut world, c, 120);
    world.event(Event::DominantSpeaker(conference, Some(a)));
    assert_eq!(requested(&mut world), None, "nobody has anything on stage");

    world.say(
        c,
        r#"{"colibriClass":"ReceiverVideoConstraints","onStageSources":["a-v0"]}"#,
    );
    world.take();
    world.event(Event::DominantSpeaker(conference, Some(b)));
    let expected = (
        world.source(b, "b-v0"),
        world.now + Duration::from_millis(120 - 30 + 10),
    );
    assert_eq!(requested(&mut world), Some(expected));

    // The slowest is the speaker: now.
    world.say(
        a,
        r#"{"colibriClass":"ReceiverVideoConstraints","onStageSources":["b-v0"]}"#,
    );
    world.take();
    world.event(Event::DominantSpeaker(conference, Some(c)));
    assert_eq!(requested(&mut world).map(|(_, at)| at), Some(world.now));

    // Only a desktop on stage, or a source that does not exist: none.
    world.sources(a, &[desktop("a-v0", 0)]).unwrap();
    world.say(
        a,
        r#"{"colibriClass":"ReceiverVideoConstraints","onStageSources":["nothing"]}"#,
    );
    world.take();
    world.event(Event::DominantSpeaker(conference, Some(b)));
    assert_eq!(requested(&mut world), None);
    let counters = world.control.counters();
    assert_eq!(counters.preemptive_keyframe_requests_sent, 2);
    assert_eq!(counters.preemptive_keyframe_requests_suppressed, 2);
    assert_eq!(counters.dominant_speaker_changes, 4);
}

#[test]
fn two_alone_need_no_preemptive_keyframe() {
    let (mut world, conference, [a, b, c]) = three();
    world.say(
        b,
        r#"{"colibriClass":"ReceiverVideoConstraints","onStageSources":["a-v0"]}"#,
    );
    world.expire(c);
    world.take();
    world.event(Event::DominantSpeaker(conference, Some(a)));
    assert_eq!(requested(&mut world), None);
}

#[test]
fn a_failed_shard_takes_the_whole_conference_down() {
    let mut config = BridgeConfig::default();
    config.net.spill_after = 1;
    let mut world = World::with(2, config);
    let conference = world.conference("m");
    let other = world.conference("other");
    let survivor = world.endpoint(other, "a");
    let [a, b] = ["a", "b"].map(|id| world.endpoint(conference, id));
    world.connect(a);
    world.connect(survivor);
    let failed = world.control.endpoints[&b].worker;
    world.take();
    world.event(Event::ConferenceFailed(conference, failed));
    let outputs = world.take();
    let removals = outputs.iter().filter(|output| {
        matches!(output, ControlOutput::Worker(_, Command::RemoveConference(key)) if *key == conference)
    });
    assert_eq!(removals.count(), 2);
    assert!(
        outputs.iter().any(
            |output| matches!(output, ControlOutput::CloseWebSocket(key, 1011, _) if *key == a)
        )
    );
    assert_eq!(world.control.find_conference(&"m".into()), None);
    assert_eq!(
        world.try_endpoint(conference, options("c")),
        Err(ControlError::NoConference)
    );
    assert!(world.websockets.contains(&survivor), "others go on");
    world.check();
    world.event(Event::ConferenceFailed(conference, failed));
    assert!(world.take().is_empty());
}

#[test]
fn t80_too_many_failed_conferences_are_told_to_the_host() {
    let mut world = World::with(1, BridgeConfig::default());
    let mut fail = |after: Duration| {
        world.now += after;
        let conference = world.conference("m");
        world.event(Event::ConferenceFailed(conference, WorkerId(0)));
        let outputs = world.take();
        let told =
            |output: &ControlOutput| matches!(output, ControlOutput::Notice(Notice::Unsound));
        outputs.iter().any(told)
    };
    // One every four minutes is bad luck: never more than three in ten minutes.
    assert!((0..20).all(|_| !fail(Duration::from_secs(240))));
    // The fourth in short time is not, and it is told once.
    let told: Vec<bool> = (0..4).map(|_| fail(Duration::from_secs(60))).collect();
    assert_eq!(told.iter().filter(|told| **told).count(), 1);
}

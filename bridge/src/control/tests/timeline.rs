//! What an endpoint's timeline tells of what the control plane sees, and of what workers report.

use super::why::{report, stats};
use super::*;
use crate::allocation::Reason;
use crate::timeline::{Decision, Happened, Stall, What};
use crate::units::Bitrate;

fn timeline(world: &World, endpoint: EndpointKey, since: u32) -> Value {
    world
        .control
        .timeline(world.now, endpoint, since, 1_700_000_000_000)
}

fn events(timeline: &Value) -> Vec<&str> {
    let events = timeline["events"].as_array().expect("a list").iter();
    events.filter_map(|event| event["event"].as_str()).collect()
}

#[test]
fn the_life_of_an_endpoint() {
    let mut world = World::new();
    let conference = world.conference("m");
    let a = world.endpoint(conference, "A");
    world.sources(a, &[camera("A-v0", 1)]).unwrap();
    world.pass(Duration::from_millis(1_500));
    world.event(Event::IceConnected(a, path()));
    world.event(Event::DtlsConnected(a));
    world.connect(a);
    world.event(Event::PathChanged(a, path()));
    world.say(
        a,
        r#"{"colibriClass":"ReceiverVideoConstraints","lastN":3,"onStageSources":["x"]}"#,
    );
    world.say(
        a,
        r#"{"colibriClass":"SourceVideoTypeMessage","sourceName":"A-v0","videoType":"desktop"}"#,
    );
    world.control.set_force_mute(world.now, a, false, true);
    world.control.restart_ice(world.now, a);
    world.event(Event::IceRestartEnded(a, 1, true));
    world.event(Event::Connectivity(a, false));
    world.disconnect(a);
    let told = timeline(&world, a, 0);
    assert_eq!(
        events(&told),
        [
            "created",
            "announced",
            "ice-connected",
            "dtls-connected",
            "channel-opened",
            "path-changed",
            "wishes",
            "video-type",
            "force-muted",
            "ice-restart",
            "ice-restart-ended",
            "inactive",
            "channel-closed",
        ]
    );
    let ice = &told["events"][2];
    assert_eq!(ice["remote_address"], "198.51.100.9:4000");
    assert_eq!(ice["local_address"], "192.0.2.1:10000");
    assert_eq!(ice["monotonic_ms"], 1_001_500.0);
    assert_eq!(ice["time"], 1_700_001_001_500u64);
    assert_eq!(told["events"][4]["kind"], "websocket");
    assert_eq!(told["events"][6]["last_n"], 3);
    let next = u32::try_from(told["next"].as_u64().unwrap()).unwrap();
    assert!(events(&timeline(&world, a, next)).is_empty());
    world.event(Event::IceFailed(a));
    assert_eq!(events(&timeline(&world, a, next)), ["ice-failed"]);
    assert!(timeline(&world, EndpointKey(99), 0).is_null());
}

#[test]
fn what_workers_report_and_senders_are_told() {
    let mut world = World::new();
    let conference = world.conference("m");
    let (a, b) = (
        world.endpoint(conference, "A"),
        world.endpoint(conference, "B"),
    );
    world.sources(a, &[camera("A-v0", 1)]).unwrap();
    let source = world.source(a, "A-v0");
    world.event(Event::EffectiveConstraints(b, vec![(source, 360)]));
    let told = timeline(&world, a, 0);
    assert_eq!(events(&told).last(), Some(&"sender-constraint"));
    assert_eq!(told["events"][2]["max_height"], 360);

    let happened = [
        What::Allocated(Decision {
            source: "A-v0".into(),
            ideal: 66,
            target: 2,
            height: 180,
            reason: Reason::Bandwidth,
            bandwidth_kbps: 400,
            held: true,
        }),
        What::Switched("A-v0".into(), -1, 2),
        What::KeyframeWanted("A-v0".into(), 2),
        What::Stalled("A-v0".into(), Stall::NoKeyframe),
        What::Resumed("A-v0".into(), 1_200),
        What::ConsentLost,
        What::ConsentRegained,
    ];
    let before = world.now;
    let happened = happened.map(|what| Happened { at: before, what });
    let next = u32::try_from(timeline(&world, b, 0)["next"].as_u64().unwrap()).unwrap();
    let mut reported = stats(b);
    (reported.happened, reported.packets_out) = (happened.to_vec(), 10);
    report(&mut world, vec![reported.clone()]);
    world.pass(Duration::from_secs(1));
    reported.happened.clear();
    reported.estimate = Some(Bitrate::kbps(60));
    reported.outgoing_loss = 0.05;
    (
        reported.packets_out,
        reported.media.nacks_in,
        reported.media.resent,
    ) = (110, 5, 4);
    report(&mut world, vec![reported]);

    let told = timeline(&world, b, next);
    assert_eq!(
        events(&told),
        [
            "allocated",
            "switched",
            "keyframe-wanted",
            "stalled",
            "resumed",
            "consent-lost",
            "consent-regained",
            "estimate",
            "estimate",
        ]
    );
    let allocated = &told["events"][0];
    assert_eq!(allocated["reason"], "bandwidth");
    assert_eq!(allocated["wanted"]["encoding"], 1);
    assert_eq!(allocated["given"]["temporal"], 2);
    assert_eq!(allocated["bandwidth_bps"], 400_000);
    assert!(told["events"][1]["from"].is_null());
    assert_eq!(told["events"][8]["estimate_bps"], 60_000);
    let samples = told["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 1);
    assert_eq!(samples[0]["nacks_received"], 5);
    assert_eq!(samples[0]["retransmitted"], 4);
    assert_eq!(samples[0]["duration_ms"], 1_000);
}

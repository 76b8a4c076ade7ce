//! Timers (media-plane spec §1.7, colibri2 spec §3.10).

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn media_plane_case_17_a_silent_endpoint_expires_within_the_next_minute() {
    let mut world = World::new();
    let conference = world.conference("m");
    let silent = world.endpoint(conference, "silent");
    let lively = world.endpoint(conference, "lively");
    world.pass(5 * SECOND);
    world.event(Event::IceConnected(silent, path()));
    world.pass(5 * SECOND);
    for _ in 0..10 {
        world.pass(10 * SECOND);
        world.event(Event::Activity(lively, world.now));
    }
    assert_eq!(
        world.control.endpoint_id(silent),
        Some(&"silent".into()),
        "110 s"
    );
    world.pass(10 * SECOND);
    assert_eq!(world.control.endpoint_id(silent), None);
    assert_eq!(world.control.endpoint_id(lively), Some(&"lively".into()));
    assert_eq!(world.control.counters().endpoints_timed_out, 1);
    assert!(world.take().iter().any(|output| {
        matches!(output, ControlOutput::Notice(Notice::EndpointExpired(_, id)) if id.as_str() == "silent")
    }));
    world.check();
}

#[test]
fn media_plane_case_17_colibri2_case_56_one_that_never_connected_expires_after_2_to_3_minutes() {
    let mut world = World::new();
    let conference = world.conference("m");
    world.pass(10 * SECOND);
    let endpoint = world.endpoint(conference, "a");
    world.pass(2 * MINUTE - SECOND);
    assert!(world.control.endpoint_id(endpoint).is_some());
    world.pass(MINUTE + SECOND);
    assert!(world.control.endpoint_id(endpoint).is_none());
    world.check();
}

#[test]
fn an_endpoint_whose_ice_failed_goes_at_the_next_check() {
    let mut world = World::new();
    let conference = world.conference("m");
    let endpoint = world.endpoint(conference, "a");
    world.event(Event::Activity(endpoint, world.now));
    world.event(Event::IceFailed(endpoint));
    world.pass(59 * SECOND);
    assert!(world.control.endpoint_id(endpoint).is_some());
    world.pass(SECOND);
    assert!(world.control.endpoint_id(endpoint).is_none());
    assert!(
        world.control.find_conference(&"m".into()).is_some(),
        "not at once"
    );
    world.pass(MINUTE);
    assert_eq!(world.control.conference_count(), 0);
    world.check();
}

#[test]
fn colibri2_case_55_an_empty_conference_expires_after_20_to_80_seconds() {
    let mut world = World::new();
    world.conference("first");
    world.pass(45 * SECOND);
    world.conference("second");
    world.pass(15 * SECOND);
    assert_eq!(world.control.find_conference(&"first".into()), None);
    assert!(
        world.control.find_conference(&"second".into()).is_some(),
        "15 s old"
    );
    world.pass(MINUTE);
    assert_eq!(world.control.conference_count(), 0);
    assert_eq!(world.control.poll_timeout(), None);
    world.check();
    // The clockwork starts again with the next conference.
    world.conference("third");
    world.pass(MINUTE);
    assert_eq!(world.control.conference_count(), 0);
}

#[test]
fn f12_when_many_vanish_at_once_the_others_hear_of_it_once() {
    let mut world = World::new();
    let conference = world.conference("m");
    let members: Vec<EndpointKey> = (0..50)
        .map(|n| world.endpoint(conference, &format!("e{n}")))
        .collect();
    for (index, member) in members.iter().enumerate() {
        world
            .sources(*member, &[camera(&format!("e{index}-v0"), index as u32)])
            .unwrap();
        world.event(Event::ChannelOpened(*member));
        world.event(Event::DominantSpeaker(conference, Some(*member)));
        world.event(Event::Activity(*member, world.now));
    }
    let survivor = members[0];
    let source = world.source(survivor, "e0-v0");
    for member in &members[1..] {
        world.event(Event::EffectiveConstraints(*member, vec![(source, 180)]));
    }
    world.pass(30 * SECOND);
    world.event(Event::Activity(survivor, world.now));
    world.take();
    world.told.clear();
    world.pass(30 * SECOND);
    assert_eq!(world.control.endpoint_count(conference), 1);
    assert_eq!(
        world
            .heard_of(survivor, "DominantSpeakerEndpointChangeEvent")
            .len(),
        1
    );
    let orders = world
        .commands()
        .iter()
        .filter(|(_, command)| matches!(command, Command::Order(..)))
        .count();
    assert_eq!(orders, 1);
    world.check();
}

#[test]
fn a_missing_bridge_channel_is_counted_30_s_after_dtls() {
    let mut world = World::new();
    let conference = world.conference("m");
    let [mute, fine] = ["mute", "fine"].map(|id| world.endpoint(conference, id));
    for endpoint in [mute, fine] {
        world.event(Event::DtlsConnected(endpoint));
    }
    world.pass(29 * SECOND);
    world.event(Event::ChannelOpened(fine));
    assert_eq!(world.control.counters().endpoints_without_channel, 0);
    world.pass(SECOND);
    assert_eq!(world.control.counters().endpoints_without_channel, 1);
}

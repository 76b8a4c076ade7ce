//! The bridge channel (bridge-channel spec §14).

use serde_json::json;

use super::*;
use crate::channel::{SourceMapping, Topic};

/// A conference with endpoints A (camera, desktop, audio) and B, both with a websocket.
struct Pair {
    world: World,
    conference: ConferenceKey,
    a: EndpointKey,
    b: EndpointKey,
}

fn pair() -> Pair {
    let mut world = World::new();
    let conference = world.conference("m");
    let a = world.endpoint(conference, "A");
    let b = world.endpoint(conference, "B");
    world
        .sources(
            a,
            &[camera("A-v0", 1), desktop("A-v1", 2), audio("A-a0", 3)],
        )
        .unwrap();
    for endpoint in [a, b] {
        world.connect(endpoint);
        world.heard(endpoint);
    }
    world.take();
    Pair {
        world,
        conference,
        a,
        b,
    }
}

impl Pair {
    /// A worker reports what a receiver may be sent of A's camera and desktop.
    fn constrain(&mut self, receiver: EndpointKey, camera: i32, desktop: i32) {
        let (v0, v1) = (
            self.world.source(self.a, "A-v0"),
            self.world.source(self.a, "A-v1"),
        );
        self.world.event(Event::EffectiveConstraints(
            receiver,
            vec![(v0, camera), (v1, desktop)],
        ));
    }

    /// The (source, height) pairs that A is told.
    fn told_to_sender(&mut self) -> Vec<(String, i64)> {
        let messages = self.world.heard_of(self.a, "SenderSourceConstraints");
        let height = |message: &Value| message["maxHeight"].as_i64().expect("a number");
        messages
            .iter()
            .map(|message| {
                (
                    message["sourceName"].as_str().unwrap().to_owned(),
                    height(message),
                )
            })
            .collect()
    }
}

fn told(values: &[(&str, i64)]) -> Vec<(String, i64)> {
    values
        .iter()
        .map(|(source, height)| ((*source).to_owned(), *height))
        .collect()
}

#[test]
fn bridge_channel_cases_1_and_2_a_websocket_is_greeted() {
    for version in [None, Some("2.3".to_owned())] {
        let mut config = BridgeConfig::default();
        config.channel.announce_version = version.clone();
        let mut world = World::with(1, config);
        let conference = world.conference("m");
        let a = world.endpoint(conference, "A");
        world.connect(a);
        let hello = world.heard(a).remove(0);
        assert_eq!(hello["colibriClass"], "ServerHello");
        assert_eq!(
            hello.get("version").and_then(Value::as_str),
            version.as_deref()
        );
    }
}

#[test]
fn bridge_channel_case_26_a_data_channel_gets_the_state_without_greeting() {
    let Pair {
        mut world, a, b, ..
    } = pair();
    world.event(Event::Connectivity(a, false));
    world.disconnect(b);
    world.heard(b);
    world.take();
    world.event(Event::ChannelOpened(b));
    let heard = world.heard(b);
    assert_eq!(heard.len(), 1);
    assert_eq!(
        heard[0]["colibriClass"],
        "EndpointConnectivityStatusChangeEvent"
    );
    assert!(matches!(world.commands()[..], [(_, Command::ReplayState(key))] if key == b));
    world.event(Event::ChannelMessage(
        b,
        r#"{"colibriClass":"ClientHello"}"#.into(),
    ));
    assert_eq!(world.heard(b), [json!({"colibriClass": "ServerHello"})]);
}

#[test]
fn bridge_channel_case_28_messages_go_where_the_client_spoke_last() {
    let Pair {
        mut world,
        conference,
        b,
        ..
    } = pair();
    let speak = |world: &mut World| {
        world.take();
        world
            .control
            .broadcast(conference, "Test", Some(&Topic::Speakers), &Arc::from("{}"));
        world.take().into_iter().find_map(|output| match output {
            ControlOutput::WebSocket(key, _) if key == b => Some("websocket"),
            ControlOutput::Pool(_, PoolCommand::Send(key, ..)) if key == b => Some("data channel"),
            _ => None,
        })
    };
    assert_eq!(speak(&mut world), Some("websocket"));
    world.event(Event::ChannelOpened(b));
    world.event(Event::ChannelMessage(b, "{}".into()));
    assert_eq!(speak(&mut world), Some("data channel"));
    world.say(b, "{}");
    assert_eq!(speak(&mut world), Some("websocket"));
    world.disconnect(b);
    assert_eq!(speak(&mut world), Some("data channel"));
    world.event(Event::ChannelClosed(b));
    assert_eq!(speak(&mut world), None);
    assert_eq!(world.control.counters().messages_without_channel, 1);
}

#[test]
fn bridge_channel_cases_23_and_24_what_is_malformed_changes_nothing() {
    let Pair { mut world, b, .. } = pair();
    world.say(b, "garbage");
    world.say(b, "null");
    world.say(
        b,
        r#"{"colibriClass":"ForwardedSources","forwardedSources":["A-v0"]}"#,
    );
    assert!(world.take().is_empty());
    world.say(b, r#"{"colibriClass":"ClientHello"}"#);
    assert_eq!(world.heard_of(b, "ServerHello").len(), 1);
    assert_eq!(world.control.counters().messages_malformed, 2);
}

/// T64: the sender is who sent it, whatever it says.
#[test]
fn bridge_channel_case_41_a_broadcast_reaches_the_others_with_its_true_sender() {
    let Pair {
        mut world, a, b, ..
    } = pair();
    world.say(
        b,
        r#"{"colibriClass":"EndpointMessage","to":"","from":"spoof","msgPayload":{"a":1},"x":[1]}"#,
    );
    let expected = json!({"colibriClass": "EndpointMessage", "to": "", "from": "B", "msgPayload": {"a": 1}, "x": [1]});
    assert_eq!(world.heard(a), [expected]);
    assert!(world.heard(b).is_empty());
}

#[test]
fn bridge_channel_cases_42_to_44_messages_reach_who_they_are_for() {
    let Pair {
        mut world,
        conference,
        a,
        b,
    } = pair();
    let other = world.conference("other");
    let stranger = world.endpoint(other, "C");
    world.connect(stranger);
    world.heard(stranger);
    let send = |world: &mut World, to: &str| {
        let message = json!({"colibriClass": "EndpointMessage", "to": to, "msgPayload": {}});
        world.say(b, &message.to_string());
        (world.heard(a).len(), world.heard(b).len())
    };
    assert_eq!(send(&mut world, "B"), (0, 1), "case 42: oneself");
    assert_eq!(send(&mut world, "nobody"), (0, 0), "case 43");
    assert_eq!(send(&mut world, " "), (1, 0), "case 44: blank is everybody");
    assert_eq!(send(&mut world, "A"), (1, 0));
    assert_eq!(
        send(&mut world, "C"),
        (0, 0),
        "T71: an id of another conference"
    );
    assert!(world.heard(stranger).is_empty(), "T71");
    assert_eq!(world.control.endpoint_count(conference), 2);
}

#[test]
fn bridge_channel_case_45_visitors_listen_but_are_not_heard() {
    let Pair {
        mut world,
        conference,
        a,
        b,
    } = pair();
    let visitor = world.visitor(conference, "V");
    world.connect(visitor);
    world.heard(visitor);
    world.say(
        visitor,
        r#"{"colibriClass":"EndpointMessage","to":"","msgPayload":{}}"#,
    );
    world.say(visitor, r#"{"colibriClass":"EndpointStats","bitrate":1}"#);
    assert!(world.heard(a).is_empty() && world.heard(b).is_empty());
    world.say(
        b,
        r#"{"colibriClass":"EndpointMessage","to":"","msgPayload":{}}"#,
    );
    assert_eq!(world.heard(visitor).len(), 1);
}

#[test]
fn bridge_channel_case_46_statistics_carry_their_sender() {
    let Pair {
        mut world,
        conference,
        a,
        b,
    } = pair();
    let c = world.endpoint(conference, "C");
    world.say(b, r#"{"colibriClass":"EndpointStats","bitrate":{"up":5}}"#);
    assert_eq!(
        world.heard(a),
        [json!({"colibriClass": "EndpointStats", "from": "B", "bitrate": {"up": 5}})]
    );
    assert!(world.heard(c).is_empty(), "no channel, no message");
    world.connect(c);
    assert!(
        world.heard_of(c, "EndpointStats").is_empty(),
        "nothing is kept for later"
    );
}

#[test]
fn bridge_channel_case_47_in_large_conferences_statistics_go_to_those_who_look() {
    for loudest_only in [false, true] {
        let mut config = BridgeConfig::default();
        config.audio.route_loudest_only = loudest_only;
        let mut world = World::with(1, config);
        let conference = world.conference("m");
        let members: Vec<EndpointKey> = (0..25)
            .map(|n| world.endpoint(conference, &format!("e{n}")))
            .collect();
        let (sender, receiver) = (members[0], members[1]);
        world.sources(sender, &[camera("e0-v0", 1)]).unwrap();
        members.iter().for_each(|member| world.connect(*member));
        let hears = |world: &mut World| {
            world.heard(receiver);
            world.say(sender, r#"{"colibriClass":"EndpointStats"}"#);
            !world.heard_of(receiver, "EndpointStats").is_empty()
        };
        let source = world.source(sender, "e0-v0");
        world.event(Event::EffectiveConstraints(receiver, vec![(source, 0)]));
        assert_eq!(hears(&mut world), !loudest_only);
        if !loudest_only {
            continue;
        }
        world.say(
            receiver,
            r#"{"colibriClass":"ReceiverVideoConstraints","selectedSources":["e0-v0"]}"#,
        );
        assert!(hears(&mut world), "selected");
        world.say(
            receiver,
            r#"{"colibriClass":"ReceiverVideoConstraints","selectedSources":[]}"#,
        );
        assert!(!hears(&mut world));
        world.event(Event::EffectiveConstraints(receiver, vec![(source, 180)]));
        assert!(hears(&mut world), "received");
        world.event(Event::EffectiveConstraints(receiver, vec![(source, 0)]));
        assert!(!hears(&mut world));
        world.event(Event::DominantSpeaker(conference, Some(sender)));
        assert!(hears(&mut world), "spoke");
    }
}

#[test]
fn bridge_channel_cases_48_to_50_senders_hear_the_largest_wish() {
    let mut pair = pair();
    let b = pair.b;
    pair.constrain(b, 0, 0);
    assert_eq!(
        pair.told_to_sender(),
        told(&[("A-v0", 0), ("A-v1", 0)]),
        "case 48"
    );
    pair.constrain(b, 180, 180);
    assert_eq!(
        pair.told_to_sender(),
        told(&[("A-v0", 180), ("A-v1", 180)]),
        "case 49"
    );

    // Case 50, allocation case 38: −1 beats all until its receiver expires; its channel does not matter.
    let c = pair.world.endpoint(pair.conference, "C");
    pair.world.connect(c);
    pair.constrain(c, -1, -1);
    assert_eq!(pair.told_to_sender(), told(&[("A-v0", -1), ("A-v1", -1)]));
    pair.world.disconnect(c);
    assert_eq!(pair.told_to_sender(), []);
    pair.world.expire(c);
    assert_eq!(pair.told_to_sender(), told(&[("A-v0", 180), ("A-v1", 180)]));
    pair.world.check();
}

#[test]
fn allocation_case_39_a_muted_source_is_told_0_and_then_the_previous_value() {
    let mut pair = pair();
    let b = pair.b;
    pair.constrain(b, 360, 0);
    pair.told_to_sender();
    pair.world.take();
    pair.world.say(
        pair.a,
        r#"{"colibriClass":"SourceVideoTypeMessage","sourceName":"A-v0","videoType":"none"}"#,
    );
    assert!(matches!(
        pair.world.commands()[..],
        [(_, Command::VideoType(_, _, VideoType::None))]
    ));
    pair.constrain(b, 0, 0);
    assert_eq!(pair.told_to_sender(), told(&[("A-v0", 0)]));
    pair.constrain(b, 360, 0);
    assert_eq!(pair.told_to_sender(), told(&[("A-v0", 360)]));
}

#[test]
fn bridge_channel_case_51_a_reconnected_sender_hears_its_constraints_again() {
    let mut pair = pair();
    let (a, b) = (pair.a, pair.b);
    pair.constrain(b, 720, 0);
    pair.told_to_sender();
    pair.world.connect(a);
    assert_eq!(pair.told_to_sender(), told(&[("A-v0", 720), ("A-v1", 0)]));
    // Sources that are gone are not spoken of.
    pair.world.sources(a, &[desktop("A-v1", 2)]).unwrap();
    pair.world.connect(a);
    assert_eq!(pair.told_to_sender(), told(&[("A-v1", 0)]));
}

/// Bridge-channel cases 52 and 53: all shards hear of it, other clients do not.
#[test]
fn bridge_channel_cases_52_53_a_video_type_goes_to_every_shard_and_to_no_client() {
    let mut config = BridgeConfig::default();
    config.net.spill_after = 1;
    let mut world = World::with(2, config);
    let conference = world.conference("m");
    let a = world.endpoint(conference, "A");
    let b = world.endpoint(conference, "B");
    world
        .sources(a, &[camera("A-v0", 1), desktop("A-v1", 2)])
        .unwrap();
    world.connect(a);
    world.connect(b);
    world.heard(b);
    world.take();
    world.say(a, r#"{"colibriClass":"SourceVideoTypeMessage","sourceName":"A-v1","videoType":"desktop_high_fps"}"#);
    let commands = world.commands();
    assert_eq!(commands.len(), 2);
    let v1 = world.source(a, "A-v1");
    assert!(commands.iter().all(|(_, command)| matches!(command,
        Command::VideoType(key, source, VideoType::DesktopHighFps) if *key == conference && *source == v1)));
    assert!(world.heard(b).is_empty());

    world.say(
        a,
        r#"{"colibriClass":"VideoTypeMessage","videoType":"none"}"#,
    );
    let v0 = world.source(a, "A-v0");
    assert!(
        world.commands().iter().any(|(_, command)| matches!(command,
        Command::VideoType(_, source, VideoType::None) if *source == v0)),
        "case 53"
    );
    world.check();

    // Nobody can speak for another's source.
    world.say(
        b,
        r#"{"colibriClass":"SourceVideoTypeMessage","sourceName":"A-v1","videoType":"none"}"#,
    );
    assert!(world.commands().is_empty());
}

#[test]
fn a_video_type_told_early_is_applied_when_the_source_is_signaled() {
    let mut world = World::new();
    let conference = world.conference("m");
    let a = world.endpoint(conference, "A");
    world.connect(a);
    world.say(
        a,
        r#"{"colibriClass":"SourceVideoTypeMessage","sourceName":"A-v0","videoType":"desktop"}"#,
    );
    world.sources(a, &[camera("A-v0", 1)]).unwrap();
    assert_eq!(
        world.control.endpoints[&a].sources.sources[0].video_type,
        VideoType::Desktop
    );
    // Names that never come are not collected without end (and the budget of messages is wide enough).
    for n in 0..1_000 {
        let name = format!("x{n}");
        world.now += Duration::from_millis(50);
        let message = json!({"colibriClass": "SourceVideoTypeMessage", "sourceName": name, "videoType": "none"});
        world.say(a, &message.to_string());
    }
    assert!(world.control.endpoints[&a].told_types.len() <= crate::limits::MAX_SSRCS_PER_ENDPOINT);
    world.sources(a, &[camera("A-v0", 2)]).unwrap();
    assert_eq!(
        world.control.endpoints[&a].sources.sources[0].video_type,
        VideoType::Desktop,
        "kept: it is signaled"
    );
}

#[test]
fn muting_the_only_source_moves_an_endpoint_behind_those_with_video() {
    let Pair {
        mut world, a, b, ..
    } = pair();
    world.sources(b, &[camera("B-v0", 9)]).unwrap();
    world.take();
    for source in ["A-v0", "A-v1"] {
        let message = json!({"colibriClass": "SourceVideoTypeMessage", "sourceName": source, "videoType": "none"});
        world.say(a, &message.to_string());
    }
    let orders: Vec<_> = world
        .commands()
        .into_iter()
        .filter_map(|(_, command)| match command {
            Command::Order(_, order) => Some(order),
            _ => None,
        })
        .collect();
    assert_eq!(orders.len(), 1);
    assert_eq!(*orders[0], [b, a]);
}

#[test]
fn a_receivers_wishes_go_to_its_worker() {
    let Pair { mut world, b, .. } = pair();
    world.say(
        b,
        r#"{"colibriClass":"ReceiverVideoConstraints","lastN":-9,"onStageSources":["A-v0"]}"#,
    );
    world.say(b, r#"{"colibriClass":"LastNChangedEvent","lastN":-2}"#);
    world.say(
        b,
        r#"{"colibriClass":"ReceiverAudioSubscription","all":true,"exclude":["A-a0"]}"#,
    );
    let commands = world.commands();
    let [
        (_, Command::ReceiverConstraints(_, constraints)),
        (_, Command::LastN(_, -1)),
        (_, Command::AudioSubscription(_, subscription)),
    ] = &commands[..]
    else {
        panic!("{commands:?}")
    };
    assert_eq!(constraints.last_n, Some(-1), "allocation spec §16 Q5");
    assert_eq!(constraints.on_stage_sources, Some(vec!["A-v0".into()]));
    assert!(subscription.all && subscription.exclude == ["A-a0".into()]);
}

#[test]
fn what_workers_decide_reaches_the_receiver_alone() {
    let Pair {
        mut world, a, b, ..
    } = pair();
    let mapping = SourceMapping {
        source: "A-v0".into(),
        owner: "A".into(),
        ssrc: 7,
        rtx: Some(8),
        video_type: Some(VideoType::Camera),
        mid: None,
    };
    world.event(Event::VideoSourcesMap(b, vec![mapping.clone()]));
    world.event(Event::AudioSourcesMap(
        b,
        vec![SourceMapping {
            rtx: None,
            video_type: None,
            ..mapping
        }],
    ));
    world.event(Event::AudioSourcesMap(b, Vec::new()));
    world.event(Event::ForwardedSources(b, Vec::new()));
    let classes: Vec<_> = world
        .heard(b)
        .into_iter()
        .map(|message| message["colibriClass"].clone())
        .collect();
    assert_eq!(
        classes,
        ["VideoSourcesMap", "AudioSourcesMap", "ForwardedSources"]
    );
    assert!(world.heard(a).is_empty());
}

#[test]
fn a_worker_that_knows_of_old_sources_does_no_harm() {
    let mut pair = pair();
    let gone = pair.world.source(pair.a, "A-v0");
    pair.world.sources(pair.a, &[]).unwrap();
    pair.world
        .event(Event::EffectiveConstraints(pair.b, vec![(gone, 180)]));
    assert_eq!(pair.told_to_sender(), []);
    // T71: a source of another conference.
    let other = pair.world.conference("other");
    let stranger = pair.world.endpoint(other, "A");
    pair.world.sources(stranger, &[camera("A-v0", 1)]).unwrap();
    let theirs = pair.world.source(stranger, "A-v0");
    pair.world
        .event(Event::EffectiveConstraints(pair.b, vec![(theirs, 180)]));
    assert!(pair.world.heard(stranger).is_empty());
    assert_eq!(
        pair.world.control.conferences[&pair.conference]
            .constraints
            .max_height(theirs),
        None
    );
}

#[test]
fn bridge_channel_case_60_everybody_hears_of_an_inactive_endpoint_once() {
    let Pair {
        mut world,
        conference,
        a,
        b,
    } = pair();
    let visitor = world.visitor(conference, "V");
    world.connect(visitor);
    world.heard(visitor);
    world.event(Event::Connectivity(a, true));
    assert!(world.heard(b).is_empty(), "nothing was said before");
    world.event(Event::Connectivity(a, false));
    world.event(Event::Connectivity(a, false));
    let inactive = json!({"colibriClass": "EndpointConnectivityStatusChangeEvent", "endpoint": "A", "active": "false"});
    for listener in [a, b, visitor] {
        assert_eq!(world.heard(listener), std::slice::from_ref(&inactive));
    }
    let late = world.endpoint(conference, "C");
    world.connect(late);
    assert!(
        world.heard(late).contains(&inactive),
        "part of the initial state"
    );

    // Allocation spec §12: who comes back under the same id is announced.
    world.expire(a);
    world.connect(late);
    assert!(
        !world.heard(late).contains(&inactive),
        "nobody is told about who is not there"
    );
    let again = world.endpoint(conference, "A");
    world.heard(b);
    world.event(Event::Connectivity(again, true));
    assert_eq!(world.heard(b)[0]["active"], "true");

    // Allocation case 59: visitors are not announced.
    world.event(Event::Connectivity(visitor, false));
    assert!(world.heard(b).is_empty());
}

#[test]
fn ids_of_departed_inactive_endpoints_do_not_pile_up() {
    let mut world = World::new();
    let conference = world.conference("m");
    for n in 0..1_000 {
        let endpoint = world.endpoint(conference, &format!("e{n}"));
        world.event(Event::Connectivity(endpoint, false));
        world.expire(endpoint);
    }
    let known = world.control.conferences[&conference].inactive.len();
    assert!(known <= crate::limits::MAX_INACTIVE_ABSENT + 1, "{known}");
}

#[test]
fn bridge_channel_case_61_connection_stats_follow_the_estimate() {
    let Pair { mut world, b, .. } = pair();
    world.pass(Duration::from_secs(25));
    assert!(
        world.heard_of(b, "ConnectionStats").is_empty(),
        "no estimate yet"
    );
    world.event(Event::Estimate(b, 2_500_000));
    world.pass(Duration::from_secs(20));
    let stats = json!({"colibriClass": "ConnectionStats", "estimatedDownlinkBandwidth": 2_500_000});
    assert_eq!(world.heard(b), [stats.clone(), stats]);
}

#[test]
fn bridge_channel_case_22_websockets_close_with_their_endpoint() {
    let Pair {
        mut world,
        conference,
        a,
        b,
    } = pair();
    world.expire(a);
    let closed = |world: &mut World, key| {
        world.take().iter().any(|output| {
            matches!(output, ControlOutput::CloseWebSocket(closed, 1001, "endpoint closed") if *closed == key)
        })
    };
    assert!(closed(&mut world, a));
    world.control.expire_conference(world.now, conference);
    assert!(closed(&mut world, b));
    world.check();
    assert!(world.pool.is_empty());
    // Late words of the departed reach nobody.
    world.say(a, r#"{"colibriClass":"ClientHello"}"#);
    world.event(Event::ChannelMessage(
        b,
        r#"{"colibriClass":"ClientHello"}"#.into(),
    ));
    world.disconnect(a);
    assert!(world.take().is_empty());
}

#[test]
fn t54_a_flooder_is_cut_off_and_the_others_are_not() {
    let Pair {
        mut world,
        conference,
        a,
        b,
    } = pair();
    let others: Vec<EndpointKey> = (0..500)
        .map(|n| world.endpoint(conference, &format!("e{n}")))
        .collect();
    others
        .iter()
        .for_each(|other| world.event(Event::ChannelOpened(*other)));
    let payload = "x".repeat(4_000);
    let message =
        json!({"colibriClass": "EndpointMessage", "to": "", "msgPayload": payload}).to_string();
    let mut egress = 0;
    let mut delivered = 0;
    for turn in 0..500 {
        world.take();
        world.say(b, &message);
        // Once a second somebody else has as much to say.
        if turn % 50 == 49 {
            world.told.clear();
            world.say(a, &message);
            delivered += world.heard(others[7]).len();
        }
        egress += world
            .take()
            .iter()
            .map(|output| match output {
                ControlOutput::WebSocket(_, text)
                | ControlOutput::Pool(_, PoolCommand::Send(_, text, _)) => text.len(),
                _ => 0,
            })
            .sum::<usize>();
        world.told.clear();
        world.now += Duration::from_millis(20);
    }
    assert_eq!(delivered, 10);
    // Ten seconds of 10 MiB, and a burst.
    assert!(egress < 11 * (10 << 20), "{egress}");
    assert!(egress > 5 * (10 << 20), "{egress}");
    assert!(world.control.counters().messages_over_budget > 100);
}

//! Random sequences of requests, messages and events against a simple model.

use proptest::prelude::*;

use super::*;

/// One step; numbers are taken modulo what exists.
#[derive(Clone, Debug)]
enum Step {
    CreateConference(u8),
    ExpireConference(u8),
    CreateEndpoint(u8, u8, bool),
    ExpireEndpoint(u8),
    Sources(u8, Vec<(u8, u8, bool)>),
    Connect(u8),
    Disconnect(u8),
    DataChannel(u8, bool),
    Broadcast(u8),
    Targeted(u8, u8),
    VideoType(u8, u8, bool),
    Speaker(u8, u8),
    Silence(u8),
    Connectivity(u8, bool),
    Constraints(u8, u8, i32),
    Ice(u8, bool),
    RestartIce(u8),
    Activity(u8),
    Fail(u8),
    Pass(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let n = any::<u8>;
    prop_oneof![
        2 => n().prop_map(Step::CreateConference),
        1 => n().prop_map(Step::ExpireConference),
        8 => (n(), n(), any::<bool>()).prop_map(|(a, b, c)| Step::CreateEndpoint(a, b, c)),
        3 => n().prop_map(Step::ExpireEndpoint),
        5 => (n(), prop::collection::vec((0..12u8, 0..40u8, any::<bool>()), 0..4)).prop_map(|(a, b)| Step::Sources(a, b)),
        4 => n().prop_map(Step::Connect),
        2 => n().prop_map(Step::Disconnect),
        2 => (n(), any::<bool>()).prop_map(|(a, b)| Step::DataChannel(a, b)),
        2 => n().prop_map(Step::Broadcast),
        2 => (n(), n()).prop_map(|(a, b)| Step::Targeted(a, b)),
        2 => (n(), 0..12u8, any::<bool>()).prop_map(|(a, b, c)| Step::VideoType(a, b, c)),
        2 => (n(), n()).prop_map(|(a, b)| Step::Speaker(a, b)),
        1 => n().prop_map(Step::Silence),
        2 => (n(), any::<bool>()).prop_map(|(a, b)| Step::Connectivity(a, b)),
        2 => (n(), n(), -1..1_000).prop_map(|(a, b, c)| Step::Constraints(a, b, c)),
        1 => (n(), any::<bool>()).prop_map(|(a, b)| Step::Ice(a, b)),
        1 => n().prop_map(Step::RestartIce),
        2 => n().prop_map(Step::Activity),
        1 => n().prop_map(Step::Fail),
        1 => n().prop_map(Step::Pass),
    ]
}

/// All keys ever given, so that steps also use stale ones.
#[derive(Default)]
struct Known {
    conferences: Vec<ConferenceKey>,
    endpoints: Vec<EndpointKey>,
}

impl Known {
    fn conference(&self, n: u8) -> ConferenceKey {
        self.conferences
            .get(usize::from(n) % self.conferences.len().max(1))
            .copied()
            .unwrap_or(ConferenceKey(7))
    }

    fn endpoint(&self, n: u8) -> EndpointKey {
        self.endpoints
            .get(usize::from(n) % self.endpoints.len().max(1))
            .copied()
            .unwrap_or(EndpointKey(7))
    }
}

fn take_step(world: &mut World, known: &mut Known, step: Step) {
    match step {
        Step::CreateConference(n) => {
            let options = ConferenceOptions {
                meeting_id: format!("m{}", n % 6).as_str().into(),
                name: None,
            };
            let exists = world.control.find_conference(&options.meeting_id).is_some();
            let created = world.control.create_conference(world.now, options);
            assert_eq!(created.is_err(), exists);
            known.conferences.extend(created);
        }
        Step::ExpireConference(n) => {
            world
                .control
                .expire_conference(world.now, known.conference(n));
            assert_eq!(world.control.feedback_ssrcs(known.conference(n)), None);
        }
        Step::CreateEndpoint(n, id, visitor) => {
            let conference = known.conference(n);
            let options = EndpointOptions {
                visitor,
                ..options(&format!("e{}", id % 9))
            };
            let expected = world.control.feedback_ssrcs(conference).is_some()
                && world
                    .control
                    .find_endpoint(conference, &options.id)
                    .is_none();
            let created = world.try_endpoint(conference, options);
            assert_eq!(created.is_ok(), expected);
            if let Ok(key) = created {
                assert!(!known.endpoints.contains(&key), "a key was given twice");
                known.endpoints.push(key);
            }
        }
        Step::ExpireEndpoint(n) => world.expire(known.endpoint(n)),
        Step::Sources(n, sources) => {
            // Names and SSRCs from a small pool collide often, within a conference and across.
            let sources: Vec<NewSource> = sources
                .into_iter()
                .map(|(name, ssrc, video)| {
                    let kind = if video {
                        MediaKind::Video
                    } else {
                        MediaKind::Audio
                    };
                    source(&format!("s{name}"), kind, ssrc.into())
                })
                .collect();
            let endpoint = known.endpoint(n);
            let before = world
                .control
                .endpoints
                .get(&endpoint)
                .map(|endpoint| Arc::clone(&endpoint.sources));
            world.settle();
            world.outputs.clear();
            if world.sources(endpoint, &sources).is_err() {
                assert!(world.outputs.is_empty());
                let after = world
                    .control
                    .endpoints
                    .get(&endpoint)
                    .map(|endpoint| Arc::clone(&endpoint.sources));
                assert_eq!(before, after);
            }
        }
        Step::Connect(n) => {
            if world.control.endpoint_id(known.endpoint(n)).is_some() {
                world.connect(known.endpoint(n));
            }
        }
        Step::Disconnect(n) => world.disconnect(known.endpoint(n)),
        Step::DataChannel(n, true) => world.event(Event::ChannelOpened(known.endpoint(n))),
        Step::DataChannel(n, false) => world.event(Event::ChannelClosed(known.endpoint(n))),
        Step::Broadcast(n) => forward(world, known.endpoint(n), ""),
        Step::Targeted(n, to) => forward(world, known.endpoint(n), &format!("e{}", to % 9)),
        Step::VideoType(n, name, muted) => {
            let video_type = if muted { "none" } else { "camera" };
            let message = serde_json::json!({
                "colibriClass": "SourceVideoTypeMessage", "sourceName": format!("s{name}"), "videoType": video_type,
            });
            world.event(Event::ChannelMessage(
                known.endpoint(n),
                message.to_string(),
            ));
        }
        Step::Speaker(n, speaker) => {
            world.event(Event::DominantSpeaker(
                known.conference(n),
                Some(known.endpoint(speaker)),
            ));
        }
        Step::Silence(n) => world.event(Event::DominantSpeaker(known.conference(n), None)),
        Step::Connectivity(n, active) => {
            world.event(Event::Connectivity(known.endpoint(n), active))
        }
        Step::Constraints(n, source, height) => {
            let source = SourceKey(u64::from(source) % (world.control.last_source + 1));
            world.event(Event::EffectiveConstraints(
                known.endpoint(n),
                vec![(source, height)],
            ));
        }
        Step::Ice(n, true) => world.event(Event::IceConnected(known.endpoint(n), path())),
        Step::Ice(n, false) => world.event(Event::IceFailed(known.endpoint(n))),
        Step::RestartIce(n) => drop(world.control.restart_ice(world.now, known.endpoint(n))),
        Step::Activity(n) => world.event(Event::Activity(known.endpoint(n), world.now)),
        Step::Fail(n) => world.event(Event::ConferenceFailed(
            known.conference(n),
            WorkerId(n % 3),
        )),
        Step::Pass(seconds) => world.pass(Duration::from_secs(seconds.into())),
    }
}

/// Somebody sends a message: it must stay in the sender's conference (T71) and name the sender (T64).
fn forward(world: &mut World, from: EndpointKey, to: &str) {
    world.settle();
    world.told.clear();
    let message =
        serde_json::json!({"colibriClass": "EndpointMessage", "to": to, "from": "x"}).to_string();
    world.say(from, &message);
    world.event(Event::ChannelMessage(from, message));
    for (receiver, messages) in &world.told {
        let sender = world
            .control
            .endpoint_id(from)
            .expect("only who exists is heard");
        assert_eq!(
            world.control.conference_of(*receiver),
            world.control.conference_of(from)
        );
        assert!(
            messages
                .iter()
                .all(|message| message["from"] == sender.as_str())
        );
        assert!(
            to.is_empty()
                || world
                    .control
                    .endpoint_id(*receiver)
                    .is_some_and(|id| id.as_str() == to)
        );
        assert!(!to.is_empty() || *receiver != from);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// T69, T71: whatever happens in whatever order, each shard knows what the model says, nothing goes to
    /// a worker, pool thread or channel that does not have the object, and in the end nothing remains.
    #[test]
    fn t69_t71_any_sequence_leaves_model_and_workers_in_agreement(
        steps in prop::collection::vec(step(), 1..120),
        spill_after in 1..4usize,
    ) {
        let mut config = BridgeConfig::default();
        config.net.spill_after = spill_after;
        let mut world = World::with(3, config);
        let mut known = Known::default();
        for step in steps {
            take_step(&mut world, &mut known, step);
            world.settle();
            world.check();
        }
        for key in known.conferences {
            world.control.expire_conference(world.now, key);
        }
        world.settle();
        world.check();
        prop_assert!(world.control.endpoints.is_empty() && world.control.conferences.is_empty());
        prop_assert!(world.control.timers.is_empty());
        prop_assert!(world.workers.iter().all(BTreeMap::is_empty));
        prop_assert!(world.pool.is_empty() && world.websockets.is_empty());
    }
}

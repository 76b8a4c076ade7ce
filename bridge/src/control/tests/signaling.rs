//! Conferences, endpoints, formats, transports, sources.

use serde_json::json;

use super::*;
use crate::control::DebugView;
use crate::limits::{MAX_CONFERENCES, MAX_SSRCS_PER_ENDPOINT};
use crate::media::{Codec, Extension, Feedback, MediaFormats, PayloadType};
use crate::transport::ice::{Credentials, worker_of_ufrag};
use crate::transport::secure::Certificate;

#[test]
fn the_control_plane_may_live_behind_a_lock_of_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&World::new().control);
}

#[test]
fn a_meeting_id_names_one_conference_until_it_expires() {
    let mut world = World::new();
    let first = world.conference("m");
    let again = ConferenceOptions {
        meeting_id: "m".into(),
        name: None,
    };
    let error = world
        .control
        .create_conference(world.now, again.clone())
        .unwrap_err();
    assert_eq!(error.to_string(), "Conference already exists for ID: m");
    world.control.expire_conference(world.now, first);
    assert_eq!(world.control.find_conference(&"m".into()), None);
    let second = world.control.create_conference(world.now, again).unwrap();
    assert_ne!(first, second);
    assert_eq!(world.control.local_id(second), format!("{:x}", second.0));
    world.settle();
    world.check();
}

#[test]
fn t69_ids_are_checked_and_numbers_are_limited() {
    let mut world = World::new();
    let conference = world.conference("m");
    for id in ["", "a/b", "a b", "a?", "a%41", "a\n", &"x".repeat(257)] {
        assert!(
            matches!(
                world.try_endpoint(conference, options(id)),
                Err(ControlError::Invalid(_))
            ),
            "{id:?}"
        );
    }
    assert_eq!(world.control.endpoint_count(conference), 0);
    for n in 1..MAX_CONFERENCES {
        world.conference(&n.to_string());
    }
    let one_more = ConferenceOptions {
        meeting_id: "one more".into(),
        name: None,
    };
    assert!(matches!(
        world.control.create_conference(world.now, one_more.clone()),
        Err(ControlError::Limit(_))
    ));
    world.control.expire_conference(world.now, conference);
    assert!(world.control.create_conference(world.now, one_more).is_ok());
}

#[test]
fn an_endpoint_reaches_its_worker_and_the_handshake_pool() {
    let mut world = World::new();
    let conference = world.conference("m");
    let endpoint = world.endpoint(conference, "a");
    let outputs = world.take();
    let transport = world.control.local_transport(endpoint).unwrap();
    let setup = outputs.iter().find_map(|output| match output {
        ControlOutput::Worker(_, Command::AddEndpoint(setup)) => Some(setup),
        _ => None,
    });
    let setup = setup.expect("the worker learns of the endpoint");
    assert_eq!((setup.key, &setup.id), (endpoint, &"a".into()));
    assert_eq!(setup.credentials, transport.credentials);
    assert!(setup.ssrc_rewriting && !setup.mid_demux && setup.controlling);
    assert!(outputs.iter().any(|output| matches!(output,
        ControlOutput::Pool(_, PoolCommand::Open { sctp: true, endpoint: opened, .. }) if *opened == endpoint)));

    assert_eq!(transport.setup, Setup::ActPass);
    assert_eq!(transport.candidates.len(), 1);
    assert_eq!(transport.websocket_password.len(), 24);
    assert!(
        transport
            .websocket_password
            .chars()
            .all(|character| character.is_ascii_alphanumeric())
    );
    let twin = world.try_endpoint(conference, options("a")).unwrap_err();
    assert_eq!(twin.to_string(), "Endpoint with ID a already exists");
    assert_eq!(
        world.try_endpoint(ConferenceKey(1), options("a")),
        Err(ControlError::NoConference)
    );
    world.check();
}

#[test]
fn an_endpoint_that_returns_is_a_new_one() {
    let mut world = World::new();
    let conference = world.conference("m");
    let first = world.endpoint(conference, "a");
    let password = world
        .control
        .local_transport(first)
        .unwrap()
        .websocket_password;
    world.expire(first);
    world.expire(first);
    let second = world.endpoint(conference, "a");
    assert_ne!(first, second);
    assert_ne!(
        password,
        world
            .control
            .local_transport(second)
            .unwrap()
            .websocket_password
    );
    assert_eq!(world.control.local_transport(first), None);
    assert_eq!(world.sources(first, &[]), Err(ControlError::NoEndpoint));
    world.check();
}

#[test]
fn a_websocket_url_is_good_for_its_endpoint_only() {
    let mut world = World::new();
    let conference = world.conference("meeting");
    let a = world.endpoint(conference, "a");
    let b = world.endpoint(conference, "b");
    let id = world.control.local_id(conference);
    let password = world.control.local_transport(a).unwrap().websocket_password;
    let authorise =
        |id: &str, endpoint: &str, password: &str| world.control.authorise(id, endpoint, password);
    assert_eq!(authorise(&id, "a", &password), Some(a));
    assert_eq!(
        authorise("meeting", "a", &password),
        None,
        "bridge-channel case 5"
    );
    assert_eq!(authorise("1", "a", &password), None, "case 4");
    assert_eq!(authorise(&id, "x", &password), None, "case 6");
    assert_eq!(authorise(&id, "b", &password), None, "case 7");
    assert_eq!(
        authorise(&id, "a", &format!("{password}&x=1")),
        None,
        "case 8"
    );
    assert_eq!(authorise(&id, "a", ""), None);
    for spelling in [
        id.to_uppercase(),
        format!("0{id}"),
        format!("+{id}"),
        String::new(),
    ] {
        assert!(
            spelling == id || authorise(&spelling, "a", &password).is_none(),
            "{spelling}"
        );
    }
    let other = world.control.local_transport(b).unwrap().websocket_password;
    assert_eq!(world.control.authorise(&id, "b", &other), Some(b));
}

#[test]
fn conferences_spread_over_workers_and_spill_when_they_grow() {
    let mut config = BridgeConfig::default();
    config.net.spill_after = 2;
    let mut world = World::with(3, config);
    let conference = world.conference("m");
    let home = world.control.conferences[&conference].home;
    let mut members: Vec<EndpointKey> = ["a", "b"].map(|id| world.endpoint(conference, id)).into();
    world.sources(members[0], &[camera("a-v0", 1)]).unwrap();
    let worker = |world: &World, key: EndpointKey| world.control.endpoints[&key].worker;
    assert!(members.iter().all(|key| worker(&world, *key) == home));

    // A second conference goes elsewhere, and the first spills past it to the idle worker.
    let other = world.conference("other");
    world.endpoint(other, "x");
    world.take();
    members.push(world.endpoint(conference, "c"));
    let third = worker(&world, members[2]);
    assert!(third != home && third != world.control.conferences[&other].home);
    world.check();

    // The new shard was told everything before its endpoint came, the old one that it has company.
    let commands = world.commands();
    let names: Vec<String> = commands
        .iter()
        .map(|(worker, command)| {
            let side = if *worker == home { "home" } else { "new" };
            let name = format!("{command:?}");
            format!(
                "{side} {}",
                name.split(['(', ' ']).next().unwrap_or_default()
            )
        })
        .collect();
    assert!(names.contains(&"home Conference".into()));
    let of_new: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_prefix("new "))
        .collect();
    assert_eq!(
        of_new,
        ["Conference", "Sources", "Order", "AddEndpoint", "Order"]
    );

    for id in ["d", "e", "f", "g", "h"] {
        members.push(world.endpoint(conference, id));
    }
    assert_eq!(world.control.conferences[&conference].shards.len(), 3);
    world.check();

    // Shards go when they are not needed any more; the home stays.
    for member in members {
        world.expire(member);
        world.check();
    }
    assert_eq!(
        world.control.conferences[&conference].shards,
        BTreeMap::from([(home, 0)])
    );
}

#[test]
fn a_visitor_that_opens_a_shard_finds_it_up_to_date() {
    let mut config = BridgeConfig::default();
    config.net.spill_after = 1;
    let mut world = World::with(2, config);
    let conference = world.conference("m");
    world.endpoint(conference, "a");
    let visitor = world.visitor(conference, "v");
    assert!(world.control.is_visitor(visitor));
    world.check();
    assert_eq!(
        world.sources(visitor, &[camera("v-v0", 1)]),
        Err(ControlError::VisitorSources("v".into()))
    );
    assert_eq!(world.sources(visitor, &[]), Ok(()));
}

#[test]
fn local_ufrags_name_the_worker() {
    let mut world = World::with(3, BridgeConfig::default());
    for n in 0..6 {
        let conference = world.conference(&n.to_string());
        let endpoint = world.endpoint(conference, "a");
        let credentials = world.control.local_transport(endpoint).unwrap().credentials;
        let worker = world.control.endpoints[&endpoint].worker;
        assert_eq!(
            worker_of_ufrag("", credentials.ufrag.as_bytes()),
            Some(worker)
        );
    }
    assert_eq!(world.control.loads, [2, 2, 2]);
}

fn payload_type(number: u8, codec: Codec) -> PayloadType {
    PayloadType {
        number,
        codec,
        clock_rate: 90_000,
        associated: None,
        feedback: Feedback::default(),
    }
}

#[test]
fn formats_are_merged_and_the_last_meaning_wins() {
    let mut world = World::new();
    let conference = world.conference("m");
    let endpoint = world.endpoint(conference, "a");
    let mut formats = MediaFormats {
        payload_types: vec![payload_type(100, Codec::Vp8)],
        ..Default::default()
    };
    formats.extensions.set(Extension::AudioLevel, 1);
    formats.extensions.set(Extension::TransportCc, 5);
    world
        .control
        .add_formats(world.now, endpoint, formats)
        .unwrap();
    let mut more = MediaFormats {
        payload_types: vec![
            payload_type(100, Codec::Vp9),
            payload_type(111, Codec::Opus),
        ],
        extmap_allow_mixed: true,
        ..Default::default()
    };
    more.extensions.set(Extension::Mid, 1);
    world
        .control
        .add_formats(world.now, endpoint, more.clone())
        .unwrap();
    let (_, Command::Formats(_, formats)) = world.commands().pop().unwrap() else {
        panic!("no formats")
    };
    assert_eq!(formats.by_number(100).unwrap().codec, Codec::Vp9);
    assert_eq!(formats.by_number(111).unwrap().codec, Codec::Opus);
    assert_eq!(
        formats.extensions.id(Extension::AudioLevel),
        None,
        "its id means something else now"
    );
    assert_eq!(formats.extensions.extension(1), Some(Extension::Mid));
    assert_eq!(formats.extensions.id(Extension::TransportCc), Some(5));
    assert!(formats.extmap_allow_mixed);

    world
        .control
        .add_formats(world.now, endpoint, more.clone())
        .unwrap();
    assert!(world.commands().is_empty(), "nothing changed");
    more.payload_types = vec![payload_type(128, Codec::Opus)];
    assert!(
        world
            .control
            .add_formats(world.now, endpoint, more)
            .is_err()
    );
    let mut fifteen = MediaFormats::default();
    fifteen.extensions.set(Extension::DependencyDescriptor, 15);
    assert!(
        world
            .control
            .add_formats(world.now, endpoint, fifteen)
            .is_err()
    );
}

#[test]
fn t33_the_first_owner_keeps_an_ssrc_and_a_name() {
    let mut world = World::new();
    let conference = world.conference("m");
    let a = world.endpoint(conference, "a");
    let b = world.endpoint(conference, "b");
    world
        .sources(a, &[audio("a-a0", 1), camera("a-v0", 2)])
        .unwrap();
    world.sources(b, &[audio("b-a0", 10)]).unwrap();
    world.take();

    for stolen in [audio("b-a0", 1), camera("b-v0", 2), camera("a-v0", 20)] {
        assert!(matches!(
            world.sources(b, &[stolen]),
            Err(ControlError::Invalid(_))
        ));
    }
    let rtx = EncodingDescription {
        ssrc: 30,
        rtx_ssrc: Some(2),
    };
    assert!(
        world
            .sources(
                b,
                &[NewSource {
                    encodings: vec![rtx],
                    ..camera("b-v0", 0)
                }]
            )
            .is_err()
    );
    let (ours, _) = world.control.feedback_ssrcs(conference).unwrap();
    assert!(world.sources(b, &[audio("b-a0", ours)]).is_err());
    assert!(world.take().is_empty(), "what is refused leaves no trace");
    world.check();

    // T71: the same SSRC and name in another conference are somebody else's.
    let other = world.conference("other");
    let twin = world.endpoint(other, "a");
    world
        .sources(twin, &[audio("a-a0", 1), camera("a-v0", 2)])
        .unwrap();
    world.expire(twin);

    // What the owner gives up is free.
    world.sources(a, &[audio("a-a0", 1)]).unwrap();
    world.sources(b, &[camera("b-v0", 2)]).unwrap();
    world.expire(a);
    world.sources(b, &[audio("b-a0", 1)]).unwrap();
    world.check();
}

#[test]
fn t31_the_65th_ssrc_is_refused_with_a_reason() {
    let mut world = World::new();
    let conference = world.conference("m");
    let a = world.endpoint(conference, "a");
    let limit = u32::try_from(MAX_SSRCS_PER_ENDPOINT).unwrap();
    let mut sources: Vec<NewSource> = (1..=limit).map(|n| audio(&format!("a-a{n}"), n)).collect();
    world.sources(a, &sources).unwrap();
    sources.push(audio("a-one-more", 1_000));
    let error = world.sources(a, &sources).unwrap_err();
    assert!(matches!(error, ControlError::Limit(text) if text.contains("64")));
    // Full replacement: 64 others are fine.
    let others: Vec<NewSource> = (1..=limit)
        .map(|n| audio(&format!("a-b{n}"), 1_000 + n))
        .collect();
    world.sources(a, &others).unwrap();
    world.check();
}

#[test]
fn malformed_sources_are_refused() {
    let mut world = World::new();
    let conference = world.conference("m");
    let a = world.endpoint(conference, "a");
    let encodings = |ssrcs: &[u32]| {
        ssrcs
            .iter()
            .map(|ssrc| EncodingDescription {
                ssrc: *ssrc,
                rtx_ssrc: None,
            })
            .collect()
    };
    let bad = [
        vec![camera("", 1)],
        vec![camera(&"x".repeat(257), 1)],
        vec![camera("a", 1), camera("a", 2)],
        vec![camera("a", 1), audio("b", 1)],
        vec![NewSource {
            encodings: Vec::new(),
            ..camera("a", 1)
        }],
        vec![NewSource {
            encodings: encodings(&[1, 2]),
            ..audio("a", 1)
        }],
        vec![NewSource {
            encodings: encodings(&[1, 2, 3, 4, 5]),
            ..camera("a", 1)
        }],
        vec![NewSource {
            encodings: encodings(&[1, 1]),
            ..camera("a", 1)
        }],
    ];
    for sources in bad {
        assert!(world.sources(a, &sources).is_err(), "{sources:?}");
    }
    world.check();
}

#[test]
fn signaling_a_source_again_keeps_its_key() {
    let mut world = World::new();
    let conference = world.conference("m");
    let a = world.endpoint(conference, "a");
    world
        .sources(a, &[camera("a-v0", 1), desktop("a-v1", 2)])
        .unwrap();
    let (v0, v1) = (world.source(a, "a-v0"), world.source(a, "a-v1"));
    world.take();
    world
        .sources(a, &[camera("a-v0", 1), desktop("a-v1", 2)])
        .unwrap();
    assert!(world.take().is_empty(), "nothing changed");
    world
        .sources(a, &[camera("a-v0", 1), desktop("a-v1", 3)])
        .unwrap();
    assert_eq!(world.source(a, "a-v0"), v0);
    assert_ne!(
        world.source(a, "a-v1"),
        v1,
        "another first SSRC is another source"
    );
    world.sources(a, &[]).unwrap();
    world.sources(a, &[camera("a-v0", 1)]).unwrap();
    assert_ne!(world.source(a, "a-v0"), v0, "it was away");
    world.check();
}

#[test]
fn force_mute_and_last_n_go_to_the_endpoints_worker() {
    let mut world = World::new();
    let conference = world.conference("m");
    let a = world.endpoint(conference, "a");
    world.take();
    world.control.set_force_mute(world.now, a, true, false);
    world.control.set_force_mute(world.now, a, true, false);
    world.control.set_initial_last_n(world.now, a, -7);
    let commands = world.commands();
    assert!(matches!(
        commands[..],
        [
            (
                _,
                Command::ForceMute {
                    audio: true,
                    video: false,
                    ..
                }
            ),
            (_, Command::InitialLastN(_, -1))
        ]
    ));
}

fn remote(ufrag: Option<&str>, generation: Option<u32>) -> RemoteTransport {
    RemoteTransport {
        credentials: ufrag.map(|ufrag| Credentials {
            ufrag: ufrag.into(),
            password: "p".repeat(22).into(),
        }),
        ice_generation: generation,
        ..RemoteTransport::default()
    }
}

#[test]
fn the_peers_transport_goes_to_worker_and_pool() {
    let mut world = World::new();
    let conference = world.conference("m");
    let a = world.endpoint(conference, "a");
    world.take();
    let candidates = vec!["198.51.100.9:4000".parse().unwrap(); 100];
    let transport = RemoteTransport {
        candidates,
        fingerprints: vec![fingerprint()],
        setup: SETUP,
        ..remote(Some("uuuu"), None)
    };
    world
        .control
        .set_remote_transport(world.now, a, transport.clone())
        .unwrap();
    assert_eq!(
        world.control.local_transport(a).unwrap().setup,
        Setup::Passive
    );
    let outputs = world.take();
    let [
        ControlOutput::Pool(
            _,
            PoolCommand::Remote {
                fingerprints,
                setup: SETUP,
                ..
            },
        ),
        ControlOutput::Worker(_, Command::RemoteIce(_, ice)),
    ] = &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(fingerprints, &transport.fingerprints);
    assert_eq!(ice.candidates.len(), crate::limits::MAX_REMOTE_CANDIDATES);
    assert_eq!(ice.credentials, transport.credentials);

    let tagged = remote(Some("uuuu"), Some(0));
    world
        .control
        .set_remote_transport(world.now, a, tagged)
        .unwrap();
    let commands = world.commands();
    let [(_, Command::RemoteIce(_, ice))] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert_eq!(ice.generation, None, "0 is the first session");

    // A peer that offers to do either is not a choice; too much of anything is refused.
    let undecided = RemoteTransport {
        setup: Some(Setup::ActPass),
        ..RemoteTransport::default()
    };
    world
        .control
        .set_remote_transport(world.now, a, undecided)
        .unwrap();
    assert_eq!(
        world.control.local_transport(a).unwrap().setup,
        Setup::Passive
    );
    let long = remote(Some(&"u".repeat(257)), None);
    assert!(
        world
            .control
            .set_remote_transport(world.now, a, long)
            .is_err()
    );
    let many = RemoteTransport {
        fingerprints: vec![fingerprint(); 9],
        ..RemoteTransport::default()
    };
    assert!(
        world
            .control
            .set_remote_transport(world.now, a, many)
            .is_err()
    );
    assert!(world.take().is_empty());

    // Once ICE is connected, only a restart brings new parameters.
    world.event(Event::IceConnected(a, path()));
    world
        .control
        .set_remote_transport(world.now, a, remote(Some("vvvv"), None))
        .unwrap();
    assert!(world.take().is_empty());
}

#[test]
fn media_plane_case_27_no_restart_before_ice_ever_completed() {
    let mut world = World::new();
    let conference = world.conference("m");
    let a = world.endpoint(conference, "a");
    let current = world.control.local_transport(a).unwrap();
    assert_eq!(
        world.control.restart_ice(world.now, a),
        RestartOutcome::KeepExisting(current.clone())
    );
    assert_eq!(current.ice_generation, None);
}

/// Media-plane cases 22, 25 and 26, colibri2 spec §3.9.
#[test]
fn media_plane_case_25_a_restart_is_repeated_until_answered_and_then_superseded() {
    let mut world = World::new();
    let conference = world.conference("m");
    let a = world.endpoint(conference, "a");
    world.event(Event::IceConnected(a, path()));
    let before = world.control.local_transport(a).unwrap();
    world.take();
    let RestartOutcome::Started(first) = world.control.restart_ice(world.now, a) else {
        panic!("refused")
    };
    assert_eq!(first.ice_generation, Some(1));
    assert_ne!(first.credentials, before.credentials);
    assert_eq!(first.websocket_password, before.websocket_password);
    assert_eq!(
        world.control.restart_ice(world.now, a),
        RestartOutcome::Started(first.clone())
    );
    assert_eq!(world.commands().len(), 1, "the worker hears of it once");

    for ignored in [remote(Some("xxxx"), Some(2)), remote(Some("xxxx"), None)] {
        world
            .control
            .set_remote_transport(world.now, a, ignored)
            .unwrap();
    }
    assert!(world.commands().is_empty());
    world
        .control
        .set_remote_transport(world.now, a, remote(Some("xxxx"), Some(1)))
        .unwrap();
    assert!(matches!(
        world.commands()[..],
        [(_, Command::RemoteIce(..))]
    ));

    let RestartOutcome::Started(second) = world.control.restart_ice(world.now, a) else {
        panic!("refused")
    };
    assert_eq!(second.ice_generation, Some(2));
    assert_ne!(second.credentials, first.credentials);
    world.event(Event::IceRestartEnded(a, 2, true));
    let after = world.control.local_transport(a).unwrap();
    assert_eq!(
        (after.credentials, after.ice_generation),
        (second.credentials, None)
    );
    assert_eq!(world.control.counters().ice_restarts_superseded, 1);
}

#[test]
fn a_restart_is_refused_where_it_is_off_or_cannot_help() {
    let mut config = BridgeConfig::default();
    config.ice.restart_enabled = false;
    let mut world = World::with(1, config);
    let conference = world.conference("m");
    let a = world.endpoint(conference, "a");
    world.event(Event::IceConnected(a, path()));
    assert_eq!(
        world.control.restart_ice(world.now, a),
        RestartOutcome::Unavailable
    );

    let mut world = World::new();
    let conference = world.conference("m");
    let a = world.endpoint(conference, "a");
    world.event(Event::IceFailed(a));
    assert_eq!(
        world.control.restart_ice(world.now, a),
        RestartOutcome::Unavailable
    );
    assert_eq!(
        world.control.restart_ice(world.now, EndpointKey(99)),
        RestartOutcome::Unavailable
    );
}

#[test]
fn t63_debug_output_has_no_secrets() {
    let mut world = World::new();
    let conference = world.conference("m");
    let a = world.endpoint(conference, "a");
    world.sources(a, &[camera("a-v0", 1)]).unwrap();
    world.connect(a);
    world.event(Event::IceConnected(a, path()));
    world.say(
        a,
        r#"{"colibriClass":"EndpointMessage","to":"","msgPayload":"a secret"}"#,
    );
    let transport = world.control.local_transport(a).unwrap();
    let view = |full| DebugView {
        full,
        epoch_ms: 1_000_000,
    };
    let describe = |only: Option<&str>, full| {
        let only = only.map(EndpointId::from);
        world
            .control
            .debug_conference(conference, only.as_ref(), view(full))
    };
    let full = describe(Some("a"), true);
    let endpoint = &full["endpoints"]["a"];
    assert_eq!(endpoint["channel"]["received_counts"]["EndpointMessage"], 1);
    assert_eq!(endpoint["transport"]["remote_address"], "198.51.100.9:4000");
    assert_eq!(describe(None, false)["endpoints"], json!({ "a": null }));
    assert_eq!(describe(Some("z"), true)["endpoints"], json!({}));
    for view in [describe(None, false), describe(None, true), full] {
        let text = view.to_string();
        for secret in [
            &*transport.websocket_password,
            &*transport.credentials.password,
            "a secret",
        ] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    assert_eq!(
        world
            .control
            .debug_conference(ConferenceKey(1), None, view(true)),
        Value::Null
    );
}

#[test]
fn media_plane_case_36_a_new_certificate_is_told_to_new_endpoints_only() {
    let mut world = World::new();
    let conference = world.conference("m1");
    let early = world.endpoint(conference, "aaaaaaaa");
    let told =
        |world: &World, endpoint| world.control.local_transport(endpoint).unwrap().fingerprint;
    let old = told(&world, early);

    let certificate = Arc::new(Certificate::generate(std::time::SystemTime::now()).unwrap());
    world.take();
    world.control.renew_certificate(&certificate);
    let late = world.endpoint(conference, "bbbbbbbb");

    assert_eq!(told(&world, early), old);
    assert_eq!(&told(&world, late), certificate.fingerprint());
    // Each thread of the pool has it before it opens the endpoint.
    let pool: Vec<_> = world
        .take()
        .into_iter()
        .filter_map(|output| match output {
            ControlOutput::Pool(_, PoolCommand::Certificate(_)) => Some("certificate"),
            ControlOutput::Pool(_, PoolCommand::Open { .. }) => Some("open"),
            _ => None,
        })
        .collect();
    assert_eq!(pool, ["certificate", "certificate", "open"]);
}

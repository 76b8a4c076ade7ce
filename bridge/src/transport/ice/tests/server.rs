//! What requests get as an answer (media-plane §1.6).

use super::*;
use crate::wire::stun::StunWriter;

const CLIENT: &str = "203.0.113.9:4000";

/// Nothing at all came of it.
fn assert_untouched(scene: &Scene) {
    assert!(scene.sent.is_empty());
    assert!(scene.events.is_empty());
    assert!(!scene.ice.accepts(path(CLIENT)));
    assert_eq!(scene.send_path(), None);
}

/// A request with these attributes, authenticated with `password`.
fn custom(scene: &Scene, password: &str, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut out = [0; 400];
    let mut writer = StunWriter::new(&mut out, Class::Request, stun::BINDING, &[9; 12]);
    let username = format!("{}:{}", scene.local.ufrag, scene.client.ufrag);
    writer.attribute(0x0006, &[username.as_bytes()]);
    for (kind, value) in attributes {
        writer.attribute(*kind, &[value]);
    }
    let len = writer.finish(&stun::integrity_key(password)).unwrap();
    out[..len].to_vec()
}

/// Takes MESSAGE-INTEGRITY and FINGERPRINT off.
fn without_integrity(request: &[u8]) -> Vec<u8> {
    let mut bytes = request[..request.len() - 32].to_vec();
    let length = (bytes.len() - 20) as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Takes FINGERPRINT off.
fn without_fingerprint(request: &[u8]) -> Vec<u8> {
    let mut bytes = request[..request.len() - 8].to_vec();
    let length = (bytes.len() - 20) as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

#[test]
fn media_plane_case_1_an_authentic_request_is_answered_where_it_came_from() {
    let mut scene = Scene::with(IceConfig::default(), true, &[BRIDGE, "[2001:db8::1]:10000"]);
    let on_ipv6 = Path {
        socket: SocketId(1),
        remote: "[2001:db8::9]:4000".parse().unwrap(),
    };
    for path in [path(CLIENT), on_ipv6] {
        let request = scene.request();
        scene.sent.clear();
        assert_eq!(scene.deliver_to(path, &request.write()), Ok(()));
        let [answer] = &scene.sent[..] else {
            panic!("{} datagrams", scene.sent.len())
        };
        assert_eq!(answer.path, path);
        let message = answer.message();
        assert_eq!(message.class(), Class::Success);
        assert_eq!(*message.transaction(), request.transaction);
        assert_eq!(message.xor_mapped(), Some(path.remote));
        assert!(message.verify_integrity(&stun::integrity_key(&scene.local.password)));
        assert!(scene.ice.accepts(path));
        assert_eq!(scene.count(&IceEvent::PathValidated(path)), 1);
        // T04: one authentic request is no reason to send anything but the answer.
        assert_eq!(scene.send_path(), None);
    }
}

#[test]
fn media_plane_case_2_one_changed_bit_leaves_no_trace() {
    let mut scene = Scene::new();
    let request = without_fingerprint(&scene.request().write());
    for at in 20..request.len() {
        let mut changed = request.clone();
        changed[at] ^= 1;
        // Some bits make it no STUN message at all; the worker does not get further then.
        if StunMessage::parse(&changed).is_ok() {
            let refusal = scene.deliver(CLIENT, &changed).unwrap_err();
            let counters = [Counter::DropStunIntegrity, Counter::DropStunUnknownUfrag];
            assert!(counters.contains(&refusal.counter()), "byte {at}");
            assert_untouched(&scene);
        }
    }
    assert_eq!(scene.deliver(CLIENT, &request), Ok(()));
}

#[test]
fn media_plane_case_3_no_message_integrity_no_answer() {
    let mut scene = Scene::new();
    let request = without_integrity(&scene.request().write());
    assert_eq!(scene.deliver(CLIENT, &request), Err(Refusal::Integrity));
    assert_untouched(&scene);
}

#[test]
fn media_plane_case_4_unknown_ufrag_no_answer() {
    let mut scene = Scene::new();
    for ufrag in ["nope", "", "x"] {
        let request = Request {
            local: credentials(ufrag),
            ..scene.request()
        };
        assert_eq!(
            scene.deliver(CLIENT, &request.write()),
            Err(Refusal::UnknownUfrag)
        );
        assert_untouched(&scene);
    }
}

#[test]
fn media_plane_cases_5_and_6_addresses_without_a_check_are_not_accepted() {
    let mut scene = Scene::connected(CLIENT);
    // The worker asks before DTLS sees a ClientHello and before SRTP computes anything.
    assert!(scene.ice.accepts(path(CLIENT)));
    for stranger in ["203.0.113.9:4001", "203.0.113.10:4000"] {
        assert!(!scene.ice.accepts(path(stranger)));
        assert!(!scene.ice.accepts(Path {
            socket: SocketId(1),
            ..path(CLIENT)
        }));
        // Should it let media through all the same, nothing follows it.
        assert!(
            !scene
                .ice
                .note_authenticated_media(scene.now, path(stranger))
        );
        scene.run(ms(1_000));
        assert!(
            !scene
                .ice
                .note_authenticated_media(scene.now, path(stranger))
        );
        assert!(!scene.ice.accepts(path(stranger)));
        assert_eq!(scene.send_path(), Some(path(CLIENT)));
    }
}

#[test]
fn media_plane_case_7_t01_a_flood_without_the_password_changes_nothing() {
    let mut scene = Scene::started();
    let good = scene.request();
    let wrong = Credentials {
        password: "wrong password, 24 chars".into(),
        ..scene.local.clone()
    };
    let flood = [
        (
            Request {
                local: wrong,
                ..good.clone()
            }
            .write(),
            Refusal::Integrity,
        ),
        (
            Request {
                local: credentials("other"),
                ..good.clone()
            }
            .write(),
            Refusal::UnknownUfrag,
        ),
        (
            Request {
                remote_ufrag: "stranger".into(),
                ..good.clone()
            }
            .write(),
            Refusal::Integrity,
        ),
        (without_integrity(&good.write()), Refusal::Integrity),
        (
            custom(&scene, "wrong", &[(0x7FFF, &[])]),
            Refusal::Integrity,
        ),
        (
            without_integrity(&custom(&scene, "wrong", &[(0x7FFF, &[])])),
            Refusal::Integrity,
        ),
    ];
    for n in 0..10_000u32 {
        let source = SocketAddr::from(((0xCB00_7200 + n).to_be_bytes(), 1_024));
        let (bytes, refusal) = &flood[n as usize % flood.len()];
        let source = Path {
            socket: SocketId(0),
            remote: source,
        };
        assert_eq!(scene.deliver_to(source, bytes), Err(*refusal));
    }
    assert_untouched(&scene);
    assert_eq!(
        format!("{:?}", scene.ice),
        format!("{:?}", Scene::started().ice)
    );

    // An ordinary client is served as ever.
    scene.answer_on(CLIENT);
    scene.ping(CLIENT);
    scene.run(ms(100));
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
}

#[test]
fn media_plane_case_8_a_repeated_request_gets_the_same_bytes() {
    let mut scene = Scene::connected(CLIENT);
    let request = scene.request().write();
    let unknown = custom(
        &scene,
        &scene.local.password.clone(),
        &[(0x24, &[1; 4]), (0x7FFF, &[])],
    );
    for bytes in [request, unknown] {
        scene.sent.clear();
        for _ in 0..8 {
            assert_eq!(scene.deliver(CLIENT, &bytes), Ok(()));
            scene.run(ms(1_900));
        }
        let answers = scene.answers();
        assert_eq!(answers.len(), 8);
        assert!(
            answers
                .iter()
                .all(|answer| answer.bytes == answers[0].bytes)
        );
    }
}

#[test]
fn media_plane_case_8_even_if_the_role_changed_in_between() {
    let mut scene = Scene::started();
    let conflict = Request {
        role: RoleClaim::Controlling(0),
        ..scene.request()
    }
    .write();
    assert_eq!(scene.deliver(CLIENT, &conflict), Ok(()));
    let stronger = Request {
        role: RoleClaim::Controlling(u64::MAX),
        ..scene.request()
    }
    .write();
    assert_eq!(scene.deliver(CLIENT, &stronger), Ok(()));
    assert!(!scene.ice.is_controlling());
    assert_eq!(scene.deliver(CLIENT, &conflict), Ok(()));
    let answers = scene.answers();
    assert_eq!(answers[0].message().error_code(), Some(487));
    assert_eq!(answers[1].message().class(), Class::Success);
    assert_eq!(answers[2].bytes, answers[0].bytes);
}

#[test]
fn media_plane_case_9_unknown_attributes_are_named() {
    let mut scene = Scene::new();
    let password = scene.local.password.clone();
    let request = custom(
        &scene,
        &password,
        &[(0x24, &[1; 4]), (0x7FFF, b"?"), (0x0003, &[])],
    );
    assert_eq!(scene.deliver(CLIENT, &request), Ok(()));
    let [answer] = &scene.sent[..] else { panic!() };
    assert_eq!(answer.message().error_code(), Some(420));
    let types = [0x00, 0x0A, 0x00, 0x04, 0x7F, 0xFF, 0x00, 0x03];
    assert!(
        answer
            .bytes
            .windows(types.len())
            .any(|window| window == types)
    );
    assert!(!scene.ice.accepts(path(CLIENT)));
}

#[test]
fn t01_error_answers_are_limited() {
    let mut scene = Scene::new();
    let password = scene.local.password.clone();
    let request = custom(&scene, &password, &[(0x24, &[1; 4]), (0x7FFF, &[])]);
    for _ in 0..1_000 {
        assert_eq!(scene.deliver(CLIENT, &request), Ok(()));
    }
    assert_eq!(
        scene.sent.len(),
        crate::limits::STUN_ERRORS_PER_SECOND as usize
    );
    scene.run(ms(1_000));
    assert_eq!(scene.deliver(CLIENT, &request), Ok(()));
    assert_eq!(
        scene.sent.len(),
        crate::limits::STUN_ERRORS_PER_SECOND as usize + 1
    );
}

#[test]
fn waiting_answers_are_bounded() {
    let mut scene = Scene::new();
    for _ in 0..100 {
        let bytes = scene.request().write();
        let message = StunMessage::parse(&bytes).unwrap();
        scene
            .ice
            .handle_request(scene.now, path(CLIENT), &message)
            .unwrap();
    }
    scene.drain();
    assert_eq!(scene.answers().len(), crate::limits::MAX_STUN_ANSWERS);
}

#[test]
fn media_plane_case_10_two_controlling_agents() {
    // Tie-breaker ≥ the peer's: 487, and the role stays.
    let mut scene = Scene::started();
    let request = Request {
        role: RoleClaim::Controlling(0),
        ..scene.request()
    };
    assert_eq!(scene.deliver(CLIENT, &request.write()), Ok(()));
    let answer = &scene.answers()[0];
    assert_eq!(answer.message().error_code(), Some(487));
    assert!(
        answer
            .message()
            .verify_integrity(&stun::integrity_key(&scene.local.password))
    );
    assert!(scene.ice.is_controlling());
    assert!(!scene.ice.accepts(path(CLIENT)));

    // Smaller: success, and the role switches.
    let request = Request {
        role: RoleClaim::Controlling(u64::MAX),
        ..scene.request()
    };
    assert_eq!(scene.deliver(CLIENT, &request.write()), Ok(()));
    assert_eq!(scene.answers()[1].message().class(), Class::Success);
    assert!(!scene.ice.is_controlling());
}

#[test]
fn media_plane_case_10_two_controlled_agents() {
    let mut scene = Scene::with(IceConfig::default(), false, &[BRIDGE]);
    scene.set_remote(None, &[]);
    let request = Request {
        role: RoleClaim::Controlled(u64::MAX),
        ..scene.request()
    };
    assert_eq!(scene.deliver(CLIENT, &request.write()), Ok(()));
    assert_eq!(scene.answers()[0].message().error_code(), Some(487));
    assert!(!scene.ice.is_controlling());

    let request = Request {
        role: RoleClaim::Controlled(0),
        ..scene.request()
    };
    assert_eq!(scene.deliver(CLIENT, &request.write()), Ok(()));
    assert_eq!(scene.answers()[1].message().class(), Class::Success);
    assert!(scene.ice.is_controlling());
}

#[test]
fn requests_without_priority_are_dropped() {
    let mut scene = Scene::new();
    let password = scene.local.password.clone();
    let request = custom(&scene, &password, &[]);
    assert_eq!(scene.deliver(CLIENT, &request), Err(Refusal::Malformed));
    assert_untouched(&scene);
}

#[test]
fn t07_other_methods_and_indications_are_dropped() {
    let mut scene = Scene::new();
    let key = stun::integrity_key(&scene.local.password);
    for (class, method) in [
        (Class::Request, 3),
        (Class::Indication, 1),
        (Class::Success, 3),
    ] {
        let mut out = [0; 200];
        let len = StunWriter::new(&mut out, class, method, &[1; 12])
            .finish(&key)
            .unwrap();
        assert_eq!(scene.deliver(CLIENT, &out[..len]), Err(Refusal::Unexpected));
        assert_untouched(&scene);
    }
}

#[test]
fn t03_forged_requests_never_move_or_end_a_session() {
    let mut scene = Scene::connected(CLIENT);
    let stranger = "192.0.2.66:6666";
    let forged = Request {
        use_candidate: true,
        priority: u32::MAX,
        ..scene.request()
    };
    let wrong = Credentials {
        password: "wrong password, 24 chars".into(),
        ..scene.local.clone()
    };
    for bytes in [
        Request {
            local: wrong,
            ..forged.clone()
        }
        .write(),
        without_integrity(&forged.write()),
        // Authenticated with the client's own password instead of ours.
        Request {
            local: Credentials {
                password: scene.client.password.clone(),
                ..scene.local.clone()
            },
            ..forged.clone()
        }
        .write(),
    ] {
        for source in [stranger, CLIENT] {
            assert_eq!(scene.deliver(source, &bytes), Err(Refusal::Integrity));
        }
    }
    assert!(scene.sent.is_empty() && scene.events.is_empty());
    assert!(!scene.ice.accepts(path(stranger)));
    assert_eq!(scene.ice.selected_path(), Some(path(CLIENT)));
    scene.run(ms(20_000));
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
}

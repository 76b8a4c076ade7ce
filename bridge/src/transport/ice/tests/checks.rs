//! Our own checks: when they are sent, how they are repeated, what their answers do.

use super::*;

const CLIENT: &str = "203.0.113.9:4000";
const OTHER: &str = "203.0.113.9:5000";

#[test]
fn our_checks_tell_their_worker_and_endpoint() {
    let mut scene = Scene::started();
    scene.ping(CLIENT);
    let check = &scene.checks()[0];
    let message = check.message();
    assert_eq!(worker_of_transaction(message.transaction()), WorkerId(3));
    assert_eq!(tag_of_transaction(message.transaction()), 77);
    let username = (scene.client.ufrag.as_bytes(), scene.local.ufrag.as_bytes());
    assert_eq!(message.username(), Some(username));
    assert!(matches!(message.role(), Some(RoleClaim::Controlling(_))));
    assert!(message.verify_integrity(&stun::integrity_key(&scene.client.password)));
}

#[test]
fn media_plane_case_11_one_nomination_and_no_change_while_it_works() {
    let mut scene = Scene::started();
    scene.answer_on(CLIENT);
    scene.answer_on(OTHER);
    scene.ping(CLIENT);
    scene.ping(OTHER);
    for _ in 0..20 {
        scene.media(CLIENT);
        scene.ping(OTHER);
        scene.run(ms(1_000));
    }
    let nominations: Vec<_> = scene
        .checks()
        .into_iter()
        .filter(|check| check.message().use_candidate())
        .collect();
    assert_eq!(nominations.len(), 1);
    assert_eq!(nominations[0].path, path(CLIENT));
    // Validated, then nominated at once: the second check on that path.
    assert_eq!(
        *nominations[0].message().transaction(),
        *scene.checks_to(CLIENT)[1].message().transaction()
    );
    assert_eq!(scene.ice.selected_path(), Some(path(CLIENT)));
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
    assert_eq!(scene.count(&IceEvent::Connected(path(CLIENT))), 1);
    assert!(
        !scene
            .events
            .iter()
            .any(|event| matches!(event, IceEvent::SendPathChanged(_)))
    );
}

#[test]
fn a_lost_nomination_is_repeated_with_the_same_bytes() {
    let mut scene = Scene::started();
    scene.ping(CLIENT);
    let check = scene.checks()[0].clone();
    assert_eq!(scene.deliver(CLIENT, &scene.success(&check)), Ok(()));
    scene.run(ms(500));
    let nominations: Vec<_> = scene
        .checks()
        .into_iter()
        .filter(|check| check.message().use_candidate())
        .collect();
    assert!(nominations.len() > 1);
    assert!(
        nominations
            .iter()
            .all(|repeated| repeated.bytes == nominations[0].bytes)
    );
    assert_eq!(scene.ice.selected_path(), None);
    // Media does not wait for it (media-plane §1.5).
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
}

#[test]
fn media_plane_case_12_a_relayed_pair_waits_for_a_better_one() {
    let nominated_after = |candidates: &[&str], answering: &str| {
        let mut scene = Scene::new();
        scene.ice.note_relayed(CLIENT.parse().unwrap());
        scene.answer_on(answering);
        scene.set_remote(None, candidates);
        let start = scene.now;
        scene.run(ms(10_000));
        let first = scene
            .checks()
            .into_iter()
            .find(|check| check.message().use_candidate());
        first.map(|check| (check.path, check.at - start))
    };
    // Another pair is still undecided: 800 ms after it became valid, which it does at once.
    assert_eq!(
        nominated_after(&[CLIENT, OTHER], CLIENT),
        Some((path(CLIENT), ms(800)))
    );
    // Nothing else to hope for: as soon as the pace allows.
    assert_eq!(
        nominated_after(&[CLIENT], CLIENT),
        Some((path(CLIENT), ms(20)))
    );
    // A pair that is not relayed does not wait.
    assert_eq!(
        nominated_after(&[OTHER, CLIENT], OTHER),
        Some((path(OTHER), ms(20)))
    );
}

#[test]
fn media_plane_case_12_at_once_when_all_others_failed() {
    let mut scene = Scene::new();
    scene.ice.note_relayed(CLIENT.parse().unwrap());
    scene.set_remote(None, &[CLIENT, OTHER]);
    scene.run(ms(6_000));
    let check = scene.checks_to(CLIENT).pop().unwrap();
    // OTHER's last answer is awaited until shortly after CLIENT's.
    assert_eq!(scene.deliver(CLIENT, &scene.success(&check)), Ok(()));
    let valid = scene.now;
    scene.run(ms(2_000));
    let nomination = scene
        .checks()
        .into_iter()
        .find(|check| check.message().use_candidate())
        .unwrap();
    assert!(
        nomination.at - valid < ms(800),
        "{:?}",
        nomination.at - valid
    );
}

#[test]
fn media_plane_case_13_no_candidates_are_needed() {
    let mut scene = Scene::started();
    scene.run(ms(2_000));
    assert!(scene.sent.is_empty());
    scene.answer_on(CLIENT);
    scene.ping(CLIENT);
    scene.run(ms(100));
    assert_eq!(scene.ice.selected_path(), Some(path(CLIENT)));
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
}

#[test]
fn media_plane_case_14_early_checks_are_answered_and_remembered() {
    let mut scene = Scene::new();
    scene.ping(CLIENT);
    scene.run(ms(1_000));
    scene.ping(CLIENT);
    assert_eq!(scene.answers().len(), 2);
    assert!(scene.checks().is_empty());

    scene.set_remote(None, &[]);
    let check = scene.checks().pop().unwrap();
    assert_eq!((check.at, check.path), (scene.now, path(CLIENT)));
}

#[test]
fn checks_are_repeated_at_100_ms_doubling_to_1600() {
    let mut scene = Scene::new();
    scene.set_remote(None, &[CLIENT]);
    let start = scene.now;
    scene.run(ms(60_000));
    let times: Vec<_> = scene
        .checks()
        .iter()
        .map(|check| (check.at - start).as_millis())
        .collect();
    assert_eq!(times, [0, 100, 300, 700, 1_500, 3_100, 4_700]);
    let checks = scene.checks();
    assert!(checks.iter().all(|check| check.bytes == checks[0].bytes));
}

#[test]
fn a_check_of_the_peers_hastens_ours() {
    let mut scene = Scene::new();
    scene.set_remote(None, &[CLIENT]);
    scene.run(ms(2_000));
    let before = scene.checks().len();
    scene.ping(CLIENT);
    assert_eq!(scene.checks().len(), before + 1);
}

#[test]
fn t03_only_the_true_answer_from_the_right_place_counts() {
    let mut scene = Scene::started();
    scene.ping(CLIENT);
    let check = scene.checks()[0].clone();
    let answer = scene.success(&check);
    let forger = Scene {
        client: credentials("forger"),
        ..Scene::started()
    };

    assert_eq!(scene.deliver(OTHER, &answer), Err(Refusal::Unexpected));
    let elsewhere = Path {
        socket: SocketId(1),
        ..path(CLIENT)
    };
    assert_eq!(
        scene.deliver_to(elsewhere, &answer),
        Err(Refusal::Unexpected)
    );
    assert_eq!(
        scene.deliver(CLIENT, &forger.success(&check)),
        Err(Refusal::Integrity)
    );
    for code in [400, 401, 487] {
        assert_eq!(
            scene.deliver(CLIENT, &forger.error(&check, code)),
            Err(Refusal::Integrity)
        );
    }
    let mut other = check.clone();
    other.bytes = scene.request().write();
    assert_eq!(
        scene.deliver(CLIENT, &scene.success(&other)),
        Err(Refusal::Unexpected)
    );
    assert_eq!(scene.send_path(), None);
    assert!(scene.ice.is_controlling());

    assert_eq!(scene.deliver(CLIENT, &answer), Ok(()));
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
    // And it counts once.
    assert_eq!(scene.deliver(CLIENT, &answer), Err(Refusal::Unexpected));
}

#[test]
fn an_authentic_487_switches_the_role() {
    let mut scene = Scene::started();
    scene.ping(CLIENT);
    let check = scene.checks()[0].clone();
    assert_eq!(scene.deliver(CLIENT, &scene.error(&check, 487)), Ok(()));
    assert!(!scene.ice.is_controlling());
    scene.run(ms(20));
    let again = scene.checks().pop().unwrap();
    assert!(matches!(
        again.message().role(),
        Some(RoleClaim::Controlled(_))
    ));
    assert_ne!(again.message().transaction(), check.message().transaction());

    // Now the peer nominates.
    assert_eq!(scene.deliver(CLIENT, &scene.success(&again)), Ok(()));
    scene.run(ms(1_000));
    assert_eq!(scene.ice.selected_path(), None);
    let role = RoleClaim::Controlling(u64::MAX);
    let request = Request {
        role,
        use_candidate: true,
        ..scene.request()
    };
    assert_eq!(scene.deliver(CLIENT, &request.write()), Ok(()));
    assert_eq!(scene.ice.selected_path(), Some(path(CLIENT)));
    assert!(
        !scene
            .checks()
            .iter()
            .any(|check| check.message().use_candidate())
    );
}

#[test]
fn other_authentic_errors_fail_the_check() {
    let mut scene = Scene::started();
    scene.ping(CLIENT);
    let check = scene.checks()[0].clone();
    assert_eq!(scene.deliver(CLIENT, &scene.error(&check, 500)), Ok(()));
    scene.run(ms(5_000));
    assert_eq!(scene.checks().len(), 1);
    assert_eq!(scene.send_path(), None);
}

#[test]
fn t04_a_controlled_agent_follows_a_nomination_after_its_own_check() {
    let mut scene = Scene::with(IceConfig::default(), false, &[BRIDGE]);
    scene.set_remote(None, &[]);
    let nominate = |scene: &mut Scene, remote: &str, priority: u32| {
        let role = RoleClaim::Controlling(7);
        let request = Request {
            role,
            use_candidate: true,
            priority,
            ..scene.request()
        };
        assert_eq!(scene.deliver(remote, &request.write()), Ok(()));
    };
    nominate(&mut scene, CLIENT, 100);
    assert_eq!((scene.ice.selected_path(), scene.send_path()), (None, None));
    let check = scene.checks()[0].clone();
    assert_eq!(scene.deliver(CLIENT, &scene.success(&check)), Ok(()));
    assert_eq!(scene.ice.selected_path(), Some(path(CLIENT)));

    // An aggressive peer nominates everything: only a better pair replaces the selected one.
    scene.answer_on(CLIENT);
    scene.answer_on(OTHER);
    nominate(&mut scene, OTHER, 50);
    scene.run(ms(100));
    assert_eq!(scene.ice.selected_path(), Some(path(CLIENT)));
    nominate(&mut scene, OTHER, 150);
    assert_eq!(scene.ice.selected_path(), Some(path(OTHER)));
    assert_eq!(scene.send_path(), Some(path(OTHER)));
    assert_eq!(scene.count(&IceEvent::SendPathChanged(path(OTHER))), 1);
}

#[test]
fn use_candidate_from_a_controlled_peer_means_nothing() {
    let mut scene = Scene::connected(CLIENT);
    scene.answer_on(OTHER);
    let request = Request {
        use_candidate: true,
        priority: u32::MAX,
        ..scene.request()
    };
    assert_eq!(scene.deliver(OTHER, &request.write()), Ok(()));
    scene.run(ms(1_000));
    assert_eq!(scene.ice.selected_path(), Some(path(CLIENT)));
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
}

#[test]
fn round_trips_are_measured_only_without_retransmission() {
    let mut scene = Scene::started();
    scene.ping(CLIENT);
    let check = scene.checks()[0].clone();
    scene.now += ms(40);
    assert_eq!(scene.deliver(CLIENT, &scene.success(&check)), Ok(()));
    assert_eq!(scene.count(&IceEvent::RoundTrip(ms(40))), 1);

    scene.events.clear();
    let nomination = scene.checks().pop().unwrap();
    scene.run(ms(140));
    assert_eq!(scene.deliver(CLIENT, &scene.success(&nomination)), Ok(()));
    assert_eq!(scene.ice.selected_path(), Some(path(CLIENT)));
    assert!(
        !scene
            .events
            .iter()
            .any(|event| matches!(event, IceEvent::RoundTrip(_)))
    );
}

#[test]
fn media_plane_row_38_t09_thousands_of_candidates_are_few_checks() {
    let mut scene = Scene::with(IceConfig::default(), true, &[BRIDGE, "198.51.100.2:10000"]);
    let mut candidates = vec![
        "224.0.0.1:9".to_string(),
        "255.255.255.255:9".into(),
        "0.0.0.0:9".into(),
        "127.0.0.1:9".into(),
        BRIDGE.into(),
        "198.51.100.2:10000".into(),
        format!("[::ffff:{}]:10000", "198.51.100.1"),
    ];
    candidates.extend((0..5_000).map(|n| format!("203.0.{}.{}:9", n / 250, n % 250 + 1)));
    let candidates: Vec<&str> = candidates.iter().map(String::as_str).collect();
    // In one message and in many.
    scene.set_remote(None, &candidates);
    for chunk in candidates.chunks(100) {
        scene.set_remote(None, chunk);
    }
    let start = scene.now;
    scene.run(ms(120_000));

    let checks = scene.checks();
    let remotes: BTreeSet<_> = checks.iter().map(|check| check.path.remote).collect();
    assert_eq!(remotes.len(), crate::limits::MAX_REMOTE_CANDIDATES);
    assert!(
        remotes
            .iter()
            .all(|remote| remote.ip().to_string().starts_with("203.0."))
    );
    for remote in remotes {
        for socket in [SocketId(0), SocketId(1)] {
            let path = Path { socket, remote };
            assert_eq!(checks.iter().filter(|check| check.path == path).count(), 7);
        }
    }
    for second in 0..120u64 {
        let in_it = |check: &&Sent| (check.at - start).as_secs() == second;
        assert!(checks.iter().filter(in_it).count() <= 50);
    }
}

#[test]
fn t09_private_candidates_only_if_allowed() {
    for allowed in [true, false] {
        let config = IceConfig {
            allow_private_remotes: allowed,
            ..IceConfig::default()
        };
        let mut scene = Scene::with(config, true, &[BRIDGE]);
        scene.set_remote(None, &["10.0.0.9:9", "[::ffff:192.168.0.9]:9"]);
        scene.run(ms(100));
        assert_eq!(scene.checks().is_empty(), !allowed);
    }
}

#[test]
fn candidates_are_dropped_once_a_pair_is_selected() {
    let mut scene = Scene::new();
    scene.answer_on(CLIENT);
    scene.set_remote(None, &[CLIENT, OTHER, "203.0.113.9:6000"]);
    scene.run(ms(200));
    assert_eq!(scene.ice.selected_path(), Some(path(CLIENT)));
    scene.sent.clear();
    scene.run(ms(20_000));
    assert!(
        scene
            .checks()
            .iter()
            .all(|check| check.path == path(CLIENT))
    );
    // Nor are new ones taken (colibri2 §3.8: after ICE is established: ignored).
    scene.set_remote(None, &["203.0.113.9:7000"]);
    scene.run(ms(1_000));
    assert!(
        scene
            .checks()
            .iter()
            .all(|check| check.path == path(CLIENT))
    );
}

#[test]
fn candidates_may_come_before_and_after_the_credentials() {
    let mut scene = Scene::new();
    let candidates = |text: &str| RemoteIce {
        candidates: vec![text.parse().unwrap()],
        ..RemoteIce::default()
    };
    scene.ice.set_remote(scene.now, candidates(CLIENT));
    scene.run(ms(1_000));
    assert!(scene.checks().is_empty());
    scene.set_remote(None, &[]);
    assert_eq!(scene.checks_to(CLIENT).len(), 1);
    scene.ice.set_remote(scene.now, candidates(OTHER));
    scene.run(ms(20));
    assert_eq!(scene.checks_to(OTHER).len(), 1);
}

#[test]
fn unusable_credentials_are_ignored() {
    let long = "x".repeat(257);
    let mut scene = Scene::new();
    scene.ping(CLIENT);
    for ufrag in ["", &long] {
        scene.client = Credentials {
            ufrag: ufrag.into(),
            password: "p".repeat(24).into(),
        };
        scene.set_remote(None, &[]);
    }
    scene.client = scene.local.clone();
    scene.set_remote(None, &[]);
    scene.run(ms(1_000));
    assert!(scene.checks().is_empty());
}

#[test]
fn ice_fails_late_and_once_and_recovers() {
    let mut scene = Scene::new();
    scene.run(ms(100_000));
    assert!(
        scene.events.is_empty(),
        "nothing to fail before the peer is known"
    );
    scene.set_remote(None, &[]);
    scene.run(ms(29_999));
    assert_eq!(scene.count(&IceEvent::Failed), 0);
    scene.run(ms(60_000));
    assert_eq!(scene.count(&IceEvent::Failed), 1);

    scene.answer_on(CLIENT);
    scene.ping(CLIENT);
    assert_eq!(scene.count(&IceEvent::Connected(path(CLIENT))), 1);
    scene.run(ms(60_000));
    assert_eq!(scene.count(&IceEvent::Failed), 1);
}

//! In-place restart (media-plane §1.8, F11).

use super::*;

const CLIENT: &str = "203.0.113.9:4000";
const MOVED: &str = "192.0.2.44:5555";

impl Scene {
    /// Begins a restart; afterwards the client still uses the old session.
    fn restart(&mut self, generation: u32) -> Credentials {
        let fresh = credentials(&format!("restart{generation}"));
        assert!(self.ice.restart(self.now, generation, fresh.clone()));
        self.drain();
        fresh
    }

    /// The client answers the restart: it has new credentials and uses our new ones.
    fn accept_restart(&mut self, generation: u32, local: &Credentials) {
        self.client = credentials(&format!("client{generation}"));
        self.local = local.clone();
        self.set_remote(Some(generation), &[]);
    }

    fn ufrags(&self) -> Vec<&str> {
        self.ice.local_ufrags().map(|ufrag| &**ufrag).collect()
    }
}

fn ended(generation: u32, success: bool) -> IceEvent {
    IceEvent::RestartEnded {
        generation,
        success,
    }
}

#[test]
fn media_plane_case_22_restart_to_a_new_address() {
    let mut scene = Scene::connected(CLIENT);
    let old = scene.local.clone();
    let fresh = scene.restart(1);
    assert_eq!(scene.events, [IceEvent::UfragAdded(fresh.ufrag.clone())]);
    assert_eq!(scene.ufrags(), [&*old.ufrag, &*fresh.ufrag]);
    assert_eq!(scene.ice.pending_generation(), Some(1));

    // The old session goes on while the client takes its time.
    for _ in 0..4 {
        scene.ping(CLIENT);
        scene.run(ms(2_000));
        assert_eq!(scene.send_path(), Some(path(CLIENT)));
    }
    scene.answer_on(MOVED);
    scene.accept_restart(1, &fresh);
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
    scene.ping(MOVED);
    scene.run(ms(100));
    assert_eq!(scene.send_path(), Some(path(MOVED)));
    assert_eq!(
        (scene.ice.generation(), scene.ice.pending_generation()),
        (1, None)
    );
    assert_eq!(scene.count(&ended(1, true)), 1);
    assert_eq!(scene.count(&IceEvent::SendPathChanged(path(MOVED))), 1);
    assert_eq!(
        scene.count(&IceEvent::Connected(path(MOVED))),
        0,
        "no new DTLS"
    );

    // Late packets and checks to the old session are served for three seconds.
    let (client, local) = (scene.client.clone(), scene.local.clone());
    (scene.client, scene.local) = (credentials("client"), old.clone());
    scene.run(ms(1_000));
    assert!(scene.ice.accepts(path(CLIENT)));
    scene.ping(CLIENT);
    (scene.client, scene.local) = (client, local);
    scene.run(ms(2_000));
    assert!(!scene.ice.accepts(path(CLIENT)));
    assert_eq!(scene.count(&IceEvent::PathRemoved(path(CLIENT))), 1);
    assert_eq!(scene.count(&IceEvent::UfragRemoved(old.ufrag.clone())), 1);
    assert_eq!(scene.ufrags(), [&*fresh.ufrag]);
    scene.run(ms(60_000));
    assert_eq!(scene.send_path(), Some(path(MOVED)));
}

#[test]
fn media_plane_case_23_t05_restart_from_the_same_address() {
    let mut scene = Scene::connected(CLIENT);
    let fresh = scene.restart(1);
    scene.accept_restart(1, &fresh);
    scene.ping(CLIENT);
    scene.run(ms(100));
    assert_eq!(scene.ice.generation(), 1);
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
    assert_eq!(scene.count(&ended(1, true)), 1);
    // The address never stopped being the endpoint's.
    scene.run(ms(10_000));
    let moves = |event: &&IceEvent| {
        matches!(
            event,
            IceEvent::SendPathChanged(_) | IceEvent::PathRemoved(_) | IceEvent::PathValidated(_)
        )
    };
    assert_eq!(scene.events.iter().find(moves), None);
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
}

#[test]
fn media_plane_case_24_a_restart_without_answer_changes_nothing() {
    let mut scene = Scene::connected(CLIENT);
    let old = scene.local.clone();
    let fresh = scene.restart(1);
    scene.run(ms(19_999));
    assert_eq!(scene.ice.pending_generation(), Some(1));
    scene.run(ms(1));
    assert_eq!(scene.ice.pending_generation(), None);
    assert_eq!(scene.count(&ended(1, false)), 1);
    assert_eq!(scene.count(&IceEvent::UfragRemoved(fresh.ufrag.clone())), 1);
    assert_eq!(scene.ufrags(), [&*old.ufrag]);
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
    assert_eq!(scene.ice.generation(), 0);

    // Too late.
    let (client, local) = (scene.client.clone(), scene.local.clone());
    scene.accept_restart(1, &fresh);
    let request = scene.request().write();
    assert_eq!(scene.deliver(CLIENT, &request), Err(Refusal::UnknownUfrag));
    (scene.client, scene.local) = (client, local);
    scene.run(ms(30_000));
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
}

#[test]
fn media_plane_case_25_restart_during_restart() {
    let mut scene = Scene::connected(CLIENT);
    let first = scene.restart(1);
    // Asked again before the client answered: the same session.
    let repeated = credentials("repeated");
    assert!(scene.ice.restart(scene.now, 1, repeated));
    assert_eq!(scene.ufrags()[1], &*first.ufrag);

    // Asked again after its checks started: the next generation supersedes it.
    let old = scene.client.clone();
    scene.accept_restart(1, &first);
    scene.ping(MOVED);
    let second = scene.restart(2);
    assert_eq!(scene.ice.pending_generation(), Some(2));
    assert_eq!(scene.count(&ended(1, false)), 1);
    assert!(
        !scene.ice.accepts(path(MOVED)),
        "it was only known to the superseded session"
    );
    assert_eq!(scene.count(&IceEvent::PathRemoved(path(MOVED))), 1);
    let request = scene.request().write();
    assert_eq!(scene.deliver(MOVED, &request), Err(Refusal::UnknownUfrag));

    scene.answer_on(MOVED);
    scene.accept_restart(2, &second);
    scene.ping(MOVED);
    scene.run(ms(100));
    assert_eq!(scene.ice.generation(), 2);
    assert_eq!(scene.send_path(), Some(path(MOVED)));
    assert_ne!(old, scene.client);
}

#[test]
fn media_plane_case_26_a_stale_tag_is_ignored() {
    let mut scene = Scene::connected(CLIENT);
    scene.restart(1);
    scene.restart(2);
    let client = scene.client.clone();
    scene.client = credentials("stale");
    for tag in [Some(1), Some(3), Some(0), None] {
        scene.set_remote(tag, &[MOVED]);
    }
    scene.client = client;
    scene.run(ms(1_000));
    assert!(scene.checks_to(MOVED).is_empty());
    assert_eq!(scene.ice.pending_generation(), Some(2));
    // Neither did it touch the current session.
    scene.ping(CLIENT);
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
}

#[test]
fn media_plane_case_27_no_restart_before_the_first_connection() {
    let mut scene = Scene::started();
    scene.ping(CLIENT);
    assert!(!scene.ice.restart(scene.now, 1, credentials("restart")));
    scene.drain();
    assert_eq!(scene.ufrags(), [&*scene.local.ufrag]);
    assert_eq!(scene.ice.pending_generation(), None);
}

#[test]
fn restarts_can_be_disabled() {
    let config = IceConfig {
        restart_enabled: false,
        ..IceConfig::default()
    };
    let mut scene = Scene::with(config, true, &[BRIDGE]);
    scene.answer_on(CLIENT);
    scene.set_remote(None, &[CLIENT]);
    assert!(scene.ice.is_connected());
    assert!(!scene.ice.restart(scene.now, 1, credentials("restart")));
}

#[test]
fn t03_passwords_of_other_generations_do_not_authenticate() {
    let mut scene = Scene::connected(CLIENT);
    let fresh = scene.restart(1);
    for (ufrag, password) in [
        (&fresh, &scene.local.clone()),
        (&scene.local.clone(), &fresh),
    ] {
        let local = Credentials {
            ufrag: ufrag.ufrag.clone(),
            password: password.password.clone(),
        };
        let request = Request {
            local,
            use_candidate: true,
            ..scene.request()
        };
        assert_eq!(
            scene.deliver(MOVED, &request.write()),
            Err(Refusal::Integrity)
        );
    }
    assert!(!scene.ice.accepts(path(MOVED)));
}

#[test]
fn f11_restart_while_blacked_out() {
    let mut scene = Scene::connected(CLIENT);
    scene.mute(CLIENT);
    scene.run(ms(20_000));
    assert_eq!(scene.send_path(), None);
    let fresh = scene.restart(1);
    scene.answer_on(MOVED);
    scene.accept_restart(1, &fresh);
    scene.ping(MOVED);
    scene.run(ms(100));
    assert_eq!(scene.send_path(), Some(path(MOVED)));
    assert_eq!(scene.count(&IceEvent::ConsentLost), 1);
    assert_eq!(scene.count(&IceEvent::ConsentRegained), 1);
}

#[test]
fn without_transition_window_the_old_session_ends_at_once() {
    let config = IceConfig {
        restart_transition: Duration::ZERO,
        ..IceConfig::default()
    };
    let mut scene = Scene::with(config, true, &[BRIDGE]);
    scene.answer_on(CLIENT);
    scene.set_remote(None, &[CLIENT]);
    scene.run(ms(100));
    let fresh = scene.restart(1);
    scene.answer_on(MOVED);
    scene.accept_restart(1, &fresh);
    scene.ping(MOVED);
    scene.run(ms(100));
    assert_eq!(scene.ufrags(), [&*fresh.ufrag]);
    assert!(!scene.ice.accepts(path(CLIENT)));
    assert_eq!(scene.send_path(), Some(path(MOVED)));
}

#[test]
fn restarts_follow_one_another() {
    let mut scene = Scene::connected(CLIENT);
    scene.answer_on(MOVED);
    for generation in 1..=20 {
        let remote = if generation % 3 == 0 { CLIENT } else { MOVED };
        let fresh = scene.restart(generation);
        scene.accept_restart(generation, &fresh);
        scene.ping(remote);
        scene.run(ms(500));
        assert_eq!(scene.ice.generation(), generation);
        assert_eq!(scene.send_path(), Some(path(remote)));
        assert!(scene.ufrags().len() <= 2);
    }
    let mut ufrags = BTreeSet::from([Scene::new().local.ufrag]);
    for event in &scene.events {
        match event {
            IceEvent::UfragAdded(ufrag) => assert!(ufrags.insert(ufrag.clone())),
            IceEvent::UfragRemoved(ufrag) => assert!(ufrags.remove(ufrag)),
            _ => {}
        }
    }
    assert_eq!(
        ufrags.iter().collect::<Vec<_>>().len(),
        scene.ufrags().len()
    );
}

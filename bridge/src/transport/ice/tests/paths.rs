//! Which paths are accepted, and which one media is sent on, over time.

use super::*;
use crate::limits::{CONSENT_EXPIRY, MAX_PATHS_PER_SESSION};

const CLIENT: &str = "203.0.113.9:4000";
const MOVED: &str = "192.0.2.44:5555";

#[test]
fn media_plane_case_15_t48_consent() {
    let mut scene = Scene::connected(CLIENT);
    scene.run(ms(60_000));
    // A check every 4–6 s, each answered at once.
    let times: Vec<Time> = scene.checks().iter().map(|check| check.at).collect();
    assert!(times.len() >= 10);
    for pair in times.windows(2) {
        assert!((4_000..=6_000).contains(&(pair[1] - pair[0]).as_millis()));
    }
    assert!(
        scene
            .checks()
            .iter()
            .all(|check| !check.message().use_candidate())
    );
    let intervals: BTreeSet<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(intervals.len() > 5, "randomised");

    // Answers stop: five repetitions 500 ms apart, then the next check.
    let last_answer = *times.last().unwrap();
    scene.mute(CLIENT);
    scene.sent.clear();
    scene.run(ms(120_000));
    let mut checks = scene.checks();
    // The last one may have been cut off.
    let last = checks.last().unwrap().bytes.clone();
    checks.retain(|check| check.bytes != last);
    for check in checks.chunk_by(|a, b| a.bytes == b.bytes) {
        assert_eq!(check.len(), 6);
        assert!(
            check
                .windows(2)
                .all(|pair| pair[1].at - pair[0].at == ms(500))
        );
    }
    let starts: Vec<Time> = checks
        .chunk_by(|a, b| a.bytes == b.bytes)
        .map(|check| check[0].at)
        .collect();
    for pair in starts.windows(2) {
        assert!((4_000..=6_000).contains(&(pair[1] - pair[0]).as_millis()));
    }

    // T48: nothing is sent 15 s after the last answer, to the microsecond.
    let end = last_answer + CONSENT_EXPIRY;
    assert_eq!(
        scene.ice.send_path(end - Duration::from_micros(1)),
        Some(path(CLIENT))
    );
    assert_eq!(scene.ice.send_path(end), None);
    assert_eq!(scene.count(&IceEvent::ConsentLost), 1);
    assert_eq!(scene.send_path(), None);
    assert!(scene.ice.accepts(path(CLIENT)), "state is kept");

    // The next answer brings media back.
    scene.answer_on(CLIENT);
    scene.run(ms(6_000));
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
    assert_eq!(scene.count(&IceEvent::ConsentRegained), 1);
    assert_eq!(scene.count(&IceEvent::ConsentLost), 1);
}

#[test]
fn consent_comes_back_with_the_peers_next_check() {
    let mut scene = Scene::connected(CLIENT);
    scene.mute(CLIENT);
    scene.run(ms(33_000));
    assert_eq!(scene.send_path(), None);
    scene.answer_on(CLIENT);
    scene.ping(CLIENT);
    scene.run(ms(600));
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
}

#[test]
fn t48_neither_requests_nor_media_are_consent() {
    let mut scene = Scene::connected(CLIENT);
    scene.mute(CLIENT);
    for _ in 0..16 {
        scene.ping(CLIENT);
        scene.media(CLIENT);
        scene.run(ms(1_000));
    }
    assert_eq!(scene.send_path(), None);
    assert_eq!(scene.count(&IceEvent::ConsentLost), 1);
}

#[test]
fn f06_one_way_loss_ends_within_reason() {
    // Everything from the bridge vanishes for a minute; the client goes on checking.
    let mut scene = Scene::connected(CLIENT);
    scene.mute(CLIENT);
    let start = scene.now;
    scene.run_with_pings(ms(60_000), ms(2_500), CLIENT);
    assert!(
        scene
            .ice
            .send_path(start + CONSENT_EXPIRY + ms(1))
            .is_none()
    );
    // T09: still at most 50 checks a second, and far less on average.
    assert!(scene.checks().len() < 200, "{}", scene.checks().len());
    scene.answer_on(CLIENT);
    scene.ping(CLIENT);
    scene.run(ms(2_000));
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
}

#[test]
fn f09_nat_rebinding_is_followed_within_three_seconds() {
    let mut scene = Scene::connected(CLIENT);
    scene.media(CLIENT);
    scene.run(ms(5_000));
    // The NAT forgets: what comes now has another source, and nothing reaches the old one.
    scene.mute(CLIENT);
    scene.answer_on(MOVED);
    let start = scene.now;
    assert!(
        !scene.ice.accepts(path(MOVED)),
        "media waits for the next check"
    );
    scene.run(ms(2_500));
    scene.ping(MOVED);
    while scene.send_path() != Some(path(MOVED)) {
        scene.media(MOVED);
        scene.run(ms(20));
        assert!(scene.now - start <= ms(3_000));
    }
    assert_eq!(scene.count(&IceEvent::SendPathChanged(path(MOVED))), 1);
    assert_eq!(scene.count(&IceEvent::ConsentLost), 0);
    // The new path is nominated, once, and the old one is forgotten after a while.
    for _ in 0..40 {
        scene.media(MOVED);
        scene.ping(MOVED);
        scene.run(ms(2_500));
    }
    let nominations = scene
        .checks_to(MOVED)
        .iter()
        .filter(|check| check.message().use_candidate())
        .count();
    assert_eq!(nominations, 1);
    assert_eq!(scene.ice.selected_path(), Some(path(MOVED)));
    assert!(!scene.ice.accepts(path(CLIENT)));
    assert_eq!(scene.count(&IceEvent::PathRemoved(path(CLIENT))), 1);
}

#[test]
fn f10_a_silent_client_is_followed_by_its_checks() {
    // Nothing but checks: the interface went away, another one came.
    let mut scene = Scene::connected(CLIENT);
    scene.run(ms(10_000));
    scene.mute(CLIENT);
    scene.answer_on(MOVED);
    let start = scene.now;
    while scene.send_path() != Some(path(MOVED)) {
        scene.ping(MOVED);
        scene.run(ms(500));
        assert!(scene.now - start <= ms(5_000), "{:?}", scene.ice);
    }
}

#[test]
fn a_multi_homed_client_that_dropped_the_selected_pair_is_followed() {
    // Seen with Chromium: it answers on both for a while, but sends from the other address.
    let mut scene = Scene::connected(CLIENT);
    scene.answer_on(MOVED);
    scene.ping(MOVED);
    scene.run(ms(100));
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
    let start = scene.now;
    while scene.send_path() != Some(path(MOVED)) {
        scene.ping(CLIENT);
        scene.media(MOVED);
        scene.run(ms(20));
        assert!(scene.now - start < ms(500));
    }
    assert!(scene.now - start >= ms(250));
}

#[test]
fn media_on_two_paths_at_once_moves_nothing() {
    let mut scene = Scene::connected(CLIENT);
    scene.answer_on(MOVED);
    scene.ping(MOVED);
    for _ in 0..200 {
        scene.media(MOVED);
        scene.run(ms(20));
        scene.media(CLIENT);
        scene.run(ms(20));
    }
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
    assert!(
        !scene
            .events
            .iter()
            .any(|event| matches!(event, IceEvent::SendPathChanged(_)))
    );
}

#[test]
fn t04_media_alone_moves_nothing() {
    // The client's check came from MOVED, but none of ours was ever answered there.
    let mut scene = Scene::connected(CLIENT);
    scene.ping(MOVED);
    for _ in 0..100 {
        scene.media(MOVED);
        scene.run(ms(20));
    }
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
    // Then it is answered, and the way is free.
    scene.answer_on(MOVED);
    scene.ping(MOVED);
    scene.run(ms(2_000));
    scene.media(MOVED);
    assert_eq!(scene.send_path(), Some(path(MOVED)));
}

#[test]
fn t05_an_address_that_another_endpoint_took_is_given_up() {
    let mut scene = Scene::connected(CLIENT);
    scene.answer_on(MOVED);
    scene.ping(MOVED);
    scene.run(ms(100));
    scene.ice.path_taken(scene.now, path(CLIENT));
    scene.drain();
    assert!(!scene.ice.accepts(path(CLIENT)));
    assert!(scene.ice.accepts(path(MOVED)), "its other pairs stay");
    assert_eq!(scene.send_path(), Some(path(MOVED)));

    scene.ice.path_taken(scene.now, path(MOVED));
    scene.drain();
    assert_eq!(scene.send_path(), None);
    assert_eq!(scene.count(&IceEvent::ConsentLost), 1);
    // It may come back, by authenticating itself again.
    scene.events.clear();
    scene.ping(CLIENT);
    assert_eq!(scene.count(&IceEvent::PathValidated(path(CLIENT))), 1);
    scene.run(ms(100));
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
    assert_eq!(scene.count(&IceEvent::ConsentRegained), 1);
}

#[test]
fn media_plane_row_2_at_most_sixteen_paths() {
    let mut scene = Scene::connected(CLIENT);
    let remote = |n: usize| format!("192.0.2.1:{}", 2_000 + n);
    for n in 0..100 {
        scene.run(ms(100));
        scene.ping(&remote(n));
        let accepted = (0..100)
            .filter(|n| scene.ice.accepts(path(&remote(*n))))
            .count();
        assert!(accepted < MAX_PATHS_PER_SESSION);
    }
    // The one in use stays, and of the others the most recently validated.
    assert!(scene.ice.accepts(path(CLIENT)));
    for n in 0..100 {
        assert_eq!(
            scene.ice.accepts(path(&remote(n))),
            n > 100 - MAX_PATHS_PER_SESSION
        );
    }
    let mut accepted = BTreeSet::from([CLIENT.parse::<SocketAddr>().unwrap()]);
    for event in &scene.events {
        match event {
            IceEvent::PathValidated(path) => assert!(accepted.insert(path.remote)),
            IceEvent::PathRemoved(path) => assert!(accepted.remove(&path.remote)),
            _ => {}
        }
    }
    assert_eq!(accepted.len(), MAX_PATHS_PER_SESSION);
    assert!(accepted.iter().all(|remote| {
        scene.ice.accepts(Path {
            socket: SocketId(0),
            remote: *remote,
        })
    }));
}

#[test]
fn t09_an_authenticated_flood_of_sources_is_paced() {
    let mut scene = Scene::connected(CLIENT);
    let start = scene.now;
    for n in 0..500 {
        scene.ping(&format!("192.0.2.1:{}", 2_000 + n));
        scene.run(ms(2));
    }
    assert!(scene.now - start <= ms(1_000));
    assert!(scene.checks().len() <= 51, "{}", scene.checks().len());
}

#[test]
fn t05_without_another_living_path_the_nominated_one_is_asked() {
    // CLIENT is nominated and silent, MOVED is in use; then somebody else authenticates from MOVED.
    let mut scene = Scene::connected(CLIENT);
    scene.mute(CLIENT);
    scene.answer_on(MOVED);
    scene.ping(MOVED);
    scene.run(ms(300));
    scene.media(MOVED);
    scene.run(ms(300));
    scene.mute(MOVED);
    scene.media(MOVED);
    assert_eq!(scene.send_path(), Some(path(MOVED)));
    assert_eq!(scene.ice.selected_path(), Some(path(CLIENT)));
    scene.run(ms(20_000));
    scene.ice.path_taken(scene.now, path(MOVED));
    scene.drain();
    assert_eq!(scene.send_path(), None);
    scene.answer_on(CLIENT);
    scene.run(ms(1_000));
    assert_eq!(scene.send_path(), Some(path(CLIENT)));
}

//! The worker's own duties: finding the endpoint, handing over, refusing strangers, surviving a conference that panics.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Worker;
use crate::config::BridgeConfig;
use crate::counters::Counter;
use crate::ids::{ConferenceKey, EndpointId, EndpointKey, MeetingId, Path, SocketId, WorkerId};
use crate::messages::{
    Command, ConferenceSetup, EndpointSetup, Event, PoolCommand, RemoteIce, RingMessage,
};
use crate::random::Random;
use crate::srtp::{KeyingMaterial, Outbound, Profile};
use crate::time::Time;
use crate::transport::ice::Credentials;
use crate::wire::stun::{self, BindingRequest, RoleClaim, StunMessage};

const BRIDGE: &str = "192.0.2.1:10000";
const CLIENT: &str = "198.51.100.7:5000";
const STRANGER: &str = "203.0.113.9:6000";
const CLIENT_HELLO: [u8; 14] = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn path(remote: &str) -> Path {
    Path {
        socket: SocketId(0),
        remote: address(remote),
    }
}

/// Two workers of which the second has one conference with one endpoint per key.
struct Scene {
    workers: Vec<Worker>,
    credentials: Vec<Credentials>,
    now: Time,
}

impl Scene {
    fn new(endpoints: u64) -> Scene {
        let mut random = Random::from_seed(11);
        let now = Time::from_millis(1_000);
        let config = Arc::new(BridgeConfig::default());
        let sockets: Arc<[SocketAddr]> = Arc::from([address(BRIDGE)]);
        let mut workers: Vec<Worker> = (0..2)
            .map(|id| {
                let (config, sockets) = (Arc::clone(&config), Arc::clone(&sockets));
                Worker::new(WorkerId(id), config, sockets, 2, random.fork(), now)
            })
            .collect();
        let mut credentials = Vec::new();
        for key in 0..endpoints {
            // One conference each, all on worker 1.
            workers[1].handle_command(
                now,
                Command::Conference(Arc::new(ConferenceSetup {
                    key: ConferenceKey(key),
                    meeting_id: MeetingId::from("meeting"),
                    shards: vec![WorkerId(1)],
                    home: WorkerId(1),
                    audio_ssrc: 1,
                    video_ssrc: 2,
                })),
            );
            let own = Credentials::generate(&mut random, "", WorkerId(1));
            credentials.push(own.clone());
            workers[1].handle_command(
                now,
                Command::AddEndpoint(Box::new(EndpointSetup {
                    conference: ConferenceKey(key),
                    key: EndpointKey(key),
                    id: EndpointId::from("abcd1234"),
                    credentials: own,
                    controlling: true,
                    ssrc_rewriting: true,
                    mid_demux: true,
                    visitor: false,
                    pool: 0,
                })),
            );
            let remote = RemoteIce {
                credentials: Some(peer()),
                ..RemoteIce::default()
            };
            workers[1].handle_command(now, Command::RemoteIce(EndpointKey(key), remote));
            workers[1].end_turn(now);
        }
        Scene {
            workers,
            credentials,
            now,
        }
    }

    fn check(&self, endpoint: usize, password: &str) -> Vec<u8> {
        let mut buffer = [0; 512];
        let request = BindingRequest {
            transaction: &[7; 12],
            remote_ufrag: &self.credentials[endpoint].ufrag,
            local_ufrag: "peer",
            priority: 1,
            role: RoleClaim::Controlled(9),
            use_candidate: false,
        };
        let len = stun::write_request(&mut buffer, &request, &stun::integrity_key(password))
            .expect("fits");
        buffer[..len].to_vec()
    }

    /// Delivers a datagram to a worker and carries ring messages until nothing moves.
    fn deliver(&mut self, worker: usize, from: &str, datagram: &[u8]) {
        self.workers[worker].handle_datagram(self.now, path(from), datagram);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for worker in 0..self.workers.len() {
                self.workers[worker].end_turn(self.now);
                while let Some((to, message)) = self.workers[worker].outputs().rings.pop_front() {
                    moved = true;
                    let from = WorkerId(worker as u8);
                    self.workers[usize::from(to.0)].handle_ring(self.now, from, message);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn sent(&mut self, worker: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let egress = self.workers[worker].egress();
        let sent = egress
            .chains()
            .flat_map(|(path, datagrams)| datagrams.map(move |data| (path.remote, data.to_vec())))
            .collect();
        egress.clear();
        sent
    }

    fn count(&mut self, worker: usize, counter: Counter) -> u64 {
        self.workers[worker].counters().get(counter)
    }
}

fn peer() -> Credentials {
    Credentials {
        ufrag: "peer".into(),
        password: "a-password-of-the-peer-00".into(),
    }
}

#[test]
fn a_check_that_reaches_the_wrong_worker_is_answered_by_the_right_one() {
    let mut scene = Scene::new(1);
    let check = scene.check(0, &scene.credentials[0].password.clone());
    scene.deliver(0, CLIENT, &check);
    assert_eq!(scene.count(0, Counter::HandedOver), 1);
    assert!(scene.sent(0).is_empty(), "every worker sends for itself");
    let sent = scene.sent(1);
    let answer = StunMessage::parse(&sent[0].1).expect("STUN");
    assert_eq!(
        (sent[0].0, answer.class()),
        (address(CLIENT), stun::Class::Success)
    );
}

#[test]
fn other_datagrams_of_a_validated_path_are_handed_over_too() {
    let mut scene = Scene::new(1);
    let check = scene.check(0, &scene.credentials[0].password.clone());
    scene.deliver(1, CLIENT, &check);
    scene.deliver(0, CLIENT, &CLIENT_HELLO);
    let pool = &mut scene.workers[1].outputs().pool;
    assert!(
        pool.iter()
            .any(|(_, command)| matches!(command, PoolCommand::Datagram(EndpointKey(0), _)))
    );
}

#[test]
fn t01_t02_t10_strangers_get_no_answer_whatever_they_send() {
    let mut scene = Scene::new(1);
    let wrong_password = scene.check(0, "not-the-password-of-anyone");
    let mut unknown_ufrag = scene.check(0, &scene.credentials[0].password.clone());
    unknown_ufrag[30] ^= 1;
    let media = [0x80, 100, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9];
    let rtcp = [0x80, 200, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9];
    let garbage = [0x55; 64];
    for datagram in [
        &wrong_password[..],
        &unknown_ufrag,
        &CLIENT_HELLO,
        &media,
        &rtcp,
        &garbage,
        &[],
        &[0; 1_501],
    ] {
        for worker in 0..2 {
            scene.deliver(worker, STRANGER, datagram);
        }
    }
    assert!(scene.sent(0).is_empty() && scene.sent(1).is_empty());
    assert!(
        scene
            .workers
            .iter_mut()
            .all(|worker| worker.outputs().pool.is_empty())
    );
    // DTLS, RTP and RTCP at both workers.
    let unknown = |scene: &mut Scene, worker| scene.count(worker, Counter::DropUnknownAddress);
    assert_eq!((unknown(&mut scene, 0), unknown(&mut scene, 1)), (3, 3));
    assert_eq!(scene.count(1, Counter::DropNotClassified), 3);
    assert!(scene.count(1, Counter::DropStunIntegrity) >= 1);
}

#[test]
fn t05_a_path_belongs_to_whoever_authenticated_last() {
    let mut scene = Scene::new(2);
    for endpoint in [0, 1] {
        let check = scene.check(endpoint, &scene.credentials[endpoint].password.clone());
        scene.deliver(1, CLIENT, &check);
    }
    scene.workers[1].outputs().pool.clear();
    scene.deliver(1, CLIENT, &CLIENT_HELLO);
    let pool = &mut scene.workers[1].outputs().pool;
    assert!(matches!(
        pool.pop_front(),
        Some((_, PoolCommand::Datagram(EndpointKey(1), _)))
    ));
    assert!(pool.is_empty());
}

#[test]
fn t80_a_panic_ends_one_conference_and_no_other() {
    let mut scene = Scene::new(2);
    for (endpoint, from) in [(0, CLIENT), (1, STRANGER)] {
        let check = scene.check(endpoint, &scene.credentials[endpoint].password.clone());
        scene.deliver(1, from, &check);
    }
    scene.sent(1);
    let now = scene.now;
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    scene.workers[1].with_conference(now, ConferenceKey(0), |_, cx| {
        // Half-made output must not leave.
        cx.egress.push(
            path(CLIENT),
            b"half",
            &mut super::egress::ChainHint::default(),
        );
        panic!("injected");
    });
    std::panic::set_hook(hook);
    scene.settle();
    assert!(scene.sent(1).is_empty());
    let events = &mut scene.workers[1].outputs().events;
    assert!(events.iter().any(|event| matches!(
        event,
        Event::ConferenceFailed(ConferenceKey(0), WorkerId(1))
    )));
    // Its client is a stranger now, the other one is not.
    let check = scene.check(0, &scene.credentials[0].password.clone());
    scene.deliver(1, CLIENT, &check);
    assert!(scene.sent(1).is_empty());
    let check = scene.check(1, &scene.credentials[1].password.clone());
    scene.deliver(1, STRANGER, &check);
    assert!(!scene.sent(1).is_empty());
    assert_eq!(scene.count(1, Counter::Panics), 1);
}

#[test]
fn what_is_removed_leaves_no_route() {
    let mut scene = Scene::new(1);
    let check = scene.check(0, &scene.credentials[0].password.clone());
    scene.deliver(1, CLIENT, &check);
    let now = scene.now;
    scene.workers[1].handle_command(now, Command::RemoveEndpoint(EndpointKey(0)));
    scene.settle();
    scene.sent(1);
    assert!(
        scene
            .workers
            .iter()
            .all(|worker| worker.routes.is_empty() && worker.by_ufrag.is_empty())
    );
    scene.deliver(1, CLIENT, &CLIENT_HELLO);
    scene.deliver(1, CLIENT, &check);
    assert!(scene.sent(1).is_empty());
    scene.workers[1].handle_command(now, Command::RemoveConference(ConferenceKey(0)));
    assert!(scene.workers[1].by_conference.is_empty() && scene.workers[1].shards.is_empty());
}

#[test]
fn a_route_of_another_worker_is_taken_back_only_by_that_worker() {
    let mut scene = Scene::new(1);
    let now = scene.now;
    let route = path(CLIENT);
    scene.workers[0].handle_ring(now, WorkerId(1), RingMessage::Route(route, true));
    scene.workers[0].handle_ring(now, WorkerId(3), RingMessage::Route(route, false));
    assert_eq!(scene.workers[0].routes.len(), 1);
    scene.workers[0].handle_ring(now, WorkerId(1), RingMessage::Route(route, false));
    assert!(scene.workers[0].routes.is_empty());
}

#[test]
fn media_that_comes_before_its_keys_is_opened_when_they_come() {
    let mut scene = Scene::new(1);
    let check = scene.check(0, &scene.credentials[0].password.clone());
    scene.deliver(1, CLIENT, &check);
    let keys = KeyingMaterial {
        profile: Profile::AeadAes128Gcm,
        local_key: [1; 16],
        local_salt: [2; 14],
        remote_key: [3; 16],
        remote_salt: [4; 14],
    };
    let mut peer = Outbound::new(keys.profile, &keys.remote_key, &keys.remote_salt);
    // An authentic empty receiver report, and a forged one.
    let mut report = [0; 64];
    report[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, 9]);
    let len = peer.seal_rtcp(&mut report, 8).expect("room");
    let mut forged = report;
    forged[len - 1] ^= 1;
    scene.deliver(1, CLIENT, &report[..len]);
    scene.deliver(1, CLIENT, &forged[..len]);
    assert_eq!(scene.count(1, Counter::DropNoKeys), 0);

    scene.workers[1].handle_command(scene.now, Command::Keys(EndpointKey(0), Box::new(keys)));
    assert_eq!(
        scene.count(1, Counter::DropSrtcpAuth),
        1,
        "the forged one is looked at"
    );
    // Held packets were opened once: the authentic one is a replay now.
    scene.deliver(1, CLIENT, &report[..len]);
    assert_eq!(scene.count(1, Counter::DropSrtcpReplay), 1);
}

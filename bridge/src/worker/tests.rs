//! The worker's own duties: finding the endpoint, handing over, refusing strangers, surviving a conference that panics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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

/// Two workers, and conferences with one endpoint each.
struct Scene {
    workers: Vec<Worker>,
    credentials: Vec<Credentials>,
    now: Time,
}

impl Scene {
    /// All on worker 1.
    fn new(endpoints: usize) -> Scene {
        Scene::on(&vec![1; endpoints])
    }

    /// One endpoint in a conference of its own for each worker named.
    fn on(places: &[usize]) -> Scene {
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
        for (key, place) in places.iter().enumerate() {
            let (key, worker) = (key as u64, WorkerId(*place as u8));
            workers[*place].handle_command(
                now,
                Command::Conference(Arc::new(ConferenceSetup {
                    key: ConferenceKey(key),
                    meeting_id: MeetingId::from("meeting"),
                    shards: vec![worker],
                    home: worker,
                    audio_ssrc: 1,
                    video_ssrc: 2,
                })),
            );
            let own = Credentials::generate(&mut random, "", worker);
            credentials.push(own.clone());
            workers[*place].handle_command(
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
            workers[*place].handle_command(now, Command::RemoteIce(EndpointKey(key), remote));
            workers[*place].end_turn(now);
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

    /// Has the endpoint's agent ask an address; the checks that leave its worker.
    fn probe(&mut self, worker: usize, endpoint: u64, address: &str) -> Vec<Vec<u8>> {
        let remote = RemoteIce {
            candidates: vec![self::address(address)],
            ..RemoteIce::default()
        };
        let now = self.now;
        self.workers[worker].handle_command(now, Command::RemoteIce(EndpointKey(endpoint), remote));
        self.settle();
        let checks = self.sent(worker).into_iter();
        checks
            .filter(|(to, data)| *to == self::address(address) && is_request(data))
            .map(|(_, data)| data)
            .collect()
    }

    fn connected(&mut self, worker: usize) -> Vec<EndpointKey> {
        let events = self.workers[worker].outputs().events.drain(..);
        events
            .filter_map(|event| match event {
                Event::IceConnected(key, _) => Some(key),
                _ => None,
            })
            .collect()
    }

    fn count(&mut self, worker: usize, counter: Counter) -> u64 {
        self.workers[worker].counters().get(counter)
    }
}

fn is_request(data: &[u8]) -> bool {
    StunMessage::parse(data).is_ok_and(|message| message.class() == stun::Class::Request)
}

/// The peer's answer to a check.
fn answer(check: &[u8]) -> Vec<u8> {
    let check = StunMessage::parse(check).expect("a check");
    answer_to(check.transaction())
}

fn answer_to(transaction: &stun::TransactionId) -> Vec<u8> {
    let mut buffer = [0; 512];
    let key = stun::integrity_key(&peer().password);
    let len = stun::write_success(&mut buffer, transaction, address(BRIDGE), &key);
    buffer[..len.expect("fits")].to_vec()
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

#[test]
fn answers_find_the_agent_that_asked_even_if_others_asked_the_same_address() {
    let mut scene = Scene::on(&[1, 1, 0]);
    let first = scene.probe(1, 0, CLIENT);
    let second = scene.probe(1, 1, CLIENT);
    let third = scene.probe(0, 2, CLIENT);
    assert_eq!((first.len(), second.len(), third.len()), (1, 1, 1));

    // All at worker 0, the last who asked first.
    for (checks, worker, endpoint) in [(&third, 0, 2), (&second, 1, 1), (&first, 1, 0)] {
        scene.deliver(0, CLIENT, &answer(&checks[0]));
        assert_eq!(scene.connected(worker), [EndpointKey(endpoint)]);
    }
    assert_eq!(scene.count(0, Counter::HandedOver), 2);
    for worker in 0..2 {
        assert_eq!(scene.count(worker, Counter::DropStunUnexpected), 0);
    }
}

#[test]
fn answers_find_the_agent_that_asked_even_if_the_path_is_already_another_ones() {
    let mut scene = Scene::on(&[1, 1, 0]);
    let check = scene.check(0, &scene.credentials[0].password.clone());
    scene.deliver(1, CLIENT, &check);
    let own = scene.sent(1).into_iter().map(|(_, data)| data);
    let own: Vec<Vec<u8>> = own.filter(|data| is_request(data)).collect();
    scene.deliver(1, CLIENT, &answer(&own[0]));
    assert_eq!(scene.connected(1), [EndpointKey(0)]);

    let beside = scene.probe(1, 1, CLIENT);
    let elsewhere = scene.probe(0, 2, CLIENT);
    scene.deliver(1, CLIENT, &answer(&beside[0]));
    scene.deliver(1, CLIENT, &answer(&elsewhere[0]));
    assert_eq!(scene.connected(1), [EndpointKey(1)]);
    assert_eq!(scene.connected(0), [EndpointKey(2)]);
}

#[test]
fn an_answer_to_an_agent_that_is_gone_reaches_nobody() {
    let mut scene = Scene::new(2);
    let first = scene.probe(1, 0, CLIENT);
    let second = scene.probe(1, 1, CLIENT);
    let now = scene.now;
    scene.workers[1].handle_command(now, Command::RemoveEndpoint(EndpointKey(0)));
    assert_eq!(scene.workers[1].agents.len(), 1);
    scene.deliver(1, CLIENT, &answer(&first[0]));
    assert_eq!(scene.count(1, Counter::DropStunUnexpected), 1);
    scene.deliver(1, CLIENT, &answer(&second[0]));
    assert_eq!(scene.connected(1), [EndpointKey(1)]);
    // No worker has this number.
    scene.deliver(
        1,
        CLIENT,
        &answer_to(&[99, 0, 0, 0, 1, 7, 7, 7, 7, 7, 7, 7]),
    );
    assert_eq!(scene.count(1, Counter::DropStunUnexpected), 2);
    scene.workers[1].handle_command(now, Command::RemoveConference(ConferenceKey(1)));
    assert!(scene.workers[1].agents.is_empty());
}

#[test]
fn t11_a_flood_at_one_worker_reaches_no_other_and_fills_no_more_than_a_ring() {
    let mut scene = Scene::new(1);
    let check = scene.check(0, &scene.credentials[0].password.clone());
    scene.deliver(1, CLIENT, &check);
    let media = [0x80, 100, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9];
    // From addresses that nobody knows: nothing is handed over, whatever it looks like.
    let unknown_ufrag = {
        let mut other = Scene::new(2);
        other.credentials.reverse();
        other.check(0, "whatever-it-is-it-is-wrong")
    };
    for _ in 0..10_000 {
        for datagram in [&media[..], &CLIENT_HELLO, &unknown_ufrag[..20]] {
            scene.workers[0].handle_datagram(scene.now, path(STRANGER), datagram);
        }
    }
    assert!(scene.workers[0].outputs().rings.is_empty());
    // From an address that the other worker knows, or with its ufrag: the ring's length, and the rest is counted.
    let flood = crate::limits::WORKER_RING + 1_000;
    for _ in 0..flood {
        scene.workers[0].handle_datagram(scene.now, path(CLIENT), &media);
    }
    assert_eq!(
        scene.workers[0].outputs().rings.len(),
        crate::limits::WORKER_RING
    );
    assert_eq!(scene.count(0, Counter::DropRingFull), 1_000);
    assert_eq!(scene.count(0, Counter::HandedOver), flood as u64 - 1_000);
    scene.settle();
    assert!(scene.count(1, Counter::DropNoKeys) > 0, "it arrived there");
}

#[test]
fn t14_addresses_that_collide_under_one_seed_do_not_under_another() {
    const BUCKETS: u64 = 256;
    let known = ahash::RandomState::with_seeds(1, 2, 3, 4);
    let colliding: Vec<Path> = (0..1u32 << 20)
        .map(|number| Path {
            socket: SocketId(0),
            remote: SocketAddr::from((number.to_be_bytes(), 5_000)),
        })
        .filter(|path| known.hash_one(path).is_multiple_of(BUCKETS))
        .collect();
    assert!(colliding.len() > 3_000, "{}", colliding.len());
    let scene = Scene::new(0);
    for worker in &scene.workers {
        let mut buckets = [0; BUCKETS as usize];
        for path in &colliding {
            buckets[(worker.routes.hasher().hash_one(path) % BUCKETS) as usize] += 1;
        }
        let longest = buckets.into_iter().max();
        assert!(longest < Some(64), "{longest:?}");
    }
    let [first, second] = [0, 1].map(|worker| scene.workers[worker].routes.hasher());
    assert_ne!(
        first.hash_one(path(CLIENT)),
        second.hash_one(path(CLIENT)),
        "every table has its own key"
    );
}

/// The control plane tells clients once in an interval, the first time a whole interval after they came: it must know by then, each time,
/// and nothing that is much older (bridge-channel spec §8.8, case 61).
#[test]
fn estimates_are_known_shortly_before_clients_are_told() {
    let mut scene = Scene::new(1);
    let begin = scene.now;
    let interval = BridgeConfig::default().channel.connection_stats_interval;
    let end = begin + 3 * interval;
    let mut told = Vec::new();
    loop {
        scene.workers[1].end_turn(scene.now);
        let events = scene.workers[1].outputs().events.drain(..);
        let estimates = events.filter(|event| matches!(event, Event::Estimate(..)));
        told.extend(estimates.map(|_| scene.now - begin));
        let next = scene.workers[1].poll_timeout().expect("it has timers");
        scene.now = next.max(scene.now + Duration::from_millis(1));
        if scene.now >= end {
            break;
        }
        scene.workers[1].handle_timeout(scene.now);
    }
    assert_eq!(told.len(), 3, "{told:?}");
    for (at, due) in told.iter().zip([interval, 2 * interval, 3 * interval]) {
        assert!(*at < due && *at > due - interval / 5, "{told:?}");
    }
}

//! A pool and browsers: handshakes, channels, and what one of them may cost the others.

use std::time::{Duration, SystemTime};

use super::*;

use crate::srtp::KeyingMaterial;
use crate::transport::secure::{Fingerprint, Setup};

const START: Time = Time::from_millis(500);
const PROFILES: [Profile; 2] = [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80];

fn certificate() -> Arc<Certificate> {
    Arc::new(Certificate::generate(SystemTime::now()).expect("a certificate"))
}

/// As configured; not the default.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

fn pool(certificate: &Arc<Certificate>) -> Pool {
    let config = PoolConfig {
        certificate: certificate.clone(),
        profiles: PROFILES.to_vec(),
        accept_sha1: false,
        handshake_timeout: HANDSHAKE_TIMEOUT,
        sctp_held: limits::SCTP_HELD_IN_ALL,
    };
    Pool::new(config, Instant::now(), Random::from_seed(1))
}

/// A browser: an association in the other role.
struct Browser {
    key: EndpointKey,
    association: Association,
    fingerprint: Fingerprint,
    keys: Option<KeyingMaterial>,
    messages: Vec<String>,
}

impl Browser {
    fn new(key: u64, bridge: &Fingerprint) -> Browser {
        let certificate = certificate();
        let config = AssociationConfig {
            certificate: certificate.clone(),
            profiles: PROFILES.to_vec(),
            accept_sha1: false,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            sctp: Some(SctpRole::Client),
            base: Instant::now(),
        };
        let mut association = Association::new(config, Random::from_seed(key + 1_000));
        association.set_remote(START, vec![bridge.clone()], Some(Setup::Passive));
        association.writable(START);
        Browser {
            key: EndpointKey(key),
            association,
            fingerprint: certificate.fingerprint().clone(),
            keys: None,
            messages: Vec::new(),
        }
    }

    fn join(&self, pool: &mut Pool, now: Time) {
        open(pool, now, self.key);
        let fingerprints = vec![self.fingerprint.clone()];
        pool.handle(
            now,
            PoolCommand::Remote {
                endpoint: self.key,
                fingerprints,
                setup: Some(Setup::Active),
            },
        );
        pool.handle(now, PoolCommand::Writable(self.key));
    }
}

fn open(pool: &mut Pool, now: Time, endpoint: EndpointKey) {
    let worker = WorkerId(endpoint.0 as u8);
    let sctp = true;
    pool.handle(
        now,
        PoolCommand::Open {
            endpoint,
            worker,
            sctp,
        },
    );
}

/// What the pool said, apart from datagrams.
#[derive(Default)]
struct Said {
    keys: Vec<(WorkerId, EndpointKey, KeyingMaterial)>,
    events: Vec<Event>,
}

/// Moves datagrams until nobody has any.
fn exchange(pool: &mut Pool, browsers: &mut [Browser], now: Time) -> Said {
    let mut said = Said::default();
    loop {
        let mut moved = false;
        for browser in &mut *browsers {
            while let Some(datagram) = browser.association.poll_transmit() {
                moved = true;
                pool.handle(now, PoolCommand::Datagram(browser.key, datagram));
            }
            while let Some(event) = browser.association.poll_event() {
                match event {
                    AssociationEvent::Connected(keys) => browser.keys = Some(keys),
                    AssociationEvent::Message(text) => browser.messages.push(text),
                    _ => {}
                }
            }
        }
        while let Some(output) = pool.poll_output() {
            match output {
                PoolOutput::Worker(worker, Command::SendDtls(endpoint, datagram)) => {
                    assert_eq!(worker, WorkerId(endpoint.0 as u8), "its own worker");
                    if let Some(browser) = browsers.iter_mut().find(|b| b.key == endpoint) {
                        moved = true;
                        browser.association.handle_datagram(now, &datagram);
                    }
                }
                PoolOutput::Worker(worker, Command::Keys(endpoint, keys)) => {
                    said.keys.push((worker, endpoint, *keys));
                }
                PoolOutput::Worker(_, other) => panic!("{other:?}"),
                PoolOutput::Event(event) => said.events.push(event),
            }
        }
        if !moved {
            return said;
        }
    }
}

fn texts(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| format!("{event:?}")).collect()
}

#[test]
fn an_endpoint_gets_keys_and_a_channel() {
    let certificate = certificate();
    let mut pool = pool(&certificate);
    let mut browsers = [7, 8].map(|key| Browser::new(key, certificate.fingerprint()));
    browsers
        .iter()
        .for_each(|browser| browser.join(&mut pool, START));
    let said = exchange(&mut pool, &mut browsers, START);
    for (worker, endpoint, keys) in &said.keys {
        let browser = browsers.iter().find(|browser| browser.key == *endpoint);
        let theirs = browser.and_then(|b| b.keys.as_ref()).expect("connected");
        assert_eq!(*worker, WorkerId(endpoint.0 as u8));
        assert_eq!(
            (keys.local_key, keys.local_salt),
            (theirs.remote_key, theirs.remote_salt)
        );
    }
    let mut events = texts(&said.events);
    events.sort();
    assert_eq!(
        events,
        [
            "ChannelOpened(EndpointKey(7))",
            "ChannelOpened(EndpointKey(8))",
            "DtlsConnected(EndpointKey(7))",
            "DtlsConnected(EndpointKey(8))",
        ]
    );

    browsers[0]
        .association
        .send_text(START, "up")
        .expect("open");
    pool.handle(
        START,
        PoolCommand::Send(EndpointKey(8), "down".into(), None),
    );
    let said = exchange(&mut pool, &mut browsers, START);
    assert_eq!(
        texts(&said.events),
        ["ChannelMessage(EndpointKey(7), \"up\")"]
    );
    assert_eq!(browsers[1].messages, ["down"]);

    browsers[0].association.close(START);
    let said = exchange(&mut pool, &mut browsers, START);
    assert_eq!(texts(&said.events), ["ChannelClosed(EndpointKey(7))"]);
    pool.handle(
        START,
        PoolCommand::Send(EndpointKey(7), "late".into(), None),
    );
    assert_eq!(
        pool.metrics(),
        PoolMetrics {
            associations: 2,
            handshakes: 2,
            messages_in: 1,
            messages_out: 1,
            messages_refused: 1,
            ..PoolMetrics::default()
        }
    );
}

#[test]
fn commands_for_strangers_and_repeated_ones_are_ignored() {
    let certificate = certificate();
    let mut pool = pool(&certificate);
    let stranger = EndpointKey(9);
    pool.handle(START, PoolCommand::Writable(stranger));
    pool.handle(START, PoolCommand::Datagram(stranger, vec![22; 40].into()));
    pool.handle(START, PoolCommand::Close(stranger));
    assert_eq!(pool.metrics(), PoolMetrics::default());

    let mut browsers = [Browser::new(1, certificate.fingerprint())];
    browsers[0].join(&mut pool, START);
    let keys = exchange(&mut pool, &mut browsers, START).keys.len();
    browsers[0].join(&mut pool, START);
    let again = exchange(&mut pool, &mut browsers, START);
    assert_eq!((keys, again.keys.len(), again.events.len()), (1, 0, 0));
}

#[test]
fn t20_ten_thousand_abandoned_handshakes_end_in_time_and_leave_nothing() {
    const JOINS: u64 = 10_000;
    let certificate = certificate();
    let mut pool = pool(&certificate);
    let browser = Browser::new(1, certificate.fingerprint());
    let mut hello = None;
    for key in 0..JOINS {
        let now = START + Duration::from_millis(key);
        open(&mut pool, now, EndpointKey(key));
        pool.handle(now, PoolCommand::Writable(EndpointKey(key)));
        if key % 2 == 0 {
            let fingerprints = vec![browser.fingerprint.clone()];
            let endpoint = EndpointKey(key);
            let setup = Some(Setup::Active);
            pool.handle(
                now,
                PoolCommand::Remote {
                    endpoint,
                    fingerprints,
                    setup,
                },
            );
            let hello = hello.get_or_insert_with(|| {
                let mut browser = Browser::new(2, certificate.fingerprint());
                browser.association.poll_transmit().expect("hello")
            });
            pool.handle(now, PoolCommand::Datagram(endpoint, hello.clone()));
        }
    }
    assert_eq!(pool.poll_timeout(), Some(START + HANDSHAKE_TIMEOUT));
    let mut failed = 0;
    while let Some(due) = pool.poll_timeout() {
        pool.handle_timeout(due);
        assert!(
            pool.poll_timeout().is_none_or(|next| next > due),
            "progress"
        );
        while let Some(output) = pool.poll_output() {
            let event = PoolOutput::Event(Event::DtlsFailed(
                EndpointKey(failed * 2),
                FailureReason::Timeout,
            ));
            failed += u64::from(format!("{output:?}") == format!("{event:?}"));
        }
    }
    assert_eq!(failed, JOINS / 2, "each once, in order");
    assert_eq!(
        pool.metrics().failures[FailureReason::Timeout.index()],
        JOINS / 2
    );
    for key in 0..JOINS {
        pool.handle(START, PoolCommand::Close(EndpointKey(key)));
    }
    assert_eq!(pool.metrics().associations, 0);
    assert!(pool.poll_output().is_none());
}

#[test]
fn media_plane_case_36_a_new_certificate_is_for_new_endpoints() {
    let (day_1, day_2) = (certificate(), certificate());
    let mut pool = pool(&day_1);
    let mut browsers = [
        Browser::new(1, day_1.fingerprint()),
        Browser::new(2, day_2.fingerprint()),
    ];
    open(&mut pool, START, browsers[0].key);
    pool.handle(START, PoolCommand::Certificate(day_2));
    browsers
        .iter()
        .for_each(|browser| browser.join(&mut pool, START));
    let said = exchange(&mut pool, &mut browsers, START);
    assert_eq!(said.keys.len(), 2);
    assert!(browsers.iter().all(|browser| browser.keys.is_some()));
}

#[test]
fn t21_a_panic_costs_that_association_only() {
    let certificate = certificate();
    let mut pool = pool(&certificate);
    let mut browsers = [1, 2].map(|key| Browser::new(key, certificate.fingerprint()));
    browsers
        .iter()
        .for_each(|browser| browser.join(&mut pool, START));
    exchange(&mut pool, &mut browsers, START);
    pool.with(START, EndpointKey(1), |_| panic!("a defect, on purpose"));
    pool.handle(
        START,
        PoolCommand::Send(EndpointKey(2), "alive".into(), None),
    );
    let said = exchange(&mut pool, &mut browsers, START);
    assert_eq!(
        texts(&said.events),
        ["DtlsFailed(EndpointKey(1), Protocol)"]
    );
    assert_eq!(browsers[1].messages, ["alive"]);
    assert_eq!((pool.metrics().associations, pool.metrics().panics), (1, 1));
}

#[test]
fn stop_says_goodbye_to_everybody() {
    let certificate = certificate();
    let mut pool = pool(&certificate);
    let mut browsers = [1, 2].map(|key| Browser::new(key, certificate.fingerprint()));
    browsers
        .iter()
        .for_each(|browser| browser.join(&mut pool, START));
    exchange(&mut pool, &mut browsers, START);
    pool.handle(START, PoolCommand::Stop);
    exchange(&mut pool, &mut browsers, START);
    assert!(
        browsers
            .iter()
            .all(|browser| !browser.association.is_connected())
    );
    assert_eq!(
        (pool.metrics().associations, pool.poll_timeout()),
        (0, None)
    );
}

#[test]
fn bridge_channel_case_27_the_control_plane_learns_of_refused_channels() {
    let certificate = certificate();
    let mut pool = pool(&certificate);
    let mut browsers = [Browser::new(7, certificate.fingerprint())];
    browsers[0].join(&mut pool, START);
    exchange(&mut pool, &mut browsers, START);
    browsers[0].association.open_another_channel(START);
    let said = exchange(&mut pool, &mut browsers, START);
    assert_eq!(texts(&said.events), ["ChannelsRefused(EndpointKey(7), 1)"]);
    assert_eq!(pool.metrics().rejected_channels, 1);
    // The first one goes on.
    let send = PoolCommand::Send(EndpointKey(7), "down".into(), None);
    pool.handle(START, send);
    exchange(&mut pool, &mut browsers, START);
    assert_eq!(browsers[0].messages, ["down"]);
}

/// Throws away what the pool says.
fn lose(pool: &mut Pool) {
    while pool.poll_output().is_some() {}
}

#[test]
fn t53_states_for_a_vanished_peer_replace_each_other_and_the_last_one_arrives() {
    const CHANGES: u32 = 10_000;
    let certificate = certificate();
    let mut pool = pool(&certificate);
    let mut browsers = [Browser::new(1, certificate.fingerprint())];
    browsers[0].join(&mut pool, START);
    exchange(&mut pool, &mut browsers, START);

    let mut now = START;
    for change in 0..CHANGES {
        for topic in [Topic::ForwardedSources, Topic::Speakers] {
            let text = format!("{topic:?} {change} {}", "x".repeat(200));
            let send = PoolCommand::Send(EndpointKey(1), text.into(), Some(topic));
            pool.handle(now, send);
        }
        now += Duration::from_millis(10);
        pool.handle_timeout(now);
        lose(&mut pool);
        assert!(pool.held() <= limits::SCTP_BACKLOG + 1_024);
    }
    assert_eq!(pool.metrics().messages_refused, 0);

    // Back again: everything that was given to SCTP before it vanished comes first, in order.
    let newest = |messages: &[String]| {
        let last = |topic: &str| messages.iter().rfind(|text| text.starts_with(topic));
        let end = format!(" {} ", CHANGES - 1);
        ["ForwardedSources", "Speakers"]
            .iter()
            .all(|topic| last(topic).is_some_and(|text| text.contains(&end)))
    };
    while !newest(&browsers[0].messages) {
        now = now.max(pool.poll_timeout().expect("it keeps trying"));
        pool.handle_timeout(now);
        exchange(&mut pool, &mut browsers, now);
        assert!(now < START + Duration::from_secs(300), "never arrived");
    }
    assert!(browsers[0].messages.len() < 1_000);
    assert_eq!(pool.held(), 0);
}

#[test]
fn t50_when_all_hold_too_much_the_greedy_one_that_is_silent_longest_loses_its_channel() {
    let certificate = certificate();
    let mut pool = pool(&certificate);
    pool.config.sctp_held = 600 << 10;
    let mut browsers = [1, 2, 3].map(|key| Browser::new(key, certificate.fingerprint()));
    let mut now = START;
    for browser in &mut browsers {
        // The browsers are heard last in this order.
        now += Duration::from_secs(1);
        browser.join(&mut pool, now);
        exchange(&mut pool, std::slice::from_mut(browser), now);
    }
    // The first one takes what it gets, the others nothing.
    let text: Arc<str> = "x".repeat(1_000).into();
    for _ in 0..400 {
        for key in [2, 3] {
            pool.handle(now, PoolCommand::Send(EndpointKey(key), text.clone(), None));
        }
        lose(&mut pool);
    }
    let held = pool.held();
    assert!(held <= pool.config.sctp_held && held > 300 << 10);
    assert_eq!(pool.metrics().shed_channels, 1);
    // The second lost its channel, nothing else; the first was never in danger.
    pool.handle(now, PoolCommand::Send(EndpointKey(2), "late".into(), None));
    assert!(pool.metrics().messages_refused > 0);
    pool.handle(now, PoolCommand::Send(EndpointKey(1), "alive".into(), None));
    exchange(&mut pool, &mut browsers[..1], now);
    assert_eq!(browsers[0].messages, ["alive"]);
    assert_eq!(pool.metrics().associations, 3);
    assert_eq!(pool.metrics().panics, 0);
    for key in 1..=3 {
        pool.handle(now, PoolCommand::Close(EndpointKey(key)));
    }
    assert_eq!(pool.held(), 0);
}

//! The handshake pool: DTLS and SCTP of many endpoints, away from the workers.
//!
//! A [`Pool`] is one thread's share, as a sans-IO object: commands and time in, messages for workers and
//! the control plane out. Endpoints share nothing in it; whatever one of them does to its association, a
//! panic included, ends that association and nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::ids::{EndpointKey, WorkerId};
use crate::messages::{Command, Event, PoolCommand};
use crate::random::Random;
use crate::srtp::Profile;
use crate::time::Time;
use crate::transport::secure::{
    Association, AssociationConfig, AssociationEvent, Certificate, FailureReason, SctpRole,
};

/// Settings of a pool.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Certificate of new endpoints until [`PoolCommand::Certificate`] brings another.
    pub certificate: Arc<Certificate>,
    /// SRTP profiles in order of preference.
    pub profiles: Vec<Profile>,
    /// Let sha-1 fingerprints count.
    pub accept_sha1: bool,
}

/// What a pool wants done.
#[derive(Debug)]
pub enum PoolOutput {
    /// For this worker.
    Worker(WorkerId, Command),
    /// For the control plane.
    Event(Event),
}

/// What a pool counted. Plain numbers since its creation, except [`PoolMetrics::associations`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PoolMetrics {
    /// Endpoints now.
    pub associations: u64,
    /// Handshakes that gave keys.
    pub handshakes: u64,
    /// Handshakes that failed, by [`FailureReason::index`].
    pub failures: [u64; FailureReason::ALL.len()],
    /// Data channel messages received.
    pub messages_in: u64,
    /// Data channel messages sent.
    pub messages_out: u64,
    /// Messages that could not be sent: no channel, too large, or the peer does not acknowledge.
    pub messages_refused: u64,
    /// Data channels refused.
    pub rejected_channels: u64,
    /// Panics caught: each cost an attempt or an association.
    pub panics: u64,
}

struct Entry {
    worker: WorkerId,
    association: Association,
    /// As in [`Pool::deadlines`].
    deadline: Option<Time>,
}

/// One thread's share of all handshakes and data channels.
pub struct Pool {
    config: PoolConfig,
    base: Instant,
    random: Random,
    entries: BTreeMap<EndpointKey, Entry>,
    deadlines: BTreeSet<(Time, EndpointKey)>,
    output: VecDeque<PoolOutput>,
    metrics: PoolMetrics,
}

impl Pool {
    /// A pool without endpoints. `base` is what [`Time::ZERO`] is for the protocol engines, which reckon
    /// in `Instant`: any constant of the process.
    pub fn new(config: PoolConfig, base: Instant, random: Random) -> Pool {
        Pool {
            config,
            base,
            random,
            entries: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            output: VecDeque::new(),
            metrics: PoolMetrics::default(),
        }
    }

    /// Executes a command. Commands for endpoints that do not exist are ignored, and so is a second
    /// [`PoolCommand::Open`]. [`PoolCommand::Stop`] ends every association; the driver then sends what
    /// is left of the output and returns.
    pub fn handle(&mut self, now: Time, command: PoolCommand) {
        match command {
            PoolCommand::Certificate(certificate) => self.config.certificate = certificate,
            PoolCommand::Open {
                endpoint,
                worker,
                sctp,
            } => self.open(endpoint, worker, sctp),
            PoolCommand::Remote {
                endpoint,
                fingerprints,
                setup,
            } => {
                self.with(endpoint, |association| {
                    association.set_remote(now, fingerprints, setup);
                });
            }
            PoolCommand::Writable(endpoint) => {
                self.with(endpoint, |association| association.writable(now));
            }
            PoolCommand::Datagram(endpoint, datagram) => {
                self.with(endpoint, |association| {
                    association.handle_datagram(now, &datagram)
                });
            }
            PoolCommand::Send(endpoint, text) => {
                let sent = self.with(endpoint, |association| association.send_text(now, &text));
                match sent {
                    Some(Ok(())) => self.metrics.messages_out += 1,
                    _ => self.metrics.messages_refused += 1,
                }
            }
            PoolCommand::Close(endpoint) => {
                self.with(endpoint, |association| association.close(now));
                self.remove(endpoint);
            }
            PoolCommand::Stop => {
                while let Some(endpoint) = self.entries.first_key_value().map(|(key, _)| *key) {
                    self.with(endpoint, |association| association.close(now));
                    self.remove(endpoint);
                }
            }
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        // What an endpoint schedules for `now` again waits for the next call.
        let due: Vec<EndpointKey> = self
            .deadlines
            .range(..=(now, EndpointKey(u64::MAX)))
            .map(|(_, key)| *key)
            .collect();
        for endpoint in due {
            self.with(endpoint, |association| association.handle_timeout(now));
        }
    }

    /// When [`Pool::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.deadlines.first().map(|(time, _)| *time)
    }

    /// The next thing to pass on.
    pub fn poll_output(&mut self) -> Option<PoolOutput> {
        self.output.pop_front()
    }

    /// What was counted.
    pub fn metrics(&self) -> PoolMetrics {
        PoolMetrics {
            associations: self.entries.len() as u64,
            ..self.metrics
        }
    }

    fn open(&mut self, endpoint: EndpointKey, worker: WorkerId, sctp: bool) {
        if self.entries.contains_key(&endpoint) {
            return;
        }
        let config = AssociationConfig {
            certificate: self.config.certificate.clone(),
            profiles: self.config.profiles.clone(),
            accept_sha1: self.config.accept_sha1,
            sctp: sctp.then_some(SctpRole::Server),
            base: self.base,
        };
        let association = Association::new(config, self.random.fork());
        self.entries.insert(
            endpoint,
            Entry {
                worker,
                association,
                deadline: None,
            },
        );
    }

    fn remove(&mut self, endpoint: EndpointKey) {
        if let Some(entry) = self.entries.remove(&endpoint)
            && let Some(deadline) = entry.deadline
        {
            self.deadlines.remove(&(deadline, endpoint));
        }
    }

    /// Calls an association, passes on what it says and notes its next deadline.
    fn with<T>(
        &mut self,
        endpoint: EndpointKey,
        call: impl FnOnce(&mut Association) -> T,
    ) -> Option<T> {
        let entry = self.entries.get_mut(&endpoint)?;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let result = call(&mut entry.association);
            (result, entry.association.poll_timeout())
        }));
        let Ok((result, deadline)) = result else {
            self.metrics.panics += 1;
            self.metrics.failures[FailureReason::Protocol.index()] += 1;
            self.output.push_back(PoolOutput::Event(Event::DtlsFailed(
                endpoint,
                FailureReason::Protocol,
            )));
            self.remove(endpoint);
            return None;
        };
        while let Some(datagram) = entry.association.poll_transmit() {
            self.output.push_back(PoolOutput::Worker(
                entry.worker,
                Command::SendDtls(endpoint, datagram),
            ));
        }
        while let Some(event) = entry.association.poll_event() {
            let event = match event {
                AssociationEvent::Connected(keys) => {
                    self.metrics.handshakes += 1;
                    let keys = Command::Keys(endpoint, Box::new(keys));
                    self.output
                        .push_back(PoolOutput::Worker(entry.worker, keys));
                    Event::DtlsConnected(endpoint)
                }
                AssociationEvent::Failed(reason) => {
                    self.metrics.failures[reason.index()] += 1;
                    Event::DtlsFailed(endpoint, reason)
                }
                AssociationEvent::ChannelOpen => Event::ChannelOpened(endpoint),
                AssociationEvent::Message(text) => {
                    self.metrics.messages_in += 1;
                    Event::ChannelMessage(endpoint, text)
                }
                AssociationEvent::ChannelClosed => Event::ChannelClosed(endpoint),
            };
            self.output.push_back(PoolOutput::Event(event));
        }
        self.metrics.panics += entry.association.take_panics();
        self.metrics.rejected_channels += entry.association.take_rejected_channels();
        if entry.deadline != deadline {
            if let Some(old) = entry.deadline {
                self.deadlines.remove(&(old, endpoint));
            }
            if let Some(new) = deadline {
                self.deadlines.insert((new, endpoint));
            }
            entry.deadline = deadline;
        }
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::limits;
    use crate::srtp::KeyingMaterial;
    use crate::transport::secure::{Fingerprint, Setup};

    const START: Time = Time::from_millis(500);
    const PROFILES: [Profile; 2] = [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80];

    fn certificate() -> Arc<Certificate> {
        Arc::new(Certificate::generate(SystemTime::now()).expect("a certificate"))
    }

    fn pool(certificate: &Arc<Certificate>) -> Pool {
        let config = PoolConfig {
            certificate: certificate.clone(),
            profiles: PROFILES.to_vec(),
            accept_sha1: false,
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
        pool.handle(START, PoolCommand::Send(EndpointKey(8), "down".into()));
        let said = exchange(&mut pool, &mut browsers, START);
        assert_eq!(
            texts(&said.events),
            ["ChannelMessage(EndpointKey(7), \"up\")"]
        );
        assert_eq!(browsers[1].messages, ["down"]);

        browsers[0].association.close(START);
        let said = exchange(&mut pool, &mut browsers, START);
        assert_eq!(texts(&said.events), ["ChannelClosed(EndpointKey(7))"]);
        pool.handle(START, PoolCommand::Send(EndpointKey(7), "late".into()));
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
        assert_eq!(pool.poll_timeout(), Some(START + limits::HANDSHAKE_TIMEOUT));
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
        let result = pool.with(EndpointKey(1), |_| panic!("a defect, on purpose"));
        assert_eq!(result, None::<()>);
        pool.handle(START, PoolCommand::Send(EndpointKey(2), "alive".into()));
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
}

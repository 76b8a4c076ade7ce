//! Two peers and a network between them, in virtual time.

mod channel;
mod foreign;
mod handshake;
mod hostile;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::*;
use crate::limits;
use crate::random::Random;
use crate::srtp::{KeyingMaterial, Profile};
use crate::time::Time;

pub(super) const PROFILES: [Profile; 2] = [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80];
pub(super) const START: Time = Time::from_millis(1_000);

pub(super) static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);
pub(super) static OURS: LazyLock<Arc<Certificate>> = LazyLock::new(new_certificate);
pub(super) static THEIRS: LazyLock<Arc<Certificate>> = LazyLock::new(new_certificate);

pub(super) fn new_certificate() -> Arc<Certificate> {
    Arc::new(Certificate::generate(SystemTime::now()).expect("a certificate"))
}

/// Something that speaks DTLS over datagrams.
pub(super) trait Peer {
    fn datagram(&mut self, now: Time, datagram: &[u8]);
    fn timeout(&mut self, now: Time);
    fn next_timeout(&self) -> Option<Time>;
    fn transmit(&mut self) -> Option<Bytes>;
}

impl Peer for Association {
    fn datagram(&mut self, now: Time, datagram: &[u8]) {
        self.handle_datagram(now, datagram);
    }
    fn timeout(&mut self, now: Time) {
        self.handle_timeout(now);
    }
    fn next_timeout(&self) -> Option<Time> {
        self.poll_timeout()
    }
    fn transmit(&mut self) -> Option<Bytes> {
        self.poll_transmit()
    }
}

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Client,
    Server,
}

pub(super) type Filter = Box<dyn FnMut(Side, &[u8]) -> bool>;

/// The network between two peers. All chance comes from its seed.
pub(super) struct Network {
    pub(super) now: Time,
    random: Random,
    /// In percent.
    pub(super) loss: u64,
    /// In percent.
    pub(super) duplication: u64,
    /// One-way, plus up to `jitter` (which reorders).
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    in_flight: BTreeMap<(Time, u64), (Side, Bytes)>,
    sent: u64,
    /// Everything that was sent: by whom, and when.
    pub(super) log: Vec<(Side, Time, Bytes)>,
    /// Drops what it answers `false` to: the sender and the datagram.
    pub(super) filter: Filter,
}

impl Network {
    pub(super) fn new(seed: u64) -> Network {
        Network {
            now: START,
            random: Random::from_seed(seed),
            loss: 0,
            duplication: 0,
            delay: Duration::from_millis(20),
            jitter: Duration::ZERO,
            in_flight: BTreeMap::new(),
            sent: 0,
            log: Vec::new(),
            filter: Box::new(|_, _| true),
        }
    }

    /// 20 % loss, 20 % duplication, reordering.
    pub(super) fn bad(seed: u64) -> Network {
        let jitter = Duration::from_millis(60);
        Network {
            loss: 20,
            duplication: 20,
            jitter,
            ..Network::new(seed)
        }
    }

    fn flush(&mut self, from: Side, peer: &mut dyn Peer) {
        while let Some(datagram) = peer.transmit() {
            assert!(
                datagram.len() <= limits::SECURE_DATAGRAM || from == Side::Client,
                "F07"
            );
            self.log.push((from, self.now, datagram.clone()));
            if !(self.filter)(from, &datagram) {
                continue;
            }
            let copies = 1 + u64::from(self.random.below(100) < self.duplication);
            for _ in 0..copies {
                if self.random.below(100) < self.loss {
                    continue;
                }
                let jitter = self.random.below(self.jitter.as_micros() as u64 + 1);
                let due = self.now + self.delay + Duration::from_micros(jitter);
                self.sent += 1;
                self.in_flight
                    .insert((due, self.sent), (from, datagram.clone()));
            }
        }
    }

    /// Lets `time` pass.
    pub(super) fn run(&mut self, client: &mut dyn Peer, server: &mut dyn Peer, time: Duration) {
        let end = self.now + time;
        loop {
            self.flush(Side::Client, client);
            self.flush(Side::Server, server);
            let arrival = self.in_flight.first_key_value().map(|((due, _), _)| *due);
            let timeouts = [client.next_timeout(), server.next_timeout()];
            let next = timeouts.into_iter().flatten().chain(arrival).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if arrival == Some(next)
                && let Some((_, (from, datagram))) = self.in_flight.pop_first()
            {
                match from {
                    Side::Client => server.datagram(self.now, &datagram),
                    Side::Server => client.datagram(self.now, &datagram),
                }
                continue;
            }
            let served = [
                serve_timeout(client, self.now),
                serve_timeout(server, self.now),
            ];
            assert!(
                served.contains(&true),
                "T21: a timeout still due after it was served"
            );
        }
        self.now = end;
    }

    /// Datagrams sent by one side.
    pub(super) fn sent_by(&self, side: Side) -> impl Iterator<Item = &Bytes> {
        self.log
            .iter()
            .filter(move |(from, _, _)| *from == side)
            .map(|(_, _, datagram)| datagram)
    }
}

/// Serves a due timeout; whether there was one and it is gone.
fn serve_timeout(peer: &mut dyn Peer, now: Time) -> bool {
    if peer.next_timeout().is_none_or(|due| due > now) {
        return false;
    }
    peer.timeout(now);
    peer.next_timeout().is_none_or(|due| due > now)
}

/// How a test wants its two associations.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) client_profiles: Vec<Profile>,
    pub(super) server_profiles: Vec<Profile>,
    pub(super) client_signals: Vec<Fingerprint>,
    pub(super) seed: u64,
}

impl Default for Setting {
    fn default() -> Self {
        Setting {
            client_profiles: PROFILES.to_vec(),
            server_profiles: PROFILES.to_vec(),
            client_signals: vec![THEIRS.fingerprint().clone()],
            seed: 1,
        }
    }
}

pub(super) fn association(
    certificate: &Arc<Certificate>,
    profiles: &[Profile],
    role: Option<SctpRole>,
    seed: u64,
) -> Association {
    let config = AssociationConfig {
        certificate: certificate.clone(),
        profiles: profiles.to_vec(),
        accept_sha1: false,
        handshake_timeout: crate::limits::HANDSHAKE_TIMEOUT,
        sctp: role,
        base: *BASE,
    };
    Association::new(config, Random::from_seed(seed))
}

impl Setting {
    /// A client with [`THEIRS`] and a server with [`OURS`], ready to shake hands.
    pub(super) fn pair(&self) -> (Association, Association) {
        let mut client = association(
            &THEIRS,
            &self.client_profiles,
            Some(SctpRole::Client),
            self.seed,
        );
        let mut server = association(
            &OURS,
            &self.server_profiles,
            Some(SctpRole::Server),
            self.seed + 1,
        );
        client.set_remote(
            START,
            vec![OURS.fingerprint().clone()],
            Some(Setup::Passive),
        );
        server.set_remote(START, self.client_signals.clone(), Some(Setup::Active));
        server.writable(START);
        client.writable(START);
        (client, server)
    }
}

/// What an association said, keys apart.
#[derive(Default, Debug)]
pub(super) struct Said {
    pub(super) keys: Option<KeyingMaterial>,
    pub(super) failed: Option<FailureReason>,
    pub(super) opened: usize,
    pub(super) closed: usize,
    pub(super) messages: Vec<String>,
}

pub(super) fn said(association: &mut Association) -> Said {
    let mut said = Said::default();
    while let Some(event) = association.poll_event() {
        match event {
            AssociationEvent::Connected(keys) => {
                assert!(said.keys.replace(keys).is_none(), "keys come once");
            }
            AssociationEvent::Failed(reason) => {
                assert!(said.failed.replace(reason).is_none(), "it fails once");
            }
            AssociationEvent::ChannelOpen => said.opened += 1,
            AssociationEvent::ChannelClosed => said.closed += 1,
            AssociationEvent::Message(text) => said.messages.push(text),
        }
    }
    said
}

/// Both sides have the same keys, crosswise.
pub(super) fn assert_same_keys(a: &KeyingMaterial, b: &KeyingMaterial) {
    assert_eq!(a.profile, b.profile);
    assert_eq!((a.local_key, a.local_salt), (b.remote_key, b.remote_salt));
    assert_eq!((a.remote_key, a.remote_salt), (b.local_key, b.local_salt));
    assert_ne!(a.local_key, a.remote_key);
}

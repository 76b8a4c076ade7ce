//! One run of the DTLS engine: every call of `rtc-dtls` is made here, and none may panic through.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_dtls::state::State;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;

use super::dtls::DtlsConfig;
use super::flight::{Expected, Flight};
use super::hello::{Negotiated, OFFERED_SUITES, profile_code};
use super::provider::Provider;
use super::record::{COOKIE_BYTES, HEADER, SEQUENCE_MASK, content, records, write_record};
use crate::limits;
use crate::random::Random;
use crate::srtp::Profile;
use crate::time::Time;

/// First retransmission of a flight; doubles. Clients are near, and a lost flight delays the join.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(100);
/// A client that repeats its hello gets our flight again, but not more often than this.
const MIN_RETRANSMISSION: Duration = Duration::from_millis(50);
/// Retransmissions of one flight; the engine fails at the next. The last is 12.7 s after the first try.
const MAX_RETRANSMISSIONS: u32 = 7;
/// The engine's own interval: always over, so that our timer decides.
const ENGINE_INTERVAL: Duration = Duration::from_nanos(1);
/// What the engine adds to a fragment of its MTU: record and handshake headers, nonce, tag.
const ENGINE_OVERHEAD: usize = 64;
/// What a record adds to application data: header, explicit nonce, tag.
pub(super) const RECORD_OVERHEAD: usize = HEADER + 8 + 16;
/// The engine sorts associations by address; ours has one.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// Why a call of the engine failed.
#[derive(Debug)]
pub(super) enum EngineError {
    /// The peer sent a fatal alert.
    Closed,
    /// Anything else that the engine did not like.
    Refused,
    /// A defect of the engine.
    Panicked,
}

fn guarded<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, EngineError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Error::ErrAlertFatalOrClose)) => Err(EngineError::Closed),
        Ok(Err(_)) => Err(EngineError::Refused),
        Err(_) => Err(EngineError::Panicked),
    }
}

/// Whether the peer's ChangeCipherSpec has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeCipherSpec {
    Missing,
    /// It waits for the record keys.
    Seen,
    /// The engine has it.
    Passed,
}

pub(super) struct Attempt {
    engine: Endpoint,
    pub(super) provider: Arc<Provider>,
    /// As a server: which hello made it.
    pub(super) client_random: Vec<u8>,
    pub(super) flight: Flight,
    pub(super) change_cipher_spec: ChangeCipherSpec,
    /// Encrypted records that cannot be opened yet.
    pub(super) held: Vec<Bytes>,
    /// Record sequence number of the next plaintext record for the engine. Those of the peer are not
    /// authenticated: one forged far ahead would shut out the true ones.
    inbound: u64,
    /// Added to the engine's plaintext record sequence numbers so that they go on where ours left off.
    offset: u64,
    last_sent: u64,
    sent_at: Time,
    pub(super) retransmit: Option<Time>,
    interval: Duration,
    retransmissions: u32,
}

impl Attempt {
    /// A server that has not heard a hello yet. Its plaintext records are numbered from `sequence`.
    pub(super) fn server(
        config: &DtlsConfig,
        negotiated: &Negotiated,
        client_random: &[u8],
        cookie: [u8; COOKIE_BYTES],
        sequence: u64,
        random: Random,
    ) -> Result<Attempt, EngineError> {
        let provider = Provider::new(random, cookie);
        let engine_config = engine_config(
            config,
            &provider,
            false,
            &[negotiated.suite],
            &[negotiated.profile],
        )?;
        let engine = Endpoint::new(PEER, TransportProtocol::UDP, Some(engine_config));
        // The HelloVerifyRequest that the engine will make has number 0; the client never sees it.
        let offset = sequence.wrapping_sub(1) & SEQUENCE_MASK;
        Ok(Attempt {
            client_random: client_random.to_vec(),
            offset,
            last_sent: offset,
            ..Attempt::new(engine, provider, Flight::new(Expected::ClientFlight, 2))
        })
    }

    /// A client that has sent its hello.
    pub(super) fn client(
        config: &DtlsConfig,
        now: Instant,
        random: Random,
    ) -> Result<Attempt, EngineError> {
        let provider = Provider::new(random, [0; COOKIE_BYTES]);
        let engine_config =
            engine_config(config, &provider, true, &OFFERED_SUITES, &config.profiles)?;
        let mut engine = Endpoint::new(PEER, TransportProtocol::UDP, None);
        guarded(|| engine.connect(now, PEER, engine_config, None))?;
        Ok(Attempt::new(
            engine,
            provider,
            Flight::new(Expected::ServerFlight, 0),
        ))
    }

    fn new(engine: Endpoint, provider: Arc<Provider>, flight: Flight) -> Attempt {
        Attempt {
            engine,
            provider,
            client_random: Vec::new(),
            flight,
            change_cipher_spec: ChangeCipherSpec::Missing,
            held: Vec::new(),
            inbound: 0,
            offset: 0,
            last_sent: 0,
            sent_at: Time::ZERO,
            retransmit: None,
            interval: FIRST_RETRANSMISSION,
            retransmissions: 0,
        }
    }

    pub(super) fn state(&self) -> Option<&State> {
        self.engine.get_connection_state(PEER)
    }

    /// A plaintext record for the engine.
    pub(super) fn plain_record(&mut self, content: u8, body: &[u8]) -> Vec<u8> {
        let mut record = Vec::with_capacity(HEADER + body.len());
        write_record(&mut record, content, 0, self.inbound, body);
        self.inbound += 1;
        record
    }

    /// Number for a plaintext record of ours after all that the engine has sent.
    pub(super) fn next_sequence(&self) -> u64 {
        self.last_sent.wrapping_add(1) & SEQUENCE_MASK
    }

    /// Keeps an encrypted record; the newest is lost when there are too many.
    pub(super) fn hold(&mut self, record: &[u8]) {
        if self.held.len() < limits::HELD_RECORDS && record.len() <= limits::MAX_DATAGRAM {
            self.held.push(Bytes::copy_from_slice(record));
        }
    }

    /// A flight of ours went out.
    pub(super) fn arm(&mut self, now: Time) {
        self.sent_at = now;
        self.interval = FIRST_RETRANSMISSION;
        self.retransmissions = 0;
        self.retransmit = Some(now + self.interval);
    }

    /// The peer shows that it missed our flight: do not wait for the timer.
    pub(super) fn hurry(&mut self) {
        let soon = self.sent_at + MIN_RETRANSMISSION;
        self.retransmit = self.retransmit.map(|time| time.min(soon));
    }

    /// Has the engine send its flight again.
    pub(super) fn retransmit(&mut self, instant: Instant, now: Time) -> Result<(), EngineError> {
        self.retransmit = None;
        if self.retransmissions >= MAX_RETRANSMISSIONS {
            return Ok(());
        }
        guarded(|| self.engine.handle_timeout(PEER, instant))?;
        self.retransmissions += 1;
        self.interval *= 2;
        self.sent_at = now;
        self.retransmit = Some(now + self.interval);
        Ok(())
    }

    pub(super) fn read(
        &mut self,
        now: Instant,
        records: &[u8],
    ) -> Result<Vec<EndpointEvent>, EngineError> {
        guarded(|| self.engine.read(now, PEER, None, BytesMut::from(records)))
    }

    pub(super) fn write(&mut self, now: Instant, data: &[u8]) -> Result<(), EngineError> {
        guarded(|| self.engine.write(now, PEER, data))
    }

    pub(super) fn stop(&mut self, now: Instant) -> Result<(), EngineError> {
        guarded(|| Ok(self.engine.stop(now, PEER))).map(drop)
    }

    /// Moves what the engine wants to send to `out`, with numbers that the peer has not seen.
    ///
    /// Alerts pass only with `goodbye`: in plaintext they would end the peer's attempt over what may have
    /// been a forgery, and encrypted ones the engine merely echoes.
    pub(super) fn drain(&mut self, out: &mut VecDeque<Bytes>, goodbye: bool) {
        while let Some(transmit) = self.engine.poll_transmit() {
            let mut datagram = Vec::with_capacity(transmit.message.len());
            for record in records(&transmit.message) {
                if record.content == content::ALERT && !(goodbye && record.epoch != 0) {
                    continue;
                }
                if record.epoch == 0 {
                    let sequence = record.sequence.wrapping_add(self.offset) & SEQUENCE_MASK;
                    self.last_sent = sequence;
                    write_record(&mut datagram, record.content, 0, sequence, record.body);
                } else {
                    datagram.extend_from_slice(record.bytes);
                }
            }
            if !datagram.is_empty() {
                out.push_back(datagram.into());
            }
        }
    }
}

fn engine_config(
    config: &DtlsConfig,
    provider: &Arc<Provider>,
    client: bool,
    suites: &[u16],
    profiles: &[Profile],
) -> Result<Arc<HandshakeConfig>, EngineError> {
    let profiles = profiles
        .iter()
        .map(|profile| SrtpProtectionProfile::from(profile_code(*profile)));
    let builder = ConfigBuilder::default()
        .with_crypto_provider(provider.clone())
        .with_certificates(vec![config.certificate.engine()])
        .with_cipher_suites(
            suites
                .iter()
                .map(|suite| CipherSuiteId::from(*suite))
                .collect(),
        )
        .with_srtp_protection_profiles(profiles.collect())
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        .with_extended_master_secret(ExtendedMasterSecretType::Request)
        // There is no chain to verify: the leaf's fingerprint is checked before the engine sees it.
        .with_insecure_skip_verify(true)
        .with_flight_interval(ENGINE_INTERVAL)
        .with_mtu(limits::SECURE_DATAGRAM - ENGINE_OVERHEAD);
    guarded(|| builder.build(client, None)).map(Arc::new)
}

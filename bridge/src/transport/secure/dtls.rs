//! DTLS 1.2 for one endpoint: the gate before the engine, attempts, timers, keys.
//!
//! As a server we answer a ClientHello with a cookie, and only one that returns with it makes
//! an *attempt*: a fresh engine. An attempt gets whole flights ([`Flight`]) whose certificate already is a
//! signaled one; records that are encrypted wait outside until they can be opened. Plaintext alerts and
//! everything in plaintext after the handshake is ignored (T23). An attempt that fails before the peer is
//! authenticated is thrown away, and another may begin (T15).
//!
//! The engine (`rtc-dtls`, in [`Attempt`]) always runs a cookie exchange as a server, so the first message
//! of the exchange is replayed to it from the second; its own request is thrown away. It does not check
//! the client's Finished beyond opening it. That loses nothing here: we require a client certificate, and
//! its CertificateVerify signs the same transcript up to ClientKeyExchange.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_dtls::endpoint::EndpointEvent;

use super::attempt::{Attempt, ChangeCipherSpec, EngineError, RECORD_OVERHEAD};
use super::budget::Budget;
use super::fingerprint::{self, Fingerprint};
use super::flight::{Expected, Flight, Pieces, collect};
use super::hello::{ClientHello, Cookie, Negotiated, Unacceptable, profile_code};
use super::record::{
    Fragment, Reader, Record, alert, content, fatal_alert, fragments, message, records,
    whole_message,
};
use super::{Certificate, FailureReason};
use crate::limits;
use crate::random::Random;
use crate::srtp::{KeyingMaterial, Profile};
use crate::time::Time;

/// Our last flight is repeated so often when the client repeats its own.
const MAX_REPEATS: u32 = 8;
/// Cookies are sent in records with the number of the hello (RFC 6347 §4.2.1) below this one. Everything
/// else is numbered from here: a hello forged with a high number, or many of them, cannot use up numbers
/// that the true flight needs to pass the peer's replay window.
const COOKIE_RECORDS: u64 = 16;
/// Longest encrypted handshake record; a Finished has 48 bytes.
const MAX_FINISHED_RECORD: usize = 128;
/// A client tries again so long after an attempt failed.
const CLIENT_RETRY: Duration = Duration::from_millis(500);
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// Settings of one association.
#[derive(Clone)]
pub(super) struct DtlsConfig {
    pub(super) certificate: Arc<Certificate>,
    pub(super) profiles: Vec<Profile>,
    pub(super) accept_sha1: bool,
    pub(super) handshake_timeout: Duration,
    pub(super) base: Instant,
}

/// What happened.
pub(super) enum DtlsEvent {
    Connected(KeyingMaterial),
    Failed(FailureReason),
    Data(Bytes),
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Handshaking,
    Connected,
    Over,
}

/// One endpoint's DTLS.
pub(super) struct Dtls {
    config: DtlsConfig,
    client: bool,
    random: Random,
    cookie: Cookie,
    /// Record sequence number of our next plaintext record that is not a cookie.
    sequence: u64,
    fingerprints: Vec<Fingerprint>,
    phase: Phase,
    deadline: Time,
    /// The association fails then, unless another attempt makes it.
    failing: Option<Time>,
    /// As a client: when to try again.
    restart: Option<Time>,
    /// What is reported if it fails.
    reason: FailureReason,
    /// ClientHellos in reassembly, without and with cookie.
    hellos: [Option<Pieces>; 2],
    attempt: Option<Box<Attempt>>,
    datagrams: Budget,
    cookies_sent: Budget,
    refusals: Budget,
    attempts: Budget,
    repeats: u32,
    panics: u64,
    output: VecDeque<Bytes>,
    events: VecDeque<DtlsEvent>,
}

impl Dtls {
    pub(super) fn new(config: DtlsConfig, client: bool, mut random: Random, now: Time) -> Dtls {
        let cookie = Cookie::new(&mut random);
        let mut dtls = Dtls {
            deadline: now + config.handshake_timeout,
            config,
            client,
            random,
            cookie,
            sequence: COOKIE_RECORDS,
            fingerprints: Vec::new(),
            phase: Phase::Handshaking,
            failing: None,
            restart: None,
            reason: FailureReason::Timeout,
            hellos: [None, None],
            attempt: None,
            datagrams: Budget::per_second(limits::HANDSHAKE_DATAGRAMS_PER_SECOND, now),
            cookies_sent: Budget::per_second(limits::HANDSHAKE_DATAGRAMS_PER_SECOND, now),
            refusals: Budget::per_second(limits::REFUSALS_PER_SECOND, now),
            attempts: Budget::per_second(limits::HANDSHAKE_ATTEMPTS_PER_SECOND, now),
            repeats: MAX_REPEATS,
            panics: 0,
            output: VecDeque::new(),
            events: VecDeque::new(),
        };
        if client {
            dtls.connect(now);
        }
        dtls
    }

    pub(super) fn set_fingerprints(&mut self, fingerprints: Vec<Fingerprint>) {
        self.fingerprints = fingerprints;
    }

    pub(super) fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.output.pop_front()
    }

    pub(super) fn poll_event(&mut self) -> Option<DtlsEvent> {
        self.events.pop_front()
    }

    /// Panics of the engine since the last call.
    pub(super) fn take_panics(&mut self) -> u64 {
        std::mem::take(&mut self.panics)
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        if self.phase != Phase::Handshaking {
            return None;
        }
        let retransmit = self.attempt.as_ref().and_then(|attempt| attempt.retransmit);
        [Some(self.deadline), self.failing, self.restart, retransmit]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        if self.phase != Phase::Handshaking {
            return;
        }
        let due = |time: Option<Time>| time.is_some_and(|time| time <= now);
        if self.deadline <= now || due(self.failing) {
            return self.fail();
        }
        if due(self.restart) {
            self.connect(now);
        }
        if due(self.attempt.as_ref().and_then(|attempt| attempt.retransmit)) {
            self.retransmit(now);
        }
    }

    /// Takes a datagram from a validated address.
    pub(super) fn handle(&mut self, now: Time, datagram: &[u8]) {
        let mut charged = false;
        for record in records(datagram) {
            match self.phase {
                Phase::Handshaking => self.handle_handshaking(now, &record, &mut charged),
                Phase::Connected => self.handle_connected(now, &record),
                Phase::Over => return,
            }
        }
    }

    /// Sends application data; `false` if not connected or too large for a datagram.
    pub(super) fn send(&mut self, now: Time, data: &[u8]) -> bool {
        if self.phase != Phase::Connected || data.len() + RECORD_OVERHEAD > limits::SECURE_DATAGRAM
        {
            return false;
        }
        let instant = instant(self.config.base, now);
        let Some(attempt) = &mut self.attempt else {
            return false;
        };
        match attempt.write(instant, data) {
            Ok(()) => {
                attempt.drain(&mut self.output, false);
                true
            }
            Err(EngineError::Panicked) => {
                self.panics += 1;
                self.end();
                false
            }
            Err(_) => false,
        }
    }

    /// Says goodbye if connected, forgets everything.
    pub(super) fn close(&mut self, now: Time) {
        if self.phase == Phase::Connected
            && let Some(attempt) = &mut self.attempt
            && attempt.stop(instant(self.config.base, now)).is_ok()
        {
            attempt.drain(&mut self.output, true);
        }
        self.phase = Phase::Over;
        self.attempt = None;
    }

    /// The peer, or a panic of the engine, ended it.
    fn end(&mut self) {
        self.phase = Phase::Over;
        self.attempt = None;
        self.events.push_back(DtlsEvent::Closed);
    }

    // ---- handshake ------------------------------------------------------------------------------

    fn handle_handshaking(&mut self, now: Time, record: &Record<'_>, charged: &mut bool) {
        if !self.client && record.epoch == 0 && record.content == content::HANDSHAKE {
            // Hellos have budgets of their own: a flood of forged ones must not shut out a true flight.
            for fragment in fragments(record.body).filter(|f| f.kind == message::CLIENT_HELLO) {
                self.handle_hello_fragment(now, record.sequence, &fragment);
            }
            if fragments(record.body).all(|fragment| fragment.kind == message::CLIENT_HELLO) {
                return;
            }
        }
        if !*charged {
            if !self.datagrams.take(now) {
                return;
            }
            *charged = true;
        }
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        match (record.epoch, record.content) {
            (0, content::HANDSHAKE) => {
                for fragment in fragments(record.body) {
                    self.handle_fragment(now, &fragment);
                }
            }
            (0, content::CHANGE_CIPHER_SPEC)
                if record.body == [1]
                    && attempt.change_cipher_spec == ChangeCipherSpec::Missing =>
            {
                attempt.change_cipher_spec = ChangeCipherSpec::Seen;
                self.pass_encrypted(now);
            }
            (1, content::HANDSHAKE) if record.body.len() <= MAX_FINISHED_RECORD => {
                if attempt.change_cipher_spec == ChangeCipherSpec::Passed {
                    self.feed(now, record.bytes);
                } else {
                    attempt.hold(record.bytes);
                }
            }
            (1, content::APPLICATION_DATA) => attempt.hold(record.bytes),
            _ => {}
        }
    }

    fn handle_hello_fragment(&mut self, now: Time, record_sequence: u64, fragment: &Fragment<'_>) {
        let Some(slot) = self.hellos.get_mut(usize::from(fragment.message_sequence)) else {
            return;
        };
        if collect(slot, fragment)
            && let Some(pieces) = slot.take()
        {
            self.handle_hello(
                now,
                record_sequence,
                fragment.message_sequence,
                &pieces.body,
            );
        }
    }

    fn handle_hello(
        &mut self,
        now: Time,
        record_sequence: u64,
        message_sequence: u16,
        body: &[u8],
    ) {
        let Some(hello) = ClientHello::parse(body) else {
            return;
        };
        let negotiated = hello.negotiate(&self.config.profiles);
        if hello.cookie.is_empty() {
            let budget = if negotiated.is_ok() {
                &mut self.cookies_sent
            } else {
                &mut self.refusals
            };
            if message_sequence == 0 && budget.take(now) {
                self.output.push_back(
                    self.cookie
                        .request(record_sequence.min(COOKIE_RECORDS - 1))
                        .into(),
                );
            }
            return;
        }
        if message_sequence != 1 || !self.cookie.accepts(&hello) {
            return;
        }
        match negotiated {
            Ok(negotiated) => {
                if let Some(attempt) = &mut self.attempt
                    && attempt.client_random == hello.random
                {
                    attempt.hurry();
                } else if self.attempts.take(now) {
                    self.serve(now, &hello, body, negotiated);
                }
            }
            Err(unacceptable) if self.attempt.is_none() => {
                let (reason, description) = match unacceptable {
                    Unacceptable::Version => (FailureReason::Protocol, alert::PROTOCOL_VERSION),
                    Unacceptable::Suite => (FailureReason::Protocol, alert::HANDSHAKE_FAILURE),
                    Unacceptable::Profile => {
                        (FailureReason::NoSrtpProfile, alert::HANDSHAKE_FAILURE)
                    }
                };
                if self.refusals.take(now) {
                    self.output
                        .push_back(fatal_alert(description, self.sequence).into());
                    self.sequence += 1;
                }
                self.attempt_failed(now, reason);
            }
            Err(_) => {}
        }
    }

    /// Begins an attempt as a server; `body` is the hello with the right cookie.
    fn serve(&mut self, now: Time, hello: &ClientHello<'_>, body: &[u8], negotiated: Negotiated) {
        self.drop_attempt();
        let attempt = Attempt::server(
            &self.config,
            &negotiated,
            hello.random,
            self.cookie.0,
            self.sequence,
            self.random.fork(),
        );
        let Ok(attempt) = attempt else {
            return self.attempt_failed(now, FailureReason::Protocol);
        };
        self.attempt = Some(Box::new(attempt));
        self.failing = None;
        let sent_before = self.output.len();
        let first = whole_message(message::CLIENT_HELLO, 0, &hello.without_cookie());
        self.feed_plain(now, &[first]);
        // The engine asks for the cookie that the client already brought.
        self.output.truncate(sent_before);
        self.feed_plain(now, &[whole_message(message::CLIENT_HELLO, 1, body)]);
    }

    /// Begins an attempt as a client.
    fn connect(&mut self, now: Time) {
        self.restart = None;
        let random = self.random.fork();
        let attempt = Attempt::client(&self.config, instant(self.config.base, now), random);
        match attempt {
            Ok(mut attempt) => {
                attempt.drain(&mut self.output, false);
                attempt.arm(now);
                self.attempt = Some(Box::new(attempt));
            }
            Err(_) => self.attempt_failed(now, FailureReason::Protocol),
        }
    }

    fn handle_fragment(&mut self, now: Time, fragment: &Fragment<'_>) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let Some(index) = attempt.flight.insert(fragment) else {
            return;
        };
        if fragment.kind == message::CERTIFICATE {
            let body = attempt
                .flight
                .message(index)
                .map_or(&[][..], |pieces| &pieces.body);
            if let Err(reason) = check_chain(body, &self.fingerprints, self.config.accept_sha1) {
                // Forged, or of a stranger: a true one still has time to come.
                attempt.flight.reject(index);
                self.reason = reason;
                self.failing
                    .get_or_insert(now + limits::HANDSHAKE_RETRY_GRACE);
                return;
            }
            self.failing = None;
        }
        self.pass_flight(now);
    }

    /// Gives the engine the peer's flight if it is complete.
    fn pass_flight(&mut self, now: Time) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let Some(flight) = attempt.flight.complete() else {
            return;
        };
        let verify_request = flight
            .first()
            .is_some_and(|(_, pieces)| pieces.kind == message::HELLO_VERIFY_REQUEST);
        let messages: Vec<_> = flight
            .iter()
            .map(|(sequence, pieces)| whole_message(pieces.kind, *sequence, &pieces.body))
            .collect();
        attempt.flight = if verify_request {
            Flight::new(Expected::ServerFlight, 1)
        } else {
            Flight::new(Expected::Nothing, 0)
        };
        self.feed_plain(now, &messages);
        self.pass_encrypted(now);
    }

    /// Gives the engine what waited for the record keys, once they exist.
    fn pass_encrypted(&mut self, now: Time) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if attempt.change_cipher_spec != ChangeCipherSpec::Seen || !attempt.provider.has_keys() {
            return;
        }
        attempt.change_cipher_spec = ChangeCipherSpec::Passed;
        let change = attempt.plain_record(content::CHANGE_CIPHER_SPEC, &[1]);
        self.feed(now, &change);
        let held = self
            .attempt
            .as_mut()
            .map(|attempt| std::mem::take(&mut attempt.held));
        for bytes in held.unwrap_or_default() {
            if let Some(record) = records(&bytes).next() {
                self.handle_held(now, &record);
            }
        }
    }

    fn handle_held(&mut self, now: Time, record: &Record<'_>) {
        match self.phase {
            Phase::Connected => self.handle_connected(now, record),
            Phase::Handshaking if record.content == content::HANDSHAKE => {
                self.feed(now, record.bytes)
            }
            Phase::Handshaking => {
                if let Some(attempt) = &mut self.attempt {
                    attempt.hold(record.bytes);
                }
            }
            Phase::Over => {}
        }
    }

    /// Gives the engine handshake messages in plaintext records and waits for the answer.
    fn feed_plain(&mut self, now: Time, messages: &[Vec<u8>]) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let mut datagram = Vec::new();
        for message in messages {
            datagram.extend_from_slice(&attempt.plain_record(content::HANDSHAKE, message));
        }
        self.feed(now, &datagram);
        if self.phase == Phase::Handshaking
            && let Some(attempt) = &mut self.attempt
        {
            attempt.arm(now);
        }
    }

    /// Gives the engine records.
    fn feed(&mut self, now: Time, records: &[u8]) {
        let instant = instant(self.config.base, now);
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let result = attempt.read(instant, records);
        let goodbye = matches!(&result, Ok(events)
            if events.iter().any(|event| matches!(event, EndpointEvent::PeerClosed)));
        attempt.drain(&mut self.output, goodbye);
        match result {
            Ok(events) => {
                for event in events {
                    match event {
                        EndpointEvent::HandshakeComplete => self.complete(now),
                        EndpointEvent::ApplicationData(data) if self.phase == Phase::Connected => {
                            self.events.push_back(DtlsEvent::Data(data.freeze()));
                        }
                        EndpointEvent::PeerClosed if self.phase == Phase::Connected => self.end(),
                        _ => {}
                    }
                }
            }
            Err(error) => {
                self.panics += u64::from(matches!(error, EngineError::Panicked));
                match (self.phase, error) {
                    (Phase::Handshaking, _) => self.attempt_failed(now, FailureReason::Protocol),
                    (Phase::Connected, EngineError::Closed | EngineError::Panicked) => self.end(),
                    // A bad record costs that record.
                    _ => {}
                }
            }
        }
    }

    /// The engine is done: keys, if the peer is who signaling says.
    fn complete(&mut self, now: Time) {
        match self.keying_material() {
            Ok(keys) => {
                self.phase = Phase::Connected;
                self.hellos = [None, None];
                self.events.push_back(DtlsEvent::Connected(keys));
                let held = self
                    .attempt
                    .as_mut()
                    .map(|attempt| std::mem::take(&mut attempt.held));
                for bytes in held.unwrap_or_default() {
                    if let Some(record) = records(&bytes).next() {
                        self.handle_connected(now, &record);
                    }
                }
            }
            Err(reason) => self.attempt_failed(now, reason),
        }
    }

    fn keying_material(&self) -> Result<KeyingMaterial, FailureReason> {
        let attempt = self.attempt.as_ref().ok_or(FailureReason::Protocol)?;
        let state = attempt.state().ok_or(FailureReason::Protocol)?;
        let leaf = state
            .peer_certificates
            .first()
            .ok_or(FailureReason::FingerprintMismatch)?;
        if !attempt.provider.peer_proved_key()
            || !fingerprint::matches(&self.fingerprints, leaf, self.config.accept_sha1)
        {
            return Err(FailureReason::FingerprintMismatch);
        }
        let code = state.srtp_protection_profile() as u16;
        let profile = self
            .config
            .profiles
            .iter()
            .copied()
            .find(|profile| profile_code(*profile) == code)
            .ok_or(FailureReason::NoSrtpProfile)?;
        let (key, salt) = (16, salt_length(profile));
        let exported = state
            .export_keying_material(EXPORTER_LABEL, &[], 2 * (key + salt))
            .map_err(|_| FailureReason::Protocol)?;
        split_keys(profile, self.client, exported.as_ref()).ok_or(FailureReason::Protocol)
    }

    fn retransmit(&mut self, now: Time) {
        let instant = instant(self.config.base, now);
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let sent_before = self.output.len();
        let result = attempt.retransmit(instant, now);
        attempt.drain(&mut self.output, false);
        self.panics += u64::from(matches!(result, Err(EngineError::Panicked)));
        let stuck = result.is_err() || self.output.len() == sent_before;
        if stuck && self.client {
            self.connect(now);
        } else if result.is_err() {
            self.attempt_failed(now, FailureReason::Protocol);
        }
    }

    /// Throws the attempt away. Another one may still succeed.
    fn attempt_failed(&mut self, now: Time, reason: FailureReason) {
        self.drop_attempt();
        self.reason = reason;
        self.failing
            .get_or_insert(now + limits::HANDSHAKE_RETRY_GRACE);
        if self.client {
            self.restart = Some(now + CLIENT_RETRY);
        }
    }

    /// Our plaintext records never use a number twice, so that the peer's replay window takes them.
    fn drop_attempt(&mut self) -> bool {
        let attempt = self.attempt.take();
        if let Some(attempt) = &attempt {
            self.sequence = attempt.next_sequence();
        }
        attempt.is_some()
    }

    fn fail(&mut self) {
        if self.drop_attempt() {
            let description = match self.reason {
                FailureReason::FingerprintMismatch => alert::BAD_CERTIFICATE,
                _ => alert::HANDSHAKE_FAILURE,
            };
            self.output
                .push_back(fatal_alert(description, self.sequence).into());
        }
        self.phase = Phase::Over;
        self.hellos = [None, None];
        self.events.push_back(DtlsEvent::Failed(self.reason));
    }

    // ---- connected ------------------------------------------------------------------------------

    fn handle_connected(&mut self, now: Time, record: &Record<'_>) {
        match (record.epoch, record.content) {
            (1, content::APPLICATION_DATA | content::ALERT) => self.feed(now, record.bytes),
            // The client repeats its Finished: ours was lost.
            (1, content::HANDSHAKE)
                if !self.client && self.repeats > 0 && record.body.len() <= MAX_FINISHED_RECORD =>
            {
                self.repeats -= 1;
                self.feed(now, record.bytes);
            }
            // Plaintext, renegotiation, the future: nothing that an authenticated peer sends (T23).
            _ => {}
        }
    }
}

/// Whether a Certificate message may go to the engine: few certificates, and a signaled leaf (T17, T19).
fn check_chain(
    body: &[u8],
    signaled: &[Fingerprint],
    accept_sha1: bool,
) -> Result<(), FailureReason> {
    let mut certificates = 0;
    let mut leaf = None;
    let mut list = Reader(body)
        .vector(3)
        .map(Reader)
        .ok_or(FailureReason::Protocol)?;
    while !list.0.is_empty() {
        let certificate = list.vector(3).ok_or(FailureReason::Protocol)?;
        leaf.get_or_insert(certificate);
        certificates += 1;
        if certificates > limits::MAX_CERTIFICATE_CHAIN {
            return Err(FailureReason::Protocol);
        }
    }
    let leaf = leaf.ok_or(FailureReason::Protocol)?;
    fingerprint::matches(signaled, leaf, accept_sha1)
        .then_some(())
        .ok_or(FailureReason::FingerprintMismatch)
}

/// The core's time as the engine takes it.
pub(super) fn instant(base: Instant, time: Time) -> Instant {
    base.checked_add(Duration::from_micros(time.as_micros()))
        .unwrap_or(base)
}

const fn salt_length(profile: Profile) -> usize {
    match profile {
        Profile::AeadAes128Gcm => 12,
        Profile::Aes128CmSha1_80 => 14,
    }
}

/// client key ‖ server key ‖ client salt ‖ server salt (RFC 5764 §4.2).
fn split_keys(profile: Profile, client: bool, exported: &[u8]) -> Option<KeyingMaterial> {
    let mut reader = Reader(exported);
    let mut key = || -> Option<[u8; 16]> { reader.take(16)?.try_into().ok() };
    let (client_key, server_key) = (key()?, key()?);
    let mut salt = || -> Option<[u8; 14]> {
        let mut out = [0; 14];
        let length = salt_length(profile);
        out.get_mut(..length)?.copy_from_slice(reader.take(length)?);
        Some(out)
    };
    let (client_salt, server_salt) = (salt()?, salt()?);
    let (local, remote) = ((client_key, client_salt), (server_key, server_salt));
    let (local, remote) = if client {
        (local, remote)
    } else {
        (remote, local)
    };
    Some(KeyingMaterial {
        profile,
        local_key: local.0,
        local_salt: local.1,
        remote_key: remote.0,
        remote_salt: remote.1,
    })
}

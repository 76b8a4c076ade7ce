//! DTLS, SCTP and the data channel of one endpoint as one sans-IO object.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::dtls::{Dtls, DtlsConfig, DtlsEvent};
use super::sctp::{Sctp, SctpEvent};
use super::{Certificate, FailureReason, Fingerprint, Setup};
use crate::limits;
use crate::random::Random;
use crate::srtp::{KeyingMaterial, Profile};
use crate::time::Time;

/// Who begins SCTP and opens the data channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SctpRole {
    /// The peer does: ordinary endpoints.
    Server,
    /// We do: towards another bridge.
    Client,
}

/// Settings of an association.
#[derive(Clone, Debug)]
pub struct AssociationConfig {
    /// Our certificate; its fingerprint is the one in signaling.
    pub certificate: Arc<Certificate>,
    /// SRTP profiles in order of preference; ours decides as a server.
    pub profiles: Vec<Profile>,
    /// Let sha-1 fingerprints count.
    pub accept_sha1: bool,
    /// A handshake that takes longer has failed.
    pub handshake_timeout: Duration,
    /// Whether SCTP was negotiated.
    pub sctp: Option<SctpRole>,
    /// What [`Time::ZERO`] is for the engines, which reckon in `Instant`. Any constant of the process.
    pub base: Instant,
}

/// What an association reports.
#[derive(Debug)]
pub enum AssociationEvent {
    /// The handshake is complete and the peer is who signaling says: keys for SRTP.
    Connected(KeyingMaterial),
    /// No handshake in time; the association is over.
    Failed(FailureReason),
    /// The data channel is open.
    ChannelOpen,
    /// Text from the data channel.
    Message(String),
    /// The data channel closed: by the peer, or because the association is over.
    ChannelClosed,
}

/// Why text was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// There is no open data channel.
    #[error("no open data channel")]
    NotOpen,
    /// Longer than [`limits::MAX_SENT_MESSAGE_BYTES`].
    #[error("message too large")]
    TooLarge,
    /// [`limits::SCTP_SEND_BUFFER`] is reached: the peer does not acknowledge.
    #[error("send buffer full")]
    Full,
}

/// One endpoint's secure transport.
///
/// Nothing happens until the role is known ([`Association::set_remote`]) and there is a path
/// ([`Association::writable`]); a few early datagrams are kept until then (media-plane case 33). From
/// there a handshake has [`AssociationConfig::handshake_timeout`]. After each call, [`Association::poll_transmit`]
/// and [`Association::poll_event`] are to be emptied and [`Association::poll_timeout`] asked again.
pub struct Association {
    config: AssociationConfig,
    random: Option<Random>,
    fingerprints: Vec<Fingerprint>,
    client: Option<bool>,
    writable: bool,
    early: Vec<Bytes>,
    dtls: Option<Dtls>,
    sctp: Option<Sctp>,
    channel_open: bool,
    closed: bool,
    rejected_channels: u64,
    panics: u64,
    output: VecDeque<Bytes>,
    events: VecDeque<AssociationEvent>,
}

impl Association {
    /// An association whose peer is not known yet. All its random choices come from `random`, except
    /// what the engines draw themselves (key pairs, signatures, SCTP's first TSN).
    pub fn new(config: AssociationConfig, random: Random) -> Association {
        Association {
            config,
            random: Some(random),
            fingerprints: Vec::new(),
            client: None,
            writable: false,
            early: Vec::new(),
            dtls: None,
            sctp: None,
            channel_open: false,
            closed: false,
            rejected_channels: 0,
            panics: 0,
            output: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// What signaling says of the peer. An empty list does not erase known fingerprints; the role is
    /// settled by the first `setup` (RFC 8842): the server unless the peer is passive.
    pub fn set_remote(&mut self, now: Time, fingerprints: Vec<Fingerprint>, setup: Option<Setup>) {
        if !fingerprints.is_empty() {
            self.fingerprints = fingerprints;
            if let Some(dtls) = &mut self.dtls {
                dtls.set_fingerprints(self.fingerprints.clone());
            }
        }
        if self.client.is_none() {
            self.client = setup.map(|setup| setup == Setup::Passive);
        }
        self.begin(now);
    }

    /// ICE has a usable path: the handshake may begin.
    pub fn writable(&mut self, now: Time) {
        self.writable = true;
        self.begin(now);
    }

    /// Takes a datagram whose first byte is 20–63 from a validated address.
    pub fn handle_datagram(&mut self, now: Time, datagram: &[u8]) {
        if self.closed || datagram.len() > limits::MAX_DATAGRAM {
            return;
        }
        match &mut self.dtls {
            Some(dtls) => {
                dtls.handle(now, datagram);
                self.pump(now);
            }
            None if self.early.len() < limits::EARLY_DTLS_DATAGRAMS => {
                self.early.push(Bytes::copy_from_slice(datagram));
            }
            None => {}
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(now);
        }
        if let Some(sctp) = &mut self.sctp {
            sctp.handle_timeout(now);
        }
        self.pump(now);
    }

    /// When [`Association::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        let dtls = self.dtls.as_ref().and_then(Dtls::poll_timeout);
        let sctp = self.sctp.as_ref().and_then(Sctp::poll_timeout);
        dtls.into_iter().chain(sctp).min()
    }

    /// The next datagram to send, at most [`limits::SECURE_DATAGRAM`] bytes.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.output.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<AssociationEvent> {
        self.events.pop_front()
    }

    /// Sends text on the data channel: ordered and reliable.
    pub fn send_text(&mut self, now: Time, text: &str) -> Result<(), SendError> {
        let sent = self
            .sctp
            .as_mut()
            .ok_or(SendError::NotOpen)?
            .send_text(now, text);
        self.pump(now);
        sent
    }

    /// Outgoing bytes that wait for the peer's acknowledgement, bookkeeping included.
    pub fn buffered(&mut self) -> usize {
        self.sctp.as_mut().map_or(0, Sctp::buffered)
    }

    /// Whether text can be sent.
    pub fn has_channel(&self) -> bool {
        self.channel_open
    }

    /// Estimated bytes that the peer makes us hold for SCTP: unacknowledged ones, and parts of messages.
    pub fn held(&mut self) -> usize {
        self.sctp.as_mut().map_or(0, Sctp::held)
    }

    /// Ends SCTP, and with it the data channel; DTLS goes on, and the peer may begin SCTP anew.
    pub fn close_channel(&mut self, now: Time) {
        if let Some(sctp) = &mut self.sctp {
            sctp.close(now);
        }
        self.pump(now);
    }

    /// Opens a data channel beside the first.
    #[cfg(test)]
    pub(crate) fn open_another_channel(&mut self, now: Time) {
        self.sctp.as_mut().expect("SCTP").open_another(now);
        self.pump(now);
    }

    /// Whether keys were exported and the association has not ended.
    pub fn is_connected(&self) -> bool {
        self.dtls.as_ref().is_some_and(Dtls::is_connected)
    }

    /// Data channels refused since the last call (metric `rejected_data_channels`).
    pub fn take_rejected_channels(&mut self) -> u64 {
        std::mem::take(&mut self.rejected_channels)
    }

    /// Panics of the engines since the last call; each has cost an attempt or the association.
    pub fn take_panics(&mut self) -> u64 {
        std::mem::take(&mut self.panics)
    }

    /// Ends SCTP and DTLS with a goodbye; datagrams to send remain to be polled, events do not come.
    pub fn close(&mut self, now: Time) {
        self.closed = true;
        if let Some(sctp) = &mut self.sctp {
            sctp.close(now);
        }
        self.pump(now);
        if let Some(dtls) = &mut self.dtls {
            dtls.close(now);
        }
        self.pump(now);
        self.events.clear();
        self.early.clear();
        self.dtls = None;
        self.sctp = None;
    }

    fn begin(&mut self, now: Time) {
        let (true, Some(client), false) = (self.writable, self.client, self.closed) else {
            return;
        };
        let Some(random) = self.random.take() else {
            return;
        };
        let config = DtlsConfig {
            certificate: self.config.certificate.clone(),
            profiles: self.config.profiles.clone(),
            accept_sha1: self.config.accept_sha1,
            handshake_timeout: self.config.handshake_timeout,
            base: self.config.base,
        };
        let mut dtls = Dtls::new(config, client, random, now);
        dtls.set_fingerprints(self.fingerprints.clone());
        for datagram in std::mem::take(&mut self.early) {
            dtls.handle(now, &datagram);
        }
        self.dtls = Some(dtls);
        self.pump(now);
    }

    /// Moves data between the layers until nothing moves.
    fn pump(&mut self, now: Time) {
        let Some(dtls) = &mut self.dtls else {
            return;
        };
        loop {
            while let Some(event) = dtls.poll_event() {
                match event {
                    DtlsEvent::Connected(keys) => {
                        self.events.push_back(AssociationEvent::Connected(keys));
                        // Not before there are keys (T24).
                        self.sctp = self
                            .config
                            .sctp
                            .map(|role| Sctp::new(self.config.base, role == SctpRole::Client, now));
                    }
                    DtlsEvent::Failed(reason) => {
                        self.events.push_back(AssociationEvent::Failed(reason));
                    }
                    DtlsEvent::Data(packet) => {
                        if let Some(sctp) = &mut self.sctp {
                            sctp.handle(now, &packet);
                        }
                    }
                    DtlsEvent::Closed => {
                        self.sctp = None;
                        if std::mem::take(&mut self.channel_open) {
                            self.events.push_back(AssociationEvent::ChannelClosed);
                        }
                    }
                }
            }
            let Some(sctp) = &mut self.sctp else {
                break;
            };
            while let Some(packet) = sctp.poll_transmit() {
                dtls.send(now, &packet);
            }
            self.rejected_channels += sctp.take_rejected();
            self.panics += sctp.take_panics();
            while let Some(event) = sctp.poll_event() {
                self.events.push_back(match event {
                    SctpEvent::Open => {
                        self.channel_open = true;
                        AssociationEvent::ChannelOpen
                    }
                    SctpEvent::Text(text) => AssociationEvent::Message(text),
                    SctpEvent::Closed => {
                        self.channel_open = false;
                        AssociationEvent::ChannelClosed
                    }
                });
            }
            // Sending may have ended DTLS.
            if !dtls.has_events() {
                break;
            }
        }
        self.panics += dtls.take_panics();
        while let Some(datagram) = dtls.poll_transmit() {
            self.output.push_back(datagram);
        }
    }
}

//! SCTP over DTLS (RFC 8261) with one data channel (RFC 8831, RFC 8832).
//!
//! The engine is `rtc-sctp` behind [`Guard`]. It exists only once DTLS is connected (T24). As a server we
//! wait for INIT; the peer opens the channel. As a client, towards other bridges, we do both.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_sctp::{
    Association, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier, ServerConfig, StreamEvent, TimerConfig, TransportConfig,
    max_payload_size_for_mtu,
};
use rtc_shared::TransportProtocol;

use super::association::SendError;
use super::attempt::RECORD_OVERHEAD;
use super::dtls::instant;
use super::guard::{Guard, SCRATCH_STREAM, Verdict, without_forward_tsn};
use super::record::Reader;
use crate::limits;
use crate::time::Time;

/// Largest SCTP packet that we make.
const MTU: u32 = (limits::SECURE_DATAGRAM - RECORD_OVERHEAD) as u32;
/// Port on both sides (bridge-channel §4.2).
const PORT: u16 = 5000;
/// The engine sorts associations by address; ours has one.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);
/// Label of a channel that we open (bridge-channel §4.3).
const LABEL: &[u8] = b"default";
const PROTOCOL: &[u8] = b"http://jitsi.org/protocols/colibri";
/// Stream of a channel that we open.
const CLIENT_STREAM: u16 = 0;

/// What a queued message costs besides its bytes.
const MESSAGE_OVERHEAD: usize = 256;
/// Packets taken from the engine at a time; a full send window has fewer.
const MAX_BURST: usize = 4_096;

const DCEP_ACK: u8 = 2;
const DCEP_OPEN: u8 = 3;

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SctpEvent {
    Open,
    Text(String),
    Closed,
}

/// One endpoint's SCTP.
pub(super) struct Sctp {
    base: Instant,
    client: bool,
    endpoint: Endpoint,
    association: Option<Association>,
    /// Tag of the INIT that made the association, and our answer to it.
    init: Option<(u32, Vec<Bytes>)>,
    guard: Guard,
    channel: Option<Channel>,
    /// The engine's clock is ahead of ours by this: its retransmission timer backs off up to 60 s, and
    /// waiting less is the same as time running faster.
    ahead: Duration,
    /// The engine's next deadline and when it is served.
    wake: Option<(Instant, Time)>,
    /// Sizes of sent messages that may not be acknowledged yet, and their sum.
    unacknowledged: VecDeque<usize>,
    unacknowledged_bytes: usize,
    rejected: u64,
    panics: u64,
    output: VecDeque<Bytes>,
    events: VecDeque<SctpEvent>,
}

struct Channel {
    stream: u16,
    /// The peer acknowledged, or we did.
    open: bool,
}

impl Sctp {
    pub(super) fn new(base: Instant, client: bool, now: Time) -> Sctp {
        let mut sctp = Sctp {
            base,
            client,
            endpoint: new_endpoint(),
            association: None,
            init: None,
            guard: Guard::default(),
            channel: None,
            ahead: Duration::ZERO,
            wake: None,
            unacknowledged: VecDeque::new(),
            unacknowledged_bytes: 0,
            rejected: 0,
            panics: 0,
            output: VecDeque::new(),
            events: VecDeque::new(),
        };
        if client {
            let config = ClientConfig::new(transport_config());
            let instant = sctp.instant(now);
            let endpoint = &mut sctp.endpoint;
            let made = catch_unwind(AssertUnwindSafe(|| endpoint.connect(instant, config, PEER)));
            sctp.association = made
                .ok()
                .and_then(Result::ok)
                .map(|(_, association)| association);
            sctp.drive(now, |_| {});
        }
        sctp
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.output.pop_front()
    }

    pub(super) fn poll_event(&mut self) -> Option<SctpEvent> {
        self.events.pop_front()
    }

    /// Channels refused since the last call.
    pub(super) fn take_rejected(&mut self) -> u64 {
        std::mem::take(&mut self.rejected)
    }

    /// Panics of the engine since the last call.
    pub(super) fn take_panics(&mut self) -> u64 {
        std::mem::take(&mut self.panics)
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.wake.map(|(_, time)| time)
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        let Some((due, _)) = self.wake.filter(|(_, time)| *time <= now) else {
            return;
        };
        self.ahead += due.saturating_duration_since(self.instant(now));
        let instant = self.instant(now);
        self.drive(now, |association| association.handle_timeout(instant));
    }

    /// Takes one SCTP packet.
    pub(super) fn handle(&mut self, now: Time, packet: &[u8]) {
        match self.guard.inspect(packet) {
            Verdict::Drop => {}
            Verdict::Pass(packet) => {
                let Some(DatagramEvent::AssociationEvent(event)) = self.decode(now, packet) else {
                    return;
                };
                self.drive(now, |association| association.handle_event(event));
            }
            Verdict::Init { tag, packet } if !self.client => self.handle_init(now, tag, packet),
            Verdict::Init { .. } => {}
            Verdict::Abort => self.close(now),
        }
    }

    /// Sends text on the open channel.
    pub(super) fn send_text(&mut self, now: Time, text: &str) -> Result<(), SendError> {
        if text.len() > limits::MAX_SENT_MESSAGE_BYTES {
            return Err(SendError::TooLarge);
        }
        let stream = self
            .channel
            .as_ref()
            .filter(|channel| channel.open)
            .map(|channel| channel.stream);
        let stream = stream.ok_or(SendError::NotOpen)?;
        if self.buffered() + text.len() + MESSAGE_OVERHEAD > limits::SCTP_SEND_BUFFER {
            return Err(SendError::Full);
        }
        let (data, kind) = if text.is_empty() {
            (
                Bytes::from_static(&[0]),
                PayloadProtocolIdentifier::StringEmpty,
            )
        } else {
            (
                Bytes::copy_from_slice(text.as_bytes()),
                PayloadProtocolIdentifier::String,
            )
        };
        let size = data.len();
        if self.write(now, stream, data, kind) {
            self.unacknowledged.push_back(size);
            self.unacknowledged_bytes += size;
            Ok(())
        } else {
            Err(SendError::NotOpen)
        }
    }

    /// What waits to be sent or acknowledged, overhead included, in bytes.
    pub(super) fn buffered(&mut self) -> usize {
        let buffered = match (&mut self.association, &self.channel) {
            (Some(association), Some(channel)) => association
                .stream(channel.stream)
                .and_then(|stream| stream.buffered_amount())
                .unwrap_or(0),
            _ => 0,
        };
        while let Some(first) = self.unacknowledged.front() {
            if self.unacknowledged_bytes - first < buffered {
                break;
            }
            self.unacknowledged_bytes -= first;
            self.unacknowledged.pop_front();
        }
        buffered + self.unacknowledged.len() * MESSAGE_OVERHEAD
    }

    /// Estimated bytes held for the peer: what is not acknowledged, and parts of incomplete messages. Their
    /// payload is at most the receive window, whatever the chunks are.
    pub(super) fn held(&mut self) -> usize {
        let chunks = self.guard.held_chunks();
        let payload = (chunks * limits::SECURE_DATAGRAM).min(limits::SCTP_RECEIVE_WINDOW as usize);
        self.buffered() + payload + chunks * MESSAGE_OVERHEAD
    }

    /// Aborts the association.
    pub(super) fn close(&mut self, now: Time) {
        self.drive(now, |association| {
            let _ = association.abort();
        });
        self.end();
    }

    #[cfg(test)]
    pub(super) fn streams(&self) -> usize {
        self.association
            .as_ref()
            .map_or(0, |association| association.stream_ids().len())
    }

    /// Opens a channel beside the first.
    #[cfg(test)]
    pub(super) fn open_another(&mut self, now: Time) {
        let instant = self.instant(now);
        self.drive(now, |association| {
            let opened = association
                .open_stream(CLIENT_STREAM + 2, PayloadProtocolIdentifier::String)
                .and_then(|mut stream| {
                    let mut open = [0; 12];
                    open[0] = DCEP_OPEN;
                    stream.write_with_ppi(instant, &open, PayloadProtocolIdentifier::Dcep)
                });
            opened.expect("a free stream");
        });
    }

    #[cfg(test)]
    pub(super) fn held_chunks(&self) -> usize {
        self.guard.held_chunks()
    }

    fn instant(&self, now: Time) -> Instant {
        instant(self.base, now) + self.ahead
    }

    fn handle_init(&mut self, now: Time, tag: u32, packet: Bytes) {
        if let Some((known, answer)) = &self.init
            && *known == tag
        {
            // Ours was lost, or is late. The engine would refuse the repetition.
            self.output.extend(answer.iter().cloned());
            return;
        }
        self.end();
        self.endpoint = new_endpoint();
        let Some(DatagramEvent::NewAssociation(association)) = self.decode(now, packet) else {
            return;
        };
        self.association = Some(association);
        let sent_before = self.output.len();
        self.drive(now, |_| {});
        self.init = Some((tag, self.output.iter().skip(sent_before).cloned().collect()));
    }

    fn decode(&mut self, now: Time, packet: Bytes) -> Option<DatagramEvent> {
        let instant = self.instant(now);
        let endpoint = &mut self.endpoint;
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            endpoint.handle(instant, PEER, None, packet)
        }));
        self.panics += u64::from(decoded.is_err());
        decoded.ok().flatten().map(|(_, event)| event)
    }

    fn write(
        &mut self,
        now: Time,
        stream: u16,
        data: Bytes,
        kind: PayloadProtocolIdentifier,
    ) -> bool {
        let instant = self.instant(now);
        let mut written = false;
        self.drive(now, |association| {
            written = association
                .stream(stream)
                .and_then(|mut stream| stream.write_sctp(instant, &data, kind))
                .is_ok();
        });
        written
    }

    /// Calls the engine and collects what came of it. A panic costs the association.
    fn drive(&mut self, now: Time, call: impl FnOnce(&mut Association)) {
        let Some(mut association) = self.association.take() else {
            return;
        };
        let result = catch_unwind(AssertUnwindSafe(|| {
            call(&mut association);
            self.collect(now, &mut association);
            association
        }));
        match result {
            // To the engine, one that waits for COOKIE ECHO is closed, too.
            Ok(association)
                if !association.is_closed() || !(self.client || self.guard.is_established()) =>
            {
                let due = association.poll_timeout();
                self.association = Some(association);
                if due != self.wake.map(|(due, _)| due) {
                    self.wake = due.map(|due| {
                        let wait = due.saturating_duration_since(self.instant(now));
                        (due, now + wait.min(limits::SCTP_MAX_BACKOFF))
                    });
                }
            }
            Ok(_) => self.end(),
            Err(_) => {
                self.panics += 1;
                self.end();
            }
        }
    }

    fn collect(&mut self, now: Time, association: &mut Association) {
        let instant = self.instant(now);
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => {
                    self.guard.established();
                    if self.client {
                        self.open_channel(instant, association);
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => {
                    self.read(instant, association, id);
                }
                Event::AssociationLost { id, .. } => {
                    self.guard.forget_stream(id);
                    if self
                        .channel
                        .as_ref()
                        .is_some_and(|channel| channel.stream == id)
                    {
                        self.close_channel();
                    }
                }
                _ => {}
            }
        }
        // The engine also queues the streams that it made.
        while association.accept_stream().is_some() {}
        while association.poll_endpoint_event().is_some() {}
        for _ in 0..MAX_BURST {
            let Some(transmit) = association.poll_transmit(instant) else {
                break;
            };
            if let Payload::RawEncode(packets) = transmit.message {
                let established = self.guard.is_established();
                self.output.extend(packets.into_iter().map(|packet| {
                    if established {
                        packet
                    } else {
                        without_forward_tsn(packet)
                    }
                }));
            }
        }
    }

    fn open_channel(&mut self, now: Instant, association: &mut Association) {
        let mut open = vec![DCEP_OPEN, 0, 0, 0, 0, 0, 0, 0];
        open.extend_from_slice(&(LABEL.len() as u16).to_be_bytes());
        open.extend_from_slice(&(PROTOCOL.len() as u16).to_be_bytes());
        open.extend_from_slice(LABEL);
        open.extend_from_slice(PROTOCOL);
        let opened = association
            .open_stream(CLIENT_STREAM, PayloadProtocolIdentifier::String)
            .and_then(|mut stream| {
                stream.write_with_ppi(now, &open, PayloadProtocolIdentifier::Dcep)
            });
        if opened.is_ok() {
            self.channel = Some(Channel {
                stream: CLIENT_STREAM,
                open: false,
            });
        }
    }

    fn read(&mut self, now: Instant, association: &mut Association, stream: u16) {
        while let Ok(Some(message)) = association
            .stream(stream)
            .and_then(|mut stream| stream.read_sctp())
        {
            self.guard.delivered(message.chunks.len());
            let Ok(payload) = message.to_payload(limits::MAX_MESSAGE_BYTES) else {
                continue;
            };
            let on_channel = self
                .channel
                .as_ref()
                .is_some_and(|channel| channel.stream == stream && channel.open);
            match message.ppi {
                PayloadProtocolIdentifier::Dcep => {
                    self.control(now, association, stream, &payload);
                }
                PayloadProtocolIdentifier::StringEmpty if on_channel => {
                    self.events.push_back(SctpEvent::Text(String::new()));
                }
                PayloadProtocolIdentifier::String if on_channel => {
                    if let Ok(text) = String::from_utf8(payload.into()) {
                        self.events.push_back(SctpEvent::Text(text));
                    }
                }
                _ => {}
            }
        }
    }

    fn control(
        &mut self,
        now: Instant,
        association: &mut Association,
        stream: u16,
        payload: &[u8],
    ) {
        match payload {
            [DCEP_OPEN, ..] => {
                if self.channel.is_some() || stream == SCRATCH_STREAM || !is_open(payload) {
                    self.rejected += 1;
                    return;
                }
                let acknowledged = association.stream(stream).and_then(|mut stream| {
                    stream.write_with_ppi(now, &[DCEP_ACK], PayloadProtocolIdentifier::Dcep)
                });
                if acknowledged.is_ok() {
                    self.channel = Some(Channel { stream, open: true });
                    self.events.push_back(SctpEvent::Open);
                }
            }
            [DCEP_ACK] => {
                if let Some(channel) = &mut self.channel
                    && channel.stream == stream
                    && !channel.open
                {
                    channel.open = true;
                    self.events.push_back(SctpEvent::Open);
                }
            }
            _ => {}
        }
    }

    fn close_channel(&mut self) {
        if self.channel.take().is_some_and(|channel| channel.open) {
            self.events.push_back(SctpEvent::Closed);
        }
        self.unacknowledged.clear();
        self.unacknowledged_bytes = 0;
    }

    fn end(&mut self) {
        self.association = None;
        self.init = None;
        self.wake = None;
        self.close_channel();
    }
}

/// Whether a DATA_CHANNEL_OPEN is well-formed and short enough. Its contents do not matter
/// (bridge-channel §4.3).
fn is_open(payload: &[u8]) -> bool {
    let mut reader = Reader(payload);
    let (Some(_), Some(label), Some(protocol)) =
        (reader.take(8), reader.number(2), reader.number(2))
    else {
        return false;
    };
    label + protocol <= limits::MAX_CHANNEL_LABEL_BYTES && reader.0.len() == label + protocol
}

fn transport_config() -> TransportConfig {
    TransportConfig::default()
        .with_sctp_port(PORT)
        .with_max_receive_buffer_size(limits::SCTP_RECEIVE_WINDOW)
        .with_max_message_size(limits::MAX_SENT_MESSAGE_BYTES as u32)
        // It ends with the transport (T53).
        .with_timer_config(TimerConfig {
            max_t1_init_retrans: usize::MAX,
            max_t1_cookie_retrans: usize::MAX,
            max_t2_shutdown_retrans: usize::MAX,
            max_t3_rtx_retrans: usize::MAX,
            max_reconfig_retrans: usize::MAX,
            max_ack_retrans: usize::MAX,
        })
}

fn new_endpoint() -> Endpoint {
    let mut config = EndpointConfig::new();
    config.max_payload_size(max_payload_size_for_mtu(MTU));
    let server = ServerConfig::new(transport_config());
    Endpoint::new(
        PEER,
        TransportProtocol::UDP,
        Arc::new(config),
        Some(Arc::new(server)),
    )
}

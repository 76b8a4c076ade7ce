//! SCTP and the data channel: our side against the bare engine as a browser.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;
use rtc_sctp::{
    Association as Engine, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier as Ppid, StreamEvent, TransportConfig,
};
use rtc_shared::TransportProtocol;

use super::super::dtls::instant;
use super::super::sctp::{Sctp, SctpEvent};
use super::*;

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);

/// A browser's SCTP, as far as a test needs it.
struct Browser {
    endpoint: Endpoint,
    engine: Engine,
    connected: bool,
    received: Vec<(u16, Ppid, Vec<u8>)>,
    reset: Vec<u16>,
}

impl Browser {
    fn new(now: Time) -> Browser {
        let mut endpoint = Endpoint::new(
            PEER,
            TransportProtocol::UDP,
            Arc::new(EndpointConfig::new()),
            None,
        );
        let config = ClientConfig::new(TransportConfig::default().with_max_message_size(1 << 20));
        let (_, engine) = endpoint
            .connect(instant(*BASE, now), config, PEER)
            .expect("started");
        Browser {
            endpoint,
            engine,
            connected: false,
            received: Vec::new(),
            reset: Vec::new(),
        }
    }

    fn handle(&mut self, now: Time, packet: Bytes) {
        let event = self
            .endpoint
            .handle(instant(*BASE, now), PEER, None, packet);
        if let Some((_, DatagramEvent::AssociationEvent(event))) = event {
            self.engine.handle_event(event);
        }
        while let Some(event) = self.engine.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::AssociationLost { id, .. } => self.reset.push(id),
                Event::Stream(StreamEvent::Readable { id }) => {
                    let mut stream = self.engine.stream(id).expect("readable");
                    while let Ok(Some(message)) = stream.read_sctp() {
                        let payload = message.to_payload(1 << 20).expect("fits");
                        self.received.push((id, message.ppi, payload.to_vec()));
                    }
                }
                _ => {}
            }
        }
    }

    fn transmit(&mut self, now: Time) -> Vec<Bytes> {
        let mut packets = Vec::new();
        while let Some(transmit) = self.engine.poll_transmit(instant(*BASE, now)) {
            if let Payload::RawEncode(more) = transmit.message {
                packets.extend(more);
            }
        }
        packets
    }

    /// Whether it could be sent.
    fn send(&mut self, now: Time, stream: u16, kind: Ppid, data: &[u8]) -> bool {
        if self.engine.stream(stream).is_err() && self.engine.open_stream(stream, kind).is_err() {
            return false;
        }
        let stream = self.engine.stream(stream);
        stream
            .and_then(|mut s| s.write_with_ppi(instant(*BASE, now), data, kind))
            .is_ok()
    }
}

/// DATA_CHANNEL_OPEN as lib-jitsi-meet's browser sends it.
fn open(label: &str, protocol: &str) -> Vec<u8> {
    let mut out = vec![3, 0, 0, 0, 0, 0, 0, 0];
    out.extend_from_slice(&(label.len() as u16).to_be_bytes());
    out.extend_from_slice(&(protocol.len() as u16).to_be_bytes());
    out.extend_from_slice(label.as_bytes());
    out.extend_from_slice(protocol.as_bytes());
    out
}

fn jitsi_open() -> Vec<u8> {
    open("JVB data channel", "http://jitsi.org/protocols/colibri")
}

type Filter = Box<dyn FnMut(bool, &[u8]) -> bool>;

/// Both ends, and a direct wire between them.
struct Wire {
    now: Time,
    browser: Browser,
    bridge: Sctp,
    /// Drops what it answers `false` to: whether the browser sent it, and the packet.
    filter: Filter,
    events: Vec<SctpEvent>,
    rejected: u64,
}

impl Wire {
    fn new() -> Wire {
        Wire {
            now: START,
            browser: Browser::new(START),
            bridge: Sctp::new(*BASE, false, START),
            filter: Box::new(|_, _| true),
            events: Vec::new(),
            rejected: 0,
        }
    }

    fn connected() -> Wire {
        let mut wire = Wire::new();
        wire.exchange();
        assert!(wire.browser.connected);
        wire
    }

    /// With the channel open on stream 1.
    fn open() -> Wire {
        let mut wire = Wire::connected();
        wire.send(1, Ppid::Dcep, &jitsi_open());
        wire.exchange();
        assert_eq!(wire.take_events(), [SctpEvent::Open]);
        wire.browser.received.clear();
        wire
    }

    fn send(&mut self, stream: u16, kind: Ppid, data: &[u8]) {
        assert!(self.browser.send(self.now, stream, kind, data));
    }

    /// Moves packets until nobody has any.
    fn exchange(&mut self) {
        loop {
            let up = self.browser.transmit(self.now);
            for packet in &up {
                if (self.filter)(true, packet) {
                    self.bridge.handle(self.now, packet);
                }
            }
            let down: Vec<_> = std::iter::from_fn(|| self.bridge.poll_transmit()).collect();
            for packet in &down {
                assert!(packet.len() + 37 <= limits::SECURE_DATAGRAM, "F07");
                if (self.filter)(false, packet) {
                    self.browser.handle(self.now, packet.clone());
                }
            }
            self.events
                .extend(std::iter::from_fn(|| self.bridge.poll_event()));
            self.rejected += self.bridge.take_rejected();
            if up.is_empty() && down.is_empty() {
                return;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(100);
            self.browser.engine.handle_timeout(instant(*BASE, self.now));
            self.bridge.handle_timeout(self.now);
            self.exchange();
        }
    }

    fn take_events(&mut self) -> Vec<SctpEvent> {
        std::mem::take(&mut self.events)
    }

    /// The packets that the browser would send now, instead of sending them.
    fn intercept(&mut self) -> Vec<Vec<u8>> {
        self.browser
            .transmit(self.now)
            .iter()
            .map(|packet| packet.to_vec())
            .collect()
    }

    /// Hands a packet of our making to the bridge, with a right checksum.
    fn inject(&mut self, mut packet: Vec<u8>) {
        packet[8..12].fill(0);
        let checksum = crc32c::crc32c(&packet).to_le_bytes();
        packet[8..12].copy_from_slice(&checksum);
        self.bridge.handle(self.now, &packet);
    }
}

fn data_chunk(flags: u8, tsn: u32, stream: u16, ssn: u16, kind: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0, flags];
    out.extend_from_slice(&(16 + payload.len() as u16).to_be_bytes());
    out.extend_from_slice(&tsn.to_be_bytes());
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(&ssn.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(payload);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn text(text: &str) -> SctpEvent {
    SctpEvent::Text(text.into())
}

#[test]
fn bridge_channel_case_26_an_open_with_any_label_is_acknowledged_on_its_stream() {
    for label in ["JVB data channel", "", "anything"] {
        let mut wire = Wire::connected();
        wire.send(1, Ppid::Dcep, &open(label, ""));
        wire.exchange();
        assert_eq!(wire.take_events(), [SctpEvent::Open]);
        assert_eq!(wire.browser.received, [(1, Ppid::Dcep, vec![2])]);

        wire.send(1, Ppid::String, br#"{"colibriClass":"ClientHello"}"#);
        wire.exchange();
        assert_eq!(
            wire.take_events(),
            [text(r#"{"colibriClass":"ClientHello"}"#)]
        );
        wire.bridge.send_text(wire.now, "hello").expect("open");
        wire.exchange();
        assert_eq!(
            wire.browser.received[1],
            (1, Ppid::String, b"hello".to_vec())
        );
    }
}

#[test]
fn bridge_channel_case_27_a_second_channel_is_refused_without_an_answer() {
    let mut wire = Wire::open();
    wire.send(3, Ppid::Dcep, &jitsi_open());
    wire.exchange();
    assert_eq!((wire.rejected, wire.browser.received.len()), (1, 0));
    wire.send(3, Ppid::String, b"on the refused one");
    wire.send(1, Ppid::String, b"on the open one");
    wire.exchange();
    assert_eq!(wire.take_events(), [text("on the open one")]);
}

#[test]
fn only_text_is_used() {
    let mut wire = Wire::open();
    wire.send(1, Ppid::Binary, b"binary");
    wire.send(1, Ppid::BinaryEmpty, &[0]);
    wire.send(1, Ppid::Unknown, b"unknown");
    wire.send(1, Ppid::String, &[0xff, 0xfe]);
    wire.send(1, Ppid::StringEmpty, &[0]);
    wire.send(1, Ppid::String, b"text");
    wire.exchange();
    assert_eq!(wire.take_events(), [text(""), text("text")]);
    wire.bridge.send_text(wire.now, "").expect("open");
    wire.exchange();
    assert_eq!(wire.browser.received, [(1, Ppid::StringEmpty, vec![0])]);
}

#[test]
fn t50_messages_up_to_64_kib_come_in_and_longer_ones_do_not() {
    let mut wire = Wire::open();
    let longest = "x".repeat(limits::MAX_MESSAGE_BYTES);
    wire.send(1, Ppid::String, format!("{longest}y").as_bytes());
    wire.send(1, Ppid::String, longest.as_bytes());
    wire.pass(Duration::from_secs(3));
    assert_eq!(wire.take_events(), [text(&longest)]);
}

#[test]
fn large_messages_go_out_in_order() {
    let mut wire = Wire::open();
    let large = "z".repeat(200_000);
    wire.bridge.send_text(wire.now, &large).expect("open");
    wire.bridge.send_text(wire.now, "after").expect("open");
    let too_large = "z".repeat(limits::MAX_SENT_MESSAGE_BYTES + 1);
    assert_eq!(
        wire.bridge.send_text(wire.now, &too_large),
        Err(SendError::TooLarge)
    );
    wire.pass(Duration::from_secs(2));
    let received: Vec<_> = wire
        .browser
        .received
        .iter()
        .map(|(_, _, data)| data.len())
        .collect();
    assert_eq!(received, [200_000, 5]);
    assert_eq!(wire.bridge.buffered(), 0);
}

#[test]
fn t51_data_behind_an_unknown_chunk_is_delivered_if_its_type_says_skip() {
    for (kind, delivered) in [(0xc1, true), (0x81, true), (0x41, false), (0x01, false)] {
        let mut wire = Wire::open();
        wire.send(1, Ppid::String, b"behind");
        for packet in wire.intercept() {
            let mut spliced = packet[..12].to_vec();
            spliced.extend_from_slice(&[kind, 0, 0, 6, 9, 9, 0, 0]);
            spliced.extend_from_slice(&packet[12..]);
            wire.inject(spliced);
        }
        wire.exchange();
        assert_eq!(!wire.take_events().is_empty(), delivered, "{kind:#x}");
    }
}

#[test]
fn t52_opens_on_every_stream_give_one_channel_and_no_growth() {
    let mut wire = Wire::open();
    let template = {
        wire.send(1, Ppid::String, b"?");
        wire.intercept().pop().expect("a packet")
    };
    let tsn = u32::from_be_bytes(template[16..20].try_into().expect("four"));
    for (n, stream) in (0..=u16::MAX).enumerate() {
        let mut packet = template[..12].to_vec();
        packet.extend(data_chunk(
            3,
            tsn.wrapping_add(n as u32),
            stream,
            7,
            50,
            &jitsi_open(),
        ));
        wire.inject(packet);
        while wire.bridge.poll_transmit().is_some() {}
    }
    assert!(wire.bridge.streams() <= limits::SCTP_STREAMS + 1);
    assert!(wire.bridge.poll_event().is_none());
    let rejected = wire.bridge.take_rejected();
    assert!(rejected > 65_000, "{rejected} of 65,536 counted");
}

#[test]
fn t52_data_before_the_open_and_a_second_open_on_the_stream_are_survived() {
    let mut wire = Wire::connected();
    wire.send(1, Ppid::String, b"too early");
    wire.send(1, Ppid::Dcep, &jitsi_open());
    wire.send(1, Ppid::Dcep, &jitsi_open());
    wire.send(1, Ppid::String, b"now");
    wire.exchange();
    assert_eq!(wire.take_events(), [SctpEvent::Open, text("now")]);
    assert_eq!(wire.rejected, 1);
}

#[test]
fn t52_malformed_opens_make_no_channel() {
    let long = "l".repeat(limits::MAX_CHANNEL_LABEL_BYTES + 1);
    let mut cut = jitsi_open();
    cut.pop();
    for payload in [vec![3], vec![3; 12], cut, open(&long, "")] {
        let mut wire = Wire::connected();
        wire.send(1, Ppid::Dcep, &payload);
        wire.exchange();
        assert_eq!((wire.take_events().len(), wire.rejected), (0, 1));
    }
    let longest = "l".repeat(limits::MAX_CHANNEL_LABEL_BYTES);
    let mut wire = Wire::connected();
    wire.send(1, Ppid::Dcep, &open(&longest, ""));
    wire.exchange();
    assert_eq!(wire.take_events(), [SctpEvent::Open]);
}

#[test]
fn t52_a_reset_stream_frees_the_channel_for_another() {
    let mut wire = Wire::open();
    for n in 0..100 {
        wire.bridge
            .send_text(wire.now, &format!("queued {n}"))
            .expect("open");
    }
    let now = instant(*BASE, wire.now);
    wire.browser
        .engine
        .stream(1)
        .expect("open")
        .close(now)
        .expect("closed");
    wire.pass(Duration::from_secs(2));
    assert_eq!(wire.take_events(), [SctpEvent::Closed]);
    assert_eq!(
        wire.bridge.send_text(wire.now, "gone"),
        Err(SendError::NotOpen)
    );
    assert_eq!(wire.bridge.buffered(), 0);

    wire.send(3, Ppid::Dcep, &jitsi_open());
    wire.pass(Duration::from_secs(1));
    assert_eq!(
        (wire.take_events(), wire.rejected),
        (vec![SctpEvent::Open], 0)
    );
}

#[test]
fn t50_fragments_with_every_second_tsn_missing_are_not_hoarded() {
    let mut wire = Wire::open();
    wire.send(1, Ppid::String, b"?");
    let template = wire.intercept().pop().expect("a packet");
    let tsn = u32::from_be_bytes(template[16..20].try_into().expect("four"));
    for n in 0..100_000u32 {
        let mut packet = template[..12].to_vec();
        packet.extend(data_chunk(0, tsn.wrapping_add(1 + 2 * n), 1, 9, 51, b"x"));
        wire.inject(packet);
        while wire.bridge.poll_transmit().is_some() {}
    }
    assert!(wire.bridge.held_chunks() <= limits::SCTP_OUT_OF_ORDER);
    // The true message still gets through.
    wire.inject(template);
    wire.exchange();
    assert_eq!(wire.take_events(), [text("?")]);
}

#[test]
fn t50_a_message_in_a_thousand_crumbs_ends_that_association() {
    let mut wire = Wire::open();
    wire.send(1, Ppid::String, b"?");
    let template = wire.intercept().pop().expect("a packet");
    let tsn = u32::from_be_bytes(template[16..20].try_into().expect("four"));
    for n in 0..2_000u32 {
        let mut packet = template[..12].to_vec();
        packet.extend(data_chunk(
            if n == 0 { 2 } else { 0 },
            tsn.wrapping_add(n),
            1,
            1,
            51,
            b"x",
        ));
        wire.inject(packet);
    }
    let aborts = std::iter::from_fn(|| wire.bridge.poll_transmit())
        .filter(|packet| packet[12] == 6)
        .count();
    assert_eq!(aborts, 1);
    assert_eq!(wire.bridge.poll_event(), Some(SctpEvent::Closed));
    assert_eq!(wire.bridge.poll_timeout(), None);
}

#[test]
fn t50_partial_reliability_is_not_offered_and_forward_tsn_moves_nothing() {
    let mut wire = Wire::new();
    let saw_init_ack = std::rc::Rc::new(std::cell::Cell::new(false));
    let saw = saw_init_ack.clone();
    wire.filter = Box::new(move |from_browser, packet| {
        if !from_browser && packet[12] == 2 {
            saw.set(true);
            let position = packet.windows(2).position(|bytes| bytes == [0x80, 0x08]);
            let at = position.expect("supported extensions");
            let length = usize::from(packet[at + 3]);
            assert!(!packet[at + 4..at + length].contains(&192));
            assert!(!packet.windows(2).any(|bytes| bytes == [0xc0, 0x00]));
        }
        true
    });
    wire.exchange();
    assert!(saw_init_ack.get());
    wire.send(1, Ppid::Dcep, &jitsi_open());
    let opening = wire.intercept();
    let tsn = u32::from_be_bytes(opening[0][16..20].try_into().expect("four"));
    let mut forward = opening[0][..12].to_vec();
    forward.extend_from_slice(&[192, 0, 0, 8]);
    forward.extend_from_slice(&tsn.wrapping_add(1 << 30).to_be_bytes());
    wire.inject(forward);
    for packet in opening {
        wire.inject(packet);
    }
    wire.exchange();
    assert_eq!(wire.take_events(), [SctpEvent::Open]);
}

#[test]
fn a_lost_init_ack_is_sent_again_and_a_late_one_still_counts() {
    let mut wire = Wire::new();
    let mut init_acks = 0;
    wire.filter = Box::new(move |from_browser, packet| {
        init_acks += u32::from(!from_browser && packet[12] == 2);
        from_browser || packet[12] != 2 || init_acks > 2
    });
    wire.pass(Duration::from_secs(10));
    assert!(wire.browser.connected);

    let mut wire = Wire::new();
    let init = wire.intercept().remove(0);
    wire.inject(init.clone());
    let first = wire.bridge.poll_transmit().expect("INIT ACK");
    wire.inject(init);
    assert_eq!(
        wire.bridge.poll_transmit().as_ref(),
        Some(&first),
        "the same again"
    );
    wire.browser.handle(wire.now, first);
    wire.exchange();
    assert!(wire.browser.connected);
}

#[test]
fn t53_a_dead_peer_holds_no_more_than_the_send_buffer_and_is_tried_every_three_seconds() {
    let mut wire = Wire::open();
    wire.filter = Box::new(|_, _| false);
    let mut sent = 0;
    let refused = loop {
        match wire
            .bridge
            .send_text(wire.now, &format!("{{\"state\":{sent}}}"))
        {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        wire.exchange();
    };
    assert_eq!(refused, SendError::Full);
    assert!(wire.bridge.buffered() <= limits::SCTP_SEND_BUFFER);
    assert!(sent > 1_000);

    let start = wire.now;
    let mut tries = 0;
    while wire.now.since(start) < Duration::from_secs(600) {
        let due = wire.bridge.poll_timeout().expect("it never gives up");
        assert!(
            due.since(wire.now) <= limits::SCTP_MAX_BACKOFF,
            "bridge-channel §4.2"
        );
        wire.now = due;
        wire.bridge.handle_timeout(due);
        while wire.bridge.poll_transmit().is_some() {
            tries += 1;
        }
    }
    assert!(
        (200..5_000).contains(&tries),
        "{tries} packets in ten minutes"
    );

    wire.filter = Box::new(|_, _| true);
    wire.pass(Duration::from_secs(120));
    assert_eq!(
        wire.browser.received.len(),
        sent,
        "and all of it arrives when the peer is back"
    );
    assert_eq!(
        wire.browser.received[sent - 1].2,
        format!("{{\"state\":{}}}", sent - 1).as_bytes()
    );
    assert_eq!(wire.bridge.buffered(), 0);
}

#[test]
fn t49_acknowledgements_with_absurd_gaps_are_not_walked() {
    let mut wire = Wire::open();
    wire.bridge
        .send_text(wire.now, "unacknowledged")
        .expect("open");
    wire.send(1, Ppid::String, b"?");
    let template = wire.intercept().pop().expect("a packet");
    for blocks in [
        &[(1, u16::MAX); 64][..],
        &[(5, 4)],
        &[(1, 9), (3, 12)],
        &[(60_000, 65_000)],
    ] {
        let mut packet = template[..12].to_vec();
        packet.extend_from_slice(&[3, 0]);
        packet.extend_from_slice(&(16 + 4 * blocks.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 1, 0, 0, 255, 255]);
        packet.extend_from_slice(&(blocks.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 0]);
        for (start, end) in blocks {
            packet.extend_from_slice(&u16::to_be_bytes(*start));
            packet.extend_from_slice(&u16::to_be_bytes(*end));
        }
        wire.inject(packet);
    }
    wire.inject(template);
    wire.exchange();
    assert_eq!(wire.take_events(), [text("?")], "the association lives");
}

#[test]
fn as_a_client_we_open_the_channel_ourselves() {
    let (mut client, mut server) = Setting::default().pair();
    let mut network = Network::new(1);
    network.run(&mut client, &mut server, Duration::from_millis(600));
    assert_eq!((said(&mut client).opened, said(&mut server).opened), (1, 1));
    client
        .send_text(network.now, "to the server")
        .expect("open");
    server
        .send_text(network.now, "to the client")
        .expect("open");
    network.run(&mut client, &mut server, Duration::from_millis(600));
    assert_eq!(said(&mut server).messages, ["to the server"]);
    assert_eq!(said(&mut client).messages, ["to the client"]);
}

#[test]
fn f03_messages_arrive_once_and_in_order_over_a_bad_network() {
    for seed in 0..4 {
        let (mut client, mut server) = Setting {
            seed,
            ..Setting::default()
        }
        .pair();
        let mut network = Network::new(seed);
        network.run(&mut client, &mut server, Duration::from_millis(600));
        assert_eq!((said(&mut client).opened, said(&mut server).opened), (1, 1));
        (network.loss, network.duplication) = (10, 10);
        network.jitter = Duration::from_millis(60);
        let expected: Vec<_> = (0..200)
            .map(|n| format!("{n}{}", "-".repeat(n * 13)))
            .collect();
        for text in &expected {
            server.send_text(network.now, text).expect("open");
            client.send_text(network.now, text).expect("open");
            network.run(&mut client, &mut server, Duration::from_millis(20));
        }
        network.run(&mut client, &mut server, Duration::from_secs(60));
        assert_eq!(said(&mut client).messages, expected, "seed {seed}");
        assert_eq!(said(&mut server).messages, expected, "seed {seed}");
    }
}

/// A client made by hand, with the first TSN of our choice.
fn handmade_open(wire: &mut Wire, first_tsn: u32) -> Vec<u8> {
    let mut init = vec![
        0x13, 0x88, 0x13, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 0, 0, 0, 77,
    ];
    init.extend_from_slice(&[0, 2, 0, 0, 0, 16, 0, 16]);
    init.extend_from_slice(&first_tsn.to_be_bytes());
    wire.inject(init);
    let answer = wire.bridge.poll_transmit().expect("INIT ACK");
    assert_eq!((answer[12], &answer[4..8]), (2, &[0, 0, 0, 77][..]));
    let mut header = vec![0x13, 0x88, 0x13, 0x88];
    header.extend_from_slice(&answer[16..20]);
    header.extend_from_slice(&[0; 4]);
    let cookie = answer[32..]
        .windows(2)
        .position(|kind| kind == [0, 7])
        .expect("state cookie");
    let length = usize::from(answer[32 + cookie + 3]);
    let mut echo = header.clone();
    echo.extend_from_slice(&[10, 0, 0, length as u8]);
    echo.extend_from_slice(&answer[32 + cookie + 4..32 + cookie + length]);
    echo.resize(echo.len().next_multiple_of(4), 0);
    echo.extend(data_chunk(3, first_tsn, 1, 0, 50, &jitsi_open()));
    wire.inject(echo);
    header
}

#[test]
fn data_in_the_packet_of_the_cookie_counts_and_tsns_wrap() {
    let mut wire = Wire::new();
    let first_tsn = u32::MAX - 4;
    let header = handmade_open(&mut wire, first_tsn);
    for n in (1..10).rev() {
        let mut packet = header.clone();
        let payload = n.to_string();
        packet.extend(data_chunk(
            3,
            first_tsn.wrapping_add(n),
            1,
            n as u16,
            51,
            payload.as_bytes(),
        ));
        wire.inject(packet);
    }
    let events: Vec<_> = std::iter::from_fn(|| wire.bridge.poll_event()).collect();
    let expected: Vec<_> = (1..10).map(|n| text(&n.to_string())).collect();
    assert_eq!(events[0], SctpEvent::Open);
    assert_eq!(events[1..], expected[..], "in order");
    // Acknowledgements may be delayed by 200 ms.
    wire.bridge
        .handle_timeout(wire.now + Duration::from_millis(250));
    let sack = std::iter::from_fn(|| wire.bridge.poll_transmit()).filter(|packet| packet[12] == 3);
    let acknowledged = sack
        .last()
        .map(|packet| packet[16..20].to_vec())
        .expect("SACK");
    assert_eq!(acknowledged, first_tsn.wrapping_add(9).to_be_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn t49_mutated_and_random_chunks_with_right_checksums_are_survived(seed in any::<u64>()) {
        const KINDS: [u8; 17] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 64, 130, 192, 193];
        let mut random = Random::from_seed(seed);
        let mut wire = if random.below(3) > 0 { Wire::open() } else { Wire::new() };
        for _ in 0..30 {
            if wire.browser.connected {
                // Refused once a mutation has ended the association.
                wire.browser.send(wire.now, 1, Ppid::String, b"text that goes to the bridge");
            }
            let packets = wire.intercept();
            for packet in &packets {
                let mut mutated = packet.clone();
                for _ in 0..1 + random.below(3) {
                    let at = 12 + random.below(packet.len() as u64 - 12) as usize;
                    mutated[at] = random.u32() as u8;
                }
                wire.inject(mutated);

                let mut made = packet[..12].to_vec();
                for _ in 0..1 + random.below(3) {
                    let kind = KINDS[random.below(KINDS.len() as u64) as usize];
                    let mut value = vec![0; random.below(60) as usize];
                    random.fill(&mut value);
                    // Mostly small numbers: they are lengths, counts and types of parameters.
                    for byte in &mut value {
                        *byte &= if random.below(3) > 0 { 0 } else { 31 };
                    }
                    made.extend_from_slice(&[kind, random.below(8) as u8]);
                    made.extend_from_slice(&(4 + value.len() as u16).to_be_bytes());
                    made.extend_from_slice(&value);
                    made.resize(made.len().next_multiple_of(4), 0);
                }
                wire.inject(made);
                wire.inject(packet.clone());
            }
            wire.exchange();
            wire.pass(Duration::from_millis(100));
        }
        prop_assert_eq!(wire.bridge.take_panics(), 0);
    }
}

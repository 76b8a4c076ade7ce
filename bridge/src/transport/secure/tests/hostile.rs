//! Peers and strangers that do what they should not.

use super::super::hello::client_hello_for_test;
use super::super::record::{
    alert, content, fatal_alert, fragments, message, records, whole_message, write_record,
};
use super::*;

const VERSION_1_2: [u8; 2] = [0xfe, 0xfd];

fn hello_datagram(random: u8, record: u64, suites: &[u16], use_srtp: Option<&[u8]>) -> Vec<u8> {
    let body = client_hello_for_test(VERSION_1_2, [random; 32], b"", suites, use_srtp);
    handshake_datagram(message::CLIENT_HELLO, 0, record, &body)
}

fn handshake_datagram(kind: u8, message_sequence: u16, record: u64, body: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    let message = whole_message(kind, message_sequence, body);
    write_record(&mut datagram, content::HANDSHAKE, 0, record, &message);
    datagram
}

fn plain_datagram(content: u8, record: u64, body: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    write_record(&mut datagram, content, 0, record, body);
    datagram
}

/// The kinds of the plaintext handshake messages in a datagram.
fn kinds(datagram: &[u8]) -> Vec<u8> {
    records(datagram)
        .filter(|record| record.epoch == 0 && record.content == content::HANDSHAKE)
        .flat_map(|record| fragments(record.body))
        .map(|fragment| fragment.kind)
        .collect()
}

/// Runs both for `time`, and every millisecond lets `attack` send the server what it likes.
fn run_under_attack(
    network: &mut Network,
    client: &mut Association,
    server: &mut Association,
    time: Duration,
    mut attack: impl FnMut(u64) -> Vec<Vec<u8>>,
) {
    for step in 0..time.as_millis() as u64 {
        for datagram in attack(step) {
            server.handle_datagram(network.now, &datagram);
        }
        network.run(client, server, Duration::from_millis(1));
    }
}

#[test]
fn t15_ten_thousand_forged_hellos_a_second_from_the_clients_address_do_not_stop_it() {
    let valid = Some(&[0, 2, 0, 7, 0][..]);
    type Flood = fn(u64, Option<&[u8]>) -> Vec<u8>;
    let floods: [Flood; 4] = [
        |n, valid| hello_datagram(n as u8, n, &[0x0000], valid), // TLS_NULL_WITH_NULL_NULL
        |n, valid| hello_datagram(n as u8, n, &[0xc02b], valid),
        |_, valid| hello_datagram(1, (1 << 48) - 1, &[0xc02b], valid),
        |n, _| hello_datagram(n as u8, n, &[0xc02b], None),
    ];
    for flood in floods {
        for seed in 0..5 {
            let (mut client, mut server) = Setting {
                seed,
                ..Setting::default()
            }
            .pair();
            let mut network = Network::new(seed);
            network.jitter = Duration::from_millis(5);
            let time = Duration::from_secs(1);
            run_under_attack(&mut network, &mut client, &mut server, time, |step| {
                (0..10).map(|n| flood(step * 10 + n, valid)).collect()
            });
            assert!(said(&mut server).keys.is_some() && said(&mut client).keys.is_some());
            let answered = network.sent_by(Side::Server).count();
            assert!(answered < 150, "{answered} datagrams for 10,000");
        }
    }
}

#[test]
fn t02_the_answer_to_a_first_hello_is_smaller_than_the_hello() {
    let (mut client, mut server) = Setting::default().pair();
    let hello = client.poll_transmit().expect("hello");
    server.handle_datagram(START, &hello);
    let answer = server.poll_transmit().expect("cookie");
    assert!(answer.len() < hello.len());
    assert!(server.poll_transmit().is_none());
}

#[test]
fn media_plane_case_29_and_30_without_a_common_profile_the_handshake_fails_and_says_why() {
    for use_srtp in [
        None,
        Some(&[0, 2, 0, 2, 0][..]),
        Some(&[0, 2, 0xff, 0xff, 0]),
    ] {
        let mut server = association(&OURS, &PROFILES, None, 1);
        server.set_remote(
            START,
            vec![THEIRS.fingerprint().clone()],
            Some(Setup::Active),
        );
        server.writable(START);
        server.handle_datagram(START, &hello_datagram(1, 0, &[0xc02b], use_srtp));
        let answer = server.poll_transmit().expect("a cookie even so");
        let cookie = &answer[13 + 12 + 3..];
        let body = client_hello_for_test(VERSION_1_2, [1; 32], cookie, &[0xc02b], use_srtp);
        server.handle_datagram(
            START,
            &handshake_datagram(message::CLIENT_HELLO, 1, 1, &body),
        );
        let answer = server.poll_transmit().expect("an alert");
        assert_eq!(answer[13..], [2, alert::HANDSHAKE_FAILURE]);

        assert!(
            said(&mut server).failed.is_none(),
            "another attempt may come"
        );
        let due = server.poll_timeout().expect("grace");
        server.handle_timeout(due);
        assert_eq!(said(&mut server).failed, Some(FailureReason::NoSrtpProfile));
        assert_eq!(server.poll_timeout(), None);
    }
}

#[test]
fn t15_a_failed_attempt_does_not_consume_the_transport() {
    let (mut client, mut server) = Setting::default().pair();
    // Somebody on the path offers nothing that we can serve, with a valid cookie.
    server.handle_datagram(START, &hello_datagram(1, 0, &[0xc02b], None));
    let answer = server.poll_transmit().expect("cookie");
    let body = client_hello_for_test(VERSION_1_2, [1; 32], &answer[28..], &[0x0000], None);
    server.handle_datagram(
        START,
        &handshake_datagram(message::CLIENT_HELLO, 1, 1, &body),
    );
    let _alert = server.poll_transmit().expect("alert");
    Network::new(1).run(&mut client, &mut server, Duration::from_secs(3));
    let said = said(&mut server);
    assert!(said.keys.is_some() && said.failed.is_none());
}

#[test]
fn t16_hostile_fragments_before_a_handshake_cost_nothing_and_it_works_afterwards() {
    let (mut client, mut server) = Setting::default().pair();
    let fragment = |sequence: u16, length: u32, offset: u32, data: &[u8]| {
        let mut body = vec![message::CLIENT_HELLO];
        body.extend_from_slice(&length.to_be_bytes()[1..]);
        body.extend_from_slice(&sequence.to_be_bytes());
        body.extend_from_slice(&offset.to_be_bytes()[1..]);
        body.extend_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
        body.extend_from_slice(data);
        plain_datagram(content::HANDSHAKE, 0, &body)
    };
    for n in 0..50_000u32 {
        server.handle_datagram(START, &fragment(0, 16_000, n % 16_000, &[n as u8]));
        server.handle_datagram(START, &fragment(1, 100, 50, &[]));
        server.handle_datagram(
            START,
            &fragment((n % 60_000) as u16, 0xff_ffff, 0xff_fff0, &[1; 15]),
        );
    }
    assert!(server.poll_transmit().is_none());
    Network::new(1).run(&mut client, &mut server, Duration::from_millis(400));
    assert!(said(&mut server).keys.is_some());
}

#[test]
fn t16_hostile_fragments_during_a_handshake_do_not_stop_it() {
    for seed in 0..10 {
        let (mut client, mut server) = Setting {
            seed,
            ..Setting::default()
        }
        .pair();
        let mut network = Network::new(seed);
        let time = Duration::from_secs(2);
        run_under_attack(&mut network, &mut client, &mut server, time, |step| {
            // Below the rate at which handshake datagrams are dropped.
            if step % 30 != 0 {
                return Vec::new();
            }
            let forged = [0, 0, 9, 0, 0, 6, 1, 2, 3, 4, 5, 6];
            vec![
                handshake_datagram(message::CERTIFICATE, 2, step, &forged),
                plain_datagram(content::CHANGE_CIPHER_SPEC, step, &[1]),
            ]
        });
        let said = said(&mut server);
        assert!(
            said.keys.is_some(),
            "T19: a forged certificate makes room for the true one"
        );
    }
}

#[test]
fn t17_without_any_one_of_the_clients_messages_there_are_no_keys() {
    for missing in [
        message::CERTIFICATE,
        message::CLIENT_KEY_EXCHANGE,
        message::CERTIFICATE_VERIFY,
    ] {
        let (mut client, mut server) = Setting::default().pair();
        let mut network = Network::new(1);
        for _ in 0..32_000 / 50 {
            while let Some(datagram) = client.poll_transmit() {
                for record in records(&datagram) {
                    if !kinds(record.bytes).contains(&missing) {
                        server.handle_datagram(network.now, record.bytes);
                    }
                }
            }
            while let Some(datagram) = server.poll_transmit() {
                client.handle_datagram(network.now, &datagram);
            }
            network.now += Duration::from_millis(50);
            client.handle_timeout(network.now);
            server.handle_timeout(network.now);
        }
        let said = said(&mut server);
        assert!(
            said.keys.is_none() && !server.is_connected(),
            "without {missing}"
        );
        assert_eq!(said.failed, Some(FailureReason::Timeout));
    }
}

#[test]
fn t17_a_wrong_leaf_before_the_right_certificate_gets_nothing() {
    let (right, wrong) = (THEIRS.der(), OURS.der());
    let with_length = |bytes: &[u8]| {
        let mut out = (bytes.len() as u32).to_be_bytes()[1..].to_vec();
        out.extend_from_slice(bytes);
        out
    };
    let chain = with_length(&[with_length(wrong), with_length(right)].concat());
    let (mut client, mut server) = Setting::default().pair();
    let mut network = Network::new(1);
    network.filter =
        Box::new(|_, datagram| !kinds(datagram).contains(&message::CERTIFICATE_VERIFY));
    network.run(&mut client, &mut server, Duration::from_millis(90));
    server.handle_datagram(
        network.now,
        &handshake_datagram(message::CERTIFICATE, 2, 9, &chain),
    );
    let due = server.poll_timeout().expect("grace");
    assert!(due <= network.now + limits::HANDSHAKE_RETRY_GRACE);
    network.run(&mut client, &mut server, Duration::from_secs(31));
    assert!(said(&mut server).keys.is_none());
}

/// A peer whose signaling names whatever certificate it shows: the engine reads that, and it must not matter what
/// is in it.
#[test]
fn t19_no_certificate_whatever_is_in_it_gets_keys_or_does_harm() {
    let prefixed = |bytes: &[u8]| {
        let mut out = (bytes.len() as u32).to_be_bytes()[1..].to_vec();
        out.extend_from_slice(bytes);
        out
    };
    let mut random = Random::from_seed(19);
    let genuine = THEIRS.der().to_vec();
    let mutants = (0..500).map(|_| {
        let mut der = genuine.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(der.len() as u64) as usize;
            der[at] = random.u32() as u8;
        }
        if random.below(4) == 0 {
            der.truncate(random.below(der.len() as u64) as usize);
        }
        vec![der]
    });
    let oversized = [
        vec![[&genuine[..], &[0; 9_000]].concat()],
        vec![genuine.clone(); limits::MAX_CERTIFICATE_CHAIN + 1],
        vec![vec![]],
        vec![],
    ];
    let control = std::iter::once(vec![genuine.clone()]);
    for chain in control.chain(mutants).chain(oversized) {
        let leaf = chain.first().cloned().unwrap_or_default();
        let (mut client, mut server) = Setting {
            client_signals: vec![Fingerprint::sha256(&leaf)],
            ..Setting::default()
        }
        .pair();
        let list: Vec<u8> = chain.iter().flat_map(|der| prefixed(der)).collect();
        let body = prefixed(&list);
        let mut now = START;
        while server.poll_timeout().is_some() && !server.is_connected() {
            while let Some(datagram) = client.poll_transmit() {
                for record in records(&datagram) {
                    if kinds(record.bytes).contains(&message::CERTIFICATE) {
                        let shown =
                            handshake_datagram(message::CERTIFICATE, 2, record.sequence, &body);
                        server.handle_datagram(now, &shown);
                    } else {
                        server.handle_datagram(now, record.bytes);
                    }
                }
            }
            while let Some(datagram) = server.poll_transmit() {
                client.handle_datagram(now, &datagram);
            }
            now += Duration::from_millis(50);
            client.handle_timeout(now);
            server.handle_timeout(now);
        }
        let said = said(&mut server);
        // The genuine one shows that all the others were read, too.
        assert_eq!(said.keys.is_some(), chain == [genuine.clone()]);
        assert_eq!(server.take_panics(), 0);
    }
}

#[test]
fn t18_explicit_nonces_are_epoch_and_sequence_and_never_repeat() {
    let (mut client, mut server) = Setting::default().pair();
    let mut network = Network::new(1);
    network.run(&mut client, &mut server, Duration::from_millis(500));
    for n in 0..2_000 {
        server
            .send_text(network.now, &format!("message {n}"))
            .expect("sent");
        client
            .send_text(network.now, &format!("message {n}"))
            .expect("sent");
        network.run(&mut client, &mut server, Duration::from_millis(50));
    }
    for side in [Side::Server, Side::Client] {
        let mut last = None;
        let mut count = 0;
        for datagram in network.sent_by(side) {
            for record in records(datagram).filter(|record| record.epoch == 1) {
                let nonce = u64::from_be_bytes(*record.body.first_chunk().expect("nonce"));
                assert_eq!(nonce, 1 << 48 | record.sequence);
                assert!(last.is_none_or(|last| last < nonce), "strictly increasing");
                last = Some(nonce);
                count += 1;
            }
        }
        assert!(count > 2_000);
    }
}

#[test]
fn t23_plaintext_alerts_and_data_are_ignored_before_and_after_the_handshake() {
    let (mut client, mut server) = Setting::default().pair();
    let mut network = Network::new(1);
    let forged = |n: u64| {
        vec![
            fatal_alert(alert::HANDSHAKE_FAILURE, n),
            plain_datagram(content::ALERT, n, &[1, 0]), // close_notify
            plain_datagram(content::APPLICATION_DATA, n, b"data"),
            plain_datagram(99, n, b"what"),
        ]
    };
    let time = Duration::from_millis(500);
    run_under_attack(&mut network, &mut client, &mut server, time, |step| {
        if step % 100 == 0 {
            forged(step)
        } else {
            Vec::new()
        }
    });
    assert!(said(&mut server).keys.is_some(), "before");
    for datagram in forged(1 << 40) {
        server.handle_datagram(network.now, &datagram);
        client.handle_datagram(network.now, &datagram);
    }
    server.send_text(network.now, "still here").expect("open");
    network.run(&mut client, &mut server, Duration::from_millis(100));
    assert_eq!(said(&mut client).messages, ["still here"], "after");
}

#[test]
fn media_plane_row_8_a_hello_on_an_established_association_is_ignored() {
    let (mut client, mut server) = Setting::default().pair();
    let mut network = Network::new(1);
    network.run(&mut client, &mut server, Duration::from_millis(500));
    while server.poll_transmit().is_some() {}
    for random in 0..50 {
        let hello = hello_datagram(random, 0, &[0xc02b], Some(&[0, 2, 0, 7, 0]));
        server.handle_datagram(network.now, &hello);
    }
    assert!(server.poll_transmit().is_none());
    assert!(server.is_connected());
}

#[test]
fn media_plane_row_7_records_that_do_not_authenticate_cost_only_themselves() {
    let (mut client, mut server) = Setting::default().pair();
    let mut network = Network::new(1);
    network.run(&mut client, &mut server, Duration::from_millis(500));
    let mut random = Random::from_seed(5);
    for n in 0..5_000u64 {
        let mut body = vec![0; random.below(80) as usize];
        random.fill(&mut body);
        let mut datagram = Vec::new();
        let content = 20 + random.below(5) as u8;
        write_record(&mut datagram, content, (n % 3) as u16, random.u64(), &body);
        server.handle_datagram(network.now, &datagram);
    }
    assert!(server.is_connected());
    client.send_text(network.now, "through").expect("open");
    network.run(&mut client, &mut server, Duration::from_millis(100));
    assert_eq!(said(&mut server).messages, ["through"]);
}

#[test]
fn t24_sctp_before_keys_makes_nothing() {
    let mut server = association(&OURS, &PROFILES, Some(SctpRole::Server), 1);
    server.set_remote(
        START,
        vec![THEIRS.fingerprint().clone()],
        Some(Setup::Active),
    );
    server.writable(START);
    let mut init = vec![0x13, 0x88, 0x13, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20];
    init.extend_from_slice(&[0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    server.handle_datagram(START, &init);
    server.handle_datagram(START, &plain_datagram(content::APPLICATION_DATA, 0, &init));
    assert!(server.poll_transmit().is_none());
    assert_eq!(server.buffered(), 0);
    assert_eq!(server.send_text(START, "early"), Err(SendError::NotOpen));
    assert_eq!(
        server.poll_timeout(),
        Some(START + limits::HANDSHAKE_TIMEOUT)
    );
}

#[test]
fn t20_abandoned_at_any_flight_it_ends_in_time_and_leaves_nothing() {
    for datagrams in 0..8 {
        let (mut client, mut server) = Setting::default().pair();
        let mut network = Network::new(1);
        let mut left = datagrams;
        network.filter = Box::new(move |from, _| {
            if from == Side::Client {
                left -= 1;
            }
            left >= 0
        });
        network.run(&mut client, &mut server, Duration::from_secs(31));
        let said = said(&mut server);
        if said.keys.is_none() {
            assert!(said.failed.is_some(), "after {datagrams} datagrams");
            assert_eq!(server.poll_timeout(), None);
        }
    }
}

#[test]
fn t21_any_sequence_of_mutated_flights_timeouts_data_and_close_is_survived() {
    for seed in 0..60 {
        let mut random = Random::from_seed(seed);
        let (mut client, mut server) = Setting {
            seed,
            ..Setting::default()
        }
        .pair();
        let mut now = START;
        let mut seen: Vec<Bytes> = Vec::new();
        for _ in 0..400 {
            while let Some(datagram) = client.poll_transmit() {
                seen.push(datagram);
            }
            while let Some(datagram) = server.poll_transmit() {
                if random.below(3) > 0 {
                    client.handle_datagram(now, &datagram);
                }
            }
            match random.below(8) {
                0..4 if !seen.is_empty() => {
                    // Mostly the newest, sometimes an old one, sometimes spoilt.
                    let back = if random.below(4) == 0 {
                        seen.len() as u64
                    } else {
                        3
                    };
                    let at = seen.len() - 1 - random.below(back.min(seen.len() as u64)) as usize;
                    let mut datagram = seen[at].to_vec();
                    if random.below(3) == 0 && !datagram.is_empty() {
                        let at = random.below(datagram.len() as u64) as usize;
                        datagram[at] ^= 1 << random.below(8);
                        datagram.truncate(1 + random.below(2_000) as usize);
                    }
                    server.handle_datagram(now, &datagram);
                }
                4 => {
                    now += Duration::from_millis(random.below(200));
                    client.handle_timeout(now);
                    server.handle_timeout(now);
                }
                5 => drop(client.send_text(now, "text")),
                6 => drop(server.send_text(now, "text")),
                7 if random.below(100) == 0 => server.close(now),
                _ => {}
            }
            if let Some(due) = server.poll_timeout().filter(|due| *due <= now) {
                server.handle_timeout(now);
                assert!(
                    server.poll_timeout().is_none_or(|next| next > due),
                    "progress"
                );
            }
        }
        assert_eq!(
            (client.take_panics(), server.take_panics()),
            (0, 0),
            "seed {seed}"
        );
    }
}

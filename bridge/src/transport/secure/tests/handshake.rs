//! Handshakes between two of our own associations.

use super::super::record::{content, fragments, message, records};
use super::*;

#[test]
fn both_roles_get_the_same_keys_with_each_profile() {
    for (profiles, expected) in [
        (vec![Profile::AeadAes128Gcm], Profile::AeadAes128Gcm),
        (vec![Profile::Aes128CmSha1_80], Profile::Aes128CmSha1_80),
        (
            vec![Profile::Aes128CmSha1_80, Profile::AeadAes128Gcm],
            Profile::AeadAes128Gcm,
        ),
    ] {
        let setting = Setting {
            client_profiles: profiles,
            ..Setting::default()
        };
        let (mut client, mut server) = setting.pair();
        let mut network = Network::new(1);
        network.run(&mut client, &mut server, Duration::from_millis(300));
        let (client, server) = (said(&mut client), said(&mut server));
        let (client, server) = (
            client.keys.expect("connected"),
            server.keys.expect("connected"),
        );
        assert_eq!(server.profile, expected, "the server's order decides");
        assert_same_keys(&client, &server);
    }
}

#[test]
fn media_plane_case_28_the_server_demands_a_certificate_and_selects_aes_gcm() {
    let (mut client, mut server) = Setting::default().pair();
    let mut network = Network::new(1);
    network.run(&mut client, &mut server, Duration::from_millis(300));
    assert_eq!(
        said(&mut server).keys.expect("connected").profile,
        Profile::AeadAes128Gcm
    );

    let mut kinds = Vec::new();
    for datagram in network.sent_by(Side::Server) {
        for record in records(datagram).filter(|r| r.epoch == 0 && r.content == content::HANDSHAKE)
        {
            for fragment in fragments(record.body) {
                kinds.push(fragment.kind);
                if fragment.kind == message::SERVER_HELLO {
                    // version, random, empty session id, suite
                    assert_eq!(fragment.data[35..37], [0xc0, 0x2b]);
                }
            }
        }
    }
    assert_eq!(
        kinds,
        [3, 2, 11, 12, 13, 14],
        "cookie, then one flight with CertificateRequest"
    );
}

#[test]
fn media_plane_case_31_a_certificate_that_was_not_signaled_gets_nothing() {
    let setting = Setting {
        client_signals: vec![new_certificate().fingerprint().clone()],
        ..Setting::default()
    };
    let (mut client, mut server) = setting.pair();
    let mut network = Network::new(1);
    network.run(&mut client, &mut server, Duration::from_secs(3));
    let server_said = said(&mut server);
    assert_eq!(server_said.failed, Some(FailureReason::FingerprintMismatch));
    assert!(server_said.keys.is_none());
    assert!(!server.is_connected());
    let alert = network.sent_by(Side::Server).last().expect("an alert");
    assert_eq!(
        (alert[0], &alert[13..]),
        (content::ALERT, &[2, 42][..]),
        "bad_certificate"
    );
}

#[test]
fn media_plane_case_31_a_matching_sha_1_does_not_outweigh_a_wrong_sha_256() {
    let sha1 =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, THEIRS.der());
    let matching = Fingerprint {
        hash: "sha-1".into(),
        digest: sha1.as_ref().to_vec(),
    };
    let wrong = Fingerprint {
        hash: "sha-256".into(),
        digest: vec![7; 32],
    };
    for signals in [vec![matching.clone(), wrong], vec![matching], vec![]] {
        let setting = Setting {
            client_signals: signals,
            ..Setting::default()
        };
        let (mut client, mut server) = setting.pair();
        Network::new(1).run(&mut client, &mut server, Duration::from_secs(31));
        let said = said(&mut server);
        assert_eq!(
            (said.keys.is_some(), said.failed.is_some()),
            (false, true),
            "T17"
        );
    }
}

#[test]
fn media_plane_case_32_a_fingerprint_in_lower_case_matches() {
    let text = THEIRS.fingerprint().to_string().to_lowercase();
    let setting = Setting {
        client_signals: vec![Fingerprint::parse(&text, "SHA-256").expect("valid")],
        ..Setting::default()
    };
    let (mut client, mut server) = setting.pair();
    Network::new(1).run(&mut client, &mut server, Duration::from_millis(300));
    assert!(said(&mut server).keys.is_some());
}

#[test]
fn media_plane_case_33_datagrams_before_the_role_is_known_are_kept() {
    let (mut client, _) = Setting::default().pair();
    let mut server = association(&OURS, &PROFILES, None, 9);
    server.writable(START);
    let hello = client.poll_transmit().expect("ClientHello");
    for _ in 0..100 {
        server.handle_datagram(START, &hello);
    }
    assert!(server.poll_transmit().is_none(), "no role, no answer");
    assert_eq!(
        server.poll_timeout(),
        None,
        "nothing waits in a thread or for a timer"
    );

    server.set_remote(
        START,
        vec![THEIRS.fingerprint().clone()],
        Some(Setup::Active),
    );
    let answers = std::iter::from_fn(|| server.poll_transmit()).count();
    assert_eq!(answers, limits::EARLY_DTLS_DATAGRAMS);
    let mut network = Network::new(1);
    network.run(&mut client, &mut server, Duration::from_millis(500));
    assert!(said(&mut server).keys.is_some());
}

#[test]
fn media_plane_case_35_a_lost_server_flight_is_sent_again_within_a_second() {
    let (mut client, mut server) = Setting::default().pair();
    let mut network = Network::new(1);
    let mut flights = 0;
    network.filter = Box::new(move |from, datagram| {
        let has_hello = records(datagram)
            .flat_map(|record| fragments(record.body))
            .any(|fragment| fragment.kind == message::SERVER_HELLO);
        if from == Side::Server && has_hello {
            flights += 1;
            return flights > 1;
        }
        true
    });
    network.run(&mut client, &mut server, Duration::from_millis(400));
    assert!(said(&mut server).keys.is_some());
    assert!(said(&mut client).keys.is_some());
}

#[test]
fn media_plane_case_36_each_transport_keeps_the_certificate_it_began_with() {
    let (day_1, day_2) = (new_certificate(), new_certificate());
    assert_ne!(day_1.fingerprint(), day_2.fingerprint());
    let mut pairs: Vec<_> = [&day_1, &day_2]
        .map(|certificate| {
            let mut client = association(&THEIRS, &PROFILES, None, 3);
            let mut server = association(certificate, &PROFILES, None, 4);
            client.set_remote(
                START,
                vec![certificate.fingerprint().clone()],
                Some(Setup::Passive),
            );
            server.set_remote(
                START,
                vec![THEIRS.fingerprint().clone()],
                Some(Setup::Active),
            );
            server.writable(START);
            client.writable(START);
            (client, server)
        })
        .into();
    for (client, server) in &mut pairs {
        Network::new(1).run(client, server, Duration::from_millis(300));
        assert!(said(client).keys.is_some() && said(server).keys.is_some());
    }
}

#[test]
fn a_peer_that_offers_either_role_finds_us_passive() {
    let mut client = association(&THEIRS, &PROFILES, None, 3);
    let mut server = association(&OURS, &PROFILES, None, 4);
    client.set_remote(
        START,
        vec![OURS.fingerprint().clone()],
        Some(Setup::Passive),
    );
    server.set_remote(
        START,
        vec![THEIRS.fingerprint().clone()],
        Some(Setup::ActPass),
    );
    // An update without fingerprints erases nothing, and the role is settled.
    server.set_remote(START, vec![], Some(Setup::Passive));
    server.writable(START);
    client.writable(START);
    Network::new(1).run(&mut client, &mut server, Duration::from_millis(300));
    assert!(said(&mut server).keys.is_some());
}

#[test]
fn without_a_peer_the_handshake_times_out_and_leaves_nothing() {
    let (mut client, mut server) = Setting::default().pair();
    let mut network = Network::new(1);
    network.loss = 100;
    network.run(
        &mut client,
        &mut server,
        limits::HANDSHAKE_TIMEOUT - Duration::from_millis(1),
    );
    assert!(said(&mut server).failed.is_none() && said(&mut client).failed.is_none());
    network.run(&mut client, &mut server, Duration::from_millis(1));
    assert_eq!(said(&mut server).failed, Some(FailureReason::Timeout));
    assert_eq!(said(&mut client).failed, Some(FailureReason::Timeout));
    assert_eq!(server.poll_timeout(), None);
    assert_eq!(client.poll_timeout(), None);
    let hellos = network.sent_by(Side::Client).count();
    assert!(
        (8..100).contains(&hellos),
        "{hellos} hellos: neither silence nor a flood"
    );
}

#[test]
fn f03_handshake_and_channel_survive_loss_duplication_and_reordering() {
    for seed in 0..40 {
        let setting = Setting {
            seed: 100 + seed,
            ..Setting::default()
        };
        let (mut client, mut server) = setting.pair();
        let mut network = Network::bad(seed);
        network.run(&mut client, &mut server, Duration::from_secs(25));
        let (client_said, server_said) = (said(&mut client), said(&mut server));
        assert!(
            server_said.keys.is_some() && client_said.keys.is_some(),
            "seed {seed}"
        );
        assert_same_keys(&client_said.keys.unwrap(), &server_said.keys.unwrap());
        assert_eq!(
            (server_said.opened, client_said.opened),
            (1, 1),
            "seed {seed}"
        );
    }
}

#[test]
fn f03_a_flight_in_reverse_order_is_understood() {
    let (mut client, mut server) = Setting::default().pair();
    let mut now = START;
    let mut connected = (false, false);
    for _ in 0..12 {
        now += Duration::from_millis(10);
        let mut up: Vec<_> = std::iter::from_fn(|| client.poll_transmit()).collect();
        let mut down: Vec<_> = std::iter::from_fn(|| server.poll_transmit()).collect();
        // Records too, not only datagrams.
        for datagrams in [&mut up, &mut down] {
            *datagrams = datagrams
                .iter()
                .flat_map(|datagram| records(datagram).map(|r| Bytes::copy_from_slice(r.bytes)))
                .collect();
            datagrams.reverse();
        }
        up.iter()
            .for_each(|record| server.handle_datagram(now, record));
        down.iter()
            .for_each(|record| client.handle_datagram(now, record));
        connected.0 |= said(&mut client).keys.is_some();
        connected.1 |= said(&mut server).keys.is_some();
    }
    assert_eq!(connected, (true, true), "without any timer");
}

#[test]
fn either_side_can_say_goodbye() {
    for client_closes in [true, false] {
        let (mut client, mut server) = Setting::default().pair();
        let mut network = Network::new(1);
        network.run(&mut client, &mut server, Duration::from_millis(500));
        assert_eq!((said(&mut client).opened, said(&mut server).opened), (1, 1));
        let (closing, other) = if client_closes {
            (&mut client, &mut server)
        } else {
            (&mut server, &mut client)
        };
        closing.close(network.now);
        assert!(closing.poll_event().is_none() && closing.poll_timeout().is_none());
        while let Some(datagram) = closing.poll_transmit() {
            other.handle_datagram(network.now, &datagram);
        }
        assert_eq!(said(other).closed, 1);
        assert!(!other.is_connected());
        assert_eq!(
            other.send_text(network.now, "late"),
            Err(SendError::NotOpen)
        );
        assert_eq!(other.poll_timeout(), None);
    }
}

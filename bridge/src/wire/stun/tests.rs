use super::*;
use proptest::prelude::*;

/// RFC 5769 §2.1.
const SAMPLE_REQUEST: &[u8] = &[
    0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86,
    0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73,
    0x74, 0x20, 0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff,
    0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09,
    0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14,
    0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49,
    0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
];

/// RFC 5769 §2.2.
const SAMPLE_RESPONSE_V4: &[u8] = &[
    0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86,
    0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63,
    0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43,
    0x00, 0x08, 0x00, 0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9,
    0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b, 0xe7, 0xd7, 0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
];

/// RFC 5769 §2.3.
const SAMPLE_RESPONSE_V6: &[u8] = &[
    0x01, 0x01, 0x00, 0x48, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86,
    0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63,
    0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa,
    0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9, 0x00, 0x08, 0x00, 0x14,
    0xa3, 0x82, 0x95, 0x4e, 0x4b, 0xe6, 0x7b, 0xf1, 0x17, 0x84, 0xc9, 0x7c, 0x82, 0x92, 0xc2, 0x75,
    0xbf, 0xe3, 0xed, 0x41, 0x80, 0x28, 0x00, 0x04, 0xc8, 0xfb, 0x0b, 0x4c,
];

const SAMPLES: [&[u8]; 3] = [SAMPLE_REQUEST, SAMPLE_RESPONSE_V4, SAMPLE_RESPONSE_V6];
const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
const TRANSACTION: TransactionId = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";

fn key() -> hmac::Key {
    integrity_key(PASSWORD)
}

/// Takes the FINGERPRINT off a message, so that changes in front of it get past the checksum.
fn without_fingerprint(message: &[u8]) -> Vec<u8> {
    let mut message = message[..message.len() - 8].to_vec();
    let length = (message.len() - field::HEADER_LEN) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message
}

#[test]
fn rfc_5769_request_is_read_and_authenticates() {
    let message = StunMessage::parse(SAMPLE_REQUEST).unwrap();
    assert_eq!(
        (message.class(), message.method()),
        (Class::Request, BINDING)
    );
    assert_eq!(*message.transaction(), TRANSACTION);
    assert_eq!(message.username(), Some((&b"evtj"[..], &b"h6vY"[..])));
    assert_eq!(message.priority(), Some(0x6e00_01ff));
    assert_eq!(
        message.role(),
        Some(RoleClaim::Controlled(0x932f_f9b1_5126_3b36))
    );
    assert!(!message.use_candidate());
    assert!(message.verify_integrity(&key()));
    assert!(!message.verify_integrity(&integrity_key("another password than that")));
}

#[test]
fn rfc_5769_responses_are_read_and_authenticate() {
    for (bytes, address) in [
        (SAMPLE_RESPONSE_V4, "192.0.2.1:32853"),
        (
            SAMPLE_RESPONSE_V6,
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
        ),
    ] {
        let message = StunMessage::parse(bytes).unwrap();
        assert_eq!(message.class(), Class::Success);
        assert_eq!(message.xor_mapped(), Some(address.parse().unwrap()));
        assert!(message.verify_integrity(&key()));
    }
}

#[test]
fn t07_no_prefix_of_a_message_is_a_message() {
    for sample in SAMPLES {
        for length in 0..sample.len() {
            assert!(
                StunMessage::parse(&sample[..length]).is_err(),
                "prefix of {length} bytes"
            );
        }
    }
}

#[test]
fn t07_no_changed_byte_survives() {
    for sample in SAMPLES {
        // FINGERPRINT's own type is not covered by anything: changed, it is one more attribute behind
        // MESSAGE-INTEGRITY that does not count.
        let uncovered = sample.len() - 8..sample.len() - 6;
        for at in (0..sample.len()).filter(|at| !uncovered.contains(at)) {
            for change in [1u8, 255] {
                let mut changed = sample.to_vec();
                changed[at] = changed[at].wrapping_add(change);
                assert!(
                    StunMessage::parse(&changed).is_err(),
                    "byte {at} + {change}"
                );
            }
        }
    }
}

#[test]
fn t07_without_fingerprint_no_changed_byte_authenticates() {
    for sample in SAMPLES {
        let plain = without_fingerprint(sample);
        assert!(StunMessage::parse(&plain).unwrap().verify_integrity(&key()));
        for at in 0..plain.len() {
            for change in [1u8, 255] {
                let mut changed = plain.clone();
                changed[at] = changed[at].wrapping_add(change);
                let authentic =
                    StunMessage::parse(&changed).is_ok_and(|view| view.verify_integrity(&key()));
                assert!(!authentic, "byte {at} + {change}");
            }
        }
    }
}

#[test]
fn t07_wrong_length_fields_do_not_authenticate() {
    for sample in SAMPLES {
        let plain = without_fingerprint(sample);
        let mut places = vec![2];
        let mut at = field::HEADER_LEN;
        while at < plain.len() {
            places.push(at + 2);
            let length = u16::from_be_bytes([plain[at + 2], plain[at + 3]]) as usize;
            at += 4 + length.next_multiple_of(4);
        }
        for place in places {
            for length in [0u16, 1, 3, 4, 0xFFFF] {
                let mut changed = plain.clone();
                changed[place..place + 2].copy_from_slice(&length.to_be_bytes());
                if changed == plain {
                    continue;
                }
                let authentic =
                    StunMessage::parse(&changed).is_ok_and(|view| view.verify_integrity(&key()));
                assert!(!authentic, "length {length} at {place}");
            }
        }
    }
}

#[test]
fn t07_only_fingerprint_counts_behind_message_integrity() {
    let mut out = [0; 200];
    let mut writer = StunWriter::new(&mut out, Class::Request, BINDING, &TRANSACTION);
    writer.attribute(attribute::USERNAME, &[b"a:b"]);
    let len = writer.finish(&key()).unwrap();
    let mut message = without_fingerprint(&out[..len]);
    message.extend([0, 0x24, 0, 4, 1, 2, 3, 4]);
    message.extend([0, 0x25, 0, 0]);
    message.extend([0x7F, 0xFF, 0, 0]);
    let length = (message.len() - field::HEADER_LEN) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());

    let view = StunMessage::parse(&message).unwrap();
    assert!(view.verify_integrity(&key()));
    assert_eq!(view.priority(), None);
    assert!(!view.use_candidate());
    assert_eq!(view.unknown_required().count(), 0);
}

#[test]
fn t07_attributes_are_bounded() {
    let write = |count: usize| {
        let mut out = [0; 400];
        let mut writer = StunWriter::new(&mut out, Class::Request, BINDING, &TRANSACTION);
        // MESSAGE-INTEGRITY and FINGERPRINT are attributes too.
        for _ in 0..count - 2 {
            writer.attribute(0xC057, &[]);
        }
        let len = writer.finish(&key()).unwrap();
        out[..len].to_vec()
    };
    assert!(StunMessage::parse(&write(MAX_STUN_ATTRIBUTES)).is_ok());
    assert_eq!(
        StunMessage::parse(&write(MAX_STUN_ATTRIBUTES + 1)).unwrap_err(),
        StunError::TooManyAttributes
    );
}

#[test]
fn t07_fingerprint_must_be_the_last_attribute() {
    let mut message = SAMPLE_REQUEST.to_vec();
    message.extend([0xC0, 0x57, 0, 0]);
    let length = (message.len() - field::HEADER_LEN) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    assert_eq!(
        StunMessage::parse(&message).unwrap_err(),
        StunError::Attribute(attribute::FINGERPRINT)
    );
}

#[test]
fn t07_nineteen_bytes_and_indications_are_harmless() {
    assert_eq!(
        StunMessage::parse(&SAMPLE_REQUEST[..19]).unwrap_err(),
        StunError::NotStun
    );
    let mut out = [0; 100];
    let len = StunWriter::new(&mut out, Class::Indication, BINDING, &TRANSACTION)
        .finish(&key())
        .unwrap();
    assert_eq!(
        StunMessage::parse(&out[..len]).unwrap().class(),
        Class::Indication
    );
}

#[test]
fn unknown_attributes_are_listed() {
    let mut out = [0; 200];
    let mut writer = StunWriter::new(&mut out, Class::Request, BINDING, &TRANSACTION);
    writer.attribute(0x7FFF, &[b"xyz"]);
    writer.attribute(0xC057, &[]);
    writer.attribute(0x0003, &[]);
    let len = writer.finish(&key()).unwrap();
    let view = StunMessage::parse(&out[..len]).unwrap();
    assert_eq!(
        view.unknown_required().collect::<Vec<_>>(),
        [0x7FFF, 0x0003]
    );
}

#[test]
fn error_answers_carry_code_and_types() {
    let mut out = [0; 200];
    let len = write_error(&mut out, &TRANSACTION, 420, &[0x7FFF, 3], &key()).unwrap();
    let view = StunMessage::parse(&out[..len]).unwrap();
    assert_eq!((view.class(), view.error_code()), (Class::Error, Some(420)));
    assert!(view.verify_integrity(&key()));
    let types = [0x00, 0x0A, 0x00, 0x04, 0x7F, 0xFF, 0x00, 0x03];
    assert!(
        out[..len]
            .windows(types.len())
            .any(|window| window == types)
    );

    let len = write_error(&mut out, &TRANSACTION, 487, &[], &key()).unwrap();
    assert_eq!(
        StunMessage::parse(&out[..len]).unwrap().error_code(),
        Some(487)
    );
}

#[test]
fn the_largest_request_fits_and_a_small_buffer_fails_cleanly() {
    let long = "x".repeat(crate::limits::MAX_ICE_CREDENTIAL_BYTES);
    let request = BindingRequest {
        transaction: &TRANSACTION,
        remote_ufrag: &long,
        local_ufrag: &long,
        priority: 1,
        role: RoleClaim::Controlling(1),
        use_candidate: true,
    };
    let mut out = [0; MAX_WRITTEN];
    let len = write_request(&mut out, &request, &key()).unwrap();
    for short in 0..len {
        assert_eq!(write_request(&mut out[..short], &request, &key()), None);
    }
}

#[test]
fn our_request_is_understood_by_an_independent_parser() {
    let request = BindingRequest {
        transaction: &TRANSACTION,
        remote_ufrag: "remote",
        local_ufrag: "local",
        priority: 0x6e00_01ff,
        role: RoleClaim::Controlling(7),
        use_candidate: true,
    };
    let mut out = [0; MAX_WRITTEN];
    let len = write_request(&mut out, &request, &key()).unwrap();
    let theirs = is::stun::StunMessage::parse(&out[..len]).unwrap();
    assert_eq!(theirs.split_username(), Some(("remote", "local")));
    assert_eq!(theirs.prio(), Some(0x6e00_01ff));
    assert_eq!(theirs.ice_controlling(), Some(7));
    assert!(theirs.use_candidate());
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::from((ip, port))),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::from((ip, port))),
    ]
}

proptest! {
    #[test]
    fn t07_any_bytes_are_refused_or_safe(mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
                                         header in any::<bool>()) {
        // Half of the inputs get past the header.
        if header && bytes.len() >= 20 {
            bytes.truncate(bytes.len() / 4 * 4);
            let length = (bytes.len() - 20) as u16;
            bytes[0] &= 0x3F;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[4..8].copy_from_slice(&field::COOKIE.to_be_bytes());
        }
        if let Ok(view) = StunMessage::parse(&bytes) {
            prop_assert!(!view.verify_integrity(&key()));
            let _ = (view.username(), view.unknown_required().count(), view.error_code());
        }
    }

    #[test]
    fn requests_come_back_as_written(transaction in any::<[u8; 12]>(), priority in any::<u32>(),
                                     tie_breaker in any::<u64>(), controlling in any::<bool>(),
                                     use_candidate in any::<bool>(), remote in "[a-zA-Z0-9+/]{1,256}",
                                     local in "[a-zA-Z0-9+/]{1,256}") {
        let role = match controlling {
            true => RoleClaim::Controlling(tie_breaker),
            false => RoleClaim::Controlled(tie_breaker),
        };
        let request = BindingRequest {
            transaction: &transaction,
            remote_ufrag: &remote,
            local_ufrag: &local,
            priority,
            role,
            use_candidate,
        };
        let mut out = [0; MAX_WRITTEN];
        let len = write_request(&mut out, &request, &key()).unwrap();
        let view = StunMessage::parse(&out[..len]).unwrap();
        prop_assert_eq!(*view.transaction(), transaction);
        prop_assert_eq!(view.username(), Some((remote.as_bytes(), local.as_bytes())));
        prop_assert_eq!(view.priority(), Some(priority));
        prop_assert_eq!(view.role(), Some(role));
        prop_assert_eq!(view.use_candidate(), use_candidate);
        prop_assert!(view.verify_integrity(&key()));
    }

    #[test]
    fn responses_come_back_as_written(transaction in any::<[u8; 12]>(), source in any_address()) {
        let mut out = [0; MAX_WRITTEN];
        let len = write_success(&mut out, &transaction, source, &key()).unwrap();
        let view = StunMessage::parse(&out[..len]).unwrap();
        prop_assert_eq!((view.class(), view.xor_mapped()), (Class::Success, Some(source)));
        prop_assert!(view.verify_integrity(&key()));
    }
}

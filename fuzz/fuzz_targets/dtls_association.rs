//! Sequences of true, repeated, mutated and invented datagrams, timeouts, text and close between two
//! associations (T15, T16, T21, T23).
//!
//! Each step is an operation byte and its argument byte; invented datagrams follow as length and bytes.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use causeway_bridge::limits;
use causeway_bridge::random::Random;
use causeway_bridge::srtp::Profile;
use causeway_bridge::time::Time;
use causeway_bridge::transport::secure::{
    Association, AssociationConfig, Certificate, SctpRole, Setup,
};
use libfuzzer_sys::fuzz_target;

static CERTIFICATES: LazyLock<[Arc<Certificate>; 2]> = LazyLock::new(|| {
    [(); 2].map(|()| Arc::new(Certificate::generate(SystemTime::now()).expect("a certificate")))
});
static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);

fn association(index: usize, sctp: SctpRole) -> Association {
    let config = AssociationConfig {
        certificate: CERTIFICATES[index].clone(),
        profiles: vec![Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80],
        accept_sha1: false,
        handshake_timeout: limits::HANDSHAKE_TIMEOUT,
        sctp: Some(sctp),
        base: *BASE,
    };
    Association::new(config, Random::from_seed(index as u64))
}

fuzz_target!(|data: &[u8]| {
    let mut now = Time::from_millis(1);
    let mut client = association(0, SctpRole::Client);
    let mut server = association(1, SctpRole::Server);
    client.set_remote(
        now,
        vec![CERTIFICATES[1].fingerprint().clone()],
        Some(Setup::Passive),
    );
    server.set_remote(
        now,
        vec![CERTIFICATES[0].fingerprint().clone()],
        Some(Setup::Active),
    );
    server.writable(now);
    client.writable(now);

    let mut seen = Vec::new();
    let mut steps = data;
    while let Some((&[operation, argument], rest)) = steps.split_first_chunk::<2>() {
        steps = rest;
        while let Some(datagram) = client.poll_transmit() {
            seen.push(datagram);
        }
        let chosen = seen
            .len()
            .checked_sub(1 + usize::from(argument & 15))
            .map(|at| seen[at].to_vec());
        match (operation % 9, chosen) {
            (0..=2, Some(datagram)) => server.handle_datagram(now, &datagram),
            (3, Some(mut datagram)) => {
                let at = usize::from(argument) * 5 % datagram.len().max(1);
                if let Some(byte) = datagram.get_mut(at) {
                    *byte ^= 1 << (operation / 9 % 8);
                }
                server.handle_datagram(now, &datagram);
            }
            (4, _) => {
                let (made, rest) = steps.split_at(steps.len().min(usize::from(argument)));
                steps = rest;
                server.handle_datagram(now, made);
            }
            (5, _) => {
                now += Duration::from_millis(u64::from(argument));
                client.handle_timeout(now);
                server.handle_timeout(now);
            }
            (6, _) => {
                let _ = server.send_text(now, "text");
                let _ = client.send_text(now, "text");
            }
            (7, _) if argument == 255 => server.close(now),
            (8, _) => while server.poll_event().is_some() {},
            _ => {}
        }
        while let Some(datagram) = server.poll_transmit() {
            assert!(datagram.len() <= causeway_bridge::limits::SECURE_DATAGRAM);
            client.handle_datagram(now, &datagram);
        }
        if server.poll_timeout().is_some_and(|due| due <= now) {
            server.handle_timeout(now);
            assert!(server.poll_timeout().is_none_or(|due| due > now));
        }
    }
    assert_eq!((client.take_panics(), server.take_panics()), (0, 0));
});

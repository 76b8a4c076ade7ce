//! A full DTLS handshake, as the pool does it for every join.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use causeway_bridge::limits;
use causeway_bridge::random::Random;
use causeway_bridge::srtp::Profile;
use causeway_bridge::time::Time;
use causeway_bridge::transport::secure::{
    Association, AssociationConfig, AssociationEvent, Certificate, Setup,
};
use criterion::{Criterion, criterion_group, criterion_main};

struct Side {
    association: Association,
    connected: bool,
    /// What it took so far.
    spent: Duration,
}

impl Side {
    fn new(own: &Arc<Certificate>, remote: &Certificate, remote_setup: Setup) -> Side {
        let config = AssociationConfig {
            certificate: Arc::clone(own),
            profiles: vec![Profile::AeadAes128Gcm],
            accept_sha1: false,
            handshake_timeout: limits::HANDSHAKE_TIMEOUT,
            sctp: None,
            base: Instant::now(),
        };
        let begin = Instant::now();
        let mut association = Association::new(config, Random::from_os());
        let fingerprints = vec![remote.fingerprint().clone()];
        association.set_remote(Time::ZERO, fingerprints, Some(remote_setup));
        Side {
            association,
            connected: false,
            spent: begin.elapsed(),
        }
    }

    /// Does `work`, and takes what is to be sent then.
    fn turn(&mut self, work: impl FnOnce(&mut Association)) -> Vec<Vec<u8>> {
        let begin = Instant::now();
        work(&mut self.association);
        let sent = std::iter::from_fn(|| self.association.poll_transmit());
        let sent = sent.map(|datagram| datagram.to_vec()).collect();
        while let Some(event) = self.association.poll_event() {
            self.connected |= matches!(event, AssociationEvent::Connected(_));
        }
        self.spent += begin.elapsed();
        sent
    }
}

/// Time that the bridge, the passive side, spends on one handshake.
fn shake_hands(certificates: &[Arc<Certificate>; 2]) -> Duration {
    let [own, theirs] = certificates;
    let mut bridge = Side::new(own, theirs, Setup::Active);
    let mut client = Side::new(theirs, own, Setup::Passive);
    bridge.turn(|side| side.writable(Time::ZERO));
    let mut sent = client.turn(|side| side.writable(Time::ZERO));
    while !sent.is_empty() {
        let mut answers = Vec::new();
        for datagram in &sent {
            answers.extend(bridge.turn(|side| side.handle_datagram(Time::ZERO, datagram)));
        }
        sent.clear();
        for datagram in &answers {
            sent.extend(client.turn(|side| side.handle_datagram(Time::ZERO, datagram)));
        }
    }
    assert!(bridge.connected && client.connected);
    bridge.spent
}

fn handshake(criterion: &mut Criterion) {
    let certificates =
        [(); 2].map(|()| Arc::new(Certificate::generate(SystemTime::now()).expect("randomness")));
    criterion.bench_function("dtls/handshake of the bridge", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| shake_hands(&certificates)).sum());
    });
}

criterion_group!(benches, handshake);
criterion_main!(benches);

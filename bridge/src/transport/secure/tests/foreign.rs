//! Handshakes with engines that are not ours, or not driven by us.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::BytesMut;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder};
use rtc_dtls::crypto::CryptoPrivateKey;
use rtc_dtls::crypto_provider::RTCCryptoProvider as _;
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;

use super::super::dtls::instant;
use super::*;

/// `dimpl`, an independent DTLS.
struct Dimpl {
    dtls: dimpl::Dtls,
    due: Option<Instant>,
    output: VecDeque<Bytes>,
    keys: Option<Vec<u8>>,
    data: Vec<Vec<u8>>,
}

impl Dimpl {
    fn new(certificate: dimpl::DtlsCertificate, client: bool) -> Dimpl {
        let config = Arc::new(dimpl::Config::default());
        let mut dtls = dimpl::Dtls::new_12(config, certificate, instant(*BASE, START));
        dtls.set_active(client);
        dtls.handle_timeout(instant(*BASE, START)).expect("started");
        let output = VecDeque::new();
        let mut peer = Dimpl {
            dtls,
            due: None,
            output,
            keys: None,
            data: Vec::new(),
        };
        peer.collect();
        peer
    }

    fn collect(&mut self) {
        let mut buffer = vec![0; 4_096];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                dimpl::Output::Packet(packet) => {
                    self.output.push_back(Bytes::copy_from_slice(packet));
                }
                dimpl::Output::KeyingMaterial(keys, _) => self.keys = Some(keys.to_vec()),
                dimpl::Output::ApplicationData(data) => self.data.push(data.to_vec()),
                dimpl::Output::Timeout(due) => {
                    self.due = Some(due);
                    return;
                }
                dimpl::Output::BufferTooSmall { needed } => panic!("{needed} bytes"),
                _ => {}
            }
        }
    }
}

impl Peer for Dimpl {
    fn datagram(&mut self, _: Time, datagram: &[u8]) {
        self.dtls
            .handle_packet(datagram)
            .expect("our datagrams are valid");
        self.collect();
    }
    fn timeout(&mut self, now: Time) {
        self.dtls
            .handle_timeout(instant(*BASE, now))
            .expect("handshake goes on");
        self.collect();
    }
    fn next_timeout(&self) -> Option<Time> {
        let micros = self.due?.saturating_duration_since(*BASE).as_micros() as u64;
        Some(Time::from_micros(micros + 1))
    }
    fn transmit(&mut self) -> Option<Bytes> {
        self.output.pop_front()
    }
}

fn dimpl_certificate() -> (dimpl::DtlsCertificate, Fingerprint) {
    let certificate = dimpl::certificate::generate_self_signed_certificate().expect("made");
    let fingerprint = Fingerprint::sha256(&certificate.certificate);
    (certificate, fingerprint)
}

fn exported(keys: &KeyingMaterial, ours_is_client: bool) -> Vec<u8> {
    let salt = match keys.profile {
        Profile::AeadAes128Gcm => 12,
        Profile::Aes128CmSha1_80 => 14,
    };
    let (local, remote) = (
        (&keys.local_key, &keys.local_salt[..salt]),
        (&keys.remote_key, &keys.remote_salt[..salt]),
    );
    let (client, server) = if ours_is_client {
        (local, remote)
    } else {
        (remote, local)
    };
    [client.0, server.0, client.1, server.1].concat()
}

#[test]
fn another_implementation_gets_the_same_keys_in_either_role_with_either_profile() {
    for ours_is_client in [false, true] {
        for profile in PROFILES {
            let (certificate, fingerprint) = dimpl_certificate();
            let mut ours = association(&OURS, &[profile], None, 5);
            let setup = if ours_is_client {
                Setup::Passive
            } else {
                Setup::Active
            };
            ours.set_remote(START, vec![fingerprint], Some(setup));
            ours.writable(START);
            let mut theirs = Dimpl::new(certificate, !ours_is_client);
            let mut network = Network::bad(profile as u64);
            if ours_is_client {
                network.run(&mut ours, &mut theirs, Duration::from_secs(20));
            } else {
                network.run(&mut theirs, &mut ours, Duration::from_secs(20));
            }
            let keys = said(&mut ours).keys.expect("connected");
            assert_eq!(keys.profile, profile);
            let theirs = theirs.keys.expect("connected");
            assert_eq!(
                theirs,
                exported(&keys, ours_is_client),
                "client: {ours_is_client}"
            );
        }
    }
}

/// The engine as a client with any certificate, without our gate.
struct Bare {
    engine: Endpoint,
    connected: bool,
}

const BARE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7);

impl Bare {
    fn client(certificate: Option<rtc_dtls::crypto::Certificate>) -> Bare {
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::new(AwsLcRsProvider::new()))
            .with_certificates(certificate.into_iter().collect())
            .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_insecure_skip_verify(true)
            .with_flight_interval(Duration::from_millis(200))
            .build(true, Some(BARE))
            .expect("valid");
        let mut engine = Endpoint::new(BARE, TransportProtocol::UDP, None);
        engine
            .connect(instant(*BASE, START), BARE, Arc::new(config), None)
            .expect("started");
        Bare {
            engine,
            connected: false,
        }
    }
}

impl Peer for Bare {
    fn datagram(&mut self, now: Time, datagram: &[u8]) {
        let read = self
            .engine
            .read(instant(*BASE, now), BARE, None, BytesMut::from(datagram));
        let complete = |event: &EndpointEvent| matches!(event, EndpointEvent::HandshakeComplete);
        self.connected |= read.is_ok_and(|events| events.iter().any(complete));
    }
    fn timeout(&mut self, now: Time) {
        let _ = self.engine.handle_timeout(BARE, instant(*BASE, now));
    }
    fn next_timeout(&self) -> Option<Time> {
        let micros = self
            .engine
            .poll_timeout(&BARE)?
            .saturating_duration_since(*BASE)
            .as_micros();
        Some(Time::from_micros(micros as u64))
    }
    fn transmit(&mut self) -> Option<Bytes> {
        self.engine
            .poll_transmit()
            .map(|transmit| transmit.message.freeze())
    }
}

fn server_for(fingerprint: Fingerprint) -> Association {
    let mut server = association(&OURS, &PROFILES, None, 6);
    server.set_remote(START, vec![fingerprint], Some(Setup::Active));
    server.writable(START);
    server
}

#[test]
fn a_client_with_an_rsa_certificate_is_accepted() {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        .expect("RSA key");
    let certificate = rcgen::CertificateParams::default()
        .self_signed(&key)
        .expect("certificate");
    let private_key =
        CryptoPrivateKey::from_key_pair(&key, AwsLcRsProvider::new().crypto()).expect("imported");
    let mut server = server_for(Fingerprint::sha256(certificate.der()));
    let certificate = rtc_dtls::crypto::Certificate {
        certificate: vec![certificate.der().clone()],
        private_key,
    };
    let mut client = Bare::client(Some(certificate));
    Network::new(1).run(&mut client, &mut server, Duration::from_millis(500));
    assert!(client.connected);
    assert!(said(&mut server).keys.is_some());
}

#[test]
fn t17_a_client_without_a_certificate_gets_no_keys() {
    let mut server = server_for(THEIRS.fingerprint().clone());
    let mut client = Bare::client(None);
    Network::new(1).run(&mut client, &mut server, Duration::from_secs(5));
    assert!(!client.connected);
    let said = said(&mut server);
    assert_eq!(
        (said.keys.is_some(), said.failed),
        (false, Some(FailureReason::Protocol))
    );
}

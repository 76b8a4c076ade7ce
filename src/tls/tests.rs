//! Key stores as OpenSSL and keytool make them (`testdata/make` says how), and files that are none.

use std::path::PathBuf;

use data_encoding::BASE64;
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;

const PASSWORD: &str = "changeit";

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/tls/testdata")
        .join(name)
}

/// A file that is there as long as this.
pub struct TemporaryFile(pub PathBuf);

impl TemporaryFile {
    pub fn new(name: &str, content: &[u8]) -> TemporaryFile {
        let name = format!("causeway-tls-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        TemporaryFile(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A certificate for `localhost` and its private key, both as DER.
fn identity() -> (Vec<u8>, Vec<u8>) {
    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    (made.cert.der().to_vec(), made.signing_key.serialize_der())
}

fn pem_block(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// A PEM file, and a client that trusts it.
pub fn server_and_client(name: &str) -> (TemporaryFile, TlsConnector) {
    let (certificate, key) = identity();
    let text = pem_block("CERTIFICATE", &certificate) + &pem_block("PRIVATE KEY", &key);
    let file = TemporaryFile::new(name, text.as_bytes());
    (file, client(&certificate))
}

/// A client that trusts one authority.
fn client(authority: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.to_vec())).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

pub fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

fn load(path: &Path, password: Option<&str>) -> Result<Tls, String> {
    Tls::load(TlsOptions {
        password: password.map(str::to_owned),
        ..TlsOptions::new(path)
    })
}

fn refused(path: &Path, password: Option<&str>) -> String {
    let reason = load(path, password).map(|_| ()).unwrap_err();
    let named = reason.starts_with(path.to_str().unwrap());
    assert!(named, "the file is not named: {reason}");
    let told = password.is_some_and(|password| reason.contains(password));
    assert!(!told, "the password is told: {reason}");
    reason
}

/// Whether a client that trusts `authority` gets a byte through to the server.
async fn reaches(tls: &Tls, authority: &[u8]) -> bool {
    let (near, far) = tokio::io::duplex(64 << 10);
    let (server, client) = tokio::join!(
        tls.accept(far),
        client(authority).connect(localhost(), near)
    );
    let (Ok(mut server), Ok(mut client)) = (server, client) else {
        return false;
    };
    client.write_all(b"x").await.unwrap();
    client.flush().await.unwrap();
    server.read_u8().await.unwrap() == b'x'
}

#[tokio::test]
async fn key_stores_of_openssl_and_java_are_served() {
    let authority = std::fs::read(testdata("authority.der")).unwrap();
    for name in ["openssl.p12", "legacy.p12", "java.p12", "java.jks"] {
        let tls = load(&testdata(name), Some(PASSWORD)).unwrap_or_else(|error| panic!("{error}"));
        assert!(reaches(&tls, &authority).await, "{name}");
        let stranger = identity().0;
        assert!(!reaches(&tls, &stranger).await, "{name}: a test of nothing");
    }
}

#[test]
fn the_chain_of_a_key_store_is_shown_from_the_servers_certificate_to_the_authority() {
    let authority = std::fs::read(testdata("authority.der")).unwrap();
    for name in ["openssl.p12", "legacy.p12", "java.p12", "java.jks"] {
        let data = std::fs::read(testdata(name)).unwrap();
        let identity = Identity::parse(&data, Some(PASSWORD)).unwrap();
        assert_eq!(identity.chain.len(), 2, "{name}");
        assert!(belongs(&identity.chain[0], &identity.key), "{name}");
        assert_eq!(identity.chain[1].as_ref(), authority, "{name}");
    }
}

#[tokio::test]
async fn pkcs12_and_pem_made_here_are_served() {
    let (certificate, key) = identity();
    let chain = PrivateKeyChain::new(
        "id",
        PrivateKey::from_der(&key).unwrap(),
        [Certificate::from_der(&certificate).unwrap()],
    );
    let mut store = KeyStore::new();
    store.add_entry("jvb", KeyStoreEntry::PrivateKeyChain(chain));
    let p12 = store.writer(PASSWORD).write().unwrap();
    let p12 = TemporaryFile::new("made.p12", &p12);
    assert!(reaches(&load(&p12.0, Some(PASSWORD)).unwrap(), &certificate).await);

    let blocks = [
        pem_block("PRIVATE KEY", &key),
        pem_block("CERTIFICATE", &certificate),
    ];
    let pem = TemporaryFile::new("made.pem", blocks.concat().as_bytes());
    assert!(reaches(&load(&pem.0, None).unwrap(), &certificate).await);
}

#[test]
fn what_can_not_be_served_is_refused_with_file_and_reason() {
    let missing = refused(Path::new("/nonexistent/jvb.p12"), Some(PASSWORD));
    assert!(
        missing.contains("can not be read: No such file"),
        "{missing}"
    );
    for name in ["openssl.p12", "legacy.p12", "java.p12", "java.jks"] {
        let wrong = refused(&testdata(name), Some("let-me-in"));
        assert!(
            wrong.contains("password in key-store-password is wrong"),
            "{wrong}"
        );
        let none = refused(&testdata(name), None);
        assert!(none.contains("set key-store-password"), "{none}");
    }
    for name in ["trust.p12", "trust.jks"] {
        let keyless = refused(&testdata(name), Some(PASSWORD));
        assert!(keyless.ends_with("has no private key"), "{keyless}");
    }
    let other = refused(&testdata("other-password.jks"), Some(PASSWORD));
    assert!(other.contains("password other than the store's"), "{other}");

    let (certificate, key) = identity();
    let (_, foreign) = identity();
    let certificate = pem_block("CERTIFICATE", &certificate);
    for (content, reason) in [
        (
            String::new(),
            "is neither a PKCS12 nor a JKS key store nor a PEM file",
        ),
        (certificate.clone(), "has no private key"),
        (pem_block("PRIVATE KEY", &key), "has no certificate"),
        (
            certificate.clone() + &pem_block("PRIVATE KEY", &foreign),
            "certificate and key can not be used",
        ),
        (
            certificate + &pem_block("ENCRYPTED PRIVATE KEY", &key),
            "the private key is encrypted",
        ),
        ("\u{0}".repeat(1 << 21), "longer than 1048576 bytes"),
        ("0".to_owned(), "is not a PKCS12 key store that can be read"),
    ] {
        let file = TemporaryFile::new("bad", content.as_bytes());
        let refused = refused(&file.0, Some(PASSWORD));
        assert!(refused.contains(reason), "{refused}");
    }
    let jceks = TemporaryFile::new("jceks", &[0xCE; 64]);
    let refused = refused(&jceks.0, Some(PASSWORD));
    assert!(refused.contains("-deststoretype PKCS12"), "{refused}");
}

#[test]
fn damaged_key_stores_are_refused_without_a_panic() {
    for name in ["java.jks", "trust.jks", "openssl.p12"] {
        let data = std::fs::read(testdata(name)).unwrap();
        for length in (0..data.len()).step_by(7) {
            assert!(Identity::parse(&data[..length], Some(PASSWORD)).is_err());
        }
    }
    let data = std::fs::read(testdata("java.jks")).unwrap();
    for at in 0..data.len() {
        let mut damaged = data.clone();
        damaged[at] ^= 0xFF;
        assert!(Identity::parse(&damaged, Some(PASSWORD)).is_err(), "{at}");
    }
}

/// The digest of a file keeps accidents out, but whoever knows the password can make any file.
#[test]
fn counts_and_lengths_of_a_jks_file_take_no_memory() {
    for content in [
        "FEEDFEED00000002FFFFFFFF",
        "FEEDFEED000000020000000100000001000161000000000000000000000000FFFFFFFF",
        "FEEDFEED0000000200000001000000010001610000000000000000FFFFFFFF",
        "FEEDFEED00000003000000000000",
    ] {
        let mut data = data_encoding::HEXUPPER.decode(content.as_bytes()).unwrap();
        data.extend([0; 20]);
        let reason = Identity::parse(&data, Some(PASSWORD))
            .map(|_| ())
            .unwrap_err();
        assert!(reason.contains("ends too early"), "{reason}");
    }
}

#[tokio::test]
async fn versions_that_are_not_set_are_not_spoken() {
    let (file, connector) = server_and_client("versions.pem");
    let new_only = Tls::load(TlsOptions {
        versions: vec![&version::TLS13],
        ..TlsOptions::new(&file.0)
    })
    .unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS12])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let old = TlsConnector::from(Arc::new(config));
    for (client, expected) in [(connector, true), (old, false)] {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (server, _) = tokio::join!(new_only.accept(far), client.connect(localhost(), near));
        assert_eq!(server.is_ok(), expected);
    }
}

/// What a client that trusts everything was shown, and the cipher suite.
async fn shown(tls: &Tls, connector: &TlsConnector) -> Option<(Vec<u8>, String)> {
    let (near, far) = tokio::io::duplex(64 << 10);
    let (server, client) = tokio::join!(tls.accept(far), connector.connect(localhost(), near));
    server.ok()?;
    let client = client.ok()?;
    let (_, connection) = client.get_ref();
    let certificate = connection.peer_certificates()?.first()?.to_vec();
    let suite = connection.negotiated_cipher_suite()?.suite();
    Some((certificate, format!("{suite:?}")))
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_what_is_open_goes_on() {
    let (file, old_client) = server_and_client("reload.pem");
    let tls = Tls::load(TlsOptions::new(&file.0)).unwrap();
    let (near, far) = tokio::io::duplex(64 << 10);
    let (server, client) = tokio::join!(tls.accept(far), old_client.connect(localhost(), near));
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    assert_eq!(tls.refresh(), Ok(false), "nothing changed");

    // Half of a file, and another key's certificate: the old one stays, and it is said once.
    let (other, new_client) = server_and_client("renewed.pem");
    let renewed = std::fs::read(&other.0).unwrap();
    std::fs::write(&file.0, &renewed[..renewed.len() / 2]).unwrap();
    assert!(tls.refresh().unwrap_err().contains("reload.pem: "));
    assert_eq!(tls.refresh(), Ok(false));
    assert!(shown(&tls, &old_client).await.is_some());
    assert!(shown(&tls, &new_client).await.is_none());

    // As tools do it: a file beside it takes its place.
    std::fs::rename(&other.0, &file.0).unwrap();
    assert_eq!(tls.refresh(), Ok(true));
    assert!(shown(&tls, &old_client).await.is_none());
    assert!(shown(&tls, &new_client).await.is_some());
    client.write_all(b"still here").await.unwrap();
    client.flush().await.unwrap();
    let mut text = [0; 10];
    server.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"still here");

    // A file that is gone changes nothing.
    std::fs::remove_file(&file.0).unwrap();
    assert!(tls.refresh().unwrap_err().contains("can not be read"));
    assert!(shown(&tls, &new_client).await.is_some());
}

#[tokio::test]
async fn only_the_suites_that_are_set_are_spoken() {
    let (file, client) = server_and_client("suites.pem");
    for wanted in ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] {
        let chosen = suites().filter(|(name, _)| name == wanted);
        let tls = Tls::load(TlsOptions {
            versions: vec![&version::TLS13],
            suites: chosen.map(|(_, suite)| suite).collect(),
            ..TlsOptions::new(&file.0)
        });
        let (_, suite) = shown(&tls.unwrap(), &client).await.unwrap();
        assert_eq!(suite.replacen("TLS13_", "TLS_", 1), wanted);
    }
}

//! TLS of the HTTP servers: certificates and private keys from files, and what is spoken with them.
//!
//! A file is what the Java implementation takes, a key store in PKCS12 or JKS form, or a PEM file with chain and key. Which one it
//! is shows in its first bytes. Everything is read and checked at start, so that a certificate that does not belong to
//! its key ends the start and not the first handshake. A file that changes later is read again: new connections get
//! the new certificate, those that are open keep theirs, and a file that can not be used changes nothing.

mod jks;
#[cfg(test)]
pub mod tests;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use p12_keystore::error::Error as P12Error;
use p12_keystore::{CertificateBag, Pkcs12Archive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};
use tokio_rustls::server::TlsStream;

/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Certificates of a chain.
const MAX_CHAIN: usize = 16;
/// Time for a handshake: whoever needs longer is no browser.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Versions of TLS by their names in Java.
pub const VERSIONS: [(&str, &SupportedProtocolVersion); 2] =
    [("TLSv1.2", &version::TLS12), ("TLSv1.3", &version::TLS13)];

/// Time between two looks at whether a file changed.
const LOOK: Duration = Duration::from_secs(10);

/// What is spoken, and with which certificate.
#[derive(Clone)]
pub struct TlsOptions {
    /// Key store or PEM file.
    pub path: PathBuf,
    /// Its password.
    pub password: Option<String>,
    /// Versions.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// Cipher suites, in the order in which they are preferred.
    pub suites: Vec<SupportedCipherSuite>,
}

impl TlsOptions {
    /// All versions and cipher suites.
    pub fn new(path: impl Into<PathBuf>) -> TlsOptions {
        TlsOptions {
            path: path.into(),
            password: None,
            versions: VERSIONS.map(|(_, version)| version).into(),
            suites: provider().cipher_suites.clone(),
        }
    }
}

/// All cipher suites that can be spoken, by their names in Java.
pub fn suites() -> impl Iterator<Item = (String, SupportedCipherSuite)> {
    let suites = provider().cipher_suites.clone().into_iter();
    suites.map(|suite| {
        // Those of TLS 1.3 have a prefix of their own in the library.
        let name = format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1);
        (name, suite)
    })
}

/// By which one sees that a file was written or replaced: device, number, length, time of the change.
type Stamp = (u64, u64, u64, (i64, i64));

fn stamp(path: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(path).ok()?;
    let changed = (data.mtime(), data.mtime_nsec());
    Some((data.dev(), data.ino(), data.len(), changed))
}

struct Inner {
    options: TlsOptions,
    /// What handshakes that begin now use.
    current: Mutex<Arc<ServerConfig>>,
    /// Of the file when it was last read, usable or not.
    read: Mutex<Option<Stamp>>,
}

/// What turns accepted sockets into TLS ones.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // There are keys inside.
        f.write_str("Tls")
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Tls) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tls {}

impl Tls {
    /// For servers that show the certificate in a file.
    ///
    /// # Errors
    /// Why the file can not be used, for people; the text names the file and does not contain the password.
    pub fn load(options: TlsOptions) -> Result<Tls, String> {
        let read = stamp(&options.path);
        let config = server_config(&options)?;
        Ok(Tls(Arc::new(Inner {
            options,
            current: Mutex::new(config),
            read: Mutex::new(read),
        })))
    }

    /// Reads the file again if it changed since it was last read. Whether a new certificate is in use; if there is none, the old
    /// one is used on.
    ///
    /// # Errors
    /// As for [`Tls::load`], once for each change.
    pub fn refresh(&self) -> Result<bool, String> {
        let found = stamp(&self.0.options.path);
        {
            let mut read = locked(&self.0.read);
            if *read == found {
                return Ok(false);
            }
            *read = found;
        }
        let config = server_config(&self.0.options)?;
        *locked(&self.0.current) = config;
        Ok(true)
    }

    /// Looks for changes of the file for as long as it is polled.
    pub async fn watch(self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            // Files are read and keys are checked where that holds up nobody.
            let this = self.clone();
            let path = self.0.options.path.display();
            match tokio::task::spawn_blocking(move || this.refresh()).await {
                Ok(Ok(true)) => tracing::info!(%path, "new TLS certificate"),
                Ok(Ok(false)) => {}
                Ok(Err(reason)) => {
                    tracing::error!("the TLS certificate stays the old one: {reason}");
                }
                Err(error) => tracing::error!(%path, %error, "the TLS certificate was not read"),
            }
        }
    }

    /// Shakes hands with the client at the other end of `io`.
    ///
    /// # Errors
    /// The client speaks no TLS that we do, left, or takes longer than [`HANDSHAKE_TIMEOUT`].
    pub async fn accept<I>(&self, io: I) -> io::Result<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&locked(&self.0.current));
        let handshake = TlsAcceptor::from(config).accept(io);
        timeout(HANDSHAKE_TIMEOUT, handshake).await?
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn server_config(options: &TlsOptions) -> Result<Arc<ServerConfig>, String> {
    let named = |reason: String| format!("{}: {reason}", options.path.display());
    let data = read(&options.path).map_err(|error| named(format!("can not be read: {error}")))?;
    let identity = Identity::parse(&data, options.password.as_deref()).map_err(named)?;
    let mut provider = (*provider()).clone();
    provider.cipher_suites.clone_from(&options.suites);
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&options.versions)
        .map_err(|error| named(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key)
        .map_err(|error| named(format!("certificate and key can not be used: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut data)?;
    if data.len() as u64 > MAX_FILE {
        let reason = format!("it is longer than {MAX_FILE} bytes");
        return Err(io::Error::other(reason));
    }
    Ok(data)
}

/// A private key, and the certificates that say whose it is: the key's own first.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    fn parse(data: &[u8], password: Option<&str>) -> Result<Identity, String> {
        match data {
            [0xFE, 0xED, 0xFE, 0xED, ..] => jks::parse(data, password),
            [0xCE, 0xCE, 0xCE, 0xCE, ..] => {
                Err("JCEKS key stores are not supported: convert it with \
                 `keytool -importkeystore -srcstoretype JCEKS -deststoretype PKCS12`"
                    .to_owned())
            }
            [0x30, ..] => pkcs12(data, password),
            _ if data.windows(11).any(|at| at == b"-----BEGIN ") => pem(data),
            _ => Err("is neither a PKCS12 nor a JKS key store nor a PEM file".to_owned()),
        }
    }
}

/// What is wrong when a password does not open a file.
fn wrong_password(password: Option<&str>) -> String {
    match password {
        Some(_) => "the password in key-store-password is wrong",
        None => "it has a password: set key-store-password",
    }
    .to_owned()
}

/// Chain and key from a PEM file, in any order; the key's own certificate is the first one.
fn pem(data: &[u8]) -> Result<Identity, String> {
    let chain = CertificateDer::pem_slice_iter(data)
        .take(MAX_CHAIN)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("is not a PEM file that can be read: {error}"))?;
    if chain.is_empty() {
        return Err("has no certificate".to_owned());
    }
    let text = String::from_utf8_lossy(data);
    let encrypted = [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----",
        "Proc-Type: 4,ENCRYPTED",
    ];
    if encrypted.iter().any(|mark| text.contains(mark)) {
        return Err(
            "the private key is encrypted, which is supported in PKCS12 and JKS files only"
                .to_owned(),
        );
    }
    let key = PrivateKeyDer::from_pem_slice(data).map_err(|error| match error {
        PemError::NoItemsFound => "has no private key".to_owned(),
        error => format!("has a private key that can not be read: {error}"),
    })?;
    Ok(Identity { chain, key })
}

/// Chain and key from a PKCS12 file: the first private key that has a certificate.
fn pkcs12(data: &[u8], password: Option<&str>) -> Result<Identity, String> {
    let archive =
        Pkcs12Archive::from_pkcs12(data, password.unwrap_or("")).map_err(|error| match error {
            P12Error::MacError(_) | P12Error::Pkcs5Error(_) | P12Error::UnpadError => {
                wrong_password(password)
            }
            error => format!("is not a PKCS12 key store that can be read: {error}"),
        })?;
    if archive.keys.is_empty() {
        return Err("has no private key".to_owned());
    }
    let mut keys = archive.keys;
    keys.sort_by(|a, b| a.friendly_name.cmp(&b.friendly_name));
    for key in keys {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()));
        let own = archive
            .certs
            .iter()
            .find(|bag| belongs(bag.cert.as_der(), &key));
        if let Some(own) = own {
            let chain = chain(own, &archive.certs);
            return Ok(Identity { chain, key });
        }
    }
    Err(
        "has no certificate for its private key, or the key is of a kind that TLS does not use"
            .to_owned(),
    )
}

/// Whether the certificate is for this key.
fn belongs(certificate: &[u8], key: &PrivateKeyDer<'static>) -> bool {
    let Ok(signer) = provider().key_provider.load_private_key(key.clone_key()) else {
        return false;
    };
    let chain = vec![CertificateDer::from(certificate.to_vec())];
    CertifiedKey::new(chain, signer).keys_match().is_ok()
}

/// From `own` to its issuer, the issuer's issuer and so on, as far as they are there.
fn chain(own: &CertificateBag, all: &[CertificateBag]) -> Vec<CertificateDer<'static>> {
    let mut chain = vec![&own.cert];
    while let Some(last) = chain.last()
        && let Some(issuer) = all.iter().map(|bag| &bag.cert).find(|certificate| {
            certificate.subject() == last.issuer() && !chain.contains(certificate)
        })
        && last.subject() != last.issuer()
        && chain.len() < MAX_CHAIN
    {
        chain.push(issuer);
    }
    chain
        .into_iter()
        .map(|certificate| CertificateDer::from(certificate.as_der().to_vec()))
        .collect()
}

//! The JKS form of Java key stores, as far as a server needs it: its first private key and the chain of that.
//!
//! A file is numbers and texts in big-endian order, then SHA-1 over the password, a constant and all that came before. A
//! private key is masked by a stream of SHA-1 digests of password and salt (`sun.security.provider.KeyProtector`): to read is all that this
//! should be used for.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{Identity, MAX_CHAIN, wrong_password};

/// What is mixed into the digest of a file.
const WHITENER: &[u8] = b"Mighty Aphrodite";
/// `1.3.6.1.4.1.42.2.17.1.1`, the masking of private keys.
const KEY_PROTECTOR: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x2A, 0x02, 0x11, 0x01, 0x01];
const PRIVATE_KEY: u32 = 1;
const TRUSTED_CERTIFICATE: u32 = 2;

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;

/// A private key that is still masked, and its certificates.
struct Entry<'a> {
    alias: &'a [u8],
    key: &'a [u8],
    chain: Vec<CertificateDer<'static>>,
}

/// Chain and key from a file: of several the one whose alias sorts first.
pub(super) fn parse(data: &[u8], password: Option<&str>) -> Result<Identity, String> {
    let broken = || "is a JKS key store that ends too early or has unknown parts".to_owned();
    let (content, digest) = data
        .split_last_chunk::<SHA1_OUTPUT_LEN>()
        .ok_or_else(broken)?;
    let entries = entries(content).ok_or_else(broken)?;
    // The characters as Java has them.
    let secret: Vec<u8> = password
        .ok_or_else(|| wrong_password(None))?
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    if sha1(&[&secret, WHITENER, content]) != *digest {
        return Err(
            "the password in key-store-password is wrong, or the file is damaged".to_owned(),
        );
    }
    let entry = entries
        .into_iter()
        .min_by_key(|entry| entry.alias)
        .ok_or_else(|| "has no private key".to_owned())?;
    if entry.chain.is_empty() {
        return Err("has no certificate for its private key".to_owned());
    }
    let key = unmask(entry.key, &secret)?;
    Ok(Identity {
        chain: entry.chain,
        key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key)),
    })
}

fn sha1(parts: &[&[u8]]) -> [u8; SHA1_OUTPUT_LEN] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    let mut digest = [0; SHA1_OUTPUT_LEN];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Takes parts off the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*taken))
    }

    /// Bytes behind their length in four bytes.
    fn block(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.bytes(usize::try_from(length).ok()?)
    }

    /// A text behind its length in two bytes.
    fn text(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        self.bytes(usize::from(u16::from_be_bytes(*length)))
    }

    fn certificate(&mut self, version: u32) -> Option<&'a [u8]> {
        if version > 1 {
            let _kind = self.text()?;
        }
        self.block()
    }

    /// The content of a DER value with this tag.
    fn der(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&[found, first], rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        let length = match first {
            0..=0x7F => usize::from(first),
            0x81..=0x83 => self
                .bytes(usize::from(first & 0x7F))?
                .iter()
                .fold(0, |length, &byte| (length << 8) | usize::from(byte)),
            _ => return None,
        };
        self.bytes(length).filter(|_| found == tag)
    }
}

/// The private keys in all but the digest of a file.
fn entries(content: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut cursor = Cursor(content);
    let _magic = cursor.number()?;
    let version = cursor.number().filter(|version| matches!(version, 1 | 2))?;
    let count = cursor.number()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let tag = cursor.number()?;
        let alias = cursor.text()?;
        let _created = cursor.bytes(8)?;
        match tag {
            PRIVATE_KEY => {
                let key = cursor.block()?;
                let mut chain = Vec::new();
                for _ in 0..cursor.number()? {
                    let certificate = cursor.certificate(version)?;
                    if chain.len() < MAX_CHAIN {
                        chain.push(CertificateDer::from(certificate.to_vec()));
                    }
                }
                entries.push(Entry { alias, key, chain });
            }
            TRUSTED_CERTIFICATE => {
                cursor.certificate(version)?;
            }
            _ => return None,
        }
    }
    cursor.0.is_empty().then_some(entries)
}

/// The private key in PKCS #8 form from its masked one (an `EncryptedPrivateKeyInfo`).
fn unmask(masked: &[u8], secret: &[u8]) -> Result<Vec<u8>, String> {
    let parts = || {
        let mut info = Cursor(Cursor(masked).der(SEQUENCE)?);
        let algorithm = Cursor(info.der(SEQUENCE)?).der(OBJECT_IDENTIFIER)?;
        let data = info.der(OCTET_STRING)?;
        let (salt, rest) = data.split_first_chunk::<SHA1_OUTPUT_LEN>()?;
        let (key, digest) = rest.split_last_chunk::<SHA1_OUTPUT_LEN>()?;
        (algorithm == KEY_PROTECTOR).then_some((salt, key, digest))
    };
    let (salt, key, digest) =
        parts().ok_or("the private key is protected in a way that JKS files do not have")?;
    let mut mask = *salt;
    let mut plain = Vec::with_capacity(key.len());
    for block in key.chunks(SHA1_OUTPUT_LEN) {
        mask = sha1(&[secret, &mask]);
        plain.extend(block.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    }
    if sha1(&[secret, &plain]) != *digest {
        return Err(
            "the private key has a password other than the store's; make them the same with \
             `keytool -keypasswd`"
                .to_owned(),
        );
    }
    Ok(plain)
}

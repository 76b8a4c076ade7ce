//! AES-128 in counter mode (RFC 3711 §4.1.1).
//!
//! The library's counter mode takes twice the time that the processor needs where that encrypts four blocks with one
//! instruction. There, and only there, we do it ourselves; the library is the reference.

#[cfg(target_arch = "x86_64")]
mod vaes;

#[cfg(test)]
mod tests;

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

/// Bytes of a block.
pub(super) const BLOCK: usize = 16;
/// Bytes of a key.
pub(super) const KEY: usize = 16;

/// The library does not encrypt so much at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooLong;

/// A key for counter mode.
pub(super) enum CounterMode {
    /// Of the library.
    Library(Box<EncryptingKey>),
    /// For processors with vectors of AES blocks.
    #[cfg(target_arch = "x86_64")]
    Vaes(Box<vaes::Key>),
}

impl CounterMode {
    /// Prepares a key for the fastest way that this processor has.
    pub(super) fn new(key: &[u8; KEY]) -> CounterMode {
        #[cfg(target_arch = "x86_64")]
        if let Some(key) = vaes::Key::new(key) {
            return CounterMode::Vaes(Box::new(key));
        }
        CounterMode::library(key)
    }

    /// Prepares a key for the library.
    pub(super) fn library(key: &[u8; KEY]) -> CounterMode {
        let key = UnboundCipherKey::new(&AES_128, key).and_then(EncryptingKey::ctr);
        CounterMode::Library(Box::new(key.expect("AES-128 keys have 16 bytes")))
    }

    /// XORs the key stream that begins at `iv` into `data`. The last four bytes of `iv` count the blocks, modulo 2³²;
    /// SRTP begins at a multiple of 2¹⁶ and has fewer blocks than that.
    ///
    /// # Errors
    /// [`TooLong`] if the library refuses; that does not happen with packets.
    #[inline]
    pub(super) fn apply(&self, iv: [u8; BLOCK], data: &mut [u8]) -> Result<(), TooLong> {
        match self {
            CounterMode::Library(key) => {
                let context = EncryptionContext::Iv128(FixedLength::from(iv));
                key.less_safe_encrypt(data, context)
                    .map(|_| ())
                    .map_err(|_| TooLong)
            }
            #[cfg(target_arch = "x86_64")]
            CounterMode::Vaes(key) => {
                key.apply(iv, data);
                Ok(())
            }
        }
    }
}

//! SRTP and SRTCP (RFC 3711, RFC 7714, RFC 9335): opening what endpoints send, sealing what they get.
//!
//! [`Inbound`] and [`Outbound`] are the two directions of one transport. They know keys, indices and replay
//! windows, and nothing of sources or endpoints. No call allocates for a packet.
//!
//! - A packet is refused by its SSRC before anything is computed, by its index before it is authenticated,
//!   and no state moves before it did authenticate (T26, T27, T31).
//! - The index of what we send comes from the caller, who owns the SSRC. Two different packets must never
//!   be sealed under one (SSRC, index): with GCM that gives the authentication key away (T29). Debug builds
//!   panic when they see it.

use zeroize::Zeroize;

use crate::counters::Counter;

#[cfg(debug_assertions)]
mod audit;
mod cipher;
mod ctr;
#[cfg(test)]
mod differential;
mod inbound;
pub mod mac;
mod outbound;
mod replay;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod vectors;

pub use inbound::{Full, Inbound, Opened};
pub use outbound::Outbound;

/// Length of a master key in both profiles, bytes.
pub const MASTER_KEY: usize = 16;
/// Length of the longest master salt, bytes.
pub const MASTER_SALT: usize = 14;
/// Bytes at the end of SRTCP that hold the E bit and the index.
const RTCP_INDEX: usize = 4;
/// Flag in front of the index: the packet is encrypted.
const RTCP_ENCRYPTED: u32 = 1 << 31;

/// Protection profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM`, 0x0007.
    AeadAes128Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`, 0x0001.
    Aes128CmSha1_80,
}

impl Profile {
    /// Identifier in the use_srtp extension of DTLS.
    pub const fn id(self) -> u16 {
        match self {
            Profile::AeadAes128Gcm => 0x0007,
            Profile::Aes128CmSha1_80 => 0x0001,
        }
    }

    /// The profile with that identifier.
    pub const fn from_id(id: u16) -> Option<Profile> {
        match id {
            0x0007 => Some(Profile::AeadAes128Gcm),
            0x0001 => Some(Profile::Aes128CmSha1_80),
            _ => None,
        }
    }

    /// Master key length, bytes.
    pub const fn key_len(self) -> usize {
        MASTER_KEY
    }

    /// Master salt length, bytes.
    pub const fn salt_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm => 12,
            Profile::Aes128CmSha1_80 => MASTER_SALT,
        }
    }

    /// Bytes that the DTLS exporter has to give: a key and a salt for each side.
    pub const fn exporter_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// Authentication tag, bytes. What SRTP adds to RTP.
    pub const fn tag_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm => 16,
            Profile::Aes128CmSha1_80 => 10,
        }
    }

    /// What SRTCP adds to RTCP, bytes: the tag, E bit and index.
    pub const fn rtcp_overhead(self) -> usize {
        self.tag_len() + RTCP_INDEX
    }
}

/// What the DTLS exporter gave, split for our role.
pub struct KeyingMaterial {
    /// Negotiated profile.
    pub profile: Profile,
    /// Master key for what we send.
    pub local_key: [u8; MASTER_KEY],
    /// Master salt for what we send; 12 bytes used with GCM, 14 with CM.
    pub local_salt: [u8; MASTER_SALT],
    /// Master key for what we receive.
    pub remote_key: [u8; MASTER_KEY],
    /// Master salt for what we receive.
    pub remote_salt: [u8; MASTER_SALT],
}

impl KeyingMaterial {
    /// Splits what the exporter labeled `EXTRACTOR-dtls_srtp` gave (RFC 5764 §4.2): client key, server key,
    /// client salt, server salt. `None` unless there are exactly [`Profile::exporter_len`] bytes.
    /// `is_client` says whether we are the DTLS client.
    pub fn from_exporter(
        profile: Profile,
        bytes: &[u8],
        is_client: bool,
    ) -> Option<KeyingMaterial> {
        if bytes.len() != profile.exporter_len() {
            return None;
        }
        let (client_key, rest) = bytes.split_first_chunk()?;
        let (server_key, salts) = rest.split_first_chunk()?;
        let (client_salt, server_salt) = salts.split_at_checked(profile.salt_len())?;
        let mut keys = KeyingMaterial {
            profile,
            local_key: *client_key,
            local_salt: [0; MASTER_SALT],
            remote_key: *server_key,
            remote_salt: [0; MASTER_SALT],
        };
        keys.local_salt
            .get_mut(..client_salt.len())?
            .copy_from_slice(client_salt);
        keys.remote_salt
            .get_mut(..server_salt.len())?
            .copy_from_slice(server_salt);
        if !is_client {
            let KeyingMaterial {
                local_key,
                local_salt,
                remote_key,
                remote_salt,
                ..
            } = &mut keys;
            std::mem::swap(local_key, remote_key);
            std::mem::swap(local_salt, remote_salt);
        }
        Some(keys)
    }

    /// The direction from the peer to us.
    pub fn inbound(&self) -> Inbound {
        Inbound::new(self.profile, &self.remote_key, &self.remote_salt)
    }

    /// The direction from us to the peer. Only one may ever be made of the same keys: a second one would
    /// repeat SRTCP indices (T29).
    pub fn outbound(&self) -> Outbound {
        Outbound::new(self.profile, &self.local_key, &self.local_salt)
    }
}

impl Drop for KeyingMaterial {
    fn drop(&mut self) {
        self.local_key.zeroize();
        self.local_salt.zeroize();
        self.remote_key.zeroize();
        self.remote_salt.zeroize();
    }
}

impl std::fmt::Debug for KeyingMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyingMaterial({:?})", self.profile)
    }
}

/// Why a packet was not opened. Nothing of it may be used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum OpenError {
    /// Shorter than its header and what SRTP adds (T30).
    #[error("too short")]
    TooShort,
    /// The output buffer is smaller than the plaintext.
    #[error("no room for the plaintext")]
    NoRoom,
    /// The SSRC is not allowed to send, or there are too many SRTCP senders (T31).
    #[error("unknown SSRC")]
    UnknownSsrc,
    /// The packet was received already.
    #[error("replay")]
    Replay,
    /// Behind the replay window, or from before the start of the stream (T27, T28).
    #[error("too old")]
    TooOld,
    /// SRTCP without encryption (T43).
    #[error("not encrypted")]
    NotEncrypted,
    /// The authentication tag is wrong.
    #[error("not authentic")]
    NotAuthentic,
}

impl OpenError {
    /// What to count for an SRTP packet.
    pub const fn rtp_counter(self) -> Counter {
        match self {
            OpenError::TooShort | OpenError::NoRoom => Counter::DropRtpMalformed,
            OpenError::UnknownSsrc => Counter::DropRtpSsrc,
            OpenError::Replay | OpenError::TooOld => Counter::DropSrtpReplay,
            OpenError::NotEncrypted | OpenError::NotAuthentic => Counter::DropSrtpAuth,
        }
    }

    /// What to count for an SRTCP packet.
    pub const fn rtcp_counter(self) -> Counter {
        match self {
            OpenError::TooShort | OpenError::NoRoom => Counter::DropRtcpMalformed,
            OpenError::Replay | OpenError::TooOld => Counter::DropSrtcpReplay,
            OpenError::UnknownSsrc | OpenError::NotEncrypted | OpenError::NotAuthentic => {
                Counter::DropSrtcpAuth
            }
        }
    }
}

/// Why a packet was not sealed. The buffer must not be sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum SealError {
    /// The buffer cannot take what SRTP adds, or the lengths given contradict each other.
    #[error("no room for the tag")]
    NoRoom,
    /// All indices of this SSRC are used up.
    #[error("index space exhausted")]
    Exhausted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_known_by_their_dtls_identifiers() {
        for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
            assert_eq!(Profile::from_id(profile.id()), Some(profile));
        }
        // Case 29: 0x0002 is AES-CM with a tag of 32 bits.
        assert_eq!(Profile::from_id(0x0002), None);
        assert_eq!(Profile::AeadAes128Gcm.exporter_len(), 56);
        assert_eq!(Profile::Aes128CmSha1_80.exporter_len(), 60);
    }

    #[test]
    fn the_exporter_gives_client_key_server_key_client_salt_server_salt() {
        let bytes: Vec<u8> = (0..60).collect();
        let client = KeyingMaterial::from_exporter(Profile::Aes128CmSha1_80, &bytes, true).unwrap();
        assert_eq!(client.local_key[..], bytes[..16]);
        assert_eq!(client.remote_key[..], bytes[16..32]);
        assert_eq!(client.local_salt[..], bytes[32..46]);
        assert_eq!(client.remote_salt[..], bytes[46..60]);

        let server =
            KeyingMaterial::from_exporter(Profile::AeadAes128Gcm, &bytes[..56], false).unwrap();
        assert_eq!(server.remote_key[..], bytes[..16]);
        assert_eq!(server.local_key[..], bytes[16..32]);
        assert_eq!(server.remote_salt[..], [&bytes[32..44], &[0, 0]].concat());
        assert_eq!(server.local_salt[..], [&bytes[44..56], &[0, 0]].concat());
    }

    #[test]
    fn another_length_of_exported_bytes_is_refused() {
        for len in [0, 55, 57, 60] {
            assert!(
                KeyingMaterial::from_exporter(Profile::AeadAes128Gcm, &vec![0; len], true)
                    .is_none()
            );
        }
    }

    #[test]
    fn keys_are_not_printed() {
        let keys =
            KeyingMaterial::from_exporter(Profile::AeadAes128Gcm, &[0x5A; 56], true).unwrap();
        assert_eq!(format!("{keys:?}"), "KeyingMaterial(AeadAes128Gcm)");
    }
}

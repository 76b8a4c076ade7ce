//! SRTP and SRTCP (RFC 3711, RFC 7714): opening what endpoints send, sealing what they get.

/// Protection profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM`, 0x0007.
    AeadAes128Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`, 0x0001.
    Aes128CmSha1_80,
}

/// What the DTLS exporter gave, split for our role.
pub struct KeyingMaterial {
    /// Negotiated profile.
    pub profile: Profile,
    /// Master key for what we send.
    pub local_key: [u8; 16],
    /// Master salt for what we send; 12 bytes used with GCM, 14 with CM.
    pub local_salt: [u8; 14],
    /// Master key for what we receive.
    pub remote_key: [u8; 16],
    /// Master salt for what we receive.
    pub remote_salt: [u8; 14],
}

impl Drop for KeyingMaterial {
    fn drop(&mut self) {
        use zeroize::Zeroize;
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

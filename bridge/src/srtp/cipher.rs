//! Session keys and the two transforms.
//!
//! Both transforms see a packet as three parts: a front that stays readable, a middle that is encrypted, and
//! what SRTP appends. The front is authenticated as well.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::{Zeroize, Zeroizing};

use super::ctr::{BLOCK, CounterMode, TooLong};
use super::mac::{self, MacKey, Message, TagDue};
use super::{MASTER_KEY, MASTER_SALT, Profile, RTCP_ENCRYPTED, RTCP_INDEX};

const GCM_SALT: usize = 12;
const GCM_TAG: usize = 16;
const CM_SALT: usize = 14;
const CM_TAG: usize = mac::TAG;
/// Part of RTCP that stays readable: the first header and the sender SSRC (RFC 3711 §3.4).
pub(super) const RTCP_FRONT: usize = 8;

/// The packet is forged, damaged, or sealed with another key or index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NotAuthentic;

/// A buffer does not have the length that was promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NoRoom;

/// Key derivation labels (RFC 3711 §4.3.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Labels {
    encryption: u8,
    authentication: u8,
    salt: u8,
}

impl Labels {
    pub(super) const RTP: Labels = Labels {
        encryption: 0,
        authentication: 1,
        salt: 2,
    };
    pub(super) const RTCP: Labels = Labels {
        encryption: 3,
        authentication: 4,
        salt: 5,
    };
}

/// Keys of SRTP or of SRTCP in one direction.
pub(super) enum Cipher {
    Gcm(Gcm),
    Cm(Box<Cm>),
}

/// AEAD_AES_128_GCM (RFC 7714).
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; GCM_SALT],
}

/// AES counter mode with HMAC-SHA1 of 80 bits (RFC 3711 §4.1.1, §4.2.1).
pub(super) struct Cm {
    cipher: CounterMode,
    mac: MacKey,
    salt: [u8; CM_SALT],
}

impl Drop for Gcm {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

impl Drop for Cm {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

impl Cipher {
    /// Derives the session keys. The master salt of GCM is its first 12 bytes.
    pub(super) fn derive(
        profile: Profile,
        key: &[u8; MASTER_KEY],
        salt: &[u8; MASTER_SALT],
        labels: Labels,
    ) -> Cipher {
        let master = CounterMode::new(key);
        let mut salt_used = Zeroizing::new([0; MASTER_SALT]);
        let salt_len = profile.salt_len();
        salt_used[..salt_len].copy_from_slice(&salt[..salt_len]);

        let session_key = derive(&master, &salt_used, labels.encryption);
        match profile {
            Profile::AeadAes128Gcm => {
                let session_salt = derive(&master, &salt_used, labels.salt);
                Cipher::gcm(&session_key, *session_salt)
            }
            Profile::Aes128CmSha1_80 => {
                let session_salt = derive(&master, &salt_used, labels.salt);
                let mac = derive(&master, &salt_used, labels.authentication);
                Cipher::cm(&session_key, *session_salt, &mac)
            }
        }
    }

    /// GCM with ready session keys.
    pub(super) fn gcm(key: &[u8; MASTER_KEY], salt: [u8; GCM_SALT]) -> Cipher {
        let key = UnboundKey::new(&AES_128_GCM, key).expect("AES-128 keys have 16 bytes");
        Cipher::Gcm(Gcm {
            key: LessSafeKey::new(key),
            salt,
        })
    }

    /// CM with ready session keys.
    pub(super) fn cm(key: &[u8; MASTER_KEY], salt: [u8; CM_SALT], mac: &[u8; mac::KEY]) -> Cipher {
        let mac = MacKey::new(mac);
        Cipher::Cm(Box::new(Cm {
            cipher: CounterMode::new(key),
            mac,
            salt,
        }))
    }

    /// Authenticates `packet` and writes its plaintext to `out`, which has to be as long as the packet without
    /// tag. The front is `front` bytes long. `out` is not written, or is wiped, if the packet is not authentic.
    #[inline]
    pub(super) fn open_rtp(
        &self,
        ssrc: u32,
        index: u64,
        front: usize,
        packet: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        match self {
            Cipher::Gcm(gcm) => {
                let (body, tag) = packet.split_last_chunk::<GCM_TAG>().ok_or(NotAuthentic)?;
                let aad = body.get(..front).ok_or(NotAuthentic)?;
                gcm.open(gcm.rtp_nonce(ssrc, index), aad, front, body, tag, out)
            }
            Cipher::Cm(cm) => {
                let (body, tag) = packet.split_last_chunk::<CM_TAG>().ok_or(NotAuthentic)?;
                cm.verify(body, rollover_counter(index), tag)?;
                cm.decrypt(cm.iv(ssrc, index), front, body, out)
            }
        }
    }

    /// Like [`Cipher::open_rtp`] for a packet whose parts are not in the order of the wire, as those with
    /// cryptex and CSRCs: `packet` is what the tag of CM covers, `out` already holds the reordered ciphertext
    /// without tag.
    pub(super) fn open_reordered(
        &self,
        ssrc: u32,
        index: u64,
        front: usize,
        packet: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let (aad, middle) = out.split_at_mut_checked(front).ok_or(NotAuthentic)?;
        match self {
            Cipher::Gcm(gcm) => {
                let (_, tag) = packet.split_last_chunk::<GCM_TAG>().ok_or(NotAuthentic)?;
                let nonce = gcm.rtp_nonce(ssrc, index);
                let opened = gcm
                    .key
                    .open_in_place_separate_tag(nonce, Aad::from(aad), tag, middle);
                opened.map(|_| ()).map_err(|_| NotAuthentic)
            }
            Cipher::Cm(cm) => {
                let (body, tag) = packet.split_last_chunk::<CM_TAG>().ok_or(NotAuthentic)?;
                cm.verify(body, rollover_counter(index), tag)?;
                cm.apply(cm.iv(ssrc, index), middle)
                    .map_err(|_| NotAuthentic)
            }
        }
    }

    /// Encrypts what is between `front` and `len` in place. The tag is [`Cipher::tag_rtp`]'s for CM, and
    /// comes with the encryption for GCM.
    #[inline]
    pub(super) fn encrypt_rtp(
        &self,
        ssrc: u32,
        index: u64,
        front: usize,
        len: usize,
        buffer: &mut [u8],
    ) -> Result<(), NoRoom> {
        let (aad, rest) = buffer.split_at_mut_checked(front).ok_or(NoRoom)?;
        let middle_len = len.checked_sub(front).ok_or(NoRoom)?;
        let (middle, room) = rest.split_at_mut_checked(middle_len).ok_or(NoRoom)?;
        match self {
            Cipher::Gcm(gcm) => gcm.seal(gcm.rtp_nonce(ssrc, index), aad, middle, room),
            Cipher::Cm(cm) => cm.apply(cm.iv(ssrc, index), middle),
        }
    }

    /// Whether this is GCM, which can encrypt from elsewhere.
    #[inline]
    pub(super) fn is_gcm(&self) -> bool {
        matches!(self, Cipher::Gcm(_))
    }

    /// GCM: seals `payload` behind the front of `buffer` and returns the length of the whole packet.
    #[inline]
    pub(super) fn encrypt_rtp_from(
        &self,
        ssrc: u32,
        index: u64,
        front: usize,
        payload: &[u8],
        buffer: &mut [u8],
    ) -> Result<usize, NoRoom> {
        let Cipher::Gcm(gcm) = self else {
            return Err(NoRoom);
        };
        let (aad, rest) = buffer.split_at_mut_checked(front).ok_or(NoRoom)?;
        let (out, room) = rest.split_at_mut_checked(payload.len()).ok_or(NoRoom)?;
        let tag = room.get_mut(..GCM_TAG).ok_or(NoRoom)?;
        let nonce = gcm.rtp_nonce(ssrc, index);
        let sealed =
            gcm.key
                .seal_out_of_place_scatter(nonce, Aad::from(aad), payload, out, &[], tag);
        sealed.map_err(|_| NoRoom)?;
        Ok(front + payload.len() + GCM_TAG)
    }

    /// Appends the tag over the first `len` bytes, if the transform has a separate one. Returns the length of
    /// the whole packet.
    #[inline]
    pub(super) fn tag_rtp(
        &self,
        index: u64,
        len: usize,
        buffer: &mut [u8],
    ) -> Result<usize, NoRoom> {
        match self {
            Cipher::Gcm(_) => Ok(len + GCM_TAG),
            Cipher::Cm(cm) => {
                let (packet, room) = buffer.split_at_mut_checked(len).ok_or(NoRoom)?;
                *room.first_chunk_mut().ok_or(NoRoom)? = cm.tag(packet, rollover_counter(index));
                Ok(len + CM_TAG)
            }
        }
    }

    /// What [`Cipher::tag_rtp`] would compute now, to be computed with others: the length of the whole packet, and what its
    /// tag needs, unless it has one already.
    #[inline]
    pub(super) fn tag_rtp_later(
        &self,
        index: u64,
        len: usize,
        room: usize,
    ) -> Result<(usize, Option<TagDue>), NoRoom> {
        match self {
            Cipher::Gcm(_) => Ok((len + GCM_TAG, None)),
            Cipher::Cm(_) if room < len + CM_TAG => Err(NoRoom),
            Cipher::Cm(cm) => {
                let due = TagDue {
                    key: cm.mac.clone(),
                    suffix: rollover_counter(index),
                };
                Ok((len + CM_TAG, Some(due)))
            }
        }
    }

    /// Where tag and index of SRTCP are: (start of the tag, start of the index) for a packet of this length.
    pub(super) fn rtcp_trailer(&self, len: usize) -> Option<(usize, usize)> {
        let (tag, index) = match self {
            Cipher::Gcm(_) => (
                len.checked_sub(GCM_TAG + RTCP_INDEX)?,
                len.checked_sub(RTCP_INDEX)?,
            ),
            Cipher::Cm(_) => (
                len.checked_sub(CM_TAG)?,
                len.checked_sub(CM_TAG + RTCP_INDEX)?,
            ),
        };
        Some((tag, index)).filter(|(tag, index)| tag.min(index) >= &RTCP_FRONT)
    }

    /// Authenticates an SRTCP packet and writes its plaintext to `out`, which has to be as long as the packet
    /// without tag and index. `out` is not written, or is wiped, if it is not authentic.
    pub(super) fn open_rtcp(
        &self,
        ssrc: u32,
        index: u32,
        packet: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        match self {
            Cipher::Gcm(gcm) => {
                let (packet, flagged) = packet
                    .split_last_chunk::<RTCP_INDEX>()
                    .ok_or(NotAuthentic)?;
                let (body, tag) = packet.split_last_chunk::<GCM_TAG>().ok_or(NotAuthentic)?;
                let aad = rtcp_aad(body, *flagged).ok_or(NotAuthentic)?;
                gcm.open(
                    gcm.rtcp_nonce(ssrc, index),
                    &aad,
                    RTCP_FRONT,
                    body,
                    tag,
                    out,
                )
            }
            Cipher::Cm(cm) => {
                let (covered, tag) = packet.split_last_chunk::<CM_TAG>().ok_or(NotAuthentic)?;
                let (body, flagged) = covered
                    .split_last_chunk::<RTCP_INDEX>()
                    .ok_or(NotAuthentic)?;
                cm.verify(body, *flagged, tag)?;
                cm.decrypt(cm.iv(ssrc, u64::from(index)), RTCP_FRONT, body, out)
            }
        }
    }

    /// Seals the RTCP packet in the first `len` bytes and returns the length of the result.
    pub(super) fn seal_rtcp(
        &self,
        ssrc: u32,
        index: u32,
        len: usize,
        buffer: &mut [u8],
    ) -> Result<usize, NoRoom> {
        let flagged = (index | RTCP_ENCRYPTED).to_be_bytes();
        let (packet, room) = buffer.split_at_mut_checked(len).ok_or(NoRoom)?;
        match self {
            Cipher::Gcm(gcm) => {
                let aad = rtcp_aad(packet, flagged).ok_or(NoRoom)?;
                let (_, middle) = packet.split_at_mut_checked(RTCP_FRONT).ok_or(NoRoom)?;
                let (tag, room) = room.split_at_mut_checked(GCM_TAG).ok_or(NoRoom)?;
                *room.first_chunk_mut().ok_or(NoRoom)? = flagged;
                gcm.seal(gcm.rtcp_nonce(ssrc, index), &aad, middle, tag)?;
                Ok(len + GCM_TAG + RTCP_INDEX)
            }
            Cipher::Cm(cm) => {
                let (place, room) = room.split_first_chunk_mut().ok_or(NoRoom)?;
                let tag: &mut [u8; CM_TAG] = room.first_chunk_mut().ok_or(NoRoom)?;
                let (_, middle) = packet.split_at_mut_checked(RTCP_FRONT).ok_or(NoRoom)?;
                *place = flagged;
                cm.apply(cm.iv(ssrc, u64::from(index)), middle)?;
                *tag = cm.tag(packet, flagged);
                Ok(len + RTCP_INDEX + CM_TAG)
            }
        }
    }
}

impl Gcm {
    /// Zeros, SSRC, rollover counter, sequence number, XOR salt (RFC 7714 §8.1).
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> Nonce {
        self.nonce(u128::from(ssrc) << 48 | u128::from(index))
    }

    /// Zeros, SSRC, zeros, index, XOR salt (RFC 7714 §9.1).
    fn rtcp_nonce(&self, ssrc: u32, index: u32) -> Nonce {
        self.nonce(u128::from(ssrc) << 48 | u128::from(index))
    }

    fn nonce(&self, value: u128) -> Nonce {
        let [_, _, _, _, value @ ..] = value.to_be_bytes();
        let mut nonce = self.salt;
        for (byte, value) in nonce.iter_mut().zip(value) {
            *byte ^= value;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    fn open(
        &self,
        nonce: Nonce,
        aad: &[u8],
        front: usize,
        body: &[u8],
        tag: &[u8; GCM_TAG],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let (front, middle) = body.split_at_checked(front).ok_or(NotAuthentic)?;
        let (front_out, middle_out) = out.split_at_mut_checked(front.len()).ok_or(NotAuthentic)?;
        self.key
            .open_separate_gather(nonce, Aad::from(aad), middle, tag, middle_out)
            .map_err(|_| NotAuthentic)?;
        front_out.copy_from_slice(front);
        Ok(())
    }

    fn seal(
        &self,
        nonce: Nonce,
        aad: &[u8],
        middle: &mut [u8],
        room: &mut [u8],
    ) -> Result<(), NoRoom> {
        let tag = room.get_mut(..GCM_TAG).ok_or(NoRoom)?;
        self.key
            .seal_in_place_scatter(nonce, Aad::from(aad), middle, &[], tag)
            .map_err(|_| NoRoom)
    }
}

impl Cm {
    /// Salt, SSRC and index at their places, block counter 0 (RFC 3711 §4.1.1).
    fn iv(&self, ssrc: u32, index: u64) -> [u8; BLOCK] {
        let mut iv = [0; BLOCK];
        iv[..CM_SALT].copy_from_slice(&self.salt);
        let value = u128::from(ssrc) << 64 | u128::from(index) << 16;
        (u128::from_be_bytes(iv) ^ value).to_be_bytes()
    }

    fn apply(&self, iv: [u8; BLOCK], data: &mut [u8]) -> Result<(), NoRoom> {
        self.cipher.apply(iv, data).map_err(|TooLong| NoRoom)
    }

    fn decrypt(
        &self,
        iv: [u8; BLOCK],
        front: usize,
        body: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        if out.len() != body.len() {
            return Err(NotAuthentic);
        }
        out.copy_from_slice(body);
        let middle = out.get_mut(front..).ok_or(NotAuthentic)?;
        self.apply(iv, middle).map_err(|_| NotAuthentic)
    }

    /// The tag over the packet and what follows it.
    fn tag(&self, packet: &[u8], suffix: [u8; 4]) -> [u8; CM_TAG] {
        let key = &self.mac;
        mac::single(&Message {
            key,
            packet,
            suffix,
        })
    }

    fn verify(
        &self,
        packet: &[u8],
        suffix: [u8; 4],
        tag: &[u8; CM_TAG],
    ) -> Result<(), NotAuthentic> {
        verify_slices_are_equal(&self.tag(packet, suffix), tag).map_err(|_| NotAuthentic)
    }
}

/// Part of the index that the packet does not carry; the tag of CM covers it.
fn rollover_counter(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// Front of the packet, then E bit and index (RFC 7714 §9.2).
fn rtcp_aad(packet: &[u8], flagged: [u8; RTCP_INDEX]) -> Option<[u8; RTCP_FRONT + RTCP_INDEX]> {
    let mut aad = [0; RTCP_FRONT + RTCP_INDEX];
    aad[..RTCP_FRONT].copy_from_slice(packet.get(..RTCP_FRONT)?);
    aad[RTCP_FRONT..].copy_from_slice(&flagged);
    Some(aad)
}

/// One session key: the key stream of the master key at (label ‖ 0) XOR salt, key derivation rate 0
/// (RFC 3711 §4.3.1, §4.3.3).
pub(super) fn derive<const N: usize>(
    master: &CounterMode,
    salt: &[u8; MASTER_SALT],
    label: u8,
) -> Zeroizing<[u8; N]> {
    const LABEL: usize = 7;
    let mut iv = Zeroizing::new([0; BLOCK]);
    iv[..MASTER_SALT].copy_from_slice(salt);
    iv[LABEL] ^= label;
    let mut key = Zeroizing::new([0; N]);
    let derived = master.apply(*iv, &mut *key);
    derived.expect("a key is short");
    key
}

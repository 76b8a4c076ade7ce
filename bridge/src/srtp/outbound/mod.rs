//! Sealing packets for one peer.

use crate::limits::MAX_RTCP_INDICES;
use crate::srtp::cipher::{Cipher, Labels, NoRoom, RTCP_FRONT};
use crate::srtp::mac::TagDue;
use crate::srtp::replay::MAX_INDEX;
use crate::srtp::{MASTER_KEY, MASTER_SALT, Profile, RTCP_ENCRYPTED, SealError};
use crate::wire::rtp::{self, EXTENSION_HEADER, FIXED_HEADER};

/// The direction from us to the peer.
///
/// There is no copy of it: whoever owns it owns the indices of its SSRCs.
pub struct Outbound {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    rtcp_indices: RtcpIndices,
    cryptex: bool,
    #[cfg(debug_assertions)]
    audit: crate::srtp::audit::Audit,
}

impl Outbound {
    /// Derives the session keys. GCM uses the first 12 bytes of the salt.
    pub fn new(profile: Profile, key: &[u8; MASTER_KEY], salt: &[u8; MASTER_SALT]) -> Outbound {
        Outbound {
            profile,
            rtp: Cipher::derive(profile, key, salt, Labels::RTP),
            rtcp: Cipher::derive(profile, key, salt, Labels::RTCP),
            rtcp_indices: RtcpIndices::default(),
            cryptex: false,
            #[cfg(debug_assertions)]
            audit: crate::srtp::audit::Audit::default(),
        }
    }

    /// The negotiated profile.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Whether header extensions are encrypted as well (RFC 9335); off at first. For peers that said that they
    /// understand it. Packets with CSRCs, which the bridge does not make, are sealed without it.
    pub fn set_cryptex(&mut self, cryptex: bool) {
        self.cryptex = cryptex;
    }

    /// Bytes that sealing adds to RTP.
    pub fn overhead(&self) -> usize {
        self.profile.tag_len()
    }

    /// Bytes that sealing adds to RTCP.
    pub fn rtcp_overhead(&self) -> usize {
        self.profile.rtcp_overhead()
    }

    /// Seals the RTP packet in the first `len` bytes of `buffer`, whose header takes `header_len`, in place, and
    /// returns the length of the SRTP packet.
    ///
    /// `index` is the rollover counter (upper 32 bits) and the sequence number in the header; `ssrc` is the one
    /// in the header. The caller owns the SSRC and never gives two different packets one index (T29): the same
    /// bytes may be sealed again, anything else needs a new index. Debug builds panic on a violation.
    ///
    /// # Errors
    /// See [`SealError`]; the buffer's content is undefined then.
    #[inline]
    pub fn seal_rtp(
        &mut self,
        ssrc: u32,
        index: u64,
        buffer: &mut [u8],
        header_len: usize,
        len: usize,
    ) -> Result<usize, SealError> {
        self.encrypt_rtp(ssrc, index, buffer, header_len, len)?;
        Ok(self.rtp.tag_rtp(index, len, buffer)?)
    }

    /// Like [`Outbound::seal_rtp`], but leaves a tag that can be computed together with those of other receivers to the caller
    /// (see [`mac`](crate::srtp::mac)); the length is that of the whole packet.
    ///
    /// # Errors
    /// See [`SealError`]; the buffer's content is undefined then.
    #[inline]
    pub fn seal_rtp_later(
        &mut self,
        ssrc: u32,
        index: u64,
        buffer: &mut [u8],
        header_len: usize,
        len: usize,
    ) -> Result<(usize, Option<TagDue>), SealError> {
        self.encrypt_rtp(ssrc, index, buffer, header_len, len)?;
        Ok(self.rtp.tag_rtp_later(index, len, buffer.len())?)
    }

    #[inline]
    fn encrypt_rtp(
        &mut self,
        ssrc: u32,
        index: u64,
        buffer: &mut [u8],
        header_len: usize,
        len: usize,
    ) -> Result<(), SealError> {
        self.check(ssrc, index, buffer, header_len, len)?;
        let is_cryptex = self.cryptex && rtp::mark_cryptex(buffer);
        let front = if is_cryptex {
            FIXED_HEADER + EXTENSION_HEADER
        } else {
            header_len
        };
        Ok(self.rtp.encrypt_rtp(ssrc, index, front, len, buffer)?)
    }

    /// Like [`Outbound::seal_rtp`] with the payload elsewhere: only the header is at the front of `buffer`. Saves
    /// the copy of a payload that many receivers get unchanged.
    ///
    /// # Errors
    /// See [`SealError`]; the buffer's content is undefined then.
    #[inline]
    pub fn seal_rtp_from(
        &mut self,
        ssrc: u32,
        index: u64,
        buffer: &mut [u8],
        header_len: usize,
        payload: &[u8],
    ) -> Result<usize, SealError> {
        let len = header_len.saturating_add(payload.len());
        // Debug builds want to see the whole packet, cryptex and CM need it in one piece.
        if cfg!(debug_assertions) || self.cryptex || !self.rtp.is_gcm() {
            let place = buffer.get_mut(header_len..len).ok_or(SealError::NoRoom)?;
            place.copy_from_slice(payload);
        }
        if self.cryptex || !self.rtp.is_gcm() {
            return self.seal_rtp(ssrc, index, buffer, header_len, len);
        }
        self.check(ssrc, index, buffer, header_len, len)?;
        Ok(self
            .rtp
            .encrypt_rtp_from(ssrc, index, header_len, payload, buffer)?)
    }

    #[inline]
    fn check(
        &mut self,
        ssrc: u32,
        index: u64,
        buffer: &[u8],
        header_len: usize,
        len: usize,
    ) -> Result<(), SealError> {
        if index > MAX_INDEX {
            return Err(SealError::Exhausted);
        }
        let room = buffer.len().checked_sub(self.overhead());
        if header_len < FIXED_HEADER || len < header_len || room.is_none_or(|room| room < len) {
            return Err(SealError::NoRoom);
        }
        #[cfg(debug_assertions)]
        self.audit
            .check(ssrc, index, buffer.get(..len).unwrap_or_default());
        #[cfg(not(debug_assertions))]
        let _ = (ssrc, buffer);
        Ok(())
    }

    /// Seals the RTCP compound in the first `len` bytes of `buffer` in place and returns the length of the SRTCP
    /// packet. The index counts from 0 for every sender SSRC (case 41).
    ///
    /// # Errors
    /// See [`SealError`]; the buffer's content is undefined then.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SealError> {
        if len < RTCP_FRONT || buffer.len() < len + self.rtcp_overhead() {
            return Err(SealError::NoRoom);
        }
        let ssrc = buffer
            .get(RTCP_FRONT - 4..)
            .and_then(|rest| rest.first_chunk());
        let ssrc = u32::from_be_bytes(*ssrc.ok_or(SealError::NoRoom)?);
        let index = self.rtcp_indices.take(ssrc).ok_or(SealError::Exhausted)?;
        Ok(self.rtcp.seal_rtcp(ssrc, index, len, buffer)?)
    }
}

impl From<NoRoom> for SealError {
    fn from(_: NoRoom) -> SealError {
        SealError::NoRoom
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// The next SRTCP index of every sender SSRC.
///
/// The table is bounded although SSRCs come and go for as long as the transport lives. When it is full, all
/// entries are forgotten and every SSRC goes on behind the highest of their indices, so that none is used
/// twice (T29).
#[derive(Debug, Default)]
struct RtcpIndices {
    /// Ordered by SSRC.
    next: Vec<(u32, u32)>,
    /// Where SSRCs begin that are not in the table.
    floor: u32,
}

impl RtcpIndices {
    /// The index for the next packet, below 2³¹.
    fn take(&mut self, ssrc: u32) -> Option<u32> {
        let at = match self.next.binary_search_by_key(&ssrc, |(known, _)| *known) {
            Ok(at) => at,
            Err(at) if self.next.len() < MAX_RTCP_INDICES => {
                self.next.insert(at, (ssrc, self.floor));
                at
            }
            Err(_) => {
                self.floor = self
                    .next
                    .iter()
                    .map(|(_, next)| *next)
                    .fold(self.floor, u32::max);
                self.next.clear();
                self.next.push((ssrc, self.floor));
                0
            }
        };
        let (_, next) = self.next.get_mut(at)?;
        let index = *next;
        if index >= RTCP_ENCRYPTED {
            return None;
        }
        *next += 1;
        Some(index)
    }
}

#[cfg(test)]
mod tests;

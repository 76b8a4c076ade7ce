//! Opening packets of one peer.

use crate::limits::{
    MAX_RETIRED_SSRCS, MAX_RTCP_SENDERS, MAX_SSRCS_PER_ENDPOINT, ROLLOVER_TRIAL_INTERVAL,
    RTCP_REPLAY_WINDOW, RTP_REPLAY_WINDOW,
};
use crate::srtp::cipher::{Cipher, Labels, NotAuthentic, RTCP_FRONT};
use crate::srtp::replay::{MAX_INDEX, ROLLOVER, Verdict, Window, guess};
use crate::srtp::{MASTER_KEY, MASTER_SALT, OpenError, Profile, RTCP_ENCRYPTED};
use crate::wire::rtp::{self, EXTENSION_HEADER, FIXED_HEADER, RtpHeader};

type RtpWindow = Window<{ RTP_REPLAY_WINDOW / 64 + 1 }>;
type RtcpWindow = Window<{ RTCP_REPLAY_WINDOW / 64 + 1 }>;
const _: () = assert!(RtpWindow::SIZE == RTP_REPLAY_WINDOW as u64);
const _: () = assert!(RtcpWindow::SIZE == RTCP_REPLAY_WINDOW as u64);

/// The SSRC was refused: the endpoint has as many as it may have (T31).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many SSRCs")]
pub struct Full;

/// An opened RTP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Length of the plaintext, bytes. Its header is where and what it was in the datagram; with cryptex, CSRCs
    /// and extension are plain now, and the bytes of the extension profile are those of RFC 8285.
    pub len: usize,
    /// Rollover counter (upper 32 bits) and sequence number of the packet: an extended sequence number.
    pub index: u64,
}

/// The direction from the peer to us.
pub struct Inbound {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    /// SSRCs that may send; `streams` has the state of each at the same place. Apart, because every packet
    /// searches them.
    ssrcs: Vec<u32>,
    streams: Vec<Stream>,
    /// SSRCs that may no longer send, and their highest index. They come back with it.
    retired: Vec<(u32, u64)>,
    /// Replay state by sender, ordered. An entry is only made for an authentic packet.
    rtcp_senders: Vec<(u32, RtcpWindow)>,
}

struct Stream {
    window: RtpWindow,
    /// Failures until the next one is tried with another rollover counter.
    trial_in: u8,
}

impl Inbound {
    /// Derives the session keys. GCM uses the first 12 bytes of the salt.
    pub fn new(profile: Profile, key: &[u8; MASTER_KEY], salt: &[u8; MASTER_SALT]) -> Inbound {
        Inbound {
            profile,
            rtp: Cipher::derive(profile, key, salt, Labels::RTP),
            rtcp: Cipher::derive(profile, key, salt, Labels::RTCP),
            ssrcs: Vec::new(),
            streams: Vec::new(),
            retired: Vec::new(),
            rtcp_senders: Vec::new(),
        }
    }

    /// The negotiated profile.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Lets packets with this SSRC in. One that was allowed before goes on where it was, so that neither its
    /// rollover counter is lost nor an old packet accepted again.
    ///
    /// # Errors
    /// [`Full`] beyond [`MAX_SSRCS_PER_ENDPOINT`] SSRCs at once, or beyond [`MAX_RETIRED_SSRCS`] that came and
    /// went: state is never evicted in favour of another SSRC.
    pub fn allow(&mut self, ssrc: u32) -> Result<(), Full> {
        if self.is_allowed(ssrc) {
            return Ok(());
        }
        if self.ssrcs.len() >= MAX_SSRCS_PER_ENDPOINT {
            return Err(Full);
        }
        let window = match self
            .retired
            .iter()
            .position(|(retired, _)| *retired == ssrc)
        {
            Some(at) => RtpWindow::resumed(self.retired.swap_remove(at).1),
            // Each of them must find a place when it retires.
            None if self.ssrcs.len() + self.retired.len() >= MAX_RETIRED_SSRCS => return Err(Full),
            None => RtpWindow::new(),
        };
        self.ssrcs.push(ssrc);
        self.streams.push(Stream {
            window,
            trial_in: 0,
        });
        Ok(())
    }

    /// Stops letting packets with this SSRC in.
    pub fn disallow(&mut self, ssrc: u32) {
        if let Some(at) = self.slot(ssrc) {
            self.ssrcs.swap_remove(at);
            let stream = self.streams.swap_remove(at);
            if let Some(highest) = stream.window.highest() {
                self.retired.push((ssrc, highest));
            }
        }
    }

    /// Whether packets with this SSRC are let in.
    pub fn is_allowed(&self, ssrc: u32) -> bool {
        self.slot(ssrc).is_some()
    }

    #[inline]
    fn slot(&self, ssrc: u32) -> Option<usize> {
        self.ssrcs.iter().position(|allowed| *allowed == ssrc)
    }

    /// Whether a packet's sequence number is near those that its SSRC sent last: as near as the replay window
    /// is long, before or behind. Costs no cryptography (T25).
    pub fn is_expected(&self, header: &RtpHeader) -> bool {
        let stream = self.slot(header.ssrc).and_then(|at| self.streams.get(at));
        let Some(highest) = stream.and_then(|stream| stream.window.highest()) else {
            return true;
        };
        let distance = header.sequence.wrapping_sub(highest as u16) as i16;
        usize::from(distance.unsigned_abs()) < RTP_REPLAY_WINDOW
    }

    /// Opens an SRTP packet: header as parsed from `datagram`, plaintext into the front of `out`.
    ///
    /// The index is guessed from the sequence number (RFC 3711 §3.3.1). If that fails, one failure in
    /// [`ROLLOVER_TRIAL_INTERVAL`] is tried one rollover later, which finds a stream again after a gap of more
    /// than 2¹⁵ packets and one whose start was missed (T28).
    ///
    /// # Errors
    /// See [`OpenError`]. Then no state has changed (the trial count apart), and `out` holds nothing of the
    /// packet's plaintext.
    #[inline]
    pub fn open_rtp(
        &mut self,
        header: &RtpHeader,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Result<Opened, OpenError> {
        let slot = self.slot(header.ssrc).ok_or(OpenError::UnknownSsrc)?;
        let stream = self.streams.get_mut(slot).ok_or(OpenError::UnknownSsrc)?;

        let len = datagram
            .len()
            .checked_sub(self.profile.tag_len())
            .ok_or(OpenError::TooShort)?;
        if len < usize::from(header.payload_start) {
            return Err(OpenError::TooShort);
        }
        let out = out.get_mut(..len).ok_or(OpenError::NoRoom)?;

        let guessed = match stream.window.highest() {
            Some(highest) => guess(highest, header.sequence),
            None => Some(u64::from(header.sequence)),
        };
        let failure = match guessed {
            Some(index) => match stream.window.check(index) {
                Verdict::Fresh => match open_at(&self.rtp, header, index, datagram, out) {
                    Ok(()) => {
                        stream.window.accept(index);
                        return Ok(Opened { len, index });
                    }
                    Err(error) => error,
                },
                Verdict::Seen => return Err(OpenError::Replay),
                Verdict::TooOld => OpenError::TooOld,
            },
            None => OpenError::TooOld,
        };

        if stream.trial_in > 0 {
            stream.trial_in -= 1;
            return Err(failure);
        }
        stream.trial_in = ROLLOVER_TRIAL_INTERVAL - 1;
        let later = guessed.map_or(u64::from(header.sequence), |index| index + ROLLOVER);
        if later > MAX_INDEX || stream.window.check(later) != Verdict::Fresh {
            return Err(failure);
        }
        open_at(&self.rtp, header, later, datagram, out).map_err(|_| failure)?;
        stream.window.accept(later);
        stream.trial_in = 0;
        Ok(Opened { len, index: later })
    }

    /// Opens an SRTCP packet into the front of `out` and returns the plaintext's length. Any sender SSRC may
    /// speak, signaled or not; its replay state is kept from its first authentic packet on.
    ///
    /// # Errors
    /// See [`OpenError`]; [`OpenError::UnknownSsrc`] for a new sender when [`MAX_RTCP_SENDERS`] are known.
    pub fn open_rtcp(&mut self, datagram: &[u8], out: &mut [u8]) -> Result<usize, OpenError> {
        let (tag_at, index_at) = self
            .rtcp
            .rtcp_trailer(datagram.len())
            .ok_or(OpenError::TooShort)?;
        let word = |at: usize| {
            let bytes = datagram.get(at..).and_then(|rest| rest.first_chunk());
            bytes
                .copied()
                .map(u32::from_be_bytes)
                .ok_or(OpenError::TooShort)
        };
        let ssrc = word(RTCP_FRONT - 4)?;
        let flagged = word(index_at)?;
        if flagged & RTCP_ENCRYPTED == 0 {
            return Err(OpenError::NotEncrypted);
        }
        let index = flagged & !RTCP_ENCRYPTED;
        let len = tag_at.min(index_at);
        let out = out.get_mut(..len).ok_or(OpenError::NoRoom)?;

        match self
            .rtcp_senders
            .binary_search_by_key(&ssrc, |(sender, _)| *sender)
        {
            Ok(at) => {
                let (_, window) = self
                    .rtcp_senders
                    .get_mut(at)
                    .ok_or(OpenError::UnknownSsrc)?;
                match window.check(u64::from(index)) {
                    Verdict::Fresh => {}
                    Verdict::Seen => return Err(OpenError::Replay),
                    Verdict::TooOld => return Err(OpenError::TooOld),
                }
                self.rtcp
                    .open_rtcp(ssrc, index, datagram, out)
                    .map_err(|_| OpenError::NotAuthentic)?;
                window.accept(u64::from(index));
            }
            Err(_) if self.rtcp_senders.len() >= MAX_RTCP_SENDERS => {
                return Err(OpenError::UnknownSsrc);
            }
            Err(at) => {
                self.rtcp
                    .open_rtcp(ssrc, index, datagram, out)
                    .map_err(|_| OpenError::NotAuthentic)?;
                let mut window = RtcpWindow::new();
                window.accept(u64::from(index));
                self.rtcp_senders.insert(at, (ssrc, window));
            }
        }
        Ok(len)
    }
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound")
            .field("profile", &self.profile)
            .field("ssrcs", &self.ssrcs)
            .finish_non_exhaustive()
    }
}

/// Opens a packet at an index.
#[inline]
fn open_at(
    cipher: &Cipher,
    header: &RtpHeader,
    index: u64,
    datagram: &[u8],
    out: &mut [u8],
) -> Result<(), OpenError> {
    let opened = if header.is_cryptex() {
        open_cryptex(cipher, header, index, datagram, out)
    } else {
        cipher.open_rtp(
            header.ssrc,
            index,
            usize::from(header.payload_start),
            datagram,
            out,
        )
    };
    opened.map_err(|_| OpenError::NotAuthentic)
}

/// RFC 9335 §5.2 encrypts CSRCs, extension and payload as one piece, as if the CSRCs came behind the
/// extension's own header.
fn open_cryptex(
    cipher: &Cipher,
    header: &RtpHeader,
    index: u64,
    datagram: &[u8],
    out: &mut [u8],
) -> Result<(), NotAuthentic> {
    const FRONT: usize = FIXED_HEADER + EXTENSION_HEADER;
    if header.csrc_count == 0 {
        cipher.open_rtp(header.ssrc, index, FRONT, datagram, out)?;
    } else {
        let moved = FIXED_HEADER..usize::from(header.extension_start);
        out.copy_from_slice(datagram.get(..out.len()).ok_or(NotAuthentic)?);
        out.get_mut(moved.clone())
            .ok_or(NotAuthentic)?
            .rotate_right(EXTENSION_HEADER);
        cipher.open_reordered(header.ssrc, index, FRONT, datagram, out)?;
        out.get_mut(moved)
            .ok_or(NotAuthentic)?
            .rotate_left(EXTENSION_HEADER);
    }
    rtp::clear_cryptex(header, out);
    Ok(())
}

#[cfg(test)]
mod tests;

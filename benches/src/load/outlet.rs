//! From plain packets to sealed datagrams.

use causeway_bridge::cc::{ClusterId, SendSideEstimator};
use causeway_bridge::ids::Path;
use causeway_bridge::srtp::Outbound;
use causeway_bridge::time::Time;
use causeway_bridge::wire::extensions::{HeaderBuilder, abs_send_time};
use causeway_bridge::worker::egress::{ChainHint, Egress};

use super::formats::{ABS_SEND_TIME, AUDIO_LEVEL, DEPENDENCY, OPUS, TRANSPORT_CC};

/// IPv4 and UDP headers.
const HEADERS: usize = 28;
/// Largest plain packet.
const MAX_PLAIN: usize = 1_400;

/// The sending side of one client's connection.
pub struct Outlet {
    srtp: Outbound,
    transport_sequence: u16,
    /// What the other side's feedback says about the way to it, if that matters.
    pub estimator: Option<Box<SendSideEstimator>>,
    /// The probe that is being sent.
    pub cluster: Option<ClusterId>,
    /// RTP packets and bytes that left.
    pub packets: u64,
    pub bytes: u64,
}

impl Outlet {
    pub fn new(srtp: Outbound) -> Outlet {
        Outlet {
            srtp,
            // As the estimator counts.
            transport_sequence: 1,
            estimator: None,
            cluster: None,
            packets: 0,
            bytes: 0,
        }
    }

    /// Seals one RTP packet; `write` writes its payload and returns the length. `extra` is the audio level of audio, and the dependency
    /// descriptor of video, if there is one.
    pub fn rtp(
        &mut self,
        now: Time,
        out: (&mut Egress, Path),
        header: &HeaderBuilder,
        index: u64,
        extra: &[u8],
        write: impl FnOnce(&mut [u8]) -> usize,
    ) {
        let (egress, path) = out;
        let Some(slot) = egress.slot(MAX_PLAIN + self.srtp.overhead()) else {
            return;
        };
        let transport = self.transport_sequence.to_be_bytes();
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let time = abs_send_time(now);
        let elements: [(u8, &[u8]); 3] = match header.payload_type {
            OPUS => [(TRANSPORT_CC, &transport), (AUDIO_LEVEL, extra), (0, &[])],
            _ => [
                (TRANSPORT_CC, &transport),
                (ABS_SEND_TIME, &time),
                (DEPENDENCY, extra),
            ],
        };
        let count = elements.iter().filter(|(_, data)| !data.is_empty()).count();
        let Some(start) = header.write(slot, &elements[..count]) else {
            return;
        };
        let len = start + write(&mut slot[start..MAX_PLAIN]);
        if let Some(estimator) = &mut self.estimator {
            let size = len + self.srtp.overhead() + HEADERS;
            let number = estimator.on_sent(now, size, self.cluster);
            debug_assert_eq!(number.to_be_bytes(), transport);
        }
        if let Ok(sealed) = self.srtp.seal_rtp(header.ssrc, index, slot, start, len) {
            egress.commit(path, sealed, &mut ChainHint::default());
            self.packets += 1;
            self.bytes += sealed as u64;
        }
    }

    /// Seals an RTCP compound.
    pub fn rtcp(&mut self, out: (&mut Egress, Path), compound: &[u8]) {
        let (egress, path) = out;
        if compound.is_empty() {
            return;
        }
        let Some(slot) = egress.slot(compound.len() + self.srtp.rtcp_overhead()) else {
            return;
        };
        slot[..compound.len()].copy_from_slice(compound);
        if let Ok(sealed) = self.srtp.seal_rtcp(slot, compound.len()) {
            egress.commit(path, sealed, &mut ChainHint::default());
        }
    }
}

//! The retransmission stream (RFC 4588) and its budget.

use crate::limits;

/// One outgoing retransmission stream: its own SSRC and numbering.
#[derive(Debug)]
pub struct RtxSender {
    ssrc: u32,
    highest: u64,
}

impl RtxSender {
    /// `sequence` is the number before the first; see [`super::Start::random`].
    pub fn new(ssrc: u32, sequence: u16) -> RtxSender {
        RtxSender {
            ssrc,
            highest: u64::from(sequence),
        }
    }

    /// SSRC of the stream.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The next sequence number, extended: for a retransmission or for padding.
    pub fn next_sequence(&mut self) -> u64 {
        self.highest += 1;
        self.highest
    }
}

/// Bounds retransmissions to one receiver: a quarter of the bytes of media sent to it, and a burst on
/// top (T45). It needs no clock: what refills it is the media itself.
#[derive(Debug)]
pub struct RetransmissionBudget {
    /// Bytes · [`limits::RETRANSMISSION_DIVISOR`].
    credit: u64,
}

impl RetransmissionBudget {
    const MAX: u64 =
        limits::RETRANSMISSION_BURST * limits::MAX_DATAGRAM as u64 * limits::RETRANSMISSION_DIVISOR;

    /// The whole burst is available.
    pub fn new() -> RetransmissionBudget {
        RetransmissionBudget { credit: Self::MAX }
    }

    /// `bytes` of media were sent to the receiver, retransmissions and padding not counted.
    pub fn on_media(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_add(bytes as u64).min(Self::MAX);
    }

    /// Takes what a retransmission of `bytes` costs; false: do not send it.
    pub fn take(&mut self, bytes: usize) -> bool {
        let cost = (bytes as u64).saturating_mul(limits::RETRANSMISSION_DIVISOR);
        let affordable = cost <= self.credit;
        if affordable {
            self.credit -= cost;
        }
        affordable
    }
}

impl Default for RetransmissionBudget {
    fn default() -> Self {
        RetransmissionBudget::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_retransmission_stream_counts_by_itself_over_the_wrap_t29() {
        let mut rtx = RtxSender::new(7, 65_534);
        assert_eq!(
            [
                rtx.next_sequence(),
                rtx.next_sequence(),
                rtx.next_sequence()
            ],
            [65_535, 65_536, 65_537]
        );
        assert_eq!(rtx.ssrc(), 7);
    }

    #[test]
    fn a_nack_flood_gets_the_burst_and_a_quarter_of_the_media_t45() {
        let mut budget = RetransmissionBudget::new();
        let packet = limits::MAX_DATAGRAM;
        let burst = (0..1000).filter(|_| budget.take(packet)).count();
        assert_eq!(burst as u64, limits::RETRANSMISSION_BURST);
        let mut resent = 0;
        for _ in 0..1000 {
            budget.on_media(packet);
            resent += (0..10).filter(|_| budget.take(packet)).count();
        }
        assert_eq!(resent, 250);
    }

    #[test]
    fn credit_does_not_pile_up() {
        let mut budget = RetransmissionBudget::new();
        (0..1_000_000).for_each(|_| budget.on_media(1500));
        let burst = (0..1000)
            .filter(|_| budget.take(limits::MAX_DATAGRAM))
            .count();
        assert_eq!(burst as u64, limits::RETRANSMISSION_BURST);
    }
}

//! How much media one endpoint may send (T41).

use crate::limits;
use crate::time::Time;
use crate::token_bucket::TokenBucket;

/// Layers get a share of the burst each, from the top down; higher ranks are treated alike.
const RANKS: u64 = 8;

/// The ingress budget of one endpoint, applied after authentication.
///
/// Audio has its own, so a flood of video never silences its sender.
#[derive(Clone, Debug)]
pub struct IngressBudget {
    video_bits: TokenBucket,
    video_packets: TokenBucket,
    audio_bits: TokenBucket,
    audio_packets: TokenBucket,
}

impl Default for IngressBudget {
    fn default() -> Self {
        let bucket = |rate: u64| {
            TokenBucket::new(rate, rate * limits::INGRESS_BURST.as_millis() as u64 / 1000)
        };
        IngressBudget {
            video_bits: bucket(limits::INGRESS_VIDEO_BITRATE),
            video_packets: bucket(limits::INGRESS_VIDEO_PACKETS),
            audio_bits: bucket(limits::INGRESS_AUDIO_BITRATE),
            audio_packets: bucket(limits::INGRESS_AUDIO_PACKETS),
        }
    }
}

impl IngressBudget {
    /// A full budget.
    pub fn new() -> IngressBudget {
        IngressBudget::default()
    }

    /// Whether a video packet (or any that is not audio) may pass. `rank` is the position of its layer
    /// among the source's, 0 = lowest: each rank leaves an eighth of the burst to those below it, so
    /// that an endpoint that sends too much loses its top layers first.
    pub fn admit_video(&mut self, now: Time, bytes: usize, rank: u8) -> bool {
        let rank = u64::from(rank).min(RANKS - 1);
        let bits = bytes as u64 * 8;
        let bits_reserve = self.video_bits.burst() / RANKS * rank;
        let packets_reserve = self.video_packets.burst() / RANKS * rank;
        self.video_packets.available(now) > packets_reserve
            && self.video_bits.take(now, bits, bits_reserve)
            && self.video_packets.take(now, 1, packets_reserve)
    }

    /// Whether an audio packet may pass.
    pub fn admit_audio(&mut self, now: Time, bytes: usize) -> bool {
        self.audio_packets.available(now) > 0
            && self.audio_bits.take(now, bytes as u64 * 8, 0)
            && self.audio_packets.take(now, 1, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t41_ten_times_too_much_video_is_cut_to_the_rate_and_audio_stays() {
        let mut budget = IngressBudget::new();
        let mut passed = [0u64; 3];
        let mut audio = 0;
        // 300 Mbit/s for 10 s: every ms 1250 bytes of the lowest layer, the rest in two layers above.
        for ms in 0..10_000 {
            let now = Time::from_millis(ms);
            for packet in 0..30 {
                let rank = match packet {
                    0 => 0,
                    1..10 => 1,
                    _ => 2,
                };
                if budget.admit_video(now, 1_250, rank) {
                    passed[usize::from(rank)] += 1_250;
                }
            }
            audio += u32::from(ms % 20 == 0 && budget.admit_audio(now, 120));
        }
        assert_eq!(audio, 500);
        assert_eq!(
            passed[0],
            10_000 * 1_250,
            "the lowest layer fits and stays whole"
        );
        let total = passed.iter().sum::<u64>() * 8;
        assert!(total <= 11 * limits::INGRESS_VIDEO_BITRATE, "{total}");
        assert!(
            passed[2] * 8 < limits::INGRESS_VIDEO_BITRATE,
            "the top layer had the burst at most"
        );
    }

    #[test]
    fn t41_small_packets_are_limited_by_their_number() {
        let mut budget = IngressBudget::new();
        let passed =
            (0..100_000).filter(|packet| budget.admit_video(Time::from_micros(packet * 10), 20, 0));
        assert!((19_000..=20_000).contains(&passed.count()));
        let passed =
            (0..10_000).filter(|packet| budget.admit_audio(Time::from_micros(packet * 100), 20));
        assert!((1_900..=2_000).contains(&passed.count()));
    }
}

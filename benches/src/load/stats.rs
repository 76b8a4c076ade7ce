//! What is counted and measured, on each thread and summed.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest time that a histogram tells apart.
const MAX_MICROS: u64 = 120_000_000;
/// Significant digits: an error below one in a hundred.
const DIGITS: u8 = 2;

/// Times in µs.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Times {
        Times(Histogram::new_with_max(MAX_MICROS, DIGITS).expect("the bounds are in order"))
    }
}

impl Times {
    pub fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(MAX_MICROS);
        self.0.saturating_record(micros.min(MAX_MICROS));
    }

    pub fn add(&mut self, other: &Times) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// µs that this share of all times (0–1) does not exceed; 0 if there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        if self.0.is_empty() {
            0
        } else {
            self.0.value_at_quantile(share)
        }
    }

    pub fn max(&self) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.max() }
    }

    pub fn clear(&mut self) {
        self.0.reset();
    }
}

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)* ; $($(#[$time_doc:meta])* $time:ident,)*) => {
        /// What happened since the last look.
        #[derive(Clone, Debug, Default)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            $($(#[$time_doc])* pub $time: Times,)*
        }

        impl Stats {
            /// Adds what another thread or another second saw.
            pub fn add(&mut self, other: &Stats) {
                $(self.$name += other.$name;)*
                $(self.$time.add(&other.$time);)*
            }

            /// Forgets all.
            pub fn clear(&mut self) {
                $(self.$name = 0;)*
                $(self.$time.clear();)*
            }
        }
    };
}

stats! {
    /// RTP packets that clients sent.
    sent_packets,
    /// Their bytes with SRTP.
    sent_bytes,
    /// RTP packets that clients received, whatever they were.
    received_packets,
    /// Their bytes with SRTP.
    received_bytes,
    /// Of these: video that came for the first time.
    video_packets,
    /// Audio.
    audio_packets,
    /// Retransmissions that filled a hole.
    repaired_packets,
    /// Padding, and packets on a retransmission SSRC that were there already: probes for bandwidth.
    probe_packets,
    /// Packets that were received twice.
    duplicate_packets,
    /// Places in streams that were empty when a later packet came.
    missing_packets,
    /// Of these: filled by a packet that was only late.
    late_packets,
    /// Packets that could not be opened.
    bad_packets,
    /// Packets with a payload that no client sent.
    foreign_packets,
    /// Data channels that opened, and that closed or broke.
    channels_open,
    channels_lost,
    /// RTCP compounds received.
    rtcp_packets,
    /// Packets that the bridge asked for again.
    nacked_by_bridge,
    /// Packets asked for by clients.
    nacked_by_clients,
    /// Keyframe requests that clients sent.
    keyframe_requests,
    /// Keyframe requests that clients got.
    keyframes_asked,
    /// Complete frames.
    frames,
    /// µs of video that stood still.
    frozen_micros,
    /// Times that it did.
    freezes,
    /// µs of video in all: receivers times sources times time.
    watched_micros,
    /// Datagrams that the kernel refused to send.
    send_errors,
    /// Messages of the bridge channel.
    channel_messages,
    ;
    /// From handing a packet to the kernel until the kernel has it again.
    latency,
    /// The same for packets that had to be repaired.
    repaired_latency,
    /// How late the generator sent.
    send_lag,
    /// How long packets waited in the kernel for the generator.
    receive_lag,
    /// From the wish for another layer until its first frame is complete.
    switch_up,
    /// The same for a lower one.
    switch_down,
    /// From the start of joining (first request) until ICE and DTLS are done.
    connect,
    /// From the first request until the first audio or complete frame.
    first_media,
    /// From the first request until the first complete frame of video.
    first_frame,
}

impl Stats {
    /// Packets that never came.
    pub fn lost_packets(&self) -> u64 {
        self.missing_packets
            .saturating_sub(self.late_packets + self.repaired_packets)
    }

    /// Packets of media that should have come.
    pub fn expected_packets(&self) -> u64 {
        self.video_packets + self.audio_packets + self.repaired_packets + self.lost_packets()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close_and_threads_add_up() {
        let (mut a, mut b) = (Stats::default(), Stats::default());
        for micros in 1..=500 {
            a.latency.record(Duration::from_micros(micros));
            b.latency.record(Duration::from_micros(500 + micros));
        }
        a.missing_packets = 5;
        b.late_packets = 2;
        a.add(&b);
        let close = |got: u64, wanted: u64| got.abs_diff(wanted) <= wanted / 50;
        assert!(close(a.latency.quantile(0.5), 500) && close(a.latency.max(), 1_000));
        assert_eq!((a.latency.count(), a.lost_packets()), (1_000, 3));
        a.clear();
        assert_eq!(
            (a.latency.quantile(0.5), a.latency.max(), a.missing_packets),
            (0, 0, 0)
        );
    }
}

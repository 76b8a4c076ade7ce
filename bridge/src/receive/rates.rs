//! Bitrates over a sliding window, and those of a source's layers (allocation spec §9.4).

use crate::limits::MAX_LAYERS;
use crate::time::Time;
use crate::units::Bitrate;

/// `jmt.rtp.bitrate-calculator.window-size` with the `GoogleCc2` engine.
const WINDOW_MICROS: u64 = 1_000_000;
/// `jmt.rtp.bitrate-calculator.bucket-size` with the `GoogleCc2` engine.
const BUCKET_MICROS: u64 = 20_000;
const BUCKETS: usize = (WINDOW_MICROS / BUCKET_MICROS) as usize;

/// Bytes in the last second, in buckets of 20 ms.
#[derive(Clone, Debug)]
pub struct RateWindow {
    buckets: [u32; BUCKETS],
    /// Number of the newest bucket since the origin of time.
    newest: u64,
    /// Sum of all buckets.
    sum: u64,
    /// First addition since the window was empty.
    since: Time,
}

impl Default for RateWindow {
    fn default() -> Self {
        RateWindow {
            buckets: [0; BUCKETS],
            newest: 0,
            sum: 0,
            since: Time::ZERO,
        }
    }
}

impl RateWindow {
    /// Adds bytes; true if there were none in the window before.
    pub fn add(&mut self, now: Time, bytes: usize) -> bool {
        let number = now.as_micros() / BUCKET_MICROS;
        if number > self.newest {
            for skipped in 0..(number - self.newest).min(BUCKETS as u64) {
                let bucket = &mut self.buckets[((number - skipped) % BUCKETS as u64) as usize];
                self.sum -= u64::from(*bucket);
                *bucket = 0;
            }
            self.newest = number;
        }
        let was_empty = self.sum == 0;
        if was_empty {
            self.since = now;
        }
        let bucket = &mut self.buckets[(self.newest % BUCKETS as u64) as usize];
        let before = *bucket;
        *bucket = bucket.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.sum += u64::from(*bucket - before);
        was_empty && bytes > 0
    }

    /// Bytes of the last second.
    pub fn bytes(&self, now: Time) -> u64 {
        let number = now.as_micros() / BUCKET_MICROS;
        let expired = number.saturating_sub(self.newest).min(BUCKETS as u64);
        // The oldest buckets follow the newest one in the ring.
        let gone = (1..=expired)
            .map(|age| u64::from(self.buckets[((self.newest + age) % BUCKETS as u64) as usize]));
        self.sum - gone.sum::<u64>()
    }

    /// The rate: over a second, or since bytes began to come if that is shorter.
    pub fn rate(&self, now: Time) -> Bitrate {
        let micros = now.as_micros().saturating_sub(self.since.as_micros());
        let micros = micros.clamp(BUCKET_MICROS, WINDOW_MICROS);
        Bitrate::bps(self.bytes(now) * 8_000_000 / micros)
    }
}

/// A layer of a source: encoding, spatial and temporal id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LayerKey {
    /// Encoding, 0 = lowest.
    pub encoding: u8,
    /// Spatial id within the encoding.
    pub spatial: u8,
    /// Temporal id.
    pub temporal: u8,
}

/// How the rates of layers add up.
///
/// A packet is counted in one layer. Counting in several (AV1: each decode target that its frame is part
/// of) is the caller's choice, who then asks for [`LayerRates::own_rate`].
#[derive(Clone, Debug, Default)]
pub struct LayerRates {
    /// In the order they were first seen; there are few.
    layers: Vec<(LayerKey, RateWindow)>,
}

impl LayerRates {
    /// No layers seen.
    pub fn new() -> LayerRates {
        LayerRates::default()
    }

    /// Counts a packet; true if its layer had no bytes in the window before, which changes the layering
    /// (allocation spec §9.5). Beyond [`MAX_LAYERS`] layers, new ones are not measured.
    pub fn add(&mut self, now: Time, layer: LayerKey, bytes: usize) -> bool {
        let known = self.layers.iter().position(|(key, _)| *key == layer);
        let index = match known {
            Some(index) => index,
            None if self.layers.len() < MAX_LAYERS => {
                self.layers.push((layer, RateWindow::default()));
                self.layers.len() - 1
            }
            None => return false,
        };
        self.layers[index].1.add(now, bytes)
    }

    /// Rate of the encoding up to a temporal id, over all spatial layers: a VP8 layer with what it
    /// depends on.
    pub fn rate(&self, now: Time, encoding: u8, temporal: u8) -> Bitrate {
        self.sum(now, |key| {
            key.encoding == encoding && key.temporal <= temporal
        })
    }

    /// Rate of a layer with what it depends on: all temporal layers below, and with `inter_layer`
    /// prediction the spatial layers below as well (off for K-SVC).
    pub fn spatial_rate(&self, now: Time, layer: LayerKey, inter_layer: bool) -> Bitrate {
        self.sum(now, |key| {
            let spatial =
                key.spatial == layer.spatial || inter_layer && key.spatial < layer.spatial;
            key.encoding == layer.encoding && spatial && key.temporal <= layer.temporal
        })
    }

    /// Rate of the packets that were counted for exactly this layer.
    pub fn own_rate(&self, now: Time, layer: LayerKey) -> Bitrate {
        self.sum(now, |key| *key == layer)
    }

    /// Rate of all layers.
    pub fn total(&self, now: Time) -> Bitrate {
        self.sum(now, |_| true)
    }

    /// Forgets all layers, as after a change of codec.
    pub fn clear(&mut self) {
        self.layers.clear();
    }

    fn sum(&self, now: Time, of: impl Fn(&LayerKey) -> bool) -> Bitrate {
        let layers = self.layers.iter().filter(|(key, _)| of(key));
        layers.fold(Bitrate::ZERO, |sum, (_, window)| sum + window.rate(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layer(encoding: u8, spatial: u8, temporal: u8) -> LayerKey {
        LayerKey {
            encoding,
            spatial,
            temporal,
        }
    }

    #[test]
    fn a_steady_stream_has_its_rate_from_the_start_to_a_second_after_its_end() {
        let mut window = RateWindow::default();
        for packet in 0..100 {
            // 1000 bytes every 10 ms.
            window.add(Time::from_millis(10_000 + packet * 10), 1_000);
        }
        let rate = window.rate(Time::from_millis(10_999)).as_bps();
        assert!((780_000..=820_000).contains(&rate), "{rate}");
        let half = window.rate(Time::from_millis(11_500)).as_bps();
        assert!((380_000..=420_000).contains(&half), "{half}");
        assert_eq!(window.rate(Time::from_millis(12_010)), Bitrate::ZERO);
        assert!(window.add(Time::from_millis(12_010), 1), "empty before");
        assert!(!window.add(Time::from_millis(12_011), 1));
    }

    #[test]
    fn layers_add_up_over_what_they_depend_on() {
        let mut rates = LayerRates::new();
        let now = Time::from_millis(50);
        for (key, bytes) in [
            (layer(0, 0, 0), 100),
            (layer(0, 0, 1), 50),
            (layer(0, 1, 0), 1_000),
            (layer(0, 1, 1), 500),
            (layer(1, 0, 0), 9),
        ] {
            assert!(rates.add(now, key, bytes), "a layer appears");
            assert!(!rates.add(now, key, 0), "it is known now");
        }
        let bytes = |rate: Bitrate| rate.as_bps() * BUCKET_MICROS / 8_000_000;
        assert_eq!(bytes(rates.rate(now, 0, 0)), 1_100);
        assert_eq!(bytes(rates.rate(now, 0, 1)), 1_650);
        assert_eq!(bytes(rates.spatial_rate(now, layer(0, 1, 1), true)), 1_650);
        assert_eq!(bytes(rates.spatial_rate(now, layer(0, 1, 1), false)), 1_500);
        assert_eq!(bytes(rates.own_rate(now, layer(0, 0, 1))), 50);
        assert_eq!(bytes(rates.rate(now, 1, 7)), 9);
    }

    #[test]
    fn layers_beyond_the_limit_are_not_measured() {
        let mut rates = LayerRates::new();
        for number in 0..=255u8 {
            rates.add(
                Time::ZERO,
                layer(number / 64, number / 8 % 8, number % 8),
                1,
            );
        }
        assert_eq!(rates.layers.len(), MAX_LAYERS);
    }

    proptest! {
        #[test]
        fn the_window_is_the_sum_of_its_last_second(
            steps in proptest::collection::vec((0u64..120_000, 0usize..2_000), 1..400)
        ) {
            let (mut window, mut log, mut now) = (RateWindow::default(), Vec::new(), 0);
            for (step, bytes) in steps {
                now += step;
                window.add(Time::from_micros(now), bytes);
                log.push((now / BUCKET_MICROS, bytes as u64));
                let later = now + step;
                let oldest = (later / BUCKET_MICROS + 1).saturating_sub(BUCKETS as u64);
                let expected = log.iter().filter(|(at, _)| *at >= oldest).map(|(_, bytes)| bytes);
                prop_assert_eq!(window.bytes(Time::from_micros(later)), expected.sum::<u64>());
            }
        }
    }
}

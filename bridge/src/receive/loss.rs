//! Loss over the last minute (media-plane §2.24).

use crate::time::Time;

const BUCKETS: usize = 60;
const BUCKET_MICROS: u64 = 1_000_000;

/// Received and lost packets of the last 60 s in buckets of 1 s.
#[derive(Clone, Debug)]
pub struct LossWindow {
    buckets: [(u32, u32); BUCKETS],
    /// Number of the newest bucket since the origin of time.
    newest: u64,
}

impl Default for LossWindow {
    fn default() -> Self {
        LossWindow {
            buckets: [(0, 0); BUCKETS],
            newest: 0,
        }
    }
}

impl LossWindow {
    /// Counts packets that arrived.
    pub fn received(&mut self, now: Time, packets: u32) {
        let (received, _) = self.bucket(now);
        *received = received.saturating_add(packets);
    }

    /// Counts packets that did not.
    pub fn lost(&mut self, now: Time, packets: u32) {
        let (_, lost) = self.bucket(now);
        *lost = lost.saturating_add(packets);
    }

    /// A packet that was counted as lost came after all.
    pub fn recovered(&mut self, now: Time) {
        self.received(now, 1);
        // Taken back where it may have been counted: in the newest bucket that has a loss.
        let newest = self.newest as usize;
        let latest_loss = (0..BUCKETS)
            .map(|age| (newest + BUCKETS - age) % BUCKETS)
            .find(|index| self.buckets[*index].1 > 0);
        if let Some(index) = latest_loss {
            self.buckets[index].1 -= 1;
        }
    }

    /// Lost packets as a share of all, 0 to 1.
    pub fn fraction(&self, now: Time) -> f32 {
        let now = now.as_micros() / BUCKET_MICROS;
        let (mut received, mut lost) = (0u64, 0u64);
        let expired = now.saturating_sub(self.newest).min(BUCKETS as u64);
        for age in 0..BUCKETS as u64 - expired {
            let (here, missing) =
                self.buckets[((self.newest + BUCKETS as u64 - age) % BUCKETS as u64) as usize];
            received += u64::from(here);
            lost += u64::from(missing);
        }
        match received + lost {
            0 => 0.0,
            all => lost as f32 / all as f32,
        }
    }

    fn bucket(&mut self, now: Time) -> &mut (u32, u32) {
        let number = now.as_micros() / BUCKET_MICROS;
        if number > self.newest {
            for skipped in 0..(number - self.newest).min(BUCKETS as u64) {
                self.buckets[((number - skipped) % BUCKETS as u64) as usize] = (0, 0);
            }
            self.newest = number;
        }
        &mut self.buckets[(self.newest % BUCKETS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_leave_after_a_minute_and_recovered_packets_at_once() {
        let mut loss = LossWindow::default();
        loss.received(Time::from_millis(500), 6);
        loss.lost(Time::from_millis(500), 4);
        assert_eq!(loss.fraction(Time::from_millis(900)), 0.4);

        loss.recovered(Time::from_millis(1_500));
        assert_eq!(loss.fraction(Time::from_millis(1_500)), 0.3);

        loss.received(Time::from_millis(30_000), 1);
        assert_eq!(loss.fraction(Time::from_millis(59_999)), 3.0 / 11.0);
        assert_eq!(loss.fraction(Time::from_millis(60_500)), 0.0);
        assert_eq!(loss.fraction(Time::from_millis(1_000_000)), 0.0);
    }
}

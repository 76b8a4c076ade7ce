//! A file transfer that shares a link: TCP Reno with selective acknowledgements, without its handshake.

use std::collections::VecDeque;
use std::time::Duration;

use causeway_bridge::random::Random;
use causeway_bridge::time::Time;

/// When a file transfer shares a link.
#[derive(Clone, Copy, Debug)]
pub enum Rivalry {
    /// All the time from one second to another.
    Long(u64, u64),
    /// Files of 100 kB to 1 MB, with pauses of ten seconds in the mean (RFC 8867 §5.7).
    Short,
}

/// Bytes of files.
const FILES: (u64, u64) = (100_000, 1_000_000);
/// Mean pause between two of them, seconds.
const PAUSE: f64 = 10.0;
/// Bytes of a segment on the wire.
pub const SEGMENT: usize = 1_500;
/// Without acknowledgements for this long everything counts as lost.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The sender, and its receiver as far as it matters.
pub struct Rival {
    /// Segments.
    window: f64,
    threshold: f64,
    next: u64,
    /// The receiver waits for this segment.
    expected: u64,
    in_flight: u64,
    /// Losses of segments before this one were answered already (RFC 6582).
    recover: u64,
    /// When each acknowledgement comes: segments that arrived and that were lost before.
    acknowledgements: VecDeque<(Time, u64, u64)>,
    heard: Time,
    /// When it sends.
    active: (Time, Time),
    /// Of files: where the random comes from, and the segment after the last of this file.
    files: Option<(Random, u64)>,
}

impl Rival {
    pub fn new(rivalry: Rivalry, begin: Time, random: Random) -> Rival {
        let at = |seconds| begin + Duration::from_secs(seconds);
        match rivalry {
            Rivalry::Long(from, to) => Rival::all_the_time((at(from), at(to))),
            Rivalry::Short => {
                let mut rival = Rival {
                    files: Some((random, 0)),
                    ..Rival::all_the_time((begin, Time::FAR))
                };
                rival.begin_file(begin);
                rival
            }
        }
    }

    fn all_the_time(active: (Time, Time)) -> Rival {
        Rival {
            window: 10.0,
            threshold: f64::INFINITY,
            next: 0,
            expected: 0,
            in_flight: 0,
            recover: 0,
            acknowledgements: VecDeque::new(),
            heard: active.0,
            active,
            files: None,
        }
    }

    /// The next file comes after a pause, over a new connection.
    fn begin_file(&mut self, now: Time) {
        let Some((random, last)) = &mut self.files else {
            return;
        };
        let size = FILES.0 + random.below(FILES.1 - FILES.0);
        *last = self.next + size / SEGMENT as u64;
        // Exponentially distributed, and never infinite.
        let pause = -PAUSE * (1.0 - random.unit()).max(1e-6).ln();
        self.active.0 = now + Duration::from_secs_f64(pause);
        self.window = 10.0;
        self.threshold = f64::INFINITY;
        self.in_flight = 0;
        self.recover = self.next;
        self.heard = self.active.0;
    }

    /// The next segment to send now, if any.
    pub fn poll_transmit(&mut self, now: Time) -> Option<u64> {
        let (begin, end) = self.active;
        if now < begin || now >= end {
            return None;
        }
        if let Some((_, last)) = &self.files
            && self.next >= *last
        {
            // What is lost of the end is not sent again: it is little.
            self.begin_file(now);
            return None;
        }
        if self.in_flight > 0 && now - self.heard > TIMEOUT {
            self.threshold = (self.window / 2.0).max(2.0);
            self.window = 1.0;
            self.in_flight = 0;
            self.heard = now;
            self.recover = self.next;
        }
        if (self.in_flight as f64) < self.window.floor() {
            self.in_flight += 1;
            self.next += 1;
            return Some(self.next - 1);
        }
        None
    }

    /// A segment arrived; its acknowledgement takes `back` to the sender.
    pub fn handle_arrival(&mut self, now: Time, segment: u64, back: Duration) {
        // Links do not reorder what comes here: what is missing is lost.
        let lost = segment.saturating_sub(self.expected);
        self.expected = self.expected.max(segment + 1);
        self.acknowledgements.push_back((now + back, segment, lost));
    }

    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((at, segment, lost)) = self.acknowledgements.front().copied()
            && at <= now
        {
            self.acknowledgements.pop_front();
            self.heard = now;
            self.in_flight = self.in_flight.saturating_sub(1 + lost);
            if lost > 0 && segment >= self.recover {
                self.threshold = (self.window / 2.0).max(2.0);
                self.window = self.threshold;
                self.recover = self.next;
            } else if self.window < self.threshold {
                self.window += 1.0;
            } else {
                self.window += 1.0 / self.window;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_bridge::sim::link::{Link, LinkConfig};
    use causeway_bridge::units::Bitrate;

    #[test]
    fn it_fills_a_link_and_stops_when_it_is_done() {
        let config = LinkConfig {
            rate: Some(Bitrate::kbps(3_000)),
            ..LinkConfig::default()
        };
        let mut link = Link::new(1, config);
        let random = Random::from_seed(1);
        let mut rival = Rival::new(Rivalry::Long(0, 30), Time::ZERO, random);
        let mut arrived = 0;
        for at in 0..40_000 {
            let now = Time::from_millis(at);
            rival.handle_timeout(now);
            while let Some(segment) = rival.poll_transmit(now) {
                link.send(now, SEGMENT, segment);
            }
            while let Some(segment) = link.poll(now) {
                arrived += 1;
                rival.handle_arrival(now, segment, config.delay);
            }
        }
        let possible = 3_000_000 / 8 * 30 / SEGMENT as u64;
        assert!(
            arrived > possible * 9 / 10 && arrived < possible * 102 / 100,
            "{arrived} of {possible}"
        );
    }
    #[test]
    fn files_come_and_go() {
        let config = LinkConfig {
            rate: Some(Bitrate::kbps(3_000)),
            ..LinkConfig::default()
        };
        let mut link = Link::new(1, config);
        let mut rival = Rival::new(Rivalry::Short, Time::ZERO, Random::from_seed(1));
        let (mut arrived, mut idle, mut last) = (0, 0, Time::ZERO);
        for at in 0..300_000 {
            let now = Time::from_millis(at);
            rival.handle_timeout(now);
            while let Some(segment) = rival.poll_transmit(now) {
                link.send(now, SEGMENT, segment);
            }
            while let Some(segment) = link.poll(now) {
                idle += u64::from(now - last > Duration::from_secs(2));
                last = now;
                arrived += SEGMENT as u64;
                rival.handle_arrival(now, segment, config.delay);
            }
        }
        // A file of 550 kB in the mean takes a second or two, and then there is a pause.
        assert!((10..50).contains(&idle), "{idle} pauses");
        assert!(
            (5_000_000..25_000_000).contains(&arrived),
            "{arrived} bytes"
        );
    }
}

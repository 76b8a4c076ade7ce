//! Asking a sender for what is missing (media-plane §2.14).

use std::time::Duration;

use crate::limits::{MAX_MISSING, NACK_ATTEMPTS, NACK_GIVE_UP};
use crate::time::Time;

/// A gap may be reordering for this long …
const REORDER_TIME: Duration = Duration::from_millis(10);
/// … or until so many packets from behind it have come.
const REORDER_PACKETS: u64 = 2;
/// Shortest time between two requests for a packet.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// Round-trip time while it is unknown (libwebrtc: `kDefaultRttMs`).
const DEFAULT_RTT: Duration = Duration::from_millis(100);
/// A request and its answer need a round trip and some jitter.
const RTT_FACTOR: f64 = 1.2;
/// Each further request waits longer by this (libwebrtc's back-off).
const BACKOFF: f64 = 1.25;

#[derive(Clone, Copy, Debug)]
struct Missing {
    index: u64,
    /// When the gap was seen.
    since: Time,
    /// Packets received when the gap was seen.
    packets: u64,
    /// Next request.
    next: Time,
    attempts: u8,
}

/// Missing packets of one video SSRC, after retransmissions were undone.
///
/// Works on original indexes ([`super::Arrival::New`]), not on closed ones.
#[derive(Debug, Default)]
pub struct NackGenerator {
    /// 0 before the first packet.
    highest: u64,
    packets: u64,
    /// In order of `index`; at most [`MAX_MISSING`].
    missing: Vec<Missing>,
    /// The earliest `next` of all missing.
    due: Option<Time>,
}

impl NackGenerator {
    /// Nothing received yet.
    pub fn new() -> NackGenerator {
        NackGenerator::default()
    }

    /// A packet that was not received before, be it as a retransmission.
    pub fn on_received(&mut self, now: Time, index: u64) {
        self.packets += 1;
        if index > self.highest {
            let lost = if self.highest == 0 {
                0
            } else {
                index - self.highest - 1
            };
            let first = self.highest + 1;
            self.highest = index;
            if lost >= MAX_MISSING as u64 {
                // The sender started again.
                self.missing.clear();
                self.due = None;
                return;
            }
            if lost > 0 {
                self.add(now, first..index);
            }
        } else if let Ok(at) = self
            .missing
            .binary_search_by_key(&index, |missing| missing.index)
        {
            self.missing.remove(at);
            self.update();
            return;
        }
        if self.due.is_some() {
            self.hurry(now);
        }
    }

    /// A keyframe that can be decoded begins at `index`: nothing older is needed.
    pub fn on_keyframe(&mut self, index: u64) {
        let older = self
            .missing
            .partition_point(|missing| missing.index < index);
        if older > 0 {
            self.missing.drain(..older);
            self.update();
        }
    }

    /// If requests are due, replaces the content of `out` by their sequence numbers, ascending, and
    /// returns true. `rtt` is the round-trip time to the sender.
    pub fn poll_nack(&mut self, now: Time, rtt: Option<Duration>, out: &mut Vec<u16>) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        out.clear();
        let interval = rtt
            .unwrap_or(DEFAULT_RTT)
            .min(NACK_GIVE_UP)
            .mul_f64(RTT_FACTOR)
            .max(MIN_INTERVAL);
        self.missing.retain_mut(|missing| {
            if missing.next > now {
                return true;
            }
            if missing.attempts >= NACK_ATTEMPTS || now - missing.since >= NACK_GIVE_UP {
                return false;
            }
            out.push(missing.index as u16);
            missing.next = now + interval.mul_f64(BACKOFF.powi(i32::from(missing.attempts)));
            missing.attempts += 1;
            true
        });
        self.update();
        !out.is_empty()
    }

    /// When [`NackGenerator::poll_nack`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due
    }

    /// Number of packets that are missing and not given up.
    pub fn missing(&self) -> usize {
        self.missing.len()
    }

    fn add(&mut self, now: Time, gap: std::ops::Range<u64>) {
        let room = MAX_MISSING - (gap.end - gap.start) as usize;
        if self.missing.len() > room {
            // The oldest are the least useful.
            self.missing.drain(..self.missing.len() - room);
        }
        let next = now + REORDER_TIME;
        let packets = self.packets;
        self.missing.extend(gap.map(|index| Missing {
            index,
            since: now,
            packets,
            next,
            attempts: 0,
        }));
        self.update();
    }

    /// What was not asked for yet is due when enough packets came from behind it.
    fn hurry(&mut self, now: Time) {
        let packets = self.packets;
        for missing in &mut self.missing {
            // The packet that showed the gap is the first.
            if missing.attempts == 0 && packets - missing.packets + 1 >= REORDER_PACKETS {
                missing.next = missing.next.min(now);
            }
        }
        self.update();
    }

    fn update(&mut self) {
        self.due = self.missing.iter().map(|missing| missing.next).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const RTT: Option<Duration> = Some(Duration::from_millis(50));

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    /// Everything requested up to `until`: (ms, numbers).
    fn run(nack: &mut NackGenerator, until: Time) -> Vec<(u64, Vec<u16>)> {
        let mut requests = Vec::new();
        while let Some(at) = nack.poll_timeout().filter(|at| *at <= until) {
            let mut out = Vec::new();
            if nack.poll_nack(at, RTT, &mut out) {
                requests.push((at.as_millis(), out));
            }
        }
        requests
    }

    #[test]
    fn media_plane_case_48_a_gap_is_requested_after_the_reorder_time_and_again() {
        let mut nack = NackGenerator::new();
        nack.on_received(ms(0), 10);
        nack.on_received(ms(0), 12);
        let requests = run(&mut nack, ms(5_000));
        let times: Vec<_> = requests.iter().map(|(at, _)| *at).collect();
        // 60 ms, then longer and longer, for a second.
        assert_eq!(times, [10, 70, 145, 238, 355, 502, 685, 914]);
        assert!(requests.iter().all(|(_, numbers)| numbers == &[11]));
        assert_eq!(nack.missing(), 0, "given up");

        let mut nack = NackGenerator::new();
        for index in [10, 12, 13] {
            nack.on_received(ms(0), index);
        }
        assert_eq!(
            nack.poll_timeout(),
            Some(ms(0)),
            "two packets from behind the gap are enough"
        );
    }

    #[test]
    fn a_packet_is_requested_ten_times_at_most() {
        let mut nack = NackGenerator::new();
        nack.on_received(ms(0), 10);
        nack.on_received(ms(0), 12);
        let (mut out, mut requests) = (Vec::new(), 0);
        while let Some(at) = nack.poll_timeout() {
            requests += u8::from(nack.poll_nack(at, Some(Duration::ZERO), &mut out));
        }
        assert_eq!(requests, NACK_ATTEMPTS);
    }

    #[test]
    fn a_reordered_packet_is_not_requested() {
        let mut nack = NackGenerator::new();
        for (at, index) in [(0, 10), (1, 12), (5, 11)] {
            nack.on_received(ms(at), index);
        }
        assert_eq!(run(&mut nack, ms(5_000)), []);
    }

    #[test]
    fn media_plane_case_49_98_missing_are_requested_at_once_and_100_never() {
        let mut nack = NackGenerator::new();
        nack.on_received(ms(0), 10);
        nack.on_received(ms(0), 109);
        let requests = run(&mut nack, ms(50));
        assert_eq!(requests, [(10, (11..109).collect::<Vec<u16>>())]);

        let mut nack = NackGenerator::new();
        nack.on_received(ms(0), 10);
        nack.on_received(ms(0), 111);
        assert_eq!(run(&mut nack, ms(5_000)), []);
    }

    #[test]
    fn media_plane_case_50_what_came_as_a_retransmission_is_not_requested_again() {
        let mut nack = NackGenerator::new();
        nack.on_received(ms(0), 10);
        nack.on_received(ms(0), 12);
        assert_eq!(run(&mut nack, ms(50)).len(), 1);
        nack.on_received(ms(60), 11);
        assert_eq!(run(&mut nack, ms(5_000)), []);
        assert_eq!(nack.poll_timeout(), None);
    }

    #[test]
    fn a_keyframe_ends_requests_for_what_is_older() {
        let mut nack = NackGenerator::new();
        for index in [10, 12, 14] {
            nack.on_received(ms(0), index);
        }
        nack.on_keyframe(12);
        assert_eq!(run(&mut nack, ms(20)), [(10, vec![13])]);
    }

    proptest! {
        /// Given any order of arrival, only what did not arrive is requested, each number at most ten
        /// times, and never more are tracked than the limit.
        #[test]
        fn only_missing_packets_are_requested(
            steps in proptest::collection::vec((-150i64..150, 0u64..40), 1..300),
            rtt in proptest::option::of(0u64..20_000),
        ) {
            let rtt = rtt.map(Duration::from_millis);
            let mut nack = NackGenerator::new();
            let (mut highest, mut now) = (1u64 << 32, Time::ZERO);
            let mut received = BTreeSet::new();
            let mut requests = std::collections::BTreeMap::new();
            let mut out = Vec::new();
            for (step, wait) in steps {
                let index = highest.saturating_add_signed(if step > 100 { step } else { step.min(2) });
                if received.insert(index) {
                    nack.on_received(now, index);
                }
                highest = highest.max(index);
                prop_assert!(nack.missing() <= MAX_MISSING);
                now += Duration::from_millis(wait);
                if nack.poll_nack(now, rtt, &mut out) {
                    prop_assert!(out.len() <= MAX_MISSING);
                    for number in &out {
                        let index = highest - u64::from((highest as u16).wrapping_sub(*number));
                        prop_assert!(!received.contains(&index));
                        let count = requests.entry(index).or_insert(0u8);
                        *count += 1;
                        prop_assert!(*count <= NACK_ATTEMPTS);
                    }
                }
            }
            now += NACK_GIVE_UP * 20;
            for _ in 0..2 {
                nack.poll_nack(now, rtt, &mut out);
                now += NACK_GIVE_UP * 20;
            }
            prop_assert_eq!(nack.poll_timeout(), None);
        }
    }
}

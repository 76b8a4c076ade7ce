//! Feedback about the arrival of one endpoint's packets (media-plane §2.21).

use std::collections::VecDeque;
use std::time::Duration;

use super::LossWindow;
use crate::limits::MAX_TWCC_WINDOW;
use crate::time::Time;
use crate::wire::twcc::{FeedbackHeader, write_feedback};

/// A feedback is due after this, with or without another packet.
const INTERVAL: Duration = Duration::from_millis(100);
/// A packet with the marker bit brings one forward to this.
const MARKER_INTERVAL: Duration = Duration::from_millis(20);
/// Arrivals are kept for this long after they were reported, so that a late packet can be reported
/// together with its neighbours (libwebrtc: `kBackWindow`).
const KEEP_REPORTED: Duration = Duration::from_millis(500);
/// Stands for "not received".
const MISSING: Time = Time::FAR;

/// Arrival times of one endpoint's packets by their transport-wide sequence number, and the policy when
/// to report them.
///
/// A window of at most [`MAX_TWCC_WINDOW`] numbers is kept. A number outside of it, in either direction,
/// begins a new window (T46): what was not reported yet is forgotten, and the next feedback waits for the
/// long interval, so that a peer who jumps cannot make the bridge send more than 10 feedbacks/s.
#[derive(Debug, Default)]
pub struct TwccReceiver {
    /// Arrivals from number `first` on; [`MISSING`] in gaps. Empty before the first packet only.
    arrivals: VecDeque<Time>,
    /// Extended number of the first arrival.
    first: u64,
    /// First number that was not reported yet.
    next: u64,
    /// Numbers up to here were counted as lost or received.
    counted: u64,
    last_feedback: Time,
    due: bool,
    restarted: bool,
    feedback_count: u8,
    loss: LossWindow,
}

impl TwccReceiver {
    /// Nothing received yet.
    pub fn new() -> TwccReceiver {
        TwccReceiver::default()
    }

    /// A packet with the transport-wide number `sequence` arrived.
    pub fn on_packet(&mut self, now: Time, sequence: u16, marker: bool) {
        if self.arrivals.is_empty() {
            self.last_feedback = now;
            // Room for the numbers below, so that extended numbers never go under zero.
            self.restart(now, 0x1_0000 + u64::from(sequence));
            self.restarted = false;
            return;
        }
        let highest = self.first + self.arrivals.len() as u64 - 1;
        let distance = i64::from(sequence.wrapping_sub(highest as u16) as i16);
        let number = highest.saturating_add_signed(distance);
        if number > highest {
            if distance as usize >= MAX_TWCC_WINDOW {
                self.restart(now, number);
            } else {
                let gap = distance as usize - 1;
                self.slide((self.arrivals.len() + gap + 1).saturating_sub(MAX_TWCC_WINDOW));
                self.arrivals.resize(self.arrivals.len() + gap, MISSING);
                self.arrivals.push_back(now);
                self.loss.received(now, 1);
            }
        } else if number >= self.first {
            let arrival = &mut self.arrivals[(number - self.first) as usize];
            if *arrival != MISSING {
                return;
            }
            *arrival = now;
            self.late(now, number);
        } else if highest - number < MAX_TWCC_WINDOW as u64 {
            for _ in number + 1..self.first {
                self.arrivals.push_front(MISSING);
            }
            self.arrivals.push_front(now);
            self.first = number;
            self.late(now, number);
        } else {
            self.restart(now, number);
        }
        self.forget(now);
        let waited = now - self.last_feedback;
        self.due |= waited >= INTERVAL || marker && waited >= MARKER_INTERVAL && !self.restarted;
    }

    /// If a feedback is due, appends it to `out` as a whole RTCP packet. Call until it returns false: what
    /// has to be said may need several packets.
    ///
    /// `media_ssrc` is the SSRC of any packet of this endpoint.
    pub fn poll_feedback(
        &mut self,
        now: Time,
        sender_ssrc: u32,
        media_ssrc: u32,
        out: &mut Vec<u8>,
    ) -> bool {
        if !self.is_pending() || !(self.due || now - self.last_feedback >= INTERVAL) {
            return false;
        }
        let header = FeedbackHeader {
            sender_ssrc,
            media_ssrc,
            base_sequence: self.next as u16,
            feedback_count: self.feedback_count,
        };
        let arrivals = self.arrivals.iter().skip((self.next - self.first) as usize);
        let arrivals = arrivals.map(|arrival| Some(*arrival).filter(|arrival| *arrival != MISSING));
        let covered = write_feedback(&header, arrivals, out);
        self.feedback_count = self.feedback_count.wrapping_add(1);
        self.count_losses(now, covered);
        self.next += covered as u64;
        // Due until all is said.
        self.due = self.is_pending();
        if !self.due {
            self.last_feedback = now;
            self.restarted = false;
            self.forget(now);
        }
        true
    }

    /// When [`TwccReceiver::poll_feedback`] has something to send without another packet.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.is_pending().then(|| {
            if self.due {
                Time::ZERO
            } else {
                self.last_feedback + INTERVAL
            }
        })
    }

    /// Share of the packets sent by the endpoint in the last minute that did not arrive, 0 to 1.
    pub fn loss(&self, now: Time) -> f32 {
        self.loss.fraction(now)
    }

    fn is_pending(&self) -> bool {
        self.next < self.first + self.arrivals.len() as u64
    }

    fn restart(&mut self, now: Time, number: u64) {
        self.arrivals.clear();
        self.arrivals.push_back(now);
        self.first = number;
        self.next = number;
        self.counted = number;
        self.restarted = true;
        self.loss.received(now, 1);
    }

    /// A packet came after one with a higher number; if its loss was reported, report the range again.
    fn late(&mut self, now: Time, number: u64) {
        if number < self.counted {
            self.loss.recovered(now);
        } else {
            self.loss.received(now, 1);
        }
        self.next = self.next.min(number);
    }

    fn count_losses(&mut self, now: Time, covered: usize) {
        let end = self.next + covered as u64;
        let uncounted = self.counted.max(self.next);
        if end > uncounted {
            let skip = (uncounted - self.first) as usize;
            let range = self
                .arrivals
                .iter()
                .skip(skip)
                .take((end - uncounted) as usize);
            let lost = range.filter(|arrival| **arrival == MISSING).count();
            self.loss.lost(now, lost as u32);
            self.counted = end;
        }
    }

    /// Drops what was reported long ago.
    fn forget(&mut self, now: Time) {
        let reported = (self.next - self.first).min(self.arrivals.len() as u64 - 1) as usize;
        let useless = |arrival: &&Time| **arrival == MISSING || **arrival + KEEP_REPORTED < now;
        self.slide(
            self.arrivals
                .iter()
                .take(reported)
                .take_while(useless)
                .count(),
        );
    }

    /// Drops the oldest arrivals, of which at least one stays.
    fn slide(&mut self, by: usize) {
        self.arrivals.drain(..by);
        self.first += by as u64;
        self.next = self.next.max(self.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_FEEDBACK_BYTES;
    use crate::random::Random;
    use crate::wire::twcc::Feedback;

    /// All feedback due at `now`: (base, count, numbers received) of each packet.
    fn poll(receiver: &mut TwccReceiver, now: Time) -> Vec<(u16, u16, Vec<u16>)> {
        let mut all = Vec::new();
        loop {
            let mut out = Vec::new();
            if !receiver.poll_feedback(now, 1, 2, &mut out) {
                return all;
            }
            assert!(out.len() <= MAX_FEEDBACK_BYTES);
            let feedback = Feedback::parse(&out[12..]).expect("own feedback");
            let received = feedback.packets().filter(|packet| packet.arrival.is_some());
            let received = received.map(|packet| packet.sequence).collect();
            all.push((feedback.base_sequence(), feedback.status_count(), received));
        }
    }

    #[test]
    fn media_plane_case_52_feedback_comes_every_100_ms_or_with_a_marker() {
        let mut receiver = TwccReceiver::new();
        let mut sent = Vec::new();
        for number in 0..100u16 {
            let now = Time::from_millis(u64::from(number) * 5);
            receiver.on_packet(now, number, false);
            if !poll(&mut receiver, now).is_empty() {
                sent.push(now.as_millis());
            }
        }
        assert_eq!(sent, [100, 200, 300, 400]);

        receiver.on_packet(Time::from_millis(410), 100, true);
        assert!(
            poll(&mut receiver, Time::from_millis(410)).is_empty(),
            "10 ms are too early for a marker"
        );
        receiver.on_packet(Time::from_millis(500), 101, true);
        assert_eq!(poll(&mut receiver, Time::from_millis(500)).len(), 1);
        receiver.on_packet(Time::from_millis(525), 102, true);
        assert_eq!(poll(&mut receiver, Time::from_millis(525)).len(), 1);
    }

    #[test]
    fn media_plane_case_52_the_first_packet_only_starts_the_clock() {
        let mut receiver = TwccReceiver::new();
        receiver.on_packet(Time::from_millis(5_000), 7, true);
        assert!(poll(&mut receiver, Time::from_millis(5_000)).is_empty());
        assert_eq!(receiver.poll_timeout(), Some(Time::from_millis(5_100)));
        assert_eq!(
            poll(&mut receiver, Time::from_millis(5_100)),
            [(7, 1, vec![7])]
        );
        assert_eq!(receiver.poll_timeout(), None);
    }

    #[test]
    fn media_plane_case_53_a_number_between_is_reported_as_not_received() {
        let mut receiver = TwccReceiver::new();
        for (at, number) in [(0, 1), (1, 2), (3, 4)] {
            receiver.on_packet(Time::from_millis(at), number, false);
        }
        assert_eq!(
            poll(&mut receiver, Time::from_millis(100)),
            [(1, 4, vec![1, 2, 4])]
        );
        assert_eq!(receiver.loss(Time::from_millis(100)), 0.25);
    }

    #[test]
    fn a_late_packet_is_reported_again_together_with_its_neighbours() {
        let mut receiver = TwccReceiver::new();
        for (at, number) in [(0, 65_534), (1, 65_535), (3, 1), (4, 2)] {
            receiver.on_packet(Time::from_millis(at), number, false);
        }
        assert_eq!(poll(&mut receiver, Time::from_millis(100)).len(), 1);
        receiver.on_packet(Time::from_millis(150), 0, false);
        assert_eq!(receiver.loss(Time::from_millis(150)), 0.0);
        assert_eq!(
            poll(&mut receiver, Time::from_millis(200)),
            [(0, 3, vec![0, 1, 2])]
        );
    }

    #[test]
    fn media_plane_case_54_a_jump_starts_a_new_window() {
        let mut receiver = TwccReceiver::new();
        receiver.on_packet(Time::from_millis(0), 1, false);
        receiver.on_packet(Time::from_millis(10), 30_001, false);
        receiver.on_packet(Time::from_millis(20), 30_002, false);
        assert_eq!(
            poll(&mut receiver, Time::from_millis(100)),
            [(30_001, 2, vec![30_001, 30_002])]
        );
        // Just inside: at most the window is reported.
        receiver.on_packet(Time::from_millis(110), 30_501, false);
        assert_eq!(
            poll(&mut receiver, Time::from_millis(200)),
            [(30_003, 499, vec![30_501])]
        );
    }

    #[test]
    fn t46_whatever_the_numbers_do_feedback_stays_small_and_rare() {
        let mut random = Random::from_seed(46);
        for step in [1, 499, 500, 0x7fff, 0x8000, 0] {
            let mut receiver = TwccReceiver::new();
            let (mut number, mut sent, mut largest) = (0u16, 0, 0);
            // Ten minutes at 50 packets/s, each with the marker bit.
            for packet in 0..30_000u64 {
                let now = Time::from_millis(packet * 20);
                let step = if step == 0 { random.u32() as u16 } else { step };
                number = number.wrapping_add(step);
                receiver.on_packet(now, number, step != 1);
                sent += poll(&mut receiver, now).len();
                largest = largest.max(receiver.arrivals.capacity());
            }
            // Steps within the window are a lossy sender, whose markers count.
            let limit = if step == 499 { 50 } else { 20 };
            assert!(sent <= limit * 600, "step {step}: {sent}");
            assert!(largest <= 2 * MAX_TWCC_WINDOW, "step {step}: {largest}");
        }
    }
}

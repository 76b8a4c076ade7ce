//! One SSRC that a client receives: what is missing, which frames are complete, where video stands still.

use std::time::Duration;

use causeway_bridge::time::Time;
use causeway_bridge::wire::rtcp::ReportBlock;

use super::stamp::Stamp;
use super::stats::Stats;

/// Packets that are looked back at.
const WINDOW: u64 = 512;
/// A larger gap is a new beginning.
const MAX_GAP: u64 = 256;
/// How long a missing packet may be just late.
const NACK_AFTER: Duration = Duration::from_millis(15);
const NACK_AGAIN: Duration = Duration::from_millis(80);
const NACK_TRIES: u8 = 10;
const MAX_MISSING: usize = 256;
/// Without a complete frame for this long although packets come, a keyframe is asked for.
const STUCK_AFTER: Duration = Duration::from_millis(300);
const PLI_AGAIN: Duration = Duration::from_millis(1_000);
/// A freeze is a pause longer than three frames and longer than one frame and this, as browsers count.
const FREEZE: Duration = Duration::from_millis(150);

/// What is known of one place in the stream.
#[derive(Clone, Copy, Default)]
struct Place {
    received: bool,
    start: bool,
    marker: bool,
    keyframe: bool,
    encoding: u8,
}

/// A packet as far as its stream is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub start: bool,
    pub keyframe: bool,
    pub stamp: Option<Stamp>,
    /// It came on the retransmission SSRC.
    pub repaired: bool,
}

/// What a packet meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// It was not there before.
    New,
    /// It was, or it is too old to know.
    Known,
}

struct Missing {
    index: u64,
    since: Time,
    asked: Option<Time>,
    tries: u8,
}

/// A received stream.
pub struct Stream {
    pub ssrc: u32,
    pub video: bool,
    clock_rate: u64,
    /// Highest extended sequence number.
    highest: u64,
    places: Vec<Place>,
    missing: Vec<Missing>,
    /// The next packet to decode.
    decode: u64,
    /// Decoding waits for a keyframe.
    broken: bool,
    last_frame: Option<Time>,
    mean_interval: Duration,
    last_pli: Option<Time>,
    last_packet: Time,
    /// Encoding of the last complete frame.
    pub encoding: Option<u8>,
    /// Number of the client that sends it.
    pub client: Option<u32>,
    transit: i64,
    jitter: i64,
    received: u64,
    first: u64,
    reported: (u64, u64),
    last_sr: Option<(u32, Time)>,
}

impl Stream {
    /// A stream that begins with this packet.
    pub fn new(now: Time, ssrc: u32, video: bool, sequence: u16) -> Stream {
        // One cycle up, so that packets from before the first have a number too.
        let first = 1 << 16 | u64::from(sequence);
        Stream {
            ssrc,
            video,
            clock_rate: if video { 90_000 } else { 48_000 },
            highest: first - 1,
            places: vec![Place::default(); if video { WINDOW as usize } else { 64 }],
            missing: Vec::new(),
            decode: first,
            broken: true,
            last_frame: None,
            mean_interval: Duration::from_millis(33),
            last_pli: None,
            last_packet: now,
            encoding: None,
            client: None,
            transit: 0,
            jitter: 0,
            received: 0,
            first,
            reported: (0, 0),
            last_sr: None,
        }
    }

    fn window(&self) -> u64 {
        self.places.len() as u64
    }

    fn place(&mut self, index: u64) -> &mut Place {
        let at = (index % self.window()) as usize;
        &mut self.places[at]
    }

    fn extend(&self, sequence: u16) -> u64 {
        let ahead = sequence.wrapping_sub(self.highest as u16) as i16;
        self.highest.wrapping_add_signed(i64::from(ahead))
    }

    /// Takes a packet.
    pub fn receive(&mut self, now: Time, packet: &Packet, stats: &mut Stats) -> Meaning {
        let index = self.extend(packet.sequence);
        self.last_packet = now;
        if index > self.highest {
            self.advance(now, index, packet.repaired, stats);
        } else if index + self.window() <= self.highest || self.place(index).received {
            return Meaning::Known;
        } else if index < self.first {
            self.first = index;
            stats.missing_packets += 1;
        }
        self.received += 1;
        if index != self.highest
            && let Some(at) = self
                .missing
                .iter()
                .position(|missing| missing.index == index)
        {
            self.missing.swap_remove(at);
        }
        if index < self.highest && !packet.repaired {
            stats.late_packets += 1;
        }
        if let Some(stamp) = packet.stamp {
            self.client = Some(stamp.client);
        }
        *self.place(index) = Place {
            received: true,
            start: packet.start,
            marker: packet.marker,
            keyframe: packet.keyframe,
            encoding: packet.stamp.map_or(0, |stamp| stamp.encoding),
        };
        if !packet.repaired {
            self.note_jitter(now, packet.timestamp);
        }
        Meaning::New
    }

    /// `index` is the newest now; what is in between is missing.
    fn advance(&mut self, now: Time, index: u64, repaired: bool, stats: &mut Stats) {
        let gap = index - self.highest - 1;
        if gap > MAX_GAP {
            // The sender began anew.
            self.missing.clear();
            self.places.fill(Place::default());
            self.decode = index;
            self.broken = true;
            self.first = index;
            self.received = 0;
            self.reported = (0, 0);
            self.highest = index;
            return;
        }
        let own = u64::from(repaired);
        stats.missing_packets += gap + own;
        for missing in self.highest + 1..index {
            *self.place(missing) = Place::default();
            if self.video && self.missing.len() < MAX_MISSING {
                self.missing.push(Missing {
                    index: missing,
                    since: now,
                    asked: None,
                    tries: 0,
                });
            }
        }
        self.highest = index;
    }

    /// RFC 3550 §6.4.1.
    fn note_jitter(&mut self, now: Time, timestamp: u32) {
        let arrival = (now.as_micros() * self.clock_rate / 1_000_000) as u32;
        let transit = i64::from(arrival.wrapping_sub(timestamp) as i32);
        let difference = (transit - self.transit).abs();
        if self.received > 1 && difference < self.clock_rate as i64 {
            self.jitter += (difference - self.jitter) / 16;
        }
        self.transit = transit;
    }

    /// Completes frames with what is there, and returns how many and the encoding of the last one.
    pub fn decode(&mut self, now: Time, stats: &mut Stats) -> u64 {
        let mut frames = 0;
        if self.broken || self.is_stale() {
            self.find_keyframe();
        }
        while self.decode <= self.highest {
            let place = *self.place(self.decode);
            if !place.received || self.broken {
                break;
            }
            self.decode += 1;
            if place.marker {
                frames += 1;
                self.encoding = Some(place.encoding);
                self.frame(now, stats);
            }
        }
        frames
    }

    /// What is missing is too old to come.
    fn is_stale(&self) -> bool {
        self.decode + self.window() / 2 < self.highest || {
            let first = self.missing.iter().map(|missing| missing.index).min();
            self.decode <= self.highest && first.is_none_or(|first| first > self.decode)
        }
    }

    /// Goes on at the newest keyframe that is ahead.
    fn find_keyframe(&mut self) {
        let oldest = (self.highest + 1).saturating_sub(self.window());
        let from = self.decode.max(oldest).max(self.first);
        if !self.broken && from == self.decode && self.place(from).received {
            return;
        }
        for index in (from..=self.highest).rev() {
            let place = *self.place(index);
            if place.received && place.start && place.keyframe {
                self.decode = index;
                self.broken = false;
                return;
            }
        }
    }

    fn frame(&mut self, now: Time, stats: &mut Stats) {
        stats.frames += 1;
        if let Some(last) = self.last_frame {
            let pause = now - last;
            stats.watched_micros += pause.as_micros() as u64;
            let mean = self.mean_interval;
            if pause > (3 * mean).max(mean + FREEZE) {
                stats.freezes += 1;
                stats.frozen_micros += pause.as_micros() as u64;
            } else {
                self.mean_interval = (mean * 15 + pause) / 16;
            }
        }
        self.last_frame = Some(now);
    }

    /// Whether a frame was complete within the last `within`.
    pub fn moved_since(&self, now: Time, within: Duration) -> bool {
        self.last_frame.is_some_and(|last| now - last <= within)
    }

    /// Sequence numbers to ask for again.
    pub fn nacks(&mut self, now: Time) -> Vec<u16> {
        let horizon = (self.highest + 1).saturating_sub(self.window());
        self.missing
            .retain(|missing| missing.tries < NACK_TRIES && missing.index >= horizon);
        let mut due: Vec<u64> = Vec::new();
        for missing in &mut self.missing {
            let wait = match missing.asked {
                Some(asked) => now - asked >= NACK_AGAIN,
                None => now - missing.since >= NACK_AFTER,
            };
            if wait && due.len() < 60 {
                missing.asked = Some(now);
                missing.tries += 1;
                due.push(missing.index);
            }
        }
        due.sort_unstable();
        due.into_iter().map(|index| index as u16).collect()
    }

    /// Whether a keyframe is to be asked for.
    pub fn wants_keyframe(&mut self, now: Time) -> bool {
        let comes = now - self.last_packet < Duration::from_secs(1);
        let stuck = match self.last_frame {
            Some(last) => now - last > STUCK_AFTER.max(2 * self.mean_interval),
            None => self.received > 0,
        };
        let waited = self.last_pli.is_none_or(|last| now - last >= PLI_AGAIN);
        let ask = self.video && comes && stuck && self.decode <= self.highest && waited;
        if ask {
            self.last_pli = Some(now);
        }
        ask
    }

    /// Whether anything came lately.
    pub fn is_alive(&self, now: Time) -> bool {
        now - self.last_packet < Duration::from_secs(2)
    }

    pub fn note_sender_report(&mut self, now: Time, ntp: u64) {
        self.last_sr = Some(((ntp >> 16) as u32, now));
    }

    /// RFC 3550 §6.4.1, A.3.
    pub fn report(&mut self, now: Time) -> ReportBlock {
        let expected = self.highest + 1 - self.first;
        let (last_expected, last_received) = self.reported;
        let lost = expected as i64 - self.received as i64;
        let (new, got) = (
            expected.saturating_sub(last_expected),
            self.received.saturating_sub(last_received),
        );
        self.reported = (expected, self.received);
        let fraction = (new.saturating_sub(got) * 256)
            .checked_div(new)
            .unwrap_or(0);
        let (last_sr, since) = self
            .last_sr
            .map_or((0, Duration::ZERO), |(sr, at)| (sr, now - at));
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: fraction.min(255) as u8,
            cumulative_lost: lost as i32,
            highest_sequence: self.highest as u32 - (1 << 16),
            jitter: self.jitter as u32,
            last_sr,
            delay_since_last_sr: (since.as_micros() * 65_536 / 1_000_000) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(33);

    /// Frames of two packets; every keyframe is named.
    fn packet(sequence: u16, keyframe: bool) -> Packet {
        Packet {
            sequence,
            timestamp: u32::from(sequence / 2) * 3_000,
            marker: sequence % 2 == 1,
            start: sequence.is_multiple_of(2),
            keyframe: keyframe && sequence.is_multiple_of(2),
            stamp: None,
            repaired: false,
        }
    }

    struct Run {
        stream: Stream,
        stats: Stats,
        now: Time,
    }

    impl Run {
        fn new(first: u16) -> Run {
            let now = Time::from_millis(1_000);
            Run {
                stream: Stream::new(now, 1, true, first),
                stats: Stats::default(),
                now,
            }
        }

        fn take(&mut self, packet: Packet) -> (Meaning, u64) {
            self.now += FRAME / 2;
            let meaning = self.stream.receive(self.now, &packet, &mut self.stats);
            (meaning, self.stream.decode(self.now, &mut self.stats))
        }
    }

    #[test]
    fn frames_are_complete_in_order_across_the_wrap() {
        let mut run = Run::new(65_532);
        for at in 0..20u16 {
            run.take(packet(65_532u16.wrapping_add(at), at == 0));
        }
        assert_eq!((run.stats.frames, run.stats.missing_packets), (10, 0));
    }

    #[test]
    fn a_hole_is_asked_for_and_its_repair_completes_what_waited() {
        let mut run = Run::new(100);
        for sequence in [100, 101, 103, 104, 105] {
            run.take(packet(sequence, sequence == 100));
        }
        assert_eq!((run.stats.frames, run.stats.missing_packets), (1, 1));
        assert_eq!(run.stream.nacks(run.now), [102]);
        assert!(run.stream.nacks(run.now).is_empty());
        let repaired = Packet {
            repaired: true,
            ..packet(102, false)
        };
        assert_eq!(run.take(repaired), (Meaning::New, 2));
        assert_eq!(run.take(repaired).0, Meaning::Known);
        run.stats.repaired_packets = 1;
        assert_eq!(run.stats.lost_packets(), 0);
    }

    #[test]
    fn what_can_not_be_repaired_is_passed_over_at_a_keyframe() {
        let mut run = Run::new(100);
        for sequence in [100, 101, 103, 104, 105] {
            run.take(packet(sequence, sequence == 100));
        }
        for _ in 0..NACK_TRIES + 1 {
            run.now += Duration::from_millis(100);
            run.stream.nacks(run.now);
        }
        run.take(packet(106, false));
        assert!(run.stream.wants_keyframe(run.now));
        assert!(!run.stream.wants_keyframe(run.now));
        run.take(packet(107, false));
        assert_eq!(run.stats.frames, 1);
        run.take(packet(108, true));
        run.take(packet(109, false));
        assert_eq!((run.stats.frames, run.stats.freezes), (2, 1));
        assert_eq!(run.stats.lost_packets(), 1);
    }

    #[test]
    fn reordering_is_no_loss() {
        let mut run = Run::new(100);
        for sequence in [100, 101, 104, 103, 102, 105] {
            run.take(packet(sequence, sequence == 100));
        }
        assert_eq!((run.stats.frames, run.stats.lost_packets()), (3, 0));
        let report = run.stream.report(run.now);
        assert_eq!(
            (
                report.cumulative_lost,
                report.fraction_lost,
                report.highest_sequence
            ),
            (0, 0, 105)
        );
    }
}

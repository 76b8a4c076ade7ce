//! One incoming SSRC: duplicates, gap closing, reception statistics.

use crate::limits::RECEIVE_HISTORY;
use crate::messages::SenderReportClock;
use crate::time::Time;

const WORDS: usize = RECEIVE_HISTORY / 64;
const HISTORY: u64 = RECEIVE_HISTORY as u64;

/// Where extended sequence numbers begin. Far from zero, so that packets from before the first one have
/// a number too, and zero in its lower 32 bits, which are those of a reception report.
const ORIGIN: u64 = 1 << 32;

/// A larger gap is a restart of the sender, not loss (RFC 3550 A.1: `MAX_DROPOUT`).
const MAX_DROPOUT: u64 = 3_000;

/// Jitter samples beyond this many seconds are jumps of the sender's clock.
const MAX_TRANSIT_SECONDS: u32 = 5;

/// What an arriving packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// Not seen before.
    New {
        /// Extended sequence number as the sender counts. Congruent to the sequence number modulo 2¹⁶.
        index: u64,
    },
    /// Seen before.
    Duplicate,
    /// Older than the history of [`RECEIVE_HISTORY`] numbers, or a retransmission of what cannot have
    /// been sent yet.
    TooOld,
}

/// Numbers of one report block (RFC 3550 §6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceptionReport {
    /// Whose reception.
    pub ssrc: u32,
    /// Share lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start; may be negative; within 24 bits signed.
    pub cumulative_lost: i32,
    /// Cycles and highest sequence number.
    pub extended_highest: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report, 0 = none.
    pub last_sr: u32,
    /// Time since that came, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

/// A set of sequence numbers within the last [`RECEIVE_HISTORY`] ones.
#[derive(Clone, Debug, Default)]
struct Bits([u64; WORDS]);

impl Bits {
    fn get(&self, index: u64) -> bool {
        self.0[(index / 64) as usize % WORDS] >> (index % 64) & 1 == 1
    }

    fn set(&mut self, index: u64) {
        self.0[(index / 64) as usize % WORDS] |= 1 << (index % 64);
    }

    /// Calls `visit` with each word that `first..=last` touches and the mask of its bits that are inside.
    /// The range spans at most the history.
    fn words(&mut self, first: u64, last: u64, mut visit: impl FnMut(&mut u64, u64)) {
        let mut at = first;
        while at <= last {
            let bits = (64 - at % 64).min(last - at + 1);
            let mask = u64::MAX >> (64 - bits) << (at % 64);
            visit(&mut self.0[(at / 64) as usize % WORDS], mask);
            at += bits;
        }
    }

    fn clear(&mut self, first: u64, last: u64) {
        self.words(first, last, |word, mask| *word &= !mask);
    }

    fn count(&mut self, first: u64, last: u64) -> u64 {
        let mut count = 0;
        self.words(first, last, |word, mask| {
            count += u64::from((*word & mask).count_ones())
        });
        count
    }
}

/// Reception statistics (RFC 3550 A.3 and A.8), without retransmissions.
#[derive(Clone, Debug, Default)]
struct Reception {
    /// Highest extended number; 0 before the first packet.
    highest: u64,
    expected: u64,
    received: u64,
    bytes: u64,
    expected_before: u64,
    received_before: u64,
    news: bool,
    /// Arrival minus timestamp of the last packet in order.
    transit: Option<u32>,
    /// Scaled by 16.
    jitter: u32,
}

/// State of one incoming SSRC.
///
/// Two numberings: the *index* is the sequence number as the sender counts, extended; the *closed index* is
/// what later stages see, in which discarded packets have no number (media-plane §2.11). A late packet
/// gets the closed index that was reserved for it.
#[derive(Clone, Debug)]
pub struct IncomingStream {
    ssrc: u32,
    clock_rate: u32,
    /// Highest index, of retransmissions too; 0 before the first packet.
    highest: u64,
    received: Bits,
    discarded: Bits,
    /// Numbers that were taken out so far.
    closed: u64,
    reception: Reception,
    sender_report: Option<SenderReportClock>,
}

impl IncomingStream {
    /// Nothing received yet. `clock_rate` in Hz.
    pub fn new(ssrc: u32, clock_rate: u32) -> IncomingStream {
        IncomingStream {
            ssrc,
            clock_rate,
            highest: 0,
            received: Bits::default(),
            discarded: Bits::default(),
            closed: 0,
            reception: Reception::default(),
            sender_report: None,
        }
    }

    /// Its SSRC.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// A packet on the media SSRC. `size` in bytes, for statistics.
    pub fn on_rtp(&mut self, now: Time, sequence: u16, timestamp: u32, size: usize) -> Arrival {
        let arrival = self.place(sequence, u64::MAX);
        if let Arrival::New { index } = arrival {
            self.count(now, index, timestamp, size);
        }
        arrival
    }

    /// The original of a retransmission: not part of the statistics (media-plane §2.12). One that would
    /// be ahead by more than the history is refused.
    pub fn on_rtx(&mut self, sequence: u16) -> Arrival {
        self.place(sequence, HISTORY)
    }

    /// The packet with this index goes on: its closed index. To be called once for each new packet that is
    /// not discarded, before the next one is placed.
    pub fn accept(&mut self, index: u64) -> u64 {
        let oldest = index.max((self.highest + 1).saturating_sub(HISTORY));
        let later = if index < self.highest {
            self.discarded.count(oldest, self.highest)
        } else {
            0
        };
        index - (self.closed - later)
    }

    /// The packet with this index is discarded: packets behind it move up. If one of those was already
    /// seen, the number stays a hole.
    pub fn discard(&mut self, index: u64) {
        if index == self.highest && !self.discarded.get(index) {
            self.discarded.set(index);
            self.closed += 1;
        }
    }

    /// A sender report of this SSRC: 64-bit NTP time and the RTP timestamp.
    pub fn on_sender_report(&mut self, now: Time, ntp: u64, rtp: u32) {
        self.sender_report = Some(SenderReportClock {
            ntp,
            rtp,
            arrival: now,
        });
    }

    /// The last sender report.
    pub fn sender_report(&self) -> Option<SenderReportClock> {
        self.sender_report
    }

    /// A report block, if anything came since the last one (media-plane §2.19: ask every 500 ms).
    pub fn report_block(&mut self, now: Time) -> Option<ReceptionReport> {
        let reception = &mut self.reception;
        if !std::mem::take(&mut reception.news) {
            return None;
        }
        let expected = reception.expected - reception.expected_before;
        let received = reception.received - reception.received_before;
        reception.expected_before = reception.expected;
        reception.received_before = reception.received;
        let lost = expected.saturating_sub(received);
        let fraction = (lost * 256).checked_div(expected).unwrap_or(0);
        let (last_sr, delay_since_last_sr) = match self.sender_report {
            None => (0, 0),
            Some(report) => {
                let delay = (now - report.arrival).as_micros() * 65_536 / 1_000_000;
                (
                    (report.ntp >> 16) as u32,
                    u32::try_from(delay).unwrap_or(u32::MAX),
                )
            }
        };
        Some(ReceptionReport {
            ssrc: self.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: self.cumulative_lost(),
            extended_highest: self.reception.highest as u32,
            jitter: self.reception.jitter >> 4,
            last_sr,
            delay_since_last_sr,
        })
    }

    /// Packets received, without duplicates and retransmissions.
    pub fn packets(&self) -> u64 {
        self.reception.received
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.reception.bytes
    }

    /// Packets lost before repair; negative when more late packets came than are known to be lost.
    pub fn cumulative_lost(&self) -> i32 {
        const MAX: i64 = (1 << 23) - 1;
        let lost = self.reception.expected as i64 - self.reception.received as i64;
        lost.clamp(-MAX - 1, MAX) as i32
    }

    fn place(&mut self, sequence: u16, furthest: u64) -> Arrival {
        if self.highest == 0 {
            self.highest = ORIGIN + u64::from(sequence);
            self.received.set(self.highest);
            return Arrival::New {
                index: self.highest,
            };
        }
        let distance = i64::from(sequence.wrapping_sub(self.highest as u16) as i16);
        let index = self.highest.saturating_add_signed(distance);
        if index > self.highest {
            let ahead = index - self.highest;
            if ahead > furthest {
                return Arrival::TooOld;
            }
            let first = index - ahead.min(HISTORY) + 1;
            self.received.clear(first, index);
            self.discarded.clear(first, index);
            self.highest = index;
        } else if self.highest - index >= HISTORY {
            return Arrival::TooOld;
        } else if self.received.get(index) {
            return Arrival::Duplicate;
        }
        self.received.set(index);
        Arrival::New { index }
    }

    fn count(&mut self, now: Time, index: u64, timestamp: u32, size: usize) {
        let reception = &mut self.reception;
        reception.news = true;
        reception.received += 1;
        reception.bytes += size as u64;
        if index <= reception.highest {
            return;
        }
        let advance = index - reception.highest;
        let restarted = reception.highest == 0 || advance > MAX_DROPOUT;
        reception.expected += if restarted { 1 } else { advance };
        reception.highest = index;

        let clock_rate = u64::from(self.clock_rate);
        let (seconds, micros) = (now.as_micros() / 1_000_000, now.as_micros() % 1_000_000);
        let arrival = seconds
            .wrapping_mul(clock_rate)
            .wrapping_add(micros * clock_rate / 1_000_000);
        let transit = (arrival as u32).wrapping_sub(timestamp);
        if let Some(before) = reception.transit.replace(transit) {
            let difference = (transit.wrapping_sub(before) as i32).unsigned_abs();
            if difference < self.clock_rate.saturating_mul(MAX_TRANSIT_SECONDS) {
                // RFC 3550 A.8; the sum stays below 16 × the largest difference.
                let jitter = u64::from(reception.jitter);
                reception.jitter = (jitter + u64::from(difference) - (jitter + 8) / 16) as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    fn stream() -> IncomingStream {
        IncomingStream::new(7, 90_000)
    }

    fn receive(stream: &mut IncomingStream, sequence: u16) -> Arrival {
        stream.on_rtp(Time::ZERO, sequence, 0, 100)
    }

    fn accept(stream: &mut IncomingStream, sequence: u16) -> u16 {
        match receive(stream, sequence) {
            Arrival::New { index } => stream.accept(index) as u16,
            other => panic!("{sequence}: {other:?}"),
        }
    }

    fn discard(stream: &mut IncomingStream, sequence: u16) {
        match receive(stream, sequence) {
            Arrival::New { index } => stream.discard(index),
            other => panic!("{sequence}: {other:?}"),
        }
    }

    #[test]
    fn media_plane_case_45_silence_leaves_no_gap() {
        let mut stream = stream();
        (100..104).for_each(|sequence| assert_eq!(accept(&mut stream, sequence), sequence));
        (104..110).for_each(|sequence| discard(&mut stream, sequence));
        assert_eq!(accept(&mut stream, 110), 104);
        assert_eq!(accept(&mut stream, 111), 105);
    }

    #[test]
    fn media_plane_case_46_the_original_and_its_retransmission_count_as_one() {
        let mut stream = stream();
        receive(&mut stream, 776);
        receive(&mut stream, 778);
        assert!(matches!(stream.on_rtx(777), Arrival::New { .. }));
        assert_eq!(receive(&mut stream, 777), Arrival::Duplicate);
        assert_eq!(stream.on_rtx(777), Arrival::Duplicate);
        assert_eq!(
            stream.packets(),
            2,
            "retransmissions are not in the statistics"
        );
        assert_eq!(stream.cumulative_lost(), 1);
    }

    #[test]
    fn media_plane_case_51_padding_between_two_packets_leaves_no_gap() {
        let mut stream = stream();
        assert_eq!(accept(&mut stream, 20), 20);
        discard(&mut stream, 21);
        assert_eq!(accept(&mut stream, 22), 21);
    }

    #[test]
    fn a_late_packet_gets_the_number_reserved_for_it() {
        let mut stream = stream();
        assert_eq!(accept(&mut stream, 65_533), 65_533);
        discard(&mut stream, 65_534);
        assert_eq!(accept(&mut stream, 0), 65_535); // 65 535 is missing
        discard(&mut stream, 1);
        assert_eq!(accept(&mut stream, 2), 0);
        assert_eq!(accept(&mut stream, 65_535), 65_534);
        // Discarded too late: its number was given away as a hole.
        discard(&mut stream, 4);
        assert_eq!(accept(&mut stream, 5), 2);
        discard(&mut stream, 3);
        assert_eq!(accept(&mut stream, 6), 3);
    }

    #[test]
    fn old_numbers_and_far_retransmissions_are_refused() {
        let mut stream = stream();
        receive(&mut stream, 2_000);
        assert_eq!(receive(&mut stream, 976), Arrival::TooOld);
        assert!(matches!(receive(&mut stream, 977), Arrival::New { .. }));
        assert_eq!(stream.on_rtx(3_025), Arrival::TooOld);
        assert_eq!(
            receive(&mut stream, 1_999),
            Arrival::New {
                index: ORIGIN + 1_999
            }
        );
    }

    #[test]
    fn t40_jumps_only_move_the_window() {
        let mut stream = stream();
        let mut random = crate::random::Random::from_seed(40);
        let (mut sequence, mut last) = (0u16, 0);
        for _ in 0..200_000 {
            sequence = sequence.wrapping_add(match random.below(5) {
                0 => 1,
                1 => 1 << 14,
                2 => 1 << 15,
                3 => u16::MAX,
                _ => random.u32() as u16,
            });
            if let Arrival::New { index } = stream.on_rtp(Time::ZERO, sequence, random.u32(), 1) {
                assert_eq!(index as u16, sequence);
                if index > last && random.below(2) == 0 {
                    stream.discard(index);
                } else {
                    assert!(stream.accept(index) <= index);
                }
                last = last.max(index);
            }
        }
        assert!(stream.report_block(Time::ZERO).is_some());
    }

    #[test]
    fn reports_tell_loss_in_the_interval_and_in_total() {
        let mut stream = stream();
        assert_eq!(stream.report_block(Time::ZERO), None);
        for sequence in [65_534, 65_535, 0, 4] {
            receive(&mut stream, sequence);
        }
        let report = stream.report_block(Time::ZERO).expect("packets came");
        assert_eq!(
            (report.fraction_lost, report.cumulative_lost),
            (109, 3),
            "3 of 7"
        );
        assert_eq!(report.extended_highest, 0x1_0004);
        assert_eq!(stream.report_block(Time::ZERO), None);

        for sequence in [1, 2, 5, 5] {
            receive(&mut stream, sequence);
        }
        let report = stream.report_block(Time::ZERO).expect("packets came");
        assert_eq!((report.fraction_lost, report.cumulative_lost), (0, 1));

        receive(&mut stream, 4_000);
        assert_eq!(stream.cumulative_lost(), 1, "a jump is a restart");
    }

    #[test]
    fn jitter_is_in_timestamp_units() {
        let mut stream = stream();
        // 30 frames/s, every second one late by 10 ms = 900 units.
        for frame in 0..600u32 {
            let late = u64::from(frame % 2) * 10_000;
            let now = Time::from_micros(u64::from(frame) * 1_000_000 / 30 + late);
            stream.on_rtp(now, frame as u16, frame * 3_000, 100);
        }
        let jitter = stream
            .report_block(Time::from_millis(30_000))
            .expect("packets came")
            .jitter;
        assert!((880..=905).contains(&jitter), "{jitter}");

        // A jump of the sender's clock is no jitter.
        stream.on_rtp(Time::from_millis(20_000), 600, 0x7000_0000, 100);
        assert!(
            stream
                .report_block(Time::from_millis(30_000))
                .expect("a packet came")
                .jitter
                <= jitter
        );
    }

    #[test]
    fn reports_refer_to_the_last_sender_report() {
        let mut stream = stream();
        receive(&mut stream, 1);
        let arrival = Time::from_millis(1_000);
        stream.on_sender_report(arrival, 0x1111_2222_3333_4444, 5);
        let report = stream
            .report_block(arrival + Duration::from_millis(1_500))
            .expect("a packet came");
        assert_eq!(
            (report.last_sr, report.delay_since_last_sr),
            (0x2222_3333, 3 * 32_768)
        );
        assert_eq!(stream.sender_report().map(|report| report.rtp), Some(5));
    }

    proptest! {
        /// Closed indexes are the indexes without those that were discarded in order.
        #[test]
        fn closed_indexes_follow_the_model(
            start: u16,
            packets in proptest::collection::vec((-40i64..60, any::<bool>(), any::<bool>()), 1..400),
        ) {
            let mut stream = stream();
            let mut highest = 0u64;
            let mut seen = BTreeSet::new();
            let mut taken_out = BTreeSet::new();
            let mut given = BTreeMap::new();
            for (step, drop, is_rtx) in packets {
                // Mostly forward by one, sometimes a gap or a late one.
                let step = if step < 30 { step } else { 1 };
                let number = if highest == 0 { ORIGIN + u64::from(start) } else { highest.saturating_add_signed(step) };
                let arrival = if is_rtx {
                    stream.on_rtx(number as u16)
                } else {
                    stream.on_rtp(Time::ZERO, number as u16, 0, 1)
                };
                if !seen.insert(number) {
                    prop_assert_eq!(arrival, Arrival::Duplicate);
                    continue;
                }
                prop_assert_eq!(arrival, Arrival::New { index: number });
                if drop {
                    stream.discard(number);
                    if number > highest {
                        taken_out.insert(number);
                    }
                } else {
                    let closed = stream.accept(number);
                    prop_assert_eq!(closed, number - taken_out.range(..number).count() as u64);
                    prop_assert_eq!(given.insert(closed, number), None, "given twice");
                }
                highest = highest.max(number);
            }
            prop_assert!(given.values().is_sorted(), "the order is the sender's");
        }

        #[test]
        fn bit_ranges_agree_with_single_bits(bits in proptest::collection::btree_set(0u64..1_024, 0..200), a in 0u64..1_024, b in 0u64..1_024) {
            let (first, last) = (a.min(b) + 5_000, a.max(b) + 5_000);
            let mut set = Bits::default();
            bits.iter().for_each(|bit| set.set(bit + 5_000));
            let inside = bits.range(a.min(b)..=a.max(b)).count() as u64;
            prop_assert_eq!(set.count(first, last), inside);
            set.clear(first, last);
            prop_assert_eq!(set.count(5_000, 6_023), bits.len() as u64 - inside);
        }
    }
}

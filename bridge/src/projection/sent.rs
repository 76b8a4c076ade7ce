//! What was sent on an outgoing video stream: enough to send it again from the shared packet.

use std::time::Duration;

use super::Rewrite;
use crate::limits;
use crate::time::Time;

/// Capacity at first; doubled while packets are sent faster than records age.
const FIRST_CAPACITY: usize = 64;
/// Share of the round-trip time after which a packet that was sent again must be missing for a second
/// time, in percent (media-plane spec §2.13).
const HOLD_OFF_PERCENT: u32 = 90;
/// The same as an absolute margin.
const HOLD_OFF_MARGIN: Duration = Duration::from_millis(5);

/// A packet to send again: the same numbers for the same source packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resend {
    /// Encoding whose [`super::cache::PacketCache`] has it.
    pub encoding: u8,
    /// Its index there.
    pub index: u64,
    /// Numbers it was sent with; the original sequence number (RFC 4588 OSN) is among them.
    pub rewrite: Rewrite,
}

/// Why a packet is not sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Never sent, or no longer known.
    Unknown,
    /// The last copy may still be under way.
    TooSoon,
    /// It was sent again [`limits::MAX_RETRANSMISSIONS`] times already (T45).
    TooOften,
}

/// A stream has up to [`limits::SENT_RECORDS`] of them.
#[derive(Clone, Copy, Debug)]
struct Record {
    index: u64,
    sent: Time,
    rewrite: Rewrite,
    encoding: u8,
    resends: u8,
}

impl Record {
    fn resend(&self) -> Resend {
        Resend {
            encoding: self.encoding,
            index: self.index,
            rewrite: self.rewrite,
        }
    }
}

/// Records of the packets sent latest on one outgoing stream.
#[derive(Debug, Default)]
pub struct SentRecords {
    /// A power of two, or empty. A record is at its sequence number modulo the length.
    ring: Vec<Option<Record>>,
    newest: u64,
}

impl SentRecords {
    /// Empty, without memory.
    pub fn new() -> SentRecords {
        SentRecords::default()
    }

    /// Another source follows on the stream: what it sent before can not be sent again. Gives the memory
    /// back.
    pub fn clear(&mut self) {
        *self = SentRecords::default();
    }

    fn at(&self, sequence: u64) -> Option<usize> {
        let mask = (self.ring.len() as u64).checked_sub(1)?;
        Some((sequence & mask) as usize)
    }

    fn find(&self, sequence: u64) -> Option<&Record> {
        self.ring
            .get(self.at(sequence)?)?
            .as_ref()
            .filter(|record| record.rewrite.sequence == sequence)
    }

    /// Notes a packet that is being sent: packet `index` of `encoding` with these numbers.
    pub fn record(&mut self, now: Time, encoding: u8, index: u64, rewrite: &Rewrite) {
        let record = Record {
            index,
            sent: now,
            rewrite: *rewrite,
            encoding,
            resends: 0,
        };
        if self.ring.is_empty() {
            self.ring.resize(FIRST_CAPACITY, None);
        }
        let in_the_way = self
            .at(record.rewrite.sequence)
            .and_then(|at| self.ring.get(at))
            .copied()
            .flatten();
        let young = in_the_way.is_some_and(|old| {
            old.rewrite.sequence != record.rewrite.sequence
                && now.since(old.sent) <= limits::CACHE_AGE
        });
        if young && self.ring.len() < limits::SENT_RECORDS {
            self.grow();
        }
        self.newest = self.newest.max(record.rewrite.sequence);
        if let Some(at) = self.at(record.rewrite.sequence)
            && let Some(cell) = self.ring.get_mut(at)
            && cell.is_none_or(|old| old.rewrite.sequence <= record.rewrite.sequence)
        {
            *cell = Some(record);
        }
    }

    fn grow(&mut self) {
        let grown = vec![None; self.ring.len() * 2];
        let old = std::mem::replace(&mut self.ring, grown);
        for record in old.into_iter().flatten() {
            if let Some(at) = self.at(record.rewrite.sequence)
                && let Some(cell) = self.ring.get_mut(at)
            {
                *cell = Some(record);
            }
        }
    }

    /// What to send for a NACK of sequence number `sequence`, given the receiver's round-trip time if it
    /// is known. Tell [`SentRecords::resent`] when it really is sent.
    ///
    /// # Errors
    /// See [`Refusal`]; each means that nothing is sent.
    pub fn lookup_for_resend(
        &self,
        now: Time,
        sequence: u16,
        rtt: Option<Duration>,
    ) -> Result<Resend, Refusal> {
        let behind = (self.newest as u16).wrapping_sub(sequence);
        let sequence = self
            .newest
            .checked_sub(u64::from(behind))
            .ok_or(Refusal::Unknown)?;
        let record = self.find(sequence).ok_or(Refusal::Unknown)?;
        if record.resends >= limits::MAX_RETRANSMISSIONS {
            return Err(Refusal::TooOften);
        }
        let hold_off = rtt.map_or(Duration::ZERO, |rtt| {
            (rtt * HOLD_OFF_PERCENT / 100).min(rtt.saturating_sub(HOLD_OFF_MARGIN))
        });
        if now.since(record.sent) < hold_off {
            return Err(Refusal::TooSoon);
        }
        Ok(record.resend())
    }

    /// The packet with this (extended) sequence number was sent again because of a NACK.
    pub fn resent(&mut self, now: Time, sequence: u64) {
        if let Some(at) = self.at(sequence)
            && let Some(Some(record)) = self.ring.get_mut(at)
            && record.rewrite.sequence == sequence
        {
            record.sent = now;
            record.resends = record.resends.saturating_add(1);
        }
    }

    /// What was sent, newest first: duplicates of it are the best padding when probing.
    pub fn newest_first(&self) -> impl Iterator<Item = Resend> + '_ {
        (0..self.ring.len() as u64)
            .map_while(|behind| self.newest.checked_sub(behind))
            .filter_map(|sequence| self.find(sequence))
            .map(Record::resend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(sequence: u64) -> Rewrite {
        Rewrite {
            sequence,
            timestamp: sequence as u32 * 10,
            marker: sequence.is_multiple_of(3),
            picture_id: sequence
                .is_multiple_of(2)
                .then_some(sequence as u16 & 0x7fff),
            tl0picidx: Some(sequence as u8),
            dependency: None,
        }
    }

    fn sent(range: impl Iterator<Item = u64>) -> SentRecords {
        let mut records = SentRecords::new();
        for sequence in range {
            records.record(
                Time::from_millis(sequence),
                1,
                sequence + 7000,
                &rewrite(sequence),
            );
        }
        records
    }

    const RTT: Option<Duration> = Some(Duration::from_millis(100));

    #[test]
    fn media_plane_case_106_a_nack_finds_the_packet_with_the_numbers_it_was_sent_with() {
        let records = sent(65_500..65_600);
        let found = records.lookup_for_resend(Time::FAR, 65_590u64 as u16, RTT);
        assert_eq!(
            found,
            Ok(Resend {
                encoding: 1,
                index: 72_590,
                rewrite: rewrite(65_590)
            })
        );
        // Across the wrap of the number on the wire.
        let found = records.lookup_for_resend(Time::FAR, 65_530, RTT);
        assert_eq!(found.map(|resend| resend.rewrite), Ok(rewrite(65_530)));
    }

    #[test]
    fn media_plane_case_113_a_second_nack_waits_for_the_round_trip() {
        let mut records = sent(1000..1001);
        let at = Time::from_millis;
        let lookup = |records: &SentRecords, now| records.lookup_for_resend(now, 1000, RTT);
        assert_eq!(lookup(&records, at(1000 + 89)), Err(Refusal::TooSoon));
        assert!(lookup(&records, at(1000 + 90)).is_ok());
        records.resent(at(1090), 1000);
        assert_eq!(lookup(&records, at(1090 + 89)), Err(Refusal::TooSoon));
        assert!(lookup(&records, at(1090 + 90)).is_ok());

        // Below 50 ms the margin of 5 ms is what counts; no round-trip time, no waiting.
        let short = Some(Duration::from_millis(20));
        assert_eq!(
            records.lookup_for_resend(at(1090 + 14), 1000, short),
            Err(Refusal::TooSoon)
        );
        assert!(
            records
                .lookup_for_resend(at(1090 + 15), 1000, short)
                .is_ok()
        );
        assert!(records.lookup_for_resend(at(1090), 1000, None).is_ok());
        assert!(
            records
                .lookup_for_resend(at(1090), 1000, Some(Duration::from_millis(1)))
                .is_ok()
        );
    }

    #[test]
    fn a_packet_is_sent_again_ten_times_at_most_t45() {
        let mut records = sent(1..2);
        for _ in 0..limits::MAX_RETRANSMISSIONS {
            assert!(records.lookup_for_resend(Time::FAR, 1, None).is_ok());
            records.resent(Time::FAR, 1);
        }
        assert_eq!(
            records.lookup_for_resend(Time::FAR, 1, None),
            Err(Refusal::TooOften)
        );
    }

    #[test]
    fn what_was_never_sent_is_unknown() {
        assert_eq!(
            SentRecords::new().lookup_for_resend(Time::FAR, 5, None),
            Err(Refusal::Unknown)
        );
        let mut records = sent([3, 5].into_iter());
        for unknown in [0, 2, 4, 6, 40_000, 65_535] {
            assert_eq!(
                records.lookup_for_resend(Time::FAR, unknown, None),
                Err(Refusal::Unknown)
            );
        }
        records.clear();
        assert_eq!(
            records.lookup_for_resend(Time::FAR, 5, None),
            Err(Refusal::Unknown)
        );
    }

    #[test]
    fn the_ring_grows_with_the_rate_and_to_its_bound() {
        assert_eq!(sent(0..10).ring.len(), FIRST_CAPACITY);
        let mut slow = SentRecords::new();
        let mut fast = SentRecords::new();
        for sequence in 0..5000 {
            slow.record(
                Time::from_millis(sequence * 33),
                0,
                sequence,
                &rewrite(sequence),
            );
            fast.record(Time::ZERO, 0, sequence, &rewrite(sequence));
        }
        assert_eq!(slow.ring.len(), FIRST_CAPACITY);
        assert_eq!(fast.ring.len(), limits::SENT_RECORDS);
        assert!(fast.lookup_for_resend(Time::ZERO, 5000 - 512, None).is_ok());
        assert_eq!(
            fast.lookup_for_resend(Time::ZERO, 5000 - 513, None),
            Err(Refusal::Unknown)
        );
    }

    #[test]
    fn a_late_packet_does_not_push_out_a_newer_one() {
        let mut records = SentRecords::new();
        for sequence in 0..2000 {
            records.record(Time::ZERO, 0, sequence, &rewrite(sequence));
        }
        records.record(Time::ZERO, 0, 1999 - 512, &rewrite(1999 - 512));
        assert!(records.lookup_for_resend(Time::ZERO, 1999, None).is_ok());
    }

    #[test]
    fn probing_starts_with_the_newest_and_skips_holes() {
        let records = sent([10, 11, 13].into_iter());
        let order: Vec<u64> = records
            .newest_first()
            .map(|resend| resend.rewrite.sequence)
            .collect();
        assert_eq!(order, [13, 11, 10]);
        assert_eq!(SentRecords::new().newest_first().count(), 0);
    }
}

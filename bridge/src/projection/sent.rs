//! What was sent on an outgoing video stream: enough to send it again from the shared packet.
//!
//! A packet's outgoing numbers differ from those it came with by amounts that stay the same for many packets in a
//! row, until something is dropped or switched. So not every packet has a record of its own, but every run of
//! packets with the same differences, and one bit per packet says whether it was sent. That keeps what a
//! receiver needs per source small, and what a packet touches in the cache.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Payload, Rewrite};
use crate::limits;
use crate::prefetch::prefetch;
use crate::time::Time;
use crate::wire::dependency::DependencyRewrite;

/// Share of the round-trip time after which a packet that was sent again must be missing for a second
/// time, in percent (media-plane spec §2.13).
const HOLD_OFF_PERCENT: u32 = 90;
/// The same as an absolute margin.
const HOLD_OFF_MARGIN: Duration = Duration::from_millis(5);
const WORDS: usize = limits::SENT_RECORDS / 64;
const CAPACITY: u64 = limits::SENT_RECORDS as u64;

/// Why a packet is not sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The last copy may still be under way.
    TooSoon,
    /// It was sent again [`limits::MAX_RETRANSMISSIONS`] times already (T45).
    TooOften,
}

/// The numbers that a packet came with.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    timestamp: u32,
    marker: bool,
    picture_id: Option<u16>,
    tl0picidx: Option<u8>,
    frame_number: u16,
}

impl Numbers {
    /// Those of a packet with this RTP timestamp and marker and this descriptor.
    #[inline]
    pub fn new(timestamp: u32, marker: bool, payload: &Payload) -> Numbers {
        let (picture_id, tl0picidx, frame_number) = match payload {
            Payload::Vp8(vp8) => (vp8.picture_id(), vp8.tl0picidx(), 0),
            Payload::Vp9(vp9) => (vp9.picture_id(), vp9.tl0picidx(), 0),
            Payload::Dependency(descriptor) => (None, None, descriptor.frame_number()),
            Payload::Plain { .. } | Payload::Opaque | Payload::Red(_) => (None, None, 0),
        };
        Numbers {
            timestamp,
            marker,
            picture_id,
            tl0picidx,
            frame_number,
        }
    }
}

/// What was added to a packet's numbers, all modulo their width.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shift {
    /// Outgoing sequence number less the index in the encoding.
    sequence: u64,
    timestamp: u32,
    picture_id: Option<u16>,
    tl0picidx: Option<u8>,
    dependency: Option<DependencyRewrite>,
    encoding: u8,
    flips_marker: bool,
}

impl Shift {
    #[inline]
    fn between(encoding: u8, index: u64, from: &Numbers, to: &Rewrite) -> Shift {
        Shift {
            sequence: to.sequence.wrapping_sub(index),
            timestamp: to.timestamp.wrapping_sub(from.timestamp),
            picture_id: to
                .picture_id
                .map(|id| id.wrapping_sub(from.picture_id.unwrap_or(0))),
            tl0picidx: to
                .tl0picidx
                .map(|id| id.wrapping_sub(from.tl0picidx.unwrap_or(0))),
            dependency: to.dependency.map(|numbers| DependencyRewrite {
                frame_number: numbers.frame_number.wrapping_sub(from.frame_number),
                ..numbers
            }),
            encoding,
            flips_marker: from.marker != to.marker,
        }
    }

    fn apply(&self, sequence: u64, from: &Numbers) -> Rewrite {
        Rewrite {
            sequence,
            timestamp: from.timestamp.wrapping_add(self.timestamp),
            marker: from.marker != self.flips_marker,
            picture_id: self
                .picture_id
                .map(|shift| from.picture_id.unwrap_or(0).wrapping_add(shift)),
            tl0picidx: self
                .tl0picidx
                .map(|shift| from.tl0picidx.unwrap_or(0).wrapping_add(shift)),
            dependency: self.dependency.map(|shift| DependencyRewrite {
                frame_number: from.frame_number.wrapping_add(shift.frame_number),
                ..shift
            }),
        }
    }
}

/// Packets from `first` to that of the next run.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    shift: Shift,
}

/// A packet that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    sequence: u64,
    shift: Shift,
}

impl Sent {
    /// Encoding whose [`super::cache::PacketCache`] has it.
    pub fn encoding(&self) -> u8 {
        self.shift.encoding
    }

    /// Its index there.
    pub fn index(&self) -> u64 {
        self.sequence.wrapping_sub(self.shift.sequence)
    }

    /// The numbers that it was sent with, given those it came with; the original sequence number (RFC 4588
    /// OSN) is among them.
    pub fn rewrite(&self, numbers: &Numbers) -> Rewrite {
        self.shift.apply(self.sequence, numbers)
    }
}

/// The latest [`limits::SENT_RECORDS`] packets of one outgoing stream.
#[derive(Debug, Default)]
pub struct SentRecords {
    /// In order; the first one may begin before what is remembered.
    runs: VecDeque<Run>,
    /// Whether a packet was sent: at its sequence number modulo the number of bits.
    sent: [u64; WORDS],
    newest: u64,
    /// When, and how often, packets were sent again.
    again: BTreeMap<u64, (Time, u8)>,
}

impl SentRecords {
    /// Empty.
    pub fn new() -> SentRecords {
        SentRecords::default()
    }

    /// Another source follows on the stream: what it sent before can not be sent again. Gives the memory
    /// back.
    pub fn clear(&mut self) {
        *self = SentRecords::default();
    }

    /// Asks the processor for the newest run.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if let Some(newest) = self.runs.back() {
            prefetch(newest);
        }
    }

    #[inline]
    fn bit(sequence: u64) -> (usize, u64) {
        ((sequence / 64) as usize % WORDS, 1 << (sequence % 64))
    }

    fn was_sent(&self, sequence: u64) -> bool {
        let (word, bit) = Self::bit(sequence);
        let known = sequence <= self.newest && self.newest - sequence < CAPACITY;
        known && self.sent[word] & bit != 0
    }

    /// Notes a packet that is being sent: packet `index` of `encoding`, which came with the numbers `from`.
    /// A packet older than what is remembered is ignored.
    #[inline]
    pub fn record(&mut self, encoding: u8, index: u64, from: &Numbers, to: &Rewrite) {
        let sequence = to.sequence;
        let shift = Shift::between(encoding, index, from, to);
        match self.runs.back() {
            Some(last) if sequence > self.newest => {
                let more = sequence - self.newest;
                let changed = last.shift != shift;
                self.advance(more);
                if changed {
                    self.begin_run(sequence, shift);
                }
            }
            None => {
                self.newest = sequence;
                self.begin_run(sequence, shift);
            }
            Some(_) if self.newest - sequence >= CAPACITY => return,
            Some(_) => self.record_late(sequence, shift),
        }
        let (word, bit) = Self::bit(sequence);
        self.sent[word] |= bit;
    }

    /// Makes room for `more` numbers: none of them was sent.
    #[inline]
    fn advance(&mut self, more: u64) {
        if more >= CAPACITY {
            self.sent = [0; WORDS];
        } else {
            for sequence in self.newest + 1..=self.newest + more {
                let (word, bit) = Self::bit(sequence);
                self.sent[word] &= !bit;
            }
        }
        self.newest += more;
    }

    fn begin_run(&mut self, first: u64, shift: Shift) {
        let oldest = (self.newest + 1).saturating_sub(CAPACITY);
        while self
            .runs
            .get(1)
            .is_some_and(|second| second.first <= oldest)
        {
            self.runs.pop_front();
        }
        self.runs.push_back(Run { first, shift });
    }

    /// Index of the run that has a number, if any has.
    fn run_of(&self, sequence: u64) -> Option<usize> {
        self.runs
            .partition_point(|run| run.first <= sequence)
            .checked_sub(1)
    }

    /// Splits the run that a late packet falls into, unless its numbers are those of the run, or of the next
    /// one that it comes just before.
    fn record_late(&mut self, sequence: u64, shift: Shift) {
        let run = self.run_of(sequence);
        let around = run.and_then(|at| self.runs.get(at)).map(|run| run.shift);
        if around == Some(shift) {
            return;
        }
        let next = run.map_or(0, |at| at + 1);
        let end = self.runs.get(next).map(|run| run.first);
        if end == Some(sequence + 1)
            && let Some(next) = self.runs.get_mut(next)
            && next.shift == shift
        {
            next.first = sequence;
            return;
        }
        if let Some(around) = around
            && sequence < self.newest
            && end != Some(sequence + 1)
        {
            let rest = Run {
                first: sequence + 1,
                shift: around,
            };
            self.runs.insert(next, rest);
        }
        let single = Run {
            first: sequence,
            shift,
        };
        match run.and_then(|at| self.runs.get_mut(at)) {
            Some(run) if run.first == sequence => run.shift = shift,
            _ => self.runs.insert(next, single),
        }
        // Numbers that are no longer remembered need no run. Bounded, as each kept run has a packet.
        let oldest = (self.newest + 1).saturating_sub(CAPACITY);
        while self
            .runs
            .get(1)
            .is_some_and(|second| second.first <= oldest)
        {
            self.runs.pop_front();
        }
    }

    /// The packet that was sent with this extended sequence number, if it is still known.
    fn find(&self, sequence: u64) -> Option<Sent> {
        if !self.was_sent(sequence) {
            return None;
        }
        let run = self.runs.get(self.run_of(sequence)?)?;
        Some(Sent {
            sequence,
            shift: run.shift,
        })
    }

    /// The packet that a NACK of `sequence` is about; `None` if it was never sent, or is no longer known.
    pub fn lookup(&self, sequence: u16) -> Option<Sent> {
        let behind = (self.newest as u16).wrapping_sub(sequence);
        self.find(self.newest.checked_sub(u64::from(behind))?)
    }

    /// Whether a packet that arrived here at `arrival`, and was sent on at once, may be sent again, given the
    /// receiver's round-trip time if it is known. Tell [`SentRecords::resent`] when it really is sent.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn may_resend(
        &self,
        now: Time,
        packet: &Sent,
        arrival: Time,
        rtt: Option<Duration>,
    ) -> Result<(), Refusal> {
        let again = self.again.get(&packet.sequence).copied();
        let (last, times) = again.unwrap_or((arrival, 0));
        if times >= limits::MAX_RETRANSMISSIONS {
            return Err(Refusal::TooOften);
        }
        let hold_off = rtt.map_or(Duration::ZERO, |rtt| {
            (rtt * HOLD_OFF_PERCENT / 100).min(rtt.saturating_sub(HOLD_OFF_MARGIN))
        });
        if now.since(last) < hold_off {
            return Err(Refusal::TooSoon);
        }
        Ok(())
    }

    /// The packet was sent again because of a NACK.
    pub fn resent(&mut self, now: Time, packet: &Sent) {
        let oldest = (self.newest + 1).saturating_sub(CAPACITY);
        while self
            .again
            .first_key_value()
            .is_some_and(|(sequence, _)| *sequence < oldest)
        {
            self.again.pop_first();
        }
        let (last, times) = self.again.entry(packet.sequence).or_insert((now, 0));
        *last = now;
        *times = times.saturating_add(1);
    }

    /// What was sent, newest first: duplicates of it are the best padding when probing.
    pub fn newest_first(&self) -> impl Iterator<Item = Sent> + '_ {
        (0..CAPACITY)
            .map_while(|behind| self.newest.checked_sub(behind))
            .filter_map(|sequence| self.find(sequence))
    }
}

#[cfg(test)]
#[path = "sent_tests.rs"]
mod tests;

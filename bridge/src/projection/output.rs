//! The outgoing stream's own numbers: they outlive suspensions, codecs and sources.

use std::time::Duration;

use super::Start;
use crate::time::Time;

/// Sequence numbers that a late packet can still get.
const WINDOW: u64 = 1024;
const WORD: u64 = 64;
/// Assumed step between frames where no better is known, in ticks of the 90 kHz clock.
const FRAME_TICKS: u32 = 3000;
/// Time that is taken for one such step (media-plane spec §3.4).
const FRAME_TIME: Duration = Duration::from_millis(33);
/// Longest step in time: a step of 2^31 ticks or more would look like one back to the receiver.
const MAX_STEP: u64 = 1 << 30;

/// Which sequence numbers were used. A number is given out once, whatever the input: with SRTP a second
/// use would repeat a nonce (T29).
#[derive(Debug)]
pub(super) struct Used {
    highest: u64,
    bits: [u64; (WINDOW / WORD) as usize],
}

impl Used {
    /// Everything up to `highest` counts as used.
    pub(super) fn new(highest: u64) -> Used {
        Used {
            highest,
            bits: [u64::MAX; (WINDOW / WORD) as usize],
        }
    }

    fn bit(&mut self, sequence: u64) -> (&mut u64, u64) {
        let word = (sequence / WORD % (WINDOW / WORD)) as usize;
        (&mut self.bits[word], 1 << (sequence % WORD))
    }

    /// Highest number taken.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Takes `sequence`; false if it was taken before or is too old to know.
    pub(super) fn claim(&mut self, sequence: u64) -> bool {
        if sequence > self.highest {
            if sequence - self.highest >= WINDOW {
                self.bits = [0; (WINDOW / WORD) as usize];
            } else {
                for skipped in self.highest + 1..sequence {
                    let (word, mask) = self.bit(skipped);
                    *word &= !mask;
                }
            }
            self.highest = sequence;
            let (word, mask) = self.bit(sequence);
            *word |= mask;
            return true;
        }
        if self.highest - sequence >= WINDOW {
            return false;
        }
        let (word, mask) = self.bit(sequence);
        let free = *word & mask == 0;
        *word |= mask;
        free
    }
}

/// How the timestamps of one encoding were last translated.
#[derive(Clone, Copy, Debug)]
struct Clock {
    encoding: u8,
    source: u32,
    out: u32,
}

/// Numbers of the newest frame sent.
#[derive(Debug)]
pub(super) struct Output {
    used: Used,
    /// Timestamp of the newest frame sent.
    timestamp: u32,
    /// When its first packet came; `None` before anything was sent.
    created: Option<Time>,
    /// Whether its end was seen.
    ended: bool,
    clock: Option<Clock>,
    /// Last picture id sent, 15 bits.
    pub(super) picture_id: Option<u16>,
    /// Last TL0PICIDX sent.
    pub(super) tl0picidx: Option<u8>,
    /// Last frame number sent in a dependency descriptor.
    pub(super) frame_number: Option<u16>,
    /// Template id that follows those of the last structure sent.
    pub(super) next_template: Option<u8>,
}

impl Output {
    pub(super) fn new(start: Start) -> Output {
        Output {
            used: Used::new(u64::from(start.sequence)),
            timestamp: start.timestamp,
            created: None,
            ended: true,
            clock: None,
            picture_id: None,
            tl0picidx: None,
            frame_number: None,
            next_template: None,
        }
    }

    /// Another source follows: its clock has nothing to do with the last one's.
    pub(super) fn forget_source(&mut self) {
        self.clock = None;
    }

    /// Highest sequence number sent, or that before the first.
    pub(super) fn highest(&self) -> u64 {
        self.used.highest
    }

    pub(super) fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Whether the newest frame sent lacks its end as far as known.
    pub(super) fn is_open(&self) -> bool {
        self.created.is_some() && !self.ended
    }

    /// Takes a sequence number, once.
    pub(super) fn claim(&mut self, sequence: u64) -> bool {
        self.used.claim(sequence)
    }

    /// A frame became the newest one.
    pub(super) fn begin_frame(&mut self, now: Time, encoding: u8, source: u32, out: u32) {
        self.created = Some(now);
        self.ended = false;
        self.timestamp = out;
        self.clock = Some(Clock {
            encoding,
            source,
            out,
        });
    }

    /// The newest frame's end was sent.
    pub(super) fn end_frame(&mut self) {
        self.ended = true;
    }

    /// Timestamp for a frame that follows the newest one by real time.
    pub(super) fn timestamp_by_time(&self, now: Time) -> u32 {
        let frames = match self.created {
            None => 1,
            Some(created) => now.since(created).as_millis() / FRAME_TIME.as_millis(),
        };
        let ticks = u64::try_from(frames)
            .unwrap_or(u64::MAX)
            .max(1)
            .saturating_mul(u64::from(FRAME_TICKS))
            .min(MAX_STEP);
        // MAX_STEP fits 32 bits.
        self.timestamp.wrapping_add(ticks as u32)
    }

    /// Timestamp for a frame of `encoding` where nothing but the newest frame links the two: linear if
    /// that one was of the same encoding and goes forward, by real time else.
    pub(super) fn next_timestamp(&self, now: Time, encoding: u8, source: u32) -> u32 {
        match self.clock {
            Some(clock) if clock.encoding == encoding => match source.wrapping_sub(clock.source) {
                step if step != 0 && step < 1 << 31 => clock.out.wrapping_add(step),
                _ => self.timestamp_by_time(now),
            },
            _ => self.timestamp_by_time(now),
        }
    }

    /// An encoding's timestamp on the line of the outgoing ones.
    pub(super) fn translate(&self, encoding: u8, source: u32) -> Option<u32> {
        let clock = self.clock.filter(|clock| clock.encoding == encoding)?;
        Some(clock.out.wrapping_add(source.wrapping_sub(clock.source)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_up_to_the_start_are_taken() {
        let mut used = Used::new(1);
        assert!(!used.claim(0) && !used.claim(1));
        assert!(used.claim(2) && !used.claim(2));
    }

    #[test]
    fn time_that_would_wrap_the_clock_is_cut() {
        let mut output = Output::new(Start {
            sequence: 1,
            timestamp: 1,
        });
        assert_eq!(output.timestamp_by_time(Time::FAR), 3001);
        output.begin_frame(Time::ZERO, 0, 0, 1);
        assert_eq!(output.timestamp_by_time(Time::FAR), 1 + (1 << 30));
    }

    proptest! {
        #[test]
        fn no_number_is_ever_given_twice_t29(
            steps in proptest::collection::vec(prop_oneof![-40i64..40, -2000i64..2000, -40000i64..40000], 1..300)
        ) {
            let mut used = Used::new(5);
            let mut model: BTreeSet<u64> = (0..=5).collect();
            let mut at = 5i64;
            for step in steps {
                at = (at + step).max(0);
                let sequence = at as u64;
                let highest = *model.last().unwrap();
                let recent = sequence + WINDOW > highest;
                prop_assert_eq!(used.claim(sequence), recent && !model.contains(&sequence));
                if recent {
                    model.insert(sequence);
                }
            }
        }
    }
}

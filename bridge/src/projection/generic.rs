//! Streams without frame numbers: codecs that are not read, and VP8 without picture or temporal ids
//! (media-plane spec §3.3).
//!
//! One encoding at a time passes whole, so numbers shift by constants. Where keyframes can be seen a
//! (re)start waits for one.

use super::filter::QualityFilter;
use super::frames::ticks;
use super::output::Output;
use super::{Rewrite, VideoFacts};
use crate::limits;
use crate::time::Time;

/// A timestamp this far back, in ticks, is a new clock rather than reordering or bidirectional frames.
const CLOCK_RESET: i32 = -10 * 90_000;

/// The shift since the last (re)start.
#[derive(Clone, Copy, Debug)]
struct Shift {
    encoding: u8,
    /// Packets before this index are not sent any more.
    floor: u64,
    offset: u64,
    timestamp: u32,
}

/// State of a stream without frame numbers; what outlives it is in [`Output`].
#[derive(Debug, Default)]
pub(super) struct Generic {
    shift: Option<Shift>,
    /// By encoding: timestamp of the newest packet seen.
    seen: [Option<u32>; limits::MAX_ENCODINGS],
}

impl Generic {
    pub fn clear(&mut self) {
        *self = Generic::default();
    }

    /// `keyframe`: whether the packet starts a keyframe, `None` if nobody here can read the codec;
    /// `newest`: whether no later packet of the encoding was seen.
    pub fn offer(
        &mut self,
        now: Time,
        facts: &VideoFacts,
        keyframe: Option<bool>,
        newest: bool,
        filter: &mut QualityFilter,
        output: &mut Output,
    ) -> Option<Rewrite> {
        let VideoFacts {
            encoding,
            index,
            timestamp,
            marker,
            ..
        } = *facts;
        let is_current = filter.current() == Some(encoding);
        if is_current
            && self
                .shift
                .is_some_and(|shift| shift.encoding == encoding && index < shift.floor)
        {
            return None;
        }
        let seen = self.seen.get_mut(usize::from(encoding))?;
        let begun = *seen == Some(timestamp);
        if newest {
            *seen = Some(timestamp);
        }
        let admitted = match keyframe {
            // What followed an overtaken keyframe was dropped; or, of the current encoding, decided. Of several slices
            // each looks like a start.
            Some(start) => filter.admit(now, encoding, start && newest && !begun, 0),
            None if is_current || newest => filter.admit_blind(now, encoding),
            None => false,
        };
        if !admitted {
            return None;
        }
        let shift = match self
            .shift
            .filter(|shift| is_current && shift.encoding == encoding)
        {
            Some(shift) => shift,
            None => {
                // A hole tells the receiver that the frame before is not complete.
                let sequence = output.highest() + 1 + u64::from(output.is_open());
                let start = output.next_timestamp(now, encoding, timestamp);
                Shift {
                    encoding,
                    floor: index,
                    offset: sequence.wrapping_sub(index),
                    timestamp: start.wrapping_sub(timestamp),
                }
            }
        };
        let shift = self.shift.insert(shift);
        let mut sequence = index.wrapping_add(shift.offset);
        let mut out_timestamp = timestamp.wrapping_add(shift.timestamp);
        if sequence > output.highest() {
            if sequence > output.highest() + 1 + limits::MAX_HOLE {
                sequence = output.highest() + 2;
                shift.offset = sequence.wrapping_sub(index);
                shift.floor = index;
            }
            if ticks(out_timestamp, output.timestamp()) < CLOCK_RESET {
                out_timestamp = output.timestamp_by_time(now);
                shift.timestamp = out_timestamp.wrapping_sub(timestamp);
                shift.floor = index;
            }
            if out_timestamp != output.timestamp() || !is_current {
                output.begin_frame(now, encoding, timestamp, out_timestamp);
            }
            if marker {
                output.end_frame();
            }
        }
        if !output.claim(sequence) {
            return None;
        }
        Some(Rewrite {
            sequence,
            timestamp: out_timestamp,
            marker,
            ..Rewrite::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Packet;
    use super::super::{LayerIndex, Payload, Projection, Start, Verdict};
    use super::*;

    const KEYFRAME: Payload = Payload::Plain { keyframe: true };

    fn projection() -> Projection {
        Projection::new(Start {
            sequence: 1,
            timestamp: 1,
        })
    }

    fn facts(index: u64, timestamp: u32) -> VideoFacts {
        VideoFacts {
            encoding: 0,
            index,
            timestamp,
            marker: false,
            payload_type: 107,
        }
    }

    fn offer(
        projection: &mut Projection,
        millis: u64,
        facts: VideoFacts,
        payload: &Payload,
    ) -> bool {
        let verdict = projection.offer(Time::from_millis(millis), &facts, payload);
        verdict != Verdict::Drop
    }

    #[test]
    fn a_later_slice_of_a_keyframe_begins_nothing() {
        let mut projection = projection();
        assert!(!offer(&mut projection, 0, facts(10, 3000), &KEYFRAME));
        projection.set_target(LayerIndex::new(0, 0, 0));
        assert!(!offer(&mut projection, 1, facts(11, 3000), &KEYFRAME));
        assert!(projection.needs_keyframe());
        assert!(offer(&mut projection, 33, facts(12, 6000), &KEYFRAME));
        assert!(offer(&mut projection, 34, facts(13, 6000), &KEYFRAME));
    }

    #[test]
    fn an_encoding_that_is_late_to_change_its_codec_does_not_bring_the_old_one_back() {
        let mut projection = projection();
        projection.set_target(LayerIndex::new(1, 0, 0));
        for encoding in 0..2 {
            let old = Packet::of(encoding, 100, 3000, 7, 7).key();
            assert!(offer(&mut projection, 0, old.facts(), &old.descriptor()));
        }
        assert!(offer(&mut projection, 33, facts(101, 6000), &KEYFRAME));
        let old = Packet::of(1, 101, 6000, 8, 8);
        assert!(!offer(&mut projection, 34, old.facts(), &old.descriptor()));
        let delta = Payload::Plain { keyframe: false };
        assert!(offer(&mut projection, 66, facts(102, 9000), &delta));
        // The same encoding may change its mind.
        let old = Packet::of(0, 103, 12_000, 9, 9).key();
        assert!(offer(&mut projection, 99, old.facts(), &old.descriptor()));
    }
}

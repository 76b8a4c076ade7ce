//! Audio: one stream in, one out.

use std::time::Duration;

use super::Start;
use super::output::Used;
use crate::limits;
use crate::time::Time;

/// Assumed step to the first packet of another source: 20 ms at 48 kHz (media-plane spec §3.9).
const STEP: u32 = 960;
/// Ticks of the 48 kHz clock per millisecond.
const TICKS_PER_MS: u64 = 48;
/// A pause longer than this passes in timestamps too, or the receiver would take the next source's
/// packets for late ones and delay them.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest step in time; see [`super::output`].
const MAX_STEP: u64 = 1 << 30;
/// A step back of more than 10 s is a new clock.
const CLOCK_RESET: i32 = -10 * 48_000;

/// Numbers of an outgoing audio packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AudioRewrite {
    /// Sequence number, extended; see [`super::Rewrite::sequence`].
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
}

/// Constant shift of a source's numbers.
#[derive(Clone, Copy, Debug)]
struct Shift {
    /// Packets before this index are not sent.
    floor: u64,
    offset: u64,
    timestamp: u32,
    /// The source's packets were left out since: the next begins anew.
    paused: bool,
}

/// One receiver's view of one audio source, or of the sources that follow each other in a slot.
#[derive(Debug)]
pub struct AudioProjection {
    used: Used,
    timestamp: u32,
    sent: Option<Time>,
    shift: Option<Shift>,
}

impl AudioProjection {
    /// Ready for the first source.
    pub fn new(start: Start) -> AudioProjection {
        AudioProjection {
            used: Used::new(u64::from(start.sequence)),
            timestamp: start.timestamp,
            sent: None,
            shift: None,
        }
    }

    /// Another source follows in the stream.
    pub fn rebind(&mut self) {
        self.shift = None;
    }

    /// Packets of the source are being left out on purpose: what comes after follows in sequence, with
    /// the timestamps of the source.
    pub fn pause(&mut self) {
        if let Some(shift) = &mut self.shift {
            shift.paused = true;
        }
    }

    /// Whether a packet with this index belongs to what is being sent, now or before.
    pub fn is_within(&self, index: u64) -> bool {
        self.shift
            .is_some_and(|shift| !shift.paused && index >= shift.floor)
    }

    /// Numbers for a packet, `index` being its extended sequence number with gaps of discarded packets
    /// closed. `None`: do not send it.
    pub fn offer(&mut self, now: Time, index: u64, timestamp: u32) -> Option<AudioRewrite> {
        let next = self.used.highest() + 1;
        let mut shift = match self.shift {
            Some(shift) if index < shift.floor => return None,
            Some(shift) if shift.paused => {
                let late = index.wrapping_add(shift.offset) < next;
                if late {
                    return None;
                }
                Shift {
                    floor: index,
                    offset: next.wrapping_sub(index),
                    paused: false,
                    ..shift
                }
            }
            Some(shift) => shift,
            None => Shift {
                floor: index,
                offset: next.wrapping_sub(index),
                timestamp: self.following_timestamp(now).wrapping_sub(timestamp),
                paused: false,
            },
        };
        let mut sequence = index.wrapping_add(shift.offset);
        let mut out = timestamp.wrapping_add(shift.timestamp);
        if sequence >= next {
            if sequence > next + limits::MAX_HOLE {
                sequence = next + 1;
                shift.offset = sequence.wrapping_sub(index);
                shift.floor = index;
            }
            if (out.wrapping_sub(self.timestamp) as i32) < CLOCK_RESET {
                out = self.following_timestamp(now);
                shift.timestamp = out.wrapping_sub(timestamp);
                shift.floor = index;
            }
            self.timestamp = out;
            self.sent = Some(now);
        }
        self.shift = Some(shift);
        self.used.claim(sequence).then_some(AudioRewrite {
            sequence,
            timestamp: out,
        })
    }

    fn following_timestamp(&self, now: Time) -> u32 {
        let pause = self.sent.map_or(Duration::ZERO, |sent| now.since(sent));
        let ticks = if pause > PAUSE {
            let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            millis.saturating_mul(TICKS_PER_MS).min(MAX_STEP) as u32
        } else {
            STEP
        };
        self.timestamp.wrapping_add(ticks)
    }

    /// Translates a timestamp of the source's sender report; `None` if nothing of the source was sent.
    pub fn project_timestamp(&self, timestamp: u32) -> Option<u32> {
        self.shift
            .map(|shift| timestamp.wrapping_add(shift.timestamp))
    }

    /// Highest sequence number sent, or the one before the first.
    pub fn highest_sequence(&self) -> u64 {
        self.used.highest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Start = Start {
        sequence: 500,
        timestamp: 100_000,
    };

    fn numbers(rewrite: Option<AudioRewrite>) -> Option<(u64, u32)> {
        rewrite.map(|rewrite| (rewrite.sequence, rewrite.timestamp))
    }

    #[test]
    fn media_plane_case_100_a_reused_slot_goes_on_from_what_was_last_sent() {
        let mut audio = AudioProjection::new(START);
        assert_eq!(
            numbers(audio.offer(Time::ZERO, 9000, 7)),
            Some((501, 100_960))
        );
        assert_eq!(
            numbers(audio.offer(Time::ZERO, 9001, 3007)),
            Some((502, 103_960))
        );
        audio.rebind();
        assert_eq!(
            numbers(audio.offer(Time::ZERO, 40, 5)),
            Some((503, 104_920))
        );
        assert_eq!(
            numbers(audio.offer(Time::ZERO, 39, 4)),
            None,
            "before its first"
        );
    }

    #[test]
    fn late_packets_get_their_reserved_number_once_t29() {
        let mut audio = AudioProjection::new(START);
        audio.offer(Time::ZERO, 10, 0);
        assert_eq!(
            numbers(audio.offer(Time::ZERO, 12, 1920)),
            Some((503, 102_880))
        );
        assert_eq!(
            numbers(audio.offer(Time::ZERO, 11, 960)),
            Some((502, 101_920))
        );
        assert_eq!(audio.offer(Time::ZERO, 11, 960), None);
    }

    #[test]
    fn what_is_left_out_on_purpose_leaves_no_hole() {
        let mut audio = AudioProjection::new(START);
        audio.offer(Time::ZERO, 10, 0);
        audio.pause();
        assert_eq!(audio.offer(Time::ZERO, 9, 0), None);
        let later = Time::from_millis(1000);
        assert_eq!(
            numbers(audio.offer(later, 60, 48_000)),
            Some((502, 148_960))
        );
        assert_eq!(
            numbers(audio.offer(later, 61, 48_960)),
            Some((503, 149_920))
        );
    }

    #[test]
    fn a_long_pause_before_another_source_passes_in_timestamps() {
        let mut audio = AudioProjection::new(START);
        audio.offer(Time::ZERO, 10, 0);
        audio.rebind();
        let later = Time::from_millis(30_000);
        assert_eq!(
            numbers(audio.offer(later, 7, 1)),
            Some((502, 100_960 + 30_000 * 48))
        );
    }

    #[test]
    fn jumps_never_leap_further_than_srtp_can_follow_t40() {
        let mut audio = AudioProjection::new(START);
        audio.offer(Time::ZERO, 10, 0);
        assert_eq!(
            numbers(audio.offer(Time::ZERO, 10 + 32_000, 960)),
            Some((503, 101_920))
        );
        assert_eq!(audio.offer(Time::ZERO, 11, 960), None, "its place is gone");
        let after_reset =
            numbers(audio.offer(Time::ZERO, 10 + 32_001, 960u32.wrapping_sub(1 << 30)));
        assert_eq!(after_reset, Some((504, 102_880)));
    }

    #[test]
    fn sender_reports_follow_the_shift() {
        let mut audio = AudioProjection::new(START);
        assert_eq!(audio.project_timestamp(7), None);
        audio.offer(Time::ZERO, 9000, 7);
        assert_eq!(audio.project_timestamp(7 + 480), Some(100_960 + 480));
        audio.rebind();
        assert_eq!(audio.project_timestamp(7), None);
    }
}

//! What was sent and is not acknowledged yet.

use std::collections::VecDeque;
use std::time::Duration;

use super::probe::ClusterId;
use crate::limits::SENT_HISTORY;
use crate::time::Time;

/// Feedback about older packets is of no use any more.
const MAX_AGE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    InFlight,
    /// Reported as not received; may still be reported as received.
    Lost,
    Received,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SentPacket {
    pub(super) sent: Time,
    pub(super) size: u32,
    pub(super) cluster: Option<ClusterId>,
    pub(super) state: State,
}

/// A packet that a feedback reported as received for the first time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged {
    pub(super) number: u64,
    pub(super) sent: Time,
    /// µs on the receiver's clock.
    pub(super) arrival: i64,
    pub(super) size: u32,
    pub(super) cluster: Option<ClusterId>,
}

/// Sent packets by their extended transport-wide sequence number: at most [`SENT_HISTORY`], at most 10 s.
#[derive(Debug)]
pub(super) struct History {
    packets: VecDeque<SentPacket>,
    /// Number of the first of `packets`; the next number to give is behind the last.
    first: u64,
}

impl History {
    pub(super) fn new() -> History {
        // The first number is 1 (media-plane case 110).
        History {
            packets: VecDeque::new(),
            first: 1,
        }
    }

    /// Remembers a packet and gives its number.
    pub(super) fn push(&mut self, now: Time, size: u32, cluster: Option<ClusterId>) -> u64 {
        while self.packets.len() >= SENT_HISTORY
            || self.packets.front().is_some_and(|oldest| {
                oldest.state == State::Received || oldest.sent + MAX_AGE < now
            })
        {
            self.packets.pop_front();
            self.first += 1;
        }
        self.packets.push_back(SentPacket {
            sent: now,
            size,
            cluster,
            state: State::InFlight,
        });
        self.first + self.packets.len() as u64 - 1
    }

    /// The extended number that `sequence` has if it was sent already; `None` if that would be before the
    /// first packet.
    pub(super) fn extend(&self, sequence: u16) -> Option<u64> {
        let newest = self.newest();
        newest
            .checked_sub(u64::from((newest as u16).wrapping_sub(sequence)))
            .filter(|number| *number > 0)
    }

    /// Number of the last packet sent, 0 before the first.
    pub(super) fn newest(&self) -> u64 {
        self.first + self.packets.len() as u64 - 1
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut SentPacket> {
        let at = number.checked_sub(self.first)?;
        self.packets.get_mut(usize::try_from(at).ok()?)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.packets.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_at_one_and_are_extended_backwards_only() {
        let mut history = History::new();
        assert_eq!(history.extend(0), None);
        assert_eq!(history.push(Time::ZERO, 1, None), 1);
        assert_eq!(history.extend(1), Some(1));
        assert_eq!(history.extend(2), None, "never sent");
        for number in 2..=70_000 {
            assert_eq!(history.push(Time::ZERO, 1, None), number);
        }
        assert_eq!(history.extend(70_000u32 as u16), Some(70_000));
        assert_eq!(history.extend(65_535), Some(65_535));
    }

    #[test]
    fn the_history_is_bounded_by_number_and_age() {
        let mut history = History::new();
        for _ in 0..2 * SENT_HISTORY {
            history.push(Time::ZERO, 1, None);
        }
        assert_eq!(history.len(), SENT_HISTORY);
        assert!(history.get_mut(SENT_HISTORY as u64).is_none());
        history.push(Time::from_millis(10_001), 1, None);
        assert_eq!(history.len(), 1);
        assert!(history.get_mut(u64::MAX).is_none());
    }
}

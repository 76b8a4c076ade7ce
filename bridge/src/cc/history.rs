//! What was sent and is not acknowledged yet.

use std::collections::VecDeque;
use std::time::Duration;

use super::probe::ClusterId;
use crate::limits::SENT_HISTORY;
use crate::prefetch::prefetch;
use crate::time::Time;

/// Feedback about older packets is of no use any more.
const MAX_AGE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub(super) enum State {
    InFlight = 0,
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

/// A [`SentPacket`] in eight bytes: there is one for each packet and receiver, and each is written when the cache
/// has long lost it.
#[derive(Clone, Copy, Debug)]
struct Packed {
    /// Lower half of the time sent, µs.
    sent: u32,
    /// Size in the lower 14 bits, [`State`] in the others.
    size_and_state: u16,
    /// [`NO_CLUSTER`], or the cluster.
    cluster: u16,
}

const SIZE_BITS: u32 = 14;
const SIZE_MASK: u16 = (1 << SIZE_BITS) - 1;
const NO_CLUSTER: u16 = u16::MAX;
/// Old packets are looked for once in so many: the oldest is not in the cache either.
const PRUNE_INTERVAL: u64 = 64;

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

/// Sent packets by their extended transport-wide sequence number: at most [`SENT_HISTORY`], and those older than 10 s
/// are forgotten sooner or later.
#[derive(Debug)]
pub(super) struct History {
    packets: VecDeque<Packed>,
    /// Number of the first of `packets`; the next number to give is behind the last.
    first: u64,
    /// When the last one was sent.
    last: Time,
}

impl History {
    pub(super) fn new() -> History {
        // The first number is 1 (media-plane case 110).
        History {
            packets: VecDeque::new(),
            first: 1,
            last: Time::ZERO,
        }
    }

    /// Remembers a packet and gives its number. A cluster 65535 would count as none.
    #[inline]
    pub(super) fn push(&mut self, now: Time, size: u32, cluster: Option<ClusterId>) -> u64 {
        let number = self.newest() + 1;
        if self.packets.len() >= SENT_HISTORY {
            self.packets.pop_front();
            self.first += 1;
        }
        if number.is_multiple_of(PRUNE_INTERVAL) {
            self.prune(now);
        }
        self.last = self.last.max(now);
        self.packets.push_back(Packed {
            sent: now.as_micros() as u32,
            size_and_state: size.min(u32::from(SIZE_MASK)) as u16
                | (State::InFlight as u16) << SIZE_BITS,
            cluster: cluster.map_or(NO_CLUSTER, |cluster| cluster.0),
        });
        number
    }

    fn prune(&mut self, now: Time) {
        while let Some(oldest) = self.packets.front().map(|oldest| self.unpack(*oldest))
            && (oldest.state == State::Received || oldest.sent + MAX_AGE < now)
        {
            self.packets.pop_front();
            self.first += 1;
        }
    }

    fn unpack(&self, packed: Packed) -> SentPacket {
        // Those kept are younger than the 71 minutes after which the lower half comes again.
        let age = (self.last.as_micros() as u32).wrapping_sub(packed.sent);
        SentPacket {
            sent: self.last - Duration::from_micros(age.into()),
            size: u32::from(packed.size_and_state & SIZE_MASK),
            cluster: (packed.cluster != NO_CLUSTER).then_some(ClusterId(packed.cluster)),
            state: match packed.size_and_state >> SIZE_BITS {
                0 => State::InFlight,
                1 => State::Lost,
                _ => State::Received,
            },
        }
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
    #[inline]
    pub(super) fn newest(&self) -> u64 {
        self.first + self.packets.len() as u64 - 1
    }

    /// Asks the processor for the end, where the next packet goes.
    #[inline]
    pub(super) fn prefetch(&self) {
        if let Some(last) = self.packets.back() {
            prefetch(last);
        }
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    pub(super) fn get(&self, number: u64) -> Option<SentPacket> {
        let packed = self.packets.get(self.place(number)?)?;
        Some(self.unpack(*packed))
    }

    /// Notes what became of a packet.
    pub(super) fn set_state(&mut self, number: u64, state: State) {
        let place = self.place(number);
        if let Some(packet) = place.and_then(|place| self.packets.get_mut(place)) {
            let size = packet.size_and_state & SIZE_MASK;
            packet.size_and_state = size | (state as u16) << SIZE_BITS;
        }
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
        assert!(history.get(SENT_HISTORY as u64).is_none());
        for _ in 0..PRUNE_INTERVAL {
            history.push(Time::from_millis(10_001), 1, None);
        }
        assert!(history.len() <= PRUNE_INTERVAL as usize);
        assert!(history.get(u64::MAX).is_none());
    }

    #[test]
    fn a_packet_comes_out_as_it_went_in() {
        let mut history = History::new();
        // Across the wrap of the lower half of the time.
        let start = (1u64 << 32) - 5_000_000;
        let sent = |number: u64| Time::from_micros(start + number * 100_000);
        for number in 1..=100u64 {
            let cluster = number.is_multiple_of(2).then_some(ClusterId(number as u16));
            history.push(sent(number), number as u32 * 15, cluster);
        }
        history.set_state(50, State::Lost);
        history.set_state(51, State::Received);
        for number in 1..=100 {
            let packet = history.get(number).expect("young");
            assert_eq!(
                (packet.sent, packet.size),
                (sent(number), number as u32 * 15)
            );
            let cluster = packet.cluster.map(|cluster| u64::from(cluster.0));
            assert_eq!(cluster, number.is_multiple_of(2).then_some(number));
            let state = match number {
                50 => State::Lost,
                51 => State::Received,
                _ => State::InFlight,
            };
            assert_eq!(packet.state, state);
        }
    }
}

//! Media that comes before its keys.
//!
//! A client sends as soon as its side of the handshake is complete, while ours is still on its way through the handshake pool. What
//! comes meanwhile is most often the start of a keyframe: holding it saves a request and a round trip.

use crate::ids::Path;
use crate::limits::{EARLY_MEDIA_BYTES, EARLY_MEDIA_HOLD, EARLY_MEDIA_PACKETS};
use crate::time::Time;
use crate::wire::demux::Class;

/// A datagram as it came.
#[derive(Debug)]
pub(crate) struct Early {
    at: Time,
    pub class: Class,
    pub path: Path,
    pub datagram: Box<[u8]>,
}

/// What an endpoint sent before its keys, within bounds.
#[derive(Debug, Default)]
pub(crate) struct EarlyMedia {
    held: Vec<Early>,
    bytes: usize,
}

impl EarlyMedia {
    /// Keeps a datagram; false if there is no room for it.
    pub fn hold(&mut self, now: Time, class: Class, path: Path, datagram: &[u8]) -> bool {
        if self
            .held
            .first()
            .is_some_and(|first| now.since(first.at) >= EARLY_MEDIA_HOLD)
        {
            // A handshake that takes this long has not ended with the first datagram: begin again.
            *self = EarlyMedia::default();
        }
        let bytes = self.bytes + datagram.len();
        if self.held.len() >= EARLY_MEDIA_PACKETS || bytes > EARLY_MEDIA_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.held.push(Early {
            at: now,
            class,
            path,
            datagram: datagram.into(),
        });
        true
    }

    /// What is not too old, in the order of arrival; nothing is kept.
    pub fn take(&mut self, now: Time) -> impl Iterator<Item = Early> + use<> {
        let held = std::mem::take(self).held;
        held.into_iter()
            .filter(move |early| now.since(early.at) < EARLY_MEDIA_HOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SocketId;

    fn path() -> Path {
        Path {
            socket: SocketId(0),
            remote: ([192, 0, 2, 1], 4000).into(),
        }
    }

    fn numbers(early: &mut EarlyMedia, now: Time) -> Vec<u8> {
        early.take(now).map(|early| early.datagram[0]).collect()
    }

    #[test]
    fn what_came_is_given_back_once_and_in_order() {
        let mut early = EarlyMedia::default();
        for number in 0..3 {
            assert!(early.hold(Time::ZERO, Class::Rtp, path(), &[number; 100]));
        }
        assert_eq!(numbers(&mut early, Time::from_millis(20)), [0, 1, 2]);
        assert_eq!(numbers(&mut early, Time::from_millis(20)), [0u8; 0]);
    }

    #[test]
    fn it_is_bounded_in_number_size_and_time() {
        let mut early = EarlyMedia::default();
        let small = (0..1_000).filter(|_| early.hold(Time::ZERO, Class::Rtp, path(), &[0; 10]));
        assert_eq!(small.count(), EARLY_MEDIA_PACKETS);
        let late = Time::ZERO + EARLY_MEDIA_HOLD;
        assert_eq!(numbers(&mut early, late), [0u8; 0]);

        let large = (0..1_000).filter(|_| early.hold(Time::ZERO, Class::Rtp, path(), &[0; 1_400]));
        assert_eq!(large.count(), EARLY_MEDIA_BYTES / 1_400);
        assert!(
            early.hold(late, Class::Rtp, path(), &[7; 1_400]),
            "what is too old makes room"
        );
        assert_eq!(numbers(&mut early, late), [7]);
    }
}

//! The order of endpoints for allocation, and who spoke recently (allocation spec §4.2 to §4.5).

use crate::ids::EndpointKey;
use crate::media::VideoType;

/// Whether an endpoint with sources of these types counts as having video. `Disabled` does.
pub fn video_available(types: impl IntoIterator<Item = VideoType>) -> bool {
    types
        .into_iter()
        .any(|video_type| video_type != VideoType::None)
}

/// What became different.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OrderChanges {
    /// [`SpeechOrder::last_n_order`]: all receivers must be allocated anew.
    pub order: bool,
    /// [`SpeechOrder::recent_speakers`]: clients must be told, unless it is empty.
    pub recent: bool,
}

/// A conference's non-visitor endpoints in the order of who spoke last.
#[derive(Clone, Debug)]
pub struct SpeechOrder {
    /// Most recent speaker first, then those that never spoke in the order in which they joined.
    by_speech: Vec<EndpointKey>,
    /// Sorted.
    with_video: Vec<EndpointKey>,
    last_n_order: Vec<EndpointKey>,
    /// All that were ever elected and are still here, most recent first: removals reveal older ones.
    elected: Vec<EndpointKey>,
    exposed: usize,
    scratch: Vec<EndpointKey>,
}

impl SpeechOrder {
    /// `recent_speakers`: previous speakers exposed in addition to the dominant one.
    pub fn new(recent_speakers: usize) -> SpeechOrder {
        SpeechOrder {
            by_speech: Vec::new(),
            with_video: Vec::new(),
            last_n_order: Vec::new(),
            elected: Vec::new(),
            exposed: recent_speakers.saturating_add(1),
            scratch: Vec::new(),
        }
    }

    /// A non-visitor endpoint joins, at the end. No effect if it is here.
    pub fn join(&mut self, endpoint: EndpointKey, has_video: bool) -> OrderChanges {
        if !self.by_speech.contains(&endpoint) {
            self.by_speech.push(endpoint);
            self.note_video(endpoint, has_video);
        }
        self.changes(false)
    }

    /// An endpoint leaves, and with it its place among the recent speakers.
    pub fn leave(&mut self, endpoint: EndpointKey) -> OrderChanges {
        self.by_speech.retain(|known| *known != endpoint);
        self.note_video(endpoint, false);
        let place = self.elected.iter().position(|known| *known == endpoint);
        self.elected.retain(|known| *known != endpoint);
        self.changes(place.is_some_and(|place| place < self.exposed))
    }

    /// An endpoint becomes the dominant speaker. No effect if it is not here (any more).
    pub fn elect(&mut self, endpoint: EndpointKey) -> OrderChanges {
        let Some(place) = self.by_speech.iter().position(|known| *known == endpoint) else {
            return OrderChanges::default();
        };
        self.by_speech[..=place].rotate_right(1);
        let recent = self.elected.first() != Some(&endpoint);
        if recent {
            self.elected.retain(|known| *known != endpoint);
            self.elected.insert(0, endpoint);
        }
        self.changes(recent)
    }

    /// An endpoint has video available (see [`video_available`]) or not.
    pub fn set_video_available(&mut self, endpoint: EndpointKey, available: bool) -> OrderChanges {
        if self.by_speech.contains(&endpoint) {
            self.note_video(endpoint, available);
        }
        self.changes(false)
    }

    /// All endpoints, most recent speaker first.
    pub fn by_speech(&self) -> &[EndpointKey] {
        &self.by_speech
    }

    /// The same, but those with video available before the others.
    pub fn last_n_order(&self) -> &[EndpointKey] {
        &self.last_n_order
    }

    /// Elected speakers, most recent first: the dominant one and a limited number of previous ones.
    pub fn recent_speakers(&self) -> &[EndpointKey] {
        self.elected.get(..self.exposed).unwrap_or(&self.elected)
    }

    /// The dominant speaker.
    pub fn dominant(&self) -> Option<EndpointKey> {
        self.elected.first().copied()
    }

    fn note_video(&mut self, endpoint: EndpointKey, available: bool) {
        match (self.with_video.binary_search(&endpoint), available) {
            (Err(at), true) => self.with_video.insert(at, endpoint),
            (Ok(at), false) => {
                self.with_video.remove(at);
            }
            _ => {}
        }
    }

    fn changes(&mut self, recent: bool) -> OrderChanges {
        self.scratch.clear();
        let with_video = |endpoint: &EndpointKey| self.with_video.binary_search(endpoint).is_ok();
        self.scratch
            .extend(self.by_speech.iter().copied().filter(with_video));
        self.scratch.extend(
            self.by_speech
                .iter()
                .copied()
                .filter(|known| !with_video(known)),
        );
        let order = self.scratch != self.last_n_order;
        std::mem::swap(&mut self.scratch, &mut self.last_n_order);
        OrderChanges { order, recent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: char) -> EndpointKey {
        EndpointKey(u64::from(u32::from(name)))
    }

    fn text(endpoints: &[EndpointKey]) -> String {
        endpoints
            .iter()
            .filter_map(|key| char::from_u32(key.0 as u32))
            .collect()
    }

    fn joined(names: &str, recent: usize) -> SpeechOrder {
        let mut order = SpeechOrder::new(recent);
        for name in names.chars() {
            assert!(order.join(key(name), true).order);
        }
        order
    }

    #[test]
    fn allocation_case_16_speakers_come_first_and_those_without_video_last() {
        let mut order = joined("abcd", 10);
        assert_eq!(text(order.last_n_order()), "abcd");
        for speaker in "dcba".chars() {
            order.elect(key(speaker));
        }
        assert_eq!(text(order.last_n_order()), "abcd");

        assert!(order.set_video_available(key('b'), false).order);
        assert_eq!(text(order.last_n_order()), "acdb");

        assert_eq!(
            order.elect(key('b')),
            OrderChanges {
                order: false,
                recent: true
            }
        );
        assert_eq!(text(order.last_n_order()), "acdb");
        assert_eq!(order.dominant(), Some(key('b')));

        assert!(order.set_video_available(key('b'), true).order);
        assert_eq!(text(order.last_n_order()), "bacd");
    }

    #[test]
    fn allocation_case_17_a_removal_reveals_older_speakers() {
        let mut order = joined("abcde", 2);
        for speaker in "abcde".chars() {
            assert!(order.elect(key(speaker)).recent);
        }
        assert_eq!(text(order.recent_speakers()), "edc");
        assert!(order.leave(key('e')).recent);
        assert_eq!(text(order.recent_speakers()), "dcb");
        assert!(!order.leave(key('a')).recent, "was not exposed");
    }

    /// Allocation spec case 60 (the lists) and Q1: who left is nowhere any more, at once.
    #[test]
    fn allocation_case_60_a_leave_changes_order_and_recent_speakers_at_once() {
        let mut order = joined("abc", 10);
        order.elect(key('a'));
        order.elect(key('b'));
        assert_eq!(
            order.leave(key('a')),
            OrderChanges {
                order: true,
                recent: true
            }
        );
        assert_eq!(text(order.by_speech()), "bc");
        assert_eq!(text(order.last_n_order()), "bc");
        assert_eq!(text(order.recent_speakers()), "b");
    }

    #[test]
    fn electing_the_dominant_speaker_again_or_somebody_unknown_changes_nothing() {
        let mut order = joined("ab", 10);
        assert_eq!(
            order.elect(key('b')),
            OrderChanges {
                order: true,
                recent: true
            }
        );
        assert_eq!(order.elect(key('b')), OrderChanges::default());
        assert_eq!(order.elect(key('x')), OrderChanges::default());
        assert_eq!(text(order.recent_speakers()), "b");
    }

    #[test]
    fn a_disabled_source_counts_as_video() {
        assert!(video_available([VideoType::None, VideoType::Disabled]));
        assert!(!video_available([VideoType::None]));
        assert!(!video_available([]));
    }
}

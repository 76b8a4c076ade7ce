//! Replay windows and the guess of the rollover counter (RFC 3711 §3.3.1, §3.3.2).

/// Whether an index may be accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Not seen yet.
    Fresh,
    /// Seen already.
    Seen,
    /// Too far behind to know.
    TooOld,
}

/// Which of the last `(WORDS - 1) * 64` indices were received. The highest one and that many minus one
/// below it can be told apart.
///
/// The bits are a ring of whole words. One word more than the window is long lets a word be cleared at once
/// when the window enters it.
#[derive(Clone, Debug)]
pub(super) struct Window<const WORDS: usize> {
    /// One above the highest index, 0 at the start.
    next: u64,
    words: [u64; WORDS],
}

impl<const WORDS: usize> Window<WORDS> {
    /// Indices that the window remembers.
    pub(super) const SIZE: u64 = (WORDS as u64 - 1) * 64;

    /// Nothing was received.
    pub(super) const fn new() -> Window<WORDS> {
        Window {
            next: 0,
            words: [0; WORDS],
        }
    }

    /// Everything up to `highest` counts as received.
    pub(super) fn resumed(highest: u64) -> Window<WORDS> {
        let mut words = [u64::MAX; WORDS];
        words[Self::slot(highest).0] = u64::MAX >> (63 - highest % 64);
        Window {
            next: highest + 1,
            words,
        }
    }

    /// The highest index received.
    #[inline]
    pub(super) fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    fn slot(index: u64) -> (usize, u64) {
        ((index / 64 % WORDS as u64) as usize, 1 << (index % 64))
    }

    /// Whether `index` may be accepted.
    #[inline]
    pub(super) fn check(&self, index: u64) -> Verdict {
        if index >= self.next {
            return Verdict::Fresh;
        }
        if index + Self::SIZE < self.next {
            return Verdict::TooOld;
        }
        let (word, bit) = Self::slot(index);
        if self.words[word] & bit == 0 {
            Verdict::Fresh
        } else {
            Verdict::Seen
        }
    }

    /// Marks `index` as received. For indices that [`Window::check`] calls fresh.
    #[inline]
    pub(super) fn accept(&mut self, index: u64) {
        if index >= self.next {
            // Words between the one of the highest index and the new one, that one included.
            let entered = match self.next.checked_sub(1) {
                Some(highest) => index / 64 - highest / 64,
                None => 0,
            };
            for step in 0..entered.min(WORDS as u64) {
                let (word, _) = Self::slot(index - 64 * step);
                self.words[word] = 0;
            }
            self.next = index + 1;
        }
        let (word, bit) = Self::slot(index);
        self.words[word] |= bit;
    }
}

/// Highest index of SRTP: 32 bits of rollover counter, 16 of sequence number.
pub(super) const MAX_INDEX: u64 = (1 << 48) - 1;
/// What one more rollover adds to an index.
pub(super) const ROLLOVER: u64 = 1 << 16;

/// The index of a packet by its sequence number and the highest index so far (RFC 3711 §3.3.1): the nearest
/// one. `None` if that lies before the start, in a rollover period −1 (T28).
#[inline]
pub(super) fn guess(highest: u64, sequence: u16) -> Option<u64> {
    const HALF: u64 = 1 << 15;
    let sequence = u64::from(sequence);
    let highest_sequence = highest % ROLLOVER;
    let period = highest - highest_sequence;
    if highest_sequence < HALF && sequence > highest_sequence + HALF {
        Some(period.checked_sub(ROLLOVER)? + sequence)
    } else if highest_sequence > sequence + HALF {
        Some(period + ROLLOVER + sequence)
    } else {
        Some(period + sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    type Small = Window<3>;

    #[test]
    fn t27_an_index_is_accepted_once_and_only_inside_the_window() {
        let mut window = Small::new();
        assert_eq!(window.highest(), None);
        window.accept(1_000);
        assert_eq!(window.check(1_000), Verdict::Seen);
        assert_eq!(window.check(1_001), Verdict::Fresh);
        assert_eq!(window.check(1_000 - 127), Verdict::Fresh);
        assert_eq!(window.check(1_000 - 128), Verdict::TooOld);
        window.accept(1_000 - 127);
        assert_eq!(window.check(1_000 - 127), Verdict::Seen);
        assert_eq!(window.highest(), Some(1_000));
    }

    #[test]
    fn a_resumed_window_has_seen_everything_up_to_its_highest_index() {
        for highest in [0, 5, 63, 64, 1_000, 1_023] {
            let mut window = Small::resumed(highest);
            for index in 0..=highest {
                assert_ne!(window.check(index), Verdict::Fresh);
            }
            window.accept(highest + 3);
            assert_eq!(window.check(highest), Verdict::Seen);
            assert_eq!(window.check(highest + 1), Verdict::Fresh);
            assert_eq!(window.check(highest + 2), Verdict::Fresh);
        }
    }

    #[test]
    fn the_guess_is_the_nearest_index() {
        const R: u64 = ROLLOVER;
        assert_eq!(guess(65_535, 0), Some(R));
        assert_eq!(guess(R, 65_534), Some(65_534));
        assert_eq!(guess(R + 100, 50), Some(R + 50));
        assert_eq!(guess(5 * R + 40_000, 7_000), Some(6 * R + 7_000));
        assert_eq!(guess(5 * R + 40_000, 8_000), Some(5 * R + 8_000));
        // Exactly half the numbers away: forward from the lower half, the same period from the upper.
        assert_eq!(guess(R, 32_768), Some(R + 32_768));
        assert_eq!(guess(R + 32_768, 0), Some(R));
        // T28: before the start.
        assert_eq!(guess(3, 65_530), None);
        assert_eq!(guess(0, 32_769), None);
    }

    proptest! {
        #[test]
        fn t27_a_window_agrees_with_a_set(
            start in 0u64..1 << 20,
            jumps in proptest::collection::vec(
                prop_oneof![-150i64..150, -5i64..10, 1i64..70_000], 1..300,
            ),
        ) {
            let mut window = Small::new();
            let mut accepted = BTreeSet::new();
            let mut at = start as i64;
            for jump in jumps {
                at = (at + jump).max(0);
                let index = at as u64;
                let expected = match accepted.last() {
                    Some(last) if index + Small::SIZE <= *last => Verdict::TooOld,
                    _ if accepted.contains(&index) => Verdict::Seen,
                    _ => Verdict::Fresh,
                };
                prop_assert_eq!(window.check(index), expected);
                if expected == Verdict::Fresh {
                    window.accept(index);
                    accepted.insert(index);
                }
                prop_assert_eq!(window.highest(), accepted.last().copied());
            }
        }

        #[test]
        fn t28_whatever_is_less_than_half_the_numbers_away_is_guessed_right(
            highest in 0..MAX_INDEX, distance in -32_767i64..=32_767,
        ) {
            if let Some(index) = highest.checked_add_signed(distance) {
                prop_assert_eq!(guess(highest, index as u16), Some(index));
            }
        }
    }
}

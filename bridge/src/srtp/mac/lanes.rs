//! What all lane engines share: which block comes next in each lane, and the rounds of SHA-1, written once for vectors of any
//! width.

use super::{BLOCK, Message, TAIL, tail};

/// The blocks of up to `N` messages, lane by lane.
pub(super) struct Blocks<'a, const N: usize> {
    whole: [&'a [[u8; BLOCK]]; N],
    tails: [[u8; TAIL]; N],
    /// Blocks in each lane.
    counts: [usize; N],
}

impl<'a, const N: usize> Blocks<'a, N> {
    /// Lanes without a message have no block.
    pub(super) fn new(messages: &[Message<'a>]) -> Blocks<'a, N> {
        let mut blocks = Blocks {
            whole: [&[]; N],
            tails: [[0; TAIL]; N],
            counts: [0; N],
        };
        for (lane, message) in messages.iter().enumerate().take(N) {
            let (whole, rest) = message.packet.as_chunks::<BLOCK>();
            let (tail, used) = tail(message.packet.len(), rest, message.suffix);
            blocks.whole[lane] = whole;
            blocks.tails[lane] = tail;
            blocks.counts[lane] = whole.len() + used;
        }
        blocks
    }

    /// Blocks of the longest lane.
    pub(super) fn longest(&self) -> usize {
        self.counts.iter().copied().max().unwrap_or(0)
    }

    /// Block `index` of each lane, and a mask of the lanes that have one; others get bytes without meaning.
    #[inline]
    pub(super) fn at(&self, index: usize) -> ([&[u8; BLOCK]; N], u32) {
        let mut mask = 0;
        let blocks = std::array::from_fn(|lane| {
            mask |= u32::from(index < self.counts[lane]) << lane;
            let whole = self.whole[lane];
            match whole.get(index) {
                Some(block) => block,
                None => {
                    let tail = &self.tails[lane].as_chunks::<BLOCK>().0;
                    &tail[usize::from(index - whole.len() == 1)]
                }
            }
        });
        (blocks, mask)
    }
}

/// The 80 rounds of SHA-1 (RFC 3174 §6.1) over vectors: `$state` is `[V; 5]`, `$words` the `[V; 16]` of a block. The operations
/// are given by name, so that the code of each instruction set is made from this one text.
macro_rules! rounds {
    (
        $state:expr, $words:expr,
        add: $add:path, splat: $splat:path, xor3: $xor3:path, choose: $choose:path, majority: $majority:path,
        rotate1: $rotate1:path, rotate5: $rotate5:path, rotate30: $rotate30:path $(,)?
    ) => {{
        let mut words = $words;
        let [mut a, mut b, mut c, mut d, mut e] = $state;
        twenty!(
            words (a b c d e) $splat(0x5A82_7999u32 as i32), $choose, $add, $xor3, $rotate1, $rotate5, $rotate30,
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19
        );
        twenty!(
            words (a b c d e) $splat(0x6ED9_EBA1u32 as i32), $xor3, $add, $xor3, $rotate1, $rotate5, $rotate30,
            20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
        );
        twenty!(
            words (a b c d e) $splat(0x8F1B_BCDCu32 as i32), $majority, $add, $xor3, $rotate1, $rotate5, $rotate30,
            40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59
        );
        twenty!(
            words (a b c d e) $splat(0xCA62_C1D6u32 as i32), $xor3, $add, $xor3, $rotate1, $rotate5, $rotate30,
            60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79
        );
        let [a0, b0, c0, d0, e0] = $state;
        [$add(a, a0), $add(b, b0), $add(c, c0), $add(d, d0), $add(e, e0)]
    }};
}

/// Rounds with one constant and one function. Spelled out, so that each word of the message is a register and not a place in
/// memory.
macro_rules! twenty {
    (
        $words:ident ($a:ident $b:ident $c:ident $d:ident $e:ident) $constant:expr, $mix:path, $add:path, $xor3:path,
        $rotate1:path, $rotate5:path, $rotate30:path, $($round:literal)+
    ) => {
        let constant = $constant;
        $(
            if $round >= 16 {
                let mixed = $xor3(
                    $words[($round + 13) % 16],
                    $words[($round + 8) % 16],
                    $words[($round + 2) % 16],
                );
                $words[$round % 16] = $rotate1(mixed, $words[$round % 16]);
            }
            let keyed = $add($add($e, constant), $words[$round % 16]);
            let sum = $add($add(keyed, $mix($b, $c, $d)), $rotate5($a));
            ($a, $b, $c, $d, $e) = (sum, $a, $rotate30($b), $c, $d);
        )+
    };
}

pub(super) use {rounds, twenty};

//! Eight lanes with AVX2.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::lanes::{Blocks, rounds, twenty};
use super::{BLOCK, Message, OUTER_BITS, TAG, truncated};

/// Messages at a time.
pub(super) const LANES: usize = 8;

type State = [__m256i; 5];

/// The tags of up to [`LANES`] messages. The processor must have AVX2.
pub(super) fn tags(messages: &[Message<'_>], tags: &mut [[u8; TAG]]) {
    // SAFETY: `Engine::available` has this engine only where the processor has the feature.
    unsafe { tags_in_lanes(messages, tags) }
}

#[target_feature(enable = "avx2")]
fn tags_in_lanes(messages: &[Message<'_>], tags: &mut [[u8; TAG]]) {
    let blocks = Blocks::<LANES>::new(messages);
    let mut state = states(messages, |message| &message.key.inner);
    for index in 0..blocks.longest() {
        let (block, mask) = blocks.at(index);
        let next = compress(state, transposed(&block));
        let mask = lane_mask(mask);
        for (state, next) in state.iter_mut().zip(next) {
            *state = _mm256_blendv_epi8(*state, next, mask);
        }
    }
    let mut words = [_mm256_setzero_si256(); 16];
    words[..5].copy_from_slice(&state);
    words[5] = _mm256_set1_epi32(i32::MIN);
    words[15] = _mm256_set1_epi32(OUTER_BITS as i32);
    let state = compress(states(messages, |message| &message.key.outer), words);
    let [a, b, c] = [state[0], state[1], state[2]].map(|vector| {
        let mut words = [0u32; LANES];
        // SAFETY: the array has the 32 bytes that are written; no alignment is asked for.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), vector) };
        words
    });
    for (lane, tag) in tags.iter_mut().enumerate().take(messages.len()) {
        *tag = truncated([a[lane], b[lane], c[lane]]);
    }
}

/// All bits of the lanes whose bit is set.
#[target_feature(enable = "avx2")]
#[inline]
fn lane_mask(mask: u32) -> __m256i {
    let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(mask as i32), bits), bits)
}

/// One state of each key, word by word.
#[target_feature(enable = "avx2")]
fn states<'a>(messages: &[Message<'a>], part: impl Fn(&Message<'a>) -> &'a [u32; 5]) -> State {
    let mut words = [[0u32; LANES]; 5];
    for (lane, message) in messages.iter().enumerate().take(LANES) {
        for (word, value) in words.iter_mut().zip(part(message)) {
            word[lane] = *value;
        }
    }
    // SAFETY: each array has the 32 bytes that are read; no alignment is asked for.
    words.map(|word| unsafe { _mm256_loadu_si256(word.as_ptr().cast()) })
}

#[target_feature(enable = "avx2")]
#[inline]
fn compress(state: State, words: [__m256i; 16]) -> State {
    rounds!(
        state, words,
        add: _mm256_add_epi32, splat: _mm256_set1_epi32, xor3: xor3, choose: choose, majority: majority,
        rotate1: xor_rotate1, rotate5: rotate::<5, 27>, rotate30: rotate::<30, 2>,
    )
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    _mm256_xor_si256(_mm256_xor_si256(a, b), c)
}

#[target_feature(enable = "avx2")]
#[inline]
fn choose(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    _mm256_xor_si256(d, _mm256_and_si256(b, _mm256_xor_si256(c, d)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn majority(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    let both = _mm256_and_si256(b, c);
    _mm256_or_si256(both, _mm256_and_si256(d, _mm256_or_si256(b, c)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn rotate<const LEFT: i32, const RIGHT: i32>(a: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(a), _mm256_srli_epi32::<RIGHT>(a))
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor_rotate1(a: __m256i, b: __m256i) -> __m256i {
    rotate::<1, 31>(_mm256_xor_si256(a, b))
}

/// Word `i` of all blocks, from big-endian bytes.
#[target_feature(enable = "avx2")]
#[inline]
fn transposed(blocks: &[&[u8; BLOCK]; LANES]) -> [__m256i; 16] {
    let swap = _mm256_broadcastsi128_si256(_mm_set_epi8(
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3,
    ));
    let mut words = [_mm256_setzero_si256(); 16];
    for half in 0..2 {
        let rows = blocks.map(|block| {
            let (halves, _) = block.as_chunks::<32>();
            // SAFETY: half a block has the 32 bytes that are read; no alignment is asked for.
            let row = unsafe { _mm256_loadu_si256(halves[half].as_ptr().cast()) };
            _mm256_shuffle_epi8(row, swap)
        });
        // Groups of four rows: 4×4 words within each half of the vectors.
        let mut quads = [rows[0]; 8];
        for group in 0..2 {
            let [a, b, c, d] = [
                rows[4 * group],
                rows[4 * group + 1],
                rows[4 * group + 2],
                rows[4 * group + 3],
            ];
            let (low_ab, high_ab) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let (low_cd, high_cd) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
            quads[4 * group] = _mm256_unpacklo_epi64(low_ab, low_cd);
            quads[4 * group + 1] = _mm256_unpackhi_epi64(low_ab, low_cd);
            quads[4 * group + 2] = _mm256_unpacklo_epi64(high_ab, high_cd);
            quads[4 * group + 3] = _mm256_unpackhi_epi64(high_ab, high_cd);
        }
        for word in 0..4 {
            let (first, second) = (quads[word], quads[4 + word]);
            words[8 * half + word] = _mm256_permute2x128_si256::<0x20>(first, second);
            words[8 * half + 4 + word] = _mm256_permute2x128_si256::<0x31>(first, second);
        }
    }
    words
}

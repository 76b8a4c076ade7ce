//! Sixteen lanes with AVX-512.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::lanes::{Blocks, rounds, twenty};
use super::{BLOCK, Message, OUTER_BITS, TAG, truncated};

/// Messages at a time.
pub(super) const LANES: usize = 16;

type State = [__m512i; 5];

/// The tags of up to [`LANES`] messages. The processor must have AVX-512 F and BW.
pub(super) fn tags(messages: &[Message<'_>], tags: &mut [[u8; TAG]]) {
    // SAFETY: `Engine::available` has this engine only where the processor has both features.
    unsafe { tags_in_lanes(messages, tags) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn tags_in_lanes(messages: &[Message<'_>], tags: &mut [[u8; TAG]]) {
    let blocks = Blocks::<LANES>::new(messages);
    let mut state = states(messages, |message| &message.key.inner);
    for index in 0..blocks.longest() {
        let (block, mask) = blocks.at(index);
        let next = compress(state, transposed(&block));
        for (state, next) in state.iter_mut().zip(next) {
            *state = _mm512_mask_mov_epi32(*state, mask as __mmask16, next);
        }
    }
    let zero = _mm512_setzero_si512();
    let mut words = [zero; 16];
    words[..5].copy_from_slice(&state);
    words[5] = _mm512_set1_epi32(i32::MIN);
    words[15] = _mm512_set1_epi32(OUTER_BITS as i32);
    let state = compress(states(messages, |message| &message.key.outer), words);
    let [a, b, c] = [state[0], state[1], state[2]].map(|vector| {
        let mut words = [0u32; LANES];
        // SAFETY: the array has the 64 bytes that are written; no alignment is asked for.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) };
        words
    });
    for (lane, tag) in tags.iter_mut().enumerate().take(messages.len()) {
        *tag = truncated([a[lane], b[lane], c[lane]]);
    }
}

/// One state of each key, word by word.
#[target_feature(enable = "avx512f")]
fn states<'a>(messages: &[Message<'a>], part: impl Fn(&Message<'a>) -> &'a [u32; 5]) -> State {
    let mut words = [[0u32; LANES]; 5];
    for (lane, message) in messages.iter().enumerate().take(LANES) {
        for (word, value) in words.iter_mut().zip(part(message)) {
            word[lane] = *value;
        }
    }
    // SAFETY: each array has the 64 bytes that are read; no alignment is asked for.
    words.map(|word| unsafe { _mm512_loadu_si512(word.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f")]
#[inline]
fn compress(state: State, words: [__m512i; 16]) -> State {
    rounds!(
        state, words,
        add: _mm512_add_epi32, splat: _mm512_set1_epi32, xor3: xor3, choose: choose, majority: majority,
        rotate1: xor_rotate1, rotate5: _mm512_rol_epi32::<5>, rotate30: _mm512_rol_epi32::<30>,
    )
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn choose(b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xCA>(b, c, d)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn majority(b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xE8>(b, c, d)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor_rotate1(a: __m512i, b: __m512i) -> __m512i {
    _mm512_rol_epi32::<1>(_mm512_xor_si512(a, b))
}

/// Word `i` of all blocks, from big-endian bytes.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn transposed(blocks: &[&[u8; BLOCK]; LANES]) -> [__m512i; 16] {
    let swap = _mm512_broadcast_i32x4(_mm_set_epi8(
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3,
    ));
    let rows = blocks.map(|block| {
        // SAFETY: a block has the 64 bytes that are read; no alignment is asked for.
        let row = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
        _mm512_shuffle_epi8(row, swap)
    });
    // Groups of four rows: 4×4 words within each quarter of the vectors.
    let mut quarters = [rows[0]; 16];
    for group in 0..4 {
        let [a, b, c, d] = [
            rows[4 * group],
            rows[4 * group + 1],
            rows[4 * group + 2],
            rows[4 * group + 3],
        ];
        let (low_ab, high_ab) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (low_cd, high_cd) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        quarters[4 * group] = _mm512_unpacklo_epi64(low_ab, low_cd);
        quarters[4 * group + 1] = _mm512_unpackhi_epi64(low_ab, low_cd);
        quarters[4 * group + 2] = _mm512_unpacklo_epi64(high_ab, high_cd);
        quarters[4 * group + 3] = _mm512_unpackhi_epi64(high_ab, high_cd);
    }
    // Then 4×4 quarters across the groups.
    let mut words = [rows[0]; 16];
    for word in 0..4 {
        let [a, b, c, d] = [
            quarters[word],
            quarters[4 + word],
            quarters[8 + word],
            quarters[12 + word],
        ];
        let (ab_even, ab_odd) = (
            _mm512_shuffle_i32x4::<0x88>(a, b),
            _mm512_shuffle_i32x4::<0xDD>(a, b),
        );
        let (cd_even, cd_odd) = (
            _mm512_shuffle_i32x4::<0x88>(c, d),
            _mm512_shuffle_i32x4::<0xDD>(c, d),
        );
        words[word] = _mm512_shuffle_i32x4::<0x88>(ab_even, cd_even);
        words[4 + word] = _mm512_shuffle_i32x4::<0x88>(ab_odd, cd_odd);
        words[8 + word] = _mm512_shuffle_i32x4::<0xDD>(ab_even, cd_even);
        words[12 + word] = _mm512_shuffle_i32x4::<0xDD>(ab_odd, cd_odd);
    }
    words
}

//! Four lanes with NEON, for processors without SHA-1 instructions.

#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::lanes::{Blocks, rounds, twenty};
use super::{BLOCK, Message, OUTER_BITS, TAG, truncated};

/// Messages at a time.
pub(super) const LANES: usize = 4;

type State = [uint32x4_t; 5];

/// The tags of up to [`LANES`] messages.
pub(super) fn tags(messages: &[Message<'_>], tags: &mut [[u8; TAG]]) {
    // SAFETY: every 64-bit ARM processor that Linux runs on has NEON.
    unsafe { tags_in_lanes(messages, tags) }
}

#[target_feature(enable = "neon")]
fn tags_in_lanes(messages: &[Message<'_>], tags: &mut [[u8; TAG]]) {
    let blocks = Blocks::<LANES>::new(messages);
    let mut state = states(messages, |message| &message.key.inner);
    for index in 0..blocks.longest() {
        let (block, mask) = blocks.at(index);
        let next = compress(state, transposed(&block));
        let bits = load([1, 2, 4, 8]);
        let mask = vtstq_u32(vdupq_n_u32(mask), bits);
        for (state, next) in state.iter_mut().zip(next) {
            *state = vbslq_u32(mask, next, *state);
        }
    }
    let mut words = [vdupq_n_u32(0); 16];
    words[..5].copy_from_slice(&state);
    words[5] = vdupq_n_u32(1 << 31);
    words[15] = vdupq_n_u32(OUTER_BITS);
    let state = compress(states(messages, |message| &message.key.outer), words);
    let [a, b, c] = [state[0], state[1], state[2]].map(|vector| {
        let mut words = [0u32; LANES];
        // SAFETY: the array has the 16 bytes that are written.
        unsafe { vst1q_u32(words.as_mut_ptr(), vector) };
        words
    });
    for (lane, tag) in tags.iter_mut().enumerate().take(messages.len()) {
        *tag = truncated([a[lane], b[lane], c[lane]]);
    }
}

#[target_feature(enable = "neon")]
#[inline]
fn load(words: [u32; LANES]) -> uint32x4_t {
    // SAFETY: the array has the 16 bytes that are read.
    unsafe { vld1q_u32(words.as_ptr()) }
}

/// One state of each key, word by word.
#[target_feature(enable = "neon")]
fn states<'a>(messages: &[Message<'a>], part: impl Fn(&Message<'a>) -> &'a [u32; 5]) -> State {
    let mut words = [[0u32; LANES]; 5];
    for (lane, message) in messages.iter().enumerate().take(LANES) {
        for (word, value) in words.iter_mut().zip(part(message)) {
            word[lane] = *value;
        }
    }
    words.map(load)
}

#[target_feature(enable = "neon")]
#[inline]
fn compress(state: State, words: [uint32x4_t; 16]) -> State {
    rounds!(
        state, words,
        add: vaddq_u32, splat: splat, xor3: xor3, choose: vbslq_u32, majority: majority,
        rotate1: xor_rotate1, rotate5: rotate::<5, 27>, rotate30: rotate::<30, 2>,
    )
}

#[target_feature(enable = "neon")]
#[inline]
fn splat(value: i32) -> uint32x4_t {
    vdupq_n_u32(value as u32)
}

#[target_feature(enable = "neon")]
#[inline]
fn xor3(a: uint32x4_t, b: uint32x4_t, c: uint32x4_t) -> uint32x4_t {
    veorq_u32(veorq_u32(a, b), c)
}

/// Where two agree it is what they say, elsewhere the third decides.
#[target_feature(enable = "neon")]
#[inline]
fn majority(b: uint32x4_t, c: uint32x4_t, d: uint32x4_t) -> uint32x4_t {
    vbslq_u32(veorq_u32(b, c), d, b)
}

#[target_feature(enable = "neon")]
#[inline]
fn rotate<const LEFT: i32, const RIGHT: i32>(a: uint32x4_t) -> uint32x4_t {
    vsriq_n_u32::<RIGHT>(vshlq_n_u32::<LEFT>(a), a)
}

#[target_feature(enable = "neon")]
#[inline]
fn xor_rotate1(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
    rotate::<1, 31>(veorq_u32(a, b))
}

/// Word `i` of all blocks, from big-endian bytes.
#[target_feature(enable = "neon")]
#[inline]
fn transposed(blocks: &[&[u8; BLOCK]; LANES]) -> [uint32x4_t; 16] {
    std::array::from_fn(|word| {
        load(blocks.map(|block| {
            let (words, _) = block.as_chunks::<4>();
            u32::from_be_bytes(words[word])
        }))
    })
}

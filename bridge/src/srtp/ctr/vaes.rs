//! Four blocks per instruction with VAES and AVX-512.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use zeroize::Zeroize;

use super::{BLOCK, KEY};

const ROUNDS: usize = 10;
/// Bytes of a vector.
const VECTOR: usize = 64;
/// Vectors at a time: as many as hide the latency of a round.
const BATCH: usize = 8;

/// The round keys (FIPS 197 §5.2).
pub(in crate::srtp) struct Key([[u8; BLOCK]; ROUNDS + 1]);

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Key {
    /// Expands a key; `None` if this processor lacks the instructions.
    pub(super) fn new(key: &[u8; KEY]) -> Option<Key> {
        let able = is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw");
        // SAFETY: the processor has the features.
        able.then(|| unsafe { expand(key) })
    }

    /// XORs the key stream from `iv` into `data`; the last four bytes of `iv` count.
    #[inline]
    pub(super) fn apply(&self, iv: [u8; BLOCK], data: &mut [u8]) {
        // SAFETY: without the features there is no key.
        unsafe { apply(&self.0, iv, data) }
    }
}

#[target_feature(enable = "aes,avx512f")]
fn expand(key: &[u8; KEY]) -> Key {
    let mut keys = [[0; BLOCK]; ROUNDS + 1];
    // SAFETY: the array has the 16 bytes that are read; no alignment is asked for.
    let mut last = unsafe { _mm_loadu_si128(key.as_ptr().cast()) };
    store(&mut keys[0], last);
    macro_rules! round {
        ($round:literal, $constant:literal) => {
            last = next(last, _mm_aeskeygenassist_si128::<$constant>(last));
            store(&mut keys[$round], last);
        };
    }
    round!(1, 0x01);
    round!(2, 0x02);
    round!(3, 0x04);
    round!(4, 0x08);
    round!(5, 0x10);
    round!(6, 0x20);
    round!(7, 0x40);
    round!(8, 0x80);
    round!(9, 0x1b);
    round!(10, 0x36);
    Key(keys)
}

/// The next round key: each word is the sum of those before it and of the substituted last word.
#[target_feature(enable = "aes,avx512f")]
#[inline]
fn next(key: __m128i, assist: __m128i) -> __m128i {
    let word = _mm_shuffle_epi32::<0xff>(assist);
    let key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    let key = _mm_xor_si128(key, _mm_slli_si128::<8>(key));
    _mm_xor_si128(key, word)
}

#[target_feature(enable = "aes,avx512f")]
#[inline]
fn store(place: &mut [u8; BLOCK], value: __m128i) {
    // SAFETY: the array has the 16 bytes that are written; no alignment is asked for.
    unsafe { _mm_storeu_si128(place.as_mut_ptr().cast(), value) }
}

#[target_feature(enable = "vaes,avx512f,avx512bw")]
fn apply(keys: &[[u8; BLOCK]; ROUNDS + 1], iv: [u8; BLOCK], data: &mut [u8]) {
    let keys = keys.each_ref().map(|key| {
        // SAFETY: the array has the 16 bytes that are read; no alignment is asked for.
        _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(key.as_ptr().cast()) })
    });
    // SAFETY: the array has the 16 bytes that are read; no alignment is asked for.
    let iv = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(iv.as_ptr().cast()) });
    let first = _mm512_setr_epi32(0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0);
    let mut counter = _mm512_add_epi32(_mm512_shuffle_epi8(iv, reversed()), first);

    let mut batches = data.chunks_exact_mut(BATCH * VECTOR);
    for batch in &mut batches {
        for (stream, place) in streams::<BATCH>(&keys, &mut counter)
            .iter()
            .zip(batch.chunks_exact_mut(VECTOR))
        {
            let place = place.as_mut_ptr();
            // SAFETY: the chunk has the 64 bytes that are read and written; no alignment is asked for.
            unsafe {
                let text = _mm512_loadu_si512(place.cast());
                _mm512_storeu_si512(place.cast(), _mm512_xor_si512(text, *stream));
            }
        }
    }
    // As many vectors as are left, so that the compiler keeps them in registers.
    let rest = batches.into_remainder();
    match rest.len().div_ceil(VECTOR) {
        0 => {}
        1 => xor(&streams::<1>(&keys, &mut counter), rest),
        2 => xor(&streams::<2>(&keys, &mut counter), rest),
        3 => xor(&streams::<3>(&keys, &mut counter), rest),
        4 => xor(&streams::<4>(&keys, &mut counter), rest),
        5 => xor(&streams::<5>(&keys, &mut counter), rest),
        6 => xor(&streams::<6>(&keys, &mut counter), rest),
        7 => xor(&streams::<7>(&keys, &mut counter), rest),
        _ => xor(&streams::<BATCH>(&keys, &mut counter), rest),
    }
}

/// Puts the bytes of each block in reverse order, so that the counter is a number of the processor's own.
#[target_feature(enable = "avx512f")]
#[inline]
fn reversed() -> __m512i {
    _mm512_broadcast_i32x4(_mm_setr_epi8(
        15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,
    ))
}

/// The next `N` vectors of the key stream.
#[target_feature(enable = "vaes,avx512f,avx512bw")]
#[inline]
fn streams<const N: usize>(keys: &[__m512i; ROUNDS + 1], counter: &mut __m512i) -> [__m512i; N] {
    let four = _mm512_broadcast_i32x4(_mm_setr_epi32(4, 0, 0, 0));
    let mut blocks = [_mm512_setzero_si512(); N];
    for block in &mut blocks {
        *block = _mm512_xor_si512(_mm512_shuffle_epi8(*counter, reversed()), keys[0]);
        *counter = _mm512_add_epi32(*counter, four);
    }
    for key in &keys[1..ROUNDS] {
        for block in &mut blocks {
            *block = _mm512_aesenc_epi128(*block, *key);
        }
    }
    for block in &mut blocks {
        *block = _mm512_aesenclast_epi128(*block, keys[ROUNDS]);
    }
    blocks
}

/// XORs a key stream into what may end within its last vector.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn xor(streams: &[__m512i], data: &mut [u8]) {
    for (stream, place) in streams.iter().zip(data.chunks_mut(VECTOR)) {
        let mask = u64::MAX >> (VECTOR - place.len());
        let place = place.as_mut_ptr();
        // SAFETY: the mask lets only the bytes of the chunk, at least one, be read and written.
        unsafe {
            let text = _mm512_maskz_loadu_epi8(mask, place.cast());
            _mm512_mask_storeu_epi8(place.cast(), mask, _mm512_xor_si512(text, *stream));
        }
    }
}

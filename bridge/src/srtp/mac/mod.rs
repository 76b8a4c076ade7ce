//! HMAC-SHA1-80 (RFC 3711 §4.2.1) for many packets at once.
//!
//! One packet goes to many receivers, each with a key of its own: the same length, other bytes. SHA-1 is a long chain of
//! dependent steps, so a processor that computes one tag mostly waits; a vector of lanes computes the tags of up to sixteen
//! receivers in little more than the time of one. [`Engine`] finds out at run time what the processor has; every engine gives the
//! same bits, and the portable one is the reference.

mod lanes;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(test)]
mod tests;

use sha1::block_api::compress;
use zeroize::Zeroize;

/// Length of a tag.
pub const TAG: usize = 10;
/// Length of the session key for authentication.
pub const KEY: usize = 20;
/// Messages that one call takes at most.
pub const MAX_LANES: usize = 16;

/// Bytes of a SHA-1 block.
const BLOCK: usize = 64;
/// What follows the packet in the message: the rollover counter.
const SUFFIX: usize = 4;
/// The end of a message (rest of the packet, suffix, one bit, length) takes up to this many bytes.
const TAIL: usize = 2 * BLOCK;
const INITIAL: [u32; 5] = [
    0x6745_2301,
    0xEFCD_AB89,
    0x98BA_DCFE,
    0x1032_5476,
    0xC3D2_E1F0,
];

/// A key, as the states of SHA-1 behind the two pads of HMAC (RFC 2104 §4).
#[derive(Clone, Default)]
pub struct MacKey {
    inner: [u32; 5],
    outer: [u32; 5],
}

impl MacKey {
    /// Prepares a session key.
    pub fn new(key: &[u8; KEY]) -> MacKey {
        let state = |pad: u8| {
            let mut block = [pad; BLOCK];
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            let mut state = INITIAL;
            compress(&mut state, &[block]);
            block.zeroize();
            state
        };
        MacKey {
            inner: state(0x36),
            outer: state(0x5C),
        }
    }
}

impl Drop for MacKey {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

/// What a tag is computed over.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// Of the receiver.
    pub key: &'a MacKey,
    /// The packet as it is on the wire, without tag.
    pub packet: &'a [u8],
    /// The rollover counter.
    pub suffix: [u8; SUFFIX],
}

/// A tag that a sealed packet still lacks: its last [`TAG`] bytes.
pub struct TagDue {
    pub(super) key: MacKey,
    pub(super) suffix: [u8; SUFFIX],
}

impl TagDue {
    /// What it is computed over; `packet` is without the tag.
    pub fn message<'a>(&'a self, packet: &'a [u8]) -> Message<'a> {
        Message {
            key: &self.key,
            packet,
            suffix: self.suffix,
        }
    }
}

impl std::fmt::Debug for TagDue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TagDue").finish_non_exhaustive()
    }
}

/// A way to compute tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// One after the other.
    Single,
    /// Eight lanes with AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Sixteen lanes with AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Four lanes with NEON.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Engine {
    /// The best one on this processor.
    pub fn detect() -> Engine {
        let all = Engine::available();
        all.last().copied().unwrap_or(Engine::Single)
    }

    /// All that this processor can run, the best one last.
    pub fn available() -> Vec<Engine> {
        #[allow(unused_mut)]
        let mut engines = vec![Engine::Single];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                engines.push(Engine::Avx2);
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                engines.push(Engine::Avx512);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            // SHA-1 instructions beat four lanes.
            let at = usize::from(!std::arch::is_aarch64_feature_detected!("sha2"));
            engines.insert(at, Engine::Neon);
        }
        engines
    }

    /// How many messages it computes at a time.
    pub fn lanes(self) -> usize {
        match self {
            Engine::Single => 1,
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2 => avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512 => avx512::LANES,
            #[cfg(target_arch = "aarch64")]
            Engine::Neon => neon::LANES,
        }
    }

    /// Messages from which on lanes are faster than one after the other.
    fn worthwhile(self) -> usize {
        match self {
            Engine::Single => usize::MAX,
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2 => 6,
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512 => 5,
            #[cfg(target_arch = "aarch64")]
            Engine::Neon => 3,
        }
    }

    /// Writes the tag of each of `messages` to the place with the same index in `tags`. Messages may differ in length; those
    /// of one length cost least.
    pub fn tags(self, messages: &[Message<'_>], tags: &mut [[u8; TAG]]) {
        for (messages, tags) in messages
            .chunks(self.lanes())
            .zip(tags.chunks_mut(self.lanes()))
        {
            if messages.len() < self.worthwhile() {
                for (message, tag) in messages.iter().zip(tags) {
                    *tag = single(message);
                }
                continue;
            }
            match self {
                Engine::Single => {}
                #[cfg(target_arch = "x86_64")]
                Engine::Avx2 => avx2::tags(messages, tags),
                #[cfg(target_arch = "x86_64")]
                Engine::Avx512 => avx512::tags(messages, tags),
                #[cfg(target_arch = "aarch64")]
                Engine::Neon => neon::tags(messages, tags),
            }
        }
    }
}

/// The tag of one message.
pub fn single(message: &Message<'_>) -> [u8; TAG] {
    let (blocks, rest) = message.packet.as_chunks::<BLOCK>();
    let mut state = message.key.inner;
    compress(&mut state, blocks);
    let (tail, used) = tail(message.packet.len(), rest, message.suffix);
    compress(&mut state, &tail.as_chunks::<BLOCK>().0[..used]);

    let mut block = [0; BLOCK];
    for (bytes, word) in block.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    block[KEY] = 0x80;
    block[BLOCK - 4..].copy_from_slice(&OUTER_BITS.to_be_bytes());
    let mut state = message.key.outer;
    compress(&mut state, &[block]);
    truncated([state[0], state[1], state[2]])
}

/// Bits that the outer hash covers: one pad and the inner hash.
const OUTER_BITS: u32 = (BLOCK as u32 + KEY as u32) * 8;

/// The blocks behind the last whole one of a packet of `len` bytes, and how many there are (one or two). `rest` is what the whole
/// blocks left of it.
fn tail(len: usize, rest: &[u8], suffix: [u8; SUFFIX]) -> ([u8; TAIL], usize) {
    let mut tail = [0; TAIL];
    let end = rest.len() + SUFFIX;
    tail[..rest.len()].copy_from_slice(rest);
    tail[rest.len()..end].copy_from_slice(&suffix);
    tail[end] = 0x80;
    let used = if end + 1 + 8 <= BLOCK { 1 } else { 2 };
    // The pad of HMAC counts as well.
    let bits = ((BLOCK + len + SUFFIX) as u64) * 8;
    tail[used * BLOCK - 8..used * BLOCK].copy_from_slice(&bits.to_be_bytes());
    (tail, used)
}

/// The leftmost 80 bits.
fn truncated(words: [u32; 3]) -> [u8; TAG] {
    let mut tag = [0; TAG];
    let [a, b, c] = words.map(u32::to_be_bytes);
    tag[..4].copy_from_slice(&a);
    tag[4..8].copy_from_slice(&b);
    tag[8..].copy_from_slice(&c[..2]);
    tag
}

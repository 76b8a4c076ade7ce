//! Bytes: checked views and writers for everything that is on the wire.
//!
//! A view is checked once when it is made; its getters cannot fail. Nothing above this module knows an
//! offset. Everything here reads what a peer wrote: no parser panics, loops without bound or allocates (but
//! for one structure per keyframe in [`dependency`]).

mod bits;
pub mod demux;
pub mod dependency;
pub mod extensions;
pub mod h264;
pub mod red;
pub mod rtcp;
pub mod rtp;
pub mod stun;
pub mod twcc;
pub mod vp8;
pub mod vp9;

/// Why bytes were refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum WireError {
    /// Shorter than its own fields say.
    #[error("truncated")]
    Truncated,
    /// Version bits other than 2.
    #[error("wrong version")]
    Version,
    /// A padding count of zero, or beyond the payload (T34).
    #[error("bad padding")]
    Padding,
    /// A count or length field that contradicts the room it has.
    #[error("bad length")]
    Length,
    /// More elements than [`crate::limits`] allows.
    #[error("too many elements")]
    TooMany,
}

/// The four bytes at `at`, big endian.
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_be_bytes)
}

/// The two bytes at `at`, big endian.
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_be_bytes)
}

/// Writes `value` at `at`; bytes beyond the end are not written.
fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes
        .get_mut(at..)
        .and_then(|rest| rest.first_chunk_mut::<N>())
    {
        *place = value;
    }
}

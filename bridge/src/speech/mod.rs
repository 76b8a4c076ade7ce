//! Who speaks, and whose audio is forwarded (allocation spec §5, §13).
//!
//! [`DominantSpeaker`] elects from audio levels; [`Loudness`] ranks the same levels for conferences that
//! forward only the loudest; [`wants_audio`] applies a receiver's subscription. Audio itself is not
//! looked at, only the levels in the RTP header extension (RFC 6464).

mod dominant;
mod loudness;
mod subscription;

pub use dominant::DominantSpeaker;
pub use loudness::{Loudness, is_routed};
pub use subscription::wants_audio;

/// A level must be this much above a speaker's minimum to be speech and not noise.
const ABOVE_MINIMUM: u8 = 10;
/// The loudest level, 0 dBov. The quietest is 0.
const MAX_LEVEL: u8 = 127;

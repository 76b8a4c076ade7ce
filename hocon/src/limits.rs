//! Bounds on what a configuration may ask for.

/// Bytes of a file together with everything that it includes.
pub const MAX_TEXT: usize = 1 << 20;
/// Objects and lists within each other, counting the keys of dotted paths.
pub const MAX_DEPTH: usize = 48;
/// Files within each other by `include`.
pub const MAX_INCLUDE_DEPTH: usize = 8;
/// Included files altogether.
pub const MAX_INCLUDES: usize = 64;
/// Values within each other while substitutions are followed.
pub const MAX_RESOLVE_DEPTH: usize = 128;
/// Values made while substitutions are followed; one more for each 16 bytes of text.
pub const MAX_RESOLVE_WORK: usize = 4 << 20;

//! Dominant speaker and loudness.

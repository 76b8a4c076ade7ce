//! Bytes: checked views and writers for everything that is on the wire.
//!
//! A view is checked once when it is made; its getters cannot fail. Nothing above this module knows an
//! offset.

pub mod rtp;
pub mod vp8;

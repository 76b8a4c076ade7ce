//! A whole deployment as clients of Jitsi Meet know it: Prosody, a focus of our own, the bridge as daemon, and
//! a published lib-jitsi-meet in Chromium.
//!
//! Needs the Debian packages `prosody`, `chromium` and `chromium-driver`, and npm.

mod client;
mod deployment;
mod focus;
mod library;

pub use client::{Client, all_see_each_other};
pub use deployment::Deployment;
pub use focus::Channel;

/// The room in which everybody meets, by its local part.
const ROOM: &str = "harbour";

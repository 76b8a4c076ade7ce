//! A whole deployment as clients of Jitsi Meet know it: Prosody, a focus of our own, the bridge as daemon, and
//! a published lib-jitsi-meet in Chromium.
//!
//! Needs the Debian packages `prosody`, `chromium` and `chromium-driver`, and npm.

mod client;
mod deployment;
mod focus;
mod library;
mod prosody;

pub use client::{Client, all_see_each_other};
pub use deployment::Deployment;
pub use focus::Channel;

/// Domain of the guests, who log in without a name.
const DOMAIN: &str = "meet.test";
/// Domain of the bridge and the focus.
const AUTH_DOMAIN: &str = "auth.meet.test";
const BREWERY: &str = "jvbbrewery@internal.auth.meet.test";
const ROOM_DOMAIN: &str = "conference.meet.test";
/// The room in which everybody meets, by its local part.
const ROOM: &str = "harbour";
/// Password of bridge and focus.
const PASSWORD: &str = "secret";

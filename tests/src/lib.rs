//! Tests of Causeway from outside: the daemon as it is shipped, its demo page, and headless Chromium.
//!
//! A [`Call`] starts the daemon and a WebDriver server and lets [`Participant`]s in, each a browser of its
//! own. [`network::apart`] runs a test in a network namespace of its own, where paths can be cut and made
//! lossy without touching the machine's network. Tests wait for what can be observed with [`eventually`];
//! nothing waits for time to pass, except where an outage of a given length is what is tested. The tests of the
//! daemon use [`prosody`], [`brewery`], [`process`] and [`running`] from here.
//!
//! Needs the Debian packages `chromium` and `chromium-driver`; the tests with a bad network also need
//! `iproute2`, `nftables` and root.

pub mod brewery;
pub mod call;
pub mod daemon;
mod eventually;
pub mod jitsi;
pub mod network;
pub mod participant;
pub mod process;
pub mod prosody;
pub mod running;
pub mod streams;
pub mod webdriver;

pub use call::Call;
pub use eventually::{eventually, grows};
pub use participant::Participant;

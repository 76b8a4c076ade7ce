//! The XML form of requests and answers (colibri2 spec §1).

mod read;
mod write;

pub use self::read::parse;
pub use self::write::{error_extensions, print};

/// Namespace of requests and answers.
pub const COLIBRI2: &str = "jitsi:colibri2";
const RTP: &str = "urn:xmpp:jingle:apps:rtp:1";
const RTCP_FB: &str = "urn:xmpp:jingle:apps:rtp:rtcp-fb:0";
const RTP_HDREXT: &str = "urn:xmpp:jingle:apps:rtp:rtp-hdrext:0";
const SSMA: &str = "urn:xmpp:jingle:apps:rtp:ssma:0";
const DTLS: &str = "urn:xmpp:jingle:apps:dtls:0";
/// Namespace of Colibri 1, of which presence, a few requests and websocket URLs are left.
pub const COLIBRI: &str = "http://jitsi.org/protocol/colibri";
const OPENTELEMETRY: &str = "jitsi:opentelemetry";

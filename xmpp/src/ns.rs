//! Namespaces.

/// Stanzas between client and server (RFC 6120).
pub const CLIENT: &str = "jabber:client";
/// The stream itself.
pub const STREAM: &str = "http://etherx.jabber.org/streams";
/// Conditions of stanza errors.
pub const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// STARTTLS.
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL.
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Resource binding.
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Ping (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";
/// Software version (XEP-0092).
pub const VERSION: &str = "jabber:iq:version";
/// Service discovery (XEP-0030).
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// Items of service discovery (XEP-0030).
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// Entering a room (XEP-0045).
pub const MUC: &str = "http://jabber.org/protocol/muc";
/// What a room says about its occupants.
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// What the owner of a room may do.
pub const MUC_OWNER: &str = "http://jabber.org/protocol/muc#owner";
/// Forms (XEP-0004).
pub const DATA_FORMS: &str = "jabber:x:data";

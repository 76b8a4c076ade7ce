//! XMPP as a media bridge needs it: one client among others in a few rooms.
//!
//! [`StreamParser`] cuts a server's stream into stanzas within strict bounds, [`Element`] holds one, [`stanza`] answers
//! it, and [`Connection`] logs in. What the stanzas mean is for others to know.

mod connection;
mod element;
pub mod ns;
mod parser;
mod sasl;
mod scram;
pub mod stanza;
pub mod tls;

pub use connection::{Account, ConnectError, Connection, Incoming, Outgoing, Security};
pub use element::Element;
pub use parser::{Item, ParseError, Sender, StreamParser};
